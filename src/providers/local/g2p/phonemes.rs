//! The voice's alphabet (misaki's, which is Kokoro's) and what is done to stress.

/// Primary stress stands in front of its vowel.
pub const PRIMARY: char = 'ˈ';
/// Secondary stress.
pub const SECONDARY: char = 'ˌ';

/// How much a word is stressed against its entry in the lexicon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stress {
    /// As it is entered.
    Entered,
    /// None at all.
    Off,
    /// One step less: primary becomes secondary, secondary is dropped.
    Lower,
    /// One step less where there is a primary stress; a word without any gets a secondary one.
    Even,
    /// A word without any stress gets a secondary one.
    AtLeastSecondary,
    /// A word has a primary stress in any case.
    AtLeastPrimary,
}

/// Whether `c` is a vowel of the alphabet.
#[must_use]
pub fn is_vowel(c: char) -> bool {
    "AIOQWYaiuæɑɒɔəɛɜɪʊʌᵻ".contains(c)
}

/// Whether `c` is a consonant of the alphabet.
#[must_use]
pub fn is_consonant(c: char) -> bool {
    "bdfhjklmnpstvwzðŋɡɹɾʃʒʤʧθ".contains(c)
}

/// Whether a `t` behind `c` is a flap in American English.
#[must_use]
pub fn flaps(c: char) -> bool {
    "AIOWYiuæɑəɛɪɹʊʌ".contains(c)
}

/// Whether there is any stress in `phonemes`.
fn is_stressed(phonemes: &str) -> bool {
    phonemes.contains([PRIMARY, SECONDARY])
}

/// Returns `phonemes` with its stress changed.
#[must_use]
pub fn restress(phonemes: &str, stress: Stress) -> String {
    let primary = phonemes.contains(PRIMARY);
    match stress {
        Stress::Off => phonemes.replace([PRIMARY, SECONDARY], ""),
        Stress::Lower => lower(phonemes),
        Stress::Even if primary => lower(phonemes),
        Stress::Even | Stress::AtLeastSecondary if !is_stressed(phonemes) => before_first_vowel(phonemes, SECONDARY),
        Stress::AtLeastPrimary if !is_stressed(phonemes) => before_first_vowel(phonemes, PRIMARY),
        Stress::AtLeastPrimary if !primary => phonemes.replace(SECONDARY, "ˈ"),
        _ => phonemes.to_owned(),
    }
}

fn lower(phonemes: &str) -> String {
    phonemes.chars().filter(|c| *c != SECONDARY).map(|c| if c == PRIMARY { SECONDARY } else { c }).collect()
}

fn before_first_vowel(phonemes: &str, mark: char) -> String {
    let Some(at) = phonemes.find(is_vowel) else { return phonemes.to_owned() };
    format!("{}{mark}{}", &phonemes[..at], &phonemes[at..])
}

/// How heavy `phonemes` weigh in a compound: long sounds count twice.
#[must_use]
pub fn weight(phonemes: &str) -> usize {
    phonemes.chars().map(|c| if "AIOQWYʤʧ".contains(c) { 2 } else { 1 }).sum()
}

/// Adds the ending -s, as in "cats", "dogs", "horses".
#[must_use]
pub fn with_s(stem: &str) -> String {
    match stem.chars().next_back() {
        Some('p' | 't' | 'k' | 'f' | 'θ') => format!("{stem}s"),
        Some('s' | 'z' | 'ʃ' | 'ʒ' | 'ʧ' | 'ʤ') => format!("{stem}ᵻz"),
        _ => format!("{stem}z"),
    }
}

/// Adds the ending -ed, as in "walked", "called", "waited".
#[must_use]
pub fn with_ed(stem: &str) -> String {
    let mut back = stem.chars().rev();
    match (back.next(), back.next()) {
        (Some('p' | 'k' | 'f' | 'θ' | 'ʃ' | 's' | 'ʧ'), _) => format!("{stem}t"),
        (Some('d'), _) => format!("{stem}ᵻd"),
        (Some('t'), Some(before)) if flaps(before) => format!("{}ɾᵻd", stem.trim_end_matches('t')),
        (Some('t'), _) => format!("{stem}ᵻd"),
        _ => format!("{stem}d"),
    }
}

/// Adds the ending -ing, as in "calling", "waiting".
#[must_use]
pub fn with_ing(stem: &str) -> String {
    let mut back = stem.chars().rev();
    match (back.next(), back.next()) {
        (Some('t'), Some(before)) if flaps(before) => format!("{}ɾɪŋ", stem.trim_end_matches('t')),
        _ => format!("{stem}ɪŋ"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_sound_as_their_stem_asks() {
        for (stem, s, ed, ing) in [
            ("wˈɔk", "wˈɔks", "wˈɔkt", "wˈɔkɪŋ"),
            ("kˈɔl", "kˈɔlz", "kˈɔld", "kˈɔlɪŋ"),
            ("wˈAt", "wˈAts", "wˈAɾᵻd", "wˈAɾɪŋ"),
            ("ˈækt", "ˈækts", "ˈæktᵻd", "ˈæktɪŋ"),
            ("nˈid", "nˈidz", "nˈidᵻd", "nˈidɪŋ"),
            ("mˈæʧ", "mˈæʧᵻz", "mˈæʧt", "mˈæʧɪŋ"),
        ] {
            assert_eq!((with_s(stem), with_ed(stem), with_ing(stem)), (s.into(), ed.into(), ing.into()));
        }
    }

    #[test]
    fn stress_moves_by_one_step_and_stands_before_the_vowel() {
        for (from, stress, to) in [
            ("ɪn", Stress::AtLeastPrimary, "ˈɪn"),
            ("stɹɪŋ", Stress::AtLeastSecondary, "stɹˌɪŋ"),
            ("wˈʌn", Stress::Lower, "wˌʌn"),
            ("ˌʌndəɹstˈænd", Stress::Lower, "ʌndəɹstˌænd"),
            ("nˌɑt", Stress::AtLeastPrimary, "nˈɑt"),
            ("wˈʌn", Stress::Off, "wʌn"),
            ("wˈʌn", Stress::AtLeastSecondary, "wˈʌn"),
            ("zz", Stress::AtLeastPrimary, "zz"),
        ] {
            assert_eq!(restress(from, stress), to);
        }
    }
}
