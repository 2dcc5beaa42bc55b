//! Measures what a peer recorded: level, gaps, clicks, and whether it is what was said.

use std::path::Path;

/// Samples a second.
pub const RATE: usize = 8000;
/// Samples of one step of an envelope, 10 ms.
const STEP: usize = RATE / 100;
/// Louder than this is speech: -40 dBov.
const LOUD: f64 = 328.0;

/// Reads a mono file of 16 bits at 8 kHz. One that was not closed is read as far as it goes.
pub fn read(path: &Path) -> Vec<i16> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let data = bytes.windows(4).position(|four| four == b"data").expect("a wav file") + 8;
    bytes[data..].chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect()
}

/// Writes such a file.
pub fn write(path: &Path, pcm: &[i16]) {
    let sample_rate = u32::try_from(RATE).expect("small");
    let spec =
        hound::WavSpec { channels: 1, sample_rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut wav = hound::WavWriter::create(path, spec).expect("a file");
    pcm.iter().for_each(|sample| wav.write_sample(*sample).expect("written"));
    wav.finalize().expect("written");
}

/// The root mean square of each 10 ms.
fn envelope(pcm: &[i16]) -> Vec<f64> {
    let rms = |step: &[i16]| (step.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / step.len() as f64).sqrt();
    pcm.chunks(STEP).map(rms).collect()
}

/// Cuts off what is silent before and after, and leaves 50 ms of it.
pub fn trim(pcm: &[i16]) -> &[i16] {
    let loud: Vec<usize> = envelope(pcm).iter().enumerate().filter(|(_, rms)| **rms > LOUD).map(|(n, _)| n).collect();
    let (Some(first), Some(last)) = (loud.first(), loud.last()) else { return &[] };
    &pcm[first.saturating_sub(5) * STEP..((last + 6) * STEP).min(pcm.len())]
}

/// Milliseconds that are loud.
pub fn loud_ms(pcm: &[i16]) -> usize {
    envelope(pcm).iter().filter(|rms| **rms > LOUD).count() * 10
}

/// The level of its loud parts, in dB below full scale.
pub fn level_dbov(pcm: &[i16]) -> f64 {
    let loud: Vec<f64> = envelope(pcm).into_iter().filter(|rms| *rms > LOUD).collect();
    let power = loud.iter().map(|rms| rms.powi(2)).sum::<f64>() / loud.len().max(1) as f64;
    10.0 * (power / 32_768f64.powi(2)).log10()
}

/// The longest hole in milliseconds: digital silence with speech hard up against both its edges. A speaker's pause fades.
pub fn longest_gap_ms(pcm: &[i16]) -> usize {
    const EDGE: usize = RATE / 200;
    // What A-law and mu-law make of a zero.
    let silent = |sample: &i16| sample.unsigned_abs() <= 8;
    let loud = |edge: &[i16]| edge.iter().any(|sample| sample.unsigned_abs() > 1_000);
    let (mut longest, mut begin) = (0, None);
    for (n, sample) in pcm.iter().enumerate() {
        match begin {
            None if silent(sample) => begin = Some(n),
            Some(from) if !silent(sample) => {
                let (before, after) = (&pcm[from.saturating_sub(EDGE)..from], &pcm[n..(n + EDGE).min(pcm.len())]);
                if loud(before) && loud(after) {
                    longest = longest.max(n - from);
                }
                begin = None;
            }
            _ => {}
        }
    }
    longest * 1000 / RATE
}

/// How many single steps stand out from the 4 ms around them, as a splice of two waves does.
pub fn clicks(pcm: &[i16]) -> usize {
    const AROUND: usize = RATE / 250;
    let steps: Vec<u32> = pcm.windows(2).map(|two| u32::from(two[0].abs_diff(two[1]))).collect();
    let stands_out = |n: usize| {
        let around = steps[n.saturating_sub(AROUND)..(n + AROUND).min(steps.len())].iter().enumerate();
        let at = n.min(AROUND);
        let most = around.filter(|(m, _)| m.abs_diff(at) > 1).map(|(_, step)| *step).max().unwrap_or(0);
        steps[n] > 4_000 && steps[n] > 4 * most
    };
    (0..steps.len()).filter(|n| stands_out(*n)).count()
}

/// How alike the envelopes are where `said` lies best in `heard`: 1 is the same, 0 has nothing to do with it.
pub fn likeness(said: &[i16], heard: &[i16]) -> f64 {
    let (said, heard) = (envelope(said), envelope(heard));
    if heard.len() < said.len() || said.is_empty() {
        return 0.0;
    }
    let best = heard.windows(said.len()).map(|part| correlation(&said, part));
    best.fold(0.0, f64::max)
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| f(a - mean_a, b - mean_b)).sum::<f64>();
    let power = (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt();
    if power > 0.0 { sum(&|a, b| a * b) / power } else { 0.0 }
}
