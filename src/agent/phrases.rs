//! What is said of the agent's own accord: kept phrases, and what takes the place of a reply that fails.

use super::clauses::Clauses;
use super::reply::{FIRST_PACKET_MAX, Then};
use super::speculation::Waste;
use super::spoken::speakable;
use super::{Agent, Failure, FailureKind, Output, Phrase, Timer};
use crate::config;
use crate::ids::TurnId;
use crate::time::Instant;

/// Failures in a row after which the agent gives up on its model.
const MIND_FAILURES_MAX: u32 = 3;
/// Failures in a row after which the agent gives up on its voice.
const VOICE_FAILURES_MAX: u32 = 2;

impl Phrase {
    /// Returns every phrase, in the order in which it is needed; what says nothing included.
    pub fn all(settings: &config::Agent) -> impl Iterator<Item = Self> {
        let fillers = (0..settings.fillers.len()).map_while(|n| n.try_into().ok().map(Self::Filler));
        let said =
            [Self::Greeting, Self::Reprompt, Self::Goodbye, Self::Apology, Self::NotHeard, Self::FarewellOnFailure];
        let tools = (0..settings.tools.len()).map_while(|n| n.try_into().ok().map(Self::ToolFiller));
        said.into_iter().chain(fillers).chain(tools)
    }

    /// Returns what it says.
    #[must_use]
    pub fn text(self, settings: &config::Agent) -> &str {
        match self {
            Self::Greeting => &settings.greeting,
            Self::Reprompt => &settings.reprompt,
            Self::Goodbye => &settings.goodbye,
            Self::Apology => &settings.apology,
            Self::NotHeard => &settings.not_heard,
            Self::FarewellOnFailure => &settings.farewell_on_failure,
            Self::ToolFiller(tool) => settings.tools.get(usize::from(tool)).map_or("", |tool| &tool.filler),
            Self::Filler(n) => settings.fillers.get(usize::from(n)).map_or("", String::as_str),
        }
    }
}

impl Agent {
    /// Says `phrase` as a turn of its own and ends the call.
    pub(super) fn say_and_hang_up(&mut self, phrase: Phrase, reason: &str, even_if_cut: bool, now: Instant) {
        self.begin(None, now);
        self.say(phrase, Then::HangUp { reason: reason.to_owned(), even_if_cut }, now);
    }

    /// Says a phrase as the whole speech of the reply, and hangs up where nothing is left to say it with.
    pub(super) fn say(&mut self, phrase: Phrase, then: Then, now: Instant) {
        let text = speakable(phrase.text(&self.settings));
        let Some(reply) = self.reply.as_mut() else { return };
        self.timers.set(Timer::Reply, now + FIRST_PACKET_MAX);
        if text.is_empty() {
            // The settings leave this phrase empty: nothing is said.
            self.withdraw(false);
            self.after(then, false, now);
        } else if self.ready.contains(&phrase) {
            reply.then = then;
            reply.turn.kept = true;
            reply.whole = true;
            reply.turn.speech.send(&text);
            self.outputs.push_back(Output::Play { turn: reply.turn.id, phrase });
        } else if self.voice_failures < VOICE_FAILURES_MAX {
            reply.then = then;
            self.speak_last(&clauses_of(&text));
        } else {
            self.sound_the_end(match then {
                Then::HangUp { reason, .. } => reason,
                Then::Listen | Then::UseTools => "the voice failed".into(),
            });
        }
    }

    /// Nothing is left to say it with: the call ends with the farewell's sound, which needs no words.
    fn sound_the_end(&mut self, reason: String) {
        let Some(reply) = self.reply.as_mut() else { return };
        reply.then = Then::HangUp { reason, even_if_cut: true };
        reply.turn.kept = true;
        reply.whole = true;
        self.outputs.push_back(Output::Play { turn: reply.turn.id, phrase: Phrase::FarewellOnFailure });
    }

    /// Says what the operator wants said, unless the call ends anyhow.
    pub(super) fn say_for_operator(&mut self, text: &str, now: Instant) {
        let clauses = clauses_of(&speakable(text));
        if clauses.is_empty() || self.reply.as_ref().is_some_and(|reply| matches!(reply.then, Then::HangUp { .. })) {
            return;
        }
        self.begin(None, now);
        self.speak_last(&clauses);
    }

    /// The agent hears nothing any more: it says so, and goes.
    pub(super) fn ears_failed(&mut self, failure: &Failure, now: Instant) {
        if !self.reply.as_ref().is_some_and(|reply| reply.is_final()) {
            let reason = format!("the recogniser failed: {}", failure.text);
            self.say_and_hang_up(Phrase::FarewellOnFailure, &reason, true, now);
        }
    }

    /// There will be no (more) text of the reply: the rest is apologised for, and in the end so is the call.
    pub(super) fn mind_failed(&mut self, failure: &Failure, now: Instant) {
        let Some(reply) = self.reply.as_mut() else { return };
        reply.asking = false;
        if self.is_drafting() {
            // Nobody waits for it yet, and the end of the turn asks anew.
            return self.throw_away(Waste::Failed);
        }
        let Some(reply) = self.reply.as_mut() else { return };
        reply.clauses = Clauses::default();
        self.mind_failures += weight(failure);
        let gives_up = self.mind_failures >= MIND_FAILURES_MAX;
        let (phrase, then) = if gives_up {
            let reason = format!("the language model failed: {}", failure.text);
            (Phrase::FarewellOnFailure, Then::HangUp { reason, even_if_cut: true })
        } else {
            (Phrase::Apology, Then::Listen)
        };
        if reply.turn.speech.is_empty() {
            self.say(phrase, then, now);
        } else {
            // The voice is in the middle of this turn, and can say it in one breath.
            reply.then = then;
            let clauses = clauses_of(phrase.text(&self.settings));
            self.speak_last(&clauses);
        }
    }

    /// There will be no (more) audio of the reply. Only what is kept can be said for certain.
    pub(super) fn voice_failed(&mut self, failure: &Failure, now: Instant) {
        if self.is_drafting() {
            return self.throw_away(Waste::Failed);
        }
        let Some(reply) = self.reply.as_ref() else { return };
        let (then, kept, greeting) = (reply.then.clone(), reply.turn.kept, reply.turn.id == TurnId::GREETING);
        let firm = reply.firm;
        let reason = format!("the voice failed: {}", failure.text);
        if kept {
            // Not even kept audio, which needs no voice, comes out.
            self.withdraw(false);
            self.hang_up(reason);
            return;
        }
        self.voice_failures += weight(failure);
        self.begin_reply(None, firm, now);
        let farewell = Then::HangUp { reason: reason.clone(), even_if_cut: true };
        // The tools that waited for its words do not begin, and the others tell of themselves.
        let then = if then == Then::UseTools { Then::Listen } else { then };
        let (phrase, then) = match then {
            Then::HangUp { .. } => (Phrase::Goodbye, then),
            Then::Listen if self.voice_failures >= VOICE_FAILURES_MAX => (Phrase::FarewellOnFailure, farewell),
            Then::Listen if greeting && self.ready.contains(&Phrase::Greeting) => (Phrase::Greeting, then),
            Then::Listen if self.ready.contains(&Phrase::Apology) => (Phrase::Apology, then),
            Then::Listen | Then::UseTools => (Phrase::FarewellOnFailure, farewell),
        };
        if self.ready.contains(&phrase) {
            self.say(phrase, then, now);
        } else {
            self.sound_the_end(reason);
        }
    }

    /// Nothing was heard of the reply for too long: whoever is due has failed.
    pub(super) fn reply_stalled(&mut self, now: Instant) {
        let Some(reply) = self.reply.as_ref() else { return };
        let turn = reply.turn.id;
        let stalled = |text: &str| Failure { kind: FailureKind::Stalled, text: text.into() };
        let made = reply.turn.kept || reply.turn.speech.is_done();
        if reply.on_air && made {
            // It was played, or will not be: how much of it was heard is not known, and nothing is claimed.
            let then = reply.then.clone();
            self.withdraw(false);
            self.after(then, false, now);
        } else if reply.asking && (reply.on_air || reply.turn.speech.is_empty()) {
            self.outputs.push_back(Output::CancelAsk { turn });
            self.mind_failed(&stalled("no text came in time"), now);
            self.progress(now);
        } else {
            self.voice_failed(&stalled("no sound came in time"), now);
        }
    }
}

/// Returns a phrase as it is given to a live voice.
pub(super) fn clauses_of(text: &str) -> Vec<String> {
    let mut clauses = Clauses::default();
    clauses.push(text);
    std::iter::from_fn(|| clauses.last_clause()).collect()
}

/// How many failures this one counts as: a provider that is reported to have refused was asked twice, and will refuse
/// again.
fn weight(failure: &Failure) -> u32 {
    if failure.kind == FailureKind::Refused { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::super::scene::*;
    use super::*;
    use crate::agent::{Input, MindEvent, VoiceEvent};

    fn spoken(text: &str, end: u64) -> VoiceEvent {
        VoiceEvent::Spoken { text: text.into(), end: ms(end) }
    }

    #[test]
    fn a_reply_that_fails_or_is_empty_is_apologised_for() {
        let mut empty = Scene::asked();
        empty.token(1, "<think>Hm.</think> 😀");
        assert_eq!(empty.mind(1, MindEvent::Done), [play(1, Phrase::Apology)]);
        let mut scene = Scene::asked();
        scene.token(1, "We o");
        assert_eq!(scene.mind(1, MindEvent::Failed(failure(FailureKind::Dropped))), [play(1, Phrase::Apology)]);
        scene.on_air(1);
        assert_eq!(scene.played(1, 900), [record(1, "Hi?", "Sorry, say it again.", false)]);
    }

    #[test]
    fn a_reply_that_fails_half_way_keeps_what_was_said_and_apologises_for_the_rest() {
        let mut scene = Scene::asked();
        scene.token(1, "We open at nine. And we cl");
        assert_eq!(
            scene.mind(1, MindEvent::Failed(failure(FailureKind::Stalled))),
            [speak(1, 1, "Sorry, say it again. ", true)]
        );
        scene.on_air(1);
        scene.voice(1, VoiceEvent::Done { length: ms(2000) });
        assert_eq!(scene.played(1, 2000), [record(1, "Hi?", "We open at nine. Sorry, say it again.", false)]);
    }

    #[test]
    fn without_the_phrase_the_live_voice_apologises() {
        let mut scene = Scene::with(|settings| settings.greeting.clear());
        scene.tell(Input::Answered);
        scene.end("Hi?");
        assert_eq!(
            scene.mind(1, MindEvent::Failed(failure(FailureKind::Dropped))),
            [speak(1, 0, "Sorry, say it again. ", true)]
        );
    }

    #[test]
    fn a_model_that_fails_three_times_in_a_row_ends_the_call() {
        for (kind, times) in [(FailureKind::Stalled, 3), (FailureKind::Refused, 2)] {
            let mut scene = Scene::listening();
            for turn in 1..=times {
                scene.end("Hi?");
                let phrase = if turn < times { Phrase::Apology } else { Phrase::FarewellOnFailure };
                assert_eq!(scene.mind(turn, MindEvent::Failed(failure(kind))), [play(turn, phrase)]);
                scene.on_air(turn);
                let outputs = scene.played(turn, 900);
                let ended = outputs.contains(&hang_up("the language model failed: it broke"));
                assert_eq!(ended, turn == times, "{kind:?} {turn}");
            }
        }
    }

    #[test]
    fn a_good_reply_forgives_the_failures_before_it() {
        let mut scene = Scene::listening();
        for turn in 1..=6 {
            scene.end("Hi?");
            if turn % 3 == 0 {
                scene.token(turn, "Hello.");
                assert_eq!(scene.mind(turn, MindEvent::Done), [speak(turn, 0, "Hello. ", true)]);
            } else {
                let outputs = scene.mind(turn, MindEvent::Failed(failure(FailureKind::Dropped)));
                assert_eq!(outputs, [play(turn, Phrase::Apology)]);
            }
        }
    }

    #[test]
    fn a_voice_that_fails_is_apologised_for_in_a_kept_phrase_and_twice_ends_the_call() {
        let mut scene = Scene::asked();
        scene.token(1, "We open at nine. And");
        assert_eq!(
            scene.voice(1, VoiceEvent::Failed(failure(FailureKind::Dropped))),
            [
                cancel_ask(1),
                cancel_speech(1),
                record(1, "Hi?", "", false),
                floor(2),
                record(2, "", "", false),
                play(2, Phrase::Apology)
            ]
        );
        scene.on_air(2);
        scene.voice(2, VoiceEvent::Done { length: ms(900) });
        scene.played(2, 900);
        scene.end("Hi?");
        scene.token(3, "We open at nine. And");
        let outputs = scene.voice(3, VoiceEvent::Failed(failure(FailureKind::Dropped)));
        assert_eq!(
            outputs.last(),
            Some(&play(4, Phrase::FarewellOnFailure)),
            "a kept phrase proves nothing of the voice"
        );
        scene.on_air(4);
        assert_eq!(scene.played(4, 900)[1], hang_up("the voice failed: it broke"));
    }

    #[test]
    fn a_voice_that_is_refused_is_not_tried_again() {
        let mut scene = Scene::asked();
        scene.token(1, "We open at nine. And");
        let outputs = scene.voice(1, VoiceEvent::Failed(failure(FailureKind::Refused)));
        assert_eq!(outputs.last(), Some(&play(2, Phrase::FarewellOnFailure)));
    }

    #[test]
    fn a_live_reply_forgives_the_failure_of_the_voice_before_it() {
        let mut scene = Scene::listening();
        let mut turn = 0;
        for _ in 0..3 {
            scene.end("Hi?");
            turn += 1;
            scene.token(turn, "We open at nine. And");
            let outputs = scene.voice(turn, VoiceEvent::Failed(failure(FailureKind::Dropped)));
            turn += 1;
            assert_eq!(outputs.last(), Some(&play(turn, Phrase::Apology)));
            scene.end("Hi?");
            turn += 1;
            scene.token(turn, "Hello.");
            scene.mind(turn, MindEvent::Done);
            scene.voice(turn, VoiceEvent::Done { length: ms(500) });
        }
    }

    #[test]
    fn a_voice_that_fails_with_no_phrase_kept_ends_the_call_with_a_sound_and_a_reason() {
        let mut scene = Scene::with(|settings| settings.greeting.clear());
        scene.tell(Input::Answered);
        scene.end("Hi?");
        scene.token(1, "We open at nine. And");
        let outputs = scene.voice(1, VoiceEvent::Failed(failure(FailureKind::Dropped)));
        assert_eq!(outputs.last(), Some(&play(2, Phrase::FarewellOnFailure)), "if only by a tone");
        scene.on_air(2);
        assert_eq!(scene.played(2, 900).last(), Some(&hang_up("the voice failed: it broke")));
    }

    #[test]
    fn a_phrase_that_does_not_come_out_ends_the_call() {
        let mut scene = Scene::asked();
        scene.mind(1, MindEvent::Failed(failure(FailureKind::Dropped)));
        let outputs = scene.pass(8000);
        assert_eq!(outputs.last(), Some(&hang_up("the voice failed: no sound came in time")));
    }

    #[test]
    fn a_farewell_whose_voice_fails_still_ends_the_call() {
        let mut scene = Scene::asked();
        scene.token(1, "Good night!");
        scene.call_tool(1, "hang_up");
        scene.mind(1, MindEvent::Done);
        let outputs = scene.voice(1, VoiceEvent::Failed(failure(FailureKind::Dropped)));
        assert_eq!(outputs.last(), Some(&play(2, Phrase::Goodbye)));
        scene.on_air(2);
        assert_eq!(scene.played(2, 500)[1], hang_up("the agent said goodbye"));
    }

    #[test]
    fn a_reply_without_a_word_in_time_is_apologised_for() {
        let mut scene = Scene::asked();
        assert_eq!(scene.pass(7999), []);
        assert_eq!(scene.pass(1), [cancel_ask(1), play(1, Phrase::Apology)]);
        assert_eq!(scene.token(1, "Late words. "), [], "the model is not waited for any more");
    }

    #[test]
    fn a_reply_without_a_sound_in_time_is_the_voices_failure() {
        let mut scene = Scene::asked();
        scene.token(1, "We open at nine.");
        scene.mind(1, MindEvent::Done);
        let outputs = scene.pass(8000);
        assert_eq!(outputs.last(), Some(&play(2, Phrase::Apology)));
    }

    #[test]
    fn a_silent_voice_is_a_failed_one() {
        let mut scene = Scene::asked();
        scene.token(1, "We open at nine.");
        scene.mind(1, MindEvent::Done);
        let outputs = scene.voice(1, VoiceEvent::Done { length: ms(0) });
        assert_eq!(outputs.last(), Some(&play(2, Phrase::Apology)));
    }

    #[test]
    fn a_model_that_stops_in_the_middle_is_given_up() {
        let mut scene = Scene::asked();
        scene.token(1, "We open at nine. And");
        scene.on_air(1);
        scene.voice(1, spoken("We open at nine.", 1500));
        assert_eq!(scene.pass(9999), []);
        assert_eq!(scene.pass(1), [cancel_ask(1), speak(1, 1, "Sorry, say it again. ", true)]);
    }

    #[test]
    fn a_voice_that_stops_in_the_middle_is_given_up() {
        let mut scene = Scene::asked();
        scene.token(1, "We open at nine.");
        scene.mind(1, MindEvent::Done);
        scene.on_air(1);
        assert_eq!(scene.pass(9999), []);
        assert_eq!(scene.pass(1).last(), Some(&play(2, Phrase::Apology)));
        assert_eq!(scene.cut(1, 1000), [], "nothing is known of how far it came");
    }

    #[test]
    fn sound_that_ends_before_its_text_is_the_voices_failure() {
        let mut scene = Scene::asked();
        scene.token(1, "We open at nine. And");
        scene.on_air(1);
        scene.voice(1, spoken("We", 300));
        let outputs = scene.played(1, 400);
        assert_eq!(outputs.last(), Some(&play(2, Phrase::Apology)));
        assert!(outputs.contains(&record(1, "Hi?", "We", false)));
        assert_eq!(scene.voice(1, VoiceEvent::Failed(failure(FailureKind::Dropped))), [], "it is counted once");
    }

    #[test]
    fn a_reply_of_which_no_end_is_reported_does_not_hold_the_floor_for_ever() {
        let mut scene = Scene::answering();
        let outputs = scene.pass(60_000);
        assert_eq!(outputs[..2], [cancel_speech(1), record(1, "Hi?", "", false)]);
        assert!(asked(&outputs).is_some(), "nothing is known to be heard, so the question is asked again");
    }

    #[test]
    fn a_phrase_that_is_configured_empty_is_left_out() {
        let mut scene = Scene::with(|settings| {
            settings.greeting.clear();
            settings.goodbye.clear();
            settings.reprompts_max = 0;
        });
        scene.tell(Input::Answered);
        assert_eq!(scene.pass(12_000).last(), Some(&hang_up("the caller was silent")));
    }

    #[test]
    fn what_the_operator_wants_said_takes_the_place_of_what_is_being_said() {
        let say = |text: &str| Input::Say(text.into());
        let mut scene = Scene::listening();
        let said = [floor(1), record(1, "", "", false), speak(1, 0, "One moment. ", true)];
        assert_eq!(scene.tell(say("One moment.")), said);
        assert_eq!(scene.tell(say("  ")), []);

        let mut scene = Scene::answering();
        let outputs = scene.tell(say("Stop *there*."));
        assert!(outputs.contains(&cancel_speech(1)) && outputs.contains(&floor(2)), "{outputs:?}");
        assert!(outputs.contains(&speak(2, 0, "Stop there. ", true)), "{outputs:?}");
    }

    #[test]
    fn a_farewell_is_not_talked_into_by_the_operator() {
        let mut scene = Scene::asked();
        scene.call_tool(1, "hang_up");
        scene.mind(1, MindEvent::Done);
        assert_eq!(scene.tell(Input::Say("Wait.".into())), []);
    }
}
