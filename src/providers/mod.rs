//! The agent's ears, mind and voice: three roles, each run by a thread of its own.
//!
//! A provider is a factory shared by all calls; `run` is one call's session and occupies its thread until the call ends
//! ([`Stop`] is raised and the bell rung) or the provider is lost for good. Sessions are opened while the phone rings.

pub mod agent_audio;
pub mod aura;
mod bell;
pub mod caller_audio;
pub mod cartesia;
pub mod deepgram;
pub mod echo;
pub mod elevenlabs;
pub mod endpoint;
pub mod feeder;
pub mod groq;
pub mod line;
pub mod local;
pub mod probe;
mod redaction;
#[cfg(test)]
mod rig;
pub mod scripted;
pub mod socket;
mod streamed;
pub mod tls;
pub mod webhook;

use crate::agent::{EarsEvent, Failure, MindEvent, VoiceEvent};
use crate::ids::{CallId, TurnId};
use crate::time::{Clock, Instant};
use agent_audio::{AgentAudio, VoiceOrders};
pub use bell::{BELL_TOKEN, Bell, Listener, Loan};
use caller_audio::CallerAudio;
use crossbeam_channel::{Receiver, Sender};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The ears: caller audio in, turns out.
pub trait Transcriber: Send + Sync {
    /// Returns the name that `/status` and `/calls` show, such as `flux`.
    fn name(&self) -> &'static str;
    /// Whether it computes on this machine. Its threads then run as any others; those of a provider that only waits for its
    /// sockets run before them, so that a busy machine does not delay a turn.
    fn computes(&self) -> bool {
        false
    }
    /// Returns the confidence, in hundredths, at which a turn is told to have probably ended; nothing for ears without one.
    fn eager_threshold(&self) -> Option<u32> {
        None
    }
    /// Takes what came of a reply that was drafted on an eager end of turn in any of the calls: whether it was `kept`. Ears
    /// whose eagerness can be set keep the share of the others within a budget by it.
    fn learn(&self, kept: bool) {
        let _ = kept;
    }
    /// Runs one call's session.
    fn run(&self, io: EarsIo);
}

/// The mind: a conversation in, the reply's text out.
pub trait Responder: Send + Sync {
    /// Returns the name that `/status` and `/calls` show, such as `groq`.
    fn name(&self) -> &'static str;
    /// Whether it computes on this machine. Its threads then run as any others; those of a provider that only waits for its
    /// sockets run before them, so that a busy machine does not delay a turn.
    fn computes(&self) -> bool {
        false
    }
    /// Runs one call's session.
    fn run(&self, io: MindIo);
}

/// The voice: clauses in, 8 kHz audio out.
pub trait Speaker: Send + Sync {
    /// Returns the name that `/status` and `/calls` show, such as `cartesia`.
    fn name(&self) -> &'static str;
    /// Whether it computes on this machine. Its threads then run as any others; those of a provider that only waits for its
    /// sockets run before them, so that a busy machine does not delay a turn.
    fn computes(&self) -> bool {
        false
    }
    /// Runs one call's session. Where a turn cannot be gone on with, [`feeder::Feeder::break_off`] comes first and
    /// [`VoiceEvent::Failed`] then: another voice may stand behind this one.
    fn run(&self, io: VoiceIo);
    /// Speaks `text` whole, for the phrases that are kept: mono PCM at 8 kHz. Blocks, with deadlines of its own.
    ///
    /// # Errors
    /// What kept the provider from speaking.
    fn render(&self, text: &str) -> Result<Vec<i16>, Failure>;
}

/// What the ears' thread works with.
pub struct EarsIo {
    /// The call, for log lines.
    pub call: CallId,
    /// The engine's clock.
    pub clock: Arc<dyn Clock>,
    /// 20 ms frames of caller audio, as they arrive; silence of a caller who sends nothing is filled in.
    pub frames: CallerAudio,
    /// What the agent orders; few, and none of them is worth waiting for.
    pub commands: Receiver<EarsCommand>,
    /// Rung when frames or commands are there and when the call ends.
    pub listener: Listener,
    /// Where events go.
    pub events: Events<EarsEvent>,
    /// Raised when the call has ended.
    pub stop: Stop,
}

/// What the agent orders of its ears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarsCommand {
    /// The caller's turn is over by a rule that is surer than the recogniser: `EndOfTurn` is to follow with the words so far.
    /// Without a turn nothing follows.
    ForceEndTurn,
}

/// What the mind's thread works with.
pub struct MindIo {
    /// The call, for log lines.
    pub call: CallId,
    /// The engine's clock.
    pub clock: Arc<dyn Clock>,
    /// What the agent orders.
    pub commands: Receiver<MindCommand>,
    /// Rung when commands are there and when the call ends.
    pub listener: Listener,
    /// Where events go.
    pub events: Events<(TurnId, MindEvent)>,
    /// Raised when the call has ended.
    pub stop: Stop,
}

/// What the agent orders of its mind.
#[derive(Clone, Debug)]
pub enum MindCommand {
    /// Reply to this.
    Ask(Request),
    /// No word of this turn is wanted any more.
    Cancel(TurnId),
}

/// A conversation that wants a reply.
#[derive(Clone, Debug)]
pub struct Request {
    /// The turn that the reply belongs to.
    pub turn: TurnId,
    /// System prompt first, oldest first; shared, since it is only read.
    pub messages: Vec<crate::agent::Message>,
    /// Tools that the model may call.
    pub tools: Vec<crate::agent::Tool>,
}

/// What the voice's thread works with.
pub struct VoiceIo {
    /// The call, for log lines.
    pub call: CallId,
    /// The engine's clock.
    pub clock: Arc<dyn Clock>,
    /// What the agent orders.
    pub commands: VoiceOrders,
    /// Rung when commands are there, when the media path has made room, and when the call ends.
    pub listener: Listener,
    /// Where audio goes; see [`crate::providers::feeder::Feeder`].
    pub frames: AgentAudio,
    /// Wakes the media worker after frames were put into an empty ring.
    pub media: Bell,
    /// Where events go.
    pub events: Events<(TurnId, VoiceEvent)>,
    /// Raised when the call has ended.
    pub stop: Stop,
}

/// What the agent orders of its voice.
#[derive(Clone, Debug)]
pub enum VoiceCommand {
    /// Speak `text`, the `clause`-th of the turn; after `last` the turn's speech is whole. `text` may be empty when `last`.
    Speak { turn: TurnId, clause: u16, text: String, last: bool },
    /// No sample of this turn is wanted any more.
    Cancel(TurnId),
}

/// Raised once, when the call has ended; seen by its threads at their next wake-up.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    flag: Arc<AtomicBool>,
    /// Raised with that one, too.
    above: Option<Arc<AtomicBool>>,
}

impl Stop {
    /// Raises it.
    pub fn raise(&self) {
        self.flag.store(true, Ordering::Release);
    }

    /// Whether it is raised.
    #[must_use]
    pub fn raised(&self) -> bool {
        self.flag.load(Ordering::Acquire) || self.above.as_ref().is_some_and(|above| above.load(Ordering::Acquire))
    }

    /// Returns a stop that is raised by itself, or with this one: for a provider that may be left before the call ends.
    #[must_use]
    pub fn under(&self) -> Self {
        Self { flag: Arc::default(), above: Some(self.flag.clone()) }
    }
}

/// An event and the moment it came in.
#[derive(Clone, Debug)]
pub struct Stamped<T> {
    /// When the provider's thread had it in hand.
    pub at: Instant,
    /// The event.
    pub event: T,
}

/// Sends a provider's events to the call's conductor, and wakes it.
pub struct Events<T> {
    clock: Arc<dyn Clock>,
    send: Box<dyn Fn(Stamped<T>) + Send>,
}

impl<T> Events<T> {
    /// Makes a sender whose events go through `wrap` into `channel`, which is bounded; `bell` wakes its reader.
    pub fn new<E: Send + 'static>(
        clock: Arc<dyn Clock>,
        channel: Sender<E>,
        bell: Bell,
        wrap: impl Fn(Stamped<T>) -> E + Send + 'static,
    ) -> Self {
        Self {
            clock,
            send: Box::new(move |stamped| {
                // A conductor that is gone has no use for events, and one that lags makes its provider wait.
                if channel.send(wrap(stamped)).is_ok() {
                    bell.ring();
                }
            }),
        }
    }

    /// Makes a sender whose events are handed to `pass`, on the thread that sends them.
    pub fn relay(clock: Arc<dyn Clock>, pass: impl Fn(Stamped<T>) + Send + 'static) -> Self {
        Self { clock, send: Box::new(pass) }
    }

    /// Sends `event`, stamped with the present.
    pub fn send(&self, event: T) {
        self.send_at(self.clock.now(), event);
    }

    /// Sends `event` as of `at`.
    pub fn send_at(&self, at: Instant, event: T) {
        (self.send)(Stamped { at, event });
    }
}
