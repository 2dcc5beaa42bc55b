//! The table of calls: which dialog is whose, and which timer is due first.

use super::dialog::{Dialog, DialogId};
use super::flow::Flow;
use super::message::{Method, Request};
use super::schedule::Schedule;
use super::session::{Session, State};
use super::transaction::TransactionId;
use super::transaction::timers::Timers;
use crate::ids::CallId;
use crate::time::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Calls that are over, but whose BYE is not answered or whose ACK is awaited; the oldest gives way.
pub(super) const LEAVING_MAX: usize = 1024;

/// All calls.
#[derive(Debug)]
pub(super) struct Sessions {
    timers: Timers,
    pub(super) sessions: BTreeMap<CallId, Session>,
    pub(super) by_dialog: BTreeMap<DialogId, CallId>,
    schedule: Schedule<CallId>,
    live: usize,
    next: u32,
}

impl Sessions {
    pub(super) const fn new(timers: Timers) -> Self {
        Self {
            timers,
            sessions: BTreeMap::new(),
            by_dialog: BTreeMap::new(),
            schedule: Schedule::new(),
            live: 0,
            next: 1,
        }
    }

    pub(super) const fn live(&self) -> usize {
        self.live
    }

    /// Returns the flow of each call.
    pub(super) fn flows(&self) -> impl Iterator<Item = Flow> {
        self.sessions.values().map(|session| session.dialog.flow)
    }

    pub(super) fn find_dialog(&self, dialog: &DialogId) -> Option<CallId> {
        self.by_dialog.get(dialog).copied()
    }

    pub(super) fn find(&self, request: &Request) -> Option<CallId> {
        DialogId::of(request).and_then(|id| self.by_dialog.get(&id)).copied()
    }

    /// Returns the call whose INVITE or re-INVITE waits in `transaction`; nothing else can be cancelled (RFC 3261 §9.1).
    pub(super) fn find_by_transaction(&self, transaction: TransactionId) -> Option<CallId> {
        let waits = |session: &Session| {
            let invited = match &session.state {
                State::Invited(pending) | State::Taking { pending, .. } => pending.transaction == transaction,
                _ => false,
            };
            let reoffer = session.reoffer.as_ref().filter(|pending| pending.request.method() == Method::Invite);
            invited || reoffer.is_some_and(|pending| pending.transaction == transaction)
        };
        self.sessions.iter().find(|(_, session)| waits(session)).map(|(call, _)| *call)
    }

    /// Returns how many calls ring, or have a first 200 without its ACK: those from `address`, and all.
    pub(super) fn unacknowledged(&self, address: IpAddr) -> (usize, usize) {
        let waits = |session: &&Session| {
            matches!(session.state, State::Invited(_))
                || session.unacknowledged.as_ref().is_some_and(|ack| ack.is_first)
        };
        self.sessions
            .values()
            .filter(waits)
            .fold((0, 0), |(own, all), session| (own + usize::from(session.dialog.flow.peer.ip() == address), all + 1))
    }

    pub(super) fn insert(&mut self, session: Session) -> CallId {
        if self.sessions.len() - self.live >= LEAVING_MAX {
            let oldest = self.sessions.iter().find(|(_, session)| session.is_over()).map(|(call, _)| *call);
            oldest.into_iter().for_each(|call| self.remove(call));
        }
        let call = CallId(self.next);
        self.next = self.next.wrapping_add(1).max(1);
        self.by_dialog.insert(session.dialog.id().clone(), call);
        self.live += usize::from(session.is_live());
        self.schedule.set(&call, session.deadline());
        self.sessions.insert(call, session);
        call
    }

    pub(super) fn remove(&mut self, call: CallId) {
        if let Some(session) = self.sessions.remove(&call) {
            self.by_dialog.remove(session.dialog.id());
            self.live -= usize::from(session.is_live());
            self.schedule.set(&call, None);
        }
    }

    /// Changes a call by `change`, and keeps its deadline and the number of live calls right.
    pub(super) fn with<R>(&mut self, call: CallId, change: impl FnOnce(&mut Session, &Timers) -> R) -> Option<R> {
        let session = self.sessions.get_mut(&call)?;
        let was_live = session.is_live();
        let result = change(session, &self.timers);
        self.live = self.live - usize::from(was_live) + usize::from(session.is_live());
        self.schedule.set(&call, session.deadline());
        Some(result)
    }

    /// Gives the sessions of two calls to each other.
    pub(super) fn exchange(&mut self, one: CallId, other: CallId) {
        let (Some(first), Some(second)) = (self.sessions.remove(&one), self.sessions.remove(&other)) else { return };
        for (call, session) in [(one, second), (other, first)] {
            self.by_dialog.insert(session.dialog.id().clone(), call);
            self.schedule.set(&call, session.deadline());
            self.sessions.insert(call, session);
        }
    }

    /// Puts another dialog in the place of a call's.
    pub(super) fn set_dialog(&mut self, call: CallId, dialog: Dialog) {
        let Some(session) = self.sessions.get_mut(&call) else { return };
        self.by_dialog.remove(session.dialog.id());
        self.by_dialog.insert(dialog.id().clone(), call);
        session.dialog = dialog;
    }

    pub(super) fn get(&self, call: CallId) -> Option<&Session> {
        self.sessions.get(&call)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<CallId> {
        self.schedule.pop_due(now)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.schedule.next()
    }
}
