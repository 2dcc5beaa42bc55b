//! The turn budget that an operator has set: which turns broke it, and what was to blame.

use crate::config::Slo as Target;
use crate::metrics::histogram::milliseconds;
use crate::turn::timeline::{Stage, Stages};
use std::fmt;
use std::time::Duration;

/// A turn that took longer than its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breach {
    /// How long it took.
    pub total: Duration,
    /// How long it might take.
    pub budget: Duration,
    /// The stage that was furthest over what it usually takes.
    pub stage: Stage,
    /// What that stage took.
    pub took: Duration,
    /// What it usually takes: the p50 of the turns before.
    pub usual: Duration,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [total, budget, took, usual] = [self.total, self.budget, self.took, self.usual].map(milliseconds);
        let stage = self.stage.name();
        write!(
            f,
            "the reply took {total:.0} ms of {budget:.0} ms; {stage} took {took:.0} ms, and {usual:.0} ms usually"
        )
    }
}

/// How the engine does against its budget.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slo {
    /// What is asked of it; `None`: nothing.
    pub target: Option<Target>,
    /// Turns that were held against it.
    pub turns: u64,
    /// Those over the budget, by the stage to blame.
    pub breaches: [u64; Stage::ALL.len()],
}

impl Slo {
    /// Holds a turn against the budget; `usual` tells what a stage usually takes, without this turn.
    pub fn judge(&mut self, stages: &Stages, usual: impl Fn(Stage) -> Duration) -> Option<Breach> {
        let budget = self.target?.turn;
        self.turns += 1;
        let total = stages.total();
        if total <= budget {
            return None;
        }
        let over = |stage: Stage| (stages.get(stage).saturating_sub(usual(stage)), stages.get(stage));
        // Of stages that are equally far over, the first is to blame: what comes later may only have followed.
        let stage = Stage::ALL.into_iter().rev().max_by_key(|stage| over(*stage)).unwrap_or(Stage::Unexplained);
        self.breaches[stage as usize] += 1;
        Some(Breach { total, budget, stage, took: stages.get(stage), usual: usual(stage) })
    }

    /// Returns how many turns were over the budget.
    #[must_use]
    pub fn breached(&self) -> u64 {
        self.breaches.iter().sum()
    }

    /// Returns the share of turns within the budget; `None` while there are none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "so many turns are never taken")]
    pub fn share(&self) -> Option<f64> {
        (self.turns > 0).then(|| 1.0 - self.breached() as f64 / self.turns as f64)
    }

    /// Whether so many turns are within the budget as are asked for; with no turns they are.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.target.is_none_or(|target| self.share().is_none_or(|share| share >= target.share))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::time::Instant;
    use crate::turn::timeline::{Mark, Timeline};

    const TARGET: Target = Target { turn: Duration::from_millis(900), share: 0.75 };

    /// The stages of a turn that was not drafted, whose marks lie at `times`, in their order.
    pub fn stages_of(times: [Instant; 8]) -> Stages {
        let mut timeline = Timeline::default();
        let marks = [
            Mark::SpeechArrived,
            Mark::SpeechHanded,
            Mark::EndOfTurn,
            Mark::RequestSent,
            Mark::FirstToken,
            Mark::ClauseSent,
            Mark::FirstAudio,
            Mark::FirstPacket,
        ];
        for (mark, at) in marks.into_iter().zip(times) {
            timeline.mark(mark, at);
        }
        timeline.stages().expect("both ends are marked")
    }

    /// A turn in which the model took `llm` ms, the voice `tts` ms, and everything else 210 ms.
    fn stages(llm: u64, tts: u64) -> Stages {
        stages_of([0, 1, 201, 202, 202 + llm, 207 + llm, 207 + llm + tts, 210 + llm + tts].map(Instant::from_millis))
    }

    fn usual(stage: Stage) -> Duration {
        Duration::from_millis(match stage {
            Stage::EndOfTurn => 200,
            Stage::Llm => 600,
            Stage::Tts => 90,
            _ => 1,
        })
    }

    #[test]
    fn a_turn_over_its_budget_names_the_stage_that_was_furthest_over_its_usual() {
        let mut slo = Slo { target: Some(TARGET), ..Slo::default() };
        assert_eq!(slo.judge(&stages(600, 90), usual), None, "exactly 900 ms");
        let breach = slo.judge(&stages(620, 400), usual).expect("1230 ms");
        assert_eq!(
            (breach.stage, breach.took),
            (Stage::Tts, Duration::from_millis(400)),
            "though the model took longer"
        );
        let text = "the reply took 1230 ms of 900 ms; tts took 400 ms, and 90 ms usually";
        assert_eq!(breach.to_string(), text);
        assert_eq!((slo.turns, slo.breached(), slo.breaches[Stage::Tts as usize]), (2, 1, 1));
    }

    #[test]
    fn the_very_first_turn_blames_its_longest_stage() {
        let mut slo = Slo { target: Some(TARGET), ..Slo::default() };
        let breach = slo.judge(&stages(900, 90), |_| Duration::ZERO).expect("over");
        assert_eq!(breach.stage, Stage::Llm);
    }

    #[test]
    fn it_is_met_while_enough_turns_are_within() {
        let mut slo = Slo { target: Some(TARGET), ..Slo::default() };
        assert!(slo.is_met() && slo.share().is_none());
        for llm in [100, 100, 100, 2_000] {
            slo.judge(&stages(llm, 90), usual);
        }
        assert!(slo.is_met(), "{:?}", slo.share());
        slo.judge(&stages(2_000, 90), usual);
        assert!(!slo.is_met(), "{:?}", slo.share());
    }

    #[test]
    fn nothing_is_counted_where_nothing_is_asked_for() {
        let mut slo = Slo::default();
        assert_eq!((slo.judge(&stages(9_000, 90), usual), slo.turns, slo.is_met()), (None, 0, true));
    }
}
