//! The environment and `.env`: the first of them that has a name decides, and the process's own environment is not changed.

use super::Error;
use super::given::Given;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

/// Every variable that is read, with its line for `--help`.
pub const VARIABLES: &[(&str, &str)] = &[
    ("DEEPGRAM_API_KEY", "hear through Deepgram Flux"),
    ("DEEPGRAM_BASE_URL", "default wss://api.deepgram.com"),
    ("DEEPGRAM_MODEL", "default flux-general-en"),
    ("GROQ_API_KEY", "think through Groq"),
    ("GROQ_BASE_URL", "default https://api.groq.com/openai/v1"),
    ("GROQ_MODEL", "default openai/gpt-oss-20b"),
    ("CARTESIA_API_KEY", "speak through Cartesia"),
    ("CARTESIA_BASE_URL", "default wss://api.cartesia.ai"),
    ("CARTESIA_MODEL", "default sonic-3.5"),
    ("CARTESIA_VOICE", "the id of the voice"),
    ("AURA_MODEL", "the voice of Deepgram Aura, on Deepgram's key, for OFFHOOK_TTS=aura; default aura-2-thalia-en"),
    ("ELEVENLABS_API_KEY", "speak through ElevenLabs, for OFFHOOK_TTS=elevenlabs"),
    ("ELEVENLABS_BASE_URL", "default wss://api.elevenlabs.io"),
    ("ELEVENLABS_MODEL", "default eleven_flash_v2_5"),
    ("ELEVENLABS_VOICE", "the id of the voice"),
    ("OPENAI_BASE_URL", "any OpenAI-compatible server, for OFFHOOK_LLM=openai; default https://api.openai.com/v1"),
    ("OPENAI_API_KEY", "its key; may be empty"),
    ("OPENAI_MODEL", "its model"),
    ("OFFHOOK_STT", "who hears: flux, nova, local or echo; default: flux where Deepgram's key is set, else local"),
    ("OFFHOOK_LLM", "who thinks: groq, openai, local or echo; default: groq where its key is set, else local"),
    (
        "OFFHOOK_TTS",
        "who speaks: cartesia, aura, elevenlabs, local or echo; default: cartesia where its key is set, else local",
    ),
    ("OFFHOOK_STT_FORMAT", "audio to the recogniser: pcm16 (16 kHz) or mulaw (8 kHz); default pcm16"),
    ("OFFHOOK_GREETING", "what the agent says first; empty: the caller speaks first"),
    ("OFFHOOK_MODELS", "the folder of the local models; default: offhook in your cache folder"),
    ("OFFHOOK_CALL_PASSWORD", "the password of offhook call, for a server that asks"),
    ("OFFHOOK_API_TOKEN", "the bearer token that the control API demands"),
    ("OFFHOOK_TOOL_SECRET", "what requests to your own [[tools]] are signed with"),
    ("OFFHOOK_LOG", "error, warn, info or debug; default info"),
    ("OFFHOOK_RECORDS", "a folder in which recordings, transcripts and call records are kept; default none"),
    ("OFFHOOK_LOG_FORMAT", "text or json; default text"),
];

/// Both environments.
pub struct Environment<'a> {
    process: &'a dyn Fn(&str) -> Option<String>,
    file: BTreeMap<String, String>,
}

impl<'a> Environment<'a> {
    /// Reads `named`, or else `.env` in `cwd` if it is there.
    pub fn read(process: &'a dyn Fn(&str) -> Option<String>, named: Option<&Path>, cwd: &Path) -> Result<Self, Error> {
        let path = cwd.join(named.unwrap_or(Path::new(".env")));
        let shown = path.display();
        let variables = match dotenvy::from_path_iter(&path) {
            Ok(variables) => variables,
            Err(error) if named.is_none() && is_absent(&error) => return Ok(Self { process, file: BTreeMap::new() }),
            Err(error) => return Err(Error(format!("--env-file: {shown} cannot be read: {}", cause(&error)))),
        };
        let mut file = BTreeMap::new();
        let mut after = "the first line".to_owned();
        for variable in variables {
            // The line itself may hold a key, so that only its place is told.
            let (name, value) = variable.map_err(|error| {
                Error(format!("{shown}: {after} cannot be read ({}); a line may be NAME=value", cause(&error)))
            })?;
            if name.starts_with("OFFHOOK_") && !VARIABLES.iter().any(|(known, _)| *known == name) {
                return Err(Error(format!(
                    "{name} in {shown}: there is no such setting; offhook --help lists them all"
                )));
            }
            after = format!("the line after {name}");
            // As in a shell, a later line wins.
            file.insert(name, value);
        }
        Ok(Self { process, file })
    }

    /// Returns the setting `name`; an empty one counts as not set.
    pub fn get(&self, name: &str) -> Option<Given> {
        self.get_even_empty(name).filter(|given| !given.value.trim().is_empty())
    }

    /// Returns the setting `name`, for which empty is a value.
    pub fn get_even_empty(&self, name: &str) -> Option<Given> {
        let value = (self.process)(name).or_else(|| self.file.get(name).cloned())?;
        Some(Given { name: name.to_owned(), value })
    }
}

fn is_absent(error: &dotenvy::Error) -> bool {
    matches!(error, dotenvy::Error::Io(error) if error.kind() == ErrorKind::NotFound)
}

/// Returns what is wrong without repeating the line.
fn cause(error: &dotenvy::Error) -> String {
    match error {
        dotenvy::Error::Io(error) => error.to_string(),
        dotenvy::Error::LineParse(_, at) => format!("at its character {}", at + 1),
        _ => "unreadable".into(),
    }
}
