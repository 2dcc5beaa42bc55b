//! The closed budget, checked from outside: do a turn's stages add up to what an independent caller measured on the wire?
//!
//! `cargo run --release --example budget -- [TURNS] [CALLS] [--seed N] [--load]`: an engine in this process talks to stand-ins
//! of the three providers, whose delays are drawn anew for each turn; telephones call it over real sockets, in CALLS calls at a
//! time, and measure from their last packet with speech to the first packet of the reply, which the kernel dates on either
//! side. Prints how far that is from the sum of the stages that the engine tells of the same turn.
//!
//! With `--load` the same is done with everything off and with everything on, in turns, in one run: what watching costs. On are the
//! page in a headless Chromium, followers of events, a client that polls, and recording; that each of them was is checked. The
//! browser runs on the engine's machine and takes its share of it, which is told.
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
use standin::{cartesia, flux, groq};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
/// Bytes before the sound in a recording, of two channels with 16 bits each.
const WAV_HEADER: usize = 44;
/// By how much a recording may be longer or shorter than its call.
const RECORDING_SHORT_MAX: Duration = Duration::from_millis(1_000);

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
    /// How often it goes from off to on in that.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
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
    /// How much of the machine was busy, 0.0 to 1.0, in each of its runs.
    busy: Vec<f64>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.load {
        return compare(&options);
    }
    let outcome = measure(&options, options.seed, false);
    if report(&outcome, options.calls) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs everything off and everything on some times each, in turns, so that what else the machine does falls on both.
fn compare(options: &Options) -> ExitCode {
    let (mut off, mut on) = (Outcome::default(), Outcome::default());
    let slice = Options { turns: options.turns.div_ceil(options.rounds.max(1)), ..*options };
    for round in 0..options.rounds as u64 {
        for (watched, all) in [(false, &mut off), (true, &mut on)] {
            let outcome = measure(&slice, options.seed + round, watched);
            all.turns.extend(outcome.turns);
            all.mismatched += outcome.mismatched;
            all.pacing.merge(&outcome.pacing);
            all.own_path.merge(&outcome.own_path);
            all.busy.extend(outcome.busy);
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
    let mut env = standin::env(flux_url, groq_url, cartesia_url);
    env.extend([
        ("OFFHOOK_LOG", "error".to_owned()),
        ("OFFHOOK_GREETING", String::new()),
        // Models that are not there are not obtained: every stage has its key.
        ("OFFHOOK_MODELS", std::env::var("OFFHOOK_MODELS").unwrap_or_else(|_| "no-models".to_owned())),
    ]);
    if watched {
        env.push(("OFFHOOK_RECORDS", records.path().display().to_string()));
    }
    let (engine, sip) = engine::start(&[], &env);
    let watchers = watched.then(|| Watchers::start(&engine));
    let before = jiffies();
    let share = options.turns.div_ceil(options.calls);
    let callers: Vec<_> =
        (0..options.calls).map(|n| std::thread::spawn(move || converse(sip, share, seed * 1_000 + n as u64))).collect();
    let mut outcome = Outcome::default();
    let mut lengths = Vec::new();
    for caller in callers {
        let Ok((call_id, wires, length)) = caller.join() else {
            outcome.mismatched += 1;
            continue;
        };
        lengths.push(length);
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
    let after = jiffies();
    outcome.busy.push(1.0 - (after.idle - before.idle) / (after.all - before.all).max(1.0));
    if let Some(watchers) = watchers {
        watchers.stop(lengths.len());
    }
    engine.stop();
    if watched {
        assert_recorded(records.path(), lengths);
    }
    outcome
}

/// One call of so many turns; returns its Call-ID, what each turn took on the wire, and how long it was.
fn converse(sip: SocketAddr, turns: usize, seed: u64) -> (String, Vec<Duration>, Duration) {
    let mut rng = fastrand::Rng::with_seed(seed);
    // Calls that begin in the same moment would speak in the same moment for ever.
    std::thread::sleep(Duration::from_millis(rng.u64(0..1_000)));
    let phone = Phone::call(sip, Codec::Pcma, Weather::default()).expect("an answer");
    let answered = Instant::now();
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
    let length = answered.elapsed();
    std::thread::sleep(Duration::from_millis(300));
    (call_id, wires, length)
}

/// Time that the machine's processors have had, and how much of it they were idle.
struct Jiffies {
    all: f64,
    idle: f64,
}

/// Reads them; nothing where the system does not tell.
fn jiffies() -> Jiffies {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let figures = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let figures: Vec<f64> = figures.filter_map(|figure| figure.parse().ok()).take(8).collect();
    Jiffies { all: figures.iter().sum(), idle: figures.iter().skip(3).take(2).sum() }
}

/// Makes certain that there is a recording of each call, as long as it was.
fn assert_recorded(folder: &Path, mut calls: Vec<Duration>) {
    let (mut folders, mut recordings) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "wav") {
                let wav = std::fs::read(entry).expect("a recording");
                let rate = u32::from_le_bytes(wav[24..28].try_into().expect("four bytes"));
                recordings.push(Duration::from_secs_f64((wav.len() - WAV_HEADER) as f64 / 4.0 / f64::from(rate)));
            }
        }
    }
    calls.sort_unstable();
    recordings.sort_unstable();
    assert_eq!(recordings.len(), calls.len(), "each call is recorded");
    for (recording, call) in recordings.iter().zip(&calls) {
        assert!(recording.abs_diff(*call) <= RECORDING_SHORT_MAX, "{recording:?} are recorded of {call:?}");
    }
    let length: Duration = recordings.iter().sum();
    println!("recorded: {} calls, {:.0} s in all", recordings.len(), length.as_secs_f64());
}

/// The page in a browser without a window.
struct Page {
    process: Child,
    stdin: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Page {
    /// Opens the page at `at`; `None`, said aloud, where there is no browser.
    fn open(at: SocketAddr) -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let browser =
            std::env::split_paths(&path).map(|folder| folder.join("chromium")).find(|program| program.exists());
        let Some(browser) = browser else {
            println!("NO BROWSER: there is no Chromium; what the page asks for is asked by a client without a screen");
            return None;
        };
        let mut command = Command::new("python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/browser.py")).arg(browser);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python runs");
        let stdin = process.stdin.take().expect("it is piped");
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut page = Self { process, stdin, answers };
        page.answer();
        page.ask(&serde_json::json!({"size": 1280}));
        page.ask(&serde_json::json!({"goto": format!("http://{at}/")}));
        while page.eval("document.getElementById('where')?.dataset.state") != "running" {
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(page)
    }

    fn answer(&mut self) -> serde_json::Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).expect("JSON")
    }

    fn ask(&mut self, command: &serde_json::Value) -> serde_json::Value {
        writeln!(self.stdin, "{command}").expect("it reads");
        self.answer()["value"].clone()
    }

    fn eval(&mut self, script: &str) -> serde_json::Value {
        self.ask(&serde_json::json!({"eval": script}))
    }

    /// Makes certain that it has shown `calls` calls to their ends without a complaint, and closes it.
    fn close(mut self, calls: usize) {
        let shown = self.eval("document.querySelectorAll('#past [data-call]').length");
        let errors = self.ask(&serde_json::json!({"errors": 1}));
        drop(self.stdin);
        let _ = self.process.wait();
        assert!(shown.as_u64().is_some_and(|shown| shown >= calls as u64), "the page shows {shown} of {calls} calls");
        assert_eq!(errors, serde_json::json!([]), "the page complains");
        println!("the page in Chromium showed {shown} calls to their ends");
    }
}

/// Whoever looks on: a page, followers of events, and a client that polls.
struct Watchers {
    server: server::Server,
    page: Option<Page>,
    stop: Arc<AtomicBool>,
    followers: Vec<JoinHandle<usize>>,
    poller: JoinHandle<()>,
}

impl Watchers {
    fn start(engine: &Arc<Engine>) -> Self {
        let settings = offhook::config::Control { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Default::default() };
        let server = server::Server::start(&settings, engine.clone()).expect("a free port");
        let (at, stop) = (server.local_addr(), Arc::new(AtomicBool::new(false)));
        let page = Page::open(at);
        let follower = |_| {
            let stop = stop.clone();
            std::thread::spawn(move || follow(at, &stop))
        };
        let followers = (0..2).map(follower).collect();
        let stopped = stop.clone();
        let poller = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                for path in ["/api/v1/sip/status", "/api/v1/sip/calls", "/metrics"] {
                    fetch(at, path);
                }
                std::thread::sleep(POLL);
            }
        });
        Self { server, page, stop, followers, poller }
    }

    /// Ends them all once they have seen so many calls.
    fn stop(mut self, calls: usize) {
        self.stop.store(true, Ordering::Release);
        let events: Vec<usize> =
            self.followers.into_iter().map(|follower| follower.join().expect("it follows")).collect();
        assert!(events.iter().all(|events| *events > 10 * calls), "the followers have read {events:?} events");
        println!("events: the followers have read {events:?}");
        self.poller.join().expect("every answer was 200");
        if let Some(page) = self.page {
            page.close(calls);
        }
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

/// Reads events until it is over; returns how many.
fn follow(at: SocketAddr, stop: &AtomicBool) -> usize {
    let mut stream = ask(at, "/api/v1/events").expect("events");
    let (mut bytes, mut events) = ([0; 8192], 0);
    while !stop.load(Ordering::Acquire) {
        match stream.read(&mut bytes) {
            Ok(0) => break,
            // Each ends with an empty line.
            Ok(len) => events += bytes[..len].windows(2).filter(|pair| *pair == b"\n\n").count(),
            Err(_) => {}
        }
    }
    events
}

/// Prints how the stages and the wire agree; returns whether all bars are met.
fn report(outcome: &Outcome, calls: usize) -> bool {
    let turns = &outcome.turns;
    let apart: Vec<f64> = turns.iter().map(|turn| ms(turn.stages.total()) - ms(turn.wire)).collect();
    let mut signed = apart.clone();
    signed.sort_by(f64::total_cmp);
    let slots = apart.iter().filter(|apart| apart.abs() > SLOT_MS / 2.0).count();
    let busy = outcome.busy.iter().sum::<f64>() / outcome.busy.len().max(1) as f64;
    println!("the machine was busy for {:.0} % of the time", busy * 100.0);
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
