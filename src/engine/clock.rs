//! The only reader of the system clock.

use crate::time::{Clock, Instant};
use std::time::{Duration, SystemTime};

/// The monotonic clock of the system, counted from the engine's start.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: std::time::Instant,
    started_at: Duration,
}

impl SystemClock {
    /// Starts the clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clocks")]
    pub fn start() -> Self {
        let started_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { start: std::time::Instant::now(), started_at }
    }

    /// Returns the time of day at `at`, as the time since 1970-01-01 00:00 UTC, by the wall clock as it was at the start.
    #[must_use]
    pub fn unix_time(&self, at: Instant) -> Duration {
        self.started_at + at.since(Instant::ZERO)
    }

    /// Returns the NTP time (RFC 5905 §6: 32.32 fixed-point seconds since 1900) at [`Instant::ZERO`].
    #[must_use]
    pub fn ntp_at_zero(&self) -> u64 {
        /// Seconds from 1900 to 1970, with 17 leap days.
        const NTP_TO_UNIX_S: u64 = 2_208_988_800;
        let fraction = (u64::from(self.started_at.subsec_nanos()) << 32) / 1_000_000_000;
        ((self.started_at.as_secs() + NTP_TO_UNIX_S) << 32) | fraction
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clocks")]
    fn now(&self) -> Instant {
        let since = std::time::Instant::now().saturating_duration_since(self.start);
        Instant::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}
