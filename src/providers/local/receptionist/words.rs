//! What a recogniser wrote, taken apart: sentences, words, stems, and the little words in front that say nothing.

/// Splits at full stops, question and exclamation marks that end a word; "3.30" and "a.m." stay whole.
#[must_use]
pub fn sentences(line: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    for (at, c) in line.char_indices() {
        let end = at + c.len_utf8();
        let closes = line[end..].chars().next().is_none_or(char::is_whitespace);
        let word = line[start..at].rsplit(char::is_whitespace).next().unwrap_or("");
        let abbreviation = c == '.' && (word.contains('.') || (word.chars().count() == 1 && word != "I"));
        if matches!(c, '.' | '?' | '!') && closes && !abbreviation {
            out.push(line[start..end].trim());
            start = end;
        }
    }
    out.push(line[start..].trim());
    out.retain(|sentence| sentence.chars().any(char::is_alphanumeric));
    out
}

/// The words of `text` in small letters; apostrophes stay.
#[must_use]
pub fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase().replace('\u{2019}', "'");
    text.split(|c: char| !(c.is_alphanumeric() || c == '\''))
        .map(|word| word.trim_matches('\'').to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

/// Words that say nothing about the topic.
const EMPTY: [&str; 62] = [
    "a", "an", "the", "is", "are", "am", "was", "were", "be", "been", "do", "does", "did", "to", "of", "in", "on",
    "at", "for", "and", "or", "i", "i'm", "you", "you're", "your", "my", "me", "we", "it", "it's", "its", "that",
    "that's", "this", "can", "could", "would", "will", "please", "just", "um", "uh", "so", "well", "hi", "hello",
    "hey", "okay", "ok", "yes", "yeah", "know", "want", "like", "i'd", "tell", "some", "there", "with", "what",
    "what's",
];

/// The words that carry the topic, without their endings.
#[must_use]
pub fn stems(text: &str) -> Vec<String> {
    let mut out: Vec<String> =
        words(text).iter().filter(|word| !EMPTY.contains(&word.as_str())).map(|w| stem(w)).collect();
    out.sort_unstable();
    out.dedup();
    out
}

fn stem(word: &str) -> String {
    let word = word.strip_suffix("'s").unwrap_or(word);
    let stem = ["ing", "ed", "es", "s"]
        .iter()
        .find_map(|ending| word.strip_suffix(ending))
        .filter(|stem| stem.len() >= 3 && !stem.ends_with('s'))
        .unwrap_or(word);
    stem.trim_end_matches('e').to_owned()
}

/// Words that open an utterance and say nothing.
const LEAD_IN: [&str; 19] = [
    "um", "uh", "er", "hmm", "well", "so", "okay", "ok", "oh", "ah", "hi", "hello", "hey", "yes", "yeah", "and", "but",
    "then", "alright",
];

/// Returns `sentence` without its lead-in ("Um, yes, hello, ..."), unless nothing else is there.
#[must_use]
pub fn without_lead_in(sentence: &str) -> &str {
    let mut rest = sentence;
    loop {
        let word = rest.split([' ', ',', '.', '!', '-']).next().unwrap_or("");
        let after = rest[word.len()..].trim_start_matches([' ', ',', '.', '!', '-']);
        if word.is_empty() || after.is_empty() || !LEAD_IN.contains(&word.to_lowercase().as_str()) {
            return rest;
        }
        rest = after;
    }
}

/// Whether `phrase` stands in `all` as a run of whole words.
#[must_use]
pub fn has_phrase(all: &[String], phrase: &str) -> bool {
    let phrase = words(phrase);
    !phrase.is_empty() && all.windows(phrase.len()).any(|run| run == phrase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_where_people_end_them() {
        assert_eq!(sentences("Hi. At 3.30 p.m. please! OK?"), ["Hi.", "At 3.30 p.m. please!", "OK?"]);
        assert_eq!(sentences("no mark"), ["no mark"]);
        assert!(sentences(" ... ").is_empty());
    }

    #[test]
    fn a_lead_in_is_dropped_but_not_the_whole_sentence() {
        assert_eq!(without_lead_in("Um, yes, hello, when do you open?"), "when do you open?");
        assert_eq!(without_lead_in("Yes."), "Yes.");
        assert_eq!(without_lead_in("Hello there"), "there");
        assert_eq!(without_lead_in(""), "");
    }

    #[test]
    fn stems_of_one_word_are_equal() {
        assert_eq!(stems("opening hours"), stems("the hour you opened"));
        assert_eq!(stems("What's the price?"), stems("prices"));
    }

    #[test]
    fn a_phrase_is_found_only_as_whole_words() {
        assert!(has_phrase(&words("Okay, good bye now"), "good bye"));
        assert!(!has_phrase(&words("maybe so"), "bye"));
        assert!(!has_phrase(&words("maybe so"), ""));
    }
}
