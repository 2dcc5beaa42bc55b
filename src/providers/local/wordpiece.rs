//! Text into the ids that BERT models read: small letters, no accents, the longest pieces first.

use std::collections::BTreeMap;
use std::path::Path;

/// Ids of one text at most, the two marks included: as the model was trained (its tokenizer.json truncates there).
const LENGTH_MAX: usize = 128;
/// A longer word is unknown (tokenizer.json: max_input_chars_per_word).
const WORD_MAX: usize = 100;

/// A vocabulary of word pieces.
pub struct WordPiece {
    vocabulary: BTreeMap<String, i32>,
    /// Stands in front of a text.
    begin: i32,
    /// Stands behind a text.
    end: i32,
    /// Stands for a word that cannot be pieced together.
    unknown: i32,
}

#[derive(serde::Deserialize)]
struct File {
    model: Vocabulary,
}

#[derive(serde::Deserialize)]
struct Vocabulary {
    vocab: BTreeMap<String, i32>,
}

impl WordPiece {
    /// Reads a `tokenizer.json` of the kind WordPiece.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let file: File = serde_json::from_slice(&std::fs::read(path)?)?;
        Self::new(file.model.vocab).ok_or_else(|| std::io::Error::other("no BERT vocabulary"))
    }

    fn new(vocabulary: BTreeMap<String, i32>) -> Option<Self> {
        let special = |name: &str| vocabulary.get(name).copied();
        let (begin, end, unknown) = (special("[CLS]")?, special("[SEP]")?, special("[UNK]")?);
        Some(Self { vocabulary, begin, end, unknown })
    }

    /// Returns the ids of `text`, the marks in front and behind included; at most 128.
    #[must_use]
    pub fn ids(&self, text: &str) -> Vec<i32> {
        let mut ids = vec![self.begin];
        for word in words(text) {
            self.pieces(&word, &mut ids);
        }
        ids.truncate(LENGTH_MAX - 1);
        ids.push(self.end);
        ids
    }

    fn pieces(&self, word: &str, ids: &mut Vec<i32>) {
        let whole = ids.len();
        let mut rest = word;
        let mut candidate = String::new();
        while !rest.is_empty() && word.len() <= WORD_MAX {
            let prefix = if rest.len() == word.len() { "" } else { "##" };
            let found = rest.char_indices().rev().find_map(|(at, c)| {
                let end = at + c.len_utf8();
                candidate.clear();
                candidate.push_str(prefix);
                candidate.push_str(&rest[..end]);
                self.vocabulary.get(&candidate).map(|id| (end, *id))
            });
            let Some((end, id)) = found else { break };
            ids.push(id);
            rest = &rest[end..];
        }
        if !rest.is_empty() {
            ids.truncate(whole);
            ids.push(self.unknown);
        }
    }
}

/// Splits at spaces and around every sign.
fn words(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut open = false;
    for c in text.chars().flat_map(char::to_lowercase).filter_map(unaccented) {
        if c.is_whitespace() || c.is_control() {
            open = false;
        } else if !c.is_alphanumeric() {
            out.push(c.to_string());
            open = false;
        } else if open && let Some(last) = out.last_mut() {
            last.push(c);
        } else {
            out.push(c.to_string());
            open = true;
        }
    }
    out
}

/// The letter without its accent, for the letters of western Europe; combining accents vanish.
fn unaccented(c: char) -> Option<char> {
    Some(match c {
        'à'..='å' => 'a',
        'ç' => 'c',
        'è'..='ë' => 'e',
        'ì'..='ï' => 'i',
        'ñ' => 'n',
        'ò'..='ö' => 'o',
        'ù'..='ü' => 'u',
        'ý' | 'ÿ' => 'y',
        '\u{300}'..='\u{36f}' => return None,
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wordpiece() -> WordPiece {
        let pieces = ["[CLS]", "[SEP]", "[UNK]", "open", "##ing", "hour", "##s", "?", "'", "s", "cafe", "what"];
        WordPiece::new(pieces.iter().enumerate().map(|(id, piece)| ((*piece).to_owned(), id as i32)).collect())
            .expect("has its marks")
    }

    #[test]
    fn words_fall_into_the_longest_pieces() {
        assert_eq!(wordpiece().ids("Opening HOURS?"), [0, 3, 4, 5, 6, 7, 1]);
        assert_eq!(wordpiece().ids("what's Café"), [0, 11, 8, 9, 10, 1]);
    }

    #[test]
    fn a_word_with_one_unknown_piece_is_unknown_as_a_whole() {
        assert_eq!(wordpiece().ids("openly hour"), [0, 2, 5, 1]);
        assert_eq!(wordpiece().ids(""), [0, 1]);
        assert_eq!(wordpiece().ids("日本 🙂"), [0, 2, 2, 1]);
    }

    #[test]
    fn a_long_text_is_cut_where_the_model_ends() {
        let ids = wordpiece().ids(&"hours ".repeat(500));
        assert_eq!((ids.len(), ids.last()), (LENGTH_MAX, Some(&1)));
        assert_eq!(wordpiece().ids(&"s".repeat(1000)), [0, 2, 1]);
    }
}
