//! Asks the operator's tools for one call, each on a thread of its own, so that nobody else waits for them.

use crate::config::LogLevel;
use crate::engine::clock::SystemClock;
use crate::engine::conductor::{Event, Handle};
use crate::ids::CallId;
use crate::metrics::{Board, Counter, Journal};
use crate::providers::webhook::Webhooks;
use crate::time::Clock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tools that run at the same time for one call: two rounds of the most calls that a model makes at once.
const RUNNING_MAX: usize = 8;
/// Stack of a tool's thread: TLS and JSON are shallow.
const STACK_BYTES: usize = 1 << 20;

/// Tools that were asked.
const RUNS: Counter = Counter { name: "tool_runs", help: "Requests to the operator's own tools" };
/// Those of them that failed.
const FAILURES: Counter = Counter { name: "tool_failures", help: "Requests to the operator's own tools that failed" };

/// The tools of one call.
#[derive(Clone)]
pub struct ToolThreads {
    call: CallId,
    webhooks: Arc<Webhooks>,
    conductor: Handle,
    clock: Arc<SystemClock>,
    board: Arc<Board>,
    journal: Journal,
    running: Arc<AtomicUsize>,
}

impl ToolThreads {
    /// Makes the tools of `call`, whose `conductor` is told what they bring.
    #[must_use]
    pub fn new(
        call: CallId,
        webhooks: Arc<Webhooks>,
        conductor: Handle,
        clock: Arc<SystemClock>,
        board: Arc<Board>,
        journal: Journal,
    ) -> Self {
        Self { call, webhooks, conductor, clock, board, journal, running: Arc::default() }
    }

    /// Asks tool number `tool`; [`Event::Tool`] says what came of it.
    pub fn run(&self, job: u32, tool: usize, arguments: &str) {
        self.board.count(RUNS, 1);
        let why = if self.running.fetch_add(1, Ordering::AcqRel) >= RUNNING_MAX {
            "too many tools are running"
        } else {
            let (tools, arguments) = (self.clone(), arguments.to_owned());
            let body = move || tools.ask(job, tool, &arguments);
            let name = format!("tool-{}-{job}", self.call.0);
            match std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(body) {
                Ok(_detached) => return,
                Err(_) => "there is no thread left for it",
            }
        };
        self.running.fetch_sub(1, Ordering::AcqRel);
        self.fail(job, tool, why);
    }

    fn ask(&self, job: u32, tool: usize, arguments: &str) {
        let begun = self.clock.now();
        let unix_s = self.clock.unix_time(begun).as_secs();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.webhooks.run(self.call, tool, arguments, unix_s)));
        self.running.fetch_sub(1, Ordering::AcqRel);
        let Ok(outcome) = outcome else { return self.fail(job, tool, "its thread panicked") };
        let took = self.clock.now().since(begun).as_millis();
        let name = self.webhooks.name(tool);
        match &outcome.failure {
            None => self.journal.line(
                LogLevel::Info,
                Some(self.call),
                format_args!("tool {name}: {} bytes in {took} ms", outcome.result.len()),
            ),
            Some(why) => self.warn(tool, &format!("{why} ({took} ms)")),
        }
        self.tell(job, outcome.result);
    }

    fn fail(&self, job: u32, tool: usize, why: &str) {
        self.warn(tool, why);
        self.tell(job, serde_json::json!({ "error": why }).to_string());
    }

    fn warn(&self, tool: usize, why: &str) {
        self.board.count(FAILURES, 1);
        let name = self.webhooks.name(tool);
        self.journal.line(LogLevel::Warn, Some(self.call), format_args!("tool {name} {why}"));
    }

    fn tell(&self, job: u32, result: String) {
        self.conductor.send(Event::Tool { job, result });
    }
}
