//! A filler: kept words that bridge the wait for a reply; no part of the reply, and dropped once the reply is there.

use super::{FRAME_8K, VoiceFrame};
use crate::ids::TurnId;
use crate::time::Instant;

/// Frames that wait here, 320 ms: a worker looks at the ring behind it every 20 ms.
const QUEUE_FRAMES: usize = 16;

/// The queue of one filler after the other. About 6 kB, without heap. The frames of one filler share the moment in which they
/// were made, by which what is left of one that was dropped is known.
pub struct Filler {
    queue: [VoiceFrame; QUEUE_FRAMES],
    head: usize,
    len: usize,
    /// Samples of the first queued frame that are played.
    offset: usize,
    /// When the one was made of which some was played and more is to come.
    under_way: Option<Instant>,
    /// When the last queued frame was made.
    made: Option<Instant>,
    /// Frames made up to then are not wanted any more.
    refused: Option<Instant>,
}

impl Default for Filler {
    fn default() -> Self {
        Self::new()
    }
}

impl Filler {
    /// Makes an empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            queue: [VoiceFrame::EMPTY; QUEUE_FRAMES],
            head: 0,
            len: 0,
            offset: 0,
            under_way: None,
            made: None,
            refused: None,
        }
    }

    /// Queues `frame`; the rest of a filler that was dropped is dropped, too. Returns whether it was queued or rightly dropped:
    /// `false` means that there was no room.
    ///
    /// # Real-time
    /// Constant time; copies one frame.
    pub fn push(&mut self, frame: &VoiceFrame) -> bool {
        if self.refused.is_some_and(|refused| frame.made <= refused) {
            return true;
        }
        if self.len == QUEUE_FRAMES {
            return false;
        }
        self.queue[(self.head + self.len) % QUEUE_FRAMES] = *frame;
        self.len += 1;
        self.made = Some(frame.made);
        true
    }

    /// Whether some of it was played and more is to come.
    #[must_use]
    pub const fn under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Whether `frame` belongs to the one that is being played.
    #[must_use]
    pub fn goes_on_with(&self, frame: &VoiceFrame) -> bool {
        self.under_way == Some(frame.made)
    }

    /// Whether it may be played in `granted`'s wait; one that has begun is played to its end.
    ///
    /// # Real-time
    /// Constant time.
    #[must_use]
    pub fn ready(&self, granted: Option<TurnId>) -> bool {
        self.front(granted).is_some()
    }

    /// Fills `out` with what comes next of it; returns how many samples that were.
    ///
    /// # Real-time
    /// Bounded by the length of `out`.
    pub fn take(&mut self, granted: Option<TurnId>, out: &mut [i16]) -> usize {
        let mut at = 0;
        while at < out.len() {
            let Some(&VoiceFrame { ref pcm, len, last, made, .. }) = self.front(granted) else { break };
            let len = usize::from(len).min(FRAME_8K);
            let rest = pcm.get(self.offset..len).unwrap_or_default();
            let to = out.get_mut(at..).unwrap_or_default();
            let copied = rest.len().min(to.len());
            for (to, from) in to.iter_mut().zip(rest) {
                *to = *from;
            }
            at += copied;
            self.offset += copied;
            self.under_way = Some(made);
            if self.offset >= len {
                self.head = (self.head + 1) % QUEUE_FRAMES;
                self.len -= 1;
                self.offset = 0;
                if last {
                    self.under_way = None;
                    break;
                }
            }
        }
        at
    }

    /// Drops it, queued or still to come.
    ///
    /// # Real-time
    /// Constant time.
    pub fn drop_all(&mut self) {
        self.refused = self.made.max(self.refused);
        self.len = 0;
        self.offset = 0;
        self.under_way = None;
    }

    /// Drops all but the one that is being played.
    ///
    /// # Real-time
    /// Bounded by the queue's length.
    pub fn drop_waiting(&mut self) {
        if self.under_way.is_none() {
            return self.drop_all();
        }
        let queued = (0..self.len).map(|n| &self.queue[(self.head + n) % QUEUE_FRAMES]);
        self.len = queued.take_while(|frame| self.goes_on_with(frame)).count();
    }

    fn front(&self, granted: Option<TurnId>) -> Option<&VoiceFrame> {
        let front = &self.queue[self.head];
        (self.len > 0 && (self.goes_on_with(front) || Some(front.turn) == granted)).then_some(front)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Option<TurnId> = Some(TurnId(1));

    fn frame(made: u64, len: u16, last: bool) -> VoiceFrame {
        VoiceFrame { turn: TurnId(1), pcm: [7; FRAME_8K], len, last, made: Instant::from_millis(made) }
    }

    #[test]
    fn it_is_played_in_packets_of_any_length_and_ends_with_its_last_frame() {
        for packet in [80, 160, 240, 480] {
            let mut filler = Filler::new();
            assert!(filler.push(&frame(1, 160, false)) && filler.push(&frame(1, 160, false)));
            assert!(filler.push(&frame(1, 30, true)) && filler.push(&frame(2, 160, false)));
            let mut played = 0;
            while filler.under_way() || played == 0 {
                let mut out = vec![0; packet];
                let taken = filler.take(TURN, &mut out);
                assert_eq!(out.iter().filter(|sample| **sample != 0).count(), taken);
                played += taken;
            }
            assert_eq!(played, 350, "packets of {packet}");
            assert!(filler.ready(TURN), "the next one is another one's");
        }
    }

    #[test]
    fn it_is_for_the_wait_of_its_own_turn() {
        let mut filler = Filler::new();
        filler.push(&frame(1, 160, false));
        assert!(!filler.ready(None) && !filler.ready(Some(TurnId(2))));
        assert_eq!(filler.take(Some(TurnId(2)), &mut [0; 160]), 0);
        assert!(filler.ready(TURN));
    }

    #[test]
    fn what_is_left_of_one_that_was_dropped_is_dropped_as_it_comes_in() {
        let mut filler = Filler::new();
        filler.push(&frame(5, 160, false));
        filler.take(TURN, &mut [0; 160]);
        filler.push(&frame(5, 160, false));
        filler.drop_all();
        assert!(!filler.under_way());
        assert!(filler.push(&frame(5, 160, true)) && !filler.ready(TURN));
        assert!(filler.push(&frame(6, 160, true)) && filler.ready(TURN), "the next one is wanted");
    }

    #[test]
    fn one_without_room_waits_in_its_ring() {
        let mut filler = Filler::new();
        let pushed = (0..100).take_while(|_| filler.push(&frame(1, 160, false))).count();
        assert_eq!(pushed, QUEUE_FRAMES);
        filler.take(TURN, &mut [0; 160]);
        assert!(filler.push(&frame(1, 160, false)));
    }
}
