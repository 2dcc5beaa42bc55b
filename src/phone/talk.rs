//! When the telephone speaks, waits and hangs up: a caller who lets the other finish.

use crate::time::{Deadline, Instant};
use std::time::Duration;

/// How patient the caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many times it speaks.
    pub turns: usize,
    /// How long the agent has to be silent before it is taken to have finished: longer than the pauses between its sentences.
    pub quiet: Duration,
    /// How long a greeting is waited for.
    pub greeting_max: Duration,
    /// How long a reply is waited for, from the end of what was said.
    pub reply_max: Duration,
    /// How long a reply, or the greeting, is listened to.
    pub listen_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            turns: 1,
            // The pauses of synthetic speech reach 500 ms at a full stop.
            quiet: Duration::from_millis(900),
            greeting_max: Duration::from_secs(3),
            reply_max: Duration::from_secs(10),
            listen_max: Duration::from_secs(45),
        }
    }
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The call is answered.
    Answered,
    /// A packet of the agent came, with sound in it or without.
    Heard { loud: bool },
    /// All that was to be said is sent.
    Said,
    /// The agent has hung up.
    HungUp,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Says the stimulus of this number, from 0.
    Say { turn: usize, quiet_since: Instant },
    /// The exchange of this number is over.
    Over { turn: usize },
    /// Hangs up.
    HangUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ringing,
    /// The agent may greet; `heard`: it has begun to.
    Greeted {
        since: Instant,
        heard: bool,
    },
    Speaking {
        turn: usize,
    },
    /// It is the agent's turn; `heard`: it has begun to reply.
    Listening {
        turn: usize,
        since: Instant,
        heard: bool,
    },
    Over,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Talk {
    settings: Settings,
    state: State,
    /// When the agent was last heard.
    last_loud: Instant,
    output: Option<Output>,
    /// What follows the output that is asked for first.
    next: Option<Output>,
}

impl Talk {
    /// Makes one whose call is not answered yet.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self { settings, state: State::Ringing, last_loud: Instant::ZERO, output: None, next: None }
    }

    /// Takes one input. Afterwards drain [`Self::poll_output`] to `None` before the next input.
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        match (self.state, input) {
            (State::Ringing, Input::Answered) => {
                self.last_loud = now;
                self.state = State::Greeted { since: now, heard: false };
            }
            (State::Greeted { since, .. }, Input::Heard { loud: true }) => {
                self.last_loud = now;
                self.state = State::Greeted { since, heard: true };
            }
            (State::Listening { turn, since, .. }, Input::Heard { loud: true }) => {
                self.last_loud = now;
                self.state = State::Listening { turn, since, heard: true };
            }
            // A reply may begin before the question has ended; it counts from there on.
            (State::Speaking { .. }, Input::Heard { loud: true }) => self.last_loud = now,
            (State::Speaking { turn }, Input::Said) => {
                self.state = State::Listening { turn, since: now, heard: false };
            }
            (State::Listening { turn, .. }, Input::HungUp) => {
                self.state = State::Over;
                self.output = Some(Output::Over { turn });
            }
            (_, Input::HungUp) => self.state = State::Over,
            _ => {}
        }
    }

    /// Takes the passage of time. Early, late or repeated calls are safe and change nothing that is not due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|due| due.at > now) {
            return;
        }
        match self.state {
            State::Greeted { .. } => self.say(0),
            State::Listening { turn, .. } => {
                self.output = Some(Output::Over { turn });
                if turn + 1 < self.settings.turns {
                    let over = self.output.take();
                    self.say(turn + 1);
                    self.next = std::mem::replace(&mut self.output, over);
                } else {
                    self.state = State::Over;
                    self.next = Some(Output::HangUp);
                }
            }
            State::Ringing | State::Speaking { .. } | State::Over => {}
        }
    }

    /// Returns the next thing to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.output.take();
        self.output = self.next.take();
        output
    }

    /// Returns when `handle_timeout` is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline<()>> {
        let Settings { quiet, greeting_max, reply_max, listen_max, .. } = self.settings;
        let at = match self.state {
            State::Greeted { since, heard: false } => since + greeting_max,
            State::Greeted { since, heard: true } => (self.last_loud + quiet).min(since + greeting_max + listen_max),
            State::Listening { since, heard: false, .. } => since + reply_max,
            State::Listening { since, heard: true, .. } => (self.last_loud + quiet).min(since + reply_max + listen_max),
            State::Ringing | State::Speaking { .. } | State::Over => return None,
        };
        Some(Deadline { at, timer: () })
    }

    fn say(&mut self, turn: usize) {
        if turn >= self.settings.turns {
            self.state = State::Over;
            self.output = Some(Output::HangUp);
            return;
        }
        self.state = State::Speaking { turn };
        self.output = Some(Output::Say { turn, quiet_since: self.last_loud });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    struct Scene {
        talk: Talk,
        done: Vec<(u64, Output)>,
    }

    impl Scene {
        fn answered(turns: usize) -> Self {
            let mut scene = Self { talk: Talk::new(Settings { turns, ..Settings::default() }), done: Vec::new() };
            scene.tell(0, Input::Answered);
            scene
        }

        fn tell(&mut self, millis: u64, input: Input) {
            self.run(millis);
            self.talk.handle_input(input, at(millis));
            self.drain(millis);
        }

        /// A packet every 20 ms.
        fn hear(&mut self, from: u64, to: u64, loud: bool) {
            (from..to).step_by(20).for_each(|millis| self.tell(millis, Input::Heard { loud }));
        }

        fn run(&mut self, until: u64) {
            while let Some(due) = self.talk.poll_timeout().filter(|due| due.at <= at(until)) {
                self.talk.handle_timeout(due.at);
                self.drain(due.at.as_nanos() / 1_000_000);
            }
        }

        fn drain(&mut self, millis: u64) {
            while let Some(output) = self.talk.poll_output() {
                self.done.push((millis, output));
            }
        }
    }

    #[test]
    fn it_speaks_when_the_greeting_has_ended_and_listens_until_the_reply_has() {
        let mut scene = Scene::answered(2);
        scene.hear(100, 1500, true);
        scene.hear(1500, 2000, false);
        scene.hear(2000, 2500, true);
        scene.hear(2500, 5000, false);
        assert_eq!(scene.done, [(3380, Output::Say { turn: 0, quiet_since: at(2480) })], "not in the greeting's pause");
        scene.tell(6000, Input::Said);
        scene.hear(6500, 8000, true);
        scene.hear(8000, 9000, false);
        let said = Output::Say { turn: 1, quiet_since: at(7980) };
        assert_eq!(scene.done[1..], [(8880, Output::Over { turn: 0 }), (8880, said)]);
        scene.tell(9500, Input::Said);
        scene.run(30_000);
        assert_eq!(scene.done[3..], [(19_500, Output::Over { turn: 1 }), (19_500, Output::HangUp)], "no reply");
    }

    #[test]
    fn an_agent_that_does_not_greet_is_spoken_to() {
        let mut scene = Scene::answered(1);
        scene.hear(0, 5000, false);
        assert_eq!(scene.done, [(3000, Output::Say { turn: 0, quiet_since: at(0) })]);
    }

    #[test]
    fn an_agent_that_never_stops_is_interrupted() {
        let mut scene = Scene::answered(1);
        scene.hear(0, 60_000, true);
        assert!(matches!(scene.done.as_slice(), [(48_000, Output::Say { turn: 0, .. })]), "{:?}", scene.done);
    }

    #[test]
    fn an_agent_that_hangs_up_ends_the_exchange() {
        let mut scene = Scene::answered(3);
        scene.tell(3100, Input::Said);
        scene.hear(3500, 4000, true);
        scene.tell(4000, Input::HungUp);
        scene.run(60_000);
        assert_eq!(scene.done[1..], [(4000, Output::Over { turn: 0 })]);
    }
}
