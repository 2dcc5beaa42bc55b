//! Ears, mind and voice from a script, with delays by the engine's clock: for tests and measurements.

use super::echo::{ActivityTurns, Silence};
use super::feeder::Feeder;
use super::{EarsCommand, EarsIo, MindCommand, MindIo, Responder, Speaker, Transcriber, VoiceCommand, VoiceIo};
use crate::agent::{EarsEvent, Failure, MindEvent, VoiceEvent};
use crate::call::VOICE_RATE;
use crate::ids::TurnId;
use crate::time::{Instant, samples};
use crossbeam_channel::TryRecvError;
use std::collections::VecDeque;
use std::f32::consts::TAU;
use std::time::Duration;

/// The word that calls the tool of that name where it ends a scripted reply.
pub const HANG_UP: &str = "[hang_up]";
/// Audio of one character, in samples at 8 kHz: 60 ms, which is how fast people speak.
const CHARACTER: usize = 60 * 8;
/// Audio is handed on in pieces of 40 ms.
const PIECE: usize = 40 * 8;
/// How often the ring to the media path is looked at while audio waits for room.
const PUMP_EVERY: Duration = Duration::from_millis(100);

/// Ears that hear the script's sentences: one per stretch of speech, the last one again and again.
#[derive(Clone, Debug)]
pub struct ScriptedEars {
    /// What each turn's transcript is.
    pub turns: Vec<String>,
    /// Speech after which a turn starts.
    pub start_after: Duration,
    /// How long after the last speech the turn ends.
    pub end_after: Duration,
}

/// A mind that gives the script's replies: one per request, the last one again and again.
#[derive(Clone, Debug)]
pub struct ScriptedMind {
    /// The replies; [`HANG_UP`] as a reply's last word calls the tool of that name.
    pub replies: Vec<String>,
    /// From the request to the first token.
    pub first_token: Duration,
    /// From each token (a word) to the next.
    pub token_every: Duration,
}

/// A voice that hums: 60 ms per character.
#[derive(Clone, Debug)]
pub struct ScriptedVoice {
    /// From the text to its first audio.
    pub first_audio: Duration,
    /// How many times faster than it is played the audio is made.
    pub speed: u32,
}

/// Returns the `n`-th line of a script, whose last line is said again and again.
fn line(script: &[String], n: usize) -> &str {
    script.get(n).or(script.last()).map_or("", String::as_str)
}

impl Transcriber for ScriptedEars {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn run(&self, mut io: EarsIo) {
        let mut turns = ActivityTurns::new(self.start_after, self.end_after);
        let mut heard = 0;
        io.events.send(EarsEvent::Connected);
        while !io.stop.raised() {
            while let Ok(frame) = io.frames.pop() {
                if turns.handle_frame(&frame, io.clock.now()) {
                    let first = line(&self.turns, heard).split(' ').next().unwrap_or_default();
                    io.events.send(EarsEvent::StartOfTurn { transcript: first.into() });
                }
            }
            let forced = io.commands.try_recv() == Ok(EarsCommand::ForceEndTurn);
            let ended = if forced { turns.force() } else { None };
            if let Some(Silence::EndOfTurn(speech)) = ended.or_else(|| turns.handle_timeout(io.clock.now())) {
                let transcript = line(&self.turns, heard).to_owned();
                heard += 1;
                io.events.send(EarsEvent::EndOfTurn { transcript, speech });
            }
            let due = turns.poll_timeout().map(|due| due.since(io.clock.now()));
            io.listener.wait(due);
        }
    }
}

impl Responder for ScriptedMind {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn run(&self, mut io: MindIo) {
        let mut asked = 0;
        // The turn that is being answered, what is still to be said of it, and when.
        let mut reply: Option<(TurnId, VecDeque<String>, Instant)> = None;
        while !io.stop.raised() {
            loop {
                match io.commands.try_recv() {
                    Ok(MindCommand::Ask(request)) => {
                        let words = line(&self.replies, asked).split_inclusive(' ').map(str::to_owned).collect();
                        reply = Some((request.turn, words, io.clock.now() + self.first_token));
                        asked += 1;
                        io.events.send((request.turn, MindEvent::Sent));
                    }
                    Ok(MindCommand::Cancel(cancelled)) => reply = reply.filter(|(turn, ..)| *turn != cancelled),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            let now = io.clock.now();
            while let Some((turn, words, due)) = reply.as_mut().filter(|(.., due)| now >= *due) {
                let (turn, word) = (*turn, words.pop_front());
                *due += self.token_every;
                let event = match word {
                    Some(word) if word == HANG_UP => MindEvent::ToolCall {
                        id: format!("call_{asked}"),
                        name: "hang_up".into(),
                        arguments: "{}".into(),
                    },
                    Some(word) => MindEvent::Token(word),
                    None => {
                        reply = None;
                        MindEvent::Done
                    }
                };
                io.events.send((turn, event));
            }
            io.listener.wait(reply.as_ref().map(|(.., due)| due.since(now)));
        }
    }
}

/// A clause that is being hummed.
struct Humming {
    turn: TurnId,
    text: String,
    last: bool,
    /// Samples that are still to be made, and when the next piece is due.
    left: usize,
    due: Instant,
    begun: bool,
}

impl Speaker for ScriptedVoice {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn run(&self, mut io: VoiceIo) {
        let mut feeder = Feeder::new(io.frames, io.media);
        let mut clauses: VecDeque<Humming> = VecDeque::new();
        while !io.stop.raised() {
            loop {
                let now = io.clock.now();
                match io.commands.try_recv() {
                    Ok(VoiceCommand::Speak { turn, clause, text, last }) => {
                        if clause == 0 || feeder.turn() != turn {
                            clauses.clear();
                            feeder.begin(turn);
                        }
                        let (left, due) = (text.trim().chars().count() * CHARACTER, now + self.first_audio);
                        clauses.push_back(Humming { turn, text, last, left, due, begun: false });
                        io.events.send((turn, VoiceEvent::Sent { clause }));
                    }
                    Ok(VoiceCommand::Cancel(turn)) => {
                        clauses.retain(|clause| clause.turn != turn);
                        if feeder.turn() == turn {
                            feeder.cancel();
                        }
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            let now = io.clock.now();
            while let Some(clause) = clauses.front_mut().filter(|clause| now >= clause.due) {
                if self.hum(clause, &mut feeder, now, &io.events) {
                    clauses.pop_front();
                }
            }
            feeder.pump();
            let pump = feeder.waiting().then_some(PUMP_EVERY);
            let due = clauses.front().map(|clause| clause.due.since(now));
            io.listener.wait(due.into_iter().chain(pump).min());
        }
    }

    fn render(&self, text: &str) -> Result<Vec<i16>, Failure> {
        Ok(hum(0, text.trim().chars().count() * CHARACTER))
    }
}

impl ScriptedVoice {
    /// Makes one piece of a clause; returns whether it was the last one.
    fn hum(
        &self,
        clause: &mut Humming,
        feeder: &mut Feeder,
        now: Instant,
        events: &super::Events<(TurnId, VoiceEvent)>,
    ) -> bool {
        let turn = clause.turn;
        let len = clause.left.min(PIECE);
        if len > 0 {
            if feeder.pushed() == 0 && !clause.begun {
                events.send_at(now, (turn, VoiceEvent::FirstAudio));
            }
            clause.begun = true;
            feeder.push(&hum(feeder.pushed(), len), now);
            clause.left -= len;
        }
        if clause.left > 0 {
            clause.due += samples::duration(PIECE as u64, VOICE_RATE) / self.speed.max(1);
            return false;
        }
        let length = samples::duration(feeder.pushed(), VOICE_RATE);
        if !clause.text.is_empty() {
            events.send_at(now, (turn, VoiceEvent::Spoken { text: std::mem::take(&mut clause.text), end: length }));
        }
        if clause.last {
            feeder.finish(now);
            events.send_at(now, (turn, VoiceEvent::Done { length }));
        }
        true
    }
}

/// Returns `len` samples of a 200 Hz hum that goes on from sample `at`.
fn hum(at: u64, len: usize) -> Vec<i16> {
    // 200 Hz repeats every 40 samples, so the phase needs no large numbers.
    (0..len).map(|n| (8000.0 * (TAU * ((at as usize + n) % 40) as f32 / 40.0).sin()) as i16).collect()
}
