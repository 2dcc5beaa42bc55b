//! SRTP and SRTCP (RFC 3711) with AES in counter mode and HMAC-SHA1: a packet is protected and unprotected where it stands.
//!
//! [`outbound`] is one side's key at work: encrypt, then sign. [`inbound`] is the other's: check the tag, then the replay
//! window, and only then decrypt, so that whoever lacks the key costs one hash and changes nothing. [`session`] derives
//! the session keys, [`window`] knows which packets have been here. The primitives are RustCrypto's.
//!
//! Every buffer is the caller's and every state fixed in size: no heap once the keys are derived. Keys are wiped when they
//! go, and print as nothing.

pub mod inbound;
pub mod outbound;
mod session;
mod window;

pub use inbound::Inbound;
pub use outbound::Outbound;

use super::packet::HEADER_LEN;
use super::{SequenceNumber, Ssrc};

/// Bytes of a master salt (RFC 3711 §8.2).
pub const SALT_LEN: usize = 14;
/// Most bytes that protection adds to a packet: SRTCP's index and its tag.
pub const TRAILER_LEN_MAX: usize = INDEX_LEN + TAG_LEN;
/// Bytes of an SRTCP tag, whatever SRTP's own are (RFC 4568 §6.2), and of the longer SRTP tag.
const TAG_LEN: usize = 10;
/// Bytes of the E bit and SRTCP's index (RFC 3711 §3.4).
const INDEX_LEN: usize = 4;
/// Bytes of an RTCP packet that stay in the clear: its first word, and the SSRC (RFC 3711 §3.4).
const RTCP_CLEAR_LEN: usize = 8;
/// The bit that says that an SRTCP packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;
/// One more than the highest index of SRTP: a key protects no more packets (RFC 3711 §9.2).
const RTP_INDEX_END: u64 = 1 << 48;
/// The same for SRTCP.
const RTCP_INDEX_END: u32 = 1 << 31;

/// How packets are protected: the key's length and the tag's (RFC 4568 §6.2, RFC 6188 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// AES-128, tags of 80 bits.
    Aes128Sha80,
    /// AES-128, SRTP tags of 32 bits.
    Aes128Sha32,
    /// AES-256, tags of 80 bits.
    Aes256Sha80,
    /// AES-256, SRTP tags of 32 bits.
    Aes256Sha32,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 4] = [Self::Aes128Sha80, Self::Aes128Sha32, Self::Aes256Sha80, Self::Aes256Sha32];

    /// Returns the bytes of a master key, without its salt.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Sha80 | Self::Aes128Sha32 => 16,
            Self::Aes256Sha80 | Self::Aes256Sha32 => 32,
        }
    }

    /// Returns the bytes of an SRTP tag.
    #[must_use]
    pub const fn tag_len(self) -> usize {
        match self {
            Self::Aes128Sha80 | Self::Aes256Sha80 => TAG_LEN,
            Self::Aes128Sha32 | Self::Aes256Sha32 => 4,
        }
    }
}

/// What of an RTP header protection needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outline {
    sequence: SequenceNumber,
    ssrc: Ssrc,
    /// Where the encrypted part begins: behind contributing sources and extension (RFC 3711 §3.1).
    payload: usize,
}

/// Reads the outline of an RTP packet; `None` where it does not reach as far as it says.
fn outline(packet: &[u8]) -> Option<Outline> {
    let &[flags, _, s0, s1, _, _, _, _, c0, c1, c2, c3] = packet.first_chunk::<HEADER_LEN>()?;
    let mut payload = HEADER_LEN + 4 * usize::from(flags & 0x0f);
    if flags & 0x10 != 0 {
        let &[_, _, l0, l1] = packet.get(payload..)?.first_chunk::<4>()?;
        payload += 4 + 4 * usize::from(u16::from_be_bytes([l0, l1]));
    }
    let sequence = SequenceNumber(u16::from_be_bytes([s0, s1]));
    (payload <= packet.len()).then_some(Outline { sequence, ssrc: Ssrc(u32::from_be_bytes([c0, c1, c2, c3])), payload })
}

/// Returns whose RTCP packet this is.
fn rtcp_ssrc(packet: &[u8]) -> Option<Ssrc> {
    let bytes = packet.get(4..)?.first_chunk::<4>()?;
    Some(Ssrc(u32::from_be_bytes(*bytes)))
}
