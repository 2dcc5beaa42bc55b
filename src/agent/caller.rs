//! The caller's side of the conversation: when a turn begins and ends, digits, and silence.

use super::patience::Patience;
use super::speculation::Cause;
use super::{Agent, EarsEvent, Output, Phrase, Then, Timer, Waste};
use crate::time::Instant;
use std::time::Duration;

/// How long the caller's turn may stay open after its last word while no voice is heard; then it is taken for ended.
/// Twice the time after which Flux ends a turn itself (`eot_timeout_ms`, 5 s by default).
const TURN_QUIET_MAX: Duration = Duration::from_secs(10);
/// The same while a voice is heard: a recogniser may be late with the words of a long turn, but noise may be taken for
/// a voice for ever.
const TURN_NOISY_MAX: Duration = Duration::from_secs(30);
/// How long another digit may take to come; people type 2 to 3 a second and look up a number in parts.
const DIGIT_WAIT: Duration = Duration::from_millis(1500);
/// The most digits of one message: a card number has 19, and an account number 34.
const DIGITS_MAX: usize = 40;

/// The most that is kept, in bytes, of what is said to a reply that nothing can stop: three minutes of it.
const WAITED_MAX: usize = 3000;

/// What the caller is doing.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    /// The words so far of a turn that has begun and not ended, and when they last changed.
    pub(super) turn: Option<(String, Instant)>,
    /// Whether the local detector hears a voice.
    pub(super) speaking: bool,
    /// How long the turn stays open.
    pub(super) patience: Patience,
    /// Digits that are not told to the model yet.
    digits: String,
    /// What was said and pressed while a reply spoke that nothing could stop: it is answered after it.
    waited: String,
    /// Re-prompts since the caller last said something.
    reprompts: u32,
}

impl Caller {
    /// Whether a turn has begun and not ended, as far as the agent is concerned.
    pub(super) fn has_turn(&self) -> bool {
        self.turn.is_some() || self.patience.holds()
    }

    /// Whether the recogniser has begun a turn and not ended it.
    pub(super) fn is_in_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// Whether there is something of the caller's to be answered beside the words at hand: keys, or the turn's beginning.
    pub(super) fn has_more(&self) -> bool {
        !self.digits.is_empty() || self.patience.holds()
    }

    /// Whether something of the caller's waits for the end of a reply.
    pub(super) fn has_waited(&self) -> bool {
        !self.waited.is_empty()
    }

    /// Whether the caller is heard.
    pub(super) fn is_speaking(&self) -> bool {
        self.speaking || self.turn.is_some()
    }
}

impl Agent {
    pub(super) fn ears(&mut self, event: EarsEvent, now: Instant) {
        self.dead_air.ears(&event, now);
        if let EarsEvent::EndOfTurn { speech, .. } = &event {
            self.dead_air.turn_ended(speech.arrived);
        }
        let Some((event, goes_on)) = self.beyond_answered(event, now) else { return };
        match event {
            EarsEvent::Connected | EarsEvent::Words(_) | EarsEvent::Confidence(_) | EarsEvent::Reconnecting(_) => {}
            EarsEvent::StartOfTurn { transcript } => self.words(&transcript, now),
            EarsEvent::EagerEndOfTurn { transcript } => {
                self.words(&transcript, now);
                let words = self.caller.patience.joined(&transcript);
                if !self.is_unfinished(&words) && self.aside(&transcript, false, now).is_none() {
                    self.draft(&words, Cause::EagerEnd, now);
                }
            }
            EarsEvent::TurnResumed { transcript } => {
                self.throw_away(Waste::Resumed);
                self.words(&transcript, now);
            }
            // An update outside a turn repeats one that has ended, or is empty.
            EarsEvent::Update { transcript } => {
                if self.caller.turn.is_some() || goes_on {
                    self.words(&transcript, now);
                    if self.aside(&transcript, true, now).is_none() {
                        self.draft_words_that_stand(now);
                    }
                }
            }
            EarsEvent::EndOfTurn { transcript, .. } => self.end_of_turn(&transcript, now),
            EarsEvent::Failed(failure) => self.ears_failed(&failure, now),
        }
    }

    /// The caller has a turn, with these words so far.
    fn words(&mut self, transcript: &str, now: Instant) {
        if transcript.trim().is_empty() {
            return;
        }
        self.timers.clear(Timer::Silence);
        let words = self.caller.patience.joined(transcript);
        if self.caller.turn.as_ref().is_none_or(|(before, _)| *before != words) {
            self.caller.turn = Some((words.clone(), now));
            self.caller.patience.words_changed();
            self.watch_turn(now);
            self.watch_ending(now);
        }
        if self.is_drafting() {
            return self.compare_draft(&words);
        }
        if self.aside(transcript, true, now).is_some() {
            return;
        }
        // A reply that nobody has heard is not worth finishing: the caller goes on. One that is heard is cut by the
        // floor, which knows how much was.
        if self.reply.as_ref().is_some_and(|reply| !reply.on_air && !reply.is_final() && !reply.firm) {
            self.withdraw(true);
        }
    }

    fn end_of_turn(&mut self, transcript: &str, now: Instant) {
        let words = self.caller.patience.joined(transcript);
        // What leaves the floor to the agent is not to be answered.
        let aside = self.aside(transcript, false, now);
        self.caller.turn = None;
        self.timers.clear(Timer::CallerTurn);
        if let Some(verdict) = aside {
            self.caller.patience.words_changed();
            self.note_aside(transcript, verdict);
            return self.conclude("", now);
        }
        if !self.hold_turn(&words, now) {
            self.conclude(&words, now);
        }
    }

    /// The caller's turn is over, with these words.
    pub(super) fn conclude(&mut self, transcript: &str, now: Instant) {
        self.timers.clear(Timer::Ending);
        if self.reply.as_ref().is_some_and(|reply| reply.is_final()) {
            return;
        }
        let text = self.question(transcript);
        self.caller.digits.clear();
        self.timers.clear(Timer::Digits);
        if self.has_firm_floor() {
            self.caller.waited = text;
            self.caller.waited.truncate(self.caller.waited.floor_char_boundary(WAITED_MAX));
            return;
        }
        self.caller.waited.clear();
        let drafted = self.open_gate(&text, now);
        self.budget.turn_ended();
        if !text.is_empty() {
            self.caller.reprompts = 0;
            if !drafted {
                self.begin(Some(&text), now);
                self.ask();
            }
        } else if self.reply.is_none() && self.conversation.unanswered() && !self.work.is_pending() {
            // The start of a turn stopped the answer to the one before, and nothing came of it.
            self.begin(None, now);
            self.ask();
        } else {
            self.listen(now);
        }
    }

    /// Returns what the caller has said with `transcript`, and pressed.
    pub(super) fn question(&self, transcript: &str) -> String {
        let (words, digits) = (transcript.trim(), &self.caller.digits);
        let pressed = if digits.is_empty() { String::new() } else { format!("(pressed {digits})") };
        let parts = [self.caller.waited.as_str(), words, &pressed];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// Whether a reply has the floor that nothing the caller does can stop.
    #[must_use]
    pub fn has_firm_floor(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| reply.firm)
    }

    pub(super) fn caller_speech(&mut self, speaking: bool, now: Instant) {
        self.caller.speaking = speaking;
        self.dead_air.caller_speech(speaking, now);
        self.listener.voice(speaking, now);
        self.watch_turn(now);
        self.quiet_changed(now);
        self.listen(now);
    }

    /// Sets the time by which the caller's turn must have ended.
    fn watch_turn(&mut self, now: Instant) {
        if let Some((_, changed)) = self.caller.turn
            && !self.caller.patience.is_forced()
        {
            let noisy = changed + TURN_NOISY_MAX;
            let at = if self.caller.speaking { noisy } else { noisy.min(now + TURN_QUIET_MAX) };
            self.timers.set(Timer::CallerTurn, at);
        }
    }

    /// The recogniser has forgotten to end the turn: its words so far are what the caller has said.
    pub(super) fn turn_stuck(&mut self, now: Instant) {
        let Some((words, _)) = self.caller.turn.take() else { return };
        if !self.caller.patience.is_forced() {
            self.outputs.push_back(Output::ForceEndTurn);
        }
        self.caller.patience.give_up(&words, now);
        self.conclude(&words, now);
    }

    /// Collects digits; they are one message when `#` ends them, when no more come, or when the caller's turn ends.
    pub(super) fn digit(&mut self, digit: char, now: Instant) {
        if !matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D') {
            return;
        }
        self.caller.reprompts = 0;
        self.dead_air.stirred(now);
        // At once, not when the digits are whole: by then it is known what was heard of the reply, and the model with it.
        if self.reply.as_ref().is_some_and(|reply| !reply.is_final() && !reply.firm) {
            self.withdraw(true);
        }
        let ends = digit == '#';
        if !ends || self.caller.digits.is_empty() {
            self.caller.digits.push(digit);
        }
        if ends || self.caller.digits.len() >= DIGITS_MAX {
            self.digits_whole(now);
        } else {
            self.timers.set(Timer::Digits, now + DIGIT_WAIT);
            self.listen(now);
        }
    }

    /// No more digits are to come. Those pressed while the caller speaks are told with the words.
    pub(super) fn digits_whole(&mut self, now: Instant) {
        self.timers.clear(Timer::Digits);
        if !self.caller.has_turn() {
            self.end_of_turn("", now);
        }
    }

    /// Nobody has said anything for a while.
    pub(super) fn silence(&mut self, now: Instant) {
        if self.caller.reprompts >= self.settings.reprompts_max {
            self.say_and_hang_up(Phrase::Goodbye, "the caller was silent", false, now);
            return;
        }
        self.caller.reprompts += 1;
        self.begin(None, now);
        if self.conversation.unanswered() {
            self.ask();
        } else {
            self.say(Phrase::Reprompt, Then::Listen, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::*;
    use super::*;
    use crate::agent::{FailureKind, Input, VoiceEvent};

    fn update(text: &str) -> Input {
        Input::Ears(EarsEvent::Update { transcript: text.into() })
    }

    #[test]
    fn an_end_of_turn_is_answered_with_or_without_its_start() {
        for with_start in [true, false] {
            let mut scene = Scene::listening();
            if with_start {
                assert_eq!(scene.start("When"), []);
            }
            let outputs = scene.end(" When do you open? ");
            assert_eq!(outputs[..2], [floor(1), record(1, "When do you open?", "", false)]);
            assert_eq!(asked(&outputs), Some(vec![system(), caller("When do you open?")]));
        }
    }

    #[test]
    fn an_empty_end_of_turn_asks_nothing() {
        let mut scene = Scene::listening();
        assert_eq!(scene.end(""), []);
        assert_eq!(scene.end(" \n"), []);
    }

    #[test]
    fn a_caller_who_goes_on_while_the_agent_thinks_is_answered_as_a_whole() {
        let mut scene = Scene::asked();
        scene.token(1, "We open at nine. ");
        assert_eq!(scene.start("And"), [cancel_ask(1), cancel_speech(1), record(1, "Hi?", "", true)]);
        assert_eq!(scene.token(1, "And close at five."), [], "the model has not heard of it yet");
        let outputs = scene.end("And on Sunday?");
        assert_eq!(outputs[..2], [floor(2), record(2, "And on Sunday?", "", false)]);
        assert_eq!(asked(&outputs), Some(vec![system(), caller("Hi? And on Sunday?")]));
    }

    #[test]
    fn a_start_of_turn_that_comes_to_nothing_does_not_lose_the_question() {
        let mut scene = Scene::asked();
        scene.start("I");
        let outputs = scene.end("");
        assert_eq!(outputs[..2], [floor(2), record(2, "", "", false)]);
        assert_eq!(asked(&outputs), Some(vec![system(), caller("Hi?")]));
    }

    #[test]
    fn a_second_end_of_turn_without_a_start_takes_the_place_of_the_first() {
        let mut scene = Scene::asked();
        let outputs = scene.end("Hello?");
        assert_eq!(outputs[..4], [cancel_ask(1), cancel_speech(1), record(1, "Hi?", "", true), floor(2)]);
        assert_eq!(asked(&outputs), Some(vec![system(), caller("Hi? Hello?")]));
    }

    #[test]
    fn a_late_update_of_an_ended_turn_does_not_disturb_the_reply() {
        let mut scene = Scene::asked();
        assert_eq!(scene.tell(update("Hi?")), []);
        assert_eq!(scene.tell(update("")), []);
        assert_eq!(scene.token(1, "Hello there. Yes"), [speak(1, 0, "Hello there. ", false)]);
    }

    #[test]
    fn a_turn_that_is_never_ended_is_ended_by_order_and_answered_without_its_recogniser() {
        let mut scene = Scene::listening();
        scene.start("When");
        scene.pass(1000);
        scene.tell(update("Do you open today"));
        for _ in 0..3 {
            assert!(!scene.pass(300).contains(&Output::ForceEndTurn));
            scene.tell(update("Do you open today"));
        }
        assert_eq!(scene.pass(299), [], "unchanged words are no sign of life");
        assert_eq!(scene.pass(1)[0], Output::ForceEndTurn);
        assert_eq!(scene.pass(999), [], "it may still tell the end itself");
        assert_eq!(scene.pass(1)[..2], [floor(1), opened(1)]);
        assert_eq!(scene.end("do you open today?"), [], "the end that comes at last is known");
        assert!(asked(&scene.end("Do you open today?")).is_some(), "the same question again is another one");
    }

    /// A caller whose words are being answered, turn 1, though the recogniser has not told their end.
    fn answered_by_words() -> Scene {
        let mut scene = Scene::with(|settings| {
            settings.greeting.clear();
            settings.speculation = false;
        });
        scene.all_ready();
        scene.tell(Input::Answered);
        scene.start("Do you open today");
        assert!(scene.pass(2200).contains(&floor(1)));
        scene
    }

    fn told(transcript: &str) -> [EarsEvent; 4] {
        let transcript = transcript.to_owned();
        [
            EarsEvent::EagerEndOfTurn { transcript: transcript.clone() },
            EarsEvent::TurnResumed { transcript: transcript.clone() },
            EarsEvent::Update { transcript: transcript.clone() },
            EarsEvent::EndOfTurn { transcript, speech: Default::default() },
        ]
    }

    #[test]
    fn a_turn_that_was_answered_by_its_words_is_not_answered_again_when_its_end_is_told() {
        for late in ["do you open today?", "Do you open", "Do you open Sunday?", ""] {
            for on_air in [false, true] {
                let mut scene = answered_by_words();
                if on_air {
                    scene.token(1, "We open at nine.");
                    scene.on_air(1);
                }
                for event in told(late) {
                    assert_eq!(scene.agent.verdict(&event, scene.now), None, "it is no reason to cut the answer");
                    assert!(scene.agent.has_answered(&event, scene.now));
                    assert_eq!(scene.tell(Input::Ears(event)), [], "{late:?}");
                }
                assert!(asked(&scene.end("When, then?")).is_some(), "the end has been told: this is another turn");
            }
        }
    }

    #[test]
    fn words_beyond_those_that_were_answered_are_answered_with_them() {
        let [eager, _, update, end] = told("Do you open today, and tomorrow?");
        for before in [None, Some(eager), Some(update)] {
            let mut scene = answered_by_words();
            if let Some(before) = before {
                let outputs = scene.tell(Input::Ears(before));
                assert_eq!(outputs, [cancel_ask(1), cancel_speech(1), record(1, "Do you open today", "", true)]);
            }
            let outputs = scene.tell(Input::Ears(end.clone()));
            assert!(outputs.contains(&record(2, "and tomorrow?", "", false)), "{outputs:?}");
            assert_eq!(asked(&outputs), Some(vec![system(), caller("Do you open today and tomorrow?")]));
        }
    }

    #[test]
    fn a_voice_that_begins_a_turn_in_the_same_words_is_answered_anew() {
        let mut scene = answered_by_words();
        assert_eq!(scene.start("Do you"), [], "a recogniser that is connected again repeats itself");
        scene.tell(Input::CallerSpeech { speaking: true });
        assert_eq!(scene.start("Do you"), [cancel_ask(1), cancel_speech(1), record(1, "Do you open today", "", true)]);
        assert!(asked(&scene.end("Do you open today?")).is_some());
    }

    #[test]
    fn other_words_and_late_ones_are_another_turn() {
        let mut scene = answered_by_words();
        assert!(asked(&scene.end("Are they closed now?")).is_some());
        let mut scene = answered_by_words();
        scene.token(1, "We open at nine.");
        scene.mind(1, crate::agent::MindEvent::Done);
        scene.voice(1, VoiceEvent::Done { length: ms(2000) });
        scene.on_air(1);
        scene.pass(2000);
        scene.played(1, 2000);
        scene.pass(8000);
        assert!(asked(&scene.end("Do you open today?")).is_some());
    }

    #[test]
    fn a_long_turn_is_not_ended_while_a_voice_is_heard_but_noise_does_not_hold_it_open() {
        let mut scene = Scene::listening();
        scene.tell(Input::CallerSpeech { speaking: true });
        scene.start("When do you open");
        assert_eq!(scene.pass(29_999), []);
        let outputs = scene.pass(1);
        assert_eq!(outputs[0], Output::ForceEndTurn);
        assert!(asked(&outputs).is_some());
    }

    /// A caller who is greeted with what cannot be interrupted.
    fn greeted_firmly() -> Scene {
        let mut scene = Scene::with(|settings| settings.interruptible_greeting = false);
        scene.all_ready();
        let outputs = scene.tell(Input::Answered);
        assert_eq!(outputs[0], Output::Floor { turn: crate::ids::TurnId::GREETING, firm: true });
        scene
    }

    #[test]
    fn what_is_said_to_a_firm_greeting_is_answered_after_it() {
        for on_air in [false, true] {
            let mut scene = greeted_firmly();
            if on_air {
                scene.on_air(0);
            }
            scene.tell(Input::CallerSpeech { speaking: true });
            assert_eq!(scene.start("Stop"), []);
            assert_eq!(scene.end("Stop, please."), []);
            scene.tell(Input::CallerSpeech { speaking: false });
            assert_eq!(scene.start("When"), []);
            assert_eq!(
                scene.tell(Input::Ears(EarsEvent::EagerEndOfTurn { transcript: "When do you open?".into() })),
                []
            );
            assert_eq!(scene.tell(Input::Digit('5')), []);
            assert_eq!(scene.end("When do you open?"), []);
            scene.on_air(0);
            let outputs = scene.played(0, 2000);
            assert_eq!(outputs[0], record(0, "", "Hello, this is Offhook.", false));
            assert_eq!(outputs[1], floor(1), "and that can be interrupted");
            let all = "Stop, please. When do you open? (pressed 5)";
            assert_eq!(asked(&outputs), Some(vec![system(), agent("Hello, this is Offhook."), caller(all)]));
            assert!(asked(&scene.end("Today?")).is_some_and(
                |messages| messages.last() == Some(&caller("Stop, please. When do you open? (pressed 5) Today?"))
            ));
        }
    }

    #[test]
    fn who_is_still_speaking_when_a_firm_greeting_ends_is_answered_as_a_whole() {
        let mut scene = greeted_firmly();
        scene.on_air(0);
        scene.end("Good morning.");
        scene.start("When do");
        assert_eq!(scene.played(0, 2000), [record(0, "", "Hello, this is Offhook.", false)]);
        let outputs = scene.end("When do you open?");
        let messages = vec![system(), agent("Hello, this is Offhook."), caller("Good morning. When do you open?")];
        assert_eq!(asked(&outputs), Some(messages));
    }

    #[test]
    fn a_firm_greeting_that_fails_is_said_again_as_firmly() {
        let mut scene = Scene::with(|settings| settings.interruptible_greeting = false);
        scene.tell(Input::Answered);
        scene.pass(500);
        scene.all_ready();
        let outputs = scene.voice(0, VoiceEvent::Failed(failure(FailureKind::Dropped)));
        assert!(outputs.contains(&Output::Floor { turn: crate::ids::TurnId(1), firm: true }), "{outputs:?}");
    }

    #[test]
    fn a_silent_caller_is_asked_twice_and_then_left() {
        let mut scene = Scene::listening();
        for turn in 1..=2 {
            assert_eq!(scene.pass(11_999), []);
            assert_eq!(scene.pass(1), [floor(turn), record(turn, "", "", false), play(turn, Phrase::Reprompt)]);
            scene.on_air(turn);
            assert_eq!(scene.played(turn, 800), [record(turn, "", "Are you there?", false)]);
        }
        assert_eq!(scene.pass(12_000), [floor(3), record(3, "", "", false), play(3, Phrase::Goodbye)]);
        scene.on_air(3);
        assert_eq!(scene.played(3, 700), [record(3, "", "Goodbye!", false), hang_up("the caller was silent")]);
    }

    #[test]
    fn whatever_is_heard_of_the_caller_starts_the_silence_anew() {
        let mut scene = Scene::listening();
        scene.pass(11_000);
        scene.tell(Input::CallerSpeech { speaking: true });
        assert_eq!(scene.pass(11_999), []);
        scene.start("I");
        assert_eq!(scene.pass(9999), [], "a turn is no silence");
        scene.end("");
        assert_eq!(scene.pass(11_999), []);
        assert_eq!(scene.pass(1)[2], play(1, Phrase::Reprompt));
    }

    #[test]
    fn a_caller_who_comes_back_during_the_goodbye_is_listened_to() {
        let mut scene = Scene::with(|settings| {
            settings.greeting.clear();
            settings.reprompts_max = 0;
        });
        scene.all_ready();
        scene.tell(Input::Answered);
        assert_eq!(scene.pass(12_000)[2], play(1, Phrase::Goodbye));
        scene.on_air(1);
        scene.start("Wait");
        assert_eq!(scene.cut(1, 300), [cancel_speech(1), record(1, "", "", true)]);
        assert!(asked(&scene.end("Wait, I'm here.")).is_some());
    }

    #[test]
    fn reprompts_are_remembered_as_far_as_heard() {
        let mut scene = Scene::listening();
        scene.pass(12_000);
        scene.voice(1, VoiceEvent::Done { length: ms(900) });
        scene.on_air(1);
        scene.start("Yes");
        scene.cut(1, 600);
        assert_eq!(asked(&scene.end("Yes.")), Some(vec![system(), agent("Are you…"), caller("Yes.")]));
    }

    #[test]
    fn digits_are_one_message_when_no_more_come() {
        let mut scene = Scene::listening();
        for digit in ['4', '2', '*'] {
            assert_eq!(scene.tell(Input::Digit(digit)), []);
            assert_eq!(scene.pass(1400), []);
            assert_eq!(scene.tell(Input::Digit('x')), [], "that is none");
        }
        let outputs = scene.pass(100);
        assert_eq!(asked(&outputs), Some(vec![system(), caller("(pressed 42*)")]));
        assert_eq!(outputs[..2], [floor(1), record(1, "(pressed 42*)", "", false)]);
    }

    #[test]
    fn a_hash_ends_the_digits_and_alone_is_a_message() {
        let mut scene = Scene::listening();
        scene.tell(Input::Digit('1'));
        assert_eq!(asked(&scene.tell(Input::Digit('#'))), Some(vec![system(), caller("(pressed 1)")]));
        let mut scene = Scene::listening();
        assert_eq!(asked(&scene.tell(Input::Digit('#'))), Some(vec![system(), caller("(pressed #)")]));
    }

    #[test]
    fn digits_pressed_while_the_caller_speaks_are_told_with_the_words() {
        let mut scene = Scene::listening();
        scene.tell(Input::CallerSpeech { speaking: true });
        scene.start("My number");
        scene.tell(Input::Digit('7'));
        assert_eq!(scene.pass(3000), []);
        assert_eq!(
            asked(&scene.end("My number is this.")),
            Some(vec![system(), caller("My number is this. (pressed 7)")])
        );
    }

    #[test]
    fn the_first_digit_stops_a_reply_and_what_was_heard_of_it_is_known_when_no_more_come() {
        let mut scene = Scene::answering();
        assert_eq!(scene.tell(Input::Digit('1')), [cancel_speech(1), record(1, "Hi?", "", true)]);
        assert_eq!(scene.cut(1, 1500), [record(1, "Hi?", "We open at", true)]);
        let outputs = scene.pass(1500);
        assert_eq!(outputs[..2], [floor(2), record(2, "(pressed 1)", "", false)]);
        assert_eq!(asked(&outputs), Some(vec![system(), caller("Hi?"), agent("We open at…"), caller("(pressed 1)")]));
    }

    #[test]
    fn no_number_of_digits_is_too_many() {
        let mut scene = Scene::listening();
        let outputs: Vec<_> = (0..39).flat_map(|_| scene.tell(Input::Digit('1'))).collect();
        assert_eq!(outputs, []);
        assert!(asked(&scene.tell(Input::Digit('1'))).is_some());
    }

    #[test]
    fn the_last_words_of_a_call_are_not_given_up_for_a_caller_who_speaks() {
        let mut scene = Scene::answering();
        scene.tell(Input::Ears(EarsEvent::Failed(failure(FailureKind::Dropped))));
        assert_eq!(scene.start("Hello"), []);
        assert_eq!(scene.end("Hello?"), []);
        scene.on_air(2);
        assert!(scene.played(2, 900).contains(&hang_up("the recogniser failed: it broke")));
    }

    #[test]
    fn a_lost_recogniser_is_told_and_ends_the_call() {
        let mut scene = Scene::answering();
        assert_eq!(
            scene.tell(Input::Ears(EarsEvent::Failed(failure(FailureKind::Dropped)))),
            [
                cancel_speech(1),
                record(1, "Hi?", "", false),
                floor(2),
                record(2, "", "", false),
                play(2, Phrase::FarewellOnFailure)
            ]
        );
        assert_eq!(scene.cut(1, 2000), [record(1, "Hi?", "We open at nine.", false)]);
        scene.on_air(2);
        assert_eq!(scene.end("Hello?"), [], "nothing is begun any more");
        assert_eq!(
            scene.played(2, 900),
            [record(2, "", "Please call later.", false), hang_up("the recogniser failed: it broke")]
        );
    }
}
