//! Episodes of mutated messages: each begins with a fresh engine and its own seed, so that a crash replays by three numbers.

use super::corpus::Corpus;
use super::{descriptions, media, signalling};
use fastrand::Rng;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Messages of one episode: enough for calls to come, change and go; few enough to replay in a moment.
pub const EPISODE_MESSAGES: usize = 500;

/// What is under attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The whole user agent, with calls that are answered and changed by offer and answer.
    Signalling,
    /// Session descriptions, alone and in a negotiation.
    Descriptions,
    /// RTP, RTCP and RFC 4733 through a whole call.
    Media,
}

#[allow(dead_code, reason = "perf/fuzz.rs runs all of them, by name")]
impl Target {
    /// Every target, in turn.
    pub const ALL: [Self; 3] = [Self::Signalling, Self::Descriptions, Self::Media];

    /// The one with this name.
    pub fn called(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.to_string() == name)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signalling => "signalling",
            Self::Descriptions => "descriptions",
            Self::Media => "media",
        })
    }
}

/// What happened in episodes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Mutated messages that were handed in.
    pub messages: u64,
    /// Messages that were sent because of them: proof that they are not all thrown away at the door.
    pub answers: u64,
    /// Calls that began.
    pub calls: u64,
    /// Calls that were changed by another offer.
    pub changes: u64,
    /// Descriptions that were answered.
    pub agreed: u64,
    /// Media packets that were taken.
    pub packets: u64,
    /// 20 ms frames that the recogniser got.
    pub frames: u64,
    /// Digits that were heard.
    pub digits: u64,
    /// The largest answer to a message that began no call, in percent of that message.
    pub amplification_percent: u64,
    /// Most frames that one packet brought.
    pub frames_at_once: u64,
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.answers += other.answers;
        self.calls += other.calls;
        self.changes += other.changes;
        self.agreed += other.agreed;
        self.packets += other.packets;
        self.frames += other.frames;
        self.digits += other.digits;
        self.amplification_percent = self.amplification_percent.max(other.amplification_percent);
        self.frames_at_once = self.frames_at_once.max(other.frames_at_once);
    }
}

/// The last message of an episode, for whoever has to know what broke it.
#[derive(Default)]
pub struct Trace {
    pub step: usize,
    pub message: Vec<u8>,
}

impl Trace {
    /// Notes a message before it is handed in.
    pub fn note(&mut self, message: &[u8]) {
        self.step += 1;
        self.message.clear();
        self.message.extend_from_slice(message);
    }
}

/// An episode that ended in a panic, or in a promise not kept.
pub struct Crash {
    target: Target,
    seed: u64,
    episode: u64,
    trace: Trace,
    why: String,
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, seed, episode, trace, why } = self;
        writeln!(f, "{target} broke: {why}")?;
        writeln!(f, "message {} of the episode: {}", trace.step, trace.message.escape_ascii())?;
        write!(f, "cargo run --release --example fuzz -- --target {target} --seed {seed} --episode {episode}")
    }
}

/// Runs one episode of mutated messages against `target`.
///
/// # Errors
/// What broke, and how to see it again.
pub fn episode(target: Target, seed: u64, episode: u64, corpus: &Corpus) -> Result<Tally, Box<Crash>> {
    let mut rng = Rng::with_seed(seed.rotate_left(17) ^ episode.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ target as u64);
    let mut trace = Trace::default();
    let run = || match target {
        Target::Signalling => signalling::run(&mut rng, corpus, &mut trace),
        Target::Descriptions => descriptions::run(&mut rng, corpus, &mut trace),
        Target::Media => media::run(&mut rng, corpus, &mut trace),
    };
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let why = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned();
        Box::new(Crash { target, seed, episode, trace, why })
    })
}
