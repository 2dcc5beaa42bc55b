//! Digits that come by INFO (RFC 6086 §2, legacy use): `application/dtmf-relay` and `application/dtmf`.

use super::message::Request;

/// What a digit lasts where the body does not say (the usual value of the phones that send it).
const DURATION_DEFAULT_MS: u32 = 160;

/// What an INFO wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Info {
    /// A digit was pressed: `0` to `9`, `A` to `D`, `*`, `#`, or `R` for a hook flash.
    Digit { digit: char, duration_ms: u32 },
    /// Nothing: an empty INFO asks whether the dialog lives.
    Empty,
    /// 415: a body that is not known.
    UnknownType,
    /// 469: an info package, none of which was agreed upon.
    UnknownPackage,
    /// 400: a digit that is none.
    BadDigit,
}

/// Reads an INFO.
#[must_use]
pub fn read(request: &Request) -> Info {
    if request.header("Info-Package").is_some() {
        return Info::UnknownPackage;
    }
    if request.body().is_empty() {
        return Info::Empty;
    }
    let kind = request.header("Content-Type").and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    let text = std::str::from_utf8(request.body()).unwrap_or_default();
    let (signal, duration_ms) = if kind.eq_ignore_ascii_case("application/dtmf-relay") {
        (field(text, "signal").unwrap_or_default(), field(text, "duration").and_then(|text| text.parse().ok()))
    } else if kind.eq_ignore_ascii_case("application/dtmf") {
        (field(text, "signal").unwrap_or(text.trim()), None)
    } else {
        return Info::UnknownType;
    };
    match digit(signal) {
        Some(digit) => Info::Digit { digit, duration_ms: duration_ms.unwrap_or(DURATION_DEFAULT_MS) },
        None => Info::BadDigit,
    }
}

fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let lines = text.split(['\r', '\n']).filter_map(|line| line.split_once('='));
    lines
        .map(|(found, value)| (found.trim(), value.trim()))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

fn digit(signal: &str) -> Option<char> {
    match signal {
        // The event numbers of RFC 4733 §3.2, which some phones write.
        "10" => Some('*'),
        "11" => Some('#'),
        "12" | "a" | "A" => Some('A'),
        "13" | "b" | "B" => Some('B'),
        "14" | "c" | "C" => Some('C'),
        "15" | "d" | "D" => Some('D'),
        "16" | "r" | "R" | "!" => Some('R'),
        _ => {
            let mut chars = signal.chars();
            chars
                .next()
                .filter(|digit| digit.is_ascii_digit() || matches!(digit, '*' | '#'))
                .filter(|_| chars.next().is_none())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::lexer::lex;

    fn info(headers: &str, body: &str) -> Info {
        let text = format!(
            "INFO sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 INFO\r\n{headers}\r\n{body}"
        );
        read(&Request::read(&lex(text.as_bytes()).expect("SIP")).expect("a request"))
    }

    #[test]
    fn digits_are_read_in_every_way_that_phones_write_them() {
        for (kind, body, digit, duration_ms) in [
            ("dtmf-relay", "Signal=5\r\nDuration=160", '5', 160),
            ("dtmf-relay", "signal= #\nduration= 250\n", '#', 250),
            ("DTMF-Relay", "Signal=11", '#', 160),
            ("dtmf-relay", "Signal=*\r\nDuration=x\r\n", '*', 160),
            ("dtmf-relay", "Signal=d\r\nDuration=100\r\n", 'D', 100),
            ("dtmf", "7", '7', 160),
            ("dtmf", " 16 \r\n", 'R', 160),
        ] {
            assert_eq!(
                info(&format!("Content-Type: application/{kind}\r\n"), body),
                Info::Digit { digit, duration_ms },
                "{body}"
            );
        }
    }

    #[test]
    fn what_is_no_digit_is_told_apart() {
        assert_eq!(info("", ""), Info::Empty);
        assert_eq!(info("Content-Type: application/media_control+xml\r\n", "<x/>"), Info::UnknownType);
        assert_eq!(info("Info-Package: foo\r\n", ""), Info::UnknownPackage);
        for body in ["Signal=", "Signal=17", "Signal=55", "Duration=5", "Signal=é"] {
            assert_eq!(info("Content-Type: application/dtmf-relay\r\n", body), Info::BadDigit, "{body}");
        }
    }
}
