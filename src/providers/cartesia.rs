//! Text to speech by Cartesia, over a WebSocket: clauses up, 8 kHz µ-law and word times down.

mod messages;
mod speech;

use super::feeder::Feeder;
use super::redaction::excerpt;
use super::socket::{Incoming, Socket, SocketError, Target};
use super::tls::Trust;
use super::{Events, Listener, Speaker, Stop, VoiceCommand, VoiceIo, VoiceOrders};
use crate::agent::{Failure, FailureKind, VoiceEvent};
use crate::audio::g711::linear_of_ulaw;
use crate::config::Endpoint;
use crate::ids::TurnId;
use crate::time::{Clock, Instant};
use crossbeam_channel::TryRecvError;
use messages::{Said, Trouble, Voice, What};
use speech::{Late, Speech};
use std::sync::Arc;
use std::time::Duration;

/// The version of the interface that the messages here follow.
const VERSION: &str = "2026-03-01";
/// Waits before each new connection; after the last one, the next text is what starts another try.
const BACKOFF: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// How often the ring to the media path is looked at while audio waits for room.
const PUMP_EVERY: Duration = Duration::from_millis(100);
/// How long a phrase that is to be kept may take in all, and each step towards it.
const RENDER_MAX: Duration = Duration::from_secs(20);
const RENDER_STEP_MAX: Duration = Duration::from_secs(6);
/// Samples of such a phrase: a minute.
const RENDER_SAMPLES_MAX: usize = 60 * 8000;
/// Messages read at one go, so that a flood of audio cannot keep a cancellation waiting.
const MESSAGES_MAX: usize = 32;
/// The one socket of a session.
const SOCKET: mio::Token = mio::Token(1);

/// Cartesia's voices (`/tts/websocket`).
pub struct Cartesia {
    endpoint: Endpoint,
    voice: Voice,
    clock: Arc<dyn Clock>,
    trust: Trust,
}

impl Cartesia {
    /// Makes the voice with id `voice` at `endpoint` (base URL without the path).
    #[must_use]
    pub fn new(endpoint: &Endpoint, voice: &str, clock: Arc<dyn Clock>) -> Self {
        let voice = Voice { model: endpoint.model.clone(), voice: voice.to_owned() };
        Self { endpoint: endpoint.clone(), voice, clock, trust: Trust::web() }
    }

    /// Checks the server's certificate against `trust`.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    fn target(&self) -> Result<Target, SocketError> {
        let target = Target::new(&self.endpoint.base_url, "/tts/websocket")?;
        Ok(target.header("Cartesia-Version", VERSION).auth("X-API-Key", "", &self.endpoint.key))
    }

    fn trouble(&self, trouble: &Trouble) -> Failure {
        let kind = match trouble {
            Trouble { limited: true, .. } => FailureKind::RateLimited { retry_after: None },
            Trouble { permanent: true, .. } => FailureKind::Refused,
            _ => FailureKind::Dropped,
        };
        Failure { kind, text: format!("cartesia: {}", excerpt(&trouble.text, &self.endpoint.key)) }
    }
}

impl Speaker for Cartesia {
    fn name(&self) -> &'static str {
        "cartesia"
    }

    fn run(&self, io: VoiceIo) {
        Session::new(self, io).run();
    }

    fn render(&self, text: &str) -> Result<Vec<i16>, Failure> {
        let failed = |error: SocketError| error.failure("cartesia");
        let (_, mut listener) = Listener::new()
            .map_err(|error| Failure { kind: FailureKind::Dropped, text: format!("cartesia: {error}") })?;
        let start = self.clock.now();
        let target = self.target().map_err(failed)?;
        let mut socket = Socket::open(target, self.trust.clone(), &listener, SOCKET, start);
        let mut pcm = Vec::new();
        let mut step = start;
        loop {
            let now = self.clock.now();
            match socket.poll(&listener, now).map_err(failed)? {
                Some(Incoming::Opened) => {
                    step = now;
                    socket.send_text(self.voice.speak("phrase", text, false)).map_err(failed)?;
                }
                Some(Incoming::Text(message)) => match messages::read(&message).what {
                    What::Audio(bytes) => {
                        step = now;
                        let room = RENDER_SAMPLES_MAX.saturating_sub(pcm.len());
                        pcm.extend(bytes.iter().take(room).map(|code| linear_of_ulaw(*code)));
                    }
                    What::Done => {
                        socket.close();
                        return Ok(pcm);
                    }
                    What::Error(trouble) => return Err(self.trouble(&trouble)),
                    _ => {}
                },
                None => {
                    let until = (step + RENDER_STEP_MAX).min(start + RENDER_MAX);
                    if now >= until {
                        let text = "cartesia: a phrase was not spoken in time".into();
                        return Err(Failure { kind: FailureKind::Stalled, text });
                    }
                    let due = socket.poll_timeout().unwrap_or(until).min(until);
                    listener.wait(Some(due.since(now)));
                }
            }
        }
    }
}

/// One call's session.
struct Session<'a> {
    cartesia: &'a Cartesia,
    clock: Arc<dyn Clock>,
    commands: VoiceOrders,
    listener: Listener,
    events: Events<(TurnId, VoiceEvent)>,
    stop: Stop,
    feeder: Feeder,
    link: Link,
    /// Connections that failed in a row.
    failures: usize,
    speech: Option<Speech>,
    /// All text of the turn, for a voice that tells no word times.
    text: String,
    /// Contexts opened so far.
    contexts: u32,
    pcm: Vec<i16>,
}

enum Link {
    /// There is none, and a try is due then; `None` is as soon as there is something to say.
    Down(Option<Instant>),
    Up(Box<Socket>),
}

impl<'a> Session<'a> {
    fn new(cartesia: &'a Cartesia, io: VoiceIo) -> Self {
        Self {
            cartesia,
            link: Link::Down(Some(io.clock.now())),
            clock: io.clock,
            commands: io.commands,
            listener: io.listener,
            events: io.events,
            stop: io.stop,
            feeder: Feeder::new(io.frames, io.media),
            failures: 0,
            speech: None,
            text: String::new(),
            contexts: 0,
            pcm: Vec::new(),
        }
    }

    fn run(mut self) {
        while !self.stop.raised() {
            loop {
                match self.commands.try_recv() {
                    Ok(command) => self.handle_command(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return self.close(),
                }
            }
            if let Err(error) = self.do_work() {
                self.lose(&error);
            }
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
                    self.text.clear();
                    self.speech = Some(Speech::new(turn, now));
                }
                if let Some(speech) = &mut self.speech {
                    speech.add(clause, &text, last, now);
                    self.text = [self.text.as_str(), text.trim()].join(" ").trim().to_owned();
                }
            }
            VoiceCommand::Play { turn, text, pcm } => {
                self.drop_speech();
                self.feeder.play(turn, text, &pcm, now, &self.events);
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

    /// Stops speaking: tells Cartesia, and hears no more of it, whatever still comes.
    fn drop_speech(&mut self) {
        let Some(speech) = self.speech.take() else { return };
        self.cancel_context(&speech);
    }

    fn cancel_context(&mut self, speech: &Speech) {
        if let (Some(context), Link::Up(socket)) = (speech.context(), &mut self.link)
            && socket.is_open()
        {
            // A socket that breaks here says so when it is next read.
            let _ = socket.send_text(messages::cancel(context));
        }
    }

    /// Takes every step that is due.
    fn do_work(&mut self) -> Result<(), SocketError> {
        self.feeder.pump();
        let now = self.clock.now();
        let wanted = self.speech.as_ref().is_some_and(|speech| !speech.is_complete());
        match self.link {
            Link::Down(Some(until)) if now >= until => self.connect(now)?,
            Link::Down(None) if wanted => self.connect(now)?,
            _ => {}
        }
        self.receive()?;
        self.send()?;
        self.handle_timeout();
        self.complete();
        Ok(())
    }

    fn connect(&mut self, now: Instant) -> Result<(), SocketError> {
        let target = self.cartesia.target()?;
        let socket = Socket::open(target, self.cartesia.trust.clone(), &self.listener, SOCKET, now);
        self.link = Link::Up(Box::new(socket));
        Ok(())
    }

    fn receive(&mut self) -> Result<(), SocketError> {
        for _ in 0..MESSAGES_MAX {
            let Link::Up(socket) = &mut self.link else { return Ok(()) };
            let now = self.clock.now();
            match socket.poll(&self.listener, now)? {
                None => return Ok(()),
                Some(Incoming::Opened) => {}
                Some(Incoming::Text(text)) => self.handle_message(messages::read(&text), now),
            }
        }
        // There may be more, and the socket will not wake this thread for it.
        self.listener.bell().ring();
        Ok(())
    }

    fn handle_message(&mut self, said: Said, now: Instant) {
        let Some(speech) = self.speech.as_mut().filter(|speech| speech.concerns(said.context.as_deref())) else {
            return;
        };
        let turn = speech.turn;
        match said.what {
            What::Audio(bytes) => {
                self.failures = 0;
                if speech.handle_audio(bytes.len(), now) {
                    self.events.send_at(now, (turn, VoiceEvent::FirstAudio));
                }
                self.pcm.clear();
                self.pcm.extend(bytes.iter().map(|code| linear_of_ulaw(*code)));
                self.feeder.push(&self.pcm, now);
            }
            What::Words(words) => {
                for (text, end) in words {
                    let end = speech.handle_word(end, now);
                    self.events.send_at(now, (turn, VoiceEvent::Spoken { text, end }));
                }
            }
            What::FlushDone => speech.handle_flush_done(now),
            What::Done => speech.handle_done(now),
            What::Error(trouble) => {
                if trouble.permanent || !speech.retry(trouble.limited, now) {
                    let failure = self.cartesia.trouble(&trouble);
                    self.fail(failure);
                }
            }
            What::Other => {}
        }
    }

    /// Sends the text that waits.
    fn send(&mut self) -> Result<(), SocketError> {
        let Link::Up(socket) = &mut self.link else { return Ok(()) };
        let Some(speech) = self.speech.as_mut().filter(|_| socket.is_open()) else { return Ok(()) };
        while let Some(speak) = speech.next_message(&mut self.contexts, self.clock.now()) {
            socket.send_text(self.cartesia.voice.speak(&speak.context, &speak.transcript, speak.more))?;
            if let Some(clause) = speak.clause {
                self.events.send((speech.turn, VoiceEvent::Sent { clause }));
            }
        }
        Ok(())
    }

    fn handle_timeout(&mut self) {
        let now = self.clock.now();
        let Some(speech) = &mut self.speech else { return };
        match speech.handle_timeout(now) {
            None | Some(Late::Complete) => {}
            // The connection is what is most likely to be stuck.
            Some(Late::Again) => self.link = Link::Down(Some(now)),
            Some(Late::Failed) => {
                let text = "cartesia: no audio came in time".into();
                self.fail(Failure { kind: FailureKind::Stalled, text });
            }
        }
    }

    fn complete(&mut self) {
        let Some(speech) = self.speech.take_if(|speech| speech.is_complete()) else { return };
        let (now, turn, length) = (self.clock.now(), speech.turn, speech.length());
        if !speech.is_timed() && !length.is_zero() {
            let text = std::mem::take(&mut self.text);
            self.events.send_at(now, (turn, VoiceEvent::Spoken { text, end: length }));
        }
        self.feeder.finish(now);
        self.events.send_at(now, (turn, VoiceEvent::Done { length }));
    }

    /// Gives up the turn's speech; what was made of it ends where it ends.
    fn fail(&mut self, failure: Failure) {
        let Some(speech) = self.speech.take() else { return };
        self.cancel_context(&speech);
        self.feeder.break_off(self.clock.now());
        self.events.send((speech.turn, VoiceEvent::Failed(failure)));
    }

    /// Prepares the next connection after a loss: at once where speech was under way or the socket was merely idle.
    fn lose(&mut self, error: &SocketError) {
        let now = self.clock.now();
        let idle = matches!(error, SocketError::Closed { code: 1000, .. });
        let wait = if idle && self.failures == 0 { Some(&Duration::ZERO) } else { BACKOFF.get(self.failures) };
        self.failures += 1;
        let transient = error.is_transient();
        if !transient || wait.is_none() {
            self.failures = 0;
        }
        self.link = Link::Down(wait.filter(|_| transient).map(|wait| now + *wait));
        let Some(speech) = &mut self.speech else { return };
        let goes_on = transient && wait.is_some() && (speech.context().is_none() || speech.retry(false, now));
        if !goes_on {
            self.fail(error.failure("cartesia"));
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let link = match &self.link {
            Link::Down(until) => *until,
            Link::Up(socket) => socket.poll_timeout(),
        };
        let speech = self.speech.as_ref().and_then(Speech::poll_timeout);
        link.into_iter().chain(speech).min()
    }

    fn close(mut self) {
        self.drop_speech();
        if let Link::Up(socket) = &mut self.link {
            socket.close();
        }
    }
}
