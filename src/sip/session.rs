//! Calls between INVITE and BYE: their states, their timers, and what the engine wants done about them (RFC 3261 §13-15).

use super::calling::Calling;
use super::dialog::Dialog;
use super::flow::Flow;
use super::message::{Method, Request};
use super::reason::{Cause, Reason};
use super::refer::Referral;
use super::refusals::{RETRY_AFTER_S, for_engine};
use super::reliable::{Reliable, first_rseq};
use super::response::{ALLOW, Response};
use super::session_timer::{Refresh, SessionTimer, Terms};
use super::transaction::TransactionId;
use super::transaction::timers::{Letter, Timers};
use super::transfer::Transfer;
use super::uri::{SipUri, host_of};
use super::{EndedBy, Event, Refusal, UserAgent, options};
use crate::ids::CallId;
use crate::time::Instant;
use std::time::Duration;

/// The longest that a call may ring; callers give up after three minutes (RFC 3261 §16.6, timer C).
pub const RING_MAX: Duration = Duration::from_secs(180);

/// The longest that the engine may take over a re-INVITE or UPDATE; the caller repeats it for 32 s.
pub const REOFFER_MAX: Duration = Duration::from_secs(10);

/// A request of the dialog that waits for the engine or for its ACK: what its responses are made of.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) transaction: TransactionId,
    pub(super) request: Request,
    pub(super) flow: Flow,
    pub(super) expires_at: Instant,
    /// Whether the offer is to be ours, in the 200.
    pub(super) offer_is_ours: bool,
    /// What the 200 will say about the session timer.
    pub(super) terms: Option<Terms>,
}

/// A 200 without its ACK (RFC 3261 §13.3.1.4).
#[derive(Debug)]
pub(super) struct Unacknowledged {
    pub(super) cseq: u32,
    response: Vec<u8>,
    to: Flow,
    interval: Duration,
    resend_at: Instant,
    give_up_at: Instant,
    /// Whether it is the first of the call.
    pub(super) is_first: bool,
    pub(super) offer_is_ours: bool,
}

/// Where a call stands.
#[derive(Debug)]
pub(super) enum State {
    /// Not answered yet.
    Invited(Box<Pending>),
    /// Answered.
    Established,
    /// Over for the engine; BYE may not be sent before the ACK has come (RFC 3261 §15).
    Leaving { reason: Reason },
    /// Over; our BYE waits for its answer.
    Left,
    /// A call of ours without its final answer.
    Calling(Box<Calling>),
    /// An INVITE that wants to take the call `of` over, and that the engine has not decided upon.
    Taking { pending: Box<Pending>, of: CallId },
    /// The transferor's side of a call that goes on with another peer: its BYE is awaited.
    Transferred { bye_at: Instant },
}

/// A call.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) dialog: Dialog,
    pub(super) state: State,
    pub(super) reoffer: Option<Box<Pending>>,
    pub(super) unacknowledged: Option<Unacknowledged>,
    /// A 180 that waits for its PRACK.
    pub(super) reliable: Option<Reliable>,
    pub(super) timer: Option<SessionTimer>,
    /// A refresh of ours that is not answered yet.
    pub(super) refresh: Option<Refresh>,
    /// Whether the peer takes UPDATE.
    pub(super) allows_update: bool,
    /// Our session description as it stands.
    pub(super) description: Vec<u8>,
    /// The ACK of the latest 2xx to an INVITE of ours, by the number of both: each repetition gets it again.
    pub(super) acknowledged: Option<(u32, Vec<u8>)>,
    /// What the peer's REFER asks for.
    pub(super) referral: Option<Referral>,
    /// What our REFER asks for.
    pub(super) transfer: Option<Transfer>,
    /// The INVITE that wants to take the call over.
    pub(super) taken_by: Option<CallId>,
}

impl Session {
    pub(super) const fn new(dialog: Dialog, state: State, allows_update: bool) -> Self {
        Self {
            dialog,
            state,
            reoffer: None,
            unacknowledged: None,
            reliable: None,
            timer: None,
            refresh: None,
            allows_update,
            description: Vec::new(),
            acknowledged: None,
            referral: None,
            transfer: None,
            taken_by: None,
        }
    }

    /// Establishes the call whose INVITE waits; returns its transaction and the 200 with `sdp`, which is repeated until its
    /// ACK comes.
    pub(super) fn accept(
        &mut self,
        sdp: Vec<u8>,
        product: &str,
        timers: &Timers,
        now: Instant,
    ) -> Option<(TransactionId, Vec<u8>)> {
        let (State::Invited(pending) | State::Taking { pending, .. }) = &self.state else { return None };
        let is_first = matches!(self.state, State::Invited(_));
        let (transaction, terms) = (pending.transaction, pending.terms);
        let bytes = success(pending, &self.dialog).session_description(sdp.clone()).write(product);
        self.unacknowledged = Some(await_ack(pending, bytes.clone(), timers, is_first, now));
        self.description = sdp;
        self.state = State::Established;
        self.restart_timer(terms, now);
        if let Some(reliable) = &mut self.reliable {
            reliable.stop();
        }
        Some((transaction, bytes))
    }

    /// Whether something is open that another peer cannot take over.
    pub(super) const fn is_busy(&self) -> bool {
        let changes = self.reoffer.is_some() || self.unacknowledged.is_some() || self.refresh.is_some();
        changes || self.referral.is_some() || self.transfer.is_some() || self.taken_by.is_some()
    }

    /// Whether the call is over, and only its last messages are awaited.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, State::Leaving { .. } | State::Left | State::Transferred { .. })
    }

    pub(super) const fn is_live(&self) -> bool {
        matches!(self.state, State::Invited(_) | State::Established)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let state = match &self.state {
            State::Invited(pending) | State::Taking { pending, .. } => Some(pending.expires_at),
            State::Calling(calling) => Some(calling.expires_at),
            State::Transferred { bye_at } => Some(*bye_at),
            State::Established | State::Leaving { .. } | State::Left => None,
        };
        let referral = self.referral.as_ref().filter(|referral| referral.leg.is_none());
        let referral = referral.map(|referral| referral.expires_at);
        let transfer = self.transfer.as_ref().map(|transfer| transfer.expires_at);
        let reoffer = self.reoffer.as_ref().map(|pending| pending.expires_at);
        let ack = self.unacknowledged.as_ref().map(|waiting| waiting.resend_at.min(waiting.give_up_at));
        let reliable = self.reliable.as_ref().and_then(Reliable::deadline);
        let timer =
            self.timer.as_ref().filter(|_| matches!(self.state, State::Established)).map(SessionTimer::deadline);
        [state, referral, transfer, reoffer, ack, reliable, timer].into_iter().flatten().min()
    }
}

impl UserAgent {
    /// Takes the passage of time for one call.
    pub(super) fn handle_session_timeout(&mut self, call: CallId, now: Instant) {
        let Some(session) = self.sessions.get(call) else { return };
        if matches!(&session.state, State::Invited(pending) if pending.expires_at <= now) {
            return self.fail_invited(call, 480, EndedBy::Engine, "not answered in time", now);
        }
        match &session.state {
            State::Calling(_) => return self.handle_calling_timeout(call, now),
            State::Transferred { bye_at } if *bye_at <= now => return self.leave_transferor(call, now),
            State::Taking { pending, .. } if pending.expires_at <= now => {
                let refusal = Refusal { status: 500, warning: None, retry_after_s: None };
                return self.refuse_replacing(call, &refusal, now);
            }
            _ => {}
        }
        self.handle_reliable_timeout(call, now);
        self.handle_transfer_timeout(call, now);
        let Some(session) = self.sessions.get(call) else { return };
        let forgotten = |referral: &Referral| referral.leg.is_none() && referral.expires_at <= now;
        if session.referral.as_ref().is_some_and(forgotten) {
            self.fail_referral(call, 500, now);
        }
        let Some(session) = self.sessions.get(call) else { return };
        if session.reoffer.as_ref().is_some_and(|pending| pending.expires_at <= now) {
            self.refuse_reoffer(call, &Refusal { status: 500, warning: None, retry_after_s: None }, now);
        }
        let missed = self
            .sessions
            .get(call)
            .and_then(|session| session.unacknowledged.as_ref())
            .map(|waiting| waiting.give_up_at <= now);
        if missed == Some(true) {
            self.out.counters.acks_missed += 1;
            // RFC 3261 §13.3.1.4: the dialog is confirmed, but the session ends by BYE.
            self.sessions.with(call, |session, _| session.unacknowledged = None);
            return self.hang_up(call, Reason::new(Cause::TimerExpired, "no ACK"), EndedBy::Engine, now);
        }
        self.handle_session_timer(call, now);
        let due = self.sessions.with(call, |session, timers| {
            let waiting = session.unacknowledged.as_mut().filter(|waiting| waiting.resend_at <= now)?;
            waiting.interval = timers.doubled(waiting.interval);
            waiting.resend_at = now + waiting.interval;
            Some((waiting.to, waiting.response.clone()))
        });
        if let Some((to, bytes)) = due.flatten() {
            self.out.resend(to, bytes);
        }
    }

    /// 180 Ringing, reliably where the caller requires it; once.
    pub(super) fn ring(&mut self, call: CallId, now: Instant) {
        self.sessions.with(call, |session, timers| {
            let State::Invited(pending) = &session.state else { return };
            let reliably = pending.request.tokens("Require").any(|tag| tag == "100rel");
            // RFC 3262 §5: the first reliable response carries our offer, and that is to be the 200.
            if session.reliable.is_some() || (reliably && pending.offer_is_ours) {
                return;
            }
            let rseq = first_rseq(&mut self.rng);
            let mut response = dialog_forming(begin(180, pending, &session.dialog), pending, &session.dialog);
            if reliably {
                response = response.with("Require", "100rel").with("RSeq", rseq.to_string());
            }
            let bytes = response.write(&self.product);
            session.reliable = reliably.then(|| Reliable::new(rseq, bytes.clone(), pending, timers, now));
            self.transactions.respond(pending.transaction, 180, bytes, now, &mut self.out);
        });
    }

    /// 200 to the INVITE, repeated until its ACK comes.
    pub(super) fn answer(&mut self, call: CallId, sdp: Vec<u8>, now: Instant) {
        let accepted = self.sessions.with(call, |session, timers| session.accept(sdp, &self.product, timers, now));
        if let Some((transaction, bytes)) = accepted.flatten() {
            self.transactions.respond(transaction, 200, bytes, now, &mut self.out);
        }
    }

    /// A final refusal of the INVITE; the engine ended the call itself, and is not told.
    pub(super) fn refuse_call(&mut self, call: CallId, refusal: &Refusal, now: Instant) {
        let Some(session) = self.sessions.get(call) else { return };
        let State::Invited(pending) = &session.state else { return };
        let host = host_of(session.dialog.flow.local.ip());
        let response = for_engine(refusal, |status| begin(status, pending, &session.dialog), &host);
        let (status, bytes) = (response.status(), response.write(&self.product));
        self.transactions.respond(pending.transaction, status, bytes, now, &mut self.out);
        self.sessions.remove(call);
    }

    /// Ends a call from our side: by the final answer that fits, or by BYE.
    pub(super) fn hang_up(&mut self, call: CallId, reason: Reason, by: EndedBy, now: Instant) {
        let Some(session) = self.sessions.get(call) else { return };
        match &session.state {
            State::Invited(_) => {
                let status = if self.draining { 503 } else { 480 };
                self.fail_invited(call, status, by, &reason.text, now);
            }
            // Its transferor has left, and its target has not answered.
            State::Calling(calling) if calling.of == Some(call) => {
                self.abandon(call, now);
                self.out.event(Event::Ended { call, by, reason: reason.text });
            }
            State::Established => {
                self.end_reoffer(call, now);
                self.end_legs(call, now);
                self.out.event(Event::Ended { call, by, reason: reason.text.clone() });
                let waits = self.sessions.get(call).is_some_and(|session| session.unacknowledged.is_some());
                self.sessions.with(call, |session, _| session.state = State::Leaving { reason });
                if !waits {
                    self.send_bye(call, now);
                }
            }
            // The engine knows already; the BYE that waited goes out.
            State::Leaving { .. } if session.unacknowledged.is_none() => self.send_bye(call, now),
            State::Leaving { .. } | State::Left => {}
            State::Calling(_) | State::Taking { .. } | State::Transferred { .. } => {}
        }
    }

    /// Ends what else is under way for a call that is over.
    pub(super) fn end_legs(&mut self, call: CallId, now: Instant) {
        let legs = self.sessions.with(call, |session, _| {
            let referral = session.referral.take();
            (referral.and_then(|referral| referral.leg), session.taken_by.take())
        });
        let Some((calling, taking)) = legs else { return };
        calling.into_iter().for_each(|leg| self.abandon(leg, now));
        let refusal = Refusal { status: 481, warning: None, retry_after_s: None };
        taking.into_iter().for_each(|leg| self.refuse_replacing(leg, &refusal, now));
    }

    /// Takes a call of ours back for which nobody waits any more.
    fn abandon(&mut self, leg: CallId, now: Instant) {
        self.sessions.with(leg, |session, _| {
            if let State::Calling(calling) = &mut session.state {
                calling.of = None;
            }
        });
        self.cancel_call(leg, Cause::Normal, now);
    }

    /// Ends a call that is not answered yet by a final answer.
    pub(super) fn fail_invited(&mut self, call: CallId, status: u16, by: EndedBy, reason: &str, now: Instant) {
        let Some(session) = self.sessions.get(call) else { return };
        let State::Invited(pending) = &session.state else { return };
        let mut response = begin(status, pending, &session.dialog);
        if status == 503 {
            response = response.with("Retry-After", RETRY_AFTER_S.to_string());
        }
        self.transactions.respond(pending.transaction, status, response.write(&self.product), now, &mut self.out);
        self.sessions.remove(call);
        self.out.event(Event::Ended { call, by, reason: reason.to_owned() });
    }

    /// Sends BYE with its reason (RFC 3326) to where the caller's latest request came from.
    pub(super) fn send_bye(&mut self, call: CallId, now: Instant) {
        let reason = self.sessions.with(call, |session, _| {
            let State::Leaving { reason } = &session.state else { return None };
            let reason = reason.value();
            session.state = State::Left;
            Some(reason)
        });
        let waits = reason.flatten().is_some_and(|reason| {
            let headers = [("Reason", reason), ("User-Agent", self.product.clone())];
            self.send_in_dialog(call, Method::Bye, &headers, None, now).is_some()
        });
        if !waits {
            self.sessions.remove(call);
        }
    }

    /// 200 to the open re-INVITE or UPDATE.
    pub(super) fn accept_reoffer(&mut self, call: CallId, sdp: Option<Vec<u8>>, now: Instant) {
        if let Some(leg) = self.sessions.get(call).and_then(|session| session.taken_by) {
            return self.replace(call, leg, sdp.unwrap_or_default(), now);
        }
        self.sessions.with(call, |session, timers| {
            let Some(pending) = session.reoffer.take() else { return };
            session.dialog.refresh_target(pending.request.contact_uri());
            session.restart_timer(pending.terms, now);
            let mut response = success(&pending, &session.dialog);
            if let Some(sdp) = sdp {
                session.description.clone_from(&sdp);
                response = response.session_description(sdp);
            }
            let bytes = response.write(&self.product);
            if pending.request.method() == Method::Invite {
                session.unacknowledged = Some(await_ack(&pending, bytes.clone(), timers, false, now));
            }
            self.transactions.respond(pending.transaction, 200, bytes, now, &mut self.out);
        });
    }

    /// A refusal of the open re-INVITE or UPDATE.
    pub(super) fn refuse_reoffer(&mut self, call: CallId, refusal: &Refusal, now: Instant) {
        if let Some(leg) = self.sessions.get(call).and_then(|session| session.taken_by) {
            return self.refuse_replacing(leg, refusal, now);
        }
        self.sessions.with(call, |session, _| {
            let Some(pending) = session.reoffer.take() else { return };
            let host = host_of(session.dialog.flow.local.ip());
            let response = for_engine(refusal, |status| begin(status, &pending, &session.dialog), &host);
            let (status, bytes) = (response.status(), response.write(&self.product));
            self.transactions.respond(pending.transaction, status, bytes, now, &mut self.out);
        });
    }

    /// 487 to a re-INVITE or UPDATE that is open when the call ends (RFC 3261 §15.1.2).
    pub(super) fn end_reoffer(&mut self, call: CallId, now: Instant) {
        if self.sessions.get(call).is_some_and(|session| session.reoffer.is_some()) {
            self.refuse_reoffer(call, &Refusal { status: 487, warning: None, retry_after_s: None }, now);
        }
    }
}

/// Begins a response to a request of the dialog.
pub(super) fn begin(status: u16, pending: &Pending, dialog: &Dialog) -> Response {
    Response::new(status, pending.request.envelope(), pending.flow, dialog.tag())
}

/// Begins the 200 to an INVITE or UPDATE of the dialog, with all but its session description.
fn success(pending: &Pending, dialog: &Dialog) -> Response {
    let response = dialog_forming(begin(200, pending, dialog), pending, dialog).with("Supported", options::SUPPORTED);
    match pending.terms {
        Some(terms) => terms.complete(response),
        None => response,
    }
}

/// Adds what a response needs that makes or refreshes a dialog (RFC 3261 §12.1.1, §13.3.1.4).
pub(super) fn dialog_forming(response: Response, pending: &Pending, dialog: &Dialog) -> Response {
    response
        .with_all("Record-Route", pending.request.values("Record-Route"))
        .with("Contact", contact(dialog.flow, &pending.request))
        .with("Allow", ALLOW)
}

/// Returns our Contact, as the peer that sent `request` by `flow` reaches us.
pub(super) fn contact(flow: Flow, request: &Request) -> String {
    flow.contact(SipUri::parse(request.target()).is_some_and(|uri| uri.secure))
}

fn await_ack(pending: &Pending, response: Vec<u8>, timers: &Timers, is_first: bool, now: Instant) -> Unacknowledged {
    let interval = timers.length(Letter::G);
    Unacknowledged {
        cseq: pending.request.cseq(),
        response,
        to: pending.request.envelope().route(pending.flow),
        interval,
        resend_at: now + interval,
        give_up_at: now + timers.length(Letter::H),
        is_first,
        offer_is_ours: pending.offer_is_ours,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::super::rig::{Caller, Rig};
    use super::super::sessions::LEAVING_MAX;
    use super::*;
    use crate::config;

    const NOTHING: [&str; 0] = [];

    fn hang_up(call: CallId) -> Command {
        Command::HangUp { call, reason: "goodbye".into() }
    }

    fn ended(call: CallId, by: EndedBy, reason: &str) -> Event {
        Event::Ended { call, by, reason: reason.into() }
    }

    #[test]
    fn a_200_is_repeated_until_its_ack() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        let call = rig.invite(&caller);
        rig.command(Command::Answer { call, sdp: b"v=0".to_vec() });
        let first = rig.last().text.clone();
        let times: Vec<u64> = rig.run(Duration::from_secs(10)).into_iter().map(|(at, _)| at).collect();
        assert_eq!(times, [500, 1500, 3500, 7500]);
        assert_eq!(rig.last().text, first);
        caller.hear(&rig.last().clone());
        rig.say(&caller.ack(""));
        assert_eq!(rig.run(Duration::from_secs(60)), []);
        assert_eq!(rig.ua.live_calls(), 1);
    }

    #[test]
    fn without_an_ack_the_call_ends_by_bye() {
        let mut rig = Rig::new();
        let call = rig.invite(&Caller::new("a"));
        rig.command(Command::Answer { call, sdp: b"v=0".to_vec() });
        let sent = rig.run(Duration::from_millis(32_000));
        assert_eq!(sent.last(), Some(&(32_000, "BYE sip:a@127.0.0.1:40000;ob".to_owned())));
        assert_eq!(sent.iter().filter(|(_, what)| what == "200 OK").count(), 10);
        assert_eq!(rig.events(), [ended(call, EndedBy::Engine, "no ACK")]);
        assert_eq!((rig.ua.live_calls(), rig.ua.counters().acks_missed), (0, 1));
    }

    #[test]
    fn our_bye_goes_where_the_caller_is_and_says_why() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        caller.headers = "Contact: <sip:a@192.0.2.2:4000;ob>\r\nRecord-Route: <sip:p1;lr>\r\n".into();
        let call = rig.establish(&mut caller);
        assert_eq!(rig.command(hang_up(call)), ["BYE sip:a@192.0.2.2:4000;ob"]);
        let bye = rig.last().clone();
        assert_eq!(bye.to, rig.source);
        assert_eq!(bye.header("Reason"), Some("Q.850;cause=16;text=\"goodbye\""));
        assert_eq!(bye.header("Route"), Some("<sip:p1;lr>"));
        assert_eq!(bye.header("To"), Some("<sip:a@127.0.0.1>;tag=from-a"));
        assert_eq!(bye.header("From").map(str::to_owned), Some(format!("sip:1000@127.0.0.1{}", caller.to_tag)));
        assert_eq!(rig.events(), [ended(call, EndedBy::Agent, "goodbye")]);
        assert_eq!(rig.ua.live_calls(), 0);
        assert_eq!(rig.run(Duration::from_millis(500)).len(), 1);
        assert_eq!(rig.last().text, bye.text);
        let ok = format!("SIP/2.0 200 OK\r\nVia: {}\r\nCSeq: 1 BYE\r\n\r\n", bye.header("Via").expect("Via"));
        assert_eq!(rig.say(&ok), NOTHING);
        assert_eq!(rig.run(Duration::from_secs(40)), []);
        assert_eq!(rig.ua.transactions(), (0, 0));
        assert_eq!(rig.say(&caller.request("OPTIONS", "", "")), ["481 Call/Transaction Does Not Exist"]);
    }

    #[test]
    fn a_bye_that_nobody_answers_is_given_up() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        let call = rig.establish(&mut caller);
        rig.command(hang_up(call));
        assert_eq!(rig.run(Duration::from_secs(40)).len(), 10);
        assert_eq!((rig.ua.counters().requests_timed_out, rig.ua.transactions()), (1, (0, 0)));
        assert_eq!(rig.say(&caller.request("OPTIONS", "", "")), ["481 Call/Transaction Does Not Exist"]);
        assert_eq!(rig.events().len(), 1);
    }

    #[test]
    fn a_bye_that_cannot_be_sent_ends_at_once() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        let call = rig.establish(&mut caller);
        rig.command(hang_up(call));
        let to = Flow::udp(rig.source, "127.0.0.1:5060".parse().expect("an address"));
        rig.ua.handle_input(super::super::Input::Unreachable { to }, rig.now);
        assert_eq!(rig.run(Duration::from_secs(40)), []);
        assert_eq!(rig.ua.transactions(), (0, 0));
    }

    #[test]
    fn a_bye_waits_for_the_ack_of_the_200() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        let call = rig.invite(&caller);
        rig.command(Command::Answer { call, sdp: b"v=0".to_vec() });
        caller.hear(&rig.last().clone());
        assert_eq!(rig.command(hang_up(call)), NOTHING);
        assert_eq!(rig.command(hang_up(call)), NOTHING);
        assert_eq!(rig.events(), [ended(call, EndedBy::Agent, "goodbye")]);
        assert_eq!(rig.ua.live_calls(), 0);
        assert_eq!(rig.run(Duration::from_millis(600)), [(500, "200 OK".into())]);
        assert_eq!(rig.say(&caller.ack("")), ["BYE sip:a@127.0.0.1:40000;ob"]);
        assert_eq!(rig.events(), []);
    }

    #[test]
    fn a_bye_that_waits_goes_out_without_the_ack_in_the_end() {
        let mut rig = Rig::new();
        let call = rig.invite(&Caller::new("a"));
        rig.command(Command::Answer { call, sdp: b"v=0".to_vec() });
        rig.command(hang_up(call));
        let sent = rig.run(Duration::from_secs(32));
        assert_eq!(sent.last(), Some(&(32_000, "BYE sip:a@127.0.0.1:40000;ob".to_owned())));
        assert_eq!(rig.events().len(), 1);
        rig.run(Duration::from_secs(40));
        assert_eq!((rig.ua.poll_timeout(), rig.ua.transactions()), (None, (0, 0)));
    }

    #[test]
    fn hanging_up_before_the_answer_refuses_the_call() {
        let mut rig = Rig::new();
        let call = rig.invite(&Caller::new("a"));
        assert_eq!(rig.command(hang_up(call)), ["480 Temporarily Unavailable"]);
        assert_eq!(rig.events(), [ended(call, EndedBy::Agent, "goodbye")]);
        let call = rig.invite(&Caller::new("b"));
        rig.command(Command::Drain);
        assert_eq!(rig.command(hang_up(call)), ["503 Service Unavailable"]);
        assert!(rig.last().header("Retry-After").is_some());
        assert_eq!(rig.ua.live_calls(), 0);
    }

    #[test]
    fn calls_that_are_over_are_bounded() {
        let limits = config::Limits { known_messages_per_s: 100_000, ..config::Limits::default() };
        let mut rig = Rig::with(&config::Sip { limits, ..config::Sip::default() });
        for number in 0..LEAVING_MAX + 300 {
            let mut caller = Caller::new(&format!("c{number}"));
            let call = rig.establish(&mut caller);
            rig.command(hang_up(call));
        }
        assert!(rig.ua.sessions.sessions.len() <= LEAVING_MAX);
        assert_eq!(rig.ua.sessions.sessions.len(), rig.ua.sessions.by_dialog.len());
    }
}
