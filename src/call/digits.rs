//! One press of a key heard once, by however many ways it comes: RFC 4733, INFO, and the tones in the audio.
//!
//! Gateways and telephones send a key by two ways at once more often than they should. The first to come is told at once;
//! what comes of the same key by another way shortly after is the same press. By the same way it is another one.

use crate::time::Instant;
use std::time::Duration;

/// How long after a press the same key by another way is still that press. RFC 4733 tells a key as it goes down, the audio 35 ms
/// later, and INFO when it comes up, after 100 to 250 ms in practice, and another 500 ms late where its datagram is lost; nobody
/// presses a key twice in that time by different ways.
const SAME_PRESS: Duration = Duration::from_millis(800);
/// Presses that are remembered: people press 10 keys a second at most, machines 12.
const PRESSES_REMEMBERED: usize = 10;

/// How a key reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Way {
    /// As telephone events (RFC 4733).
    Event = 1,
    /// As tones in the audio (ITU-T Q.23).
    Tone = 2,
    /// By SIP INFO.
    Info = 4,
}

/// A press that was told.
#[derive(Clone, Copy, Debug)]
struct Press {
    digit: char,
    at: Instant,
    /// The ways by which it has come, as bits.
    ways: u8,
}

/// Tells presses from their echoes.
#[derive(Clone, Debug, Default)]
pub struct Digits {
    /// The last presses, as a ring whose oldest is at `oldest`.
    presses: [Option<Press>; PRESSES_REMEMBERED],
    oldest: usize,
}

impl Digits {
    /// Makes one that has heard nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a key that came by `way`; returns whether it is a press that was not told yet.
    ///
    /// # Real-time
    /// Bounded by [`PRESSES_REMEMBERED`].
    pub fn is_new(&mut self, digit: char, way: Way, at: Instant) -> bool {
        let bit = way as u8;
        // The oldest first: a second press by this way belongs to the second press by the other.
        for n in 0..PRESSES_REMEMBERED {
            let slot = (self.oldest + n) % PRESSES_REMEMBERED;
            if let Some(press) = &mut self.presses[slot]
                && press.digit == digit
                && press.ways & bit == 0
                && at.since(press.at).max(press.at.since(at)) <= SAME_PRESS
            {
                press.ways |= bit;
                return false;
            }
        }
        self.presses[self.oldest] = Some(Press { digit, at, ways: bit });
        self.oldest = (self.oldest + 1) % PRESSES_REMEMBERED;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds (ms, key, way); returns the keys told.
    fn told(heard: &[(u64, char, Way)]) -> String {
        let mut digits = Digits::new();
        let new = heard.iter().filter(|(ms, digit, way)| digits.is_new(*digit, *way, Instant::from_millis(*ms)));
        new.map(|(_, digit, _)| digit).collect()
    }

    #[test]
    fn a_key_by_all_ways_at_once_is_one_press() {
        use Way::{Event, Info, Tone};
        assert_eq!(told(&[(0, '5', Event), (40, '5', Tone), (160, '5', Info)]), "5");
        assert_eq!(told(&[(0, '5', Info), (3, '5', Tone), (5, '5', Event)]), "5");
        assert_eq!(told(&[(40, '5', Tone), (38, '5', Event)]), "5", "told by another thread, a little earlier");
    }

    #[test]
    fn the_same_key_again_by_the_same_way_is_another_press() {
        for way in [Way::Event, Way::Tone, Way::Info] {
            assert_eq!(told(&[(0, '1', way), (90, '1', way), (180, '1', way)]), "111", "{way:?}");
        }
    }

    #[test]
    fn quick_presses_by_two_ways_are_paired_in_order() {
        use Way::{Event, Info, Tone};
        let (a, b) = ('7', '7');
        assert_eq!(told(&[(0, a, Event), (40, a, Tone), (150, b, Event), (190, b, Tone)]), "77");
        assert_eq!(told(&[(0, a, Event), (150, b, Event), (200, a, Info), (350, b, Info)]), "77");
        assert_eq!(told(&[(0, '1', Event), (150, '2', Event), (160, '1', Tone), (190, '2', Tone)]), "12");
    }

    #[test]
    fn a_press_that_one_way_missed_does_not_swallow_the_next() {
        use Way::{Event, Tone};
        // The tone of the first is not heard.
        assert_eq!(told(&[(0, '3', Event), (300, '3', Event), (340, '3', Tone), (600, '3', Event)]), "333");
        assert_eq!(told(&[(0, '3', Event), (2000, '3', Tone)]), "33", "too far apart to be one");
    }

    #[test]
    fn many_presses_are_remembered_as_far_as_they_matter() {
        let keys = "0123456789*#0123456789*#";
        let events = keys.chars().zip(0..).map(|(digit, n)| (n * 85, digit, Way::Event));
        let tones = keys.chars().zip(0..).map(|(digit, n)| (n * 85 + 300, digit, Way::Tone));
        let mut all: Vec<_> = events.chain(tones).collect();
        all.sort_by_key(|(ms, ..)| *ms);
        assert_eq!(told(&all), keys);
    }
}
