//! Text to speech by Cartesia, over a WebSocket: clauses up, 8 kHz µ-law and word times down.

mod messages;

use super::socket::{Incoming, SocketError, Target};
use super::streamed::{Account, Habits, Said, Speak, Vendor, Wire};
use super::tls::Trust;
use crate::config::Endpoint;
use crate::time::{Clock, Instant};
use messages::Voice;
use std::sync::Arc;
use std::time::Duration;

/// The version of the interface that the messages here follow.
const VERSION: &str = "2026-03-01";
const HABITS: Habits = Habits {
    name: "cartesia",
    firm: "cartesia",
    // Contexts are what the account is limited by; of sockets it may have ten times as many.
    spare: true,
    // Cartesia closes a connection that was idle for 5 minutes.
    idle_max: Duration::from_secs(240),
    // An idle context expires after about 1 s.
    context_idle: Duration::from_millis(600),
};

/// Cartesia's voices (`/tts/websocket`).
pub struct Cartesia {
    account: Account,
    voice: Voice,
}

impl Cartesia {
    /// Makes the voice with id `voice` at `endpoint` (base URL without the path).
    #[must_use]
    pub fn new(endpoint: &Endpoint, voice: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            account: Account::new(HABITS, endpoint, clock),
            voice: Voice { model: endpoint.model.clone(), voice: voice.to_owned() },
        }
    }

    /// Checks the server's certificate against `trust`.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.account.trust = trust;
        self
    }

    /// Replaces a connection that was unused for `idle_max`; 4 minutes unless it is set.
    #[must_use]
    pub fn with_idle_max(mut self, idle_max: Duration) -> Self {
        self.account.habits.idle_max = idle_max;
        self
    }
}

impl Vendor for Cartesia {
    fn account(&self) -> &Account {
        &self.account
    }

    fn target(&self) -> Result<Target, SocketError> {
        let target = Target::new(&self.account.endpoint.base_url, "/tts/websocket")?;
        Ok(target.header("Cartesia-Version", VERSION).auth("X-API-Key", "", &self.account.endpoint.key))
    }

    fn wire(&self) -> Box<dyn Wire> {
        Box::new(self.voice.clone())
    }
}

impl Wire for Voice {
    fn speak(&mut self, speak: &Speak, _: Instant, out: &mut Vec<String>) {
        out.push(self.request(&speak.context, &speak.transcript, speak.more));
    }

    fn cancel(&mut self, context: &str, out: &mut Vec<String>) {
        out.push(messages::cancel(context));
    }

    fn read(&mut self, message: &Incoming) -> Vec<Said> {
        match message {
            Incoming::Text(text) => messages::read(text).into_iter().collect(),
            Incoming::Opened | Incoming::Binary(_) => Vec::new(),
        }
    }
}
