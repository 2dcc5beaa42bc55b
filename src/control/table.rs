//! Which paths there are, what may be done with each, and how a request's target is read.

/// What a path is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Index,
    Page,
    OpenApi,
    Metrics,
    Hdr,
    Events,
    Start,
    Stop,
    Status,
    Calls,
    Say,
    Recording,
    Transcript,
    Pcap,
    Transfer,
    Call,
    Audio,
}

/// One route.
#[derive(Debug)]
pub struct Row {
    /// Its path; what stands in braces is taken from the request.
    pub path: &'static str,
    /// What it is about.
    pub route: Route,
    /// The methods that it takes.
    pub methods: &'static str,
    /// What it does, in a line.
    pub what: &'static str,
}

const fn row(path: &'static str, route: Route, methods: &'static str, what: &'static str) -> Row {
    Row { path, route, methods, what }
}

/// Every route. A Call-ID may hold a slash, so that what follows one in a path comes before what does not.
pub const ROUTES: [Row; 17] = [
    row("/", Route::Index, "GET, HEAD, OPTIONS", "the page for browsers; this list for others"),
    row("/page/{asset}", Route::Page, "GET, HEAD, OPTIONS", "what the page is made of"),
    row("/openapi.json", Route::OpenApi, "GET, HEAD, OPTIONS", "this API, as OpenAPI 3.1 describes it"),
    row("/metrics", Route::Metrics, "GET, HEAD, OPTIONS", "Prometheus text"),
    row(
        "/api/v1/hdr/{name}.hlog",
        Route::Hdr,
        "GET, HEAD, OPTIONS",
        "a latency as an HDR log: turn, own_path, pacing_error, llm, ...; query: call",
    ),
    row("/api/v1/events", Route::Events, "GET, OPTIONS", "what happens, as server-sent events; query: call"),
    row("/api/v1/sip/start", Route::Start, "POST, OPTIONS", "starts the bridge; query: host, port"),
    row("/api/v1/sip/stop", Route::Stop, "POST, OPTIONS", "ends every call and stops the bridge"),
    row("/api/v1/sip/status", Route::Status, "GET, HEAD, OPTIONS", "what runs, and how fast"),
    row(
        "/api/v1/sip/calls",
        Route::Calls,
        "GET, HEAD, OPTIONS",
        "the live calls; query: state=ringing, active, or ended for the last hundred",
    ),
    row(
        "/api/v1/sip/calls/{call_id}/recording.wav",
        Route::Recording,
        "GET, HEAD, OPTIONS",
        "both sides of a call, stereo, while it lasts and afterwards",
    ),
    row(
        "/api/v1/sip/calls/{call_id}/transcript.json",
        Route::Transcript,
        "GET, HEAD, OPTIONS",
        "what was said in a call and when, on the recording's timeline",
    ),
    row(
        "/api/v1/sip/calls/{call_id}/packets.pcap",
        Route::Pcap,
        "GET, HEAD, POST, OPTIONS",
        "a call's SIP messages and media packets, while it lasts and afterwards; POST begins it",
    ),
    row("/api/v1/sip/calls/{call_id}/say", Route::Say, "POST, OPTIONS", "has the agent say a text"),
    row(
        "/api/v1/sip/calls/{call_id}/transfer",
        Route::Transfer,
        "POST, OPTIONS",
        "sends the caller to another address",
    ),
    row(
        "/api/v1/sip/calls/{call_id}",
        Route::Call,
        "GET, HEAD, DELETE, OPTIONS",
        "one call, its turns and quality; DELETE hangs up",
    ),
    row(
        "/api/v1/sip/audio/{call_id}",
        Route::Audio,
        "GET, OPTIONS",
        "WebSocket: both sides of a call, 16-bit PCM, 16 kHz, mono; query: channels=2 for the caller left, the agent right",
    ),
];

impl Row {
    /// Whether it takes this method.
    pub fn takes(&self, method: &str) -> bool {
        self.methods.split(", ").any(|allowed| allowed == method)
    }

    /// Returns what stands in the braces, decoded, if `path` is of this route; an empty text where there are none.
    fn read(&self, path: &str) -> Option<String> {
        let Some((before, rest)) = self.path.split_once('{') else { return (path == self.path).then(String::new) };
        let after = rest.split_once('}').map_or("", |(_, after)| after);
        let taken = path.strip_prefix(before)?.strip_suffix(after)?;
        (!taken.is_empty()).then(|| decode(taken, false))
    }
}

/// Returns the route of `path`, and what it takes from there. Of several, the first that takes `method`: a Call-ID may end in
/// the name of an action.
pub fn find(method: &str, path: &str) -> Option<(&'static Row, String)> {
    let mut fitting = ROUTES.iter().filter_map(|row| Some((row, row.read(path)?)));
    let first = fitting.next()?;
    if first.0.takes(method) {
        return Some(first);
    }
    Some(fitting.find(|(row, _)| row.takes(method)).unwrap_or(first))
}

/// Returns path and query of a target in origin form or absolute form (RFC 9112 §3.2), without a fragment.
pub fn split_target(target: &str) -> (&str, &str) {
    let absolute = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://"));
    let target = match absolute {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    let target = target.split('#').next().unwrap_or_default();
    target.split_once('?').unwrap_or((target, ""))
}

/// Returns the parameters of a query in their order, decoded.
pub fn parameters(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name, true), decode(value, true))
    })
}

/// Decodes percent-encoding (RFC 3986 §2.1), and `+` as a space in a query; what is no encoding stays as it is.
fn decode(text: &str, is_query: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
        rest = match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits make a byte.
                bytes.push((high * 16 + low) as u8);
                &after[2..]
            }
            (b'+', _, _) if is_query => {
                bytes.push(b' ');
                after
            }
            _ => {
                bytes.push(first);
                after
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
