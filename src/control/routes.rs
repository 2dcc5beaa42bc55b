//! One function per route, pure: request in, reply out.

use super::bodies::{Acted, CallDetail, Calls, Detail, Files, Index, Invalid, Message, Started, Status};
use super::guard::{self, Denied, Sender};
use super::table::{self, Route};
use super::{Bridge, ListenError, StartError, events, openapi, page};
use crate::config::Secret;
use crate::metrics::Kind;
use crate::metrics::histogram::log;
use crate::metrics::prometheus::{self, Gauges};
use crate::time::Instant;
use serde::Serialize;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Longest request target that is looked at: a percent-encoded Call-ID of the longest kind that is kept, and room.
pub const TARGET_MAX: usize = 8_192;

/// A request, as far as it matters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// Path and query, percent-encoded.
    pub target: &'a str,
    /// Who sent it.
    pub sender: Sender<'a>,
    /// Whether it is a WebSocket handshake (RFC 6455 §4.2.1).
    pub handshake: bool,
    /// The Accept header.
    pub accept: &'a str,
    /// The Last-Event-ID header (HTML, server-sent events).
    pub last_event_id: Option<&'a str>,
    /// The body, as far as it was read: to [`BODY_MAX`].
    pub body: &'a [u8],
}

/// Longest body that is read: a text that takes a minute to say, in any script and escaped.
pub const BODY_MAX: usize = 16 << 10;
/// Characters of a text that an operator has said: about a minute.
const SAY_MAX: usize = 1_000;
/// Characters of an address that a caller is sent to.
const TARGET_URI_MAX: usize = 256;

/// What is done about a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It gets this reply.
    Reply(Reply),
    /// It becomes a WebSocket over which this call is heard.
    Listen {
        /// The Call-ID.
        call_id: String,
        /// Whether caller and agent come apart, and not mixed.
        stereo: bool,
    },
    /// It is answered with this file.
    Download {
        /// Where it is.
        path: PathBuf,
        /// The Content-Type header.
        content_type: &'static str,
    },
    /// It becomes a stream of events.
    Follow {
        /// The Call-ID of the only call whose events are wanted; `None`: everything.
        call_id: Option<String>,
        /// The number of the last event that was received before; `None`: what happens from here on.
        after: Option<u64>,
    },
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The Content-Type header.
    pub content_type: &'static str,
    /// One more header: name and value.
    pub header: Option<(&'static str, &'static str)>,
    /// The body.
    pub body: String,
}

const JSON: &str = "application/json";

impl Reply {
    pub(super) fn json(status: u16, body: &impl Serialize) -> Self {
        let body = serde_json::to_string(body).expect("bodies are strings and numbers under string keys");
        Self { status, content_type: JSON, header: None, body }
    }

    pub(super) fn detail(status: u16, detail: impl Serialize) -> Self {
        Self::json(status, &Detail { detail })
    }

    fn message(status: &'static str, message: impl Into<String>) -> Self {
        Self::json(200, &Message { status, message: message.into() })
    }

    fn with(self, name: &'static str, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }
}

/// Answers `request`; `token` is the one that is demanded, if any.
pub fn answer(request: &Request<'_>, token: Option<&Secret>, bridge: &dyn Bridge) -> Answer {
    let is_page = page::is_asked_for(request);
    // The page itself holds no secret, and has to be there before it can ask for the token.
    let checked = match guard::check(&request.sender, token) {
        Err(Denied::Unauthenticated) if is_page => Ok(()),
        checked => checked,
    };
    if let Err(denied) = checked {
        return Answer::Reply(deny(denied));
    }
    if request.target.len() > TARGET_MAX {
        return Answer::Reply(Reply::detail(414, "URI Too Long"));
    }
    let (path, query) = table::split_target(request.target);
    let Some((row, taken)) = table::find(request.method, path) else {
        return Answer::Reply(Reply::detail(404, "Not Found"));
    };
    let (methods, call_id) = (row.methods, taken.as_str());
    let reply = match (request.method, row.route) {
        ("OPTIONS", _) => Reply::json(200, &methods.split(", ").collect::<Vec<_>>()).with("Allow", methods),
        (method, _) if !row.takes(method) => Reply::detail(405, "Method Not Allowed").with("Allow", methods),
        (_, Route::Audio) if request.handshake => match is_stereo(query) {
            Ok(stereo) => return Answer::Listen { call_id: taken, stereo },
            Err(error) => Reply::detail(422, [error]),
        },
        (_, Route::Audio) => Reply::detail(400, "a WebSocket handshake (version 13) is expected here"),
        (_, Route::Recording) => match bridge.recording(call_id) {
            Some(path) => return Answer::Download { path, content_type: "audio/wav" },
            None => Reply::detail(404, "there is no recording of this call"),
        },
        (_, Route::Transcript) => match bridge.transcript(call_id) {
            Some(path) => return Answer::Download { path, content_type: JSON },
            None => Reply::detail(404, "there is no transcript of this call"),
        },
        ("POST", Route::Pcap) => begin_pcap(call_id, bridge),
        (_, Route::Pcap) => match bridge.pcap(call_id) {
            Some(path) => return Answer::Download { path, content_type: "application/vnd.tcpdump.pcap" },
            None => Reply::detail(404, "there is no packet capture of this call; POST here begins one while it lasts"),
        },
        (_, Route::Events) => return follow(query, request.last_event_id, bridge),
        ("DELETE", Route::Call) => hang_up(call_id, bridge),
        (_, Route::Call) => call(call_id, bridge),
        (_, Route::Say) => say(call_id, request.body, bridge),
        (_, Route::Transfer) => transfer(call_id, request.body, bridge),
        (_, Route::Index) if is_page => page::index(),
        (_, Route::Index) => index(),
        (_, Route::Page) => page::asset(&taken).unwrap_or_else(|| Reply::detail(404, "Not Found")),
        (_, Route::OpenApi) => openapi::reply(),
        (_, Route::Metrics) => metrics(bridge),
        (_, Route::Hdr) => hdr(&taken, query, bridge),
        (_, Route::Start) => start(query, bridge),
        (_, Route::Stop) => stop(bridge),
        (_, Route::Status) => status(bridge),
        (_, Route::Calls) => calls(query, bridge),
    };
    Answer::Reply(reply)
}

/// Whether the body of such a request is of interest; all others are taken off the connection unread.
#[must_use]
pub fn reads_body(method: &str, target: &str) -> bool {
    let found = table::find(method, table::split_target(target).0);
    method == "POST" && found.is_some_and(|(row, _)| matches!(row.route, Route::Say | Route::Transfer))
}

/// What one more reader of events is told.
#[must_use]
pub fn too_many_followers() -> Reply {
    Reply::detail(503, "as many readers of events as are served are there already").with("Retry-After", "5")
}

/// Says that enough files are on their way.
pub fn too_many_downloads() -> Reply {
    Reply::detail(503, "as many files as are served at once are on their way already").with("Retry-After", "5")
}

/// Reads `channels` of a listener's query: 1, which is the default, or 2.
fn is_stereo(query: &str) -> Result<bool, Invalid> {
    let channels = table::parameters(query).filter(|(name, _)| name == "channels").last();
    match channels {
        None => Ok(false),
        Some((_, channels)) if channels == "1" => Ok(false),
        Some((_, channels)) if channels == "2" => Ok(true),
        Some((_, input)) => {
            Err(Invalid { kind: "value_error", loc: ["query", "channels"], msg: "channels is 1 or 2", input })
        }
    }
}

/// Returns the WebSocket close code and reason for a call that cannot be heard (RFC 6455 §7.4.1).
#[must_use]
pub const fn close_code(error: ListenError) -> (u16, &'static str) {
    match error {
        ListenError::NotRunning => (1011, "SIP bridge is not running"),
        ListenError::NoSuchCall => (1008, "Call not found"),
        ListenError::TooMany => (1013, "Too many listeners"),
    }
}

fn deny(denied: Denied) -> Reply {
    match denied {
        Denied::Unauthenticated => Reply::detail(401, "Not authenticated").with("WWW-Authenticate", "Bearer"),
        Denied::Host => Reply::detail(403, "Host is not this machine; ask 127.0.0.1, or set OFFHOOK_API_TOKEN"),
        Denied::Origin => Reply::detail(403, "pages from other machines may not ask; set OFFHOOK_API_TOKEN"),
    }
}

fn start(query: &str, bridge: &dyn Bridge) -> Reply {
    let (host, port) = match start_parameters(query) {
        Ok(parameters) => parameters,
        Err(errors) => return Reply::detail(422, errors),
    };
    // `start_parameters` has let through what `parse_host` takes.
    let Some(ip) = parse_host(&host) else { return Reply::detail(500, "Internal Server Error") };
    match bridge.start(SocketAddr::new(ip, port)) {
        Ok(()) => Reply::json(200, &Started::new(&host, port, bridge.about().open_mode)),
        Err(StartError::AlreadyRunning { port }) => {
            Reply::message("already_running", format!("SIP bridge already running on port {port}"))
        }
        Err(StartError::Bind(error)) => bind_error(&host, port, &error),
        Err(StartError::Other(text)) => Reply::detail(500, text),
    }
}

/// Says why the socket was not bound, and what would probably do.
fn bind_error(host: &str, port: u16, error: &io::Error) -> Reply {
    const DEFAULT_PORT: u16 = 5060;
    let next = port.checked_add(1).unwrap_or(DEFAULT_PORT);
    let at_host = if host == DEFAULT_HOST { String::new() } else { format!("host={host}&") };
    let try_instead = |query: String| format!("try POST /api/v1/sip/start?{query}");
    let detail = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("UDP port {port} on {host} is in use; {}", try_instead(format!("{at_host}port={next}")))
        }
        io::ErrorKind::PermissionDenied => {
            let unprivileged = if port < 1024 { DEFAULT_PORT } else { next };
            format!(
                "UDP port {port} on {host} is not allowed; {}",
                try_instead(format!("{at_host}port={unprivileged}"))
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "{host} is not an address of this machine; {}",
                try_instead(format!("host={DEFAULT_HOST}&port={port}"))
            )
        }
        _ => format!("UDP port {port} on {host} cannot be had: {error}"),
    };
    Reply::detail(409, detail)
}

const DEFAULT_HOST: &str = "0.0.0.0";

/// Reads `host` and `port`; as with FastAPI, the last of several counts, and each wrong one is told.
fn start_parameters(query: &str) -> Result<(String, u16), Vec<Invalid>> {
    let (mut host, mut port) = (DEFAULT_HOST.to_owned(), Ok(5060));
    for (name, value) in table::parameters(query) {
        match name.as_str() {
            "host" => host = value,
            "port" => port = parse_port(value),
            _ => {}
        }
    }
    let host_error = parse_host(&host).is_none().then(|| Invalid {
        kind: "ip_any_address",
        loc: ["query", "host"],
        msg: "value is not a valid IPv4 or IPv6 address",
        input: host.clone(),
    });
    match (host_error, port) {
        (None, Ok(port)) => Ok((host, port)),
        (host_error, port) => Err(host_error.into_iter().chain(port.err()).collect()),
    }
}

fn parse_host(host: &str) -> Option<IpAddr> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(host).parse().ok()
}

fn parse_port(input: String) -> Result<u16, Invalid> {
    let wrong = |kind, msg| Invalid { kind, loc: ["query", "port"], msg, input: input.clone() };
    let number = input.trim();
    let (negative, digits) = number.strip_prefix('-').map_or((false, number), |digits| (true, digits));
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong("int_parsing", "Input should be a valid integer, unable to parse string as an integer"));
    }
    match digits.parse::<u16>() {
        _ if negative => Err(wrong("greater_than_equal", "Input should be greater than or equal to 1")),
        Ok(0) => Err(wrong("greater_than_equal", "Input should be greater than or equal to 1")),
        Ok(port) => Ok(port),
        Err(_) => Err(wrong("less_than_equal", "Input should be less than or equal to 65535")),
    }
}

const STOPPED: &str = "SIP bridge is not running";

fn stop(bridge: &dyn Bridge) -> Reply {
    if bridge.stop() { Reply::message("stopped", "SIP bridge stopped") } else { Reply::message("not_running", STOPPED) }
}

fn status(bridge: &dyn Bridge) -> Reply {
    match bridge.running() {
        Some(running) => Reply::json(200, &Status::new(&running, bridge)),
        None => Reply::message("stopped", STOPPED),
    }
}

/// The live calls, those of them in the `state` that is asked for, or with `state=ended` the last hundred that are over, newest
/// first.
fn calls(query: &str, bridge: &dyn Bridge) -> Reply {
    let live = || if bridge.running().is_some() { bridge.board().live(bridge.now()) } else { Vec::new() };
    let asked = table::parameters(query).filter(|(name, _)| name == "state").last().map(|(_, state)| state);
    let calls = match asked.as_deref() {
        None => live(),
        Some("ended") => bridge.board().ended_calls(),
        Some(state @ ("ringing" | "active")) => live().into_iter().filter(|call| call.state.name() == state).collect(),
        Some(_) => {
            let msg = "Input should be 'ringing', 'active' or 'ended'";
            let input = asked.unwrap_or_default();
            return Reply::detail(422, [Invalid { kind: "enum", loc: ["query", "state"], msg, input }]);
        }
    };
    Reply::json(200, &Calls::new(calls, &|at| bridge.unix_time(at)))
}

fn call(call_id: &str, bridge: &dyn Bridge) -> Reply {
    match bridge.board().find(call_id, bridge.now()) {
        Some(call) => {
            let files = Files {
                recording: bridge.recording(call_id).is_some(),
                transcript: bridge.transcript(call_id).is_some(),
                pcap: bridge.pcap(call_id).is_some(),
            };
            Reply::json(200, &CallDetail::new(call, files, &|at| bridge.unix_time(at)))
        }
        None => Reply::detail(404, "Call not found"),
    }
}

fn hang_up(call_id: &str, bridge: &dyn Bridge) -> Reply {
    let found = bridge.board().find_live(call_id);
    acted(call_id, "ended", found.is_some_and(|call| bridge.hang_up(call)))
}

fn begin_pcap(call_id: &str, bridge: &dyn Bridge) -> Reply {
    if !bridge.keeps_pcaps() {
        return Reply::detail(409, "there is no folder for records of calls: set OFFHOOK_RECORDS, or records.folder");
    }
    let found = bridge.board().find_live(call_id);
    acted(call_id, "capturing", found.is_some_and(|call| bridge.begin_pcap(call)))
}

/// What was done about a call.
fn acted(call_id: &str, status: &'static str, done: bool) -> Reply {
    if done { Reply::json(200, &Acted::new(status, call_id)) } else { Reply::detail(404, "Call not found") }
}

#[derive(serde::Deserialize)]
struct Say {
    text: String,
}

#[derive(serde::Deserialize)]
struct Transfer {
    to: String,
}

/// Says that the body is not what is wanted.
fn invalid_body(field: &'static str, msg: &'static str, input: &str) -> Reply {
    let input = input.chars().take(TARGET_URI_MAX).collect();
    Reply::detail(422, [Invalid { kind: "value_error", loc: ["body", field], msg, input }])
}

fn say(call_id: &str, body: &[u8], bridge: &dyn Bridge) -> Reply {
    let text = serde_json::from_slice::<Say>(body).map(|say| say.text).unwrap_or_default();
    let text = text.trim();
    if text.is_empty() || text.chars().count() > SAY_MAX {
        return invalid_body("text", "the body is {\"text\": \"what to say\"}, of 1 to 1000 characters", text);
    }
    let found = bridge.board().find_live(call_id);
    acted(call_id, "saying", found.is_some_and(|call| bridge.say(call, text.to_owned())))
}

/// The address goes into a header of ours, so that it holds nothing that could end it.
fn transfer(call_id: &str, body: &[u8], bridge: &dyn Bridge) -> Reply {
    let to = serde_json::from_slice::<Transfer>(body).map(|transfer| transfer.to).unwrap_or_default();
    let to = to.trim();
    let rest = ["sip:", "sips:", "tel:"].iter().find_map(|scheme| to.strip_prefix(scheme));
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | '\\' | '^' | '`' | '{' | '}' | '|');
    if !rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(fits) && to.len() <= TARGET_URI_MAX) {
        return invalid_body("to", "the body is {\"to\": \"sip:user@host\"}, with a sip:, sips: or tel: address", to);
    }
    let found = bridge.board().find_live(call_id);
    acted(call_id, "transferring", found.is_some_and(|call| bridge.transfer(call, to.to_owned())))
}

/// A number that is none of this engine's is one of an earlier one: what is kept is told anew.
fn follow(query: &str, last_event_id: Option<&str>, bridge: &dyn Bridge) -> Answer {
    let call_id = table::parameters(query).find(|(name, _)| name == "call").map(|(_, value)| value);
    let after = last_event_id.map(|id| events::number(id.trim(), bridge).unwrap_or(0));
    Answer::Follow { call_id: call_id.filter(|id| !id.is_empty()), after }
}

fn metrics(bridge: &dyn Bridge) -> Reply {
    let calls = bridge.board().live(bridge.now());
    let running = bridge.running();
    let gauges = Gauges {
        running: running.is_some(),
        calls_active: calls.len(),
        agents_active: calls.iter().filter(|call| call.agent_up).count(),
        registrations: running.map_or(0, |running| running.registrations),
        uptime: bridge.about().uptime,
        now: bridge.now(),
    };
    let body = prometheus::render(&gauges, bridge.board());
    Reply { status: 200, content_type: prometheus::CONTENT_TYPE, header: None, body }
}

/// The distribution of this name as an HDR log: over all calls and, with tags, by provider; or that of one call.
fn hdr(name: &str, query: &str, bridge: &dyn Bridge) -> Reply {
    let (board, now) = (bridge.board(), bridge.now());
    let Some(kind) = Kind::all().find(|kind| kind.name() == name) else {
        let names: Vec<_> = Kind::all().map(Kind::name).collect();
        return Reply::detail(404, format!("no such latency; there are: {}", names.join(", ")));
    };
    let call = table::parameters(query).find(|(name, _)| name == "call").map(|(_, call)| call);
    let (whole, start, length) = match call {
        None => (board.distribution(kind), Instant::ZERO, now.since(Instant::ZERO)),
        Some(call_id) => {
            let (Some(view), Some(of)) = (board.find(&call_id, now), board.distribution_of(&call_id, kind)) else {
                return Reply::detail(404, "Call not found, or it keeps no such latency");
            };
            (of, view.invited_at, view.duration)
        }
    };
    let of_call = table::parameters(query).any(|(name, _)| name == "call");
    let providers = if of_call { Vec::new() } else { board.by_provider() };
    let tagged = providers.iter().filter(|(stage, ..)| kind == Kind::Stage(*stage));
    let tagged = tagged.map(|(_, provider, of)| (Some(*provider), of));
    let lines: Vec<_> = std::iter::once((None, &whole)).chain(tagged).collect();
    let body = log::write(name, bridge.unix_time(start), length, &lines);
    Reply { status: 200, content_type: "text/plain; charset=utf-8", header: None, body }
}

fn index() -> Reply {
    let routes = table::ROUTES.iter().map(|row| {
        let methods = row.methods.replace(", HEAD", "").replace(", OPTIONS", "");
        (format!("{methods} {}", row.path), row.what)
    });
    Reply::json(200, &Index::new(routes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Failure, FailureKind};
    use crate::agent::{TurnRecord, WordSpan};
    use crate::control::pretend::Pretend;
    use crate::ids::{CallId, TurnId};
    use crate::metrics::health::{CircuitState, Health, ProviderStage};
    use crate::metrics::{Quality, Sample, Speculation};
    use crate::sip::EndedBy;
    use crate::turn::timeline::{Mark, Timeline};
    use std::time::Duration;

    fn ask(bridge: &Pretend, line: &str) -> Reply {
        let (method, target) = line.split_once(' ').expect("a method and a target");
        match answer(&Request { method, target, ..Request::default() }, None, bridge) {
            Answer::Reply(reply) => reply,
            other => panic!("no reply, but {other:?}"),
        }
    }

    /// Each request in turn gets this status and exactly this body.
    fn talk(bridge: &Pretend, table: &[(&str, u16, &str)]) {
        for (line, status, body) in table {
            let reply = ask(bridge, line);
            assert_eq!((reply.status, reply.body.as_str()), (*status, *body), "{line}");
            assert_eq!(reply.content_type, "application/json", "{line}");
        }
    }

    const START: &str = "POST /api/v1/sip/start";
    const STARTED: &str = r#"{"status":"started","message":"SIP bridge started on 0.0.0.0:5060","sip_port":5060,"instructions":{"microsip":"Configure SIP Server: 0.0.0.0:5060","username":"any (e.g., agent001)","call_to":"any extension to invoke AI agent"}}"#;
    const NO_CALL: &str = r#"{"detail":"Call not found"}"#;

    #[test]
    fn start_and_stop_say_what_they_said_before() {
        let already = r#"{"status":"already_running","message":"SIP bridge already running on port 5060"}"#;
        let stopped = r#"{"status":"stopped","message":"SIP bridge stopped"}"#;
        let not_running = r#"{"status":"not_running","message":"SIP bridge is not running"}"#;
        let status_stopped = r#"{"status":"stopped","message":"SIP bridge is not running"}"#;
        talk(
            &Pretend::default(),
            &[
                ("POST /api/v1/sip/stop", 200, not_running),
                ("GET /api/v1/sip/status", 200, status_stopped),
                ("GET /api/v1/sip/calls", 200, r#"{"calls":[],"count":0}"#),
                (START, 200, STARTED),
                ("POST /api/v1/sip/start?port=5070", 200, already),
                ("POST /api/v1/sip/stop", 200, stopped),
                ("POST /api/v1/sip/stop?x=1", 200, not_running),
                ("POST http://127.0.0.1:8000/api/v1/sip/start?host=0.0.0.0&port=5060#x", 200, STARTED),
            ],
        );
    }

    #[test]
    fn start_takes_a_host_and_a_port() {
        for (query, server, port) in [
            ("host=127.0.0.1&port=5070", "127.0.0.1:5070", 5070),
            ("port=+5070+", "0.0.0.0:5070", 5070),
            ("port=1&port=5071&other=x", "0.0.0.0:5071", 5071),
            ("host=%3A%3A1", "[::1]:5060", 5060),
            ("host=[::1]", "[::1]:5060", 5060),
            ("host=localhost&po%72t=5072", "localhost:5072", 5072),
        ] {
            let reply = ask(&Pretend::default(), &format!("{START}?{query}"));
            let body: serde_json::Value = serde_json::from_str(&reply.body).expect("JSON");
            assert_eq!(reply.status, 200, "{query}: {}", reply.body);
            assert_eq!(body["message"], format!("SIP bridge started on {server}"));
            assert_eq!(body["instructions"]["microsip"], format!("Configure SIP Server: {server}"));
            assert_eq!(body["sip_port"], port);
        }
    }

    #[test]
    fn wrong_parameters_are_told_one_by_one() {
        let parsing = |input: &str| {
            format!(
                r#"{{"type":"int_parsing","loc":["query","port"],"msg":"Input should be a valid integer, unable to parse string as an integer","input":{input}}}"#
            )
        };
        let small = |input: &str| {
            format!(
                r#"{{"type":"greater_than_equal","loc":["query","port"],"msg":"Input should be greater than or equal to 1","input":"{input}"}}"#
            )
        };
        let large = |input: &str| {
            format!(
                r#"{{"type":"less_than_equal","loc":["query","port"],"msg":"Input should be less than or equal to 65535","input":"{input}"}}"#
            )
        };
        let host = |input: &str| {
            format!(
                r#"{{"type":"ip_any_address","loc":["query","host"],"msg":"value is not a valid IPv4 or IPv6 address","input":{input}}}"#
            )
        };
        let bridge = Pretend::default();
        for (query, errors) in [
            ("port=abc", parsing(r#""abc""#)),
            ("port=", parsing(r#""""#)),
            ("port", parsing(r#""""#)),
            ("port=5060.5", parsing(r#""5060.5""#)),
            ("port=%22%0A", parsing(r#""\"\n""#)),
            ("port=--1", parsing(r#""--1""#)),
            ("port=0", small("0")),
            ("port=-5", small("-5")),
            ("port=70000", large("70000")),
            ("port=99999999999999999999999", large("99999999999999999999999")),
            ("host=nowhere", host(r#""nowhere""#)),
            ("host=", host(r#""""#)),
            ("host=127.0.0.1:5060", host(r#""127.0.0.1:5060""#)),
            ("host=%FF", host("\"\u{fffd}\"")),
            ("host=300.1.1.1&port=abc", format!("{},{}", host(r#""300.1.1.1""#), parsing(r#""abc""#))),
        ] {
            let body = format!(r#"{{"detail":[{errors}]}}"#);
            talk(&bridge, &[(&format!("{START}?{query}"), 422, &body)]);
        }
        assert!(bridge.running().is_none());
    }

    #[test]
    fn an_address_that_cannot_be_had_comes_with_advice() {
        for (query, detail) in [
            ("port=5999", "UDP port 5999 on 0.0.0.0 is in use; try POST /api/v1/sip/start?port=6000"),
            ("port=65535", "UDP port 65535 on 0.0.0.0 is in use; try POST /api/v1/sip/start?port=5060"),
            (
                "host=127.0.0.1&port=5999",
                "UDP port 5999 on 127.0.0.1 is in use; try POST /api/v1/sip/start?host=127.0.0.1&port=6000",
            ),
            (
                "host=192.0.2.1",
                "192.0.2.1 is not an address of this machine; try POST /api/v1/sip/start?host=0.0.0.0&port=5060",
            ),
            ("port=80", "UDP port 80 on 0.0.0.0 is not allowed; try POST /api/v1/sip/start?port=5060"),
        ] {
            let body = format!(r#"{{"detail":"{detail}"}}"#);
            talk(&Pretend::default(), &[(&format!("{START}?{query}"), 409, &body)]);
        }
    }

    #[test]
    fn the_status_begins_as_it_always_did_and_goes_on() {
        let bridge = Pretend::started();
        bridge.invite(0, "a");
        bridge.invite(1, "b");
        bridge.board.agent_up(CallId(1), true);
        bridge.board.samples([Sample { kind: Kind::Jitter, call: CallId(1), value: Duration::from_millis(3) }]);
        let health = std::sync::Arc::new(Health::new(ProviderStage::Llm, "groq"));
        health.asked(false);
        health.began(Duration::from_millis(250));
        health.asked(true);
        let failure = Failure { kind: FailureKind::Refused, text: "groq: refused with 401".into() };
        health.failed(CallId(1), &failure);
        health.circuit(CircuitState::Open(Instant::ZERO + Duration::from_secs(86_400)));
        bridge.board.watch(vec![health]);
        let body = ask(&bridge, "GET /api/v1/sip/status").body;
        let start = r#"{"status":"running","sip_port":5060,"host":"0.0.0.0","active_calls":2,"active_sessions":1,"rtp_ports_in_use":[10000,10002],"#;
        assert!(body.starts_with(start), "{body}");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
        let providers = &body["providers"];
        assert_eq!([&providers["stt"], &providers["llm"], &providers["tts"]], ["moonshine", "receptionist", "hibari"]);
        let health = serde_json::json!([{
            "stage": "llm", "provider": "groq", "state": "open", "asked": 2, "failed": 1, "stood_in": 1, "hedges": 0,
            "hedges_won": 0, "first_ms": {"p50": 250.0, "p95": 250.0}, "last_error": "groq: refused with 401"
        }]);
        assert_eq!(providers["health"], health);
        assert_eq!(body["realtime"], serde_json::json!({"pinned": true, "fifo": false, "mlock": true}));
        assert_eq!(body["open_mode"], true);
        assert_eq!(body["uptime_seconds"], 7);
        assert_eq!(body["totals"]["calls"], 2);
        assert_eq!(body["latency"]["jitter_ms"]["p99"], 3.0);
        assert_eq!(body["latency"]["stages_ms"]["llm"]["count"], 0);
        assert!(body.get("notice").is_none());
    }

    #[test]
    fn a_call_is_listed_shown_and_hung_up() {
        let bridge = Pretend::started();
        bridge.invite(0, "abc@127.0.0.1");
        bridge.board.answered(CallId(0), "PCMA", Instant::from_millis(7_400));
        let list = r#"{"calls":[{"call_id":"abc@127.0.0.1","from":"\"Ann \\ Lee\" <sip:ann@127.0.0.1>;tag=1","to":"<sip:100@127.0.0.1>","state":"active","duration_seconds":12,"rtp_port":10000,"codec":"PCMA","source":"127.0.0.1:5062","audio":{"state":"starting","cause":null,"finding":null},"echo":null,"started_at":"2026-11-22T17:19:16.000Z"}],"count":1}"#;
        talk(&bridge, &[("GET /api/v1/sip/calls", 200, list)]);
        assert_eq!(ask(&bridge, "GET /api/v1/sip/calls/abc@127.0.0.1").status, 200);
        talk(
            &bridge,
            &[
                ("DELETE /api/v1/sip/calls/abc%40127.0.0.1", 200, r#"{"status":"ended","call_id":"abc@127.0.0.1"}"#),
                ("DELETE /api/v1/sip/calls/abc%40127.0.0.1", 404, NO_CALL),
                ("DELETE /api/v1/sip/calls/nobody", 404, NO_CALL),
                ("GET /api/v1/sip/calls/nobody", 404, NO_CALL),
                ("GET /api/v1/sip/calls", 200, r#"{"calls":[],"count":0}"#),
            ],
        );
        let ended = ask(&bridge, "GET /api/v1/sip/calls/abc@127.0.0.1").body;
        assert!(ended.ends_with(r#""ended":{"by":"engine","reason":"hung up by the operator"}}"#), "{ended}");
        assert!(ended.contains(r#""state":"ended""#));
    }

    #[test]
    fn a_call_shows_its_turns_and_its_quality() {
        let bridge = Pretend::started();
        bridge.invite(0, "abc");
        let call = CallId(0);
        let greeting = TurnRecord { turn: TurnId(0), agent: "Hello.".into(), ..TurnRecord::default() };
        let turn = TurnRecord {
            turn: TurnId(1),
            caller: "Are you open?".into(),
            agent: "Yes, until".into(),
            heard: WordSpan { min: 2, max: 3 },
            interrupted: true,
            ..TurnRecord::default()
        };
        bridge.board.turn(call, &greeting);
        bridge.board.turn(call, &turn);
        let mut timeline = Timeline::default();
        for (mark, us) in [
            (Mark::SpeechArrived, 0),
            (Mark::SpeechHanded, 600),
            (Mark::EndOfTurn, 200_700),
            (Mark::RequestSent, 200_900),
            (Mark::FirstToken, 501_200),
            (Mark::ClauseSent, 506_200),
            (Mark::FirstAudio, 596_400),
            (Mark::FirstPacket, 612_200),
        ] {
            timeline.mark(mark, Instant::from_nanos(us * 1_000));
        }
        bridge.board.latency(call, TurnId(1), &timeline.stages().expect("both ends are marked"));
        bridge.board.speculated(call, TurnId(1), Speculation::Hit(Duration::from_micros(120_500)));
        let concealed = Duration::from_millis(40);
        bridge
            .board
            .quality(call, Quality { packets_received: 600, lost: 2, late: 1, concealed, ..Quality::default() });
        bridge.board.samples([Sample { kind: Kind::PacingError, call, value: Duration::from_micros(70) }]);
        let body = ask(&bridge, "GET /api/v1/sip/calls/abc").body;
        for part in [
            r#""providers":{"stt":"moonshine","llm":"receptionist","tts":"hibari"}"#,
            r#""turns":[{"turn":0,"caller":"","agent":"Hello.","heard":{"words_min":0,"words_max":0},"interrupted":false,"latency_ms":null,"speculation":{"outcome":"none","saved_ms":0.0},"slo_breach":null},{"turn":1,"caller":"Are you open?","agent":"Yes, until","heard":{"words_min":2,"words_max":3},"interrupted":true,"latency_ms":{"total":612.2,"ingress":0.6,"end_of_turn":200.1,"decision":0.2,"llm":300.3,"tools":0.0,"clause":5.0,"tts":90.2,"egress":15.8,"unexplained":0.0},"speculation":{"outcome":"hit","saved_ms":120.5},"slo_breach":null}]"#,
            r#""quality":{"packets_received":600,"lost":2,"late":1,"#,
            r#""concealed_ms":40.0"#,
            r#""pacing_error_ms":{"p50":0.07,"#,
            r#""state":"ringing","duration_seconds":0"#,
        ] {
            assert!(body.contains(part), "{part} is not in {body}");
        }
        assert!(!body.contains("\"ended\""));
    }

    #[test]
    fn a_call_id_may_hold_anything() {
        for (call_id, path) in [
            ("a/b/c", "a/b/c"),
            ("a/b/c", "a%2Fb%2fc"),
            ("a b+c%41", "a%20b+c%2541"),
            ("50%", "50%"),
            ("%zz%4", "%zz%4"),
            ("\u{fc}\"<\\>?#", "%C3%BC%22%3C%5C%3E%3F%23"),
            ("calls/x", "calls/x"),
            ("..", ".."),
        ] {
            let bridge = Pretend::started();
            bridge.invite(0, call_id);
            assert_eq!(ask(&bridge, &format!("GET /api/v1/sip/calls/{path}?x=1")).status, 200, "{path}");
            let handshake = Request {
                method: "GET",
                target: &format!("/api/v1/sip/audio/{path}"),
                handshake: true,
                ..Request::default()
            };
            assert_eq!(answer(&handshake, None, &bridge), Answer::Listen { call_id: call_id.into(), stereo: false });
        }
    }

    #[test]
    fn a_listener_has_one_channel_or_two() {
        let listen = |query: &str| {
            let target = format!("/api/v1/sip/audio/abc{query}");
            answer(
                &Request { method: "GET", target: &target, handshake: true, ..Request::default() },
                None,
                &Pretend::default(),
            )
        };
        for (query, stereo) in
            [("", false), ("?channels=1", false), ("?channels=2", true), ("?channels=1&channels=2", true)]
        {
            assert_eq!(listen(query), Answer::Listen { call_id: "abc".into(), stereo }, "{query}");
        }
        for query in ["?channels=", "?channels=3", "?channels=stereo"] {
            let Answer::Reply(reply) = listen(query) else { panic!("{query} is taken") };
            assert_eq!(reply.status, 422, "{query}");
        }
    }

    #[test]
    fn an_ended_call_is_shown_while_the_bridge_is_stopped() {
        let bridge = Pretend::default();
        bridge.invite(0, "abc");
        bridge.board.ended(CallId(0), EndedBy::Caller, "BYE", Instant::from_millis(5));
        assert_eq!(ask(&bridge, "GET /api/v1/sip/calls/abc").status, 200);
        talk(&bridge, &[("GET /api/v1/sip/calls", 200, r#"{"calls":[],"count":0}"#)]);
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        for (line, allow) in [
            ("GET /api/v1/sip/start", "POST, OPTIONS"),
            ("PUT /api/v1/sip/stop", "POST, OPTIONS"),
            ("POST /api/v1/sip/status", "GET, HEAD, OPTIONS"),
            ("DELETE /api/v1/sip/calls", "GET, HEAD, OPTIONS"),
            ("POST /api/v1/sip/calls/x", "GET, HEAD, DELETE, OPTIONS"),
            ("POST /metrics", "GET, HEAD, OPTIONS"),
            ("TRACE /", "GET, HEAD, OPTIONS"),
            ("HEAD /api/v1/sip/audio/x", "GET, OPTIONS"),
            ("get /api/v1/sip/status", "GET, HEAD, OPTIONS"),
        ] {
            let reply = ask(&Pretend::default(), line);
            assert_eq!((reply.status, reply.header), (405, Some(("Allow", allow))), "{line}");
            assert_eq!(reply.body, r#"{"detail":"Method Not Allowed"}"#);
        }
        let options = ask(&Pretend::default(), "OPTIONS /api/v1/sip/start");
        assert_eq!((options.status, options.header), (200, Some(("Allow", "POST, OPTIONS"))));
        assert_eq!(ask(&Pretend::default(), "HEAD /api/v1/sip/status").status, 200);
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let not_found = r#"{"detail":"Not Found"}"#;
        for path in
            ["/x", "/api", "/api/v1/sip", "/api/v1/sip/", "/api/v1/sip/calls/", "/api/v1/sip/starts", "//", "", "*"]
        {
            talk(&Pretend::default(), &[(&format!("GET {path}"), 404, not_found)]);
        }
        let long = format!("GET /api/v1/sip/calls/{}", "x".repeat(TARGET_MAX));
        assert_eq!(ask(&Pretend::default(), &long).status, 414);
        assert_eq!(ask(&Pretend::default(), "GET /api/v1/sip/audio/x").status, 400);
    }

    #[test]
    fn the_index_lists_every_route() {
        let body = ask(&Pretend::default(), "GET /").body;
        for table::Row { path, .. } in &table::ROUTES {
            assert!(body.contains(path), "{path} is not in {body}");
        }
        assert!(body.contains("GET, DELETE /api/v1/sip/calls/{call_id}"), "{body}");
    }

    fn post(bridge: &Pretend, target: &str, body: &str) -> (u16, String) {
        let request = Request { method: "POST", target, body: body.as_bytes(), ..Request::default() };
        match answer(&request, None, bridge) {
            Answer::Reply(reply) => (reply.status, reply.body),
            other => panic!("no reply, but {other:?}"),
        }
    }

    #[test]
    fn the_operator_speaks_through_the_agent_and_sends_the_caller_on() {
        let bridge = Pretend::started();
        bridge.invite(3, "a/say");
        let say = "/api/v1/sip/calls/a%2Fsay/say";
        let said = post(&bridge, say, r#"{"text": " One moment, please. "}"#);
        assert_eq!(said, (200, r#"{"status":"saying","call_id":"a/say"}"#.into()));
        let sent =
            post(&bridge, "/api/v1/sip/calls/a/say/transfer", r#"{"to":"sip:desk@10.0.0.7:5070;transport=tcp"}"#);
        assert_eq!(sent, (200, r#"{"status":"transferring","call_id":"a/say"}"#.into()));
        let orders = ["call 3: say One moment, please.", "call 3: transfer to sip:desk@10.0.0.7:5070;transport=tcp"];
        assert_eq!(*bridge.orders.lock(), orders);
        assert_eq!(post(&bridge, "/api/v1/sip/calls/nobody/say", r#"{"text":"x"}"#), (404, NO_CALL.into()));
        assert_eq!(ask(&bridge, "GET /api/v1/sip/calls/a/say").status, 200, "a Call-ID may end in an action's name");
        assert!(reads_body("POST", say) && !reads_body("GET", say) && !reads_body("POST", STOP_PATH));
    }

    const STOP_PATH: &str = "/api/v1/sip/stop";

    #[test]
    fn an_order_that_cannot_be_read_is_told_what_it_may_be() {
        let bridge = Pretend::started();
        bridge.invite(0, "a");
        let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(SAY_MAX + 1));
        for body in ["", "x", "{}", r#"{"text":""}"#, r#"{"text":"  "}"#, r#"{"text":5}"#, &long, "\u{fffd}"] {
            let (status, told) = post(&bridge, "/api/v1/sip/calls/a/say", body);
            assert!(status == 422 && told.contains(r#""loc":["body","text"]"#), "{body}: {told}");
        }
        for to in ["", "desk", "sip:", "http://x", "sip:a b@c", "sip:a@c>", "sip:a@c\\r\\nX: y", "sip:\u{e9}@c"] {
            let (status, told) = post(&bridge, "/api/v1/sip/calls/a/transfer", &format!(r#"{{"to":"{to}"}}"#));
            assert!(status == 422 && told.contains(r#""loc":["body","to"]"#), "{to}: {told}");
        }
        assert!(bridge.orders.lock().is_empty());
    }

    #[test]
    fn calls_that_are_over_are_listed_newest_first() {
        let bridge = Pretend::started();
        for n in 0..3 {
            bridge.invite(n, &format!("call-{n}"));
            bridge.board.ended(CallId(n), EndedBy::Caller, "BYE", Instant::from_millis(5));
        }
        let body: serde_json::Value =
            serde_json::from_str(&ask(&bridge, "GET /api/v1/sip/calls?state=ended").body).expect("JSON");
        assert_eq!((&body["count"], &body["calls"][0]["call_id"]), (&3.into(), &"call-2".into()));
        assert_eq!(body["calls"][0]["ended"], serde_json::json!({"by": "caller", "reason": "BYE"}));
        assert_eq!(ask(&bridge, "GET /api/v1/sip/calls").body, r#"{"calls":[],"count":0}"#);
    }

    #[test]
    fn live_calls_are_listed_by_their_state() {
        let bridge = Pretend::started();
        for n in 0..3 {
            bridge.invite(n, &format!("call-{n}"));
        }
        bridge.board.ended(CallId(2), EndedBy::Caller, "BYE", Instant::from_millis(5));
        let count = |query: &str| {
            let body = ask(&bridge, &format!("GET /api/v1/sip/calls{query}")).body;
            serde_json::from_str::<serde_json::Value>(&body).expect("JSON")["count"].as_u64()
        };
        let counts =
            ["", "?state=ringing", "?state=active", "?state=ended", "?state=ended&state=ringing", "?page=2"].map(count);
        assert_eq!(counts, [Some(2), Some(2), Some(0), Some(1), Some(2), Some(2)]);
        let wrong = r#"{"detail":[{"type":"enum","loc":["query","state"],"msg":"Input should be 'ringing', 'active' or 'ended'","input":"over"}]}"#;
        talk(&bridge, &[("GET /api/v1/sip/calls?state=over", 422, wrong)]);
    }

    #[test]
    fn events_are_followed_from_where_the_reader_was() {
        let bridge = Pretend::started();
        let follow = |target, last_event_id| {
            answer(&Request { method: "GET", target, last_event_id, ..Request::default() }, None, &bridge)
        };
        let events = "/api/v1/events";
        assert_eq!(follow(events, None), Answer::Follow { call_id: None, after: None });
        let of_call = follow("/api/v1/events?call=a%40b", Some("1795367956000017"));
        assert_eq!(of_call, Answer::Follow { call_id: Some("a@b".into()), after: Some(17) });
        for foreign in ["17", "x", ""] {
            assert_eq!(follow(events, Some(foreign)), Answer::Follow { call_id: None, after: Some(0) }, "{foreign}");
        }
    }

    #[test]
    fn browsers_get_the_page_and_programs_the_list() {
        let get = |target, accept, token: Option<&Secret>| match answer(
            &Request { method: "GET", target, accept, ..Request::default() },
            token,
            &Pretend::default(),
        ) {
            Answer::Reply(reply) => reply,
            other => panic!("no reply, but {other:?}"),
        };
        let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
        let page = get("/", browser, None);
        assert_eq!((page.status, page.content_type), (200, "text/html; charset=utf-8"));
        let policy = page.header.expect("a policy");
        assert!(policy.0 == "Content-Security-Policy" && policy.1.starts_with("default-src 'none'"), "{policy:?}");
        assert_eq!(get("/", "*/*", None).content_type, "application/json");
        assert_eq!(get("/page/app.js", "*/*", None).content_type, "text/javascript; charset=utf-8");
        assert_eq!(get("/page/..%2froutes.rs", "*/*", None).status, 404);
        // It has to be there before it can ask for the token; what it shows is asked for with the token.
        let token = Secret::new("t0ken");
        assert_eq!(get("/", browser, Some(&token)).status, 200);
        assert_eq!(get("/page/app.js", browser, Some(&token)).status, 200);
        for target in ["/api/v1/events", "/openapi.json", "/api/v1/sip/calls/a/say"] {
            assert_eq!(get(target, browser, Some(&token)).status, 401, "{target}");
        }
        let sender = Sender { host: Some("evil.example"), ..Sender::default() };
        let rebound = Request { method: "GET", target: "/", accept: browser, sender, ..Request::default() };
        assert!(matches!(answer(&rebound, None, &Pretend::default()), Answer::Reply(Reply { status: 403, .. })));
    }

    #[test]
    fn metrics_are_text_whether_the_bridge_runs_or_not() {
        for (bridge, line) in
            [(Pretend::default(), "offhook_bridge_running 0"), (Pretend::started(), "offhook_bridge_running 1")]
        {
            let reply = ask(&bridge, "GET /metrics");
            assert_eq!((reply.status, reply.content_type), (200, prometheus::CONTENT_TYPE));
            assert!(reply.body.lines().any(|l| l == line));
        }
    }

    #[test]
    fn a_latency_is_downloaded_as_a_log_of_all_calls_or_of_one() {
        let bridge = Pretend::started();
        bridge.invite(1, "abc@host");
        let mut timeline = Timeline::default();
        for (mark, ms) in
            [(Mark::SpeechArrived, 0), (Mark::RequestSent, 200), (Mark::FirstToken, 500), (Mark::FirstPacket, 600)]
        {
            timeline.mark(mark, Instant::from_millis(ms));
        }
        bridge.board.latency(CallId(1), TurnId(1), &timeline.stages().expect("both ends are marked"));
        let log = ask(&bridge, "GET /api/v1/hdr/llm.hlog");
        assert_eq!((log.status, log.content_type), (200, "text/plain; charset=utf-8"));
        let lines: Vec<_> = log.body.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines.len(), 2, "all of them, and the one provider\n{}", log.body);
        assert!(lines[0].starts_with("0.000,20.000,301.") && lines[1].starts_with("Tag=receptionist,"), "{}", log.body);
        let call = ask(&bridge, "GET /api/v1/hdr/llm.hlog?call=abc%40host");
        assert_eq!(call.body.lines().filter(|line| !line.starts_with('#')).count(), 1, "{}", call.body);
        assert_eq!(ask(&bridge, "GET /api/v1/hdr/llm.hlog?call=nobody").status, 404);
        let unknown = ask(&bridge, "GET /api/v1/hdr/dinner.hlog");
        assert_eq!(unknown.status, 404);
        assert!(unknown.body.contains("pacing_error"), "{}", unknown.body);
    }

    #[test]
    fn who_may_not_ask_learns_nothing() {
        let token = Secret::new("t0ken");
        let bridge = Pretend::started();
        for target in ["/api/v1/sip/status", "/metrics", "/", "/nowhere", "/api/v1/sip/audio/x"] {
            let request = Request { method: "GET", target, handshake: true, ..Request::default() };
            let Answer::Reply(reply) = answer(&request, Some(&token), &bridge) else { panic!("{target} is open") };
            assert_eq!((reply.status, reply.header), (401, Some(("WWW-Authenticate", "Bearer"))), "{target}");
            let sender = Sender { host: Some("evil.example"), ..Sender::default() };
            let Answer::Reply(reply) = answer(&Request { sender, ..request }, None, &bridge) else {
                panic!("{target} is open")
            };
            assert_eq!(reply.status, 403, "{target}");
        }
        let request = Request { method: "POST", target: "/api/v1/sip/stop", ..Request::default() };
        let sender = Sender { host: Some("127.0.0.1:8000"), origin: Some("https://evil.example"), authorization: None };
        let Answer::Reply(reply) = answer(&Request { sender, ..request }, None, &bridge) else { panic!("open") };
        assert_eq!(reply.status, 403);
        assert!(bridge.running().is_some());
    }
}
