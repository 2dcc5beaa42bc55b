//! A bad network between the telephone and its peer, of seeded chance: loss, and delay that varies.

use std::time::Duration;

/// What happens to packets on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weather {
    /// The share that is lost, 0.0 to 1.0.
    pub loss: f64,
    /// The most that is added to a packet's way, evenly spread from nothing: delay has a floor, and no ceiling (§7.6).
    pub jitter: Duration,
}

/// One direction of it.
#[derive(Clone, Debug)]
pub struct Channel {
    weather: Weather,
    rng: fastrand::Rng,
}

impl Channel {
    /// Makes a direction whose chance is `rng`'s.
    #[must_use]
    pub const fn new(weather: Weather, rng: fastrand::Rng) -> Self {
        Self { weather, rng }
    }

    /// Returns what is added to the next packet's way; `None`: it is lost.
    pub fn pass(&mut self) -> Option<Duration> {
        let lost = self.rng.f64() < self.weather.loss;
        let delay = self.weather.jitter.mul_f64(self.rng.f64());
        (!lost).then_some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fair_weather_changes_nothing_and_foul_weather_what_it_says() {
        let mut fair = Channel::new(Weather::default(), fastrand::Rng::with_seed(1));
        assert!((0..100).all(|_| fair.pass() == Some(Duration::ZERO)));
        let weather = Weather { loss: 0.1, jitter: Duration::from_millis(30) };
        let mut foul = Channel::new(weather, fastrand::Rng::with_seed(1));
        let passed: Vec<_> = (0..10_000).filter_map(|_| foul.pass()).collect();
        assert!((8800..9200).contains(&passed.len()), "{}", passed.len());
        assert!(passed.iter().all(|delay| *delay < weather.jitter));
        let mean = passed.iter().sum::<Duration>() / 9000;
        assert!(mean.abs_diff(Duration::from_millis(15)) < Duration::from_millis(1), "{mean:?}");
    }
}
