//! What would have become of a caller's turns with other thresholds: reckoned from how sure the recogniser was of each end.
//!
//! A draft begins with the first message that is sure enough, unless the agent was busy, the words asked for more, or the
//! budget of waste was used up; it falls when the words change or the recogniser takes the end back; it is the reply if it
//! stands when the turn ends. Model and voice take as long as they took for that turn's reply.

use super::turns::{Frame, Reply, Step, Turn, Turns};
use crate::agent::{Budget, Cause};
use crate::config;
use crate::time::Instant;
use std::time::Duration;

/// Thresholds to try; what is `None` stays as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tried {
    /// From where on a turn has probably ended.
    pub eager: Option<f32>,
    /// From where on it has ended.
    pub eot: Option<f32>,
    /// Nothing is drafted.
    pub undrafted: bool,
}

/// What a turn would have been.
#[derive(Clone, Debug, PartialEq)]
pub struct Would {
    /// How it would have ended.
    pub end: End,
    /// What would have been drafted for it, in order.
    pub drafts: Vec<Draft>,
    /// How long the caller would have waited; `None` where that cannot be said: nothing answered, a kept phrase did, or the
    /// turn would have ended at another place.
    pub waited: Option<Duration>,
}

/// How a turn would have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// When it did.
    AsItWas,
    /// So much sooner, with the same words.
    Sooner(Duration),
    /// In the middle of what the caller said: so much sooner, and the caller went on.
    TooSoon(Duration),
    /// Later, and the capture does not say when: the recogniser was never as sure.
    Later,
}

/// A draft that would have been.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draft {
    /// When it would have begun.
    pub begun: Instant,
    /// How sure the recogniser was then, where a message of its began it.
    pub confidence: Option<f32>,
    /// By how much sooner it may have begun: nothing is known of the time since the message before, which was not sure
    /// enough.
    pub sooner: Duration,
    /// Whether it would have been the reply.
    pub kept: bool,
    /// When it would have been thrown away, or the turn ended.
    pub over: Instant,
    /// Pieces of text that the model would have made of it in vain, as fast as it made this turn's reply.
    pub tokens_wasted: usize,
}

/// Whether any message about a turn came with how sure the recogniser was.
#[must_use]
pub fn knows_confidences(turns: &Turns) -> bool {
    turns.turns.iter().any(|turn| turn.frames().any(|frame| frame.confidence.is_some()))
}

/// Reckons what each of `turns` would have been, with the agent's `settings` and its budget for drafts.
#[must_use]
pub fn reckon(turns: &Turns, tried: Tried, settings: &config::Agent) -> Vec<Would> {
    // Who tries a threshold wants drafts.
    let settings = config::Agent { speculation: settings.speculation || tried.eager.is_some(), ..settings.clone() };
    let mut budget = Budget::new(&settings);
    let mut allowances = turns.allowances.iter().peekable();
    let turns = turns.turns.iter().map(|turn| {
        while let Some((at, left)) = allowances.next_if(|(at, _)| *at <= turn.ended) {
            budget.allowance(*left, *at);
        }
        let would = reckon_turn(turn, tried, &mut budget);
        budget.turn_ended();
        would
    });
    turns.collect()
}

fn reckon_turn(turn: &Turn, tried: Tried, budget: &mut Budget) -> Would {
    let (end, ended, key) = end_of(turn, tried.eot);
    let mut drafts: Vec<Draft> = Vec::new();
    let mut open: Option<(Draft, String)> = None;
    let mut before: Option<&Frame> = None;
    let throw_away = |draft: Draft, at: Instant, budget: &mut Budget| {
        budget.wasted();
        Draft { over: at, tokens_wasted: tokens_until(turn.reply.as_ref(), at.since(draft.begun)), ..draft }
    };
    for step in turn.steps.iter().take_while(|step| step_at(step) < ended) {
        if let Step::Frame(frame) = step
            && let Some((draft, _)) = open.take_if(|(_, key)| frame.resumed || *key != frame.key)
        {
            drafts.push(throw_away(draft, frame.at, budget));
        }
        let begins = match step {
            Step::Frame(frame) => {
                draft_at(frame, before, tried).map(|draft| (draft, frame.key.clone(), Cause::EagerEnd))
            }
            Step::Begun { early, .. } if tried.undrafted || (!early && tried.eager.is_some()) => None,
            Step::Begun { at, early } => {
                let cause = if *early { Cause::Words } else { Cause::EagerEnd };
                before.map(|frame| (Draft::new(*at, None, Duration::ZERO), frame.key.clone(), cause))
            }
        };
        if let Some((draft, key, cause)) = begins
            && open.is_none()
            && budget.allows(cause, draft.begun)
        {
            budget.begun(cause);
            open = Some((draft, key));
        }
        if let Step::Frame(frame) = step {
            before = Some(frame);
        }
    }
    if let Some((draft, drafted)) = open.take() {
        if drafted == key {
            budget.kept();
            drafts.push(Draft { kept: true, over: ended, ..draft });
        } else {
            drafts.push(throw_away(draft, ended, budget));
        }
    }
    let waited = match end {
        End::AsItWas | End::Sooner(_) => waited(turn, ended, drafts.iter().find(|draft| draft.kept)),
        End::TooSoon(_) | End::Later => None,
    };
    Would { end, drafts, waited }
}

/// Returns how and when a turn would have ended, and with which words.
fn end_of(turn: &Turn, eot: Option<f32>) -> (End, Instant, &str) {
    let as_it_was = (End::AsItWas, turn.ended, turn.key.as_str());
    let Some(eot) = eot else { return as_it_was };
    let is_sure = |frame: &&Frame| frame.confidence.is_some_and(|confidence| confidence.end_of_turn >= eot);
    if let Some(first) = turn.frames().find(|frame| is_sure(frame) && !frame.key.is_empty()) {
        let by = turn.ended.since(first.at);
        let goes_on = |frame: &Frame| frame.at > first.at && (frame.resumed || frame.key != first.key);
        let end = match turn.frames().any(goes_on) {
            _ if first.at >= turn.ended => End::AsItWas,
            true => End::TooSoon(by),
            false => End::Sooner(by),
        };
        return (end, first.at.min(turn.ended), first.key.as_str());
    }
    // Where the recogniser was less sure than it had to be, it ended the turn because time was up, or because it was
    // told to.
    let by_itself = |confidence: crate::agent::Confidence| confidence.end_of_turn >= confidence.eot;
    match turn.frames().last().and_then(|frame| frame.confidence) {
        Some(confidence) if by_itself(confidence) => (End::Later, turn.ended, turn.key.as_str()),
        _ => as_it_was,
    }
}

/// Returns the draft that would begin with `frame`, if one would.
fn draft_at(frame: &Frame, before: Option<&Frame>, tried: Tried) -> Option<Draft> {
    let eager = tried.eager.filter(|_| !tried.undrafted && frame.may_draft && !frame.resumed)?;
    let sure = frame.confidence?.end_of_turn;
    if sure < eager {
        return None;
    }
    let sooner = before.map_or(Duration::ZERO, |before| frame.at.since(before.at));
    Some(Draft::new(frame.at, Some(sure), sooner))
}

/// How long the caller would have waited for the reply of a turn that ends at `ended`.
fn waited(turn: &Turn, ended: Instant, draft: Option<&Draft>) -> Option<Duration> {
    let reply = turn.reply.as_ref()?;
    let Some(making) = reply.making() else {
        // A kept phrase is as soon as the turn's end.
        return (ended == turn.ended).then(|| turn.waited()).flatten();
    };
    // Where the agent waits for more after the end that it was told, it would have waited, too.
    let granted = ended + reply.granted.since(turn.ended);
    let audio = draft.map_or(granted, |draft| draft.begun) + making;
    Some((audio.max(granted) + reply.sending()).since(turn.speech))
}

/// Returns how many pieces of text the model had made when it had been asked for so long.
fn tokens_until(reply: Option<&Reply>, elapsed: Duration) -> usize {
    let Some((reply, begun)) = reply.and_then(|reply| Some((reply, reply.begun?))) else { return 0 };
    reply.tokens.iter().filter(|at| at.since(begun) <= elapsed).count()
}

const fn step_at(step: &Step) -> Instant {
    match step {
        Step::Frame(frame) => frame.at,
        Step::Begun { at, .. } => *at,
    }
}

impl Draft {
    const fn new(begun: Instant, confidence: Option<f32>, sooner: Duration) -> Self {
        Self { begun, confidence, sooner, kept: false, over: begun, tokens_wasted: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::turns::read;
    use super::super::turns::tests::{Log, at};
    use super::*;
    use crate::agent::{DraftNews, Waste};

    const AS_IT_WAS: Tried = Tried { eager: None, eot: None, undrafted: false };

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn reckoned(log: &Log, tried: Tried) -> Vec<Would> {
        reckon(&read(&log.0), tried, &config::Agent::default())
    }

    fn eager(eager: f32) -> Tried {
        Tried { eager: Some(eager), ..AS_IT_WAS }
    }

    fn eot(eot: f32) -> Tried {
        Tried { eot: Some(eot), ..AS_IT_WAS }
    }

    /// A turn that ends 500 ms after its last speech; nobody drafted for it, and its reply takes 200 ms.
    fn undrafted() -> Log {
        Log::new()
            .start(750, 0.1, "When do")
            .update(1000, 0.2, "When do you open")
            .update(1250, 0.4, "When do you open?")
            .end(1500, 0.8, "When do you open?")
            .floor(1)
            .ask(1)
            .token(1600, 1)
            .token(1610, 1)
            .audio(1700, 1)
            .packet(1710, 1)
    }

    /// The same, drafted at 0.5.
    fn drafted() -> Log {
        Log::new()
            .start(750, 0.1, "When do")
            .update(1000, 0.35, "When do you open")
            .eager(1250, 0.5, "When do you open?")
            .draft(1, DraftNews::Begun)
            .ask(1)
            .audio(1450, 1)
            .end(1500, 0.8, "When do you open?")
            .floor(1)
            .draft(1, DraftNews::Opened)
            .packet(1505, 1)
    }

    #[test]
    fn the_thresholds_that_were_give_the_latency_that_was() {
        for log in [undrafted(), drafted()] {
            let was = read(&log.0).turns[0].waited();
            for tried in [AS_IT_WAS, Tried { eager: None, eot: Some(0.7), undrafted: false }] {
                let would = &reckoned(&log, tried)[0];
                assert_eq!((would.end, would.waited), (End::AsItWas, was));
            }
        }
        assert_eq!(reckoned(&drafted(), eager(0.5))[0].waited, Some(ms(505)), "the same threshold by the confidences");
    }

    #[test]
    fn a_draft_begins_with_the_first_message_that_is_sure_enough_and_is_kept() {
        let would = &reckoned(&undrafted(), eager(0.3))[0];
        let [draft] = would.drafts.as_slice() else { panic!("{would:?}") };
        assert_eq!((draft.begun, draft.confidence, draft.kept), (at(1250), Some(0.4), true));
        assert_eq!((draft.sooner, draft.tokens_wasted), (ms(250), 0));
        // Its audio is there before the turn ends, and then goes out as soon as any did.
        assert_eq!(would.waited, Some(ms(510)));
        assert_eq!(reckoned(&undrafted(), eager(0.5))[0].waited, Some(ms(710)), "never as sure before the end");
    }

    #[test]
    fn a_draft_for_words_that_change_is_thrown_away_with_what_the_model_has_made_of_it() {
        let log = Log::new()
            .start(700, 0.5, "When do")
            .update(850, 0.2, "When do you open?")
            .end(1500, 0.8, "When do you open?")
            .floor(1)
            .ask(1)
            .token(1600, 1)
            .token(1640, 1)
            .token(1660, 1)
            .audio(1700, 1)
            .packet(1710, 1);
        let would = &reckoned(&log, eager(0.3))[0];
        let [draft] = would.drafts.as_slice() else { panic!("{would:?}") };
        assert_eq!((draft.kept, draft.over, draft.tokens_wasted), (false, at(850), 2));
        assert_eq!(would.waited, Some(ms(710)), "a draft in vain delays nothing");
    }

    #[test]
    fn a_draft_whose_end_is_taken_back_begins_anew_with_the_next_that_is_sure_enough() {
        let log = Log::new()
            .start(700, 0.1, "Hello")
            .eager(900, 0.6, "Hello.")
            .draft(1, DraftNews::Begun)
            .ask(1)
            .ears(1000, 0.2, crate::agent::EarsEvent::TurnResumed { transcript: "Hello.".into() })
            .draft(1, DraftNews::ThrownAway { why: Waste::Resumed, characters: 0 })
            .update(1250, 0.4, "Hello.")
            .end(1500, 0.8, "Hello.")
            .floor(2)
            .ask(2)
            .audio(1700, 2)
            .packet(1710, 2);
        let kept = |tried| reckoned(&log, tried)[0].drafts.iter().map(|draft| draft.kept).collect::<Vec<_>>();
        assert_eq!(kept(AS_IT_WAS), [false]);
        assert_eq!(kept(eager(0.3)), [false, true]);
        assert_eq!(kept(eager(0.6)), [false]);
        assert_eq!(kept(eager(0.65)), [false; 0]);
        assert_eq!(kept(Tried { undrafted: true, ..AS_IT_WAS }), [false; 0]);
    }

    #[test]
    fn without_drafts_all_begins_when_the_turn_has_ended() {
        let would = &reckoned(&drafted(), Tried { undrafted: true, ..AS_IT_WAS })[0];
        // 500 ms to the end, 200 ms for the reply, and 5 ms to the packet.
        assert_eq!((would.waited, would.drafts.len()), (Some(ms(705)), 0));
    }

    #[test]
    fn a_turn_that_ends_sooner_is_answered_sooner() {
        let would = &reckoned(&undrafted(), eot(0.4))[0];
        assert_eq!((would.end, would.waited), (End::Sooner(ms(250)), Some(ms(460))));
    }

    #[test]
    fn a_turn_that_would_end_in_the_middle_of_what_was_said_is_a_false_end() {
        let would = &reckoned(&undrafted(), eot(0.1))[0];
        assert_eq!((would.end, would.waited), (End::TooSoon(ms(750)), None));
    }

    #[test]
    fn an_end_that_was_never_as_sure_is_not_known_unless_time_was_up() {
        assert_eq!(reckoned(&undrafted(), eot(0.9))[0].end, End::Later);
        let timed_out = Log::new().start(700, 0.1, "Hello").end(1500, 0.3, "Hello").floor(1);
        assert_eq!(reckoned(&timed_out, eot(0.9))[0].end, End::AsItWas);
    }

    #[test]
    fn who_throws_away_too_much_has_to_forgo_drafts() {
        let mut log = Log::new();
        for n in 0..12 {
            let t = n * 2000;
            log = log.start(t + 300, 0.4, "When do").end(t + 900, 0.8, "When do you open?");
        }
        let drafts: usize = reckoned(&log, eager(0.3)).iter().map(|would| would.drafts.len()).sum();
        assert!((3..12).contains(&drafts), "{drafts} of 12");
    }
}
