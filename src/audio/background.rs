//! What goes on behind the caller: how loud it gets where nobody could say from its sound that it is not the caller.
//!
//! People who talk in the caller's room, music and the swells of a street are no steady noise: their lowest level lies 6 to 10 dB
//! below their mean, so that a threshold over the noise floor does not keep them out, and babble has the sound of speech. But
//! beside the caller's mouth they are fainter, and many sources together leave no gaps. So a stretch of time that stays well
//! below the caller's syllables and is even within itself is taken to be the background, and what does not rise above such
//! stretches is not the caller. A single voice behind the caller has gaps as the caller's own has, and mostly passes.

use super::activity::LEVEL_FLOOR_DB;

/// Frames of a stretch: 200 ms, which is a syllable. In speech most of them hold a vowel and something 20 dB fainter.
const STRETCH_FRAMES: u32 = 10;
/// Stretches that are remembered, 6.4 s: the noise is mostly heard before the caller's first word, which tells how loud a caller
/// is, and between the sentences.
const STRETCHES: usize = 32;
/// How far below the caller's loudest syllables a stretch of background stays, in dB. Syllables of speech peak 5 dB over its mean
/// level, and babble of four and more voices 4 dB over its own: at 10 dB between the two means, 11 dB are left.
const BELOW_CALLER_DB: f32 = 8.0;
/// Between the loudest and the faintest frame of an even stretch, in dB: babble of four voices keeps within this for most of its
/// stretches, speech for one in ten.
const EVEN_DB: f32 = 12.0;
/// Newest stretches of background that are asked how loud it gets: what has changed is found out within 2 s.
const ASKED: usize = 10;
/// Over the loudest frame of a background's stretch, in dB, is what comes out of it. It is counted from the stretch that a quarter
/// of those asked stay below, as the others may be the caller's faint words in the noise, taken for noise.
const MARGIN_DB: f32 = 3.0;
/// How far below the caller's loudest syllables the threshold stays, in dB: the caller's mean level.
const BELOW_CALLER_MIN_DB: f32 = 5.0;
/// How far over the noise floor the background's loudest may be, in dB: where it was fainter than that within the last two seconds
/// there is none any more, or there never was and the stretches were a faint voice's in a quiet room.
const OVER_FLOOR_MAX_DB: f32 = 28.0;
/// How fast it is forgotten how loud the caller was, in dB per frame: 18 dB in a minute, as the agent may speak for half of that,
/// and people change their distance to the telephone slowly.
const CALLER_DECAY_DB: f32 = 0.006;

/// Hears how loud it gets behind the caller.
pub(super) struct Background {
    /// The faintest and the loudest frame of each stretch, in dBov; `at` is the oldest's, which is next to be replaced.
    stretches: [Stretch; STRETCHES],
    at: usize,
    /// The stretch that is being heard, and its frames so far.
    current: Stretch,
    frames: u32,
    /// The caller's loudest syllables, in dBov.
    caller_db: f32,
    /// The background's loudest, in dBov, where there is one.
    loudest_db: Option<f32>,
}

#[derive(Clone, Copy)]
struct Stretch {
    faintest_db: f32,
    loudest_db: f32,
}

impl Stretch {
    /// Nothing heard yet: louder than any background, so that it is none.
    const NONE: Self = Self { faintest_db: 0.0, loudest_db: LEVEL_FLOOR_DB };

    /// Whether this is what lies behind a caller with such syllables.
    fn is_background(&self, caller_db: f32) -> bool {
        let range_db = self.loudest_db - self.faintest_db;
        (0.0..=EVEN_DB).contains(&range_db) && self.loudest_db <= caller_db - BELOW_CALLER_DB
    }
}

impl Background {
    pub(super) const fn new() -> Self {
        Self {
            stretches: [Stretch::NONE; STRETCHES],
            at: 0,
            current: Stretch::NONE,
            frames: 0,
            caller_db: LEVEL_FLOOR_DB,
            loudest_db: None,
        }
    }

    /// Takes the level of the next frame and the noise floor. Returns the level that the caller's voice is above:
    /// [`LEVEL_FLOOR_DB`] where no background is known. All in dBov.
    ///
    /// # Real-time
    /// No heap, constant time.
    pub(super) fn push(&mut self, level_db: f32, floor_db: f32) -> f32 {
        self.caller_db = (self.caller_db - CALLER_DECAY_DB).max(level_db);
        let Stretch { faintest_db, loudest_db } = self.current;
        self.current = Stretch { faintest_db: faintest_db.min(level_db), loudest_db: loudest_db.max(level_db) };
        self.frames += 1;
        if self.frames == STRETCH_FRAMES {
            self.stretches[self.at] = self.current;
            self.at = (self.at + 1) % STRETCHES;
            (self.current, self.frames) = (Stretch::NONE, 0);
            self.loudest_db = self.survey();
        }
        match self.loudest_db {
            Some(loudest_db) if loudest_db - floor_db <= OVER_FLOOR_MAX_DB => {
                (loudest_db + MARGIN_DB).min(self.caller_db - BELOW_CALLER_MIN_DB)
            }
            _ => LEVEL_FLOOR_DB,
        }
    }

    /// Looks at what is remembered in the light of how loud the caller has turned out to be, and returns how loud the background
    /// gets. Two stretches of it in a row are needed: a single one may be one long sound of the caller's.
    fn survey(&self) -> Option<f32> {
        let mut asked = [LEVEL_FLOOR_DB; ASKED];
        let mut count = 0;
        let newest_first = |age: usize| &self.stretches[(self.at + 2 * STRETCHES - 1 - age) % STRETCHES];
        let is_background = |age: usize| age < STRETCHES && newest_first(age).is_background(self.caller_db);
        for age in 0..STRETCHES {
            let in_a_row = is_background(age + 1) || (age > 0 && is_background(age - 1));
            if is_background(age) && in_a_row && count < ASKED {
                asked[count] = newest_first(age).loudest_db;
                count += 1;
            }
        }
        let asked = &mut asked[..count];
        asked.sort_unstable_by(f32::total_cmp);
        asked.get(count.saturating_sub(1) / 4).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes levels that swing about `mean_db` by up to `swing_db`, and returns what the last frame's answer is.
    fn hear(background: &mut Background, ms: usize, mean_db: f32, swing_db: f32, floor_db: f32) -> f32 {
        let mut answer = LEVEL_FLOOR_DB;
        for frame in 0..ms / 20 {
            answer = background.push(mean_db + swing_db * (frame as f32 * 1.9).sin(), floor_db);
        }
        answer
    }

    #[test]
    fn what_was_heard_before_the_caller_is_known_by_the_caller_s_first_words() {
        let mut background = Background::new();
        assert!(hear(&mut background, 3000, -35.0, 4.0, -42.0) <= LEVEL_FLOOR_DB, "it may be the caller");
        let level_db = hear(&mut background, 400, -22.0, 2.0, -42.0);
        assert!((-31.0..=-27.0).contains(&level_db), "{level_db}");
    }

    #[test]
    fn a_faint_voice_in_a_quiet_room_is_no_background() {
        let mut background = Background::new();
        hear(&mut background, 1000, -15.0, 10.0, -70.0);
        // A long even sound 12 dB fainter; the floor is the room's.
        assert!(hear(&mut background, 1000, -27.0, 2.0, -70.0) <= LEVEL_FLOOR_DB);
    }

    #[test]
    fn speech_with_its_faint_sounds_is_no_background() {
        let mut background = Background::new();
        hear(&mut background, 400, -15.0, 2.0, -45.0);
        assert!(hear(&mut background, 5000, -32.0, 10.0, -45.0) <= LEVEL_FLOOR_DB);
    }

    #[test]
    fn a_background_that_has_gone_is_forgotten_with_the_floor_and_one_that_grows_is_followed() {
        let mut background = Background::new();
        hear(&mut background, 400, -15.0, 2.0, -45.0);
        let faint_db = hear(&mut background, 2000, -38.0, 3.0, -44.0);
        let grown_db = hear(&mut background, 2000, -30.0, 3.0, -36.0);
        assert!(grown_db > faint_db + 5.0, "{faint_db} and {grown_db}");
        assert!(background.push(-70.0, -70.0) <= LEVEL_FLOOR_DB);
    }

    #[test]
    fn a_loud_background_leaves_the_caller_s_syllables_above_it() {
        let mut background = Background::new();
        hear(&mut background, 3000, -20.0, 2.0, -25.0);
        let level_db = hear(&mut background, 200, -10.0, 0.0, -25.0);
        assert!(level_db <= -10.0 - BELOW_CALLER_MIN_DB + 0.1, "{level_db}");
    }

    #[test]
    fn no_level_does_harm() {
        let mut background = Background::new();
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..5000 {
            let level_db = LEVEL_FLOOR_DB * random.f32();
            let answer = background.push(level_db, level_db - 30.0 * random.f32());
            assert!((LEVEL_FLOOR_DB..=0.0).contains(&answer), "{answer}");
        }
    }
}
