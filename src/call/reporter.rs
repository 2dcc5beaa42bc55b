//! Our side of a call's RTCP: when a report is due, what it says of our stream, and what the peer's say of it.

use crate::rtp::RtpTimestamp;
use crate::rtp::rtcp::{self, RemoteInbound, Report, ReportBlock, Schedule, SenderInfo, SentReports};
use crate::rtp::sender::Sender;
use crate::time::Instant;
use std::time::Duration;

/// Reports on one stream of ours.
pub(super) struct Reporter {
    schedule: Schedule,
    ntp_at_zero: u64,
    cname: [u8; rtcp::CNAME_LEN_MAX],
    cname_len: usize,
    /// Packets that had been sent at the last report.
    packets_reported: u32,
    sent: SentReports,
    round_trip: Option<Duration>,
    remote: Option<RemoteInbound>,
}

impl Reporter {
    /// Begins to report at `at`; see [`super::egress::Start`].
    pub(super) fn new(at: Instant, ntp_at_zero: u64, name: &str, rng: &mut fastrand::Rng) -> Self {
        let mut cname = [0; rtcp::CNAME_LEN_MAX];
        let cname_len = name.len().min(cname.len());
        cname[..cname_len].copy_from_slice(&name.as_bytes()[..cname_len]);
        Self {
            schedule: Schedule::new(at, rng),
            ntp_at_zero,
            cname,
            cname_len,
            packets_reported: 0,
            sent: SentReports::default(),
            round_trip: None,
            remote: None,
        }
    }

    /// Returns when the next report is due.
    pub(super) const fn poll_timeout(&self) -> Instant {
        self.schedule.next()
    }

    /// Whether a report is due at `now`, which begins the next interval.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        self.schedule.take_due(now)
    }

    /// Another SSRC has sent nothing yet.
    pub(super) const fn begin_anew(&mut self) {
        self.packets_reported = 0;
    }

    /// Writes a report on what `sender` has sent, whose media clock is at `timestamp`, with `block` about the peer's stream. Returns
    /// its length.
    ///
    /// # Real-time
    /// Constant time.
    pub(super) fn write(
        &mut self,
        sender: &Sender,
        timestamp: RtpTimestamp,
        block: Option<ReportBlock>,
        bye: bool,
        now: Instant,
        out: &mut [u8],
    ) -> Option<usize> {
        let (packets, octets) = (sender.packets(), sender.octets());
        // Who has sent nothing since the last report is no sender (RFC 3550 §6.4).
        let has_sent = std::mem::replace(&mut self.packets_reported, packets) != packets;
        let info = SenderInfo { ntp: rtcp::ntp_time(self.ntp_at_zero, now), timestamp, packets, octets };
        if has_sent {
            self.sent.sent(info.ntp);
        }
        let cname = self.cname.get(..self.cname_len).unwrap_or_default();
        let cname = std::str::from_utf8(cname).unwrap_or_default();
        Report { ssrc: sender.ssrc(), sender: has_sent.then_some(info), block, cname, bye }.write(out)
    }

    /// Takes the peer's report about our stream. Returns the round-trip time, where it gives one.
    ///
    /// # Real-time
    /// Constant time.
    pub(super) fn handle_report(&mut self, report: &ReportBlock, now: Instant) -> Option<Duration> {
        self.remote = Some(RemoteInbound::new(report));
        let round_trip = self.sent.round_trip(report, rtcp::ntp_time(self.ntp_at_zero, now));
        self.round_trip = round_trip.or(self.round_trip);
        round_trip
    }

    /// Returns the last round-trip time that was measured.
    pub(super) const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Returns what the peer reported last of our packets.
    pub(super) const fn remote(&self) -> Option<RemoteInbound> {
        self.remote
    }
}
