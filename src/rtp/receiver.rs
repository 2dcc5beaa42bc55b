//! A remote source: probation, restarts, loss and interarrival jitter (RFC 3550 A.1, A.3, A.8).

use super::packet::Header;
use super::rtcp::ReportBlock;
use super::sequence::{SequenceExtender, TimestampExtender};
use super::{CLOCK_RATE, Discard, SequenceNumber, Ssrc};
use crate::time::{Instant, samples};
use std::time::Duration;

/// A sequence number this far ahead is not loss but another stream: 60 s at 20 ms (RFC 3550 A.1, `MAX_DROPOUT`).
const DROPOUT_MAX: i64 = 3000;
/// A sequence number this far behind is not reordering but another stream (RFC 3550 A.1, `MAX_MISORDER`).
const MISORDER_MAX: i64 = 100;

/// How far the timestamp of a talkspurt's first packet may slip against the wall and still tell of the network, in its units:
/// 100 ms. Some senders stop their timestamps in a pause, or count it in whole packets.
const PAUSE_SLIP_MAX: u64 = CLOCK_RATE as u64 / 10;

/// A packet's place in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The sequence number, extended: never wraps while the stream lasts.
    pub sequence: u64,
    /// The timestamp, extended.
    pub timestamp: u64,
    /// Whether the stream begins, or begins anew, with this packet: nothing before it counts.
    pub restarted: bool,
}

/// The caller's stream, as far as headers tell.
///
/// The first packet is taken at once: its address was checked before it came here, and a caller's first word is not to wait for
/// a second packet. A change of SSRC or a jump of the sequence needs two packets in a row, so that one stray packet costs
/// nothing.
#[derive(Clone, Debug, Default)]
pub struct Receiver {
    stream: Option<Stream>,
    /// The first packet of what may be another stream.
    probation: Option<(Ssrc, SequenceNumber)>,
    restarts: u64,
}

#[derive(Clone, Debug)]
struct Stream {
    ssrc: Ssrc,
    sequence: SequenceExtender,
    timestamp: TimestampExtender,
    /// The extended number of the first packet.
    base: u64,
    received: u64,
    /// Transit time of the last packet, in timestamp units; only differences of it mean anything.
    transit: Option<i64>,
    /// Sixteen times the jitter, in timestamp units (A.8).
    jitter_16: u64,
    expected_before: u64,
    received_before: u64,
}

impl Receiver {
    /// Makes one that has heard nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { stream: None, probation: None, restarts: 0 }
    }

    /// Places a packet that came at `arrived`. `timed`: its timestamp is the moment of its sending, so that it may count
    /// for jitter; false for telephone events, whose packets share one.
    ///
    /// # Errors
    /// [`Discard::Probation`] for the first packet of what may be another stream.
    ///
    /// # Real-time
    /// Constant time.
    pub fn receive(&mut self, header: &Header, arrived: Instant, timed: bool) -> Result<Place, Discard> {
        let same = |stream: &&mut Stream| stream.ssrc == header.ssrc && stream.is_near(header.sequence);
        let place = match self.stream.as_mut().filter(same) {
            Some(stream) => {
                self.probation = None;
                stream.receive(header)
            }
            None => self.admit(header)?,
        };
        if timed && let Some(stream) = &mut self.stream {
            stream.measure(place.timestamp, arrived, header.marker);
        }
        Ok(place)
    }

    fn admit(&mut self, header: &Header) -> Result<Place, Discard> {
        let expected = self.probation.replace((header.ssrc, SequenceNumber(header.sequence.0.wrapping_add(1))));
        if self.stream.is_some() {
            if expected != Some((header.ssrc, header.sequence)) {
                return Err(Discard::Probation);
            }
            self.restarts += 1;
        }
        self.probation = None;
        let stream = self.stream.insert(Stream::new(header));
        Ok(Place { restarted: true, ..stream.receive(header) })
    }

    /// Returns the stream's SSRC, once there is a stream.
    #[must_use]
    pub fn ssrc(&self) -> Option<Ssrc> {
        self.stream.as_ref().map(|stream| stream.ssrc)
    }

    /// Returns how often the stream began anew.
    #[must_use]
    pub const fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Returns the interarrival jitter (RFC 3550 A.8).
    #[must_use]
    pub fn jitter(&self) -> Duration {
        let units = self.stream.as_ref().map_or(0, |stream| stream.jitter_16 >> 4);
        samples::duration(units, CLOCK_RATE)
    }

    /// Returns the report block about the stream and begins its next interval (RFC 3550 A.3). What concerns the peer's
    /// sender reports is for the caller to add.
    ///
    /// # Real-time
    /// Constant time.
    pub fn report(&mut self) -> Option<ReportBlock> {
        self.stream.as_mut().map(Stream::report)
    }
}

impl Stream {
    fn new(header: &Header) -> Self {
        let sequence = SequenceExtender::new(header.sequence);
        Self {
            ssrc: header.ssrc,
            sequence,
            timestamp: TimestampExtender::new(header.timestamp),
            base: sequence.highest(),
            received: 0,
            transit: None,
            jitter_16: 0,
            expected_before: 0,
            received_before: 0,
        }
    }

    fn is_near(&self, number: SequenceNumber) -> bool {
        let ahead = self.sequence.extend(number).cast_signed() - self.sequence.highest().cast_signed();
        -MISORDER_MAX < ahead && ahead < DROPOUT_MAX
    }

    fn receive(&mut self, header: &Header) -> Place {
        let sequence = self.sequence.extend(header.sequence);
        self.sequence.advance(sequence);
        // What is older than the first packet was sent before the stream began for us; counting it from there keeps
        // the loss from going negative.
        self.base = self.base.min(sequence);
        self.received += 1;
        Place { sequence, timestamp: self.timestamp.extend(header.timestamp), restarted: false }
    }

    fn measure(&mut self, timestamp: u64, arrived: Instant, talkspurt: bool) {
        let arrived = samples::count(arrived - Instant::ZERO, CLOCK_RATE).cast_signed();
        let transit = arrived.wrapping_sub(timestamp.cast_signed());
        if let Some(before) = self.transit.replace(transit) {
            let difference = transit.wrapping_sub(before).unsigned_abs();
            if talkspurt && difference > PAUSE_SLIP_MAX {
                return;
            }
            // A sender that jumps its timestamp would else make a jitter that takes minutes to go away.
            let difference = difference.min(u64::from(CLOCK_RATE));
            self.jitter_16 = self.jitter_16 + difference - ((self.jitter_16 + 8) >> 4);
        }
    }

    fn report(&mut self) -> ReportBlock {
        let expected = self.sequence.highest() - self.base + 1;
        let expected_now = expected - self.expected_before.min(expected);
        let received_now = self.received - self.received_before;
        self.expected_before = expected;
        self.received_before = self.received;
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction = (lost_now << 8).checked_div(expected_now).unwrap_or(0);
        let lost = expected.cast_signed() - self.received.cast_signed();
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: fraction.min(255) as u8,
            // 24 bits, signed (§6.4.1).
            cumulative_lost: lost.clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_sequence: self.sequence.highest_reported(),
            jitter: u32::try_from(self.jitter_16 >> 4).unwrap_or(u32::MAX),
            last_sr: 0,
            delay_since_last_sr: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PayloadType, RtpTimestamp};
    use super::*;

    fn header(ssrc: u32, sequence: u16, timestamp: u32) -> Header {
        Header {
            marker: false,
            payload_type: PayloadType(8),
            sequence: SequenceNumber(sequence),
            timestamp: RtpTimestamp(timestamp),
            ssrc: Ssrc(ssrc),
        }
    }

    const fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    /// Sends packet `n` of a steady stream, 20 ms each.
    fn send(receiver: &mut Receiver, ssrc: u32, n: u16) -> Result<Place, Discard> {
        receiver.receive(&header(ssrc, n, u32::from(n) * 160), at(u64::from(n) * 20), true)
    }

    #[test]
    fn the_first_packet_is_taken_at_once() {
        let mut receiver = Receiver::new();
        assert!(send(&mut receiver, 1, 100).is_ok_and(|place| place.restarted));
        assert!(send(&mut receiver, 1, 101).is_ok_and(|place| !place.restarted));
    }

    #[test]
    fn another_ssrc_needs_two_packets_in_a_row() {
        let mut receiver = Receiver::new();
        assert!(send(&mut receiver, 1, 100).is_ok());
        assert_eq!(send(&mut receiver, 2, 500), Err(Discard::Probation));
        assert_eq!(send(&mut receiver, 2, 502), Err(Discard::Probation));
        assert!(send(&mut receiver, 2, 503).is_ok_and(|place| place.restarted));
        assert_eq!(receiver.ssrc(), Some(Ssrc(2)));
        assert_eq!(receiver.restarts(), 1);
    }

    #[test]
    fn strays_between_the_stream_do_not_add_up_to_a_restart() {
        let mut receiver = Receiver::new();
        assert!(send(&mut receiver, 1, 100).is_ok());
        for n in 101..200 {
            assert_eq!(send(&mut receiver, 2, n), Err(Discard::Probation));
            assert!(send(&mut receiver, 1, n).is_ok());
        }
        assert_eq!(receiver.ssrc(), Some(Ssrc(1)));
    }

    #[test]
    fn a_jump_of_the_sequence_needs_two_packets_in_a_row() {
        let mut receiver = Receiver::new();
        assert!(send(&mut receiver, 1, 100).is_ok());
        assert!(send(&mut receiver, 1, 100 + 2999).is_ok_and(|place| !place.restarted), "that is loss");
        assert_eq!(send(&mut receiver, 1, 20_000), Err(Discard::Probation));
        assert!(send(&mut receiver, 1, 20_001).is_ok_and(|place| place.restarted));
        assert!(send(&mut receiver, 1, 19_902).is_ok_and(|place| !place.restarted), "99 behind is reordering");
        assert_eq!(send(&mut receiver, 1, 19_801), Err(Discard::Probation));
        assert!(send(&mut receiver, 1, 19_802).is_ok_and(|place| place.restarted), "a sender that began anew");
    }

    #[test]
    fn loss_is_counted_per_interval_and_in_all() {
        let mut receiver = Receiver::new();
        for n in (0..100).filter(|n| n % 4 != 3) {
            assert!(send(&mut receiver, 1, 65_500u16.wrapping_add(n)).is_ok());
        }
        let report = receiver.report().expect("there is a stream");
        assert_eq!(report.cumulative_lost, 24, "the last one may still come");
        assert_eq!(report.fraction_lost, (24 * 256 / 99) as u8);
        assert_eq!(report.highest_sequence, 65_500 + 98);
        for n in 99..199 {
            assert!(send(&mut receiver, 1, 65_500u16.wrapping_add(n)).is_ok());
        }
        let report = receiver.report().expect("there is a stream");
        assert_eq!((report.fraction_lost, report.cumulative_lost), (0, 24));
        let report = receiver.report().expect("there is a stream");
        assert_eq!(report.fraction_lost, 0, "nothing was expected");
    }

    #[test]
    fn duplicates_make_the_loss_negative_and_never_a_fraction() {
        let mut receiver = Receiver::new();
        for n in 0..10 {
            assert!(send(&mut receiver, 1, n).is_ok());
            assert!(send(&mut receiver, 1, n).is_ok());
        }
        let report = receiver.report().expect("there is a stream");
        assert_eq!((report.fraction_lost, report.cumulative_lost), (0, -10));
    }

    #[test]
    fn jitter_follows_the_formula_and_forgets_a_jump() {
        let mut receiver = Receiver::new();
        for n in 0..2000u16 {
            let late = u64::from(n % 2) * 8;
            let arrived = at(u64::from(n) * 20 + late);
            assert!(receiver.receive(&header(1, n, u32::from(n) * 160), arrived, true).is_ok());
        }
        // |D| is 8 ms each time, so J converges to it.
        assert!(receiver.jitter().abs_diff(Duration::from_millis(8)) < Duration::from_millis(1));
        let jumped = header(1, 2000, 0x7000_0000);
        assert!(receiver.receive(&jumped, at(40_000), true).is_ok());
        assert!(receiver.jitter() < Duration::from_millis(80));
    }

    #[test]
    fn a_pause_is_no_jitter_whatever_the_timestamps_make_of_it() {
        for stands_still in [false, true] {
            let mut receiver = Receiver::new();
            let (mut ms, mut timestamp, mut pauses) = (0u64, 0u32, 0);
            for n in 0..1000u16 {
                let begins = n % 50 == 0;
                if begins {
                    // Five seconds of nothing, in which the timestamp goes on or not.
                    ms += 5000;
                    timestamp = timestamp.wrapping_add(if stands_still { 0 } else { 40_000 });
                    pauses += 1;
                }
                let header = Header { marker: begins, ..header(1, n, timestamp) };
                assert!(receiver.receive(&header, at(ms), true).is_ok());
                (ms, timestamp) = (ms + 20, timestamp.wrapping_add(160));
            }
            assert_eq!((pauses, receiver.jitter()), (20, Duration::ZERO), "stands still: {stands_still}");
        }
    }

    #[test]
    fn telephone_events_do_not_count_for_jitter() {
        let mut receiver = Receiver::new();
        for n in 0..50u16 {
            assert!(receiver.receive(&header(1, n, 160), at(u64::from(n) * 20), false).is_ok());
        }
        assert_eq!(receiver.jitter(), Duration::ZERO);
    }

    #[test]
    fn random_headers_keep_every_number_in_range() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut receiver = Receiver::new();
        for n in 0..100_000u64 {
            let header = header(rng.u32(..3), rng.u16(..), rng.u32(..));
            let _ = receiver.receive(&header, at(n), rng.bool());
            if n % 7 == 0 {
                let _ = receiver.report();
            }
        }
        assert!(receiver.jitter() < Duration::from_secs(2));
    }
}
