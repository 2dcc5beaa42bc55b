//! What the jitter buffer costs per packet, in order and on a line that loses and reorders.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use offhook::jitter::{Buffer, Incoming, Out};
use offhook::time::Instant;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

const PAYLOAD: [u8; 160] = [0xff; 160];
/// Packets of one pass: 20 s.
const PACKETS: u64 = 1000;

fn main() {
    let mut buffer = Buffer::new();
    let samples: u64 = bad_line().iter().map(|(ms, n)| put(&mut buffer, *n, *ms)).sum();
    // What is lost at the very end is not known to be.
    assert!(((PACKETS - 5) * 160..=PACKETS * 160).contains(&samples), "{samples} samples");
    divan::main();
}

/// Puts packet `n` in at `ms`; returns the samples that come out.
fn put(buffer: &mut Buffer, n: u64, ms: u64) -> u64 {
    let arrived = Instant::from_millis(ms);
    let packet =
        Incoming { sequence: n, timestamp: n * 160, samples: 160, payload_type: 0, arrived, payload: &PAYLOAD };
    let _ = buffer.push(black_box(&packet), n == 0);
    let mut samples = 0;
    while let Some(out) = buffer.poll(arrived) {
        samples += match black_box(out) {
            Out::Packet { packet, .. } => u64::from(packet.samples),
            Out::Gap { samples, .. } | Out::Silence { samples, .. } => u64::from(samples),
        };
    }
    samples
}

/// 5 % loss, 30 ms of jitter, 2 % reordering: arrival in milliseconds, and number.
fn bad_line() -> Vec<(u64, u64)> {
    let mut random = fastrand::Rng::with_seed(1);
    let kept = |n: &u64| *n == 0 || *n % 20 != 7;
    let mut arrivals: Vec<(u64, u64)> = (0..PACKETS)
        .filter(kept)
        .map(|n| (n * 20 + if n == 0 { 0 } else { random.u64(..=30) + if n % 50 == 3 { 50 } else { 0 } }, n))
        .collect();
    arrivals.sort_unstable();
    arrivals
}

#[divan::bench]
fn in_order(bencher: Bencher<'_, '_>) {
    let mut buffer = Buffer::new();
    let mut n = 0;
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        n += 1;
        put(&mut buffer, n, n * 20)
    });
}

#[divan::bench]
fn loss_jitter_and_reordering(bencher: Bencher<'_, '_>) {
    let arrivals = bad_line();
    bencher
        .counter(ItemsCount::new(PACKETS))
        .with_inputs(Buffer::new)
        .bench_local_refs(|buffer| arrivals.iter().map(|(ms, n)| put(buffer, *n, *ms)).sum::<u64>());
}

#[divan::bench]
fn look_for_a_deadline(bencher: Bencher<'_, '_>) {
    let mut buffer = Buffer::new();
    put(&mut buffer, 0, 0);
    put(&mut buffer, 2, 40);
    assert!(buffer.poll_timeout().is_some_and(|due| due.since(Instant::ZERO) >= Duration::from_millis(60)));
    bencher.bench_local(|| black_box(&buffer).poll_timeout());
}
