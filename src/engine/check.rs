//! `offhook check`: whether everything that the settings name works from here, and what each provider costs in time.
//!
//! Every provider of every stage is tried at once, the fallbacks too: its server is connected to, and a session of its role is
//! opened through the factory that calls use ([`crate::providers::probe`]). The operator's tools are connected to and not
//! asked, since what they do is not known here. Ports are bound and let go.

mod report;

pub use report::Report;

use crate::config::{Config, Endpoint, Llm, Providers, Stage, Stt, Tts};
use crate::engine::cast::{self, EARS_SETS};
use crate::providers::line::minds::Minds;
use crate::providers::local::models::{self, Set};
use crate::providers::probe::{self, Reach, Session};
use crate::providers::tls::Trust;
use crate::providers::{Responder, Speaker, Transcriber, local};
use crate::time::Clock;
use local::voice::HibariVoice;
use serde::Serialize;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// What Flux itself takes from the caller's last sound to the end of the turn, in the middle: what cannot be measured without a
/// caller (`Deepgram: median below 300 ms`, measured at about 260).
const END_OF_TURN_MS: f64 = 260.0;
/// What this engine adds to each turn (README, own path).
const OWN_PATH_MS: f64 = 9.0;
/// The sum above which callers begin to talk over the agent: what published agents take at best (0.5 to 0.8 s).
const BUDGET_MS: f64 = 800.0;

/// How one thing was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Finding {
    /// `ears`, `mind`, `voice`, `tool` or `port`.
    pub what: &'static str,
    /// The provider's or the tool's name, or the port.
    pub name: String,
    /// 0: the first choice; 1 and more: who takes over after it.
    pub place: usize,
    /// Where it is: a host, or `this machine`.
    pub at: String,
    /// The look-up of its name, the TCP handshake and the TLS handshake, in milliseconds.
    pub dns_ms: Option<f64>,
    /// See `dns_ms`.
    pub tcp_ms: Option<f64>,
    /// See `dns_ms`.
    pub tls_ms: Option<f64>,
    /// The first result of a cold session, in milliseconds: the ears listen, the first token, the first audio.
    pub cold_ms: Option<f64>,
    /// The same once the session is warm.
    pub warm_ms: Option<f64>,
    /// Whether a call can use it.
    pub ok: bool,
    /// What is wrong, or to be known.
    pub note: String,
}

/// Checks everything at once; takes as long as the slowest provider, 20 s at most.
#[must_use]
pub fn run(config: &Config, clock: &Arc<dyn Clock>) -> Report {
    let wanted = &config.providers;
    let trust = Trust::web();
    let mut jobs: Vec<Box<dyn FnOnce() -> Finding + Send + '_>> = Vec::new();
    for (place, stt) in wanted.stt.order.iter().enumerate() {
        let trust = &trust;
        jobs.push(Box::new(move || match stt {
            Stt::Local => local("ears", place, wanted, wanted.stt.wants(*stt), &EARS_SETS),
            Stt::Echo => echo("ears", place),
            _ => provider("ears", place, ears(config, *stt), Transcriber::name, wanted, trust, clock, probe::ears),
        }));
    }
    for (place, llm) in wanted.llm.order.iter().enumerate() {
        let trust = &trust;
        jobs.push(Box::new(move || match llm {
            Llm::Local => local("mind", place, wanted, wanted.llm.wants(*llm), &[Set::MiniLm]),
            Llm::Echo => echo("mind", place),
            _ => provider("mind", place, mind(config, *llm), Responder::name, wanted, trust, clock, probe::mind),
        }));
    }
    for (place, tts) in wanted.tts.order.iter().enumerate() {
        let trust = &trust;
        jobs.push(Box::new(move || match tts {
            Tts::Local => local("voice", place, wanted, wanted.tts.wants(*tts), &[Set::Hibari]),
            Tts::Echo => echo("voice", place),
            _ => {
                provider("voice", place, voice(config, *tts, clock), Speaker::name, wanted, trust, clock, probe::voice)
            }
        }));
    }
    for tool in &config.agent.tools {
        let trust = &trust;
        jobs.push(Box::new(move || {
            let mut finding =
                Finding { what: "tool", name: tool.name.clone(), at: host(&tool.url), ..Finding::default() };
            finding.reached(probe::reach(&tool.url, trust, &**clock));
            finding.ok = finding.note.is_empty();
            finding
        }));
    }
    jobs.push(Box::new(|| sip_port(config)));
    jobs.push(Box::new(|| tcp_port("API", config.control.listen)));
    jobs.push(Box::new(|| rtp_ports(config)));
    let findings = std::thread::scope(|scope| {
        let threads: Vec<_> = jobs.into_iter().map(|job| scope.spawn(job)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    Report::new(findings)
}

impl Finding {
    fn reached(&mut self, reach: Result<Reach, String>) {
        match reach {
            Ok(reach) => {
                (self.dns_ms, self.tcp_ms) = (Some(ms(reach.dns)), Some(ms(reach.tcp)));
                self.tls_ms = reach.tls.map(ms);
            }
            Err(why) => self.note = why,
        }
    }
}

/// Tries a provider in the cloud, its way and its session side by side.
#[expect(clippy::too_many_arguments, reason = "each stage has a role, a factory and a trial of its own")]
fn provider<R: ?Sized + Send + Sync>(
    what: &'static str,
    place: usize,
    role: Option<Arc<R>>,
    name: impl Fn(&R) -> &'static str,
    wanted: &Providers,
    trust: &Trust,
    clock: &Arc<dyn Clock>,
    attempt: impl FnOnce(Arc<R>, &Arc<dyn Clock>) -> Result<Session, String> + Send,
) -> Finding {
    let Some(role) = role else {
        let note = "it could not be made".to_owned();
        return Finding { what, name: "?".into(), place, note, ..Finding::default() };
    };
    let name = name(&role);
    let mut finding = Finding { what, name: name.to_owned(), place, ..Finding::default() };
    // A provider whose address is not known here is tried all the same; only the way to its server is not reported.
    let url = endpoint(name, wanted).map(|endpoint| endpoint.base_url.as_str());
    finding.at = url.map(host).unwrap_or_default();
    let reach = url.map(|url| probe::reach(url, trust, &**clock));
    finding.reached(reach.unwrap_or(Ok(Reach::default())));
    if url.is_none() {
        (finding.dns_ms, finding.tcp_ms) = (None, None);
    }
    if !finding.note.is_empty() {
        return finding;
    }
    match attempt(role, clock) {
        Ok(session) => {
            finding.ok = true;
            finding.cold_ms = Some(ms(session.cold));
            finding.warm_ms = session.warm.map(ms);
        }
        Err(why) => finding.note = why,
    }
    finding
}

/// Returns where a provider is that goes by this name.
fn endpoint<'a>(name: &str, wanted: &'a Providers) -> Option<&'a Endpoint> {
    match name {
        "flux" | "nova" | "aura" => Some(&wanted.deepgram),
        "groq" => Some(&wanted.groq),
        "openai" => Some(&wanted.openai),
        "cartesia" => Some(&wanted.cartesia),
        _ => None,
    }
}

fn only<T>(provider: T) -> Stage<T> {
    Stage { order: vec![provider], named: true }
}

fn ears(config: &Config, stt: Stt) -> Option<Arc<dyn Transcriber>> {
    let mut config = config.clone();
    config.providers.stt = only(stt);
    cast::ears(&config, &mut Vec::new()).into_iter().next()
}

fn mind(config: &Config, llm: Llm) -> Option<Arc<dyn Responder>> {
    let mut config = config.clone();
    config.providers.llm = only(llm);
    let mind = cast::minds(&config).into_iter().next()?;
    Some(Arc::new(Minds::new(vec![mind])))
}

fn voice(config: &Config, tts: Tts, clock: &Arc<dyn Clock>) -> Option<Arc<dyn Speaker>> {
    let mut providers = config.providers.clone();
    providers.tts = only(tts);
    let hibari = Arc::new(HibariVoice::new(&providers.models));
    cast::voices(&providers, clock, &hibari, Some("it is not asked for"), &mut Vec::new()).into_iter().next()
}

/// Looks whether the models of a stage of this machine are there.
fn local(what: &'static str, place: usize, wanted: &Providers, needed: bool, sets: &[Set]) -> Finding {
    let missing = models::missing_bytes(&wanted.models, sets);
    let note = match (missing, needed) {
        (0, _) => "its models are there; not measured here".to_owned(),
        (bytes, true) => format!("`offhook models` is to fetch {} MB", bytes.div_ceil(1_000_000)),
        (bytes, false) => {
            format!("does not take over: `offhook models` would fetch {} MB", bytes.div_ceil(1_000_000))
        }
    };
    let ok = missing == 0 || !needed;
    Finding { what, name: "local".into(), place, at: "this machine".into(), ok, note, ..Finding::default() }
}

fn echo(what: &'static str, place: usize) -> Finding {
    let note = "plays the caller's own words back".into();
    Finding { what, name: "echo".into(), place, at: "this machine".into(), ok: true, note, ..Finding::default() }
}

fn port(name: String, outcome: Result<String, String>) -> Finding {
    let ok = outcome.is_ok();
    let note = outcome.unwrap_or_else(|why| why);
    Finding { what: "port", name, at: "this machine".into(), ok, note, ..Finding::default() }
}

fn taken(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::AddrInUse {
        "in use: by another program, or by an offhook that runs".to_owned()
    } else {
        format!("cannot be bound ({error})")
    }
}

fn tcp_port(name: &str, address: SocketAddr) -> Finding {
    let bound = TcpListener::bind(address);
    port(format!("{name} tcp {address}"), bound.map(|_| "free".to_owned()).map_err(|error| taken(&error)))
}

/// SIP is served on UDP and TCP at one address.
fn sip_port(config: &Config) -> Finding {
    let address = config.sip.listen;
    let both = UdpSocket::bind(address).and_then(|udp| TcpListener::bind(address).map(|tcp| (udp, tcp)));
    port(format!("SIP udp+tcp {address}"), both.map(|_| "free".to_owned()).map_err(|error| taken(&error)))
}

/// Counts the free pairs of RTP and RTCP ports, up to what the most calls need.
fn rtp_ports(config: &Config) -> Finding {
    let range = &config.media.rtp_ports;
    let ip = config.sip.listen.ip();
    let (first, last) = (range.start() + range.start() % 2, *range.end());
    let pairs = (first..last).step_by(2);
    let is_free = |port: u16| UdpSocket::bind((ip, port)).is_ok() && UdpSocket::bind((ip, port + 1)).is_ok();
    let free = pairs.filter(|port| is_free(*port)).take(config.sip.calls_max).count();
    let needed = config.sip.calls_max;
    let outcome = match free {
        0 => Err("no pair of them is free".to_owned()),
        free if free < needed => Ok(format!("{free} pairs are free, and sip.calls_max is {needed}")),
        _ => Ok("free".to_owned()),
    };
    port(format!("RTP udp {first}-{last}"), outcome)
}

/// Returns the host and port of a URL.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default().to_owned()
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}
