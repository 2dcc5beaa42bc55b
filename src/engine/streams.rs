//! The connections over which SIP comes, TCP and TLS: accepted, read into messages, written, and closed when of no more use.
//!
//! Connections are accepted and never made. Whoever holds one can cost no more than its share: their number is capped, over
//! all and per source; each has deadlines for its first message, for the rest of a message that has begun, and for what it
//! does not take; and a turn of the net thread does a bounded amount of work for each, and one TLS handshake step in all.

use crate::engine::listeners::{Listening, STREAM_TOKENS};
use crate::metrics::{Board, Counter};
use crate::sip::flow::{Flow, Transport};
use crate::sip::framing::{Frame, Framer};
use crate::time::Instant;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::ServerConnection;
use socket2::{SockRef, TcpKeepalive};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Most connections at once. Each is a file descriptor, and those that a system gives a process by default, 1024, are for
/// the calls as well.
pub const CONNECTIONS_MAX: usize = 512;
/// Most connections of one address: an office behind one NAT.
pub const CONNECTIONS_PER_SOURCE_MAX: usize = 128;
/// From the connection to its first whole message, the TLS handshake included: several round trips and a few losses.
const FIRST_MESSAGE_MAX: Duration = Duration::from_secs(10);
/// From the first byte of a message to its last; a longer one is a client that holds the connection open on purpose.
const MESSAGE_MAX: Duration = Duration::from_secs(10);
/// How long what was written may wait for the peer to take it.
const UNSENT_MAX: Duration = Duration::from_secs(10);
/// How long after its last message a connection is kept that no call and no registration needs: RFC 3261 §18 asks for the
/// longest transaction, 32 s; twice that lets a phone think.
const IDLE_MAX: Duration = Duration::from_secs(64);
/// How long the peer has to take the last words and close: closing first would take them back (RFC 1122 §4.2.2.13).
const LEAVE_MAX: Duration = Duration::from_secs(2);
/// How often the deadlines above are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Bytes that wait for one peer: its answers and our requests of many seconds. Who takes no more is dropped.
const UNSENT_BYTES_MAX: usize = 64 * 1024;
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// Reads from one connection before the others have their turn.
const READS_PER_TURN: usize = 4;
/// Connections accepted before the sockets have their turn.
const ACCEPTS_PER_TURN: usize = 16;
/// TLS handshake steps in one turn: each is up to a millisecond in which no media is read.
const HANDSHAKES_PER_TURN: usize = 1;
/// How soon accepting is tried again after the system had no descriptor left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// When a silent connection is probed by TCP, and how often then: a phone that is gone without a word is noticed after the
/// system's number of probes, on Linux 9, which is within four minutes.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15));

const ACCEPTED: Counter = Counter { name: "sip_connections_accepted", help: "Connections taken, TCP and TLS" };
const REFUSED: Counter = Counter { name: "sip_connections_refused", help: "Connections closed at once: too many" };
const TIMED_OUT: Counter =
    Counter { name: "sip_connections_timed_out", help: "Connections closed because nothing, or not all of it, came" };
const UNREADABLE: Counter =
    Counter { name: "sip_connections_unreadable", help: "Connections closed because no SIP message can be made out" };
const OVERFLOWED: Counter =
    Counter { name: "sip_connections_overflowed", help: "Connections closed because the peer does not read" };
const HANDSHAKES_FAILED: Counter = Counter { name: "sip_tls_failures", help: "TLS connections that failed" };

/// All connections.
pub struct Streams {
    listeners: Vec<Listening>,
    connections: BTreeMap<u64, Connection>,
    per_source: BTreeMap<IpAddr, usize>,
    next: u64,
    registry: Registry,
    board: Arc<Board>,
    handshakes_left: usize,
    gone: Vec<Flow>,
    sweep_at: Option<Instant>,
    accept_at: Option<Instant>,
}

/// A connection.
struct Connection {
    stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    flow: Flow,
    count: Arc<AtomicUsize>,
    framer: Framer,
    /// What the peer has not taken; with TLS, rustls keeps it.
    unsent: Vec<u8>,
    unsent_since: Option<Instant>,
    opened: Instant,
    /// When the last message came.
    heard: Option<Instant>,
    /// When the message began that is not whole.
    amid_since: Option<Instant>,
    /// Set once nothing more is read: until when it may stay.
    leave_by: Option<Instant>,
    is_shut: bool,
}

/// What a turn of reading has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Got {
    /// All there was.
    All,
    /// There may be more.
    More,
    /// The peer has closed.
    End,
    /// The connection is of no more use.
    Fault,
}

impl Streams {
    /// Makes the table for what the listeners accept, and registers them.
    ///
    /// # Errors
    /// What the system says about registering.
    pub fn new(mut listeners: Vec<Listening>, registry: &Registry, board: Arc<Board>) -> io::Result<Self> {
        for (at, listening) in listeners.iter_mut().enumerate() {
            registry.register(&mut listening.listener, Token(STREAM_TOKENS + at), Interest::READABLE)?;
        }
        Ok(Self {
            next: listeners.len() as u64,
            listeners,
            connections: BTreeMap::new(),
            per_source: BTreeMap::new(),
            registry: registry.try_clone()?,
            board,
            handshakes_left: HANDSHAKES_PER_TURN,
            gone: Vec::new(),
            sweep_at: None,
            accept_at: None,
        })
    }

    /// Whether `token` belongs to a listener or a connection here.
    #[must_use]
    pub fn owns(token: Token) -> bool {
        token.0 >= STREAM_TOKENS
    }

    /// Takes the readiness of `token`: accepts, or reads and writes. Puts what came into `frames`; returns whether there is
    /// more to do at once.
    pub fn handle_ready(&mut self, token: Token, now: Instant, frames: &mut Vec<(Flow, Frame)>) -> bool {
        let number = (token.0 - STREAM_TOKENS) as u64;
        if number < self.listeners.len() as u64 {
            return self.accept(number as usize, now);
        }
        let Some(connection) = self.connections.get_mut(&number) else { return false };
        if !connection.flush(now) {
            self.close(number);
            return false;
        }
        match connection.read(&mut self.handshakes_left, now, frames) {
            Got::All => false,
            Got::More => true,
            // What came before the end is to be answered first; the end is still there at the next turn.
            Got::End if !frames.is_empty() => true,
            Got::End => {
                self.leave(number, now);
                false
            }
            Got::Fault => {
                if connection.tls.is_some() {
                    self.board.count(HANDSHAKES_FAILED, 1);
                }
                self.close(number);
                false
            }
        }
    }

    /// Sends `bytes` by the connection of `flow`; returns whether there is one that takes them.
    pub fn send(&mut self, flow: Flow, bytes: &[u8], now: Instant) -> bool {
        let number = flow.connection;
        let Some(connection) = self.connections.get_mut(&number).filter(|open| open.leave_by.is_none()) else {
            return false;
        };
        let taken = connection.queue(bytes);
        if !taken {
            self.board.count(OVERFLOWED, 1);
        }
        if !(taken && connection.flush(now)) {
            self.close(number);
            return false;
        }
        true
    }

    /// Closes a connection on which nothing can be understood any more, once its last answer is taken.
    pub fn reject(&mut self, flow: Flow, now: Instant) {
        self.board.count(UNREADABLE, 1);
        self.leave(flow.connection, now);
    }

    /// Returns the flows that are gone since this was last asked: what waits on them has to be told.
    pub fn poll_gone(&mut self) -> Option<Flow> {
        self.gone.pop()
    }

    /// Takes the passage of time, at the end of a turn; `is_needed` says whether a call or a registration needs a connection.
    pub fn handle_timeout(&mut self, now: Instant, is_needed: impl Fn(u64) -> bool) {
        self.handshakes_left = HANDSHAKES_PER_TURN;
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            for at in 0..self.listeners.len() {
                self.accept(at, now);
            }
        }
        if self.sweep_at.is_none_or(|at| at > now) {
            return;
        }
        let late: Vec<u64> = self
            .connections
            .iter()
            .filter(|(number, connection)| connection.is_late(now, || is_needed(**number)))
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            self.board.count(TIMED_OUT, 1);
            self.close(number);
        }
        self.sweep_at = (!self.connections.is_empty()).then(|| now + SWEEP_EVERY);
    }

    /// Returns when [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.sweep_at, self.accept_at].into_iter().flatten().min()
    }

    fn accept(&mut self, at: usize, now: Instant) -> bool {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listening) = self.listeners.get(at) else { return false };
            match listening.listener.accept() {
                Ok((stream, peer)) => self.open(at, stream, canonical(peer), now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // The peer was quicker to leave than we to answer.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {
                }
                Err(_) => {
                    self.accept_at = Some(now + ACCEPT_AGAIN);
                    return false;
                }
            }
        }
        true
    }

    fn open(&mut self, at: usize, mut stream: TcpStream, peer: SocketAddr, now: Instant) {
        let of_source = self.per_source.get(&peer.ip()).copied().unwrap_or(0);
        if self.connections.len() >= CONNECTIONS_MAX || of_source >= CONNECTIONS_PER_SOURCE_MAX {
            self.board.count(REFUSED, 1);
            return;
        }
        let Some(listening) = self.listeners.get(at) else { return };
        let tls = listening.tls.as_ref().map(|config| ServerConnection::new(config.clone()));
        let number = self.next;
        self.next += 1;
        let token = Token(STREAM_TOKENS + number as usize);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let (Ok(local), Ok(tls), Ok(())) =
            (stream.local_addr(), tls.transpose(), self.registry.register(&mut stream, token, interest))
        else {
            return;
        };
        // An answer is one write, so that Nagle's algorithm would delay it for nothing. A connection on which either
        // option fails is served all the same.
        let _ = stream.set_nodelay(true);
        let (after, every) = KEEPALIVE;
        let keepalive = TcpKeepalive::new().with_time(after).with_interval(every);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        let tls = tls.map(|mut tls| {
            tls.set_buffer_limit(Some(UNSENT_BYTES_MAX));
            Box::new(tls)
        });
        let transport = if tls.is_some() { Transport::Tls } else { Transport::Tcp };
        let count = listening.connections.clone();
        count.fetch_add(1, Ordering::Relaxed);
        *self.per_source.entry(peer.ip()).or_default() += 1;
        self.board.count(ACCEPTED, 1);
        self.sweep_at.get_or_insert(now + SWEEP_EVERY);
        self.connections.insert(
            number,
            Connection {
                stream,
                tls,
                flow: Flow { transport, peer, local: canonical(local), connection: number },
                count,
                framer: Framer::default(),
                unsent: Vec::new(),
                unsent_since: None,
                opened: now,
                heard: None,
                amid_since: None,
                leave_by: None,
                is_shut: false,
            },
        );
    }

    /// Reads nothing more, and closes once the peer has taken what was written.
    fn leave(&mut self, number: u64, now: Instant) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if connection.leave_by.is_some() {
            return self.close(number);
        }
        connection.leave_by = Some(now + LEAVE_MAX);
        self.gone.push(connection.flow);
        if let Some(tls) = &mut connection.tls {
            tls.send_close_notify();
        }
        if !connection.flush(now) {
            self.close(number);
        }
    }

    fn close(&mut self, number: u64) {
        let Some(mut connection) = self.connections.remove(&number) else { return };
        if connection.leave_by.is_none() {
            self.gone.push(connection.flow);
        }
        // Closing the socket takes it out of the poll just as well, so that a failure does not matter.
        let _ = self.registry.deregister(&mut connection.stream);
        connection.count.fetch_sub(1, Ordering::Relaxed);
        let source = connection.flow.peer.ip();
        if let Some(count) = self.per_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&source);
            }
        }
    }
}

impl Connection {
    fn read(&mut self, handshakes_left: &mut usize, now: Instant, frames: &mut Vec<(Flow, Frame)>) -> Got {
        for _ in 0..READS_PER_TURN {
            let mut bytes = [0; READ_BYTES];
            let got = match &mut self.tls {
                None => match self.stream.read(&mut bytes) {
                    Ok(0) => Err(Got::End),
                    Ok(len) => Ok(len),
                    Err(error) => Err(of_error(&error)),
                },
                Some(tls) => read_tls(tls, &mut self.stream, handshakes_left, &mut bytes),
            };
            match got {
                Ok(len) if self.leave_by.is_none() => {
                    self.take(bytes.get(..len).unwrap_or_default(), now, frames);
                    if self.tls.is_some() && !self.flush(now) {
                        return Got::Fault;
                    }
                }
                Ok(_) => {}
                Err(Got::More) => {}
                Err(got) => return got,
            }
        }
        Got::More
    }

    /// Makes frames of what came.
    fn take(&mut self, bytes: &[u8], now: Instant, frames: &mut Vec<(Flow, Frame)>) {
        self.framer.handle_bytes(bytes);
        while let Some(frame) = self.framer.poll_frame() {
            if matches!(frame, Frame::Message(_)) {
                self.heard = Some(now);
            }
            self.amid_since = None;
            frames.push((self.flow, frame));
        }
        if self.framer.is_amid() {
            self.amid_since.get_or_insert(now);
        }
    }

    /// Queues `bytes`; returns whether there was room for all of them.
    fn queue(&mut self, bytes: &[u8]) -> bool {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes).is_ok(),
            None => {
                let fits = self.unsent.len() + bytes.len() <= UNSENT_BYTES_MAX;
                if fits {
                    self.unsent.extend_from_slice(bytes);
                }
                fits
            }
        }
    }

    /// Writes what the peer takes; returns whether the connection is as good as before.
    fn flush(&mut self, now: Instant) -> bool {
        loop {
            let wrote = match &mut self.tls {
                Some(tls) if tls.wants_write() => tls.write_tls(&mut self.stream),
                None if !self.unsent.is_empty() => self.stream.write(&self.unsent),
                _ => break,
            };
            match wrote {
                Ok(0) => return false,
                Ok(len) => {
                    if self.tls.is_none() {
                        self.unsent.drain(..len);
                    }
                    self.unsent_since = None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unsent_since.get_or_insert(now);
                    return true;
                }
                Err(_) => return false,
            }
        }
        self.unsent_since = None;
        if self.leave_by.is_some() && !std::mem::replace(&mut self.is_shut, true) {
            // A peer that is gone already has nothing left to be told.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        true
    }

    fn is_late(&self, now: Instant, is_needed: impl Fn() -> bool) -> bool {
        let passed = |since: Option<Instant>, limit| since.is_some_and(|since| since + limit <= now);
        if let Some(leave_by) = self.leave_by {
            return leave_by <= now;
        }
        passed(self.unsent_since, UNSENT_MAX)
            || passed(self.amid_since, MESSAGE_MAX)
            || self.heard.is_none() && self.opened + FIRST_MESSAGE_MAX <= now
            || passed(self.heard, IDLE_MAX) && !is_needed()
    }
}

/// Reads what TLS makes of the stream's bytes into `bytes`: how many, or why there are none.
fn read_tls(
    tls: &mut ServerConnection,
    stream: &mut TcpStream,
    handshakes_left: &mut usize,
    bytes: &mut [u8],
) -> Result<usize, Got> {
    match tls.reader().read(bytes) {
        Ok(0) => return Err(Got::End),
        Ok(len) => return Ok(len),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(_) => return Err(Got::End),
    }
    if tls.is_handshaking() {
        *handshakes_left = handshakes_left.checked_sub(1).ok_or(Got::More)?;
    }
    match tls.read_tls(stream) {
        Ok(0) => return Err(Got::End),
        Ok(_) => {}
        Err(error) => return Err(of_error(&error)),
    }
    if tls.process_new_packets().is_err() {
        // The alert that says why; a peer that does not take it does not want to know.
        let _ = tls.write_tls(stream);
        return Err(Got::Fault);
    }
    Ok(0)
}

fn of_error(error: &io::Error) -> Got {
    match error.kind() {
        io::ErrorKind::WouldBlock => Got::All,
        io::ErrorKind::Interrupted => Got::More,
        _ => Got::Fault,
    }
}

/// Returns `address` with IPv4 in IPv6 as IPv4; the scope of a link-local one stays.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}
