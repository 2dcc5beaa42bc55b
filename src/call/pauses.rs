//! How often the agent's speech was paused for a voice, and what came of it.

use crate::time::Instant;
use std::time::Duration;

/// Counts of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    /// Pauses begun.
    pub begun: u64,
    /// Of these, the ones that no word followed: the agent went on.
    pub resumed: u64,
    /// The silence in those.
    pub silence: Duration,
    /// Replies that the caller cut, paused before or not.
    pub cut: u64,
    since: Option<Instant>,
}

impl Pauses {
    /// Speech under way is paused.
    pub fn pause(&mut self, now: Instant) {
        if self.since.is_none() {
            self.since = Some(now);
            self.begun += 1;
        }
    }

    /// It goes on.
    pub fn resume(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.resumed += 1;
            self.silence += now.since(since);
        }
    }

    /// It is cut.
    pub const fn cut(&mut self) {
        self.since = None;
        self.cut += 1;
    }

    /// It is over in another way.
    pub const fn over(&mut self) {
        self.since = None;
    }
}
