//! Agent to caller, by the clock: one packet in each 20 ms slot, silence too, and never two at once.

use super::playout::{Playout, Taken};
use crate::rtp::rtcp::ReportBlock;
use crate::sdp::Agreed;
use crate::time::Instant;
use std::time::Duration;

/// What is known when a call's egress begins.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// What the offer and answer agreed upon.
    pub agreed: &'a Agreed,
    /// The first slot.
    pub at: Instant,
    /// NTP time (32.32 seconds since 1900) at [`Instant::ZERO`], for sender reports.
    pub ntp_at_zero: u64,
    /// The name in our SDES (RFC 3550 §6.5.1), at most 32 bytes of ASCII.
    pub cname: &'a str,
}

/// An RTP packet that is due, written into the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Bytes of it.
    pub len: usize,
    /// What it holds.
    pub taken: Taken,
    /// How late its slot was served: the pacing error against our own grid.
    pub late: Duration,
}

/// Counts of a call's egress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// RTP packets sent.
    pub packets_sent: u64,
    /// Payload bytes sent.
    pub bytes_sent: u64,
    /// Slots served later than half a slot.
    pub slots_late: u64,
    /// Slots that passed without a packet since the worker came too late for them.
    pub slots_missed: u64,
    /// Talkspurts that moved the grid forward.
    pub pulled_forward: u64,
}

/// The sending side of one call.
pub struct Egress {
    next_slot: Instant,
    counts: Counts,
}

impl Egress {
    /// Begins at a random SSRC, sequence number and timestamp (RFC 3550 §5.1).
    #[must_use]
    pub fn new(start: Start<'_>, rng: &mut fastrand::Rng) -> Self {
        let _ = rng;
        Self { next_slot: start.at, counts: Counts::default() }
    }

    /// Takes what a re-offer agreed upon; the stream's SSRC, sequence and timestamps go on.
    ///
    /// # Real-time
    /// Constant time.
    pub fn set_agreed(&mut self, agreed: &Agreed) {
        let _ = agreed;
    }

    /// Returns when [`Self::poll_packet`] or [`Self::poll_rtcp`] has something to do: the next slot, or at once for the
    /// first packet of a talkspurt.
    ///
    /// # Real-time
    /// Constant time.
    #[must_use]
    pub fn poll_timeout(&self, playout: &Playout) -> Instant {
        let _ = playout;
        self.next_slot
    }

    /// Writes the packet that is due into `out` (at least [`crate::rtp::packet::SENT_LEN_MAX`] bytes), if one is. The
    /// agreed direction may forbid it: then time passes without a packet.
    ///
    /// # Real-time
    /// Bounded by one frame.
    pub fn poll_packet(&mut self, now: Instant, playout: &mut Playout, out: &mut [u8]) -> Option<Sent> {
        let _ = (now, playout, out);
        None
    }

    /// Writes the RTCP compound packet that is due into `out` (at least [`crate::rtp::rtcp::SENT_LEN_MAX`] bytes), if one
    /// is: SR or RR with `report` about the peer, and SDES. Returns its length.
    ///
    /// # Real-time
    /// Constant time.
    pub fn poll_rtcp(&mut self, now: Instant, report: Option<ReportBlock>, out: &mut [u8]) -> Option<usize> {
        let _ = (now, report, out);
        None
    }

    /// Writes the last RTCP packet of the call, with a BYE. Returns its length.
    ///
    /// # Real-time
    /// Constant time.
    pub fn bye(&mut self, now: Instant, report: Option<ReportBlock>, out: &mut [u8]) -> usize {
        let _ = (now, report, out);
        0
    }

    /// Takes the peer's report about our stream: gives the round-trip time.
    ///
    /// # Real-time
    /// Constant time.
    pub fn handle_report(&mut self, report: &ReportBlock, now: Instant) {
        let _ = (report, now);
    }

    /// Returns the last round-trip time that RTCP measured.
    #[must_use]
    pub const fn round_trip(&self) -> Option<Duration> {
        None
    }

    /// Returns the counts.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }
}
