//! The agent's voice in these tests: loud noise whose every 4 ms say whose they are and where in the turn they belong.

use offhook::ids::TurnId;
use std::ops::Range;

/// Samples of a mark: one that begins it, and 31 bits.
const MARK: usize = 32;
/// Bits of a mark: of its turn's number, of the attempt at it, of its own number, 16 s of speech, and of what guards them.
const TURN_BITS: u32 = 8;
const ATTEMPT_BITS: u32 = 4;
const PLACE_BITS: u32 = 12;
const GUARD_BITS: u32 = 7;
/// How loud the first sample of a mark is, and a one and a zero: far enough apart for any G.711.
const BEGIN: i16 = 8000;
const ONE: i16 = 4000;
const ZERO: i16 = 1500;

/// A mark that was heard whole, and as loud as it was made: not in a fade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub turn: TurnId,
    /// Where the turn's speech stands after it, in samples.
    pub end: usize,
}

/// A turn's speech: loud in every sample, with signs like noise, and like no other part of it.
struct Speech {
    turn: TurnId,
    /// The mark at hand: its number, its bits, and its signs.
    mark: (usize, u32, u32),
}

impl Speech {
    fn of(turn: TurnId) -> Self {
        Self { turn, mark: (usize::MAX, 0, 0) }
    }

    fn sample(&mut self, n: usize) -> i16 {
        if self.mark.0 != n / MARK {
            let place = n / MARK;
            self.mark = (place, word(self.turn, place), mix(u64::from(self.turn.0) << 32 | place as u64) as u32);
        }
        let (_, bits, signs) = self.mark;
        let loud = match n % MARK {
            0 => BEGIN,
            bit if bits >> (bit - 1) & 1 == 1 => ONE,
            _ => ZERO,
        };
        if signs >> (n % MARK) & 1 == 1 { loud } else { -loud }
    }
}

/// Returns the samples `range` of a turn's speech.
pub fn voice_part(turn: TurnId, range: Range<usize>) -> Vec<i16> {
    let mut speech = Speech::of(turn);
    range.map(|n| speech.sample(n)).collect()
}

/// Returns the first samples of a turn's speech.
pub fn voice_of(turn: TurnId, samples: usize) -> Vec<i16> {
    voice_part(turn, 0..samples)
}

/// Returns a filler: louder than any speech, and without marks, since it is no part of a turn's.
pub fn filler_of(samples: usize) -> Vec<i16> {
    (0..samples).map(|n| if n / 10 % 2 == 0 { 12_000 } else { -12_000 }).collect()
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

/// Follows speech through the packets that left, none of which is missing, to the sample: also where it is faded.
#[derive(Default)]
pub struct Follower {
    /// The speech that was heard last, and how far it is.
    at: Option<(Speech, usize)>,
    /// Whether the last sound was something else: the fade of a filler may look like speech for some samples.
    foreign: bool,
}

/// Samples that are hardly like a turn's speech by chance.
const SURE: usize = 12;

impl Follower {
    /// Returns where turns come to in `pcm`, which follows what was taken before: where each stretch begins and ends.
    pub fn take(&mut self, pcm: &[i16]) -> Vec<(TurnId, Range<usize>)> {
        let mut stretches: Vec<(TurnId, Range<usize>)> = Vec::new();
        let mut n = 0;
        while let Some(&sample) = pcm.get(n) {
            let whole = pcm.get(n..n + MARK).and_then(mark);
            if let Some(mark) = whole.filter(|mark| self.at.as_ref().is_none_or(|(speech, _)| speech.turn != mark.turn))
            {
                self.at = Some((Speech::of(mark.turn), mark.end - MARK));
            }
            let next = if self.foreign { pcm.get(n..n + SURE) } else { pcm.get(n..=n) };
            let goes_on = |(speech, end): &mut (Speech, usize)| match (whole, next) {
                (Some(mark), _) => Some((mark.turn, mark.end - MARK..mark.end)),
                (None, Some(next)) => {
                    let is_speech = next.iter().zip(*end..).all(|(sample, n)| is_fainter(*sample, speech.sample(n)));
                    is_speech.then(|| (speech.turn, *end..*end + 1))
                }
                (None, None) => None,
            };
            // Else it is silence, a filler, or a fade of which nothing was heard before.
            let Some((turn, range)) = self.at.as_mut().filter(|_| sample != 0).and_then(goes_on) else {
                self.foreign = sample != 0;
                n += 1;
                continue;
            };
            self.foreign = false;
            n += range.len();
            self.at.iter_mut().for_each(|(_, end)| *end = range.end);
            match stretches.last_mut() {
                Some((of, before)) if *of == turn && before.end == range.start => before.end = range.end,
                _ => stretches.push((turn, range)),
            }
        }
        stretches
    }
}

/// Whether `sample` is what `whole` is in a fade, or is it.
fn is_fainter(sample: i16, whole: i16) -> bool {
    sample.signum() == whole.signum() && sample.unsigned_abs() <= whole.unsigned_abs() + whole.unsigned_abs() / 10
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
    let low = |value: u32, count: u32| value & ((1 << count) - 1);
    let number = low(bits, TURN_BITS);
    let attempt = low(bits >> TURN_BITS, ATTEMPT_BITS);
    let place = low(bits >> (TURN_BITS + ATTEMPT_BITS), PLACE_BITS) as usize;
    let turn = (0..attempt).fold(TurnId(number), |turn, _| turn.again());
    (bits == word(turn, place)).then_some(Mark { turn, end: (place + 1) * MARK })
}

/// Returns the 31 bits of a mark.
fn word(turn: TurnId, place: usize) -> u32 {
    let (number, attempt) = (turn.number(), turn.attempt());
    assert!(number >> TURN_BITS == 0 && attempt >> ATTEMPT_BITS == 0 && place >> PLACE_BITS == 0, "{turn:?} {place}");
    let bits = number | attempt << TURN_BITS | (place as u32) << (TURN_BITS + ATTEMPT_BITS);
    let guard = mix(u64::from(bits)) as u32 & ((1 << GUARD_BITS) - 1);
    bits | guard << (TURN_BITS + ATTEMPT_BITS + PLACE_BITS)
}

/// Mixes the bits of `n` well (SplitMix64).
const fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}
