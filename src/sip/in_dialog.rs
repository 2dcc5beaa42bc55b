//! What comes within a call: BYE, re-INVITE, UPDATE, INFO, OPTIONS (RFC 3261 §12.2.2, §14.2, §15.1.2, RFC 3311, RFC 6086).

use super::info::{self, Info};
use super::message::{Method, Request};
use super::refusals::{RETRY_AFTER_GLARE_S, for_body, for_info, unsupported};
use super::response::{ALLOW, Response};
use super::session::{Pending, REOFFER_MAX, Session, State, begin, contact};
use super::transaction::TransactionId;
use super::{EndedBy, Event, UserAgent, body, options};
use crate::ids::CallId;
use crate::time::Instant;
use std::net::SocketAddr;

/// Longest reason of a BYE that is passed on, in characters.
const REASON_CHARS_MAX: usize = 128;

/// A request within a dialog, on its way to its answer.
struct Arrival {
    call: CallId,
    request: Request,
    source: SocketAddr,
    tag: String,
    transaction: TransactionId,
}

impl Arrival {
    fn begin(&self, status: u16) -> Response {
        Response::new(status, self.request.envelope(), self.source, &self.tag)
    }
}

impl UserAgent {
    /// Takes a request within a dialog, but ACK and CANCEL.
    pub(super) fn handle_in_dialog(
        &mut self,
        call: CallId,
        request: Request,
        source: SocketAddr,
        local: SocketAddr,
        now: Instant,
    ) {
        let Some(tag) = self.sessions.get(call).map(|session| session.dialog.tag().to_owned()) else { return };
        let Some(transaction) = self.transactions.open(&request, request.envelope().route(source)) else {
            return self.refuse_for_load(&request, source);
        };
        let arrival = Arrival { call, request, source, tag, transaction };
        let in_order = self.sessions.with(call, |session, _| {
            let in_order = session.dialog.advance(arrival.request.cseq());
            if in_order {
                session.dialog.flow = source;
                session.dialog.local_address = local;
            }
            in_order
        });
        if in_order != Some(true) {
            return self.respond(&arrival, arrival.begin(500).phrase("CSeq Out Of Order"), now);
        }
        if let Some(required) = unsupported(&arrival.request) {
            return self.respond(&arrival, arrival.begin(420).with("Unsupported", required), now);
        }
        let is_over =
            matches!(self.sessions.get(call), Some(Session { state: State::Leaving { .. } | State::Left, .. }));
        match arrival.request.method() {
            Method::Bye => self.handle_bye(&arrival, now),
            _ if is_over => self.respond(&arrival, arrival.begin(481), now),
            Method::Invite | Method::Update => self.handle_reoffer(arrival, now),
            Method::Info => self.handle_info(&arrival, now),
            Method::Options => self.respond(&arrival, options::describe(arrival.begin(200)), now),
            // No reliable provisional response was sent (RFC 3262 §3).
            Method::PRack => self.respond(&arrival, arrival.begin(481), now),
            _ => self.respond(&arrival, arrival.begin(405).with("Allow", ALLOW), now),
        }
    }

    fn respond(&mut self, arrival: &Arrival, response: Response, now: Instant) {
        let (status, bytes) = (response.status(), response.write(&self.product));
        self.transactions.respond(arrival.transaction, status, bytes, now, &mut self.out);
    }

    /// BYE: 200, whatever state the call is in; what is still open gets 487.
    fn handle_bye(&mut self, arrival: &Arrival, now: Instant) {
        let call = arrival.call;
        self.respond(arrival, arrival.begin(200), now);
        self.end_reoffer(call, now);
        let Some(session) = self.sessions.get(call) else { return };
        if let State::Invited(pending) = &session.state {
            let response = begin(487, pending, &session.dialog).write(&self.product);
            self.transactions.respond(pending.transaction, 487, response, now, &mut self.out);
        }
        if matches!(session.state, State::Invited(_) | State::Established) {
            let reason = arrival.request.header("Reason").unwrap_or("hung up").chars().take(REASON_CHARS_MAX).collect();
            self.out.event(Event::Ended { call, by: EndedBy::Caller, reason });
        }
        self.sessions.remove(call);
    }

    fn handle_info(&mut self, arrival: &Arrival, now: Instant) {
        let info = info::read(&arrival.request);
        let refusal = for_info(info, |status| arrival.begin(status));
        if let Info::Digit { digit, duration_ms } = info {
            self.out.event(Event::Digit { call: arrival.call, digit, duration_ms });
        }
        self.respond(arrival, refusal.unwrap_or_else(|| arrival.begin(200)), now);
    }

    /// Re-INVITE or UPDATE: one at a time, and the engine decides.
    fn handle_reoffer(&mut self, arrival: Arrival, now: Instant) {
        let call = arrival.call;
        let offer = match body::session_description(&arrival.request) {
            Ok(offer) => offer.map(<[u8]>::to_vec),
            Err(refusal) => {
                let response = for_body(refusal, |status| arrival.begin(status));
                return self.respond(&arrival, response, now);
            }
        };
        let is_invite = arrival.request.method() == Method::Invite;
        let Some(session) = self.sessions.get(call) else { return };
        if !is_invite && offer.is_none() {
            // RFC 3311 §5.2: an UPDATE without an offer refreshes the target and nothing else.
            return self.refresh(&arrival, now);
        }
        let theirs_is_open = session.reoffer.is_some() || matches!(session.state, State::Invited(_));
        let ours_is_open = session.unacknowledged.as_ref().is_some_and(|waiting| waiting.offer_is_ours);
        if theirs_is_open {
            // RFC 3261 §14.2, RFC 3311 §5.2: an offer of theirs is not answered yet.
            let seconds = self.rng.u32(..=RETRY_AFTER_GLARE_S);
            return self.respond(&arrival, arrival.begin(500).with("Retry-After", seconds.to_string()), now);
        }
        if ours_is_open {
            return self.respond(&arrival, arrival.begin(491), now);
        }
        if is_invite {
            // Whoever re-INVITEs has seen the 200, even if its ACK was lost (RFC 5407 §3.1.4).
            let waiting = self.sessions.with(call, |session, _| session.unacknowledged.take()).flatten();
            if waiting.is_some_and(|waiting| waiting.is_first) {
                self.out.event(Event::Confirmed { call, answer: None });
            }
            let trying = arrival.begin(100);
            self.respond(&arrival, trying, now);
        }
        let Arrival { mut request, source, transaction, .. } = arrival;
        request.drop_body();
        let offer_is_ours = offer.is_none();
        let pending = Pending { transaction, request, source, expires_at: now + REOFFER_MAX, offer_is_ours };
        self.sessions.with(call, |session, _| session.reoffer = Some(Box::new(pending)));
        self.out.event(Event::Reoffered { call, offer });
    }

    fn refresh(&mut self, arrival: &Arrival, now: Instant) {
        let local = self.sessions.with(arrival.call, |session, _| {
            session.dialog.refresh_target(arrival.request.contact_uri());
            session.dialog.local_address
        });
        let Some(local) = local else { return };
        let response = arrival.begin(200).with("Contact", contact(local)).with("Allow", ALLOW);
        self.respond(arrival, response.with("Supported", options::SUPPORTED), now);
    }
}
