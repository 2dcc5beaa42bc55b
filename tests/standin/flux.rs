//! A stand-in of Deepgram Flux: `/v2/listen`, turns by the energy of the audio it is sent.

use super::hearing::{Format, Heard};
use super::{After, Faults, Peer, Refusal, Server, Session, header, query};
use offhook::time::{Clock, Instant};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tungstenite::handshake::server::Request;

/// Speech after which a turn starts.
const START_AFTER: Duration = Duration::from_millis(200);
/// Audio that may still be on its way when silence has been long enough.
const JITTER: Duration = Duration::from_millis(40);
/// How sure it is of a turn's end while the caller speaks.
const UNSURE: f64 = 0.05;
/// How sure it is to be of an end.
const EOT: f64 = 0.7;
/// Audio between two updates.
const UPDATE_EVERY: Duration = Duration::from_millis(250);

/// What a connection does wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The upgrade is refused.
    Refuse(Refusal),
    /// The connection is taken, and the upgrade never answered.
    SlowHandshake,
    /// The upgrade is granted, and nothing is said.
    NoConnected,
    /// After this much audio, nothing is said any more.
    StallAfter(Duration),
    /// After this much audio, the connection is gone.
    DropAfter(Duration),
    /// After this much audio, an error is told and the connection closed.
    ErrorAfter(Duration, &'static str),
    /// Nonsense comes between the messages.
    Garbage,
    /// Unknown types, events and fields come between the messages.
    Strange,
    /// Turns end without having started.
    NoStart,
    /// Only what happens is told: there are no updates.
    NoUpdates,
    /// Turns start and never end.
    NoEnd,
    /// `ForceEndTurn` is not enabled for the account.
    NoForce,
    /// `ForceEndTurn` is taken and not answered.
    DeafToForce,
    /// After this much audio, it is closed with this code and reason.
    CloseWith(Duration, u16, &'static str),
    /// It closes without a status after this much audio.
    CloseAfter(Duration),
}

/// How it behaves, and what it has seen.
pub struct Plan {
    /// How long after the last speech that it got a turn ends.
    pub end_after: Duration,
    /// By how much more at most, drawn anew for each turn.
    pub spread: Duration,
    /// How long after it a turn ends eagerly, for clients that ask for that; `None`: it is never so sure.
    pub eager_after: Option<Duration>,
    /// The share of turns, 0.0 to 1.0, whose eager end is wrong: half of these are resumed, half end with other words.
    pub misses: f64,
    /// The seed that chooses them.
    pub seed: u64,
    /// What is said in each turn, the last one again and again.
    pub turns: Vec<String>,
    /// What is being said at this moment, in the place of `turns`; an empty text is a noise without words.
    pub said: Mutex<Option<String>>,
    pub faults: Faults<Fault>,
    pub seen: Mutex<Seen>,
}

/// What clients did.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub paths: Vec<String>,
    pub authorizations: Vec<String>,
    /// Bytes of audio of each connection.
    pub audio: Vec<usize>,
    /// Lengths of the first audio messages.
    pub frames: Vec<usize>,
    pub texts: Vec<String>,
    pub pings: usize,
}

impl Default for Plan {
    fn default() -> Self {
        let turns = ["Hello there.", "Do you open on Sunday?", "Can I book a table for two?", "Thank you, goodbye."];
        let (faults, seen) = (Faults::default(), Mutex::default());
        Self {
            end_after: Duration::from_millis(200),
            spread: Duration::ZERO,
            eager_after: Some(Duration::from_millis(80)),
            misses: 0.0,
            seed: 0,
            turns: turns.map(String::from).to_vec(),
            said: Mutex::default(),
            faults,
            seen,
        }
    }
}

/// Starts one; returns it with its base URL.
pub fn start(plan: Plan) -> (Server, Arc<Plan>, String) {
    let turn = Mutex::new(0);
    Server::of(plan, move |plan, clock, stream, stop| serve(plan, clock, stream, stop, &turn))
}

/// How far the end of a turn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Nothing is told.
    Awaited,
    /// It was told eagerly, and rightly.
    Eager,
    /// It was told eagerly with words that are not the last.
    EagerWrongly,
    /// It was told eagerly, and is taken back half-way to the end.
    ToBeResumed,
    /// It was taken back.
    Resumed,
}

impl Ending {
    /// Whether the client takes the turn for probably ended.
    fn is_told(self) -> bool {
        !matches!(self, Self::Awaited | Self::Resumed)
    }
}

/// Checks the request as the vendor does.
fn check(request: &Request) -> Option<Refusal> {
    let told = |status: u16, code: &str, text: &str| {
        let body = json!({"err_code": code, "err_msg": text, "request_id": "r"}).to_string();
        Some(Refusal::new(status, &body).with_header("dg-error", text))
    };
    let number = |name: &str| query(request, name).and_then(|value| value.parse::<f64>().ok());
    if request.uri().path() != "/v2/listen" {
        return told(404, "NOT_FOUND", "no such path");
    }
    if !header(request, "authorization").starts_with("Token ") {
        return told(401, "INVALID_AUTH", "Invalid credentials.");
    }
    match query(request, "model") {
        Some("flux-general-en" | "flux-general-multi") => {}
        _ => return told(403, "INSUFFICIENT_PERMISSIONS", "no access to the requested model"),
    }
    let raw = matches!(query(request, "encoding"), Some("linear16" | "mulaw"));
    if !raw || number("sample_rate").is_none() {
        return told(400, "INVALID_QUERY_PARAMETER", "encoding and sample_rate are required");
    }
    if query(request, "language_hint").is_some() && query(request, "model") == Some("flux-general-en") {
        return told(400, "INVALID_QUERY_PARAMETER", "language_hint is for flux-general-multi");
    }
    let eot = number("eot_threshold").unwrap_or(EOT);
    if number("eager_eot_threshold").is_some_and(|eager| eager > eot) {
        return told(400, "INVALID_QUERY_PARAMETER", "eager_eot_threshold is above eot_threshold");
    }
    None
}

pub fn serve(plan: &Plan, clock: &dyn Clock, stream: TcpStream, stop: &AtomicBool, turn: &Mutex<usize>) {
    let fault = plan.faults.next();
    if matches!(fault, Some(Fault::SlowHandshake)) {
        while !stop.load(Ordering::Acquire) {
            std::thread::park_timeout(super::IDLE);
        }
        return;
    }
    let (mut format, mut eager) = (None, None::<f64>);
    let peer = Peer::accept(stream, |request| {
        let mut seen = plan.seen.lock();
        seen.paths.push(request.uri().to_string());
        seen.authorizations.push(header(request, "authorization").to_owned());
        format = Some(Format::of(request));
        eager = query(request, "eager_eot_threshold").and_then(|eager| eager.parse().ok());
        if let Some(Fault::Refuse(refusal)) = &fault { Some(refusal.clone()) } else { check(request) }
    });
    let (Some(peer), Some(format)) = (peer, format) else { return };
    let connection = {
        let mut seen = plan.seen.lock();
        seen.audio.push(0);
        seen.audio.len() - 1
    };
    let mut session = Turns {
        plan,
        clock,
        peer,
        fault,
        format,
        connection,
        end_after: plan.end_after,
        eager_after: plan.eager_after.filter(|_| eager.is_some()),
        eager: eager.unwrap_or(EOT),
        ending: Ending::Awaited,
        rng: fastrand::Rng::with_seed(plan.seed + connection as u64),
        sequence: 0,
        turn_index: 0,
        line: turn,
        audio: Duration::ZERO,
        updated: Duration::ZERO,
        speech: Duration::ZERO,
        last_speech: None,
        speech_end: Duration::ZERO,
        open: false,
        silent: false,
    };
    session.draw();
    session.begin();
    session.run(clock, stop);
}

struct Turns<'a> {
    plan: &'a Plan,
    clock: &'a dyn Clock,
    peer: Peer,
    fault: Option<Fault>,
    format: Format,
    connection: usize,
    /// How long after the last speech the present turn ends.
    end_after: Duration,
    eager_after: Option<Duration>,
    /// How sure it is to be of an eager end.
    eager: f64,
    ending: Ending,
    rng: fastrand::Rng,
    sequence: u64,
    turn_index: u64,
    /// The line of the script, which goes on over reconnects.
    line: &'a Mutex<usize>,
    audio: Duration,
    updated: Duration,
    speech: Duration,
    last_speech: Option<Instant>,
    /// Where in the audio that was.
    speech_end: Duration,
    open: bool,
    silent: bool,
}

impl Session for Turns<'_> {
    fn peer(&mut self) -> &mut Peer {
        &mut self.peer
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.last_speech.map(|last| last + self.next_step())
    }

    fn handle_text(&mut self, text: &str) -> After {
        self.plan.seen.lock().texts.push(text.to_owned());
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        match message["type"].as_str() {
            Some("CloseStream") => {
                self.tell("Update", if self.open { usize::MAX } else { 0 });
                return After::Close(None);
            }
            Some("ForceEndTurn") if matches!(self.fault, Some(Fault::DeafToForce)) => {}
            Some("ForceEndTurn") if self.open && !matches!(self.fault, Some(Fault::NoForce)) => self.end("manual"),
            Some("ForceEndTurn") if !matches!(self.fault, Some(Fault::NoForce)) => {
                self.send(json!({"type": "Warning", "code": "FORCE_END_TURN_NO_ACTIVE_TURN", "description": "none"}));
            }
            Some("Configure") => {
                let threshold = |name: &str, default: f64| message["thresholds"][name].as_f64().unwrap_or(default);
                let eager = threshold("eager_eot_threshold", self.eager);
                if eager > threshold("eot_threshold", EOT) {
                    self.send(json!({"type": "ConfigureFailure", "code": "INVALID_THRESHOLD", "description": "eager above eot"}));
                } else {
                    self.eager = eager;
                    self.send(json!({"type": "ConfigureSuccess", "thresholds": message["thresholds"]}));
                }
            }
            _ => {
                self.send(
                    json!({"type": "Error", "code": "UNPARSABLE_CLIENT_MESSAGE", "description": "unknown message"}),
                );
                return After::Close(None);
            }
        }
        After::GoOn
    }

    fn handle_binary(&mut self, bytes: &[u8]) {
        {
            let mut seen = self.plan.seen.lock();
            seen.audio[self.connection] += bytes.len();
            if seen.frames.len() < 100 {
                seen.frames.push(bytes.len());
            }
        }
        let Heard { length, speech } = self.format.hear(bytes);
        self.audio += length;
        let wordless = self.plan.said.lock().as_ref().is_some_and(String::is_empty);
        if speech && (self.open || !wordless) {
            if std::mem::replace(&mut self.ending, Ending::Awaited).is_told() {
                self.tell("TurnResumed", usize::MAX);
            }
            self.last_speech = Some(self.clock.now());
            self.speech_end = self.audio;
            self.speech += length;
            if !self.open && self.speech >= START_AFTER {
                self.open = true;
                if !matches!(self.fault, Some(Fault::NoStart)) {
                    self.tell("StartOfTurn", 1);
                }
            }
        }
        if self.audio >= self.updated + UPDATE_EVERY {
            self.updated = self.audio;
            match self.fault {
                Some(Fault::Garbage) => self.peer.send("\u{1}not json {".into()),
                Some(Fault::Strange) => {
                    self.send(json!({"type": "Mood", "mood": {"grumpy": true}}));
                    self.send(
                        json!({"type": "TurnInfo", "event": "Pondering", "turn_index": self.turn_index, "x": [1]}),
                    );
                }
                _ => {}
            }
            let words = match self.ending {
                Ending::Awaited if self.open => 1 + (self.speech.as_millis() / 300) as usize,
                Ending::Awaited => 0,
                _ => usize::MAX,
            };
            let quiet = match self.fault {
                Some(Fault::NoStart) => self.open,
                Some(Fault::NoUpdates) => true,
                _ => false,
            };
            if !quiet {
                self.tell("Update", words);
            }
        }
    }

    fn handle_ping(&mut self) {
        self.plan.seen.lock().pings += 1;
    }

    fn handle_timeout(&mut self) {
        // It goes by the audio: a client that is held up has not fallen silent.
        if self.audio + JITTER < self.speech_end + self.next_step() {
            self.last_speech = self.last_speech.map(|last| last + JITTER);
            return;
        }
        if self.next_step() < self.end_after {
            return self.end_eagerly();
        }
        if !self.silent && !matches!(self.fault, Some(Fault::NoEnd)) {
            self.speech = Duration::ZERO;
            if self.open {
                self.end("model");
            }
        }
        self.last_speech = None;
    }

    fn go_on(&mut self) -> After {
        match self.fault {
            Some(Fault::DropAfter(audio)) if self.audio >= audio => return After::Drop,
            Some(Fault::CloseAfter(audio)) if self.audio >= audio => return After::Close(None),
            Some(Fault::CloseWith(audio, code, reason)) if self.audio >= audio => {
                return After::Close(Some((code, reason)));
            }
            Some(Fault::ErrorAfter(audio, code)) if self.audio >= audio => {
                self.send(json!({"type": "Error", "code": code, "description": "as planned"}));
                return After::Close(None);
            }
            Some(Fault::StallAfter(audio)) if self.audio >= audio => self.silent = true,
            _ => {}
        }
        After::GoOn
    }
}

impl Turns<'_> {
    fn begin(&mut self) {
        if matches!(self.fault, Some(Fault::NoConnected)) {
            self.silent = true;
        } else {
            self.send(json!({"type": "Connected"}));
        }
    }

    /// Draws when the next turn ends.
    fn draw(&mut self) {
        self.end_after = self.plan.end_after + self.plan.spread.mul_f64(self.rng.f64());
    }

    fn send(&mut self, mut message: Value) {
        if self.silent {
            return;
        }
        message["sequence_id"] = self.sequence.into();
        message["request_id"] = "5b0c".into();
        self.sequence += 1;
        self.peer.send(message.to_string());
    }

    /// Returns after which silence something is to be told next.
    fn next_step(&self) -> Duration {
        let (end, eager) = (self.end_after, self.eager_after.filter(|_| self.open));
        match (self.ending, eager) {
            (Ending::Awaited, Some(eager)) => eager.min(end),
            (Ending::ToBeResumed, Some(eager)) => (eager + end) / 2,
            _ => end,
        }
    }

    /// Says that the turn has probably ended, or takes it back.
    fn end_eagerly(&mut self) {
        if self.ending == Ending::ToBeResumed {
            self.ending = Ending::Resumed;
            return self.tell("TurnResumed", usize::MAX);
        }
        let wrong = self.rng.f64() < self.plan.misses;
        self.ending = match (wrong, self.rng.bool()) {
            (false, _) => Ending::Eager,
            (true, false) => Ending::EagerWrongly,
            (true, true) => Ending::ToBeResumed,
        };
        let words = if self.ending == Ending::EagerWrongly { 2 } else { usize::MAX };
        self.tell("EagerEndOfTurn", words);
    }

    fn end(&mut self, trigger: &str) {
        self.ending = Ending::Awaited;
        let mut message = self.turn_info("EndOfTurn", usize::MAX);
        message["trigger"] = trigger.into();
        self.send(message);
        self.open = false;
        self.turn_index += 1;
        self.draw();
        *self.line.lock() += 1;
    }

    fn tell(&mut self, event: &str, words: usize) {
        let message = self.turn_info(event, words);
        self.send(message);
    }

    /// How sure it is that the turn has ended: the surer the longer the caller is silent, as sure as it is to be when it says so.
    fn confidence(&self) -> f64 {
        let Some(last) = self.last_speech else { return UNSURE };
        let share = |of: Duration, all: Duration| (of.as_secs_f64() / all.as_secs_f64().max(0.001)).min(1.0);
        let silent = self.clock.now().since(last);
        match self.eager_after {
            Some(eager) if silent < eager => UNSURE + (self.eager - UNSURE) * share(silent, eager),
            Some(eager) => {
                let more = share(silent.saturating_sub(eager), self.end_after.saturating_sub(eager));
                self.eager + (EOT - self.eager) * more
            }
            None => UNSURE + (EOT - UNSURE) * share(silent, self.end_after),
        }
    }

    /// A TurnInfo with the first `words` words of the script's line.
    fn turn_info(&self, event: &str, words: usize) -> Value {
        let line = *self.line.lock();
        let said = self.plan.said.lock().clone().filter(|said| !said.is_empty());
        let text = self.plan.turns.get(line).or(self.plan.turns.last()).map_or("", String::as_str);
        let text = said.as_deref().unwrap_or(text);
        let words: Vec<&str> = text.split_whitespace().take(words).collect();
        let end = self.audio.as_secs_f64();
        let timed: Vec<Value> =
            words.iter().map(|word| json!({"word": word, "confidence": 0.98, "start": 0.0, "end": end})).collect();
        json!({
            "type": "TurnInfo", "event": event, "turn_index": self.turn_index, "transcript": words.join(" "),
            "audio_window_start": 0.0, "audio_window_end": end, "words": timed, "end_of_turn_confidence": self.confidence(),
        })
    }
}
