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
pub fn encode_ulaw(pcm: &[i16], out: &mut [u8]) {
    for (byte, &sample) in out.iter_mut().zip(pcm) {
        *byte = ulaw_of(sample);
    }
}

/// Encodes 16-bit samples as A-law; the shorter slice sets the count.
pub fn encode_alaw(pcm: &[i16], out: &mut [u8]) {
    for (byte, &sample) in out.iter_mut().zip(pcm) {
        *byte = alaw_of(sample);
    }
}

/// Decodes µ-law bytes to 16-bit samples; the shorter slice sets the count.
pub fn decode_ulaw(bytes: &[u8], out: &mut [i16]) {
    for (sample, &byte) in out.iter_mut().zip(bytes) {
        *sample = linear_of_ulaw(byte);
    }
}

/// Decodes A-law bytes to 16-bit samples; the shorter slice sets the count.
pub fn decode_alaw(bytes: &[u8], out: &mut [i16]) {
    for (sample, &byte) in out.iter_mut().zip(bytes) {
        *sample = linear_of_alaw(byte);
    }
}

/// Returns the µ-law code of one 16-bit sample.
#[must_use]
pub const fn ulaw_of(sample: i16) -> u8 {
    let sign = sample >> 15;
    let magnitude = ((sample ^ sign) >> 2) as i32 + 33;
    let magnitude = if magnitude > 0x1fff { 0x1fff } else { magnitude };
    let segment = 26 - magnitude.leading_zeros() as i32;
    let code = (segment << 4) | ((magnitude >> (segment + 1)) & 15);
    (code as u8 ^ 0x7f) | (!sign as u8 & 0x80)
}

/// Returns the A-law code of one 16-bit sample.
#[must_use]
pub const fn alaw_of(sample: i16) -> u8 {
    let sign = sample >> 15;
    let magnitude = ((sample ^ sign) >> 4) as i32;
    let code = if magnitude < 32 {
        magnitude
    } else {
        let segment = 27 - magnitude.leading_zeros() as i32;
        (segment << 4) | ((magnitude >> (segment - 1)) & 15)
    };
    (code as u8 | (!sign as u8 & 0x80)) ^ 0x55
}

/// Returns the 16-bit sample a µ-law code stands for.
#[must_use]
pub const fn linear_of_ulaw(code: u8) -> i16 {
    let bits = !code;
    let magnitude = ((((bits & 15) as i16) << 3) + 132) << ((bits >> 4) & 7);
    let magnitude = magnitude - 132;
    if bits & 0x80 != 0 { -magnitude } else { magnitude }
}

/// Returns the 16-bit sample an A-law code stands for.
#[must_use]
pub const fn linear_of_alaw(code: u8) -> i16 {
    let bits = code ^ 0x55;
    let segment = (bits >> 4) & 7;
    let mantissa = (((bits & 15) as i16) << 4) + 8;
    let magnitude = if segment == 0 { mantissa } else { (mantissa + 256) << (segment - 1) };
    if bits & 0x80 != 0 { magnitude } else { -magnitude }
}
