//! What a call's conductor and its media path say to each other: orders one way, events the other.

use super::digits;
use super::finding::Audio;
use crate::agent::{EarsEvent, Verdict};
use crate::ids::TurnId;
use crate::rtp::keypad::Presses;
use crate::time::Instant;
use crate::turn;

/// What the conductor wants of the media path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum CallCommand {
    /// From here on only speech of `turn` may be played; what is queued of earlier turns is dropped.
    Grant(TurnId),
    /// The same, and the caller cannot take the floor from that turn.
    GrantFirmly(TurnId),
    /// Speech of `turn` is withdrawn by the agent itself.
    Withdraw(TurnId),
    /// The recogniser says something about the caller's turn.
    Ears(Heard),
    /// Press these keys, in place of those that are still to be pressed; speech waits meanwhile.
    Press(Presses),
}

/// What the floor learns from the recogniser: that there are words, and of which kind, never which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Heard {
    /// The caller has begun a turn.
    StartOfTurn,
    /// There are (more) words.
    Words,
    /// There are words that leave no doubt.
    Hard,
    /// The caller's turn has ended.
    EndOfTurn,
    /// The words so far are a listener's; `whole`: nothing seems to follow.
    Backchannel { whole: bool },
    /// The words are the agent's own.
    Echo,
}

impl Heard {
    /// Returns what the floor is to learn from `event`, whose words are what `verdict` says.
    #[must_use]
    pub const fn of(event: &EarsEvent, verdict: Option<Verdict>) -> Option<Self> {
        let Some(verdict) = verdict else { return None };
        let ends = matches!(event, EarsEvent::EagerEndOfTurn { .. } | EarsEvent::EndOfTurn { .. });
        match (verdict, event) {
            (Verdict::Backchannel, _) => Some(Self::Backchannel { whole: ends }),
            (Verdict::Echo, _) => Some(Self::Echo),
            (Verdict::Hard, _) => Some(Self::Hard),
            (Verdict::Words, EarsEvent::StartOfTurn { .. }) => Some(Self::StartOfTurn),
            (Verdict::Words, EarsEvent::Update { .. } | EarsEvent::TurnResumed { .. }) => Some(Self::Words),
            (Verdict::Words, EarsEvent::EndOfTurn { .. }) => Some(Self::EndOfTurn),
            // Its words have been told by an update.
            (Verdict::Words, _) => None,
        }
    }

    /// Returns what the floor is told of it.
    pub(super) const fn input(self) -> turn::Input {
        match self {
            Self::StartOfTurn => turn::Input::StartOfTurn,
            Self::Words => turn::Input::Words,
            Self::Hard => turn::Input::Hard,
            Self::EndOfTurn => turn::Input::EndOfTurn,
            Self::Backchannel { whole } => turn::Input::Backchannel { whole },
            Self::Echo => turn::Input::Echo,
        }
    }
}

/// What happened on the media path, told to the conductor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CallEvent {
    /// The caller's voice began or stopped, by the local detector.
    CallerSpeech { speaking: bool, at: Instant },
    /// The agent's own echo is heard, and no other voice with it; or that is over.
    OwnEcho { heard: bool, at: Instant },
    /// The first packet with speech of `turn` is handed to the kernel.
    FirstPacket { turn: TurnId, at: Instant },
    /// All speech of `turn` was played: `samples` at 8 kHz in all.
    Played { turn: TurnId, samples: u64 },
    /// The caller took the floor after `samples` of `turn`, at 8 kHz.
    Cut { turn: TurnId, samples: u64, at: Instant },
    /// Packets with agent speech leave, or do not any more: whatever the agent means to say, this is what the caller can hear.
    AgentSpeech { speaking: bool, at: Instant },
    /// At most `samples` of `turn`, which is over, can have been heard: the rest never left, or never arrived.
    Arrived { turn: TurnId, samples: u64 },
    /// Speech of `turn` is under way and not paused, and none of it has left for [`super::STALL_MAX`], after `samples` of it.
    Stalled { turn: TurnId, samples: u64 },
    /// A digit came, as events (RFC 4733) or in the audio. It may be the echo of one that has come by another way: what
    /// [`digits::Digits`] is for.
    Digit { digit: char, by: digits::Way, at: Instant },
    /// The keys that the agent pressed are all with the peer.
    Pressed,
    /// Neither RTP nor RTCP has come for the configured time, and the call is not on hold.
    Silent,
    /// The state of the audio has changed; `log`: it is to be written to the log.
    Audio { audio: Audio, log: bool },
}
