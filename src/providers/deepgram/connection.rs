//! One session's connection to Deepgram: opened with patience, sent the caller's audio, and made anew after a loss.
//!
//! It knows neither a recogniser's messages nor its turns: those are [`super::Flux`]'s and [`super::Nova`]'s.

use super::outbox::Outbox;
use crate::agent::{Failure, FailureKind};
use crate::call::EarFrame;
use crate::config::{Endpoint, SttFormat};
use crate::providers::EarsIo;
use crate::providers::redaction::excerpt;
use crate::providers::socket::{Incoming, Socket, SocketError, Target};
use crate::providers::tls::Trust;
use crate::time::{Clock, Instant};
use std::time::Duration;

/// How long each attempt may take from the first look-up to the first audio; a server that dislikes a parameter may just say
/// nothing. A handshake takes some 0.3 s, and 1 s more where its first packet is lost: one that hangs is cheaper left than waited
/// for, and only a slow network gets more.
const OPENING_MAX: [Duration; 4] =
    [Duration::from_millis(2200), Duration::from_millis(2500), Duration::from_secs(5), Duration::from_secs(5)];
/// Waits before each new connection; when they are used up, the ears are lost. Before the first one after a connection that
/// worked there is none: no spare connection is kept warm, since each counts against the account's streams (150 on pay as you go)
/// and saves no more than a handshake.
const BACKOFF: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// The longest wait that a provider may ask for: a caller does not wait for longer either.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// The longest wait where other ears stand behind: they begin to hear sooner than this.
const FOLLOWED_WAIT_MAX: Duration = Duration::from_millis(500);
/// A connection that lives for this long was a good one: the waits begin anew.
const LIVED_MIN: Duration = Duration::from_secs(5);
/// How often a session looks after what needs no exact time: keeping a connection alive, a turn that does not end.
const WATCH_EVERY: Duration = Duration::from_millis(500);
/// How long the goodbye may take.
const CLOSE_MAX: Duration = Duration::from_millis(300);
/// Messages read at one go, so that a flood cannot keep frames from being sent.
const MESSAGES_MAX: usize = 64;
/// The one socket of a session.
const SOCKET: mio::Token = mio::Token(1);

/// Where a recogniser is, and how it is sent audio; shared by all of its sessions.
pub(super) struct Account {
    pub(super) endpoint: Endpoint,
    pub(super) format: SttFormat,
    pub(super) trust: Trust,
}

impl Account {
    pub(super) fn new(endpoint: &Endpoint, format: SttFormat) -> Self {
        Self { endpoint: endpoint.clone(), format, trust: Trust::web() }
    }

    /// Returns where `path` is, with the model and the audio's format in front of `query`.
    pub(super) fn target(&self, path: &str, query: &str) -> Result<Target, SocketError> {
        let (encoding, sample_rate) = match self.format {
            SttFormat::Pcm16 => ("linear16", 16_000),
            SttFormat::Mulaw => ("mulaw", 8_000),
        };
        let model = query_value(&self.endpoint.model);
        let path = format!("{path}?model={model}&encoding={encoding}&sample_rate={sample_rate}&{query}");
        Ok(Target::new(&self.endpoint.base_url, &path)?.auth("Authorization", "Token ", &self.endpoint.key))
    }

    /// Tells an error that the server has told in `text`.
    pub(super) fn told(&self, permanent: bool, text: &str) -> Lost {
        Lost::Told { permanent, text: excerpt(text, &self.endpoint.key) }
    }
}

/// How fast a backlog is sent: a live frame goes at once.
#[derive(Clone, Copy)]
pub(super) struct Burst {
    /// Frames sent at one go, and how often.
    pub(super) frames: usize,
    pub(super) every: Duration,
}

/// The connection of one session, or the wait for the next.
pub(super) struct Connection<'a> {
    account: &'a Account,
    target: Target,
    burst: Burst,
    link: Link,
    /// Connections that failed in a row.
    failures: usize,
    /// Whether a connection was refused: once may be a mistake of the server's, and is tried again.
    refused: bool,
    /// Messages read since there were none.
    received: usize,
    /// When the server was ready, and when something was last sent to it.
    ready: Instant,
    sent: Instant,
    /// The next burst of a backlog.
    burst_at: Instant,
    bytes: Vec<u8>,
}

enum Link {
    /// There is none until then.
    Down(Instant),
    /// Not ready for audio, which it must be by then.
    Opening(Box<Socket>, Instant),
    Ready(Box<Socket>),
}

impl<'a> Connection<'a> {
    /// Opens it as soon as it is looked after.
    pub(super) fn new(account: &'a Account, target: Target, burst: Burst, now: Instant) -> Self {
        Self {
            account,
            target,
            burst,
            link: Link::Down(now),
            failures: 0,
            refused: false,
            received: 0,
            ready: now,
            sent: now,
            burst_at: now,
            bytes: Vec::with_capacity(2 * crate::call::FRAME_16K),
        }
    }

    /// Opens it where that is due.
    ///
    /// # Errors
    /// It does not get ready in time.
    pub(super) fn tend(&mut self, io: &EarsIo, now: Instant) -> Result<(), Lost> {
        match &self.link {
            Link::Down(until) if now >= *until => {
                let socket = Socket::open(self.target.clone(), self.account.trust.clone(), &io.listener, SOCKET, now);
                let patience = OPENING_MAX[self.failures.min(OPENING_MAX.len() - 1)];
                self.link = Link::Opening(Box::new(socket), now + patience);
            }
            Link::Opening(_, until) if now >= *until => {
                let host = self.target.host().to_owned();
                return Err(SocketError::TimedOut { host, what: "get ready" }.into());
            }
            Link::Ready(_) if now.since(self.ready) >= LIVED_MIN => (self.failures, self.refused) = (0, false),
            _ => {}
        }
        Ok(())
    }

    /// Whether audio can be sent.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.link, Link::Ready(_))
    }

    /// The server takes audio from here on; returns whether it did not before.
    pub(super) fn get_ready(&mut self, now: Instant) -> bool {
        match std::mem::replace(&mut self.link, Link::Down(now)) {
            Link::Opening(socket, _) => {
                self.link = Link::Ready(socket);
                (self.ready, self.sent) = (now, now);
                true
            }
            link => {
                self.link = link;
                false
            }
        }
    }

    /// Since when nothing was sent.
    pub(super) fn sent_at(&self) -> Instant {
        self.sent
    }

    /// Returns the next message and when it was read; nothing where there is none, or where it is time to send.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) fn receive(&mut self, io: &EarsIo) -> Result<Option<(Incoming, Instant)>, Lost> {
        let (Link::Opening(socket, _) | Link::Ready(socket)) = &mut self.link else { return Ok(None) };
        if self.received == MESSAGES_MAX {
            self.received = 0;
            // There may be more, and the socket will not wake this thread for it.
            io.listener.bell().ring();
            return Ok(None);
        }
        let now = io.clock.now();
        let incoming = socket.poll(&io.listener, now)?;
        self.received = if incoming.is_some() { self.received + 1 } else { 0 };
        Ok(incoming.map(|incoming| (incoming, now)))
    }

    /// Sends an order; returns whether there was a server to send it to.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) fn order(&mut self, order: &str, now: Instant) -> Result<bool, Lost> {
        let Link::Ready(socket) = &mut self.link else { return Ok(false) };
        socket.send_text(order.to_owned())?;
        self.sent = now;
        Ok(true)
    }

    /// Sends what waits: a live frame at once, a backlog in bursts. `sent` is told of each frame, and when it was handed over.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) fn send(
        &mut self,
        outbox: &mut Outbox,
        clock: &dyn Clock,
        mut sent: impl FnMut(&EarFrame, Instant),
    ) -> Result<(), Lost> {
        let Link::Ready(socket) = &mut self.link else { return Ok(()) };
        let begun = clock.now();
        if begun < self.burst_at {
            return Ok(());
        }
        for _ in 0..self.burst.frames {
            let Some(frame) = outbox.next() else { return Ok(()) };
            self.bytes.clear();
            match self.account.format {
                SttFormat::Pcm16 => self.bytes.extend(frame.pcm.iter().flat_map(|sample| sample.to_le_bytes())),
                SttFormat::Mulaw => self.bytes.extend_from_slice(&frame.ulaw),
            }
            socket.send_binary(&self.bytes)?;
            self.sent = clock.now();
            sent(frame, self.sent);
            outbox.sent(self.sent);
        }
        if outbox.next().is_some() {
            self.burst_at = begun + self.burst.every;
        }
        Ok(())
    }

    /// Leaves a connection that is lost; returns whether there is to be another one. `followed`: other ears stand behind.
    pub(super) fn lose(&mut self, failure: &Failure, followed: bool, now: Instant) -> bool {
        let worked = self.is_ready();
        // A server that was ready and refuses then dislikes a message of ours, and will again.
        let believed = failure.kind == FailureKind::Refused && (worked || std::mem::replace(&mut self.refused, true));
        let bearable = |wait: &Duration| !believed && (!followed || *wait <= FOLLOWED_WAIT_MAX);
        let wait = wait_after(self.failures, failure, worked).filter(bearable);
        self.link = Link::Down(now + wait.unwrap_or_default());
        self.failures += 1;
        self.received = 0;
        wait.is_some()
    }

    /// When a session is to look after it and itself, if nothing happens before.
    pub(super) fn poll_timeout(&self, outbox: &Outbox, now: Instant) -> Instant {
        let due = match &self.link {
            Link::Down(until) => [Some(*until), None],
            Link::Opening(socket, until) => [socket.poll_timeout(), Some(*until)],
            Link::Ready(socket) => [socket.poll_timeout(), outbox.next().map(|_| self.burst_at)],
        };
        due.into_iter().flatten().fold(now + WATCH_EVERY, Instant::min)
    }

    /// Tells the server that there is no more audio, and gives it a moment to hang up.
    pub(super) fn close(self, mut io: EarsIo) {
        let Link::Ready(mut socket) = self.link else { return };
        let until = io.clock.now() + CLOSE_MAX;
        if socket.send_text(r#"{"type":"CloseStream"}"#.into()).is_err() {
            return;
        }
        loop {
            let now = io.clock.now();
            match socket.poll(&io.listener, now) {
                Err(_) => return,
                _ if now >= until => return socket.close(),
                Ok(Some(_)) => {}
                Ok(None) => io.listener.wait(Some(until.since(now))),
            }
        }
    }
}

/// Returns how long to wait for the next connection after so many that failed in a row, if there is to be one; `worked` if the
/// lost one was of use.
fn wait_after(failures: usize, failure: &Failure, worked: bool) -> Option<Duration> {
    let wait = *BACKOFF.get(failures)?;
    match failure.kind {
        FailureKind::RateLimited { retry_after: Some(after) } if after > RETRY_AFTER_MAX => None,
        FailureKind::RateLimited { retry_after: Some(after) } => Some(wait.max(after)),
        _ if worked && failures == 0 => Some(Duration::ZERO),
        _ => Some(wait),
    }
}

/// Why a connection was given up.
pub(super) enum Lost {
    Socket(SocketError),
    Told { permanent: bool, text: String },
    Stalled(&'static str),
}

impl From<SocketError> for Lost {
    fn from(error: SocketError) -> Self {
        Self::Socket(error)
    }
}

impl Lost {
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Socket(error) => error.failure("deepgram"),
            Self::Told { permanent, text } => Failure {
                kind: if *permanent { FailureKind::Refused } else { FailureKind::Dropped },
                text: format!("deepgram: {text}"),
            },
            Self::Stalled(what) => Failure { kind: FailureKind::Stalled, text: format!("deepgram: the server {what}") },
        }
    }
}

/// Escapes what is not allowed in a query's value (RFC 3986 §3.4).
fn query_value(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
