//! One exchange measured: from the caller's last sample of speech to the reply's first (draft-nygate-ippm-mrl §3, §9).

use super::capture::{Capture, Stream};
use super::onset::{HEADLINE, VARIANTS, continuity, noise_floor};
use super::{length, nanos};
use crate::time::Instant;
use std::time::Duration;

/// How far the telephone's own packets may be from their slots before a figure is worthless (§9.1).
pub const PACING_MAX: Duration = Duration::from_millis(5);
/// How deep the de-jitter buffer is behind which the playout figure is taken.
pub const PLAYOUT_TARGET: Duration = Duration::from_millis(40);
/// How long the fastest way is looked for that anchors the buffer.
const ANCHOR_WINDOW: Duration = Duration::from_secs(2);
/// The share of packets that are lost, or come too late for the buffer, from which that is told beside the figure.
const FLAG_SHARE: f64 = 0.01;

/// What was said in an exchange, and where it lies in what was sent and heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The number of the stimulus's last sample of speech in the stream that was sent.
    pub speech_end: u64,
    /// When the telephone began to say it.
    pub began: Instant,
    /// When the agent had last been heard before: where its greeting, or its reply before, ended.
    pub quiet_since: Instant,
    /// When the telephone stopped listening for the reply.
    pub ended: Instant,
}

/// Why an exchange gives no figure (§9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Discard {
    /// The stimulus has no end that was sent.
    SpeechEndNotFound,
    /// Nothing came.
    NoPackets,
    /// There was no reply.
    OnsetNotFound,
    /// The reply was there in the first frame that came: it may have begun before.
    OnsetInFirstFrame,
    /// The telephone did not keep its own time.
    TxPacingDeviation,
}

impl Discard {
    /// Returns its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SpeechEndNotFound => "speech_end_not_found",
            Self::NoPackets => "no_packets",
            Self::OnsetNotFound => "onset_not_found",
            Self::OnsetInFirstFrame => "onset_in_first_frame",
            Self::TxPacingDeviation => "tx_pacing_deviation",
        }
    }
}

/// What else is to be known of a figure (§9.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// More than one packet in a hundred was lost.
    pub high_loss: bool,
    /// More than one in a hundred came too late for the buffer.
    pub high_late_discard: bool,
    /// The reply is in pieces (§3.7).
    pub discontiguous: bool,
}

/// One exchange's figures; milliseconds are signed, as a reply may begin before its question has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// When the last sample of speech was sent.
    pub t0: Instant,
    /// When the first sample of the reply came, by the headline definition.
    pub t1: Instant,
    /// By each of [`VARIANTS`]; `None` where that one finds no onset.
    pub ingress_ms: [Option<f64>; 3],
    /// The same behind a de-jitter buffer of [`PLAYOUT_TARGET`].
    pub playout_ms: [Option<f64>; 3],
    /// The longest pause in the reply's first two seconds.
    pub gap_ms: f64,
    /// To where the reply's last piece begins; the headline's ingress figure where it is one piece.
    pub contiguous_ms: f64,
    /// When what the agent said before had ended.
    pub unprompted_end: Instant,
    /// What else is to be known.
    pub flags: Flags,
}

impl Measurement {
    /// Returns the figure that is quoted: ingress, by the headline definition.
    #[must_use]
    pub fn ingress(&self) -> f64 {
        self.ingress_ms[HEADLINE].unwrap_or_default()
    }

    /// Returns the same behind the de-jitter buffer.
    #[must_use]
    pub fn playout(&self) -> f64 {
        self.playout_ms[HEADLINE].unwrap_or_default()
    }

    /// Returns how far the definitions of an onset lie apart.
    #[must_use]
    pub fn spread_ms(&self) -> f64 {
        let found = || self.ingress_ms.iter().flatten().copied();
        found().fold(f64::MIN, f64::max) - found().fold(f64::MAX, f64::min)
    }
}

/// Measures an exchange in a capture whose received side is laid out as `stream`.
///
/// # Errors
/// Why there is no figure.
pub fn measure(capture: &Capture, stream: &Stream, exchange: &Exchange) -> Result<Measurement, Discard> {
    let t0 = capture.sent_at(exchange.speech_end).ok_or(Discard::SpeechEndNotFound)?;
    let first_packet = stream.packets().next().ok_or(Discard::NoPackets)?;
    let from = stream.sample_at(exchange.quiet_since).ok_or(Discard::OnsetNotFound)? as usize;
    // The noise is what is heard while the caller speaks; a reply that interrupts is not the half of it.
    let until = stream.sample_at(t0).unwrap_or(stream.pcm().len() as u64) as usize;
    let floor = noise_floor(stream, from, until);
    let onsets = VARIANTS.map(|variant| variant.find(stream, from, floor));
    let onset = onsets[HEADLINE].ok_or(Discard::OnsetNotFound)?;
    let t1 = stream.arrived_at(onset as u64).ok_or(Discard::OnsetNotFound)?;
    if t1 > exchange.ended {
        return Err(Discard::OnsetNotFound);
    }
    if (onset as u64) < first_packet.0 + first_packet.1.len as u64 {
        return Err(Discard::OnsetInFirstFrame);
    }
    if capture.pacing_error(exchange.began, t1.max(t0)) > PACING_MAX {
        return Err(Discard::TxPacingDeviation);
    }
    let anchor = stream.anchor_ns(ANCHOR_WINDOW).ok_or(Discard::NoPackets)?;
    let played_ns = |onset: usize| anchor + nanos(length(onset as u64)) + nanos(PLAYOUT_TARGET);
    let milliseconds = |ns: i128| ns as f64 / 1e6;
    let t0_ns = i128::from(t0.as_nanos());
    let ingress = |onset: usize| {
        let at = stream.arrived_at(onset as u64)?;
        Some(milliseconds(i128::from(at.as_nanos()) - t0_ns))
    };
    let continuity = continuity(stream, onset, floor);
    let contiguous_ms = ingress(continuity.contiguous).ok_or(Discard::OnsetNotFound)?;
    let count = stream.packets().count() as f64;
    let late = stream
        .packets()
        .filter(|(first, placed)| i128::from(placed.at.as_nanos()) > played_ns(*first as usize))
        .count() as f64;
    Ok(Measurement {
        t0,
        t1,
        ingress_ms: onsets.map(|onset| onset.and_then(ingress)),
        playout_ms: onsets.map(|onset| onset.map(|onset| milliseconds(played_ns(onset) - t0_ns))),
        gap_ms: length(continuity.gap as u64).as_secs_f64() * 1e3,
        contiguous_ms,
        unprompted_end: exchange.quiet_since,
        flags: Flags {
            high_loss: stream.lost as f64 > FLAG_SHARE * (count + stream.lost as f64),
            high_late_discard: late > FLAG_SHARE * count,
            discontiguous: continuity.contiguous != onset,
        },
    })
}
