//! An agent without models and keys: turns by voice activity, and the caller's own words as the reply.

use super::feeder::Feeder;
use super::{EarsCommand, EarsIo, MindCommand, MindIo, Responder, Speaker, Transcriber, VoiceCommand, VoiceIo};
use crate::agent::{EarsEvent, Failure, Message, MindEvent, SpeechMark, VoiceEvent};
use crate::audio::g711::linear_of_ulaw;
use crate::call::{EarFrame, VOICE_RATE};
use crate::ids::{CallId, TurnId};
use crate::time::{Instant, samples};
use crossbeam_channel::TryRecvError;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::f32::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

/// What the caller's turns read as, since nobody here understands them.
pub const UNHEARD: &str = "(speech)";
/// Speech within one turn after which it has begun: longer than a click or a cough.
const START_AFTER: Duration = Duration::from_millis(200);
/// Silence that ends a turn; pauses inside a sentence are mostly shorter than 0.7 s.
const END_AFTER: Duration = Duration::from_millis(700);
/// The most that is played back of a turn, in samples at 8 kHz: 30 s.
const HEARD_MAX: usize = 30 * 8000;
/// What is played from before and after the speech, in samples: 160 ms, since a word begins before it is loud.
const MARGIN: usize = 160 * 8;
/// How often the ring to the media path is looked at while audio waits for room.
const PUMP_EVERY: Duration = Duration::from_millis(100);

/// Marks turns by the activity of 20 ms frames; pure.
#[derive(Debug)]
pub(super) struct ActivityTurns {
    start_after: Duration,
    end_after: Duration,
    open: bool,
    /// Speech heard since the last long silence.
    speech: Duration,
    last_speech: Option<SpeechMark>,
}

/// What a silence that is long enough means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// The turn has ended, with its last speech then.
    EndOfTurn(SpeechMark),
    /// What was heard was too short for a turn.
    AfterNothing,
}

impl ActivityTurns {
    /// Makes a marker that starts a turn after `start_after` of speech, and ends it `end_after` later than its last speech.
    pub(super) fn new(start_after: Duration, end_after: Duration) -> Self {
        Self { start_after, end_after, open: false, speech: Duration::ZERO, last_speech: None }
    }

    /// Takes a frame, handed over at `now`; returns whether a turn starts with it.
    pub(super) fn handle_frame(&mut self, frame: &EarFrame, now: Instant) -> bool {
        if !frame.speech {
            return false;
        }
        self.speech += Duration::from_millis(20);
        self.last_speech = Some(SpeechMark { arrived: frame.arrived, handed: now });
        let starts = !self.open && self.speech >= self.start_after;
        self.open |= starts;
        starts
    }

    /// Takes the passage of time.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Silence> {
        let mark = self.last_speech.take_if(|mark| now >= mark.arrived + self.end_after)?;
        self.speech = Duration::ZERO;
        let ended = std::mem::take(&mut self.open);
        Some(if ended { Silence::EndOfTurn(mark) } else { Silence::AfterNothing })
    }

    /// Ends the turn at once, if there is one.
    pub(super) fn force(&mut self) -> Option<Silence> {
        let mark = self.last_speech.take_if(|_| self.open)?;
        (self.open, self.speech) = (false, Duration::ZERO);
        Some(Silence::EndOfTurn(mark))
    }

    /// When silence will have been long enough.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.last_speech.map(|mark| mark.arrived + self.end_after)
    }
}

/// The caller's last turn in each live call: mono PCM at 8 kHz.
type Heard = Arc<Mutex<BTreeMap<CallId, Vec<i16>>>>;

/// Ears that mark turns by voice activity and keep the caller's audio for [`EchoVoice`].
pub struct EchoEars(Heard);
/// A mind that says back what it heard.
pub struct EchoMind;
/// A voice that plays the caller's last turn.
pub struct EchoVoice(Heard);

/// Makes the three; the voice plays what these ears have heard in the same call.
#[must_use]
pub fn agent() -> (EchoEars, EchoMind, EchoVoice) {
    let heard = Heard::default();
    (EchoEars(heard.clone()), EchoMind, EchoVoice(heard))
}

impl Transcriber for EchoEars {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn run(&self, mut io: EarsIo) {
        let mut turns = ActivityTurns::new(START_AFTER, END_AFTER);
        let mut recent = Recent::default();
        io.events.send(EarsEvent::Connected);
        while !io.stop.raised() {
            while let Ok(frame) = io.frames.pop() {
                recent.push(&frame);
                if turns.handle_frame(&frame, io.clock.now()) {
                    io.events.send(EarsEvent::StartOfTurn { transcript: UNHEARD.into() });
                }
            }
            let forced = io.commands.try_recv() == Ok(EarsCommand::ForceEndTurn);
            let ended = if forced { turns.force() } else { None };
            match ended.or_else(|| turns.handle_timeout(io.clock.now())) {
                Some(Silence::EndOfTurn(speech)) => {
                    self.0.lock().insert(io.call, recent.take());
                    io.events.send(EarsEvent::EndOfTurn { transcript: UNHEARD.into(), speech });
                }
                // A click, a cough: not worth keeping.
                Some(Silence::AfterNothing) => drop(recent.take()),
                None => {}
            }
            let due = turns.poll_timeout().map(|due| due.since(io.clock.now()));
            io.listener.wait(due);
        }
        self.0.lock().remove(&io.call);
    }
}

/// The caller's audio of the present turn.
#[derive(Default)]
struct Recent {
    pcm: VecDeque<i16>,
    /// Where the turn's first speech begins and its last one ends.
    speech: Option<(usize, usize)>,
}

impl Recent {
    fn push(&mut self, frame: &EarFrame) {
        if self.speech.is_none() {
            let excess = self.pcm.len().saturating_sub(MARGIN);
            self.pcm.drain(..excess);
        }
        if self.pcm.len() >= HEARD_MAX {
            return;
        }
        let begin = self.pcm.len();
        self.pcm.extend(frame.ulaw.iter().map(|code| linear_of_ulaw(*code)));
        if frame.speech {
            let first = self.speech.map_or(begin, |(first, _)| first);
            self.speech = Some((first, self.pcm.len()));
        }
    }

    /// Returns the turn's speech, with a margin on both sides.
    fn take(&mut self) -> Vec<i16> {
        let (first, end) = self.speech.take().unwrap_or_default();
        self.pcm.truncate(end + MARGIN);
        self.pcm.drain(..first.saturating_sub(MARGIN).min(self.pcm.len()));
        std::mem::take(&mut self.pcm).into()
    }
}

impl Responder for EchoMind {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn run(&self, mut io: MindIo) {
        while !io.stop.raised() {
            loop {
                match io.commands.try_recv() {
                    Ok(MindCommand::Ask(request)) => {
                        let said = request.messages.iter().rev().find_map(|message| match message {
                            Message::Caller(text) => Some(text.as_str()),
                            _ => None,
                        });
                        let said = said.filter(|said| !said.is_empty()).unwrap_or(UNHEARD);
                        io.events.send((request.turn, MindEvent::Sent));
                        io.events.send((request.turn, MindEvent::Token(said.to_owned())));
                        io.events.send((request.turn, MindEvent::Done));
                    }
                    // The reply was whole before it could be cancelled.
                    Ok(MindCommand::Cancel(_)) => {}
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            io.listener.wait(None);
        }
    }
}

impl Speaker for EchoVoice {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn run(&self, mut io: VoiceIo) {
        let mut feeder = Feeder::new(io.frames, io.media);
        // The turn that is being spoken, and its text so far.
        let mut speaking = None;
        while !io.stop.raised() {
            loop {
                let now = io.clock.now();
                match io.commands.try_recv() {
                    Ok(VoiceCommand::Speak { turn, clause, text, last }) => {
                        let said = speaking.take_if(|(begun, _)| *begun == turn);
                        let said =
                            said.map_or_else(String::new, |(_, said): (TurnId, String)| said + " ") + text.trim();
                        io.events.send((turn, VoiceEvent::Sent { clause }));
                        if !last {
                            speaking = Some((turn, said));
                            continue;
                        }
                        // The greeting and re-prompts answer nothing that could be played back.
                        let pcm = self.0.lock().remove(&io.call).unwrap_or_else(chime);
                        feeder.begin(turn);
                        feeder.push(&pcm, now);
                        feeder.finish(now);
                        let length = samples::duration(pcm.len() as u64, VOICE_RATE);
                        if !pcm.is_empty() {
                            io.events.send_at(now, (turn, VoiceEvent::FirstAudio));
                        }
                        io.events.send_at(now, (turn, VoiceEvent::Spoken { text: said, end: length }));
                        io.events.send_at(now, (turn, VoiceEvent::Done { length }));
                    }
                    Ok(VoiceCommand::Cancel(turn)) => {
                        speaking = speaking.filter(|(begun, _)| *begun != turn);
                        if feeder.turn() == turn {
                            feeder.cancel();
                        }
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            feeder.pump();
            io.listener.wait(feeder.waiting().then_some(PUMP_EVERY));
        }
    }

    fn render(&self, _text: &str) -> Result<Vec<i16>, Failure> {
        Ok(chime())
    }
}

/// Returns two soft notes, 0.4 s: what is heard in place of words that nobody here can speak. Mono PCM at 8 kHz.
fn chime() -> Vec<i16> {
    const NOTES_HZ: [f32; 2] = [659.3, 880.0];
    const NOTE: usize = 200 * 8;
    const PEAK: f32 = 6000.0;
    let note = |hz: f32| {
        (0..NOTE).map(move |n| {
            let (t, place) = (n as f32 / 8000.0, n as f32 / NOTE as f32);
            // A rise of 10 ms and a fall to nothing, so that neither end clicks.
            let level = (place * 20.0).min(1.0) * (1.0 - place).powi(2);
            (PEAK * level * (TAU * hz * t).sin()) as i16
        })
    };
    NOTES_HZ.into_iter().flat_map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{FRAME_8K, FRAME_16K};

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn frame(millis: u64, speech: bool) -> EarFrame {
        let ulaw = [if speech { 0x10 } else { 0xff }; FRAME_8K];
        EarFrame { pcm: [0; FRAME_16K], ulaw, arrived: at(millis), speech, concealed: false }
    }

    #[test]
    fn a_turn_starts_after_200_ms_of_speech_and_ends_after_700_ms_of_silence() {
        let mut turns = ActivityTurns::new(START_AFTER, END_AFTER);
        let starts: Vec<u64> = (0..20).filter(|n| turns.handle_frame(&frame(n * 20, true), at(n * 20 + 1))).collect();
        assert_eq!(starts, [9]);
        assert_eq!(turns.poll_timeout(), Some(at(19 * 20 + 700)));
        assert_eq!(turns.handle_timeout(at(1079)), None);
        let mark = SpeechMark { arrived: at(380), handed: at(381) };
        assert_eq!(turns.handle_timeout(at(1080)), Some(Silence::EndOfTurn(mark)));
        assert_eq!(turns.handle_timeout(at(9000)), None);
    }

    #[test]
    fn a_turn_ends_by_order_and_once() {
        let mut turns = ActivityTurns::new(START_AFTER, END_AFTER);
        assert_eq!(turns.force(), None);
        for n in 0..20 {
            turns.handle_frame(&frame(n * 20, true), at(n * 20));
        }
        let mark = SpeechMark { arrived: at(380), handed: at(380) };
        assert_eq!(turns.force(), Some(Silence::EndOfTurn(mark)));
        assert_eq!((turns.force(), turns.handle_timeout(at(9000))), (None, None));
    }

    #[test]
    fn clicks_far_apart_are_no_turn() {
        let mut turns = ActivityTurns::new(START_AFTER, END_AFTER);
        for n in 0..50 {
            assert!(!turns.handle_frame(&frame(n * 1000, true), at(n * 1000)));
            assert_eq!(turns.handle_timeout(at(n * 1000 + 700)), Some(Silence::AfterNothing));
        }
    }

    #[test]
    fn what_is_kept_is_the_speech_with_its_margins() {
        let mut recent = Recent::default();
        for n in 0..200 {
            recent.push(&frame(n * 20, (100..150).contains(&n)));
        }
        let pcm = recent.take();
        assert_eq!(pcm.len(), 50 * FRAME_8K + 2 * MARGIN);
        assert_eq!((pcm[MARGIN - 1], pcm[MARGIN] != 0), (0, true));
        assert!(recent.take().is_empty());
    }

    #[test]
    fn a_monologue_is_kept_for_30_seconds() {
        let mut recent = Recent::default();
        for n in 0..5000 {
            recent.push(&frame(n * 20, true));
        }
        assert!(recent.take().len() <= HEARD_MAX + FRAME_8K);
    }

    #[test]
    fn the_chime_is_soft_and_does_not_click() {
        let pcm = chime();
        assert_eq!(pcm.len(), 3200);
        assert!(pcm.iter().any(|sample| sample.abs() > 2000));
        let steepest = pcm.windows(2).map(|pair| (pair[1] - pair[0]).abs()).max();
        assert!(steepest < Some(6000), "{steepest:?}");
        assert!(pcm[0] == 0 && pcm[3199].abs() < 50 && pcm[1599].abs() < 50);
    }
}
