//! Who may do what: digest for everybody with accounts, or open mode for those near by (RFC 3261 §22, §26.3.2).

use super::admission::is_scanner;
use super::digest::Verdict;
use super::flow::Flow;
use super::lexer::Lexed;
use super::message::{Method, Request, method_name};
use super::uri::SipUri;
use super::{Event, UserAgent};
use crate::ids::CallId;
use crate::time::Instant;
use std::net::IpAddr;

/// What telephones show their user, in `P-Registrar-Error`, which no RFC has.
pub(super) const WRONG_PASSWORD: &str = "wrong user name or password";
const OTHER_ADDRESS: &str = "the user name is not that of the address";

/// The host of a caller who withholds its own address (RFC 3323 §4.1.1.3).
const ANONYMOUS_HOST: &str = "anonymous.invalid";

/// Longest user name that is repeated in an event, in characters.
const USER_CHARS_MAX: usize = 64;

impl UserAgent {
    /// Whether a peer that comes by `flow` is served at all: everybody where there are accounts; in open mode those
    /// near by, this machine at whatever address it has, and trusted peers.
    pub(super) fn is_served(&self, flow: Flow) -> bool {
        let (source, local) = (flow.peer.ip().to_canonical(), flow.local.ip().to_canonical());
        let near = is_near(source) || source == local && !source.is_unspecified();
        flow.peer.port() != 0 && (near || !self.digest.is_open() || self.is_trusted(flow.peer.ip()))
    }

    /// Whether `address` is that of a proxy or trunk of ours.
    pub(super) fn is_trusted(&self, address: IpAddr) -> bool {
        self.settings.trusted.iter().any(|network| network.contains(address))
    }

    /// Whether a request within `call` comes from where the call itself does, or from somebody who is believed anyway.
    pub(super) fn is_of_call(&self, call: CallId, flow: Flow) -> bool {
        let own = self.sessions.get(call).map(|session| session.dialog.flow);
        self.digest.is_open() || own.is_some_and(|own| own.peer == flow.peer) || self.is_trusted(flow.peer.ip())
    }

    /// Whether an ACK, which cannot be challenged, may say that the call's requests go to `flow` from here on.
    pub(super) fn may_move(&self, call: CallId, flow: Flow) -> bool {
        let own = self.sessions.get(call).map(|session| session.dialog.flow);
        self.is_of_call(call, flow) || own.is_some_and(|own| own.peer.ip() == flow.peer.ip())
    }

    /// Whether a message says itself that it comes from a scanner.
    pub(super) fn is_scan(&self, lexed: &Lexed<'_>, flow: Flow) -> bool {
        let known = self.admission.knows(flow.peer) || self.is_trusted(flow.peer.ip());
        !known && lexed.values("User-Agent").any(is_scanner)
    }

    /// Whether enough calls ring, or wait for the ACK of their 200: of this address, or of all together. Callers who
    /// are never reached may not use up the room for calls.
    pub(super) fn has_enough_unacknowledged(&self, flow: Flow) -> bool {
        let (own, all) = self.sessions.unacknowledged(flow.peer.ip());
        let enough = own >= self.settings.limits.unacknowledged_max || all >= self.settings.calls_max.div_ceil(2);
        enough && !self.is_trusted(flow.peer.ip())
    }

    /// Refuses a request whose sender has not shown that it may send it; returns whether it did.
    pub(super) fn refuse_unauthorised(&mut self, request: &Request, flow: Flow, now: Instant) -> bool {
        let never = matches!(request.method(), Method::Ack | Method::Cancel | Method::Options);
        if never || self.digest.is_open() || self.is_trusted(flow.peer.ip()) {
            return false;
        }
        let Some(credentials) = self.digest.credentials(request) else {
            self.challenge(request, flow, false, None, now);
            return true;
        };
        let targets = [request.target(), &request.to().uri];
        let (source, method) = (flow.peer, method_name(request.method()));
        let user = Some(credentials.username()).filter(|user| self.digest.has(user));
        let counts = self.admission.may_check(source, user);
        // The answer is checked even where the check does not count, so that the time it takes tells nothing.
        match self.digest.check(&credentials, method, &targets, source.ip(), now) {
            Verdict::Authentic { user } if counts => {
                let fits = fits_address(user, request);
                self.admission.succeeded(source, user);
                if !fits {
                    self.forbid(request, flow);
                }
                !fits
            }
            Verdict::Stale if counts => {
                self.challenge(request, flow, true, None, now);
                true
            }
            verdict => {
                self.out.counters.wrong_credentials += 1;
                let proven = matches!(verdict, Verdict::Wrong { proven: true });
                let count = self.admission.failed(source, user, proven);
                if count.is_power_of_two() {
                    let user = credentials.username().chars().take(USER_CHARS_MAX).collect();
                    self.out.event(Event::Distrusted { source, user, count });
                }
                self.challenge(request, flow, false, Some(WRONG_PASSWORD), now);
                true
            }
        }
    }

    /// 401, with a reason that a telephone shows where it registers.
    fn challenge(&mut self, request: &Request, flow: Flow, stale: bool, reason: Option<&str>, now: Instant) {
        self.out.counters.challenges += 1;
        let challenges = self.digest.challenge(flow.peer.ip(), stale, now);
        let mut response = self
            .stateless(401, request.envelope(), flow)
            .with_all("WWW-Authenticate", challenges.iter().map(String::as_str));
        if let Some(reason) = reason.filter(|_| request.method() == Method::Register) {
            response = response.with("P-Registrar-Error", reason);
        }
        self.send_stateless(response, request.envelope(), flow);
    }

    /// 403: who it is, is known, and it is somebody else's address. Asking again would not change that.
    fn forbid(&mut self, request: &Request, flow: Flow) {
        let mut response = self.stateless(403, request.envelope(), flow);
        if request.method() == Method::Register {
            response = response.with("P-Registrar-Error", OTHER_ADDRESS);
        }
        self.send_stateless(response, request.envelope(), flow);
    }
}

/// Whether `user` may send `request`: registers its own address (RFC 3261 §10.3 step 4), and calls as itself or as nobody.
fn fits_address(user: &str, request: &Request) -> bool {
    let address = if request.method() == Method::Register { request.to() } else { request.from() };
    let Some(uri) = SipUri::parse(&address.uri) else { return false };
    let hidden = uri.host.eq_ignore_ascii_case(ANONYMOUS_HOST) && request.method() != Method::Register;
    hidden || uri.plain_user().as_deref() == Some(user)
}

/// Whether `address` is one of loopback or of a private network (RFC 1918, 3927, 4193, 4291).
fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig::{Caller, Rig};
    use super::super::{Command, Discard};
    use super::*;
    use crate::config::{self, Account, DigestAlgorithm};

    const REGISTER: &str = "REGISTER sip:127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:40000;rport;branch=z9hG4bK#\r\n\
        From: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:a@127.0.0.1>\r\nCall-ID: 1\r\nCSeq: # REGISTER\r\n\
        Contact: <sip:a@192.168.1.9:4444;ob>\r\n\r\n";
    const NOTHING: [&str; 0] = [];

    fn settings() -> config::Sip {
        let account = |user| Account::with_password(user, "offhook", "secret");
        let limits = config::Limits { failures_free: 5, failures_banned: 30, ..config::Limits::default() };
        config::Sip { accounts: vec![account("a"), account("b")], limits, ..config::Sip::default() }
    }

    fn register(number: u32) -> String {
        REGISTER.replace('#', &number.to_string())
    }

    /// The request with the answer to the challenge that was sent last, by its second and so weaker algorithm.
    fn answered(rig: &Rig, text: &str, user: &str, password: &str) -> String {
        let challenge = rig.last().text.lines().filter(|line| line.starts_with("WWW-Authenticate")).nth(1);
        let (_, rest) = challenge.expect("two challenges").split_once("nonce=\"").expect("a nonce");
        let nonce = rest.split('"').next().expect("its end");
        let mut words = text.split(' ');
        let (method, uri) = (words.next().expect("a method"), words.next().expect("a target"));
        let md5 = DigestAlgorithm::Md5;
        let (ha1, ha2) = (md5.hash(&[user, "offhook", password]), md5.hash(&[method, uri]));
        let response = md5.hash(&[&ha1, nonce, "00000001", "c", "auth", &ha2]);
        let header = format!(
            "Authorization: Digest username=\"{user}\",realm=\"offhook\",nonce=\"{nonce}\",uri=\"{uri}\",\
             response=\"{response}\",algorithm=MD5,cnonce=\"c\",qop=auth,nc=00000001\r\n"
        );
        let at = text.find("\r\n").expect("a line") + 2;
        let (line, rest) = text.split_at(at);
        format!("{line}{header}{rest}").replace("branch=z9hG4bK", "branch=z9hG4bKauth")
    }

    #[test]
    fn a_register_has_to_show_who_sends_it() {
        let mut rig = Rig::with(&settings());
        assert_eq!(rig.say(&register(1)), ["401 Unauthorized"]);
        assert_eq!(rig.last().header("P-Registrar-Error"), None);
        assert_eq!((rig.ua.transactions(), rig.events()), ((0, 0), vec![]));
        let right = answered(&rig, &register(2), "a", "secret");
        assert_eq!(rig.say(&right), ["200 OK"]);
        assert_eq!(rig.events().len(), 1);
        // The same credentials in another request are used up.
        let again = right.replace("CSeq: 2", "CSeq: 3").replace("z9hG4bKauth2", "z9hG4bKauth3");
        assert_eq!(rig.say(&again), ["401 Unauthorized"]);
        assert!(rig.last().header("WWW-Authenticate").is_some_and(|value| value.ends_with("stale=true")));
        assert_eq!((rig.ua.counters().challenges, rig.ua.counters().wrong_credentials), (2, 0));
    }

    #[test]
    fn an_unknown_user_and_a_wrong_password_look_the_same() {
        let mut rig = Rig::with(&settings());
        let shape = |rig: &mut Rig, user: &str, password: &str| {
            rig.say(&register(1));
            let attempt = answered(rig, &register(2), user, password);
            assert_eq!(rig.say(&attempt), ["401 Unauthorized"]);
            assert_eq!(rig.last().header("P-Registrar-Error"), Some(WRONG_PASSWORD));
            let lines = rig.last().text.lines();
            lines.map(|line| line.split("nonce=").next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(shape(&mut rig, "a", "wrong"), shape(&mut rig, "nobody", "secret"));
        let source = rig.source;
        let distrusted = |user: &str, count| Event::Distrusted { source, user: user.into(), count };
        assert_eq!(rig.events(), [distrusted("a", 1), distrusted("nobody", 2)]);
        assert_eq!(rig.ua.transactions(), (0, 0));
    }

    #[test]
    fn one_user_cannot_be_another() {
        let mut rig = Rig::with(&settings());
        rig.say(&register(1));
        let attempt = answered(&rig, &register(2), "b", "secret");
        assert_eq!(rig.say(&attempt), ["403 Forbidden"]);
        assert_eq!(rig.last().header("P-Registrar-Error"), Some(OTHER_ADDRESS));
        let caller = Caller::new("a");
        rig.say(&caller.invite());
        let attempt = answered(&rig, &caller.invite(), "b", "secret");
        assert_eq!(rig.say(&attempt), ["403 Forbidden"]);
        // Who hides the number is known by the password all the same.
        let hidden = caller.invite().replace("<sip:a@127.0.0.1>", "\"Anonymous\" <sip:anonymous@anonymous.invalid>");
        rig.say(&hidden);
        let attempt = answered(&rig, &hidden, "b", "secret").replace("inv100", "inv100h");
        assert_eq!(rig.say(&attempt), ["100 Trying"]);
    }

    #[test]
    fn a_stranger_gets_one_small_answer_and_costs_nothing() {
        let mut rig = Rig::with(&settings());
        rig.source = "203.0.113.9:5060".parse().expect("an address");
        let caller = Caller::new("a");
        assert_eq!(rig.say(&caller.invite()), ["401 Unauthorized"]);
        assert_eq!(rig.say(&caller.ack_refusal()), NOTHING);
        let no_user = caller.invite().replace("<sip:a@127.0.0.1>", "<sip:192.0.2.2>");
        assert_eq!(rig.say(&no_user), ["401 Unauthorized"]);
        let invite = answered(&rig, &no_user, "a", "secret");
        assert_eq!(rig.say(&invite), ["403 Forbidden"]);
        for method in ["SUBSCRIBE", "MESSAGE", "PUBLISH", "REFER", "BYE", "UPDATE"] {
            assert_eq!(rig.say(&Caller::new("a").request(method, "", "")), ["401 Unauthorized"], "{method}");
        }
        assert_eq!(rig.say(&caller.cancel()), ["481 Call/Transaction Does Not Exist"]);
        assert_eq!(rig.say(&Caller::new("a").request("OPTIONS", "", "")), ["200 OK"]);
        assert_eq!((rig.ua.transactions(), rig.ua.live_calls(), rig.events()), ((0, 0), 0, vec![]));
        assert_eq!(rig.run(std::time::Duration::from_secs(60)), []);
    }

    #[test]
    fn a_call_with_the_password_is_taken_from_anywhere() {
        let mut rig = Rig::with(&settings());
        rig.source = "203.0.113.9:5060".parse().expect("an address");
        let caller = Caller::new("a");
        rig.say(&caller.invite());
        let invite = answered(&rig, &caller.invite(), "a", "secret");
        assert_eq!(rig.say(&invite), ["100 Trying"]);
        // A repetition is absorbed, and not told that its nonce is used.
        assert_eq!(rig.say(&invite), ["100 Trying"]);
        assert_eq!(rig.events().len(), 1);
    }

    #[test]
    fn who_is_trusted_needs_no_password_and_may_be_anywhere() {
        let network = |text: &str| config::Network::parse(text).expect("a network");
        let mut rig = Rig::with(&config::Sip { trusted: vec![network("203.0.113.0/24")], ..settings() });
        rig.source = "203.0.113.9:5060".parse().expect("an address");
        rig.establish(&mut Caller::new("x"));
        let mut open = Rig::with(&config::Sip { trusted: vec![network("203.0.113.9")], ..config::Sip::default() });
        open.source = rig.source;
        open.establish(&mut Caller::new("x"));
        open.source = "203.0.113.10:5060".parse().expect("an address");
        assert_eq!(open.say(&register(1)), NOTHING);
        assert_eq!(open.ua.counters().discarded_for(Discard::PublicSource), 1);
    }

    #[test]
    fn within_a_call_another_address_has_to_show_who_it_is() {
        let mut rig = Rig::with(&settings());
        let mut caller = Caller::new("a");
        rig.say(&caller.invite());
        let invite = answered(&rig, &caller.invite(), "a", "secret");
        rig.say(&invite);
        let Some(Event::Invited(invitation)) = rig.events().pop() else { panic!("no invitation") };
        let call = invitation.call;
        rig.command(Command::Answer { call, sdp: b"v=0 ours".to_vec() });
        caller.hear(rig.last());
        let home = rig.source;
        // The ACK counts wherever it comes from, and takes nothing with it.
        rig.source = "203.0.113.66:5060".parse().expect("an address");
        assert_eq!(rig.say(&caller.ack("")), NOTHING);
        assert_eq!(rig.events(), [Event::Confirmed { call, answer: None }]);
        let bye = caller.request("BYE", "", "");
        assert_eq!(rig.say(&bye), ["401 Unauthorized"]);
        assert_eq!(rig.ua.live_calls(), 1);
        let reoffer = caller.request("UPDATE", "", "v=0 evil");
        assert_eq!(rig.say(&reoffer), ["401 Unauthorized"]);
        let other_user = answered(&rig, &reoffer, "b", "secret");
        assert_eq!(rig.say(&other_user), ["403 Forbidden"]);
        assert_eq!(rig.events(), []);
        // The caller itself moves with its password, and needs none at home.
        let info = caller.request("INFO", "", "");
        assert_eq!(rig.say(&info), ["401 Unauthorized"]);
        let info = answered(&rig, &info, "a", "secret");
        assert_eq!(rig.say(&info), ["200 OK"]);
        assert_eq!(rig.say(&caller.request("INFO", "", "")), ["200 OK"]);
        rig.source = home;
        assert_eq!(rig.say(&caller.request("BYE", "", "")), ["401 Unauthorized"]);
        rig.command(Command::HangUp { call, reason: "enough".into() });
        assert_eq!(rig.last().to.to_string(), "203.0.113.66:5060");
    }

    #[test]
    fn guessers_are_slowed_down_banned_and_forgiven() {
        let mut rig = Rig::with(&settings());
        let mut number = 0;
        let mut guess = |rig: &mut Rig, password: &str| {
            number += 2;
            rig.say(&register(number));
            let attempt = answered(rig, &register(number + 1), "a", password);
            rig.say(&attempt).pop().unwrap_or_default()
        };
        for _ in 0..6 {
            assert_eq!(guess(&mut rig, "wrong"), "401 Unauthorized");
        }
        // The right one among the wrong ones is not believed until its turn has come, and looks like them.
        assert_eq!(guess(&mut rig, "secret"), "401 Unauthorized");
        assert_eq!(rig.last().header("P-Registrar-Error"), Some(WRONG_PASSWORD));
        rig.now += std::time::Duration::from_secs(1);
        assert_eq!(guess(&mut rig, "secret"), "200 OK");
        let counts: Vec<u32> = rig
            .events()
            .iter()
            .filter_map(|event| match event {
                Event::Distrusted { count, .. } => Some(*count),
                _ => None,
            })
            .collect();
        assert_eq!(counts, [1, 2, 4]);
        let home = rig.source;
        rig.source = "127.0.0.1:6666".parse().expect("an address");
        for _ in 6..30 {
            guess(&mut rig, "wrong");
        }
        assert_eq!(rig.say(&register(903)), NOTHING);
        assert_eq!(rig.ua.counters().discarded_for(Discard::Banned), 1);
        rig.source = home;
        assert_eq!(rig.say(&register(904)), ["401 Unauthorized"], "the phone that is known is not banned");
        rig.source = "127.0.0.1:6666".parse().expect("an address");
        rig.now += std::time::Duration::from_secs(301);
        assert_eq!(rig.say(&register(905)), ["401 Unauthorized"]);
    }

    #[test]
    fn a_scanner_gets_nothing() {
        let mut rig = Rig::new();
        let scan = register(1).replace("Contact:", "User-Agent: friendly-scanner\r\nContact:");
        assert_eq!(rig.say(&scan), NOTHING);
        assert_eq!(rig.ua.counters().discarded_for(Discard::Scanner), 1);
        assert_eq!(rig.say(&register(1)), ["200 OK"], "the address is not to blame for what may be forged");
    }

    #[test]
    fn calls_that_nobody_acknowledges_are_few() {
        let mut rig = Rig::new();
        for n in 0..40 {
            rig.invite(&Caller::new(&format!("flood{n}")));
        }
        assert_eq!(rig.say(&Caller::new("more").invite()), ["503 Service Unavailable"]);
        assert_eq!(rig.ua.counters().refused_unacknowledged, 1);
        rig.source = "127.0.0.2:5060".parse().expect("an address");
        let mut caller = Caller::new("other");
        rig.establish(&mut caller);
        for n in 0..60 {
            rig.source = format!("127.0.1.{n}:5060").parse().expect("an address");
            rig.invite(&Caller::new(&format!("spread{n}")));
        }
        rig.source = "127.0.2.1:5060".parse().expect("an address");
        assert_eq!(rig.say(&Caller::new("last").invite()), ["503 Service Unavailable"], "half of all calls is enough");
    }

    #[test]
    fn an_address_is_told_so_many_refusals_and_no_more() {
        let mut rig = Rig::with(&settings());
        rig.source = "192.0.2.9:5060".parse().expect("an address");
        let answers = (0..500).filter(|n| !rig.say(&register(*n)).is_empty()).count();
        assert_eq!((answers, rig.ua.counters().answers_withheld), (120, 380));
        assert_eq!((0..500).filter(|n| !rig.say(&register(*n)).is_empty()).count(), 0);
        assert_eq!(rig.ua.counters().discarded_for(Discard::Excess), 400);
    }
}
