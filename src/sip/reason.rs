//! Why a call ends: the Reason header (RFC 3326), ours and the peer's.

use super::message::Request;
use super::params::{Cursor, Params};
use super::refusals::quoted;

/// Longest reason of a peer that is passed on, in characters.
const REASON_CHARS_MAX: usize = 128;

/// Why we end a call, as the telephone network numbers it (ITU-T Q.850 §2.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Normal call clearing.
    Normal,
    /// No answer from user (user alerted).
    NoAnswer,
    /// Temporary failure: the server is stopping.
    Stopping,
    /// Recovery on timer expiry.
    TimerExpired,
}

impl Cause {
    const fn number(self) -> u8 {
        match self {
            Self::Normal => 16,
            Self::NoAnswer => 19,
            Self::Stopping => 41,
            Self::TimerExpired => 102,
        }
    }
}

/// Why we end a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) cause: Cause,
    pub(super) text: String,
}

impl Reason {
    pub(super) fn new(cause: Cause, text: impl Into<String>) -> Self {
        Self { cause, text: text.into() }
    }

    /// Returns the header's value.
    pub(super) fn value(&self) -> String {
        format!("Q.850;cause={};text={}", self.cause.number(), quoted(&self.text))
    }
}

/// Returns what a request gives as its reason, in words: its text, else protocol and cause.
pub(super) fn read(request: &Request) -> Option<String> {
    let value = request.header("Reason")?;
    let mut cursor = Cursor::new(value);
    let protocol = cursor.take_until(&[';', ',', ' ', '\t']);
    let Some(params) = Params::read(&mut cursor) else { return Some(cut(value)) };
    match (params.value("text"), params.value("cause")) {
        (Some(text), _) => Some(cut(&unquoted(text))),
        (None, Some(cause)) => Some(cut(&format!("{protocol} {cause}"))),
        (None, None) => Some(cut(protocol)),
    }
    .filter(|text| !text.is_empty())
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect()
}

/// Takes quotes and their escapes away.
fn unquoted(text: &str) -> String {
    let Some(inside) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else { return text.to_owned() };
    let mut out = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::lexer::lex;

    fn peers(value: &str) -> Option<String> {
        let text = format!(
            "BYE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 BYE\r\n{value}\r\n"
        );
        read(&Request::read(&lex(text.as_bytes()).expect("SIP")).expect("a request"))
    }

    #[test]
    fn ours_has_cause_and_text() {
        let reason = Reason::new(Cause::TimerExpired, "no \"ACK\"\r\nX: y");
        assert_eq!(reason.value(), "Q.850;cause=102;text=\"no \\\"ACK\\\"X: y\"");
    }

    #[test]
    fn the_peers_is_read_in_words() {
        for (value, words) in [
            (
                "Reason: SIP ;cause=200 ;text=\"Call completed \\\"elsewhere\\\"\"\r\n",
                Some("Call completed \"elsewhere\""),
            ),
            ("Reason: Q.850;cause=16;text=done\r\n", Some("done")),
            ("Reason: Q.850;cause=17, SIP;cause=486\r\n", Some("Q.850 17")),
            ("Reason: preemption\r\n", Some("preemption")),
            ("Reason: Q.850;;;\r\n", Some("Q.850;;;")),
            ("", None),
        ] {
            assert_eq!(peers(value).as_deref(), words, "{value}");
        }
        assert_eq!(peers(&format!("Reason: SIP;text={}\r\n", "x".repeat(500))).map(|text| text.len()), Some(128));
    }
}
