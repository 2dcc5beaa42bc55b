//! Keys that we press: what each packet of our stream says of them (RFC 4733 §2.5.1).
//!
//! A key takes the place of the audio in its slots: one packet a slot as long as it is down, the last of them with the end bit
//! and then twice more, since a lost end would be a key held down. What stands here are lengths; who sends tones in the audio
//! in place of events has the same ones.

use super::telephone_event::Digit;

/// Keys of one order: a card number has 19 and a key that ends it, and this is half as many again.
pub const KEYS_MAX: usize = 32;
/// Bytes of an event's payload (RFC 4733 §2.3).
pub const EVENT_LEN: usize = 4;
/// How long a key is down, in samples: 100 ms. 40 ms must be enough (ITU-T Q.24), and gateways that turn events into tones want
/// a little more.
const DOWN_SAMPLES: u32 = 800;
/// How long the pause between two keys is at least, in samples: 60 ms, where ITU-T Q.24 asks for 40.
const UP_SAMPLES: u32 = 480;
/// How often an end is told again (RFC 4733 §2.5.1.4).
const ENDS_AGAIN: u8 = 2;
/// The power of the tone that the event stands for, in dBm0 without its sign (RFC 4733 §2.3.3): what telephones send.
const VOLUME: u8 = 10;

/// Keys to be pressed one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Presses {
    keys: [Option<Digit>; KEYS_MAX],
}

impl Presses {
    /// Reads `0` to `9`, `*`, `#` and `A` to `D`; `None` where there is anything else, nothing, or too much.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut keys = [None; KEYS_MAX];
        for (at, c) in text.chars().enumerate() {
            *keys.get_mut(at)? = Some(Digit::of_char(c)?);
        }
        keys.first().copied().flatten().map(|_| Self { keys })
    }
}

/// What a slot holds while keys are pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The key is down, for `duration` samples at the end of this slot; with `last` it goes up then.
    Down { key: Digit, duration: u16, first: bool, last: bool },
    /// The key is up after `duration` samples, and that is told again.
    Ended { key: Digit, duration: u16 },
    /// No key is down.
    Up,
}

impl Step {
    /// Returns the payload of the telephone event that says so, if one does.
    ///
    /// # Real-time
    /// Constant time.
    #[must_use]
    pub const fn event(&self) -> Option<[u8; EVENT_LEN]> {
        let (key, duration, end) = match *self {
            Self::Down { key, duration, last, .. } => (key, duration, last),
            Self::Ended { key, duration } => (key, duration, true),
            Self::Up => return None,
        };
        let [d0, d1] = duration.to_be_bytes();
        Some([key.event(), if end { 0x80 | VOLUME } else { VOLUME }, d0, d1])
    }
}

/// Presses keys, slot by slot.
#[derive(Clone, Debug)]
pub struct Keypad {
    keys: Presses,
    at: usize,
    /// Samples of the present key so far.
    down: u32,
    /// Samples of the pause after it so far.
    up: u32,
    ends_told: u8,
}

impl Default for Keypad {
    fn default() -> Self {
        Self::new()
    }
}

impl Keypad {
    /// Makes one with no key to press.
    #[must_use]
    pub const fn new() -> Self {
        Self { keys: Presses { keys: [None; KEYS_MAX] }, at: 0, down: 0, up: 0, ends_told: 0 }
    }

    /// Presses `keys` from the next slot on, in place of those that are still to be pressed; a key that is down goes up first.
    ///
    /// # Real-time
    /// Constant time.
    pub fn press(&mut self, keys: &Presses) {
        let held = self.key().filter(|_| self.down > 0);
        self.keys = *keys;
        self.at = 0;
        if let Some(held) = held {
            // Where the new keys fill every place the last of them has no room beside the one that is down; nobody
            // presses so many.
            self.keys.keys.rotate_right(1);
            self.keys.keys[0] = Some(held);
        }
    }

    /// Whether there are keys to press, or the pause after the last is not over.
    ///
    /// # Real-time
    /// Constant time.
    #[must_use]
    pub fn is_pressing(&self) -> bool {
        self.key().is_some()
    }

    /// Takes a slot of `samples`; `None` where there is nothing to press.
    ///
    /// # Real-time
    /// Constant time.
    pub fn step(&mut self, samples: u16) -> Option<Step> {
        let key = self.key()?;
        if self.down < DOWN_SAMPLES {
            let first = self.down == 0;
            self.down = self.down.saturating_add(u32::from(samples.max(1)));
            let last = self.down >= DOWN_SAMPLES;
            return Some(Step::Down { key, duration: self.duration(), first, last });
        }
        self.up = self.up.saturating_add(u32::from(samples.max(1)));
        let step = if self.ends_told < ENDS_AGAIN {
            self.ends_told += 1;
            Step::Ended { key, duration: self.duration() }
        } else {
            Step::Up
        };
        if self.up >= UP_SAMPLES && self.ends_told >= ENDS_AGAIN {
            (self.down, self.up, self.ends_told) = (0, 0, 0);
            self.at += 1;
        }
        Some(step)
    }

    fn key(&self) -> Option<Digit> {
        self.keys.keys.get(self.at).copied().flatten()
    }

    fn duration(&self) -> u16 {
        u16::try_from(self.down).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Presses {
        Presses::parse(text).expect("keys")
    }

    fn pressed(text: &str, samples: u16) -> Vec<Step> {
        let mut keypad = Keypad::new();
        keypad.press(&keys(text));
        std::iter::from_fn(|| keypad.step(samples)).take(10_000).collect()
    }

    #[test]
    fn a_key_is_down_for_100_ms_and_its_end_is_told_three_times() {
        let steps = pressed("5", 160);
        let key = Digit::of_char('5').expect("a key");
        let down = |n: u16| Step::Down { key, duration: n * 160, first: n == 1, last: n == 5 };
        let ended = Step::Ended { key, duration: 800 };
        assert_eq!(steps, [down(1), down(2), down(3), down(4), down(5), ended, ended, Step::Up]);
        assert_eq!(steps[0].event(), Some([5, 10, 0, 160]));
        assert_eq!(steps[4].event(), Some([5, 0x8a, 3, 32]));
        assert_eq!((steps[5].event(), steps[7].event()), (steps[4].event(), None));
    }

    #[test]
    fn every_packet_time_leaves_a_key_long_enough_and_a_pause() {
        for samples in [80, 160, 240, 320, 480] {
            let steps = pressed("1*1", samples);
            let count = |wanted: fn(&Step) -> bool| steps.iter().filter(|step| wanted(step)).count();
            assert_eq!(count(|step| matches!(step, Step::Down { first: true, .. })), 3, "{samples}");
            assert_eq!(count(|step| matches!(step, Step::Down { last: true, .. })), 3, "{samples}");
            assert_eq!(count(|step| matches!(step, Step::Ended { .. })), 6, "{samples}");
            let up = count(|step| !matches!(step, Step::Down { .. })) / 3 * usize::from(samples);
            assert!((480..=960).contains(&up), "{samples}: a pause of {up}");
        }
    }

    #[test]
    fn all_keys_are_events_and_nothing_else_is_a_key() {
        let codes: Vec<u8> = pressed("0123456789*#ABCD", 800)
            .iter()
            .filter_map(|step| matches!(step, Step::Down { .. }).then(|| step.event())?)
            .map(|event| event[0])
            .collect();
        assert_eq!(codes, (0..16).collect::<Vec<u8>>());
        for wrong in ["", "12 3", "R", "a", "é", &"1".repeat(KEYS_MAX + 1)] {
            assert_eq!(Presses::parse(wrong), None, "{wrong:?}");
        }
        assert!(Presses::parse(&"1".repeat(KEYS_MAX)).is_some());
    }

    #[test]
    fn other_keys_take_the_place_of_those_to_come() {
        let mut keypad = Keypad::new();
        keypad.press(&keys("123"));
        keypad.step(160);
        keypad.press(&keys("9"));
        let steps: Vec<Step> = std::iter::from_fn(|| keypad.step(160)).collect();
        let firsts: Vec<char> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Down { key, last: true, .. } => Some(key.as_char()),
                _ => None,
            })
            .collect();
        assert_eq!(firsts, ['1', '9'], "the key that was down goes up as it should");
        assert!(!keypad.is_pressing());
    }
}
