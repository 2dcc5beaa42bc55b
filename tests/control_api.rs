//! Every row of the control API, asked by curl of the real binary while a telephone is in a call.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "telephones live in real time")]

#[path = "support/phone.rs"]
mod phone;
#[path = "support/process.rs"]
mod process;

use hmac::{Hmac, KeyInit, Mac};
use offhook::audio::g711::Codec;
use phone::{Phone, Weather};
use process::{ECHO, Kept, Lines, Offhook, ask, command, percent_encoded, rtp_ports, wait_for};
use serde_json::{Value, json};
use sha2::Sha256;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tungstenite::{Message, client::IntoClientRequest};

const START: &str = "/api/v1/sip/start";
const STOP: &str = "/api/v1/sip/stop";
const STATUS: &str = "/api/v1/sip/status";
const CALLS: &str = "/api/v1/sip/calls";
const SOON: Duration = Duration::from_secs(5);

/// A UDP port that is free at this moment.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

fn call(sip: SocketAddr) -> Phone {
    Phone::call(sip, Codec::Pcma, Weather::default()).expect("the call is answered")
}

#[test]
fn starts_stops_and_starts_again_with_the_words_that_scripts_know() {
    let offhook = Offhook::run(&[], &ECHO, "");
    let not_running = json!({"status": "not_running", "message": "SIP bridge is not running"});
    let stopped = json!({"status": "stopped", "message": "SIP bridge is not running"});
    assert_eq!(offhook.ask("POST", STOP), (200, not_running.clone()));
    assert_eq!(offhook.ask("GET", STATUS), (200, stopped.clone()));
    assert_eq!(offhook.ask("GET", CALLS), (200, json!({"calls": [], "count": 0})));
    for _ in 0..3 {
        let port = free_port();
        let start = format!("{START}?host=127.0.0.1&port={port}");
        let server = format!("127.0.0.1:{port}");
        let started = json!({
            "status": "started", "message": format!("SIP bridge started on {server}"), "sip_port": port,
            "instructions": {"microsip": format!("Configure SIP Server: {server}"), "username": "any (e.g., agent001)",
                             "call_to": "any extension to invoke AI agent"}
        });
        assert_eq!(offhook.ask("POST", &start), (200, started));
        // The socket was bound before the reply: the first call is answered.
        call(server.parse().expect("an address")).hang_up();
        let already = format!("SIP bridge already running on port {port}");
        assert_eq!(offhook.ask("POST", &start), (200, json!({"status": "already_running", "message": already})));
        let stop = offhook.ask("POST", STOP);
        assert_eq!(stop, (200, json!({"status": "stopped", "message": "SIP bridge stopped"})));
        UdpSocket::bind(&server).expect("the port is closed when the reply is there");
    }
    assert_eq!(offhook.ask("POST", STOP), (200, not_running));
    assert_eq!(offhook.ask("GET", STATUS), (200, stopped));
}

#[test]
fn a_port_that_cannot_be_had_is_told_with_the_way_out() {
    let offhook = Offhook::run(&[], &ECHO, "");
    let taken = UdpSocket::bind("0.0.0.0:0").expect("a port");
    let port = taken.local_addr().expect("it is bound").port();
    let (status, body) = offhook.ask("POST", &format!("{START}?port={port}"));
    let next = port.checked_add(1).unwrap_or(5060);
    let detail = format!("UDP port {port} on 0.0.0.0 is in use; try POST /api/v1/sip/start?port={next}");
    assert_eq!((status, body), (409, json!({"detail": detail})));
    let (status, body) = offhook.ask("POST", &format!("{START}?host=192.0.2.1&port={port}"));
    assert_eq!(status, 409);
    assert!(
        body["detail"].as_str().is_some_and(|text| text.contains("192.0.2.1 is not an address of this machine")),
        "{body}"
    );
    for (query, kind, name, input) in [
        ("port=abc", "int_parsing", "port", "abc"),
        ("port=0", "greater_than_equal", "port", "0"),
        ("port=70000", "less_than_equal", "port", "70000"),
        ("host=no.such.host", "ip_any_address", "host", "no.such.host"),
    ] {
        let (status, body) = offhook.ask("POST", &format!("{START}?{query}"));
        let wrong = &body["detail"][0];
        assert_eq!((status, wrong["type"].as_str()), (422, Some(kind)), "{query}: {body}");
        assert_eq!((&wrong["loc"], wrong["input"].as_str()), (&json!(["query", name]), Some(input)), "{body}");
        assert!(wrong["msg"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    }
    assert_eq!(offhook.ask("GET", STATUS).1["status"], "stopped");
}

/// An INVITE from `local`, with audio at its RTP port, or the ACK of the 200 to it.
fn request(method: &str, local: SocketAddr, server: SocketAddr, to_tag: &str) -> String {
    let description = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 0\r\n",
        free_port()
    );
    let (kind, body) = match method {
        "INVITE" => ("Content-Type: application/sdp\r\n", description.as_str()),
        _ => ("", ""),
    };
    format!(
        "{method} sip:1000@{server} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{method}\r\nMax-Forwards: 70\r\n\
         From: <sip:quiet@{local}>;tag=1\r\nTo: <sip:1000@{server}>{to_tag}\r\nCall-ID: quiet\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:quiet@{local}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_paid_session_is_opened_when_the_caller_is_there_and_not_for_whoever_sends_an_invite() {
    let recogniser = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    recogniser.set_nonblocking(true).expect("it is ours");
    let url = format!("ws://{}", recogniser.local_addr().expect("it is bound"));
    let env = [
        ("OFFHOOK_STT", "deepgram"),
        ("DEEPGRAM_API_KEY", "key"),
        ("DEEPGRAM_BASE_URL", url.as_str()),
        // Nobody is at the port of the old discard service.
        ("OFFHOOK_LLM", "groq"),
        ("GROQ_API_KEY", "key"),
        ("GROQ_BASE_URL", "http://127.0.0.1:9/v1"),
        ("OFFHOOK_TTS", "cartesia"),
        ("CARTESIA_API_KEY", "key"),
        ("CARTESIA_BASE_URL", "ws://127.0.0.1:9"),
        ("OFFHOOK_GREETING", ""),
    ];
    let offhook = Offhook::start(&env, "");
    let sip = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    sip.set_read_timeout(Some(SOON)).expect("it is ours");
    let local = sip.local_addr().expect("it is bound");
    let invite = request("INVITE", local, offhook.sip(), "");
    sip.send_to(invite.as_bytes(), offhook.sip()).expect("it is sent");
    // The 200, and the 200 again, since there was no ACK for half a second.
    let mut answers = Vec::new();
    while answers.len() < 2 {
        let mut bytes = [0; 2000];
        let len = sip.recv(&mut bytes).expect("an answer");
        let answer = String::from_utf8_lossy(&bytes[..len]).into_owned();
        answers.extend(answer.starts_with("SIP/2.0 200").then_some(answer));
    }
    assert!(recogniser.accept().is_err(), "nobody is there yet");
    let sessions = || offhook.ask("GET", STATUS).1["active_sessions"].clone();
    assert_eq!(sessions(), 0);
    let to = answers[0].lines().find_map(|line| line.strip_prefix("To: ")).expect("a To header");
    let to_tag = to.find(";tag=").map(|at| &to[at..]).expect("a tag");
    let ack = request("ACK", local, offhook.sip(), to_tag);
    sip.send_to(ack.as_bytes(), offhook.sip()).expect("it is sent");
    wait_for("the recogniser's connection", SOON, || recogniser.accept().ok());
    wait_for("the session", SOON, || (sessions() == 1).then_some(()));
}

#[test]
fn ports_that_other_programs_have_cost_no_call() {
    // Eight pairs, of which seven are somebody else's.
    let pairs = |first: u16| (first..first + 16).step_by(2).map(|port| UdpSocket::bind(("127.0.0.1", port)));
    let (first, mut others) = (30_000..32_000)
        .step_by(16)
        .find_map(|first| Some((first, pairs(first).collect::<Result<Vec<_>, _>>().ok()?)))
        .expect("free ports");
    others.pop();
    let range = format!("{first}-{}", first + 15);
    let offhook = Offhook::run(&["--start", "--sip", "127.0.0.1:0", "--rtp-ports", &range], &ECHO, "");
    let phone = call(offhook.sip());
    assert!(phone.wait_until(SOON, |phone| phone.heard().len() > 50), "no audio");
}

#[test]
fn a_call_that_finds_no_port_is_refused_and_the_log_names_the_setting() {
    let range = rtp_ports();
    let first: u16 = range.split('-').next().and_then(|first| first.parse().ok()).expect("a port");
    let range = format!("{first}-{}", first + 1);
    let offhook = Offhook::run(&["--start", "--sip", "127.0.0.1:0", "--rtp-ports", &range], &ECHO, "");
    let _phone = call(offhook.sip());
    let refused = Phone::call(offhook.sip(), Codec::Pcma, Weather::default()).err().expect("there is one pair only");
    assert!(refused.to_string().starts_with("SIP/2.0 503 "), "{refused}");
    let told = |line: &String| line.contains(&range) && line.ends_with("see --rtp-ports");
    wait_for("the log", SOON, || offhook.log.all().iter().any(told).then_some(()));
}

#[test]
fn a_live_call_is_listed_shown_and_hung_up() {
    let offhook = Offhook::start(&ECHO, "");
    assert_eq!(offhook.ask("GET", CALLS), (200, json!({"calls": [], "count": 0})));
    let phone = call(offhook.sip());
    assert!(phone.wait_until(SOON, |phone| phone.heard().len() > 50), "no audio");

    let (_, status) = offhook.ask("GET", STATUS);
    assert_eq!((&status["status"], &status["host"]), (&json!("running"), &json!("127.0.0.1")), "{status}");
    assert_eq!(status["sip_port"], offhook.sip().port());
    assert_eq!((&status["active_calls"], &status["active_sessions"]), (&json!(1), &json!(1)), "{status}");
    let providers = ["stt", "llm", "tts"].map(|stage| status["providers"][stage].as_str());
    assert_eq!(providers, [Some("echo"); 3], "{status}");

    let (_, calls) = offhook.ask("GET", CALLS);
    let listed = &calls["calls"][0];
    assert_eq!((&calls["count"], listed["call_id"].as_str()), (&json!(1), Some(phone.call_id())), "{calls}");
    assert_eq!(listed["state"], "active");
    assert_eq!(status["rtp_ports_in_use"], json!([listed["rtp_port"]]));
    assert!(listed["from"].as_str().is_some_and(|from| from.starts_with("<sip:caller@")), "{listed}");
    assert!(listed["to"].as_str().is_some_and(|to| to.starts_with("<sip:1000@")), "{listed}");
    assert!(listed["duration_seconds"].is_u64(), "{listed}");

    // Counts are shown twice a second.
    let known = offhook.until_call(phone.call_id(), "the greeting", |call| {
        call["turns"][0]["agent"] != "" && call["quality"]["packets_received"].as_u64() >= Some(40)
    });
    assert_eq!((&known["turns"][0]["turn"], &known["turns"][0]["caller"]), (&json!(0), &json!("")), "{known}");
    assert_eq!((&known["quality"]["lost"], known.get("ended")), (&json!(0), None), "{known}");
    for (histogram, percentile) in [("jitter_ms", "p50"), ("jitter_ms", "p99"), ("pacing_error_ms", "max")] {
        assert!(known["quality"][histogram][percentile].is_f64(), "{histogram} {percentile}: {known}");
    }

    let metrics = ask("GET", offhook.api, "/metrics");
    assert!(metrics.head.contains("content-type: text/plain"), "{}", metrics.head);
    assert!(metrics.body.lines().any(|line| line.starts_with("offhook_") && line.ends_with(" 1")), "{}", metrics.body);

    let target = format!("{CALLS}/{}", percent_encoded(phone.call_id()));
    assert_eq!(offhook.ask("DELETE", &target), (200, json!({"status": "ended", "call_id": phone.call_id()})));
    assert!(phone.wait_until(SOON, Phone::hung_up), "no BYE");
    let over = offhook.until_call(phone.call_id(), "the end", |call| call["state"] == "ended");
    assert_eq!(over["ended"]["by"], "engine", "{over}");
    assert!(over["ended"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{over}");
    let not_found = (404, json!({"detail": "Call not found"}));
    assert_eq!(offhook.ask("DELETE", &target), not_found);
    assert_eq!(offhook.ask("GET", "/api/v1/sip/calls/nobody"), not_found);
    assert_eq!(offhook.ask("GET", CALLS).1["count"], 0);
}

#[test]
fn stop_hangs_up_every_call_before_it_answers() {
    let offhook = Offhook::start(&ECHO, "");
    let phones = [call(offhook.sip()), call(offhook.sip()), call(offhook.sip())];
    assert_eq!(offhook.ask("GET", STATUS).1["active_calls"], 3);
    assert_eq!(offhook.ask("POST", STOP).1["status"], "stopped");
    for phone in &phones {
        assert!(phone.wait_until(Duration::from_millis(500), Phone::hung_up), "no BYE");
    }
    UdpSocket::bind(offhook.sip()).expect("the SIP port is closed");
    assert_eq!(offhook.ask("GET", CALLS), (200, json!({"calls": [], "count": 0})));
}

#[test]
fn replies_are_json_and_what_is_not_there_is_told() {
    let offhook = Offhook::run(&[], &ECHO, "");
    for (method, target, status) in [
        ("GET", STATUS, 200),
        ("GET", "/", 200),
        ("GET", "/nowhere", 404),
        ("GET", START, 405),
        ("DELETE", STATUS, 405),
        ("GET", "/api/v1/sip/audio/nobody", 400),
    ] {
        let reply = ask(method, offhook.api, target);
        assert_eq!(reply.status, status, "{method} {target}: {}", reply.body);
        assert!(reply.head.contains("content-type: application/json"), "{method} {target}: {}", reply.head);
        serde_json::from_str::<Value>(&reply.body).expect("JSON");
    }
    assert!(ask("GET", offhook.api, START).head.contains("allow: post, options"));
    assert_eq!(ask("HEAD", offhook.api, STATUS).status, 200);
}

type Socket = tungstenite::WebSocket<TcpStream>;

fn listen(offhook: &Offhook, call_id: &str) -> Socket {
    listen_as(offhook, call_id, "")
}

fn listen_as(offhook: &Offhook, call_id: &str, query: &str) -> Socket {
    let url = format!("ws://{}/api/v1/sip/audio/{}{query}", offhook.api, percent_encoded(call_id));
    let stream = TcpStream::connect(offhook.api).expect("the API listens");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    tungstenite::client(url.into_client_request().expect("a URL"), stream).expect("a handshake").0
}

/// Reads up to `frames` of audio, or to the Close; returns them, and its code and reason.
fn read(socket: &mut Socket, frames: usize) -> (Vec<Vec<u8>>, Option<(u16, String)>) {
    let mut heard = Vec::new();
    while heard.len() < frames {
        match socket.read() {
            Ok(Message::Binary(bytes)) => heard.push(bytes.to_vec()),
            Ok(Message::Close(Some(frame))) => return (heard, Some((frame.code.into(), frame.reason.to_string()))),
            Ok(_) => {}
            Err(error) => panic!("{error} after {} frames", heard.len()),
        }
    }
    (heard, None)
}

#[test]
fn both_sides_of_a_call_are_heard_by_websocket() {
    let offhook = Offhook::start(&ECHO, "");
    let phone = call(offhook.sip());
    let mut socket = listen(&offhook, phone.call_id());
    let mut apart = listen_as(&offhook, phone.call_id(), "?channels=2");
    // Until the greeting is over, so that what is loud after it is the caller.
    assert!(phone.wait_until(SOON, |phone| phone.last_loud().is_some() && phone.quiet_for(Duration::from_millis(600))));
    let tone: Vec<i16> = (0..16_000).map(|n| ((f64::from(n) * 0.6).sin() * 8_000.0) as i16).collect();
    let heard_before = phone.heard().len();
    phone.say(&tone);
    let begun = Instant::now();
    let (frames, close) = read(&mut socket, 100);
    // Frames that waited since the handshake come at once, the others as they are made.
    assert!(begun.elapsed() < Duration::from_secs(3) && close.is_none());
    assert!(frames.iter().all(|frame| frame.len() == 640), "20 ms at 16 kHz are 640 bytes");
    let loudest = |frame: &[u8]| frame.chunks_exact(2).map(|s| i16::from_le_bytes([s[0], s[1]]).unsigned_abs()).max();
    let mut loud = frames.iter().filter(|frame| loudest(frame) > Some(4_000)).count();
    let (more, _) = read(&mut socket, 60);
    loud += more.iter().filter(|frame| loudest(frame) > Some(4_000)).count();
    assert!(loud >= 40, "{loud} loud frames: the caller is not heard");
    let (frames, _) = read(&mut apart, 160);
    assert!(frames.iter().all(|frame| frame.len() == 1280), "20 ms of two channels at 16 kHz are 1280 bytes");
    let loudest_of = |frame: &[u8], at: usize| {
        let samples = frame.chunks_exact(4).map(|pair| i16::from_le_bytes([pair[at], pair[at + 1]]).unsigned_abs());
        samples.max().unwrap_or(0)
    };
    let left = frames.iter().filter(|frame| loudest_of(frame, 0) > 4_000 && loudest_of(frame, 2) < 100).count();
    assert!(left >= 40, "{left} frames with the caller on the left alone");
    assert!(phone.heard().len() > heard_before + 50, "listening takes nothing away from the caller");
    phone.hang_up();
    let (_, close) = read(&mut socket, 1_000);
    assert_eq!(close, Some((1000, "Call ended".to_owned())));
    let (_, close) = read(&mut listen(&offhook, "nobody"), 1);
    assert_eq!(close, Some((1008, "Call not found".to_owned())));
    assert_eq!(offhook.ask("POST", STOP).0, 200);
    let (_, close) = read(&mut listen(&offhook, "nobody"), 1);
    assert_eq!(close, Some((1011, "SIP bridge is not running".to_owned())));
}

/// Takes posts one after the other, answers each with the next of `statuses` and 200 after them, and returns heads and bodies.
fn receiver(statuses: &'static [u16]) -> (SocketAddr, Lines) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    std::thread::spawn(move || {
        let statuses = statuses.iter().copied().chain(std::iter::repeat(200));
        for (stream, status) in listener.incoming().flatten().zip(statuses) {
            let mut stream = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).is_ok_and(|len| len > 0) {}
            for line in head.to_lowercase().lines() {
                length = line.strip_prefix("content-length: ").map_or(length, |n| n.parse().expect("a number"));
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("the body");
            let reply = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.get_mut().write_all(reply.as_bytes()).expect("it reads");
            let post = json!({"head": head, "body": String::from_utf8(body).expect("text")});
            writeln!(writer, "{post}").expect("a pipe");
        }
    });
    (address, Lines::of(reader))
}

#[test]
fn a_webhook_is_told_signed_and_told_again_where_it_fails() {
    let (address, posts) = receiver(&[500]);
    let toml = format!("[[webhooks]]\nurl = \"http://{address}/hook\"\nsecret_env = \"HOOK_SECRET\"\n");
    let offhook = Offhook::start(&[&ECHO[..], &[("HOOK_SECRET", "s3cret")]].concat(), &toml);
    let phone = call(offhook.sip());
    let call_id = phone.call_id().to_owned();
    phone.hang_up();
    let posts: Vec<Value> = wait_for("the end of the call", Duration::from_secs(20), || {
        let posts = posts.all();
        posts.iter().any(|post| post.contains("call.ended")).then_some(posts)
    })
    .iter()
    .map(|post| serde_json::from_str(post).expect("JSON"))
    .collect();
    let text = |post: &Value, part: &str| post[part].as_str().expect("text").to_owned();
    let events: Vec<Value> =
        posts.iter().map(|post| serde_json::from_str(&text(post, "body")).expect("JSON")).collect();
    let types: Vec<_> = events.iter().map(|event| event["type"].as_str().expect("a type")).collect();
    // What failed is told again, and what came meanwhile after it.
    assert_eq!(types[..4], ["bridge.started", "bridge.started", "call.ringing", "call.answered"], "{types:?}");
    assert_eq!(events[0], events[1]);
    assert_eq!(events[2]["call_id"], call_id);
    for post in &posts {
        let head = text(post, "head").to_lowercase();
        let signature = head.lines().find_map(|line| line.strip_prefix("offhook-signature: ")).expect("a signature");
        let (time, shown) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect("both parts");
        let mut mac = Hmac::<Sha256>::new_from_slice(b"s3cret").expect("a key");
        mac.update(format!("{time}.{}", text(post, "body")).as_bytes());
        let right: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, right);
    }
}

#[test]
fn events_and_an_order_to_speak_are_to_be_had_by_curl() {
    let offhook = Offhook::start(&ECHO, "");
    let url = format!("http://{}/api/v1/events", offhook.api);
    let mut curl =
        Kept(std::process::Command::new("curl").args(["-sN", &url]).stdout(Stdio::piped()).spawn().expect("curl runs"));
    let lines = Lines::of(curl.0.stdout.take().expect("it is piped"));
    wait_for("the stream", SOON, || lines.all().iter().any(|line| line.starts_with("retry:")).then_some(()));
    let phone = call(offhook.sip());
    let told = |what: &str| {
        let wanted = |line: &String| line.starts_with("data: ") && line.contains(what);
        wait_for(what, SOON, || lines.all().into_iter().find(wanted))
    };
    told(r#""type":"call.ringing""#);
    let answered: Value = serde_json::from_str(&told(r#""type":"call.answered""#)[6..]).expect("JSON");
    assert_eq!(answered["call_id"].as_str(), Some(phone.call_id()));
    told(r#""type":"levels""#);
    told(r#""type":"quality""#);
    assert!(phone.wait_until(SOON, |phone| phone.last_loud().is_some()), "no greeting");
    let target = format!("{CALLS}/{}/say", percent_encoded(phone.call_id()));
    let body = r#"{"text": "One moment."}"#;
    let url = format!("http://{}{target}", offhook.api);
    let output = std::process::Command::new("curl").args(["-sS", "--json", body, &url]).output().expect("curl runs");
    let reply: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(reply, json!({"status": "saying", "call_id": phone.call_id()}));
    told(r#""turn":1"#);
    phone.hang_up();
    told(r#""type":"call.ended""#);
}

#[test]
fn whoever_comes_while_the_bridge_stops_waits_until_it_has() {
    let offhook = Offhook::start(&ECHO, "");
    let (api, sip) = (offhook.api, offhook.sip());
    let has_told = |offhook: &Offhook, what: &str| offhook.log.all().iter().any(|line| line.ends_with(what));
    // A phone that is gone keeps a stop waiting for the answer to its BYE.
    drop(call(sip));
    let stop = std::thread::spawn(move || ask("POST", api, STOP).body);
    wait_for("a stop under way", SOON, || (offhook.ask("GET", STATUS).1["status"] == "stopped").then_some(()));
    assert!(!has_told(&offhook, "the bridge is stopped"), "the phone has not answered");
    // The port is free, and the start is not taken for stopped by whoever stopped before it.
    let (status, started) = offhook.ask("POST", &format!("{START}?host=127.0.0.1&port={}", sip.port()));
    assert_eq!((status, &started["status"]), (200, &json!("started")), "{started}");
    assert!(has_told(&offhook, "the bridge is stopped"));
    assert!(stop.join().expect("an answer").contains(r#""stopped""#));
    assert!(ask("GET", api, "/metrics").body.contains("offhook_bridge_running 1"));
}

#[test]
fn a_signal_hangs_up_and_ends_the_process_in_time() {
    let mut offhook = Offhook::start(&ECHO, "");
    let phones = [call(offhook.sip()), call(offhook.sip())];
    let (status, after) = offhook.terminate();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(after < SOON, "{after:?}");
    for phone in &phones {
        assert!(phone.wait_until(Duration::from_millis(500), Phone::hung_up), "no BYE");
    }
    wait_for("the last line", SOON, || offhook.log.all().iter().any(|line| line.contains("stopping")).then_some(()));
}

#[test]
fn an_idle_engine_and_a_stopped_one_end_by_signal_too() {
    for args in [&["--start", "--sip", "127.0.0.1:0"][..], &[]] {
        let (status, after) = Offhook::run(args, &ECHO, "").terminate();
        assert_eq!(status.code(), Some(0), "{status}");
        assert!(after < SOON, "{after:?}");
    }
}

#[test]
fn a_signal_ends_a_start_that_is_still_loading() {
    let Some(models) = process::models() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut run = command(folder.path());
    run.args(["--start", "--api", "127.0.0.1:0", "--sip", "127.0.0.1:0"]).env("OFFHOOK_MODELS", models);
    let mut process = Kept(run.stderr(Stdio::piped()).spawn().expect("the binary runs"));
    let log = Lines::of(process.0.stderr.take().expect("it is piped"));
    wait_for("the first line", SOON, || (!log.all().is_empty()).then_some(()));
    process.terminate();
    assert_eq!(process.wait("the end", SOON).code(), Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn as_many_calls_as_may_come_at_once_have_descriptors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // What a shell or a service has by default is room for 84 calls.
    for limit in ["ulimit -Sn 256", "ulimit -n 512"] {
        let mut shell = std::process::Command::new("sh");
        let run = format!("{limit} && exec {} --api 127.0.0.1:0", env!("CARGO_BIN_EXE_offhook"));
        shell.args(["-c", &run]).current_dir(folder.path()).env_clear().stderr(Stdio::piped());
        let mut process = Kept(shell.spawn().expect("a shell"));
        let log = Lines::of(process.0.stderr.take().expect("it is piped"));
        let has = |what: &str| log.all().iter().any(|line| line.contains(what));
        wait_for("the control API", SOON, || has("control API on").then_some(()));
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.0.id())).expect("limits");
        let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [soft, hard] = numbers[..] else { panic!("{line}") };
        assert_eq!((soft, has("LimitNOFILE=")), (hard.min(5024), hard < 5024), "{line}");
        process.terminate();
        process.wait("the end", SOON);
    }
}

/// Arguments, environment, and what the error names.
type WrongSetting = (&'static [&'static str], &'static [(&'static str, &'static str)], &'static str);

#[test]
fn a_wrong_setting_is_one_line_and_exit_code_2() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("file"), "no folder, and no WAV").expect("a file");
    std::fs::create_dir(folder.path().join("capture")).expect("a folder");
    std::fs::write(folder.path().join("capture/capture.json"), "{}").expect("a file");
    let cases: [WrongSetting; 16] = [
        (&["--sip", "here"], &[], "--sip"),
        (&["--rtp-ports", "9-3"], &[], "--rtp-ports"),
        (&["--api", "0.0.0.0:0"], &[], "OFFHOOK_API_TOKEN"),
        (&["--colour"], &[], "--colour"),
        (&[], &[("OFFHOOK_STT", "parrot")], "OFFHOOK_STT"),
        (&[], &[("OFFHOOK_LLM", "groq")], "GROQ_API_KEY"),
        // What is wrong with these shows when they are used.
        (&["--start", "--sip", "203.0.113.1:0"], &[("OFFHOOK_LOG", "error")], "--sip"),
        (&["--api", "203.0.113.1:0"], &[("OFFHOOK_API_TOKEN", "t")], "--api"),
        (&["--capture", "file"], &[], "--capture: "),
        (&["check"], &[("OFFHOOK_RECORDS", "file")], "OFFHOOK_RECORDS: "),
        (&["call", "--wav", "missing.wav"], &[], "--wav: "),
        (&["demo", "--wav", "file"], &[], "--wav: "),
        (&["call", "--record", "missing/call.wav"], &[], "--record: "),
        (&["call", "sips:1000@127.0.0.1"], &[], "call SIP-URI: "),
        (&["replay", "file"], &[], "replay DIR: "),
        (&["replay", "capture"], &[], "replay DIR: "),
    ];
    for (args, env, named) in cases {
        let output = command(folder.path()).args(args).envs(env.iter().copied()).output().expect("the binary runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.lines().count() == 1 && error.contains(named) && output.stdout.is_empty(), "{args:?}: {error}");
    }
    // A port that is taken is no wrong setting, and is told in one line as well.
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let sip = taken.local_addr().expect("it is bound").to_string();
    let mut run = command(folder.path());
    run.args(["--start", "--api", "127.0.0.1:0", "--sip", &sip]).envs(ECHO).env("OFFHOOK_LOG", "error");
    let output = run.output().expect("the binary runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains(&sip) && error.contains("--sip"), "{error}");
}
