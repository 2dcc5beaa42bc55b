//! RFC 4475, section by section: valid, invalid, and what only an application can judge.

use super::message::{Message, OFFER, message};
use super::{Row, raw, row};

/// Every section that has an example.
pub const SECTIONS: [&str; 49] = [
    "3.1.1.1", "3.1.1.2", "3.1.1.3", "3.1.1.4", "3.1.1.5", "3.1.1.6", "3.1.1.7", "3.1.1.8", "3.1.1.9", "3.1.1.10",
    "3.1.1.11", "3.1.1.12", "3.1.1.13", "3.1.2.1", "3.1.2.2", "3.1.2.3", "3.1.2.4", "3.1.2.5", "3.1.2.6", "3.1.2.7",
    "3.1.2.8", "3.1.2.9", "3.1.2.10", "3.1.2.11", "3.1.2.12", "3.1.2.13", "3.1.2.14", "3.1.2.15", "3.1.2.16",
    "3.1.2.17", "3.1.2.18", "3.1.2.19", "3.2.1", "3.3.1", "3.3.2", "3.3.3", "3.3.4", "3.3.5", "3.3.6", "3.3.7",
    "3.3.8", "3.3.9", "3.3.10", "3.3.11", "3.3.12", "3.3.13", "3.3.14", "3.3.15", "3.4.1",
];

/// The whole table.
pub fn rows() -> Vec<Row> {
    let mut rows = valid();
    rows.extend(invalid_start_and_length());
    rows.extend(invalid_headers());
    rows.extend(of_the_application());
    rows.extend(of_contacts_and_bodies());
    rows
}

fn register(more: &str) -> Message {
    message("REGISTER").more(more)
}

/// Folded lines, spaces and tabs where they may stand, compact names, escapes in quotes.
fn spaced_out() -> Message {
    message("INVITE")
        .from("\"Ann \\\\\\\" Other\" <sip:ann@phones.example>\r\n\t;\r\n  tag = a1b2c3")
        .via(
            "SIP / 2.0 / UDP\r\n  127.0.0.1 : 40000;rport;branch=z9hG4bK-first\r\nv:  SIP  / 2.0  / TCP     far.example   ;\r\n  branch  =   \
             z9hG4bK-second  ,\r\n SIP  /    2.0   / UDP  192.0.2.40   ; branch=\r\n z9hG4bK-third",
        )
        .cseq("0017\r\n  INVITE")
        .more(
            "Max-Forwards \t: 0069\r\ns :\r\nWhat-Is-This:   some\r\n value\r\n\tgoes on\r\nOddities: ;;,,;;,;\r\n\
             c: application/sdp\r\nRoute:\r\n <sip:edge.example;lr;what=value;what-without>\r\n\
             m:\"In \\\"quotes\\\"\" <sip:ann@127.0.0.1:40000> ; fresh =\r\n      value ;\r\n  second ; q = 0.5\r\n",
        )
}

fn valid() -> Vec<Row> {
    let odd = "a-Method.Of!%every*Legal_+`Character'~42";
    let every_character = message(odd)
        .line(&format!(
            "{odd} sip:2_odd.User~(yes!no)&or=not+a$b/c?,d;;*:&p+q=1,x!*y$z~w_v.(u't)@phones.example SIP/2.0"
        ))
        .from("\"All \u{1f4de} of UTF-8, \\a \\\" and \\\\\" <sip:2_odd.User~(yes!no)@phones.example>;tag=_-.!%*+`'~")
        .more("Extension-!.%*+'`~: \u{1f4de} \u{43f}\u{440}\u{438}\u{432}\u{435}\u{442}\r\n");
    let long = message("INVITE")
        .to(&format!("\"A name that is {}long\" <sip:1000@127.0.0.1:5060;{}>", "very ".repeat(100), "p=v".repeat(60)))
        .via(&format!(
            "SIP/2.0/UDP 127.0.0.1:40000;rport;branch=z9hG4bKlong\r\nv: {}",
            ["SIP/2.0/TCP hop.example;branch=z9hG4bKhop"; 33].join("\r\nVia: ")
        ))
        .add(&format!("A-Header-{}: {}\r\n", "Of-Great-Length-".repeat(8), "value ".repeat(300)));
    let hops = "SIP/2.0/UDP 127.0.0.1:40000;rport;branch=z9hG4bKu\r\nVia: SIP/2.0/SCTP b.example;branch=z9hG4bKs\r\n\
                Via: SIP/2.0/TLS c.example;branch=z9hG4bKt\r\nVia: SIP/2.0/PIGEON d.example;branch=z9hG4bKp\r\n\
                Via: SIP/2.0/TCP e.example;branch=z9hG4bKc";
    vec![
        row(
            "3.1.1.1",
            "wsinv: spaces, folding, compact names; To names no dialog",
            &spaced_out().to("sip:1000@127.0.0.1 ;\r\n   tag    = 42n"),
        )
        .gives(481),
        row("3.1.1.1", "wsinv: the same outside of dialogs", &spaced_out())
            .gives(200)
            .with("Contact", "<sip:127.0.0.1:5060>")
            .leaving(|outcome| {
                let via = outcome.last().and_then(|ok| ok.header("Via")).expect("Via");
                assert_eq!(via, "SIP/2.0/UDP 127.0.0.1:40000;rport=40000;branch=z9hG4bK-first;received=127.0.0.1");
                assert!(outcome.agreed.is_some());
            }),
        row("3.1.1.2", "intmeth: every legal character, a method that nobody knows", &every_character)
            .gives(501)
            .with("Allow", "INVITE"),
        row(
            "3.1.1.3",
            "esc01: escapes in the user",
            &message("INVITE")
                .line("INVITE sip:sips%3Aann%40office.example@phones.example SIP/2.0")
                .to("<sip:%61nn@phones.example>"),
        )
        .gives(200),
        row(
            "3.1.1.3",
            "esc01: an escape is undone, once, to compare",
            &register("Contact: <sip:a@127.0.0.1>\r\n").to("<sip:%61nn%2541@Phones.Example:5060;x=y>"),
        )
        .gives(200)
        .leaving(|outcome| {
            assert_eq!(outcome.bindings[0].0, "sip:ann%2541@phones.example");
        }),
        row(
            "3.1.1.4",
            "escnull: NUL escaped cuts nothing",
            &register("Contact: <sip:%00@h.example>\r\nContact: <sip:%00%00@h.example>\r\n")
                .to("<sip:null-%00-null@phones.example>"),
        )
        .gives(200)
        .leaving(|outcome| {
            let contacts: Vec<&str> = outcome.bindings.iter().map(|(_, contact)| contact.as_str()).collect();
            assert_eq!(contacts, ["sip:%00@h.example", "sip:%00%00@h.example"]);
            assert_eq!(outcome.bindings[0].0, "sip:null-%00-null@phones.example");
        }),
        row(
            "3.1.1.5",
            "esc02: an escaped method is another one",
            &message("R%45GISTER").more("Contact: <sip:a@127.0.0.1>\r\n"),
        )
        .gives(501)
        .with("Allow", "REGISTER")
        .leaving(|outcome| assert!(outcome.bindings.is_empty())),
        row(
            "3.1.1.6",
            "lwsdisp: no space before the bracket",
            &message("OPTIONS").from("ann<sip:ann@phones.example>;tag=7"),
        )
        .gives(200)
        .with("Accept", "application/sdp"),
        row("3.1.1.7", "longreq: long values, many hops, compact names", &long).gives(200),
        row(
            "3.1.1.8",
            "dblreq: octets beyond the body",
            &register("Contact: <sip:a@127.0.0.1>\r\nContent-Length: 0\r\n").body(&message("INVITE").bytes()),
        )
        .gives(200)
        .leaving(|outcome| assert!(outcome.invitation.is_none())),
        row(
            "3.1.1.9",
            "semiuri: a semicolon in the user is of the user",
            &message("OPTIONS").line("OPTIONS sip:ann;p=q%40h.example@phones.example SIP/2.0"),
        )
        .gives(200),
        row(
            "3.1.1.9",
            "semiuri: and makes another user",
            &register("Contact: <sip:a@127.0.0.1>\r\n").to("<sip:ann;p=q@phones.example>"),
        )
        .gives(200)
        .leaving(|outcome| assert_eq!(outcome.bindings[0].0, "sip:ann;p=q@phones.example")),
        row("3.1.1.10", "transports: unknown ones in Via", &message("OPTIONS").via(hops)).gives(200),
        row(
            "3.1.1.11",
            "mpart01: a binary body of several parts",
            &message("MESSAGE")
                .more("Content-Type: multipart/mixed;boundary=x0y\r\n")
                .body(b"--x0y\r\n\r\n\0\xff\r\n\x80--x0y--\r\n"),
        )
        .gives(405)
        .with("Allow", "INVITE"),
        row("3.1.1.11", "mpart01: a session description among binary parts", &mixed()).gives(200).leaving(|outcome| {
            let offer = outcome.invitation.as_ref().and_then(|invitation| invitation.offer.clone());
            assert_eq!(offer.as_deref(), Some([OFFER.as_bytes(), b"a=x:\xff\xfe"].concat().as_slice()));
        }),
    ]
}

fn mixed() -> Message {
    let body = [
        b"preamble\r\n--x0y\r\nContent-Type: application/pkcs7-signature\r\n\r\n\x80\0\xff\r\n--x0y\r\nContent-Type: application/sdp\r\n\r\n".as_slice(),
        OFFER.as_bytes(),
        b"a=x:\xff\xfe\r\n--x0y--\r\n",
    ];
    message("INVITE")
        .more("Contact: <sip:a@127.0.0.1>\r\nContent-Type: multipart/mixed;boundary=x0y\r\n")
        .body(&body.concat())
}

fn invalid_start_and_length() -> Vec<Row> {
    let line = |line: &str| message("INVITE").line(line);
    vec![
        row("3.1.2.2", "clerr: Content-Length beyond the body", &message("INVITE").add("Content-Length: 9999\r\n"))
            .gives(400),
        row("3.1.2.3", "ncl: a negative Content-Length", &message("INVITE").add("Content-Length: -998\r\n")).gives(400),
        row("3.1.2.3", "ncl: a sign, a fraction, a word", &message("INVITE").add("Content-Length: +1\r\n")).gives(400),
        row("3.1.2.7", "ltgtruri: brackets round the Request-URI", &line("INVITE <sip:1000@127.0.0.1> SIP/2.0"))
            .gives(400),
        row("3.1.2.8", "lwsruri: a space in the Request-URI", &line("INVITE sip:1000@127.0.0.1; lr SIP/2.0"))
            .gives(400),
        row("3.1.2.9", "lwsstart: several spaces in the request line", &line("INVITE  sip:1000@127.0.0.1  SIP/2.0"))
            .gives(400),
        row(
            "3.1.2.10",
            "trws: spaces behind the version",
            &message("OPTIONS").line("OPTIONS sip:1000@127.0.0.1 SIP/2.0  "),
        )
        .gives(400),
        // 400 would do as well (RFC 4475); what they ask for is not done in any case.
        row(
            "3.1.2.11",
            "escruri: headers in the Request-URI are ignored",
            &line("INVITE sip:1000@127.0.0.1?Route=%3Csip:evil.example%3E SIP/2.0"),
        )
        .gives(200)
        .leaving(|outcome| {
            assert!(outcome.sent.iter().all(|sent| sent.to.to_string() == "127.0.0.1:40000"));
            assert!(outcome.sent.iter().all(|sent| sent.header("Route").is_none()));
        }),
        row(
            "3.1.2.16",
            "badvers: another version",
            &message("OPTIONS")
                .line("OPTIONS sip:1000@127.0.0.1 SIP/9.1")
                .via("SIP/9.1/UDP 127.0.0.1:40000;rport;branch=z9hG4bKv"),
        )
        .gives(505),
        raw("3.1.2.16", "no version at all is no SIP", message("OPTIONS").line("OPTIONS sip:1000@127.0.0.1").bytes()),
    ]
}

fn invalid_headers() -> Vec<Row> {
    vec![
        row("3.1.2.1", "badinv01: separators too many in Via", &message("INVITE").via("SIP/2.0/UDP 127.0.0.1:40000;;,;,,")).gives(400),
        row("3.1.2.1", "badinv01: separators too many in Contact", &message("INVITE").more("Contact: \"Ann\" <sip:ann@127.0.0.1>;;;;\r\n")).gives(400),
        row("3.1.2.4", "scalar02: CSeq beyond every integer", &message("REGISTER").cseq("36893488147419103232 REGISTER")).gives(400),
        row("3.1.2.4", "scalar02: CSeq just too large", &message("REGISTER").cseq("2147483648 REGISTER")).gives(400),
        row("3.1.2.4", "scalar02: CSeq just not too large", &message("REGISTER").cseq("2147483647 REGISTER")).gives(200),
        row("3.1.2.4", "scalar02: the others are as long as can be", &register("Max-Forwards: 300\r\nExpires: 10000000000000000000000\r\nContact: <sip:a@127.0.0.1>;expires=280297596632815\r\n")).gives(200).with("Contact", ";expires=3600"),
        row("3.1.2.6", "quotbal: a quote that does not end", &message("INVITE").to("\"Mrs. A. Other <sip:ann@127.0.0.1>")).gives(400),
        row("3.1.2.12", "baddate: a date of no known zone is nobody's business", &message("INVITE").add("Date: Sat, 02 Jan 2027 15:00:00 PST\r\n")).gives(200),
        row("3.1.2.13", "regbadct: headers in a Contact without brackets", &register("Contact: sip:ann@127.0.0.1?Route=%3Csip:edge.example%3E\r\n")).gives(400).leaving(|outcome| assert!(outcome.bindings.is_empty())),
        row("3.1.2.14", "badaspec: spaces within brackets", &message("OPTIONS").to("\"Other, Ann\" < sip:ann@127.0.0.1 >")).gives(400),
        row("3.1.2.15", "baddn: a comma outside of quotes", &message("OPTIONS").from("Other, Ann <sip:ann@127.0.0.1>;tag=9")).gives(400),
        row("3.1.2.17", "mismatch01: CSeq of another method", &message("OPTIONS").cseq("8 INVITE")).gives(400),
        row("3.1.2.18", "mismatch02: CSeq of another method than one that nobody knows", &message("PONDER").cseq("8 INVITE")).gives(501).with("Allow", "INVITE"),
        row("3.2.1", "badbranch: a branch of nothing but the cookie is none", &message("OPTIONS").via("SIP/2.0/UDP 127.0.0.1:40000;rport;branch=z9hG4bK")).gives(200),
    ]
}

fn of_the_application() -> Vec<Row> {
    let insufficient = b"INVITE sip:1000@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:40000;rport;branch=z9hG4bKi\r\nCSeq: 7 INVITE\r\nMax-Forwards: 70\r\n\r\n";
    let without_via = [&message("OPTIONS").bytes()[..36], b"To: <sip:a@b>\r\nMax-Forwards: 70\r\n\r\n"].concat();
    let schemes = message("REGISTER")
        .to("urn:isbn:0306406152")
        .from("<http://www.example.net/ann>;tag=3")
        .more("Contact: <news:comp.phones>\r\n");
    let mut rows = vec![
        raw("3.3.1", "insuf: neither From nor To nor Call-ID", insufficient.to_vec())
            .gives(400)
            .leaving(|outcome| assert!(outcome.invitation.is_none())),
        // An answer would be three times as long.
        raw(
            "3.3.1",
            "a scrap of a header gets nothing",
            b"REGISTER sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0".to_vec(),
        ),
        raw("3.3.1", "insuf: without Via there is no way back", without_via),
        row(
            "3.3.2",
            "unkscm: a scheme that nobody knows",
            &message("OPTIONS").line("OPTIONS riddle:whatever-this-may-be SIP/2.0"),
        )
        .gives(416),
        row(
            "3.3.3",
            "novelsc: a scheme of something else",
            &message("OPTIONS").line("OPTIONS tip://192.0.2.9:3372/?peer SIP/2.0"),
        )
        .gives(416),
        row("3.3.4", "unksm2: other schemes in To, From and Contact", &schemes).gives(404),
        row(
            "3.3.5",
            "bext01: extensions that nobody has",
            &message("OPTIONS").more("Require: telepathy, clairvoyance\r\nProxy-Require: levitation\r\n"),
        )
        .gives(420)
        .with("Unsupported", "telepathy, clairvoyance")
        .leaving(|outcome| {
            let unsupported = outcome.last().and_then(|answer| answer.header("Unsupported")).expect("a header");
            assert!(!unsupported.contains("levitation"), "that one is for proxies");
        }),
        row(
            "3.3.6",
            "invut: a body of unknown type",
            &message("INVITE")
                .more("Contact: <sip:a@127.0.0.1>\r\nContent-Type: application/riddle\r\n")
                .body(b"what walks on four legs"),
        )
        .gives(415)
        .with("Accept", "application/sdp"),
        row(
            "3.3.7",
            "regaut01: credentials of an unknown scheme are none",
            &register("Contact: <sip:a@127.0.0.1>\r\nAuthorization: Handshake secret=knock-knock\r\n"),
        )
        .gives(200),
        row(
            "3.3.9",
            "mcl01: Content-Length twice",
            &message("OPTIONS").more("Content-Length: 2\r\nContent-Length: 5\r\n").body(b"abcde"),
        )
        .gives(400),
        row(
            "3.3.11",
            "zeromf: Max-Forwards 0 is for whoever passes it on",
            &message("OPTIONS").more("Max-Forwards: 0\r\n"),
        )
        .gives(200),
    ];
    let twice = [
        "To: <sip:x@y>",
        "From: <sip:x@y>;tag=2",
        "Call-ID: 2",
        "CSeq: 2 INVITE",
        "Max-Forwards: 1\r\nMax-Forwards: 2",
        "Content-Type: text/x",
    ];
    rows.extend(twice.map(|twice| {
        row("3.3.8", "multi01: what may come once comes twice", &message("INVITE").add(&format!("{twice}\r\n")))
            .gives(400)
    }));
    rows
}

fn of_contacts_and_bodies() -> Vec<Row> {
    let old =
        message("INVITE").via("SIP/2.0/UDP 127.0.0.1:40000").from("<sip:ann@127.0.0.1>").to("<sip:1000@127.0.0.1>");
    vec![
        row(
            "3.3.12",
            "cparam01: without brackets a parameter is of the Contact",
            &register("Contact: sip:+15551234@gate.example;unheard-of\r\n"),
        )
        .gives(200)
        .leaving(|outcome| {
            assert_eq!(
                outcome.last().and_then(|ok| ok.header("Contact")).as_deref(),
                Some("<sip:+15551234@gate.example>;unheard-of;expires=300")
            );
        }),
        row(
            "3.3.13",
            "cparam02: within brackets it is of the URI",
            &register("Contact: <sip:+15551234@gate.example;unheard-of>\r\n"),
        )
        .gives(200)
        .leaving(|outcome| {
            assert_eq!(
                outcome.last().and_then(|ok| ok.header("Contact")).as_deref(),
                Some("<sip:+15551234@gate.example;unheard-of>;expires=300")
            );
        }),
        row(
            "3.3.14",
            "regescrt: an escaped Route in a Contact is kept and not followed",
            &register("Contact: <sip:ann@h.example?Route=%3Csip:edge.example%3E>\r\n"),
        )
        .gives(200)
        .leaving(|outcome| {
            assert_eq!(outcome.bindings[0].1, "sip:ann@h.example?Route=%3Csip:edge.example%3E");
            assert!(outcome.sent.iter().all(|sent| sent.header("Route").is_none()));
        }),
        row("3.3.15", "sdp01: the answer would not be understood", &message("INVITE").add("Accept: text/riddle\r\n"))
            .gives(406),
        row("3.4.1", "inv2543: no branch, no tag, no Max-Forwards", &old)
            .gives(200)
            .with("Contact", "<sip:")
            .leaving(|outcome| assert!(outcome.agreed.is_some())),
    ]
}
