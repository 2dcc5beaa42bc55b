//! How much of a reply has to be there before one that ran dry goes on: a voice slower than speech then stops seldom, and not
//! at each of its chunks.

/// Frames that are waited for when a turn has run dry for the first time, 80 ms: after a hiccup of the network that much
/// comes at once, and a voice at just the speed of speech has enough with it.
const FIRST_FRAMES: usize = 4;
/// The most frames that are waited for, 480 ms: longer silences sound like the end of the sentence. With them a voice at nine
/// tenths of the speed of speech stops every five seconds.
const FRAMES_MAX: usize = 24;
/// Playout for which what is there is held back at most, 1 s at 8 kHz: as long as a voice at half the speed takes for the most.
const HELD_SAMPLES_MAX: usize = 8000;

/// Whether a turn that ran dry may go on. Each time in a turn twice as much is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Refill {
    /// Frames that are wanted.
    wanted: usize,
    /// Samples of silence played while less than that was there.
    held: usize,
}

impl Refill {
    /// The turn has run dry.
    ///
    /// # Real-time
    /// Constant time.
    pub(super) fn ran_dry(&mut self) {
        self.wanted = (self.wanted * 2).clamp(FIRST_FRAMES, FRAMES_MAX);
        self.held = 0;
    }

    /// Whether so many `frames` are still too few to go on with.
    ///
    /// # Real-time
    /// Constant time.
    pub(super) const fn holds(&self, frames: usize) -> bool {
        frames < self.wanted && self.held < HELD_SAMPLES_MAX
    }

    /// So many `samples` of silence were played though something was there.
    ///
    /// # Real-time
    /// Constant time.
    pub(super) const fn held(&mut self, samples: usize) {
        self.held += samples;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_in_a_turn_twice_as_much_is_wanted() {
        let mut refill = Refill::default();
        assert!(!refill.holds(0));
        for wanted in [4, 8, 16, 24, 24] {
            refill.ran_dry();
            assert!(refill.holds(wanted - 1) && !refill.holds(wanted));
        }
    }

    #[test]
    fn what_is_there_is_not_held_back_for_ever() {
        let mut refill = Refill::default();
        refill.ran_dry();
        (0..49).for_each(|_| refill.held(160));
        assert!(refill.holds(1));
        refill.held(160);
        assert!(!refill.holds(1));
    }
}
