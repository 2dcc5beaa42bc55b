//! What comes within a call: BYE, re-INVITE, UPDATE, INFO, OPTIONS (RFC 3261 §12.2.2, §14.2, §15.1.2, RFC 3311, RFC 6086);
//! PRACK, REFER and NOTIFY have files of their own.

use super::flow::Flow;
use super::info::{self, Info};
use super::message::{Method, Request};
use super::refusals::{RETRY_AFTER_GLARE_S, for_body, for_info, unsupported};
use super::response::{ALLOW, Response};
use super::session::{Pending, REOFFER_MAX, Session, State, begin, contact};
use super::session_timer::{MIN_SE_S, Terms, allows_update};
use super::transaction::TransactionId;
use super::{EndedBy, Event, Refusal, UserAgent, body, options, reason};
use crate::ids::CallId;
use crate::time::Instant;

/// A request within a dialog, on its way to its answer.
pub(super) struct Arrival {
    pub(super) call: CallId,
    pub(super) request: Request,
    pub(super) flow: Flow,
    tag: String,
    transaction: TransactionId,
}

impl Arrival {
    pub(super) fn begin(&self, status: u16) -> Response {
        Response::new(status, self.request.envelope(), self.flow, &self.tag)
    }
}

impl UserAgent {
    /// Takes a request within a dialog, but ACK and CANCEL.
    pub(super) fn handle_in_dialog(&mut self, call: CallId, request: Request, flow: Flow, now: Instant) {
        let Some(tag) = self.sessions.get(call).map(|session| session.dialog.tag().to_owned()) else { return };
        let Some(transaction) = self.transactions.open(&request, request.envelope().route(flow)) else {
            return self.refuse_for_load(&request, flow);
        };
        let arrival = Arrival { call, request, flow, tag, transaction };
        let in_order = self.sessions.with(call, |session, _| {
            let in_order = session.dialog.advance(arrival.request.cseq());
            if in_order {
                session.dialog.flow = flow;
                session.allows_update = allows_update(arrival.request.values("Allow")).unwrap_or(session.allows_update);
            }
            in_order
        });
        if in_order != Some(true) {
            return self.respond(&arrival, arrival.begin(500).phrase("CSeq Out Of Order"), now);
        }
        if let Some(required) = unsupported(&arrival.request) {
            return self.respond(&arrival, arrival.begin(420).with("Unsupported", required), now);
        }
        let is_over = self.sessions.get(call).is_some_and(Session::is_over);
        match arrival.request.method() {
            Method::Bye => self.handle_bye(&arrival, now),
            _ if is_over => self.respond(&arrival, arrival.begin(481), now),
            Method::Invite | Method::Update => self.handle_reoffer(arrival, now),
            Method::Info => self.handle_info(&arrival, now),
            Method::Options => self.respond(&arrival, options::describe(arrival.begin(200)), now),
            Method::PRack => self.handle_prack(&arrival, now),
            Method::Refer => self.handle_refer(&arrival, now),
            Method::Notify => self.handle_notify(&arrival, now),
            _ => self.respond(&arrival, arrival.begin(405).with("Allow", ALLOW), now),
        }
    }

    pub(super) fn respond(&mut self, arrival: &Arrival, response: Response, now: Instant) {
        let (status, bytes) = (response.status(), response.write(&self.product));
        self.transactions.respond(arrival.transaction, status, bytes, now, &mut self.out);
    }

    /// BYE: 200, whatever state the call is in; what is still open gets 487.
    fn handle_bye(&mut self, arrival: &Arrival, now: Instant) {
        let call = arrival.call;
        self.respond(arrival, arrival.begin(200), now);
        self.end_reoffer(call, now);
        let Some(session) = self.sessions.get(call) else { return };
        if matches!(session.state, State::Taking { .. }) {
            return self.refuse_replacing(call, &Refusal { status: 487, warning: None, retry_after_s: None }, now);
        }
        if let Some(leg) = session.referral.as_ref().and_then(|referral| referral.leg) {
            return self.leave_to_target(call, leg);
        }
        self.end_legs(call, now);
        let Some(session) = self.sessions.get(call) else { return };
        if let State::Invited(pending) = &session.state {
            let response = begin(487, pending, &session.dialog).write(&self.product);
            self.transactions.respond(pending.transaction, 487, response, now, &mut self.out);
        }
        if matches!(session.state, State::Invited(_) | State::Established) {
            let reason = reason::read(&arrival.request).unwrap_or_else(|| "hung up".to_owned());
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
        let Ok(terms) = Terms::for_request(&arrival.request, self.settings.session_expires_s) else {
            return self.respond(&arrival, too_small(arrival.begin(422)), now);
        };
        let is_invite = arrival.request.method() == Method::Invite;
        let Some(session) = self.sessions.get(call) else { return };
        if !is_invite && offer.is_none() {
            // RFC 3311 §5.2: an UPDATE without an offer refreshes the target and nothing else.
            return self.refresh(&arrival, terms, now);
        }
        let theirs_is_open =
            session.reoffer.is_some() || matches!(session.state, State::Invited(_) | State::Taking { .. });
        let in_200 = session.unacknowledged.as_ref().is_some_and(|waiting| waiting.offer_is_ours);
        let in_invite = session.refresh.as_ref().is_some_and(|refresh| refresh.method == Method::Invite);
        let ours_is_open = in_200 || in_invite;
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
        let Arrival { mut request, flow, transaction, .. } = arrival;
        request.drop_body();
        let offer_is_ours = offer.is_none();
        let pending = Pending { transaction, request, flow, expires_at: now + REOFFER_MAX, offer_is_ours, terms };
        self.sessions.with(call, |session, _| session.reoffer = Some(Box::new(pending)));
        self.out.event(Event::Reoffered { call, offer });
    }

    fn refresh(&mut self, arrival: &Arrival, terms: Option<Terms>, now: Instant) {
        let refreshed = self.sessions.with(arrival.call, |session, _| {
            session.dialog.refresh_target(arrival.request.contact_uri());
            // Before the answer there is no session to refresh (RFC 4028 §7.4).
            let terms = terms.filter(|_| matches!(session.state, State::Established));
            session.restart_timer(terms, now);
            (session.dialog.flow, terms)
        });
        let Some((flow, terms)) = refreshed else { return };
        let mut response = arrival.begin(200).with("Contact", contact(flow, &arrival.request)).with("Allow", ALLOW);
        if let Some(terms) = terms {
            response = terms.complete(response);
        }
        self.respond(arrival, response.with("Supported", options::SUPPORTED), now);
    }
}

/// Completes a 422 (RFC 4028 §9).
pub(super) fn too_small(response: Response) -> Response {
    response.with("Min-SE", MIN_SE_S.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::rig::{Caller, Rig, refusal};
    use super::super::{Command, EndedBy};
    use super::*;
    use std::time::Duration;

    const NOTHING: [&str; 0] = [];
    const GONE: &str = "481 Call/Transaction Does Not Exist";

    fn established() -> (Rig, Caller, CallId) {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        let call = rig.establish(&mut caller);
        (rig, caller, call)
    }

    fn accept(call: CallId) -> Command {
        Command::AcceptReoffer { call, sdp: Some(b"v=0 again".to_vec()) }
    }

    fn offered(call: CallId) -> Event {
        Event::Reoffered { call, offer: Some(b"v=0 theirs".to_vec()) }
    }

    #[test]
    fn a_bye_ends_the_call_and_its_repetition_is_answered() {
        let (mut rig, mut caller, call) = established();
        let bye = caller.request("BYE", "Reason: SIP;cause=200;text=\"done\"\r\n", "");
        assert_eq!(rig.say(&bye), ["200 OK"]);
        let reason = "done".into();
        assert_eq!(rig.events(), [Event::Ended { call, by: EndedBy::Caller, reason }]);
        assert_eq!(rig.say(&bye), ["200 OK"]);
        assert_eq!(rig.say(&caller.request("BYE", "", "")), [GONE]);
        assert_eq!(rig.command(Command::HangUp { call, reason: String::new() }), NOTHING);
        assert_eq!(rig.events(), []);
    }

    #[test]
    fn a_bye_before_the_answer_ends_the_invite_too() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        let call = rig.invite(&caller);
        rig.command(Command::Ring { call });
        caller.hear(&rig.last().clone());
        assert_eq!(rig.say(&caller.request("BYE", "", "")), ["200 OK", "487 Request Terminated"]);
        assert_eq!(rig.events().len(), 1);
    }

    #[test]
    fn a_bye_before_the_ack_stops_the_200() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        let call = rig.invite(&caller);
        rig.command(Command::Answer { call, sdp: b"v=0".to_vec() });
        caller.hear(&rig.last().clone());
        assert_eq!(rig.say(&caller.request("BYE", "", "")), ["200 OK"]);
        assert_eq!(rig.run(Duration::from_secs(40)), []);
    }

    #[test]
    fn byes_that_cross_are_both_answered() {
        let (mut rig, mut caller, call) = established();
        rig.command(Command::HangUp { call, reason: "x".into() });
        assert_eq!(rig.say(&caller.request("BYE", "", "")), ["200 OK"]);
        assert_eq!(rig.events().len(), 1);
    }

    #[test]
    fn a_reinvite_is_answered_and_moves_the_call() {
        let (mut rig, mut caller, call) = established();
        caller.headers = "Contact: <sip:moved@192.0.2.9:1;ob>\r\n".into();
        rig.source = "127.0.0.1:40001".parse().expect("an address");
        assert_eq!(rig.say(&caller.reinvite()), ["100 Trying"]);
        assert_eq!(rig.events(), [offered(call)]);
        assert_eq!(rig.command(accept(call)), ["200 OK"]);
        assert!(rig.last().text.ends_with("v=0 again") && rig.last().header("Contact").is_some());
        assert_eq!(rig.run(Duration::from_millis(500)), [(500, "200 OK".into())]);
        rig.say(&caller.ack(""));
        assert_eq!(rig.run(Duration::from_secs(40)), []);
        assert_eq!(rig.events(), []);
        assert_eq!(rig.command(Command::HangUp { call, reason: "x".into() }), ["BYE sip:moved@192.0.2.9:1;ob"]);
        assert_eq!(rig.last().to, rig.source);
    }

    #[test]
    fn a_refused_reinvite_leaves_the_call_as_it_was() {
        let (mut rig, mut caller, call) = established();
        caller.headers = "Contact: <sip:moved@192.0.2.9:1;ob>\r\n".into();
        rig.say(&caller.reinvite());
        assert_eq!(rig.command(Command::RefuseReoffer { call, refusal: refusal(488) }), ["488 Not Acceptable Here"]);
        assert_eq!(rig.say(&caller.ack_refusal()), NOTHING);
        assert_eq!(rig.run(Duration::from_secs(40)), []);
        assert_eq!(rig.command(Command::HangUp { call, reason: "x".into() }), ["BYE sip:a@127.0.0.1:40000;ob"]);
    }

    #[test]
    fn one_offer_at_a_time() {
        let (mut rig, mut caller, call) = established();
        let headers = caller.headers.clone();
        assert_eq!(rig.say(&caller.request("UPDATE", &headers, "v=0 theirs")), NOTHING);
        assert_eq!(rig.events(), [offered(call)]);
        assert_eq!(rig.say(&caller.request("UPDATE", &headers, "v=0 more")), ["500 Server Internal Error"]);
        let seconds: u32 = rig.last().header("Retry-After").and_then(|text| text.parse().ok()).expect("seconds");
        assert!(seconds <= 10);
        assert_eq!(rig.say(&caller.request("INVITE", &headers, "v=0 more")), ["500 Server Internal Error"]);
        assert_eq!(rig.command(accept(call)), ["200 OK"]);
        assert_eq!(rig.last().header("CSeq"), Some("101 UPDATE"));
        assert_eq!(rig.command(accept(call)), NOTHING);
        assert_eq!(rig.run(Duration::from_secs(3)).iter().filter(|(_, what)| what == "200 OK").count(), 0);
    }

    #[test]
    fn an_offer_that_meets_ours_is_refused() {
        let (mut rig, mut caller, call) = established();
        let headers = caller.headers.clone();
        assert_eq!(rig.say(&caller.request("INVITE", &headers, "")), ["100 Trying"]);
        assert_eq!(rig.events(), [Event::Reoffered { call, offer: None }]);
        rig.command(accept(call));
        assert_eq!(rig.say(&caller.request("UPDATE", &headers, "v=0 theirs")), ["491 Request Pending"]);
        assert_eq!(rig.say(&caller.ack("v=0 answer")), NOTHING);
        assert_eq!(rig.events(), [Event::Confirmed { call, answer: Some(b"v=0 answer".to_vec()) }]);
    }

    #[test]
    fn an_offer_before_the_answer_has_to_wait() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        let call = rig.invite(&caller);
        rig.command(Command::Ring { call });
        caller.hear(&rig.last().clone());
        let headers = caller.headers.clone();
        assert_eq!(rig.say(&caller.request("UPDATE", &headers, "v=0")), ["500 Server Internal Error"]);
        assert_eq!(rig.say(&caller.request("UPDATE", &headers, "")), ["200 OK"]);
        assert_eq!(rig.events(), []);
    }

    #[test]
    fn a_reinvite_stands_for_an_ack_that_was_lost() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        let call = rig.invite(&caller);
        rig.command(Command::Answer { call, sdp: b"v=0".to_vec() });
        caller.hear(&rig.last().clone());
        assert_eq!(rig.say(&caller.reinvite()), ["100 Trying"]);
        assert_eq!(rig.events(), [Event::Confirmed { call, answer: None }, offered(call)]);
        rig.command(accept(call));
        rig.say(&caller.ack(""));
        assert_eq!(rig.run(Duration::from_secs(40)), []);
        assert_eq!(rig.ua.live_calls(), 1);
    }

    #[test]
    fn an_offer_that_the_engine_leaves_open_is_refused_in_time() {
        let (mut rig, mut caller, call) = established();
        rig.say(&caller.reinvite());
        assert_eq!(rig.run(REOFFER_MAX).first(), Some(&(10_000, "500 Server Internal Error".to_owned())));
        assert_eq!(rig.command(accept(call)), NOTHING);
        assert_eq!(rig.ua.live_calls(), 1);
    }

    #[test]
    fn a_cancelled_reinvite_leaves_the_call() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        let call = rig.establish(&mut caller);
        let headers = caller.headers.clone();
        let reinvite = caller.request("INVITE", &headers, "v=0 theirs");
        rig.say(&reinvite);
        let cancel = reinvite.split("Contact").next().expect("a head").replace("INVITE", "CANCEL") + "\r\n";
        assert_eq!(rig.say(&cancel), ["200 OK", "487 Request Terminated"]);
        assert_eq!(rig.events(), [offered(call)]);
        assert_eq!((rig.command(accept(call)).len(), rig.ua.live_calls()), (0, 1));
    }

    #[test]
    fn hanging_up_ends_an_open_offer() {
        let (mut rig, mut caller, call) = established();
        rig.say(&caller.reinvite());
        assert_eq!(
            rig.command(Command::HangUp { call, reason: "x".into() }),
            ["487 Request Terminated", "BYE sip:a@127.0.0.1:40000;ob"]
        );
    }

    #[test]
    fn a_reinvite_without_its_ack_ends_the_call() {
        let (mut rig, mut caller, call) = established();
        rig.say(&caller.reinvite());
        rig.command(accept(call));
        rig.events();
        assert!(rig.run(Duration::from_secs(32)).iter().any(|(at, what)| *at == 32_000 && what.starts_with("BYE")));
        assert_eq!(rig.events(), [Event::Ended { call, by: EndedBy::Engine, reason: "no ACK".into() }]);
    }

    #[test]
    fn an_update_without_an_offer_refreshes_the_target() {
        let (mut rig, mut caller, call) = established();
        let update =
            caller.request("UPDATE", "Contact: <sip:new@192.0.2.9>\r\nSession-Expires: 1800;refresher=uac\r\n", "");
        assert_eq!(rig.say(&update), ["200 OK"]);
        assert_eq!(rig.events(), []);
        assert_eq!(rig.command(Command::HangUp { call, reason: "x".into() }), ["BYE sip:new@192.0.2.9"]);
    }

    #[test]
    fn digits_come_by_info() {
        let (mut rig, mut caller, call) = established();
        let with = |caller: &mut Caller, kind: &str, body: &str| {
            caller.request("INFO", "", body).replace("application/sdp", kind)
        };
        assert_eq!(rig.say(&with(&mut caller, "application/dtmf-relay", "Signal=5\r\nDuration=160")), ["200 OK"]);
        assert_eq!(rig.events(), [Event::Digit { call, digit: '5', duration_ms: 160 }]);
        assert_eq!(rig.say(&with(&mut caller, "text/plain", "hi")), ["415 Unsupported Media Type"]);
        assert!(rig.last().header("Accept").is_some());
        assert_eq!(rig.say(&caller.request("INFO", "Info-Package: x\r\n", "")), ["469 Bad Info Package"]);
        assert_eq!(rig.last().header("Recv-Info"), Some(""));
        assert_eq!(rig.say(&with(&mut caller, "application/dtmf", "x")), ["400 Bad Digit"]);
        assert_eq!(rig.say(&caller.request("INFO", "", "")), ["200 OK"]);
        assert_eq!(rig.events(), []);
    }

    #[test]
    fn other_requests_in_a_call_are_refused_by_kind() {
        let (mut rig, mut caller, _) = established();
        assert_eq!(rig.say(&caller.request("OPTIONS", "", "")), ["200 OK"]);
        assert_eq!(rig.say(&caller.request("PRACK", "RAck: 1 1 INVITE\r\n", "")), [GONE]);
        assert_eq!(rig.say(&caller.request("NOTIFY", "Event: message-summary\r\n", "")), [GONE]);
        for method in ["SUBSCRIBE", "MESSAGE"] {
            assert_eq!(rig.say(&caller.request(method, "", "")), ["405 Method Not Allowed"]);
        }
        assert_eq!(rig.say(&caller.request("OPTIONS", "Require: gruu\r\n", "")), ["420 Bad Extension"]);
        assert_eq!(rig.ua.live_calls(), 1);
    }

    #[test]
    fn requests_out_of_order_or_of_no_dialog_are_refused() {
        let (mut rig, mut caller, _) = established();
        caller.cseq = 50;
        assert_eq!(rig.say(&caller.request("OPTIONS", "", "")), ["500 CSeq Out Of Order"]);
        caller.cseq = 1000;
        caller.to_tag = ";tag=guessed".into();
        for method in ["BYE", "INVITE", "OPTIONS", "INFO", "UPDATE"] {
            assert_eq!(rig.say(&caller.request(method, "Contact: <sip:a@b>\r\n", "")), [GONE]);
        }
        assert_eq!(rig.say(&caller.ack("")), NOTHING);
        assert_eq!(rig.ua.live_calls(), 1);
    }

    #[test]
    fn binary_and_mixed_bodies_of_a_reinvite_are_judged() {
        let (mut rig, mut caller, _) = established();
        let headers = caller.headers.clone();
        let odd = caller.request("INVITE", &headers, "v=0").replace("application/sdp", "application/octet-stream");
        assert_eq!(rig.say(&odd), ["415 Unsupported Media Type"]);
    }
}
