//! Cuts a voice's audio into frames and hands them to the media path as fast as it takes them.

use crate::call::{FRAME_8K, VoiceFrame};
use crate::ids::TurnId;
use crate::providers::Bell;
use crate::time::Instant;
use std::collections::VecDeque;

/// The most audio that waits in front of the ring: five minutes at 8 kHz. More is dropped and counted: no reply is that long.
const WAITING_MAX: usize = 5 * 60 * 8000;

/// Holds what the ring does not take yet. Pump it at every wake-up and at least each 100 ms while [`Self::waiting`].
pub struct Feeder {
    frames: rtrb::Producer<VoiceFrame>,
    media: Bell,
    turn: TurnId,
    queue: VecDeque<i16>,
    made: Instant,
    /// No more audio of the turn is to come.
    whole: bool,
    /// The turn's last frame is in the ring.
    ended: bool,
    pushed: u64,
    dropped: u64,
}

impl Feeder {
    /// Makes a feeder of `frames`, whose consumer is woken by `media`.
    #[must_use]
    pub fn new(frames: rtrb::Producer<VoiceFrame>, media: Bell) -> Self {
        Self {
            frames,
            media,
            turn: TurnId::GREETING,
            queue: VecDeque::new(),
            made: Instant::ZERO,
            whole: true,
            ended: true,
            pushed: 0,
            dropped: 0,
        }
    }

    /// Begins the speech of `turn`; what waits of the turn before is dropped.
    pub fn begin(&mut self, turn: TurnId) {
        self.queue.clear();
        self.turn = turn;
        self.whole = false;
        self.ended = false;
        self.pushed = 0;
    }

    /// Returns the turn that is being fed.
    #[must_use]
    pub fn turn(&self) -> TurnId {
        self.turn
    }

    /// Adds audio of the turn: mono PCM at 8 kHz, which came from the voice at `made`.
    pub fn push(&mut self, pcm: &[i16], made: Instant) {
        let room = WAITING_MAX.saturating_sub(self.queue.len());
        let taken = pcm.len().min(room);
        self.queue.extend(&pcm[..taken]);
        self.dropped += (pcm.len() - taken) as u64;
        self.pushed += taken as u64;
        self.made = made;
        self.pump();
    }

    /// The turn's speech is whole: its last frame may be short, or empty.
    pub fn finish(&mut self, made: Instant) {
        if !self.whole {
            self.whole = true;
            self.ended = false;
            self.made = made;
            self.pump();
        }
    }

    /// Moves frames into the ring while it has room. A frame leaves when it is full, or when the turn is whole.
    pub fn pump(&mut self) {
        let mut moved = false;
        while !self.frames.is_full() {
            let last = self.whole && self.queue.len() <= FRAME_8K;
            if (last && self.ended) || (!last && self.queue.len() < FRAME_8K) {
                break;
            }
            let len = self.queue.len().min(FRAME_8K);
            let mut frame = VoiceFrame { turn: self.turn, pcm: [0; FRAME_8K], len: len as u16, last, made: self.made };
            for (to, from) in frame.pcm.iter_mut().zip(self.queue.drain(..len)) {
                *to = from;
            }
            self.ended = last;
            moved |= self.frames.push(frame).is_ok();
        }
        if moved {
            self.media.ring();
        }
    }

    /// Drops what waits and says nothing more of this turn.
    pub fn cancel(&mut self) {
        self.queue.clear();
        self.whole = true;
        self.ended = true;
    }

    /// Samples of this turn taken so far.
    #[must_use]
    pub fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Samples dropped because a reply was longer than [`WAITING_MAX`].
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether audio waits for room in the ring.
    #[must_use]
    pub fn waiting(&self) -> bool {
        !self.queue.is_empty() || (self.whole && !self.ended)
    }
}
