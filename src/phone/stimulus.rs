//! What the telephone says: prerecorded speech, and the sample at which it ends.

use super::level::{FLOOR_DBOV, Sliding, dbov};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// How far below the loudest 20 ms of the utterance its decay still counts as speech, in dB: what is fainter is the room.
const BELOW_PEAK_DB: f64 = 35.0;
/// How far above the recording's own noise speech has to be, in dB.
const ABOVE_NOISE_DB: f64 = 10.0;
/// The level below which nothing is speech, in dBov: that of the headline onset, at the other end of the reply.
const LEAST_DBOV: f64 = -50.0;
/// Samples of the frames by which peak and noise are judged: 20 ms.
const FRAME: usize = super::FRAME;

/// An utterance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stimulus {
    /// What it is: the file's name, or the words.
    pub id: String,
    /// 8 kHz mono.
    pub pcm: Vec<i16>,
    /// One past the last sample of speech.
    pub speech_end: usize,
}

impl Stimulus {
    /// Annotates a recording; `None` where there is no speech in it.
    #[must_use]
    pub fn new(id: impl Into<String>, pcm: Vec<i16>) -> Option<Self> {
        let speech_end = speech_end(&pcm)?;
        Some(Self { id: id.into(), pcm, speech_end })
    }

    /// Returns the SHA-256 of the samples, 16-bit little-endian, in hexadecimal digits.
    #[must_use]
    pub fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        self.pcm.iter().for_each(|sample| hasher.update(sample.to_le_bytes()));
        let mut hex = String::with_capacity(64);
        for byte in hasher.finalize() {
            // Writing into a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

/// Returns one past the last sample of speech: the end of the last window that is loud enough, seen from behind, so that an
/// abrupt end is found to the sample and a decay is followed down to the threshold. Nothing is added to it (§3.3: a constant
/// would be missing from every figure).
fn speech_end(pcm: &[i16]) -> Option<usize> {
    let mut frames: Vec<f64> = pcm.chunks(FRAME).map(dbov).collect();
    frames.sort_by(f64::total_cmp);
    let (peak, noise) = (*frames.last()?, frames[frames.len() / 10]);
    // A recording that is all speech has no quiet tenth to take for noise.
    let noise = if noise > peak - BELOW_PEAK_DB { FLOOR_DBOV } else { noise };
    let threshold = (peak - BELOW_PEAK_DB).max(noise + ABOVE_NOISE_DB).max(LEAST_DBOV);
    let mut sliding = Sliding::default();
    pcm.iter().enumerate().rev().find_map(|(at, sample)| (sliding.push(*sample) >= threshold).then_some(at + 1))
}

#[cfg(test)]
mod tests {
    use super::super::level::WINDOW;
    use super::*;

    fn tone(samples: usize, amplitude: f64) -> Vec<i16> {
        (0..samples).map(|n| (amplitude * (n as f64 * 0.7).sin()) as i16).collect()
    }

    fn noise(samples: usize, amplitude: i16, seed: u64) -> Vec<i16> {
        let mut rng = fastrand::Rng::with_seed(seed);
        (0..samples).map(|_| rng.i16(-amplitude..=amplitude)).collect()
    }

    #[test]
    fn an_abrupt_end_is_found_to_the_sample_wherever_it_lies() {
        for end in [4000, 4001, 4079, 4093] {
            for hum in [0, 8, 40] {
                let mut pcm = tone(end, 8000.0);
                pcm.extend(noise(8000, hum, 3));
                let found = Stimulus::new("tone", pcm).expect("speech").speech_end;
                assert!(found.abs_diff(end) <= 4, "{found} for {end} with noise of {hum}");
            }
        }
    }

    #[test]
    fn noise_peaks_behind_the_end_do_not_move_it() {
        let mut pcm = tone(8000, 6000.0);
        let mut tail = noise(16_000, 20, 9);
        // One sample in a thousand is a click that a threshold on samples would take for speech.
        tail.iter_mut().step_by(1000).for_each(|sample| *sample = 120);
        pcm.extend(tail);
        let found = Stimulus::new("clicks", pcm).expect("speech").speech_end;
        assert!(found.abs_diff(8000) <= 4, "{found}");
    }

    #[test]
    fn a_decay_is_followed_to_35_db_below_the_peak() {
        let mut pcm = tone(8000, 8000.0);
        // 60 dB in 400 ms: 35 dB are at 233 ms.
        pcm.extend((0..3200).map(|n| {
            let gain = 10f64.powf(-60.0 * f64::from(n) / 3200.0 / 20.0);
            (8000.0 * gain * (f64::from(n) * 0.7).sin()) as i16
        }));
        pcm.extend([0; 4000]);
        let found = Stimulus::new("decay", pcm).expect("speech").speech_end;
        assert!(found.abs_diff(8000 + 1867) <= WINDOW + 12, "{found}");
    }

    #[test]
    fn silence_has_no_speech_and_all_speech_ends_with_its_last_sample() {
        assert_eq!(Stimulus::new("nothing", Vec::new()), None);
        assert_eq!(Stimulus::new("silence", vec![0; 8000]), None);
        assert_eq!(Stimulus::new("noise", noise(8000, 20, 1)), None);
        let whole = Stimulus::new("speech", tone(8001, 9000.0)).expect("speech").speech_end;
        assert!(whole.abs_diff(8001) <= 4, "{whole}");
    }

    #[test]
    fn a_changed_stimulus_has_another_hash() {
        let one = Stimulus::new("a", tone(800, 9000.0)).expect("speech");
        let mut other = one.clone();
        other.pcm[17] ^= 1;
        assert_eq!(one.sha256().len(), 64);
        assert_ne!(one.sha256(), other.sha256());
    }
}
