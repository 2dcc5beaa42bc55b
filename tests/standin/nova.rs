//! A stand-in of Deepgram Nova: `/v1/listen`, words by the energy of the audio it is sent.

use super::hearing::{Format, Heard};
use super::{After, Faults, Peer, Refusal, Server, Session, header, query};
use offhook::time::Clock;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Speech of one word.
const WORD: Duration = Duration::from_millis(300);
/// Audio between two interim results.
const INTERIM_EVERY: Duration = Duration::from_millis(250);

/// What a connection does wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The upgrade is refused.
    Refuse(Refusal),
    /// After this much audio, nothing is said any more.
    StallAfter(Duration),
    /// After this much audio, the connection is gone.
    DropAfter(Duration),
    /// After this much audio, it is closed with this code and reason.
    CloseWith(Duration, u16, &'static str),
    /// Nonsense comes between the messages.
    Garbage,
    /// `Finalize` is not answered.
    NeverSettles,
}

/// How it behaves, and what it has seen.
pub struct Plan {
    /// What is said, word by word, over all turns and connections.
    pub words: Vec<String>,
    pub faults: Faults<Fault>,
    pub seen: Mutex<Seen>,
}

/// What clients did.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub paths: Vec<String>,
    pub texts: Vec<String>,
    /// Bytes of audio of each connection.
    pub audio: Vec<usize>,
}

impl Plan {
    pub fn saying(words: &str) -> Self {
        let words = words.split_whitespace().map(str::to_owned).collect();
        Self { words, faults: Faults::default(), seen: Mutex::default() }
    }
}

/// Starts one; returns it with its base URL.
pub fn start(plan: Plan) -> (Server, Arc<Plan>, String) {
    let settled = Mutex::new(0);
    Server::of(plan, move |plan, clock, stream, stop| serve(plan, clock, stream, stop, &settled))
}

pub fn serve(plan: &Plan, clock: &dyn Clock, stream: TcpStream, stop: &AtomicBool, settled: &Mutex<usize>) {
    let fault = plan.faults.next();
    let mut format = None;
    let peer = Peer::accept(stream, |request| {
        plan.seen.lock().paths.push(request.uri().to_string());
        format = Some(Format::of(request));
        if let Some(Fault::Refuse(refusal)) = &fault {
            return Some(refusal.clone());
        }
        let told = |status: u16, text: &str| Some(Refusal::new(status, text).with_header("dg-error", text));
        match (request.uri().path(), query(request, "model")) {
            _ if !header(request, "authorization").starts_with("Token ") => told(401, "INVALID_AUTH"),
            ("/v1/listen", Some(model)) if model.starts_with("nova") => None,
            ("/v1/listen", _) => told(400, "no such model on this path"),
            _ => told(404, "no such path"),
        }
    });
    let (Some(peer), Some(format)) = (peer, format) else { return };
    let connection = {
        let mut seen = plan.seen.lock();
        seen.audio.push(0);
        seen.audio.len() - 1
    };
    let session = Words {
        plan,
        peer,
        fault,
        format,
        connection,
        settled,
        audio: Duration::ZERO,
        told: Duration::ZERO,
        spoken: Duration::ZERO,
        from: Duration::ZERO,
        silent: false,
    };
    session.run(clock, stop);
}

struct Words<'a> {
    plan: &'a Plan,
    peer: Peer,
    fault: Option<Fault>,
    format: Format,
    connection: usize,
    /// How many of the words are final, over all connections.
    settled: &'a Mutex<usize>,
    audio: Duration,
    /// When an interim result was last told, and where the words begin that are not final.
    told: Duration,
    from: Duration,
    /// Speech that is in no final result.
    spoken: Duration,
    silent: bool,
}

impl Session for Words<'_> {
    fn peer(&mut self) -> &mut Peer {
        &mut self.peer
    }

    fn handle_text(&mut self, text: &str) -> After {
        self.plan.seen.lock().texts.push(text.to_owned());
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        match message["type"].as_str() {
            Some("Finalize") if matches!(self.fault, Some(Fault::NeverSettles)) => {}
            Some("Finalize") => self.results(true, json!({"from_finalize": true})),
            Some("KeepAlive") => {}
            Some("CloseStream") => {
                self.send(json!({"type": "Metadata", "duration": self.audio.as_secs_f64()}));
                return After::Close(Some((1000, "")));
            }
            _ => return After::Close(Some((1008, "DATA-0000"))),
        }
        After::GoOn
    }

    fn handle_binary(&mut self, bytes: &[u8]) {
        self.plan.seen.lock().audio[self.connection] += bytes.len();
        let Heard { length, speech } = self.format.hear(bytes);
        self.audio += length;
        if speech {
            self.spoken += length;
        }
        if self.audio >= self.told + INTERIM_EVERY {
            self.told = self.audio;
            if matches!(self.fault, Some(Fault::Garbage)) {
                self.peer.send("\u{1}not json {".into());
                self.send(json!({"type": "SpeechStarted", "channel": [0], "timestamp": 0.0, "mood": {}}));
            }
            self.results(false, json!({}));
        }
    }

    fn go_on(&mut self) -> After {
        match self.fault {
            Some(Fault::DropAfter(audio)) if self.audio >= audio => return After::Drop,
            Some(Fault::CloseWith(audio, code, reason)) if self.audio >= audio => {
                return After::Close(Some((code, reason)));
            }
            Some(Fault::StallAfter(audio)) if self.audio >= audio => self.silent = true,
            _ => {}
        }
        After::GoOn
    }
}

impl Words<'_> {
    fn send(&mut self, message: Value) {
        if !self.silent {
            self.peer.send(message.to_string());
        }
    }

    /// Tells the words of the speech since the last final result.
    fn results(&mut self, is_final: bool, extra: Value) {
        let count = (self.spoken.as_millis() / WORD.as_millis()) as usize;
        let settled = *self.settled.lock();
        let said: Vec<&str> = self.plan.words.iter().skip(settled).take(count).map(String::as_str).collect();
        let (from, to) = (self.from.as_secs_f64(), self.audio.as_secs_f64());
        let each = (to - from) / said.len().max(1) as f64;
        let words: Vec<Value> = said
            .iter()
            .enumerate()
            .map(|(n, word)| {
                let start = from + each * n as f64;
                json!({"word": word.to_lowercase(), "punctuated_word": word, "start": start, "end": start + each, "confidence": 0.9})
            })
            .collect();
        let mut message = json!({
            "type": "Results", "channel_index": [0, 1], "start": from, "duration": to - from, "is_final": is_final,
            "speech_final": false,
            "channel": {"alternatives": [{"transcript": said.join(" "), "confidence": 0.9, "words": words}]},
        });
        for (name, value) in extra.as_object().into_iter().flatten() {
            message[name] = value.clone();
        }
        self.send(message);
        if is_final && !self.silent {
            *self.settled.lock() += said.len();
            // A word that has begun goes on: what was heard of it counts for it.
            let rest = self.spoken.saturating_sub(WORD * u32::try_from(said.len()).unwrap_or(u32::MAX));
            (self.spoken, self.from) = (rest, self.audio);
        }
    }
}
