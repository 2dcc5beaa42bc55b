//! Responses of RFC 4475: each comes for a BYE of ours, which it ends, or must leave as if it had not come.

use super::message::message;
use super::server::{Sent, Server};
use std::time::Duration;

/// The sections that are about responses.
pub const SECTIONS: [&str; 5] = ["3.1.1.12", "3.1.1.13", "3.1.2.5", "3.1.2.19", "3.3.10"];

/// A call that the server has ended, and the BYE that waits for its answer.
fn hung_up() -> (Server, Sent) {
    let mut server = Server::new();
    let invite = message("INVITE");
    let outcome = server.receive("127.0.0.1:40000", &invite.bytes());
    let to = outcome.last().and_then(|ok| ok.header("To")).expect("a 200");
    let ack = invite.clone().line("ACK sip:127.0.0.1:5060 SIP/2.0").cseq("17 ACK").to(&to).more("").body(b"");
    let ack = ack.via("SIP/2.0/UDP 127.0.0.1:40000;rport;branch=z9hG4bKack");
    assert!(server.receive("127.0.0.1:40000", &ack.bytes()).sent.is_empty());
    let bye = server.hang_up(&outcome.invitation.expect("a call"));
    assert!(bye.bytes.starts_with(b"BYE "));
    (server, bye)
}

/// Says whether a response whose parts are made of the BYE's ended its transaction.
fn ends(line: &str, via: impl Fn(&str) -> String, cseq: impl Fn(&str) -> String) -> bool {
    let (mut server, bye) = hung_up();
    let of = |name: &str| bye.header(name).unwrap_or_else(|| panic!("{name}"));
    let (from, to, call_id) = (of("From"), of("To"), of("Call-ID"));
    let response = format!(
        "{line}\r\nVia: {}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {}\r\nContent-Length: 0\r\n\r\n",
        via(&of("Via")),
        cseq(&of("CSeq")),
    );
    assert!(server.receive("127.0.0.1:40000", response.as_bytes()).sent.is_empty(), "a response is never answered");
    // What has no answer yet is sent again after T1.
    server.wait(Duration::from_millis(500)) == 0
}

#[test]
fn responses_are_taken_by_their_code_and_nothing_else() {
    let same = str::to_owned;
    // 3.1.1.12 unreason: any UTF-8 may be a reason.
    assert!(ends("SIP/2.0 200 = 5 × 40, в точности двести", same, same));
    // 3.1.1.13 noreason: none may be one, too, with its space and, as some write it, without.
    assert!(ends("SIP/2.0 200 ", same, same));
    assert!(ends("SIP/2.0 200", same, same));
    assert!(ends("SIP/2.0 481 Gone", same, same));
    // 3.1.2.19 bigcode: a status that no status can be.
    for line in ["SIP/2.0 8589934792 as if it were 200", "SIP/2.0 2000 OK", "SIP/2.0 700 OK", "SIP/2.0 -200 OK"] {
        assert!(!ends(line, same, same), "{line}");
    }
}

#[test]
fn responses_with_numbers_too_large_are_discarded() {
    // 3.1.2.5 scalarlg.
    for number in ["2147483648", "4294967297", "18446744073709551617", "79228162514264337593543950337", "-1", ""] {
        assert!(!ends("SIP/2.0 200 OK", str::to_owned, |_| format!("{number} BYE")), "{number}");
    }
    assert!(!ends("SIP/2.0 200 OK", str::to_owned, |cseq| cseq.replace("BYE", "INVITE")));
}

#[test]
fn responses_on_their_way_to_somebody_else_are_discarded() {
    // 3.3.10 bcast: a further hop says that this one is to pass it on, and to a whole network at that.
    assert!(!ends(
        "SIP/2.0 200 OK",
        |via| format!("{via}\r\nVia: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKx"),
        str::to_owned
    ));
    assert!(!ends("SIP/2.0 200 OK", |via| format!("{via}, SIP/2.0/UDP 224.0.0.1;branch=z9hG4bKx"), str::to_owned));
    // The nearest hop is not this server.
    assert!(!ends(
        "SIP/2.0 200 OK",
        |via| format!("SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKx\r\nVia: {via}"),
        str::to_owned
    ));
}
