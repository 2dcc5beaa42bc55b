//! Plays what is rendered ahead: from the conductor straight to the media path, whatever has become of the voice.

use crate::call::{FRAME_8K, KeptFrame, VoiceFrame};
use crate::ids::TurnId;
use crate::providers::Bell;
use crate::time::Instant;
use rtrb::Producer;
use std::sync::Arc;
use std::time::Duration;

/// How often the ring is looked at while audio waits for room; it holds 1.3 s.
pub const PUMP_EVERY: Duration = Duration::from_millis(100);

/// What is being played.
struct Playing {
    turn: TurnId,
    /// Mono, 8 kHz.
    pcm: Arc<[i16]>,
    /// Samples that are in the ring.
    pushed: usize,
    filler: bool,
    made: Instant,
}

/// Carries kept audio into one call's ring.
pub struct Kept {
    frames: Producer<KeptFrame>,
    media: Bell,
    playing: Option<Playing>,
}

impl Kept {
    /// Makes the way into `frames`, whose consumer is woken by `media`.
    #[must_use]
    pub const fn new(frames: Producer<KeptFrame>, media: Bell) -> Self {
        Self { frames, media, playing: None }
    }

    /// Plays `pcm` (mono, 8 kHz) as the whole speech of `turn`, in place of what is played.
    pub fn play(&mut self, turn: TurnId, pcm: Arc<[i16]>, now: Instant) {
        self.playing = Some(Playing { turn, pcm, pushed: 0, filler: false, made: now });
        self.pump();
    }

    /// Plays `pcm` to bridge the wait for the speech of `turn`, in place of what is played.
    pub fn fill(&mut self, turn: TurnId, pcm: Arc<[i16]>, now: Instant) {
        self.playing = Some(Playing { turn, pcm, pushed: 0, filler: true, made: now });
        self.pump();
    }

    /// Nothing more of `turn` is wanted.
    pub fn cancel(&mut self, turn: TurnId) {
        self.playing.take_if(|playing| playing.turn == turn);
    }

    /// Whether audio waits for room in the ring: then [`Self::pump`] is due every [`PUMP_EVERY`].
    #[must_use]
    pub const fn waiting(&self) -> bool {
        self.playing.is_some()
    }

    /// Moves frames into the ring while it has room.
    pub fn pump(&mut self) {
        let mut moved = false;
        while let Some(playing) = self.playing.as_mut().filter(|_| !self.frames.is_full()) {
            let rest = playing.pcm.get(playing.pushed..).unwrap_or_default();
            let len = rest.len().min(FRAME_8K);
            let (turn, last, made) = (playing.turn, rest.len() <= FRAME_8K, playing.made);
            let mut frame = VoiceFrame { turn, pcm: [0; FRAME_8K], len: len as u16, last, made };
            for (to, from) in frame.pcm.iter_mut().zip(rest) {
                *to = *from;
            }
            playing.pushed += len;
            moved |= self.frames.push(KeptFrame { frame, filler: playing.filler }).is_ok();
            if last {
                self.playing = None;
            }
        }
        if moved {
            self.media.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(frames: usize) -> (Kept, rtrb::Consumer<KeptFrame>) {
        let (producer, consumer) = rtrb::RingBuffer::new(frames);
        (Kept::new(producer, Bell::for_thread(std::thread::current())), consumer)
    }

    fn lengths(ring: &mut rtrb::Consumer<KeptFrame>) -> Vec<(u16, bool)> {
        std::iter::from_fn(|| ring.pop().ok()).map(|kept| (kept.frame.len, kept.frame.last)).collect()
    }

    #[test]
    fn a_phrase_goes_into_the_ring_as_there_is_room_and_ends_with_its_last_sample() {
        let (mut kept, mut ring) = kept(2);
        kept.play(TurnId(1), vec![1; 3 * 160 + 40].into(), Instant::ZERO);
        assert_eq!(lengths(&mut ring), [(160, false), (160, false)]);
        assert!(kept.waiting());
        kept.pump();
        assert_eq!(lengths(&mut ring), [(160, false), (40, true)]);
        assert!(!kept.waiting());
        kept.play(TurnId(2), Vec::new().into(), Instant::ZERO);
        assert_eq!(lengths(&mut ring), [(0, true)], "what is empty is over at once");
    }

    #[test]
    fn what_is_cancelled_or_replaced_does_not_go_on() {
        let (mut kept, mut ring) = kept(1);
        kept.fill(TurnId(1), vec![1; 800].into(), Instant::ZERO);
        kept.cancel(TurnId(2));
        assert!(kept.waiting(), "another turn's");
        kept.play(TurnId(2), vec![1; 160].into(), Instant::ZERO);
        assert_eq!(ring.pop().map(|kept| (kept.frame.turn, kept.filler)).ok(), Some((TurnId(1), true)));
        kept.cancel(TurnId(2));
        kept.pump();
        assert!(ring.is_empty() && !kept.waiting());
    }
}
