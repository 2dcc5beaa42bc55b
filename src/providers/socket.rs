//! A WebSocket to a provider, over TLS or plain to loopback, that never blocks: its thread waits on it and on its bell at once.
//!
//! [`Socket::poll`] is called after every wake-up and takes whatever step is due: resolve, connect, TLS, upgrade, then
//! messages. Its own deadlines are in [`Socket::poll_timeout`].

mod error;
mod target;
mod upgrade;

pub use error::SocketError;
pub use target::{Target, is_loopback};

use super::redaction::excerpt;
use super::tls::{Stream, Trust};
use super::{Bell, Listener};
use crate::time::Instant;
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;
use tungstenite::protocol::{Message, WebSocket};
use upgrade::Upgrade;

/// From the first look-up to the finished upgrade. A caller who waits for longer has a dead line.
pub const OPEN_MAX: Duration = Duration::from_secs(5);
/// How often a ping is sent: Flux drops a connection after 60 s without audio or ping, and NATs forget idle ones sooner.
pub const PING_EVERY: Duration = Duration::from_secs(10);
/// A peer that sends nothing, not even a pong, for this long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(25);

/// What comes out of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The upgrade is done; messages may be sent.
    Opened,
    /// A text message.
    Text(tungstenite::Utf8Bytes),
    /// A binary message.
    Binary(tungstenite::Bytes),
}

/// A WebSocket, from the first look-up of its host's name to its close.
pub struct Socket {
    target: Target,
    trust: Trust,
    token: mio::Token,
    state: State,
    /// Addresses that have not been tried.
    addresses: VecDeque<SocketAddr>,
    /// The end of the patience with the present state.
    deadline: Instant,
    opened_by: Instant,
    heard: Instant,
    ping_at: Instant,
    /// Whether bytes wait for the peer to take them.
    unsent: bool,
}

enum State {
    Resolving(Receiver<io::Result<Vec<SocketAddr>>>),
    Connecting(mio::net::TcpStream),
    Upgrading(Box<Upgrade>),
    Open(Box<WebSocket<Stream>>),
    Over,
}

impl Socket {
    /// Sets out for `target`; the socket's events will wake `listener` as `token`.
    #[must_use]
    pub fn open(target: Target, trust: Trust, listener: &Listener, token: mio::Token, now: Instant) -> Self {
        let addresses = resolve(target.host(), target.port(), listener.bell());
        Self {
            target,
            trust,
            token,
            state: State::Resolving(addresses),
            addresses: VecDeque::new(),
            deadline: now + OPEN_MAX,
            opened_by: now + OPEN_MAX,
            heard: now,
            ping_at: now,
            unsent: false,
        }
    }

    /// Whether messages can be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// When [`Self::poll`] is due even if nothing comes.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Over => None,
            State::Open(_) => Some(self.ping_at),
            State::Upgrading(ref upgrade) => Some(upgrade.due),
            _ => Some(self.deadline),
        }
    }

    /// Takes the steps that are due; returns one message at a time, and `None` when there is nothing for the present.
    ///
    /// # Errors
    /// The socket is over; every later call returns `None`.
    pub fn poll(&mut self, listener: &Listener, now: Instant) -> Result<Option<Incoming>, SocketError> {
        let result = self.step(listener, now);
        if result.is_err() {
            self.state = State::Over;
        }
        result
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// The socket is over.
    pub fn send_text(&mut self, text: String) -> Result<(), SocketError> {
        self.send(Message::Text(text.into()))
    }

    /// Sends a binary message. When it returns, the bytes are with the kernel, unless the peer is slow: then they wait.
    ///
    /// # Errors
    /// The socket is over.
    pub fn send_binary(&mut self, bytes: &[u8]) -> Result<(), SocketError> {
        self.send(Message::Binary(tungstenite::Bytes::copy_from_slice(bytes)))
    }

    /// Says goodbye. [`Self::poll`] returns [`SocketError::Closed`] when the peer has said so too.
    pub fn close(&mut self) {
        if let State::Open(socket) = &mut self.state {
            // A peer that is gone already needs no goodbye.
            let _ = socket.close(None);
        } else {
            self.state = State::Over;
        }
    }

    fn send(&mut self, message: Message) -> Result<(), SocketError> {
        let State::Open(socket) = &mut self.state else {
            let source = io::Error::from(ErrorKind::NotConnected);
            return Err(SocketError::Broken { host: self.target.host().to_owned(), source });
        };
        match written(socket.send(message)) {
            Ok(all) => {
                self.unsent = !all;
                Ok(())
            }
            Err(error) => {
                self.state = State::Over;
                Err(self.broken(error))
            }
        }
    }

    fn step(&mut self, listener: &Listener, now: Instant) -> Result<Option<Incoming>, SocketError> {
        match &mut self.state {
            State::Resolving(addresses) => {
                match addresses.try_recv() {
                    Ok(Ok(found)) if !found.is_empty() => self.addresses = found.into(),
                    Ok(found) => {
                        let nothing = || io::Error::new(ErrorKind::NotFound, "the name has no address");
                        return Err(self.target.unreachable(found.err().unwrap_or_else(nothing)));
                    }
                    Err(TryRecvError::Empty) if now < self.deadline => return Ok(None),
                    Err(TryRecvError::Empty) => return Err(self.target.timed_out("get resolved")),
                    Err(TryRecvError::Disconnected) => {
                        return Err(self.target.unreachable(io::Error::other("the resolver could not be started")));
                    }
                }
                self.connect_next(listener, now, None)
            }
            State::Connecting(stream) => match connected(stream) {
                Ok(true) => self.begin_upgrade(now),
                Ok(false) if now < self.deadline => Ok(None),
                Ok(false) => self.connect_next(listener, now, None),
                Err(error) => self.connect_next(listener, now, Some(error)),
            },
            State::Upgrading(_) => self.continue_upgrade(now),
            State::Open(_) => self.receive(now),
            State::Over => Ok(None),
        }
    }

    /// Tries the next address, with a fair share of the time that is left.
    fn connect_next(
        &mut self,
        listener: &Listener,
        now: Instant,
        last_error: Option<io::Error>,
    ) -> Result<Option<Incoming>, SocketError> {
        let mut last_error = last_error;
        while let Some(address) = self.addresses.pop_front() {
            let tries = u32::try_from(self.addresses.len() + 1).unwrap_or(u32::MAX);
            self.deadline = now + self.opened_by.since(now) / tries;
            let registered = mio::net::TcpStream::connect(address).and_then(|mut stream| {
                let interest = mio::Interest::READABLE | mio::Interest::WRITABLE;
                listener.registry().register(&mut stream, self.token, interest)?;
                Ok(stream)
            });
            match registered {
                Ok(stream) => {
                    self.state = State::Connecting(stream);
                    return Ok(None);
                }
                Err(error) => last_error = Some(error),
            }
        }
        match last_error {
            Some(error) => Err(self.target.unreachable(error)),
            None => Err(self.target.timed_out("connect")),
        }
    }

    fn begin_upgrade(&mut self, now: Instant) -> Result<Option<Incoming>, SocketError> {
        let State::Connecting(tcp) = std::mem::replace(&mut self.state, State::Over) else { return Ok(None) };
        // A frame of 20 ms must not wait for the acknowledgement of the one before.
        tcp.set_nodelay(true).map_err(|error| self.target.unreachable(error))?;
        let stream = if self.target.is_encrypted() {
            self.trust.wrap(tcp, self.target.host()).map_err(|error| self.target.unreachable(error))?
        } else {
            Stream::Plain(tcp)
        };
        self.state = State::Upgrading(Box::new(Upgrade::new(stream, &self.target, self.opened_by)?));
        self.continue_upgrade(now)
    }

    fn continue_upgrade(&mut self, now: Instant) -> Result<Option<Incoming>, SocketError> {
        let State::Upgrading(mut upgrade) = std::mem::replace(&mut self.state, State::Over) else { return Ok(None) };
        if !upgrade.poll(&self.target, now)? {
            self.state = State::Upgrading(upgrade);
            return Ok(None);
        }
        self.state = State::Open(Box::new(upgrade.into_socket()));
        self.heard = now;
        self.ping_at = now + PING_EVERY;
        Ok(Some(Incoming::Opened))
    }

    fn receive(&mut self, now: Instant) -> Result<Option<Incoming>, SocketError> {
        let State::Open(socket) = &mut self.state else { return Ok(None) };
        if now >= self.ping_at {
            self.ping_at = now + PING_EVERY;
            if now.since(self.heard) >= SILENCE_MAX {
                return Err(self.target.timed_out("answer a ping"));
            }
            // After a close there is nothing to ping, and a broken socket shows itself in the read below.
            let _ = written(socket.write(Message::Ping(tungstenite::Bytes::new())));
            self.unsent = true;
        }
        if self.unsent {
            match written(socket.flush()) {
                Ok(all) => self.unsent = !all,
                Err(error) => return Err(self.broken(error)),
            }
        }
        loop {
            let State::Open(socket) = &mut self.state else { return Ok(None) };
            match socket.read() {
                Ok(Message::Text(text)) => {
                    self.heard = now;
                    return Ok(Some(Incoming::Text(text)));
                }
                Ok(Message::Close(frame)) => {
                    let host = self.target.host().to_owned();
                    let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                        (u16::from(frame.code), excerpt(&frame.reason, self.target.key()))
                    });
                    // The answer to the close is queued; this is the last chance to send it.
                    let _ = socket.flush();
                    return Err(SocketError::Closed { host, code, reason });
                }
                Ok(Message::Binary(bytes)) => {
                    self.heard = now;
                    return Ok(Some(Incoming::Binary(bytes)));
                }
                // Pongs are proof of life.
                Ok(_) => self.heard = now,
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    fn broken(&self, error: tungstenite::Error) -> SocketError {
        use tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
        let host = self.target.host().to_owned();
        match error {
            tungstenite::Error::Io(source) => SocketError::Broken { host, source },
            tungstenite::Error::Protocol(ResetWithoutClosingHandshake)
            | tungstenite::Error::ConnectionClosed
            | tungstenite::Error::AlreadyClosed => {
                SocketError::Broken { host, source: ErrorKind::ConnectionReset.into() }
            }
            tungstenite::Error::WriteBufferFull(_) => SocketError::TimedOut { host, what: "take what was sent" },
            source => SocketError::Protocol { host, source },
        }
    }
}

/// Starts to look `host` up, away from this thread unless it is an address already; `bell` rings when it is done.
fn resolve(host: &str, port: u16, bell: Bell) -> Receiver<io::Result<Vec<SocketAddr>>> {
    let (found, addresses) = bounded(1);
    if let Ok(ip) = host.parse::<IpAddr>() {
        let _ = found.send(Ok(vec![SocketAddr::new(ip, port)]));
        bell.ring();
        return addresses;
    }
    let host = host.to_owned();
    let look_up = move || {
        let _ = found.send((host.as_str(), port).to_socket_addrs().map(Iterator::collect));
        bell.ring();
    };
    // Where no thread is to be had, the sender is dropped with the closure, and the receiver tells.
    let _ = std::thread::Builder::new().name("resolve".into()).spawn(look_up);
    addresses
}

/// Whether a connection that was begun is there.
fn connected(stream: &mio::net::TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether all is written; bytes that the peer has no room for stay queued and are no error.
fn written(result: Result<(), tungstenite::Error>) -> Result<bool, tungstenite::Error> {
    match result {
        Ok(()) => Ok(true),
        Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}
