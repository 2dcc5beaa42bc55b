//! RFC 5118, section by section: IPv6 addresses wherever a message may have one.

use super::message::{Message, message};
use super::{Row, row};
use offhook::sdp::RemoteAddress;

/// Every section that has an example.
pub const SECTIONS: [&str; 10] = ["4.1", "4.2", "4.3", "4.4", "4.5", "4.6", "4.7", "4.8", "4.9", "4.10"];

const PHONE: &str = "[fd00::2]:40000";

fn v6(method: &str) -> Message {
    message(method)
        .line(&format!("{method} sip:1000@[fd00::1] SIP/2.0"))
        .via("SIP/2.0/UDP [fd00::2]:40000;rport;branch=z9hG4bKsix")
        .from("\"Six\" <sip:caller@[fd00::2]>;tag=6")
        .to("<sip:1000@[fd00::1]>")
}

fn register(target: &str) -> Message {
    v6("REGISTER").line(&format!("REGISTER {target} SIP/2.0")).more("Contact: \"Six\" <sip:caller@[fd00::2]:40000>\r\n")
}

fn invite(sdp: &str) -> Message {
    v6("INVITE").more("Contact: <sip:caller@[fd00::2]:40000>\r\nContent-Type: application/sdp\r\n").body(sdp.as_bytes())
}

/// The whole table.
pub fn rows() -> Vec<Row> {
    let mut rows = of_uris();
    rows.extend(of_via());
    rows.extend(of_descriptions());
    rows
}

fn of_uris() -> Vec<Row> {
    vec![
        row("4.1", "in brackets, everywhere", &register("sip:[fd00::1]"))
            .from(PHONE)
            .gives(200)
            .with("Contact", "<sip:caller@[fd00::2]:40000>;expires=")
            .leaving(|outcome| {
                assert_eq!(
                    outcome.bindings,
                    [("sip:1000@[fd00::1]".to_owned(), "sip:caller@[fd00::2]:40000".to_owned())]
                );
                let ok = outcome.last().expect("a 200");
                assert_eq!(
                    ok.header("Via").as_deref(),
                    Some("SIP/2.0/UDP [fd00::2]:40000;rport=40000;branch=z9hG4bKsix;received=fd00::2")
                );
                assert_eq!(ok.to.to_string(), PHONE);
            }),
        row("4.2", "without brackets", &register("sip:fd00::1")).from(PHONE).gives(400),
        row("4.3", "what looks like a port is the end of the address", &register("sip:[fd00::1:5070]"))
            .from(PHONE)
            .gives(200),
        row("4.4", "a port behind the brackets", &register("sip:[fd00::1]:5070")).from(PHONE).gives(200),
        row(
            "4.10",
            "three colons came out of a bug in the grammar",
            &v6("OPTIONS").line("OPTIONS sip:1000@[fd00:::192.0.2.1] SIP/2.0"),
        )
        .from(PHONE)
        .gives(200),
        row("4.10", "two colons and an IPv4 tail", &v6("OPTIONS").line("OPTIONS sip:1000@[fd00::192.0.2.1] SIP/2.0"))
            .from(PHONE)
            .gives(200),
    ]
}

fn of_via() -> Vec<Row> {
    let several = "SIP/2.0/UDP [fd00::2]:40000;rport;branch=z9hG4bKa\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKb\r\n\
                   Via: SIP/2.0/TCP [fd00::77]:5062;branch=z9hG4bKc;received=192.0.2.77";
    vec![
        row("4.5", "received in brackets", &v6("OPTIONS").via("SIP/2.0/UDP [fd00::2]:40000;received=[fd00::9:255];rport;branch=z9hG4bKr")).from(PHONE).gives(200).with("Via", ";branch=z9hG4bKr"),
        row("4.5", "received without them, as the grammar has it", &v6("OPTIONS").via("SIP/2.0/UDP [fd00::2]:40000;received=fd00::9:255;rport;branch=z9hG4bKr")).from(PHONE).gives(200).with("Via", ";branch=z9hG4bKr"),
        row("4.5", "both in a farther hop are kept as they are", &v6("OPTIONS").via("SIP/2.0/UDP [fd00::2]:40000;rport;branch=z9hG4bKa, SIP/2.0/UDP [fd00::3];received=[fd00::9];branch=z9hG4bKb, SIP/2.0/UDP [fd00::4];received=fd00::9;branch=z9hG4bKc")).from(PHONE).gives(200),
        row("4.7", "both families in Via and Contact", &v6("OPTIONS").via(several).more("Contact: <sip:a@[fd00::2]>\r\n")).from(PHONE).gives(200),
        row("4.7", "a caller by IPv4 behind hops of IPv6", &message("OPTIONS").via("SIP/2.0/UDP 127.0.0.1:40000;rport;branch=z9hG4bKa\r\nVia: SIP/2.0/UDP [fd00::2];branch=z9hG4bKb")).gives(200),
    ]
}

fn of_descriptions() -> Vec<Row> {
    let single = "v=0\r\no=six 1 1 IN IP6 fd00::2\r\ns=-\r\nc=IN IP6 fd00::20\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\na=rtcp:6009 IN IP6 fd00::21\r\n";
    let several = "v=0\r\no=six 1 1 IN IP6 fd00::2\r\ns=-\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8\r\nc=IN IP6 fd00::30\r\n\
                   m=video 6002 RTP/AVP 31\r\nc=IN IP4 192.0.2.31\r\n";
    let mapped = "v=0\r\no=six 1 1 IN IP6 ::ffff:10.0.0.2\r\ns=-\r\nc=IN IP6 ::ffff:10.0.0.2\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n";
    let mapped = message("INVITE")
        .via("SIP/2.0/UDP [::ffff:10.0.0.2]:19823;rport;branch=z9hG4bKm")
        .more("Contact: \"M\" <sip:m@[::ffff:10.0.0.2]:19823>\r\nContent-Type: application/sdp\r\n")
        .body(mapped.as_bytes());
    vec![
        row("4.6", "in a session description", &invite(single))
            .from(PHONE)
            .gives(200)
            .with("Contact", "<sip:[fd00::1]:5060>")
            .leaving(|outcome| {
                let agreed = outcome.agreed.expect("an agreement");
                let known = |text: &str| RemoteAddress::Known(text.parse().expect("an address"));
                assert_eq!((agreed.remote, agreed.remote_rtcp), (known("[fd00::20]:6000"), known("[fd00::21]:6009")));
                let answer = outcome.last().expect("a 200").body();
                assert!(
                    answer.contains("\r\nc=IN IP6 fd00::1\r\n") && answer.contains(" IN IP6 fd00::1\r\n"),
                    "{answer}"
                );
            }),
        row("4.8", "both families in one description", &invite(several)).from(PHONE).gives(200).leaving(|outcome| {
            let agreed = outcome.agreed.expect("an agreement");
            assert_eq!(agreed.remote.known().map(|remote| remote.to_string()).as_deref(), Some("[fd00::30]:6000"));
            assert!(outcome.last().expect("a 200").body().contains("\r\nm=video 0 "), "each medium has its answer");
        }),
        row("4.9", "IPv4 written as IPv6", &mapped).from("[::ffff:10.0.0.2]:19823").gives(200).leaving(|outcome| {
            let agreed = outcome.agreed.expect("an agreement");
            assert_eq!(agreed.remote.known().map(|remote| remote.to_string()).as_deref(), Some("10.0.0.2:6000"));
            let via = outcome.last().and_then(|ok| ok.header("Via")).expect("Via");
            assert!(via.contains(";received=10.0.0.2"), "{via}");
        }),
    ]
}
