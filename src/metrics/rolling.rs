//! Percentiles of the last 1, 5 and 60 minutes: for each window a few distributions in a row, of which the oldest is left out.

use crate::metrics::histogram::Distribution;
use crate::time::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// A stretch of time up to the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last minute.
    Minute,
    /// The last five minutes.
    FiveMinutes,
    /// The last hour.
    Hour,
}

impl Window {
    /// All windows, shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::FiveMinutes, Self::Hour];
    /// Parts of a window: its length is exact to one of them.
    const PARTS: u64 = 12;

    /// Returns how long it is.
    #[must_use]
    pub const fn length(self) -> Duration {
        match self {
            Self::Minute => Duration::from_secs(60),
            Self::FiveMinutes => Duration::from_secs(300),
            Self::Hour => Duration::from_secs(3_600),
        }
    }

    /// Returns the number of the part that `at` is in.
    fn part(self, at: Instant) -> u64 {
        // A window's part is seconds long, so that its nanoseconds fit.
        at.as_nanos() / (self.length().as_nanos() as u64 / Self::PARTS)
    }
}

/// One duration over all windows. Memory is taken as values come: about 15 kB for each part in which there were any.
#[derive(Default)]
pub struct Rolling {
    windows: [VecDeque<(u64, Distribution)>; Window::ALL.len()],
}

impl Rolling {
    /// Counts `value`, which was measured at `now`.
    pub fn record(&mut self, value: Duration, now: Instant) {
        for (window, parts) in Window::ALL.into_iter().zip(&mut self.windows) {
            let part = window.part(now);
            while parts.front().is_some_and(|(oldest, _)| oldest + Window::PARTS <= part) {
                parts.pop_front();
            }
            // Whoever measures on another thread may be a moment late: it counts with the newest.
            if parts.back().is_none_or(|(newest, _)| *newest < part) {
                parts.push_back((part, Distribution::new()));
            }
            if let Some((_, distribution)) = parts.back_mut() {
                distribution.record(value);
            }
        }
    }

    /// Returns the distribution over `window` up to `now`; what is older by up to a twelfth of the window may be in it.
    #[must_use]
    pub fn over(&self, window: Window, now: Instant) -> Distribution {
        let mut all = Distribution::new();
        let newest = window.part(now);
        for (part, distribution) in &self.windows[window as usize] {
            if part + Window::PARTS > newest {
                all.merge(distribution);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    #[test]
    fn each_window_forgets_what_is_older_than_itself() {
        let mut rolling = Rolling::default();
        rolling.record(Duration::from_millis(100), at(0));
        rolling.record(Duration::from_millis(200), at(250));
        rolling.record(Duration::from_millis(300), at(299));
        let counts = |now| Window::ALL.map(|window| rolling.over(window, at(now)).count());
        assert_eq!(counts(299), [2, 3, 3]);
        assert_eq!(counts(320), [1, 2, 3]);
        assert_eq!(counts(400), [0, 2, 3]);
        assert_eq!(counts(3_599), [0, 0, 3]);
        assert_eq!(counts(3_600), [0, 0, 0], "they were in one part of the hour");
        assert_eq!(rolling.over(Window::Minute, at(320)).percentiles().max, 300.0);
    }

    #[test]
    fn memory_is_bounded_by_the_parts() {
        let mut rolling = Rolling::default();
        for second in 0..20_000 {
            rolling.record(Duration::from_millis(1), at(second));
        }
        assert!(rolling.windows.iter().all(|parts| parts.len() <= usize::try_from(Window::PARTS).expect("small")));
        rolling.record(Duration::from_millis(1), at(19_990));
        assert_eq!(rolling.over(Window::Minute, at(20_000)).count(), 56, "a moment late, and counted");
    }
}
