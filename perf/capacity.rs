//! Calls per core: what a call costs this engine while caller and agent talk, and how well the calls are served meanwhile.
//!
//! `cargo run --release --example capacity -- [CALLS...] [--seconds N]`: an engine in this process talks to stand-ins of the three
//! providers at 200 + 300 + 90 ms; so many telephones at a time call it over real sockets and take turns with it. The
//! kernel's account of each thread tells what the engine's own take, and what telephones and stand-ins do, who have the same
//! cores: where all three fill them, the calls are not served well for want of a second machine. The connections to the
//! stand-ins are not encrypted, as those to providers are.
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
use offhook::metrics::Kind;
use offhook::turn::timeline::Stage;
use phone::{Phone, Weather};
use standin::{cartesia, flux, groq};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Silence after which a reply is over.
const QUIET: Duration = Duration::from_millis(400);
/// From the last call's answer to the beginning of the measurement: greetings are over, and turns no longer in step.
const SETTLE: Duration = Duration::from_secs(5);
/// A clock tick of the kernel's accounts: `USER_HZ` is 100 on every Linux.
const TICK: Duration = Duration::from_millis(10);
/// The role of telephones and stand-ins, whose threads are this program's own or have names of theirs.
const OTHERS: &str = "standin";
/// Bars: of a packet's distance from its slot at p99, and of the own path.
const PACING_MS: f64 = 5.0;
const OWN_PATH_P99_MS: f64 = 20.0;

/// What is measured.
#[derive(Parser)]
struct Options {
    /// Calls at a time, each in a run of its own.
    #[arg(default_values_t = [1, 25, 50, 75])]
    calls: Vec<usize>,
    /// How long each run is measured.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!("{cores} cores; what a call costs is in thousandths of one core");
    let mut is_met = true;
    for &calls in &options.calls {
        is_met &= measure(calls, Duration::from_secs(options.seconds));
    }
    if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Has `calls` calls at a time for so long, and prints what they cost; returns whether they were served well.
fn measure(calls: usize, time: Duration) -> bool {
    let millis = Duration::from_millis;
    let (_flux, _, flux_url) = flux::start(flux::Plan { end_after: millis(200), ..flux::Plan::default() });
    let (_groq, _, groq_url) = groq::start(groq::Plan { first_token: millis(300), ..groq::Plan::default() });
    let (_cartesia, _, cartesia_url) =
        cartesia::start(cartesia::Plan { first_audio: millis(90), ..Default::default() });
    let mut env = standin::env(flux_url, groq_url, cartesia_url);
    env.extend([
        ("OFFHOOK_LOG", "error".to_owned()),
        ("OFFHOOK_GREETING", String::new()),
        // Models that are not there are not obtained: every stage has its key.
        ("OFFHOOK_MODELS", std::env::var("OFFHOOK_MODELS").unwrap_or_else(|_| "no-models".to_owned())),
    ]);
    let (engine, sip) = engine::start(&[], &env);
    let (stop, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..calls as u64)
        .map(|seed| {
            let (stop, turns) = (stop.clone(), turns.clone());
            std::thread::spawn(move || converse(sip, seed, &stop, &turns))
        })
        .collect();
    let answered = || engine.board().live(engine.now()).len() >= calls;
    while !answered() && callers.iter().all(|caller| !caller.is_finished()) {
        std::thread::sleep(millis(50));
    }
    std::thread::sleep(SETTLE);
    let (before, begun) = (accounts(), Instant::now());
    turns.store(0, Ordering::Relaxed);
    std::thread::sleep(time);
    let (after, lasted) = (accounts(), begun.elapsed());
    let turns = turns.load(Ordering::Relaxed);
    stop.store(true, Ordering::Release);
    let lost = callers.into_iter().map(std::thread::JoinHandle::join).filter(Result::is_err).count();
    let (pacing, own_path) =
        (engine.board().distribution(Kind::PacingError), engine.board().distribution(Kind::OwnPath));
    let own_stages = [Stage::Ingress, Stage::Decision, Stage::Clause, Stage::Egress];
    let own_stages =
        own_stages.map(|stage| (stage.name(), engine.board().distribution(Kind::Stage(stage)).quantile(0.99)));
    let underruns = engine.board().totals().quality.underruns;
    engine.stop();

    let share = |role: &str| {
        let ticks = |accounts: &BTreeMap<String, u64>| accounts.get(role).copied().unwrap_or(0);
        TICK.as_secs_f64() * ticks(&after).saturating_sub(ticks(&before)) as f64 / lasted.as_secs_f64() / calls as f64
    };
    let roles = || after.keys().filter(|role| *role != OTHERS);
    let total: f64 = roles().map(|role| share(role)).sum();
    let costs: Vec<String> = roles().map(|role| format!("{role} {:.2}", share(role) * 1e3)).collect();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let (pace, own) = (ms(pacing.quantile(0.99)), ms(own_path.quantile(0.99)));
    let own_stages = own_stages.map(|(name, time)| format!("{name} {:.1}", ms(time))).join(", ");
    let is_met = pace <= PACING_MS && own <= OWN_PATH_P99_MS && lost == 0;
    println!(
        "{calls} calls, {turns} turns in {:.0} s: a call costs {:.2} ({}), telephones and stand-ins {:.2}; so a core carries {:.0}; \
         pacing error p99 {pace:.3} ms, own path p50 {:.1} p99 {own:.1} ms ({own_stages}), {underruns} underruns, {lost} calls lost{}",
        lasted.as_secs_f64(),
        total * 1e3,
        costs.join(", "),
        share(OTHERS) * 1e3,
        1.0 / total,
        ms(own_path.quantile(0.5)),
        if is_met { "" } else { ": NOT MET" }
    );
    is_met
}

/// Takes turns with the agent until it is over.
fn converse(sip: SocketAddr, seed: u64, stop: &AtomicBool, turns: &AtomicUsize) {
    let mut rng = fastrand::Rng::with_seed(seed);
    // Calls that begin in the same moment would speak in the same moment for ever.
    std::thread::sleep(Duration::from_millis(rng.u64(0..3_000)));
    let phone = Phone::call(sip, Codec::Pcmu, Weather::default()).expect("an answer");
    while !stop.load(Ordering::Acquire) {
        phone.forget();
        std::thread::sleep(Duration::from_millis(rng.u64(50..500)));
        phone.say(&voice::sharp_speech());
        phone.wait_until(Duration::from_secs(5), |phone| !phone.saying());
        let ended = phone.last_loud_sent().expect("it was loud");
        let is_answered = phone.wait_until(Duration::from_secs(10), |phone| phone.first_loud_after(ended).is_some());
        assert!(is_answered, "no reply");
        turns.fetch_add(1, Ordering::Relaxed);
        phone.wait_until(Duration::from_secs(20), |phone| phone.quiet_for(QUIET));
    }
    phone.hang_up();
}

/// What the threads have had of the processors since each began, in ticks, by role: the name without its number.
fn accounts() -> BTreeMap<String, u64> {
    let own = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
    let mut accounts = BTreeMap::new();
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for task in tasks {
        // A thread may be gone since the folder was read.
        let Ok(name) = std::fs::read_to_string(task.path().join("comm")) else { continue };
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let numbered = |last: char| last.is_ascii_digit() || last == '-';
        let role = if name == own { OTHERS } else { name.trim().trim_end_matches(numbered) };
        // The name may hold spaces and ends with the last parenthesis; user and system time are fields 14 and 15 of all (proc(5)).
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        *accounts.entry(role.to_owned()).or_default() += ticks;
    }
    accounts
}
