//! A stream's bytes into messages (RFC 3261 §7.5, §18.3): whatever way they are split, the same messages come out.
//!
//! Content-Length is all that ends a message on a stream, so what is not framed by it ends the connection: nothing that
//! follows could be told apart from the body.

use super::flow::{Flow, Transport};
use super::lexer::{self, Flaw, Lexed, StartLine, digits};
use super::uri::SipUri;

/// Longest start line on a stream, in bytes: a Request-URI of the longest kind, and room to say 414 about a longer one.
pub const START_LINE_BYTES_MAX: usize = 2 * lexer::URI_BYTES_MAX;

/// Longest head on a stream, in bytes, the empty line included: an INVITE with credentials, SRTP and a long Route has 3 kB.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Longest body on a stream, in bytes: a session description with ICE and video has 6 kB.
pub const BODY_BYTES_MAX: usize = 16 * 1024;

/// What comes out of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message, from its start line to the end of its body.
    Message(Vec<u8>),
    /// CRLFCRLF between messages: it wants [`PONG`] (RFC 5626 §3.5.1).
    Ping,
    /// A head that does not say where its message ends: refuse it, and close. Nothing comes after it.
    Unframed(Vec<u8>),
    /// Not SIP (TLS, HTTP, anything): close. Nothing comes after it.
    Alien,
}

/// The answer to [`Frame::Ping`] (RFC 5626 §3.5.1).
pub const PONG: &[u8] = b"\r\n";

/// Takes a stream's bytes and gives its messages. Each byte is looked at a bounded number of times, however few come at once.
#[derive(Debug, Default)]
pub struct Framer {
    bytes: Vec<u8>,
    /// Where in `bytes` what has not been given begins.
    start: usize,
    /// Bytes from `start` on in which the end of the head was looked for.
    searched: usize,
    /// How many bytes of CRLFCRLF have come between two messages.
    ping: usize,
    /// What is known of the message at `start`.
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Between two messages.
    #[default]
    Between,
    /// The start line is not whole.
    StartLine,
    /// The head is not whole.
    Head,
    /// The message has this many bytes.
    Body { len: usize },
    /// Nothing more comes out.
    Over,
}

impl Framer {
    /// Takes what came. Afterwards drain [`Self::poll_frame`] to `None`: only then is what is kept bounded.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        if self.stage == Stage::Over {
            return;
        }
        if self.start > 0 {
            // What is left is less than one message, and was moved here by the read that brought it.
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether a message has begun and is not whole.
    #[must_use]
    pub fn is_amid(&self) -> bool {
        !matches!(self.stage, Stage::Between | Stage::Over)
    }

    /// Returns the next frame, if it is whole.
    pub fn poll_frame(&mut self) -> Option<Frame> {
        loop {
            match self.stage {
                Stage::Between => {
                    let is_ping = self.skip_line_ends()?;
                    if is_ping {
                        return Some(Frame::Ping);
                    }
                    (self.stage, self.searched) = (Stage::StartLine, 0);
                }
                Stage::StartLine => {
                    if !self.is_sip()? {
                        return Some(self.end(Frame::Alien));
                    }
                    self.stage = Stage::Head;
                }
                Stage::Head => {
                    let Some(head) = self.search(b"\r\n\r\n", HEAD_BYTES_MAX) else {
                        let cut = self.waiting().get(..HEAD_BYTES_MAX)?.to_vec();
                        return Some(self.end(Frame::Unframed(cut)));
                    };
                    match content_length(self.waiting().get(..head).unwrap_or_default()) {
                        Some(body) if body <= BODY_BYTES_MAX => self.stage = Stage::Body { len: head + body },
                        _ => {
                            let head = self.waiting().get(..head).unwrap_or_default().to_vec();
                            return Some(self.end(Frame::Unframed(head)));
                        }
                    }
                }
                Stage::Body { len } => {
                    let message = self.waiting().get(..len)?.to_vec();
                    self.start += len;
                    self.stage = Stage::Between;
                    return Some(Frame::Message(message));
                }
                Stage::Over => return None,
            }
        }
    }

    fn waiting(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    fn end(&mut self, frame: Frame) -> Frame {
        *self = Self { stage: Stage::Over, ..Self::default() };
        frame
    }

    /// Passes over CR and LF (RFC 3261 §7.5); whether that was a ping, `None` while all there is are line ends.
    fn skip_line_ends(&mut self) -> Option<bool> {
        const PING: &[u8] = b"\r\n\r\n";
        loop {
            let byte = *self.bytes.get(self.start)?;
            if !matches!(byte, b'\r' | b'\n') {
                self.ping = 0;
                return Some(false);
            }
            self.start += 1;
            self.ping = match PING.get(self.ping) {
                Some(expected) if *expected == byte => self.ping + 1,
                _ => usize::from(byte == b'\r'),
            };
            if self.ping == PING.len() {
                self.ping = 0;
                return Some(true);
            }
        }
    }

    /// Whether the start line is one of SIP; `None` while it is not whole and may still be.
    fn is_sip(&mut self) -> Option<bool> {
        // TLS, NULs and binary protocols show at the first byte, others at their first line.
        if !self.waiting().first().is_some_and(|first| lexer::is_token_byte(*first)) {
            return Some(false);
        }
        match self.search(b"\r\n", START_LINE_BYTES_MAX) {
            Some(end) => Some(lexer::is_start_line(self.waiting().get(..end - 2)?)),
            None if self.waiting().len() >= START_LINE_BYTES_MAX => Some(false),
            None => None,
        }
    }

    /// Returns where `mark` ends, if it is within the first `limit` bytes of what waits.
    fn search(&mut self, mark: &[u8], limit: usize) -> Option<usize> {
        let waiting = self.bytes.get(self.start..).unwrap_or_default();
        let waiting = waiting.get(..limit).unwrap_or(waiting);
        let from = self.searched.saturating_sub(mark.len() - 1);
        let found = waiting.get(from..)?.windows(mark.len()).position(|window| window == mark);
        self.searched = found.map_or(waiting.len(), |at| from + at);
        found.map(|at| from + at + mark.len())
    }
}

/// Returns what Content-Length says, if it says one thing.
fn content_length(head: &[u8]) -> Option<usize> {
    let lexed = lexer::lex(head)?;
    let mut values = lexed.values("Content-Length");
    let length = digits(values.next()?)?;
    // Two of them are one too many, even where they agree.
    values.next().is_none().then(|| usize::try_from(length).ok()).flatten()
}

/// Says what is wrong with a message for the way on which it came, whatever it says otherwise.
pub(super) fn flaw(lexed: &Lexed<'_>, flow: Flow) -> Option<Flaw> {
    if let StartLine::Request { uri, .. } = lexed.start
        && flow.transport != Transport::Tls
        && SipUri::parse(uri).is_some_and(|uri| uri.secure)
    {
        // sips promises TLS on every hop (RFC 3261 §26.2.2); to go on without it would be to break that in silence.
        return Some(Flaw { status: 416, why: "SIPS Needs TLS" });
    }
    if !flow.transport.is_reliable() {
        return None;
    }
    let length = lexed.values("Content-Length").next();
    match length.map(digits) {
        None => Some(Flaw::bad("Missing Content-Length")),
        Some(Some(length)) if length > BODY_BYTES_MAX as u64 => Some(Flaw { status: 513, why: "Message Too Large" }),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n";

    fn message(length: &str, body: &str) -> String {
        format!("{OPTIONS}{length}\r\n{body}")
    }

    fn frames_of(chunks: &[&[u8]]) -> Vec<Frame> {
        let mut framer = Framer::default();
        let mut frames = Vec::new();
        for chunk in chunks {
            framer.handle_bytes(chunk);
            frames.extend(std::iter::from_fn(|| framer.poll_frame()));
        }
        frames
    }

    fn frames(text: &str) -> Vec<Frame> {
        frames_of(&[text.as_bytes()])
    }

    #[test]
    fn messages_end_where_content_length_says() {
        let (with, without) = (message("Content-Length:  3\r\n", "v=0"), message("l: 0\r\n", ""));
        assert_eq!(
            frames(&format!("\r\n{with}{without}\r\n{with}")),
            [with.as_bytes(), without.as_bytes(), with.as_bytes()].map(|bytes| Frame::Message(bytes.to_vec()))
        );
        let response = "SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(frames(response), [Frame::Message(response.into())]);
    }

    #[test]
    fn every_other_line_end_pair_between_messages_is_a_ping() {
        let text = message("Content-Length: 0\r\n", "");
        assert_eq!(
            frames(&format!("\r\n\r\n{text}\r\n\r\n\r\n\r\n")),
            [Frame::Ping, Frame::Message(text.clone().into()), Frame::Ping, Frame::Ping]
        );
        assert_eq!(frames(&format!("\n\r\r\n{text}")), [Frame::Message(text.into())]);
        assert_eq!(frames("\r\n"), []);
    }

    #[test]
    fn any_split_gives_the_same_frames() {
        let whole = format!(
            "\r\n\r\n{}\r\n{}\r\n\r\n{}{}GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            message("Content-Length: 6\r\n", "\r\n\r\nab"),
            message("Content-Length: 0\r\n", ""),
            "SIP/2.0 180 Ringing\r\nl:2\r\n\r\nxy",
            message("Content-Length: 4\r\n", "abcd"),
        );
        let expected = frames(&whole);
        assert_eq!((expected.len(), expected.last()), (7, Some(&Frame::Alien)));
        let mut rng = fastrand::Rng::with_seed(7);
        for round in 0..500 {
            let mut chunks = Vec::new();
            let mut rest = whole.as_bytes();
            while !rest.is_empty() {
                let len = if round == 0 { 1 } else { rng.usize(1..=rest.len().min(1 + round)) };
                let (chunk, after) = rest.split_at(len);
                chunks.push(chunk);
                rest = after;
            }
            assert_eq!(frames_of(&chunks), expected, "round {round}");
        }
    }

    #[test]
    fn what_is_not_framed_comes_out_once_and_is_the_last() {
        let fine = message("Content-Length: 0\r\n", "");
        for length in [
            "",
            "Content-Length: -1\r\n",
            "Content-Length: 3x\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 16385\r\n",
            "Content-Length: 0\r\nl: 0\r\n",
        ] {
            let broken = message(length, "");
            assert_eq!(frames(&format!("{broken}{fine}")), [Frame::Unframed(broken.into())], "{length}");
        }
        let endless = format!("{OPTIONS}{}", "X-A: b\r\n".repeat(HEAD_BYTES_MAX / 8));
        let frames = frames(&endless);
        assert!(matches!(&*frames, [Frame::Unframed(head)] if head.len() == HEAD_BYTES_MAX));
    }

    #[test]
    fn other_protocols_are_known_at_once() {
        for start in ["\x16\x03\x01", "\0", "GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "{\"a\"", "EHLO x\r\n", " a"] {
            assert_eq!(frames(start), [Frame::Alien], "{start:?}");
        }
        assert_eq!(frames(&"A".repeat(START_LINE_BYTES_MAX)), [Frame::Alien]);
        assert_eq!(frames(&"A".repeat(START_LINE_BYTES_MAX - 1)), []);
        assert_eq!(frames("OPTIONS sip:a@b SIP/2.0"), []);
    }

    #[test]
    fn a_message_amid_is_told_and_no_more_is_kept_than_one() {
        let mut framer = Framer::default();
        framer.handle_bytes(b"\r\n");
        assert!(framer.poll_frame().is_none() && !framer.is_amid());
        framer.handle_bytes(b"O");
        assert!(framer.poll_frame().is_none() && framer.is_amid());
        let long = message("Content-Length: 16000\r\n", &"x".repeat(16_000));
        let mut framer = Framer::default();
        let mut most = 0;
        for chunk in long.repeat(20).as_bytes().chunks(1000) {
            framer.handle_bytes(chunk);
            while framer.poll_frame().is_some() {}
            most = most.max(framer.bytes.capacity());
        }
        assert!(most <= 2 * (HEAD_BYTES_MAX + BODY_BYTES_MAX), "{most}");
    }

    #[test]
    fn a_message_byte_by_byte_is_searched_once() {
        let text = message(&format!("X: {}\r\nContent-Length: 0\r\n", "y".repeat(4000)), "");
        let mut framer = Framer::default();
        let mut looked_at = 0;
        for byte in text.as_bytes() {
            let before = framer.searched;
            framer.handle_bytes(std::slice::from_ref(byte));
            while framer.poll_frame().is_some() {}
            looked_at += framer.searched.saturating_sub(before.saturating_sub(3));
        }
        assert!(looked_at <= 5 * text.len(), "{looked_at} for {}", text.len());
    }
}
