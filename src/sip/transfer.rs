//! Our REFER: the peer is asked to call somebody else (RFC 3515), and its NOTIFYs say how that goes.

use super::in_dialog::Arrival;
use super::message::Method;
use super::reason::{Cause, Reason};
use super::session::State;
use super::uri::is_absolute;
use super::{EndedBy, Event, UserAgent, options};
use crate::ids::CallId;
use crate::time::Instant;
use std::time::Duration;

/// How long a transfer may take: the peer's target may ring, and some peers never say how it ended.
const TRANSFER_MAX: Duration = Duration::from_secs(60);

/// A transfer that we have asked for.
#[derive(Debug)]
pub(super) struct Transfer {
    branch: String,
    pub(super) expires_at: Instant,
}

impl UserAgent {
    /// Asks the peer to call `target`; how it goes is said by [`Event::TransferProgress`].
    pub(super) fn transfer(&mut self, call: CallId, target: &str, now: Instant) {
        let Some(session) = self.sessions.get(call) else { return };
        let is_free = matches!(session.state, State::Established) && session.transfer.is_none();
        let Some(own) = session.dialog.local_uri().filter(|_| is_free && is_absolute(target)) else {
            let status = if is_free { 400 } else { 491 };
            return self.out.event(Event::TransferProgress { call, status });
        };
        let headers = [
            ("Contact", session.dialog.flow.contact(false)),
            ("Refer-To", format!("<{target}>")),
            ("Referred-By", format!("<{own}>")),
            ("Supported", options::SUPPORTED.to_owned()),
            ("User-Agent", self.product.clone()),
        ];
        let sent = self.send_in_dialog(call, Method::Refer, &headers, None, now);
        match sent {
            Some(branch) => {
                let transfer = Transfer { branch, expires_at: now + TRANSFER_MAX };
                self.sessions.with(call, |session, _| session.transfer = Some(transfer));
            }
            None => self.out.event(Event::TransferProgress { call, status: 503 }),
        }
    }

    /// Takes the final answer to our REFER.
    pub(super) fn handle_referred(&mut self, call: CallId, branch: &str, status: u16) {
        let Some(session) = self.sessions.get(call) else { return };
        if session.transfer.as_ref().is_some_and(|transfer| transfer.branch == branch) && status >= 300 {
            self.end_transfer(call, status);
        }
    }

    /// Takes the passage of time for a transfer: one of which nothing more is heard has failed.
    pub(super) fn handle_transfer_timeout(&mut self, call: CallId, now: Instant) {
        let Some(session) = self.sessions.get(call) else { return };
        if session.transfer.as_ref().is_some_and(|transfer| transfer.expires_at <= now) {
            self.end_transfer(call, 408);
        }
    }

    fn end_transfer(&mut self, call: CallId, status: u16) {
        self.sessions.with(call, |session, _| session.transfer = None);
        self.out.event(Event::TransferProgress { call, status });
    }

    /// NOTIFY: 200 where it is about our REFER, else 481 (RFC 6665 §4.1.3).
    pub(super) fn handle_notify(&mut self, arrival: &Arrival, now: Instant) {
        let call = arrival.call;
        let request = &arrival.request;
        let package = request.header("Event").and_then(|event| event.split(';').next()).unwrap_or_default().trim();
        let waits = self.sessions.get(call).is_some_and(|session| session.transfer.is_some());
        if !waits || !package.eq_ignore_ascii_case("refer") {
            return self.respond(arrival, arrival.begin(481), now);
        }
        self.respond(arrival, arrival.begin(200), now);
        let state = request.header("Subscription-State").unwrap_or_default().trim();
        let is_over = state.get(..10).is_some_and(|state| state.eq_ignore_ascii_case("terminated"));
        match (status_line(request.body()), is_over) {
            (Some(status), _) if status >= 200 => {
                self.end_transfer(call, status);
                if status < 300 {
                    self.hang_up(call, Reason::new(Cause::Normal, "transferred"), EndedBy::Agent, now);
                }
            }
            // A subscription that ends without a final status says nothing but that no more will come.
            (_, true) => self.end_transfer(call, 487),
            (Some(status), false) => self.out.event(Event::TransferProgress { call, status }),
            (None, false) => {}
        }
    }
}

/// Reads the status of a `message/sipfrag` (RFC 3420) that begins with a status line.
fn status_line(body: &[u8]) -> Option<u16> {
    let line = body.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let status = std::str::from_utf8(line).ok()?.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()?;
    (100..700).contains(&status).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::super::rig::{Caller, Rig, reply};
    use super::*;

    const NOTHING: [&str; 0] = [];
    const GONE: &str = "481 Call/Transaction Does Not Exist";

    fn transferring() -> (Rig, Caller, CallId) {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        let call = rig.establish(&mut caller);
        let target = "sip:2000@192.0.2.5".to_owned();
        assert_eq!(rig.command(Command::Transfer { call, target }), ["REFER sip:a@127.0.0.1:40000;ob"]);
        let refer = rig.last().clone();
        assert_eq!(refer.header("Refer-To"), Some("<sip:2000@192.0.2.5>"));
        assert_eq!(refer.header("Referred-By"), Some("<sip:1000@127.0.0.1>"));
        (rig, caller, call)
    }

    fn notify(caller: &mut Caller, state: &str, sipfrag: &str) -> String {
        let headers = format!("Event: refer;id=1\r\nSubscription-State: {state}\r\n");
        caller.request("NOTIFY", &headers, sipfrag).replace("application/sdp", "message/sipfrag;version=2.0")
    }

    fn progress(call: CallId, status: u16) -> Event {
        Event::TransferProgress { call, status }
    }

    #[test]
    fn a_peer_that_has_reached_the_target_gets_our_bye() {
        let (mut rig, mut caller, call) = transferring();
        rig.say(&reply(&rig.last().clone(), "202 Accepted", "", "", ""));
        assert_eq!(rig.say(&notify(&mut caller, "active;expires=60", "SIP/2.0 100 Trying")), ["200 OK"]);
        assert_eq!(rig.events(), [progress(call, 100)]);
        let done = notify(&mut caller, "terminated;reason=noresource", "SIP/2.0 200 OK\r\n");
        assert_eq!(rig.say(&done), ["200 OK", "BYE sip:a@127.0.0.1:40000;ob"]);
        assert_eq!(rig.last().header("Reason"), Some("Q.850;cause=16;text=\"transferred\""));
        let ended = Event::Ended { call, by: EndedBy::Agent, reason: "transferred".into() };
        assert_eq!(rig.events(), [progress(call, 200), ended]);
    }

    #[test]
    fn a_transfer_that_fails_leaves_the_call() {
        for (state, sipfrag, status) in [
            ("terminated;reason=noresource", "SIP/2.0 486 Busy Here", 486),
            ("terminated;reason=timeout", "SIP/2.0 100 Trying", 487),
            ("terminated", "", 487),
        ] {
            let (mut rig, mut caller, call) = transferring();
            assert_eq!(rig.say(&notify(&mut caller, state, sipfrag)), ["200 OK"]);
            assert_eq!((rig.events(), rig.ua.live_calls()), (vec![progress(call, status)], 1));
            assert_eq!(rig.say(&notify(&mut caller, state, sipfrag)), [GONE]);
        }
        let (mut rig, _, call) = transferring();
        assert_eq!(rig.say(&reply(&rig.last().clone(), "603 Decline", "", "", "")), NOTHING);
        assert_eq!((rig.events(), rig.ua.live_calls()), (vec![progress(call, 603)], 1));
        let (mut rig, _, call) = transferring();
        rig.say(&reply(&rig.last().clone(), "202 Accepted", "", "", ""));
        rig.run(TRANSFER_MAX);
        assert_eq!((rig.events(), rig.ua.live_calls()), (vec![progress(call, 408)], 1));
    }

    #[test]
    fn a_notify_of_something_else_is_refused() {
        let (mut rig, mut caller, call) = transferring();
        assert_eq!(rig.say(&caller.request("NOTIFY", "Event: dialog\r\n", "")), [GONE]);
        assert_eq!(rig.say(&notify(&mut caller, "active", "what is this")), ["200 OK"]);
        assert_eq!(rig.events(), []);
        rig.command(Command::Transfer { call, target: "sip:x@192.0.2.5".into() });
        assert_eq!(rig.events(), [progress(call, 491)]);
        let mut other = Caller::new("b");
        let call = rig.establish(&mut other);
        assert_eq!(rig.command(Command::Transfer { call, target: "sip:x@y>\r\nX: y".into() }), NOTHING);
        assert_eq!(rig.events(), [progress(call, 400)]);
    }
}
