//! Sounds for when not even a kept phrase is there: silence would say that the line is dead.

use crate::call::VOICE_RATE;
use crate::time::samples;
use std::f32::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

/// How loud: about -20 dBm0, in the middle of what ITU-T E.180 allows for tones that are heard while nobody speaks.
const LEVEL: f32 = 3300.0;
/// Rise and fall of a tone, 5 ms: without a click.
const EDGE_SAMPLES: usize = 40;

/// Returns what says that somebody is at work: two soft beeps, mono, 8 kHz.
#[must_use]
pub fn wait() -> Arc<[i16]> {
    tones(&[(425.0, 120), (0.0, 120), (425.0, 120)])
}

/// Returns what says that the call cannot go on: the special information tone of every telephone network (ITU-T E.180), mono,
/// 8 kHz.
#[must_use]
pub fn end() -> Arc<[i16]> {
    tones(&[(950.0, 330), (0.0, 20), (1400.0, 330), (0.0, 20), (1800.0, 330)])
}

/// Returns tones one after the other: Hz, 0 for a pause, and milliseconds.
fn tones(tones: &[(f32, u64)]) -> Arc<[i16]> {
    let tone = |&(hz, millis): &(f32, u64)| {
        let len = samples::count(Duration::from_millis(millis), VOICE_RATE) as usize;
        (0..len).map(move |n| {
            let edge = n.min(len - 1 - n).min(EDGE_SAMPLES) as f32 / EDGE_SAMPLES as f32;
            let level = if hz > 0.0 { LEVEL * edge } else { 0.0 };
            (level * (TAU * hz * n as f32 / VOICE_RATE as f32).sin()) as i16
        })
    };
    tones.iter().flat_map(tone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_audible_short_and_begin_and_end_without_a_click() {
        for tone in [wait(), end()] {
            assert!(tone.iter().any(|sample| *sample > 2500));
            assert!(tone.len() < 8000 * 3 / 2);
            assert_eq!((tone.first(), tone.last()), (Some(&0), Some(&0)));
            let jump = tone.windows(2).map(|pair| (pair[0] - pair[1]).unsigned_abs()).max();
            assert!(jump < Some(5500), "{jump:?}");
        }
    }
}
