//! How each provider does, over all calls: its circuit, its last error, how soon it begins to answer, who stood in for whom.

use crate::agent::Failure;
use crate::config::LogLevel;
use crate::ids::CallId;
use crate::metrics::{Board, Journal};
use crate::time::Instant;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Answers of which the times are kept: at one turn in five seconds, what ten calls did in the last minute.
const RECENT_MAX: usize = 128;

/// A stage of the agent, as settings and metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProviderStage {
    /// Speech to text.
    Stt,
    /// The language model.
    Llm,
    /// Text to speech.
    Tts,
}

impl ProviderStage {
    /// Returns `stt`, `llm` or `tts`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stt => "stt",
            Self::Llm => "llm",
            Self::Tts => "tts",
        }
    }
}

/// Whether a provider is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CircuitState {
    /// It is.
    #[default]
    Closed,
    /// Not before this moment.
    Open(Instant),
    /// One call tries whether it is back.
    HalfOpen,
}

impl CircuitState {
    /// Returns `closed`, `open` or `half_open`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open(_) => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What is counted of one provider since the engine's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthCounts {
    /// Requests, speeches or sessions that it was given.
    pub asked: u64,
    /// Of these, those that failed.
    pub failed: u64,
    /// Those that it was given since one before it in the line had failed.
    pub stood_in: u64,
    /// Requests that were asked a second time while it was late.
    pub hedges: u64,
    /// Of these, those that the second one answered first.
    pub hedges_won: u64,
}

/// One provider's record; shared by all calls. Every method locks for a few µs: never call one on the media path.
#[derive(Debug)]
pub struct Health {
    stage: ProviderStage,
    provider: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Who is told what happens to it.
    board: Weak<Board>,
    journal: Option<Journal>,
    circuit: CircuitState,
    last_error: Option<String>,
    counts: HealthCounts,
    /// The last times from the request to the first word or sound, oldest overwritten first.
    recent: Vec<Duration>,
    next: usize,
}

/// A provider's record at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthView {
    /// The stage.
    pub stage: ProviderStage,
    /// The provider's name.
    pub provider: &'static str,
    /// Its circuit.
    pub circuit: CircuitState,
    /// What it failed with last, without any secret.
    pub last_error: Option<String>,
    /// What is counted.
    pub counts: HealthCounts,
    /// From the request to the first word or sound: half of the last answers were as quick.
    pub first_p50: Option<Duration>,
    /// And 95 of 100.
    pub first_p95: Option<Duration>,
}

impl Health {
    /// Makes the record of a provider that was never asked.
    #[must_use]
    pub fn new(stage: ProviderStage, provider: &'static str) -> Self {
        Self { stage, provider, state: Mutex::default() }
    }

    /// Tells `board` of failures and of its circuit from here on.
    pub fn report_to(&self, board: &Arc<Board>) {
        self.state.lock().board = Arc::downgrade(board);
    }

    /// Logs its failures from here on, and when it is left alone: a caller who is served by another provider does not notice
    /// that a key is wrong.
    pub fn log_to(&self, journal: &Journal) {
        self.state.lock().journal = Some(journal.clone());
    }

    /// Its circuit is in this state from here on.
    pub fn circuit(&self, circuit: CircuitState) {
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut state.circuit, circuit);
        let (board, journal) = (state.board.upgrade(), state.journal.clone());
        drop(state);
        if let Some(journal) = journal {
            let (stage, provider) = (self.stage.name(), self.provider);
            match (before, circuit) {
                (CircuitState::Closed | CircuitState::HalfOpen, CircuitState::Open(until)) => {
                    let rest = until.since(journal.now()).as_secs_f64().ceil();
                    let text = format_args!("{stage}: {provider} is left alone for {rest} s");
                    journal.line(LogLevel::Warn, None, text);
                }
                (CircuitState::Open(_) | CircuitState::HalfOpen, CircuitState::Closed) => {
                    journal.line(LogLevel::Info, None, format_args!("{stage}: {provider} works again"));
                }
                _ => {}
            }
        }
        // An open one that opens again after a trial has been half open in between.
        if before.name() != circuit.name()
            && let Some(board) = board
        {
            board.circuit_changed(self.stage, self.provider, circuit);
        }
    }

    /// It is asked; `stands_in` for one that failed.
    pub fn asked(&self, stands_in: bool) {
        let mut state = self.state.lock();
        state.counts.asked += 1;
        state.counts.stood_in += u64::from(stands_in);
    }

    /// It began to answer this long after it was asked.
    pub fn began(&self, after: Duration) {
        let state = &mut *self.state.lock();
        match state.recent.get_mut(state.next) {
            Some(oldest) => *oldest = after,
            None => state.recent.push(after),
        }
        state.next = (state.next + 1) % RECENT_MAX;
    }

    /// It failed in this call.
    pub fn failed(&self, call: CallId, failure: &Failure) {
        let mut state = self.state.lock();
        state.counts.failed += 1;
        state.last_error = Some(failure.text.clone());
        let journal = state.journal.clone();
        drop(state);
        // What happens to the ears is told to the call's conductor, which logs it; of the others it is told the end only.
        if let Some(journal) = journal.filter(|_| self.stage != ProviderStage::Stt) {
            journal.line(LogLevel::Warn, Some(call), format_args!("{}: {}", self.stage.name(), failure.text));
        }
        self.stumbled(call, failure);
    }

    /// It failed in this call, and tries again by itself.
    pub fn stumbled(&self, call: CallId, failure: &Failure) {
        let board = self.state.lock().board.upgrade();
        if let Some(board) = board {
            board.provider_failed(call, self.stage, self.provider, failure);
        }
    }

    /// A request that it was late with is asked a second time.
    pub fn hedged(&self) {
        self.state.lock().counts.hedges += 1;
    }

    /// And the second one answered first.
    pub fn hedge_won(&self) {
        self.state.lock().counts.hedges_won += 1;
    }

    /// Returns the time within which `share` (0 to 1) of its last answers began, once `least` of them are known.
    #[must_use]
    pub fn within(&self, share: f64, least: usize) -> Option<Duration> {
        let recent = self.state.lock().recent.clone();
        (recent.len() >= least.max(1)).then(|| quantile(recent, share)).flatten()
    }

    /// Returns the record as it stands at `now`.
    #[must_use]
    pub fn view(&self, now: Instant) -> HealthView {
        let state = self.state.lock();
        let circuit = match state.circuit {
            // It is tried by the next who asks.
            CircuitState::Open(until) if now >= until => CircuitState::HalfOpen,
            circuit => circuit,
        };
        HealthView {
            stage: self.stage,
            provider: self.provider,
            circuit,
            last_error: state.last_error.clone(),
            counts: state.counts,
            first_p50: quantile(state.recent.clone(), 0.5),
            first_p95: quantile(state.recent.clone(), 0.95),
        }
    }
}

/// Returns the least of `times` that a `share` of them do not exceed (nearest rank).
fn quantile(mut times: Vec<Duration>, share: f64) -> Option<Duration> {
    times.sort_unstable();
    let rank = (times.len() as f64 * share).ceil() as usize;
    times.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::What;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn percentiles_are_those_of_the_last_answers() {
        let health = Health::new(ProviderStage::Llm, "groq");
        assert_eq!(health.within(0.95, 0), None);
        (1..=100).for_each(|n| health.began(ms(n)));
        assert_eq!((health.within(0.5, 10), health.within(0.95, 10)), (Some(ms(50)), Some(ms(95))));
        assert_eq!(health.within(0.95, 101), None, "too few are known");
        // What is older than the last 128 does not count any more.
        (0..RECENT_MAX).for_each(|_| health.began(ms(7)));
        assert_eq!(health.view(Instant::ZERO).first_p95, Some(ms(7)));
    }

    #[test]
    fn an_open_circuit_is_half_open_once_its_time_is_over() {
        let health = Health::new(ProviderStage::Tts, "cartesia");
        health.circuit(CircuitState::Open(Instant::ZERO + ms(500)));
        assert_eq!(health.view(Instant::ZERO).circuit.name(), "open");
        assert_eq!(health.view(Instant::ZERO + ms(500)).circuit.name(), "half_open");
    }

    #[test]
    fn a_provider_that_another_stands_in_for_is_in_the_log() {
        struct Stopped;
        impl crate::time::Clock for Stopped {
            fn now(&self) -> Instant {
                Instant::from_millis(1_000)
            }
        }
        let (journal, entries) = Journal::new(Arc::new(Stopped), LogLevel::Info);
        let health = Health::new(ProviderStage::Llm, "groq");
        health.log_to(&journal);
        let text = "groq: refused with 401; check GROQ_API_KEY".to_owned();
        health.failed(CallId(3), &Failure { kind: crate::agent::FailureKind::Refused, text });
        for circuit in [
            CircuitState::Open(Instant::from_millis(601_000)),
            CircuitState::Open(Instant::from_millis(601_000)),
            CircuitState::HalfOpen,
            CircuitState::Closed,
            CircuitState::Closed,
        ] {
            health.circuit(circuit);
        }
        let mut log = Vec::new();
        entries.try_iter().for_each(|entry| entry.write(&mut log, Duration::ZERO).expect("a vector takes all"));
        let log = String::from_utf8(log).expect("text").replace("1970-01-01T00:00:01.000Z ", "");
        assert_eq!(
            log,
            "warn call 3: llm: groq: refused with 401; check GROQ_API_KEY\nwarn llm: groq is left alone for 600 s\n\
             info llm: groq works again\n"
        );
    }

    #[test]
    fn failures_and_changes_of_the_circuit_are_told_once() {
        let board = Arc::new(Board::new());
        let health = Health::new(ProviderStage::Tts, "cartesia");
        let failure = Failure { kind: crate::agent::FailureKind::Stalled, text: "cartesia: no audio".into() };
        health.failed(CallId(1), &failure);
        health.report_to(&board);
        let mut cursor = board.events().end();
        health.circuit(CircuitState::Closed);
        health.failed(CallId(1), &failure);
        health.stumbled(CallId(1), &failure);
        health.circuit(CircuitState::Open(Instant::from_millis(2_000)));
        health.circuit(CircuitState::Open(Instant::from_millis(2_000)));
        health.circuit(CircuitState::HalfOpen);
        health.circuit(CircuitState::Closed);
        let told = board.events().follow(&mut cursor, Duration::ZERO).events;
        let circuits = told.iter().filter_map(|event| match &event.what {
            What::ProviderCircuit { stage, provider, circuit } => Some((*stage, *provider, circuit.name())),
            _ => None,
        });
        let wanted = ["open", "half_open", "closed"].map(|state| (ProviderStage::Tts, "cartesia", state));
        assert_eq!(circuits.collect::<Vec<_>>(), wanted);
        let failed = told.iter().filter(|event| matches!(event.what, What::ProviderFailed(_))).count();
        assert_eq!((failed, told.len()), (2, 5));
        assert_eq!(health.view(Instant::ZERO).counts.failed, 2, "who tries again by itself has not failed");
        drop(board);
        health.failed(CallId(1), &failure);
    }
}
