//! The RTP header, read from a datagram and written in place (RFC 3550 §5.1), and which datagram is RTP at all.

use super::{Discard, PayloadType, RtpTimestamp, SequenceNumber, Ssrc};

/// Bytes of a header without contributing sources or extension.
pub const HEADER_LEN: usize = 12;
/// Largest datagram that is read: one Ethernet frame. G.711 needs 492 bytes for 60 ms.
pub const DATAGRAM_LEN_MAX: usize = 1500;
/// Largest packet that we send: 60 ms of G.711, the longest packet time that we agree upon.
pub const SENT_LEN_MAX: usize = HEADER_LEN + 480;

/// What a datagram on a media port is, by its first two bytes (RFC 7983 §7, RFC 5761 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RTP.
    Rtp,
    /// RTCP, which may share RTP's port.
    Rtcp,
    /// STUN, DTLS, ZRTP, TURN or noise: nothing that we have agreed upon.
    Other,
}

/// Tells what `datagram` is. Only the version and the payload type are looked at.
///
/// # Real-time
/// Constant time.
#[must_use]
pub fn kind(datagram: &[u8]) -> Kind {
    match datagram {
        // RTCP's packet types 192-223 are what marker and payload types 64-95 would be, which RTP leaves to it.
        [128..=191, 192..=223, ..] => Kind::Rtcp,
        [128..=191, _, ..] => Kind::Rtp,
        _ => Kind::Other,
    }
}

/// The header fields that mean something to us; contributing sources and extensions are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The first packet of a talkspurt, in audio (RFC 3551 §4.1).
    pub marker: bool,
    /// What the payload is.
    pub payload_type: PayloadType,
    /// One more for each packet.
    pub sequence: SequenceNumber,
    /// The moment of the payload's first sample.
    pub timestamp: RtpTimestamp,
    /// Whose stream this is.
    pub ssrc: Ssrc,
}

/// A packet in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The header.
    pub header: Header,
    /// What is left without header, extension and padding; may be empty.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads `datagram`.
    ///
    /// # Errors
    /// [`Discard::NotRtp`] where [`kind`] says so; [`Discard::Malformed`] where a length does not fit the datagram.
    ///
    /// # Real-time
    /// Constant time; nothing is copied.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Discard> {
        if kind(datagram) != Kind::Rtp {
            return Err(Discard::NotRtp);
        }
        if datagram.len() > DATAGRAM_LEN_MAX {
            return Err(Discard::Malformed);
        }
        let (fixed, rest) = datagram.split_first_chunk::<HEADER_LEN>().ok_or(Discard::Malformed)?;
        let [flags, kind, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        let mut rest = rest.get(4 * usize::from(flags & 0x0f)..).ok_or(Discard::Malformed)?;
        if flags & 0x10 != 0 {
            // Two bytes of profile, then the extension's length in words (§5.3.1).
            let (&[_, _, l0, l1], extension) = rest.split_first_chunk::<4>().ok_or(Discard::Malformed)?;
            let length = 4 * usize::from(u16::from_be_bytes([l0, l1]));
            rest = extension.get(length..).ok_or(Discard::Malformed)?;
        }
        if flags & 0x20 != 0 {
            // The last byte counts the padding, itself included (§5.1).
            let padding = usize::from(*rest.last().ok_or(Discard::Malformed)?);
            let length = rest.len().checked_sub(padding).ok_or(Discard::Malformed)?;
            if padding == 0 {
                return Err(Discard::Malformed);
            }
            rest = rest.get(..length).ok_or(Discard::Malformed)?;
        }
        let header = Header {
            marker: kind & 0x80 != 0,
            payload_type: PayloadType(kind & 0x7f),
            sequence: SequenceNumber(u16::from_be_bytes([s0, s1])),
            timestamp: RtpTimestamp(u32::from_be_bytes([t0, t1, t2, t3])),
            ssrc: Ssrc(u32::from_be_bytes([c0, c1, c2, c3])),
        };
        Ok(Self { header, payload: rest })
    }
}

impl Header {
    /// Writes the header into the first [`HEADER_LEN`] bytes of `packet`: the payload may already stand behind it.
    /// Returns `false`, and writes nothing, where there is no room.
    ///
    /// # Real-time
    /// Constant time.
    pub fn write(&self, packet: &mut [u8]) -> bool {
        let Some(out) = packet.first_chunk_mut::<HEADER_LEN>() else { return false };
        let [s0, s1] = self.sequence.0.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.0.to_be_bytes();
        let [c0, c1, c2, c3] = self.ssrc.0.to_be_bytes();
        let kind = (self.payload_type.0 & 0x7f) | (u8::from(self.marker) << 7);
        *out = [0x80, kind, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3];
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        marker: true,
        payload_type: PayloadType(8),
        sequence: SequenceNumber(0xfffe),
        timestamp: RtpTimestamp(0xffff_ff60),
        ssrc: Ssrc(0x05b9_4fe7),
    };

    /// A datagram with these flag bits, these bytes between the fixed header and its end.
    fn datagram(flags: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        assert!(HEADER.write(&mut bytes));
        bytes[0] |= flags;
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = datagram(0, &[1, 2, 3]);
        assert_eq!(Packet::parse(&bytes), Ok(Packet { header: HEADER, payload: &[1, 2, 3] }));
        assert_eq!(&bytes[..12], &[0x80, 0x88, 0xff, 0xfe, 0xff, 0xff, 0xff, 0x60, 0x05, 0xb9, 0x4f, 0xe7]);
        assert!(!HEADER.write(&mut [0; 11]));
    }

    #[test]
    fn contributing_sources_extension_and_padding_are_taken_off() {
        let csrc = [9; 8];
        assert_eq!(Packet::parse(&datagram(2, &[&csrc[..], b"pay"].concat())).map(|p| p.payload), Ok(&b"pay"[..]));
        let extension = [0xbe, 0xde, 0, 1, 7, 7, 7, 7];
        let bytes = datagram(0x10 | 2, &[&csrc[..], &extension, b"pay"].concat());
        assert_eq!(Packet::parse(&bytes).map(|p| p.payload), Ok(&b"pay"[..]));
        let bytes = datagram(0x30 | 2, &[&csrc[..], &extension, b"pay", &[0, 0, 3]].concat());
        assert_eq!(Packet::parse(&bytes).map(|p| p.payload), Ok(&b"pay"[..]));
        assert_eq!(Packet::parse(&datagram(0x20, &[2, 2])).map(|p| p.payload), Ok(&[][..]));
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        assert_eq!(Packet::parse(&datagram(0, &[])[..11]), Err(Discard::Malformed));
        assert_eq!(Packet::parse(&datagram(15, &[0; 59])), Err(Discard::Malformed));
        assert_eq!(Packet::parse(&datagram(0x10, &[0, 0, 0])), Err(Discard::Malformed));
        assert_eq!(Packet::parse(&datagram(0x10, &[0, 0, 0xff, 0xff, 1])), Err(Discard::Malformed));
        assert_eq!(Packet::parse(&datagram(0x20, &[1, 0])), Err(Discard::Malformed), "padding of 0");
        assert_eq!(Packet::parse(&datagram(0x20, &[1, 3])), Err(Discard::Malformed), "more padding than packet");
        assert_eq!(Packet::parse(&datagram(0x20, &[])), Err(Discard::Malformed), "padding of nothing");
        assert_eq!(Packet::parse(&datagram(0, &[0; 1489])), Err(Discard::Malformed), "longer than a frame");
    }

    #[test]
    fn stun_dtls_and_rtcp_are_told_apart() {
        assert_eq!(kind(&[0, 1, 0, 0]), Kind::Other, "STUN");
        assert_eq!(kind(&[22, 254, 253]), Kind::Other, "DTLS");
        assert_eq!(kind(&[0x80]), Kind::Other);
        assert_eq!(kind(&[]), Kind::Other);
        assert_eq!(kind(&[0x81, 200]), Kind::Rtcp);
        assert_eq!(kind(&[0x81, 204]), Kind::Rtcp);
        assert_eq!(kind(&[0x80, 8]), Kind::Rtp);
        assert_eq!(kind(&[0x80, 0x88]), Kind::Rtp);
        assert_eq!(kind(&[0x80, 0x80 | 101]), Kind::Rtp);
        assert_eq!(Packet::parse(&[0x81, 200, 0, 0]), Err(Discard::NotRtp));
    }

    #[test]
    fn mutated_packets_are_read_or_refused_and_never_more() {
        let mut rng = fastrand::Rng::with_seed(1);
        let valid = datagram(0x30 | 2, &[&[9; 8][..], &[0xbe, 0xde, 0, 1, 7, 7, 7, 7], &[0; 160], &[0, 2]].concat());
        for _ in 0..100_000 {
            let mut bytes = valid.clone();
            bytes.truncate(rng.usize(..=valid.len()));
            for _ in 0..rng.usize(1..8) {
                if !bytes.is_empty() {
                    let at = rng.usize(..bytes.len().min(40));
                    bytes[at] = rng.u8(..);
                }
            }
            if let Ok(packet) = Packet::parse(&bytes) {
                assert!(packet.payload.len() + HEADER_LEN <= bytes.len());
            }
        }
    }
}
