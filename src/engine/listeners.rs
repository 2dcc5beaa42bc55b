//! Where SIP is served: the UDP socket, which is required, and the TCP and TLS listeners, without which the bridge runs
//! as well.

use crate::config::Tls;
use crate::engine::certificate;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The first token of listeners and connections; a call's sockets have twice its 32-bit number, and the bell the last one.
pub const STREAM_TOKENS: usize = 1 << (usize::BITS - 2);

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// How often a port is drawn that is free for UDP and TCP, where any port will do.
const DRAWS_MAX: usize = 16;

/// A socket that takes connections.
pub struct Listening {
    /// The socket.
    pub listener: mio::net::TcpListener,
    /// With TLS, what its handshakes go by.
    pub tls: Option<Arc<ServerConfig>>,
    /// Connections that are open.
    pub connections: Arc<AtomicUsize>,
}

/// A way on which SIP is served, or should be.
#[derive(Clone, Debug)]
pub struct Served {
    /// `udp`, `tcp` or `tls`.
    pub transport: &'static str,
    /// Where.
    pub listen: SocketAddr,
    /// Connections that are open; over UDP there are none.
    pub connections: Option<Arc<AtomicUsize>>,
    /// Why it is not.
    pub problem: Option<String>,
}

impl Served {
    /// Returns how many connections are open; `None` where there are no such things.
    #[must_use]
    pub fn open_connections(&self) -> Option<usize> {
        self.connections.as_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

/// All that is bound.
pub struct Bound {
    /// The UDP socket.
    pub socket: UdpSocket,
    /// The listeners that could be had.
    pub listeners: Vec<Listening>,
    /// All of them, for the status.
    pub served: Vec<Served>,
}

/// Binds `listen`. UDP is required. TCP on the same port, and TLS where `tls` asks for it, are not: where one cannot be
/// bound, what is returned says why.
///
/// # Errors
/// What the system says about the UDP socket.
pub fn bind(listen: SocketAddr, tls: Option<&Tls>) -> io::Result<Bound> {
    let (socket, listen, tcp) = bind_pair(listen)?;
    let mut bound = Bound {
        socket,
        listeners: Vec::new(),
        served: vec![Served { transport: "udp", listen, connections: None, problem: None }],
    };
    bound.add("tcp", listen, tcp.map_err(|error| error.to_string()), None);
    if let Some(tls) = tls {
        let listen = SocketAddr::new(listen.ip(), tls.port);
        match certificate::load(tls) {
            Ok(config) => {
                let listener = listen_on(listen).map_err(|error| error.to_string());
                bound.add("tls", listen, listener, Some(config));
            }
            Err(problem) => bound.add("tls", listen, Err(problem), None),
        }
    }
    Ok(bound)
}

impl Bound {
    fn add(
        &mut self,
        transport: &'static str,
        listen: SocketAddr,
        listener: Result<TcpListener, String>,
        tls: Option<Arc<ServerConfig>>,
    ) {
        let connections = Arc::<AtomicUsize>::default();
        let (listen, problem) = match listener {
            Ok(listener) => {
                let listen = listener.local_addr().unwrap_or(listen);
                let listener = mio::net::TcpListener::from_std(listener);
                self.listeners.push(Listening { listener, tls, connections: connections.clone() });
                (listen, None)
            }
            Err(problem) => (listen, Some(problem)),
        };
        self.served.push(Served { transport, listen, connections: Some(connections), problem });
    }
}

/// Binds UDP and tries TCP on the same port; where any port will do, one that is free for both.
fn bind_pair(listen: SocketAddr) -> io::Result<(UdpSocket, SocketAddr, io::Result<TcpListener>)> {
    let mut draws = DRAWS_MAX;
    loop {
        let socket = open(listen, Type::DGRAM, Protocol::UDP)?;
        socket.bind(&listen.into())?;
        let socket = UdpSocket::from(socket);
        let bound = socket.local_addr()?;
        let listener = listen_on(bound);
        draws -= 1;
        if listener.is_ok() || listen.port() != 0 || draws == 0 {
            return Ok((socket, bound, listener));
        }
    }
}

fn listen_on(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(listen, Type::STREAM, Protocol::TCP)?;
    // Connections of the last start may still be in TIME-WAIT. Elsewhere than on Unix the option means to steal a port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&listen.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Opens a non-blocking socket; one for all IPv6 addresses serves IPv4 as well, whatever the system's own default.
fn open(listen: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(listen), kind, Some(protocol))?;
    if listen.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}
