//! SR, RR, SDES and BYE: read to the byte, written as one compound packet, and when to send it (RFC 3550 §6).

use super::packet::DATAGRAM_LEN_MAX;
use super::{CLOCK_RATE, Discard, RtpTimestamp, Ssrc};
use crate::time::{Instant, samples};
use std::time::Duration;

/// Largest compound packet that we send: SR with one block (52), SDES with a name of 32 bytes (44), BYE (8).
pub const SENT_LEN_MAX: usize = 128;
/// Longest name that we send.
pub const CNAME_LEN_MAX: usize = 32;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
/// SDES item CNAME (RFC 3550 §6.5.1).
const CNAME: u8 = 1;
/// Bytes of a report block (RFC 3550 §6.4.1).
const BLOCK_LEN: usize = 24;

/// What one side reports about the other's stream (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream that this is about.
    pub ssrc: Ssrc,
    /// Packets lost since the previous report, of 256.
    pub fraction_lost: u8,
    /// Packets lost in all; negative where duplicates came.
    pub cumulative_lost: i32,
    /// The highest sequence number that came, with its cycles.
    pub highest_sequence: u32,
    /// Interarrival jitter, in timestamp units.
    pub jitter: u32,
    /// The middle of the NTP time of the last SR that came; 0: none did.
    pub last_sr: u32,
    /// Time since that SR came, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

/// What a sender says of its own stream (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// NTP time, 32.32 seconds.
    pub ntp: u64,
    /// The same moment in the stream's timestamps.
    pub timestamp: RtpTimestamp,
    /// Packets sent.
    pub packets: u32,
    /// Bytes of payload sent.
    pub octets: u32,
}

/// One packet of a compound packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// SR.
    SenderReport { ssrc: Ssrc, info: SenderInfo, blocks: Blocks<'a> },
    /// RR.
    ReceiverReport { ssrc: Ssrc, blocks: Blocks<'a> },
    /// SDES; its items mean nothing to us.
    SourceDescription,
    /// BYE. It ends a stream's membership, never a call: PJSIP sends it at each hold and goes on with the same SSRC.
    Bye,
    /// APP, XR, feedback, or a type not yet invented: skipped by its length.
    Other(u8),
}

/// The packets of a datagram, checked to the byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

impl<'a> Compound<'a> {
    /// Reads `datagram`. Reduced size (RFC 5506) is accepted: any packet may come first or alone.
    ///
    /// # Errors
    /// [`Discard::Malformed`] where any length does not fit, or a version is not 2.
    ///
    /// # Real-time
    /// Bounded by the datagram's length; nothing is copied.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Discard> {
        if datagram.is_empty() || datagram.len() > DATAGRAM_LEN_MAX {
            return Err(Discard::Malformed);
        }
        let mut rest = datagram;
        while !rest.is_empty() {
            (_, rest) = split(rest).ok_or(Discard::Malformed)?;
        }
        Ok(Self { rest: datagram })
    }

    /// Returns the SSRC that speaks, which stands first in each packet but those of SDES and BYE without any.
    #[must_use]
    pub fn sender(&self) -> Option<Ssrc> {
        let (ssrc, _) = take_u32(self.rest.get(4..)?)?;
        Some(Ssrc(ssrc))
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        let (packet, rest) = split(self.rest)?;
        self.rest = rest;
        Some(packet)
    }
}

/// Takes the first packet off; `None` where it is not whole.
fn split(bytes: &[u8]) -> Option<(Packet<'_>, &[u8])> {
    let &[flags, kind, l0, l1] = bytes.first_chunk::<4>()?;
    let (whole, rest) = bytes.split_at_checked(4 + 4 * usize::from(u16::from_be_bytes([l0, l1])))?;
    let mut body = whole.get(4..)?;
    if flags >> 6 != 2 {
        return None;
    }
    if flags & 0x20 != 0 {
        // Padding is for the last packet only, in whole words (§6.4.1).
        let padding = usize::from(*body.last()?);
        if padding == 0 || padding % 4 != 0 || !rest.is_empty() {
            return None;
        }
        body = body.get(..body.len().checked_sub(padding)?)?;
    }
    let count = usize::from(flags & 0x1f);
    let packet = match kind {
        SENDER_REPORT => {
            let (ssrc, body) = take_u32(body)?;
            let (ntp_high, body) = take_u32(body)?;
            let (ntp_low, body) = take_u32(body)?;
            let (timestamp, body) = take_u32(body)?;
            let (packets, body) = take_u32(body)?;
            let (octets, body) = take_u32(body)?;
            let ntp = u64::from(ntp_high) << 32 | u64::from(ntp_low);
            let info = SenderInfo { ntp, timestamp: RtpTimestamp(timestamp), packets, octets };
            Packet::SenderReport { ssrc: Ssrc(ssrc), info, blocks: Blocks(body.get(..count * BLOCK_LEN)?) }
        }
        RECEIVER_REPORT => {
            let (ssrc, body) = take_u32(body)?;
            Packet::ReceiverReport { ssrc: Ssrc(ssrc), blocks: Blocks(body.get(..count * BLOCK_LEN)?) }
        }
        SOURCE_DESCRIPTION => Packet::SourceDescription,
        BYE => body.get(..4 * count).map(|_| Packet::Bye)?,
        other => Packet::Other(other),
    };
    Some((packet, rest))
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*first), rest))
}

/// The report blocks of an SR or RR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks<'a>(&'a [u8]);

impl Iterator for Blocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (ssrc, rest) = take_u32(self.0)?;
        let (lost, rest) = take_u32(rest)?;
        let (highest_sequence, rest) = take_u32(rest)?;
        let (jitter, rest) = take_u32(rest)?;
        let (last_sr, rest) = take_u32(rest)?;
        let (delay_since_last_sr, rest) = take_u32(rest)?;
        self.0 = rest;
        Some(ReportBlock {
            ssrc: Ssrc(ssrc),
            fraction_lost: (lost >> 24) as u8,
            // 24 bits, signed: up to the sign's place and back.
            cumulative_lost: (lost << 8).cast_signed() >> 8,
            highest_sequence,
            jitter,
            last_sr,
            delay_since_last_sr,
        })
    }
}

/// What our compound packet says.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Our SSRC.
    pub ssrc: Ssrc,
    /// SR with this, where we have sent since the last report; else RR (§6.4).
    pub sender: Option<SenderInfo>,
    /// About the peer's stream, if there is one.
    pub block: Option<ReportBlock>,
    /// Our name; cut to [`CNAME_LEN_MAX`] bytes.
    pub cname: &'a str,
    /// Whether it is our last packet.
    pub bye: bool,
}

impl Report<'_> {
    /// Writes the compound packet: SR or RR, SDES, and BYE. Returns its length; `None` where `out` is too short.
    ///
    /// # Real-time
    /// Constant time.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer { out, len: 0 };
        let blocks = u8::from(self.block.is_some());
        let kind = if self.sender.is_some() { SENDER_REPORT } else { RECEIVER_REPORT };
        writer.packet(kind, blocks, |writer| {
            writer.u32(self.ssrc.0)?;
            if let Some(info) = &self.sender {
                writer.bytes(&info.ntp.to_be_bytes())?;
                writer.u32(info.timestamp.0)?;
                writer.u32(info.packets)?;
                writer.u32(info.octets)?;
            }
            self.block.as_ref().map_or(Some(()), |block| writer.block(block))
        })?;
        writer.packet(SOURCE_DESCRIPTION, 1, |writer| {
            writer.u32(self.ssrc.0)?;
            let name = self.cname.as_bytes();
            let name = name.get(..CNAME_LEN_MAX).unwrap_or(name);
            writer.bytes(&[CNAME, name.len() as u8])?;
            writer.bytes(name)?;
            // A null item ends the chunk, which is padded with nulls to a whole word (§6.5).
            writer.bytes(&[0; 4][..4 - writer.len % 4])
        })?;
        if self.bye {
            writer.packet(BYE, 1, |writer| writer.u32(self.ssrc.0))?;
        }
        Some(writer.len)
    }
}

struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.out.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    fn u32(&mut self, value: u32) -> Option<()> {
        self.bytes(&value.to_be_bytes())
    }

    fn block(&mut self, block: &ReportBlock) -> Option<()> {
        self.u32(block.ssrc.0)?;
        self.u32(u32::from(block.fraction_lost) << 24 | block.cumulative_lost.cast_unsigned() & 0x00ff_ffff)?;
        self.u32(block.highest_sequence)?;
        self.u32(block.jitter)?;
        self.u32(block.last_sr)?;
        self.u32(block.delay_since_last_sr)
    }

    /// Writes a packet's header, its body, and then the length, which counts words less one.
    fn packet(&mut self, kind: u8, count: u8, body: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        let start = self.len;
        self.bytes(&[0x80 | count, kind, 0, 0])?;
        body(self)?;
        let words = u16::try_from((self.len - start) / 4 - 1).ok()?;
        self.out.get_mut(start + 2..start + 4)?.copy_from_slice(&words.to_be_bytes());
        Some(())
    }
}

/// Returns the NTP time (32.32 seconds) at `now`, given that at [`Instant::ZERO`].
#[must_use]
pub const fn ntp_time(ntp_at_zero: u64, now: Instant) -> u64 {
    let elapsed = ((now.as_nanos() as u128) << 32) / 1_000_000_000;
    ntp_at_zero.wrapping_add(elapsed as u64)
}

/// Returns the middle 32 bits of an NTP time: 16.16 seconds.
#[must_use]
pub const fn ntp_middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// The last SR of the peer, as our report blocks return it.
#[derive(Clone, Copy, Debug)]
pub struct LastSenderReport {
    /// The middle of its NTP time.
    pub middle: u32,
    /// When it came.
    pub arrived: Instant,
}

impl LastSenderReport {
    /// Puts it into `block`, which is sent at `now`.
    pub fn fill(&self, block: &mut ReportBlock, now: Instant) {
        block.last_sr = self.middle;
        block.delay_since_last_sr = ntp_middle(ntp_time(0, Instant::ZERO + now.since(self.arrived)));
    }
}

/// Returns the round-trip time that a block about our stream gives, if it answers an SR of ours (RFC 3550 §6.4.1). `ntp` is
/// the NTP time of its arrival. What a minute or more would be is a peer's fault, and nothing.
#[must_use]
pub fn round_trip(block: &ReportBlock, ntp: u64) -> Option<Duration> {
    if block.last_sr == 0 {
        return None;
    }
    let units = ntp_middle(ntp).wrapping_sub(block.last_sr).wrapping_sub(block.delay_since_last_sr);
    // A peer that rounds may make it a hair less than nothing.
    let units = if units.cast_signed() < 0 && units.cast_signed() > -66 { 0 } else { units };
    let trip = Duration::from_nanos((u64::from(units) * 1_000_000_000) >> 16);
    (trip < Duration::from_secs(60)).then_some(trip)
}

/// What the peer's reports say of our stream, named as in W3C webrtc-stats' `RTCRemoteInboundRtpStreamStats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteInbound {
    /// Packets of ours lost in the last interval, of 256.
    pub fraction_lost: u8,
    /// Packets of ours lost in all; negative where duplicates came.
    pub packets_lost: i32,
    /// Interarrival jitter of our packets as the peer sees it.
    pub jitter: Duration,
}

impl RemoteInbound {
    /// Takes a block about a stream of ours, whose timestamps count [`CLOCK_RATE`] a second. A jitter of more than a minute is
    /// a peer's fault, and counts as a minute.
    #[must_use]
    pub fn new(block: &ReportBlock) -> Self {
        let jitter = samples::duration(block.jitter.into(), CLOCK_RATE);
        Self {
            fraction_lost: block.fraction_lost,
            packets_lost: block.cumulative_lost,
            jitter: jitter.min(Duration::from_secs(60)),
        }
    }
}

/// The SRs that we sent last: only a block that answers one of them gives a round-trip time, so that neither a guess nor a broken
/// clock makes one up.
#[derive(Clone, Copy, Debug, Default)]
pub struct SentReports {
    middles: [u32; Self::KEPT],
    next: usize,
}

impl SentReports {
    /// As many as are sent in 40 s on average, longer than any way there and back.
    const KEPT: usize = 8;

    /// Notes an SR of ours by its NTP time.
    ///
    /// # Real-time
    /// Constant time.
    pub fn sent(&mut self, ntp: u64) {
        if let Some(place) = self.middles.get_mut(self.next) {
            *place = ntp_middle(ntp);
        }
        self.next = (self.next + 1) % Self::KEPT;
    }

    /// Returns the round-trip time that a block which arrived at `ntp` gives, if it answers one of them ([`round_trip`]).
    ///
    /// # Real-time
    /// Constant time.
    #[must_use]
    pub fn round_trip(&self, block: &ReportBlock, ntp: u64) -> Option<Duration> {
        self.middles.contains(&block.last_sr).then(|| round_trip(block, ntp))?
    }
}

/// When to send: each 5 s on average, the first time after half of that (RFC 3550 §6.2, §6.3.1). With two members the bandwidth
/// share never matters.
#[derive(Clone, Debug)]
pub struct Schedule {
    next: Instant,
    rng: fastrand::Rng,
}

/// The least interval between reports (RFC 3550 §6.2).
const INTERVAL: Duration = Duration::from_secs(5);

impl Schedule {
    /// Begins at `now`.
    #[must_use]
    pub fn new(now: Instant, rng: &mut fastrand::Rng) -> Self {
        let mut schedule = Self { next: now, rng: rng.fork() };
        schedule.next = now + schedule.interval(INTERVAL / 2);
        schedule
    }

    /// Whether a report is due; if so, the next one is scheduled.
    ///
    /// # Real-time
    /// Constant time.
    pub fn take_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + self.interval(INTERVAL);
        }
        due
    }

    /// Returns when the next report is due.
    #[must_use]
    pub const fn next(&self) -> Instant {
        self.next
    }

    /// Half to one and a half times `base`, so that reports of many calls do not fall together (§6.3.1; its division by
    /// e - 3/2 makes up for reconsideration, which two members do not need).
    fn interval(&mut self, base: Duration) -> Duration {
        base.mul_f64(0.5 + self.rng.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: Ssrc(0x1234),
        fraction_lost: 7,
        cumulative_lost: -3,
        highest_sequence: 0x0001_0005,
        jitter: 80,
        last_sr: 0x1111_2222,
        delay_since_last_sr: 65_536,
    };
    const INFO: SenderInfo =
        SenderInfo { ntp: 0xeead_4a6a_c3f6_e437, timestamp: RtpTimestamp(6120), packets: 38, octets: 6080 };

    fn written(report: &Report<'_>) -> Vec<u8> {
        let mut out = [0xaa; SENT_LEN_MAX];
        let len = report.write(&mut out).expect("it fits");
        out[..len].to_vec()
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex")).collect()
    }

    fn kinds(datagram: &[u8]) -> Vec<Packet<'_>> {
        Compound::parse(datagram).expect("it is whole").collect()
    }

    #[test]
    fn what_is_written_is_read() {
        for cname in ["", "a", "ab", "abc", "abcd", "0123456789abcdef0123456789abcdef", &"x".repeat(300)] {
            for bye in [false, true] {
                let report = Report { ssrc: Ssrc(5), sender: Some(INFO), block: Some(BLOCK), cname, bye };
                let bytes = written(&report);
                assert_eq!(bytes.len() % 4, 0);
                let packets = kinds(&bytes);
                let Packet::SenderReport { ssrc, info, mut blocks } = packets[0] else { panic!("{packets:?}") };
                assert_eq!((ssrc, info), (Ssrc(5), INFO));
                assert_eq!((blocks.next(), blocks.next()), (Some(BLOCK), None));
                assert_eq!(packets[1], Packet::SourceDescription);
                assert_eq!(packets.get(2), bye.then_some(&Packet::Bye));
            }
        }
    }

    #[test]
    fn without_a_stream_of_ours_it_is_a_receiver_report() {
        let bytes = written(&Report { ssrc: Ssrc(5), sender: None, block: None, cname: "a", bye: false });
        assert_eq!(
            bytes,
            hex("80c9000100000005" /* RR */).into_iter().chain(hex("81ca00020000000501016100")).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_buffer_too_short_is_not_written_beyond() {
        let report = Report { ssrc: Ssrc(5), sender: Some(INFO), block: Some(BLOCK), cname: "abc", bye: true };
        let whole = written(&report).len();
        for len in 0..whole {
            assert_eq!(report.write(&mut vec![0; len]), None);
        }
    }

    #[test]
    fn what_pjsip_and_baresip_send_is_read() {
        // The first report of PJSIP has a block about SSRC 0, all zero; at a hold it ends with a BYE.
        let first = hex(
            "81c9000705b94fe700000000000000000000000000000000000000000000000081ca000605b94fe70110333962363835306437326534396334630000",
        );
        let packets = kinds(&first);
        assert!(matches!(packets[0], Packet::ReceiverReport { ssrc: Ssrc(0x05b9_4fe7), .. }));
        let hold = hex(
            "81c8000c05b94fe7eead4a6e266ccb56000081b0000000cf000072c00000123400000000000000b100000005000000000000000081ca000605b94fe7011033396236383530643732653439633463000081cb000105b94fe7",
        );
        let packets = kinds(&hold);
        let Packet::SenderReport { info, mut blocks, .. } = packets[0] else { panic!("{packets:?}") };
        assert_eq!((info.packets, info.timestamp), (207, RtpTimestamp(0x81b0)));
        assert_eq!(blocks.next().map(|block| (block.ssrc, block.jitter)), Some((Ssrc(0x1234), 5)));
        assert_eq!(packets[2], Packet::Bye);
        let ping = hex("80cc00031be647ff50494e47504f4e47");
        assert_eq!(kinds(&ping), [Packet::Other(204)]);
        assert_eq!(Compound::parse(&ping).map(|ping| ping.sender()), Ok(Some(Ssrc(0x1be6_47ff))));
        assert_eq!(Compound::parse(&hex("80cb0000")).map(|bye| bye.sender()), Ok(None));
    }

    #[test]
    fn lengths_are_checked_to_the_byte() {
        let whole = written(&Report { ssrc: Ssrc(5), sender: Some(INFO), block: Some(BLOCK), cname: "abc", bye: true });
        let ends = [52, 68, 76];
        assert_eq!(whole.len(), 76);
        for len in 0..=whole.len() {
            assert_eq!(Compound::parse(&whole[..len]).is_ok(), ends.contains(&len), "{len} bytes");
        }
        let mut more_blocks = whole.clone();
        more_blocks[0] = 0x82;
        assert_eq!(Compound::parse(&more_blocks), Err(Discard::Malformed), "a block that is not there");
        let mut padded = whole[..52].to_vec();
        padded[0] |= 0x20;
        padded[51] = 0;
        assert_eq!(Compound::parse(&padded), Err(Discard::Malformed), "padding of 0");
    }

    #[test]
    fn mutated_datagrams_are_read_or_refused_and_never_more() {
        let mut rng = fastrand::Rng::with_seed(1);
        let whole = written(&Report { ssrc: Ssrc(5), sender: Some(INFO), block: Some(BLOCK), cname: "abc", bye: true });
        for _ in 0..100_000 {
            let mut bytes = whole.clone();
            for _ in 0..rng.usize(1..6) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            bytes.truncate(rng.usize(..=whole.len()));
            if let Ok(compound) = Compound::parse(&bytes) {
                for packet in compound {
                    if let Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks, .. } = packet {
                        for block in blocks {
                            let _ = round_trip(&block, rng.u64(..));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_round_trip_leaves_out_the_time_at_the_peer() {
        let zero = 0xeead_4a6a_0000_0000;
        let sent = ntp_time(zero, Instant::from_millis(70_000));
        let block =
            ReportBlock { last_sr: ntp_middle(sent), delay_since_last_sr: 3 * 65_536, ..ReportBlock::default() };
        let trip = round_trip(&block, ntp_time(zero, Instant::from_millis(73_040))).expect("there is one");
        assert!(trip.abs_diff(Duration::from_millis(40)) < Duration::from_micros(50), "{trip:?}");
        assert_eq!(round_trip(&ReportBlock::default(), sent), None);
        let liar = ReportBlock { delay_since_last_sr: u32::MAX, ..block };
        assert!(round_trip(&liar, sent).is_none_or(|trip| trip < Duration::from_secs(60)));
    }

    #[test]
    fn only_an_answer_to_a_report_of_ours_gives_a_round_trip() {
        let mut sent = SentReports::default();
        let at = |ms| ntp_time(0xeead_4a6a_0000_0000, Instant::from_millis(ms));
        let answer = |ms| ReportBlock { last_sr: ntp_middle(at(ms)), ..ReportBlock::default() };
        assert_eq!(sent.round_trip(&answer(5000), at(5030)), None, "nothing was sent");
        assert_eq!(sent.round_trip(&ReportBlock::default(), at(5030)), None, "nor is zero an answer");
        for n in 1..=10 {
            sent.sent(at(n * 5000));
        }
        let trip = sent.round_trip(&answer(50_000), at(50_030)).expect("there is one");
        assert!(trip.abs_diff(Duration::from_millis(30)) < Duration::from_micros(50), "{trip:?}");
        assert!(sent.round_trip(&answer(45_000), at(50_030)).is_some(), "the one before was lost on its way back");
        assert_eq!(sent.round_trip(&answer(49_999), at(50_030)), None, "a guess");
        assert_eq!(sent.round_trip(&answer(5000), at(50_030)), None, "too old");
        let hostile = ReportBlock { delay_since_last_sr: u32::MAX, ..answer(50_000) };
        assert!(sent.round_trip(&hostile, at(50_030)).is_none_or(|trip| trip < Duration::from_secs(60)));
    }

    #[test]
    fn hostile_numbers_about_our_stream_stay_in_range() {
        let block =
            ReportBlock { jitter: u32::MAX, cumulative_lost: -0x80_0000, fraction_lost: 255, ..Default::default() };
        let remote = RemoteInbound::new(&block);
        assert_eq!((remote.jitter, remote.packets_lost), (Duration::from_secs(60), -0x80_0000));
        let usual = RemoteInbound::new(&ReportBlock { jitter: 40, ..block });
        assert_eq!(usual.jitter, Duration::from_millis(5));
    }

    #[test]
    fn the_last_sender_report_is_returned_with_its_age() {
        let mut block = ReportBlock::default();
        let last = LastSenderReport { middle: 0xabcd, arrived: Instant::from_millis(1000) };
        last.fill(&mut block, Instant::from_millis(3500));
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0xabcd, 5 * 65_536 / 2));
    }

    #[test]
    fn reports_are_five_seconds_apart_on_average() {
        let mut schedule = Schedule::new(Instant::ZERO, &mut fastrand::Rng::with_seed(1));
        let first = schedule.next();
        assert!((1250..=3750).contains(&(first.as_nanos() / 1_000_000)), "{first:?}");
        let mut now = first;
        for _ in 0..1000 {
            assert!(!schedule.take_due(now - Duration::from_millis(1)));
            assert!(schedule.take_due(now));
            let gap = schedule.next().since(now);
            assert!((2500..=7500).contains(&gap.as_millis()));
            now = schedule.next();
        }
        let mean = now.since(first).as_secs_f64() / 1000.0;
        assert!((mean - 5.0).abs() < 0.2, "{mean}");
    }
}
