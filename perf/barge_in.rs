//! How soon the agent is silent when the caller speaks into its reply, measured by the caller; and that clicks do not cut it.
//!
//! `cargo run --release --example barge_in -- [INTERRUPTIONS] [CLICKS]`: an engine in this process talks to stand-ins of the
//! three providers. An interruption is timed from the caller's first packet with speech to the last packet with agent speech. A
//! click is 60 ms as loud as speech; the agent must go on speaking through it.
#![expect(clippy::disallowed_methods, reason = "a measurement lives in real time")]

#[path = "../tests/support/engine.rs"]
mod engine;
#[path = "../tests/support/phone.rs"]
mod phone;
#[path = "../tests/standin/mod.rs"]
mod standin;
#[path = "../tests/support/voice.rs"]
mod voice;

use offhook::audio::g711::Codec;
use offhook::control::Bridge;
use offhook::metrics::Kind;
use phone::{Phone, Weather};
use standin::{KEY, cartesia, flux, groq};
use std::time::{Duration, Instant};

/// The stand-in speaks this for some ten seconds.
const REPLY: &str = "Let me tell you a long story about a telephone that rang every morning at nine. Nobody ever answered it, \
                     because nobody knew where it was. One day a child followed the sound through the whole house, and found it.";

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let interruptions = numbers.first().copied().unwrap_or(20);
    let clicks = numbers.get(1).copied().unwrap_or(10);
    let plan =
        groq::Plan { replies: vec![REPLY.to_owned()], first_token: Duration::from_millis(50), ..groq::Plan::default() };
    let (_flux, _, flux_url) = flux::start(flux::Plan::default());
    let (_groq, _, groq_url) = groq::start(plan);
    let (_cartesia, _, cartesia_url) = cartesia::start(cartesia::Plan::default());
    let env = [
        ("DEEPGRAM_API_KEY", KEY.to_owned()),
        ("DEEPGRAM_BASE_URL", flux_url),
        ("GROQ_API_KEY", KEY.to_owned()),
        ("GROQ_BASE_URL", groq_url),
        ("CARTESIA_API_KEY", KEY.to_owned()),
        ("CARTESIA_BASE_URL", cartesia_url),
        ("OFFHOOK_LOG", "error".to_owned()),
        ("OFFHOOK_GREETING", String::new()),
        ("OFFHOOK_MODELS", "no-models".to_owned()),
    ];
    let (engine, server) = engine::start(&[], &env);
    let phone = Phone::call(server, Codec::Pcmu, Weather::default()).expect("an answer");
    std::thread::sleep(Duration::from_millis(500));
    let mut silenced = Vec::new();
    let speaking = |phone: &Phone| phone.last_loud().is_some_and(|at| at.elapsed() < Duration::from_millis(60));
    phone.say(&voice::speech());
    for n in 0..interruptions {
        assert!(phone.wait_until(Duration::from_secs(15), |phone| !phone.saying() && speaking(phone)), "no reply");
        std::thread::sleep(Duration::from_millis(900 + n * 13 % 40));
        phone.say(&voice::speech());
        phone.wait_until(Duration::from_secs(2), |phone| phone.first_loud_sent().is_some());
        let onset = phone.first_loud_sent().unwrap_or_else(Instant::now);
        // The reply to this turn comes no sooner than the turn's own length and the providers' delays.
        std::thread::sleep(Duration::from_millis(1100));
        let last = phone
            .heard()
            .iter()
            .rev()
            .find(|packet| packet.loud() && packet.at < onset + Duration::from_millis(1100))
            .map(|p| p.at);
        silenced.push(last.map_or(Duration::ZERO, |at| at.saturating_duration_since(onset)));
    }
    silenced.sort_unstable();
    let at = |q: f64| silenced.get(((silenced.len() as f64 - 1.0) * q).round() as usize).copied().unwrap_or_default();
    for (name, q) in [("p50", 0.5), ("p90", 0.9), ("max", 1.0)] {
        println!(
            "{name}: {:.0} ms from the caller's onset to the last packet of agent speech",
            at(q).as_secs_f64() * 1e3
        );
    }
    let mut cut = 0;
    for _ in 0..clicks {
        assert!(phone.wait_until(Duration::from_secs(15), speaking), "no reply");
        std::thread::sleep(Duration::from_millis(400));
        phone.say(&voice::click(0.06));
        std::thread::sleep(Duration::from_millis(600));
        if !speaking(&phone) {
            cut += 1;
            phone.say(&voice::speech());
        }
        if phone.quiet_for(Duration::from_millis(300)) {
            phone.say(&voice::speech());
        }
    }
    let said = engine.board().distribution(Kind::BargeIn).percentiles();
    println!("the engine says, onset to silence: {said:?}");
    println!("{cut} of {clicks} clicks of 60 ms silenced the agent");
    phone.hang_up();
    engine.stop();
}
