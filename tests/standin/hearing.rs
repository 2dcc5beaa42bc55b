//! What the stand-ins of recognisers make of the audio that they are sent: how long it is, and whether it is speech.

use super::query;
use offhook::audio::g711::linear_of_ulaw;
use std::time::Duration;
use tungstenite::handshake::server::Request;

/// Mean amplitude from which audio counts as speech.
const SPEECH_LEVEL: u32 = 400;

/// The format of a connection's audio.
#[derive(Clone, Copy)]
pub struct Format {
    mulaw: bool,
    rate: u32,
}

/// One message of audio.
pub struct Heard {
    pub length: Duration,
    pub speech: bool,
}

impl Format {
    /// Returns what the request asks for; 16 kHz PCM where it says nothing.
    pub fn of(request: &Request) -> Self {
        let rate = query(request, "sample_rate").and_then(|rate| rate.parse().ok()).unwrap_or(16_000);
        Self { mulaw: query(request, "encoding") == Some("mulaw"), rate }
    }

    pub fn hear(self, bytes: &[u8]) -> Heard {
        let samples: Vec<i16> = if self.mulaw {
            bytes.iter().map(|code| linear_of_ulaw(*code)).collect()
        } else {
            bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
        };
        let sum: u32 = samples.iter().map(|sample| u32::from(sample.unsigned_abs())).sum();
        let level = sum / samples.len().max(1) as u32;
        Heard { length: Duration::from_secs(samples.len() as u64) / self.rate, speech: level >= SPEECH_LEVEL }
    }
}
