//! Cartesia's messages: what is sent as JSON, and what comes back, taken leniently; pure.

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
    pub(super) fn speak(&self, context: &str, transcript: &str, more: bool) -> String {
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

/// A message, and the context that it is about; an error may be about none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    pub(super) context: Option<String>,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// µ-law at 8 kHz.
    Audio(Vec<u8>),
    /// Words, and where in the context's audio each of them ends.
    Words(Vec<(String, Duration)>),
    /// The oldest text that was not yet spoken is spoken.
    FlushDone,
    /// The context is over.
    Done,
    /// The context failed.
    Error(Trouble),
    /// Of no use, or nonsense.
    Other,
}

/// An error event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// Another try would fail the same way.
    pub(super) permanent: bool,
    /// Too many contexts at once.
    pub(super) limited: bool,
    pub(super) text: String,
}

/// Reads a text message.
pub(super) fn read(text: &str) -> Said {
    let message = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(message)) => message,
        _ => return Said { context: None, what: What::Other },
    };
    let word = |name: &str| message.get(name).and_then(Value::as_str);
    let what = match word("type").unwrap_or_default() {
        "chunk" => audio(word("data").unwrap_or_default()),
        "timestamps" => words(&message),
        "flush_done" => What::FlushDone,
        "done" => What::Done,
        "error" => What::Error(trouble(&message)),
        _ => What::Other,
    };
    Said { context: word("context_id").map(str::to_owned), what }
}

fn audio(data: &str) -> What {
    STANDARD_PAD_INDIFFERENT.decode(data).map_or(What::Other, What::Audio)
}

fn words(message: &Map<String, Value>) -> What {
    let list = |name: &str| message.get("word_timestamps")?.get(name)?.as_array();
    let (Some(words), Some(ends)) = (list("words"), list("end")) else { return What::Other };
    let seconds = |end: &Value| Duration::try_from_secs_f64(end.as_f64()?).ok();
    let word = |(word, end): (&Value, &Value)| Some((word.as_str()?.to_owned(), seconds(end)?));
    What::Words(words.iter().zip(ends).filter_map(word).collect())
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
        let request: Value = serde_json::from_str(&voice.speak("t1-1", "Hello. ", true)).expect("JSON");
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
            assert_eq!(said, Said { context: Some("t1-1".into()), what: What::Audio(vec![0xff, 0]) });
        }
    }

    #[test]
    fn words_are_read_with_their_ends() {
        let said = read(
            r#"{"type":"timestamps","context_id":"t1-1","word_timestamps":{"words":["Your","table"],"start":[0,0.2],"end":[0.2,0.5]}}"#,
        );
        let ends = [("Your".into(), Duration::from_millis(200)), ("table".into(), Duration::from_millis(500))];
        assert_eq!(said.what, What::Words(ends.to_vec()));
    }

    #[test]
    fn errors_are_read_in_both_forms_and_with_no_context() {
        let new = read(
            r#"{"type":"error","done":true,"status_code":429,"error_code":"concurrency_limited","title":"t","message":"m"}"#,
        );
        assert_eq!(new.context, None);
        let What::Error(trouble) = new.what else { panic!("{new:?}") };
        assert_eq!(
            (trouble.permanent, trouble.limited, trouble.text.as_str()),
            (false, true, "concurrency_limited: t: m")
        );
        let old = read(r#"{"type":"error","context_id":"a","error":"Invalid voice: no"}"#);
        let What::Error(trouble) = old.what else { panic!("{old:?}") };
        assert_eq!((trouble.permanent, trouble.text.as_str()), (false, "Invalid voice: no"));
    }

    #[test]
    fn a_wrong_voice_is_permanent_and_an_expired_context_is_not() {
        let permanent = |json: &str| match read(json).what {
            What::Error(trouble) => trouble.permanent,
            what => panic!("{what:?}"),
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
            let what = read(odd).what;
            let empty = matches!(&what, What::Other) || what == What::Words(vec![]) || what == What::Audio(vec![]);
            assert!(empty, "{odd}: {what:?}");
        }
    }
}
