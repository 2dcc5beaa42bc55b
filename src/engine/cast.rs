//! Who hears, thinks and speaks: the providers that the settings name, and who takes their place where they cannot.

use crate::config::{Config, Llm, Stt, Tts};
use crate::engine::provider_threads::Cast;
use crate::providers::local::ears::Ears;
use crate::providers::local::models::{self, Set};
use crate::providers::local::receptionist::Receptionist;
use crate::providers::local::voice::HibariVoice;
use crate::providers::{Responder, Speaker, Transcriber, cartesia::Cartesia, deepgram::Flux, echo, groq::Chat};
use crate::time::Clock;
use std::path::PathBuf;
use std::sync::Arc;

/// The providers of the next calls.
pub struct Casting {
    /// The three roles.
    pub cast: Cast,
    /// Who renders the phrases while the voice cannot be reached.
    pub substitute: Option<Arc<dyn Speaker>>,
    /// Where rendered phrases of a paid voice are kept, and a name for that voice.
    pub phrase_cache: Option<(PathBuf, String)>,
    /// What the operator should know: why a stage is not what one would expect, and what to do.
    pub notice: Option<String>,
}

/// Obtains and loads what the settings name. Blocks while models are obtained and loaded; `progress` gets a line at a time.
pub fn cast(config: &Config, clock: &Arc<dyn Clock>, progress: &mut dyn FnMut(&str)) -> Casting {
    let wanted = &config.providers;
    let mut sets = Vec::new();
    if wanted.stt == Stt::Local {
        sets.extend([Set::Moonshine, Set::SmartTurn]);
    }
    if wanted.tts == Tts::Local {
        sets.push(Set::Hibari);
    }
    if wanted.llm == Llm::Local {
        sets.push(Set::MiniLm);
    }
    let mut notices = Vec::new();
    if let Err(error) = models::obtain(&wanted.models, &sets, progress) {
        notices.push(error.to_string());
    }
    let local_ears = (wanted.stt == Stt::Local).then(|| Ears::load(&wanted.models));
    let hibari = Arc::new(HibariVoice::new(&wanted.models));
    let hibari_loaded = if wanted.tts == Tts::Local || models::status(&wanted.models).contains(&Set::Hibari) {
        hibari.load().map_err(|failure| failure.text)
    } else {
        Err("hibari is not there".to_owned())
    };
    let (echo_ears, echo_mind, echo_voice) = echo::agent();
    // The echo agent is one thing: its voice plays what its ears kept, so where a local stage is missing all three are it.
    let missing = [
        local_ears.as_ref().and_then(|ears| ears.as_ref().err().map(ToString::to_string)),
        hibari_loaded.as_ref().err().filter(|_| wanted.tts == Tts::Local).cloned(),
    ];
    let missing: Vec<String> = missing.into_iter().flatten().collect();
    let echoes = !missing.is_empty() || [wanted.stt == Stt::Echo, wanted.tts == Tts::Echo].contains(&true);
    if !missing.is_empty() {
        notices.extend(missing);
        notices.push("calls are answered by the echo agent, which plays the caller's own words back".to_owned());
    }
    let notice = (!notices.is_empty()).then(|| notices.join("; "));
    if echoes {
        let cast = Cast { ears: Arc::new(echo_ears), mind: Arc::new(echo_mind), voice: Arc::new(echo_voice) };
        return Casting { cast, substitute: None, phrase_cache: None, notice };
    }
    let ears: Arc<dyn Transcriber> = match (wanted.stt, local_ears) {
        (Stt::Local, Some(Ok(ears))) => Arc::new(ears),
        _ => {
            let flux = Flux::new(&wanted.deepgram, wanted.stt_format);
            // Eager ends cost nothing themselves; what they are for does.
            let waste_max = config.agent.speculation_waste_max;
            let speculates = config.agent.speculation && waste_max > 0.0;
            Arc::new(if speculates { flux.with_eager_ends(waste_max) } else { flux })
        }
    };
    let mind: Arc<dyn Responder> = match wanted.llm {
        Llm::Groq => Arc::new(Chat::groq(&wanted.groq)),
        Llm::OpenAi => Arc::new(Chat::openai(&wanted.openai)),
        Llm::Local => {
            let receptionist = Receptionist::new(&config.agent, &wanted.models);
            receptionist.load();
            Arc::new(receptionist)
        }
        Llm::Echo => Arc::new(echo_mind),
    };
    let (voice, substitute, phrase_cache): (Arc<dyn Speaker>, Option<Arc<dyn Speaker>>, _) = match wanted.tts {
        Tts::Cartesia => {
            let voice = Cartesia::new(&wanted.cartesia, &wanted.cartesia_voice, clock.clone());
            let substitute = hibari_loaded.is_ok().then_some(hibari as Arc<dyn Speaker>);
            let key = format!("{} {} {}", wanted.cartesia.base_url, wanted.cartesia.model, wanted.cartesia_voice);
            let folder =
                wanted.models.parent().map_or_else(|| wanted.models.clone(), ToOwned::to_owned).join("phrases");
            (Arc::new(voice), substitute, Some((folder, key)))
        }
        Tts::Local | Tts::Echo => (hibari, None, None),
    };
    Casting { cast: Cast { ears, mind, voice }, substitute, phrase_cache, notice }
}
