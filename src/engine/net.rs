//! The net thread: sockets and deadlines on one side; the user agent, each call's beginning and end, and the rings on the
//! other. It decodes nothing and blocks on nothing but its poll, so that the answer to an INVITE leaves in a moment.

mod calls;
mod changes;
mod setup;

use crate::call::TapFrame;
use crate::config::{Config, LogLevel};
use crate::engine::affinity::{self, Role};
use crate::engine::arrival::Arrivals;
use crate::engine::capture::Captures;
use crate::engine::clock::SystemClock;
use crate::engine::conductor::Event;
use crate::engine::datagrams::Datagrams;
use crate::engine::listeners::Listening;
use crate::engine::media::{Line, WorkerOrder};
use crate::engine::pcap::{Pcaps, Way};
use crate::engine::phrases::Phrases;
use crate::engine::ports::Ports;
use crate::engine::provider_threads::Cast;
use crate::engine::recorder::Recorder;
use crate::engine::rings::{DATAGRAM_MAX, Datagram};
use crate::engine::streams::Streams;
use crate::ids::CallId;
use crate::metrics::{Board, Counter, Field, Journal};
use crate::providers::webhook::Webhooks;
use crate::providers::{Bell, Listener};
use crate::sip::flow::Flow;
use crate::sip::framing::{Frame, PONG};
use crate::sip::{self, Command, EndedBy, UserAgent};
use crate::time::{Clock, Instant};
use calls::{Closing, NetCall};
use crossbeam_channel::{Receiver, Sender};
use mio::{Interest, Token};
use rtrb::{Consumer, Producer};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The SIP socket's token; a call's two media sockets have twice its number and the number after that.
const SIP_TOKEN: Token = Token(0);

/// Datagrams read from one socket before the others have their turn: a flood on one port delays nobody else.
const READS_PER_TURN: usize = 64;

/// Places in a call's ring that are kept from hosts that its signalling does not name: 0.3 s of RTP.
const STRANGERS_LEAVE: usize = 16;

/// Commands that wait for this thread: one per call and more.
const COMMANDS_MAX: usize = 1024;

/// How long a stop waits for the answers to its BYEs. A second is many round trips; who has not answered by then is gone.
const DRAIN_MAX: Duration = Duration::from_millis(1200);

/// Peers whose route is remembered.
const ROUTES_MAX: usize = 1024;

const RTP_RING_FULL: Counter =
    Counter { name: "rtp_ring_full", help: "Media datagrams dropped because their call's ring was full" };
const RTP_STRANGERS: Counter = Counter {
    name: "rtp_strangers_dropped",
    help: "Media datagrams from hosts that the signalling does not name, dropped since too many came",
};
const RTP_TOO_LONG: Counter =
    Counter { name: "rtp_too_long", help: "Media datagrams dropped because they were longer than any is" };
const SIP_PANICS: Counter =
    Counter { name: "sip_panics", help: "SIP messages whose handling panicked; each is a bug, and only it is lost" };
const SIP_SEND_ERRORS: Counter = Counter { name: "sip_send_errors", help: "SIP messages that the kernel did not take" };

/// What other threads want of net.
pub enum NetCommand {
    /// Hang up a call.
    HangUp { call: CallId, by: EndedBy, reason: String },
    /// Ask a call's peer to call this URI, and to leave us.
    Transfer { call: CallId, target: String },
    /// Have a call's agent say this.
    Say { call: CallId, text: String },
    /// Let somebody listen to a call.
    Listen { call: CallId, tap: Producer<TapFrame> },
    /// Keep a call's packets from here on.
    Pcap { call: CallId },
    /// End every call and then the thread.
    Stop,
}

/// How other threads reach net.
#[derive(Clone)]
pub struct NetHandle {
    commands: Sender<NetCommand>,
    bell: Bell,
}

impl NetHandle {
    /// Makes a handle and the end that net reads.
    #[must_use]
    pub fn new(bell: Bell) -> (Self, Receiver<NetCommand>) {
        let (commands, receiver) = crossbeam_channel::bounded(COMMANDS_MAX);
        (Self { commands, bell }, receiver)
    }

    /// Sends a command; the queue has room for every call to end at once.
    pub fn send(&self, command: NetCommand) {
        let _ = self.commands.try_send(command);
        self.bell.ring();
    }

    /// Returns the bell, for who has changed something that net looks at.
    #[must_use]
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }
}

/// A media worker, as net sees it.
pub struct WorkerLink {
    /// Orders to it.
    pub orders: Producer<WorkerOrder>,
    /// Calls that it has let go.
    pub retired: Consumer<Box<Line>>,
    /// Wakes it.
    pub bell: Bell,
    /// Calls on it.
    pub calls: usize,
    /// Whether something was put into its rings since it was last woken.
    pub fed: bool,
}

/// What the net thread is made of.
pub struct Parts {
    /// The settings.
    pub config: Arc<Config>,
    /// The clock.
    pub clock: Arc<SystemClock>,
    /// The bound SIP socket.
    pub socket: UdpSocket,
    /// Where it is bound.
    pub listen: SocketAddr,
    /// The bound TCP and TLS sockets.
    pub listeners: Vec<Listening>,
    /// Rung by everyone.
    pub listener: Listener,
    /// For the threads that this one starts.
    pub handle: NetHandle,
    /// What they send.
    pub commands: Receiver<NetCommand>,
    /// The media workers.
    pub workers: Vec<WorkerLink>,
    /// Who hears, thinks and speaks.
    pub cast: Cast,
    /// The kept phrases.
    pub phrases: Arc<Phrases>,
    /// The operator's tools.
    pub webhooks: Arc<Webhooks>,
    /// The table of calls.
    pub board: Arc<Board>,
    /// Log lines.
    pub journal: Journal,
    /// What is kept of calls.
    pub recorder: Recorder,
    /// Registrations that are valid, for the status.
    pub registrations: Arc<AtomicUsize>,
    /// Where calls are captured, if they are.
    pub captures: Option<Captures>,
    /// Seeded from the system: tags, ports and SSRCs must not be guessed.
    pub rng: fastrand::Rng,
}

/// The thread's state.
pub struct Net {
    parts: Parts,
    socket: Datagrams,
    streams: Streams,
    /// What a connection brought in this turn.
    frames: Vec<(Flow, Frame)>,
    agent: UserAgent,
    ports: Ports,
    calls: BTreeMap<CallId, NetCall>,
    /// Calls that are over, and with their workers still.
    closing: BTreeMap<CallId, Closing>,
    /// What is kept of packets.
    pcaps: Pcaps,
    /// Reads the calls' datagrams.
    arrivals: Arrivals,
    routes: BTreeMap<IpAddr, IpAddr>,
    unread: BTreeSet<Token>,
    orders: Vec<VecDeque<WorkerOrder>>,
    conductors: Vec<std::thread::JoinHandle<()>>,
    draining: Option<Instant>,
    /// The user agent's counters as the board has them.
    shown: sip::Counters,
}

impl Net {
    /// Sets the thread's state up; the caller has bound the socket.
    ///
    /// # Errors
    /// What the system says about the socket.
    pub fn new(mut parts: Parts) -> io::Result<Self> {
        let mut socket = Datagrams::new(parts.socket.try_clone()?)?;
        parts.listener.registry().register(socket.source(), SIP_TOKEN, Interest::READABLE)?;
        let listeners = std::mem::take(&mut parts.listeners);
        let streams = Streams::new(listeners, parts.listener.registry(), parts.board.clone())?;
        let product = concat!("Offhook/", env!("CARGO_PKG_VERSION"));
        let agent = UserAgent::new(&parts.config.sip, product, parts.rng.fork())
            .with_time_of_day(parts.clock.unix_time(Instant::ZERO));
        let ports = Ports::new(&parts.config.media.rtp_ports, parts.config.media.port_rest, parts.rng.fork());
        let pcaps = Pcaps::new(parts.recorder.clone(), parts.config.records.pcap);
        let orders = parts.workers.iter().map(|_| VecDeque::new()).collect();
        Ok(Self {
            parts,
            socket,
            streams,
            frames: Vec::new(),
            agent,
            ports,
            calls: BTreeMap::new(),
            closing: BTreeMap::new(),
            pcaps,
            arrivals: Arrivals::default(),
            routes: BTreeMap::new(),
            unread: BTreeSet::new(),
            orders,
            conductors: Vec::new(),
            draining: None,
            shown: sip::Counters::default(),
        })
    }

    /// Runs until [`NetCommand::Stop`] has been carried out.
    pub fn run(mut self) {
        let _ = affinity::settle(Role::Net);
        let mut ready: Vec<Token> = Vec::with_capacity(256);
        loop {
            let now = self.parts.clock.now();
            if self.do_work(now, &ready) {
                break;
            }
            let now = self.parts.clock.now();
            let timeout =
                if self.unread.is_empty() { self.poll_timeout().map(|at| at.since(now)) } else { Some(Duration::ZERO) };
            self.parts.listener.wait_for(timeout, &mut ready);
        }
        for conductor in self.conductors.drain(..) {
            // A conductor's panic has ended its call; there is nothing more to learn from it.
            let _ = conductor.join();
        }
    }

    /// Does all that is there to do; returns whether the thread is done.
    fn do_work(&mut self, now: Instant, ready: &[Token]) -> bool {
        self.take_retired(now);
        self.take_commands(now);
        let mut tokens = std::mem::take(&mut self.unread);
        tokens.extend(ready);
        for token in tokens {
            let more = match token {
                SIP_TOKEN => self.read_sip(now),
                token if Streams::owns(token) => self.read_stream(token, now),
                token => self.read_media(token, now),
            };
            if more {
                self.unread.insert(token);
            }
        }
        self.streams.handle_timeout(now, |connection| self.agent.needs(connection));
        self.take_gone(now);
        self.agent.handle_timeout(now);
        self.obey_user_agent(now);
        self.run_lifecycles(now);
        self.give_orders();
        if *self.agent.counters() != self.shown {
            self.shown.clone_from(self.agent.counters());
            self.parts.board.sip(&self.shown);
        }
        for worker in &mut self.parts.workers {
            if std::mem::take(&mut worker.fed) {
                worker.bell.ring();
            }
        }
        self.conductors.retain(|conductor| !conductor.is_finished());
        // The BYEs are sent again until they are answered, or for as long as a stop may take.
        let said_goodbye = self.agent.transactions().1 == 0;
        let is_over = self.calls.is_empty() && self.closing.is_empty() && said_goodbye;
        self.draining.is_some_and(|until| is_over || (self.calls.is_empty() && now >= until))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let lifecycles = self.calls.values().filter_map(|call| call.lifecycle.poll_timeout()).map(|due| due.at);
        let agent = self.agent.poll_timeout().map(|due| due.at);
        lifecycles.chain(agent).chain(self.streams.poll_timeout()).chain(self.draining).min()
    }

    fn read_sip(&mut self, now: Instant) -> bool {
        let mut bytes = [0; 1 << 16];
        for _ in 0..READS_PER_TURN {
            match self.socket.receive(&mut bytes) {
                Ok((len, source, local)) => {
                    let local = local.unwrap_or_else(|| self.local_for(source));
                    let local = SocketAddr::new(local, self.parts.listen.port());
                    let bytes = bytes.get(..len).unwrap_or_default();
                    self.received(Flow::udp(source, local), bytes, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An ICMP error of an earlier answer shows up here; the socket is as good as before.
                Err(_) => {}
            }
        }
        true
    }

    /// Hands a message to the user agent. A bug that the message runs into costs this message, not the thread.
    fn received(&mut self, flow: Flow, bytes: &[u8], now: Instant) {
        self.pcaps.message(Way::In, flow, bytes, self.parts.clock.now());
        let agent = &mut self.agent;
        let handled = catch_unwind(AssertUnwindSafe(|| agent.handle_input(sip::Input::Received { flow, bytes }, now)));
        if handled.is_err() {
            self.parts.board.count(SIP_PANICS, 1);
            self.parts.journal.line(LogLevel::Error, None, format_args!("a message from {} hit a bug", flow.peer));
        }
        self.obey_user_agent(now);
    }

    fn read_stream(&mut self, token: Token, now: Instant) -> bool {
        let mut frames = std::mem::take(&mut self.frames);
        let more = self.streams.handle_ready(token, now, &mut frames);
        for (flow, frame) in frames.drain(..) {
            match frame {
                Frame::Message(bytes) => {
                    self.received(flow, &bytes, now);
                }
                Frame::Ping => {
                    self.streams.send(flow, PONG, now);
                }
                Frame::Unframed(bytes) => {
                    self.received(flow, &bytes, now);
                    self.streams.reject(flow, now);
                }
                Frame::Alien => self.streams.reject(flow, now),
            }
        }
        self.frames = frames;
        self.take_gone(now);
        more
    }

    /// Tells the user agent which connections are gone.
    fn take_gone(&mut self, now: Instant) {
        while let Some(to) = self.streams.poll_gone() {
            self.agent.handle_input(sip::Input::Unreachable { to }, now);
            self.obey_user_agent(now);
        }
    }

    fn read_media(&mut self, token: Token, now: Instant) -> bool {
        let (id, rtcp) = (CallId(u32::try_from(token.0 / 2).unwrap_or(0)), token.0 % 2 == 1);
        let Some(call) = self.calls.get_mut(&id) else { return false };
        let mut caller_is_there = false;
        let mut more = true;
        for _ in 0..READS_PER_TURN {
            let mut bytes = [0; DATAGRAM_MAX];
            match self.arrivals.receive(&call.sockets[usize::from(rtcp)], &mut bytes, &*self.parts.clock) {
                // One that fills the buffer was longer: what is left of it is no packet.
                Ok((DATAGRAM_MAX, ..)) => self.parts.board.count(RTP_TOO_LONG, 1),
                Ok((len, source, arrived)) => {
                    caller_is_there |= source.ip() == call.source.ip();
                    self.pcaps.datagram(id, rtcp, source, arrived, bytes.get(..len).unwrap_or_default());
                    let len = u16::try_from(len).unwrap_or(0);
                    // A flood of strangers leaves room for the peer.
                    if call.packets.slots() <= STRANGERS_LEAVE && !call.is_plausible(source.ip()) {
                        self.parts.board.count(RTP_STRANGERS, 1);
                        continue;
                    }
                    if call.packets.push(Datagram { rtcp, source, arrived, len, bytes }).is_err() {
                        self.parts.board.count(RTP_RING_FULL, 1);
                    }
                    self.parts.workers[call.worker].fed = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    more = false;
                    break;
                }
                Err(_) => {}
            }
        }
        if caller_is_there && call.waiting.is_some() {
            self.seat(id, now);
        }
        more
    }

    /// Returns the address of ours that `peer` reaches us by: where we listen on all, the one that routes to it.
    fn local_for(&mut self, peer: SocketAddr) -> IpAddr {
        let bound = self.parts.listen.ip();
        if !bound.is_unspecified() {
            return bound;
        }
        if let Some(local) = self.routes.get(&peer.ip()) {
            return *local;
        }
        let local = route_to(peer).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        if self.routes.len() >= ROUTES_MAX {
            self.routes.clear();
        }
        self.routes.insert(peer.ip(), local);
        local
    }

    /// Returns the address to send from: the one that the peer has asked, unless what it is told is another one.
    fn sent_from(&self, to: Flow) -> Option<IpAddr> {
        self.parts.config.sip.advertised_address.is_none().then(|| to.local.ip())
    }

    fn obey_user_agent(&mut self, now: Instant) {
        while let Some(output) = self.agent.poll_output() {
            match output {
                sip::Output::Transmit { to, bytes } => {
                    self.pcaps.message(Way::Out, to, &bytes, self.parts.clock.now());
                    // What the kernel does not take is lost like a datagram on the way: the timers send it again.
                    if to.transport.is_reliable() {
                        if !self.streams.send(to, &bytes, now) {
                            self.parts.board.count(SIP_SEND_ERRORS, 1);
                            self.agent.handle_input(sip::Input::Unreachable { to }, now);
                        }
                    } else if let Err(error) = self.socket.send(&bytes, to.peer, self.sent_from(to)) {
                        self.parts.board.count(SIP_SEND_ERRORS, 1);
                        if error.kind() != io::ErrorKind::WouldBlock {
                            self.agent.handle_input(sip::Input::Unreachable { to }, now);
                        }
                    }
                }
                sip::Output::Event(event) => self.event(event, now),
            }
        }
    }

    fn event(&mut self, event: sip::Event, now: Instant) {
        match event {
            sip::Event::Invited(invitation) => self.invited(&invitation, now),
            sip::Event::Confirmed { call, answer } => self.confirmed(call, answer.as_deref(), now),
            sip::Event::Reoffered { call, offer } => self.reoffered(call, offer.as_deref(), now),
            sip::Event::Reanswered { call, answer } => self.reanswered(call, &answer, now),
            sip::Event::Referred { call, target, local } => self.referred(call, &target, local, now),
            sip::Event::Transferred { call, answer, peer, source } => {
                self.transferred(call, &answer, &peer, source, now);
            }
            sip::Event::ReferralFailed { call, status } => self.referral_failed(call, status),
            sip::Event::ReferralDeclined { call, target } => {
                let why = "it is neither registered here nor in sip.transfer_to";
                self.log(Some(call), &format!("no transfer to {target}: {why}"));
            }
            sip::Event::Replacing(replacement) => self.replacing(&replacement, now),
            // The engine places no calls and registers nowhere; `phone` does.
            sip::Event::Placed { .. }
            | sip::Event::Progress { .. }
            | sip::Event::Answered { .. }
            | sip::Event::RegisterAnswered { .. } => {}
            sip::Event::TransferProgress { call, status } => {
                self.log(Some(call), &format!("the transfer we asked for: {status}"));
                if let Some(call) = self.calls.get(&call) {
                    call.conductor.send(Event::Transfer(status));
                }
            }
            sip::Event::Digit { call, digit, .. } => {
                if let Some(call) = self.calls.get(&call) {
                    call.conductor.send(Event::Digit(digit));
                }
            }
            sip::Event::Ended { call, by, reason } => self.ended(call, by, &reason, now),
            sip::Event::Registered { aor, source, expires_s, .. } => {
                self.log(None, &format!("{} registered from {source} for {expires_s} s", Field(&aor)));
            }
            sip::Event::Distrusted { source, user, count } => {
                let text = format_args!("{source} gave a wrong user name or password for {user:?}, {count} in a row");
                self.parts.journal.line(LogLevel::Warn, None, text);
            }
            sip::Event::NotServed { source, count } => {
                let text = format_args!(
                    "{count} from public addresses were not answered, the last was {source}: without [[sip.accounts]] \
                     only this machine and private networks are served"
                );
                self.parts.journal.line(LogLevel::Warn, None, text);
            }
            sip::Event::Unregistered { aor } => self.log(None, &format!("{} is not registered any more", Field(&aor))),
        }
        self.parts.registrations.store(self.agent.bindings().count(), Ordering::Relaxed);
    }

    fn command(&mut self, command: Command, now: Instant) {
        self.agent.handle_input(sip::Input::Command(command), now);
    }

    fn take_commands(&mut self, now: Instant) {
        while let Ok(command) = self.parts.commands.try_recv() {
            match command {
                NetCommand::HangUp { call, by, reason } => self.hang_up(call, by, &reason, now),
                NetCommand::Transfer { call, target } => self.command(Command::Transfer { call, target }, now),
                NetCommand::Say { call, text } => {
                    if let Some(call) = self.calls.get(&call) {
                        call.conductor.send(Event::Say(text));
                    }
                }
                NetCommand::Listen { call, tap } => {
                    if let Some(at) = self.calls.get(&call).map(|call| call.worker) {
                        self.orders[at].push_back(WorkerOrder::Tap(call, tap));
                    }
                }
                NetCommand::Pcap { call } => {
                    self.pcaps.begin(call, now);
                    self.copy_egress(call);
                }
                NetCommand::Stop => {
                    self.draining.get_or_insert(now + DRAIN_MAX);
                    self.command(Command::Drain, now);
                    let ids: Vec<CallId> = self.calls.keys().copied().collect();
                    for id in ids {
                        self.hang_up(id, EndedBy::Engine, "the bridge is stopping", now);
                    }
                }
            }
            self.obey_user_agent(now);
        }
    }

    fn give_orders(&mut self) {
        for (worker, orders) in self.parts.workers.iter_mut().zip(&mut self.orders) {
            worker.fed |= !orders.is_empty();
            while let Some(order) = orders.pop_front() {
                if let Err(rtrb::PushError::Full(order)) = worker.orders.push(order) {
                    orders.push_front(order);
                    break;
                }
            }
        }
    }

    fn log(&self, call: Option<CallId>, text: &str) {
        self.parts.journal.line(LogLevel::Info, call, text);
    }
}

/// Returns the address that the system would send from to reach `peer`; asks the routing table only, sends nothing.
fn route_to(mut peer: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let probe = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    // The discard port (RFC 863): connecting a UDP socket sends nothing.
    peer.set_port(9);
    probe.connect(peer).ok()?;
    probe.local_addr().ok().map(|local| local.ip()).filter(|ip| !ip.is_unspecified())
}
