//! The non-INVITE server transaction (RFC 3261 §17.2.2, Figure 8).

use super::timers::{Letter, Timers};
use crate::time::Instant;

/// What the transaction wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Send this.
    Send(Vec<u8>),
    /// Send this once more.
    Resend(Vec<u8>),
}

#[derive(Debug)]
enum State {
    Trying,
    Completed { response: Vec<u8>, end_at: Instant },
    Terminated,
}

/// The transaction. It never is in Proceeding: RFC 4320 §4.1 forbids provisional responses that would bring it there.
#[derive(Debug)]
pub struct NonInviteServer {
    timers: Timers,
    state: State,
}

impl NonInviteServer {
    /// Begins in Trying.
    #[must_use]
    pub const fn new(timers: Timers) -> Self {
        Self { timers, state: State::Trying }
    }

    /// Takes the request that came again.
    pub fn handle_request(&mut self) -> Action {
        match &self.state {
            // "Any further request retransmissions are discarded" until there is a response.
            State::Trying | State::Terminated => Action::Nothing,
            // "Request: send response".
            State::Completed { response, .. } => Action::Resend(response.clone()),
        }
    }

    /// Takes the core's final response.
    pub fn handle_final(&mut self, response: Vec<u8>, now: Instant) -> Action {
        match self.state {
            // "200-699 from TU: send response".
            State::Trying => {
                self.state =
                    State::Completed { response: response.clone(), end_at: now + self.timers.length(Letter::J) };
                Action::Send(response)
            }
            // "Any other final responses passed by the TU MUST be discarded while in Completed".
            State::Completed { .. } | State::Terminated => Action::Nothing,
        }
    }

    /// Takes the passage of time: Timer J.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.state = State::Terminated;
        }
    }

    /// Returns when `handle_timeout` is due.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Completed { end_at, .. } => Some(end_at),
            State::Trying | State::Terminated => None,
        }
    }

    /// Whether a final response may still be given.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Trying)
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

    fn trying() -> NonInviteServer {
        NonInviteServer::new(Timers::new(&config::Sip::default()))
    }

    #[test]
    fn trying_discards_repetitions() {
        let mut transaction = trying();
        assert_eq!(transaction.handle_request(), Action::Nothing);
        assert_eq!(transaction.poll_timeout(), None);
    }

    #[test]
    fn completed_answers_repetitions_until_timer_j() {
        let mut transaction = trying();
        assert_eq!(transaction.handle_final(b"200".to_vec(), Instant::ZERO), Action::Send(b"200".to_vec()));
        assert_eq!(transaction.handle_request(), Action::Resend(b"200".to_vec()));
        assert_eq!(transaction.poll_timeout(), Some(Instant::from_millis(32_000)));
        transaction.handle_timeout(Instant::from_millis(31_999));
        assert!(!transaction.is_terminated());
        transaction.handle_timeout(Instant::from_millis(32_000));
        assert!(transaction.is_terminated());
        assert_eq!(transaction.handle_request(), Action::Nothing);
    }

    #[test]
    fn a_second_final_is_discarded() {
        let mut transaction = trying();
        transaction.handle_final(b"200".to_vec(), Instant::ZERO);
        assert_eq!(transaction.handle_final(b"500".to_vec(), Instant::ZERO), Action::Nothing);
        assert_eq!(transaction.handle_request(), Action::Resend(b"200".to_vec()));
    }
}
