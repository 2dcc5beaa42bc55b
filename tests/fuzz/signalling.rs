//! The user agent with calls that are answered, changed and hung up, while strangers and callers send what they like.

use super::campaign::{EPISODE_MESSAGES, Tally, Trace};
use super::corpus::Corpus;
use super::grammar;
use super::mutate::{self, pick};
use fastrand::Rng;
use offhook::config::{self, Account, DigestAlgorithm};
use offhook::ids::CallId;
use offhook::sdp::Negotiation;
use offhook::sip::flow::Flow;
use offhook::sip::lexer::{Lexed, StartLine, lex};
use offhook::sip::transaction::{CLIENTS_MAX, SERVERS_MAX};
use offhook::sip::{Command, DATAGRAM_BYTES_MAX, Event, Input, Invitation, Output, Refusal, UserAgent};
use offhook::time::Instant;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const CALLS_MAX: usize = 20;
const BINDINGS_MAX: usize = 50;

/// Largest answer to a message that begins no call, in percent of it: a 200 to a short OPTIONS, or a
/// challenge for two algorithms to a short REGISTER.
const AMPLIFICATION_PERCENT_MAX: u64 = 300;

/// Most steps of the clock for one stretch of time: every transaction's and every call's timers, several times over.
const STEPS_MAX: usize = 100_000;

/// Whom the captures are of, and a password.
const USER: &str = "agent001";
const PASSWORD: &str = "password123";

/// Dialogs that are remembered, so that mutations reach calls that are up.
const DIALOGS_MAX: usize = 32;

/// Who sends; the last one is public, and not served.
const PEERS: [&str; 5] = ["127.0.0.1:40000", "10.0.0.5:5060", "192.168.1.7:1024", "[fd00::7]:5060", "203.0.113.9:5060"];

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// What a later request in a dialog is made of.
struct Dialog {
    flow: Flow,
    call_id: String,
    from: String,
    to: String,
    cseq: u32,
}

struct World<'a> {
    ua: UserAgent,
    now: Instant,
    rng: &'a mut Rng,
    corpus: &'a Corpus,
    calls: BTreeMap<CallId, Negotiation>,
    dialogs: Vec<Dialog>,
    /// The latest request of our own, to be answered.
    asked: Option<(Flow, Vec<u8>)>,
    has_accounts: bool,
    /// The latest challenge of each peer: nonce and algorithm.
    challenges: BTreeMap<SocketAddr, (String, DigestAlgorithm)>,
    invited: u64,
    ended: u64,
    /// Bytes sent to the peer of the message that is handled.
    answered_bytes: u64,
    tally: Tally,
}

/// Open mode or accounts, with the usual limits on each source or as good as none.
fn settings(rng: &mut Rng) -> config::Sip {
    let mut settings = config::Sip { calls_max: CALLS_MAX, bindings_max: BINDINGS_MAX, ..config::Sip::default() };
    if rng.bool() {
        settings.accounts = vec![Account::with_password(USER, &settings.realm, PASSWORD)];
    }
    if rng.u8(0..4) > 0 {
        let limits = &mut settings.limits;
        (limits.messages_per_s, limits.messages_burst, limits.strangers_per_s) = (1_000_000, 1_000_000, 1_000_000);
        (limits.known_messages_per_s, limits.answers_per_s, limits.unacknowledged_max) = (1_000_000, 1_000_000, 1000);
        (limits.failures_free, limits.failures_banned) = (1_000_000, 2_000_000);
    }
    settings
}

/// Runs an episode.
pub fn run(rng: &mut Rng, corpus: &Corpus, trace: &mut Trace) -> Tally {
    let settings = settings(rng);
    let has_accounts = !settings.accounts.is_empty();
    let ua = UserAgent::new(&settings, "Offhook/0", rng.fork());
    let mut world = World {
        ua,
        now: Instant::ZERO,
        rng,
        corpus,
        calls: BTreeMap::new(),
        dialogs: Vec::new(),
        asked: None,
        has_accounts,
        challenges: BTreeMap::new(),
        invited: 0,
        ended: 0,
        answered_bytes: 0,
        tally: Tally::default(),
    };
    for _ in 0..EPISODE_MESSAGES {
        let (flow, message) = world.message();
        trace.note(&message);
        world.receive(flow, &message);
        if world.rng.u8(0..16) == 0 {
            let call = world.calls.keys().nth(world.rng.usize(..CALLS_MAX)).copied();
            if let Some(call) = call {
                world.command(Command::HangUp { call, reason: "over\r\n\"".to_owned() });
            }
        }
        if world.rng.u8(0..8) == 0 {
            let stretch = Duration::from_millis([1, 1, 40, 40, 500, 500, 4000, 32_000][world.rng.usize(..8)]);
            world.wait(stretch);
        }
    }
    trace.note(b"(silence)");
    world.finish()
}

impl World<'_> {
    /// Makes the next message, and says where it comes from.
    fn message(&mut self) -> (Flow, Vec<u8>) {
        let local = |peer: SocketAddr| if peer.is_ipv4() { "10.0.0.1:5060" } else { "[fd00::1]:5060" };
        let peer = address(PEERS[self.rng.usize(..PEERS.len())]);
        let mut flow = Flow::udp(peer, address(local(peer)));
        let mut message = match self.rng.u8(0..10) {
            0..5 => self.corpus.messages[self.rng.usize(..self.corpus.messages.len())].clone(),
            5..9 => match self.in_dialog() {
                Some((same, message)) => {
                    // From elsewhere, too: a stranger who has seen the dialog.
                    flow = if self.rng.u8(0..4) > 0 { same } else { flow };
                    message
                }
                None => self.corpus.messages[self.rng.usize(..self.corpus.messages.len())].clone(),
            },
            _ => match self.response() {
                Some((same, message)) => {
                    flow = same;
                    message
                }
                None => self.corpus.messages[self.rng.usize(..self.corpus.messages.len())].clone(),
            },
        };
        if self.rng.bool() {
            message = renamed(&message, self.rng.u32(..));
        }
        if self.has_accounts && self.rng.u8(0..4) > 0 {
            self.authorise(&mut message, flow);
        }
        for _ in 0..self.rng.usize(0..4) {
            if self.rng.u8(0..3) > 0 {
                grammar::sip(self.rng, &mut message, self.corpus);
            } else {
                let other = &self.corpus.messages[self.rng.usize(..self.corpus.messages.len())];
                mutate::bytes(self.rng, &mut message, other);
            }
        }
        (flow, message)
    }

    /// A request in a dialog that is, or was, there.
    fn in_dialog(&mut self) -> Option<(Flow, Vec<u8>)> {
        const METHODS: [&str; 12] = [
            "ACK", "ACK", "INVITE", "INVITE", "UPDATE", "BYE", "INFO", "OPTIONS", "CANCEL", "PRACK", "REFER", "NOTIFY",
        ];
        if self.dialogs.is_empty() {
            return None;
        }
        // The latest one is the likeliest to be up.
        let latest = self.rng.u8(0..4) > 0;
        let at = if latest { self.dialogs.len() - 1 } else { self.rng.usize(..self.dialogs.len()) };
        let method = METHODS[self.rng.usize(..METHODS.len())];
        let branch = self.rng.u32(..);
        let body = if self.rng.bool() { pick(self.rng, &self.corpus.descriptions) } else { None };
        let dialog = &mut self.dialogs[at];
        dialog.cseq += u32::from(method != "ACK");
        let Dialog { flow, call_id, from, to, cseq } = dialog;
        let mut message = format!(
            "{method} sip:agent@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {};rport;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:a@{}>\r\n",
            flow.peer, flow.peer
        );
        let (kind, body) = match method {
            "INFO" => ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n".to_vec()),
            _ => ("application/sdp", body.cloned().unwrap_or_default()),
        };
        message += &format!("Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        Some((*flow, [message.into_bytes(), body].concat()))
    }

    /// A response to our latest request.
    fn response(&mut self) -> Option<(Flow, Vec<u8>)> {
        let (flow, request) = self.asked.as_ref()?;
        let end = request.windows(2).position(|window| window == b"\r\n")?;
        let lines = [
            "100 Trying",
            "200 OK",
            "202 Accepted",
            "302 Moved",
            "401 Unauthorized",
            "407 Login",
            "481 Gone",
            "500 x",
            "603 No",
        ];
        let line = format!("SIP/2.0 {}", lines[self.rng.usize(..lines.len())]);
        let mut response = [line.as_bytes(), &request[end..]].concat();
        if self.rng.u8(0..4) == 0 {
            let challenge = b"\r\nWWW-Authenticate: Digest realm=\"x\", nonce=\"y\", qop=\"auth\"\r\n".iter().copied();
            let end = response.windows(2).position(|window| window == b"\r\n")?;
            response.splice(end..end + 2, challenge);
        }
        Some((*flow, response))
    }

    /// Answers the latest challenge (RFC 7616 §3.4), as a phone with the right password would.
    fn authorise(&mut self, message: &mut Vec<u8>, flow: Flow) {
        let Some((nonce, algorithm)) = self.challenges.get(&flow.peer) else { return };
        let Some(end) = message.windows(4).position(|window| window == b"\r\n\r\n") else { return };
        let head = String::from_utf8_lossy(&message[..end]).into_owned();
        let mut words = head.split(' ');
        let (Some(method), Some(uri)) = (words.next(), words.next()) else { return };
        let realm = config::Sip::default().realm;
        let (ha1, ha2) = (algorithm.hash(&[USER, &realm, PASSWORD]), algorithm.hash(&[method, uri]));
        let count = format!("{:08x}", self.rng.u32(1..4));
        let response = algorithm.hash(&[&ha1, nonce, &count, "c0ffee", "auth", &ha2]);
        let credentials = format!(
            "\r\nAuthorization: Digest username=\"{USER}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm={}, cnonce=\"c0ffee\", qop=auth, nc={count}",
            algorithm.name()
        );
        let others = head.split("\r\n").filter(|line| !line.starts_with("Authorization"));
        let others = others.collect::<Vec<_>>().join("\r\n");
        *message = [others.as_bytes(), credentials.as_bytes(), &message[end..]].concat();
    }

    fn receive(&mut self, flow: Flow, message: &[u8]) {
        self.tally.messages += 1;
        self.answered_bytes = 0;
        let invited = self.invited;
        self.ua.handle_input(Input::Received { flow, bytes: message }, self.now);
        self.drain(Some(flow));
        if invited == self.invited {
            let percent = self.answered_bytes * 100 / u64::try_from(message.len().max(1)).expect("a length");
            assert!(percent <= AMPLIFICATION_PERCENT_MAX, "{percent} % of {} bytes came back", message.len());
            self.tally.amplification_percent = self.tally.amplification_percent.max(percent);
        }
        let (servers, clients) = self.ua.transactions();
        assert!(self.ua.live_calls() <= CALLS_MAX && servers <= SERVERS_MAX && clients <= CLIENTS_MAX);
        assert!(self.ua.bindings().count() <= BINDINGS_MAX);
    }

    fn command(&mut self, command: Command) {
        self.ended += u64::from(matches!(command, Command::Refuse { .. }));
        self.ua.handle_input(Input::Command(command), self.now);
        self.drain(None);
    }

    /// Lets time pass timer by timer; each has to be in the future once it is served.
    fn wait(&mut self, stretch: Duration) {
        let end = self.now + stretch;
        for step in 0.. {
            assert!(step < STEPS_MAX, "the clock does not get on");
            let Some(due) = self.ua.poll_timeout().filter(|due| due.at <= end) else { break };
            self.now = self.now.max(due.at);
            self.ua.handle_timeout(self.now);
            self.drain(None);
            let next = self.ua.poll_timeout();
            assert!(next.is_none_or(|next| next.at > self.now), "{next:?} is served and due again");
        }
        self.now = end;
    }

    /// Takes what the user agent wants done, `cause` being the flow of the message that it answers.
    fn drain(&mut self, cause: Option<Flow>) {
        let mut events = Vec::new();
        while let Some(output) = self.ua.poll_output() {
            match output {
                Output::Transmit { to, bytes } => self.take_sent(to, bytes, cause),
                Output::Event(event) => events.push(event),
            }
        }
        for event in events {
            self.react(event);
        }
    }

    fn take_sent(&mut self, to: Flow, bytes: Vec<u8>, cause: Option<Flow>) {
        self.tally.answers += 1;
        assert!(bytes.len() <= DATAGRAM_BYTES_MAX, "{} bytes", bytes.len());
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        let sent = lex(&bytes).unwrap_or_else(|| panic!("unreadable: {}", text()));
        assert!(sent.flaw.is_none(), "{:?}: {}", sent.flaw, text());
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("an empty line");
        for line in bytes[..head].split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            assert!(!line.contains(&b'\r') && !line.is_empty() && line.contains(&b' '), "{}", text());
        }
        assert_eq!(
            sent.values("Content-Length").collect::<Vec<_>>(),
            [(bytes.len() - head - 4).to_string()],
            "{}",
            text()
        );
        assert!(
            sent.values("Contact").all(|contact| !contact.contains("0.0.0.0"))
                || cause.is_none_or(|_| is_register(&sent))
        );
        assert!(self.has_accounts || !is_public(to.peer.ip()), "{} is not served", to.peer);
        match sent.start {
            StartLine::Request { .. } => self.asked = Some((to, bytes)),
            StartLine::Status { code } => {
                if let Some(challenge) = sent.values("WWW-Authenticate").filter_map(challenge).nth(self.rng.usize(0..2))
                {
                    self.challenges.insert(to.peer, challenge);
                }
                // What is repeated goes where it went before, and so to a peer in any case.
                assert!(PEERS.iter().any(|peer| address(peer).ip() == to.peer.ip()), "nobody asked from {}", to.peer);
                // Whoever may register is told all contacts, however short the question; all others get little.
                let is_list = code == 200 && is_register(&sent);
                if cause.is_some() && !is_list {
                    self.answered_bytes += u64::try_from(bytes.len()).expect("a length");
                }
                let one = |name: &str| sent.values(name).next().map(str::to_owned);
                let parts = (one("Call-ID"), one("From"), one("To"), one("CSeq"));
                if let (200, (Some(call_id), Some(from), Some(to_tag), Some(cseq))) = (code, parts)
                    && cseq.ends_with("INVITE")
                {
                    let cseq = cseq.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(1);
                    self.remember(Dialog { flow: to, call_id, from, to: to_tag, cseq });
                }
            }
        }
    }

    fn remember(&mut self, dialog: Dialog) {
        if self.dialogs.len() == DIALOGS_MAX {
            self.dialogs.remove(0);
        }
        self.dialogs.push(dialog);
    }

    /// Does what an engine would do, and sometimes what it should not.
    fn react(&mut self, event: Event) {
        match event {
            Event::Invited(Invitation { call, local, offer, .. }) => {
                self.invited += 1;
                self.tally.calls += 1;
                let mut negotiation = Negotiation::new(self.rng.u64(..1 << 62), SocketAddr::new(local, 10_000));
                let answer = match &offer {
                    Some(offer) => negotiation.answer(offer).map(|(sdp, _)| sdp).map_err(|error| error.status()),
                    None => Ok(negotiation.offer()),
                };
                self.calls.insert(call, negotiation);
                match (answer, self.rng.u8(0..8)) {
                    (Ok(_), 0) => self.command(Command::Ring { call }),
                    (Ok(_), 1) => self.command(Command::HangUp { call, reason: "\0\u{202e}".to_owned() }),
                    (Ok(sdp), _) => self.command(Command::Answer { call, sdp }),
                    (Err(status), _) => {
                        self.calls.remove(&call);
                        self.command(Command::Refuse { call, refusal: odd_refusal(status) });
                    }
                }
            }
            Event::Reoffered { call, offer } => {
                self.tally.changes += 1;
                let Some(negotiation) = self.calls.get_mut(&call) else { return };
                let answer = match &offer {
                    Some(offer) => negotiation.answer(offer).map(|(sdp, _)| sdp),
                    None => Ok(negotiation.offer()),
                };
                match (answer, self.rng.u8(0..8)) {
                    (_, 0) => {}
                    (Ok(sdp), _) => self.command(Command::AcceptReoffer { call, sdp: Some(sdp) }),
                    (Err(error), _) => {
                        self.command(Command::RefuseReoffer { call, refusal: odd_refusal(error.status()) })
                    }
                }
            }
            Event::Confirmed { call, answer } => {
                let negotiation = self.calls.get_mut(&call);
                if let (Some(answer), Some(negotiation)) = (answer, negotiation)
                    && negotiation.read_answer(&answer).is_err()
                {
                    self.command(Command::HangUp { call, reason: "no answer".to_owned() });
                }
            }
            Event::Ended { call, .. } => {
                self.ended += 1;
                self.calls.remove(&call);
            }
            _ => {}
        }
    }

    /// Ends everything, and checks that nothing is left of it.
    fn finish(mut self) -> Tally {
        self.wait(Duration::from_secs(600));
        let up: Vec<CallId> = self.calls.keys().copied().collect();
        for call in up {
            self.command(Command::HangUp { call, reason: String::new() });
        }
        self.wait(Duration::from_secs(7200));
        assert_eq!((self.ua.transactions(), self.ua.live_calls()), ((0, 0), 0), "something is left");
        assert_eq!(self.ua.bindings().count(), 0, "no registration lasts two hours");
        assert_eq!(self.ua.poll_timeout(), None);
        assert_eq!(self.invited, self.ended, "every call ends once");
        self.tally
    }
}

/// Returns nonce and algorithm of a challenge.
fn challenge(value: &str) -> Option<(String, DigestAlgorithm)> {
    let nonce = value.split("nonce=\"").nth(1)?.split('"').next()?.to_owned();
    DigestAlgorithm::ALL
        .into_iter()
        .find(|algorithm| value.contains(algorithm.name()))
        .map(|algorithm| (nonce, algorithm))
}

fn odd_refusal(status: u16) -> Refusal {
    Refusal { status, warning: Some((status, "\r\n\"\\ \u{1f4de}".to_owned())), retry_after_s: Some(u32::MAX) }
}

fn is_register(sent: &Lexed<'_>) -> bool {
    sent.values("CSeq").any(|cseq| cseq.ends_with("REGISTER"))
}

fn is_public(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if !(v4.is_private() || v4.is_loopback()))
}

/// The same message of another call and transaction.
fn renamed(message: &[u8], number: u32) -> Vec<u8> {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(message.len());
    let head = String::from_utf8_lossy(&message[..end]);
    let head = head.replace("z9hG4bK", &format!("z9hG4bK{number}")).replace("Call-ID: ", &format!("Call-ID: {number}"));
    [head.as_bytes(), &message[end..]].concat()
}
