//! How long a caller waits: from the last packet with speech to the first packet of the reply, measured by the caller.
//!
//! `cargo run --release --example mouth_to_ear -- [TURNS] [STT LLM TTS delays in ms]`: an engine in this process talks to
//! stand-ins of the three providers, whose delays are programmed; a telephone in this process calls it over real sockets. What
//! is above the sum of the delays is the engine's own, with the stand-ins' lateness in it. Prints percentiles, and
//! beside them what the engine itself says of the same turns.
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
use offhook::turn::timeline::Stage;
use phone::{Phone, Weather};
use standin::{KEY, cartesia, flux, groq};
use std::time::Duration;

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let turns = numbers.first().copied().unwrap_or(50);
    let delay = |at: usize, default: u64| Duration::from_millis(numbers.get(at).copied().unwrap_or(default));
    let (stt, llm, tts) = (delay(1, 200), delay(2, 300), delay(3, 90));
    let programmed = stt + llm + tts;
    let (_flux, _, flux_url) = flux::start(flux::Plan { end_after: stt, ..flux::Plan::default() });
    let (_groq, _, groq_url) = groq::start(groq::Plan { first_token: llm, ..groq::Plan::default() });
    let (_cartesia, _, cartesia_url) =
        cartesia::start(cartesia::Plan { first_audio: tts, ..cartesia::Plan::default() });
    let key = || KEY.to_owned();
    let env = [
        ("DEEPGRAM_API_KEY", key()),
        ("DEEPGRAM_BASE_URL", flux_url),
        ("GROQ_API_KEY", key()),
        ("GROQ_BASE_URL", groq_url),
        ("CARTESIA_API_KEY", key()),
        ("CARTESIA_BASE_URL", cartesia_url),
        ("OFFHOOK_LOG", "error".to_owned()),
        // Models that are not there are not obtained: every stage has its key.
        ("OFFHOOK_MODELS", std::env::var("OFFHOOK_MODELS").unwrap_or_else(|_| "no-models".to_owned())),
    ];
    let (engine, server) = engine::start(&[], &env);
    let phone = Phone::call(server, Codec::Pcma, Weather::default()).expect("an answer");
    assert!(phone.wait_until(Duration::from_secs(5), |phone| phone.last_loud().is_some()), "no greeting");
    let greeting = phone.first_loud_after(phone.answered_at).map(|at| at - phone.answered_at);
    println!("answered after {:?}, greeting heard {greeting:?} after the answer", phone.answered_after);
    let mut totals = Vec::new();
    for turn in 0..turns {
        assert!(
            phone.wait_until(Duration::from_secs(20), |phone| phone.quiet_for(Duration::from_millis(400))),
            "it never stops"
        );
        // Turns begin anywhere within a slot of the engine's clock.
        std::thread::sleep(Duration::from_millis(50 + turn * 7 % 40));
        phone.say(&voice::speech());
        phone.wait_until(Duration::from_secs(5), |phone| !phone.saying());
        std::thread::sleep(Duration::from_millis(25));
        let ended = phone.last_loud_sent().expect("it was loud");
        let replied = phone.wait_until(Duration::from_secs(10), |phone| phone.first_loud_after(ended).is_some());
        match phone.first_loud_after(ended).filter(|_| replied) {
            Some(at) => totals.push(at - ended),
            None => println!("turn {turn}: no reply"),
        }
    }
    let call_id = phone.call_id().to_owned();
    phone.hang_up();
    std::thread::sleep(Duration::from_millis(300));
    totals.sort_unstable();
    let at = |q: f64| totals.get(((totals.len() as f64 - 1.0) * q).round() as usize).copied().unwrap_or_default();
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    println!("{} turns of {turns} answered; programmed {:.0} ms", totals.len(), ms(programmed));
    for (name, q) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)] {
        println!(
            "{name}: last speech packet to first reply packet {:.1} ms, above the programmed {:.1} ms",
            ms(at(q)),
            ms(at(q)) - ms(programmed)
        );
    }
    if let Some(view) = engine.board().find(&call_id, engine.now()) {
        println!("pacing error: {:?}", view.pacing_error);
    }
    let kinds = Stage::ALL.map(|stage| (stage.name(), Kind::Stage(stage)));
    for (name, kind) in kinds.into_iter().chain([("own path", Kind::OwnPath), ("turn", Kind::Turn)]) {
        println!("the engine says, {name}: {:?}", engine.board().distribution(kind).percentiles());
    }
    engine.stop();
}
