//! Fixed-bounds recorders, one per thread that measures, merged by who reads them; with [`log`] the home of hdrhistogram.

pub mod log;

use crate::ids::CallId;
use crate::turn::timeline::Stage;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// The shortest duration told apart, in µs: below it every value counts as this one.
const SHORTEST_US: u64 = 1;
/// The longest duration told apart, in µs: 60 s, twice the longest deadline that any stage has; longer values count as it.
const LONGEST_US: u64 = 60_000_000;
/// A slot of the egress clock (RFC 3551 §4.5: 20 ms a packet).
const EGRESS_SLOT: Duration = Duration::from_millis(20);
/// Significant decimal digits kept: 2 is an error of at most 1 %, in about 15 kB per recorder (3 digits take 130 kB).
const DIGITS: u8 = 2;

/// What a [`Sample`] measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Interarrival jitter of the caller's packets (RFC 3550 §6.4.1), as it stands at a packet.
    Jitter,
    /// How long a gap in the caller's packets held speech back.
    GapWait,
    /// How far from its slot of the 20 ms clock a packet was sent, early or late.
    PacingError,
    /// One stage of a turn.
    Stage(Stage),
    /// What of a turn's latency is the engine's own: everything that is not a provider's time.
    OwnPath,
    /// A whole turn: the caller's last sound to the agent's first packet.
    Turn,
    /// From the arrival of the caller's first packet with speech to the agent's silence.
    BargeIn,
    /// By how much a draft that was kept made its reply earlier.
    SpeculationSaved,
    /// To a peer and back, by RTCP (RFC 3550 §6.4.1).
    RoundTrip,
}

impl Kind {
    /// How many kinds there are.
    pub const COUNT: usize = 8 + Stage::ALL.len();

    /// Returns every kind, each in its place of [`Self::index`].
    pub fn all() -> impl Iterator<Item = Self> {
        let sums = [Self::Jitter, Self::GapWait, Self::PacingError, Self::OwnPath, Self::Turn, Self::BargeIn];
        let others = [Self::RoundTrip, Self::SpeculationSaved];
        sums.into_iter().chain(others).chain(Stage::ALL.map(Self::Stage))
    }

    /// Returns the name by which its log is asked for.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jitter => "jitter",
            Self::GapWait => "gap_wait",
            Self::PacingError => "pacing_error",
            Self::OwnPath => "own_path",
            Self::Turn => "turn",
            Self::BargeIn => "barge_in",
            Self::RoundTrip => "round_trip",
            Self::SpeculationSaved => "speculation_saved",
            Self::Stage(stage) => stage.name(),
        }
    }

    /// Returns how often it is measured by a clock, where it is: a measurement that comes late hides those that should have been
    /// made meanwhile.
    #[must_use]
    pub const fn expected_interval(self) -> Option<Duration> {
        match self {
            Self::PacingError => Some(EGRESS_SLOT),
            _ => None,
        }
    }

    /// Returns the kind's place in an array of [`Self::COUNT`] recorders.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Jitter => 0,
            Self::GapWait => 1,
            Self::PacingError => 2,
            Self::OwnPath => 3,
            Self::Turn => 4,
            Self::BargeIn => 5,
            Self::RoundTrip => 6,
            Self::SpeculationSaved => 7,
            Self::Stage(stage) => 8 + stage as usize,
        }
    }
}

/// One measurement, as it travels from the media path to the thread that keeps the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// What was measured.
    pub kind: Kind,
    /// In which call.
    pub call: CallId,
    /// How long it took.
    pub value: Duration,
}

/// The distribution of one duration: HDR, fixed bounds of 1 µs to 60 s, at most 1 % off anywhere.
#[derive(Clone)]
pub struct Distribution {
    histogram: Histogram<u64>,
    sum_us: u64,
    /// The largest value, exact: the histogram knows it to 1 % only.
    max_us: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self::new()
    }
}

impl Distribution {
    /// Makes an empty one, with all the memory that it will ever need.
    #[must_use]
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(SHORTEST_US, LONGEST_US, DIGITS)
            .expect("the constants are in hdrhistogram's range");
        Self { histogram, sum_us: 0, max_us: 0 }
    }

    /// Counts `value`.
    ///
    /// # Real-time
    /// No heap, no lock; bounded.
    pub fn record(&mut self, value: Duration) {
        let us = u64::try_from(value.as_micros()).unwrap_or(u64::MAX).min(LONGEST_US);
        self.histogram.saturating_record(us);
        self.sum_us = self.sum_us.saturating_add(us);
        self.max_us = self.max_us.max(us);
    }

    /// Counts `value`, which is measured once in each `interval`; one that is longer than that stands for those that were not made
    /// since it held them up, each later by an interval (coordinated omission). A stall of 100 ms of a 20 ms clock counts as five
    /// packets that were 100, 80, 60, 40 and 20 ms late, and not as one.
    ///
    /// # Real-time
    /// No heap, no lock; bounded by the longest duration told apart.
    pub fn record_corrected(&mut self, value: Duration, interval: Duration) {
        self.record(value);
        let mut missed = value.min(Duration::from_micros(LONGEST_US));
        while !interval.is_zero() && missed >= interval + interval {
            missed -= interval;
            self.record(missed);
        }
    }

    /// Adds all that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("both have the same bounds");
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// How many of the values are at most `bound`, to the 1 % by which it tells values apart.
    #[must_use]
    pub fn count_within(&self, bound: Duration) -> u64 {
        let us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        if us >= LONGEST_US { self.count() } else { self.histogram.count_between(0, us) }
    }

    /// The sum of all values.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// Returns the value that `quantile` (0.0 to 1.0) of all values do not exceed; zero while there are none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.histogram.value_at_quantile(quantile).min(self.max_us))
    }

    /// Returns what `/status` and `/calls` show.
    #[must_use]
    pub fn percentiles(&self) -> Percentiles {
        let ms = |quantile| milliseconds(self.quantile(quantile));
        Percentiles {
            p50: ms(0.5),
            p90: ms(0.9),
            p99: ms(0.99),
            p99_9: ms(0.999),
            max: milliseconds(Duration::from_micros(self.max_us)),
            count: self.count(),
        }
    }
}

/// A distribution in five numbers and a count, in ms; all zero while nothing was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of the values are at most this.
    pub p50: f64,
    /// 90 % are at most this.
    pub p90: f64,
    /// 99 % are at most this.
    pub p99: f64,
    /// 99.9 % are at most this.
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    /// The largest.
    pub max: f64,
    /// How many values there were.
    pub count: u64,
}

/// Returns `duration` in ms, to the µs.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "microseconds of 285 years are exact in a f64")]
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_micros() as f64) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_place_of_its_own() {
        let mut places: Vec<_> = Kind::all().map(Kind::index).collect();
        places.sort_unstable();
        assert_eq!(places, (0..Kind::COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn percentiles_are_within_one_percent() {
        let mut all = Distribution::new();
        for us in 1..=100_000 {
            all.record(Duration::from_micros(us));
        }
        let p = all.percentiles();
        for (is, exact) in [(p.p50, 50.0), (p.p90, 90.0), (p.p99, 99.0), (p.p99_9, 99.9), (p.max, 100.0)] {
            assert!((is / exact - 1.0).abs() < 0.01, "{is} for {exact}");
        }
        assert_eq!((p.count, all.count()), (100_000, 100_000));
        assert_eq!(all.sum(), Duration::from_micros(100_000 * 100_001 / 2));
    }

    #[test]
    fn nothing_counted_is_zero_everywhere() {
        assert_eq!(Distribution::new().percentiles(), Percentiles::default());
    }

    #[test]
    fn what_is_out_of_bounds_counts_as_the_bound() {
        let mut all = Distribution::new();
        all.record(Duration::ZERO);
        all.record(Duration::from_secs(3_600));
        all.record(Duration::MAX);
        let p = all.percentiles();
        assert_eq!(p.count, 3);
        assert_eq!(p.max, 60_000.0);
    }

    #[test]
    fn two_recorders_merge_into_one() {
        let (mut a, mut b) = (Distribution::new(), Distribution::new());
        a.record(Duration::from_millis(1));
        b.record(Duration::from_millis(3));
        a.merge(&b);
        assert_eq!((a.count(), a.sum()), (2, Duration::from_millis(4)));
    }

    #[test]
    fn a_merged_recorder_has_the_quantiles_of_all_values() {
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut whole, mut parts) = (Distribution::new(), [(); 5].map(|()| Distribution::new()));
        for n in 0..10_000 {
            let value = Duration::from_micros(rng.u64(1..2_000_000));
            whole.record(value);
            parts[n % 5].record(value);
        }
        let mut merged = Distribution::new();
        parts.iter().for_each(|part| merged.merge(part));
        assert_eq!((merged.percentiles(), merged.sum()), (whole.percentiles(), whole.sum()));
    }

    #[test]
    fn a_clock_that_stalls_counts_every_slot_that_it_missed() {
        // A second of slots on time, in which the clock stands still once for 200 ms: the packets that are not sent meanwhile are
        // measured by nobody.
        let (mut told, mut corrected) = (Distribution::new(), Distribution::new());
        let mut now = 0;
        while now < 1_000 {
            let late = Duration::from_millis(if now == 400 { 200 } else { 0 });
            told.record(late);
            corrected.record_corrected(late, EGRESS_SLOT);
            now += 20 + late.as_millis() as u64;
        }
        assert_eq!((told.count(), corrected.count()), (40, 49));
        assert_eq!(told.quantile(0.9), told.quantile(0.5), "one late packet in forty hides");
        let p90 = corrected.quantile(0.9).as_millis();
        assert!((118..=122).contains(&p90), "five of 49 were later than {p90} ms");
        assert_eq!(corrected.count_within(Duration::from_millis(30)), 39 + 1);
    }

    #[test]
    fn what_is_not_held_up_needs_no_correction() {
        let mut corrected = Distribution::new();
        for late in [0, 3, 19, 20, 39] {
            corrected.record_corrected(Duration::from_millis(late), EGRESS_SLOT);
        }
        assert_eq!(corrected.count(), 5);
        corrected.record_corrected(Duration::MAX, EGRESS_SLOT);
        assert_eq!(corrected.count(), 5 + 3_000);
        corrected.record_corrected(Duration::from_secs(1), Duration::ZERO);
        assert_eq!(corrected.count(), 5 + 3_001);
    }

    #[test]
    fn json_is_in_milliseconds() {
        let mut all = Distribution::new();
        all.record(Duration::from_micros(100));
        let json = serde_json::to_string(&all.percentiles()).expect("numbers");
        assert_eq!(json, r#"{"p50":0.1,"p90":0.1,"p99":0.1,"p99.9":0.1,"max":0.1,"count":1}"#);
    }
}
