//! Tags and branches that nobody can guess (RFC 3261 §19.3).

use super::response::Envelope;
use super::via::MAGIC_COOKIE;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Makes tags. Each is 64 bits of a keyed hash, so that those who have seen some of them cannot tell the next.
#[derive(Debug)]
pub(super) struct Tags {
    secret: [u64; 4],
    count: u64,
}

impl Tags {
    pub(super) fn new(rng: &mut fastrand::Rng) -> Self {
        Self { secret: std::array::from_fn(|_| rng.u64(..)), count: 0 }
    }

    /// Returns a tag that was never used.
    pub(super) fn fresh(&mut self) -> String {
        self.count += 1;
        self.hash("fresh", &self.count)
    }

    /// Returns a branch that was never used (RFC 3261 §8.1.1.7).
    pub(super) fn branch(&mut self) -> String {
        format!("{MAGIC_COOKIE}{}", self.fresh())
    }

    /// Returns the tag of the stateless response to a request: the same each time it comes (RFC 3261 §8.2.7).
    pub(super) fn stateless(&self, envelope: &Envelope) -> String {
        self.hash("stateless", &(envelope.call_id(), envelope.from(), envelope.cseq()))
    }

    fn hash(&self, purpose: &str, value: &impl Hash) -> String {
        let mut hasher = DefaultHasher::new();
        (self.secret, purpose).hash(&mut hasher);
        value.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}
