//! Both sides of the telephone's call in one file: the caller left, the agent right, placed by their times.

use super::capture::{Capture, Stream};
use super::{RATE, length};
use crate::time::Instant;
use std::io;
use std::path::Path;

/// What was said, and from which sample of the stream that was sent on.
pub type Said<'a> = (u64, &'a [i16]);

/// Writes the recording: 8 kHz, 16 bits, stereo.
///
/// # Errors
/// What the system says.
pub fn write(path: &Path, capture: &Capture, stream: &Stream, said: &[Said<'_>]) -> io::Result<()> {
    let Some(zero) = capture.sent.first().map(|sent| sent.at) else { return Ok(()) };
    let caller_end = said.iter().map(|(first, pcm)| *first as usize + pcm.len()).max().unwrap_or(0);
    let offset = agent_offset(stream, zero);
    let agent_end = stream.pcm().len() as i64 + offset;
    let total = caller_end.max(usize::try_from(agent_end).unwrap_or(0));
    let mut both = vec![[0i16; 2]; total];
    for (first, pcm) in said {
        for (n, sample) in pcm.iter().enumerate() {
            both[*first as usize + n][0] = *sample;
        }
    }
    for (n, sample) in stream.pcm().iter().enumerate() {
        if let Some(place) = usize::try_from(n as i64 + offset).ok().and_then(|at| both.get_mut(at)) {
            place[1] = *sample;
        }
    }
    let spec =
        hound::WavSpec { channels: 2, sample_rate: RATE, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let failed = |error: hound::Error| match error {
        hound::Error::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    };
    let mut writer = hound::WavWriter::create(path, spec).map_err(failed)?;
    for sample in both.into_iter().flatten() {
        writer.write_sample(sample).map_err(failed)?;
    }
    writer.finalize().map_err(failed)
}

/// Finds out whether a recording can be written to `path`, and leaves there what was there.
///
/// # Errors
/// What the system says.
pub fn probe(path: &Path) -> io::Result<()> {
    let was_there = path.exists();
    std::fs::File::options().append(true).create(true).open(path)?;
    if was_there { Ok(()) } else { std::fs::remove_file(path) }
}

/// Returns where the agent's first sample lies on the caller's timeline: by the fastest packet, so that jitter does not move it.
fn agent_offset(stream: &Stream, zero: Instant) -> i64 {
    let Some(anchor) = stream.anchor_ns(std::time::Duration::from_secs(2)) else { return 0 };
    let sample_ns = i128::try_from(length(1).as_nanos()).unwrap_or(1);
    i64::try_from((anchor - i128::from(zero.as_nanos())) / sample_ns).unwrap_or(0)
}
