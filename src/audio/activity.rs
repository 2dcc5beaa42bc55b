//! Is anyone speaking in this frame: when the caller's voice begins, and when it has ended.
//!
//! Four witnesses, as none is enough alone within 100 ms. *Level* over the noise floor dates the edges to 5 ms, but hears
//! doors and keyboards. *Periodicity* tells a voice from noise, but not from tones. *A tone bank* knows the telephone's own
//! tones. *earshot*, a small recurrent network, knows speech in noise, but is unsure in its first 100 ms, slow to let go in noise,
//! and takes other people's speech for the caller's. Where there is noise or talk behind the caller, level decides: what does not
//! rise above the [`Background`] is not the caller.

use super::background::Background;
use std::f32::consts::{FRAC_1_SQRT_2, PI};

/// Samples of one frame: 20 ms at 16 kHz.
pub const FRAME_SAMPLES: usize = 320;

/// What one frame of the caller's audio says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// Whether this frame itself holds speech, without hang-over: its last `true` dates the caller's last sound.
    pub speech: bool,
    /// Whether the caller is speaking: set by a sustained onset, held over short pauses.
    pub speaking: bool,
    /// The frame's level in dBov, 0 for a full-scale square wave, never below [`LEVEL_FLOOR_DB`].
    pub level_db: f32,
}

/// The level reported for digital silence, in dBov (RFC 6464 §3 ends its scale there).
pub const LEVEL_FLOOR_DB: f32 = -127.0;

/// Parts of a frame whose level is told apart, 5 ms each.
const PARTS: usize = 4;
/// Samples of one part.
const PART_SAMPLES: usize = FRAME_SAMPLES / PARTS;
/// How far over the noise floor a part is active, in dB: noise itself varies by 2 to 3 dB over 5 ms.
const ACTIVE_OVER_FLOOR_DB: f32 = 9.0;
/// How far below the recent peak a part is still active, in dB: what is fainter is decay, reverberation and breath.
const ACTIVE_BELOW_PEAK_DB: f32 = 28.0;
/// How fast the recent peak is forgotten, in dB per frame: 25 dB in a second, so that a quiet word after a loud one is heard.
const PEAK_DECAY_DB: f32 = 0.5;
/// The level below which nothing is active, in dBov: 8 dB above the quantisation noise of G.711's lowest segment.
const ACTIVE_MIN_DB: f32 = -60.0;
/// How far over the noise floor a whole frame still holds speech once there was an onset, in dB: over 20 ms noise varies by
/// half a dB, and its lowest level lies a good dB below its mean.
const SPEECH_OVER_FLOOR_DB: f32 = 5.0;

/// Frames over the background, among so many, after which one below it still belongs to the voice: a word's last sounds sink into
/// what is behind it. A single peak of what is behind draws no neighbours along.
const FOREMOST_FRAMES: u32 = 3;
/// The frames among which they are counted: 140 ms.
const FOREMOST_WINDOW: u32 = (1 << 7) - 1;

/// Active parts that make an onset: 70 ms, since a click of 60 ms can touch 13 parts.
const ONSET_PARTS: u32 = 14;
/// The parts among which they are counted: 100 ms, so that one closure or a weak first sound does not start over.
const ONSET_WINDOW: u64 = (1 << 20) - 1;
/// Frames within which an onset needs its voiced ones.
const ONSET_FRAMES: u32 = 5;
/// Voiced frames that make an onset a voice: one alone may be a knock's resonance or a chance in noise.
const ONSET_VOICED: u32 = 2;
/// How far below the recent peak an onset's newest frame may be, in dB: a voice swells, a knock dies away.
const ONSET_BELOW_PEAK_DB: f32 = 12.0;
/// Frames after the last speech for which the caller still speaks: 200 ms, longer than the closure of any stop
/// consonant (50 to 150 ms), shorter than the pauses between phrases, which are the recogniser's to judge.
const HANGOVER_FRAMES: u32 = 10;

/// The normalised autocorrelation from which a frame is voiced. Chosen over 286 onsets of human telephone prompts, of which
/// none is missed, and 3 s of noise that sets in at once, which starts no onset down to bandwidths of 300 Hz.
const VOICED_MIN: f32 = 0.65;
/// The share of a frame's power in one or two telephone tones from which it is a tone.
const TONE_SHARE: f32 = 0.7;
/// earshot's score below which an onset is no speech: its onset scores are 0.45 to 0.6 for speech.
const ONSET_SCORE: f32 = 0.45;
/// earshot's score below which a frame inside speech is none.
const SPEECH_SCORE: f32 = 0.35;

/// Samples of one window of earshot: 16 ms at 16 kHz.
const WINDOW_SAMPLES: usize = 256;
/// Windows of digital silence in a row, 256 ms, after which earshot is given no more of them. It has settled by the eighth; then
/// only rounding moves its state, for a minute and more, and it would hear the next word otherwise than after a pause. A muted
/// telephone costs half as much so.
const SETTLED_WINDOWS: u32 = 16;

/// Hears whether the caller speaks. About 12 KiB; holds no heap.
pub struct Activity {
    detector: earshot::Detector,
    window: [i16; WINDOW_SAMPLES],
    window_len: usize,
    /// Windows of digital silence since the last sound.
    silent_windows: u32,
    score: f32,
    high_pass: HighPass,
    floor: Floor,
    background: Background,
    /// What the caller's voice is above, in dBov.
    background_db: f32,
    peak_db: f32,
    pitch: Pitch,
    bank: ToneBank,
    /// One bit per part, newest lowest: whether it was active.
    active: u64,
    /// One bit per frame, newest lowest: whether it was voiced like speech.
    voiced: u32,
    /// One bit per frame, newest lowest: whether it was a tone.
    tones: u32,
    /// One bit per frame, newest lowest: whether it was speech over the background.
    foremost: u32,
    speaking: bool,
    silent_frames: u32,
}

impl Default for Activity {
    fn default() -> Self {
        Self::new()
    }
}

impl Activity {
    /// Makes one that has heard nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            detector: earshot::Detector::default(),
            window: [0; WINDOW_SAMPLES],
            window_len: 0,
            silent_windows: 0,
            score: 0.0,
            high_pass: HighPass::new(),
            floor: Floor::new(),
            background: Background::new(),
            background_db: LEVEL_FLOOR_DB,
            peak_db: LEVEL_FLOOR_DB,
            pitch: Pitch::new(),
            bank: ToneBank::new(),
            active: 0,
            voiced: 0,
            tones: 0,
            foremost: 0,
            speaking: false,
            silent_frames: 0,
        }
    }

    /// Forgets everything heard.
    pub fn reset(&mut self) {
        self.detector.reset();
        (self.window_len, self.silent_windows) = (0, 0);
        self.score = 0.0;
        self.high_pass = HighPass::new();
        self.floor = Floor::new();
        (self.background, self.background_db) = (Background::new(), LEVEL_FLOOR_DB);
        self.peak_db = LEVEL_FLOOR_DB;
        self.pitch = Pitch::new();
        (self.active, self.voiced, self.tones, self.foremost) = (0, 0, 0, 0);
        (self.speaking, self.silent_frames) = (false, 0);
    }

    /// Takes the next 20 ms: [`FRAME_SAMPLES`] mono samples at 16 kHz. What is missing of them counts as silence, what is
    /// beyond them is ignored.
    ///
    /// # Real-time
    /// No heap, no panic, constant time.
    pub fn push(&mut self, frame: &[i16]) -> Decision {
        let mut pcm = [0; FRAME_SAMPLES];
        for (slot, &sample) in pcm.iter_mut().zip(frame) {
            *slot = sample;
        }
        let came_in = powers(&pcm);
        self.high_pass.filter(&mut pcm);
        self.listen(&pcm);
        let mut powers = powers(&pcm);
        // The filter rings for 5 ms after a click that ends at once, and may not make it longer than it was.
        powers.iter_mut().zip(&came_in).for_each(|(power, came_in)| *power = power.min(*came_in));
        let mean_db = |powers: &[f32; PARTS]| db(powers.iter().sum::<f32>() / PARTS as f32);
        let (level_db, heard_db) = (mean_db(&came_in), mean_db(&powers));
        let floor_db = self.floor.push(heard_db);
        self.background_db = self.background.push(heard_db, floor_db);
        let active_parts = self.measure(&powers, heard_db, floor_db);
        self.pitch.push(&pcm);

        let active = active_parts >= 2;
        let tone = active && self.bank.share(&pcm) > TONE_SHARE;
        // Pitch is needed only while an onset is being judged.
        let voiced = active && !tone && !self.speaking && self.score >= ONSET_SCORE && self.pitch.is_voiced();
        self.tones = self.tones << 1 | u32::from(tone);
        self.voiced = self.voiced << 1 | u32::from(voiced);

        let goes_on = self.goes_on(&powers, floor_db, tone);
        let begins = self.voiced & 0b11 == 0b11 && self.tones & 0b111 == 0;
        let speech = if self.speaking { goes_on } else { begins };
        self.decide(active && heard_db > self.peak_db - ONSET_BELOW_PEAK_DB, speech);
        Decision { speech, speaking: self.speaking, level_db }
    }

    /// Gives earshot each window that is full.
    fn listen(&mut self, pcm: &[i16; FRAME_SAMPLES]) {
        let mut best = None;
        let mut rest = pcm.as_slice();
        while !rest.is_empty() {
            let (fresh, later) = rest.split_at(rest.len().min(WINDOW_SAMPLES - self.window_len));
            for (slot, &sample) in self.window[self.window_len..].iter_mut().zip(fresh) {
                *slot = sample;
            }
            self.window_len = (self.window_len + fresh.len()) % WINDOW_SAMPLES;
            rest = later;
            if self.window_len == 0 {
                let score = self.judge();
                best = Some(best.map_or(score, |other: f32| other.max(score)));
            }
        }
        // Every frame of 320 samples completes at least one window of 256.
        self.score = best.unwrap_or(self.score);
    }

    /// Returns earshot's score of the window that is full.
    fn judge(&mut self) -> f32 {
        let silent = self.window.iter().all(|sample| *sample == 0);
        self.silent_windows = if silent { self.silent_windows.saturating_add(1) } else { 0 };
        if self.silent_windows > SETTLED_WINDOWS { self.score } else { self.detector.predict_i16(&self.window) }
    }

    /// Follows the peak, and notes which parts are active; returns how many are.
    fn measure(&mut self, powers: &[f32; PARTS], level_db: f32, floor_db: f32) -> u32 {
        self.peak_db = (self.peak_db - PEAK_DECAY_DB).max(level_db);
        let threshold_db = self.threshold_db(floor_db + ACTIVE_OVER_FLOOR_DB).max(self.background_db);
        for &power in powers {
            self.active = self.active << 1 | u64::from(db(power) > threshold_db);
        }
        (self.active & ((1 << PARTS) - 1)).count_ones()
    }

    /// Whether a frame belongs to the speech that has begun.
    fn goes_on(&mut self, powers: &[f32; PARTS], floor_db: f32, tone: bool) -> bool {
        // The first 5 ms may hold the last sound of the packet before, which the resampler has delayed by 2 ms: speech that
        // ends there ended in that packet.
        let later_db = db(powers[1..].iter().sum::<f32>() / (PARTS - 1) as f32);
        let audible = later_db > self.threshold_db(floor_db + SPEECH_OVER_FLOOR_DB);
        let audible = self.speaking && audible && !tone && self.score >= SPEECH_SCORE;
        let foremost = audible && later_db > self.background_db;
        self.foremost = self.foremost << 1 | u32::from(foremost);
        foremost || (audible && (self.foremost & FOREMOST_WINDOW).count_ones() >= FOREMOST_FRAMES)
    }

    /// Raises a threshold to what the recent peak and the codec leave audible.
    fn threshold_db(&self, over_floor_db: f32) -> f32 {
        over_floor_db.max(self.peak_db - ACTIVE_BELOW_PEAK_DB).max(ACTIVE_MIN_DB)
    }

    /// Starts and ends `speaking`.
    fn decide(&mut self, active: bool, speech: bool) {
        if self.speaking {
            self.silent_frames = if speech { 0 } else { self.silent_frames + 1 };
            self.speaking = self.silent_frames <= HANGOVER_FRAMES;
            return;
        }
        let recent = (1 << ONSET_FRAMES) - 1;
        let sustained = (self.active & ONSET_WINDOW).count_ones() >= ONSET_PARTS;
        let voice = (self.voiced & recent).count_ones() >= ONSET_VOICED;
        let tonal = (self.tones & recent).count_ones() >= 2;
        if active && sustained && voice && !tonal {
            (self.speaking, self.silent_frames) = (true, 0);
        }
    }
}

/// Leaves out what is below the voice: engines, wind and handling are mostly there, and are loud in what a soft telephone sends.
/// Second order, maximally flat, -3 dB at 140 Hz, where ITU-T G.729 §3.1 puts its own. Rumble with the spectrum of brown noise is
/// 8 dB fainter behind it, and a voice keeps its level.
struct HighPass {
    /// The gain, and what the last two outputs count.
    gain: f32,
    back: [f32; 2],
    state: [f32; 2],
}

impl HighPass {
    const CORNER_HZ: f32 = 140.0;
    /// What is left of a sound that is so small, in samples, is nothing: the recursion would go on with it in numbers that are
    /// slow to compute with.
    const NOTHING: f32 = 1e-3;

    /// Computes the bilinear transform of Butterworth's low-pass's mirror image.
    fn new() -> Self {
        let (sin, cos) = (2.0 * PI * Self::CORNER_HZ / 16_000.0).sin_cos();
        let damping = sin * FRAC_1_SQRT_2;
        let scale = 1.0 / (1.0 + damping);
        let back = [2.0 * cos * scale, (damping - 1.0) * scale];
        Self { gain: (1.0 + cos) / 2.0 * scale, back, state: [0.0; 2] }
    }

    /// Filters a frame in place.
    fn filter(&mut self, pcm: &mut [i16; FRAME_SAMPLES]) {
        let Self { gain, back, state: [mut first, mut second] } = *self;
        for sample in pcm {
            let value = gain * f32::from(*sample);
            let out = value + first;
            first = second - 2.0 * value + back[0] * out;
            second = value + back[1] * out;
            // Rounded half away from zero; the conversion saturates.
            *sample = (out + 0.5f32.copysign(out)) as i16;
        }
        let rests = first.abs().max(second.abs()) < Self::NOTHING;
        self.state = if rests { [0.0; 2] } else { [first, second] };
    }
}

/// The noise floor: the lowest level of the last two seconds, in which a speaker takes breath at least once.
struct Floor {
    /// The lowest level of each stretch of 240 ms, in dBov; the newest is at `at`.
    lowest_db: [f32; Floor::STRETCHES],
    at: usize,
    frames: u32,
}

impl Floor {
    const STRETCHES: usize = 8;
    const STRETCH_FRAMES: u32 = 12;
    /// What is assumed of the time before the first frame, in dBov, so that a call that begins in mid-word is heard: a loud
    /// room on a telephone.
    const BEFORE_DB: f32 = -38.0;
    /// The loudest the floor is taken to be, in dBov: where noise is louder, speech would not be understood either.
    const MAX_DB: f32 = -20.0;

    fn new() -> Self {
        Self { lowest_db: [Self::BEFORE_DB; Self::STRETCHES], at: 0, frames: 0 }
    }

    /// Takes the level of one frame and returns the floor, both in dBov.
    fn push(&mut self, level_db: f32) -> f32 {
        if self.frames == Self::STRETCH_FRAMES {
            self.frames = 0;
            self.at = (self.at + 1) % Self::STRETCHES;
            self.lowest_db[self.at] = Self::MAX_DB;
        }
        self.frames += 1;
        let lowest = &mut self.lowest_db[self.at];
        *lowest = lowest.min(level_db);
        self.lowest_db.iter().copied().fold(Self::MAX_DB, f32::min)
    }
}

/// The recent past at 4 kHz, in which a voice repeats itself every pitch period.
struct Pitch {
    past: [f32; Pitch::PAST],
    /// The last two sums of four samples.
    sums: [f32; 2],
    /// What went into the high-pass last, and what came out.
    high: [f32; 2],
}

impl Pitch {
    /// Samples at 16 kHz that make one at 4 kHz.
    const DECIMATION: usize = 4;
    /// The pole of a first-order high-pass at 190 Hz: rumble is narrow and low, and would seem to repeat itself.
    const HIGH_PASS_POLE: f32 = 0.7;
    /// The stretch that is compared with an earlier one: 30 ms.
    const COMPARED: usize = 120;
    /// Pitch periods: 2.5 to 16.5 ms, 400 down to 60 Hz.
    const LAGS: std::ops::RangeInclusive<usize> = 10..=66;
    const PAST: usize = Self::COMPARED + *Self::LAGS.end();

    fn new() -> Self {
        Self { past: [0.0; Self::PAST], sums: [0.0; 2], high: [0.0; 2] }
    }

    fn push(&mut self, pcm: &[i16; FRAME_SAMPLES]) {
        let taken = FRAME_SAMPLES / Self::DECIMATION;
        self.past.copy_within(taken.., 0);
        let fresh = self.past[Self::PAST - taken..].iter_mut();
        for (slot, four) in fresh.zip(pcm.chunks_exact(Self::DECIMATION)) {
            let sum: f32 = four.iter().map(|&s| f32::from(s)).sum();
            // Down by half at 1 kHz: a higher formant falls between the lags, which are 0.25 ms apart.
            let low = sum + 2.0 * self.sums[0] + self.sums[1];
            self.sums = [sum, self.sums[0]];
            self.high = [low, Self::HIGH_PASS_POLE * self.high[1] + low - self.high[0]];
            *slot = self.high[1];
        }
    }

    /// Whether the last 30 ms repeat what came one pitch period before.
    fn is_voiced(&self) -> bool {
        let now = &self.past[*Self::LAGS.end()..];
        let power = dot(now, now);
        Self::LAGS.into_iter().any(|lag| {
            let before = &self.past[*Self::LAGS.end() - lag..Self::PAST - lag];
            let product = dot(now, before);
            // A part in a million of full scale keeps silence from being voiced.
            product > 0.0 && product * product > VOICED_MIN * VOICED_MIN * power * (dot(before, before) + 1e4)
        })
    }
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

/// The tones of the telephone, in Hz: DTMF (ITU-T Q.23), then call progress and fax tones (ITU-T E.180, T.30).
const TONES_HZ: [f32; 16] = [
    697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0, 350.0, 400.0, 430.0, 480.0, 620.0, 1000.0, 1100.0,
    2100.0,
];

/// Goertzel's recursion for each of the tones, side by side.
struct ToneBank {
    /// Twice the cosine of the angle by which each turns from one sample to the next.
    steps: [f32; TONES_HZ.len()],
}

impl ToneBank {
    fn new() -> Self {
        Self { steps: TONES_HZ.map(|hz| 2.0 * (2.0 * PI * hz / 16_000.0).cos()) }
    }

    /// Returns the share of the frame's power that lies in its two strongest tones.
    fn share(&self, pcm: &[i16; FRAME_SAMPLES]) -> f32 {
        let step = &self.steps;
        let (mut last, mut before) = ([0.0f32; 16], [0.0f32; 16]);
        let mut total = 1.0;
        for &sample in pcm {
            let sample = f32::from(sample);
            total += sample * sample;
            for i in 0..16 {
                let next = sample + step[i] * last[i] - before[i];
                (before[i], last[i]) = (last[i], next);
            }
        }
        let (mut first, mut second) = (0.0f32, 0.0f32);
        for i in 0..16 {
            let power = last[i] * last[i] + before[i] * before[i] - step[i] * last[i] * before[i];
            second = second.max(power.min(first));
            first = first.max(power);
        }
        (first + second) * 2.0 / (FRAME_SAMPLES as f32 * total)
    }
}

/// Returns the power of each part of a frame.
fn powers(pcm: &[i16; FRAME_SAMPLES]) -> [f32; PARTS] {
    std::array::from_fn(|i| power(&pcm[i * PART_SAMPLES..(i + 1) * PART_SAMPLES]))
}

/// Returns the mean square of some samples, 1 for a full-scale square wave.
fn power(pcm: &[i16]) -> f32 {
    let sum: i64 = pcm.iter().map(|&s| i64::from(s) * i64::from(s)).sum();
    sum as f32 / (pcm.len().max(1) as f32 * 32_768.0 * 32_768.0)
}

fn db(power: f32) -> f32 {
    (10.0 * power.max(1e-20).log10()).max(LEVEL_FLOOR_DB)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds of sound at 16 kHz, put one after another.
    struct Sound {
        pcm: Vec<f32>,
        random: fastrand::Rng,
    }

    impl Sound {
        /// Begins with half a second of faint room noise.
        fn new(seed: u64) -> Self {
            Self { pcm: Vec::new(), random: fastrand::Rng::with_seed(seed) }.silence(500)
        }

        fn silence(mut self, ms: usize) -> Self {
            self.pcm.resize(self.pcm.len() + ms * 16, 0.0);
            self
        }

        /// A voice: glottal pulses of a wavering pitch, through the formants of three vowels in turn, `level_db` dBov.
        fn voice(mut self, ms: usize, level_db: f32) -> Self {
            let start = self.pcm.len();
            let mut past = [[0.0f32; 2]; 3];
            let (mut phase, mut flow) = (0.0f32, 0.0f32);
            for n in 0..ms * 16 {
                let seconds = n as f32 / 16_000.0;
                let hz = 125.0 + 12.0 * (2.0 * PI * 3.0 * seconds).sin() + 1.5 * (self.random.f32() - 0.5);
                phase += hz / 16_000.0;
                let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
                phase %= 1.0;
                flow = 0.9 * flow + pulse + 0.004 * (self.random.f32() - 0.5);
                let formants = [[700.0, 1200.0, 2500.0], [400.0, 1900.0, 2600.0], [450.0, 900.0, 2400.0]][n / 2400 % 3];
                let mut value = flow;
                for (hz, past) in formants.iter().zip(&mut past) {
                    let r = (-PI * 90.0 / 16_000.0f32).exp();
                    value += 2.0 * r * (2.0 * PI * hz / 16_000.0).cos() * past[0] - r * r * past[1];
                    *past = [value, past[0]];
                }
                self.pcm.push(value);
            }
            self.level(start, level_db)
        }

        /// People who talk at once, `level_db` dBov together: each in syllables of 100 to 300 ms, on pitches and with vowels of
        /// their own, some louder than others.
        fn babble(mut self, ms: usize, voices: usize, level_db: f32) -> Self {
            let start = self.pcm.len();
            self.pcm.resize(start + ms * 16, 0.0);
            for _ in 0..voices {
                let pitch_hz = 90.0 + 130.0 * self.random.f32();
                let mut at = start;
                while at < self.pcm.len() {
                    let length = self.random.usize(1600..4800);
                    let loudness = 10f32.powf(-0.5 * self.random.f32());
                    let hz = pitch_hz * (0.9 + 0.2 * self.random.f32());
                    let formants = [300.0 + 500.0 * self.random.f32(), 900.0 + 1300.0 * self.random.f32()];
                    let (mut past, mut phase) = ([[0.0f32; 2]; 2], 0.0f32);
                    for (n, sample) in self.pcm[at..].iter_mut().take(length).enumerate() {
                        phase += hz / 16_000.0;
                        let mut value = if phase >= 1.0 { 1.0 } else { 0.0 };
                        phase %= 1.0;
                        for (hz, past) in formants.iter().zip(&mut past) {
                            let r = (-PI * 90.0 / 16_000.0f32).exp();
                            value += 2.0 * r * (2.0 * PI * hz / 16_000.0).cos() * past[0] - r * r * past[1];
                            *past = [value, past[0]];
                        }
                        *sample += value * loudness * (0.35 + 0.65 * (PI * n as f32 / length as f32).sin());
                    }
                    at += length + self.random.usize(0..800);
                }
            }
            self.level(start, level_db)
        }

        /// Noise whose power falls by 6 dB per octave above 20 Hz: traffic and wind.
        fn rumble(mut self, ms: usize, level_db: f32) -> Self {
            let start = self.pcm.len();
            let mut value = 0.0;
            for _ in 0..ms * 16 {
                value = 0.992 * value + self.random.f32() - 0.5;
                self.pcm.push(value);
            }
            self.level(start, level_db)
        }

        /// Adds another sound, from its start.
        fn behind(mut self, other: Self) -> Self {
            self.pcm.iter_mut().zip(other.pcm).for_each(|(sample, other)| *sample += other);
            self
        }

        fn noise(mut self, ms: usize, level_db: f32) -> Self {
            let start = self.pcm.len();
            for _ in 0..ms * 16 {
                self.pcm.push(self.random.f32() - 0.5);
            }
            self.level(start, level_db)
        }

        fn tones(mut self, ms: usize, hz: &[f32], level_db: f32) -> Self {
            let start = self.pcm.len();
            for n in 0..ms * 16 {
                self.pcm.push(hz.iter().map(|hz| (2.0 * PI * hz * n as f32 / 16_000.0).sin()).sum());
            }
            self.level(start, level_db)
        }

        /// A struck object: a resonance that dies away with a time constant of 20 ms.
        fn knock(mut self, hz: f32, peak: f32) -> Self {
            for n in 0..150 * 16 {
                let t = n as f32 / 16_000.0;
                self.pcm.push(peak * (-t / 0.02).exp() * (2.0 * PI * hz * t).sin());
            }
            self
        }

        fn level(mut self, start: usize, level_db: f32) -> Self {
            let part = &mut self.pcm[start..];
            let rms = (part.iter().map(|v| v * v).sum::<f32>() / part.len() as f32).sqrt();
            let gain = 32_768.0 * 10f32.powf(level_db / 20.0) / rms;
            part.iter_mut().for_each(|v| *v *= gain);
            self
        }

        /// Everything heard, over a faint room noise of about -73 dBov.
        fn heard(mut self) -> Vec<Decision> {
            let mut activity = Activity::new();
            let room: Vec<f32> = self.pcm.iter().map(|v| v + 26.0 * (self.random.f32() - 0.5)).collect();
            let pcm: Vec<i16> = room.iter().map(|v| v.round() as i16).collect();
            pcm.chunks(FRAME_SAMPLES).map(|frame| activity.push(frame)).collect()
        }
    }

    fn first(decisions: &[Decision], is: impl Fn(&Decision) -> bool) -> Option<usize> {
        decisions.iter().position(is)
    }

    fn alarms(sound: Sound) -> usize {
        sound.silence(300).heard().iter().filter(|d| d.speaking).count()
    }

    #[test]
    fn a_voice_is_heard_60_to_100_ms_after_its_onset() {
        for level_db in [-6.0, -12.0, -20.0, -30.0] {
            for offset_ms in 0..20 {
                let heard = Sound::new(offset_ms).silence(offset_ms as usize).voice(600, level_db).heard();
                let frame = first(&heard, |d| d.speaking).expect("a voice is heard");
                let late_ms = (frame + 1) * 20 - (500 + offset_ms as usize);
                assert!((60..=100).contains(&late_ms), "{level_db} dBov: {late_ms} ms");
            }
        }
    }

    #[test]
    fn a_voice_is_heard_over_noise() {
        for seed in 0..10 {
            let mut sound = Sound::new(seed).voice(600, -20.0).silence(500);
            let mut random = fastrand::Rng::with_seed(seed);
            // White noise 20 dB below the voice, all along.
            sound.pcm.iter_mut().for_each(|v| *v += 0.01 * 3.46 * 32_768.0 * (random.f32() - 0.5));
            let heard = sound.heard();
            let frame = first(&heard, |d| d.speaking).expect("a voice is heard");
            assert!((28..=31).contains(&frame), "frame {frame}");
            assert!(!heard[heard.len() - 1].speaking);
        }
    }

    /// Phrases at -20 dBov that end 3.5, 6.5 and 9.5 s into it, two seconds after each other.
    fn phrases(seed: u64) -> Sound {
        (0..3).fold(Sound::new(seed).silence(2000), |sound, _| {
            sound.voice(600, -20.0).silence(60).voice(340, -20.0).silence(2000)
        })
    }

    #[test]
    fn phrases_end_where_people_talk_behind_the_caller() {
        // The voice here lacks the 4 dB by which people's syllables peak over their mean: 13 dB are 10 dB among people.
        for (voices, most) in [(8, 10), (16, 4)] {
            let mut endless = 0;
            for seed in 0..20 {
                let people = Sound::new(seed + 50).babble(12_000, voices, -33.0);
                let heard = phrases(seed).behind(people).heard();
                let goes_on = |end: &usize| heard[end + 20..end + 40].iter().all(|d| d.speaking);
                endless += [175, 325, 475].iter().filter(|end| goes_on(end)).count();
            }
            assert!(endless <= most, "{endless} of 60 phrases go on 400 to 800 ms after their end, {voices} voices");
        }
    }

    #[test]
    fn people_who_talk_behind_a_caller_who_has_spoken_are_not_the_caller() {
        let mut speaking = 0;
        for seed in 0..10 {
            let people = Sound::new(seed + 50).babble(20_000, 8, -33.0);
            let heard = phrases(seed).silence(8_500).behind(people).heard();
            speaking += heard[525..].iter().filter(|d| d.speaking).count();
        }
        assert!(speaking <= 1000, "{speaking} of 4750 frames after the last phrase");
    }

    #[test]
    fn the_end_is_dated_where_traffic_is_behind_the_caller() {
        for seed in 0..10 {
            for level_db in [-40.0, -30.0, -25.0] {
                let traffic = Sound::new(seed + 50).rumble(12_000, level_db);
                let heard = phrases(seed).behind(traffic).heard();
                for end in [175, 325, 475] {
                    let before = end - 40;
                    let last = heard[before..end + 90].iter().rposition(|d| d.speech).expect("a phrase is heard");
                    let error_ms = ((before + last + 1) as isize - end as isize) * 20;
                    assert!((-60..=120).contains(&error_ms), "{level_db} dBov, seed {seed}: {error_ms} ms");
                }
            }
        }
    }

    #[test]
    fn a_caller_who_speaks_low_after_a_loud_word_is_heard_in_a_quiet_room_and_in_noise() {
        for (seed, noise_db) in [(1, -70.0), (2, -55.0), (3, -48.0)] {
            let noise = Sound::new(seed + 50).noise(12_000, noise_db);
            let sound = Sound::new(seed).voice(800, -12.0).silence(700).voice(2000, -28.0).silence(1000);
            let heard = sound.behind(noise).heard();
            let low = heard[100..].iter().filter(|d| d.speech).count();
            assert!((70..=103).contains(&low), "{low} frames of 100, noise at {noise_db} dBov");
        }
    }

    #[test]
    fn clicks_of_up_to_60_ms_are_not_speech() {
        for ms in [1, 3, 10, 20, 40, 60] {
            for seed in 0..20 {
                for level_db in [-30.0, -10.0] {
                    let click = Sound::new(seed).silence(seed as usize).noise(ms, level_db);
                    assert_eq!(alarms(click), 0, "{ms} ms, {level_db} dBov");
                }
                let blip = Sound::new(seed).silence(seed as usize).voice(ms, -15.0);
                assert_eq!(alarms(blip), 0, "{ms} ms of voice");
            }
        }
    }

    #[test]
    fn knocks_and_keyboards_are_not_speech() {
        for seed in 0..20 {
            assert_eq!(alarms(Sound::new(seed).knock(150.0 + 40.0 * seed as f32, 25_000.0)), 0);
            let mut keys = Sound::new(seed);
            for key in 0..12 {
                keys = keys.noise(3, -8.0 - key as f32).silence(45).noise(4, -18.0).silence(60 + seed as usize * 3);
            }
            assert_eq!(alarms(keys), 0);
        }
    }

    #[test]
    fn telephone_tones_are_not_speech() {
        for low in [697.0, 770.0, 852.0, 941.0] {
            for high in [1209.0, 1336.0, 1477.0, 1633.0] {
                for ms in [50, 100, 1000] {
                    let twice = Sound::new(1).tones(ms, &[low, high], -12.0).silence(60).tones(ms, &[low, high], -12.0);
                    assert_eq!(alarms(twice), 0, "{low} + {high} Hz");
                }
            }
        }
        for hz in [&[425.0][..], &[350.0, 440.0], &[480.0, 620.0], &[1100.0], &[2100.0]] {
            assert_eq!(alarms(Sound::new(1).tones(2000, hz, -15.0)), 0, "{hz:?} Hz");
        }
    }

    #[test]
    fn noise_is_not_speech_whether_it_begins_or_was_always_there() {
        for level_db in [-50.0, -40.0, -30.0, -20.0] {
            assert_eq!(alarms(Sound::new(2).noise(4000, level_db)), 0, "{level_db} dBov");
            let mut always = Sound::new(3).noise(4000, level_db);
            always.pcm.drain(..8000);
            assert_eq!(alarms(always), 0, "{level_db} dBov from the start");
        }
    }

    #[test]
    fn a_short_pause_does_not_end_speaking_and_a_long_one_does() {
        let heard = Sound::new(4).voice(500, -20.0).silence(140).voice(500, -20.0).silence(600).heard();
        let start = first(&heard, |d| d.speaking).expect("a voice is heard");
        let end = start + first(&heard[start..], |d| !d.speaking).expect("it ends");
        // The voice ends 1640 ms into it.
        assert!((1640 + 200..=1640 + 280).contains(&(end * 20)), "ended at {} ms", end * 20);
        assert!(heard[end..].iter().all(|d| !d.speaking && !d.speech));
    }

    #[test]
    fn the_last_frame_of_speech_dates_the_last_sound() {
        for offset_ms in 0..20 {
            for level_db in [-10.0, -30.0] {
                let heard = Sound::new(5).voice(700 + offset_ms, level_db).silence(500).heard();
                let last = heard.iter().rposition(|d| d.speech).expect("there was speech");
                let error_ms = (last as isize + 1) * 20 - (1200 + offset_ms as isize);
                assert!((-20..=40).contains(&error_ms), "{error_ms} ms at {level_db} dBov");
            }
        }
    }

    #[test]
    fn a_call_that_begins_in_mid_word_is_heard() {
        let mut sound = Sound::new(6).voice(1500, -18.0);
        sound.pcm.drain(..8000 + 3200);
        let frame = first(&sound.heard(), |d| d.speaking).expect("a voice is heard");
        assert!(frame < 8, "frame {frame}");
    }

    #[test]
    fn a_word_after_a_long_mute_is_heard_as_after_a_short_one() {
        let after = |mute_ms: usize| {
            let sound = Sound::new(5).voice(600, -20.0).silence(mute_ms).voice(600, -25.0).silence(300);
            let mut activity = Activity::new();
            let pcm: Vec<i16> = sound.pcm.iter().map(|v| v.round() as i16).collect();
            let heard: Vec<Decision> = pcm.chunks(FRAME_SAMPLES).map(|frame| activity.push(frame)).collect();
            heard[heard.len() - 45..].to_vec()
        };
        // Windows and frames fall together every 80 ms; the peak and the floor have forgotten the first word by then.
        let short = after(8_000);
        assert!(short.iter().any(|decision| decision.speaking));
        assert_eq!(after(8_000 + 80 * 700), short);
    }

    #[test]
    fn levels_are_those_of_rfc_6464() {
        let mut activity = Activity::new();
        assert_eq!(activity.push(&[0; FRAME_SAMPLES]).level_db, LEVEL_FLOOR_DB);
        assert!(activity.push(&[i16::MIN; FRAME_SAMPLES]).level_db.abs() < 0.01);
        assert!((activity.push(&[1036; FRAME_SAMPLES]).level_db + 30.0).abs() < 0.01);
    }

    #[test]
    fn no_input_does_harm() {
        let mut activity = Activity::new();
        let mut random = fastrand::Rng::with_seed(8);
        for round in 0..3000 {
            let len = if round % 10 == 0 { random.usize(..700) } else { FRAME_SAMPLES };
            let kind = random.u8(..4);
            let frame: Vec<i16> = (0..len)
                .map(|n| match kind {
                    0 => random.i16(..),
                    1 if n % 2 == 0 => i16::MAX,
                    2 => 0,
                    _ => i16::MIN,
                })
                .collect();
            let decision = activity.push(&frame);
            assert!((LEVEL_FLOOR_DB..=0.01).contains(&decision.level_db));
        }
    }

    #[test]
    fn reset_forgets_the_past() {
        let speech = Sound::new(9).voice(900, -20.0);
        let pcm: Vec<i16> = speech.pcm.iter().map(|v| *v as i16).collect();
        let mut activity = Activity::new();
        let run = |activity: &mut Activity| pcm.chunks(FRAME_SAMPLES).map(|f| activity.push(f)).collect::<Vec<_>>();
        let before = run(&mut activity);
        activity.reset();
        assert_eq!(run(&mut activity), before);
    }
}
