//! Ears, mind and voice by a script, as machines in virtual time.

use super::marks::voice_part;
use offhook::agent::{EarsEvent, Failure, FailureKind, MindEvent, SpeechMark, VoiceEvent};
use offhook::call::{EarFrame, VoiceFrame};
use offhook::ids::TurnId;
use offhook::providers::Bell;
use offhook::providers::feeder::Feeder;
use offhook::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long one byte of text takes to say, in samples at 8 kHz: 50 ms.
pub const SAMPLES_PER_BYTE: usize = 400;
/// Frames with speech that make a turn, and silence that ends it.
const START_FRAMES: u32 = 10;
const END_AFTER: Duration = Duration::from_millis(300);

/// One reply of the mind.
#[derive(Clone, Debug)]
pub enum Reply {
    Text(String),
    /// A farewell and the tool that ends the call.
    HangUp(String),
    Fails(FailureKind),
    /// Nothing ever comes.
    Mute,
    /// It breaks off in the middle.
    FailsAfter(String, FailureKind),
    /// After so much, nothing comes.
    StallsAfter(String),
    /// A tool that is not there, after a few words.
    Tool(String),
}

/// What the voice does with one turn's speech.
#[derive(Clone, Copy, Debug, Default)]
pub enum Voice {
    #[default]
    Fine,
    /// It fails at this clause.
    Fails { at: u16 },
    /// It has too much to do for this clause.
    Limited { at: u16 },
    /// It refuses this clause, and is sure of it.
    Refuses { at: u16 },
    /// It says nothing of this clause, or of any later one.
    Stalls { at: u16 },
    /// It is so much later with each clause.
    Late(Duration),
    /// It says that all is made, but the last of it never comes.
    Unfinished,
}

/// What ears, mind and voice do, in order; what is left unsaid is done as usual.
#[derive(Debug)]
pub struct Script {
    /// What the caller's turns read as; `None`: the ears mark no turn by themselves.
    pub transcripts: Option<VecDeque<String>>,
    pub replies: VecDeque<Reply>,
    /// What a turn of the caller's begins with.
    pub first_words: String,
    /// What the voice sounds like; by default noise whose every sample is known.
    pub voice: Option<Vec<i16>>,
    /// Whether phrases are ready before the call.
    pub phrases: bool,
    /// Whether the ears end a turn only when they think so themselves.
    pub stubborn: bool,
    /// Whether the voice fails whatever it is to speak live.
    pub voice_fails: bool,
    /// What it does turn by turn; fine, where nothing is said.
    pub voices: VecDeque<Voice>,
    /// Whether it tells when each word ends, and not only each clause.
    pub word_times: bool,
    /// Between two tokens.
    pub token_gap: Duration,
    pub first_token: Duration,
    pub first_audio: Duration,
    /// How long an order takes to reach mind or voice, which go on meanwhile.
    pub hop: Duration,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            transcripts: None,
            first_words: "Well".into(),
            voice: None,
            replies: VecDeque::new(),
            phrases: true,
            stubborn: false,
            voice_fails: false,
            voices: VecDeque::new(),
            word_times: false,
            token_gap: Duration::from_millis(5),
            first_token: Duration::from_millis(300),
            first_audio: Duration::from_millis(90),
            hop: Duration::ZERO,
        }
    }
}

/// What the providers tell the conductor.
#[derive(Clone, Debug)]
pub enum Event {
    Ears(EarsEvent),
    Mind(TurnId, MindEvent),
    Voice(TurnId, VoiceEvent),
    /// Samples of the turn's speech, from one to another.
    Audio(TurnId, usize, usize),
    Whole(TurnId),
    /// An order that has reached mind or voice.
    Order(Order),
}

/// What the agent wants of mind and voice.
#[derive(Clone, Debug)]
pub enum Order {
    Ask { turn: TurnId, last: String },
    CancelAsk(TurnId),
    Speak { turn: TurnId, clause: u16, text: String, last: bool },
    CancelSpeech(TurnId),
}

/// The ears' copy of the caller.
#[derive(Default)]
pub struct EarsHeard {
    pub frames: u64,
    pub concealed: u64,
    pub ulaw: Vec<u8>,
    /// How long each frame took from its packet's arrival.
    pub waits: Vec<Duration>,
}

pub struct Providers {
    pub script: Script,
    pub heard: EarsHeard,
    /// Whether `heard` keeps the audio itself.
    pub keep_audio: bool,
    due: BTreeMap<(Instant, u64), Event>,
    scheduled: u64,
    feeder: Feeder,
    /// What the voice does with the turn that it is to speak.
    voice: (TurnId, Voice),
    /// The turn that the voice speaks, its samples so far, and when the last of them is made.
    speaking: Option<(TurnId, usize, Instant)>,
    open: bool,
    speech_frames: u32,
    last_speech: Option<SpeechMark>,
    /// Requests that the mind got: the last message of each.
    pub asked: Vec<String>,
}

impl Providers {
    pub fn new(script: Script, voice: rtrb::Producer<VoiceFrame>) -> Self {
        Self {
            script,
            heard: EarsHeard::default(),
            keep_audio: false,
            due: BTreeMap::new(),
            scheduled: 0,
            feeder: Feeder::new(voice, Bell::for_thread(std::thread::current())),
            voice: (TurnId(u32::MAX), Voice::Fine),
            speaking: None,
            open: false,
            speech_frames: 0,
            last_speech: None,
            asked: Vec::new(),
        }
    }

    pub fn schedule(&mut self, at: Instant, event: Event) {
        self.scheduled += 1;
        self.due.insert((at, self.scheduled), event);
    }

    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let pump = self.feeder.waiting().then(|| now + Duration::from_millis(20));
        let end = self.last_speech.map(|mark| mark.arrived + END_AFTER);
        self.due.first_key_value().map(|((at, _), _)| *at).into_iter().chain(pump).chain(end).min()
    }

    /// Moves audio, as the voice's own thread does.
    pub fn pump(&mut self) {
        self.feeder.pump();
    }

    /// Returns what a provider says by `now`.
    pub fn poll(&mut self, now: Instant) -> Option<Event> {
        self.end_turn(now);
        loop {
            let entry = self.due.first_entry().filter(|entry| entry.key().0 <= now)?;
            match entry.remove() {
                Event::Audio(turn, from, to) if self.feeder.turn() == turn => match &self.script.voice {
                    Some(voice) => {
                        let said: Vec<i16> = voice.iter().copied().cycle().skip(from).take(to - from).collect();
                        self.feeder.push(&said, now);
                    }
                    None => self.feeder.push(&voice_part(turn, from..to), now),
                },
                Event::Whole(turn) if self.feeder.turn() == turn => self.feeder.finish(now),
                Event::Audio(..) | Event::Whole(_) => {}
                Event::Order(order) => self.obey(order, now),
                event => return Some(event),
            }
        }
    }

    pub fn hear(&mut self, frame: &EarFrame, now: Instant) {
        self.heard.frames += 1;
        self.heard.concealed += u64::from(frame.concealed);
        if self.keep_audio {
            self.heard.ulaw.extend(frame.ulaw);
            self.heard.waits.push(now.since(frame.arrived));
        }
        if self.script.transcripts.is_none() || !frame.speech {
            return;
        }
        self.last_speech = Some(SpeechMark { arrived: frame.arrived, handed: now });
        self.speech_frames += 1;
        if !self.open && self.speech_frames >= START_FRAMES {
            self.open = true;
            self.schedule(now, Event::Ears(EarsEvent::StartOfTurn { transcript: self.script.first_words.clone() }));
        }
    }

    /// Ends the turn that is open at once.
    pub fn force_end_turn(&mut self, now: Instant) {
        if self.script.stubborn {
            return;
        }
        if self.open {
            self.end_turn(now + END_AFTER);
        }
        // An end that a test has foreseen comes at once, and nothing that was to come before it.
        let is_end = |event: &Event| matches!(event, Event::Ears(EarsEvent::EndOfTurn { .. }));
        if let Some(end) = self.due.iter().find(|(_, event)| is_end(event)).map(|(due, _)| *due) {
            let event = self.due.remove(&end).expect("it is there");
            self.due.retain(|due, event| *due > end || !matches!(event, Event::Ears(_)));
            self.schedule(now, event);
        }
    }

    fn end_turn(&mut self, now: Instant) {
        let Some(speech) = self.last_speech.take_if(|mark| now >= mark.arrived + END_AFTER) else { return };
        self.speech_frames = 0;
        if std::mem::take(&mut self.open) {
            let transcript = self.script.transcripts.as_mut().and_then(VecDeque::pop_front);
            let transcript = transcript.unwrap_or_else(|| "Well then.".into());
            self.schedule(now, Event::Ears(EarsEvent::EndOfTurn { transcript, speech }));
        }
    }

    /// Takes an order, at once or after its way.
    pub fn order(&mut self, order: Order, now: Instant) {
        if self.script.hop.is_zero() {
            self.obey(order, now);
        } else {
            self.schedule(now + self.script.hop, Event::Order(order));
        }
    }

    fn obey(&mut self, order: Order, now: Instant) {
        match order {
            Order::Ask { turn, last } => self.ask(turn, last, now),
            Order::CancelAsk(turn) => self.cancel_ask(turn),
            Order::Speak { turn, clause, text, last } => self.speak(turn, clause, text, last, now),
            Order::CancelSpeech(turn) => self.cancel_speech(turn),
        }
    }

    fn ask(&mut self, turn: TurnId, last: String, now: Instant) {
        self.asked.push(last);
        let reply = self.script.replies.pop_front().unwrap_or_else(|| Reply::Text("I see. Tell me more.".into()));
        self.schedule(now, Event::Mind(turn, MindEvent::Sent));
        let mut at = now + self.script.first_token;
        let gap = self.script.token_gap;
        let mut say = |this: &mut Self, text: &str| {
            for word in text.split_inclusive(' ') {
                this.schedule(at, Event::Mind(turn, MindEvent::Token(word.to_owned())));
                at += gap;
            }
        };
        match reply {
            Reply::Text(text) => say(self, &text),
            Reply::HangUp(text) => {
                say(self, &text);
                let (id, name, arguments) = ("1".into(), "hang_up".into(), "{}".into());
                self.schedule(at, Event::Mind(turn, MindEvent::ToolCall { id, name, arguments }));
            }
            Reply::Fails(kind) => {
                let failure = failure(kind);
                return self.schedule(at, Event::Mind(turn, MindEvent::Failed(failure)));
            }
            Reply::Mute => return,
            Reply::FailsAfter(text, kind) => {
                say(self, &text);
                return self.schedule(at, Event::Mind(turn, MindEvent::Failed(failure(kind))));
            }
            Reply::StallsAfter(text) => return say(self, &text),
            Reply::Tool(text) => {
                say(self, &text);
                let (id, name, arguments) = ("2".into(), "weather".into(), "{}".into());
                self.schedule(at, Event::Mind(turn, MindEvent::ToolCall { id, name, arguments }));
            }
        }
        self.schedule(at, Event::Mind(turn, MindEvent::Done));
    }

    fn cancel_ask(&mut self, turn: TurnId) {
        self.due.retain(|_, event| !matches!(event, Event::Mind(of, _) if *of == turn));
    }

    fn speak(&mut self, turn: TurnId, clause: u16, text: String, last: bool, now: Instant) {
        self.schedule(now, Event::Voice(turn, VoiceEvent::Sent { clause }));
        if self.script.voice_fails {
            let failed = VoiceEvent::Failed(failure(FailureKind::Dropped));
            return self.schedule(now + Duration::from_millis(20), Event::Voice(turn, failed));
        }
        if self.voice.0 != turn {
            self.voice = (turn, self.script.voices.pop_front().unwrap_or_default());
        }
        let at = now + self.script.first_audio;
        match self.voice.1 {
            Voice::Fails { at: from } if clause >= from => self.fail_voice(turn, FailureKind::Dropped, at),
            Voice::Refuses { at: from } if clause >= from => self.fail_voice(turn, FailureKind::Refused, at),
            Voice::Limited { at: from } if clause >= from => {
                self.fail_voice(turn, FailureKind::RateLimited { retry_after: None }, at);
            }
            Voice::Stalls { at: from } if clause >= from => {}
            Voice::Late(late) => self.utter(turn, text, last, at + late * (u32::from(clause) + 1)),
            _ => self.utter(turn, text, last, at),
        }
    }

    fn fail_voice(&mut self, turn: TurnId, kind: FailureKind, at: Instant) {
        self.schedule(at, Event::Voice(turn, VoiceEvent::Failed(failure(kind))));
    }

    fn utter(&mut self, turn: TurnId, text: String, last: bool, at: Instant) {
        if self.speaking.is_none_or(|(of, ..)| of != turn) {
            self.feeder.begin(turn);
            self.speaking = Some((turn, 0, at));
            self.schedule(at, Event::Voice(turn, VoiceEvent::FirstAudio));
        }
        let Some((_, samples, made)) = &mut self.speaking else { return };
        let from = *samples;
        *samples += text.len() * SAMPLES_PER_BYTE;
        *made = at.max(*made);
        let (at, to) = (*made, *samples);
        let end = Duration::from_micros(to as u64 * 125);
        self.schedule(at, Event::Audio(turn, from, to));
        if !text.is_empty() && self.script.word_times {
            let mut bytes = from / SAMPLES_PER_BYTE;
            for word in text.split_inclusive(' ') {
                let end = Duration::from_micros(((bytes + word.trim_end().len()) * SAMPLES_PER_BYTE) as u64 * 125);
                self.schedule(at, Event::Voice(turn, VoiceEvent::Spoken { text: word.to_owned(), end }));
                bytes += word.len();
            }
        } else if !text.is_empty() {
            self.schedule(at, Event::Voice(turn, VoiceEvent::Spoken { text, end }));
        }
        if last {
            if !matches!(self.voice, (of, Voice::Unfinished) if of == turn) {
                self.schedule(at, Event::Whole(turn));
            }
            self.schedule(at, Event::Voice(turn, VoiceEvent::Done { length: end }));
        }
    }

    fn cancel_speech(&mut self, turn: TurnId) {
        let of = |event: &Event| match event {
            Event::Voice(of, _) | Event::Audio(of, ..) | Event::Whole(of) => *of == turn,
            Event::Ears(_) | Event::Mind(..) | Event::Order(_) => false,
        };
        self.due.retain(|_, event| !of(event));
        if self.feeder.turn() == turn {
            self.feeder.cancel();
        }
    }
}

pub fn failure(kind: FailureKind) -> Failure {
    Failure { kind, text: "scripted".into() }
}
