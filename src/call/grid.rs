//! When packets are due: a grid of slots at absolute times, and how far it may stand off the media clock.

use crate::time::Instant;
use std::time::Duration;

/// How far talkspurts may have moved the grid forward in all: one packet, which every jitter buffer takes in its stride.
const LEAD_MAX: Duration = Duration::from_millis(20);
/// How far a stall of the worker's may have moved the grid back within speech: what is late by that much a jitter buffer of common
/// depth still plays without a hole, and a slot that is skipped is a hole in a word for every receiver.
const LAG_MAX: Duration = Duration::from_millis(60);
/// How much of either a silent slot gives back: 5 %, within the wander of a softphone's own clock.
const REPAYMENT: Duration = Duration::from_millis(1);

/// The next slot, by the wall and by the media. Both are moments, so that neither a late wake-up nor a sum of roundings moves them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// When its packet is to leave.
    next: Instant,
    /// When it would, had nothing ever moved the grid: what its timestamp says.
    media: Instant,
}

impl Grid {
    /// Begins with a slot at `at`.
    pub(super) const fn new(at: Instant) -> Self {
        Self { next: at, media: at }
    }

    /// Returns the next slot.
    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    /// Returns the moment on the media clock that the next slot's timestamp stands for.
    pub(super) const fn media(&self) -> Instant {
        self.media
    }

    /// Returns when the next slot's packet may leave where it begins a talkspurt.
    pub(super) fn earliest(&self) -> Instant {
        self.next.max(self.media) - LEAD_MAX
    }

    /// Begins anew at `now`, unless that is before the next slot.
    pub(super) fn begin(&mut self, now: Instant) {
        *self = Self::new(self.next.max(now));
    }

    /// Moves forward, so that the next slot is `now`.
    pub(super) fn pull_forward(&mut self, now: Instant) {
        self.next = self.next.min(now);
    }

    /// Moves back by slots that passed unserved, and the timestamps stay: `false`, and nothing is moved, where that is further than
    /// may be.
    pub(super) fn fall_back(&mut self, by: Duration) -> bool {
        let next = self.next + by;
        let may_be = next.since(self.media) <= LAG_MAX;
        if may_be {
            self.next = next;
        }
        may_be
    }

    /// Lets slots pass, the media clock's too.
    pub(super) fn pass(&mut self, by: Duration) {
        self.next += by;
        self.media += by;
    }

    /// Gives back a little of what the grid stands off the media clock.
    pub(super) fn repay(&mut self) {
        self.next = if self.next < self.media {
            (self.next + REPAYMENT).min(self.media)
        } else {
            (self.next - REPAYMENT).max(self.media)
        };
    }

    /// Returns how far the grid stands before the media clock.
    #[cfg(test)]
    pub(super) const fn lead(&self) -> Duration {
        self.media.since(self.next)
    }

    /// Returns how far it stands behind the media clock.
    #[cfg(test)]
    pub(super) const fn lag(&self) -> Duration {
        self.next.since(self.media)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Duration = Duration::from_millis(20);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_talkspurt_may_take_the_grid_one_packet_forward_in_all() {
        let mut grid = Grid::new(at(1000));
        assert_eq!(grid.earliest(), at(980));
        grid.pull_forward(at(987));
        assert_eq!((grid.next(), grid.media(), grid.earliest()), (at(987), at(1000), at(980)));
        grid.pull_forward(at(990));
        assert_eq!(grid.lead(), ms(13), "it is not moved back");
    }

    #[test]
    fn a_stall_takes_the_grid_back_as_far_as_that_is_no_hole() {
        let mut grid = Grid::new(at(1000));
        assert!(grid.fall_back(ms(60)) && !grid.fall_back(SLOT));
        assert_eq!((grid.next(), grid.media(), grid.lag()), (at(1060), at(1000), ms(60)));
        assert_eq!(grid.earliest(), at(1040), "a packet before its slot, also where that is late");
    }

    #[test]
    fn what_came_too_early_makes_up_for_what_comes_too_late() {
        let mut grid = Grid::new(at(1000));
        grid.pull_forward(at(985));
        assert!(grid.fall_back(ms(60)));
        assert_eq!((grid.lead(), grid.lag()), (ms(0), ms(45)));
        grid.pull_forward(at(1030));
        assert_eq!((grid.lead(), grid.lag()), (ms(0), ms(30)));
    }

    #[test]
    fn silence_gives_either_back_and_no_more() {
        for moved in [985, 1015] {
            let mut grid = Grid::new(at(1000));
            grid.pull_forward(at(moved));
            assert!(grid.fall_back(ms(moved.saturating_sub(1000))));
            for left in (0..15).rev().chain([0, 0]) {
                grid.repay();
                assert_eq!(grid.lead() + grid.lag(), ms(left));
            }
        }
    }

    #[test]
    fn slots_that_pass_move_both_clocks() {
        let mut grid = Grid::new(at(1000));
        grid.pull_forward(at(990));
        grid.pass(SLOT);
        assert_eq!((grid.next(), grid.media()), (at(1010), at(1020)));
        grid.begin(at(1005));
        assert_eq!((grid.next(), grid.media()), (at(1010), at(1010)));
    }
}
