//! Sequence numbers and timestamps that never wrap (RFC 3550 A.1).

use super::{RtpTimestamp, SequenceNumber};

/// Where extended numbers begin: far enough from zero that what is older than the first packet has a number, too.
const FIRST_CYCLE: u64 = 1 << 32;

/// Extends 16-bit sequence numbers to 64 bits: each is taken as the one nearest to the highest so far.
#[derive(Clone, Copy, Debug)]
pub struct SequenceExtender {
    highest: u64,
}

impl SequenceExtender {
    /// Begins a stream whose first packet has number `first`.
    #[must_use]
    pub const fn new(first: SequenceNumber) -> Self {
        Self { highest: FIRST_CYCLE + first.0 as u64 }
    }

    /// Returns the extended number of `number`, without moving on.
    ///
    /// # Real-time
    /// Constant time.
    #[must_use]
    pub const fn extend(&self, number: SequenceNumber) -> u64 {
        let ahead = number.0.wrapping_sub(self.highest as u16) as i16;
        self.highest.saturating_add_signed(ahead as i64)
    }

    /// Moves on to `extended`, where it is ahead.
    ///
    /// # Real-time
    /// Constant time.
    pub const fn advance(&mut self, extended: u64) {
        if extended > self.highest {
            self.highest = extended;
        }
    }

    /// Returns the highest number so far.
    #[must_use]
    pub const fn highest(&self) -> u64 {
        self.highest
    }

    /// Returns the highest number as receiver reports write it: 16 bits of cycles, 16 of number.
    #[must_use]
    pub const fn highest_reported(&self) -> u32 {
        (self.highest - FIRST_CYCLE) as u32
    }
}

/// Extends 32-bit timestamps to 64 bits, each as the one nearest to the one before it.
#[derive(Clone, Copy, Debug)]
pub struct TimestampExtender {
    last: u64,
}

impl TimestampExtender {
    /// Begins a stream whose first packet has timestamp `first`.
    #[must_use]
    pub const fn new(first: RtpTimestamp) -> Self {
        Self { last: FIRST_CYCLE + first.0 as u64 }
    }

    /// Returns the extended timestamp of `timestamp`, and takes it as the one to be near to.
    ///
    /// # Real-time
    /// Constant time.
    pub const fn extend(&mut self, timestamp: RtpTimestamp) -> u64 {
        let ahead = timestamp.0.wrapping_sub(self.last as u32) as i32;
        self.last = self.last.saturating_add_signed(ahead as i64);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_over_the_wrap_both_ways() {
        let mut extender = SequenceExtender::new(SequenceNumber(65_534));
        let first = extender.highest();
        for step in 0..200_000u64 {
            let number = SequenceNumber((65_534 + step) as u16);
            let extended = extender.extend(number);
            assert_eq!(extended, first + step);
            extender.advance(extended);
            assert_eq!(extender.extend(SequenceNumber(number.0.wrapping_sub(300))), first + step - 300);
        }
        assert_eq!(extender.highest_reported(), 65_534 + 199_999);
    }

    #[test]
    fn a_late_number_does_not_move_back() {
        let mut extender = SequenceExtender::new(SequenceNumber(2));
        extender.advance(extender.extend(SequenceNumber(65_535)));
        assert_eq!(extender.extend(SequenceNumber(3)), extender.highest() + 1);
    }

    #[test]
    fn timestamps_go_on_over_the_wrap() {
        let mut extender = TimestampExtender::new(RtpTimestamp(u32::MAX - 159));
        let first = extender.extend(RtpTimestamp(u32::MAX - 159));
        assert_eq!(extender.extend(RtpTimestamp(0)), first + 160);
        assert_eq!(extender.extend(RtpTimestamp(u32::MAX - 319)), first - 160);
        assert_eq!(extender.extend(RtpTimestamp(160)), first + 320);
    }
}
