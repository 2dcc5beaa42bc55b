//! What it costs to know the agent's own echo: per packet that is sent, and per 20 ms frame of the caller.

use divan::{Bencher, black_box};
use offhook::call::echo::Echo;
use std::f32::consts::TAU;

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

/// Frames of a second.
const FRAMES: usize = 50;

fn main() {
    // What is measured does its work: it finds the echo, and explains it.
    let (agent, caller) = (sound(8000), sound(16_000));
    let (mut echo, mut explained) = (Echo::new(), 0);
    for at in 0..4 * FRAMES {
        echo.sent(frame(&agent, at, 160));
        explained += usize::from(echo.heard(caller_frame(&caller, at), false));
    }
    assert!(echo.estimate().is_some_and(|echo| echo.speakerphone), "{:?}", echo.estimate());
    assert!(explained > 3 * FRAMES, "{explained} frames");
    divan::main();
}

/// A second of a wandering voice's sound, the same at each rate.
fn sound(rate: usize) -> Vec<i16> {
    let mut phase = 0.0f32;
    let sample = |n: usize| {
        let t = n as f32 / rate as f32;
        phase += TAU * (140.0 + 30.0 * (TAU * 1.3 * t).sin()) / rate as f32;
        let tones: f32 = (1..8u8).map(|k| (phase * f32::from(k) + 9.0 * (TAU * t * f32::from(k)).sin()).sin()).sum();
        (1500.0 * tones * (0.6 + 0.4 * (TAU * 3.1 * t).sin())) as i16
    };
    (0..rate).map(sample).collect()
}

fn frame(pcm: &[i16], at: usize, len: usize) -> &[i16] {
    pcm.chunks_exact(len).nth(at % FRAMES).unwrap_or_default()
}

fn caller_frame(pcm: &[i16], at: usize) -> &[i16; 320] {
    frame(pcm, at, 320).try_into().expect("a frame")
}

/// Both sides audible: all delays are compared.
#[divan::bench]
fn frame_with_both_sides_audible(bencher: Bencher<'_, '_>) {
    let (agent, caller, mut echo, mut at) = (sound(8000), sound(16_000), Echo::new(), 0);
    bencher.bench_local(|| {
        echo.sent(frame(&agent, at, 160));
        at += 1;
        black_box(echo.heard(caller_frame(&caller, at), false))
    });
}

/// The agent speaks, the caller is silent.
#[divan::bench]
fn frame_with_a_silent_caller(bencher: Bencher<'_, '_>) {
    let (agent, mut echo, mut at) = (sound(8000), Echo::new(), 0);
    bencher.bench_local(|| {
        echo.sent(frame(&agent, at, 160));
        at += 1;
        black_box(echo.heard(black_box(&[0; 320]), false))
    });
}

/// The caller speaks, the agent is silent.
#[divan::bench]
fn frame_with_a_silent_agent(bencher: Bencher<'_, '_>) {
    let (caller, mut echo, mut at) = (sound(16_000), Echo::new(), 0);
    bencher.bench_local(|| {
        echo.sent(black_box(&[0; 160]));
        at += 1;
        black_box(echo.heard(caller_frame(&caller, at), false))
    });
}
