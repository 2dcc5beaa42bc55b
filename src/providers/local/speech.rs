//! A stretch of synthesised speech: cut to its sound, brought to the telephone's level, and divided at good places.

use super::g2p::Spoken;
use super::vocoder::RATE;
use std::ops::Range;

/// Speech, and where its words end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Speech {
    /// Mono at 8 kHz, nominally within -1 and 1.
    pub samples: Vec<f32>,
    /// Each stretch of the text as it was written, and the sample after its last.
    pub words: Vec<(String, usize)>,
}

/// Samples over which the presence of sound is judged: 5 ms.
const BLOCK: usize = RATE / 200;
/// A block louder than this (mean square, -55 dBFS) is sound: the voice's pauses are digital silence, its breath is at -50.
const SOUND: f32 = 3.2e-6;
/// What stays in front of the first sound: a plosive's onset is softer than [`SOUND`] for a few milliseconds.
const BEFORE: usize = RATE / 100;
/// What stays behind the last sound, for a vowel to die away: 40 ms.
const BEHIND: usize = RATE / 25;
/// The edges are faded over this many samples (5 ms), so that they cannot click.
const FADE: usize = RATE / 200;

impl Speech {
    /// Cuts the silence of the pads away, about 300 ms in front and 500 ms behind; fades the edges.
    #[must_use]
    pub fn trimmed(mut self) -> Self {
        let loud = |block: &[f32]| block.iter().map(|x| x * x).sum::<f32>() > SOUND * block.len() as f32;
        let blocks = || self.samples.chunks(BLOCK);
        let (Some(first), Some(last)) = (blocks().position(loud), blocks().rposition(loud)) else {
            return Self { samples: Vec::new(), words: self.words.into_iter().map(|(word, _)| (word, 0)).collect() };
        };
        let begin = (first * BLOCK).saturating_sub(BEFORE);
        let end = ((last + 1) * BLOCK + BEHIND).min(self.samples.len());
        self.samples.truncate(end);
        self.samples.drain(..begin);
        let length = self.samples.len();
        for i in 0..FADE.min(length / 2) {
            let gain = i as f32 / FADE as f32;
            self.samples[i] *= gain;
            self.samples[length - 1 - i] *= gain;
        }
        for (_, word_end) in &mut self.words {
            *word_end = word_end.saturating_sub(begin).min(length);
        }
        self
    }

    /// Returns the samples at the telephone's level.
    #[must_use]
    pub fn pcm(&self) -> Vec<i16> {
        self.samples.iter().map(|x| (limited(x * GAIN) * f32::from(i16::MAX)).round() as i16).collect()
    }
}

/// +4 dB: the voice speaks at -24.2 dBFS (RMS of active speech over 22 sentences), the telephone's usual level is -20.
const GAIN: f32 = 1.585;
/// From -3 dBFS on peaks are rounded off.
const KNEE: f32 = 0.708;
/// Peaks stay below -1 dBFS.
const CEILING: f32 = 0.891;

fn limited(x: f32) -> f32 {
    if x.abs() <= KNEE {
        return x;
    }
    let room = CEILING - KNEE;
    (KNEE + room * ((x.abs() - KNEE) / room).tanh()).copysign(x)
}

/// The pause behind a stretch that ends in `phonemes`, in samples: what a speaker leaves between two breaths.
#[must_use]
pub fn pause_after(phonemes: &str) -> usize {
    let milliseconds = match phonemes.trim_end_matches(['”', ')']).chars().next_back() {
        Some('.' | '!' | '?' | '…') => 280,
        Some(';' | ':' | '—') => 220,
        Some(',') => 130,
        // A stretch that was divided inside a phrase.
        _ => 20,
    };
    RATE * milliseconds / 1000
}

/// Phonemes of a turn's first piece where it can be divided: about 3 s of speech, which are made in less than 100 ms.
const FIRST_MAX: usize = 48;
/// A first piece has at least this many phonemes: less is over before the next piece is made.
const FIRST_MIN: usize = 12;
/// Phonemes of any other piece: well inside the lengths the network was trained on.
const PIECE_MAX: usize = 200;

/// Divides `words` into what is spoken in one go: sentences, long ones at their commas; and for the `first` piece of a turn, which
/// the caller waits for, a short one, at a comma or in front of a word that opens a phrase.
#[must_use]
pub fn pieces(words: &[Spoken], first: bool) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut start = 0;
    while start < words.len() {
        let sentence = words[start..].iter().position(ends_sentence).map_or(words.len(), |at| start + at + 1);
        let most = if first && out.is_empty() { FIRST_MAX } else { PIECE_MAX };
        let end =
            if length(&words[start..sentence]) <= most { sentence } else { divided(words, start, sentence, most) };
        out.push(start..end);
        start = end;
    }
    out
}

/// Where to divide the sentence `start..end`: at the last comma, else before the last word that opens a phrase, else where it is full.
fn divided(words: &[Spoken], start: usize, end: usize, most: usize) -> usize {
    let fits = |at: &usize| {
        let length = length(&words[start..*at]);
        (FIRST_MIN..=most).contains(&length)
    };
    let places = || (start + 1..end).rev().filter(fits);
    let at_comma = places().find(|at| words[*at - 1].phonemes.ends_with([',', ';', ':', '—']));
    let at_phrase = || places().find(|at| opens_phrase(&words[*at].source));
    at_comma.or_else(at_phrase).or_else(|| if most == PIECE_MAX { places().next() } else { None }).unwrap_or_else(
        || {
            // No good place for an early start: the whole sentence, unless even that is too long.
            (start + 1..=end).rev().find(|at| length(&words[start..*at]) <= PIECE_MAX).unwrap_or(start + 1)
        },
    )
}

fn length(words: &[Spoken]) -> usize {
    words.iter().map(|word| word.phonemes.chars().count() + 1).sum()
}

fn ends_sentence(word: &Spoken) -> bool {
    word.phonemes.trim_end_matches(['”', ')']).ends_with(['.', '!', '?', '…'])
}

fn opens_phrase(word: &str) -> bool {
    const OPENING: [&str; 26] = [
        "and", "or", "but", "so", "because", "if", "when", "while", "that", "which", "who", "with", "without", "from",
        "for", "to", "at", "on", "in", "by", "through", "until", "before", "after", "than", "where",
    ];
    OPENING.contains(&word.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speech(silence: usize, sound: usize, behind: usize) -> Speech {
        let mut samples = vec![0.0; silence];
        samples.extend((0..sound).map(|n| 0.5 * (n as f32 * 0.3).sin()));
        samples.extend(vec![0.0; behind]);
        Speech { samples, words: vec![("one".into(), silence + sound / 2), ("two.".into(), silence + sound + behind)] }
    }

    #[test]
    fn the_silence_around_is_cut_and_the_edges_are_silent() {
        let trimmed = speech(2600, 4000, 4000).trimmed();
        assert!(
            (4000..4000 + BEFORE + BEHIND + 2 * BLOCK).contains(&trimmed.samples.len()),
            "{}",
            trimmed.samples.len()
        );
        assert_eq!((trimmed.samples[0], trimmed.samples[trimmed.samples.len() - 1]), (0.0, 0.0));
        assert!(trimmed.words[0].1.abs_diff(2000 + BEFORE) <= BLOCK);
        assert_eq!(trimmed.words[1].1, trimmed.samples.len());
        assert_eq!(speech(800, 0, 800).trimmed().samples.len(), 0);
        assert_eq!(Speech::default().trimmed(), Speech::default());
    }

    #[test]
    fn no_peak_passes_the_ceiling_and_quiet_sound_is_only_amplified() {
        let loud = Speech { samples: vec![0.1, 0.9, -3.0], words: Vec::new() };
        let pcm = loud.pcm();
        assert_eq!(pcm[0], (0.1 * GAIN * 32767.0).round() as i16);
        assert!(pcm.iter().all(|x| f32::from(x.abs()) <= CEILING * 32767.0 + 1.0), "{pcm:?}");
    }

    fn words(text: &str) -> Vec<Spoken> {
        text.split(' ').map(|word| Spoken { source: word.into(), phonemes: word.into() }).collect()
    }

    #[test]
    fn sentences_are_spoken_one_by_one() {
        assert_eq!(pieces(&words("Hello there. How are you? Fine"), true), [0..2, 2..5, 5..6]);
        assert_eq!(pieces(&[], true), []);
    }

    #[test]
    fn a_long_first_sentence_begins_with_a_phrase_and_a_later_one_stays_whole() {
        let long = words(
            "I can help you with your appointment, your order, and of course with questions about our opening hours.",
        );
        assert_eq!(pieces(&long, true), [0..7, 7..18]);
        assert_eq!(pieces(&long, false), vec![0..18; 1]);
        let plain =
            words("The quick brown fox jumped over the lazy dogs that were lying around everywhere this afternoon.");
        assert_eq!(pieces(&plain, true)[0], 0..9, "before \"that\"");
        let endless = words(&"word ".repeat(500));
        assert!(pieces(&endless, true).iter().all(|piece| length(&endless[piece.clone()]) <= PIECE_MAX));
    }

    #[test]
    fn one_word_longer_than_any_piece_is_still_spoken() {
        let giant = words(&"a".repeat(900));
        assert_eq!(pieces(&giant, true), vec![0..1; 1]);
    }
}
