//! A stage's providers in order: the first whose circuit is closed serves, and where it fails the next takes over within the call.
//!
//! [`circuit`] says whether a provider is asked at all; it is shared by all calls, as is the record that `/status` shows.
//! [`ears`] is the line of recognisers, [`voices`] that of voices, [`minds`] that of language models, with [`hedge`] for requests that are late and [`going_on`] for replies that broke off.

pub mod circuit;
pub mod ears;
pub mod going_on;
pub mod hedge;
pub mod minds;
pub mod voices;

use crate::agent::Failure;
use crate::ids::CallId;
use crate::metrics::health::Health;
use crate::time::Instant;
use circuit::Circuit;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// A provider's place in its line: its circuit and its record. Shared by all calls.
#[derive(Debug)]
pub struct Place {
    health: Arc<Health>,
    circuit: Mutex<Circuit>,
}

impl Place {
    /// Makes a place whose provider is kept account of in `health`.
    #[must_use]
    pub fn new(health: Arc<Health>) -> Self {
        Self { health, circuit: Mutex::default() }
    }

    /// Returns the record.
    #[must_use]
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// Whether the provider may be asked.
    pub fn admits(&self, now: Instant) -> bool {
        self.change(|circuit| circuit.admits(now))
    }

    /// When it may be asked.
    #[must_use]
    pub fn opens_at(&self) -> Instant {
        self.circuit.lock().opens_at()
    }

    /// It began to answer, this long after it was asked.
    pub fn began(&self, after: Duration) {
        self.health.began(after);
        self.change(Circuit::succeed);
    }

    /// It works.
    pub fn answered(&self) {
        self.change(Circuit::succeed);
    }

    /// It failed in this call; `shut` where it would refuse anything.
    pub fn failed(&self, call: CallId, failure: &Failure, shut: bool, now: Instant) {
        self.health.failed(call, failure);
        self.change(|circuit| circuit.fail(failure.kind, shut, now));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Circuit) -> T) -> T {
        let mut circuit = self.circuit.lock();
        let result = change(&mut circuit);
        self.health.circuit(circuit.state());
        result
    }
}

/// Returns the first of `places` that may be asked and is not `taken`.
fn next_of<'a>(places: impl Iterator<Item = &'a Place>, taken: impl Fn(usize) -> bool, now: Instant) -> Option<usize> {
    places.enumerate().find(|(n, place)| !taken(*n) && place.admits(now)).map(|(n, _)| n)
}

/// Returns who is to be asked where nobody may: whoever may be asked soonest. A caller is better served by a try than by none.
fn soonest<'a>(places: impl Iterator<Item = &'a Place>) -> usize {
    places.enumerate().min_by_key(|(_, place)| place.opens_at()).map_or(0, |(n, _)| n)
}
