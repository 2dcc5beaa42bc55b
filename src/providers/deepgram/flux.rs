//! Speech to text by Deepgram Flux, over a WebSocket: 20 ms frames up, turns down.

use super::cadence::{Quiet, Regular};
use super::connection::{Account, Burst, Connection, Lost};
use super::eager::Eagerness;
use super::outbox::{self, Outbox};
use super::turns::{Said, Turned, Turns};
use crate::agent::{Confidence, EarsEvent, Failure, FailureKind};
use crate::config::{Endpoint, SttFormat};
use crate::providers::socket::{Incoming, SocketError, Target};
use crate::providers::tls::Trust;
use crate::providers::{EarsCommand, EarsIo, Transcriber};
use crate::time::Instant;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The confidence at which Flux ends a turn: the vendor's default, 0.5 to 1.0.
const EOT_THRESHOLD: f64 = 0.7;
/// Silence after speech that ends a turn whatever the confidence: the vendor's default, in milliseconds.
const EOT_TIMEOUT: Duration = Duration::from_millis(5000);
/// A turn whose text stands still for this long, while the caller is silent, should have ended long ago.
const STUCK_MAX: Duration = EOT_TIMEOUT.saturating_add(Duration::from_secs(2));
/// The same while sound goes on: four times the time-out that should have ended it.
const STUCK_IN_NOISE_MAX: Duration = EOT_TIMEOUT.saturating_mul(4);
/// How long a new connection may take to say something of a turn that the lost one had heard.
const REPLAY_GRACE: Duration = Duration::from_millis(1500);
/// Eight times real time, since Flux gives no rate that it takes.
const BURST: Burst = Burst { frames: 8, every: Duration::from_millis(20) };
/// How long the answer to a change of settings is waited for; one at a time is what Flux wants.
const CONFIGURE_MAX: Duration = Duration::from_secs(5);
/// How far the eager threshold must have moved for a change of settings, in hundredths.
const CONFIGURE_STEP: u32 = 2;
/// How long the answer to an order to end the turn is waited for: some round trips to another continent.
const FORCE_MAX: Duration = Duration::from_millis(600);
/// Deepgram Flux (`/v2/listen`).
pub struct Flux {
    account: Account,
    /// Set where eager ends of turns are wanted; shared by all calls.
    eager: Option<Mutex<Eagerness>>,
    /// Whether the account does not know `ForceEndTurn`: then turns are ended here.
    cannot_force: AtomicBool,
    /// How regularly the server has been heard to speak, in any of the calls.
    regular: Mutex<Regular>,
}

impl Flux {
    /// Makes the ears that listen at `endpoint` (base URL without the path) and are sent audio as `format`.
    #[must_use]
    pub fn new(endpoint: &Endpoint, format: SttFormat) -> Self {
        let account = Account::new(endpoint, format);
        Self { account, eager: None, cannot_force: AtomicBool::new(false), regular: Mutex::default() }
    }

    /// Checks the server's certificate against `trust`.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.account.trust = trust;
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
        let mut query = format!("eot_threshold={EOT_THRESHOLD}&eot_timeout_ms={}", EOT_TIMEOUT.as_millis());
        if let Some(eager) = eager {
            query.push_str(&format!("&eager_eot_threshold={}", share(eager)));
        }
        self.account.target("/v2/listen", &query)
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
    /// The eager threshold that every connection begins with, in hundredths.
    eager_at_first: Option<u32>,
    /// The one that this connection has; nothing where it does not take another.
    eager: Option<u32>,
    /// Until when the answer to a change of it is waited for.
    configuring: Option<Instant>,
    /// Until when the answer to an order to end the turn is waited for.
    forcing: Option<Instant>,
    io: EarsIo,
    connection: Connection<'a>,
    turns: Turns,
    outbox: Outbox,
    /// When Flux last said something that made sense, and how many frames had been sent by then, and how many with speech come.
    heard: (Instant, u64, u64),
    /// Whether speech that a lost connection left unanswered is sent again on this one.
    owed: bool,
    /// Until when the connection may stay silent about a turn that the lost one had heard.
    grace: Option<Instant>,
}

impl<'a> Session<'a> {
    fn new(flux: &'a Flux, target: Target, eager: Option<u32>, io: EarsIo) -> Self {
        let now = io.clock.now();
        Self {
            flux,
            eager_at_first: eager,
            eager,
            configuring: None,
            forcing: None,
            io,
            connection: Connection::new(&flux.account, target, BURST, now),
            turns: Turns::default(),
            outbox: Outbox::default(),
            heard: (now, 0, 0),
            owed: false,
            grace: None,
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
        self.connection.close(self.io);
    }

    /// Takes every step that is due.
    fn do_work(&mut self, now: Instant) -> Result<(), Lost> {
        self.connection.tend(&self.io, now)?;
        self.receive()?;
        while let Ok(EarsCommand::ForceEndTurn) = self.io.commands.try_recv() {
            self.force_end_turn(now)?;
        }
        self.configure(now)?;
        self.connection.send(&mut self.outbox, &*self.io.clock, |_, _| {})?;
        self.watch(now)
    }

    fn receive(&mut self) -> Result<(), Lost> {
        while let Some((incoming, now)) = self.connection.receive(&self.io)? {
            if let Incoming::Text(text) = incoming {
                self.handle_message(&text, now)?;
            }
        }
        Ok(())
    }

    fn handle_message(&mut self, text: &str, now: Instant) -> Result<(), Lost> {
        match self.turns.handle_message(text, now) {
            // What makes no sense is no sign of life, so a server that talks nonsense is left as one that is stuck.
            Said::Garbage => return Ok(()),
            Said::Error { permanent, text } => return Err(self.flux.account.told(permanent, &text)),
            Said::Connected => {
                if self.connection.get_ready(now) {
                    self.grace = self.turns.is_open().then_some(now + REPLAY_GRACE);
                    self.io.events.send_at(now, EarsEvent::Connected);
                }
            }
            Said::Turn(turned) => {
                self.learn_cadence();
                self.owed = false;
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
            // A change that was refused once is refused again: this connection is asked for no other.
            Said::Configured { taken: false } => (self.eager, self.configuring) = (None, None),
            Said::Other => {}
        }
        self.heard = (now, self.outbox.sent_frames(), self.outbox.speech_frames());
        Ok(())
    }

    /// Lets all sessions know how regularly this one hears from the server.
    fn learn_cadence(&self) {
        let (mut known, heard) = (self.flux.regular.lock(), self.turns.regular());
        *known = Regular { idle: known.idle | heard.idle, in_turn: known.in_turn | heard.in_turn };
    }

    /// Tells how sure Flux is, with what is told next.
    fn tell_confidence(&self, now: Instant) {
        if let Some(end_of_turn) = self.turns.confidence() {
            let eager = self.eager.or(self.eager_at_first).map(|hundredths| hundredths as f32 / 100.0);
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
                let end = self.turns.window_end();
                let speech = self.outbox.speech_mark(end, self.turns.last_word_end());
                self.outbox.end_turn(end);
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
        let can = !self.flux.cannot_force.load(Ordering::Relaxed);
        if can && self.connection.order(r#"{"type":"ForceEndTurn"}"#, now)? {
            self.forcing = Some(now + FORCE_MAX);
        } else {
            self.end_turn_here(now);
        }
        Ok(())
    }

    /// Has Flux take the eager threshold as it stands, where that has moved far enough.
    fn configure(&mut self, now: Instant) -> Result<(), Lost> {
        if self.configuring.is_some_and(|until| now < until) {
            return Ok(());
        }
        let (Some(has), Some(wanted)) = (self.eager, self.flux.eager()) else { return Ok(()) };
        if wanted.abs_diff(has) < CONFIGURE_STEP {
            return Ok(());
        }
        let eager = share(wanted);
        let order = format!(r#"{{"type":"Configure","thresholds":{{"eager_eot_threshold":{eager}}}}}"#);
        if self.connection.order(&order, now)? {
            self.eager = Some(wanted);
            self.configuring = Some(now + CONFIGURE_MAX);
        }
        Ok(())
    }

    /// Watches for a server that has gone quiet, and for a turn that does not end.
    fn watch(&mut self, now: Instant) -> Result<(), Lost> {
        if !self.connection.is_ready() {
            return Ok(());
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
        if self.connection.is_ready() {
            let quiet = self.quiet();
            self.owed |= quiet.in_turn || quiet.is_spoken_into();
            let from_start = self.outbox.rewind(self.turns.window_end());
            self.turns.reconnected(from_start);
        }
        let followed = self.io.frames.is_followed();
        if !self.connection.lose(&failure, followed, now) {
            // Where nobody hears the turn again, its words so far are all that it has.
            if !followed {
                self.end_turn_here(now);
            }
            return Err(failure);
        }
        self.io.events.send_at(now, EarsEvent::Reconnecting(failure));
        self.heard = (now, 0, self.outbox.speech_frames());
        (self.eager, self.configuring) = (self.eager_at_first, None);
        Ok(())
    }

    fn poll_timeout(&self) -> Instant {
        let own = [self.grace, self.forcing, self.stalled_at()].into_iter().flatten();
        let own = own.filter(|_| self.connection.is_ready());
        own.fold(self.connection.poll_timeout(&self.outbox, self.io.clock.now()), Instant::min)
    }

    /// Returns when Flux will have been quiet for too long.
    fn stalled_at(&self) -> Option<Instant> {
        self.quiet().stalled_at(*self.flux.regular.lock())
    }

    fn quiet(&self) -> Quiet {
        let (since, sent, speech) = self.heard;
        let unheard = u32::try_from(self.outbox.sent_frames().saturating_sub(sent)).unwrap_or(u32::MAX);
        Quiet {
            since,
            audio: outbox::FRAME * unheard,
            in_turn: self.turns.is_open(),
            owed: self.owed,
            last_speech: self.outbox.last_speech(),
            speech_frames: self.outbox.speech_frames() - speech,
        }
    }
}

/// Returns `hundredths` as Flux reads a share.
fn share(hundredths: u32) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}
