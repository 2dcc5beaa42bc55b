//! Whether the peer is gone: neither RTP nor RTCP has come for too long, though some is to come.

use crate::time::Instant;
use std::time::Duration;

/// Tells of the silence once in a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    max: Duration,
    /// Whether the peer is to send: it neither holds nor only listens.
    expected: bool,
    /// What came before does not count, nor its absence.
    since: Instant,
    told: bool,
}

impl Silence {
    /// Begins at `now`; more than `max` is too long.
    pub(super) const fn new(max: Duration, expected: bool, now: Instant) -> Self {
        Self { max, expected, since: now, told: false }
    }

    /// Another description holds from `now` on. A hold that ends does not inherit its own silence.
    pub(super) const fn expect(&mut self, expected: bool, now: Instant) {
        (self.expected, self.since) = (expected, now);
    }

    /// Takes when the peer was last heard of. Returns whether that is too long ago: `true` once.
    ///
    /// # Real-time
    /// Constant time.
    pub(super) fn is_too_long(&mut self, last_heard: Option<Instant>, now: Instant) -> bool {
        let since = last_heard.map_or(self.since, |at| at.max(self.since));
        let tells = self.expected && !self.told && now.since(since) > self.max;
        self.told |= tells;
        tells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn silence() -> Silence {
        Silence::new(Duration::from_secs(30), true, at(100))
    }

    #[test]
    fn silence_is_told_once() {
        let mut silence = silence();
        assert!(!silence.is_too_long(None, at(130)), "just as long as it may be");
        assert!(silence.is_too_long(None, at(131)));
        assert!(!silence.is_too_long(None, at(132)) && !silence.is_too_long(Some(at(140)), at(200)));
    }

    #[test]
    fn any_packet_breaks_it() {
        let mut silence = silence();
        assert!(!silence.is_too_long(Some(at(120)), at(150)));
        assert!(silence.is_too_long(Some(at(120)), at(151)));
    }

    #[test]
    fn who_holds_may_be_silent_and_has_the_whole_time_again_afterwards() {
        let mut silence = silence();
        silence.expect(false, at(110));
        assert!(!silence.is_too_long(Some(at(109)), at(500)));
        silence.expect(true, at(500));
        assert!(!silence.is_too_long(Some(at(109)), at(530)));
        assert!(silence.is_too_long(Some(at(109)), at(531)));
    }
}
