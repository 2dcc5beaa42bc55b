//! The line of minds: the next takes over whatever the first does wrong, late requests are asked twice, circuits open and close.

use super::standin::groq::{Fault, Plan, start};
use super::standin::{Refusal, Server, Wall};
use super::{PATIENCE, Session, assert_secret, endpoint, events, eventually};
use crossbeam_channel::{Receiver, Sender, bounded};
use offhook::agent::{Failure, FailureKind, Message, MindEvent};
use offhook::config::Endpoint;
use offhook::ids::{CallId, TurnId};
use offhook::metrics::health::HealthView;
use offhook::providers::groq::Chat;
use offhook::providers::line::minds::{Mind, Minds};
use offhook::providers::{Listener, MindCommand, MindIo, Request, Responder, Stamped, Stop, echo};
use offhook::time::Clock;
use std::sync::Arc;
use std::time::Duration;

const FIRST: &str = "Hello! What can I do for you?";
const SECOND: &str = "Good day, this is the other one.";

/// The patience of these tests, where another mind stands behind.
const FIRST_MAX: Duration = Duration::from_millis(300);

/// A call whose mind is a line of two stand-ins.
struct Line {
    session: Session,
    plans: [Arc<Plan>; 2],
    _servers: [Server; 2],
    minds: Arc<Minds>,
    clock: Arc<dyn Clock>,
    commands: Option<Sender<MindCommand>>,
    events: Receiver<Stamped<(TurnId, MindEvent)>>,
}

fn plan(reply: &str, faults: &[Fault]) -> Plan {
    let plan = Plan { first_token: Duration::from_millis(20), replies: vec![reply.into()], ..Plan::default() };
    faults.iter().cloned().for_each(|fault| plan.faults.push(fault));
    plan
}

impl Line {
    fn open(faults: [&[Fault]; 2]) -> Self {
        let build = |endpoints: [Endpoint; 2]| {
            let chats = endpoints.map(|endpoint| Mind::chat(Chat::groq(&endpoint)));
            Minds::new(chats.into()).with_first_max(FIRST_MAX)
        };
        Self::open_with([plan(FIRST, faults[0]), plan(SECOND, faults[1])], build)
    }

    fn open_with(plans: [Plan; 2], build: impl FnOnce([Endpoint; 2]) -> Minds) -> Self {
        let [one, two] = plans.map(start);
        let model = "openai/gpt-oss-20b";
        let minds = Arc::new(build([endpoint(&one.2, model), endpoint(&two.2, model)]));
        let clock: Arc<dyn Clock> = Wall::start();
        let (bell, listener) = Listener::new().expect("a listener");
        let (commands, receiver) = bounded(64);
        let (send, events) = events(&clock);
        let stop = Stop::default();
        let io = MindIo {
            call: CallId(1),
            clock: clock.clone(),
            commands: receiver,
            listener,
            events: send,
            stop: stop.clone(),
        };
        let runs = minds.clone();
        let session = Session::start(bell, stop, move || runs.run(io));
        let (plans, _servers) = ([one.1, two.1], [one.0, two.0]);
        Self { session, plans, _servers, minds, clock, commands: Some(commands), events }
    }

    /// Asks, and returns the reply's text and the event that ends it.
    fn reply(&self, turn: u32) -> (String, MindEvent) {
        let messages = vec![Message::System("Be brief.".into()), Message::Caller("Hello?".into())];
        let request = Request { turn: TurnId(turn), messages, tools: Vec::new() };
        self.commands.as_ref().expect("open").send(MindCommand::Ask(request)).expect("the session lives");
        self.session.wake();
        let mut text = String::new();
        let mut sent = 0;
        loop {
            let (of, event) = self.events.recv_timeout(PATIENCE).expect("an event").event;
            assert_secret(&format!("{event:?}"));
            assert_eq!(of, TurnId(turn), "{event:?}");
            match event {
                MindEvent::Sent => sent += 1,
                MindEvent::Token(token) => text.push_str(&token),
                MindEvent::Done | MindEvent::Failed(_) => {
                    assert_eq!(sent, 1, "the request is told to be written once");
                    return (text, event);
                }
                _ => {}
            }
        }
    }

    fn health(&self, place: usize) -> HealthView {
        let view = self.minds.health()[place].view(self.clock.now());
        assert_secret(&format!("{view:?}"));
        view
    }

    fn asked(&self, place: usize) -> usize {
        self.plans[place].seen.lock().bodies.len()
    }
}

fn refuse(status: u16, body: &str) -> Fault {
    Fault::Refuse(Refusal::new(status, body))
}

#[test]
fn whatever_the_first_does_wrong_before_its_first_word_the_next_replies() {
    let limited = Refusal::new(429, r#"{"error":{"message":"Rate limit","code":"rate_limit_exceeded"}}"#);
    for fault in [
        refuse(401, r#"{"error":{"message":"Invalid API Key","code":"invalid_api_key"}}"#),
        refuse(403, "<html>forbidden</html>"),
        refuse(404, r#"{"error":{"message":"no such model","code":"model_not_found"}}"#),
        refuse(400, r#"{"error":{"message":"no","type":"invalid_request_error"}}"#),
        refuse(413, "{}"),
        refuse(500, ""),
        refuse(503, &"<html><h1>Service Unavailable</h1></html>".repeat(100)),
        Fault::Refuse(limited.with_header("retry-after", "7")),
        Fault::HangUp,
        Fault::Stall,
        Fault::StallAfter(0),
        Fault::CutAfter(0),
        Fault::ErrorAfter(0),
        Fault::EndAfter(0),
        Fault::ReasonForEver,
        Fault::Raw(vec![b"\x00\xff\xfenonsense".to_vec(); 20]),
        Fault::Raw(vec![b"data: {\"choices\": 5}\n\ndata: [1,2\n\n".to_vec()]),
    ] {
        // A connection that was idle may have been closed, so that one hang-up is tried again at the same.
        let line = Line::open([&vec![fault.clone(); 4], &[]]);
        assert_eq!(line.reply(1), (SECOND.into(), MindEvent::Done), "{fault:?}");
        assert_eq!(line.health(1).counts.stood_in, 1, "{fault:?}");
    }
}

#[test]
fn a_server_that_is_not_there_is_passed_over() {
    for gone in ["http://127.0.0.1:1/v1", "https://no-such-host.invalid/v1"] {
        let build = |[one, two]: [Endpoint; 2]| {
            let chats =
                [Endpoint { base_url: gone.into(), ..one }, two].map(|endpoint| Mind::chat(Chat::groq(&endpoint)));
            Minds::new(chats.into()).with_first_max(FIRST_MAX)
        };
        let line = Line::open_with([plan(FIRST, &[]), plan(SECOND, &[])], build);
        assert_eq!(line.reply(1), (SECOND.into(), MindEvent::Done), "{gone}");
    }
}

#[test]
fn the_next_goes_on_where_the_first_broke_off() {
    for fault in [Fault::CutAfter(2), Fault::ErrorAfter(2), Fault::StallAfter(2), Fault::EndAfter(2)] {
        let line = Line::open_with([plan(FIRST, std::slice::from_ref(&fault)), plan("may I do?", &[])], |endpoints| {
            let patience = Duration::from_millis(300);
            let chats = endpoints.map(|endpoint| Mind::chat(Chat::groq(&endpoint).with_patience(patience, patience)));
            Minds::new(chats.into())
        });
        assert_eq!(line.reply(1), ("Hello! What may I do?".into(), MindEvent::Done), "{fault:?}");
        let body = line.plans[1].seen.lock().bodies[0].clone();
        assert_eq!(body["messages"][2]["content"], "Hello! What", "{fault:?}");
        assert_eq!((line.asked(0), line.asked(1)), (1, 1));
    }
}

#[test]
fn a_refused_key_is_not_shown_again_and_again() {
    let line = Line::open([&[refuse(401, r#"{"error":{"message":"Invalid API Key"}}"#)], &[]]);
    for turn in 1..4 {
        assert_eq!(line.reply(turn), (SECOND.into(), MindEvent::Done));
    }
    assert_eq!((line.asked(0), line.asked(1)), (1, 3));
    let health = line.health(0);
    assert_eq!((health.circuit.name(), health.counts.failed), ("open", 1));
    assert!(health.last_error.as_deref().is_some_and(|error| error.contains("401") && error.contains("GROQ_API_KEY")));
    assert_eq!(line.health(1).circuit.name(), "closed");
    assert!(line.health(1).first_p95.is_some());
}

#[test]
fn a_limit_is_kept_and_the_first_is_asked_again_once_it_is_over() {
    let limited = Refusal::new(429, "{}").with_header("retry-after", "0.4");
    let line = Line::open([&[Fault::Refuse(limited)], &[]]);
    assert_eq!(line.reply(1), (SECOND.into(), MindEvent::Done));
    assert_eq!(line.reply(2), (SECOND.into(), MindEvent::Done));
    assert_eq!(line.asked(0), 1);
    eventually("the end of the limit", || line.health(0).circuit.name() == "half_open");
    assert_eq!(line.reply(3), (FIRST.into(), MindEvent::Done));
    assert_eq!(line.health(0).circuit.name(), "closed");
}

#[test]
fn where_nobody_may_be_asked_somebody_is() {
    let refused = || refuse(401, "{}");
    let line = Line::open([&[refused()], &[refused()]]);
    assert!(matches!(line.reply(1).1, MindEvent::Failed(Failure { kind: FailureKind::Refused, .. })));
    // Both circuits are open; the key may be good again.
    assert_eq!(line.reply(2).1, MindEvent::Done);
}

#[test]
fn a_mind_of_another_kind_stands_at_the_end() {
    let refused = || refuse(401, "{}");
    let line = Line::open_with([plan(FIRST, &[refused()]), plan(SECOND, &[refused()])], |endpoints| {
        let chats = endpoints.map(|endpoint| Mind::chat(Chat::groq(&endpoint)));
        let (_, echo, _) = echo::agent();
        Minds::new(chats.into_iter().chain([Mind::other(Arc::new(echo))]).collect())
    });
    for turn in 1..4 {
        assert_eq!(line.reply(turn), ("Hello?".into(), MindEvent::Done));
    }
    assert_eq!(line.health(2).counts.asked, 3);
}

/// A line of one, whose late requests may all be asked twice.
fn hedged(faults: &[Fault], share: f64, tokens_left: u32) -> Line {
    let first = plan(FIRST, faults);
    *first.tokens_left.lock() = tokens_left;
    Line::open_with([first, plan(SECOND, &[])], |[endpoint, _]| {
        let patience = Duration::from_secs(5);
        Minds::new(vec![Mind::chat(Chat::groq(&endpoint).with_patience(patience, patience))]).with_hedges(share)
    })
}

#[test]
fn a_late_request_is_asked_twice_and_the_loser_is_cut() {
    for late in [Fault::Late(Duration::from_secs(30)), Fault::Stall, Fault::ReasonForEver] {
        let line = hedged(std::slice::from_ref(&late), 0.5, 7_900);
        assert_eq!(line.reply(1), (FIRST.into(), MindEvent::Done), "{late:?}");
        assert_eq!(line.asked(0), 2, "{late:?}");
        let counts = line.health(0).counts;
        assert_eq!((counts.hedges, counts.hedges_won, counts.failed), (1, 1, 0), "{late:?}");
        assert_eq!(line.reply(2), (FIRST.into(), MindEvent::Done), "{late:?}");
        assert_eq!(line.asked(0), 3, "a request in time is asked once");
    }
}

#[test]
fn the_first_may_still_win_and_its_double_is_dropped() {
    let line = hedged(&[Fault::Late(Duration::from_millis(800)), Fault::Stall], 0.5, 7_900);
    assert_eq!(line.reply(1), (FIRST.into(), MindEvent::Done));
    let counts = line.health(0).counts;
    assert_eq!((counts.hedges, counts.hedges_won), (1, 0));
    eventually("the cut", || line.plans[0].seen.lock().cut == 1);
}

#[test]
fn nothing_is_asked_twice_beyond_the_share_or_while_the_limits_run_low() {
    let late = Fault::Late(Duration::from_millis(900));
    let line = hedged(std::slice::from_ref(&late), 0.0, 7_900);
    assert_eq!(line.reply(1), (FIRST.into(), MindEvent::Done));
    assert_eq!((line.asked(0), line.health(0).counts.hedges), (1, 0), "a share of nothing");
    let line = hedged(&[], 1.0, 400);
    assert_eq!(line.reply(1), (FIRST.into(), MindEvent::Done));
    line.plans[0].faults.push(late.clone());
    assert_eq!(line.reply(2), (FIRST.into(), MindEvent::Done));
    assert_eq!((line.asked(0), line.health(0).counts.hedges), (2, 0), "a twentieth of the tokens is left");
    let line = hedged(&[late.clone(), Fault::Late(Duration::from_secs(30)), late], 0.1, 7_900);
    assert_eq!(line.reply(1).1, MindEvent::Done);
    assert_eq!(line.reply(2).1, MindEvent::Done);
    assert_eq!(line.health(0).counts.hedges, 1, "the second one is beyond a tenth");
}

#[test]
fn a_late_request_is_asked_of_the_next_server_where_there_is_one() {
    let line = Line::open_with([plan(FIRST, &[Fault::Stall]), plan(SECOND, &[])], |endpoints| {
        Minds::new(endpoints.map(|endpoint| Mind::chat(Chat::groq(&endpoint))).into()).with_hedges(0.1)
    });
    assert_eq!(line.reply(1), (SECOND.into(), MindEvent::Done));
    assert_eq!((line.asked(0), line.asked(1)), (1, 1));
    assert_eq!(line.health(0).counts.hedges_won, 1);
    eventually("the cut", || line.plans[0].seen.lock().cut == 1);
}
