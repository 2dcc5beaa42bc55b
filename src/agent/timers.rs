//! What the agent waits for, and until when: one place for each of its deadlines.

use crate::time::{Deadline, Instant};

/// What the agent waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The greeting, which is being rendered.
    Greeting,
    /// The end of a clause that comes slowly.
    Clause,
    /// The next sign of life of a reply.
    Reply,
    /// More digits.
    Digits,
    /// More words of the caller, who is silent.
    Ending,
    /// The end of the caller's turn, long after its last word.
    CallerTurn,
    /// A sound of either side, where the agent owes one.
    DeadAir,
    /// The caller, in mutual silence.
    Silence,
    /// The result of a tool, in silence.
    Filler,
    /// The results of tools, whatever they do.
    Tools,
    /// The longest call.
    CallMax,
}

impl Timer {
    /// All timers.
    pub const ALL: [Self; 11] = [
        Self::Greeting,
        Self::Clause,
        Self::Reply,
        Self::Digits,
        Self::Ending,
        Self::CallerTurn,
        Self::DeadAir,
        Self::Silence,
        Self::Filler,
        Self::Tools,
        Self::CallMax,
    ];
}

/// The agent's deadlines, one per [`Timer`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Timers {
    at: [Option<Instant>; Timer::ALL.len()],
}

impl Timers {
    /// Sets `timer`, in place of its earlier deadline.
    pub fn set(&mut self, timer: Timer, at: Instant) {
        self.at[timer as usize] = Some(at);
    }

    /// Waits for `timer` no longer.
    pub fn clear(&mut self, timer: Timer) {
        self.at[timer as usize] = None;
    }

    /// Whether `timer` runs.
    #[must_use]
    pub fn runs(&self, timer: Timer) -> bool {
        self.at[timer as usize].is_some()
    }

    /// Returns the next deadline of all.
    #[must_use]
    pub fn next(&self) -> Option<Deadline<Timer>> {
        self.next_of(|_| true)
    }

    /// Returns the next deadline of those timers that are `wanted`.
    #[must_use]
    pub fn next_of(&self, wanted: impl Fn(Timer) -> bool) -> Option<Deadline<Timer>> {
        let timers = Timer::ALL.into_iter().filter(|timer| wanted(*timer));
        timers.filter_map(|timer| Some(Deadline { at: self.at[timer as usize]?, timer })).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_deadline_comes_first_and_a_cleared_one_never() {
        let at = Instant::from_millis;
        let mut timers = Timers::default();
        assert_eq!(timers.next(), None);
        timers.set(Timer::Silence, at(30));
        timers.set(Timer::Reply, at(20));
        assert_eq!(timers.next(), Some(Deadline { at: at(20), timer: Timer::Reply }));
        timers.set(Timer::Reply, at(40));
        assert_eq!(timers.next(), Some(Deadline { at: at(30), timer: Timer::Silence }));
        timers.clear(Timer::Silence);
        assert!(!timers.runs(Timer::Silence));
        assert_eq!(timers.next(), Some(Deadline { at: at(40), timer: Timer::Reply }));
    }
}
