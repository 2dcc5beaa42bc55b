//! What a call is set up with: its sockets, its rings, and the places of its threads; and its media side once it is answered.

use super::calls::NetCall;
use super::{Net, Parts};
use crate::agent::{Agent, Phrase};
use crate::call::capture::{Begin, Capture, Record};
use crate::call::lifecycle::Lifecycle;
use crate::call::meter::Meter;
use crate::call::{Call, Rings, Setup};
use crate::capture::media::cname;
use crate::engine::arrival;
use crate::engine::capture;
use crate::engine::conductor::{self, Event, Handle};
use crate::engine::kept::Kept;
use crate::engine::media::{Line, WorkerOrder};
use crate::engine::provider_threads::{Cast, Ends};
use crate::engine::rings::{self, Datagram, FarEnds};
use crate::engine::tool_threads::ToolThreads;
use crate::ids::CallId;
use crate::metrics::{Invited, ProviderNames};
use crate::providers::{Bell, Listener, Stop};
use crate::rtp::latch;
use crate::sdp::{Agreed, Encoding, Negotiation};
use crate::sip::Invitation;
use crate::time::Instant;
use crossbeam_channel::Receiver;
use mio::{Interest, Token};
use rtrb::Consumer;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

/// How long a call's canonical name is: 17 characters of 62 are 101 bits.
const CNAME_CHARACTERS: usize = 17;

/// What becomes a conductor and its crew once the caller has shown to be there: by an ACK, or by media from its address. An
/// INVITE alone can come from anybody, in anybody's name.
pub(super) struct Waiting {
    pub(super) seat: conductor::Seat,
    pub(super) ends: Ends,
    pub(super) capture: Option<capture::Pending>,
}

/// What becomes a [`Line`] once the call is answered.
pub(super) struct Idle {
    rings: Rings,
    packets: Consumer<Datagram>,
    sockets: [Arc<UdpSocket>; 2],
    ears: Bell,
    conductor: Bell,
    capture: Option<Capture>,
}

/// What reaches the conductor and the ears.
struct Inbox {
    events: Receiver<Event>,
    listener: Listener,
    ears: (Bell, Listener),
}

impl Net {
    /// Opens the call's sockets and lays its rings; its threads start when the caller is there.
    pub(super) fn connect(
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
        let (conductor_bell, listener) = Listener::new()?;
        let ears = Listener::new()?;
        let (sender, events) = crossbeam_channel::bounded(conductor::EVENTS_MAX);
        let handle = Handle { events: sender, bell: conductor_bell, stop: Stop::default() };
        let (packets, packets_out) = rings::packets();
        let (rings, far) = rings::of_a_call();
        self.enter(invitation, port, now);
        let (media_log, agent_log, pending) = self.begin_capture(invitation);
        let idle = Idle {
            rings,
            packets: packets_out,
            sockets: sockets.map(Arc::new),
            ears: ears.0.clone(),
            conductor: handle.bell.clone(),
            capture: media_log,
        };
        let worker = (0..self.parts.workers.len()).min_by_key(|at| self.parts.workers[*at].calls).unwrap_or(0);
        let media = self.parts.workers[worker].bell.clone();
        let (seat, ends) = self.places(id, &handle, far, Inbox { events, listener, ears }, media, agent_log);
        let agreed = agreed.map(|agreed| self.not_to_ourselves(agreed, invitation.source));
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
            idle: Some(idle),
            let_go: false,
            ended_by: None,
        })
    }

    /// Sets the places of a call's conductor and of its providers' threads, where each finds what it works with; `media`: the bell of
    /// the call's worker.
    fn places(
        &self,
        call: CallId,
        handle: &Handle,
        far: FarEnds,
        Inbox { events, listener, ears }: Inbox,
        media: Bell,
        capture: capture::AgentLog,
    ) -> (conductor::Seat, Ends) {
        let parts = &self.parts;
        let ends = Ends {
            call,
            frames: far.ears,
            ears,
            speech: far.voice,
            media: media.clone(),
            events: handle.events.clone(),
            conductor: handle.bell.clone(),
            stop: handle.stop.clone(),
            clock: parts.clock.clone(),
        };
        let seat = conductor::Seat {
            call,
            agent: Agent::new(&parts.config.agent),
            commands: far.commands,
            kept: Kept::new(far.kept, media.clone()),
            media: far.events,
            media_bell: media,
            events,
            listener,
            stop: handle.stop.clone(),
            phrases: parts.phrases.clone(),
            tools: self.tools(call, handle),
            board: parts.board.clone(),
            journal: parts.journal.clone(),
            recorder: parts.recorder.clone(),
            net: parts.handle.clone(),
            clock: parts.clock.clone(),
            capture,
        };
        (seat, ends)
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

    /// Enters the call in the table, and in the books of who records it.
    fn enter(&mut self, invitation: &Invitation, rtp_port: u16, now: Instant) {
        let Invitation { call, call_id, from, to, source, local, .. } = invitation;
        let Cast { ears, mind, voice } = &self.parts.cast;
        self.parts.board.invited(&Invited {
            call: *call,
            call_id,
            from,
            to,
            source: *source,
            rtp_port,
            providers: ProviderNames { stt: ears.name(), llm: mind.name(), tts: voice.name() },
        });
        self.parts.recorder.invited(*call, now);
        self.pcaps.invited(*call, call_id, SocketAddr::new(*local, rtp_port), now);
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

    /// Hands the call to its worker, once it is answered and both descriptions are known.
    pub(super) fn begin_media(&mut self, id: CallId, now: Instant) {
        let Some(peer) = self.calls.get(&id).map(|call| call.source) else { return };
        let own_sip = Some(SocketAddr::new(self.local_for(peer), self.parts.listen.port()));
        let guard = latch::Settings { policy: self.parts.config.media.latch, own_sip };
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(agreed) = call.agreed else { return };
        let Some(idle) = call.idle.take() else { return };
        let line = make_line(&mut self.parts, id, call, idle, agreed, guard, now);
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
}

/// Makes the media side of a call that begins at `now`, as its worker takes it.
fn make_line(
    parts: &mut Parts,
    id: CallId,
    call: &NetCall,
    idle: Idle,
    agreed: Agreed,
    guard: latch::Settings,
    now: Instant,
) -> Line {
    // One for each call, so that calls cannot be told to be one agent's (RFC 7022 §4.2: at least 96 bits, by chance).
    let name: String = std::iter::repeat_with(|| parts.rng.alphanumeric()).take(CNAME_CHARACTERS).collect();
    let setup = Setup {
        id,
        agreed: &agreed,
        signalling: call.source.ip(),
        guard,
        port: call.port,
        ntp_at_zero: parts.clock.ntp_at_zero(),
        cname: &name,
        silence_max: parts.config.media.silence_max,
        rings: idle.rings,
    };
    let [rtp, rtcp] = idle.sockets;
    // A generator of the call's own, so that its seed is all that a replay has to know of chance.
    let seed = parts.rng.u64(..);
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
    media.record(parts.recorder.answered(id, agreed.encoding == Encoding::G722, now));
    let meter = Arc::<Meter>::default();
    media.set_meter(meter.clone());
    parts.board.metered(id, meter);
    Line {
        call: media,
        packets: idle.packets,
        rtp,
        rtcp,
        ears: idle.ears,
        conductor: idle.conductor,
        pcap: None,
        quality_due: now,
        failed: false,
    }
}
