//! Where a stream's sound belongs on its call's timeline: by RTP time, held to the arrivals of its fastest packets.
//!
//! RTP time alone does not say where a stream begins, runs by the peer's own clock, and may jump; arrivals do not jump and
//! are late by the network's whim. So the distance between the two is kept while it is a delay, corrected in silence where it
//! has drifted, and found anew where the stream has jumped.

use crate::rtp::CLOCK_RATE;
use crate::time::{Instant, samples};
use std::time::Duration;

/// Ticks of 125 µs in a millisecond.
const PER_MS: i64 = 8;
/// How far the fastest packets may be from their places before those are moved: as much as a talkspurt may pull our own grid
/// forward, and some; at 100 ppm between two clocks it is reached in four minutes.
const TOLERANCE: i64 = 25 * PER_MS;
/// How far a packet may be from its place and still be merely late.
const SLIP: i64 = 300 * PER_MS;
/// Packets in a row that are so late before the stream is taken to have jumped: half a second.
const ASTRAY_MAX: u32 = 25;
/// How long the fastest packet is looked for, at first and later on.
const WINDOW_FIRST: i64 = 1_000 * PER_MS;
const WINDOW: i64 = 10_000 * PER_MS;
/// Frames that a correction waits for silence: 5 s.
const PATIENCE: u32 = 250;
/// How far ahead of real time made-up sound may stand; what is further ahead was put there by a timestamp gone wrong.
const AHEAD_MAX: i64 = 500 * PER_MS;

/// A piece of sound that wants a place.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Its RTP time, extended, in ticks.
    pub ticks: u64,
    /// When it came, in ticks since the timeline's beginning.
    pub came: i64,
    /// Whether it was made up: it follows the last packet and says nothing about the stream's time.
    pub made_up: bool,
    /// Whether the stream begins anew with it.
    pub restart: bool,
    /// Whether nobody would notice a jump in it.
    pub quiet: bool,
}

/// The places of one stream.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// What is added to RTP time.
    anchor: Option<i64>,
    window: Option<Window>,
    /// A correction that waits for silence, and for how many frames.
    shift: Option<(i64, u32)>,
    /// The RTP time from which on it has been quiet.
    quiet_from: Option<i64>,
    astray: u32,
    astray_least: i64,
}

/// A stretch of time in which the fastest packet is looked for.
#[derive(Clone, Copy, Debug)]
struct Window {
    since: i64,
    length: i64,
    least: i64,
}

/// Returns `at` in ticks since `zero`.
#[must_use]
pub fn ticks_since(zero: Instant, at: Instant) -> i64 {
    let ticks = |time: Duration| samples::count(time, CLOCK_RATE).cast_signed();
    // One of the two is nothing.
    ticks(at.since(zero)) - ticks(zero.since(at))
}

impl Placement {
    /// Returns the tick of the timeline at which the piece begins; `None`: it has no place.
    pub fn place(&mut self, piece: &Piece) -> Option<i64> {
        let ticks = piece.ticks as i64;
        if piece.made_up {
            let at = self.anchor? + ticks;
            return (at <= piece.came + AHEAD_MAX).then_some(at);
        }
        self.quiet_from = piece.quiet.then(|| self.quiet_from.unwrap_or(ticks));
        let distance = self.anchor.map(|anchor| piece.came - (anchor + ticks));
        match distance {
            Some(distance) if !piece.restart && distance >= -SLIP => self.follow(distance, piece),
            // Nothing comes before it was sent: the stream has jumped, or what it was held to was late.
            _ => self.begin(piece.came - ticks, piece.came),
        }
        self.anchor.map(|anchor| anchor + ticks)
    }

    fn begin(&mut self, anchor: i64, came: i64) {
        let window = Window { since: came, length: WINDOW_FIRST, least: i64::MAX };
        *self = Self { anchor: Some(anchor), window: Some(window), ..Self::default() };
    }

    fn follow(&mut self, distance: i64, piece: &Piece) {
        if distance > SLIP {
            self.astray_least = if self.astray == 0 { distance } else { self.astray_least.min(distance) };
            self.astray += 1;
            if self.astray >= ASTRAY_MAX {
                let anchor = self.anchor.unwrap_or_default() + self.astray_least;
                self.begin(anchor, piece.came);
            }
            return;
        }
        self.astray = 0;
        if let Some(window) = &mut self.window {
            window.least = window.least.min(distance);
            if piece.came - window.since >= window.length {
                let least = window.least;
                *window = Window { since: piece.came, length: WINDOW, least: i64::MAX };
                self.shift = (least.abs() > TOLERANCE).then_some((least, 0));
            }
        }
        if let Some((shift, waited)) = &mut self.shift {
            *waited += 1;
            // A shift back lays what follows over what is there: that has to be quiet as well, else the end of a word is lost.
            let quiet = self.quiet_from.is_some_and(|from| piece.ticks as i64 - from >= -*shift);
            if quiet || *waited > PATIENCE {
                self.anchor = self.anchor.map(|anchor| anchor + *shift);
                self.shift = None;
                // What the window has seen so far was measured from the old place.
                self.window = Some(Window { since: piece.came, length: WINDOW, least: i64::MAX });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: i64 = 160;

    fn piece(ticks: u64, came: i64) -> Piece {
        Piece { ticks, came, made_up: false, restart: false, quiet: false }
    }

    #[test]
    fn loss_leaves_a_hole_and_lateness_none() {
        let mut placement = Placement::default();
        let start = 1u64 << 33;
        let mut rng = fastrand::Rng::with_seed(3);
        for n in (0..500i64).filter(|n| n % 7 != 3) {
            let late = if n == 0 { 0 } else { rng.i64(0..60 * PER_MS) };
            let at = placement.place(&piece(start + (n * FRAME) as u64, 800 + n * FRAME + late));
            assert_eq!(at, Some(800 + n * FRAME), "packet {n}");
        }
    }

    #[test]
    fn a_first_packet_that_was_late_is_put_right_in_silence() {
        let mut placement = Placement::default();
        let mut places = Vec::new();
        for n in 0..200 {
            let late = if n == 0 { 100 * PER_MS } else { 0 };
            let quiet = (120..130).contains(&n);
            places.push(placement.place(&Piece { quiet, ..piece((n * FRAME) as u64, n * FRAME + late) }));
        }
        assert_eq!(places[119], Some(119 * FRAME + 800), "not while somebody speaks");
        assert_eq!(places[124], Some(124 * FRAME + 800), "nor over the end of what was said");
        assert_eq!(places[125], Some(125 * FRAME));
    }

    #[test]
    fn a_shift_back_lies_over_nothing_but_silence() {
        // Packets in bursts of five, as some radio links bring them: the first is the latest of its burst.
        let mut placement = Placement::default();
        let mut spoken = Vec::new();
        for n in 0..300i64 {
            let quiet = n % 60 < 8;
            let came = (n / 5 * 5 + 4) * FRAME;
            let at = placement.place(&Piece { quiet, ..piece((n * FRAME) as u64, came) }).expect("a place");
            spoken.retain(|word: &i64| quiet || (word - at).abs() >= FRAME);
            spoken.extend((!quiet).then_some(at));
            assert!(!quiet || spoken.iter().all(|word| word + FRAME <= at), "packet {n} lies over what was said");
        }
        assert_eq!(spoken.len(), 300 - 300 / 60 * 8);
    }

    #[test]
    fn a_clock_that_drifts_is_followed_and_never_by_more_than_is_heard() {
        for ppm in [-200i64, 200] {
            let mut placement = Placement::default();
            let mut worst = 0;
            // An hour.
            for n in 0..180_000i64 {
                let came = n * FRAME + n * FRAME * ppm / 1_000_000;
                let at = placement.place(&Piece { quiet: n % 100 < 30, ..piece((n * FRAME) as u64, came) });
                worst = worst.max((at.expect("a place") - came).abs());
            }
            assert!(worst < 45 * PER_MS, "{ppm} ppm: {worst} ticks");
        }
    }

    #[test]
    fn a_stream_that_begins_anew_or_jumps_goes_on_where_it_comes() {
        let mut placement = Placement::default();
        for n in 0..50 {
            placement.place(&piece((n * FRAME) as u64, n * FRAME));
        }
        let came = 60 * FRAME;
        assert_eq!(placement.place(&Piece { restart: true, ..piece(7, came) }), Some(came));
        // Timestamps that jump ahead cannot be true.
        assert_eq!(placement.place(&piece(1 << 31, came + FRAME)), Some(came + FRAME));
        // A hold in which the peer's timestamps stood still.
        let after = came + 3000 * FRAME;
        let places: Vec<_> =
            (0..30).map(|n| placement.place(&piece((1 << 31) + ((n + 1) * FRAME) as u64, after + n * FRAME))).collect();
        assert_eq!(places[29], Some(after + 29 * FRAME));
    }

    #[test]
    fn what_was_made_up_follows_the_last_packet_and_runs_not_ahead() {
        let mut placement = Placement::default();
        let made_up = |ticks, came| Piece { made_up: true, ..piece(ticks, came) };
        assert_eq!(placement.place(&made_up(0, 0)), None, "there is no stream");
        placement.place(&piece(0, 100));
        assert_eq!(placement.place(&made_up(160, 500)), Some(260));
        assert_eq!(placement.place(&made_up(1 << 40, 700)), None);
    }
}
