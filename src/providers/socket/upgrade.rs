//! The upgrade from HTTP to WebSocket (RFC 6455 §4.1), with everything that is said in a refusal.
//!
//! tungstenite's own handshake gives up a refusal's connection before its body has come, and the body is what tells why.

use super::{SocketError, Target};
use crate::providers::redaction::excerpt;
use crate::providers::tls::Stream;
use crate::time::Instant;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::client::Response;
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::{HeaderMap, StatusCode};
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};

/// How long the body of a refusal is waited for.
const BODY_WAIT: Duration = Duration::from_millis(300);
/// Bytes kept of a refusal's body, before it is cut to an excerpt.
const BODY_MAX: usize = 4096;
/// The longest head of an answer.
const HEAD_MAX: usize = 32 * 1024;
/// The longest message taken: a second of 48 kHz audio as base64 is 130 kB, a long turn's word list 200 kB.
const MESSAGE_MAX: usize = 4 << 20;
/// What may wait to be written before the peer counts as gone: 30 s of 16 kHz audio.
const UNSENT_MAX: usize = 1 << 20;

/// An upgrade under way.
pub(super) struct Upgrade {
    stream: Stream,
    request: Vec<u8>,
    written: usize,
    accept: String,
    answer: Vec<u8>,
    /// The refusal whose body is being waited for, and where that body begins.
    refusal: Option<(StatusCode, HeaderMap, usize)>,
    /// Where the messages begin, once it is granted.
    granted: usize,
    pub(super) due: Instant,
}

impl Upgrade {
    /// Asks `target` over `stream`, and waits for an answer until `due`.
    pub(super) fn new(stream: Stream, target: &Target, due: Instant) -> Result<Self, SocketError> {
        let (request, accept) = target.request()?;
        let (answer, refusal) = (Vec::new(), None);
        Ok(Self { stream, request, written: 0, accept, answer, refusal, granted: 0, due })
    }

    /// Takes the steps that are possible; returns whether the upgrade is granted.
    pub(super) fn poll(&mut self, target: &Target, now: Instant) -> Result<bool, SocketError> {
        let ended = self.exchange().map_err(|error| target.unreachable(error))?;
        if self.refusal.is_none() {
            match Response::try_parse(&self.answer) {
                Ok(Some((head, answer))) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    self.granted = head;
                    return self.verify(answer.headers(), target);
                }
                Ok(Some((head, answer))) => {
                    self.refusal = Some((answer.status(), answer.headers().clone(), head));
                    self.due = now + BODY_WAIT;
                    // More of the body may be there, and would not wake this thread.
                    return self.poll(target, now);
                }
                Ok(None) if ended => return Err(target.unreachable(ErrorKind::UnexpectedEof.into())),
                Ok(None) if self.answer.len() > HEAD_MAX => {
                    return Err(target.unreachable(io::Error::other("its answer has no end")));
                }
                Ok(None) if now >= self.due => return Err(target.timed_out("answer")),
                Ok(None) => return Ok(false),
                Err(source) => return Err(SocketError::Protocol { host: target.host().to_owned(), source }),
            }
        }
        if ended || now >= self.due || self.body_is_whole() { Err(self.refused(target)) } else { Ok(false) }
    }

    /// Returns the socket that was granted; what came after the answer's head are its first messages.
    pub(super) fn into_socket(self) -> WebSocket<Stream> {
        let config = WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .write_buffer_size(0)
            .max_write_buffer_size(UNSENT_MAX)
            .max_message_size(Some(MESSAGE_MAX))
            .max_frame_size(Some(MESSAGE_MAX));
        let first = self.answer.get(self.granted..).unwrap_or_default().to_vec();
        WebSocket::from_partially_read(self.stream, first, Role::Client, Some(config))
    }

    fn verify(&self, headers: &HeaderMap, target: &Target) -> Result<bool, SocketError> {
        if headers.get("sec-websocket-accept").is_some_and(|accept| accept.as_bytes() == self.accept.as_bytes()) {
            return Ok(true);
        }
        let source = ProtocolError::SecWebSocketAcceptKeyMismatch.into();
        Err(SocketError::Protocol { host: target.host().to_owned(), source })
    }

    /// Writes the request and reads what there is; returns whether the peer has ended.
    fn exchange(&mut self) -> io::Result<bool> {
        while let Some(rest) = self.request.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(len) => self.written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        match self.stream.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        let mut chunk = [0; 4096];
        while self.answer.len() <= HEAD_MAX + BODY_MAX {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(true),
                Ok(len) => self.answer.extend_from_slice(chunk.get(..len).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // TLS peers that hang up without saying so are common, and the answer may be there already.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof && !self.answer.is_empty() => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn body_is_whole(&self) -> bool {
        let Some((_, headers, head)) = &self.refusal else { return false };
        let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
        self.answer.len().saturating_sub(*head) >= length.unwrap_or(BODY_MAX).min(BODY_MAX)
    }

    fn refused(&self, target: &Target) -> SocketError {
        let Some((status, headers, head)) = &self.refusal else { return target.timed_out("answer") };
        let body = self.answer.get(*head..).unwrap_or_default();
        let body = body.get(..BODY_MAX).unwrap_or(body);
        SocketError::Refused {
            host: target.host().to_owned(),
            status: status.as_u16(),
            body: excerpt(&String::from_utf8_lossy(body), target.key()),
            limits: limits(headers, target),
            retry_after: seconds(headers, "retry-after"),
        }
    }
}

/// Returns the headers that tell what the account has used up, and why.
fn limits(headers: &HeaderMap, target: &Target) -> Vec<(String, String)> {
    let is_limit = |name: &str| name.starts_with("x-ratelimit-") || name == "retry-after" || name == "dg-error";
    headers
        .iter()
        .filter(|(name, _)| is_limit(name.as_str()))
        .filter_map(|(name, value)| Some((name.to_string(), excerpt(value.to_str().ok()?, target.key()))))
        .collect()
}

/// Reads a header that holds seconds.
fn seconds(headers: &HeaderMap, name: &str) -> Option<Duration> {
    let seconds: f64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}
