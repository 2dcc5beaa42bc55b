//! Caller to agent, by arrival: packet, latch, jitter, decode, conceal, activity, resample, and out to the recogniser.

use super::EarFrame;
use crate::jitter::Stats;
use crate::rtp::Discards;
use crate::rtp::rtcp::ReportBlock;
use crate::sdp::Agreed;
use crate::time::Instant;
use std::net::{IpAddr, SocketAddr};

/// What comes out of the caller's stream.
#[derive(Clone, Copy)]
pub enum Output<'a> {
    /// The next 20 ms for the recogniser; without a hole, whatever the network does.
    Frame(&'a EarFrame),
    /// The caller's voice began (sustained, not a click) or stopped.
    CallerSpeech { speaking: bool, at: Instant },
    /// A key was pressed (RFC 4733), told once, as soon as its first packet is here.
    Digit { digit: char, at: Instant },
}

/// The receiving side of one call.
pub struct Ingress {
    stats: Stats,
    discards: Discards,
}

impl Ingress {
    /// Begins to listen at `now` for the stream that `agreed` describes; `signalling` is where the peer's SIP comes from.
    #[must_use]
    pub fn new(agreed: &Agreed, signalling: IpAddr, now: Instant) -> Self {
        let _ = (agreed, signalling, now);
        Self { stats: Stats::default(), discards: Discards::default() }
    }

    /// Takes what a re-offer agreed upon. The latch is armed again only where the peer's address changed.
    ///
    /// # Real-time
    /// Constant time.
    pub fn set_agreed(&mut self, agreed: &Agreed, now: Instant) {
        let _ = (agreed, now);
    }

    /// Takes a datagram from the RTP port that [`crate::rtp::packet::kind`] calls RTP.
    ///
    /// # Real-time
    /// Bounded: at most the packets held for a gap, and 500 ms of filled-in silence.
    pub fn handle_packet(&mut self, source: SocketAddr, bytes: &[u8], now: Instant, sink: &mut impl FnMut(Output<'_>)) {
        let _ = (source, bytes, now, sink);
    }

    /// Takes a datagram with RTCP, from either port. Each report about our own stream `own_ssrc` goes to `report`.
    ///
    /// # Real-time
    /// Bounded by the datagram's length.
    pub fn handle_rtcp(
        &mut self,
        source: SocketAddr,
        bytes: &[u8],
        now: Instant,
        own_ssrc: crate::rtp::Ssrc,
        report: &mut impl FnMut(&ReportBlock),
    ) {
        let _ = (source, bytes, now, own_ssrc, report);
    }

    /// Takes the passage of time: a gap's deadline, or silence where the peer sends nothing.
    ///
    /// # Real-time
    /// Bounded as [`Self::handle_packet`].
    pub fn handle_timeout(&mut self, now: Instant, sink: &mut impl FnMut(Output<'_>)) {
        let _ = (now, sink);
    }

    /// Returns when [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        Instant::ZERO
    }

    /// Returns where RTP goes: the latched address, else what the description and the signalling let us guess.
    #[must_use]
    pub fn destination(&self) -> Option<SocketAddr> {
        None
    }

    /// Returns where RTCP goes.
    #[must_use]
    pub fn rtcp_destination(&self) -> Option<SocketAddr> {
        None
    }

    /// Returns the report block about the caller's stream for our next RTCP packet, and begins its next interval.
    pub fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        let _ = now;
        None
    }

    /// Returns when the peer was last heard of, by RTP or RTCP.
    #[must_use]
    pub fn last_heard(&self) -> Option<Instant> {
        None
    }

    /// Returns what the jitter buffer did.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Returns why packets were refused, and how many.
    #[must_use]
    pub const fn discards(&self) -> &Discards {
        &self.discards
    }
}
