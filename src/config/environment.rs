//! The environment and `.env`: the first of them that has a name decides, and the process's own environment is not changed.
//!
//! A line of `.env` is `NAME=value`, with or without `export` before it and quotes around the value. In double quotes `\n`, `\t`,
//! `\"` and `\\` are escapes; after white space outside of quotes `#` begins a comment. Nothing else has a meaning: a `$` in a
//! password is a `$`.

use super::Error;
use super::given::Given;
use super::mistake::{nearest, variable_meant};
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
    /// Names of the file that are none of ours: where each stands, and which of ours is next to it.
    doubtful: Vec<(String, &'static str)>,
}

impl<'a> Environment<'a> {
    /// Reads `named`, or else `.env` in `cwd` if it is there.
    pub fn read(process: &'a dyn Fn(&str) -> Option<String>, named: Option<&Path>, cwd: &Path) -> Result<Self, Error> {
        let path = cwd.join(named.unwrap_or(Path::new(".env")));
        let shown = path.display();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error(format!("--env-file: {shown} cannot be read: {error}"))),
        };
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return Err(Error(format!("--env-file: {shown} cannot be read: it is not in UTF-8; save it as UTF-8")));
        };
        let (mut file, mut doubtful) = (BTreeMap::new(), Vec::new());
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let at = format!("{shown}, line {}", number + 1);
            // The line itself may hold a key, so that only its place is told.
            let variable = variable(line).map_err(|wrong| Error(format!("{at}: {wrong}; a line may be NAME=value")))?;
            let Some((name, value)) = variable else { continue };
            if name.starts_with("OFFHOOK_") && !VARIABLES.iter().any(|(known, _)| *known == name) {
                let known = VARIABLES.iter().map(|(known, _)| *known);
                let hint = nearest(name, known).map_or(String::new(), |near| format!(", did you mean {near}?"));
                return Err(Error(format!(
                    "{name} in {at}: there is no such setting{hint}; offhook --help lists them all"
                )));
            }
            if let Some(meant) = variable_meant(name) {
                doubtful.push((format!("{name} in {at}"), meant));
            }
            // As in a shell, a later line wins.
            file.insert(name.to_owned(), value);
        }
        Ok(Self { process, file, doubtful })
    }

    /// Says which names of the file were probably meant to be others, a line each: those whose right name is not set.
    pub fn warnings(&self) -> Vec<String> {
        let missing = self.doubtful.iter().filter(|(_, meant)| self.get_even_empty(meant).is_none());
        missing.map(|(found, meant)| unread(found, meant)).collect()
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

/// Says which of the `names` that the process's environment holds were probably meant to be settings of ours, a line each. Only
/// those that begin with `OFFHOOK_` are looked at: all others are other programs'.
pub fn misspelt(names: impl Iterator<Item = String>) -> Vec<String> {
    let names = names.filter(|name| name.starts_with("OFFHOOK_"));
    names.filter_map(|name| Some(unread(&format!("{name} in the environment"), variable_meant(&name)?))).collect()
}

fn unread(found: &str, meant: &str) -> String {
    format!("{found} is not read; did you mean {meant}?")
}

/// Reads a line of `.env`: name and value, or nothing where it is empty or a comment. An error repeats nothing of it.
fn variable(line: &str) -> Result<Option<(&str, String)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, value) = line.split_once('=').ok_or("there is no = in it")?;
    let name = name.trim();
    let name = name.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(name).trim_start();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() || !name.chars().all(fits) {
        return Err("what stands before its = is not a name");
    }
    Ok(Some((name, unquoted(value.trim())?)))
}

/// Returns what a value means.
fn unquoted(value: &str) -> Result<String, &'static str> {
    let open = "a quote is opened and not closed";
    let (text, rest) = if let Some(quoted) = value.strip_prefix('\'') {
        let (text, rest) = quoted.split_once('\'').ok_or(open)?;
        (text.to_owned(), rest)
    } else if let Some(quoted) = value.strip_prefix('"') {
        let mut text = String::new();
        let mut chars = quoted.chars();
        loop {
            match chars.next().ok_or(open)? {
                '"' => break,
                '\\' => match chars.next().ok_or(open)? {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    c @ ('"' | '\\' | '$') => text.push(c),
                    c => text.extend(['\\', c]),
                },
                c => text.push(c),
            }
        }
        (text, chars.as_str())
    } else {
        let comment = if value.starts_with('#') { Some(0) } else { value.find(" #").or_else(|| value.find("\t#")) };
        return Ok(value[..comment.unwrap_or(value.len())].trim_end().to_owned());
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') { Ok(text) } else { Err("something follows its closing quote") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_people_write_it() {
        for (line, name, value) in [
            ("A=b", "A", "b"),
            ("export A=b", "A", "b"),
            ("  A = b  ", "A", "b"),
            ("A=b # a comment", "A", "b"),
            ("A=b#no comment", "A", "b#no comment"),
            ("A=  # empty", "A", ""),
            ("A=", "A", ""),
            ("A=\"b c\" # a comment", "A", "b c"),
            ("A='b \"c\" \\n'", "A", "b \"c\" \\n"),
            (r#"A="b\n\"c\" \\ \$d \e""#, "A", "b\n\"c\" \\ $d \\e"),
            ("A=pa$$w0rd$HOME", "A", "pa$$w0rd$HOME"),
            ("A=Hello, how are you?", "A", "Hello, how are you?"),
            ("export=b", "export", "b"),
            ("A=b=c==", "A", "b=c=="),
            ("A=b\r", "A", "b"),
        ] {
            assert_eq!(variable(line), Ok(Some((name, value.to_owned()))), "{line}");
        }
        for nothing in ["", "   ", "# A=b", "\t#"] {
            assert_eq!(variable(nothing), Ok(None));
        }
        for wrong in ["A", "A: b", "=b", "A B=c", "A=\"b", "A='b", "A=\"b\\", "A='b'c", "\u{e4}=b"] {
            assert!(variable(wrong).is_err(), "{wrong}");
        }
    }
}
