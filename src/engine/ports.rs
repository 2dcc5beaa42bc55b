//! RTP ports: handed out at random, and left to rest after a call before the next may have them.

use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The even ports of a range, of which each stands for itself (RTP) and the odd one above it (RTCP, RFC 3550 §11).
pub struct Ports {
    free: Vec<u16>,
    taken: BTreeSet<u16>,
    resting: BTreeMap<Instant, Vec<u16>>,
    rest: Duration,
    rng: fastrand::Rng,
}

impl Ports {
    /// Makes the pairs of `range` available; a port rests for `rest` after use, so that what is still on its way to it
    /// reaches nobody's next call.
    #[must_use]
    pub fn new(range: &RangeInclusive<u16>, rest: Duration, rng: fastrand::Rng) -> Self {
        let last = *range.end();
        let free = range.clone().filter(|port| port % 2 == 0 && *port < last).collect();
        Self { free, taken: BTreeSet::new(), resting: BTreeMap::new(), rest, rng }
    }

    /// Takes a pair, at random: a port that can be guessed is a port that can be sprayed.
    pub fn take(&mut self, now: Instant) -> Option<u16> {
        self.wake(now);
        let count = self.free.len();
        if count == 0 {
            return None;
        }
        let port = self.free.swap_remove(self.rng.usize(..count));
        self.taken.insert(port);
        Some(port)
    }

    /// Gives a pair back. It rests first.
    pub fn give_back(&mut self, port: u16, now: Instant) {
        if self.taken.remove(&port) {
            self.resting.entry(now + self.rest).or_default().push(port);
        }
    }

    /// Pairs in use, lowest first.
    pub fn in_use(&self) -> impl Iterator<Item = u16> + '_ {
        self.taken.iter().copied()
    }

    /// Whether `port` is one of a pair in use.
    pub fn is_in_use(&self, port: u16) -> bool {
        self.taken.contains(&(port & !1))
    }

    fn wake(&mut self, now: Instant) {
        while let Some(entry) = self.resting.first_entry() {
            if *entry.key() > now {
                break;
            }
            self.free.extend(entry.remove());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_out_each_even_port_once_and_rests_it() {
        let mut ports = Ports::new(&(10_000..=10_005), Duration::from_secs(2), fastrand::Rng::with_seed(1));
        let at = Instant::from_millis;
        let mut taken: Vec<u16> = (0..3).filter_map(|_| ports.take(at(0))).collect();
        taken.sort_unstable();
        assert_eq!(taken, [10_000, 10_002, 10_004]);
        assert_eq!(ports.take(at(0)), None);
        assert!(ports.is_in_use(10_004) && ports.is_in_use(10_005) && !ports.is_in_use(10_006));
        ports.give_back(10_002, at(100));
        assert!(!ports.is_in_use(10_003));
        assert_eq!(ports.take(at(2_099)), None);
        assert_eq!(ports.take(at(2_100)), Some(10_002));
        assert_eq!(ports.in_use().collect::<Vec<_>>(), [10_000, 10_002, 10_004]);
    }

    #[test]
    fn an_even_last_port_without_its_odd_neighbour_is_not_handed_out() {
        let mut ports = Ports::new(&(10_000..=10_002), Duration::ZERO, fastrand::Rng::with_seed(1));
        assert_eq!(ports.take(Instant::ZERO), Some(10_000));
        assert_eq!(ports.take(Instant::ZERO), None);
    }

    #[test]
    fn what_was_never_taken_cannot_be_given_back() {
        let mut ports = Ports::new(&(10_000..=10_001), Duration::ZERO, fastrand::Rng::with_seed(1));
        ports.give_back(10_000, Instant::ZERO);
        assert_eq!(ports.take(Instant::ZERO), Some(10_000));
        assert_eq!(ports.take(Instant::from_millis(5)), None);
    }
}
