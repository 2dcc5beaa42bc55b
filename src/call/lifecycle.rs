//! INVITE to BYE as the engine sees it: ring, answer, greet, hang up.

use crate::time::{Deadline, Instant};
use std::collections::VecDeque;
use std::time::Duration;

/// The longest a phone rings while the greeting is being rendered: after that silence is worse than a late greeting.
const RING_MAX: Duration = Duration::from_millis(1500);

/// The greeting waits this long after the 200 for the ACK, which shows that the phone has opened its audio. A lost ACK does
/// not delay it: the agent begins when the caller's first packet of audio shows the same.
const ACK_WAIT: Duration = Duration::from_millis(60);

/// What happens to the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The greeting is rendered, or there is none.
    GreetingReady,
    /// The ACK of the 200 has come.
    Confirmed,
    /// The call is over.
    Ended,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// 180: the answer has to wait.
    Ring,
    /// 200, and media from here on.
    Answer,
    /// The agent may begin.
    Greet,
}

/// The timers of a call's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The phone has rung for [`RING_MAX`].
    Ring,
    /// The ACK has not come within [`ACK_WAIT`].
    Ack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ringing { since: Instant },
    Answered { at: Instant },
    Talking,
    Ended,
}

/// One call's beginning and end.
#[derive(Debug)]
pub struct Lifecycle {
    state: State,
    outputs: VecDeque<Output>,
}

impl Lifecycle {
    /// A call whose INVITE was taken at `now`; it is answered at once where the greeting is ready.
    #[must_use]
    pub fn new(greeting_ready: bool, now: Instant) -> Self {
        let mut call = Self { state: State::Ringing { since: now }, outputs: VecDeque::new() };
        call.outputs.push_back(Output::Ring);
        if greeting_ready {
            call.answer(now);
        }
        call
    }

    /// Takes one input. Afterwards drain [`Self::poll_output`].
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        match (self.state, input) {
            (State::Ringing { .. }, Input::GreetingReady) => self.answer(now),
            (State::Answered { .. }, Input::Confirmed) => self.greet(),
            (_, Input::Ended) => {
                self.state = State::Ended;
                self.outputs.clear();
            }
            _ => {}
        }
    }

    /// Takes the passage of time.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| due.at <= now) {
            match self.state {
                State::Ringing { .. } => self.answer(now),
                State::Answered { .. } => self.greet(),
                State::Talking | State::Ended => {}
            }
        }
    }

    /// Returns the next thing to be done, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when `handle_timeout` is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline<Timer>> {
        match self.state {
            State::Ringing { since } => Some(Deadline { at: since + RING_MAX, timer: Timer::Ring }),
            State::Answered { at } => Some(Deadline { at: at + ACK_WAIT, timer: Timer::Ack }),
            State::Talking | State::Ended => None,
        }
    }

    fn answer(&mut self, now: Instant) {
        self.state = State::Answered { at: now };
        self.outputs.push_back(Output::Answer);
    }

    fn greet(&mut self) {
        self.state = State::Talking;
        self.outputs.push_back(Output::Greet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn drain(call: &mut Lifecycle) -> Vec<Output> {
        std::iter::from_fn(|| call.poll_output()).collect()
    }

    #[test]
    fn answers_at_once_when_the_greeting_is_ready() {
        let mut call = Lifecycle::new(true, at(0));
        assert_eq!(drain(&mut call), [Output::Ring, Output::Answer]);
        call.handle_input(Input::Confirmed, at(5));
        assert_eq!(drain(&mut call), [Output::Greet]);
        assert_eq!(call.poll_timeout(), None);
    }

    #[test]
    fn rings_until_the_greeting_is_ready_but_not_for_ever() {
        let mut call = Lifecycle::new(false, at(0));
        assert_eq!(drain(&mut call), [Output::Ring]);
        call.handle_timeout(at(1_499));
        assert_eq!(drain(&mut call), []);
        call.handle_timeout(at(1_500));
        assert_eq!(drain(&mut call), [Output::Answer]);
    }

    #[test]
    fn greets_without_an_ack_after_a_short_wait_and_only_once() {
        let mut call = Lifecycle::new(true, at(0));
        drain(&mut call);
        call.handle_timeout(at(60));
        assert_eq!(drain(&mut call), [Output::Greet]);
        call.handle_input(Input::Confirmed, at(70));
        assert_eq!(drain(&mut call), []);
    }

    #[test]
    fn does_nothing_more_once_ended() {
        let mut call = Lifecycle::new(false, at(0));
        call.handle_input(Input::Ended, at(10));
        call.handle_input(Input::GreetingReady, at(20));
        call.handle_timeout(at(9_000));
        assert_eq!(drain(&mut call), []);
    }
}
