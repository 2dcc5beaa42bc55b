//! Where a call's packets and measurements go: the one thing that a call asks of the world.

use crate::time::Instant;
use std::net::SocketAddr;
use std::time::Duration;

/// Where a call's packets and measurements go.
pub trait Wire {
    /// Sends a packet from the call's RTP (or RTCP) port; returns the time just after, or `None` where it was not sent.
    ///
    /// # Real-time
    /// One system call.
    fn send(&mut self, rtcp: bool, to: SocketAddr, bytes: &[u8]) -> Option<Instant>;
    /// Takes a measurement.
    ///
    /// # Real-time
    /// No heap, no lock.
    fn measure(&mut self, what: Measure, value: Duration);
}

/// What is measured on the media path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Interarrival jitter as it stands after a packet (RFC 3550 §6.4.1).
    InterarrivalJitter,
    /// How long a gap held the caller's speech back.
    GapWait,
    /// How late a packet's slot was served.
    PacingError,
    /// From the caller's first packet with speech to the agent's silence.
    BargeIn,
    /// To the peer and back, by RTCP (RFC 3550 §6.4.1).
    RoundTrip,
}
