//! PCMU and PCMA: 8 kHz telephone speech as one byte per sample (ITU-T G.711, bit-exact to ITU-T G.191).

/// A G.711 companding law, under the name RTP gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// µ-law: North America and Japan.
    Pcmu,
    /// A-law: everywhere else.
    Pcma,
}

impl Codec {
    /// Returns the static RTP payload type (RFC 3551 table 4).
    #[must_use]
    pub const fn rtp_payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
        }
    }

    /// Returns the encoding name used in `a=rtpmap` (RFC 3551 §4.5.14).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }

    /// Returns the byte that stands for silence: the code of a zero sample.
    #[must_use]
    pub const fn silence(self) -> u8 {
        match self {
            Self::Pcmu => 0xff,
            Self::Pcma => 0xd5,
        }
    }

    /// Encodes linear samples into as many bytes; the shorter of the two slices sets the count.
    ///
    /// # Real-time
    /// No heap, no branch per sample, no panic.
    pub fn encode(self, pcm: &[i16], out: &mut [u8]) {
        match self {
            Self::Pcmu => encode_ulaw(pcm, out),
            Self::Pcma => encode_alaw(pcm, out),
        }
    }

    /// Decodes bytes into as many linear samples; the shorter of the two slices sets the count.
    ///
    /// # Real-time
    /// No heap, no branch per sample, no panic.
    pub fn decode(self, bytes: &[u8], out: &mut [i16]) {
        match self {
            Self::Pcmu => decode_ulaw(bytes, out),
            Self::Pcma => decode_alaw(bytes, out),
        }
    }
}

/// Encodes 16-bit samples as µ-law; the shorter slice sets the count.
///
/// # Real-time
/// As [`Codec::encode`].
pub fn encode_ulaw(pcm: &[i16], out: &mut [u8]) {
    for (byte, &sample) in out.iter_mut().zip(pcm) {
        *byte = ulaw_of(sample);
    }
}

/// Encodes 16-bit samples as A-law; the shorter slice sets the count.
///
/// # Real-time
/// As [`Codec::encode`].
pub fn encode_alaw(pcm: &[i16], out: &mut [u8]) {
    for (byte, &sample) in out.iter_mut().zip(pcm) {
        *byte = alaw_of(sample);
    }
}

/// Decodes µ-law bytes to 16-bit samples; the shorter slice sets the count.
///
/// # Real-time
/// As [`Codec::decode`].
pub fn decode_ulaw(bytes: &[u8], out: &mut [i16]) {
    for (sample, &byte) in out.iter_mut().zip(bytes) {
        *sample = linear_of_ulaw(byte);
    }
}

/// Decodes A-law bytes to 16-bit samples; the shorter slice sets the count.
///
/// # Real-time
/// As [`Codec::decode`].
pub fn decode_alaw(bytes: &[u8], out: &mut [i16]) {
    for (sample, &byte) in out.iter_mut().zip(bytes) {
        *sample = linear_of_alaw(byte);
    }
}

// Both laws are a small floating-point format: three bits of exponent (the segment), four of mantissa. An IEEE single
// holds the same seven bits side by side, so a conversion to `f32` does the segment search, for any number of lanes.

/// How far right the upper seven bits of a 14-bit number stand in an `f32`: 23 mantissa bits less the law's four.
const SEGMENT_SHIFT: u32 = 19;
/// The `f32` exponent field of 2^0, where the law's segment stands.
const EXPONENT_ZERO: u32 = 127 << 4;
/// What µ-law adds to a 14-bit magnitude, so that each segment begins at a power of two (G.711 §3.1, table 2a).
const ULAW_BIAS: i32 = 33;
/// The largest biased 14-bit magnitude of µ-law; what is beyond is clipped.
const ULAW_MAX: i32 = 0x1fff;

/// Returns the µ-law code of one 16-bit sample.
///
/// The two lowest bits are dropped, as the law is defined on 14; a negative sample is complemented, not negated, so that
/// both signs round towards minus infinity, as in G.191 `ulaw_compress`.
#[must_use]
#[inline]
pub fn ulaw_of(sample: i16) -> u8 {
    let sign = sample >> 15;
    let magnitude = (i32::from((sample ^ sign) >> 2) + ULAW_BIAS).min(ULAW_MAX);
    // The lowest segment begins at 32 = 2^5.
    let code = ((magnitude as f32).to_bits() >> SEGMENT_SHIFT) - (EXPONENT_ZERO + (5 << 4));
    !(code as u8 | (sign as u8 & 0x80))
}

/// Returns the A-law code of one 16-bit sample.
///
/// The law is defined on 13 bits, of which 12 are magnitude; a negative sample is complemented, as in G.191
/// `alaw_compress`.
#[must_use]
#[inline]
pub fn alaw_of(sample: i16) -> u8 {
    let sign = sample >> 15;
    let magnitude = i32::from((sample ^ sign) >> 4);
    // The first 16 steps have no leading one to drop; from 16 = 2^4 on, segment 1 begins.
    let float_code = ((magnitude as f32).to_bits() >> SEGMENT_SHIFT).wrapping_sub(EXPONENT_ZERO + (3 << 4));
    let code = if magnitude < 16 { magnitude as u32 } else { float_code };
    (code as u8 | (!sign as u8 & 0x80)) ^ ALAW_EVEN_BITS
}

/// The bits A-law inverts on the wire, so that silence is not a row of zeros (G.711 §3.1, table 1a note 2).
const ALAW_EVEN_BITS: u8 = 0x55;
/// The `f32` exponent field of 2^7: the first segment's magnitudes begin at 128 in µ-law, 256 (segment 1) in A-law.
const EXPONENT_SEVEN: u32 = (127 + 7) << 23;
/// Half a step, so that a decoded sample lies in the middle of what its code covers.
const HALF_STEP: u32 = 1 << (SEGMENT_SHIFT - 1);
/// Added to an integer below 2^23 in `f32`, leaves that integer in the low bits.
const INTEGER_IN_LOW_BITS: f32 = 8_388_608.0;

/// Returns the 16-bit sample a µ-law code stands for.
#[must_use]
#[inline]
pub fn linear_of_ulaw(code: u8) -> i16 {
    let bits = u32::from(!code);
    let magnitude = magnitude_of(bits & 0x7f) - 4 * ULAW_BIAS as i16;
    let sign = -((bits >> 7) as i16);
    (magnitude ^ sign) - sign
}

/// Returns the 16-bit sample an A-law code stands for.
#[must_use]
#[inline]
pub fn linear_of_alaw(code: u8) -> i16 {
    let bits = u32::from(code ^ ALAW_EVEN_BITS);
    let code = bits & 0x7f;
    // Segment 0 is segment 1 without the leading one, which is worth 256.
    let magnitude = if code < 16 { magnitude_of(code | 16) - 256 } else { magnitude_of(code) };
    let sign = (bits >> 7) as i16 - 1;
    (magnitude ^ sign) - sign
}

/// Returns the middle of a code's step, with the leading one that the law leaves out: 132 to 32,256.
#[inline]
fn magnitude_of(code: u32) -> i16 {
    let float = f32::from_bits((code << SEGMENT_SHIFT) + (EXPONENT_SEVEN + HALF_STEP));
    (float + INTEGER_IN_LOW_BITS).to_bits() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decision values of µ-law on 14 bits: the upper end of each segment (G.711 table 2a, column 3).
    const ULAW_SEGMENT_ENDS: [i32; 8] = [31, 95, 223, 479, 991, 2015, 4063, 8159];
    /// Decision values of A-law on 13 bits (12 of magnitude): the upper end of each segment (G.711 table 1a, column 3).
    const ALAW_SEGMENT_ENDS: [i32; 8] = [32, 64, 128, 256, 512, 1024, 2048, 4096];

    /// The recommendation's way: find the segment in the table of decision values, then count steps within it.
    fn slow_ulaw(sample: i16) -> u8 {
        let magnitude = (if sample < 0 { -1 - i32::from(sample) } else { i32::from(sample) }) / 4;
        let magnitude = magnitude.min(8158);
        let segment = ULAW_SEGMENT_ENDS.iter().position(|&end| magnitude < end).expect("clipped to the last one");
        let step = 2 << segment;
        let start = if segment == 0 { -1 } else { ULAW_SEGMENT_ENDS[segment - 1] };
        let code = 16 * segment as i32 + (magnitude - start) / step;
        // Table 2a writes magnitudes inverted, positive samples with the top bit set.
        (127 - code + if sample < 0 { 0 } else { 128 }) as u8
    }

    fn slow_alaw(sample: i16) -> u8 {
        let magnitude = (if sample < 0 { -1 - i32::from(sample) } else { i32::from(sample) }) / 16;
        let segment = ALAW_SEGMENT_ENDS.iter().position(|&end| 2 * magnitude < end).expect("11 bits end below 4096");
        let (start, step) =
            if segment == 0 { (0, 1) } else { (ALAW_SEGMENT_ENDS[segment - 1] / 2, 1 << (segment - 1)) };
        let code = 16 * segment as i32 + (magnitude - start) / step;
        (code + if sample < 0 { 0 } else { 128 }) as u8 ^ 0x55
    }

    fn every_sample() -> Vec<i16> {
        (i16::MIN..=i16::MAX).collect()
    }

    #[test]
    fn encodes_every_sample_as_the_recommendation_does() {
        let pcm = every_sample();
        let mut codes = vec![0; pcm.len()];
        Codec::Pcmu.encode(&pcm, &mut codes);
        for (&sample, &code) in pcm.iter().zip(&codes) {
            assert_eq!(code, slow_ulaw(sample), "µ-law of {sample}");
        }
        Codec::Pcma.encode(&pcm, &mut codes);
        for (&sample, &code) in pcm.iter().zip(&codes) {
            assert_eq!(code, slow_alaw(sample), "A-law of {sample}");
        }
    }

    #[test]
    fn decodes_every_code_to_the_middle_of_what_encodes_to_it() {
        for (codec, slow) in [(Codec::Pcmu, slow_ulaw as fn(i16) -> u8), (Codec::Pcma, slow_alaw)] {
            for code in 0..=255u8 {
                let mut pcm = [0];
                codec.decode(&[code], &mut pcm);
                let covered: Vec<i32> = (i16::MIN..=i16::MAX).filter(|&s| slow(s) == code).map(i32::from).collect();
                let (low, high) = (covered[0], covered[covered.len() - 1]);
                assert_eq!(covered.len() as i32, high - low + 1, "{codec:?} {code:#x} covers one range");
                let value = i32::from(pcm[0]);
                if codec == Codec::Pcmu && code & 0x7f == 0x7f {
                    // The two codes around zero both stand for zero (table 2a, y0 = 0).
                    assert_eq!(value, 0);
                } else if codec == Codec::Pcmu && (low == -32768 || high == 32767) {
                    // The outermost step is wider: it also takes what is clipped (y128 = 8031 on 14 bits).
                    assert_eq!(value.abs(), 4 * 8031);
                } else {
                    // The middle of the covered range, where a negative range is the complement of its mirror image.
                    let middle = if high < 0 { (low + high) / 2 } else { (low + high + 1) / 2 };
                    assert_eq!(value, middle, "{codec:?} {code:#x} covers {low}..={high}");
                }
            }
        }
    }

    #[test]
    fn matches_known_points_of_the_tables() {
        // G.711 tables 1a, 1b, 2a and 2b: the largest, the smallest and the zero of each polarity.
        assert_eq!([32767, 0, -1, -32768].map(ulaw_of), [0x80, 0xff, 0x7f, 0x00]);
        assert_eq!([0x80, 0xff, 0x7f, 0x00].map(linear_of_ulaw), [32124, 0, 0, -32124]);
        assert_eq!([32767, 0, -1, -32768].map(alaw_of), [0xaa, 0xd5, 0x55, 0x2a]);
        assert_eq!([0xaa, 0xd5, 0x55, 0x2a].map(linear_of_alaw), [32256, 8, -8, -32256]);
    }

    #[test]
    fn decoding_and_encoding_again_changes_no_code() {
        for codec in [Codec::Pcmu, Codec::Pcma] {
            for code in 0..=255u8 {
                let (mut pcm, mut again) = ([0], [0]);
                codec.decode(&[code], &mut pcm);
                codec.encode(&pcm, &mut again);
                // µ-law has a minus zero, which comes back as plus zero: zero has no sign once linear.
                let expected = if codec == Codec::Pcmu && code == 0x7f { 0xff } else { code };
                assert_eq!(again[0], expected, "{codec:?} {code:#x}");
            }
        }
    }

    #[test]
    fn silence_is_the_code_of_zero_in_both_laws() {
        for codec in [Codec::Pcmu, Codec::Pcma] {
            let mut byte = [0];
            codec.encode(&[0], &mut byte);
            assert_eq!(byte[0], codec.silence());
        }
    }

    #[test]
    fn the_shorter_slice_sets_the_count() {
        let mut out = [7; 4];
        Codec::Pcmu.encode(&[0, 0], &mut out);
        assert_eq!(out, [0xff, 0xff, 7, 7]);
        let mut pcm = [7; 1];
        Codec::Pcma.decode(&[0xd5, 0xd5], &mut pcm);
        assert_eq!(pcm, [8]);
    }
}
