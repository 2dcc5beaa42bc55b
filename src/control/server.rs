//! The one home of tiny_http: connections, threads, and the WebSocket that lets a call be heard.
//!
//! tiny_http reads requests in a pool of threads, one per open connection; [`WORKERS`] threads take them from its queue and
//! answer. Two of its traits shape what is here. Of connections that come at the same moment its pool may let one wait behind
//! another that stays open, so that every answer asks the client to close, and every stream makes way. And it limits neither the time nor the length of a request's head, so that whoever may
//! connect may hold threads and memory: beyond loopback the place for those limits is a proxy in front.

use super::download;
use super::guard::Sender;
use super::routes::{self, Answer, Reply};
use super::{Bridge, ListenError, ListenFrame, events};
use crate::config::{self, Secret};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, ErrorKind, Read as _, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tiny_http::{Header, Method, Request, Response, StatusCode};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocket, WebSocketConfig};
use tungstenite::{Bytes, Message};

/// Threads that answer: the engine's answers take µs, but for a stop, which waits for every BYE, and a start.
const WORKERS: usize = 3;
/// Requests with a body at once: taking it off the connection waits for whoever sends it. Each holds a thread beside the one that
/// tiny_http gives its connection anyway; those beyond would hold up the [`WORKERS`].
const BODIES_MAX: usize = 256;
/// Longest body that is taken off the connection. tiny_http makes room for the whole announced rest at once when a request is
/// dropped, and a length that no machine has would end the process.
const BODY_MAX: usize = 64 << 20;
/// Calls heard over WebSockets at once: each takes a thread.
const LISTENERS_MAX: usize = 32;
/// Streams of events at once: each takes a thread.
const FOLLOWERS_MAX: usize = 16;
/// Most files that are on their way at once: each is a thread, and reads from the disk that recordings go to.
const DOWNLOADS_MAX: usize = 8;
/// How long a write waits for a client that does not read. Its socket's buffers hold seconds of audio before that.
const WRITE_WAIT: Duration = Duration::from_secs(2);
/// Writes in a row that may wait in vain before a listener is given up: 10 s.
const WRITES_IN_VAIN_MAX: u32 = 5;
/// Idle time after which the system asks whether a client is still there, and the time between its questions.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Time between two attempts to accept connections again after the system refused, such as for want of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);
/// How long a stream waits for the connection by which it makes way: loopback answers in µs.
const WAY_WAIT: Duration = Duration::from_millis(200);
/// How long a listener's thread waits for a frame before it looks whether the server stops.
const FRAME_WAIT: Duration = Duration::from_millis(200);
/// Frames between two pings: one a second. The pong is the only thing that is waited for from a listener, and what comes in
/// its place (a Close) is acted upon.
const PING_FRAMES: u32 = 50;
/// Messages a listener may send for one ping before it is given up; it has nothing to say.
const CHATTER_MAX: u32 = 64;
/// Largest message taken from a listener: a control frame has 125 bytes at most (RFC 6455 §5.5).
const INCOMING_MAX: usize = 1_024;
/// How long [`Server::stop`] waits for listeners to be told.
const FAREWELL: Duration = Duration::from_secs(1);

/// The head of a stream of events. It is chunked, so that its end can be told: tiny_http keeps the connection.
const EVENTS_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\
                             Cache-Control: no-store\r\nTransfer-Encoding: chunked\r\nX-Accel-Buffering: no\r\nX-Content-Type-Options: nosniff\r\n\r\n";
/// What a WebSocket that shows a token speaks, and how it shows it: a browser lets a page choose no header but the protocols
/// (RFC 6455 §4.1), and those are tokens themselves, so that ours is in base64url.
const PROTOCOL: &str = "offhook";
const PROTOCOL_TOKEN: &str = "offhook.bearer.";

/// The control API, served until it is stopped or dropped.
pub struct Server {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    local: SocketAddr,
}

struct Shared {
    bridge: Arc<dyn Bridge>,
    token: Option<Secret>,
    /// Kept to serve on where tiny_http has given up accepting.
    listener: TcpListener,
    http: Mutex<Option<Arc<tiny_http::Server>>>,
    stopping: AtomicBool,
    bodies: AtomicUsize,
    listeners: AtomicUsize,
    followers: AtomicUsize,
    downloads: AtomicUsize,
}

impl Server {
    /// Binds and serves; requests are answered as soon as this returns.
    ///
    /// # Errors
    /// What kept the address from being bound or threads from being started.
    pub fn start(settings: &config::Control, bridge: Arc<dyn Bridge>) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.listen)?;
        let local = listener.local_addr()?;
        // Linux hands these on to the connections that come in, which tiny_http keeps to itself.
        let socket = SockRef::from(&listener);
        socket.set_write_timeout(Some(WRITE_WAIT))?;
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
        let http = serve(&listener)?;
        let shared = Arc::new(Shared {
            bridge,
            token: settings.token.clone(),
            listener,
            http: Mutex::new(Some(Arc::new(http))),
            stopping: AtomicBool::new(false),
            bodies: AtomicUsize::new(0),
            listeners: AtomicUsize::new(0),
            followers: AtomicUsize::new(0),
            downloads: AtomicUsize::new(0),
        });
        let mut server = Self { shared, workers: Vec::with_capacity(WORKERS), local };
        for n in 0..WORKERS {
            let shared = server.shared.clone();
            let worker = thread::Builder::new().name(format!("control-{n}")).spawn(move || shared.work())?;
            server.workers.push(worker);
        }
        Ok(server)
    }

    /// Returns the address it listens on, with the port that the system chose where 0 was asked for.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Lets running answers finish and listeners go, then answers no more; the port is free soon after.
    pub fn stop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        let http = self.shared.http.lock().take();
        if let Some(http) = &http {
            (0..WORKERS).for_each(|_| http.unblock());
        }
        for worker in self.workers.drain(..) {
            // A worker that panicked has nothing left to finish.
            let _ = worker.join();
        }
        let rounds = FAREWELL.as_millis() / 10;
        for _ in 0..rounds {
            self.shared.bridge.board().events().wake();
            let open = [&self.shared.listeners, &self.shared.followers];
            if open.iter().all(|open| open.load(Ordering::Acquire) == 0) {
                break;
            }
            thread::park_timeout(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(listener: &TcpListener) -> io::Result<tiny_http::Server> {
    tiny_http::Server::from_listener(listener.try_clone()?, None).map_err(io::Error::other)
}

/// A place among a limited number, given back when dropped.
struct Place {
    shared: Arc<Shared>,
    of: fn(&Shared) -> &AtomicUsize,
}

impl Place {
    fn take(shared: &Arc<Shared>, of: fn(&Shared) -> &AtomicUsize, max: usize) -> Option<Self> {
        let taken = of(shared).fetch_add(1, Ordering::AcqRel);
        let place = Self { shared: shared.clone(), of };
        (taken < max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.of)(&self.shared).fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shared {
    /// Answers requests until the server stops.
    fn work(self: Arc<Self>) {
        while let Some(http) = self.http() {
            match http.recv() {
                Ok(request) => self.take(request),
                Err(_) => self.serve_again(&http),
            }
        }
    }

    fn http(&self) -> Option<Arc<tiny_http::Server>> {
        if self.stopping.load(Ordering::Acquire) { None } else { self.http.lock().clone() }
    }

    /// Replaces `broken`, whose accepting thread has ended over an error of the system.
    fn serve_again(&self, broken: &Arc<tiny_http::Server>) {
        if self.stopping.load(Ordering::Acquire) {
            return;
        }
        let mut http = self.http.lock();
        // Another worker may have done it, and woken this one.
        if http.as_ref().is_some_and(|http| Arc::ptr_eq(http, broken)) {
            thread::park_timeout(ACCEPT_RETRY);
            if let Ok(serving) = serve(&self.listener) {
                *http = Some(Arc::new(serving));
                (1..WORKERS).for_each(|_| broken.unblock());
            } else {
                // Wakes this worker to the next attempt.
                broken.unblock();
            }
        }
    }

    fn take(self: &Arc<Self>, request: Request) {
        let length = request.body_length().unwrap_or(0);
        if length > BODY_MAX {
            // The connection is never answered nor closed: a descriptor and a thread lost to a hostile client.
            std::mem::forget(request);
            return;
        }
        let has_body = length > 0 || header(&request, "Transfer-Encoding").is_some();
        if has_body && let Some(place) = Place::take(self, |shared| &shared.bodies, BODIES_MAX) {
            let shared = self.clone();
            // Where the system has no thread left, the request is dropped with the closure, which answers 500.
            let _ = thread::Builder::new().name("control-body".into()).spawn(move || {
                shared.answer(request, true);
                drop(place);
            });
        } else {
            self.answer(request, false);
        }
    }

    fn answer(self: &Arc<Self>, mut request: Request, reads_body: bool) {
        let method = request.method().to_string();
        let mut body = Vec::new();
        if reads_body && routes::reads_body(&method, request.url()) {
            // What cannot be read is no body, and is told as such.
            let _ = request.as_reader().take(routes::BODY_MAX as u64).read_to_end(&mut body);
        }
        let token = handshake_key(&request).and_then(|_| protocol_token(&request));
        let bearer = token.map(|token| format!("Bearer {token}"));
        let seen = routes::Request {
            method: &method,
            target: request.url(),
            sender: Sender {
                host: header(&request, "Host"),
                origin: header(&request, "Origin"),
                authorization: bearer.as_deref().or_else(|| header(&request, "Authorization")),
            },
            handshake: handshake_key(&request).is_some(),
            accept: header(&request, "Accept").unwrap_or_default(),
            last_event_id: header(&request, "Last-Event-ID"),
            body: &body,
        };
        match routes::answer(&seen, self.token.as_ref(), &*self.bridge) {
            Answer::Reply(reply) => respond(request, reply),
            Answer::Listen { call_id, stereo } => self.listen(request, call_id, stereo),
            Answer::Download { path, content_type } => self.download(request, path, content_type),
            Answer::Follow { call_id, after } => self.follow(request, call_id, after),
        }
    }

    /// Lets in whoever tiny_http keeps waiting behind a stream that has just begun. Its pool counts a thread that is about to wake up as
    /// free, and gives it a second connection that came at the same moment; whatever connection comes later has a thread of
    /// its own, which looks after the first one as soon as its own is closed.
    fn make_way(&self) {
        let Ok(mut to) = self.listener.local_addr() else { return };
        if to.ip().is_unspecified() {
            to.set_ip(if to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        // Where even that cannot be had, one who waits goes on waiting.
        drop(TcpStream::connect_timeout(&to, WAY_WAIT));
    }

    /// Turns the answer to the request into a stream of events, with a thread of its own.
    fn follow(self: &Arc<Self>, request: Request, call_id: Option<String>, after: Option<u64>) {
        let Some(place) = Place::take(self, |shared| &shared.followers, FOLLOWERS_MAX) else {
            return respond(request, routes::too_many_followers());
        };
        let shared = self.clone();
        let run = move || {
            shared.make_way();
            let mut out = request.into_writer();
            // A reader that is gone, or takes nothing, comes back and says what it had last.
            let _ = out.write_all(EVENTS_HEAD).and_then(|()| {
                events::stream(&mut Chunks(&mut out), &*shared.bridge, call_id.as_deref(), after, &shared.stopping)?;
                out.write_all(b"0\r\n\r\n")?;
                out.flush()
            });
            drop(place);
        };
        // Where the system has no thread left, the request is dropped with the closure, which answers 500.
        let _ = thread::Builder::new().name("control-events".into()).spawn(run);
    }

    /// Answers with a file, from a thread of its own: an hour of a call is more than a slow reader takes at once.
    fn download(self: &Arc<Self>, request: Request, path: PathBuf, content_type: &'static str) {
        let Some(place) = Place::take(self, |shared| &shared.downloads, DOWNLOADS_MAX) else {
            return respond(request, routes::too_many_downloads());
        };
        let run = move || {
            let is_head = *request.method() == Method::Head;
            let range = header(&request, "Range").map(str::to_owned);
            let mut out = request.into_writer();
            // A reader that is gone needs nothing more; a file that went just now leaves the connection closed.
            let _ = download::send(&path, content_type, range.as_deref(), is_head, &mut out);
            drop(place);
        };
        // Where the system has no thread left, the request is dropped with the closure, which answers 500.
        let _ = thread::Builder::new().name("control-file".into()).spawn(run);
    }

    /// Turns the request into a WebSocket with a thread of its own.
    fn listen(self: &Arc<Self>, request: Request, call_id: String, stereo: bool) {
        let Some(key) = handshake_key(&request) else { return };
        let accept = derive_accept_key(key.as_bytes());
        let place = Place::take(self, |shared| &shared.listeners, LISTENERS_MAX);
        let shared = self.clone();
        let run = move || {
            shared.make_way();
            let mut response = Response::empty(101).with_header(ascii_header("Sec-WebSocket-Accept", &accept));
            if protocol_token(&request).is_some() {
                response.add_header(ascii_header("Sec-WebSocket-Protocol", PROTOCOL));
            }
            let stream = request.upgrade("websocket", response);
            let config = WebSocketConfig::default()
                .max_message_size(Some(INCOMING_MAX))
                .max_frame_size(Some(INCOMING_MAX))
                .write_buffer_size(0);
            let mut listener =
                Listener { socket: WebSocket::from_raw_socket(stream, Role::Server, Some(config)), heard: false };
            let frames = match &place {
                Some(_) => shared.bridge.listen(&call_id),
                None => Err(ListenError::TooMany),
            };
            let (code, reason) = match frames {
                Ok(frames) => match listener.play(&frames, stereo, &shared.stopping) {
                    // The media path takes some listeners of a call, and lets go of any further one.
                    Ok((1000, _)) if !listener.heard && shared.bridge.board().find_live(&call_id).is_some() => {
                        routes::close_code(ListenError::TooMany)
                    }
                    Ok(last_words) => last_words,
                    Err(_) => return,
                },
                Err(error) => routes::close_code(error),
            };
            listener.close(code, reason);
        };
        // Where the system has no thread left, the request is dropped with the closure, which answers 500.
        let _ = thread::Builder::new().name("control-listen".into()).spawn(run);
    }
}

/// Writes what it is given in chunks (RFC 9112 §7.1), each of them whole.
struct Chunks<W>(W);

impl<W: io::Write> io::Write for Chunks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            write!(self.0, "{:x}\r\n", bytes.len())?;
            self.0.write_all(bytes)?;
            self.0.write_all(b"\r\n")?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A WebSocket over which a call is heard.
struct Listener<S> {
    socket: WebSocket<S>,
    /// Whether there was anything to be heard.
    heard: bool,
}

impl<S: io::Read + io::Write> Listener<S> {
    /// Sends frames until the call ends or the server stops, which is returned as a close code and reason.
    ///
    /// # Errors
    /// The listener is gone, or takes nothing.
    fn play(
        &mut self,
        frames: &Receiver<ListenFrame>,
        stereo: bool,
        stopping: &AtomicBool,
    ) -> Result<(u16, &'static str), tungstenite::Error> {
        let mut until_ping = PING_FRAMES;
        loop {
            match frames.recv_timeout(FRAME_WAIT) {
                Ok(frame) => {
                    self.heard = true;
                    self.send(Message::Binary(pcm(&frame, stereo).into()))?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok((1000, "Call ended")),
            }
            if stopping.load(Ordering::Acquire) {
                return Ok((1001, "Server stops"));
            }
            until_ping -= 1;
            if until_ping == 0 {
                until_ping = PING_FRAMES;
                self.ping()?;
            }
        }
    }

    /// Writes `message` whole; while the listener does not read, whoever makes the frames drops them.
    fn send(&mut self, message: Message) -> Result<(), tungstenite::Error> {
        let mut result = self.socket.send(message);
        for _ in 1..WRITES_IN_VAIN_MAX {
            match result {
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    result = self.socket.flush();
                }
                result => return result,
            }
        }
        result
    }

    /// Asks whether the listener is there, and takes what it has sent meanwhile.
    fn ping(&mut self) -> Result<(), tungstenite::Error> {
        self.send(Message::Ping(Bytes::new()))?;
        for _ in 0..CHATTER_MAX {
            // After a Close the next read answers it and ends with `ConnectionClosed`.
            if matches!(self.socket.read()?, Message::Pong(_)) {
                return Ok(());
            }
        }
        Err(tungstenite::Error::ConnectionClosed)
    }

    /// Says why it ends. The answer is not waited for: a connection of its own is not used again.
    fn close(&mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        // A listener that is gone needs no farewell.
        let _ = self.socket.close(Some(frame)).and_then(|()| self.socket.flush());
    }
}

/// Returns a frame as it goes out, little-endian: both sides in one, or the caller left and the agent right.
fn pcm(frame: &ListenFrame, stereo: bool) -> Vec<u8> {
    if stereo {
        let pairs = frame.caller.iter().zip(&frame.agent);
        return pairs.flat_map(|(left, right)| [*left, *right]).flat_map(i16::to_le_bytes).collect();
    }
    frame.mixed().into_iter().flat_map(i16::to_le_bytes).collect()
}

fn respond(request: Request, reply: Reply) {
    let is_head = *request.method() == Method::Head;
    let length = reply.body.len();
    let mut headers = vec![
        ascii_header("Content-Type", reply.content_type),
        ascii_header("Cache-Control", "no-store"),
        ascii_header("X-Content-Type-Options", "nosniff"),
        ascii_header("Referrer-Policy", "no-referrer"),
    ];
    headers.extend(reply.header.map(|(name, value)| ascii_header(name, value)));
    let response = Response::new(StatusCode(reply.status), headers, io::Cursor::new(reply.body), Some(length), None)
        // A body of known length is sent with its length.
        .with_chunked_threshold(usize::MAX);
    let mut bytes = Vec::with_capacity(length + 512);
    // Writing into a vector cannot fail.
    let _ = response.raw_print(&mut bytes, request.http_version().clone(), &[], is_head, None);
    // tiny_http takes no Connection header from its users.
    let line_end = bytes.windows(2).position(|two| two == b"\r\n").unwrap_or(0);
    bytes.splice(line_end..line_end, *b"\r\nConnection: close");
    let mut writer = request.into_writer();
    // A client that is gone needs no answer.
    let _ = writer.write_all(&bytes).and_then(|()| writer.flush());
}

fn ascii_header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("names and values are constants in ASCII, or base64")
}

fn header<'a>(request: &'a Request, name: &'static str) -> Option<&'a str> {
    let found = request.headers().iter().find(|header| header.field.equiv(name));
    found.map(|header| header.value.as_str())
}

/// Returns the key of a WebSocket handshake (RFC 6455 §4.2.1), or `None` where it is none.
fn handshake_key(request: &Request) -> Option<&str> {
    let lists = |name, token: &str| {
        header(request, name).is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    let asks = lists("Connection", "upgrade") && lists("Upgrade", "websocket") && lists("Sec-WebSocket-Version", "13");
    // Sixteen bytes in base64 are 24 characters.
    header(request, "Sec-WebSocket-Key").map(str::trim).filter(|key| asks && key.len() == 24)
}

/// Returns the token that a WebSocket's handshake shows among its protocols.
fn protocol_token(request: &Request) -> Option<String> {
    let protocols = header(request, "Sec-WebSocket-Protocol")?.split(',').map(str::trim);
    let encoded = protocols.filter_map(|protocol| protocol.strip_prefix(PROTOCOL_TOKEN)).next()?;
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::pretend::Pretend;
    use std::io::{BufRead, BufReader};
    use tungstenite::client::IntoClientRequest;

    /// No answer takes this long; a test that waits longer fails rather than hangs.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn serve_pretend(bridge: Pretend, token: Option<&str>) -> (Server, Arc<Pretend>) {
        let bridge = Arc::new(bridge);
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = config::Control { listen, token: token.map(Secret::new) };
        (Server::start(&settings, bridge.clone()).expect("a free port"), bridge)
    }

    fn connect(server: &Server) -> TcpStream {
        let stream = TcpStream::connect(server.local_addr()).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Reads one response: its head in lower case, and its body.
    fn response(stream: &mut impl BufRead, has_body: bool) -> (String, String) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).expect("a line") > 0, "closed after {head:?}");
        }
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let mut body = vec![0; if has_body { length.parse().expect("a number") } else { 0 }];
        stream.read_exact(&mut body).expect("the body");
        (head, String::from_utf8(body).expect("text"))
    }

    fn ask(server: &Server, request: &str) -> (String, String) {
        let mut stream = connect(server);
        stream.write_all(request.as_bytes()).expect("sent");
        response(&mut BufReader::new(stream), !request.starts_with("HEAD"))
    }

    #[test]
    fn answers_with_json_and_asks_to_close() {
        let (server, bridge) = serve_pretend(Pretend::default(), None);
        for (request, body) in [
            ("POST /api/v1/sip/start?port=5070", r#"{"status":"started","#),
            ("GET /api/v1/sip/status", r#"{"status":"running","sip_port":5070,"#),
            ("POST /api/v1/sip/stop", r#"{"status":"stopped","message":"SIP bridge stopped"}"#),
        ] {
            let (head, got) = ask(&server, &format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
            assert!(head.starts_with("http/1.1 200 ok\r\nconnection: close\r\n"), "{head}");
            assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
            assert!(got.starts_with(body), "{got}");
        }
        assert!(bridge.running().is_none());
    }

    #[test]
    fn a_body_is_taken_and_not_read() {
        let (server, _) = serve_pretend(Pretend::default(), None);
        for length in [5, 5_000, 500_000] {
            let body = "x".repeat(length);
            let head = "POST /api/v1/sip/stop HTTP/1.1\r\nHost: localhost";
            let (head, _) = ask(&server, &format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}"));
            assert!(head.starts_with("http/1.1 200"), "{head}");
        }
    }

    #[test]
    fn a_body_longer_than_any_memory_is_survived() {
        let (server, _) = serve_pretend(Pretend::default(), None);
        for length in [u64::MAX / 2, 1 << 46] {
            let mut stream = connect(&server);
            let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\nx");
            stream.write_all(head.as_bytes()).expect("sent");
            drop(stream);
        }
        assert!(ask(&server, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").0.starts_with("http/1.1 200"));
    }

    #[test]
    fn head_has_a_length_and_no_body() {
        let (server, _) = serve_pretend(Pretend::default(), None);
        let (head, _) = ask(&server, "HEAD /api/v1/sip/calls HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(head.contains("content-length: 22\r\n"), "{head}");
        let (head, _) = ask(&server, "PATCH /api/v1/sip/calls HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(head.starts_with("http/1.1 405") && head.contains("allow: get, head, options\r\n"), "{head}");
    }

    #[test]
    fn headers_decide_who_may_ask() {
        let (server, _) = serve_pretend(Pretend::default(), None);
        let (head, _) = ask(&server, "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        assert!(head.starts_with("http/1.1 403"), "{head}");
        let post = "POST /api/v1/sip/start HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nContent-Length: 0\r\n\r\n";
        assert!(ask(&server, post).0.starts_with("http/1.1 403"));
        let (server, _) = serve_pretend(Pretend::default(), Some("t0ken"));
        let get = |shown: &str| ask(&server, &format!("GET / HTTP/1.1\r\nHost: pbx\r\n{shown}\r\n")).0;
        let denied = get("");
        assert!(denied.starts_with("http/1.1 401") && denied.contains("www-authenticate: bearer\r\n"), "{denied}");
        assert!(get("Authorization: Bearer t0ken\r\n").starts_with("http/1.1 200"));
    }

    #[test]
    fn bodies_that_never_come_hold_up_nobody() {
        let (server, _) = serve_pretend(Pretend::default(), None);
        let slow: Vec<_> = (0..WORKERS)
            .map(|_| {
                let mut stream = connect(&server);
                let head = "POST /api/v1/sip/stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
                stream.write_all(head.as_bytes()).expect("sent");
                stream
            })
            .collect();
        for _ in 0..WORKERS {
            assert!(ask(&server, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").0.starts_with("http/1.1 200"));
        }
        drop(slow);
    }

    type Socket = WebSocket<TcpStream>;

    fn hear(server: &Server, call_id: &str) -> Socket {
        let url = format!("ws://localhost:{}/api/v1/sip/audio/{call_id}", server.local_addr().port());
        let request = url.into_client_request().expect("a URL");
        tungstenite::client(request, connect(server)).expect("a handshake").0
    }

    /// Reads to the Close, answering pings; returns the binary messages, and the Close's code and reason.
    fn read_all(socket: &mut Socket) -> (Vec<Bytes>, Option<(u16, String)>) {
        let (mut binary, mut close) = (Vec::new(), None);
        loop {
            match socket.read() {
                Ok(Message::Binary(bytes)) => binary.push(bytes),
                Ok(Message::Close(frame)) => close = frame.map(|frame| (frame.code.into(), frame.reason.to_string())),
                Ok(_) => {}
                Err(_) => return (binary, close),
            }
        }
    }

    #[test]
    fn who_finds_no_place_at_a_call_is_not_told_that_it_has_ended() {
        let bridge = Pretend::started();
        bridge.invite(1, "abc@host");
        let (server, bridge) = serve_pretend(bridge, None);
        let mut socket = hear(&server, "abc%40host");
        drop(take_sender(&bridge));
        let (heard, close) = read_all(&mut socket);
        let (code, reason) = routes::close_code(ListenError::TooMany);
        assert_eq!((heard.len(), close), (0, Some((code, reason.to_owned()))));
    }

    #[test]
    fn a_call_is_heard_to_its_end() {
        let bridge = Pretend::started();
        bridge.invite(1, "abc@host");
        let (server, bridge) = serve_pretend(bridge, None);
        let mut socket = hear(&server, "abc%40host");
        let sender = take_sender(&bridge);
        let frames = 3 * PING_FRAMES as usize;
        let reader = thread::spawn(move || read_all(&mut socket));
        for n in 0..frames {
            let mut frame = QUIET;
            frame.caller[0] = i16::try_from(n).expect("small");
            frame.agent[319] = -2;
            sender.send(frame).expect("heard");
        }
        drop(sender);
        let (heard, close) = reader.join().expect("no panic");
        assert_eq!(close, Some((1000, "Call ended".into())));
        assert_eq!(heard.len(), frames);
        assert!(heard.iter().enumerate().all(|(n, bytes)| bytes.len() == 640 && usize::from(bytes[0]) == n % 256));
        assert_eq!(heard[0][638..], [0xfe, 0xff]);
    }

    const QUIET: ListenFrame = ListenFrame { caller: [0; 320], agent: [0; 320] };

    #[test]
    fn two_channels_are_the_caller_left_and_the_agent_right_and_one_is_both() {
        let mut frame = QUIET;
        (frame.caller[0], frame.agent[0]) = (1, 0x0203);
        (frame.caller[319], frame.agent[319]) = (i16::MAX, i16::MAX);
        let stereo = pcm(&frame, true);
        assert_eq!(
            (stereo.len(), &stereo[..4], &stereo[1276..]),
            (1280, &[1, 0, 3, 2][..], &[0xff, 0x7f, 0xff, 0x7f][..])
        );
        let mono = pcm(&frame, false);
        assert_eq!((mono.len(), &mono[..2], &mono[638..]), (640, &[4, 2][..], &[0xff, 0x7f][..]));
    }

    /// The sender is there once the handshake's thread has asked the bridge for it.
    fn take_sender(bridge: &Pretend) -> crossbeam_channel::Sender<ListenFrame> {
        loop {
            if let Some(sender) = bridge.heard.lock().take() {
                return sender;
            }
            thread::yield_now();
        }
    }

    #[test]
    fn a_socket_shows_its_token_among_its_protocols() {
        let bridge = Pretend::started();
        bridge.invite(1, "abc");
        let (server, bridge) = serve_pretend(bridge, Some("t0ken"));
        let url = format!("ws://localhost:{}/api/v1/sip/audio/abc", server.local_addr().port());
        let shake = |protocols: &'static str| {
            let mut request = url.as_str().into_client_request().expect("a URL");
            request.headers_mut().insert("Sec-WebSocket-Protocol", protocols.parse().expect("ASCII"));
            tungstenite::client(request, connect(&server)).map_err(|error| error.to_string())
        };
        // base64url of the token
        let (_, response) = shake("offhook, offhook.bearer.dDBrZW4").expect("a handshake");
        assert_eq!(response.headers().get("Sec-WebSocket-Protocol").map(|p| p.as_bytes()), Some(&b"offhook"[..]));
        drop(take_sender(&bridge));
        assert!(shake("offhook, offhook.bearer.dDBrZW5").expect_err("a wrong token").contains("401"));
        assert!(shake("offhook").expect_err("no token").contains("401"));
    }

    /// Opens a stream of events and reads its head.
    fn follow(server: &Server, more: &str) -> (String, BufReader<TcpStream>) {
        let mut stream = connect(server);
        let get = format!("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
        stream.write_all(get.as_bytes()).expect("sent");
        let (mut head, mut reader) = (String::new(), BufReader::new(stream));
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).expect("a line") > 0, "closed after {head:?}");
        }
        (head, reader)
    }

    fn line_with(reader: &mut BufReader<TcpStream>, wanted: &str) -> String {
        let mut line = String::new();
        while !line.contains(wanted) {
            line.clear();
            assert!(reader.read_line(&mut line).expect("a line") > 0, "the stream ended before {wanted}");
        }
        line
    }

    #[test]
    fn events_are_streamed_and_taken_up_again() {
        let (mut server, bridge) = serve_pretend(Pretend::started(), None);
        let (head, mut first) = follow(&server, "");
        assert!(head.contains("200 OK") && head.contains("text/event-stream"), "{head}");
        line_with(&mut first, ": offhook");
        bridge.invite(1, "abc");
        let id = line_with(&mut first, "id: ");
        assert!(line_with(&mut first, "data: ").contains(r#""call_id":"abc""#));
        drop(first);
        bridge.board.ended(crate::ids::CallId(1), crate::sip::EndedBy::Caller, "BYE", crate::time::Instant::ZERO);
        let (_, mut again) = follow(&server, &format!("Last-Event-ID: {}\r\n", id.trim_start_matches("id: ").trim()));
        assert!(line_with(&mut again, "event: ").contains("call.ended"));
        server.stop();
        // The last chunk: the stream ends with the server.
        while line_with(&mut again, "0\r\n") != "0\r\n" {}
    }

    #[test]
    fn streams_that_begin_at_the_same_moment_all_begin() {
        let (server, bridge) = serve_pretend(Pretend::started(), None);
        for round in 0..20 {
            // The requests are there before the connections are accepted, or about then.
            let streams: Vec<_> = (0..6).map(|_| connect(&server)).collect();
            for mut stream in &streams {
                stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
            }
            for stream in &streams {
                let mut head = String::new();
                BufReader::new(stream).read_line(&mut head).expect("a line");
                assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            }
            drop(streams);
            // Whoever has something to tell them finds out that they are gone.
            for call in (100 * round..).take_while(|_| server.shared.followers.load(Ordering::Acquire) > 0) {
                bridge.invite(call, &format!("call-{call}"));
                thread::park_timeout(Duration::from_millis(5));
            }
        }
    }

    #[test]
    fn streams_are_bounded_and_hold_up_nobody() {
        let (server, _) = serve_pretend(Pretend::started(), None);
        let open: Vec<_> = (0..FOLLOWERS_MAX).map(|_| follow(&server, "")).collect();
        assert!(open.iter().all(|(head, _)| head.contains("200 OK")));
        let (head, _) = follow(&server, "");
        assert!(head.contains("503") && head.contains("Retry-After"), "{head}");
        for _ in 0..2 * WORKERS {
            assert!(ask(&server, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").0.starts_with("http/1.1 200"));
        }
    }

    #[test]
    fn an_order_is_read_from_its_body() {
        let bridge = Pretend::started();
        bridge.invite(1, "abc");
        let (server, bridge) = serve_pretend(bridge, None);
        let body = r#"{"text":"Hello."}"#;
        let head =
            format!("POST /api/v1/sip/calls/abc/say HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}", body.len());
        assert!(ask(&server, &format!("{head}\r\n\r\n{body}")).0.starts_with("http/1.1 200"));
        assert_eq!(*bridge.orders.lock(), ["call 1: say Hello."]);
        let long = "x".repeat(100_000);
        let head = "POST /api/v1/sip/calls/abc/say HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000";
        assert!(ask(&server, &format!("{head}\r\n\r\n{long}")).0.starts_with("http/1.1 422"));
    }

    #[test]
    fn what_cannot_be_heard_is_closed_with_a_reason() {
        let (server, _) = serve_pretend(Pretend::started(), None);
        let (heard, close) = read_all(&mut hear(&server, "nobody"));
        assert_eq!((heard.len(), close), (0, Some((1008, "Call not found".into()))));
        let (server, _) = serve_pretend(Pretend::default(), None);
        let (_, close) = read_all(&mut hear(&server, "nobody"));
        assert_eq!(close, Some((1011, "SIP bridge is not running".into())));
    }

    #[test]
    fn a_listener_that_leaves_is_answered_and_lets_go_of_the_call() {
        let bridge = Pretend::started();
        bridge.invite(1, "abc");
        let (server, bridge) = serve_pretend(bridge, None);
        let mut socket = hear(&server, "abc");
        let sender = take_sender(&bridge);
        socket.close(None).expect("sent");
        // Frames go on until the next ping finds the Close.
        let feeder = thread::spawn(move || while sender.send(QUIET).is_ok() {});
        let (_, close) = read_all(&mut socket);
        assert!(close.is_some() || !socket.can_read());
        feeder.join().expect("the channel closes");
    }

    #[test]
    fn a_listener_that_does_not_read_holds_up_nobody() {
        let bridge = Pretend::started();
        bridge.invite(1, "abc");
        let (server, bridge) = serve_pretend(bridge, None);
        let socket = hear(&server, "abc");
        let sender = take_sender(&bridge);
        let mut dropped = 0;
        for _ in 0..2_000 {
            dropped += usize::from(sender.try_send(QUIET).is_err());
            thread::yield_now();
        }
        assert!(dropped > 0, "no frame was dropped");
        assert!(ask(&server, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").0.starts_with("http/1.1 200"));
        drop(socket);
    }

    #[test]
    fn stopping_tells_listeners_and_frees_the_port() {
        let bridge = Pretend::started();
        bridge.invite(1, "abc");
        let (mut server, bridge) = serve_pretend(bridge, None);
        let mut socket = hear(&server, "abc");
        let _sender = take_sender(&bridge);
        let reader = thread::spawn(move || read_all(&mut socket).1);
        server.stop();
        assert_eq!(reader.join().expect("no panic"), Some((1001, "Server stops".into())));
        assert!(server.workers.is_empty());
    }

    #[test]
    fn a_taken_port_is_an_error() {
        let (server, bridge) = serve_pretend(Pretend::default(), None);
        let settings = config::Control { listen: server.local_addr(), token: None };
        let error = Server::start(&settings, bridge).err().expect("it is taken");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn serving_goes_on_after_an_error_of_accept() {
        let (server, _) = serve_pretend(Pretend::default(), None);
        let get = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let first = server.shared.http().expect("it serves");
        // What is accepted without waiting is refused where nothing is there, which ends tiny_http's thread. A connection
        // brings it there; it may be among those that end with the thread.
        server.shared.listener.set_nonblocking(true).expect("a flag");
        let _knock = connect(&server);
        while Arc::ptr_eq(&first, &server.shared.http().expect("it serves")) {
            thread::yield_now();
        }
        server.shared.listener.set_nonblocking(false).expect("a flag");
        for _ in 0..2 * WORKERS {
            assert!(ask(&server, get).0.starts_with("http/1.1 200"));
        }
    }
}
