//! Where a reply begins, in the samples, by three definitions; and whether it goes on (draft-nygate-ippm-mrl §3.5, §3.7).

use super::capture::Stream;
use super::level::{FLOOR_DBOV, Sliding, dbov};
use super::{FRAME, RATE};
use crate::time;
use std::time::Duration;

/// One definition of a beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variant {
    /// Its name in reports.
    pub name: &'static str,
    /// How far above the noise floor, in dB.
    pub margin_db: f64,
    /// And at least this loud, in dBov.
    pub absolute_dbov: f64,
    /// For so long, in milliseconds.
    pub sustain_ms: u64,
}

/// The definitions of the draft's table; the second is the one whose figure is quoted.
pub const VARIANTS: [Variant; 3] = [
    Variant { name: "sensitive", margin_db: 6.0, absolute_dbov: -55.0, sustain_ms: 10 },
    Variant { name: "headline", margin_db: 10.0, absolute_dbov: -50.0, sustain_ms: 20 },
    Variant { name: "strict", margin_db: 12.0, absolute_dbov: -45.0, sustain_ms: 30 },
];
/// Which of [`VARIANTS`] is quoted.
pub const HEADLINE: usize = 1;

/// How much of a reply is looked at for gaps (§3.7).
pub const CONTINUITY_WINDOW_MS: u64 = 2000;
/// The gap from which a reply is in pieces (§3.7).
pub const GAP_THRESHOLD_MS: u64 = 150;

const fn samples(ms: u64) -> usize {
    time::samples::count(Duration::from_millis(ms), RATE) as usize
}

/// Returns the level of what is heard between `from` and `to` where nobody speaks: that of its quieter frames, in dBov.
#[must_use]
pub fn noise_floor(stream: &Stream, from: usize, to: usize) -> f64 {
    let pcm = stream.pcm().get(from..to.min(stream.pcm().len())).unwrap_or_default();
    let mut levels: Vec<f64> = pcm
        .chunks_exact(FRAME)
        .enumerate()
        .filter(|(n, _)| stream.is_present(from + n * FRAME))
        .map(|(_, frame)| dbov(frame))
        .collect();
    levels.sort_by(f64::total_cmp);
    levels.get(levels.len() / 2).copied().unwrap_or(FLOOR_DBOV)
}

impl Variant {
    /// Returns the level from which sound counts over this noise floor.
    #[must_use]
    pub fn threshold(&self, floor_dbov: f64) -> f64 {
        (floor_dbov + self.margin_db).max(self.absolute_dbov)
    }

    /// Returns the first sample at or behind `from` with which sound begins that lasts.
    ///
    /// The window ends with the sample in question: one that began with it would reach into the reply, and find it early by its
    /// own length (§7.6, the mirror of the stimulus's end).
    #[must_use]
    pub fn find(&self, stream: &Stream, from: usize, floor_dbov: f64) -> Option<usize> {
        let (threshold, lasts) = (self.threshold(floor_dbov), samples(self.sustain_ms));
        let mut sliding = Sliding::default();
        let mut began = None;
        for (at, sample) in stream.pcm().iter().enumerate().skip(from) {
            if sliding.push(*sample) < threshold {
                began = None;
                continue;
            }
            let start = *began.get_or_insert(at);
            if at - start >= lasts {
                return Some(start);
            }
        }
        None
    }
}

/// Whether a reply goes on once it has begun.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Continuity {
    /// The longest stretch below the headline's threshold, in samples, within [`CONTINUITY_WINDOW_MS`] of the onset.
    pub gap: usize,
    /// Where its last piece begins: the onset itself, unless the gap is longer than [`GAP_THRESHOLD_MS`].
    pub contiguous: usize,
}

/// Looks for gaps behind an `onset`. What no packet brought is no gap: a lost frame is not a pause.
#[must_use]
pub fn continuity(stream: &Stream, onset: usize, floor_dbov: f64) -> Continuity {
    let threshold = VARIANTS[HEADLINE].threshold(floor_dbov);
    let end = (onset + samples(CONTINUITY_WINDOW_MS)).min(stream.pcm().len());
    let mut sliding = Sliding::default();
    let mut found = Continuity { gap: 0, contiguous: onset };
    // A pause that the window's end cuts off may be the reply's end: only one that speech follows is a gap.
    let mut quiet = 0;
    for (at, sample) in stream.pcm().iter().enumerate().take(end).skip(onset) {
        if !stream.is_present(at) {
            continue;
        }
        if sliding.push(*sample) < threshold {
            quiet += 1;
            continue;
        }
        found.gap = found.gap.max(quiet);
        if quiet > samples(GAP_THRESHOLD_MS) {
            found.contiguous = at;
        }
        quiet = 0;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::g711::Codec;
    use crate::phone::capture::Received;
    use crate::rtp::packet::Header;
    use crate::rtp::{PayloadType, RtpTimestamp, SequenceNumber, Ssrc};
    use crate::time::Instant;

    /// The samples as packets, but those of these numbers.
    fn stream(pcm: &[i16], lost: &[usize]) -> Stream {
        let packet = |(n, frame): (usize, &[i16])| {
            let mut bytes = vec![0; 12 + frame.len()];
            let header = Header {
                marker: false,
                payload_type: PayloadType(0),
                sequence: SequenceNumber(n as u16),
                timestamp: RtpTimestamp((n * FRAME) as u32),
                ssrc: Ssrc(1),
            };
            header.write(&mut bytes);
            Codec::Pcmu.encode(frame, &mut bytes[12..]);
            Received { at: Instant::from_millis(20 * n as u64), bytes }
        };
        let received: Vec<_> = pcm.chunks(FRAME).enumerate().filter(|(n, _)| !lost.contains(n)).map(packet).collect();
        Stream::of(&received, Codec::Pcmu)
    }

    /// Where the stream's first sample lies in its own count.
    fn zero(stream: &Stream) -> usize {
        stream.packets().next().expect("a packet").0 as usize
    }

    fn tone(samples: usize, amplitude: f64) -> Vec<i16> {
        (0..samples).map(|n| (amplitude * (n as f64 * 0.7).cos()) as i16).collect()
    }

    fn noise(samples: usize, amplitude: i16) -> Vec<i16> {
        let mut rng = fastrand::Rng::with_seed(5);
        (0..samples).map(|_| rng.i16(-amplitude..=amplitude)).collect()
    }

    #[test]
    fn an_abrupt_onset_is_found_to_the_sample_by_all_definitions() {
        for onset in [8000, 8001, 8077, 8159] {
            let mut pcm = noise(onset, 20);
            pcm.extend(tone(8000, 6000.0));
            let stream = stream(&pcm, &[]);
            let floor = noise_floor(&stream, zero(&stream), zero(&stream) + 4000);
            for variant in VARIANTS {
                let found = variant.find(&stream, zero(&stream), floor).expect("an onset") - zero(&stream);
                assert!(found.abs_diff(onset) <= 4, "{}: {found} for {onset}", variant.name);
            }
        }
    }

    #[test]
    fn a_ramp_spreads_the_definitions() {
        let mut pcm = noise(8000, 4);
        pcm.extend((0..8000).map(|n| (f64::from(n) * (f64::from(n) * 0.7).sin()) as i16));
        let stream = stream(&pcm, &[]);
        let found = VARIANTS.map(|variant| variant.find(&stream, zero(&stream), -80.0).expect("an onset"));
        assert!(found[0] < found[1] && found[1] < found[2], "{found:?}");
    }

    #[test]
    fn a_click_is_no_onset() {
        let mut pcm = noise(8000, 4);
        pcm.extend(tone(60, 9000.0));
        pcm.extend(noise(8000, 4));
        let stream = stream(&pcm, &[]);
        assert_eq!(VARIANTS[HEADLINE].find(&stream, zero(&stream), -80.0), None);
    }

    #[test]
    fn a_filler_before_the_reply_is_told_and_a_lost_packet_is_not_taken_for_a_pause() {
        let mut pcm = noise(4000, 4);
        pcm.extend(tone(1600, 6000.0));
        pcm.extend(noise(3200, 4));
        pcm.extend(tone(8000, 6000.0));
        let filler = stream(&pcm, &[]);
        let onset = zero(&filler) + 4000;
        let found = continuity(&filler, onset, -80.0);
        assert!(found.gap.abs_diff(3200) <= 48, "{found:?}");
        assert!(found.contiguous.abs_diff(onset + 4800) <= 4, "{found:?}");
        let mut pcm = noise(4000, 4);
        pcm.extend(tone(12_000, 6000.0));
        let lossy = stream(&pcm, &[30, 31, 32, 33, 34, 35, 36, 37, 38, 39]);
        assert_eq!(continuity(&lossy, onset, -80.0), Continuity { gap: 0, contiguous: onset });
    }
}
