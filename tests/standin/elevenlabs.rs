//! A stand-in of ElevenLabs' `/v1/text-to-speech/{voice}/multi-stream-input`: contexts, audio with the times of its letters.

use super::speaking::{CHARACTER, SPEED};
use super::{After, Peer, Refusal, Server, Session, header, hum, query, speaking};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use offhook::time::{Clock, Instant};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tungstenite::handshake::server::Request;

/// Letters of one message.
const CHUNK: usize = 7;
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
    /// Every text gets this error.
    ErrorAlways(&'static str),
    /// A context that is closed early goes on to be open.
    SlowToClose,
}

/// How it behaves, and what it has seen; connections that were closed for too many contexts are its excesses.
pub type Plan = speaking::Plan<Fault>;

/// Starts one; returns it with its base URL.
pub fn start(plan: Plan) -> (Server, Arc<Plan>, String) {
    Server::of(plan, serve)
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
    let fault = plan.faults.next();
    let refusal = if let Some(Fault::Refuse(refusal)) = &fault { Some(refusal.clone()) } else { None };
    let Some(peer) = Peer::accept(stream, |request| refusal.or_else(|| check(request))) else { return };
    plan.seen.lock().connections += 1;
    Contexts { plan, clock, peer, fault, open: BTreeMap::new(), spoken: 0 }.run(clock, stop);
}

/// The contexts of one connection.
struct Contexts<'a> {
    plan: &'a Plan,
    clock: &'a dyn Clock,
    peer: Peer,
    fault: Option<Fault>,
    open: BTreeMap<String, Context>,
    /// Letters of all of them.
    spoken: usize,
}

impl Session for Contexts<'_> {
    fn peer(&mut self) -> &mut Peer {
        &mut self.peer
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let busy = |context: &&Context| context.closed || (context.flushed && context.spoken < context.letters.len());
        self.open.values().filter(busy).map(|context| context.due).min()
    }

    fn handle_text(&mut self, text: &str) -> After {
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        self.plan.seen.lock().requests.push(request.clone());
        let id = request["context_id"].as_str().unwrap_or_default().to_owned();
        let text = request["text"].as_str().unwrap_or_default();
        let error = match self.fault {
            Some(Fault::Error(error) | Fault::ErrorAlways(error)) if !text.trim().is_empty() => Some(error),
            _ => None,
        };
        if let Some(error) = error {
            self.fault.take_if(|fault| matches!(fault, Fault::Error(_)));
            let message = format!("key {}", super::KEY);
            let error = json!({"message": message, "error": error, "code": 1008, "contextId": id});
            self.peer.send(error.to_string());
            self.open.remove(&id);
        } else if request["close_context"] == true {
            self.close(&id);
        } else {
            let context = self.open.entry(id).or_default();
            if context.spoken == context.letters.len() {
                context.due = self.clock.now() + self.plan.first_audio;
            }
            if text != " " {
                context.letters.extend(text.chars());
            }
            context.flushed = request["flush"] == true;
        }
        After::GoOn
    }

    fn go_on(&mut self) -> After {
        if self.open.len() > CONTEXTS_MAX {
            self.plan.seen.lock().excesses += 1;
            return After::Close(Some((1008, "max_active_conversations")));
        }
        match self.fault {
            Some(Fault::DropAfter(after)) if self.spoken >= after => return After::Drop,
            Some(Fault::StallAfter(after)) if self.spoken >= after => self.open.clear(),
            _ => self.speak(),
        }
        After::GoOn
    }
}

impl Contexts<'_> {
    fn close(&mut self, id: &str) {
        let Some(context) = self.open.get_mut(id) else { return };
        let slow = matches!(self.fault, Some(Fault::SlowToClose));
        context.closed = !slow || context.spoken == context.letters.len();
        context.flushed = true;
        context.due = context.due.max(self.clock.now());
    }

    /// Does what is due in every context.
    fn speak(&mut self) {
        let now = self.clock.now();
        self.open.retain(|id, context| {
            let left = context.letters.get(context.spoken..).unwrap_or_default();
            if now < context.due || !context.flushed {
                return true;
            }
            let piece = &left[..left.len().min(CHUNK)];
            if piece.is_empty() {
                if context.closed {
                    self.peer.send(json!({"isFinal": true, "contextId": id, "audio": null}).to_string());
                }
                return !context.closed;
            }
            let (length, from) = (CHARACTER * piece.len() as u32, CHARACTER * context.spoken as u32);
            let each = CHARACTER.as_millis() as u64;
            let starts: Vec<u64> = (0..piece.len() as u64).map(|n| n * each).collect();
            let chars: Vec<String> = piece.iter().map(char::to_string).collect();
            let durations = vec![each; piece.len()];
            let alignment = json!({"chars": chars, "charStartTimesMs": starts, "charDurationsMs": durations});
            let audio = STANDARD.encode(hum(from, length));
            let message = json!({"audio": audio, "alignment": alignment, "contextId": id, "isFinal": null});
            self.peer.send(message.to_string());
            context.spoken += piece.len();
            self.spoken += piece.len();
            context.due = now + length / SPEED;
            true
        });
    }
}
