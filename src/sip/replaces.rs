//! INVITE with Replaces (RFC 3891): somebody else takes a call over, and the agent talks on.

use super::dialog::DialogId;
use super::flow::Flow;
use super::invite::Opening;
use super::lexer::{Flaw, is_token};
use super::message::Request;
use super::params::{Cursor, Params};
use super::reason::{Cause, Reason};
use super::refusals::for_engine;
use super::response::Response;
use super::session::{Pending, REOFFER_MAX, Session, State, begin};
use super::session_timer::allows_update;
use super::uri::host_of;
use super::{Event, Refusal, Replacement, UserAgent};
use crate::ids::CallId;
use crate::time::Instant;
use std::fmt;

/// The dialog that an INVITE is to take over, as its receiver knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Replaces {
    call_id: String,
    to_tag: String,
    from_tag: String,
    /// Whether only a call that is not answered yet is meant.
    early_only: bool,
}

impl Replaces {
    /// Reads the header's value; `None` where it is not exactly one dialog.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut cursor = Cursor::new(value);
        let call_id = cursor.take_until(&[';', ',', ' ', '\t']);
        let params = Params::read(&mut cursor)?;
        let tag = |name| params.value(name).filter(|tag| is_token(tag)).map(str::to_owned);
        let fits = !call_id.is_empty() && call_id.bytes().all(|byte| byte.is_ascii_graphic());
        (fits && cursor.rest.is_empty()).then_some(())?;
        Some(Self {
            call_id: call_id.to_owned(),
            to_tag: tag("to-tag")?,
            from_tag: tag("from-tag")?,
            early_only: params.get("early-only").is_some(),
        })
    }

    /// Returns the dialog, as we would know it.
    fn dialog(&self) -> DialogId {
        DialogId::new(&self.call_id, &self.to_tag, &self.from_tag)
    }
}

impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let early_only = if self.early_only { ";early-only" } else { "" };
        write!(f, "{};to-tag={};from-tag={}{early_only}", self.call_id, self.to_tag, self.from_tag)
    }
}

impl UserAgent {
    /// Takes an INVITE that wants to take a call over: the engine sees an offer of another peer, for the same call.
    pub(super) fn handle_replacing_invite(&mut self, mut request: Request, flow: Flow, now: Instant) {
        if self.draining {
            return self.refuse_for_load(&request, flow);
        }
        let of = match self.replaced_by(&request) {
            Ok(of) => of,
            Err(flaw) => {
                let response = self.stateless(flaw.status, request.envelope(), flow);
                let response = if flaw.status == 400 { response.phrase(flaw.why) } else { response };
                return self.send_stateless(response, request.envelope(), flow);
            }
        };
        let Some(Opening { offer, terms, dialog }) = self.read_opening(&request, flow) else { return };
        let Some(transaction) = self.transactions.open(&request, request.envelope().route(flow)) else {
            return self.refuse_for_load(&request, flow);
        };
        let trying = Response::new(100, request.envelope(), flow, "");
        self.transactions.respond(transaction, 100, trying.write(&self.product), now, &mut self.out);

        request.drop_body();
        let from = request.envelope().from().to_owned();
        let takes_update = allows_update(request.values("Allow")).unwrap_or(false);
        let offer_is_ours = offer.is_none();
        let pending = Pending { transaction, request, flow, expires_at: now + REOFFER_MAX, offer_is_ours, terms };
        let state = State::Taking { pending: Box::new(pending), of };
        let leg = self.sessions.insert(Session::new(dialog, state, takes_update));
        self.sessions.with(of, |session, _| session.taken_by = Some(leg));
        let local = flow.local.ip().to_canonical();
        self.out.event(Event::Replacing(Replacement {
            call: of,
            from,
            source: flow.peer,
            transport: flow.transport,
            local,
            offer,
        }));
    }

    /// Returns the call that `request` is to take over (RFC 3891 §3).
    fn replaced_by(&self, request: &Request) -> Result<CallId, Flaw> {
        let mut values = request.values("Replaces");
        let replaces = values.next().and_then(Replaces::parse).filter(|_| values.next().is_none());
        let replaces = replaces.ok_or(Flaw::bad("Bad Replaces"))?;
        let refusal = |status| Flaw { status, why: "" };
        let call = self.sessions.find_dialog(&replaces.dialog()).ok_or(refusal(481))?;
        let session = self.sessions.get(call).ok_or(refusal(481))?;
        match session.state {
            State::Established if replaces.early_only => Err(refusal(486)),
            State::Established if session.is_busy() => Err(refusal(491)),
            State::Established => Ok(call),
            // An early dialog that its receiver began cannot be taken over.
            State::Invited(_) | State::Calling(_) | State::Taking { .. } => Err(refusal(481)),
            State::Leaving { .. } | State::Left | State::Transferred { .. } => Err(refusal(603)),
        }
    }

    /// 200 to the INVITE `leg` that takes `call` over: from here on the call's dialog is that one, and the other gets BYE.
    pub(super) fn replace(&mut self, call: CallId, leg: CallId, sdp: Vec<u8>, now: Instant) {
        let accepted = self.sessions.with(leg, |session, timers| session.accept(sdp, &self.product, timers, now));
        if let Some((transaction, bytes)) = accepted.flatten() {
            self.transactions.respond(transaction, 200, bytes, now, &mut self.out);
        }
        self.exchange(call, leg);
        self.sessions.with(leg, |session, _| {
            session.taken_by = None;
            session.state = State::Leaving { reason: Reason::new(Cause::Normal, "taken over by another") };
        });
        self.send_bye(leg, now);
    }

    /// Refuses the INVITE `leg`; the call goes on as it was.
    pub(super) fn refuse_replacing(&mut self, leg: CallId, refusal: &Refusal, now: Instant) {
        let Some(session) = self.sessions.get(leg) else { return };
        let State::Taking { pending, of } = &session.state else { return };
        let of = *of;
        let host = host_of(session.dialog.flow.local.ip());
        let response = for_engine(refusal, |status| begin(status, pending, &session.dialog), &host);
        let (status, bytes) = (response.status(), response.write(&self.product));
        self.transactions.respond(pending.transaction, status, bytes, now, &mut self.out);
        self.sessions.remove(leg);
        self.sessions.with(of, |session, _| session.taken_by = None);
    }

    /// Gives the dialogs of two calls to each other, with all that belongs to them.
    pub(super) fn exchange(&mut self, one: CallId, other: CallId) {
        self.sessions.exchange(one, other);
        self.transactions.exchange(one, other);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::super::flow::Transport;
    use super::super::rig::{Caller, Rig, refusal};
    use super::*;
    use std::time::Duration;

    const NOTHING: [&str; 0] = [];

    #[test]
    fn exactly_one_dialog_is_read() {
        let read = |value| Replaces::parse(value).map(|replaces| replaces.to_string());
        assert_eq!(read("x@h ; from-tag=f;to-tag=t").as_deref(), Some("x@h;to-tag=t;from-tag=f"));
        assert_eq!(read("x;to-tag=t;from-tag=f;early-only").as_deref(), Some("x;to-tag=t;from-tag=f;early-only"));
        for value in [
            "",
            "x",
            "x;to-tag=t",
            "x;from-tag=f",
            ";to-tag=t;from-tag=f",
            "x;to-tag=t;from-tag=f, y;to-tag=t;from-tag=f",
            "x;to-tag=\"a b\";from-tag=f",
        ] {
            assert_eq!(read(value), None, "{value}");
        }
    }

    fn replaces(caller: &Caller) -> String {
        format!(
            "Replaces: {};to-tag={};from-tag=from-{}\r\n",
            caller.id,
            caller.to_tag.trim_start_matches(";tag="),
            caller.id
        )
    }

    /// A call of `a`, and `b` who wants it.
    fn taking() -> (Rig, Caller, Caller, CallId) {
        let mut rig = Rig::new();
        let mut first = Caller::new("a");
        let call = rig.establish(&mut first);
        let mut second = Caller::new("b");
        second.headers += &format!("Require: replaces\r\n{}", replaces(&first));
        (rig, first, second, call)
    }

    fn accept(call: CallId) -> Command {
        Command::AcceptReoffer { call, sdp: Some(b"v=0 ours".to_vec()) }
    }

    #[test]
    fn the_call_goes_on_with_who_takes_it_over() {
        let (mut rig, mut first, mut second, call) = taking();
        assert_eq!(rig.say(&second.invite()), ["100 Trying"]);
        let Some(Event::Replacing(replacement)) = rig.events().pop() else { panic!("another event") };
        assert_eq!((replacement.call, replacement.from.as_str()), (call, "<sip:b@127.0.0.1>;tag=from-b"));
        assert_eq!((replacement.source, replacement.transport), (rig.source, Transport::Udp));
        assert_eq!(replacement.offer.as_deref(), Some(&b"v=0 theirs"[..]));
        assert_eq!(rig.command(accept(call)), ["200 OK", "BYE sip:a@127.0.0.1:40000;ob"]);
        assert_eq!(rig.last().header("Reason"), Some("Q.850;cause=16;text=\"taken over by another\""));
        let ok = rig.sent.iter().rfind(|sent| sent.what() == "200 OK").expect("a 200").clone();
        assert!(ok.header("Session-Expires").is_some() && ok.header("Contact").is_some());
        second.hear(&ok);
        assert_eq!(rig.say(&second.ack("")), NOTHING);
        assert_eq!(rig.say(&first.request("BYE", "", "")), ["200 OK"]);
        assert_eq!((rig.events(), rig.ua.live_calls()), (vec![], 1));
        assert_eq!(rig.say(&second.request("BYE", "", "")), ["200 OK"]);
        assert!(matches!(rig.events().as_slice(), [Event::Ended { call: over, .. }] if *over == call));
        rig.run(Duration::from_secs(64));
        assert_eq!((rig.ua.poll_timeout(), rig.ua.transactions()), (None, (0, 0)));
    }

    #[test]
    fn a_refusal_leaves_the_call_as_it_was() {
        let (mut rig, mut first, second, call) = taking();
        rig.say(&second.invite());
        assert_eq!(rig.command(Command::RefuseReoffer { call, refusal: refusal(488) }), ["488 Not Acceptable Here"]);
        assert_eq!(rig.say(&second.ack_refusal()), NOTHING);
        assert_eq!(rig.say(&first.request("OPTIONS", "", "")), ["200 OK"]);
        assert_eq!((rig.command(accept(call)), rig.ua.live_calls()), (vec![], 1));
    }

    #[test]
    fn one_that_is_cancelled_or_forgotten_leaves_it_too() {
        let (mut rig, _, second, call) = taking();
        rig.say(&second.invite());
        assert_eq!(rig.say(&second.cancel()), ["200 OK", "487 Request Terminated"]);
        assert_eq!(rig.command(accept(call)), NOTHING);
        let (mut rig, _, second, call) = taking();
        rig.say(&second.invite());
        assert_eq!(rig.run(REOFFER_MAX).first(), Some(&(10_000, "500 Server Internal Error".to_owned())));
        assert_eq!((rig.command(accept(call)), rig.ua.live_calls()), (vec![], 1));
        // And where the call ends meanwhile, there is nothing to be taken over.
        let (mut rig, mut first, second, _) = taking();
        rig.say(&second.invite());
        assert_eq!(rig.say(&first.request("BYE", "", "")), ["200 OK", "481 Call/Transaction Does Not Exist"]);
        assert_eq!(rig.ua.live_calls(), 0);
    }

    #[test]
    fn without_an_offer_the_ack_brings_the_answer() {
        let (mut rig, _, mut second, call) = taking();
        second.body.clear();
        rig.say(&second.invite());
        assert!(matches!(rig.events().as_slice(), [Event::Replacing(Replacement { offer: None, .. })]));
        rig.command(accept(call));
        second.hear(&rig.sent.iter().rfind(|sent| sent.what() == "200 OK").expect("a 200").clone());
        rig.say(&second.ack("v=0 answer"));
        assert_eq!(rig.events(), [Event::Confirmed { call, answer: Some(b"v=0 answer".to_vec()) }]);
    }

    #[test]
    fn what_cannot_be_taken_over_is_refused_by_kind() {
        let (mut rig, mut first, _, call) = taking();
        let right = replaces(&first);
        let mut ringing = Caller::new("r");
        let early = rig.invite(&ringing);
        rig.command(Command::Ring { call: early });
        ringing.hear(&rig.last().clone());
        for (headers, answer) in [
            (right.replace("from-a", "from-x"), "481 Call/Transaction Does Not Exist"),
            (right.replace("to-tag=", "to-tag=x"), "481 Call/Transaction Does Not Exist"),
            (replaces(&ringing), "481 Call/Transaction Does Not Exist"),
            (format!("{right}{right}"), "400 Bad Replaces"),
            ("Replaces: nothing\r\n".into(), "400 Bad Replaces"),
            (right.replace("\r\n", ";early-only\r\n"), "486 Busy Here"),
        ] {
            let mut caller = Caller::new(&format!("c{}", rig.sent.len()));
            caller.headers += &headers;
            assert_eq!(rig.say(&caller.invite()), [answer], "{headers}");
        }
        assert_eq!(rig.say(&first.reinvite()), ["100 Trying"]);
        let mut caller = Caller::new("busy");
        caller.headers += &right;
        assert_eq!(rig.say(&caller.invite()), ["491 Request Pending"]);
        rig.command(Command::HangUp { call, reason: String::new() });
        let mut caller = Caller::new("late");
        caller.headers += &right;
        assert_eq!(rig.say(&caller.invite()), ["603 Decline"]);
    }
}
