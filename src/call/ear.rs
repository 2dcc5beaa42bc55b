//! The caller's speech as the recogniser gets it: whole 20 ms frames without a hole, in real time whatever the peer sends.
//!
//! A recogniser's clock is the audio itself: it finds the end of a turn by silence that it hears. So a peer that stops sending
//! (its own voice detector, a hold, a dead line) must not stop that clock, and one that comes late must not run it twice.

use super::codec::{DECODED_MAX, Decoder, samples_per_tick};
use super::digits::Way;
use super::ingress::Output;
use super::recording::Sound;
use super::{EarFrame, FRAME_8K, FRAME_16K};
use crate::audio::activity::Activity;
use crate::audio::comfort_noise::ComfortNoise;
use crate::audio::g711;
use crate::audio::resample::{Down2, Up2};
use crate::audio::tone;
use crate::jitter::conceal::Concealer;
use crate::jitter::{Incoming, Stats};
use crate::rtp::CLOCK_RATE;
use crate::sdp::Encoding;
use crate::time::{Instant, samples};
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

/// Frames made up in a row through which a key may be held: a lost packet in a tone does not make two keys of it, and a pause
/// ends every key.
const TONE_HELD_FRAMES: u8 = 2;

/// Decodes, conceals, cuts into frames and listens. Time is counted in ticks of 125 µs, each a sample at 8 kHz or two at 16.
pub(super) struct Ear {
    decoder: Decoder,
    concealer: Concealer,
    comfort_noise: ComfortNoise,
    up: Up2,
    down: Down2,
    activity: Activity,
    tone: tone::Detector,
    /// Frames made up since the last that was not.
    frames_made_up: u8,
    /// The frame that is being put together, at both rates, and its ticks.
    wide: [i16; FRAME_16K],
    narrow: [i16; FRAME_8K],
    len: usize,
    /// Ticks of it that were made up.
    len_made_up: usize,
    speaking: bool,
    quiet_frames: u32,
    /// The moment up to which the recogniser has the caller's audio: the arrival of the last packet that it got.
    until: Instant,
    /// How long the last packet was.
    packet_time: Duration,
    /// Whether silence is being filled in.
    idle: bool,
    /// Ticks filled in since the last packet.
    made_up: u32,
    /// Ticks filled in whose packets came after all.
    surplus: u32,
    /// The RTP time up to which there is sound, once there was a packet.
    ticks: Option<u64>,
}

impl Ear {
    /// Begins to listen at `now`, in silence, to a stream that is expected to be coded so.
    pub(super) fn new(encoding: Encoding, now: Instant) -> Self {
        Self {
            decoder: Decoder::new(encoding),
            concealer: concealer(encoding),
            comfort_noise: ComfortNoise::new(),
            up: Up2::new(),
            down: Down2::new(),
            activity: Activity::new(),
            tone: tone::Detector::new(),
            frames_made_up: 0,
            wide: [0; FRAME_16K],
            narrow: [0; FRAME_8K],
            len: 0,
            len_made_up: 0,
            speaking: false,
            quiet_frames: 0,
            until: now,
            packet_time: FRAME,
            idle: true,
            made_up: 0,
            surplus: 0,
            ticks: None,
        }
    }

    /// Takes the next packet. `restart`: its timestamp says nothing about the time before it.
    ///
    /// # Real-time
    /// Bounded by the packet, and 500 ms of silence before it.
    pub(super) fn hear(
        &mut self,
        packet: &Incoming<'_>,
        encoding: Encoding,
        restart: bool,
        stats: &mut Stats,
        sink: &mut impl FnMut(Output<'_>),
    ) {
        if restart {
            // What was filled in was right, and the rest of the time up to the packet was silence, too.
            let silence = ticks_of(packet.arrived.since(self.until)).saturating_sub(packet.samples);
            let silence = silence.min(ticks_of(LOSS_AHEAD));
            stats.silent_samples += u64::from(silence);
            self.make_up(silence, packet.arrived, stats, sink);
        } else if self.made_up <= LATENESS_MAX_SAMPLES {
            self.surplus = (self.surplus + self.made_up).min(LATENESS_MAX_SAMPLES);
        }
        self.made_up = 0;
        self.idle = false;
        self.until = self.until.max(packet.arrived);
        self.packet_time = duration_of(packet.samples);
        self.comfort_noise.end();
        self.expect(encoding, restart);
        let mut pcm = [0; DECODED_MAX];
        let pcm = self.decoder.decode(packet.payload, &mut pcm);
        self.concealer.good(pcm);
        let wide = samples_per_tick(encoding) == 2;
        let (ticks, at) = (packet.timestamp, packet.arrived);
        sink(Output::Sound(&Sound { ticks, at, wide, made_up: false, restart, pcm }));
        self.ticks = Some(ticks + u64::from(packet.samples));
        self.cut(pcm, packet.arrived, false, stats, sink);
    }

    /// Takes the comfort noise packet that begins a pause, or goes on with it. What is due is filled in from here on: nothing else
    /// is to be expected.
    ///
    /// # Real-time
    /// Constant time.
    pub(super) fn pause(&mut self, payload: &[u8]) {
        self.comfort_noise.begin(payload);
        self.idle = true;
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
        let missing = (samples - filled).min(ticks_of(arrived.since(self.until) + ahead));
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

    /// Whether keys are to be expected in the audio, since the peer has not agreed to send them as events.
    pub(super) const fn expect_keys(&mut self, expected: bool) {
        self.tone.expect_keys(expected);
    }

    /// Nothing of the peer's is to be heard from here on: silence goes on in its place.
    pub(super) fn hold(&mut self) {
        self.idle = true;
    }

    /// Makes ready for a packet that is coded so. A stream that begins anew has an encoder that does, too.
    fn expect(&mut self, encoding: Encoding, restart: bool) {
        let before = self.decoder.encoding();
        if encoding != before || restart {
            self.decoder = Decoder::new(encoding);
        }
        if samples_per_tick(encoding) != samples_per_tick(before) {
            self.concealer = concealer(encoding);
            (self.up, self.down) = (Up2::new(), Down2::new());
        }
    }

    fn make_up(&mut self, ticks: u32, arrived: Instant, stats: &mut Stats, sink: &mut impl FnMut(Output<'_>)) {
        let per_tick = samples_per_tick(self.decoder.encoding());
        let mut left = ticks as usize;
        while left > 0 {
            let some = left.min(FRAME_8K);
            left -= some;
            let mut pcm = [0; FRAME_16K];
            let pcm = pcm.get_mut(..some * per_tick).unwrap_or_default();
            if self.comfort_noise.fill(pcm) {
                self.concealer.good(pcm);
            } else {
                self.concealer.conceal(pcm);
            }
            if let Some(ticks) = &mut self.ticks {
                let sound =
                    Sound { ticks: *ticks, at: arrived, wide: per_tick == 2, made_up: true, restart: false, pcm };
                sink(Output::Sound(&sound));
                *ticks += some as u64;
            }
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
        let per_tick = samples_per_tick(self.decoder.encoding());
        while samples.len() >= per_tick {
            let ticks = (samples.len() / per_tick).min(FRAME_8K - self.len);
            let (some, rest) = samples.split_at(ticks * per_tick);
            samples = rest;
            let narrow = self.narrow.get_mut(self.len..).unwrap_or_default();
            let wide = self.wide.get_mut(2 * self.len..).unwrap_or_default();
            // The recogniser gets what was sent, whichever rate that has; only the other one is made of it.
            if per_tick == 1 {
                narrow.iter_mut().zip(some).for_each(|(to, from)| *to = *from);
                self.up.process(some, wide);
            } else {
                wide.iter_mut().zip(some).for_each(|(to, from)| *to = *from);
                self.down.process(some, narrow);
            }
            self.len += ticks;
            self.len_made_up += if made_up { ticks } else { 0 };
            if self.len >= FRAME_8K {
                self.finish_frame(arrived, stats, sink);
            }
        }
    }

    fn finish_frame(&mut self, arrived: Instant, stats: &mut Stats, sink: &mut impl FnMut(Output<'_>)) {
        let concealed = self.len_made_up * 2 > FRAME_8K;
        (self.len, self.len_made_up) = (0, 0);
        let mut frame = EarFrame { pcm: self.wide, ulaw: [0; FRAME_8K], arrived, speech: false, concealed };
        self.listen_for_tones(concealed, arrived, sink);
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
        g711::encode_ulaw(&self.narrow, &mut frame.ulaw);
        sink(Output::Frame(&frame));
        if decision.speaking != self.speaking {
            self.speaking = decision.speaking;
            sink(Output::CallerSpeech { speaking: decision.speaking, at: arrived });
        }
    }

    /// Looks for keys in the frame at hand, whatever else was agreed upon: telephones that are told to press keys in the audio
    /// do so though they have offered events, and some gateways let a part of the tone through beside the event.
    fn listen_for_tones(&mut self, concealed: bool, arrived: Instant, sink: &mut impl FnMut(Output<'_>)) {
        if concealed {
            self.frames_made_up = self.frames_made_up.saturating_add(1);
            if self.frames_made_up > TONE_HELD_FRAMES {
                self.tone.reset();
            }
            return;
        }
        self.frames_made_up = 0;
        if let Some(digit) = self.tone.push(&self.narrow) {
            sink(Output::Digit { digit, by: Way::Tone, at: arrived });
        }
    }
}

/// Ticks in `time`.
fn ticks_of(time: Duration) -> u32 {
    u32::try_from(samples::count(time, CLOCK_RATE)).unwrap_or(u32::MAX)
}

/// The time of `ticks`.
const fn duration_of(ticks: u32) -> Duration {
    samples::duration(ticks as u64, CLOCK_RATE)
}

/// What conceals at the codec's rate.
fn concealer(encoding: Encoding) -> Concealer {
    if samples_per_tick(encoding) == 1 { Concealer::new() } else { Concealer::wide() }
}
