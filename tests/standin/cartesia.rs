//! A stand-in of Cartesia's `/tts/websocket`: contexts, audio as long as the text, word times.

use super::speaking::{CHARACTER, CHUNK, SPEED};
use super::{After, Faults, Peer, Refusal, Server, Session, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use offhook::audio::g711::ulaw_of;
use offhook::time::{Clock, Instant};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::f32::consts::TAU;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tungstenite::handshake::server::Request;

/// What a connection does wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The upgrade is refused.
    Refuse(Refusal),
    /// It closes with 1000 "connection idle timeout" after this long without a request.
    IdleClose(Duration),
    /// After this much audio nothing is said any more.
    StallAfter(Duration),
    /// After this much audio the connection is gone.
    DropAfter(Duration),
    /// The first request gets this error; the context is told if `true`.
    Error(&'static str, u16, bool),
    /// Audio comes, and its end is not told.
    NoDone,
    /// Nonsense and frames of other contexts come in between.
    Strange,
    /// A cancelled context goes on to its end.
    DeafToCancel,
    /// No word times are told.
    NoTimes,
    /// Every request gets this error.
    ErrorAlways(&'static str, u16),
    /// The upgrade is answered after this long.
    SlowOpen(Duration),
    /// From each text to its first audio it takes this long.
    SlowAudio(Duration),
    /// After this much audio comes what is no WebSocket.
    GarbageAfter(Duration),
}

/// How it behaves, and what it has seen.
pub struct Plan {
    /// From the text to the first audio.
    pub first_audio: Duration,
    /// By how much more at most, drawn anew for each speech.
    pub spread: Duration,
    /// What draws it.
    pub rng: Mutex<fastrand::Rng>,
    /// How long after its last audio an unfinished context is over.
    pub expiry: Duration,
    /// What its voice sounds like, over and over, at 8 kHz; a hum where it is empty.
    pub speech: Vec<i16>,
    pub faults: Faults<Fault>,
    pub seen: Mutex<Seen>,
}

/// What clients did.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub keys: Vec<String>,
    pub requests: Vec<Value>,
    pub connections: usize,
}

impl Default for Plan {
    fn default() -> Self {
        let (faults, seen) = (Faults::default(), Mutex::default());
        let rng = Mutex::new(fastrand::Rng::with_seed(0));
        Self {
            first_audio: Duration::from_millis(90),
            spread: Duration::ZERO,
            rng,
            expiry: Duration::from_secs(1),
            speech: Vec::new(),
            faults,
            seen,
        }
    }
}

/// Starts one; returns it with its base URL.
pub fn start(plan: Plan) -> (Server, Arc<Plan>, String) {
    Server::of(plan, serve)
}

fn check(request: &Request) -> Option<Refusal> {
    let told =
        |status: u16, text: &str| Some(Refusal::new(status, &json!({"title": text, "message": text}).to_string()));
    let version = header(request, "cartesia-version");
    match () {
        () if request.uri().path() != "/tts/websocket" => told(404, "no such path"),
        () if header(request, "x-api-key").is_empty() => told(401, "no key"),
        () if version.len() != 10 => told(400, "no version"),
        () => None,
    }
}

fn serve(plan: &Plan, clock: &dyn Clock, stream: TcpStream, stop: &AtomicBool) {
    let fault = plan.faults.next();
    if let Some(Fault::SlowOpen(length)) = fault {
        super::pause(clock, length, stop);
    }
    let peer = Peer::accept(stream, |request| {
        plan.seen.lock().keys.push(header(request, "x-api-key").to_owned());
        if let Some(Fault::Refuse(refusal)) = &fault { Some(refusal.clone()) } else { check(request) }
    });
    let Some(peer) = peer else { return };
    plan.seen.lock().connections += 1;
    let contexts = BTreeMap::new();
    Contexts { plan, clock, peer, fault, contexts, audio: Duration::ZERO, asked: clock.now() }.run(clock, stop);
}

/// A context: its texts that are not spoken yet, and when something is due.
#[derive(Default)]
struct Context {
    texts: VecDeque<String>,
    mulaw: bool,
    rate: u32,
    /// Audio of the present text that is still to be sent.
    left: Option<Duration>,
    audio: Duration,
    flushed: u64,
    finished: bool,
    due: Instant,
}

struct Contexts<'a> {
    plan: &'a Plan,
    clock: &'a dyn Clock,
    peer: Peer,
    fault: Option<Fault>,
    contexts: BTreeMap<String, Context>,
    audio: Duration,
    asked: Instant,
}

impl Session for Contexts<'_> {
    fn peer(&mut self) -> &mut Peer {
        &mut self.peer
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.contexts.values().map(|context| context.due).min().or(self.idle_at())
    }

    fn handle_text(&mut self, text: &str) -> After {
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        self.plan.seen.lock().requests.push(request.clone());
        self.asked = self.clock.now();
        self.handle_request(&request);
        After::GoOn
    }

    fn go_on(&mut self) -> After {
        match self.fault {
            Some(Fault::DropAfter(audio)) if self.audio >= audio => return After::Drop,
            Some(Fault::GarbageAfter(audio)) if self.audio >= audio => self.peer.send_garbage(),
            Some(Fault::StallAfter(audio)) if self.audio >= audio => self.contexts.clear(),
            _ => self.speak(),
        }
        let idle = self.contexts.is_empty() && self.idle_at().is_some_and(|at| self.clock.now() >= at);
        if idle { After::Close(Some((1000, "connection idle timeout"))) } else { After::GoOn }
    }
}

impl Contexts<'_> {
    /// When it has been idle for too long.
    fn idle_at(&self) -> Option<Instant> {
        match self.fault {
            Some(Fault::IdleClose(idle)) => Some(self.asked + idle),
            _ => None,
        }
    }

    fn handle_request(&mut self, request: &Value) {
        let id = request["context_id"].as_str().unwrap_or_default().to_owned();
        if request["cancel"] == true {
            if !matches!(self.fault, Some(Fault::DeafToCancel)) {
                self.contexts.remove(&id);
            }
            return;
        }
        let error = match self.fault {
            Some(Fault::Error(code, status, told)) => Some((code, status, told)),
            Some(Fault::ErrorAlways(code, status)) => Some((code, status, true)),
            _ => None,
        };
        if let Some((code, status, told)) = error {
            self.fault.take_if(|fault| matches!(fault, Fault::Error(..)));
            let context = told.then_some(id);
            let error = json!({"type": "error", "done": true, "context_id": context, "status_code": status, "error_code": code,
                "title": "As planned", "message": format!("key {}", super::KEY)});
            return self.peer.send(error.to_string());
        }
        let text = request["transcript"].as_str().unwrap_or_default();
        let slow = if let Some(Fault::SlowAudio(length)) = self.fault { Some(length) } else { None };
        let drawn = self.plan.first_audio + self.plan.spread.mul_f64(self.plan.rng.lock().f64());
        let (now, first) = (self.clock.now(), slow.unwrap_or(drawn));
        let context = self.contexts.entry(id).or_default();
        context.mulaw = request["output_format"]["encoding"] == "pcm_mulaw";
        context.rate = request["output_format"]["sample_rate"].as_u64().unwrap_or(8000) as u32;
        context.finished = request["continue"] != true;
        if !text.trim().is_empty() {
            if context.left.is_none() && context.texts.is_empty() {
                context.due = now + first;
            }
            context.texts.push_back(text.to_owned());
        } else if context.left.is_none() && context.texts.is_empty() {
            context.due = now;
        }
    }

    /// Does what is due in every context.
    fn speak(&mut self) {
        let now = self.clock.now();
        let mut over = Vec::new();
        for (id, context) in &mut self.contexts {
            if now < context.due {
                continue;
            }
            let mut send = |mut message: Value| {
                message["context_id"] = id.as_str().into();
                message["status_code"] = 206.into();
                message["done"] = false.into();
                self.peer.send(message.to_string());
            };
            if context.left.is_none() {
                let Some(text) = context.texts.front() else {
                    // Nothing to say: finished, or expired.
                    over.push(id.clone());
                    continue;
                };
                context.left = Some(CHARACTER * text.trim().chars().count() as u32);
                if !matches!(self.fault, Some(Fault::NoTimes)) {
                    send(json!({"type": "timestamps", "word_timestamps": times(text, context.audio)}));
                }
            }
            if matches!(self.fault, Some(Fault::Strange)) {
                send(json!({"type": "phoneme_timestamps", "phoneme_timestamps": {}}));
                self.peer
                    .send("{\"type\":\"chunk\",\"context_id\":\"t0-999\",\"data\":\"AAAA\",\"done\":false}".into());
                self.peer.send("no json".into());
            }
            let left = context.left.unwrap_or_default();
            let piece = left.min(CHUNK);
            let data = STANDARD.encode(hum(context, piece, &self.plan.speech));
            let mut message =
                json!({"type": "chunk", "data": data, "step_time": 12.5, "flush_id": context.flushed + 1});
            message["context_id"] = id.as_str().into();
            message["status_code"] = 206.into();
            message["done"] = false.into();
            self.peer.send(message.to_string());
            context.audio += piece;
            self.audio += piece;
            context.due = now + piece / SPEED;
            context.left = Some(left - piece).filter(|left| !left.is_zero());
            if context.left.is_none() {
                context.texts.pop_front();
                context.flushed += 1;
                let done = json!({"type": "flush_done", "context_id": id, "status_code": 206, "done": false,
                    "flush_id": context.flushed, "flush_done": true});
                self.peer.send(done.to_string());
                if context.texts.is_empty() {
                    context.due = if context.finished { now } else { now + self.plan.expiry };
                }
            }
        }
        for id in over {
            self.contexts.remove(&id);
            if !matches!(self.fault, Some(Fault::NoDone)) {
                self.peer.send(json!({"type": "done", "context_id": id, "status_code": 200, "done": true}).to_string());
            }
        }
    }
}

/// Word times: each word as long as its share of the text.
fn times(text: &str, from: Duration) -> Value {
    let (mut words, mut starts, mut ends, mut at) = (Vec::new(), Vec::new(), Vec::new(), from);
    for word in text.split_whitespace() {
        let end = at + CHARACTER * word.chars().count() as u32;
        words.push(word);
        starts.push(at.as_secs_f64());
        ends.push(end.as_secs_f64());
        at = end + CHARACTER;
    }
    json!({"words": words, "start": starts, "end": ends})
}

/// A 200 Hz hum of `length`, or as much of `speech`, in the encoding asked for.
fn hum(context: &Context, length: Duration, speech: &[i16]) -> Vec<u8> {
    let samples = (length.as_micros() * u128::from(context.rate) / 1_000_000) as usize;
    let start = (context.audio.as_micros() * u128::from(context.rate) / 1_000_000) as usize;
    let period = context.rate as usize / 200;
    let sample = |n: usize| match speech.len() {
        0 => hum_at(start + n, period),
        len => speech[(start + n) * 8000 / context.rate as usize % len],
    };
    let pcm = (0..samples).map(sample);
    if context.mulaw { pcm.map(ulaw_of).collect() } else { pcm.flat_map(i16::to_le_bytes).collect() }
}

fn hum_at(n: usize, period: usize) -> i16 {
    (8000.0 * (TAU * (n % period) as f32 / period as f32).sin()) as i16
}
