//! Every tunable, with its unit, default and reason; read from the command line, the environment and `offhook.toml` here only.
//!
//! A setting is taken from the first place that has it: command line, environment, `.env`, `offhook.toml`, default. A wrong
//! one is one line that names it, says what it was, and what it may be. Providers' keys and tokens come from the environment or
//! `.env` only; passwords of SIP accounts stand in the file, best as hashes.

mod accounts;
mod call;
mod capture;
mod cli;
mod environment;
mod file;
mod given;
mod load;
mod mistake;
mod network;
mod records;
mod stages;
mod tools;
mod webhooks;
mod words;

pub use accounts::{Account, DigestAlgorithm};
pub use call::Call;
pub use capture::{Replay, WhatIf};
pub use environment::misspelt;
pub use given::{host_of, is_loopback_name};
pub use network::Network;
pub use records::Records;
pub use stages::{Llm, Stage, Stt, Tts};
pub use tools::{Method, RESERVED_TOOLS, Tool, Transfer};
pub use webhooks::{EVENTS, Webhook};

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// All settings, one struct per folder that is tuned.
#[derive(Clone, Debug)]
pub struct Config {
    /// Start the bridge at once, without waiting for `POST /api/v1/sip/start`.
    pub start: bool,
    /// The control API.
    pub control: Control,
    /// Signalling.
    pub sip: Sip,
    /// Media ports and the media path.
    pub media: Media,
    /// What the agent says and for how long.
    pub agent: Agent,
    /// Who hears, thinks and speaks.
    pub providers: Providers,
    /// What is kept of calls.
    pub records: Records,
    /// What is kept of calls so that they can be run again.
    pub capture: Capture,
    /// `OFFHOOK_LOG`: the least grave lines that are written to stderr.
    pub log: LogLevel,
    /// `OFFHOOK_LOG_FORMAT`: how they are written.
    pub log_format: LogFormat,
    /// `[[webhooks]]`: who is told of events.
    pub webhooks: Vec<Webhook>,
    /// `[slo]`: how long a turn may take; `None`: it is not watched.
    pub slo: Option<Slo>,
    /// What is not wrong and probably meant otherwise, a line each.
    pub warnings: Vec<String>,
}

/// How long turns may take, and how many of them have to keep to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slo {
    /// From the caller's last sound to the agent's first packet.
    pub turn: Duration,
    /// The share of turns that is within it, 0.0 to 1.0.
    pub share: f64,
}

impl Default for Slo {
    /// People wait for an answer for 200 ms among themselves, and take a telephone's second for a broken line.
    fn default() -> Self {
        Self { turn: Duration::from_millis(900), share: 0.95 }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: a JSON object a line.
    Json,
}

/// How much a log line matters, gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed that a caller or the operator notices.
    Error,
    /// Something is not as it should be, and was coped with.
    Warn,
    /// What a day at the telephone looks like: starts, calls, turns.
    Info,
    /// Everything.
    Debug,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve calls.
    Run,
    /// `offhook models`: obtain the local models and end.
    Models,
    /// `offhook check`: say whether everything that these settings name works from here, and what it costs in time.
    Check { json: bool },
    /// `offhook ha1 USER`: read a password from standard input, print what `[[sip.accounts]]` keeps of it, and end.
    Ha1 { user: String, realm: String },
    /// `offhook call`: call an agent, and say how long its replies took.
    Call(Box<Call>),
    /// `offhook demo`: start an agent and call it.
    Demo(Box<Call>),
    /// `offhook replay`: run a captured call again, and say whether the same comes of it.
    Replay(Replay),
    /// `--help` or `--version`: print this and end with exit code 0.
    Print(String),
}

/// The control API (`control/`).
#[derive(Clone, Debug)]
pub struct Control {
    /// Where it listens. Loopback by default: whoever reaches it can steer calls and read transcripts.
    pub listen: SocketAddr,
    /// `OFFHOOK_API_TOKEN`, the bearer token it demands; required where it does not listen on loopback.
    pub token: Option<Secret>,
}

/// Captures (`engine/capture.rs`).
#[derive(Clone, Debug, Default)]
pub struct Capture {
    /// `capture.folder`, or `--capture`: where each call is kept from here on; `None`: nowhere. All that is said is in it.
    pub folder: Option<PathBuf>,
    /// Which of the two settings named it.
    pub named: String,
}

/// Signalling (`sip/`).
#[derive(Clone, Debug)]
pub struct Sip {
    /// Where SIP over UDP and TCP is served when `--start` is given; the API's `host` and `port` win for the API.
    pub listen: SocketAddr,
    /// SIP over TLS; none unless `offhook.toml` has a table `[sip.tls]`.
    pub tls: Option<Tls>,
    /// The address written into SDP and Contact in place of the one that routes to the peer.
    pub advertised_address: Option<IpAddr>,
    /// Who may register and call; none: open mode, in which everybody on loopback and private networks may.
    pub accounts: Vec<Account>,
    /// The realm of the accounts: a part of each hash.
    pub realm: String,
    /// What digest is offered with, strongest first.
    pub algorithms: Vec<DigestAlgorithm>,
    /// Proxies and trunks that are served without digest, wherever they are. Over UDP an address can be forged: what is
    /// listed here should be reached by a network where that is prevented.
    pub trusted: Vec<Network>,
    /// How much of what strangers send is looked at.
    pub limits: Limits,
    /// Largest number of calls at once; one more gets 503 with Retry-After before anything is allocated for it.
    pub calls_max: usize,
    /// Registrations kept, over all users.
    pub bindings_max: usize,
    /// The registration time granted where none is asked for, in seconds (RFC 3261 §10.3 leaves the choice to us).
    pub expires_default_s: u32,
    /// The shortest registration time; a shorter wish is answered 423 (RFC 3261 §10.3 step 7).
    pub expires_min_s: u32,
    /// The longest registration time granted.
    pub expires_max_s: u32,
    /// The session interval that is asked for where the caller asks for none (RFC 4028), in seconds; 0: none. Half an hour
    /// is what the RFC recommends, and what ends a call on hold whose caller is gone.
    pub session_expires_s: u32,
    /// Where callers may transfer a call to beside the users that are registered here: networks of PBXs and gateways. Every
    /// caller may then call what is there at your cost; none by default.
    pub transfer_to: Vec<Network>,
    /// T1, the round-trip time estimate (RFC 3261 §17.1.1.1).
    pub t1: Duration,
    /// T2, the largest retransmission interval (RFC 3261 §17.1.2.2).
    pub t2: Duration,
    /// T4, how long a message may stay in the network (RFC 3261 §17.1.2.2).
    pub t4: Duration,
}

/// SIP over TLS (`engine/certificate.rs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The port, at the address of the other transports.
    pub port: u16,
    /// A PEM file with the certificate, and those between it and its root; `None`: one that this server has signed itself.
    pub certificate: Option<PathBuf>,
    /// A PEM file with the certificate's private key; there is one exactly where there is a certificate.
    pub key: Option<PathBuf>,
    /// Where a certificate of our own is kept, so that phones that have been told to trust it find it again.
    pub kept_in: PathBuf,
}

impl Default for Tls {
    fn default() -> Self {
        let kept_in = dirs::config_dir().unwrap_or_default().join("offhook");
        // The port for SIP over TLS (RFC 3261 §18.2.1).
        Self { port: 5061, certificate: None, key: None, kept_in }
    }
}

/// What is taken of each source (`sip/admission.rs`): `[sip.limits]` of `offhook.toml`. A flow is known once its REGISTER
/// was accepted or its call was acknowledged; everybody else is a stranger.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Messages a second of one stranger's address: twice what a load test with 50 calls a second sends (INVITE, ACK, BYE).
    pub messages_per_s: u32,
    /// Messages of one stranger's address at once: two seconds of the former.
    pub messages_burst: u32,
    /// Messages a second of one known flow: a trunk with more calls than one engine serves.
    pub known_messages_per_s: u32,
    /// Messages a second of all strangers together: a tenth of what one core reads, so that floods from forged addresses
    /// leave room for the known flows.
    pub strangers_per_s: u32,
    /// Refusals a second that one stranger's address is told; what is over it stays unanswered, so that forged requests make
    /// this server no amplifier. From this machine's loopback nothing is forged: it is told all of them.
    pub answers_per_s: u32,
    /// Calls of one address that ring, or whose 200 is not acknowledged yet; one more gets 503. 50 calls a second whose
    /// ACKs need half a second have 25.
    pub unacknowledged_max: usize,
    /// Wrong passwords of one address in a row after which they are checked slowly. PJSIP tries the same one five times by
    /// itself, so that these are four mistakes of a person.
    pub failures_free: u32,
    /// How often one more is checked after that; the others are answered as wrong ones without being checked.
    pub failure_interval: Duration,
    /// Wrong passwords of one address after which it is not answered at all, but for its known flows.
    pub failures_banned: u32,
    /// How long that lasts, after the last of them.
    pub ban: Duration,
}

/// Media ports and the media path (`rtp/`, `jitter/`, `call/`).
#[derive(Clone, Debug)]
pub struct Media {
    /// UDP ports for RTP (even) and RTCP (odd).
    pub rtp_ports: RangeInclusive<u16>,
    /// How long a port rests after its call, so that late packets reach nobody's next call.
    pub port_rest: Duration,
    /// A call whose peer sends neither RTP nor RTCP for this long, and is not on hold, is ended.
    pub silence_max: Duration,
    /// `media.latch`: whose packets may be taken for the caller's.
    pub latch: Latch,
    /// Media worker threads.
    pub workers: usize,
    /// Whether calls are encrypted, by keys in the session description (RFC 4568).
    pub srtp: Srtp,
}

/// Whether calls are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Srtp {
    /// Never: a caller who insists is refused.
    Off,
    /// Where the caller offers it.
    Optional,
    /// Always: a caller who does not offer it is refused.
    Mandatory,
}

/// Whose packets may be taken for the caller's, where more than one host sends (`rtp/latch.rs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Latch {
    /// The host that the session description names, and no other: for peers that are never behind a NAT.
    Sdp,
    /// That one, and the host that the signalling comes from: a NAT rewrites what packets say, not what descriptions say.
    #[default]
    Signalling,
    /// Whoever sends first: for peers whose media come from a third host that no description names. Whoever sprays the ports
    /// may take the call over, so only for networks in which nobody does.
    Any,
}

/// What the agent says and for how long (`agent/`, `turn/`).
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Agent {
    /// What it says first; empty: the caller speaks first.
    pub greeting: String,
    /// Whether the caller may interrupt it. Where not, what the caller says meanwhile is answered after it.
    pub interruptible_greeting: bool,
    /// The system prompt of the language model.
    pub prompt: String,
    /// What it says when the caller has been silent for `reprompt_after`.
    pub reprompt: String,
    /// What it says before it hangs up on a silent caller or at the end of the longest call.
    pub goodbye: String,
    /// What it says when a provider has failed and the answer could not be made.
    pub apology: String,
    /// What it says before it hangs up because a provider stayed away.
    pub farewell_on_failure: String,
    /// What it says when nothing was recognised of what the caller said.
    pub not_heard: String,
    /// Kept words that bridge the wait for a reply, one after the other; none: such a wait is silent.
    pub fillers: Vec<String>,
    /// How long the caller hears nothing before a filler, counted from the last sound of either side.
    pub filler_after: Duration,
    /// Silence of the caller after which it asks again.
    pub reprompt_after: Duration,
    /// Re-prompts without an answer after which it says goodbye.
    pub reprompts_max: u32,
    /// The longest call.
    pub call_max: Duration,
    /// Whether replies are drafted before the caller's turn has surely ended.
    pub speculation: bool,
    /// The share of these drafts that may be thrown away, 0 to 1.
    pub speculation_waste_max: f64,
    /// What the receptionist mind knows: `[[answers]]` of `offhook.toml`.
    pub answers: Vec<Answer>,
    /// The name of the place that the receptionist speaks for.
    pub business: String,
    /// Phrases of a listening caller, at which the agent goes on speaking.
    pub backchannels: Vec<String>,
    /// Phrases at whose first word the agent stops.
    pub hard_words: Vec<String>,
    /// Where the model may transfer callers to: `[[agent.transfers]]`; none: nowhere.
    pub transfers: Vec<Transfer>,
    /// Whether the model may press keys in the call. Only a call that some machine answers has a use for it, so it is off by
    /// default: each tool costs tokens in every turn, and is one more that a model can call without need.
    pub send_dtmf: bool,
    /// The operator's own tools: `[[tools]]`.
    pub tools: Vec<Tool>,
    /// `OFFHOOK_TOOL_SECRET`: what requests to the tools are signed with; empty: they are not.
    #[serde(skip)]
    pub tool_secret: Secret,
}

/// One thing that the receptionist knows.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Ways in which callers ask for it.
    pub questions: Vec<String>,
    /// What it says.
    pub answer: String,
}

/// How the caller's audio is handed to the recogniser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SttFormat {
    /// 16 kHz, 16 bit.
    Pcm16,
    /// 8 kHz µ-law, as it came.
    Mulaw,
}

/// A secret that prints as its length only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `secret` from being printed.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Returns the secret itself, for the header that carries it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<secret of {} characters>", self.0.len())
    }
}

/// Who hears, thinks and speaks (`providers/`), and where they are.
#[derive(Clone, Debug)]
pub struct Providers {
    /// Who hears.
    pub stt: Stage<Stt>,
    /// Who thinks.
    pub llm: Stage<Llm>,
    /// Who speaks.
    pub tts: Stage<Tts>,
    /// `llm.hedge_max`: the share of requests, 0 to 1, that may be asked a second time while the first is late; 0: none.
    pub hedge_max: f64,
    /// `llm.first_token_max_ms`: how long a mind's first word may take where another stands behind it.
    pub first_token_max: Duration,
    /// How the caller's audio is handed to the recogniser.
    pub stt_format: SttFormat,
    /// Deepgram: `DEEPGRAM_API_KEY`, `DEEPGRAM_BASE_URL`, `DEEPGRAM_MODEL`.
    pub deepgram: Endpoint,
    /// Groq: `GROQ_API_KEY`, `GROQ_BASE_URL`, `GROQ_MODEL`.
    pub groq: Endpoint,
    /// Any OpenAI-compatible server: `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `OPENAI_MODEL`.
    pub openai: Endpoint,
    /// Cartesia: `CARTESIA_API_KEY`, `CARTESIA_BASE_URL`, `CARTESIA_MODEL`.
    pub cartesia: Endpoint,
    /// `CARTESIA_VOICE`, a voice's id.
    pub cartesia_voice: String,
    /// `AURA_MODEL`, a voice of Deepgram Aura; key and address are those of [`Self::deepgram`].
    pub aura_model: String,
    /// ElevenLabs: `ELEVENLABS_API_KEY`, `ELEVENLABS_BASE_URL`, `ELEVENLABS_MODEL`.
    pub elevenlabs: Endpoint,
    /// `ELEVENLABS_VOICE`, a voice's id.
    pub elevenlabs_voice: String,
    /// Where the local models are kept: `OFFHOOK_MODELS`, or the user's cache folder.
    pub models: PathBuf,
}

/// Where a provider is and what it is asked for.
#[derive(Clone, Debug, Default)]
pub struct Endpoint {
    /// The key.
    pub key: Secret,
    /// The base URL, without a trailing slash.
    pub base_url: String,
    /// The model.
    pub model: String,
}

impl Default for Sip {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5060),
            tls: None,
            advertised_address: None,
            accounts: Vec::new(),
            realm: "offhook".into(),
            algorithms: DigestAlgorithm::ALL.to_vec(),
            trusted: Vec::new(),
            limits: Limits::default(),
            calls_max: 200,
            bindings_max: 10_000,
            expires_default_s: 300,
            expires_min_s: 10,
            expires_max_s: 3600,
            session_expires_s: 1800,
            transfer_to: Vec::new(),
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            messages_per_s: 300,
            messages_burst: 600,
            known_messages_per_s: 2_000,
            strangers_per_s: 3_000,
            answers_per_s: 60,
            unacknowledged_max: 40,
            failures_free: 20,
            failure_interval: Duration::from_secs(1),
            failures_banned: 100,
            ban: Duration::from_secs(300),
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            rtp_ports: 10_000..=20_000,
            port_rest: Duration::from_secs(2),
            silence_max: Duration::from_secs(60),
            latch: Latch::default(),
            workers: 1,
            srtp: Srtp::Optional,
        }
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            greeting: "Hello, this is Offhook. How can I help you?".into(),
            interruptible_greeting: true,
            prompt: "You are a friendly, quick agent on the telephone. Answer in one or two short spoken sentences. \
                     No lists, no markdown, no emoji. When the caller says goodbye, say goodbye and call hang_up."
                .into(),
            reprompt: "Are you still there?".into(),
            goodbye: "I'll let you go now. Goodbye!".into(),
            apology: "I'm sorry, something went wrong on my side. Could you say that again?".into(),
            farewell_on_failure: "I'm sorry, I have a technical problem. Please call again later. Goodbye.".into(),
            not_heard: "I'm sorry, I have trouble hearing you. Could you say that again?".into(),
            fillers: ["One moment, please.", "Let me think.", "Just a second.", "Bear with me."]
                .map(String::from)
                .to_vec(),
            // Between the slowest good replies (the local agent's p90 is 1 s) and the 2 s after which people ask whether
            // anybody is there.
            filler_after: Duration::from_millis(1400),
            reprompt_after: Duration::from_secs(12),
            reprompts_max: 2,
            call_max: Duration::from_secs(30 * 60),
            speculation: true,
            // Deepgram reckons with 50 to 70 % more requests for 100 to 200 ms; 1 draft wasted on 2 kept is the thrifty end.
            speculation_waste_max: 0.35,
            answers: Vec::new(),
            business: "Offhook".into(),
            backchannels: words::BACKCHANNELS.iter().map(|&phrase| phrase.into()).collect(),
            hard_words: words::HARD_WORDS.iter().map(|&phrase| phrase.into()).collect(),
            transfers: Vec::new(),
            send_dtmf: false,
            tools: Vec::new(),
            tool_secret: Secret::default(),
        }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000), token: None }
    }
}

/// Every stage on this machine, and where the others would be.
impl Default for Providers {
    fn default() -> Self {
        let endpoint = |base_url: &str, model: &str| Endpoint {
            key: Secret::default(),
            base_url: base_url.into(),
            model: model.into(),
        };
        Self {
            stt: Stage::usual(Stt::Local),
            llm: Stage::usual(Llm::Local),
            tts: Stage::usual(Tts::Local),
            // What is later than nineteen of twenty may be asked again: twice that share leaves room for a bad quarter of an hour.
            hedge_max: 0.1,
            // With 0.3 s each for the end of the turn, the next mind and the voice, the caller waits for less than 2 s.
            first_token_max: Duration::from_secs(1),
            stt_format: SttFormat::Pcm16,
            deepgram: endpoint("wss://api.deepgram.com", "flux-general-en"),
            // Groq shut its Llama models off for most accounts in August 2026; this is the fastest of those that remain.
            groq: endpoint("https://api.groq.com/openai/v1", "openai/gpt-oss-20b"),
            openai: endpoint(OPENAI_BASE_URL, ""),
            cartesia: endpoint("wss://api.cartesia.ai", "sonic-3.5"),
            cartesia_voice: "f786b574-daa5-4673-aa0c-cbe3e8534c02".into(),
            aura_model: "aura-2-thalia-en".into(),
            // The quickest of its models.
            elevenlabs: endpoint("wss://api.elevenlabs.io", "eleven_flash_v2_5"),
            elevenlabs_voice: "EXAVITQu4vr4xnSDxMaL".into(),
            models: dirs::cache_dir().unwrap_or_default().join("offhook"),
        }
    }
}

/// OpenAI itself, the one address at which `OFFHOOK_LLM=openai` needs a key.
const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";

impl Default for Config {
    fn default() -> Self {
        Self {
            start: false,
            control: Control::default(),
            sip: Sip::default(),
            media: Media::default(),
            agent: Agent::default(),
            providers: Providers::default(),
            records: Records::default(),
            capture: Capture::default(),
            log: LogLevel::Info,
            log_format: LogFormat::Text,
            webhooks: Vec::new(),
            slo: Some(Slo::default()),
            warnings: Vec::new(),
        }
    }
}

/// A wrong setting, in one line; exit code 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
