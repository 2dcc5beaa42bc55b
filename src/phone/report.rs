//! What is said of a call's figures: a table for people, and `mrl-report/1` for programs (draft-nygate-ippm-mrl §10).

use super::FRAME;
use super::mrl::{Discard, Measurement, PLAYOUT_TARGET};
use super::onset::{CONTINUITY_WINDOW_MS, GAP_THRESHOLD_MS, HEADLINE, VARIANTS};
use super::stimulus::Stimulus;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Figures over several exchanges, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Aggregate {
    /// Their mean.
    pub mean: f64,
    /// The half of them are below.
    pub p50: f64,
    /// 95 of 100 are below; with fewer than 20 the largest.
    pub p95: f64,
    /// The largest.
    pub max: f64,
}

impl Aggregate {
    /// Sums up; all is 0 where there are none.
    #[must_use]
    pub fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (Some(max), count) = (sorted.last(), sorted.len() as f64) else { return Self::default() };
        // The nearest rank, which is always one that was measured.
        let rank = |q: f64| sorted[((count * q).ceil() as usize).clamp(1, sorted.len()) - 1];
        Self { mean: sorted.iter().sum::<f64>() / count, p50: rank(0.5), p95: rank(0.95), max: *max }
    }

    fn json(&self) -> Value {
        let Self { mean, p50, p95, max } = *self;
        json!({"mean_ms": tenth(mean), "p50_ms": tenth(p50), "p95_ms": tenth(p95), "max_ms": tenth(max)})
    }
}

/// How exact the telephone was found to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Under which conditions.
    pub conditions: String,
    /// How far the mean was off, and 95 of 100 were at most: ingress, in milliseconds.
    pub ingress: (f64, f64),
    /// The same behind the de-jitter buffer.
    pub playout: (f64, f64),
}

/// What a report is made of.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// Who was called.
    pub sut: &'a str,
    /// What it says of itself: its Server or User-Agent header, where it has one.
    pub codec: &'static str,
    /// What was said, in order.
    pub stimuli: &'a [Stimulus],
    /// What came of each exchange; the n-th is that of stimulus n modulo their number.
    pub results: &'a [Result<Measurement, Discard>],
    /// How exact the telephone is, if that was tried.
    pub calibration: Option<&'a Calibration>,
}

impl Report<'_> {
    /// Returns the figures that count.
    fn measured(&self) -> impl Iterator<Item = &Measurement> {
        self.results.iter().flatten()
    }

    /// Sums up one figure of each exchange.
    #[must_use]
    pub fn aggregate(&self, figure: impl Fn(&Measurement) -> f64) -> Aggregate {
        Aggregate::of(&self.measured().map(figure).collect::<Vec<_>>())
    }

    /// Returns the report, schema `mrl-report/1`.
    #[must_use]
    pub fn json(&self) -> Value {
        let reported = self.measured().count();
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        self.results.iter().filter_map(|result| result.as_ref().err()).for_each(|reason| {
            *reasons.entry(reason.name()).or_default() += 1;
        });
        let flagged = |flag: fn(&Measurement) -> bool| self.measured().filter(|measured| flag(measured)).count();
        let (spread, gap) = (self.aggregate(Measurement::spread_ms), self.aggregate(|measured| measured.gap_ms));
        let discontiguous = flagged(|measured| measured.flags.discontiguous);
        let ids: Vec<&str> = self.stimuli.iter().map(|stimulus| stimulus.id.as_str()).collect();
        json!({
            "schema": "mrl-report/1",
            "instrument": {
                "name": "offhook call",
                "version": env!("CARGO_PKG_VERSION"),
                "calibration": self.calibration.map(Calibration::json),
            },
            "measurement": {
                "reference_point": "rtp-endpoint",
                "codec": self.codec,
                "frame_period_ms": FRAME as f64 / 8.0,
                "sample_rate_hz": super::RATE,
                "playout_target_ms": PLAYOUT_TARGET.as_secs_f64() * 1e3,
                "onset_variants": VARIANTS.map(|variant| json!({
                    "name": variant.name,
                    "margin_db": variant.margin_db,
                    "absolute_dbov": variant.absolute_dbov,
                    "sustain_ms": variant.sustain_ms,
                })),
                "headline_variant": VARIANTS[HEADLINE].name,
                "continuity_window_ms": CONTINUITY_WINDOW_MS,
                "continuity_gap_threshold_ms": GAP_THRESHOLD_MS,
            },
            "subject": {
                "sut_identifier": self.sut,
                "stimulus_id": ids.join(" | "),
                "stimulus_sha256": hash_of(self.stimuli),
            },
            "results": {
                "n_attempted": self.results.len(),
                "n_reported": reported,
                "n_discarded": self.results.len() - reported,
                "discard_reasons": reasons,
                "ingress": self.aggregate(Measurement::ingress).json(),
                "playout": self.aggregate(Measurement::playout).json(),
                "onset_definition_uncertainty_ms": {"p50": tenth(spread.p50), "max": tenth(spread.max)},
                "continuity": {
                    "gap_p50_ms": tenth(gap.p50),
                    "gap_max_ms": tenth(gap.max),
                    "n_discontiguous": discontiguous,
                    "contiguous": self.aggregate(|measured| measured.contiguous_ms).json(),
                },
                "advisory_flags": {
                    "high_loss": flagged(|measured| measured.flags.high_loss),
                    "high_late_discard": flagged(|measured| measured.flags.high_late_discard),
                    "discontiguous_response": discontiguous,
                },
            },
            "measurements": self.measurements(),
        })
    }

    fn measurements(&self) -> Vec<Value> {
        let one = |(n, result): (usize, &Result<Measurement, Discard>)| match result {
            Err(reason) => json!({"id": n + 1, "discarded": reason.name()}),
            Ok(measured) => json!({
                "id": n + 1,
                "stimulus_id": self.stimuli.get(n % self.stimuli.len().max(1)).map(|stimulus| stimulus.id.as_str()),
                "t0_ns": measured.t0.as_nanos(),
                "t1_ns": measured.t1.as_nanos(),
                "ingress_ms": by_variant(&measured.ingress_ms),
                "playout_ms": by_variant(&measured.playout_ms),
                "continuity_gap_ms": tenth(measured.gap_ms),
                "contiguous_ms": tenth(measured.contiguous_ms),
                "unprompted_end_ns": measured.unprompted_end.as_nanos(),
                "flags": flag_names(measured),
            }),
        };
        self.results.iter().enumerate().map(one).collect()
    }
}

impl Calibration {
    /// Sums up how far the figures of a programmed delay were off, after what the channel must add.
    #[must_use]
    pub fn of(conditions: String, ingress: &[f64], playout: &[f64]) -> Self {
        let sum_up = |errors: &[f64]| {
            let absolute: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
            (Aggregate::of(errors).mean, Aggregate::of(&absolute).p95)
        };
        Self { conditions, ingress: sum_up(ingress), playout: sum_up(playout) }
    }

    fn json(&self) -> Value {
        let pair =
            |(bias, error): (f64, f64)| json!({"bias_ms": hundredth(bias), "p95_abs_error_ms": hundredth(error)});
        json!({"conditions": self.conditions, "ingress": pair(self.ingress), "playout": pair(self.playout)})
    }
}

fn by_variant(figures: &[Option<f64>; 3]) -> Value {
    VARIANTS.iter().zip(figures).map(|(variant, figure)| (variant.name.to_owned(), json!(figure.map(tenth)))).collect()
}

fn flag_names(measured: &Measurement) -> Vec<&'static str> {
    let flags = measured.flags;
    let all = [
        (flags.high_loss, "high_loss"),
        (flags.high_late_discard, "high_late_discard"),
        (flags.discontiguous, "discontiguous_response"),
    ];
    all.into_iter().filter_map(|(is_set, name)| is_set.then_some(name)).collect()
}

/// Returns the hash of all that was said: that of the one stimulus, or that of the hashes of several, one a line.
fn hash_of(stimuli: &[Stimulus]) -> String {
    use sha2::Digest as _;
    match stimuli {
        [one] => one.sha256(),
        several => {
            let hashes: Vec<String> = several.iter().map(Stimulus::sha256).collect();
            let digest = sha2::Sha256::digest(hashes.join("\n").as_bytes());
            digest.iter().map(|byte| format!("{byte:02x}")).collect()
        }
    }
}

fn tenth(ms: f64) -> f64 {
    (ms * 10.0).round() / 10.0
}

fn hundredth(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phone::mrl::Flags;
    use crate::time::Instant;

    fn measured(ingress: f64) -> Result<Measurement, Discard> {
        Ok(Measurement {
            t0: Instant::from_millis(1000),
            t1: Instant::from_millis(1500),
            ingress_ms: [Some(ingress - 1.0), Some(ingress), None],
            playout_ms: [Some(ingress + 39.0), Some(ingress + 40.0), None],
            gap_ms: 20.0,
            contiguous_ms: ingress,
            unprompted_end: Instant::ZERO,
            flags: Flags { high_loss: ingress < 0.0, ..Flags::default() },
        })
    }

    fn stimulus() -> Stimulus {
        Stimulus::new("hello", (0..8000).map(|n: i16| (n % 50) * 200).collect()).expect("speech")
    }

    #[test]
    fn a_report_has_every_member_that_the_draft_requires() {
        let results = [measured(500.0), measured(-20.04), Err(Discard::OnsetNotFound), measured(700.0)];
        let stimuli = [stimulus()];
        let report =
            Report { sut: "sip:1000@h", codec: "PCMU", stimuli: &stimuli, results: &results, calibration: None };
        let json = report.json();
        assert_eq!(json["schema"], "mrl-report/1");
        assert!(json["instrument"]["calibration"].is_null(), "null, not left out");
        for member in [
            "reference_point",
            "codec",
            "frame_period_ms",
            "sample_rate_hz",
            "playout_target_ms",
            "onset_variants",
            "headline_variant",
            "continuity_window_ms",
            "continuity_gap_threshold_ms",
        ] {
            assert!(!json["measurement"][member].is_null(), "{member}");
        }
        let of = &json["results"];
        assert_eq!((&of["n_attempted"], &of["n_reported"], &of["n_discarded"]), (&json!(4), &json!(3), &json!(1)));
        assert_eq!(of["discard_reasons"], json!({"onset_not_found": 1}));
        assert_eq!(of["ingress"], json!({"mean_ms": 393.3, "p50_ms": 500.0, "p95_ms": 700.0, "max_ms": 700.0}));
        assert_eq!(of["playout"]["p50_ms"], 540.0);
        assert_eq!(of["onset_definition_uncertainty_ms"], json!({"p50": 1.0, "max": 1.0}));
        assert_eq!(of["continuity"]["n_discontiguous"], 0);
        assert_eq!(of["advisory_flags"]["high_loss"], 1);
        assert_eq!(json["measurements"][1]["ingress_ms"]["headline"], -20.0, "negative figures are not cut");
        assert_eq!(json["measurements"][2], json!({"id": 3, "discarded": "onset_not_found"}));
        assert_eq!(json["subject"]["stimulus_sha256"], stimulus().sha256());
    }

    #[test]
    fn a_calibration_says_how_far_off_and_under_which_conditions() {
        let calibration = Calibration::of("loopback".into(), &[0.5, -0.5, 1.0, 1.0], &[0.0; 4]);
        let json = calibration.json();
        assert_eq!(json["ingress"], json!({"bias_ms": 0.5, "p95_abs_error_ms": 1.0}));
        assert_eq!(json["conditions"], "loopback");
    }

    #[test]
    fn few_figures_are_summed_up_by_what_was_measured() {
        assert_eq!(Aggregate::of(&[]), Aggregate::default());
        assert_eq!(Aggregate::of(&[7.0]), Aggregate { mean: 7.0, p50: 7.0, p95: 7.0, max: 7.0 });
        let twenty: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!((Aggregate::of(&twenty).p50, Aggregate::of(&twenty).p95), (10.0, 19.0));
    }
}
