//! What Flux says, as turns: its messages in, at most one event each out; pure.

use super::cadence::{Cadence, Regular};
use crate::time::Instant;
use serde_json::Value;
use std::time::Duration;

/// What one message of the server comes to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    /// It is ready for audio.
    Connected,
    /// About a turn; `None` where nothing follows from it.
    Turn(Option<Turned>),
    /// It has taken a change of its settings, or not.
    Configured { taken: bool },
    /// It gives up; the connection closes next.
    Error { permanent: bool, text: String },
    /// Known or not, it asks for nothing: warnings, configuration replies, types of the future.
    Other,
    /// No JSON object with a type.
    Garbage,
}

/// What happened to the caller's turn; the text is that of the whole turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    Started(String),
    Updated(String),
    EagerlyEnded(String),
    Resumed(String),
    Ended(String),
}

/// The turn that the caller is in, as far as Flux has told.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Whether a start was told and no end yet.
    open: bool,
    /// What this connection has heard of the turn.
    transcript: String,
    /// What an earlier connection had heard of it.
    carried: String,
    /// What an earlier connection had heard of it, where this one hears it again: it stands until there is more.
    before: String,
    /// The front of `transcript` that was told as a turn of its own, since it was ended here and not by Flux.
    told: String,
    /// When the text last changed.
    changed: Instant,
    /// The last message of this connection, as far as it has a `sequence_id`.
    last: Option<(u64, String)>,
    /// The last `turn_index` that has ended on this connection.
    ended: Option<u64>,
    /// The `turn_index` that this connection spoke of last.
    index: Option<u64>,
    /// How much of this connection's audio is transcribed.
    window_end: Duration,
    /// Where the turn's last word ended, in this connection's audio.
    last_word_end: Option<Duration>,
    cadence: Cadence,
    /// How sure Flux is that the turn has ended, by its latest message.
    confidence: Option<f32>,
}

impl Turns {
    /// Takes one text message.
    pub(super) fn handle_message(&mut self, text: &str, now: Instant) -> Said {
        let Ok(Value::Object(message)) = serde_json::from_str::<Value>(text) else { return Said::Garbage };
        let Some(kind) = message.get("type").and_then(Value::as_str) else { return Said::Garbage };
        if let Some(sequence) = message.get("sequence_id").and_then(Value::as_u64) {
            // The number alone proves nothing: a server that does not count would be heard once and never again.
            if self.last.as_ref().is_some_and(|(last, said)| sequence == *last && text == said) {
                return Said::Other;
            }
            self.last = Some((sequence, text.to_owned()));
        }
        let word = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
        match kind {
            "Connected" => Said::Connected,
            "Error" => {
                let code = if word("code").is_empty() { word("error_code") } else { word("code") };
                let permanent = code == "UNPARSABLE_CLIENT_MESSAGE";
                Said::Error { permanent, text: format!("{code} {}", word("description")) }
            }
            "ConfigureSuccess" => Said::Configured { taken: true },
            "ConfigureFailure" => Said::Configured { taken: false },
            "TurnInfo" => Said::Turn(self.handle_turn_info(&message, word("event"), word("transcript"), now)),
            _ => Said::Other,
        }
    }

    /// A new connection: it counts from zero, and knows nothing of the turn. Where its replayed audio does not reach
    /// back to the turn's start, what was heard so far is carried over in front of what it will hear.
    pub(super) fn reconnected(&mut self, replayed_from_start: bool) {
        if self.open {
            let whole = self.whole();
            let kept = if replayed_from_start { &mut self.before } else { &mut self.carried };
            *kept = whole;
        }
        self.transcript.clear();
        self.told.clear();
        self.last = None;
        (self.ended, self.index) = (None, None);
        self.window_end = Duration::ZERO;
        self.last_word_end = None;
        self.cadence.reconnected();
    }

    /// Ends the open turn without Flux; returns its text. What Flux adds to that turn later is another one.
    pub(super) fn end_here(&mut self) -> Option<Turned> {
        self.open.then(|| {
            self.open = false;
            let whole = self.whole();
            self.carried.clear();
            self.before.clear();
            self.told.clone_from(&self.transcript);
            Turned::Ended(whole)
        })
    }

    /// Whether the caller is in a turn.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Since when the open turn's text is what it is.
    pub(super) fn unchanged_since(&self) -> Instant {
        self.changed
    }

    /// Whether this connection has heard something of the turn.
    pub(super) fn has_words(&self) -> bool {
        !self.transcript.is_empty()
    }

    /// How much of this connection's audio is transcribed.
    pub(super) fn window_end(&self) -> Duration {
        self.window_end
    }

    /// Where the last word ended in this connection's audio, as far as told.
    pub(super) fn last_word_end(&self) -> Option<Duration> {
        self.last_word_end
    }

    /// How regularly the server speaks.
    pub(super) fn regular(&self) -> Regular {
        self.cadence.regular()
    }

    /// How sure Flux is that the turn has ended, 0.0 to 1.0, where its latest message about one tells.
    pub(super) fn confidence(&self) -> Option<f32> {
        self.confidence
    }

    fn handle_turn_info(
        &mut self,
        message: &serde_json::Map<String, Value>,
        event: &str,
        transcript: &str,
        now: Instant,
    ) -> Option<Turned> {
        let index = message.get("turn_index").and_then(Value::as_u64);
        if event == "StartOfTurn" && !self.open && index.is_some() && index <= self.ended {
            // It begins what is said to be over: its server does not count turns.
            self.ended = None;
        }
        if index.is_some() && index <= self.ended {
            return None;
        }
        let before = self.index;
        self.index = index.or(before);
        if before < self.index && before.is_some() && before > self.ended {
            // The turn before is over, though its end was not told.
            self.ended = before;
            let open = self.open;
            let whole = self.take();
            if open {
                return Some(Turned::Ended(whole));
            }
        }
        if let Some(end) = message.get("audio_window_end").and_then(seconds) {
            self.window_end = end;
        }
        let words = message.get("words").and_then(Value::as_array);
        if let Some(end) = words.and_then(|words| words.last()?.get("end").and_then(seconds)) {
            self.last_word_end = Some(end);
        }
        let confidence = message.get("end_of_turn_confidence").and_then(number);
        self.confidence = confidence.filter(|sure| (0.0..=1.0).contains(sure)).map(|sure| sure as f32);
        let transcript = transcript.trim();
        self.cadence.handle_message(event == "Update" && self.transcript == transcript, self.open, now);
        if self.transcript != transcript && !transcript.is_empty() {
            self.transcript = transcript.to_owned();
            self.changed = now;
        }
        match event {
            "EndOfTurn" => {
                self.ended = index.or(self.ended);
                let told = !self.told.is_empty();
                let whole = self.take();
                // Nothing was added to what was ended here.
                (!told || !whole.is_empty()).then_some(Turned::Ended(whole))
            }
            // Words without a start: it was missed, or the server left it out.
            "StartOfTurn" | "Update" | "EagerEndOfTurn" | "TurnResumed" if !self.open => (!self.rest().is_empty())
                .then(|| {
                    self.open = true;
                    self.changed = now;
                    Turned::Started(self.whole())
                }),
            "EagerEndOfTurn" => Some(Turned::EagerlyEnded(self.whole())),
            "TurnResumed" => Some(Turned::Resumed(self.whole())),
            // A second start is news of the same turn.
            "StartOfTurn" | "Update" if !transcript.is_empty() => Some(Turned::Updated(self.whole())),
            _ => None,
        }
    }

    /// What was not told as a turn of its own.
    fn rest(&self) -> &str {
        after(&self.transcript, &self.told)
    }

    fn whole(&self) -> String {
        let own = self.own();
        let words = |text: &str| text.split_whitespace().count();
        if words(&own) < words(&self.before) { self.before.clone() } else { own }
    }

    /// Returns the turn's text without what is being heard again.
    fn own(&self) -> String {
        match (self.carried.as_str(), self.rest()) {
            ("", text) | (text, "") => text.to_owned(),
            (carried, text) => format!("{carried} {text}"),
        }
    }

    fn take(&mut self) -> String {
        let whole = self.own();
        self.open = false;
        self.carried.clear();
        self.before.clear();
        self.transcript.clear();
        self.told.clear();
        whole
    }
}

/// Returns what `text` says after `front`, which it begins with in other spelling perhaps: by letters and digits where these
/// agree, and by the count of words where they do not.
fn after<'a>(text: &'a str, front: &str) -> &'a str {
    let mut letters = front.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).peekable();
    let mut end = 0;
    for (at, c) in text.char_indices() {
        if letters.peek().is_none() {
            break;
        }
        if c.is_alphanumeric() && !c.to_lowercase().eq(letters.by_ref().take(c.to_lowercase().count())) {
            let next = |rest: &'a str| rest.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start());
            return front.split_whitespace().fold(text.trim_start(), |rest, _| next(rest));
        }
        end = at + c.len_utf8();
    }
    text[end..].trim_start_matches(|c: char| !c.is_alphanumeric())
}

/// Reads seconds.
fn seconds(value: &Value) -> Option<Duration> {
    Duration::try_from_secs_f64(number(value)?).ok()
}

/// Reads a number, which one of the vendor's descriptions calls a string.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn info(event: &str, turn: u64, transcript: &str) -> String {
        format!(r#"{{"type":"TurnInfo","event":"{event}","turn_index":{turn},"transcript":"{transcript}"}}"#)
    }

    fn told(turns: &mut Turns, event: &str, turn: u64, transcript: &str) -> Option<Turned> {
        match turns.handle_message(&info(event, turn, transcript), at(0)) {
            Said::Turn(turned) => turned,
            said => panic!("{said:?}"),
        }
    }

    #[test]
    fn a_turn_is_started_updated_and_ended() {
        let mut turns = Turns::default();
        assert_eq!(told(&mut turns, "Update", 0, ""), None);
        assert_eq!(told(&mut turns, "StartOfTurn", 0, "I'd"), Some(Turned::Started("I'd".into())));
        assert_eq!(told(&mut turns, "Update", 0, "I'd like"), Some(Turned::Updated("I'd like".into())));
        assert_eq!(told(&mut turns, "EndOfTurn", 0, "I'd like tea."), Some(Turned::Ended("I'd like tea.".into())));
        assert!(!turns.is_open());
        assert_eq!(told(&mut turns, "StartOfTurn", 1, "And"), Some(Turned::Started("And".into())));
    }

    #[test]
    fn an_end_without_a_start_is_told() {
        let mut turns = Turns::default();
        assert_eq!(told(&mut turns, "EndOfTurn", 0, "Yes."), Some(Turned::Ended("Yes.".into())));
        assert_eq!(told(&mut turns, "EndOfTurn", 1, ""), Some(Turned::Ended(String::new())));
    }

    #[test]
    fn words_that_come_only_in_updates_start_a_turn() {
        let mut turns = Turns::default();
        assert_eq!(told(&mut turns, "Update", 0, "Hello"), Some(Turned::Started("Hello".into())));
    }

    #[test]
    fn a_second_start_is_an_update_and_a_second_end_is_nothing() {
        let mut turns = Turns::default();
        told(&mut turns, "StartOfTurn", 0, "a");
        assert_eq!(told(&mut turns, "StartOfTurn", 0, "a b"), Some(Turned::Updated("a b".into())));
        told(&mut turns, "EndOfTurn", 0, "a b");
        assert_eq!(told(&mut turns, "EndOfTurn", 0, "a b"), None);
        assert_eq!(told(&mut turns, "Update", 0, "a b"), None);
    }

    #[test]
    fn an_end_without_text_keeps_the_text_of_its_updates() {
        let mut turns = Turns::default();
        told(&mut turns, "StartOfTurn", 0, "four two");
        assert_eq!(told(&mut turns, "EndOfTurn", 0, ""), Some(Turned::Ended("four two".into())));
    }

    #[test]
    fn eager_end_and_resumption_are_passed_on() {
        let mut turns = Turns::default();
        told(&mut turns, "StartOfTurn", 0, "a");
        assert_eq!(told(&mut turns, "EagerEndOfTurn", 0, "a b."), Some(Turned::EagerlyEnded("a b.".into())));
        assert_eq!(told(&mut turns, "TurnResumed", 0, "a b"), Some(Turned::Resumed("a b".into())));
    }

    #[test]
    fn what_an_earlier_connection_heard_stays_in_front() {
        let mut turns = Turns::default();
        told(&mut turns, "StartOfTurn", 4, "my number is");
        turns.reconnected(false);
        assert!(turns.is_open());
        assert_eq!(told(&mut turns, "StartOfTurn", 0, "four"), Some(Turned::Updated("my number is four".into())));
        assert_eq!(told(&mut turns, "EndOfTurn", 0, "four two."), Some(Turned::Ended("my number is four two.".into())));
        assert_eq!(told(&mut turns, "StartOfTurn", 1, "x"), Some(Turned::Started("x".into())));
    }

    #[test]
    fn a_turn_that_is_replayed_whole_is_not_told_twice() {
        let mut turns = Turns::default();
        told(&mut turns, "StartOfTurn", 4, "my number");
        turns.reconnected(true);
        assert_eq!(told(&mut turns, "Update", 0, "my"), Some(Turned::Updated("my number".into())), "no step back");
        assert_eq!(told(&mut turns, "Update", 0, "my number is"), Some(Turned::Updated("my number is".into())));
        assert_eq!(told(&mut turns, "EndOfTurn", 0, "my"), Some(Turned::Ended("my".into())), "Flux knows better");
    }

    #[test]
    fn words_are_kept_over_a_connection_that_never_comes() {
        let mut turns = Turns::default();
        told(&mut turns, "StartOfTurn", 4, "my number");
        turns.reconnected(true);
        turns.reconnected(true);
        assert_eq!(turns.end_here(), Some(Turned::Ended("my number".into())));
        assert!(!turns.is_open());
    }

    #[test]
    fn repeated_sequence_ids_are_passed_over() {
        let mut turns = Turns::default();
        let start = r#"{"type":"TurnInfo","sequence_id":5,"event":"StartOfTurn","turn_index":0,"transcript":"a"}"#;
        assert_eq!(turns.handle_message(start, at(0)), Said::Turn(Some(Turned::Started("a".into()))));
        assert_eq!(turns.handle_message(start, at(0)), Said::Other);
    }

    #[test]
    fn a_turn_whose_end_is_not_told_is_over_when_the_next_one_is_spoken_of() {
        let mut turns = Turns::default();
        told(&mut turns, "StartOfTurn", 0, "when do you");
        assert_eq!(told(&mut turns, "Update", 1, ""), Some(Turned::Ended("when do you".into())));
        assert_eq!(told(&mut turns, "EndOfTurn", 0, "when do you"), None, "it comes late");
        assert_eq!(told(&mut turns, "StartOfTurn", 1, "I"), Some(Turned::Started("I".into())));
        turns.end_here();
        assert_eq!(told(&mut turns, "Update", 2, ""), None);
        assert_eq!(told(&mut turns, "StartOfTurn", 2, "What"), Some(Turned::Started("What".into())));
        assert_eq!(told(&mut turns, "EndOfTurn", 2, "What else?"), Some(Turned::Ended("What else?".into())));
    }

    #[test]
    fn a_server_that_does_not_count_is_heard_beyond_its_first_turn() {
        let mut turns = Turns::default();
        let info = |event: &str, transcript: &str| {
            format!(
                r#"{{"type":"TurnInfo","sequence_id":0,"event":"{event}","turn_index":0,"transcript":"{transcript}"}}"#
            )
        };
        for _ in 0..3 {
            let mut said = |event, transcript| turns.handle_message(&info(event, transcript), at(0));
            assert_eq!(said("StartOfTurn", "Yes,"), Said::Turn(Some(Turned::Started("Yes,".into()))));
            assert_eq!(said("Update", "Yes, please"), Said::Turn(Some(Turned::Updated("Yes, please".into()))));
            assert_eq!(said("EndOfTurn", "Yes, please."), Said::Turn(Some(Turned::Ended("Yes, please.".into()))));
            assert_eq!(said("Update", "Yes, please."), Said::Turn(None), "it comes late");
            assert_eq!(said("EndOfTurn", "Yes, please."), Said::Turn(None), "it comes twice");
        }
    }

    #[test]
    fn the_answers_to_a_change_of_settings_are_told_apart() {
        let mut turns = Turns::default();
        let success = r#"{"type":"ConfigureSuccess","sequence_id":3,"thresholds":{"eager_eot_threshold":0.5}}"#;
        assert_eq!(turns.handle_message(success, at(0)), Said::Configured { taken: true });
        let failure = r#"{"type":"ConfigureFailure","sequence_id":4,"error_code":"INVALID_THRESHOLD"}"#;
        assert_eq!(turns.handle_message(failure, at(0)), Said::Configured { taken: false });
    }

    #[test]
    fn what_is_added_to_a_turn_that_was_ended_here_is_a_turn_of_its_own() {
        let mut turns = Turns::default();
        told(&mut turns, "StartOfTurn", 0, "555 271");
        told(&mut turns, "Update", 0, "555 271 8346");
        assert_eq!(turns.end_here(), Some(Turned::Ended("555 271 8346".into())));
        assert_eq!(turns.end_here(), None);
        assert_eq!(told(&mut turns, "Update", 0, "555-271-8346."), None, "it is the same in other spelling");
        assert_eq!(told(&mut turns, "Update", 0, "555-271-8346 and"), Some(Turned::Started("and".into())));
        let ended = told(&mut turns, "EndOfTurn", 0, "555-271-8346, and my name is Ann.");
        assert_eq!(ended, Some(Turned::Ended("and my name is Ann.".into())));
        assert_eq!(told(&mut turns, "StartOfTurn", 1, "555"), Some(Turned::Started("555".into())));
    }

    #[test]
    fn the_end_of_a_turn_that_was_ended_here_is_no_news() {
        let mut turns = Turns::default();
        told(&mut turns, "StartOfTurn", 0, "Yes.");
        turns.end_here();
        assert_eq!(told(&mut turns, "EndOfTurn", 0, "Yes."), None);
        assert_eq!(told(&mut turns, "StartOfTurn", 1, "No"), Some(Turned::Started("No".into())));
    }

    #[test]
    fn the_rest_is_found_by_letters_or_by_words() {
        for (text, front, rest) in [
            ("a b c", "a b", "c"),
            ("A, b. C?", "a b", "C?"),
            ("a b", "a b", ""),
            ("two of it", "to", "of it"),
            ("", "x", ""),
            ("x", "", "x"),
            ("Ärger İst", "ärger", "İst"),
            ("İst", "i̇st", ""),
            ("one", "one two three", ""),
        ] {
            assert_eq!(after(text, front), rest, "{text:?} after {front:?}");
        }
    }

    #[test]
    fn unknown_types_events_and_fields_do_no_harm() {
        let mut turns = Turns::default();
        assert_eq!(turns.handle_message(r#"{"type":"Mood","value":[1]}"#, at(0)), Said::Other);
        let strange =
            r#"{"type":"TurnInfo","event":"Pondering","turn_index":"x","words":7,"audio_window_end":-1,"new":{}}"#;
        assert_eq!(turns.handle_message(strange, at(0)), Said::Turn(None));
        for garbage in ["", "[]", "{}", "{\"type\":3}", "\u{0}", "{\"type\":\"TurnInfo\""] {
            assert_eq!(turns.handle_message(garbage, at(0)), Said::Garbage, "{garbage:?}");
        }
    }

    #[test]
    fn only_an_unparsable_client_message_is_permanent() {
        let mut turns = Turns::default();
        let error = |code: &str| format!(r#"{{"type":"Error","code":"{code}","description":"d"}}"#);
        let fatal = turns.handle_message(&error("UNPARSABLE_CLIENT_MESSAGE"), at(0));
        assert!(matches!(fatal, Said::Error { permanent: true, .. }));
        let passing = turns.handle_message(&error("INTERNAL_SERVER_ERROR"), at(0));
        assert!(matches!(passing, Said::Error { permanent: false, .. }));
    }

    #[test]
    fn window_and_word_times_are_read_from_numbers_and_strings() {
        let mut turns = Turns::default();
        let message = r#"{"type":"TurnInfo","event":"Update","audio_window_end":"9.52","transcript":"two.",
            "words":[{"word":"two.","start":8.34,"end":8.72}]}"#;
        turns.handle_message(message, at(0));
        assert_eq!(turns.window_end(), Duration::from_millis(9520));
        assert_eq!(turns.last_word_end(), Some(Duration::from_millis(8720)));
    }

    #[test]
    fn the_confidence_is_that_of_the_latest_message() {
        let mut turns = Turns::default();
        for (told, read) in [("0.25", Some(0.25)), ("\"0.5\"", Some(0.5)), ("7", None), ("-0.1", None), ("null", None)]
        {
            let message = format!(
                r#"{{"type":"TurnInfo","event":"Update","turn_index":0,"transcript":"a","end_of_turn_confidence":{told}}}"#
            );
            turns.handle_message(&message, at(0));
            assert_eq!(turns.confidence(), read, "{told}");
        }
    }
}
