//! An INVITE flood from one source while calls talk: what the calls notice, what it costs, and what is left of it.
//!
//! `cargo run --release --example flood -- [SECONDS] [INVITES_PER_S] [CALLS]`; 60, 1000 and 20. The flood comes from
//! 127.0.0.9 and acknowledges nothing. Prints a line per ten seconds and the verdict last; exit code 1 where a call noticed
//! it, a provider session opened for it, or something stayed.
#![expect(clippy::disallowed_methods, reason = "a measurement lives in real time")]

#[path = "../tests/support/engine.rs"]
mod engine;
#[path = "../tests/support/phone.rs"]
mod phone;
#[path = "../tests/support/voice.rs"]
mod voice;

use offhook::audio::g711::Codec;
use offhook::control::Bridge;
use offhook::engine::Engine;
use offhook::metrics::{Kind, histogram::milliseconds};
use offhook::sip::Discard;
use phone::{Phone, Weather};
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Largest p99 of the calls' pacing error under the flood.
const PACING_P99_MAX_MS: f64 = 5.0;
/// Memory by which it may grow after its first ten seconds: noise of the allocator.
const GROWN_KIB_MAX: usize = 8192;
/// A call that nobody acknowledges ends by then: 64 times T1 (RFC 3261 §13.3.1.4), its BYE after another, and what a port rests.
const AFTERMATH: Duration = Duration::from_secs(70);

/// What the process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    files: usize,
    threads: usize,
    provider_threads: usize,
    resident_kib: usize,
}

fn held() -> Held {
    let tasks = || std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of_a_provider = |name: &str| ["ears-", "mind-", "voice-"].iter().any(|role| name.starts_with(role));
    let names = tasks().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Held {
        files: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        threads: tasks().count(),
        provider_threads: names.filter(|name| of_a_provider(name)).count(),
        resident_kib: resident.and_then(|rest| rest.trim().split(' ').next()?.parse().ok()).unwrap_or(0),
    }
}

/// Sends INVITEs that nobody means until `stop`; what is answered is counted and not acknowledged.
fn flood(server: SocketAddr, per_s: u64, stop: &AtomicBool, sent: &AtomicU64, answered: &AtomicU64) {
    let socket = UdpSocket::bind("127.0.0.9:0").expect("an address of loopback");
    socket.set_nonblocking(true).expect("a socket");
    let local = socket.local_addr().expect("it is bound");
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.9\r\ns=-\r\nc=IN IP4 127.0.0.9\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";
    let began = Instant::now();
    let mut bytes = [0; 4096];
    let mut number = 0;
    while !stop.load(Ordering::Acquire) {
        let due = began.elapsed().as_millis() as u64 * per_s / 1000;
        while number < due {
            let invite = format!(
                "INVITE sip:1000@{server} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bKf{number}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:flood@{local}>;tag=f{number}\r\nTo: <sip:1000@{server}>\r\n\
                 Call-ID: flood{number}\r\nCSeq: 1 INVITE\r\nContact: <sip:flood@{local}>\r\n\
                 Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
                sdp.len()
            );
            // What the kernel does not take is lost like everything else of it.
            let _ = socket.send_to(invite.as_bytes(), server);
            number += 1;
            sent.store(number, Ordering::Release);
        }
        while socket.recv(&mut bytes).is_ok() {
            answered.fetch_add(1, Ordering::AcqRel);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns the p99 of the pacing error of all calls so far, in milliseconds.
fn pacing_p99_ms(engine: &Engine) -> f64 {
    milliseconds(engine.board().distribution(Kind::PacingError).quantile(0.99))
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let mut number = |default: u64| args.next().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (seconds, per_s, calls) = (number(60), number(1000), number(20) as usize);
    let env = [("OFFHOOK_STT", "echo"), ("OFFHOOK_LLM", "echo"), ("OFFHOOK_TTS", "echo"), ("OFFHOOK_LOG", "error")];
    let (engine, server) = engine::start(&[], &env.map(|(name, value)| (name, value.to_owned())));
    let phones: Vec<Phone> =
        (0..calls).map(|_| Phone::call(server, Codec::Pcmu, Weather::default()).expect("an answer")).collect();
    talk(&phones, 10);
    let before = held();
    println!("{calls} calls talk: {before:?}, pacing p99 {:.2} ms", pacing_p99_ms(&engine));

    let (stop, sent, answered) = (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::default());
    let flooding = {
        let (stop, sent, answered) = (stop.clone(), Arc::clone(&sent), Arc::clone(&answered));
        std::thread::spawn(move || flood(server, per_s, &stop, &sent, &answered))
    };
    let began = Instant::now();
    let mut most = before;
    // By the first ten seconds the calls that nobody acknowledges are as many as may be; it must not grow beyond.
    let mut settled = None;
    while began.elapsed() < Duration::from_secs(seconds) {
        talk(&phones, 10.min(seconds));
        let during = held();
        settled.get_or_insert(during);
        most.threads = most.threads.max(during.threads);
        most.provider_threads = most.provider_threads.max(during.provider_threads);
        most.resident_kib = most.resident_kib.max(during.resident_kib);
        println!("{} s: {during:?}, pacing p99 {:.2} ms", began.elapsed().as_secs(), pacing_p99_ms(&engine));
    }
    stop.store(true, Ordering::Release);
    flooding.join().expect("it does not panic");
    let pacing = pacing_p99_ms(&engine);
    let ended_early = phones.iter().filter(|phone| phone.hung_up()).count();
    let (sent, answered): (u64, u64) = (sent.load(Ordering::Acquire), answered.load(Ordering::Acquire));
    println!("flood of {sent} INVITEs: {answered} answers, pacing p99 {pacing:.2} ms, {ended_early} calls lost");
    // One call more, from elsewhere, is answered while the flood's own calls still wait for an ACK.
    let welcome = Phone::call(server, Codec::Pcmu, Weather::default());
    let is_served = welcome.is_ok();
    welcome.into_iter().for_each(Phone::hang_up);
    phones.into_iter().for_each(Phone::hang_up);
    std::thread::sleep(AFTERMATH);
    let after = held();
    let counters = engine.board().sip_counters();
    let left = engine.board().live(engine.now()).len();
    println!(
        "dropped unread {}, refused {}, refusals withheld {}, of {} messages",
        counters.discarded_for(Discard::Excess),
        counters.refused_unacknowledged,
        counters.answers_withheld,
        counters.datagrams_received
    );
    let opened = most.provider_threads.saturating_sub(before.provider_threads);
    println!(
        "provider threads for the flood: {opened}; threads {} -> {}; files {} -> {}; memory {} -> {} -> {} KiB; calls left {left}; a new caller is served: {is_served}",
        before.threads,
        most.threads,
        before.files,
        after.files,
        before.resident_kib,
        most.resident_kib,
        after.resident_kib
    );
    let settled = settled.unwrap_or(before);
    let flat = most.resident_kib.max(after.resident_kib).saturating_sub(settled.resident_kib) < GROWN_KIB_MAX;
    let unnoticed = pacing < PACING_P99_MAX_MS && ended_early == 0 && is_served;
    if unnoticed && opened == 0 && left == 0 && flat { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The phones talk by turns for so many seconds.
fn talk(phones: &[Phone], seconds: u64) {
    // An agent hangs up on a caller who says nothing, and a steady tone is nothing.
    let speech = voice::speech();
    for second in 0..seconds {
        phones.iter().skip(second as usize % 3).step_by(3).for_each(|phone| phone.say(&speech));
        std::thread::sleep(Duration::from_secs(1));
        // What they hear is not judged here, and would be the memory that grows.
        phones.iter().for_each(Phone::forget);
    }
}
