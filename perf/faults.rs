//! What a caller hears when a provider fails: every fault at every stage, the longest silence, what was said, and how the call went.
//!
//! `cargo run --release --example faults -- [--stage stt|llm|tts] [--only TEXT] [--at-once N]`: engines in this process talk to
//! stand-ins of the providers that misbehave: once, always, or always with a second provider in line. A telephone in this
//! process calls over real sockets and asks five times. A silence counts from the last loud packet of either side to the next one
//! of the agent, while the caller waits. Exit code 1 where one is longer than two seconds, or a call ends without a word.
//!
//! The ears of this machine stand behind Flux, too, where `OFFHOOK_MODELS` names their models.
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
use parking_lot::Mutex;
use phone::{Phone, Weather};
use standin::{KEY, Refusal, Server, cartesia, deepgram, elevenlabs, flux, groq, nova};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The most silence that a caller who waits may hear.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// Silence after which the agent has said what it had to say.
const SETTLED: Duration = Duration::from_secs(3);
/// Turns of the caller in one call.
const TURNS: usize = 5;
/// The longest that one turn is watched.
const TURN_MAX: Duration = Duration::from_secs(45);
/// Times that a fault happens which always does: more often than any provider is tried in a call.
const ALWAYS: usize = 64;
/// Phrases that are rendered ahead: six, and four fillers.
const PHRASES: usize = 10;

#[derive(Parser)]
struct Options {
    /// Only this stage: stt, llm or tts.
    #[arg(long)]
    stage: Option<String>,
    /// Only faults whose name holds this.
    #[arg(long)]
    only: Option<String>,
    /// Calls at once.
    #[arg(long, default_value_t = 6)]
    at_once: usize,
}

/// What goes wrong.
#[derive(Clone, Debug)]
enum Fault {
    Stt(flux::Fault),
    Llm(groq::Fault),
    Tts(cartesia::Fault),
    /// Turns end so late.
    SlowEnds(Duration),
    /// Nobody listens at its address any more, from the moment of the call on.
    Gone(&'static str),
    /// Its name is not known.
    NoName(&'static str),
}

/// How often it goes wrong, and who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Once,
    Always,
    /// Always, with this second provider in line.
    Second(&'static str),
}

/// Who stands behind the first of each stage. `local` is asked only where its models are.
const SECONDS: [(&str, &[&str]); 3] = [("stt", &["nova", "local"]), ("llm", &["openai"]), ("tts", &["elevenlabs"])];

struct Case {
    stage: &'static str,
    name: &'static str,
    fault: Fault,
    how: How,
}

/// What the caller made of it.
struct Outcome {
    silence: Duration,
    turns: usize,
    answers: usize,
    fillers: usize,
    last_words: String,
    ended: Option<String>,
    /// Whether the last turn of an ended call was silent.
    wordless: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let wanted = |case: &Case| {
        options.stage.as_ref().is_none_or(|stage| stage == case.stage)
            && options.only.as_ref().is_none_or(|only| case.name.contains(only))
    };
    let cases: Vec<Case> = cases().into_iter().filter(wanted).collect();
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new((0..cases.len()).map(|_| None).collect::<Vec<Option<Outcome>>>());
    std::thread::scope(|scope| {
        for _ in 0..options.at_once {
            scope.spawn(|| {
                while let Some((n, case)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|n| Some((n, cases.get(n)?)))
                {
                    let outcome = run(n, case);
                    eprintln!("{} {} {:?}: {:?}", case.stage, case.name, case.how, outcome.silence);
                    outcomes.lock()[n] = Some(outcome);
                }
            });
        }
    });
    println!("| stage | fault | how often | longest silence | fillers | turns, answers | last words | the call |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut failed = 0;
    for (case, outcome) in cases.iter().zip(outcomes.into_inner()) {
        let Some(outcome) = outcome else { continue };
        let bad = outcome.silence > SILENCE_MAX || outcome.wordless;
        failed += usize::from(bad);
        let how = match case.how {
            How::Once => "once".to_owned(),
            How::Always => "always".to_owned(),
            How::Second(second) => format!("always, {second} in line"),
        };
        println!(
            "| {} | {} | {how} | {} ms{} | {} | {}, {} | {} | {} |",
            case.stage,
            case.name,
            outcome.silence.as_millis(),
            if bad { " **!**" } else { "" },
            outcome.fillers,
            outcome.turns,
            outcome.answers,
            outcome.last_words,
            outcome.ended.map_or_else(|| "goes on".to_owned(), |reason| format!("ends: {reason}")),
        );
    }
    println!(
        "{} calls, {failed} of them with more than {SILENCE_MAX:?} of silence or no words at the end",
        cases.len()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn cases() -> Vec<Case> {
    let seconds = Duration::from_secs;
    let limited = || Refusal::new(429, r#"{"error":{"message":"rate limit"}}"#).with_header("retry-after", "2");
    let refused = |status, text: &str| Refusal::new(status, &format!("{{\"error\":{{\"message\":\"{text}\"}}}}"));
    let stt = [
        ("refused: nobody listens", Fault::Gone("stt")),
        ("slow: 1.5 s to the end of turn", Fault::SlowEnds(Duration::from_millis(1500))),
        ("stalled before the first answer", Fault::Stt(flux::Fault::SlowHandshake)),
        ("stalled mid-stream", Fault::Stt(flux::Fault::StallAfter(seconds(4)))),
        ("dropped", Fault::Stt(flux::Fault::DropAfter(seconds(4)))),
        ("garbage", Fault::Stt(flux::Fault::Garbage)),
        ("rate-limited", Fault::Stt(flux::Fault::Refuse(limited()))),
        ("idle-closed", Fault::Stt(flux::Fault::CloseWith(seconds(3), 1011, "NET-0001"))),
        ("wrong model", Fault::Stt(flux::Fault::Refuse(refused(400, "no such model")))),
        ("key revoked", Fault::Stt(flux::Fault::Refuse(refused(401, "invalid key")))),
        ("turns never end", Fault::Stt(flux::Fault::NoEnd)),
        ("DNS gone", Fault::NoName("stt")),
    ];
    let llm = [
        ("refused: nobody listens", Fault::Gone("llm")),
        ("slow: first token after 2.5 s", Fault::Llm(groq::Fault::Late(Duration::from_millis(2500)))),
        ("stalled before the first answer", Fault::Llm(groq::Fault::Stall)),
        ("stalled mid-stream", Fault::Llm(groq::Fault::StallAfter(4))),
        ("dropped before the first answer", Fault::Llm(groq::Fault::HangUp)),
        ("dropped mid-stream", Fault::Llm(groq::Fault::CutAfter(4))),
        ("garbage", Fault::Llm(groq::Fault::Raw(vec![b"data: {\"oops\n\n".to_vec(), b"\x00\xff".to_vec()]))),
        ("reasons for ever", Fault::Llm(groq::Fault::ReasonForEver)),
        ("rate-limited", Fault::Llm(groq::Fault::Refuse(limited()))),
        ("wrong model", Fault::Llm(groq::Fault::Refuse(refused(404, "no such model")))),
        ("key revoked", Fault::Llm(groq::Fault::Refuse(refused(401, "invalid key")))),
        ("DNS gone", Fault::NoName("llm")),
    ];
    let tts = [
        ("refused: nobody listens", Fault::Gone("tts")),
        ("slow: first audio after 2.5 s", Fault::Tts(cartesia::Fault::SlowAudio(Duration::from_millis(2500)))),
        ("stalled before the first answer", Fault::Tts(cartesia::Fault::StallAfter(Duration::ZERO))),
        ("stalled mid-stream", Fault::Tts(cartesia::Fault::StallAfter(Duration::from_millis(700)))),
        ("dropped", Fault::Tts(cartesia::Fault::DropAfter(Duration::from_millis(700)))),
        ("garbage", Fault::Tts(cartesia::Fault::GarbageAfter(Duration::from_millis(700)))),
        ("rate-limited", Fault::Tts(cartesia::Fault::Refuse(limited()))),
        ("too many contexts", Fault::Tts(cartesia::Fault::ErrorAlways("concurrency_limited", 429))),
        ("idle-closed", Fault::Tts(cartesia::Fault::IdleClose(seconds(2)))),
        ("wrong model", Fault::Tts(cartesia::Fault::ErrorAlways("model_not_found", 404))),
        ("key revoked", Fault::Tts(cartesia::Fault::Refuse(refused(401, "invalid key")))),
        ("DNS gone", Fault::NoName("tts")),
    ];
    let stages = [("stt", stt), ("llm", llm), ("tts", tts)];
    let mut cases = Vec::new();
    for (stage, faults) in stages {
        for (name, fault) in faults {
            let lasts = matches!(fault, Fault::Gone(_) | Fault::NoName(_) | Fault::SlowEnds(_));
            let seconds = SECONDS.iter().filter(|(of, _)| *of == stage).flat_map(|(_, seconds)| *seconds);
            // Where Deepgram is gone, so is Nova; and without its models nobody hears on this machine.
            let there = |second: &&str| match *second {
                "nova" => !matches!(fault, Fault::Gone(_) | Fault::NoName(_)),
                "local" => models().is_some(),
                _ => true,
            };
            let seconds = seconds.copied().filter(there).map(How::Second);
            let once = (!lasts).then_some(How::Once);
            let hows = once.into_iter().chain([How::Always]).chain(seconds);
            cases.extend(hows.map(|how| Case { stage, name, fault: fault.clone(), how }));
        }
    }
    cases
}

/// Returns where the local models are, as the settings of whoever runs this say.
fn models() -> Option<String> {
    std::env::var("OFFHOOK_MODELS").ok().filter(|models| !models.is_empty())
}

/// Has a call with this fault, the `n`-th.
fn run(n: usize, case: &Case) -> Outcome {
    let end_after = match case.fault {
        Fault::SlowEnds(after) => after,
        _ => Duration::from_millis(200),
    };
    let nova = nova::Plan::saying(&"Open? ".repeat(10 * TURNS));
    let (stt, flux, _, flux_url) = deepgram::start(flux::Plan { end_after, ..flux::Plan::default() }, nova);
    let (llm, groq, groq_url) = groq::start(groq::Plan::default());
    let (tts, cartesia, cartesia_url) = cartesia::start(cartesia::Plan::default());
    let (_second_llm, _, openai_url) = groq::start(groq::Plan::default());
    let (_second_tts, _, elevenlabs_url) = elevenlabs::start(elevenlabs::Plan::default());
    let nowhere = |stage, url: String, unknown: &str| match case.fault {
        Fault::NoName(of) if of == stage => unknown.to_owned(),
        _ => url,
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let key = || KEY.to_owned();
    let hears_here = models().filter(|_| case.how == How::Second("local"));
    let mut env = standin::env(
        nowhere("stt", flux_url, "wss://gone.invalid"),
        nowhere("llm", groq_url, "https://gone.invalid/openai/v1"),
        nowhere("tts", cartesia_url, "wss://gone.invalid"),
    );
    env.extend([
        ("OPENAI_API_KEY", key()),
        ("OPENAI_BASE_URL", openai_url),
        ("OPENAI_MODEL", "openai/gpt-oss-20b".to_owned()),
        ("ELEVENLABS_API_KEY", key()),
        ("ELEVENLABS_BASE_URL", elevenlabs_url),
        ("ELEVENLABS_VOICE", "v1ce".to_owned()),
        ("OFFHOOK_LOG", std::env::var("OFFHOOK_LOG").unwrap_or_else(|_| "error".to_owned())),
        // Nobody on this machine takes a provider's place unasked, and what is rendered is kept nowhere.
        ("OFFHOOK_MODELS", hears_here.unwrap_or_else(|| folder.path().join("models").to_string_lossy().into_owned())),
    ]);
    env.retain(|(_, value)| !value.is_empty());
    let line = |stage: &str, first: &str| match case.how {
        How::Second(second) if case.stage == stage => format!("[{stage}]\nuse = [\"{first}\", \"{second}\"]\n"),
        _ => format!("[{stage}]\nuse = [\"{first}\"]\n"),
    };
    let settings = line("stt", "flux") + &line("llm", "groq") + &line("tts", "cartesia");
    let file = folder.path().join("offhook.toml");
    std::fs::write(&file, settings).expect("a temporary file");
    // Ports of its own: engines beside each other would otherwise meet.
    let ports = 20_000 + n * 20;
    let ports = format!("{ports}-{}", ports + 19);
    let (engine, server) = engine::start(&["--config", &file.to_string_lossy(), "--rtp-ports", &ports], &env);
    let until = Instant::now() + Duration::from_secs(4);
    while cartesia.seen.lock().requests.len() < PHRASES && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    let mut servers: Vec<(&str, Server)> = vec![("stt", stt), ("llm", llm), ("tts", tts)];
    for _ in 0..if case.how == How::Once { 1 } else { ALWAYS } {
        match case.fault.clone() {
            Fault::Stt(fault) => flux.faults.push(fault),
            Fault::Llm(fault) => groq.faults.push(fault),
            // What every request gets of one connection is told more than once.
            Fault::Tts(cartesia::Fault::ErrorAlways(code, status)) if case.how == How::Once => {
                cartesia.faults.push(cartesia::Fault::Error(code, status, true));
            }
            Fault::Tts(fault) => cartesia.faults.push(fault),
            Fault::Gone(stage) => servers.retain(|(of, _)| *of != stage),
            Fault::SlowEnds(_) | Fault::NoName(_) => {}
        }
    }
    // Whoever hears on this machine needs words to hear.
    let asks = match case.how {
        How::Second("local") => voice::spoken("en-us", 160, 50, "Do you open on Sunday?", -20.0),
        _ => voice::speech(),
    };
    let outcome = call(&engine, server, &asks);
    engine.stop();
    outcome
}

fn call(engine: &Arc<offhook::engine::Engine>, server: std::net::SocketAddr, asks: &[i16]) -> Outcome {
    let phone = Phone::call(server, Codec::Pcma, Weather::default()).expect("an answer");
    settle(&phone, phone.answered_at, Duration::from_secs(1));
    let mut silence = silence(&phone, phone.answered_at);
    let mut turns = 0;
    let mut spoken = phone.answered_at;
    while turns < TURNS && !phone.hung_up() {
        turns += 1;
        phone.say(asks);
        phone.wait_until(Duration::from_secs(5), |phone| !phone.saying() || phone.hung_up());
        std::thread::sleep(Duration::from_millis(25));
        spoken = phone.last_loud_sent().expect("it was loud");
        settle(&phone, spoken, SETTLED);
        silence = silence.max(self::silence(&phone, spoken));
    }
    let hung_up = phone.hung_up();
    let wordless = hung_up && phone.first_loud_after(spoken).is_none();
    let call_id = phone.call_id().to_owned();
    phone.hang_up();
    std::thread::sleep(Duration::from_millis(400));
    let view = engine.board().find(&call_id, engine.now()).expect("the call is one of the last hundred");
    let words: Vec<&str> =
        view.turns.iter().map(|turn| turn.record.agent.as_str()).filter(|text| !text.is_empty()).collect();
    let standard = offhook::config::Agent::default();
    let kept = [&standard.greeting, &standard.apology, &standard.farewell_on_failure, &standard.not_heard];
    Outcome {
        silence,
        turns,
        answers: words.iter().filter(|words| !kept.iter().any(|kept| words.contains(kept.as_str()))).count(),
        fillers: view.turns.iter().filter(|turn| turn.record.filler).count(),
        last_words: words.last().map_or_else(String::new, |words| (*words).to_owned()),
        ended: view.ended.filter(|_| hung_up).map(|ended| ended.reason),
        wordless,
    }
}

/// Waits until the agent has said all, or the call is over.
fn settle(phone: &Phone, since: Instant, settled: Duration) {
    phone.wait_until(TURN_MAX, |phone| {
        let last = phone.last_loud().map_or(since, |at| at.max(since));
        let patience = if last == since { SETTLED } else { settled };
        phone.hung_up() || last.elapsed() > patience
    });
}

/// Returns the longest silence from `since` to the agent's last loud packet.
fn silence(phone: &Phone, since: Instant) -> Duration {
    let heard = phone.heard();
    let mut loud: Vec<Instant> =
        heard.iter().filter(|packet| packet.at > since && packet.loud()).map(|packet| packet.at).collect();
    if loud.is_empty() {
        loud.push(Instant::now());
    }
    let before = std::iter::once(since).chain(loud.iter().copied());
    before.zip(&loud).map(|(before, at)| at.saturating_duration_since(before)).max().unwrap_or_default()
}
