//! What filling in a lost 20 ms frame costs, what hearing a frame costs, and what voice activity costs beside them.

use divan::{Bencher, black_box};
use offhook::audio::activity::{Activity, FRAME_SAMPLES};
use offhook::jitter::conceal::Concealer;

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

const FRAME: usize = 160;

fn main() {
    // A tone of an even period is continued exactly.
    let tone = buzz::<FRAME>();
    let mut concealer = Concealer::new();
    for _ in 0..3 {
        concealer.good(&mut tone.clone());
    }
    let mut out = [0; FRAME];
    concealer.conceal(&mut out);
    assert_eq!(out[..80], tone[..80]);
    divan::main();
}

/// A sawtooth with a period of 80 samples.
fn buzz<const N: usize>() -> [i16; N] {
    std::array::from_fn(|n| (n % 80) as i16 * 200 - 8000)
}

#[divan::bench]
fn first_lost_frame(bencher: Bencher<'_, '_>) {
    let mut heard = Concealer::new();
    for _ in 0..3 {
        heard.good(&mut buzz::<FRAME>());
    }
    let mut out = [0; FRAME];
    bencher.with_inputs(|| heard.clone()).bench_local_refs(|concealer| concealer.conceal(black_box(&mut out)));
}

#[divan::bench]
fn frame_after_a_loss(bencher: Bencher<'_, '_>) {
    let mut lost = Concealer::new();
    lost.good(&mut buzz::<480>());
    lost.conceal(&mut [0; FRAME]);
    let mut frame = buzz::<FRAME>();
    bencher.with_inputs(|| lost.clone()).bench_local_refs(|concealer| concealer.good(black_box(&mut frame)));
}

#[divan::bench]
fn good_frame(bencher: Bencher<'_, '_>) {
    let (mut concealer, mut frame) = (Concealer::new(), buzz::<FRAME>());
    bencher.bench_local(|| concealer.good(black_box(&mut frame)));
}

#[divan::bench(args = ["silence", "buzz"])]
fn activity(bencher: Bencher<'_, '_>, sound: &str) {
    let frame = if sound == "buzz" { buzz::<FRAME_SAMPLES>() } else { [0; FRAME_SAMPLES] };
    let mut activity = Activity::new();
    bencher.bench_local(|| activity.push(black_box(&frame)));
}
