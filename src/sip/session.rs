//! Calls between INVITE and BYE: their states, their timers, and what the engine wants done about them (RFC 3261 §13-15).

use super::dialog::{Dialog, DialogId};
use super::flow::Flow;
use super::message::{Method, Request};
use super::refusals::{RETRY_AFTER_S, for_engine, quoted};
use super::response::{ALLOW, Response};
use super::schedule::Schedule;
use super::transaction::TransactionId;
use super::transaction::timers::{Letter, Timers};
use super::uri::{SipUri, host_of};
use super::{EndedBy, Event, Refusal, UserAgent, options};
use crate::ids::CallId;
use crate::time::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// The longest that a call may ring; callers give up after three minutes (RFC 3261 §16.6, timer C).
pub const RING_MAX: Duration = Duration::from_secs(180);

/// The longest that the engine may take over a re-INVITE or UPDATE; the caller repeats it for 32 s.
pub const REOFFER_MAX: Duration = Duration::from_secs(10);

/// Calls that are over, but whose BYE is not answered or whose ACK is awaited; the oldest gives way.
const LEAVING_MAX: usize = 1024;

/// A request of the dialog that waits for the engine or for its ACK: what its responses are made of.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) transaction: TransactionId,
    pub(super) request: Request,
    pub(super) flow: Flow,
    pub(super) expires_at: Instant,
    /// Whether the offer is to be ours, in the 200.
    pub(super) offer_is_ours: bool,
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
    Leaving { reason: String },
    /// Over; our BYE waits for its answer.
    Left,
}

/// A call.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) dialog: Dialog,
    pub(super) state: State,
    pub(super) reoffer: Option<Box<Pending>>,
    pub(super) unacknowledged: Option<Unacknowledged>,
}

impl Session {
    const fn is_live(&self) -> bool {
        matches!(self.state, State::Invited(_) | State::Established)
    }

    fn deadline(&self) -> Option<Instant> {
        let ring = match &self.state {
            State::Invited(pending) => Some(pending.expires_at),
            _ => None,
        };
        let reoffer = self.reoffer.as_ref().map(|pending| pending.expires_at);
        let ack = self.unacknowledged.as_ref().map(|waiting| waiting.resend_at.min(waiting.give_up_at));
        [ring, reoffer, ack].into_iter().flatten().min()
    }
}

/// All calls.
#[derive(Debug)]
pub(super) struct Sessions {
    timers: Timers,
    sessions: BTreeMap<CallId, Session>,
    by_dialog: BTreeMap<DialogId, CallId>,
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

    pub(super) fn find(&self, request: &Request) -> Option<CallId> {
        DialogId::of(request).and_then(|id| self.by_dialog.get(&id)).copied()
    }

    /// Returns the call whose INVITE or re-INVITE waits in `transaction`; nothing else can be cancelled (RFC 3261 §9.1).
    pub(super) fn find_by_transaction(&self, transaction: TransactionId) -> Option<CallId> {
        let waits = |session: &Session| {
            let invited = matches!(&session.state, State::Invited(pending) if pending.transaction == transaction);
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
            let oldest = self.sessions.iter().find(|(_, session)| !session.is_live()).map(|(call, _)| *call);
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

impl UserAgent {
    /// Takes the passage of time for one call.
    pub(super) fn handle_session_timeout(&mut self, call: CallId, now: Instant) {
        let Some(session) = self.sessions.get(call) else { return };
        if matches!(&session.state, State::Invited(pending) if pending.expires_at <= now) {
            return self.hang_up(call, "not answered in time".to_owned(), EndedBy::Engine, now);
        }
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
            return self.hang_up(call, "no ACK".to_owned(), EndedBy::Engine, now);
        }
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

    /// 180 Ringing.
    pub(super) fn ring(&mut self, call: CallId, now: Instant) {
        let Some(session) = self.sessions.get(call) else { return };
        let State::Invited(pending) = &session.state else { return };
        let response = begin(180, pending, &session.dialog);
        let response = dialog_forming(response, pending, &session.dialog);
        self.transactions.respond(pending.transaction, 180, response.write(&self.product), now, &mut self.out);
    }

    /// 200 to the INVITE, repeated until its ACK comes.
    pub(super) fn answer(&mut self, call: CallId, sdp: Vec<u8>, now: Instant) {
        self.sessions.with(call, |session, timers| {
            let State::Invited(pending) = &session.state else { return };
            let response = dialog_forming(begin(200, pending, &session.dialog), pending, &session.dialog);
            let bytes = response.with("Supported", options::SUPPORTED).session_description(sdp).write(&self.product);
            self.transactions.respond(pending.transaction, 200, bytes.clone(), now, &mut self.out);
            session.unacknowledged = Some(await_ack(pending, bytes, timers, true, now));
            session.state = State::Established;
        });
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
    pub(super) fn hang_up(&mut self, call: CallId, reason: String, by: EndedBy, now: Instant) {
        let Some(session) = self.sessions.get(call) else { return };
        match &session.state {
            State::Invited(pending) => {
                let response = if self.draining {
                    begin(503, pending, &session.dialog).with("Retry-After", RETRY_AFTER_S.to_string())
                } else {
                    begin(480, pending, &session.dialog)
                };
                let (status, bytes) = (response.status(), response.write(&self.product));
                self.transactions.respond(pending.transaction, status, bytes, now, &mut self.out);
                self.sessions.remove(call);
                self.out.event(Event::Ended { call, by, reason });
            }
            State::Established => {
                self.end_reoffer(call, now);
                self.out.event(Event::Ended { call, by, reason: reason.clone() });
                let waits = self.sessions.get(call).is_some_and(|session| session.unacknowledged.is_some());
                self.sessions.with(call, |session, _| session.state = State::Leaving { reason });
                if !waits {
                    self.send_bye(call, now);
                }
            }
            // The engine knows already; the BYE that waited goes out.
            State::Leaving { .. } if session.unacknowledged.is_none() => self.send_bye(call, now),
            State::Leaving { .. } | State::Left => {}
        }
    }

    /// Sends BYE with its reason (RFC 3326) to where the caller's latest request came from.
    pub(super) fn send_bye(&mut self, call: CallId, now: Instant) {
        let branch = self.tags.branch();
        let sent = self.sessions.with(call, |session, _| {
            let State::Leaving { reason } = &session.state else { return None };
            // Q.850 cause 16: normal call clearing.
            let reason = format!("Q.850;cause=16;text={}", quoted(reason));
            session.state = State::Left;
            let headers = [("Reason", reason), ("User-Agent", self.product.clone())];
            let bytes = session.dialog.request(Method::Bye, "BYE", &branch, &headers)?;
            Some((session.dialog.flow, bytes))
        });
        let waits = sent
            .flatten()
            .is_some_and(|message| self.transactions.request(branch, Method::Bye, call, message, now, &mut self.out));
        if !waits {
            self.sessions.remove(call);
        }
    }

    /// 200 to the open re-INVITE or UPDATE.
    pub(super) fn accept_reoffer(&mut self, call: CallId, sdp: Option<Vec<u8>>, now: Instant) {
        self.sessions.with(call, |session, timers| {
            let Some(pending) = session.reoffer.take() else { return };
            session.dialog.refresh_target(pending.request.contact_uri());
            let mut response = dialog_forming(begin(200, &pending, &session.dialog), &pending, &session.dialog)
                .with("Supported", options::SUPPORTED);
            if let Some(sdp) = sdp {
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
        self.refuse_reoffer(call, &Refusal { status: 487, warning: None, retry_after_s: None }, now);
    }
}

/// Begins a response to a request of the dialog.
pub(super) fn begin(status: u16, pending: &Pending, dialog: &Dialog) -> Response {
    Response::new(status, pending.request.envelope(), pending.flow, dialog.tag())
}

/// Adds what a response needs that makes or refreshes a dialog (RFC 3261 §12.1.1, §13.3.1.4).
fn dialog_forming(response: Response, pending: &Pending, dialog: &Dialog) -> Response {
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
