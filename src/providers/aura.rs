//! Text to speech by Deepgram Aura, over a WebSocket: clauses up, 8 kHz µ-law down, on the key that Flux has.
//!
//! A connection is one stream without contexts: text is made into audio when it is flushed, and the answer to each flush
//! tells that its audio has come. There are no word times, so that a clause is the least that is told as spoken.

use super::socket::{Incoming, SocketError, Target};
use super::streamed::{Account, Habits, Said, Speak, Trouble, Vendor, What, Wire};
use crate::config::Endpoint;
use crate::time::{Clock, Instant};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

const HABITS: Habits = Habits {
    name: "aura",
    firm: "deepgram",
    // Connections are what the account is limited by.
    spare: false,
    // Deepgram ends a connection after an hour, whatever it does.
    idle_max: Duration::from_secs(20 * 60),
    context_idle: Duration::MAX,
};
/// Flushes that a connection takes in a minute (Deepgram's page "Flush"); those beyond are answered by a warning only.
const FLUSHES_MAX: usize = 20;
const FLUSH_WINDOW: Duration = Duration::from_secs(60);
/// A connection with fewer flushes left than a reply of some sentences needs is replaced between turns.
const FLUSHES_SPARE: usize = 8;

/// Deepgram's Aura voices (`/v1/speak`).
pub struct Aura {
    account: Account,
}

impl Aura {
    /// Makes the voice that `endpoint.model` names, such as `aura-2-thalia-en`, at `endpoint` (base URL without the path).
    #[must_use]
    pub fn new(endpoint: &Endpoint, clock: Arc<dyn Clock>) -> Self {
        Self { account: Account::new(HABITS, endpoint, clock) }
    }
}

impl Vendor for Aura {
    fn account(&self) -> &Account {
        &self.account
    }

    fn target(&self) -> Result<Target, SocketError> {
        let Endpoint { base_url, model, key, .. } = &self.account.endpoint;
        let target = Target::new(base_url, &format!("/v1/speak?model={model}&encoding=mulaw&sample_rate=8000"))?;
        Ok(target.auth("Authorization", "Token ", key))
    }

    fn wire(&self) -> Box<dyn Wire> {
        Box::<Stream>::default()
    }
}

/// Text that was flushed, and whose audio is on its way.
#[derive(Clone, Debug)]
struct Flush {
    context: String,
    texts: usize,
    last: bool,
}

/// One connection's stream.
#[derive(Default)]
struct Stream {
    flushes: VecDeque<Flush>,
    /// Texts that were sent and not flushed.
    unflushed: usize,
    /// Clears whose answer has not come: what comes before it was not wanted any more.
    clearing: usize,
    flushed_at: VecDeque<Instant>,
}

impl Stream {
    /// Returns how many flushes the last minute had.
    fn recent(&mut self, now: Instant) -> usize {
        while self.flushed_at.front().is_some_and(|at| now.since(*at) >= FLUSH_WINDOW) {
            self.flushed_at.pop_front();
        }
        self.flushed_at.len()
    }

    fn text(&mut self, text: &str) -> Vec<Said> {
        let Ok(Value::Object(message)) = serde_json::from_str::<Value>(text) else { return Vec::new() };
        let word = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
        match word("type") {
            "Cleared" => self.clearing = self.clearing.saturating_sub(1),
            "Flushed" if self.clearing == 0 => {
                let Some(Flush { context, texts, last }) = self.flushes.pop_front() else { return Vec::new() };
                let said = |what| Said { context: Some(context.clone()), what };
                let mut out: Vec<Said> = (0..texts).map(|_| said(What::FlushDone)).collect();
                out.extend(last.then(|| said(What::Done)));
                return out;
            }
            "Error" => {
                let parts = ["code", "err_code", "description", "err_msg", "message"].map(word);
                let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                let text = parts.join(": ");
                let lower = text.to_ascii_lowercase();
                let permanent = ["auth", "model", "permission", "credit"].iter().any(|sign| lower.contains(sign));
                let trouble = Trouble { permanent, limited: lower.contains("limit"), text };
                return vec![Said { context: None, what: What::Error(trouble) }];
            }
            _ => {}
        }
        Vec::new()
    }
}

impl Wire for Stream {
    fn speak(&mut self, speak: &Speak, now: Instant, out: &mut Vec<String>) {
        if !speak.transcript.is_empty() {
            out.push(json!({"type": "Speak", "text": speak.transcript}).to_string());
            self.unflushed += 1;
        }
        let last = !speak.more;
        if last || self.recent(now) < FLUSHES_MAX {
            self.flushed_at.push_back(now);
            let texts = std::mem::take(&mut self.unflushed);
            self.flushes.push_back(Flush { context: speak.context.clone(), texts, last });
            out.push(json!({"type": "Flush"}).to_string());
        }
    }

    fn cancel(&mut self, _: &str, out: &mut Vec<String>) {
        self.flushes.clear();
        self.unflushed = 0;
        self.clearing += 1;
        out.push(json!({"type": "Clear"}).to_string());
    }

    fn read(&mut self, message: &Incoming) -> Vec<Said> {
        match message {
            Incoming::Text(text) => self.text(text),
            Incoming::Binary(audio) if self.clearing == 0 => {
                let context = self.flushes.front().map(|flush| flush.context.clone());
                context.map(|id| Said { context: Some(id), what: What::Audio(audio.to_vec()) }).into_iter().collect()
            }
            Incoming::Binary(_) | Incoming::Opened => Vec::new(),
        }
    }

    fn is_worn(&mut self, now: Instant) -> bool {
        self.recent(now) + FLUSHES_SPARE > FLUSHES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speak(context: &str, transcript: &str, more: bool) -> Speak {
        Speak { context: context.into(), transcript: transcript.into(), more, first: false, clause: None }
    }

    fn sent(stream: &mut Stream, speak: &Speak, now: u64) -> Vec<String> {
        let mut out = Vec::new();
        stream.speak(speak, Instant::from_millis(now), &mut out);
        let kind =
            |text: &String| serde_json::from_str::<Value>(text).expect("JSON")["type"].as_str().map(str::to_owned);
        out.iter().filter_map(kind).collect()
    }

    fn read(stream: &mut Stream, text: &str) -> Vec<What> {
        stream.read(&Incoming::Text(text.into())).into_iter().map(|said| said.what).collect()
    }

    #[test]
    fn a_turn_is_flushed_clause_by_clause_and_over_with_its_last_flush() {
        let mut stream = Stream::default();
        assert_eq!(sent(&mut stream, &speak("a", "One. ", true), 0), ["Speak", "Flush"]);
        assert_eq!(sent(&mut stream, &speak("a", "", false), 0), ["Flush"]);
        let audio = stream.read(&Incoming::Binary(vec![1, 2].into()));
        assert_eq!(audio, [Said { context: Some("a".into()), what: What::Audio(vec![1, 2]) }]);
        assert_eq!(read(&mut stream, r#"{"type":"Flushed","sequence_id":0}"#), [What::FlushDone]);
        assert_eq!(read(&mut stream, r#"{"type":"Flushed","sequence_id":1}"#), [What::Done]);
        assert_eq!(read(&mut stream, r#"{"type":"Flushed","sequence_id":2}"#), []);
    }

    #[test]
    fn what_comes_before_the_clear_is_answered_is_not_heard() {
        let mut stream = Stream::default();
        sent(&mut stream, &speak("a", "One.", false), 0);
        stream.cancel("a", &mut Vec::new());
        sent(&mut stream, &speak("b", "Two.", false), 0);
        assert_eq!(stream.read(&Incoming::Binary(vec![1].into())), []);
        assert_eq!(read(&mut stream, r#"{"type":"Flushed","sequence_id":0}"#), []);
        assert_eq!(read(&mut stream, r#"{"type":"Cleared","sequence_id":0}"#), []);
        assert_eq!(stream.read(&Incoming::Binary(vec![1].into()))[0].context.as_deref(), Some("b"));
        assert_eq!(read(&mut stream, r#"{"type":"Flushed","sequence_id":1}"#), [What::FlushDone, What::Done]);
    }

    #[test]
    fn no_more_is_flushed_than_is_allowed_and_the_next_turn_gets_another_connection() {
        let mut stream = Stream::default();
        let flushes: Vec<usize> =
            (0..30).map(|n| sent(&mut stream, &speak("a", "One. ", true), n * 100).len()).collect();
        assert_eq!(flushes.iter().filter(|sent| **sent == 2).count(), FLUSHES_MAX);
        assert!(stream.is_worn(Instant::from_millis(3000)));
        assert_eq!(sent(&mut stream, &speak("a", "", false), 3000), ["Flush"], "the end is always asked for");
        assert!(!stream.is_worn(Instant::from_millis(70_000)));
    }

    #[test]
    fn errors_are_told_and_nonsense_is_passed_over() {
        let mut stream = Stream::default();
        let [What::Error(trouble)] =
            &read(&mut stream, r#"{"type":"Error","code":"NET-0000","description":"oops"}"#)[..]
        else {
            panic!("an error")
        };
        assert_eq!((trouble.permanent, trouble.limited, trouble.text.as_str()), (false, false, "NET-0000: oops"));
        for odd in ["", "[]", "{}", r#"{"type":"Warning","description":"x"}"#, r#"{"type":"Metadata"}"#] {
            assert_eq!(read(&mut stream, odd), []);
        }
        assert_eq!(stream.read(&Incoming::Binary(vec![1].into())), [], "audio that nobody asked for");
    }
}
