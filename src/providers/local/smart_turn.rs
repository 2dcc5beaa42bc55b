//! Whether what was said is a whole turn, by the sound of its end: Smart Turn v3.2 on a log-mel spectrogram.
//!
//! The front end is Whisper's: 25 ms Hann windows every 10 ms, 80 mel bands on Slaney's scale with equal areas, decadic
//! logarithm, floored 8 decades under the peak. What Smart Turn adds: eight seconds, silence in front of shorter audio, and a
//! waveform of zero mean and unit variance.

use super::{Error, load, on};
use realfft::{RealFftPlanner, RealToComplex};
use rten::{Model, NodeId, ThreadPool};
use rten_tensor::NdTensor;
use std::path::Path;
use std::sync::Arc;

const SAMPLE_RATE: usize = 16_000;
/// Samples that the network sees: 8 s.
pub const WINDOW_SAMPLES: usize = 8 * SAMPLE_RATE;
const FFT_SAMPLES: usize = 400;
const HOP_SAMPLES: usize = 160;
const BINS: usize = FFT_SAMPLES / 2 + 1;
const MEL_BANDS: usize = 80;
const FRAMES: usize = WINDOW_SAMPLES / HOP_SAMPLES;
/// What is added to the variance, so that silence does not divide by zero (as in Whisper's feature extractor).
const VARIANCE_FLOOR: f32 = 1e-7;
/// The least power of a band, before its logarithm (as there).
const POWER_FLOOR: f32 = 1e-10;

/// The network and its front end. Shared by all threads.
pub struct SmartTurn {
    model: Model,
    input: NodeId,
    output: NodeId,
    log_mel: LogMel,
}

impl SmartTurn {
    /// Loads it from its folder.
    ///
    /// # Errors
    /// What keeps it from running.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("smart-turn-v3.2-cpu.onnx");
        let model = load(&path)?;
        let missing = |what: &str| Error::Shape { path: path.clone(), what: what.to_owned() };
        let input = *model.input_ids().first().ok_or_else(|| missing("it has no input"))?;
        let output = *model.output_ids().first().ok_or_else(|| missing("it has no output"))?;
        Ok(Self { model, input, output, log_mel: LogMel::new() })
    }

    /// Returns how probable it is that the turn is whole, 0 to 1, from the end of `pcm` (mono, 16 kHz, ±1).
    ///
    /// Runs on `pool`, which is the calling thread's own, for some 0.2 s.
    ///
    /// # Errors
    /// [`Error::Run`], which a sane model file never causes.
    pub fn completeness(&self, pcm: &[f32], pool: &Arc<ThreadPool>) -> Result<f32, Error> {
        let features = self.log_mel.features(pcm);
        let input = NdTensor::from_data([1, MEL_BANDS, FRAMES], features);
        let [output] = self.model.run_n(vec![(self.input, input.into())], [self.output], on(pool))?;
        let output = output.into_tensor::<f32>().ok_or_else(odd)?.into_data();
        output.first().copied().filter(|p| p.is_finite()).ok_or_else(odd)
    }
}

fn odd() -> Error {
    Error::Shape { path: "smart-turn-v3.2-cpu.onnx".into(), what: "the output has an odd shape".to_owned() }
}

/// Turns audio into the network's input.
struct LogMel {
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    /// Per band: the first bin that counts, and the weights from there on.
    filters: Vec<(usize, Vec<f32>)>,
}

impl LogMel {
    fn new() -> Self {
        let turn = std::f64::consts::TAU / FFT_SAMPLES as f64;
        let window = (0..FFT_SAMPLES).map(|n| (0.5 - 0.5 * (turn * n as f64).cos()) as f32).collect();
        Self { fft: RealFftPlanner::new().plan_fft_forward(FFT_SAMPLES), window, filters: filters() }
    }

    /// Returns `[MEL_BANDS, FRAMES]` of the last 8 s of `pcm`.
    fn features(&self, pcm: &[f32]) -> Vec<f32> {
        let wave = normalised(pcm);
        // Frames are centred on multiples of the hop: the edges see the wave mirrored about its first and last sample.
        let sample = |index: isize| -> f32 {
            let last = WINDOW_SAMPLES as isize - 1;
            let mirrored = if index < 0 {
                -index
            } else if index > last {
                2 * last - index
            } else {
                index
            };
            wave[mirrored as usize]
        };
        let mut block = self.fft.make_input_vec();
        let mut spectrum = self.fft.make_output_vec();
        let mut scratch = self.fft.make_scratch_vec();
        let mut power = [0.0_f32; BINS];
        let mut mel = vec![0.0_f32; MEL_BANDS * FRAMES];
        for frame in 0..FRAMES {
            let from = (frame * HOP_SAMPLES) as isize - (FFT_SAMPLES / 2) as isize;
            for (n, (to, weight)) in block.iter_mut().zip(&self.window).enumerate() {
                *to = sample(from + n as isize) * weight;
            }
            self.fft
                .process_with_scratch(&mut block, &mut spectrum, &mut scratch)
                .expect("the buffers were made by this transform");
            for (power, bin) in power.iter_mut().zip(&spectrum) {
                *power = bin.norm_sqr();
            }
            for (band, (first, weights)) in self.filters.iter().enumerate() {
                let sum: f32 = weights.iter().zip(&power[*first..]).map(|(weight, power)| weight * power).sum();
                mel[band * FRAMES + frame] = sum.max(POWER_FLOOR).log10();
            }
        }
        let peak = mel.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for value in &mut mel {
            *value = (value.max(peak - 8.0) + 4.0) / 4.0;
        }
        mel
    }
}

/// Returns the last 8 s of `pcm`, silence in front of what is shorter, with zero mean and unit variance.
fn normalised(pcm: &[f32]) -> Vec<f32> {
    let pcm = &pcm[pcm.len().saturating_sub(WINDOW_SAMPLES)..];
    let mut wave = vec![0.0; WINDOW_SAMPLES - pcm.len()];
    wave.extend_from_slice(pcm);
    let count = WINDOW_SAMPLES as f64;
    let mean = wave.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    let variance = wave.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
    let scale = (variance as f32 + VARIANCE_FLOOR).sqrt().recip();
    for x in &mut wave {
        *x = (*x - mean as f32) * scale;
    }
    wave
}

/// Slaney's mel scale: linear up to 1 kHz, three mels per 200 Hz, logarithmic above, 27 mels per factor of 6.4.
fn hertz_of(mel: f64) -> f64 {
    if mel < 15.0 { mel * 200.0 / 3.0 } else { 1000.0 * (6.4_f64.ln() / 27.0 * (mel - 15.0)).exp() }
}

fn mel_of(hertz: f64) -> f64 {
    if hertz < 1000.0 { hertz * 3.0 / 200.0 } else { 15.0 + (hertz / 1000.0).ln() * 27.0 / 6.4_f64.ln() }
}

/// Triangles between 0 Hz and 8 kHz, evenly spaced in mels, each of the same area.
fn filters() -> Vec<(usize, Vec<f32>)> {
    let top = mel_of(SAMPLE_RATE as f64 / 2.0);
    let corner = |n: usize| hertz_of(top * n as f64 / (MEL_BANDS + 1) as f64);
    (0..MEL_BANDS)
        .map(|band| {
            let (left, centre, right) = (corner(band), corner(band + 1), corner(band + 2));
            let weight = |bin: usize| {
                let hertz = bin as f64 * SAMPLE_RATE as f64 / FFT_SAMPLES as f64;
                let height = ((hertz - left) / (centre - left)).min((right - hertz) / (right - centre)).max(0.0);
                (height * 2.0 / (right - left)) as f32
            };
            let first = (0..BINS).find(|&bin| weight(bin) > 0.0).unwrap_or(0);
            (first, (first..BINS).map(weight).take_while(|&weight| weight > 0.0).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f32, samples: usize) -> Vec<f32> {
        (0..samples).map(|n| (std::f32::consts::TAU * hertz * n as f32 / SAMPLE_RATE as f32).sin() * 0.5).collect()
    }

    #[test]
    fn the_mel_scale_and_its_inverse_agree_and_bend_at_one_kilohertz() {
        assert!((mel_of(1000.0) - 15.0).abs() < 1e-9);
        assert!((mel_of(6400.0) - 42.0).abs() < 1e-9);
        for hertz in [0.0, 60.0, 999.0, 1001.0, 4000.0, 8000.0] {
            assert!((hertz_of(mel_of(hertz)) - hertz).abs() < 1e-6, "{hertz}");
        }
    }

    #[test]
    fn the_bands_have_equal_areas_and_leave_no_bin_between_them() {
        let filters = filters();
        assert_eq!(filters.len(), MEL_BANDS);
        // The area of a triangle of height 2 / width is one; narrow low bands are sampled by few 40 Hz bins.
        for (band, (_, weights)) in filters.iter().enumerate().skip(40) {
            let area = weights.iter().sum::<f32>() * 40.0;
            assert!((area - 1.0).abs() < 0.15, "band {band}: {area}");
        }
        for bin in 1..BINS - 1 {
            let heard = filters.iter().any(|(first, weights)| (*first..first + weights.len()).contains(&bin));
            assert!(heard, "bin {bin}");
        }
    }

    #[test]
    fn a_tone_is_loudest_in_its_own_band_and_silence_in_front_is_at_the_floor() {
        let features = LogMel::new().features(&tone(1000.0, 4 * SAMPLE_RATE));
        let at = |band: usize, frame: usize| features[band * FRAMES + frame];
        let loudest = (0..MEL_BANDS).max_by(|&a, &b| at(a, 600).total_cmp(&at(b, 600))).expect("bands");
        let top = mel_of(8000.0);
        let expected = (15.0 / top * 81.0).round() as usize - 1;
        assert_eq!(loudest, expected);
        let peak = features.iter().copied().fold(f32::MIN, f32::max);
        // Four seconds of silence are in front; its normalised mean is not exactly zero, but eight decades below the tone.
        assert!(at(20, 100) <= peak - 1.9, "{} against {peak}", at(20, 100));
        assert!(features.iter().all(|value| *value >= peak - 2.0 - 1e-6));
    }

    #[test]
    fn level_does_not_matter_and_only_the_last_eight_seconds_do() {
        let loud = tone(700.0, 9 * SAMPLE_RATE);
        let soft: Vec<f32> = loud.iter().map(|x| x * 0.01).collect();
        let log_mel = LogMel::new();
        let (a, b) = (log_mel.features(&loud), log_mel.features(&soft));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 0.02));
        let mut other_start = loud.clone();
        other_start[..SAMPLE_RATE].fill(0.3);
        assert_eq!(log_mel.features(&loud), log_mel.features(&other_start));
    }

    #[test]
    fn silence_and_nothing_give_finite_features() {
        let log_mel = LogMel::new();
        for pcm in [vec![], vec![0.0; 100], vec![0.0; WINDOW_SAMPLES + 1]] {
            assert!(log_mel.features(&pcm).iter().all(|value| value.is_finite()));
        }
    }
}
