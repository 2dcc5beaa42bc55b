//! Requests that are refused before anything is kept for them (RFC 3261 §8.2, stateless as §8.2.7 has it).

use super::body::BodyRefusal;
use super::date::date;
use super::flow::Flow;
use super::info;
use super::lexer::{Flaw, Lexed};
use super::message::{Method, Request};
use super::registrar::RegisterRefusal;
use super::response::{ALLOW, Envelope, Response};
use super::{Discard, Event, Refusal, UserAgent, options, registrar};
use crate::time::Instant;
use std::time::Duration;

/// What a caller is told to wait for before it tries a server again that is full or stopping, in seconds.
pub(super) const RETRY_AFTER_S: u32 = 5;

/// Within how many seconds a caller is told to repeat a request that met another one (RFC 3261 §14.2: 0 to 10).
pub(super) const RETRY_AFTER_GLARE_S: u32 = 10;

/// Within how many seconds a phone that keeps its flow alive sends a ping (RFC 5626 §4.4.1, which has it do so after 80 to
/// 100 % of them): softphones ping connections every 90 s of their own, and the engine closes idle ones after more than this.
pub const FLOW_TIMER_S: u32 = 120;

/// Longest text from elsewhere that goes into a header of ours, in characters.
const TEXT_CHARS_MAX: usize = 128;

impl UserAgent {
    /// Refuses what could not be read, unless it is an ACK or names no way back.
    pub(super) fn refuse_flawed(&mut self, lexed: &Lexed<'_>, flaw: Flaw, method: &str, flow: Flow) {
        self.out.counters.parse_errors += 1;
        let envelope = Envelope::of_what_is_there(lexed).filter(|_| method != "ACK");
        let Some(envelope) = envelope else {
            self.out.counters.discard(Discard::Unreadable);
            return;
        };
        let response = self.stateless(flaw.status, &envelope, flow).phrase(flaw.why);
        let response = match flaw.status {
            501 => response.with("Allow", ALLOW),
            _ => response,
        };
        self.send_stateless(response, &envelope, flow);
    }

    /// Refuses a request with nothing but a status.
    pub(super) fn refuse(&mut self, request: &Request, flow: Flow, status: u16) {
        let response = self.stateless(status, request.envelope(), flow);
        self.send_stateless(response, request.envelope(), flow);
    }

    /// Refuses a request because there is no room for it, or no time.
    pub(super) fn refuse_for_load(&mut self, request: &Request, flow: Flow) {
        self.out.counters.refused_for_load += 1;
        let mut response = self.stateless(503, request.envelope(), flow).with("Retry-After", RETRY_AFTER_S.to_string());
        if request.method() == Method::Register {
            response = response.with("P-Registrar-Error", "the server is busy");
        }
        self.send_stateless(response, request.envelope(), flow);
    }

    /// Refuses a request outside of dialogs for its method or the extensions that it requires; returns whether it did.
    pub(super) fn refuse_unserved(&mut self, request: &Request, flow: Flow) -> bool {
        let response = match request.method() {
            Method::Invite | Method::Register | Method::Options => {
                let Some(required) = unsupported(request) else { return false };
                self.stateless(420, request.envelope(), flow).with("Unsupported", required)
            }
            // These belong in a dialog, and this one is in none.
            Method::Bye | Method::Info | Method::Update | Method::PRack | Method::Notify => {
                self.stateless(481, request.envelope(), flow)
            }
            // Outside of a call it would make this server call others for anybody (toll fraud).
            Method::Refer => self.stateless(403, request.envelope(), flow),
            _ => self.stateless(405, request.envelope(), flow).with("Allow", ALLOW),
        };
        self.send_stateless(response, request.envelope(), flow);
        true
    }

    /// Begins a response to a request for which nothing is kept.
    pub(super) fn stateless(&self, status: u16, envelope: &Envelope, flow: Flow) -> Response {
        Response::new(status, envelope, flow, &self.tags.stateless(envelope))
    }

    /// Sends a response for which nothing is kept, unless its address was told enough of them: sources are easily forged.
    pub(super) fn send_stateless(&mut self, response: Response, envelope: &Envelope, flow: Flow) {
        if !self.is_trusted(flow.peer.ip()) && !self.admission.may_answer(flow.peer) {
            self.out.counters.answers_withheld += 1;
            return;
        }
        self.out.send(envelope.route(flow), response.write(&self.product));
    }

    /// Answers OPTIONS as an INVITE would be (RFC 3261 §11.2), and keeps nothing.
    pub(super) fn handle_options(&mut self, request: &Request, flow: Flow) {
        if self.is_full() {
            return self.refuse_for_load(request, flow);
        }
        let response = options::describe(self.stateless(200, request.envelope(), flow));
        self.send_stateless(response, request.envelope(), flow);
    }

    /// Answers REGISTER.
    pub(super) fn handle_register(&mut self, request: &Request, flow: Flow, now: Instant) {
        if self.draining {
            return self.refuse_for_load(request, flow);
        }
        let Some(transaction) = self.transactions.open(request, request.envelope().route(flow)) else {
            return self.refuse_for_load(request, flow);
        };
        let tag = self.tags.fresh();
        let begin = |status| Response::new(status, request.envelope(), flow, &tag);
        let response = match self.registrar.register(request, flow, now) {
            Ok((contacts, events)) => {
                for event in events {
                    // In open mode anybody can send a REGISTER in the name of any address.
                    if let Event::Registered { source, expires_s, .. } = &event
                        && !self.digest.is_open()
                    {
                        self.admission.know(*source, Duration::from_secs((*expires_s).into()));
                    }
                    self.out.event(event);
                }
                let mut response = begin(200).with_all("Contact", contacts.iter().map(String::as_str));
                let since_zero = now.since(Instant::ZERO);
                if let Some(date) = self.unix_at_zero.and_then(|unix_at_zero| date(unix_at_zero + since_zero)) {
                    response = response.with("Date", date);
                }
                if registrar::is_outbound(request) && flow.transport.is_reliable() {
                    response.with("Flow-Timer", FLOW_TIMER_S.to_string())
                } else {
                    response
                }
            }
            Err(RegisterRefusal::NotAnAddress) => begin(404),
            Err(RegisterRefusal::TooLong) => begin(400).phrase("Contact Too Long"),
            Err(RegisterRefusal::Star) => begin(400).phrase("Bad Contact"),
            Err(RegisterRefusal::OutOfOrder) => begin(500).phrase("CSeq Out Of Order"),
            Err(RegisterRefusal::TooBrief) => begin(423)
                .with("Min-Expires", self.settings.expires_min_s.to_string())
                .with("P-Registrar-Error", "the registration time is too short"),
            Err(RegisterRefusal::Full) => {
                self.out.counters.refused_for_load += 1;
                begin(503)
                    .with("Retry-After", RETRY_AFTER_S.to_string())
                    .with("P-Registrar-Error", "too many registrations")
            }
        };
        self.transactions.respond(transaction, response.status(), response.write(&self.product), now, &mut self.out);
    }

    /// Whether a further call would be refused.
    pub(super) fn is_full(&self) -> bool {
        self.draining || self.sessions.live() >= self.settings.calls_max
    }
}

/// Returns the option tags in Require that are not served.
pub(super) fn unsupported(request: &Request) -> Option<String> {
    let served = |tag: &str| options::SUPPORTED.split(", ").any(|served| served.eq_ignore_ascii_case(tag));
    let tags: Vec<&str> = request.tokens("Require").filter(|tag| !served(tag)).collect();
    (!tags.is_empty()).then(|| tags.join(", "))
}

/// Completes the response to a body that cannot be used.
pub(super) fn for_body(refusal: BodyRefusal, begin: impl Fn(u16) -> Response) -> Response {
    match refusal {
        BodyRefusal::Type => begin(415).with("Accept", options::ACCEPT),
        BodyRefusal::Encoding => begin(415).with("Accept-Encoding", "identity"),
        BodyRefusal::Answer => begin(406),
    }
}

/// Completes the response to an INFO that is no digit; `None` where it is acceptable.
pub(super) fn for_info(info: info::Info, begin: impl Fn(u16) -> Response) -> Option<Response> {
    match info {
        info::Info::Digit { .. } | info::Info::Empty => None,
        info::Info::UnknownType => Some(begin(415).with("Accept", "application/dtmf-relay, application/dtmf")),
        info::Info::UnknownPackage => Some(begin(469).with("Recv-Info", "")),
        info::Info::BadDigit => Some(begin(400).phrase("Bad Digit")),
    }
}

/// Completes the engine's refusal; a status that is none becomes 500.
pub(super) fn for_engine(refusal: &Refusal, begin: impl Fn(u16) -> Response, host: &str) -> Response {
    let status = if (300..700).contains(&refusal.status) { refusal.status } else { 500 };
    let mut response = begin(status);
    if let Some((code, text)) = &refusal.warning {
        // Three digits, no more and no less (RFC 3261 §20.43).
        response = response.with("Warning", format!("{:03} {host} {}", (*code).clamp(300, 399), quoted(text)));
    }
    match refusal.retry_after_s {
        Some(seconds) => response.with("Retry-After", seconds.to_string()),
        None => response,
    }
}

/// Makes a quoted string of a text from elsewhere: no control characters, not too long.
pub(super) fn quoted(text: &str) -> String {
    let clean = text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX);
    let escaped: String =
        clean.flat_map(|c| ['\\'].into_iter().filter(move |_| matches!(c, '"' | '\\')).chain([c])).collect();
    format!("\"{escaped}\"")
}
