//! Parts of speech: an averaged perceptron, whose weights are a model file, over words and their neighbours.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::io::BufReader;
use std::path::Path;

/// A part of speech of the Penn Treebank, as far as a word's sound hangs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// DT
    Determiner,
    /// PRP
    Pronoun,
    /// IN
    Preposition,
    /// NN, NNS
    Noun,
    /// NNP, NNPS
    ProperNoun,
    /// VB, VBG, VBZ
    Verb,
    /// VBD
    Past,
    /// VBN
    Participle,
    /// VBP
    Present,
    /// JJ, JJR, JJS
    Adjective,
    /// RB, RBR, RBS
    Adverb,
    /// Any other.
    Other,
}

impl Tag {
    fn of(penn: &str) -> Self {
        match penn {
            "DT" => Self::Determiner,
            "PRP" => Self::Pronoun,
            "IN" => Self::Preposition,
            "NN" | "NNS" => Self::Noun,
            "NNP" | "NNPS" => Self::ProperNoun,
            "VBD" => Self::Past,
            "VBN" => Self::Participle,
            "VBP" => Self::Present,
            "VB" | "VBG" | "VBZ" => Self::Verb,
            "JJ" | "JJR" | "JJS" => Self::Adjective,
            "RB" | "RBR" | "RBS" => Self::Adverb,
            _ => Self::Other,
        }
    }

    /// The lexicon's narrow name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Determiner => "DT",
            Self::Past => "VBD",
            Self::Participle => "VBN",
            Self::Present => "VBP",
            _ => self.class(),
        }
    }

    /// The lexicon's wide name.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::Noun | Self::ProperNoun => "NOUN",
            Self::Verb | Self::Past | Self::Participle | Self::Present => "VERB",
            Self::Adjective => "ADJ",
            Self::Adverb => "ADV",
            _ => "",
        }
    }
}

/// A 64-bit FNV-1a hash: features are told apart by it alone, which 80,000 of them allow (a clash in 6 billion models).
fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The perceptron's weights in three sorted tables: 4 MB where maps of strings take 30.
#[derive(Default)]
pub struct Tagger {
    /// Penn Treebank names, sorted, so that a tie goes to the later one.
    tags: Vec<String>,
    /// Words that have one part of speech, by hash.
    fixed: Vec<(u64, u8)>,
    /// Words known as neighbours, by hash.
    vocabulary: Vec<u64>,
    /// Features by hash: where their weights start, and how many there are.
    features: Vec<(u64, u32, u8)>,
    /// Tag, and weight in tenths.
    weights: Vec<(u8, i16)>,
}

impl Tagger {
    /// Reads gzipped JSON with `tags`, `tagdict`, `vocab` and `weights`.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let file = std::fs::File::open(path)?;
        let unpacked = flate2::bufread::GzDecoder::new(BufReader::new(file));
        let mut json = serde_json::Deserializer::from_reader(BufReader::new(unpacked));
        Ok((&mut json).deserialize_map(Model)?)
    }

    /// Returns the part of speech of each word of a sentence.
    #[must_use]
    pub fn tag(&self, words: &[&str]) -> Vec<Tag> {
        let seen: Vec<String> = words.iter().map(|word| self.neighbour(word)).collect();
        let mut found = Vec::with_capacity(words.len());
        let (mut before, mut before_that) = ("-START-", "-START2-");
        for (i, word) in words.iter().enumerate() {
            let fixed = self.fixed.binary_search_by_key(&hash(&[word]), |(hash, _)| *hash).ok();
            let tag = match fixed {
                Some(at) => self.tags.get(self.fixed[at].1 as usize).map_or("NN", String::as_str),
                None => self.predict(i, word, &seen, before, before_that),
            };
            found.push(Tag::of(tag));
            (before_that, before) = (before, tag);
        }
        found
    }

    fn predict(&self, i: usize, word: &str, seen: &[String], before: &str, before_that: &str) -> &str {
        let at = |offset: isize| -> &str {
            let place = i as isize + offset;
            match place {
                -2 => "-START2-",
                -1 => "-START-",
                _ if place == seen.len() as isize => "-END-",
                _ if place > seen.len() as isize => "-END2-",
                _ => usize::try_from(place).ok().and_then(|place| seen.get(place)).map_or("", String::as_str),
            }
        };
        let first = word.char_indices().nth(1).map_or(word, |(end, _)| &word[..end]);
        let features: [&[&str]; 15] = [
            &["b"],
            &["s3=", last_three(word)],
            &["p1=", first],
            &["w=", at(0)],
            &["sh=", &shape(word)],
            &[if i == 0 { "i0" } else { "i+" }],
            &["t-1=", before],
            &["t-2=", before_that],
            &["t-12=", before, ",", before_that],
            &["w-1=", at(-1)],
            &["s3-1=", last_three(at(-1))],
            &["w-2=", at(-2)],
            &["w+1=", at(1)],
            &["s3+1=", last_three(at(1))],
            &["w+2=", at(2)],
        ];
        let mut scores = [0i32; 64];
        for feature in features {
            let Ok(found) = self.features.binary_search_by_key(&hash(feature), |(hash, ..)| *hash) else { continue };
            let (_, start, count) = self.features[found];
            for (tag, weight) in &self.weights[start as usize..start as usize + count as usize] {
                scores[*tag as usize % 64] += i32::from(*weight);
            }
        }
        let best = (0..self.tags.len().min(64)).max_by_key(|tag| (scores[*tag], *tag)).unwrap_or(0);
        self.tags.get(best).map_or("NN", String::as_str)
    }

    /// A word as its neighbours see it: itself where it is frequent, else its shape.
    fn neighbour(&self, word: &str) -> String {
        let plain = if word.contains('-') && !word.starts_with('-') {
            "!HYPHEN".to_owned()
        } else if word.len() == 4 && word.bytes().all(|b| b.is_ascii_digit()) {
            "!YEAR".to_owned()
        } else if word.starts_with(|c: char| c.is_ascii_digit()) {
            "!DIGITS".to_owned()
        } else {
            word.to_lowercase()
        };
        if self.vocabulary.binary_search(&hash(&[&plain])).is_ok() { plain } else { format!("<{}>", shape(word)) }
    }
}

fn last_three(word: &str) -> &str {
    word.char_indices().rev().nth(2).map_or(word, |(start, _)| &word[start..])
}

fn shape(word: &str) -> String {
    let all = |kind: fn(char) -> bool| !word.is_empty() && word.chars().all(kind);
    let tail = word.char_indices().nth(1).map_or("", |(at, _)| &word[at..]);
    let small = |text: &str| !text.is_empty() && text.chars().all(char::is_lowercase);
    if all(char::is_alphabetic) {
        let shape = match () {
            () if small(word) => "x",
            () if all(char::is_uppercase) && tail.is_empty() => "X1",
            () if all(char::is_uppercase) => "XX",
            () if word.starts_with(char::is_uppercase) && small(tail) => "Xx",
            () => "xX",
        };
        return shape.to_owned();
    }
    if all(|c| c.is_ascii_digit()) {
        return "d".to_owned();
    }
    let class = |c: char| {
        if c.is_ascii_digit() {
            'd'
        } else if c.is_alphabetic() {
            'x'
        } else {
            c
        }
    };
    word.chars().take(4).map(class).collect()
}

struct Model;

impl<'de> Visitor<'de> for Model {
    type Value = Tagger;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tagger's tables")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tagger, A::Error> {
        let mut tagger = Tagger::default();
        let mut fixed: BTreeMap<String, String> = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "tags" => {
                    tagger.tags = map.next_value()?;
                    tagger.tags.sort_unstable();
                }
                "tagdict" => fixed = map.next_value()?,
                "vocab" => {
                    tagger.vocabulary = map.next_value::<Vec<String>>()?.iter().map(|word| hash(&[word])).collect();
                    tagger.vocabulary.sort_unstable();
                }
                "weights" => map.next_value_seed(Weights(&mut tagger))?,
                _ => {
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
            }
        }
        let place = |tag: &str| tagger.tags.binary_search_by(|known| known.as_str().cmp(tag)).ok()?.try_into().ok();
        tagger.fixed = fixed.iter().filter_map(|(word, tag)| Some((hash(&[word]), place(tag)?))).collect();
        tagger.fixed.sort_unstable();
        Ok(tagger)
    }
}

/// Reads the weights one feature at a time: as maps they would take 100 MB for a moment.
struct Weights<'a>(&'a mut Tagger);

impl<'de> DeserializeSeed<'de> for Weights<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Weights<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("weights by feature")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let tagger = self.0;
        while let Some((feature, weights)) = map.next_entry::<String, BTreeMap<String, f32>>()? {
            let start = tagger.weights.len();
            for (tag, weight) in &weights {
                if let Ok(tag) = tagger.tags.binary_search(tag) {
                    tagger.weights.push((tag as u8, (weight * 10.0).round() as i16));
                }
            }
            tagger.features.push((hash(&[&feature]), start as u32, (tagger.weights.len() - start) as u8));
        }
        tagger.features.sort_unstable();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_in_small_tells_a_verb_from_a_noun_by_what_stands_before() {
        let json = r#"{"tags":["NN","VB","TO","DT"],"tagdict":{"to":"TO","the":"DT"},"vocab":["to","the"],
            "weights":{"t-1=TO":{"VB":5.0,"NN":-1.2},"t-1=DT":{"NN":4.5},"b":{"NN":0.1}},"else":[1]}"#;
        let tagger: Tagger = serde_json::Deserializer::from_str(json).deserialize_map(Model).expect("a model");
        assert_eq!(tagger.tag(&["to", "record", "the", "record"])[1], Tag::Verb);
        assert_eq!(tagger.tag(&["to", "record", "the", "record"])[3], Tag::Noun);
        assert_eq!(tagger.tag(&[]), []);
    }

    #[test]
    fn shapes_are_those_the_weights_were_trained_with() {
        for (word, expected) in [
            ("word", "x"),
            ("Word", "Xx"),
            ("IT", "XX"),
            ("I", "X1"),
            ("iPhone", "xX"),
            ("12", "d"),
            ("3pm", "dxx"),
            ("$5", "$d"),
        ] {
            assert_eq!(shape(word), expected);
        }
    }
}
