//! A stand-in of Groq, and of other servers that speak OpenAI's chat completions: HTTP/1.1 and server-sent events by hand.

use super::{Faults, KEY, Refusal, Server, Wall};
use offhook::time::{Clock, Instant};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What is answered, in place of the script, to one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A refusal.
    Refuse(Refusal),
    /// Nothing at all.
    Stall,
    /// Nothing more after this many tokens.
    StallAfter(usize),
    /// The connection is gone after this many tokens.
    CutAfter(usize),
    /// An error event after this many tokens.
    ErrorAfter(usize),
    /// These bytes as the body, in pieces as they are, then its end.
    Raw(Vec<Vec<u8>>),
    /// Tokens of reasoning for ever.
    ReasonForEver,
    /// The connection is closed before an answer.
    HangUp,
    /// The first token comes this late.
    Late(Duration),
    /// The body ends after this many tokens, without a reason and without `[DONE]`.
    EndAfter(usize),
    /// All of the reply and `[DONE]` come, and the body never ends.
    NeverEnd,
}

/// Whose habits it has among the servers that speak OpenAI's chat completions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Personality {
    /// Whole tool calls, usage in `x_groq`, a key.
    #[default]
    Groq,
    /// The role in every chunk, whole tool calls, `reasoning`.
    Ollama,
    /// As it was: several calls at index 0 in one chunk, `stop` after them, thinking written into the text.
    OldOllama,
    /// No content in the first chunk, `reasoning_content`, fragmented calls, usage and timings whether asked for or not.
    LlamaCpp,
    /// Usage in every chunk, empty lists of calls, fragmented calls without a name after the first.
    Vllm,
}

impl Personality {
    /// The path of its API.
    fn path(self) -> &'static str {
        if self == Self::Groq { "/openai/v1" } else { "/v1" }
    }

    fn wants_key(self) -> bool {
        self == Self::Groq
    }

    /// The chunks' deltas before the first token.
    fn opening(self) -> Vec<Value> {
        match self {
            Self::Groq => vec![json!({"role": "assistant", "content": ""})],
            Self::Ollama => vec![
                json!({"role": "assistant", "content": "", "reasoning": "The caller "}),
                json!({"role": "assistant", "content": "", "reasoning": "greets me."}),
            ],
            Self::OldOllama => ["<th", "ink>The caller <b>greets", "</b> me.</thi", "nk>\n\n"]
                .map(|text| json!({"role": "assistant", "content": text}))
                .to_vec(),
            Self::LlamaCpp => vec![
                json!({"role": "assistant", "content": null}),
                json!({"reasoning_content": "The caller greets me."}),
            ],
            Self::Vllm => vec![
                json!({"role": "assistant", "content": ""}),
                json!({"reasoning": "The caller", "reasoning_content": "The caller"}),
                Value::Null,
            ],
        }
    }

    fn token(self, text: &str) -> Value {
        match self {
            Self::Ollama | Self::OldOllama => json!({"role": "assistant", "content": text}),
            Self::Vllm => json!({"content": text, "tool_calls": [], "reasoning": null}),
            Self::Groq | Self::LlamaCpp => json!({"content": text}),
        }
    }

    /// The deltas that call `hang_up` and `press`.
    fn calls(self) -> Vec<Value> {
        let whole = |index: usize, id: &str, name: &str, arguments: &str| {
            let function = json!({"name": name, "arguments": arguments});
            json!({"index": index, "id": id, "type": "function", "function": function})
        };
        let part = |index: usize, arguments: &str| json!({"index": index, "function": {"arguments": arguments}});
        let press = r#"{"digit":"5"}"#;
        match self {
            Self::Groq => vec![json!({"tool_calls": [whole(0, "call_1", "hang_up", "{}")]})],
            Self::Ollama => vec![json!({"role": "assistant", "content": "", "tool_calls": [
                whole(0, "call_1", "hang_up", "{}"),
                whole(1, "call_2", "press", press),
            ]})],
            Self::OldOllama => vec![json!({"role": "assistant", "content": "", "tool_calls": [
                whole(0, "call_1", "hang_up", "{}"),
                whole(0, "call_2", "press", press),
            ]})],
            Self::LlamaCpp | Self::Vllm => vec![
                json!({"tool_calls": [whole(0, "call_1", "hang_up", "")]}),
                json!({"tool_calls": [part(0, "{")]}),
                json!({"tool_calls": [part(0, "}")]}),
                json!({"tool_calls": [whole(1, "call_2", "press", "")]}),
                json!({"content": null, "tool_calls": [part(1, &press[..6])]}),
                json!({"tool_calls": [part(1, &press[6..])]}),
            ],
        }
    }

    /// The delta and the reason of the last chunk.
    fn ending(self, called: bool) -> (Value, &'static str) {
        let finish = if called && self != Self::OldOllama { "tool_calls" } else { "stop" };
        match self {
            Self::Ollama | Self::OldOllama => (json!({"role": "assistant", "content": ""}), finish),
            Self::Vllm => (Value::Null, finish),
            Self::Groq | Self::LlamaCpp => (json!({}), finish),
        }
    }
}

/// How it behaves, and what it has seen.
pub struct Plan {
    /// From the request to the first token.
    pub first_token: Duration,
    /// By how much more at most, drawn anew for each request.
    pub spread: Duration,
    /// What draws it.
    pub rng: Mutex<fastrand::Rng>,
    /// From each token to the next.
    pub token_every: Duration,
    /// The replies, the last one again and again; a last word such as `[hang_up]` or `[transfer:{"to":"sales"}]` calls that
    /// tool. Arguments have no spaces.
    pub replies: Vec<String>,
    /// One per request for a completion.
    pub faults: Faults<Fault>,
    /// Whose habits it has.
    pub personality: Personality,
    /// What is said to be left of 8,000 tokens a minute.
    pub tokens_left: Mutex<u32>,
    pub seen: Mutex<Seen>,
}

/// What clients did.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub connections: usize,
    pub authorizations: Vec<String>,
    /// Bodies of requests for completions.
    pub bodies: Vec<Value>,
    /// The connection of each of them.
    pub on_connection: Vec<usize>,
    pub models: usize,
    /// Replies that the client did not wait for.
    pub cut: usize,
}

impl Default for Plan {
    fn default() -> Self {
        let replies =
            ["Hello! What can I do for you?", "Yes, we are open from ten to six on Sunday.", "Your table is booked."];
        Self {
            first_token: Duration::from_millis(300),
            spread: Duration::ZERO,
            rng: Mutex::new(fastrand::Rng::with_seed(0)),
            token_every: Duration::from_millis(5),
            replies: replies.map(String::from).to_vec(),
            faults: Faults::default(),
            personality: Personality::default(),
            tokens_left: Mutex::new(7_900),
            seen: Mutex::default(),
        }
    }
}

/// Starts one; returns it with its base URL.
pub fn start(plan: Plan) -> (Server, Arc<Plan>, String) {
    let (plan, clock) = (Arc::new(plan), Wall::start());
    let served = plan.clone();
    let replied = Arc::new(Mutex::new(0));
    let server = Server::start(move |n, stream, stop| {
        served.seen.lock().connections += 1;
        let connection = Connection { plan: &served, clock: &*clock, n, stop, replied: &replied };
        // A client that hangs up is what some tests are about.
        let _ = connection.serve(stream);
    });
    let url = format!("http://{}{}", server.address, plan.personality.path());
    (server, plan, url)
}

struct Connection<'a> {
    plan: &'a Plan,
    clock: &'a dyn Clock,
    n: usize,
    stop: &'a AtomicBool,
    /// Replies given so far, over all connections.
    replied: &'a Mutex<usize>,
}

impl Connection<'_> {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut out = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        while let Some((line, authorization, body)) = read_request(&mut reader)? {
            self.plan.seen.lock().authorizations.push(authorization.clone());
            let personality = self.plan.personality;
            let asks = |method: &str, what: &str| line.starts_with(&format!("{method} {}/{what} ", personality.path()));
            let refusal = if asks("GET", "models") {
                self.plan.seen.lock().models += 1;
                None
            } else if asks("POST", "chat/completions") {
                let mut seen = self.plan.seen.lock();
                seen.bodies.push(serde_json::from_slice(&body).unwrap_or_default());
                seen.on_connection.push(self.n);
                None
            } else {
                Some(Refusal::new(404, "{\"error\":{\"message\":\"no such path\"}}"))
            };
            let wrong_key = personality.wants_key() && authorization != format!("Bearer {KEY}");
            let text = format!(
                "{{\"error\":{{\"message\":\"Invalid API Key {authorization}\",\"code\":\"invalid_api_key\"}}}}"
            );
            match refusal.or_else(|| wrong_key.then(|| Refusal::new(401, &text))) {
                Some(refusal) => refuse(&mut out, &refusal)?,
                None if body.is_empty() => {
                    let list = r#"{"object":"list","data":[{"id":"openai/gpt-oss-20b"},{"id":"openai/gpt-oss-120b"}]}"#;
                    write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{list}", list.len())?;
                }
                None => {
                    if let Err(error) = self.complete(&mut out) {
                        self.plan.seen.lock().cut += 1;
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    fn complete(&self, out: &mut TcpStream) -> std::io::Result<()> {
        let fault = self.plan.faults.next();
        match &fault {
            Some(Fault::Refuse(refusal)) => return refuse(out, refusal),
            Some(Fault::HangUp) => return out.shutdown(std::net::Shutdown::Both),
            Some(Fault::Stall) => return self.hold(out),
            _ => {}
        }
        let drawn = self.plan.first_token + self.plan.spread.mul_f64(self.plan.rng.lock().f64());
        let first_token = if let Some(Fault::Late(late)) = fault { late } else { drawn };
        let mut due = self.clock.now() + first_token;
        // With the head before the first token, a client that waits for the head alone is not taken in.
        write!(
            out,
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nx-request-id: req_1\r\n\
             x-ratelimit-limit-requests: 14400\r\nx-ratelimit-remaining-requests: 14370\r\n\
             x-ratelimit-limit-tokens: 8000\r\nx-ratelimit-remaining-tokens: {}\r\n\r\n",
            *self.plan.tokens_left.lock()
        )?;
        if let Some(Fault::Raw(pieces)) = &fault {
            for piece in pieces {
                write_chunk(out, piece)?;
                self.wait_until(self.clock.now() + Duration::from_millis(5));
            }
            return out.write_all(b"0\r\n\r\n");
        }
        let personality = self.plan.personality;
        for delta in personality.opening() {
            self.send(out, &json!({"choices": [choice(&delta, None)], "x_groq": {"id": "req_01abc"}}))?;
        }
        let reply = {
            let replied = *self.replied.lock();
            self.plan.replies.get(replied).or(self.plan.replies.last()).cloned().unwrap_or_default()
        };
        let mut called = false;
        for (n, token) in reply.split_inclusive(' ').enumerate() {
            self.wait_until(due);
            due += self.plan.token_every;
            if self.breaks_off(out, fault.as_ref(), n)? {
                return Ok(());
            }
            let call = token.trim().strip_prefix('[').and_then(|call| call.strip_suffix(']'));
            called = call.is_some();
            let deltas = match call {
                Some("hang_up") => personality.calls(),
                Some(call) => {
                    let (name, arguments) = call.split_once(':').unwrap_or((call, "{}"));
                    let function = json!({"name": name, "arguments": arguments});
                    let id = format!("call_{n}");
                    vec![json!({"tool_calls": [{"index": n, "id": id, "type": "function", "function": function}]})]
                }
                None => vec![personality.token(token)],
            };
            for delta in deltas {
                self.send(out, &json!({"choices": [choice(&delta, None)]}))?;
            }
        }
        self.finish(out, called)?;
        // A reply that did not get through is given again.
        *self.replied.lock() += 1;
        write_chunk(out, b"data: [DONE]\n\n")?;
        if matches!(fault, Some(Fault::NeverEnd)) {
            return self.hold(out);
        }
        out.write_all(b"0\r\n\r\n")
    }

    /// Does what `fault` does in front of token `n`; returns whether that is the end of the reply.
    fn breaks_off(&self, out: &mut TcpStream, fault: Option<&Fault>, n: usize) -> std::io::Result<bool> {
        match fault {
            Some(Fault::StallAfter(tokens)) if n == *tokens => self.hold(out)?,
            Some(Fault::CutAfter(tokens)) if n == *tokens => out.shutdown(std::net::Shutdown::Both)?,
            Some(Fault::ErrorAfter(tokens)) if n == *tokens => {
                out.write_all(b"15\r\nevent: error\r\ndata: {\"e\r\n")?;
                write_chunk(out, b"rror\":{\"message\":\"overloaded\"}}\n\n")?;
                out.write_all(b"0\r\n\r\n")?;
            }
            Some(Fault::EndAfter(tokens)) if n == *tokens => out.write_all(b"0\r\n\r\n")?,
            Some(Fault::ReasonForEver) => loop {
                self.send(out, &json!({"choices": [choice(&json!({"reasoning": "hmm, "}), None)]}))?;
                self.wait_until(self.clock.now() + Duration::from_millis(20));
                if self.stop.load(Ordering::Acquire) {
                    break;
                }
            },
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Says that the reply is whole, and what it cost, as this kind of server does.
    fn finish(&self, out: &mut TcpStream, called: bool) -> std::io::Result<()> {
        let usage = json!({"queue_time": 0.004, "prompt_tokens": 61, "completion_tokens": 12, "total_tokens": 73});
        let (delta, finish) = self.plan.personality.ending(called);
        let mut last = json!({"choices": [choice(&delta, Some(finish))]});
        match self.plan.personality {
            Personality::Groq => {
                last["x_groq"] = json!({"id": "req_01abc", "usage": usage});
                self.send(out, &last)?;
                self.send(out, &json!({"choices": [], "usage": usage}))
            }
            Personality::LlamaCpp => {
                self.send(out, &last)?;
                self.send(out, &json!({"choices": [], "usage": usage, "timings": {"prompt_ms": 30.5}}))
            }
            _ => self.send(out, &last),
        }
    }

    /// Says nothing until the client hangs up, which counts as a reply that was not waited for.
    fn hold(&self, out: &mut TcpStream) -> std::io::Result<()> {
        out.set_read_timeout(Some(super::IDLE))?;
        let mut byte = [0];
        while !self.stop.load(Ordering::Acquire) {
            match out.read(&mut byte) {
                Ok(0) => return Err(std::io::ErrorKind::ConnectionReset.into()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send(&self, out: &mut TcpStream, chunk: &Value) -> std::io::Result<()> {
        let mut chunk = chunk.clone();
        if self.plan.personality == Personality::Vllm {
            chunk["usage"] = json!({"prompt_tokens": 61, "completion_tokens": 1, "total_tokens": 62});
        }
        send(out, &chunk)
    }

    fn wait_until(&self, due: Instant) {
        loop {
            let left = due.since(self.clock.now());
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }
}

fn choice(delta: &Value, finish: Option<&str>) -> Value {
    json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish})
}

fn send(out: &mut TcpStream, chunk: &Value) -> std::io::Result<()> {
    let mut chunk = chunk.clone();
    chunk["id"] = "chatcmpl-7f1".into();
    chunk["object"] = "chat.completion.chunk".into();
    write_chunk(out, format!("data: {chunk}\n\n").as_bytes())
}

fn write_chunk(out: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    out.write_all(&chunk)
}

fn refuse(out: &mut TcpStream, refusal: &Refusal) -> std::io::Result<()> {
    write!(out, "HTTP/1.1 {} Refused\r\nContent-Length: {}\r\n", refusal.status, refusal.body.len())?;
    for (name, value) in &refusal.headers {
        write!(out, "{name}: {value}\r\n")?;
    }
    write!(out, "\r\n{}", refusal.body)
}

/// Reads a request: its first line, its authorization, its body.
fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<(String, String, Vec<u8>)>> {
    let (mut first, mut authorization, mut length) = (String::new(), String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if first.is_empty() {
            first = line.to_owned();
        } else if line.is_empty() {
            break;
        } else if let Some((name, value)) = line.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "authorization" => authorization = value.trim().to_owned(),
                "content-length" => length = value.trim().parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((first, authorization, body)))
}
