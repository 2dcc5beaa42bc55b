//! What the agent understands and says: the text side of a turn, as a pure machine.
//!
//! The caller's words come in by `caller.rs`, which decides when it is the agent's turn; `reply.rs` carries one turn from
//! the question to the last sample; `patience.rs` knows by the rules of [`ending`] how long a turn stays open;
//! `speculation.rs` begins it before the turn has ended; `phrases.rs` takes its place where something fails; `work.rs` carries
//! the tools that the model calls. What was heard is found by [`speech`] and kept by [`conversation`]; [`clauses`] and [`spoken`] make
//! text fit for a voice.

pub mod backchannel;
pub mod calendar;
mod caller;
pub mod clauses;
pub mod conversation;
mod dead_air;
pub mod ending;
pub mod events;
mod patience;
mod phrases;
mod reply;
#[cfg(test)]
mod scene;
pub mod schema;
mod speculation;
pub mod speech;
pub mod spoken;
pub mod timers;
pub mod tools;
pub mod wording;
mod work;

pub use backchannel::Verdict;
pub use conversation::Message;
pub use events::{Confidence, EarsEvent, Failure, FailureKind, MindEvent, SpeechMark, TimedWord, VoiceEvent};
pub use speculation::{Budget, Cause, DraftNews, Waste};
pub use timers::Timer;
pub use tools::Tool;

use crate::config;
use crate::ids::TurnId;
use crate::time::{Deadline, Instant};
use backchannel::Listener;
use caller::Caller;
use conversation::Conversation;
use dead_air::DeadAir;
use reply::{Reply, Then, Turn};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use timers::Timers;
use tools::Toolbox;
use work::Work;

/// A phrase that is rendered ahead and kept, so that it can be said without any provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Phrase {
    /// Said first.
    Greeting,
    /// Said to a silent caller.
    Reprompt,
    /// Said before hanging up on a silent caller or an endless call.
    Goodbye,
    /// Said when one reply could not be made.
    Apology,
    /// Said when nothing was recognised of what the caller said.
    NotHeard,
    /// Said before hanging up because a provider stays away.
    FarewellOnFailure,
    /// Bridges the wait for a reply: the one of that number in `agent.fillers`.
    Filler(u8),
    /// Said while the operator's tool of this number takes its time.
    ToolFiller(u8),
}

/// One thing that happened in the call, told to the agent.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub enum Input {
    /// The call is answered and media flows.
    Answered,
    /// The recogniser said something.
    Ears(EarsEvent),
    /// The model said something about `turn`'s request.
    Mind { turn: TurnId, event: MindEvent },
    /// The voice said something about `turn`'s speech.
    Voice { turn: TurnId, event: VoiceEvent },
    /// The caller's voice was heard to begin or to stop by the local detector.
    CallerSpeech { speaking: bool },
    /// The agent's own echo is heard, and no other voice with it; or that is over.
    OwnEcho { heard: bool },
    /// Packets with agent speech leave, or do not any more.
    AgentSpeech { speaking: bool },
    /// The first packet with speech of `turn` is on the wire.
    FirstPacket { turn: TurnId },
    /// All speech of `turn` was played: `heard` in all.
    Played { turn: TurnId, heard: Duration },
    /// The caller took the floor: `turn`'s speech was cut after `heard`, and nothing more of it will leave.
    Cut { turn: TurnId, heard: Duration },
    /// The far end's reports say that at most `heard_max` of `turn`, which is over, can have been heard; or it never left.
    Arrived { turn: TurnId, heard_max: Duration },
    /// Nothing of `turn` has left for a while, after `heard` of it, though it is under way and not paused.
    Stalled { turn: TurnId, heard: Duration },
    /// A digit was pressed.
    Digit(char),
    /// The operator wants this said: as a turn of its own, in place of what is being said.
    Say(String),
    /// The caller holds, or is back: meanwhile nothing is played and nobody is there to answer.
    Held(bool),
    /// The tool that `job` runs is done, with `result` for the model: JSON or text.
    Tool { job: u32, result: String },
    /// How the transfer goes: the SIP status of the caller's telephone's call; a final 2xx ends this one by itself.
    Transfer { status: u16 },
    /// The keys that were to be pressed are.
    Pressed,
    /// A phrase is to be had; said once per phrase, before or while the call runs.
    PhraseReady(Phrase),
}

/// What the agent wants done.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Output {
    /// Ask the model for `turn`'s reply; again for the same turn once a tool has given its result.
    Ask { turn: TurnId, messages: Vec<Message>, tools: Vec<Tool> },
    /// The model's reply to `turn` is not wanted any more.
    CancelAsk { turn: TurnId },
    /// From here on only speech of `turn` may be played; what is queued of earlier turns is dropped, and an
    /// [`Input::Cut`] says how much of them was heard. `firm`: the caller cannot take the floor from it.
    Floor { turn: TurnId, firm: bool },
    /// Speak a clause; `text` is ready for a voice (no markdown, no emoji) and may be empty when `last`.
    Speak { turn: TurnId, clause: u16, text: String, last: bool },
    /// Play a kept phrase as the whole speech of `turn`.
    Play { turn: TurnId, phrase: Phrase },
    /// Play kept words while `turn`'s speech is waited for; they are no part of it, and give way to it. Where they are not rendered,
    /// any sound that says that somebody is there.
    Fill { turn: TurnId, phrase: Phrase },
    /// `turn` is over for the agent: nothing more of it is to be made, and nothing may leave. Where some of it had left
    /// already, an [`Input::Cut`] is still to say how much.
    CancelSpeech { turn: TurnId },
    /// What is known of a turn has changed: what the caller said, what was heard of the reply.
    Turn(TurnRecord),
    /// The caller's turn is over, whatever the recogniser thinks: it is to say so, with the words that it has.
    ForceEndTurn,
    /// The caller's turn, whose end the recogniser told before, was held open in case that more came, and is over with this.
    TurnEnded,
    /// The caller said this while the agent had the floor, and it is nothing to answer: a backchannel, or an echo.
    Aside { text: String, verdict: Verdict },
    /// What becomes of the draft of `turn`, which nobody may hear or read of before its `Floor`.
    Draft { turn: TurnId, news: DraftNews },
    /// Ask the operator's tool number `tool`; an [`Input::Tool`] says what came of it.
    RunTool { job: u32, tool: usize, arguments: String },
    /// Have the caller's telephone call this URI; an [`Input::Transfer`] says how that goes.
    Transfer { to: String },
    /// Press these keys (`0` to `9`, `*`, `#`, `A` to `D`); an [`Input::Pressed`] says that they are.
    SendDtmf { digits: String },
    /// Hang up, for this reason.
    HangUp { reason: String },
}

/// What is known of one turn.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TurnRecord {
    /// Which turn.
    pub turn: TurnId,
    /// What the caller said; empty for the greeting and for re-prompts.
    pub caller: String,
    /// What was heard of the agent's reply.
    pub agent: String,
    /// How many words that were.
    pub heard: WordSpan,
    /// Whether the caller cut the reply.
    pub interrupted: bool,
    /// Whether kept words bridged the wait for the reply.
    pub filler: bool,
}

/// How many words of a reply were heard: so many for certain, and so many at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WordSpan {
    /// Words that were heard whole.
    pub min: u32,
    /// Words of which anything can have been heard.
    pub max: u32,
}

/// How many turns are kept for late reports of what was heard; one is usual, and a report lags by milliseconds.
const PAST_MAX: usize = 4;

/// How long the greeting is waited for while it is rendered: after that a live voice would have been as quick.
const GREETING_WAIT: Duration = Duration::from_millis(500);

/// How far the call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Ringing,
    Talking,
    Ended,
}

/// The agent of one call.
#[derive(Debug)]
pub struct Agent {
    settings: config::Agent,
    stage: Stage,
    outputs: VecDeque<Output>,
    timers: Timers,
    conversation: Conversation,
    caller: Caller,
    dead_air: DeadAir,
    /// What the caller's words are while the agent speaks.
    listener: Listener,
    /// The reply that has the floor, or the draft behind the gate; without one the agent listens.
    reply: Option<Reply>,
    /// Whether a draft is worth it.
    budget: Budget,
    toolbox: Toolbox,
    work: Work,
    /// The last turns that are over, oldest first.
    past: VecDeque<Turn>,
    next_turn: TurnId,
    /// Phrases that are to be had.
    ready: BTreeSet<Phrase>,
    mind_failures: u32,
    voice_failures: u32,
    /// Whether the caller holds.
    held: bool,
    /// Why the recogniser was lost before the call was answered.
    deaf: Option<Failure>,
}

impl Agent {
    /// Makes the agent of a call that is not answered yet.
    #[must_use]
    pub fn new(settings: &config::Agent) -> Self {
        Self {
            settings: settings.clone(),
            stage: Stage::Ringing,
            outputs: VecDeque::new(),
            timers: Timers::default(),
            conversation: Conversation::new(&settings.prompt),
            caller: Caller::default(),
            dead_air: DeadAir::new(settings),
            listener: Listener::new(settings),
            reply: None,
            budget: Budget::new(settings),
            toolbox: Toolbox::new(settings),
            work: Work::default(),
            past: VecDeque::new(),
            next_turn: TurnId::GREETING,
            ready: BTreeSet::new(),
            mind_failures: 0,
            voice_failures: 0,
            held: false,
            deaf: None,
        }
    }

    /// Takes one input. Afterwards drain [`Self::poll_output`] to `None` before the next input.
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        match (self.stage, input) {
            (Stage::Ended, _) => {}
            (_, Input::PhraseReady(phrase)) => self.phrase_ready(phrase, now),
            (_, Input::Held(held)) => self.hold(held, now),
            (Stage::Ringing, Input::Answered) => self.answered(now),
            (Stage::Ringing, Input::Ears(EarsEvent::Failed(failure))) => self.deaf = Some(failure),
            // Nothing else happens before the answer, and a call is answered once.
            (Stage::Ringing, _) | (Stage::Talking, Input::Answered) => {}
            (Stage::Talking, Input::Ears(event)) => self.ears(event, now),
            (Stage::Talking, Input::CallerSpeech { speaking }) => self.caller_speech(speaking, now),
            (Stage::Talking, Input::OwnEcho { heard }) => self.listener.own_echo(heard, now),
            (Stage::Talking, Input::Digit(digit)) => self.digit(digit, now),
            (Stage::Talking, Input::Say(text)) => self.say_for_operator(&text, now),
            (Stage::Talking, Input::Mind { turn, event }) => self.mind(turn, event, now),
            (Stage::Talking, Input::Voice { turn, event }) => self.voice(turn, event, now),
            (Stage::Talking, Input::AgentSpeech { speaking }) => self.dead_air.agent_speech(speaking, now),
            (Stage::Talking, Input::FirstPacket { turn }) => self.first_packet(turn, now),
            (Stage::Talking, Input::Played { turn, heard }) => self.played(turn, heard, now),
            (Stage::Talking, Input::Cut { turn, heard }) => self.cut(turn, heard, now),
            (Stage::Talking, Input::Tool { job, result }) => self.tool_done(job, &result, now),
            (Stage::Talking, Input::Transfer { status }) => self.transfer_progress(status, now),
            (Stage::Talking, Input::Pressed) => self.pressed(now),
            (Stage::Talking, Input::Arrived { turn, heard_max }) => self.arrived(turn, heard_max),
            (Stage::Talking, Input::Stalled { turn, heard }) => self.stalled(turn, heard, now),
        }
        self.watch_dead_air(now);
    }

    /// Takes the passage of time. Early, late or repeated calls are safe and change nothing that is not due.
    pub fn handle_timeout(&mut self, now: Instant) {
        // Each timer at most once a call: whatever a setting of zero does, it does not loop.
        for _ in Timer::ALL {
            let Some(due) = self.poll_timeout().filter(|due| due.at <= now) else { return };
            self.timers.clear(due.timer);
            match due.timer {
                Timer::Greeting => self.say_greeting(now),
                Timer::Clause => self.hurry_clause(now),
                Timer::Reply => self.reply_stalled(now),
                Timer::Digits => self.digits_whole(now),
                Timer::Ending => self.ending(now),
                Timer::CallerTurn => self.turn_stuck(now),
                Timer::DeadAir => self.bridge(now),
                Timer::Silence => self.silence(now),
                Timer::Filler => self.say_filler(now),
                Timer::Tools => self.tools_stalled(now),
                Timer::CallMax => self.call_max(now),
            }
            self.watch_dead_air(now);
        }
    }

    /// Returns the next thing to be done, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when `handle_timeout` is due, and which timer wants it.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline<Timer>> {
        self.timers.next_of(|timer| !self.is_suspended(timer))
    }

    fn answered(&mut self, now: Instant) {
        self.stage = Stage::Talking;
        self.dead_air.stirred(now);
        self.timers.set(Timer::CallMax, now + self.settings.call_max);
        if let Some(failure) = self.deaf.take() {
            self.ears_failed(&failure, now);
        } else if self.settings.greeting.trim().is_empty() {
            self.next_turn = TurnId::GREETING.next();
            self.listen(now);
        } else {
            self.begin_reply(None, !self.settings.interruptible_greeting, now);
            if self.ready.contains(&Phrase::Greeting) {
                self.say(Phrase::Greeting, Then::Listen, now);
            } else {
                self.timers.set(Timer::Greeting, now + GREETING_WAIT);
            }
        }
    }

    /// The caller holds or is back. What was waited for is waited for anew: a reply is played on from where it stopped.
    fn hold(&mut self, held: bool, now: Instant) {
        if std::mem::replace(&mut self.held, held) && !held {
            self.dead_air.stirred(now);
            if self.timers.runs(Timer::Silence) {
                self.timers.set(Timer::Silence, now + self.settings.reprompt_after);
            }
            if self.timers.runs(Timer::Reply) {
                self.timers.set(Timer::Reply, now + reply::FIRST_PACKET_MAX);
                self.progress(now);
            }
        }
    }

    /// Whether a timer waits for the end of a hold. A farewell does not: the call ends, held or not.
    fn is_suspended(&self, timer: Timer) -> bool {
        let waits = match timer {
            Timer::Silence | Timer::Ending | Timer::Filler => true,
            Timer::Reply => self.reply.as_ref().is_some_and(|reply| !matches!(reply.then, Then::HangUp { .. })),
            _ => false,
        };
        self.held && waits
    }

    fn phrase_ready(&mut self, phrase: Phrase, now: Instant) {
        self.ready.insert(phrase);
        if phrase == Phrase::Greeting && self.timers.runs(Timer::Greeting) {
            self.timers.clear(Timer::Greeting);
            self.say_greeting(now);
        }
    }

    fn say_greeting(&mut self, now: Instant) {
        self.say(Phrase::Greeting, Then::Listen, now);
    }

    /// Ends the call at its longest time, whatever is being said.
    fn call_max(&mut self, now: Instant) {
        self.throw_away(Waste::Changed);
        let reason = "the call reached its longest time";
        match self.reply.as_mut().map(|reply| &mut reply.then) {
            Some(Then::HangUp { even_if_cut, .. }) => *even_if_cut = true,
            _ => self.say_and_hang_up(Phrase::Goodbye, reason, true, now),
        }
    }

    /// Gives the floor to a turn of the agent, in answer to `caller` or of its own accord.
    fn begin(&mut self, caller: Option<&str>, now: Instant) {
        self.begin_reply(caller, false, now);
    }

    /// The same; `firm`: the caller cannot take the floor from it.
    fn begin_reply(&mut self, caller: Option<&str>, firm: bool, now: Instant) {
        self.withdraw(caller.is_some());
        let id = self.next_turn;
        self.next_turn = id.next();
        self.timers.clear(Timer::Silence);
        if let Some(text) = caller {
            self.conversation.caller(text);
        }
        self.conversation.agent(id);
        let mut reply = Reply::new(id, caller.unwrap_or_default());
        reply.firm = firm;
        self.dead_air.granted = Some(id);
        self.outputs.push_back(Output::Floor { turn: id, firm });
        self.outputs.push_back(Output::Turn(reply.turn.record()));
        self.reply = Some(reply);
        self.timers.set(Timer::Reply, now + reply::FIRST_PACKET_MAX);
    }

    /// Takes the floor back from the reply that has it, if any.
    fn withdraw(&mut self, by_caller: bool) {
        self.throw_away(Waste::Changed);
        self.drop_early();
        if let Some(reply) = self.reply.take() {
            if reply.then == Then::UseTools {
                self.cancel_jobs();
            }
            self.cancel(&reply);
            self.close(Turn { interrupted: by_caller, ..reply.turn });
        }
    }

    /// Stops what is still being made of `reply`.
    fn cancel(&mut self, reply: &Reply) {
        let turn = reply.turn.id;
        self.dead_air.granted.take_if(|granted| *granted == turn);
        if reply.asking {
            self.outputs.push_back(Output::CancelAsk { turn });
        }
        self.outputs.push_back(Output::CancelSpeech { turn });
    }

    /// Keeps what is known of a turn that is over.
    fn close(&mut self, turn: Turn) {
        for timer in [Timer::Greeting, Timer::Clause, Timer::Reply] {
            self.timers.clear(timer);
        }
        self.conversation.heard(turn.id, turn.heard_text(), turn.is_cut());
        self.outputs.push_back(Output::Turn(turn.record()));
        self.past.push_back(turn);
        if self.past.len() > PAST_MAX {
            self.past.pop_front();
        }
    }

    /// Takes a late report about a turn that is over.
    fn amend(&mut self, id: TurnId, report: impl FnOnce(&mut Turn)) {
        let Some(turn) = self.past.iter_mut().find(|turn| turn.id == id) else { return };
        let before = turn.record();
        report(turn);
        let after = turn.record();
        if after != before {
            self.conversation.heard(id, turn.heard_text(), turn.is_cut());
            self.outputs.push_back(Output::Turn(after));
        }
    }

    /// Listens to the caller, for as long as silence is bearable.
    fn listen(&mut self, now: Instant) {
        self.watch_ending(now);
        if self.reply.is_none() && !self.caller.has_turn() && !self.work.is_pending() {
            self.timers.set(Timer::Silence, now + self.settings.reprompt_after);
        }
    }

    /// Does what is to follow when a reply has ended.
    fn after(&mut self, then: Then, was_cut: bool, now: Instant) {
        match then {
            Then::HangUp { reason, even_if_cut } if even_if_cut || !was_cut => self.hang_up(reason),
            Then::UseTools => self.after_words(was_cut, now),
            Then::Listen if self.work.news && !was_cut && !self.caller.has_turn() => self.go_on(now),
            // What was said to a reply that nothing could stop.
            Then::Listen if self.caller.has_waited() && !self.caller.has_turn() => self.conclude("", now),
            // A caller who speaks into the farewell wants to go on.
            Then::HangUp { .. } | Then::Listen => self.listen(now),
        }
    }

    fn hang_up(&mut self, reason: String) {
        self.throw_away(Waste::Changed);
        if let Some(reply) = self.reply.take() {
            self.cancel(&reply);
        }
        self.outputs.push_back(Output::HangUp { reason });
        self.stage = Stage::Ended;
        self.timers = Timers::default();
    }
}

#[cfg(test)]
mod tests {
    use super::scene::*;
    use super::*;

    #[test]
    fn a_greeting_that_is_ready_is_played_with_the_answer() {
        let mut scene = Scene::ringing();
        scene.all_ready();
        assert_eq!(
            scene.tell(Input::Answered),
            [floor(0), record(0, "", "", false), play(0, Phrase::Greeting)],
            "nothing is waited for"
        );
        scene.on_air(0);
        assert_eq!(scene.played(0, 1500), [record(0, "", "Hello, this is Offhook.", false)]);
        assert_eq!(scene.history(1), [system(), agent("Hello, this is Offhook."), caller("What?")]);
    }

    #[test]
    fn a_greeting_that_is_late_is_waited_for_and_then_spoken_live() {
        let mut scene = Scene::ringing();
        assert_eq!(scene.tell(Input::Answered), [floor(0), record(0, "", "", false)]);
        scene.pass(300);
        assert_eq!(scene.tell(Input::PhraseReady(Phrase::Greeting)), [play(0, Phrase::Greeting)]);

        let mut scene = Scene::ringing();
        scene.tell(Input::Answered);
        assert_eq!(scene.pass(499), []);
        assert_eq!(scene.pass(1), [speak(0, 0, "Hello, this is Offhook. ", true)]);
        assert_eq!(scene.tell(Input::PhraseReady(Phrase::Greeting)), [], "it is said once");
    }

    #[test]
    fn a_greeting_can_be_cut_and_is_remembered_as_far_as_heard() {
        let mut scene = Scene::ringing();
        scene.all_ready();
        scene.tell(Input::Answered);
        scene.voice(0, VoiceEvent::Spoken { text: "Hello, this is Offhook.".into(), end: ms(2000) });
        scene.on_air(0);
        assert_eq!(scene.start("Hi"), [], "the floor cuts what is heard, and says how much was");
        assert_eq!(scene.cut(0, 1200), [cancel_speech(0), record(0, "", "Hello, this", true)]);
        assert_eq!(scene.history(1), [system(), agent("Hello, this…"), caller("What?")]);
    }

    #[test]
    fn a_caller_who_holds_is_not_asked_whether_they_are_there() {
        let mut scene = Scene::listening();
        scene.all_ready();
        assert_eq!(scene.tell(Input::Held(true)), []);
        assert_eq!(scene.pass(300_000), []);
        assert_eq!(scene.tell(Input::Held(false)), []);
        assert_eq!(scene.pass(11_999), [], "the silence begins with the end of the hold");
        assert!(scene.pass(1).contains(&play(1, Phrase::Reprompt)));
    }

    #[test]
    fn a_held_reply_is_not_given_up() {
        let mut scene = Scene::ringing();
        scene.all_ready();
        scene.tell(Input::Answered);
        scene.voice(0, VoiceEvent::Spoken { text: "Hello, this is Offhook.".into(), end: ms(2000) });
        scene.on_air(0);
        scene.tell(Input::Held(true));
        assert_eq!(scene.pass(300_000), []);
        scene.tell(Input::Held(false));
        assert_eq!(scene.played(0, 2000), [record(0, "", "Hello, this is Offhook.", false)]);
    }

    #[test]
    fn without_a_greeting_the_caller_speaks_first() {
        let mut scene = Scene::listening();
        let outputs = scene.end("Hi?");
        assert_eq!(outputs[..2], [floor(1), record(1, "Hi?", "", false)]);
        assert_eq!(asked(&outputs), Some(vec![system(), caller("Hi?")]));
    }

    #[test]
    fn a_caller_who_speaks_before_the_greeting_is_not_greeted() {
        let mut scene = Scene::ringing();
        scene.tell(Input::Answered);
        assert_eq!(scene.start("Hi"), [cancel_speech(0), record(0, "", "", true)]);
        assert_eq!(scene.pass(2000), []);
        let outputs = scene.end("Hi?");
        assert_eq!(outputs[0], floor(1));
        assert_eq!(asked(&outputs), Some(vec![system(), caller("Hi?")]));
    }

    #[test]
    fn the_longest_call_ends_with_a_goodbye() {
        let mut scene = Scene::answering();
        let rest = scene.agent.settings.call_max.as_millis() as u64;
        scene.pass(4000);
        scene.played(1, 2000);
        let mut outputs = Vec::new();
        // Somebody coughs every ten seconds, so that nobody is asked whether he is there.
        for _ in 0..rest / 10_000 {
            scene.tell(Input::CallerSpeech { speaking: true });
            outputs.extend(scene.pass(10_000));
        }
        assert_eq!(outputs, [floor(2), record(2, "", "", false), play(2, Phrase::Goodbye)]);
        scene.on_air(2);
        assert_eq!(
            scene.cut(2, 100),
            [cancel_speech(2), record(2, "", "", true), hang_up("the call reached its longest time")],
            "that the caller speaks does not prolong it"
        );
        assert_eq!(scene.agent.poll_timeout(), None);
        assert_eq!(scene.end("Wait!"), [], "it is over");
    }

    #[test]
    fn nothing_before_the_answer_makes_the_agent_speak() {
        let mut scene = Scene::ringing();
        assert_eq!(scene.start("Hi"), []);
        assert_eq!(scene.end("Hi"), []);
        assert_eq!(scene.tell(Input::Digit('5')), []);
        assert_eq!(scene.pass(100_000), []);
    }

    #[test]
    fn a_recogniser_lost_while_ringing_is_told_after_the_answer() {
        let mut scene = Scene::ringing();
        scene.all_ready();
        assert_eq!(scene.tell(Input::Ears(EarsEvent::Failed(failure(FailureKind::Refused)))), []);
        assert_eq!(
            scene.tell(Input::Answered),
            [floor(0), record(0, "", "", false), play(0, Phrase::FarewellOnFailure)]
        );
        scene.on_air(0);
        let outputs = scene.played(0, 900);
        assert_eq!(outputs[1], hang_up("the recogniser failed: it broke"));
    }
}
