//! When each step of a turn happened, from the caller's last speech to the agent's first packet, and what each step cost.

use crate::time::Instant;
use std::time::Duration;

/// A moment of a turn, in the order in which they come when nothing is speculated or kept ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// The last packet with caller speech came in: `t0`.
    SpeechArrived,
    /// Its audio was handed to the recogniser.
    SpeechHanded,
    /// The recogniser's eager end of turn, on which the reply was drafted.
    DraftBegun,
    /// The recogniser's end of turn came out of its socket or model.
    EndOfTurn,
    /// The request to the model was written.
    RequestSent,
    /// The first token came that is of use to a voice.
    FirstToken,
    /// The first clause was written to the voice, or a kept phrase was handed to the media path.
    ClauseSent,
    /// The first audio came out of the voice; for a kept phrase the same moment as `ClauseSent`.
    FirstAudio,
    /// The first packet with agent speech was handed to the kernel: `t1`.
    FirstPacket,
}

impl Mark {
    const COUNT: usize = Self::FirstPacket as usize + 1;
}

/// A part of the time between the caller's last speech and the agent's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Packet in → audio handed to the recogniser.
    Ingress,
    /// Audio handed over → end of turn: the recogniser's time, with the silence it needs.
    EndOfTurn,
    /// End of turn → request written.
    Decision,
    /// Request written → first useful token: the model's time, without that of its tools.
    Llm,
    /// What of that was spent on tools that the model had called, until it was asked again.
    Tools,
    /// First useful token → first clause written to the voice.
    Clause,
    /// First clause written → first audio: the voice's time.
    Tts,
    /// First audio → first packet sent.
    Egress,
    /// What no stage explains.
    Unexplained,
}

impl Stage {
    /// All stages, in the order in which a turn passes them.
    pub const ALL: [Self; 9] = [
        Self::Ingress,
        Self::EndOfTurn,
        Self::Decision,
        Self::Llm,
        Self::Tools,
        Self::Clause,
        Self::Tts,
        Self::Egress,
        Self::Unexplained,
    ];

    /// Returns the name that the control API and `/metrics` use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::EndOfTurn => "end_of_turn",
            Self::Decision => "decision",
            Self::Llm => "llm",
            Self::Tools => "tools",
            Self::Clause => "clause",
            Self::Tts => "tts",
            Self::Egress => "egress",
            Self::Unexplained => "unexplained",
        }
    }
}

/// The marks of one turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    marks: [Option<Instant>; Mark::COUNT],
    /// When tools ran: from their being begun to the model's being asked again, which is still to come in the last.
    tools: [Option<(Instant, Option<Instant>)>; TOOL_ROUNDS],
}

/// Rounds of tools whose time is told apart from the model's: an agent that needs more of them counts the rest as the model's.
const TOOL_ROUNDS: usize = 8;

impl Timeline {
    /// Notes that `mark` happened at `at`. The first time counts: a second clause or token is no news.
    pub fn mark(&mut self, mark: Mark, at: Instant) {
        self.marks[mark as usize].get_or_insert(at);
    }

    /// Notes that the first tool of a round was begun at `at`.
    pub fn tools_begun(&mut self, at: Instant) {
        let is_open = self.tools.iter().flatten().any(|(_, done)| done.is_none());
        if let (false, Some(round)) = (is_open, self.tools.iter_mut().find(|round| round.is_none())) {
            *round = Some((at, None));
        }
    }

    /// Notes that the model was asked at `at` to go on with what its tools have told, if any ran.
    pub fn tools_done(&mut self, at: Instant) {
        if let Some((_, done)) = self.tools.iter_mut().flatten().find(|(_, done)| done.is_none()) {
            *done = Some(at);
        }
    }

    /// Returns for how long tools ran between `from` and `to`.
    fn tools_between(&self, from: Instant, to: Instant) -> Duration {
        let (mut reached, mut sum) = (from, Duration::ZERO);
        for &(begun, done) in self.tools.iter().flatten() {
            let (begun, done) = (begun.max(reached), done.unwrap_or(to).min(to));
            sum += done - begun;
            reached = reached.max(done);
        }
        sum
    }

    /// Returns when `mark` happened.
    #[must_use]
    pub const fn at(&self, mark: Mark) -> Option<Instant> {
        self.marks[mark as usize]
    }

    /// Takes the marks of `other` that it does not have itself: a draft and the end of the turn that it answers are one
    /// turn.
    pub fn join(&mut self, other: &Self) {
        for (own, theirs) in self.marks.iter_mut().zip(other.marks) {
            *own = own.or(theirs);
        }
        if self.tools[0].is_none() {
            self.tools = other.tools;
        }
    }

    /// Returns by how much earlier the first audio was there than it would have been, had the reply not been drafted: the
    /// part of its making that was over when the turn ended. Zero where nothing was drafted.
    #[must_use]
    pub fn saved(&self) -> Duration {
        let (Some(begun), Some(ended)) = (self.at(Mark::DraftBegun), self.at(Mark::EndOfTurn)) else {
            return Duration::ZERO;
        };
        self.at(Mark::FirstAudio).map_or(ended, |audio| audio.min(ended)).since(begun)
    }

    /// Returns what each stage cost, once both `SpeechArrived` and `FirstPacket` are known.
    #[must_use]
    pub fn stages(&self) -> Option<Stages> {
        let (start, end) = (self.at(Mark::SpeechArrived)?, self.at(Mark::FirstPacket)?);
        let mut stages = Stages::default();
        let mut explained = Duration::ZERO;
        let mut reached = start;
        for (stage, from, to) in self.spans() {
            let (Some(from), Some(to)) = (from, to) else { continue };
            // A draft's request is older than the end of turn that releases it. Time counts once: for the earlier
            // stage of the two, on which the other did not have to wait.
            let (from, to) = (from.max(reached), to.min(end));
            stages.parts[stage as usize] = to - from;
            if stage == Stage::Llm {
                let tools = self.tools_between(from, to);
                stages.parts[Stage::Tools as usize] = tools;
                stages.parts[Stage::Llm as usize] = (to - from) - tools;
            }
            explained += to - from;
            reached = reached.max(to);
        }
        stages.parts[Stage::Unexplained as usize] = (end - start).saturating_sub(explained);
        Some(stages)
    }

    /// Returns each stage with the marks between which it lies. A turn without a mark lacks the stages on either side
    /// of it, with two exceptions: a kept phrase is decided on and played without request and token, and a model that
    /// is given up has had its time until something else was spoken.
    fn spans(&self) -> [(Stage, Option<Instant>, Option<Instant>); 7] {
        let clause_sent = self.at(Mark::ClauseSent);
        let request_sent = self.at(Mark::RequestSent);
        let token = self.at(Mark::FirstToken);
        [
            (Stage::Ingress, self.at(Mark::SpeechArrived), self.at(Mark::SpeechHanded)),
            (Stage::EndOfTurn, self.at(Mark::SpeechHanded), self.at(Mark::EndOfTurn)),
            (Stage::Decision, self.at(Mark::EndOfTurn), request_sent.or(clause_sent)),
            (Stage::Llm, request_sent, token.or(clause_sent)),
            (Stage::Clause, token, clause_sent),
            (Stage::Tts, clause_sent, self.at(Mark::FirstAudio)),
            (Stage::Egress, self.at(Mark::FirstAudio), self.at(Mark::FirstPacket)),
        ]
    }
}

/// What each stage of one turn cost; the stages add up to the total exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    parts: [Duration; Stage::ALL.len()],
}

impl Stages {
    /// Returns the time from the caller's last speech to the agent's first packet.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.parts.iter().sum()
    }

    /// Returns what `stage` cost.
    #[must_use]
    pub const fn get(&self, stage: Stage) -> Duration {
        self.parts[stage as usize]
    }

    /// Returns everything that is not a provider's time: total without end of turn, LLM, tools and TTS.
    #[must_use]
    pub fn own_path(&self) -> Duration {
        let others = [Stage::EndOfTurn, Stage::Llm, Stage::Tools, Stage::Tts];
        self.total() - others.into_iter().map(|stage| self.get(stage)).sum::<Duration>()
    }

    /// Returns the stages in milliseconds with one decimal, in the order of [`Stage::ALL`], and their total; so rounded
    /// that what is shown adds up to the total shown.
    #[must_use]
    pub fn millis(&self) -> ([f64; Stage::ALL.len()], f64) {
        let tenths = |time: Duration| (time.as_micros() + 50) / 100;
        // The sums are rounded and not the parts, so that the errors of the parts do not add up.
        let (mut sum, mut shown) = (Duration::ZERO, 0);
        let millis = self.parts.map(|part| {
            sum += part;
            let tenth = tenths(sum) - shown;
            shown += tenth;
            tenth as f64 / 10.0
        });
        (millis, shown as f64 / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: [Mark; Mark::COUNT] = [
        Mark::SpeechArrived,
        Mark::SpeechHanded,
        Mark::DraftBegun,
        Mark::EndOfTurn,
        Mark::RequestSent,
        Mark::FirstToken,
        Mark::ClauseSent,
        Mark::FirstAudio,
        Mark::FirstPacket,
    ];

    fn timeline(marks: &[(Mark, u64)]) -> Timeline {
        let mut timeline = Timeline::default();
        for &(mark, micros) in marks {
            timeline.mark(mark, Instant::from_nanos(micros * 1000));
        }
        timeline
    }

    /// Of each stage, but for the tools.
    fn micros(timeline: &Timeline) -> [u128; 8] {
        let of = [0, 1, 2, 3, 5, 6, 7, 8].map(|stage| Stage::ALL[stage]);
        of.map(|stage| timeline.stages().expect("both ends are there").get(stage).as_micros())
    }

    #[test]
    fn a_whole_turn_is_explained_to_the_last_microsecond() {
        let times = [1000, 1600, 150_000, 201_700, 201_900, 502_200, 507_200, 597_400, 613_400];
        let marks: Vec<_> = MARKS.into_iter().zip(times).collect();
        let turn = timeline(&marks);
        assert_eq!(micros(&turn), [600, 200_100, 200, 300_300, 5000, 90_200, 16_000, 0]);
        let stages = turn.stages().expect("both ends are there");
        assert_eq!(stages.total(), Duration::from_micros(612_400));
        assert_eq!(stages.own_path(), Duration::from_micros(600 + 200 + 5000 + 16_000));
        assert_eq!(stages.millis(), ([0.6, 200.1, 0.2, 300.3, 0.0, 5.0, 90.2, 16.0, 0.0], 612.4));
    }

    #[test]
    fn a_turn_without_both_ends_has_no_latency() {
        assert_eq!(timeline(&[(Mark::SpeechArrived, 1)]).stages(), None);
        assert_eq!(timeline(&[(Mark::FirstAudio, 5), (Mark::FirstPacket, 9)]).stages(), None);
    }

    #[test]
    fn a_kept_phrase_needs_no_model_and_no_voice() {
        let turn = timeline(&[
            (Mark::SpeechArrived, 0),
            (Mark::SpeechHanded, 1),
            (Mark::EndOfTurn, 300),
            (Mark::ClauseSent, 310),
            (Mark::FirstAudio, 310),
            (Mark::FirstPacket, 325),
        ]);
        assert_eq!(micros(&turn), [1, 299, 10, 0, 0, 0, 15, 0]);
    }

    #[test]
    fn a_model_that_is_given_up_is_charged_for_the_wait() {
        let turn = timeline(&[
            (Mark::SpeechArrived, 0),
            (Mark::SpeechHanded, 1),
            (Mark::EndOfTurn, 300),
            (Mark::RequestSent, 301),
            (Mark::ClauseSent, 2301),
            (Mark::FirstAudio, 2301),
            (Mark::FirstPacket, 2310),
        ]);
        assert_eq!(micros(&turn), [1, 299, 1, 2000, 0, 0, 9, 0]);
    }

    #[test]
    fn what_tools_take_is_theirs_and_not_the_models() {
        let at = |micros: u64| Instant::from_nanos(micros * 1000);
        let mut turn = timeline(&[
            (Mark::SpeechArrived, 0),
            (Mark::SpeechHanded, 1),
            (Mark::EndOfTurn, 300),
            (Mark::RequestSent, 301),
            (Mark::FirstToken, 1500),
            (Mark::ClauseSent, 1510),
            (Mark::FirstAudio, 1600),
            (Mark::FirstPacket, 1610),
        ]);
        let cost = |turn: &Timeline, stage| turn.stages().expect("both ends").get(stage).as_micros();
        turn.tools_begun(at(500));
        turn.tools_begun(at(510));
        turn.tools_done(at(900));
        turn.tools_done(at(910));
        turn.tools_begun(at(1000));
        turn.tools_done(at(1100));
        assert_eq!((cost(&turn, Stage::Llm), cost(&turn, Stage::Tools)), (1199 - 500, 500));
        let stages = turn.stages().expect("both ends");
        assert_eq!((stages.total(), stages.get(Stage::Unexplained)), (Duration::from_micros(1610), Duration::ZERO));
        assert_eq!(stages.own_path(), Duration::from_micros(1 + 1 + 10 + 10), "a webhook is not our path");
        // One that runs on while a filler is said is waited for until the filler.
        turn.tools_begun(at(1200));
        assert_eq!(cost(&turn, Stage::Tools), 800);
        // What runs beside the reply costs nothing.
        let mut beside = timeline(&[
            (Mark::SpeechArrived, 0),
            (Mark::RequestSent, 301),
            (Mark::FirstToken, 400),
            (Mark::FirstPacket, 900),
        ]);
        beside.tools_begun(at(450));
        assert_eq!((cost(&beside, Stage::Llm), cost(&beside, Stage::Tools)), (99, 0));
    }

    #[test]
    fn a_draft_older_than_the_end_of_turn_costs_only_what_was_waited_for() {
        let mut marks = vec![
            (Mark::SpeechArrived, 0),
            (Mark::SpeechHanded, 1),
            (Mark::RequestSent, 150),
            (Mark::EndOfTurn, 300),
            (Mark::DraftBegun, 140),
            (Mark::FirstToken, 350),
            (Mark::ClauseSent, 360),
            (Mark::FirstAudio, 450),
            (Mark::FirstPacket, 460),
        ];
        assert_eq!(micros(&timeline(&marks)), [1, 299, 0, 50, 10, 90, 10, 0]);
        assert_eq!(timeline(&marks).saved(), Duration::from_micros(160), "it would have taken 310 from the end on");
        // Drafted, spoken and kept behind the gate: only the way out is left.
        for (mark, time) in [(5, 200), (6, 210), (7, 290)] {
            marks[mark].1 = time;
        }
        assert_eq!(micros(&timeline(&marks)), [1, 299, 0, 0, 0, 0, 160, 0]);
        assert_eq!(timeline(&marks).saved(), Duration::from_micros(150), "all of its making");
        marks.remove(4);
        assert_eq!(timeline(&marks).saved(), Duration::ZERO, "nothing was drafted");
    }

    #[test]
    fn what_no_mark_explains_is_shown_as_such() {
        let turn = timeline(&[
            (Mark::SpeechArrived, 0),
            (Mark::SpeechHanded, 1),
            (Mark::EndOfTurn, 300),
            (Mark::RequestSent, 301),
            (Mark::FirstToken, 400),
            (Mark::ClauseSent, 401),
            (Mark::FirstPacket, 500),
        ]);
        assert_eq!(micros(&turn), [1, 299, 1, 99, 1, 0, 0, 99]);
    }

    #[test]
    fn a_drafts_marks_and_those_of_the_turns_end_are_one_timeline() {
        let mut draft = timeline(&[(Mark::DraftBegun, 80), (Mark::RequestSent, 81)]);
        draft.join(&timeline(&[(Mark::SpeechArrived, 0), (Mark::SpeechHanded, 1), (Mark::EndOfTurn, 200)]));
        draft.mark(Mark::EndOfTurn, Instant::from_nanos(900_000));
        draft.mark(Mark::FirstPacket, Instant::from_nanos(250_000));
        assert_eq!(draft.stages().map(|stages| stages.total()), Some(Duration::from_micros(250)));
        assert_eq!(draft.at(Mark::EndOfTurn), Some(Instant::from_nanos(200_000)));
    }

    #[test]
    fn the_first_of_many_marks_counts() {
        let turn = timeline(&[(Mark::FirstToken, 5), (Mark::FirstToken, 9)]);
        assert_eq!(turn.at(Mark::FirstToken), Some(Instant::from_nanos(5000)));
    }

    #[test]
    fn the_stages_add_up_for_any_marks_in_any_order() {
        for seed in 0..5000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut turn = Timeline::default();
            for mark in MARKS {
                if rng.u32(0..4) > 0 || matches!(mark, Mark::SpeechArrived | Mark::FirstPacket) {
                    turn.mark(mark, Instant::from_nanos(rng.u64(0..1_000_000_000)));
                }
            }
            for _ in 0..rng.usize(0..12) {
                let at = Instant::from_nanos(rng.u64(0..1_000_000_000));
                if rng.bool() { turn.tools_begun(at) } else { turn.tools_done(at) }
            }
            let (start, end) = (turn.at(Mark::SpeechArrived), turn.at(Mark::FirstPacket));
            let total = end.expect("set above") - start.expect("set above");
            let stages = turn.stages().expect("both ends are there");
            assert_eq!(stages.total(), total, "seed {seed}");
            assert!(stages.own_path() <= total, "seed {seed}");
            let (shown, shown_total) = stages.millis();
            assert!((shown.iter().sum::<f64>() - shown_total).abs() < 1e-6, "seed {seed}");
            assert!((shown_total - total.as_secs_f64() * 1000.0).abs() <= 0.051, "seed {seed}");
        }
    }
}
