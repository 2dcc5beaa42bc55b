//! How long a provider takes to its first audio, over the calls of the last minutes, and how long it is waited for.

use parking_lot::Mutex;
use std::time::Duration;

/// How many first audios are remembered: the last turns of a few calls.
const REMEMBERED: usize = 32;
/// Fewer than this say nothing about the slowest of them.
const TELLING: usize = 8;
/// How long a first audio is waited for before another connection is tried too, while nothing is known: three times what
/// the quickest of these providers needs (190 ms as measured by their users).
const FIRST_AUDIO: Duration = Duration::from_millis(600);
/// The least and the most that this is ever set to. Less would ask twice for what a busy network delays, and more would
/// leave no time for a second try within the two seconds that a caller waits.
const FIRST_AUDIO_MIN: Duration = Duration::from_millis(400);
const FIRST_AUDIO_MAX: Duration = Duration::from_millis(800);

/// The first audios of one provider, shared by its calls.
#[derive(Debug, Default)]
pub struct Pace(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    times: [Duration; REMEMBERED],
    told: usize,
}

impl Pace {
    /// A first audio came `after` its text was sent.
    pub fn told(&self, after: Duration) {
        let mut recent = self.0.lock();
        let at = recent.told % REMEMBERED;
        if let Some(time) = recent.times.get_mut(at) {
            *time = after;
        }
        recent.told += 1;
    }

    /// Returns how long the next first audio is waited for: twice what 19 of 20 take.
    #[must_use]
    pub fn first_audio_max(&self) -> Duration {
        let recent = self.0.lock();
        let known = recent.told.min(REMEMBERED);
        if known < TELLING {
            return FIRST_AUDIO;
        }
        let mut times = recent.times;
        let times = times.get_mut(..known).unwrap_or_default();
        times.sort_unstable();
        let slow = times.get(known * 19 / 20).copied().unwrap_or(FIRST_AUDIO);
        (2 * slow).clamp(FIRST_AUDIO_MIN, FIRST_AUDIO_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn patience_follows_the_slowest_of_twenty_within_bounds() {
        let pace = Pace::default();
        (0..7).for_each(|_| pace.told(ms(10)));
        assert_eq!(pace.first_audio_max(), FIRST_AUDIO, "seven tell nothing");
        pace.told(ms(10));
        assert_eq!(pace.first_audio_max(), FIRST_AUDIO_MIN);
        (0..32).for_each(|n| pace.told(ms(if n % 8 == 0 { 300 } else { 100 })));
        assert_eq!(pace.first_audio_max(), ms(600));
        (0..4).for_each(|_| pace.told(ms(5000)));
        assert_eq!(pace.first_audio_max(), FIRST_AUDIO_MAX);
        (0..32).for_each(|_| pace.told(ms(250)));
        assert_eq!(pace.first_audio_max(), ms(500), "what was slow is forgotten");
    }
}
