//! A new call, its CANCEL, and the ACK of every INVITE (RFC 3261 §9.2, §13.3).

use super::body;
use super::dialog::Dialog;
use super::message::Request;
use super::refusals::for_body;
use super::response::Response;
use super::session::{Pending, RING_MAX, Session, State, begin};
use super::{Discard, EndedBy, Event, Invitation, UserAgent};
use crate::ids::CallId;
use crate::time::Instant;
use std::net::SocketAddr;

impl UserAgent {
    /// Takes an INVITE outside of dialogs: 100 at once, then the engine decides.
    pub(super) fn handle_invite(&mut self, mut request: Request, source: SocketAddr, local: SocketAddr, now: Instant) {
        if self.is_full() {
            return self.refuse_for_load(&request, source);
        }
        let offer = match body::session_description(&request) {
            Ok(offer) => offer.map(<[u8]>::to_vec),
            Err(refusal) => {
                let response = for_body(refusal, |status| self.stateless(status, request.envelope(), source));
                return self.send_stateless(response, request.envelope(), source);
            }
        };
        let dialog = match Dialog::new(&request, self.tags.fresh(), source, local) {
            Ok(dialog) => dialog,
            Err(flaw) => {
                let response = self.stateless(flaw.status, request.envelope(), source).phrase(flaw.why);
                return self.send_stateless(response, request.envelope(), source);
            }
        };
        let Some(transaction) = self.transactions.open(&request, request.envelope().route(source)) else {
            return self.refuse_for_load(&request, source);
        };
        let mut trying = Response::new(100, request.envelope(), source, "");
        if let Some(timestamp) = request.header("Timestamp") {
            trying = trying.with("Timestamp", timestamp);
        }
        self.transactions.respond(transaction, 100, trying.write(&self.product), now, &mut self.out);

        request.drop_body();
        let (call_id, envelope) = (request.call_id().to_owned(), request.envelope());
        let (from, to) = (envelope.from().to_owned(), envelope.to().to_owned());
        let offer_is_ours = offer.is_none();
        let pending = Pending { transaction, request, source, expires_at: now + RING_MAX, offer_is_ours };
        let state = State::Invited(Box::new(pending));
        let call = self.sessions.insert(Session { dialog, state, reoffer: None, unacknowledged: None });
        let local = local.ip().to_canonical();
        self.out.event(Event::Invited(Invitation { call, call_id, from, to, source, local, offer }));
    }

    /// Takes a CANCEL (RFC 3261 §9.2): 200 to it in any case, and 487 to its INVITE if that is not answered yet.
    pub(super) fn handle_cancel(&mut self, request: &Request, source: SocketAddr, now: Instant) {
        let Some(cancelled) = self.transactions.find_cancelled(request) else {
            return self.refuse(request, source, 481);
        };
        let Some(own) = self.transactions.open(request, request.envelope().route(source)) else {
            return self.refuse_for_load(request, source);
        };
        let call = self.sessions.find_by_transaction(cancelled);
        let tag = call
            .and_then(|call| self.sessions.get(call))
            .map_or_else(|| self.tags.stateless(request.envelope()), |session| session.dialog.tag().to_owned());
        let ok = Response::new(200, request.envelope(), source, &tag);
        self.transactions.respond(own, 200, ok.write(&self.product), now, &mut self.out);
        if let Some(call) = call.filter(|_| self.transactions.is_open(cancelled)) {
            self.cancel(call, now);
        }
    }

    fn cancel(&mut self, call: CallId, now: Instant) {
        let Some(session) = self.sessions.get(call) else { return };
        let State::Invited(pending) = &session.state else {
            // A re-INVITE that is taken back leaves the session as it was.
            return self.end_reoffer(call, now);
        };
        let response = begin(487, pending, &session.dialog).write(&self.product);
        self.transactions.respond(pending.transaction, 487, response, now, &mut self.out);
        self.sessions.remove(call);
        self.out.event(Event::Ended { call, by: EndedBy::Caller, reason: "cancelled".to_owned() });
    }

    /// Takes an ACK, which is never answered: to a refusal it ends a transaction, to a 200 its repetition.
    pub(super) fn handle_ack(&mut self, request: &Request, source: SocketAddr, now: Instant) {
        if let Some(transaction) = self.transactions.find(request)
            && !self.transactions.acknowledge(transaction, now)
        {
            return;
        }
        let Some(call) = self.sessions.find(request) else {
            self.out.counters.discard(Discard::StrayAck);
            return;
        };
        let acknowledged = self.sessions.with(call, |session, _| {
            let waiting = session.unacknowledged.take_if(|waiting| waiting.cseq == request.cseq())?;
            session.dialog.flow = source;
            Some(waiting)
        });
        let Some(waiting) = acknowledged.flatten() else {
            // Each repetition of a 200 is acknowledged again.
            self.out.counters.retransmissions_absorbed += 1;
            return;
        };
        if matches!(self.sessions.get(call), Some(Session { state: State::Leaving { .. }, .. })) {
            return self.send_bye(call, now);
        }
        let answer = body::session_description(request).ok().flatten().filter(|_| waiting.offer_is_ours);
        if waiting.is_first || waiting.offer_is_ours {
            self.out.event(Event::Confirmed { call, answer: answer.map(<[u8]>::to_vec) });
        }
    }
}
