//! Local stand-ins of the cloud providers: their wire, their delays and their faults, on loopback and without keys.

#![allow(dead_code, reason = "each test and each example uses a part of it")]

pub mod aura;
pub mod cartesia;
pub mod deepgram;
pub mod elevenlabs;
pub mod flux;
pub mod groq;
mod hearing;
pub mod nova;
pub mod speaking;

use offhook::providers::{Bell, Listener};
use offhook::time::{Clock, Instant};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::{Message, WebSocket};

/// The key that the stand-ins take, and that must not turn up in any text.
pub const KEY: &str = "standin-key-0123456789";
/// How long a connection's thread sleeps at most before it looks whether its server is gone.
const IDLE: Duration = Duration::from_millis(200);

/// Returns the environment of an engine whose recogniser, model and voice are at these addresses.
pub fn env(flux: String, groq: String, cartesia: String) -> Vec<(&'static str, String)> {
    let key = || KEY.to_owned();
    vec![
        ("DEEPGRAM_API_KEY", key()),
        ("DEEPGRAM_BASE_URL", flux),
        ("GROQ_API_KEY", key()),
        ("GROQ_BASE_URL", groq),
        ("CARTESIA_API_KEY", key()),
        ("CARTESIA_BASE_URL", cartesia),
    ]
}

/// Wall time since it was made.
pub struct Wall(std::time::Instant);

impl Wall {
    #[expect(clippy::disallowed_methods, reason = "stand-ins and tests run in real time")]
    pub fn start() -> Arc<Self> {
        Arc::new(Self(std::time::Instant::now()))
    }
}

impl Clock for Wall {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.elapsed().as_nanos() as u64)
    }
}

/// A server on a free port of loopback: a thread that accepts, and one per connection.
pub struct Server {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Serves each connection by `serve`, which is told the connection's number and a flag that ends it.
    pub fn start(serve: impl Fn(usize, TcpStream, &AtomicBool) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, serve) = (stop.clone(), Arc::new(serve));
        let accept = move || {
            for (n, stream) in listener.incoming().enumerate() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let _ = stream.set_nodelay(true);
                let (stopped, serve) = (stopped.clone(), serve.clone());
                let connection = move || serve(n, stream, &stopped);
                std::thread::Builder::new().name(format!("standin-{n}")).spawn(connection).expect("a thread");
            }
        };
        std::thread::Builder::new().name("standin".into()).spawn(accept).expect("a thread");
        Self { address, stop }
    }

    /// Serves each connection as `plan` wants it; returns the server with its plan and the base URL of its WebSockets.
    pub fn of<P: Send + Sync + 'static>(
        plan: P,
        serve: impl Fn(&P, &dyn Clock, TcpStream, &AtomicBool) + Send + Sync + 'static,
    ) -> (Self, Arc<P>, String) {
        let (plan, clock) = (Arc::new(plan), Wall::start());
        let served = plan.clone();
        let server = Self::start(move |_, stream, stop| serve(&served, &*clock, stream, stop));
        let url = format!("ws://{}", server.address);
        (server, plan, url)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // The accepting thread looks at the flag when somebody comes.
        let _ = TcpStream::connect(self.address);
    }
}

/// What a connection does wrong: the first of the list happens to the first connection, and so on.
pub struct Faults<F>(Mutex<VecDeque<Option<F>>>);

impl<F> Default for Faults<F> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<F> Faults<F> {
    /// The next connection that has none yet gets `fault`.
    pub fn push(&self, fault: F) {
        self.0.lock().push_back(Some(fault));
    }

    /// The next connection that has none yet is a good one.
    pub fn push_none(&self) {
        self.0.lock().push_back(None);
    }

    pub fn next(&self) -> Option<F> {
        self.0.lock().pop_front().flatten()
    }
}

/// A refused upgrade or request.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Refusal {
    pub fn new(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// The server's end of a WebSocket, on which one thread waits for messages and for its own deadlines.
pub struct Peer<S: Read + Write = mio::net::TcpStream> {
    socket: WebSocket<S>,
    listener: Listener,
    pub bell: Bell,
}

/// What [`Peer::wait`] woke up for.
enum Woken {
    Message(Message),
    Due,
    Gone,
}

/// What a connection is after a step of its session.
pub enum After {
    GoOn,
    /// It is lost without a word.
    Drop,
    /// It is closed with this code and reason, or without a status.
    Close(Option<(u16, &'static str)>),
}

/// One connection's conversation.
pub trait Session {
    fn peer(&mut self) -> &mut Peer;
    /// When [`Self::handle_timeout`] is due, whatever comes.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    fn handle_text(&mut self, text: &str) -> After;
    fn handle_binary(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }
    fn handle_ping(&mut self) {}
    fn handle_timeout(&mut self) {}
    /// Does what follows from every message and every time-out: what is due, and what is to go wrong.
    fn go_on(&mut self) -> After;

    /// Talks until one of the two has enough.
    fn run(mut self, clock: &dyn Clock, stop: &AtomicBool)
    where
        Self: Sized,
    {
        let mut after = After::GoOn;
        while !stop.load(Ordering::Acquire) {
            let due = self.poll_timeout();
            match self.peer().wait(clock, due, stop) {
                Woken::Gone => return,
                Woken::Due => self.handle_timeout(),
                Woken::Message(Message::Text(text)) => after = self.handle_text(&text),
                Woken::Message(Message::Binary(bytes)) => self.handle_binary(&bytes),
                Woken::Message(Message::Ping(_)) => self.handle_ping(),
                Woken::Message(_) => {}
            }
            if matches!(after, After::GoOn) {
                after = self.go_on();
            }
            match after {
                After::GoOn => {}
                After::Drop => return,
                After::Close(status) => return self.peer().close(status, clock, stop),
            }
        }
    }
}

impl Peer {
    /// Answers the upgrade; `check` is shown the request and may refuse it.
    pub fn accept(stream: TcpStream, check: impl FnOnce(&Request) -> Option<Refusal>) -> Option<Self> {
        #[expect(clippy::result_large_err, reason = "tungstenite's own type")]
        let answer = |request: &Request, response: Response| match check(request) {
            None => Ok(response),
            Some(refusal) => Err(refuse(&refusal)),
        };
        let socket = tungstenite::accept_hdr(stream, answer).ok()?;
        let stream = socket.into_inner();
        stream.set_nonblocking(true).ok()?;
        let (bell, listener) = Listener::new().ok()?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        let interest = mio::Interest::READABLE | mio::Interest::WRITABLE;
        listener.registry().register(&mut stream, mio::Token(1), interest).ok()?;
        let role = tungstenite::protocol::Role::Server;
        Some(Self { socket: WebSocket::from_raw_socket(stream, role, None), listener, bell })
    }

    /// Waits for a message, or until `due`.
    fn wait(&mut self, clock: &dyn Clock, due: Option<Instant>, stop: &AtomicBool) -> Woken {
        loop {
            match self.socket.read() {
                Ok(message) => return Woken::Message(message),
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Woken::Gone,
            }
            let now = clock.now();
            if due.is_some_and(|due| now >= due) {
                return Woken::Due;
            }
            if stop.load(Ordering::Acquire) {
                return Woken::Gone;
            }
            self.listener.wait(Some(due.map_or(IDLE, |due| due.since(now).min(IDLE))));
        }
    }

    /// Sends a text message; one that the client is too slow for waits in the buffer.
    pub fn send(&mut self, text: String) {
        let _ = self.socket.send(Message::Text(text.into()));
    }

    /// Sends a binary message.
    pub fn send_binary(&mut self, bytes: Vec<u8>) {
        let _ = self.socket.send(Message::Binary(bytes.into()));
    }

    /// Sends what is no WebSocket frame.
    pub fn send_garbage(&mut self) {
        let _ = self.socket.get_mut().write_all(&[0xff; 64]);
    }

    /// Closes with a code and a reason, or without a status, and waits until the client is gone.
    fn close(&mut self, status: Option<(u16, &str)>, clock: &dyn Clock, stop: &AtomicBool) {
        let frame = status.map(|(code, reason)| tungstenite::protocol::CloseFrame {
            code: code.into(),
            reason: reason.to_owned().into(),
        });
        let _ = self.socket.close(frame);
        let until = clock.now() + Duration::from_secs(1);
        while let Woken::Message(_) = self.wait(clock, Some(until), stop) {}
    }
}

/// A 200 Hz hum in µ-law at 8 kHz.
pub fn hum(from: Duration, length: Duration) -> Vec<u8> {
    let samples = |time: Duration| (time.as_micros() * 8 / 1000) as usize;
    let sample = |n: usize| (8000.0 * (std::f32::consts::TAU * (n % 40) as f32 / 40.0).sin()) as i16;
    (samples(from)..samples(from + length)).map(sample).map(offhook::audio::g711::ulaw_of).collect()
}

/// Waits for `length`, or until the server ends.
pub fn pause(clock: &dyn Clock, length: Duration, stop: &AtomicBool) {
    let until = clock.now() + length;
    while clock.now() < until && !stop.load(Ordering::Acquire) {
        std::thread::park_timeout(until.since(clock.now()).min(IDLE));
    }
}

fn refuse(refusal: &Refusal) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(refusal.body.clone()));
    *response.status_mut() = refusal.status.try_into().expect("a status");
    for (name, value) in &refusal.headers {
        response.headers_mut().insert(*name, value.parse().expect("a header"));
    }
    let length = refusal.body.len().to_string();
    response.headers_mut().insert("content-length", length.parse().expect("a number"));
    response
}

/// Returns the value of `name` in a query.
pub fn query<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Returns a header's value, or nothing.
pub fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
