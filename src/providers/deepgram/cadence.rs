//! What a Flux server's quiet means: told from how often it has spoken while there was nothing new to say; pure.

use crate::time::Instant;
use std::time::Duration;

/// Messages without news in a row after which a server is taken for one that keeps time: a second of them.
const REPEATS_MIN: u32 = 4;
/// The longest time between two of them: twice what the vendor names, for a slow network.
const REPEAT_MAX: Duration = Duration::from_millis(500);
/// How long a server that keeps time may be quiet while nobody waits for it: after that it is stuck.
const STALL_MAX: Duration = Duration::from_secs(2);
/// The same while somebody waits for it: the caller is in a turn, or has stopped speaking since the server last spoke.
/// It is four updates, and more than a lost TCP segment takes.
const STALL_IN_TURN_MAX: Duration = Duration::from_secs(1);
/// How long the caller may speak without a word from a server that speaks regularly while nobody does.
const STALL_SPOKEN_MAX: Duration = Duration::from_secs(5);
/// Quiet after the caller's last sound that is too long for a server that may have nothing to say before the turn ends: ten
/// times what Flux takes to end one.
const STALL_AFTER_SPEECH_MAX: Duration = Duration::from_secs(2);
/// Speech without an answer that is more than a cough or a door, in frames of 20 ms.
const SPEECH_MIN_FRAMES: u64 = 20;

/// How regularly a server speaks outside of turns and within them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Regular {
    pub(super) idle: bool,
    pub(super) in_turn: bool,
}

/// Listens for messages without news.
#[derive(Clone, Debug, Default)]
pub(super) struct Cadence {
    last: Option<Instant>,
    /// How many there were in a row: outside of turns, and within them.
    repeats: [u32; 2],
    regular: Regular,
}

impl Cadence {
    /// Takes a message about turns; `repeats` if it says what was known.
    pub(super) fn handle_message(&mut self, repeats: bool, in_turn: bool, now: Instant) {
        let near = self.last.is_some_and(|last| now.since(last) <= REPEAT_MAX);
        self.last = Some(now);
        let count = &mut self.repeats[usize::from(in_turn)];
        match (near, repeats) {
            (true, true) => *count += 1,
            (true, false) => return,
            (false, _) => *count = 0,
        }
        let regular = if in_turn { &mut self.regular.in_turn } else { &mut self.regular.idle };
        *regular |= *count >= REPEATS_MIN;
    }

    /// A new connection: what was learned of the server stays.
    pub(super) fn reconnected(&mut self) {
        (self.last, self.repeats) = (None, [0; 2]);
    }

    pub(super) fn regular(&self) -> Regular {
        self.regular
    }
}

/// What is known of a connection on which nothing comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quiet {
    /// Since when.
    pub(super) since: Instant,
    /// Audio sent since then.
    pub(super) audio: Duration,
    /// Whether the caller is in a turn.
    pub(super) in_turn: bool,
    /// Whether speech that a lost connection left unanswered was sent again on this one.
    pub(super) owed: bool,
    /// When the caller was last heard to speak.
    pub(super) last_speech: Option<Instant>,
    /// Frames with speech since then.
    pub(super) speech_frames: u64,
}

impl Quiet {
    /// Whether there was speech in it.
    pub(super) fn is_spoken_into(&self) -> bool {
        self.speech_frames >= SPEECH_MIN_FRAMES
    }

    /// Returns when this quiet will have been too long. Without audio there is nothing to say, so that must have flowed for as
    /// long. A server that was never heard to keep time has to speak only once the caller has ended.
    pub(super) fn stalled_at(&self, regular: Regular) -> Option<Instant> {
        let spoken = self.last_speech.filter(|speech| *speech >= self.since);
        let keeps_time = if self.in_turn { regular.in_turn } else { regular.idle };
        let (from, patience) = match (keeps_time, spoken) {
            (true, _) if self.in_turn => (self.since, STALL_IN_TURN_MAX),
            (true, None) => (self.since, STALL_MAX),
            // Some are quiet while they listen.
            (true, Some(speech)) => (speech.min(self.since + STALL_SPOKEN_MAX), STALL_IN_TURN_MAX),
            (false, _) if self.in_turn || self.owed || self.is_spoken_into() => {
                // One that replaces a silent one has heard it all already.
                let soon = regular.idle || self.owed;
                (spoken.unwrap_or(self.since), if soon { STALL_IN_TURN_MAX } else { STALL_AFTER_SPEECH_MAX })
            }
            (false, _) => return None,
        };
        (self.audio >= patience).then_some(from + patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    const NONE: Regular = Regular { idle: false, in_turn: false };
    const IDLE: Regular = Regular { idle: true, in_turn: false };
    const BOTH: Regular = Regular { idle: true, in_turn: true };

    /// Nothing has come since 1 s, and audio flows.
    fn quiet() -> Quiet {
        let audio = Duration::from_secs(60);
        Quiet { since: at(1000), audio, in_turn: false, owed: false, last_speech: None, speech_frames: 0 }
    }

    #[test]
    fn a_second_of_messages_without_news_shows_that_a_server_keeps_time() {
        let mut cadence = Cadence::default();
        for n in 0..4 {
            cadence.handle_message(true, false, at(n * 250));
        }
        assert_eq!(cadence.regular(), NONE);
        cadence.handle_message(true, false, at(1000));
        assert_eq!(cadence.regular(), IDLE);
        cadence.reconnected();
        assert_eq!(cadence.regular(), IDLE, "it is the same server");
        for n in 0..4 {
            cadence.handle_message(false, true, at(5000 + n * 500));
            cadence.handle_message(true, true, at(5250 + n * 500));
        }
        assert_eq!(cadence.regular(), BOTH, "words come in between");
    }

    #[test]
    fn a_server_that_speaks_seldom_or_only_of_news_does_not_keep_time() {
        let mut cadence = Cadence::default();
        for n in 0..100 {
            cadence.handle_message(true, false, at(n * 1000));
        }
        assert_eq!(cadence.regular(), NONE);
        for n in 0..100 {
            cadence.handle_message(false, true, at(200_000 + n * 250));
        }
        assert_eq!(cadence.regular(), NONE);
    }

    #[test]
    fn a_server_that_keeps_time_is_stuck_after_two_seconds_and_where_somebody_waits_after_one() {
        assert_eq!(quiet().stalled_at(BOTH), Some(at(3000)));
        assert_eq!(Quiet { in_turn: true, ..quiet() }.stalled_at(BOTH), Some(at(2000)));
        let spoken = Quiet { last_speech: Some(at(1500)), speech_frames: 2, ..quiet() };
        assert_eq!(spoken.stalled_at(IDLE), Some(at(2500)));
        assert_eq!(Quiet { last_speech: Some(at(60_000)), ..spoken }.stalled_at(IDLE), Some(at(7000)));
        assert_eq!(Quiet { audio: Duration::from_millis(900), ..spoken }.stalled_at(IDLE), None, "nothing to say");
    }

    #[test]
    fn a_server_that_speaks_only_of_news_may_be_quiet_until_the_caller_has_ended() {
        assert_eq!(quiet().stalled_at(NONE), None);
        let spoken = Quiet { last_speech: Some(at(9000)), speech_frames: 400, ..quiet() };
        assert_eq!(spoken.stalled_at(NONE), Some(at(11_000)));
        let in_turn = Quiet { in_turn: true, ..spoken };
        assert_eq!(in_turn.stalled_at(NONE), Some(at(11_000)));
        assert_eq!(in_turn.stalled_at(IDLE), Some(at(10_000)), "it keeps time as long as nobody speaks");
        let started_late = Quiet { last_speech: Some(at(500)), in_turn: true, ..quiet() };
        assert_eq!(started_late.stalled_at(NONE), Some(at(3000)));
    }

    #[test]
    fn a_cough_asks_for_no_answer_and_speech_that_was_sent_again_does() {
        let cough = Quiet { last_speech: Some(at(1200)), speech_frames: 12, ..quiet() };
        assert_eq!(cough.stalled_at(NONE), None);
        assert_eq!(Quiet { owed: true, ..quiet() }.stalled_at(NONE), Some(at(2000)));
    }
}
