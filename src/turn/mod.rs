//! Who holds the floor: runs on the media path, knows ids and durations only, never text or samples.
//!
//! The recogniser decides when the caller has finished; [`barge_in`] decides, from the local detector and the
//! recogniser together, when the caller takes the floor from the agent; [`timeline`] says how long a turn took, and where.

pub mod barge_in;
pub mod timeline;

pub use barge_in::{Floor, Settings, Timer};
pub use timeline::{Mark, Stage, Stages, Timeline};

use crate::ids::TurnId;

/// What happens around the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The local detector: the caller's voice began (sustained, not a click) or stopped.
    CallerSpeech { speaking: bool },
    /// The local detector: there is a voice that the agent's own echo explains, or there is none any more.
    Masked { masked: bool },
    /// The recogniser: the caller has begun a turn, with at least one word.
    StartOfTurn,
    /// The recogniser: there are (more) words in the caller's turn; never told of an empty transcript.
    Words,
    /// The recogniser: the same, in words that leave no doubt.
    Hard,
    /// The recogniser: the caller's turn has ended, with at least one word.
    EndOfTurn,
    /// The recogniser: the caller's words so far are a listener's, or a sound; `whole`: nothing seems to follow.
    Backchannel { whole: bool },
    /// The recogniser: the words are the agent's own, come back.
    Echo,
    /// The agent gives the floor to its reply `turn`: frames of it may come from here on.
    Granted { turn: TurnId },
    /// The same, and nothing that the caller does takes it back.
    GrantedFirmly { turn: TurnId },
    /// The first sample of `turn` was played.
    Playing { turn: TurnId },
    /// The last sample of `turn` was played.
    Played { turn: TurnId },
    /// The agent has withdrawn `turn` itself.
    Withdrawn { turn: TurnId },
}

/// What the floor wants done with the agent's speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Be silent from the next packet on, and keep what is queued.
    Pause,
    /// Go on from the sample where it stopped. Also said when a pause loses its reason, with nothing left to play.
    Resume,
    /// Drop what is queued of `turn`: the caller has the floor. It ends a pause, too.
    CutPlayout { turn: TurnId },
}
