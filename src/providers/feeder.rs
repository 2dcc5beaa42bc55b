//! Cuts a voice's audio into frames and hands them to the media path as fast as it takes them.

use super::agent_audio::{AgentAudio, Left};
use crate::call::{FRAME_8K, VoiceFrame};
use crate::ids::TurnId;
use crate::providers::Bell;
use crate::time::Instant;
use std::collections::VecDeque;

/// The most audio that waits in front of the ring: five minutes at 8 kHz. More is dropped and counted: no reply is that long.
const WAITING_MAX: usize = 5 * 60 * 8000;

/// Holds what the ring does not take yet. Pump it at every wake-up and at least each 100 ms while [`Self::waiting`].
pub struct Feeder {
    frames: AgentAudio,
    media: Bell,
    /// The turn that another voice broke off in, whose audio still waits here.
    resumes: Option<TurnId>,
    /// Samples of the turn that another voice made.
    before: u64,
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
    pub fn new(frames: impl Into<AgentAudio>, media: Bell) -> Self {
        let frames = frames.into();
        let left = frames.take_left();
        let resumes = left.as_ref().map(|left| left.turn);
        let nothing = || Left { turn: TurnId::GREETING, queue: VecDeque::new(), made: Instant::ZERO, fed: 0 };
        let Left { turn, queue, made, fed: before } = left.unwrap_or_else(nothing);
        let over = resumes.is_none();
        Self { frames, media, resumes, before, turn, queue, made, whole: over, ended: over, pushed: 0, dropped: 0 }
    }

    /// Begins the speech of `turn`, or goes on with what another voice has made of it; what waits of the turn before is dropped.
    pub fn begin(&mut self, turn: TurnId) {
        if self.resumes.take() == Some(turn) {
            return;
        }
        self.queue.clear();
        self.before = 0;
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

    /// Whether a turn that breaks off is another voice's to finish.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.frames.is_followed()
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

    /// The voice cannot go on with the turn: where another stands behind it, that one does, with what waits here in front; else
    /// the turn's speech ends here.
    pub fn break_off(&mut self, made: Instant) {
        if !self.is_followed() {
            return self.finish(made);
        }
        let (queue, fed) = (std::mem::take(&mut self.queue), self.before + self.pushed);
        self.frames.leave(Left { turn: self.turn, queue, made: self.made, fed });
        self.cancel();
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
            moved |= self.frames.push(frame);
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

    /// Samples dropped because a reply was longer than five minutes.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A feeder into a ring of `frames` frames, and the ring's other end.
    fn feeder(frames: usize) -> (Feeder, rtrb::Consumer<VoiceFrame>) {
        let (producer, consumer) = rtrb::RingBuffer::new(frames);
        (Feeder::new(producer, Bell::for_thread(std::thread::current())), consumer)
    }

    fn lengths(ring: &mut rtrb::Consumer<VoiceFrame>) -> Vec<(u16, bool)> {
        std::iter::from_fn(|| ring.pop().ok()).map(|frame| (frame.len, frame.last)).collect()
    }

    #[test]
    fn frames_leave_when_full_and_the_rest_when_the_turn_is_whole() {
        let (mut feeder, mut ring) = feeder(8);
        feeder.begin(TurnId(1));
        feeder.push(&[1; 200], Instant::ZERO);
        assert_eq!(lengths(&mut ring), [(160, false)]);
        feeder.finish(Instant::ZERO);
        assert_eq!(lengths(&mut ring), [(40, true)]);
        assert!(!feeder.waiting());
    }

    #[test]
    fn a_turn_of_whole_frames_ends_with_an_empty_one() {
        let (mut feeder, mut ring) = feeder(8);
        feeder.begin(TurnId(1));
        feeder.push(&[1; 160], Instant::ZERO);
        feeder.finish(Instant::ZERO);
        assert_eq!(lengths(&mut ring), [(160, false), (0, true)]);
    }

    #[test]
    fn what_the_ring_has_no_room_for_waits() {
        let (mut feeder, mut ring) = feeder(2);
        feeder.begin(TurnId(1));
        feeder.push(&[1; 5 * 160], Instant::ZERO);
        feeder.finish(Instant::ZERO);
        assert_eq!(lengths(&mut ring).len(), 2);
        assert!(feeder.waiting());
        feeder.pump();
        assert_eq!(lengths(&mut ring).len(), 2);
        feeder.pump();
        assert_eq!(lengths(&mut ring), [(160, true)]);
        assert!(!feeder.waiting());
    }

    #[test]
    fn a_cancelled_turn_says_nothing_more() {
        let (mut feeder, mut ring) = feeder(2);
        feeder.begin(TurnId(1));
        feeder.push(&[1; 5 * 160], Instant::ZERO);
        lengths(&mut ring);
        feeder.cancel();
        feeder.pump();
        assert!(lengths(&mut ring).is_empty() && !feeder.waiting());
    }

    #[test]
    fn a_reply_without_end_is_cut_and_counted() {
        let (mut feeder, _ring) = feeder(2);
        feeder.begin(TurnId(1));
        feeder.push(&vec![1; WAITING_MAX + 7], Instant::ZERO);
        assert_eq!(feeder.dropped(), 7);
    }
}
