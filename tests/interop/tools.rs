//! What the model does beside talking, with PJSIP at the other end: a transfer that works and one that fails, keys, a slow tool.

use crate::process::Offhook;
use crate::softphone::Softphone;
use crate::standin::{KEY, Server, cartesia, flux, groq};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tiny_http::Response;

/// The engine, with providers whose mind says `replies`.
struct Stage {
    offhook: Offhook,
    _servers: [Server; 3],
    groq: Arc<groq::Plan>,
}

impl Stage {
    fn set(replies: &[&str], toml: &str) -> Self {
        let plan = groq::Plan {
            first_token: Duration::from_millis(50),
            replies: replies.iter().map(|reply| (*reply).to_owned()).collect(),
            ..groq::Plan::default()
        };
        let (ears, _, ears_url) = flux::start(flux::Plan::default());
        let (mind, groq, mind_url) = groq::start(plan);
        let (voice, _, voice_url) = cartesia::start(cartesia::Plan::default());
        let env = [
            ("DEEPGRAM_API_KEY", KEY),
            ("GROQ_API_KEY", KEY),
            ("CARTESIA_API_KEY", KEY),
            ("DEEPGRAM_BASE_URL", &ears_url),
            ("GROQ_BASE_URL", &mind_url),
            ("CARTESIA_BASE_URL", &voice_url),
            ("OFFHOOK_GREETING", ""),
            ("OFFHOOK_TOOL_SECRET", "operator-secret"),
        ];
        let folder = tempfile::tempdir().expect("a folder for the test");
        // No models of this machine, and phrases that nobody else has rendered.
        let models = folder.path().join("models").display().to_string();
        let offhook = Offhook::start(&[&env[..], &[("OFFHOOK_MODELS", models.as_str())]].concat(), toml);
        Self { offhook, _servers: [ears, mind, voice], groq }
    }

    /// What the model was told last of a tool.
    fn tool_result(&self) -> String {
        let bodies = self.groq.seen.lock().bodies.clone();
        let messages = bodies.last().and_then(|body| body["messages"].as_array().cloned()).unwrap_or_default();
        let result = messages.iter().rfind(|message| message["role"] == "tool").cloned().unwrap_or_default();
        result["content"].as_str().unwrap_or_default().to_owned()
    }
}

fn phone(stage: &Stage, settings: &[&str]) -> Option<Softphone> {
    Softphone::open_with(stage.offhook.sip(), &[&["bind=127.0.0.1"], settings].concat())
}

fn is_up(event: &Value) -> bool {
    event["event"] == "call" && event["state"] == "CONFIRMED"
}

/// Somebody to be transferred to, who answers with `code`, and the settings that name him.
fn sales(code: u16) -> Option<(Softphone, String)> {
    // He needs no server: the caller calls him straight.
    let nowhere = "127.0.0.1:9".parse().expect("an address");
    let answer = format!("answer={code}");
    let sales = Softphone::open_with(nowhere, &["bind=127.0.0.1", "user=sales", &answer])?;
    let toml = format!("[[agent.transfers]]\nname = \"sales\"\nto = \"sip:sales@{}\"\n", sales.address);
    Some((sales, toml))
}

#[test]
fn the_model_puts_a_caller_through_after_its_words_were_heard() {
    let Some((mut sales, toml)) = sales(200) else { return };
    let stage = Stage::set(&["One moment, I'll put you through. [transfer:{\"to\":\"sales\"}]"], &toml);
    let Some(mut phone) = phone(&stage, &[]) else { return };
    let call = phone.call("1000");
    phone.tell("dtmf 5#");
    sales.expect("the caller", is_up);
    phone.expect_bye();
    let over = stage.offhook.until_call(&call, "the end", |call| call["state"] == "ended");
    assert_eq!((&over["ended"]["by"], &over["ended"]["reason"]), (&"agent".into(), &"transferred".into()), "{over}");
    let turn = &over["turns"][0];
    assert_eq!((&turn["caller"], &turn["interrupted"]), (&"(pressed 5)".into(), &false.into()), "{turn}");
    assert_eq!(turn["agent"], "One moment, I'll put you through.", "it was heard whole: {over}");
    phone.hang_up();
    phone.close();
    sales.close();
}

#[test]
fn a_transfer_that_fails_leaves_the_caller_with_the_agent() {
    let Some((sales, toml)) = sales(486) else { return };
    let replies = ["One moment. [transfer:{\"to\":\"sales\"}]", "I'm sorry, they are busy.", "Goodbye! [hang_up]"];
    let stage = Stage::set(&replies, &toml);
    let Some(mut phone) = phone(&stage, &[]) else { return };
    let call = phone.call("1000");
    phone.tell("dtmf 5#");
    let sorry = |turn: &Value| turn["agent"] == "I'm sorry, they are busy.";
    stage.offhook.turn(&call, "the agent goes on", sorry);
    assert_eq!(stage.tool_result(), r#"{"error":"the transfer failed: the line is busy (SIP 486)"}"#);
    phone.tell("select 0");
    phone.tell("dtmf 6#");
    phone.expect_bye();
    let over = stage.offhook.until_call(&call, "the end", |call| call["state"] == "ended");
    assert_eq!(over["ended"]["reason"], "the agent said goodbye", "{over}");
    phone.close();
    sales.close();
}

#[test]
fn a_model_that_names_a_stranger_is_refused() {
    let Some((sales, toml)) = sales(200) else { return };
    let stage = Stage::set(&["[transfer:{\"to\":\"sip:+49900123456@evil.example\"}]", "I can't do that."], &toml);
    let Some(mut phone) = phone(&stage, &[]) else { return };
    let call = phone.call("1000");
    phone.tell("dtmf 5#");
    stage.offhook.turn(&call, "the agent goes on", |turn| turn["agent"] == "I can't do that.");
    assert!(stage.tool_result().contains("`to` may be sales"), "{}", stage.tool_result());
    phone.hang_up();
    phone.close();
    sales.close();
}

#[test]
fn a_telephone_reads_the_keys_that_the_model_presses() {
    for codecs in ["codecs=PCMU/8000/1", "codecs=G722/16000/1,PCMU/8000/1"] {
        let replies = ["Let me see. [send_dtmf:{\"digits\":\"120#*9D\"}]", "Done."];
        let stage = Stage::set(&replies, "[agent]\nsend_dtmf = true\n");
        let Some(mut phone) = phone(&stage, &[codecs]) else { return };
        let call = phone.call("1000");
        phone.tell("dtmf 5#");
        let mut digits = String::new();
        for _ in 0..7 {
            let event = phone.expect("a key", |event| event["event"] == "dtmf");
            digits.push_str(event["digit"].as_str().expect("a digit"));
        }
        assert_eq!(digits, "120#*9D");
        let done = stage.offhook.turn(&call, "what follows", |turn| turn["agent"] == "Done.");
        assert_eq!(done["interrupted"], false, "{done}");
        assert_eq!(stage.tool_result(), r##"{"pressed":"120#*9D"}"##);
        phone.hang_up();
        phone.close();
    }
}

#[test]
fn a_slow_tool_is_bridged_and_its_result_is_told() {
    let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").expect("a free port"));
    let served = server.clone();
    let operator = std::thread::spawn(move || {
        let mut request = served.recv().expect("a request");
        let mut body = String::new();
        request.as_reader().read_to_string(&mut body).expect("text");
        let signed = request.headers().iter().any(|header| header.field.equiv("X-Offhook-Signature"));
        std::thread::sleep(Duration::from_millis(1500));
        request.respond(Response::from_string("{\"state\":\"sent\"}")).expect("it waits");
        (body, signed)
    });
    let toml = format!(
        "[[tools]]\nname = \"find_order\"\ndescription = \"Finds an order\"\nurl = \"http://{}/orders\"\n\
         filler = \"Let me look that up.\"\n[tools.parameters]\ntype = \"object\"\nrequired = [\"number\"]\n",
        server.server_addr()
    );
    let stage = Stage::set(&["[find_order:{\"number\":5}]", "Your order was sent."], &toml);
    let Some(mut phone) = phone(&stage, &[]) else { return };
    let call = phone.call("1000");
    phone.tell("dtmf 5#");
    stage.offhook.turn(&call, "the answer", |turn| turn["agent"] == "Your order was sent.");
    let turns = stage.offhook.call(&call)["turns"].clone();
    assert_eq!(turns[0]["agent"], "Let me look that up.", "{turns}");
    assert_eq!(stage.tool_result(), r#"{"state":"sent"}"#);
    assert_eq!(operator.join().expect("it served"), (r#"{"number":5}"#.to_owned(), true));
    phone.hang_up();
    phone.close();
}

#[test]
fn keys_of_the_caller_in_the_middle_of_a_reply_and_of_a_tool_reach_the_model() {
    let server = tiny_http::Server::http("127.0.0.1:0").expect("a free port");
    let toml = format!(
        "[[tools]]\nname = \"wait\"\ndescription = \"Waits\"\nurl = \"http://{}/\"\nfiller = \"\"\n",
        server.server_addr()
    );
    let long = "This is a long reply that goes on and on and on and on and on, and on, until somebody presses a key.";
    let stage = Stage::set(&[long, "[wait:{}]", "You pressed eight."], &toml);
    let Some(mut phone) = phone(&stage, &[]) else { return };
    let call = phone.call("1000");
    phone.tell("dtmf 6#");
    stage.offhook.turn(&call, "the question", |turn| turn["caller"] == "(pressed 6)");
    // It takes six seconds to say.
    std::thread::sleep(Duration::from_millis(1500));
    phone.tell("dtmf 7#");
    let request = server.recv_timeout(Duration::from_secs(20)).expect("it listens").expect("the tool is asked");
    let cut = stage.offhook.call(&call)["turns"][0].clone();
    assert_eq!(cut["interrupted"], true, "{cut}");
    phone.tell("dtmf 8#");
    stage.offhook.turn(&call, "the key in the middle of a tool", |turn| turn["agent"] == "You pressed eight.");
    let bodies = stage.groq.seen.lock().bodies.clone();
    let told = bodies.last().expect("a request")["messages"].to_string();
    assert!(told.contains("(pressed 7)") && told.contains("(pressed 8)") && told.contains("under way"), "{told}");
    request.respond(Response::from_string("late")).expect("nobody hung up on it");
    phone.hang_up();
    phone.close();
}

#[test]
fn check_ends_with_what_it_found() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let check = |toml: &str, env: &[(&str, &str)]| {
        std::fs::write(folder.path().join("offhook.toml"), toml).expect("a file for the test");
        let mut command = crate::process::command(folder.path());
        command.args(["--sip", "127.0.0.1:0", "--api", "127.0.0.1:0", "check", "--json"]).envs(env.iter().copied());
        let output = command.output().expect("the binary runs");
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), json)
    };
    let (code, json) = check("", &crate::process::ECHO);
    assert_eq!((code, &json["ok"]), (Some(0), &true.into()), "{json}");
    let dead = "[[tools]]\nname = \"a\"\ndescription = \"b\"\nurl = \"http://127.0.0.1:9/\"\n";
    let (code, json) = check(dead, &crate::process::ECHO);
    assert_eq!((code, &json["ok"]), (Some(1), &false.into()), "{json}");
    assert_eq!(check("", &[("OFFHOOK_STT", "deepgram")]), (Some(2), Value::Null), "its key is not set");
}
