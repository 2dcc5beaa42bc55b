//! A WebSocket to a provider, over TLS or plain to loopback, that never blocks: its thread waits on it and on its bell at once.
//!
//! [`Socket::poll`] is called after every wake-up and takes whatever step is due: resolve, connect, TLS, upgrade, then
//! messages. Its own deadlines are in [`Socket::poll_timeout`].

use super::redaction::excerpt;
use super::tls::{Stream, Trust};
use super::{Bell, Listener};
use crate::agent::{Failure, FailureKind};
use crate::config::Secret;
use crate::time::Instant;
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;
use tungstenite::handshake::client::{Response, generate_key, generate_request};
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::{HeaderMap, Request, StatusCode, Uri};
use tungstenite::protocol::{Message, Role, WebSocket, WebSocketConfig};

/// From the first look-up to the finished upgrade. A caller who waits for longer has a dead line.
pub const OPEN_MAX: Duration = Duration::from_secs(5);
/// How often a ping is sent: Flux drops a connection after 60 s without audio or ping, and NATs forget idle ones sooner.
pub const PING_EVERY: Duration = Duration::from_secs(10);
/// A peer that sends nothing, not even a pong, for this long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(25);
/// How long the body of a refusal is waited for.
const BODY_WAIT: Duration = Duration::from_millis(300);
/// Bytes kept of a refusal's body, before it is cut to an excerpt.
const BODY_MAX: usize = 4096;
/// The longest head of an upgrade's response.
const HEAD_MAX: usize = 32 * 1024;
/// The longest message taken: a second of 48 kHz audio as base64 is 130 kB, a long turn's word list 200 kB.
const MESSAGE_MAX: usize = 4 << 20;
/// What may wait to be written before the peer counts as gone: 30 s of 16 kHz audio.
const UNSENT_MAX: usize = 1 << 20;

/// Where a socket leads: an address, a path and the header that carries the key.
#[derive(Clone, Debug)]
pub struct Target {
    tls: bool,
    host: String,
    port: u16,
    path: String,
    headers: Vec<(&'static str, String)>,
    auth: Option<(&'static str, &'static str)>,
    key: Secret,
}

impl Target {
    /// Makes the target `base_url` + `path`, where `path` may carry a query.
    ///
    /// # Errors
    /// [`SocketError::Url`] where `base_url` is no `wss://` address, or a `ws://` one that does not lead to loopback.
    pub fn new(base_url: &str, path: &str) -> Result<Self, SocketError> {
        let wrong = |why: &'static str| SocketError::Url { url: base_url.to_owned(), why };
        let uri: Uri = base_url.parse().map_err(|_| wrong("is no URL"))?;
        let host = uri.host().ok_or_else(|| wrong("has no host"))?.trim_matches(['[', ']']).to_owned();
        let tls = match uri.scheme_str() {
            Some("wss") => true,
            Some("ws") if is_loopback(&host) => false,
            Some("ws") => return Err(wrong("is not encrypted; ws:// is for loopback only, use wss://")),
            _ => return Err(wrong("does not begin with wss://")),
        };
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = format!("{}{path}", uri.path().trim_end_matches('/'));
        Ok(Self { tls, host, port, path, headers: Vec::new(), auth: None, key: Secret::default() })
    }

    /// Adds a header that is no secret.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Sends `prefix` + `key` as the header `name`.
    #[must_use]
    pub fn auth(mut self, name: &'static str, prefix: &'static str, key: &Secret) -> Self {
        self.auth = Some((name, prefix));
        self.key = key.clone();
        self
    }

    /// Returns the host's name, for error texts.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Writes the upgrade request; returns it with the accept key that its answer must carry.
    fn request(&self) -> Result<(Vec<u8>, String), SocketError> {
        let scheme = if self.tls { "wss" } else { "ws" };
        let authority = match (self.host.contains(':'), self.port) {
            (true, port) => format!("[{}]:{port}", self.host),
            (false, 80 | 443) => self.host.clone(),
            (false, port) => format!("{}:{port}", self.host),
        };
        let mut builder = Request::builder()
            .uri(format!("{scheme}://{authority}{}", self.path))
            .header("Host", authority)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", generate_key());
        for (name, value) in &self.headers {
            builder = builder.header(*name, value);
        }
        if let Some((name, prefix)) = self.auth {
            builder = builder.header(name, format!("{prefix}{}", self.key.expose()));
        }
        // A key with a line break in it is the one way to get here; the error must not repeat it.
        let unfit =
            || SocketError::Url { url: self.host.clone(), why: "cannot be asked: the key does not fit a header" };
        let request = builder.body(()).map_err(|_| unfit())?;
        let (bytes, key) = generate_request(request).map_err(|_| unfit())?;
        Ok((bytes, tungstenite::handshake::derive_accept_key(key.as_bytes())))
    }
}

/// Whether `host` is this machine: an address of the loopback interface, or `localhost`.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What comes out of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The upgrade is done; messages may be sent.
    Opened,
    /// A text message.
    Text(tungstenite::Utf8Bytes),
}

/// Why there is no socket (any more).
#[derive(Debug)]
pub enum SocketError {
    /// The address cannot be used.
    Url { url: String, why: &'static str },
    /// Not resolved, not connected, or no TLS.
    Unreachable { host: String, source: io::Error },
    /// A deadline passed.
    TimedOut { host: String, what: &'static str },
    /// The upgrade was answered with something else.
    Refused { host: String, status: u16, body: String, limits: Vec<(String, String)>, retry_after: Option<Duration> },
    /// What came is not WebSocket.
    Protocol { host: String, source: tungstenite::Error },
    /// The connection broke.
    Broken { host: String, source: io::Error },
    /// The peer closed; 1005 is "without a code" (RFC 6455 §7.1.5).
    Closed { host: String, code: u16, reason: String },
}

impl SocketError {
    /// Whether another try may go better: everything but a wrong address and a refusal by 4xx other than 408 and 429.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Url { .. } => false,
            Self::Refused { status, .. } => !matches!(status, 300..500) || matches!(status, 408 | 429),
            // A certificate does not become valid by asking again.
            Self::Unreachable { source, .. } => source.kind() != ErrorKind::InvalidData,
            _ => true,
        }
    }

    /// Returns it as a provider's failure.
    #[must_use]
    pub fn failure(&self, provider: &str) -> Failure {
        let kind = match self {
            Self::Refused { status: 429, retry_after, .. } => FailureKind::RateLimited { retry_after: *retry_after },
            Self::TimedOut { .. } => FailureKind::Stalled,
            Self::Protocol { .. } => FailureKind::Garbage,
            _ if self.is_transient() => FailureKind::Dropped,
            _ => FailureKind::Refused,
        };
        let settings = provider.to_uppercase();
        let cure = match self {
            Self::Refused { status: 401 | 403, .. } => format!("; check {settings}_API_KEY"),
            Self::Refused { status: 402, .. } => "; the account has no credit".into(),
            Self::Refused { status: 429, .. } => "; too many sessions for this account".into(),
            Self::Unreachable { .. } => format!("; check the network and {settings}_BASE_URL"),
            _ => String::new(),
        };
        Failure { kind, text: format!("{provider}: {self}{cure}") }
    }
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { url, why } => write!(f, "{url} {why}"),
            Self::Unreachable { host, source } => write!(f, "{host} cannot be reached: {source}"),
            Self::TimedOut { host, what } => write!(f, "{host} did not {what} in time"),
            Self::Refused { host, status, body, limits, .. } => {
                write!(f, "{host} refused with {status}")?;
                for (name, value) in limits {
                    write!(f, ", {name} {value}")?;
                }
                if body.is_empty() { Ok(()) } else { write!(f, ": {body}") }
            }
            Self::Protocol { host, source } => write!(f, "{host} does not speak websocket: {source}"),
            Self::Broken { host, source } => write!(f, "the connection to {host} broke: {source}"),
            Self::Closed { host, code, reason } => write!(f, "{host} closed the connection with {code} {reason:?}"),
        }
    }
}

impl std::error::Error for SocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable { source, .. } | Self::Broken { source, .. } => Some(source),
            Self::Protocol { source, .. } => Some(source),
            _ => None,
        }
    }
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

/// An upgrade under way (RFC 6455 §4.1).
struct Upgrade {
    stream: Stream,
    request: Vec<u8>,
    written: usize,
    accept: String,
    response: Vec<u8>,
    /// The refusal whose body is being waited for, and where that body begins.
    refusal: Option<(StatusCode, HeaderMap, usize)>,
}

impl Socket {
    /// Sets out for `target`; the socket's events will wake `listener` as `token`.
    #[must_use]
    pub fn open(target: Target, trust: Trust, listener: &Listener, token: mio::Token, now: Instant) -> Self {
        let addresses = resolve(&target.host, target.port, listener.bell());
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
            return Err(SocketError::Broken { host: self.target.host.clone(), source });
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
                        return Err(self.unreachable(found.err().unwrap_or_else(nothing)));
                    }
                    Err(TryRecvError::Empty) => return self.wait_for("resolve", now),
                    Err(TryRecvError::Disconnected) => {
                        return Err(self.unreachable(io::Error::other("the resolver could not be started")));
                    }
                }
                self.connect_next(listener, now, None)
            }
            State::Connecting(stream) => match connected(stream) {
                Ok(true) => self.upgrade(listener, now),
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
            Some(error) => Err(self.unreachable(error)),
            None => Err(SocketError::TimedOut { host: self.target.host.clone(), what: "connect" }),
        }
    }

    fn upgrade(&mut self, listener: &Listener, now: Instant) -> Result<Option<Incoming>, SocketError> {
        let State::Connecting(tcp) = std::mem::replace(&mut self.state, State::Over) else { return Ok(None) };
        // A frame of 20 ms must not wait for the acknowledgement of the one before.
        tcp.set_nodelay(true).map_err(|error| self.unreachable(error))?;
        let (request, accept) = self.target.request()?;
        let stream = if self.target.tls {
            self.trust.wrap(tcp, &self.target.host).map_err(|error| self.unreachable(error))?
        } else {
            Stream::Plain(tcp)
        };
        let (written, response, refusal) = (0, Vec::new(), None);
        self.deadline = self.opened_by;
        self.state = State::Upgrading(Box::new(Upgrade { stream, request, written, accept, response, refusal }));
        self.step(listener, now)
    }

    fn continue_upgrade(&mut self, now: Instant) -> Result<Option<Incoming>, SocketError> {
        let State::Upgrading(upgrade) = &mut self.state else { return Ok(None) };
        let whole = match upgrade.exchange() {
            Ok(whole) => whole,
            Err(error) => return Err(self.unreachable(error)),
        };
        if upgrade.refusal.is_some() {
            return if whole || now >= self.deadline { Err(self.refused()) } else { Ok(None) };
        }
        match Response::try_parse(&upgrade.response) {
            Ok(None) if whole => Err(self.unreachable(ErrorKind::UnexpectedEof.into())),
            Ok(None) if upgrade.response.len() > HEAD_MAX => {
                Err(self.unreachable(io::Error::other("it answers with an endless head")))
            }
            Ok(None) => self.wait_for("answer", now),
            Ok(Some((head, response))) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                self.accept(head, response.headers(), now)
            }
            Ok(Some((head, response))) => {
                upgrade.refusal = Some((response.status(), response.headers().clone(), head));
                self.deadline = now + BODY_WAIT;
                self.continue_upgrade(now)
            }
            Err(source) => Err(SocketError::Protocol { host: self.target.host.clone(), source }),
        }
    }

    /// The upgrade is granted; what came after its head are the first messages.
    fn accept(&mut self, head: usize, headers: &HeaderMap, now: Instant) -> Result<Option<Incoming>, SocketError> {
        let State::Upgrading(upgrade) = std::mem::replace(&mut self.state, State::Over) else { return Ok(None) };
        let accept = headers.get("Sec-WebSocket-Accept").map(|value| value.as_bytes());
        if accept != Some(upgrade.accept.as_bytes()) {
            let source = tungstenite::error::ProtocolError::SecWebSocketAcceptKeyMismatch.into();
            return Err(SocketError::Protocol { host: self.target.host.clone(), source });
        }
        let Upgrade { stream, response, .. } = *upgrade;
        let config = WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .write_buffer_size(0)
            .max_write_buffer_size(UNSENT_MAX)
            .max_message_size(Some(MESSAGE_MAX))
            .max_frame_size(Some(MESSAGE_MAX));
        let first = response.get(head..).unwrap_or_default().to_vec();
        let socket = WebSocket::from_partially_read(stream, first, Role::Client, Some(config));
        self.state = State::Open(Box::new(socket));
        self.heard = now;
        self.ping_at = now + PING_EVERY;
        Ok(Some(Incoming::Opened))
    }

    fn receive(&mut self, now: Instant) -> Result<Option<Incoming>, SocketError> {
        let State::Open(socket) = &mut self.state else { return Ok(None) };
        if now >= self.ping_at {
            self.ping_at = now + PING_EVERY;
            if now.since(self.heard) >= SILENCE_MAX {
                return Err(SocketError::TimedOut { host: self.target.host.clone(), what: "answer a ping" });
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
                    let host = self.target.host.clone();
                    let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                        (u16::from(frame.code), excerpt(&frame.reason, &self.target.key))
                    });
                    // The answer to the close is queued; this is the last chance to send it.
                    let _ = socket.flush();
                    return Err(SocketError::Closed { host, code, reason });
                }
                // Pongs are proof of life; no provider here sends binary messages.
                Ok(_) => self.heard = now,
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    fn wait_for(&self, what: &'static str, now: Instant) -> Result<Option<Incoming>, SocketError> {
        if now < self.deadline { Ok(None) } else { Err(SocketError::TimedOut { host: self.target.host.clone(), what }) }
    }

    fn refused(&self) -> SocketError {
        let host = self.target.host.clone();
        let State::Upgrading(upgrade) = &self.state else {
            return SocketError::Closed { host, code: 1005, reason: String::new() };
        };
        let Some((status, headers, head)) = &upgrade.refusal else {
            return SocketError::Closed { host, code: 1005, reason: String::new() };
        };
        let body = upgrade.response.get(*head..).unwrap_or_default();
        SocketError::Refused {
            host,
            status: status.as_u16(),
            body: excerpt(&String::from_utf8_lossy(body), &self.target.key),
            limits: limits(headers),
            retry_after: seconds(headers, "retry-after"),
        }
    }

    fn unreachable(&self, source: io::Error) -> SocketError {
        SocketError::Unreachable { host: self.target.host.clone(), source }
    }

    fn broken(&self, error: tungstenite::Error) -> SocketError {
        use tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
        let host = self.target.host.clone();
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

impl Upgrade {
    /// Writes the request and reads what there is; returns whether the peer's answer is whole, as far as it is of use.
    fn exchange(&mut self) -> io::Result<bool> {
        while let Some(rest) = self.request.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(len) => self.written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        match self.stream.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        let mut chunk = [0; 4096];
        loop {
            if let Some((_, headers, head)) = &self.refusal {
                let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
                if self.response.len().saturating_sub(*head) >= length.unwrap_or(BODY_MAX).min(BODY_MAX) {
                    return Ok(true);
                }
            } else if self.response.len() > HEAD_MAX {
                return Ok(false);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(true),
                Ok(len) => self.response.extend_from_slice(&chunk[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // TLS peers that hang up without saying so are common, and the body may be there already.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof && self.refusal.is_some() => return Ok(true),
                Err(error) => return Err(error),
            }
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

/// Returns the rate-limit headers, which tell the operator what to buy.
fn limits(headers: &HeaderMap) -> Vec<(String, String)> {
    let is_limit = |name: &str| name.starts_with("x-ratelimit-") || name == "retry-after" || name == "dg-error";
    headers
        .iter()
        .filter(|(name, _)| is_limit(name.as_str()))
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.chars().take(80).collect())))
        .collect()
}

/// Reads a header that holds seconds.
fn seconds(headers: &HeaderMap, name: &str) -> Option<Duration> {
    let seconds: f64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}
