//! The stand-ins of the three cloud providers as a program: prints where they are as settings, and serves until it is ended.

#[path = "../tests/standin/mod.rs"]
mod standin;

use clap::Parser;
use standin::{KEY, cartesia, flux, groq};
use std::time::Duration;

/// Stand-ins of Deepgram Flux, Groq and Cartesia, with delays as they are measured in the field.
#[derive(Parser)]
struct Options {
    /// From the caller's last speech to the end of turn, in milliseconds.
    #[arg(long, default_value_t = 200)]
    end_of_turn_ms: u64,
    /// From the caller's last speech to the eager end of turn, in milliseconds; 0: there is none.
    #[arg(long, default_value_t = 80)]
    eager_ms: u64,
    /// The share of eager ends that are wrong, 0.0 to 1.0.
    #[arg(long, default_value_t = 0.0)]
    misses: f64,
    /// From a request to the first token, in milliseconds.
    #[arg(long, default_value_t = 300)]
    first_token_ms: u64,
    /// From each token to the next, in milliseconds.
    #[arg(long, default_value_t = 5)]
    token_every_ms: u64,
    /// From a text to its first audio, in milliseconds.
    #[arg(long, default_value_t = 90)]
    first_audio_ms: u64,
    /// A turn of the caller; the last one is heard again and again.
    #[arg(long = "turn")]
    turns: Vec<String>,
    /// A reply; the last one is given again and again, and `[hang_up]` as its last word hangs up.
    #[arg(long = "reply")]
    replies: Vec<String>,
}

fn main() {
    let options = Options::parse();
    let mut flux = flux::Plan {
        end_after: Duration::from_millis(options.end_of_turn_ms),
        eager_after: (options.eager_ms > 0).then(|| Duration::from_millis(options.eager_ms)),
        misses: options.misses,
        ..flux::Plan::default()
    };
    if !options.turns.is_empty() {
        flux.turns = options.turns;
    }
    let mut groq = groq::Plan {
        first_token: Duration::from_millis(options.first_token_ms),
        token_every: Duration::from_millis(options.token_every_ms),
        ..groq::Plan::default()
    };
    if !options.replies.is_empty() {
        groq.replies = options.replies;
    }
    let first_audio = Duration::from_millis(options.first_audio_ms);
    let cartesia = cartesia::Plan { first_audio, ..cartesia::Plan::default() };
    let (_flux, _, flux_url) = flux::start(flux);
    let (_groq, _, groq_url) = groq::start(groq);
    let (_cartesia, _, cartesia_url) = cartesia::start(cartesia);
    for (provider, url) in [("DEEPGRAM", flux_url), ("GROQ", groq_url), ("CARTESIA", cartesia_url)] {
        println!("{provider}_BASE_URL={url}");
        println!("{provider}_API_KEY={KEY}");
    }
    loop {
        std::thread::park();
    }
}
