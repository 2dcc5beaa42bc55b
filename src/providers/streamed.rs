//! A voice that streams over a WebSocket, clauses up and 8 kHz µ-law down: what Cartesia, Aura and ElevenLabs have in common.
//!
//! [`speech`] knows what of a turn is sent, made and owed, [`context`] which of its words the audio holds, [`lines`] keeps the connections, [`pace`] how long a first audio
//! takes; a provider adds its address and its messages as a [`Vendor`] and a [`Wire`].
//!
//! What fails is told soon: at the latest [`speech::GIVE_UP_AFTER`] after audio was owed and did not come, so that another
//! voice can begin within the two seconds that a caller waits; where there is none, a first audio has longer.
//! [`VoiceEvent::Spoken`] is said of words whose audio is with the media path, so that what is not told as spoken when
//! [`VoiceEvent::Failed`] comes is what another voice has to say.

mod context;
mod lines;
mod pace;
mod phrase;
mod speech;

pub(super) use speech::Speak;

use super::feeder::Feeder;
use super::redaction::excerpt;
use super::socket::{Incoming, SocketError, Target};
use super::tls::Trust;
use super::{Events, Listener, Speaker, Stop, VoiceCommand, VoiceIo, VoiceOrders};
use crate::agent::{Failure, FailureKind, VoiceEvent};
use crate::audio::g711::linear_of_ulaw;
use crate::config::Endpoint;
use crate::ids::TurnId;
use crate::time::{Clock, Instant};
use crossbeam_channel::TryRecvError;
use lines::{Lines, News};
use pace::Pace;
use speech::{Late, Speech};
use std::sync::Arc;
use std::time::Duration;

/// How often the ring to the media path is looked at while audio waits for room.
const PUMP_EVERY: Duration = Duration::from_millis(100);
/// Messages read at one go, so that a flood of audio cannot keep a cancellation waiting.
const MESSAGES_MAX: usize = 32;
/// A provider that wants to be left alone for longer than this has failed as far as the present turn goes.
const RETRY_AFTER_MAX: Duration = Duration::from_millis(500);

/// What tells one provider from another, whoever's account it is.
#[derive(Clone, Copy)]
pub(super) struct Habits {
    /// What `/status` and log lines call it.
    pub(super) name: &'static str,
    /// Whose settings its key and address are: the first part of their names.
    pub(super) firm: &'static str,
    /// Whether a second connection is kept warm.
    pub(super) spare: bool,
    /// A connection unused for this long is replaced: sooner than the provider closes it.
    pub(super) idle_max: Duration,
    /// Text that comes this long after the one before goes into another context, since the old one may be over.
    pub(super) context_idle: Duration,
}

/// An account with a provider, shared by all of its sessions.
pub(super) struct Account {
    pub(super) habits: Habits,
    pub(super) endpoint: Endpoint,
    pub(super) trust: Trust,
    clock: Arc<dyn Clock>,
    pace: Pace,
}

/// A provider: where it is, and how to talk with it.
pub(super) trait Vendor: Send + Sync {
    fn account(&self) -> &Account;
    /// Where a connection leads.
    fn target(&self) -> Result<Target, SocketError>;
    /// How one connection is talked over.
    fn wire(&self) -> Box<dyn Wire>;
}

impl<V: Vendor> Speaker for V {
    fn name(&self) -> &'static str {
        self.account().habits.name
    }

    fn run(&self, io: VoiceIo) {
        Session::new(self, io).run();
    }

    fn render(&self, text: &str) -> Result<Vec<i16>, Failure> {
        phrase::render(self, text)
    }
}

/// The messages of one connection.
pub(super) trait Wire {
    /// Appends what asks for this text at `now`.
    fn speak(&mut self, speak: &Speak, now: Instant, out: &mut Vec<String>);
    /// Appends what stops the making of `context`.
    fn cancel(&mut self, context: &str, out: &mut Vec<String>);
    /// Reads a message; what cannot be understood says nothing.
    fn read(&mut self, message: &Incoming) -> Vec<Said>;
    /// Whether the next turn had better use another connection.
    fn is_worn(&mut self, now: Instant) -> bool {
        let _ = now;
        false
    }
}

/// What a message says, and the context that it is about; an error may be about none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    pub(super) context: Option<String>,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// µ-law at 8 kHz.
    Audio(Vec<u8>),
    /// Words, and where each of them ends: in the context's audio, or from the audio that has come so far.
    Words { words: Vec<(String, Duration)>, from_here: bool },
    /// All audio of the oldest text that was not yet spoken has come.
    FlushDone,
    /// The context is over.
    Done,
    /// The context failed.
    Error(Trouble),
}

/// An error event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// Another try would fail the same way, unless the provider is mistaken.
    pub(super) permanent: bool,
    /// Too many contexts at once.
    pub(super) limited: bool,
    pub(super) text: String,
}

impl Account {
    pub(super) fn new(habits: Habits, endpoint: &Endpoint, clock: Arc<dyn Clock>) -> Self {
        Self { habits, endpoint: endpoint.clone(), trust: Trust::web(), clock, pace: Pace::default() }
    }

    /// Tells an error event as a failure.
    fn trouble(&self, trouble: &Trouble) -> Failure {
        let kind = match trouble {
            Trouble { limited: true, .. } => FailureKind::RateLimited { retry_after: None },
            Trouble { permanent: true, .. } => FailureKind::Refused,
            _ => FailureKind::Dropped,
        };
        Failure { kind, text: format!("{}: {}", self.habits.name, excerpt(&trouble.text, &self.endpoint.key)) }
    }

    fn late(&self) -> Failure {
        Failure { kind: FailureKind::Stalled, text: format!("{}: no audio came in time", self.habits.name) }
    }
}

/// One call's session.
struct Session<'a> {
    vendor: &'a dyn Vendor,
    clock: Arc<dyn Clock>,
    commands: VoiceOrders,
    listener: Listener,
    events: Events<(TurnId, VoiceEvent)>,
    stop: Stop,
    feeder: Feeder,
    lines: Lines,
    speech: Option<Speech>,
    /// Why the last connection was lost since audio came last: the reason for a turn that fails without any.
    lost: Option<Failure>,
    /// Contexts opened so far.
    contexts: u32,
    out: Vec<String>,
    pcm: Vec<i16>,
}

impl<'a> Session<'a> {
    fn new(vendor: &'a dyn Vendor, io: VoiceIo) -> Self {
        Self {
            vendor,
            lines: Lines::new(vendor.account().habits.spare, io.clock.now()),
            clock: io.clock,
            commands: io.commands,
            listener: io.listener,
            events: io.events,
            stop: io.stop,
            feeder: Feeder::new(io.frames, io.media),
            speech: None,
            lost: None,
            contexts: 0,
            out: Vec::new(),
            pcm: Vec::new(),
        }
    }

    /// Speaks until the call ends.
    fn run(mut self) {
        while !self.stop.raised() {
            loop {
                match self.commands.try_recv() {
                    Ok(command) => self.handle_command(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return self.close(),
                }
            }
            self.do_work();
            let now = self.clock.now();
            let wait = self.poll_timeout().map(|due| due.since(now));
            let pump = self.feeder.waiting().then_some(PUMP_EVERY);
            self.listener.wait(wait.into_iter().chain(pump).min());
        }
        self.close();
    }

    fn handle_command(&mut self, command: VoiceCommand) {
        let now = self.clock.now();
        match command {
            VoiceCommand::Speak { turn, clause, text, last } => {
                if self.speech.as_ref().is_none_or(|speech| speech.turn != turn) {
                    self.drop_speech();
                    self.feeder.begin(turn);
                    let speech = Speech::new(turn, self.vendor.account().habits.context_idle, now);
                    self.speech = Some(speech.alone(!self.feeder.is_followed()));
                }
                if let Some(speech) = &mut self.speech {
                    speech.add(clause, &text, last, now);
                }
            }
            VoiceCommand::Cancel(turn) => {
                if self.speech.as_ref().is_some_and(|speech| speech.turn == turn) {
                    self.drop_speech();
                }
                if self.feeder.turn() == turn {
                    self.feeder.cancel();
                }
            }
        }
    }

    /// Takes every step that is due.
    fn do_work(&mut self) {
        self.feeder.pump();
        self.handle_timeout();
        self.tend();
        self.receive();
        self.send();
        self.tell();
        self.complete();
    }

    fn tend(&mut self) {
        let owed = self.speech.as_ref().is_some_and(|speech| !speech.is_complete());
        let busy = self.speech.is_some();
        if let Err(error) = self.lines.tend(self.vendor, &self.listener, (owed, busy), self.clock.now()) {
            self.fail(error.failure(self.vendor.account().habits.firm));
        }
    }

    fn receive(&mut self) {
        for _ in 0..MESSAGES_MAX {
            match self.lines.poll(&self.listener, &*self.clock) {
                None => return,
                Some(News::Said(token, said)) => self.handle_said(token, said),
                Some(News::Lost(token, error, active)) => self.handle_loss(token, &error, active),
            }
        }
        // There may be more, and the sockets will not wake this thread for it.
        self.listener.bell().ring();
    }

    fn handle_said(&mut self, token: mio::Token, said: Said) {
        let now = self.clock.now();
        let Some(speech) = &mut self.speech else { return };
        if said.context.as_deref().is_some_and(|context| speech.is_rival(context)) {
            match &said.what {
                // It has won after all.
                What::Audio(bytes) if !bytes.is_empty() => {
                    let loser = speech.adopt_rival();
                    self.lines.prefer(token);
                    self.cancel(loser);
                }
                What::Error(_) | What::Done => return speech.forget_rival(),
                _ => {}
            }
        }
        let Some(speech) = &mut self.speech else { return };
        if !speech.concerns(said.context.as_deref(), token) {
            return;
        }
        match said.what {
            What::Audio(bytes) => self.handle_audio(token, &bytes, now),
            What::Words { words, from_here } => speech.handle_words(&words, from_here, now),
            What::FlushDone => speech.handle_flush_done(now),
            What::Done => speech.handle_done(now),
            What::Error(trouble) => {
                let failure = self.vendor.account().trouble(&trouble);
                let refused = trouble.permanent && speech.is_refused_again();
                if refused || !speech.retry(trouble.limited, now) {
                    self.fail(failure);
                } else {
                    self.lost = Some(failure);
                }
            }
        }
        self.tell();
    }

    fn handle_audio(&mut self, token: mio::Token, bytes: &[u8], now: Instant) {
        let Some(speech) = &mut self.speech else { return };
        self.lines.praise(token, now);
        self.lost = None;
        let heard = speech.handle_audio(bytes.len(), now);
        if let Some(after) = heard.context_first {
            self.vendor.account().pace.told(after);
        }
        if heard.turn_first {
            self.events.send_at(now, (speech.turn, VoiceEvent::FirstAudio));
        }
        self.pcm.clear();
        self.pcm.extend(bytes.iter().map(|code| linear_of_ulaw(*code)));
        self.feeder.push(&self.pcm, now);
        // What was asked for twice has come; the other connection was the slower one, or is stuck.
        if let Some((_, slow)) = speech.rival() {
            speech.forget_rival();
            self.lines.drop(slow, now);
        }
    }

    /// A connection is lost: what was owed over it is asked for over another one.
    fn handle_loss(&mut self, token: mio::Token, error: &SocketError, active: bool) {
        let now = self.clock.now();
        let Some(speech) = &mut self.speech else { return };
        if speech.rival().is_some_and(|(_, line)| line == token) {
            return speech.forget_rival();
        }
        let failure = error.failure(self.vendor.account().habits.firm);
        let lost_speech = speech.line() == Some(token);
        if !lost_speech && !active {
            return;
        }
        let wait_too_long =
            matches!(failure.kind, FailureKind::RateLimited { retry_after: Some(after) } if after > RETRY_AFTER_MAX);
        let refused = !error.is_transient() && speech.is_refused_again();
        let hopeless = (refused || wait_too_long) && self.lines.ready(now).is_none();
        if hopeless && !speech.is_complete() {
            return self.fail(failure);
        }
        if lost_speech && !speech.retry(false, now) {
            return self.fail(failure);
        }
        self.lost = Some(failure);
    }

    /// Sends the text that waits.
    fn send(&mut self) {
        let now = self.clock.now();
        let Some(speech) = &mut self.speech else { return };
        let line = match speech.line() {
            Some(token) => self.lines.get(token).filter(|line| line.is_open()),
            None => self.lines.ready(now),
        };
        let Some(line) = line else { return };
        let token = line.token;
        while let Some(speak) = speech.next_message(&mut self.contexts, token, now) {
            line.wire.speak(&speak, now, &mut self.out);
            if line.send(&mut self.out, now).is_err() {
                // The socket tells why when it is next read.
                self.listener.bell().ring();
                return;
            }
            if let Some(clause) = speak.clause {
                self.events.send((speech.turn, VoiceEvent::Sent { clause }));
            }
        }
    }

    fn handle_timeout(&mut self) {
        let now = self.clock.now();
        let patience = self.vendor.account().pace.first_audio_max();
        let Some(speech) = &mut self.speech else { return };
        let Some(late) = speech.handle_timeout(patience, now) else { return };
        match (late, speech.line()) {
            (Late::Complete, _) => {}
            (Late::Unsent, _) | (_, None) if late != Late::Failed => self.lines.hurry(now),
            // Nothing came yet: it may be slow, or lost. The other connection is asked as well, and the quicker is heard.
            (Late::Silent, Some(token)) if speech.rival().is_none() && self.lines.change(token) => speech.hedge(now),
            (Late::Silent, _) if speech.is_waiting() => {}
            (Late::Silent | Late::Stuck, Some(token)) if speech.retry(false, now) => self.lines.drop(token, now),
            _ => {
                let failure = self.lost.take().unwrap_or_else(|| self.vendor.account().late());
                let stuck = [speech.line(), speech.rival().map(|(_, line)| line)];
                self.fail(failure);
                stuck.into_iter().flatten().for_each(|token| self.lines.drop(token, now));
            }
        }
    }

    /// Tells which words are spoken.
    fn tell(&mut self) {
        let Some(speech) = &mut self.speech else { return };
        while let Some((text, end)) = speech.poll_spoken() {
            self.events.send((speech.turn, VoiceEvent::Spoken { text, end }));
        }
    }

    fn complete(&mut self) {
        let Some(speech) = self.speech.take_if(|speech| speech.is_complete()) else { return };
        let now = self.clock.now();
        self.cancel(speech.rival());
        self.feeder.finish(now);
        self.events.send_at(now, (speech.turn, VoiceEvent::Done { length: speech.length() }));
        // Between turns is when a connection is replaced.
        self.tend();
    }

    /// Gives up the turn's speech; what was made of it ends where it ends, or goes on by another voice.
    fn fail(&mut self, failure: Failure) {
        self.tell();
        let Some(turn) = self.speech.as_ref().map(|speech| speech.turn) else { return };
        self.drop_speech();
        self.feeder.break_off(self.clock.now());
        self.events.send((turn, VoiceEvent::Failed(failure)));
    }

    /// Stops speaking: tells the provider, and hears no more of it, whatever still comes.
    fn drop_speech(&mut self) {
        let Some(speech) = self.speech.take() else { return };
        self.cancel(speech.context());
        self.cancel(speech.rival());
    }

    fn cancel(&mut self, context: Option<(String, mio::Token)>) {
        let Some((context, token)) = context else { return };
        if let Some(line) = self.lines.get(token).filter(|line| line.is_open()) {
            line.wire.cancel(&context, &mut self.out);
            // A socket that breaks here says so when it is next read.
            let _ = line.send(&mut self.out, self.clock.now());
        }
        self.out.clear();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let account = self.vendor.account();
        let patience = account.pace.first_audio_max();
        let speech = self.speech.as_ref().and_then(|speech| speech.poll_timeout(patience));
        self.lines.poll_timeout(account.habits.idle_max).into_iter().chain(speech).min()
    }

    fn close(mut self) {
        self.drop_speech();
        self.lines.close();
    }
}
