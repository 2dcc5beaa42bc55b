//! Groq and other servers that complete chats, against their stand-in.

use super::standin::groq::{Fault, Personality, Plan, start};
use super::standin::{Refusal, Server, Wall};
use super::{PATIENCE, Session, assert_secret, endpoint, events, eventually};
use crossbeam_channel::{Receiver, Sender, bounded};
use offhook::agent::{Failure, FailureKind, Message, MindEvent, Tool};
use offhook::config::Endpoint;
use offhook::ids::{CallId, TurnId};
use offhook::providers::groq::Chat;
use offhook::providers::{Listener, MindCommand, MindIo, Request, Responder, Stamped, Stop};
use offhook::time::Clock;
use std::sync::Arc;
use std::time::Duration;

/// A session of the mind, and everything that is around it.
struct Mind {
    session: Session,
    plan: Arc<Plan>,
    _server: Server,
    commands: Option<Sender<MindCommand>>,
    events: Receiver<Stamped<(TurnId, MindEvent)>>,
    heard: Vec<(TurnId, MindEvent)>,
}

/// A plan that is quick, with these faults.
fn quick(faults: &[Fault]) -> Plan {
    let plan = Plan { first_token: Duration::from_millis(30), ..Plan::default() };
    faults.iter().cloned().for_each(|fault| plan.faults.push(fault));
    plan
}

fn short_patience(chat: Chat) -> Chat {
    chat.with_patience(Duration::from_secs(1), Duration::from_secs(1))
}

impl Mind {
    fn open(faults: &[Fault]) -> Self {
        Self::open_with(quick(faults), |endpoint| short_patience(Chat::groq(endpoint)))
    }

    fn open_with(plan: Plan, chat: impl FnOnce(&Endpoint) -> Chat) -> Self {
        let (server, plan, url) = start(plan);
        let chat = chat(&endpoint(&url, "openai/gpt-oss-20b"));
        let clock: Arc<dyn Clock> = Wall::start();
        let (bell, listener) = Listener::new().expect("a listener");
        let (commands, receiver) = bounded(64);
        let (send, events) = events(&clock);
        let stop = Stop::default();
        let io = MindIo { call: CallId(1), clock, commands: receiver, listener, events: send, stop: stop.clone() };
        let session = Session::start(bell, stop, move || chat.run(io));
        Self { session, plan, _server: server, commands: Some(commands), events, heard: Vec::new() }
    }

    fn command(&self, command: MindCommand) {
        self.commands.as_ref().expect("open").send(command).expect("the session lives");
        self.session.wake();
    }

    fn ask(&self, turn: u32) {
        let parameters = r#"{"type":"object","properties":{}}"#.into();
        let tools = vec![Tool { name: "hang_up".into(), description: "Ends the call.".into(), parameters }];
        let messages = vec![Message::System("Be brief.".into()), Message::Caller("Hello?".into())];
        self.command(MindCommand::Ask(Request { turn: TurnId(turn), messages, tools }));
    }

    /// Waits for an event that ends a turn; returns the turn's text and that event.
    fn reply(&mut self, turn: u32) -> (String, MindEvent) {
        let mut text = String::new();
        loop {
            let (of, event) = self.events.recv_timeout(PATIENCE).expect("an event").event;
            self.heard.push((of, event.clone()));
            assert_eq!(of, TurnId(turn), "{event:?}");
            match event {
                MindEvent::Token(token) => text.push_str(&token),
                MindEvent::Done | MindEvent::Failed(_) => return (text, event),
                _ => {}
            }
        }
    }

    fn failure(&mut self, turn: u32) -> Failure {
        match self.reply(turn).1 {
            MindEvent::Failed(failure) => failure,
            event => panic!("{event:?}"),
        }
    }
}

impl Drop for Mind {
    fn drop(&mut self) {
        self.heard.iter().for_each(|event| assert_secret(&format!("{event:?}")));
    }
}

const HELLO: &str = "Hello! What can I do for you?";

#[test]
fn a_reply_comes_word_by_word_after_the_request_is_written() {
    let mut mind = Mind::open(&[]);
    mind.ask(1);
    assert_eq!(mind.reply(1), (HELLO.into(), MindEvent::Done));
    assert_eq!(mind.heard[0].1, MindEvent::Sent);
    assert_eq!(mind.heard.len(), 3 + HELLO.split(' ').count());
    let body = mind.plan.seen.lock().bodies[0].clone();
    assert_eq!(body["stream"], true);
    assert_eq!(body["reasoning_effort"], "low");
    assert_eq!(body["messages"][1]["content"], "Hello?");
    assert_eq!(body["tools"][0]["function"]["name"], "hang_up");
}

#[test]
fn the_warming_and_every_turn_are_served_by_one_connection_and_its_spare() {
    let mut mind = Mind::open(&[]);
    eventually("warming", || mind.plan.seen.lock().models == 1);
    for turn in 1..5 {
        // The end of a reply is told a moment before its connection is free.
        std::thread::park_timeout(Duration::from_millis(50));
        mind.ask(turn);
        mind.reply(turn);
    }
    let seen = mind.plan.seen.lock().clone();
    assert_eq!((seen.connections, seen.models, seen.bodies.len()), (2, 2, 4));
}

#[test]
fn what_takes_the_place_of_a_draft_goes_by_a_connection_that_is_open() {
    let mind = Mind::open(&[Fault::Stall, Fault::Stall]);
    eventually("warming", || mind.plan.seen.lock().models == 1);
    for turn in 1..4 {
        // Each request but the last is thrown away before its first word, together with its connection.
        let spares = mind.plan.seen.lock().models;
        std::thread::park_timeout(Duration::from_millis(50));
        mind.ask(turn);
        eventually("a spare connection", || mind.plan.seen.lock().models == spares + 1);
    }
    eventually("the reply", || mind.events.try_iter().any(|told| told.event == (TurnId(3), MindEvent::Done)));
    let seen = mind.plan.seen.lock().clone();
    assert_eq!(seen.on_connection, [0, 1, 2], "each goes by the spare of the one before");
}

#[test]
fn a_tool_call_is_passed_on() {
    let plan = Plan { replies: vec!["Goodbye! [hang_up]".into()], ..quick(&[]) };
    let mut mind = Mind::open_with(plan, Chat::groq);
    mind.ask(1);
    assert_eq!(mind.reply(1).0, "Goodbye! ");
    let call = MindEvent::ToolCall { id: "call_1".into(), name: "hang_up".into(), arguments: "{}".into() };
    assert!(mind.heard.contains(&(TurnId(1), call)));
}

#[test]
fn a_cancelled_reply_is_cut_at_the_server_and_the_next_turn_is_answered_at_once() {
    let plan = Plan { token_every: Duration::from_millis(50), replies: vec!["a ".repeat(1000)], ..quick(&[]) };
    let mind = Mind::open_with(plan, Chat::groq);
    mind.ask(1);
    let first = || mind.events.recv_timeout(PATIENCE).expect("an event").event;
    while !matches!(first(), (_, MindEvent::Token(_))) {}
    mind.command(MindCommand::Cancel(TurnId(1)));
    eventually("the cut", || mind.plan.seen.lock().cut == 1);
    while mind.events.try_recv().is_ok() {}
    mind.ask(2);
    let event = mind.events.recv_timeout(PATIENCE).expect("an event").event;
    assert_eq!(event, (TurnId(2), MindEvent::Sent));
}

#[test]
fn a_request_that_is_cancelled_before_any_answer_frees_the_session() {
    let mut mind = Mind::open(&[Fault::Stall, Fault::Stall, Fault::Stall]);
    for turn in 1..4 {
        mind.ask(turn);
        while mind.events.recv_timeout(PATIENCE).expect("an event").event != (TurnId(turn), MindEvent::Sent) {}
        mind.command(MindCommand::Cancel(TurnId(turn)));
        // Connections are served side by side: a request that came after this one might be the one that is stalled.
        eventually("the cut", || mind.plan.seen.lock().cut == turn as usize);
    }
    mind.ask(4);
    assert_eq!(mind.reply(4), (HELLO.into(), MindEvent::Done));
}

#[test]
fn a_reply_that_comes_in_one_piece_is_heard_however_its_type_is_written() {
    let body =
        r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"All at once."},"finish_reason":"stop"}]}"#;
    for kind in ["application/json", "Application/JSON; charset=utf-8"] {
        let whole = Refusal::new(200, body).with_header("content-type", kind);
        let mut mind = Mind::open(&[Fault::Refuse(whole)]);
        mind.ask(1);
        assert_eq!(mind.reply(1), ("All at once.".into(), MindEvent::Done), "{kind}");
    }
}

#[test]
fn bodies_that_never_end_hold_no_thread() {
    let mut mind = Mind::open(&[const { Fault::NeverEnd }; 8]);
    for turn in 1..9 {
        mind.ask(turn);
        assert_eq!(mind.reply(turn).1, MindEvent::Done);
        eventually("the cut", || mind.plan.seen.lock().cut == turn as usize);
    }
}

#[test]
fn a_wrong_key_is_told_and_not_shown() {
    let wrong = |endpoint: &Endpoint| {
        let key = offhook::config::Secret::new("wrong-key-987654");
        Chat::groq(&Endpoint { key, ..endpoint.clone() })
    };
    let mut mind = Mind::open_with(quick(&[]), wrong);
    mind.ask(1);
    let failure = mind.failure(1);
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.text.contains("GROQ_API_KEY") && failure.text.contains("<key>"), "{}", failure.text);
    assert!(!failure.text.contains("wrong-key"));
    assert_eq!(mind.plan.seen.lock().bodies.len(), 2, "a refusal is tried again once");
}

#[test]
fn failures_before_the_first_word_are_tried_again() {
    let html = "<html><body><h1>502 Bad Gateway</h1></body></html>".repeat(50);
    for fault in [
        Fault::Refuse(Refusal::new(503, &html)),
        Fault::Refuse(Refusal::new(429, "{}").with_header("retry-after", "0.2")),
        Fault::Refuse(Refusal::new(500, "").with_header("retry-after-ms", "10")),
        Fault::HangUp,
        Fault::CutAfter(0),
        Fault::ErrorAfter(0),
        Fault::Stall,
        Fault::StallAfter(0),
        Fault::ReasonForEver,
        Fault::Raw(vec![b"garbage\xff\n\n".to_vec()]),
        Fault::Raw(vec![b"data: {\"error\":\"overloaded\"}\n\n".to_vec()]),
    ] {
        let mut mind = Mind::open(std::slice::from_ref(&fault));
        mind.ask(1);
        assert_eq!(mind.reply(1), (HELLO.into(), MindEvent::Done), "{fault:?}");
        let sent = mind.heard.iter().filter(|(_, event)| *event == MindEvent::Sent).count();
        assert_eq!(sent, 1, "{fault:?}");
    }
}

#[test]
fn a_refusal_is_believed_when_it_is_told_twice() {
    for status in [401, 403, 404] {
        let refused = || Fault::Refuse(Refusal::new(status, "{}"));
        let mut mind = Mind::open(&[refused()]);
        mind.ask(1);
        assert_eq!(mind.reply(1), (HELLO.into(), MindEvent::Done), "{status}");
        let mut mind = Mind::open(&[refused(), refused(), refused()]);
        mind.ask(1);
        assert_eq!(mind.failure(1).kind, FailureKind::Refused, "{status}");
        assert_eq!(mind.plan.seen.lock().bodies.len(), 2, "{status}");
    }
}

#[test]
fn failures_that_stay_are_told() {
    let refusal = Refusal::new(503, "<html>down</html>");
    let mut mind = Mind::open(&vec![Fault::Refuse(refusal); 3]);
    mind.ask(1);
    let failure = mind.failure(1);
    assert_eq!(failure.kind, FailureKind::Dropped);
    assert!(failure.text.contains("503") && failure.text.contains("down"), "{}", failure.text);
    let mut mind = Mind::open(&[Fault::Stall, Fault::StallAfter(0)]);
    mind.ask(1);
    assert_eq!(mind.failure(1).kind, FailureKind::Stalled);
    // The session outlives the failure.
    mind.ask(2);
    assert_eq!(mind.reply(2).1, MindEvent::Done);
}

#[test]
fn a_limit_that_takes_long_is_told_and_not_waited_for() {
    let refusal = Refusal::new(429, r#"{"error":{"message":"Rate limit","code":"rate_limit_exceeded"}}"#)
        .with_header("retry-after", "7")
        .with_header("x-ratelimit-remaining-tokens", "12");
    let mut mind = Mind::open(&[Fault::Refuse(refusal)]);
    mind.ask(1);
    let failure = mind.failure(1);
    assert_eq!(failure.kind, FailureKind::RateLimited { retry_after: Some(Duration::from_secs(7)) });
    assert!(failure.text.contains("remaining-tokens 12"), "{}", failure.text);
}

#[test]
fn a_reply_that_broke_off_is_gone_on_with_and_nothing_is_said_twice() {
    for fault in [Fault::CutAfter(2), Fault::ErrorAfter(2), Fault::StallAfter(2), Fault::EndAfter(2)] {
        let mut mind = Mind::open(std::slice::from_ref(&fault));
        mind.ask(1);
        // The stand-in begins again from the first word, as some models do whatever they are told.
        assert_eq!(mind.reply(1), (HELLO.into(), MindEvent::Done), "{fault:?}");
        let bodies = mind.plan.seen.lock().bodies.clone();
        assert_eq!(bodies.len(), 2, "{fault:?}");
        let messages = bodies[1]["messages"].as_array().expect("messages").clone();
        assert_eq!(messages[2]["content"], "Hello! What", "{fault:?}");
        assert_eq!(messages[3]["role"], "user", "{fault:?}");
    }
}

#[test]
fn a_reply_that_breaks_off_again_and_again_ends() {
    let mut mind = Mind::open(&vec![Fault::CutAfter(2); 4]);
    mind.ask(1);
    let (text, end) = mind.reply(1);
    assert_eq!(text, "Hello! What ");
    assert!(matches!(end, MindEvent::Failed(Failure { kind: FailureKind::Dropped, .. })), "{end:?}");
    assert_eq!(mind.plan.seen.lock().bodies.len(), 3);
    // A sentence that is whole may stand.
    let mut mind = Mind::open(&vec![Fault::CutAfter(1); 4]);
    mind.ask(1);
    assert_eq!(mind.reply(1), ("Hello! ".into(), MindEvent::Done));
}

#[test]
fn a_connection_that_the_server_closed_while_it_was_idle_costs_nothing() {
    let plan = quick(&[]);
    plan.faults.push_none();
    (0..2).for_each(|_| plan.faults.push(Fault::HangUp));
    let mut mind = Mind::open_with(plan, |endpoint| short_patience(Chat::groq(endpoint)));
    eventually("warming", || mind.plan.seen.lock().models == 1);
    for turn in 1..3 {
        std::thread::park_timeout(Duration::from_millis(50));
        mind.ask(turn);
        assert_eq!(mind.reply(turn).1, MindEvent::Done, "turn {turn}");
    }
}

#[test]
fn a_conversation_that_is_too_long_for_the_model_is_asked_again_from_its_end() {
    for refusal in [
        Refusal::new(413, "{}"),
        Refusal::new(400, r#"{"error":{"message":"too big","code":"context_length_exceeded"}}"#),
        Refusal::new(
            400,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
        ),
    ] {
        let mut mind = Mind::open(&[Fault::Refuse(refusal.clone())]);
        let turns = (0..20).flat_map(|n| [Message::Caller(format!("q{n}")), Message::Agent(format!("a{n}"))]);
        let system = [Message::System("Be brief.".into())];
        let messages = system.into_iter().chain(turns).chain([Message::Caller("Hello?".into())]).collect();
        mind.command(MindCommand::Ask(Request { turn: TurnId(1), messages, tools: Vec::new() }));
        assert_eq!(mind.reply(1), (HELLO.into(), MindEvent::Done), "{refusal:?}");
        let bodies = mind.plan.seen.lock().bodies.clone();
        let sent = bodies[1]["messages"].as_array().expect("messages");
        assert_eq!((sent[0]["role"].as_str(), sent[1]["role"].as_str()), (Some("system"), Some("user")));
        assert_eq!(sent.last().expect("the question")["content"], "Hello?");
        assert!(sent.len() < 10, "{}", sent.len());
    }
}

#[test]
fn a_model_that_fails_at_tools_is_asked_without_them() {
    let refusal = Refusal::new(400, r#"{"error":{"message":"Failed to call a function.","code":"tool_use_failed"}}"#);
    let mut mind = Mind::open(&[Fault::Refuse(refusal)]);
    mind.ask(1);
    assert_eq!(mind.reply(1).1, MindEvent::Done);
    let bodies = mind.plan.seen.lock().bodies.clone();
    assert!(bodies[0].get("tools").is_some() && bodies[1].get("tools").is_none());
}

#[test]
fn streams_of_every_manner_are_understood() {
    let stop = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    let grusse = r#"data: {"choices":[{"delta":{"role":"assistant","content":"Grüße"}}]}"#.as_bytes();
    let split = grusse.iter().position(|byte| *byte == 0xc3).expect("ü") + 1;
    let ollama = vec![grusse[..split].to_vec(), grusse[split..].to_vec(), format!("\n\ndata: {stop}\n\n").into_bytes()];
    let crlf = format!(
        ": hi\r\nid: 1\r\nevent: message\r\ndata:{{\"choices\":[{{\"delta\":{{\"content\":\"Grüße\",\"reasoning_content\":\"x\"}}}}]}}\r\n\r\n\
         data: {stop}\r\n\r\ndata: [DONE]\r\n\r\n"
    );
    let think = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"content\":\"<thi\"}}}}]}}\n\n\
         data: {{\"choices\":[{{\"delta\":{{\"content\":\"nk>hm</think>\\n\\nGrüße\"}}}}]}}\n\ndata: {stop}\n\n"
    );
    for raw in [ollama, vec![crlf.into_bytes()], vec![think.into_bytes()]] {
        let openai = |endpoint: &Endpoint| short_patience(Chat::openai(endpoint));
        let mut mind = Mind::open_with(quick(&[Fault::Raw(raw.clone())]), openai);
        mind.ask(1);
        assert_eq!(mind.reply(1), ("Grüße".into(), MindEvent::Done), "{raw:?}");
        let body = mind.plan.seen.lock().bodies[0].clone();
        assert!(body.get("stream_options").is_none() && body["max_tokens"] == 400);
    }
}

#[test]
fn a_check_tells_what_is_wrong() {
    let (_server, plan, url) = start(quick(&[]));
    let good = endpoint(&url, "openai/gpt-oss-20b");
    assert_eq!(Chat::groq(&good).check(), Ok(()));
    let told = |endpoint: &Endpoint| {
        let text = Chat::groq(endpoint).check().expect_err("a failure").text;
        assert_secret(&text);
        text
    };
    let model = told(&Endpoint { model: "llama-9".into(), ..good.clone() });
    assert!(model.contains("llama-9") && model.contains("openai/gpt-oss-120b"), "{model}");
    let key = told(&Endpoint { key: offhook::config::Secret::new("not-it"), ..good.clone() });
    assert!(key.contains("401") && key.contains("GROQ_API_KEY"), "{key}");
    let gone = told(&Endpoint { base_url: "http://127.0.0.1:1/v1".into(), ..good.clone() });
    assert!(gone.contains("GROQ_BASE_URL"), "{gone}");
    let clear = told(&Endpoint { base_url: "http://api.groq.com/openai/v1".into(), ..good.clone() });
    assert!(clear.contains("https://"), "{clear}");
    let newline = told(&Endpoint { key: offhook::config::Secret::new("bad\nkey-with-break"), ..good });
    assert!(!newline.contains("key-with-break"), "{newline}");
    assert!(plan.seen.lock().models >= 2);
}

#[test]
fn what_is_left_of_the_limits_is_told_before_the_first_word() {
    let plan = quick(&[]);
    *plan.tokens_left.lock() = 400;
    let mut mind = Mind::open_with(plan, |endpoint| short_patience(Chat::groq(endpoint)));
    mind.ask(1);
    mind.reply(1);
    let told: Vec<_> = mind.heard.iter().map(|(_, event)| event).collect();
    assert_eq!(told[..2], [&MindEvent::Sent, &MindEvent::Allowance { left: 0.05 }]);
}

/// The servers of one's own.
const OTHERS: [Personality; 4] =
    [Personality::Ollama, Personality::OldOllama, Personality::LlamaCpp, Personality::Vllm];

#[test]
fn every_compatible_server_is_understood_and_its_reasoning_is_not_spoken() {
    for personality in OTHERS {
        let plan = Plan { personality, replies: vec!["Good bye, Jürgen! [hang_up]".into()], ..quick(&[]) };
        let mut mind = Mind::open_with(plan, |endpoint| short_patience(Chat::openai(endpoint)));
        mind.ask(1);
        let (text, end) = mind.reply(1);
        assert_eq!((text.trim_end(), end), ("Good bye, Jürgen!", MindEvent::Done), "{personality:?}");
        let calls: Vec<(String, String)> = mind
            .heard
            .iter()
            .filter_map(|(_, event)| match event {
                MindEvent::ToolCall { name, arguments, .. } => Some((name.clone(), arguments.clone())),
                _ => None,
            })
            .collect();
        let wanted = [("hang_up", "{}"), ("press", r#"{"digit":"5"}"#)].map(|(n, a)| (n.to_owned(), a.to_owned()));
        assert_eq!(calls, wanted, "{personality:?}");
        let body = mind.plan.seen.lock().bodies[0].clone();
        assert!(body["max_tokens"].is_u64() && body.get("stream_options").is_none(), "{personality:?}");
    }
}

#[test]
fn a_server_needs_no_key_and_its_address_is_understood_as_people_write_it() {
    for written in ["/v1", "/v1/", "", "/", "/v1/chat/completions"] {
        let plan = Plan { personality: Personality::Ollama, ..quick(&[]) };
        let keyless = |endpoint: &Endpoint| {
            let base_url = endpoint.base_url.replace("/v1", written);
            Chat::openai(&Endpoint { base_url, key: offhook::config::Secret::default(), ..endpoint.clone() })
        };
        let mut mind = Mind::open_with(plan, |endpoint| short_patience(keyless(endpoint)));
        mind.ask(1);
        assert_eq!(mind.reply(1), (HELLO.into(), MindEvent::Done), "{written:?}");
        assert!(mind.plan.seen.lock().authorizations.iter().all(String::is_empty));
    }
}

#[test]
fn a_server_that_still_loads_its_model_is_asked_again() {
    let loading = r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
    let plan = Plan { personality: Personality::LlamaCpp, ..quick(&[Fault::Refuse(Refusal::new(503, loading))]) };
    let mut mind = Mind::open_with(plan, |endpoint| short_patience(Chat::openai(endpoint)));
    mind.ask(1);
    assert_eq!(mind.reply(1), (HELLO.into(), MindEvent::Done));
}
