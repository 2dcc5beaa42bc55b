//! From written text to the voice's phonemes, word by word, so that what was heard can be told from what was not.
//!
//! Figures and signs are brought into words as for every voice, `tagger` finds their parts of speech, `lexicon` knows how they
//! sound, and `oov` reads what the lexicon does not know.

pub mod lexicon;
pub mod oov;
pub mod phonemes;
pub mod tagger;

use crate::agent::spoken::normalize::{Token, Word, normalize};
use lexicon::{Dictionary, Following, Lexicon};
use oov::LetterReader;
use phonemes::{PRIMARY, Stress, is_consonant, is_vowel, restress, weight};
use rten::RunOptions;
use std::path::Path;
use tagger::{Tag, Tagger};

/// Reads American English.
pub struct Reader {
    lexicon: Lexicon,
    tagger: Tagger,
    letters: LetterReader,
}

/// A stretch of text between two spaces, as it was written and as it is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// As it was written.
    pub source: String,
    /// As it is said, its punctuation included, without the space behind it.
    pub phonemes: String,
}

/// A word on its way to its phonemes.
struct Place {
    /// Which token it belongs to.
    token: usize,
    text: String,
    letters: bool,
    /// Whether a pause follows: punctuation, or the end.
    pause: bool,
    /// The sign of that pause, for the tagger.
    sign: &'static str,
}

impl Reader {
    /// Reads the lexicons, the tagger and the letter network in `folder`.
    ///
    /// # Errors
    /// Which file is missing or unusable.
    pub fn read(folder: &Path) -> std::io::Result<Self> {
        let named = |name: &str, error: std::io::Error| std::io::Error::new(error.kind(), format!("{name}: {error}"));
        let dictionary = |name: &str| Dictionary::read(&folder.join(name)).map_err(|error| named(name, error));
        let lexicon = Lexicon::new(dictionary("lexicon_us_gold.json.gz")?, dictionary("lexicon_us_silver.json.gz")?);
        let tagger = Tagger::read(&folder.join("tagger.json.gz")).map_err(|error| named("tagger.json.gz", error))?;
        let letters = LetterReader::read(folder).map_err(|error| named("oov.onnx", error))?;
        Ok(Self { lexicon, tagger, letters })
    }

    /// Returns what is said, stretch by stretch.
    #[must_use]
    pub fn phonemes(&self, text: &str, options: &RunOptions) -> Vec<Spoken> {
        let tokens = normalize(text);
        let places = places(&tokens);
        let tags = self.tags(&places);
        // Backwards, since a little word sounds as what follows it asks.
        let mut following = Following::default();
        let mut sounds: Vec<String> = Vec::with_capacity(places.len());
        for (place, tag) in places.iter().zip(&tags).rev() {
            if place.pause {
                following.vowel = None;
            }
            let sound = self.sound(place, *tag, following, options);
            if let Some(vowel) = sound.chars().find(|c| is_vowel(*c) || is_consonant(*c)).map(is_vowel) {
                following.vowel = Some(vowel);
            }
            following.to = place.text.eq_ignore_ascii_case("to");
            sounds.push(sound);
        }
        sounds.reverse();
        assemble(&tokens, &places, &sounds)
    }

    /// Parts of speech. A contraction is shown to the tagger in two pieces, as it was trained, and has its stem's.
    fn tags(&self, places: &[Place]) -> Vec<Tag> {
        const ENDINGS: [&str; 7] = ["n't", "'s", "'m", "'re", "'ve", "'ll", "'d"];
        let mut pieces: Vec<&str> = Vec::with_capacity(places.len() + 4);
        let mut stems = Vec::with_capacity(places.len());
        for place in places {
            stems.push(pieces.len());
            let lower = ENDINGS.iter().find(|ending| place.text.len() > ending.len() && place.text.ends_with(**ending));
            match lower {
                Some(ending) => pieces.extend([&place.text[..place.text.len() - ending.len()], ending]),
                None => pieces.push(&place.text),
            }
            if place.pause {
                pieces.push(place.sign);
            }
        }
        let tags = self.tagger.tag(&pieces);
        stems.into_iter().map(|at| tags.get(at).copied().unwrap_or(Tag::Other)).collect()
    }

    fn sound(&self, place: &Place, tag: Tag, following: Following, options: &RunOptions) -> String {
        if place.letters
            && let Some(sound) = self.lexicon.letters(&place.text)
        {
            return sound;
        }
        let sound = self
            .lexicon
            .word(&place.text, Some(tag), following)
            .or_else(|| self.compound(&place.text, tag, following, options))
            .or_else(|| self.letters.word(&place.text, options.clone()))
            .unwrap_or_default();
        // The voice knows the flap as T and has no glottal stop.
        sound.replace('ɾ', "T").replace('ʔ', "t")
    }

    /// "twenty-one", "check-in", "JavaScript": parts that are known, of which the lighter ones lose their main stress.
    fn compound(&self, word: &str, tag: Tag, following: Following, options: &RunOptions) -> Option<String> {
        let mut parts = parts(word);
        if let [whole] = parts[..]
            && let Some((first, second)) = self.lexicon.two_words(whole)
        {
            parts = vec![first, second];
        }
        if parts.len() < 2 {
            return None;
        }
        let inside = Following { vowel: Some(false), to: false };
        let mut sounds: Vec<String> = Vec::with_capacity(parts.len());
        for (i, part) in parts.iter().enumerate() {
            let place = if i + 1 == parts.len() { following } else { inside };
            let sound = self.lexicon.word(part, Some(tag), place);
            sounds.push(sound.or_else(|| self.letters.word(part, options.clone()))?);
        }
        let stressed = sounds.iter().filter(|sound| sound.contains(PRIMARY)).count();
        if sounds.len() == 2 && parts[0].chars().count() == 1 {
            sounds[1] = restress(&sounds[1], Stress::Even);
        } else if stressed > sounds.len().div_ceil(2) {
            let mut order: Vec<usize> = (0..sounds.len()).collect();
            order.sort_by_key(|&i| (sounds[i].contains(PRIMARY), weight(&sounds[i])));
            for &i in &order[..sounds.len() / 2] {
                sounds[i] = restress(&sounds[i], Stress::Even);
            }
        }
        Some(sounds.concat())
    }
}

/// Splits at hyphens and where a capital follows a small letter.
fn parts(word: &str) -> Vec<&str> {
    let mut out = Vec::new();
    for piece in word.split(['-', '–', '.']).filter(|piece| !piece.is_empty()) {
        let mut start = 0;
        let mut before = ' ';
        for (at, c) in piece.char_indices() {
            if before.is_lowercase() && c.is_uppercase() {
                out.push(&piece[start..at]);
                start = at;
            }
            before = c;
        }
        out.push(&piece[start..]);
    }
    out
}

fn places(tokens: &[Token]) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::with_capacity(tokens.len());
    for (i, token) in tokens.iter().enumerate() {
        for word in &token.words {
            match word {
                Word::Plain(text) => {
                    places.push(Place { token: i, text: text.clone(), letters: false, pause: false, sign: "," });
                }
                Word::Letters(text) => {
                    places.push(Place { token: i, text: text.clone(), letters: true, pause: false, sign: "," });
                }
                Word::Pause => {
                    if let Some(last) = places.last_mut() {
                        last.pause = true;
                    }
                }
            }
        }
        if let Some(last) = places.last_mut()
            && (token.tail.contains(['.', ',', ';', ':', '!', '?', '—', '…']) || i + 1 == tokens.len())
        {
            last.pause = true;
            last.sign = match token.tail.chars().find(|c| !"”)".contains(*c)) {
                Some('!') => "!",
                Some('?') => "?",
                Some(':' | ';' | '—') => ":",
                Some(',') => ",",
                _ => ".",
            };
        }
    }
    places
}

/// Puts the sounds of each stretch together, with its punctuation.
fn assemble(tokens: &[Token], places: &[Place], sounds: &[String]) -> Vec<Spoken> {
    let mut out: Vec<Spoken> =
        tokens.iter().map(|token| Spoken { source: token.source.clone(), phonemes: token.lead.clone() }).collect();
    for (i, (place, sound)) in places.iter().zip(sounds).enumerate() {
        let spoken = &mut out[place.token];
        if !sound.is_empty() {
            if !spoken.phonemes.is_empty() && !spoken.phonemes.ends_with(['“', '(']) {
                spoken.phonemes.push(' ');
            }
            spoken.phonemes.push_str(sound);
        }
        // The pause inside a stretch, as between the groups of a telephone number.
        if place.pause && places.get(i + 1).is_some_and(|next| next.token == place.token) {
            spoken.phonemes.push(',');
        }
    }
    for (i, token) in tokens.iter().enumerate() {
        let ends_in_pause = matches!(token.words.last(), Some(Word::Pause)) && token.tail.is_empty();
        out[i].phonemes.push_str(if ends_in_pause { "," } else { &token.tail });
    }
    out
}
