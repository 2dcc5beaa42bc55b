//! What hides in broken messages must not come out again in answers, and what is only odd arrives as it was sent.

use crate::message::message;
use crate::server::{Outcome, Sent, Server};

const SOURCE: &str = "127.0.0.1:40000";

fn receive(bytes: &[u8]) -> Outcome {
    Server::new().receive(SOURCE, bytes)
}

#[test]
fn refusals_copy_what_they_must_even_from_the_unreadable() {
    let mut server = Server::new();
    let odd = message("INVITE").via("SIP/2.0/UDP 192.0.2.15;;,;,,").to("\"unbalanced <sip:a@b>");
    let outcome = server.receive(SOURCE, &odd.bytes());
    let [refusal] = outcome.sent.as_slice() else { panic!("{:?}", outcome.sent) };
    assert_eq!(refusal.to, SOURCE.parse().expect("an address"), "a Via that cannot be read is not followed");
    assert_eq!(refusal.header("Via").as_deref(), Some("SIP/2.0/UDP 192.0.2.15;;,;,,"));
    assert!(refusal.header("To").is_some_and(|to| to.starts_with("\"unbalanced <sip:a@b>;tag=")));
    assert_eq!(refusal.header("Call-ID").as_deref(), Some("torture.1@127.0.0.1"));
    assert_eq!(refusal.header("CSeq").as_deref(), Some("17 INVITE"));
    assert_eq!(server.counters().parse_errors, 1);
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
        assert!(receive(&broken.bytes()).sent.is_empty(), "{}", String::from_utf8_lossy(&broken.bytes()));
    }
}

#[test]
fn what_a_phone_hides_in_names_never_breaks_a_line() {
    let outcome = receive(&message("INVITE").from("\"a\\\rVia: x\" <sip:a@b>;tag=1").bytes());
    let [refusal] = outcome.sent.as_slice() else { panic!("{:?}", outcome.sent) };
    let text = String::from_utf8(refusal.bytes.clone()).expect("text");
    assert!(text.starts_with("SIP/2.0 400 Control Character In Header\r\n"), "{text}");
    assert_eq!(refusal.header("From"), None, "it is not repeated");
    assert_eq!(text.matches("Via: ").count(), 1, "{text}");
    assert_eq!(outcome.invitation, None);
    let nul = receive(&message("INVITE").from("\"a\\\0b\" <sip:a@b>;tag=1").bytes());
    assert_eq!((nul.last().map(Sent::status), nul.invitation), (Some(400), None));
}

#[test]
fn a_part_of_a_multipart_body_reaches_the_engine_byte_for_byte() {
    let sdp = [b"v=0\r\n".as_slice(), &[0, 255, 254]].concat();
    let body = [b"--b\r\nContent-Type: application/sdp\r\n\r\n".as_slice(), &sdp, b"\r\n--b--\r\n"].concat();
    let mixed =
        message("INVITE").more("Contact: <sip:a@b>\r\nContent-Type: multipart/mixed;boundary=b\r\n").body(&body);
    let invitation = receive(&mixed.bytes()).invitation.expect("an invitation");
    assert_eq!(invitation.offer, Some(sdp));
}
