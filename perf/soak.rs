//! Calls in a row, and starts and stops: what is left of ports, threads, sockets and memory afterwards.
//!
//! `cargo run --release --example soak -- [CALLS] [RESTARTS]`; the echo agent answers, so that nothing but the engine is
//! measured. Prints a line per hundred calls and the verdict last; exit code 1 where something was left.
#![expect(clippy::disallowed_methods, reason = "a measurement lives in real time")]

#[path = "../tests/support/engine.rs"]
mod engine;
#[path = "../tests/support/phone.rs"]
mod phone;

use offhook::audio::g711::Codec;
use offhook::control::Bridge;
use phone::{Phone, Weather};
use std::process::ExitCode;
use std::time::Duration;

/// What the process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    files: usize,
    threads: usize,
    resident_kib: usize,
}

fn held() -> Held {
    let count = |path: &str| std::fs::read_dir(path).map_or(0, Iterator::count);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident_kib = resident.and_then(|rest| rest.trim().split(' ').next()?.parse().ok()).unwrap_or(0);
    Held { files: count("/proc/self/fd"), threads: count("/proc/self/task"), resident_kib }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let calls = args.next().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let restarts = args.next().and_then(|n| n.parse().ok()).unwrap_or(50);
    let env = [("OFFHOOK_STT", "echo"), ("OFFHOOK_LLM", "echo"), ("OFFHOOK_TTS", "echo"), ("OFFHOOK_LOG", "error")];
    let env = env.map(|(name, value)| (name, value.to_owned()));
    let (engine, server) = engine::start(&[], &env);
    // What is allocated once (thread stacks, arenas) is allocated by the first calls.
    for _ in 0..50 {
        one_call(server);
    }
    let settle = || std::thread::sleep(Duration::from_millis(2500));
    settle();
    let before = held();
    println!("after 50 calls: {before:?}");
    for n in 1..=calls {
        one_call(server);
        if n % 100 == 0 {
            println!("{n} calls: {:?}", held());
        }
    }
    settle();
    let after = held();
    println!("after {calls} more: {after:?}");
    for _ in 0..restarts {
        assert!(engine.stop(), "it ran");
        engine.start(server).expect("its own port is free again");
    }
    settle();
    let restarted = held();
    println!("after {restarts} stops and starts: {restarted:?}");
    let grown = after.resident_kib.saturating_sub(before.resident_kib);
    let same = |other: Held| other.files == before.files && other.threads == before.threads;
    let ports = engine.board().live(engine.now()).len();
    println!("calls left {ports}, memory grown by {grown} KiB");
    if same(after) && same(restarted) && ports == 0 && grown < 4096 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one_call(server: std::net::SocketAddr) {
    let phone = Phone::call(server, Codec::Pcmu, Weather::default()).expect("an answer");
    std::thread::sleep(Duration::from_millis(60));
    phone.hang_up();
}
