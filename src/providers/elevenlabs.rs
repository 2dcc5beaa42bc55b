//! Text to speech by ElevenLabs, over a WebSocket with several contexts: clauses up, 8 kHz µ-law and letter times down.

use super::socket::{Incoming, SocketError, Target};
use super::streamed::{Account, Habits, Said, Speak, Trouble, Vendor, What, Wire};
use crate::config::Endpoint;
use crate::time::{Clock, Instant};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// After how many seconds without a message the server may close: the most that it can be asked for.
const INACTIVITY_SECONDS: u32 = 180;
const HABITS: Habits = Habits {
    name: "elevenlabs",
    firm: "elevenlabs",
    // What is being made is what the account is limited by, not what is open.
    spare: true,
    // Sooner than the server closes it.
    idle_max: Duration::from_secs(150),
    context_idle: Duration::from_secs(15),
};
/// Contexts that may be open on a connection: one more and it is closed with 1008. A cancelled one is open until its end is
/// told, so that a connection with one short of these is left alone for a while.
const CONTEXTS_MAX: usize = 5;
/// The longest word that is waited for: a stream without spaces must be bounded.
const WORD_MAX: usize = 200;

/// ElevenLabs' voices (`/v1/text-to-speech/{voice}/multi-stream-input`).
pub struct ElevenLabs {
    account: Account,
    voice: String,
}

impl ElevenLabs {
    /// Makes the voice with id `voice` at `endpoint` (base URL without the path).
    #[must_use]
    pub fn new(endpoint: &Endpoint, voice: &str, clock: Arc<dyn Clock>) -> Self {
        Self { account: Account::new(HABITS, endpoint, clock), voice: voice.to_owned() }
    }
}

impl Vendor for ElevenLabs {
    fn account(&self) -> &Account {
        &self.account
    }

    fn target(&self) -> Result<Target, SocketError> {
        let Endpoint { base_url, model, key, .. } = &self.account.endpoint;
        // Clauses come whole, so that nothing is to be buffered; and figures are words already.
        let query = format!(
            "model_id={model}&output_format=ulaw_8000&inactivity_timeout={INACTIVITY_SECONDS}&sync_alignment=true\
             &auto_mode=true&apply_text_normalization=off"
        );
        let path = format!("/v1/text-to-speech/{}/multi-stream-input?{query}", self.voice);
        Ok(Target::new(base_url, &path)?.auth("xi-api-key", "", key))
    }

    fn wire(&self) -> Box<dyn Wire> {
        Box::<Contexts>::default()
    }
}

/// The contexts of one connection.
#[derive(Default)]
struct Contexts {
    /// Those whose end was not told.
    open: Vec<String>,
    /// The beginning of a word whose end is in the next piece of audio, and its context.
    begun: (String, String),
}

impl Contexts {
    fn text(&mut self, text: &str) -> Vec<Said> {
        let Ok(Value::Object(message)) = serde_json::from_str::<Value>(text) else { return Vec::new() };
        let word = |name: &str| message.get(name).and_then(Value::as_str);
        let context = word("contextId").or(word("context_id")).map(str::to_owned);
        if message.get("error").is_some_and(|error| !error.is_null()) {
            return vec![Said { context, what: What::Error(trouble(&message)) }];
        }
        let said = |what| Said { context: context.clone(), what };
        let is_final = ["isFinal", "is_final"].iter().any(|name| message.get(*name) == Some(&Value::Bool(true)));
        let mut words = message
            .get("alignment")
            .map_or_else(Vec::new, |letters| self.words(context.as_deref().unwrap_or_default(), letters));
        let mut out = Vec::new();
        if is_final && !self.begun.1.is_empty() && Some(self.begun.0.as_str()) == context.as_deref() {
            words.push((std::mem::take(&mut self.begun.1), Duration::ZERO));
        }
        if !words.is_empty() {
            out.push(said(What::Words { words, from_here: true }));
        }
        let audio = word("audio").and_then(|data| STANDARD_PAD_INDIFFERENT.decode(data).ok());
        out.extend(audio.filter(|audio| !audio.is_empty()).map(|audio| said(What::Audio(audio))));
        if is_final {
            self.open.retain(|open| Some(open) != context.as_ref());
            out.push(said(What::Done));
        }
        out
    }

    /// Makes words of letters; their times count from the beginning of the audio that they came with.
    fn words(&mut self, context: &str, letters: &Value) -> Vec<(String, Duration)> {
        let list = |name: &str| letters.get(name).and_then(Value::as_array);
        let lasting = list("charDurationsMs").or_else(|| list("charsDurationsMs"));
        let (Some(chars), Some(starts), Some(lasting)) = (list("chars"), list("charStartTimesMs"), lasting) else {
            return Vec::new();
        };
        if self.begun.0 != context {
            self.begun = (context.to_owned(), String::new());
        }
        let millis = |value: &Value| value.as_f64().filter(|ms| (0.0..1e9).contains(ms)).map_or(0, |ms| ms as u64);
        let mut out = Vec::new();
        let mut end = 0;
        for ((letter, start), lasts) in chars.iter().zip(starts).zip(lasting) {
            let letter = letter.as_str().unwrap_or_default();
            let word = &mut self.begun.1;
            if letter.trim().is_empty() || word.len() >= WORD_MAX {
                if !word.is_empty() {
                    out.push((std::mem::take(word), Duration::from_millis(end)));
                }
            } else {
                word.push_str(letter);
            }
            end = millis(start) + millis(lasts);
        }
        out
    }
}

fn trouble(message: &Map<String, Value>) -> Trouble {
    let word = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
    let text =
        [word("error"), word("message")].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(": ");
    let lower = text.to_ascii_lowercase();
    let has = |signs: &[&str]| signs.iter().any(|sign| lower.contains(sign));
    let limited = has(&["max_active_conversations", "too_many", "rate_limit", "system_busy", "concurrent"]);
    let permanent =
        has(&["voice_not_found", "does not exist", "invalid_api_key", "quota", "unauthorized", "model", "payment"]);
    Trouble { permanent: permanent && !limited, limited, text }
}

impl Wire for Contexts {
    fn speak(&mut self, speak: &Speak, _: Instant, out: &mut Vec<String>) {
        if speak.first {
            self.open.push(speak.context.clone());
            out.push(json!({"text": " ", "context_id": speak.context}).to_string());
        }
        if !speak.transcript.is_empty() {
            // A text ends with a space.
            let text = format!("{} ", speak.transcript.trim_end());
            out.push(json!({"text": text, "context_id": speak.context, "flush": true}).to_string());
        }
        if !speak.more {
            self.cancel(&speak.context, out);
        }
    }

    fn cancel(&mut self, context: &str, out: &mut Vec<String>) {
        out.push(json!({"context_id": context, "close_context": true}).to_string());
    }

    fn read(&mut self, message: &Incoming) -> Vec<Said> {
        match message {
            Incoming::Text(text) => self.text(text),
            Incoming::Opened | Incoming::Binary(_) => Vec::new(),
        }
    }

    fn is_worn(&mut self, _: Instant) -> bool {
        self.open.len() + 1 >= CONTEXTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(contexts: &mut Contexts, message: &Value) -> Vec<What> {
        contexts.read(&Incoming::Text(message.to_string().into())).into_iter().map(|said| said.what).collect()
    }

    fn letters(text: &str, each: u64) -> Value {
        let chars: Vec<String> = text.chars().map(String::from).collect();
        let starts: Vec<u64> = (0..chars.len() as u64).map(|n| n * each).collect();
        let lasting = vec![each; chars.len()];
        json!({"chars": chars, "charStartTimesMs": starts, "charDurationsMs": lasting})
    }

    fn words(list: &[(&str, u64)]) -> What {
        let words = list.iter().map(|(word, end)| ((*word).to_owned(), Duration::from_millis(*end))).collect();
        What::Words { words, from_here: true }
    }

    #[test]
    fn a_context_is_begun_with_a_space_and_closed_with_its_last_text() {
        let mut contexts = Contexts::default();
        let mut out = Vec::new();
        let speak = Speak { context: "a".into(), transcript: "Bye.".into(), more: false, first: true, clause: None };
        contexts.speak(&speak, Instant::ZERO, &mut out);
        let sent: Vec<Value> = out.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect();
        assert_eq!(sent[0], json!({"text": " ", "context_id": "a"}));
        assert_eq!(sent[1], json!({"text": "Bye. ", "context_id": "a", "flush": true}));
        assert_eq!(sent[2], json!({"context_id": "a", "close_context": true}));
    }

    #[test]
    fn letters_become_words_even_across_pieces_of_audio() {
        let mut contexts = Contexts::default();
        let message = json!({"audio": "/wA=", "contextId": "a", "alignment": letters("One tw", 10)});
        assert_eq!(read(&mut contexts, &message), [words(&[("One", 30)]), What::Audio(vec![0xff, 0])]);
        let message = json!({"audio": "/wA=", "contextId": "a", "alignment": letters("o three", 10)});
        assert_eq!(read(&mut contexts, &message)[0], words(&[("two", 10)]));
        let message = json!({"isFinal": true, "contextId": "a"});
        assert_eq!(read(&mut contexts, &message), [words(&[("three", 0)]), What::Done]);
    }

    #[test]
    fn a_connection_with_many_contexts_is_worn_until_they_are_over() {
        let mut contexts = Contexts::default();
        for n in 0..4 {
            let (context, transcript) = (format!("c{n}"), "Yes.".to_owned());
            let speak = Speak { context, transcript, more: true, first: true, clause: None };
            contexts.speak(&speak, Instant::ZERO, &mut Vec::new());
        }
        assert!(contexts.is_worn(Instant::ZERO));
        read(&mut contexts, &json!({"is_final": true, "contextId": "c1"}));
        assert!(!contexts.is_worn(Instant::ZERO));
    }

    #[test]
    fn errors_are_told_and_nonsense_is_passed_over() {
        let mut contexts = Contexts::default();
        let told = |contexts: &mut Contexts, error: &str| match read(contexts, &json!({"error": error, "code": 1008}))[..]
        {
            [What::Error(ref trouble)] => (trouble.permanent, trouble.limited),
            ref what => panic!("{what:?}"),
        };
        assert_eq!(told(&mut contexts, "max_active_conversations"), (false, true));
        assert_eq!(told(&mut contexts, "voice_not_found"), (true, false));
        assert_eq!(told(&mut contexts, "input_timeout_exceeded"), (false, false));
        for odd in [json!(7), json!({"audio": "*"}), json!({"alignment": {"chars": [1]}}), json!({"audio": null})] {
            assert_eq!(read(&mut contexts, &odd), [], "{odd}");
        }
    }
}
