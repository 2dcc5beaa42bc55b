//! Session descriptions: what both sides agree to send.
//!
//! [`description`] reads and writes the text (RFC 8866), [`answer`] decides (RFC 3264), [`crypto`] has the keys (RFC 4568).
//! Nothing here resolves a name or opens a port: an offer goes in, and an answer and what was [`Agreed`] come out.

pub mod answer;
pub mod crypto;
pub mod description;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

pub use answer::Negotiation;
pub use crypto::{Keyring, Keys};
pub use description::{Description, Direction};

/// How speech is coded on the wire. Of each, one byte is 125 µs, and the clock rate is 8000 Hz: G.711 is 8 kHz, one byte a sample
/// (RFC 3551 §4.5.14); G.722 is 16 kHz, one byte for two, and its clock rate is an old mistake that stays (§4.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Encoding {
    /// µ-law, payload type 0.
    Pcmu,
    /// A-law, payload type 8.
    Pcma,
    /// G.722 at 64 kbit/s, payload type 9.
    G722,
}

impl Encoding {
    /// Every encoding that we speak.
    pub const ALL: [Self; 3] = [Self::Pcmu, Self::Pcma, Self::G722];
    /// The same in the order in which our own offers name them. A peer that has G.722 takes it where it comes first (PJSIP keeps
    /// the offerer's order, as most do), and then the recogniser has the caller's consonants up to 7 kHz, and the caller a
    /// voice without the grain of eight bits; for a peer that has not, the order changes nothing. µ-law before A-law is
    /// what PBXs name first where they name both; to the ear they are alike.
    pub const PREFERENCE: [Self; 3] = [Self::G722, Self::Pcmu, Self::Pcma];

    /// Returns the static payload type (RFC 3551 table 4).
    #[must_use]
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
            Self::G722 => 9,
        }
    }

    /// Returns the name of an `rtpmap` (RFC 3551 §4.5.2, §4.5.14).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
        }
    }
}

/// Where the peer says its media are to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum RemoteAddress {
    /// An address, never a wildcard.
    Known(SocketAddr),
    /// A host name, which is not resolved: the address is learned from what arrives. The port is what the peer says.
    Learned { port: u16 },
}

impl RemoteAddress {
    /// Returns the address, where it is one.
    #[must_use]
    pub const fn known(self) -> Option<SocketAddr> {
        match self {
            Self::Known(address) => Some(address),
            Self::Learned { .. } => None,
        }
    }

    /// Returns the port.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Known(address) => address.port(),
            Self::Learned { port } => port,
        }
    }

    pub(crate) const fn new(ip: Option<IpAddr>, port: u16) -> Self {
        match ip {
            Some(ip) => Self::Known(SocketAddr::new(ip, port)),
            None => Self::Learned { port },
        }
    }
}

/// What an offer and its answer agree upon, for the one audio stream of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Agreed {
    /// The codec of both directions.
    pub encoding: Encoding,
    /// The payload type of the codec that we send.
    pub payload_type_sent: u8,
    /// The payload types that the peer may send, in the order of [`Encoding::ALL`].
    pub payload_types_received: [Option<u8>; Encoding::ALL.len()],
    /// The payload type of telephone events that we send, if the peer takes them.
    pub telephone_event_sent: Option<u8>,
    /// The payload type of telephone events that the peer sends, if we have said that we take them.
    pub telephone_event_received: Option<u8>,
    /// The payload type of comfort noise (RFC 3389) that the peer sends, if we have said that we take it.
    pub comfort_noise_received: Option<u8>,
    /// Our direction, as our description says it: `SendOnly` means that we send and the peer does not.
    pub direction: Direction,
    /// Whether the peer holds: it wants nothing to be sent that is meant for its user's ear.
    pub held: bool,
    /// Where the peer wants RTP.
    pub remote: RemoteAddress,
    /// Where the peer wants RTCP (`a=rtcp`, RFC 3605; else the port after RTP's).
    pub remote_rtcp: RemoteAddress,
    /// Whether RTP and RTCP share one port (RFC 5761).
    pub rtcp_mux: bool,
    /// How long our packets are, in milliseconds: 20, or the peer's wish, a multiple of 10 from 10 to 60.
    pub ptime_ms: u8,
}

impl Agreed {
    /// Returns the codec of a payload type that the peer sends, if it is one that was agreed upon.
    #[must_use]
    pub fn encoding_received(&self, payload_type: u8) -> Option<Encoding> {
        let agreed = |(encoding, of): (Encoding, Option<u8>)| (of == Some(payload_type)).then_some(encoding);
        Encoding::ALL.into_iter().zip(self.payload_types_received).find_map(agreed)
    }
}

/// Why a session description was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It breaks the grammar of RFC 8866; which part, and on which line (counted from 1).
    Malformed { what: &'static str, line: u16 },
    /// It is larger than we read: bytes, lines, media or formats.
    TooLarge { what: &'static str },
    /// It has no audio stream that is offered at all.
    NoAudio,
    /// Its audio is offered by a transport that we do not speak: DTLS, or `RTP/SAVP` where encryption is off.
    Transport,
    /// It is to be encrypted, and none of its keys can be taken (RFC 4568 §5.1.2).
    Crypto,
    /// It is not to be encrypted, and we insist.
    Unencrypted,
    /// None of its codecs is ours.
    NoCommonCodec,
    /// An answer that does not answer our offer: other media, refused, or changed.
    NotAnAnswer,
}

impl Error {
    /// Returns the SIP status that says so (RFC 3261 §21.4.1, §21.4.26).
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed { .. } | Self::TooLarge { .. } => 400,
            Self::NoAudio
            | Self::Transport
            | Self::Crypto
            | Self::Unencrypted
            | Self::NoCommonCodec
            | Self::NotAnAnswer => 488,
        }
    }

    /// Returns the code and text of the Warning header that says why (RFC 3261 §20.43).
    #[must_use]
    pub fn warning(&self) -> (u16, String) {
        let (code, text) = match self {
            Self::Malformed { .. } | Self::TooLarge { .. } => return (399, self.to_string()),
            Self::NoAudio => (304, "Media type not available"),
            Self::Transport => (302, "Incompatible transport protocol"),
            Self::Crypto => (399, "No crypto attribute that can be taken"),
            Self::Unencrypted => (399, "SRTP is required"),
            Self::NoCommonCodec => (305, "Incompatible media format"),
            Self::NotAnAnswer => (399, "The answer does not fit the offer"),
        };
        (code, text.to_owned())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { what, line } => write!(f, "malformed session description: {what} on line {line}"),
            Self::TooLarge { what } => write!(f, "session description too large: {what}"),
            Self::NoAudio => f.write_str("no audio stream is offered"),
            Self::Transport => f.write_str("the audio stream's transport is not one of ours"),
            Self::Crypto => f.write_str("none of the audio stream's SRTP keys can be taken"),
            Self::Unencrypted => f.write_str("the audio stream is not encrypted, and media.srtp is mandatory"),
            Self::NoCommonCodec => f.write_str("none of PCMU, PCMA and G722 is offered"),
            Self::NotAnAnswer => f.write_str("the answer does not fit the offer"),
        }
    }
}

impl std::error::Error for Error {}
