//! A stage's providers in order: the first whose circuit is closed serves, and where it fails the next takes over within the call.
//!
//! [`circuit`] says whether a provider is asked at all; it is shared by all calls, as is the record that `/status` shows.
//! [`ears`] is the line of recognisers, [`voices`] that of voices, [`minds`] that of language models, with `asked` for a request's
//! own story, [`hedge`] for those that are late, [`going_on`] for replies that broke off, and `aside` for minds that are no servers.

mod aside;
mod asked;
pub mod circuit;
pub mod ears;
pub mod going_on;
pub mod hedge;
pub mod minds;
pub mod voices;

use crate::agent::Failure;
use crate::ids::CallId;
use crate::metrics::health::{Health, ProviderStage};
use crate::time::Instant;
use circuit::Circuit;
use parking_lot::Mutex;
use std::ops::Index;
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

/// Providers of one stage, each at its place, first choice first. Shared by all calls.
struct Line<P>(Vec<Seat<P>>);

/// A provider and its place.
struct Seat<P> {
    provider: P,
    place: Arc<Place>,
}

impl<P> Line<P> {
    /// Makes a line of at least one provider, each recorded under its name.
    fn new(stage: ProviderStage, providers: Vec<P>, name: impl Fn(&P) -> &'static str) -> Self {
        let seat = |provider: P| {
            let health = Health::new(stage, name(&provider));
            Seat { provider, place: Arc::new(Place::new(Arc::new(health))) }
        };
        Self(providers.into_iter().map(seat).collect())
    }

    fn first(&self) -> Option<&P> {
        self.0.first().map(|seat| &seat.provider)
    }

    fn providers(&self) -> impl Iterator<Item = &P> {
        self.0.iter().map(|seat| &seat.provider)
    }

    fn get(&self, n: usize) -> Option<&Seat<P>> {
        self.0.get(n)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the record of each provider, first choice first.
    fn health(&self) -> Vec<Arc<Health>> {
        self.0.iter().map(|seat| seat.place.health().clone()).collect()
    }

    /// Returns the first that is not `tried`, `fits`, and may be asked.
    fn next(&self, tried: &[bool], fits: impl Fn(&P) -> bool, now: Instant) -> Option<usize> {
        self.untried(tried).find(|(_, seat)| fits(&seat.provider) && seat.place.admits(now)).map(|(n, _)| n)
    }

    /// Returns the first that is not `tried` and may be asked; where nobody may, whoever may be soonest. A caller is better served
    /// by a try than by none.
    fn next_at_all(&self, tried: &[bool], now: Instant) -> Option<usize> {
        let soonest = || self.untried(tried).min_by_key(|(_, seat)| seat.place.opens_at()).map(|(n, _)| n);
        self.next(tried, |_| true, now).or_else(soonest)
    }

    /// Returns who serves a call next, marks it as `tried`, and counts that.
    fn take_next(&self, tried: &mut [bool], now: Instant) -> Option<&Seat<P>> {
        let n = self.next_at_all(tried, now)?;
        let seat = self.get(n)?;
        seat.place.health().asked(tried.contains(&true));
        *tried.get_mut(n)? = true;
        Some(seat)
    }

    fn untried<'a>(&'a self, tried: &'a [bool]) -> impl Iterator<Item = (usize, &'a Seat<P>)> {
        self.0.iter().enumerate().filter(|(n, _)| tried.get(*n) == Some(&false))
    }
}

impl<P> Index<usize> for Line<P> {
    type Output = Seat<P>;

    fn index(&self, n: usize) -> &Seat<P> {
        &self.0[n]
    }
}
