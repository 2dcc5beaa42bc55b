//! Both sides of a call as they are to be recorded: each with its RTP time, so that whoever writes them needs no clock.

use super::{FRAME_8K, FRAME_16K};
use crate::rtp::sequence::TimestampExtender;
use crate::rtp::{CLOCK_RATE, RtpTimestamp};
use crate::time::{Instant, samples};
use rtrb::Producer;

/// Whose sound it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The left channel.
    Caller,
    /// The right channel.
    Agent,
}

/// Up to 20 ms of one side.
#[derive(Clone, Copy)]
pub struct RecordFrame {
    /// Its number among the call's frames, those that were dropped included.
    pub number: u64,
    /// Whose it is.
    pub side: Side,
    /// RTP time of its first sample, extended beyond 32 bits, in ticks of 125 µs.
    pub ticks: u64,
    /// When its packet came, or went, and later by what stands before it in the packet.
    pub at: Instant,
    /// Whether it is 16 kHz, two samples a tick, and not 8 kHz.
    pub wide: bool,
    /// Whether it was made up in place of a packet: what `ticks` says is then no packet's word.
    pub made_up: bool,
    /// Whether the stream begins anew with it, at a time that has nothing to do with the one before.
    pub restart: bool,
    /// How many samples of `pcm` count.
    pub len: u16,
    /// The sound.
    pub pcm: [i16; FRAME_16K],
}

/// A stretch of sound, of any length.
#[derive(Clone, Copy)]
pub struct Sound<'a> {
    /// See [`RecordFrame::ticks`].
    pub ticks: u64,
    /// When its packet came, or went.
    pub at: Instant,
    /// See [`RecordFrame::wide`].
    pub wide: bool,
    /// See [`RecordFrame::made_up`].
    pub made_up: bool,
    /// See [`RecordFrame::restart`].
    pub restart: bool,
    /// Mono PCM.
    pub pcm: &'a [i16],
}

/// The media path's end of a recording. One that nobody asked for costs a comparison.
#[derive(Default)]
pub struct Recording {
    frames: Option<Producer<RecordFrame>>,
    number: u64,
    /// RTP time of the agent's packets.
    agent_ticks: Option<TimestampExtender>,
}

impl Recording {
    /// Begins one, whose frames go into this ring.
    #[must_use]
    pub const fn new(frames: Producer<RecordFrame>) -> Self {
        Self { frames: Some(frames), number: 0, agent_ticks: None }
    }

    /// Takes a packet of the agent's, which goes at `at`, and its `pcm`, mono at 8 kHz; `None`: it is an event, which has no sound.
    ///
    /// # Real-time
    /// As [`Self::take`].
    pub fn agent(&mut self, timestamp: RtpTimestamp, pcm: Option<&[i16]>, at: Instant) {
        if self.frames.is_none() {
            return;
        }
        let extender = self.agent_ticks.get_or_insert_with(|| TimestampExtender::new(timestamp));
        if let Some(pcm) = pcm {
            let ticks = extender.extend(timestamp);
            self.take(Side::Agent, &Sound { ticks, at, wide: false, made_up: false, restart: false, pcm });
        }
    }

    /// Takes sound of one side. A frame that finds the ring full is dropped; the next one's number tells of it, and silence of
    /// the same length stays in its place.
    ///
    /// # Real-time
    /// One copy; bounded by the sound.
    pub fn take(&mut self, side: Side, sound: &Sound<'_>) {
        let Some(frames) = &mut self.frames else { return };
        let per_tick = if sound.wide { 2 } else { 1 };
        let (mut ticks, mut restart) = (sound.ticks, sound.restart);
        for piece in sound.pcm.chunks(FRAME_8K * per_tick) {
            let mut frame = RecordFrame {
                number: self.number,
                side,
                ticks,
                at: sound.at + samples::duration(ticks - sound.ticks, CLOCK_RATE),
                wide: sound.wide,
                made_up: sound.made_up,
                restart,
                len: piece.len() as u16,
                pcm: [0; FRAME_16K],
            };
            frame.pcm.iter_mut().zip(piece).for_each(|(to, from)| *to = *from);
            let _ = frames.push(frame);
            self.number += 1;
            ticks += (piece.len() / per_tick) as u64;
            restart = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtrb::RingBuffer;

    fn sound(pcm: &[i16]) -> Sound<'_> {
        Sound { ticks: 1000, at: Instant::ZERO, wide: false, made_up: false, restart: true, pcm }
    }

    #[test]
    fn long_packets_are_cut_and_only_their_first_piece_begins_anew() {
        let (producer, mut frames) = RingBuffer::new(8);
        let mut recording = Recording::new(producer);
        recording.take(Side::Caller, &sound(&[5; 400]));
        let got: Vec<_> =
            std::iter::from_fn(|| frames.pop().ok()).map(|f| (f.number, f.ticks, f.len, f.restart)).collect();
        assert_eq!(got, [(0, 1000, 160, true), (1, 1160, 160, false), (2, 1320, 80, false)]);
        let wide = Sound { wide: true, ..sound(&[7; 640]) };
        recording.take(Side::Caller, &wide);
        let got: Vec<_> = std::iter::from_fn(|| frames.pop().ok()).map(|f| (f.ticks, f.len)).collect();
        assert_eq!(got, [(1000, 320), (1160, 320)]);
    }

    #[test]
    fn a_full_ring_drops_and_the_numbers_tell_how_many() {
        let (producer, mut frames) = RingBuffer::new(2);
        let mut recording = Recording::new(producer);
        recording.take(Side::Agent, &sound(&[5; 800]));
        while frames.pop().is_ok() {}
        recording.take(Side::Agent, &sound(&[5; 160]));
        assert_eq!(frames.pop().map(|frame| frame.number), Ok(5), "three were dropped");
        Recording::default().take(Side::Agent, &sound(&[5; 160]));
    }
}
