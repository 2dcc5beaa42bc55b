//! The table of calls that the control API shows: live ones and the last hundred, written by whoever knows, read as snapshots.

use crate::agent::TurnRecord;
use crate::ids::{CallId, TurnId};
use crate::metrics::histogram::{Distribution, Kind, Percentiles, Sample};
use crate::sip::EndedBy;
use crate::time::Instant;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Ended calls that are kept for `/calls/{call_id}` (control-api.md).
pub const ENDED_KEPT: usize = 100;
/// Turns kept per call, newest last: a turn every 3 s for the longest call of 30 minutes.
pub const TURNS_KEPT: usize = 600;
/// Characters kept of each text from the wire (Call-ID, From, To): longer than any real one, bounded against others.
pub const TEXT_KEPT: usize = 512;

/// The names of the providers that serve a call, as their `name()` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderNames {
    /// Who hears.
    pub stt: &'static str,
    /// Who thinks.
    pub llm: &'static str,
    /// Who speaks.
    pub tts: &'static str,
}

/// A call as its INVITE tells, for [`Board::invited`].
#[derive(Clone, Debug)]
pub struct Invited<'a> {
    /// The engine's number for it.
    pub call: CallId,
    /// The Call-ID header's value.
    pub call_id: &'a str,
    /// The From header's value.
    pub from: &'a str,
    /// The To header's value.
    pub to: &'a str,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// Our RTP port for it.
    pub rtp_port: u16,
    /// Who will serve it.
    pub providers: ProviderNames,
}

/// What a call is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    /// Invited, and not answered yet.
    Ringing,
    /// Answered.
    Active,
    /// Over.
    Ended,
}

impl CallState {
    /// Returns the word that the control API shows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ringing => "ringing",
            Self::Active => "active",
            Self::Ended => "ended",
        }
    }
}

/// A turn's latency and its stages; a stage is absent where the turn did not have it (the greeting has no `llm`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// The caller's last sound to the agent's first packet.
    pub total: Duration,
    /// Each stage's share, in the order of [`Stage::ALL`](crate::metrics::Stage::ALL).
    pub stages: [Option<Duration>; 7],
    /// `total` less all stages; its size, whichever sign it has.
    pub unexplained: Duration,
}

/// How well a call's media flow, as the media path counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// RTP packets of the caller that were taken.
    pub packets_received: u64,
    /// Packets that never came (RFC 3550 A.3).
    pub lost: u64,
    /// Packets that came after their gap was given up.
    pub late: u64,
    /// Packets that came twice.
    pub duplicate: u64,
    /// Datagrams that were refused before they counted: not RTP, wrong source, wrong payload type.
    pub discarded: u64,
    /// Speech that was made up, in all.
    pub concealed: Duration,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// 20 ms slots in which the agent should have spoken, and nothing was there yet.
    pub underruns: u64,
    /// Fraction lost that the caller reports of our packets, in 1/256 (RFC 3550 §6.4.1).
    pub remote_fraction_lost: Option<u8>,
    /// Round-trip time by RTCP (RFC 3550 §6.4.1), once known.
    pub round_trip: Option<Duration>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Who ended it.
    pub by: EndedBy,
    /// Why, in words.
    pub reason: String,
}

/// A turn as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TurnView {
    /// What was said, and what was heard of the reply.
    pub record: TurnRecord,
    /// How long the reply took, once its first packet is sent.
    pub latency: Option<Latency>,
}

/// A snapshot of one call.
#[derive(Clone, Debug)]
pub struct CallView {
    /// The engine's number for it.
    pub call: CallId,
    /// The Call-ID header's value.
    pub call_id: String,
    /// The From header's value.
    pub from: String,
    /// The To header's value.
    pub to: String,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// What it is doing.
    pub state: CallState,
    /// Since the answer; zero while it rings.
    pub duration: Duration,
    /// Our RTP port for it.
    pub rtp_port: u16,
    /// Where its RTP comes from, once latched.
    pub remote: Option<SocketAddr>,
    /// The codec's name, such as `PCMA`, once agreed.
    pub codec: Option<&'static str>,
    /// Who serves it.
    pub providers: ProviderNames,
    /// Whether the agent is up: its providers' threads run.
    pub agent_up: bool,
    /// Its turns, oldest first; empty in [`Board::live`].
    pub turns: Vec<TurnView>,
    /// How well its media flow.
    pub quality: Quality,
    /// Interarrival jitter.
    pub jitter: Percentiles,
    /// How long gaps held its speech back.
    pub gap_wait: Percentiles,
    /// How far from their slots its packets were sent.
    pub pacing_error: Percentiles,
    /// How it ended, once it has.
    pub ended: Option<Ended>,
}

/// Counts since the engine started, over all calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls that were taken in.
    pub invited: u64,
    /// INVITEs that were refused: over the limit, no common codec.
    pub refused: u64,
    /// Calls that were answered.
    pub answered: u64,
    /// Calls that ended, by caller, agent, engine.
    pub ended: [u64; 3],
    /// Turns whose reply reached the caller.
    pub turns: u64,
    /// Replies that the caller cut.
    pub interrupted: u64,
    /// Seconds of speech that were made up.
    pub concealed: Duration,
    /// Media quality, summed over ended calls and the live ones as they stand.
    pub quality: Quality,
}

/// What a name in a table of counters counts.
pub type Counter = &'static str;

/// The table; shared by `Arc`. Every method locks for a few µs: never call one on the media path.
pub struct Board {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: BTreeMap<CallId, Row>,
    ended: VecDeque<Row>,
    totals: Totals,
    counters: BTreeMap<Counter, u64>,
    distributions: Vec<Distribution>,
}

struct Row {
    view: CallView,
    invited_at: Instant,
    answered_at: Option<Instant>,
    ended_at: Option<Instant>,
    jitter: Distribution,
    gap_wait: Distribution,
    pacing_error: Distribution,
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

impl Board {
    /// Makes an empty one.
    #[must_use]
    pub fn new() -> Self {
        let distributions = (0..Kind::COUNT).map(|_| Distribution::new()).collect();
        Self { state: Mutex::new(State { distributions, ..State::default() }) }
    }

    /// A call came in and will be rung; it is `Ringing` from here on.
    pub fn invited(&self, invited: &Invited<'_>, at: Instant) {
        let row = Row::new(invited, at);
        let mut state = self.state.lock();
        state.totals.invited += 1;
        state.live.insert(invited.call, row);
    }

    /// An INVITE was refused before it became a call in this table.
    pub fn refused(&self) {
        self.state.lock().totals.refused += 1;
    }

    /// The call was answered with this codec.
    pub fn answered(&self, call: CallId, codec: &'static str, at: Instant) {
        let mut state = self.state.lock();
        let Some(row) = state.live.get_mut(&call) else { return };
        row.view.codec = Some(codec);
        // A re-INVITE may change the codec; the call was answered once.
        if row.answered_at.is_none() {
            row.answered_at = Some(at);
            row.view.state = CallState::Active;
            state.totals.answered += 1;
        }
    }

    /// The call's agent is up (its providers' threads run), or down again.
    pub fn agent_up(&self, call: CallId, up: bool) {
        self.change(call, |row| row.view.agent_up = up);
    }

    /// The call is served by these providers from here on.
    pub fn providers(&self, call: CallId, providers: ProviderNames) {
        self.change(call, |row| row.view.providers = providers);
    }

    /// The caller's media come from here.
    pub fn latched(&self, call: CallId, remote: SocketAddr) {
        self.change(call, |row| row.view.remote = Some(remote));
    }

    /// What is known of a turn: what the caller said, what was heard of the reply. Told again whenever it changes.
    pub fn turn(&self, call: CallId, record: &TurnRecord) {
        let mut state = self.state.lock();
        let State { live, ended, totals, .. } = &mut *state;
        // A last word about a turn may come just after the BYE.
        let row = live.get_mut(&call).or_else(|| ended.iter_mut().find(|row| row.view.call == call));
        let Some(row) = row else { return };
        let Some(turn) = row.turn(record.turn) else { return };
        if record.interrupted && !turn.record.interrupted {
            totals.interrupted += 1;
        }
        turn.record.clone_from(record);
    }

    /// The reply of `turn` reached the caller after `latency`; its stages are counted too.
    pub fn latency(&self, call: CallId, turn: TurnId, latency: Latency) {
        let _ = (call, turn, latency);
    }

    /// Counts measurements; they may belong to calls that have ended meanwhile.
    pub fn samples(&self, samples: impl IntoIterator<Item = Sample>) {
        let _ = samples.into_iter().count();
    }

    /// The call's media counters, as they stand.
    pub fn quality(&self, call: CallId, quality: Quality) {
        self.change(call, |row| row.view.quality = quality);
    }

    /// The call is over; it moves to the last hundred.
    pub fn ended(&self, call: CallId, by: EndedBy, reason: &str, at: Instant) {
        let _ = (call, by, reason, at);
    }

    /// Adds to a counter that `/metrics` shows as `offhook_{name}_total`, such as `sip_requests`.
    pub fn count(&self, counter: Counter, more: u64) {
        *self.state.lock().counters.entry(counter).or_default() += more;
    }

    /// Returns the live calls, oldest first, without their turns.
    #[must_use]
    pub fn live(&self, now: Instant) -> Vec<CallView> {
        let _ = now;
        Vec::new()
    }

    /// Returns the call with this Call-ID: the live one, or else the last one that ended.
    #[must_use]
    pub fn find(&self, call_id: &str, now: Instant) -> Option<CallView> {
        let _ = (call_id, now);
        None
    }

    /// Returns the live call with this Call-ID.
    #[must_use]
    pub fn find_live(&self, call_id: &str) -> Option<CallId> {
        let _ = call_id;
        None
    }

    /// Returns the counts since the engine's start.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.state.lock().totals
    }

    /// Returns the distribution of `kind` over all calls since the engine's start.
    #[must_use]
    pub fn distribution(&self, kind: Kind) -> Distribution {
        self.state.lock().distributions[kind.index()].clone()
    }

    fn change(&self, call: CallId, change: impl FnOnce(&mut Row)) {
        if let Some(row) = self.state.lock().live.get_mut(&call) {
            change(row);
        }
    }
}

impl Row {
    fn new(invited: &Invited<'_>, at: Instant) -> Self {
        let view = CallView {
            call: invited.call,
            call_id: kept(invited.call_id),
            from: kept(invited.from),
            to: kept(invited.to),
            source: invited.source,
            state: CallState::Ringing,
            duration: Duration::ZERO,
            rtp_port: invited.rtp_port,
            remote: None,
            codec: None,
            providers: invited.providers,
            agent_up: false,
            turns: Vec::new(),
            quality: Quality::default(),
            jitter: Percentiles::default(),
            gap_wait: Percentiles::default(),
            pacing_error: Percentiles::default(),
            ended: None,
        };
        Self {
            view,
            invited_at: at,
            answered_at: None,
            ended_at: None,
            jitter: Distribution::new(),
            gap_wait: Distribution::new(),
            pacing_error: Distribution::new(),
        }
    }

    /// Returns the row of `turn`, made if need be; `None` where there are too many turns.
    fn turn(&mut self, turn: TurnId) -> Option<&mut TurnView> {
        let turns = &mut self.view.turns;
        match turns.binary_search_by_key(&turn, |row| row.record.turn) {
            Ok(at) => turns.get_mut(at),
            Err(_) if turns.len() >= TURNS_KEPT => None,
            Err(at) => {
                let record = TurnRecord { turn, ..TurnRecord::default() };
                turns.insert(at, TurnView { record, latency: None });
                turns.get_mut(at)
            }
        }
    }
}

/// Returns `text`, cut to [`TEXT_KEPT`] characters.
fn kept(text: &str) -> String {
    text.chars().take(TEXT_KEPT).collect()
}
