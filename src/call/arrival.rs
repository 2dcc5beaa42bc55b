//! How much of the agent's speech can have arrived: what left in which packet, held against what the far end reports.
//!
//! A receiver report names the highest sequence number that has come (RFC 3550 §6.4.1). Speech in packets above it that had left
//! long before the report was made was not heard, and never will be: a receiver that has waited so long has played on. Where later
//! packets did come nothing is concluded: which of those below were lost is not told, and a hole is no end.

use crate::ids::TurnId;
use crate::rtp::SequenceNumber;
use crate::rtp::sequence::SequenceExtender;
use crate::time::Instant;
use std::time::Duration;

/// Packets that are remembered: 10 s of 20 ms each, two intervals between reports (RFC 3550 §6.2).
const PACKETS_REMEMBERED: usize = 512;
/// Turns whose last packet is remembered; a report lags by seconds, and a turn takes about as long.
const TURNS_REMEMBERED: usize = 4;
/// How much longer than there and back a packet may be under way and still be played: more than a jitter buffer holds
/// (PJSIP's at most 360 ms by default, NetEQ's at most 500 in practice).
const LATE_MAX: Duration = Duration::from_millis(500);

/// How far the agent's speech had come with a packet.
#[derive(Clone, Copy, Debug, Default)]
struct Left {
    turn: TurnId,
    samples: u32,
}

/// A turn of which something has left.
#[derive(Clone, Copy, Debug)]
struct Spoken {
    turn: TurnId,
    /// The extended number of its last packet, and when that left.
    last: u64,
    at: Instant,
    /// Samples of it that left.
    samples: u32,
    /// Samples of it that can have arrived, as far as that is told.
    told: u32,
    over: bool,
}

/// What is known of a turn that is over: no more than `samples` of it, at 8 kHz, can have been heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The turn.
    pub turn: TurnId,
    /// Samples at 8 kHz.
    pub samples: u32,
}

/// What left, and what of it can have arrived. About 4 kB, without heap.
#[derive(Clone, Debug)]
pub struct Arrivals {
    /// By the low bits of the extended sequence number.
    left: [Left; PACKETS_REMEMBERED],
    latest: Left,
    numbers: Option<SequenceExtender>,
    first: u64,
    turns: [Option<Spoken>; TURNS_REMEMBERED],
    turns_next: usize,
    /// The highest number that the far end has reported.
    highest: Option<u64>,
    /// Whether that was ever seen to rise: some peers report a constant.
    rises: bool,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self::new()
    }
}

impl Arrivals {
    /// Begins before the first packet.
    #[must_use]
    pub const fn new() -> Self {
        let nothing = Left { turn: TurnId::GREETING, samples: 0 };
        Self {
            left: [nothing; PACKETS_REMEMBERED],
            latest: nothing,
            numbers: None,
            first: 0,
            turns: [None; TURNS_REMEMBERED],
            turns_next: 0,
            highest: None,
            rises: false,
        }
    }

    /// Notes that packet `sequence` left at `at`. `speech`: it brought a turn's speech to so many samples in all.
    ///
    /// # Real-time
    /// Constant time.
    pub fn sent(&mut self, sequence: SequenceNumber, speech: Option<(TurnId, u32)>, at: Instant) {
        let number = match &mut self.numbers {
            Some(numbers) => {
                let number = numbers.extend(sequence);
                numbers.advance(number);
                number
            }
            none => {
                let numbers = none.insert(SequenceExtender::new(sequence));
                self.first = numbers.highest();
                self.first
            }
        };
        if let Some((turn, samples)) = speech {
            self.latest = Left { turn, samples };
            let spoken = Spoken { turn, last: number, at, samples, told: samples, over: false };
            match self.turns.iter_mut().flatten().find(|known| known.turn == turn) {
                Some(known) => *known = spoken,
                None => {
                    self.turns[self.turns_next] = Some(spoken);
                    self.turns_next = (self.turns_next + 1) % TURNS_REMEMBERED;
                }
            }
        }
        self.left[index(number)] = self.latest;
    }

    /// `turn` is over after `samples` of it were taken for packets. Returns how many have left where those are fewer: a packet that
    /// had nowhere to go, or that the system refused, was heard by nobody.
    ///
    /// # Real-time
    /// Constant time.
    pub fn over(&mut self, turn: TurnId, samples: u32) -> Option<Arrived> {
        let Some(spoken) = self.turns.iter_mut().flatten().find(|known| known.turn == turn) else {
            return (samples > 0).then_some(Arrived { turn, samples: 0 });
        };
        spoken.over = true;
        (spoken.samples < samples).then_some(Arrived { turn, samples: spoken.samples })
    }

    /// Takes the far end's report, which came at `now`: the highest sequence number in its block about our stream, and the time
    /// there and back, where one was ever measured. A report without a block says that nothing came since the one before.
    ///
    /// # Real-time
    /// Constant time.
    pub fn handle_report(&mut self, highest: Option<u32>, round_trip: Option<Duration>, now: Instant) {
        let Some(numbers) = self.numbers else { return };
        if let Some(highest) = highest {
            // Its cycles are the peer's own count; the nearest number is ours.
            let highest = numbers.extend(SequenceNumber(highest as u16));
            let before = self.highest.unwrap_or(self.first);
            // What was never sent is nonsense, and a lower one is an older report that was overtaken.
            if !(before..=numbers.highest()).contains(&highest) {
                return;
            }
            self.rises |= self.highest.is_some_and(|before| highest > before);
            self.highest = Some(highest);
        }
        let (Some(highest), Some(round_trip), true) = (self.highest, round_trip, self.rises) else { return };
        // The report was made after its sender report had left us, and each packet took no longer than there and back.
        let certain = round_trip * 2 + LATE_MAX;
        let at = self.left_with(highest, numbers.highest());
        for spoken in self.turns.iter_mut().flatten().filter(|spoken| spoken.over) {
            if spoken.last > highest && now.since(spoken.at) >= certain {
                let samples = if at.turn < spoken.turn { 0 } else { at.samples };
                if at.turn <= spoken.turn && samples < spoken.samples {
                    spoken.samples = samples;
                }
            }
        }
    }

    /// Returns the next turn of which less can have arrived than was told.
    ///
    /// # Real-time
    /// Constant time.
    pub fn poll_output(&mut self) -> Option<Arrived> {
        let spoken = self.turns.iter_mut().flatten().find(|spoken| spoken.samples < spoken.told)?;
        spoken.told = spoken.samples;
        Some(Arrived { turn: spoken.turn, samples: spoken.samples })
    }

    /// How far the speech had come with packet `number`, or with the oldest one that is remembered, which is further.
    fn left_with(&self, number: u64, newest: u64) -> Left {
        let oldest = (newest + 1).saturating_sub(PACKETS_REMEMBERED as u64).max(self.first);
        self.left[index(number.max(oldest))]
    }
}

const fn index(number: u64) -> usize {
    (number % PACKETS_REMEMBERED as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIP: Duration = Duration::from_millis(40);

    /// A stream of 20 ms packets, and a far end that reports on it.
    struct Line {
        arrivals: Arrivals,
        now: Instant,
        /// The next sequence number, extended as ours.
        next: u32,
        heard: u32,
    }

    impl Line {
        fn new(first: u16) -> Self {
            let (now, next) = (Instant::from_millis(5000), u32::from(first));
            Self { arrivals: Arrivals::new(), now, next, heard: 0 }
        }

        /// A line on which the far end has reported twice that everything came.
        fn reported(first: u16) -> Self {
            let mut line = Self::new(first);
            for _ in 0..2 {
                line.silence(50);
                line.report(line.next - 1);
            }
            line
        }

        fn send(&mut self, speech: Option<(TurnId, u32)>) {
            self.arrivals.sent(SequenceNumber(self.next as u16), speech, self.now);
            self.next += 1;
            self.now += Duration::from_millis(20);
        }

        fn silence(&mut self, packets: u32) {
            (0..packets).for_each(|_| self.send(None));
        }

        /// Sends `packets` of `turn`; returns the number of the first.
        fn speak(&mut self, turn: u32, packets: u32) -> u32 {
            let first = self.next;
            self.heard = 0;
            for _ in 0..packets {
                self.heard += 160;
                self.send(Some((TurnId(turn), self.heard)));
            }
            first
        }

        fn over(&mut self, turn: u32) {
            assert_eq!(self.arrivals.over(TurnId(turn), self.heard), None, "all of it left");
        }

        fn report(&mut self, highest: u32) -> Vec<(u32, u32)> {
            self.report_with(Some(highest), Some(TRIP))
        }

        fn report_with(&mut self, highest: Option<u32>, round_trip: Option<Duration>) -> Vec<(u32, u32)> {
            self.arrivals.handle_report(highest, round_trip, self.now);
            std::iter::from_fn(|| self.arrivals.poll_output()).map(|out| (out.turn.0, out.samples)).collect()
        }
    }

    #[test]
    fn speech_above_the_highest_number_reported_long_after_was_not_heard() {
        // Over the wrap, too.
        for first in [7, 65_400] {
            let mut line = Line::reported(first);
            let speech = line.speak(1, 50);
            line.over(1);
            line.silence(50);
            assert_eq!(line.report(speech + 29), [(1, 30 * 160)]);
            assert_eq!(line.report(speech + 29), [], "it is told once");
        }
    }

    #[test]
    fn a_turn_of_which_nothing_arrived_was_not_heard_at_all() {
        let mut line = Line::reported(7);
        let highest = line.next - 1;
        line.speak(1, 20);
        line.over(1);
        line.silence(10);
        line.speak(2, 20);
        line.over(2);
        line.silence(50);
        assert_eq!(line.report(highest), [(1, 0), (2, 0)]);
    }

    #[test]
    fn a_report_without_a_block_says_that_nothing_came() {
        let mut line = Line::reported(7);
        line.speak(1, 20);
        line.over(1);
        line.silence(50);
        assert_eq!(line.report_with(None, Some(TRIP)), [(1, 0)]);
    }

    #[test]
    fn what_may_still_be_under_way_is_not_given_up() {
        let mut line = Line::reported(7);
        let speech = line.speak(1, 50);
        line.over(1);
        line.silence(27);
        assert_eq!(line.report(speech + 29), [], "560 ms after the last packet");
        line.silence(1);
        assert_eq!(line.report(speech + 29), [(1, 30 * 160)]);
    }

    #[test]
    fn whoever_received_what_came_later_may_have_received_all() {
        let mut line = Line::reported(7);
        line.speak(1, 50);
        line.over(1);
        line.silence(100);
        assert_eq!(line.report(line.next - 60), []);
    }

    #[test]
    fn a_turn_that_goes_on_is_not_judged() {
        let mut line = Line::reported(7);
        let speech = line.speak(1, 50);
        line.silence(50);
        assert_eq!(line.report(speech + 9), [], "paused");
    }

    #[test]
    fn nothing_is_concluded_from_reports_that_make_no_sense() {
        // A constant; a number that was never sent; one from before the call; no time there and back.
        for (first, later) in [(50, 50), (50, 5000), (30_000, 30_000)] {
            let mut line = Line::new(7);
            line.silence(50);
            line.report(first);
            line.speak(1, 50);
            line.over(1);
            line.silence(100);
            assert_eq!(line.report(later), [], "{first}, {later}");
        }
        let mut line = Line::new(20_000);
        line.silence(50);
        for report in [0, 1, 2] {
            line.report(report);
        }
        line.speak(1, 50);
        line.over(1);
        line.silence(100);
        assert_eq!(line.report(3), []);
        assert_eq!(line.report_with(Some(20_010), None), []);
    }

    #[test]
    fn an_overtaken_report_changes_nothing() {
        let mut line = Line::reported(7);
        let speech = line.speak(1, 50);
        line.over(1);
        line.silence(100);
        assert_eq!(line.report(line.next - 1), []);
        assert_eq!(line.report(speech + 10), []);
    }

    #[test]
    fn what_is_no_longer_remembered_counts_as_arrived() {
        let mut line = Line::reported(7);
        let highest = line.next - 1;
        line.speak(1, 700);
        line.over(1);
        line.silence(50);
        let forgotten = 700 + 50 - PACKETS_REMEMBERED as u32;
        assert_eq!(line.report(highest), [(1, (forgotten + 1) * 160)]);
    }

    #[test]
    fn packets_that_did_not_leave_are_not_heard() {
        let mut arrivals = Arrivals::new();
        let at = Instant::from_millis(5000);
        arrivals.sent(SequenceNumber(7), Some((TurnId(1), 160)), at);
        assert_eq!(arrivals.over(TurnId(1), 480), Some(Arrived { turn: TurnId(1), samples: 160 }));
        assert_eq!(arrivals.over(TurnId(2), 480), Some(Arrived { turn: TurnId(2), samples: 0 }));
        assert_eq!(arrivals.over(TurnId(3), 0), None);
    }

    /// For any loss, delay and timing of reports: what is said not to have been heard was never received, in time or later.
    #[test]
    fn nothing_that_arrived_is_ever_denied() {
        let mut denied = 0;
        for seed in 0..3000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut line = Line::new(rng.u16(..));
            let flight_max = rng.u64(1..400);
            let (mut turn, mut left_of_turn, mut lost) = (0, 0u32, 0u32);
            // What the far end has: (arrives at, number, turn, samples); what came of each turn; its highest number.
            let mut flying: Vec<(Instant, u32, u32, u32)> = Vec::new();
            let mut came = std::collections::BTreeMap::new();
            let mut most = std::collections::BTreeMap::new();
            let mut highest = None;
            for _ in 0..1500 {
                if left_of_turn == 0 && rng.u32(0..40) == 0 {
                    (turn, left_of_turn, line.heard) = (turn + 1, rng.u32(1..150), 0);
                }
                if lost == 0 && rng.u32(0..150) == 0 {
                    lost = rng.u32(1..300);
                }
                let speaks = left_of_turn > 0 && rng.u32(0..10) > 0;
                let number = line.next;
                if speaks {
                    line.heard += 160;
                    left_of_turn -= 1;
                    line.send(Some((TurnId(turn), line.heard)));
                    if left_of_turn == 0 {
                        line.over(turn);
                    }
                } else {
                    line.send(None);
                }
                if lost == 0 {
                    let at = line.now + Duration::from_millis(rng.u64(0..flight_max));
                    flying.push((at, number, turn, if speaks { line.heard } else { 0 }));
                }
                lost = lost.saturating_sub(1);
                flying.retain(|&(at, number, turn, samples)| {
                    if at <= line.now {
                        highest = highest.max(Some(number));
                        let best = came.entry(turn).or_insert(0);
                        *best = samples.max(*best);
                        let most = most.get(&turn).copied().unwrap_or(u32::MAX);
                        assert!(samples <= most, "seed {seed}: {samples} came, after {most} was told");
                    }
                    at > line.now
                });
                if rng.u32(0..100) == 0 {
                    let block = highest.map(|number| number.wrapping_add(rng.u32(0..2) << 16));
                    line.arrivals.handle_report(block, Some(Duration::from_millis(flight_max)), line.now);
                    while let Some(arrived) = line.arrivals.poll_output() {
                        denied += 1;
                        most.insert(arrived.turn.0, arrived.samples);
                        let received = came.get(&arrived.turn.0).copied().unwrap_or(0);
                        assert!(received <= arrived.samples, "seed {seed}: {received} came, {arrived:?}");
                    }
                }
            }
        }
        assert!(denied > 500, "{denied}");
    }
}
