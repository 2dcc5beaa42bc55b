//! What a body is: a session description, alone or as a part of several (RFC 3261 §7.4, RFC 5621), or nothing that is known.

use super::message::Request;
use super::params::{Cursor, Params};

/// Most parts of a multipart body that are looked at.
const PARTS_MAX: usize = 16;

/// Why a body cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRefusal {
    /// 415, with Accept: not a session description.
    Type,
    /// 415, with Accept-Encoding: packed.
    Encoding,
    /// 406: the sender does not take the session description that answers it.
    Answer,
}

/// Returns the session description in `request`, if there is a body.
///
/// # Errors
///
/// Why the body, or an answer to it, is not acceptable.
pub fn session_description(request: &Request) -> Result<Option<&[u8]>, BodyRefusal> {
    let accepts = |range: &str| {
        let range = range.split(';').next().unwrap_or_default().trim();
        ["application/sdp", "application/*", "*/*"].iter().any(|fit| range.eq_ignore_ascii_case(fit))
    };
    if request.header("Accept").is_some() && !request.tokens("Accept").any(accepts) {
        return Err(BodyRefusal::Answer);
    }
    if request.body().is_empty() {
        return Ok(None);
    }
    if request.tokens("Content-Encoding").any(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(BodyRefusal::Encoding);
    }
    match find_sdp(request.header("Content-Type").unwrap_or_default(), request.body()) {
        Some(sdp) => Ok(Some(sdp)),
        // RFC 3261 §20.11: what may be left out is left out.
        None if is_optional(request.header("Content-Disposition").unwrap_or_default()) => Ok(None),
        None => Err(BodyRefusal::Type),
    }
}

fn find_sdp<'b>(content_type: &str, body: &'b [u8]) -> Option<&'b [u8]> {
    let mut cursor = Cursor::new(content_type);
    let kind = cursor.take_until(&[';']).to_ascii_lowercase();
    if kind == "application/sdp" {
        return Some(body);
    }
    if !kind.starts_with("multipart/") {
        return None;
    }
    let params = Params::read(&mut cursor)?;
    let boundary = params.value("boundary")?.trim_matches('"');
    let mut found = parts(body, boundary).filter(|(head, _)| {
        let kind = field(head, "content-type").or_else(|| field(head, "c")).unwrap_or_default();
        kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/sdp"))
    });
    // Two offers would be none.
    found.next().filter(|_| found.next().is_none()).map(|(_, sdp)| sdp)
}

/// Returns head and content of each part (RFC 2046 §5.1.1).
fn parts<'b>(body: &'b [u8], boundary: &str) -> impl Iterator<Item = (&'b str, &'b [u8])> {
    let delimiter = format!("--{boundary}").into_bytes();
    let mut rest = find(body, &delimiter).and_then(|at| body.get(at + delimiter.len()..));
    let next = move || {
        let part = rest?.strip_prefix(b"\r\n")?;
        let mut end_mark = b"\r\n".to_vec();
        end_mark.extend_from_slice(&delimiter);
        let end = find(part, &end_mark)?;
        rest = part.get(end + end_mark.len()..);
        let part = part.get(..end)?;
        // A part without headers begins with the empty line itself.
        let (head, content) = match part.strip_prefix(b"\r\n") {
            Some(content) => (&b""[..], content),
            None => find(part, b"\r\n\r\n").and_then(|at| Some((part.get(..at)?, part.get(at + 4..)?)))?,
        };
        Some((std::str::from_utf8(head).unwrap_or_default(), content))
    };
    std::iter::from_fn(next).take(PARTS_MAX)
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

fn is_optional(disposition: &str) -> bool {
    let mut cursor = Cursor::new(disposition);
    cursor.take_until(&[';']);
    Params::read(&mut cursor).is_some_and(|params| {
        params.value("handling").is_some_and(|handling| handling.eq_ignore_ascii_case("optional"))
    })
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::lexer::lex;

    fn request(headers: &str, body: &str) -> Request {
        let text = format!(
            "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n{headers}\r\n{body}"
        );
        Request::read(&lex(text.as_bytes()).expect("SIP")).expect("a request")
    }

    fn sdp(headers: &str, body: &str) -> Result<Option<String>, BodyRefusal> {
        let request = request(headers, body);
        session_description(&request).map(|sdp| sdp.map(|sdp| String::from_utf8_lossy(sdp).into_owned()))
    }

    #[test]
    fn a_session_description_is_found_alone_or_among_others() {
        assert_eq!(sdp("c: Application/SDP;charset=utf-8\r\n", "v=0"), Ok(Some("v=0".into())));
        let mixed = "Content-Type: multipart/mixed;boundary=\"x y\"\r\n";
        let parts = "preamble\r\n--x y\r\nContent-Type: text/plain\r\n\r\nhi\r\n--x y\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--x y--\r\n";
        assert_eq!(sdp(mixed, parts), Ok(Some("v=0".into())));
        assert_eq!(sdp(mixed, "--x y\r\n\r\nhi\r\n--x y--\r\n"), Err(BodyRefusal::Type));
        assert_eq!(sdp(mixed, "--x y"), Err(BodyRefusal::Type));
    }

    #[test]
    fn no_body_is_no_session_description() {
        assert_eq!(sdp("Content-Type: application/sdp\r\n", ""), Ok(None));
    }

    #[test]
    fn other_bodies_are_refused_unless_they_are_optional() {
        assert_eq!(sdp("Content-Type: application/unknownformat\r\n", "<x/>"), Err(BodyRefusal::Type));
        assert_eq!(sdp("", "<x/>"), Err(BodyRefusal::Type));
        assert_eq!(sdp("Content-Type: text/x\r\nContent-Disposition: render; handling=optional\r\n", "<x/>"), Ok(None));
        assert_eq!(
            sdp("Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n", "v=0"),
            Err(BodyRefusal::Encoding)
        );
    }

    #[test]
    fn a_sender_that_takes_no_answer_is_refused() {
        let with = |accept: &str| sdp(&format!("Content-Type: application/sdp\r\nAccept: {accept}\r\n"), "v=0").err();
        assert_eq!(with("text/nobodyKnowsThis"), Some(BodyRefusal::Answer));
        assert_eq!(with("text/plain, application/sdp;level=1"), None);
        assert_eq!(with("*/*"), None);
    }
}
