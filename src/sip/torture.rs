//! What hides in broken messages must not come out again in answers; the conditions of RFC 4475 and 5118 are in `tests/torture/`.

use super::rig::Rig;
use super::{Command, Event};

/// A message in the making: a valid request, until a condition is laid upon it.
#[derive(Clone)]
struct Message {
    line: String,
    via: String,
    from: String,
    to: String,
    call_id: String,
    cseq: String,
    more: String,
    body: Vec<u8>,
}

fn message(method: &str) -> Message {
    let more = match method {
        "INVITE" => "Contact: <sip:caller@192.0.2.1>\r\nContent-Type: application/sdp\r\n",
        _ => "",
    };
    Message {
        line: format!("{method} sip:1000@127.0.0.1 SIP/2.0"),
        via: "SIP/2.0/UDP 127.0.0.1:40000;rport;branch=z9hG4bKtorture".into(),
        from: "\"Caller\" <sip:caller@127.0.0.1>;tag=88".into(),
        to: "<sip:1000@127.0.0.1>".into(),
        call_id: "torture.1@127.0.0.1".into(),
        cseq: format!("17 {method}"),
        more: more.into(),
        body: if method == "INVITE" { b"v=0\r\n".to_vec() } else { Vec::new() },
    }
}

impl Message {
    fn line(mut self, line: &str) -> Self {
        self.line = line.into();
        self
    }

    fn via(mut self, via: &str) -> Self {
        self.via = via.into();
        self
    }

    fn from(mut self, from: &str) -> Self {
        self.from = from.into();
        self
    }

    fn to(mut self, to: &str) -> Self {
        self.to = to.into();
        self
    }

    fn cseq(mut self, cseq: &str) -> Self {
        self.cseq = cseq.into();
        self
    }

    fn more(mut self, more: &str) -> Self {
        self.more = more.into();
        self
    }

    fn add(mut self, more: &str) -> Self {
        self.more += more;
        self
    }

    fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { line, via, from, to, call_id, cseq, more, body } = self;
        let head = format!(
            "{line}\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n{more}\r\n"
        );
        [head.as_bytes(), body].concat()
    }
}

/// Returns the status of the one answer, or `None` for silence.
fn answer(bytes: &[u8]) -> Option<u16> {
    let mut rig = Rig::new();
    let sent = rig.receive(bytes);
    assert!(sent.len() <= 1, "one answer at most");
    sent.first().map(|sent| sent.what()[..3].parse().expect("a status"))
}

#[test]
fn refusals_copy_what_they_must_even_from_the_unreadable() {
    let mut rig = Rig::new();
    let odd = message("INVITE").via("SIP/2.0/UDP 192.0.2.15;;,;,,").to("\"unbalanced <sip:a@b>");
    let sent = rig.receive(&odd.bytes());
    assert_eq!(sent[0].to, rig.source, "a Via that cannot be read is not followed");
    assert_eq!(sent[0].header("Via"), Some("SIP/2.0/UDP 192.0.2.15;;,;,,"));
    assert!(sent[0].header("To").is_some_and(|to| to.starts_with("\"unbalanced <sip:a@b>;tag=")));
    assert_eq!((sent[0].header("Call-ID"), sent[0].header("CSeq")), (Some("torture.1@127.0.0.1"), Some("17 INVITE")));
    assert_eq!(rig.ua.counters().parse_errors, 1);
}

#[test]
fn a_broken_ack_is_not_answered() {
    for broken in [
        message("ACK").via("SIP/2.0/UDP 192.0.2.15;;,;,,"),
        message("ACK").cseq("1 INVITE"),
        message("ACK").line("ACK tel:1 SIP/2.0"),
        message("ACK").line("ACK sip:a@b SIP/7.0"),
        message("ACK").add("Content-Length: 99\r\n"),
        message("ACK").more("Require: nothing\r\n"),
    ] {
        assert_eq!(answer(&broken.bytes()), None);
    }
}

#[test]
fn what_a_phone_hides_in_names_never_breaks_a_line() {
    let mut rig = Rig::new();
    let sneaky = message("INVITE").from("\"a\\\rVia: x\" <sip:a@b>;tag=1");
    assert!(rig.receive(&sneaky.bytes()).is_empty(), "a header with a bare CR is not read, and so From is missing");
    let nul = message("INVITE").from("\"a\\\0b\" <sip:a@b>;tag=1");
    assert_eq!(answer(&nul.bytes()), Some(400));
    assert_eq!(rig.events(), []);
}

#[test]
fn multipart_bodies_reach_the_engine_byte_for_byte() {
    let mut rig = Rig::new();
    let sdp = [b"v=0\r\n".as_slice(), &[0, 255, 254]].concat();
    let body = [b"--b\r\nContent-Type: application/sdp\r\n\r\n".as_slice(), &sdp, b"\r\n--b--\r\n"].concat();
    let mixed =
        message("INVITE").more("Contact: <sip:a@b>\r\nContent-Type: multipart/mixed;boundary=b\r\n").body(&body);
    rig.receive(&mixed.bytes());
    let Some(Event::Invited(invitation)) = rig.events().pop() else { panic!("no invitation") };
    assert_eq!(invitation.offer, Some(sdp.clone()));
    rig.ua.handle_input(super::Input::Command(Command::Answer { call: invitation.call, sdp: sdp.clone() }), rig.now);
    let Some(super::Output::Transmit { bytes, .. }) = rig.ua.poll_output() else { panic!("no answer") };
    assert!(bytes.ends_with(&sdp));
}
