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
pub mod filler;
pub mod finding;
pub mod ingress;
pub mod lifecycle;
pub mod meter;
mod onset;
mod own_echo;
pub mod pauses;
pub mod playout;
pub mod protection;
pub mod recording;
mod refill;
pub mod tap;

use crate::agent::{EarsEvent, Verdict};
use crate::ids::{CallId, TurnId};
use crate::jitter::Stats;
use crate::rtp::keypad::Presses;
use crate::rtp::latch::Source;
use crate::rtp::packet::{self, Kind, Packet};
use crate::rtp::sequence::TimestampExtender;
use crate::rtp::srtp::TRAILER_LEN_MAX;
use crate::rtp::{Discard, Discards, latch, rtcp};
use crate::sdp::{Agreed, Keys};
use crate::time::Instant;
use crate::turn::{self, Floor};
use arrival::Arrivals;
use capture::{Capture, Edge, Record};
use doctor::Doctor;
use echo::Echo;
use egress::Egress;
use finding::Audio;
use ingress::Ingress;
use meter::Meter;
use onset::{Change, Onset};
use own_echo::OwnEcho;
use pauses::Pauses;
use playout::Playout;
use protection::{PLAIN_LEN, Protection, Unprotected};
use recording::{Recording, Side, Sound};
use rtrb::{Consumer, Producer};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tap::Tap;

/// Samples of one 20 ms frame at 8 kHz.
pub const FRAME_8K: usize = 160;
/// Samples of one 20 ms frame at 16 kHz.
pub const FRAME_16K: usize = 320;

/// How long speech under way may go without a packet before that is told: four times the pause that listeners take for a change of
/// speaker (200 ms, Stivers et al. 2009), and shorter than any patience of the agent.
pub const STALL_MAX: Duration = Duration::from_millis(800);

/// 20 ms of caller audio for the recogniser.
#[derive(Clone, Copy)]
pub struct EarFrame {
    /// Mono PCM at 16 kHz.
    pub pcm: [i16; FRAME_16K],
    /// The same 20 ms as 8 kHz µ-law, for recognisers that take the telephone's own format.
    pub ulaw: [u8; FRAME_8K],
    /// Arrival of the packet that brought it (or of the one that closed the gap, where it is concealed).
    pub arrived: Instant,
    /// Whether it holds speech, by the frame's own activity, without hang-over.
    pub speech: bool,
    /// Whether it is concealed or filled in, not received.
    pub concealed: bool,
}

/// Up to 20 ms of agent speech for the caller.
#[derive(Clone, Copy)]
pub struct VoiceFrame {
    /// The turn whose reply this is.
    pub turn: TurnId,
    /// Mono PCM at 8 kHz; the first `len` samples count.
    pub pcm: [i16; FRAME_8K],
    /// How many samples count: 160, but for the last frame of a turn, which may have fewer, even 0.
    pub len: u16,
    /// Whether the turn's speech ends with it.
    pub last: bool,
    /// When its audio came from the voice.
    pub made: Instant,
}

/// Up to 20 ms of what is rendered ahead and needs no voice.
#[derive(Clone, Copy)]
pub struct KeptFrame {
    /// The frame.
    pub frame: VoiceFrame,
    /// Whether it only bridges the wait for its turn's speech.
    pub filler: bool,
}

/// What the conductor wants of the media path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum CallCommand {
    /// From here on only speech of `turn` may be played; what is queued of earlier turns is dropped.
    Grant(TurnId),
    /// The same, and the caller cannot take the floor from that turn.
    GrantFirmly(TurnId),
    /// Speech of `turn` is withdrawn by the agent itself.
    Withdraw(TurnId),
    /// The recogniser says something about the caller's turn.
    Ears(Heard),
    /// Press these keys, in place of those that are still to be pressed; speech waits meanwhile.
    Press(Presses),
}

/// What the floor learns from the recogniser: that there are words, and of which kind, never which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Heard {
    /// The caller has begun a turn.
    StartOfTurn,
    /// There are (more) words.
    Words,
    /// There are words that leave no doubt.
    Hard,
    /// The caller's turn has ended.
    EndOfTurn,
    /// The words so far are a listener's; `whole`: nothing seems to follow.
    Backchannel { whole: bool },
    /// The words are the agent's own.
    Echo,
}

impl Heard {
    /// Returns what the floor is to learn from `event`, whose words are what `verdict` says.
    #[must_use]
    pub const fn of(event: &EarsEvent, verdict: Option<Verdict>) -> Option<Self> {
        let Some(verdict) = verdict else { return None };
        let ends = matches!(event, EarsEvent::EagerEndOfTurn { .. } | EarsEvent::EndOfTurn { .. });
        match (verdict, event) {
            (Verdict::Backchannel, _) => Some(Self::Backchannel { whole: ends }),
            (Verdict::Echo, _) => Some(Self::Echo),
            (Verdict::Hard, _) => Some(Self::Hard),
            (Verdict::Words, EarsEvent::StartOfTurn { .. }) => Some(Self::StartOfTurn),
            (Verdict::Words, EarsEvent::Update { .. } | EarsEvent::TurnResumed { .. }) => Some(Self::Words),
            (Verdict::Words, EarsEvent::EndOfTurn { .. }) => Some(Self::EndOfTurn),
            // Its words have been told by an update.
            (Verdict::Words, _) => None,
        }
    }

    const fn input(self) -> turn::Input {
        match self {
            Self::StartOfTurn => turn::Input::StartOfTurn,
            Self::Words => turn::Input::Words,
            Self::Hard => turn::Input::Hard,
            Self::EndOfTurn => turn::Input::EndOfTurn,
            Self::Backchannel { whole } => turn::Input::Backchannel { whole },
            Self::Echo => turn::Input::Echo,
        }
    }
}

/// What happened on the media path, told to the conductor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CallEvent {
    /// The caller's voice began or stopped, by the local detector.
    CallerSpeech { speaking: bool, at: Instant },
    /// The agent's own echo is heard, and no other voice with it; or that is over.
    OwnEcho { heard: bool, at: Instant },
    /// The first packet with speech of `turn` is handed to the kernel.
    FirstPacket { turn: TurnId, at: Instant },
    /// All speech of `turn` was played: `samples` at 8 kHz in all.
    Played { turn: TurnId, samples: u64 },
    /// The caller took the floor after `samples` of `turn`, at 8 kHz.
    Cut { turn: TurnId, samples: u64, at: Instant },
    /// Packets with agent speech leave, or do not any more: whatever the agent means to say, this is what the caller can hear.
    AgentSpeech { speaking: bool, at: Instant },
    /// At most `samples` of `turn`, which is over, can have been heard: the rest never left, or never arrived.
    Arrived { turn: TurnId, samples: u64 },
    /// Speech of `turn` is under way and not paused, and none of it has left for [`STALL_MAX`], after `samples` of it.
    Stalled { turn: TurnId, samples: u64 },
    /// A digit came, as events (RFC 4733) or in the audio. It may be the echo of one that has come by another way: what
    /// [`digits::Digits`] is for.
    Digit { digit: char, by: digits::Way, at: Instant },
    /// The keys that the agent pressed are all with the peer.
    Pressed,
    /// Neither RTP nor RTCP has come for the configured time, and the call is not on hold.
    Silent,
    /// The state of the audio has changed; `log`: it is to be written to the log.
    Audio { audio: Audio, log: bool },
}

/// 20 ms of both sides, for somebody who listens to the call: PCM at 16 kHz.
#[derive(Clone, Copy)]
pub struct TapFrame {
    /// The caller.
    pub caller: [i16; FRAME_16K],
    /// The agent.
    pub agent: [i16; FRAME_16K],
}

impl TapFrame {
    /// Returns both sides in one.
    #[must_use]
    pub fn mixed(&self) -> [i16; FRAME_16K] {
        std::array::from_fn(|n| self.caller[n].saturating_add(self.agent[n]))
    }
}

/// Where a call's packets and measurements go.
pub trait Wire {
    /// Sends a packet from the call's RTP (or RTCP) port; returns the time just after, or `None` where it was not sent.
    ///
    /// # Real-time
    /// One system call.
    fn send(&mut self, rtcp: bool, to: SocketAddr, bytes: &[u8]) -> Option<Instant>;
    /// Takes a measurement.
    ///
    /// # Real-time
    /// No heap, no lock.
    fn measure(&mut self, what: Measure, value: Duration);
}

/// What is measured on the media path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Interarrival jitter as it stands after a packet (RFC 3550 §6.4.1).
    InterarrivalJitter,
    /// How long a gap held the caller's speech back.
    GapWait,
    /// How late a packet's slot was served.
    PacingError,
    /// From the caller's first packet with speech to the agent's silence.
    BargeIn,
    /// To the peer and back, by RTCP (RFC 3550 §6.4.1).
    RoundTrip,
}

/// Which threads have something to look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wakes {
    /// There are ear frames.
    pub ears: bool,
    /// There are events.
    pub conductor: bool,
}

/// The media side's ends of a call's rings.
pub struct Rings {
    /// Caller audio, to the ears.
    pub ears: Producer<EarFrame>,
    /// Agent speech, from the voice.
    pub voice: Consumer<VoiceFrame>,
    /// Kept phrases and fillers, from the conductor.
    pub kept: Consumer<KeptFrame>,
    /// Orders, from the conductor.
    pub commands: Consumer<CallCommand>,
    /// Events, to the conductor.
    pub events: Producer<CallEvent>,
}

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
    /// Since when speech under way has not left, and whether that was told.
    stalled: Option<(Instant, bool)>,
    floor: Floor,
    pauses: Pauses,
    links: Links,
    tap: Tap,
    recording: Recording,
    /// RTP time of the agent's packets.
    agent_ticks: Option<TimestampExtender>,
    doctor: Doctor,
    meter: Option<Arc<Meter>>,
    silence_max: Duration,
    started: Instant,
    /// Whether the peer is to send: it neither holds nor only listens.
    expects_media: bool,
    given_up: bool,
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

/// The rings, and who is to be woken for them.
struct Links {
    rings: Rings,
    wakes: Wakes,
    capture: Capture,
    ear_frames_dropped: u64,
    events_dropped: u64,
}

impl Links {
    /// Pushes an event; one that finds the ring full is dropped and counted.
    fn event(&mut self, event: CallEvent) {
        self.wakes.conductor = true;
        self.capture.touch();
        if self.rings.events.push(event).is_err() {
            self.events_dropped += 1;
        }
    }

    fn arrived(&mut self, arrival::Arrived { turn, samples }: arrival::Arrived) {
        self.event(CallEvent::Arrived { turn, samples: u64::from(samples) });
    }

    fn ears(&mut self, frame: &EarFrame) {
        self.wakes.ears = true;
        if self.rings.ears.push(*frame).is_err() {
            self.ear_frames_dropped += 1;
        }
    }
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
            stalled: None,
            floor: Floor::new(turn::barge_in::Settings::default()),
            pauses: Pauses::default(),
            links: Links {
                rings: setup.rings,
                wakes: Wakes::default(),
                capture: Capture::default(),
                ear_frames_dropped: 0,
                events_dropped: 0,
            },
            tap: Tap::new(setup.agreed.encoding),
            recording: Recording::default(),
            agent_ticks: None,
            doctor: Doctor::new(setup.agreed, setup.port, now),
            meter: None,
            silence_max: setup.silence_max,
            started: now,
            expects_media: expects_media(setup.agreed),
            given_up: false,
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

    /// Returns the engine's number for the call.
    #[must_use]
    pub const fn id(&self) -> CallId {
        self.id
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
        let source = from.address;
        let edge = if from.authenticated { Edge::Authenticated } else { Edge::Plain };
        self.links.capture.datagram(rtcp, source, arrived, edge, bytes);
        if rtcp {
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
            return;
        }
        let taken = self.ingress.stats().packets_received;
        let admitted =
            self.hear(arrived, |ingress, sink| ingress.handle_packet(from, bytes, arrived, &mut |output| sink(output)));
        self.tell_doctor(source, bytes, admitted, arrived);
        if self.ingress.ssrc().is_some_and(|theirs| self.egress.collides(theirs)) {
            self.say_bye(arrived, wire);
            self.egress.change_ssrc();
        }
        if self.ingress.stats().packets_received > taken {
            wire.measure(Measure::InterarrivalJitter, self.ingress.stats().jitter);
        }
        self.measure_gap(wire);
        self.measure_barge_in(wire);
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
        if self.ingress.poll_timeout() <= now {
            self.hear(now, |ingress, sink| ingress.handle_timeout(now, &mut |output| sink(output)));
            self.measure_gap(wire);
        }
        self.floor.handle_timeout(now);
        self.obey_floor(now);
        self.send(now, wire);
        self.measure_barge_in(wire);
        self.watch_silence(now);
        self.doctor.handle_timeout(now);
        if let Some(told) = self.doctor.poll_output(now) {
            self.links.event(CallEvent::Audio { audio: told.audio, log: told.log });
        }
        self.links.capture.settle();
    }

    /// Lets `capture` have all that the call is told and sends from here on. Given to it before anything else.
    pub fn set_capture(&mut self, capture: Capture) {
        self.links.capture = capture;
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

    /// The call has another peer, whose signalling comes from `from`. Told before [`Self::change`].
    pub fn set_signalling(&mut self, from: IpAddr) {
        self.links.capture.push(Record::Signalling { from });
        self.ingress.set_signalling(from);
    }

    /// Takes what a re-offer agreed upon.
    pub fn change(&mut self, agreed: &Agreed, now: Instant) {
        self.links.capture.push(Record::Change { agreed: *agreed, now });
        self.expects_media = expects_media(agreed);
        self.doctor.set_agreed(agreed, now);
        self.ingress.set_agreed(agreed, now);
        self.egress.set_agreed(agreed);
        self.tap.set_encoding(agreed.encoding);
        // A hold that ends does not inherit its own silence.
        self.started = now;
    }

    /// Takes the keys that an offer and its answer agreed upon; `None`: the call is not encrypted. Told before
    /// [`Self::change`]. The same keys go on as they stand.
    ///
    /// # Real-time
    /// As [`Protection::set_keys`].
    pub fn set_keys(&mut self, keys: Option<&Keys>, now: Instant) {
        self.protection.set_keys(keys, now);
    }

    /// Lets somebody listen; returns the producer where as many listen as may.
    ///
    /// # Errors
    /// The producer itself.
    pub fn listen(&mut self, listener: Producer<TapFrame>) -> Result<(), Producer<TapFrame>> {
        self.tap.add(listener)
    }

    /// Records the call from here on. Told before its media begin.
    pub fn record(&mut self, recording: Recording) {
        self.recording = recording;
    }

    /// Lets both sides' loudness be seen; said before the call is handed to its worker.
    pub fn set_meter(&mut self, meter: Arc<Meter>) {
        self.egress.set_meter(meter.clone());
        self.meter = Some(meter);
    }

    /// Tries out what would have been with this wait for every gap, where there is one, and a floor of these `settings`. Told
    /// before anything else.
    pub fn try_out(&mut self, gap_wait: Option<Duration>, settings: turn::Settings) {
        self.floor = Floor::new(settings);
        if let Some(wait) = gap_wait {
            self.ingress.fix_gap_wait(wait);
        }
    }

    /// Returns how often the agent's speech was paused for a voice, and what came of it.
    #[must_use]
    pub const fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    /// The call is over: says what was heard of the speech under way, and goodbye to the peer's RTCP.
    pub fn close(&mut self, now: Instant, wire: &mut impl Wire) {
        self.links.capture.push(Record::Close { now });
        self.drop_speech(|_| true, now);
        self.say_bye(now, wire);
        self.links.capture.push(Record::End);
    }

    /// Says goodbye to the peer's RTCP for our SSRC.
    fn say_bye(&mut self, now: Instant, wire: &mut impl Wire) {
        let report = self.ingress.report(now);
        let mut bytes = [0; rtcp::SENT_LEN_MAX + TRAILER_LEN_MAX];
        let len = self.egress.bye(now, report, &mut bytes);
        self.send_rtcp(&mut bytes, len, wire);
    }

    /// Returns what the jitter buffer did.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        self.ingress.stats()
    }

    /// Returns how many datagrams were refused, and why.
    #[must_use]
    pub const fn discards(&self) -> &Discards {
        self.ingress.discards()
    }

    /// Returns what was sent.
    #[must_use]
    pub const fn sent(&self) -> &egress::Counts {
        self.egress.counts()
    }

    /// Returns how often speech ran dry in the middle of a reply.
    #[must_use]
    pub const fn underruns(&self) -> u64 {
        self.playout.underruns()
    }

    /// Returns how much of the kept words was sent that bridge the wait for a reply.
    #[must_use]
    pub fn filler(&self) -> Duration {
        Duration::from_micros(self.filler_samples * 125)
    }

    /// Returns the last round-trip time that RTCP measured.
    #[must_use]
    pub const fn round_trip(&self) -> Option<Duration> {
        self.egress.round_trip()
    }

    /// Returns what the peer reported last of our packets.
    #[must_use]
    pub const fn remote_inbound(&self) -> Option<rtcp::RemoteInbound> {
        self.egress.remote()
    }

    /// Returns what is known of the agent's echo on this call, once something is.
    #[must_use]
    pub fn echo(&self) -> Option<echo::Estimate> {
        self.echo.estimate()
    }

    /// Returns how the audio is, and what is wrong with it.
    #[must_use]
    pub const fn audio(&self) -> Audio {
        self.doctor.audio()
    }

    /// Returns where the caller's media come from, once latched.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        self.ingress.latched()
    }

    /// Returns how many ear frames and events found their ring full.
    #[must_use]
    pub const fn dropped(&self) -> (u64, u64) {
        (self.links.ear_frames_dropped, self.links.events_dropped)
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

    /// Sends what is due: at most one RTP packet, and RTCP where its interval has passed.
    fn send(&mut self, now: Instant, wire: &mut impl Wire) {
        if let Some(sent) = self.egress.poll_packet(now, &mut self.playout, &mut self.packet) {
            self.echo.sent(self.egress.pcm());
            // Who listens hears what the caller can read, so that it is taken before it is protected.
            match sent.keys.samples {
                0 => self.tap.agent(self.packet.get(..sent.len).unwrap_or_default()),
                samples => self.tap.keys(usize::from(samples)),
            }
            self.record_agent(sent.keys.samples == 0, now);
            let to = self.ingress.destination();
            self.links.capture.packet(false, to, self.packet.get(..sent.len).unwrap_or_default());
            let protected = self.protection.protect(false, &mut self.packet, sent.len);
            let bytes = protected.and_then(|len| self.packet.get(..len));
            let gone = to.zip(bytes).and_then(|(to, bytes)| wire.send(false, to, bytes));
            self.links.capture.push(Record::Gone { at: gone });
            self.doctor.handle_input(doctor::Input::Sent { to, gone: gone.is_some() }, now);
            let at = gone.unwrap_or(now);
            self.watch_speech(&sent, gone, now);
            wire.measure(Measure::PacingError, sent.late);
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
        if self.egress.rtcp_due(now) {
            let report = self.ingress.report(now);
            let mut bytes = [0; rtcp::SENT_LEN_MAX + TRAILER_LEN_MAX];
            if let Some(len) = self.egress.poll_rtcp(now, report, &mut bytes) {
                self.send_rtcp(&mut bytes, len, wire);
            }
        }
    }

    /// Records the packet at hand, before it is protected; keys that are pressed as events have no sound.
    fn record_agent(&mut self, is_audio: bool, now: Instant) {
        if !self.recording.is_on() {
            return;
        }
        let Ok(Packet { header, .. }) = Packet::parse(&self.packet) else { return };
        let extender = self.agent_ticks.get_or_insert_with(|| TimestampExtender::new(header.timestamp));
        if is_audio {
            let ticks = extender.extend(header.timestamp);
            let pcm = self.egress.sound();
            let sound = Sound { ticks, at: now, wide: false, made_up: false, restart: false, pcm };
            self.recording.take(Side::Agent, &sound);
        }
    }

    /// Notes what has left, and says so where speech is under way and none does.
    fn watch_speech(&mut self, sent: &egress::Sent, gone: Option<Instant>, now: Instant) {
        let speech = sent.taken.turn.filter(|_| sent.taken.samples > 0);
        if let Some(at) = gone {
            let speech = speech.map(|turn| (turn, self.playout.heard(turn)));
            self.arrivals.sent(sent.sequence, speech, at);
        }
        let flows = speech.is_some() && gone.is_some();
        let Some(turn) = self.playout.under_way().filter(|_| !flows && !self.playout.is_paused()) else {
            self.stalled = None;
            return;
        };
        let (since, told) = self.stalled.get_or_insert((now, false));
        if !*told && now.since(*since) >= STALL_MAX {
            *told = true;
            let samples = u64::from(self.playout.heard(turn));
            self.links.event(CallEvent::Stalled { turn, samples });
        }
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

    fn measure_barge_in(&mut self, wire: &mut impl Wire) {
        if let Some(silenced) = self.barge_in.take() {
            wire.measure(Measure::BargeIn, silenced);
        }
    }

    fn watch_silence(&mut self, now: Instant) {
        let heard = self.ingress.last_heard().map_or(self.started, |at| at.max(self.started));
        if self.expects_media && !self.given_up && now.since(heard) > self.silence_max {
            self.given_up = true;
            self.links.event(CallEvent::Silent);
        }
    }

    /// Measures a wait for a gap that has just ended.
    fn measure_gap(&mut self, wire: &mut impl Wire) {
        let waited = self.ingress.stats().gap_wait;
        if waited > self.gap_wait {
            wire.measure(Measure::GapWait, waited.saturating_sub(self.gap_wait));
            self.gap_wait = waited;
        }
    }
}

/// Whether the peer is to send packets all the time: it neither holds, nor only listens.
const fn expects_media(agreed: &Agreed) -> bool {
    !agreed.held && agreed.direction.receives()
}
