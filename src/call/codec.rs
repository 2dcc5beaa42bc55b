//! What the media path speaks on the wire: G.711 at 8 kHz and G.722 at 16 kHz, of which one byte is 125 µs in either.
//!
//! So a packet's length counts its time, whatever its codec: `ticks` are bytes, and units of the RTP timestamp (RFC 3551 §4.5.2,
//! §4.5.14).

use crate::audio::resample::Up2;
use crate::audio::{g711, g722};
use crate::jitter::reorder::PAYLOAD_MAX;
use crate::sdp::Encoding;

/// Samples of the longest packet that is decoded.
pub const DECODED_MAX: usize = g722::SAMPLES_PER_BYTE * PAYLOAD_MAX;
/// Ticks that are encoded at a time.
const BLOCK: usize = 160;

/// Samples of a codec for each tick: 2 where it speaks at 16 kHz.
#[must_use]
pub const fn samples_per_tick(encoding: Encoding) -> usize {
    match encoding {
        Encoding::Pcmu | Encoding::Pcma => 1,
        Encoding::G722 => g722::SAMPLES_PER_BYTE,
    }
}

/// Encodes the agent's speech, which is at 8 kHz.
pub struct Encoder {
    encoding: Encoding,
    up: Up2,
    g722: g722::Encoder,
}

impl Encoder {
    /// Makes one at the start of a stream.
    #[must_use]
    pub fn new(encoding: Encoding) -> Self {
        Self { encoding, up: Up2::new(), g722: g722::Encoder::new() }
    }

    /// Encodes by `encoding` from here on; the stream begins anew where that is another one.
    ///
    /// # Real-time
    /// Constant time.
    pub fn set_encoding(&mut self, encoding: Encoding) {
        if encoding != self.encoding {
            *self = Self::new(encoding);
        }
    }

    /// Encodes samples at 8 kHz into as many bytes; the shorter of the two slices sets the count.
    ///
    /// # Real-time
    /// No heap, no panic; time is proportional to the block.
    pub fn encode(&mut self, pcm: &[i16], out: &mut [u8]) {
        match self.encoding {
            Encoding::Pcmu => g711::encode_ulaw(pcm, out),
            Encoding::Pcma => g711::encode_alaw(pcm, out),
            Encoding::G722 => {
                for (pcm, out) in pcm.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
                    let mut wide = [0; g722::SAMPLES_PER_BYTE * BLOCK];
                    let written = self.up.process(pcm, &mut wide);
                    self.g722.encode(wide.get(..written).unwrap_or_default(), out);
                }
            }
        }
    }
}

/// Decodes one direction of a call.
pub struct Decoder {
    encoding: Encoding,
    g722: g722::Decoder,
}

impl Decoder {
    /// Makes one at the start of a stream.
    #[must_use]
    pub const fn new(encoding: Encoding) -> Self {
        Self { encoding, g722: g722::Decoder::new() }
    }

    /// Returns what it decodes.
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Decodes a payload into the beginning of `out`; returns that beginning: [`samples_per_tick`] samples a byte, as far as
    /// there is room.
    ///
    /// # Real-time
    /// No heap, no panic; time is proportional to the payload.
    pub fn decode<'a>(&mut self, payload: &[u8], out: &'a mut [i16]) -> &'a mut [i16] {
        let per_tick = samples_per_tick(self.encoding);
        let ticks = payload.len().min(out.len() / per_tick);
        let pcm = out.get_mut(..ticks * per_tick).unwrap_or_default();
        match self.encoding {
            Encoding::Pcmu => g711::decode_ulaw(payload, pcm),
            Encoding::Pcma => g711::decode_alaw(payload, pcm),
            Encoding::G722 => self.g722.decode(payload, pcm),
        }
        pcm
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::resample::Down2;
    use std::f32::consts::TAU;

    fn tone(samples: usize) -> Vec<i16> {
        (0..samples).map(|n| (8000.0 * (TAU * 500.0 * n as f32 / 8000.0).sin()) as i16).collect()
    }

    fn power(pcm: &[i16]) -> f32 {
        pcm.iter().map(|s| f32::from(*s).powi(2)).sum::<f32>() / pcm.len() as f32
    }

    #[test]
    fn speech_comes_back_at_the_codec_s_own_rate() {
        let pcm = tone(4800);
        for encoding in Encoding::ALL {
            let (mut encoder, mut decoder) = (Encoder::new(encoding), Decoder::new(encoding));
            let mut heard = Vec::new();
            for packet in pcm.chunks(480) {
                let mut bytes = vec![0; packet.len()];
                encoder.encode(packet, &mut bytes);
                let mut out = [0; DECODED_MAX];
                heard.extend_from_slice(decoder.decode(&bytes, &mut out));
            }
            assert_eq!(heard.len(), pcm.len() * samples_per_tick(encoding));
            let mut narrow = vec![0; pcm.len()];
            match encoding {
                Encoding::G722 => Down2::new().process(&heard, &mut narrow),
                _ => {
                    narrow.copy_from_slice(&heard);
                    0
                }
            };
            let ratio = power(&narrow[800..]) / power(&pcm[800..]);
            assert!((0.95..1.05).contains(&ratio), "{encoding:?}: {ratio}");
        }
    }

    #[test]
    fn a_payload_longer_than_there_is_room_for_is_cut() {
        let mut out = [0; 7];
        for encoding in Encoding::ALL {
            let decoded = Decoder::new(encoding).decode(&[0x55; 100], &mut out).len();
            assert_eq!(decoded, 7 / samples_per_tick(encoding) * samples_per_tick(encoding));
        }
    }
}
