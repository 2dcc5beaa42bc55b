//! Who hears, thinks and speaks: for each stage its providers in order, the first choice and who takes its place.
//!
//! A variable (`OFFHOOK_LLM`) forces the first choice; the file's list (`use` in `[stt]`, `[llm]`, `[tts]`) names it and those
//! after it. Without either, a stage whose key is set uses its provider in the cloud, and the local one after it.

use super::environment::Environment;
use super::file::File;
use super::given::Given;
use super::{Error, Providers};

/// Who hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stt {
    /// Deepgram Flux.
    Flux,
    /// Deepgram Nova, whose turns are made here.
    Nova,
    /// Moonshine on this machine.
    Local,
    /// No recogniser: turns are marked by voice activity alone, and the audio is kept for the echo voice.
    Echo,
}

/// Who thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Llm {
    /// Groq.
    Groq,
    /// Any server that speaks OpenAI's chat completions.
    OpenAi,
    /// The deterministic receptionist on this machine.
    Local,
    /// Says back what it heard.
    Echo,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tts {
    /// Cartesia.
    Cartesia,
    /// Deepgram Aura.
    Aura,
    /// ElevenLabs.
    ElevenLabs,
    /// Hibari on this machine.
    Local,
    /// Plays the caller's own words back.
    Echo,
}

/// A stage's providers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage<T> {
    /// In the order in which they are tried: never empty, and none twice.
    pub order: Vec<T>,
    /// Whether somebody named them. The local one that nobody named takes another's place only where its models are there.
    pub named: bool,
}

impl<T: Copy + PartialEq> Stage<T> {
    /// Only `provider`, which nobody named.
    pub(super) fn usual(provider: T) -> Self {
        Self { order: vec![provider], named: false }
    }

    /// Returns the first choice.
    #[must_use]
    pub fn first(&self) -> Option<T> {
        self.order.first().copied()
    }

    /// Whether `provider` is one of them.
    #[must_use]
    pub fn has(&self, provider: T) -> bool {
        self.order.contains(&provider)
    }

    /// Whether `provider` is to be obtained where it is not there: it is the first choice, or somebody named it.
    #[must_use]
    pub fn wants(&self, provider: T) -> bool {
        self.first() == Some(provider) || self.named && self.has(provider)
    }
}

/// A kind of provider, as the settings know it.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// The stage, as the file and the variable name it.
    const STAGE: &'static str;
    /// Every provider, with the names that it goes by.
    const NAMES: &'static [(&'static str, Self)];
    /// The one whose key alone is enough to choose it.
    const CLOUD: Self;
    /// The one on this machine.
    const LOCAL: Self;
    /// The one that plays the caller's own words back: all three stages of it belong together, so that it has no others.
    const ECHO: Self;

    /// Returns the variable that is missing for it, and what to do about it.
    fn missing(self, providers: &Providers) -> Option<Missing>;
}

/// A setting without which a provider cannot be used.
pub(super) struct Missing {
    pub variable: &'static str,
    pub cure: &'static str,
}

impl Missing {
    /// A key that is not set.
    fn key(variable: &'static str, key: &super::Secret) -> Option<Self> {
        key.is_empty().then_some(Self { variable, cure: "set it" })
    }
}

impl Choice for Stt {
    const STAGE: &'static str = "stt";
    const NAMES: &'static [(&'static str, Self)] = &[
        ("flux", Self::Flux),
        ("nova", Self::Nova),
        ("local", Self::Local),
        ("echo", Self::Echo),
        ("deepgram", Self::Flux),
    ];
    const CLOUD: Self = Self::Flux;
    const LOCAL: Self = Self::Local;
    const ECHO: Self = Self::Echo;

    fn missing(self, providers: &Providers) -> Option<Missing> {
        match self {
            Self::Flux | Self::Nova => Missing::key("DEEPGRAM_API_KEY", &providers.deepgram.key),
            Self::Local | Self::Echo => None,
        }
    }
}

impl Choice for Llm {
    const STAGE: &'static str = "llm";
    const NAMES: &'static [(&'static str, Self)] =
        &[("groq", Self::Groq), ("openai", Self::OpenAi), ("local", Self::Local), ("echo", Self::Echo)];
    const CLOUD: Self = Self::Groq;
    const LOCAL: Self = Self::Local;
    const ECHO: Self = Self::Echo;

    fn missing(self, providers: &Providers) -> Option<Missing> {
        let openai = &providers.openai;
        match self {
            Self::Groq => Missing::key("GROQ_API_KEY", &providers.groq.key),
            Self::OpenAi if openai.model.is_empty() => {
                Some(Missing { variable: "OPENAI_MODEL", cure: "set it to the name of a model that the server has" })
            }
            Self::OpenAi if openai.base_url == super::OPENAI_BASE_URL && openai.key.is_empty() => Some(Missing {
                variable: "OPENAI_API_KEY",
                cure: "set it, or set OPENAI_BASE_URL to a server that wants no key",
            }),
            Self::OpenAi | Self::Local | Self::Echo => None,
        }
    }
}

impl Choice for Tts {
    const STAGE: &'static str = "tts";
    const NAMES: &'static [(&'static str, Self)] = &[
        ("cartesia", Self::Cartesia),
        ("aura", Self::Aura),
        ("elevenlabs", Self::ElevenLabs),
        ("local", Self::Local),
        ("echo", Self::Echo),
    ];
    const CLOUD: Self = Self::Cartesia;
    const LOCAL: Self = Self::Local;
    const ECHO: Self = Self::Echo;

    fn missing(self, providers: &Providers) -> Option<Missing> {
        match self {
            Self::Cartesia => Missing::key("CARTESIA_API_KEY", &providers.cartesia.key),
            Self::Aura => Missing::key("DEEPGRAM_API_KEY", &providers.deepgram.key),
            Self::ElevenLabs => Missing::key("ELEVENLABS_API_KEY", &providers.elevenlabs.key),
            Self::Local | Self::Echo => None,
        }
    }
}

/// Reads who serves a stage, once the endpoints of `providers` are read.
pub(super) fn read<T: Choice>(env: &Environment<'_>, file: &File, providers: &Providers) -> Result<Stage<T>, Error> {
    let forced = env.get(&format!("OFFHOOK_{}", T::STAGE.to_ascii_uppercase()));
    let listed = file.stage_use(T::STAGE)?;
    let mut order: Vec<T> = Vec::new();
    if let Some(forced) = &forced {
        let or = format!("or set {} to local", forced.name);
        order.push(usable(forced, providers, "is", &or)?);
    }
    let mut seen = Vec::new();
    for given in listed.iter().flatten() {
        let provider: T = usable(given, providers, "names", "or leave it out")?;
        if seen.contains(&provider) {
            return Err(Error(format!("{}: {:?} is named twice", given.name, given.value)));
        }
        seen.push(provider);
        // Who was forced to the front has his place.
        if !order.contains(&provider) {
            order.push(provider);
        }
    }
    if order.len() > 1 && order.contains(&T::ECHO) {
        let name = format!("{}.use in offhook.toml", T::STAGE);
        return Err(Error(format!("{name}: echo plays the caller's own words back, and stands alone or not at all")));
    }
    let named = !order.is_empty();
    if !named {
        order.extend(T::CLOUD.missing(providers).is_none().then_some(T::CLOUD));
        order.push(T::LOCAL);
    }
    Ok(Stage { order, named })
}

/// Reads one provider that is named, for which everything must be there.
fn usable<T: Choice>(given: &Given, providers: &Providers, verb: &str, or: &str) -> Result<T, Error> {
    let provider = given.choice(T::NAMES)?;
    match provider.missing(providers) {
        None => Ok(provider),
        Some(Missing { variable, cure }) => {
            let Given { name, value } = given;
            Err(Error(format!("{variable}: not set, and {name} {verb} {value}; {cure}, {or}")))
        }
    }
}
