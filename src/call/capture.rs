//! What a call is told and what it sends, copied into a ring as it happens, so that the call can be run again.
//!
//! The log stands behind the edge that [`super::protection`] is: datagrams as they are read, packets as they are before they are
//! protected. So it holds no key, and needs none to be run again.

use super::{CallCommand, KeptFrame, VoiceFrame};
use crate::rtp::packet::DATAGRAM_LEN_MAX;
use crate::rtp::{Discard, latch};
use crate::sdp::Agreed;
use crate::time::Instant;
use rtrb::Producer;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The longest name in our SDES.
pub const CNAME_MAX: usize = 32;

/// What a call begins with; together with what it is told later, all that its packets depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// When its media began.
    pub now: Instant,
    /// What was agreed upon.
    pub agreed: Agreed,
    /// Where the peer's signalling came from.
    pub signalling: IpAddr,
    /// How the media port was guarded.
    pub guard: latch::Settings,
    /// Our RTP port.
    pub port: u16,
    /// NTP time at [`Instant::ZERO`].
    pub ntp_at_zero: u64,
    /// The name in our SDES, with zeros behind it.
    pub cname: [u8; CNAME_MAX],
    /// Silence on the wire after which the call is given up.
    pub silence_max: Duration,
    /// The seed of the generator that the call was made with.
    pub seed: u64,
}

/// Bytes of fixed room.
#[derive(Clone, Copy)]
pub struct Bytes {
    len: u16,
    bytes: [u8; DATAGRAM_LEN_MAX],
}

impl Bytes {
    /// Copies `bytes`; `None` where they are more than a datagram that is read.
    ///
    /// # Real-time
    /// One copy.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut room = [0; DATAGRAM_LEN_MAX];
        room.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { len: u16::try_from(bytes.len()).ok()?, bytes: room })
    }

    /// Returns the bytes that count.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// What became of a datagram at the edge of a call that may be encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// It is not encrypted.
    Plain,
    /// Its tag says that it is the peer's; the bytes are what was in it.
    Authenticated,
    /// It was refused; the bytes are as they came.
    Refused(Discard),
}

/// One thing that the call was told, or that it did.
#[derive(Clone, Copy)]
pub enum Record {
    /// It begins.
    Begin(Begin),
    /// A datagram came.
    Datagram { rtcp: bool, source: SocketAddr, arrived: Instant, edge: Edge, bytes: Bytes },
    /// Time passed: the orders and speech that follow were taken from their rings in it.
    Tick { now: Instant },
    /// An order was taken.
    Command(CallCommand),
    /// Speech was taken.
    Voice(VoiceFrame),
    /// Speech that was rendered ahead was taken.
    Kept(KeptFrame),
    /// A re-offer changed the session.
    Change { agreed: Agreed, now: Instant },
    /// Its signalling comes from elsewhere.
    Signalling { from: IpAddr },
    /// The call was closed.
    Close { now: Instant },
    /// A packet was made; `to`: where it was to go.
    Packet { rtcp: bool, to: Option<SocketAddr>, bytes: Bytes },
    /// When the RTP packet before was handed to the kernel; `None`: it was not.
    Gone { at: Option<Instant> },
    /// Records were lost: from here on nothing fits together.
    Broken,
    /// There is nothing more to come.
    End,
}

/// The media path's end of a capture; without a ring, as at first, it does nothing.
#[derive(Default)]
pub struct Capture {
    ring: Option<Producer<Record>>,
    /// A passage of time that is worth a record only if something comes of it.
    tick: Option<Instant>,
    state: State,
}

/// Whether everything is in the log.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Whole,
    /// Something was lost.
    Broken,
    /// The log says so.
    Told,
}

impl Capture {
    /// Makes one whose records go to `ring`.
    #[must_use]
    pub const fn new(ring: Producer<Record>) -> Self {
        Self { ring: Some(ring), tick: None, state: State::Whole }
    }

    /// Writes a record; one that finds the ring full breaks the capture, and never waits.
    ///
    /// # Real-time
    /// One copy of at most 1.6 kB.
    pub fn push(&mut self, record: Record) {
        self.touch();
        self.put(record);
    }

    /// Notes that time passes. Where nothing `is_due`, it is written only once something comes of it: a worker looks at
    /// each of its calls whenever one of them has something to do.
    ///
    /// # Real-time
    /// As [`Self::push`].
    pub fn tick(&mut self, now: Instant, is_due: bool) {
        if self.ring.is_some() {
            self.tick = Some(now);
            if is_due {
                self.touch();
            }
        }
    }

    /// Something came of the passage of time.
    ///
    /// # Real-time
    /// As [`Self::push`].
    pub fn touch(&mut self) {
        if let Some(now) = self.tick.take() {
            self.put(Record::Tick { now });
        }
    }

    /// Nothing more comes of it.
    pub const fn settle(&mut self) {
        self.tick = None;
    }

    /// Writes a datagram.
    ///
    /// # Real-time
    /// As [`Self::push`].
    pub fn datagram(&mut self, rtcp: bool, source: SocketAddr, arrived: Instant, edge: Edge, bytes: &[u8]) {
        if self.ring.is_some() {
            let record = |bytes| Record::Datagram { rtcp, source, arrived, edge, bytes };
            self.push(Bytes::new(bytes).map_or(Record::Broken, record));
        }
    }

    /// Writes a packet, as it is before it is protected.
    ///
    /// # Real-time
    /// As [`Self::push`].
    pub fn packet(&mut self, rtcp: bool, to: Option<SocketAddr>, bytes: &[u8]) {
        if self.ring.is_some() {
            let record = |bytes| Record::Packet { rtcp, to, bytes };
            self.push(Bytes::new(bytes).map_or(Record::Broken, record));
        }
    }

    fn put(&mut self, record: Record) {
        let Some(ring) = &mut self.ring else { return };
        // What follows upon a hole says nothing; that there is one does.
        match self.state {
            State::Whole if matches!(record, Record::Broken) => self.state = State::Broken,
            State::Whole if ring.push(record).is_err() => self.state = State::Broken,
            State::Told if matches!(record, Record::End) => {
                let _ = ring.push(record);
            }
            State::Whole | State::Broken | State::Told => {}
        }
        if self.state == State::Broken && ring.push(Record::Broken).is_ok() {
            self.state = State::Told;
        }
    }
}
