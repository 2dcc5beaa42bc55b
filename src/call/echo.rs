//! How much of what comes from the caller is the agent itself: the echo's delay and loss, and whether a frame is explained by it.
//!
//! Both directions are reduced to 2 kHz, where a voice has most of its power, and compared there sample by sample over all
//! delays from 0 to 520 ms. Two memories of the same products serve two questions. The short one, 90 ms, says at once whether
//! the frame at hand is a copy of what was sent, also in the first word of a call: two voices correlate by 0.2 at most, an echo
//! by 0.8, one that a loudspeaker has coloured by 0.3 to 0.8. The long one, a second, finds the delay; then levels are enough to
//! tell a copy from a voice over it. Delays are counted in the streams' own samples, so that the network's jitter is none of
//! them.

use super::FRAME_16K;
use std::time::Duration;

/// Delays that are compared side by side, as many as fit in the vector registers of every target.
const LANES: usize = 16;
/// Samples of 20 ms at 2 kHz.
const FRAME: usize = 40;
/// Samples in a millisecond at 2 kHz.
const PER_MS: usize = 2;
/// Delays that are looked at, 0 to 520 ms in steps of half a millisecond: a mobile network and a Bluetooth loudspeaker together
/// take 400 to 500 ms (ITU-T G.114 has nothing good to say beyond).
const LAGS: usize = 1040;
/// How far the caller's stream may lag behind its own clock, 200 ms, before it counts as another stream: the longest wait for a
/// gap.
const SLACK: usize = 400;
/// What was sent and may still come back.
const PAST: usize = LAGS + SLACK + FRAME;

/// What the short memory keeps from one frame to the next: 90 ms in all, the time that an onset takes to be believed.
const SHORT: f32 = 0.8;
/// What the long memory keeps: 0.7 s.
const LONG: f32 = 0.97;
/// Frames after which the short memory is empty.
const SKIPPED_MAX: i32 = 50;
/// The share of a frame's power that must be a copy of what was sent for the frame to be an echo of it. Different voices of a
/// speech synthesiser have 0.23 at most in 95 of 100 frames.
const COPY_SHARE: f32 = 0.35;
/// The share in the long memory from which a delay is known; voices have 0.05 there.
const DELAY_SHARE: f32 = 0.12;
/// Frames with both sides active in a row that must find the same delay, 240 ms: what two voices have in common wanders.
const DELAY_FRAMES: u32 = 12;
/// By how many samples it may differ, 1 ms.
const DELAY_WANDERS: usize = 2;
/// The most by which an echo is louder than what was sent, as power: 6 dB.
const GAIN_MAX: f32 = 4.0;
/// The level of 2 kHz samples below which there is nothing to compare, as mean square: -66 dBov.
const FAINT: f32 = 270.0;
/// How far above the echo's usual level a frame may be and still be all echo, in dB: a loudspeaker plays some vowels louder than
/// others.
const MARGIN_DB: f32 = 6.0;
/// Samples around the delay in which the echo may be spread: 10 ms before and 30 ms after, a small room.
const SPREAD_BEFORE: usize = 20;
const SPREAD_AFTER: usize = 60;
/// Frames after an echo, 1 s of the agent's speech, in which a sound without anything below 1 kHz is taken for a part of it:
/// an "s" cannot be compared, and comes back with the vowels around it. A caller's own "s" has a vowel to follow.
const HISS_FRAMES: u32 = 50;
/// How fast the echo's level is learned, in dB a frame: quickly upwards, and a quarter of it downwards, so that it stands near
/// the loudest fifth of what came back.
const LEVEL_UP_DB: f32 = 1.0;
const LEVEL_DOWN_DB: f32 = 0.25;
/// How much of the shown loss each frame renews.
const LOSS_RENEWED: f32 = 0.05;
/// Return loss below which a loudspeaker plays into the microphone, in dB. A handset without any canceller has 30 to 40 dB, and
/// ITU-T G.131 asks for 46.
const SPEAKERPHONE_DB: f32 = 30.0;

/// How fast it is learned how good a copy the echo usually is, a frame: within a second upwards, and within four downwards, so
/// that a caller who speaks over it does not become what is usual.
const USUAL_UP: f32 = 0.02;
const USUAL_DOWN: f32 = 0.005;

/// How much of what is heard is a copy of what was sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likeness {
    /// The share of the power of the last 90 ms, 0.0 to 1.0.
    pub share: f32,
    /// What is usual for the echo on this line.
    pub usual: f32,
}

/// What is known of a call's echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// From a packet leaving until its sound has come back, with the packets' own 20 ms.
    pub delay: Duration,
    /// How much fainter it comes back, in dB, between 250 Hz and 1 kHz.
    pub return_loss_db: i16,
    /// Whether that is a loudspeaker.
    pub speakerphone: bool,
}

/// Products of the two directions, delay by delay, newest heaviest.
struct Memory {
    products: [f32; LAGS],
    sent: [f32; LAGS],
    heard: f32,
    keep: f32,
}

impl Memory {
    const fn new(keep: f32) -> Self {
        Self { products: [0.0; LAGS], sent: [0.0; LAGS], heard: 0.0, keep }
    }

    fn clear(&mut self) {
        *self = Self::new(self.keep);
    }

    /// Takes the products of one frame, `skipped` frames after the last.
    fn add(&mut self, products: &[f32; LAGS], sent: &[f32; LAGS], heard: f32, skipped: i32) {
        let keep = self.keep.powi(skipped + 1);
        for ((to, from), (power, more)) in self.products.iter_mut().zip(products).zip(self.sent.iter_mut().zip(sent)) {
            *to = keep * *to + from;
            *power = keep * *power + more;
        }
        self.heard = keep * self.heard + heard;
    }

    /// Returns the place where the most of what was heard is a copy of what was sent, and which share that is.
    fn best(&self) -> (usize, f32) {
        // Shares are compared as fractions: a thousand divisions would take as long as all the products.
        let (mut best, mut common, mut of) = (0, 0.0, 1.0);
        for (at, (product, sent)) in self.products.iter().zip(&self.sent).enumerate() {
            let copied = product * product;
            if copied * of > common * sent && sent * GAIN_MAX >= self.heard {
                (best, common, of) = (at, copied, *sent);
            }
        }
        (best, common / (self.heard * of).max(1.0))
    }
}

/// Reduces a stream to 2 kHz: means over two frames of samples that overlap, and less of what is below 250 Hz.
#[derive(Clone, Copy)]
struct Reduced {
    before: f32,
    low: f32,
}

impl Reduced {
    const NEW: Self = Self { before: 0.0, low: 0.0 };
    /// The pole of the high-pass.
    const POLE: f32 = 0.5;

    fn push(&mut self, samples: &[i16]) -> f32 {
        let sum: f32 = samples.iter().map(|&sample| f32::from(sample)).sum();
        let mean = sum / samples.len().max(1) as f32;
        let smooth = 0.5 * (mean + std::mem::replace(&mut self.before, mean));
        let high = smooth - self.low;
        self.low += (1.0 - Self::POLE) * high;
        high
    }
}

/// The echo of one call. About 24 kB, without heap.
pub struct Echo {
    reduced_sent: Reduced,
    reduced_heard: Reduced,
    /// What was sent, at 2 kHz, newest last.
    past: [f32; PAST],
    /// Samples sent and heard since the streams were put beside each other.
    sent: i64,
    heard: i64,
    /// Samples since something audible was sent.
    silent: usize,
    short: Memory,
    long: Memory,
    /// Frames since the last that was compared.
    skipped: i32,
    /// The place that the long memory has found last, and for how many frames.
    found: usize,
    frames: u32,
    /// The delay at which the caller's stream is compared, once known.
    lag: Option<usize>,
    /// Frames for which what cannot be compared belongs to the echo.
    hisses: u32,
    /// How much louder than what was sent the echo is at its loudest, in dB.
    level_db: f32,
    /// And on average.
    gain_db: f32,
    /// Which share of it is a copy, in the last frame that could be compared, and usually.
    share: Option<f32>,
    usual: f32,
    /// How far the caller's stream lags behind, on average, in samples.
    behind: f32,
}

impl Default for Echo {
    fn default() -> Self {
        Self::new()
    }
}

impl Echo {
    /// Makes one that knows of no echo.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            reduced_sent: Reduced::NEW,
            reduced_heard: Reduced::NEW,
            past: [0.0; PAST],
            sent: 0,
            heard: 0,
            silent: PAST,
            short: Memory::new(SHORT),
            long: Memory::new(LONG),
            skipped: 0,
            found: 0,
            frames: 0,
            lag: None,
            hisses: 0,
            level_db: 0.0,
            gain_db: 0.0,
            share: None,
            usual: 0.0,
            behind: 0.0,
        }
    }

    /// Takes what a packet to the caller holds: mono PCM at 8 kHz, of any length.
    ///
    /// # Real-time
    /// Bounded by the packet's length; moves 6 kB.
    pub fn sent(&mut self, pcm: &[i16]) {
        let mut fresh = [0.0; 4 * FRAME];
        let mut len = 0;
        for (slot, four) in fresh.iter_mut().zip(pcm.chunks_exact(4)) {
            *slot = self.reduced_sent.push(four);
            len += 1;
        }
        self.past.copy_within(len.., 0);
        let at = PAST - len;
        for (to, from) in self.past.iter_mut().skip(at).zip(fresh) {
            *to = from;
        }
        self.sent += len as i64;
        let audible = power(fresh.get(..len).unwrap_or_default()) > FAINT;
        self.silent = if audible { 0 } else { (self.silent + len).min(PAST) };
    }

    /// Takes 20 ms of the caller, mono PCM at 16 kHz; `concealed`: they were made up. Returns whether the echo explains them.
    ///
    /// # Real-time
    /// Constant time, 45,000 multiplications where both sides are audible and a few hundred otherwise.
    pub fn heard(&mut self, pcm: &[i16; FRAME_16K], concealed: bool) -> bool {
        let mut frame = [0.0; FRAME];
        for (slot, eight) in frame.iter_mut().zip(pcm.chunks_exact(FRAME_16K / FRAME)) {
            *slot = self.reduced_heard.push(eight);
        }
        self.heard += FRAME as i64;
        let mut behind = self.sent - self.heard;
        if behind.unsigned_abs() as usize > SLACK {
            // Another stream, or one that has paused: it is put beside ours anew.
            self.heard = self.sent;
            (self.frames, self.behind, behind) = (0, 0.0, 0);
            self.short.clear();
            self.long.clear();
            (self.lag, self.hisses) = (None, 0);
        }
        self.behind += 0.05 * (behind as f32 - self.behind);
        let power = power(&frame);
        let audible = self.silent < PAST;
        self.hisses = self.hisses.saturating_sub(u32::from(audible));
        self.share = None;
        if concealed || power < FAINT || !audible {
            self.skipped = (self.skipped + 1).min(SKIPPED_MAX);
            return audible && self.hisses > 0;
        }
        let explained = self.compare(&frame, power, behind);
        if explained {
            self.hisses = HISS_FRAMES;
        }
        explained
    }

    /// Returns what is known of the echo, once something is.
    #[must_use]
    pub fn estimate(&self) -> Option<Estimate> {
        let lag = self.lag?;
        let samples = (lag as f32 + self.behind).max(0.0);
        let loss = -self.gain_db;
        Some(Estimate {
            delay: Duration::from_millis(samples as u64 / PER_MS as u64),
            return_loss_db: loss.round() as i16,
            speakerphone: loss < SPEAKERPHONE_DB,
        })
    }

    /// Returns how much of the last frame is a copy of what was sent; `None` where it could not be compared, and before the echo
    /// of this line is known.
    #[must_use]
    pub fn likeness(&self) -> Option<Likeness> {
        let share = self.lag.and(self.share)?;
        Some(Likeness { share, usual: self.usual })
    }

    /// Compares an audible frame with all that was sent.
    fn compare(&mut self, frame: &[f32; FRAME], power: f32, behind: i64) -> bool {
        // Place `at` is where the frame stands with a delay of `LAGS - 1 - at`; what is not sent yet is no echo.
        let start = (PAST - (LAGS + FRAME - 1)) as i64 - behind;
        let start = start.clamp(0, PAST as i64) as usize;
        let mut window = [0.0; LAGS + FRAME];
        for (to, from) in window.iter_mut().zip(self.past.iter().skip(start)) {
            *to = *from;
        }
        let (mut products, mut sent) = ([0.0; LAGS], [0.0; LAGS]);
        for (start, products) in (0..).step_by(LANES).zip(products.chunks_exact_mut(LANES)) {
            let mut sum = [0.0; LANES];
            for (sample, window) in frame.iter().zip(window[start..].windows(LANES)) {
                for (sum, past) in sum.iter_mut().zip(window) {
                    *sum += sample * past;
                }
            }
            products.copy_from_slice(&sum);
        }
        let mut running: f32 = window.iter().take(FRAME).map(|past| past * past).sum();
        for (slot, (old, new)) in sent.iter_mut().zip(window.iter().zip(window.iter().skip(FRAME))) {
            *slot = running.max(0.0);
            running += new * new - old * old;
        }
        let heard = power * FRAME as f32;
        self.short.add(&products, &sent, heard, std::mem::take(&mut self.skipped));
        // What was said when nothing came back, or came when nothing was said, says nothing about the delay.
        self.long.add(&products, &sent, heard, 0);
        let share = self.short.best().1;
        self.follow_delay();
        let explained = self.explains(&sent, power, share >= COPY_SHARE);
        self.share = Some(share);
        if explained && self.lag.is_some() {
            let by = if share > self.usual { USUAL_UP } else { USUAL_DOWN };
            self.usual += by * (share - self.usual);
        }
        explained
    }

    fn follow_delay(&mut self) {
        let (at, share) = self.long.best();
        let same = share >= DELAY_SHARE && at.abs_diff(self.found) <= DELAY_WANDERS;
        self.frames = if same { self.frames.saturating_add(1) } else { 0 };
        self.found = at;
        if self.frames < DELAY_FRAMES {
            return;
        }
        let lag = LAGS - 1 - at;
        if self.lag.is_none() {
            let gain_db = db(self.long.heard / self.long.sent[at].max(1.0));
            (self.gain_db, self.level_db) = (gain_db, gain_db + LEVEL_UP_DB);
        }
        self.lag = Some(lag);
    }

    /// Whether the echo explains a frame of this power, and learns from it how loud the echo is.
    fn explains(&mut self, sent: &[f32; LAGS], power: f32, copied: bool) -> bool {
        let Some(lag) = self.lag else { return copied };
        let at = LAGS - 1 - lag;
        // A later place is a shorter delay.
        let around = at.saturating_sub(SPREAD_AFTER)..(at + SPREAD_BEFORE + 1).min(LAGS);
        let loudest = sent.get(around).unwrap_or_default().iter().fold(0.0f32, |most, sent| most.max(*sent));
        let loudest = loudest / FRAME as f32;
        if loudest < FAINT {
            return copied;
        }
        let gain_db = db(power / loudest);
        let explained = copied || gain_db < self.level_db + MARGIN_DB;
        // More than the echo is somebody else, but less cannot be.
        if gain_db < self.level_db {
            self.level_db -= LEVEL_DOWN_DB;
        } else if copied {
            self.level_db += LEVEL_UP_DB.min(gain_db - self.level_db);
        }
        if copied {
            self.gain_db += LOSS_RENEWED * (gain_db - self.gain_db);
        }
        explained
    }
}

fn power(samples: &[f32]) -> f32 {
    samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len().max(1) as f32
}

fn db(power: f32) -> f32 {
    10.0 * power.max(1e-9).log10()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::{PI, TAU};

    /// An "s" at 8 kHz: noise without anything below 2 kHz.
    fn hiss(millis: usize, peak: f32) -> Vec<f32> {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut past = [0.0f32; 4];
        let sample = |_| {
            past = [rng.f32() - 0.5, past[0], past[1], past[2]];
            peak * (past[0] - 3.0 * past[1] + 3.0 * past[2] - past[3]) / 4.0
        };
        (0..millis * 8).map(sample).collect()
    }

    #[test]
    fn a_hiss_amid_an_echo_belongs_to_it_and_one_amid_nothing_does_not() {
        let mut echo = Echo::new();
        let talk = voice(1, 110.0, 600);
        let hear = |echo: &mut Echo, sent: &[f32], heard: &[f32]| {
            let pcm: Vec<i16> = sent.iter().map(|value| *value as i16).collect();
            echo.sent(&pcm);
            let wide = std::array::from_fn(|n| heard.get(n / 2).map_or(0, |value| *value as i16));
            echo.heard(&wide, false)
        };
        let hiss = hiss(200, 400.0);
        let before: Vec<bool> =
            talk.chunks(160).zip(hiss.chunks(160)).map(|(sent, heard)| hear(&mut echo, sent, heard)).collect();
        assert!(before.iter().all(|explained| !explained), "nothing has come back so far: {before:?}");
        let quieter: Vec<f32> = talk.iter().map(|value| value * 0.3).collect();
        let copies: Vec<bool> =
            talk.chunks(160).zip(quieter.chunks(160)).map(|(sent, heard)| hear(&mut echo, sent, heard)).collect();
        assert!(copies.contains(&true));
        let amid: Vec<bool> =
            talk.chunks(160).zip(hiss.chunks(160)).map(|(sent, heard)| hear(&mut echo, sent, heard)).collect();
        assert!(amid.iter().all(|explained| *explained), "{amid:?}");
        for sent in talk.chunks(160).cycle().take(HISS_FRAMES as usize) {
            hear(&mut echo, sent, &[]);
        }
        assert!(!hear(&mut echo, &talk[..160], &hiss[..160]), "the loudspeaker is off");
    }

    /// A voice at 8 kHz: glottal pulses of a wavering pitch through three vowels in turn, in syllables with gaps between
    /// words, at about -18 dBov.
    fn voice(seed: u64, hz: f32, millis: usize) -> Vec<f32> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut phase, mut flow, mut past) = (0.0f32, 0.0f32, [[0.0f32; 2]; 3]);
        let (mut formants, mut gain, mut left) = ([700.0, 1200.0, 2500.0], 1.0, 0);
        let mut pcm: Vec<f32> = (0..millis * 8)
            .map(|n| {
                if left == 0 {
                    left = rng.usize(800..2400);
                    gain = if rng.u8(..5) == 0 { 0.01 } else { 0.4 + rng.f32() };
                    let vowels = [
                        [700.0, 1200.0, 2500.0],
                        [350.0, 2000.0, 2700.0],
                        [450.0, 900.0, 2400.0],
                        [550.0, 1700.0, 2500.0],
                    ];
                    formants = vowels[rng.usize(..4)];
                }
                left -= 1;
                let pitch = hz * (1.0 + 0.15 * (TAU * 0.7 * n as f32 / 8000.0 + seed as f32).sin());
                phase += pitch / 8000.0;
                let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
                phase %= 1.0;
                flow = 0.9 * flow + pulse + 0.02 * (rng.f32() - 0.5);
                let mut value = flow * gain;
                for (hz, past) in formants.iter().zip(&mut past) {
                    let r = (-PI * 90.0 / 8000.0f32).exp();
                    value += 2.0 * r * (TAU * hz / 8000.0).cos() * past[0] - r * r * past[1];
                    *past = [value, past[0]];
                }
                value
            })
            .collect();
        level(&mut pcm, -18.0);
        pcm
    }

    fn level(pcm: &mut [f32], db: f32) {
        let rms = (pcm.iter().map(|v| v * v).sum::<f32>() / pcm.len().max(1) as f32).sqrt().max(1e-9);
        let gain = 32_768.0 * 10f32.powf(db / 20.0) / rms;
        pcm.iter_mut().for_each(|v| *v *= gain);
    }

    /// A small loudspeaker in a room: little below 400 Hz, a resonance at 900, and a tail of 25 ms.
    fn coloured(pcm: &[f32]) -> Vec<f32> {
        let mut rng = fastrand::Rng::with_seed(9);
        let response: Vec<f32> = (0..200)
            .map(|n| match n {
                0 => 1.0,
                1..60 => 0.6 * (-(n as f32) / 12.0).exp() * (TAU * 900.0 * n as f32 / 8000.0).cos(),
                _ => 0.1 * (rng.f32() - 0.5) * (-(n as f32 - 60.0) / 60.0).exp(),
            })
            .collect();
        let mut before = 0.0;
        (0..pcm.len())
            .map(|n| {
                let heard: f32 = response.iter().take(n + 1).enumerate().map(|(k, gain)| gain * pcm[n - k]).sum();
                let high = heard - 0.75 * before;
                before = heard;
                high
            })
            .collect()
    }

    /// A line with an echo.
    struct Line {
        sent: Vec<f32>,
        back: Vec<f32>,
        delay: usize,
        gain: f32,
    }

    impl Line {
        fn new(sent: Vec<f32>, delay_ms: usize, loss_db: f32, colour: bool) -> Self {
            let mut back = if colour { coloured(&sent) } else { sent.clone() };
            level(&mut back, -18.0);
            Self { sent, back, delay: delay_ms * 8, gain: 10f32.powf(-loss_db / 20.0) }
        }

        /// Runs the line, with what the caller says beside the echo, over noise of about -60 dBov. Returns for each frame
        /// whether it was loud, and explained.
        fn run(&self, echo: &mut Echo, caller: &[f32], noise: f32) -> Vec<(bool, bool)> {
            let mut rng = fastrand::Rng::with_seed(5);
            (0..self.sent.len() / 160)
                .map(|slot| {
                    let pcm: Vec<i16> = self.sent[slot * 160..][..160].iter().map(|v| *v as i16).collect();
                    echo.sent(&pcm);
                    let mut heard = [0i16; FRAME_16K];
                    let mut sum = 0.0;
                    for n in 0..160 {
                        let at = slot * 160 + n;
                        let back = at.checked_sub(self.delay).map_or(0.0, |at| self.back[at] * self.gain);
                        let own = caller.get(at).copied().unwrap_or(0.0);
                        let value = back + own + noise * (rng.f32() - 0.5);
                        sum += value * value / 160.0;
                        let value = (value.clamp(-32_000.0, 32_000.0) / 16.0).round() * 16.0;
                        (heard[2 * n], heard[2 * n + 1]) = (value as i16, value as i16);
                    }
                    (db(sum) > 52.0, echo.heard(&heard, false))
                })
                .collect()
        }
    }

    /// Returns how many frames in a row were loud and not explained at most.
    fn longest(frames: &[(bool, bool)]) -> usize {
        frames.split(|frame| !frame.0 || frame.1).map(<[_]>::len).max().unwrap_or(0)
    }

    #[test]
    fn delay_and_loss_are_found_within_two_seconds_of_speech() {
        for (delay, loss, colour) in
            [(20, 6.0, false), (100, 6.0, true), (300, 12.0, false), (180, 20.0, true), (450, 24.0, false)]
        {
            let line = Line::new(voice(1, 110.0, 2000), delay, loss, colour);
            let mut echo = Echo::new();
            line.run(&mut echo, &[], 20.0);
            let found = echo.estimate().unwrap_or_else(|| panic!("{delay} ms, {loss} dB"));
            let ms = found.delay.as_millis() as usize;
            assert!(ms.abs_diff(delay) <= 5, "{ms} of {delay} ms");
            // What the loudspeaker does not play is lost, too.
            let most = if colour { 12.0 } else { 3.0 };
            let excess = f32::from(found.return_loss_db) - loss;
            assert!((-3.0..=most).contains(&excess), "{} of {loss} dB", found.return_loss_db);
            assert!(found.speakerphone);
        }
    }

    #[test]
    fn an_echo_is_explained_from_its_first_word_on() {
        for seed in 0..6 {
            for (delay, loss) in [(20, 6.0), (90, 6.0), (300, 6.0), (150, 15.0)] {
                for colour in [false, true] {
                    let hz = 90.0 + 25.0 * seed as f32;
                    let line = Line::new(voice(seed, hz, 4000), delay, loss, colour);
                    let frames = line.run(&mut Echo::new(), &[], 60.0);
                    let unexplained = longest(&frames);
                    assert!(unexplained <= 2, "{unexplained} frames: seed {seed}, {delay} ms, {loss} dB, {colour}");
                }
            }
        }
    }

    #[test]
    fn a_caller_over_the_echo_is_not_explained() {
        let mut late = Vec::new();
        for seed in 0..8 {
            for (loss, from) in [(20.0, 300), (12.0, 1500), (6.0, 2500)] {
                let line = Line::new(voice(seed, 100.0, 4500), 120, loss, seed % 2 == 0);
                let mut caller = vec![0.0; from * 8];
                let mut words = voice(seed + 50, 170.0, 1500);
                level(&mut words, -16.0);
                caller.extend(words);
                let frames = line.run(&mut Echo::new(), &caller, 20.0);
                let start = from / 20;
                let found = (start + 3..start + 75).find(|at| frames[at - 3..*at].iter().all(|frame| !frame.1));
                let found = found.unwrap_or_else(|| panic!("seed {seed}, {loss} dB: never"));
                late.push((found - start) * 20);
            }
        }
        late.sort_unstable();
        println!(
            "a caller over an echo is told apart after {} ms, at most {}",
            late[late.len() / 2],
            late[late.len() - 1]
        );
        assert!(late[late.len() / 2] <= 120 && late[late.len() - 1] <= 700, "{late:?}");
    }

    #[test]
    fn two_people_who_talk_at_once_are_no_echo() {
        for seed in 0..10 {
            let line = Line::new(voice(seed, 110.0, 6000), 0, 90.0, false);
            let caller = voice(seed + 20, 110.0 + 10.0 * seed as f32, 6000);
            let mut echo = Echo::new();
            let frames = line.run(&mut echo, &caller, 20.0);
            assert_eq!(echo.estimate(), None, "seed {seed}");
            let explained = frames.iter().filter(|frame| frame.0 && frame.1).count();
            assert!(explained * 20 <= frames.len(), "seed {seed}: {explained} of {}", frames.len());
        }
    }

    #[test]
    fn nothing_is_explained_while_the_agent_is_silent() {
        let mut echo = Echo::new();
        let line = Line::new(vec![0.0; 16_000], 50, 6.0, false);
        assert!(line.run(&mut echo, &voice(1, 120.0, 2000), 20.0).iter().all(|frame| !frame.1));
        assert_eq!(echo.estimate(), None);
    }

    #[test]
    fn an_echo_that_goes_away_hides_nobody() {
        let mut echo = Echo::new();
        Line::new(voice(1, 110.0, 3000), 100, 6.0, false).run(&mut echo, &[], 20.0);
        let frames = Line::new(voice(2, 110.0, 3000), 100, 90.0, false).run(&mut echo, &voice(9, 180.0, 3000), 20.0);
        let explained = frames[75..].iter().filter(|frame| frame.0 && frame.1).count();
        assert!(explained <= 25, "{explained} frames a second and a half later");
    }

    #[test]
    fn no_input_does_harm_and_a_stream_that_jumps_is_compared_anew() {
        let mut echo = Echo::new();
        let mut rng = fastrand::Rng::with_seed(4);
        for _ in 0..600 {
            for _ in 0..rng.usize(..4) {
                let pcm: Vec<i16> = (0..rng.usize(..481)).map(|_| rng.i16(..)).collect();
                echo.sent(&pcm);
            }
            let level = [0, 1, 300, i16::MAX][rng.usize(..4)];
            let frame = std::array::from_fn(|n| if n % 3 == 0 { level } else { -level });
            echo.heard(&frame, rng.u8(..9) == 0);
            if let Some(estimate) = echo.estimate() {
                assert!(estimate.delay <= Duration::from_millis(1000));
            }
        }
    }
}
