//! When things happen: nanoseconds since the engine started, told to the machines and never asked for by them.

pub mod samples;

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A moment on the engine's one monotonic clock, in nanoseconds since the engine started.
///
/// There is deliberately no `now()`: a machine is told the time, so that a test can tell it any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Instant(u64);

impl Instant {
    /// The start of the engine.
    pub const ZERO: Self = Self(0);

    /// Returns the moment `nanos` nanoseconds after the engine's start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the moment `millis` milliseconds after the engine's start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Returns the nanoseconds since the engine's start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the time since `earlier`, or zero where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, rhs: Self) -> Duration {
        self.since(rhs)
    }
}

/// When `handle_timeout` is due, and which of a machine's timers wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline<T> {
    /// The moment from which on the timer is due.
    pub at: Instant,
    /// The timer.
    pub timer: T,
}

/// Tells the time to the threads that touch the world; the engine's clock and the clocks of tests implement it.
pub trait Clock: Send + Sync {
    /// Returns the time since the engine's start.
    fn now(&self) -> Instant;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_never_underflows() {
        assert_eq!(Instant::from_millis(1) - Instant::from_millis(2), Duration::ZERO);
        assert_eq!(Instant::from_millis(1) - Duration::from_secs(1), Instant::ZERO);
        assert_eq!(Instant::from_millis(5).since(Instant::from_millis(2)), Duration::from_millis(3));
    }
}
