//! Is anyone speaking in this frame: when the caller's voice begins, and when it has ended.
//!
//! Four witnesses, as none is enough alone within 100 ms. *Level* over the noise floor dates the edges to 5 ms, but hears
//! doors and keyboards. *Periodicity* tells a voice from noise, but not from tones. *A tone bank* knows the telephone's own
//! tones. *earshot*, a small recurrent network, knows speech in noise, but is unsure in its first 100 ms.

use std::f32::consts::PI;

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
/// The loudest the noise floor is taken to be, in dBov, so that a call that begins in mid-word is heard.
const FLOOR_MAX_DB: f32 = -38.0;

/// Active parts that make an onset: 70 ms, since a click of 60 ms can touch 13 parts.
const ONSET_PARTS: u32 = 14;
/// The parts among which they are counted: 100 ms, so that one closure or a weak first sound does not start over.
const ONSET_WINDOW: u64 = (1 << 20) - 1;
/// Frames within which an onset needs a voiced one.
const ONSET_FRAMES: u32 = 5;
/// Frames after the last speech for which the caller still speaks: 200 ms, longer than the closure of any stop
/// consonant (50 to 150 ms), shorter than the pauses between phrases, which are the recogniser's to judge.
const HANGOVER_FRAMES: u32 = 10;

/// The normalised autocorrelation from which a frame is voiced. Noise, even of 800 Hz bandwidth, stays below 0.6; nine in ten
/// frames of speech reach 0.6 and half of them 0.94.
const VOICED_MIN: f32 = 0.62;
/// The share of a frame's power in one or two telephone tones from which it is a tone.
const TONE_SHARE: f32 = 0.7;
/// earshot's score below which an onset is no speech: its onset scores are 0.45 to 0.6 for speech.
const ONSET_SCORE: f32 = 0.45;
/// earshot's score that makes an onset without a voiced frame, as in a whisper.
const SURE_SCORE: f32 = 0.85;
/// earshot's score below which a frame inside speech is none.
const SPEECH_SCORE: f32 = 0.3;

/// Samples of one window of earshot: 16 ms at 16 kHz.
const WINDOW_SAMPLES: usize = 256;

/// Hears whether the caller speaks. About 12 KiB; holds no heap.
pub struct Activity {
    detector: earshot::Detector,
    window: [i16; WINDOW_SAMPLES],
    window_len: usize,
    score: f32,
    floor: Floor,
    peak_db: f32,
    pitch: Pitch,
    /// One bit per part, newest lowest: whether it was active.
    active: u64,
    /// One bit per frame, newest lowest: whether it was voiced like speech.
    voiced: u32,
    /// One bit per frame, newest lowest: whether it was a tone.
    tones: u32,
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
            score: 0.0,
            floor: Floor::new(),
            peak_db: LEVEL_FLOOR_DB,
            pitch: Pitch::new(),
            active: 0,
            voiced: 0,
            tones: 0,
            speaking: false,
            silent_frames: 0,
        }
    }

    /// Forgets everything heard.
    pub fn reset(&mut self) {
        self.detector.reset();
        self.window_len = 0;
        self.score = 0.0;
        self.floor = Floor::new();
        self.peak_db = LEVEL_FLOOR_DB;
        self.pitch = Pitch::new();
        (self.active, self.voiced, self.tones) = (0, 0, 0);
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
        self.listen(&pcm);
        let powers: [f32; PARTS] = std::array::from_fn(|i| power(&pcm[i * PART_SAMPLES..(i + 1) * PART_SAMPLES]));
        let level_db = db(powers.iter().sum::<f32>() / PARTS as f32);
        let active_parts = self.measure(&powers, level_db);
        self.pitch.push(&pcm);

        let active = active_parts >= 2;
        let tone = active && tone_share(&pcm) > TONE_SHARE;
        // Pitch is needed only while an onset is being judged.
        let voiced = active && !tone && !self.speaking && self.score >= ONSET_SCORE && self.pitch.is_voiced();
        self.tones = self.tones << 1 | u32::from(tone);
        self.voiced = self.voiced << 1 | u32::from(voiced);

        let speech = active && !tone && self.score >= SPEECH_SCORE && (self.speaking || voiced);
        self.decide(active && !tone, speech);
        Decision { speech, speaking: self.speaking, level_db }
    }

    /// Gives earshot each window that is full.
    fn listen(&mut self, pcm: &[i16; FRAME_SAMPLES]) {
        let mut best = None;
        for &sample in pcm {
            self.window[self.window_len] = sample;
            self.window_len += 1;
            if self.window_len == WINDOW_SAMPLES {
                self.window_len = 0;
                let score = self.detector.predict_i16(&self.window);
                best = Some(best.map_or(score, |other: f32| other.max(score)));
            }
        }
        // Every frame of 320 samples completes at least one window of 256.
        self.score = best.unwrap_or(self.score);
    }

    /// Follows floor and peak; returns how many parts are active.
    fn measure(&mut self, powers: &[f32; PARTS], level_db: f32) -> u32 {
        let floor_db = self.floor.push(level_db).min(FLOOR_MAX_DB);
        self.peak_db = (self.peak_db - PEAK_DECAY_DB).max(level_db);
        let threshold = (floor_db + ACTIVE_OVER_FLOOR_DB).max(self.peak_db - ACTIVE_BELOW_PEAK_DB).max(ACTIVE_MIN_DB);
        for &power in powers {
            self.active = self.active << 1 | u64::from(db(power) > threshold);
        }
        (self.active & ((1 << PARTS) - 1)).count_ones()
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
        let voice = self.voiced & recent != 0 || self.score >= SURE_SCORE;
        let tonal = (self.tones & recent).count_ones() >= 2;
        if active && sustained && voice && !tonal {
            (self.speaking, self.silent_frames) = (true, 0);
        }
    }
}

/// The noise floor: the lowest level of the last two seconds, in which a speaker takes breath at least once.
struct Floor {
    /// The lowest level of each 250 ms, in dBov; the newest is at `at`.
    lowest_db: [f32; Floor::STRETCHES],
    at: usize,
    frames: u32,
}

impl Floor {
    const STRETCHES: usize = 8;
    const STRETCH_FRAMES: u32 = 12;

    fn new() -> Self {
        Self { lowest_db: [0.0; Self::STRETCHES], at: 0, frames: 0 }
    }

    /// Takes the level of one frame and returns the floor, both in dBov.
    fn push(&mut self, level_db: f32) -> f32 {
        if self.frames == Self::STRETCH_FRAMES {
            self.frames = 0;
            self.at = (self.at + 1) % Self::STRETCHES;
            self.lowest_db[self.at] = 0.0;
        }
        self.frames += 1;
        let lowest = &mut self.lowest_db[self.at];
        *lowest = lowest.min(level_db);
        self.lowest_db.iter().copied().fold(0.0, f32::min)
    }
}

/// The recent past at 4 kHz, in which a voice repeats itself every pitch period.
struct Pitch {
    past: [f32; Pitch::PAST],
}

impl Pitch {
    /// Samples at 16 kHz that make one at 4 kHz.
    const DECIMATION: usize = 4;
    /// The stretch that is compared with an earlier one: 30 ms.
    const COMPARED: usize = 120;
    /// Pitch periods: 2.5 to 16.5 ms, 400 down to 60 Hz.
    const LAGS: std::ops::RangeInclusive<usize> = 10..=66;
    const PAST: usize = Self::COMPARED + *Self::LAGS.end();

    fn new() -> Self {
        Self { past: [0.0; Self::PAST] }
    }

    fn push(&mut self, pcm: &[i16; FRAME_SAMPLES]) {
        let taken = FRAME_SAMPLES / Self::DECIMATION;
        self.past.copy_within(taken.., 0);
        let fresh = self.past[Self::PAST - taken..].iter_mut();
        for (slot, four) in fresh.zip(pcm.chunks_exact(Self::DECIMATION)) {
            *slot = four.iter().map(|&s| f32::from(s)).sum();
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

/// Returns the share of the frame's power that lies in its two strongest telephone tones, by Goertzel's recursion.
fn tone_share(pcm: &[i16; FRAME_SAMPLES]) -> f32 {
    let step = TONES_HZ.map(|hz| 2.0 * (2.0 * PI * hz / 16_000.0).cos());
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

/// Returns the mean square of some samples, 1 for a full-scale square wave.
fn power(pcm: &[i16]) -> f32 {
    let sum: i64 = pcm.iter().map(|&s| i64::from(s) * i64::from(s)).sum();
    sum as f32 / (pcm.len().max(1) as f32 * 32_768.0 * 32_768.0)
}

fn db(power: f32) -> f32 {
    (10.0 * power.max(1e-20).log10()).max(LEVEL_FLOOR_DB)
}
