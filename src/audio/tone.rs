//! DTMF heard in the audio itself: keys as pairs of tones (ITU-T Q.23), told from speech as ITU-T Q.24 asks.
//!
//! Each window of 12.5 ms is asked how much of its power lies in one of the four row tones and one of the four column
//! tones. Speech gives such a pair for a moment now and then, hardly ever the same one, alone and steady for 30 ms.

use std::f32::consts::TAU;

/// Samples of one frame: 20 ms at 8 kHz.
pub const FRAME_SAMPLES: usize = 160;

/// Samples a second.
const RATE: f32 = 8000.0;
/// The tones of rows and columns, in Hz (Q.23 §2).
pub(super) const TONES_HZ: [f32; TONES] = [697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0];
const TONES: usize = 8;
/// The keys, row by row.
pub(super) const KEYS: [[char; 4]; 4] =
    [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];

/// Samples that are correlated with the tones at a time, 2.5 ms.
const STEP: usize = 20;
/// Steps of a window. 12.5 ms tell neighbouring tones apart (their first null is 80 Hz away, the neighbours 73 to 156 Hz), and
/// still hold three quarters of the power of a tone that is off by 1.5 %, which has to be heard (Q.24 table A-1).
const WINDOW_STEPS: usize = 5;
/// Samples of a window.
const SAMPLES: f32 = (STEP * WINDOW_STEPS) as f32;
/// Steps from one window to the next, 5 ms.
const HOP_STEPS: usize = 2;
/// Windows in a row that make a key: 37.5 ms from the first sample to the last. A tone of 40 ms has to be heard (Q.24 table
/// A-1); at its edges windows count that it fills to three quarters, so that 30 ms are enough, and less is none.
const HITS: u8 = 6;
/// The same where the peer has agreed to send keys as events, and those in the audio come from a gateway or a wrong setting:
/// 67.5 ms, less than any person presses, and longer than a vowel stays a pair of tones.
const HITS_UNEXPECTED: u8 = 12;
/// Windows without the key that end it. An interruption of 10 ms spoils three, and ends nothing; a pause of 40 ms spoils
/// six (Q.24 table A-1).
const MISSES: u8 = 4;
/// The least power of each tone, as the mean square of samples: -36 dBov. Tones of -25 dBm0, the weakest that have to be
/// heard, have -31 dBov.
const POWER_MIN: f32 = 32_768.0 * 32_768.0 * 2.5e-4;
/// The least share of the pair in the window's power. Noise 15 dB below and tones off by 1.5 % leave 0.78; tones off by 3.5 %,
/// which are not to be heard, 0.6; a vowel has more than two harmonics.
const SHARE_MIN: f32 = 0.75;
/// How much stronger the row may be than the column: 8 dB, and one for what the edges of a window add; and the other way
/// round: 4 dB, and one (Q.24 table A-1, the widest of its columns).
const TWIST_MAX: f32 = 7.9;
const REVERSE_TWIST_MAX: f32 = 3.2;
/// How much stronger a tone is than the others of its group: 6 dB. What the edges of a window leave of the other group's tone is
/// less than that.
const PEAK_MIN: f32 = 4.0;
/// How much a tone's power may vary over the windows that make a key: 4 dB, of which 3 are for a window that is not filled. A
/// phone's tones are steady, a voice's are not.
const SWAY_MAX: f32 = 2.5;

/// One frequency each.
type Tones = [f32; TONES];

/// What one step holds of each tone, and its energy.
#[derive(Clone, Copy, Debug)]
struct Step {
    cosine: Tones,
    sine: Tones,
    energy: f32,
}

/// What a window holds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Hit {
    key: char,
    row_power: f32,
    column_power: f32,
}

/// Hears keys in one stream. About 2 kB; holds no heap.
#[derive(Clone, Debug)]
pub struct Detector {
    /// The tones over one step.
    cosines: [Tones; STEP],
    sines: [Tones; STEP],
    /// The phase of each tone at the beginning of each step of a window.
    phases: [(Tones, Tones); WINDOW_STEPS],
    /// What a window that holds one tone correlates with another: of each column with each row.
    leaks: [[(f32, f32); 4]; 4],
    /// The last steps, oldest first.
    steps: [Step; WINDOW_STEPS],
    /// The steps taken, up to the next window.
    waiting: usize,
    /// The last hit, and how many there were in a row.
    last: Option<Hit>,
    hits: u8,
    hits_needed: u8,
    /// The weakest and the strongest of each group in them.
    weakest: [f32; 2],
    strongest: [f32; 2],
    /// The key that is held, and the windows without it.
    held: Option<char>,
    misses: u8,
}

impl Default for Detector {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector {
    /// Makes one that has heard nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let at =
            |samples: usize, f: fn(f32) -> f32| -> Tones { TONES_HZ.map(|hz| f(TAU * hz * samples as f32 / RATE)) };
        Self {
            cosines: std::array::from_fn(|n| at(n, f32::cos)),
            sines: std::array::from_fn(|n| at(n, f32::sin)),
            phases: std::array::from_fn(|n| (at(n * STEP, f32::cos), at(n * STEP, f32::sin))),
            leaks: std::array::from_fn(|row| std::array::from_fn(|column| leak(TONES_HZ[4 + column] - TONES_HZ[row]))),
            steps: [Step { cosine: [0.0; TONES], sine: [0.0; TONES], energy: 0.0 }; WINDOW_STEPS],
            waiting: 0,
            last: None,
            hits: 0,
            hits_needed: HITS,
            weakest: [0.0; 2],
            strongest: [0.0; 2],
            held: None,
            misses: 0,
        }
    }

    /// Whether keys are to be expected in the audio: where they are not, it takes longer to be sure of one.
    pub const fn expect_keys(&mut self, expected: bool) {
        self.hits_needed = if expected { HITS } else { HITS_UNEXPECTED };
    }

    /// Forgets what was heard: the next key is another one.
    pub const fn reset(&mut self) {
        (self.last, self.hits, self.held, self.misses) = (None, 0, None, 0);
    }

    /// Takes the next 20 ms: mono, 8 kHz. Returns a key as soon as it is known to be pressed, once for each press.
    ///
    /// # Real-time
    /// No heap, no panic, constant time.
    pub fn push(&mut self, frame: &[i16; FRAME_SAMPLES]) -> Option<char> {
        let mut pressed = None;
        for samples in frame.chunks_exact(STEP) {
            self.steps.copy_within(1.., 0);
            self.steps[WINDOW_STEPS - 1] = self.correlate(samples);
            self.waiting += 1;
            if self.waiting == HOP_STEPS {
                self.waiting = 0;
                // Two keys within 20 ms cannot be.
                pressed = self.take(self.window()).or(pressed);
            }
        }
        pressed
    }

    fn correlate(&self, samples: &[i16]) -> Step {
        let mut step = Step { cosine: [0.0; TONES], sine: [0.0; TONES], energy: 0.0 };
        for ((&sample, cosines), sines) in samples.iter().zip(&self.cosines).zip(&self.sines) {
            let sample = f32::from(sample);
            step.energy += sample * sample;
            for tone in 0..TONES {
                step.cosine[tone] += sample * cosines[tone];
                step.sine[tone] += sample * sines[tone];
            }
        }
        step
    }

    /// Looks at the last window.
    fn window(&self) -> Option<Hit> {
        let energy: f32 = self.steps.iter().map(|step| step.energy).sum();
        // Most of a call is no tone, and half of it silence.
        if energy < 2.0 * POWER_MIN * SAMPLES {
            return None;
        }
        let (mut real, mut imaginary) = ([0.0; TONES], [0.0; TONES]);
        for (step, (cos, sin)) in self.steps.iter().zip(&self.phases) {
            for tone in 0..TONES {
                real[tone] += step.cosine[tone] * cos[tone] - step.sine[tone] * sin[tone];
                imaginary[tone] += step.cosine[tone] * sin[tone] + step.sine[tone] * cos[tone];
            }
        }
        let power: Tones = std::array::from_fn(|n| real[n].powi(2) + imaginary[n].powi(2));
        let (row, row_next) = strongest(&power[..4]);
        let (column, column_next) = strongest(&power[4..]);
        let pair = [row, 4 + column].map(|n| (real[n], imaginary[n]));
        let (row_power, column_power, both) = apart(pair, self.leaks[row & 3][column & 3]);
        let is_pair = row_power.min(column_power) >= POWER_MIN
            && both * SAMPLES >= SHARE_MIN * energy
            && row_power <= TWIST_MAX * column_power
            && column_power <= REVERSE_TWIST_MAX * row_power
            && power[row] >= PEAK_MIN * row_next
            && power[4 + column] >= PEAK_MIN * column_next;
        is_pair.then_some(Hit { key: KEYS[row & 3][column & 3], row_power, column_power })
    }

    /// Counts a window; returns a key that is known with it.
    fn take(&mut self, hit: Option<Hit>) -> Option<char> {
        if self.held.is_some() && hit.map(|hit| hit.key) != self.held {
            self.misses += 1;
            if self.misses == MISSES {
                self.held = None;
            }
        } else {
            self.misses = 0;
        }
        let Some(hit) = hit else {
            (self.last, self.hits) = (None, 0);
            return None;
        };
        let powers = [hit.row_power, hit.column_power];
        if self.last.is_none_or(|last| last.key != hit.key) {
            (self.hits, self.weakest, self.strongest) = (0, powers, powers);
        }
        self.last = Some(hit);
        self.hits = self.hits.saturating_add(1);
        for (power, (weakest, strongest)) in powers.into_iter().zip(self.weakest.iter_mut().zip(&mut self.strongest)) {
            (*weakest, *strongest) = (weakest.min(power), strongest.max(power));
        }
        if self.weakest.iter().zip(&self.strongest).any(|(weakest, strongest)| *strongest > SWAY_MAX * weakest) {
            // It begins anew with this window.
            (self.hits, self.weakest, self.strongest) = (1, powers, powers);
        }
        if self.hits < self.hits_needed || self.held == Some(hit.key) {
            return None;
        }
        (self.held, self.misses) = (Some(hit.key), 0);
        Some(hit.key)
    }
}

/// The mean of a tone of `hz` over a window.
fn leak(hz: f32) -> (f32, f32) {
    let turns = |n: usize| TAU * hz * n as f32 / RATE;
    let sum = (0..STEP * WINDOW_STEPS).fold((0.0, 0.0), |(c, s), n| (c + turns(n).cos(), s + turns(n).sin()));
    (sum.0 / SAMPLES, sum.1 / SAMPLES)
}

/// Returns which is the strongest, and the power of the next strongest.
fn strongest(group: &[f32]) -> (usize, f32) {
    let (mut at, mut first, mut second) = (0, 0.0f32, 0.0f32);
    for (n, &power) in group.iter().enumerate() {
        if power > first {
            (at, second, first) = (n, first, power);
        } else {
            second = second.max(power);
        }
    }
    (at, second)
}

/// Tells apart two tones whose correlations hold a share `leak` of each other, as a window's edges cut them off: the best fit of
/// both. Returns the power of each and of both together, as mean squares.
fn apart([row, column]: [(f32, f32); 2], leak: (f32, f32)) -> (f32, f32, f32) {
    let times = |(a, b): (f32, f32), (c, d): (f32, f32)| (a * c - b * d, a * d + b * c);
    let minus = |(a, b): (f32, f32), (c, d): (f32, f32)| (a - c, b - d);
    let rest = 1.0 - leak.0 * leak.0 - leak.1 * leak.1;
    // The amplitudes, twice the correlations a sample.
    let scale = 2.0 / (SAMPLES * rest);
    let row_only = minus(row, times((leak.0, -leak.1), column));
    let column_only = minus(column, times(leak, row));
    let power = |(a, b): (f32, f32)| (a * a + b * b) * scale * scale / 2.0;
    let shared = |(a, b): (f32, f32), (c, d): (f32, f32)| (a * c + b * d) * scale / SAMPLES;
    (power(row_only), power(column_only), shared(row_only, row) + shared(column_only, column))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line on which keys are pressed.
    struct Line {
        pcm: Vec<i16>,
        rng: fastrand::Rng,
    }

    impl Line {
        fn new(seed: u64) -> Self {
            Self { pcm: Vec::new(), rng: fastrand::Rng::with_seed(seed) }
        }

        fn pause(&mut self, ms: f32) {
            self.pcm.resize(self.pcm.len() + (ms * 8.0) as usize, 0);
        }

        /// Presses `key` for `ms`: its row at `level_db` (dBov of the tone), its column stronger by `twist_db`, both higher by
        /// `off` of their frequency.
        fn press(&mut self, key: char, ms: f32, level_db: f32, twist_db: f32, off: f32) {
            let place = KEYS.iter().flatten().position(|k| *k == key).expect("a key");
            let tones = [(TONES_HZ[place / 4], level_db), (TONES_HZ[4 + place % 4], level_db + twist_db)];
            let phases = [self.rng.f32() * TAU, self.rng.f32() * TAU];
            self.pcm.extend((0..(ms * 8.0) as usize).map(|n| {
                let sample = |((hz, db), phase): ((f32, f32), f32)| {
                    let amplitude = 32_768.0 * 10f32.powf(db / 20.0) * 2f32.sqrt();
                    amplitude * (TAU * hz * (1.0 + off) * n as f32 / RATE + phase).sin()
                };
                tones.into_iter().zip(phases).map(sample).sum::<f32>().clamp(-32_768.0, 32_767.0) as i16
            }));
        }

        fn noise(&mut self, level_db: f32) {
            let peak = 32_768.0 * 10f32.powf(level_db / 20.0) * 3f32.sqrt();
            for sample in &mut self.pcm {
                *sample = sample.saturating_add(((self.rng.f32() * 2.0 - 1.0) * peak) as i16);
            }
        }

        fn keys(&self) -> String {
            keys(&self.pcm)
        }
    }

    fn keys(pcm: &[i16]) -> String {
        keys_of(Detector::new(), pcm)
    }

    fn keys_of(mut detector: Detector, pcm: &[i16]) -> String {
        let frames = pcm.chunks(FRAME_SAMPLES).map(|chunk| {
            let mut frame = [0; FRAME_SAMPLES];
            frame[..chunk.len()].copy_from_slice(chunk);
            frame
        });
        frames.filter_map(|frame| detector.push(&frame)).collect()
    }

    const ALL: &str = "123A456B789C*0#D";

    /// Every key once, at places that have nothing to do with frames.
    fn all_keys(seed: u64, ms: f32, level_db: f32, twist_db: f32, off: f32, noise_db: f32) -> String {
        let mut line = Line::new(seed);
        line.pause(31.0);
        for key in ALL.chars() {
            line.press(key, ms, level_db, twist_db, off);
            let more = line.rng.f32() * 20.0;
            line.pause(45.0 + more);
        }
        line.noise(noise_db);
        line.keys()
    }

    #[test]
    fn each_key_is_heard_once_however_short_or_long() {
        for seed in 0..20 {
            for ms in [40.0, 50.0, 80.0, 100.0, 1000.0] {
                assert_eq!(all_keys(seed, ms, -12.0, 0.0, 0.0, -90.0), ALL, "{ms} ms, seed {seed}");
            }
        }
    }

    #[test]
    fn a_key_that_is_not_expected_takes_longer_to_be_sure_of() {
        let mut line = Line::new(1);
        let mut doubtful = Detector::new();
        doubtful.expect_keys(false);
        for (key, ms) in [('1', 55.0), ('2', 80.0), ('3', 100.0)] {
            line.pause(60.0);
            line.press(key, ms, -12.0, 0.0, 0.0);
        }
        line.pause(60.0);
        assert_eq!((line.keys().as_str(), keys_of(doubtful, &line.pcm).as_str()), ("123", "23"));
    }

    #[test]
    fn what_is_too_short_is_no_key() {
        for seed in 0..20 {
            assert_eq!(all_keys(seed, 28.0, -12.0, 0.0, 0.0, -90.0), "");
        }
    }

    #[test]
    fn the_levels_and_twists_and_frequencies_of_q_24_are_heard() {
        for seed in 0..5 {
            for level_db in [-31.0f32, -20.0, -9.0] {
                for twist_db in [-8.0f32, -4.0, 0.0, 4.0] {
                    // The weaker of both tones has the level.
                    let level_db = if twist_db < 0.0 { level_db - twist_db } else { level_db };
                    let level_db = level_db.min(-9.0 - f32::max(twist_db, 0.0));
                    // The widest twist at the right frequency, as the weaker tone loses more where both are off.
                    let offs: &[f32] = if twist_db < -4.0 { &[0.0] } else { &[-0.015, 0.0, 0.015] };
                    for &off in offs {
                        let heard = all_keys(seed, 50.0, level_db, twist_db, off, -90.0);
                        assert_eq!(heard, ALL, "{level_db} dBov, twist {twist_db} dB, off {off}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_key_s_tones_is_none() {
        for seed in 0..5 {
            for (twist_db, off) in [(0.0, 0.035), (0.0, -0.035), (9.0, 0.0), (-13.0, 0.0)] {
                assert_eq!(all_keys(seed, 100.0, -20.0, twist_db, off, -90.0), "", "twist {twist_db}, off {off}");
            }
            assert_eq!(all_keys(seed, 100.0, -45.0, 0.0, 0.0, -90.0), "", "too weak");
        }
    }

    #[test]
    fn noise_hides_no_key_and_is_none() {
        for seed in 0..20 {
            // Each tone 12 dB over the noise, the pair 15 dB.
            assert_eq!(all_keys(seed, 60.0, -15.0, 0.0, 0.0, -27.0), ALL, "seed {seed}");
        }
        let mut line = Line::new(7);
        line.pause(60_000.0);
        line.noise(-20.0);
        assert_eq!(line.keys(), "");
    }

    #[test]
    fn a_key_goes_on_over_an_interruption_and_comes_again_after_a_pause() {
        for seed in 0..40 {
            let mut line = Line::new(seed);
            let start = line.rng.f32() * 40.0;
            line.pause(start);
            line.press('5', 60.0, -12.0, 0.0, 0.0);
            line.pause(8.0);
            line.press('5', 60.0, -12.0, 0.0, 0.0);
            line.pause(40.0);
            line.press('5', 45.0, -12.0, 0.0, 0.0);
            line.pause(50.0);
            assert_eq!(line.keys(), "55", "seed {seed}");
        }
    }

    #[test]
    fn keys_come_through_every_codec() {
        use crate::audio::{g711, g722, resample};
        let mut line = Line::new(3);
        for key in ALL.chars() {
            line.press(key, 50.0, -16.0, 0.0, 0.0);
            line.pause(50.0);
        }
        let mut bytes = vec![0; line.pcm.len()];
        for codec in [g711::Codec::Pcmu, g711::Codec::Pcma] {
            let mut pcm = line.pcm.clone();
            codec.encode(&pcm, &mut bytes);
            codec.decode(&bytes, &mut pcm);
            assert_eq!(keys(&pcm), ALL, "{codec:?}");
        }
        let (mut wide, mut pcm) = (vec![0; 2 * line.pcm.len()], line.pcm.clone());
        resample::Up2::new().process(&pcm, &mut wide);
        g722::Encoder::new().encode(&wide, &mut bytes);
        g722::Decoder::new().decode(&bytes, &mut wide);
        resample::Down2::new().process(&wide, &mut pcm);
        assert_eq!(keys(&pcm), ALL, "G722");
    }

    #[test]
    fn voices_and_music_press_no_keys() {
        // Three minutes of voices: pulses of a gliding pitch through resonances that glide too, and single and paired pure tones.
        let (mut rng, mut false_keys) = (fastrand::Rng::with_seed(24), 0);
        let mut doubtful = Detector::new();
        doubtful.expect_keys(false);
        for _ in 0..60 {
            let (mut pitch, mut formants) = (rng.f32() * 250.0 + 80.0, [500.0f32, 1500.0, 2500.0]);
            let (mut aim, mut source) = (pitch, 0.0f32);
            let (mut phase, mut past) = (0.0, [[0.0f32; 2]; 3]);
            let pcm: Vec<i16> = (0..3 * 8000)
                .map(|n| {
                    if n % 800 == 0 {
                        aim = (aim * (0.8 + 0.4 * rng.f32())).clamp(70.0, 330.0);
                        formants = [300.0 + 600.0 * rng.f32(), 900.0 + 1100.0 * rng.f32(), 2000.0 + 1000.0 * rng.f32()];
                    }
                    pitch += (aim - pitch) * 0.002;
                    phase += pitch / RATE;
                    // The glottis closes once a period, and its spectrum falls by 6 dB an octave at the lips.
                    source = 0.9 * source + if phase >= 1.0 { 3000.0 } else { 0.0 };
                    phase %= 1.0;
                    let mut value = source;
                    for ((hz, width), past) in formants.iter().zip([80.0, 110.0, 160.0]).zip(&mut past) {
                        let r = (-std::f32::consts::PI * width / RATE).exp();
                        value += 2.0 * r * (TAU * hz / RATE).cos() * past[0] - r * r * past[1];
                        *past = [value, past[0]];
                    }
                    value.clamp(-32_000.0, 32_000.0) as i16
                })
                .collect();
            false_keys += keys(&pcm).len();
            assert_eq!(keys_of(doubtful.clone(), &pcm), "");
        }
        // Steadier and purer than any person's: half an hour of people's prompts and of other synthetic voices presses none.
        assert!(false_keys <= 2, "{false_keys} in three minutes");
        for (a, b) in [(440.0, 1320.0), (350.0, 440.0), (480.0, 620.0), (697.0, 770.0), (1209.0, 1336.0), (941.0, 0.0)]
        {
            let tone = |hz: f32, n: usize| 6000.0 * (TAU * hz * n as f32 / RATE).sin();
            let pcm: Vec<i16> = (0..8000).map(|n| (tone(a, n) + tone(b, n)) as i16).collect();
            assert_eq!(keys(&pcm), "", "{a} and {b} Hz");
        }
    }
}
