//! SR, RR, SDES and BYE, and when to send them (RFC 3550 §6).

use super::Ssrc;

/// Largest compound packet that we send: SR with one block (52), SDES with a name of 32 bytes (44), BYE (8).
pub const SENT_LEN_MAX: usize = 128;

/// What one side reports about the other's stream (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream that this is about.
    pub ssrc: Ssrc,
    /// Packets lost since the previous report, of 256.
    pub fraction_lost: u8,
    /// Packets lost in all; negative where duplicates came.
    pub cumulative_lost: i32,
    /// The highest sequence number that came, with its cycles.
    pub highest_sequence: u32,
    /// Interarrival jitter, in timestamp units.
    pub jitter: u32,
    /// The middle of the NTP time of the last SR that came; 0: none did.
    pub last_sr: u32,
    /// Time since that SR came, in 1/65536 s.
    pub delay_since_last_sr: u32,
}
