//! The conditions of RFC 4475 and RFC 5118, each with a message of its own, and the answer that a server must give.

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

#[track_caller]
fn check(condition: &str, message: &Message, status: u16) {
    let bytes = message.bytes();
    assert_eq!(answer(&bytes), Some(status), "{condition}: {}", String::from_utf8_lossy(&bytes));
}

#[test]
fn valid_messages_of_rfc_4475_are_served() {
    let in_no_dialog = message("INVITE").to("sip:vivekg@chair-dnrc.example.com ;\r\n   tag    = 1918181833n");
    check("3.1.1.1 folding and spaces; the tag is of no dialog", &in_no_dialog, 481);
    let folded = message("INVITE").cseq("0009\r\n  INVITE").from("\"J Rosenberg \\\\\\\"\" <sip:j@example.com>\r\n  ;\r\n  tag = 98asjd8")
        .via("SIP / 2.0 / UDP\r\n  192.0.2.2;branch=390skdjuw\r\nv:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239")
        .more("Max-Forwards \t: 0068\r\ns :\r\nNewFangled:   new\r\n value\r\n continued\r\nOdd: ;;,,;;,;\r\nc: application/sdp\r\nRoute:\r\n <sip:services.example.com;lr;unknown=value;unknown-no-value>\r\nm:\"Quoted \\\"\\\"\" <sip:j@example.com> ; newparam =\r\n      newvalue ;\r\n  secondparam ; q = 0.33\r\n");
    check("3.1.1.1 the same outside of dialogs", &folded, 100);
    let odd = "!interesting-Method0123456789_*+`.%indeed'~";
    let legal = message(odd).from("\"token1~` token2'+_ \u{1f937} \\\x07 \\\x00 \\\x7f\" <sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com>;tag=1");
    check("3.1.1.2 every legal character, unknown method", &legal.line(&format!("{odd} sip:x@y SIP/2.0")), 501);
    check(
        "3.1.1.3 escapes in the user",
        &message("INVITE").line("INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0"),
        100,
    );
    check(
        "3.1.1.4 NUL escaped",
        &message("REGISTER")
            .more("Contact: <sip:%00@host5.example.com>\r\nContact: <sip:%00%00@host5.example.com>\r\n"),
        200,
    );
    check("3.1.1.5 an escaped method is another one", &message("RE%47IST%45R"), 501);
    check(
        "3.1.1.6 no space before the bracket",
        &message("OPTIONS").from("caller<sip:caller@example.com>;tag=323"),
        200,
    );
    let long = message("INVITE")
        .to(&format!("\"I have a user name of {}\" <sip:user@example.com>", "extreme ".repeat(100)))
        .via(&format!("SIP/2.0/UDP sip33.example.com\r\nv: {}", ["SIP/2.0/TCP sip.example.com"; 33].join("\r\nVia: ")))
        .add(&format!("NewHeader: {}\r\n", "long ".repeat(300)));
    check("3.1.1.7 long values", &long, 100);
    check(
        "3.1.1.8 octets beyond the body",
        &message("REGISTER").more("Content-Length: 0\r\n").body(b"\r\nINVITE sip:joe@example.com SIP/2.0\r\n"),
        200,
    );
    check(
        "3.1.1.9 semicolon in the user",
        &message("OPTIONS").line("OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0"),
        200,
    );
    let transports = "SIP/2.0/UDP t1.example.com;branch=z9hG4bKkdjuw\r\nVia: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKklasjdhf\r\nVia: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKkwjdkl";
    check("3.1.1.10 unknown transports", &message("OPTIONS").via(transports), 200);
    check(
        "3.1.1.11 a binary body",
        &message("MESSAGE")
            .more("Content-Type: multipart/mixed;boundary=7a9cbec02ceef655\r\n")
            .body(&[0, 255, 13, 10, 128]),
        405,
    );
}

#[test]
fn responses_of_rfc_4475_are_never_answered() {
    for line in [
        "SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять",
        "SIP/2.0 100 ",
        "SIP/2.0 4294967301 better not break the receiver",
        "SIP/2.0 200 OK",
    ] {
        let odd = message("INVITE")
            .line(line)
            .via("SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1324923")
            .cseq("9292394834772304023312 OPTIONS");
        assert_eq!(answer(&odd.bytes()), None, "{line}");
    }
}

#[test]
fn invalid_messages_of_rfc_4475_are_refused() {
    check("3.1.2.1 separators too many in Via", &message("INVITE").via("SIP/2.0/UDP 192.0.2.15;;,;,,"), 400);
    check(
        "3.1.2.1 separators too many in Contact",
        &message("INVITE").more("Contact: \"Joe\" <sip:joe@example.org>;;;;\r\n"),
        400,
    );
    check("3.1.2.2 Content-Length beyond the body", &message("INVITE").add("Content-Length: 9999\r\n"), 400);
    check("3.1.2.3 negative Content-Length", &message("INVITE").add("Content-Length: -999\r\n"), 400);
    check(
        "3.1.2.4 CSeq too large",
        &message("REGISTER")
            .cseq("36893488147419103232 REGISTER")
            .more("Max-Forwards: 300\r\nExpires: 10000000000000000000000\r\n"),
        400,
    );
    check(
        "3.1.2.4 Expires alone too large",
        &message("REGISTER").more(
            "Max-Forwards: 300\r\nExpires: 10000000000000000000000\r\nContact: <sip:u@h>;expires=280297596632815\r\n",
        ),
        200,
    );
    check("3.1.2.4 CSeq just too large", &message("REGISTER").cseq("2147483648 REGISTER"), 400);
    check("3.1.2.4 CSeq just not too large", &message("REGISTER").cseq("2147483647 REGISTER"), 200);
    check("3.1.2.6 unbalanced quote", &message("INVITE").to("\"Mr. J. User <sip:j.user@example.com>"), 400);
    check(
        "3.1.2.7 brackets round the Request-URI",
        &message("INVITE").line("INVITE <sip:user@example.com> SIP/2.0"),
        400,
    );
    check("3.1.2.8 spaces in the Request-URI", &message("INVITE").line("INVITE sip:user@example.com; lr SIP/2.0"), 400);
    check(
        "3.1.2.9 more than one space in the request line",
        &message("INVITE").line("INVITE  sip:user@example.com  SIP/2.0"),
        400,
    );
    check(
        "3.1.2.10 spaces at the end of the request line",
        &message("OPTIONS").line("OPTIONS sip:remote-target@example.com SIP/2.0  "),
        400,
    );
    check("3.1.2.12 a date that is none", &message("INVITE").add("Date: Fri, 01 Jan 2010 16:00:00 EST\r\n"), 100);
    check(
        "3.1.2.13 headers in a Contact without brackets",
        &message("REGISTER").more("Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E\r\n"),
        400,
    );
    check(
        "3.1.2.14 spaces within brackets",
        &message("OPTIONS").to("\"Watson, Thomas\" < sip:t.watson@example.org >"),
        400,
    );
    check(
        "3.1.2.15 a comma outside of quotes",
        &message("OPTIONS").from("Bell, Alexander <sip:a.g.bell@example.com>;tag=43"),
        400,
    );
    check(
        "3.1.2.16 unknown version",
        &message("OPTIONS")
            .line("OPTIONS sip:t.watson@example.org SIP/7.0")
            .via("SIP/7.0/UDP c.example.com;branch=z9hG4bKkdjuw"),
        505,
    );
    check("3.1.2.17 CSeq of another method", &message("OPTIONS").cseq("8 INVITE"), 400);
    check("3.1.2.18 CSeq of another method, unknown", &message("NEWMETHOD").cseq("8 INVITE"), 501);
    check(
        "3.2.1 a branch of nothing but the cookie",
        &message("OPTIONS").via("SIP/2.0/UDP 127.0.0.1:40000;branch=z9hG4bK"),
        200,
    );
}

#[test]
fn headers_in_a_request_uri_are_ignored() {
    // RFC 4475 §3.1.2.11 allows 400, too.
    check("3.1.2.11", &message("INVITE").line("INVITE sip:user@example.com?Route=%3Csip:example.com%3E SIP/2.0"), 100);
}

#[test]
fn application_conditions_of_rfc_4475_are_answered() {
    let insufficient = b"INVITE sip:user@example.com SIP/2.0\r\nCSeq: 193942 INVITE\r\nVia: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKkdj\r\n\r\n";
    assert_eq!(answer(insufficient), None, "3.3.1: there is nothing to copy into a 400");
    check(
        "3.3.2 unknown scheme",
        &message("OPTIONS").line("OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0"),
        416,
    );
    check("3.3.3 registered scheme", &message("OPTIONS").line("OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0"), 416);
    let schemes = message("REGISTER")
        .to("isbn:2983792873")
        .from("<http://www.example.com>;tag=3")
        .more("Contact: <name:John_Smith>\r\n");
    check("3.3.4 other schemes in headers", &schemes, 404);
    check(
        "3.3.5 unknown extensions",
        &message("OPTIONS")
            .more("Require: nothingSupportsThis, nothingSupportsThisEither\r\nProxy-Require: noProxiesSupportThis\r\n"),
        420,
    );
    check(
        "3.3.6 unknown body",
        &message("INVITE").more("Contact: <sip:a@b>\r\nContent-Type: application/unknownformat\r\n").body(b"<audio/>"),
        415,
    );
    check(
        "3.3.7 unknown credentials",
        &message("REGISTER").more("Authorization: NoOneKnowsThisScheme opaque-data=here\r\n"),
        200,
    );
    for twice in [
        "To: <sip:x@y>",
        "From: <sip:x@y>;tag=2",
        "Call-ID: 2",
        "CSeq: 2 INVITE",
        "Max-Forwards: 1\r\nMax-Forwards: 2",
        "Content-Type: text/x",
    ] {
        check("3.3.8 repeated single headers", &message("INVITE").add(&format!("{twice}\r\n")), 400);
    }
    check(
        "3.3.9 Content-Length twice",
        &message("OPTIONS").more("Content-Length: 2\r\nContent-Length: 2\r\n").body(b"ab"),
        400,
    );
    check("3.3.11 Max-Forwards 0", &message("OPTIONS").more("Max-Forwards: 0\r\n"), 200);
    check("3.3.15 the answer is not acceptable", &message("INVITE").add("Accept: text/nobodyKnowsThis\r\n"), 406);
}

#[test]
fn contacts_of_rfc_4475_are_kept_as_they_are() {
    for (contact, listed) in [
        (
            "sip:+19725552222@gw1.example.net;unknownparam",
            "<sip:+19725552222@gw1.example.net>;unknownparam;expires=300",
        ),
        (
            "<sip:+19725552222@gw1.example.net;unknownparam>",
            "<sip:+19725552222@gw1.example.net;unknownparam>;expires=300",
        ),
        (
            "<sip:user@example.com?Route=%3Csip:sip.example.com%3E>",
            "<sip:user@example.com?Route=%3Csip:sip.example.com%3E>;expires=300",
        ),
    ] {
        let mut rig = Rig::new();
        rig.receive(&message("REGISTER").more(&format!("Contact: {contact}\r\n")).bytes());
        assert_eq!(rig.last().header("Contact"), Some(listed), "3.3.12 to 3.3.14");
    }
}

#[test]
fn ipv6_of_rfc_5118_is_read() {
    let register = |target: &str| {
        message("REGISTER")
            .line(&format!("REGISTER {target} SIP/2.0"))
            .more("Contact: \"C\" <sip:caller@[2001:db8::1]>\r\n")
    };
    check(
        "4.1 in brackets",
        &register("sip:[2001:db8::10]").via("SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111"),
        200,
    );
    check("4.2 without brackets", &register("sip:2001:db8::10"), 400);
    check("4.3 what looks like a port is none", &register("sip:[2001:db8::10:5070]"), 200);
    check("4.4 a port", &register("sip:[2001:db8::10]:5070"), 200);
    check(
        "4.5 received with brackets",
        &message("OPTIONS").via("SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3-111"),
        200,
    );
    check(
        "4.5 received without brackets",
        &message("OPTIONS").via("SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKas3"),
        200,
    );
    check("4.7 several addresses", &message("OPTIONS").via("SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjhja8781hjuaij65144\r\nVia: SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200"), 200);
    check(
        "4.9 IPv4 in IPv6",
        &message("INVITE")
            .via("SIP/2.0/UDP [::ffff:192.0.2.10]:19823;branch=z9hG4bKbh19")
            .more("Contact: \"T\" <sip:user@[::ffff:192.0.2.10]:19823>\r\nContent-Type: application/sdp\r\n"),
        100,
    );
    check("4.10 three colons", &message("OPTIONS").line("OPTIONS sip:user@[2001:db8:::192.0.2.1] SIP/2.0"), 200);
    check("4.10 two colons", &message("OPTIONS").line("OPTIONS sip:user@[2001:db8::192.0.2.1] SIP/2.0"), 200);
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
