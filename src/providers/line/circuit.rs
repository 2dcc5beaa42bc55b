//! Whether a provider that has failed is asked again, and when; pure.

use crate::agent::FailureKind;
use crate::metrics::health::CircuitState;
use crate::time::Instant;
use std::time::Duration;

/// Failures in a row, over all calls, after which a provider is left alone: one is chance, three are not.
const FAILURES_MAX: u32 = 3;
/// How long it is left alone then; twice as long after each trial that fails.
const REST_MIN: Duration = Duration::from_secs(2);
/// The longest of these rests: a provider that is back is noticed within a minute.
const REST_MAX: Duration = Duration::from_secs(60);
/// How long one is left alone that refuses the key or does not have the model: only the operator can change that.
const REFUSED_REST: Duration = Duration::from_secs(600);
/// How long one is left alone that limits the rate without saying for how long.
const LIMITED_REST: Duration = Duration::from_secs(5);
/// After this, a trial whose outcome nobody told (its call ended) counts no more.
const TRIAL_MAX: Duration = Duration::from_secs(10);

/// The circuit of one provider.
#[derive(Debug, Default)]
pub struct Circuit {
    state: State,
    /// Failures since the last success.
    failures: u32,
    /// The last rest.
    rest: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    /// Somebody tries; until then nobody else does.
    HalfOpen {
        until: Instant,
    },
}

impl Circuit {
    /// Whether the provider may be asked; where its rest is over, the one who asks this is the one who tries.
    pub fn admits(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until } | State::HalfOpen { until } if now < until => false,
            State::Open { .. } | State::HalfOpen { .. } => {
                self.state = State::HalfOpen { until: now + TRIAL_MAX };
                true
            }
        }
    }

    /// It answered.
    pub fn succeed(&mut self) {
        *self = Self::default();
    }

    /// It failed; `shut` where it would refuse anything.
    pub fn fail(&mut self, kind: FailureKind, shut: bool, now: Instant) {
        self.failures += 1;
        let rest = match kind {
            _ if shut => REFUSED_REST,
            // What was wrong was the request, not the provider.
            FailureKind::Refused => return,
            FailureKind::RateLimited { retry_after } => retry_after.unwrap_or(LIMITED_REST).min(REST_MAX),
            _ if self.failures >= FAILURES_MAX || !matches!(self.state, State::Closed) => {
                self.rest = (self.rest * 2).clamp(REST_MIN, REST_MAX);
                self.rest
            }
            _ => return,
        };
        self.state = State::Open { until: now + rest };
    }

    /// When it may be asked, as far as is known: the past where it may be asked at once.
    pub fn opens_at(&self) -> Instant {
        match self.state {
            State::Closed => Instant::ZERO,
            State::Open { until } | State::HalfOpen { until } => until,
        }
    }

    /// Returns the state as `/status` shows it.
    pub fn state(&self) -> CircuitState {
        match self.state {
            State::Closed => CircuitState::Closed,
            State::Open { until } => CircuitState::Open(until),
            State::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn three_failures_in_a_row_open_it_and_one_success_forgets_them() {
        let mut circuit = Circuit::default();
        circuit.fail(FailureKind::Dropped, false, at(0));
        circuit.fail(FailureKind::Stalled, false, at(0));
        circuit.succeed();
        circuit.fail(FailureKind::Garbage, false, at(0));
        circuit.fail(FailureKind::Dropped, false, at(0));
        assert!(circuit.admits(at(0)));
        circuit.fail(FailureKind::Dropped, false, at(0));
        assert!(!circuit.admits(at(1)));
    }

    #[test]
    fn after_its_rest_one_tries_and_a_failed_trial_doubles_the_rest() {
        let mut circuit = Circuit::default();
        (0..3).for_each(|_| circuit.fail(FailureKind::Dropped, false, at(0)));
        assert!(circuit.admits(at(2)), "the rest is over");
        assert!(!circuit.admits(at(2)), "one tries, not two");
        circuit.fail(FailureKind::Dropped, false, at(2));
        assert!(!circuit.admits(at(5)) && circuit.admits(at(6)));
        circuit.succeed();
        assert!(circuit.admits(at(6)) && circuit.admits(at(6)));
        assert_eq!(circuit.state(), CircuitState::Closed);
    }

    #[test]
    fn a_trial_that_nobody_tells_of_does_not_keep_it_shut() {
        let mut circuit = Circuit::default();
        (0..3).for_each(|_| circuit.fail(FailureKind::Stalled, false, at(0)));
        assert!(circuit.admits(at(2)));
        assert!(!circuit.admits(at(11)) && circuit.admits(at(12)));
    }

    #[test]
    fn rests_are_bounded() {
        let mut circuit = Circuit::default();
        (0..40).for_each(|_| circuit.fail(FailureKind::Dropped, false, at(0)));
        assert_eq!(circuit.opens_at(), Instant::ZERO + REST_MAX);
        circuit.fail(FailureKind::RateLimited { retry_after: Some(Duration::MAX) }, false, at(0));
        assert_eq!(circuit.opens_at(), Instant::ZERO + REST_MAX);
    }

    #[test]
    fn a_limit_is_kept_for_as_long_as_it_was_said() {
        let mut circuit = Circuit::default();
        circuit.fail(FailureKind::RateLimited { retry_after: Some(Duration::from_secs(7)) }, false, at(0));
        assert!(!circuit.admits(at(6)) && circuit.admits(at(7)));
    }

    #[test]
    fn a_refused_key_opens_it_for_long_and_a_refused_request_does_not() {
        let mut circuit = Circuit::default();
        (0..9).for_each(|_| circuit.fail(FailureKind::Refused, false, at(0)));
        assert!(circuit.admits(at(0)));
        circuit.fail(FailureKind::Refused, true, at(0));
        assert!(!circuit.admits(at(599)) && circuit.admits(at(600)));
    }
}
