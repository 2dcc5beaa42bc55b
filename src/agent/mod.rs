//! What the agent understands and says: the text side of a turn, as a pure machine.

use crate::ids::TurnId;
use crate::time::Instant;
use std::time::Duration;

/// When the caller's last speech before an end of turn came in, and when it was on its way to the recogniser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpeechMark {
    /// Arrival of the last packet with caller speech: the turn's `t0`.
    pub arrived: Instant,
    /// When that packet's audio was handed to the recogniser (its socket, or its model).
    pub handed: Instant,
}

/// What the recogniser says; the words are Deepgram Flux's (its state machine page), which every recogniser here follows.
#[derive(Clone, Debug, PartialEq)]
pub enum EarsEvent {
    /// It listens.
    Connected,
    /// The caller has begun a turn; `transcript` is never empty.
    StartOfTurn { transcript: String },
    /// The whole turn's text so far.
    Update { transcript: String },
    /// The turn has probably ended; `TurnResumed` or an `EndOfTurn` with the same text follows.
    EagerEndOfTurn { transcript: String },
    /// The turn goes on after all.
    TurnResumed { transcript: String },
    /// The turn has ended; may come without a `StartOfTurn`, and may be empty.
    EndOfTurn { transcript: String, speech: SpeechMark },
    /// It is gone for good: its own retries are used up, or would be of no use.
    Failed(Failure),
}

/// What the language model says of one turn's request.
#[derive(Clone, Debug, PartialEq)]
pub enum MindEvent {
    /// The request is written.
    Sent,
    /// A piece of the reply, as it is to be spoken; never reasoning.
    Token(String),
    /// A tool is called; `arguments` is JSON as the model wrote it, possibly invalid.
    ToolCall { id: String, name: String, arguments: String },
    /// The reply is whole.
    Done,
    /// There will be no (more) reply; retries are used up, or something was already said.
    Failed(Failure),
}

/// What the voice says of one turn's speech. Audio itself goes to the media path by ring.
#[derive(Clone, Debug, PartialEq)]
pub enum VoiceEvent {
    /// A clause's text is written to the voice's socket (or its model has begun).
    Sent { clause: u16 },
    /// The first audio of the turn came out of the voice.
    FirstAudio,
    /// `text` (a clause, or a word where the voice tells word times) is spoken up to `end` from the start of the turn's audio.
    Spoken { text: String, end: Duration },
    /// All audio of the turn is made; `length` in all.
    Done { length: Duration },
    /// There will be no (more) audio for this turn.
    Failed(Failure),
}

/// Why a provider failed, without any secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whose fault, and whether it is of use to try again.
    pub kind: FailureKind,
    /// What to tell the operator: provider, cause and cure in one line.
    pub text: String,
}

/// Kinds of failure, as far as the reaction to them differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Key or request refused (4xx other than 408 and 429): trying again is of no use.
    Refused,
    /// Too many requests; worth trying after the time given.
    RateLimited { retry_after: Option<Duration> },
    /// Not reachable, or the connection broke.
    Dropped,
    /// Connected, but nothing (useful) came before the deadline.
    Stalled,
    /// It sent what cannot be understood.
    Garbage,
}

/// One message of the conversation, as a language model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The instructions.
    System(String),
    /// What the caller said.
    Caller(String),
    /// What the caller heard of the agent.
    Agent(String),
    /// The model called a tool.
    ToolCall { id: String, name: String, arguments: String },
    /// What the tool gave back.
    ToolResult { id: String, content: String },
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Its name, such as `hang_up`.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// The JSON schema of its arguments.
    pub parameters: String,
}

/// A phrase that is rendered ahead and kept, so that it can be said without any provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phrase {
    /// Said first.
    Greeting,
    /// Said to a silent caller.
    Reprompt,
    /// Said before hanging up on a silent caller or an endless call.
    Goodbye,
    /// Said when one reply could not be made.
    Apology,
    /// Said before hanging up because a provider stays away.
    FarewellOnFailure,
}

/// One thing that happened in the call, told to the agent.
#[derive(Clone, Debug)]
pub enum Input {
    /// The call is answered and media flows.
    Answered,
    /// The recogniser said something.
    Ears(EarsEvent),
    /// The model said something about `turn`'s request.
    Mind { turn: TurnId, event: MindEvent },
    /// The voice said something about `turn`'s speech.
    Voice { turn: TurnId, event: VoiceEvent },
    /// The caller's voice was heard to begin or to stop by the local detector.
    CallerSpeech { speaking: bool },
    /// The first packet with speech of `turn` is on the wire.
    FirstPacket { turn: TurnId },
    /// All speech of `turn` was played: `heard` in all.
    Played { turn: TurnId, heard: Duration },
    /// The caller took the floor: `turn`'s speech was cut after `heard`, and nothing more of it will leave.
    Cut { turn: TurnId, heard: Duration },
    /// A digit was pressed.
    Digit(char),
    /// A phrase is (not) to be had; said once per phrase before or while the call runs.
    PhraseReady(Phrase),
}

/// What the agent wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Ask the model for `turn`'s reply.
    Ask { turn: TurnId, messages: Vec<Message>, tools: Vec<Tool> },
    /// The model's reply to `turn` is not wanted any more.
    CancelAsk { turn: TurnId },
    /// From here on only speech of `turn` may be played; what is queued of earlier turns is dropped.
    Floor { turn: TurnId },
    /// Speak a clause; `text` is ready for a voice (no markdown, no emoji) and may be empty when `last`.
    Speak { turn: TurnId, clause: u16, text: String, last: bool },
    /// Play a kept phrase as the whole speech of `turn`.
    Play { turn: TurnId, phrase: Phrase },
    /// `turn`'s speech is not wanted any more; nothing more of it may leave.
    CancelSpeech { turn: TurnId },
    /// What is known of a turn has changed: what the caller said, what was heard of the reply.
    Turn(TurnRecord),
    /// Hang up, for this reason.
    HangUp { reason: String },
}

/// What is known of one turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TurnRecord {
    /// Which turn.
    pub turn: TurnId,
    /// What the caller said; empty for the greeting and for re-prompts.
    pub caller: String,
    /// What was heard of the agent's reply.
    pub agent: String,
    /// Whether the caller cut the reply.
    pub interrupted: bool,
}

/// What the agent waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The greeting, which is being rendered.
    Greeting,
    /// The end of a clause that comes slowly.
    Clause,
    /// The next sign of life of a reply.
    Reply,
    /// More digits.
    Digits,
    /// The end of the caller's turn, long after its last word.
    CallerTurn,
    /// The caller, in mutual silence.
    Silence,
    /// The longest call.
    CallMax,
}

/// The agent of one call.
pub struct Agent {
    outputs: std::collections::VecDeque<Output>,
}

impl Agent {
    /// Makes the agent of a call that is not answered yet.
    #[must_use]
    pub fn new(settings: &crate::config::Agent) -> Self {
        let _ = settings;
        Self { outputs: std::collections::VecDeque::new() }
    }

    /// Takes one input. Afterwards drain [`Self::poll_output`] to `None` before the next input.
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        let _ = (input, now);
    }

    /// Takes the passage of time. Early, late or repeated calls are safe and change nothing that is not due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// Returns the next thing to be done, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when `handle_timeout` is due, and which timer wants it.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<crate::time::Deadline<Timer>> {
        None
    }
}
pub mod clauses;
pub mod spoken;
pub mod timers;
