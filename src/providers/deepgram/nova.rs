//! Speech to text by Deepgram Nova, over a WebSocket: frames up, words down, and turns made of both on this machine.

use super::outbox::{FRAME, Outbox};
use super::results::{Results, Said};
use super::{Lost, OPENING_MAX, query_value, wait_after};
use crate::agent::{EarsEvent, Failure, SpeechMark};
use crate::config::{Endpoint, SttFormat};
use crate::providers::endpoint::{Endpointer, Output};
use crate::providers::redaction::excerpt;
use crate::providers::socket::{Incoming, Socket, SocketError, Target};
use crate::providers::tls::Trust;
use crate::providers::{EarsCommand, EarsIo, Transcriber};
use crate::time::Instant;
use std::time::Duration;

/// How often an idle connection is kept alive: Nova closes one that gets nothing for 10 s (one vendor page says 12).
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(4);
/// How long words are waited for after speech that was to be settled: far more than Nova takes (0.35 s at its 99th percentile).
const STALL_MAX: Duration = Duration::from_millis(1500);
/// A connection that lives for this long was a good one: the waits begin anew.
const LIVED_MIN: Duration = Duration::from_secs(5);
/// Frames sent at one go while there is a backlog, and how often: 1.25 times real time, the most that the vendor allows.
const BURST_FRAMES: usize = 5;
const BURST_EVERY: Duration = Duration::from_millis(80);
/// How long the goodbye may take.
const CLOSE_MAX: Duration = Duration::from_millis(300);
/// Messages read at one go, so that a flood cannot keep frames from being sent.
const MESSAGES_MAX: usize = 64;
/// The one socket of a session.
const SOCKET: mio::Token = mio::Token(1);

/// Deepgram Nova (`/v1/listen`).
pub struct Nova {
    endpoint: Endpoint,
    format: SttFormat,
    trust: Trust,
}

impl Nova {
    /// The model where none is named.
    pub const MODEL: &str = "nova-3";

    /// Makes the ears that listen at `endpoint` (base URL without the path) and are sent audio as `format`.
    #[must_use]
    pub fn new(endpoint: &Endpoint, format: SttFormat) -> Self {
        Self { endpoint: endpoint.clone(), format, trust: Trust::web() }
    }

    fn target(&self) -> Result<Target, SocketError> {
        let (encoding, sample_rate) = match self.format {
            SttFormat::Pcm16 => ("linear16", 16_000),
            SttFormat::Mulaw => ("mulaw", 8_000),
        };
        // The turns are made here: Nova is to write as soon as it can. Numerals come as digits, in which numbers are recognised.
        let path = format!(
            "/v1/listen?model={}&encoding={encoding}&sample_rate={sample_rate}&channels=1&interim_results=true\
             &endpointing=100&utterance_end_ms=1000&smart_format=true&no_delay=true",
            query_value(&self.endpoint.model)
        );
        Ok(Target::new(&self.endpoint.base_url, &path)?.auth("Authorization", "Token ", &self.endpoint.key))
    }
}

impl Transcriber for Nova {
    fn name(&self) -> &'static str {
        "nova"
    }

    fn run(&self, io: EarsIo) {
        match self.target() {
            Ok(target) => Session::new(self, target, io).run(),
            Err(error) => io.events.send(EarsEvent::Failed(error.failure("deepgram"))),
        }
    }
}

/// One call's session.
struct Session<'a> {
    nova: &'a Nova,
    target: Target,
    io: EarsIo,
    link: Link,
    results: Results,
    endpointer: Endpointer,
    outbox: Outbox,
    /// Connections that failed in a row.
    failures: usize,
    ready: Instant,
    /// When something was last sent, and when the next burst of a backlog is due.
    sent: Instant,
    burst_at: Instant,
    /// Until when the words of what the caller has said are waited for.
    awaited: Option<Instant>,
    bytes: Vec<u8>,
}

enum Link {
    /// There is none until then.
    Down(Instant),
    /// Not open, which it must be by then.
    Opening(Box<Socket>, Instant),
    Ready(Box<Socket>),
}

impl<'a> Session<'a> {
    fn new(nova: &'a Nova, target: Target, io: EarsIo) -> Self {
        let now = io.clock.now();
        Self {
            nova,
            target,
            io,
            link: Link::Down(now),
            results: Results::default(),
            endpointer: Endpointer::default(),
            outbox: Outbox::default(),
            failures: 0,
            ready: now,
            sent: now,
            burst_at: now,
            awaited: None,
            bytes: Vec::with_capacity(2 * crate::call::FRAME_16K),
        }
    }

    fn run(mut self) {
        while !self.io.stop.raised() {
            let now = self.io.clock.now();
            if let Err(lost) = self.do_work(now)
                && let Err(failure) = self.lose(&lost, now)
            {
                return self.io.events.send(EarsEvent::Failed(failure));
            }
            let wait = self.poll_timeout().since(self.io.clock.now());
            self.io.listener.wait(Some(wait));
        }
        self.close();
    }

    /// Takes every step that is due.
    fn do_work(&mut self, now: Instant) -> Result<(), Lost> {
        while let Ok(frame) = self.io.frames.pop() {
            self.outbox.push(frame);
            self.endpointer.handle_frame(frame.speech, SpeechMark { arrived: frame.arrived, handed: now });
        }
        while let Ok(EarsCommand::ForceEndTurn) = self.io.commands.try_recv() {
            self.endpointer.force_end_turn();
        }
        match &self.link {
            Link::Down(until) if now >= *until => {
                let socket = Socket::open(self.target.clone(), self.nova.trust.clone(), &self.io.listener, SOCKET, now);
                let patience = OPENING_MAX[self.failures.min(OPENING_MAX.len() - 1)];
                self.link = Link::Opening(Box::new(socket), now + patience);
            }
            Link::Opening(_, until) if now >= *until => {
                let host = self.target.host().to_owned();
                return Err(Lost::Socket(SocketError::TimedOut { host, what: "get ready" }));
            }
            _ => {}
        }
        self.receive()?;
        self.send(now)?;
        self.carry_out(now)?;
        self.watch(now)
    }

    fn receive(&mut self) -> Result<(), Lost> {
        for _ in 0..MESSAGES_MAX {
            let (Link::Opening(socket, _) | Link::Ready(socket)) = &mut self.link else { return Ok(()) };
            let now = self.io.clock.now();
            match socket.poll(&self.io.listener, now)? {
                None => return Ok(()),
                Some(Incoming::Opened) => {
                    if let Link::Opening(socket, _) = std::mem::replace(&mut self.link, Link::Down(now)) {
                        self.link = Link::Ready(socket);
                    }
                    (self.ready, self.sent) = (now, now);
                    self.io.events.send_at(now, EarsEvent::Connected);
                }
                Some(Incoming::Binary(_)) => {}
                Some(Incoming::Text(text)) => match self.results.handle_message(&text) {
                    Said::Words { settled } => {
                        self.awaited = None;
                        self.endpointer.handle_words(&self.results.words(), settled);
                        self.carry_out(now)?;
                    }
                    Said::Error(text) => {
                        let text = excerpt(&text, &self.nova.endpoint.key);
                        return Err(Lost::Told { permanent: false, text });
                    }
                    Said::Other => {}
                },
            }
        }
        // There may be more, and the socket will not wake this thread for it.
        self.io.listener.bell().ring();
        Ok(())
    }

    /// Does what the end of turn's machine wants done.
    fn carry_out(&mut self, now: Instant) -> Result<(), Lost> {
        while let Some(output) = self.endpointer.poll_output() {
            match output {
                Output::Settle => {
                    if let Link::Ready(socket) = &mut self.link {
                        socket.send_text(r#"{"type":"Finalize"}"#.into())?;
                        self.sent = now;
                        self.awaited = Some(now + STALL_MAX).filter(|_| self.endpointer.awaits_words());
                    }
                }
                Output::Event(event) => {
                    if let EarsEvent::EndOfTurn { .. } = &event {
                        let covered = self.results.end_turn();
                        self.outbox.acknowledge(covered);
                    }
                    self.io.events.send_at(now, event);
                }
            }
        }
        Ok(())
    }

    /// Sends what waits: a live frame at once, a backlog as fast as Nova takes it.
    fn send(&mut self, now: Instant) -> Result<(), Lost> {
        if now < self.burst_at {
            return Ok(());
        }
        for _ in 0..BURST_FRAMES {
            let Link::Ready(socket) = &mut self.link else { return Ok(()) };
            let Some(frame) = self.outbox.next() else { return Ok(()) };
            self.bytes.clear();
            match self.nova.format {
                SttFormat::Pcm16 => self.bytes.extend(frame.pcm.iter().flat_map(|sample| sample.to_le_bytes())),
                SttFormat::Mulaw => self.bytes.extend_from_slice(&frame.ulaw),
            }
            socket.send_binary(&self.bytes)?;
            self.sent = now;
            self.outbox.sent(now);
        }
        if self.outbox.next().is_some() {
            self.burst_at = now + BURST_EVERY;
        }
        Ok(())
    }

    /// Keeps an idle connection alive, and watches for one that does not answer.
    fn watch(&mut self, now: Instant) -> Result<(), Lost> {
        let Link::Ready(socket) = &mut self.link else { return Ok(()) };
        if now.since(self.ready) >= LIVED_MIN {
            self.failures = 0;
        }
        if now.since(self.sent) >= KEEP_ALIVE_EVERY {
            socket.send_text(r#"{"type":"KeepAlive"}"#.into())?;
            self.sent = now;
        }
        if self.awaited.is_some_and(|until| now >= until) {
            return Err(Lost::Stalled("has no words for what was said"));
        }
        if !self.endpointer.is_open() && self.outbox.last_speech().is_none_or(|at| now.since(at) >= LIVED_MIN) {
            // Nobody is speaking: what was sent needs no second time.
            self.outbox.acknowledge(FRAME * u32::try_from(self.outbox.sent_frames()).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    /// Prepares the next connection after a loss.
    fn lose(&mut self, lost: &Lost, now: Instant) -> Result<(), Failure> {
        let worked = matches!(self.link, Link::Ready(_));
        let failure = lost.failure();
        let Some(wait) = wait_after(self.failures, &failure, worked) else {
            self.endpointer.force_end_turn();
            self.endpointer.handle_words("", true);
            // Orders to a connection that is gone are of no use, and ends of turns are still told.
            self.link = Link::Down(now);
            let _ = self.carry_out(now);
            return Err(failure);
        };
        self.io.events.send_at(now, EarsEvent::Reconnecting(failure));
        if worked {
            // The words that are settled stay; the audio after them is heard again.
            let covered = self.results.reconnected();
            self.outbox.acknowledge(covered);
            self.outbox.rewind(covered);
        }
        self.failures += 1;
        self.awaited = None;
        self.link = Link::Down(now + wait);
        Ok(())
    }

    fn poll_timeout(&self) -> Instant {
        let due = match &self.link {
            Link::Down(until) => return *until,
            Link::Opening(socket, until) => [socket.poll_timeout(), Some(*until), None],
            Link::Ready(socket) => [socket.poll_timeout(), self.outbox.next().map(|_| self.burst_at), self.awaited],
        };
        // Keeping it alive needs no exact time.
        let watch = self.io.clock.now() + Duration::from_millis(500);
        due.into_iter().flatten().fold(watch, Instant::min)
    }

    /// Tells Nova that there is no more audio, and gives it a moment to hang up.
    fn close(mut self) {
        let Link::Ready(mut socket) = self.link else { return };
        let until = self.io.clock.now() + CLOSE_MAX;
        if socket.send_text(r#"{"type":"CloseStream"}"#.into()).is_err() {
            return;
        }
        loop {
            let now = self.io.clock.now();
            match socket.poll(&self.io.listener, now) {
                Err(_) => return,
                _ if now >= until => return socket.close(),
                Ok(Some(_)) => {}
                Ok(None) => self.io.listener.wait(Some(until.since(now))),
            }
        }
    }
}
