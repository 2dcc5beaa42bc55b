//! Names that outlive a function: which call, which turn of it.

use std::cmp::Ordering;
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
/// recognised and dropped wherever it comes out. A reply that is begun before its turn has ended may be thrown away and made
/// anew: people count that as one turn, so the number stays, and the attempt in the highest byte tells the two apart. Later
/// attempts stand behind earlier ones, and before the next turn.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct TurnId(pub u32);

impl TurnId {
    /// The greeting.
    pub const GREETING: Self = Self(0);

    /// Bits of the number; 16 million turns are longer than any call.
    const NUMBER_BITS: u32 = 24;

    /// Returns the number that people know the turn by, whichever attempt it is.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0 & ((1 << Self::NUMBER_BITS) - 1)
    }

    /// Returns which attempt at the turn it is: 0 for the first.
    #[must_use]
    pub const fn attempt(self) -> u32 {
        self.0 >> Self::NUMBER_BITS
    }

    /// Returns the turn after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.number() + 1)
    }

    /// Returns the next attempt at this turn, of which nobody has heard; after 256 of them, the next turn.
    #[must_use]
    pub const fn again(self) -> Self {
        match self.0.checked_add(1 << Self::NUMBER_BITS) {
            Some(id) => Self(id),
            None => self.next(),
        }
    }
}

impl PartialOrd for TurnId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TurnId {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.number(), self.attempt()).cmp(&(other.number(), other.attempt()))
    }
}

impl fmt::Debug for TurnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempt() {
            0 => write!(f, "TurnId({})", self.number()),
            attempt => write!(f, "TurnId({}, attempt {attempt})", self.number()),
        }
    }
}

impl fmt::Display for TurnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "turn {}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_stands_between_the_ones_before_it_and_the_next_turn_and_has_its_turn_s_number() {
        let third = TurnId(3);
        let (again, twice) = (third.again(), third.again().again());
        assert!(TurnId(2) < third && third < again && again < twice && twice < TurnId(4));
        assert_eq!([third, again, twice].map(TurnId::number), [3; 3]);
        assert_eq!([third, again, twice].map(TurnId::attempt), [0, 1, 2]);
        assert_eq!(twice.next(), TurnId(4));
        assert_eq!(again.to_string(), "turn 3");
    }

    #[test]
    fn attempts_that_run_out_take_the_next_number() {
        let mut id = TurnId(7);
        for _ in 0..256 {
            assert_eq!(id.number(), 7);
            let before = id;
            id = before.again();
            assert!(before < id);
        }
        assert_eq!(id, TurnId(8));
    }
}
