//! How long the caller's turn stays open: it is ended by order where its words are whole, and held where they ask for more.
//!
//! ```text
//! words that stand, a silent caller ──▶ whole: Output::ForceEndTurn after 0.3 s; else after 1.2 s; unfinished: later still
//! EndOfTurn with unfinished words   ──▶ held: the next turn's words are joined to it; answered when the wait is over
//! ```
//!
//! The agent waits itself, and does not ask the recogniser to: that works with every recogniser, and needs no round trip that might
//! be too late. What [`ending`] reads decides; nothing here does while a reply is heard, since then the floor decides.

use super::ending::{self, Reading};
use super::speculation::{Cause, key};
use super::{Agent, EarsEvent, Output, Timer};
use crate::time::Instant;
use std::time::Duration;

/// For how long the local detector takes a silent caller for a speaking one: its hang-over of ten frames.
const HANGOVER: Duration = Duration::from_millis(200);
/// Silence after which words that the rules know nothing about are a turn. Flux ends most turns within 0.3 s and nine of ten
/// within 1 s; with the reply's own time the caller waits for less than two.
const PLAIN_AFTER: Duration = Duration::from_millis(1200);
/// How long unfinished words stay open where the recogniser has not ended the turn either, in halves of the wait that
/// the rules give: the recogniser may know more than they do.
const DOUBT_HALVES: u32 = 3;
/// How long the recogniser may take to tell the end that it is ordered to tell; more than it needs to end the turn itself.
const FORCED_MAX: Duration = Duration::from_secs(1);
/// How long a turn is held while a voice is heard of which no words come: noise, or somebody else in the room.
const HELD_MAX: Duration = Duration::from_secs(4);
/// The most turns of the recogniser that are joined into one: a card's digits, one by one, and some hesitation.
const JOINED_MAX: u32 = 24;
/// How many updates must repeat the words before a draft is begun on them ahead of any eager end: 0.5 s of Flux's.
const STOOD_UPDATES: u32 = 2;

/// How long the recogniser may take to tell the end of a turn that was ended here: twice the time after which Flux ends a turn
/// itself. What it tells later is another turn, in the same words or not.
const END_TOLD_MAX: Duration = Duration::from_secs(10);

/// A turn that was ended here, and whose end the recogniser may still tell.
#[derive(Clone, Debug)]
struct Ended {
    /// What the recogniser had told of it, by [`key`].
    words: String,
    at: Instant,
    /// Whether the local detector has heard a voice since.
    voice: bool,
}

/// What the recogniser tells, compared with a turn that was ended here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// That turn, or a part of it: it has been answered.
    Known,
    /// That turn goes on with these words.
    Beyond(String),
    /// Something else.
    New,
}

impl Ended {
    fn compare(&self, transcript: &str) -> Told {
        let told = key(transcript);
        let (words, told): (Vec<&str>, Vec<&str>) =
            (self.words.split(' ').collect(), told.split_whitespace().collect());
        // It may have changed its mind about a word or two.
        let same = words.iter().zip(&told).filter(|(word, told)| word == told).count();
        if 2 * same < words.len().min(told.len()) {
            return Told::New;
        }
        let mut before = 0;
        let beyond: Vec<&str> = transcript
            .split_whitespace()
            .skip_while(|word| {
                before += key(word).split_whitespace().count();
                before <= words.len()
            })
            .collect();
        if beyond.is_empty() { Told::Known } else { Told::Beyond(beyond.join(" ")) }
    }
}

/// What is known of a turn that may be over, or may not.
#[derive(Clone, Debug, Default)]
pub(super) struct Patience {
    /// A turn that is held: its words, when its end was told, and of how many turns it is made.
    held: Option<(String, Instant, u32)>,
    /// When the local detector last stopped to hear a voice.
    quiet_since: Instant,
    /// Whether the ears are ordered to end the turn.
    forced: bool,
    /// How many updates have repeated the words.
    stood: u32,
    /// The last turn that was ended here.
    ended: Option<Ended>,
}

impl Patience {
    /// Whether a turn is held.
    pub(super) fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Whether the ears are ordered to end the turn.
    pub(super) fn is_forced(&self) -> bool {
        self.forced
    }

    /// Returns the words of the whole turn, of which the recogniser has told `transcript` since the last end.
    pub(super) fn joined(&self, transcript: &str) -> String {
        match (&self.held, transcript.trim()) {
            (Some((held, ..)), "") => held.clone(),
            (Some((held, ..)), words) => format!("{held} {words}"),
            (None, _) => transcript.to_owned(),
        }
    }

    /// The caller has said something else than before.
    pub(super) fn words_changed(&mut self) {
        self.forced = false;
        self.stood = 0;
    }

    /// An update has repeated the words. Returns whether they have stood for long enough to be worth a draft.
    pub(super) fn words_stood(&mut self) -> bool {
        self.stood += 1;
        self.stood == STOOD_UPDATES
    }

    /// The turn is ended without its recogniser.
    pub(super) fn give_up(&mut self, words: &str, now: Instant) {
        // The recogniser has told the end of the held words; it has not told that of an earlier turn which was ended
        // here.
        let (all, held) = (key(words), self.held.as_ref().map_or_else(String::new, |(held, ..)| key(held)));
        let told = all.strip_prefix(&held).unwrap_or(&all).trim_start();
        let before = self.ended.take().filter(|ended| now.since(ended.at) < END_TOLD_MAX).map(|ended| ended.words);
        let words: Vec<&str> = before.as_deref().into_iter().chain([told]).filter(|part| !part.is_empty()).collect();
        let ended = Ended { words: words.join(" "), at: now, voice: false };
        let ended = Some(ended).filter(|ended| !ended.words.is_empty());
        *self = Self { ended, quiet_since: self.quiet_since, ..Self::default() };
    }

    /// Returns what the recogniser tells, in view of a turn that was ended without it.
    pub(super) fn told(&self, event: &EarsEvent, now: Instant) -> Told {
        let ended = self.ended.as_ref().filter(|ended| now.since(ended.at) < END_TOLD_MAX);
        let (Some(ended), Some(transcript)) = (ended, event.transcript()) else { return Told::New };
        // Somebody has said something since, and a turn begins: it is another one.
        if ended.voice && matches!(event, EarsEvent::StartOfTurn { .. }) {
            Told::New
        } else {
            ended.compare(transcript)
        }
    }

    /// Takes note of it.
    fn took(&mut self, event: &EarsEvent, told: &Told) {
        let over = matches!(event, EarsEvent::EndOfTurn { .. }) || *told == Told::New && event.transcript().is_some();
        self.ended.take_if(|_| over);
    }
}

impl Agent {
    /// Returns what is to be made of what the recogniser tells: nothing of a turn that was answered without it, and of one that
    /// goes on beyond that the rest, and whether it is that.
    pub(super) fn beyond_answered(&mut self, mut event: EarsEvent, now: Instant) -> Option<(EarsEvent, bool)> {
        let patience = &mut self.caller.patience;
        let told = patience.told(&event, now);
        patience.took(&event, &told);
        match (told, event.transcript_mut()) {
            (Told::Known, _) => None,
            (Told::Beyond(words), Some(transcript)) => {
                *transcript = words;
                Some((event, true))
            }
            _ => Some((event, false)),
        }
    }

    /// Whether `event` tells of nothing but a turn that was answered already.
    #[must_use]
    pub fn has_answered(&self, event: &EarsEvent, now: Instant) -> bool {
        self.caller.patience.told(event, now) == Told::Known
    }

    /// The local detector begins or ceases to hear a voice.
    pub(super) fn quiet_changed(&mut self, now: Instant) {
        if self.caller.speaking {
            self.caller.patience.ended.iter_mut().for_each(|ended| ended.voice = true);
        } else {
            self.caller.patience.quiet_since = now - HANGOVER;
        }
        self.watch_ending(now);
    }

    /// Sets the time at which the turn is over if nothing happens until then.
    pub(super) fn watch_ending(&mut self, now: Instant) {
        self.timers.clear(Timer::Ending);
        let Some(at) = self.ending_due(now) else { return };
        self.timers.set(Timer::Ending, at);
    }

    fn ending_due(&self, now: Instant) -> Option<Instant> {
        let patience = &self.caller.patience;
        let (speaking, quiet) = (self.caller.speaking, patience.quiet_since);
        if let (Some((words, since, _)), None) = (&patience.held, &self.caller.turn) {
            let noisy = *since + HELD_MAX;
            let Reading::Unfinished { wait } = self.read(words) else { return Some(now) };
            return Some(if speaking { noisy } else { noisy.min(quiet + wait) });
        }
        let (words, changed) = self.caller.turn.as_ref()?;
        // Nobody is waiting for an answer while one is heard.
        if speaking || patience.forced || self.reply.as_ref().is_some_and(|reply| reply.gate.is_none()) {
            return None;
        }
        let after = match self.read(words) {
            Reading::Whole { after } => after,
            Reading::Plain => PLAIN_AFTER,
            Reading::Unfinished { wait } => wait * DOUBT_HALVES / 2,
        };
        Some(quiet.max(*changed) + after)
    }

    /// The turn is over: has the recogniser say so, or lets go of a turn of which it has.
    pub(super) fn ending(&mut self, now: Instant) {
        if let (Some((words, ..)), None) = (&self.caller.patience.held, &self.caller.turn) {
            let words = words.clone();
            self.outputs.push_back(Output::TurnEnded);
            self.caller.patience.held = None;
            return self.conclude(&words, now);
        }
        let Some((words, _)) = &self.caller.turn else { return };
        let words = words.clone();
        self.outputs.push_back(Output::ForceEndTurn);
        self.caller.patience.forced = true;
        self.timers.set(Timer::CallerTurn, now + FORCED_MAX);
        // The reply is made while the order is on its way and back.
        self.draft(&words, Cause::Words, now);
    }

    /// The recogniser has told the end of a turn with these words: holds it where they ask for more. Returns whether it does.
    pub(super) fn hold_turn(&mut self, words: &str, now: Instant) -> bool {
        let parts = self.caller.patience.held.take().map_or(0, |(.., parts)| parts);
        let heard = self.reply.as_ref().is_some_and(|reply| reply.gate.is_none());
        let unfinished = matches!(self.read(words), Reading::Unfinished { .. });
        // Who was ordered to end it is not doubted.
        if std::mem::take(&mut self.caller.patience.forced) || heard || !unfinished || parts >= JOINED_MAX {
            return false;
        }
        self.caller.patience.held = Some((words.to_owned(), now, parts + 1));
        let due = self.ending_due(now);
        if due.is_none_or(|due| due <= now) {
            self.caller.patience.held = None;
            return false;
        }
        self.watch_ending(now);
        self.draft(words, Cause::Words, now);
        true
    }

    /// Whether these words of the caller's ask for more.
    pub(super) fn is_unfinished(&self, words: &str) -> bool {
        matches!(self.read(words), Reading::Unfinished { .. })
    }

    fn read(&self, words: &str) -> Reading {
        ending::read(ending::asked(self.last_words()), words)
    }

    /// Returns what the agent said last, as far as it was heard.
    fn last_words(&self) -> &str {
        let heard = self.past.iter().rev().map(|turn| turn.heard_text());
        heard.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::*;
    use super::*;
    use crate::agent::speculation::DraftNews;
    use crate::agent::{EarsEvent, Input, MindEvent, VoiceEvent};
    use crate::ids::TurnId;

    impl Scene {
        /// A caller who has heard the agent ask `question` to its end, turn 1.
        fn asked_for(question: &str) -> Self {
            let mut scene = Self::asked();
            scene.token(1, question);
            scene.mind(1, MindEvent::Done);
            scene.voice(1, VoiceEvent::Spoken { text: question.into(), end: ms(2000) });
            scene.voice(1, VoiceEvent::Done { length: ms(2000) });
            scene.on_air(1);
            scene.pass(2000);
            assert_eq!(scene.played(1, 2000), [record(1, "Hi?", question, false)]);
            scene
        }

        fn update(&mut self, transcript: &str) -> Vec<Output> {
            self.tell(Input::Ears(EarsEvent::Update { transcript: transcript.into() }))
        }

        fn voice_is_heard(&mut self, speaking: bool) -> Vec<Output> {
            self.tell(Input::CallerSpeech { speaking })
        }

        /// The caller says something that takes 200 ms, and the local detector notices. Returns what the agent does.
        fn say(&mut self, begin: bool, transcript: &str) -> Vec<Output> {
            let mut outputs = self.voice_is_heard(true);
            outputs.extend(self.pass(200));
            outputs.extend(if begin { self.start(transcript) } else { self.update(transcript) });
            outputs.extend(self.pass(200));
            outputs.extend(self.voice_is_heard(false));
            outputs
        }
    }

    /// Which turn is told of last, and what the caller said in it.
    fn told(outputs: &[Output]) -> Option<(u32, &str)> {
        outputs.iter().rev().find_map(|output| match output {
            Output::Turn(record) => Some((record.turn.number(), record.caller.as_str())),
            _ => None,
        })
    }

    fn ended(outputs: &[Output]) -> bool {
        outputs.iter().any(|output| matches!(output, Output::ForceEndTurn | Output::Floor { .. } | Output::TurnEnded))
    }

    /// Whoever reads a number stops for 0.6 s between its groups: 0.2 s of that pass before the detector tells.
    const PAUSE_TOLD: u64 = 400;

    #[test]
    fn the_last_part_of_a_turn_that_was_held_is_known_when_its_end_is_told() {
        let mut scene = Scene::asked_for("What's your telephone number?");
        scene.say(true, "Five five five");
        assert!(!ended(&scene.end("Five five five")), "more is to come");
        scene.say(true, "one two");
        let outputs = scene.pass(5000);
        assert_eq!(
            asked(&outputs).and_then(|messages| messages.last().cloned()),
            Some(caller("Five five five one two"))
        );
        assert_eq!(scene.end("one two"), []);
        assert!(asked(&scene.end("three four")).is_some());
    }

    #[test]
    fn no_turn_ends_amid_digits_whether_the_recogniser_ends_it_or_not() {
        for ends_it in [false, true] {
            let mut scene = Scene::asked_for("What's your telephone number?");
            let mut whole = String::new();
            for (n, group) in ["555", "27", "1", "83", "4"].into_iter().enumerate() {
                whole = format!("{whole} {group}").trim().to_owned();
                let told = if ends_it { group } else { whole.as_str() };
                let outputs = scene.say(n == 0 || ends_it, told);
                assert!(!ended(&outputs), "{whole}: {outputs:?}");
                let outputs = if ends_it { scene.end(group) } else { scene.update(told) };
                assert!(!ended(&outputs), "{whole}: {outputs:?}");
                let outputs = scene.pass(PAUSE_TOLD);
                assert!(!ended(&outputs), "{whole}: {outputs:?}");
            }
            // The last digit has been said 0.35 s ago when the turn is ended: 0.15 s after the detector has told.
            let last = if ends_it { "6" } else { "555 27 1 83 4 6" };
            assert!(!ended(&scene.say(ends_it, last)));
            assert!(!ended(&scene.pass(149)));
            assert_eq!(scene.pass(1)[0], Output::ForceEndTurn);
            let outputs = scene.end(last);
            let whole = |output: &Output| matches!(output, Output::Turn(turn) if turn.caller == "555 27 1 83 4 6");
            assert!(outputs.iter().any(whole), "{outputs:?}");
        }
    }

    #[test]
    fn a_number_that_stops_half_way_is_answered_after_a_while() {
        let mut scene = Scene::asked_for("What's your telephone number?");
        scene.say(true, "555 271");
        let outputs = scene.end("555 271.");
        assert!(!ended(&outputs) && outputs.contains(&Output::Draft { turn: TurnId(2), news: DraftNews::BegunEarly }));
        assert_eq!(scene.pass(1299), []);
        assert_eq!(scene.pass(1)[..3], [Output::TurnEnded, floor(2), opened(2)]);
    }

    #[test]
    fn a_plain_yes_is_ended_by_order_where_it_was_asked_for() {
        let mut scene = Scene::asked_for("Shall I book it?");
        scene.say(true, "Yes.");
        assert_eq!(scene.pass(99), []);
        let outputs = scene.pass(1);
        assert_eq!(outputs[0], Output::ForceEndTurn);
        assert_eq!(
            asked(&outputs).and_then(|messages| messages.last().cloned()),
            Some(caller("Yes.")),
            "it is drafted"
        );
        assert_eq!(scene.end("Yes.")[..2], [floor(2), opened(2)]);

        let mut scene = Scene::asked_for("How can I help you?");
        scene.say(true, "Yes.");
        assert!(!ended(&scene.pass(900)), "to that it is no answer");
    }

    #[test]
    fn an_answer_that_goes_on_is_not_cut_by_the_order() {
        let mut scene = Scene::asked_for("Shall I book it?");
        scene.say(true, "Yes.");
        scene.pass(100);
        scene.voice_is_heard(true);
        let outputs = scene.update("Yes, but at");
        assert!(
            matches!(outputs.last(), Some(Output::Draft { news: DraftNews::ThrownAway { .. }, .. })),
            "{outputs:?}"
        );
        assert_eq!(scene.end("Yes, but at").len(), 0, "the order was carried out late: more is to come");
        scene.pass(300);
        scene.start("nine");
        assert_eq!(told(&scene.end("nine.")), Some((2, "Yes, but at nine.")));
    }

    #[test]
    fn what_trails_off_is_joined_with_what_follows() {
        let mut scene = Scene::listening();
        scene.say(true, "I'd like to");
        assert!(!ended(&scene.end("I'd like to")));
        assert!(!ended(&scene.pass(700)));
        let outputs = scene.say(true, "book");
        assert!(!ended(&outputs));
        let outputs = scene.end("book a table.");
        assert_eq!(told(&outputs), Some((1, "I'd like to book a table.")), "{outputs:?}");
    }

    #[test]
    fn a_held_turn_does_not_outlast_a_noise_and_nothing_is_forgotten_in_it() {
        let mut scene = Scene::listening();
        scene.voice_is_heard(true);
        scene.start("My name is");
        scene.end("My name is");
        assert!(!ended(&scene.pass(3999)));
        assert!(scene.pass(1).contains(&record(1, "My name is", "", false)));
    }

    #[test]
    fn a_held_turn_waits_for_the_end_of_a_hold() {
        let mut scene = Scene::listening();
        scene.start("My name is");
        scene.pass(100);
        scene.voice_is_heard(false);
        scene.end("My name is");
        scene.tell(Input::Held(true));
        assert!(!ended(&scene.pass(20_000)));
        scene.tell(Input::Held(false));
        assert!(scene.pass(0).contains(&record(1, "My name is", "", false)));
    }

    #[test]
    fn words_that_stand_over_two_updates_are_drafted_once_the_voice_is_silent() {
        let mut scene = Scene::listening();
        scene.voice_is_heard(true);
        scene.start("Do you open");
        scene.pass(250);
        assert_eq!(scene.update("Do you open on Sunday?"), []);
        for _ in 0..3 {
            scene.pass(250);
            assert_eq!(scene.update("Do you open on Sunday?"), [], "a voice is heard");
        }
        scene.voice_is_heard(false);
        scene.pass(250);
        assert_eq!(scene.update("Do you open on Sunday?"), []);
        scene.pass(250);
        let begun = Output::Draft { turn: TurnId(1), news: DraftNews::BegunEarly };
        assert_eq!(scene.update("Do you open on Sunday?")[0], begun);
        let eager = EarsEvent::EagerEndOfTurn { transcript: "Do you open on Sunday?".into() };
        assert_eq!(scene.tell(Input::Ears(eager)), [], "the same draft serves");
        assert_eq!(scene.end("Do you open on Sunday?")[..2], [floor(1), opened(1)]);
    }

    #[test]
    fn drafts_on_words_alone_have_a_budget_of_their_own() {
        let mut scene = Scene::listening();
        let stand = |scene: &mut Scene, words: &str| {
            scene.start(words);
            scene.pass(250);
            scene.update(words);
            scene.pass(250);
            scene.update(words).len()
        };
        assert!(stand(&mut scene, "Do you open") > 0);
        scene.update("Do you open on Sunday");
        assert_eq!(stand(&mut scene, "Do you open on Sunday morning"), 0, "one was thrown away");
        let eager = EarsEvent::EagerEndOfTurn { transcript: "Do you open on Sunday morning?".into() };
        let outputs = scene.tell(Input::Ears(eager));
        assert!(asked(&outputs).is_some(), "the recogniser's guess is still worth one: {outputs:?}");
    }
}
