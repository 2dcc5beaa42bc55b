//! The draft begun on an eager end of turn, and THE GATE that keeps it silent until the turn ends.
//!
//! ```text
//! EagerEndOfTurn ─▶ draft: asked, spoken, queued on the media path; no history, no record, no floor
//!   ├─ EndOfTurn, same words and same history ─▶ the gate opens: Output::Floor, and the draft is a reply like any other
//!   ├─ TurnResumed, or other words            ─▶ thrown away without a trace
//!   └─ EndOfTurn with other words             ─▶ thrown away, and asked anew
//! ```
//!
//! A draft is the [`Reply`] of a turn that is not granted yet: the media path keeps its frames until it is. [`Budget`]
//! says whether another one may be begun.

use super::conversation::Message;
use super::reply::{FIRST_PACKET_MAX, Reply};
use super::{Agent, Output, Timer};
use crate::config;
use crate::time::Instant;
use std::time::Duration;

/// The most drafts of one turn of the caller: who hesitates three times does so again (LiveKit's preemptive generation stops
/// there too).
const DRAFTS_MAX: u32 = 3;
/// The share of a provider's limit below which nothing is drafted: what is left is for replies that somebody waits for.
const ALLOWANCE_LOW: f32 = 0.2;
/// The share from which drafts are made again: a little more, so that one request does not switch them on and off.
const ALLOWANCE_ENOUGH: f32 = 0.3;
/// How long drafts stay off where nothing is heard of the limits meanwhile. They are counted by the minute.
const ALLOWANCE_REST: Duration = Duration::from_secs(60);
/// Drafts that may be thrown away before the first one is kept: callers who hesitate do so at the beginning of a call.
const CREDIT_FIRST: f32 = 3.0;
/// The same for drafts that are begun on words alone.
const CREDIT_EARLY_FIRST: f32 = 1.0;
/// Drafts that may be thrown away in a row after any number that was kept.
const CREDIT_MAX: f32 = 5.0;
/// Turns in which a draft is forgone before another is tried all the same: whoever hesitated may have got over it.
const FORGONE_MAX: f32 = 10.0;

/// What becomes of a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum DraftNews {
    /// It is begun; the turn's `Ask` follows.
    Begun,
    /// The same, before any eager end of turn: by words that stand.
    BegunEarly,
    /// The turn has ended as foreseen: the draft is the reply.
    Opened,
    /// It is thrown away, with so many characters of text that the model had made of it.
    ThrownAway { why: Waste, characters: usize },
}

/// Why a draft is thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Waste {
    /// The caller went on.
    Resumed,
    /// The turn ended with other words, or something else happened that the draft does not answer.
    Changed,
    /// It could not be made.
    Failed,
}

/// Why a draft is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The recogniser takes the turn for probably ended.
    EagerEnd,
    /// The words have stood for a while, and the caller is silent.
    Words,
}

/// What a draft was made for.
#[derive(Debug)]
pub(super) struct Gate {
    /// The caller's words, as [`key`] compares them.
    key: String,
    /// What was said before them.
    history: Vec<Message>,
    /// Whether the model has called what is not to happen before the gate is open, and is done.
    pub held_back: bool,
}

impl Agent {
    /// Whether the reply that is being made is a draft.
    pub(super) fn is_drafting(&self) -> bool {
        self.gate().is_some()
    }

    fn gate(&self) -> Option<&Gate> {
        self.reply.as_ref().and_then(|reply| reply.gate.as_ref())
    }

    /// An update of the turn has come. Words that have stood over some of them while no voice is heard are drafted for,
    /// where the budget allows.
    pub(super) fn draft_words_that_stand(&mut self, now: Instant) {
        let Some((words, changed)) = &self.caller.turn else { return };
        if *changed == now || self.caller.speaking {
            return;
        }
        let words = words.clone();
        if self.caller.patience.words_stood() && !self.is_unfinished(&words) {
            self.draft(&words, Cause::Words, now);
        }
    }

    /// The caller has probably finished: the reply to `transcript` is begun behind the gate, if that is worth it.
    pub(super) fn draft(&mut self, transcript: &str, cause: Cause, now: Instant) {
        let text = self.question(transcript);
        let key = key(&text);
        if self.gate().is_some_and(|gate| gate.key == key) {
            return;
        }
        self.throw_away(Waste::Changed);
        // A reply that is heard has the voice to itself.
        if key.is_empty() || self.reply.is_some() || self.held || !self.budget.allows(cause, now) {
            return;
        }
        let turn = self.next_turn;
        self.next_turn = turn.next();
        self.budget.begun(cause);
        let gate = Gate { key, history: self.conversation.messages(), held_back: false };
        let messages = self.conversation.messages_with(&text);
        self.reply = Some(Reply::draft(turn, gate));
        let news = if cause == Cause::EagerEnd { DraftNews::Begun } else { DraftNews::BegunEarly };
        self.outputs.push_back(Output::Draft { turn, news });
        self.outputs.push_back(Output::Ask { turn, messages, tools: self.toolbox.offered() });
    }

    /// Whether an eager end of turn with `transcript`, whose words were told, would have a draft begun if the budget allows.
    #[must_use]
    pub fn would_draft(&self, transcript: &str, now: Instant) -> bool {
        // A reply that has not been heard yet gives way to the caller's words.
        let free = self.reply.as_ref().is_none_or(|reply| !reply.on_air && !reply.is_final() && !reply.firm);
        let words = self.caller.patience.joined(transcript);
        let is_whole = !self.is_unfinished(&words) && self.aside(transcript, false, now).is_none();
        free && !self.held && is_whole && !self.draft_key(transcript).is_empty()
    }

    /// Returns what drafts compare of `transcript`: a draft stands for as long as this is the same.
    #[must_use]
    pub fn draft_key(&self, transcript: &str) -> String {
        key(&self.question(&self.caller.patience.joined(transcript)))
    }

    /// The caller has said `transcript` so far: a draft for other words is of no use.
    pub(super) fn compare_draft(&mut self, transcript: &str) {
        let text = self.question(transcript);
        if self.gate().is_some_and(|gate| gate.key != key(&text)) {
            self.throw_away(Waste::Resumed);
        }
    }

    /// The caller's turn has ended with `text`: opens the gate of a draft that answers it. Returns whether there was one.
    pub(super) fn open_gate(&mut self, text: &str, now: Instant) -> bool {
        let history = || self.conversation.messages();
        if !self.gate().is_some_and(|gate| gate.key == key(text) && gate.history == history()) {
            self.throw_away(Waste::Changed);
            return false;
        }
        let Some(reply) = self.reply.as_mut() else { return false };
        let held_back = reply.gate.take().is_some_and(|gate| gate.held_back);
        text.clone_into(&mut reply.turn.caller);
        let (turn, record) = (reply.turn.id, reply.turn.record());
        self.dead_air.granted = Some(turn);
        self.outputs.push_back(Output::Floor { turn, firm: false });
        self.outputs.push_back(Output::Draft { turn, news: DraftNews::Opened });
        self.outputs.push_back(Output::Turn(record));
        self.conversation.caller(text);
        self.conversation.agent(turn);
        self.timers.clear(Timer::Silence);
        self.timers.set(Timer::Reply, now + FIRST_PACKET_MAX);
        self.budget.kept();
        self.work.news = false;
        if held_back {
            self.mind_done(now);
        }
        true
    }

    /// Throws the draft away, if there is one.
    pub(super) fn throw_away(&mut self, why: Waste) {
        let Some(reply) = self.reply.take_if(|reply| reply.gate.is_some()) else { return };
        self.cancel(&reply);
        self.timers.clear(Timer::Clause);
        self.budget.wasted();
        let news = DraftNews::ThrownAway { why, characters: reply.characters };
        self.outputs.push_back(Output::Draft { turn: reply.turn.id, news });
        // Nobody has heard of it: the turn that comes has its number, and an attempt of its own.
        self.next_turn = reply.turn.id.again();
    }
}

/// Whether another draft may be begun: a budget of waste over the call, and what the model's provider still allows.
#[derive(Clone, Debug)]
pub struct Budget {
    /// The share of drafts that may be thrown away; nothing: no drafts.
    waste_max: f32,
    /// How many drafts may be thrown away before one has to be forgone.
    credit: f32,
    /// The same for drafts that are begun on words alone: they are guesses of ours, and must not use up what the recogniser's
    /// deserve.
    credit_early: f32,
    /// Whether the present draft is one of these.
    early: bool,
    /// Drafts of the caller's present turn.
    drafts: u32,
    /// Whether one of them was forgone for want of credit.
    forgone: bool,
    /// Until when the provider is spared.
    spared_until: Option<Instant>,
}

impl Budget {
    /// Makes that of a call's beginning.
    #[must_use]
    pub fn new(settings: &config::Agent) -> Self {
        let waste_max = if settings.speculation { settings.speculation_waste_max as f32 } else { 0.0 };
        let (credit, credit_early) = (CREDIT_FIRST, CREDIT_EARLY_FIRST);
        Self { waste_max, credit, credit_early, early: false, drafts: 0, forgone: false, spared_until: None }
    }

    /// Takes the share that is left of the provider's limits.
    pub fn allowance(&mut self, left: f32, now: Instant) {
        if left < ALLOWANCE_LOW {
            self.spared_until = Some(now + ALLOWANCE_REST);
        } else if left >= ALLOWANCE_ENOUGH {
            self.spared_until = None;
        }
    }

    /// Whether a draft may be begun; notes one that is forgone.
    pub fn allows(&mut self, cause: Cause, now: Instant) -> bool {
        let spared = self.spared_until.is_some_and(|until| now < until);
        if self.waste_max <= 0.0 || spared || self.drafts >= DRAFTS_MAX {
            return false;
        }
        if cause == Cause::Words {
            return self.credit >= 1.0 && self.credit_early >= 1.0;
        }
        self.forgone |= self.credit < 1.0;
        self.credit >= 1.0
    }

    /// A draft is begun.
    pub fn begun(&mut self, cause: Cause) {
        self.drafts += 1;
        self.early = cause == Cause::Words;
    }

    /// A kept draft earns as much as keeps the share of the others at its limit.
    pub fn kept(&mut self) {
        let earned = if self.waste_max < 1.0 { self.waste_max / (1.0 - self.waste_max) } else { CREDIT_MAX };
        self.credit = (self.credit + earned).min(CREDIT_MAX);
        if self.early {
            self.credit_early = (self.credit_early + earned).min(CREDIT_MAX);
        }
    }

    /// A draft is thrown away.
    pub fn wasted(&mut self) {
        if self.waste_max < 1.0 {
            self.credit -= 1.0;
            self.credit_early -= if self.early { 1.0 } else { 0.0 };
        }
    }

    /// The caller's turn has ended.
    pub fn turn_ended(&mut self) {
        self.drafts = 0;
        if std::mem::take(&mut self.forgone) {
            self.credit += 1.0 / FORGONE_MAX;
        }
        // Words stand in every turn: one draft of theirs is tried again after so many turns.
        self.credit_early = (self.credit_early + 1.0 / FORGONE_MAX).min(CREDIT_EARLY_FIRST.max(self.credit_early));
    }
}

/// Returns what counts of the caller's words: neither case nor spaces, nor punctuation but for that within a number.
pub(super) fn key(text: &str) -> String {
    let mut key = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek().copied().unwrap_or(' ');
        let in_number = before.is_ascii_digit() && next.is_ascii_digit();
        match c {
            '\'' | '’' => {}
            '.' | ',' | ':' | '-' if in_number => key.push(c),
            '.' | ',' | ';' | ':' | '!' | '?' | '…' | '"' | '“' | '”' | '(' | ')' | '-' | '–' | '—' | '¿' | '¡' =>
            {
                key.push(' ');
            }
            c => key.extend(c.to_lowercase()),
        }
        before = c;
    }
    let words: Vec<&str> = key.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::scene::*;
    use super::*;
    use crate::agent::{EarsEvent, FailureKind, Input, MindEvent, Phrase, VoiceEvent};
    use crate::ids::TurnId;

    impl Scene {
        fn eager(&mut self, transcript: &str) -> Vec<Output> {
            self.tell(Input::Ears(EarsEvent::EagerEndOfTurn { transcript: transcript.into() }))
        }

        fn resumed(&mut self, transcript: &str) -> Vec<Output> {
            self.tell(Input::Ears(EarsEvent::TurnResumed { transcript: transcript.into() }))
        }

        /// A caller who has probably asked "Hi?"; the answer, turn 1, is drafted and with the voice.
        fn drafted() -> Self {
            let mut scene = Self::listening();
            scene.start("Hi");
            assert_eq!(asked(&scene.eager("Hi?")), Some(vec![system(), caller("Hi?")]));
            assert_eq!(scene.token(1, "We open at nine. "), [speak(1, 0, "We open at nine. ", false)]);
            scene
        }
    }

    fn begun(turn: u32) -> Output {
        Output::Draft { turn: TurnId(turn), news: DraftNews::Begun }
    }

    fn thrown_away(turn: u32, why: Waste, characters: usize) -> Output {
        Output::Draft { turn: TurnId(turn), news: DraftNews::ThrownAway { why, characters } }
    }

    #[test]
    fn the_end_of_the_turn_opens_the_gate_and_asks_nothing() {
        let mut scene = Scene::drafted();
        assert_eq!(scene.end("hi"), [floor(1), opened(1), record(1, "hi", "", false)]);
        assert_eq!(scene.mind(1, MindEvent::Done), [speak(1, 1, "", true)]);
        scene.voice(1, VoiceEvent::Done { length: ms(2000) });
        scene.on_air(1);
        assert_eq!(scene.played(1, 2000), [record(1, "hi", "We open at nine.", false)]);
        assert_eq!(scene.history(2), [system(), caller("hi"), agent("We open at nine."), caller("What?")]);
    }

    #[test]
    fn a_turn_that_goes_on_leaves_nothing_of_the_draft() {
        let mut scene = Scene::drafted();
        assert_eq!(scene.resumed("Hi, do you"), [cancel_ask(1), cancel_speech(1), thrown_away(1, Waste::Resumed, 17)]);
        assert_eq!(scene.token(1, "And close at five. "), [], "the model has not heard of it yet");
        assert_eq!(scene.voice(1, VoiceEvent::Done { length: ms(2000) }), []);
        let outputs = scene.end("Hi, do you deliver?");
        let second = again(1);
        assert_eq!(outputs[..2], [floor(second), record(second, "Hi, do you deliver?", "", false)]);
        assert_eq!(asked(&outputs), Some(vec![system(), caller("Hi, do you deliver?")]));
    }

    #[test]
    fn an_end_with_other_words_is_asked_anew_in_the_same_breath() {
        let mut scene = Scene::drafted();
        let outputs = scene.end("Hi there!");
        assert_eq!(
            outputs[..5],
            [
                cancel_ask(1),
                cancel_speech(1),
                thrown_away(1, Waste::Changed, 17),
                floor(again(1)),
                record(again(1), "Hi there!", "", false)
            ]
        );
        assert_eq!(asked(&outputs), Some(vec![system(), caller("Hi there!")]));
    }

    #[test]
    fn an_update_with_the_same_words_changes_nothing_and_one_with_others_throws_the_draft_away() {
        let mut scene = Scene::drafted();
        let update = |text: &str| Input::Ears(EarsEvent::Update { transcript: text.into() });
        assert_eq!(scene.tell(update("hi ")), []);
        assert_eq!(scene.eager("Hi."), [], "the same draft serves");
        assert_eq!(scene.tell(update("hi you")).last(), Some(&thrown_away(1, Waste::Resumed, 17)));
        assert_eq!(scene.eager("Hi, and?"), [], "more is to come");
        assert_eq!(scene.eager("Hi, and you?")[0], begun(again(1)));
    }

    #[test]
    fn what_is_heard_late_of_the_reply_before_makes_the_draft_another_conversations() {
        let mut scene = Scene::asked();
        scene.token(1, "We open at nine.");
        scene.mind(1, MindEvent::Done);
        scene.on_air(1);
        scene.start("No");
        scene.cut(1, 600);
        assert_eq!(scene.eager("No.")[0], begun(2));
        scene.voice(1, VoiceEvent::Spoken { text: "We".into(), end: ms(200) });
        let outputs = scene.end("No.");
        assert!(outputs.contains(&thrown_away(2, Waste::Changed, 0)));
        assert_eq!(asked(&outputs), Some(vec![system(), caller("Hi?"), agent("We…"), caller("No.")]));
    }

    #[test]
    fn nothing_is_drafted_while_a_reply_is_heard_or_without_words() {
        let mut scene = Scene::answering();
        assert_eq!(scene.eager("No."), []);
        scene.cut(1, 500);
        assert_eq!(scene.eager("..."), []);
        assert_eq!(scene.eager("No.")[0], begun(2));
    }

    #[test]
    fn digits_are_part_of_what_is_drafted_for() {
        let mut scene = Scene::listening();
        scene.start("My");
        scene.tell(Input::Digit('7'));
        assert_eq!(asked(&scene.eager("My number.")), Some(vec![system(), caller("My number. (pressed 7)")]));
        assert_eq!(scene.tell(Input::Digit('8')).last(), Some(&thrown_away(1, Waste::Changed, 0)));
        scene.eager("My number.");
        let outputs = scene.end("My number.");
        let second = again(1);
        assert_eq!(outputs, [floor(second), opened(second), record(second, "My number. (pressed 78)", "", false)]);
    }

    #[test]
    fn a_draft_that_fails_is_nobodys_business() {
        for fail in [
            Input::Mind { turn: TurnId(1), event: MindEvent::Failed(failure(FailureKind::Refused)) },
            Input::Voice { turn: TurnId(1), event: VoiceEvent::Failed(failure(FailureKind::Refused)) },
        ] {
            let mut scene = Scene::drafted();
            let outputs = scene.tell(fail);
            assert!(outputs.contains(&cancel_speech(1)), "{outputs:?}");
            assert_eq!(outputs.last(), Some(&thrown_away(1, Waste::Failed, 17)));
            assert!(asked(&scene.end("Hi?")).is_some(), "the turn's end tries again");
        }
    }

    #[test]
    fn tools_wait_for_the_end_of_the_turn() {
        let mut scene = Scene::drafted();
        scene.call_tool(1, "weather");
        assert_eq!(scene.mind(1, MindEvent::Done), []);
        let outputs = scene.end("Hi?");
        assert_eq!(outputs[..2], [floor(1), opened(1)]);
        let messages = asked(&outputs).expect("the model goes on after its tool");
        assert!(messages.iter().any(|message| matches!(message, Message::ToolResult { .. })));

        let mut scene = Scene::listening();
        scene.eager("Bye.");
        scene.call_tool(1, "hang_up");
        assert_eq!(scene.mind(1, MindEvent::Done), []);
        assert!(scene.end("Bye.").contains(&play(1, Phrase::Goodbye)));
    }

    #[test]
    fn a_drafted_farewell_hangs_up_once_it_is_heard() {
        let mut scene = Scene::drafted();
        scene.call_tool(1, "hang_up");
        assert_eq!(scene.mind(1, MindEvent::Done), [speak(1, 1, "", true)]);
        assert_eq!(scene.resumed("Hi, wait").last(), Some(&thrown_away(1, Waste::Resumed, 17)), "not this time");
        scene.eager("Hi, bye.");
        let second = again(1);
        scene.token(second, "Good night!");
        scene.call_tool(second, "hang_up");
        scene.mind(second, MindEvent::Done);
        scene.end("Hi, bye.");
        scene.on_air(second);
        scene.voice(second, VoiceEvent::Done { length: ms(900) });
        assert_eq!(scene.played(second, 900).last(), Some(&hang_up("the agent said goodbye")));
    }

    #[test]
    fn a_lost_recogniser_or_the_longest_call_does_not_leave_a_draft_behind() {
        let mut scene = Scene::drafted();
        let outputs = scene.tell(Input::Ears(EarsEvent::Failed(failure(FailureKind::Dropped))));
        assert_eq!(outputs[2..4], [thrown_away(1, Waste::Changed, 17), floor(again(1))]);
        let mut scene = Scene::drafted();
        scene.agent.timers.set(Timer::CallMax, scene.now + ms(10));
        assert_eq!(scene.pass(10)[2..4], [thrown_away(1, Waste::Changed, 17), floor(again(1))]);
    }

    #[test]
    fn a_turn_whose_end_never_comes_is_answered_by_its_draft() {
        let mut scene = Scene::drafted();
        assert!(scene.pass(10_000).contains(&opened(1)));
    }

    #[test]
    fn a_turn_is_drafted_three_times_at_most() {
        let mut scene = Scene::with(|settings| {
            settings.greeting.clear();
            settings.speculation_waste_max = 1.0;
        });
        scene.tell(Input::Answered);
        let mut turn = TurnId(1);
        for draft in 1..=3 {
            let words = "hello ".repeat(draft);
            assert_eq!(scene.eager(&words)[0], begun(turn.0));
            scene.resumed(&words);
            turn = turn.again();
        }
        assert_eq!(scene.eager("That was it."), []);
        scene.end("That was it.");
        scene.start("No");
        assert_eq!(scene.eager("No.")[0], begun(2), "another turn");
    }

    #[test]
    fn without_speculation_nothing_is_drafted() {
        for (speculation, waste_max) in [(false, 0.5), (true, 0.0)] {
            let mut scene = Scene::with(|settings| {
                settings.greeting.clear();
                settings.speculation = speculation;
                settings.speculation_waste_max = waste_max;
            });
            scene.tell(Input::Answered);
            assert_eq!(scene.eager("Hi?"), []);
            assert!(asked(&scene.end("Hi?")).is_some());
        }
    }

    #[test]
    fn a_provider_whose_limit_is_near_is_spared_until_it_has_more_to_give() {
        let mut scene = Scene::asked();
        assert_eq!(scene.mind(1, MindEvent::Allowance { left: 0.19 }), []);
        scene.start("Sunday");
        assert_eq!(scene.eager("Sunday?"), []);
        scene.end("Sunday?");
        scene.mind(2, MindEvent::Allowance { left: 0.25 });
        scene.start("No");
        assert_eq!(scene.eager("No?"), [], "not enough yet");
        scene.mind(2, MindEvent::Allowance { left: 0.3 });
        assert_eq!(scene.eager("No!")[0], begun(3));

        let mut budget = Budget::new(&config::Agent::default());
        budget.allowance(0.1, Instant::from_millis(500));
        assert!(!budget.allows(Cause::EagerEnd, Instant::from_millis(60_499)));
        assert!(budget.allows(Cause::EagerEnd, Instant::from_millis(60_500)), "its minute is over");
    }

    #[test]
    fn the_share_that_is_thrown_away_stays_within_its_budget() {
        for seed in 0..300 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let waste_max = [0.1, 0.35, 0.5, 0.8][rng.usize(0..4)];
            let settings = config::Agent { speculation_waste_max: waste_max, ..config::Agent::default() };
            let mut budget = Budget::new(&settings);
            let fickle = rng.f64();
            let (mut drafts, mut wasted, mut turns) = (0.0, 0.0, 0.0);
            for _ in 0..rng.u32(1..2000) {
                if budget.allows(Cause::EagerEnd, Instant::ZERO) {
                    budget.begun(Cause::EagerEnd);
                    drafts += 1.0;
                    if rng.f64() < fickle {
                        wasted += 1.0;
                        budget.wasted();
                    } else {
                        budget.kept();
                    }
                }
                budget.turn_ended();
                turns += 1.0;
            }
            let most = waste_max * drafts + f64::from(CREDIT_FIRST) + turns / f64::from(FORGONE_MAX) + 1.0;
            assert!(wasted <= most, "seed {seed}: {wasted} of {drafts} in {turns} turns, {waste_max} allowed");
            if fickle < waste_max / 2.0 {
                assert!(drafts >= turns * 0.8, "seed {seed}: {drafts} drafts in {turns} turns");
            }
        }
    }

    #[test]
    fn words_are_compared_and_not_their_spelling() {
        for (a, b) in [
            ("Hi?", " hi "),
            ("It's me. Really!", "its me really"),
            ("twenty-one, please", "Twenty one please."),
            ("ŻÓŁW…", "żółw"),
            ("(Yes)", "yes"),
        ] {
            assert_eq!(key(a), key(b));
        }
        for (a, b) in [("3.5", "35"), ("10:30", "1030"), ("$5", "5"), ("yes", "no"), ("a b", "ab"), ("50%", "50")] {
            assert_ne!(key(a), key(b));
        }
        assert_eq!(key(" … ?! "), "");
    }
}
