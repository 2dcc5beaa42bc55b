//! Mutated messages by the million, against signalling, session descriptions and media: what breaks, and what grows.
//!
//! `cargo run --release --example fuzz -- [--messages N] [--seed S] [--minutes M] [--target signalling|descriptions|media]`
//! runs episodes over all targets in turn until either limit is reached, prints a line every ten seconds and the verdict
//! last; exit code 1 where something broke or memory grew. `--target T --seed S --episode E`, as printed with what broke,
//! runs that episode alone. `tests/fuzz/` holds what is done to the messages and what is asked of the answers.
#![expect(clippy::disallowed_methods, reason = "a measurement lives in real time")]

#[path = "../tests/fuzz/campaign.rs"]
mod campaign;
#[path = "../tests/fuzz/corpus.rs"]
mod corpus;
#[path = "../tests/fuzz/descriptions.rs"]
mod descriptions;
#[path = "../tests/fuzz/grammar.rs"]
mod grammar;
#[path = "../tests/fuzz/media.rs"]
mod media;
#[path = "../tests/fuzz/mutate.rs"]
mod mutate;
#[path = "../tests/fuzz/signalling.rs"]
mod signalling;

use campaign::{Tally, Target};
use corpus::Corpus;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often it says how far it is.
const PROGRESS: Duration = Duration::from_secs(10);
/// When memory is measured that later memory is held against, in messages: every table has been full by then.
const WARM_MESSAGES: u64 = 100_000;
/// Most growth after that, in KiB: what an allocator keeps in its drawers.
const GROWTH_KIB_MAX: usize = 16 * 1024;

struct Args {
    messages: u64,
    seed: u64,
    minutes: u64,
    target: Option<Target>,
    episode: Option<u64>,
}

impl Args {
    fn read() -> Result<Self, String> {
        let mut found = Self { messages: 10_000_000, seed: 1, minutes: u64::MAX / 60, target: None, episode: None };
        let mut words = std::env::args().skip(1);
        while let Some(name) = words.next() {
            let value = words.next().ok_or(format!("{name} wants a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{name} is {value:?}; it may be a number"));
            match name.as_str() {
                "--messages" => found.messages = number()?,
                "--seed" => found.seed = number()?,
                "--minutes" => found.minutes = number()?.min(u64::MAX / 60),
                "--episode" => found.episode = Some(number()?),
                "--target" => {
                    let all = Target::ALL.map(|target| target.to_string()).join(", ");
                    let target = Target::called(&value);
                    found.target = Some(target.ok_or(format!("--target is {value:?}; it may be {all}"))?);
                }
                _ => return Err(format!("{name} is unknown")),
            }
        }
        Ok(found)
    }
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    resident.and_then(|rest| rest.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

fn main() -> ExitCode {
    let args = match Args::read() {
        Ok(args) => args,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let corpus = Corpus::read();
    if let Some(episode) = args.episode {
        let target = args.target.unwrap_or(Target::Signalling);
        return match campaign::episode(target, args.seed, episode, &corpus) {
            Ok(tally) => {
                println!("nothing broke: {tally:?}");
                ExitCode::SUCCESS
            }
            Err(crash) => {
                println!("{crash}");
                ExitCode::FAILURE
            }
        };
    }
    // A panic is told by what broke; its trace comes from the replay.
    std::panic::set_hook(Box::new(|_| {}));
    go_on(&args, &corpus)
}

fn go_on(args: &Args, corpus: &Corpus) -> ExitCode {
    let begun = Instant::now();
    let until = Duration::from_secs(args.minutes * 60);
    let targets = args.target.map_or(Target::ALL.to_vec(), |target| vec![target]);
    let (mut tally, mut crashes, mut said, mut warm_kib) = (Tally::default(), 0, begun, None);
    'all: for episode in 0.. {
        for target in &targets {
            match campaign::episode(*target, args.seed, episode, corpus) {
                Ok(of_episode) => tally.add(&of_episode),
                Err(crash) => {
                    println!("{crash}");
                    crashes += 1;
                }
            }
            if tally.messages >= WARM_MESSAGES {
                warm_kib.get_or_insert_with(resident_kib);
            }
            if said.elapsed() >= PROGRESS {
                said = Instant::now();
                let rate = tally.messages / begun.elapsed().as_secs().max(1);
                println!("{} messages, {rate}/s, {} KiB, {crashes} broke: {tally:?}", tally.messages, resident_kib());
            }
            if tally.messages >= args.messages || begun.elapsed() >= until || crashes >= 20 {
                break 'all;
            }
        }
    }
    let grown = resident_kib().saturating_sub(warm_kib.unwrap_or_else(resident_kib));
    println!("{tally:?}");
    println!("{} messages in {:?}: {crashes} broke, memory grown by {grown} KiB", tally.messages, begun.elapsed());
    if crashes == 0 && grown <= GROWTH_KIB_MAX { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
