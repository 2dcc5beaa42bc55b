//! How English words sound: misaki's gold and silver lexicons, their stems, and the words whose sound hangs on their place.

use super::phonemes::{PRIMARY, SECONDARY, Stress, restress, with_ed, with_ing, with_s};
use super::tagger::Tag;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use std::fmt;
use std::io::BufReader;
use std::path::Path;

/// Separates a word from the part of speech that one of its readings is for.
const READING: char = '\u{1}';

/// A dictionary in one block of text: about 4 MB where a map of strings takes 20.
#[derive(Default)]
pub struct Dictionary {
    text: String,
    /// Start of the key, length of the key, length of the value; sorted by key.
    entries: Vec<(u32, u16, u16)>,
}

impl Dictionary {
    /// Reads a gzipped JSON object: word to phonemes, or word to readings by part of speech.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let file = std::fs::File::open(path)?;
        let unpacked = flate2::bufread::GzDecoder::new(BufReader::new(file));
        let mut json = serde_json::Deserializer::from_reader(BufReader::new(unpacked));
        Ok(json.deserialize_map(Entries)?)
    }

    fn add(&mut self, word: &str, reading: Option<&str>, phonemes: &str) {
        let start = self.text.len();
        self.text.push_str(word);
        if let Some(reading) = reading {
            self.text.push(READING);
            self.text.push_str(reading);
        }
        let key = self.text.len() - start;
        self.text.push_str(phonemes);
        if let (Ok(start), Ok(key), Ok(value)) = (start.try_into(), key.try_into(), phonemes.len().try_into()) {
            self.entries.push((start, key, value));
        }
    }

    fn sorted(mut self) -> Self {
        let text = std::mem::take(&mut self.text);
        self.entries.sort_unstable_by_key(|&(start, key, _)| &text[start as usize..start as usize + key as usize]);
        self.text = text;
        self.text.shrink_to_fit();
        self.entries.shrink_to_fit();
        self
    }

    /// Returns the entry of `key`, letter for letter.
    fn entry(&self, key: &str) -> Option<&str> {
        let key_of =
            |&(start, length, _): &(u32, u16, u16)| &self.text[start as usize..start as usize + length as usize];
        let found = self.entries.binary_search_by(|entry| key_of(entry).cmp(key)).ok()?;
        let (start, key, value) = self.entries[found];
        let value_start = start as usize + key as usize;
        Some(&self.text[value_start..value_start + value as usize])
    }

    /// Returns how `word` sounds. "Monday" answers for "monday" and "call" for "Call", unless the other form has its own entry.
    fn get(&self, word: &str, tag: Option<Tag>, ends: bool) -> Option<&str> {
        self.reading(word, tag, ends).or_else(|| {
            let lower = word.to_lowercase();
            let swapped = if lower == word { capitalized(word) } else { lower };
            (word.chars().count() > 1 && (capitalized(&swapped) == word || capitalized(word) == swapped))
                .then(|| self.reading(&swapped, tag, ends))?
        })
    }

    fn reading(&self, word: &str, tag: Option<Tag>, ends: bool) -> Option<&str> {
        let plain = self.entry(word)?;
        let of = |reading: &str| self.entry(&format!("{word}{READING}{reading}"));
        // Before a pause, some words have a reading of their own; "None" is what the lexicon calls it.
        let at_end = if ends { of("None") } else { None };
        Some(at_end.or_else(|| tag.and_then(|tag| of(tag.name()).or_else(|| of(tag.class())))).unwrap_or(plain))
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters.flat_map(char::to_lowercase)).collect())
}

struct Entries;

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Value {
    One(String),
    Several(std::collections::BTreeMap<String, Option<String>>),
}

impl<'de> Visitor<'de> for Entries {
    type Value = Dictionary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of words")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Dictionary, A::Error> {
        let mut dictionary = Dictionary::default();
        while let Some((word, value)) = map.next_entry::<String, Value>()? {
            match value {
                Value::One(phonemes) => dictionary.add(&word, None, &phonemes),
                Value::Several(readings) => {
                    for (reading, phonemes) in &readings {
                        let reading = (reading != "DEFAULT").then_some(reading.as_str());
                        if let Some(phonemes) = phonemes {
                            dictionary.add(&word, reading, phonemes);
                        }
                    }
                }
            }
        }
        Ok(dictionary.sorted())
    }
}

/// What follows a word, as far as the word's sound hangs on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Following {
    /// Whether a vowel follows; `None` before a pause.
    pub vowel: Option<bool>,
    /// Whether the next word is "to".
    pub to: bool,
}

/// Both lexicons and their rules.
pub struct Lexicon {
    /// Words checked by people.
    gold: Dictionary,
    /// Words that were not.
    silver: Dictionary,
}

impl Lexicon {
    /// Joins the two.
    #[must_use]
    pub fn new(gold: Dictionary, silver: Dictionary) -> Self {
        Self { gold, silver }
    }

    /// Returns how `word` sounds at its place, or `None` where neither the lexicons nor their stems know it.
    #[must_use]
    pub fn word(&self, word: &str, tag: Option<Tag>, following: Following) -> Option<String> {
        let lower = word.to_lowercase();
        let stress = if word == lower {
            Stress::Entered
        } else if word == word.to_uppercase() {
            Stress::AtLeastPrimary
        } else {
            Stress::AtLeastSecondary
        };
        if let Some(phonemes) = self.hanging_on_place(word, &lower, tag, following) {
            return Some(phonemes);
        }
        let known = self.is_entered(word);
        // "Thursday's" and "CALL" are looked up as written first, then in small letters; names keep their capitals.
        let word =
            if !known && word != lower && (tag != Some(Tag::ProperNoun) || word.len() > 7) && self.derives(&lower, tag)
            {
                &lower
            } else {
                word
            };
        self.look_up(word, tag, stress, following)
            .or_else(|| {
                word.strip_suffix("s'").and_then(|stem| self.look_up(&format!("{stem}'s"), tag, stress, following))
            })
            .or_else(|| word.strip_suffix('\'').and_then(|stem| self.look_up(stem, tag, stress, following)))
            .or_else(|| self.stem_s(word, tag, stress, following))
            .or_else(|| self.stem_ed(word, tag, stress, following))
            .or_else(|| self.stem_ing(word, tag, stress, following))
    }

    /// Spells `letters`: the last one carries the stress, as in "P M".
    #[must_use]
    pub fn letters(&self, letters: &str) -> Option<String> {
        let mut all = String::new();
        for letter in letters.chars().filter(|c| c.is_alphabetic()) {
            all.push_str(self.gold.entry(&letter.to_uppercase().to_string())?);
        }
        let even = restress(&all, Stress::Even);
        let last = even.rfind(SECONDARY)?;
        Some(format!("{}{PRIMARY}{}", &even[..last], &even[last + SECONDARY.len_utf8()..]))
    }

    /// Divides an unknown word into two that people checked, of three letters or more: "Offhook" is "off" and "hook".
    #[must_use]
    pub fn two_words<'a>(&self, word: &'a str) -> Option<(&'a str, &'a str)> {
        let gold = |part: &str| part.len() > 2 && self.gold.get(&part.to_lowercase(), None, false).is_some();
        let mut places = word.char_indices().map(|(at, _)| at).rev();
        places.find(|at| gold(&word[..*at]) && gold(&word[*at..])).map(|at| word.split_at(at))
    }

    /// Words whose sound hangs on what follows or on what they do in the sentence.
    fn hanging_on_place(&self, word: &str, lower: &str, tag: Option<Tag>, following: Following) -> Option<String> {
        let sound = match lower {
            "a" if tag == Some(Tag::Determiner) || word == "a" => "ɐ",
            "an" => "ɐn",
            "am" if following.vowel.is_some() && word == "am" => "ɐm",
            "i" if tag == Some(Tag::Pronoun) || word == "I" => "ˌI",
            "by" if tag == Some(Tag::Adverb) => "bˈI",
            "to" => match following.vowel {
                None => return self.gold.entry("to").map(str::to_owned),
                Some(false) => "tə",
                Some(true) => "tʊ",
            },
            "in" if tag != Some(Tag::ProperNoun) => {
                if following.vowel.is_none() || tag != Some(Tag::Preposition) {
                    "ˈɪn"
                } else {
                    "ɪn"
                }
            }
            "the" if following.vowel == Some(true) => "ði",
            "the" => "ðə",
            "used" => {
                let habit = following.to && matches!(tag, Some(Tag::Past | Tag::Adjective));
                return self.gold.reading("used", habit.then_some(Tag::Past), false).map(str::to_owned);
            }
            _ => return None,
        };
        Some(sound.to_owned())
    }

    fn is_entered(&self, word: &str) -> bool {
        self.gold.get(word, None, false).is_some() || self.silver.get(word, None, false).is_some()
    }

    /// Whether `word` or its stem is entered.
    fn derives(&self, word: &str, tag: Option<Tag>) -> bool {
        let nothing = Following::default();
        self.is_entered(word)
            || self.stem_s(word, tag, Stress::Entered, nothing).is_some()
            || self.stem_ed(word, tag, Stress::Entered, nothing).is_some()
            || self.stem_ing(word, tag, Stress::Entered, nothing).is_some()
    }

    fn look_up(&self, word: &str, tag: Option<Tag>, stress: Stress, following: Following) -> Option<String> {
        let ends = following.vowel.is_none();
        let capitals = word == word.to_uppercase() && self.gold.get(word, tag, ends).is_none();
        let lower;
        let word = if capitals {
            lower = word.to_lowercase();
            &lower
        } else {
            word
        };
        let name = capitals && tag == Some(Tag::ProperNoun);
        let found =
            self.gold.get(word, tag, ends).or_else(|| if name { None } else { self.silver.get(word, tag, ends) });
        match found {
            // A word in capitals that is a name and weak in the lexicon is an abbreviation: "IT".
            Some(phonemes) if !name || phonemes.contains(PRIMARY) => Some(restress(phonemes, stress)),
            _ if capitals && word.chars().all(char::is_alphabetic) => self.letters(word),
            _ => None,
        }
    }

    fn stem_s(&self, word: &str, tag: Option<Tag>, stress: Stress, following: Following) -> Option<String> {
        let cut = word.strip_suffix('s').filter(|_| word.len() > 2)?;
        let stem = Some(cut.to_owned())
            .filter(|stem| !stem.ends_with('s') && self.is_entered(stem))
            .or_else(|| cut.strip_suffix('\'').map(str::to_owned).filter(|stem| self.is_entered(stem)))
            .or_else(|| {
                let stem = cut.strip_suffix('e').filter(|stem| stem.len() > 2 && !stem.ends_with('i'))?;
                self.is_entered(stem).then(|| stem.to_owned())
            })
            .or_else(|| {
                let stem = format!("{}y", cut.strip_suffix("ie").filter(|stem| stem.len() > 1)?);
                self.is_entered(&stem).then_some(stem)
            })?;
        self.look_up(&stem, tag, stress, following).map(|phonemes| with_s(&phonemes))
    }

    fn stem_ed(&self, word: &str, tag: Option<Tag>, stress: Stress, following: Following) -> Option<String> {
        let cut = word.strip_suffix('d').filter(|_| word.len() > 3)?;
        let stem = Some(cut.to_owned())
            .filter(|stem| !stem.ends_with('d') && self.is_entered(stem))
            .or_else(|| {
                let stem = cut.strip_suffix('e').filter(|stem| stem.len() > 2 && !stem.ends_with('e'))?;
                self.is_entered(stem).then(|| stem.to_owned())
            })
            .or_else(|| self.undoubled(cut.strip_suffix('e')?))?;
        self.look_up(&stem, tag, stress, following).map(|phonemes| with_ed(&phonemes))
    }

    fn stem_ing(&self, word: &str, tag: Option<Tag>, stress: Stress, following: Following) -> Option<String> {
        let cut = word.strip_suffix("ing").filter(|cut| cut.len() > 1)?;
        let stem = Some(cut.to_owned())
            .filter(|stem| stem.len() > 2 && self.is_entered(stem))
            .or_else(|| Some(format!("{cut}e")).filter(|stem| self.is_entered(stem)))
            .or_else(|| self.undoubled(cut))?;
        let stress = if stress == Stress::Entered { Stress::AtLeastSecondary } else { stress };
        self.look_up(&stem, tag, stress, following).map(|phonemes| with_ing(&phonemes))
    }

    /// "plann" is "plan".
    fn undoubled(&self, stem: &str) -> Option<String> {
        let mut back = stem.chars().rev();
        let (last, before) = (back.next()?, back.next()?);
        let single = &stem[..stem.len() - last.len_utf8()];
        (last == before && last.is_ascii_alphabetic() && self.is_entered(single)).then(|| single.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lexicon() -> Lexicon {
        let mut gold = Dictionary::default();
        for (word, reading, phonemes) in [
            ("call", None, "kˈɔl"),
            ("plan", None, "plˈæn"),
            ("party", None, "pˈɑɹɾi"),
            ("Monday", None, "mˈʌndA"),
            ("record", None, "ɹˈɛkəɹd"),
            ("record", Some("VERB"), "ɹəkˈɔɹd"),
            ("have", None, "hæv"),
            ("have", Some("None"), "hˈæv"),
            ("used", None, "jˈuzd"),
            ("used", Some("VBD"), "jˈust"),
            ("to", None, "tu"),
            ("it", None, "ɪt"),
            ("wait", None, "wˈAt"),
            ("P", None, "pˈi"),
            ("M", None, "ˈɛm"),
            ("I", None, "ˈI"),
            ("T", None, "tˈi"),
        ] {
            gold.add(word, reading, phonemes);
        }
        let mut silver = Dictionary::default();
        silver.add("offhook", None, "ˈɔfhʊk");
        Lexicon::new(gold.sorted(), silver.sorted())
    }

    const VOWEL: Following = Following { vowel: Some(true), to: false };
    const CONSONANT: Following = Following { vowel: Some(false), to: false };
    const PAUSE: Following = Following { vowel: None, to: false };

    #[test]
    fn words_are_found_in_either_case_and_by_their_stems() {
        for (word, phonemes) in [
            ("call", "kˈɔl"),
            ("Call", "kˈɔl"),
            ("CALL", "kˈɔl"),
            ("monday", "mˈʌndA"),
            ("Monday's", "mˈʌndAz"),
            ("calls", "kˈɔlz"),
            ("called", "kˈɔld"),
            ("calling", "kˈɔlɪŋ"),
            ("parties", "pˈɑɹɾiz"),
            ("planned", "plˈænd"),
            ("planning", "plˈænɪŋ"),
            ("waiting", "wˈAɾɪŋ"),
            ("Offhook", "ˈɔfhʊk"),
        ] {
            assert_eq!(lexicon().word(word, None, CONSONANT).as_deref(), Some(phonemes), "{word}");
        }
        assert_eq!(lexicon().word("xyzzy", None, CONSONANT), None);
    }

    #[test]
    fn the_part_of_speech_and_a_pause_choose_the_reading() {
        let lexicon = lexicon();
        assert_eq!(lexicon.word("record", Some(Tag::Verb), CONSONANT).as_deref(), Some("ɹəkˈɔɹd"));
        assert_eq!(lexicon.word("record", Some(Tag::Noun), CONSONANT).as_deref(), Some("ɹˈɛkəɹd"));
        assert_eq!(lexicon.word("records", Some(Tag::Verb), CONSONANT).as_deref(), Some("ɹəkˈɔɹdz"));
        assert_eq!(lexicon.word("have", None, PAUSE).as_deref(), Some("hˈæv"));
        assert_eq!(lexicon.word("have", None, VOWEL).as_deref(), Some("hæv"));
        let to = Following { vowel: Some(false), to: true };
        assert_eq!(lexicon.word("used", Some(Tag::Past), to).as_deref(), Some("jˈust"));
        assert_eq!(lexicon.word("used", Some(Tag::Past), PAUSE).as_deref(), Some("jˈuzd"));
    }

    #[test]
    fn little_words_take_their_weak_form_from_what_follows() {
        for (word, following, phonemes) in [
            ("the", VOWEL, "ði"),
            ("the", CONSONANT, "ðə"),
            ("to", VOWEL, "tʊ"),
            ("to", CONSONANT, "tə"),
            ("to", PAUSE, "tu"),
            ("a", CONSONANT, "ɐ"),
        ] {
            assert_eq!(lexicon().word(word, None, following).as_deref(), Some(phonemes), "{word} {following:?}");
        }
    }

    #[test]
    fn an_unknown_word_may_be_two_known_ones() {
        assert_eq!(lexicon().two_words("Callwait"), Some(("Call", "wait")));
        assert_eq!(lexicon().two_words("waitx"), None);
        assert_eq!(lexicon().two_words(""), None);
    }

    #[test]
    fn letters_are_spelled_with_the_stress_on_the_last() {
        assert_eq!(lexicon().letters("PM").as_deref(), Some("pˌiˈɛm"));
        assert_eq!(lexicon().word("IT", Some(Tag::ProperNoun), PAUSE).as_deref(), Some("ˌItˈi"));
        assert_eq!(lexicon().letters("ß"), None);
    }
}
