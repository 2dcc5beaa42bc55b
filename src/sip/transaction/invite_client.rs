//! The INVITE client transaction (RFC 3261 §17.1.1, Figure 5), with the Accepted state of RFC 6026 §7.2: our INVITE.

use super::non_invite_client::Outcome;
use super::timers::{Letter, Timers};
use crate::time::Instant;
use std::time::Duration;

/// What the transaction wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Send the INVITE once more.
    Resend(Vec<u8>),
    /// Give the response to the core.
    Pass,
    /// Give the response to the core, and acknowledge it.
    PassAndAcknowledge,
    /// Acknowledge the refusal that came again.
    Acknowledge,
    /// Tell the core how it ended.
    End(Outcome),
}

#[derive(Debug)]
enum State {
    Calling { resend_at: Instant, interval: Duration, give_up_at: Instant },
    Proceeding,
    Completed { end_at: Instant },
    Accepted { end_at: Instant },
    Terminated,
}

/// The transaction.
#[derive(Debug)]
pub struct InviteClient {
    timers: Timers,
    request: Vec<u8>,
    state: State,
}

impl InviteClient {
    /// Begins in Calling, the INVITE just sent.
    #[must_use]
    pub fn new(timers: Timers, request: Vec<u8>, now: Instant) -> Self {
        let interval = timers.length(Letter::A);
        let give_up_at = now + timers.length(Letter::B);
        Self { timers, request, state: State::Calling { resend_at: now + interval, interval, give_up_at } }
    }

    /// Takes a response with this status.
    pub fn handle_response(&mut self, status: u16, now: Instant) -> Action {
        match (&self.state, status) {
            // "1xx: 1xx to TU"; from here on nothing is repeated.
            (State::Calling { .. } | State::Proceeding, ..200) => {
                self.state = State::Proceeding;
                Action::Pass
            }
            // "2xx: 2xx to TU", and stay for those of other branches (RFC 6026 §7.2).
            (State::Calling { .. } | State::Proceeding, 200..300) => {
                self.state = State::Accepted { end_at: now + self.timers.length(Letter::M) };
                Action::Pass
            }
            // "300-699: ACK sent, response to TU".
            (State::Calling { .. } | State::Proceeding, _) => {
                self.state = State::Completed { end_at: now + self.timers.length(Letter::D) };
                Action::PassAndAcknowledge
            }
            // "300-699: ACK sent".
            (State::Completed { .. }, 300..) => Action::Acknowledge,
            // RFC 6026 §7.2: "2xx: 2xx to TU", since each of them is acknowledged by the core.
            (State::Accepted { .. }, 200..300) => Action::Pass,
            _ => Action::Nothing,
        }
    }

    /// Takes a transport error.
    pub fn handle_unreachable(&mut self) -> Action {
        match self.state {
            // "Transport err.: inform TU".
            State::Calling { .. } | State::Proceeding => {
                self.state = State::Terminated;
                Action::End(Outcome::Unreachable)
            }
            // "Transport err.: inform TU"; the core knows the refusal already.
            State::Completed { .. } => {
                self.state = State::Terminated;
                Action::Nothing
            }
            State::Accepted { .. } | State::Terminated => Action::Nothing,
        }
    }

    /// Takes the passage of time.
    pub fn handle_timeout(&mut self, now: Instant) -> Action {
        match &mut self.state {
            // "Timer B fires: inform TU".
            State::Calling { give_up_at, .. } if *give_up_at <= now => {
                self.state = State::Terminated;
                Action::End(Outcome::TimedOut)
            }
            // "Timer A fires: INVITE sent", each time twice as long after as before, without a limit.
            State::Calling { resend_at, interval, .. } if *resend_at <= now => {
                *interval *= 2;
                *resend_at = now + *interval;
                Action::Resend(self.request.clone())
            }
            // "Timer D fires", "Timer M fires".
            State::Completed { end_at } | State::Accepted { end_at } if *end_at <= now => {
                self.state = State::Terminated;
                Action::Nothing
            }
            _ => Action::Nothing,
        }
    }

    /// Returns when `handle_timeout` is due. In Proceeding that is the core's affair, which cancels what rings too long.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Calling { resend_at, give_up_at, .. } => Some(resend_at.min(give_up_at)),
            State::Completed { end_at } | State::Accepted { end_at } => Some(end_at),
            State::Proceeding | State::Terminated => None,
        }
    }

    /// Whether it may be cancelled: a provisional response has come, and no final one (RFC 3261 §9.1).
    #[must_use]
    pub const fn is_cancellable(&self) -> bool {
        matches!(self.state, State::Proceeding)
    }

    /// Whether it is over.
    #[must_use]
    pub const fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn calling() -> InviteClient {
        InviteClient::new(Timers::new(&config::Sip::default()), b"INVITE".to_vec(), at(0))
    }

    fn proceeding() -> InviteClient {
        let mut transaction = calling();
        assert_eq!(transaction.handle_response(180, at(1)), Action::Pass);
        transaction
    }

    fn completed() -> InviteClient {
        let mut transaction = proceeding();
        assert_eq!(transaction.handle_response(486, at(2)), Action::PassAndAcknowledge);
        transaction
    }

    fn accepted() -> InviteClient {
        let mut transaction = proceeding();
        assert_eq!(transaction.handle_response(200, at(2)), Action::Pass);
        transaction
    }

    #[test]
    fn calling_repeats_by_timer_a_until_timer_b() {
        let mut transaction = calling();
        let (mut sent, mut outcome) = (Vec::new(), None);
        while let Some(due) = transaction.poll_timeout() {
            match transaction.handle_timeout(due) {
                Action::Resend(bytes) => {
                    assert_eq!(bytes, b"INVITE");
                    sent.push(due.as_nanos() / 1_000_000);
                }
                Action::End(ended) => outcome = Some(ended),
                _ => {}
            }
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 15_500, 31_500]);
        assert_eq!(outcome, Some(Outcome::TimedOut));
        assert!(transaction.is_terminated());
    }

    #[test]
    fn proceeding_repeats_nothing_and_passes_each_response() {
        let mut transaction = proceeding();
        assert_eq!((transaction.poll_timeout(), transaction.is_cancellable()), (None, true));
        assert_eq!(transaction.handle_response(183, at(2)), Action::Pass);
        assert!(!calling().is_cancellable());
    }

    #[test]
    fn a_refusal_is_acknowledged_each_time_and_passed_once() {
        for mut transaction in [calling(), proceeding()] {
            assert_eq!(transaction.handle_response(486, at(2)), Action::PassAndAcknowledge);
            assert_eq!(transaction.handle_response(486, at(3)), Action::Acknowledge);
            assert_eq!(transaction.handle_response(180, at(3)), Action::Nothing);
            assert_eq!(transaction.handle_response(200, at(3)), Action::Nothing);
            assert_eq!(transaction.poll_timeout(), Some(at(32_002)));
            assert_eq!(transaction.handle_timeout(at(32_002)), Action::Nothing);
            assert!(transaction.is_terminated());
        }
    }

    #[test]
    fn each_2xx_is_passed_until_timer_m() {
        for mut transaction in [calling(), proceeding()] {
            assert_eq!(transaction.handle_response(200, at(2)), Action::Pass);
            assert_eq!(transaction.handle_response(200, at(3)), Action::Pass);
            assert_eq!(transaction.handle_response(180, at(3)), Action::Nothing);
            assert_eq!(transaction.handle_response(486, at(3)), Action::Nothing);
            assert_eq!(transaction.handle_timeout(at(32_001)), Action::Nothing);
            assert!(!transaction.is_terminated());
            transaction.handle_timeout(at(32_002));
            assert!(transaction.is_terminated());
        }
    }

    #[test]
    fn a_transport_error_ends_it_unless_it_is_answered() {
        assert_eq!(calling().handle_unreachable(), Action::End(Outcome::Unreachable));
        assert_eq!(proceeding().handle_unreachable(), Action::End(Outcome::Unreachable));
        let mut refused = completed();
        assert_eq!(refused.handle_unreachable(), Action::Nothing);
        assert!(refused.is_terminated());
        let mut answered = accepted();
        assert_eq!(answered.handle_unreachable(), Action::Nothing);
        assert!(!answered.is_terminated());
    }
}
