//! What Nova says, as the words of the caller's turn: interim and final results in, the text so far out; pure.

use crate::agent::TimedWord;
use crate::time::Instant;
use serde_json::{Map, Value};
use std::time::Duration;

/// The most pieces of one turn: some minutes of speech.
const PIECES_MAX: usize = 400;
/// The most words of one turn that are told with their times: some minutes of speech.
const WORDS_MAX: usize = 1_000;

/// Tells when the sound at a time of the connection's audio arrived.
type Arrival<'a> = &'a dyn Fn(Duration) -> Option<Instant>;

/// What one message of the server comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// There may be other words; `settled` if all that was heard is written down.
    Words { settled: bool },
    /// It gives up; the connection closes next.
    Error(String),
    /// It asks for nothing, known or not.
    Other,
}

/// The words of the turn, as far as Nova has told.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// Pieces that do not change any more.
    finals: Vec<String>,
    /// What is heard after them, so far.
    interim: String,
    /// The words of both with their times.
    finals_timed: Vec<TimedWord>,
    interim_timed: Vec<TimedWord>,
    /// How much of this connection's audio has final words.
    covered: Duration,
    /// Where the last turn's words end in this connection's audio: what begins before that was told.
    told: Duration,
    /// Where the last word of the present turn ends.
    last_word_end: Duration,
}

impl Results {
    /// Takes one text message; `arrived` tells when the sound at a time of this connection's audio arrived.
    pub(super) fn handle_message(&mut self, text: &str, arrived: Arrival<'_>) -> Said {
        let Ok(Value::Object(message)) = serde_json::from_str::<Value>(text) else { return Said::Other };
        let word = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
        match word("type") {
            "Results" => self.take(&message, arrived),
            // All words before it are final already; it only says that none follow.
            "UtteranceEnd" => Said::Words { settled: self.interim.is_empty() },
            "Error" => Said::Error(format!("{} {} {}", word("variant"), word("description"), word("message"))),
            _ => Said::Other,
        }
    }

    /// Returns the turn's text so far.
    pub(super) fn words(&self) -> String {
        let parts = self.finals.iter().chain([&self.interim]).map(String::as_str);
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// Takes the words of the turn out that were told with their times, at its end.
    pub(super) fn take_words(&mut self) -> Vec<TimedWord> {
        let mut words = std::mem::take(&mut self.finals_timed);
        words.append(&mut self.interim_timed);
        words
    }

    /// The turn is over: what follows is another one. Returns how much of the connection's audio is told.
    pub(super) fn end_turn(&mut self) -> Duration {
        self.finals.clear();
        self.interim.clear();
        self.take_words().clear();
        self.told = self.told.max(self.last_word_end);
        self.told.max(self.covered)
    }

    /// A new connection, which counts from zero. Returns how much of the lost one's audio has final words; the rest is to be
    /// heard again.
    pub(super) fn reconnected(&mut self) -> Duration {
        self.interim.clear();
        self.interim_timed.clear();
        let covered = self.covered.max(self.told);
        (self.covered, self.told, self.last_word_end) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        covered
    }

    fn take(&mut self, message: &Map<String, Value>, arrived: Arrival<'_>) -> Said {
        let flag = |name: &str| message.get(name).and_then(Value::as_bool).unwrap_or(false);
        let (is_final, settled) = (flag("is_final"), flag("speech_final") || flag("from_finalize"));
        let start = message.get("start").and_then(seconds).unwrap_or_default();
        let end = start + message.get("duration").and_then(seconds).unwrap_or_default();
        let alternative = message.get("channel").and_then(|channel| channel.get("alternatives")?.get(0));
        let mut timed = Vec::new();
        let text =
            alternative.map(|alternative| self.text(alternative, start, arrived, &mut timed)).unwrap_or_default();
        timed.truncate(WORDS_MAX);
        if is_final || settled {
            self.covered = self.covered.max(end);
            self.interim.clear();
            self.interim_timed.clear();
            self.finals_timed.append(&mut timed);
            self.finals_timed.truncate(WORDS_MAX);
            if !text.is_empty() && self.finals.len() < PIECES_MAX {
                self.finals.push(text);
            }
        } else {
            (self.interim, self.interim_timed) = (text, timed);
        }
        Said::Words { settled }
    }

    /// Returns the words of a result that no turn has had yet, and puts those that have times into `timed`.
    fn text(
        &mut self,
        alternative: &Value,
        start: Duration,
        arrived: Arrival<'_>,
        timed: &mut Vec<TimedWord>,
    ) -> String {
        let words = alternative.get("words").and_then(Value::as_array).filter(|words| !words.is_empty());
        let Some(words) = words else {
            let whole = alternative.get("transcript").and_then(Value::as_str).unwrap_or_default();
            return if start >= self.told { whole.trim().to_owned() } else { String::new() };
        };
        let mut text = String::new();
        for word in words {
            let time = |name: &str| word.get(name).and_then(seconds);
            if time("start").is_some_and(|start| start < self.told) {
                continue;
            }
            self.last_word_end = self.last_word_end.max(time("end").unwrap_or_default());
            let shown = word.get("punctuated_word").or_else(|| word.get("word")).and_then(Value::as_str);
            if let Some(shown) = shown.filter(|shown| !shown.is_empty()) {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(shown);
                let times = time("start").and_then(arrived).zip(time("end").and_then(arrived));
                timed.extend(times.map(|(from, to)| TimedWord { text: shown.to_owned(), from, to }));
            }
        }
        text
    }
}

fn seconds(value: &Value) -> Option<Duration> {
    Duration::try_from_secs_f64(value.as_f64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(start: f64, words: &[&str], flags: &str) -> String {
        let timed: Vec<String> = words
            .iter()
            .enumerate()
            .map(|(n, word)| {
                let at = start + 0.1 * n as f64;
                format!(r#"{{"word":"x","punctuated_word":"{word}","start":{at},"end":{}}}"#, at + 0.1)
            })
            .collect();
        format!(
            r#"{{"type":"Results","start":{start},"duration":1.0,{flags},"channel":{{"alternatives":[{{"transcript":"{}","words":[{}]}}]}}}}"#,
            words.join(" "),
            timed.join(",")
        )
    }

    /// The connection began a second after the engine.
    fn handle(results: &mut Results, text: &str) -> Said {
        results.handle_message(text, &|time| Some(Instant::from_millis(1_000) + time))
    }

    const INTERIM: &str = r#""is_final":false"#;
    const FINAL: &str = r#""is_final":true"#;
    const SPEECH_FINAL: &str = r#""is_final":true,"speech_final":true"#;

    #[test]
    fn finals_are_joined_and_an_interim_is_replaced() {
        let mut results = Results::default();
        assert_eq!(handle(&mut results, &result(0.0, &["I'd"], INTERIM)), Said::Words { settled: false });
        assert_eq!(results.words(), "I'd");
        handle(&mut results, &result(0.0, &["I'd", "like"], FINAL));
        handle(&mut results, &result(1.0, &["a"], INTERIM));
        assert_eq!(results.words(), "I'd like a");
        assert_eq!(handle(&mut results, &result(1.0, &["tea."], SPEECH_FINAL)), Said::Words { settled: true });
        assert_eq!(results.words(), "I'd like tea.");
    }

    #[test]
    fn what_a_turn_has_told_is_not_told_by_the_next() {
        let mut results = Results::default();
        handle(&mut results, &result(0.0, &["Yes."], INTERIM));
        assert_eq!(results.end_turn(), Duration::from_millis(100));
        handle(&mut results, &result(0.0, &["Yes.", "And", "no."], FINAL));
        assert_eq!(results.words(), "And no.");
        assert_eq!(results.end_turn(), Duration::from_secs(1));
        assert_eq!(results.words(), "");
    }

    #[test]
    fn settled_words_stay_over_a_new_connection_and_the_rest_is_heard_again() {
        let mut results = Results::default();
        handle(&mut results, &result(0.0, &["My", "number"], FINAL));
        handle(&mut results, &result(1.0, &["is"], INTERIM));
        assert_eq!(results.reconnected(), Duration::from_secs(1));
        assert_eq!(results.words(), "My number");
        handle(&mut results, &result(0.0, &["is", "five"], FINAL));
        assert_eq!(results.words(), "My number is five");
    }

    #[test]
    fn strange_messages_do_no_harm() {
        let mut results = Results::default();
        for text in ["", "[]", "{}", r#"{"type":"Mood"}"#, r#"{"type":"Metadata"}"#] {
            assert_eq!(handle(&mut results, text), Said::Other);
        }
        let odd =
            r#"{"type":"Results","start":-1,"duration":"x","channel":{"alternatives":[{"words":[{"start":1e300}]}]}}"#;
        assert_eq!(handle(&mut results, odd), Said::Words { settled: false });
        assert_eq!(
            handle(&mut results, r#"{"type":"UtteranceEnd","last_word_end":-1}"#),
            Said::Words { settled: true }
        );
        assert!(
            matches!(handle(&mut results, r#"{"type":"Error","message":"no"}"#), Said::Error(text) if text.contains("no"))
        );
    }

    #[test]
    fn words_have_the_times_at_which_they_were_said() {
        let mut results = Results::default();
        handle(&mut results, &result(0.0, &["I'd", "lick"], INTERIM));
        handle(&mut results, &result(0.0, &["I'd", "like"], FINAL));
        handle(&mut results, &result(1.0, &["tea."], INTERIM));
        let at = Instant::from_millis;
        let word = |text: &str, from, to| TimedWord { text: text.into(), from: at(from), to: at(to) };
        let words = [word("I'd", 1000, 1100), word("like", 1100, 1200), word("tea.", 2000, 2100)];
        assert_eq!(results.take_words(), words);
        results.end_turn();
        handle(&mut results, &result(1.0, &["tea.", "Now!"], FINAL));
        assert_eq!(results.take_words(), [word("Now!", 2100, 2200)], "what was told is not told again");
        let untimed = r#"{"type":"Results","is_final":true,"channel":{"alternatives":[{"words":[{"word":"x"}]}]}}"#;
        handle(&mut results, untimed);
        assert_eq!((results.words().as_str(), results.take_words().len()), ("Now! x", 0));
    }
}
