//! Keeps keys out of error texts, and other people's pages short in them.

use crate::config::Secret;

/// Characters kept of a body that came with a refusal: enough for a JSON error, not a proxy's whole HTML page.
pub const EXCERPT_CHARS_MAX: usize = 500;

/// The shortest key that is looked for; anything shorter would turn up inside ordinary words.
const KEY_CHARS_MIN: usize = 4;

/// Returns `text` on one line, at most [`EXCERPT_CHARS_MAX`] characters long, with `key` struck out.
#[must_use]
pub fn excerpt(text: &str, key: &Secret) -> String {
    let struck = redact(text, key);
    let mut out = String::new();
    let mut chars = 0;
    for word in struck.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        for c in (chars > 0).then_some(' ').into_iter().chain(word.chars()) {
            if chars == EXCERPT_CHARS_MAX {
                return out;
            }
            out.push(c);
            chars += 1;
        }
    }
    out
}

/// Returns `text` with every occurrence of `key` struck out.
#[must_use]
pub fn redact(text: &str, key: &Secret) -> String {
    if key.expose().len() < KEY_CHARS_MIN { text.to_owned() } else { text.replace(key.expose(), "<key>") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_the_server_echoes_is_struck_out() {
        let key = Secret::new("sk-very-secret");
        assert_eq!(excerpt("bad key sk-very-secret\r\n given", &key), "bad key <key> given");
    }

    #[test]
    fn a_long_page_is_cut_between_characters() {
        let page = "ü ".repeat(2000);
        let cut = excerpt(&page, &Secret::default());
        assert_eq!(cut.chars().count(), EXCERPT_CHARS_MAX);
    }

    #[test]
    fn the_key_is_struck_out_before_the_cut() {
        let key = Secret::new("abcdefgh");
        let page = format!("{}abcdefgh", "x".repeat(EXCERPT_CHARS_MAX - 4));
        assert!(!excerpt(&page, &key).contains("abcd"));
    }

    #[test]
    fn an_empty_key_strikes_nothing_out() {
        assert_eq!(redact("plain", &Secret::default()), "plain");
    }
}
