//! A stream of tokens into clauses worth speaking: the first one soon, the others whole.

use super::spoken::{Piece, Spoken, belongs_to, end_line, goes_on};
use std::time::Duration;

/// Words after which a comma ends the first clause; "Sure, we do" sounds better in one piece than "Sure" alone, and three
/// words last the second that the next clause takes to be made.
const FIRST_COMMA_WORDS: usize = 3;
/// Words after which a comma ends a later clause: those have time, and a voice phrases long clauses better.
const COMMA_WORDS: usize = 8;
/// Words after which the first clause ends in front of an `and`.
const FIRST_JOINT_WORDS: usize = 4;
/// Words after which a later clause ends in front of an `and`.
const JOINT_WORDS: usize = 12;
/// The longest first clause in words, four seconds of speech: past that, a sentence without punctuation goes out by words.
const FIRST_WORDS_MAX: usize = 12;
/// The longest later clause in words, about ten seconds of speech.
const WORDS_MAX: usize = 30;
/// The fewest words of a first clause that are worth speaking when it is late: two last as long as the next are made.
const FIRST_HURRIED_WORDS: usize = 2;
/// The fewest words of a later clause.
const HURRIED_WORDS: usize = 3;

/// How long the first words of a reply wait for the end of their clause: the caller waits with them. A quick model
/// (1000 tokens a second) has six words by then, and a slower one would keep the caller waiting for its full stop.
pub const FIRST_WAIT: Duration = Duration::from_millis(6);
/// How long the words of the second clause wait: the first may be two words, which are played in half a second.
pub const SECOND_WAIT: Duration = Duration::from_millis(300);
/// How long the first words of a later clause wait: the clause before it takes at least that long to play.
pub const WAIT: Duration = Duration::from_millis(700);

/// How many words longer a clause may become so as not to be cut within a date, an amount or a name.
const BOUND_WORDS_MAX: usize = 4;

/// Further abbreviations whose full stop does not end a sentence, without it.
const ABBREVIATIONS: [&str; 4] = ["co", "est", "fig", "vol"];

/// Words that begin a part of a sentence.
const JOINTS: [&str; 6] = ["and", "but", "because", "so", "or", "which"];

/// The reply's text, cut into clauses. Each ends with a space, since a voice joins them verbatim.
#[derive(Clone, Debug, Default)]
pub struct Clauses {
    spoken: Spoken,
    /// The clause under way.
    clause: String,
    words: usize,
    /// Where in the clause the words begin that go with what is to come, such as "Dr." or "$5"; its length where none do.
    bound: usize,
    /// How many words stand in front of `bound`.
    free: usize,
    /// How many clauses were given out.
    given: usize,
}

impl Clauses {
    /// Adds a piece of the reply, cut anywhere.
    pub fn push(&mut self, token: &str) {
        self.spoken.push(token);
    }

    /// Returns the next clause that is whole.
    pub fn next_clause(&mut self) -> Option<String> {
        while let Some(piece) = self.spoken.next_piece() {
            if let Some(clause) = self.add(piece) {
                return Some(clause);
            }
        }
        None
    }

    /// Returns the words of a clause that is late, without its end.
    pub fn hurried(&mut self) -> Option<String> {
        let enough = if self.given == 0 { FIRST_HURRIED_WORDS } else { HURRIED_WORDS };
        if self.free < enough {
            return None;
        }
        let (bound, words) = (self.clause.split_off(self.bound), self.words - self.free);
        let late = self.give();
        (self.clause, self.words) = (bound.trim_start().to_owned(), words);
        late
    }

    /// Whether words wait for the end of their clause.
    #[must_use]
    pub fn waiting(&self) -> bool {
        self.words > 0
    }

    /// How long words may wait for the end of their clause.
    #[must_use]
    pub fn patience(&self) -> Duration {
        match self.given {
            0 => FIRST_WAIT,
            1 => SECOND_WAIT,
            _ => WAIT,
        }
    }

    /// Returns what is left of a reply that is complete: drain it to `None`.
    pub fn last_clause(&mut self) -> Option<String> {
        while let Some(piece) = self.spoken.last_piece() {
            if let Some(clause) = self.add(piece) {
                return Some(clause);
            }
        }
        self.give()
    }

    /// Adds a piece, and returns the clause that it ends, or the one in front of it.
    fn add(&mut self, piece: Piece) -> Option<String> {
        let word = match piece {
            Piece::Word(word) => word,
            Piece::Break => {
                end_line(&mut self.clause);
                return self.give();
            }
        };
        let first = self.given == 0;
        let joint = if first { FIRST_JOINT_WORDS } else { JOINT_WORDS };
        let (comma, max) = if first { (FIRST_COMMA_WORDS, FIRST_WORDS_MAX) } else { (COMMA_WORDS, WORDS_MAX) };
        // A date's comma ends nothing; whether it was one is known by the word behind it.
        let part = self.words >= comma && ends_part(&self.clause) && !self.ends_in(|last| belongs_to(last, &word));
        let joins = self.words >= joint && JOINTS.contains(&word.as_str());
        let before = if part || joins { self.give() } else { None };
        if !self.clause.is_empty() {
            self.clause.push(' ');
        }
        self.clause.push_str(&word);
        self.words += 1;
        if goes_on(&word) {
            self.bound = self.bound.min(self.clause.len() - word.len());
        } else {
            (self.bound, self.free) = (self.clause.len(), self.words);
        }
        if before.is_some() {
            return before;
        }
        let dated = word.ends_with(',') && word.starts_with(|c: char| c.is_ascii_digit());
        let part = self.words >= comma && ends_part(&word) && !dated;
        let full = self.words >= max && (self.free == self.words || self.words >= max + BOUND_WORDS_MAX);
        if ends_sentence(&word) || part || full { self.give() } else { None }
    }

    fn ends_in(&self, test: impl Fn(&str) -> bool) -> bool {
        self.clause.split_whitespace().next_back().is_some_and(test)
    }

    fn give(&mut self) -> Option<String> {
        if !self.clause.contains(char::is_alphanumeric) {
            return None;
        }
        (self.words, self.bound, self.free) = (0, 0, 0);
        self.given += 1;
        let mut clause = std::mem::take(&mut self.clause);
        clause.push(' ');
        Some(clause)
    }
}

/// Whether a sentence ends with `word`. Where that is in doubt it does not: the next end comes soon enough.
fn ends_sentence(word: &str) -> bool {
    let word = word.trim_end_matches([')', '"', '\'', '”', '’', '»']);
    if word.ends_with(['!', '?', '…', '。', '！', '？', '।', '؟']) || word.ends_with("...") {
        return true;
    }
    let Some(stem) = word.strip_suffix('.') else { return false };
    let stem = stem.trim_start_matches(|c: char| !c.is_alphanumeric());
    let mut letters = stem.chars();
    let initial = letters.next().is_some_and(|c| c.is_alphabetic() && c != 'I') && letters.next().is_none();
    // `e.g.`, `a.m.`, `U.S.`
    let dotted = stem.contains('.') && stem.split('.').all(|part| part.chars().count() == 1);
    !initial && !dotted && !goes_on(&format!("{stem}.")) && !ABBREVIATIONS.contains(&stem.to_lowercase().as_str())
}

/// Whether a part of a sentence ends with `word`.
fn ends_part(word: &str) -> bool {
    word.trim_end_matches([')', '"', '”']).ends_with([',', ';', ':', '–', '—', '，', '、', '；', '،'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clauses of a reply that comes whole, and the same in pieces of any size.
    fn clauses(text: &str) -> Vec<String> {
        let whole = cut(&[text]);
        for size in [1, 3, 7] {
            let chars: Vec<char> = text.chars().collect();
            let tokens: Vec<String> = chars.chunks(size).map(|chunk| chunk.iter().collect()).collect();
            let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
            assert_eq!(cut(&tokens), whole, "in pieces of {size}");
        }
        whole
    }

    fn cut(tokens: &[&str]) -> Vec<String> {
        let mut clauses = Clauses::default();
        let mut out = Vec::new();
        for token in tokens {
            clauses.push(token);
            while let Some(clause) = clauses.next_clause() {
                out.push(clause);
            }
        }
        while let Some(clause) = clauses.last_clause() {
            out.push(clause);
        }
        out
    }

    #[test]
    fn each_sentence_is_a_clause_with_a_space_behind_it() {
        assert_eq!(clauses("Yes. We do! Shall I book it?"), ["Yes. ", "We do! ", "Shall I book it? "]);
        assert_eq!(clauses("\"Yes.\" (Really?) Fine"), ["\"Yes.\" ", "(Really?) ", "Fine "]);
        assert_eq!(clauses("好的。我们九点开门。"), ["好的。 ", "我们九点开门。 "]);
    }

    #[test]
    fn numbers_and_abbreviations_are_not_split() {
        assert_eq!(
            clauses("Dr. J. Smith opens at 3.30 a.m. or so, e.g. today. Fine."),
            ["Dr. J. Smith opens at 3.30 a.m. ", "or so, e.g. today. ", "Fine. "]
        );
        assert_eq!(clauses("It costs 1,000.50 dollars. OK."), ["It costs 1,000.50 dollars. ", "OK. "]);
        assert_eq!(clauses("No. So do I. Bye."), ["No. ", "So do I. ", "Bye. "]);
    }

    #[test]
    fn the_first_clause_ends_at_a_comma_and_later_ones_at_the_sentence() {
        assert_eq!(
            clauses("Sure, we can do that, no problem at all. For Monday, Tuesday or Friday, as you like."),
            ["Sure, we can do that, ", "no problem at all. ", "For Monday, Tuesday or Friday, as you like. "]
        );
        assert_eq!(clauses("We open at nine and close at five."), ["We open at nine ", "and close at five. "]);
    }

    #[test]
    fn a_sentence_without_punctuation_goes_out_by_words() {
        let text = "word ".repeat(100);
        let lengths: Vec<usize> = clauses(&text).iter().map(|clause| clause.split_whitespace().count()).collect();
        assert_eq!(lengths, [12, 30, 30, 28]);
    }

    #[test]
    fn late_words_can_be_had_before_their_clause_ends() {
        let mut clauses = Clauses::default();
        clauses.push("Our ");
        assert_eq!(clauses.next_clause(), None);
        assert!(clauses.waiting());
        assert_eq!(clauses.hurried(), None, "one word is too little");
        clauses.push("table for two isn");
        assert_eq!(clauses.next_clause(), None);
        assert_eq!(clauses.hurried().as_deref(), Some("Our table for two "), "a word under way is not cut");
        assert!(!clauses.waiting());
        clauses.push("'t free.");
        assert_eq!(clauses.last_clause().as_deref(), Some("isn't free. "));
        assert_eq!(clauses.last_clause(), None);
    }

    #[test]
    fn a_clause_is_not_cut_within_a_number_a_date_or_a_name() {
        assert_eq!(clauses("It is on March 5, 2026, at noon."), ["It is on March 5, 2026, ", "at noon. "]);
        assert_eq!(clauses("We have it on Mon. and Tues. at 4."), ["We have it on Mon. ", "and Tues. at 4. "]);
        assert_eq!(clauses("There are 5, maybe 6 of them left."), ["There are 5, ", "maybe 6 of them left. "]);
        for (said, late, rest) in [
            ("It costs about $5 ", "It costs about ", "$5 million. "),
            ("Please come at 10 ", "Please come at ", "10 million. "),
            ("You will see Dr. ", "You will see ", "Dr. million. "),
            ("It weighs 3.", "It weighs ", "3.million. "),
            ("She comes on March ", "She comes on ", "March million. "),
        ] {
            let mut clauses = Clauses::default();
            clauses.push(said);
            assert_eq!(clauses.next_clause(), None, "{said}");
            assert_eq!(clauses.hurried().as_deref(), Some(late));
            assert_eq!(clauses.hurried(), None, "{said}");
            clauses.push("million.");
            assert_eq!(clauses.last_clause().as_deref(), Some(rest));
        }
        let street = clauses(&format!("{}Mr. {}", "word ".repeat(11), "5 ".repeat(20)));
        assert_eq!(street[0].split_whitespace().count(), 16, "figures without end are cut all the same: {street:?}");
    }

    #[test]
    fn what_says_nothing_is_no_clause() {
        assert_eq!(clauses(" \n 😀 – ... \n\n"), Vec::<String>::new());
        assert_eq!(clauses("<think>Yes.</think>"), Vec::<String>::new());
    }

    #[test]
    fn clauses_joined_are_the_whole_text() {
        let text =
            "Well, Dr. Who – the one you asked for – is in at 3.30 p.m. today, and Mr. X isn't; so, shall I, or not?";
        assert_eq!(clauses(text).concat().trim_end(), text);
    }
}
