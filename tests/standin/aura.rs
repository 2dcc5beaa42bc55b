//! A stand-in of Deepgram's `/v1/speak`: text is spoken when it is flushed, as one stream of binary messages.

use super::{Faults, Peer, Refusal, Server, Wall, Woken, header, hum, query};
use offhook::time::{Clock, Instant};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tungstenite::handshake::server::Request;
use tungstenite::protocol::Message;

/// Audio of one character: how fast people speak.
const CHARACTER: Duration = Duration::from_millis(60);
/// Audio of one message.
const CHUNK: Duration = Duration::from_millis(100);
/// How much faster than it is played audio is sent.
const SPEED: u32 = 8;
/// Flushes that a connection takes, all in less than a minute.
const FLUSHES_MAX: usize = 20;

/// What a connection does wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The upgrade is refused.
    Refuse(Refusal),
    /// After this much audio nothing is said any more.
    StallAfter(Duration),
    /// After this much audio the connection is gone.
    DropAfter(Duration),
    /// The first flush gets this error.
    Error(&'static str),
}

/// How it behaves, and what it has seen.
pub struct Plan {
    /// From the flush to the first audio.
    pub first_audio: Duration,
    pub faults: Faults<Fault>,
    pub seen: Mutex<Seen>,
}

/// What clients did.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub requests: Vec<Value>,
    pub connections: usize,
    /// Flushes beyond what is allowed.
    pub refused: usize,
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
    let told = |status: u16, text: &str| Some(Refusal::new(status, &json!({"err_msg": text}).to_string()));
    match () {
        () if request.uri().path() != "/v1/speak" => told(404, "no such path"),
        () if !header(request, "authorization").starts_with("Token ") => told(401, "no key"),
        () if query(request, "model").is_none() => told(400, "no model"),
        () if query(request, "encoding") != Some("mulaw") => told(400, "another encoding"),
        () if query(request, "sample_rate") != Some("8000") => told(400, "another rate"),
        () => None,
    }
}

fn serve(plan: &Plan, clock: &dyn Clock, stream: TcpStream, stop: &AtomicBool) {
    let mut fault = plan.faults.next();
    let refusal = if let Some(Fault::Refuse(refusal)) = &fault { Some(refusal.clone()) } else { None };
    let Some(mut peer) = Peer::accept(stream, |request| refusal.or_else(|| check(request))) else { return };
    plan.seen.lock().connections += 1;
    peer.send(json!({"type": "Metadata", "request_id": "r", "model_name": "aura"}).to_string());
    let (mut text, mut flushes) = (String::new(), VecDeque::<Duration>::new());
    let (mut due, mut audio, mut sequence, mut taken) = (Instant::ZERO, Duration::ZERO, 0, 0);
    while !stop.load(Ordering::Acquire) {
        let next = (!flushes.is_empty()).then_some(due);
        match peer.wait(clock, next, stop) {
            Woken::Gone => return,
            Woken::Message(Message::Text(message)) => {
                let request: Value = serde_json::from_str(&message).unwrap_or_default();
                match request["type"].as_str().unwrap_or_default() {
                    "Speak" => text.push_str(request["text"].as_str().unwrap_or_default()),
                    "Flush" if taken == FLUSHES_MAX => {
                        plan.seen.lock().refused += 1;
                        peer.send(json!({"type": "Warning", "description": "too many flushes"}).to_string());
                    }
                    "Flush" => {
                        taken += 1;
                        if let Some(Fault::Error(code)) = fault.take_if(|fault| matches!(fault, Fault::Error(_))) {
                            let text = format!("key {}", super::KEY);
                            peer.send(json!({"type": "Error", "code": code, "description": text}).to_string());
                            return peer.close(Some((1011, code)), clock, stop);
                        }
                        if flushes.is_empty() {
                            due = clock.now() + plan.first_audio;
                        }
                        flushes.push_back(CHARACTER * std::mem::take(&mut text).trim().chars().count() as u32);
                    }
                    "Clear" => {
                        text.clear();
                        flushes.clear();
                        peer.send(json!({"type": "Cleared", "sequence_id": sequence}).to_string());
                    }
                    _ => {}
                }
                plan.seen.lock().requests.push(request);
            }
            Woken::Message(_) => {}
            Woken::Due => {
                let now = clock.now();
                let Some(left) = flushes.front_mut() else { continue };
                let piece = (*left).min(CHUNK);
                if !piece.is_zero() {
                    peer.send_binary(hum(audio, piece));
                }
                *left -= piece;
                audio += piece;
                due = now + piece / SPEED;
                if left.is_zero() {
                    flushes.pop_front();
                    peer.send(json!({"type": "Flushed", "sequence_id": sequence}).to_string());
                    sequence += 1;
                }
            }
        }
        match fault {
            Some(Fault::DropAfter(after)) if audio >= after => return,
            Some(Fault::StallAfter(after)) if audio >= after => flushes.clear(),
            _ => {}
        }
    }
}
