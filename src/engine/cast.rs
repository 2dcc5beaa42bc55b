//! Who hears, thinks and speaks: the providers that the settings name, and who takes their place where they cannot.

use crate::config::{Config, Endpoint, Llm, Providers, Stage, Stt, Tts};
use crate::engine::provider_threads::Cast;
use crate::metrics::health::Health;
use crate::providers::deepgram::{Flux, Nova};
use crate::providers::line::ears::EarsLine;
use crate::providers::line::minds::{Mind, Minds};
use crate::providers::line::voices::VoiceLine;
use crate::providers::local::ears::Ears;
use crate::providers::local::models::{self, Set};
use crate::providers::local::receptionist::Receptionist;
use crate::providers::local::voice::HibariVoice;
use crate::providers::{Responder, Speaker, Transcriber, echo, groq::Chat};
use crate::providers::{aura::Aura, cartesia::Cartesia, elevenlabs::ElevenLabs};
use crate::time::Clock;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The providers of the next calls.
pub struct Casting {
    /// The three roles.
    pub cast: Cast,
    /// Who renders the phrases while the voice cannot be reached.
    pub substitute: Option<Arc<dyn Speaker>>,
    /// Where rendered phrases of a paid voice are kept, and a name for that voice.
    pub phrase_cache: Option<(PathBuf, String)>,
    /// The record of each provider, by stage, first choice first.
    pub health: Vec<Arc<Health>>,
    /// What the operator should know: why a stage is not what one would expect, and what to do.
    pub notice: Option<String>,
}

/// Obtains and loads what the settings name. Blocks while models are obtained and loaded; `progress` gets a line at a time.
pub fn cast(config: &Config, clock: &Arc<dyn Clock>, progress: &mut dyn FnMut(&str)) -> Casting {
    let wanted = &config.providers;
    let mut notices = Vec::new();
    if let Err(error) = models::obtain(&wanted.models, &sets(wanted), progress) {
        notices.push(error.to_string());
    }
    let hibari = Arc::new(HibariVoice::new(&wanted.models));
    let hibari_fails = hibari_fails(wanted, &hibari);
    let (echo_ears, echo_mind, echo_voice) = echo::agent();
    let ears = ears(config, &mut notices);
    let voices = voices(wanted, clock, &hibari, hibari_fails.as_deref(), &mut notices);
    // The echo agent works only as a whole, since its voice plays what its ears kept: where a stage has nobody, it
    // takes all three.
    if ears.is_empty() || voices.is_empty() {
        if !wanted.stt.has(Stt::Echo) && !wanted.tts.has(Tts::Echo) {
            // First, since it is what callers notice; why, and the cure, stand behind it.
            let echo = "calls are answered by the echo agent, which plays the caller's own words back";
            notices.insert(0, echo.to_owned());
        }
        let cast = Cast { ears: Arc::new(echo_ears), mind: Arc::new(echo_mind), voice: Arc::new(echo_voice) };
        return Casting { cast, substitute: None, phrase_cache: None, health: Vec::new(), notice: notice(&notices) };
    }
    let ears = EarsLine::new(ears);
    let mut health = ears.health();
    let minds = minds(config);
    let mind: Arc<dyn Responder> = if minds.is_empty() {
        Arc::new(echo_mind)
    } else {
        let minds = Minds::new(minds).with_hedges(wanted.hedge_max).with_first_max(wanted.first_token_max);
        health.extend(minds.health());
        Arc::new(minds)
    };
    // Phrases are rendered by the first voice that is available.
    let local =
        (wanted.tts.first() != Some(Tts::Local) && hibari_fails.is_none()).then_some(hibari as Arc<dyn Speaker>);
    let substitute = voices.get(1).cloned().or(local);
    let voices = VoiceLine::new(voices);
    health.extend(voices.health());
    let cast = Cast { ears: Arc::new(ears), mind, voice: Arc::new(voices) };
    Casting { cast, substitute, phrase_cache: phrase_cache(wanted), health, notice: notice(&notices) }
}

fn notice(notices: &[String]) -> Option<String> {
    (!notices.is_empty()).then(|| notices.join("; "))
}

/// Returns the local models that are to be obtained.
fn sets(wanted: &Providers) -> Vec<Set> {
    let mut sets = Vec::new();
    if wanted.stt.wants(Stt::Local) {
        sets.extend(EARS_SETS);
    }
    if wanted.tts.wants(Tts::Local) {
        sets.push(Set::Hibari);
    }
    if wanted.llm.wants(Llm::Local) {
        sets.push(Set::MiniLm);
    }
    sets
}

/// What the local ears need.
pub(super) const EARS_SETS: [Set; 2] = [Set::Moonshine, Set::SmartTurn];

/// Whether a local provider has its place in the line: where nobody named it, only if its models are there already.
fn has_place<T: Copy + PartialEq>(stage: &Stage<T>, local: T, models: &Path, needs: &[Set]) -> bool {
    let there = models::status(models);
    stage.wants(local) || needs.iter().all(|set| there.contains(set))
}

/// Loads the local voice where somebody wants it or it is there; returns what keeps it from speaking.
fn hibari_fails(wanted: &Providers, hibari: &HibariVoice) -> Option<String> {
    if wanted.tts.has(Tts::Echo) {
        return Some("nobody wants hibari".to_owned());
    }
    if wanted.tts.wants(Tts::Local) || models::status(&wanted.models).contains(&Set::Hibari) {
        hibari.load().err().map(|failure| failure.text)
    } else {
        Some("hibari is not there".to_owned())
    }
}

/// Returns who hears, first choice first.
pub(super) fn ears(config: &Config, notices: &mut Vec<String>) -> Vec<Arc<dyn Transcriber>> {
    let wanted = &config.providers;
    let mut line: Vec<Arc<dyn Transcriber>> = Vec::new();
    for stt in &wanted.stt.order {
        match stt {
            Stt::Flux => {
                let flux = Flux::new(&wanted.deepgram, wanted.stt_format);
                // Eager ends cost nothing themselves, but the drafts begun on them do.
                let waste_max = config.agent.speculation_waste_max;
                let speculates = config.agent.speculation && waste_max > 0.0;
                line.push(Arc::new(if speculates { flux.with_eager_ends(waste_max) } else { flux }));
            }
            Stt::Nova => {
                let mut endpoint = wanted.deepgram.clone();
                // `DEEPGRAM_MODEL` names a model of Flux where it names none of Nova's.
                if !endpoint.model.starts_with("nova") {
                    endpoint.model = Nova::MODEL.to_owned();
                }
                line.push(Arc::new(Nova::new(&endpoint, wanted.stt_format)));
            }
            Stt::Local if has_place(&wanted.stt, Stt::Local, &wanted.models, &EARS_SETS) => {
                match Ears::load(&wanted.models) {
                    Ok(ears) => line.push(Arc::new(ears)),
                    Err(error) => notices.push(error.to_string()),
                }
            }
            Stt::Local | Stt::Echo => {}
        }
    }
    line
}

/// Returns who thinks, first choice first; nobody where that is the echo.
pub(super) fn minds(config: &Config) -> Vec<Mind> {
    let wanted = &config.providers;
    let mut line = Vec::new();
    for llm in &wanted.llm.order {
        match llm {
            Llm::Groq => line.push(Mind::chat(Chat::groq(&wanted.groq))),
            Llm::OpenAi => line.push(Mind::chat(Chat::openai(&wanted.openai))),
            Llm::Local if has_place(&wanted.llm, Llm::Local, &wanted.models, &[Set::MiniLm]) => {
                let receptionist = Receptionist::new(&config.agent, &wanted.models);
                receptionist.load();
                line.push(Mind::other(Arc::new(receptionist)));
            }
            Llm::Local | Llm::Echo => {}
        }
    }
    line
}

/// Returns who speaks, first choice first.
pub(super) fn voices(
    wanted: &Providers,
    clock: &Arc<dyn Clock>,
    hibari: &Arc<HibariVoice>,
    hibari_fails: Option<&str>,
    notices: &mut Vec<String>,
) -> Vec<Arc<dyn Speaker>> {
    let mut line: Vec<Arc<dyn Speaker>> = Vec::new();
    for tts in &wanted.tts.order {
        match (tts, hibari_fails) {
            (Tts::Cartesia, _) => {
                line.push(Arc::new(Cartesia::new(&wanted.cartesia, &wanted.cartesia_voice, clock.clone())));
            }
            (Tts::Aura, _) => line.push(Arc::new(Aura::new(&aura(wanted), clock.clone()))),
            (Tts::ElevenLabs, _) => {
                let (endpoint, voice) = (&wanted.elevenlabs, &wanted.elevenlabs_voice);
                line.push(Arc::new(ElevenLabs::new(endpoint, voice, clock.clone())));
            }
            (Tts::Local, None) => line.push(hibari.clone()),
            (Tts::Local, Some(why)) if wanted.tts.wants(Tts::Local) => notices.push(why.to_owned()),
            (Tts::Local | Tts::Echo, _) => {}
        }
    }
    line
}

/// Returns where Aura is: Deepgram's key and address, with a model of its own.
fn aura(wanted: &Providers) -> Endpoint {
    Endpoint { model: wanted.aura_model.clone(), ..wanted.deepgram.clone() }
}

/// Returns where phrases of a paid voice are kept, and what tells that voice from every other.
fn phrase_cache(wanted: &Providers) -> Option<(PathBuf, String)> {
    let key = match wanted.tts.first()? {
        Tts::Cartesia => {
            format!("{} {} {}", wanted.cartesia.base_url, wanted.cartesia.model, wanted.cartesia_voice)
        }
        Tts::Aura => format!("{} {}", wanted.deepgram.base_url, wanted.aura_model),
        Tts::ElevenLabs => {
            format!("{} {} {}", wanted.elevenlabs.base_url, wanted.elevenlabs.model, wanted.elevenlabs_voice)
        }
        Tts::Local | Tts::Echo => return None,
    };
    let folder = wanted.models.parent().map_or_else(|| wanted.models.clone(), ToOwned::to_owned).join("phrases");
    Some((folder, key))
}
