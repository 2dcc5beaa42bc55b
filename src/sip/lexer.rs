//! Bytes of a datagram into start line, header fields and body (RFC 3261 §7), before anything is believed.
//!
//! One reading for every decision: compact names are expanded, folded lines are unfolded, Content-Length is obeyed, and
//! what breaks the grammar becomes a [`Flaw`] that says how a request is to be refused. Nothing else in this folder looks
//! at raw bytes, so a filter and a user of a header cannot disagree about it.

use std::borrow::Cow;

/// Most header fields of one message; real ones have 10 to 40.
pub const FIELDS_MAX: usize = 128;

/// Longest header field in bytes, folds included: room for a long Route or a Contact with GRUU, and no more.
pub const FIELD_BYTES_MAX: usize = 4096;

/// Longest Request-URI in bytes (414 above it).
pub const URI_BYTES_MAX: usize = 1024;

/// Why a message is refused: the status to answer with, and the words for the Warning or log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// 400, 414, 416, 501, 505 or 513.
    pub status: u16,
    /// What is wrong, as a reason phrase.
    pub why: &'static str,
}

impl Flaw {
    /// Makes a 400.
    #[must_use]
    pub const fn bad(why: &'static str) -> Self {
        Self { status: 400, why }
    }
}

/// A start line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartLine<'a> {
    /// Of a request: the method as it came, the Request-URI (empty where none could be made out), and what is wrong.
    Request { method: &'a str, uri: &'a str, flaw: Option<Flaw> },
    /// Of a response: 100 to 699.
    Status { code: u16 },
}

/// A header field: its full name where the compact form was used, and its value unfolded and trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name, in the sender's capitals.
    pub name: &'a str,
    /// The value, on one line.
    pub value: Cow<'a, str>,
}

/// A message taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lexed<'a> {
    /// The first line.
    pub start: StartLine<'a>,
    /// The header fields that could be read, in order.
    pub fields: Vec<Field<'a>>,
    /// The body, as long as Content-Length says (RFC 3261 §18.3).
    pub body: &'a [u8],
    /// The first thing that is wrong after the start line.
    pub flaw: Option<Flaw>,
}

impl Lexed<'_> {
    /// Returns the values of the fields called `name`, in order.
    pub fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| &*field.value)
    }
}

/// Takes a datagram apart; `None` where it is not SIP at all, or a response that cannot be read.
#[must_use]
pub fn lex(bytes: &[u8]) -> Option<Lexed<'_>> {
    // RFC 3261 §7.5: CRLFs before the start line are ignored.
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let bytes = bytes.get(start..)?;
    let blank = find(bytes, b"\r\n\r\n");
    let head = bytes.get(..blank.unwrap_or(bytes.len()))?;
    let rest = blank.and_then(|at| bytes.get(at + 4..)).unwrap_or_default();

    let line_end = find(head, b"\r\n").unwrap_or(head.len());
    let start = start_line(head.get(..line_end)?)?;
    let mut lexed = Lexed { start, fields: Vec::with_capacity(24), body: rest, flaw: None };
    if blank.is_none() {
        // Without the empty line the headers may have been cut anywhere.
        lexed.flaw = Some(Flaw::bad("No End Of Header"));
    }
    lex_fields(head.get(line_end..)?, &mut lexed);
    cut_body(&mut lexed);
    Some(lexed)
}

fn start_line(line: &[u8]) -> Option<StartLine<'_>> {
    let line = std::str::from_utf8(line).ok()?;
    // RFC 3261 §7.1: the version is read in whatever capitals it comes.
    if line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("SIP/")) {
        return status_line(line.get(4..)?);
    }
    let names_sip = |word: &str| word.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("SIP/"));
    if line.bytes().any(|byte| byte.is_ascii_control()) || !line.split(' ').skip(1).any(names_sip) {
        return None;
    }
    let method = line.split(' ').next().filter(|method| is_token(method))?;
    let mut parts = line.splitn(4, ' ');
    let (uri, flaw) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (_, Some(uri), Some(version), None) if !uri.is_empty() => (uri, request_line_flaw(uri, version)),
        _ => ("", Some(Flaw::bad("Bad Request Line"))),
    };
    Some(StartLine::Request { method, uri, flaw })
}

fn status_line(rest: &str) -> Option<StartLine<'_>> {
    let rest = rest.strip_prefix("2.0 ")?;
    let digits =
        rest.split(' ').next().filter(|digits| digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit()))?;
    let code = digits.parse().ok().filter(|code| (100..700).contains(code))?;
    Some(StartLine::Status { code })
}

fn request_line_flaw(uri: &str, version: &str) -> Option<Flaw> {
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        let numbers = version.get(4..).and_then(|numbers| numbers.split_once('.'));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        return Some(match numbers {
            Some((major, minor)) if digits(major) && digits(minor) => {
                Flaw { status: 505, why: "Version Not Supported" }
            }
            _ => Flaw::bad("Bad SIP Version"),
        });
    }
    if uri.len() > URI_BYTES_MAX {
        return Some(Flaw { status: 414, why: "Request-URI Too Long" });
    }
    let scheme = uri.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| is_scheme(scheme));
    match scheme {
        None => Some(Flaw::bad("Bad Request-URI")),
        // Whether the way on which it came is one for sips is not for the lexer to know.
        Some(scheme) if scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips") => None,
        Some(_) => Some(Flaw { status: 416, why: "Unsupported URI Scheme" }),
    }
}

fn lex_fields<'a>(mut rest: &'a [u8], lexed: &mut Lexed<'a>) {
    while let Some(line) = rest.strip_prefix(b"\r\n") {
        let end = field_end(line);
        let (Some(field), Some(after)) = (line.get(..end), line.get(end..)) else { return };
        rest = after;
        if lexed.fields.len() == FIELDS_MAX || field.len() > FIELD_BYTES_MAX {
            lexed.flaw.get_or_insert(Flaw { status: 513, why: "Message Too Large" });
            if lexed.fields.len() == FIELDS_MAX {
                return;
            }
            continue;
        }
        match lex_field(field) {
            Ok((field, flaw)) => {
                lexed.fields.push(field);
                lexed.flaw = lexed.flaw.or(flaw);
            }
            Err(flaw) => lexed.flaw = lexed.flaw.or(Some(flaw)),
        }
    }
}

/// Returns where a field ends: at the first CRLF that no space or tab follows (RFC 3261 §7.3.1).
fn field_end(line: &[u8]) -> usize {
    let mut from = 0;
    while let Some(at) = line.get(from..).and_then(|rest| find(rest, b"\r\n")) {
        if !matches!(line.get(from + at + 2), Some(b' ' | b'\t')) {
            return from + at;
        }
        from += at + 2;
    }
    line.len()
}

fn lex_field(field: &[u8]) -> Result<(Field<'_>, Option<Flaw>), Flaw> {
    let text = std::str::from_utf8(field).map_err(|_| Flaw::bad("Header Not UTF-8"))?;
    let (name, value) = text.split_once(':').ok_or(Flaw::bad("Header Without Colon"))?;
    let name = name.trim_end_matches([' ', '\t', '\r', '\n']);
    if !is_token(name) {
        return Err(Flaw::bad("Bad Header Name"));
    }
    let value = unfold(value);
    let flaw = match control_characters(&value) {
        Control::None => None,
        // Legal in a quoted-pair (RFC 3261 §25.1), and so copied into an answer, but no use to anyone.
        Control::Quoted => Some(Flaw::bad("Control Character In Header")),
        Control::Bare => return Err(Flaw::bad("Control Character In Header")),
    };
    Ok((Field { name: full_name(name), value }, flaw))
}

fn unfold(value: &str) -> Cow<'_, str> {
    const LWS: [char; 4] = [' ', '\t', '\r', '\n'];
    if !value.contains("\r\n") {
        return Cow::Borrowed(value.trim_matches([' ', '\t']));
    }
    let lines = value.split("\r\n").map(|line| line.trim_matches([' ', '\t'])).filter(|line| !line.is_empty());
    Cow::Owned(lines.collect::<Vec<_>>().join(" ").trim_matches(LWS).to_owned())
}

enum Control {
    None,
    Quoted,
    Bare,
}

fn control_characters(value: &str) -> Control {
    let mut found = Control::None;
    let (mut quoted, mut escaped) = (false, false);
    for byte in value.bytes() {
        if byte.is_ascii_control() && byte != b'\t' {
            if !escaped || matches!(byte, b'\r' | b'\n') {
                return Control::Bare;
            }
            found = Control::Quoted;
        }
        (quoted, escaped) = match byte {
            _ if escaped => (quoted, false),
            b'\\' if quoted => (true, true),
            b'"' => (!quoted, false),
            _ => (quoted, false),
        };
    }
    found
}

/// Cuts the body to Content-Length (RFC 3261 §18.3: over UDP what is left over is ignored, and a lack is an error).
fn cut_body(lexed: &mut Lexed<'_>) {
    let lengths: Vec<Option<usize>> = lexed
        .values("Content-Length")
        .map(|text| digits(text).and_then(|length| usize::try_from(length).ok()))
        .collect();
    let flaw = match *lengths {
        [] => return,
        [Some(length)] => match lexed.body.get(..length) {
            Some(body) => {
                lexed.body = body;
                return;
            }
            None => Flaw::bad("Content-Length Beyond Body"),
        },
        [None] => Flaw::bad("Bad Content-Length"),
        _ => Flaw::bad("Repeated Content-Length"),
    };
    lexed.flaw.get_or_insert(flaw);
}

/// Reads a number of nothing but digits; a larger one than `u64` has none.
#[must_use]
pub fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Whether `text` is a token (RFC 3261 §25.1).
#[must_use]
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Whether a token may hold `byte`.
#[must_use]
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// Whether `line` is one with which a message begins, right or wrong.
#[must_use]
pub fn is_start_line(line: &[u8]) -> bool {
    start_line(line).is_some()
}

/// Whether `text` is a URI's scheme (RFC 3986 §3.1).
#[must_use]
pub fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Returns the full name of a compact one (RFC 3261 §7.3.3 and the registry of header fields).
fn full_name(name: &str) -> &str {
    let [compact] = name.as_bytes() else { return name };
    match compact.to_ascii_lowercase() {
        b'a' => "Accept-Contact",
        b'b' => "Referred-By",
        b'c' => "Content-Type",
        b'd' => "Request-Disposition",
        b'e' => "Content-Encoding",
        b'f' => "From",
        b'i' => "Call-ID",
        b'j' => "Reject-Contact",
        b'k' => "Supported",
        b'l' => "Content-Length",
        b'm' => "Contact",
        b'o' => "Event",
        b'r' => "Refer-To",
        b's' => "Subject",
        b't' => "To",
        b'u' => "Allow-Events",
        b'v' => "Via",
        b'x' => "Session-Expires",
        _ => name,
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Lexed<'_> {
        lex(text.as_bytes()).expect("a message")
    }

    fn flaw(text: &str) -> Option<u16> {
        let lexed = fields(text);
        let StartLine::Request { flaw, .. } = lexed.start else { panic!("a request") };
        flaw.or(lexed.flaw).map(|flaw| flaw.status)
    }

    #[test]
    fn folded_lines_compact_names_and_odd_spaces_are_read() {
        let lexed = fields(
            "\r\n\r\nOPTIONS sip:a@b SIP/2.0\r\nt :\r\n sip:x@y ;\r\n\ttag = 1\r\nl:  3\r\nSubject:\r\n\r\nabcdef",
        );
        assert_eq!(lexed.values("to").collect::<Vec<_>>(), ["sip:x@y ; tag = 1"]);
        assert_eq!(lexed.values("Subject").collect::<Vec<_>>(), [""]);
        assert_eq!(lexed.body, b"abc");
        assert_eq!(lexed.flaw, None);
    }

    #[test]
    fn a_bad_request_line_is_refused_by_kind() {
        for (line, status) in [
            ("OPTIONS  sip:a@b SIP/2.0", 400),
            ("OPTIONS sip:a@b  SIP/2.0", 400),
            ("OPTIONS sip:a@b SIP/2.0 ", 400),
            ("OPTIONS sip:a@b; lr SIP/2.0", 400),
            ("OPTIONS <sip:a@b> SIP/2.0", 400),
            ("OPTIONS sip:a@b SIP/7.0", 505),
            ("OPTIONS sip:a@b SIP/x", 400),
            ("OPTIONS tel:+1555 SIP/2.0", 416),
            ("OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0", 416),
            ("OPTIONS nobodyKnowsThisScheme:opaque SIP/2.0", 416),
            ("OPTIONS tel:1 SIP/2.0", 416),
        ] {
            assert_eq!(flaw(&format!("{line}\r\n\r\n")), Some(status), "{line}");
        }
        let long = format!("OPTIONS sip:{}@b SIP/2.0\r\n\r\n", "a".repeat(URI_BYTES_MAX));
        assert_eq!(flaw(&long), Some(414));
    }

    #[test]
    fn what_is_not_sip_is_nothing() {
        for text in
            ["GET / HTTP/1.1\r\n\r\n", "hello there, this is no SIP\r\n\r\n", "", "\r\n\r\n", "OPTIONS sip:a@b\r\n\r\n"]
        {
            assert_eq!(lex(text.as_bytes()), None, "{text}");
        }
        assert_eq!(lex(b"OPTIONS sip:\xff@b SIP/2.0\r\n\r\n"), None);
    }

    #[test]
    fn the_version_is_read_in_any_capitals() {
        for version in ["SIP/2.0", "sip/2.0", "Sip/2.0"] {
            let text = format!("OPTIONS sip:a@b {version}\r\n\r\n");
            let StartLine::Request { method, uri, flaw } = fields(&text).start else { panic!("{version}: a request") };
            assert_eq!((method, uri, flaw), ("OPTIONS", "sip:a@b", None), "{version}");
        }
    }

    #[test]
    fn a_status_outside_its_range_is_nothing() {
        for line in
            ["SIP/2.0 4294967301 better not break", "SIP/2.0 099 x", "SIP/2.0 700 x", "SIP/2.0 20 x", "SIP/3.0 200 OK"]
        {
            assert_eq!(lex(format!("{line}\r\n\r\n").as_bytes()), None, "{line}");
        }
        for line in [
            "SIP/2.0 200 OK",
            "sip/2.0 200 ok",
            "SIP/2.0 200 ",
            "SIP/2.0 200",
            "SIP/2.0 200 = 2**3 * 5**2 но сто девяносто",
        ] {
            assert_eq!(fields(&format!("{line}\r\n\r\n")).start, StartLine::Status { code: 200 }, "{line}");
        }
    }

    #[test]
    fn content_length_is_obeyed_or_refused() {
        let with = |value: &str| flaw(&format!("OPTIONS sip:a@b SIP/2.0\r\nContent-Length: {value}\r\n\r\nabc"));
        assert_eq!(with("3"), None);
        assert_eq!(with("2"), None);
        assert_eq!(with("4"), Some(400));
        assert_eq!(with("-1"), Some(400));
        assert_eq!(with("+3"), Some(400));
        assert_eq!(with("99999999999999999999999"), Some(400));
        assert_eq!(with("3\r\nl: 3"), Some(400));
        assert_eq!(with("3, 3"), Some(400));
    }

    #[test]
    fn control_characters_cannot_smuggle() {
        let with = |field: &str| flaw(&format!("OPTIONS sip:a@b SIP/2.0\r\n{field}\r\n\r\n"));
        assert_eq!(with("X: a\0b"), Some(400));
        assert_eq!(with("X: a\rVia: b"), Some(400));
        assert_eq!(with("X: a\nVia: b"), Some(400));
        assert_eq!(with("X\0: a"), Some(400));
        assert_eq!(with("X: \\\0"), Some(400));
        assert_eq!(with("no colon"), Some(400));
        let quoted = fields("OPTIONS sip:a@b SIP/2.0\r\nTo: \"NUL \\\0\" <sip:a@b>\r\n\r\n");
        assert_eq!((quoted.fields.len(), quoted.flaw.map(|flaw| flaw.status)), (1, Some(400)));
    }

    #[test]
    fn headers_are_limited_in_number_and_length() {
        let many = format!("OPTIONS sip:a@b SIP/2.0\r\n{}\r\n", "X: y\r\n".repeat(FIELDS_MAX + 1));
        assert_eq!(flaw(&many), Some(513));
        assert_eq!(fields(&many).fields.len(), FIELDS_MAX);
        let long = format!("OPTIONS sip:a@b SIP/2.0\r\nX: {}\r\n\r\n", "y".repeat(FIELD_BYTES_MAX));
        assert_eq!(flaw(&long), Some(513));
    }

    #[test]
    fn a_head_without_its_end_is_refused() {
        assert_eq!(flaw("OPTIONS sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\n"), Some(400));
    }
}
