//! What is agreed upon with a call's peer, and how that changes: offers and answers, transfers, and who takes a call over.

use super::Net;
use crate::call::lifecycle;
use crate::config::LogLevel;
use crate::engine::conductor::Event;
use crate::engine::media::WorkerOrder;
use crate::ids::CallId;
use crate::sdp::{Agreed, Keyring, Negotiation, RemoteAddress};
use crate::sip::flow::Transport;
use crate::sip::{Command, EndedBy, Refusal, Replacement};
use crate::time::Instant;
use std::net::{IpAddr, SocketAddr};

/// Answers an offer, or makes ours where there is none; what was agreed is known in the first case only.
pub(super) fn describe(
    negotiation: &mut Negotiation,
    offer: Option<&[u8]>,
) -> Result<(Vec<u8>, Option<Agreed>), Refusal> {
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
    /// Begins offer and answer with one peer of a call, which reaches us at `local`, with keys of its own.
    pub(super) fn negotiation(&mut self, local: IpAddr, port: u16) -> Negotiation {
        let session = self.parts.rng.u64(..1 << 62);
        let address = self.parts.config.sip.advertised_address.unwrap_or(local);
        let keyring = Keyring::new(self.parts.config.media.srtp, |key| getrandom::fill(key).is_ok());
        Negotiation::new(session, SocketAddr::new(address, port)).with_keyring(keyring)
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
    pub(super) fn agree(&mut self, id: CallId, agreed: Agreed, now: Instant) {
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

    /// Shows whether the call is encrypted, and says once where that is worth little.
    pub(super) fn secured(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let suite = call.negotiation.keys().map(|keys| keys.suite.name());
        self.parts.board.secured(id, suite);
        if suite.is_some() && call.transport != Transport::Tls && !std::mem::replace(&mut call.warned, true) {
            let text = format!("its SRTP keys came over {}, which anybody on the way can read", call.transport.name());
            self.parts.journal.line(LogLevel::Warn, Some(id), &text);
        }
    }

    /// Takes out what names a media port of our own: two agents would talk with each other, and nobody there would end it.
    /// What the caller itself sends is taken all the same.
    pub(super) fn not_to_ourselves(&mut self, mut agreed: Agreed, source: SocketAddr) -> Agreed {
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
}
