//! Which transaction does this message belong to (RFC 3261 §17.1.3, §17.2.3), and the table of them all.

pub mod invite_client;
pub mod invite_server;
pub mod non_invite_client;
pub mod non_invite_server;
pub mod timers;

use super::flow::Flow;
use super::message::{Headers, Method, Request, method_name};
use super::outbox::Outbox;
use super::reply::Reply;
use super::schedule::Schedule;
use crate::ids::CallId;
use crate::time::Instant;
use invite_client::{Action as InviteClientAction, InviteClient};
use invite_server::{Action as InviteAction, Input as InviteInput, InviteServer};
use non_invite_client::{Action as ClientAction, NonInviteClient, Outcome};
use non_invite_server::{Action as ServerAction, NonInviteServer};
use std::collections::BTreeMap;
use timers::Timers;

/// Most server transactions at once. Each is kept for 32 s after its answer, so this is 250 requests a second for as long as
/// one likes, in about 16 MB.
pub const SERVERS_MAX: usize = 8192;

/// Server transactions that requests outside of dialogs may not take: a call that is up must be able to end.
const SERVERS_KEPT_FOR_DIALOGS: usize = SERVERS_MAX / 4;

/// Most client transactions at once: one BYE for each call that ended within the last 32 s, and what live calls ask beside.
pub const CLIENTS_MAX: usize = 2048;

/// A server transaction, numbered in the order in which they began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TransactionId(u64);

/// Identifies the server transaction of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ServerKey {
    /// RFC 3261: a branch that begins with the cookie, sent-by, and the method.
    Branch { branch: String, sent_by: String, method: &'static str },
    /// RFC 2543: everything else that a repetition has in common with its request.
    Legacy {
        via: String,
        target: String,
        call_id: String,
        from_tag: String,
        to_tag: String,
        cseq: u32,
        method: &'static str,
    },
}

impl ServerKey {
    fn new(request: &Request, method: Method) -> Self {
        let via = request.via();
        let method = method_name(method);
        if let Some(branch) = via.unique_branch() {
            let sent_by = format!("{}:{}", via.host.to_ascii_lowercase(), via.port.unwrap_or(5060));
            return Self::Branch { branch: branch.to_owned(), sent_by, method };
        }
        Self::Legacy {
            via: via.to_string(),
            target: request.target().to_owned(),
            call_id: request.call_id().to_owned(),
            from_tag: request.from().tag().unwrap_or_default().to_owned(),
            to_tag: request.to().tag().unwrap_or_default().to_owned(),
            cseq: request.cseq(),
            method,
        }
    }

    /// The ACK of an INVITE that had no tag in To carries the tag of our response.
    fn without_to_tag(self) -> Self {
        match self {
            Self::Legacy { via, target, call_id, from_tag, cseq, method, .. } => {
                Self::Legacy { via, target, call_id, from_tag, to_tag: String::new(), cseq, method }
            }
            key @ Self::Branch { .. } => key,
        }
    }
}

/// What the copies of a request that came on two ways have in common (RFC 3261 §8.2.2.2).
type MergeKey = (String, String, u32, &'static str);

fn merge_key(request: &Request) -> Option<MergeKey> {
    if request.to().tag().is_some() {
        return None;
    }
    // Without a From-tag (RFC 2543) strangers could be taken for one another.
    let from_tag = request.from().tag()?.to_owned();
    Some((request.call_id().to_owned(), from_tag, request.cseq(), method_name(request.method())))
}

#[derive(Debug)]
enum Machine {
    Invite(InviteServer),
    NonInvite(NonInviteServer),
}

#[derive(Debug)]
struct Server {
    machine: Machine,
    key: ServerKey,
    merge: Option<MergeKey>,
    to: Flow,
}

/// A request of ours, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    /// The branch in its Via.
    pub(super) branch: String,
    pub(super) method: Method,
    pub(super) to: Flow,
    pub(super) bytes: Vec<u8>,
    /// The ACK of its refusal, where it is an INVITE.
    pub(super) ack: Option<RefusalAck>,
}

/// The ACK of a refusal of our INVITE, but for To, which comes with the refusal (RFC 3261 §17.1.1.3).
#[derive(Clone, Debug)]
pub(super) struct RefusalAck {
    pub(super) target: String,
    pub(super) fields: Headers,
}

impl RefusalAck {
    fn write(&self, to: &str) -> Option<Vec<u8>> {
        let mut fields = self.fields.clone();
        fields.push("To", to);
        Request::compose(Method::Ack, &self.target, &fields, &[])
    }
}

#[derive(Debug)]
enum ClientMachine {
    Invite(InviteClient, RefusalAck),
    NonInvite(NonInviteClient),
}

impl ClientMachine {
    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Invite(machine, _) => machine.poll_timeout(),
            Self::NonInvite(machine) => machine.poll_timeout(),
        }
    }

    const fn is_terminated(&self) -> bool {
        match self {
            Self::Invite(machine, _) => machine.is_terminated(),
            Self::NonInvite(machine) => machine.is_terminated(),
        }
    }
}

/// What a client transaction is known by: a CANCEL has the branch of its INVITE (RFC 3261 §17.1.3).
type ClientKey = (String, &'static str);

#[derive(Debug)]
struct Client {
    machine: ClientMachine,
    method: Method,
    owner: CallId,
    to: Flow,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Server(TransactionId),
    Client(ClientKey),
}

/// What a response was to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Matched {
    /// Nothing: no request of ours waits for it.
    Stray,
    /// Of no interest to the core, or a repetition.
    Absorbed,
    /// For the core: a provisional response to an INVITE, or a final one.
    Passed(CallId),
}

/// A request of ours that ended without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unanswered {
    pub(super) owner: CallId,
    pub(super) method: Method,
    pub(super) branch: String,
    pub(super) outcome: Outcome,
}

/// All transactions.
#[derive(Debug)]
pub(super) struct Transactions {
    timers: Timers,
    servers: BTreeMap<TransactionId, Server>,
    by_key: BTreeMap<ServerKey, TransactionId>,
    by_merge: BTreeMap<MergeKey, TransactionId>,
    clients: BTreeMap<ClientKey, Client>,
    schedule: Schedule<Due>,
    next: u64,
}

impl Transactions {
    pub(super) const fn new(timers: Timers) -> Self {
        Self {
            timers,
            servers: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_merge: BTreeMap::new(),
            clients: BTreeMap::new(),
            schedule: Schedule::new(),
            next: 0,
        }
    }

    /// Returns the transaction that `request` is a repetition of; for an ACK, that of its INVITE.
    pub(super) fn find(&self, request: &Request) -> Option<TransactionId> {
        if request.method() != Method::Ack {
            return self.by_key.get(&ServerKey::new(request, request.method())).copied();
        }
        let key = ServerKey::new(request, Method::Invite);
        self.by_key.get(&key).or_else(|| self.by_key.get(&key.clone().without_to_tag())).copied()
    }

    /// Returns the transaction that a CANCEL is about (RFC 3261 §9.2).
    pub(super) fn find_cancelled(&self, cancel: &Request) -> Option<TransactionId> {
        const CANCELLABLE: [Method; 6] =
            [Method::Invite, Method::Update, Method::Bye, Method::Info, Method::Register, Method::Options];
        CANCELLABLE.iter().find_map(|method| self.by_key.get(&ServerKey::new(cancel, *method)).copied())
    }

    /// Whether `request` has come on another way already.
    pub(super) fn is_merged(&self, request: &Request) -> bool {
        merge_key(request).is_some_and(|key| self.by_merge.contains_key(&key))
    }

    /// Begins a server transaction whose responses go to `to`; `None` where there are too many.
    pub(super) fn open(&mut self, request: &Request, to: Flow) -> Option<TransactionId> {
        let limit = if request.to().tag().is_some() { SERVERS_MAX } else { SERVERS_MAX - SERVERS_KEPT_FOR_DIALOGS };
        if self.servers.len() >= limit {
            return None;
        }
        let id = TransactionId(self.next);
        self.next += 1;
        let timers = self.timers.over(to.transport);
        let machine = match request.method() {
            Method::Invite => Machine::Invite(InviteServer::new(timers)),
            _ => Machine::NonInvite(NonInviteServer::new(timers)),
        };
        let (key, merge) = (ServerKey::new(request, request.method()), merge_key(request));
        self.by_key.insert(key.clone(), id);
        if let Some(merge) = &merge {
            self.by_merge.insert(merge.clone(), id);
        }
        self.servers.insert(id, Server { machine, key, merge, to });
        Some(id)
    }

    /// Takes note that the request came again by `to`: a peer that has made a further connection has lost the one
    /// before, and its answers go where the repetition came from. What comes from another host is nobody's repetition,
    /// and changes nothing.
    pub(super) fn follow(&mut self, id: TransactionId, to: Flow) {
        if let Some(server) = self.servers.get_mut(&id)
            && to.transport.is_reliable()
            && server.to.transport == to.transport
            && server.to.peer.ip() == to.peer.ip()
        {
            server.to = to;
        }
    }

    /// Takes a repetition of the request.
    pub(super) fn repeat(&mut self, id: TransactionId, now: Instant, out: &mut Outbox) {
        out.counters.retransmissions_absorbed += 1;
        let Some(server) = self.servers.get_mut(&id) else { return };
        let bytes = match &mut server.machine {
            Machine::Invite(machine) => match machine.handle_input(InviteInput::Invite, now) {
                InviteAction::Send(bytes) | InviteAction::Resend(bytes) => bytes,
                InviteAction::Nothing | InviteAction::PassAck => return,
            },
            Machine::NonInvite(machine) => match machine.handle_request() {
                ServerAction::Send(bytes) | ServerAction::Resend(bytes) => bytes,
                ServerAction::Nothing => return,
            },
        };
        out.resend(server.to, bytes);
    }

    /// Takes an ACK; returns whether it belongs to the core.
    pub(super) fn acknowledge(&mut self, id: TransactionId, now: Instant) -> bool {
        let Some(Server { machine: Machine::Invite(machine), .. }) = self.servers.get_mut(&id) else { return false };
        let action = machine.handle_input(InviteInput::Ack, now);
        self.settle(id);
        action == InviteAction::PassAck
    }

    /// Sends a response of the core: provisional below 200, final from there on.
    pub(super) fn respond(&mut self, id: TransactionId, status: u16, bytes: Vec<u8>, now: Instant, out: &mut Outbox) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        match &mut server.machine {
            Machine::Invite(machine) => {
                let input = match status {
                    0..200 => InviteInput::Provisional(bytes),
                    200..300 => InviteInput::Success(bytes),
                    _ => InviteInput::Failure(bytes),
                };
                if let InviteAction::Send(bytes) = machine.handle_input(input, now) {
                    out.send(server.to, bytes);
                }
            }
            Machine::NonInvite(machine) => {
                if let ServerAction::Send(bytes) = machine.handle_final(bytes, now) {
                    out.send(server.to, bytes);
                }
            }
        }
        self.settle(id);
    }

    /// Whether the transaction waits for its final response.
    pub(super) fn is_open(&self, id: TransactionId) -> bool {
        self.servers.get(&id).is_some_and(|server| match &server.machine {
            Machine::Invite(machine) => machine.is_open(),
            Machine::NonInvite(machine) => machine.is_open(),
        })
    }

    /// Sends a request of ours and waits for its end; returns whether there was room to wait.
    pub(super) fn request(&mut self, owner: CallId, request: Outgoing, now: Instant, out: &mut Outbox) -> bool {
        let Outgoing { branch, method, to, bytes, ack } = request;
        out.send(to, bytes.clone());
        if self.clients.len() >= CLIENTS_MAX {
            return false;
        }
        let machine = match ack {
            Some(ack) => ClientMachine::Invite(InviteClient::new(self.timers.over(to.transport), bytes, now), ack),
            None => ClientMachine::NonInvite(NonInviteClient::new(self.timers.over(to.transport), bytes, now)),
        };
        let key = (branch, method_name(method));
        self.schedule.set(&Due::Client(key.clone()), machine.poll_timeout());
        self.clients.insert(key, Client { machine, method, owner, to });
        true
    }

    /// Whether the INVITE of ours with this branch may be cancelled.
    pub(super) fn is_cancellable(&self, branch: &str) -> bool {
        let invite = self.clients.get(&(branch.to_owned(), method_name(Method::Invite)));
        invite.is_some_and(
            |client| matches!(&client.machine, ClientMachine::Invite(machine, _) if machine.is_cancellable()),
        )
    }

    /// Lets go of a request of ours, whatever becomes of it.
    pub(super) fn forget(&mut self, branch: &str, method: Method) {
        let key = (branch.to_owned(), method_name(method));
        self.schedule.set(&Due::Client(key.clone()), None);
        self.clients.remove(&key);
    }

    /// Gives the requests of two calls to each other.
    pub(super) fn exchange(&mut self, one: CallId, other: CallId) {
        for client in self.clients.values_mut() {
            client.owner = match client.owner {
                owner if owner == one => other,
                owner if owner == other => one,
                owner => owner,
            };
        }
    }

    /// Takes a response (RFC 3261 §17.1.3: the branch of the nearest Via, and the method in CSeq).
    pub(super) fn receive(&mut self, reply: &Reply, now: Instant, out: &mut Outbox) -> Matched {
        let key = (reply.branch.clone(), method_name(reply.method));
        let Some(client) = self.clients.get_mut(&key) else { return Matched::Stray };
        let owner = client.owner;
        let (pass, acknowledge) = match &mut client.machine {
            ClientMachine::NonInvite(machine) => {
                (matches!(machine.handle_response(reply.status, now), ClientAction::End(_)), None)
            }
            ClientMachine::Invite(machine, ack) => match machine.handle_response(reply.status, now) {
                InviteClientAction::Pass => (true, None),
                InviteClientAction::PassAndAcknowledge => (true, ack.write(&reply.to)),
                InviteClientAction::Acknowledge => (false, ack.write(&reply.to)),
                InviteClientAction::Nothing | InviteClientAction::Resend(_) | InviteClientAction::End(_) => {
                    (false, None)
                }
            },
        };
        if let Some(ack) = acknowledge {
            out.send(client.to, ack);
        }
        self.settle_client(&key);
        if pass { Matched::Passed(owner) } else { Matched::Absorbed }
    }

    /// Takes a transport error: requests of ours to `to` have ended.
    pub(super) fn unreachable(&mut self, to: Flow) -> Vec<Unanswered> {
        let keys: Vec<ClientKey> =
            self.clients.iter().filter(|(_, client)| client.to.is_same_way(&to)).map(|(key, _)| key.clone()).collect();
        let mut ended = Vec::new();
        for key in keys {
            if let Some(client) = self.clients.get_mut(&key) {
                let outcome = match &mut client.machine {
                    ClientMachine::NonInvite(machine) => match machine.handle_unreachable() {
                        ClientAction::End(outcome) => Some(outcome),
                        ClientAction::Nothing | ClientAction::Resend(_) => None,
                    },
                    ClientMachine::Invite(machine, _) => match machine.handle_unreachable() {
                        InviteClientAction::End(outcome) => Some(outcome),
                        _ => None,
                    },
                };
                ended.extend(outcome.map(|outcome| client.unanswered(&key.0, outcome)));
            }
            self.settle_client(&key);
        }
        ended
    }

    /// Takes the passage of time: sends what is due, and returns the requests of ours that timed out.
    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) -> Vec<Unanswered> {
        let mut ended = Vec::new();
        while let Some(due) = self.schedule.pop_due(now) {
            match due {
                Due::Server(id) => {
                    let Some(server) = self.servers.get_mut(&id) else { continue };
                    match &mut server.machine {
                        Machine::Invite(machine) => {
                            if let InviteAction::Resend(bytes) = machine.handle_timeout(now) {
                                out.resend(server.to, bytes);
                            }
                        }
                        Machine::NonInvite(machine) => machine.handle_timeout(now),
                    }
                    self.settle(id);
                }
                Due::Client(key) => {
                    let Some(client) = self.clients.get_mut(&key) else { continue };
                    let (resend, outcome) = match &mut client.machine {
                        ClientMachine::NonInvite(machine) => match machine.handle_timeout(now) {
                            ClientAction::Resend(bytes) => (Some(bytes), None),
                            ClientAction::End(outcome) => (None, Some(outcome)),
                            ClientAction::Nothing => (None, None),
                        },
                        ClientMachine::Invite(machine, _) => match machine.handle_timeout(now) {
                            InviteClientAction::Resend(bytes) => (Some(bytes), None),
                            InviteClientAction::End(outcome) => (None, Some(outcome)),
                            _ => (None, None),
                        },
                    };
                    if let Some(bytes) = resend {
                        out.resend(client.to, bytes);
                    }
                    if let Some(outcome) = outcome {
                        out.counters.requests_timed_out += 1;
                        ended.push(client.unanswered(&key.0, outcome));
                    }
                    self.settle_client(&key);
                }
            }
        }
        ended
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.schedule.next()
    }

    /// Returns the number of server and of client transactions.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.servers.len(), self.clients.len())
    }

    fn settle(&mut self, id: TransactionId) {
        let Some(server) = self.servers.get(&id) else { return };
        let (terminated, deadline) = match &server.machine {
            Machine::Invite(machine) => (machine.is_terminated(), machine.poll_timeout()),
            Machine::NonInvite(machine) => (machine.is_terminated(), machine.poll_timeout()),
        };
        self.schedule.set(&Due::Server(id), deadline.filter(|_| !terminated));
        if terminated && let Some(server) = self.servers.remove(&id) {
            self.by_key.remove(&server.key);
            if let Some(merge) = server.merge {
                self.by_merge.remove(&merge);
            }
        }
    }

    fn settle_client(&mut self, key: &ClientKey) {
        let Some(client) = self.clients.get(key) else { return };
        let due = Due::Client(key.clone());
        if client.machine.is_terminated() {
            self.schedule.set(&due, None);
            self.clients.remove(key);
        } else {
            self.schedule.set(&due, client.machine.poll_timeout());
        }
    }
}

impl Client {
    fn unanswered(&self, branch: &str, outcome: Outcome) -> Unanswered {
        Unanswered { owner: self.owner, method: self.method, branch: branch.to_owned(), outcome }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::sip::lexer::lex;

    const HOME: &str = "127.0.0.1:5070";

    fn flow(peer: &str) -> Flow {
        let address = |text: &str| text.parse().expect("an address");
        Flow::udp(address(peer), address("127.0.0.1:5060"))
    }

    fn home() -> Flow {
        flow(HOME)
    }

    fn request(method: &str, via: &str, to_tag: &str) -> Request {
        let text = format!(
            "{method} sip:a@b SIP/2.0\r\nVia: {via}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>{to_tag}\r\nCall-ID: 1\r\nCSeq: 7 {method}\r\n\r\n"
        );
        Request::read(&lex(text.as_bytes()).expect("SIP")).expect("a request")
    }

    fn table() -> Transactions {
        Transactions::new(Timers::new(&config::Sip::default()))
    }

    fn open(table: &mut Transactions, request: &Request) -> TransactionId {
        table.open(request, home()).expect("room")
    }

    #[test]
    fn branch_sent_by_and_method_identify_a_transaction() {
        let mut table = table();
        let via = "SIP/2.0/UDP h:5070;branch=z9hG4bKx";
        let id = open(&mut table, &request("INVITE", via, ""));
        assert_eq!(table.find(&request("INVITE", "SIP/2.0/UDP H:5070;rport;branch=z9hG4bKx", "")), Some(id));
        assert_eq!(table.find(&request("ACK", via, ";tag=2")), Some(id));
        assert_eq!(table.find(&request("CANCEL", via, "")), None);
        assert_eq!(table.find_cancelled(&request("CANCEL", via, "")), Some(id));
        assert_eq!(table.find(&request("INVITE", "SIP/2.0/UDP h:5071;branch=z9hG4bKx", "")), None);
        assert_eq!(table.find(&request("INVITE", "SIP/2.0/UDP h:5070;branch=z9hG4bKy", "")), None);
    }

    #[test]
    fn without_a_cookie_everything_else_identifies_it() {
        for via in ["SIP/2.0/UDP h", "SIP/2.0/UDP h;branch=1", "SIP/2.0/UDP h;branch=z9hG4bK"] {
            let mut table = table();
            let id = open(&mut table, &request("INVITE", via, ""));
            assert_eq!(table.find(&request("INVITE", via, "")), Some(id));
            assert_eq!(table.find(&request("ACK", via, ";tag=2")), Some(id));
            assert_eq!(table.find_cancelled(&request("CANCEL", via, "")), Some(id));
            assert_eq!(table.find(&request("INVITE", "SIP/2.0/UDP h;branch=2", "")), None);
        }
    }

    #[test]
    fn a_request_on_another_way_is_merged_unless_it_is_in_a_dialog() {
        let mut table = table();
        open(&mut table, &request("OPTIONS", "SIP/2.0/UDP h;branch=z9hG4bKx", ""));
        assert!(table.is_merged(&request("OPTIONS", "SIP/2.0/UDP h;branch=z9hG4bKy", "")));
        assert!(!table.is_merged(&request("OPTIONS", "SIP/2.0/UDP h;branch=z9hG4bKy", ";tag=2")));
        assert!(!table.is_merged(&request("REGISTER", "SIP/2.0/UDP h;branch=z9hG4bKy", "")));
    }

    #[test]
    fn the_table_is_bounded_and_keeps_room_for_dialogs() {
        let mut table = table();
        let to = home();
        let mut opened = 0;
        while table.open(&request("OPTIONS", &format!("SIP/2.0/UDP h;branch=z9hG4bK{opened}"), ""), to).is_some() {
            opened += 1;
        }
        assert_eq!(opened, SERVERS_MAX - SERVERS_KEPT_FOR_DIALOGS);
        assert!(table.open(&request("BYE", "SIP/2.0/UDP h;branch=z9hG4bKbye", ";tag=2"), to).is_some());
    }

    #[test]
    fn an_ended_transaction_leaves_nothing_behind() {
        let mut table = table();
        let mut out = Outbox::default();
        let options = request("OPTIONS", "SIP/2.0/UDP h;branch=z9hG4bKx", "");
        let id = open(&mut table, &options);
        table.respond(id, 200, b"SIP/2.0 200 OK".to_vec(), Instant::ZERO, &mut out);
        assert_eq!(table.handle_timeout(Instant::from_millis(32_000), &mut out), []);
        assert_eq!((table.len(), table.poll_timeout(), table.find(&options)), ((0, 0), None, None));
        assert!(table.by_merge.is_empty());
    }

    fn reply(status: u16, branch: &str, method: &str) -> Reply {
        let text = format!(
            "SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP h;branch={branch}\r\nTo: <sip:a@b>;tag=2\r\nCSeq: 7 {method}\r\n\r\n"
        );
        Reply::read(&lex(text.as_bytes()).expect("SIP"), status).expect("a reply")
    }

    fn bye() -> Outgoing {
        Outgoing { branch: "z9hG4bKus".into(), method: Method::Bye, to: home(), bytes: b"BYE".to_vec(), ack: None }
    }

    fn invite() -> Outgoing {
        let mut fields = Headers::default();
        fields.push("Via", "SIP/2.0/UDP us;branch=z9hG4bKus");
        let ack = Some(RefusalAck { target: "sip:a@b".into(), fields });
        Outgoing { method: Method::Invite, bytes: b"INVITE".to_vec(), ack, ..bye() }
    }

    fn sent(out: &mut Outbox) -> Vec<String> {
        let text = |output| match output {
            crate::sip::Output::Transmit { bytes, .. } => String::from_utf8(bytes).expect("text"),
            crate::sip::Output::Event(event) => panic!("{event:?}"),
        };
        std::iter::from_fn(|| out.poll()).map(text).collect()
    }

    #[test]
    fn responses_find_their_request_by_branch_and_method() {
        let (mut table, mut out, now) = (table(), Outbox::default(), Instant::ZERO);
        assert!(table.request(CallId(3), bye(), now, &mut out));
        for (status, branch, method, matched) in [
            (200, "z9hG4bKother", "BYE", Matched::Stray),
            (200, "z9hG4bKus", "OPTIONS", Matched::Stray),
            (100, "z9hG4bKus", "BYE", Matched::Absorbed),
            (200, "z9hG4bKus", "BYE", Matched::Passed(CallId(3))),
            (200, "z9hG4bKus", "BYE", Matched::Absorbed),
        ] {
            assert_eq!(table.receive(&reply(status, branch, method), now, &mut out), matched);
        }
    }

    #[test]
    fn a_refusal_of_our_invite_is_acknowledged_here() {
        let (mut table, mut out, now) = (table(), Outbox::default(), Instant::ZERO);
        table.request(CallId(3), invite(), now, &mut out);
        assert!(!table.is_cancellable("z9hG4bKus"));
        let passed = Matched::Passed(CallId(3));
        assert_eq!(table.receive(&reply(180, "z9hG4bKus", "INVITE"), now, &mut out), passed);
        assert!(table.is_cancellable("z9hG4bKus"));
        // Its CANCEL has the same branch, and is another transaction.
        table.request(CallId(3), Outgoing { method: Method::Cancel, ..bye() }, now, &mut out);
        assert_eq!(table.receive(&reply(200, "z9hG4bKus", "CANCEL"), now, &mut out), passed);
        sent(&mut out);
        table.exchange(CallId(3), CallId(4));
        for matched in [Matched::Passed(CallId(4)), Matched::Absorbed] {
            assert_eq!(table.receive(&reply(487, "z9hG4bKus", "INVITE"), now, &mut out), matched);
            let ack = "ACK sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP us;branch=z9hG4bKus\r\nTo: <sip:a@b>;tag=2\r\nContent-Length: 0\r\n\r\n";
            assert_eq!(sent(&mut out), [ack]);
        }
        table.forget("z9hG4bKus", Method::Invite);
        table.forget("z9hG4bKus", Method::Cancel);
        assert_eq!((table.len(), table.poll_timeout()), ((0, 0), None));
    }

    #[test]
    fn a_transport_error_ends_the_requests_to_that_address() {
        for request in [bye(), invite()] {
            let (mut table, mut out) = (table(), Outbox::default());
            let method = request.method;
            table.request(CallId(3), request, Instant::ZERO, &mut out);
            assert_eq!(table.unreachable(flow("127.0.0.1:1")), []);
            let (branch, outcome) = ("z9hG4bKus".to_owned(), Outcome::Unreachable);
            assert_eq!(table.unreachable(home()), [Unanswered { owner: CallId(3), method, branch, outcome }]);
            assert_eq!((table.len(), table.poll_timeout()), ((0, 0), None));
        }
    }
}
