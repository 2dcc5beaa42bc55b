//! Whether agent speech that is under way leaves: a watch that tells where none of it does.

use crate::ids::TurnId;
use crate::time::Instant;
use std::time::Duration;

/// How long speech under way may go without a packet before that is told: four times the pause that listeners take for a change of
/// speaker (200 ms, Stivers et al. 2009), and shorter than any patience of the agent.
pub const STALL_MAX: Duration = Duration::from_millis(800);

/// Tells of each stall once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stall {
    since: Option<Instant>,
    told: bool,
}

impl Stall {
    /// Takes what is `owed` after a slot: the turn that is under way and not paused, where nothing of it has left. Returns it once
    /// that has been so for [`STALL_MAX`].
    ///
    /// # Real-time
    /// Constant time.
    pub(super) fn slot(&mut self, owed: Option<TurnId>, now: Instant) -> Option<TurnId> {
        let Some(turn) = owed else {
            *self = Self::default();
            return None;
        };
        let since = *self.since.get_or_insert(now);
        if self.told || now.since(since) < STALL_MAX {
            return None;
        }
        self.told = true;
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: TurnId = TurnId(3);

    /// Returns the times, in milliseconds, of the slots of 20 ms in which a stall is told, where speech is owed as `owed` says.
    fn told(owed: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut stall = Stall::default();
        let slots = (0..200).map(|slot| slot * 20);
        let told = slots.filter(|at| stall.slot(owed(*at).then_some(TURN), Instant::from_millis(*at)).is_some());
        told.collect()
    }

    #[test]
    fn a_stall_is_told_once() {
        assert_eq!(told(|_| true), [800]);
    }

    #[test]
    fn speech_that_leaves_a_pause_or_the_end_of_the_turn_begins_the_watch_anew() {
        assert_eq!(told(|at| at % 800 != 780), [] as [u64; 0]);
        assert_eq!(told(|at| at != 1000), [800, 1820]);
    }
}
