//! One call's turns on the way to their latency: which reply answers which end of turn, and when each step of it happened.
//!
//! The marks of a turn come from the recogniser, the model, the voice and the media path, in no certain order. They are put
//! together here, all on one clock, and read once both ends of a turn are known. Pure: it is told the time.

use crate::agent::SpeechMark;
use crate::ids::TurnId;
use crate::metrics::Speculation;
use crate::time::Instant;
use crate::turn::timeline::{Mark, Stages, Timeline};
use std::collections::BTreeMap;

/// Turns whose latency is still being put together; the reply to an older one is long over.
const TURNS_MAX: usize = 8;

/// What is known of how a turn's reply came about.
#[derive(Default)]
struct Marks {
    timeline: Timeline,
    /// Whether another draft for the same turn of the caller was thrown away before.
    missed: bool,
}

/// The latencies of one call that are still being put together.
#[derive(Default)]
pub struct Latencies {
    /// The marks of the latest turns.
    turns: BTreeMap<TurnId, Marks>,
    /// The end of the caller's turn that the next request will answer.
    ended_turn: Option<Timeline>,
    /// The turn that the model was asked for last: tools that run are this turn's.
    asked: Option<TurnId>,
    /// When the recogniser's latest event came in: what a draft is begun on.
    heard_at: Instant,
    /// The draft that waits behind the gate.
    draft: Option<TurnId>,
    /// Whether a draft for the caller's present turn was thrown away.
    missed: bool,
}

impl Latencies {
    /// Notes that `mark` of `turn` happened at `at`; does nothing for a turn that is not being put together.
    pub fn mark(&mut self, turn: TurnId, mark: Mark, at: Instant) {
        if let Some(Marks { timeline, .. }) = self.turns.get_mut(&turn) {
            timeline.mark(mark, at);
        }
    }

    /// The recogniser said something at `at`.
    pub fn heard(&mut self, at: Instant) {
        self.heard_at = at;
    }

    /// The recogniser said at `at` that the caller's turn has ended, and the next request will answer it.
    pub fn turn_ended(&mut self, speech: SpeechMark, at: Instant) {
        let mut timeline = Timeline::default();
        timeline.mark(Mark::SpeechArrived, speech.arrived);
        timeline.mark(Mark::SpeechHanded, speech.handed);
        timeline.mark(Mark::EndOfTurn, at);
        self.ended_turn = Some(timeline);
    }

    /// The turn whose end was told before was held open, and is over at `now`: that is its end.
    pub fn held_turn_ended(&mut self, now: Instant) {
        if let Some(ended) = &mut self.ended_turn {
            // The first mark counts, so that the later end has to come before the marks of the earlier one.
            let mut later = Timeline::default();
            later.mark(Mark::EndOfTurn, now);
            later.join(ended);
            *ended = later;
        }
    }

    /// The model is asked for `turn` at `now`: the first time, or again with what its tools have brought.
    pub fn asked(&mut self, turn: TurnId, now: Instant) {
        // A draft has its marks already, and the end of its turn is still to come.
        if self.draft != Some(turn)
            && let Some(timeline) = self.ended_turn.take()
        {
            let missed = std::mem::take(&mut self.missed);
            self.keep(turn, Marks { timeline, missed });
        }
        self.asked = Some(turn);
        if let Some(Marks { timeline, .. }) = self.turns.get_mut(&turn) {
            timeline.tools_done(now);
        }
    }

    /// A tool that the model called is run at `now`.
    pub fn tool_begun(&mut self, now: Instant) {
        if let Some(Marks { timeline, .. }) = self.asked.and_then(|turn| self.turns.get_mut(&turn)) {
            timeline.tools_begun(now);
        }
    }

    /// A draft of `turn` is begun, on what the recogniser said last.
    pub fn draft_begun(&mut self, turn: TurnId) {
        self.draft = Some(turn);
        let mut timeline = Timeline::default();
        timeline.mark(Mark::DraftBegun, self.heard_at);
        self.keep(turn, Marks { timeline, missed: false });
    }

    /// The draft of `turn` became the reply to the turn that has ended.
    pub fn draft_opened(&mut self, turn: TurnId) {
        self.draft = None;
        self.missed = false;
        if let (Some(marks), Some(ended)) = (self.turns.get_mut(&turn), self.ended_turn.take()) {
            marks.timeline.join(&ended);
        }
    }

    /// The draft of `turn` was thrown away.
    pub fn draft_thrown_away(&mut self, turn: TurnId) {
        self.draft = None;
        self.missed = true;
        self.turns.remove(&turn);
    }

    /// Whether a draft waits behind the gate.
    #[must_use]
    pub const fn has_draft(&self) -> bool {
        self.draft.is_some()
    }

    /// Returns the latency of `turn`, and what speculation had to do with it, once both its ends are known: then, and only once.
    /// The packet may be on the wire before the voice's thread has said that there is audio.
    pub fn take_whole(&mut self, turn: TurnId) -> Option<(Stages, Speculation)> {
        let Marks { timeline, missed } = self.turns.get(&turn)?;
        timeline.at(Mark::FirstAudio).and(timeline.at(Mark::FirstPacket))?;
        let stages = timeline.stages()?;
        let speculation = match (timeline.at(Mark::DraftBegun), missed) {
            (Some(_), _) => Speculation::Hit(timeline.saved()),
            (None, true) => Speculation::Miss,
            (None, false) => Speculation::None,
        };
        self.turns.remove(&turn);
        Some((stages, speculation))
    }

    /// Keeps the marks of `turn` from here on; the oldest make room.
    fn keep(&mut self, turn: TurnId, marks: Marks) {
        self.turns.insert(turn, marks);
        while self.turns.len() > TURNS_MAX {
            self.turns.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::timeline::Stage;
    use std::time::Duration;

    const TURN: TurnId = TurnId(1);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The caller's last speech arrived at 1.0 s, and the recogniser told the turn's end at 1.5 s.
    fn ended() -> Latencies {
        let mut latencies = Latencies::default();
        latencies.heard(at(1500));
        latencies.turn_ended(SpeechMark { arrived: at(1000), handed: at(1001) }, at(1500));
        latencies
    }

    /// The reply to it was asked for at once, and its voice has been written to.
    fn asked() -> Latencies {
        let mut latencies = ended();
        latencies.asked(TURN, at(1500));
        latencies.mark(TURN, Mark::RequestSent, at(1501));
        latencies.mark(TURN, Mark::FirstToken, at(1700));
        latencies.mark(TURN, Mark::ClauseSent, at(1710));
        latencies
    }

    /// The reply's audio is there at 1.8 s, and its first packet leaves 20 ms later.
    fn answered(mut latencies: Latencies, turn: TurnId) -> Option<(Stages, Speculation)> {
        latencies.mark(turn, Mark::FirstAudio, at(1800));
        latencies.mark(turn, Mark::FirstPacket, at(1820));
        latencies.take_whole(turn)
    }

    #[test]
    fn a_latency_is_known_once_when_its_audio_and_its_packet_are_in_either_order() {
        let ends = [(Mark::FirstAudio, at(1800)), (Mark::FirstPacket, at(1820))];
        for order in [[0, 1], [1, 0]] {
            let mut latencies = asked();
            for end in order {
                assert!(latencies.take_whole(TURN).is_none(), "one end is not known");
                latencies.mark(TURN, ends[end].0, ends[end].1);
            }
            let (stages, speculation) = latencies.take_whole(TURN).expect("both ends are known");
            assert_eq!((stages.total(), speculation), (ms(820), Speculation::None));
            assert!(latencies.take_whole(TURN).is_none(), "it was told");
        }
    }

    #[test]
    fn a_kept_draft_begins_with_what_the_recogniser_said_before_and_is_answered_to_the_end_after() {
        let mut latencies = Latencies::default();
        latencies.heard(at(1200));
        latencies.draft_begun(TURN);
        latencies.asked(TURN, at(1201));
        latencies.mark(TURN, Mark::RequestSent, at(1201));
        assert!(latencies.has_draft());
        latencies.turn_ended(SpeechMark { arrived: at(1000), handed: at(1001) }, at(1500));
        latencies.draft_opened(TURN);
        assert!(!latencies.has_draft());
        let (stages, speculation) = answered(latencies, TURN).expect("both ends are known");
        assert_eq!((stages.total(), speculation), (ms(820), Speculation::Hit(ms(300))));
    }

    #[test]
    fn a_draft_that_is_thrown_away_is_no_latency_and_makes_a_miss_of_the_next_reply_only() {
        let mut latencies = Latencies::default();
        latencies.draft_begun(TURN);
        latencies.draft_thrown_away(TURN);
        assert!(!latencies.has_draft());
        for (turn, speculation) in [(2, Speculation::Miss), (3, Speculation::None)].map(|(n, was)| (TurnId(n), was)) {
            latencies.turn_ended(SpeechMark { arrived: at(1000), handed: at(1001) }, at(1500));
            latencies.asked(turn, at(1500));
            latencies.mark(turn, Mark::FirstAudio, at(1800));
            latencies.mark(turn, Mark::FirstPacket, at(1820));
            assert_eq!(latencies.take_whole(turn).map(|(_, was)| was), Some(speculation));
        }
        assert!(answered(latencies, TURN).is_none());
    }

    #[test]
    fn a_held_turn_ends_when_the_wait_is_over() {
        let mut latencies = ended();
        latencies.held_turn_ended(at(1700));
        latencies.asked(TURN, at(1700));
        let (stages, _) = answered(latencies, TURN).expect("both ends are known");
        assert_eq!((stages.get(Stage::EndOfTurn), stages.total()), (ms(699), ms(820)));
    }

    #[test]
    fn the_time_of_tools_is_not_the_models() {
        let mut latencies = ended();
        latencies.asked(TURN, at(1500));
        latencies.mark(TURN, Mark::RequestSent, at(1501));
        latencies.tool_begun(at(1550));
        latencies.asked(TURN, at(1650));
        latencies.mark(TURN, Mark::FirstToken, at(1700));
        let (stages, _) = answered(latencies, TURN).expect("both ends are known");
        assert_eq!((stages.get(Stage::Tools), stages.get(Stage::Llm)), (ms(100), ms(99)));
    }

    #[test]
    fn turns_that_nobody_answers_make_room_for_later_ones() {
        let mut latencies = Latencies::default();
        for n in 1..=100 {
            latencies.turn_ended(SpeechMark { arrived: at(1000), handed: at(1001) }, at(1500));
            latencies.asked(TurnId(n), at(1500));
        }
        assert_eq!(latencies.turns.len(), TURNS_MAX);
        assert!(latencies.turns.contains_key(&TurnId(100)));
    }
}
