//! The closed budget, checked from outside: do a turn's stages add up to what an independent caller measured on the wire?
//!
//! `cargo run --release --example budget -- [TURNS] [CALLS] [--seed N] [--load]`: an engine in this process talks to stand-ins
//! of the three providers, whose delays are drawn anew for each turn; telephones call it over real sockets, in CALLS calls at a
//! time, and measure from their last packet with speech to the first packet of the reply, which the kernel dates on either
//! side. Prints how far that is from the sum of the stages that the engine tells of the same turn.
//!
//! With `--load` the same is done with everything off and with everything on (a page that polls, followers of events, and
//! recording where the engine has it), in turns, in one run: what watching costs.
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
use offhook::engine::Engine;
use offhook::metrics::{Distribution, Kind, TurnView};
use offhook::turn::timeline::{Stage, Stages};
use phone::{Phone, Weather};
use standin::{KEY, cartesia, flux, groq};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// One packet of the wire.
const SLOT_MS: f64 = 20.0;
/// How often a page that does not follow events would ask.
const POLL: Duration = Duration::from_millis(500);
/// Silence after which a reply is over.
const QUIET: Duration = Duration::from_millis(400);
/// The bars: sums against the wire at p95, for one call and for many, and what no stage explains at p99, in ms.
const ONE_CALL_MS: f64 = 1.0;
const MANY_CALLS_MS: f64 = 2.0;
const UNEXPLAINED_MS: f64 = 1.0;

/// What is measured.
#[derive(Parser, Clone, Copy)]
struct Options {
    /// Turns of all callers together.
    #[arg(default_value_t = 200)]
    turns: usize,
    /// Calls at a time.
    #[arg(default_value_t = 1)]
    calls: usize,
    /// What draws the delays.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Compares everything on with everything off.
    #[arg(long)]
    load: bool,
}

/// A turn as the caller measured it, and as the engine tells it.
struct Turn {
    wire: Duration,
    stages: Stages,
}

/// What a run came to.
#[derive(Default)]
struct Outcome {
    turns: Vec<Turn>,
    /// Calls whose turns the engine and the caller count differently.
    mismatched: usize,
    pacing: Distribution,
    own_path: Distribution,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.load {
        return compare(&options);
    }
    let outcome = measure(&options, options.seed, false);
    if report(&outcome, options.calls) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs everything off and everything on twice each, in turns, so that what else the machine does falls on both.
fn compare(options: &Options) -> ExitCode {
    let (mut off, mut on) = (Outcome::default(), Outcome::default());
    let half = Options { turns: options.turns.div_ceil(2), ..*options };
    for round in 0..2 {
        for (watched, all) in [(false, &mut off), (true, &mut on)] {
            let outcome = measure(&half, options.seed + round, watched);
            all.turns.extend(outcome.turns);
            all.mismatched += outcome.mismatched;
            all.pacing.merge(&outcome.pacing);
            all.own_path.merge(&outcome.own_path);
        }
    }
    println!("everything off:");
    let mut is_met = report(&off, options.calls);
    println!("everything on:");
    is_met &= report(&on, options.calls);
    let within = |name: &str, off: Duration, on: Duration| {
        let (off, on) = (ms(off), ms(on));
        let met = on <= off * 1.1;
        println!("{name}: off {off:.3} ms, on {on:.3} ms, {:+.1} %{}", (on / off - 1.0) * 100.0, verdict(met));
        met
    };
    is_met &= within("pacing error p99", off.pacing.quantile(0.99), on.pacing.quantile(0.99));
    is_met &= within("own path p50", off.own_path.quantile(0.5), on.own_path.quantile(0.5));
    if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Has so many turns in so many calls at a time.
fn measure(options: &Options, seed: u64, watched: bool) -> Outcome {
    let millis = Duration::from_millis;
    let rng = |n: u64| parking_lot::Mutex::new(fastrand::Rng::with_seed(seed * 2 + n));
    let (_flux, _, flux_url) = flux::start(flux::Plan {
        end_after: millis(100),
        spread: millis(300),
        eager_after: None,
        seed,
        ..flux::Plan::default()
    });
    let (_groq, _, groq_url) = groq::start(groq::Plan {
        first_token: millis(100),
        spread: millis(500),
        rng: rng(0),
        replies: vec!["Yes, we are.".to_owned()],
        ..groq::Plan::default()
    });
    let (_cartesia, _, cartesia_url) = cartesia::start(cartesia::Plan {
        first_audio: millis(40),
        spread: millis(210),
        rng: rng(1),
        ..cartesia::Plan::default()
    });
    let records = tempfile::tempdir().expect("a temporary folder");
    let key = || KEY.to_owned();
    let mut env = vec![
        ("DEEPGRAM_API_KEY", key()),
        ("DEEPGRAM_BASE_URL", flux_url),
        ("GROQ_API_KEY", key()),
        ("GROQ_BASE_URL", groq_url),
        ("CARTESIA_API_KEY", key()),
        ("CARTESIA_BASE_URL", cartesia_url),
        ("OFFHOOK_LOG", "error".to_owned()),
        ("OFFHOOK_GREETING", String::new()),
        // Models that are not there are not obtained: every stage has its key.
        ("OFFHOOK_MODELS", std::env::var("OFFHOOK_MODELS").unwrap_or_else(|_| "no-models".to_owned())),
    ];
    if watched {
        env.push(("OFFHOOK_RECORDS", records.path().display().to_string()));
    }
    let (engine, sip) = engine::start(&[], &env);
    let watchers = watched.then(|| Watchers::start(&engine));
    let share = options.turns.div_ceil(options.calls);
    let callers: Vec<_> =
        (0..options.calls).map(|n| std::thread::spawn(move || converse(sip, share, seed * 1_000 + n as u64))).collect();
    let mut outcome = Outcome::default();
    for caller in callers {
        let Ok((call_id, wires)) = caller.join() else {
            outcome.mismatched += 1;
            continue;
        };
        let view = engine.board().find(&call_id, engine.now()).expect("the call is one of the last hundred");
        let is_reply = |turn: &TurnView| !turn.record.caller.is_empty();
        let told: Vec<Stages> =
            view.turns.iter().filter(|turn| is_reply(turn)).filter_map(|turn| turn.latency).collect();
        if told.len() != wires.len() {
            println!("{call_id}: the engine tells of {} turns, the caller of {}", told.len(), wires.len());
            outcome.mismatched += 1;
            continue;
        }
        outcome.turns.extend(wires.into_iter().zip(told).map(|(wire, stages)| Turn { wire, stages }));
    }
    outcome.pacing = engine.board().distribution(Kind::PacingError);
    outcome.own_path = engine.board().distribution(Kind::OwnPath);
    if let Some(watchers) = watchers {
        watchers.stop();
    }
    engine.stop();
    outcome
}

/// One call of so many turns; returns its Call-ID, and what each turn took on the wire.
fn converse(sip: SocketAddr, turns: usize, seed: u64) -> (String, Vec<Duration>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    // Calls that begin in the same moment would speak in the same moment for ever.
    std::thread::sleep(Duration::from_millis(rng.u64(0..1_000)));
    let phone = Phone::call(sip, Codec::Pcma, Weather::default()).expect("an answer");
    std::thread::sleep(Duration::from_millis(500));
    let mut wires = Vec::with_capacity(turns);
    for turn in 0..turns {
        assert!(phone.wait_until(Duration::from_secs(20), |phone| phone.quiet_for(QUIET)), "it never stops");
        phone.forget();
        // Turns begin anywhere within a slot of the engine's clock.
        std::thread::sleep(Duration::from_millis(50 + rng.u64(0..40)));
        phone.say(&voice::sharp_speech());
        phone.wait_until(Duration::from_secs(5), |phone| !phone.saying());
        std::thread::sleep(Duration::from_millis(25));
        let ended = phone.last_loud_sent().expect("it was loud");
        let replied = phone.wait_until(Duration::from_secs(10), |phone| phone.first_loud_after(ended).is_some());
        let replied = phone.first_loud_after(ended).filter(|_| replied);
        wires.push(replied.unwrap_or_else(|| panic!("turn {turn}: no reply")) - ended);
    }
    phone.wait_until(Duration::from_secs(20), |phone| phone.quiet_for(QUIET));
    let call_id = phone.call_id().to_owned();
    phone.hang_up();
    std::thread::sleep(Duration::from_millis(300));
    (call_id, wires)
}

/// Whoever looks on: a page that follows events, another follower, and a client that polls.
struct Watchers {
    server: server::Server,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Watchers {
    fn start(engine: &Arc<Engine>) -> Self {
        let settings = offhook::config::Control { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Default::default() };
        let server = server::Server::start(&settings, engine.clone()).expect("a free port");
        let (at, stop) = (server.local_addr(), Arc::new(AtomicBool::new(false)));
        let mut threads = Vec::new();
        for _ in 0..2 {
            let stop = stop.clone();
            threads.push(std::thread::spawn(move || follow(at, &stop)));
        }
        let stopped = stop.clone();
        threads.push(std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                for path in ["/api/v1/sip/status", "/api/v1/sip/calls", "/metrics"] {
                    fetch(at, path);
                }
                std::thread::sleep(POLL);
            }
        }));
        Self { server, stop, threads }
    }

    fn stop(mut self) {
        self.stop.store(true, Ordering::Release);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
        self.server.stop();
    }
}

fn ask(at: SocketAddr, path: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").ok()?;
    Some(stream)
}

fn fetch(at: SocketAddr, path: &str) {
    let mut body = Vec::new();
    if let Some(mut stream) = ask(at, path) {
        let _ = stream.read_to_end(&mut body);
    }
    assert!(body.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&body));
}

/// Reads events until it is over.
fn follow(at: SocketAddr, stop: &AtomicBool) {
    let mut stream = ask(at, "/api/v1/events").expect("events");
    let mut bytes = [0; 8192];
    while !stop.load(Ordering::Acquire) {
        if matches!(stream.read(&mut bytes), Ok(0)) {
            return;
        }
    }
}

/// Prints how the stages and the wire agree; returns whether all bars are met.
fn report(outcome: &Outcome, calls: usize) -> bool {
    let turns = &outcome.turns;
    let apart: Vec<f64> = turns.iter().map(|turn| ms(turn.stages.total()) - ms(turn.wire)).collect();
    let mut signed = apart.clone();
    signed.sort_by(f64::total_cmp);
    let slots = apart.iter().filter(|apart| apart.abs() > SLOT_MS / 2.0).count();
    println!("{} turns in {calls} calls at a time, {} calls mismatched", turns.len(), outcome.mismatched);
    println!("the caller counts another packet as its last with speech: {slots} turns");
    let median = signed.get(signed.len() / 2).copied().unwrap_or(f64::NAN);
    println!("sum of stages - wire, signed: p50 {median:+.3} ms");
    let bar = if calls > 1 { MANY_CALLS_MS } else { ONE_CALL_MS };
    let apart = quantiles(apart.iter().map(|apart| apart.abs()));
    let is_close = apart[1] <= bar;
    print_quantiles("|sum of stages - wire|", &apart, &verdict_at("p95", bar, is_close));
    let unexplained = quantiles(turns.iter().map(|turn| ms(turn.stages.get(Stage::Unexplained))));
    let is_explained = unexplained[2] <= UNEXPLAINED_MS;
    print_quantiles("unexplained", &unexplained, &verdict_at("p99", UNEXPLAINED_MS, is_explained));
    print_quantiles("own path", &quantiles(turns.iter().map(|turn| ms(turn.stages.own_path()))), "");
    for stage in [Stage::Ingress, Stage::Decision, Stage::Clause, Stage::Egress] {
        print_quantiles(stage.name(), &quantiles(turns.iter().map(|turn| ms(turn.stages.get(stage)))), "");
    }
    print_quantiles("wire", &quantiles(turns.iter().map(|turn| ms(turn.wire))), "");
    let pacing = outcome.pacing.percentiles();
    println!(
        "pacing error: p50 {:.3}, p99 {:.3}, max {:.3} ms, of {}",
        pacing.p50, pacing.p99, pacing.max, pacing.count
    );
    is_close && is_explained && outcome.mismatched == 0 && !turns.is_empty()
}

/// Returns p50, p95, p99 and the largest of `values`.
fn quantiles(values: impl Iterator<Item = f64>) -> [f64; 4] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |q: f64| values.get(((values.len() as f64 - 1.0) * q).round() as usize).copied().unwrap_or(f64::NAN);
    [0.5, 0.95, 0.99, 1.0].map(at)
}

fn print_quantiles(what: &str, [p50, p95, p99, max]: &[f64; 4], verdict: &str) {
    println!("{what}: p50 {p50:.3}, p95 {p95:.3}, p99 {p99:.3}, max {max:.3} ms{verdict}");
}

fn verdict_at(quantile: &str, bar: f64, met: bool) -> String {
    format!("; {quantile} may be {bar}{}", verdict(met))
}

const fn verdict(met: bool) -> &'static str {
    if met { ": met" } else { ": NOT MET" }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
