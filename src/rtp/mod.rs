//! Bytes on the media wire.
//!
//! A datagram is told apart and read by [`packet`], let in by [`latch`], placed by [`receiver`]; [`telephone_event`] reads
//! keys. [`sender`] numbers what we send, and [`keypad`] presses keys in it. [`rtcp`] is the report that both sides give each other. [`srtp`] keeps both from
//! strangers. Everything is fixed in size and works on borrowed bytes; nothing from the wire can make it panic or grow.

pub mod keypad;
pub mod latch;
pub mod packet;
pub mod receiver;
pub mod rtcp;
pub mod sender;
pub mod sequence;
pub mod srtp;
pub mod telephone_event;

use std::fmt;

/// A synchronisation source (RFC 3550 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ssrc(pub u32);

/// A payload type, 0 to 127.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadType(pub u8);

/// A sequence number as it is on the wire: it wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SequenceNumber(pub u16);

/// A timestamp as it is on the wire, in samples of the stream's clock: it wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RtpTimestamp(pub u32);

/// The clock rate of G.711 and of its telephone events, in Hz (RFC 3551 §4.5.14).
pub const CLOCK_RATE: u32 = 8000;

impl fmt::Display for Ssrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Why a datagram on a media port was refused. On the data path a refusal is a count, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[repr(usize)]
pub enum Discard {
    /// Neither RTP nor RTCP: STUN, DTLS, or noise.
    NotRtp,
    /// Shorter than its header, its extension or its padding says, or longer than we read.
    Malformed,
    /// Not from the address that this call's media come from.
    Foreign,
    /// From an address that may be this call's, but is not yet confirmed.
    Unconfirmed,
    /// Of a payload type that was not agreed upon.
    PayloadType,
    /// The first packet of another SSRC or of a jump in sequence: a second one must follow it.
    Probation,
    /// Behind what was already played.
    Late,
    /// Already here.
    Duplicate,
    /// Longer than the 100 ms that we keep of a packet.
    TooLong,
    /// Held for a gap when the stream went on far ahead of it.
    Overrun,
    /// Without a right tag, in a call that is encrypted: of a stranger, or not encrypted (RFC 3711 §3.3).
    Authentication,
    /// With a right tag, and here before; or of the one source too many that would have to be known (RFC 3711 §3.3.2).
    Replay,
}

impl Discard {
    /// Every reason, in the order of their counters.
    pub const ALL: [Self; 12] = [
        Self::NotRtp,
        Self::Malformed,
        Self::Foreign,
        Self::Unconfirmed,
        Self::PayloadType,
        Self::Probation,
        Self::Late,
        Self::Duplicate,
        Self::TooLong,
        Self::Overrun,
        Self::Authentication,
        Self::Replay,
    ];

    /// Returns the reason as a label of a metric.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotRtp => "not_rtp",
            Self::Malformed => "malformed",
            Self::Foreign => "foreign",
            Self::Unconfirmed => "unconfirmed",
            Self::PayloadType => "payload_type",
            Self::Probation => "probation",
            Self::Late => "late",
            Self::Duplicate => "duplicate",
            Self::TooLong => "too_long",
            Self::Overrun => "overrun",
            Self::Authentication => "authentication",
            Self::Replay => "replay",
        }
    }
}

/// How many datagrams were refused, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discards([u64; Discard::ALL.len()]);

impl Discards {
    /// Counts one.
    ///
    /// # Real-time
    /// Constant time.
    pub const fn count(&mut self, reason: Discard) {
        self.0[reason as usize] = self.0[reason as usize].saturating_add(1);
    }

    /// Returns how many were refused for `reason`.
    #[must_use]
    pub const fn of(&self, reason: Discard) -> u64 {
        self.0[reason as usize]
    }

    /// Returns how many were refused in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_label() {
        let mut discards = Discards::default();
        for (index, reason) in Discard::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            discards.count(reason);
            assert_eq!(discards.of(reason), 1, "{}", reason.label());
        }
        assert_eq!(discards.total(), Discard::ALL.len() as u64);
    }
}
