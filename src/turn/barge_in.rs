//! Does the caller take the floor: the only emitter of `Output::CutPlayout`.

use super::{Input, Output};
use crate::ids::TurnId;
use crate::time::{Deadline, Instant};
use std::time::Duration;

/// How long the floor waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long after the caller's voice has stopped words may still come before the agent goes on.
    pub confirm: Duration,
    /// How long a voice that yields no words keeps the agent silent.
    pub pause_max: Duration,
    /// Pauses in a row without a word after which the detector alone is not believed any more.
    pub false_pauses_max: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // A recogniser gives its first words up to 500 ms after they were said (Flux: an update each 250 ms; a
            // model on this machine decodes at most twice a second); 200 ms more absorb its queue and the network.
            confirm: Duration::from_millis(700),
            // LiveKit gives a false interruption 2.0 s (`resume_false_interruption`); speech that long has words.
            pause_max: Duration::from_secs(2),
            // A cough or two happens; three in a row are a loudspeaker's echo or a noisy street.
            false_pauses_max: 3,
        }
    }
}

/// What the floor waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Words of a caller whose voice made the agent pause.
    Confirm,
}

/// Who holds the floor, caller or agent.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    settings: Settings,
    output: Option<Output>,
    turn: Option<TurnId>,
    deadline: Option<Instant>,
}

impl Floor {
    /// Makes a floor that nobody holds.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self { settings, output: None, turn: None, deadline: None }
    }

    /// Takes one input. Afterwards drain [`Self::poll_output`] to `None` before the next input.
    ///
    /// # Real-time
    /// Constant time, no heap.
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        let _ = (input, now, self.settings, self.turn);
    }

    /// Takes the passage of time. Early, late or repeated calls are safe and change nothing that is not due.
    ///
    /// # Real-time
    /// Constant time, no heap.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// Returns the next thing to be done.
    ///
    /// # Real-time
    /// Constant time, no heap.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.take()
    }

    /// Returns when `handle_timeout` is due.
    ///
    /// # Real-time
    /// Constant time, no heap.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline<Timer>> {
        self.deadline.map(|at| Deadline { at, timer: Timer::Confirm })
    }
}
