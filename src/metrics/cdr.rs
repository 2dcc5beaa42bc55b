//! A call's record (CDR): one line of JSON for each call, with how it sounded and how long each of its turns took.

use super::emodel::{self, Conditions, G711_CONCEALED};
use super::histogram::milliseconds;
use super::{CallView, ProviderFailure, Quality, TurnView};
use crate::call::finding::Finding;
use crate::time::Instant;
use crate::turn::timeline::Stage;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The version of these fields: raised by every change that a reader has to know of.
pub const VERSION: u32 = 1;

/// What a packet's length and our jitter buffer add to what RTCP measures, one way: 20 ms until a packet is full.
const PACKETISATION: Duration = Duration::from_millis(20);

/// A call that is over, or (without `ended_at`) is under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// The record's own name, which no other has; the call's files have it, too.
    pub record: String,
    /// The Call-ID header's value.
    pub call_id: String,
    /// The From header's value.
    pub from: String,
    /// The To header's value.
    pub to: String,
    /// Where the signalling came from.
    pub source: String,
    /// RFC 3339, UTC.
    pub invited_at: String,
    /// Likewise; null: it never was.
    pub answered_at: Option<String>,
    /// Likewise; null while the call lasts.
    pub ended_at: Option<String>,
    /// From the answer to the end.
    pub duration_s: f64,
    /// Null while the call lasts.
    pub ended: Option<Ended>,
    /// Null where none was agreed upon.
    pub codec: Option<String>,
    /// The SRTP suite; null: not encrypted.
    pub srtp: Option<String>,
    /// Who served it.
    pub providers: Providers,
    /// How its media did.
    pub quality: Sound,
    /// Kept words that bridged the wait for replies, as far as they were sent.
    #[serde(default)]
    pub filler_ms: f64,
    /// What its providers failed with, the newest and oldest first.
    #[serde(default)]
    pub failures: Vec<Failure>,
    /// What was wrong with its audio, in a word; null: nothing.
    pub fault: Option<String>,
    /// The recording's file name; null: there is none.
    pub audio: Option<String>,
    /// The transcript's file name; null: there is none.
    pub transcript: Option<String>,
    /// The packet capture's file name; null: there is none.
    pub pcap: Option<String>,
    /// Frames that the recording lacks because the disk was too slow.
    pub recording_dropped_frames: u64,
    /// Oldest first.
    pub turns: Vec<Turn>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// `caller`, `agent` or `engine`.
    pub by: String,
    /// In words.
    pub reason: String,
}

/// Who served a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Providers {
    /// Who heard.
    pub stt: String,
    /// Who thought.
    pub llm: String,
    /// Who spoke.
    pub tts: String,
}

/// A provider that failed, whatever became of it then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// RFC 3339, UTC.
    pub at: String,
    /// `stt`, `llm` or `tts`.
    pub role: String,
    /// Its name.
    pub provider: String,
    /// `refused`, `rate_limited`, `dropped`, `stalled` or `garbage`.
    pub kind: String,
    /// In words.
    pub failure: String,
}

/// How a call sounded, in both directions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sound {
    /// RTP packets of the caller.
    pub packets_received: u64,
    /// RTP packets of ours.
    pub packets_sent: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came too late.
    pub late: u64,
    /// Packets that came twice.
    pub duplicate: u64,
    /// Speech that was made up.
    pub concealed_ms: f64,
    /// Slots in which the agent should have spoken and nothing was there.
    pub underruns: u64,
    /// Interarrival jitter of the caller's packets; null without any.
    pub jitter_ms_p50: Option<f64>,
    /// Likewise.
    pub jitter_ms_p99: Option<f64>,
    /// By RTCP; null where the caller sends none.
    pub round_trip_ms: Option<f64>,
    /// Packets of ours that the caller lost, by RTCP; negative where duplicates came.
    pub remote_lost: Option<i32>,
    /// Likewise, of what was sent, in percent.
    pub remote_loss_percent: Option<f64>,
    /// How the caller's voice came in here; null where nothing came.
    pub heard_by_agent: Option<Score>,
    /// How the agent's voice came in there; null where the caller sends no RTCP.
    pub heard_by_caller: Option<Score>,
}

/// What the E-model makes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The rating (ITU-T G.107).
    pub r: f64,
    /// The mean opinion score that it means, 1 to 4.5.
    pub mos: f64,
    /// The delay that it is of, one way.
    pub delay_ms: f64,
    /// And the loss.
    pub loss_percent: f64,
}

/// A turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Its number; 0: the greeting.
    pub turn: u32,
    /// Whether the caller cut the reply.
    pub interrupted: bool,
    /// `hit`, `miss` or `none`.
    pub speculation: String,
    /// By how much a draft made the reply earlier.
    pub saved_ms: f64,
    /// From the caller's last sound to the agent's first packet; null where there was no reply.
    pub total_ms: Option<f64>,
    /// The stages that it is made of, by name.
    pub stages_ms: BTreeMap<String, f64>,
}

/// What the table of calls does not know.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// See [`Record::record`].
    pub record: String,
    /// See [`Record::invited_at`].
    pub invited_at: String,
    /// See [`Record::answered_at`].
    pub answered_at: Option<String>,
    /// See [`Record::ended_at`].
    pub ended_at: Option<String>,
    /// See [`Record::audio`].
    pub audio: Option<String>,
    /// See [`Record::transcript`].
    pub transcript: Option<String>,
    /// See [`Record::pcap`].
    pub pcap: Option<String>,
    /// See [`Record::recording_dropped_frames`].
    pub dropped: u64,
}

impl Record {
    /// Makes the record of a call as it stands; `time` tells the time of day.
    #[must_use]
    pub fn new(view: &CallView, frame: Frame, time: &dyn Fn(Instant) -> String) -> Self {
        let names = view.providers;
        let failure = |failure: &ProviderFailure| Failure {
            at: time(failure.at),
            role: failure.stage.name().to_owned(),
            provider: failure.provider.to_owned(),
            kind: failure.kind.name().to_owned(),
            failure: failure.text.clone(),
        };
        Self {
            version: VERSION,
            record: frame.record,
            call_id: view.call_id.clone(),
            from: view.from.clone(),
            to: view.to.clone(),
            source: view.source.to_string(),
            invited_at: frame.invited_at,
            answered_at: frame.answered_at,
            ended_at: frame.ended_at,
            duration_s: milliseconds(view.duration) / 1000.0,
            ended: view
                .ended
                .as_ref()
                .map(|ended| Ended { by: ended.by.name().to_owned(), reason: ended.reason.clone() }),
            codec: view.codec.map(str::to_owned),
            srtp: view.srtp.map(str::to_owned),
            providers: Providers { stt: names.stt.to_owned(), llm: names.llm.to_owned(), tts: names.tts.to_owned() },
            quality: Sound::new(view),
            filler_ms: milliseconds(view.quality.filler),
            failures: view.failures.iter().map(failure).collect(),
            fault: view.audio.finding.map(Finding::name).map(str::to_owned),
            audio: frame.audio,
            transcript: frame.transcript,
            pcap: frame.pcap,
            recording_dropped_frames: frame.dropped,
            turns: view.turns.iter().map(Turn::new).collect(),
        }
    }

    /// Completes the record of a call that was under way when the engine died.
    pub fn complete(&mut self, ended_at: String) {
        self.ended_at.get_or_insert(ended_at);
        self.ended
            .get_or_insert_with(|| Ended { by: "engine".to_owned(), reason: "the engine was stopped".to_owned() });
    }

    /// Returns the record as one line, with its end.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("strings and numbers under string keys");
        line.push('\n');
        line
    }
}

impl Sound {
    fn new(view: &CallView) -> Self {
        let quality = &view.quality;
        let jitter = Some(view.jitter).filter(|jitter| jitter.count > 0);
        let sent = quality.packets_sent.max(1) as f64;
        let remote_loss = |lost: i32| (f64::from(lost.max(0)) * 100.0 / sent).min(100.0);
        Self {
            packets_received: quality.packets_received,
            packets_sent: quality.packets_sent,
            lost: quality.lost,
            late: quality.late,
            duplicate: quality.duplicate,
            concealed_ms: milliseconds(quality.concealed),
            underruns: quality.underruns,
            jitter_ms_p50: jitter.map(|jitter| jitter.p50),
            jitter_ms_p99: jitter.map(|jitter| jitter.p99),
            round_trip_ms: quality.round_trip.map(milliseconds),
            remote_lost: quality.remote_inbound.map(|remote| remote.packets_lost),
            remote_loss_percent: quality.remote_inbound.map(|remote| tenths(remote_loss(remote.packets_lost))),
            heard_by_agent: (quality.packets_received > 0).then(|| {
                let waited = Duration::from_secs_f64(view.gap_wait.p99.max(0.0) / 1000.0);
                let expected = (quality.packets_received + quality.lost) as f64;
                score((quality.lost + quality.late) as f64 * 100.0 / expected, delay(quality, waited))
            }),
            heard_by_caller: quality.remote_inbound.map(|remote| {
                // A receiver that adapts waits about twice the jitter that it reports (RFC 3611 §4.7.7 leaves it to each).
                score(remote_loss(remote.packets_lost), delay(quality, remote.jitter * 2))
            }),
        }
    }
}

/// One way, mouth to ear, as far as it is known: half of RTCP's round trip, a packet, and what a receiver waits.
fn delay(quality: &Quality, waited: Duration) -> Duration {
    quality.round_trip.unwrap_or_default() / 2 + PACKETISATION + waited
}

fn score(loss_percent: f64, delay: Duration) -> Score {
    let r = emodel::rating(&Conditions { codec: G711_CONCEALED, loss_percent, delay });
    let mos = (emodel::mean_opinion_score(r) * 100.0).round() / 100.0;
    Score { r: tenths(r), mos, delay_ms: tenths(milliseconds(delay)), loss_percent: tenths(loss_percent) }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

impl Turn {
    fn new(turn: &TurnView) -> Self {
        let shown = turn.latency.map(|stages| stages.millis());
        Self {
            turn: turn.record.turn.number(),
            interrupted: turn.record.interrupted,
            speculation: turn.speculation.name().to_owned(),
            saved_ms: milliseconds(turn.speculation.saved()),
            total_ms: shown.map(|(_, total)| total),
            stages_ms: shown
                .map(|(stages, _)| Stage::ALL.iter().map(|stage| stage.name().to_owned()).zip(stages).collect())
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::FailureKind;
    use crate::ids::CallId;
    use crate::metrics::health::ProviderStage;
    use crate::metrics::{Board, Invited, ProviderNames};
    use crate::rtp::rtcp::RemoteInbound;
    use crate::sip::EndedBy;
    use crate::time::Instant;
    use std::net::SocketAddr;

    fn ended_call(quality: Quality) -> CallView {
        let board = Board::new();
        board.invited(&Invited {
            call: CallId(1),
            call_id: "a\n\"b\"@c",
            from: "<sip:a@b>",
            to: "<sip:c@d>",
            source: SocketAddr::from(([127, 0, 0, 1], 5062)),
            rtp_port: 10_000,
            providers: ProviderNames { stt: "x", llm: "y", tts: "z" },
        });
        board.answered(CallId(1), "PCMA", Instant::from_millis(1000));
        board.quality(CallId(1), quality);
        let kind = FailureKind::RateLimited { retry_after: None };
        let failure = crate::agent::Failure { kind, text: "groq: 429".into() };
        board.provider_failed(CallId(1), ProviderStage::Llm, "groq", &failure);
        board.ended(CallId(1), EndedBy::Caller, "BYE", Instant::from_millis(3500));
        board.find("a\n\"b\"@c", Instant::from_millis(4000)).expect("it is kept")
    }

    fn made(quality: Quality) -> Record {
        let time = |at: Instant| format!("{} ms", at.since(Instant::ZERO).as_millis());
        Record::new(&ended_call(quality), Frame { record: "r".into(), ..Frame::default() }, &time)
    }

    #[test]
    fn what_its_providers_failed_with_and_what_bridged_the_waits_stand_in_it() {
        let record = made(Quality { filler: Duration::from_millis(1240), ..Quality::default() });
        assert_eq!(record.filler_ms, 1240.0);
        let [failure] = &record.failures[..] else { panic!("{:?}", record.failures) };
        let told = [&failure.at, &failure.role, &failure.provider, &failure.kind, &failure.failure];
        assert_eq!(told, ["0 ms", "llm", "groq", "rate_limited", "groq: 429"]);
        // One of before there were such fields.
        let mut line: serde_json::Value = serde_json::from_str(&record.line()).expect("JSON");
        let fields = line.as_object_mut().expect("an object");
        ["filler_ms", "failures", "pcap"].iter().for_each(|name| drop(fields.remove(*name)));
        assert_eq!(serde_json::from_value::<Record>(line).expect("a record").failures, []);
    }

    #[test]
    fn a_record_is_one_line_that_reads_back_the_same() {
        let record = made(Quality::default());
        let line = record.line();
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(line.starts_with("{\"version\":1,\"record\":\"r\","), "{line}");
        assert_eq!(serde_json::from_str::<Record>(&line).expect("JSON"), record);
        assert_eq!((record.duration_s, record.ended.expect("over").by.as_str()), (2.5, "caller"));
        assert_eq!((record.quality.heard_by_agent, record.quality.heard_by_caller), (None, None));
    }

    #[test]
    fn both_directions_are_scored_by_what_is_known_of_them() {
        let remote = RemoteInbound { fraction_lost: 0, packets_lost: 50, jitter: Duration::from_millis(10) };
        let quality = Quality {
            packets_received: 990,
            lost: 10,
            packets_sent: 1000,
            round_trip: Some(Duration::from_millis(80)),
            remote_inbound: Some(remote),
            ..Quality::default()
        };
        let sound = made(quality).quality;
        let agent = sound.heard_by_agent.expect("packets came");
        let caller = sound.heard_by_caller.expect("reports came");
        assert_eq!((agent.loss_percent, agent.delay_ms), (1.0, 60.0));
        assert_eq!((caller.loss_percent, caller.delay_ms), (5.0, 80.0));
        assert!(agent.mos > 4.2 && caller.mos < agent.mos && caller.mos > 3.3, "{agent:?} {caller:?}");
    }

    #[test]
    fn a_call_that_the_engine_left_behind_is_completed_and_one_that_was_over_stays_as_it_was() {
        let mut open = made(Quality::default());
        open.complete("2026-01-01T00:00:00Z".into());
        assert_eq!(open.ended.as_ref().expect("over").by, "caller");
        open.ended = None;
        open.complete("2027-01-01T00:00:00Z".into());
        let ended = open.ended.expect("over");
        assert_eq!((ended.by.as_str(), ended.reason.as_str()), ("engine", "the engine was stopped"));
        assert_eq!(open.ended_at.as_deref(), Some("2026-01-01T00:00:00Z"));
    }
}
