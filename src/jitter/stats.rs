//! Late, lost, concealed, duplicate: what the jitter buffer did, named as in W3C webrtc-stats.

use std::time::Duration;

/// Counts over a call. The names are those of `RTCInboundRtpStreamStats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets that came and belong to the stream, duplicates not counted.
    pub packets_received: u64,
    /// Packets whose gap was closed without them. One that comes later still counts as discarded, too.
    pub packets_lost: u64,
    /// Packets that came after their gap was closed.
    pub packets_discarded: u64,
    /// Packets that came again.
    pub packets_duplicated: u64,
    /// Packets that were overtaken on their way, and still came in time.
    pub packets_reordered: u64,
    /// Packets that waited behind a gap when the stream went on too far ahead of them.
    pub packets_overrun: u64,
    /// Samples that were made up for lost packets, at 8 kHz.
    pub concealed_samples: u64,
    /// Times that concealing began.
    pub concealment_events: u64,
    /// Samples of silence filled in where the peer sent nothing, at 8 kHz.
    pub silent_samples: u64,
    /// Samples of silence left out, since as many had been filled in while their packets were under way, at 8 kHz.
    pub removed_samples: u64,
    /// Interarrival jitter (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// Gaps that were waited for.
    pub gaps_waited: u64,
    /// How long they were waited for, in all.
    pub gap_wait: Duration,
    /// The longest of these waits.
    pub gap_wait_max: Duration,
    /// Times that the stream began anew: another SSRC, or a jump of its sequence or timestamp.
    pub restarts: u64,
}
