//! How long a caller waits: from the last packet with speech to the first packet of the reply, measured by the caller.
//!
//! `cargo run --release --example mouth_to_ear -- [TURNS] [STT LLM TTS delays in ms] [--eager MS] [--misses SHARE]`: an
//! engine in this process talks to stand-ins of the three providers, whose delays are programmed; a telephone in this process
//! calls it over real sockets. What is above the sum of the delays is the engine's own, with the stand-ins' lateness in it.
//! Prints percentiles, and beside them what the engine itself says of the same turns.
//!
//! With `--eager` the recogniser ends turns eagerly so long after the last speech, and a share of that wrongly (0.2 by
//! default): turns whose draft was kept and turns whose draft was thrown away are reported apart, and half as many turns
//! without eager ends beside them.
#![expect(clippy::disallowed_methods, reason = "a measurement lives in real time")]

#[path = "../tests/support/engine.rs"]
mod engine;
#[path = "../tests/support/phone.rs"]
mod phone;
#[path = "../tests/standin/mod.rs"]
mod standin;
#[path = "../tests/support/voice.rs"]
mod voice;

use clap::Parser;
use offhook::audio::g711::Codec;
use offhook::control::Bridge;
use offhook::metrics::{Kind, TurnView};
use offhook::turn::timeline::Stage;
use phone::{Phone, Weather};
use standin::{cartesia, flux, groq};
use std::time::Duration;

/// What is measured.
#[derive(Parser, Clone, Copy)]
struct Options {
    /// Turns of the caller.
    #[arg(default_value_t = 50)]
    turns: u64,
    /// From the caller's last speech to the end of turn, in milliseconds.
    #[arg(default_value_t = 200)]
    stt: u64,
    /// From a request to the first token, in milliseconds.
    #[arg(default_value_t = 300)]
    llm: u64,
    /// From a text to its first audio, in milliseconds.
    #[arg(default_value_t = 90)]
    tts: u64,
    /// From the caller's last speech to the eager end of turn, in milliseconds.
    #[arg(long)]
    eager: Option<u64>,
    /// The share of eager ends that are wrong.
    #[arg(long, default_value_t = 0.2)]
    misses: f64,
}

/// A turn as the caller measured it, and as the engine did.
struct Turn {
    total: Duration,
    view: TurnView,
}

fn main() {
    let options = Options::parse();
    let sure = options.stt + options.llm + options.tts;
    let Some(eager) = options.eager else {
        let turns = measure(&options);
        report("all turns", turns.iter().map(|turn| turn.total), sure);
        return;
    };
    let turns = measure(&options);
    let outcome = |name: &'static str| turns.iter().filter(move |turn| turn.view.speculation.name() == name);
    // A draft is there with the turn's end at the earliest.
    let drafted = options.stt.max(eager + options.llm + options.tts);
    report("turns whose draft was kept", outcome("hit").map(|turn| turn.total), drafted);
    report("turns whose draft was thrown away", outcome("miss").map(|turn| turn.total), sure);
    report("turns without a draft", outcome("none").map(|turn| turn.total), sure);
    report("all turns", turns.iter().map(|turn| turn.total), drafted);
    let saved = outcome("hit").map(|turn| turn.view.speculation.saved()).max().unwrap_or_default();
    println!("saved by a kept draft: at most {:.1} ms", ms(saved));
    let waited = |turn: &Turn| {
        let stages = turn.view.latency?;
        let made_after_the_end = stages.get(Stage::Llm) + stages.get(Stage::Clause) + stages.get(Stage::Tts);
        made_after_the_end.is_zero().then(|| stages.get(Stage::Egress))
    };
    if let Some(most) = outcome("hit").filter_map(waited).max() {
        println!("ready before the end of turn: from its event to the first packet at most {:.1} ms", ms(most));
    }
    let without = measure(&Options { turns: options.turns / 2, eager: None, ..options });
    report("no eager ends at all", without.iter().map(|turn| turn.total), sure);
}

/// Has a call of so many turns; prints what the engine says of it.
fn measure(options: &Options) -> Vec<Turn> {
    let millis = Duration::from_millis;
    let (_flux, _, flux_url) = flux::start(flux::Plan {
        end_after: millis(options.stt),
        eager_after: options.eager.map(millis),
        misses: options.misses,
        // Of the first turns no more are wrong than of all: a call that begins with wrong ones may not afford drafts for a while.
        seed: 1,
        ..flux::Plan::default()
    });
    let (_groq, _, groq_url) = groq::start(groq::Plan { first_token: millis(options.llm), ..groq::Plan::default() });
    let (_cartesia, _, cartesia_url) =
        cartesia::start(cartesia::Plan { first_audio: millis(options.tts), ..cartesia::Plan::default() });
    let mut env = standin::env(flux_url, groq_url, cartesia_url);
    env.extend([
        ("OFFHOOK_LOG", "error".to_owned()),
        // Models that are not there are not obtained: every stage has its key.
        ("OFFHOOK_MODELS", std::env::var("OFFHOOK_MODELS").unwrap_or_else(|_| "no-models".to_owned())),
    ]);
    let (engine, server) = engine::start(&[], &env);
    let phone = Phone::call(server, Codec::Pcma, Weather::default()).expect("an answer");
    assert!(phone.wait_until(Duration::from_secs(5), |phone| phone.last_loud().is_some()), "no greeting");
    let greeting = phone.first_loud_after(phone.answered_at).map(|at| at - phone.answered_at);
    println!("answered after {:?}, greeting heard {greeting:?} after the answer", phone.answered_after);
    let mut totals = Vec::new();
    for turn in 0..options.turns {
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
            None => panic!("turn {turn}: no reply"),
        }
    }
    let call_id = phone.call_id().to_owned();
    phone.hang_up();
    std::thread::sleep(Duration::from_millis(300));
    let view = engine.board().find(&call_id, engine.now()).expect("the call is one of the last hundred");
    println!("pacing error: {:?}", view.pacing_error);
    let kinds = Stage::ALL.map(|stage| (stage.name(), Kind::Stage(stage)));
    let sums = [("own path", Kind::OwnPath), ("turn", Kind::Turn), ("saved", Kind::SpeculationSaved)];
    for (name, kind) in kinds.into_iter().chain(sums) {
        println!("the engine says, {name}: {:?}", engine.board().distribution(kind).percentiles());
    }
    for (counter, count) in engine.board().counters() {
        if counter.name.starts_with("speculation") {
            println!("the engine says, {}: {count}", counter.name);
        }
    }
    engine.stop();
    // The caller's turns in their order are those that the engine answered.
    let answered: Vec<TurnView> = view.turns.into_iter().filter(|turn| !turn.record.caller.is_empty()).collect();
    assert_eq!(answered.len(), totals.len(), "the engine and the caller disagree on the turns");
    totals.into_iter().zip(answered).map(|(total, view)| Turn { total, view }).collect()
}

/// Prints percentiles of `totals`, of which `programmed` ms are the providers' own.
fn report(what: &str, totals: impl Iterator<Item = Duration>, programmed: u64) {
    let mut totals: Vec<Duration> = totals.collect();
    totals.sort_unstable();
    println!("{what}: {}, programmed {programmed} ms", totals.len());
    let at = |q: f64| totals.get(((totals.len() as f64 - 1.0) * q).round() as usize).copied();
    for (name, q) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)] {
        let Some(total) = at(q) else { return };
        println!(
            "{name}: last speech packet to first reply packet {:.1} ms, above the programmed {:.1} ms",
            ms(total),
            ms(total) - programmed as f64
        );
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
