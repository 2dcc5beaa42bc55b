//! Callers' voices for measurements: a pulse train, which a detector takes for speech and whose every sample is known, and
//! espeak-ng's, which has words.
#![allow(dead_code, reason = "each measurement uses a part of it")]

use std::process::Command;

/// Samples a second.
const RATE: f64 = 8000.0;

/// Returns 1.2 s of voiced syllables at 8 kHz: 120 Hz through two resonances, four syllables a second, dying away over the last
/// 80 ms as voices do.
pub fn speech() -> Vec<i16> {
    voiced(1.2, 0.08)
}

/// Returns a click at 8 kHz, as loud as speech: `seconds` of it, which a cough or a knock has.
pub fn click(seconds: f64) -> Vec<i16> {
    voiced(seconds, seconds / 2.0)
}

fn voiced(seconds: f64, fade: f64) -> Vec<i16> {
    let (mut low, mut high) = ([0.0f64; 2], [0.0f64; 2]);
    let len = (seconds * RATE) as u32;
    let mut pcm = Vec::with_capacity(len as usize);
    for n in 0..len {
        let t = f64::from(n) / RATE;
        let pulse = if n % 66 == 0 { 1.0 } else { 0.0 };
        let formants = resonate(&mut low, pulse, 600.0) + 0.6 * resonate(&mut high, pulse, 1600.0);
        let syllable = (t * std::f64::consts::TAU * 2.0).sin().abs().max(0.35);
        let dying = ((seconds - t) / fade).min(1.0).powi(2);
        pcm.push((formants * syllable * dying * 9000.0).clamp(-30_000.0, 30_000.0) as i16);
    }
    pcm
}

fn resonate(state: &mut [f64; 2], input: f64, hertz: f64) -> f64 {
    let radius = 0.97;
    let turn = 2.0 * radius * (std::f64::consts::TAU * hertz / RATE).cos();
    let output = input + turn * state[0] - radius * radius * state[1];
    *state = [output, state[0]];
    output
}

/// Returns 1.2 s of voiced syllables at 8 kHz that stop dead at the end of a 20 ms packet: there is no doubt which packet was the
/// last with speech.
pub fn sharp_speech() -> Vec<i16> {
    let seconds = 1.2;
    let mut pcm = voiced(seconds, f64::EPSILON);
    pcm.truncate((seconds * RATE) as usize);
    pcm
}

/// Returns `text` spoken by espeak-ng at 8 kHz, as loud as asked for in dBov, from its first sound on.
pub fn spoken(voice: &str, speed: u32, pitch: u32, text: &str, level_db: f32) -> Vec<i16> {
    let command = "espeak-ng --stdout -v \"$0\" -s \"$1\" -p \"$2\" \"$3\" | sox -q -t wav - -t raw -r 8000 -e signed -b 16 -c 1 -";
    let (speed, pitch) = (speed.to_string(), pitch.to_string());
    let made = Command::new("sh").args(["-c", command, voice, &speed, &pitch, text]).output().expect("a shell");
    let pcm: Vec<i16> = made.stdout.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    assert!(!pcm.is_empty(), "espeak-ng and sox make the voices: {}", String::from_utf8_lossy(&made.stderr));
    let loud = |sample: &i16| sample.unsigned_abs() > 300;
    let from = pcm.iter().position(loud).unwrap_or(0);
    let to = pcm.iter().rposition(loud).map_or(pcm.len(), |at| at + 1);
    let spoken = pcm.get(from..to).unwrap_or_default();
    let active: Vec<f32> = spoken.iter().filter(|sample| loud(sample)).map(|sample| f32::from(*sample)).collect();
    let rms = (active.iter().map(|v| v * v).sum::<f32>() / active.len().max(1) as f32).sqrt().max(1.0);
    let gain = 32_768.0 * 10f32.powf(level_db / 20.0) / rms;
    spoken.iter().map(|sample| (f32::from(*sample) * gain).clamp(-32_000.0, 32_000.0) as i16).collect()
}
