//! A user agent in virtual time, and a caller that writes its messages: what the tests of this folder share.

use super::flow::Flow;
use super::{Command, Event, Input, Output, Refusal, UserAgent};
use crate::config;
use crate::ids::CallId;
use crate::time::Instant;
use std::net::SocketAddr;
use std::time::Duration;

pub(super) const PHONE: &str = "127.0.0.1:40000";

/// A message that the user agent sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) at_ms: u64,
    pub(super) to: SocketAddr,
    pub(super) text: String,
}

impl Sent {
    /// Returns the first line without the version: `200 OK`, `BYE sip:a@b`.
    pub(super) fn what(&self) -> &str {
        let line = self.text.lines().next().expect("a line");
        line.trim_start_matches("SIP/2.0 ").trim_end_matches(" SIP/2.0")
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next().expect("a head");
        head.lines().filter_map(|line| line.split_once(": ")).find(|(found, _)| *found == name).map(|(_, value)| value)
    }
}

pub(super) struct Rig {
    pub(super) ua: UserAgent,
    pub(super) now: Instant,
    pub(super) source: SocketAddr,
    pub(super) sent: Vec<Sent>,
    pub(super) events: Vec<Event>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(&config::Sip::default())
    }

    pub(super) fn with(settings: &config::Sip) -> Self {
        let ua = UserAgent::new(settings, "Offhook/0", fastrand::Rng::with_seed(7));
        Self {
            ua,
            now: Instant::ZERO,
            source: PHONE.parse().expect("an address"),
            sent: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Hands a datagram in, and returns what was sent because of it.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Vec<Sent> {
        let local = "127.0.0.1:5060".parse().expect("an address");
        self.receive_by(Flow::udp(self.source, local), bytes)
    }

    /// Hands in what came by `flow`, and returns what was sent because of it.
    pub(super) fn receive_by(&mut self, flow: Flow, bytes: &[u8]) -> Vec<Sent> {
        self.ua.handle_input(Input::Received { flow, bytes }, self.now);
        self.drain()
    }

    /// Tells that `flow` is gone.
    pub(super) fn lose(&mut self, to: Flow) -> Vec<Sent> {
        self.ua.handle_input(Input::Unreachable { to }, self.now);
        self.drain()
    }

    /// Hands a message in, and returns the first lines of what was sent because of it.
    pub(super) fn say(&mut self, text: &str) -> Vec<String> {
        self.receive(text.as_bytes()).iter().map(|sent| sent.what().to_owned()).collect()
    }

    pub(super) fn command(&mut self, command: Command) -> Vec<String> {
        self.ua.handle_input(Input::Command(command), self.now);
        self.drain().iter().map(|sent| sent.what().to_owned()).collect()
    }

    /// Lets time pass, timer by timer, and returns when what was sent.
    pub(super) fn run(&mut self, duration: Duration) -> Vec<(u64, String)> {
        let end = self.now + duration;
        let mut sent = Vec::new();
        while let Some(due) = self.ua.poll_timeout().filter(|due| due.at <= end) {
            self.now = self.now.max(due.at);
            self.ua.handle_timeout(self.now);
            sent.extend(self.drain().iter().map(|sent| (sent.at_ms, sent.what().to_owned())));
        }
        self.now = end;
        sent
    }

    fn drain(&mut self) -> Vec<Sent> {
        let mut fresh = Vec::new();
        while let Some(output) = self.ua.poll_output() {
            match output {
                Output::Transmit { to, bytes } => {
                    let text = String::from_utf8(bytes).expect("text");
                    fresh.push(Sent { at_ms: self.now.as_nanos() / 1_000_000, to: to.peer, text });
                }
                Output::Event(event) => self.events.push(event),
            }
        }
        self.sent.extend(fresh.iter().cloned());
        fresh
    }

    /// Registers `sip:user@127.0.0.1` as if from `contact`, an address and port.
    pub(super) fn register(&mut self, user: &str, contact: &str) {
        let phone = std::mem::replace(&mut self.source, contact.parse().expect("an address"));
        let register = format!(
            "REGISTER sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {contact};rport;branch=z9hG4bKreg{user}\r\nFrom: <sip:{user}@127.0.0.1>;tag=r\r\n\
             To: <sip:{user}@127.0.0.1>\r\nCall-ID: reg{user}\r\nCSeq: 1 REGISTER\r\nContact: <sip:{user}@192.0.2.77:9;ob>\r\n\r\n"
        );
        assert_eq!(self.say(&register), ["200 OK"]);
        self.events();
        self.source = phone;
    }

    pub(super) fn last(&self) -> &Sent {
        self.sent.last().expect("something was sent")
    }

    pub(super) fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Takes a caller to 100, and returns the number of its call.
    pub(super) fn invite(&mut self, caller: &Caller) -> CallId {
        assert_eq!(self.say(&caller.invite()), ["100 Trying"]);
        let Some(Event::Invited(invitation)) = self.events().pop() else { panic!("no invitation") };
        invitation.call
    }

    /// Takes a caller to a confirmed call.
    pub(super) fn establish(&mut self, caller: &mut Caller) -> CallId {
        let call = self.invite(caller);
        assert_eq!(self.command(Command::Answer { call, sdp: b"v=0 ours".to_vec() }), ["200 OK"]);
        caller.hear(self.last());
        assert_eq!(self.say(&caller.ack("")), [""; 0]);
        assert_eq!(self.events(), [Event::Confirmed { call, answer: None }]);
        call
    }
}

/// Answers a request of the user agent's; a To without a tag gets `tag`.
pub(super) fn reply(request: &Sent, status: &str, tag: &str, headers: &str, body: &str) -> String {
    let header = |name| request.header(name).expect(name);
    let to = header("To");
    let tagged = if to.contains(";tag=") { to.to_owned() } else { format!("{to};tag={tag}") };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {tagged}\r\nCall-ID: {}\r\nCSeq: {}\r\n{headers}{kind}\r\n{body}",
        header("Via"),
        header("From"),
        header("Call-ID"),
        header("CSeq"),
    )
}

/// One side of a dialog.
pub(super) struct Caller {
    pub(super) id: String,
    pub(super) via: String,
    pub(super) headers: String,
    pub(super) body: String,
    pub(super) to_tag: String,
    pub(super) cseq: u32,
    invite_cseq: u32,
    branches: u32,
}

impl Caller {
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            via: format!("SIP/2.0/UDP {PHONE};rport"),
            headers: format!("Contact: <sip:{id}@{PHONE};ob>\r\n"),
            body: "v=0 theirs".to_owned(),
            to_tag: String::new(),
            cseq: 100,
            invite_cseq: 100,
            branches: 0,
        }
    }

    /// Takes the tag out of a response.
    pub(super) fn hear(&mut self, response: &Sent) {
        let to = response.header("To").expect("To");
        self.to_tag = to.split_once(";tag=").map(|(_, tag)| format!(";tag={tag}")).expect("a tag");
    }

    fn write(&self, method: &str, cseq: u32, branch: &str, headers: &str, body: &str) -> String {
        let Self { id, via, to_tag, .. } = self;
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:1000@127.0.0.1 SIP/2.0\r\nVia: {via};branch=z9hG4bK{id}{branch}\r\nMax-Forwards: 70\r\n\
             From: <sip:{id}@127.0.0.1>;tag=from-{id}\r\nTo: sip:1000@127.0.0.1{to_tag}\r\nCall-ID: {id}\r\n\
             CSeq: {cseq} {method}\r\n{headers}{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// The branch that an INVITE, its CANCEL and the ACK of its refusal share.
    fn invite_branch(&self) -> String {
        format!("inv{}", self.invite_cseq)
    }

    pub(super) fn invite(&self) -> String {
        self.write("INVITE", self.invite_cseq, &self.invite_branch(), &self.headers, &self.body)
    }

    pub(super) fn cancel(&self) -> String {
        self.write("CANCEL", self.invite_cseq, &self.invite_branch(), "", "")
    }

    /// The ACK of a refusal.
    pub(super) fn ack_refusal(&self) -> String {
        self.write("ACK", self.invite_cseq, &self.invite_branch(), "", "")
    }

    /// The ACK of a 200.
    pub(super) fn ack(&self, answer: &str) -> String {
        self.write("ACK", self.invite_cseq, "ack", "", answer)
    }

    /// The next request in the dialog.
    pub(super) fn request(&mut self, method: &str, headers: &str, body: &str) -> String {
        self.cseq += 1;
        self.branches += 1;
        if method == "INVITE" {
            self.invite_cseq = self.cseq;
        }
        self.write(method, self.cseq, &format!("r{}", self.branches), headers, body)
    }

    /// A re-INVITE whose branch CANCEL and ACK share.
    pub(super) fn reinvite(&mut self) -> String {
        self.cseq += 1;
        self.invite_cseq = self.cseq;
        self.write("INVITE", self.cseq, &self.invite_branch(), &self.headers, &self.body)
    }
}

pub(super) fn refusal(status: u16) -> Refusal {
    Refusal { status, warning: None, retry_after_s: None }
}
