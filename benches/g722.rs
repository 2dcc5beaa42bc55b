//! G.722, comfort noise and DTMF detection, in frames of 20 ms.

use divan::Bencher;
use divan::counter::ItemsCount;
use offhook::audio::comfort_noise::ComfortNoise;
use offhook::audio::{g722, tone};
use std::f32::consts::TAU;

#[global_allocator]
static ALLOC: divan::AllocProfiler = divan::AllocProfiler::system();

const BYTES: usize = 160;
const SAMPLES: usize = 2 * BYTES;

fn main() {
    let mut bytes = [0; BYTES];
    let mut pcm = [0; SAMPLES];
    let (mut encoder, mut decoder) = (g722::Encoder::new(), g722::Decoder::new());
    for _ in 0..10 {
        encoder.encode(&tones::<SAMPLES>(16_000.0), &mut bytes);
        decoder.decode(&bytes, &mut pcm);
    }
    let power = |pcm: &[i16]| pcm.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
    let ratio = power(&pcm) / power(&tones::<SAMPLES>(16_000.0));
    assert!((0.8..1.2).contains(&ratio), "{ratio}");
    let mut detector = tone::Detector::new();
    let keys: Vec<char> = (0..10).filter_map(|frame| detector.push(&tones_from(frame * BYTES, 8000.0))).collect();
    assert_eq!(keys, ['5']);
    divan::main();
}

/// The key 5 at a rate in Hz.
fn tones<const N: usize>(rate: f32) -> [i16; N] {
    tones_from(0, rate)
}

/// The same from its sample `first` on: a key whose phase jumps is none.
fn tones_from<const N: usize>(first: usize, rate: f32) -> [i16; N] {
    let tone = |hz: f32, n: usize| 6000.0 * (TAU * hz * (first + n) as f32 / rate).sin();
    std::array::from_fn(|n| (tone(770.0, n) + tone(1336.0, n)) as i16)
}

#[divan::bench]
fn encode(bencher: Bencher) {
    let (pcm, mut encoder, mut out) = (tones::<SAMPLES>(16_000.0), g722::Encoder::new(), [0; BYTES]);
    bencher.counter(ItemsCount::new(SAMPLES)).bench_local(|| {
        encoder.encode(divan::black_box(&pcm), &mut out);
        out[0]
    });
}

#[divan::bench]
fn decode(bencher: Bencher) {
    let (mut bytes, mut decoder, mut out) = ([0; BYTES], g722::Decoder::new(), [0; SAMPLES]);
    g722::Encoder::new().encode(&tones::<SAMPLES>(16_000.0), &mut bytes);
    bencher.counter(ItemsCount::new(SAMPLES)).bench_local(|| {
        decoder.decode(divan::black_box(&bytes), &mut out);
        out[0]
    });
}

/// A frame whose tones are looked at, and one that is too weak to be a key.
#[divan::bench(args = [1, 200])]
fn detect_keys(bencher: Bencher, weaker: i16) {
    let (pcm, mut detector) = (tones(8000.0).map(|sample| sample / weaker), tone::Detector::new());
    bencher.counter(ItemsCount::new(BYTES)).bench_local(|| detector.push(divan::black_box(&pcm)));
}

#[divan::bench]
fn comfort_noise(bencher: Bencher) {
    let (mut noise, mut out) = (ComfortNoise::new(), [0; SAMPLES]);
    noise.begin(&[60]);
    bencher.counter(ItemsCount::new(SAMPLES)).bench_local(|| noise.fill(divan::black_box(&mut out)));
}
