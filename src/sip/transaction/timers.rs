//! T1, T2, T4 and the timers A to M over UDP (RFC 3261 Table 4, RFC 6026 §8.2).

use crate::config;
use std::time::Duration;

/// A timer, by the letter that the RFCs give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Letter {
    /// INVITE request retransmit interval, to begin with.
    A,
    /// INVITE transaction timeout.
    B,
    /// Proxy INVITE transaction timeout.
    C,
    /// Wait time for response retransmits.
    D,
    /// Non-INVITE request retransmit interval, to begin with.
    E,
    /// Non-INVITE transaction timeout.
    F,
    /// INVITE response retransmit interval, to begin with.
    G,
    /// Wait time for ACK receipt.
    H,
    /// Wait time for ACK retransmits.
    I,
    /// Wait time for non-INVITE request retransmits.
    J,
    /// Wait time for response retransmits.
    K,
    /// Wait time for accepted INVITE request retransmits (RFC 6026).
    L,
    /// Wait time for retransmission of 2xx to INVITE (RFC 6026).
    M,
}

/// The three times from which all timers follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    t1: Duration,
    t2: Duration,
    t4: Duration,
}

impl Timers {
    /// Takes T1, T2 and T4 from `settings`; none is less than a millisecond, so that doubling gets somewhere.
    #[must_use]
    pub fn new(settings: &config::Sip) -> Self {
        let at_least = |time: Duration| time.max(Duration::from_millis(1));
        Self { t1: at_least(settings.t1), t2: at_least(settings.t2), t4: at_least(settings.t4) }
    }

    /// Returns how long the timer runs over UDP.
    #[must_use]
    pub fn length(&self, letter: Letter) -> Duration {
        match letter {
            Letter::A | Letter::E | Letter::G => self.t1,
            Letter::B | Letter::F | Letter::H | Letter::J | Letter::L | Letter::M => self.t1 * 64,
            // More than three minutes (RFC 3261 §16.6 step 11).
            Letter::C => Duration::from_secs(181),
            // At least 32 s (RFC 3261 §17.1.1.2).
            Letter::D => (self.t1 * 64).max(Duration::from_secs(32)),
            Letter::I | Letter::K => self.t4,
        }
    }

    /// Returns T2, the largest retransmission interval.
    #[must_use]
    pub const fn t2(&self) -> Duration {
        self.t2
    }

    /// Returns the retransmission interval after `interval`: doubled, at most T2 (RFC 3261 §17.1.2.2, §17.2.1, §13.3.1.4).
    #[must_use]
    pub fn doubled(&self, interval: Duration) -> Duration {
        (interval * 2).min(self.t2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_table_4_and_rfc_6026_is_kept() {
        let timers = Timers::new(&config::Sip::default());
        for (letter, millis) in [
            (Letter::A, 500),
            (Letter::B, 32_000),
            (Letter::C, 181_000),
            (Letter::D, 32_000),
            (Letter::E, 500),
            (Letter::F, 32_000),
            (Letter::G, 500),
            (Letter::H, 32_000),
            (Letter::I, 5_000),
            (Letter::J, 32_000),
            (Letter::K, 5_000),
            (Letter::L, 32_000),
            (Letter::M, 32_000),
        ] {
            assert_eq!(timers.length(letter), Duration::from_millis(millis), "{letter:?}");
        }
    }

    #[test]
    fn intervals_double_up_to_t2() {
        let timers = Timers::new(&config::Sip::default());
        let mut interval = timers.length(Letter::E);
        let mut millis = Vec::new();
        for _ in 0..5 {
            millis.push(interval.as_millis());
            interval = timers.doubled(interval);
        }
        assert_eq!(millis, [500, 1000, 2000, 4000, 4000]);
    }
}
