//! Whether a text reads as if its speaker has finished, by its last words.

/// How finished a text reads, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wording {
    /// It asks for more: it ends on "and", on "my number is", or in the middle of a number.
    Unfinished,
    /// It says nothing either way: a comma, or no mark at all.
    Open,
    /// It ends as a sentence does.
    Finished,
    /// It is an answer that stands alone, such as "Yes." or "Thank you."
    Closed,
}

/// Words after which an English sentence goes on.
const LEADING_ON: &[&str] = &[
    "a", "an", "the", "my", "your", "his", "her", "our", "their", "and", "or", "but", "so", "because", "if", "when",
    "that", "which", "who", "than", "as", "of", "to", "for", "with", "from", "at", "in", "on", "by", "about", "into",
    "is", "are", "was", "were", "am", "be", "im", "its", "i", "we", "they", "he", "she", "would", "could", "should",
    "will", "can", "want", "need", "like", "um", "uh", "er", "erm", "hmm", "well", "also", "then", "between", "until",
    "plus", "press", "please",
];

/// Ends that belong to [`LEADING_ON`] by their last word, and yet end sentences.
const ENDING_ALL_THE_SAME: &[&str] = &[
    "yes please",
    "no please",
    "please",
    "is it",
    "i am",
    "it is",
    "you are",
    "so",
    "if i can",
    "i would",
    "i will",
    "i can",
    "we can",
    "i could",
    "i think so",
    "come in",
    "go on",
    "hold on",
    "right on",
    "log in",
    "log on",
    "what is this about",
    "can you hear me please",
    "help me please",
    "again please",
    "one moment please",
];

/// Whole texts that need nothing more.
const STANDING_ALONE: &[&str] = &[
    "yes",
    "yeah",
    "yep",
    "yes please",
    "no",
    "nope",
    "no thanks",
    "no thank you",
    "okay",
    "ok",
    "sure",
    "alright",
    "all right",
    "correct",
    "thats right",
    "right",
    "exactly",
    "thanks",
    "thank you",
    "thank you very much",
    "goodbye",
    "good bye",
    "bye",
    "bye bye",
    "hello",
    "hi",
    "stop",
    "wait",
    "help",
    "yes it is",
    "yes i do",
    "no i dont",
    "thats all",
    "thats it",
    "nothing else",
];

/// Counts of digits at which a number that is dictated in groups has a group to come: 555 / 555 271 / 0 49 30 12.
const DIGITS_WITH_MORE_TO_COME: &[usize] = &[3, 6, 8, 9];

/// Returns how finished `text` reads.
#[must_use]
pub fn of(text: &str) -> Wording {
    let words = words(text);
    let Some(last) = words.last() else { return Wording::Open };
    let whole = words.join(" ");
    if STANDING_ALONE.contains(&whole.as_str()) {
        return Wording::Closed;
    }
    let trimmed = text.trim_end();
    if trimmed.ends_with(['-', '–', '—', ':', '…']) || trimmed.ends_with("...") {
        return Wording::Unfinished;
    }
    if DIGITS_WITH_MORE_TO_COME.contains(&digits_at_the_end(&words)) {
        return Wording::Unfinished;
    }
    let leads_on = LEADING_ON.contains(&last.as_str());
    if leads_on && !ENDING_ALL_THE_SAME.iter().any(|end| whole.ends_with(end) && *end != "so") {
        return Wording::Unfinished;
    }
    if trimmed.ends_with(['.', '!', '?']) { Wording::Finished } else { Wording::Open }
}

/// Returns whether two looks at one turn say the same as far as the shorter goes.
#[must_use]
pub fn agree(earlier: &str, later: &str) -> bool {
    let (earlier, later) = (words(earlier), words(later));
    let common = earlier.iter().zip(&later).take_while(|(a, b)| a == b).count();
    // The last word of the earlier look may have been cut in its middle.
    common > 0 && common + 1 >= earlier.len().min(later.len())
}

/// Returns whether a text can be what somebody said: it has a letter or digit, and is not one word over and over, which is
/// what the model writes about noise.
#[must_use]
pub fn is_plausible(text: &str) -> bool {
    let words = words(text);
    let Some(first) = words.first() else { return false };
    words.len() < 4 || words.iter().any(|word| word != first)
}

/// Returns the words in lower case, without punctuation.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| c.is_whitespace() || c == '-' || c == ',')
        .map(|word| word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>())
        .filter(|word| !word.is_empty())
        .collect()
}

/// Returns how many digits the words at the end dictate, one by one or in groups.
fn digits_at_the_end(words: &[String]) -> usize {
    let digits = |word: &String| match word.as_str() {
        "zero" | "oh" | "one" | "two" | "three" | "four" | "five" | "six" | "seven" | "eight" | "nine" => Some(1),
        "double" | "triple" => Some(0),
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => Some(number.len()),
        _ => None,
    };
    words.iter().rev().map_while(digits).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_that_leads_on_is_unfinished_whatever_its_full_stop() {
        for text in ["I'd like to book a table and.", "My number is", "Well,", "It's the", "I would like to", "For..."]
        {
            assert_eq!(of(text), Wording::Unfinished, "{text}");
        }
    }

    #[test]
    fn a_number_in_groups_is_unfinished_until_its_last_group() {
        assert_eq!(of("My number is 555."), Wording::Unfinished);
        assert_eq!(of("555-271"), Wording::Unfinished);
        assert_eq!(of("Five, five, five, two, seven, one."), Wording::Unfinished);
        assert_eq!(of("My number is 555-271-8346."), Wording::Finished);
        assert_eq!(of("It was 47192."), Wording::Finished);
        assert_eq!(of("I need two."), Wording::Finished);
    }

    #[test]
    fn a_short_answer_is_closed() {
        for text in ["Yes.", "No, thank you.", "Goodbye!", "OK"] {
            assert_eq!(of(text), Wording::Closed, "{text}");
        }
        assert_eq!(of("I want to cancel."), Wording::Finished);
        assert_eq!(of("What are your hours?"), Wording::Finished);
        assert_eq!(of("I want two cancelled"), Wording::Open);
        assert_eq!(of("One moment, please."), Wording::Finished);
        assert_eq!(of(""), Wording::Open);
    }

    #[test]
    fn two_looks_agree_when_one_begins_like_the_other() {
        assert!(agree("I'd like", "I'd like to book"));
        assert!(agree("I'd like to boo", "I'd like to book a table"));
        assert!(!agree("Yes, yes, yes.", "He might eat"));
        assert!(!agree("", "Hello"));
    }

    #[test]
    fn one_word_over_and_over_is_not_plausible() {
        assert!(!is_plausible("Yes, yes, yes, yes."));
        assert!(!is_plausible(" ... "));
        assert!(is_plausible("No, no, no."));
        assert!(is_plausible("5"));
    }
}
