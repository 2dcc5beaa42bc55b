//! The caller's speech as the recogniser gets it: whole 20 ms frames without a hole, in real time whatever the peer sends.
//!
//! A recogniser's clock is the audio itself: it finds the end of a turn by silence that it hears. So a peer that stops sending
//! (its own voice detector, a hold, a dead line) must not stop that clock, and one that comes late must not run it twice.

use super::ingress::Output;
use super::{EarFrame, FRAME_8K, FRAME_16K};
use crate::audio::activity::Activity;
use crate::audio::g711::{self, Codec};
use crate::audio::resample::Up2;
use crate::jitter::conceal::Concealer;
use crate::jitter::reorder::PAYLOAD_MAX;
use crate::jitter::{Incoming, Stats};
use crate::time::Instant;
use std::time::Duration;

/// One frame.
const FRAME: Duration = Duration::from_millis(20);
/// How long a packet may be overdue while nobody speaks, before silence takes its place: what is filled in too early is silence
/// as well, and is left out again. Twice the packet time covers a single loss.
const PATIENCE_IN_SILENCE: Duration = Duration::from_millis(40);
/// And while somebody speaks: as long as the longest wait for a gap, since a hole in a word costs more than a late one.
const PATIENCE_IN_SPEECH: Duration = Duration::from_millis(200);
/// How far behind real time filled-in silence stays, so that a packet on its way is not overtaken by it.
const LAG: Duration = Duration::from_millis(20);
/// Frames filled in at once at most: what is due after a stall of our own is spread over the next calls.
const FRAMES_AT_ONCE: usize = 25;
/// How much of a gap in the timestamps is filled beyond what real time accounts for. Lost packets may come in a burst with those
/// around them; a pause passes in real time, but for the network's jitter.
const LOSS_AHEAD: Duration = Duration::from_millis(500);
const PAUSE_AHEAD: Duration = Duration::from_millis(60);
/// Filled-in silence up to this long may have been lateness. A peer that comes back after longer has paused without its
/// timestamps saying so.
const LATENESS_MAX_SAMPLES: u32 = 8000;
/// The caller must have been quiet for so many frames, 2 s, before silence is left out: the recogniser is not to wait longer for
/// the end of a turn.
const QUIET_FRAMES: u32 = 100;

/// Decodes, conceals, cuts into frames and listens.
pub(super) struct Ear {
    concealer: Concealer,
    up: Up2,
    activity: Activity,
    /// The frame that is being put together.
    pcm: [i16; FRAME_8K],
    len: usize,
    /// Samples of it that were made up.
    len_made_up: usize,
    speaking: bool,
    quiet_frames: u32,
    /// The moment up to which the recogniser has the caller's audio: the arrival of the last packet that it got.
    until: Instant,
    /// How long the last packet was.
    packet_time: Duration,
    /// Whether silence is being filled in.
    idle: bool,
    /// Samples filled in since the last packet.
    made_up: u32,
    /// Samples filled in whose packets came after all.
    surplus: u32,
}

impl Ear {
    /// Begins to listen at `now`, in silence.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            concealer: Concealer::new(),
            up: Up2::new(),
            activity: Activity::new(),
            pcm: [0; FRAME_8K],
            len: 0,
            len_made_up: 0,
            speaking: false,
            quiet_frames: 0,
            until: now,
            packet_time: FRAME,
            idle: true,
            made_up: 0,
            surplus: 0,
        }
    }

    /// Takes the next packet. `restart`: its timestamp says nothing about the time before it.
    ///
    /// # Real-time
    /// Bounded by the packet, and 500 ms of silence before it.
    pub(super) fn hear(
        &mut self,
        packet: &Incoming<'_>,
        codec: Codec,
        restart: bool,
        stats: &mut Stats,
        sink: &mut impl FnMut(Output<'_>),
    ) {
        if restart {
            // What was filled in was right, and the rest of the time up to the packet was silence, too.
            let silence = samples_of(packet.arrived.since(self.until)).saturating_sub(packet.samples);
            let silence = silence.min(samples_of(LOSS_AHEAD));
            stats.silent_samples += u64::from(silence);
            self.make_up(silence, packet.arrived, stats, sink);
        } else if self.made_up <= LATENESS_MAX_SAMPLES {
            self.surplus = (self.surplus + self.made_up).min(LATENESS_MAX_SAMPLES);
        }
        self.made_up = 0;
        self.idle = false;
        self.until = self.until.max(packet.arrived);
        self.packet_time = duration_of(packet.samples);
        let mut pcm = [0; PAYLOAD_MAX];
        let pcm = pcm.get_mut(..packet.payload.len()).unwrap_or_default();
        codec.decode(packet.payload, pcm);
        self.concealer.good(pcm);
        self.cut(pcm, packet.arrived, false, stats, sink);
    }

    /// Fills a gap of `samples` in the timestamps, as far as it is not filled yet: packets were `lost`, or the peer paused.
    ///
    /// # Real-time
    /// Bounded by real time and 500 ms.
    pub(super) fn gap(
        &mut self,
        samples: u32,
        lost: bool,
        arrived: Instant,
        stats: &mut Stats,
        sink: &mut impl FnMut(Output<'_>),
    ) {
        let filled = samples.min(self.made_up);
        self.made_up -= filled;
        let ahead = if lost { LOSS_AHEAD } else { PAUSE_AHEAD };
        let missing = (samples - filled).min(samples_of(arrived.since(self.until) + ahead));
        if lost {
            // What was taken for a pause was loss.
            stats.silent_samples = stats.silent_samples.saturating_sub(u64::from(filled));
            stats.concealed_samples += u64::from(filled + missing);
            stats.concealment_events += 1;
        } else {
            stats.silent_samples += u64::from(missing);
        }
        self.make_up(missing, arrived, stats, sink);
        self.until += duration_of(missing);
    }

    /// Fills in silence where the peer is overdue.
    ///
    /// # Real-time
    /// Bounded by [`FRAMES_AT_ONCE`].
    pub(super) fn handle_timeout(&mut self, now: Instant, stats: &mut Stats, sink: &mut impl FnMut(Output<'_>)) {
        for _ in 0..FRAMES_AT_ONCE {
            if now < self.poll_timeout() {
                return;
            }
            self.idle = true;
            self.until += FRAME;
            self.made_up = self.made_up.saturating_add(FRAME_8K as u32);
            stats.silent_samples += FRAME_8K as u64;
            self.make_up(FRAME_8K as u32, now, stats, sink);
        }
    }

    /// Returns when [`Self::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Instant {
        let patience = if self.speaking { PATIENCE_IN_SPEECH } else { PATIENCE_IN_SILENCE };
        self.until + if self.idle { FRAME + LAG } else { self.packet_time + patience }
    }

    /// Nothing of the peer's is to be heard from here on: silence goes on in its place.
    pub(super) fn hold(&mut self) {
        self.idle = true;
    }

    fn make_up(&mut self, samples: u32, arrived: Instant, stats: &mut Stats, sink: &mut impl FnMut(Output<'_>)) {
        let mut left = samples as usize;
        while left > 0 {
            let mut pcm = [0; FRAME_8K];
            let pcm = pcm.get_mut(..left.min(FRAME_8K)).unwrap_or_default();
            left -= pcm.len();
            self.concealer.conceal(pcm);
            self.cut(pcm, arrived, true, stats, sink);
        }
    }

    /// Cuts samples into frames.
    fn cut(
        &mut self,
        mut samples: &[i16],
        arrived: Instant,
        made_up: bool,
        stats: &mut Stats,
        sink: &mut impl FnMut(Output<'_>),
    ) {
        while !samples.is_empty() {
            let room = self.pcm.get_mut(self.len..).unwrap_or_default();
            let (some, rest) = samples.split_at(samples.len().min(room.len()));
            for (to, from) in room.iter_mut().zip(some) {
                *to = *from;
            }
            samples = rest;
            self.len += some.len();
            self.len_made_up += if made_up { some.len() } else { 0 };
            if self.len >= FRAME_8K {
                self.finish_frame(arrived, stats, sink);
            }
        }
    }

    fn finish_frame(&mut self, arrived: Instant, stats: &mut Stats, sink: &mut impl FnMut(Output<'_>)) {
        let concealed = self.len_made_up * 2 > FRAME_8K;
        (self.len, self.len_made_up) = (0, 0);
        let mut frame = EarFrame { pcm: [0; FRAME_16K], ulaw: [0; FRAME_8K], arrived, speech: false, concealed };
        self.up.process(&self.pcm, &mut frame.pcm);
        let decision = self.activity.push(&frame.pcm);
        // What we made up is never what the caller said last.
        frame.speech = decision.speech && !concealed;
        let quiet = !decision.speech && !decision.speaking;
        self.quiet_frames = if quiet { self.quiet_frames.saturating_add(1) } else { 0 };
        if self.surplus >= FRAME_8K as u32 && self.quiet_frames > QUIET_FRAMES {
            self.surplus -= FRAME_8K as u32;
            stats.removed_samples += FRAME_8K as u64;
            return;
        }
        g711::encode_ulaw(&self.pcm, &mut frame.ulaw);
        sink(Output::Frame(&frame));
        if decision.speaking != self.speaking {
            self.speaking = decision.speaking;
            sink(Output::CallerSpeech { speaking: decision.speaking, at: arrived });
        }
    }
}

/// Samples at 8 kHz in `time`.
fn samples_of(time: Duration) -> u32 {
    u32::try_from(time.as_micros() * 8 / 1000).unwrap_or(u32::MAX)
}

/// The time of `samples` at 8 kHz.
const fn duration_of(samples: u32) -> Duration {
    Duration::from_micros(samples as u64 * 125)
}
