//! Caller audio on its way to a recogniser: what waits to be sent, what might have to be sent again, and when speech was sent.

use crate::agent::SpeechMark;
use crate::call::EarFrame;
use crate::time::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// One frame's time.
pub(super) const FRAME: Duration = Duration::from_millis(20);
/// Frames that wait or are kept for a replay, 20 s: the longest turns. They are 0.8 kB each, and only those of a turn that is
/// not over are kept.
const FRAMES_MAX: usize = 1000;
/// Frames whose times are remembered, 10 s: an end of turn comes `eot_timeout` after the last word at the latest.
const MARKS_MAX: usize = 500;

/// The way of the caller's frames to the recogniser. Frames are counted from the start of a connection.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: VecDeque<EarFrame>,
    /// Frames sent on this connection since `kept_from`.
    kept: VecDeque<EarFrame>,
    sent: u64,
    kept_from: u64,
    /// Whether frames of the open turn had to be dropped from `kept`.
    cut: bool,
    marks: VecDeque<Mark>,
    /// The first frame after the turn that ended last.
    turn_from: u64,
    last_speech: Option<Instant>,
    speech_frames: u64,
    dropped: u64,
}

/// When a frame came and went.
struct Mark {
    frame: u64,
    speech: bool,
    times: SpeechMark,
}

impl Outbox {
    /// Takes a frame from the media path.
    pub(super) fn push(&mut self, frame: EarFrame) {
        if frame.speech {
            self.last_speech = Some(frame.arrived);
            self.speech_frames += 1;
        }
        if self.waiting.len() == FRAMES_MAX {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(frame);
    }

    /// Returns the frame that is to be sent next.
    pub(super) fn next(&self) -> Option<&EarFrame> {
        self.waiting.front()
    }

    /// Takes the next frame out unsent, where it is a silent one of a backlog of more than `backlog` frames.
    pub(super) fn pass_over_silence(&mut self, backlog: usize) -> Option<EarFrame> {
        let backlogged = self.waiting.len() > backlog;
        self.waiting.pop_front_if(|frame| backlogged && !frame.speech)
    }

    /// The frame returned by [`Self::next`] was handed to the socket at `now`.
    pub(super) fn sent(&mut self, now: Instant) {
        let Some(frame) = self.waiting.pop_front() else { return };
        if self.marks.len() == MARKS_MAX {
            self.marks.pop_front();
        }
        let times = SpeechMark { arrived: frame.arrived, handed: now };
        self.marks.push_back(Mark { frame: self.sent, speech: frame.speech, times });
        if self.kept.len() == FRAMES_MAX {
            self.kept.pop_front();
            self.kept_from += 1;
            self.cut = true;
        }
        self.kept.push_back(frame);
        self.sent += 1;
    }

    /// The recogniser has transcribed the connection's audio up to `window_end`, and no turn is open.
    pub(super) fn acknowledge(&mut self, window_end: Duration) {
        self.forget_before(frame_at(window_end));
        self.cut = false;
    }

    /// The connection is lost: puts what has to be sent again in front. `window_end` is how much the recogniser had
    /// transcribed. Returns whether the replay reaches back to where the turn began.
    pub(super) fn rewind(&mut self, window_end: Duration) -> bool {
        let from_start = !self.cut;
        if self.cut {
            self.forget_before(frame_at(window_end));
        }
        while let Some(frame) = self.kept.pop_back() {
            self.waiting.push_front(frame);
        }
        while self.waiting.len() > FRAMES_MAX {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        (self.sent, self.kept_from, self.turn_from, self.cut) = (0, 0, 0, false);
        self.marks.clear();
        from_start
    }

    /// The turn has ended at `window_end`: speech before that is no other turn's.
    pub(super) fn end_turn(&mut self, window_end: Duration) {
        self.turn_from = if window_end.is_zero() { self.sent } else { frame_at(window_end) };
    }

    /// Returns when the turn's last speech before `window_end` came and went; where the media path heard no speech, the frame
    /// at `last_word_end`, or the last one.
    pub(super) fn speech_mark(&self, window_end: Duration, last_word_end: Option<Duration>) -> SpeechMark {
        let end = if window_end.is_zero() { u64::MAX } else { frame_at(window_end) };
        let word = last_word_end.map(frame_at);
        let speech = self.marks.iter().rev().find(|mark| mark.speech && (self.turn_from..end).contains(&mark.frame));
        let word = || self.marks.iter().rev().find(|mark| word.is_some_and(|frame| mark.frame < frame));
        speech.or_else(word).or_else(|| self.marks.back()).map(|mark| mark.times).unwrap_or_default()
    }

    /// Returns when the sound at `time` of this connection's audio arrived; where that is forgotten, or still to come, as if all had
    /// come at its pace.
    pub(super) fn arrived(&self, time: Duration) -> Option<Instant> {
        let (first, last) = (self.marks.front()?, self.marks.back()?);
        let frame = frame_at(time);
        let at = usize::try_from(frame.saturating_sub(first.frame)).unwrap_or(usize::MAX);
        let mark = self.marks.get(at).unwrap_or(last);
        // A frame is dated by its end.
        let end = FRAME * u32::try_from(mark.frame + 1).ok()?;
        Some(if end > time { mark.times.arrived - (end - time) } else { mark.times.arrived + (time - end) })
    }

    /// Returns the arrival of the last frame with speech.
    pub(super) fn last_speech(&self) -> Option<Instant> {
        self.last_speech
    }

    /// Frames with speech that came, over all connections.
    pub(super) fn speech_frames(&self) -> u64 {
        self.speech_frames
    }

    /// Frames sent on this connection.
    pub(super) fn sent_frames(&self) -> u64 {
        self.sent
    }

    fn forget_before(&mut self, frame: u64) {
        while self.kept_from < frame && self.kept.pop_front().is_some() {
            self.kept_from += 1;
        }
    }
}

/// Returns the number of whole frames before `time`.
fn frame_at(time: Duration) -> u64 {
    (time.as_micros() / FRAME.as_micros()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{FRAME_8K, FRAME_16K};

    fn frame(millis: u64, speech: bool) -> EarFrame {
        EarFrame {
            pcm: [0; FRAME_16K],
            ulaw: [0xff; FRAME_8K],
            arrived: Instant::from_millis(millis),
            speech,
            concealed: false,
        }
    }

    /// Sends frames that arrived at 0, 20, 40, ... and left 1 ms later; `speech` tells which of them are speech.
    fn send(outbox: &mut Outbox, frames: u64, speech: impl Fn(u64) -> bool) {
        for n in 0..frames {
            outbox.push(frame(n * 20, speech(n)));
            outbox.sent(Instant::from_millis(n * 20 + 1));
        }
    }

    #[test]
    fn the_mark_is_the_last_speech_before_the_windows_end() {
        let mut outbox = Outbox::default();
        send(&mut outbox, 100, |n| !(40..=90).contains(&n));
        let mark = outbox.speech_mark(Duration::from_millis(1700), None);
        assert_eq!(mark.arrived, Instant::from_millis(39 * 20));
        assert_eq!(mark.handed, Instant::from_millis(39 * 20 + 1));
    }

    #[test]
    fn without_local_speech_the_mark_is_the_last_word() {
        let mut outbox = Outbox::default();
        send(&mut outbox, 100, |_| false);
        let mark = outbox.speech_mark(Duration::from_secs(2), Some(Duration::from_millis(1000)));
        assert_eq!(mark.arrived, Instant::from_millis(980));
        assert_eq!(outbox.speech_mark(Duration::ZERO, None).arrived, Instant::from_millis(1980));
    }

    #[test]
    fn speech_of_the_turn_before_is_not_the_mark_of_one_in_which_none_was_heard() {
        let mut outbox = Outbox::default();
        send(&mut outbox, 100, |n| n < 40);
        outbox.end_turn(Duration::from_millis(1000));
        let mark = outbox.speech_mark(Duration::from_secs(2), Some(Duration::from_millis(1500)));
        assert_eq!(mark.arrived, Instant::from_millis(1480));
    }

    #[test]
    fn what_was_not_acknowledged_is_sent_again_first() {
        let mut outbox = Outbox::default();
        send(&mut outbox, 50, |_| true);
        outbox.acknowledge(Duration::from_millis(800));
        outbox.push(frame(1000, true));
        assert!(outbox.rewind(Duration::from_millis(900)));
        assert_eq!(outbox.next().map(|frame| frame.arrived), Some(Instant::from_millis(800)));
        assert_eq!(outbox.waiting.len(), 11);
        assert_eq!(outbox.sent_frames(), 0);
    }

    #[test]
    fn a_turn_longer_than_the_memory_is_replayed_from_where_it_was_transcribed() {
        let mut outbox = Outbox::default();
        send(&mut outbox, 1200, |_| true);
        assert!(!outbox.rewind(Duration::from_millis(23_800)));
        assert_eq!(outbox.next().map(|frame| frame.arrived), Some(Instant::from_millis(23_800)));
    }

    #[test]
    fn nothing_grows_without_end() {
        let mut outbox = Outbox::default();
        for n in 0..2000 {
            outbox.push(frame(n * 20, true));
        }
        assert_eq!(outbox.waiting.len(), FRAMES_MAX);
        assert_eq!(
            outbox.next().map(|frame| frame.arrived),
            Some(Instant::from_millis((2000 - FRAMES_MAX as u64) * 20))
        );
        send(&mut outbox, 2000, |_| true);
        assert!(outbox.kept.len() <= FRAMES_MAX && outbox.marks.len() <= MARKS_MAX);
        outbox.rewind(Duration::ZERO);
        assert!(outbox.waiting.len() <= FRAMES_MAX);
    }
}
