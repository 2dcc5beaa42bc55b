//! HOW LONG A GAP IS WAITED FOR IS DECIDED HERE, from the lateness seen (as NetEQ's delay manager decides its delay).
//!
//! NetEQ asks how late packets come against the fastest, since it must play at a steady pace. A recogniser needs no pace, so here
//! only overtaking matters: how long after a later packet does an overtaken one still come? On a line that keeps packets in
//! order the answer is never, and a gap is loss, known at once; on one that does not, the wait grows to what it takes.

use std::time::Duration;

/// The shortest wait. Overtaking by one packet takes a difference in delay of more than one packet time, 20 ms: this floor
/// covers differences up to 40 ms without having seen one. Only a gap pays it, and the packet behind the next is not there
/// sooner anyway.
const WAIT_MIN: Duration = Duration::from_millis(20);
/// The longest wait: longer than that, a stall is worse for the conversation than 20 ms of made-up speech. NetEQ's and
/// PJMEDIA's buffers are capped alike in practice.
const WAIT_MAX: Duration = Duration::from_millis(200);
/// The wait before anything is known.
const WAIT_FIRST: Duration = Duration::from_millis(40);
/// Width of a bucket, a quarter of a packet time.
const BUCKET: Duration = Duration::from_millis(5);
/// Bucket 0 is for packets that nothing overtook; the last one is for everything from [`WAIT_MAX`] on.
const BUCKETS: usize = 2 + (WAIT_MAX.as_millis() / BUCKET.as_millis()) as usize;
/// The share of all packets that may come too late. NetEQ gives up 3 to 5 % of them to the histogram's tail and stretches time to
/// make up; we cannot stretch, and patience costs the recogniser nothing but time.
const LATE_ACCEPTED: f32 = 0.002;
/// How much of the past a packet leaves: a memory of 2000 packets, 40 s, four times what one in 500 needs to be seen at all.
const FORGET_FACTOR: f32 = 0.9995;

/// A histogram of overtaking that forgets, and the wait that it asks for.
#[derive(Clone, Debug)]
pub struct GapDeadline {
    /// The share of packets in each bucket; they add up to 1.
    shares: [f32; BUCKETS],
    packets: u32,
    /// The wait that is tried in place of what the lateness asks for.
    fixed: Option<Duration>,
}

impl Default for GapDeadline {
    fn default() -> Self {
        Self::new()
    }
}

impl GapDeadline {
    /// Makes one that knows nothing and waits for 40 ms.
    #[must_use]
    pub fn new() -> Self {
        let mut shares = [0.0; BUCKETS];
        shares[bucket(WAIT_FIRST)] = 1.0;
        Self { shares, packets: 0, fixed: None }
    }

    /// Waits for `wait`, whatever is seen: to try out what would have been.
    pub const fn fix(&mut self, wait: Duration) {
        self.fixed = Some(wait);
    }

    /// Takes a packet: not overtaken, or overtaken and here this long after. One that came too late counts, too.
    ///
    /// # Real-time
    /// Bounded by the number of buckets, 42.
    pub fn observe(&mut self, overtaken: Option<Duration>) {
        self.packets = self.packets.saturating_add(1);
        // Early on each packet weighs more, so that the first guess is soon forgotten (NetEQ's start weight of 2).
        let keep = FORGET_FACTOR.min(1.0 - 2.0 / (self.packets as f32 + 2.0));
        for share in &mut self.shares {
            *share *= keep;
        }
        self.shares[overtaken.map_or(0, bucket)] += 1.0 - keep;
    }

    /// Returns how long a gap is to be waited for, from when it was seen.
    ///
    /// # Real-time
    /// Bounded by the number of buckets.
    #[must_use]
    pub fn wait(&self) -> Duration {
        if let Some(wait) = self.fixed {
            return wait;
        }
        let mut too_late = 0.0;
        let mut within = |share: &f32| {
            too_late += share;
            too_late <= LATE_ACCEPTED
        };
        let tail = self.shares.iter().rev().take_while(|share| within(share)).count();
        // The upper edge of the lowest bucket that is still needed.
        let last = (BUCKETS - 1).saturating_sub(tail) as u32;
        (BUCKET * last).clamp(WAIT_MIN, WAIT_MAX)
    }
}

fn bucket(lateness: Duration) -> usize {
    let index = 1 + lateness.as_nanos() / BUCKET.as_nanos();
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_line_that_keeps_order_soon_waits_least() {
        let mut deadline = GapDeadline::new();
        assert_eq!(deadline.wait(), ms(45));
        for _ in 0..50 {
            deadline.observe(None);
        }
        assert_eq!(deadline.wait(), WAIT_MIN);
    }

    #[test]
    fn the_wait_covers_the_overtaking_seen() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut deadline = GapDeadline::new();
        for _ in 0..10_000 {
            deadline.observe((rng.u8(..50) == 0).then(|| ms(rng.u64(..90))));
        }
        assert!((ms(75)..=ms(95)).contains(&deadline.wait()), "{:?}", deadline.wait());
    }

    #[test]
    fn one_packet_gone_astray_changes_nothing() {
        let mut deadline = GapDeadline::new();
        for n in 0..5000 {
            deadline.observe((n % 1000 == 999).then_some(ms(150)));
            assert!(n < 50 || deadline.wait() == WAIT_MIN, "{:?}", deadline.wait());
        }
    }

    #[test]
    fn the_wait_comes_back_when_the_line_is_calm_again() {
        let mut deadline = GapDeadline::new();
        for n in 0..500 {
            deadline.observe((n % 10 == 0).then_some(ms(120)));
        }
        assert_eq!(deadline.wait(), ms(125));
        for _ in 0..8000 {
            deadline.observe(None);
        }
        assert_eq!(deadline.wait(), WAIT_MIN);
    }

    #[test]
    fn no_lateness_makes_it_wait_longer_than_the_cap() {
        let mut deadline = GapDeadline::new();
        for _ in 0..5000 {
            deadline.observe(Some(Duration::MAX));
        }
        assert_eq!(deadline.wait(), WAIT_MAX);
        let total: f32 = deadline.shares.iter().sum();
        assert!((total - 1.0).abs() < 0.01, "{total}");
    }
}
