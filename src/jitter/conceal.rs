//! Fills a gap that stayed a gap with the caller's own last pitch periods, and merges back into speech (ITU-T G.711 Appendix I).
//!
//! The speech before the loss is searched for its pitch, and its last period is repeated; after 10 ms the last two, after 20 ms
//! the last three, so that it does not buzz. From 10 ms on it fades, and after 60 ms it is silence.
//!
//! Appendix I holds all speech back by 3.75 ms, so that it can blend the end of what was received into the first repetition.
//! Here nothing is held back, as every packet would pay for the few that are lost. What that blend removes, the step
//! between the last sample received and the first one repeated, is added to the first quarter period and let decay.
//!
//! Appendix I is for 8 kHz. At 16 kHz all its times stay and all counts of samples double: the upper band is periodic where the
//! lower one is.

/// The shortest pitch period, in samples: 5 ms, 200 Hz (Appendix I, I.2.2). A higher voice repeats at twice its period.
const PITCH_MIN: usize = 40;
/// The longest pitch period, in samples: 15 ms, 66 Hz.
const PITCH_MAX: usize = 120;
/// The stretch that is compared with an earlier one, in samples: 20 ms.
const COMPARED: usize = 160;
/// Pitch periods repeated at most.
const PERIODS_MAX: usize = 3;
/// The longest overlap of two blended signals, in samples: a quarter of a pitch period.
const OVERLAP_MAX: usize = PITCH_MAX / 4;
/// Samples kept of the past: the periods repeated, and what is blended into their end.
const HISTORY: usize = PERIODS_MAX * PITCH_MAX + OVERLAP_MAX;
/// The time after which another period is repeated, and from which on it fades, in samples: 10 ms.
const STAGE: usize = 80;
/// The fade from there to silence, in samples: 50 ms, 20 % for each 10 ms (Appendix I, I.2.7).
const FADE: usize = 400;
/// What a loss longer than 10 ms adds to the blend back into speech, in samples for each 10 ms: 4 ms (Appendix I, I.2.6).
const MERGE_GROWTH: usize = 32;
/// The longest blend back into speech, in samples: 10 ms.
const MERGE_MAX: usize = 80;

/// Samples kept at 16 kHz.
const HISTORY_MAX: usize = 2 * HISTORY;

/// Conceals lost frames of one stream at 8 or 16 kHz. Adds no delay.
#[derive(Clone, Debug)]
pub struct Concealer {
    /// Samples for each one at 8 kHz: the constants above are counts at 8 kHz.
    rate: usize,
    state: State,
    /// What was last handed out, received or filled in, newest last; at 8 kHz the second half of it.
    history: [i16; HISTORY_MAX],
    /// The history as the loss began, from which the filling is made.
    source: [f32; HISTORY_MAX],
    pitch: Pitch,
    /// What is repeated.
    cycle: Cycle,
    /// What was repeated before the last change of cycle, and for how many samples it is still blended in.
    outgoing: (Cycle, usize),
    /// Samples filled in since the loss began.
    filled: usize,
    /// The step between the last sample received and the first one repeated.
    step: f32,
    /// The largest magnitude in `source`, which the filling does not exceed.
    peak: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Hearing,
    Lost,
    /// Blending back, with `left` of `total` samples to go.
    Merging {
        left: usize,
        total: usize,
    },
}

/// A pitch period, in samples.
#[derive(Clone, Copy, Debug)]
struct Pitch(usize);

impl Pitch {
    fn overlap(self) -> usize {
        self.0 / 4
    }
}

/// The repetition of the last `periods` pitch periods of the source, at sample `phase` of them.
#[derive(Clone, Copy, Debug)]
struct Cycle {
    periods: usize,
    phase: usize,
}

impl Default for Concealer {
    fn default() -> Self {
        Self::new()
    }
}

impl Concealer {
    /// Makes one for 8 kHz that has heard nothing yet: a loss before the first good frame is silence.
    #[must_use]
    pub fn new() -> Self {
        Self::of_rate(1)
    }

    /// Makes one for 16 kHz.
    #[must_use]
    pub fn wide() -> Self {
        Self::of_rate(2)
    }

    fn of_rate(rate: usize) -> Self {
        let cycle = Cycle { periods: 1, phase: 0 };
        Self {
            rate,
            state: State::Hearing,
            history: [0; HISTORY_MAX],
            source: [0.0; HISTORY_MAX],
            pitch: Pitch(PITCH_MAX * rate),
            cycle,
            outgoing: (cycle, 0),
            filled: 0,
            step: 0.0,
            peak: 0.0,
        }
    }

    /// Forgets everything heard, as at the start of another stream.
    pub fn reset(&mut self) {
        *self = Self::of_rate(self.rate);
    }

    /// Takes a received frame of any length, and after a loss blends its beginning with what was filled in.
    ///
    /// # Real-time
    /// No heap, no panic; time is proportional to the frame.
    pub fn good(&mut self, pcm: &mut [i16]) {
        if self.state == State::Lost {
            let growth = MERGE_GROWTH * self.rate * (self.filled / (STAGE * self.rate)).saturating_sub(1);
            let total = (self.pitch.overlap() + growth).min(MERGE_MAX * self.rate);
            self.state = State::Merging { left: total, total };
        }
        if let State::Merging { left, total } = self.state {
            let blended = left.min(pcm.len());
            for (sample, to_go) in pcm[..blended].iter_mut().zip((1..=left).rev()) {
                let old = to_go as f32 / (total + 1) as f32;
                *sample = (old * self.next_filled() + (1.0 - old) * f32::from(*sample)).round() as i16;
            }
            let left = left - blended;
            self.state = if left == 0 { State::Hearing } else { State::Merging { left, total } };
        }
        self.remember(pcm);
    }

    /// Fills `out`, of any length, in place of what was lost. Successive calls go on with the same loss.
    ///
    /// # Real-time
    /// No heap, no panic; time is proportional to the frame, with one search for the pitch at the start of a loss.
    pub fn conceal(&mut self, out: &mut [i16]) {
        if self.state != State::Lost {
            self.begin();
        }
        for sample in &mut *out {
            *sample = self.next_filled().round() as i16;
        }
        self.remember(out);
    }

    /// Takes the past as the source, and begins to repeat its last pitch period.
    fn begin(&mut self) {
        for (source, &sample) in self.source.iter_mut().zip(&self.history) {
            *source = f32::from(sample);
        }
        self.state = State::Lost;
        self.pitch = find_pitch(&self.source, self.rate);
        self.cycle = Cycle { periods: 1, phase: 0 };
        self.outgoing = (self.cycle, 0);
        self.filled = 0;
        self.step = self.source[HISTORY_MAX - 1] - self.source[HISTORY_MAX - 1 - self.pitch.0];
        self.peak = self.source.iter().fold(0.0, |peak, sample| sample.abs().max(peak));
    }

    /// Makes the next sample of the filling.
    fn next_filled(&mut self) -> f32 {
        let (filled, stage, fade) = (self.filled, STAGE * self.rate, FADE * self.rate);
        if filled >= stage + fade {
            return 0.0;
        }
        self.filled += 1;
        if filled > 0 && filled.is_multiple_of(stage) && self.cycle.periods < PERIODS_MAX {
            self.outgoing = (self.cycle, self.pitch.overlap());
            // The longer cycle begins a period earlier, and at the same point of a period.
            self.cycle = Cycle { periods: self.cycle.periods + 1, phase: self.cycle.phase % self.pitch.0 };
        }
        let mut value = self.cycle.next(&self.source, self.pitch);
        let overlap = self.pitch.overlap();
        let (outgoing, left) = &mut self.outgoing;
        if *left > 0 {
            let old = *left as f32 / (overlap + 1) as f32;
            value = old * outgoing.next(&self.source, self.pitch) + (1.0 - old) * value;
            *left -= 1;
        }
        if filled < overlap {
            value += self.step * (overlap - filled) as f32 / (overlap + 1) as f32;
        }
        let gain = 1.0 - filled.saturating_sub(stage) as f32 / fade as f32;
        gain * value.clamp(-self.peak, self.peak)
    }

    /// Keeps the newest of what was handed out.
    fn remember(&mut self, pcm: &[i16]) {
        let newest = &pcm[pcm.len().saturating_sub(HISTORY_MAX)..];
        self.history.copy_within(newest.len().., 0);
        self.history[HISTORY_MAX - newest.len()..].copy_from_slice(newest);
    }
}

impl Cycle {
    /// Returns the sample at hand and goes on. The last quarter period of the cycle is blended into what came before its
    /// first sample, so that it leads into its own beginning.
    fn next(&mut self, source: &[f32; HISTORY_MAX], pitch: Pitch) -> f32 {
        let length = self.periods * pitch.0;
        let at = HISTORY_MAX - length + self.phase;
        let mut value = source[at];
        let into_blend = (self.phase + pitch.overlap() + 1).saturating_sub(length);
        if into_blend > 0 {
            let fresh = into_blend as f32 / (pitch.overlap() + 1) as f32;
            value = (1.0 - fresh) * value + fresh * source[at - length];
        }
        self.phase = (self.phase + 1) % length;
        value
    }
}

/// Finds the period at which the last 20 ms resemble what came before, by normalised cross-correlation. Appendix I looks at
/// every other sample first; at full rate it costs a few microseconds, and a pure tone meets its best period.
fn find_pitch(source: &[f32; HISTORY_MAX], rate: usize) -> Pitch {
    /// Keeps near silence from deciding.
    const POWER_MIN: f64 = 1.0;
    let (shortest, longest) = (PITCH_MIN * rate, PITCH_MAX * rate);
    let start = HISTORY_MAX - COMPARED * rate;
    let now = &source[start..];
    let squared = |at: usize| f64::from(source[at]).powi(2);
    // The stretch that is compared with, moved back lag by lag: one sample enters, one leaves.
    let mut power = (start - shortest..HISTORY_MAX - shortest).map(squared).sum::<f64>();
    let mut best = (f64::MIN, shortest);
    for lag in shortest..=longest {
        let product = f64::from(dot(now, &source[start - lag..HISTORY_MAX - lag]));
        let score = product / (power + POWER_MIN).sqrt();
        if score > best.0 {
            best = (score, lag);
        }
        power += squared(start - lag - 1) - squared(HISTORY_MAX - lag - 1);
    }
    Pitch(best.1)
}

/// Sums products in eight lanes, which the compiler may hold in vector registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sum = [0.0; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sum.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::PI;

    fn tone(hz: f32, samples: usize) -> Vec<i16> {
        (0..samples).map(|n| (10_000.0 * (2.0 * PI * hz * n as f32 / 8000.0).sin()).round() as i16).collect()
    }

    /// A vowel: a pulse each period of a gliding pitch, through two resonances.
    fn vowel(samples: usize) -> Vec<i16> {
        let resonance = |hz: f32, bandwidth: f32| {
            let r = (-PI * bandwidth / 8000.0).exp();
            (2.0 * r * (2.0 * PI * hz / 8000.0).cos(), -r * r)
        };
        let filters = [resonance(700.0, 90.0), resonance(1200.0, 110.0)];
        let mut past = [[0.0f32; 2]; 2];
        let mut phase = 0.0;
        (0..samples)
            .map(|n| {
                phase += (110.0 + 20.0 * (n as f32 / 8000.0)) / 8000.0;
                let pulse = if phase >= 1.0 { 1500.0 } else { 0.0 };
                phase %= 1.0;
                let mut value = pulse;
                for ((a, b), past) in filters.iter().zip(&mut past) {
                    value += a * past[0] + b * past[1];
                    *past = [value, past[0]];
                }
                value.clamp(-30_000.0, 30_000.0).round() as i16
            })
            .collect()
    }

    /// Passes `pcm` through in 20 ms frames, of which `lost` never came.
    fn with_losses(pcm: &[i16], lost: impl Fn(usize) -> bool) -> Vec<i16> {
        let mut concealer = Concealer::new();
        let mut out = pcm.to_vec();
        for (index, frame) in out.chunks_mut(160).enumerate() {
            if lost(index) {
                frame.fill(-1);
                concealer.conceal(frame);
            } else {
                concealer.good(frame);
            }
        }
        out
    }

    fn power(pcm: &[i16]) -> f32 {
        pcm.iter().map(|&s| f32::from(s).powi(2)).sum::<f32>() / pcm.len() as f32
    }

    fn steepest(pcm: &[i16]) -> i32 {
        pcm.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max().expect("not empty")
    }

    /// Mean distance of the log spectra of 16 ms stretches, in dB.
    fn spectral_distance(a: &[i16], b: &[i16]) -> f32 {
        let spectrum = |pcm: &[i16]| -> Vec<f32> {
            (1..32)
                .map(|bin| {
                    let (mut re, mut im) = (0.0, 0.0);
                    for (n, &s) in pcm.iter().enumerate() {
                        let window = 0.5 - 0.5 * (2.0 * PI * n as f32 / 128.0).cos();
                        let angle = 2.0 * PI * (2 * bin * n) as f32 / 128.0;
                        re += window * f32::from(s) * angle.cos();
                        im += window * f32::from(s) * angle.sin();
                    }
                    10.0 * (re * re + im * im + 1e4).log10()
                })
                .collect()
        };
        let distances = a.chunks_exact(128).zip(b.chunks_exact(128)).map(|(a, b)| {
            let squares = spectrum(a).iter().zip(spectrum(b)).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
            (squares / 31.0).sqrt()
        });
        let (sum, count) = distances.fold((0.0, 0.0), |(sum, count), d| (sum + d, count + 1.0));
        sum / count
    }

    #[test]
    fn speech_without_loss_is_not_touched() {
        let pcm = vowel(8000);
        assert_eq!(with_losses(&pcm, |_| false), pcm);
    }

    #[test]
    fn a_tone_survives_a_lost_frame() {
        for (hz, snr_db_min) in
            [(100.0, 30.0), (200.0, 30.0), (400.0, 30.0), (1000.0, 30.0), (440.0, 20.0), (313.0, 20.0)]
        {
            let pcm = tone(hz, 3200);
            let out = with_losses(&pcm, |index| index == 10);
            // The first 10 ms, before the fade, and what follows the blend.
            let error: Vec<i16> = pcm.iter().zip(&out).map(|(a, b)| a - b).collect();
            let snr_db = 10.0 * (power(&pcm) / power(&error[1600..1680]).max(1e-3)).log10();
            assert!(snr_db > snr_db_min, "{hz} Hz: {snr_db} dB");
            assert_eq!(out[1840..], pcm[1840..]);
        }
    }

    #[test]
    fn neither_edge_of_a_loss_clicks() {
        for hz in [200.0, 287.0, 313.0, 440.0, 1003.0] {
            let pcm = tone(hz, 4800);
            for frames in 1..6 {
                let out = with_losses(&pcm, |index| (10..10 + frames).contains(&index));
                assert!(steepest(&out) as f32 <= 1.3 * steepest(&pcm) as f32, "{hz} Hz, {frames} frames");
            }
        }
        let pcm = vowel(8000);
        for first in 8..40 {
            let out = with_losses(&pcm, |index| (first..first + 2).contains(&index));
            assert!(steepest(&out) as f32 <= 1.2 * steepest(&pcm) as f32, "vowel, frame {first}");
        }
    }

    #[test]
    fn a_long_loss_fades_to_silence_within_60_ms() {
        let pcm = vowel(8000);
        let out = with_losses(&pcm, |index| (20..30).contains(&index));
        let gap = &out[20 * 160..30 * 160];
        let levels: Vec<f32> = gap[..480].chunks(120).map(power).collect();
        assert!(levels.windows(2).all(|w| w[1] < w[0]), "{levels:?}");
        assert!(gap[480..].iter().all(|&s| s == 0));
        // 80 % of the amplitude 20 ms into the loss, 60 % at 30 ms.
        assert!((power(&gap[240..320]) / power(&pcm[3000..3200])).sqrt() < 0.75);
    }

    #[test]
    fn what_is_filled_in_is_never_louder_than_what_was_heard() {
        let mut random = fastrand::Rng::with_seed(3);
        for case in 0..200 {
            let amplitude = random.i16(1..i16::MAX);
            let pcm: Vec<i16> = match case % 3 {
                0 => (0..4800).map(|_| random.i16(-amplitude..=amplitude)).collect(),
                1 => (0..4800).map(|n| if n / 37 % 2 == 0 { i16::MAX } else { i16::MIN }).collect(),
                _ => vowel(4800),
            };
            let out = with_losses(&pcm, |index| index >= 10 && random_bit(index, case));
            let peak = |pcm: &[i16]| pcm.iter().map(|s| i32::from(*s).abs()).max();
            assert!(peak(&out) <= peak(&pcm), "case {case}");
        }
    }

    fn random_bit(index: usize, case: usize) -> bool {
        fastrand::Rng::with_seed((index * 1009 + case) as u64).bool()
    }

    #[test]
    fn speech_sounds_closer_to_what_was_lost_than_silence_does() {
        let pcm = vowel(16_000);
        let lost = |index: usize| index >= 5 && index % 7 == 3;
        let filled = with_losses(&pcm, lost);
        let mut silent = pcm.clone();
        for frame in silent.chunks_mut(160).enumerate().filter(|(index, _)| lost(*index)).map(|(_, frame)| frame) {
            frame.fill(0);
        }
        let (filled, silent) = (spectral_distance(&pcm, &filled), spectral_distance(&pcm, &silent));
        assert!(filled < silent / 4.0, "{filled} dB against {silent} dB");
    }

    #[test]
    fn the_cut_into_frames_changes_nothing() {
        let pcm = vowel(4800);
        let lost = 1600..2240;
        let run = |frame: usize| {
            let mut concealer = Concealer::new();
            let mut out = pcm.clone();
            let mut at = 0;
            while at < out.len() {
                let stop =
                    [lost.start, lost.end, out.len()].into_iter().find(|&edge| edge > at).expect("before the end");
                let end = stop.min(at + frame);
                if lost.contains(&at) {
                    concealer.conceal(&mut out[at..end])
                } else {
                    concealer.good(&mut out[at..end])
                }
                at = end;
            }
            out
        };
        let whole = run(160);
        for frame in [1, 7, 40, 80, 240, 480, 4800] {
            assert_eq!(run(frame), whole, "frames of {frame}");
        }
    }

    #[test]
    fn the_blend_back_grows_with_the_loss() {
        // A sawtooth of 80 samples, so that the overlap is 20; what is received after the loss is a constant.
        for (lost, blend) in [(80, 20), (160, 52), (240, 80), (800, 80)] {
            let mut concealer = Concealer::new();
            concealer.good(&mut std::array::from_fn::<i16, 480, _>(|n| (n % 80) as i16 * 100));
            concealer.conceal(&mut vec![0; lost]);
            let mut after = [-9000; 160];
            concealer.good(&mut after);
            assert_eq!(after.iter().take_while(|&&s| s != -9000).count(), blend, "{lost} samples lost");
        }
    }

    #[test]
    fn a_loss_before_anything_was_heard_is_silence() {
        let mut out = [9; 160];
        let mut concealer = Concealer::new();
        concealer.conceal(&mut out);
        assert_eq!(out, [0; 160]);
        concealer.conceal(&mut []);
        concealer.good(&mut []);
        let mut first = [1000; 160];
        concealer.good(&mut first);
        assert!(first[0] < 100 && first[100] == 1000);
    }

    #[test]
    fn the_pitch_of_a_voice_is_found() {
        for period in [40usize, 41, 53, 77, 100, 119, 120] {
            let source = std::array::from_fn(|n| (((n + 13) % period) as f32 - 20.0).max(0.0).sqrt() * 900.0);
            let found = find_pitch(&source, 1).0;
            assert!(found.is_multiple_of(period), "period {period} found as {found}");
        }
    }

    #[test]
    fn a_tone_of_either_band_survives_a_lost_frame_at_16_khz() {
        for hz in [100.0, 200.0, 400.0, 2000.0, 6000.0] {
            let pcm: Vec<i16> =
                (0..6400).map(|n| (10_000.0 * (2.0 * PI * hz * n as f32 / 16_000.0).sin()).round() as i16).collect();
            let mut concealer = Concealer::wide();
            let mut out = pcm.clone();
            for (index, frame) in out.chunks_mut(320).enumerate() {
                if index == 10 { concealer.conceal(frame) } else { concealer.good(frame) }
            }
            let error: Vec<i16> = pcm.iter().zip(&out).map(|(a, b)| a - b).collect();
            let snr_db = 10.0 * (power(&pcm) / power(&error[3200..3360]).max(1e-3)).log10();
            assert!(snr_db > 25.0, "{hz} Hz: {snr_db} dB");
            assert_eq!(out[3680..], pcm[3680..]);
        }
    }

    #[test]
    fn a_long_loss_at_16_khz_is_silence_after_60_ms() {
        let mut concealer = Concealer::wide();
        let mut pcm: Vec<i16> = (0..1600).map(|n| if n % 130 < 20 { 9000 } else { -900 }).collect();
        concealer.good(&mut pcm);
        let mut gap = [1; 1600];
        concealer.conceal(&mut gap);
        assert!(gap[640..900].iter().any(|sample| *sample != 0) && gap[960..].iter().all(|sample| *sample == 0));
        concealer.reset();
        concealer.conceal(&mut gap);
        assert_eq!(gap, [0; 1600]);
    }
}
