//! A stand-in of Deepgram's `/v1/speak`: text is spoken when it is flushed, as one stream of binary messages.

use super::speaking::{CHARACTER, CHUNK, SPEED};
use super::{After, Peer, Refusal, Server, Session, header, hum, query, speaking};
use offhook::time::{Clock, Instant};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tungstenite::handshake::server::Request;

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

/// How it behaves, and what it has seen; flushes beyond what is allowed are its excesses.
pub type Plan = speaking::Plan<Fault>;

/// Starts one; returns it with its base URL.
pub fn start(plan: Plan) -> (Server, Arc<Plan>, String) {
    Server::of(plan, serve)
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
    let fault = plan.faults.next();
    let refusal = if let Some(Fault::Refuse(refusal)) = &fault { Some(refusal.clone()) } else { None };
    let Some(mut peer) = Peer::accept(stream, |request| refusal.or_else(|| check(request))) else { return };
    plan.seen.lock().connections += 1;
    peer.send(json!({"type": "Metadata", "request_id": "r", "model_name": "aura"}).to_string());
    let (text, flushes) = (String::new(), VecDeque::new());
    let (due, audio) = (Instant::ZERO, Duration::ZERO);
    Stream { plan, clock, peer, fault, text, flushes, due, audio, taken: 0, answered: 0 }.run(clock, stop);
}

/// One connection's stream.
struct Stream<'a> {
    plan: &'a Plan,
    clock: &'a dyn Clock,
    peer: Peer,
    fault: Option<Fault>,
    /// What is not flushed.
    text: String,
    /// What is still to be sent of each flush.
    flushes: VecDeque<Duration>,
    /// When the next audio of the first of them is.
    due: Instant,
    audio: Duration,
    /// Flushes that were taken and answered.
    taken: usize,
    answered: usize,
}

impl Session for Stream<'_> {
    fn peer(&mut self) -> &mut Peer {
        &mut self.peer
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (!self.flushes.is_empty()).then_some(self.due)
    }

    fn handle_text(&mut self, text: &str) -> After {
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        self.plan.seen.lock().requests.push(request.clone());
        match request["type"].as_str().unwrap_or_default() {
            "Speak" => self.text.push_str(request["text"].as_str().unwrap_or_default()),
            "Flush" if self.taken == FLUSHES_MAX => {
                self.plan.seen.lock().excesses += 1;
                self.peer.send(json!({"type": "Warning", "description": "too many flushes"}).to_string());
            }
            "Flush" => return self.flush(),
            "Clear" => {
                self.text.clear();
                self.flushes.clear();
                self.peer.send(json!({"type": "Cleared", "sequence_id": self.answered}).to_string());
            }
            _ => {}
        }
        After::GoOn
    }

    /// Sends the next audio.
    fn handle_timeout(&mut self) {
        let Some(left) = self.flushes.front_mut() else { return };
        let piece = (*left).min(CHUNK);
        if !piece.is_zero() {
            self.peer.send_binary(hum(self.audio, piece));
        }
        *left -= piece;
        self.audio += piece;
        self.due = self.clock.now() + piece / SPEED;
        if left.is_zero() {
            self.flushes.pop_front();
            self.peer.send(json!({"type": "Flushed", "sequence_id": self.answered}).to_string());
            self.answered += 1;
        }
    }

    fn go_on(&mut self) -> After {
        match self.fault {
            Some(Fault::DropAfter(after)) if self.audio >= after => return After::Drop,
            Some(Fault::StallAfter(after)) if self.audio >= after => self.flushes.clear(),
            _ => {}
        }
        After::GoOn
    }
}

impl Stream<'_> {
    fn flush(&mut self) -> After {
        self.taken += 1;
        if let Some(Fault::Error(code)) = self.fault.take_if(|fault| matches!(fault, Fault::Error(_))) {
            let text = format!("key {}", super::KEY);
            self.peer.send(json!({"type": "Error", "code": code, "description": text}).to_string());
            return After::Close(Some((1011, code)));
        }
        if self.flushes.is_empty() {
            self.due = self.clock.now() + self.plan.first_audio;
        }
        self.flushes.push_back(CHARACTER * std::mem::take(&mut self.text).trim().chars().count() as u32);
        After::GoOn
    }
}
