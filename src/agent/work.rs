//! Tools under way: begun once the words before them were heard, and told to the model when they are done.
//!
//! ```text
//! "Let me see." + find_order ─▶ asked at once, while the words are spoken ─┐
//! (nothing said) + find_order ─▶ after 700 ms a filler is said ────────────┼─▶ all done: the model is asked again
//! "One moment." + transfer   ─▶ begun when the words were heard ───────────┘
//! ```
//!
//! A caller who interrupts cancels what has not begun. What has begun cannot be called back: it goes on, and the model learns of
//! it, so that nothing is booked twice.

use super::clauses::Clauses;
use super::conversation::Message;
use super::phrases::clauses_of;
use super::reply::{FIRST_PACKET_MAX, ROUNDS_MAX, Then};
use super::tools::{Order, ToolUse, error};
use super::{Agent, Failure, FailureKind, MindEvent, Output, Phrase, Timer};
use crate::ids::TurnId;
use crate::time::Instant;
use serde_json::json;
use std::time::Duration;

/// How long a tool may take before the caller hears that something is being done: a pause longer than that sounds like a
/// dead line.
const FILLER_AFTER: Duration = Duration::from_millis(700);
/// The same after something was said: the caller knows, and waits.
const FILLER_AGAIN: Duration = Duration::from_secs(4);
/// The most fillers in one round: nobody is consoled by being told to wait for a third time.
const FILLERS_MAX: u32 = 2;
/// How long the caller's words put a filler off.
const FILLER_PUT_OFF: Duration = Duration::from_millis(500);
/// How long after its own limit a tool is given up here. Its thread keeps the limit; this catches what the thread does
/// not.
const SLACK: Duration = Duration::from_secs(3);
/// How long a transfer may take: longer than SIP waits for it (`sip/transfer.rs`).
const TRANSFER_MAX: Duration = Duration::from_secs(70);
/// How long the most keys of one order take, each 160 ms or with packets of 60 ms 240 ms.
const KEYS_TIME_MAX: Duration = Duration::from_secs(10);
/// The most events that are kept of a reply whose turn has not begun: the tokens of the longest reply.
const EARLY_MAX: usize = 2_000;

/// What the model reads of a tool whose result is still to come.
const UNDER_WAY: &str = r#"{"status":"under way; its result will follow, do not call it again"}"#;

/// The tools of a call that are not done.
#[derive(Debug, Default)]
pub(super) struct Work {
    jobs: Vec<Job>,
    last_number: u32,
    /// Requests for the reply that goes on with them.
    rounds: u32,
    fillers: u32,
    /// Whether there is a result of which the model has not heard, since another reply was under way.
    pub news: bool,
    early: Option<Early>,
}

/// A tool that the model called.
#[derive(Debug)]
struct Job {
    number: u32,
    /// The call's name in the conversation.
    id: String,
    order: Order,
    begun: bool,
}

/// What the model says to the results while the words before them are still being heard.
#[derive(Debug)]
struct Early {
    turn: TurnId,
    events: Vec<MindEvent>,
}

impl Work {
    /// Whether a result is waited for.
    pub fn is_pending(&self) -> bool {
        !self.jobs.is_empty()
    }

    fn job(&self, is_meant: impl Fn(&Order) -> bool) -> Option<&Job> {
        self.jobs.iter().find(|job| job.begun && is_meant(&job.order))
    }

    fn has(&self, is_meant: impl Fn(&Order) -> bool) -> bool {
        self.jobs.iter().any(|job| is_meant(&job.order))
    }
}

const fn is_transfer(order: &Order) -> bool {
    matches!(order, Order::Transfer { .. })
}

const fn is_dtmf(order: &Order) -> bool {
    matches!(order, Order::SendDtmf(_))
}

impl Agent {
    /// Takes the tools that the model has called, at least one of which does not hang up. `left`: the reply's clauses
    /// that are not spoken yet.
    pub(super) fn use_tools(&mut self, calls: Vec<ToolUse>, mut left: Vec<String>, now: Instant) {
        let read = self.read_uses(calls);
        // A transfer ends the call by itself, so that a wish to hang up beside it is left out.
        let transfers = read.iter().any(|(_, order)| order.as_ref().is_ok_and(is_transfer));
        if !transfers && read.iter().any(|(call, _)| call.hangs_up()) {
            for (_, order) in read {
                if let Ok(Order::Webhook { tool, arguments }) = order {
                    // The tool is run all the same; the call ends meanwhile, and nobody is told the result.
                    let job = self.next_job();
                    self.outputs.push_back(Output::RunTool { job, tool, arguments });
                }
            }
            return self.finish(&left, true, now);
        }
        for (_, order) in &read {
            if let Ok(Order::Transfer { announcement, .. }) = order {
                left.extend(clauses_of(announcement));
            }
        }
        let Some(reply) = self.reply.as_mut() else { return };
        if reply.rounds >= ROUNDS_MAX {
            left.iter().for_each(|clause| self.speak(clause, false));
            let text = "the language model calls tools without end".into();
            return self.mind_failed(&Failure { kind: FailureKind::Garbage, text }, now);
        }
        reply.clauses = Clauses::default();
        let (turn, rounds) = (reply.turn.id, reply.rounds);
        let speaks = !left.is_empty() || !reply.turn.speech.is_empty();
        let waits = read.iter().any(|(_, order)| matches!(order, Ok(order) if *order != Order::HangUp));
        if waits {
            reply.then = Then::UseTools;
            (self.work.rounds, self.work.fillers) = (rounds, 0);
        }
        self.note_uses(turn, read, waits && speaks);
        if !waits {
            left.iter().for_each(|clause| self.speak(clause, false));
            return self.ask();
        }
        if speaks {
            self.speak_last(&left);
            self.begin_jobs(|order| matches!(order, Order::Webhook { .. }), now);
        } else {
            self.timers.clear(Timer::Reply);
            self.begin_jobs(|_| true, now);
            self.timers.set(Timer::Filler, now + FILLER_AFTER);
        }
    }

    /// Returns what each call orders, or what the model is told where that cannot be: one transfer and one order of keys at a
    /// time.
    fn read_uses(&self, calls: Vec<ToolUse>) -> Vec<(ToolUse, Result<Order, String>)> {
        let mut read: Vec<(ToolUse, Result<Order, String>)> = Vec::new();
        for call in calls {
            let order = self.toolbox.read(&call).and_then(|order| {
                let is_second = |is_meant: fn(&Order) -> bool| {
                    is_meant(&order)
                        && (self.work.has(is_meant) || read.iter().any(|(_, other)| other.as_ref().is_ok_and(is_meant)))
                };
                if is_second(is_transfer) {
                    Err(error("a transfer is under way already"))
                } else if is_second(is_dtmf) {
                    Err(error("keys are being pressed already; call this again when they are"))
                } else {
                    Ok(order)
                }
            });
            read.push((call, order));
        }
        read
    }

    /// Notes the calls in the conversation, and as jobs what they order; `after_words`: behind the words of the reply, which are
    /// still being heard.
    fn note_uses(&mut self, turn: TurnId, read: Vec<(ToolUse, Result<Order, String>)>, after_words: bool) {
        for (call, order) in read {
            let number = self.next_job();
            // Some servers name the first call of every reply alike.
            let id = if self.conversation.has_tool(&call.id) { format!("{}-{number}", call.id) } else { call.id };
            let told = order.as_ref().err().map_or(UNDER_WAY, String::as_str);
            self.conversation.tool(turn, [&id, &call.name, &call.arguments], told);
            if after_words {
                self.conversation.tool_to_end(&id);
            }
            if let Ok(order) = order
                && order != Order::HangUp
            {
                self.work.jobs.push(Job { number, id, order, begun: false });
            }
        }
    }

    fn next_job(&mut self) -> u32 {
        self.work.last_number += 1;
        self.work.last_number
    }

    /// Begins the jobs that have not begun, as far as they are `ready`.
    fn begin_jobs(&mut self, ready: impl Fn(&Order) -> bool, now: Instant) {
        let mut longest = None;
        for job in self.work.jobs.iter_mut().filter(|job| !job.begun && ready(&job.order)) {
            job.begun = true;
            let (output, limit) = match &job.order {
                Order::HangUp => continue,
                Order::Transfer { to, .. } => (Output::Transfer { to: to.clone() }, TRANSFER_MAX),
                Order::SendDtmf(digits) => (Output::SendDtmf { digits: digits.clone() }, KEYS_TIME_MAX),
                Order::Webhook { tool, arguments } => {
                    let limit = self.settings.tools.get(*tool).map_or(Duration::ZERO, |tool| tool.timeout);
                    (Output::RunTool { job: job.number, tool: *tool, arguments: arguments.clone() }, limit)
                }
            };
            self.outputs.push_back(output);
            longest = longest.max(Some(limit));
        }
        if let Some(longest) = longest {
            self.timers.set(Timer::Tools, now + longest + SLACK);
        }
    }

    /// A tool is done, with `result` for the model.
    pub(super) fn tool_done(&mut self, number: u32, result: &str, now: Instant) {
        let Some(at) = self.work.jobs.iter().position(|job| job.number == number && job.begun) else { return };
        let job = self.work.jobs.remove(at);
        self.conversation.tool_result(&job.id, result);
        if !self.waits_silently() {
            self.conversation.tool_to_end(&job.id);
        }
        if !self.work.is_pending() {
            self.tools_done(now);
        }
    }

    /// How the transfer goes; where it succeeds, the call ends by itself.
    pub(super) fn transfer_progress(&mut self, status: u16, now: Instant) {
        let Some(number) = self.work.job(is_transfer).map(|job| job.number) else { return };
        match status {
            ..200 => {}
            200..300 => self.work.jobs.retain(|job| job.number != number),
            _ => self.tool_done(number, &error(&format!("the transfer failed: {}", why(status))), now),
        }
    }

    /// The keys are pressed.
    pub(super) fn pressed(&mut self, now: Instant) {
        let Some(job) = self.work.job(is_dtmf) else { return };
        let (number, result) = match &job.order {
            Order::SendDtmf(digits) => (job.number, json!({ "pressed": digits }).to_string()),
            _ => return,
        };
        self.tool_done(number, &result, now);
    }

    /// No more results come of what has begun.
    pub(super) fn tools_stalled(&mut self, now: Instant) {
        let late: Vec<u32> = self.work.jobs.iter().filter(|job| job.begun).map(|job| job.number).collect();
        for number in late {
            self.tool_done(number, &error("nothing came back in time"), now);
        }
    }

    /// Whether the reply under way says nothing until its tools are done.
    fn waits_silently(&self) -> bool {
        let silent =
            |reply: &&super::reply::Reply| reply.turn.speech.is_empty() && !reply.asking && reply.gate.is_none();
        self.reply.as_ref().filter(|reply| reply.then == Then::UseTools).is_some_and(|reply| silent(&reply))
    }

    /// All results are there: the model is asked to go on with them, at once where nobody is speaking.
    fn tools_done(&mut self, now: Instant) {
        self.timers.clear(Timer::Filler);
        self.timers.clear(Timer::Tools);
        if self.waits_silently() {
            self.timers.set(Timer::Reply, now + FIRST_PACKET_MAX);
            self.reply.iter_mut().for_each(|reply| reply.then = Then::Listen);
            return self.ask();
        }
        match self.reply.as_ref() {
            None if self.caller.has_turn() => {}
            None => self.go_on(now),
            Some(reply) if reply.then == Then::UseTools => {
                // The turn that goes on begins when this one was heard; the model need not wait for that.
                let turn = self.next_turn;
                let messages = reply.with_words_said(self.conversation.messages());
                self.work.early = Some(Early { turn, events: Vec::new() });
                self.ask_for(turn, self.work.rounds + 1, messages);
            }
            Some(_) => self.work.news = true,
        }
    }

    /// The words before the tools were heard, or cut.
    pub(super) fn after_words(&mut self, was_cut: bool, now: Instant) {
        if was_cut {
            self.cancel_jobs();
            self.drop_early();
            return self.listen(now);
        }
        self.begin_jobs(|_| true, now);
        if self.work.is_pending() {
            self.timers.set(Timer::Filler, now + FILLER_AGAIN);
        } else {
            self.go_on(now);
        }
    }

    /// Begins the turn that goes on with the results.
    pub(super) fn go_on(&mut self, now: Instant) {
        let (early, rounds) = (self.work.early.take(), self.work.rounds);
        self.begin(None, now);
        let Some(reply) = self.reply.as_mut() else { return };
        reply.rounds = rounds;
        let Some(early) = early.filter(|early| early.turn == reply.turn.id) else { return self.ask() };
        reply.rounds += 1;
        reply.asking = true;
        for event in early.events {
            self.mind(early.turn, event, now);
        }
    }

    /// Keeps what the model says for a turn that has not begun; returns whether it was that.
    pub(super) fn keep_early(&mut self, turn: TurnId, event: &MindEvent) -> bool {
        let Some(early) = self.work.early.as_mut().filter(|early| early.turn == turn) else { return false };
        if early.events.len() < EARLY_MAX {
            early.events.push(event.clone());
        }
        true
    }

    /// The turn that was to go on does not.
    pub(super) fn drop_early(&mut self) {
        if let Some(early) = self.work.early.take() {
            let is_over = |event: &MindEvent| matches!(event, MindEvent::Done | MindEvent::Failed(_));
            if !early.events.iter().any(is_over) {
                self.outputs.push_back(Output::CancelAsk { turn: early.turn });
            }
            self.next_turn = self.next_turn.max(early.turn.again());
        }
    }

    /// Cancels the jobs that have not begun.
    pub(super) fn cancel_jobs(&mut self) {
        let told = error("not done: the caller interrupted you before it could begin");
        for job in self.work.jobs.iter().filter(|job| !job.begun) {
            self.conversation.tool_result(&job.id, &told);
        }
        self.work.jobs.retain(|job| job.begun);
        if !self.work.is_pending() {
            self.timers.clear(Timer::Filler);
        }
    }

    /// A tool takes its time, and nothing is heard: the caller is told.
    pub(super) fn say_filler(&mut self, now: Instant) {
        let silent = self.waits_silently();
        // Once the tool's own words were said, those that bridge every wait take their turn.
        let most = if self.settings.fillers.is_empty() { FILLERS_MAX } else { 1 };
        if self.work.fillers >= most || !silent && self.reply.is_some() {
            return;
        }
        if self.caller.is_speaking() || self.dead_air.agent_speaks() {
            return self.timers.set(Timer::Filler, now + FILLER_PUT_OFF);
        }
        let filler = |job: &Job| match job.order {
            Order::Webhook { tool, .. } if job.begun => {
                let text = self.settings.tools.get(tool).map_or("", |tool| tool.filler.trim());
                u8::try_from(tool).ok().filter(|_| !text.is_empty())
            }
            _ => None,
        };
        let Some(tool) = self.work.jobs.iter().find_map(filler) else { return };
        self.work.fillers += 1;
        if !silent {
            self.begin(None, now);
        }
        // What the model reads is in the order in which it happened.
        for job in &self.work.jobs {
            self.conversation.tool_to_end(&job.id);
        }
        self.say(Phrase::ToolFiller(tool), Then::UseTools, now);
    }

    /// Asks the model for `turn`; in the last round it gets no tools, so that it has to speak.
    pub(super) fn ask_for(&mut self, turn: TurnId, round: u32, messages: Vec<Message>) {
        self.work.news = false;
        let tools = if round < ROUNDS_MAX { self.toolbox.offered() } else { Vec::new() };
        self.outputs.push_back(Output::Ask { turn, messages, tools });
    }
}

/// What a final status of a transfer means, for the model.
fn why(status: u16) -> String {
    let words = match status {
        486 | 600 => "the line is busy",
        404 | 410 | 484 | 604 => "there is nobody of that number",
        408 | 480 => "nobody answered",
        403 | 405 | 501 | 603 => "it was declined",
        487 => "it was given up",
        _ => "something went wrong",
    };
    format!("{words} (SIP {status})")
}

#[cfg(test)]
mod tests {
    use super::super::scene::*;
    use super::*;
    use crate::agent::{Input, VoiceEvent};
    use crate::config;

    /// An agent with two tools, two destinations and keys, that was asked "Hi?": turn 1.
    fn asked_with_tools() -> Scene {
        asked_with(&[])
    }

    fn asked_with(fillers: &[&str]) -> Scene {
        let mut scene = Scene::with(|settings| {
            settings.greeting.clear();
            settings.fillers = fillers.iter().map(|text| (*text).to_owned()).collect();
            settings.send_dtmf = true;
            let transfer = |name: &str| config::Transfer {
                name: name.into(),
                to: format!("sip:{name}@pbx.example"),
                description: String::new(),
            };
            settings.transfers = vec![transfer("sales"), transfer("support")];
            let tool = |name: &str, filler: &str| config::Tool {
                name: name.into(),
                description: "Looks something up.".into(),
                url: "https://crm.example/".into(),
                method: config::Method::Post,
                parameters: r#"{"type":"object","required":["n"]}"#.into(),
                timeout: Duration::from_secs(5),
                filler: filler.into(),
                headers: Vec::new(),
            };
            settings.tools = vec![tool("find", "Let me look that up."), tool("quiet", "")];
        });
        scene.all_ready();
        assert_eq!(scene.tell(Input::PhraseReady(Phrase::ToolFiller(0))), []);
        assert_eq!(scene.tell(Input::Answered), []);
        scene.end("Hi?");
        scene
    }

    impl Scene {
        fn call(&mut self, turn: u32, id: &str, name: &str, arguments: &str) {
            let event = MindEvent::ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() };
            assert_eq!(self.mind(turn, event), []);
        }

        fn done(&mut self, job: u32, result: &str) -> Vec<Output> {
            self.tell(Input::Tool { job, result: result.into() })
        }

        /// The words of `turn` are made and heard.
        fn heard(&mut self, turn: u32) -> Vec<Output> {
            self.voice(turn, VoiceEvent::Done { length: ms(1000) });
            self.on_air(turn);
            self.pass(1000);
            self.played(turn, 1000)
        }
    }

    fn run(job: u32, tool: usize) -> Output {
        Output::RunTool { job, tool, arguments: r#"{"n":1}"#.into() }
    }

    fn tool_call(id: &str, name: &str) -> Message {
        Message::ToolCall { id: id.into(), name: name.into(), arguments: r#"{"n":1}"#.into() }
    }

    fn result(id: &str, content: &str) -> Message {
        Message::ToolResult { id: id.into(), content: content.into() }
    }

    #[test]
    fn a_quick_tool_is_answered_in_the_same_turn_without_a_filler() {
        let mut scene = asked_with_tools();
        scene.call(1, "c1", "find", r#"{"n":1}"#);
        assert_eq!(scene.mind(1, MindEvent::Done), [run(1, 0)]);
        assert_eq!(scene.pass(699), []);
        let outputs = scene.done(1, r#"{"state":"sent"}"#);
        let expected = [system(), caller("Hi?"), tool_call("c1", "find"), result("c1", r#"{"state":"sent"}"#)];
        assert_eq!(asked(&outputs).as_deref(), Some(&expected[..]));
        assert_eq!(scene.token(1, "It was sent. "), [speak(1, 0, "It was sent. ", false)]);
        assert_eq!(scene.pass(2000), [], "nothing waits any more");
    }

    #[test]
    fn a_slow_tool_is_bridged_by_its_filler_and_the_model_is_asked_meanwhile() {
        let mut scene = asked_with_tools();
        scene.call(1, "c1", "find", r#"{"n":1}"#);
        scene.mind(1, MindEvent::Done);
        assert_eq!(scene.pass(700), [play(1, Phrase::ToolFiller(0))]);
        scene.on_air(1);
        let outputs = scene.done(1, "Sunny.");
        let said = "Let me look that up.";
        let expected = [system(), caller("Hi?"), agent(said), tool_call("c1", "find"), result("c1", "Sunny.")];
        assert_eq!(asked(&outputs).as_deref(), Some(&expected[..]));
        assert!(matches!(outputs[..], [Output::Ask { turn: TurnId(2), .. }]), "{outputs:?}");
        assert_eq!(scene.token(2, "It is sunny. "), [], "the filler is still heard");
        let outputs = scene.played(1, 1200);
        assert_eq!(outputs[..2], [record(1, "Hi?", said, false), floor(2)]);
        assert_eq!(outputs[3..], [speak(2, 0, "It is sunny. ", false)]);
        assert_eq!(scene.mind(2, MindEvent::Done), [speak(2, 1, "", true)]);
        scene.heard(2);
        let expected = [
            system(),
            caller("Hi?"),
            agent(said),
            tool_call("c1", "find"),
            result("c1", "Sunny."),
            agent("It is sunny."),
            caller("What?"),
        ];
        assert_eq!(scene.history(3), expected);
    }

    #[test]
    fn a_tool_that_takes_its_time_is_bridged_as_long_as_it_takes() {
        for (name, own) in [("find", true), ("quiet", false)] {
            let mut scene = asked_with(&["One moment.", "Let me think."]);
            scene.call(1, "c1", name, r#"{"n":1}"#);
            scene.mind(1, MindEvent::Done);
            if own {
                assert_eq!(scene.pass(700), [play(1, Phrase::ToolFiller(0))]);
                scene.tell(Input::AgentSpeech { speaking: true });
                scene.on_air(1);
                scene.pass(1000);
                scene.tell(Input::AgentSpeech { speaking: false });
                scene.played(1, 1000);
            }
            assert_eq!(scene.pass(900), []);
            for filler in [0, 1] {
                assert_eq!(
                    scene.pass(500),
                    [Output::Fill { turn: TurnId(1), phrase: Phrase::Filler(filler) }],
                    "{name}"
                );
                scene.tell(Input::AgentSpeech { speaking: true });
                scene.pass(200);
                scene.tell(Input::AgentSpeech { speaking: false });
                assert_eq!(scene.pass(900), []);
            }
        }
    }

    #[test]
    fn fillers_are_said_twice_at_most_and_a_tool_without_one_is_waited_for_in_silence() {
        let mut scene = asked_with_tools();
        scene.call(1, "c1", "find", r#"{"n":1}"#);
        scene.mind(1, MindEvent::Done);
        assert_eq!(scene.pass(700), [play(1, Phrase::ToolFiller(0))]);
        scene.on_air(1);
        assert_eq!(scene.played(1, 1000).len(), 1);
        let outputs = scene.pass(4000);
        assert_eq!(outputs.last(), Some(&play(2, Phrase::ToolFiller(0))));
        scene.on_air(2);
        scene.played(2, 1000);
        let outputs = scene.pass(4000);
        assert!(asked(&outputs).is_some_and(|messages| matches!(messages.last(), Some(Message::ToolResult { content, .. }) if content.contains("nothing came back"))), "{outputs:?}");

        let mut scene = asked_with_tools();
        scene.call(1, "c1", "quiet", r#"{"n":1}"#);
        assert_eq!(scene.mind(1, MindEvent::Done), [run(1, 1)]);
        assert_eq!(scene.pass(7_000), []);
        assert!(asked(&scene.done(1, "x")).is_some());
    }

    #[test]
    fn several_tools_run_side_by_side_and_are_told_together() {
        let mut scene = asked_with_tools();
        scene.call(1, "c1", "find", r#"{"n":1}"#);
        scene.call(1, "c2", "quiet", r#"{"n":1}"#);
        scene.call(1, "c3", "find", "{}");
        assert_eq!(scene.mind(1, MindEvent::Done), [run(1, 0), run(2, 1)], "the third lacks an argument");
        assert_eq!(scene.done(2, "two"), []);
        assert_eq!(scene.done(7, "nobody asked"), []);
        let messages = asked(&scene.done(1, "one")).expect("all are done");
        let of = |id: &str| messages.iter().position(|m| matches!(m, Message::ToolResult { id: of, .. } if of == id));
        assert_eq!(messages.len(), 8, "{messages:?}");
        assert_eq!(messages[of("c1").expect("there")], result("c1", "one"));
        assert_eq!(messages[of("c2").expect("there")], result("c2", "two"));
        let refused = &messages[of("c3").expect("there")];
        assert!(
            matches!(refused, Message::ToolResult { content, .. } if content.contains("`n` is missing")),
            "{refused:?}"
        );
    }

    #[test]
    fn rounds_have_an_end_and_the_last_one_has_no_tools() {
        let mut scene = asked_with_tools();
        for round in 1..ROUNDS_MAX {
            scene.call(1, "c1", "find", r#"{"n":1}"#);
            assert_eq!(scene.mind(1, MindEvent::Done), [run(round, 0)]);
            let outputs = scene.done(round, "x");
            let [Output::Ask { tools, messages, .. }] = &outputs[..] else { panic!("{outputs:?}") };
            assert_eq!(tools.is_empty(), round + 1 == ROUNDS_MAX, "round {round}");
            let ids: std::collections::BTreeSet<&str> = messages
                .iter()
                .filter_map(|m| if let Message::ToolCall { id, .. } = m { Some(id.as_str()) } else { None })
                .collect();
            assert_eq!(ids.len(), round as usize, "each call has a name of its own: {ids:?}");
        }
        scene.call(1, "c1", "find", r#"{"n":1}"#);
        assert_eq!(scene.mind(1, MindEvent::Done), [play(1, Phrase::Apology)]);
    }

    #[test]
    fn a_caller_who_goes_on_hears_of_the_result_after_the_answer() {
        let mut scene = asked_with_tools();
        scene.call(1, "c1", "find", r#"{"n":1}"#);
        scene.mind(1, MindEvent::Done);
        assert_eq!(scene.start("And"), [cancel_speech(1), record(1, "Hi?", "", true)]);
        let messages = asked(&scene.end("And quickly.")).expect("it is answered");
        assert_eq!(messages[3], result("c1", UNDER_WAY));
        scene.token(2, "Of course. ");
        scene.mind(2, MindEvent::Done);
        assert_eq!(scene.done(1, "Sunny."), [], "it speaks");
        let outputs = scene.heard(2);
        let messages = asked(&outputs).expect("the result is told unasked");
        assert_eq!(
            messages[1..],
            [caller("Hi? And quickly."), agent("Of course."), tool_call("c1", "find"), result("c1", "Sunny.")]
        );
    }

    #[test]
    fn a_result_that_comes_while_nobody_speaks_is_told_at_once() {
        let mut scene = asked_with_tools();
        scene.token(1, "Let me see. ");
        scene.call(1, "c1", "quiet", r#"{"n":1}"#);
        assert_eq!(
            scene.mind(1, MindEvent::Done),
            [speak(1, 1, "", true), run(1, 1)],
            "the words are whole: the voice does not wait"
        );
        assert_eq!(scene.heard(1), [record(1, "Hi?", "Let me see.", false)]);
        assert_eq!(scene.pass(5_000), [], "nobody is asked whether they are there");
        let outputs = scene.done(1, "Sunny.");
        assert_eq!(outputs[0], floor(2));
        let expected =
            [system(), caller("Hi?"), agent("Let me see."), tool_call("c1", "quiet"), result("c1", "Sunny.")];
        assert_eq!(asked(&outputs).as_deref(), Some(&expected[..]));
    }

    #[test]
    fn a_cut_filler_takes_the_early_answer_with_it() {
        let mut scene = asked_with_tools();
        scene.call(1, "c1", "find", r#"{"n":1}"#);
        scene.mind(1, MindEvent::Done);
        scene.pass(700);
        scene.on_air(1);
        scene.done(1, "Sunny.");
        scene.start("Wait");
        let outputs = scene.cut(1, 300);
        assert_eq!(outputs, [cancel_speech(1), record(1, "Hi?", "", true), cancel_ask(2)]);
        assert_eq!(scene.token(2, "It is sunny. "), []);
        let outputs = scene.end("Wait.");
        assert_eq!(outputs[0], floor(again(2)), "nobody has heard of the first attempt");
        assert!(asked(&outputs).is_some_and(|messages| messages.contains(&result("c1", "Sunny."))));
    }

    #[test]
    fn a_transfer_begins_once_its_announcement_was_heard() {
        let mut scene = asked_with_tools();
        scene.call(1, "c1", "transfer", r#"{"to":"sales","announcement":"One moment, please."}"#);
        assert_eq!(scene.mind(1, MindEvent::Done), [speak(1, 0, "One moment, please. ", true)]);
        let outputs = scene.heard(1);
        assert_eq!(outputs[1..], [Output::Transfer { to: "sip:sales@pbx.example".into() }]);
        assert_eq!(scene.tell(Input::Transfer { status: 100 }), []);
        assert_eq!(scene.tell(Input::Transfer { status: 180 }), []);
        assert_eq!(scene.pass(20_000), [], "it may ring");
        assert_eq!(scene.tell(Input::Transfer { status: 200 }), [], "the call ends by itself");
    }

    #[test]
    fn a_transfer_that_fails_is_told_to_the_model_which_goes_on_talking() {
        for (status, why) in
            [(486, "busy"), (408, "nobody answered"), (603, "declined"), (404, "nobody of that number")]
        {
            let mut scene = asked_with_tools();
            scene.token(1, "I'll put you through. ");
            scene.call(1, "c1", "transfer", r#"{"to":"sales"}"#);
            scene.mind(1, MindEvent::Done);
            scene.heard(1);
            let outputs = scene.tell(Input::Transfer { status });
            let messages = asked(&outputs).expect("it is asked");
            assert!(
                matches!(messages.last(), Some(Message::ToolResult { content, .. }) if content.contains(why)),
                "{messages:?}"
            );
            assert_eq!(scene.token(2, "I'm sorry. "), [speak(2, 0, "I'm sorry. ", false)]);
            assert_eq!(scene.tell(Input::Transfer { status }), [], "it is told once");
        }
    }

    #[test]
    fn a_caller_who_interrupts_the_announcement_is_not_transferred() {
        let mut scene = asked_with_tools();
        scene.token(1, "I'll put you through. ");
        scene.call(1, "c1", "transfer", r#"{"to":"sales"}"#);
        scene.mind(1, MindEvent::Done);
        scene.on_air(1);
        scene.start("No");
        scene.cut(1, 200);
        let messages = asked(&scene.end("No, wait.")).expect("it is answered");
        let told = messages
            .iter()
            .any(|m| matches!(m, Message::ToolResult { content, .. } if content.contains("interrupted")));
        assert!(told, "{messages:?}");
        assert_eq!(scene.tell(Input::Transfer { status: 486 }), []);
    }

    #[test]
    fn one_transfer_at_a_time_and_it_takes_the_place_of_hanging_up() {
        let mut scene = asked_with_tools();
        scene.call(1, "c1", "transfer", r#"{"to":"sales"}"#);
        scene.call(1, "c2", "transfer", r#"{"to":"support"}"#);
        scene.call(1, "c3", "hang_up", "{}");
        let to = "sip:sales@pbx.example".to_owned();
        assert_eq!(scene.mind(1, MindEvent::Done), [Output::Transfer { to }]);
        assert_eq!(scene.tell(Input::Transfer { status: 200 }), []);
    }

    #[test]
    fn keys_are_pressed_when_the_words_were_heard_and_the_model_goes_on_after_them() {
        let mut scene = asked_with_tools();
        scene.token(1, "One moment. ");
        scene.call(1, "c1", "send_dtmf", r#"{"digits":"12#"}"#);
        assert_eq!(scene.mind(1, MindEvent::Done), [speak(1, 1, "", true)]);
        assert_eq!(scene.heard(1)[1..], [Output::SendDtmf { digits: "12#".into() }]);
        let messages = asked(&scene.tell(Input::Pressed)).expect("it goes on");
        assert_eq!(messages.last(), Some(&result("c1", r#"{"pressed":"12#"}"#)));
        assert_eq!(scene.tell(Input::Pressed), []);
    }

    #[test]
    fn a_note_that_is_taken_with_the_farewell_is_taken_and_the_call_ends() {
        let mut scene = asked_with_tools();
        scene.token(1, "Goodbye! ");
        scene.call(1, "c1", "find", r#"{"n":1}"#);
        scene.call(1, "c2", "hang_up", "{}");
        assert_eq!(scene.mind(1, MindEvent::Done), [run(1, 0), speak(1, 1, "", true)]);
        assert_eq!(scene.heard(1).last(), Some(&hang_up("the agent said goodbye")));
    }

    #[test]
    fn no_tool_runs_for_a_draft_before_the_turn_has_ended() {
        let mut scene = asked_with_tools();
        scene.token(1, "Yes. ");
        scene.mind(1, MindEvent::Done);
        scene.heard(1);
        let eager = |text: &str| Input::Ears(crate::agent::EarsEvent::EagerEndOfTurn { transcript: text.into() });
        assert!(asked(&scene.tell(eager("And tomorrow?"))).is_some());
        scene.token(2, "Let me see. ");
        scene.call(2, "c1", "find", r#"{"n":1}"#);
        scene.call(2, "c2", "hang_up", "{}");
        assert_eq!(scene.mind(2, MindEvent::Done), []);
        assert_eq!(scene.pass(900), []);
        let outputs = scene.end("And tomorrow?");
        assert!(outputs.contains(&run(1, 0)), "{outputs:?}");
        // A draft that is thrown away leaves no trace of its tools.
        let mut scene = asked_with_tools();
        scene.token(1, "Yes. ");
        scene.mind(1, MindEvent::Done);
        scene.heard(1);
        scene.tell(eager("And tomorrow?"));
        scene.call(2, "c1", "find", r#"{"n":1}"#);
        scene.mind(2, MindEvent::Done);
        let outputs = scene.end("And tomorrow at nine?");
        assert!(!outputs.iter().any(|output| matches!(output, Output::RunTool { .. })), "{outputs:?}");
        assert_eq!(asked(&outputs).map(|messages| messages.len()), Some(4));
    }

    #[test]
    fn keys_of_the_caller_stop_the_wait_and_reach_the_model_with_what_is_under_way() {
        let mut scene = asked_with_tools();
        scene.call(1, "c1", "find", r#"{"n":1}"#);
        scene.mind(1, MindEvent::Done);
        assert_eq!(scene.tell(Input::Digit('4')), [cancel_speech(1), record(1, "Hi?", "", true)]);
        let messages = asked(&scene.tell(Input::Digit('#'))).expect("they are told");
        assert_eq!(messages.last(), Some(&caller("(pressed 4)")));
        assert!(messages.contains(&result("c1", UNDER_WAY)), "{messages:?}");
    }
}
