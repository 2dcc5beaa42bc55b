//! The format of captures: what is kept of a call so that it can be run again, bit by bit, without its caller or its providers.
//!
//! | file | holds |
//! |---|---|
//! | `capture.json` | [`About`]: which call, when, made by which version |
//! | `media.log` | [`media::Entry`]s: what the media path was told and what it sent |
//! | `agent.log` | [`agent::Entry`]s: what the agent was told and what it wanted done |
//!
//! A log has one JSON value a line, behind 16 hex digits: a hash of everything up to there ([`Check`]). What was damaged is
//! noticed, and what was cut off (by `kill -9`, by a full disk) is good as far as it goes. There are no keys and no secrets in
//! a capture, but all that was said: whoever can read it hears the call.

pub mod agent;
pub mod media;
pub mod pcap;
pub mod secrets;

use crate::ids::CallId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Raised whenever an older reader would misunderstand: 2 has the recogniser's confidences.
pub const FORMAT: u32 = 2;
/// The oldest format that is read.
pub const FORMAT_MIN: u32 = 1;
/// The first format that holds how sure the recogniser was.
pub const FORMAT_CONFIDENCE: u32 = 2;
/// The file with [`About`].
pub const ABOUT_FILE: &str = "capture.json";
/// The file with [`media::Entry`]s.
pub const MEDIA_FILE: &str = "media.log";
/// The file with [`agent::Entry`]s.
pub const AGENT_FILE: &str = "agent.log";
/// Hex digits before each line's JSON.
const CHECK_DIGITS: usize = 16;

/// Which call was captured, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of the engine: another one may decide otherwise.
    pub offhook: String,
    /// The engine's number for the call.
    pub call: CallId,
    /// Its Call-ID.
    pub call_id: String,
    /// Who called.
    pub from: String,
    /// Who was called.
    pub to: String,
    /// When the capture began, in milliseconds since 1970-01-01 00:00 UTC.
    pub began_unix_ms: u64,
}

/// A log of which something can be said without reading it: its last entry says that it is whole.
pub trait Entry: Serialize + DeserializeOwned {
    /// Whether nothing follows.
    fn is_end(&self) -> bool;
    /// Whether entries were lost before this one.
    fn is_broken(&self) -> bool;
}

/// The running hash of a log: FNV-1a with 64 bits, of every line so far with its newline. It finds accidents, not forgers.
#[derive(Clone, Copy, Debug)]
pub struct Check(u64);

impl Default for Check {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Check {
    fn take(&mut self, json: &str) {
        for byte in json.bytes().chain([b'\n']) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Returns the next line of a log, with its newline; `None`: the entry is none that JSON can hold.
    pub fn line(&mut self, entry: &impl Entry) -> Option<String> {
        let json = serde_json::to_string(entry).ok()?;
        self.take(&json);
        Some(format!("{:016x} {json}\n", self.0))
    }
}

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Whole,
    /// In the middle: the engine was killed, or wrote no more.
    Cut,
    /// Entries were lost while the call ran.
    Broken,
    /// This line, counted from 1, is not what was written.
    Damaged { line: usize },
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::Cut => f.write_str("cut off"),
            Self::Broken => f.write_str("broken off, since the writer did not keep up"),
            Self::Damaged { line } => write!(f, "damaged in line {line}"),
        }
    }
}

/// Reads a log as far as it is good.
#[must_use]
pub fn read<T: Entry>(log: &[u8]) -> (Vec<T>, Ending) {
    let (mut entries, mut check) = (Vec::new(), Check::default());
    for (n, line) in log.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let damaged = Ending::Damaged { line: n + 1 };
        let Some(line) = line.strip_suffix(b"\n") else { return (entries, Ending::Cut) };
        let parts = std::str::from_utf8(line).ok().and_then(|line| line.split_at_checked(CHECK_DIGITS));
        let Some((digits, json)) = parts else { return (entries, damaged) };
        let Some(json) = json.strip_prefix(' ') else { return (entries, damaged) };
        check.take(json);
        let Ok(entry) = serde_json::from_str::<T>(json) else { return (entries, damaged) };
        if format!("{:016x}", check.0) != digits {
            return (entries, damaged);
        }
        match (entry.is_end(), entry.is_broken()) {
            (true, _) => return (entries, Ending::Whole),
            (_, true) => return (entries, Ending::Broken),
            _ => entries.push(entry),
        }
    }
    (entries, Ending::Cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Word {
        Said(String),
        Lost,
        End,
    }

    impl Entry for Word {
        fn is_end(&self) -> bool {
            *self == Self::End
        }
        fn is_broken(&self) -> bool {
            *self == Self::Lost
        }
    }

    fn log(words: &[&str], last: Option<Word>) -> Vec<u8> {
        let mut check = Check::default();
        let words = words.iter().map(|word| Word::Said((*word).to_owned())).chain(last);
        words.flat_map(|word| check.line(&word).expect("JSON").into_bytes()).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let (words, ending) = read::<Word>(&log(&["one", "two\n"], Some(Word::End)));
        assert_eq!((words.len(), ending), (2, Ending::Whole));
        assert_eq!(words[1], Word::Said("two\n".into()));
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_what_is_before_it_stands() {
        let whole = log(&["one", "two", "three"], Some(Word::End));
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut log = whole.clone();
                log[at] ^= 1 << bit;
                let (words, ending) = read::<Word>(&log);
                assert_ne!(ending, Ending::Whole, "byte {at}, bit {bit}");
                assert!(words.iter().zip(["one", "two", "three"]).all(|(a, b)| *a == Word::Said(b.into())));
            }
        }
    }

    #[test]
    fn a_log_that_is_cut_anywhere_is_good_as_far_as_it_goes() {
        let whole = log(&["one", "two", "three"], Some(Word::End));
        for len in 0..whole.len() {
            let (words, ending) = read::<Word>(&whole[..len]);
            assert_eq!(ending, Ending::Cut, "{len}");
            let lines = whole[..len].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(words.len(), lines);
        }
    }

    #[test]
    fn nothing_behind_a_hole_is_believed() {
        let mut holed = log(&["one"], Some(Word::Lost));
        holed.extend(b"whatever");
        assert_eq!(read::<Word>(&holed), (vec![Word::Said("one".into())], Ending::Broken));
    }
}
