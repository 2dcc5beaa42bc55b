//! T1, T2, T4 and the timers A to M (RFC 3261 Table 4, RFC 6026 §8.2), over UDP and over transports that repeat by themselves.

use crate::config;
use crate::sip::flow::Transport;
use crate::time::Instant;
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
    is_reliable: bool,
}

impl Timers {
    /// Takes T1, T2 and T4, for UDP, from `settings`; none is less than a millisecond, so that doubling gets somewhere.
    #[must_use]
    pub fn new(settings: &config::Sip) -> Self {
        let at_least = |time: Duration| time.max(Duration::from_millis(1));
        Self { t1: at_least(settings.t1), t2: at_least(settings.t2), t4: at_least(settings.t4), is_reliable: false }
    }

    /// Returns the same for a transaction over `transport`.
    #[must_use]
    pub const fn over(self, transport: Transport) -> Self {
        Self { is_reliable: transport.is_reliable(), ..self }
    }

    /// Returns how long the timer runs. Over a reliable transport nothing comes late, so what waits for that is over at once.
    #[must_use]
    pub fn length(&self, letter: Letter) -> Duration {
        match letter {
            Letter::D | Letter::I | Letter::J | Letter::K if self.is_reliable => Duration::ZERO,
            Letter::A | Letter::E | Letter::G => self.t1,
            Letter::B | Letter::F | Letter::H | Letter::J | Letter::L | Letter::M => self.t1 * 64,
            // More than three minutes (RFC 3261 §16.6 step 11).
            Letter::C => Duration::from_secs(181),
            // At least 32 s (RFC 3261 §17.1.1.2).
            Letter::D => (self.t1 * 64).max(Duration::from_secs(32)),
            Letter::I | Letter::K => self.t4,
        }
    }

    /// Returns when a message sent at `now` is sent again, after `interval`: timers A, E and G. Over a reliable
    /// transport never, so that this is `give_up_at`, the transaction's end.
    #[must_use]
    pub fn resend_at(&self, now: Instant, interval: Duration, give_up_at: Instant) -> Instant {
        if self.is_reliable { give_up_at } else { now + interval }
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
    fn a_reliable_transport_repeats_by_itself() {
        let timers = Timers::new(&config::Sip::default()).over(Transport::Tcp);
        for letter in [Letter::D, Letter::I, Letter::J, Letter::K] {
            assert_eq!(timers.length(letter), Duration::ZERO, "{letter:?}");
        }
        for letter in [Letter::B, Letter::F, Letter::H, Letter::L, Letter::M] {
            assert_eq!(timers.length(letter), Duration::from_secs(32), "{letter:?}");
        }
        let give_up_at = Instant::from_millis(32_000);
        assert_eq!(timers.resend_at(Instant::ZERO, Duration::from_millis(500), give_up_at), give_up_at);
        let udp = timers.over(Transport::Udp);
        assert_eq!(udp.resend_at(Instant::ZERO, Duration::from_millis(500), give_up_at), Instant::from_millis(500));
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
