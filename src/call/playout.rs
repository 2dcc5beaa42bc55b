//! The agent's queued speech: `cut` drops it here, `heard` says how much of it was played.

use super::{FRAME_8K, VoiceFrame};
use crate::ids::TurnId;
use crate::time::Instant;

/// Frames that wait here. The ring behind it holds more; this is only what may be played without another look at it:
/// 640 ms, so that a worker which sees the ring every 20 ms never runs dry.
const QUEUE_FRAMES: usize = 32;
/// Turns whose heard samples are remembered; a report about an older turn has long been asked for.
const TURNS_REMEMBERED: usize = 4;
/// 5 ms at 8 kHz: the shortest fade without an audible click on speech.
const FADE_SAMPLES: usize = 40;

/// What one 20 ms frame of playout held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The turn whose speech it holds; `None`: silence.
    pub turn: Option<TurnId>,
    /// Samples of speech in it, 0 to 160; the rest is silence.
    pub samples: u16,
    /// Whether the turn's first sample is in it.
    pub first: bool,
    /// When its audio came from the voice.
    pub made: Instant,
    /// The turn that ended with it, and its samples played in all.
    pub finished: Option<Finished>,
    /// Whether a turn is under way whose next samples are not there.
    pub underrun: bool,
}

/// A turn whose speech was played to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The turn.
    pub turn: TurnId,
    /// Samples of it that were played, at 8 kHz.
    pub heard: u32,
}

/// The queue of the agent's speech.
///
/// Turns only grow. Frames of a turn wait until it is granted; a grant or a cut drops everything of the turns before it,
/// here and as it still comes in.
pub struct Playout {
    queue: [VoiceFrame; QUEUE_FRAMES],
    head: usize,
    len: usize,
    /// Samples of the first queued frame that are played.
    offset: usize,
    /// Turns below it are over, wherever their frames come from.
    live_from: TurnId,
    granted: Option<TurnId>,
    /// Whether a sample of the granted turn has been played.
    under_way: bool,
    paused: bool,
    fade: Fade,
    tail: [i16; FADE_SAMPLES],
    tail_len: usize,
    heard: [(TurnId, u32); TURNS_REMEMBERED],
    underruns: u64,
    starving: bool,
}

/// What happens to the next samples.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fade {
    None,
    In,
    Out,
}

impl Playout {
    /// Makes an empty queue, with nothing granted.
    #[must_use]
    pub fn new() -> Self {
        let empty = VoiceFrame { turn: TurnId::GREETING, pcm: [0; FRAME_8K], len: 0, last: false, made: Instant::ZERO };
        Self {
            queue: [empty; QUEUE_FRAMES],
            head: 0,
            len: 0,
            offset: 0,
            live_from: TurnId::GREETING,
            granted: None,
            under_way: false,
            paused: false,
            fade: Fade::None,
            tail: [0; FADE_SAMPLES],
            tail_len: 0,
            heard: [(TurnId::GREETING, 0); TURNS_REMEMBERED],
            underruns: 0,
            starving: false,
        }
    }

    /// Returns how many more frames [`Self::push`] takes.
    ///
    /// # Real-time
    /// Constant time.
    #[must_use]
    pub const fn room(&self) -> usize {
        QUEUE_FRAMES - self.len
    }

    /// Queues `frame`; one of a turn that is over is dropped. Returns whether it was queued or rightly dropped: `false`
    /// means that there was no room.
    ///
    /// # Real-time
    /// Constant time; copies one frame.
    pub fn push(&mut self, frame: &VoiceFrame) -> bool {
        if frame.turn < self.live_from {
            return true;
        }
        if self.len == QUEUE_FRAMES {
            return false;
        }
        self.queue[(self.head + self.len) % QUEUE_FRAMES] = *frame;
        self.len += 1;
        true
    }

    /// Gives the floor to `turn`: earlier turns are dropped, and its frames are played from the next slot on.
    ///
    /// # Real-time
    /// Bounded by the queue's length.
    pub fn grant(&mut self, turn: TurnId) {
        let _ = turn;
    }

    /// Drops `turn` and everything before it, queued or still to come, after a fade of 5 ms. Returns how many of its
    /// samples were played.
    ///
    /// # Real-time
    /// Bounded by the queue's length.
    pub fn cut(&mut self, turn: TurnId) -> u32 {
        self.heard(turn)
    }

    /// Is silent from the next packet on, but for a fade of 5 ms, and keeps what is queued.
    ///
    /// # Real-time
    /// Constant time.
    pub fn pause(&mut self) {}

    /// Goes on from the sample where [`Self::pause`] stopped; none is lost or repeated.
    ///
    /// # Real-time
    /// Constant time.
    pub fn resume(&mut self) {}

    /// Returns how many samples of `turn` were played, at 8 kHz; 0 for one long gone.
    ///
    /// # Real-time
    /// Constant time.
    #[must_use]
    pub fn heard(&self, turn: TurnId) -> u32 {
        self.heard.iter().find(|(of, _)| *of == turn).map_or(0, |(_, samples)| *samples)
    }

    /// Whether the next frame would hold speech.
    ///
    /// # Real-time
    /// Constant time.
    #[must_use]
    pub fn ready(&self) -> bool {
        false
    }

    /// Fills `out` with the next 20 ms: speech, or silence where there is none.
    ///
    /// # Real-time
    /// Bounded by one frame.
    pub fn take(&mut self, out: &mut [i16; FRAME_8K]) -> Taken {
        out.fill(0);
        Taken::default()
    }

    /// Returns how often a turn's speech ran dry before its end.
    #[must_use]
    pub const fn underruns(&self) -> u64 {
        self.underruns
    }
}

impl Default for Playout {
    fn default() -> Self {
        Self::new()
    }
}
