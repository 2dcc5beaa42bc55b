//! Agent to caller, by the clock: one packet in each slot, silence too, and never two at once.

use super::codec::Encoder;
use super::grid::Grid;
use super::meter::Meter;
use super::playout::{Playout, Taken};
use super::reporter::Reporter;
use crate::audio::dual_tone::DualTone;
use crate::rtp::keypad::{EVENT_LEN, Keypad, Presses, Step};
use crate::rtp::packet::{self, Header};
use crate::rtp::rtcp::{RemoteInbound, ReportBlock};
use crate::rtp::sender::Sender;
use crate::rtp::{CLOCK_RATE, PayloadType, RtpTimestamp, SequenceNumber, Ssrc};
use crate::sdp::Agreed;
use crate::time::{Instant, samples};
use std::sync::Arc;
use std::time::Duration;

/// The least time between two packets: enough to be two packets to every receiver and not a burst, and little enough to be
/// no delay to the first word of a reply.
const SPACING_MIN: Duration = Duration::from_millis(2);
/// Changes of our SSRC in a call: one that meets ours by chance will hardly be met by another. A peer whose SSRC is ours each time
/// sends our own packets back, and means no harm.
const SSRC_CHANGES_MAX: u8 = 2;
/// Samples of the shortest packet, 10 ms.
const PACKET_SAMPLES_MIN: usize = 80;
/// Samples of the longest packet, 60 ms.
const PACKET_SAMPLES_MAX: usize = 480;

/// What is known when a call's egress begins.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// What the offer and answer agreed upon.
    pub agreed: &'a Agreed,
    /// The first slot; one that is asked for later begins then.
    pub at: Instant,
    /// NTP time (32.32 seconds since 1900) at [`Instant::ZERO`], for sender reports.
    pub ntp_at_zero: u64,
    /// The name in our SDES (RFC 3550 §6.5.1), at most 32 bytes of ASCII.
    pub cname: &'a str,
}

/// An RTP packet that is due, written into the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Bytes of it.
    pub len: usize,
    /// Its sequence number.
    pub sequence: SequenceNumber,
    /// Its timestamp.
    pub timestamp: RtpTimestamp,
    /// What it holds.
    pub taken: Taken,
    /// How late its slot was served: the pacing error against our own grid.
    pub late: Duration,
    /// The keys that it tells of, where it is not audio.
    pub keys: Pressing,
}

/// Whether a packet is about keys that we press.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressing {
    /// Samples of audio whose place it takes; 0: it is audio, if only a tone.
    pub samples: u16,
    /// Whether the last key is up with it, and speech may go on.
    pub done: bool,
}

impl Sent {
    /// Whether it is audio, and not an event of a key.
    #[must_use]
    pub const fn is_audio(&self) -> bool {
        self.keys.samples == 0
    }
}

/// Counts of a call's egress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// RTP packets sent.
    pub packets_sent: u64,
    /// Payload bytes sent.
    pub bytes_sent: u64,
    /// Slots served later than half a slot.
    pub slots_late: u64,
    /// Slots that passed without a packet since the worker came too late for them.
    pub slots_missed: u64,
    /// Talkspurts that moved the grid forward.
    pub pulled_forward: u64,
}

/// A packet as it stands in the caller's buffer.
struct Written {
    len: usize,
    sequence: SequenceNumber,
    timestamp: RtpTimestamp,
}

impl Written {
    const fn new(packet: &[u8], header: &Header) -> Self {
        Self { len: packet.len(), sequence: header.sequence, timestamp: header.timestamp }
    }
}

/// The sending side of one call.
///
/// The grid stands at absolute times, so that a late wake-up delays one packet and no other; slots that passed are skipped,
/// timestamps too, and never made up for by a burst. Within speech that would be a hole: a short stall takes the grid along there,
/// and the timestamps go on. Only the first packet of a talkspurt may leave before its slot: it takes the grid along, too. Silent
/// slots give the time back.
pub struct Egress {
    sender: Sender,
    encoder: Encoder,
    payload_type: PayloadType,
    sending: bool,
    packet_samples: usize,
    /// What the last packet holds; silence where it is no audio.
    pcm: [i16; PACKET_SAMPLES_MAX],
    pcm_len: usize,
    grid: Grid,
    last_sent: Option<Instant>,
    talking: bool,
    reporter: Reporter,
    ssrc_changes: u8,
    keypad: Keypad,
    /// How keys are told: the payload type of events, or none where they are tones in the audio.
    event_type: Option<PayloadType>,
    /// The timestamp of the key that is down.
    key_began: RtpTimestamp,
    tone: DualTone,
    counts: Counts,
    meter: Option<Arc<Meter>>,
    rng: fastrand::Rng,
}

impl Egress {
    /// Begins at a random SSRC, sequence number and timestamp (RFC 3550 §5.1).
    #[must_use]
    pub fn new(start: Start<'_>, rng: &mut fastrand::Rng) -> Self {
        let mut egress = Self {
            sender: Sender::new(rng),
            encoder: Encoder::new(start.agreed.encoding),
            payload_type: PayloadType(start.agreed.payload_type_sent),
            sending: false,
            packet_samples: 0,
            pcm: [0; PACKET_SAMPLES_MAX],
            pcm_len: 0,
            grid: Grid::new(start.at),
            last_sent: None,
            talking: false,
            reporter: Reporter::new(start.at, start.ntp_at_zero, start.cname, rng),
            ssrc_changes: 0,
            keypad: Keypad::new(),
            event_type: None,
            key_began: RtpTimestamp(0),
            tone: DualTone::new(),
            counts: Counts::default(),
            meter: None,
            rng: rng.fork(),
        };
        egress.set_agreed(start.agreed);
        egress
    }

    /// Takes what a re-offer agreed upon; the stream's SSRC, sequence and timestamps go on.
    ///
    /// # Real-time
    /// Constant time.
    pub fn set_agreed(&mut self, agreed: &Agreed) {
        self.encoder.set_encoding(agreed.encoding);
        self.payload_type = PayloadType(agreed.payload_type_sent);
        self.event_type = agreed.telephone_event_sent.map(PayloadType);
        self.sending = agreed.direction.sends();
        let samples = samples::count(Duration::from_millis(agreed.ptime_ms.into()), CLOCK_RATE) as usize;
        self.packet_samples = samples.clamp(PACKET_SAMPLES_MIN, PACKET_SAMPLES_MAX);
    }

    /// Lets `meter` show how loud what is sent is.
    pub fn set_meter(&mut self, meter: Arc<Meter>) {
        self.meter = Some(meter);
    }

    /// Presses `keys` from the next slot on, in place of those that are still to be pressed. Speech waits meanwhile.
    ///
    /// # Real-time
    /// Constant time.
    pub fn press(&mut self, keys: &Presses) {
        self.keypad.press(keys);
    }

    /// Returns our SSRC.
    #[must_use]
    pub const fn ssrc(&self) -> Ssrc {
        self.sender.ssrc()
    }

    /// Whether the peer's SSRC is ours, too, and ours is to be changed: [`Self::bye`] is sent for it, and then
    /// [`Self::change_ssrc`] takes another (RFC 3550 §8.2).
    ///
    /// # Real-time
    /// Constant time.
    #[must_use]
    pub fn collides(&self, theirs: Ssrc) -> bool {
        theirs == self.sender.ssrc() && self.ssrc_changes < SSRC_CHANGES_MAX
    }

    /// Takes another SSRC.
    ///
    /// # Real-time
    /// Constant time.
    pub fn change_ssrc(&mut self) {
        self.ssrc_changes += 1;
        self.sender.change_ssrc(&mut self.rng);
        self.reporter.begin_anew();
    }

    /// Returns when there is something to do: the next slot, the next report, or at once for the first packet of a talkspurt.
    ///
    /// # Real-time
    /// Constant time.
    #[must_use]
    pub fn poll_timeout(&self, playout: &Playout) -> Instant {
        self.due(playout).min(self.reporter.poll_timeout())
    }

    /// Writes the packet that is due into `out` (at least [`packet::SENT_LEN_MAX`] bytes), if one is. The agreed direction may
    /// forbid it: then time passes without a packet, and the agent's speech waits.
    ///
    /// # Real-time
    /// Bounded by one packet.
    pub fn poll_packet(&mut self, now: Instant, playout: &mut Playout, out: &mut [u8]) -> Option<Sent> {
        if now < self.due(playout) {
            return None;
        }
        let slot = self.slot();
        if self.last_sent.is_none() {
            self.grid.begin(now);
        }
        if now < self.grid.next() {
            self.grid.pull_forward(now);
            self.counts.pulled_forward += 1;
        }
        let late = now.since(self.grid.next());
        if !self.miss_slots(late.as_nanos() / slot.as_nanos()) || !self.sending || self.keypad.is_pressing() {
            playout.interrupt();
        }
        if !self.sending {
            self.skip_slots(1);
            return None;
        }
        let mut frame = [0; PACKET_SAMPLES_MAX];
        let samples = self.packet_samples.min(frame.len());
        let pcm = frame.get_mut(..samples)?;
        let (written, taken, keys) = if let Some(step) = self.keypad.step(self.packet_samples as u16) {
            let (written, pressed) = self.write_key(step, pcm, out)?;
            (written, Taken::default(), Pressing { samples: pressed, done: !self.keypad.is_pressing() })
        } else {
            let taken = playout.take(pcm);
            if let Some(meter) = &self.meter {
                meter.agent(pcm);
            }
            (self.write(pcm, taken.samples > 0, out)?, taken, Pressing::default())
        };
        (self.pcm, self.pcm_len) = (frame, samples);
        self.counts.slots_late += u64::from(late > slot / 2);
        self.advance(now, slot);
        let Written { len, sequence, timestamp } = written;
        Some(Sent { len, sequence, timestamp, taken, late, keys })
    }

    /// Returns what the last packet holds, as it was before it was encoded: mono PCM at 8 kHz.
    #[must_use]
    pub fn pcm(&self) -> &[i16] {
        self.pcm.get(..self.pcm_len).unwrap_or_default()
    }

    /// Whether a report is due.
    ///
    /// # Real-time
    /// Constant time.
    #[must_use]
    pub fn rtcp_due(&self, now: Instant) -> bool {
        now >= self.reporter.poll_timeout()
    }

    /// Writes the RTCP compound packet that is due into `out` (at least [`SENT_LEN_MAX`](crate::rtp::rtcp::SENT_LEN_MAX) bytes), if one is: SR or RR with
    /// `report` about the peer, and SDES. Returns its length.
    ///
    /// # Real-time
    /// Constant time.
    pub fn poll_rtcp(&mut self, now: Instant, report: Option<ReportBlock>, out: &mut [u8]) -> Option<usize> {
        self.reporter.take_due(now).then(|| self.report(now, report, false, out))?
    }

    /// Writes the last RTCP packet of our SSRC, with a BYE. Returns its length.
    ///
    /// # Real-time
    /// Constant time.
    pub fn bye(&mut self, now: Instant, report: Option<ReportBlock>, out: &mut [u8]) -> usize {
        self.report(now, report, true, out).unwrap_or(0)
    }

    /// Takes the peer's report about our stream. Returns the round-trip time, where it gives one.
    ///
    /// # Real-time
    /// Constant time.
    pub fn handle_report(&mut self, report: &ReportBlock, now: Instant) -> Option<Duration> {
        self.reporter.handle_report(report, now)
    }

    /// Returns the last round-trip time that RTCP measured.
    #[must_use]
    pub const fn round_trip(&self) -> Option<Duration> {
        self.reporter.round_trip()
    }

    /// Returns what the peer reported last of our packets.
    #[must_use]
    pub const fn remote(&self) -> Option<RemoteInbound> {
        self.reporter.remote()
    }

    /// Returns the counts.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    fn slot(&self) -> Duration {
        samples::duration(self.packet_samples as u64, CLOCK_RATE)
    }

    /// When the next packet is due: in its slot, or earlier where it begins a talkspurt, as far as the grid allows.
    fn due(&self, playout: &Playout) -> Instant {
        if self.talking || !self.sending || self.keypad.is_pressing() || !playout.ready(self.packet_samples) {
            return self.grid.next();
        }
        let earliest = self.grid.earliest();
        let spaced = self.last_sent.map_or(earliest, |sent| earliest.max(sent + SPACING_MIN));
        spaced.min(self.grid.next())
    }

    /// Slots have passed unserved: within speech the grid moves back by them, as far as it may, else they are skipped. Returns
    /// whether the stream has no hole.
    fn miss_slots(&mut self, slots: u128) -> bool {
        let by = self.slot().saturating_mul(u32::try_from(slots).unwrap_or(u32::MAX));
        if self.talking && self.sending && self.grid.fall_back(by) {
            self.counts.slots_missed += slots as u64;
            return true;
        }
        self.skip_slots(slots);
        slots == 0
    }

    /// Lets slots pass without a packet.
    fn skip_slots(&mut self, slots: u128) {
        let slots = u32::try_from(slots).unwrap_or(u32::MAX);
        if slots > 0 {
            self.grid.pass(self.slot().saturating_mul(slots));
            self.sender.skip(slots.wrapping_mul(self.packet_samples as u32));
            self.counts.slots_missed += if self.sending { u64::from(slots) } else { 0 };
        }
    }

    /// Writes a packet of audio.
    fn write(&mut self, pcm: &[i16], talk: bool, out: &mut [u8]) -> Option<Written> {
        let packet = out.get_mut(..packet::HEADER_LEN + pcm.len())?;
        let header = self.sender.next(self.payload_type, pcm.len() as u16, talk);
        header.write(packet);
        let payload = packet.get_mut(packet::HEADER_LEN..)?;
        self.encoder.encode(pcm, payload);
        self.talking = talk;
        self.counts.packets_sent += 1;
        self.counts.bytes_sent += payload.len() as u64;
        Some(Written::new(packet, &header))
    }

    /// Writes what is to be told of a key: as an event, or as the tones that are its sound. Returns the packet, and the samples of
    /// audio whose place an event takes.
    fn write_key(&mut self, step: Step, pcm: &mut [i16], out: &mut [u8]) -> Option<(Written, u16)> {
        let samples = pcm.len() as u16;
        let first = matches!(step, Step::Down { first: true, .. });
        if first {
            self.key_began = self.sender.timestamp();
        }
        match (self.event_type, step.event()) {
            (Some(payload_type), Some(event)) => {
                let packet = out.get_mut(..packet::HEADER_LEN + EVENT_LEN)?;
                let header = self.sender.next_event(payload_type, self.key_began, samples, EVENT_LEN as u16, first);
                header.write(packet);
                packet.get_mut(packet::HEADER_LEN..)?.copy_from_slice(&event);
                self.talking = false;
                self.counts.packets_sent += 1;
                self.counts.bytes_sent += EVENT_LEN as u64;
                Some((Written::new(packet, &header), samples))
            }
            (None, Some(_)) if matches!(step, Step::Down { .. }) => {
                if let Step::Down { key, first: true, .. } = step {
                    self.tone.begin(key.as_char());
                }
                self.tone.fill(pcm);
                self.write(pcm, true, out).map(|written| (written, 0))
            }
            _ => self.write(pcm, false, out).map(|written| (written, 0)),
        }
    }

    /// Moves on to the next slot.
    fn advance(&mut self, now: Instant, slot: Duration) {
        self.last_sent = Some(now);
        self.grid.pass(slot);
        if !self.talking {
            self.grid.repay();
        }
        if self.grid.next() < now + SPACING_MIN {
            let _ = self.miss_slots(1);
        }
    }

    fn report(&mut self, now: Instant, block: Option<ReportBlock>, bye: bool, out: &mut [u8]) -> Option<usize> {
        self.reporter.write(&self.sender, self.timestamp_at(now), block, bye, now, out)
    }

    /// The timestamp of the media clock at `now`, which wraps.
    fn timestamp_at(&self, now: Instant) -> RtpTimestamp {
        let samples = |time: Duration| samples::count(time, CLOCK_RATE) as u32;
        let (slot, next) = (self.grid.media(), self.sender.timestamp().0);
        RtpTimestamp(next.wrapping_sub(samples(slot.since(now))).wrapping_add(samples(now.since(slot))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FRAME_8K, VoiceFrame};
    use super::*;
    use crate::audio::g711::Codec;
    use crate::ids::TurnId;
    use crate::rtp::packet::{Packet, SENT_LEN_MAX};
    use crate::rtp::rtcp;
    use crate::sdp::{Direction, Encoding, RemoteAddress};

    const AGREED: Agreed = Agreed {
        encoding: Encoding::Pcma,
        payload_type_sent: 8,
        payload_types_received: [None, Some(8), None],
        telephone_event_sent: None,
        telephone_event_received: None,
        comfort_noise_received: None,
        direction: Direction::SendRecv,
        held: false,
        remote: RemoteAddress::Learned { port: 4000 },
        remote_rtcp: RemoteAddress::Learned { port: 4001 },
        rtcp_mux: false,
        ptime_ms: 20,
    };

    struct World {
        egress: Egress,
        playout: Playout,
        now: Instant,
    }

    /// One packet on the wire.
    #[derive(Clone, Copy, Debug)]
    struct Wire {
        at_us: u64,
        sequence: u16,
        timestamp: u32,
        marker: bool,
        talk: bool,
    }

    impl World {
        fn new(agreed: Agreed) -> Self {
            let start = Start { agreed: &agreed, at: Instant::from_millis(1000), ntp_at_zero: 0, cname: "agent" };
            let egress = Egress::new(start, &mut fastrand::Rng::with_seed(1));
            Self { egress, playout: Playout::new(), now: Instant::from_millis(1000) }
        }

        fn poll(&mut self) -> Option<Wire> {
            let mut out = [0; SENT_LEN_MAX];
            let sent = self.egress.poll_packet(self.now, &mut self.playout, &mut out)?;
            let packet = Packet::parse(&out[..sent.len]).expect("it is RTP");
            Some(Wire {
                at_us: self.now.as_nanos() / 1000,
                sequence: packet.header.sequence.0,
                timestamp: packet.header.timestamp.0,
                marker: packet.header.marker,
                talk: sent.taken.samples > 0,
            })
        }

        /// Wakes `late` after each deadline until `until_ms`; returns the packets.
        fn run(&mut self, until_ms: u64, late: Duration) -> Vec<Wire> {
            let mut packets = Vec::new();
            loop {
                let due = self.egress.poll_timeout(&self.playout).max(self.now) + late;
                if due >= Instant::from_millis(until_ms) {
                    self.now = Instant::from_millis(until_ms);
                    return packets;
                }
                self.now = due;
                packets.extend(self.poll());
                let _ = self.egress.poll_rtcp(self.now, None, &mut [0; rtcp::SENT_LEN_MAX]);
            }
        }

        fn speak(&mut self, turn: u32, frames: usize) {
            self.playout.grant(TurnId(turn));
            for n in 0..frames {
                let last = n + 1 == frames;
                let frame = VoiceFrame { turn: TurnId(turn), pcm: [900; FRAME_8K], len: 160, last, made: self.now };
                assert!(self.playout.push(&frame));
            }
        }
    }

    fn gaps_us(packets: &[Wire]) -> Vec<u64> {
        packets.windows(2).map(|pair| pair[1].at_us - pair[0].at_us).collect()
    }

    #[test]
    fn silence_has_a_packet_in_every_slot() {
        let mut world = World::new(AGREED);
        let packets = world.run(11_000, Duration::ZERO);
        assert_eq!(packets.len(), 500);
        assert!(gaps_us(&packets).iter().all(|gap| *gap == 20_000));
        assert!(packets.windows(2).all(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp) == 160));
        assert!(packets[0].marker && packets[1..].iter().all(|packet| !packet.marker));
    }

    #[test]
    fn silence_is_the_codec_s_own() {
        let mut world = World::new(AGREED);
        let mut out = [0; SENT_LEN_MAX];
        let sent = world.egress.poll_packet(world.now, &mut world.playout, &mut out).expect("the first slot");
        assert_eq!(Packet::parse(&out[..sent.len]).expect("it is RTP").payload, [Codec::Pcma.silence(); 160]);
    }

    #[test]
    fn a_talkspurt_leaves_at_once_and_the_time_is_given_back() {
        let mut world = World::new(AGREED);
        let before = world.run(1507, Duration::ZERO);
        world.speak(1, 30);
        let talk = world.run(2107, Duration::ZERO);
        assert_eq!(talk[0].at_us, 1_507_000, "7 ms after a silent packet");
        assert!(talk[0].talk && talk[0].marker);
        assert_eq!(talk[0].timestamp.wrapping_sub(before.last().expect("there are some").timestamp), 160);
        assert_eq!(world.egress.grid.lead(), Duration::from_millis(13));
        assert!(gaps_us(&talk).iter().all(|gap| *gap == 20_000));
        let silence = world.run(4000, Duration::ZERO);
        let gaps = gaps_us(&silence);
        assert_eq!(gaps[..11], [21_000; 11]);
        assert!(gaps[14..].iter().all(|gap| *gap == 20_000), "{gaps:?}");
        assert_eq!(world.egress.grid.lead(), Duration::ZERO);
        assert_eq!(silence.last().expect("there are some").at_us % 20_000, 0, "the old grid");
    }

    #[test]
    fn the_grid_never_stands_more_than_a_packet_before_the_media_clock() {
        let mut world = World::new(AGREED);
        let mut rng = fastrand::Rng::with_seed(2);
        let mut packets = Vec::new();
        for turn in 1..300 {
            let frames = rng.usize(1..5);
            world.speak(turn, frames);
            let until = world.now.as_nanos() / 1_000_000 + rng.u64(1..200);
            packets.extend(world.run(until, Duration::ZERO));
            assert!(world.egress.grid.lead() <= Duration::from_millis(20));
        }
        assert!(gaps_us(&packets).iter().all(|gap| (2_000..=21_000).contains(gap)));
        for packet in &packets {
            let media = packet.timestamp.wrapping_sub(packets[0].timestamp) / 8;
            let wall = (packet.at_us - packets[0].at_us) / 1000;
            assert!((0..=20).contains(&(i64::from(media) - wall as i64)), "{packet:?}");
        }
    }

    #[test]
    fn late_wake_ups_delay_one_packet_and_no_other() {
        let mut world = World::new(AGREED);
        let mut packets = world.run(2000, Duration::ZERO);
        world.now = Instant::from_millis(2008);
        packets.extend(world.poll());
        packets.extend(world.run(2100, Duration::ZERO));
        let gaps = gaps_us(&packets);
        assert_eq!(gaps[48..52], [20_000, 28_000, 12_000, 20_000]);
        assert_eq!(world.egress.counts().slots_missed, 0);
    }

    #[test]
    fn a_stall_is_skipped_and_never_made_up_by_a_burst() {
        let mut world = World::new(AGREED);
        let before = world.run(2000, Duration::ZERO);
        world.now = Instant::from_millis(2107);
        let after = world.poll().expect("a packet is due");
        assert!(world.poll().is_none(), "one");
        let last = before.last().expect("there are some");
        assert_eq!(after.sequence.wrapping_sub(last.sequence), 1);
        assert_eq!(after.timestamp.wrapping_sub(last.timestamp), 6 * 160, "slots 2000 to 2080 are gone");
        assert!(after.marker);
        assert_eq!(world.egress.counts().slots_missed, 5);
        assert_eq!(world.run(2121, Duration::ZERO)[0].at_us, 2_120_000);
    }

    #[test]
    fn a_short_stall_within_speech_makes_no_hole_and_silence_gives_the_time_back() {
        for late_us in [19_500, 27_000, 45_000, 75_000] {
            let mut world = World::new(AGREED);
            world.speak(1, 30);
            let before = world.run(1300, Duration::ZERO);
            world.now = world.egress.due(&world.playout) + Duration::from_micros(late_us);
            let missed = Duration::from_millis(if late_us < 20_000 { 20 } else { late_us / 20_000 * 20 });
            let mut packets = vec![*before.last().expect("there are some")];
            packets.extend(world.poll());
            assert!(world.poll().is_none(), "one");
            assert_eq!(world.egress.grid.lag(), missed);
            assert_eq!(u128::from(world.egress.counts().slots_missed), missed.as_millis() / 20);
            packets.extend(world.run(4000, Duration::ZERO));
            let steps = packets.windows(2).map(|two| two[1].timestamp.wrapping_sub(two[0].timestamp));
            assert!(steps.into_iter().all(|step| step == 160), "{late_us}: timestamps go on");
            assert!(packets[1..].iter().all(|packet| !packet.marker), "it is the same talkspurt");
            let speech: Vec<_> = packets[2..].iter().copied().filter(|packet| packet.talk).collect();
            assert!(gaps_us(&speech).iter().all(|gap| *gap == 20_000), "and nothing comes in a burst");
            assert!(gaps_us(&packets[2..]).iter().all(|gap| [19_000, 20_000].contains(gap)));
            assert_eq!(world.egress.grid.lag(), Duration::ZERO);
            assert_eq!(packets.last().expect("there are some").at_us % 20_000, 0, "the old grid");
            let (first, last) = (before[0], packets.last().expect("there are some"));
            let media = u64::from(last.timestamp.wrapping_sub(first.timestamp)) / 8;
            assert_eq!(media, (last.at_us - first.at_us) / 1000, "the media clock's");
        }
    }

    #[test]
    fn a_long_stall_is_a_hole_also_within_speech() {
        let mut world = World::new(AGREED);
        world.speak(1, 30);
        let before = world.run(1300, Duration::ZERO);
        world.now = world.egress.due(&world.playout) + Duration::from_millis(81);
        let after = world.poll().expect("a packet is due");
        let last = before.last().expect("there are some");
        assert_eq!(after.timestamp.wrapping_sub(last.timestamp), 5 * 160);
        assert!(after.marker);
        assert_eq!((world.egress.grid.lag(), world.egress.counts().slots_missed), (Duration::ZERO, 4));
    }

    #[test]
    fn speech_goes_on_softly_where_nothing_was_sent_meanwhile() {
        let stall = |world: &mut World| world.now = world.egress.due(&world.playout) + Duration::from_millis(500);
        let hold = |world: &mut World| {
            world.egress.set_agreed(&Agreed { direction: Direction::RecvOnly, held: true, ..AGREED });
            world.run(1500, Duration::ZERO);
            world.egress.set_agreed(&AGREED);
        };
        let keys = |world: &mut World| {
            world.egress.set_agreed(&WITH_EVENTS);
            world.egress.press(&Presses::parse("1").expect("keys"));
            while !packets(world, world.now.as_nanos() / 1_000_000 + 20).iter().any(|(.., keys)| keys.done) {}
        };
        for (n, interrupt) in [&stall as &dyn Fn(&mut World), &hold, &keys].into_iter().enumerate() {
            let mut world = World::new(AGREED);
            world.speak(1, 30);
            world.run(1300, Duration::ZERO);
            let before = world.playout.heard(TurnId(1));
            interrupt(&mut world);
            while world.playout.heard(TurnId(1)) == before {
                world.now = world.egress.due(&world.playout).max(world.now);
                let _ = world.poll();
            }
            let pcm = world.egress.pcm();
            assert!(pcm[0] < 900 / 20 && pcm[40..] == [900; 120], "way {n}: {:?}", &pcm[..45]);
            assert_eq!((world.playout.heard(TurnId(1)), world.playout.underruns()), (before + 160, 0));
        }
    }

    #[test]
    fn reports_tell_the_media_clock_also_while_the_grid_is_behind_it() {
        let mut world = World::new(AGREED);
        world.speak(1, 30);
        let before = world.run(1300, Duration::ZERO);
        world.now = world.egress.due(&world.playout) + Duration::from_millis(41);
        world.poll().expect("a packet is due");
        let media = world.egress.timestamp_at(world.now).0.wrapping_sub(before[0].timestamp) / 8;
        assert_eq!(u64::from(media), world.now.since(Instant::from_millis(1000)).as_millis() as u64);
    }

    #[test]
    fn two_packets_are_never_closer_than_the_spacing() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut world = World::new(AGREED);
        let mut packets = Vec::new();
        let mut turn = 0;
        for _ in 0..5000 {
            if rng.u8(..20) == 0 {
                turn += 1;
                world.speak(turn, rng.usize(1..8));
            }
            world.now += Duration::from_micros(rng.u64(..40_000));
            packets.extend(world.poll());
            assert!(world.poll().is_none());
        }
        assert!(gaps_us(&packets).iter().all(|gap| *gap >= 2_000));
    }

    #[test]
    fn a_direction_that_forbids_sends_nothing_and_keeps_the_speech() {
        let mut world = World::new(AGREED);
        let before = world.run(1200, Duration::ZERO);
        world.speak(1, 5);
        world.egress.set_agreed(&Agreed { direction: Direction::RecvOnly, held: true, ..AGREED });
        assert!(world.run(2200, Duration::ZERO).is_empty());
        world.egress.set_agreed(&AGREED);
        let after = world.run(2400, Duration::ZERO);
        assert!(after[0].marker && after[0].talk);
        let last = before.last().expect("there are some");
        assert_eq!(after[0].sequence.wrapping_sub(last.sequence), 1);
        let media = after[0].timestamp.wrapping_sub(last.timestamp) / 8;
        assert!(u64::from(media).abs_diff((after[0].at_us - last.at_us) / 1000) <= 20, "time went on: {media} ms");
        assert_eq!(world.playout.heard(TurnId(1)), 800);
        assert_eq!(world.egress.counts().slots_missed, 0);
    }

    #[test]
    fn the_agreed_packet_time_is_kept() {
        for ptime_ms in [10, 30, 60] {
            let mut world = World::new(Agreed { ptime_ms, ..AGREED });
            let packets = world.run(2200, Duration::ZERO);
            assert!(gaps_us(&packets).iter().all(|gap| *gap == u64::from(ptime_ms) * 1000));
            assert_eq!(packets.len(), 1200 / usize::from(ptime_ms));
        }
    }

    #[test]
    fn a_reply_begins_with_a_whole_packet_however_long_that_is() {
        for (ptime_ms, frames) in [(10, 1), (20, 1), (30, 2), (40, 2), (60, 3)] {
            let mut world = World::new(Agreed { ptime_ms, ..AGREED });
            world.run(1500, Duration::ZERO);
            world.playout.grant(TurnId(1));
            let frame = VoiceFrame { turn: TurnId(1), pcm: [900; FRAME_8K], len: 160, last: false, made: world.now };
            // One 20 ms frame comes every 20 ms, which a longer packet has to wait for.
            for n in 1..frames {
                assert!(world.playout.push(&frame));
                let until = world.now.as_nanos() / 1_000_000 + 20;
                assert!(world.run(until, Duration::ZERO).iter().all(|packet| !packet.talk), "{ptime_ms} ms, frame {n}");
            }
            assert!(world.playout.push(&frame));
            let mut out = [0; SENT_LEN_MAX];
            let sent = loop {
                world.now = world.egress.due(&world.playout).max(world.now);
                match world.egress.poll_packet(world.now, &mut world.playout, &mut out) {
                    Some(sent) if sent.taken.samples > 0 => break sent,
                    _ => world.now += Duration::from_micros(100),
                }
            };
            assert_eq!((usize::from(sent.taken.samples), sent.taken.underrun), (usize::from(ptime_ms) * 8, false));
            // The end of a turn waits for nothing.
            let mut world = World::new(Agreed { ptime_ms, ..AGREED });
            world.speak(1, 1);
            let packets = world.run(1130, Duration::ZERO);
            assert_eq!(packets.iter().filter(|packet| packet.talk).count(), if ptime_ms == 10 { 2 } else { 1 });
        }
    }

    #[test]
    fn g722_is_sent_at_its_clock_rate_of_8000_hz() {
        for ptime_ms in [10, 20, 30, 60] {
            let agreed = Agreed { encoding: Encoding::G722, payload_type_sent: 9, ptime_ms, ..AGREED };
            let mut world = World::new(agreed);
            world.speak(1, 12);
            let mut decoder = super::super::codec::Decoder::new(Encoding::G722);
            let (mut heard, mut timestamps) = (Vec::new(), Vec::new());
            while world.now < Instant::from_millis(1300) {
                world.now = world.egress.due(&world.playout).max(world.now);
                let mut out = [0; SENT_LEN_MAX];
                let Some(sent) = world.egress.poll_packet(world.now, &mut world.playout, &mut out) else { continue };
                let packet = Packet::parse(&out[..sent.len]).expect("it is RTP");
                assert_eq!(
                    (packet.header.payload_type, packet.payload.len()),
                    (PayloadType(9), usize::from(ptime_ms) * 8)
                );
                timestamps.push(packet.header.timestamp.0);
                heard.extend_from_slice(decoder.decode(packet.payload, &mut [0; 960]));
            }
            assert!(timestamps.windows(2).all(|two| two[1].wrapping_sub(two[0]) == u32::from(ptime_ms) * 8));
            // A constant of 900 at 8 kHz is one at 16 kHz.
            assert!(heard[800..3200].iter().all(|sample| (850..950).contains(sample)), "{ptime_ms} ms");
        }
    }

    const WITH_EVENTS: Agreed = Agreed { telephone_event_sent: Some(96), ..AGREED };

    /// Runs to `until_ms` and returns each packet: header, payload, and what is said of keys.
    fn packets(world: &mut World, until_ms: u64) -> Vec<(packet::Header, Vec<u8>, Pressing)> {
        let mut sent = Vec::new();
        while world.now < Instant::from_millis(until_ms) {
            world.now = world.egress.due(&world.playout).max(world.now);
            let mut out = [0; SENT_LEN_MAX];
            if let Some(packet) = world.egress.poll_packet(world.now, &mut world.playout, &mut out) {
                let read = Packet::parse(&out[..packet.len]).expect("it is RTP");
                sent.push((read.header, read.payload.to_vec(), packet.keys));
            }
        }
        sent
    }

    #[test]
    fn keys_are_events_in_the_stream_and_speech_waits_for_them() {
        let mut world = World::new(WITH_EVENTS);
        world.speak(1, 20);
        packets(&mut world, 1100);
        let before = world.playout.heard(TurnId(1));
        world.egress.press(&Presses::parse("1#").expect("keys"));
        let sent = packets(&mut world, 1600);
        let events: Vec<_> = sent.iter().take_while(|(.., keys)| !keys.done).collect();
        assert_eq!(events.len(), 15, "two keys of 160 ms, and the last slot says that they are done");
        let (first, payload, _) = events[0];
        assert_eq!((first.payload_type, first.marker, &payload[..]), (PayloadType(96), true, &[1, 10, 0, 160][..]));
        for (n, (header, payload, _)) in events[..7].iter().enumerate() {
            assert_eq!(header.timestamp, first.timestamp, "the timestamp is the beginning of the event");
            assert_eq!(header.sequence.0, first.sequence.0.wrapping_add(n as u16));
            assert_eq!((header.marker, payload[1] & 0x80 != 0), (n == 0, n >= 4));
            assert_eq!(u16::from_be_bytes([payload[2], payload[3]]), 160 * (n as u16 + 1).min(5));
        }
        assert_eq!((events[7].0.payload_type, events[7].1.len()), (PayloadType(8), 160), "a pause of silence");
        let second = &events[8];
        assert_eq!((second.1[0], second.0.marker), (11, true));
        assert_eq!(second.0.timestamp.0.wrapping_sub(first.timestamp.0), 8 * 160, "the media clock went on");
        let after = &sent[16];
        assert_eq!(after.0.timestamp.0.wrapping_sub(first.timestamp.0), 16 * 160);
        assert!(after.0.marker, "speech begins anew");
        assert!(world.playout.heard(TurnId(1)) > before);
        assert_eq!(world.playout.underruns(), 0);
    }

    #[test]
    fn a_peer_without_events_hears_the_keys_in_the_audio() {
        for encoding in [Encoding::Pcma, Encoding::G722] {
            let mut world = World::new(Agreed { encoding, ..AGREED });
            world.egress.press(&Presses::parse("159D").expect("keys"));
            let mut decoder = super::super::codec::Decoder::new(encoding);
            let mut detector = crate::audio::tone::Detector::new();
            let mut heard = String::new();
            let sent = packets(&mut world, 2000);
            assert_eq!(sent.iter().filter(|(.., keys)| keys.done).count(), 1);
            for (_, payload, keys) in sent {
                assert_eq!(keys.samples, 0, "it is audio");
                let mut pcm = [0; 960];
                let decoded = decoder.decode(&payload, &mut pcm);
                let step = decoded.len() / FRAME_8K;
                let mut frame = [0; FRAME_8K];
                frame.iter_mut().zip(decoded.iter().step_by(step)).for_each(|(to, from)| *to = *from);
                heard.extend(detector.push(&frame));
            }
            assert_eq!(heard, "159D", "{encoding:?}");
        }
    }

    #[test]
    fn keys_wait_while_nothing_may_be_sent() {
        let mut world = World::new(WITH_EVENTS);
        world.egress.press(&Presses::parse("5").expect("keys"));
        world.egress.set_agreed(&Agreed { direction: Direction::RecvOnly, held: true, ..WITH_EVENTS });
        assert!(packets(&mut world, 1500).is_empty());
        world.egress.set_agreed(&WITH_EVENTS);
        let sent = packets(&mut world, 2000);
        assert_eq!((sent[0].1.len(), sent[0].0.marker), (4, true));
        assert_eq!(sent.iter().filter(|(.., keys)| keys.done).count(), 1);
    }

    #[test]
    fn a_codec_switch_goes_on_in_the_same_stream() {
        let mut world = World::new(AGREED);
        let before = world.run(1100, Duration::ZERO);
        world.egress.set_agreed(&Agreed { encoding: Encoding::Pcmu, payload_type_sent: 0, ..AGREED });
        let mut out = [0; SENT_LEN_MAX];
        world.now = Instant::from_millis(1100);
        let sent = world.egress.poll_packet(world.now, &mut world.playout, &mut out).expect("a slot");
        let packet = Packet::parse(&out[..sent.len]).expect("it is RTP");
        assert_eq!((packet.header.payload_type, packet.payload[0]), (PayloadType(0), Codec::Pcmu.silence()));
        let last = before.last().expect("there are some");
        assert_eq!(packet.header.timestamp.0.wrapping_sub(last.timestamp), 160);
    }

    #[test]
    fn reports_tell_what_was_sent_and_at_which_timestamp() {
        let mut world = World::new(AGREED);
        let packets = world.run(2500, Duration::ZERO);
        let mut out = [0; rtcp::SENT_LEN_MAX];
        let mut sent = None;
        while sent.is_none() {
            world.now += Duration::from_millis(1);
            let _ = world.poll();
            sent = world.egress.poll_rtcp(world.now, None, &mut out);
        }
        let mut compound = rtcp::Compound::parse(&out[..sent.expect("the loop ends with it")]).expect("it is whole");
        let Some(rtcp::Packet::SenderReport { info, .. }) = compound.next() else { panic!("it begins with SR") };
        assert_eq!(u64::from(info.packets), world.egress.counts().packets_sent);
        assert_eq!(u64::from(info.octets), world.egress.counts().bytes_sent);
        let media = info.timestamp.0.wrapping_sub(packets[0].timestamp) / 8;
        assert_eq!(u64::from(media), world.now.since(Instant::from_millis(1000)).as_millis() as u64);
    }

    #[test]
    fn without_packets_since_the_last_report_it_is_a_receiver_report() {
        let mut world = World::new(Agreed { direction: Direction::Inactive, held: true, ..AGREED });
        let mut out = [0; rtcp::SENT_LEN_MAX];
        let len = world.egress.bye(world.now, None, &mut out);
        let mut compound = rtcp::Compound::parse(&out[..len]).expect("it is whole");
        assert!(matches!(compound.next(), Some(rtcp::Packet::ReceiverReport { .. })));
        assert_eq!(compound.last(), Some(rtcp::Packet::Bye));
    }

    #[test]
    fn the_peer_s_report_gives_the_round_trip() {
        let mut world = World::new(AGREED);
        let mut out = [0; rtcp::SENT_LEN_MAX];
        let _ = world.poll().expect("the first packet");
        let at = Instant::from_millis(5000);
        let len = world.egress.poll_rtcp(at, None, &mut out).expect("it is due");
        let mut compound = rtcp::Compound::parse(&out[..len]).expect("it is whole");
        let Some(rtcp::Packet::SenderReport { info, .. }) = compound.next() else { panic!("it begins with SR") };
        let last_sr = rtcp::ntp_middle(info.ntp);
        let block = ReportBlock { last_sr, delay_since_last_sr: 65_536, fraction_lost: 3, ..Default::default() };
        let trip = world.egress.handle_report(&block, Instant::from_millis(6030)).expect("there is one");
        assert!(trip.abs_diff(Duration::from_millis(30)) < Duration::from_millis(1), "{trip:?}");
        assert_eq!(world.egress.remote().map(|remote| remote.fraction_lost), Some(3));
        let forged = ReportBlock { last_sr: last_sr.wrapping_add(1), ..block };
        assert_eq!(world.egress.handle_report(&forged, Instant::from_millis(9000)), None);
        assert_eq!(world.egress.round_trip(), Some(trip), "the last one that was measured");
    }

    #[test]
    fn an_ssrc_of_the_peer_s_is_given_up_and_an_echo_is_not_fled_from() {
        let mut world = World::new(AGREED);
        let ours = world.egress.ssrc();
        assert!(!world.egress.collides(Ssrc(ours.0.wrapping_add(1))));
        assert!(world.egress.collides(ours));
        world.egress.change_ssrc();
        assert_ne!(world.egress.ssrc(), ours);
        for _ in 0..100 {
            if world.egress.collides(world.egress.ssrc()) {
                world.egress.change_ssrc();
            }
        }
        assert_eq!(world.egress.ssrc_changes, SSRC_CHANGES_MAX, "it sends back what we send");
    }
}
