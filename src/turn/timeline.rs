//! When each step of a turn happened, from the caller's last speech to the agent's first packet, and what each step cost.

use crate::time::Instant;
use std::time::Duration;

/// A moment of a turn, in the order in which they come when nothing is speculated or kept ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// The last packet with caller speech came in: `t0`.
    SpeechArrived,
    /// Its audio was handed to the recogniser.
    SpeechHanded,
    /// The recogniser's end of turn came out of its socket or model.
    EndOfTurn,
    /// The request to the model was written.
    RequestSent,
    /// The first token came that is of use to a voice.
    FirstToken,
    /// The first clause was written to the voice, or a kept phrase was handed to the media path.
    ClauseSent,
    /// The first audio came out of the voice; for a kept phrase the same moment as `ClauseSent`.
    FirstAudio,
    /// The first packet with agent speech was handed to the kernel: `t1`.
    FirstPacket,
}

impl Mark {
    const COUNT: usize = Self::FirstPacket as usize + 1;
}

/// A part of the time between the caller's last speech and the agent's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Packet in → audio handed to the recogniser.
    Ingress,
    /// Audio handed over → end of turn: the recogniser's time, with the silence it needs.
    EndOfTurn,
    /// End of turn → request written.
    Decision,
    /// Request written → first useful token: the model's time.
    Llm,
    /// First useful token → first clause written to the voice.
    Clause,
    /// First clause written → first audio: the voice's time.
    Tts,
    /// First audio → first packet sent.
    Egress,
    /// What no stage explains.
    Unexplained,
}

impl Stage {
    /// All stages, in the order in which a turn passes them.
    pub const ALL: [Self; 8] = [
        Self::Ingress,
        Self::EndOfTurn,
        Self::Decision,
        Self::Llm,
        Self::Clause,
        Self::Tts,
        Self::Egress,
        Self::Unexplained,
    ];

    /// Returns the name that the control API and `/metrics` use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::EndOfTurn => "end_of_turn",
            Self::Decision => "decision",
            Self::Llm => "llm",
            Self::Clause => "clause",
            Self::Tts => "tts",
            Self::Egress => "egress",
            Self::Unexplained => "unexplained",
        }
    }
}

/// The marks of one turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    marks: [Option<Instant>; Mark::COUNT],
}

impl Timeline {
    /// Notes that `mark` happened at `at`. The first time counts: a second clause or token is no news.
    pub fn mark(&mut self, mark: Mark, at: Instant) {
        self.marks[mark as usize].get_or_insert(at);
    }

    /// Returns when `mark` happened.
    #[must_use]
    pub const fn at(&self, mark: Mark) -> Option<Instant> {
        self.marks[mark as usize]
    }

    /// Returns what each stage cost, once both `SpeechArrived` and `FirstPacket` are known.
    #[must_use]
    pub fn stages(&self) -> Option<Stages> {
        None
    }
}

/// What each stage of one turn cost; the stages add up to the total exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    parts: [Duration; Stage::ALL.len()],
}

impl Stages {
    /// Returns the time from the caller's last speech to the agent's first packet.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.parts.iter().sum()
    }

    /// Returns what `stage` cost.
    #[must_use]
    pub const fn get(&self, stage: Stage) -> Duration {
        self.parts[stage as usize]
    }

    /// Returns everything that is not a provider's time: total without end of turn, LLM and TTS.
    #[must_use]
    pub fn own_path(&self) -> Duration {
        self.total() - self.get(Stage::EndOfTurn) - self.get(Stage::Llm) - self.get(Stage::Tts)
    }

    /// Returns the stages in tenths of a millisecond, so rounded that they still add up to the rounded total.
    #[must_use]
    pub fn tenths(&self) -> [u64; Stage::ALL.len()] {
        [0; Stage::ALL.len()]
    }
}
