//! What ears, mind and voice say to the agent.

use crate::time::Instant;
use std::time::Duration;

/// When the caller's last speech before an end of turn came in, and when it was on its way to the recogniser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SpeechMark {
    /// Arrival of the last packet with caller speech: the turn's `t0`.
    pub arrived: Instant,
    /// When that packet's audio was handed to the recogniser (its socket, or its model).
    pub handed: Instant,
}

/// A word of the caller's, and when it was said: as its sound arrived.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TimedWord {
    /// As it stands in the transcript.
    pub text: String,
    /// Arrival of its first sound.
    pub from: Instant,
    /// And of its last.
    pub to: Instant,
}

/// How sure the recogniser is that the caller's turn has ended, and how sure it is to be before it says so; 0.0 to 1.0.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Confidence {
    /// How sure it is.
    pub end_of_turn: f32,
    /// The confidence from which on it says that the turn has probably ended; `None`: it is not asked to.
    pub eager: Option<f32>,
    /// From where on it has ended.
    pub eot: f32,
}

/// What the recogniser says; the words are Deepgram Flux's (its state machine page), which every recogniser here follows.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
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
    /// The words of the turn that ends next, from a recogniser that tells their times. For records; the agent goes without.
    Words(Vec<TimedWord>),
    /// How sure it is, with what it says next, that the turn has ended. For captures only: the agent goes by what is
    /// said.
    Confidence(Confidence),
    /// It is not heard for a moment, and another connection is made: what was said meanwhile is understood later.
    Reconnecting(Failure),
    /// It is gone for good: its own retries are used up, or would be of no use.
    Failed(Failure),
}

impl EarsEvent {
    /// Returns the words that it tells, where it tells any.
    #[must_use]
    pub fn transcript(&self) -> Option<&str> {
        match self {
            Self::StartOfTurn { transcript }
            | Self::Update { transcript }
            | Self::EagerEndOfTurn { transcript }
            | Self::TurnResumed { transcript }
            | Self::EndOfTurn { transcript, .. } => Some(transcript),
            Self::Connected | Self::Words(_) | Self::Confidence(_) | Self::Reconnecting(_) | Self::Failed(_) => None,
        }
    }

    /// Returns the words that it tells, to be changed, where it tells any.
    pub fn transcript_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::StartOfTurn { transcript }
            | Self::Update { transcript }
            | Self::EagerEndOfTurn { transcript }
            | Self::TurnResumed { transcript }
            | Self::EndOfTurn { transcript, .. } => Some(transcript),
            Self::Connected | Self::Words(_) | Self::Confidence(_) | Self::Reconnecting(_) | Self::Failed(_) => None,
        }
    }

    /// Returns what the caller has said so far in a turn that is not over.
    #[must_use]
    pub fn partial(&self) -> Option<&str> {
        let ended = matches!(self, Self::EndOfTurn { .. });
        self.transcript().filter(|text| !ended && !text.trim().is_empty())
    }
}

/// What the language model says of one turn's request.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum MindEvent {
    /// The request is written.
    Sent,
    /// The share that is `left` of the account's limits, 0.0 to 1.0: of the scarcest one.
    Allowance { left: f32 },
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
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// Whose fault, and whether it is of use to try again.
    pub kind: FailureKind,
    /// What to tell the operator: provider, cause and cure in one line.
    pub text: String,
}

/// Kinds of failure, as far as the reaction to them differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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

impl FailureKind {
    /// Returns the word that records and events show.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::RateLimited { .. } => "rate_limited",
            Self::Dropped => "dropped",
            Self::Stalled => "stalled",
            Self::Garbage => "garbage",
        }
    }
}
