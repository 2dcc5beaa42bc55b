//! Recordings as stimuli: any rate, any number of channels, as 8 kHz mono.

use super::RATE;
use crate::audio::resample::Converter;
use std::path::Path;

/// The longest recording that is read: nobody talks to an agent for ten minutes on end.
const SECONDS_MAX: u32 = 600;

/// Reads a recording.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read(path: &Path) -> Result<Vec<i16>, String> {
    let wrong = |error: hound::Error| match error {
        hound::Error::IoError(error) => format!("cannot be read ({error})"),
        other => format!("is no WAV file that can be read ({other})"),
    };
    let mut wav = hound::WavReader::open(path).map_err(wrong)?;
    let spec = wav.spec();
    if wav.duration() > SECONDS_MAX.saturating_mul(spec.sample_rate) {
        return Err(format!("is longer than {SECONDS_MAX} s"));
    }
    let samples: Vec<i32> = match spec.sample_format {
        hound::SampleFormat::Int => {
            let shift = 32 - u32::from(spec.bits_per_sample).clamp(1, 32);
            wav.samples::<i32>().map(|sample| sample.map(|sample| sample << shift)).collect::<Result<_, _>>()
        }
        hound::SampleFormat::Float => {
            let whole = |sample: f32| (f64::from(sample.clamp(-1.0, 1.0)) * f64::from(i32::MAX)) as i32;
            wav.samples::<f32>().map(|sample| sample.map(whole)).collect::<Result<_, _>>()
        }
    }
    .map_err(wrong)?;
    let channels = usize::from(spec.channels.max(1));
    let mix = |frame: &[i32]| {
        let sum: i64 = frame.iter().map(|sample| i64::from(*sample)).sum();
        ((sum / channels as i64) >> 16) as i16
    };
    let mono: Vec<i16> = samples.chunks_exact(channels).map(mix).collect();
    let mut converter = Converter::new(spec.sample_rate, RATE)
        .map_err(|_| format!("has {} samples a second, where 8000, 16000 and 48000 are usual", spec.sample_rate))?;
    let mut pcm = Vec::new();
    converter.process(&mono, &mut pcm);
    converter.finish(&mut pcm);
    Ok(pcm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hound::{SampleFormat, WavSpec, WavWriter};

    #[test]
    fn any_rate_channels_and_format_become_8_khz_mono() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.wav");
        for (sample_rate, channels, bits_per_sample, sample_format) in [
            (8000, 1, 16, SampleFormat::Int),
            (16_000, 2, 16, SampleFormat::Int),
            (44_100, 2, 24, SampleFormat::Int),
            (48_000, 1, 32, SampleFormat::Float),
        ] {
            let spec = WavSpec { channels, sample_rate, bits_per_sample, sample_format };
            let mut writer = WavWriter::create(&path, spec).expect("a file");
            for n in 0..sample_rate {
                let value = 0.25 * (f64::from(n) / f64::from(sample_rate) * std::f64::consts::TAU * 440.0).sin();
                for _ in 0..channels {
                    match sample_format {
                        SampleFormat::Float => writer.write_sample(value as f32).expect("written"),
                        SampleFormat::Int => {
                            let full = f64::from(1u32 << (bits_per_sample - 1));
                            writer.write_sample((value * full) as i32).expect("written");
                        }
                    }
                }
            }
            writer.finalize().expect("written");
            let pcm = read(&path).expect("a recording");
            assert!(pcm.len().abs_diff(8000) <= 2, "{sample_rate}: {}", pcm.len());
            let level = crate::phone::level::dbov(&pcm[1000..7000]);
            assert!((level + 15.05).abs() < 0.3, "{sample_rate} Hz, {bits_per_sample} bits: {level}");
        }
    }

    #[test]
    fn what_is_no_recording_is_said_to_be_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.wav");
        assert!(read(&path).expect_err("nothing there").starts_with("cannot be read"));
        std::fs::write(&path, b"ID3 no RIFF").expect("written");
        assert!(read(&path).expect_err("no WAV").contains("no WAV file"));
    }
}
