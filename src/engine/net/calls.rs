//! A call's beginning and end, as the net thread sees them.

use super::Net;
use super::changes::describe;
use super::setup::{Idle, Waiting};
use crate::agent::Phrase;
use crate::call::lifecycle::{self, Lifecycle};
use crate::engine::affinity::{self, Role};
use crate::engine::capture;
use crate::engine::conductor::{Conductor, Event, Handle};
use crate::engine::media::WorkerOrder;
use crate::engine::provider_threads::Crew;
use crate::engine::rings::Datagram;
use crate::ids::CallId;
use crate::metrics::Field;
use crate::sdp::{Agreed, Negotiation};
use crate::sip::flow::Transport;
use crate::sip::{Command, EndedBy, Invitation, Refusal};
use crate::time::Instant;
use rtrb::Producer;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Pairs of ports tried for a call: any port of the range may belong to another program, which shows only when it is
/// tried.
const PORTS_TRIED_MAX: usize = 16;

/// A call, as net sees it.
pub(super) struct NetCall {
    pub(super) lifecycle: Lifecycle,
    pub(super) negotiation: Negotiation,
    pub(super) answer: Vec<u8>,
    pub(super) agreed: Option<Agreed>,
    /// Whether an offer of ours waits for its answer, in the ACK.
    pub(super) offered: bool,
    /// Our side of a transfer whose target has not answered.
    pub(super) referral: Option<Negotiation>,
    pub(super) source: SocketAddr,
    pub(super) transport: Transport,
    /// Whether the log says already that its keys can be read on the way.
    pub(super) warned: bool,
    pub(super) port: u16,
    pub(super) sockets: [mio::net::UdpSocket; 2],
    pub(super) packets: Producer<Datagram>,
    pub(super) worker: usize,
    pub(super) conductor: Handle,
    /// The conductor and its providers, who cost money, until somebody is there to be heard.
    pub(super) waiting: Option<Box<Waiting>>,
    /// The media side, until the worker takes it over.
    pub(super) idle: Option<Idle>,
    /// Whether its worker has let it go already: its work panicked.
    pub(super) let_go: bool,
    pub(super) ended_by: Option<(EndedBy, String)>,
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

    pub(super) fn run_lifecycle(&mut self, id: CallId, now: Instant) {
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
