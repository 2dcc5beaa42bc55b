//! Packets in whenever; the caller's speech out in order, as soon as it can be known.
//!
//! There is no playout delay here. A packet in order passes at once ([`reorder`]); one behind a gap waits until the gap is filled
//! or its deadline is over ([`gap_deadline`]), and a gap that stayed one is concealed ([`conceal`]). [`stats`] says
//! how often. What a gap is worth in samples the timestamps tell, since lost packets and a peer that paused look alike
//! in one of the two numbers only.

pub mod conceal;
pub mod gap_deadline;
pub mod reorder;
pub mod stats;

pub use reorder::Incoming;
pub use stats::Stats;

use crate::rtp::Discard;
use crate::time::Instant;
use gap_deadline::GapDeadline;
use reorder::{Inserted, Reorder};
use std::time::Duration;

/// A timestamp further ahead than this is a stream that began anew: no pause of a call is 10 minutes long, at 8 kHz.
const PAUSE_MAX_SAMPLES: u64 = 8000 * 600;
/// A timestamp further back than this is, too: 100 ms, the longest packet. Less is a sender that overlaps its packets.
const OVERLAP_MAX_SAMPLES: u64 = 800;
/// Gaps that are remembered, so that a packet which comes after its gap was closed still tells how late it was.
const GAPS_REMEMBERED: usize = 8;

/// What comes out of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out<'a> {
    /// The next packet. `restart`: nothing is known about the time between it and what came out before.
    Packet { packet: Incoming<'a>, restart: bool },
    /// Packets were lost: this many samples are to be made up. `arrived`: the packet behind them.
    Gap { samples: u32, arrived: Instant },
    /// The peer sent nothing for this many samples: a pause, or a key that was pressed. `arrived`: the packet behind it.
    Silence { samples: u32, arrived: Instant },
}

/// A gap that was closed: numbers `from..to`, missed since `since`.
#[derive(Clone, Copy)]
struct Closed {
    from: u64,
    to: u64,
    since: Instant,
}

/// The jitter buffer of one stream. About 27 kB, without heap.
pub struct Buffer {
    reorder: Reorder,
    deadline: GapDeadline,
    stats: Stats,
    started: bool,
    /// The timestamp that follows upon what came out; `None` after a restart.
    next_timestamp: Option<u64>,
    /// Packets lost since the last audio that came out.
    lost: u32,
    /// Samples of the last packet.
    packet_samples: u32,
    closed: [Option<Closed>; GAPS_REMEMBERED],
    closed_next: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Buffer {
    /// Makes an empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self {
            reorder: Reorder::new(0),
            deadline: GapDeadline::new(),
            stats: Stats::default(),
            started: false,
            next_timestamp: None,
            lost: 0,
            packet_samples: 0,
            closed: [None; GAPS_REMEMBERED],
            closed_next: 0,
        }
    }

    /// Forgets the stream, but not what was learned about the line: the next packet begins another.
    ///
    /// # Real-time
    /// Bounded by the window.
    pub fn restart(&mut self) {
        let next = self.reorder.next();
        self.reorder.restart(next);
        self.started = false;
        self.next_timestamp = None;
        self.lost = 0;
        self.closed = [None; GAPS_REMEMBERED];
    }

    /// Takes a packet. `restarted`: the stream begins with it. Afterwards drain [`Self::poll`].
    ///
    /// # Errors
    /// Why it is refused, after it is counted.
    ///
    /// # Real-time
    /// Bounded by the window; copies the payload.
    pub fn push(&mut self, packet: &Incoming<'_>, restarted: bool) -> Result<(), Discard> {
        if restarted || !self.started {
            self.stats.restarts += u64::from(self.started);
            self.restart();
            self.reorder.restart(packet.sequence);
            self.started = true;
        }
        let due = self.reorder.next();
        match self.reorder.insert(packet) {
            Ok(inserted) => {
                self.stats.packets_received += 1;
                match inserted {
                    Inserted::InOrder => self.deadline.observe(None),
                    Inserted::Overtaken(lateness) => {
                        self.stats.packets_reordered += 1;
                        self.deadline.observe(Some(lateness));
                    }
                    Inserted::Overrun(dropped) => {
                        let skipped = u32::try_from(packet.sequence - due).unwrap_or(u32::MAX);
                        self.lose(skipped);
                        self.stats.packets_overrun += u64::from(dropped);
                    }
                }
                Ok(())
            }
            Err(Discard::Late) => {
                self.stats.packets_received += 1;
                self.stats.packets_discarded += 1;
                let gap = self.closed.iter().flatten().find(|gap| (gap.from..gap.to).contains(&packet.sequence));
                if let Some(gap) = gap {
                    self.deadline.observe(Some(packet.arrived.since(gap.since)));
                }
                Err(Discard::Late)
            }
            Err(reason) => {
                self.stats.packets_duplicated += u64::from(reason == Discard::Duplicate);
                Err(reason)
            }
        }
    }

    /// Returns the next thing that can be known at `now`, oldest first.
    ///
    /// # Real-time
    /// Bounded by the window.
    pub fn poll(&mut self, now: Instant) -> Option<Out<'_>> {
        if self.reorder.peek().is_none() {
            self.close_gap(now)?;
        }
        let (timestamp, samples, arrived) =
            self.reorder.peek().map(|packet| (packet.timestamp, packet.samples, packet.arrived))?;
        let mut restart = false;
        if samples > 0 {
            let expected = self.next_timestamp.unwrap_or(timestamp);
            let ahead = timestamp.saturating_sub(expected);
            if ahead > PAUSE_MAX_SAMPLES || expected.saturating_sub(timestamp) > OVERLAP_MAX_SAMPLES {
                self.stats.restarts += 1;
                restart = true;
            } else if ahead > 0 {
                return Some(self.account_for(ahead as u32, expected, arrived));
            }
            restart |= self.next_timestamp.is_none();
            self.next_timestamp = Some(timestamp + u64::from(samples));
            self.packet_samples = samples;
            self.lost = 0;
        }
        self.reorder.take().map(|packet| Out::Packet { packet, restart })
    }

    /// Returns when [`Self::poll`] is due, if it has to be: the deadline of the gap.
    ///
    /// # Real-time
    /// Bounded by the window.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.reorder.missed_since().map(|since| since + self.deadline.wait())
    }

    /// Waits for every gap for `wait`: to try out what would have been.
    pub const fn fix_gap_wait(&mut self, wait: Duration) {
        self.deadline.fix(wait);
    }

    /// Returns how long a gap is waited for, as things are.
    #[must_use]
    pub fn gap_wait(&self) -> Duration {
        self.deadline.wait()
    }

    /// Returns what it did.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Gives the gap up if its deadline is over; `None` if not, or if there is none.
    fn close_gap(&mut self, now: Instant) -> Option<()> {
        let since = self.reorder.missed_since()?;
        if now < since + self.deadline.wait() {
            return None;
        }
        let from = self.reorder.next();
        let skipped = self.reorder.skip();
        self.lose(skipped);
        self.closed[self.closed_next] = Some(Closed { from, to: from + u64::from(skipped), since });
        self.closed_next = (self.closed_next + 1) % GAPS_REMEMBERED;
        let waited = now.since(since);
        self.stats.gaps_waited += 1;
        self.stats.gap_wait = self.stats.gap_wait.saturating_add(waited);
        self.stats.gap_wait_max = self.stats.gap_wait_max.max(waited);
        Some(())
    }

    fn lose(&mut self, packets: u32) {
        self.lost = self.lost.saturating_add(packets);
        self.stats.packets_lost += u64::from(packets);
    }

    /// Says what the time before the packet at hand was: as much of it as packets are missing was lost, and the rest silence.
    fn account_for(&mut self, ahead: u32, expected: u64, arrived: Instant) -> Out<'static> {
        let lost = ahead.min(self.lost.saturating_mul(self.packet_samples));
        self.lost = 0;
        let samples = if lost > 0 { lost } else { ahead };
        self.next_timestamp = Some(expected + u64::from(samples));
        if lost > 0 { Out::Gap { samples, arrived } } else { Out::Silence { samples, arrived } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audio(sequence: u64, timestamp: u64, ms: u64) -> Incoming<'static> {
        Incoming {
            sequence,
            timestamp,
            samples: 160,
            payload_type: 8,
            arrived: Instant::from_millis(ms),
            payload: &[0xd5; 160],
        }
    }

    fn event(sequence: u64, timestamp: u64, ms: u64) -> Incoming<'static> {
        Incoming { samples: 0, payload_type: 101, payload: &[1, 10, 0, 160], ..audio(sequence, timestamp, ms) }
    }

    /// What comes out at `ms`: `p5` for packet 5, `g160` for a gap, `s320` for silence, `!` for a restart.
    fn drain(buffer: &mut Buffer, ms: u64) -> String {
        let mut words = Vec::new();
        while let Some(out) = buffer.poll(Instant::from_millis(ms)) {
            words.push(match out {
                Out::Packet { packet, restart } => format!("p{}{}", packet.sequence, if restart { "!" } else { "" }),
                Out::Gap { samples, .. } => format!("g{samples}"),
                Out::Silence { samples, .. } => format!("s{samples}"),
            });
        }
        words.join(" ")
    }

    fn push(buffer: &mut Buffer, packet: &Incoming<'_>) -> String {
        let restarted = !buffer.started;
        let _ = buffer.push(packet, restarted);
        drain(buffer, packet.arrived.as_nanos() / 1_000_000)
    }

    #[test]
    fn in_order_passes_at_once() {
        let mut buffer = Buffer::new();
        assert_eq!(push(&mut buffer, &audio(5, 800, 0)), "p5!");
        assert_eq!(push(&mut buffer, &audio(6, 960, 20)), "p6");
        assert_eq!(buffer.poll_timeout(), None);
    }

    #[test]
    fn a_gap_is_waited_for_and_then_told_in_samples() {
        let mut buffer = Buffer::new();
        push(&mut buffer, &audio(0, 0, 0));
        assert_eq!(push(&mut buffer, &audio(3, 480, 60)), "");
        let due = buffer.poll_timeout().expect("a gap is waited for");
        let wait = due.since(Instant::from_millis(60));
        assert_eq!(wait, buffer.gap_wait());
        assert_eq!(drain(&mut buffer, 60 + wait.as_millis() as u64 - 1), "");
        assert_eq!(drain(&mut buffer, 60 + wait.as_millis() as u64), "g320 p3");
        assert_eq!((buffer.stats().packets_lost, buffer.stats().gap_wait_max), (2, wait));
    }

    #[test]
    fn a_gap_that_is_filled_in_time_leaves_no_trace() {
        let mut buffer = Buffer::new();
        push(&mut buffer, &audio(0, 0, 0));
        push(&mut buffer, &audio(2, 320, 40));
        assert_eq!(push(&mut buffer, &audio(1, 160, 55)), "p1 p2");
        assert_eq!((buffer.stats().packets_lost, buffer.stats().packets_reordered), (0, 1));
    }

    #[test]
    fn a_pause_of_the_peer_is_silence_and_no_loss() {
        let mut buffer = Buffer::new();
        push(&mut buffer, &audio(0, 0, 0));
        assert_eq!(push(&mut buffer, &audio(1, 35_360, 4420)), "s35200 p1");
        assert_eq!(buffer.stats().packets_lost, 0);
    }

    #[test]
    fn a_pause_with_a_loss_in_it_is_both() {
        let mut buffer = Buffer::new();
        push(&mut buffer, &audio(0, 0, 0));
        push(&mut buffer, &audio(2, 1600, 200));
        assert_eq!(drain(&mut buffer, 400), "g160 s1280 p2");
    }

    #[test]
    fn events_fill_their_places_and_their_time_is_silence() {
        let mut buffer = Buffer::new();
        push(&mut buffer, &audio(0, 0, 0));
        for n in 1..13 {
            assert_eq!(push(&mut buffer, &event(n, 160, n * 20)), format!("p{n}"));
        }
        assert_eq!(push(&mut buffer, &audio(13, 160 + 12 * 160, 260)), "s1920 p13");
        // baresip's audio goes on between its events.
        assert_eq!(push(&mut buffer, &event(14, 2240, 261)), "p14");
        assert_eq!(push(&mut buffer, &audio(15, 2240, 280)), "p15");
        assert_eq!(buffer.stats().packets_lost, 0);
    }

    #[test]
    fn a_lost_event_makes_up_no_audio() {
        let mut buffer = Buffer::new();
        push(&mut buffer, &audio(0, 0, 0));
        push(&mut buffer, &audio(2, 160, 20));
        assert_eq!(drain(&mut buffer, 300), "p2");
    }

    #[test]
    fn a_timestamp_that_jumps_begins_anew() {
        let mut buffer = Buffer::new();
        push(&mut buffer, &audio(0, 1_000_000, 0));
        assert_eq!(push(&mut buffer, &audio(1, 9_000_000, 20)), "p1!");
        assert_eq!(push(&mut buffer, &audio(2, 500_000, 40)), "p2!");
        assert_eq!(push(&mut buffer, &audio(3, 500_160, 60)), "p3");
        assert_eq!(push(&mut buffer, &audio(4, 500_300, 80)), "p4", "an overlap of 20 samples is none");
        assert_eq!(buffer.stats().restarts, 2);
    }

    #[test]
    fn another_stream_drops_what_waits_of_the_old_one() {
        let mut buffer = Buffer::new();
        push(&mut buffer, &audio(0, 0, 0));
        push(&mut buffer, &audio(2, 320, 40));
        assert!(buffer.push(&audio(900, 77, 50), true).is_ok());
        assert_eq!(drain(&mut buffer, 50), "p900!");
        assert_eq!(buffer.poll_timeout(), None);
    }

    #[test]
    fn an_outage_longer_than_the_window_goes_on_at_once() {
        let mut buffer = Buffer::new();
        push(&mut buffer, &audio(0, 0, 0));
        assert_eq!(push(&mut buffer, &audio(100, 16_000, 2000)), "g15840 p100");
        assert_eq!(buffer.stats().packets_lost, 99);
    }

    #[test]
    fn packets_that_come_too_late_make_it_more_patient() {
        let mut buffer = Buffer::new();
        let mut sequence = 0;
        for round in 0..100u64 {
            let start = round * 200;
            for n in 0..10 {
                // Packet 5 of each ten comes behind the four after it, 60 ms after the first of them.
                let order = if n < 5 {
                    n
                } else if n == 9 {
                    5
                } else {
                    n + 1
                };
                let sequence = sequence + order;
                let _ = push(&mut buffer, &audio(sequence, sequence * 160, start + n * 20));
            }
            sequence += 10;
        }
        let discarded = buffer.stats().packets_discarded;
        assert!((1..10).contains(&discarded), "{discarded}");
        assert!(buffer.gap_wait() >= Duration::from_millis(60), "{:?}", buffer.gap_wait());
    }

    #[test]
    fn every_packet_is_accounted_for_whatever_the_network_does() {
        for seed in 0..20 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut arrivals: Vec<(u64, u64)> = Vec::new();
            for n in 0..3000u64 {
                if rng.u8(..20) != 0 {
                    let delay = rng.u64(..30) + if rng.u8(..50) == 0 { 60 } else { 0 };
                    arrivals.push((n * 20 + delay, n));
                    if rng.u8(..100) == 0 {
                        arrivals.push((n * 20 + delay + 3, n));
                    }
                }
            }
            arrivals.sort_unstable();
            let mut buffer = Buffer::new();
            let mut samples = 0u64;
            let mut next = arrivals.iter().peekable();
            let mut started = false;
            for ms in 0..62_000 {
                while let Some((_, n)) = next.next_if(|(at, _)| *at <= ms) {
                    let _ = buffer.push(&audio(1000 + n, n * 160, ms), !started);
                    started = true;
                }
                while let Some(out) = buffer.poll(Instant::from_millis(ms)) {
                    samples += match out {
                        Out::Packet { packet, .. } => u64::from(packet.samples),
                        Out::Gap { samples, .. } | Out::Silence { samples, .. } => u64::from(samples),
                    };
                }
            }
            let stats = buffer.stats();
            let expected = 3000 * 160;
            assert!(expected - samples <= 3 * 160, "seed {seed}: {samples} of {expected}");
            assert!(stats.packets_discarded < 30, "seed {seed}: {stats:?}");
            assert!((120..190).contains(&stats.packets_lost), "seed {seed}: {stats:?}");
            assert!(stats.packets_duplicated > 5 && stats.packets_reordered > 20, "seed {seed}: {stats:?}");
            assert!(stats.gap_wait_max <= Duration::from_millis(200), "seed {seed}: {stats:?}");
        }
    }
}
