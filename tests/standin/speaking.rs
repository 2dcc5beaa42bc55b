//! What the stand-ins of voices have in common: how fast they speak and send, and what a test sees of them.

use super::Faults;
use parking_lot::Mutex;
use serde_json::Value;
use std::time::Duration;

/// Audio of one character: how fast people speak.
pub const CHARACTER: Duration = Duration::from_millis(60);
/// Audio of one message, at most.
pub const CHUNK: Duration = Duration::from_millis(100);
/// How much faster than it is played audio is sent.
pub const SPEED: u32 = 8;

/// How a voice behaves, and what it has seen.
pub struct Plan<F> {
    /// From the text to the first audio.
    pub first_audio: Duration,
    pub faults: Faults<F>,
    pub seen: Mutex<Seen>,
}

/// What clients did.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub requests: Vec<Value>,
    pub connections: usize,
    /// What they did beyond what is allowed.
    pub excesses: usize,
}

impl<F> Default for Plan<F> {
    fn default() -> Self {
        Self { first_audio: Duration::from_millis(20), faults: Faults::default(), seen: Mutex::default() }
    }
}
