//! The INVITE server transaction (RFC 3261 §17.2.1, Figure 7), with the Accepted state of RFC 6026 §7.1.

use super::timers::{Letter, Timers};
use crate::time::Instant;
use std::time::Duration;

/// What happens to the transaction.
#[derive(Debug)]
pub enum Input {
    /// The INVITE came again.
    Invite,
    /// An ACK came with its branch.
    Ack,
    /// The core has a 1xx for it.
    Provisional(Vec<u8>),
    /// The core has a 2xx for it; the core repeats it, too.
    Success(Vec<u8>),
    /// The core has a 300 to 699 for it.
    Failure(Vec<u8>),
}

/// What the transaction wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Send this.
    Send(Vec<u8>),
    /// Send this once more.
    Resend(Vec<u8>),
    /// Give the ACK to the core.
    PassAck,
}

#[derive(Debug)]
enum State {
    Proceeding { response: Option<Vec<u8>> },
    Completed { response: Vec<u8>, resend_at: Instant, interval: Duration, give_up_at: Instant },
    Confirmed { end_at: Instant },
    Accepted { end_at: Instant },
    Terminated,
}

/// The transaction.
#[derive(Debug)]
pub struct InviteServer {
    timers: Timers,
    state: State,
}

impl InviteServer {
    /// Begins in Proceeding; the core sends 100 at once.
    #[must_use]
    pub const fn new(timers: Timers) -> Self {
        Self { timers, state: State::Proceeding { response: None } }
    }

    /// Takes one input.
    pub fn handle_input(&mut self, input: Input, now: Instant) -> Action {
        match (&mut self.state, input) {
            // "INVITE: send the last response", if there is one yet.
            (State::Proceeding { response }, Input::Invite) => response.clone().map_or(Action::Nothing, Action::Resend),
            // "1xx from TU: send response".
            (State::Proceeding { response }, Input::Provisional(bytes)) => {
                *response = Some(bytes.clone());
                Action::Send(bytes)
            }
            // "2xx from TU: send response", and stay to absorb the INVITE (RFC 6026 §7.1).
            (State::Proceeding { .. }, Input::Success(bytes)) => {
                self.state = State::Accepted { end_at: now + self.timers.length(Letter::L) };
                Action::Send(bytes)
            }
            // "300-699 from TU: send response".
            (State::Proceeding { .. }, Input::Failure(bytes)) => {
                let interval = self.timers.length(Letter::G);
                let give_up_at = now + self.timers.length(Letter::H);
                let resend_at = self.timers.resend_at(now, interval, give_up_at);
                self.state = State::Completed { response: bytes.clone(), resend_at, interval, give_up_at };
                Action::Send(bytes)
            }
            // "INVITE: send response".
            (State::Completed { response, .. }, Input::Invite) => Action::Resend(response.clone()),
            // "ACK": the final response has arrived.
            (State::Completed { .. }, Input::Ack) => {
                self.state = State::Confirmed { end_at: now + self.timers.length(Letter::I) };
                Action::Nothing
            }
            // RFC 6026: the ACK to a 2xx belongs to the core, and the core's repetitions of the 2xx pass.
            (State::Accepted { .. }, Input::Ack) => Action::PassAck,
            (State::Accepted { .. }, Input::Success(bytes)) => Action::Resend(bytes),
            // RFC 6026: "INVITE: absorbed"; Confirmed absorbs ACKs, and late answers of the core go nowhere.
            _ => Action::Nothing,
        }
    }

    /// Takes the passage of time.
    pub fn handle_timeout(&mut self, now: Instant) -> Action {
        match &mut self.state {
            // "Timer H fires: inform TU"; the core has nothing left to do about a refused call.
            State::Completed { give_up_at, .. } if *give_up_at <= now => self.state = State::Terminated,
            // "Timer G fires: send response".
            State::Completed { response, resend_at, interval, .. } if *resend_at <= now => {
                *interval = self.timers.doubled(*interval);
                *resend_at = now + *interval;
                return Action::Resend(response.clone());
            }
            // "Timer I fires", "Timer L fires".
            State::Confirmed { end_at } | State::Accepted { end_at } if *end_at <= now => {
                self.state = State::Terminated
            }
            _ => {}
        }
        Action::Nothing
    }

    /// Returns when `handle_timeout` is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Completed { resend_at, give_up_at, .. } => Some(*resend_at.min(give_up_at)),
            State::Confirmed { end_at } | State::Accepted { end_at } => Some(*end_at),
            State::Proceeding { .. } | State::Terminated => None,
        }
    }

    /// Whether a final response may still be given.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
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

    fn proceeding() -> InviteServer {
        InviteServer::new(Timers::new(&config::Sip::default()))
    }

    fn completed() -> InviteServer {
        let mut transaction = proceeding();
        assert_eq!(transaction.handle_input(Input::Failure(b"486".to_vec()), at(0)), Action::Send(b"486".to_vec()));
        transaction
    }

    fn accepted() -> InviteServer {
        let mut transaction = proceeding();
        assert_eq!(transaction.handle_input(Input::Success(b"200".to_vec()), at(0)), Action::Send(b"200".to_vec()));
        transaction
    }

    #[test]
    fn proceeding_repeats_the_last_provisional_for_a_repeated_invite() {
        let mut transaction = proceeding();
        assert_eq!(transaction.handle_input(Input::Invite, at(0)), Action::Nothing);
        assert_eq!(transaction.handle_input(Input::Provisional(b"100".to_vec()), at(0)), Action::Send(b"100".to_vec()));
        assert_eq!(transaction.handle_input(Input::Provisional(b"180".to_vec()), at(1)), Action::Send(b"180".to_vec()));
        assert_eq!(transaction.handle_input(Input::Invite, at(500)), Action::Resend(b"180".to_vec()));
        assert_eq!(transaction.poll_timeout(), None);
    }

    #[test]
    fn completed_repeats_its_final_for_an_invite_and_by_timer_g_until_timer_h() {
        let mut transaction = completed();
        assert_eq!(transaction.handle_input(Input::Invite, at(10)), Action::Resend(b"486".to_vec()));
        let mut sent = Vec::new();
        while let Some(due) = transaction.poll_timeout() {
            if transaction.handle_timeout(due) == Action::Resend(b"486".to_vec()) {
                sent.push(due.as_nanos() / 1_000_000);
            }
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
        assert!(transaction.is_terminated());
    }

    #[test]
    fn an_ack_confirms_and_timer_i_ends() {
        let mut transaction = completed();
        assert_eq!(transaction.handle_input(Input::Ack, at(100)), Action::Nothing);
        assert_eq!(transaction.poll_timeout(), Some(at(5100)));
        assert_eq!(transaction.handle_input(Input::Ack, at(200)), Action::Nothing);
        assert_eq!(transaction.handle_input(Input::Invite, at(200)), Action::Nothing);
        assert_eq!(transaction.handle_timeout(at(5099)), Action::Nothing);
        assert!(!transaction.is_terminated());
        transaction.handle_timeout(at(5100));
        assert!(transaction.is_terminated());
    }

    #[test]
    fn accepted_absorbs_invites_passes_acks_and_ends_by_timer_l() {
        let mut transaction = accepted();
        assert_eq!(transaction.handle_input(Input::Invite, at(500)), Action::Nothing);
        assert_eq!(transaction.handle_input(Input::Success(b"200".to_vec()), at(500)), Action::Resend(b"200".to_vec()));
        assert_eq!(transaction.handle_input(Input::Ack, at(600)), Action::PassAck);
        assert_eq!(transaction.handle_input(Input::Ack, at(700)), Action::PassAck);
        assert_eq!(transaction.handle_input(Input::Invite, at(800)), Action::Nothing);
        assert_eq!(transaction.poll_timeout(), Some(at(32_000)));
        transaction.handle_timeout(at(32_000));
        assert!(transaction.is_terminated());
    }

    #[test]
    fn a_second_final_goes_nowhere() {
        assert_eq!(completed().handle_input(Input::Success(b"200".to_vec()), at(1)), Action::Nothing);
        assert_eq!(accepted().handle_input(Input::Failure(b"487".to_vec()), at(1)), Action::Nothing);
        assert_eq!(accepted().handle_input(Input::Provisional(b"180".to_vec()), at(1)), Action::Nothing);
        assert!(!accepted().is_open() && !completed().is_open() && proceeding().is_open());
    }
}
