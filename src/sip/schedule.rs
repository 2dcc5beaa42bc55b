//! Which of many things is due first: one deadline per key.

use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// Deadlines by key.
#[derive(Clone, Debug)]
pub(super) struct Schedule<K> {
    by_key: BTreeMap<K, Instant>,
    by_time: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Clone> Schedule<K> {
    pub(super) const fn new() -> Self {
        Self { by_key: BTreeMap::new(), by_time: BTreeSet::new() }
    }

    /// Sets or, with `None`, clears the deadline of `key`.
    pub(super) fn set(&mut self, key: &K, at: Option<Instant>) {
        if let Some(old) = self.by_key.remove(key) {
            self.by_time.remove(&(old, key.clone()));
        }
        if let Some(at) = at {
            self.by_key.insert(key.clone(), at);
            self.by_time.insert((at, key.clone()));
        }
    }

    /// Takes out the key that is due first, if one is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, _) = self.by_time.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// Returns the first deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_deadline_and_the_earliest_comes_first() {
        let at = Instant::from_millis;
        let mut schedule = Schedule::new();
        schedule.set(&'a', Some(at(30)));
        schedule.set(&'b', Some(at(20)));
        schedule.set(&'a', Some(at(10)));
        assert_eq!(schedule.next(), Some(at(10)));
        assert_eq!(schedule.pop_due(at(9)), None);
        assert_eq!(
            (schedule.pop_due(at(25)), schedule.pop_due(at(25)), schedule.pop_due(at(25))),
            (Some('a'), Some('b'), None)
        );
        schedule.set(&'c', Some(at(1)));
        schedule.set(&'c', None);
        assert_eq!(schedule.next(), None);
    }
}
