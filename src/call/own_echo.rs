//! Whether what is heard is the agent's echo and nothing else, by how much of it is a copy of what was sent.
//!
//! That a frame is no louder than an echo ([`super::echo`]) leaves room for a caller who speaks softly beneath it. A second voice
//! makes the copy worse, however: as loud as the echo it takes half of what is usual on the line. So an echo is certain where it
//! has been as good a copy for a while as it ever is here.

use super::echo::Likeness;

/// Frames of an echo after which it may be certain, 240 ms: a syllable of the caller's must have its place in it.
const FRAMES_MIN: u32 = 12;
/// How much each frame counts: the last 250 ms make two thirds.
const RENEWED: f32 = 0.08;
/// The least share of its power that must be a copy: below it a loudspeaker's echo is no better than chance.
const SHARE_MIN: f32 = 0.3;
/// The share of what is usual on the line. A caller 5 dB below the echo leaves 0.75 of it.
const OF_USUAL_MIN: f32 = 0.75;

/// Frames without a sound that could be compared after which the echo is over: 1 s, more than a pause between sentences.
const GONE_FRAMES: u32 = 50;

/// The sound at hand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnEcho {
    frames: u32,
    share: f32,
    gone: u32,
    told: bool,
}

impl OwnEcho {
    /// Takes a frame: whether the caller's voice is heard, whether the echo explains the frame, and how alike the two are where
    /// that could be compared. Returns whether the echo alone is heard, once that has changed.
    ///
    /// # Real-time
    /// Constant time.
    pub fn frame(&mut self, speaking: bool, explained: bool, likeness: Option<Likeness>) -> Option<bool> {
        self.gone = if likeness.is_some() { 0 } else { self.gone.saturating_add(1) };
        if speaking || self.gone > GONE_FRAMES {
            let told = self.told;
            *self = Self { gone: self.gone, ..Self::default() };
            return told.then_some(false);
        }
        let Likeness { share, usual } = likeness?;
        let share = if explained { share } else { 0.0 };
        self.frames = self.frames.saturating_add(1);
        // A mean of all at first, and of the latest once they are many.
        self.share += (share - self.share) * RENEWED.max(1.0 / self.frames as f32);
        let is_certain = self.frames >= FRAMES_MIN && self.share >= SHARE_MIN.max(usual * OF_USUAL_MIN);
        (std::mem::replace(&mut self.told, is_certain) != is_certain).then_some(is_certain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(share: f32) -> Option<Likeness> {
        Some(Likeness { share, usual: 0.8 })
    }

    #[test]
    fn an_echo_is_certain_once_it_has_been_a_good_copy_for_a_while() {
        let mut own = OwnEcho::default();
        for _ in 1..FRAMES_MIN {
            assert_eq!(own.frame(false, true, like(0.8)), None);
        }
        assert_eq!(own.frame(false, true, None), None, "what cannot be compared says nothing");
        assert_eq!(own.frame(false, true, like(0.8)), Some(true));
        for _ in 0..GONE_FRAMES {
            assert_eq!(own.frame(false, false, None), None, "a pause");
        }
        assert_eq!(own.frame(false, false, None), Some(false), "it is over");
        assert_eq!(own.frame(false, false, None), None);
    }

    #[test]
    fn a_caller_who_is_heard_ends_it_at_once() {
        let mut own = OwnEcho::default();
        let told: Vec<_> = (0..20).filter_map(|_| own.frame(false, true, like(0.8))).collect();
        assert_eq!(told, [true]);
        assert_eq!(own.frame(true, false, like(0.8)), Some(false));
        assert_eq!(own.frame(false, true, like(0.8)), None, "it has to be certain anew");
    }

    #[test]
    fn a_second_voice_beneath_it_makes_it_uncertain() {
        let mut own = OwnEcho::default();
        let changes =
            |own: &mut OwnEcho, share| (0..40).filter_map(|_| own.frame(false, true, like(share))).collect::<Vec<_>>();
        assert_eq!(changes(&mut own, 0.8), [true]);
        assert_eq!(changes(&mut own, 0.4), [false]);
        assert_eq!(changes(&mut own, 0.8), [true]);
        assert_eq!(changes(&mut OwnEcho::default(), 0.5), [true; 0]);
        let unexplained: Vec<_> = (0..40).filter_map(|_| own.frame(false, false, like(0.8))).collect();
        assert_eq!(unexplained, [false], "more than an echo");
    }
}
