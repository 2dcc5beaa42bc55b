//! Mutations of what real phones send, through signalling, session descriptions and media: nothing panics, and nothing grows.
//!
//! `cargo run --release --example fuzz` goes on for as long as it is let; what it finds stays here as a test.

mod campaign;
mod corpus;
mod descriptions;
mod grammar;
mod media;
mod mutate;
mod signalling;

use campaign::{EPISODE_MESSAGES, Tally, Target};
use corpus::Corpus;

/// The seed of every run of the tests; others are for `perf/fuzz.rs`.
const SEED: u64 = 4475;

fn run(target: Target, episodes: u64) -> Tally {
    let corpus = Corpus::read();
    let mut tally = Tally::default();
    for episode in 0..episodes {
        match campaign::episode(target, SEED, episode, &corpus) {
            Ok(of_episode) => tally.add(&of_episode),
            Err(crash) => panic!("{crash}"),
        }
    }
    println!("{target}: {tally:?}");
    assert_eq!(tally.messages, episodes * u64::try_from(EPISODE_MESSAGES).expect("a number"));
    tally
}

#[test]
fn mutated_signalling_neither_breaks_nor_fills_the_user_agent() {
    let tally = run(Target::Signalling, 100);
    // Most of it gets far enough to be answered, and calls are made and changed.
    assert!(tally.answers > tally.messages / 3 && tally.calls > 500 && tally.changes > 50, "{tally:?}");
}

#[test]
fn mutated_descriptions_are_answered_or_refused() {
    let tally = run(Target::Descriptions, 150);
    assert!(tally.agreed > tally.messages / 10, "{tally:?}");
}

#[test]
fn mutated_media_neither_break_a_call_nor_flood_the_recogniser() {
    let tally = run(Target::Media, 30);
    assert!(tally.packets > tally.messages / 4 && tally.frames > 500 && tally.digits > 50, "{tally:?}");
}

#[test]
fn an_episode_replays_exactly() {
    let corpus = Corpus::read();
    let tallies = [0, 0]
        .map(|_| campaign::episode(Target::Signalling, SEED, 7, &corpus).unwrap_or_else(|crash| panic!("{crash}")));
    assert_eq!(format!("{:?}", tallies[0]), format!("{:?}", tallies[1]));
}
