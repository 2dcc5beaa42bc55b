//! Speech to text by Deepgram Flux, over a WebSocket: 20 ms frames up, turns down.

mod eager;
mod nova;
mod outbox;
mod results;
mod turns;

use super::redaction::excerpt;
use super::socket::{Incoming, Socket, SocketError, Target};
use super::tls::Trust;
use super::{EarsCommand, EarsIo, Transcriber};
use crate::agent::{Confidence, EarsEvent, Failure, FailureKind};
use crate::config::{Endpoint, SttFormat};
use crate::time::Instant;
use eager::Eagerness;
pub use nova::Nova;
use outbox::Outbox;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use turns::{Said, Turned, Turns};

/// The confidence at which Flux ends a turn: the vendor's default, 0.5 to 1.0.
const EOT_THRESHOLD: f64 = 0.7;
/// Silence after speech that ends a turn whatever the confidence: the vendor's default, in milliseconds.
const EOT_TIMEOUT: Duration = Duration::from_millis(5000);
/// How long each attempt may take from the first look-up to `Connected`; a server that dislikes a parameter may just say
/// nothing. A handshake takes some 0.3 s: one that hangs is cheaper left than waited for, and only a slow network gets more.
const OPENING_MAX: [Duration; 4] =
    [Duration::from_millis(1500), Duration::from_millis(2500), Duration::from_secs(5), Duration::from_secs(5)];
/// Flux speaks at least every 0.25 s of audio, so this much quiet while audio flows means that it is stuck.
const STALL_MAX: Duration = Duration::from_secs(2);
/// The same where the caller is in a turn, or has spoken since Flux last did: then somebody waits. It is four updates, and more
/// than a lost TCP segment takes.
const STALL_IN_TURN_MAX: Duration = Duration::from_secs(1);
/// A turn whose text stands still for this long, while the caller is silent, should have ended long ago.
const STUCK_MAX: Duration = EOT_TIMEOUT.saturating_add(Duration::from_secs(2));
/// The same while sound goes on: four times the time-out that should have ended it.
const STUCK_IN_NOISE_MAX: Duration = EOT_TIMEOUT.saturating_mul(4);
/// How long a new connection may take to say something of a turn that the lost one had heard.
const REPLAY_GRACE: Duration = Duration::from_millis(1500);
/// Waits before each new connection; when they are used up, the ears are lost. Before the first one after a connection that
/// worked there is none: no spare connection is kept warm, since each counts against the account's streams (150 on pay as you go)
/// and saves no more than a handshake.
const BACKOFF: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// The longest wait that a provider may ask for: a caller does not wait for longer either.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// A connection that lives for this long was a good one: the waits begin anew.
const LIVED_MIN: Duration = Duration::from_secs(5);
/// Frames sent at one go while there is a backlog, and how often: eight times real time.
const BURST_FRAMES: usize = 8;
const BURST_EVERY: Duration = Duration::from_millis(20);
/// How long the answer to a change of settings is waited for; one at a time is what Flux wants.
const CONFIGURE_MAX: Duration = Duration::from_secs(5);
/// How far the eager threshold must have moved for a change of settings, in hundredths.
const CONFIGURE_STEP: u32 = 2;
/// How long the answer to an order to end the turn is waited for: some round trips to another continent.
const FORCE_MAX: Duration = Duration::from_millis(600);
/// How long the goodbye may take.
const CLOSE_MAX: Duration = Duration::from_millis(300);
/// Messages read at one go, so that a flood cannot keep frames from being sent.
const MESSAGES_MAX: usize = 64;

/// Deepgram Flux (`/v2/listen`).
pub struct Flux {
    endpoint: Endpoint,
    format: SttFormat,
    trust: Trust,
    /// Set where eager ends of turns are wanted; shared by all calls.
    eager: Option<Mutex<Eagerness>>,
    /// Whether the account does not know `ForceEndTurn`: then turns are ended here.
    cannot_force: AtomicBool,
}

impl Flux {
    /// Makes the ears that listen at `endpoint` (base URL without the path) and are sent audio as `format`.
    #[must_use]
    pub fn new(endpoint: &Endpoint, format: SttFormat) -> Self {
        Self {
            endpoint: endpoint.clone(),
            format,
            trust: Trust::web(),
            eager: None,
            cannot_force: AtomicBool::new(false),
        }
    }

    /// Checks the server's certificate against `trust`.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Tells probable ends of turns before they are sure, and so eagerly that a share of `waste_max` of the drafts that
    /// are begun on them is thrown away.
    #[must_use]
    pub fn with_eager_ends(mut self, waste_max: f64) -> Self {
        self.eager = Some(Mutex::new(Eagerness::new(waste_max, EOT_THRESHOLD)));
        self
    }

    /// Returns the eager threshold in hundredths.
    fn eager(&self) -> Option<u32> {
        self.eager.as_ref().map(|eager| eager.lock().hundredths())
    }

    /// Returns where a connection goes that begins with this eager threshold.
    fn target(&self, eager: Option<u32>) -> Result<Target, SocketError> {
        let (encoding, sample_rate) = match self.format {
            SttFormat::Pcm16 => ("linear16", 16_000),
            SttFormat::Mulaw => ("mulaw", 8_000),
        };
        let model = query_value(&self.endpoint.model);
        let timeout = EOT_TIMEOUT.as_millis();
        let mut path = format!(
            "/v2/listen?model={model}&encoding={encoding}&sample_rate={sample_rate}\
             &eot_threshold={EOT_THRESHOLD}&eot_timeout_ms={timeout}"
        );
        if let Some(eager) = eager {
            path.push_str(&format!("&eager_eot_threshold={}", share(eager)));
        }
        let target = Target::new(&self.endpoint.base_url, &path)?;
        Ok(target.auth("Authorization", "Token ", &self.endpoint.key))
    }
}

impl Transcriber for Flux {
    fn name(&self) -> &'static str {
        "flux"
    }

    fn eager_threshold(&self) -> Option<u32> {
        self.eager()
    }

    fn learn(&self, kept: bool) {
        if let Some(eager) = &self.eager {
            eager.lock().learn(kept);
        }
    }

    fn run(&self, io: EarsIo) {
        let eager = self.eager();
        match self.target(eager) {
            Ok(target) => Session::new(self, target, eager, io).run(),
            Err(error) => io.events.send(EarsEvent::Failed(error.failure("deepgram"))),
        }
    }
}

/// One call's session.
struct Session<'a> {
    flux: &'a Flux,
    target: Target,
    /// The eager threshold that `target` asks for, in hundredths; and the one that the connection has, unless it has refused
    /// to change it.
    eager: [Option<u32>; 2],
    /// Until when the answer to a change of it is waited for.
    configuring: Option<Instant>,
    /// Until when the answer to an order to end the turn is waited for.
    forcing: Option<Instant>,
    io: EarsIo,
    link: Link,
    turns: Turns,
    outbox: Outbox,
    /// Connections that failed in a row.
    failures: usize,
    /// When the connection was ready.
    ready: Instant,
    /// When Flux last said something that made sense, and how many frames had been sent by then.
    heard: (Instant, u64),
    /// The next burst of a backlog.
    burst_at: Instant,
    /// Until when the connection may stay silent about a turn that the lost one had heard.
    grace: Option<Instant>,
    bytes: Vec<u8>,
}

enum Link {
    /// There is none until then.
    Down(Instant),
    /// Not ready for audio until `Connected` has come, which must be by then.
    Opening(Box<Socket>, Instant),
    Ready(Box<Socket>),
}

/// The one socket of a session.
const SOCKET: mio::Token = mio::Token(1);

impl<'a> Session<'a> {
    fn new(flux: &'a Flux, target: Target, eager: Option<u32>, io: EarsIo) -> Self {
        let now = io.clock.now();
        Self {
            flux,
            target,
            eager: [eager; 2],
            configuring: None,
            forcing: None,
            io,
            link: Link::Down(now),
            turns: Turns::default(),
            outbox: Outbox::default(),
            failures: 0,
            ready: now,
            heard: (now, 0),
            burst_at: now,
            grace: None,
            bytes: Vec::with_capacity(2 * crate::call::FRAME_16K),
        }
    }

    fn run(mut self) {
        while !self.io.stop.raised() {
            let now = self.io.clock.now();
            while let Ok(frame) = self.io.frames.pop() {
                self.outbox.push(frame);
            }
            if let Err(lost) = self.do_work(now)
                && let Err(failure) = self.lose(lost, now)
            {
                return self.io.events.send(EarsEvent::Failed(failure));
            }
            let wait = self.poll_timeout().since(self.io.clock.now());
            self.io.listener.wait(Some(wait));
        }
        self.close();
    }

    /// Takes every step that is due.
    fn do_work(&mut self, now: Instant) -> Result<(), Lost> {
        match &self.link {
            Link::Down(until) if now < *until => return Ok(()),
            Link::Down(_) => {
                let socket = Socket::open(self.target.clone(), self.flux.trust.clone(), &self.io.listener, SOCKET, now);
                let patience = OPENING_MAX[self.failures.min(OPENING_MAX.len() - 1)];
                self.link = Link::Opening(Box::new(socket), now + patience);
            }
            Link::Opening(_, until) if now >= *until => {
                return Err(Lost::Socket(SocketError::TimedOut {
                    host: self.target.host().to_owned(),
                    what: "get ready",
                }));
            }
            _ => {}
        }
        self.receive()?;
        while let Ok(EarsCommand::ForceEndTurn) = self.io.commands.try_recv() {
            self.force_end_turn(now)?;
        }
        self.configure(now)?;
        self.send(now)?;
        self.watch(now)
    }

    fn receive(&mut self) -> Result<(), Lost> {
        for _ in 0..MESSAGES_MAX {
            let (Link::Opening(socket, _) | Link::Ready(socket)) = &mut self.link else { return Ok(()) };
            let now = self.io.clock.now();
            match socket.poll(&self.io.listener, now)? {
                None => return Ok(()),
                Some(Incoming::Opened) => {}
                Some(Incoming::Text(text)) => self.handle_message(&text, now)?,
                Some(Incoming::Binary(_)) => {}
            }
        }
        // There may be more, and the socket will not wake this thread for it.
        self.io.listener.bell().ring();
        Ok(())
    }

    fn handle_message(&mut self, text: &str, now: Instant) -> Result<(), Lost> {
        match self.turns.handle_message(text, now) {
            // What makes no sense is no sign of life, so a server that talks nonsense is left as one that is stuck.
            Said::Garbage => return Ok(()),
            Said::Error { permanent, text } => {
                return Err(Lost::Told { permanent, text: excerpt(&text, &self.flux.endpoint.key) });
            }
            Said::Connected => {
                if let Link::Opening(..) = self.link {
                    let Link::Opening(socket, _) = std::mem::replace(&mut self.link, Link::Down(now)) else {
                        return Ok(());
                    };
                    self.link = Link::Ready(socket);
                    self.ready = now;
                    self.grace = self.turns.is_open().then_some(now + REPLAY_GRACE);
                    self.io.events.send_at(now, EarsEvent::Connected);
                }
            }
            Said::Turn(turned) => {
                if self.turns.has_words() {
                    self.grace = None;
                }
                if let Some(turned) = turned {
                    self.tell_confidence(now);
                    self.tell(turned, now);
                }
                if !self.turns.is_open() {
                    self.outbox.acknowledge(self.turns.window_end());
                }
            }
            Said::Configured { taken: true } => self.configuring = None,
            // What it dislikes once it dislikes again.
            Said::Configured { taken: false } => (self.eager[1], self.configuring) = (None, None),
            Said::Other => {}
        }
        self.heard = (now, self.outbox.sent_frames());
        Ok(())
    }

    /// Tells how sure Flux is, with what is told next.
    fn tell_confidence(&self, now: Instant) {
        if let Some(end_of_turn) = self.turns.confidence() {
            let eager = self.eager[1].map(|hundredths| hundredths as f32 / 100.0);
            let eot = EOT_THRESHOLD as f32;
            self.io.events.send_at(now, EarsEvent::Confidence(Confidence { end_of_turn, eager, eot }));
        }
    }

    fn tell(&mut self, turned: Turned, now: Instant) {
        let event = match turned {
            Turned::Started(transcript) => EarsEvent::StartOfTurn { transcript },
            Turned::Updated(transcript) => EarsEvent::Update { transcript },
            Turned::EagerlyEnded(transcript) => EarsEvent::EagerEndOfTurn { transcript },
            Turned::Resumed(transcript) => EarsEvent::TurnResumed { transcript },
            Turned::Ended(transcript) => {
                (self.grace, self.forcing) = (None, None);
                let speech = self.outbox.speech_mark(self.turns.window_end(), self.turns.last_word_end());
                EarsEvent::EndOfTurn { transcript, speech }
            }
        };
        self.io.events.send_at(now, event);
    }

    /// Has Flux end the turn with the words that it has, or ends it here where that cannot be had.
    fn force_end_turn(&mut self, now: Instant) -> Result<(), Lost> {
        if !self.turns.is_open() {
            return Ok(());
        }
        match &mut self.link {
            Link::Ready(socket) if !self.flux.cannot_force.load(Ordering::Relaxed) => {
                socket.send_text(r#"{"type":"ForceEndTurn"}"#.into())?;
                self.forcing = Some(now + FORCE_MAX);
            }
            _ => self.end_turn_here(now),
        }
        Ok(())
    }

    /// Has Flux take the eager threshold as it stands, where that has moved far enough.
    fn configure(&mut self, now: Instant) -> Result<(), Lost> {
        if self.configuring.is_some_and(|until| now < until) {
            return Ok(());
        }
        let (Link::Ready(socket), [_, Some(has)], Some(wanted)) = (&mut self.link, self.eager, self.flux.eager())
        else {
            return Ok(());
        };
        if wanted.abs_diff(has) >= CONFIGURE_STEP {
            let eager = share(wanted);
            socket.send_text(format!(r#"{{"type":"Configure","thresholds":{{"eager_eot_threshold":{eager}}}}}"#))?;
            self.eager[1] = Some(wanted);
            self.configuring = Some(now + CONFIGURE_MAX);
        }
        Ok(())
    }

    /// Sends what waits: a live frame at once, a backlog in bursts, since Flux gives no rate that it takes.
    fn send(&mut self, now: Instant) -> Result<(), Lost> {
        if now < self.burst_at {
            return Ok(());
        }
        for _ in 0..BURST_FRAMES {
            let Link::Ready(socket) = &mut self.link else { return Ok(()) };
            let Some(frame) = self.outbox.next() else { return Ok(()) };
            self.bytes.clear();
            match self.flux.format {
                SttFormat::Pcm16 => self.bytes.extend(frame.pcm.iter().flat_map(|sample| sample.to_le_bytes())),
                SttFormat::Mulaw => self.bytes.extend_from_slice(&frame.ulaw),
            }
            socket.send_binary(&self.bytes)?;
            self.outbox.sent(self.io.clock.now());
        }
        if self.outbox.next().is_some() {
            self.burst_at = now + BURST_EVERY;
        }
        Ok(())
    }

    /// Watches for a server that has gone quiet, and for a turn that does not end.
    fn watch(&mut self, now: Instant) -> Result<(), Lost> {
        let Link::Ready(_) = self.link else { return Ok(()) };
        if now.since(self.ready) >= LIVED_MIN {
            self.failures = 0;
        }
        if self.stalled_at().is_some_and(|at| now >= at) {
            return Err(Lost::Stalled("says nothing while audio flows"));
        }
        if [self.grace, self.forcing].into_iter().flatten().any(|until| now >= until) {
            self.end_turn_here(now);
        }
        if self.turns.is_open() {
            let still = now.since(self.turns.unchanged_since());
            let silent = self.outbox.last_speech().is_none_or(|speech| now.since(speech) >= STUCK_MAX);
            if still >= STUCK_IN_NOISE_MAX || (still >= STUCK_MAX && silent) {
                self.end_turn_here(now);
                return Err(Lost::Stalled("left a turn open"));
            }
        }
        Ok(())
    }

    fn end_turn_here(&mut self, now: Instant) {
        (self.grace, self.forcing) = (None, None);
        if let Some(turned) = self.turns.end_here() {
            self.tell(turned, now);
            self.outbox.acknowledge(self.turns.window_end());
        }
    }

    /// Prepares the next connection after a loss.
    ///
    /// # Errors
    /// There will be none.
    fn lose(&mut self, lost: Lost, now: Instant) -> Result<(), Failure> {
        let failure = match lost {
            // An account for which this order is not enabled: it is never given again, and the turn ends here.
            Lost::Told { permanent: true, text } if self.forcing.is_some() => {
                self.flux.cannot_force.store(true, Ordering::Relaxed);
                self.end_turn_here(now);
                let text =
                    format!("deepgram: {text}; ForceEndTurn is not enabled for this account, turns are ended here");
                Failure { kind: FailureKind::Dropped, text }
            }
            lost => lost.failure(),
        };
        if let Link::Ready(_) = self.link {
            let from_start = self.outbox.rewind(self.turns.window_end());
            self.turns.reconnected(from_start);
        }
        let worked = matches!(self.link, Link::Ready(_));
        let Some(wait) = wait_after(self.failures, &failure, worked) else {
            // Whoever hears in place of these ears hears what follows, and not what was said.
            self.end_turn_here(now);
            return Err(failure);
        };
        self.io.events.send_at(now, EarsEvent::Reconnecting(failure));
        self.failures += 1;
        self.heard = (now, 0);
        // The next connection begins with what its address asks for.
        (self.eager[1], self.configuring) = (self.eager[0], None);
        self.link = Link::Down(now + wait);
        Ok(())
    }

    fn poll_timeout(&self) -> Instant {
        let due = match &self.link {
            Link::Down(until) => return *until,
            Link::Opening(socket, until) => [socket.poll_timeout(), Some(*until), None, None],
            Link::Ready(socket) => [
                socket.poll_timeout(),
                self.outbox.next().map(|_| self.burst_at),
                self.grace.into_iter().chain(self.forcing).min(),
                self.stalled_at(),
            ],
        };
        // Watching a turn that does not end needs no exact time.
        let watch = self.io.clock.now() + Duration::from_millis(500);
        due.into_iter().flatten().fold(watch, Instant::min)
    }

    /// Returns when Flux will have been quiet for too long. Without audio it has nothing to say, so that must have flowed for
    /// as long.
    fn stalled_at(&self) -> Option<Instant> {
        let (heard, frames) = self.heard;
        let waited_for = self.turns.is_open() || self.outbox.last_speech().is_some_and(|speech| speech >= heard);
        let patience = if waited_for { STALL_IN_TURN_MAX } else { STALL_MAX };
        let unheard = u32::try_from(self.outbox.sent_frames().saturating_sub(frames)).unwrap_or(u32::MAX);
        (outbox::FRAME * unheard >= patience).then_some(heard + patience)
    }

    /// Tells Flux that there is no more audio, and gives it a moment to hang up.
    fn close(mut self) {
        let Link::Ready(mut socket) = self.link else { return };
        let until = self.io.clock.now() + CLOSE_MAX;
        if socket.send_text(r#"{"type":"CloseStream"}"#.into()).is_err() {
            return;
        }
        loop {
            let now = self.io.clock.now();
            match socket.poll(&self.io.listener, now) {
                Err(_) => return,
                _ if now >= until => return socket.close(),
                Ok(Some(_)) => {}
                Ok(None) => self.io.listener.wait(Some(until.since(now))),
            }
        }
    }
}

/// Returns how long to wait for the next connection after so many that failed in a row, if there is to be one; `worked` if the
/// lost one was of use.
fn wait_after(failures: usize, failure: &Failure, worked: bool) -> Option<Duration> {
    let wait = *BACKOFF.get(failures)?;
    match failure.kind {
        FailureKind::Refused => None,
        FailureKind::RateLimited { retry_after: Some(after) } if after > RETRY_AFTER_MAX => None,
        FailureKind::RateLimited { retry_after: Some(after) } => Some(wait.max(after)),
        _ if worked && failures == 0 => Some(Duration::ZERO),
        _ => Some(wait),
    }
}

/// Why a connection was given up.
enum Lost {
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
    fn failure(&self) -> Failure {
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

/// Returns `hundredths` as Flux reads a share.
fn share(hundredths: u32) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
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
