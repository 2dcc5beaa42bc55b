//! The journal's thread: writes log lines to standard error, so that nobody else waits for a terminal.

use crate::config::LogLevel;
use crate::engine::clock::SystemClock;
use crate::metrics::{Entry, Journal};
use crate::time::Instant;
use crossbeam_channel::Receiver;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::JoinHandle;

/// The thread; it ends when the last [`Journal`] is gone, after the last line.
pub struct LogThread(JoinHandle<()>);

impl LogThread {
    /// Waits for the last line; every journal must be dropped before.
    pub fn end(self) {
        // A thread that panicked has written what it could.
        let _ = self.0.join();
    }
}

/// Starts a journal that keeps what is at least as grave as `level`, and the thread that writes it.
///
/// # Errors
/// What the system says when it has no thread left.
pub fn start(clock: Arc<SystemClock>, level: LogLevel) -> io::Result<(Journal, LogThread)> {
    let (journal, entries) = Journal::new(clock.clone(), level);
    let body = move || write_all(&entries, &clock);
    let thread = std::thread::Builder::new().name("journal".into()).spawn(body)?;
    Ok((journal, LogThread(thread)))
}

fn write_all(entries: &Receiver<Entry>, clock: &SystemClock) {
    let started = clock.unix_time(Instant::ZERO);
    while let Ok(entry) = entries.recv() {
        // Standard error may be closed; the engine goes on without it.
        let mut out = io::stderr().lock();
        let _ = entry.write(&mut out, started).and_then(|()| out.flush());
    }
}
