//! A stand-in of ElevenLabs' `/v1/text-to-speech/{voice}/multi-stream-input`: contexts, audio with the times of its letters.

use super::{Faults, Peer, Refusal, Server, Wall, Woken, header, hum, query};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use offhook::time::{Clock, Instant};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tungstenite::handshake::server::Request;
use tungstenite::protocol::Message;

/// Audio of one character, in milliseconds: how fast people speak.
const CHARACTER_MS: u32 = 60;
/// Letters of one message.
const CHUNK: usize = 7;
/// How much faster than it is played audio is sent.
const SPEED: u32 = 8;
/// Contexts that a connection takes.
const CONTEXTS_MAX: usize = 5;

/// What a connection does wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The upgrade is refused.
    Refuse(Refusal),
    /// After this many letters nothing is said any more.
    StallAfter(usize),
    /// After this many letters the connection is gone.
    DropAfter(usize),
    /// The first text gets this error.
    Error(&'static str),
    /// A context that is closed early goes on to be open.
    SlowToClose,
}

/// How it behaves, and what it has seen.
pub struct Plan {
    /// From the text to the first audio.
    pub first_audio: Duration,
    pub faults: Faults<Fault>,
    pub seen: Mutex<Seen>,
}

/// What clients did.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub requests: Vec<Value>,
    pub connections: usize,
    /// Connections that were closed because they had too many contexts.
    pub overfull: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { first_audio: Duration::from_millis(20), faults: Faults::default(), seen: Mutex::default() }
    }
}

/// Starts one; returns it with its base URL.
pub fn start(plan: Plan) -> (Server, Arc<Plan>, String) {
    let (plan, clock) = (Arc::new(plan), Wall::start());
    let served = plan.clone();
    let server = Server::start(move |_, stream, stop| serve(&served, &*clock, stream, stop));
    let url = format!("ws://{}", server.address);
    (server, plan, url)
}

fn check(request: &Request) -> Option<Refusal> {
    let told = |status: u16, text: &str| Some(Refusal::new(status, &json!({"detail": text}).to_string()));
    match () {
        () if request.uri().path() != "/v1/text-to-speech/v1ce/multi-stream-input" => told(404, "no such path"),
        () if header(request, "xi-api-key").is_empty() => told(401, "no key"),
        () if query(request, "model_id").is_none() => told(400, "no model"),
        () if query(request, "output_format") != Some("ulaw_8000") => told(400, "another format"),
        () if query(request, "sync_alignment") != Some("true") => told(400, "no alignment"),
        () => None,
    }
}

/// A context: its letters that are not spoken yet, and when something is due.
#[derive(Default)]
struct Context {
    letters: Vec<char>,
    spoken: usize,
    flushed: bool,
    closed: bool,
    due: Instant,
}

fn serve(plan: &Plan, clock: &dyn Clock, stream: TcpStream, stop: &AtomicBool) {
    let mut fault = plan.faults.next();
    let refusal = if let Some(Fault::Refuse(refusal)) = &fault { Some(refusal.clone()) } else { None };
    let Some(mut peer) = Peer::accept(stream, |request| refusal.or_else(|| check(request))) else { return };
    plan.seen.lock().connections += 1;
    let (mut contexts, mut spoken) = (BTreeMap::<String, Context>::new(), 0);
    while !stop.load(Ordering::Acquire) {
        let busy = |context: &&Context| context.closed || (context.flushed && context.spoken < context.letters.len());
        let due = contexts.values().filter(busy).map(|context| context.due).min();
        match peer.wait(clock, due, stop) {
            Woken::Gone => return,
            Woken::Due => {}
            Woken::Message(Message::Text(message)) => {
                let request: Value = serde_json::from_str(&message).unwrap_or_default();
                plan.seen.lock().requests.push(request.clone());
                let id = request["context_id"].as_str().unwrap_or_default().to_owned();
                let text = request["text"].as_str().unwrap_or_default();
                if let Some(Fault::Error(error)) =
                    fault.take_if(|fault| matches!(fault, Fault::Error(_)) && !text.trim().is_empty())
                {
                    let message = format!("key {}", super::KEY);
                    let error = json!({"message": message, "error": error, "code": 1008, "contextId": id});
                    peer.send(error.to_string());
                    contexts.remove(&id);
                    continue;
                }
                if request["close_context"] == true {
                    if let Some(context) = contexts.get_mut(&id) {
                        context.closed =
                            !matches!(fault, Some(Fault::SlowToClose)) || context.spoken == context.letters.len();
                        context.flushed = true;
                        context.due = context.due.max(clock.now());
                    }
                    continue;
                }
                let context = contexts.entry(id).or_default();
                if context.spoken == context.letters.len() {
                    context.due = clock.now() + plan.first_audio;
                }
                if text != " " {
                    context.letters.extend(text.chars());
                }
                context.flushed = request["flush"] == true;
            }
            Woken::Message(_) => {}
        }
        if contexts.len() > CONTEXTS_MAX {
            plan.seen.lock().overfull += 1;
            return peer.close(Some((1008, "max_active_conversations")), clock, stop);
        }
        match fault {
            Some(Fault::DropAfter(after)) if spoken >= after => return,
            Some(Fault::StallAfter(after)) if spoken >= after => contexts.clear(),
            _ => spoken += speak(&mut peer, &mut contexts, clock.now()),
        }
    }
}

/// Does what is due in every context; returns how many letters were spoken.
fn speak(peer: &mut Peer, contexts: &mut BTreeMap<String, Context>, now: Instant) -> usize {
    let mut spoken = 0;
    contexts.retain(|id, context| {
        let left = context.letters.get(context.spoken..).unwrap_or_default();
        if now < context.due || !context.flushed {
            return true;
        }
        let piece = &left[..left.len().min(CHUNK)];
        if piece.is_empty() {
            if context.closed {
                peer.send(json!({"isFinal": true, "contextId": id, "audio": null}).to_string());
            }
            return !context.closed;
        }
        let length = Duration::from_millis(u64::from(CHARACTER_MS) * piece.len() as u64);
        let from = Duration::from_millis(u64::from(CHARACTER_MS) * context.spoken as u64);
        let starts: Vec<u32> = (0..piece.len() as u32).map(|n| n * CHARACTER_MS).collect();
        let alignment = json!({"chars": piece.iter().map(|c| c.to_string()).collect::<Vec<_>>(),
            "charStartTimesMs": starts, "charDurationsMs": vec![CHARACTER_MS; piece.len()]});
        let audio = STANDARD.encode(hum(from, length));
        peer.send(json!({"audio": audio, "alignment": alignment, "contextId": id, "isFinal": null}).to_string());
        context.spoken += piece.len();
        spoken += piece.len();
        context.due = now + length / SPEED;
        true
    });
    spoken
}
