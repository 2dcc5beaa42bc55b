//! One call's conductor: carries what the ears, the mind, the voice and the media path say to the agent, and its orders back.
//!
//! It decides nothing: the agent's machine does. What it adds is the time: it tells [`Latencies`] when each step of a turn
//! happened, and shows what comes of it.

use crate::agent::{self, Agent, DraftNews, EarsEvent, MindEvent, Phrase, VoiceEvent, Waste};
use crate::call::digits::{Digits, Way};
use crate::call::finding::Audio;
use crate::call::{CallCommand, CallEvent, Heard, VOICE_RATE};
use crate::config::LogLevel;
use crate::engine::capture::AgentLog;
use crate::engine::clock::SystemClock;
use crate::engine::kept::{self, Kept};
use crate::engine::latencies::Latencies;
use crate::engine::net::{NetCommand, NetHandle};
use crate::engine::phrases::Phrases;
use crate::engine::provider_threads::Crew;
use crate::engine::recorder::Recorder;
use crate::engine::tool_threads::ToolThreads;
use crate::ids::{CallId, TurnId};
use crate::metrics::{Board, Counter, Journal};
use crate::providers::{Bell, EarsCommand, Listener, MindCommand, Request, Stamped, Stop, VoiceCommand};
use crate::rtp::keypad::Presses;
use crate::sip::EndedBy;
use crate::time::{self, Clock, Instant};
use crate::turn::timeline::Mark;
use crossbeam_channel::{Receiver, Sender};
use rtrb::{Consumer, Producer};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Events that wait for the conductor: a language model's longest burst of tokens. A provider that fills it waits.
pub const EVENTS_MAX: usize = 1024;

/// How long after the call's end the media path's last words (what was heard) are waited for.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// How long a ring to the media path that was full is left alone: a frame, since it has no bell that says there is room.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// How often the media path's last words are looked for.
const LAST_WORDS_EVERY: Duration = Duration::from_millis(10);

/// Replies begun before the caller's turn had surely ended.
const DRAFTS: Counter = Counter { name: "speculation_drafts", help: "Replies begun on an eager end of turn" };
/// Of these, the ones begun without waiting for an eager end of turn.
const EARLY: Counter =
    Counter { name: "speculation_early", help: "Replies begun on words that stood, before any eager end of turn" };
/// Of these, the ones that were kept.
const EARLY_HITS: Counter = Counter { name: "speculation_early_hits", help: "Early drafts that became the reply" };
/// Drafts that were kept.
const HITS: Counter = Counter { name: "speculation_hits", help: "Drafts that became the reply" };
/// Drafts thrown away because the turn ended with other words, or because they could not be made.
const MISSES: Counter = Counter { name: "speculation_misses", help: "Drafts that the turn's end did not want" };
/// Drafts thrown away because the caller went on.
const RESUMED: Counter = Counter { name: "speculation_resumed", help: "Drafts for a turn that went on" };
/// Connections to the recogniser that were made again.
const EARS_RECONNECTS: Counter = Counter {
    name: "ears_reconnects",
    help: "Connections to the recogniser that broke or stalled and were made again",
};
/// What the model wrote for drafts that were thrown away.
const WASTED: Counter =
    Counter { name: "speculation_wasted_characters", help: "Characters of drafts that were thrown away" };

/// What callers say while they listen.
const BACKCHANNELS: Counter =
    Counter { name: "backchannels", help: "Caller's turns that let the agent go on speaking" };
/// What the agent hears of itself.
const ECHOES: Counter = Counter { name: "echoes", help: "Turns that were the agent's own words, come back" };

/// What reaches the conductor by its channel; the media path's events come by ring.
pub enum Event {
    /// The recogniser.
    Ears(Stamped<EarsEvent>),
    /// The language model.
    Mind(Stamped<(TurnId, MindEvent)>),
    /// The voice.
    Voice(Stamped<(TurnId, VoiceEvent)>),
    /// The call is answered: greet.
    Answered,
    /// A digit by INFO.
    Digit(char),
    /// The operator wants this said.
    Say(String),
    /// The caller holds, or is back.
    Held(bool),
    /// A tool is done, with this result for the model.
    Tool { job: u32, result: String },
    /// How the transfer that was asked for goes: a SIP status.
    Transfer(u16),
    /// A provider's thread panicked.
    Crashed(&'static str),
}

/// How net and control reach a call's conductor.
#[derive(Clone)]
pub struct Handle {
    /// Its channel.
    pub events: Sender<Event>,
    /// Its bell.
    pub bell: Bell,
    /// Raised when the call is over.
    pub stop: Stop,
}

impl Handle {
    /// Sends an event, and drops it where the conductor is so far behind that it cannot matter any more.
    pub fn send(&self, event: Event) {
        let _ = self.events.try_send(event);
        self.bell.ring();
    }

    /// Ends the conductor and its threads.
    pub fn end(&self) {
        self.stop.raise();
        self.bell.ring();
    }
}

/// What a conductor works with.
pub struct Seat {
    /// The call.
    pub call: CallId,
    /// The agent's machine.
    pub agent: Agent,
    /// Orders to the media path.
    pub commands: Producer<CallCommand>,
    /// Hands kept phrases to the media path.
    pub kept: Kept,
    /// What happens on the media path.
    pub media: Consumer<CallEvent>,
    /// Wakes the media worker.
    pub media_bell: Bell,
    /// What the others say.
    pub events: Receiver<Event>,
    /// Rung by all of them.
    pub listener: Listener,
    /// Raised when the call is over.
    pub stop: Stop,
    /// The kept phrases.
    pub phrases: Arc<Phrases>,
    /// The table of calls.
    pub board: Arc<Board>,
    /// Log lines.
    pub journal: Journal,
    /// Records the call, where that is asked for.
    pub recorder: Recorder,
    /// Where the operator's tools are asked.
    pub tools: ToolThreads,
    /// To hang up.
    pub net: NetHandle,
    /// The clock.
    pub clock: Arc<SystemClock>,
    /// Captures what the agent is told and what it wants done.
    pub capture: AgentLog,
}

impl Seat {
    /// Ends a call whose threads could not be started.
    pub fn give_up(self, error: &std::io::Error) {
        self.journal.line(LogLevel::Error, Some(self.call), format_args!("no threads for the call: {error}"));
        let reason = "no threads for the call".to_owned();
        self.net.send(NetCommand::HangUp { call: self.call, by: EndedBy::Engine, reason });
    }
}

/// A call's conductor.
pub struct Conductor {
    seat: Seat,
    crew: Crew,
    /// Orders that the full ring has not taken yet, oldest first.
    waiting: VecDeque<CallCommand>,
    /// How long each turn's reply takes.
    latencies: Latencies,
    /// When the event happened that the agent is told of next, where its source has dated it.
    told_at: Option<Instant>,
    /// Whether the latest draft was begun before any eager end of turn.
    early: bool,
    /// Which keys were told.
    digits: Digits,
    /// Phrases that the agent knows to be ready.
    announced: Vec<Phrase>,
    /// What the agent is still to be told of kept phrases that are played, as a voice would have told it.
    played: VecDeque<(TurnId, VoiceEvent)>,
}

impl Conductor {
    /// Seats a conductor before its crew.
    #[must_use]
    pub fn new(seat: Seat, crew: Crew) -> Self {
        Self {
            seat,
            crew,
            waiting: VecDeque::new(),
            latencies: Latencies::default(),
            told_at: None,
            early: false,
            digits: Digits::new(),
            announced: Vec::new(),
            played: VecDeque::new(),
        }
    }

    /// Conducts until the call is over, and lets its threads end.
    pub fn run(mut self) {
        while !self.seat.stop.raised() {
            self.do_work(self.seat.clock.now());
            let now = self.seat.clock.now();
            let due = self.seat.agent.poll_timeout().map(|deadline| deadline.at.since(now));
            let retry = (!self.waiting.is_empty()).then_some(RETRY_AFTER);
            let pump = self.seat.kept.waiting().then_some(kept::PUMP_EVERY);
            self.seat.listener.wait(due.into_iter().chain(retry).chain(pump).min());
        }
        self.last_words();
        self.seat.capture.end();
        if self.latencies.has_draft() {
            self.seat.board.count(MISSES, 1);
        }
        // A provider may be waiting for room in the channel: it must see that nobody reads it any more.
        drop(self.seat);
        self.crew.end();
    }

    /// Handles all that has come in, and all that is due at `now`.
    pub fn do_work(&mut self, now: Instant) {
        for phrase in self.seat.phrases.rendered() {
            if !self.announced.contains(&phrase) {
                self.announced.push(phrase);
                self.tell(agent::Input::PhraseReady(phrase), now);
            }
        }
        while let Ok(event) = self.seat.media.pop() {
            self.media_event(event, now);
        }
        while let Ok(event) = self.seat.events.try_recv() {
            self.event(event, now);
            // What was heard comes first: a cut must reach the agent before the words that followed it.
            while let Ok(event) = self.seat.media.pop() {
                self.media_event(event, now);
            }
        }
        if self.seat.agent.poll_timeout().is_some_and(|due| due.at <= now) {
            self.seat.capture.tick(now);
        }
        self.seat.agent.handle_timeout(now);
        self.carry_out(now);
        self.push_waiting();
        self.seat.kept.pump();
    }

    fn event(&mut self, event: Event, now: Instant) {
        self.seat.recorder.event(self.seat.call, &event, now);
        match event {
            Event::Answered => self.tell(agent::Input::Answered, now),
            Event::Digit(digit) => self.digit(digit, Way::Info, now, now),
            Event::Held(held) => self.tell(agent::Input::Held(held), now),
            Event::Say(text) => self.tell(agent::Input::Say(text), now),
            Event::Tool { job, result } => self.tell(agent::Input::Tool { job, result }, now),
            Event::Transfer(status) => self.tell(agent::Input::Transfer { status }, now),
            // Whichever thread it was, the call cannot go on: the loss of the ears is what ends it with words.
            Event::Crashed(role) => {
                let text = format!("the thread of the {role} panicked");
                self.warn(&text);
                let failure = agent::Failure { kind: agent::FailureKind::Dropped, text };
                self.tell(agent::Input::Ears(EarsEvent::Failed(failure)), now);
            }
            // The recorder has them, and nobody else asks when a word was said.
            Event::Ears(Stamped { event: EarsEvent::Words(_), .. }) => {}
            Event::Ears(Stamped { at, event }) => self.ears(at, event, now),
            Event::Mind(Stamped { at, event: (turn, event) }) => {
                match &event {
                    MindEvent::Sent => self.latencies.mark(turn, Mark::RequestSent, at),
                    MindEvent::Token(text) if !text.trim().is_empty() => {
                        self.latencies.mark(turn, Mark::FirstToken, at);
                    }
                    MindEvent::Failed(failure) => self.warn(&format!("mind: {}", failure.text)),
                    _ => {}
                }
                self.told_at = Some(at);
                self.tell(agent::Input::Mind { turn, event }, now);
            }
            Event::Voice(Stamped { at, event: (turn, event) }) => {
                match &event {
                    VoiceEvent::Sent { .. } => self.latencies.mark(turn, Mark::ClauseSent, at),
                    VoiceEvent::FirstAudio => self.latencies.mark(turn, Mark::FirstAudio, at),
                    _ => {}
                }
                self.show_latency(turn);
                if let VoiceEvent::Failed(failure) = &event {
                    self.warn(&format!("voice: {}", failure.text));
                }
                self.told_at = Some(at);
                self.tell(agent::Input::Voice { turn, event }, now);
            }
        }
    }

    /// Shows a turn's latency once both its ends are known.
    fn show_latency(&mut self, turn: TurnId) {
        let Some((stages, speculation)) = self.latencies.take_whole(turn) else { return };
        let breach = self.seat.board.latency(self.seat.call, turn, &stages);
        self.seat.board.speculated(self.seat.call, turn, speculation);
        if let Some(breach) = breach {
            self.warn(&format!("{turn}: slo: {breach}"));
        }
    }

    /// Counts what becomes of a draft, and lets the ears learn from it.
    fn draft(&mut self, turn: TurnId, news: DraftNews) {
        let board = self.seat.board.clone();
        match news {
            DraftNews::Begun | DraftNews::BegunEarly => {
                board.count(DRAFTS, 1);
                self.early = news == DraftNews::BegunEarly;
                board.count(EARLY, u64::from(self.early));
                self.latencies.draft_begun(turn);
            }
            DraftNews::Opened => {
                board.count(HITS, 1);
                board.count(EARLY_HITS, u64::from(self.early));
                self.latencies.draft_opened(turn);
                if !self.early {
                    self.crew.learn(true);
                }
                board.speculation_threshold(self.crew.eager_threshold());
            }
            DraftNews::ThrownAway { why, characters } => {
                board.count(if why == Waste::Resumed { RESUMED } else { MISSES }, 1);
                board.count(WASTED, characters as u64);
                self.latencies.draft_thrown_away(turn);
                // A draft that could not be made says nothing about the ears whose eager end began it, and no eager end
                // began an early one.
                if why != Waste::Failed && !self.early {
                    self.crew.learn(false);
                }
                board.speculation_threshold(self.crew.eager_threshold());
            }
        }
    }

    fn ears(&mut self, at: Instant, event: EarsEvent, now: Instant) {
        if let EarsEvent::Confidence(confidence) = event {
            return self.seat.capture.confidence(at, confidence);
        }
        self.latencies.heard(at);
        if let Some(transcript) = event.partial() {
            self.seat.board.partial(self.seat.call, transcript);
        }
        let verdict = self.seat.agent.verdict(&event, now);
        match &event {
            // A turn that is nothing to answer, or has its answer already, is not the one that the next reply answers.
            EarsEvent::EndOfTurn { speech, .. }
                if !verdict.is_some_and(agent::Verdict::is_aside)
                    && !self.seat.agent.has_answered(&event, now)
                    && !self.seat.agent.has_firm_floor() =>
            {
                self.latencies.turn_ended(*speech, at);
            }
            EarsEvent::Failed(failure) => {
                self.warn(&format!("ears: {}", failure.text));
            }
            EarsEvent::Reconnecting(failure) => {
                self.warn(&format!("ears: {}; connecting again", failure.text));
                self.seat.board.count(EARS_RECONNECTS, 1);
            }
            _ => {}
        }
        if let Some(heard) = Heard::of(&event, verdict) {
            self.order(CallCommand::Ears(heard));
        }
        self.told_at = Some(at);
        self.tell(agent::Input::Ears(event), now);
    }

    fn media_event(&mut self, event: CallEvent, now: Instant) {
        self.seat.recorder.media(self.seat.call, &event, now);
        match event {
            CallEvent::CallerSpeech { speaking, .. } => self.seat.board.speaking(self.seat.call, speaking),
            CallEvent::FirstPacket { turn, at } => {
                self.latencies.mark(turn, Mark::FirstPacket, at);
                self.show_latency(turn);
                self.told_at = Some(at);
            }
            CallEvent::Stalled { turn, .. } => self.warn(&format!("{turn} is under way and nothing of it leaves")),
            CallEvent::Digit { digit, by, at } => self.digit(digit, by, at, now),
            CallEvent::Audio { audio, log } => self.audio(audio, log),
            CallEvent::Silent => self.hang_up(EndedBy::Engine, "no RTP from the peer"),
            _ => {}
        }
        if let Some(input) = input_of(event) {
            self.tell(input, now);
        }
    }

    /// Tells the agent of a key, unless the same press has come by another way already.
    fn digit(&mut self, digit: char, by: Way, at: Instant, now: Instant) {
        if self.digits.is_new(digit, by, at) {
            self.tell(agent::Input::Digit(digit), now);
        }
    }

    fn tell(&mut self, input: agent::Input, now: Instant) {
        let at = self.told_at.take();
        self.seat.capture.input(&input, at, now);
        self.seat.agent.handle_input(input, now);
        self.carry_out(now);
    }

    fn carry_out(&mut self, now: Instant) {
        loop {
            self.obey(now);
            let Some((turn, event)) = self.played.pop_front() else { return };
            let input = agent::Input::Voice { turn, event };
            self.seat.capture.input(&input, None, now);
            self.seat.agent.handle_input(input, now);
        }
    }

    fn obey(&mut self, now: Instant) {
        while let Some(output) = self.seat.agent.poll_output() {
            self.seat.capture.output(&output);
            match output {
                agent::Output::Ask { turn, messages, tools } => {
                    self.latencies.asked(turn, now);
                    self.crew.mind(MindCommand::Ask(Request { turn, messages, tools }));
                }
                agent::Output::CancelAsk { turn } => self.crew.mind(MindCommand::Cancel(turn)),
                agent::Output::Floor { turn, firm: false } => self.order(CallCommand::Grant(turn)),
                agent::Output::Floor { turn, firm: true } => self.order(CallCommand::GrantFirmly(turn)),
                agent::Output::Speak { turn, clause, text, last } => {
                    self.crew.voice(VoiceCommand::Speak { turn, clause, text, last });
                }
                agent::Output::Play { turn, phrase } => self.play(turn, phrase, now),
                agent::Output::Fill { turn, phrase } => {
                    let (pcm, _) = self.seat.phrases.sound(phrase);
                    self.seat.kept.fill(turn, pcm, now);
                }
                agent::Output::CancelSpeech { turn } => {
                    self.order(CallCommand::Withdraw(turn));
                    self.seat.kept.cancel(turn);
                    self.crew.voice(VoiceCommand::Cancel(turn));
                }
                agent::Output::ForceEndTurn => self.crew.ears(EarsCommand::ForceEndTurn),
                agent::Output::TurnEnded => self.latencies.held_turn_ended(now),
                agent::Output::Turn(record) => self.turn(&record),
                agent::Output::Aside { text, verdict } => self.aside(&text, verdict),
                agent::Output::Draft { turn, news } => self.draft(turn, news),
                agent::Output::RunTool { job, tool, arguments } => {
                    self.latencies.tool_begun(now);
                    self.seat.tools.run(job, tool, &arguments);
                }
                agent::Output::Transfer { to } => {
                    self.info(&format!("transfers the caller to {to}"));
                    self.seat.net.send(NetCommand::Transfer { call: self.seat.call, target: to });
                }
                agent::Output::SendDtmf { digits } => match Presses::parse(&digits) {
                    Some(keys) => {
                        self.info(&format!("presses {digits}"));
                        self.order(CallCommand::Press(keys));
                    }
                    None => self.tell(agent::Input::Pressed, now),
                },
                agent::Output::HangUp { reason } => self.hang_up(EndedBy::Agent, &reason),
            }
        }
    }

    /// Plays a kept phrase as the whole speech of `turn`, and notes what the voice would have said of it.
    fn play(&mut self, turn: TurnId, phrase: Phrase, now: Instant) {
        self.latencies.mark(turn, Mark::ClauseSent, now);
        self.latencies.mark(turn, Mark::FirstAudio, now);
        let (pcm, text) = self.seat.phrases.sound(phrase);
        let length = duration(pcm.len() as u64);
        let spoken = VoiceEvent::Spoken { text: text.to_owned(), end: length };
        self.played.extend([(turn, spoken), (turn, VoiceEvent::Done { length })]);
        self.push_waiting();
        self.seat.kept.play(turn, pcm, now);
    }

    /// Shows a turn as it stands, and logs who said what once it is known.
    fn turn(&self, record: &agent::TurnRecord) {
        self.seat.board.turn(self.seat.call, record);
        let line = |text| self.seat.journal.line(LogLevel::Info, Some(self.seat.call), text);
        if record.agent.is_empty() && !record.caller.is_empty() {
            line(format!("{}: caller: {}", record.turn, record.caller));
        } else if !record.agent.is_empty() {
            let cut = if record.interrupted { " (cut)" } else { "" };
            line(format!("{}: agent: {}{cut}", record.turn, record.agent));
        }
    }

    /// Counts and logs words of the caller that are not to be answered.
    fn aside(&self, text: &str, verdict: agent::Verdict) {
        let (counter, what) = match verdict {
            agent::Verdict::Echo => (ECHOES, "the agent's own echo"),
            _ => (BACKCHANNELS, "caller, meanwhile"),
        };
        self.seat.board.count(counter, 1);
        self.seat.journal.line(LogLevel::Info, Some(self.seat.call), format_args!("{what}: {text}"));
    }

    /// Shows the state of the call's audio; logs what is wrong with it, and later that nothing is any more.
    fn audio(&self, audio: Audio, log: bool) {
        self.seat.board.audio(self.seat.call, audio, log);
        match audio.finding {
            Some(finding) if log && finding.may_be_meant() => {
                self.seat.journal.line(LogLevel::Info, Some(self.seat.call), format_args!("audio: {finding}"));
            }
            Some(finding) if log => self.warn(&format!("no audio: {finding}")),
            None if log => self.seat.journal.line(LogLevel::Info, Some(self.seat.call), "the audio flows"),
            _ => {}
        }
    }

    fn info(&self, text: &str) {
        self.seat.journal.line(LogLevel::Info, Some(self.seat.call), text);
    }

    fn warn(&self, text: &str) {
        self.seat.journal.line(LogLevel::Warn, Some(self.seat.call), text);
    }

    fn hang_up(&self, by: EndedBy, reason: &str) {
        self.seat.net.send(NetCommand::HangUp { call: self.seat.call, by, reason: reason.to_owned() });
    }

    fn order(&mut self, command: CallCommand) {
        self.waiting.push_back(command);
        self.push_waiting();
    }

    fn push_waiting(&mut self) {
        let mut pushed = false;
        while let Some(command) = self.waiting.pop_front() {
            if self.seat.commands.push(command).is_err() {
                self.waiting.push_front(command);
                break;
            }
            pushed = true;
        }
        if pushed {
            self.seat.media_bell.ring();
        }
    }

    /// Takes in what the media path said last, so that the record of the last turn is what was heard of it.
    fn last_words(&mut self) {
        let until = self.seat.clock.now() + LAST_WORDS;
        loop {
            let now = self.seat.clock.now();
            while let Ok(event) = self.seat.media.pop() {
                self.media_event(event, now);
            }
            if self.seat.media.is_abandoned() || now >= until {
                return;
            }
            self.seat.listener.wait(Some(LAST_WORDS_EVERY));
        }
    }
}

/// Returns what the agent is told of an event of the media path; `None` where that is nothing, or the conductor's to decide.
#[must_use]
pub fn input_of(event: CallEvent) -> Option<agent::Input> {
    Some(match event {
        CallEvent::CallerSpeech { speaking, .. } => agent::Input::CallerSpeech { speaking },
        CallEvent::OwnEcho { heard, .. } => agent::Input::OwnEcho { heard },
        CallEvent::AgentSpeech { speaking, .. } => agent::Input::AgentSpeech { speaking },
        CallEvent::FirstPacket { turn, .. } => agent::Input::FirstPacket { turn },
        CallEvent::Played { turn, samples } => agent::Input::Played { turn, heard: duration(samples) },
        CallEvent::Cut { turn, samples, .. } => agent::Input::Cut { turn, heard: duration(samples) },
        CallEvent::Arrived { turn, samples } => agent::Input::Arrived { turn, heard_max: duration(samples) },
        CallEvent::Stalled { turn, samples } => agent::Input::Stalled { turn, heard: duration(samples) },
        CallEvent::Pressed => agent::Input::Pressed,
        CallEvent::Digit { .. } | CallEvent::Audio { .. } | CallEvent::Silent => return None,
    })
}

/// Returns how long `samples` of agent speech last.
fn duration(samples: u64) -> Duration {
    time::samples::duration(samples, VOICE_RATE)
}
