//! Our own stream: SSRC, sequence and timestamp from random starts, and the marker at a talkspurt's start.

use super::packet::Header;
use super::{PayloadType, RtpTimestamp, SequenceNumber, Ssrc};

/// Numbers the packets that we send (RFC 3550 §5.1).
#[derive(Clone, Debug)]
pub struct Sender {
    ssrc: Ssrc,
    sequence: u16,
    timestamp: u32,
    /// The next packet is marked whatever it holds: it follows upon time without packets.
    broken: bool,
    talking: bool,
    packets: u32,
    octets: u32,
}

impl Sender {
    /// Begins a stream at random numbers, so that neither a guess nor an old stream fits it. Its SSRC is never 0, which peers
    /// report on before they have heard anything. The sequence begins in its lower half: where the first packets are lost
    /// around a wrap, an SRTP receiver cannot know that there was one.
    #[must_use]
    pub fn new(rng: &mut fastrand::Rng) -> Self {
        Self {
            ssrc: Ssrc(rng.u32(1..)),
            sequence: rng.u16(..1 << 15),
            timestamp: rng.u32(..),
            broken: true,
            talking: false,
            packets: 0,
            octets: 0,
        }
    }

    /// Returns the header of the next packet, which holds `samples` samples in as many bytes; `talk`: it holds speech.
    ///
    /// The marker is set where speech begins after silence. We send silence too, since NATs and PBXs hang up on a quiet
    /// stream, but to a receiver it is a pause, and the place to move its playout point (RFC 3551 §4.1): our talkspurts may
    /// begin a little early.
    ///
    /// # Real-time
    /// Constant time.
    pub const fn next(&mut self, payload_type: PayloadType, samples: u16, talk: bool) -> Header {
        let header = Header {
            marker: self.broken || (talk && !self.talking),
            payload_type,
            sequence: SequenceNumber(self.sequence),
            timestamp: RtpTimestamp(self.timestamp),
            ssrc: self.ssrc,
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(samples as u32);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(samples as u32);
        self.broken = false;
        self.talking = talk;
        header
    }

    /// Returns the header of the next packet, which tells of a telephone event in `len` bytes and takes the place of `samples`
    /// samples of audio. All packets of an event have the timestamp at which it began, and the `first` of them is marked
    /// (RFC 4733 §2.5.1.2); the stream's own clock goes on.
    ///
    /// # Real-time
    /// Constant time.
    pub const fn next_event(
        &mut self,
        payload_type: PayloadType,
        began: RtpTimestamp,
        samples: u16,
        len: u16,
        first: bool,
    ) -> Header {
        let sequence = SequenceNumber(self.sequence);
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(samples as u32);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(len as u32);
        self.talking = false;
        Header { marker: first, payload_type, sequence, timestamp: began, ssrc: self.ssrc }
    }

    /// Lets `samples` samples pass without a packet: the timestamp counts on, and the next packet is marked.
    ///
    /// # Real-time
    /// Constant time.
    pub const fn skip(&mut self, samples: u32) {
        self.timestamp = self.timestamp.wrapping_add(samples);
        self.broken = true;
    }

    /// Returns our SSRC.
    #[must_use]
    pub const fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// Takes another SSRC, since the peer uses ours, too (RFC 3550 §8.2).
    pub fn change_ssrc(&mut self, rng: &mut fastrand::Rng) {
        self.ssrc = Ssrc(rng.u32(1..));
        self.packets = 0;
        self.octets = 0;
    }

    /// Returns the timestamp of the next packet.
    #[must_use]
    pub const fn timestamp(&self) -> RtpTimestamp {
        RtpTimestamp(self.timestamp)
    }

    /// Returns how many packets were sent, modulo 2^32 (RFC 3550 §6.4.1).
    #[must_use]
    pub const fn packets(&self) -> u32 {
        self.packets
    }

    /// Returns how many bytes of payload were sent, modulo 2^32 (RFC 3550 §6.4.1).
    #[must_use]
    pub const fn octets(&self) -> u32 {
        self.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_streams_begin_at_different_numbers() {
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut a, mut b) = (Sender::new(&mut rng), Sender::new(&mut rng));
        let (a, b) = (a.next(PayloadType(0), 160, false), b.next(PayloadType(0), 160, false));
        assert!(a.ssrc != b.ssrc && a.sequence != b.sequence && a.timestamp != b.timestamp);
    }

    #[test]
    fn the_marker_is_set_where_speech_begins_and_after_a_hole() {
        let mut sender = Sender::new(&mut fastrand::Rng::with_seed(2));
        let markers = [false, false, true, true, false, true].map(|talk| sender.next(PayloadType(0), 160, talk).marker);
        assert_eq!(markers, [true, false, true, false, false, true]);
        sender.skip(160);
        assert!(sender.next(PayloadType(0), 160, false).marker);
    }

    #[test]
    fn sequence_counts_packets_and_timestamp_counts_time() {
        let mut sender = Sender::new(&mut fastrand::Rng::with_seed(3));
        let first = sender.next(PayloadType(0), 160, false);
        sender.skip(320);
        let second = sender.next(PayloadType(0), 160, false);
        assert_eq!(second.sequence.0.wrapping_sub(first.sequence.0), 1);
        assert_eq!(second.timestamp.0.wrapping_sub(first.timestamp.0), 480);
        assert_eq!((sender.packets(), sender.octets()), (2, 320));
    }

    #[test]
    fn numbers_wrap() {
        let mut sender = Sender::new(&mut fastrand::Rng::with_seed(4));
        let first = sender.next(PayloadType(0), 160, true);
        for _ in 0..65_535 {
            let _ = sender.next(PayloadType(0), 160, true);
        }
        assert_eq!(sender.next(PayloadType(0), 160, true).sequence, first.sequence);
        sender.skip(u32::MAX);
        let _ = sender.next(PayloadType(0), 160, true);
    }
}
