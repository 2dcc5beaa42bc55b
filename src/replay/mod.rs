//! Runs a captured call again, offline: `offhook replay`.
//!
//! [`media`] feeds the media path's machines with what they were told and compares every packet, byte for byte;
//! [`agent`] does the same for the agent and what it wanted done. [`what_if`] runs it with other settings: [`turns`] reads out of
//! the log what became of each of the caller's turns, and [`reckoning`] what would have.

pub mod agent;
pub mod media;
pub mod reckoning;
pub mod turns;
pub mod what_if;

use crate::capture::{ABOUT_FILE, AGENT_FILE, About, Ending, Entry, FORMAT, FORMAT_MIN, MEDIA_FILE};
use crate::config::Replay;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// Why a capture cannot be run again at all.
#[derive(Debug)]
pub enum Error {
    /// A file of it cannot be read.
    Unreadable { file: String, error: io::Error },
    /// It is of another format.
    Format(u32),
    /// Its first file is not what it should be.
    NoCapture(String),
    /// A log does not begin with a beginning.
    NoBeginning(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, error } => write!(f, "{file} cannot be read: {error}"),
            Self::Format(format) => {
                write!(f, "the capture is of format {format}, and this version reads {FORMAT_MIN} to {FORMAT}")
            }
            Self::NoCapture(why) => write!(f, "{ABOUT_FILE} is not that of a capture: {why}"),
            Self::NoBeginning(file) => write!(f, "{file} does not begin with the beginning of a call"),
        }
    }
}

impl std::error::Error for Error {}

/// What came of running a log again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What was compared, and found to be the same.
    pub same: usize,
    /// What they are called.
    pub what: &'static str,
    /// The first that is not the same, in one sentence.
    pub difference: Option<String>,
    /// How the log ends.
    pub ending: Ending,
}

impl Outcome {
    /// Whether everything that is there is the same, and was written so.
    #[must_use]
    pub const fn is_identical(&self) -> bool {
        self.difference.is_none() && !matches!(self.ending, Ending::Damaged { .. })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.difference {
            None => write!(f, "{} {}, identical", self.same, self.what)?,
            Some(difference) => write!(f, "{} {} identical, then: {difference}", self.same, self.what)?,
        }
        match self.ending {
            Ending::Whole => Ok(()),
            ending => write!(f, "; the log is {ending}"),
        }
    }
}

/// A capture as it was read.
pub struct Captured {
    /// Which call.
    pub about: About,
    /// The media path's log, and how it ends.
    pub media: (Vec<crate::capture::media::Entry>, Ending),
    /// The agent's.
    pub agent: (Vec<crate::capture::agent::Entry>, Ending),
}

impl Captured {
    /// Reads the capture in `folder`.
    ///
    /// # Errors
    /// What is missing.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let about = file(folder, ABOUT_FILE)?;
        let about: About = serde_json::from_slice(&about).map_err(|error| Error::NoCapture(error.to_string()))?;
        if !(FORMAT_MIN..=FORMAT).contains(&about.format) {
            return Err(Error::Format(about.format));
        }
        Ok(Self { about, media: log(folder, MEDIA_FILE)?, agent: log(folder, AGENT_FILE)? })
    }

    /// Returns what is to be said of a capture that another version has made.
    #[must_use]
    pub fn version_note(&self) -> Option<String> {
        let ours = env!("CARGO_PKG_VERSION");
        (self.about.offhook != ours).then(|| {
            format!("captured by version {}, run by {ours}: what differs may be the versions'", self.about.offhook)
        })
    }
}

fn file(folder: &Path, name: &str) -> Result<Vec<u8>, Error> {
    let path = folder.join(name);
    fs::read(&path).map_err(|error| Error::Unreadable { file: path.display().to_string(), error })
}

fn log<T: Entry>(folder: &Path, name: &str) -> Result<(Vec<T>, Ending), Error> {
    file(folder, name).map(|bytes| crate::capture::read(&bytes))
}

/// Runs a capture again, and tells what came of it line by line; returns whether everything is the same.
///
/// # Errors
/// Why it cannot be run at all.
pub fn run(wanted: &Replay, say: &mut dyn FnMut(&str)) -> Result<bool, Error> {
    let captured = Captured::read(&wanted.folder)?;
    let About { call, from, to, .. } = &captured.about;
    say(&format!("{call}: {from} called {to}"));
    if let Some(note) = captured.version_note() {
        say(&note);
    }
    let media = media::replay(captured.about.call, &captured.media)?;
    say(&format!("media: {media}"));
    let agent = agent::replay(&captured.agent)?;
    say(&format!("agent: {agent}"));
    if let Some(what_if) = &wanted.what_if {
        what_if::run(&captured, what_if, say)?;
    }
    Ok(media.is_identical() && agent.is_identical())
}
