//! A telephone in the box: it calls an agent, ours or any other, talks with it, and says how long each reply took.
//!
//! Everything that is measured follows draft-nygate-ippm-mrl (mouth-to-ear response latency, MRL): both times are taken at
//! the RTP reference point of this telephone, by one clock. What is sent and received is kept raw ([`capture`]); where speech ends
//! and a reply begins is found afterwards, in the samples ([`stimulus`], [`onset`]), never by a detector that runs along.
//!
//! | file | what it answers |
//! |---|---|
//! | `talk.rs` | when to speak, to wait, to hang up |
//! | `line.rs` | RTP out every 20 ms, RTP in with the kernel's times |
//! | `dialler.rs` | REGISTER, INVITE, BYE |
//! | `mrl.rs`, `report.rs` | the figures, and `mrl-report/1` |
//! | `responder.rs` | a peer with a programmed delay, which the figures are calibrated against |

pub mod calibrate;
pub mod call;
pub mod capture;
pub mod command;
pub mod demo;
pub mod level;
pub mod line;
pub mod mrl;
pub mod onset;
pub mod record;
pub mod report;
pub mod responder;
pub mod stimulus;
pub mod talk;
pub mod wav;
pub mod weather;

use crate::time::samples;
use std::fmt;
use std::time::Duration;

/// Why there was no call, in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// An argument is wrong: which, what it was, and what it may be.
    Argument(String),
    /// Something else kept it from being made; the line names the cure where there is one.
    Call(String),
}

impl From<String> for Error {
    fn from(line: String) -> Self {
        Self::Call(line)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Argument(line) | Self::Call(line)) = self;
        f.write_str(line)
    }
}

impl std::error::Error for Error {}

/// Samples a second of the telephone's audio.
pub const RATE: u32 = 8000;
/// Samples of a 20 ms packet.
pub const FRAME: usize = 160;

/// Returns how long `samples` last.
#[must_use]
pub const fn length(samples: u64) -> Duration {
    samples::duration(samples, RATE)
}

/// Returns `time` in nanoseconds that may be counted backwards.
const fn nanos(time: Duration) -> i128 {
    time.as_nanos().cast_signed()
}
