//! Cartesia's messages: what is sent as JSON, and what comes back, taken leniently; pure.

use crate::providers::streamed::{Said, Trouble, What};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The language that the text is in.
const LANGUAGE: &str = "en";
/// The rate asked for, in Hz: the telephone's own, so that nothing is resampled.
const SAMPLE_RATE: u32 = 8000;

/// What stays the same in every request of a session.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    pub(super) model: String,
    pub(super) voice: String,
}

impl Voice {
    /// Writes a request to speak `transcript` in `context`; `more` text of that context may follow.
    pub(super) fn request(&self, context: &str, transcript: &str, more: bool) -> String {
        json!({
            "model_id": self.model,
            "transcript": transcript,
            "voice": {"mode": "id", "id": self.voice},
            "output_format": {"container": "raw", "encoding": "pcm_mulaw", "sample_rate": SAMPLE_RATE},
            "language": LANGUAGE,
            "context_id": context,
            "continue": more,
            // The default of 3 s would be waited for before a short first clause is spoken.
            "max_buffer_delay_ms": 0,
            "add_timestamps": true,
        })
        .to_string()
    }
}

/// Writes a request to stop generating `context`.
pub(super) fn cancel(context: &str) -> String {
    json!({"context_id": context, "cancel": true}).to_string()
}

/// Reads a text message; one of no use, or nonsense, says nothing.
pub(super) fn read(text: &str) -> Option<Said> {
    let Ok(Value::Object(message)) = serde_json::from_str::<Value>(text) else { return None };
    let word = |name: &str| message.get(name).and_then(Value::as_str);
    let what = match word("type").unwrap_or_default() {
        "chunk" => audio(word("data").unwrap_or_default())?,
        "timestamps" => words(&message)?,
        "flush_done" => What::FlushDone,
        "done" => What::Done,
        "error" => What::Error(trouble(&message)),
        _ => return None,
    };
    Some(Said { context: word("context_id").map(str::to_owned), what })
}

fn audio(data: &str) -> Option<What> {
    STANDARD_PAD_INDIFFERENT.decode(data).ok().map(What::Audio)
}

fn words(message: &Map<String, Value>) -> Option<What> {
    let list = |name: &str| message.get("word_timestamps")?.get(name)?.as_array();
    let (words, ends) = (list("words")?, list("end")?);
    let seconds = |end: &Value| Duration::try_from_secs_f64(end.as_f64()?).ok();
    let word = |(word, end): (&Value, &Value)| Some((word.as_str()?.to_owned(), seconds(end)?));
    let words = words.iter().zip(ends).filter_map(word).collect();
    Some(What::Words { words, from_here: false })
}

fn trouble(message: &Map<String, Value>) -> Trouble {
    let word = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
    let (code, status) = (word("error_code"), message.get("status_code").and_then(Value::as_u64).unwrap_or_default());
    let limited = code == "concurrency_limited" || status == 429;
    let refused = matches!(status, 400..500) && !matches!(status, 408 | 429);
    // A context that has expired is refused, but another one will do.
    let expired = word("message").contains("context") || word("error").contains("context");
    let hopeless = ["quota_exceeded", "voice_not_found", "model_not_found", "plan_upgrade_required"];
    let hopeless = hopeless.contains(&code) || code.ends_with("_mismatch") || code.ends_with("_not_supported");
    let text = [code, word("title"), word("message"), word("error")]
        .iter()
        .filter(|part| !part.is_empty())
        .fold(String::new(), |text, part| if text.is_empty() { (*part).to_owned() } else { format!("{text}: {part}") });
    Trouble { permanent: hopeless || (refused && !expired && !limited), limited, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_asks_for_the_telephones_own_format_at_once() {
        let voice = Voice { model: "sonic-3.5".into(), voice: "v1".into() };
        let request: Value = serde_json::from_str(&voice.request("t1-1", "Hello. ", true)).expect("JSON");
        assert_eq!(request["output_format"]["encoding"], "pcm_mulaw");
        assert_eq!(request["output_format"]["sample_rate"], 8000);
        assert_eq!(request["max_buffer_delay_ms"], 0);
        assert_eq!(request["continue"], true);
        assert_eq!(request["voice"]["id"], "v1");
    }

    #[test]
    fn audio_is_read_with_and_without_padding() {
        for data in ["/wA=", "/wA"] {
            let said = read(&format!(r#"{{"type":"chunk","context_id":"t1-1","done":false,"data":"{data}"}}"#));
            assert_eq!(said, Some(Said { context: Some("t1-1".into()), what: What::Audio(vec![0xff, 0]) }));
        }
    }

    #[test]
    fn words_are_read_with_their_ends() {
        let said = read(
            r#"{"type":"timestamps","context_id":"t1-1","word_timestamps":{"words":["Your","table"],"start":[0,0.2],"end":[0.2,0.5]}}"#,
        );
        let ends = [("Your".into(), Duration::from_millis(200)), ("table".into(), Duration::from_millis(500))];
        let words = What::Words { words: ends.to_vec(), from_here: false };
        assert_eq!(said.map(|said| said.what), Some(words));
    }

    #[test]
    fn errors_are_read_in_both_forms_and_with_no_context() {
        let new = read(
            r#"{"type":"error","done":true,"status_code":429,"error_code":"concurrency_limited","title":"t","message":"m"}"#,
        );
        let Some(Said { context: None, what: What::Error(trouble) }) = new else { panic!("{new:?}") };
        assert_eq!(
            (trouble.permanent, trouble.limited, trouble.text.as_str()),
            (false, true, "concurrency_limited: t: m")
        );
        let old = read(r#"{"type":"error","context_id":"a","error":"Invalid voice: no"}"#);
        let Some(Said { what: What::Error(trouble), .. }) = old else { panic!("{old:?}") };
        assert_eq!((trouble.permanent, trouble.text.as_str()), (false, "Invalid voice: no"));
    }

    #[test]
    fn a_wrong_voice_is_permanent_and_an_expired_context_is_not() {
        let permanent = |json: &str| match read(json) {
            Some(Said { what: What::Error(trouble), .. }) => trouble.permanent,
            said => panic!("{said:?}"),
        };
        assert!(permanent(r#"{"type":"error","error_code":"voice_not_found"}"#));
        assert!(permanent(r#"{"type":"error","status_code":402,"message":"pay"}"#));
        assert!(!permanent(r#"{"type":"error","status_code":400,"message":"context t1-1 is closed"}"#));
        assert!(!permanent(r#"{"type":"error","status_code":500,"message":"oops"}"#));
    }

    #[test]
    fn nonsense_does_no_harm() {
        for odd in [
            "",
            "[]",
            r#"{"type":7}"#,
            r#"{"type":"chunk"}"#,
            r#"{"type":"chunk","data":"*"}"#,
            r#"{"type":"timestamps","word_timestamps":{"words":["a"]}}"#,
            r#"{"type":"timestamps","word_timestamps":{"words":[1,"b"],"end":["x",-3]}}"#,
        ] {
            let what = read(odd).map(|said| said.what);
            let nothing = [What::Words { words: vec![], from_here: false }, What::Audio(vec![])];
            assert!(what.as_ref().is_none_or(|what| nothing.contains(what)), "{odd}: {what:?}");
        }
    }
}
