//! A conversation as the body of a chat completion request, in the dialect that the server understands.

use crate::agent::{Message, Tool};
use crate::providers::Request;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tokens of one reply, reasoning among them: with fewer than about 300, gpt-oss can spend all of them on reasoning.
const TOKENS_MAX: u32 = 400;
/// Lively, but to the point.
const TEMPERATURE: f32 = 0.4;

/// What a server is sent; OpenAI-compatible servers differ, and what they refuse is left out the next time.
#[derive(Debug)]
pub(in crate::providers) struct Dialect {
    groq: bool,
    /// `max_completion_tokens` is understood, `max_tokens` is refused.
    completion_tokens: AtomicBool,
    no_temperature: AtomicBool,
    no_tools: AtomicBool,
}

impl Dialect {
    /// Makes Groq's dialect, or the one that all compatible servers know.
    pub(super) fn new(groq: bool) -> Self {
        let off = || AtomicBool::new(false);
        Self { groq, completion_tokens: AtomicBool::new(groq), no_temperature: off(), no_tools: off() }
    }

    /// Learns from a refusal (400 or 422) what not to send; returns whether it is of use to ask again.
    pub(super) fn learn(&self, body: &str) -> bool {
        let learnt = |flag: &AtomicBool| !flag.swap(true, Ordering::Relaxed);
        let body = body.to_ascii_lowercase();
        if body.contains("max_completion_tokens") && !self.groq {
            return learnt(&self.completion_tokens);
        }
        if body.contains("temperature") && !body.contains("tool") {
            return learnt(&self.no_temperature);
        }
        body.contains("does not support tools") && learnt(&self.no_tools)
    }

    /// Writes the body of a request; `with_tools` is off where a model failed at calling one.
    pub(in crate::providers) fn body(&self, model: &str, request: &Request, with_tools: bool) -> String {
        let mut body = Map::new();
        let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
        set("model", model.into());
        set("stream", true.into());
        set("messages", messages(&request.messages).into());
        let tokens =
            if self.completion_tokens.load(Ordering::Relaxed) { "max_completion_tokens" } else { "max_tokens" };
        set(tokens, TOKENS_MAX.into());
        if !self.no_temperature.load(Ordering::Relaxed) {
            // By way of text, since 0.4 as a 32 bit number is 0.4000000059604645 as a 64 bit one.
            set("temperature", json!(f64::from((TEMPERATURE * 10.0) as u8) / 10.0));
        }
        if self.groq {
            set("stream_options", json!({"include_usage": true}));
            if model.contains("gpt-oss") {
                set("reasoning_effort", "low".into());
                set("include_reasoning", false.into());
            } else if model.contains("qwen") {
                set("reasoning_effort", "none".into());
            }
        }
        if with_tools && !request.tools.is_empty() && !self.no_tools.load(Ordering::Relaxed) {
            set("tools", request.tools.iter().map(tool).collect());
            set("tool_choice", "auto".into());
        }
        Value::Object(body).to_string()
    }
}

fn tool(tool: &Tool) -> Value {
    let parameters = object(&tool.parameters).unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    let function = json!({"name": tool.name, "description": tool.description, "parameters": parameters});
    json!({"type": "function", "function": function})
}

/// Reads `text` as a JSON object.
fn object(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().filter(Value::is_object)
}

/// Writes the messages. A call without a result, or the reverse, is left out, since servers refuse the whole request
/// for it; calls made in one go belong to one message of the assistant.
fn messages(messages: &[Message]) -> Vec<Value> {
    let results: BTreeSet<&str> = messages
        .iter()
        .filter_map(|m| if let Message::ToolResult { id, .. } = m { Some(id.as_str()) } else { None })
        .collect();
    let mut called = BTreeSet::new();
    let mut out: Vec<Value> = Vec::new();
    for message in messages {
        match message {
            Message::System(text) => out.push(json!({"role": "system", "content": text})),
            Message::Caller(text) => out.push(json!({"role": "user", "content": text})),
            Message::Agent(text) => out.push(json!({"role": "assistant", "content": text})),
            Message::ToolCall { id, name, arguments } if results.contains(id.as_str()) => {
                called.insert(id.as_str());
                // llama.cpp reads the arguments of earlier calls, and refuses what is no JSON.
                let arguments = object(arguments).map_or_else(|| "{}".to_owned(), |_| arguments.clone());
                let call = json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
                match out.last_mut().filter(|last| last["role"] == "assistant") {
                    Some(last) => match last.get_mut("tool_calls").and_then(Value::as_array_mut) {
                        Some(calls) => calls.push(call),
                        None => last["tool_calls"] = json!([call]),
                    },
                    None => out.push(json!({"role": "assistant", "content": null, "tool_calls": [call]})),
                }
            }
            Message::ToolResult { id, content } if called.contains(id.as_str()) => {
                out.push(json!({"role": "tool", "tool_call_id": id, "content": content}));
            }
            Message::ToolCall { .. } | Message::ToolResult { .. } => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TurnId;

    fn request() -> Request {
        let tools = vec![Tool {
            name: "hang_up".into(),
            description: "Ends the call.".into(),
            parameters: r#"{"type":"object","properties":{"reason":{"type":"string"}}}"#.into(),
        }];
        let messages = vec![Message::System("Be brief.".into()), Message::Caller("Hello".into())];
        Request { turn: TurnId(1), messages, tools }
    }

    fn body(dialect: &Dialect, model: &str, request: &Request) -> Value {
        serde_json::from_str(&dialect.body(model, request, true)).expect("JSON")
    }

    #[test]
    fn groq_is_asked_with_little_reasoning_and_none_of_it_sent() {
        let body = body(&Dialect::new(true), "openai/gpt-oss-20b", &request());
        assert_eq!(body["reasoning_effort"], "low");
        assert_eq!(body["include_reasoning"], false);
        assert_eq!(body["max_completion_tokens"], 400);
        assert_eq!(body["stream_options"]["include_usage"], true);
        assert_eq!(body["temperature"], 0.4);
        assert_eq!(body["tools"][0]["function"]["parameters"]["properties"]["reason"]["type"], "string");
    }

    #[test]
    fn other_servers_and_models_are_not_sent_what_they_do_not_know() {
        let plain = body(&Dialect::new(false), "llama3", &request());
        let names: Vec<&str> = plain.as_object().expect("object").keys().map(String::as_str).collect();
        assert_eq!(names, ["max_tokens", "messages", "model", "stream", "temperature", "tool_choice", "tools"]);
        assert!(body(&Dialect::new(true), "llama-3.3-70b-versatile", &request()).get("reasoning_effort").is_none());
    }

    #[test]
    fn what_a_server_refuses_is_left_out_the_next_time() {
        let dialect = Dialect::new(false);
        assert!(dialect.learn("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."));
        assert!(!dialect.learn("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."));
        assert!(dialect.learn("'temperature' does not support 0.4 with this model"));
        assert!(dialect.learn("registry.ollama.ai/library/phi does not support tools"));
        assert!(!dialect.learn("model is required"));
        let body = body(&dialect, "m", &request());
        assert_eq!(body["max_completion_tokens"], 400);
        assert!(body.get("temperature").is_none() && body.get("tools").is_none());
    }

    #[test]
    fn a_call_and_its_result_go_together() {
        let call = |id: &str, arguments: &str| Message::ToolCall {
            id: id.into(),
            name: "f".into(),
            arguments: arguments.into(),
        };
        let result = |id: &str| Message::ToolResult { id: id.into(), content: "ok".into() };
        let out = messages(&[
            Message::Agent("One moment.".into()),
            call("a", r#"{"x":1}"#),
            call("b", "{broken"),
            result("a"),
            result("b"),
            call("without result", "{}"),
            result("without call"),
        ]);
        assert_eq!(out.len(), 3);
        assert_eq!(out[0]["content"], "One moment.");
        assert_eq!(out[0]["tool_calls"][0]["function"]["arguments"], r#"{"x":1}"#);
        assert_eq!(out[0]["tool_calls"][1]["function"]["arguments"], "{}");
        assert_eq!(out[2]["tool_call_id"], "b");
    }
}
