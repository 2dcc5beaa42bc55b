//! `offhook.toml`: what it may hold, with the range of each number.

use super::accounts::{self, FileAccount};
use super::environment::Environment;
use super::given::Given;
use super::mistake;
use super::network::Network;
use super::records::FileRecords;
use super::tools::{self, FileTool, FileTransfer};
use super::webhooks::{self, FileWebhook};
use super::{Answer, Config, Error, Latch, Srtp, Webhook, words};
use serde::Deserialize;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

/// Characters of a phrase that the agent speaks as a whole: about a minute and a half.
pub const PHRASE_MAX: usize = 1_500;
/// Fillers: each is rendered ahead, and the second one is heard by few.
const FILLERS_MAX: usize = 16;
/// Characters of one of them, three seconds of speech: a reply that is ready waits behind it.
const FILLER_MAX: usize = 60;
/// Characters of the system prompt: well within every model's context, and sent anew with each turn.
const PROMPT_MAX: usize = 32_000;
/// Things the receptionist may know; each is compared with what the caller says.
const ANSWERS_MAX: usize = 500;
/// Ways to ask for one of them.
const QUESTIONS_MAX: usize = 50;

/// Where the file may hold anything but this is an error, so that a typing error is noticed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    log: Option<String>,
    log_format: Option<String>,
    agent: Agent,
    answers: Vec<Answer>,
    tools: Vec<FileTool>,
    sip: Sip,
    media: Media,
    control: Control,
    records: FileRecords,
    capture: Capture,
    providers: Providers,
    stt: Stage,
    llm: Thinking,
    tts: Stage,
    webhooks: Vec<FileWebhook>,
    slo: FileSlo,
}

/// The turn budget; 0 ms: there is none.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileSlo {
    turn_ms: Option<i64>,
    share: Option<f64>,
}

/// Who serves a stage, first choice first.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Stage {
    r#use: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Thinking {
    r#use: Option<Vec<String>>,
    hedge_max: Option<f64>,
    first_token_max_ms: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Agent {
    greeting: Option<String>,
    interruptible_greeting: Option<bool>,
    prompt: Option<String>,
    reprompt: Option<String>,
    goodbye: Option<String>,
    apology: Option<String>,
    farewell_on_failure: Option<String>,
    not_heard: Option<String>,
    fillers: Option<Vec<String>>,
    filler_after_ms: Option<i64>,
    business: Option<String>,
    reprompt_after_s: Option<i64>,
    reprompts_max: Option<i64>,
    call_max_s: Option<i64>,
    speculation: Option<bool>,
    speculation_waste_max: Option<f64>,
    backchannels: Option<Vec<String>>,
    hard_words: Option<Vec<String>>,
    transfers: Vec<FileTransfer>,
    send_dtmf: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sip {
    listen: Option<String>,
    advertised_address: Option<String>,
    accounts: Vec<FileAccount>,
    realm: Option<String>,
    algorithms: Option<Vec<String>>,
    trusted: Vec<String>,
    limits: Limits,
    calls_max: Option<i64>,
    bindings_max: Option<i64>,
    expires_default_s: Option<i64>,
    expires_min_s: Option<i64>,
    expires_max_s: Option<i64>,
    session_expires_s: Option<i64>,
    transfer_to: Vec<String>,
    tls: Option<Tls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tls {
    port: Option<i64>,
    certificate: Option<String>,
    key: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Limits {
    messages_per_s: Option<i64>,
    messages_burst: Option<i64>,
    known_messages_per_s: Option<i64>,
    strangers_per_s: Option<i64>,
    answers_per_s: Option<i64>,
    unacknowledged_max: Option<i64>,
    failures_free: Option<i64>,
    failure_interval_ms: Option<i64>,
    failures_banned: Option<i64>,
    ban_s: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Media {
    rtp_ports: Option<String>,
    port_rest_ms: Option<i64>,
    silence_max_s: Option<i64>,
    latch: Option<String>,
    workers: Option<i64>,
    srtp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Control {
    listen: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Capture {
    folder: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Providers {
    stt_format: Option<String>,
    models: Option<String>,
    deepgram: Endpoint,
    groq: Endpoint,
    openai: Endpoint,
    cartesia: Voice,
    aura: Aura,
    elevenlabs: Voice,
}

/// Aura's voices are models; key and address are Deepgram's.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Aura {
    model: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Endpoint {
    base_url: Option<String>,
    model: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Voice {
    base_url: Option<String>,
    model: Option<String>,
    voice: Option<String>,
}

const SRTPS: &[(&str, Srtp)] = &[("off", Srtp::Off), ("optional", Srtp::Optional), ("mandatory", Srtp::Mandatory)];
const LATCHES: &[(&str, Latch)] = &[("sdp", Latch::Sdp), ("signalling", Latch::Signalling), ("any", Latch::Any)];

impl File {
    /// Reads `named`, or else `offhook.toml` in `cwd` if it is there.
    pub fn read(named: Option<&Path>, cwd: &Path) -> Result<Self, Error> {
        let path = cwd.join(named.unwrap_or(Path::new("offhook.toml")));
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error(format!("--config: {} cannot be read: {error}", path.display()))),
        }
    }

    fn parse(text: &str, shown: &str) -> Result<Self, Error> {
        // A value of the wrong type is no unknown key.
        let takes = |text: &str| match toml::from_str::<Self>(text) {
            Ok(_) => true,
            Err(error) => !error.message().starts_with("unknown field"),
        };
        toml::from_str(text).map_err(|error| Error(mistake::said(text, shown, &error, takes)))
    }

    /// Puts what has no other source into `config`.
    pub fn apply(&self, config: &mut Config) -> Result<(), Error> {
        self.apply_agent(&mut config.agent)?;
        let mut slo = super::Slo::default();
        duration("slo.turn_ms", self.slo.turn_ms, 0..=60_000, Duration::from_millis, &mut slo.turn)?;
        share("slo.share", self.slo.share, &mut slo.share)?;
        config.slo = (!slo.turn.is_zero()).then_some(slo);
        self.sip.apply_trust(&mut config.sip)?;
        let (sip, to) = (&self.sip, &mut config.sip);
        if let Some(address) = &sip.advertised_address {
            to.advertised_address = Some(in_file("sip.advertised_address", address).ip()?);
        }
        number("sip.calls_max", sip.calls_max, 1..=10_000, &mut to.calls_max)?;
        number("sip.bindings_max", sip.bindings_max, 1..=1_000_000, &mut to.bindings_max)?;
        number("sip.expires_min_s", sip.expires_min_s, 1..=3_600, &mut to.expires_min_s)?;
        number("sip.expires_max_s", sip.expires_max_s, 60..=86_400, &mut to.expires_max_s)?;
        for network in &sip.transfer_to {
            to.transfer_to.push(Network::read(&in_file("sip.transfer_to", network))?);
        }
        if sip.session_expires_s != Some(0) {
            // RFC 4028 §4 and §5: not below 90 s.
            number("sip.session_expires_s", sip.session_expires_s, 90..=86_400, &mut to.session_expires_s)?;
        } else {
            to.session_expires_s = 0;
        }
        number("sip.expires_default_s", sip.expires_default_s, 1..=86_400, &mut to.expires_default_s)?;
        if !(to.expires_min_s..=to.expires_max_s).contains(&to.expires_default_s) {
            return Err(Error(format!(
                "sip.expires_default_s in offhook.toml: {} is not between expires_min_s, {}, and expires_max_s, {}",
                to.expires_default_s, to.expires_min_s, to.expires_max_s
            )));
        }
        to.tls = self.sip.tls.as_ref().map(Tls::read).transpose()?;
        let (media, to) = (&self.media, &mut config.media);
        if let Some(latch) = &media.latch {
            to.latch = in_file("media.latch", latch).choice(LATCHES)?;
        }
        if let Some(srtp) = &media.srtp {
            to.srtp = in_file("media.srtp", srtp).choice(SRTPS)?;
        }
        number("media.workers", media.workers, 1..=64, &mut to.workers)?;
        duration("media.port_rest_ms", media.port_rest_ms, 0..=60_000, Duration::from_millis, &mut to.port_rest)?;
        duration("media.silence_max_s", media.silence_max_s, 5..=3_600, Duration::from_secs, &mut to.silence_max)
    }

    fn apply_agent(&self, to: &mut super::Agent) -> Result<(), Error> {
        let agent = &self.agent;
        for (name, text, characters_max, to) in [
            ("agent.greeting", &agent.greeting, PHRASE_MAX, &mut to.greeting),
            ("agent.prompt", &agent.prompt, PROMPT_MAX, &mut to.prompt),
            ("agent.reprompt", &agent.reprompt, PHRASE_MAX, &mut to.reprompt),
            ("agent.goodbye", &agent.goodbye, PHRASE_MAX, &mut to.goodbye),
            ("agent.apology", &agent.apology, PHRASE_MAX, &mut to.apology),
            ("agent.farewell_on_failure", &agent.farewell_on_failure, PHRASE_MAX, &mut to.farewell_on_failure),
            ("agent.not_heard", &agent.not_heard, PHRASE_MAX, &mut to.not_heard),
            ("agent.business", &agent.business, PHRASE_MAX, &mut to.business),
        ] {
            if let Some(text) = text {
                *to = in_file(name, text).text(characters_max)?;
            }
        }
        if let Some(fillers) = &agent.fillers {
            to.fillers = fillers_of(fillers)?;
        }
        let millis = Duration::from_millis;
        duration("agent.filler_after_ms", agent.filler_after_ms, 300..=10_000, millis, &mut to.filler_after)?;
        number("agent.reprompts_max", agent.reprompts_max, 0..=10, &mut to.reprompts_max)?;
        let seconds = Duration::from_secs;
        duration("agent.reprompt_after_s", agent.reprompt_after_s, 3..=600, seconds, &mut to.reprompt_after)?;
        duration("agent.call_max_s", agent.call_max_s, 10..=86_400, seconds, &mut to.call_max)?;
        to.interruptible_greeting = agent.interruptible_greeting.unwrap_or(to.interruptible_greeting);
        to.speculation = agent.speculation.unwrap_or(to.speculation);
        share("agent.speculation_waste_max", agent.speculation_waste_max, &mut to.speculation_waste_max)?;
        phrases("agent.backchannels", agent.backchannels.as_ref(), &mut to.backchannels)?;
        phrases("agent.hard_words", agent.hard_words.as_ref(), &mut to.hard_words)?;
        to.answers = checked(&self.answers)?;
        Ok(())
    }

    /// Puts in what the model may do.
    pub fn apply_tools(&self, env: &Environment<'_>, to: &mut super::Agent) -> Result<(), Error> {
        to.transfers = tools::transfers(&self.agent.transfers)?;
        to.send_dtmf = self.agent.send_dtmf.unwrap_or(to.send_dtmf);
        to.tools = tools::tools(&self.tools, env)?;
        if let Some(secret) = env.get("OFFHOOK_TOOL_SECRET") {
            to.tool_secret = secret.secret()?;
        }
        Ok(())
    }

    /// Returns what is to be kept of calls.
    pub(super) const fn records(&self) -> &FileRecords {
        &self.records
    }

    pub fn log(&self) -> Option<Given> {
        given("log", self.log.as_ref())
    }

    pub fn log_format(&self) -> Option<Given> {
        given("log_format", self.log_format.as_ref())
    }

    pub fn webhooks(&self, env: &Environment<'_>) -> Result<Vec<Webhook>, Error> {
        webhooks::read(&self.webhooks, env)
    }

    pub fn api(&self) -> Option<Given> {
        given("control.listen", self.control.listen.as_ref())
    }

    pub fn capture_folder(&self) -> Option<Given> {
        given("capture.folder", self.capture.folder.as_ref())
    }

    pub fn sip_listen(&self) -> Option<Given> {
        given("sip.listen", self.sip.listen.as_ref())
    }

    pub fn rtp_ports(&self) -> Option<Given> {
        given("media.rtp_ports", self.media.rtp_ports.as_ref())
    }

    pub fn models(&self) -> Option<Given> {
        given("providers.models", self.providers.models.as_ref())
    }

    pub fn cartesia_voice(&self) -> Option<Given> {
        given("providers.cartesia.voice", self.providers.cartesia.voice.as_ref())
    }

    pub fn aura_model(&self) -> Option<Given> {
        given("providers.aura.model", self.providers.aura.model.as_ref())
    }

    pub fn elevenlabs_voice(&self) -> Option<Given> {
        given("providers.elevenlabs.voice", self.providers.elevenlabs.voice.as_ref())
    }

    pub fn stt_format(&self) -> Option<Given> {
        given("providers.stt_format", self.providers.stt_format.as_ref())
    }

    /// Returns whom `use` of the stage `stt`, `llm` or `tts` names, as somebody wrote it.
    pub fn stage_use(&self, stage: &str) -> Result<Option<Vec<Given>>, Error> {
        let listed = match stage {
            "stt" => &self.stt.r#use,
            "llm" => &self.llm.r#use,
            _ => &self.tts.r#use,
        };
        let key = format!("{stage}.use");
        match listed {
            Some(names) if names.is_empty() => {
                Err(Error(format!("{key} in offhook.toml: it is empty, and names who serves the stage")))
            }
            Some(names) => Ok(Some(names.iter().map(|name| in_file(&key, name)).collect())),
            None => Ok(None),
        }
    }

    /// Puts the patience and the spending of the line of minds into `to`.
    pub fn apply_llm(&self, to: &mut super::Providers) -> Result<(), Error> {
        share("llm.hedge_max", self.llm.hedge_max, &mut to.hedge_max)?;
        let (first, range) = (self.llm.first_token_max_ms, 200..=60_000);
        duration("llm.first_token_max_ms", first, range, Duration::from_millis, &mut to.first_token_max)
    }

    /// Returns the address of the provider whose variables begin with `prefix`.
    pub fn base_url(&self, prefix: &str) -> Option<Given> {
        let (base_url, _) = self.endpoint(prefix);
        given(&format!("providers.{}.base_url", prefix.to_ascii_lowercase()), base_url)
    }

    /// Returns the model of the provider whose variables begin with `prefix`.
    pub fn model(&self, prefix: &str) -> Option<Given> {
        let (_, model) = self.endpoint(prefix);
        given(&format!("providers.{}.model", prefix.to_ascii_lowercase()), model)
    }

    fn endpoint(&self, prefix: &str) -> (Option<&String>, Option<&String>) {
        let providers = &self.providers;
        let endpoint = match prefix {
            "DEEPGRAM" => &providers.deepgram,
            "GROQ" => &providers.groq,
            "OPENAI" => &providers.openai,
            "ELEVENLABS" => return (providers.elevenlabs.base_url.as_ref(), providers.elevenlabs.model.as_ref()),
            _ => return (providers.cartesia.base_url.as_ref(), providers.cartesia.model.as_ref()),
        };
        (endpoint.base_url.as_ref(), endpoint.model.as_ref())
    }
}

impl Tls {
    /// Certificate and key are one without the other only by mistake.
    fn read(&self) -> Result<super::Tls, Error> {
        let mut tls = super::Tls::default();
        number("sip.tls.port", self.port, 1..=65_535, &mut tls.port)?;
        for (here, there, named, missing) in
            [(&self.certificate, &self.key, "certificate", "key"), (&self.key, &self.certificate, "key", "certificate")]
        {
            if let (Some(path), None) = (here, there) {
                return Err(Error(format!(
                    "sip.tls.{named} in offhook.toml: {path}, and there is no sip.tls.{missing}; name both PEM files, or \
                     neither for a certificate of our own"
                )));
            }
        }
        (tls.certificate, tls.key) = (self.certificate.as_ref().map(Into::into), self.key.as_ref().map(Into::into));
        Ok(tls)
    }
}

impl Sip {
    fn apply_trust(&self, to: &mut super::Sip) -> Result<(), Error> {
        if let Some(realm) = &self.realm {
            to.realm = accounts::name(&in_file("sip.realm", realm))?;
        }
        to.accounts = accounts::read(&self.accounts, &to.realm)?;
        to.algorithms = accounts::algorithms(self.algorithms.as_deref(), &to.accounts)?;
        for network in &self.trusted {
            to.trusted.push(Network::read(&in_file("sip.trusted", network))?);
        }
        let (limits, to) = (&self.limits, &mut to.limits);
        let count = 1..=1_000_000;
        for (key, value, to) in [
            ("sip.limits.messages_per_s", limits.messages_per_s, &mut to.messages_per_s),
            ("sip.limits.messages_burst", limits.messages_burst, &mut to.messages_burst),
            ("sip.limits.known_messages_per_s", limits.known_messages_per_s, &mut to.known_messages_per_s),
            ("sip.limits.strangers_per_s", limits.strangers_per_s, &mut to.strangers_per_s),
            ("sip.limits.answers_per_s", limits.answers_per_s, &mut to.answers_per_s),
            ("sip.limits.failures_free", limits.failures_free, &mut to.failures_free),
            ("sip.limits.failures_banned", limits.failures_banned, &mut to.failures_banned),
        ] {
            number(key, value, count.clone(), to)?;
        }
        number("sip.limits.unacknowledged_max", limits.unacknowledged_max, 1..=10_000, &mut to.unacknowledged_max)?;
        let interval = limits.failure_interval_ms;
        duration(
            "sip.limits.failure_interval_ms",
            interval,
            10..=60_000,
            Duration::from_millis,
            &mut to.failure_interval,
        )?;
        duration("sip.limits.ban_s", limits.ban_s, 1..=86_400, Duration::from_secs, &mut to.ban)
    }
}

fn given(key: &str, value: Option<&String>) -> Option<Given> {
    value.map(|value| in_file(key, value))
}

pub(super) fn in_file(key: &str, value: &str) -> Given {
    Given { name: format!("{key} in offhook.toml"), value: value.to_owned() }
}

/// Takes the words that bridge a wait.
fn fillers_of(fillers: &[String]) -> Result<Vec<String>, Error> {
    let key = "agent.fillers";
    if fillers.len() > FILLERS_MAX {
        let count = fillers.len();
        return Err(Error(format!("{key} in offhook.toml: {count} fillers are more than {FILLERS_MAX}")));
    }
    let filler = |text: &String| match text.trim() {
        "" => Err(Error(format!("{key} in offhook.toml: one is empty, and says nothing"))),
        _ => in_file(key, text).text(FILLER_MAX),
    };
    fillers.iter().map(filler).collect()
}

pub(super) fn number<T: TryFrom<i64>>(
    key: &str,
    value: Option<i64>,
    range: RangeInclusive<i64>,
    to: &mut T,
) -> Result<(), Error> {
    let Some(value) = value else { return Ok(()) };
    match T::try_from(value) {
        Ok(fits) if range.contains(&value) => *to = fits,
        _ => {
            let (least, most) = (range.start(), range.end());
            return Err(Error(format!("{key} in offhook.toml: {value} is not a whole number from {least} to {most}")));
        }
    }
    Ok(())
}

/// Takes a share of a whole.
fn share(key: &str, value: Option<f64>, to: &mut f64) -> Result<(), Error> {
    match value {
        None => {}
        Some(value) if (0.0..=1.0).contains(&value) => *to = value,
        Some(value) => return Err(Error(format!("{key} in offhook.toml: {value} is not a number from 0.0 to 1.0"))),
    }
    Ok(())
}

/// Takes a list of short phrases in the place of the usual one; none is a list, too.
fn phrases(key: &str, value: Option<&Vec<String>>, to: &mut Vec<String>) -> Result<(), Error> {
    let Some(value) = value else { return Ok(()) };
    if value.len() > words::PHRASES_MAX {
        let most = words::PHRASES_MAX;
        return Err(Error(format!("{key} in offhook.toml: {} phrases are not at most {most}", value.len())));
    }
    for phrase in value {
        if phrase.trim().is_empty() || phrase.chars().count() > words::CHARACTERS_MAX {
            let most = words::CHARACTERS_MAX;
            return Err(Error(format!("{key} in offhook.toml: {phrase:?} is not a phrase of 1 to {most} characters")));
        }
    }
    value.clone_into(to);
    Ok(())
}

fn duration(
    key: &str,
    value: Option<i64>,
    range: RangeInclusive<i64>,
    unit: fn(u64) -> Duration,
    to: &mut Duration,
) -> Result<(), Error> {
    let mut count = 0u64;
    number(key, value, range, &mut count)?;
    if value.is_some() {
        *to = unit(count);
    }
    Ok(())
}

fn checked(answers: &[Answer]) -> Result<Vec<Answer>, Error> {
    let wrong = |what: String| Err(Error(format!("answers in offhook.toml: {what}")));
    if answers.len() > ANSWERS_MAX {
        return wrong(format!("there are {}, and there may be {ANSWERS_MAX}", answers.len()));
    }
    for (number, answer) in answers.iter().enumerate() {
        let number = number + 1;
        if answer.questions.is_empty() || answer.questions.len() > QUESTIONS_MAX {
            return wrong(format!(
                "answer {number} has {} questions, and may have 1 to {QUESTIONS_MAX}",
                answer.questions.len()
            ));
        }
        let texts = answer.questions.iter().chain([&answer.answer]);
        if texts.into_iter().any(|text| text.trim().is_empty() || text.chars().count() > PHRASE_MAX) {
            return wrong(format!("answer {number} holds an empty text, or one of more than {PHRASE_MAX} characters"));
        }
    }
    Ok(answers.to_vec())
}
