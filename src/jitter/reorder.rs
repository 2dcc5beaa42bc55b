//! Puts packets in order by sequence: in order passes at once, a gap holds what is behind it, late and duplicate are refused.

use crate::rtp::Discard;
use crate::time::Instant;

/// Packets held at most. A gap is waited for 200 ms at most, which is 20 packets of 10 ms.
pub const CAPACITY: usize = 32;
/// Longest payload held: 100 ms of G.711. Nobody is known to send more than 60 ms.
pub const PAYLOAD_MAX: usize = 800;

/// A packet as the jitter buffer needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// Its extended sequence number.
    pub sequence: u64,
    /// Its extended timestamp.
    pub timestamp: u64,
    /// How many samples it holds; 0 for what is not audio and only fills its place in the sequence (telephone events).
    pub samples: u32,
    /// What the payload is.
    pub payload_type: u8,
    /// When it came.
    pub arrived: Instant,
    /// The payload.
    pub payload: &'a [u8],
}

/// A place for one packet. A slot is empty when it does not hold the sequence number that it is asked for.
struct Slot {
    sequence: u64,
    timestamp: u64,
    samples: u32,
    payload_type: u8,
    arrived: Instant,
    len: u16,
    payload: [u8; PAYLOAD_MAX],
}

impl Slot {
    const EMPTY: Self = Self {
        sequence: u64::MAX,
        timestamp: 0,
        samples: 0,
        payload_type: 0,
        arrived: Instant::ZERO,
        len: 0,
        payload: [0; PAYLOAD_MAX],
    };

    fn as_incoming(&self) -> Incoming<'_> {
        Incoming {
            sequence: self.sequence,
            timestamp: self.timestamp,
            samples: self.samples,
            payload_type: self.payload_type,
            arrived: self.arrived,
            payload: self.payload.get(..usize::from(self.len)).unwrap_or_default(),
        }
    }
}

/// What became of a packet that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is the newest.
    InOrder,
    /// A newer one came before it, this long before.
    Overtaken(std::time::Duration),
    /// It is so far ahead that what was held, this many packets, was dropped: there is no room to wait for what lies between.
    Overrun(u32),
}

/// A window of [`CAPACITY`] packets from the next one that is due.
pub struct Reorder {
    slots: [Slot; CAPACITY],
    /// The sequence number that is due.
    next: u64,
    /// One above the highest that came.
    end: u64,
    held: u32,
    /// Which of the 64 before `next` came in time: bit 0 is `next - 1`.
    passed: u64,
}

impl Reorder {
    /// Makes a window whose first packet has number `next`.
    #[must_use]
    pub const fn new(next: u64) -> Self {
        Self { slots: [const { Slot::EMPTY }; CAPACITY], next, end: next, held: 0, passed: 0 }
    }

    /// Drops what is held and makes `next` the number that is due. Returns how many packets were dropped.
    ///
    /// # Real-time
    /// Bounded by [`CAPACITY`].
    pub fn restart(&mut self, next: u64) -> u32 {
        let dropped = self.held;
        for slot in &mut self.slots {
            slot.sequence = u64::MAX;
        }
        (self.next, self.end, self.held, self.passed) = (next, next, 0, 0);
        dropped
    }

    /// Lets a packet in.
    ///
    /// # Errors
    /// [`Discard::Late`], [`Discard::Duplicate`], [`Discard::TooLong`].
    ///
    /// # Real-time
    /// Bounded by [`CAPACITY`]; copies the payload.
    pub fn insert(&mut self, packet: &Incoming<'_>) -> Result<Inserted, Discard> {
        if packet.payload.len() > PAYLOAD_MAX {
            return Err(Discard::TooLong);
        }
        if packet.sequence < self.next {
            let behind = self.next - packet.sequence - 1;
            let passed = behind < 64 && self.passed >> behind & 1 == 1;
            return Err(if passed { Discard::Duplicate } else { Discard::Late });
        }
        if self.holds(packet.sequence) {
            return Err(Discard::Duplicate);
        }
        let mut inserted = Inserted::InOrder;
        if packet.sequence - self.next >= CAPACITY as u64 {
            inserted = Inserted::Overrun(self.restart(packet.sequence));
        } else if packet.sequence < self.end {
            let overtaker = self.after(packet.sequence).map(|slot| slot.arrived).min();
            inserted = Inserted::Overtaken(packet.arrived.since(overtaker.unwrap_or(packet.arrived)));
        }
        self.end = self.end.max(packet.sequence + 1);
        self.held += 1;
        let slot = &mut self.slots[index(packet.sequence)];
        slot.sequence = packet.sequence;
        slot.timestamp = packet.timestamp;
        slot.samples = packet.samples;
        slot.payload_type = packet.payload_type;
        slot.arrived = packet.arrived;
        slot.len = packet.payload.len() as u16;
        if let Some(place) = slot.payload.get_mut(..packet.payload.len()) {
            place.copy_from_slice(packet.payload);
        }
        Ok(inserted)
    }

    /// Returns the packet that is due, if it is here; it stays.
    #[must_use]
    pub fn peek(&self) -> Option<Incoming<'_>> {
        self.holds(self.next).then(|| self.slots[index(self.next)].as_incoming())
    }

    /// Takes the packet that is due, if it is here.
    ///
    /// # Real-time
    /// Constant time.
    pub fn take(&mut self) -> Option<Incoming<'_>> {
        if !self.holds(self.next) {
            return None;
        }
        let sequence = self.next;
        self.next += 1;
        self.held -= 1;
        self.passed = self.passed << 1 | 1;
        // The number stays in the slot, but is behind `next`, which `holds` looks at first.
        Some(self.slots[index(sequence)].as_incoming())
    }

    /// Returns since when the packet that is due has been missed: when the first one behind it came.
    ///
    /// # Real-time
    /// Bounded by [`CAPACITY`].
    #[must_use]
    pub fn missed_since(&self) -> Option<Instant> {
        if self.held == 0 || self.holds(self.next) {
            return None;
        }
        self.after(self.next).map(|slot| slot.arrived).min()
    }

    /// Gives up on what is missing before the first packet held. Returns how many numbers were skipped.
    ///
    /// # Real-time
    /// Bounded by [`CAPACITY`].
    pub fn skip(&mut self) -> u32 {
        let Some(first) = self.after(self.next).map(|slot| slot.sequence).min() else { return 0 };
        let skipped = first - self.next;
        self.passed = self.passed.checked_shl(skipped as u32).unwrap_or(0);
        self.next = first;
        skipped as u32
    }

    /// Returns the sequence number that is due.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    fn holds(&self, sequence: u64) -> bool {
        (self.next..self.end).contains(&sequence) && self.slots[index(sequence)].sequence == sequence
    }

    /// The packets held with numbers above `sequence`.
    fn after(&self, sequence: u64) -> impl Iterator<Item = &Slot> {
        (sequence + 1..self.end).filter(|held| self.holds(*held)).map(|held| &self.slots[index(held)])
    }
}

const fn index(sequence: u64) -> usize {
    (sequence % CAPACITY as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn packet(sequence: u64, ms: u64) -> Incoming<'static> {
        Incoming {
            sequence,
            timestamp: sequence * 160,
            samples: 160,
            payload_type: 0,
            arrived: Instant::from_millis(ms),
            payload: b"abc",
        }
    }

    fn drain(reorder: &mut Reorder) -> Vec<u64> {
        std::iter::from_fn(|| reorder.take().map(|packet| packet.sequence)).collect()
    }

    #[test]
    fn in_order_passes_at_once() {
        let mut reorder = Reorder::new(10);
        for n in 10..200 {
            assert_eq!(reorder.insert(&packet(n, n * 20)), Ok(Inserted::InOrder));
            assert_eq!(drain(&mut reorder), [n]);
            assert_eq!(reorder.missed_since(), None);
        }
    }

    #[test]
    fn a_gap_holds_what_is_behind_it_until_it_is_filled() {
        let mut reorder = Reorder::new(0);
        assert!(reorder.insert(&packet(2, 40)).is_ok());
        assert!(reorder.insert(&packet(1, 45)).is_ok());
        assert!(drain(&mut reorder).is_empty());
        assert_eq!(reorder.missed_since(), Some(Instant::from_millis(40)));
        let lateness = Duration::from_millis(10);
        assert_eq!(reorder.insert(&packet(0, 50)), Ok(Inserted::Overtaken(lateness)));
        assert_eq!(drain(&mut reorder), [0, 1, 2]);
    }

    #[test]
    fn a_gap_that_is_given_up_lets_the_rest_pass() {
        let mut reorder = Reorder::new(0);
        for n in [3, 4, 6] {
            assert!(reorder.insert(&packet(n, n * 20)).is_ok());
        }
        assert_eq!(reorder.skip(), 3);
        assert_eq!(drain(&mut reorder), [3, 4]);
        assert_eq!(reorder.missed_since(), Some(Instant::from_millis(120)));
        assert_eq!(reorder.skip(), 1);
        assert_eq!(drain(&mut reorder), [6]);
        assert_eq!(reorder.skip(), 0);
    }

    #[test]
    fn late_and_duplicate_are_told_apart() {
        let mut reorder = Reorder::new(0);
        for n in [0, 2] {
            assert!(reorder.insert(&packet(n, 0)).is_ok());
            let _ = drain(&mut reorder);
        }
        assert_eq!(reorder.insert(&packet(2, 0)), Err(Discard::Duplicate), "held");
        reorder.skip();
        assert_eq!(drain(&mut reorder), [2]);
        assert_eq!(reorder.insert(&packet(1, 0)), Err(Discard::Late));
        assert_eq!(reorder.insert(&packet(0, 0)), Err(Discard::Duplicate));
        assert_eq!(reorder.insert(&packet(2, 0)), Err(Discard::Duplicate));
    }

    #[test]
    fn a_packet_far_ahead_drops_what_waits_in_vain() {
        let mut reorder = Reorder::new(0);
        assert!(reorder.insert(&packet(1, 0)).is_ok());
        assert_eq!(reorder.insert(&packet(31, 0)), Ok(Inserted::InOrder));
        assert_eq!(reorder.insert(&packet(32, 0)), Ok(Inserted::Overrun(2)));
        assert_eq!(drain(&mut reorder), [32]);
    }

    #[test]
    fn the_payload_comes_out_as_it_went_in() {
        let mut reorder = Reorder::new(0);
        let payload = [7; PAYLOAD_MAX + 1];
        assert!(reorder.insert(&Incoming { payload: &payload[..PAYLOAD_MAX], ..packet(0, 0) }).is_ok());
        assert_eq!(reorder.take().map(|packet| packet.payload), Some(&payload[..PAYLOAD_MAX]));
        let long = Incoming { payload: &payload, ..packet(1, 0) };
        assert_eq!(reorder.insert(&long), Err(Discard::TooLong));
    }

    #[test]
    fn any_order_comes_out_in_order_and_each_number_once() {
        let mut rng = fastrand::Rng::with_seed(9);
        for _ in 0..500 {
            let mut reorder = Reorder::new(100);
            let mut out = Vec::new();
            let mut came = Vec::new();
            for _ in 0..200 {
                let number = reorder.next().saturating_sub(3) + rng.u64(..40);
                if reorder.insert(&packet(number, 0)).is_ok() {
                    came.push(number);
                }
                if rng.u8(..8) == 0 {
                    reorder.skip();
                }
                out.extend(drain(&mut reorder));
            }
            assert!(out.is_sorted_by(|a, b| a < b));
            assert!(out.iter().all(|number| came.contains(number)));
        }
    }
}
