//! What leaves in a slot: the agent's packet and our reports, and what the call tells of them.

use super::capture::Record;
use super::messages::CallEvent;
use super::wire::{Measure, Wire};
use super::{Call, doctor, egress};
use crate::rtp::rtcp;
use crate::rtp::srtp::TRAILER_LEN_MAX;
use crate::time::Instant;
use crate::turn;

impl Call {
    /// Sends what is due: at most one RTP packet, and RTCP where its interval has passed.
    pub(super) fn send(&mut self, now: Instant, wire: &mut impl Wire) {
        if let Some(sent) = self.egress.poll_packet(now, &mut self.playout, &mut self.packet) {
            self.overhear(&sent, now);
            let gone = self.hand_over(sent.len, now, wire);
            wire.measure(Measure::PacingError, sent.late);
            self.watch_speech(&sent, gone, now);
            self.tell_of_packet(&sent, gone, now);
        }
        if self.egress.rtcp_due(now) {
            let report = self.ingress.report(now);
            let mut bytes = [0; rtcp::SENT_LEN_MAX + TRAILER_LEN_MAX];
            if let Some(len) = self.egress.poll_rtcp(now, report, &mut bytes) {
                self.send_rtcp(&mut bytes, len, wire);
            }
        }
    }

    /// Lets those have the packet at hand who are to know what the caller hears. That is what the caller can read, so that they have
    /// it before it is protected.
    fn overhear(&mut self, sent: &egress::Sent, now: Instant) {
        let pcm = self.egress.pcm();
        self.echo.sent(pcm);
        if sent.is_audio() {
            self.tap.agent(self.packet.get(..sent.len).unwrap_or_default());
        } else {
            self.tap.keys(usize::from(sent.keys.samples));
        }
        self.recording.agent(sent.timestamp, sent.is_audio().then_some(pcm), now);
    }

    /// Protects the packet at hand, the first `len` bytes of the buffer, and gives it to the kernel. Returns when it went.
    fn hand_over(&mut self, len: usize, now: Instant, wire: &mut impl Wire) -> Option<Instant> {
        let to = self.ingress.destination();
        self.links.capture.packet(false, to, self.packet.get(..len).unwrap_or_default());
        let protected = self.protection.protect(false, &mut self.packet, len);
        let bytes = protected.and_then(|len| self.packet.get(..len));
        let gone = to.zip(bytes).and_then(|(to, bytes)| wire.send(false, to, bytes));
        self.links.capture.push(Record::Gone { at: gone });
        self.doctor.handle_input(doctor::Input::Sent { to, gone: gone.is_some() }, now);
        gone
    }

    /// Notes what of a turn has left, and says so where speech is under way and none does.
    fn watch_speech(&mut self, sent: &egress::Sent, gone: Option<Instant>, now: Instant) {
        let speech = sent.taken.turn.filter(|_| sent.taken.samples > 0);
        if let Some(at) = gone {
            let speech = speech.map(|turn| (turn, self.playout.heard(turn)));
            self.arrivals.sent(sent.sequence, speech, at);
        }
        let flows = speech.is_some() && gone.is_some();
        let owed = self.playout.under_way().filter(|_| !flows && !self.playout.is_paused());
        if let Some(turn) = self.stall.slot(owed, now) {
            let samples = u64::from(self.playout.heard(turn));
            self.links.event(CallEvent::Stalled { turn, samples });
        }
    }

    /// Tells the conductor and the floor what began and what ended with a packet, which is `gone` unless it could not be sent.
    fn tell_of_packet(&mut self, sent: &egress::Sent, gone: Option<Instant>, now: Instant) {
        let at = gone.unwrap_or(now);
        let speaking = sent.taken.samples > 0 && gone.is_some();
        if speaking && sent.taken.turn.is_none() {
            self.filler_samples += u64::from(sent.taken.samples);
        }
        if std::mem::replace(&mut self.agent_speaks, speaking) != speaking {
            self.links.event(CallEvent::AgentSpeech { speaking, at });
        }
        if let (true, Some(turn)) = (sent.taken.first, sent.taken.turn) {
            self.floor.handle_input(turn::Input::Playing { turn }, now);
            self.links.event(CallEvent::FirstPacket { turn, at });
        }
        if sent.keys.done {
            self.links.event(CallEvent::Pressed);
        }
        if let Some(finished) = sent.taken.finished {
            self.floor.handle_input(turn::Input::Played { turn: finished.turn }, now);
            self.links.event(CallEvent::Played { turn: finished.turn, samples: u64::from(finished.heard) });
            self.over(finished.turn, finished.heard);
        }
        self.obey_floor(now);
    }

    /// Sends the report that is the first `len` bytes of `buffer`.
    fn send_rtcp(&mut self, buffer: &mut [u8], len: usize, wire: &mut impl Wire) {
        let to = self.ingress.rtcp_destination();
        self.links.capture.packet(true, to, buffer.get(..len).unwrap_or_default());
        let Some(len) = self.protection.protect(true, buffer, len) else { return };
        if let (Some(to), Some(bytes)) = (to, buffer.get(..len)) {
            wire.send(!self.ingress.rtcp_mux(), to, bytes);
        }
    }

    /// Says goodbye to the peer's RTCP for our SSRC.
    pub(super) fn say_bye(&mut self, now: Instant, wire: &mut impl Wire) {
        let report = self.ingress.report(now);
        let mut bytes = [0; rtcp::SENT_LEN_MAX + TRAILER_LEN_MAX];
        let len = self.egress.bye(now, report, &mut bytes);
        self.send_rtcp(&mut bytes, len, wire);
    }
}
