//! A peer that replies after a programmed delay: what the telephone's figures are calibrated against (draft-nygate-ippm-mrl §7.6).
//!
//! It keeps a media clock of its own and places its reply to the sample, not to the frame, so that a delay that is no
//! multiple of 20 ms is kept as exactly as one that is. The end of what it hears it takes from the timestamps, anchored on the fastest
//! packet, so that jitter on the way to it does not move its reply.

use super::{FRAME, length, nanos};
use crate::audio::g711::Codec;
use crate::rtp::packet::{HEADER_LEN, Header, Packet};
use crate::rtp::sequence::TimestampExtender;
use crate::rtp::{PayloadType, RtpTimestamp, SequenceNumber, Ssrc};
use crate::time::Instant;
use std::collections::VecDeque;
use std::f64::consts::TAU;
use std::time::Duration;

/// Packets by which the fastest way is known: 3 s of them.
const WAYS: usize = 150;
/// How loud the reply is, as an amplitude: -14 dBov.
const AMPLITUDE: f64 = 9000.0;
/// How long it lasts.
const REPLY: Duration = Duration::from_millis(600);
/// A packet's time.
const SLOT: Duration = Duration::from_millis(20);

/// The peer.
#[derive(Debug)]
pub struct Responder {
    delay: Duration,
    codec: Codec,
    /// The numbers, within what is heard, of the last samples of the stimuli to come.
    ends: VecDeque<u64>,
    heard: TimestampExtender,
    /// The extended timestamp that counts as sample 0.
    zero: u64,
    /// How late each of the last packets was, against its timestamp.
    ways: VecDeque<i128>,
    /// When the replies begin, to the nanosecond.
    replies: VecDeque<Instant>,
    due: Instant,
    sequence: u16,
    samples: u64,
}

impl Responder {
    /// Makes one that replies `delay` after each stimulus and begins to send at `now`. `first` is the timestamp that the
    /// telephone's stream begins with: the first packet to come may be another one.
    #[must_use]
    pub fn new(delay: Duration, codec: Codec, first: RtpTimestamp, now: Instant) -> Self {
        let mut heard = TimestampExtender::new(first);
        let zero = heard.extend(first);
        Self {
            delay,
            codec,
            ends: VecDeque::new(),
            heard,
            zero,
            ways: VecDeque::new(),
            replies: VecDeque::new(),
            due: now,
            sequence: 1,
            samples: 0,
        }
    }

    /// Says that a stimulus ends with this sample of the stream that is heard, counted from 0.
    pub fn expect(&mut self, speech_end: u64) {
        self.ends.push_back(speech_end);
    }

    /// Takes a packet.
    pub fn handle_packet(&mut self, bytes: &[u8], at: Instant) {
        let Ok(packet) = Packet::parse(bytes) else { return };
        let Some(first) = self.heard.extend(packet.header.timestamp).checked_sub(self.zero) else { return };
        if self.ways.len() == WAYS {
            self.ways.pop_front();
        }
        self.ways.push_back(i128::from(at.as_nanos()) - nanos(length(first)));
        let Some(fastest) = self.ways.iter().min() else { return };
        while let Some(end) = self.ends.front().filter(|end| **end < first + FRAME as u64) {
            let end_ns = fastest + nanos(length(*end));
            let at = Instant::from_nanos(u64::try_from(end_ns).unwrap_or(0)) + self.delay;
            self.replies.push_back(at);
            self.ends.pop_front();
        }
    }

    /// Returns when the next packet is to be sent.
    #[must_use]
    pub const fn poll_timeout(&self) -> Instant {
        self.due
    }

    /// Returns the packet that is due at `now`, if one is.
    pub fn poll_packet(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.due > now {
            return None;
        }
        let header = Header {
            marker: self.sequence == 1,
            payload_type: PayloadType(self.codec.rtp_payload_type()),
            sequence: SequenceNumber(self.sequence),
            timestamp: RtpTimestamp(self.samples as u32),
            ssrc: Ssrc(0x0ca1_1b4a),
        };
        let pcm: [i16; FRAME] = std::array::from_fn(|n| self.sample(self.due + length(n as u64)));
        let mut bytes = vec![0; HEADER_LEN + FRAME];
        header.write(&mut bytes);
        self.codec.encode(&pcm, &mut bytes[HEADER_LEN..]);
        self.due += SLOT;
        self.sequence = self.sequence.wrapping_add(1);
        self.samples += FRAME as u64;
        while self.replies.front().is_some_and(|reply| *reply + REPLY < self.due) {
            self.replies.pop_front();
        }
        Some(bytes)
    }

    /// What it says at this time: a tone in a reply, and otherwise nothing.
    fn sample(&self, at: Instant) -> i16 {
        let Some(reply) = self.replies.iter().find(|reply| at >= **reply && at < **reply + REPLY) else { return 0 };
        let t = at.since(*reply).as_secs_f64();
        // A cosine: the first sample is as loud as any.
        (AMPLITUDE * (TAU * 440.0 * t).cos()) as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phone::capture::{Capture, Received, Sent, Stream};
    use crate::phone::mrl::{Discard, Exchange, Measurement, PLAYOUT_TARGET, measure};
    use crate::phone::report::Aggregate;
    use crate::phone::stimulus::Stimulus;
    use crate::phone::weather::{Channel, Weather};

    fn stimulus() -> Stimulus {
        let mut pcm: Vec<i16> = (0..9000).map(|n| (8000.0 * (f64::from(n) * 0.6).sin()) as i16).collect();
        pcm.extend([0; 3000]);
        Stimulus::new("tone", pcm).expect("speech")
    }

    /// Exchanges over a simulated network, a call each; the telephone's grid and the responder's lie as they fall.
    fn exchanges(delay: Duration, weather: Weather, count: u64) -> Vec<Result<Measurement, Discard>> {
        (0..count).map(|seed| exchange(delay, weather, seed)).collect()
    }

    fn exchange(delay: Duration, weather: Weather, seed: u64) -> Result<Measurement, Discard> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let stimulus = stimulus();
        let (mut there, mut back) = (Channel::new(weather, rng.fork()), Channel::new(weather, rng.fork()));
        let start = Instant::from_millis(5000);
        let mut responder =
            Responder::new(delay, Codec::Pcmu, RtpTimestamp(0), start + Duration::from_micros(rng.u64(..20_000)));
        // A second of silence first, by which the channel is known.
        let lead = 50 * FRAME as u64;
        let speech_end = lead + stimulus.speech_end as u64 - 1;
        responder.expect(speech_end);
        let mut capture = Capture::default();
        let mut arriving: Vec<(Instant, Vec<u8>)> = Vec::new();
        for n in 0..250u64 {
            let due = start + SLOT * u32::try_from(n).expect("small");
            // The sender's own timer is late by some, never early (§7.6).
            let at = due + Duration::from_micros(rng.u64(..300));
            let first_sample = n * FRAME as u64;
            capture.sent.push(Sent { at, due, first_sample });
            let header = Header {
                marker: n == 0,
                payload_type: PayloadType(0),
                sequence: SequenceNumber(n as u16),
                timestamp: RtpTimestamp(first_sample as u32),
                ssrc: Ssrc(9),
            };
            let mut bytes = vec![0xff; HEADER_LEN + FRAME];
            header.write(&mut bytes);
            if let Some(delay) = there.pass() {
                arriving.push((at + delay, bytes));
            }
        }
        arriving.sort_by_key(|(at, _)| *at);
        let mut arriving = arriving.into_iter().peekable();
        while responder.poll_timeout() < start + Duration::from_secs(5) {
            let due = responder.poll_timeout();
            while let Some((at, bytes)) = arriving.next_if(|(at, _)| *at <= due) {
                responder.handle_packet(&bytes, at);
            }
            let bytes = responder.poll_packet(due).expect("it is due");
            if let Some(delay) = back.pass() {
                capture.received.push(Received { at: due + delay, bytes });
            }
        }
        capture.received.sort_by_key(|received| received.at);
        let stream = Stream::of(&capture.received, Codec::Pcmu);
        let end = start + Duration::from_secs(5);
        let exchange = Exchange { speech_end, began: start + Duration::from_secs(1), quiet_since: start, ended: end };
        measure(&capture, &stream, &exchange)
    }

    fn figures(delay: Duration, weather: Weather) -> (Aggregate, Aggregate) {
        let measured: Vec<Measurement> =
            exchanges(delay, weather, 50).into_iter().map(|result| result.expect("a figure")).collect();
        let ingress: Vec<f64> = measured.iter().map(Measurement::ingress).collect();
        let playout: Vec<f64> = measured.iter().map(Measurement::playout).collect();
        (Aggregate::of(&ingress), Aggregate::of(&playout))
    }

    #[test]
    fn a_programmed_delay_is_read_within_3_ms_with_and_without_jitter() {
        let target = PLAYOUT_TARGET.as_secs_f64() * 1e3;
        for delay_ms in [250.0, 237.3] {
            for jitter_ms in [0.0, 30.0] {
                let weather = Weather { jitter: Duration::from_secs_f64(jitter_ms / 1e3), ..Weather::default() };
                let (ingress, playout) = figures(Duration::from_secs_f64(delay_ms / 1e3), weather);
                let name = format!("{delay_ms} ms with {jitter_ms} ms of jitter");
                // What the channel adds to each is known: the mean of the jitter, and the depth of the buffer (§7.6).
                for (figure, added) in [(&ingress, jitter_ms / 2.0), (&playout, target)] {
                    let residual = figure.mean - added - delay_ms;
                    assert!(residual.abs() <= 3.0, "{name}: {residual} of {figure:?}");
                }
                assert!((playout.p50 - target - delay_ms).abs() <= 3.0, "{name}: {playout:?}");
                assert!((playout.max - playout.p50) <= 3.0, "jitter does not spread the playout figure: {playout:?}");
            }
        }
    }

    #[test]
    fn loss_is_told_beside_the_figure() {
        let weather = Weather { loss: 0.05, ..Weather::default() };
        let measured = exchanges(Duration::from_millis(250), weather, 20);
        let flagged = measured.iter().flatten().filter(|measured| measured.flags.high_loss).count();
        assert!(flagged >= 15, "{flagged} of 20");
    }

    #[test]
    fn an_error_of_two_milliseconds_in_the_telephone_would_be_seen() {
        // What keeps the test above honest: a figure that is off by a constant is off by that constant here.
        let (_, playout) = figures(Duration::from_millis(252), Weather::default());
        assert!((playout.p50 - PLAYOUT_TARGET.as_secs_f64() * 1e3 - 250.0) > 1.0, "{playout:?}");
    }
}
