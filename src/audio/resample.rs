//! 8, 16 and 24 kHz to each other with less than 2 ms of delay, and every other rate by rubato, which lives here only.
//!
//! The live path's ratios (1:2, 2:1, 3:1) share one design: a linear-phase low-pass whose -6 dB point is 4 kHz, the Nyquist
//! rate of the slower side. Such a filter is an M-th band filter: of its M phases one is a single tap, so that
//! phase costs nothing and passes samples through unchanged. Pass band to 3.4 kHz and stop band from 4.6 kHz are mirror
//! images about 4 kHz, hence both have the same ripple. What aliases or images in between stays above 3.4 kHz, outside the
//! telephone band. A longer filter would only sharpen that outside, and each tap more is delay for the caller.

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Async, FixedAsync, Resampler, SincInterpolationParameters, SincInterpolationType, WindowFunction};
use std::f64::consts::PI;
use std::fmt;
use std::time::Duration;

/// Taps of each phase that is not a single tap. 32 of them reach 74 dB over the transition of 1.2 kHz by Kaiser's formula
/// (attenuation = 7.95 + 14.36 · transition · (length - 1)), and fill whole vectors.
const TAPS: usize = 32;
/// What a filter remembers of each phase's past.
const PAST: usize = TAPS - 1;
/// Samples of each phase taken at once: 20 ms at 8 kHz, so that a frame is one pass.
const BLOCK: usize = 160;
/// The shape of the Kaiser window: 0.1102 · (A - 8.7) for A = 74.7 dB.
const KAISER_BETA: f64 = 7.27;
/// Outputs computed side by side, as many as accumulators fit in sixteen vector registers of four.
const LANES: usize = 16;

/// One phase of the low-pass.
type Phase = [f32; TAPS];

/// 8 kHz to 16 kHz.
#[derive(Clone, Debug)]
pub struct Up2 {
    taps: Phase,
    /// The past, then the block at hand.
    stream: [f32; PAST + BLOCK],
}

impl Default for Up2 {
    fn default() -> Self {
        Self::new()
    }
}

impl Up2 {
    /// The delay, in samples at 16 kHz: 1.94 ms.
    pub const DELAY_SAMPLES: usize = TAPS - 1;

    /// Makes one whose past is silence.
    #[must_use]
    pub fn new() -> Self {
        // Half of the zeros stuffed in go missing from the sum: the gain of two makes up for them.
        Self { taps: phase(2, 0).map(|tap| 2.0 * tap), stream: [0.0; PAST + BLOCK] }
    }

    /// Forgets the past, as if made anew.
    pub fn reset(&mut self) {
        self.stream.fill(0.0);
    }

    /// Converts a block of any length: two samples out for each one in. Returns how many samples of `out` it wrote;
    /// what does not fit in `out` is lost.
    ///
    /// # Real-time
    /// No heap, no panic; time is proportional to the block.
    pub fn process(&mut self, input: &[i16], out: &mut [i16]) -> usize {
        let mut written = 0;
        for block in input.chunks(BLOCK) {
            // A caller who listens sends digital silence, and this is as good as its sum of products.
            if block.iter().all(|sample| *sample == 0) && self.stream[..PAST].iter().all(|sample| *sample == 0.0) {
                let pairs = block.len().min((out.len() - written) / 2);
                out[written..written + 2 * pairs].fill(0);
                written += 2 * pairs;
                continue;
            }
            let mut filtered = [0.0; BLOCK];
            for (slot, &sample) in self.stream[PAST..].iter_mut().zip(block) {
                *slot = f32::from(sample);
            }
            convolve(&self.taps, &self.stream, &mut filtered, block.len());
            let through = &self.stream[PAST - (TAPS / 2 - 1)..];
            let samples = filtered[..block.len()].iter().zip(through);
            for (pair, (&even, &odd)) in out[written..].chunks_exact_mut(2).zip(samples) {
                pair[0] = rounded(even);
                pair[1] = rounded(odd);
                written += 2;
            }
            self.stream.copy_within(block.len()..block.len() + PAST, 0);
        }
        written
    }
}

/// 16 kHz to 8 kHz.
pub type Down2 = Down<2>;

/// 24 kHz to 8 kHz.
pub type Down3 = Down<3>;

/// `M` times 8 kHz down to 8 kHz.
#[derive(Clone, Debug)]
pub struct Down<const M: usize> {
    /// The taps each phase of the input meets. Phase 0, the oldest of a group, meets the single tap, so its row is not used.
    taps: [Phase; M],
    /// Each phase's past, then its block at hand.
    streams: [[f32; PAST + BLOCK]; M],
    /// Samples of an unfinished group of `M` that are in `streams` already.
    carried: usize,
}

impl<const M: usize> Default for Down<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const M: usize> Down<M> {
    /// The delay, in samples at 8 kHz: 1.875 ms. The filter's centre lies `16 M - 1` input samples back, of which the `M - 1`
    /// that a group waits for its last sample are not delay but the lower rate itself.
    pub const DELAY_SAMPLES: usize = TAPS / 2 - 1;

    /// Makes one whose past is silence.
    #[must_use]
    pub fn new() -> Self {
        // The newest sample of a group meets the filter's first tap.
        let taps = std::array::from_fn(|p| phase(M, M - 1 - p));
        Self { taps, streams: [[0.0; PAST + BLOCK]; M], carried: 0 }
    }

    /// Forgets the past, as if made anew.
    pub fn reset(&mut self) {
        self.streams = [[0.0; PAST + BLOCK]; M];
        self.carried = 0;
    }

    /// Converts a block of any length: one sample out for each `M` in; what is left over is carried to the next block.
    /// Returns how many samples of `out` it wrote; what does not fit in `out` is lost.
    ///
    /// # Real-time
    /// No heap, no panic; time is proportional to the block.
    pub fn process(&mut self, mut input: &[i16], out: &mut [i16]) -> usize {
        let mut written = 0;
        while !input.is_empty() {
            let (block, rest) = input.split_at(input.len().min(M * BLOCK - self.carried));
            input = rest;
            let groups = self.take(block);
            let mut filtered = [0.0; BLOCK];
            self.filter(&mut filtered, groups);
            for (slot, &value) in out[written..].iter_mut().zip(&filtered[..groups]) {
                *slot = rounded(value);
                written += 1;
            }
            for stream in &mut self.streams {
                stream.copy_within(groups..(groups + PAST + 1).min(PAST + BLOCK), 0);
            }
        }
        written
    }

    /// Deals a block out to the phases. Returns how many groups are whole; `carried` tells what stands beyond them.
    fn take(&mut self, block: &[i16]) -> usize {
        let head = block.len().min((M - self.carried) % M);
        let (head, body) = block.split_at(head);
        let mut groups = 0;
        for &sample in head {
            self.streams[self.carried][PAST] = f32::from(sample);
            self.carried += 1;
        }
        if self.carried == M {
            (self.carried, groups) = (0, 1);
        }
        let whole = body.chunks_exact(M);
        let tail = whole.remainder();
        for (at, group) in (PAST + groups..).zip(whole) {
            for (stream, &sample) in self.streams.iter_mut().zip(group) {
                stream[at] = f32::from(sample);
            }
        }
        groups += body.len() / M;
        for &sample in tail {
            self.streams[self.carried][PAST + groups] = f32::from(sample);
            self.carried += 1;
        }
        groups
    }

    /// Adds up what the phases contribute to the first `groups` outputs.
    fn filter(&self, filtered: &mut [f32; BLOCK], groups: usize) {
        let through = &self.streams[0][PAST - (TAPS / 2 - 1)..];
        for (total, &sample) in filtered.iter_mut().zip(through) {
            *total = sample / M as f32;
        }
        let mut part = [0.0; BLOCK];
        for (taps, stream) in self.taps.iter().zip(&self.streams).skip(1) {
            convolve(taps, stream, &mut part, groups);
            for (total, part) in filtered.iter_mut().zip(&part) {
                *total += part;
            }
        }
    }
}

/// Filters the first `count` samples of a block. The outputs are summed side by side, so that no sum is reordered and every
/// target's vectors are used.
fn convolve(taps: &Phase, stream: &[f32; PAST + BLOCK], out: &mut [f32; BLOCK], count: usize) {
    for (start, out) in (0..count).step_by(LANES).zip(out.chunks_exact_mut(LANES)) {
        let mut sum = [0.0; LANES];
        for (tap, window) in taps.iter().zip(stream[start..].windows(LANES)) {
            for (sum, sample) in sum.iter_mut().zip(window) {
                *sum += tap * sample;
            }
        }
        out.copy_from_slice(&sum);
    }
}

/// Returns the taps `offset`, `offset + m`, ... of the M-th band low-pass with unit gain, last first, as `convolve` takes them.
fn phase(m: usize, offset: usize) -> Phase {
    let centre = (TAPS * m / 2 - 1) as f64;
    std::array::from_fn(|i| {
        let t = (offset + m * (TAPS - 1 - i)) as f64 - centre;
        let x = PI * t / m as f64;
        let sinc = if t == 0.0 { 1.0 } else { x.sin() / x };
        let span = (1.0 - (t / centre).powi(2)).max(0.0);
        (sinc * bessel_i0(KAISER_BETA * span.sqrt()) / bessel_i0(KAISER_BETA) / m as f64) as f32
    })
}

/// The modified Bessel function of order zero, by its power series.
fn bessel_i0(x: f64) -> f64 {
    // For x below 8, 30 terms leave less than 1e-16.
    (1..30)
        .fold((1.0, 1.0), |(sum, term), k| {
            let term = term * (x / 2.0 / f64::from(k)).powi(2);
            (sum + term, term)
        })
        .0
}

/// Rounds to the nearest sample and saturates.
fn rounded(value: f32) -> i16 {
    // 1.5 · 2^23: added to a small number, it leaves the nearest integer in the low bits. `round` is a call without SSE4.1.
    (value.clamp(-32_768.0, 32_767.0) + 12_582_912.0).to_bits() as i16
}

/// Any rate to any other, for voices off the media path; takes the short filters above where the ratio is theirs.
///
/// What comes out is aligned with what went in: the filter's start-up silence is dropped, so that a voice's first sound is
/// not late by it, and [`Self::finish`] hands out the end.
pub struct Converter {
    inner: Inner,
    from_hz: u32,
    to_hz: u32,
    /// Output samples of start-up silence.
    delay_samples: usize,
    /// Of those, how many are still to be dropped.
    to_drop: usize,
    /// Samples taken since the start or the last `finish`.
    taken: u64,
    /// Samples handed out since then.
    given: u64,
    scratch: Vec<i16>,
}

enum Inner {
    Same,
    Up2(Box<Up2>),
    Down2(Box<Down2>),
    Down3(Box<Down3>),
    Sinc(Box<Sinc>),
}

impl Converter {
    /// Makes a converter between two rates in Hz.
    ///
    /// # Errors
    /// [`UnsupportedRate`] where a rate is outside 4 to 192 kHz, the range of speech and of sound cards.
    pub fn new(from_hz: u32, to_hz: u32) -> Result<Self, UnsupportedRate> {
        let unsupported = UnsupportedRate { from_hz, to_hz };
        if [from_hz, to_hz].iter().any(|rate| !RATES_HZ.contains(rate)) {
            return Err(unsupported);
        }
        let (inner, delay_samples) = match (from_hz, to_hz) {
            _ if from_hz == to_hz => (Inner::Same, 0),
            _ if 2 * from_hz == to_hz => (Inner::Up2(Box::default()), Up2::DELAY_SAMPLES),
            _ if from_hz == 2 * to_hz => (Inner::Down2(Box::default()), Down2::DELAY_SAMPLES),
            _ if from_hz == 3 * to_hz => (Inner::Down3(Box::default()), Down3::DELAY_SAMPLES),
            _ => {
                let sinc = Sinc::new(from_hz, to_hz).ok_or(unsupported)?;
                let delay = sinc.delay_samples;
                (Inner::Sinc(Box::new(sinc)), delay)
            }
        };
        Ok(Self {
            inner,
            from_hz,
            to_hz,
            delay_samples,
            to_drop: delay_samples,
            taken: 0,
            given: 0,
            scratch: Vec::new(),
        })
    }

    /// Returns how much of what went in may still be held back.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_secs_f64(
            self.delay_samples as f64 / f64::from(self.to_hz) + self.chunk() as f64 / f64::from(self.from_hz),
        )
    }

    /// Converts a block of any length and appends what is ready to `out`.
    pub fn process(&mut self, input: &[i16], out: &mut Vec<i16>) {
        self.taken += input.len() as u64;
        self.convert(input);
        let dropped = self.to_drop.min(self.scratch.len());
        self.to_drop -= dropped;
        self.given += (self.scratch.len() - dropped) as u64;
        out.extend_from_slice(&self.scratch[dropped..]);
    }

    /// Appends what the filter still holds, so that as much time has come out as went in, and forgets the past.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        let (from, to) = (u64::from(self.from_hz), u64::from(self.to_hz));
        let owed = ((self.taken * to + from / 2) / from).saturating_sub(self.given) as usize;
        // Silence enough to push out the filter's own delay, one chunk, and what rounding leaves.
        let silence = self.delay().as_secs_f64() * f64::from(self.from_hz);
        self.convert(&vec![0; silence.ceil() as usize + self.from_hz.div_ceil(self.to_hz) as usize + 2 + self.chunk()]);
        let ready = self.scratch.get(self.to_drop..).unwrap_or_default();
        out.extend_from_slice(&ready[..owed.min(ready.len())]);
        self.reset();
    }

    /// Forgets the past without handing it out.
    pub fn reset(&mut self) {
        match &mut self.inner {
            Inner::Same => {}
            Inner::Up2(up) => up.reset(),
            Inner::Down2(down) => down.reset(),
            Inner::Down3(down) => down.reset(),
            Inner::Sinc(sinc) => sinc.reset(),
        }
        (self.to_drop, self.taken, self.given) = (self.delay_samples, 0, 0);
    }

    fn chunk(&self) -> usize {
        if let Inner::Sinc(sinc) = &self.inner { sinc.chunk } else { 0 }
    }

    /// Converts into `scratch`, start-up silence and all.
    fn convert(&mut self, input: &[i16]) {
        let scratch = &mut self.scratch;
        scratch.clear();
        let written = match &mut self.inner {
            Inner::Same => {
                scratch.extend_from_slice(input);
                scratch.len()
            }
            Inner::Up2(up) => {
                scratch.resize(input.len() * 2, 0);
                up.process(input, scratch)
            }
            Inner::Down2(down) => {
                scratch.resize(input.len() / 2 + 1, 0);
                down.process(input, scratch)
            }
            Inner::Down3(down) => {
                scratch.resize(input.len() / 3 + 1, 0);
                down.process(input, scratch)
            }
            Inner::Sinc(sinc) => {
                sinc.process(input, scratch);
                scratch.len()
            }
        };
        scratch.truncate(written);
    }
}

/// The sample rates taken, in Hz.
const RATES_HZ: std::ops::RangeInclusive<u32> = 4_000..=192_000;

/// rubato's sinc interpolation, at the length that spends 3 ms where the slower rate is 8 kHz.
struct Sinc {
    resampler: Async<f32>,
    /// Output samples of start-up silence, to the nearest.
    delay_samples: usize,
    /// Samples it takes at once.
    chunk: usize,
    /// What waits for a whole chunk.
    pending: Vec<f32>,
    converted: Vec<f32>,
}

/// Zero crossings of the sinc, at the slower rate. With a Blackman window they reach 74 dB over the transition of 1.2 kHz.
const SINC_CROSSINGS: usize = 48;
/// Phases of the sinc that are kept at most. Rates whose ratio needs no more are met exactly; 11.025 to 8 kHz needs 320.
const SINC_PHASES_MAX: u32 = 640;
/// Phases where the ratio needs more than that and the value is interpolated between them (rubato's default).
const SINC_PHASES_INTERPOLATED: usize = 128;
/// Chunks in a second: 2.5 ms each, so that little waits for its chunk.
const CHUNKS_PER_SECOND: u32 = 400;

impl Sinc {
    fn new(from_hz: u32, to_hz: u32) -> Option<Self> {
        let ratio = f64::from(to_hz) / f64::from(from_hz);
        let length = ((SINC_CROSSINGS as f64 / ratio.min(1.0)).ceil() as usize).next_multiple_of(8);
        let phases = to_hz / greatest_common_divisor(from_hz, to_hz);
        let (phases, interpolation) = if phases <= SINC_PHASES_MAX {
            (phases as usize, SincInterpolationType::Nearest)
        } else {
            (SINC_PHASES_INTERPOLATED, SincInterpolationType::Cubic)
        };
        let parameters = SincInterpolationParameters::new(length, WindowFunction::Blackman)
            .f_cutoff(1.0)
            .oversampling_factor(phases)
            .interpolation(interpolation);
        let chunk = (from_hz / CHUNKS_PER_SECOND) as usize;
        let resampler = Async::new_sinc(ratio, 1.0, &parameters, chunk, 1, FixedAsync::Input).ok()?;
        let converted = vec![0.0; resampler.output_frames_max()];
        // Measured on rubato 5, to a microsecond: its first output lies one step after `length / 2` samples before the first
        // input, and its finest step later; `output_delay` leaves both out.
        let delay_samples = ((length as f64 / 2.0 - 1.0 / phases as f64) * ratio - 1.0).round() as usize;
        Some(Self { resampler, delay_samples, chunk, pending: Vec::with_capacity(chunk), converted })
    }

    fn reset(&mut self) {
        self.resampler.reset();
        self.pending.clear();
    }

    fn process(&mut self, input: &[i16], out: &mut Vec<i16>) {
        for &sample in input {
            self.pending.push(f32::from(sample));
            if self.pending.len() == self.chunk {
                self.process_chunk(out);
                self.pending.clear();
            }
        }
    }

    fn process_chunk(&mut self, out: &mut Vec<i16>) {
        let room = self.converted.len();
        let input = SequentialSlice::new(&self.pending, 1, self.chunk).expect("one chunk is pending");
        let mut output = SequentialSlice::new_mut(&mut self.converted, 1, room).expect("one channel fills its buffer");
        let (_, made) = self
            .resampler
            .process_into_buffer(&input, &mut output, None)
            .expect("a whole chunk goes in, and the buffer holds what comes out at most");
        out.extend(self.converted[..made].iter().map(|&value| rounded(value)));
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// A pair of sample rates that cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsupportedRate {
    /// The rate given, in Hz.
    pub from_hz: u32,
    /// The rate wanted, in Hz.
    pub to_hz: u32,
}

impl fmt::Display for UnsupportedRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot convert audio from {} Hz to {} Hz", self.from_hz, self.to_hz)
    }
}

impl std::error::Error for UnsupportedRate {}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hz: f64, rate_hz: f64, amplitude: f64, samples: usize) -> Vec<i16> {
        (0..samples).map(|n| (amplitude * (2.0 * PI * hz * n as f64 / rate_hz).sin()).round() as i16).collect()
    }

    /// Amplitude and phase of the component at `hz`, by a Blackman-windowed projection.
    fn component(pcm: &[i16], hz: f64, rate_hz: f64) -> (f64, f64) {
        let last = (pcm.len() - 1) as f64;
        let (mut re, mut im, mut weight) = (0.0, 0.0, 0.0);
        for (n, &sample) in pcm.iter().enumerate() {
            let x = 2.0 * PI * n as f64 / last;
            let window = 0.42 - 0.5 * x.cos() + 0.08 * (2.0 * x).cos();
            let angle = 2.0 * PI * hz * n as f64 / rate_hz;
            re += window * f64::from(sample) * angle.cos();
            im -= window * f64::from(sample) * angle.sin();
            weight += window;
        }
        (2.0 * (re * re + im * im).sqrt() / weight, im.atan2(re))
    }

    /// Everything but the component at `hz`, relative to it, in dB (THD+N by a least-squares fit).
    fn residue_db(pcm: &[i16], hz: f64, rate_hz: f64) -> f64 {
        let basis = |n: usize| (2.0 * PI * hz * n as f64 / rate_hz).sin_cos();
        let (mut ss, mut cc, mut sc, mut ys, mut yc) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (n, &y) in pcm.iter().enumerate() {
            let (s, c) = basis(n);
            (ss, cc, sc) = (ss + s * s, cc + c * c, sc + s * c);
            (ys, yc) = (ys + f64::from(y) * s, yc + f64::from(y) * c);
        }
        let det = ss * cc - sc * sc;
        let (a, b) = ((ys * cc - yc * sc) / det, (yc * ss - ys * sc) / det);
        let (mut signal, mut rest) = (0.0, 0.0);
        for (n, &y) in pcm.iter().enumerate() {
            let (s, c) = basis(n);
            let fit = a * s + b * c;
            signal += fit * fit;
            rest += (f64::from(y) - fit).powi(2);
        }
        10.0 * (rest / signal).log10()
    }

    fn up2(input: &[i16]) -> Vec<i16> {
        let mut out = vec![0; input.len() * 2];
        assert_eq!(Up2::new().process(input, &mut out), out.len());
        out
    }

    fn down<const M: usize>(input: &[i16]) -> Vec<i16> {
        let mut out = vec![0; input.len() / M];
        assert_eq!(Down::<M>::new().process(input, &mut out), out.len());
        out
    }

    /// Gain in dB of a converter at `hz` seen at `image_hz` of its output, once it has settled.
    fn gain_db(convert: impl Fn(&[i16]) -> Vec<i16>, hz: f64, from_hz: f64, image_hz: f64, to_hz: f64) -> f64 {
        let amplitude = 20_000.0;
        let out = convert(&sine(hz, from_hz, amplitude, from_hz as usize / 2));
        20.0 * (component(&out[200..], image_hz, to_hz).0 / amplitude).max(1e-9).log10()
    }

    fn telephone_band() -> impl Iterator<Item = f64> {
        (0..=31).map(|step| 300.0 + 100.0 * f64::from(step))
    }

    #[test]
    fn the_telephone_band_passes_flat() {
        for hz in telephone_band() {
            let gains = [
                gain_db(up2, hz, 8e3, hz, 16e3),
                gain_db(down::<2>, hz, 16e3, hz, 8e3),
                gain_db(down::<3>, hz, 24e3, hz, 8e3),
            ];
            assert!(gains.iter().all(|gain| gain.abs() < 0.005), "{hz} Hz: {gains:?} dB");
        }
    }

    #[test]
    fn images_and_aliases_beyond_4600_hz_are_70_db_down() {
        for hz in telephone_band() {
            // At 16 kHz the image of f lies at 8 kHz - f.
            let image = gain_db(up2, hz, 8e3, 8e3 - hz, 16e3);
            assert!(image < -73.0, "image of {hz} Hz: {image} dB");
        }
        for step in 0..34 {
            let hz = 4600.0 + 100.0 * f64::from(step);
            let alias = gain_db(down::<2>, hz, 16e3, 8e3 - hz, 8e3);
            assert!(alias < -73.0, "alias of {hz} Hz: {alias} dB");
        }
        for step in 0..73 {
            let hz = 4600.0 + 100.0 * f64::from(step);
            let folded = (hz - 8e3 * (hz / 8e3).round()).abs();
            let alias = gain_db(down::<3>, hz, 24e3, folded.max(1.0), 8e3);
            assert!(alias < -73.0, "alias of {hz} Hz: {alias} dB");
        }
    }

    #[test]
    fn the_delay_is_as_stated_and_below_3_ms() {
        let mut impulse = vec![0; 480];
        impulse[240] = 16_384;
        let peak = |pcm: &[i16]| pcm.iter().enumerate().max_by_key(|(_, s)| i32::from(**s).abs()).expect("not empty").0;
        assert_eq!(peak(&up2(&impulse)), 480 + Up2::DELAY_SAMPLES);
        assert_eq!(peak(&down::<2>(&impulse)), 120 + Down2::DELAY_SAMPLES);
        assert_eq!(peak(&down::<3>(&impulse)), 80 + Down3::DELAY_SAMPLES);
        const { assert!(Up2::DELAY_SAMPLES < 16 * 3 && Down2::DELAY_SAMPLES < 8 * 3 && Down3::DELAY_SAMPLES < 8 * 3) }
    }

    #[test]
    fn the_delay_is_the_same_at_every_frequency() {
        for hz in [300.0, 1000.0, 3400.0] {
            let late = Down3::DELAY_SAMPLES as f64 / 8e3;
            let out = down::<3>(&sine(hz, 24e3, 20_000.0, 24_000));
            let expected = -PI / 2.0 + 2.0 * PI * hz * (200.0 / 8e3 - late);
            let error = (component(&out[200..], hz, 8e3).1 - expected).rem_euclid(2.0 * PI);
            assert!(error.min(2.0 * PI - error) < 1e-3, "{hz} Hz: {error}");
        }
    }

    #[test]
    fn distortion_and_noise_are_those_of_16_bits() {
        for hz in [1000.0, 3300.0] {
            let up = residue_db(&up2(&sine(hz, 8e3, 30_000.0, 8000))[400..], hz, 16e3);
            let halved = residue_db(&down::<2>(&sine(hz, 16e3, 30_000.0, 16_000))[200..], hz, 8e3);
            let third = residue_db(&down::<3>(&sine(hz, 24e3, 30_000.0, 24_000))[200..], hz, 8e3);
            assert!(up < -73.0 && halved < -90.0 && third < -90.0, "{hz} Hz: {up} {halved} {third} dB");
        }
    }

    #[test]
    fn the_cut_into_blocks_changes_nothing() {
        let mut random = fastrand::Rng::with_seed(7);
        let input: Vec<i16> = (0..9000).map(|_| random.i16(..)).collect();
        let (up, two, three) = (up2(&input), down::<2>(&input), down::<3>(&input));
        let (mut up_cut, mut two_cut, mut three_cut) = (Vec::new(), Vec::new(), Vec::new());
        let (mut a, mut b, mut c) = (Up2::new(), Down2::new(), Down3::new());
        let mut rest = &input[..];
        while !rest.is_empty() {
            let (block, after) = rest.split_at(random.usize(..=rest.len().min(700)));
            rest = after;
            let mut out = [0; 1400];
            let n = a.process(block, &mut out);
            assert_eq!(n, block.len() * 2);
            up_cut.extend_from_slice(&out[..n]);
            let n = b.process(block, &mut out);
            two_cut.extend_from_slice(&out[..n]);
            let n = c.process(block, &mut out);
            three_cut.extend_from_slice(&out[..n]);
        }
        assert!(up_cut == up && two_cut == two && three_cut == three);
        assert_eq!((two.len(), three.len()), (4500, 3000));
    }

    #[test]
    fn sound_after_silence_is_as_after_nothing() {
        let mut random = fastrand::Rng::with_seed(9);
        let loud: Vec<i16> = (0..333).map(|_| random.i16(..)).collect();
        let up = |filter: &mut Up2, input: &[i16]| {
            let mut out = vec![7; 2 * input.len()];
            assert_eq!(filter.process(input, &mut out), out.len());
            out
        };
        let (mut first, mut later) = (Up2::new(), Up2::new());
        up(&mut later, &loud);
        let fading = up(&mut later, &[0; 31]);
        assert!(fading.iter().any(|sample| *sample != 0), "the filter's past is no silence");
        for block in [1, 15, 16, 160, 161, 500] {
            assert_eq!(up(&mut later, &vec![0; block]), vec![0; 2 * block]);
        }
        assert_eq!(up(&mut later, &loud), up(&mut first, &loud));
    }

    #[test]
    fn overshoot_saturates() {
        // A full-scale square wave overshoots any sharp low-pass.
        let square: Vec<i16> = (0..960).map(|n| if n / 12 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        for out in [up2(&square), down::<2>(&square), down::<3>(&square)] {
            assert!(out.contains(&i16::MAX) && out.contains(&i16::MIN));
            // Without saturation a peak would wrap to the other sign between two samples of its own.
            assert!(out[64..].windows(3).all(|w| !(w[0] > 20_000 && w[1] < -20_000 && w[2] > 20_000)));
        }
    }

    #[test]
    fn reset_forgets_the_past() {
        let loud = sine(1000.0, 24e3, 30_000.0, 1001);
        let mut used = Down3::new();
        used.process(&loud, &mut [0; 400]);
        used.reset();
        let (mut again, mut fresh) = ([0; 100], [0; 100]);
        used.process(&loud[..300], &mut again);
        Down3::new().process(&loud[..300], &mut fresh);
        assert_eq!(again, fresh);
    }

    #[test]
    fn a_short_output_loses_samples_and_nothing_else() {
        assert_eq!(Up2::new().process(&[1; 10], &mut [0; 5]), 4);
        assert_eq!(Down3::new().process(&[1; 30], &mut [0; 4]), 4);
        assert_eq!(Up2::new().process(&[], &mut []), 0);
    }

    const VOICE_RATES: [(u32, u32); 9] = [
        (22_050, 8000),
        (44_100, 8000),
        (48_000, 8000),
        (11_025, 8000),
        (16_000, 24_000),
        (24_000, 16_000),
        (24_000, 8000),
        (8000, 16_000),
        (32_000, 8000),
    ];

    fn converted(from_hz: u32, to_hz: u32, input: &[i16], block: usize) -> Vec<i16> {
        let mut converter = Converter::new(from_hz, to_hz).expect("a voice's rates");
        let mut out = Vec::new();
        for block in input.chunks(block) {
            converter.process(block, &mut out);
        }
        converter.finish(&mut out);
        out
    }

    #[test]
    fn any_voice_comes_out_aligned_and_of_the_same_duration() {
        for (from_hz, to_hz) in VOICE_RATES {
            for hz in [300.0, 1000.0, 3400.0] {
                let input = sine(hz, f64::from(from_hz), 20_000.0, from_hz as usize);
                let out = converted(from_hz, to_hz, &input, 441);
                assert_eq!(out.len(), to_hz as usize, "{from_hz} to {to_hz}");
                let skipped = to_hz as usize / 4;
                let rate = f64::from(to_hz);
                let (amplitude, phase) = component(&out[skipped..3 * skipped], hz, rate);
                let gain = 20.0 * (amplitude / 20_000.0).log10();
                assert!(gain.abs() < 0.1, "{from_hz} to {to_hz} at {hz} Hz: {gain} dB");
                let expected = -PI / 2.0 + 2.0 * PI * hz * skipped as f64 / rate;
                let error = (phase - expected + PI).rem_euclid(2.0 * PI) - PI;
                let late_us = -error / (2.0 * PI * hz) * 1e6;
                assert!(late_us.abs() < 65.0, "{from_hz} to {to_hz} at {hz} Hz: {late_us} us late");
            }
        }
    }

    #[test]
    fn any_voice_is_free_of_aliases() {
        for (from_hz, to_hz) in VOICE_RATES.into_iter().filter(|(from, to)| from > to) {
            let nyquist = f64::from(to_hz) / 2.0;
            for factor in [1.15, 1.3, 1.5] {
                if nyquist * factor < f64::from(from_hz) / 2.0 {
                    let out =
                        converted(from_hz, to_hz, &sine(nyquist * factor, f64::from(from_hz), 20_000.0, 20_000), 441);
                    let settled = &out[200..out.len() - 200];
                    let power: f64 = settled.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / settled.len() as f64;
                    let level = 10.0 * (power / 2e8).max(1e-12).log10();
                    assert!(level < -69.0, "{from_hz} to {to_hz} at {factor} of Nyquist: {level} dB");
                }
            }
        }
    }

    #[test]
    fn no_voice_is_held_back_for_long() {
        for (from_hz, to_hz) in VOICE_RATES {
            let delay = Converter::new(from_hz, to_hz).expect("a voice's rates").delay();
            assert!(delay < Duration::from_micros(5700), "{from_hz} to {to_hz}: {delay:?}");
        }
    }

    #[test]
    fn a_converter_begins_anew_after_the_end() {
        let input = sine(700.0, 22_050.0, 9000.0, 5000);
        let mut converter = Converter::new(22_050, 8000).expect("a voice's rates");
        let (mut first, mut second) = (Vec::new(), Vec::new());
        converter.process(&input, &mut first);
        converter.finish(&mut first);
        converter.process(&input, &mut second);
        converter.finish(&mut second);
        assert_eq!(first, second);
    }

    #[test]
    fn absurd_rates_are_refused() {
        for (from_hz, to_hz) in [(0, 8000), (8000, 0), (8000, 1_000_000), (u32::MAX, 8000)] {
            assert_eq!(Converter::new(from_hz, to_hz).err(), Some(UnsupportedRate { from_hz, to_hz }));
        }
    }
}
