//! A mind that is no server (the receptionist, the echo), on a thread of its own: what it says is told as a worker
//! tells it.

use crate::agent::MindEvent;
use crate::ids::TurnId;
use crate::providers::groq::exchange::{News, Retry, Told};
use crate::providers::groq::reply::Piece;
use crate::providers::{Bell, Events, Listener, MindCommand, MindIo, Request, Responder, Stamped, Stop};
use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Requests that wait for it; it is asked one at a time.
const ASIDE_MAX: usize = 16;

/// A mind of another kind, on a thread of its own.
pub(super) struct Aside {
    commands: Sender<MindCommand>,
    bell: Bell,
    stop: Stop,
    /// The jobs that it was given and has not begun.
    expected: Arc<Mutex<VecDeque<u64>>>,
    thread: JoinHandle<()>,
}

impl Aside {
    pub(super) fn begin(io: &MindIo, responder: Arc<dyn Responder>, told: Sender<Told>) -> Option<Self> {
        let (bell, listener) = Listener::new().ok()?;
        let (commands, orders) = bounded(ASIDE_MAX);
        let stop = Stop::default();
        let expected: Arc<Mutex<VecDeque<u64>>> = Arc::default();
        let (jobs, current) = (expected.clone(), Mutex::new(0));
        let wrap = move |Stamped { at, event: (_, event) }: Stamped<(TurnId, MindEvent)>| {
            let mut job = current.lock();
            let news = match event {
                MindEvent::Sent => {
                    *job = jobs.lock().pop_front().unwrap_or_default();
                    News::Sent
                }
                MindEvent::Allowance { left } => News::Allowance(left),
                MindEvent::Token(text) => News::Piece(Piece::Text(text)),
                MindEvent::ToolCall { id, name, arguments } => News::Piece(Piece::Call { id, name, arguments }),
                MindEvent::Done => News::Done,
                MindEvent::Failed(failure) => News::Failed(failure, Retry::Worthwhile),
            };
            Told { job: *job, at, news }
        };
        let events = Events::new(io.clock.clone(), told, io.listener.bell(), wrap);
        let (call, clock) = (io.call, io.clock.clone());
        let aside = MindIo { call, clock, commands: orders, listener, events, stop: stop.clone() };
        let name = format!("{}-{}", responder.name(), call.0);
        let thread = std::thread::Builder::new().name(name).spawn(move || responder.run(aside)).ok()?;
        Some(Self { commands, bell, stop, expected, thread })
    }

    /// Asks for `job`; returns whether it is taken.
    pub(super) fn ask(&self, job: u64, request: Request) -> bool {
        self.expected.lock().push_back(job);
        self.command(MindCommand::Ask(request))
    }

    /// Returns whether the order was taken.
    pub(super) fn command(&self, command: MindCommand) -> bool {
        let taken = self.commands.try_send(command).is_ok();
        self.bell.ring();
        taken
    }

    pub(super) fn end(self) {
        self.stop.raise();
        self.bell.ring();
        // A mind that panicked is gone, which is what an end wants.
        let _ = self.thread.join();
    }
}
