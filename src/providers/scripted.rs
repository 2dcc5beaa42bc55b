//! Ears, mind and voice from a script, with delays by the engine's clock: for tests and measurements.

use super::{EarsIo, MindIo, Responder, Speaker, Transcriber, VoiceIo};
use crate::agent::Failure;
use std::time::Duration;

/// Ears that hear the script's sentences: one per stretch of speech, the last one again and again.
#[derive(Clone, Debug)]
pub struct ScriptedEars {
    /// What each turn's transcript is.
    pub turns: Vec<String>,
    /// Speech after which a turn starts.
    pub start_after: Duration,
    /// How long after the last speech the turn ends.
    pub end_after: Duration,
}

/// A mind that gives the script's replies: one per request, the last one again and again.
#[derive(Clone, Debug)]
pub struct ScriptedMind {
    /// The replies; `[hang_up]` as a reply's last word calls the tool of that name.
    pub replies: Vec<String>,
    /// From the request to the first token.
    pub first_token: Duration,
    /// From each token (a word) to the next.
    pub token_every: Duration,
}

/// A voice that hums: 60 ms per character.
#[derive(Clone, Debug)]
pub struct ScriptedVoice {
    /// From the text to its first audio.
    pub first_audio: Duration,
    /// How many times faster than it is played the audio is made.
    pub speed: u32,
}

impl Transcriber for ScriptedEars {
    fn name(&self) -> &'static str {
        "scripted"
    }
    fn run(&self, io: EarsIo) {
        let _ = io;
    }
}

impl Responder for ScriptedMind {
    fn name(&self) -> &'static str {
        "scripted"
    }
    fn run(&self, io: MindIo) {
        let _ = io;
    }
}

impl Speaker for ScriptedVoice {
    fn name(&self) -> &'static str {
        "scripted"
    }
    fn run(&self, io: VoiceIo) {
        let _ = io;
    }
    fn render(&self, _text: &str) -> Result<Vec<i16>, Failure> {
        Ok(Vec::new())
    }
}
