//! What went over the wire, raw: packets and their times, from which every figure can be made anew.

use super::{FRAME, length, nanos};
use crate::audio::g711::Codec;
use crate::rtp::packet::Packet;
use crate::rtp::sequence::TimestampExtender;
use crate::time::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

/// Packets that are kept of each direction: an hour.
pub const PACKETS_MAX: usize = 180_000;

/// A packet that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Just before it was given to the kernel.
    pub at: Instant,
    /// When its slot was.
    pub due: Instant,
    /// The number of its first sample in the stream that is sent.
    pub first_sample: u64,
}

/// A packet that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// When it came, by the kernel where it tells.
    pub at: Instant,
    /// The whole datagram.
    pub bytes: Vec<u8>,
}

/// Both directions of one call.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    /// What was sent, in order.
    pub sent: Vec<Sent>,
    /// What came, in the order in which it came.
    pub received: Vec<Received>,
}

impl Capture {
    /// Returns when the sample of this number was sent: the time of its packet, and its place in it.
    #[must_use]
    pub fn sent_at(&self, sample: u64) -> Option<Instant> {
        let packet = self.sent.partition_point(|sent| sent.first_sample <= sample).checked_sub(1)?;
        let sent = self.sent.get(packet)?;
        let offset = sample - sent.first_sample;
        (offset < FRAME as u64).then(|| sent.at + length(offset))
    }

    /// Returns how far the worst packet of those sent between two times was from its slot.
    #[must_use]
    pub fn pacing_error(&self, from: Instant, to: Instant) -> Duration {
        let within = self.sent.iter().filter(|sent| sent.at >= from && sent.at <= to);
        within.map(|sent| sent.at.since(sent.due).max(sent.due.since(sent.at))).max().unwrap_or_default()
    }
}

/// A packet's place in the stream that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// When it came.
    pub at: Instant,
    /// How many samples it holds.
    pub len: usize,
}

/// What was received, in the order of its RTP timestamps.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// By the number of their first sample, counted from the stream's first packet on.
    packets: BTreeMap<u64, Placed>,
    /// Every sample; what no packet brought is 0.
    pcm: Vec<i16>,
    /// Whether a packet brought it.
    present: Vec<bool>,
    /// Packets that never came, by their sequence numbers.
    pub lost: u64,
}

/// The longest stream that is laid out: an hour. A timestamp that jumps further is a fault, not silence.
const SAMPLES_MAX: u64 = PACKETS_MAX as u64 * FRAME as u64;

impl Stream {
    /// Lays out the packets of the source that sent most of them, coded so.
    #[must_use]
    pub fn of(received: &[Received], codec: Codec) -> Self {
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        let packets =
            || received.iter().filter_map(|received| Some((received.at, Packet::parse(&received.bytes).ok()?)));
        packets().for_each(|(_, packet)| *counts.entry(packet.header.ssrc.0).or_default() += 1);
        let Some((ssrc, _)) = counts.into_iter().max_by_key(|(_, count)| *count) else { return Self::default() };
        let wanted = u32::from(codec.rtp_payload_type());
        let packets: Vec<_> = packets()
            .filter(|(_, packet)| packet.header.ssrc.0 == ssrc && u32::from(packet.header.payload_type.0) == wanted)
            .collect();
        let Some((_, first)) = packets.first() else { return Self::default() };
        // Packets may have overtaken the first one by some.
        const BEFORE: u64 = 8000;
        let mut extender = TimestampExtender::new(first.header.timestamp);
        let zero = extender.extend(first.header.timestamp);
        let mut stream = Self::default();
        let mut numbers: Vec<u16> = Vec::with_capacity(packets.len());
        for (at, packet) in packets {
            let first = (extender.extend(packet.header.timestamp) + BEFORE).checked_sub(zero);
            let Some(first) = first.filter(|first| *first < SAMPLES_MAX) else { continue };
            stream.place(first, at, packet.payload, codec);
            numbers.push(packet.header.sequence.0);
        }
        stream.lost = lost(&numbers);
        stream
    }

    fn place(&mut self, first: u64, at: Instant, payload: &[u8], codec: Codec) {
        let start = first as usize;
        let end = start + payload.len();
        if payload.is_empty() || self.packets.contains_key(&first) {
            return;
        }
        if self.pcm.len() < end {
            self.pcm.resize(end, 0);
            self.present.resize(end, false);
        }
        codec.decode(payload, &mut self.pcm[start..end]);
        self.present[start..end].fill(true);
        self.packets.insert(first, Placed { at, len: payload.len() });
    }

    /// Returns every sample, 0 where none came.
    #[must_use]
    pub fn pcm(&self) -> &[i16] {
        &self.pcm
    }

    /// Whether a packet brought the sample.
    #[must_use]
    pub fn is_present(&self, sample: usize) -> bool {
        self.present.get(sample).copied().unwrap_or(false)
    }

    /// Returns the packets by the number of their first sample.
    pub fn packets(&self) -> impl DoubleEndedIterator<Item = (u64, Placed)> {
        self.packets.iter().map(|(first, placed)| (*first, *placed))
    }

    /// Returns the packet that brought the sample, and its first sample's number.
    #[must_use]
    pub fn packet_of(&self, sample: u64) -> Option<(u64, Placed)> {
        let (first, placed) = self.packets.range(..=sample).next_back()?;
        (sample < first + placed.len as u64).then_some((*first, *placed))
    }

    /// Returns when the sample came: the time of its packet, and its place in it.
    #[must_use]
    pub fn arrived_at(&self, sample: u64) -> Option<Instant> {
        self.packet_of(sample).map(|(first, placed)| placed.at + length(sample - first))
    }

    /// Returns the first sample of the earliest packet that came at `at` or later.
    #[must_use]
    pub fn sample_at(&self, at: Instant) -> Option<u64> {
        self.packets.iter().find(|(_, placed)| placed.at >= at).map(|(first, _)| *first)
    }

    /// Returns when sample 0 would have come on the fastest way that a packet took within `window` of the first one: the
    /// anchor of a de-jitter buffer (§3.4.2). As an offset of nanoseconds, since it may lie before the clock's zero.
    #[must_use]
    pub fn anchor_ns(&self, window: Duration) -> Option<i128> {
        let begin = self.packets.values().map(|placed| placed.at).min()?;
        let transit = |(first, placed): (&u64, &Placed)| i128::from(placed.at.as_nanos()) - nanos(length(*first));
        self.packets.iter().filter(|(_, placed)| placed.at <= begin + window).map(transit).min()
    }
}

/// Returns how many sequence numbers are missing between the first and the last.
fn lost(numbers: &[u16]) -> u64 {
    let (Some(first), mut highest) = (numbers.first(), 0i64) else { return 0 };
    let mut seen = std::collections::BTreeSet::new();
    let mut last = (*first, 0i64);
    for number in numbers {
        let step = i64::from(number.wrapping_sub(last.0) as i16);
        let extended = last.1 + step;
        seen.insert(extended);
        if extended > highest {
            highest = extended;
            last = (*number, extended);
        }
    }
    (highest + 1 - seen.iter().filter(|number| **number >= 0).count() as i64).max(0).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::packet::Header;
    use crate::rtp::{PayloadType, RtpTimestamp, SequenceNumber, Ssrc};

    fn packet(n: u16, ssrc: u32, at_ms: u64) -> Received {
        let header = Header {
            marker: n == 0,
            payload_type: PayloadType(0),
            sequence: SequenceNumber(n.wrapping_add(65_530)),
            timestamp: RtpTimestamp(u32::MAX.wrapping_sub(500).wrapping_add(160 * u32::from(n))),
            ssrc: Ssrc(ssrc),
        };
        let mut bytes = vec![0xff; 172];
        header.write(&mut bytes);
        Received { at: Instant::from_millis(at_ms), bytes }
    }

    #[test]
    fn packets_are_laid_out_by_timestamp_across_wraps_loss_and_overtaking() {
        let order = [1u16, 0, 2, 3, 6, 5, 8, 8];
        let received: Vec<_> = order.iter().map(|n| packet(*n, 7, 1000 + 20 * u64::from(*n))).collect();
        let stream = Stream::of(&received, Codec::Pcmu);
        assert_eq!(stream.lost, 2, "4 and 7");
        let firsts: Vec<u64> = stream.packets().map(|(first, _)| first).collect();
        let steps: Vec<u64> = firsts.windows(2).map(|pair| (pair[1] - pair[0]) / 160).collect();
        assert_eq!(steps, [1, 1, 1, 2, 1, 2]);
        let three = firsts[3];
        assert!(stream.is_present(three as usize + 159) && !stream.is_present(three as usize + 160));
        assert_eq!(stream.arrived_at(three + 80), Some(Instant::from_millis(1070)));
        assert_eq!(stream.arrived_at(three + 160), None, "it was lost");
        assert_eq!(stream.sample_at(Instant::from_millis(1061)), Some(firsts[4]));
    }

    #[test]
    fn strangers_and_noise_are_not_in_the_stream() {
        let mut received: Vec<_> = (0..10).map(|n| packet(n, 7, 20 * u64::from(n))).collect();
        received.extend((0..5).map(|n| packet(n, 8, 20 * u64::from(n))));
        received.push(Received { at: Instant::ZERO, bytes: vec![1, 2, 3] });
        assert_eq!(Stream::of(&received, Codec::Pcmu).packets().count(), 10);
        assert_eq!(Stream::of(&received, Codec::Pcma).packets().count(), 0, "another payload type");
        assert_eq!(Stream::of(&[], Codec::Pcmu).packets().count(), 0);
    }

    #[test]
    fn the_anchor_is_the_fastest_way_not_that_of_the_first_packet() {
        let at = [1030, 1021, 1042, 1080];
        let received: Vec<_> = (0..4u16).map(|n| packet(n, 7, at[usize::from(n)])).collect();
        let stream = Stream::of(&received, Codec::Pcmu);
        let first = stream.packets().next().expect("a packet").0;
        let anchor = stream.anchor_ns(Duration::from_secs(2)).expect("an anchor");
        assert_eq!(anchor + i128::from(first) * 125_000, 1_001_000_000, "the second one took 1 ms, the first 30");
    }

    #[test]
    fn a_sample_is_sent_with_its_packet_and_after_its_place_in_it() {
        let sent = |n: u64| Sent {
            at: Instant::from_millis(20 * n + 1),
            due: Instant::from_millis(20 * n),
            first_sample: 160 * n,
        };
        let capture = Capture { sent: (0..3).map(sent).collect(), received: Vec::new() };
        assert_eq!(capture.sent_at(160), Some(Instant::from_millis(21)));
        assert_eq!(capture.sent_at(159), Some(Instant::from_millis(1) + crate::phone::length(159)));
        assert_eq!(capture.sent_at(480), None, "it was not sent");
        assert_eq!(capture.pacing_error(Instant::ZERO, Instant::from_millis(100)), Duration::from_millis(1));
    }
}
