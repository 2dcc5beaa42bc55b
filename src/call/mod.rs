//! One call: the machines wired, on the media path. A packet or a tick goes in, and everything that it causes stands here
//! in reading order.
//!
//! ```text
//! packet ─▶ Ingress ─▶ EarFrame ring ─▶ ears          conductor ─ CallCommand ring ─▶ Floor, Playout
//!             └─▶ Floor ─▶ pause, resume, cut ─▶ Playout ◀─ VoiceFrame ring ◀─ voice
//! tick   ─▶ Egress ◀─ Playout                         CallEvent ring ─▶ conductor
//! ```

mod arrival;
pub mod capture;
mod codec;
pub mod digits;
pub mod doctor;
mod ear;
pub mod echo;
pub mod egress;
mod fade;
pub mod filler;
pub mod finding;
mod frames;
mod grid;
pub mod ingress;
pub mod lifecycle;
mod links;
mod messages;
pub mod meter;
mod onset;
mod own_echo;
pub mod pauses;
pub mod playout;
pub mod protection;
mod readings;
pub mod recording;
mod refill;
mod reporter;
mod sending;
mod silence;
mod stall;
pub mod tap;
mod wire;

use crate::ids::{CallId, TurnId};
use crate::rtp::latch::Source;
use crate::rtp::packet::{self, Kind, Packet};
use crate::rtp::srtp::TRAILER_LEN_MAX;
use crate::rtp::{Discard, latch};
use crate::sdp::{Agreed, Keys};
use crate::time::Instant;
use crate::turn::{self, Floor};
use arrival::Arrivals;
use capture::{Capture, Edge, Record};
use doctor::Doctor;
use echo::Echo;
use egress::Egress;
use ingress::Ingress;
use links::Links;
use meter::Meter;
use onset::{Change, Onset};
use own_echo::OwnEcho;
use pauses::Pauses;
use playout::Playout;
use protection::{PLAIN_LEN, Protection, Unprotected};
use recording::{Recording, Side};
use rtrb::Producer;
use silence::Silence;
use stall::Stall;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tap::Tap;

pub use frames::{EarFrame, FRAME_8K, FRAME_16K, KeptFrame, TapFrame, VOICE_RATE, VoiceFrame};
pub use links::{Rings, Wakes};
pub use messages::{CallCommand, CallEvent, Heard};
pub use stall::STALL_MAX;
pub use wire::{Measure, Wire};

/// What a call is made of.
pub struct Setup<'a> {
    /// The engine's number for it.
    pub id: CallId,
    /// What the offer and answer agreed upon.
    pub agreed: &'a Agreed,
    /// Where the peer's signalling comes from.
    pub signalling: IpAddr,
    /// How the media port is guarded.
    pub guard: latch::Settings,
    /// Our RTP port.
    pub port: u16,
    /// NTP time (32.32 seconds since 1900) at [`Instant::ZERO`], for sender reports.
    pub ntp_at_zero: u64,
    /// The name in our SDES (RFC 3550 §6.5.1), at most 32 bytes of ASCII.
    pub cname: &'a str,
    /// Silence on the wire after which the call is given up.
    pub silence_max: Duration,
    /// The rings.
    pub rings: Rings,
}

/// One call on the media path.
pub struct Call {
    id: CallId,
    ingress: Ingress,
    egress: Egress,
    playout: Playout,
    arrivals: Arrivals,
    stall: Stall,
    floor: Floor,
    pauses: Pauses,
    links: Links,
    tap: Tap,
    recording: Recording,
    doctor: Doctor,
    meter: Option<Arc<Meter>>,
    silence: Silence,
    /// How long gaps have been waited for, as far as that is measured.
    gap_wait: Duration,
    echo: Echo,
    own_echo: OwnEcho,
    onset: Onset,
    /// A barge-in that is to be measured.
    barge_in: Option<Duration>,
    /// Whether the last packet held agent speech.
    agent_speaks: bool,
    /// Samples of fillers that were sent.
    filler_samples: u64,
    protection: Protection,
    packet: [u8; packet::SENT_LEN_MAX + TRAILER_LEN_MAX],
}

impl Call {
    /// Makes a call whose media begin at `now`.
    #[must_use]
    pub fn new(setup: Setup<'_>, now: Instant, rng: &mut fastrand::Rng) -> Self {
        let start = egress::Start { agreed: setup.agreed, at: now, ntp_at_zero: setup.ntp_at_zero, cname: setup.cname };
        Self {
            id: setup.id,
            ingress: Ingress::new(setup.agreed, setup.signalling, setup.guard, now),
            egress: Egress::new(start, rng),
            playout: Playout::new(),
            arrivals: Arrivals::new(),
            stall: Stall::default(),
            floor: Floor::new(turn::barge_in::Settings::default()),
            pauses: Pauses::default(),
            links: Links::new(setup.rings),
            tap: Tap::new(setup.agreed.encoding),
            recording: Recording::default(),
            doctor: Doctor::new(setup.agreed, setup.port, now),
            meter: None,
            silence: Silence::new(setup.silence_max, expects_media(setup.agreed), now),
            gap_wait: Duration::ZERO,
            echo: Echo::new(),
            own_echo: OwnEcho::default(),
            onset: Onset::default(),
            barge_in: None,
            agent_speaks: false,
            filler_samples: 0,
            protection: Protection::default(),
            packet: [0; packet::SENT_LEN_MAX + TRAILER_LEN_MAX],
        }
    }

    /// Takes a datagram from the RTP port, or from the RTCP port where `rtcp`.
    ///
    /// # Real-time
    /// Bounded as [`Ingress::handle_packet`]; where the call is encrypted, a copy and one pass more over the datagram.
    pub fn datagram(&mut self, rtcp: bool, source: SocketAddr, bytes: &[u8], arrived: Instant, wire: &mut impl Wire) {
        let rtcp = rtcp || packet::kind(bytes) == Kind::Rtcp;
        // Nothing is learned from a packet of whoever lacks the key: not even that somebody is there.
        let mut plain = [0; PLAIN_LEN];
        match self.protection.unprotect(rtcp, bytes, arrived, &mut plain) {
            Ok(Unprotected { bytes, authenticated }) => {
                self.readable(rtcp, Source { address: source, authenticated }, bytes, arrived, wire);
            }
            Err(reason) => self.refuse(rtcp, source, bytes, reason, arrived),
        }
    }

    /// Takes a datagram that can be read, whether it was encrypted or not; `rtcp`: it is RTCP, whichever port it came to.
    ///
    /// # Real-time
    /// Bounded as [`Ingress::handle_packet`].
    pub fn readable(&mut self, rtcp: bool, from: Source, bytes: &[u8], arrived: Instant, wire: &mut impl Wire) {
        let edge = if from.authenticated { Edge::Authenticated } else { Edge::Plain };
        self.links.capture.datagram(rtcp, from.address, arrived, edge, bytes);
        if rtcp {
            self.take_rtcp(from, bytes, arrived, wire);
        } else {
            self.take_rtp(from, bytes, arrived, wire);
        }
    }

    /// Counts a datagram that lacks the key or was here before. The doctor hears of what may be the phone's with another key.
    ///
    /// # Real-time
    /// Constant time.
    pub fn refuse(&mut self, rtcp: bool, source: SocketAddr, bytes: &[u8], reason: Discard, now: Instant) {
        self.links.capture.datagram(rtcp, source, now, Edge::Refused(reason), bytes);
        self.ingress.refuse(reason);
        if !rtcp && self.ingress.is_plausible(source) {
            self.tell_doctor(source, bytes, Err(reason), now);
        }
    }

    /// Does what is due at `now`: orders, speech that came, gaps, the floor, the packets of this slot.
    ///
    /// # Real-time
    /// Bounded by the rings' capacities.
    pub fn handle_timeout(&mut self, now: Instant, wire: &mut impl Wire) {
        self.links.capture.tick(now, self.poll_timeout() <= now);
        while let Ok(command) = self.links.rings.commands.pop() {
            self.links.capture.push(Record::Command(command));
            self.command(command, now);
        }
        self.take_speech();
        if self.ingress.poll_timeout() <= now {
            self.hear(now, |ingress, sink| ingress.handle_timeout(now, &mut |output| sink(output)));
        }
        self.floor.handle_timeout(now);
        self.obey_floor(now);
        self.send(now, wire);
        self.measure(wire);
        if self.silence.is_too_long(self.ingress.last_heard(), now) {
            self.links.event(CallEvent::Silent);
        }
        self.doctor.handle_timeout(now);
        if let Some(told) = self.doctor.poll_output(now) {
            self.links.event(CallEvent::Audio { audio: told.audio, log: told.log });
        }
        self.links.capture.settle();
    }

    /// Returns when [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let due = self.egress.poll_timeout(&self.playout).min(self.ingress.poll_timeout());
        let due = due.min(self.doctor.poll_timeout());
        self.floor.poll_timeout().map_or(due, |floor| due.min(floor.at))
    }

    /// Returns who is to be woken since the last time this was asked.
    pub fn take_wakes(&mut self) -> Wakes {
        std::mem::take(&mut self.links.wakes)
    }

    /// The call is over: says what was heard of the speech under way, and goodbye to the peer's RTCP.
    pub fn close(&mut self, now: Instant, wire: &mut impl Wire) {
        self.links.capture.push(Record::Close { now });
        self.drop_speech(|_| true, now);
        self.say_bye(now, wire);
        self.links.capture.push(Record::End);
    }

    /// Lets `capture` have all that the call is told and sends from here on. Given to it before anything else.
    pub fn set_capture(&mut self, capture: Capture) {
        self.links.capture = capture;
    }

    /// Lets both sides' loudness be seen; said before the call is handed to its worker.
    pub fn set_meter(&mut self, meter: Arc<Meter>) {
        self.egress.set_meter(meter.clone());
        self.meter = Some(meter);
    }

    /// Records the call from here on. Told before its media begin.
    pub fn record(&mut self, recording: Recording) {
        self.recording = recording;
    }

    /// Tries out what would have been with this wait for every gap, where there is one, and a floor of these `settings`. Told
    /// before anything else.
    pub fn try_out(&mut self, gap_wait: Option<Duration>, settings: turn::Settings) {
        self.floor = Floor::new(settings);
        if let Some(wait) = gap_wait {
            self.ingress.fix_gap_wait(wait);
        }
    }

    /// Lets somebody listen; returns the producer where as many listen as may.
    ///
    /// # Errors
    /// The producer itself.
    pub fn listen(&mut self, listener: Producer<TapFrame>) -> Result<(), Producer<TapFrame>> {
        self.tap.add(listener)
    }

    /// The call has another peer, whose signalling comes from `from`. Told before [`Self::change`].
    pub fn set_signalling(&mut self, from: IpAddr) {
        self.links.capture.push(Record::Signalling { from });
        self.ingress.set_signalling(from);
    }

    /// Takes the keys that an offer and its answer agreed upon; `None`: the call is not encrypted. Told before
    /// [`Self::change`]. The same keys go on as they stand.
    ///
    /// # Real-time
    /// As [`Protection::set_keys`].
    pub fn set_keys(&mut self, keys: Option<&Keys>, now: Instant) {
        self.protection.set_keys(keys, now);
    }

    /// Takes what a re-offer agreed upon.
    pub fn change(&mut self, agreed: &Agreed, now: Instant) {
        self.links.capture.push(Record::Change { agreed: *agreed, now });
        self.silence.expect(expects_media(agreed), now);
        self.doctor.set_agreed(agreed, now);
        self.ingress.set_agreed(agreed);
        self.egress.set_agreed(agreed);
        self.tap.set_encoding(agreed.encoding);
    }

    /// Takes the peer's audio, or a key.
    fn take_rtp(&mut self, from: Source, bytes: &[u8], arrived: Instant, wire: &mut impl Wire) {
        let received = self.ingress.stats().packets_received;
        let admitted =
            self.hear(arrived, |ingress, sink| ingress.handle_packet(from, bytes, arrived, &mut |output| sink(output)));
        self.tell_doctor(from.address, bytes, admitted, arrived);
        if self.ingress.ssrc().is_some_and(|theirs| self.egress.collides(theirs)) {
            self.say_bye(arrived, wire);
            self.egress.change_ssrc();
        }
        if self.ingress.stats().packets_received > received {
            wire.measure(Measure::InterarrivalJitter, self.ingress.stats().jitter);
        }
        self.measure(wire);
    }

    /// Takes what the peer's reports say of our packets.
    fn take_rtcp(&mut self, from: Source, bytes: &[u8], arrived: Instant, wire: &mut impl Wire) {
        let Self { ingress, egress, doctor, arrivals, .. } = self;
        let own = egress.ssrc();
        ingress.handle_rtcp(from, bytes, arrived, own, &mut |report| {
            doctor.handle_input(doctor::Input::Report(report.copied()), arrived);
            if let Some(round_trip) = report.and_then(|report| egress.handle_report(report, arrived)) {
                wire.measure(Measure::RoundTrip, round_trip);
            }
            let highest = report.map(|report| report.highest_sequence);
            arrivals.handle_report(highest, egress.round_trip(), arrived);
        });
        while let Some(arrived) = self.arrivals.poll_output() {
            self.links.arrived(arrived);
        }
    }

    /// Runs the ingress, and lets the floor, the ears, the tap and the conductor have what comes out of it.
    fn hear<T>(&mut self, now: Instant, run: impl FnOnce(&mut Ingress, &mut dyn FnMut(ingress::Output<'_>)) -> T) -> T {
        let Self { ingress, links, floor, tap, echo, onset, own_echo, doctor, meter, recording, .. } = self;
        let mut change = |change: Change, at: Instant, links: &mut Links| match change {
            Change::Speaking(speaking) => {
                floor.handle_input(turn::Input::CallerSpeech { speaking }, at);
                links.event(CallEvent::CallerSpeech { speaking, at });
            }
            Change::Masked(masked) => floor.handle_input(turn::Input::Masked { masked }, at),
        };
        let outcome = run(ingress, &mut |output| match output {
            ingress::Output::Frame(frame) => {
                let explained = echo.heard(&frame.pcm, frame.concealed);
                if let Some(told) = onset.frame(frame, explained) {
                    change(told, frame.arrived, links);
                }
                if let Some(heard) = own_echo.frame(onset.is_speaking(), explained, echo.likeness()) {
                    links.event(CallEvent::OwnEcho { heard, at: frame.arrived });
                }
                if !frame.concealed {
                    let peak = frame.pcm.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
                    doctor.handle_input(doctor::Input::Sound { peak }, frame.arrived);
                    if let Some(meter) = meter {
                        meter.caller(peak);
                    }
                }
                tap.caller(&frame.pcm);
                links.ears(frame);
            }
            ingress::Output::Sound(sound) => recording.take(Side::Caller, sound),
            ingress::Output::CallerSpeech { speaking, at } => {
                change(onset.detected(speaking), at, links);
            }
            ingress::Output::Digit { digit, by, at } => links.event(CallEvent::Digit { digit, by, at }),
        });
        self.obey_floor(now);
        outcome
    }

    /// Tells the doctor of a datagram, and what became of it.
    fn tell_doctor(&mut self, source: SocketAddr, bytes: &[u8], admitted: Result<(), Discard>, now: Instant) {
        let header = Packet::parse(bytes).map(|packet| (packet.header.payload_type.0, packet.payload.len()));
        let input = match (admitted, header) {
            (Ok(()), Ok((payload_type, _))) if self.ingress.is_comfort_noise(payload_type) => {
                doctor::Input::ComfortNoise
            }
            // Keys come from who sends no audio, too; they are no sound.
            (Ok(()), Ok((payload_type, len))) if self.ingress.is_audio(payload_type) => doctor::Input::Audio { len },
            (Ok(()), _) => return,
            (Err(Discard::NotRtp), _) if !self.ingress.is_plausible(source) => return,
            (Err(reason), header) => {
                let payload_type = header.map_or(0, |(payload_type, _)| payload_type);
                doctor::Input::Refused { source, reason, payload_type, kind: packet::kind(bytes) }
            }
        };
        self.doctor.handle_input(input, now);
    }

    fn command(&mut self, command: CallCommand, now: Instant) {
        let input = match command {
            CallCommand::Grant(turn) | CallCommand::GrantFirmly(turn) => {
                self.drop_speech(|under_way| under_way != turn, now);
                self.playout.grant(turn);
                match command {
                    CallCommand::GrantFirmly(_) => turn::Input::GrantedFirmly { turn },
                    _ => turn::Input::Granted { turn },
                }
            }
            CallCommand::Withdraw(turn) => {
                self.drop_speech(|under_way| under_way == turn, now);
                self.playout.withdraw(turn);
                turn::Input::Withdrawn { turn }
            }
            CallCommand::Press(keys) => return self.egress.press(&keys),
            CallCommand::Ears(heard) => heard.input(),
        };
        self.floor.handle_input(input, now);
        // Who has gone on before the turn was found ended is not talked over.
        if matches!(input, turn::Input::Granted { .. }) && self.onset.goes_on(now) {
            self.floor.handle_input(turn::Input::CallerSpeech { speaking: true }, now);
        }
        self.obey_floor(now);
    }

    /// Queues the speech that came, as far as there is room.
    fn take_speech(&mut self) {
        while let Ok(KeptFrame { frame, filler }) = self.links.rings.kept.peek() {
            if !(if *filler { self.playout.fill(frame) } else { self.playout.push(frame) }) {
                break;
            }
            if let Ok(kept) = self.links.rings.kept.pop() {
                self.links.capture.push(Record::Kept(kept));
            }
        }
        while self.playout.room() > 0 {
            let Ok(frame) = self.links.rings.voice.pop() else { break };
            self.links.capture.push(Record::Voice(frame));
            self.playout.push(&frame);
        }
    }

    fn obey_floor(&mut self, now: Instant) {
        while let Some(output) = self.floor.poll_output() {
            if output != turn::Output::Resume && (self.playout.under_way().is_some() || self.playout.filling()) {
                self.barge_in = self.barge_in.or(self.onset.silenced(now));
            }
            match output {
                turn::Output::Pause => {
                    self.playout.pause();
                    if self.playout.under_way().is_some() {
                        self.pauses.pause(now);
                    }
                }
                turn::Output::Resume => {
                    self.playout.resume();
                    if self.playout.under_way().is_some() { self.pauses.resume(now) } else { self.pauses.over() }
                }
                turn::Output::CutPlayout { turn } => {
                    self.pauses.cut();
                    let samples = self.playout.cut(turn);
                    self.was_cut(turn, samples, now);
                }
            }
        }
    }

    /// Drops the speech under way where `is_dropped` says so of its turn, and says how much of it was heard.
    fn drop_speech(&mut self, is_dropped: impl Fn(TurnId) -> bool, now: Instant) {
        if let Some(turn) = self.playout.under_way().filter(|turn| is_dropped(*turn)) {
            let samples = self.playout.withdraw(turn);
            self.was_cut(turn, samples, now);
        }
    }

    /// Says that the speech of `turn` was cut after `samples`.
    fn was_cut(&mut self, turn: TurnId, samples: u32, now: Instant) {
        self.links.event(CallEvent::Cut { turn, samples: u64::from(samples), at: now });
        self.over(turn, samples);
    }

    /// `turn` is over after `samples`: says so where some of them did not leave.
    fn over(&mut self, turn: TurnId, samples: u32) {
        if let Some(arrived) = self.arrivals.over(turn, samples) {
            self.links.arrived(arrived);
        }
    }

    /// Measures what has just ended: a wait for a gap, the agent's speech after a barge-in.
    fn measure(&mut self, wire: &mut impl Wire) {
        let waited = self.ingress.stats().gap_wait;
        if waited > self.gap_wait {
            wire.measure(Measure::GapWait, waited - self.gap_wait);
            self.gap_wait = waited;
        }
        if let Some(silenced) = self.barge_in.take() {
            wire.measure(Measure::BargeIn, silenced);
        }
    }
}

/// Whether the peer is to send packets all the time: it neither holds, nor only listens.
const fn expects_media(agreed: &Agreed) -> bool {
    !agreed.held && agreed.direction.receives()
}
