//! How exact the telephone in the box is on this machine: a responder with a programmed delay is measured over loopback, in real time.
//!
//! `cargo run --release --example calibrate -- [EXCHANGES] [DELAY_MS]`: without and with 30 ms of jitter. The same in virtual time is a
//! test, in `src/phone/responder.rs`.

use offhook::engine::clock::SystemClock;
use offhook::phone::calibrate::{Settings, run};
use offhook::phone::mrl::Measurement;
use offhook::phone::report::Aggregate;
use offhook::phone::weather::Weather;
use std::sync::Arc;
use std::time::Duration;

fn main() {
    let numbers: Vec<u32> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let exchanges = numbers.first().copied().unwrap_or(50);
    let delay = Duration::from_millis(u64::from(numbers.get(1).copied().unwrap_or(250)));
    let clock = Arc::new(SystemClock::start());
    for jitter_ms in [0, 30] {
        let weather = Weather { jitter: Duration::from_millis(jitter_ms), ..Weather::default() };
        let settings = Settings { exchanges, delay, weather, seed: 1 };
        let run = run(&settings, &clock).expect("sockets on loopback");
        let measured: Vec<&Measurement> = run.results.iter().flatten().collect();
        let discarded = run.results.len() - measured.len();
        println!(
            "{} ms programmed, {jitter_ms} ms of jitter: {} exchanges, {discarded} discarded",
            delay.as_millis(),
            run.results.len()
        );
        let programmed_ms = delay.as_secs_f64() * 1e3;
        for (name, errors) in [("as it arrives", &run.ingress_errors), ("behind the buffer", &run.playout_errors)] {
            let read: Vec<f64> = errors.iter().map(|error| programmed_ms + error).collect();
            let Aggregate { mean, p50, p95, max } = Aggregate::of(&read);
            let calibration = run.calibration(String::new());
            let (bias, error) = if name == "as it arrives" { calibration.ingress } else { calibration.playout };
            println!(
                "  {name:<18} reads p50 {p50:.2}, p95 {p95:.2}, max {max:.2}, mean {mean:.2} ms after what the channel adds; bias {bias:+.2}, 95 of 100 within {error:.2} ms"
            );
        }
    }
}
