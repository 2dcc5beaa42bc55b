//! Speech to text by Deepgram Nova, over a WebSocket: frames up, words down, and turns made of both on this machine.

use super::connection::{Account, Burst, Connection, Lost};
use super::outbox::{FRAME, Outbox};
use super::results::{Results, Said};
use crate::agent::{EarsEvent, Failure, SpeechMark};
use crate::config::{Endpoint, SttFormat};
use crate::providers::endpoint::{Endpointer, Output};
use crate::providers::socket::{Incoming, SocketError, Target};
use crate::providers::{EarsCommand, EarsIo, Transcriber};
use crate::time::Instant;
use std::time::Duration;

/// How often an idle connection is kept alive: Nova closes one that gets nothing for 10 s (one vendor page says 12).
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(4);
/// How long words are waited for after speech that was to be settled: far more than Nova takes (0.35 s at its 99th percentile).
const STALL_MAX: Duration = Duration::from_millis(1500);
/// After this long without speech, what was sent needs no second time: all of its words have come.
const QUIET_MIN: Duration = Duration::from_secs(5);
/// 1.25 times real time, the most that the vendor allows.
const BURST: Burst = Burst { frames: 5, every: Duration::from_millis(80) };
/// Silent frames in a row that are sent of a backlog, 200 ms: at that speed a caller would wait for the rest of them to be heard.
const SILENCE_MAX: usize = 10;

/// Deepgram Nova (`/v1/listen`).
pub struct Nova {
    account: Account,
}

impl Nova {
    /// The model where none is named.
    pub const MODEL: &str = "nova-3";

    /// Makes the ears that listen at `endpoint` (base URL without the path) and are sent audio as `format`.
    #[must_use]
    pub fn new(endpoint: &Endpoint, format: SttFormat) -> Self {
        Self { account: Account::new(endpoint, format) }
    }

    fn target(&self) -> Result<Target, SocketError> {
        // The turns are made here: Nova is to write as soon as it can. Numerals come as digits, in which numbers are recognised.
        let query =
            "channels=1&interim_results=true&endpointing=100&utterance_end_ms=1000&smart_format=true&no_delay=true";
        self.account.target("/v1/listen", query)
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
    io: EarsIo,
    connection: Connection<'a>,
    results: Results,
    endpointer: Endpointer,
    outbox: Outbox,
    /// Silent frames sent in a row.
    silence: usize,
    /// Until when the words of what the caller has said are waited for.
    awaited: Option<Instant>,
}

impl<'a> Session<'a> {
    fn new(nova: &'a Nova, target: Target, io: EarsIo) -> Self {
        let now = io.clock.now();
        Self {
            nova,
            io,
            connection: Connection::new(&nova.account, target, BURST, now),
            results: Results::default(),
            endpointer: Endpointer::default(),
            outbox: Outbox::default(),
            silence: 0,
            awaited: None,
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
        self.connection.close(self.io);
    }

    /// Takes every step that is due.
    fn do_work(&mut self, now: Instant) -> Result<(), Lost> {
        while let Ok(frame) = self.io.frames.pop() {
            self.outbox.push(frame);
        }
        while let Ok(EarsCommand::ForceEndTurn) = self.io.commands.try_recv() {
            self.endpointer.force_end_turn();
        }
        self.connection.tend(&self.io, now)?;
        self.receive()?;
        self.send(now)?;
        self.carry_out(now)?;
        self.watch(now)
    }

    fn receive(&mut self) -> Result<(), Lost> {
        while let Some((incoming, now)) = self.connection.receive(&self.io)? {
            match incoming {
                Incoming::Opened if self.connection.get_ready(now) => {
                    self.io.events.send_at(now, EarsEvent::Connected);
                }
                Incoming::Text(text) => self.handle_message(&text, now)?,
                Incoming::Opened | Incoming::Binary(_) => {}
            }
        }
        Ok(())
    }

    fn handle_message(&mut self, text: &str, now: Instant) -> Result<(), Lost> {
        match self.results.handle_message(text, &|time| self.outbox.arrived(time)) {
            Said::Words { settled } => {
                self.awaited = None;
                self.endpointer.handle_words(&self.results.words(), settled);
                self.carry_out(now)
            }
            Said::Error(text) => Err(self.nova.account.told(false, &text)),
            Said::Other => Ok(()),
        }
    }

    /// Sends what waits. The end of the turn goes by what Nova was sent, so that it asks for no words that are still on their way.
    fn send(&mut self, now: Instant) -> Result<(), Lost> {
        while self.silence >= SILENCE_MAX
            && let Some(frame) = self.outbox.pass_over_silence(BURST.frames)
        {
            self.endpointer.handle_frame(false, SpeechMark { arrived: frame.arrived, handed: now });
        }
        let Self { connection, outbox, endpointer, silence, .. } = self;
        connection.send(outbox, &*self.io.clock, |frame, handed| {
            *silence = if frame.speech { 0 } else { *silence + 1 };
            endpointer.handle_frame(frame.speech, SpeechMark { arrived: frame.arrived, handed });
        })
    }

    /// Does what the end of turn's machine wants done.
    fn carry_out(&mut self, now: Instant) -> Result<(), Lost> {
        while let Some(output) = self.endpointer.poll_output() {
            match output {
                Output::Settle => {
                    if self.connection.order(r#"{"type":"Finalize"}"#, now)? {
                        self.awaited = Some(now + STALL_MAX).filter(|_| self.endpointer.awaits_words());
                    }
                }
                Output::Event(event) => {
                    if let EarsEvent::EndOfTurn { .. } = &event {
                        let words = self.results.take_words();
                        if !words.is_empty() {
                            self.io.events.send_at(now, EarsEvent::Words(words));
                        }
                        let covered = self.results.end_turn();
                        self.outbox.acknowledge(covered);
                    }
                    self.io.events.send_at(now, event);
                }
            }
        }
        Ok(())
    }

    /// Keeps an idle connection alive, and watches for one that does not answer.
    fn watch(&mut self, now: Instant) -> Result<(), Lost> {
        if !self.connection.is_ready() {
            return Ok(());
        }
        if now.since(self.connection.sent_at()) >= KEEP_ALIVE_EVERY {
            self.connection.order(r#"{"type":"KeepAlive"}"#, now)?;
        }
        if self.awaited.is_some_and(|until| now >= until) {
            return Err(Lost::Stalled("has no words for what was said"));
        }
        if !self.endpointer.is_open() && self.outbox.last_speech().is_none_or(|at| now.since(at) >= QUIET_MIN) {
            self.outbox.acknowledge(FRAME * u32::try_from(self.outbox.sent_frames()).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    /// Prepares the next connection after a loss.
    fn lose(&mut self, lost: &Lost, now: Instant) -> Result<(), Failure> {
        let (worked, failure) = (self.connection.is_ready(), lost.failure());
        let followed = self.io.frames.is_followed();
        if !self.connection.lose(&failure, followed, now) {
            // Where nobody hears the turn again, its words so far are all that it has.
            if !followed {
                self.endpointer.force_end_turn();
                self.endpointer.handle_words("", true);
                // Nothing is sent over a connection that is gone, so that nothing can fail here.
                let _ = self.carry_out(now);
            }
            return Err(failure);
        }
        self.io.events.send_at(now, EarsEvent::Reconnecting(failure));
        if worked {
            // The words that are settled stay; the audio after them is heard again.
            let covered = self.results.reconnected();
            self.outbox.acknowledge(covered);
            self.outbox.rewind(covered);
        }
        self.awaited = None;
        Ok(())
    }

    fn poll_timeout(&self) -> Instant {
        let connection = self.connection.poll_timeout(&self.outbox, self.io.clock.now());
        self.awaited.into_iter().fold(connection, Instant::min)
    }
}
