//! Names that outlive a function: which call, which turn of it.

use std::fmt;

/// A call, numbered from 1 in the order of their INVITEs; never reused while the engine lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct CallId(pub u32);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}", self.0)
    }
}

/// A turn of a call: what the caller said, and the agent's reply to it. 0 is the greeting, which nobody asked for.
///
/// Everything made for a reply (request, clause, audio frame) carries its turn, so that what belongs to a cut reply is
/// recognised and dropped wherever it comes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct TurnId(pub u32);

impl TurnId {
    /// The greeting.
    pub const GREETING: Self = Self(0);

    /// Returns the turn after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for TurnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "turn {}", self.0)
    }
}
