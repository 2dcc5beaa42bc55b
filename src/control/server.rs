//! The one home of tiny_http: connections, threads, and the WebSocket that lets a call be heard.
//!
//! tiny_http gives each connection a thread of its own that reads requests; [`WORKERS`] threads take them from its queue and
//! answer. It offers no time limit on reading, so that whoever may connect may hold a connection open: beyond loopback the
//! place for that limit is a proxy in front.

use super::guard::Sender;
use super::routes::{self, Answer, Reply};
use super::{Bridge, ListenError, ListenFrame};
use crate::config::{self, Secret};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tiny_http::{Header, Request, Response, StatusCode};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocket, WebSocketConfig};
use tungstenite::{Bytes, Message};

/// Threads that answer: the engine's answers take µs, but for a stop, which waits for every BYE, and a start.
const WORKERS: usize = 4;
/// Requests with a body at once. No route reads one; taking it off the connection waits for whoever sends it.
const BODIES_MAX: usize = 16;
/// Calls heard over WebSockets at once: each takes a thread.
const LISTENERS_MAX: usize = 32;
/// How long a write waits for a client that does not read. Its socket's buffers hold seconds of audio before that.
const WRITE_WAIT: Duration = Duration::from_secs(2);
/// Writes in a row that may wait in vain before a listener is given up: 10 s.
const WRITES_IN_VAIN_MAX: u32 = 5;
/// Idle time after which the system asks whether a client is still there, and the time between its questions.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Time between two attempts to accept connections again after the system refused, such as for want of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);
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
            if self.shared.listeners.load(Ordering::Acquire) == 0 {
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
        let has_body = request.body_length().is_some_and(|length| length > 0) || has(&request, "Transfer-Encoding");
        if has_body && let Some(place) = Place::take(self, |shared| &shared.bodies, BODIES_MAX) {
            let shared = self.clone();
            // Where the system has no thread left, the request is dropped with the closure, which answers 500.
            let _ = thread::Builder::new().name("control-body".into()).spawn(move || {
                shared.answer(request);
                drop(place);
            });
        } else {
            self.answer(request);
        }
    }

    fn answer(self: &Arc<Self>, request: Request) {
        let method = request.method().to_string();
        let seen = routes::Request {
            method: &method,
            target: request.url(),
            sender: Sender {
                host: header(&request, "Host"),
                origin: header(&request, "Origin"),
                authorization: header(&request, "Authorization"),
            },
            handshake: handshake_key(&request).is_some(),
        };
        match routes::answer(&seen, self.token.as_ref(), &*self.bridge) {
            Answer::Reply(reply) => respond(request, reply),
            Answer::Listen { call_id } => self.listen(request, call_id),
        }
    }

    /// Turns the request into a WebSocket with a thread of its own.
    fn listen(self: &Arc<Self>, request: Request, call_id: String) {
        let Some(key) = handshake_key(&request) else { return };
        let accept = derive_accept_key(key.as_bytes());
        let place = Place::take(self, |shared| &shared.listeners, LISTENERS_MAX);
        let shared = self.clone();
        let run = move || {
            let response = Response::empty(101).with_header(ascii_header("Sec-WebSocket-Accept", &accept));
            let stream = request.upgrade("websocket", response);
            let config = WebSocketConfig::default()
                .max_message_size(Some(INCOMING_MAX))
                .max_frame_size(Some(INCOMING_MAX))
                .write_buffer_size(0);
            let mut listener = Listener { socket: WebSocket::from_raw_socket(stream, Role::Server, Some(config)) };
            let frames = match &place {
                Some(_) => shared.bridge.listen(&call_id),
                None => Err(ListenError::TooMany),
            };
            let (code, reason) = match frames {
                Ok(frames) => match listener.play(&frames, &shared.stopping) {
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

/// A WebSocket over which a call is heard.
struct Listener<S> {
    socket: WebSocket<S>,
}

impl<S: io::Read + io::Write> Listener<S> {
    /// Sends frames until the call ends or the server stops, which is returned as a close code and reason.
    ///
    /// # Errors
    /// The listener is gone, or takes nothing.
    fn play(
        &mut self,
        frames: &Receiver<ListenFrame>,
        stopping: &AtomicBool,
    ) -> Result<(u16, &'static str), tungstenite::Error> {
        let mut until_ping = PING_FRAMES;
        loop {
            match frames.recv_timeout(FRAME_WAIT) {
                Ok(frame) => {
                    let bytes: Vec<u8> = frame.iter().flat_map(|sample| sample.to_le_bytes()).collect();
                    self.send(Message::Binary(bytes.into()))?;
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

fn respond(request: Request, reply: Reply) {
    let length = reply.body.len();
    let mut headers = vec![ascii_header("Content-Type", reply.content_type), ascii_header("Cache-Control", "no-store")];
    headers.extend(reply.header.map(|(name, value)| ascii_header(name, value)));
    let response = Response::new(StatusCode(reply.status), headers, io::Cursor::new(reply.body), Some(length), None)
        // A body of known length is sent with its length.
        .with_chunked_threshold(usize::MAX);
    // A client that is gone needs no answer.
    let _ = request.respond(response);
}

fn ascii_header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("names and values are constants in ASCII, or base64")
}

fn header<'a>(request: &'a Request, name: &'static str) -> Option<&'a str> {
    let found = request.headers().iter().find(|header| header.field.equiv(name));
    found.map(|header| header.value.as_str())
}

fn has(request: &Request, name: &'static str) -> bool {
    header(request, name).is_some()
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
