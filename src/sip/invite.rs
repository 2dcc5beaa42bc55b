//! A new call, its CANCEL, and the ACK of every INVITE (RFC 3261 §9.2, §13.3).

use super::admission::CALL_FOR;
use super::body;
use super::dialog::Dialog;
use super::flow::Flow;
use super::in_dialog::too_small;
use super::message::Request;
use super::refusals::for_body;
use super::response::Response;
use super::session::{Pending, RING_MAX, Session, State, begin};
use super::session_timer::{Terms, allows_update};
use super::{Discard, EndedBy, Event, Invitation, Refusal, UserAgent, reason};
use crate::ids::CallId;
use crate::time::Instant;

/// What an INVITE brings that opens a dialog.
pub(super) struct Opening {
    /// Its session description, where it has one.
    pub(super) offer: Option<Vec<u8>>,
    /// What it says of a session timer.
    pub(super) terms: Option<Terms>,
    /// The dialog.
    pub(super) dialog: Dialog,
}

impl UserAgent {
    /// Takes an INVITE outside of dialogs: 100 at once, then the engine decides.
    pub(super) fn handle_invite(&mut self, mut request: Request, flow: Flow, now: Instant) {
        if request.header("Replaces").is_some() {
            return self.handle_replacing_invite(request, flow, now);
        }
        if self.is_full() {
            return self.refuse_for_load(&request, flow);
        }
        if self.has_enough_unacknowledged(flow) {
            self.out.counters.refused_unacknowledged += 1;
            return self.refuse_for_load(&request, flow);
        }
        let Some(Opening { offer, terms, dialog }) = self.read_opening(&request, flow) else { return };
        let Some(transaction) = self.transactions.open(&request, request.envelope().route(flow)) else {
            return self.refuse_for_load(&request, flow);
        };
        let mut trying = Response::new(100, request.envelope(), flow, "");
        if let Some(timestamp) = request.header("Timestamp") {
            trying = trying.with("Timestamp", timestamp);
        }
        self.transactions.respond(transaction, 100, trying.write(&self.product), now, &mut self.out);

        request.drop_body();
        let (call_id, envelope) = (request.call_id().to_owned(), request.envelope());
        let (from, to) = (envelope.from().to_owned(), envelope.to().to_owned());
        let offer_is_ours = offer.is_none();
        let takes_update = allows_update(request.values("Allow")).unwrap_or(false);
        let pending = Pending { transaction, request, flow, expires_at: now + RING_MAX, offer_is_ours, terms };
        let state = State::Invited(Box::new(pending));
        let call = self.sessions.insert(Session::new(dialog, state, takes_update));
        let (source, local) = (flow.peer, flow.local.ip().to_canonical());
        self.out.event(Event::Invited(Invitation {
            call,
            call_id,
            from,
            to,
            source,
            local,
            transport: flow.transport,
            offer,
        }));
    }

    /// Reads what an INVITE brings that opens a dialog; `None`: it is refused, since a part of it cannot be used.
    pub(super) fn read_opening(&mut self, request: &Request, flow: Flow) -> Option<Opening> {
        let envelope = request.envelope();
        let refusal = match body::session_description(request) {
            Err(refusal) => for_body(refusal, |status| self.stateless(status, envelope, flow)),
            Ok(offer) => match Terms::for_request(request, self.settings.session_expires_s) {
                Err(_) => too_small(self.stateless(422, envelope, flow)),
                Ok(terms) => match Dialog::new(request, self.tags.fresh(), flow) {
                    Err(flaw) => self.stateless(flaw.status, envelope, flow).phrase(flaw.why),
                    Ok(dialog) => return Some(Opening { offer: offer.map(<[u8]>::to_vec), terms, dialog }),
                },
            },
        };
        self.send_stateless(refusal, envelope, flow);
        None
    }

    /// Takes a CANCEL (RFC 3261 §9.2): 200 to it in any case, and 487 to its INVITE if that is not answered yet.
    pub(super) fn handle_cancel(&mut self, request: &Request, flow: Flow, now: Instant) {
        let Some(cancelled) = self.transactions.find_cancelled(request) else {
            return self.refuse(request, flow, 481);
        };
        let Some(own) = self.transactions.open(request, request.envelope().route(flow)) else {
            return self.refuse_for_load(request, flow);
        };
        let call = self.sessions.find_by_transaction(cancelled);
        let tag = call
            .and_then(|call| self.sessions.get(call))
            .map_or_else(|| self.tags.stateless(request.envelope()), |session| session.dialog.tag().to_owned());
        let ok = Response::new(200, request.envelope(), flow, &tag);
        self.transactions.respond(own, 200, ok.write(&self.product), now, &mut self.out);
        if let Some(call) = call.filter(|_| self.transactions.is_open(cancelled)) {
            self.cancel(call, reason::read(request), now);
        }
    }

    fn cancel(&mut self, call: CallId, reason: Option<String>, now: Instant) {
        let Some(session) = self.sessions.get(call) else { return };
        if matches!(session.state, State::Taking { .. }) {
            return self.refuse_replacing(call, &Refusal { status: 487, warning: None, retry_after_s: None }, now);
        }
        let State::Invited(pending) = &session.state else {
            // A re-INVITE that is taken back leaves the session as it was.
            return self.end_reoffer(call, now);
        };
        let response = begin(487, pending, &session.dialog).write(&self.product);
        self.transactions.respond(pending.transaction, 487, response, now, &mut self.out);
        self.sessions.remove(call);
        let reason = reason.map_or_else(|| "cancelled".to_owned(), |reason| format!("cancelled: {reason}"));
        self.out.event(Event::Ended { call, by: EndedBy::Caller, reason });
    }

    /// Takes an ACK, which is never answered: to a refusal it ends a transaction, to a 200 its repetition.
    pub(super) fn handle_ack(&mut self, request: &Request, flow: Flow, now: Instant) {
        if let Some(transaction) = self.transactions.find(request)
            && !self.transactions.acknowledge(transaction, now)
        {
            return;
        }
        let Some(call) = self.sessions.find(request) else {
            self.out.counters.discard(Discard::StrayAck);
            return;
        };
        let moves = self.may_move(call, flow);
        let acknowledged = self.sessions.with(call, |session, _| {
            let waiting = session.unacknowledged.take_if(|waiting| waiting.cseq == request.cseq())?;
            if moves {
                session.dialog.flow = flow;
            }
            Some(waiting)
        });
        // Its tag went to that address alone: whoever acknowledges is there.
        if moves && matches!(acknowledged, Some(Some(_))) {
            self.admission.know(flow.peer, CALL_FOR);
        }
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

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::super::rig::{Caller, Rig, refusal};
    use super::*;
    use crate::config;
    use std::time::Duration;

    const NOTHING: [&str; 0] = [];

    fn answer(call: CallId) -> Command {
        Command::Answer { call, sdp: b"v=0 ours".to_vec() }
    }

    #[test]
    fn an_invite_gets_100_180_and_200_with_all_that_a_dialog_needs() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        caller.headers +=
            "Timestamp: 54\r\nRecord-Route: <sip:p1;lr>\r\nRecord-Route: <sip:p2;lr>\r\nSession-Expires: 1800\r\n";
        assert_eq!(rig.say(&caller.invite()), ["100 Trying"]);
        assert_eq!((rig.last().header("Timestamp"), rig.last().header("To")), (Some("54"), Some("sip:1000@127.0.0.1")));
        let events = rig.events();
        let [Event::Invited(invitation)] = events.as_slice() else { panic!("{events:?}") };
        let call = invitation.call;
        assert_eq!((invitation.call_id.as_str(), invitation.offer.as_deref()), ("a", Some(&b"v=0 theirs"[..])));
        assert_eq!(
            (invitation.from.as_str(), invitation.local.to_string()),
            ("<sip:a@127.0.0.1>;tag=from-a", "127.0.0.1".into())
        );

        assert_eq!(rig.command(Command::Ring { call }), ["180 Ringing"]);
        let to = rig.last().header("To").map(str::to_owned);
        assert_eq!(rig.command(answer(call)), ["200 OK"]);
        let ok = rig.last();
        assert_eq!(ok.header("To").map(str::to_owned), to);
        assert_eq!(ok.header("Contact"), Some("<sip:127.0.0.1:5060>"));
        assert_eq!(ok.header("Supported"), Some("100rel, timer, replaces, norefersub"));
        assert_eq!((ok.header("Session-Expires"), ok.header("Require")), (Some("1800;refresher=uas"), None));
        assert!(ok.header("Allow").is_some_and(|allow| allow.contains("UPDATE")));
        assert!(ok.text.contains("Record-Route: <sip:p1;lr>\r\nRecord-Route: <sip:p2;lr>\r\n"));
        assert!(
            ok.text
                .ends_with("Content-Type: application/sdp\r\nServer: Offhook/0\r\nContent-Length: 8\r\n\r\nv=0 ours")
        );
        assert_eq!(rig.ua.live_calls(), 1);
    }

    #[test]
    fn a_repeated_invite_is_absorbed_in_every_state() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        let call = rig.invite(&caller);
        assert_eq!(rig.say(&caller.invite()), ["100 Trying"]);
        rig.command(Command::Ring { call });
        assert_eq!(rig.say(&caller.invite()), ["180 Ringing"]);
        rig.command(answer(call));
        assert_eq!(rig.say(&caller.invite()), NOTHING);
        caller.hear(&rig.last().clone());
        rig.say(&caller.ack(""));
        assert_eq!(rig.say(&Caller::new("a").invite()), NOTHING);
        assert_eq!(rig.events(), [Event::Confirmed { call, answer: None }]);
        assert_eq!(rig.ua.counters().retransmissions_absorbed, 4);
    }

    #[test]
    fn a_cancel_gets_200_and_its_invite_487_until_the_ack() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        let call = rig.invite(&caller);
        rig.command(Command::Ring { call });
        let ringing = rig.last().header("To").map(str::to_owned);
        assert_eq!(rig.say(&caller.cancel()), ["200 OK", "487 Request Terminated"]);
        let tags: Vec<_> = rig.sent.iter().rev().take(2).map(|sent| sent.header("To").map(str::to_owned)).collect();
        assert_eq!(tags, [ringing.clone(), ringing]);
        assert_eq!(rig.events(), [Event::Ended { call, by: EndedBy::Caller, reason: "cancelled".into() }]);
        assert_eq!(rig.say(&caller.cancel()), ["200 OK"]);
        assert_eq!(rig.run(Duration::from_millis(600)), [(500, "487 Request Terminated".into())]);
        caller.hear(&rig.last().clone());
        assert_eq!(rig.say(&caller.ack_refusal()), NOTHING);
        assert_eq!(rig.run(Duration::from_secs(40)), []);
        assert_eq!(rig.command(answer(call)), NOTHING);
        assert_eq!((rig.ua.live_calls(), rig.ua.transactions()), (0, (0, 0)));
    }

    #[test]
    fn a_cancel_that_crosses_the_200_has_no_effect() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        let call = rig.invite(&caller);
        rig.command(answer(call));
        assert_eq!(rig.say(&caller.cancel()), ["200 OK"]);
        assert_eq!(rig.events(), []);
        caller.to_tag.clear();
        caller.hear(&rig.sent.iter().find(|sent| sent.text.contains("v=0 ours")).expect("the 200").clone());
        rig.say(&caller.ack(""));
        assert_eq!(rig.events(), [Event::Confirmed { call, answer: None }]);
    }

    #[test]
    fn without_an_offer_the_ack_brings_the_answer() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        caller.body.clear();
        assert_eq!(rig.say(&caller.invite()), ["100 Trying"]);
        let Some(Event::Invited(invitation)) = rig.events().pop() else { panic!("no invitation") };
        assert_eq!(invitation.offer, None);
        rig.command(answer(invitation.call));
        caller.hear(&rig.last().clone());
        rig.say(&caller.ack("v=0 answer"));
        assert_eq!(rig.events(), [Event::Confirmed { call: invitation.call, answer: Some(b"v=0 answer".to_vec()) }]);
        assert_eq!(rig.say(&caller.ack("v=0 answer")), NOTHING);
        assert_eq!(rig.events(), []);
    }

    #[test]
    fn over_the_cap_and_while_draining_nothing_is_kept() {
        let mut rig = Rig::with(&config::Sip { calls_max: 1, ..config::Sip::default() });
        let mut caller = Caller::new("a");
        rig.establish(&mut caller);
        let kept = rig.ua.transactions();
        assert_eq!(rig.say(&Caller::new("b").invite()), ["503 Service Unavailable"]);
        assert_eq!(rig.last().header("Retry-After"), Some("5"));
        assert_eq!(rig.say(&Caller::new("b").ack_refusal()), NOTHING);
        assert_eq!(rig.ua.transactions(), kept);
        assert_eq!(rig.say(&caller.request("BYE", "", "")), ["200 OK"]);
        rig.invite(&Caller::new("c"));
        rig.command(Command::Drain);
        assert_eq!(rig.say(&Caller::new("d").invite()), ["503 Service Unavailable"]);
        assert_eq!(rig.ua.counters().refused_for_load, 2);
    }

    #[test]
    fn a_merged_invite_is_refused() {
        let mut rig = Rig::new();
        let caller = Caller::new("a");
        rig.invite(&caller);
        assert_eq!(rig.say(&caller.invite().replace("z9hG4bKainv", "z9hG4bKother")), ["482 Loop Detected"]);
        assert_eq!(rig.events(), []);
    }

    #[test]
    fn an_invite_that_cannot_be_served_is_refused_with_the_reason() {
        for (headers, body, answer, header) in [
            (
                "Contact: <sip:a@b>\r\nRequire: 100rel, bar\r\nRequire: timer, foo\r\n",
                "v=0",
                "420 Bad Extension",
                Some(("Unsupported", "bar, foo")),
            ),
            (
                "Contact: <sip:a@b>\r\nSupported: timer\r\nx: 89\r\n",
                "v=0",
                "422 Session Interval Too Small",
                Some(("Min-SE", "90")),
            ),
            ("", "v=0", "400 Missing Contact", None),
            (
                "Contact: <sip:a@b>\r\nContent-Encoding: gzip\r\n",
                "v=0",
                "415 Unsupported Media Type",
                Some(("Accept-Encoding", "identity")),
            ),
            ("Contact: <sip:a@b>\r\nAccept: text/html\r\n", "v=0", "406 Not Acceptable", None),
            ("Contact: *\r\n", "v=0", "400 Missing Contact", None),
            ("Contact: <sip:a@b>\r\nRecord-Route: <bad\r\n", "v=0", "400 Bad Record-Route", None),
        ] {
            let mut rig = Rig::new();
            let mut caller = Caller::new("a");
            (caller.headers, caller.body) = (headers.into(), body.into());
            assert_eq!(rig.say(&caller.invite()), [answer]);
            if let Some((name, value)) = header {
                assert_eq!(rig.last().header(name), Some(value));
            }
            assert!(rig.last().header("To").is_some_and(|to| to.contains(";tag=")));
            assert_eq!((rig.events(), rig.ua.live_calls(), rig.ua.transactions()), (vec![], 0, (0, 0)));
        }
    }

    #[test]
    fn a_hidden_caller_is_taken_by_its_first_from() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        caller.headers += "Privacy: id\r\nFrom: \"Anonymous\" <sip:anonymous@anonymous.invalid>\r\n";
        rig.establish(&mut caller);
        let mut twice = Caller::new("b");
        twice.headers += "From: <sip:x@y>;tag=2\r\n";
        assert_eq!(rig.say(&twice.invite()), ["400 Repeated Header"]);
    }

    #[test]
    fn the_engines_refusal_is_sent_until_its_ack() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        let call = rig.invite(&caller);
        let refused =
            Refusal { status: 488, warning: Some((304, "no \"common\" codec\r\nX: y".into())), retry_after_s: Some(7) };
        assert_eq!(rig.command(Command::Refuse { call, refusal: refused }), ["488 Not Acceptable Here"]);
        assert_eq!(rig.last().header("Warning"), Some("304 127.0.0.1 \"no \\\"common\\\" codecX: y\""));
        assert_eq!(rig.last().header("Retry-After"), Some("7"));
        assert_eq!(rig.run(Duration::from_millis(1500)).len(), 2);
        caller.hear(&rig.last().clone());
        rig.say(&caller.ack_refusal());
        assert_eq!(rig.run(Duration::from_secs(60)), []);
        assert_eq!((rig.events(), rig.ua.live_calls()), (vec![], 0));
        let call = rig.invite(&Caller::new("b"));
        assert_eq!(rig.command(Command::Refuse { call, refusal: refusal(200) }), ["500 Server Internal Error"]);
    }

    #[test]
    fn a_call_that_rings_too_long_is_given_up() {
        let mut rig = Rig::new();
        let call = rig.invite(&Caller::new("a"));
        assert_eq!(rig.run(RING_MAX), [(180_000, "480 Temporarily Unavailable".into())]);
        let reason = "not answered in time".into();
        assert_eq!(rig.events(), [Event::Ended { call, by: EndedBy::Engine, reason }]);
    }

    #[test]
    fn an_invite_of_rfc_2543_makes_a_call_too() {
        let mut rig = Rig::new();
        let text = "INVITE sip:UserB@example.com SIP/2.0\r\nVia: SIP/2.0/UDP iftgw.example.com\r\n\
                    From: <sip:+13035551111@ift.client.example.net;user=phone>\r\nRecord-Route: <sip:UserB@example.com;maddr=ss1.example.com>\r\n\
                    To: sip:+16505552222@ss1.example.net;user=phone\r\nCall-ID: inv2543.1717@ift.client.example.com\r\nCSeq: 56 INVITE\r\n\
                    Content-Type: application/sdp\r\n\r\nv=0";
        assert_eq!(rig.say(text), ["100 Trying"]);
        let Some(Event::Invited(invitation)) = rig.events().pop() else { panic!("no invitation") };
        assert_eq!(rig.say(text), ["100 Trying"]);
        rig.command(answer(invitation.call));
        assert_eq!(rig.last().to.port(), 5060);
        let to = rig.last().header("To").expect("To").to_owned();
        let ack = text.replace("INVITE", "ACK").replace("sip:+16505552222@ss1.example.net;user=phone", &to);
        assert_eq!(rig.say(&ack), NOTHING);
        assert_eq!(rig.events(), [Event::Confirmed { call: invitation.call, answer: None }]);
        // The one route is strict: it takes the Request-URI, and From is the target.
        assert_eq!(
            rig.command(Command::HangUp { call: invitation.call, reason: "x".into() }),
            ["BYE sip:UserB@example.com;maddr=ss1.example.com"]
        );
        assert_eq!(rig.last().header("Route"), Some("<sip:+13035551111@ift.client.example.net;user=phone>"));
    }
}
