//! The chunks of a chat completion as what the agent can use: words to speak and tools to call; pure, and tolerant.

use crate::agent::{Failure, FailureKind};
use serde_json::Value;

/// Tool calls of one reply; more than the agent has tools makes no sense.
const CALLS_MAX: usize = 8;
/// Characters of one call's arguments.
const ARGUMENTS_MAX: usize = 64 * 1024;
/// Reasoning that some models write into their text.
const THINK: (&str, &str) = ("<think>", "</think>");

/// Something of use in a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::providers) enum Piece {
    /// Words to speak.
    Text(String),
    /// A tool to call.
    Call { id: String, name: String, arguments: String },
}

/// What a chunk comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The reply goes on; whether the chunk brought it forward.
    More { useful: bool },
    /// The reply is whole.
    Done,
    /// The server gave up.
    Failed(Failure),
}

/// A reply as it comes in. Drain `pieces` after each chunk.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) pieces: Vec<Piece>,
    think: Think,
    calls: Vec<Call>,
    /// Whether words that can be spoken came.
    spoke: bool,
    finish: Option<String>,
}

#[derive(Debug, Default)]
struct Call {
    index: u64,
    id: String,
    name: String,
    arguments: String,
}

impl Reply {
    /// Takes the data of one event.
    pub(super) fn handle_data(&mut self, data: &str) -> Heard {
        if data.trim() == "[DONE]" {
            return self.end();
        }
        let chunk = match serde_json::from_str::<Value>(data) {
            Ok(chunk @ Value::Object(_)) => chunk,
            // One chunk lost is a word lost; a server of nonsense runs into the deadlines.
            _ => return Heard::More { useful: false },
        };
        if let Some(failure) = failed(&chunk) {
            return Heard::Failed(failure);
        }
        let choices = chunk.get("choices").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut useful = false;
        for choice in choices {
            // A complete message in a stream is what some servers send where they cannot stream tools.
            let delta = choice.get("delta").filter(|delta| delta.is_object()).or_else(|| choice.get("message"));
            if let Some(delta) = delta {
                useful |= self.handle_delta(delta);
            }
            if let Some(finish) = choice.get("finish_reason").and_then(Value::as_str) {
                self.finish = Some(finish.to_owned());
            }
        }
        Heard::More { useful }
    }

    /// The stream has ended, with or without `[DONE]`.
    pub(super) fn handle_end(&mut self) -> Heard {
        if self.finish.is_none() {
            let text = "the reply broke off".into();
            return Heard::Failed(Failure { kind: FailureKind::Dropped, text });
        }
        self.end()
    }

    fn end(&mut self) -> Heard {
        let held = self.think.finish();
        self.speak(&held);
        // Older Ollama ends a reply with calls by "stop", where others say "tool_calls".
        for (n, call) in self.calls.drain(..).enumerate().filter(|(_, call)| !call.name.is_empty()) {
            let id = if call.id.is_empty() { format!("call_{n}") } else { call.id };
            self.pieces.push(Piece::Call { id, name: call.name, arguments: call.arguments });
            self.spoke = true;
        }
        if !self.spoke && self.finish.as_deref() == Some("length") {
            let text = "the model used up its tokens without saying anything".into();
            return Heard::Failed(Failure { kind: FailureKind::Garbage, text });
        }
        Heard::Done
    }

    /// Takes what a chunk adds; `reasoning` and `reasoning_content` are never spoken.
    fn handle_delta(&mut self, delta: &Value) -> bool {
        let content = delta.get("content").and_then(Value::as_str).unwrap_or_default();
        let text = self.think.strip(content);
        let mut useful = self.speak(&text);
        for call in delta.get("tool_calls").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) {
            useful |= self.handle_call(call);
        }
        useful
    }

    fn speak(&mut self, text: &str) -> bool {
        // What comes in front of the first word is layout.
        let text = if self.spoke { text } else { text.trim_start() };
        if text.is_empty() {
            return false;
        }
        self.spoke = true;
        self.pieces.push(Piece::Text(text.to_owned()));
        true
    }

    /// Adds a fragment of a call, or a whole one, to the call of its index; another id on that index begins another call.
    fn handle_call(&mut self, fragment: &Value) -> bool {
        let index = fragment.get("index").and_then(Value::as_u64).unwrap_or_default();
        let id = fragment.get("id").and_then(Value::as_str).unwrap_or_default();
        let function = fragment.get("function");
        let part = |name: &str| function.and_then(|function| function.get(name));
        let name = part("name").and_then(Value::as_str).unwrap_or_default();
        let fits = |call: &Call| call.index == index && (id.is_empty() || call.id.is_empty() || call.id == id);
        let call = match self.calls.iter().rposition(|call| call.index == index) {
            Some(n) if self.calls.get(n).is_some_and(fits) => n,
            _ if self.calls.len() < CALLS_MAX => {
                self.calls.push(Call { index, ..Call::default() });
                self.calls.len() - 1
            }
            _ => return false,
        };
        let Some(call) = self.calls.get_mut(call) else { return false };
        if call.id.is_empty() {
            call.id = id.to_owned();
        }
        // A name comes whole; servers that repeat it in every fragment must not make it longer.
        if call.name.is_empty() {
            call.name = name.to_owned();
        }
        let arguments = match part("arguments") {
            Some(Value::String(text)) => text.clone(),
            Some(object @ Value::Object(_)) => object.to_string(),
            _ => String::new(),
        };
        if call.arguments.len() + arguments.len() <= ARGUMENTS_MAX {
            call.arguments.push_str(&arguments);
        }
        true
    }
}

/// Reads an error in a chunk: at the top, as an object or a string, or in Groq's own corner.
fn failed(chunk: &Value) -> Option<Failure> {
    let is_told = |error: &&Value| !error.is_null();
    let error = chunk.get("error").filter(is_told);
    let error = error.or_else(|| chunk.get("x_groq")?.get("error").filter(is_told))?;
    let message = error.get("message").and_then(Value::as_str).or_else(|| error.as_str());
    let text = format!("the server gave up: {}", message.unwrap_or("no reason told"));
    let code = error.get("code");
    let limited = code.and_then(Value::as_str) == Some("rate_limit_exceeded") || code == Some(&Value::from(429));
    let kind = if limited { FailureKind::RateLimited { retry_after: None } } else { FailureKind::Dropped };
    Some(Failure { kind, text })
}

/// Strips `<think>...</think>` from text whose tags may be cut in two.
#[derive(Debug, Default)]
struct Think {
    inside: bool,
    /// The beginning of what may become a tag.
    held: String,
}

impl Think {
    fn strip(&mut self, text: &str) -> String {
        if self.held.is_empty() && !self.inside && !text.contains('<') {
            return text.to_owned();
        }
        let mut rest = std::mem::take(&mut self.held) + text;
        let mut out = String::new();
        loop {
            let tag = if self.inside { THINK.1 } else { THINK.0 };
            let (before, after) = match rest.split_once(tag) {
                Some((before, after)) => (before.to_owned(), Some(after.to_owned())),
                None => (rest.clone(), None),
            };
            match after {
                Some(after) => {
                    if !self.inside {
                        out.push_str(&before);
                    }
                    self.inside = !self.inside;
                    rest = after;
                }
                None => {
                    let held = (1..tag.len()).rev().find(|len| before.ends_with(&tag[..*len])).unwrap_or(0);
                    let (said, held) = before.split_at(before.len() - held);
                    if !self.inside {
                        out.push_str(said);
                    }
                    self.held = held.to_owned();
                    return out;
                }
            }
        }
    }

    /// No more text comes: what looked like the beginning of a tag was none.
    fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        if self.inside { String::new() } else { held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str) -> String {
        serde_json::json!({"choices":[{"index":0,"delta":{"content":text},"finish_reason":null}]}).to_string()
    }

    /// Feeds chunks, then `[DONE]`; returns the text spoken, the calls and the end.
    fn heard(chunks: &[String]) -> (String, Vec<Piece>, Heard) {
        let mut reply = Reply::default();
        let mut end = Heard::More { useful: false };
        for chunk in chunks {
            end = reply.handle_data(chunk);
            if let Heard::Failed(_) = end {
                break;
            }
        }
        if !matches!(end, Heard::Failed(_)) {
            end = reply.handle_data("[DONE]");
        }
        let text = |piece: &Piece| if let Piece::Text(text) = piece { text.clone() } else { String::new() };
        let spoken = reply.pieces.iter().map(text).collect();
        let calls = reply.pieces.into_iter().filter(|piece| matches!(piece, Piece::Call { .. })).collect();
        (spoken, calls, end)
    }

    fn chunk(json: &str) -> String {
        json.into()
    }

    #[test]
    fn text_is_spoken_and_everything_around_it_is_not() {
        let (text, calls, end) = heard(&[
            chunk(
                r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"x_groq":{"id":"req_1"}}"#,
            ),
            chunk(r#"{"choices":[{"delta":{"reasoning":"hmm","content":null}}]}"#),
            chunk(r#"{"choices":[{"delta":{"reasoning_content":"hmm"}}]}"#),
            content("\n\nYes,"),
            content(" we do."),
            chunk(r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"x_groq":{"usage":{"total_tokens":3}}}"#),
            chunk(r#"{"choices":[],"usage":{"total_tokens":3}}"#),
        ]);
        assert_eq!((text.as_str(), calls.len(), end), ("Yes, we do.", 0, Heard::Done));
    }

    #[test]
    fn chunks_without_choices_delta_or_content_do_no_harm() {
        for odd in
            ["{}", "[]", "null", "x", r#"{"choices":null}"#, r#"{"choices":[{}]}"#, r#"{"choices":[{"delta":null}]}"#]
        {
            assert_eq!(Reply::default().handle_data(odd), Heard::More { useful: false }, "{odd}");
        }
    }

    #[test]
    fn reasoning_is_not_useful_and_words_are() {
        let mut reply = Reply::default();
        let reasoning = r#"{"choices":[{"delta":{"reasoning":"let me see"}}]}"#;
        assert_eq!(reply.handle_data(reasoning), Heard::More { useful: false });
        assert_eq!(reply.handle_data(&content("  ")), Heard::More { useful: false });
        assert_eq!(reply.handle_data(&content("Hi")), Heard::More { useful: true });
    }

    #[test]
    fn think_tags_are_stripped_wherever_they_are_cut() {
        let whole = "<think>no <b> one < two</think>Hello, 3 < 4 and <b>bold</b>.<think>x</think> Bye";
        for piece in 1..whole.len() {
            let bytes = whole.as_bytes();
            let chunks: Vec<String> =
                bytes.chunks(piece).map(|part| content(std::str::from_utf8(part).expect("ASCII"))).collect();
            assert_eq!(heard(&chunks).0, "Hello, 3 < 4 and <b>bold</b>. Bye", "pieces of {piece}");
        }
    }

    #[test]
    fn text_that_ends_like_a_tag_is_spoken_in_the_end() {
        assert_eq!(heard(&[content("a <thi")]).0, "a <thi");
        assert_eq!(heard(&[content("<think>a </thi")]).0, "");
    }

    #[test]
    fn a_call_is_whole_or_in_fragments() {
        let whole = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"hang_up","arguments":"{}"}}]}}]}"#;
        let parts = [
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"hang_up","arguments":""}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"hang_up","arguments":"}"}}]}}]}"#,
        ];
        let call = Piece::Call { id: "c1".into(), name: "hang_up".into(), arguments: "{}".into() };
        assert_eq!(heard(&[chunk(whole)]).1, std::slice::from_ref(&call));
        assert_eq!(heard(&parts.map(chunk)).1, [call]);
    }

    #[test]
    fn another_id_on_a_used_index_is_another_call() {
        let calls = r#"{"choices":[{"delta":{"tool_calls":[
            {"index":0,"id":"a","function":{"name":"one","arguments":"{}"}},
            {"index":0,"id":"b","function":{"name":"two","arguments":{"x":1}}},
            {"function":{"name":"","arguments":""}}]},"finish_reason":"stop"}]}"#;
        let (_, calls, end) = heard(&[chunk(calls)]);
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[1], Piece::Call { id: "b".into(), name: "two".into(), arguments: "{\"x\":1}".into() });
        assert_eq!(end, Heard::Done);
    }

    #[test]
    fn a_call_without_an_id_gets_one_and_a_flood_of_calls_is_cut() {
        let calls: Vec<Value> =
            (0..100).map(|n| serde_json::json!({"index": n, "function": {"name": "f", "arguments": "{}"}})).collect();
        let chunk = serde_json::json!({"choices":[{"delta":{"tool_calls": calls}}]}).to_string();
        let (_, calls, _) = heard(&[chunk]);
        assert_eq!(calls.len(), CALLS_MAX);
        assert!(matches!(&calls[0], Piece::Call { id, .. } if id == "call_0"));
    }

    #[test]
    fn an_error_at_any_place_and_of_any_kind_ends_the_reply() {
        for error in [
            r#"{"error":{"message":"m","code":500}}"#,
            r#"{"error":"m"}"#,
            r#"{"error":{}}"#,
            r#"{"choices":[],"x_groq":{"error":"m"}}"#,
        ] {
            assert!(matches!(Reply::default().handle_data(error), Heard::Failed(_)), "{error}");
        }
        let limited = Reply::default().handle_data(r#"{"error":{"message":"m","code":"rate_limit_exceeded"}}"#);
        assert!(matches!(limited, Heard::Failed(Failure { kind: FailureKind::RateLimited { .. }, .. })));
    }

    #[test]
    fn an_end_without_a_reason_is_a_failure_and_done_is_not() {
        let mut reply = Reply::default();
        reply.handle_data(&content("Half of"));
        assert!(matches!(reply.handle_end(), Heard::Failed(Failure { kind: FailureKind::Dropped, .. })));
        let mut reply = Reply::default();
        reply.handle_data(r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#);
        assert_eq!(reply.handle_end(), Heard::Done);
    }

    #[test]
    fn tokens_spent_on_reasoning_alone_are_a_failure() {
        let length = chunk(r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#);
        assert!(matches!(heard(std::slice::from_ref(&length)).2, Heard::Failed(_)));
        assert_eq!(heard(&[content("Hello"), length]).2, Heard::Done);
    }
}
