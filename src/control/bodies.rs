//! The JSON of the control API: fields in the order and with the names that users' scripts know.

use super::{Bridge, Realtime, Running};
use crate::call::finding::{self, Finding};
use crate::engine::listeners::Served;
use crate::metrics::events::Flow;
use crate::metrics::health::HealthView;
use crate::metrics::histogram::milliseconds;
use crate::metrics::journal::Utc;
use crate::metrics::rolling::Window;
use crate::metrics::slo::{Breach, Slo};
use crate::metrics::{CallView, Kind, Percentiles, ProviderFailure, ProviderNames, TurnView};
use crate::sip::EndedBy;
use crate::time::Instant;
use crate::turn::timeline::{self, Stage};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What an error says; FastAPI's shape, which the earlier bridge had.
#[derive(Serialize)]
pub struct Detail<T> {
    /// What is wrong.
    pub detail: T,
}

/// One wrong parameter, as FastAPI tells it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Invalid {
    /// The kind of error, in pydantic's words.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where it is.
    pub loc: [&'static str; 2],
    /// What is wrong, for people.
    pub msg: &'static str,
    /// What was given.
    pub input: String,
}

/// `status` and `message`.
#[derive(Serialize)]
pub struct Message {
    /// One word.
    pub status: &'static str,
    /// One sentence.
    pub message: String,
}

/// The bridge has started.
#[derive(Serialize)]
pub struct Started {
    #[serde(flatten)]
    message: Message,
    sip_port: u16,
    instructions: Instructions,
}

#[derive(Serialize)]
struct Instructions {
    microsip: String,
    username: &'static str,
    call_to: &'static str,
}

impl Started {
    /// `host` is as the user wrote it; `open_mode`: without accounts any user will do.
    pub fn new(host: &str, port: u16, open_mode: bool) -> Self {
        let server = if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        Self {
            message: Message { status: "started", message: format!("SIP bridge started on {server}") },
            sip_port: port,
            instructions: Instructions {
                microsip: format!("Configure SIP Server: {server}"),
                username: if open_mode { "any (e.g., agent001)" } else { "one of sip.accounts" },
                call_to: "any extension to invoke AI agent",
            },
        }
    }
}

/// The status of a running bridge.
#[derive(Serialize)]
pub struct Status {
    status: &'static str,
    sip_port: u16,
    host: String,
    active_calls: usize,
    active_sessions: usize,
    rtp_ports_in_use: Vec<u16>,
    transports: Vec<Transport>,
    registrations: usize,
    version: &'static str,
    providers: Lines,
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<String>,
    open_mode: bool,
    /// Whether there is a folder for records of calls, which a packet capture needs.
    records: bool,
    realtime: Realtime,
    uptime_seconds: u64,
    totals: Totals,
    latency: Latencies,
    /// Null where no budget is set.
    slo: Option<Kept>,
}

/// Who serves each stage, and how everybody in its line does.
#[derive(Serialize)]
struct Lines {
    #[serde(flatten)]
    first: Providers,
    /// Nobody, where the echo agent answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    health: Vec<Health>,
}

/// How one provider does, over all calls.
#[derive(Serialize)]
struct Health {
    stage: &'static str,
    provider: &'static str,
    /// `closed`: it is asked; `open`: it is not; `half_open`: one call tries.
    state: &'static str,
    asked: u64,
    failed: u64,
    stood_in: u64,
    hedges: u64,
    hedges_won: u64,
    /// From the request to the first word or sound, of the last answers; null before the first one.
    first_ms: First,
    last_error: Option<String>,
}

#[derive(Serialize)]
struct First {
    p50: Option<f64>,
    p95: Option<f64>,
}

impl Health {
    fn new(view: &HealthView) -> Self {
        Self {
            stage: view.stage.name(),
            provider: view.provider,
            state: view.circuit.name(),
            asked: view.counts.asked,
            failed: view.counts.failed,
            stood_in: view.counts.stood_in,
            hedges: view.counts.hedges,
            hedges_won: view.counts.hedges_won,
            first_ms: First { p50: view.first_p50.map(milliseconds), p95: view.first_p95.map(milliseconds) },
            last_error: view.last_error.clone(),
        }
    }
}

/// Tells the time of day at a moment of the engine's clock.
pub type Wall<'a> = &'a dyn Fn(Instant) -> Duration;

/// A way on which SIP is served; with an `error` it is not.
#[derive(Serialize)]
struct Transport {
    transport: &'static str,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<&Served> for Transport {
    fn from(served: &Served) -> Self {
        Self {
            transport: served.transport,
            address: served.listen.to_string(),
            connections: served.open_connections(),
            error: served.problem.clone(),
        }
    }
}

#[derive(Serialize)]
struct Providers {
    stt: &'static str,
    llm: &'static str,
    tts: &'static str,
}

impl From<ProviderNames> for Providers {
    fn from(ProviderNames { stt, llm, tts }: ProviderNames) -> Self {
        Self { stt, llm, tts }
    }
}

#[derive(Serialize)]
struct Totals {
    calls: u64,
    answered: u64,
    refused: u64,
    ended_by_caller: u64,
    ended_by_agent: u64,
    ended_by_engine: u64,
    turns: u64,
    interrupted: u64,
}

/// How turns keep to their budget, since the engine's start.
#[derive(Serialize)]
struct Kept {
    turn_ms: f64,
    share: f64,
    turns: u64,
    breaches: u64,
    /// By the stage to blame.
    breaches_by_stage: Stages<u64>,
    /// Null while there are no turns.
    within: Option<f64>,
    met: bool,
}

impl Kept {
    fn new(slo: &Slo) -> Option<Self> {
        let target = slo.target?;
        Some(Self {
            turn_ms: milliseconds(target.turn),
            share: target.share,
            turns: slo.turns,
            breaches: slo.breached(),
            breaches_by_stage: Stages::each(|stage| slo.breaches[stage as usize]),
            within: slo.share(),
            met: slo.is_met(),
        })
    }
}

/// Percentiles over all calls since the engine's start.
#[derive(Serialize)]
struct Latencies {
    jitter_ms: Percentiles,
    gap_wait_ms: Percentiles,
    pacing_error_ms: Percentiles,
    turn_ms: Percentiles,
    own_path_ms: Percentiles,
    barge_in_ms: Percentiles,
    stages_ms: Stages<Percentiles>,
    last_1m: Lately,
    last_5m: Lately,
    last_60m: Lately,
}

/// Percentiles of the turns of the last minutes.
#[derive(Serialize)]
struct Lately {
    turn_ms: Percentiles,
    own_path_ms: Percentiles,
    stages_ms: Stages<Percentiles>,
}

/// One value per stage of a turn.
#[derive(Serialize)]
struct Stages<T> {
    ingress: T,
    end_of_turn: T,
    decision: T,
    llm: T,
    tools: T,
    clause: T,
    tts: T,
    egress: T,
    unexplained: T,
}

impl<T> Stages<T> {
    fn each(of: impl Fn(Stage) -> T) -> Self {
        Self {
            ingress: of(Stage::Ingress),
            end_of_turn: of(Stage::EndOfTurn),
            decision: of(Stage::Decision),
            llm: of(Stage::Llm),
            tools: of(Stage::Tools),
            clause: of(Stage::Clause),
            tts: of(Stage::Tts),
            egress: of(Stage::Egress),
            unexplained: of(Stage::Unexplained),
        }
    }
}

impl Status {
    /// Takes the bridge's own words and the board's.
    pub fn new(running: &Running, bridge: &dyn Bridge) -> Self {
        let (about, board) = (bridge.about(), bridge.board());
        let calls = board.live(bridge.now());
        let mut rtp_ports_in_use: Vec<_> = calls.iter().map(|call| call.rtp_port).collect();
        rtp_ports_in_use.sort_unstable();
        let totals = board.totals();
        let ended = |by: EndedBy| totals.ended[by as usize];
        let percentiles = |kind| board.distribution(kind).percentiles();
        let lately = |window: Window| {
            let percentiles = |kind| board.lately(kind, window).percentiles();
            Lately {
                turn_ms: percentiles(Kind::Turn),
                own_path_ms: percentiles(Kind::OwnPath),
                stages_ms: Stages::each(|stage| percentiles(Kind::Stage(stage))),
            }
        };
        Self {
            status: "running",
            sip_port: running.listen.port(),
            host: running.listen.ip().to_string(),
            transports: running.transports.iter().map(Into::into).collect(),
            active_calls: calls.len(),
            active_sessions: calls.iter().filter(|call| call.agent_up).count(),
            rtp_ports_in_use,
            registrations: running.registrations,
            version: env!("CARGO_PKG_VERSION"),
            providers: Lines {
                first: about.providers.into(),
                health: board.health(bridge.now()).iter().map(Health::new).collect(),
            },
            notice: about.notice,
            open_mode: about.open_mode,
            records: bridge.keeps_pcaps(),
            realtime: about.realtime,
            uptime_seconds: running.uptime.as_secs(),
            totals: Totals {
                calls: totals.invited,
                answered: totals.answered,
                refused: totals.refused,
                ended_by_caller: ended(EndedBy::Caller),
                ended_by_agent: ended(EndedBy::Agent),
                ended_by_engine: ended(EndedBy::Engine),
                turns: totals.turns,
                interrupted: totals.interrupted,
            },
            latency: Latencies {
                jitter_ms: percentiles(Kind::Jitter),
                gap_wait_ms: percentiles(Kind::GapWait),
                pacing_error_ms: percentiles(Kind::PacingError),
                turn_ms: percentiles(Kind::Turn),
                own_path_ms: percentiles(Kind::OwnPath),
                barge_in_ms: percentiles(Kind::BargeIn),
                stages_ms: Stages::each(|stage| percentiles(Kind::Stage(stage))),
                last_1m: lately(Window::Minute),
                last_5m: lately(Window::FiveMinutes),
                last_60m: lately(Window::Hour),
            },
            slo: Kept::new(&board.slo()),
        }
    }
}

/// The list of calls.
#[derive(Serialize)]
pub struct Calls {
    calls: Vec<Listed>,
    count: usize,
}

/// A call in the list.
#[derive(Serialize)]
pub struct Listed {
    #[serde(flatten)]
    call: Call,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
}

impl Listed {
    /// Takes a call without its turns.
    pub fn new(mut call: CallView, wall: Wall<'_>) -> Self {
        let ended = call.ended.take().map(Ended::new);
        Self { call: Call::new(call, wall), ended }
    }
}

impl Calls {
    /// Takes calls in the order in which they are to be shown.
    pub fn new(calls: Vec<CallView>, wall: Wall<'_>) -> Self {
        let calls: Vec<_> = calls.into_iter().map(|call| Listed::new(call, wall)).collect();
        Self { count: calls.len(), calls }
    }
}

/// A call in short.
#[derive(Serialize)]
struct Call {
    call_id: String,
    from: String,
    to: String,
    state: &'static str,
    duration_seconds: u64,
    rtp_port: u16,
    codec: Option<&'static str>,
    source: String,
    audio: Audio,
    /// The agent's own voice come back; null while none is known.
    echo: Option<Echo>,
    /// When its INVITE came, by the clock on the wall.
    started_at: String,
}

/// How the agent's echo comes back from the caller's telephone.
#[derive(Serialize)]
struct Echo {
    delay_ms: f64,
    return_loss_db: i16,
    speakerphone: bool,
}

/// How a call's audio is, by the no-audio doctor.
#[derive(Serialize)]
pub struct Audio {
    state: &'static str,
    /// What is wrong, in a word for programs.
    cause: Option<&'static str>,
    /// And in a sentence for people.
    finding: Option<String>,
}

impl From<finding::Audio> for Audio {
    fn from(audio: finding::Audio) -> Self {
        Self {
            state: audio.state.name(),
            cause: audio.finding.map(Finding::name),
            finding: audio.finding.map(|finding| finding.to_string()),
        }
    }
}

impl Call {
    fn new(call: CallView, wall: Wall<'_>) -> Self {
        Self {
            call_id: call.call_id,
            from: call.from,
            to: call.to,
            state: call.state.name(),
            duration_seconds: call.duration.as_secs(),
            rtp_port: call.rtp_port,
            codec: call.codec,
            source: call.source.to_string(),
            echo: call.quality.echo.map(|echo| Echo {
                delay_ms: milliseconds(echo.delay),
                return_loss_db: echo.return_loss_db,
                speakerphone: echo.speakerphone,
            }),
            audio: call.audio.into(),
            started_at: Utc(wall(call.invited_at)).to_string(),
        }
    }
}

/// All that is known of one call.
#[derive(Serialize)]
pub struct CallDetail {
    #[serde(flatten)]
    call: Call,
    remote: Option<String>,
    /// The suite that its media are encrypted by; null where they are not.
    srtp: Option<&'static str>,
    providers: Providers,
    turns: Vec<Turn>,
    failures: Vec<Failed>,
    quality: Quality,
    #[serde(flatten)]
    files: Files,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
}

/// Which files of a call are to be had.
#[derive(Clone, Copy, Serialize)]
pub struct Files {
    /// `recording.wav`.
    pub recording: bool,
    /// `transcript.json`.
    pub transcript: bool,
    /// `packets.pcap`.
    pub pcap: bool,
}

/// A provider that failed.
#[derive(Serialize)]
struct Failed {
    at: String,
    role: &'static str,
    provider: &'static str,
    kind: &'static str,
    failure: String,
}

/// A turn.
#[derive(Serialize)]
pub struct Turn {
    turn: u32,
    caller: String,
    agent: String,
    heard: Heard,
    interrupted: bool,
    /// Left out where no kept words bridged the wait for the reply.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    filler: bool,
    /// Null until the reply's first packet is sent.
    latency_ms: Option<TurnLatency>,
    speculation: Speculated,
    /// Null where the turn kept to its budget.
    slo_breach: Option<Broken>,
}

/// The stage to blame for a turn over its budget.
#[derive(Serialize)]
pub struct Broken {
    budget_ms: f64,
    total_ms: f64,
    stage: &'static str,
    took_ms: f64,
    usual_ms: f64,
}

impl From<Breach> for Broken {
    fn from(Breach { total, budget, stage, took, usual }: Breach) -> Self {
        Self {
            budget_ms: milliseconds(budget),
            total_ms: milliseconds(total),
            stage: stage.name(),
            took_ms: milliseconds(took),
            usual_ms: milliseconds(usual),
        }
    }
}

/// How many words of the reply were heard.
#[derive(Serialize)]
struct Heard {
    words_min: u32,
    words_max: u32,
}

/// What came of drafting the reply before the turn had ended.
#[derive(Serialize)]
struct Speculated {
    /// `hit`, `miss` or `none`.
    outcome: &'static str,
    saved_ms: f64,
}

#[derive(Serialize)]
struct TurnLatency {
    total: f64,
    #[serde(flatten)]
    stages: Stages<f64>,
}

/// How well a call's media flow.
#[derive(Serialize)]
pub struct Quality {
    packets_received: u64,
    lost: u64,
    late: u64,
    duplicate: u64,
    discarded: u64,
    /// Of those, what was not from the call's peer.
    foreign: u64,
    concealed_ms: f64,
    filler_ms: f64,
    packets_sent: u64,
    underruns: u64,
    jitter_ms: Percentiles,
    gap_wait_ms: Percentiles,
    pacing_error_ms: Percentiles,
    /// As the caller reports by RTCP; null until it does.
    remote_loss_percent: Option<f64>,
    remote_lost: Option<i32>,
    remote_jitter_ms: Option<f64>,
    round_trip_ms: Option<f64>,
}

#[derive(Serialize)]
struct Ended {
    by: &'static str,
    reason: String,
}

impl CallDetail {
    /// Takes the whole view, and which files there are.
    pub fn new(mut call: CallView, files: Files, wall: Wall<'_>) -> Self {
        let turns = std::mem::take(&mut call.turns).into_iter().map(Turn::new).collect();
        let failed = |failure: ProviderFailure| Failed {
            at: Utc(wall(failure.at)).to_string(),
            role: failure.stage.name(),
            provider: failure.provider,
            kind: failure.kind.name(),
            failure: failure.text,
        };
        let failures = std::mem::take(&mut call.failures).into_iter().map(failed).collect();
        let CallView { quality, jitter, gap_wait, pacing_error, .. } = call;
        let flow = Flow { quality, jitter, gap_wait, pacing_error };
        let ended = call.ended.take().map(Ended::new);
        Self {
            remote: call.remote.map(|remote| remote.to_string()),
            srtp: call.srtp,
            providers: call.providers.into(),
            turns,
            failures,
            quality: Quality::new(&flow),
            files,
            ended,
            call: Call::new(call, wall),
        }
    }
}

impl Quality {
    /// Takes counts and distributions.
    pub fn new(flow: &Flow) -> Self {
        let q = &flow.quality;
        let remote = q.remote_inbound;
        Self {
            packets_received: q.packets_received,
            lost: q.lost,
            late: q.late,
            duplicate: q.duplicate,
            discarded: q.discarded,
            foreign: q.foreign,
            concealed_ms: milliseconds(q.concealed),
            filler_ms: milliseconds(q.filler),
            packets_sent: q.packets_sent,
            underruns: q.underruns,
            jitter_ms: flow.jitter,
            gap_wait_ms: flow.gap_wait,
            pacing_error_ms: flow.pacing_error,
            remote_loss_percent: remote.map(|remote| f64::from(remote.fraction_lost) * 100.0 / 256.0),
            remote_lost: remote.map(|remote| remote.packets_lost),
            remote_jitter_ms: remote.map(|remote| milliseconds(remote.jitter)),
            round_trip_ms: q.round_trip.map(milliseconds),
        }
    }
}

impl Ended {
    fn new(ended: crate::metrics::Ended) -> Self {
        let by = match ended.by {
            EndedBy::Caller => "caller",
            EndedBy::Agent => "agent",
            EndedBy::Engine => "engine",
        };
        Self { by, reason: ended.reason }
    }
}

impl Turn {
    /// Takes what is known of it.
    pub fn new(TurnView { record, latency, speculation, breach }: TurnView) -> Self {
        Self {
            turn: record.turn.number(),
            caller: record.caller,
            agent: record.agent,
            heard: Heard { words_min: record.heard.min, words_max: record.heard.max },
            interrupted: record.interrupted,
            filler: record.filler,
            latency_ms: latency.as_ref().map(TurnLatency::new),
            speculation: Speculated { outcome: speculation.name(), saved_ms: milliseconds(speculation.saved()) },
            slo_breach: breach.map(Broken::from),
        }
    }
}

impl TurnLatency {
    fn new(stages: &timeline::Stages) -> Self {
        let (millis, total) = stages.millis();
        Self { total, stages: Stages::each(|stage| millis[stage as usize]) }
    }
}

/// Something was done about a call.
#[derive(Serialize)]
pub struct Acted<'a> {
    status: &'static str,
    call_id: &'a str,
}

impl<'a> Acted<'a> {
    /// Takes what was done, in a word, and the Call-ID as it was asked for.
    pub const fn new(status: &'static str, call_id: &'a str) -> Self {
        Self { status, call_id }
    }
}

/// What `GET /` says.
#[derive(Serialize)]
pub struct Index {
    name: &'static str,
    version: &'static str,
    routes: BTreeMap<String, &'static str>,
}

impl Index {
    /// Takes each route and what it does.
    pub fn new(routes: impl Iterator<Item = (String, &'static str)>) -> Self {
        Self { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION"), routes: routes.collect() }
    }
}
