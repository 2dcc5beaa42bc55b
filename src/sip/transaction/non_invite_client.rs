//! The non-INVITE client transaction (RFC 3261 §17.1.2, Figure 6): every request of ours but INVITE and ACK.

use super::timers::{Letter, Timers};
use crate::time::Instant;
use std::time::Duration;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With this final status.
    Answered(u16),
    /// Timer F: as if 408 had come (RFC 3261 §8.1.3.1).
    TimedOut,
    /// It could not be sent: as if 503 had come (RFC 3261 §8.1.3.1).
    Unreachable,
}

/// What the transaction wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Send the request once more.
    Resend(Vec<u8>),
    /// Tell the core how it ended.
    End(Outcome),
}

#[derive(Debug)]
enum State {
    Trying { resend_at: Instant, interval: Duration },
    Proceeding { resend_at: Instant },
    Completed { end_at: Instant },
    Terminated,
}

/// The transaction.
#[derive(Debug)]
pub struct NonInviteClient {
    timers: Timers,
    request: Vec<u8>,
    give_up_at: Instant,
    state: State,
}

impl NonInviteClient {
    /// Begins in Trying, the request just sent.
    #[must_use]
    pub fn new(timers: Timers, request: Vec<u8>, now: Instant) -> Self {
        let interval = timers.length(Letter::E);
        let give_up_at = now + timers.length(Letter::F);
        let resend_at = timers.resend_at(now, interval, give_up_at);
        Self { timers, request, give_up_at, state: State::Trying { resend_at, interval } }
    }

    /// Takes a response with this status.
    pub fn handle_response(&mut self, status: u16, now: Instant) -> Action {
        match self.state {
            // "1xx: response to TU"; from here on the request is repeated at T2.
            State::Trying { .. } if status < 200 => {
                let resend_at = self.timers.resend_at(now, self.timers.t2(), self.give_up_at);
                self.state = State::Proceeding { resend_at };
                Action::Nothing
            }
            // "200-699: response to TU".
            State::Trying { .. } | State::Proceeding { .. } if status >= 200 => {
                self.state = State::Completed { end_at: now + self.timers.length(Letter::K) };
                Action::End(Outcome::Answered(status))
            }
            // Completed absorbs repetitions of the response.
            _ => Action::Nothing,
        }
    }

    /// Takes a transport error.
    pub fn handle_unreachable(&mut self) -> Action {
        match self.state {
            // "Transport err.: inform TU".
            State::Trying { .. } | State::Proceeding { .. } => {
                self.state = State::Terminated;
                Action::End(Outcome::Unreachable)
            }
            State::Completed { .. } | State::Terminated => Action::Nothing,
        }
    }

    /// Takes the passage of time.
    pub fn handle_timeout(&mut self, now: Instant) -> Action {
        match &mut self.state {
            // "Timer F fires: inform TU".
            State::Trying { .. } | State::Proceeding { .. } if self.give_up_at <= now => {
                self.state = State::Terminated;
                Action::End(Outcome::TimedOut)
            }
            // "Timer E fires: send request", in Trying twice as long after as before.
            State::Trying { resend_at, interval } if *resend_at <= now => {
                *interval = self.timers.doubled(*interval);
                *resend_at = now + *interval;
                Action::Resend(self.request.clone())
            }
            State::Proceeding { resend_at } if *resend_at <= now => {
                *resend_at = now + self.timers.t2();
                Action::Resend(self.request.clone())
            }
            // "Timer K fires".
            State::Completed { end_at } if *end_at <= now => {
                self.state = State::Terminated;
                Action::Nothing
            }
            _ => Action::Nothing,
        }
    }

    /// Returns when `handle_timeout` is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Trying { resend_at, .. } | State::Proceeding { resend_at } => Some(resend_at.min(self.give_up_at)),
            State::Completed { end_at } => Some(end_at),
            State::Terminated => None,
        }
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

    fn trying() -> NonInviteClient {
        NonInviteClient::new(Timers::new(&config::Sip::default()), b"BYE".to_vec(), at(0))
    }

    fn run(transaction: &mut NonInviteClient) -> (Vec<u64>, Option<Outcome>) {
        let (mut sent, mut outcome) = (Vec::new(), None);
        while let Some(due) = transaction.poll_timeout() {
            match transaction.handle_timeout(due) {
                Action::Resend(bytes) => {
                    assert_eq!(bytes, b"BYE");
                    sent.push(due.as_nanos() / 1_000_000);
                }
                Action::End(ended) => outcome = Some(ended),
                Action::Nothing => {}
            }
        }
        (sent, outcome)
    }

    #[test]
    fn trying_repeats_by_timer_e_until_timer_f() {
        let mut transaction = trying();
        let (sent, outcome) = run(&mut transaction);
        assert_eq!(sent, [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
        assert_eq!(outcome, Some(Outcome::TimedOut));
        assert!(transaction.is_terminated());
    }

    #[test]
    fn proceeding_repeats_at_t2_until_timer_f() {
        let mut transaction = trying();
        assert_eq!(transaction.handle_response(100, at(600)), Action::Nothing);
        let (sent, outcome) = run(&mut transaction);
        assert_eq!(sent.first_chunk(), Some(&[4600, 8600, 12_600]));
        assert_eq!(outcome, Some(Outcome::TimedOut));
    }

    #[test]
    fn a_final_completes_and_timer_k_ends() {
        for provisional_first in [false, true] {
            let mut transaction = trying();
            if provisional_first {
                transaction.handle_response(100, at(100));
            }
            assert_eq!(transaction.handle_response(481, at(200)), Action::End(Outcome::Answered(481)));
            assert_eq!(transaction.handle_response(481, at(300)), Action::Nothing);
            assert_eq!(transaction.poll_timeout(), Some(at(5200)));
            assert_eq!(transaction.handle_timeout(at(5200)), Action::Nothing);
            assert!(transaction.is_terminated());
        }
    }

    #[test]
    fn a_transport_error_ends_it_unless_it_is_answered() {
        let mut transaction = trying();
        assert_eq!(transaction.handle_unreachable(), Action::End(Outcome::Unreachable));
        assert!(transaction.is_terminated());
        let mut transaction = trying();
        transaction.handle_response(200, at(1));
        assert_eq!(transaction.handle_unreachable(), Action::Nothing);
    }
}
