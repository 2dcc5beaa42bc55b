//! Changes by somebody who knows SIP, digest and SDP: header fields, parameters, lengths, lines.

use super::corpus::Corpus;
use super::mutate::{self, NUMBERS, pick};
use fastrand::Rng;

const METHODS: &[&str] = &[
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "REGISTER",
    "OPTIONS",
    "INFO",
    "UPDATE",
    "PRACK",
    "REFER",
    "NOTIFY",
    "SUBSCRIBE",
    "MESSAGE",
    "PUBLISH",
    "invite",
    "FOO",
    "",
];

const FIELDS: &[&str] = &[
    "Require: 100rel",
    "Require: timer, replaces",
    "Supported: 100rel, timer, replaces",
    "Session-Expires: 1800;refresher=uas",
    "Session-Expires: 90",
    "x: 0",
    "Min-SE: 4294967296",
    "Content-Length: 7",
    "l: 0",
    "Content-Encoding: gzip",
    "Content-Type: multipart/mixed;boundary=b",
    "Content-Type: application/dtmf-relay",
    "Accept: text/plain",
    "Expires: 0",
    "Contact: *",
    "Contact: <sip:a@10.9.9.9:9;transport=tcp>;expires=60;+sip.instance=\"<urn:uuid:1>\";reg-id=1",
    "m: <sip:[::1]:5060>",
    "Record-Route: <sip:p.example;lr>, <sip:q.example>",
    "Route: <sip:127.0.0.1;lr>",
    "Max-Forwards: 0",
    "Replaces: a;to-tag=b;from-tag=c",
    "Refer-To: <sip:x@y?Replaces=a%3Bto-tag%3Db>",
    "r: sip:2000@10.0.0.1",
    "RAck: 1 1 INVITE",
    "RSeq: 4294967295",
    "Event: refer",
    "Subscription-State: terminated",
    "Info-Package: x",
    "Timestamp: 1.5",
    "Date: x",
    "Proxy-Require: x",
    "Reason: SIP;cause=200",
    "Privacy: id",
    "P-Asserted-Identity: <sip:x@y>",
    "Content-Disposition: render;handling=optional",
    "From: <sip:a@b>",
    "Via: SIP/2.0/UDP 255.255.255.255;maddr=224.0.0.1;ttl=255;rport;received=1.1.1.1",
    "v: SIP/2.0/TCP [::1]:5062",
    "Authorization: Digest username=\"a\", realm=\"offhook\", nonce=\"0\", uri=\"sip:b\", response=\"00000000000000000000000000000000\"",
    "Proxy-Authorization: Digest",
    "Authorization: Basic YTpi",
    "CSeq: 1 BYE",
    "Call-ID: other",
    "To: <sip:a@b>;tag=1",
    "Odd : x",
    " folded",
];

const PARAMS: &[&str] = &[
    ";rport",
    ";rport=0",
    ";received=[::1]",
    ";maddr=224.0.0.1",
    ";branch=z9hG4bK",
    ";tag=",
    ";tag=\"x\"",
    ";expires=0",
    ";q=0.5",
    ";lr",
    ";transport=tls",
    ";ob",
    ";x=\"a\\\"b;c,d\"",
    ";=",
    ";;",
    ";x==y",
    "?Route=%3Csip:a%3E",
    ":0",
    ":65536",
    ":99999999999",
    ",",
    ", <sip:a@b>",
];

const DIGEST: &[&str] = &[
    ", qop=auth",
    ", qop=\"auth,auth-int\"",
    ", nc=00000000",
    ", nc=ffffffff",
    ", nc=100000000",
    ", nc=0x1",
    ", cnonce=\"\"",
    ", algorithm=SHA-256",
    ", algorithm=MD5-sess",
    ", algorithm=",
    ", response=\"\"",
    ", response=zz",
    ", nonce=\"\"",
    ", realm=x",
    ", username=\"a\\\"b\"",
    ", username*=UTF-8''%C3%A9",
    ", opaque=\"\\\\\"",
    ", uri=\"sip:*\"",
    ",,,",
    ", x",
    ", userhash=true",
];

/// Changes a SIP message once.
pub fn sip(rng: &mut Rng, message: &mut Vec<u8>, corpus: &Corpus) {
    let (mut lines, mut body) = split(message);
    let at = rng.usize(..lines.len());
    match rng.u8(0..17) {
        0 => lines.insert(at, lines[rng.usize(..lines.len())].clone()),
        1 if lines.len() > 1 => {
            lines.remove(at);
        }
        2 => {
            let other = rng.usize(..lines.len());
            lines.swap(at, other);
        }
        3 => lines.insert(at.max(1), FIELDS[rng.usize(..FIELDS.len())].into()),
        4 => lines[at].extend_from_slice(PARAMS[rng.usize(..PARAMS.len())].as_bytes()),
        5 => {
            let method = METHODS[rng.usize(..METHODS.len())];
            change_method(&mut lines, method, rng.u8(0..4) > 0);
        }
        6 => {
            let names =
                ["CSeq", "Expires", "Max-Forwards", "Content-Length", "Session-Expires", "Min-SE", "RAck", "Contact"];
            let name = names[rng.usize(..names.len())];
            if let Some(line) = lines.iter_mut().find(|line| line.starts_with(name.as_bytes())) {
                mutate::number(rng, line);
            }
        }
        7 => {
            // The value of a field of somebody else's.
            let (others, _) = split(&corpus.messages[rng.usize(..corpus.messages.len())]);
            let name: Vec<u8> = lines[at].split(|byte| *byte == b':').next().unwrap_or_default().to_vec();
            if let Some(other) = others.iter().find(|line| line.starts_with(&name)) {
                lines[at] = other.clone();
            }
        }
        8 => {
            let middle = lines[at].len() / 2;
            lines[at].splice(middle..middle, *b"\r\n \t");
        }
        9 => {
            let count = rng.usize(1..300);
            let field = [b"X-Many: ".to_vec(), vec![b'y'; rng.usize(0..24)]].concat();
            lines.extend(std::iter::repeat_n(field, count));
        }
        10 => {
            let len = [64, 1000, 4090, 5000, 8000][rng.usize(..5)];
            lines[at].extend(std::iter::repeat_n(b"a,;=<\""[rng.usize(..6)], len));
        }
        11 => {
            let to_upper = rng.bool();
            lines[at]
                .iter_mut()
                .for_each(|byte| *byte = if to_upper { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() });
        }
        12 => digest(rng, &mut lines),
        13 => description(rng, &mut body, corpus),
        14 => {
            if let Some(fresh) = pick(rng, &corpus.descriptions) {
                body.clone_from(fresh);
            }
        }
        15 => {
            if let Some(colon) = lines[at].iter().position(|byte| *byte == b':') {
                let spaces = [&b" "[..], b"\t \t", b"\r\n ", b""][rng.usize(..4)];
                lines[at].splice(colon..colon, spaces.iter().copied());
            }
        }
        _ => {
            let other = &corpus.messages[rng.usize(..corpus.messages.len())];
            mutate::bytes(rng, &mut lines[at], other);
        }
    }
    if rng.u8(0..8) > 0 {
        correct_length(&mut lines, body.len());
    }
    *message = join(&lines, &body);
}

fn change_method(lines: &mut [Vec<u8>], method: &str, everywhere: bool) {
    let after =
        |line: &[u8]| line.iter().position(|byte| *byte == b' ').map_or_else(Vec::new, |at| line[at..].to_vec());
    if let Some(first) = lines.first_mut() {
        *first = [method.as_bytes(), &after(first)].concat();
    }
    if let Some(cseq) = lines.iter_mut().find(|line| everywhere && line.starts_with(b"CSeq")) {
        let keep = cseq.iter().rposition(|byte| *byte == b' ').unwrap_or(cseq.len());
        cseq.truncate(keep);
        cseq.extend_from_slice(format!(" {method}").as_bytes());
    }
}

fn digest(rng: &mut Rng, lines: &mut Vec<Vec<u8>>) {
    let Some(at) = lines.iter().position(|line| line.starts_with(b"Authorization")) else {
        lines.push(
            FIELDS.iter().find(|field| field.starts_with("Authorization")).expect("it is one").as_bytes().to_vec(),
        );
        return;
    };
    let text = String::from_utf8_lossy(&lines[at]).into_owned();
    let mut parts: Vec<&str> = text.split(',').collect();
    let part = rng.usize(..parts.len());
    match rng.u8(0..5) {
        0 => {
            parts.remove(part);
        }
        1 => parts.push(parts[part]),
        2 => parts.swap(0, part),
        3 => parts[part] = DIGEST[rng.usize(..DIGEST.len())].trim_start_matches(", "),
        _ => parts.push(&DIGEST[rng.usize(..DIGEST.len())][1..]),
    }
    lines[at] = parts.join(",").into_bytes();
    if rng.bool() {
        mutate::number(rng, &mut lines[at]);
    }
}

/// Changes a session description once.
pub fn description(rng: &mut Rng, body: &mut Vec<u8>, corpus: &Corpus) {
    const LINES: &[&str] = &[
        "c=IN IP4 0.0.0.0",
        "c=IN IP4 224.0.0.1/127/3",
        "c=IN IP6 ::ffff:10.0.0.1",
        "c=IN IP6 ff02::1",
        "c=IN IP4 host.example",
        "c=ATM NSAP 1",
        "m=audio 0 RTP/AVP 0",
        "m=audio 65535 RTP/AVP 0 8 101",
        "m=audio 49170/2 RTP/AVP 0",
        "m=video 5000 RTP/AVP 96",
        "m=image 6000 udptl t38",
        "m=audio 7000 RTP/SAVP 0",
        "m=audio 7000 RTP/SAVPF 111",
        "a=sendonly",
        "a=inactive",
        "a=recvonly",
        "a=rtcp:1 IN IP4 1.2.3.4",
        "a=rtcp:0",
        "a=rtcp-mux",
        "a=ptime:0",
        "a=ptime:65536",
        "a=maxptime:1",
        "a=rtpmap:101 telephone-event/8000",
        "a=rtpmap:0 PCMU/8000/9",
        "a=rtpmap:255 x/1",
        "a=rtpmap:-1 PCMA/8000",
        "a=rtpmap:96",
        "a=fmtp:101 0-16,66,70",
        "a=fmtp:101 999999999999-0",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:",
        "a=crypto:99999999999 AES_CM_128_HMAC_SHA1_80 inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA|2^99|1:4",
        "b=AS:99999999999",
        "t=0 0",
        "o=- 1 2",
        "a=candidate:1 1 UDP 1 1.2.3.4 5 typ host",
        "s=",
        "v=1",
        "k=clear:x",
        "a=",
    ];
    let text = body.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec());
    let mut lines: Vec<Vec<u8>> = text.filter(|line| !line.is_empty()).collect();
    let at = rng.usize(..=lines.len());
    match rng.u8(0..9) {
        0 if at < lines.len() => {
            lines.remove(at);
        }
        1 if at < lines.len() => lines.insert(at, lines[at].clone()),
        2 if at < lines.len() => {
            let other = rng.usize(..lines.len());
            lines.swap(at, other);
        }
        3 if at < lines.len() => mutate::number(rng, &mut lines[at]),
        4 => {
            if let Some(media) = lines.iter_mut().find(|line| line.starts_with(b"m=")) {
                let formats: String =
                    (0..rng.usize(1..120)).map(|_| format!(" {}", NUMBERS[rng.usize(..NUMBERS.len())])).collect();
                media.extend_from_slice(formats.as_bytes());
            }
        }
        5 => {
            let count = rng.usize(1..400);
            lines.extend(std::iter::repeat_n(LINES[rng.usize(..LINES.len())].into(), count));
        }
        6 => {
            let mut whole = lines.join(&b"\r\n"[..]);
            let other = pick(rng, &corpus.descriptions).map_or(&b""[..], Vec::as_slice);
            mutate::bytes(rng, &mut whole, other);
            *body = whole;
            return;
        }
        _ => lines.insert(at, LINES[rng.usize(..LINES.len())].into()),
    }
    let end = [&b"\r\n"[..], b"\n"][usize::from(rng.u8(0..8) == 0)];
    *body = lines.iter().flat_map(|line| [line.as_slice(), end].concat()).collect();
    body.truncate(mutate::LEN_MAX);
}

fn split(message: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n");
    let head = String::from_utf8_lossy(&message[..end.unwrap_or(message.len())]).into_owned();
    let body = end.map(|at| message[at + 4..].to_vec()).unwrap_or_default();
    (head.split("\r\n").map(|line| line.as_bytes().to_vec()).collect(), body)
}

fn join(lines: &[Vec<u8>], body: &[u8]) -> Vec<u8> {
    let mut message = lines.join(&b"\r\n"[..]);
    message.extend_from_slice(b"\r\n\r\n");
    message.extend_from_slice(body);
    message.truncate(mutate::LEN_MAX);
    message
}

/// Makes Content-Length true again, so that what was done to the body is looked at.
fn correct_length(lines: &mut [Vec<u8>], len: usize) {
    let mut found = lines.iter_mut().filter(|line| line.to_ascii_lowercase().starts_with(b"content-length"));
    if let (Some(line), None) = (found.next(), found.next()) {
        *line = format!("Content-Length: {len}").into_bytes();
    }
}
