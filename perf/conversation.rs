//! A caller talks with the local agent, over G.711 and real RTP: what was heard and said, and how long the replies took.
//!
//! `cargo run --release --example conversation -- [--calls N] [--wav DIR] [--config FILE]`: an engine in this process,
//! telephones in this process, the caller's lines spoken by the local voice. Latency is measured by the telephone, from its
//! last packet with speech to the first packet of the reply. Prints each call's turns as the control API has them,
//! percentiles, CPU time and memory.
#![allow(clippy::disallowed_methods, reason = "a measurement lives in real time")]

#[path = "../tests/support/engine.rs"]
mod engine;
#[path = "../tests/support/phone.rs"]
mod phone;

use clap::Parser;
use offhook::audio::g711::Codec;
use offhook::config::Providers;
use offhook::control::Bridge;
use offhook::engine::affinity;
use offhook::providers::Speaker;
use offhook::providers::local::voice::HibariVoice;
use phone::{Phone, Weather};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Parser)]
struct Options {
    /// Calls at once.
    #[arg(long, default_value_t = 1)]
    calls: usize,
    /// Keep what each caller heard here.
    #[arg(long)]
    wav: Option<PathBuf>,
    /// Packets lost on the caller's way, of 1000.
    #[arg(long, default_value_t = 0)]
    loss: u32,
    /// Largest delay added to a packet, in milliseconds.
    #[arg(long, default_value_t = 0)]
    jitter_ms: u64,
    /// Packets overtaken by the next, of 1000.
    #[arg(long, default_value_t = 0)]
    reorder: u32,
    /// The engine's `offhook.toml`.
    #[arg(long)]
    config: Option<PathBuf>,
}

/// What the caller says, one line a turn.
const LINES: [&str; 8] = [
    "Hi, who am I talking to?",
    "What can you do for me?",
    "How are you today?",
    "Can I leave a message, please?",
    "My name is Anna Miller.",
    "My number is five five five, two seven one, eight three four six.",
    "Please call me back tomorrow morning.",
    "Thank you very much, goodbye.",
];

fn main() {
    let options = Options::parse();
    let models = std::env::var("OFFHOOK_MODELS").map_or_else(|_| Providers::default().models, PathBuf::from);
    let voice = HibariVoice::new(&models);
    let lines: Vec<Vec<i16>> = LINES.iter().map(|line| voice.render(line).expect("the local models")).collect();
    let env = [("OFFHOOK_MODELS", models.to_string_lossy().into_owned()), ("OFFHOOK_LOG", "warn".to_owned())];
    let config = options.config.as_ref().map(|path| path.canonicalize().expect("the file is there"));
    let config = config.as_ref().map(|path| path.to_string_lossy());
    let args: Vec<&str> = config.iter().flat_map(|path| ["--config", path]).collect();
    let (engine, server) = engine::start(&args, &env);
    std::thread::sleep(Duration::from_secs(2));
    let before = affinity::usage();
    let began = std::time::Instant::now();
    let weather = Weather {
        loss: options.loss,
        jitter: Duration::from_millis(options.jitter_ms),
        reorder: options.reorder,
        seed: 7,
    };
    let callers: Vec<_> = (0..options.calls)
        .map(|n| {
            let (lines, wav) = (lines.clone(), options.wav.clone());
            std::thread::spawn(move || {
                // Callers do not speak in step.
                std::thread::sleep(Duration::from_millis(700 * n as u64));
                call(n, server, &lines, weather, wav.as_deref())
            })
        })
        .collect();
    let mut totals = Vec::new();
    let mut ids = Vec::new();
    for caller in callers {
        let (id, latencies) = caller.join().expect("a caller");
        ids.push(id);
        totals.extend(latencies);
    }
    let elapsed = began.elapsed();
    let after = affinity::usage();
    std::thread::sleep(Duration::from_millis(500));
    for id in ids {
        let Some(view) = engine.board().find(&id, engine.now()) else { continue };
        for turn in &view.turns {
            let record = &turn.record;
            println!("{:>2} caller: {}", record.turn.number(), record.caller);
            println!("   agent:  {}{}", record.agent, if record.interrupted { " [cut]" } else { "" });
            if let Some(latency) = &turn.latency {
                println!("   {latency:?} {:?}", turn.speculation);
            }
        }
        println!("   {:?} {:?}", view.quality, view.ended);
    }
    totals.sort_unstable();
    let at = |q: f64| totals.get(((totals.len() as f64 - 1.0) * q).round() as usize).copied().unwrap_or_default();
    let asked = LINES.len() * options.calls;
    println!("{} of {asked} lines were answered", totals.len());
    for (name, q) in [("p50", 0.5), ("p90", 0.9), ("max", 1.0)] {
        println!("{name}: {:.0} ms from the last speech packet to the first reply packet", at(q).as_secs_f64() * 1e3);
    }
    let cpu = (after.cpu_us - before.cpu_us) as f64 / 1e6;
    println!(
        "{cpu:.1} s of CPU in {:.1} s: {:.2} of a core per call, telephones included; {} MiB resident at most",
        elapsed.as_secs_f64(),
        cpu / elapsed.as_secs_f64() / options.calls as f64,
        after.resident_max_bytes >> 20
    );
    engine.stop();
}

/// Says all lines, each when the agent has finished, and returns how long each reply took.
fn call(
    n: usize,
    server: SocketAddr,
    lines: &[Vec<i16>],
    weather: Weather,
    wav: Option<&Path>,
) -> (String, Vec<Duration>) {
    let phone = Phone::call(server, Codec::Pcma, weather).expect("an answer");
    phone.wait_until(Duration::from_secs(5), |phone| phone.last_loud().is_some());
    let mut latencies = Vec::new();
    for line in lines {
        phone.wait_until(Duration::from_secs(30), |phone| {
            phone.quiet_for(Duration::from_millis(900)) || phone.hung_up()
        });
        phone.say(line);
        phone.wait_until(Duration::from_secs(20), |phone| !phone.saying());
        std::thread::sleep(Duration::from_millis(40));
        let Some(ended) = phone.last_loud_sent() else { continue };
        if phone.wait_until(Duration::from_secs(6), |phone| phone.first_loud_after(ended).is_some())
            && let Some(at) = phone.first_loud_after(ended)
        {
            latencies.push(at - ended);
        }
    }
    phone.wait_until(Duration::from_secs(10), Phone::hung_up);
    println!("call {n}: {}", if phone.hung_up() { "the agent hung up" } else { "the agent did not hang up" });
    if let Some(dir) = wav {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut wav = hound::WavWriter::create(dir.join(format!("heard-{n}.wav")), spec).expect("a folder");
        phone.recording().into_iter().for_each(|sample| wav.write_sample(sample).expect("a disk"));
        wav.finalize().expect("a disk");
    }
    let id = phone.call_id().to_owned();
    phone.hang_up();
    (id, latencies)
}
