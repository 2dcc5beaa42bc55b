//! A call's beginning, changes and end, as the net thread sees them: ports, sockets, rings and threads around the user agent.

use super::Net;
use crate::agent::{Agent, Phrase};
use crate::call::capture::{Begin, Capture, Record};
use crate::call::lifecycle::{self, Lifecycle};
use crate::call::meter::Meter;
use crate::call::{Call, Rings, Setup};
use crate::capture::media::cname;
use crate::config::LogLevel;
use crate::engine::affinity::{self, Role};
use crate::engine::arrival;
use crate::engine::capture;
use crate::engine::conductor::{self, Conductor, Event, Handle};
use crate::engine::kept::Kept;
use crate::engine::media::{Line, WorkerOrder};
use crate::engine::provider_threads::{Cast, Crew, Ends};
use crate::engine::rings::{self, Datagram};
use crate::engine::tool_threads::ToolThreads;
use crate::ids::CallId;
use crate::metrics::{Field, Invited, ProviderNames};
use crate::providers::{Bell, Listener, Stop};
use crate::rtp::latch;
use crate::sdp::{Agreed, Encoding, Keyring, Negotiation, RemoteAddress};
use crate::sip::flow::Transport;
use crate::sip::{Command, EndedBy, Invitation, Refusal, Replacement};
use crate::time::Instant;
use mio::{Interest, Token};
use rtrb::{Consumer, Producer};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

/// Pairs of ports tried for a call: any port of the range may belong to another program, which shows only when it is
/// tried.
const PORTS_TRIED_MAX: usize = 16;

/// How long a call's canonical name is: 17 characters of 62 are 101 bits.
const CNAME_CHARACTERS: usize = 17;

/// A call, as net sees it.
pub(super) struct NetCall {
    pub(super) lifecycle: Lifecycle,
    negotiation: Negotiation,
    answer: Vec<u8>,
    agreed: Option<Agreed>,
    /// Whether an offer of ours waits for its answer, in the ACK.
    offered: bool,
    /// Our side of a transfer whose target has not answered.
    referral: Option<Negotiation>,
    pub(super) source: SocketAddr,
    transport: Transport,
    /// Whether the log says already that its keys can be read on the way.
    warned: bool,
    pub(super) port: u16,
    pub(super) sockets: [mio::net::UdpSocket; 2],
    pub(super) packets: Producer<Datagram>,
    pub(super) worker: usize,
    pub(super) conductor: Handle,
    /// The conductor and its providers, who cost money, until somebody is there to be heard.
    pub(super) waiting: Option<Box<Waiting>>,
    /// The media side, until the worker takes it over.
    idle: Option<Idle>,
    /// Whether its worker has let it go already: its work panicked.
    pub(super) let_go: bool,
    ended_by: Option<(EndedBy, String)>,
}

/// How a call ended that its worker has yet to let go; the table is told with the worker's last count.
pub(super) struct Closing {
    pub(super) by: EndedBy,
    pub(super) reason: String,
    pub(super) at: Instant,
}

impl NetCall {
    /// Whether the signalling names this host. The latch decides what it may say.
    pub(super) fn is_plausible(&self, ip: IpAddr) -> bool {
        let described = self.agreed.and_then(|agreed| agreed.remote.known()).map(|address| address.ip());
        let ip = ip.to_canonical();
        ip == self.source.ip().to_canonical() || described.is_some_and(|described| described.to_canonical() == ip)
    }
}

/// What becomes a conductor and its crew once the caller has shown to be there: by an ACK, or by media from its address. An
/// INVITE alone can come from anybody, in anybody's name.
pub(super) struct Waiting {
    seat: conductor::Seat,
    ends: Ends,
    capture: Option<capture::Pending>,
}

/// What becomes a [`Line`] once the call is answered.
struct Idle {
    rings: Rings,
    packets: Consumer<Datagram>,
    sockets: [Arc<UdpSocket>; 2],
    ears: Bell,
    conductor: Bell,
    capture: Option<Capture>,
}

/// Answers an offer, or makes ours where there is none; what was agreed is known in the first case only.
fn describe(negotiation: &mut Negotiation, offer: Option<&[u8]>) -> Result<(Vec<u8>, Option<Agreed>), Refusal> {
    let Some(offer) = offer else { return Ok((negotiation.offer(), None)) };
    match negotiation.answer(offer) {
        Ok((answer, agreed)) => Ok((answer, Some(agreed))),
        Err(error) => {
            let warning = Some(error.warning());
            Err(Refusal { status: error.status(), warning, retry_after_s: None })
        }
    }
}

impl Net {
    pub(super) fn invited(&mut self, invitation: &Invitation, now: Instant) {
        match self.admit(invitation, now) {
            Ok(call) => {
                self.calls.insert(invitation.call, call);
                self.log(
                    Some(invitation.call),
                    &format!("{} calls {}", Field(&invitation.from), Field(&invitation.to)),
                );
                self.run_lifecycle(invitation.call, now);
            }
            Err(refusal) => {
                self.parts.board.refused();
                self.log(
                    Some(invitation.call),
                    &format!("{} is refused with {}", Field(&invitation.from), refusal.status),
                );
                self.command(Command::Refuse { call: invitation.call, refusal }, now);
            }
        }
    }

    /// Takes a call in: its description is answered before anything is allocated for it.
    fn admit(&mut self, invitation: &Invitation, now: Instant) -> Result<NetCall, Refusal> {
        let unavailable = || Refusal { status: 503, warning: None, retry_after_s: Some(5) };
        for left in (0..PORTS_TRIED_MAX).rev() {
            let port = self.ports.take(now).ok_or_else(unavailable)?;
            let mut negotiation = self.negotiation(invitation.local, port);
            let (answer, agreed) = describe(&mut negotiation, invitation.offer.as_deref()).inspect_err(|_| {
                self.ports.give_back(port, now);
            })?;
            match self.connect(invitation, port, negotiation, answer, agreed, now) {
                Ok(call) => return Ok(call),
                Err(error) => {
                    self.ports.give_back(port, now);
                    if error.kind() != io::ErrorKind::AddrInUse || left == 0 {
                        self.log(Some(invitation.call), &format!("the call cannot be set up: {error}"));
                        break;
                    }
                }
            }
        }
        Err(unavailable())
    }

    /// Begins offer and answer with one peer of a call, which reaches us at `local`, with keys of its own.
    fn negotiation(&mut self, local: IpAddr, port: u16) -> Negotiation {
        let session = self.parts.rng.u64(..1 << 62);
        let address = self.parts.config.sip.advertised_address.unwrap_or(local);
        let keyring = Keyring::new(self.parts.config.media.srtp, |key| getrandom::fill(key).is_ok());
        Negotiation::new(session, SocketAddr::new(address, port)).with_keyring(keyring)
    }

    /// Opens the call's sockets and lays its rings; its threads start when the caller is there.
    fn connect(
        &mut self,
        invitation: &Invitation,
        port: u16,
        negotiation: Negotiation,
        answer: Vec<u8>,
        agreed: Option<Agreed>,
        now: Instant,
    ) -> io::Result<NetCall> {
        let id = invitation.call;
        let (sockets, polled) = self.open_pair(id, invitation.local, port)?;
        let worker = (0..self.parts.workers.len()).min_by_key(|at| self.parts.workers[*at].calls).unwrap_or(0);
        let agreed = agreed.map(|agreed| self.not_to_ourselves(agreed, invitation.source));
        let (packets, packets_out) = rings::packets();
        let (rings, far) = rings::of_a_call();
        let (conductor_bell, listener) = Listener::new()?;
        let (ears_bell, ears_listener) = Listener::new()?;
        let (sender, receiver) = crossbeam_channel::bounded(conductor::EVENTS_MAX);
        let handle = Handle { events: sender.clone(), bell: conductor_bell.clone(), stop: Stop::default() };
        let media_bell = self.parts.workers[worker].bell.clone();
        let ends = Ends {
            call: id,
            frames: far.ears,
            ears: (ears_bell.clone(), ears_listener),
            speech: far.voice,
            media: media_bell.clone(),
            events: sender,
            conductor: conductor_bell.clone(),
            stop: handle.stop.clone(),
            clock: self.parts.clock.clone(),
        };
        self.board_row(invitation, port);
        self.parts.recorder.invited(id, now);
        self.pcaps.invited(id, &invitation.call_id, SocketAddr::new(invitation.local, port), now);
        let (media_log, agent_log, pending) = self.begin_capture(invitation);
        let seat = conductor::Seat {
            call: id,
            agent: Agent::new(&self.parts.config.agent),
            commands: far.commands,
            kept: Kept::new(far.kept, media_bell.clone()),
            media: far.events,
            media_bell,
            events: receiver,
            listener,
            stop: handle.stop.clone(),
            phrases: self.parts.phrases.clone(),
            tools: self.tools(id, &handle),
            board: self.parts.board.clone(),
            journal: self.parts.journal.clone(),
            recorder: self.parts.recorder.clone(),
            net: self.parts.handle.clone(),
            clock: self.parts.clock.clone(),
            capture: agent_log,
        };
        self.parts.workers[worker].calls += 1;
        Ok(NetCall {
            lifecycle: Lifecycle::new(self.parts.phrases.settled(Phrase::Greeting), now),
            negotiation,
            answer,
            agreed,
            offered: agreed.is_none(),
            referral: None,
            source: invitation.source,
            transport: invitation.transport,
            warned: false,
            port,
            sockets: polled,
            packets,
            worker,
            conductor: handle,
            waiting: Some(Box::new(Waiting { seat, ends, capture: pending })),
            idle: Some(Idle {
                rings,
                packets: packets_out,
                sockets: sockets.map(Arc::new),
                ears: ears_bell,
                conductor: conductor_bell,
                capture: media_log,
            }),
            let_go: false,
            ended_by: None,
        })
    }

    /// Begins the capture of a call, where captures are made: what the media path and the agent write into, and its thread.
    fn begin_capture(
        &self,
        Invitation { call, call_id, from, to, .. }: &Invitation,
    ) -> (Option<Capture>, capture::AgentLog, Option<capture::Pending>) {
        let Some(captures) = &self.parts.captures else { return (None, capture::AgentLog::default(), None) };
        let capture::Ends { media, agent, pending } = captures.begin(*call, call_id, from, to);
        (Some(media), agent, Some(pending))
    }

    /// Makes the operator's tools for a call, whose conductor `handle` reaches.
    fn tools(&self, call: CallId, handle: &Handle) -> ToolThreads {
        let parts = &self.parts;
        let (board, journal) = (parts.board.clone(), parts.journal.clone());
        ToolThreads::new(call, parts.webhooks.clone(), handle.clone(), parts.clock.clone(), board, journal)
    }

    /// The caller is there: its conductor starts, which starts the provider threads.
    pub(super) fn seat(&mut self, id: CallId, now: Instant) {
        let Some(mut waiting) = self.calls.get_mut(&id).and_then(|call| call.waiting.take()) else { return };
        match waiting.capture.take().map(capture::Pending::start) {
            Some(Ok(thread)) => self.conductors.push(thread),
            Some(Err(error)) => self.log(Some(id), &format!("no capture: {error}")),
            None => {}
        }
        let cast = self.parts.cast.clone();
        let body = move || {
            let Waiting { seat, ends, .. } = *waiting;
            let _ = affinity::settle(Role::Session);
            match Crew::start(&cast, ends) {
                Ok(crew) => Conductor::new(seat, crew).run(),
                Err(error) => seat.give_up(&error),
            }
        };
        match std::thread::Builder::new().name(format!("conductor-{}", id.0)).spawn(body) {
            Ok(thread) => {
                self.conductors.push(thread);
                self.parts.board.agent_up(id, true);
            }
            Err(error) => {
                self.log(Some(id), &format!("no thread for the call: {error}"));
                self.hang_up(id, EndedBy::Engine, "no threads for the call", now);
            }
        }
    }

    fn board_row(&self, invitation: &Invitation, rtp_port: u16) {
        let Cast { ears, mind, voice } = &self.parts.cast;
        let row = Invited {
            call: invitation.call,
            call_id: &invitation.call_id,
            from: &invitation.from,
            to: &invitation.to,
            source: invitation.source,
            rtp_port,
            providers: ProviderNames { stt: ears.name(), llm: mind.name(), tts: voice.name() },
        };
        self.parts.board.invited(&row);
    }

    /// Opens a call's sockets for RTP, at `port`, and for RTCP, at the next: to send by, and the same to be polled.
    fn open_pair(
        &self,
        id: CallId,
        local: IpAddr,
        port: u16,
    ) -> io::Result<([UdpSocket; 2], [mio::net::UdpSocket; 2])> {
        let sockets = [self.open(local, port)?, self.open(local, port + 1)?];
        let [rtp, rtcp] = &sockets;
        let mut polled = [rtp.try_clone()?, rtcp.try_clone()?].map(mio::net::UdpSocket::from_std);
        for (at, socket) in polled.iter_mut().enumerate() {
            self.parts.listener.registry().register(socket, Token(2 * id.0 as usize + at), Interest::READABLE)?;
        }
        Ok((sockets, polled))
    }

    /// Opens a media socket, on the address that SIP is served on. Where that is all of them, all of the family that the
    /// caller uses: IPv4 media do not go through an IPv6 socket.
    fn open(&self, local: IpAddr, port: u16) -> io::Result<UdpSocket> {
        let address = match self.parts.listen.ip() {
            all if all.is_unspecified() && local.is_ipv4() => Ipv4Addr::UNSPECIFIED.into(),
            address => address,
        };
        let socket = UdpSocket::bind(SocketAddr::new(address, port))?;
        socket.set_nonblocking(true)?;
        // Without the kernel's times, arrival is when it is read.
        let _ = arrival::ask(&socket);
        Ok(socket)
    }

    pub(super) fn run_lifecycles(&mut self, now: Instant) {
        let ready = self.parts.phrases.settled(Phrase::Greeting);
        let ids: Vec<CallId> = self.calls.keys().copied().collect();
        for id in ids {
            if let Some(call) = self.calls.get_mut(&id) {
                if ready {
                    call.lifecycle.handle_input(lifecycle::Input::GreetingReady, now);
                }
                call.lifecycle.handle_timeout(now);
            }
            self.run_lifecycle(id, now);
        }
    }

    fn run_lifecycle(&mut self, id: CallId, now: Instant) {
        while let Some(call) = self.calls.get_mut(&id) {
            match call.lifecycle.poll_output() {
                Some(lifecycle::Output::Ring) => self.command(Command::Ring { call: id }, now),
                Some(lifecycle::Output::Answer) => {
                    let sdp = call.answer.clone();
                    self.command(Command::Answer { call: id, sdp }, now);
                    self.obey_user_agent(now);
                    self.begin_media(id, now);
                }
                Some(lifecycle::Output::Greet) => call.conductor.send(Event::Answered),
                None => return,
            }
        }
    }

    /// Hands the call to its worker, once it is answered and both descriptions are known.
    fn begin_media(&mut self, id: CallId, now: Instant) {
        let Some(peer) = self.calls.get(&id).map(|call| call.source) else { return };
        let own_sip = Some(SocketAddr::new(self.local_for(peer), self.parts.listen.port()));
        let guard = latch::Settings { policy: self.parts.config.media.latch, own_sip };
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(agreed) = call.agreed else { return };
        let Some(idle) = call.idle.take() else { return };
        // One for each call, so that calls cannot be told to be one agent's (RFC 7022 §4.2: at least 96 bits, by chance).
        let name: String = std::iter::repeat_with(|| self.parts.rng.alphanumeric()).take(CNAME_CHARACTERS).collect();
        let setup = Setup {
            id,
            agreed: &agreed,
            signalling: peer.ip(),
            guard,
            port: call.port,
            ntp_at_zero: self.parts.clock.ntp_at_zero(),
            cname: &name,
            silence_max: self.parts.config.media.silence_max,
            rings: idle.rings,
        };
        let [rtp, rtcp] = idle.sockets;
        // A generator of the call's own, so that its seed is all that a replay has to know of chance.
        let seed = self.parts.rng.u64(..);
        let begin = Record::Begin(Begin {
            now,
            agreed,
            signalling: setup.signalling,
            guard,
            port: setup.port,
            ntp_at_zero: setup.ntp_at_zero,
            cname: cname(setup.cname),
            silence_max: setup.silence_max,
            seed,
        });
        let mut media = Call::new(setup, now, &mut fastrand::Rng::with_seed(seed));
        if let Some(mut capture) = idle.capture {
            capture.push(begin);
            media.set_capture(capture);
        }
        media.set_keys(call.negotiation.keys(), now);
        media.record(self.parts.recorder.answered(id, agreed.encoding == Encoding::G722, now));
        let meter = Arc::<Meter>::default();
        media.set_meter(meter.clone());
        self.parts.board.metered(id, meter);
        let line = Line {
            call: media,
            packets: idle.packets,
            rtp,
            rtcp,
            ears: idle.ears,
            conductor: idle.conductor,
            pcap: None,
            quality_due: now,
            failed: false,
        };
        self.orders[call.worker].push_back(WorkerOrder::Add(Box::new(line)));
        call.conductor.send(Event::Held(agreed.held));
        self.parts.board.answered(id, agreed.encoding.name(), now);
        self.secured(id);
        self.copy_egress(id);
    }

    /// Has the worker copy what the call sends, where that was asked for and has not begun.
    pub(super) fn copy_egress(&mut self, id: CallId) {
        if let Some(call) = self.calls.get(&id).filter(|call| call.idle.is_none())
            && let Some(packets) = self.pcaps.take_outgoing(id)
        {
            self.orders[call.worker].push_back(WorkerOrder::Pcap(id, packets));
        }
    }

    /// Shows whether the call is encrypted, and says once where that is worth little.
    fn secured(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let suite = call.negotiation.keys().map(|keys| keys.suite.name());
        self.parts.board.secured(id, suite);
        if suite.is_some() && call.transport != Transport::Tls && !std::mem::replace(&mut call.warned, true) {
            let text = format!("its SRTP keys came over {}, which anybody on the way can read", call.transport.name());
            self.parts.journal.line(LogLevel::Warn, Some(id), &text);
        }
    }

    pub(super) fn confirmed(&mut self, id: CallId, answer: Option<&[u8]>, now: Instant) {
        self.seat(id, now);
        let Some(call) = self.calls.get_mut(&id) else { return };
        if std::mem::take(&mut call.offered) {
            let answer = answer.unwrap_or_default();
            match call.negotiation.read_answer(answer) {
                Ok(agreed) => {
                    self.agree(id, agreed, now);
                    self.begin_media(id, now);
                }
                Err(_) if answer.is_empty() => {
                    self.hang_up(id, EndedBy::Engine, "the ACK has no answer to our offer", now);
                    return;
                }
                Err(error) => {
                    let reason = format!("the ACK's session description: {error}");
                    self.hang_up(id, EndedBy::Engine, &reason, now);
                    return;
                }
            }
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.lifecycle.handle_input(lifecycle::Input::Confirmed, now);
        }
        self.run_lifecycle(id, now);
    }

    pub(super) fn reoffered(&mut self, id: CallId, offer: Option<&[u8]>, now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let reply = match describe(&mut call.negotiation, offer) {
            Ok((sdp, agreed)) => {
                call.offered = agreed.is_none();
                if let Some(agreed) = agreed {
                    self.agree(id, agreed, now);
                }
                Command::AcceptReoffer { call: id, sdp: Some(sdp) }
            }
            Err(refusal) => Command::RefuseReoffer { call: id, refusal },
        };
        self.command(reply, now);
    }

    /// The peer's answer to our description as it stands; one that does not fit leaves the call as it was.
    pub(super) fn reanswered(&mut self, id: CallId, answer: &[u8], now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        match call.negotiation.read_answer(answer) {
            Ok(agreed) => self.agree(id, agreed, now),
            Err(error) => self.log(Some(id), &format!("the answer to the session's refresh: {error}")),
        }
    }

    /// The peer transfers the call: its target gets an offer of its own, for the same port and the same agent.
    pub(super) fn referred(&mut self, id: CallId, target: &str, local: IpAddr, now: Instant) {
        let Some(port) = self.calls.get(&id).map(|call| call.port) else { return };
        let mut negotiation = self.negotiation(local, port);
        let sdp = negotiation.offer();
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.referral = Some(negotiation);
        self.log(Some(id), &format!("is being transferred to {target}"));
        self.command(Command::FollowReferral { call: id, sdp }, now);
    }

    /// The target of a transfer has answered: the agent goes on talking, with another.
    pub(super) fn transferred(&mut self, id: CallId, answer: &[u8], peer: &str, source: SocketAddr, now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(mut negotiation) = call.referral.take() else { return };
        match negotiation.read_answer(answer) {
            Ok(agreed) => {
                call.negotiation = negotiation;
                call.offered = false;
                // A transfer goes by UDP only; see `sip/refer.rs`.
                self.new_peer(id, peer, source, Transport::Udp);
                self.log(Some(id), &format!("goes on with {peer}"));
                self.agree(id, agreed, now);
            }
            Err(error) => {
                let reason = format!("the transfer's target: {error}");
                self.hang_up(id, EndedBy::Engine, &reason, now);
            }
        }
    }

    pub(super) fn referral_failed(&mut self, id: CallId, status: u16) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.referral = None;
            self.log(Some(id), &format!("the transfer came to nothing: {status}"));
        }
    }

    /// Another peer wants to take the call over: it is answered as if it were the first.
    pub(super) fn replacing(&mut self, replacement: &Replacement, now: Instant) {
        let id = replacement.call;
        let Some(port) = self.calls.get(&id).map(|call| call.port) else { return };
        let mut negotiation = self.negotiation(replacement.local, port);
        let (sdp, agreed) = match describe(&mut negotiation, replacement.offer.as_deref()) {
            Ok(described) => described,
            Err(refusal) => return self.command(Command::RefuseReoffer { call: id, refusal }, now),
        };
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.negotiation = negotiation;
        call.offered = agreed.is_none();
        self.new_peer(id, &replacement.from, replacement.source, replacement.transport);
        self.log(Some(id), &format!("goes on with {}, who takes it over", replacement.from));
        if let Some(agreed) = agreed {
            self.agree(id, agreed, now);
        }
        self.command(Command::AcceptReoffer { call: id, sdp: Some(sdp) }, now);
    }

    /// The call goes on with another peer, which signals from elsewhere: who may send media goes by it.
    fn new_peer(&mut self, id: CallId, from: &str, source: SocketAddr, transport: Transport) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.source = source;
        call.transport = transport;
        call.warned = false;
        if call.idle.is_none() {
            self.orders[call.worker].push_back(WorkerOrder::Signalling(id, source.ip()));
        }
        self.parts.board.peer_changed(id, from, source);
    }

    /// Both descriptions are known, or have changed.
    fn agree(&mut self, id: CallId, agreed: Agreed, now: Instant) {
        let Some(source) = self.calls.get(&id).map(|call| call.source) else { return };
        let agreed = self.not_to_ourselves(agreed, source);
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.agreed = Some(agreed);
        if call.idle.is_none() {
            self.orders[call.worker].push_back(WorkerOrder::Secure(id, call.negotiation.keys().cloned()));
            self.orders[call.worker].push_back(WorkerOrder::Change(id, agreed));
            call.conductor.send(Event::Held(agreed.held));
            self.parts.board.answered(id, agreed.encoding.name(), now);
            self.secured(id);
        }
    }

    /// Takes out what names a media port of our own: two agents would talk with each other, and nobody there would end it.
    /// What the caller itself sends is taken all the same.
    fn not_to_ourselves(&mut self, mut agreed: Agreed, source: SocketAddr) -> Agreed {
        let local = self.local_for(source);
        for remote in [&mut agreed.remote, &mut agreed.remote_rtcp] {
            let ours = remote.known().is_some_and(|address| {
                let host = address.ip().to_canonical();
                (host.is_loopback() || host == local) && self.ports.is_in_use(address.port())
            });
            if ours {
                *remote = RemoteAddress::Learned { port: 0 };
            }
        }
        agreed
    }

    pub(super) fn hang_up(&mut self, id: CallId, by: EndedBy, reason: &str, now: Instant) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.ended_by.get_or_insert_with(|| (by, reason.to_owned()));
            self.command(Command::HangUp { call: id, reason: reason.to_owned() }, now);
            self.obey_user_agent(now);
        }
    }

    /// The call is over: its port rests, its worker lets it go, its threads end.
    pub(super) fn ended(&mut self, id: CallId, by: EndedBy, reason: &str, now: Instant) {
        let Some(mut call) = self.calls.remove(&id) else { return };
        // Who asked for the end is who ended it, also where the BYE is the engine's.
        let (by, reason) = call.ended_by.take().unwrap_or((by, reason.to_owned()));
        call.lifecycle.handle_input(lifecycle::Input::Ended, now);
        for socket in &mut call.sockets {
            // Closing the socket takes it out of the poll just as well, so that a failure does not matter.
            let _ = self.parts.listener.registry().deregister(socket);
        }
        self.ports.give_back(call.port, now);
        self.parts.workers[call.worker].calls -= 1;
        let has_media = call.idle.is_none() && !call.let_go;
        if has_media {
            self.orders[call.worker].push_back(WorkerOrder::Remove(id));
        }
        call.conductor.end();
        self.parts.recorder.ended(id, now);
        self.pcaps.ended(id, now);
        self.log(Some(id), &format!("ended by {}: {}", by.name(), Field(&reason)));
        let closing = Closing { by, reason, at: now };
        if has_media {
            self.closing.insert(id, closing);
        } else {
            self.tell_ended(id, &closing);
        }
    }

    /// Drops what the workers have let go, and tells how its call ended; a call whose work panicked is ended.
    pub(super) fn take_retired(&mut self, now: Instant) {
        for at in 0..self.parts.workers.len() {
            while let Ok(line) = self.parts.workers[at].retired.pop() {
                let id = line.call.id();
                if line.failed {
                    if let Some(call) = self.calls.get_mut(&id) {
                        call.let_go = true;
                    }
                    self.hang_up(id, EndedBy::Engine, "a fault in the media path", now);
                } else {
                    self.parts.board.quality(id, line.quality());
                }
                if let Some(closing) = self.closing.remove(&id) {
                    self.tell_ended(id, &closing);
                }
            }
        }
    }

    /// Tells the table how a call ended, with what its worker counted to its last packet.
    fn tell_ended(&self, id: CallId, closing: &Closing) {
        self.parts.board.ended(id, closing.by, &closing.reason, closing.at);
    }
}
