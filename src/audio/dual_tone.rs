//! A key as it sounds: its two tones, for a peer that takes no telephone events (ITU-T Q.23).

use super::tone::{KEYS, TONES_HZ};
use std::f32::consts::TAU;

/// Samples a second.
const RATE: f32 = 8000.0;
/// The amplitude of each tone: -12 dBov, which is about the -9 dBm0 that telephones send, and well above the -25 dBm0
/// that receivers need.
const AMPLITUDE: f32 = 8192.0;

/// The two tones of one key.
#[derive(Clone, Debug, Default)]
pub struct DualTone {
    /// Radians from one sample to the next.
    steps: [f32; 2],
    phases: [f32; 2],
}

impl DualTone {
    /// Makes one that is silent.
    #[must_use]
    pub const fn new() -> Self {
        Self { steps: [0.0; 2], phases: [0.0; 2] }
    }

    /// Begins the tones of `key`: `0` to `9`, `*`, `#` or `A` to `D`; anything else is silent.
    ///
    /// # Real-time
    /// Constant time.
    pub fn begin(&mut self, key: char) {
        self.phases = [0.0; 2];
        self.steps = [0.0; 2];
        for (row, keys) in KEYS.iter().enumerate() {
            for (column, of) in keys.iter().enumerate() {
                if *of == key {
                    self.steps = [TONES_HZ[row], TONES_HZ[4 + column]].map(|hz| TAU * hz / RATE);
                }
            }
        }
    }

    /// Fills `pcm` (mono, 8 kHz) with what comes next of them.
    ///
    /// # Real-time
    /// Bounded by the length of `pcm`.
    pub fn fill(&mut self, pcm: &mut [i16]) {
        for sample in pcm {
            let mut sum = 0.0;
            for (phase, step) in self.phases.iter_mut().zip(self.steps) {
                sum += phase.sin();
                *phase = (*phase + step) % TAU;
            }
            *sample = (sum * AMPLITUDE) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tone::{Detector, FRAME_SAMPLES};
    use super::*;

    #[test]
    fn every_key_is_heard_as_itself() {
        for key in KEYS.as_flattened() {
            let (mut tone, mut detector) = (DualTone::new(), Detector::new());
            tone.begin(*key);
            let mut heard = Vec::new();
            let mut frame = [0; FRAME_SAMPLES];
            // 100 ms of tone, and a pause.
            for n in 0..10 {
                if n < 5 {
                    tone.fill(&mut frame)
                } else {
                    frame.fill(0)
                }
                heard.extend(detector.push(&frame));
            }
            assert_eq!(heard, [*key]);
        }
    }

    #[test]
    fn what_is_no_key_is_silent() {
        let mut tone = DualTone::new();
        tone.begin('x');
        let mut pcm = [7; 80];
        tone.fill(&mut pcm);
        assert_eq!(pcm, [0; 80]);
    }
}
