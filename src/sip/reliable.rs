//! Provisional responses that are repeated until their PRACK comes (RFC 3262), for callers that require it.

use super::flow::Flow;
use super::in_dialog::Arrival;
use super::lexer::digits;
use super::message::Request;
use super::session::Pending;
use super::transaction::timers::{Letter, Timers};
use super::{EndedBy, UserAgent};
use crate::ids::CallId;
use crate::time::Instant;
use std::time::Duration;

/// Largest RSeq that a dialog may begin with, so that it never wraps (RFC 3262 §3).
const RSEQ_FIRST_MAX: u32 = (1 << 31) - 1;

/// A 180 that waits for its PRACK.
#[derive(Debug)]
pub(super) struct Reliable {
    rseq: u32,
    /// The number of its INVITE.
    cseq: u32,
    response: Vec<u8>,
    to: Flow,
    /// `None` once the INVITE has its final answer: nothing is repeated, but PRACK is still expected (RFC 3262 §3).
    repeat: Option<Repeat>,
}

#[derive(Debug)]
struct Repeat {
    interval: Duration,
    resend_at: Instant,
    give_up_at: Instant,
}

impl Reliable {
    /// A response that was just sent.
    pub(super) fn new(rseq: u32, response: Vec<u8>, pending: &Pending, timers: &Timers, now: Instant) -> Self {
        let interval = timers.length(Letter::G);
        let repeat = Some(Repeat { interval, resend_at: now + interval, give_up_at: now + timers.length(Letter::H) });
        let to = pending.request.envelope().route(pending.flow);
        Self { rseq, cseq: pending.request.cseq(), response, to, repeat }
    }

    /// Stops repeating it.
    pub(super) fn stop(&mut self) {
        self.repeat = None;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.repeat.as_ref().map(|repeat| repeat.resend_at.min(repeat.give_up_at))
    }

    /// Whether `prack` is about it (RFC 3262 §7.2: `RAck: RSeq CSeq method`).
    fn is_acknowledged_by(&self, prack: &Request) -> bool {
        let mut words = prack.header("RAck").unwrap_or_default().split([' ', '\t']).filter(|word| !word.is_empty());
        let numbers = [words.next().and_then(digits), words.next().and_then(digits)];
        numbers == [Some(self.rseq.into()), Some(self.cseq.into())]
            && words.next() == Some("INVITE")
            && words.next().is_none()
    }
}

/// Returns the RSeq of the first reliable response to an INVITE.
pub(super) fn first_rseq(rng: &mut fastrand::Rng) -> u32 {
    rng.u32(1..=RSEQ_FIRST_MAX)
}

impl UserAgent {
    /// Takes the passage of time for a reliable response: "doubles for each retransmission", and a 5xx after 64 T1.
    pub(super) fn handle_reliable_timeout(&mut self, call: CallId, now: Instant) {
        let due = self.sessions.with(call, |session, _| {
            let reliable = session.reliable.as_mut()?;
            let repeat = reliable.repeat.as_mut()?;
            if repeat.give_up_at <= now {
                return Some(None);
            }
            if repeat.resend_at > now {
                return None;
            }
            repeat.interval *= 2;
            repeat.resend_at = now + repeat.interval;
            Some(Some((reliable.to, reliable.response.clone())))
        });
        match due.flatten() {
            Some(Some((to, bytes))) => self.out.resend(to, bytes),
            Some(None) => self.fail_invited(call, 504, EndedBy::Engine, "no PRACK", now),
            None => {}
        }
    }

    /// PRACK: 200 where a response waits for it, else 481.
    pub(super) fn handle_prack(&mut self, arrival: &Arrival, now: Instant) {
        let acknowledged = self.sessions.with(arrival.call, |session, _| {
            session.reliable.take_if(|reliable| reliable.is_acknowledged_by(&arrival.request)).is_some()
        });
        let status = match acknowledged {
            // The offer of the INVITE is not answered in a 180, so that there is no room for another (RFC 3262 §5).
            Some(true) if !arrival.request.body().is_empty() => 488,
            Some(true) => 200,
            _ => 481,
        };
        self.respond(arrival, arrival.begin(status), now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig::{Caller, Rig};
    use super::super::{Command, Event};
    use super::*;

    const NOTHING: [&str; 0] = [];

    fn ringing() -> (Rig, Caller, CallId) {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        caller.headers += "Require: 100rel\r\nSupported: timer\r\n";
        let call = rig.invite(&caller);
        assert_eq!(rig.command(Command::Ring { call }), ["180 Ringing"]);
        caller.hear(&rig.last().clone());
        (rig, caller, call)
    }

    fn rack(rig: &Rig) -> String {
        let ringing = rig.sent.iter().rfind(|sent| sent.what() == "180 Ringing").expect("a 180");
        assert_eq!(ringing.header("Require"), Some("100rel"));
        format!("RAck: {} 100 INVITE\r\n", ringing.header("RSeq").expect("RSeq"))
    }

    #[test]
    fn a_required_180_is_repeated_until_its_prack() {
        let (mut rig, mut caller, call) = ringing();
        let first = rig.last().text.clone();
        let times: Vec<u64> = rig.run(Duration::from_secs(4)).into_iter().map(|(at, _)| at).collect();
        assert_eq!((times, &rig.last().text), (vec![500, 1500, 3500], &first));
        let prack = caller.request("PRACK", &rack(&rig), "");
        assert_eq!(rig.say(&prack), ["200 OK"]);
        assert_eq!(rig.say(&prack), ["200 OK"]);
        assert_eq!(rig.run(Duration::from_secs(60)), []);
        // It is acknowledged already.
        let rack = rack(&rig);
        assert_eq!(rig.say(&caller.request("PRACK", &rack, "")), ["481 Call/Transaction Does Not Exist"]);
        assert_eq!(rig.command(Command::Answer { call, sdp: b"v=0".to_vec() }), ["200 OK"]);
        assert_eq!(rig.ua.live_calls(), 1);
    }

    #[test]
    fn a_prack_of_something_else_is_refused() {
        let (mut rig, mut caller, _) = ringing();
        let right = rack(&rig);
        for wrong in [
            right.replace(" 100 ", " 101 "),
            right.replace("INVITE", "UPDATE"),
            right.replace("INVITE", "INVITE x"),
            "RAck: 0 100 INVITE\r\n".into(),
            "RAck: \r\n".into(),
            String::new(),
        ] {
            assert_eq!(
                rig.say(&caller.request("PRACK", &wrong, "")),
                ["481 Call/Transaction Does Not Exist"],
                "{wrong}"
            );
        }
        assert_eq!(rig.say(&caller.request("PRACK", &right, "v=0")), ["488 Not Acceptable Here"]);
    }

    #[test]
    fn without_a_prack_the_call_is_refused() {
        let (mut rig, _, call) = ringing();
        let sent = rig.run(Duration::from_secs(32));
        assert_eq!(sent.last(), Some(&(32_000, "504 Server Time-out".to_owned())));
        assert_eq!(rig.events(), [Event::Ended { call, by: EndedBy::Engine, reason: "no PRACK".into() }]);
        assert_eq!(rig.ua.live_calls(), 0);
    }

    #[test]
    fn a_200_does_not_wait_for_the_prack_of_a_180_without_a_description() {
        let (mut rig, mut caller, call) = ringing();
        assert_eq!(rig.command(Command::Answer { call, sdp: b"v=0".to_vec() }), ["200 OK"]);
        let rack = rack(&rig);
        assert_eq!(rig.say(&caller.request("PRACK", &rack, "")), ["200 OK"]);
        rig.say(&caller.ack(""));
        assert_eq!(rig.run(Duration::from_secs(60)), []);
        assert_eq!(rig.events(), [Event::Confirmed { call, answer: None }]);
    }

    #[test]
    fn with_our_offer_the_200_is_the_first_that_is_reliable() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        caller.headers += "Require: 100rel\r\n";
        caller.body.clear();
        let call = rig.invite(&caller);
        // RFC 3262 §5: a reliable 180 would have to carry the offer.
        assert_eq!(rig.command(Command::Ring { call }), NOTHING);
        assert_eq!(rig.command(Command::Answer { call, sdp: b"v=0".to_vec() }), ["200 OK"]);
    }

    #[test]
    fn a_caller_that_only_supports_it_gets_a_plain_180() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        caller.headers += "Supported: 100rel\r\n";
        let call = rig.invite(&caller);
        rig.command(Command::Ring { call });
        assert_eq!((rig.last().header("Require"), rig.last().header("RSeq")), (None, None));
        assert_eq!(rig.run(Duration::from_secs(60)), []);
    }

    #[test]
    fn a_cancel_ends_the_repetition() {
        let (mut rig, caller, _) = ringing();
        let mut plain = Caller::new("a");
        plain.headers.clone_from(&caller.headers);
        assert_eq!(rig.say(&plain.cancel()), ["200 OK", "487 Request Terminated"]);
        rig.say(&caller.ack_refusal());
        assert_eq!(rig.run(Duration::from_secs(40)), []);
    }
}
