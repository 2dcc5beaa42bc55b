//! Responses: what they copy from their request (RFC 3261 §8.2.6), and how they are written.

use super::flow::Flow;
use super::lexer::Lexed;
use super::message::Headers;
use super::name_addr::NameAddr;
use super::response_route;
use super::via::Via;

/// The methods that are served, for Allow.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, INFO, UPDATE, PRACK, REFER, NOTIFY";

/// What a response copies from its request, as it came: enough to refuse even a request that makes no sense otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    vias: Vec<String>,
    nearest: Option<Via>,
    farther: String,
    from: String,
    to: String,
    call_id: String,
    cseq: String,
}

impl Envelope {
    /// Takes the headers out of a request; `None` where one is missing, and so it cannot be served.
    #[must_use]
    pub fn of(lexed: &Lexed<'_>) -> Option<Self> {
        let whole = ["From", "To", "Call-ID", "CSeq"].iter().all(|name| lexed.values(name).next().is_some());
        Self::of_what_is_there(lexed).filter(|_| whole)
    }

    /// Takes what there is of the headers, for a refusal that says what is wrong (RFC 4475 §3.3.1); `None` without Via, and
    /// without both Call-ID and CSeq, which say that somebody waits for an answer, and to what: a scrap of a message gets none.
    #[must_use]
    pub fn of_what_is_there(lexed: &Lexed<'_>) -> Option<Self> {
        let one = |name| lexed.values(name).next().unwrap_or_default().to_owned();
        let mut vias: Vec<String> = lexed.values("Via").map(str::to_owned).collect();
        let lists: Option<Vec<Vec<Via>>> = vias.iter().map(|via| Via::parse_list(via)).collect();
        let (mut nearest, mut farther) = (None, String::new());
        if let Some(mut lists) = lists {
            let first = lists.first_mut().filter(|first| !first.is_empty())?;
            nearest = Some(first.remove(0));
            farther = first.iter().map(|via| format!(", {via}")).collect();
        }
        if vias.is_empty() || one("CSeq").is_empty() && one("Call-ID").is_empty() {
            return None;
        }
        if nearest.is_some() {
            vias.remove(0);
        }
        let (from, to, call_id, cseq) = (one("From"), one("To"), one("Call-ID"), one("CSeq"));
        Some(Self { vias, nearest, farther, from, to, call_id, cseq })
    }

    /// Returns the nearest hop, if all of them can be read.
    #[must_use]
    pub const fn nearest(&self) -> Option<&Via> {
        self.nearest.as_ref()
    }

    /// Returns the first From.
    #[must_use]
    pub fn from(&self) -> &str {
        &self.from
    }

    /// Returns To.
    #[must_use]
    pub fn to(&self) -> &str {
        &self.to
    }

    /// Returns Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// Returns CSeq.
    #[must_use]
    pub fn cseq(&self) -> &str {
        &self.cseq
    }

    /// Returns To with `tag`, unless it has one.
    #[must_use]
    pub fn to_with_tag(&self, tag: &str) -> String {
        let tagged = NameAddr::parse(&self.to)
            .map_or_else(|| self.to.to_ascii_lowercase().contains("tag="), |to| to.tag().is_some());
        if tagged { self.to.clone() } else { format!("{};tag={tag}", self.to) }
    }

    /// Returns where the response goes, for a request that came from `source`.
    #[must_use]
    pub fn route(&self, flow: Flow) -> Flow {
        self.nearest.as_ref().map_or(flow, |via| Flow { peer: response_route::route(via, flow), ..flow })
    }
}

/// A response on its way out.
#[derive(Clone, Debug)]
pub struct Response {
    status: u16,
    phrase: &'static str,
    headers: Headers,
    body: Vec<u8>,
}

impl Response {
    /// Begins the response `status` to the request with `envelope` from `source`. Every response but 100 carries `tag` in To.
    #[must_use]
    pub fn new(status: u16, envelope: &Envelope, flow: Flow, tag: &str) -> Self {
        let mut headers = Headers::default();
        if let Some(via) = &envelope.nearest {
            let mut via = via.clone();
            response_route::stamp(&mut via, flow.peer);
            headers.push("Via", format!("{via}{}", envelope.farther));
        }
        for via in &envelope.vias {
            headers.push("Via", via.as_str());
        }
        let to = if status == 100 || envelope.to.is_empty() { envelope.to.clone() } else { envelope.to_with_tag(tag) };
        let Envelope { from, call_id, cseq, .. } = envelope;
        let copied = [("From", from), ("To", &to), ("Call-ID", call_id), ("CSeq", cseq)];
        // What a request lacks, its refusal lacks too.
        for (name, value) in copied.into_iter().filter(|(_, value)| !value.is_empty()) {
            headers.push(name, value.as_str());
        }
        Self { status, phrase: reason_phrase(status), headers, body: Vec::new() }
    }

    /// Says something more telling than the usual reason phrase.
    #[must_use]
    pub const fn phrase(mut self, phrase: &'static str) -> Self {
        self.phrase = phrase;
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// Adds each of `values` as a header.
    #[must_use]
    pub fn with_all<'v>(mut self, name: &str, values: impl Iterator<Item = &'v str>) -> Self {
        values.for_each(|value| self.headers.push(name, value));
        self
    }

    /// Sets the body, a session description.
    #[must_use]
    pub fn session_description(mut self, sdp: Vec<u8>) -> Self {
        self.headers.push("Content-Type", "application/sdp");
        self.body = sdp;
        self
    }

    /// Returns the status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Writes it, signed by `product`.
    #[must_use]
    pub fn write(mut self, product: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(512 + self.body.len());
        out.extend_from_slice(format!("SIP/2.0 {} {}\r\n", self.status, self.phrase).as_bytes());
        self.headers.push("Server", product);
        self.headers.write(&mut out, &self.body);
        out
    }
}

/// Returns the usual reason phrase of a status (RFC 3261 §21 and the registry of response codes).
#[must_use]
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        469 => "Bad Info Package",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => match status / 100 {
            1 => "Progress",
            2 => "Success",
            3 => "Redirected",
            4 => "Request Failed",
            5 => "Server Failure",
            _ => "Global Failure",
        },
    }
}
