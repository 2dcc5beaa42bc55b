//! The text that `GET /metrics` answers with (Prometheus text format 0.0.4): names `offhook_*`, base units, HELP and TYPE.

use crate::call::finding::Finding;
use crate::metrics::health::{CircuitState, HealthCounts, HealthView};
use crate::metrics::histogram::{Distribution, Kind};
use crate::metrics::slo::Slo;
use crate::metrics::{Board, Totals};
use crate::sip::{COUNTED_METHODS, Counters, Discard, EndedBy};
use crate::time::Instant;
use crate::turn::timeline::Stage;
use std::fmt::Write as _;
use std::time::Duration;

/// The content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Quantiles of each summary.
const QUANTILES: [(&str, f64); 4] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99), ("0.999", 0.999)];
/// Upper bounds of the buckets of each histogram, in µs: two or three in each doubling where turns and their bars are (20 ms of own
/// path, 900 ms of a turn), wide below for pacing and jitter, and up to the longest deadlines.
const BOUNDS_US: [u64; 27] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 15_000, 20_000, 30_000, 40_000, 60_000, 80_000, 120_000, 160_000,
    200_000, 300_000, 400_000, 500_000, 600_000, 750_000, 900_000, 1_200_000, 2_000_000, 5_000_000, 10_000_000,
    30_000_000,
];

/// What stands outside the [`Board`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Whether the bridge runs.
    pub running: bool,
    /// Live calls.
    pub calls_active: usize,
    /// Live calls whose agent is up.
    pub agents_active: usize,
    /// Registrations that are valid.
    pub registrations: usize,
    /// Since the engine's start.
    pub uptime: Duration,
    /// The present: a circuit is open until a moment.
    pub now: Instant,
}

/// Returns the whole text.
#[must_use]
pub fn render(gauges: &Gauges, board: &Board) -> String {
    let mut text = Text::default();
    let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    text.family("build_info", "gauge", "The version that runs", &[(&version, 1)]);
    text.gauge("bridge_running", "1 while the SIP bridge runs", u64::from(gauges.running));
    text.gauge("uptime_seconds", "Time since the engine started", gauges.uptime.as_secs());
    text.gauge("calls_active", "Calls that ring or talk", gauges.calls_active as u64);
    text.gauge("agents_active", "Calls whose agent is up", gauges.agents_active as u64);
    text.gauge("registrations", "Registrations that are valid", gauges.registrations as u64);
    text.totals(&board.totals());
    text.sip(&board.sip_counters());
    for (counter, count) in board.counters() {
        text.counter(counter.name, counter.help, count);
    }
    if let Some(hundredths) = board.eager_threshold() {
        text.head(
            "speculation_threshold",
            "gauge",
            "Confidence at which the recogniser takes a turn for probably ended",
        );
        let _ = writeln!(text.0, "offhook_speculation_threshold {}", f64::from(hundredths) / 100.0);
    }
    text.health(&board.health(gauges.now));
    text.slo(&board.slo());
    text.summaries(board);
    text.0
}

#[derive(Default)]
struct Text(String);

// Writing into a String cannot fail.
impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP offhook_{name} {help}.\n# TYPE offhook_{name} {kind}");
    }

    fn family(&mut self, name: &str, kind: &str, help: &str, samples: &[(&str, u64)]) {
        self.head(name, kind, help);
        for (labels, value) in samples {
            let _ = writeln!(self.0, "offhook_{name}{labels} {value}");
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", help, &[("", value)]);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(&format!("{name}_total"), "counter", help, &[("", value)]);
    }

    fn totals(&mut self, totals: &Totals) {
        self.counter("calls", "Calls that were taken", totals.invited);
        self.counter("calls_refused", "INVITEs that were refused", totals.refused);
        self.counter("calls_answered", "Calls that were answered", totals.answered);
        let ended = |by: EndedBy| totals.ended[by as usize];
        let by = [
            ("{by=\"caller\"}", ended(EndedBy::Caller)),
            ("{by=\"agent\"}", ended(EndedBy::Agent)),
            ("{by=\"engine\"}", ended(EndedBy::Engine)),
        ];
        self.family("calls_ended_total", "counter", "Calls that ended, and who ended them", &by);
        self.counter("turns", "Turns whose reply reached the caller", totals.turns);
        self.counter("turns_interrupted", "Replies that the caller cut", totals.interrupted);
        let q = &totals.quality;
        self.counter("rtp_packets_received", "RTP packets of callers that were taken", q.packets_received);
        self.counter("rtp_packets_sent", "RTP packets sent", q.packets_sent);
        self.counter("rtp_packets_lost", "RTP packets that never came", q.lost);
        self.counter("rtp_packets_late", "RTP packets that came after their gap was given up", q.late);
        self.counter("rtp_packets_duplicate", "RTP packets that came twice", q.duplicate);
        self.counter("rtp_packets_discarded", "Datagrams that were refused on media ports", q.discarded);
        self.counter("rtp_packets_foreign", "Datagrams on media ports that were not from the call's peer", q.foreign);
        self.counter("playout_underruns", "20 ms slots for which the voice was late", q.underruns);
        let labels = Finding::NAMES.map(|name| format!("{{finding=\"{name}\"}}"));
        let found: Vec<_> = labels.iter().map(String::as_str).zip(totals.findings).collect();
        let help = "Calls in which the no-audio doctor found something, and what";
        self.family("audio_findings_total", "counter", help, &found);
        self.head("concealed_seconds_total", "counter", "Caller speech that was made up");
        let _ = writeln!(self.0, "offhook_concealed_seconds_total {}", q.concealed.as_secs_f64());
        self.head("filler_seconds_total", "counter", "Kept words sent that bridged the wait for replies");
        let _ = writeln!(self.0, "offhook_filler_seconds_total {}", q.filler.as_secs_f64());
    }

    fn health(&mut self, views: &[HealthView]) {
        if views.is_empty() {
            return;
        }
        let label = |view: &HealthView| format!("stage=\"{}\",provider=\"{}\"", view.stage.name(), view.provider);
        self.head("provider_circuit_open", "gauge", "1 while a provider is left alone, 0.5 while one call tries it");
        for view in views {
            let open = match view.circuit {
                CircuitState::Closed => 0.0,
                CircuitState::HalfOpen => 0.5,
                CircuitState::Open(_) => 1.0,
            };
            let _ = writeln!(self.0, "offhook_provider_circuit_open{{{}}} {open}", label(view));
        }
        type Count = fn(&HealthCounts) -> u64;
        let counts: [(&str, &str, Count); 5] = [
            ("provider_requests_total", "Requests, speeches and sessions that a provider was given", |c| c.asked),
            ("provider_failures_total", "Those that failed", |c| c.failed),
            ("provider_stood_in_total", "Those that it got since one before it had failed", |c| c.stood_in),
            ("hedges_total", "Requests asked a second time while the provider was late", |c| c.hedges),
            ("hedges_won_total", "Those that the second one answered first", |c| c.hedges_won),
        ];
        for (name, help, count) in counts {
            self.head(name, "counter", help);
            for view in views {
                let _ = writeln!(self.0, "offhook_{name}{{{}}} {}", label(view), count(&view.counts));
            }
        }
        self.head(
            "provider_first_seconds",
            "gauge",
            "From the request to the first word or sound, of the last answers",
        );
        for view in views {
            for (quantile, value) in [("0.5", view.first_p50), ("0.95", view.first_p95)] {
                let Some(value) = value else { continue };
                let seconds = value.as_secs_f64();
                let labels = label(view);
                let _ =
                    writeln!(self.0, "offhook_provider_first_seconds{{{labels},quantile=\"{quantile}\"}} {seconds}");
            }
        }
    }

    fn labelled(&mut self, name: &str, help: &str, label: &str, samples: impl Iterator<Item = (&'static str, u64)>) {
        self.head(name, "counter", help);
        for (value, count) in samples {
            let _ = writeln!(self.0, "offhook_{name}{{{label}=\"{value}\"}} {count}");
        }
    }

    fn sip(&mut self, sip: &Counters) {
        self.counter(
            "sip_messages_received",
            "Datagrams and messages on the SIP port, whatever was in them",
            sip.datagrams_received,
        );
        let reasons = Discard::ALL.into_iter().map(|reason| (reason.label(), sip.discarded_for(reason)));
        self.labelled("sip_discarded_total", "Messages dropped without an answer, and why", "reason", reasons);
        let requests = COUNTED_METHODS.into_iter().zip(sip.requests);
        self.labelled("sip_requests_total", "Requests read, by method", "method", requests);
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"].into_iter().zip(sip.responses);
        self.labelled("sip_responses_total", "Responses sent, repetitions included, by class", "class", classes);
        for (name, help, count) in [
            ("sip_parse_errors", "Messages that could not be read", sip.parse_errors),
            ("sip_retransmissions_absorbed", "Requests that came again", sip.retransmissions_absorbed),
            ("sip_retransmissions_sent", "Messages sent again", sip.retransmissions_sent),
            ("sip_refused_for_load", "Requests refused with 503", sip.refused_for_load),
            (
                "sip_refused_unacknowledged",
                "INVITEs refused because too many wait for an ACK",
                sip.refused_unacknowledged,
            ),
            ("sip_challenges", "Requests that had to show who sent them", sip.challenges),
            ("sip_wrong_credentials", "Wrong user names and passwords", sip.wrong_credentials),
            ("sip_answers_withheld", "Refusals not sent to addresses that were told enough", sip.answers_withheld),
            ("sip_requests_timed_out", "Requests of ours that were never answered", sip.requests_timed_out),
            ("sip_acks_missed", "200s that were never acknowledged", sip.acks_missed),
        ] {
            self.counter(name, help, count);
        }
    }

    fn summaries(&mut self, board: &Board) {
        for (name, help, kind) in [
            ("jitter_seconds", "Interarrival jitter of callers' packets (RFC 3550)", Kind::Jitter),
            ("gap_wait_seconds", "How long gaps held callers' speech back", Kind::GapWait),
            ("pacing_error_seconds", "How far from their 20 ms slots packets were sent", Kind::PacingError),
            ("turn_latency_seconds", "Caller's last sound to the agent's first packet", Kind::Turn),
            ("own_path_seconds", "The part of the turn latency that is not a provider's", Kind::OwnPath),
            ("rtp_round_trip_seconds", "Round-trip time to callers, by RTCP (RFC 3550)", Kind::RoundTrip),
            ("barge_in_seconds", "Caller's onset to the last packet of agent speech", Kind::BargeIn),
            ("speculation_saved_seconds", "How much earlier a draft made its reply", Kind::SpeculationSaved),
        ] {
            self.distributions(name, help, &[(String::new(), board.distribution(kind))]);
        }
        let stages = Stage::ALL.map(|stage| {
            let label = format!("stage=\"{}\"", stage.name());
            (label, board.distribution(Kind::Stage(stage)))
        });
        self.distributions("stage_latency_seconds", "One stage of the turn latency", &stages);
        let providers = board.by_provider().into_iter().map(|(stage, provider, of)| {
            let label = format!("stage=\"{}\",provider=\"{provider}\"", stage.name());
            (label, of)
        });
        let providers: Vec<_> = providers.collect();
        if !providers.is_empty() {
            let help = "A provider's stage of the turn latency, in calls that began with it";
            self.distributions("provider_latency_seconds", help, &providers);
        }
    }

    /// A summary, and beside it the same recorder's counts as a classic histogram: the one tells quantiles exactly, the other can be
    /// added up over engines. One name cannot be both.
    fn distributions(&mut self, name: &str, help: &str, labelled: &[(String, Distribution)]) {
        self.head(name, "summary", help);
        for (label, distribution) in labelled {
            self.summary(name, label, distribution);
        }
        let name = name.trim_end_matches("_seconds").to_owned() + "_histogram_seconds";
        self.head(&name, "histogram", help);
        for (label, distribution) in labelled {
            self.buckets(&name, label, distribution);
        }
    }

    fn buckets(&mut self, name: &str, label: &str, distribution: &Distribution) {
        let comma = if label.is_empty() { "" } else { "," };
        for bound_us in BOUNDS_US {
            let bound = Duration::from_micros(bound_us);
            let (le, count) = (bound.as_secs_f64(), distribution.count_within(bound));
            let _ = writeln!(self.0, "offhook_{name}_bucket{{{label}{comma}le=\"{le}\"}} {count}");
        }
        let _ = writeln!(self.0, "offhook_{name}_bucket{{{label}{comma}le=\"+Inf\"}} {}", distribution.count());
        self.sum_and_count(name, label, distribution);
    }

    fn slo(&mut self, slo: &Slo) {
        let Some(target) = slo.target else { return };
        self.head("slo_turn_seconds", "gauge", "How long a turn may take");
        let _ = writeln!(self.0, "offhook_slo_turn_seconds {}", target.turn.as_secs_f64());
        self.head("slo_share", "gauge", "The share of turns that has to be within it");
        let _ = writeln!(self.0, "offhook_slo_share {}", target.share);
        self.counter("slo_turns", "Turns that were held against the budget", slo.turns);
        let blamed = Stage::ALL.map(|stage| (stage.name(), slo.breaches[stage as usize]));
        self.labelled(
            "slo_breaches_total",
            "Turns over the budget, by the stage to blame",
            "stage",
            blamed.into_iter(),
        );
    }

    fn summary(&mut self, name: &str, label: &str, distribution: &Distribution) {
        let comma = if label.is_empty() { "" } else { "," };
        for (shown, quantile) in QUANTILES {
            // An empty summary has no quantiles: NaN says so, and 0 would be a lie.
            let seconds =
                if distribution.count() == 0 { f64::NAN } else { distribution.quantile(quantile).as_secs_f64() };
            let _ = writeln!(self.0, "offhook_{name}{{{label}{comma}quantile=\"{shown}\"}} {seconds}");
        }
        self.sum_and_count(name, label, distribution);
    }

    fn sum_and_count(&mut self, name: &str, label: &str, distribution: &Distribution) {
        let braces = if label.is_empty() { String::new() } else { format!("{{{label}}}") };
        let _ = writeln!(self.0, "offhook_{name}_sum{braces} {}", distribution.sum().as_secs_f64());
        let _ = writeln!(self.0, "offhook_{name}_count{braces} {}", distribution.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CallId, TurnId};
    use crate::metrics::slo::tests::stages_of;
    use crate::metrics::{Counter, Quality, Sample};
    use std::collections::BTreeSet;

    fn sample_text() -> String {
        let slo = crate::config::Slo { turn: Duration::from_millis(500), share: 0.95 };
        let board = Board::new().with_slo(Some(slo));
        board.samples([Sample { kind: Kind::Jitter, call: CallId(1), value: Duration::from_millis(2) }]);
        let stages = stages_of([0, 1, 201, 201, 501, 506, 596, 612].map(Instant::from_millis));
        board.latency(CallId(1), TurnId(1), &stages);
        board.quality(CallId(1), Quality::default());
        board.speculation_threshold(Some(45));
        board.count(Counter { name: "examples", help: "Examples given" }, 7);
        let mut sip = Counters { challenges: 4, responses: [0, 0, 0, 9, 0, 0], ..Counters::default() };
        sip.requests[0] = 3;
        board.sip(&sip);
        render(&Gauges { running: true, calls_active: 3, ..Gauges::default() }, &board)
    }

    #[test]
    fn figures_stand_under_their_names_in_base_units() {
        let text = sample_text();
        for line in [
            concat!("offhook_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "offhook_bridge_running 1",
            "offhook_calls_active 3",
            "offhook_calls_ended_total{by=\"caller\"} 0",
            "# HELP offhook_examples_total Examples given.",
            "# TYPE offhook_examples_total counter",
            "offhook_examples_total 7",
            "offhook_speculation_threshold 0.45",
            "offhook_sip_requests_total{method=\"INVITE\"} 3",
            "offhook_sip_responses_total{class=\"4xx\"} 9",
            "offhook_sip_discarded_total{reason=\"excess\"} 0",
            "offhook_sip_challenges_total 4",
            "offhook_jitter_seconds{quantile=\"0.5\"} 0.002",
            "offhook_jitter_seconds_sum 0.002",
            "offhook_jitter_seconds_count 1",
            "offhook_gap_wait_seconds{quantile=\"0.99\"} NaN",
            "offhook_stage_latency_seconds{stage=\"llm\",quantile=\"0.99\"} 0.3",
            "offhook_stage_latency_seconds_sum{stage=\"llm\"} 0.3",
            "offhook_own_path_seconds{quantile=\"0.5\"} 0.022",
            "offhook_turns_total 1",
            "offhook_turn_latency_histogram_seconds_bucket{le=\"0.6\"} 0",
            "offhook_turn_latency_histogram_seconds_bucket{le=\"0.75\"} 1",
            "offhook_stage_latency_histogram_seconds_bucket{stage=\"tts\",le=\"+Inf\"} 1",
            "offhook_slo_turn_seconds 0.5",
            "offhook_slo_turns_total 1",
            "offhook_slo_breaches_total{stage=\"llm\"} 1",
            "offhook_slo_breaches_total{stage=\"tts\"} 0",
            "offhook_concealed_seconds_total 0",
            "offhook_rtp_packets_foreign_total 0",
            "offhook_rtp_round_trip_seconds_count 0",
            "offhook_audio_findings_total{finding=\"other_address\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }

    #[test]
    fn every_sample_follows_its_own_help_and_type_once() {
        let mut declared = BTreeSet::new();
        let mut current = (String::new(), String::new());
        for line in sample_text().lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let name = rest.split(' ').next().expect("a name").to_owned();
                assert!(declared.insert(name.clone()), "{name} twice");
                current = (name, String::new());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a kind");
                assert_eq!(name, current.0);
                kind.clone_into(&mut current.1);
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            } else {
                let name = line.split(['{', ' ']).next().expect("a name");
                let base = match current.1.as_str() {
                    "summary" => name.trim_end_matches("_sum").trim_end_matches("_count"),
                    "histogram" => name.trim_end_matches("_sum").trim_end_matches("_count").trim_end_matches("_bucket"),
                    _ => name,
                };
                assert_eq!(base, current.0);
                let value = line.rsplit(' ').next().expect("a value");
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
    }

    #[test]
    fn buckets_rise_and_end_with_the_count_of_the_summary() {
        assert!(BOUNDS_US.is_sorted_by(|a, b| a < b));
        let mut distribution = Distribution::new();
        let mut rng = fastrand::Rng::with_seed(3);
        let values: Vec<u64> = (0..5_000)
            .map(|_| {
                let most = 1 << rng.u32(4..26);
                rng.u64(1..=most)
            })
            .collect();
        values.iter().for_each(|us| distribution.record(Duration::from_micros(*us)));
        let mut text = Text::default();
        text.distributions("x_seconds", "An example", &[("stage=\"a\"".to_owned(), distribution)]);
        let text = text.0;
        let of = |line: &str| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a count");
        let buckets: Vec<u64> = text.lines().filter(|line| line.contains("_bucket{")).map(of).collect();
        assert_eq!(buckets.len(), BOUNDS_US.len() + 1);
        assert!(buckets.is_sorted(), "{buckets:?}");
        assert_eq!(buckets.last(), Some(&5_000));
        assert!(text.contains("offhook_x_histogram_seconds_count{stage=\"a\"} 5000"), "{text}");
        assert!(text.contains("offhook_x_seconds_count{stage=\"a\"} 5000"), "{text}");
        for (bound, counted) in BOUNDS_US.into_iter().zip(buckets) {
            let within = |bound: f64| values.iter().filter(|us| **us as f64 <= bound).count() as u64;
            let exact = within(bound as f64 * 0.99)..=within(bound as f64 * 1.01);
            assert!(exact.contains(&counted), "{counted} within {bound} µs, not {exact:?}");
        }
    }
}
