//! The index of a packet: guessed from its 16 bits, and whether it has been here before (RFC 3711 §3.3.1, §3.3.2).

use super::RTP_INDEX_END;
use crate::rtp::{Discard, SequenceNumber};

/// How far behind the highest index a packet may be; RFC 3711 §3.3.2 asks for 64 at least. 128 packets are 2.5 s, longer than
/// any packet of use is late.
const WINDOW: u64 = u128::BITS as u64;

/// The packets of one source that have been accepted.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    highest: u64,
    /// Bit n: index `highest` - n has been here.
    seen: u128,
}

/// Returns the index of a packet with this sequence number: the one nearest to `highest`. `None` before index 0 and where
/// the key's life is over.
///
/// # Real-time
/// Constant time.
#[must_use]
pub const fn guess(highest: u64, sequence: SequenceNumber) -> Option<u64> {
    let ahead = sequence.0.wrapping_sub(highest as u16) as i16;
    match highest.checked_add_signed(ahead as i64) {
        Some(index) if index < RTP_INDEX_END => Some(index),
        _ => None,
    }
}

impl Window {
    /// Begins with the packet `index`, which is here.
    #[must_use]
    pub const fn new(index: u64) -> Self {
        Self { highest: index, seen: 1 }
    }

    /// Returns the highest index.
    #[must_use]
    pub const fn highest(&self) -> u64 {
        self.highest
    }

    /// Lets `index` in once.
    ///
    /// # Errors
    /// [`Discard::Replay`] where it was here before, or is so old that nobody knows.
    ///
    /// # Real-time
    /// Constant time.
    pub const fn admit(&mut self, index: u64) -> Result<(), Discard> {
        if index > self.highest {
            let ahead = index - self.highest;
            self.seen = if ahead < WINDOW { self.seen << ahead } else { 0 };
            self.seen |= 1;
            self.highest = index;
            return Ok(());
        }
        let behind = self.highest - index;
        if behind >= WINDOW || self.seen & (1 << behind) != 0 {
            return Err(Discard::Replay);
        }
        self.seen |= 1 << behind;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_goes_on_over_the_wrap_both_ways() {
        assert_eq!(guess(65_535, SequenceNumber(0)), Some(65_536));
        assert_eq!(guess(65_536, SequenceNumber(65_535)), Some(65_535));
        assert_eq!(guess(3 << 16, SequenceNumber(0x7fff)), Some((3 << 16) + 0x7fff));
        assert_eq!(guess(3 << 16, SequenceNumber(0x8001)), Some((2 << 16) + 0x8001));
        assert_eq!(guess(5, SequenceNumber(65_530)), None, "before the beginning");
    }

    #[test]
    fn the_last_index_is_not_followed_by_the_first() {
        assert_eq!(guess(RTP_INDEX_END - 2, SequenceNumber(65_535)), Some(RTP_INDEX_END - 1));
        assert_eq!(guess(RTP_INDEX_END - 1, SequenceNumber(0)), None);
    }

    #[test]
    fn each_packet_is_let_in_once_in_any_order() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut window = Window::new(1000);
        let mut seen = std::collections::BTreeSet::from([1000]);
        for _ in 0..50_000 {
            let jump = if rng.u8(..50) == 0 { 300 } else { 20 };
            let index = (window.highest() + rng.u64(..jump)).saturating_sub(rng.u64(..150));
            let is_old = index + WINDOW <= window.highest();
            let known = seen.contains(&index);
            let admitted = window.admit(index).is_ok();
            assert_eq!(admitted, !known && !is_old, "{index} at {}", window.highest());
            if admitted {
                seen.insert(index);
            }
        }
    }

    #[test]
    fn the_edges_of_the_window_are_where_they_are() {
        let mut window = Window::new(1000);
        assert_eq!(window.admit(1000 - WINDOW), Err(Discard::Replay));
        assert_eq!(window.admit(1001 - WINDOW), Ok(()));
        assert_eq!(window.admit(1001 - WINDOW), Err(Discard::Replay));
        assert_eq!(window.admit(1000 + WINDOW), Ok(()));
        assert_eq!(window.admit(1001), Ok(()));
        assert_eq!(window.admit(1000), Err(Discard::Replay));
    }
}
