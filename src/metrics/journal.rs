//! What happened, as plain records; a log thread turns them into lines.

use crate::config::LogLevel;
use crate::ids::{CallId, TurnId};
use crate::time::{Clock, Instant};
use crossbeam_channel::{Receiver, Sender};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What happened on the media path: plain data, copied into a ring and put into words elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub at: Instant,
    /// In which call.
    pub call: CallId,
    /// What.
    pub what: What,
}

/// The kinds of [`Record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The caller's media come from here.
    Latched { remote: SocketAddr },
    /// The caller's SSRC changed: a restart, a hold server, a transfer.
    SsrcChanged { from: u32, to: u32 },
    /// A digit was pressed (RFC 4733).
    Digit { digit: char, duration: Duration },
    /// The first packet with speech of this turn was sent.
    FirstPacket { turn: TurnId },
    /// The caller took the floor after hearing this much of the turn's reply.
    Cut { turn: TurnId, heard: Duration },
    /// The turn's reply was played whole.
    Played { turn: TurnId, heard: Duration },
    /// The agent should have spoken, and nothing was there for this long.
    Underrun { turn: TurnId, gap: Duration },
    /// A gap in the caller's packets was given up and concealed.
    Concealed { length: Duration },
    /// The media worker woke this much too late for a slot.
    LateWake { late: Duration },
    /// A ring was full, and this many elements were dropped since the last such record.
    RingFull { ring: &'static str, dropped: u32 },
    /// Nothing came from the caller for this long.
    CallerGone { silent: Duration },
    /// The call's machines panicked; the call ends and the worker goes on.
    Panicked,
}

/// One entry on its way to the log thread.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When.
    pub at: Instant,
    /// How much it matters.
    pub level: LogLevel,
    /// In which call, if in one.
    pub call: Option<CallId>,
    /// In words.
    pub text: String,
}

/// Where threads other than the media workers leave their lines; clones share one channel.
#[derive(Clone)]
pub struct Journal {
    clock: Arc<dyn Clock>,
    level: LogLevel,
    entries: Sender<Entry>,
    dropped: Arc<AtomicU64>,
}

/// Lines that may wait for the log thread: a burst of every call ending at once, several times over.
pub const LINES_WAITING: usize = 4096;

impl Journal {
    /// Makes a journal that keeps what is at least as grave as `level`, and the end that the log thread reads.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, level: LogLevel) -> (Self, Receiver<Entry>) {
        let (entries, receiver) = crossbeam_channel::bounded(LINES_WAITING);
        (Self { clock, level, entries, dropped: Arc::default() }, receiver)
    }

    /// Leaves a line; where the log thread lags, it is dropped and counted.
    pub fn line(&self, level: LogLevel, call: Option<CallId>, text: impl std::fmt::Display) {
        if level > self.level {
            return;
        }
        let entry = Entry { at: self.clock.now(), level, call, text: text.to_string() };
        if self.entries.try_send(entry).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many lines were dropped since this was last asked.
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}
