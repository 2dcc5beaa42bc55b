//! The operator's own tools: a model's call of one as an HTTP request, and its answer as text for the model.
//!
//! | part | what |
//! |---|---|
//! | arguments | the JSON body of POST, PUT and PATCH; the query of GET and DELETE |
//! | `X-Offhook-Tool`, `X-Offhook-Call` | the tool's name, and the engine's number of the call |
//! | `X-Offhook-Signature` | `t=T,v1=S`: T in seconds since 1970, S the HMAC-SHA256 of `T.BODY` in hex, by `OFFHOOK_TOOL_SECRET`; for GET and DELETE BODY is the path with its query |
//!
//! What comes back is JSON or text. Redirects are not followed: they would carry headers and arguments to somewhere else.

use super::redaction::{excerpt, redact};
use crate::config::{Agent, Secret, Tool};
use crate::ids::CallId;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::fmt::Write as _;
use std::io::Read;
use std::time::Duration;
use ureq::http::{HeaderMap, Request, Uri};
use ureq::tls::{RootCerts, TlsConfig};

/// Bytes read of an answer: a model that is to say it in two sentences has no use for more.
const ANSWER_MAX: u64 = 256 * 1024;
/// Bytes of an answer that the model gets to see: what a message of the conversation may have (`agent/conversation.rs`).
const RESULT_MAX: usize = 2_900;
/// Bytes of a URL with its query: what every server takes.
const URL_MAX: usize = 8_000;
/// Characters of a refusal's body that the model gets to see.
const REFUSAL_CHARS_MAX: usize = 300;
/// Idle connections kept to each tool's server, and for how long: a call asks the same tool again within a minute.
const IDLE_MAX: usize = 16;
const IDLE_AGE_MAX: Duration = Duration::from_secs(55);

/// The tools of one agent; shared by all calls, as are their connections.
pub struct Webhooks {
    tools: Vec<(Tool, ureq::Agent)>,
    secret: Secret,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the model is told: JSON, or text.
    pub result: String,
    /// What went wrong, for the log.
    pub failure: Option<String>,
}

impl Webhooks {
    /// Makes the tools that `agent` has.
    #[must_use]
    pub fn new(agent: &Agent) -> Self {
        let tools = agent.tools.iter().map(|tool| (tool.clone(), client(tool))).collect();
        Self { tools, secret: agent.tool_secret.clone() }
    }

    /// Returns the name of tool number `tool`.
    #[must_use]
    pub fn name(&self, tool: usize) -> &str {
        self.tools.get(tool).map_or("", |(tool, _)| &tool.name)
    }

    /// Asks tool number `tool`, with arguments that are a JSON object, at `unix_s` seconds since 1970. Blocks for as long as the
    /// tool's timeout at most.
    #[must_use]
    pub fn run(&self, call: CallId, tool: usize, arguments: &str, unix_s: u64) -> Outcome {
        let Some((tool, client)) = self.tools.get(tool) else {
            return failed("there is no such tool".to_owned(), "no tool of that number".to_owned());
        };
        let answer = self
            .request(call, tool, arguments, unix_s)
            .and_then(|request| client.run(request).map_err(|error| unreachable(tool, &error)));
        let response = match answer {
            Ok(response) => response,
            Err(why) => return failed(format!("{} {why}", tool.name), why),
        };
        let (head, body) = response.into_parts();
        let mut bytes = Vec::new();
        let read = body.into_reader().take(ANSWER_MAX + 1).read_to_end(&mut bytes);
        if let Err(error) = read {
            let why = unreachable(tool, &ureq::Error::from(error));
            return failed(format!("{} {why}", tool.name), why);
        }
        let answered = match head.status.as_u16() {
            200..300 if bytes.len() as u64 > ANSWER_MAX => Err(format!("answered with more than {ANSWER_MAX} bytes")),
            200..300 => told(&head.headers, &bytes),
            status @ 300..400 => Err(format!("answered with a redirect ({status}), which is not followed")),
            status => {
                let body = shown(tool, &String::from_utf8_lossy(&bytes));
                let body: String = body.chars().take(REFUSAL_CHARS_MAX).collect();
                Err(format!("answered {status}: {body}").trim_end_matches([':', ' ']).to_owned())
            }
        };
        match answered {
            Ok(result) => Outcome { result, failure: None },
            Err(why) => failed(format!("{} {why}", tool.name), why),
        }
    }

    fn request(&self, call: CallId, tool: &Tool, arguments: &str, unix_s: u64) -> Result<Request<String>, String> {
        let (url, body) = if tool.method.has_body() {
            (tool.url.clone(), arguments.to_owned())
        } else {
            (with_query(&tool.url, arguments), String::new())
        };
        if url.len() > URL_MAX {
            return Err(format!("cannot be asked: its arguments make a URL of more than {URL_MAX} bytes"));
        }
        let uri: Uri = url.parse().map_err(|_| "cannot be asked: its URL is none".to_owned())?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let mut request = Request::builder()
            .method(tool.method.name())
            .uri(uri)
            .header("Accept", "application/json, text/plain")
            .header("X-Offhook-Tool", &tool.name)
            .header("X-Offhook-Call", call.0.to_string());
        if tool.method.has_body() {
            request = request.header("Content-Type", "application/json");
        }
        if !self.secret.is_empty() {
            let signed = if tool.method.has_body() { &body } else { &path };
            request = request.header("X-Offhook-Signature", signature(&self.secret, unix_s, signed));
        }
        for (name, value) in &tool.headers {
            request = request.header(name, value.expose());
        }
        request.body(body).map_err(|_| "cannot be asked: a header does not fit".to_owned())
    }
}

/// Returns the header that proves who asks: `t=T,v1=HEX`.
#[must_use]
pub fn signature(secret: &Secret, unix_s: u64, signed: &str) -> String {
    let mut text = format!("t={unix_s},v1=");
    // A key of any length is fine (RFC 2104 §3), so that there is always one.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) {
        mac.update(format!("{unix_s}.{signed}").as_bytes());
        for byte in mac.finalize().into_bytes() {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

fn client(tool: &Tool) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(RootCerts::WebPki).build())
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(tool.timeout))
        .max_idle_connections(IDLE_MAX)
        .max_idle_connections_per_host(IDLE_MAX)
        .max_idle_age(IDLE_AGE_MAX)
        .user_agent(concat!("offhook/", env!("CARGO_PKG_VERSION")));
    if tool.url.starts_with("http:") {
        config = config.proxy(None);
    }
    config.build().new_agent()
}

fn failed(told: String, failure: String) -> Outcome {
    Outcome { result: json!({ "error": told }).to_string(), failure: Some(failure) }
}

/// Says why nothing came back.
fn unreachable(tool: &Tool, error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => format!("did not answer within {} ms", tool.timeout.as_millis()),
        error => format!("could not be asked: {}", shown(tool, &error.to_string())),
    }
}

/// Returns `text` on one line and without the tool's secrets.
fn shown(tool: &Tool, text: &str) -> String {
    let text = tool.headers.iter().fold(text.to_owned(), |text, (_, secret)| redact(&text, secret));
    excerpt(&text, &Secret::default())
}

/// Returns an answer as the model is told it.
fn told(headers: &HeaderMap, bytes: &[u8]) -> Result<String, String> {
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let text = std::str::from_utf8(bytes).map_err(|_| "answered with bytes that are no text".to_owned())?.trim();
    if text.is_empty() {
        return Ok(json!({ "status": "done" }).to_string());
    }
    if kind == "text/html" {
        return Err("answered with a web page".to_owned());
    }
    let text = match serde_json::from_str::<Value>(text) {
        Ok(value) => value.to_string(),
        Err(_) if kind.ends_with("json") => return Err("answered with broken JSON".to_owned()),
        Err(_) => text.to_owned(),
    };
    let cut = text.floor_char_boundary(RESULT_MAX);
    Ok(if cut < text.len() { format!("{}… (the rest is left out)", &text[..cut]) } else { text })
}

/// Adds the arguments to a URL; what is neither text nor number goes as JSON.
fn with_query(url: &str, arguments: &str) -> String {
    let mut out = url.to_owned();
    let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
    for (name, value) in arguments.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        out.push(if out.contains('?') { '&' } else { '?' });
        out.push_str(&format!("{}={}", escaped(name), escaped(&value)));
    }
    out
}

/// Returns `text` as it stands in a query (RFC 3986 §2.3).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            // Writing into a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_any_hmac_says() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
        let expected = "t=1700000000,v1=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03";
        assert_eq!(signature(&Secret::new("key"), 1_700_000_000, "{\"a\":1}"), expected);
    }

    #[test]
    fn arguments_become_a_query() {
        let url = with_query("https://h/p?k=1", r#"{"name":"Ä & b","n":5,"on":true,"list":[1]}"#);
        let parts: Vec<&str> = url.split(['?', '&']).collect();
        assert_eq!(parts[..2], ["https://h/p", "k=1"]);
        for part in ["name=%C3%84%20%26%20b", "n=5", "on=true", "list=%5B1%5D"] {
            assert!(parts.contains(&part), "{url}");
        }
        assert_eq!(with_query("https://h/p", "{}"), "https://h/p");
    }

    #[test]
    fn an_answer_is_json_or_text_or_wrong() {
        let told = |kind: &str, bytes: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", kind.parse().expect("a header"));
            told(&headers, bytes)
        };
        assert_eq!(told("application/json", b"{ \"a\" : 1 }\n").as_deref(), Ok(r#"{"a":1}"#));
        assert_eq!(told("text/plain", b" Sunny. ").as_deref(), Ok("Sunny."));
        assert_eq!(told("text/plain", b"").as_deref(), Ok(r#"{"status":"done"}"#));
        assert_eq!(told("application/problem+json; charset=utf-8", b"{"), Err("answered with broken JSON".into()));
        assert_eq!(told("text/html; charset=utf-8", b"<html>"), Err("answered with a web page".into()));
        assert!(told("text/plain", &[0xff]).is_err());
        let long = told("text/plain", "ä".repeat(5_000).as_bytes()).expect("text");
        assert!(long.len() < 3_000 && long.ends_with("(the rest is left out)"));
    }
}
