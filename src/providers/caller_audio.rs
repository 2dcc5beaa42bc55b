//! The caller's audio on its way to the ears: a ring and, where other ears stand behind the first, what they would have
//! to hear again.

use crate::call::EarFrame;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Frames that are kept of a turn: 20 s of speech in one go are a long story, and 0.8 MB.
const KEPT_MAX: usize = 1000;
/// Frames that are kept where no turn is open, 6 s: what a caller says to a recogniser that tells nothing of it, since it is being
/// lost. Two attempts to get a connection take 4 s.
const KEPT_BETWEEN: usize = 300;
/// Frames that are heard again in front of the first speech: a word begins before it is loud, 200 ms.
const LEAD: usize = 10;

/// The ears' end of the ring of 20 ms frames.
pub struct CallerAudio {
    inner: Inner,
    /// Whether other ears stand behind those that hold it.
    followed: bool,
}

enum Inner {
    Ring(rtrb::Consumer<EarFrame>),
    Kept(Arc<Mutex<Kept>>),
}

/// A ring whose last frames are kept. One thread uses it at a time, so that its lock is free.
struct Kept {
    ring: rtrb::Consumer<EarFrame>,
    frames: VecDeque<EarFrame>,
    /// The next of them to be handed out; behind the last one comes the ring.
    next: usize,
    turn_open: bool,
}

impl From<rtrb::Consumer<EarFrame>> for CallerAudio {
    fn from(ring: rtrb::Consumer<EarFrame>) -> Self {
        Self { inner: Inner::Ring(ring), followed: false }
    }
}

impl CallerAudio {
    /// Takes the next frame.
    ///
    /// # Errors
    /// There is none yet.
    pub fn pop(&mut self) -> Result<EarFrame, rtrb::PopError> {
        match &mut self.inner {
            Inner::Ring(ring) => ring.pop(),
            Inner::Kept(kept) => kept.lock().pop(),
        }
    }

    /// Keeps what is handed out from here on, so that it can be heard again.
    pub(super) fn kept(self) -> Self {
        let inner = match self.inner {
            Inner::Ring(ring) => {
                let frames = VecDeque::with_capacity(2 * KEPT_BETWEEN);
                Inner::Kept(Arc::new(Mutex::new(Kept { ring, frames, next: 0, turn_open: false })))
            }
            kept => kept,
        };
        Self { inner, followed: self.followed }
    }

    /// Returns another hold on the same audio, for ears that others stand behind (`followed`), or not; `None` where nothing is kept.
    pub(super) fn again(&self, followed: bool) -> Option<Self> {
        match &self.inner {
            Inner::Ring(_) => None,
            Inner::Kept(kept) => Some(Self { inner: Inner::Kept(kept.clone()), followed }),
        }
    }

    /// Whether a turn that is open when these ears are lost is heard again by others.
    pub(super) fn is_followed(&self) -> bool {
        self.followed
    }

    /// A turn has begun: it is kept from a little before.
    pub(super) fn turn_began(&self) {
        self.with(|kept| kept.turn_open = true);
    }

    /// The turn is over: what was handed out of it is not to be heard again.
    pub(super) fn turn_ended(&self) {
        self.with(|kept| {
            kept.turn_open = false;
            kept.frames.drain(..kept.next);
            kept.next = 0;
        });
    }

    /// What is kept is handed out once more, from a little before the first speech of it: silence tells the next ears nothing, and
    /// the caller waits while they hear it.
    pub(super) fn rewind(&self) {
        self.with(|kept| {
            let spoken = kept.frames.iter().position(|frame| frame.speech).unwrap_or(kept.frames.len());
            kept.frames.drain(..spoken.saturating_sub(LEAD));
            kept.next = 0;
        });
    }

    fn with(&self, act: impl FnOnce(&mut Kept)) {
        if let Inner::Kept(kept) = &self.inner {
            act(&mut kept.lock());
        }
    }
}

impl Kept {
    fn pop(&mut self) -> Result<EarFrame, rtrb::PopError> {
        let frame = match self.frames.get(self.next) {
            Some(frame) => *frame,
            None => {
                let frame = self.ring.pop()?;
                self.frames.push_back(frame);
                frame
            }
        };
        self.next += 1;
        let most = if self.turn_open { KEPT_MAX } else { KEPT_BETWEEN };
        while self.frames.len() > most && self.next > 0 {
            self.frames.pop_front();
            self.next -= 1;
        }
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{FRAME_8K, FRAME_16K};
    use crate::time::Instant;

    fn frame(n: i16) -> EarFrame {
        let arrived = Instant::ZERO;
        EarFrame { pcm: [n; FRAME_16K], ulaw: [0; FRAME_8K], arrived, speech: true, concealed: false }
    }

    fn audio() -> (rtrb::Producer<EarFrame>, CallerAudio) {
        let (producer, consumer) = rtrb::RingBuffer::new(4000);
        (producer, CallerAudio::from(consumer).kept())
    }

    fn push(ring: &mut rtrb::Producer<EarFrame>, numbers: std::ops::Range<i16>) {
        numbers.for_each(|n| assert!(ring.push(frame(n)).is_ok()));
    }

    fn all(audio: &mut CallerAudio) -> Vec<i16> {
        std::iter::from_fn(|| audio.pop().ok()).map(|frame| frame.pcm[0]).collect()
    }

    #[test]
    fn the_open_turn_is_heard_again_from_a_little_before_it_and_then_what_comes() {
        let (mut ring, mut audio) = audio();
        push(&mut ring, 0..350);
        assert_eq!(all(&mut audio).len(), 350);
        audio.turn_began();
        push(&mut ring, 350..400);
        all(&mut audio);
        let mut next = audio.again(false).expect("kept");
        audio.rewind();
        push(&mut ring, 400..410);
        assert_eq!(all(&mut next), (50..410).collect::<Vec<_>>());
    }

    #[test]
    fn a_turn_that_ended_is_not_heard_again() {
        let (mut ring, mut audio) = audio();
        audio.turn_began();
        push(&mut ring, 0..200);
        all(&mut audio);
        audio.turn_ended();
        push(&mut ring, 200..220);
        all(&mut audio);
        audio.rewind();
        assert_eq!(all(&mut audio), (200..220).collect::<Vec<_>>());
    }

    #[test]
    fn silence_before_the_first_word_is_not_heard_again() {
        let (mut ring, mut audio) = audio();
        for n in 0..100 {
            assert!(ring.push(EarFrame { speech: (40..60).contains(&n), ..frame(n) }).is_ok());
        }
        all(&mut audio);
        audio.rewind();
        assert_eq!(all(&mut audio), (30..100).collect::<Vec<_>>());
        audio.turn_ended();
        (0..50).for_each(|n| assert!(ring.push(EarFrame { speech: false, ..frame(n) }).is_ok()));
        all(&mut audio);
        audio.rewind();
        assert_eq!(
            all(&mut audio),
            (40..50).collect::<Vec<_>>(),
            "nobody has spoken: the beginning of a word may be there"
        );
    }

    #[test]
    fn a_long_turn_is_kept_for_twenty_seconds() {
        let (mut ring, mut audio) = audio();
        audio.turn_began();
        push(&mut ring, 0..3000);
        all(&mut audio);
        audio.rewind();
        assert_eq!(all(&mut audio), (2000..3000).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_alone_keeps_nothing() {
        let (mut producer, consumer) = rtrb::RingBuffer::new(4);
        assert!(producer.push(frame(1)).is_ok());
        let mut audio = CallerAudio::from(consumer);
        assert!(audio.again(true).is_none());
        assert_eq!(all(&mut audio), [1]);
        audio.rewind();
        assert!(all(&mut audio).is_empty());
    }
}
