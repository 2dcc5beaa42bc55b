//! Messages that real phones sent, byte for byte, to the socket of the real binary.

use crate::process::{ECHO, Offhook};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

const MICROSIP: &[u8] = include_bytes!("../captures/call-01-invite.txt");
const HIDDEN: &[u8] = include_bytes!("../captures/call-12-invite-hide-caller-id.txt");
const UNBOUND: &[u8] = include_bytes!("../captures/localhost-02-invite-unbound.txt");
const LOCAL_ACCOUNT: &[u8] = include_bytes!("../captures/localhost-05-invite-local-account.txt");
const BARESIP: &[u8] = include_bytes!("../captures/baresip-03-invite.txt");
const TO_BE_CANCELLED: &[u8] = include_bytes!("../captures/cancel-01-invite.txt");
const CANCEL: &[u8] = include_bytes!("../captures/cancel-02-cancel.txt");

struct Wire<'a> {
    socket: UdpSocket,
    offhook: &'a Offhook,
}

impl<'a> Wire<'a> {
    fn new(offhook: &'a Offhook) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        Self { socket, offhook }
    }

    fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.offhook.sip()).expect("sent");
    }

    /// Reads messages until one begins with `line`; returns it.
    fn expect(&self, line: &str) -> String {
        let mut seen = Vec::new();
        let until = Instant::now() + Duration::from_secs(5);
        let mut bytes = [0; 8192];
        while Instant::now() < until {
            let Ok(len) = self.socket.recv(&mut bytes) else { continue };
            let message = String::from_utf8_lossy(&bytes[..len]).into_owned();
            if message.starts_with(line) {
                return message;
            }
            seen.push(message.lines().next().unwrap_or_default().to_owned());
        }
        panic!("no {line:?}, but {seen:?}");
    }
}

fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let lines = message.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(found, _)| *found == name).map(|(_, value)| value.trim()).next()
}

/// A request within the call that `invite` began and `ok` answered.
fn follow_up(invite: &[u8], ok: &str, method: &str, later: u32) -> String {
    let text = String::from_utf8(invite.to_vec()).expect("text");
    let (cseq, to) = (header(&text, "CSeq").expect("CSeq"), header(&text, "To").expect("To"));
    let number: u32 = cseq.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
    let branch = format!("z9hG4bK{method}");
    let head = text.split("Content-Type").next().expect("a head").replace("z9hG4bK", &branch);
    head.replacen("INVITE sip:", &format!("{method} sip:"), 1)
        .replace(&format!("CSeq: {cseq}"), &format!("CSeq: {} {method}", number + later))
        .replace(&format!("To: {to}"), &format!("To: {}", header(ok, "To").expect("To")))
        + "Content-Length:  0\r\n\r\n"
}

#[test]
fn calls_of_real_phones_are_answered_and_ended() {
    let offhook = Offhook::start(&ECHO, "");
    for (name, invite) in [
        ("call-01", MICROSIP),
        ("call-12", HIDDEN),
        ("localhost-02", UNBOUND),
        ("localhost-05", LOCAL_ACCOUNT),
        ("baresip-03", BARESIP),
    ] {
        let wire = Wire::new(&offhook);
        wire.send(invite);
        wire.expect("SIP/2.0 100 ");
        let ok = wire.expect("SIP/2.0 200 ");
        assert_eq!(header(&ok, "Contact"), Some(format!("<sip:{}>", offhook.sip()).as_str()), "{name}: {ok}");
        assert!(ok.contains("\r\nc=IN IP4 127.0.0.1\r\n") && !ok.contains("0.0.0.0"), "{name}: {ok}");
        // Both phones ask for A-law or mu-law first and get the one they like best.
        let first = String::from_utf8_lossy(invite)
            .lines()
            .find(|line| line.starts_with("m=audio "))
            .map(|line| line.split(' ').skip(3).find(|format| ["0", "8"].contains(format)).expect("G.711").to_owned());
        let media = ok.lines().find(|line| line.starts_with("m=audio ")).expect("an answer");
        assert_eq!(media.split(' ').nth(3), first.as_deref(), "{name}: {ok}");
        wire.send(follow_up(invite, &ok, "ACK", 0).as_bytes());
        wire.send(follow_up(invite, &ok, "BYE", 1).as_bytes());
        wire.expect("SIP/2.0 200 ");
    }
    let (_, status) = offhook.ask("GET", "/api/v1/sip/status");
    assert_eq!((&status["active_calls"], &status["totals"]["ended_by_caller"]), (&0.into(), &5.into()), "{status}");
}

#[test]
fn a_cancel_and_the_call_that_it_comes_for_end_well() {
    let offhook = Offhook::start(&ECHO, "");
    let wire = Wire::new(&offhook);
    wire.send(TO_BE_CANCELLED);
    wire.send(CANCEL);
    // Which of the two is first is a race by nature (RFC 3261 §9.2): a call that was answered stays, and is hung up.
    let final_answer = loop {
        let message = wire.expect("SIP/2.0 ");
        let invite = header(&message, "CSeq").is_some_and(|cseq| cseq.ends_with("INVITE"));
        if invite && !message.starts_with("SIP/2.0 1") {
            break message;
        }
    };
    wire.send(follow_up(TO_BE_CANCELLED, &final_answer, "ACK", 0).as_bytes());
    if final_answer.starts_with("SIP/2.0 200 ") {
        wire.send(follow_up(TO_BE_CANCELLED, &final_answer, "BYE", 1).as_bytes());
        loop {
            let message = wire.expect("SIP/2.0 200 ");
            if header(&message, "CSeq").is_some_and(|cseq| cseq.ends_with("BYE")) {
                break;
            }
        }
    } else {
        assert!(final_answer.starts_with("SIP/2.0 487 "), "{final_answer}");
    }
    assert_eq!(offhook.ask("GET", "/api/v1/sip/calls").1["count"], 0);
}
