//! The table of calls that the control API shows: live ones and the last hundred, written by whoever knows, read as snapshots.

use crate::agent::{Failure, TurnRecord};
use crate::call::finding::Audio;
use crate::call::meter::Meter;
use crate::ids::{CallId, TurnId};
use crate::metrics::events::{Events, Flow, What};
use crate::metrics::health::{CircuitState, Health, HealthView, ProviderStage};
use crate::metrics::histogram::{Distribution, Kind, Percentiles, Sample};
use crate::metrics::rolling::{Rolling, Window};
use crate::metrics::slo::{Breach, Slo};
use crate::metrics::view::{
    CallState, CallView, Counter, Ended, Invited, ProviderFailure, ProviderNames, Quality, Speculation, Totals,
    TurnView,
};
use crate::sip::{Counters, EndedBy};
use crate::time::{Clock, Instant};
use crate::turn::timeline::{Stage, Stages};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Ended calls that are kept for `/calls/{call_id}`: the control API's promise.
pub const ENDED_KEPT: usize = 100;
/// Turns kept per call, the newest: one every 3 s of the longest call by default, 30 minutes.
pub const TURNS_KEPT: usize = 600;
/// Failures of providers kept per call, the newest: each is the end of a request or of a connection.
pub const FAILURES_KEPT: usize = 64;
/// Characters kept of each header's text: longer than any real one, bounded against others.
pub const HEADER_KEPT: usize = 512;
/// Characters kept of what one side says in a turn: about four minutes of speech without a pause.
pub const SPEECH_KEPT: usize = 4_096;

/// The table; shared by `Arc`. Every method locks for a few µs: never call one on the media path.
pub struct Board {
    state: Mutex<State>,
    /// What is told of it all, as it happens.
    events: Arc<Events>,
    /// Dates the events; without one they are all at the engine's start.
    clock: Option<Arc<dyn Clock>>,
}

#[derive(Default)]
struct State {
    live: BTreeMap<CallId, Row>,
    /// Oldest first.
    ended: VecDeque<CallView>,
    totals: Totals,
    counters: BTreeMap<Counter, u64>,
    /// The eager threshold of the recogniser, in hundredths.
    threshold: Option<u32>,
    sip: Counters,
    /// Of each provider in each line.
    health: Vec<Arc<Health>>,
    /// By [`Kind::index`].
    distributions: Vec<Distribution>,
    /// The same of each turn, over the last minutes.
    rolling: BTreeMap<Kind, Rolling>,
    /// What each provider took in its stage of each turn.
    by_provider: BTreeMap<(Stage, &'static str), Distribution>,
    slo: Slo,
}

/// A live call.
struct Row {
    view: CallView,
    answered_at: Option<Instant>,
    /// What of `view.quality` is in the totals.
    counted: Quality,
    jitter: Distribution,
    gap_wait: Distribution,
    pacing_error: Distribution,
    /// The Call-ID, as events carry it.
    call_id: Arc<str>,
    /// What its media path tells of how loud it is.
    meter: Option<Arc<Meter>>,
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

/// What the engine tells.
impl Board {
    /// Makes an empty one.
    #[must_use]
    pub fn new() -> Self {
        let distributions = (0..Kind::COUNT).map(|_| Distribution::new()).collect();
        Self { state: Mutex::new(State { distributions, ..State::default() }), events: Arc::default(), clock: None }
    }

    /// Makes an empty one whose events are dated by `clock`.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), ..Self::new() }
    }

    /// Holds turns against this budget from here on.
    #[must_use]
    pub fn with_slo(self, target: Option<crate::config::Slo>) -> Self {
        self.state.lock().slo.target = target;
        self
    }

    /// Returns what is told as it happens.
    #[must_use]
    pub const fn events(&self) -> &Arc<Events> {
        &self.events
    }

    fn now(&self) -> Instant {
        self.clock.as_ref().map_or(Instant::ZERO, |clock| clock.now())
    }

    /// A call came in and is taken; it is `Ringing` from here on.
    pub fn invited(&self, invited: &Invited<'_>) {
        let now = self.now();
        let row = Row::new(invited, now);
        let (call_id, view) = (row.call_id.clone(), row.summary(now));
        let mut state = self.state.lock();
        state.totals.invited += 1;
        state.live.insert(invited.call, row);
        // Told under the table's lock, so that events come in the order in which the table changes.
        self.events.tell(now, Some(call_id), What::Ringing(Box::new(view)));
    }

    /// The call's media path tells its loudness by `meter`.
    pub fn metered(&self, call: CallId, meter: Arc<Meter>) {
        self.change(call, |row| row.meter = Some(meter));
    }

    /// The caller's voice began or stopped, by the local detector.
    pub fn speaking(&self, call: CallId, speaking: bool) {
        self.tell(call, What::Speaking(speaking));
    }

    /// What the caller has said so far in the turn under way.
    pub fn partial(&self, call: CallId, transcript: &str) {
        self.tell(call, What::Partial(kept(transcript, SPEECH_KEPT)));
    }

    /// A provider failed in this call; `failure` holds no secret.
    pub fn provider_failed(&self, call: CallId, stage: ProviderStage, provider: &'static str, failure: &Failure) {
        let now = self.now();
        let text = kept(&failure.text, HEADER_KEPT);
        let failure = ProviderFailure { at: now, stage, provider, kind: failure.kind, text };
        let mut state = self.state.lock();
        let row = state.live.get_mut(&call);
        let call_id = row.map(|row| {
            let failures = &mut row.view.failures;
            if failures.len() >= FAILURES_KEPT {
                failures.remove(0);
            }
            failures.push(failure.clone());
            row.call_id.clone()
        });
        self.events.tell(now, call_id, What::ProviderFailed(Box::new(failure)));
    }

    /// A provider's circuit is in this state from here on.
    pub fn circuit_changed(&self, stage: ProviderStage, provider: &'static str, circuit: CircuitState) {
        self.events.tell(self.now(), None, What::ProviderCircuit { stage, provider, circuit });
    }

    /// The bridge serves SIP here, or is stopped.
    pub fn bridge(&self, listen: Option<SocketAddr>) {
        self.events.tell(self.now(), None, listen.map_or(What::BridgeStopped, What::BridgeStarted));
    }

    /// Shows how loud the calls are while somebody watches; said again and again by whoever empties the media path's rings.
    pub fn show_levels(&self) {
        let watched = self.events.watched();
        let state = self.state.lock();
        let metered = state.live.values().filter_map(|row| Some((row, row.meter.as_ref()?)));
        if watched {
            let levels = metered.map(|(row, meter)| (row.view.call, row.call_id.clone(), What::Levels(meter.take())));
            self.events.show(self.now(), levels);
        } else {
            metered.for_each(|(_, meter)| meter.rest());
        }
    }

    /// An INVITE was refused before it became a call in this table.
    pub fn refused(&self) {
        self.state.lock().totals.refused += 1;
    }

    /// The call was answered with this codec; told again where a re-INVITE changes it.
    pub fn answered(&self, call: CallId, codec: &'static str, at: Instant) {
        let mut state = self.state.lock();
        let State { live, totals, .. } = &mut *state;
        let Some(row) = live.get_mut(&call) else { return };
        row.view.codec = Some(codec);
        if row.answered_at.is_none() {
            row.answered_at = Some(at);
            row.view.state = CallState::Active;
            totals.answered += 1;
            let view = row.summary(at);
            self.events.tell(at, Some(row.call_id.clone()), What::Answered(Box::new(view)));
        }
    }

    /// The call goes on with another peer: the value of its From header, and where its signalling comes from.
    pub fn peer_changed(&self, call: CallId, from: &str, source: SocketAddr) {
        self.change(call, |row| {
            from.clone_into(&mut row.view.from);
            row.view.source = source;
        });
    }

    /// The call's media are encrypted by this suite, or not; told again where a re-INVITE changes it.
    pub fn secured(&self, call: CallId, suite: Option<&'static str>) {
        self.change(call, |row| row.view.srtp = suite);
    }

    /// The call's agent is up (its providers' threads run), or down again.
    pub fn agent_up(&self, call: CallId, up: bool) {
        self.change(call, |row| row.view.agent_up = up);
    }

    /// The call is served by these providers from here on.
    pub fn providers(&self, call: CallId, providers: ProviderNames) {
        self.change(call, |row| row.view.providers = providers);
    }

    /// What is known of a turn: what the caller said, what was heard of the reply. Told again whenever it changes.
    pub fn turn(&self, call: CallId, record: &TurnRecord) {
        let mut state = self.state.lock();
        let State { live, ended, totals, .. } = &mut *state;
        // The last word about a turn may come just after the BYE.
        let row = live.get_mut(&call).map(|row| &mut row.view);
        let Some(view) = row.or_else(|| ended.iter_mut().rev().find(|view| view.call == call)) else { return };
        let turn = turn_of(view, record.turn);
        if record.interrupted && !turn.record.interrupted {
            totals.interrupted += 1;
        }
        turn.record = TurnRecord {
            turn: record.turn,
            caller: kept(&record.caller, SPEECH_KEPT),
            agent: kept(&record.agent, SPEECH_KEPT),
            heard: record.heard,
            interrupted: record.interrupted,
            filler: record.filler,
        };
        let told = What::Turn(Box::new(turn.clone()));
        self.events.tell(self.now(), Some(view.call_id.as_str().into()), told);
    }

    /// The reply of `turn` reached the caller; its stages, own path and total are counted here, and are not to be sent as
    /// samples. The greeting answers nobody and is not counted. Returns how the turn broke its budget, where it did.
    pub fn latency(&self, call: CallId, turn: TurnId, stages: &Stages) -> Option<Breach> {
        let now = self.now();
        let mut state = self.state.lock();
        let State { live, totals, distributions, rolling, by_provider, slo, .. } = &mut *state;
        let mut breach = None;
        if turn != TurnId::GREETING {
            totals.turns += 1;
            let usual = |stage| {
                let lately = rolling.get(&Kind::Stage(stage));
                lately.map_or(Duration::ZERO, |lately| lately.over(Window::Hour, now).quantile(0.5))
            };
            breach = slo.judge(stages, usual);
            if let Some(row) = live.get(&call) {
                let ProviderNames { stt, llm, tts } = row.view.providers;
                for (stage, provider) in [(Stage::EndOfTurn, stt), (Stage::Llm, llm), (Stage::Tts, tts)] {
                    by_provider.entry((stage, provider)).or_default().record(stages.get(stage));
                }
            }
            let each = Stage::ALL.into_iter().map(|stage| (Kind::Stage(stage), stages.get(stage)));
            let sums = [(Kind::OwnPath, stages.own_path()), (Kind::Turn, stages.total())];
            for (kind, value) in each.chain(sums) {
                distributions[kind.index()].record(value);
                rolling.entry(kind).or_default().record(value, now);
            }
        }
        if let Some(row) = live.get_mut(&call) {
            let view = turn_of(&mut row.view, turn);
            (view.latency, view.breach) = (Some(*stages), breach);
            if let Some(breach) = breach {
                self.events.tell(now, Some(row.call_id.clone()), What::SloBreach(turn, breach));
            }
        }
        breach
    }

    /// What came of drafting the reply of `turn`, once its first packet is sent and its latency is told. What a draft saved is
    /// counted here.
    pub fn speculated(&self, call: CallId, turn: TurnId, speculation: Speculation) {
        let mut state = self.state.lock();
        let State { live, distributions, .. } = &mut *state;
        if let Speculation::Hit(saved) = speculation {
            distributions[Kind::SpeculationSaved.index()].record(saved);
        }
        if let Some(row) = live.get_mut(&call) {
            let turn = turn_of(&mut row.view, turn);
            turn.speculation = speculation;
            let told = What::Turn(Box::new(turn.clone()));
            self.events.tell(self.now(), Some(row.call_id.clone()), told);
        }
    }

    /// Counts measurements of the media path, under one lock; those of calls that are over count in the sums only.
    pub fn samples(&self, samples: impl IntoIterator<Item = Sample>) {
        let mut state = self.state.lock();
        let State { live, distributions, .. } = &mut *state;
        for Sample { kind, call, value } in samples {
            let count = |distribution: &mut Distribution| match kind.expected_interval() {
                Some(interval) => distribution.record_corrected(value, interval),
                None => distribution.record(value),
            };
            count(&mut distributions[kind.index()]);
            let Some(row) = live.get_mut(&call) else { continue };
            match kind {
                Kind::Jitter => count(&mut row.jitter),
                Kind::GapWait => count(&mut row.gap_wait),
                Kind::PacingError => count(&mut row.pacing_error),
                Kind::OwnPath | Kind::Turn | Kind::BargeIn | Kind::RoundTrip => {}
                Kind::SpeculationSaved | Kind::Stage(_) => {}
            }
        }
    }

    /// The call's media counters, as they stand; the last ones come before its end.
    pub fn quality(&self, call: CallId, quality: Quality) {
        let mut state = self.state.lock();
        let State { live, totals, .. } = &mut *state;
        let Some(row) = live.get_mut(&call) else { return };
        totals.quality.add(&row.counted.raise(&quality));
        row.view.quality = quality;
        row.view.remote = quality.remote.or(row.view.remote);
        if self.events.watched() {
            let flow = What::Quality(Box::new(row.flow()));
            self.events.show(self.now(), [(call, row.call_id.clone(), flow)]);
        }
    }

    /// The state of the call's audio has changed. `first`: the call is in this state for the first time.
    pub fn audio(&self, call: CallId, audio: Audio, first: bool) {
        let mut state = self.state.lock();
        let State { live, totals, .. } = &mut *state;
        let Some(row) = live.get_mut(&call) else { return };
        row.view.audio = audio;
        self.events.tell(self.now(), Some(row.call_id.clone()), What::Audio(audio));
        if let (true, Some(finding)) = (first, audio.finding) {
            totals.findings[finding.index()] += 1;
        }
    }

    /// The call is over; it moves to the last hundred.
    pub fn ended(&self, call: CallId, by: EndedBy, reason: &str, at: Instant) {
        let mut state = self.state.lock();
        let Some(mut row) = state.live.remove(&call) else { return };
        let mut view = row.detail(at);
        view.state = CallState::Ended;
        view.agent_up = false;
        view.ended = Some(Ended { by, reason: kept(reason, HEADER_KEPT) });
        state.totals.ended[by as usize] += 1;
        if state.ended.len() >= ENDED_KEPT {
            state.ended.pop_front();
        }
        let told = CallView { turns: Vec::new(), failures: Vec::new(), ..view.clone() };
        state.ended.push_back(view);
        self.events.forget(call);
        self.events.tell(at, Some(row.call_id), What::Ended(Box::new(told)));
    }

    /// Adds to one of the engine's counters.
    pub fn count(&self, counter: Counter, more: u64) {
        *self.state.lock().counters.entry(counter).or_default() += more;
    }

    /// Shows the confidence, in hundredths, at which the recogniser takes a turn for probably ended.
    pub fn speculation_threshold(&self, hundredths: Option<u32>) {
        self.state.lock().threshold = hundredths;
    }

    /// Shows these providers' records from here on: by stage, first choice first.
    pub fn watch(&self, health: Vec<Arc<Health>>) {
        self.state.lock().health = health;
    }

    /// Shows what the user agent has counted since its start.
    pub fn sip(&self, counters: &Counters) {
        self.state.lock().sip.clone_from(counters);
    }

    fn tell(&self, call: CallId, what: What) {
        let now = self.now();
        let state = self.state.lock();
        if let Some(row) = state.live.get(&call) {
            self.events.tell(now, Some(row.call_id.clone()), what);
        }
    }

    fn change(&self, call: CallId, change: impl FnOnce(&mut Row)) {
        if let Some(row) = self.state.lock().live.get_mut(&call) {
            change(row);
        }
    }
}

/// What the control API asks.
impl Board {
    /// Returns the live calls, oldest first, without turns and percentiles.
    #[must_use]
    pub fn live(&self, now: Instant) -> Vec<CallView> {
        self.state.lock().live.values().map(|row| row.summary(now)).collect()
    }

    /// Returns the last calls that ended, newest first, without turns.
    #[must_use]
    pub fn ended_calls(&self) -> Vec<CallView> {
        let state = self.state.lock();
        let without_turns = |view: &CallView| CallView {
            call_id: view.call_id.clone(),
            from: view.from.clone(),
            to: view.to.clone(),
            turns: Vec::new(),
            failures: Vec::new(),
            ended: view.ended.clone(),
            ..*view
        };
        state.ended.iter().rev().map(without_turns).collect()
    }

    /// Returns the call with this Call-ID: the live one, or else the last one that ended.
    #[must_use]
    pub fn find(&self, call_id: &str, now: Instant) -> Option<CallView> {
        let mut state = self.state.lock();
        let State { live, ended, .. } = &mut *state;
        let row = live.values_mut().rev().find(|row| row.view.call_id == call_id);
        row.map(|row| row.detail(now)).or_else(|| ended.iter().rev().find(|view| view.call_id == call_id).cloned())
    }

    /// Returns the call of this number: live, or among the last that ended.
    #[must_use]
    pub fn view(&self, call: CallId, now: Instant) -> Option<CallView> {
        let mut state = self.state.lock();
        let State { live, ended, .. } = &mut *state;
        let row = live.get_mut(&call).map(|row| row.detail(now));
        row.or_else(|| ended.iter().rev().find(|view| view.call == call).cloned())
    }

    /// Returns the eager threshold that was last told, in hundredths.
    #[must_use]
    pub fn eager_threshold(&self) -> Option<u32> {
        self.state.lock().threshold
    }

    /// Returns the live call with this Call-ID.
    #[must_use]
    pub fn find_live(&self, call_id: &str) -> Option<CallId> {
        let state = self.state.lock();
        state.live.values().rev().find(|row| row.view.call_id == call_id).map(|row| row.view.call)
    }

    /// Returns the counts since the engine's start.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.state.lock().totals
    }

    /// Returns the engine's counters, by name.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<Counter, u64> {
        self.state.lock().counters.clone()
    }

    /// Returns how each provider does: by stage, first choice first.
    #[must_use]
    pub fn health(&self, now: Instant) -> Vec<HealthView> {
        let health = self.state.lock().health.clone();
        health.iter().map(|health| health.view(now)).collect()
    }

    /// Returns what the user agent has counted.
    #[must_use]
    pub fn sip_counters(&self) -> Counters {
        self.state.lock().sip.clone()
    }

    /// Returns the distribution of `kind`, a turn's whole, own path or stage, over the last minutes.
    #[must_use]
    pub fn lately(&self, kind: Kind, window: Window) -> Distribution {
        let now = self.now();
        let state = self.state.lock();
        state.rolling.get(&kind).map_or_else(Distribution::new, |rolling| rolling.over(window, now))
    }

    /// Returns what each provider took in its stage of each turn: stage, provider's name, distribution.
    #[must_use]
    pub fn by_provider(&self) -> Vec<(Stage, &'static str, Distribution)> {
        let state = self.state.lock();
        state.by_provider.iter().map(|((stage, provider), of)| (*stage, *provider, of.clone())).collect()
    }

    /// Returns the distribution of `kind` in one call, live or one of the last that ended: of its turns by what is kept of them, of
    /// its media while it lives. `None` where there is no such call, or `kind` is not told apart by calls.
    #[must_use]
    pub fn distribution_of(&self, call_id: &str, kind: Kind) -> Option<Distribution> {
        let state = self.state.lock();
        let row = state.live.values().rev().find(|row| row.view.call_id == call_id);
        let view =
            row.map(|row| &row.view).or_else(|| state.ended.iter().rev().find(|view| view.call_id == call_id))?;
        let of_turns = |value: &dyn Fn(&Stages) -> Duration| {
            let mut of = Distribution::new();
            let answers = view.turns.iter().filter(|turn| turn.record.turn != TurnId::GREETING);
            answers.filter_map(|turn| turn.latency).for_each(|stages| of.record(value(&stages)));
            Some(of)
        };
        match kind {
            Kind::Turn => of_turns(&Stages::total),
            Kind::OwnPath => of_turns(&Stages::own_path),
            Kind::Stage(stage) => of_turns(&|stages| stages.get(stage)),
            Kind::Jitter => row.map(|row| row.jitter.clone()),
            Kind::GapWait => row.map(|row| row.gap_wait.clone()),
            Kind::PacingError => row.map(|row| row.pacing_error.clone()),
            Kind::BargeIn | Kind::RoundTrip | Kind::SpeculationSaved => None,
        }
    }

    /// Returns how turns do against their budget.
    #[must_use]
    pub fn slo(&self) -> Slo {
        self.state.lock().slo
    }

    /// Returns the distribution of `kind` over all calls since the engine's start.
    #[must_use]
    pub fn distribution(&self, kind: Kind) -> Distribution {
        self.state.lock().distributions[kind.index()].clone()
    }
}

impl Row {
    fn new(invited: &Invited<'_>, now: Instant) -> Self {
        let view = CallView {
            call: invited.call,
            call_id: kept(invited.call_id, HEADER_KEPT),
            from: kept(invited.from, HEADER_KEPT),
            to: kept(invited.to, HEADER_KEPT),
            source: invited.source,
            state: CallState::Ringing,
            duration: Duration::ZERO,
            rtp_port: invited.rtp_port,
            remote: None,
            codec: None,
            srtp: None,
            providers: invited.providers,
            agent_up: false,
            turns: Vec::new(),
            failures: Vec::new(),
            quality: Quality::default(),
            audio: Audio::default(),
            jitter: Percentiles::default(),
            gap_wait: Percentiles::default(),
            pacing_error: Percentiles::default(),
            ended: None,
            invited_at: now,
        };
        Self {
            call_id: view.call_id.as_str().into(),
            view,
            answered_at: None,
            counted: Quality::default(),
            jitter: Distribution::new(),
            gap_wait: Distribution::new(),
            pacing_error: Distribution::new(),
            meter: None,
        }
    }

    fn flow(&self) -> Flow {
        Flow {
            quality: self.view.quality,
            jitter: self.jitter.percentiles(),
            gap_wait: self.gap_wait.percentiles(),
            pacing_error: self.pacing_error.percentiles(),
        }
    }

    fn duration(&self, now: Instant) -> Duration {
        self.answered_at.map_or(Duration::ZERO, |at| now.since(at))
    }

    fn summary(&self, now: Instant) -> CallView {
        // A hundred calls' transcripts and histograms are not read for a list that does not show them.
        let view = &self.view;
        CallView {
            duration: self.duration(now),
            call_id: view.call_id.clone(),
            from: view.from.clone(),
            to: view.to.clone(),
            turns: Vec::new(),
            failures: Vec::new(),
            ended: None,
            ..*view
        }
    }

    fn detail(&mut self, now: Instant) -> CallView {
        self.view.duration = self.duration(now);
        self.view.jitter = self.jitter.percentiles();
        self.view.gap_wait = self.gap_wait.percentiles();
        self.view.pacing_error = self.pacing_error.percentiles();
        self.view.clone()
    }
}

/// Returns the row of `turn`, made if need be; the oldest makes room.
fn turn_of(view: &mut CallView, turn: TurnId) -> &mut TurnView {
    let turns = &mut view.turns;
    let mut at = match turns.binary_search_by_key(&turn, |row| row.record.turn) {
        Ok(at) => return &mut turns[at],
        Err(at) => at,
    };
    if turns.len() >= TURNS_KEPT {
        turns.remove(0);
        at = at.saturating_sub(1);
    }
    let record = TurnRecord { turn, ..TurnRecord::default() };
    turns.insert(at, TurnView { record, ..TurnView::default() });
    &mut turns[at]
}

/// Returns `text`, cut to `characters_max`.
fn kept(text: &str, characters_max: usize) -> String {
    text.chars().take(characters_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::slo::tests::stages_of;

    const CALL: CallId = CallId(1);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn invite(board: &Board, call: CallId, call_id: &str) {
        let source = SocketAddr::from(([127, 0, 0, 1], 5062));
        let providers = ProviderNames { stt: "moonshine", llm: "receptionist", tts: "hibari" };
        board.invited(&Invited {
            call,
            call_id,
            from: "<sip:a@b>",
            to: "<sip:c@d>",
            source,
            rtp_port: 10_000,
            providers,
        });
    }

    /// A turn whose marks lie at these µs, in their order.
    fn stages(marks: [u64; 8]) -> Stages {
        stages_of(marks.map(|us| Instant::from_nanos(us * 1_000)))
    }

    fn said(turn: u32, agent: &str, interrupted: bool) -> TurnRecord {
        TurnRecord {
            turn: TurnId(turn),
            caller: "hello".into(),
            agent: agent.into(),
            interrupted,
            ..TurnRecord::default()
        }
    }

    #[test]
    fn a_call_that_goes_on_with_another_shows_the_other() {
        let board = Board::new();
        invite(&board, CALL, "a");
        let source = SocketAddr::from(([192, 0, 2, 7], 5080));
        board.peer_changed(CALL, "<sip:other@d>", source);
        let view = board.find("a", at(0)).expect("a call");
        assert_eq!((view.from.as_str(), view.source), ("<sip:other@d>", source));
    }

    #[test]
    fn a_call_rings_is_answered_and_ends() {
        let board = Board::new();
        invite(&board, CALL, "abc");
        let view = board.find("abc", at(500)).expect("invited");
        assert_eq!((view.state, view.duration), (CallState::Ringing, Duration::ZERO));
        board.answered(CALL, "PCMA", at(1_000));
        board.answered(CALL, "PCMU", at(9_000));
        let view = board.find("abc", at(13_500)).expect("answered");
        assert_eq!(
            (view.state, view.duration, view.codec),
            (CallState::Active, Duration::from_millis(12_500), Some("PCMU"))
        );
        board.ended(CALL, EndedBy::Caller, "BYE", at(14_000));
        assert!(board.live(at(20_000)).is_empty());
        let view = board.find("abc", at(99_000)).expect("one of the last hundred");
        assert_eq!((view.state, view.duration), (CallState::Ended, Duration::from_secs(13)));
        assert_eq!(view.ended, Some(Ended { by: EndedBy::Caller, reason: "BYE".into() }));
        assert_eq!(board.find_live("abc"), None);
        let totals = board.totals();
        assert_eq!((totals.invited, totals.answered, totals.ended), (1, 1, [1, 0, 0]));
    }

    #[test]
    fn a_call_shows_how_it_is_encrypted() {
        let board = Board::new();
        invite(&board, CALL, "abc");
        let srtp = || board.find("abc", at(0)).expect("invited").srtp;
        assert_eq!(srtp(), None);
        board.secured(CALL, Some("AES_CM_128_HMAC_SHA1_80"));
        assert_eq!(srtp(), Some("AES_CM_128_HMAC_SHA1_80"));
        board.secured(CALL, None);
        assert_eq!(srtp(), None, "a re-INVITE gave it up");
    }

    #[test]
    fn a_call_that_was_never_answered_has_no_duration() {
        let board = Board::new();
        invite(&board, CALL, "abc");
        board.ended(CALL, EndedBy::Caller, "CANCEL", at(5_000));
        assert_eq!(board.find("abc", at(9_000)).map(|view| view.duration), Some(Duration::ZERO));
        board.ended(CALL, EndedBy::Engine, "again", at(6_000));
        assert_eq!(board.totals().ended, [1, 0, 0]);
    }

    #[test]
    fn a_hundred_ended_calls_are_kept_and_the_newest_of_a_name_is_found() {
        let board = Board::new();
        for n in 0..150 {
            invite(&board, CallId(n), &format!("call-{n}"));
            board.ended(CallId(n), EndedBy::Agent, "done", at(1));
        }
        assert!(board.find("call-49", at(2)).is_none());
        assert!(board.find("call-50", at(2)).is_some());
        invite(&board, CallId(200), "call-149");
        assert_eq!(board.find("call-149", at(2)).map(|view| view.call), Some(CallId(200)));
        assert_eq!(board.find_live("call-149"), Some(CallId(200)));
    }

    #[test]
    fn turns_are_in_order_and_the_last_word_after_the_bye_counts() {
        let board = Board::new();
        invite(&board, CALL, "abc");
        board.turn(CALL, &said(1, "Sure", false));
        board.turn(CALL, &said(0, "Hello", false));
        board.turn(CALL, &said(1, "Sure, I", true));
        board.turn(CALL, &said(1, "Sure, I can", true));
        board.ended(CALL, EndedBy::Caller, "BYE", at(1));
        board.turn(CALL, &said(2, "", false));
        let turns = board.find("abc", at(2)).expect("kept").turns;
        let agent: Vec<_> = turns.iter().map(|turn| (turn.record.turn.number(), turn.record.agent.as_str())).collect();
        assert_eq!(agent, [(0, "Hello"), (1, "Sure, I can"), (2, "")]);
        assert_eq!(board.totals().interrupted, 1);
    }

    #[test]
    fn an_endless_call_keeps_its_newest_turns() {
        let board = Board::new();
        invite(&board, CALL, "abc");
        for n in 0..1_000 {
            board.turn(CALL, &said(n, "", false));
        }
        let turns = board.find("abc", at(2)).expect("live").turns;
        assert_eq!(
            (turns.len(), turns[0].record.turn, turns[TURNS_KEPT - 1].record.turn),
            (600, TurnId(400), TurnId(999))
        );
    }

    #[test]
    fn texts_from_the_wire_are_cut() {
        let board = Board::new();
        invite(&board, CALL, &"\u{fc}".repeat(60_000));
        board.turn(CALL, &said(1, &"x".repeat(100_000), false));
        let view = board.find(&"\u{fc}".repeat(HEADER_KEPT), at(2)).expect("cut to what is kept");
        assert_eq!(view.turns[0].record.agent.len(), SPEECH_KEPT);
    }

    #[test]
    fn stages_are_counted_once_and_the_greeting_not() {
        let board = Board::new();
        invite(&board, CALL, "abc");
        board.latency(CALL, TurnId::GREETING, &stages([0, 1, 1, 1, 1, 1, 1, 40_000]));
        board.latency(CALL, TurnId(1), &stages([0, 1_000, 201_000, 201_000, 501_000, 506_000, 596_000, 612_000]));
        assert_eq!(board.totals().turns, 1);
        assert_eq!(board.distribution(Kind::Turn).count(), 1);
        assert_eq!(board.distribution(Kind::Stage(Stage::Llm)).percentiles().p50.round(), 300.0);
        assert_eq!(board.distribution(Kind::OwnPath).percentiles().p50.round(), 22.0);
        let turns = board.find("abc", at(1)).expect("live").turns;
        assert_eq!(turns.len(), 2);
        assert_eq!(turns[1].latency.map(|stages| stages.total()), Some(Duration::from_millis(612)));
    }

    #[test]
    fn a_turn_over_its_budget_is_counted_told_and_shown_with_the_stage_to_blame() {
        let slo = crate::config::Slo { turn: Duration::from_millis(900), share: 0.95 };
        let board = Board::new().with_slo(Some(slo));
        invite(&board, CALL, "abc");
        let mut cursor = board.events().end();
        let turn = |n: u32, llm: u64| {
            let us = [0, 1_000, 201_000, 201_000, 201_000 + llm, 206_000 + llm, 296_000 + llm, 312_000 + llm];
            board.latency(CALL, TurnId(n), &stages(us))
        };
        assert_eq!(board.latency(CALL, TurnId::GREETING, &stages([0, 1, 1, 1, 1, 1, 1, 9_000_000])), None);
        for n in 1..=5 {
            assert_eq!(turn(n, 300_000), None);
        }
        let breach = turn(6, 800_000).expect("1112 ms");
        assert_eq!((breach.stage, breach.total), (Stage::Llm, Duration::from_millis(1_112)));
        assert!(breach.usual.as_millis().abs_diff(300) <= 3, "{breach}");
        let slo = board.slo();
        assert_eq!((slo.turns, slo.breached(), slo.is_met()), (6, 1, false));
        let told = board.events().follow(&mut cursor, Duration::ZERO).events;
        let told: Vec<_> = told.iter().filter(|event| event.what.name() == "slo.breach").collect();
        assert_eq!(told.len(), 1);
        let turns = board.find("abc", at(1)).expect("live").turns;
        assert_eq!(
            turns.iter().map(|turn| turn.breach.is_some()).collect::<Vec<_>>(),
            [[false; 6].as_slice(), &[true]].concat()
        );
    }

    #[test]
    fn distributions_are_told_apart_by_call_and_by_provider() {
        let board = Board::new();
        invite(&board, CALL, "abc");
        invite(&board, CallId(2), "def");
        board.latency(CALL, TurnId::GREETING, &stages([0, 1, 1, 1, 1, 1, 1, 40_000]));
        board.latency(CALL, TurnId(1), &stages([0, 1_000, 201_000, 201_000, 501_000, 506_000, 596_000, 612_000]));
        board.latency(CallId(2), TurnId(1), &stages([0, 1_000, 201_000, 201_000, 301_000, 306_000, 396_000, 412_000]));
        let of = |call_id, kind| board.distribution_of(call_id, kind).map(|of| (of.count(), of.sum().as_millis()));
        assert_eq!(of("abc", Kind::Turn), Some((1, 612)));
        assert_eq!(of("def", Kind::Stage(Stage::Llm)), Some((1, 100)));
        assert_eq!((of("abc", Kind::BargeIn), of("nobody", Kind::Turn)), (None, None));
        board.ended(CALL, EndedBy::Caller, "BYE", at(1));
        assert_eq!(of("abc", Kind::OwnPath), Some((1, 22)));
        let providers = board.by_provider();
        let llm = providers.iter().find(|(stage, ..)| *stage == Stage::Llm).map(|(_, name, of)| (*name, of.count()));
        assert_eq!((providers.len(), llm), (3, Some(("receptionist", 2))));
    }

    #[test]
    fn a_stall_of_the_egress_clock_counts_for_each_slot_in_it() {
        let board = Board::new();
        invite(&board, CALL, "abc");
        let late = |kind| Sample { kind, call: CALL, value: Duration::from_millis(100) };
        board.samples([late(Kind::PacingError), late(Kind::GapWait)]);
        let view = board.find("abc", at(1)).expect("live");
        assert_eq!((view.pacing_error.count, view.gap_wait.count), (5, 1));
        assert_eq!(board.distribution(Kind::PacingError).count(), 5);
    }

    #[test]
    fn what_drafts_save_is_shown_with_their_turn_and_counted() {
        let board = Board::new();
        invite(&board, CALL, "abc");
        board.turn(CALL, &said(1, "Sure", false));
        board.turn(CALL, &said(2, "Yes", false));
        board.speculated(CALL, TurnId(1), Speculation::Hit(Duration::from_millis(120)));
        board.speculated(CALL, TurnId(2), Speculation::Miss);
        let turns = board.find("abc", at(1)).expect("live").turns;
        assert_eq!(turns[0].speculation.saved(), Duration::from_millis(120));
        assert_eq!((turns[1].speculation.name(), turns[1].speculation.saved()), ("miss", Duration::ZERO));
        assert_eq!(board.distribution(Kind::SpeculationSaved).count(), 1);
    }

    #[test]
    fn samples_count_for_their_call_and_for_all() {
        let board = Board::new();
        invite(&board, CALL, "abc");
        let sample = |kind, call, ms| Sample { kind, call: CallId(call), value: Duration::from_millis(ms) };
        board.samples([sample(Kind::Jitter, 1, 4), sample(Kind::PacingError, 1, 1), sample(Kind::Jitter, 77, 9)]);
        let view = board.find("abc", at(1)).expect("live");
        assert_eq!((view.jitter.count, view.pacing_error.count, view.gap_wait.count), (1, 1, 0));
        assert_eq!(board.distribution(Kind::Jitter).count(), 2);
    }

    #[test]
    fn media_counters_are_summed_over_calls() {
        let board = Board::new();
        invite(&board, CALL, "a");
        invite(&board, CallId(2), "b");
        let received = |packets_received| Quality { packets_received, ..Quality::default() };
        board.quality(CALL, received(10));
        board.quality(CALL, received(25));
        board.ended(CALL, EndedBy::Caller, "BYE", at(1));
        board.quality(CALL, received(20));
        board.quality(CallId(2), received(5));
        assert_eq!(board.totals().quality.packets_received, 30);
        assert_eq!(board.find("a", at(2)).expect("kept").quality.packets_received, 25, "an old count comes late");
    }
}
