//! Captures: a thread for each captured call, which carries the call's logs from rings to files.

use crate::agent::{Confidence, Input, Output};
use crate::call::capture::{Capture, Record};
use crate::capture::{ABOUT_FILE, AGENT_FILE, About, Check, Entry, FORMAT, MEDIA_FILE, agent, media};
use crate::config::{self, LogLevel};
use crate::engine::clock::SystemClock;
use crate::engine::rings;
use crate::ids::CallId;
use crate::metrics::Journal;
use crate::time::{Clock, Instant};
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use rtrb::Consumer;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Entries of the agent that wait for the writer: a language model's longest burst of tokens and what is done with them.
const AGENT_ENTRIES_MAX: usize = 4096;
/// How often the rings are emptied: a tenth of what they hold of the busiest call.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long the media path's end is waited for once the conductor is gone; a worker lets a call go within milliseconds.
const LAST_RECORDS: Duration = Duration::from_secs(2);
/// The largest log, in bytes: half an hour at 90 kB/s, which a call with packets of 10 ms in both directions takes.
const LOG_BYTES_MAX: u64 = 160 << 20;
/// Captures of one folder, beyond which no more are made: what nobody clears up must not fill the disk.
const CAPTURES_MAX: usize = 1000;

/// Where captures of calls go.
#[derive(Clone)]
pub struct Captures {
    folder: PathBuf,
    settings: Arc<config::Config>,
    clock: Arc<SystemClock>,
    journal: Journal,
}

/// A capture whose files are not there yet: they are made once the caller has shown to be there.
pub struct Pending {
    captures: Captures,
    call: CallId,
    about: About,
    records: Consumer<Record>,
    entries: Receiver<agent::Entry>,
}

/// What is captured of one call.
pub struct Ends {
    /// For the media path.
    pub media: Capture,
    /// For the conductor.
    pub agent: AgentLog,
    /// What writes both down.
    pub pending: Pending,
}

impl Captures {
    /// Captures calls into `settings.capture.folder`; `None` where there is none.
    #[must_use]
    pub fn new(settings: &Arc<config::Config>, clock: &Arc<SystemClock>, journal: &Journal) -> Option<Self> {
        let folder = settings.capture.folder.clone()?;
        // At the start, since the first call may be the one that nobody can make again.
        if let Err(error) = private().recursive(true).create(&folder) {
            let text =
                format_args!("no call can be captured: {} cannot be made: {error}; see --capture", folder.display());
            journal.line(LogLevel::Warn, None, text);
        }
        Some(Self { folder, settings: settings.clone(), clock: clock.clone(), journal: journal.clone() })
    }

    /// Begins the capture of a call.
    #[must_use]
    pub fn begin(&self, call: CallId, call_id: &str, from: &str, to: &str) -> Ends {
        let (ring, records) = rings::capture();
        let (sender, entries) = crossbeam_channel::bounded(AGENT_ENTRIES_MAX);
        let about = About {
            format: FORMAT,
            offhook: env!("CARGO_PKG_VERSION").to_owned(),
            call,
            call_id: call_id.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            began_unix_ms: self.clock.unix_time(self.clock.now()).as_millis().try_into().unwrap_or(u64::MAX),
        };
        let mut agent = AgentLog { entries: Some(sender), lost: false };
        agent.push(agent::Entry::Begin(Box::new(self.settings.agent.clone())));
        Ends {
            media: Capture::new(ring),
            agent,
            pending: Pending { captures: self.clone(), call, about, records, entries },
        }
    }
}

/// The conductor's end of a capture; without a channel it does nothing.
#[derive(Default)]
pub struct AgentLog {
    entries: Option<Sender<agent::Entry>>,
    /// Whether an entry found no room, which is the next thing to be told.
    lost: bool,
}

impl AgentLog {
    /// The agent is told `input`, which happened at `at`.
    pub fn input(&mut self, input: &Input, at: Option<Instant>, now: Instant) {
        if self.entries.is_some() {
            self.push(agent::Entry::In { now, at, input: input.clone() });
        }
    }

    /// Notes how sure the recogniser is, with what it says next, that the turn has ended.
    pub fn confidence(&mut self, at: Instant, confidence: Confidence) {
        self.push(agent::Entry::Confidence { at, confidence });
    }

    /// Time passes, and a timer of the agent is due.
    pub fn tick(&mut self, now: Instant) {
        self.push(agent::Entry::Tick { now });
    }

    /// The agent wants this done.
    pub fn output(&mut self, output: &Output) {
        if self.entries.is_some() {
            self.push(agent::Entry::Out(output.clone()));
        }
    }

    /// The call is over.
    pub fn end(&mut self) {
        self.push(agent::Entry::End);
    }

    /// Hands an entry over; where there is no room the log ends there, and the call goes on.
    fn push(&mut self, entry: agent::Entry) {
        let Some(entries) = &self.entries else { return };
        if self.lost {
            let _ = entries.try_send(agent::Entry::Broken);
        } else {
            self.lost = entries.try_send(entry).is_err();
        }
    }
}

impl Pending {
    /// Starts the thread that writes it all down.
    ///
    /// # Errors
    /// What the system says where it has no thread left.
    pub fn start(self) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name(format!("capture-{}", self.call.0)).spawn(move || {
            let (journal, call) = (self.captures.journal.clone(), self.call);
            match self.write() {
                Ok((path, None)) => {
                    journal.line(LogLevel::Info, Some(call), format_args!("captured in {}", path.display()));
                }
                Ok((path, Some(why))) => {
                    let path = path.display();
                    journal.line(LogLevel::Warn, Some(call), format_args!("captured in {path}, not to its end: {why}"));
                }
                Err(error) => journal.line(LogLevel::Warn, Some(call), format_args!("no capture: {error}")),
            }
        })
    }

    /// Writes until both sides have nothing more; returns where, and what is missing.
    fn write(mut self) -> io::Result<(PathBuf, Option<&'static str>)> {
        let path = make_folder(&self.captures.folder, &self.about)?;
        let mut about = create(&path.join(ABOUT_FILE))?;
        serde_json::to_writer_pretty(&mut about, &self.about)?;
        about.write_all(b"\n")?;
        let mut media = Log::create(&path.join(MEDIA_FILE))?;
        let mut agent = Log::create(&path.join(AGENT_FILE))?;
        let mut give_up = None;
        let mut conducted = false;
        loop {
            while let Ok(record) = self.records.pop() {
                media.push(&media::Entry::from(&record))?;
            }
            conducted |= self.drain_agent(&mut agent)?;
            media.flush()?;
            agent.flush()?;
            if conducted {
                let now = self.captures.clock.now();
                let until = *give_up.get_or_insert(now + LAST_RECORDS);
                if media.ended || now >= until || self.records.is_abandoned() && self.records.is_empty() {
                    break;
                }
            }
            std::thread::park_timeout(INTERVAL);
        }
        let why = match (&media, &agent) {
            _ if media.full || agent.full => Some("a log has grown to its longest"),
            _ if media.broken || agent.broken => Some("a ring ran full"),
            _ if media.ended && agent.ended => None,
            _ => Some("the call broke off"),
        };
        Ok((path, why))
    }

    /// Returns whether the conductor is gone.
    fn drain_agent(&mut self, log: &mut Log) -> io::Result<bool> {
        loop {
            match self.entries.try_recv() {
                Ok(entry) => log.push(&entry)?,
                Err(TryRecvError::Empty) => return Ok(false),
                Err(TryRecvError::Disconnected) => return Ok(true),
            }
        }
    }
}

/// One file that grows.
struct Log {
    file: BufWriter<File>,
    check: Check,
    written: u64,
    ended: bool,
    broken: bool,
    full: bool,
}

impl Log {
    fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::new(create(path)?);
        Ok(Self { file, check: Check::default(), written: 0, ended: false, broken: false, full: false })
    }

    fn push(&mut self, entry: &impl Entry) -> io::Result<()> {
        self.full |= self.written >= LOG_BYTES_MAX;
        if self.full || self.ended {
            return Ok(());
        }
        self.ended = entry.is_end() || entry.is_broken();
        self.broken |= entry.is_broken();
        let line = self.check.line(entry).ok_or_else(|| io::Error::other("an entry that JSON cannot hold"))?;
        self.written += line.len() as u64;
        self.file.write_all(line.as_bytes())
    }

    /// Lets the kernel have it, so that a call is there as far as it went whatever becomes of this process.
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Makes the folder of one capture, which only its owner can read.
fn make_folder(folder: &Path, about: &About) -> io::Result<PathBuf> {
    private().recursive(true).create(folder)?;
    if std::fs::read_dir(folder)?.take(CAPTURES_MAX).count() == CAPTURES_MAX {
        let text = format!("{} holds {CAPTURES_MAX} captures already; clear it up", folder.display());
        return Err(io::Error::other(text));
    }
    let path = folder.join(format!("{}-call-{}", about.began_unix_ms, about.call.0));
    private().create(&path)?;
    Ok(path)
}

/// Makes folders that only their owner can read.
fn private() -> DirBuilder {
    let mut private = DirBuilder::new();
    private.mode(0o700);
    private
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_made_is_told_before_the_first_call() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("a file for the test");
        let clock = Arc::new(SystemClock::start());
        let (journal, entries) = Journal::new(clock.clone(), LogLevel::Warn);
        for (name, told) in [("captures", 0), ("file", 1)] {
            let mut settings = config::Config::default();
            settings.capture.folder = Some(folder.path().join(name));
            assert!(Captures::new(&Arc::new(settings), &clock, &journal).is_some());
            assert_eq!(entries.try_iter().count(), told, "{name}");
        }
        assert!(folder.path().join("captures").is_dir());
    }
}
