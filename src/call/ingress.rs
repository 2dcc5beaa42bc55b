//! Caller to agent, by arrival: packet, latch, jitter, decode, conceal, activity, resample, and out to the recogniser.

use super::EarFrame;
use super::digits::Way;
use super::ear::Ear;
use super::recording::Sound;
use crate::jitter::{self, Incoming, Out, Stats};
use crate::rtp::latch::{self, Expected, Latch, Source};
use crate::rtp::packet::Packet;
use crate::rtp::receiver::Receiver;
use crate::rtp::rtcp::{self, Compound, LastSenderReport, ReportBlock};
use crate::rtp::{Discard, Discards, Ssrc, telephone_event};
use crate::sdp::Agreed;
use crate::time::Instant;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Comfort noise (RFC 3389), which some send without having said so.
const COMFORT_NOISE: u8 = 13;

/// What comes out of the caller's stream.
#[derive(Clone, Copy)]
pub enum Output<'a> {
    /// The next 20 ms for the recogniser; without a hole, whatever the network does.
    Frame(&'a EarFrame),
    /// What will come out as frames, at its own RTP time: decoded or made up, each once and in the order of the stream.
    Sound(&'a Sound<'a>),
    /// The caller's voice began (sustained, not a click) or stopped.
    CallerSpeech { speaking: bool, at: Instant },
    /// A key was pressed, told once for each way, as soon as it is known: with the first packet of its event (RFC 4733), or after
    /// 35 ms of its tones.
    Digit { digit: char, by: Way, at: Instant },
}

/// The receiving side of one call.
pub struct Ingress {
    agreed: Agreed,
    signalling: IpAddr,
    latch: Latch,
    receiver: Receiver,
    events: telephone_event::Receiver,
    buffer: jitter::Buffer,
    ear: Ear,
    last_sr: Option<LastSenderReport>,
    last_heard: Option<Instant>,
    /// What the ear did, then joined by what the buffer did.
    stats: Stats,
    discards: Discards,
}

impl Ingress {
    /// Begins to listen at `now` for the stream that `agreed` describes; `signalling` is where the peer's SIP comes from.
    #[must_use]
    pub fn new(agreed: &Agreed, signalling: IpAddr, guard: latch::Settings, now: Instant) -> Self {
        let mut ear = Ear::new(agreed.encoding, now);
        ear.expect_keys(agreed.telephone_event_received.is_none());
        Self {
            agreed: *agreed,
            signalling,
            latch: Latch::new(expected(agreed, signalling), guard),
            receiver: Receiver::new(),
            events: telephone_event::Receiver::new(),
            buffer: jitter::Buffer::new(),
            ear,
            last_sr: None,
            last_heard: None,
            stats: Stats::default(),
            discards: Discards::default(),
        }
    }

    /// Waits for every gap for `wait`: to try out what would have been.
    pub const fn fix_gap_wait(&mut self, wait: Duration) {
        self.buffer.fix_gap_wait(wait);
    }

    /// The peer's SIP comes from `from`; what is agreed upon next is seen in that light.
    ///
    /// # Real-time
    /// Constant.
    pub fn set_signalling(&mut self, from: IpAddr) {
        self.signalling = from;
    }

    /// Takes what a re-offer agreed upon. The latch is armed again only where the peer's address changed. While the peer holds,
    /// the recogniser gets silence: music on hold is not the caller.
    ///
    /// # Real-time
    /// Bounded by the jitter buffer's window.
    pub fn set_agreed(&mut self, agreed: &Agreed) {
        let listened = self.is_listening();
        self.agreed = *agreed;
        self.ear.expect_keys(agreed.telephone_event_received.is_none());
        // An old hold names no address; the one before it is still the peer's.
        if agreed.remote.known().is_some() || agreed.direction.sends() {
            self.latch.expect(expected(agreed, self.signalling));
        }
        if listened != self.is_listening() {
            self.buffer.restart();
            self.ear.hold();
        }
    }

    /// Takes a datagram from the RTP port, unless it is RTCP by [`crate::rtp::packet::kind`].
    ///
    /// # Errors
    /// Why it was refused; it is counted already.
    ///
    /// # Real-time
    /// Bounded: at most the packets held for a gap, and 500 ms of filled-in silence.
    pub fn handle_packet(
        &mut self,
        source: impl Into<Source>,
        bytes: &[u8],
        now: Instant,
        sink: &mut impl FnMut(Output<'_>),
    ) -> Result<(), Discard> {
        let admitted = self.admit(source.into(), bytes, now, sink).inspect_err(|reason| self.discards.count(*reason));
        self.drain(now, sink);
        admitted
    }

    /// Takes a datagram with RTCP, from either port. What each report says about our own stream `own_ssrc` goes to `report`,
    /// also that it says nothing. A BYE ends nothing: PJSIP sends it at each hold and goes on.
    ///
    /// # Real-time
    /// Bounded by the datagram's length.
    pub fn handle_rtcp(
        &mut self,
        source: impl Into<Source>,
        bytes: &[u8],
        now: Instant,
        own_ssrc: Ssrc,
        report: &mut impl FnMut(Option<&ReportBlock>),
    ) {
        let compound = match self.admit_rtcp(source.into(), bytes) {
            Ok(compound) => compound,
            Err(reason) => return self.discards.count(reason),
        };
        self.last_heard = Some(now);
        for packet in compound {
            let (rtcp::Packet::SenderReport { ssrc, blocks, .. } | rtcp::Packet::ReceiverReport { ssrc, blocks }) =
                packet
            else {
                continue;
            };
            if !self.is_theirs(ssrc) {
                continue;
            }
            if let rtcp::Packet::SenderReport { info, .. } = packet {
                self.last_sr = Some(LastSenderReport { middle: rtcp::ntp_middle(info.ntp), arrived: now });
            }
            let mut blocks = blocks;
            report(blocks.find(|block| block.ssrc == own_ssrc).as_ref());
        }
    }

    /// Counts a datagram that was refused before it came here.
    ///
    /// # Real-time
    /// Constant time.
    pub const fn refuse(&mut self, reason: Discard) {
        self.discards.count(reason);
    }

    /// Lets RTCP in from the host that RTP comes from, and of the SSRC that RTP has: a stranger behind the same NAT can send
    /// from there, and would have to guess it.
    fn admit_rtcp<'b>(&mut self, source: Source, bytes: &'b [u8]) -> Result<Compound<'b>, Discard> {
        let compound = Compound::parse(bytes)?;
        if compound.sender().is_none_or(|sender| !self.is_theirs(sender)) {
            return Err(Discard::Foreign);
        }
        self.latch.admit_rtcp(source)?;
        Ok(compound)
    }

    fn is_theirs(&self, ssrc: Ssrc) -> bool {
        self.receiver.ssrc().is_none_or(|theirs| theirs == ssrc)
    }

    /// Whether a payload type was agreed upon for audio.
    #[must_use]
    pub fn is_audio(&self, payload_type: u8) -> bool {
        self.agreed.encoding_received(payload_type).is_some()
    }

    /// Whether a payload type is comfort noise.
    #[must_use]
    pub fn is_comfort_noise(&self, payload_type: u8) -> bool {
        is_comfort_noise(&self.agreed, payload_type)
    }

    /// Whether a datagram from `source` may be the peer's.
    ///
    /// # Real-time
    /// Constant time.
    #[must_use]
    pub fn is_plausible(&self, source: SocketAddr) -> bool {
        self.latch.is_plausible(source)
    }

    /// Takes the passage of time: a gap's deadline, or silence where the peer sends nothing.
    ///
    /// # Real-time
    /// Bounded as [`Self::handle_packet`].
    pub fn handle_timeout(&mut self, now: Instant, sink: &mut impl FnMut(Output<'_>)) {
        self.drain(now, sink);
        if self.buffer.poll_timeout().is_none() {
            self.ear.handle_timeout(now, &mut self.stats, sink);
        }
    }

    /// Returns when [`Self::handle_timeout`] is due.
    ///
    /// # Real-time
    /// Bounded by the jitter buffer's window.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.buffer.poll_timeout().unwrap_or_else(|| self.ear.poll_timeout())
    }

    /// Returns where RTP goes: the latched address, else what the description and the signalling let us guess.
    #[must_use]
    pub fn destination(&self) -> Option<SocketAddr> {
        self.latch.destination()
    }

    /// Returns where RTCP goes; where [`Self::rtcp_mux`], from the RTP port.
    #[must_use]
    pub fn rtcp_destination(&self) -> Option<SocketAddr> {
        if self.agreed.rtcp_mux { self.latch.destination() } else { self.latch.rtcp_destination() }
    }

    /// Whether RTP and RTCP share the RTP port (RFC 5761).
    #[must_use]
    pub const fn rtcp_mux(&self) -> bool {
        self.agreed.rtcp_mux
    }

    /// Returns where the caller's media come from, once latched.
    #[must_use]
    pub fn latched(&self) -> Option<SocketAddr> {
        self.latch.is_confirmed().then(|| self.latch.destination())?
    }

    /// Returns the caller's SSRC, once there is a stream.
    #[must_use]
    pub fn ssrc(&self) -> Option<Ssrc> {
        self.receiver.ssrc()
    }

    /// Returns the report block about the caller's stream for our next RTCP packet, and begins its next interval.
    ///
    /// # Real-time
    /// Constant time.
    pub fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        let mut block = self.receiver.report()?;
        if let Some(last_sr) = &self.last_sr {
            last_sr.fill(&mut block, now);
        }
        Some(block)
    }

    /// Returns when the peer was last heard of, by RTP or RTCP.
    #[must_use]
    pub const fn last_heard(&self) -> Option<Instant> {
        self.last_heard
    }

    /// Returns what the jitter buffer and the ear did.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Returns why packets were refused, and how many.
    #[must_use]
    pub const fn discards(&self) -> &Discards {
        &self.discards
    }

    fn is_listening(&self) -> bool {
        self.agreed.direction.receives() && !self.agreed.held
    }

    /// Lets a packet in as far as the jitter buffer.
    fn admit(
        &mut self,
        source: Source,
        bytes: &[u8],
        now: Instant,
        sink: &mut impl FnMut(Output<'_>),
    ) -> Result<(), Discard> {
        let Packet { header, payload } = Packet::parse(bytes)?;
        let payload_type = header.payload_type.0;
        let audio = self.agreed.encoding_received(payload_type).is_some();
        let event = self.agreed.telephone_event_received == Some(payload_type);
        if !audio && !event && !is_comfort_noise(&self.agreed, payload_type) {
            // What a stranger sends counts as a stranger's, whatever is in it.
            return Err(if self.latch.is_plausible(source.address) { Discard::PayloadType } else { Discard::Foreign });
        }
        self.latch.admit(source, &header, now)?;
        self.last_heard = Some(now);
        let place = self.receiver.receive(&header, now, audio)?;
        if event {
            self.events.handle(&header, payload, &mut |digit| {
                sink(Output::Digit { digit: digit.as_char(), by: Way::Event, at: now });
            });
        }
        if !self.is_listening() {
            return Ok(());
        }
        let packet = Incoming {
            sequence: place.sequence,
            timestamp: place.timestamp,
            samples: if audio { payload.len() as u32 } else { 0 },
            payload_type,
            arrived: now,
            payload,
        };
        self.buffer.push(&packet, place.restarted)
    }

    /// Hands on what can be known by now.
    fn drain(&mut self, now: Instant, sink: &mut impl FnMut(Output<'_>)) {
        let Self { buffer, ear, stats, agreed, .. } = self;
        while let Some(out) = buffer.poll(now) {
            match out {
                Out::Packet { packet, restart } if packet.samples > 0 => {
                    match agreed.encoding_received(packet.payload_type) {
                        Some(encoding) => ear.hear(&packet, encoding, restart, stats, sink),
                        // It waited behind a gap while a re-offer did away with its codec.
                        None => ear.gap(packet.samples, true, packet.arrived, stats, sink),
                    }
                }
                Out::Packet { packet, .. } if is_comfort_noise(agreed, packet.payload_type) => {
                    ear.pause(packet.payload)
                }
                Out::Packet { .. } => {}
                Out::Gap { samples, arrived } => ear.gap(samples, true, arrived, stats, sink),
                Out::Silence { samples, arrived } => ear.gap(samples, false, arrived, stats, sink),
            }
        }
        let made_up = Stats {
            concealed_samples: stats.concealed_samples,
            concealment_events: stats.concealment_events,
            silent_samples: stats.silent_samples,
            removed_samples: stats.removed_samples,
            ..*buffer.stats()
        };
        *stats = Stats { jitter: self.receiver.jitter(), ..made_up };
    }
}

fn is_comfort_noise(agreed: &Agreed, payload_type: u8) -> bool {
    payload_type == COMFORT_NOISE || agreed.comfort_noise_received == Some(payload_type)
}

/// What the signalling says about where media come from.
fn expected(agreed: &Agreed, signalling: IpAddr) -> Expected {
    Expected {
        ip: agreed.remote.known().map(|address| address.ip()),
        port: agreed.remote.port(),
        rtcp_port: agreed.remote_rtcp.port(),
        signalling,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::g711::Codec;
    use crate::rtp::packet::Header;
    use crate::rtp::{PayloadType, RtpTimestamp, SequenceNumber};
    use crate::sdp::{Direction, Encoding, RemoteAddress};

    const PEER: &str = "198.51.100.1:4000";

    fn agreed() -> Agreed {
        Agreed {
            encoding: Encoding::Pcmu,
            payload_type_sent: 0,
            payload_types_received: [Some(0), None, None],
            telephone_event_sent: Some(101),
            telephone_event_received: Some(101),
            comfort_noise_received: None,
            direction: Direction::SendRecv,
            held: false,
            remote: RemoteAddress::Known(PEER.parse().expect("an address")),
            remote_rtcp: RemoteAddress::Known("198.51.100.1:4001".parse().expect("an address")),
            rtcp_mux: false,
            ptime_ms: 20,
        }
    }

    /// A frame as it came out.
    #[derive(Clone, Debug)]
    struct Got {
        at_ms: u64,
        arrived_ms: u64,
        pcm: [i16; 320],
        ulaw: [u8; 160],
        speech: bool,
        concealed: bool,
    }

    /// A caller's line in virtual time.
    struct Line {
        ingress: Ingress,
        now_ms: u64,
        got: Vec<Got>,
        digits: String,
        speaking: Vec<(u64, bool)>,
    }

    impl Line {
        fn new() -> Self {
            let ingress = Ingress::new(&agreed(), [198, 51, 100, 1].into(), latch::Settings::default(), Instant::ZERO);
            Self { ingress, now_ms: 0, got: Vec::new(), digits: String::new(), speaking: Vec::new() }
        }

        fn run(&mut self, step: impl FnOnce(&mut Ingress, Instant, &mut dyn FnMut(Output<'_>))) {
            let Self { ingress, now_ms, got, digits, speaking } = self;
            let at_ms = *now_ms;
            step(ingress, Instant::from_millis(at_ms), &mut |output| match output {
                Output::Frame(frame) => got.push(Got {
                    at_ms,
                    arrived_ms: frame.arrived.as_nanos() / 1_000_000,
                    pcm: frame.pcm,
                    ulaw: frame.ulaw,
                    speech: frame.speech,
                    concealed: frame.concealed,
                }),
                Output::CallerSpeech { speaking: now, .. } => speaking.push((at_ms, now)),
                Output::Digit { digit, .. } => digits.push(digit),
                Output::Sound(_) => {}
            });
        }

        /// Lets time pass, millisecond by millisecond.
        fn pass(&mut self, until_ms: u64) {
            while self.now_ms < until_ms {
                self.now_ms += 1;
                if self.ingress.poll_timeout() <= Instant::from_millis(self.now_ms) {
                    self.run(|ingress, now, sink| ingress.handle_timeout(now, &mut |output| sink(output)));
                }
            }
        }

        fn datagram(&mut self, source: &str, bytes: &[u8]) {
            let source: SocketAddr = source.parse().expect("an address");
            self.run(|ingress, now, sink| {
                let _ = ingress.handle_packet(source, bytes, now, &mut |output| sink(output));
            });
        }

        fn packet(&mut self, packet: &Rtp) {
            self.datagram(PEER, &packet.bytes());
        }

        fn concealed(&self) -> usize {
            self.got.iter().filter(|frame| frame.concealed).count()
        }
    }

    /// A packet of the caller's.
    #[derive(Clone, Debug)]
    struct Rtp {
        payload_type: u8,
        sequence: u16,
        timestamp: u32,
        ssrc: u32,
        payload: Vec<u8>,
    }

    impl Rtp {
        fn bytes(&self) -> Vec<u8> {
            let mut bytes = vec![0; 12];
            let header = Header {
                marker: false,
                payload_type: PayloadType(self.payload_type),
                sequence: SequenceNumber(self.sequence),
                timestamp: RtpTimestamp(self.timestamp),
                ssrc: Ssrc(self.ssrc),
            };
            assert!(header.write(&mut bytes));
            bytes.extend_from_slice(&self.payload);
            bytes
        }
    }

    /// Packet `n` of a steady stream of `ms` milliseconds each, across the wraps of sequence and timestamp; each sample is a
    /// quiet code that tells where it belongs.
    fn nth(n: u64, ms: u64) -> Rtp {
        let first = n * ms * 8;
        Rtp {
            payload_type: 0,
            sequence: 65_500u16.wrapping_add(n as u16),
            timestamp: (u32::MAX - 1000).wrapping_add(first as u32),
            ssrc: 7,
            payload: (first..first + ms * 8).map(|sample| 0xf0 | (sample % 13) as u8).collect(),
        }
    }

    /// 20 ms of a loud voiced sound at 8 kHz, µ-law: a pulse train of 125 Hz through two resonances, roughly.
    fn voice(n: u64) -> Vec<u8> {
        let pcm: Vec<i16> = (0..160u64)
            .map(|i| {
                let t = ((n * 160 + i) as f32) / 8000.0;
                let tone = |hz: f32, level: f32| level * (std::f32::consts::TAU * hz * t).sin();
                let swell = 0.8 + 0.2 * (std::f32::consts::TAU * 4.0 * t).sin();
                (swell * (1..24).map(|k| tone(125.0 * k as f32, 5000.0 / k as f32)).sum::<f32>()) as i16
            })
            .collect();
        let mut bytes = vec![0; 160];
        Codec::Pcmu.encode(&pcm, &mut bytes);
        bytes
    }

    #[test]
    fn a_packet_in_order_is_a_frame_at_once() {
        let mut line = Line::new();
        for n in 0..500 {
            line.pass(n * 20 + 3);
            line.packet(&nth(n, 20));
            let frame = line.got.last().expect("it came out");
            assert_eq!((frame.at_ms, frame.arrived_ms), (n * 20 + 3, n * 20 + 3));
            assert_eq!(frame.ulaw[..], nth(n, 20).payload[..]);
            assert!(!frame.concealed);
        }
        assert_eq!(line.got.len(), 500);
        assert_eq!(line.ingress.stats().packets_lost, 0);
    }

    #[test]
    fn media_of_another_peer_are_taken_once_its_signalling_is_known() {
        let other: SocketAddr = "192.0.2.77:4000".parse().expect("an address");
        for told in [false, true] {
            let mut line = Line::new();
            line.packet(&nth(0, 20));
            if told {
                line.ingress.set_signalling(other.ip());
            }
            // A telephone behind a NAT names an address that nobody else can reach.
            let remote = RemoteAddress::Known("10.9.9.9:4000".parse().expect("an address"));
            line.ingress.set_agreed(&Agreed { remote, ..agreed() });
            let received = |line: &Line| line.got.iter().filter(|frame| !frame.concealed).count();
            let before = received(&line);
            for n in 1..20 {
                line.pass(n * 20);
                line.datagram(&other.to_string(), &Rtp { ssrc: 8, ..nth(n, 20) }.bytes());
            }
            assert_eq!(received(&line) > before, told);
        }
    }

    #[test]
    fn any_packet_length_is_cut_into_frames() {
        for ms in [10, 30, 40, 60] {
            let mut line = Line::new();
            for n in 0..1200 / ms {
                line.pass(n * ms + 1);
                line.packet(&nth(n, ms));
            }
            let heard: Vec<u8> = line.got.iter().flat_map(|frame| frame.ulaw).collect();
            let sent: Vec<u8> = (0..1200 / ms).flat_map(|n| nth(n, ms).payload).collect();
            assert_eq!(heard, sent, "{ms} ms");
        }
    }

    #[test]
    fn the_packet_time_may_change_in_mid_call_and_be_odd() {
        let mut rng = fastrand::Rng::with_seed(8);
        let (mut line, mut sent, mut first) = (Line::new(), Vec::new(), 0u64);
        for n in 0..300u64 {
            // From 10 to 60 ms, and lengths that are no multiple of anything.
            let len = if n % 7 == 3 { rng.u64(1..700) } else { rng.choice([80, 160, 240, 320, 480]).expect("some") };
            line.pass(first / 8 + 60);
            let whole = nth(first, 1);
            let payload: Vec<u8> = (first..first + len).map(|sample| 0xf0 | (sample % 13) as u8).collect();
            sent.extend_from_slice(&payload);
            let timestamp = (u32::MAX - 1000).wrapping_add(first as u32);
            line.packet(&Rtp { sequence: n as u16, timestamp, payload, ..whole });
            first += len;
        }
        // The call began before the stream, and its first sound is blended with that silence.
        let genuine = line.got.iter().filter(|frame| !frame.concealed);
        let heard: Vec<u8> = genuine.skip(2).flat_map(|frame| frame.ulaw).collect();
        let start = sent.windows(500).position(|part| part == &heard[..500]).expect("what was sent");
        assert!(start <= 480, "{start}");
        assert_eq!(heard[..], sent[start..start + heard.len()]);
        assert!(sent.len() - heard.len() < 5 * 160, "all but the first frames, and the last, which is not whole");
        assert_eq!(line.ingress.stats().packets_lost, 0);
        line.packet(&Rtp { sequence: 300, payload: Vec::new(), ..nth(0, 20) });
    }

    fn wide_agreed() -> Agreed {
        Agreed {
            encoding: Encoding::G722,
            payload_type_sent: 9,
            payload_types_received: [None, None, Some(9)],
            ..agreed()
        }
    }

    /// Packets of `ms` of a tone in G.722.
    fn wide_packets(hz: f32, packets: u64, ms: u64) -> Vec<Rtp> {
        let mut encoder = crate::audio::g722::Encoder::new();
        let sample = |n: u64| (8000.0 * (std::f32::consts::TAU * hz * n as f32 / 16_000.0).sin()) as i16;
        let packet = |n: u64| {
            let pcm: Vec<i16> = (n * ms * 16..(n + 1) * ms * 16).map(sample).collect();
            let mut payload = vec![0; pcm.len() / 2];
            encoder.encode(&pcm, &mut payload);
            Rtp { payload_type: 9, payload, ..nth(n, ms) }
        };
        (0..packets).map(packet).collect()
    }

    fn rms(pcm: &[i16]) -> f32 {
        (pcm.iter().map(|s| f32::from(*s).powi(2)).sum::<f32>() / pcm.len() as f32).sqrt()
    }

    #[test]
    fn g722_reaches_the_recogniser_at_16_khz_as_it_was_decoded() {
        for ms in [10, 20, 30, 60] {
            let mut line = Line::new();
            line.ingress.set_agreed(&wide_agreed());
            let packets = wide_packets(6000.0, 1200 / ms, ms);
            for (n, packet) in packets.iter().enumerate() {
                line.pass(n as u64 * ms + 1);
                line.packet(packet);
            }
            let bytes: Vec<u8> = packets.iter().flat_map(|packet| packet.payload.clone()).collect();
            let mut decoded = vec![0; 2 * bytes.len()];
            crate::audio::g722::Decoder::new().decode(&bytes, &mut decoded);
            let heard: Vec<i16> = line.got.iter().flat_map(|frame| frame.pcm).collect();
            assert_eq!(heard, decoded, "{ms} ms");
            let mut narrow = [0; 160];
            Codec::Pcmu.decode(&line.got[40].ulaw, &mut narrow);
            assert!(rms(&line.got[40].pcm) > 5000.0 && rms(&narrow) < 50.0, "6 kHz is not to be heard in 8 kHz");
            assert_eq!(line.ingress.stats().packets_lost, 0);
        }
    }

    #[test]
    fn g722_is_concealed_paused_and_held_like_any_other() {
        let mut line = Line::new();
        line.ingress.set_agreed(&wide_agreed());
        let packets = wide_packets(400.0, 200, 20);
        for (n, packet) in (0u64..).zip(&packets).filter(|(n, _)| *n != 100 && !(120..150).contains(n)) {
            line.pass(n * 20);
            // A pause of 30 packets that were never sent: the sequence goes on.
            let sequence = packet.sequence.wrapping_sub(if n >= 150 { 30 } else { 0 });
            line.packet(&Rtp { sequence, ..packet.clone() });
        }
        assert_eq!(line.got.len(), 200);
        let stats = line.ingress.stats();
        assert_eq!((stats.packets_lost, stats.concealed_samples), (1, 160));
        assert!((4600..=4800).contains(&stats.silent_samples), "{stats:?}");
        let loud = |n: usize| rms(&line.got[n].pcm);
        assert!((4500.0..6500.0).contains(&loud(99)) && (4000.0..6500.0).contains(&loud(100)), "{}", loud(100));
        assert!(line.got[100].concealed && loud(130) < 1.0 && (4500.0..6500.0).contains(&loud(160)));
        // To G.711 and back, in mid-stream.
        line.ingress.set_agreed(&agreed());
        for n in 200..220 {
            line.pass(n * 20);
            line.packet(&Rtp { sequence: nth(n - 30, 20).sequence, payload: voice(n), ..nth(n, 20) });
        }
        assert_eq!(line.got.len(), 220);
        assert_eq!(linear(&line.got[219].ulaw), linear(&voice(219)));
    }

    #[test]
    fn comfort_noise_fills_a_pause_at_its_level_and_is_no_loss() {
        for payload_type in [13, 98] {
            let mut line = Line::new();
            line.ingress.set_agreed(&Agreed { comfort_noise_received: Some(98), ..agreed() });
            let mut sequence = 0;
            for n in 0..400u64 {
                line.pass(n * 20);
                let talks = !(50..350).contains(&n);
                if talks {
                    line.packet(&Rtp { sequence, payload: voice(n), ..nth(n, 20) });
                } else if n == 50 || n % 100 == 0 {
                    line.packet(&Rtp { payload_type, sequence, payload: vec![60, 130], ..nth(n, 20) });
                }
                sequence += u16::from(talks || n == 50 || n % 100 == 0);
            }
            let stats = line.ingress.stats();
            assert_eq!((stats.packets_lost, stats.concealed_samples, stats.removed_samples), (0, 0, 0), "{stats:?}");
            assert_eq!(line.got.len(), 400);
            // -60 dBov is 33 of 32,768; 8 bits make it a little less or more.
            for frame in &line.got[52..349] {
                assert!(
                    frame.concealed && !frame.speech && (15.0..60.0).contains(&rms(&frame.pcm)),
                    "{}",
                    rms(&frame.pcm)
                );
            }
            assert_eq!(linear(&line.got[350].ulaw), linear(&voice(350)), "the first packet after it loses nothing");
            // The caller stopped after 50 frames, and is known to within the hang-over.
            assert_eq!(line.speaking.iter().map(|(_, speaking)| *speaking).collect::<Vec<_>>(), [true, false, true]);
            assert!((1000..=1400).contains(&line.speaking[1].0), "{:?}", line.speaking);
        }
    }

    #[test]
    fn a_pause_of_seconds_without_a_word_ends_the_turn_and_cuts_no_word() {
        // PJSIP's detector: nothing at all for 7 s, then speech.
        let mut line = Line::new();
        for (n, sequence) in (0..100u64).chain(450..500).zip(0u16..) {
            line.pass(n * 20);
            line.packet(&Rtp { sequence, payload: voice(n), ..nth(n, 20) });
        }
        let ended = line.speaking.iter().find(|(_, speaking)| !speaking).expect("the turn ended");
        assert!((2000..=2500).contains(&ended.0), "{ended:?}");
        let made_up: Vec<&Got> = line.got.iter().filter(|frame| frame.concealed).collect();
        assert_eq!(made_up.len(), 350);
        assert!(made_up[5..].iter().all(|frame| frame.ulaw == [0xff; 160]), "no speech is made up in a pause");
        // After what was made up, the first 10 ms are blended in.
        let first = line.got.iter().rposition(|frame| frame.concealed).expect("the pause") + 1;
        assert_eq!(linear(&line.got[first].ulaw)[80..], linear(&voice(450))[80..]);
        assert_eq!(linear(&line.got[first + 1].ulaw), linear(&voice(451)));
        assert!(line.ingress.stats().jitter < Duration::from_millis(5));
    }

    fn linear(ulaw: &[u8]) -> Vec<i16> {
        let mut pcm = vec![0; ulaw.len()];
        Codec::Pcmu.decode(ulaw, &mut pcm);
        pcm
    }

    /// Packet `n` of a key in the audio: 770 and 1336 Hz.
    fn five(n: u64) -> Vec<u8> {
        let tone = |hz: f32, i: u64| 5000.0 * (std::f32::consts::TAU * hz * (n * 160 + i) as f32 / 8000.0).sin();
        let pcm: Vec<i16> = (0..160).map(|i| (tone(770.0, i) + tone(1336.0, i)) as i16).collect();
        let mut bytes = vec![0; 160];
        Codec::Pcmu.encode(&pcm, &mut bytes);
        bytes
    }

    #[test]
    fn a_key_in_the_audio_is_told_once_though_packets_of_it_are_lost() {
        let mut line = Line::new();
        line.ingress.set_agreed(&Agreed { telephone_event_received: None, ..agreed() });
        for n in (0..100u64).filter(|n| *n != 42 && *n != 72 && *n != 73) {
            line.pass(n * 20);
            let pressed = (40..46).contains(&n) || (70..78).contains(&n);
            line.packet(&Rtp { payload: if pressed { five(n) } else { vec![0xff; 160] }, ..nth(n, 20) });
            match n {
                0..40 => assert_eq!(line.digits, ""),
                // The loss came before it was sure, and it takes 40 ms more.
                48..70 => assert_eq!(line.digits, "5"),
                _ => {}
            }
        }
        assert_eq!(line.digits, "55");
    }

    #[test]
    fn a_lost_packet_is_concealed_and_the_rest_is_not_held_longer_than_the_wait() {
        let mut line = Line::new();
        for n in (0..200).filter(|n| *n != 150) {
            line.pass(n * 20);
            line.packet(&nth(n, 20));
        }
        assert_eq!((line.got.len(), line.concealed()), (200, 1));
        assert!(line.got[150].concealed);
        let held = line.got[151].at_ms - line.got[151].arrived_ms;
        assert!(held <= 20, "{held} ms");
        assert_eq!(line.got[151].ulaw[80..], nth(151, 20).payload[80..], "after the merge it is itself");
        let stats = line.ingress.stats();
        assert_eq!((stats.packets_lost, stats.concealed_samples, stats.silent_samples), (1, 160, 0));
    }

    #[test]
    fn the_stream_is_as_long_as_the_call_on_a_bad_line() {
        for seed in 0..4 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut arrivals: Vec<(u64, u64)> = Vec::new();
            for n in 0..3000 {
                if rng.u8(..100) < 5 {
                    continue;
                }
                // 30 ms of jitter, and each fiftieth packet goes a longer way.
                let detour = if rng.u8(..100) < 2 { 50 } else { 0 };
                arrivals.push((n * 20 + rng.u64(..=30) + detour, n));
            }
            arrivals.sort_unstable();
            let mut line = Line::new();
            for (at, n) in arrivals {
                line.pass(at);
                line.packet(&nth(n, 20));
            }
            line.pass(60_000);
            let heard_ms = line.got.len() as u64 * 20;
            assert!(heard_ms.abs_diff(60_000) <= 40, "seed {seed}: {heard_ms} ms, {:?}", line.ingress.stats());
            let stats = line.ingress.stats();
            assert!(stats.packets_discarded < 30, "seed {seed}: {stats:?}");
            // Each sample that came in time is heard, at its place.
            let genuine = line.got.iter().filter(|frame| !frame.concealed).count() as u64;
            assert!(
                genuine + 40 >= stats.packets_received - stats.packets_discarded,
                "seed {seed}: {genuine}, {stats:?}"
            );
            assert!(stats.gap_wait_max <= Duration::from_millis(200));
        }
    }

    #[test]
    fn a_peer_that_sends_nothing_is_silence_in_real_time() {
        let mut line = Line::new();
        line.pass(10_000);
        assert!(line.got.len().abs_diff(500) <= 2, "{}", line.got.len());
        assert!(line.got.iter().all(|frame| frame.concealed && !frame.speech && frame.ulaw == [0xff; 160]));
        assert!(line.got.windows(2).all(|pair| pair[1].at_ms - pair[0].at_ms == 20));
    }

    #[test]
    fn a_peer_with_a_voice_detector_leaves_no_hole() {
        // As PJSIP does: a packet each five seconds in silence, timestamps going on.
        let mut line = Line::new();
        for (n, sequence) in (0..50).chain([250, 500, 750]).chain(1000..1050).zip(0u16..) {
            line.pass(n * 20);
            line.packet(&Rtp { sequence, ..nth(n, 20) });
            let heard_ms = line.got.len() as u64 * 20;
            assert_eq!(heard_ms, (n + 1) * 20, "up to packet {n}");
        }
        let stats = line.ingress.stats();
        assert_eq!((stats.packets_lost, stats.concealed_samples, stats.removed_samples), (0, 0, 0));
        // And while it paused, frames came in real time.
        let pause = line.got.windows(2).skip(60).take(150);
        assert!(pause.into_iter().all(|pair| pair[1].at_ms - pair[0].at_ms <= 40));
    }

    #[test]
    fn what_a_stall_held_up_is_heard_whole_and_the_silence_for_it_is_taken_out() {
        let mut line = Line::new();
        for n in 0..400 {
            // Packets 100 to 119, in the middle of speech, come together after 420 ms of nothing.
            let at = if (100..120).contains(&n) { 2400 } else { n * 20 };
            line.pass(at);
            let payload = if (60..130).contains(&n) { voice(n) } else { vec![0xff; 160] };
            line.packet(&Rtp { payload, ..nth(n, 20) });
        }
        let burst = line.got.iter().filter(|frame| frame.arrived_ms == 2400 && !frame.concealed).count();
        assert_eq!(burst, 21, "every packet of the stall is heard, and the one after it");
        let stats = line.ingress.stats();
        assert_eq!(stats.packets_lost, 0);
        assert!(stats.silent_samples > 8 * 300, "{stats:?}");
        let filled = line.got.iter().position(|frame| frame.arrived_ms == 2400).expect("the burst");
        assert!(line.got[..filled].iter().filter(|frame| frame.concealed).count() >= 15);
        assert_eq!(stats.removed_samples, stats.silent_samples);
        assert_eq!(line.got.len(), 400);
    }

    #[test]
    fn speech_is_dated_by_its_packet_and_never_made_up() {
        let mut line = Line::new();
        for n in 0..150 {
            line.pass(n * 20);
            let loud = (50..90).contains(&n);
            if n % 10 == 7 {
                continue;
            }
            let payload = if loud { voice(n) } else { vec![0xff; 160] };
            line.packet(&Rtp { payload, ..nth(n, 20) });
        }
        line.pass(3500);
        assert_eq!(line.speaking.len(), 2, "{:?}", line.speaking);
        let (onset, end) = (line.speaking[0].0, line.speaking[1].0);
        assert!((1000..=1140).contains(&onset), "{onset}");
        assert!((1780..=2100).contains(&end), "{end}");
        let last = line.got.iter().rfind(|frame| frame.speech).expect("there was speech");
        assert!((1760..=1820).contains(&last.arrived_ms), "{last:?}");
        assert!(line.got.iter().all(|frame| !(frame.speech && frame.concealed)));
    }

    #[test]
    fn keys_are_told_at_once_and_their_time_is_kept() {
        // PJSIP: audio pauses, twelve packets share a timestamp.
        let mut line = Line::new();
        for n in 0..62u64 {
            line.pass(n * 20);
            if (50..62).contains(&n) {
                let ended = n > 58;
                let duration = ((n - 49).min(10) * 160) as u16;
                let [d0, d1] = duration.to_be_bytes();
                let payload = vec![5, if ended { 0x8a } else { 10 }, d0, d1];
                let timestamp = nth(50, 20).timestamp;
                line.packet(&Rtp { payload_type: 101, timestamp, payload, ..nth(n, 20) });
                assert_eq!(line.digits, "5");
            } else {
                line.packet(&nth(n, 20));
            }
        }
        for n in 62..100 {
            line.pass(n * 20);
            line.packet(&nth(n, 20));
        }
        assert_eq!((line.digits.as_str(), line.got.len()), ("5", 100));
        assert_eq!(line.ingress.stats().packets_lost, 0);
    }

    #[test]
    fn keys_between_the_audio_disturb_nothing() {
        // baresip: events take sequence numbers of their own, and audio goes on.
        let mut line = Line::new();
        let mut sequence = 0u16;
        for n in 0..60 {
            line.pass(n * 20);
            if (20..30).contains(&n) {
                let payload = vec![11, 10, 0, 160];
                let timestamp = nth(20, 20).timestamp;
                line.packet(&Rtp { payload_type: 101, sequence, timestamp, payload, ..nth(n, 20) });
                sequence += 1;
            }
            line.packet(&Rtp { sequence, ..nth(n, 20) });
            sequence += 1;
        }
        assert_eq!((line.digits.as_str(), line.got.len(), line.concealed()), ("#", 60, 0));
    }

    #[test]
    fn a_held_call_is_silence_and_goes_on_afterwards() {
        let mut line = Line::new();
        let hold = Agreed { direction: Direction::RecvOnly, held: true, ..agreed() };
        for n in 0..300 {
            line.pass(n * 20);
            if n == 100 {
                line.ingress.set_agreed(&hold);
            } else if n == 200 {
                line.ingress.set_agreed(&agreed());
            }
            line.packet(&nth(n, 20));
        }
        assert!(line.got.len().abs_diff(300) <= 2, "{}", line.got.len());
        assert_eq!(line.got[99].ulaw[..], nth(99, 20).payload[..]);
        assert!(line.got[102..196].iter().all(|frame| frame.concealed), "music on hold is not the caller");
        let last = line.got.last().expect("it goes on");
        assert_eq!(last.ulaw[40..], nth(299, 20).payload[40..]);
        assert_eq!(line.ingress.stats().packets_lost, 0);
    }

    #[test]
    fn a_timestamp_that_stood_still_in_a_pause_takes_nothing_out() {
        let mut line = Line::new();
        for n in 0..100 {
            line.pass(n * 20);
            line.packet(&nth(n, 20));
        }
        // Five seconds later the stream goes on as if nothing had been.
        for n in 100..400 {
            line.pass(5000 + n * 20);
            line.packet(&nth(n, 20));
        }
        assert_eq!(line.ingress.stats().removed_samples, 0);
        assert!((line.got.len() as u64 * 20).abs_diff(5000 + 8000) <= 40);
    }

    #[test]
    fn another_ssrc_goes_on_after_two_packets() {
        let mut line = Line::new();
        for n in 0..100 {
            line.pass(n * 20);
            let packet = if n < 50 {
                nth(n, 20)
            } else {
                Rtp { ssrc: 9, sequence: n as u16, timestamp: 77 + n as u32 * 160, ..nth(n, 20) }
            };
            line.packet(&packet);
        }
        assert_eq!(line.ingress.discards().of(Discard::Probation), 1);
        assert!(line.got.len().abs_diff(100) <= 1, "{}", line.got.len());
        assert_eq!(line.ingress.ssrc(), Some(Ssrc(9)));
        assert_eq!(line.got.last().expect("it goes on").ulaw[40..], nth(99, 20).payload[40..]);
    }

    #[test]
    fn a_codec_switch_by_re_offer_is_heard() {
        let mut line = Line::new();
        line.packet(&nth(0, 20));
        let pcma = Agreed { encoding: Encoding::Pcma, payload_types_received: [None, Some(8), None], ..agreed() };
        line.ingress.set_agreed(&pcma);
        line.pass(20);
        line.packet(&nth(1, 20));
        assert_eq!(line.ingress.discards().of(Discard::PayloadType), 1, "the old one is not agreed any more");
        line.pass(40);
        line.packet(&Rtp { payload_type: 8, payload: vec![0xd5; 160], ..nth(2, 20) });
        line.pass(100);
        assert!(line.got.len() >= 3);
    }

    #[test]
    fn strangers_are_never_heard() {
        let mut line = Line::new();
        for n in 0..200 {
            line.pass(n * 20);
            line.packet(&nth(n, 20));
            let stranger = Rtp { payload: voice(n), ssrc: 7, ..nth(n + 1, 20) };
            line.datagram("203.0.113.5:4000", &stranger.bytes());
            line.datagram("198.51.100.1:4002", &stranger.bytes());
        }
        assert_eq!(line.ingress.discards().of(Discard::Foreign), 400);
        assert!(line.got.iter().all(|frame| !frame.speech));
        assert_eq!(line.ingress.destination(), Some(PEER.parse().expect("an address")));
    }

    #[test]
    fn reports_both_ways_are_understood() {
        let mut line = Line::new();
        for n in 0..100 {
            line.pass(n * 20);
            line.packet(&nth(n, 20));
        }
        let info = rtcp::SenderInfo { ntp: 0x1122_3344_5566_7788, ..Default::default() };
        let block = ReportBlock { ssrc: Ssrc(99), fraction_lost: 5, ..Default::default() };
        let mut bytes = [0; rtcp::SENT_LEN_MAX];
        let report = rtcp::Report { ssrc: Ssrc(7), sender: Some(info), block: Some(block), cname: "x", bye: true };
        let len = report.write(&mut bytes).expect("it fits");
        let mut about = Vec::new();
        let at = Instant::from_millis(2000);
        let source: SocketAddr = "198.51.100.1:4001".parse().expect("an address");
        line.ingress.handle_rtcp(source, &bytes[..len], at, Ssrc(99), &mut |block| about.push(block.copied()));
        line.ingress.handle_rtcp(source, &bytes[..len], at, Ssrc(98), &mut |block| about.push(block.copied()));
        assert_eq!(about, [Some(block), None], "only what is about us");
        let ours = line.ingress.report(Instant::from_millis(3000)).expect("there is a stream");
        assert_eq!((ours.ssrc, ours.last_sr, ours.delay_since_last_sr), (Ssrc(7), 0x3344_5566, 65_536));
        line.pass(2001);
        line.packet(&nth(100, 20));
        assert_eq!(line.got.last().expect("a BYE ends nothing").at_ms, 2001);
    }

    #[test]
    fn forged_rtcp_is_not_taken_and_no_sign_of_life() {
        let mut line = Line::new();
        line.packet(&nth(0, 20));
        line.pass(5000);
        let before = line.ingress.last_heard();
        let info = rtcp::SenderInfo { ntp: 0x1122_3344_5566_7788, ..Default::default() };
        let block = ReportBlock { ssrc: Ssrc(99), fraction_lost: 255, ..Default::default() };
        let mut bytes = [0; rtcp::SENT_LEN_MAX];
        for (source, ssrc) in [("198.51.100.1:4001", 8), ("203.0.113.5:4001", 7), ("203.0.113.5:4000", 8)] {
            let report =
                rtcp::Report { ssrc: Ssrc(ssrc), sender: Some(info), block: Some(block), cname: "x", bye: true };
            let len = report.write(&mut bytes).expect("it fits");
            let source: SocketAddr = source.parse().expect("an address");
            let now = Instant::from_millis(5000);
            line.ingress.handle_rtcp(source, &bytes[..len], now, Ssrc(99), &mut |_| panic!("it is from {source}"));
        }
        assert_eq!(line.ingress.discards().of(Discard::Foreign), 3);
        assert_eq!(line.ingress.last_heard(), before);
        assert_eq!(line.ingress.rtcp_destination(), Some("198.51.100.1:4001".parse().expect("an address")));
        assert_eq!(line.ingress.report(Instant::from_millis(5000)).map(|block| block.last_sr), Some(0));
    }

    #[test]
    fn a_strangers_payload_type_is_a_strangers() {
        let mut line = Line::new();
        line.datagram("203.0.113.5:4000", &Rtp { payload_type: 18, ..nth(0, 20) }.bytes());
        line.packet(&Rtp { payload_type: 18, ..nth(0, 20) });
        let discards = line.ingress.discards();
        assert_eq!((discards.of(Discard::Foreign), discards.of(Discard::PayloadType)), (1, 1));
        assert_eq!(line.ingress.latched(), None, "and nothing is learned from a wrong one");
    }

    #[test]
    fn hostile_datagrams_do_no_harm() {
        let mut rng = fastrand::Rng::with_seed(4);
        let mut line = Line::new();
        for n in 0..3000u64 {
            line.pass(n * 5);
            let mut bytes = nth(n / 4, 20).bytes();
            for _ in 0..rng.usize(..4) {
                let at = rng.usize(..24);
                bytes[at] = rng.u8(..);
            }
            bytes.truncate(rng.usize(..=bytes.len()));
            line.datagram(PEER, &bytes);
            let source: SocketAddr = PEER.parse().expect("an address");
            let now = Instant::from_millis(line.now_ms);
            line.ingress.handle_rtcp(source, &bytes, now, Ssrc(7), &mut |_| {});
        }
        // Whatever they said, the recogniser's time stays near real time.
        let heard_ms = line.got.len() as u64 * 20;
        assert!((13_000..20_000).contains(&heard_ms), "{heard_ms} ms in 15 s: {:?}", line.ingress.stats());
    }
}
