//! The journal's thread: writes log lines to standard error, so that nobody else waits for a terminal.

use crate::config::{LogFormat, LogLevel};
use crate::engine::clock::SystemClock;
use crate::metrics::{Entry, Journal};
use crate::providers::Stop;
use crate::time::Instant;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the thread looks whether it is to end, while there is nothing to write.
const IDLE: Duration = Duration::from_millis(50);

/// The thread.
pub struct LogThread {
    thread: JoinHandle<()>,
    stop: Stop,
}

impl LogThread {
    /// Ends the thread, with every line written that was left before.
    pub fn end(self) {
        self.stop.raise();
        // A thread that panicked has written what it could.
        let _ = self.thread.join();
    }
}

/// Starts a journal that keeps what is at least as grave as `level`, and the thread that writes it.
///
/// # Errors
/// What the system says when it has no thread left.
pub fn start(clock: Arc<SystemClock>, level: LogLevel) -> io::Result<(Journal, LogThread)> {
    start_as(LogFormat::Text, clock, level)
}

/// The same, with lines in this format.
///
/// # Errors
/// What the system says when it has no thread left.
pub fn start_as(format: LogFormat, clock: Arc<SystemClock>, level: LogLevel) -> io::Result<(Journal, LogThread)> {
    let (journal, entries) = Journal::new(clock.clone(), level);
    let stop = Stop::default();
    let stopped = stop.clone();
    let body = move || write_all(format, &entries, &clock, &stopped);
    let thread = std::thread::Builder::new().name("journal".into()).spawn(body)?;
    Ok((journal, LogThread { thread, stop }))
}

fn write_all(format: LogFormat, entries: &Receiver<Entry>, clock: &SystemClock, stop: &Stop) {
    let started = clock.unix_time(Instant::ZERO);
    loop {
        let entry = match entries.recv_timeout(IDLE) {
            Ok(entry) => entry,
            Err(RecvTimeoutError::Timeout) if !stop.raised() => continue,
            Err(_) => return,
        };
        // Standard error may be closed; the engine goes on without it.
        let mut out = io::stderr().lock();
        let written = match format {
            LogFormat::Text => entry.write(&mut out, started),
            LogFormat::Json => entry.write_json(&mut out, started),
        };
        let _ = written.and_then(|()| out.flush());
    }
}
