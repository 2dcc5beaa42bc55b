//! One reply of the agent: from the question through tokens and clauses to its last sample.

use super::clauses::Clauses;
use super::conversation::Message;
use super::speculation::Gate;
use super::speech::Speech;
use super::tools::{ToolUse, USES_MAX};
use super::{Agent, Failure, FailureKind, MindEvent, Output, Phrase, Timer, TurnRecord, VoiceEvent, WordSpan};
use crate::ids::TurnId;
use crate::time::Instant;
use std::time::Duration;

/// How long a reply may take to its first packet. The providers' own deadlines are shorter; this is the net below them,
/// for a caller who has been patient long enough to be told why.
pub(super) const FIRST_PACKET_MAX: Duration = Duration::from_secs(8);
/// How long a reply that is heard may go without a sign of life from what makes the rest of it.
const PROGRESS_MAX: Duration = Duration::from_secs(10);
/// How much later than its length a reply may have been played: pauses, each a few seconds, and the way out.
const PLAYED_SLACK: Duration = Duration::from_secs(20);
/// The longest kept phrase: nobody listens to a greeting of more than a minute.
const PHRASE_MAX: Duration = Duration::from_secs(60);
/// The longest reply in bytes of spoken text, about three minutes: a model that goes on is stopped there.
const REPLY_MAX: usize = 3000;
/// The most requests for one reply: the first, and what follows the tools that it calls. Four are a chain of look-ups that a
/// caller still waits for; the last request offers no tools.
pub(super) const ROUNDS_MAX: u32 = 5;

/// A turn of the agent, as far as it is known what was said and heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn {
    pub id: TurnId,
    /// What the caller said; empty where the agent speaks of its own accord.
    pub caller: String,
    pub speech: Speech,
    /// How much was played, once that is told.
    pub heard: Option<Duration>,
    /// Whether it was played to its end.
    pub played: bool,
    /// The most that can have arrived, where that is less.
    pub arrived: Option<Duration>,
    /// Whether the caller cut it.
    pub interrupted: bool,
    /// Whether kept words bridged the wait for it.
    pub filler: bool,
    /// Whether it is a kept phrase, whose audio is whole by nature.
    pub kept: bool,
}

/// How much of a turn's audio was heard.
enum Extent {
    Nothing,
    Part(Duration),
    Whole,
}

impl Turn {
    /// Returns what was heard of it.
    pub fn heard_text(&self) -> &str {
        match self.extent() {
            Extent::Nothing => "",
            Extent::Part(heard) => self.speech.heard(heard),
            Extent::Whole => self.speech.sent(),
        }
    }

    /// Whether the caller has not heard all that was to be heard.
    pub fn is_cut(&self) -> bool {
        self.interrupted || (self.arrived.is_some() && self.heard_text() != self.speech.sent())
    }

    fn span(&self) -> WordSpan {
        match self.extent() {
            Extent::Nothing => WordSpan::default(),
            Extent::Part(heard) => self.speech.span(heard),
            Extent::Whole => self.speech.whole(),
        }
    }

    /// How much of its audio was heard: what left, unless the far end has told that less of it came.
    fn extent(&self) -> Extent {
        match (self.heard, self.arrived) {
            (Some(_), None) if self.played && (self.kept || self.speech.is_done()) => Extent::Whole,
            (Some(heard), None) => Extent::Part(heard),
            (Some(heard), Some(arrived)) => Extent::Part(heard.min(arrived)),
            (None, _) => Extent::Nothing,
        }
    }

    pub fn record(&self) -> TurnRecord {
        TurnRecord {
            turn: self.id,
            caller: self.caller.clone(),
            agent: self.heard_text().to_owned(),
            heard: self.span(),
            interrupted: self.interrupted,
            filler: self.filler,
        }
    }

    /// Takes the voice's report of what it has made.
    fn made(&mut self, event: &VoiceEvent) {
        match event {
            VoiceEvent::Spoken { text, end } => self.speech.spoken(text, *end),
            VoiceEvent::Done { length } => self.speech.done(*length),
            VoiceEvent::Sent { .. } | VoiceEvent::FirstAudio | VoiceEvent::Failed(_) => {}
        }
    }
}

/// What follows when a reply has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Listen,
    /// What the model's tools bring, or their beginning.
    UseTools,
    HangUp {
        reason: String,
        even_if_cut: bool,
    },
}

/// The reply that has the floor, or is to have it.
#[derive(Debug)]
pub(super) struct Reply {
    pub turn: Turn,
    /// Set while it is a draft, which waits behind the gate.
    pub gate: Option<Gate>,
    pub clauses: Clauses,
    /// Characters that the model has made of it.
    pub characters: usize,
    /// The number of the next clause.
    clause: u16,
    /// Whether the end of the clause under way has been waited for long enough.
    late: bool,
    /// Whether the model is at it.
    pub asking: bool,
    pub rounds: u32,
    /// The tools that the model called in this round.
    uses: Vec<ToolUse>,
    /// Whether all its text is with the voice.
    pub whole: bool,
    /// Whether the caller hears it.
    pub on_air: bool,
    /// Whether nothing that the caller does stops it.
    pub firm: bool,
    /// Whether it stands for a question of which nothing was recognised.
    pub unheard: bool,
    pub then: Then,
}

impl Reply {
    pub fn new(id: TurnId, caller: &str) -> Self {
        Self {
            turn: Turn { id, caller: caller.to_owned(), ..Turn::default() },
            gate: None,
            clauses: Clauses::default(),
            characters: 0,
            clause: 0,
            late: false,
            asking: false,
            rounds: 0,
            uses: Vec::new(),
            whole: false,
            on_air: false,
            firm: false,
            unheard: false,
            then: Then::Listen,
        }
    }

    /// Returns the reply that waits behind `gate`, and for which the model is asked.
    pub fn draft(id: TurnId, gate: Gate) -> Self {
        Self { gate: Some(gate), asking: true, rounds: 1, ..Self::new(id, "") }
    }

    /// Whether the call ends with it, whatever the caller does.
    pub fn is_final(&self) -> bool {
        matches!(self.then, Then::HangUp { even_if_cut: true, .. })
    }

    /// Returns `messages` with what this reply has said so far before it called a tool, be it heard yet or not: the model
    /// is to go on from there.
    pub fn with_words_said(&self, mut messages: Vec<Message>) -> Vec<Message> {
        if !self.turn.speech.is_empty() {
            let question = messages.iter().rposition(|message| matches!(message, Message::Caller(_)));
            let said = Message::Agent(self.turn.speech.sent().to_owned());
            messages.insert(question.map_or(messages.len(), |at| at + 1), said);
        }
        messages
    }
}

impl Agent {
    /// Asks the model for the reply that has the floor.
    pub(super) fn ask(&mut self) {
        let Some(reply) = self.reply.as_mut() else { return };
        reply.asking = true;
        reply.rounds += 1;
        let (turn, round) = (reply.turn.id, reply.rounds);
        let messages = reply.with_words_said(self.conversation.messages());
        self.ask_for(turn, round, messages);
    }

    /// Takes what the model says, if it is about the reply that has the floor and still wanted.
    pub(super) fn mind(&mut self, turn: TurnId, event: MindEvent, now: Instant) {
        if let MindEvent::Allowance { left } = event {
            self.budget.allowance(left, now);
        }
        if self.keep_early(turn, &event) {
            return;
        }
        let Some(reply) = self.reply.as_mut().filter(|reply| reply.turn.id == turn && reply.asking) else { return };
        match event {
            MindEvent::Sent | MindEvent::Allowance { .. } => {}
            MindEvent::Token(token) => {
                reply.characters += token.chars().count();
                reply.clauses.push(&token);
                self.speak_clauses(now);
            }
            MindEvent::ToolCall { id, name, arguments } => {
                if reply.uses.len() < USES_MAX {
                    reply.uses.push(ToolUse { id, name, arguments });
                }
            }
            MindEvent::Done => self.mind_done(now),
            // What it has said and done is enough to end the call.
            MindEvent::Failed(_) if reply.uses.iter().any(ToolUse::hangs_up) => self.mind_done(now),
            MindEvent::Failed(failure) => self.mind_failed(&failure, now),
        }
        self.progress(now);
    }

    /// Sends the clauses that are whole, and sees to it that one under way does not wait too long.
    fn speak_clauses(&mut self, now: Instant) {
        while let Some(reply) = self.reply.as_mut().filter(|reply| reply.turn.speech.sent().len() <= REPLY_MAX) {
            let late = reply.late;
            let clauses = &mut reply.clauses;
            let Some(text) = clauses.next_clause().or_else(|| late.then(|| clauses.hurried()).flatten()) else { break };
            self.speak(&text, false);
        }
        let Some(reply) = self.reply.as_mut() else { return };
        if reply.turn.speech.sent().len() > REPLY_MAX {
            reply.asking = false;
            let turn = reply.turn.id;
            self.outputs.push_back(Output::CancelAsk { turn });
            self.speak("", true);
        } else if reply.clauses.waiting() && !reply.late && !self.timers.runs(Timer::Clause) {
            self.timers.set(Timer::Clause, now + reply.clauses.patience());
        }
    }

    /// The clause under way has waited long enough: its words go out as they are.
    pub(super) fn hurry_clause(&mut self, now: Instant) {
        if let Some(reply) = self.reply.as_mut() {
            reply.late = true;
            self.speak_clauses(now);
        }
    }

    /// Sends a clause of the reply to the voice.
    pub(super) fn speak(&mut self, text: &str, last: bool) {
        let Some(reply) = self.reply.as_mut() else { return };
        self.timers.clear(Timer::Clause);
        reply.turn.speech.send(text);
        let (turn, clause) = (reply.turn.id, reply.clause);
        reply.clause += 1;
        reply.late = false;
        reply.whole = last;
        self.outputs.push_back(Output::Speak { turn, clause, text: text.to_owned(), last });
    }

    /// The model's reply is whole: what is left of it is spoken, and its tools are used.
    pub(super) fn mind_done(&mut self, now: Instant) {
        let Some(reply) = self.reply.as_mut() else { return };
        reply.asking = false;
        let left: Vec<String> = std::iter::from_fn(|| reply.clauses.last_clause()).collect();
        let hangs_up = reply.uses.iter().any(ToolUse::hangs_up);
        let only_hangs_up = reply.uses.iter().all(ToolUse::hangs_up);
        let says_nothing = left.is_empty() && reply.turn.speech.is_empty();
        // Tools are for a turn that has ended; but a farewell with words hangs up only when they were heard.
        if let Some(gate) = reply.gate.as_mut().filter(|_| !reply.uses.is_empty() && (says_nothing || !only_hangs_up)) {
            gate.held_back = true;
            for clause in left {
                self.speak(&clause, false);
            }
            return;
        }
        let uses = std::mem::take(&mut reply.uses);
        if only_hangs_up { self.finish(&left, hangs_up, now) } else { self.use_tools(uses, left, now) }
    }

    /// Nothing follows the words of the reply, of which `left` are not spoken yet, but perhaps the end of the call.
    pub(super) fn finish(&mut self, left: &[String], hangs_up: bool, now: Instant) {
        let Some(reply) = self.reply.as_mut() else { return };
        let says_nothing = left.is_empty() && reply.turn.speech.is_empty();
        let then = match hangs_up {
            true => Then::HangUp { reason: "the agent said goodbye".into(), even_if_cut: false },
            false => Then::Listen,
        };
        if says_nothing && hangs_up {
            self.say(Phrase::Goodbye, then, now);
        } else if says_nothing {
            let text = "the language model's reply was empty".into();
            self.mind_failed(&Failure { kind: FailureKind::Stalled, text }, now);
        } else {
            reply.then = then;
            self.mind_failures = 0;
            self.speak_last(left);
        }
    }

    /// Sends the last clauses of the reply to the voice; without any, it is told that there are none.
    pub(super) fn speak_last(&mut self, clauses: &[String]) {
        let (last, before) = clauses.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
        for clause in before {
            self.speak(clause, false);
        }
        self.speak(last, true);
    }

    /// Takes what the voice says.
    pub(super) fn voice(&mut self, turn: TurnId, event: VoiceEvent, now: Instant) {
        let Some(reply) = self.reply.as_mut().filter(|reply| reply.turn.id == turn) else {
            self.amend(turn, |turn| turn.made(&event));
            return;
        };
        reply.turn.made(&event);
        match event {
            VoiceEvent::Sent { .. } | VoiceEvent::FirstAudio | VoiceEvent::Spoken { .. } => {}
            VoiceEvent::Done { length } if length.is_zero() => {
                let text = "the voice made no sound".into();
                self.voice_failed(&Failure { kind: FailureKind::Garbage, text }, now);
            }
            VoiceEvent::Done { .. } => {
                if !reply.turn.kept {
                    self.voice_failures = 0;
                }
            }
            VoiceEvent::Failed(failure) => {
                // What is whole can be played without it.
                if !reply.turn.speech.is_done() {
                    self.voice_failed(&failure, now);
                }
            }
        }
        self.progress(now);
    }

    pub(super) fn first_packet(&mut self, turn: TurnId, now: Instant) {
        if let Some(reply) = self.reply.as_mut().filter(|reply| reply.turn.id == turn) {
            reply.on_air = true;
            self.dead_air.reply_heard();
            self.listener.on_air(now);
            self.progress(now);
        }
    }

    pub(super) fn played(&mut self, turn: TurnId, heard: Duration, now: Instant) {
        self.listener.off_air(now);
        let Some(mut reply) = self.reply.take_if(|reply| reply.turn.id == turn) else {
            self.amend(turn, |turn| {
                turn.heard = Some(heard);
                turn.played = true;
                turn.interrupted = false;
            });
            return;
        };
        if reply.whole {
            reply.turn.heard = Some(heard);
            reply.turn.played = true;
            self.close(reply.turn);
            self.after(reply.then, false, now);
        } else {
            // Its sound has ended before its text: the voice has left in the middle of it.
            reply.turn.heard = Some(heard);
            self.reply = Some(reply);
            let text = "the voice stopped in the middle of a reply".into();
            self.voice_failed(&Failure { kind: FailureKind::Dropped, text }, now);
        }
    }

    pub(super) fn cut(&mut self, turn: TurnId, heard: Duration, now: Instant) {
        self.listener.off_air(now);
        let Some(mut reply) = self.reply.take_if(|reply| reply.turn.id == turn) else {
            self.amend(turn, |turn| turn.heard = turn.heard.max(Some(heard)));
            return;
        };
        self.cancel(&reply);
        reply.turn.heard = Some(heard);
        reply.turn.interrupted = true;
        self.close(reply.turn);
        self.after(reply.then, true, now);
    }

    /// At most `heard_max` of a turn that is over can have been heard. What was told first counts: it is the least.
    pub(super) fn arrived(&mut self, turn: TurnId, heard_max: Duration) {
        self.amend(turn, |turn| turn.arrived = Some(turn.arrived.map_or(heard_max, |before| before.min(heard_max))));
    }

    /// Nothing of the reply leaves any more. One whose audio is whole has lost its rest on the way: it ends here, and the caller is
    /// listened to. What is still being made has deadlines of its own.
    pub(super) fn stalled(&mut self, turn: TurnId, heard: Duration, now: Instant) {
        let lost = |reply: &Reply| reply.turn.id == turn && (reply.turn.kept || reply.turn.speech.is_done());
        let Some(reply) = self.reply.as_mut().filter(|reply| lost(reply)) else { return };
        reply.turn.heard = Some(heard);
        let then = reply.then.clone();
        self.withdraw(false);
        self.after(then, false, now);
    }

    /// Gives a reply that is heard its next deadline.
    pub(super) fn progress(&mut self, now: Instant) {
        let Some(reply) = self.reply.as_ref().filter(|reply| reply.on_air) else { return };
        let speech = &reply.turn.speech;
        let most = match speech.length() {
            Some(length) => length + PLAYED_SLACK,
            None if reply.turn.kept => PHRASE_MAX,
            None => PROGRESS_MAX,
        };
        self.timers.set(Timer::Reply, now + most);
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::*;
    use super::*;
    use crate::agent::Input;

    fn spoken(text: &str, end: u64) -> VoiceEvent {
        VoiceEvent::Spoken { text: text.into(), end: ms(end) }
    }

    #[test]
    fn tokens_are_spoken_clause_by_clause_and_done_ends_the_speech() {
        let mut scene = Scene::asked();
        assert_eq!(scene.mind(1, MindEvent::Sent), []);
        assert_eq!(scene.token(1, "We open"), []);
        assert_eq!(scene.token(1, " at nine. We"), [speak(1, 0, "We open at nine. ", false)]);
        assert_eq!(scene.token(1, " **close** at five"), []);
        assert_eq!(scene.mind(1, MindEvent::Done), [speak(1, 1, "We close at five ", true)]);
        scene.on_air(1);
        scene.voice(1, VoiceEvent::Done { length: ms(3000) });
        assert_eq!(scene.played(1, 3000), [record(1, "Hi?", "We open at nine. We close at five", false)]);
        assert_eq!(
            scene.history(2),
            [system(), caller("Hi?"), agent("We open at nine. We close at five"), caller("What?")]
        );
    }

    #[test]
    fn a_reply_whose_last_clause_is_out_is_ended_by_an_empty_one() {
        let mut scene = Scene::asked();
        assert_eq!(scene.token(1, "Yes. "), [speak(1, 0, "Yes. ", false)]);
        assert_eq!(scene.mind(1, MindEvent::Done), [speak(1, 1, "", true)]);
        let mut scene = Scene::asked();
        scene.token(1, "Yes.");
        assert_eq!(scene.mind(1, MindEvent::Done), [speak(1, 0, "Yes. ", true)]);
    }

    #[test]
    fn slow_words_go_out_without_waiting_for_the_end_of_their_clause() {
        let mut scene = Scene::asked();
        scene.token(1, "Our ");
        assert_eq!(scene.pass(250), [], "one word is too little");
        assert_eq!(scene.token(1, "opening hours are "), [speak(1, 0, "Our opening hours are ", false)]);
        scene.token(1, "from nine to fi");
        assert_eq!(scene.pass(299), []);
        assert_eq!(scene.pass(1), [speak(1, 1, "from nine to ", false)]);
    }

    #[test]
    fn what_was_cut_keeps_only_what_was_heard() {
        let mut scene = Scene::answering();
        assert_eq!(scene.start("No"), []);
        assert_eq!(scene.cut(1, 900), [cancel_speech(1), record(1, "Hi?", "We open", true)]);
        assert_eq!(scene.history(2), [system(), caller("Hi?"), agent("We open…"), caller("What?")]);
    }

    #[test]
    fn a_cut_stops_the_model_too() {
        let mut scene = Scene::asked();
        scene.token(1, "We open at nine. And we");
        scene.on_air(1);
        assert_eq!(scene.cut(1, 0), [cancel_ask(1), cancel_speech(1), record(1, "Hi?", "", true)]);
        assert_eq!(scene.token(1, " close at five."), []);
        assert_eq!(scene.mind(1, MindEvent::Done), []);
        assert_eq!(scene.pass(700), [], "no clause of it is waited for");
    }

    #[test]
    fn reports_that_come_after_the_cut_still_say_what_was_heard() {
        let mut scene = Scene::asked();
        scene.token(1, "We open at nine.");
        scene.mind(1, MindEvent::Done);
        scene.on_air(1);
        assert_eq!(scene.cut(1, 600), [cancel_speech(1), record(1, "Hi?", "", true)]);
        assert_eq!(scene.voice(1, spoken("We", 200)), [record(1, "Hi?", "We", true)]);
        assert_eq!(scene.voice(1, spoken("open", 500)), [record(1, "Hi?", "We open", true)]);
        assert_eq!(scene.voice(1, spoken("at", 700)), []);
        assert_eq!(scene.voice(1, spoken("nine.", 1200)), []);
        assert_eq!(scene.history(2)[2], agent("We open…"));
    }

    #[test]
    fn what_the_far_end_never_received_was_not_heard() {
        let mut scene = Scene::answering();
        assert_eq!(scene.played(1, 2000), [record(1, "Hi?", "We open at nine.", false)]);
        let arrived = |heard_max: u64| Input::Arrived { turn: TurnId(1), heard_max: ms(heard_max) };
        assert_eq!(scene.tell(arrived(1500)), [record(1, "Hi?", "We open at", false)]);
        assert_eq!(scene.tell(arrived(1800)), [], "what did not come in time does not come");
        assert_eq!(scene.tell(arrived(0)), [record(1, "Hi?", "", false)]);
        let mut scene = Scene::answering();
        scene.played(1, 2000);
        scene.tell(arrived(1500));
        assert_eq!(scene.history(2), [system(), caller("Hi?"), agent("We open at…"), caller("What?")]);
    }

    #[test]
    fn the_report_after_a_cut_can_only_lower_what_was_heard() {
        for (heard_max, text) in [(1500, "We open"), (900, "We open"), (600, "We")] {
            let mut scene = Scene::answering();
            scene.cut(1, 900);
            scene.tell(Input::Arrived { turn: TurnId(1), heard_max: ms(heard_max) });
            assert_eq!(scene.history(2)[2], agent(&format!("{text}…")));
        }
    }

    #[test]
    fn a_reply_whose_rest_was_lost_on_the_way_ends_where_it_stopped() {
        let mut scene = Scene::answering();
        let stalled = |heard: u64| Input::Stalled { turn: TurnId(1), heard: ms(heard) };
        assert_eq!(scene.tell(stalled(900)), [cancel_speech(1), record(1, "Hi?", "We open", false)]);
        assert_eq!(scene.cut(1, 900), []);
        assert_eq!(scene.tell(stalled(900)), []);
        assert!(asked(&scene.end("And?")).is_some());

        let mut scene = Scene::asked();
        scene.token(1, "We open at nine. ");
        scene.on_air(1);
        assert_eq!(scene.tell(stalled(900)), [], "the rest is still being made");
    }

    #[test]
    fn events_of_an_old_turn_are_ignored() {
        let mut scene = Scene::asked();
        scene.end("And?");
        for event in
            [MindEvent::Token("Old words. ".into()), MindEvent::Done, MindEvent::Failed(failure(FailureKind::Dropped))]
        {
            assert_eq!(scene.mind(1, event), []);
        }
        assert_eq!(scene.voice(1, VoiceEvent::Failed(failure(FailureKind::Dropped))), []);
        assert_eq!(scene.on_air(1), []);
        assert_eq!(scene.token(2, "New words. "), [speak(2, 0, "New words. ", false)]);
    }

    #[test]
    fn hanging_up_lets_the_farewell_finish() {
        let mut scene = Scene::asked();
        scene.call_tool(1, "hang_up");
        assert_eq!(scene.token(1, "Good night!"), []);
        assert_eq!(scene.mind(1, MindEvent::Done), [speak(1, 0, "Good night! ", true)]);
        scene.on_air(1);
        scene.voice(1, VoiceEvent::Done { length: ms(900) });
        assert_eq!(scene.pass(900), []);
        assert_eq!(scene.played(1, 900), [record(1, "Hi?", "Good night!", false), hang_up("the agent said goodbye")]);
    }

    #[test]
    fn hanging_up_without_a_word_says_the_goodbye() {
        let mut scene = Scene::asked();
        scene.call_tool(1, "hang_up");
        assert_eq!(scene.mind(1, MindEvent::Failed(failure(FailureKind::Dropped))), [play(1, Phrase::Goodbye)]);
        scene.on_air(1);
        assert_eq!(scene.played(1, 900), [record(1, "Hi?", "Goodbye!", false), hang_up("the agent said goodbye")]);
    }

    #[test]
    fn a_caller_who_interrupts_the_farewell_is_not_hung_up_on() {
        let mut scene = Scene::asked();
        scene.token(1, "Good night!");
        scene.call_tool(1, "hang_up");
        scene.mind(1, MindEvent::Done);
        scene.on_air(1);
        scene.start("Wait");
        assert_eq!(scene.cut(1, 100), [cancel_speech(1), record(1, "Hi?", "", true)]);
        assert!(asked(&scene.end("Wait, one more thing.")).is_some());
    }

    #[test]
    fn a_tool_that_is_not_there_is_refused_and_the_model_goes_on() {
        let mut scene = Scene::asked();
        scene.token(1, "Let me see. ");
        scene.call_tool(1, "weather");
        let outputs = scene.mind(1, MindEvent::Done);
        let messages = asked(&outputs).expect("it is asked again");
        assert_eq!(messages[..3], [system(), caller("Hi?"), agent("Let me see.")]);
        assert!(matches!(&messages[3], Message::ToolCall { id, name, .. } if id == "c1" && name == "weather"));
        assert!(matches!(&messages[4], Message::ToolResult { id, content } if id == "c1" && content.contains("error")));
        assert_eq!(scene.token(1, "I can't say."), []);
        assert_eq!(scene.mind(1, MindEvent::Done), [speak(1, 1, "I can't say. ", true)]);
    }

    #[test]
    fn a_model_that_calls_missing_tools_for_ever_is_stopped() {
        let mut scene = Scene::asked();
        for _ in 1..ROUNDS_MAX {
            scene.call_tool(1, "weather");
            assert!(asked(&scene.mind(1, MindEvent::Done)).is_some());
        }
        scene.call_tool(1, "weather");
        assert_eq!(scene.mind(1, MindEvent::Done), [play(1, Phrase::Apology)]);
    }

    #[test]
    fn a_model_that_talks_without_end_is_stopped() {
        let mut scene = Scene::asked();
        let mut outputs = Vec::new();
        for number in 0..2000 {
            outputs.extend(scene.token(1, &format!("This is sentence number {number}. ")));
        }
        assert_eq!(outputs[outputs.len() - 2..], [cancel_ask(1), speak(1, outputs.len() as u16 - 2, "", true)]);
        assert!(outputs.len() < 200, "{}", outputs.len());

        let mut scene = Scene::asked();
        let outputs = scene.token(1, &"This is a sentence. ".repeat(100_000));
        assert!(outputs.contains(&cancel_ask(1)) && outputs.len() < 200, "nor is one long token");
    }
}
