//! REFER from the peer (RFC 3515): a transfer of the call to somebody whom this server knows.
//!
//! The call stays the same for the engine: another peer is called with a fresh offer, and once that answers, its dialog
//! takes the place of the transferor's, which is told by NOTIFY and then leaves. Policy comes first, since who may
//! transfer may spend money (RFC 3515 §5.1): the target has to be registered here, or on a network of `sip.transfer_to`.

use super::flow::Flow;
use super::in_dialog::Arrival;
use super::message::{Method, Request};
use super::name_addr::NameAddr;
use super::reason::{Cause, Reason};
use super::refusals::RETRY_AFTER_GLARE_S;
use super::replaces::Replaces;
use super::response::reason_phrase;
use super::session::{REOFFER_MAX, State, contact};
use super::uri::SipUri;
use super::{Event, UserAgent};
use crate::ids::CallId;
use crate::time::Instant;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How long a transferor that was told of success is waited for before it gets our BYE (RFC 5589 §6.1 leaves that to it).
const TRANSFEROR_LEAVES_MAX: Duration = Duration::from_secs(2);

/// How long a subscription is said to last, in seconds: longer than a target may ring.
const SUBSCRIPTION_S: u32 = 120;

/// A transfer that the peer has asked for.
#[derive(Debug)]
pub(super) struct Referral {
    pub(super) target: Target,
    /// Referred-By (RFC 3892), passed on as it came.
    pub(super) referred_by: Option<String>,
    /// The call to the target, once it is placed.
    pub(super) leg: Option<CallId>,
    /// Whether the transferor is told how it goes (RFC 4488: it may not want to be).
    subscribed: bool,
    /// How long the engine may take to follow it.
    pub(super) expires_at: Instant,
}

/// Whom a REFER is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// What is called: the contact, where the target is registered.
    pub(super) uri: String,
    pub(super) flow: Flow,
    pub(super) replaces: Option<Replaces>,
}

/// Why a REFER is refused.
enum Refused {
    /// 400.
    Malformed,
    /// 416: the target is no sip URI.
    Scheme,
    /// 603: policy.
    Declined,
}

impl UserAgent {
    /// REFER within a call.
    pub(super) fn handle_refer(&mut self, arrival: &Arrival, now: Instant) {
        let call = arrival.call;
        let Some(session) = self.sessions.get(call) else { return };
        if !matches!(session.state, State::Established) {
            return self.respond(arrival, arrival.begin(603), now);
        }
        if session.referral.is_some() || session.taken_by.is_some() {
            let seconds = self.rng.u32(..=RETRY_AFTER_GLARE_S);
            return self.respond(arrival, arrival.begin(500).with("Retry-After", seconds.to_string()), now);
        }
        let target = match self.referred_to(&arrival.request, session.dialog.flow) {
            Ok(target) => target,
            Err(Refused::Malformed) => return self.respond(arrival, arrival.begin(400).phrase("Bad Refer-To"), now),
            Err(Refused::Scheme) => return self.respond(arrival, arrival.begin(416), now),
            Err(Refused::Declined) => {
                let target = arrival.request.header("Refer-To").unwrap_or_default().to_owned();
                self.out.event(Event::ReferralDeclined { call, target });
                return self.respond(arrival, arrival.begin(603), now);
            }
        };
        let quiet = arrival.request.header("Refer-Sub").is_some_and(|value| value.trim().eq_ignore_ascii_case("false"));
        let accepted = arrival.begin(202).with("Contact", contact(arrival.flow, &arrival.request));
        self.respond(arrival, if quiet { accepted.with("Refer-Sub", "false") } else { accepted }, now);
        let referred_by = arrival.request.header("Referred-By").filter(|value| NameAddr::parse(value).is_some());
        let (uri, local) = (target.uri.clone(), target.flow.local.ip().to_canonical());
        let referral = Referral {
            target,
            referred_by: referred_by.map(str::to_owned),
            leg: None,
            subscribed: !quiet,
            expires_at: now + REOFFER_MAX,
        };
        self.sessions.with(call, |session, _| session.referral = Some(referral));
        self.notify(call, 100, now);
        self.out.event(Event::Referred { call, target: uri, local });
    }

    /// Reads Refer-To, and looks the target up.
    fn referred_to(&self, request: &Request, flow: Flow) -> Result<Target, Refused> {
        let mut values = request.values("Refer-To");
        let value = values.next().filter(|_| values.next().is_none()).ok_or(Refused::Malformed)?;
        let address = NameAddr::parse(value).ok_or(Refused::Malformed)?;
        let uri = SipUri::parse(&address.uri).ok_or(Refused::Scheme)?;
        let replaces = uri.headers.and_then(|headers| header_in(headers, "Replaces"));
        let replaces = match replaces {
            Some(value) => Some(Replaces::parse(&value).ok_or(Refused::Malformed)?),
            None => None,
        };
        // RFC 3515 §2.4.1: another method than INVITE may be asked for, and is not served.
        let method = uri.param("method").flatten().unwrap_or("INVITE");
        if !method.eq_ignore_ascii_case("INVITE") {
            return Err(Refused::Declined);
        }
        let (uri, flow) = self.reachable(&uri, flow).ok_or(Refused::Declined)?;
        Ok(Target { uri, flow, replaces })
    }

    /// Returns how a target is reached that policy allows: by the flow of its registration, or at its address.
    fn reachable(&self, uri: &SipUri<'_>, flow: Flow) -> Option<(String, Flow)> {
        let bare = SipUri { headers: None, ..uri.clone() };
        let aor = bare.address_of_record();
        let is_contact = |contact: &str| SipUri::parse(contact).is_some_and(|contact| contact.same(&bare));
        // The latest of several contacts is the one that was used last.
        let binding =
            self.registrar.bindings().filter(|binding| binding.aor == aor || is_contact(&binding.contact)).last();
        if let Some(binding) = binding {
            return Some((binding.contact.clone(), binding.flow));
        }
        let ip: IpAddr = bare.host.trim_matches(['[', ']']).parse().ok()?;
        let allowed = self.settings.transfer_to.iter().any(|network| network.contains(ip));
        let by_udp = !bare.secure
            && bare.param("transport").flatten().is_none_or(|transport| transport.eq_ignore_ascii_case("udp"));
        let peer = SocketAddr::new(ip, bare.port.unwrap_or(5060));
        (allowed && by_udp).then(|| (bare_text(&bare), Flow::udp(peer, flow.local)))
    }

    /// Tells the transferor how its REFER goes, and with a final status that this was all (RFC 3515 §2.4.4, §2.4.5).
    pub(super) fn notify(&mut self, call: CallId, status: u16, now: Instant) {
        let Some(session) = self.sessions.get(call) else { return };
        if !session.referral.as_ref().is_some_and(|referral| referral.subscribed) {
            return;
        }
        let state = match status {
            ..200 => format!("active;expires={SUBSCRIPTION_S}"),
            _ => "terminated;reason=noresource".to_owned(),
        };
        let headers = [
            ("Contact", session.dialog.flow.contact(false)),
            // One at a time, so that there is no `id` to tell two apart (RFC 3515 §2.4.6).
            ("Event", "refer".to_owned()),
            ("Subscription-State", state),
            ("User-Agent", self.product.clone()),
        ];
        let status_line = format!("SIP/2.0 {status} {}\r\n", reason_phrase(status));
        let body = Some(("message/sipfrag;version=2.0", status_line.as_bytes()));
        self.send_in_dialog(call, Method::Notify, &headers, body, now);
    }

    /// Ends a referral that came to nothing: the call goes on as it was.
    pub(super) fn fail_referral(&mut self, call: CallId, status: u16, now: Instant) {
        self.notify(call, status, now);
        let failed = self.sessions.with(call, |session, _| session.referral.take()).flatten();
        if failed.is_some() {
            self.out.event(Event::ReferralFailed { call, status });
        }
    }

    /// The target has answered: its dialog `leg` is the call's from here on, and the transferor's leaves.
    pub(super) fn transferred(&mut self, call: CallId, leg: CallId, now: Instant) {
        self.exchange(call, leg);
        self.notify(leg, 200, now);
        self.sessions.with(leg, |session, _| {
            session.referral = None;
            session.refresh = None;
            session.state = State::Transferred { bye_at: now + TRANSFEROR_LEAVES_MAX };
        });
    }

    /// The transferor has left before the target answered, as RFC 5589 §6.1 allows: the call waits for the target alone.
    pub(super) fn leave_to_target(&mut self, call: CallId, leg: CallId) {
        self.exchange(call, leg);
        self.sessions.with(call, |session, _| {
            if let State::Calling(calling) = &mut session.state {
                calling.of = Some(call);
            }
        });
        self.sessions.remove(leg);
    }

    /// Sends the BYE that the transferor has not sent.
    pub(super) fn leave_transferor(&mut self, leg: CallId, now: Instant) {
        self.sessions.with(leg, |session, _| {
            session.state = State::Leaving { reason: Reason::new(Cause::Normal, "transferred") };
        });
        self.send_bye(leg, now);
    }
}

/// Returns the value of a header in a URI, escapes undone (RFC 3261 §19.1.1): there may be anything in it.
fn header_in(headers: &str, name: &str) -> Option<String> {
    let pairs = headers.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name))?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes a URI without headers.
fn bare_text(uri: &SipUri<'_>) -> String {
    let user = uri.user.map(|user| format!("{user}@")).unwrap_or_default();
    let port = uri.port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("sip:{user}{}{port}", uri.host)
}

#[cfg(test)]
mod tests {
    use super::super::rig::{Caller, PHONE, Rig, Sent, reply};
    use super::super::{Command, EndedBy};
    use super::*;
    use crate::config;

    const NOTHING: [&str; 0] = [];
    const TARGET: &str = "127.0.0.1:41000";
    const NOTIFY: &str = "NOTIFY sip:a@127.0.0.1:40000;ob";

    /// A call of `a`, with `b` registered.
    fn established() -> (Rig, Caller, CallId) {
        let mut rig = Rig::new();
        rig.register("b", TARGET);
        let mut caller = Caller::new("a");
        let call = rig.establish(&mut caller);
        (rig, caller, call)
    }

    fn refer(caller: &mut Caller, headers: &str) -> String {
        caller.request("REFER", &format!("{headers}Contact: <sip:a@{PHONE};ob>\r\n"), "")
    }

    fn follow(call: CallId) -> Command {
        Command::FollowReferral { call, sdp: b"v=0 offer".to_vec() }
    }

    /// A call that is being transferred to `b`, whose INVITE was just sent.
    fn calling() -> (Rig, Caller, CallId, Sent) {
        let (mut rig, mut caller, call) = established();
        let refer = refer(&mut caller, "Refer-To: sip:b@127.0.0.1:5060\r\nReferred-By: <sip:a@127.0.0.1>\r\n");
        assert_eq!(rig.say(&refer), ["202 Accepted", NOTIFY]);
        let target = "sip:b@192.0.2.77:9;ob".to_owned();
        let local = "127.0.0.1".parse().expect("an address");
        assert_eq!(rig.events(), [Event::Referred { call, target, local }]);
        let notify = rig.last().clone();
        assert!(notify.text.ends_with("\r\n\r\nSIP/2.0 100 Trying\r\n"), "{}", notify.text);
        assert_eq!(notify.header("Subscription-State"), Some("active;expires=120"));
        assert_eq!(
            (notify.header("Event"), notify.header("Content-Type")),
            (Some("refer"), Some("message/sipfrag;version=2.0"))
        );
        rig.say(&reply(&notify, "200 OK", "", "", ""));
        assert_eq!(rig.command(follow(call)), ["INVITE sip:b@192.0.2.77:9;ob"]);
        let invite = rig.last().clone();
        (rig, caller, call, invite)
    }

    fn final_notify(sent: &Sent, status: &str) {
        assert!(sent.text.ends_with(&format!("\r\n\r\nSIP/2.0 {status}\r\n")), "{}", sent.text);
        assert_eq!(sent.header("Subscription-State"), Some("terminated;reason=noresource"));
    }

    const ANSWER: &str = "Contact: <sip:b@192.0.2.77:10>\r\nAllow: UPDATE\r\n";

    #[test]
    fn a_call_goes_on_with_the_target_of_a_blind_transfer() {
        let (mut rig, mut caller, call, invite) = calling();
        assert_eq!(invite.to, TARGET.parse().expect("an address"));
        assert_eq!(invite.header("Referred-By"), Some("<sip:a@127.0.0.1>"));
        assert_eq!(invite.header("To"), Some("<sip:b@192.0.2.77:9;ob>"));
        assert!(invite.header("From").is_some_and(|from| from.starts_with("<sip:1000@127.0.0.1>;tag=")));
        assert_eq!((invite.header("Session-Expires"), invite.header("Min-SE")), (Some("1800"), Some("90")));
        assert_eq!(invite.header("Supported"), Some("timer, replaces, norefersub"));
        assert!(invite.text.ends_with("\r\n\r\nv=0 offer"));
        assert_eq!(rig.say(&reply(&invite, "180 Ringing", "t", "", "")), NOTHING);
        let ok = reply(&invite, "200 OK", "t", ANSWER, "v=0 answer");
        assert_eq!(rig.say(&ok), ["ACK sip:b@192.0.2.77:10", NOTIFY]);
        final_notify(rig.last(), "200 OK");
        let transferred = Event::Transferred {
            call,
            answer: b"v=0 answer".to_vec(),
            peer: "<sip:b@192.0.2.77:9;ob>".into(),
            source: TARGET.parse().expect("an address"),
        };
        assert_eq!(rig.events(), [transferred]);
        // The target's 200 again: acknowledged again, and no more.
        assert_eq!(rig.say(&ok), ["ACK sip:b@192.0.2.77:10"]);
        // The transferor leaves; the call does not end by that.
        assert_eq!(rig.say(&caller.request("BYE", "", "")), ["200 OK"]);
        assert_eq!((rig.events(), rig.ua.live_calls()), (vec![], 1));
        assert_eq!(rig.command(Command::HangUp { call, reason: "x".into() }), ["BYE sip:b@192.0.2.77:10"]);
        assert_eq!(rig.last().to, TARGET.parse().expect("an address"));
    }

    #[test]
    fn a_transferor_that_stays_gets_our_bye() {
        let (mut rig, _, call, invite) = calling();
        rig.say(&reply(&invite, "200 OK", "t", ANSWER, "v=0 answer"));
        rig.say(&reply(&rig.last().clone(), "200 OK", "", "", ""));
        rig.events();
        assert_eq!(rig.run(Duration::from_secs(2)), [(2000, "BYE sip:a@127.0.0.1:40000;ob".to_owned())]);
        assert_eq!(rig.last().header("Reason"), Some("Q.850;cause=16;text=\"transferred\""));
        rig.say(&reply(&rig.last().clone(), "200 OK", "", "", ""));
        assert_eq!((rig.events(), rig.ua.live_calls()), (vec![], 1));
        // What the target says is the call's.
        let bye = reply(&invite, "x", "t", "", "");
        let id = bye.lines().find_map(|line| line.strip_prefix("Call-ID: ")).expect("a Call-ID");
        let (from, to) = (invite.header("From").expect("From"), "<sip:b@127.0.0.1>;tag=t");
        let bye = format!(
            "BYE sip:1000@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {TARGET};rport;branch=z9hG4bKbye\r\nFrom: {to}\r\nTo: {from}\r\nCall-ID: {id}\r\nCSeq: 9 BYE\r\n\r\n"
        );
        rig.source = TARGET.parse().expect("an address");
        assert_eq!(rig.say(&bye), ["200 OK"]);
        assert_eq!(rig.events(), [Event::Ended { call, by: EndedBy::Caller, reason: "hung up".into() }]);
    }

    #[test]
    fn a_target_that_refuses_leaves_the_call_as_it_was() {
        for (status, said) in
            [("486 Busy Here", "486 Busy Here"), ("302 Moved", "302 Redirected"), ("401 Who", "401 Unauthorized")]
        {
            let (mut rig, mut caller, call, invite) = calling();
            let no = reply(&invite, status, "t", "Contact: <sip:elsewhere@192.0.2.1>\r\n", "");
            assert_eq!(rig.say(&no), ["ACK sip:b@192.0.2.77:9;ob", NOTIFY]);
            final_notify(rig.last(), said);
            let status = status[..3].parse().expect("a status");
            assert_eq!(rig.events(), [Event::ReferralFailed { call, status }]);
            assert_eq!(rig.say(&no), ["ACK sip:b@192.0.2.77:9;ob"]);
            assert_eq!(
                (rig.say(&caller.request("OPTIONS", "", "")), rig.ua.live_calls()),
                (vec!["200 OK".to_owned()], 1)
            );
            // And it may be tried again.
            let again = refer(&mut caller, "Refer-To: <sip:b@127.0.0.1>\r\n");
            assert_eq!(rig.say(&again), ["202 Accepted", NOTIFY]);
        }
    }

    #[test]
    fn a_target_that_does_not_answer_is_cancelled_in_time() {
        let (mut rig, _, call, invite) = calling();
        rig.say(&reply(&invite, "180 Ringing", "t", "", ""));
        let sent = rig.run(Duration::from_secs(60));
        assert_eq!(sent, [(60_000, "CANCEL sip:b@192.0.2.77:9;ob".to_owned())]);
        let cancel = rig.last().clone();
        assert_eq!((cancel.header("Via"), cancel.header("CSeq")), (invite.header("Via"), Some("1 CANCEL")));
        assert_eq!(cancel.header("Reason"), Some("Q.850;cause=19;text=\"not answered in time\""));
        rig.say(&reply(&cancel, "200 OK", "t", "", ""));
        assert_eq!(rig.say(&reply(&invite, "487 Request Terminated", "t", "", "")).len(), 2);
        assert_eq!(rig.events(), [Event::ReferralFailed { call, status: 487 }]);
        // One that answers nothing at all.
        let (mut rig, _, call, _) = calling();
        assert_eq!(rig.run(Duration::from_secs(32)).last(), Some(&(32_000, NOTIFY.to_owned())));
        assert_eq!(rig.events(), [Event::ReferralFailed { call, status: 408 }]);
    }

    #[test]
    fn a_caller_that_hangs_up_after_its_refer_leaves_the_agent_to_the_target() {
        let (mut rig, mut caller, call, invite) = calling();
        assert_eq!(rig.say(&caller.request("BYE", "", "")), ["200 OK"]);
        assert_eq!(rig.events(), []);
        assert_eq!(rig.say(&reply(&invite, "200 OK", "t", ANSWER, "v=0 answer")), ["ACK sip:b@192.0.2.77:10"]);
        assert!(matches!(rig.events().as_slice(), [Event::Transferred { call: of, .. }] if *of == call));
        assert_eq!(rig.ua.live_calls(), 1);
        // And where the target refuses, nobody is left.
        let (mut rig, mut caller, call, invite) = calling();
        rig.say(&caller.request("BYE", "", ""));
        rig.say(&reply(&invite, "486 Busy", "t", "", ""));
        let reason = "transferred, but the target said 486".into();
        assert_eq!(rig.events(), [Event::Ended { call, by: EndedBy::Caller, reason }]);
    }

    #[test]
    fn hanging_up_takes_the_call_to_the_target_back() {
        let (mut rig, _, call, invite) = calling();
        // CANCEL has to wait for a provisional response (RFC 3261 §9.1).
        assert_eq!(rig.command(Command::HangUp { call, reason: "x".into() }), ["BYE sip:a@127.0.0.1:40000;ob"]);
        assert_eq!(rig.say(&reply(&invite, "100 Trying", "", "", "")), ["CANCEL sip:b@192.0.2.77:9;ob"]);
        // A 200 that crosses it is acknowledged and ended.
        assert_eq!(
            rig.say(&reply(&invite, "200 OK", "t", ANSWER, "v=0 answer")),
            ["ACK sip:b@192.0.2.77:10", "BYE sip:b@192.0.2.77:10"]
        );
        assert_eq!(rig.events(), [Event::Ended { call, by: EndedBy::Agent, reason: "x".into() }]);
    }

    #[test]
    fn a_second_target_that_answers_is_told_no() {
        let (mut rig, _, _, invite) = calling();
        rig.say(&reply(&invite, "200 OK", "t", ANSWER, "v=0 answer"));
        rig.events();
        let other = reply(&invite, "200 OK", "fork", "Contact: <sip:c@192.0.2.78>\r\n", "v=0 answer");
        assert_eq!(rig.say(&other), ["ACK sip:c@192.0.2.78", "BYE sip:c@192.0.2.78"]);
        assert_eq!(rig.say(&other), NOTHING);
        assert_eq!((rig.events(), rig.ua.live_calls()), (vec![], 1));
    }

    #[test]
    fn only_targets_that_policy_names_are_called() {
        let transfer_to = vec![config::Network::parse("192.0.2.0/24").expect("a network")];
        let mut rig = Rig::with(&config::Sip { transfer_to, ..config::Sip::default() });
        rig.register("b", TARGET);
        for (to, answer) in [
            ("<sip:b@127.0.0.1>", "202 Accepted"),
            ("\"B\" <sip:b@192.0.2.77:9;ob>", "202 Accepted"),
            ("<sip:+49900123456@192.0.2.5>", "202 Accepted"),
            ("<sip:x@192.0.2.5:5070;transport=UDP>", "202 Accepted"),
            ("<sip:x@192.0.2.5;transport=tcp>", "603 Decline"),
            ("<sip:+49900123456@198.51.100.1>", "603 Decline"),
            ("<sip:c@127.0.0.1>", "603 Decline"),
            ("<sip:b@example.com>", "603 Decline"),
            ("<sip:b@127.0.0.1;method=BYE>", "603 Decline"),
            ("<tel:+49900123456>", "416 Unsupported URI Scheme"),
            ("<sip:b@127.0.0.1>, <sip:b@127.0.0.1>", "400 Bad Refer-To"),
            ("<sip:b@127.0.0.1?Replaces=x>", "400 Bad Refer-To"),
            ("<sip:b@127.0.0.1?Replaces=x%3Bto-tag%3D1%3Bfrom-tag%3D2%0D%0AX:y>", "400 Bad Refer-To"),
            ("", "400 Bad Refer-To"),
        ] {
            let mut caller = Caller::new(&format!("c{}", rig.sent.len()));
            let call = rig.establish(&mut caller);
            let sent = rig.say(&refer(&mut caller, &format!("Refer-To: {to}\r\n")));
            assert_eq!(sent.first().map(String::as_str), Some(answer), "{to}");
            let events = rig.events();
            assert_eq!(
                events.iter().any(|event| matches!(event, Event::Referred { .. })),
                answer == "202 Accepted",
                "{to}"
            );
            assert_eq!(
                events.iter().any(|event| matches!(event, Event::ReferralDeclined { .. })),
                answer == "603 Decline"
            );
            rig.command(Command::HangUp { call, reason: String::new() });
            rig.events();
        }
        let mut caller = Caller::new("twice");
        rig.establish(&mut caller);
        let twice = refer(&mut caller, "Refer-To: <sip:b@127.0.0.1>\r\nRefer-To: <sip:b@127.0.0.1>\r\n");
        assert_eq!(rig.say(&twice), ["400 Bad Refer-To"]);
        assert_eq!(rig.say(&refer(&mut caller, "")), ["400 Bad Refer-To"]);
    }

    #[test]
    fn one_transfer_at_a_time() {
        let (mut rig, mut caller, _, _) = calling();
        assert_eq!(rig.say(&refer(&mut caller, "Refer-To: <sip:b@127.0.0.1>\r\n")), ["500 Server Internal Error"]);
        assert!(rig.last().header("Retry-After").is_some());
    }

    #[test]
    fn a_transferor_that_wants_no_notify_gets_none() {
        let (mut rig, mut caller, call) = established();
        assert_eq!(
            rig.say(&refer(&mut caller, "Refer-To: <sip:b@127.0.0.1>\r\nRefer-Sub: false\r\n")),
            ["202 Accepted"]
        );
        assert_eq!(rig.last().header("Refer-Sub"), Some("false"));
        rig.command(follow(call));
        let invite = rig.last().clone();
        assert_eq!(rig.say(&reply(&invite, "200 OK", "t", ANSWER, "v=0 answer")), ["ACK sip:b@192.0.2.77:10"]);
    }

    #[test]
    fn a_transfer_with_replaces_carries_it_to_the_target() {
        let (mut rig, mut caller, call) = established();
        let refer_to =
            "Refer-To: <sip:b@127.0.0.1?Require=replaces&Replaces=3Tm%40h%3Bto-tag%3Dsrv6%3Bfrom-tag%3Dv2R2-Hm>\r\n";
        rig.say(&refer(&mut caller, refer_to));
        rig.command(follow(call));
        assert_eq!(rig.last().header("Replaces"), Some("3Tm@h;to-tag=srv6;from-tag=v2R2-Hm"));
        assert_eq!(rig.last().header("Require"), Some("replaces"));
    }

    #[test]
    fn a_transfer_that_the_engine_does_not_follow_fails() {
        let (mut rig, mut caller, call) = established();
        rig.say(&refer(&mut caller, "Refer-To: <sip:b@127.0.0.1>\r\n"));
        assert_eq!(rig.command(Command::RefuseReferral { call, status: 488 }), [NOTIFY]);
        final_notify(rig.last(), "488 Not Acceptable Here");
        rig.say(&refer(&mut caller, "Refer-To: <sip:b@127.0.0.1>\r\n"));
        rig.events();
        rig.run(REOFFER_MAX);
        assert_eq!(rig.events(), [Event::ReferralFailed { call, status: 500 }]);
        assert_eq!((rig.command(follow(call)), rig.ua.live_calls()), (vec![], 1));
    }
}
