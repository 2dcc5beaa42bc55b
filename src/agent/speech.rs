//! What of a reply was sent to the voice, and how much of that the caller has heard.

use super::WordSpan;
use std::time::Duration;

/// How many words of the text a voice may leave out of its report before the next one that it tells: it joins words, or
/// says `3` as `three`. More would let one word found far ahead claim too much.
const SKIPPED_MAX: usize = 3;

/// The text of one turn's speech and its marks in time.
#[derive(Clone, Debug, Default)]
pub struct Speech {
    sent: String,
    /// Ends of spoken parts: where in `sent`, and when in the turn's audio. Both never fall.
    marks: Vec<(usize, Duration)>,
    length: Option<Duration>,
}

impl Speech {
    /// Notes that `text` is sent to the voice.
    pub fn send(&mut self, text: &str) {
        self.sent.push_str(text);
    }

    /// Returns all that was sent.
    #[must_use]
    pub fn sent(&self) -> &str {
        self.sent.trim_end()
    }

    /// Whether anything was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Notes that the voice has spoken `text`, a clause or a word, up to `end` of the turn's audio.
    pub fn spoken(&mut self, text: &str, end: Duration) {
        let start = self.marks.last().map_or(0, |mark| mark.0);
        let mut at = start;
        for word in text.split_whitespace().map(bare).filter(|word| !word.is_empty()) {
            let ahead = words(&self.sent[at..]).take(SKIPPED_MAX + 1);
            let mut found = ahead.filter(|&(from, to)| bare(&self.sent[at + from..at + to]).eq_ignore_ascii_case(word));
            if let Some((_, to)) = found.next() {
                at += to;
            }
        }
        if at > start {
            let end = self.marks.last().map_or(end, |mark| end.max(mark.1));
            self.marks.push((at, end));
        }
    }

    /// Notes that the turn's audio is whole and `length` long.
    pub fn done(&mut self, length: Duration) {
        self.length = Some(length);
    }

    /// Returns how long the audio is, once it is whole.
    #[must_use]
    pub fn length(&self) -> Option<Duration> {
        self.length
    }

    /// Whether the voice has made all of it.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.length.is_some()
    }

    /// Returns the words that were heard whole when `heard` of the audio was played. Within a part whose words have no
    /// times of their own, time passes evenly over its letters.
    #[must_use]
    pub fn heard(&self, heard: Duration) -> &str {
        let passed = self.marks.partition_point(|mark| mark.1 <= heard);
        let (from, since) = match passed.checked_sub(1) {
            Some(last) => self.marks[last],
            None => (0, Duration::ZERO),
        };
        let next = self.marks.get(passed).copied().or(self.length.map(|length| (self.sent.len(), length)));
        let to = match next {
            Some((to, end)) if end <= heard => to,
            Some((to, end)) => {
                let share = (heard - since).as_secs_f64() / (end - since).as_secs_f64();
                let reached = ((to - from) as f64 * share) as usize;
                let whole = words(&self.sent[from..to]).map(|word| word.1).take_while(|&end| end <= reached).last();
                from + whole.unwrap_or(0)
            }
            None => from,
        };
        self.sent[..to].trim_end()
    }

    /// Returns how many words were heard for certain when `heard` of the audio was played, and how many at most: one of which
    /// only a part was heard is not certain, nor is where the words are in a part whose words have no times of their own.
    #[must_use]
    pub fn span(&self, heard: Duration) -> WordSpan {
        let passed = self.marks.partition_point(|mark| mark.1 <= heard);
        let (from, since) = passed.checked_sub(1).map_or((0, Duration::ZERO), |last| self.marks[last]);
        let next = self.marks.get(passed).copied().or(self.length.map(|length| (self.sent.len(), length)));
        let (from, to) = match next {
            Some((to, end)) if end <= heard => (to, to),
            _ if heard <= since => (from, from),
            Some((to, _)) => (from, to),
            // Of what the voice has not told yet, all may have been heard.
            None => (from, self.sent.len()),
        };
        let count = |to: usize| words(&self.sent[..to]).count() as u32;
        WordSpan { min: count(from), max: count(to) }
    }

    /// Returns the span of a speech that was heard to its end.
    #[must_use]
    pub fn whole(&self) -> WordSpan {
        let all = words(&self.sent).count() as u32;
        WordSpan { min: all, max: all }
    }
}

/// Returns where each word of `text` starts and ends.
fn words(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let start = text.as_ptr() as usize;
    text.split_whitespace().map(move |word| {
        let from = word.as_ptr() as usize - start;
        (from, from + word.len())
    })
}

/// Returns `word` without the punctuation around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn speech(clauses: &[&str], spoken: &[(&str, u64)]) -> Speech {
        let mut speech = Speech::default();
        for clause in clauses {
            speech.send(clause);
        }
        for &(text, end) in spoken {
            speech.spoken(text, ms(end));
        }
        speech
    }

    #[test]
    fn words_with_times_are_heard_when_they_have_ended() {
        let words = [("We", 200), ("open", 500), ("at", 600), ("nine.", 1000), ("Bye!", 1500)];
        let speech = speech(&["We open at nine. ", "Bye! "], &words);
        assert_eq!(speech.heard(ms(0)), "");
        assert_eq!(speech.heard(ms(199)), "");
        assert_eq!(speech.heard(ms(200)), "We");
        assert_eq!(speech.heard(ms(999)), "We open at");
        assert_eq!(speech.heard(ms(1400)), "We open at nine.");
        assert_eq!(speech.heard(ms(9000)), "We open at nine. Bye!");
    }

    #[test]
    fn a_clause_without_word_times_is_cut_in_proportion_and_rounded_down() {
        let speech = speech(&["Yes. ", "We open at nine. "], &[("Yes. ", 500), ("We open at nine. ", 2500)]);
        assert_eq!(speech.heard(ms(499)), "");
        assert_eq!(speech.heard(ms(500)), "Yes.");
        assert_eq!(speech.heard(ms(1500)), "Yes. We open");
        assert_eq!(speech.heard(ms(2499)), "Yes. We open at");
        assert_eq!(speech.heard(ms(2500)), "Yes. We open at nine.");
    }

    #[test]
    fn a_voice_that_tells_only_its_length_is_cut_in_proportion() {
        let mut speech = speech(&["one two ", "three four "], &[]);
        assert_eq!(speech.heard(ms(5000)), "", "nothing is claimed that nobody has told");
        speech.done(ms(2000));
        assert_eq!(speech.heard(ms(1000)), "one two");
        assert_eq!(speech.heard(ms(2000)), "one two three four");
    }

    #[test]
    fn reports_that_say_it_in_other_words_do_not_claim_too_much() {
        let times = [("it", 200), ("costs", 400), ("three", 600), ("dollars", 1000), ("the", 1200), ("Friday", 1500)];
        let speech = speech(&["It costs $3, dollars I mean, on all of the five days before Friday. "], &times);
        assert_eq!(speech.heard(ms(700)), "It costs $3,");
        assert_eq!(speech.heard(ms(500)), "It costs");
        assert_eq!(speech.heard(ms(1000)), "It costs $3, dollars");
        assert_eq!(speech.heard(ms(9000)), "It costs $3, dollars", "a word far ahead is another one");
    }

    #[test]
    fn repeated_words_are_taken_in_order() {
        let speech =
            speech(&["no, no, no and no. "], &[("no,", 100), ("no,", 200), ("no", 300), ("and", 400), ("no.", 500)]);
        assert_eq!(speech.heard(ms(250)), "no, no,");
        assert_eq!(speech.heard(ms(500)), "no, no, no and no.");
    }

    #[test]
    fn how_many_words_were_heard_is_told_as_a_span() {
        let span = |speech: &Speech, at: u64| {
            let span = speech.span(ms(at));
            (span.min, span.max)
        };
        let each = [("We", 200), ("open", 500), ("at", 600), ("nine.", 1000)];
        let mut told = speech(&["We open at nine. ", "Bye! "], &each);
        assert_eq!([0, 100, 200, 599, 600].map(|at| span(&told, at)), [(0, 0), (0, 1), (1, 1), (2, 3), (3, 3)]);
        assert_eq!(span(&told, 1100), (4, 5), "the voice has yet to tell");
        told.done(ms(1500));
        assert_eq!([1000, 1100, 1500].map(|at| span(&told, at)), [(4, 4), (4, 5), (5, 5)]);
        let clauses = speech(&["Yes. ", "We open at nine. "], &[("Yes. ", 500), ("We open at nine. ", 2500)]);
        assert_eq!([499, 500, 1500, 2500].map(|at| span(&clauses, at)), [(0, 1), (1, 1), (1, 5), (5, 5)]);
    }

    #[test]
    fn times_that_run_backwards_are_taken_for_the_latest() {
        let speech = speech(&["a b c "], &[("a", 300), ("b", 100), ("c", 400)]);
        assert_eq!(speech.heard(ms(299)), "");
        assert_eq!(speech.heard(ms(300)), "a b");
    }

    #[test]
    fn what_was_heard_is_a_prefix_that_only_grows() {
        for seed in 0..2000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let vocabulary = ["yes", "no,", "żółw", "we", "open.", "–", "9.30", "the"];
            let mut word = || vocabulary[rng.usize(0..vocabulary.len())];
            let sent: Vec<&str> = (0..12).map(|_| word()).collect();
            let reported: Vec<&str> = (0..12).map(|at| if at % 5 == 4 { word() } else { sent[at] }).collect();
            let mut speech = speech(&[&sent.join(" ")], &[]);
            for text in reported {
                speech.spoken(text, ms(rng.u64(0..3000)));
            }
            if rng.bool() {
                speech.done(ms(rng.u64(0..4000)));
            }
            let mut last = "";
            for millis in (0..5000).step_by(50) {
                let heard = speech.heard(ms(millis));
                assert!(speech.sent().starts_with(heard) && heard.starts_with(last), "seed {seed}: {heard:?} {last:?}");
                let (span, count) = (speech.span(ms(millis)), words(heard).count() as u32);
                assert!(span.min <= count && count <= span.max, "seed {seed}: {heard:?} {span:?}");
                last = heard;
            }
        }
    }
}
