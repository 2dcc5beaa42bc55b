//! Both sides of a call for whoever listens to it, which takes nothing away from the agent.

use super::codec::{Decoder, samples_per_tick};
use super::{FRAME_8K, FRAME_16K, TapFrame};
use crate::audio::resample::Up2;
use crate::rtp::packet::HEADER_LEN;
use crate::sdp::Encoding;
use rtrb::Producer;

/// The most that may listen to one call at once.
const LISTENERS_MAX: usize = 4;

/// Caller frames that wait for the agent's clock: the caller's packets come in bursts of up to 60 ms, and early ones are
/// handed on later. More than this and the oldest is left out.
const CALLER_FRAMES_MAX: usize = 8;

/// Samples at 16 kHz in the time of one byte on the wire.
const PER_BYTE: usize = FRAME_16K / FRAME_8K;

/// Puts caller and agent side by side in frames of 20 ms, by the agent's clock. Idle while nobody listens.
pub struct Tap {
    listeners: [Option<Producer<TapFrame>>; LISTENERS_MAX],
    caller: [[i16; FRAME_16K]; CALLER_FRAMES_MAX],
    head: usize,
    len: usize,
    /// The agent's frame that is being put together, and how much of it is there: packets need not last 20 ms.
    agent: [i16; FRAME_16K],
    agent_len: usize,
    decoder: Decoder,
    up: Up2,
}

impl Tap {
    /// Makes one for a call whose packets are coded so.
    #[must_use]
    pub fn new(encoding: Encoding) -> Self {
        Self {
            listeners: [const { None }; LISTENERS_MAX],
            caller: [[0; FRAME_16K]; CALLER_FRAMES_MAX],
            head: 0,
            len: 0,
            agent: [0; FRAME_16K],
            agent_len: 0,
            decoder: Decoder::new(encoding),
            up: Up2::new(),
        }
    }

    /// The call's packets are coded so from here on.
    pub fn set_encoding(&mut self, encoding: Encoding) {
        if encoding != self.decoder.encoding() {
            self.decoder = Decoder::new(encoding);
        }
    }

    /// Adds a listener in the place of one who has left.
    ///
    /// # Errors
    /// The listener, where all places are taken.
    ///
    /// # Real-time
    /// Frees the ring of the listener whose place is taken: once per listener, on the order of net.
    pub fn add(&mut self, listener: Producer<TapFrame>) -> Result<(), Producer<TapFrame>> {
        let free = self.listeners.iter_mut().find(|place| place.as_ref().is_none_or(Producer::is_abandoned));
        match free {
            Some(place) => {
                *place = Some(listener);
                Ok(())
            }
            None => Err(listener),
        }
    }

    /// Takes 20 ms of the caller.
    ///
    /// # Real-time
    /// One copy.
    pub fn caller(&mut self, pcm: &[i16; FRAME_16K]) {
        if !self.heard_by_anyone() {
            self.len = 0;
            return;
        }
        if self.len == CALLER_FRAMES_MAX {
            self.head = (self.head + 1) % CALLER_FRAMES_MAX;
            self.len -= 1;
        }
        self.caller[(self.head + self.len) % CALLER_FRAMES_MAX] = *pcm;
        self.len += 1;
    }

    /// Takes a packet of the agent, and hands on what is whole of both sides, in frames of 20 ms.
    ///
    /// # Real-time
    /// Bounded by the packet.
    pub fn agent(&mut self, packet: &[u8]) {
        if !self.heard_by_anyone() {
            return;
        }
        let mut payload = packet.get(HEADER_LEN..).unwrap_or_default();
        while !payload.is_empty() {
            let (piece, rest) = payload.split_at(self.room().min(payload.len()));
            payload = rest;
            let frame = self.agent.get_mut(self.agent_len..).unwrap_or_default();
            if samples_per_tick(self.decoder.encoding()) == PER_BYTE {
                self.decoder.decode(piece, frame);
            } else {
                let mut narrow = [0; FRAME_8K];
                self.up.process(self.decoder.decode(piece, &mut narrow), frame);
            }
            self.advance(piece.len());
        }
    }

    /// Takes `samples` at 8 kHz in which the agent presses keys and does not speak.
    ///
    /// # Real-time
    /// As [`Self::agent`].
    pub fn keys(&mut self, mut samples: usize) {
        if !self.heard_by_anyone() {
            return;
        }
        while samples > 0 {
            let some = samples.min(self.room());
            samples -= some;
            self.agent.iter_mut().skip(self.agent_len).take(some * PER_BYTE).for_each(|sample| *sample = 0);
            self.advance(some);
        }
    }

    /// Returns how many bytes on the wire the agent's frame still has room for: at least one.
    const fn room(&self) -> usize {
        (FRAME_16K - self.agent_len) / PER_BYTE
    }

    /// The agent's frame has come on by so many `bytes`; a whole one is handed on with as much of the caller.
    fn advance(&mut self, bytes: usize) {
        self.agent_len += bytes * PER_BYTE;
        if self.agent_len < FRAME_16K {
            return;
        }
        self.agent_len = 0;
        let mut frame = TapFrame { caller: [0; FRAME_16K], agent: self.agent };
        if self.len > 0 {
            frame.caller = self.caller[self.head];
            self.head = (self.head + 1) % CALLER_FRAMES_MAX;
            self.len -= 1;
        }
        for listener in self.listeners.iter_mut().flatten() {
            // A listener who lags loses frames.
            let _ = listener.push(frame);
        }
    }

    fn heard_by_anyone(&self) -> bool {
        self.listeners.iter().flatten().any(|listener| !listener.is_abandoned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::Encoder;
    use super::*;
    use rtrb::RingBuffer;

    #[test]
    fn the_sides_stay_apart_and_the_callers_frame_waits_for_the_agents_slot() {
        let mut tap = Tap::new(Encoding::Pcmu);
        let (listener, mut heard) = RingBuffer::new(8);
        assert!(tap.add(listener).is_ok());
        tap.caller(&[1000; FRAME_16K]);
        // 0x80 is the loudest positive code of mu-law (ITU-T G.711).
        let mut packet = [0x80; HEADER_LEN + FRAME_8K];
        packet[..HEADER_LEN].fill(0);
        tap.agent(&packet);
        let frame = heard.pop().expect("a frame");
        assert_eq!(frame.caller, [1000; FRAME_16K]);
        assert!(frame.agent[FRAME_16K / 2] > 30_000, "{:?}", frame.agent);
        assert_eq!(frame.mixed()[FRAME_16K / 2], frame.agent[FRAME_16K / 2].saturating_add(1000));
        // The agent presses keys, and the caller says nothing.
        tap.keys(FRAME_8K);
        let frame = heard.pop().expect("a frame");
        assert_eq!((frame.caller, frame.agent), ([0; FRAME_16K], [0; FRAME_16K]));
        assert!(heard.pop().is_err());
    }

    #[test]
    fn packets_of_any_length_are_heard_whole() {
        for encoding in [Encoding::Pcma, Encoding::G722] {
            for ms in [10, 20, 30, 60] {
                let mut tap = Tap::new(encoding);
                let (listener, mut heard) = RingBuffer::new(64);
                assert!(tap.add(listener).is_ok());
                let mut encoder = Encoder::new(encoding);
                for _ in 0..600 / ms {
                    let mut packet = vec![0; HEADER_LEN + 8 * ms];
                    encoder.encode(&vec![5000; 8 * ms], &mut packet[HEADER_LEN..]);
                    tap.agent(&packet);
                }
                let agent: Vec<i16> = std::iter::from_fn(|| heard.pop().ok()).flat_map(|frame| frame.agent).collect();
                assert_eq!(agent.len(), 600 * 16, "{encoding:?}, {ms} ms");
                assert!(agent[1600..].iter().all(|sample| (4500..5500).contains(sample)), "{encoding:?}, {ms} ms");
                (0..600 / ms).for_each(|_| tap.keys(8 * ms));
                assert_eq!(std::iter::from_fn(|| heard.pop().ok()).count(), 30, "{ms} ms");
            }
        }
    }
}
