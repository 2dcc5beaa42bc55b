//! How late events are: from what happened on the wire to the byte that tells a follower of it.
//!
//! `cargo run --release --example events -- [TURNS] [CALLS]`: an engine in this process talks to stand-ins of the three
//! providers; telephones call it over real sockets, CALLS at a time, and note when they send and get packets, while a follower
//! of `/api/v1/events` notes when it has read each event. Prints, for each kind of event, how long it took from the packet
//! that caused it, and from the time that the event itself names; fails where one in a hundred took longer than 200 ms.
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
use offhook::control::{Bridge, server};
use phone::{Phone, Weather};
use serde_json::Value;
use standin::{cartesia, flux, groq};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What an event may take, in ms, at its 99th percentile: what a page that is looked at needs to feel live.
const LATE_MS: f64 = 200.0;
/// Silence after which a reply is over.
const QUIET: Duration = Duration::from_millis(400);

/// What is measured.
#[derive(Parser, Clone, Copy)]
struct Options {
    /// Turns of each call.
    #[arg(default_value_t = 10)]
    turns: usize,
    /// Calls at a time.
    #[arg(default_value_t = 5)]
    calls: usize,
}

/// An event as it came.
struct Told {
    at: Instant,
    /// How long before that its own time was, in ms.
    age_ms: f64,
    event: Value,
}

/// What a telephone knows.
struct Call {
    call_id: String,
    /// When the INVITE was sent, and the BYE.
    from: Instant,
    to: Instant,
    /// The first loud packet sent and the first of the reply received, of each turn.
    turns: Vec<(Instant, Instant)>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let (_flux, _, flux_url) = flux::start(flux::Plan::default());
    let groq_plan = groq::Plan { replies: vec!["Yes, we are.".to_owned()], ..groq::Plan::default() };
    let (_groq, _, groq_url) = groq::start(groq_plan);
    let (_cartesia, _, cartesia_url) = cartesia::start(cartesia::Plan::default());
    let mut env = standin::env(flux_url, groq_url, cartesia_url);
    env.extend([
        ("OFFHOOK_LOG", "error".to_owned()),
        ("OFFHOOK_GREETING", String::new()),
        // Models that are not there are not obtained: every stage has its key.
        ("OFFHOOK_MODELS", "no-models".to_owned()),
    ]);
    let (engine, sip) = engine::start(&[], &env);
    let settings = offhook::config::Control { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Default::default() };
    let mut server = server::Server::start(&settings, engine.clone()).expect("a free port");
    let at = server.local_addr();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let follower = std::thread::spawn(move || follow(at, &ready));
    is_ready.recv().expect("it follows");
    let callers: Vec<_> =
        (0..options.calls).map(|n| std::thread::spawn(move || converse(sip, options.turns, n as u64))).collect();
    let calls: Vec<Call> = callers.into_iter().map(|caller| caller.join().expect("a caller")).collect();
    std::thread::sleep(Duration::from_millis(500));
    server.stop();
    let told = follower.join().expect("a follower");
    engine.stop();
    if report(&calls, &told) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One call of so many turns.
fn converse(sip: SocketAddr, turns: usize, seed: u64) -> Call {
    let mut rng = fastrand::Rng::with_seed(seed);
    std::thread::sleep(Duration::from_millis(rng.u64(0..1_000)));
    let from = Instant::now();
    let phone = Phone::call(sip, Codec::Pcma, Weather::default()).expect("an answer");
    std::thread::sleep(Duration::from_millis(500));
    let mut times = Vec::new();
    for _ in 0..turns {
        assert!(phone.wait_until(Duration::from_secs(20), |phone| phone.quiet_for(QUIET)), "it never stops");
        // The detector lets go of the turn before within this.
        std::thread::sleep(Duration::from_millis(600 + rng.u64(0..40)));
        phone.forget();
        phone.say(&voice::sharp_speech());
        phone.wait_until(Duration::from_secs(5), |phone| !phone.saying());
        let began = phone.first_loud_sent().expect("it was loud");
        let ended = phone.last_loud_sent().expect("it was loud");
        let replied = phone.wait_until(Duration::from_secs(10), |phone| phone.first_loud_after(ended).is_some());
        let replied = phone.first_loud_after(ended).filter(|_| replied).expect("a reply");
        times.push((began, replied));
    }
    phone.wait_until(Duration::from_secs(20), |phone| phone.quiet_for(QUIET));
    let call_id = phone.call_id().to_owned();
    let to = Instant::now();
    phone.hang_up();
    Call { call_id, from, to, turns: times }
}

/// Reads events until there are no more.
fn follow(at: SocketAddr, ready: &std::sync::mpsc::Sender<()>) -> Vec<Told> {
    let mut stream = TcpStream::connect(at).expect("it listens");
    write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut told = Vec::new();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let (at, wall) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        if line.starts_with(": offhook") {
            ready.send(()).expect("somebody waits");
        }
        let Some(event) = line.strip_prefix("data: ").and_then(|data| serde_json::from_str::<Value>(data).ok()) else {
            continue;
        };
        let time = event["time"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok()).unwrap_or_default();
        let time = Duration::try_from(time.as_duration()).unwrap_or_default();
        told.push(Told { at, age_ms: (wall.as_secs_f64() - time.as_secs_f64()) * 1e3, event });
    }
    told
}

/// Prints how late each kind of event was; returns whether none of them was too late.
fn report(calls: &[Call], told: &[Told]) -> bool {
    let mut ages: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut delays: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut missing = 0;
    for one in told {
        ages.entry(one.event["type"].as_str().unwrap_or("?")).or_default().push(one.age_ms);
    }
    for call in calls {
        let of_call: Vec<&Told> = told.iter().filter(|one| one.event["call_id"] == *call.call_id).collect();
        let mut after = |name: &'static str, since: Instant, wanted: &dyn Fn(&Value) -> bool| {
            let first = of_call.iter().find(|one| one.at >= since && wanted(&one.event));
            match first {
                Some(one) => delays.entry(name).or_default().push((one.at - since).as_secs_f64() * 1e3),
                None => missing += 1,
            }
        };
        after("INVITE sent, to call.ringing", call.from, &|event| event["type"] == "call.ringing");
        after("BYE sent, to call.ended", call.to, &|event| event["type"] == "call.ended");
        for (began, replied) in &call.turns {
            after("first loud packet sent, to caller.speaking", *began, &|event| event["speaking"] == true);
            after("first packet of the reply received, to its turn", *replied, &|event| {
                event["type"] == "turn" && event["turn"]["latency_ms"].is_object()
            });
        }
    }
    println!("from the wire to the follower, in ms (the detector's own time is in that of speaking):");
    let mut is_met = missing == 0 && !calls.is_empty();
    delays.iter().for_each(|(name, values)| is_met &= line(name, values));
    println!("from the time that the event names to the follower, in ms:");
    ages.iter().for_each(|(name, values)| is_met &= line(name, values));
    println!("{missing} events did not come");
    println!("p99 of each may be {LATE_MS}: {}", if is_met { "met" } else { "NOT MET" });
    is_met
}

/// Prints one kind; returns whether it was in time.
fn line(name: &str, values: &[f64]) -> bool {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |q: f64| sorted.get(((sorted.len() as f64 - 1.0) * q).round() as usize).copied().unwrap_or(f64::NAN);
    println!("  {name}: p50 {:.1}, p99 {:.1}, max {:.1}, of {}", at(0.5), at(0.99), at(1.0), sorted.len());
    at(0.99) <= LATE_MS
}
