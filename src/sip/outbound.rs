//! Calls and registrations that we make ourselves: INVITE and REGISTER of a user agent client, with digest (RFC 3261 §10.2, §13.2, §22).
//!
//! The call itself is [`super::calling`]'s, as that to the target of a REFER. Here is what differs: who it is from, the answers to
//! challenges, and what the engine is told.

use super::calling::{Calling, Cancel, RINGING_MAX};
use super::dialog::Dialog;
use super::flow::Flow;
use super::login::{Challenge, Login};
use super::message::Method;
use super::reply::Reply;
use super::response::reason_phrase;
use super::session::{Session, State};
use super::session_timer::Terms;
use super::uri::host_of;
use super::{EndedBy, Event, UserAgent};
use crate::ids::CallId;
use crate::time::Instant;

/// Owns the transactions of the registration, which is no call; calls count from 1.
pub(super) const REGISTRATION: CallId = CallId(0);

/// Challenges that are answered for one request: the first, and one more where the server says that its nonce was stale.
const ANSWERS_MAX: u8 = 2;

/// The most characters of a refusal's own explanation that are passed on.
const EXPLANATION_MAX: usize = 200;

/// A call to be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// Where the INVITE goes, and where from.
    pub flow: Flow,
    /// Our address-of-record, a SIP URI.
    pub from: String,
    /// Who is called, a SIP URI.
    pub target: String,
    /// Our offer.
    pub sdp: Vec<u8>,
    /// Who we are where that is asked.
    pub login: Option<Login>,
}

/// A registration to be made, refreshed or, with 0 seconds, removed (RFC 3261 §10.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Where the registrar is, and where we are.
    pub flow: Flow,
    /// The registrar's domain, as a SIP URI without a user.
    pub registrar: String,
    /// Our address-of-record, a SIP URI.
    pub aor: String,
    /// For how long, in seconds.
    pub expires_s: u32,
    /// Who we are where that is asked.
    pub login: Option<Login>,
}

/// What a request of ours needs to be sent again with credentials.
#[derive(Debug)]
pub(super) struct Authentication {
    login: Option<Login>,
    answered: u8,
}

impl Authentication {
    const fn new(login: Option<Login>) -> Self {
        Self { login, answered: 0 }
    }

    /// Returns what to send the request again with; `None` where the refusal stands.
    fn answer(&mut self, reply: &Reply, method: &str, uri: &str, cnonce: &str) -> Option<(&'static str, String)> {
        let challenge = Challenge::read(reply)?;
        let login = self.login.as_ref()?;
        if self.answered >= ANSWERS_MAX || (self.answered > 0 && !challenge.stale) {
            return None;
        }
        self.answered += 1;
        Some(challenge.answer(login, method, uri, cnonce))
    }
}

/// The registration under way.
#[derive(Debug)]
pub(super) struct Registering {
    dialog: Dialog,
    registration: Registration,
    branch: String,
    authentication: Authentication,
}

impl UserAgent {
    /// Places a call; [`Event::Placed`] names it.
    pub(super) fn place(&mut self, outbound: Outbound, now: Instant) {
        let Outbound { flow, from, target, sdp, login } = outbound;
        let (call_id, tag, branch) = (self.tags.fresh(), self.tags.fresh(), self.tags.branch());
        let mut dialog = Dialog::calling(call_id.clone(), tag, &format!("<{from}>"), &target, flow);
        let terms = Terms::for_call(self.settings.session_expires_s);
        let headers = self.invite_headers(flow, terms);
        let invite = dialog.request(Method::Invite, &branch, &headers, Some(("application/sdp", &sdp)));
        let authentication = Some(Authentication::new(login));
        let expires_at = now + RINGING_MAX;
        let calling = Calling { branch, of: None, terms, cancel: Cancel::No, expires_at, authentication };
        let mut session = Session::new(dialog, State::Calling(Box::new(calling)), false);
        session.description = sdp;
        let call = self.sessions.insert(session);
        self.sessions.with(call, |session, _| {
            if let State::Calling(calling) = &mut session.state {
                calling.of = Some(call);
            }
        });
        self.out.event(Event::Placed { call, call_id });
        let sent = invite.is_some_and(|invite| self.transactions.request(call, invite, now, &mut self.out));
        if !sent {
            self.call_failed(call, 503, None, now);
        }
    }

    /// Sends an INVITE that was challenged again, with credentials; returns whether it did.
    pub(super) fn call_again(&mut self, call: CallId, reply: &Reply, now: Instant) -> bool {
        let (branch, cnonce) = (self.tags.branch(), self.tags.fresh());
        let Some(session) = self.sessions.get(call) else { return false };
        let State::Calling(calling) = &session.state else { return false };
        let mut headers = self.invite_headers(session.dialog.flow, calling.terms);
        let again = self.sessions.with(call, |session, _| {
            let State::Calling(calling) = &mut session.state else { return None };
            let authentication = calling.authentication.as_mut().filter(|_| calling.cancel == Cancel::No)?;
            let uri = session.dialog.target().to_owned();
            headers.push(authentication.answer(reply, "INVITE", &uri, &cnonce)?);
            calling.branch.clone_from(&branch);
            let body = Some(("application/sdp", session.description.as_slice()));
            session.dialog.request(Method::Invite, &branch, &headers, body)
        });
        again.flatten().is_some_and(|invite| self.transactions.request(call, invite, now, &mut self.out))
    }

    /// Tells what became of a call that was placed and is refused.
    pub(super) fn placing_failed(&mut self, call: CallId, status: u16, reply: Option<&Reply>) {
        let reason = match reply {
            Some(reply) => format!("refused: {}", explained(status, reply)),
            None if status == 408 => "no answer from that address".to_owned(),
            None if status == 487 => "not answered in time".to_owned(),
            None => format!("cannot be reached: {status} {}", reason_phrase(status)),
        };
        self.out.event(Event::Ended { call, by: EndedBy::Caller, reason });
    }

    /// Sends a REGISTER, in the place of one that is under way; [`Event::RegisterAnswered`] says what came of it.
    pub(super) fn register(&mut self, registration: Registration, now: Instant) {
        let (call_id, tag) = (self.tags.fresh(), self.tags.fresh());
        let Registration { flow, registrar, aor, login, .. } = &registration;
        let dialog = Dialog::registering(call_id, tag, aor, registrar, *flow);
        let authentication = Authentication::new(login.clone());
        self.registering = Some(Registering { dialog, registration, branch: String::new(), authentication });
        self.send_register(None, now);
    }

    fn send_register(&mut self, credentials: Option<(&'static str, String)>, now: Instant) {
        let branch = self.tags.branch();
        let Some(registering) = &mut self.registering else { return };
        let mut headers = vec![
            ("Contact", registering.registration.flow.contact(false)),
            ("Expires", registering.registration.expires_s.to_string()),
            ("User-Agent", self.product.clone()),
        ];
        headers.extend(credentials);
        registering.branch.clone_from(&branch);
        let register = registering.dialog.request(Method::Register, &branch, &headers, None);
        let sent =
            register.is_some_and(|register| self.transactions.request(REGISTRATION, register, now, &mut self.out));
        if !sent {
            self.end_registering(503, None);
        }
    }

    /// Takes the final answer to our REGISTER; without `reply` there was none.
    pub(super) fn handle_register_reply(&mut self, branch: &str, status: u16, reply: Option<&Reply>, now: Instant) {
        let cnonce = self.tags.fresh();
        let Some(registering) = self.registering.as_mut().filter(|registering| registering.branch == branch) else {
            return;
        };
        let uri = registering.registration.registrar.clone();
        let answer = reply.and_then(|reply| registering.authentication.answer(reply, "REGISTER", &uri, &cnonce));
        match answer {
            Some(answer) => self.send_register(Some(answer), now),
            None => self.end_registering(status, reply),
        }
    }

    fn end_registering(&mut self, status: u16, reply: Option<&Reply>) {
        if self.registering.take().is_some() {
            let reason = match reply {
                Some(reply) => explained(status, reply),
                None if status == 408 => "no answer from that address".to_owned(),
                None => format!("{status} {}", reason_phrase(status)),
            };
            self.out.event(Event::RegisterAnswered { status, reason });
        }
    }
}

impl super::flow::Flow {
    /// Returns the domain of the server at the other end, as a SIP URI without a user.
    #[must_use]
    pub fn peer_domain(&self) -> String {
        format!("sip:{}:{}", host_of(self.peer.ip()), self.peer.port())
    }
}

/// Returns a status in words, with what the server says of it: its Warning or its own reason.
fn explained(status: u16, reply: &Reply) -> String {
    let more = ["Warning", "Reason", "P-Registrar-Error", "Error-Info"].iter().find_map(|name| reply.header(name));
    let more: String = more.unwrap_or_default().chars().filter(|c| !c.is_control()).take(EXPLANATION_MAX).collect();
    let retry = reply.retry_after_s().map(|seconds| format!("; try again after {seconds} s")).unwrap_or_default();
    let phrase = reason_phrase(status);
    if more.is_empty() { format!("{status} {phrase}{retry}") } else { format!("{status} {phrase} ({more}){retry}") }
}

#[cfg(test)]
mod tests {
    use super::super::rig::Rig;
    use super::super::{Command, Refusal};
    use super::*;
    use crate::config::{self, Account, Secret};
    use std::time::Duration;

    fn flow() -> Flow {
        let address = |text: &str| text.parse().expect("an address");
        Flow::udp(address("127.0.0.1:5060"), address("127.0.0.1:40000"))
    }

    fn login() -> Login {
        Login { user: "agent001".into(), password: Secret::new("secret") }
    }

    fn outbound(login: Option<Login>) -> Outbound {
        let (from, target) = ("sip:agent001@127.0.0.1".into(), "sip:1000@127.0.0.1".into());
        Outbound { flow: flow(), from, target, sdp: b"v=0 ours".to_vec(), login }
    }

    /// A client and our own server, who hear each other.
    struct Pair {
        client: Rig,
        server: Rig,
        /// Messages in the order in which they went.
        lines: Vec<String>,
    }

    impl Pair {
        fn new(accounts: Vec<Account>) -> Self {
            let settings = config::Sip { accounts, realm: "offhook".into(), ..config::Sip::default() };
            Self { client: Rig::new(), server: Rig::with(&settings), lines: Vec::new() }
        }

        fn command(&mut self, command: Command) {
            let before = self.client.sent.len();
            self.client.command(command);
            self.exchange(before, self.server.sent.len());
        }

        fn serve(&mut self, command: Command) {
            let before = self.server.sent.len();
            self.server.command(command);
            self.exchange(self.client.sent.len(), before);
        }

        /// Carries messages to and fro until nobody says anything any more.
        fn exchange(&mut self, mut from_client: usize, mut from_server: usize) {
            let there = flow();
            let back = Flow::udp(there.local, there.peer);
            loop {
                if let Some(sent) = self.client.sent.get(from_client).cloned() {
                    from_client += 1;
                    self.lines.push(format!("> {}", sent.what()));
                    self.server.receive_by(back, sent.text.as_bytes());
                } else if let Some(sent) = self.server.sent.get(from_server).cloned() {
                    from_server += 1;
                    self.lines.push(format!("< {}", sent.what()));
                    self.client.receive_by(there, sent.text.as_bytes());
                } else {
                    return;
                }
            }
        }

        fn invited(&mut self) -> CallId {
            let invited = self.server.events.drain(..).find_map(|event| match event {
                Event::Invited(invitation) => Some(invitation.call),
                _ => None,
            });
            invited.expect("an invitation")
        }
    }

    #[test]
    fn a_call_is_placed_answered_and_ended_by_either_side() {
        for we_hang_up in [true, false] {
            let mut pair = Pair::new(Vec::new());
            pair.command(Command::Place(Box::new(outbound(None))));
            let Some(Event::Placed { call, .. }) = pair.client.events.first().cloned() else { panic!("not placed") };
            let there = pair.invited();
            pair.serve(Command::Ring { call: there });
            assert!(pair.client.events.contains(&Event::Progress { call, status: 180 }));
            pair.serve(Command::Answer { call: there, sdp: b"v=0 theirs".to_vec() });
            assert_eq!(pair.client.events.pop(), Some(Event::Answered { call, answer: b"v=0 theirs".to_vec() }));
            assert_eq!(pair.server.events.pop(), Some(Event::Confirmed { call: there, answer: None }));
            let over = |call| Command::HangUp { call, reason: "over".into() };
            if we_hang_up {
                pair.command(over(call))
            } else {
                pair.serve(over(there))
            }
            assert!(pair.lines.iter().any(|line| line.contains("BYE")), "{:?}", pair.lines);
            assert!(matches!(pair.client.events.last(), Some(Event::Ended { call: of, .. }) if *of == call));
            assert!(matches!(pair.server.events.last(), Some(Event::Ended { call: of, .. }) if *of == there));
            assert_eq!((pair.client.ua.live_calls(), pair.server.ua.live_calls()), (0, 0));
        }
    }

    #[test]
    fn a_server_that_asks_for_a_password_gets_an_answer_to_it_and_the_call_goes_through() {
        let mut pair = Pair::new(vec![Account::with_password("agent001", "offhook", "secret")]);
        pair.command(Command::Place(Box::new(outbound(Some(login())))));
        assert_eq!(
            pair.lines,
            [
                "> INVITE sip:1000@127.0.0.1",
                "< 401 Unauthorized",
                "> ACK sip:1000@127.0.0.1",
                "> INVITE sip:1000@127.0.0.1",
                "< 100 Trying"
            ]
        );
        pair.invited();
        let numbers: Vec<_> = pair.client.sent.iter().filter_map(|sent| sent.header("CSeq")).collect();
        assert_eq!(numbers, ["1 INVITE", "1 ACK", "2 INVITE"]);
    }

    #[test]
    fn a_wrong_password_is_tried_once_and_the_refusal_is_told() {
        let mut pair = Pair::new(vec![Account::with_password("agent001", "offhook", "other")]);
        pair.command(Command::Place(Box::new(outbound(Some(login())))));
        let invites = pair.lines.iter().filter(|line| line.contains("INVITE")).count();
        assert_eq!(invites, 2, "{:?}", pair.lines);
        let Some(Event::Ended { reason, .. }) = pair.client.events.last() else { panic!("it goes on") };
        assert!(reason.starts_with("refused: 401 Unauthorized"), "{reason}");
    }

    #[test]
    fn a_refusal_says_why() {
        let mut pair = Pair::new(Vec::new());
        pair.command(Command::Place(Box::new(outbound(None))));
        let call = pair.invited();
        let warning = Some((305, "no common codec".to_owned()));
        pair.serve(Command::Refuse { call, refusal: Refusal { status: 488, warning, retry_after_s: None } });
        let Some(Event::Ended { reason, .. }) = pair.client.events.last() else { panic!("it goes on") };
        assert!(reason.contains("488 Not Acceptable Here") && reason.contains("no common codec"), "{reason}");
    }

    #[test]
    fn a_call_that_nobody_answers_is_cancelled() {
        let mut pair = Pair::new(Vec::new());
        pair.command(Command::Place(Box::new(outbound(None))));
        let Some(Event::Placed { call, .. }) = pair.client.events.first().cloned() else { panic!("not placed") };
        pair.invited();
        pair.command(Command::HangUp { call, reason: "enough".into() });
        assert!(pair.lines.iter().any(|line| line == "> CANCEL sip:1000@127.0.0.1"), "{:?}", pair.lines);
        let ended = pair.client.events.iter().filter(|event| matches!(event, Event::Ended { .. })).count();
        assert_eq!(ended, 1, "told once: {:?}", pair.client.events);
        assert!(matches!(pair.server.events.last(), Some(Event::Ended { .. })));
    }

    #[test]
    fn nobody_there_is_told_after_64_t1() {
        let mut client = Rig::new();
        client.command(Command::Place(Box::new(outbound(None))));
        let sent = client.run(Duration::from_secs(40));
        assert_eq!(sent.len(), 6, "{sent:?}");
        let Some(Event::Ended { reason, .. }) = client.events.last() else { panic!("it goes on") };
        assert_eq!(reason, "no answer from that address");
    }

    #[test]
    fn a_registration_is_made_with_a_password_and_removed() {
        let registration = |expires_s, password: &str| {
            let login = Some(Login { password: Secret::new(password), ..login() });
            let aor = "sip:agent001@127.0.0.1".to_owned();
            Command::Register(Box::new(Registration {
                flow: flow(),
                registrar: flow().peer_domain(),
                aor,
                expires_s,
                login,
            }))
        };
        let mut pair = Pair::new(vec![Account::with_password("agent001", "offhook", "secret")]);
        pair.command(registration(300, "secret"));
        assert!(
            matches!(pair.client.events.pop(), Some(Event::RegisterAnswered { status: 200, .. })),
            "{:?}",
            pair.lines
        );
        assert_eq!(pair.server.ua.bindings().count(), 1);
        pair.command(registration(0, "secret"));
        assert_eq!(pair.server.ua.bindings().count(), 0);
        pair.command(registration(300, "wrong"));
        let Some(Event::RegisterAnswered { status, reason }) = pair.client.events.pop() else { panic!("no answer") };
        assert_eq!(status, 401);
        assert!(reason.contains("wrong user name or password"), "{reason}");
    }
}
