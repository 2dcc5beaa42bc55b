//! The voice's spectra into 8 kHz speech: a pulse train shaped by one spectrum, noise by another, and an inverse STFT.
//!
//! The network describes 24 kHz speech in 601 bins of 20 Hz. A telephone carries the lowest 200 of them, so the inverse transform
//! is taken at 8 kHz at once: the same 50 ms windows, a third of the samples. Nothing is resampled, nothing is delayed by a filter, and
//! nothing above 4 kHz exists that could fold back.

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::f32::consts::PI;
use std::sync::Arc;

/// Samples per second.
pub const RATE: usize = 8000;
/// Samples of one window: 50 ms, as the network was trained (1200 at 24 kHz).
const WINDOW: usize = 400;
/// Samples from window to window: 12.5 ms (300 at 24 kHz).
pub const HOP: usize = 100;
/// Bins that 8 kHz can carry; the one at 4 kHz itself is left out.
const BINS: usize = 200;
/// Bins of the network: half of 1200 and one.
pub const NETWORK_BINS: usize = 601;
/// Below this pitch, in Hz, a frame is unvoiced.
const PITCH_MIN: f32 = 40.0;
/// The highest harmonic made, in Hz.
const HARMONIC_MAX: f32 = 3950.0;
/// Log magnitudes are cut here, as in training.
const LOG_MAX: f32 = 7.0;

/// What the network says of a stretch of speech; each spectrum is 601 rows (bins) of `frames` values.
pub struct Spectra<'a> {
    /// Number of frames of 12.5 ms.
    pub frames: usize,
    /// Log magnitude of the harmonic part.
    pub harmonic: &'a [f32],
    /// Its phase against the pulses, before tanh, in half turns.
    pub harmonic_phase: &'a [f32],
    /// Log magnitude of the noise.
    pub noise: &'a [f32],
    /// Log magnitude of the part with a phase of its own.
    pub free: &'a [f32],
    /// That phase, in radians.
    pub free_phase: &'a [f32],
    /// Pitch per frame, in Hz.
    pub pitch: &'a [f32],
}

/// Turns spectra into samples. Holds its plans and windows, and can be shared.
pub struct Vocoder {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    /// Periodic Hann window.
    window: [f32; WINDOW],
}

impl Default for Vocoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Vocoder {
    /// Plans the transforms.
    #[must_use]
    pub fn new() -> Self {
        let mut planner = RealFftPlanner::new();
        let window = std::array::from_fn(|n| 0.5 - 0.5 * (2.0 * PI * n as f32 / WINDOW as f32).cos());
        Self { forward: planner.plan_fft_forward(WINDOW), inverse: planner.plan_fft_inverse(WINDOW), window }
    }

    /// Returns `frames * HOP` samples at 8 kHz, nominally within -1 and 1. `random` makes the breath of the voice.
    #[must_use]
    pub fn speak(&self, spectra: &Spectra<'_>, random: &mut fastrand::Rng) -> Vec<f32> {
        let frames = spectra.frames;
        let pulses = reflected(&pulse_train(spectra.pitch));
        let mut sum = vec![0.0f32; frames * HOP + WINDOW];
        let mut weight = vec![0.0f32; sum.len()];
        let mut block = [0.0f32; WINDOW];
        let mut bins = vec![Complex::new(0.0f32, 0.0); WINDOW / 2 + 1];
        let mut gaussian = Gaussian::default();
        for frame in 0..frames {
            for ((to, from), window) in block.iter_mut().zip(&pulses[frame * HOP..]).zip(&self.window) {
                // A cosine of amplitude 1 then peaks at 1 in its bin.
                *to = from * window / (WINDOW / 4) as f32;
            }
            // The lengths are those planned for, so a transform cannot fail.
            let _ = self.forward.process(&mut block, &mut bins);
            for (bin, value) in bins.iter_mut().enumerate() {
                *value =
                    if bin < BINS { shape(*value, spectra, bin, frame, &mut gaussian, random) } else { Complex::ZERO };
            }
            bins[0].im = 0.0;
            let _ = self.inverse.process(&mut bins, &mut block);
            let place = frame * HOP..frame * HOP + WINDOW;
            for (((sum, weight), sample), window) in
                sum[place.clone()].iter_mut().zip(&mut weight[place]).zip(&block).zip(&self.window)
            {
                // The inverse transform is not normalised, and the network's is one of 1200 points.
                *sum += sample * window / NETWORK_POINTS;
                *weight += window * window;
            }
        }
        let middle = WINDOW / 2..WINDOW / 2 + frames * HOP;
        sum[middle.clone()].iter().zip(&weight[middle]).map(|(sum, weight)| sum / weight.max(1e-6)).collect()
    }
}

/// Points of the network's own transform.
const NETWORK_POINTS: f32 = 1200.0;

/// Makes one bin of one frame out of the pulses' spectrum, noise, and the free part.
fn shape(
    pulses: Complex<f32>,
    spectra: &Spectra<'_>,
    bin: usize,
    frame: usize,
    gaussian: &mut Gaussian,
    random: &mut fastrand::Rng,
) -> Complex<f32> {
    let at = bin * spectra.frames + frame;
    let magnitude = |log: &[f32]| log[at].min(LOG_MAX).exp();
    let harmonic = Complex::from_polar(magnitude(spectra.harmonic), PI * spectra.harmonic_phase[at].tanh());
    let noise = magnitude(spectra.noise);
    let noise = Complex::new(noise * gaussian.next(random), noise * gaussian.next(random));
    pulses * harmonic + noise + Complex::from_polar(magnitude(spectra.free), spectra.free_phase[at])
}

/// Normally distributed numbers by Marsaglia's polar method, which makes two at a time.
#[derive(Default)]
struct Gaussian {
    spare: Option<f32>,
}

impl Gaussian {
    fn next(&mut self, random: &mut fastrand::Rng) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        // A try fails with 21 %: sixteen of them in a row do not happen (1e-11), and then the value is 0.
        for _ in 0..16 {
            let (x, y) = (2.0 * random.f32() - 1.0, 2.0 * random.f32() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let scale = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(y * scale);
                return x * scale;
            }
        }
        0.0
    }
}

/// A pulse train of the pitch: every harmonic up to [`HARMONIC_MAX`] at amplitude 1, silence where it is unvoiced.
fn pulse_train(pitch: &[f32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(pitch.len() * HOP);
    let mut phase = 0.0f64;
    for frame in 0..pitch.len() {
        for sample in 0..HOP {
            let hertz = interpolated(pitch, frame, sample);
            let voiced = hertz > PITCH_MIN;
            let hertz = hertz.max(PITCH_MIN);
            phase = (phase + f64::from(hertz) / RATE as f64).fract();
            out.push(if voiced { harmonics(2.0 * PI * phase as f32, (HARMONIC_MAX / hertz).floor()) } else { 0.0 });
        }
    }
    out
}

/// Linear between the middles of frames.
fn interpolated(pitch: &[f32], frame: usize, sample: usize) -> f32 {
    let place = (sample as f32 + 0.5) / HOP as f32;
    let at = |frame: usize| pitch[frame.min(pitch.len() - 1)];
    if place < 0.5 {
        let before = at(frame.saturating_sub(1));
        before + (at(frame) - before) * (place + 0.5)
    } else {
        at(frame) + (at(frame + 1) - at(frame)) * (place - 0.5)
    }
}

/// The sum of `count` cosines of `angle` and its multiples: Dirichlet's kernel.
fn harmonics(angle: f32, count: f32) -> f32 {
    let half = 2.0 * (angle * 0.5).sin();
    let top = count + 0.5;
    if half.abs() <= 2e-3 { top - 0.5 } else { (top * angle).sin() / half - 0.5 }
}

/// Half a window of mirrored samples on each side, as the transform of training has it.
fn reflected(samples: &[f32]) -> Vec<f32> {
    let half = WINDOW / 2;
    let mirror = |distance: usize| samples.get(distance.min(samples.len().saturating_sub(1))).copied().unwrap_or(0.0);
    let mut out = Vec::with_capacity(samples.len() + WINDOW);
    out.extend((1..=half).rev().map(mirror));
    out.extend_from_slice(samples);
    out.extend((0..half).map(|distance| mirror(samples.len().saturating_sub(2 + distance))));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: f32 = -20.0;

    /// A vowel without form: harmonics of magnitude `level` at every bin, no noise.
    fn hum(frames: usize, pitch: f32, level: f32) -> Vec<f32> {
        let spectrum = |level: f32| vec![level; NETWORK_BINS * frames];
        let spectra = Spectra {
            frames,
            harmonic: &spectrum(level),
            harmonic_phase: &spectrum(0.0),
            noise: &spectrum(QUIET),
            free: &spectrum(QUIET),
            free_phase: &spectrum(0.0),
            pitch: &vec![pitch; frames],
        };
        Vocoder::new().speak(&spectra, &mut fastrand::Rng::with_seed(1))
    }

    /// Amplitude of the frequency `hertz` in `samples`.
    fn amplitude(samples: &[f32], hertz: f32) -> f32 {
        let turn = |n: usize| 2.0 * PI * hertz * n as f32 / RATE as f32;
        let sum: Complex<f32> =
            samples.iter().enumerate().map(|(n, sample)| Complex::from_polar(*sample, turn(n))).sum();
        2.0 * sum.norm() / samples.len() as f32
    }

    #[test]
    fn each_harmonic_has_the_amplitude_asked_for_up_to_the_telephones_edge() {
        // A magnitude M in the network's transform is a cosine of amplitude M / 300: its window sums up to 600.
        let samples = hum(80, 200.0, 3.0f32.ln());
        let steady = &samples[1000..7000];
        for hertz in [200.0, 400.0, 1000.0, 2400.0, 3400.0, 3800.0] {
            assert!(
                (amplitude(steady, hertz) * 300.0 / 3.0 - 1.0).abs() < 0.02,
                "{hertz} Hz: {}",
                amplitude(steady, hertz)
            );
        }
        for hertz in [300.0, 900.0, 3500.0] {
            assert!(amplitude(steady, hertz) * 300.0 / 3.0 < 0.005, "{hertz} Hz: {}", amplitude(steady, hertz));
        }
    }

    #[test]
    fn an_unvoiced_frame_has_no_pulses_and_every_frame_its_length() {
        let samples = hum(10, 0.0, 0.0);
        assert_eq!(samples.len(), 10 * HOP);
        assert!(samples.iter().all(|sample| sample.abs() < 1e-6));
        assert!(hum(0, 100.0, 0.0).is_empty());
        assert_eq!(hum(1, 100.0, 0.0).len(), HOP);
    }

    #[test]
    fn the_same_seed_breathes_the_same() {
        let noise = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut gaussian = Gaussian::default();
            (0..10_000).map(|_| gaussian.next(&mut random)).collect::<Vec<f32>>()
        };
        assert_eq!(noise(7), noise(7));
        let variance = noise(7).iter().map(|x| x * x).sum::<f32>() / 10_000.0;
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
    }
}
