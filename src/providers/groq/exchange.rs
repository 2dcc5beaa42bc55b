//! One request and its streamed answer, on a thread that may block.

use super::Server;
use super::connection::{Counted, Tap, tapped};
use super::reply::{Heard, Piece, Reply};
use super::sse::Lines;
use crate::agent::{Failure, FailureKind};
use crate::providers::Bell;
use crate::providers::redaction::excerpt;
use crate::time::{Clock, Instant};
use crossbeam_channel::{Receiver, Sender};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{HeaderMap, HeaderValue};
use ureq::{Body, http::Response};

/// Bytes read of the body of a refusal.
const REFUSAL_MAX: u64 = 4096;
/// Bytes read of a reply that comes in one piece.
const WHOLE_MAX: u64 = 1 << 20;
/// Bytes read of a list of models; OpenRouter's has 300 kB.
const MODELS_MAX: u64 = 4 << 20;
/// How long the server may take to list its models.
const MODELS_WAIT: Duration = Duration::from_secs(5);
/// The media type of a reply that comes in one piece (RFC 8259 §11), in whatever case.
const JSON: &str = "application/json";
/// Reads after the reply's end, for the end of the body: a connection with unread bytes cannot serve again.
const DRAIN_READS_MAX: usize = 8;

/// What a worker is to do.
pub(in crate::providers) struct Job {
    pub(in crate::providers) id: u64,
    pub(in crate::providers) server: Arc<Server>,
    pub(in crate::providers) tap: Arc<Tap>,
    pub(in crate::providers) task: Task,
    /// Its share in the server's connections, while it waits for a worker and while that one works.
    pub(in crate::providers) using: Counted,
}

pub(in crate::providers) enum Task {
    /// Ask with this body.
    Ask(String),
    /// Have a connection open for the next request.
    Warm,
}

/// What a worker tells its session, and when it knew.
pub(in crate::providers) struct Told {
    pub(in crate::providers) job: u64,
    pub(in crate::providers) at: Instant,
    pub(in crate::providers) news: News,
}

pub(in crate::providers) enum News {
    Sent,
    /// The share that is left of the account's limits.
    Allowance(f32),
    /// Part of a tool call came: nothing to pass on yet, but a sign of life.
    Progress,
    Piece(Piece),
    Done,
    Failed(Failure, Retry),
    /// The worker is free for the next job.
    Free,
}

/// Whether another try of the same request, at the same server, is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::providers) enum Retry {
    /// The server would refuse any request: the key, the model, its own certificate is wrong.
    Shut,
    /// It refuses this one.
    Never,
    Worthwhile,
    /// The connection had been kept open, and the server had closed it meanwhile.
    Stale,
    /// Worded otherwise it may work: the server told which parameters it does not know.
    Reworded,
    /// The model cannot handle these tools.
    WithoutTools,
    /// The conversation is longer than the model can read.
    Shorter,
}

/// A thread that does one job after the other.
pub(in crate::providers) struct Worker {
    pub(in crate::providers) clock: Arc<dyn Clock>,
    pub(in crate::providers) jobs: Receiver<Job>,
    pub(in crate::providers) told: Sender<Told>,
    pub(in crate::providers) bell: Bell,
}

impl Worker {
    /// Works until the session is gone.
    pub(in crate::providers) fn run(self) {
        while let Ok(job) = self.jobs.recv() {
            tapped(&job.tap, || match &job.task {
                Task::Ask(body) => self.ask(&job, body),
                // Where it does not work, the request itself will tell.
                Task::Warm => drop(job.server.models()),
            });
            drop(job.using);
            self.tell(job.id, News::Free);
        }
    }

    /// Tells the session; returns whether it is still there.
    fn tell(&self, job: u64, news: News) -> bool {
        let there = self.told.send(Told { job, at: self.clock.now(), news }).is_ok();
        self.bell.ring();
        there
    }

    fn ask(&self, job: &Job, body: &str) {
        let server = &job.server;
        let answer = server.post(body);
        if let Some(left) = answer.as_ref().ok().and_then(|response| allowance(response.headers())) {
            self.tell(job.id, News::Allowance(left));
        }
        let news = match answer {
            Ok(response) if response.status().is_success() => match self.stream(job, response) {
                Ok(()) => return,
                Err(failure) => News::Failed(failure, Retry::Worthwhile),
            },
            Ok(response) => {
                let (failure, retry) = server.refusal(response);
                News::Failed(failure, retry)
            }
            Err(error) => {
                let (failure, retry) = server.unreachable(&error);
                let stale = failure.kind == FailureKind::Dropped && job.tap.reused();
                News::Failed(failure, if stale { Retry::Stale } else { retry })
            }
        };
        if !job.tap.is_cut() {
            self.tell(job.id, news);
        }
    }

    /// Reads the reply; where the session is gone or has cut it, the connection is dropped with the reader.
    fn stream(&self, job: &Job, response: Response<Body>) -> Result<(), Failure> {
        let kind = response.headers().get("content-type").map(HeaderValue::as_bytes).unwrap_or_default();
        let whole = kind.get(..JSON.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(JSON.as_bytes()));
        let mut reader = response.into_body().into_reader();
        if whole {
            return self.read_whole(job, reader);
        }
        let mut reply = Reply::default();
        let mut lines = Lines::default();
        let mut chunk = [0; 8192];
        loop {
            let len = reader.read(&mut chunk).map_err(|error| job.server.broken(&error))?;
            if lines.push(chunk.get(..len).unwrap_or_default()).is_err() {
                let text = job.server.told("an endless line came");
                return Err(Failure { kind: FailureKind::Garbage, text });
            }
            let ended = len == 0;
            while let Some(data) = lines.next().or_else(|| ended.then(|| lines.finish()).flatten()) {
                let heard = reply.handle_data(&data);
                if !self.pass_on(job, &mut reply, heard)? {
                    // The chunk that ends the body is a read away; the session cuts a server that keeps it to itself.
                    for _ in 0..DRAIN_READS_MAX {
                        if !reader.read(&mut chunk).is_ok_and(|len| len > 0) {
                            break;
                        }
                    }
                    return Ok(());
                }
            }
            if ended {
                let heard = reply.handle_end();
                return self.pass_on(job, &mut reply, heard).map(|_| ());
            }
        }
    }

    /// Reads a reply of a server that does not stream.
    fn read_whole(&self, job: &Job, reader: impl Read) -> Result<(), Failure> {
        let (mut body, mut reply) = (String::new(), Reply::default());
        reader.take(WHOLE_MAX).read_to_string(&mut body).map_err(|error| job.server.broken(&error))?;
        let heard = match reply.handle_data(&body) {
            Heard::More { .. } => reply.handle_end(),
            heard => heard,
        };
        self.pass_on(job, &mut reply, heard).map(|_| ())
    }

    /// Passes on what came; returns whether there may be more.
    fn pass_on(&self, job: &Job, reply: &mut Reply, heard: Heard) -> Result<bool, Failure> {
        let mut there = true;
        let useful = !reply.pieces.is_empty();
        for piece in reply.pieces.drain(..) {
            there = self.tell(job.id, News::Piece(piece));
        }
        match heard {
            Heard::More { useful: true } if !useful => Ok(self.tell(job.id, News::Progress)),
            Heard::More { .. } => Ok(there),
            Heard::Done => {
                self.tell(job.id, News::Done);
                Ok(false)
            }
            Heard::Failed(failure) => {
                let text = job.server.told(&failure.text);
                Err(Failure { text, ..failure })
            }
        }
    }
}

impl Server {
    /// Returns the address of `path`. People write the base URL with `/v1` and without, and some with the path of completions.
    fn url(&self, path: &str) -> String {
        let base = self.endpoint.base_url.trim_end_matches('/');
        let base = base.strip_suffix("/chat/completions").unwrap_or(base);
        let bare = base.split_once("://").is_none_or(|(_, rest)| !rest.contains('/'));
        format!("{base}{}/{path}", if bare { "/v1" } else { "" })
    }

    fn post(&self, body: &str) -> Result<Response<Body>, ureq::Error> {
        let url = self.url("chat/completions");
        let mut request = self.connections.agent.post(url).header("Content-Type", "application/json");
        request = request.header("Accept", "text/event-stream");
        if !self.endpoint.key.is_empty() {
            request = request.header("Authorization", format!("Bearer {}", self.endpoint.key.expose()));
        }
        request.send(body)
    }

    /// Asks for the list of models, and reads it to its end, so that the connection can serve again.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub(in crate::providers) fn models(&self) -> Result<String, Failure> {
        let url = self.url("models");
        let mut request = self.connections.agent.get(url);
        if !self.endpoint.key.is_empty() {
            request = request.header("Authorization", format!("Bearer {}", self.endpoint.key.expose()));
        }
        let request = request.config().timeout_global(Some(MODELS_WAIT)).build();
        let response = request.call().map_err(|error| self.unreachable(&error).0)?;
        if !response.status().is_success() {
            return Err(self.refusal(response).0);
        }
        let mut list = String::new();
        let mut reader = response.into_body().into_reader().take(MODELS_MAX);
        reader.read_to_string(&mut list).map_err(|error| self.broken(&error))?;
        Ok(list)
    }

    /// Reads a refusal, and learns from it.
    fn refusal(&self, response: Response<Body>) -> (Failure, Retry) {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let mut body = Vec::new();
        // A body that breaks off still says something.
        let _ = response.into_body().into_reader().take(REFUSAL_MAX).read_to_end(&mut body);
        let body = excerpt(&String::from_utf8_lossy(&body), &self.endpoint.key);
        let settings = self.name.to_uppercase();
        let cure = match status {
            401 | 403 => format!("; check {settings}_API_KEY"),
            404 => format!("; check {settings}_MODEL and {settings}_BASE_URL"),
            429 => "; the account's limit is reached".into(),
            _ => String::new(),
        };
        let text = self.told(&format!("refused with {status}{}: {body}{cure}", limits(&headers)));
        let kind = match status {
            429 => FailureKind::RateLimited { retry_after: retry_after(&headers) },
            408 | 409 | 498 | 499 | 500.. => FailureKind::Dropped,
            _ => FailureKind::Refused,
        };
        let told_to = headers.get("x-should-retry").map(|value| value.as_bytes() == b"true");
        let retry = match (status, kind) {
            (400 | 422, _) if body.contains("tool_use_failed") => Retry::WithoutTools,
            (400 | 422, _) if self.dialect.learn(&body) => Retry::Reworded,
            (413, _) => Retry::Shorter,
            (400 | 422, _) if is_too_long(&body) => Retry::Shorter,
            (_, FailureKind::Refused) if told_to == Some(true) => Retry::Worthwhile,
            (401 | 403 | 404, _) => Retry::Shut,
            (_, FailureKind::Refused) => Retry::Never,
            _ if told_to == Some(false) => Retry::Never,
            _ => Retry::Worthwhile,
        };
        (Failure { kind, text }, retry)
    }

    fn unreachable(&self, error: &ureq::Error) -> (Failure, Retry) {
        let (kind, retry) = match error {
            ureq::Error::Timeout(_) => (FailureKind::Stalled, Retry::Worthwhile),
            ureq::Error::Rustls(_) | ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::Tls(_) => {
                (FailureKind::Refused, Retry::Shut)
            }
            // What rustls says about a certificate comes by way of the socket; asking again does not make it valid.
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                (FailureKind::Refused, Retry::Shut)
            }
            ureq::Error::Protocol(_) => (FailureKind::Garbage, Retry::Worthwhile),
            _ => (FailureKind::Dropped, Retry::Worthwhile),
        };
        let settings = self.name.to_uppercase();
        let text = format!("cannot be reached: {error}; check the network and {settings}_BASE_URL");
        (Failure { kind, text: self.told(&text) }, retry)
    }

    fn broken(&self, error: &std::io::Error) -> Failure {
        let kind = match error.kind() {
            std::io::ErrorKind::TimedOut => FailureKind::Stalled,
            std::io::ErrorKind::InvalidData => FailureKind::Garbage,
            _ => FailureKind::Dropped,
        };
        Failure { kind, text: self.told(&format!("the reply broke off: {error}")) }
    }

    /// Returns `text` as this server's, without its key.
    pub(in crate::providers) fn told(&self, text: &str) -> String {
        format!("{}: {}", self.name, excerpt(text, &self.endpoint.key))
    }
}

/// Whether a refusal says that the conversation does not fit: `context_length_exceeded`, `exceed_context_size_error`, "maximum
/// context length", "too long".
fn is_too_long(body: &str) -> bool {
    let body = body.to_ascii_lowercase();
    body.contains("context") && ["length", "size", "window", "exceed"].iter().any(|word| body.contains(word))
        || body.contains("too long")
}

/// Returns the wait that the server asks for.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|millis| millis / 1000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Returns the share that is left of the scarcest of the account's limits, as far as told: requests are counted by the day,
/// tokens by the minute.
fn allowance(headers: &HeaderMap) -> Option<f32> {
    let number = |name: String| headers.get(name)?.to_str().ok()?.trim().parse::<f32>().ok();
    let share = |what: &str| {
        let limit = number(format!("x-ratelimit-limit-{what}")).filter(|limit| *limit > 0.0)?;
        Some((number(format!("x-ratelimit-remaining-{what}"))? / limit).clamp(0.0, 1.0))
    };
    let shares = [share("requests"), share("tokens")];
    shares.into_iter().flatten().filter(|share| !share.is_nan()).reduce(f32::min)
}

/// Returns what is left of the account's limits, as far as told.
fn limits(headers: &HeaderMap) -> String {
    let names = ["x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
    let told = names.iter().filter_map(|name| Some((name, headers.get(*name)?.to_str().ok()?)));
    told.map(|(name, value)| format!(", {} {value}", name.trim_start_matches("x-ratelimit-"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(told: &[(&'static str, &'static str)]) -> HeaderMap {
        told.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn the_scarcest_limit_counts() {
        let requests = [("x-ratelimit-limit-requests", "14400"), ("x-ratelimit-remaining-requests", "14370")];
        let tokens = [("x-ratelimit-limit-tokens", "8000"), ("x-ratelimit-remaining-tokens", "800")];
        assert_eq!(allowance(&headers(&[requests, tokens].concat())), Some(0.1));
        assert!(allowance(&headers(&requests)).is_some_and(|left| left > 0.99));
    }

    #[test]
    fn limits_that_make_no_sense_are_no_limits() {
        for value in ["NaN", "", "many", "-inf"] {
            let told = headers(&[("x-ratelimit-limit-tokens", "8000"), ("x-ratelimit-remaining-tokens", value)]);
            assert!(allowance(&told).is_none_or(|left| left == 0.0), "{value}");
        }
        assert_eq!(
            allowance(&headers(&[("x-ratelimit-limit-tokens", "0"), ("x-ratelimit-remaining-tokens", "0")])),
            None
        );
        assert_eq!(allowance(&headers(&[])), None);
    }
}
