//! The agent's voice in these tests: loud noise whose every 4 ms say whose they are and where in the turn they belong.

use offhook::ids::TurnId;
use std::ops::Range;

/// Samples of a mark: one that begins it, and 31 bits.
pub const MARK: usize = 32;
/// Added to the number of a turn whose speech is a filler, and none of its own.
pub const FILLER: u32 = 128;
/// How loud the first sample of a mark is, and a one and a zero: far enough apart for any G.711.
const BEGIN: i16 = 8000;
const ONE: i16 = 4000;
const ZERO: i16 = 1500;

/// A mark that was heard whole, and as loud as it was made: not in a fade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The turn, modulo 256.
    pub turn: u8,
    /// Where the turn's speech stands after it, in samples.
    pub end: usize,
}

/// Returns the samples `range` of a turn's speech: loud in every one, with signs like noise, and like no other part of it.
pub fn voice_part(turn: TurnId, range: Range<usize>) -> Vec<i16> {
    let mut number = usize::MAX;
    let mut bits = 0;
    let sample = |n: usize| {
        if n / MARK != number {
            number = n / MARK;
            bits = word(turn.0 as u8, number as u16);
        }
        let loud = match n % MARK {
            0 => BEGIN,
            bit if bits >> (bit - 1) & 1 == 1 => ONE,
            _ => ZERO,
        };
        if mix(u64::from(turn.0) << 32 | n as u64) & 1 == 1 { loud } else { -loud }
    };
    range.map(sample).collect()
}

/// Returns the first samples of a turn's speech.
pub fn voice_of(turn: TurnId, samples: usize) -> Vec<i16> {
    voice_part(turn, 0..samples)
}

/// Returns a filler: loud in every sample, and without marks, since it is no part of a turn's speech.
pub fn filler_of(samples: usize) -> Vec<i16> {
    (0..samples).map(|n| if n / 10 % 2 == 0 { 3000 } else { -3000 }).collect()
}

/// Returns the marks in `pcm`, in order.
pub fn marks(pcm: &[i16]) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut at = 0;
    while let Some(samples) = pcm.get(at..at + MARK) {
        match mark(samples) {
            Some(mark) => {
                marks.push(mark);
                at += MARK;
            }
            None => at += 1,
        }
    }
    marks
}

fn mark(samples: &[i16]) -> Option<Mark> {
    let near = |sample: i16, to: i16| sample.unsigned_abs().abs_diff(to.unsigned_abs()) < to.unsigned_abs() / 10;
    if !near(samples[0], BEGIN) {
        return None;
    }
    let mut bits = 0;
    for (bit, sample) in samples[1..].iter().enumerate() {
        match (near(*sample, ONE), near(*sample, ZERO)) {
            (true, _) => bits |= 1 << bit,
            (_, true) => {}
            _ => return None,
        }
    }
    let (turn, number) = (bits as u8, (bits >> 8) as u16);
    (bits == word(turn, number)).then_some(Mark { turn, end: (usize::from(number) + 1) * MARK })
}

/// Returns the 31 bits of a mark: 8 of the turn, 16 of its number, 7 that guard them.
fn word(turn: u8, number: u16) -> u32 {
    let bits = u32::from(turn) | u32::from(number) << 8;
    bits | ((mix(u64::from(bits)) & 0x7f) as u32) << 24
}

/// Mixes the bits of `n` well (SplitMix64).
const fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}
