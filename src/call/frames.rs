//! The frames of audio that travel between a call and its ears, its voice and whoever listens to it.

use crate::ids::TurnId;
use crate::time::Instant;

/// Samples of one 20 ms frame at 8 kHz.
pub const FRAME_8K: usize = 160;
/// Samples of one 20 ms frame at 16 kHz.
pub const FRAME_16K: usize = 320;
/// Samples a second of agent speech.
pub const VOICE_RATE: u32 = 8000;

/// 20 ms of caller audio for the recogniser.
#[derive(Clone, Copy)]
pub struct EarFrame {
    /// Mono PCM at 16 kHz.
    pub pcm: [i16; FRAME_16K],
    /// The same 20 ms as 8 kHz µ-law, for recognisers that take the telephone's own format.
    pub ulaw: [u8; FRAME_8K],
    /// Arrival of the packet that brought it (or of the one that closed the gap, where it is concealed).
    pub arrived: Instant,
    /// Whether it holds speech, by the frame's own activity, without hang-over.
    pub speech: bool,
    /// Whether it is concealed or filled in, not received.
    pub concealed: bool,
}

/// Up to 20 ms of agent speech for the caller.
#[derive(Clone, Copy)]
pub struct VoiceFrame {
    /// The turn whose reply this is.
    pub turn: TurnId,
    /// Mono PCM at 8 kHz; the first `len` samples count.
    pub pcm: [i16; FRAME_8K],
    /// How many samples count: 160, but for the last frame of a turn, which may have fewer, even 0.
    pub len: u16,
    /// Whether the turn's speech ends with it.
    pub last: bool,
    /// When its audio came from the voice.
    pub made: Instant,
}

impl VoiceFrame {
    /// What stands in a place of a queue that was never filled.
    pub(super) const EMPTY: Self =
        Self { turn: TurnId::GREETING, pcm: [0; FRAME_8K], len: 0, last: false, made: Instant::ZERO };
}

/// Up to 20 ms of what is rendered ahead and needs no voice.
#[derive(Clone, Copy)]
pub struct KeptFrame {
    /// The frame.
    pub frame: VoiceFrame,
    /// Whether it only bridges the wait for its turn's speech.
    pub filler: bool,
}

/// 20 ms of both sides, for somebody who listens to the call: PCM at 16 kHz.
#[derive(Clone, Copy)]
pub struct TapFrame {
    /// The caller.
    pub caller: [i16; FRAME_16K],
    /// The agent.
    pub agent: [i16; FRAME_16K],
}

impl TapFrame {
    /// Returns both sides in one.
    #[must_use]
    pub fn mixed(&self) -> [i16; FRAME_16K] {
        std::array::from_fn(|n| self.caller[n].saturating_add(self.agent[n]))
    }
}
