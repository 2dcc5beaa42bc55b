//! G722: 16 kHz wide-band speech as one byte per two samples (ITU-T G.722, mode 1: 64 kbit/s).
//!
//! Two quadrature mirror filters split speech at 4 kHz. Each half is coded as the difference to what its own past foretells,
//! with a step that follows its loudness: six bits for the lower half, two for the upper one. Encoder and decoder keep the
//! same past, so bytes must be decoded in the order in which they were encoded; after a loss both drift together again within
//! some 10 ms, as the past is forgotten on purpose. The split and its inverse delay by 22 samples, 1.4 ms, in all.
//!
//! The names of the parts, and all figures, are those of clauses 3.2 to 4.4 and 6.2 of the recommendation. All arithmetic is in
//! whole numbers and saturates as it says, so that the bytes are the same as any other implementation's.

/// Samples at 16 kHz that one byte stands for. RTP counts bytes: its clock rate for G722 is 8000 Hz (RFC 3551 §4.5.2).
pub const SAMPLES_PER_BYTE: usize = 2;

/// One half of the symmetric mirror filter's 24 taps that meets every other sample; the other half is this one backwards
/// (table 11/G.722).
const TAPS: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];
/// The decision levels of the lower band's quantiser (table 14/G.722).
const LEVELS_6: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219, 1339,
    1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// What each code of the lower band stands for, in steps (tables 17 and 18/G.722, `QQ6` with its sign). The first four are not
/// sent.
const VALUES_6: [i32; 64] = [
    -136, -136, -136, -136, -24_808, -21_904, -19_008, -16_704, -14_984, -13_512, -12_280, -11_192, -10_232, -9360,
    -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360,
    -1040, -728, 24_808, 21_904, 19_008, 16_704, 14_984, 13_512, 12_280, 11_192, 10_232, 9360, 8576, 7856, 7192, 6576,
    6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
/// What the upper four bits of the lower band's code stand for, by which both sides adapt (`QQ4` with its sign).
const VALUES_4: [i32; 16] =
    [0, -20_456, -12_896, -8968, -6288, -4240, -2584, -1200, 20_456, 12_896, 8968, 6288, 4240, 2584, 1200, 0];
/// How those change the logarithm of the lower band's step (`WL`).
const GROWTH_4: [i32; 16] = [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
/// The decision level of the upper band's quantiser (table 16/G.722).
const LEVEL_2: i32 = 564;
/// What each code of the upper band stands for, in steps (`QQ2` with its sign).
const VALUES_2: [i32; 4] = [-7408, -1616, 7408, 1616];
/// How those change the logarithm of the upper band's step (`WH`).
const GROWTH_2: [i32; 4] = [798, -214, 798, -214];
/// The antilogarithm: 2^(i/32), 11 bits after the point (`ILB`).
const ANTILOG: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896, 2960, 3025,
    3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// Encodes one stream.
#[derive(Clone, Debug)]
pub struct Encoder {
    low: Band,
    high: Band,
    past: Mirror,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// Makes one at the start of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self { low: Band::LOW, high: Band::HIGH, past: Mirror::new() }
    }

    /// Encodes pairs of samples at 16 kHz into as many bytes; the shorter of the two slices sets the count. An odd sample at the
    /// end is left out.
    ///
    /// # Real-time
    /// No heap, no panic; time is proportional to the block.
    pub fn encode(&mut self, pcm: &[i16], out: &mut [u8]) {
        for (byte, pair) in out.iter_mut().zip(pcm.chunks_exact(SAMPLES_PER_BYTE)) {
            let &[first, second] = pair else { return };
            let (b, a) = self.past.push(i32::from(first), i32::from(second));
            *byte = self.code((a + b) >> 14, (a - b) >> 14);
        }
    }

    /// Returns the byte of one sample of each band.
    fn code(&mut self, low: i32, high: i32) -> u8 {
        let difference = saturated(low - self.low.predicted());
        // One's complement makes the lowest value's magnitude fit.
        let magnitude = difference ^ (difference >> 31);
        let step = self.low.step;
        let level = LEVELS_6.partition_point(|level| magnitude >= (level * step) >> 12) as i32;
        let low_code = match (difference < 0, level) {
            (false, _) => 61 - level,
            (true, 0 | 1) => 63 - level,
            (true, _) => 33 - level,
        };
        self.low.adapt_low(low_code as usize >> 2);

        let difference = saturated(high - self.high.predicted());
        let magnitude = difference ^ (difference >> 31);
        let outer = magnitude >= (LEVEL_2 * self.high.step) >> 12;
        let high_code = match (difference < 0, outer) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        self.high.adapt_high(high_code);
        (high_code << 6) as u8 | low_code as u8
    }
}

/// Decodes one stream.
#[derive(Clone, Debug)]
pub struct Decoder {
    low: Band,
    high: Band,
    past: Mirror,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// Makes one at the start of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self { low: Band::LOW, high: Band::HIGH, past: Mirror::new() }
    }

    /// Decodes bytes into pairs of samples at 16 kHz; the shorter of the two slices sets the count.
    ///
    /// # Real-time
    /// No heap, no panic; time is proportional to the block.
    pub fn decode(&mut self, bytes: &[u8], out: &mut [i16]) {
        for (&byte, pair) in bytes.iter().zip(out.chunks_exact_mut(SAMPLES_PER_BYTE)) {
            let code = usize::from(byte & 0x3f);
            let low = self.low.predicted() + ((VALUES_6[code] * self.low.step) >> 15);
            self.low.adapt_low(code >> 2);
            let code = usize::from(byte >> 6);
            let high = self.high.predicted() + ((VALUES_2[code] * self.high.step) >> 15);
            self.high.adapt_high(code);
            let (low, high) = (low.clamp(-16_384, 16_383), high.clamp(-16_384, 16_383));
            let (second, first) = self.past.push(low + high, low - high);
            if let [a, b] = pair {
                (*a, *b) = (saturated(first >> 11) as i16, saturated(second >> 11) as i16);
            }
        }
    }
}

/// The past of a mirror filter: each phase's last twelve values, oldest first.
#[derive(Clone, Debug)]
struct Mirror {
    phases: [[i32; 12]; 2],
}

impl Mirror {
    const fn new() -> Self {
        Self { phases: [[0; 12]; 2] }
    }

    /// Takes the next pair. Returns what the phase of the first of it sums to, and that of the second.
    fn push(&mut self, first: i32, second: i32) -> (i32, i32) {
        let [a, b] = &mut self.phases;
        for (phase, value) in [(&mut *a, first), (&mut *b, second)] {
            phase.copy_within(1.., 0);
            phase[11] = value;
        }
        let forwards = a.iter().zip(TAPS).map(|(value, tap)| value * tap).sum();
        let backwards = b.iter().rev().zip(TAPS).map(|(value, tap)| value * tap).sum();
        (forwards, backwards)
    }
}

/// What both sides know of one band: its step, and what its past foretells.
#[derive(Clone, Debug)]
struct Band {
    /// The quantiser's step (`DET`), and its logarithm (`NB`).
    step: i32,
    log_step: i32,
    /// The last six differences, newest first (`D`), and the weights of the predictor's zeros (`B`).
    differences: [i32; 6],
    zeros: [i32; 6],
    /// The last two reconstructed values, newest first (`R`), and the weights of the predictor's poles (`A`).
    values: [i32; 2],
    poles: [i32; 2],
    /// Whether the last two partly reconstructed values (`P`) were negative, newest first.
    negative: [bool; 2],
    /// What the zeros foretell (`SZ`), and zeros and poles together (`S`).
    by_zeros: i32,
    predicted: i32,
}

impl Band {
    const LOW: Self = Self {
        step: 32,
        log_step: 0,
        differences: [0; 6],
        zeros: [0; 6],
        values: [0; 2],
        poles: [0; 2],
        negative: [false; 2],
        by_zeros: 0,
        predicted: 0,
    };
    const HIGH: Self = Self { step: 8, ..Self::LOW };

    const fn predicted(&self) -> i32 {
        self.predicted
    }

    /// Goes on by the upper four bits of the lower band's code.
    fn adapt_low(&mut self, code: usize) {
        let difference = (VALUES_4[code] * self.step) >> 15;
        self.log_step = (((self.log_step * 127) >> 7) + GROWTH_4[code]).clamp(0, 18_432);
        self.step = antilog(self.log_step, 8);
        self.predict(difference);
    }

    /// Goes on by the upper band's code.
    fn adapt_high(&mut self, code: usize) {
        let difference = (VALUES_2[code] * self.step) >> 15;
        self.log_step = (((self.log_step * 127) >> 7) + GROWTH_2[code]).clamp(0, 22_528);
        self.step = antilog(self.log_step, 10);
        self.predict(difference);
    }

    /// Takes the quantised difference, and foretells the next value (blocks 4L and 4H, clause 6.2.1.4).
    fn predict(&mut self, difference: i32) {
        let value = saturated(self.predicted + difference);
        let negative = saturated(self.by_zeros + difference) < 0;
        self.adapt_poles(negative);
        self.adapt_zeros(difference);

        self.differences.copy_within(..5, 1);
        self.differences[0] = difference;
        self.values = [value, self.values[0]];
        self.negative = [negative, self.negative[0]];

        let weigh = |(&value, &weight): (&i32, &i32)| (saturated(2 * value) * weight) >> 15;
        let by_poles = saturated(self.values.iter().zip(&self.poles).map(weigh).sum());
        self.by_zeros = saturated(self.differences.iter().zip(&self.zeros).map(weigh).sum());
        self.predicted = saturated(by_poles + self.by_zeros);
    }

    /// UPPOL2 and UPPOL1: the poles follow the signs of the last three values, within the triangle in which they are stable.
    fn adapt_poles(&mut self, negative: bool) {
        let [first, second] = self.poles;
        let [before, long_before] = self.negative;
        let slope = saturated(4 * first);
        let slope = if negative == before { saturated(-slope) } else { slope };
        let sway = if negative == long_before { 128 } else { -128 };
        let second = ((slope >> 7) + sway + ((second * 32_512) >> 15)).clamp(-12_288, 12_288);
        let sway = if negative == before { 192 } else { -192 };
        let limit = 15_360 - second;
        let first = saturated(sway + ((first * 32_640) >> 15)).clamp(-limit, limit);
        self.poles = [first, second];
    }

    /// UPZERO: a zero grows where its difference has the sign of the newest one.
    fn adapt_zeros(&mut self, difference: i32) {
        let sway = if difference == 0 { 0 } else { 128 };
        for (zero, past) in self.zeros.iter_mut().zip(&self.differences) {
            let sway = if (*past < 0) == (difference < 0) { sway } else { -sway };
            *zero = saturated(sway + ((*zero * 32_640) >> 15));
        }
    }
}

/// The step of a logarithm (SCALEL, SCALEH): `shift` places the band's largest.
const fn antilog(log: i32, shift: i32) -> i32 {
    let mantissa = ANTILOG[((log >> 6) & 31) as usize];
    let shift = shift - (log >> 11);
    (if shift < 0 { mantissa << -shift } else { mantissa >> shift }) << 2
}

fn saturated(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::TAU;

    /// Saw teeth of falling pitch and noise, from silence to full scale, by whole numbers only.
    fn signal() -> Vec<i16> {
        let mut seed = 1u32;
        (0..32_000i32)
            .map(|n| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = i32::from((seed >> 16) as u16 as i16);
                let loudness = [0, 200, 8000, 32_767][(n / 2000 % 4) as usize];
                let period = 40 + n / 400;
                let saw = n % period * 65_535 / period - 32_768;
                ((saw + noise) / 2 * loudness / 32_767) as i16
            })
            .collect()
    }

    fn encoded(pcm: &[i16]) -> Vec<u8> {
        let mut bytes = vec![0; pcm.len() / 2];
        Encoder::new().encode(pcm, &mut bytes);
        bytes
    }

    fn decoded(bytes: &[u8]) -> Vec<i16> {
        let mut pcm = vec![0; bytes.len() * 2];
        Decoder::new().decode(bytes, &mut pcm);
        pcm
    }

    /// FNV-1a.
    fn digest(bytes: impl IntoIterator<Item = u8>) -> u64 {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
    }

    fn tone(hz: f32, level: f32) -> Vec<i16> {
        (0..16_000).map(|n| (level * (TAU * hz * n as f32 / 16_000.0).sin()).round() as i16).collect()
    }

    /// How far the signal stands above what coding adds, in dB, after the delay of both filters.
    fn snr_db(pcm: &[i16]) -> f32 {
        const DELAY: usize = 22;
        let out = decoded(&encoded(pcm));
        let pairs = pcm.iter().zip(&out[DELAY..]).skip(2000).map(|(a, b)| (f32::from(*a), f32::from(*b)));
        let (signal, noise) = pairs.fold((0.0, 1e-3), |(s, n), (a, b)| (s + a * a, n + (a - b).powi(2)));
        10.0 * f32::log10(signal / noise)
    }

    #[test]
    fn bytes_and_samples_are_those_of_another_implementation() {
        // Of FFmpeg 5.1: `ffmpeg -f s16le -ar 16000 -ac 1 -i signal -c:a g722 -f g722 bytes`, and back.
        let bytes = encoded(&signal());
        assert_eq!(bytes[2000..2008], [221, 251, 60, 95, 244, 197, 132, 134]);
        assert_eq!(digest(bytes.iter().copied()), 0x0be6_4de3_da04_e55e);
        assert_eq!(digest(decoded(&bytes).into_iter().flat_map(i16::to_le_bytes)), 0x37df_6746_afe7_3a70);
    }

    #[test]
    fn what_goes_in_comes_out_in_either_band() {
        for (hz, least_db) in [(200.0, 30.0), (1000.0, 30.0), (3000.0, 25.0), (5000.0, 10.0), (6500.0, 10.0)] {
            let snr_db = snr_db(&tone(hz, 8000.0));
            assert!(snr_db > least_db, "{hz} Hz: {snr_db} dB");
        }
    }

    #[test]
    fn silence_is_silent_within_a_step() {
        assert!(decoded(&encoded(&[0; 3200])).iter().all(|sample| sample.abs() <= 4));
    }

    #[test]
    fn full_scale_saturates_and_never_wraps() {
        let square: Vec<i16> = (0..16_000).map(|n| if n / 40 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let out = decoded(&encoded(&square));
        // In the middle of each half period, past the ringing of the filters.
        for (n, sample) in out.iter().enumerate().skip(4000).filter(|(n, _)| (n + 18) % 40 == 20) {
            assert_eq!((n - 22) / 40 % 2 == 0, *sample > 0, "{n}: {sample}");
        }
    }

    #[test]
    fn blocks_of_any_length_are_one_stream() {
        let (pcm, mut rng) = (signal(), fastrand::Rng::with_seed(1));
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let (mut bytes, mut out) = (vec![0; pcm.len() / 2], vec![0; pcm.len()]);
        let mut at = 0;
        while at < bytes.len() {
            let len = rng.usize(0..300).min(bytes.len() - at);
            encoder.encode(&pcm[2 * at..2 * (at + len)], &mut bytes[at..at + len]);
            decoder.decode(&bytes[at..at + len], &mut out[2 * at..2 * (at + len)]);
            at += len;
        }
        assert_eq!(bytes, encoded(&pcm));
        assert_eq!(out, decoded(&bytes));
    }

    #[test]
    fn a_decoder_that_missed_some_finds_back() {
        let pcm = tone(600.0, 6000.0);
        let bytes = encoded(&pcm);
        let whole = decoded(&bytes);
        let mut decoder = Decoder::new();
        let mut out = vec![0; 320];
        for (n, packet) in bytes.chunks(160).enumerate().filter(|(n, _)| !(20..25).contains(n)) {
            decoder.decode(packet, &mut out);
            let off = out.iter().zip(&whole[n * 320..]).map(|(a, b)| i32::from(a - b).abs()).max().expect("samples");
            assert!(n < 30 || off < 400, "packet {n} is off by {off}");
        }
    }

    #[test]
    fn any_bytes_and_samples_do_no_harm() {
        let mut rng = fastrand::Rng::with_seed(2);
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let (mut bytes, mut pcm) = ([0u8; 160], [0i16; 320]);
        for round in 0..2000 {
            match round % 3 {
                0 => bytes.fill_with(|| rng.u8(..)),
                1 => bytes.fill(rng.u8(..)),
                _ => bytes.iter_mut().enumerate().for_each(|(n, byte)| *byte = if n % 2 == 0 { 0x84 } else { 0x3a }),
            }
            decoder.decode(&bytes, &mut pcm);
            pcm.fill_with(|| if rng.bool() { i16::MIN } else { rng.i16(..) });
            encoder.encode(&pcm, &mut bytes);
        }
        encoder.encode(&[1, 2, 3], &mut bytes[..1]);
        decoder.decode(&[1], &mut pcm[..1]);
    }
}
