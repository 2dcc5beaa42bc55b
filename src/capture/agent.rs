//! What the agent was told, and what it wanted done, in that order.

use crate::agent::{Confidence, Input, Output};
use crate::config;
use crate::time::Instant;
use serde::{Deserialize, Serialize};

/// One line of `agent.log`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Entry {
    /// The agent was made, with these settings. Secrets, and where the operator's tools are, are not among them.
    Begin(Box<config::Agent>),
    /// It was told this; `at`: when it happened, where that was told by a provider.
    In { now: Instant, at: Option<Instant>, input: Input },
    /// The recogniser was so sure of the end of the turn with what it said next, at `at`; the agent was not told. Since format 2.
    Confidence { at: Instant, confidence: Confidence },
    /// Time passed, and a timer was due.
    Tick { now: Instant },
    /// It wanted this done.
    Out(Output),
    /// Entries were lost.
    Broken,
    /// There is nothing more to come.
    End,
}

impl super::Entry for Entry {
    fn is_end(&self) -> bool {
        matches!(self, Self::End)
    }

    fn is_broken(&self) -> bool {
        matches!(self, Self::Broken)
    }
}
