//! What the media path was told, and what it sent: the records of `call/capture.rs`, as they stand in a file.

use crate::call::capture::{Begin, Bytes, CNAME_MAX, Edge, Record};
use crate::call::{CallCommand, FRAME_8K, KeptFrame, VoiceFrame};
use crate::ids::TurnId;
use crate::rtp::{Discard, latch};
use crate::sdp::Agreed;
use crate::time::Instant;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Bytes, which stand in the file as base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// What became of a datagram at the edge of an encrypted call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It was not encrypted.
    Plain,
    /// It was the peer's; these are the bytes that were in it.
    Authenticated,
    /// It was refused; these are its bytes as they came.
    Refused(Discard),
}

/// Agent speech.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speech {
    /// The turn whose reply it is.
    pub turn: TurnId,
    /// 16 bits, mono, 8 kHz, little-endian; at most 20 ms.
    pub pcm: Blob,
    /// Whether the turn's speech ends with it.
    pub last: bool,
    /// When it was made.
    pub made: Instant,
}

impl Speech {
    fn of(frame: &VoiceFrame) -> Self {
        let pcm = frame.pcm.iter().take(usize::from(frame.len)).flat_map(|sample| sample.to_le_bytes());
        Self { turn: frame.turn, pcm: Blob(pcm.collect()), last: frame.last, made: frame.made }
    }

    /// Returns it as it came from its ring; `None` where it is more than a frame.
    #[must_use]
    pub fn frame(&self) -> Option<VoiceFrame> {
        let Blob(pcm) = &self.pcm;
        let len = u16::try_from(pcm.len() / 2).ok().filter(|len| usize::from(*len) <= FRAME_8K)?;
        let mut frame = VoiceFrame { turn: self.turn, pcm: [0; FRAME_8K], len, last: self.last, made: self.made };
        for (to, from) in frame.pcm.iter_mut().zip(pcm.chunks_exact(2)) {
            *to = i16::from_le_bytes([from[0], from[1]]);
        }
        Some(frame)
    }
}

/// One line of `media.log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// The call begins.
    Begin {
        now: Instant,
        agreed: Agreed,
        signalling: IpAddr,
        guard: latch::Settings,
        port: u16,
        ntp_at_zero: u64,
        cname: String,
        silence_max: Duration,
        seed: u64,
    },
    /// A datagram came.
    Datagram { rtcp: bool, source: SocketAddr, arrived: Instant, edge: Fate, bytes: Blob },
    /// Time passed; what was taken from the rings follows.
    Tick { now: Instant },
    /// An order was taken.
    Command(CallCommand),
    /// Speech was taken.
    Voice(Speech),
    /// Speech that was rendered ahead was taken.
    Kept { speech: Speech, filler: bool },
    /// A re-offer changed the session.
    Change { agreed: Agreed, now: Instant },
    /// The signalling comes from elsewhere.
    Signalling { from: IpAddr },
    /// The call was closed.
    Close { now: Instant },
    /// A packet was made, here as it was before it was protected.
    Packet { rtcp: bool, to: Option<SocketAddr>, bytes: Blob },
    /// When the RTP packet before was handed to the kernel, if it was.
    Gone { at: Option<Instant> },
    /// Entries were lost.
    Broken,
    /// There is nothing more to come.
    End,
}

impl super::Entry for Entry {
    fn is_end(&self) -> bool {
        *self == Self::End
    }

    fn is_broken(&self) -> bool {
        *self == Self::Broken
    }
}

impl From<&Record> for Entry {
    fn from(record: &Record) -> Self {
        let blob = |bytes: &Bytes| Blob(bytes.as_slice().to_vec());
        match record {
            Record::Begin(begin) => Self::begin(begin),
            Record::Datagram { rtcp, source, arrived, edge, bytes } => {
                let edge = match *edge {
                    Edge::Plain => Fate::Plain,
                    Edge::Authenticated => Fate::Authenticated,
                    Edge::Refused(reason) => Fate::Refused(reason),
                };
                Self::Datagram { rtcp: *rtcp, source: *source, arrived: *arrived, edge, bytes: blob(bytes) }
            }
            Record::Tick { now } => Self::Tick { now: *now },
            Record::Command(command) => Self::Command(*command),
            Record::Voice(frame) => Self::Voice(Speech::of(frame)),
            Record::Kept(KeptFrame { frame, filler }) => Self::Kept { speech: Speech::of(frame), filler: *filler },
            Record::Change { agreed, now } => Self::Change { agreed: *agreed, now: *now },
            Record::Signalling { from } => Self::Signalling { from: *from },
            Record::Close { now } => Self::Close { now: *now },
            Record::Packet { rtcp, to, bytes } => Self::Packet { rtcp: *rtcp, to: *to, bytes: blob(bytes) },
            Record::Gone { at } => Self::Gone { at: *at },
            Record::Broken => Self::Broken,
            Record::End => Self::End,
        }
    }
}

impl Entry {
    fn begin(begin: &Begin) -> Self {
        let cname: Vec<u8> = begin.cname.iter().copied().take_while(|byte| *byte != 0).collect();
        Self::Begin {
            now: begin.now,
            agreed: begin.agreed,
            signalling: begin.signalling,
            guard: begin.guard,
            port: begin.port,
            ntp_at_zero: begin.ntp_at_zero,
            cname: String::from_utf8_lossy(&cname).into_owned(),
            silence_max: begin.silence_max,
            seed: begin.seed,
        }
    }
}

/// Returns a name as it stands in [`Begin`].
#[must_use]
pub fn cname(name: &str) -> [u8; CNAME_MAX] {
    let mut bytes = [0; CNAME_MAX];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    bytes
}
