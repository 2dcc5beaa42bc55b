//! A user agent server (RFC 3261), signalling only: datagrams and deadlines in; datagrams, deadlines and call events out.

//!
//! A datagram passes through here in this order: `lexer.rs` takes it apart, `message.rs` reads it, `transaction/` knows
//! whether it came before, and then the file of its subject answers: `invite.rs` a new call, `in_dialog.rs` what comes
//! within one, `registrar.rs` REGISTER, `options.rs` OPTIONS. `refusals.rs` says no to the rest. A transfer is `refer.rs` where
//! the peer asks for it, with `calling.rs` to call its target, `replaces.rs` where another peer takes the call over, and
//! `transfer.rs` where we ask: each time the engine's call stays what it is, and another dialog is put underneath.
//!
//! Before that, `trust.rs` decides who may: with accounts whoever answers the challenge of `digest.rs`; in open mode, which
//! is without, any user with any password, but from loopback and private addresses only.
//!
//! Connections are accepted and never made (RFC 3261 §18): an answer or a request of ours goes back through the connection
//! of its flow. Where that is gone the answer is dropped, and our BYE ends as if 503 had come (RFC 3261 §8.1.3.1).
//!
//! Calls that we place are in `calling.rs`: to the target of a transfer, and for `offhook call`, for which `outbound.rs` adds
//! REGISTER and the answers to challenges.
//!
//! Not served: redirection and reliable provisional responses in calls that we place, and in those to the target of a transfer
//! challenges; SUBSCRIBE, MESSAGE and PUBLISH (405 each); REFER outside of calls (403).

mod admission;
mod body;
mod calling;
mod counters;
mod date;
mod dialog;
mod digest;
pub mod flow;
pub mod framing;
mod in_dialog;
mod info;
mod invite;
pub mod lexer;
mod login;
pub mod message;
pub mod name_addr;
mod options;
mod outbound;
mod outbox;
pub mod params;
mod reason;
mod refer;
mod refusals;
mod registrar;
mod reliable;
mod replaces;
mod reply;
mod requests;
pub mod response;
pub mod response_route;
#[cfg(test)]
mod rig;
mod schedule;
mod session;
mod session_timer;
mod sessions;
mod tags;
pub mod transaction;
mod transfer;
mod trust;
pub mod uri;
pub mod via;

pub use counters::{COUNTED_METHODS, Counters, Discard};
pub use login::Login;
pub use outbound::{Outbound, Registration};
pub use refusals::FLOW_TIMER_S;
pub use registrar::{Binding, CONTACTS_PER_USER_MAX};
pub use session::{REOFFER_MAX, RING_MAX};

use crate::config;
use crate::ids::CallId;
use crate::time::{Deadline, Instant};
use admission::{Admission, CALL_FOR, Excess};
use digest::Digest;
use flow::{Flow, Transport};
use lexer::StartLine;
use message::{Method, Request};
use outbound::Registering;
use outbox::Outbox;
use reason::{Cause, Reason};
use registrar::Registrar;
use reply::Reply;
use sessions::Sessions;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tags::Tags;
use transaction::timers::Timers;
use transaction::{Matched, Transactions};

/// Longest datagram that is read, in bytes: an INVITE with ICE, SRTP and many codecs has 1600.
pub const DATAGRAM_BYTES_MAX: usize = 8192;

/// Shortest datagram that can be a message, in bytes: a request line has more.
pub const DATAGRAM_BYTES_MIN: usize = 20;

/// What happens to the user agent.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes came in: a datagram, or one message of a stream.
    Received { flow: Flow, bytes: &'a [u8] },
    /// The engine wants something done.
    Command(Command),
    /// A message to `to` could not be sent, and will not be: what waits for its answer is told (RFC 3261 §18.4). Over a
    /// connection: it is closed, and what was registered over it is not reachable any more (RFC 5626 §5.3).
    Unreachable { to: Flow },
}

/// What the engine wants done about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// 180 Ringing.
    Ring { call: CallId },
    /// 200 to the INVITE, with this session description.
    Answer { call: CallId, sdp: Vec<u8> },
    /// A final refusal of the INVITE.
    Refuse { call: CallId, refusal: Refusal },
    /// 200 to the re-INVITE or UPDATE that is open, with this session description (none: a refresh without one).
    AcceptReoffer { call: CallId, sdp: Option<Vec<u8>> },
    /// A refusal of the re-INVITE or UPDATE that is open; the session stays as it was.
    RefuseReoffer { call: CallId, refusal: Refusal },
    /// End the call: BYE with this reason (RFC 3326), or the final answer that fits while it is not yet answered. The
    /// [`Event::Ended`] that follows says [`EndedBy::Agent`] and repeats the reason, at once, even where the BYE itself has
    /// to wait for the ACK of the 200.
    HangUp { call: CallId, reason: String },
    /// Call the target of [`Event::Referred`] with this offer.
    FollowReferral { call: CallId, sdp: Vec<u8> },
    /// Do not follow [`Event::Referred`]: the transferor is told this status, and the call goes on as it was.
    RefuseReferral { call: CallId, status: u16 },
    /// Ask the peer to call `target`, an absolute URI, and to leave us (REFER); [`Event::TransferProgress`] says how it goes.
    Transfer { call: CallId, target: String },
    /// Place a call: [`Event::Placed`] names it, [`Event::Answered`] or [`Event::Ended`] follow. [`Self::HangUp`] takes it back.
    Place(Box<Outbound>),
    /// Register somewhere; [`Event::RegisterAnswered`] follows.
    Register(Box<Registration>),
    /// Refuse every new INVITE and REGISTER with 503 from here on: the bridge is stopping.
    Drain,
}

/// A refusal: what goes into the status line and beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400 to 699.
    pub status: u16,
    /// Text of a Warning header (`304 "..."` code and text), if any.
    pub warning: Option<(u16, String)>,
    /// Retry-After in seconds, if any.
    pub retry_after_s: Option<u32>,
}

/// What the user agent wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send `bytes` to `to` from the SIP socket.
    Transmit { to: Flow, bytes: Vec<u8> },
    /// Something happened that the engine acts upon.
    Event(Event),
}

/// What happened to calls and registrations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new call; 100 is already sent. Answer with [`Command::Answer`] or [`Command::Refuse`].
    Invited(Invitation),
    /// The ACK of the 200 has come; `answer` is its body, when the offer was ours. Said once per call, and once more per
    /// re-INVITE that had no offer.
    Confirmed { call: CallId, answer: Option<Vec<u8>> },
    /// The peer offers a change (re-INVITE or UPDATE with a body), or asks for our offer (`None`). Answer with
    /// [`Command::AcceptReoffer`] or [`Command::RefuseReoffer`] within [`REOFFER_MAX`]; an UPDATE without a body is answered here.
    Reoffered { call: CallId, offer: Option<Vec<u8>> },
    /// The peer's answer to a description of ours that went out unchanged, in a re-INVITE that refreshed the session.
    Reanswered { call: CallId, answer: Vec<u8> },
    /// The peer transfers the call to `target`, which policy allows and which is reached from `local`. Answer with
    /// [`Command::FollowReferral`] or [`Command::RefuseReferral`] within [`REOFFER_MAX`].
    Referred { call: CallId, target: String, local: IpAddr },
    /// The target of a transfer has answered: it is the call's peer from here on, its media are what `answer` says, and
    /// what the transferor still sends is not heard of any more.
    Transferred { call: CallId, answer: Vec<u8>, peer: String, source: SocketAddr },
    /// The target of a transfer has not answered; the call goes on as it was.
    ReferralFailed { call: CallId, status: u16 },
    /// The peer asked for a transfer that policy does not allow; `target` is its Refer-To.
    ReferralDeclined { call: CallId, target: String },
    /// Another peer wants to take the call over (RFC 3891). Answer as to [`Self::Reoffered`]; once that is accepted, this is
    /// the call's peer.
    Replacing(Replacement),
    /// How a transfer goes that [`Command::Transfer`] asked for: below 200 it is under way, anything else is its end. The
    /// call ends by itself after a 2xx, and goes on after all others.
    TransferProgress { call: CallId, status: u16 },
    /// A call of ours is on its way; `call_id` is its Call-ID.
    Placed { call: CallId, call_id: String },
    /// A provisional response to our INVITE, 101 to 199.
    Progress { call: CallId, status: u16 },
    /// A call of ours is answered, and acknowledged; `answer` is the peer's description.
    Answered { call: CallId, answer: Vec<u8> },
    /// Our REGISTER has its final answer; `reason` is that in words. 408 also where nobody answered, 503 where nobody is there.
    RegisterAnswered { status: u16, reason: String },
    /// A digit came by INFO.
    Digit { call: CallId, digit: char, duration_ms: u32 },
    /// The call is over, whoever ended it; said exactly once per invited call that was not refused by the engine.
    Ended { call: CallId, by: EndedBy, reason: String },
    /// A user registered (or refreshed) a contact.
    Registered { aor: String, contact: String, source: SocketAddr, expires_s: u32 },
    /// Somebody gave a wrong user name or password, `count` times in a row; said at powers of two. `user` is what was
    /// claimed, cut.
    Distrusted { source: SocketAddr, user: String, count: u32 },
    /// A message from a public address was dropped, since there are no accounts; `count` so far, said at powers of two.
    NotServed { source: SocketAddr, count: u64 },
    /// One of a user's contacts is gone: removed, expired, or the oldest of too many.
    Unregistered { aor: String },
}

/// A new call, as its INVITE tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The engine's number for it.
    pub call: CallId,
    /// The Call-ID header's value.
    pub call_id: String,
    /// The From header's value.
    pub from: String,
    /// The To header's value.
    pub to: String,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// What carries it.
    pub transport: Transport,
    /// The address of ours that reaches it: what our SDP says.
    pub local: IpAddr,
    /// Its session description; `None`: the offer is to be ours, in the 200.
    pub offer: Option<Vec<u8>>,
}

/// Who wants to take a call over, as its INVITE tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The call.
    pub call: CallId,
    /// The From header's value.
    pub from: String,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// What carries it.
    pub transport: Transport,
    /// The address of ours that reaches it.
    pub local: IpAddr,
    /// Its session description; `None`: the offer is to be ours, in the 200.
    pub offer: Option<Vec<u8>>,
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// BYE or CANCEL from the peer.
    Caller,
    /// The agent hung up.
    Agent,
    /// The engine: a time-out, a fault, a stop.
    Engine,
}

impl EndedBy {
    /// Returns the word that the control API shows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Agent => "agent",
            Self::Engine => "engine",
        }
    }
}

/// What `handle_timeout` is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A timer of a transaction (RFC 3261 Table 4).
    Transaction,
    /// A 200 without its ACK, a call that rings too long, a re-INVITE that nobody answers, a session that expires.
    Session,
    /// The end of a registration.
    Binding,
}

/// A user agent (RFC 3261): registrar, callee of the calls that come in, and caller of those that are placed.
///
/// After each `handle_*` drain [`Self::poll_output`] to `None`, then wait until [`Self::poll_timeout`] or the next input.
#[derive(Debug)]
pub struct UserAgent {
    settings: config::Sip,
    product: String,
    /// The time of day at [`Instant::ZERO`], since 1970-01-01 00:00 UTC.
    unix_at_zero: Option<Duration>,
    rng: fastrand::Rng,
    tags: Tags,
    digest: Digest,
    admission: Admission,
    draining: bool,
    transactions: Transactions,
    sessions: Sessions,
    registrar: Registrar,
    /// Our own registration elsewhere, under way.
    registering: Option<Registering>,
    out: Outbox,
}

impl UserAgent {
    /// Makes a user agent that calls itself `product` (`name/version`, RFC 3261 §20.35 and §20.41). `rng` makes tags and
    /// branches: seed it from the system, or tags can be guessed.
    #[must_use]
    pub fn new(settings: &config::Sip, product: &str, mut rng: fastrand::Rng) -> Self {
        let timers = Timers::new(settings);
        Self {
            settings: settings.clone(),
            product: product.to_owned(),
            unix_at_zero: None,
            tags: Tags::new(&mut rng),
            digest: Digest::new(settings, &mut rng),
            admission: Admission::new(&settings.limits),
            rng,
            draining: false,
            transactions: Transactions::new(timers),
            sessions: Sessions::new(timers),
            registrar: Registrar::new(settings),
            registering: None,
            out: Outbox::default(),
        }
    }

    /// Tells the time of day with each registration (RFC 3261 §10.3 step 8), which telephones without a clock show; `unix_at_zero`
    /// is the one at [`Instant::ZERO`], as the time since 1970-01-01 00:00 UTC.
    #[must_use]
    pub fn with_time_of_day(self, unix_at_zero: Duration) -> Self {
        Self { unix_at_zero: Some(unix_at_zero), ..self }
    }

    /// Takes one input. Afterwards drain [`Self::poll_output`] to `None` before the next input.
    pub fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        // What is due by now comes first, so that nothing is done with what has expired.
        self.handle_timeout(now);
        match input {
            Input::Received { flow, bytes } => self.handle_received(flow, bytes, now),
            Input::Command(command) => self.handle_command(command, now),
            Input::Unreachable { to } => {
                for unanswered in self.transactions.unreachable(to) {
                    self.handle_unanswered(&unanswered, now);
                }
                for event in self.registrar.handle_gone(to) {
                    self.out.event(event);
                }
            }
        }
    }

    /// Takes the passage of time. Early, late or repeated calls are safe and change nothing that is not due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.admission.handle_timeout(now);
        for unanswered in self.transactions.handle_timeout(now, &mut self.out) {
            self.handle_unanswered(&unanswered, now);
        }
        while let Some(call) = self.sessions.pop_due(now) {
            self.handle_session_timeout(call, now);
        }
        for event in self.registrar.handle_timeout(now) {
            self.out.event(event);
        }
    }

    /// Returns the next thing to be done, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.poll()
    }

    /// Returns when `handle_timeout` is due, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline<Timer>> {
        [
            (self.transactions.poll_timeout(), Timer::Transaction),
            (self.sessions.poll_timeout(), Timer::Session),
            (self.registrar.poll_timeout(), Timer::Binding),
        ]
        .into_iter()
        .filter_map(|(at, timer)| at.map(|at| Deadline { at, timer }))
        .min()
    }

    /// Returns what was counted since the start.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.out.counters
    }

    /// Returns the number of calls that are not over: ringing, answered, confirmed.
    #[must_use]
    pub const fn live_calls(&self) -> usize {
        self.sessions.live()
    }

    /// Returns how many transactions are kept, those of the peers' requests and those of ours.
    #[must_use]
    pub fn transactions(&self) -> (usize, usize) {
        self.transactions.len()
    }

    /// Whether a call or a registration needs the connection of this number (see [`Flow::connection`]).
    #[must_use]
    pub fn needs(&self, connection: u64) -> bool {
        self.sessions
            .flows()
            .chain(self.bindings().map(|binding| binding.flow))
            .any(|flow| flow.transport.is_reliable() && flow.connection == connection)
    }

    /// Returns every registered contact, by user.
    pub fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.registrar.bindings()
    }

    fn handle_received(&mut self, mut flow: Flow, bytes: &[u8], now: Instant) {
        self.out.counters.datagrams_received += 1;
        if let Some(reason) = self.discard(flow, bytes) {
            self.out.counters.discard(reason);
            let count = self.out.counters.discarded_for(reason);
            if reason == Discard::PublicSource && count.is_power_of_two() {
                self.out.event(Event::NotServed { source: flow.peer, count });
            }
            return;
        }
        let Some(mut lexed) = lexer::lex(bytes) else {
            self.out.counters.parse_errors += 1;
            self.out.counters.discard(Discard::Unreadable);
            return;
        };
        if let Some(address) = self.settings.advertised_address {
            flow.local.set_ip(address);
        }
        if lexed.flaw.is_none() {
            lexed.flaw = framing::flaw(&lexed, flow);
        }
        match lexed.start {
            StartLine::Status { code } => self.handle_response(&lexed, code, now),
            StartLine::Request { .. } if self.is_scan(&lexed, flow) => self.out.counters.discard(Discard::Scanner),
            StartLine::Request { method, .. } => {
                self.out.counters.request(method);
                match Request::read(&lexed) {
                    Ok(request) => self.handle_request(request, flow, now),
                    Err(flaw) => self.refuse_flawed(&lexed, flaw, method, flow),
                }
            }
        }
    }

    /// Says why a message is not even looked into.
    fn discard(&mut self, flow: Flow, bytes: &[u8]) -> Option<Discard> {
        if !self.is_served(flow) {
            return Some(Discard::PublicSource);
        }
        if !self.is_trusted(flow.peer.ip()) {
            match self.admission.admit(flow.peer) {
                Ok(()) => {}
                Err(Excess::Rate) => return Some(Discard::Excess),
                Err(Excess::Banned) => return Some(Discard::Banned),
            }
        }
        // RFC 5626 §3.5.1, and the NULs of other phones: over UDP no answer is wanted.
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Some(Discard::KeepAlive);
        }
        match bytes.len() {
            ..DATAGRAM_BYTES_MIN => Some(Discard::TooShort),
            DATAGRAM_BYTES_MIN..=DATAGRAM_BYTES_MAX => None,
            // The framer has seen to the length of head and body, and to what ends them.
            _ if flow.transport.is_reliable() => None,
            _ => Some(Discard::TooLong),
        }
    }

    /// Takes a response to a request of ours.
    fn handle_response(&mut self, lexed: &lexer::Lexed<'_>, code: u16, now: Instant) {
        let Some(reply) = Reply::read(lexed, code) else {
            return self.out.counters.discard(Discard::StrayResponse);
        };
        match self.transactions.receive(&reply, now, &mut self.out) {
            Matched::Stray => self.out.counters.discard(Discard::StrayResponse),
            Matched::Absorbed => {}
            Matched::Passed(call) => self.handle_reply(call, &reply, now),
        }
    }

    /// Takes a request, in the order of RFC 3261 §8.2 and §12.2.2.
    fn handle_request(&mut self, request: Request, flow: Flow, now: Instant) {
        if request.method() == Method::Ack {
            return self.handle_ack(&request, flow, now);
        }
        if let Some(transaction) = self.transactions.find(&request) {
            self.transactions.follow(transaction, request.envelope().route(flow));
            return self.transactions.repeat(transaction, now, &mut self.out);
        }
        if request.method() == Method::Cancel {
            return self.handle_cancel(&request, flow, now);
        }
        if request.to().tag().is_some() && request.method() != Method::Register {
            return match self.sessions.find(&request) {
                Some(call) if !self.is_of_call(call, flow) && self.refuse_unauthorised(&request, flow, now) => {}
                Some(call) => {
                    self.admission.know(flow.peer, CALL_FOR);
                    self.handle_in_dialog(call, request, flow, now);
                }
                None => self.refuse(&request, flow, 481),
            };
        }
        if self.transactions.is_merged(&request) {
            return self.refuse(&request, flow, 482);
        }
        if self.refuse_unauthorised(&request, flow, now) || self.refuse_unserved(&request, flow) {
            return;
        }
        match request.method() {
            Method::Invite => self.handle_invite(request, flow, now),
            Method::Register => self.handle_register(&request, flow, now),
            _ => self.handle_options(&request, flow),
        }
    }

    fn handle_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Ring { call } => self.ring(call, now),
            Command::Answer { call, sdp } => self.answer(call, sdp, now),
            Command::Refuse { call, refusal } => self.refuse_call(call, &refusal, now),
            Command::AcceptReoffer { call, sdp } => self.accept_reoffer(call, sdp, now),
            Command::RefuseReoffer { call, refusal } => self.refuse_reoffer(call, &refusal, now),
            Command::HangUp { call, reason } => {
                let cause = if self.draining { Cause::Stopping } else { Cause::Normal };
                self.hang_up(call, Reason::new(cause, reason), EndedBy::Agent, now);
            }
            Command::FollowReferral { call, sdp } => self.follow_referral(call, sdp, now),
            Command::RefuseReferral { call, status } => self.fail_referral(call, status, now),
            Command::Transfer { call, target } => self.transfer(call, &target, now),
            Command::Place(outbound) => self.place(*outbound, now),
            Command::Register(registration) => self.register(*registration, now),
            Command::Drain => self.draining = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::rig::{Caller, Rig};
    use super::*;

    const OPTIONS: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:40000;rport;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n";

    #[test]
    fn keep_alives_and_garbage_get_nothing() {
        let mut rig = Rig::new();
        let long = format!("{OPTIONS}{}", "x".repeat(DATAGRAM_BYTES_MAX));
        for (bytes, reason) in [
            (&b""[..], Discard::KeepAlive),
            (b"\r\n", Discard::KeepAlive),
            (b"\r\n\r\n", Discard::KeepAlive),
            (b"\0", Discard::KeepAlive),
            (b"\0\0\0\0", Discard::KeepAlive),
            (b"OPTIONS sip:a@b", Discard::TooShort),
            (long.as_bytes(), Discard::TooLong),
            (b"this is not SIP, whatever else it may be", Discard::Unreadable),
            (b"OPTIONS sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\n\r\n", Discard::Unreadable),
            (b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nCSeq: 1 BYE\r\n\r\n", Discard::StrayResponse),
            (b"SIP/2.0 200 OK\r\nCSeq: 1 BYE\r\n\r\n", Discard::StrayResponse),
        ] {
            let before = rig.ua.counters().discarded_for(reason);
            assert!(rig.receive(bytes).is_empty(), "{reason:?}");
            assert_eq!(rig.ua.counters().discarded_for(reason), before + 1, "{reason:?}");
        }
        assert_eq!(rig.ua.counters().datagrams_received, 11);
        assert_eq!(rig.ua.poll_timeout(), None);
    }

    #[test]
    fn who_leaves_out_a_mandatory_header_is_told() {
        for missing in ["From", "To", "Call-ID", "CSeq"] {
            let mut rig = Rig::new();
            let text: String =
                OPTIONS.split_inclusive("\r\n").filter(|line| !line.starts_with(&format!("{missing}:"))).collect();
            assert_eq!(rig.say(&text), ["400 Missing Header"], "{missing}");
            assert_eq!(rig.last().header(missing), None, "{missing}");
        }
    }

    #[test]
    fn only_loopback_and_private_sources_are_served() {
        let mut rig = Rig::new();
        for (source, served) in [
            ("127.0.0.1:5060", true),
            ("10.1.2.3:5060", true),
            ("172.31.0.1:5060", true),
            ("192.168.0.7:5060", true),
            ("169.254.1.1:5060", true),
            ("[::1]:5060", true),
            ("[fd00::1]:5060", true),
            ("[fe80::1]:5060", true),
            ("[::ffff:192.168.0.7]:5060", true),
            ("8.8.8.8:5060", false),
            ("172.32.0.1:5060", false),
            ("[2001:db8::1]:5060", false),
            ("[::ffff:8.8.8.8]:5060", false),
            ("0.0.0.0:5060", false),
            ("255.255.255.255:5060", false),
            ("224.0.0.1:5060", false),
            ("127.0.0.1:0", false),
        ] {
            rig.source = source.parse().expect("an address");
            assert_eq!(rig.say(OPTIONS).len(), usize::from(served), "{source}");
        }
        assert_eq!(rig.ua.counters().discarded_for(Discard::PublicSource), 8);
        let told: Vec<_> = std::mem::take(&mut rig.events)
            .into_iter()
            .filter_map(|event| match event {
                Event::NotServed { source, count } => Some((source.to_string(), count)),
                _ => None,
            })
            .collect();
        let first = "8.8.8.8:5060".to_owned();
        assert_eq!(
            (told.len(), told.first()),
            (4, Some(&(first, 1))),
            "the log names who is turned away, and floods it not"
        );
    }

    #[test]
    fn this_machine_is_served_at_any_of_its_addresses() {
        // What comes from the address that it was sent to has not left this machine.
        let mut rig = Rig::new();
        let (phone, here) =
            ("203.0.113.9:40000".parse().expect("an address"), "203.0.113.9:5060".parse().expect("an address"));
        let elsewhere = "203.0.113.8:5060".parse().expect("an address");
        assert!(rig.receive_by(Flow::udp(phone, elsewhere), OPTIONS.as_bytes()).is_empty());
        assert_eq!(rig.receive_by(Flow::udp(phone, here), OPTIONS.as_bytes()).len(), 1);
    }

    #[test]
    fn options_says_what_is_served() {
        let mut rig = Rig::new();
        assert_eq!(rig.say(OPTIONS), ["200 OK"]);
        let ok = rig.last().clone();
        assert_eq!(
            ok.header("Allow"),
            Some("INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, INFO, UPDATE, PRACK, REFER, NOTIFY")
        );
        assert!(ok.header("Accept").is_some_and(|accept| accept.starts_with("application/sdp")));
        assert_eq!(ok.header("Supported"), Some("100rel, timer, replaces, norefersub"));
        assert_eq!(ok.header("Server"), Some("Offhook/0"));
        assert_eq!(
            ok.header("Via"),
            Some("SIP/2.0/UDP 127.0.0.1:40000;rport=40000;branch=z9hG4bK1;received=127.0.0.1")
        );
        // A stateless answer is the same each time.
        assert_eq!(rig.receive(OPTIONS.as_bytes())[0].text, ok.text);
        assert_eq!(rig.ua.transactions(), (0, 0));
    }

    #[test]
    fn methods_are_refused_by_kind() {
        let mut rig = Rig::new();
        for (method, answer) in [
            ("SUBSCRIBE", "405 Method Not Allowed"),
            ("NOTIFY", "481 Call/Transaction Does Not Exist"),
            ("REFER", "403 Forbidden"),
            ("MESSAGE", "405 Method Not Allowed"),
            ("PUBLISH", "405 Method Not Allowed"),
            ("PRACK", "481 Call/Transaction Does Not Exist"),
            ("BYE", "481 Call/Transaction Does Not Exist"),
            ("INFO", "481 Call/Transaction Does Not Exist"),
            ("UPDATE", "481 Call/Transaction Does Not Exist"),
            ("CANCEL", "481 Call/Transaction Does Not Exist"),
            ("options", "501 Not Implemented"),
            ("NEWMETHOD", "501 Not Implemented"),
        ] {
            assert_eq!(rig.say(&OPTIONS.replace("OPTIONS", method)), [answer], "{method}");
            if answer.starts_with("405") || answer.starts_with("501") {
                assert!(rig.last().header("Allow").is_some(), "{method}");
            }
        }
        assert_eq!(rig.say(&OPTIONS.replace("OPTIONS", "ACK")), [""; 0]);
        assert_eq!(rig.ua.counters().discarded_for(Discard::StrayAck), 1);
        assert_eq!(rig.ua.transactions(), (0, 0));
    }

    #[test]
    fn registers_are_answered_and_said() {
        let mut rig = Rig::new();
        let register = |cseq: u32, headers: &str| {
            OPTIONS
                .replace("1 OPTIONS", &format!("{cseq} OPTIONS"))
                .replace("z9hG4bK1", &format!("z9hG4bK{cseq}"))
                .replace("OPTIONS", "REGISTER")
                .replace("\r\n\r\n", &format!("\r\n{headers}\r\n\r\n"))
        };
        let first =
            register(1, "Contact: <sip:a@192.168.1.9:4444;ob>\r\nExpires: 300\r\nAuthorization: NoOneKnows x=y");
        assert_eq!(rig.say(&first), ["200 OK"]);
        assert_eq!(rig.last().header("Contact"), Some("<sip:a@192.168.1.9:4444;ob>;expires=300"));
        let contact = "sip:a@192.168.1.9:4444;ob".to_owned();
        assert_eq!(
            rig.events(),
            [Event::Registered { aor: "sip:a@b".into(), contact, source: rig.source, expires_s: 300 }]
        );
        assert_eq!(rig.ua.bindings().count(), 1);
        assert_eq!(rig.last().header("Date"), None, "nobody has told it the time of day");
        assert_eq!(rig.say(&first), ["200 OK"]);
        assert_eq!(rig.ua.counters().retransmissions_absorbed, 1);
        assert_eq!(rig.say(&register(2, "Contact: <sip:a@192.168.1.9:4444;ob>;expires=5")), ["423 Interval Too Brief"]);
        assert_eq!(rig.last().header("Min-Expires"), Some("10"));
        assert_eq!(rig.say(&register(3, "Contact: *\r\nExpires: 7")), ["400 Bad Contact"]);
        assert_eq!(rig.say(&register(4, "Require: path")), ["420 Bad Extension"]);
        assert_eq!(rig.last().header("Unsupported"), Some("path"));
        assert_eq!(rig.events(), []);
        rig.run(std::time::Duration::from_secs(300));
        assert_eq!(rig.events(), [Event::Unregistered { aor: "sip:a@b".into() }]);
        rig.ua = rig.ua.with_time_of_day(Duration::from_secs(1_798_761_299));
        assert_eq!(rig.say(&register(8, "")), ["200 OK"]);
        assert_eq!(rig.last().header("Date"), Some("Thu, 31 Dec 2026 23:59:59 GMT"));
        rig.command(Command::Drain);
        assert_eq!(rig.say(&register(9, "")), ["503 Service Unavailable"]);
    }

    #[test]
    fn an_idle_server_has_no_timer_and_no_memory() {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        rig.establish(&mut caller);
        rig.say(&caller.request("BYE", "", ""));
        assert_eq!(rig.ua.live_calls(), 0);
        rig.run(std::time::Duration::from_secs(64));
        assert_eq!((rig.ua.poll_timeout(), rig.ua.transactions()), (None, (0, 0)));
    }

    #[test]
    fn the_advertised_address_is_what_contact_says() {
        let advertised_address = Some("192.168.7.7".parse().expect("an address"));
        let mut rig = Rig::with(&config::Sip { advertised_address, ..config::Sip::default() });
        assert_eq!(rig.say(&Caller::new("a").invite()), ["100 Trying"]);
        let Some(Event::Invited(invitation)) = rig.events().pop() else { panic!("no invitation") };
        assert_eq!(Some(invitation.local), advertised_address);
        rig.command(Command::Answer { call: invitation.call, sdp: b"v=0".to_vec() });
        assert_eq!(rig.last().header("Contact"), Some("<sip:192.168.7.7:5060>"));
    }

    #[test]
    fn commands_for_calls_that_are_not_there_do_nothing() {
        let mut rig = Rig::new();
        let call = CallId(9);
        for command in [
            Command::Ring { call },
            Command::Answer { call, sdp: Vec::new() },
            Command::Refuse { call, refusal: rig::refusal(486) },
            Command::AcceptReoffer { call, sdp: None },
            Command::RefuseReoffer { call, refusal: rig::refusal(488) },
            Command::HangUp { call, reason: String::new() },
        ] {
            assert_eq!(rig.command(command), [""; 0]);
        }
        assert_eq!(rig.events(), []);
    }
}
