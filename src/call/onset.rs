//! When the caller begins to speak into the agent's speech, as far as the agent's own echo does not explain what is heard.

use super::EarFrame;
use crate::time::Instant;
use std::time::Duration;

/// Frames that are looked back upon: 100 ms, the detector's own time for an onset.
const RECENT: usize = 5;
/// Frames of them that the echo must not explain for a voice to be the caller's: 60 ms.
const UNEXPLAINED_MIN: usize = 3;
/// How far below the loudest of them a frame counts, as a share of its power: 15 dB. What is fainter is the room.
const LOUD_SHARE: f32 = 0.03;
/// Frames in a row without a sound of the caller's after which a voice over an echo has stopped: 300 ms, as long as the
/// detector waits itself and a little more.
const GONE_FRAMES: u32 = 15;

/// Frames without a sound of the caller's up to which a voice is heard at this moment: 60 ms, the gaps within words.
const SOUNDING_FRAMES: u32 = 3;
/// How long ago a voice that is heard at this moment may have begun to be another than the one which is answered: a turn takes at
/// most about that long to be found ended.
const FRESH_MAX: Duration = Duration::from_secs(1);

/// What of the caller's voice has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The caller began to speak, or stopped.
    Speaking(bool),
    /// A voice is heard that the echo explains, or is not any more.
    Masked(bool),
}

/// Tells the caller's voice from the echo's, and dates it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Onset {
    since: Option<Instant>,
    /// Whether the detector hears a voice.
    heard: bool,
    /// Whether it is the caller's.
    speaking: bool,
    masked: bool,
    told: bool,
    /// The last frames' power and whether the echo explains them; newest last.
    recent: [(f32, bool); RECENT],
    /// Frames since the caller's last sound.
    gone: u32,
}

impl Onset {
    /// Takes a frame: a sound that does not become speech is forgotten. Returns what follows while the detector hears a voice.
    ///
    /// # Real-time
    /// Bounded by one frame.
    pub fn frame(&mut self, frame: &EarFrame, explained: bool) -> Option<Change> {
        let sum: i64 = frame.pcm.iter().map(|&sample| i64::from(sample) * i64::from(sample)).sum();
        self.recent.rotate_left(1);
        self.recent[RECENT - 1] = (sum as f32, explained);
        let callers = frame.speech && !explained;
        if callers {
            self.since.get_or_insert(frame.arrived);
        } else if !self.speaking {
            self.since = None;
        }
        self.gone = if callers { 0 } else { self.gone.saturating_add(1) };
        if !self.heard {
            return None;
        }
        if self.speaking && self.gone > GONE_FRAMES {
            return Some(self.mask());
        }
        (!self.speaking && frame.speech && self.is_callers()).then(|| self.begin())
    }

    /// The detector has heard a voice begin or stop, with the last frame.
    ///
    /// # Real-time
    /// Constant time.
    pub fn detected(&mut self, voice: bool) -> Change {
        self.heard = voice;
        if !voice {
            let was_speaking = self.speaking;
            *self = Self { recent: self.recent, ..Self::default() };
            return if was_speaking { Change::Speaking(false) } else { Change::Masked(false) };
        }
        if self.is_callers() { self.begin() } else { self.mask() }
    }

    /// Whether the caller speaks.
    pub const fn is_speaking(&self) -> bool {
        self.speaking
    }

    /// Whether the caller goes on at this moment, with a voice that began a short while ago. One that lasts (a television) is not
    /// waited for, nor is the detector's hold time after a word.
    ///
    /// # Real-time
    /// Constant time.
    pub fn goes_on(&self, now: Instant) -> bool {
        let is_fresh = self.since.is_some_and(|since| now.since(since) <= FRESH_MAX);
        self.speaking && is_fresh && self.gone <= SOUNDING_FRAMES
    }

    /// The agent is silent from `now` on; returns how long the caller has been speaking, once per onset.
    ///
    /// # Real-time
    /// Constant time.
    pub fn silenced(&mut self, now: Instant) -> Option<Duration> {
        let since = self.since.filter(|_| !self.told)?;
        self.told = true;
        Some(now.since(since))
    }

    /// Whether the last frames hold more than an echo: most of the loud ones, and the newest two.
    fn is_callers(&self) -> bool {
        if self.recent.iter().all(|frame| !frame.1) {
            return true;
        }
        let loudest = self.recent.iter().fold(0.0f32, |most, frame| most.max(frame.0));
        let loud = self.recent.iter().filter(|frame| frame.0 >= loudest * LOUD_SHARE);
        let unexplained = loud.filter(|frame| !frame.1).count();
        unexplained >= UNEXPLAINED_MIN && self.recent.iter().rev().take(2).all(|frame| !frame.1)
    }

    fn begin(&mut self) -> Change {
        (self.speaking, self.masked, self.gone) = (true, false, 0);
        Change::Speaking(true)
    }

    fn mask(&mut self) -> Change {
        let was_speaking = std::mem::replace(&mut self.speaking, false);
        (self.masked, self.since, self.told) = (true, None, false);
        if was_speaking { Change::Speaking(false) } else { Change::Masked(true) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FRAME_8K, FRAME_16K};
    use super::*;

    fn frame(speech: bool, level: i16, at: u64) -> EarFrame {
        let arrived = Instant::from_millis(at);
        EarFrame { pcm: [level; FRAME_16K], ulaw: [0; FRAME_8K], arrived, speech, concealed: false }
    }

    #[test]
    fn an_onset_is_dated_by_its_first_packet_and_told_once() {
        let mut onset = Onset::default();
        onset.frame(&frame(true, 900, 20), false);
        onset.frame(&frame(false, 0, 40), false);
        assert_eq!(onset.silenced(Instant::from_millis(50)), None, "a click");
        for at in [60, 80, 100, 120] {
            onset.frame(&frame(at >= 100, 900, at), false);
        }
        assert_eq!(onset.detected(true), Change::Speaking(true));
        onset.frame(&frame(false, 0, 140), false);
        assert_eq!(onset.silenced(Instant::from_millis(175)), Some(Duration::from_millis(75)));
        assert_eq!(onset.silenced(Instant::from_millis(400)), None);
        assert_eq!(onset.detected(false), Change::Speaking(false));
        onset.frame(&frame(true, 900, 900), false);
        assert_eq!(onset.silenced(Instant::from_millis(980)), Some(Duration::from_millis(80)));
    }

    #[test]
    fn a_caller_goes_on_while_the_voice_is_heard_and_no_longer_than_it_is_another() {
        let mut onset = Onset::default();
        for at in 0..8 {
            onset.frame(&frame(true, 900, at * 20), false);
        }
        assert!(!onset.goes_on(Instant::from_millis(160)), "not detected");
        onset.detected(true);
        assert!(onset.goes_on(Instant::from_millis(160)));
        for at in 8..11 {
            onset.frame(&frame(false, 0, at * 20), false);
            assert!(onset.goes_on(Instant::from_millis(at * 20)), "within a word");
        }
        onset.frame(&frame(false, 0, 220), false);
        assert!(!onset.goes_on(Instant::from_millis(220)), "the last word has ended");
        onset.frame(&frame(true, 900, 240), false);
        assert!(onset.goes_on(Instant::from_millis(1_000)));
        assert!(!onset.goes_on(Instant::from_millis(1_001)), "it lasts");
    }

    #[test]
    fn a_voice_that_the_echo_explains_is_masked_until_another_is_over_it() {
        let mut onset = Onset::default();
        for at in 0..5 {
            assert_eq!(onset.frame(&frame(true, 900, at * 20), true), None);
        }
        assert_eq!(onset.detected(true), Change::Masked(true));
        // A pause between the echo's words, then its next one.
        for at in 5..9 {
            assert_eq!(onset.frame(&frame(false, 20, at * 20), false), None);
        }
        assert_eq!(onset.frame(&frame(true, 900, 180), true), None);
        let mut changes = (10..13).map(|at| onset.frame(&frame(true, 2000, at * 20), false));
        assert!(changes.any(|change| change == Some(Change::Speaking(true))));
        assert_eq!(onset.silenced(Instant::from_millis(260)), Some(Duration::from_millis(60)));
    }

    #[test]
    fn a_caller_who_stops_while_the_echo_goes_on_has_stopped() {
        let mut onset = Onset::default();
        for at in 0..5 {
            onset.frame(&frame(true, 900, at * 20), false);
        }
        assert_eq!(onset.detected(true), Change::Speaking(true));
        let changes: Vec<Change> = (5..40).filter_map(|at| onset.frame(&frame(true, 900, at * 20), true)).collect();
        assert_eq!(changes, [Change::Speaking(false)]);
        assert_eq!(onset.detected(false), Change::Masked(false));
    }
}
