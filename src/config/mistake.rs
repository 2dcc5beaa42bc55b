//! What is wrong in `offhook.toml`, said for people: which key, where, and what it may be; no value of a secret.

use super::environment::VARIABLES;
use strsim::{levenshtein, osa_distance};

/// Names under which people would look for a place for their secrets.
const SECRETS: [&str; 5] = ["key", "api_key", "token", "secret", "password"];
/// The tables that a key which stands in none, or in the wrong one, may belong to.
const TABLES: [&str; 12] =
    ["agent", "sip", "sip.limits", "media", "control", "records", "capture", "providers", "stt", "llm", "tts", "slo"];

/// What the names of our own variables begin with.
const OWN: &str = "OFFHOOK_";
/// Characters of a name in which two mistakes leave it recognisable, as `DEEPGRAMKEY` has them.
const LONG: usize = 11;

/// Says in one line what `error` found in `text`, which came from the file `shown`; `takes` says whether a file of this text
/// would have no unknown key.
pub fn said(text: &str, shown: &str, error: &toml::de::Error, takes: fn(&str) -> bool) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or_default();
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    // The line is not repeated beyond its key: it may hold a secret at the wrong place.
    let key = line.split_once('=').map_or(line, |(key, _)| key).trim();
    let table = if key.starts_with('[') { None } else { table(before) };
    let named = match table {
        Some(table) if key.is_empty() => format!("[{table}]"),
        Some(table) => format!("{table}.{key}"),
        None if key.is_empty() => "a setting".to_owned(),
        None => key.to_owned(),
    };
    let message = error.message();
    let (what, is_syntax) = if key == "password" {
        ("a password stands in [[sip.accounts]] only, in quotes".to_owned(), false)
    } else if SECRETS.contains(&key) || is_secret_variable(key) {
        ("secrets are read from the environment or .env only".to_owned(), false)
    } else if VARIABLES.iter().any(|(name, _)| *name == key) {
        ("it is read from the environment or .env only, as NAME=value".to_owned(), false)
    } else if let Some(unknown) = message.strip_prefix("unknown field ") {
        (unknown_key(unknown, takes), false)
    } else if let Some(invalid) = message.strip_prefix("invalid type: ") {
        (wrong_type(invalid, key), false)
    } else if let Some(field) = message.strip_prefix("missing field ") {
        (format!("{} is not set", field.trim_matches('`')), false)
    } else {
        (message.replace('\n', ", "), true)
    };
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let column = if is_syntax { format!(", column {column}") } else { String::new() };
    format!("{named} in {shown}, line {number}{column}: {what}")
}

/// Returns the one of `known` that whoever wrote `name` probably meant, whatever its case.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mistakes_max = (name.chars().count() / 4).clamp(1, 3);
    known
        .map(|known| (levenshtein(&name.to_ascii_lowercase(), &known.to_ascii_lowercase()), known))
        .filter(|(far, _)| *far <= mistakes_max)
        .min()
        .map(|(_, near)| near)
}

/// Returns the variable of ours that whoever wrote the variable `name` probably meant. Others have names of their own, and a
/// `.env` may be shared with other programs: only what is next to a name of ours counts.
pub fn variable_meant(name: &str) -> Option<&'static str> {
    let mut known = VARIABLES.iter().map(|(known, _)| *known);
    if known.clone().any(|known| known == name) {
        return None;
    }
    if let Some(own) = name.strip_prefix(OWN) {
        // What these names have in common says nothing about how near they are.
        let meant = nearest(own, known.clone().filter_map(|known| known.strip_prefix(OWN)))?;
        return known.find(|known| known.strip_prefix(OWN) == Some(meant));
    }
    let core = core(name);
    let mistakes_max = if core.len() < LONG { 1 } else { 2 };
    known.find(|known| !known.starts_with(OWN) && osa_distance(&core, &self::core(known)) <= mistakes_max)
}

/// Returns what tells a provider's variable from the others: people write `X_KEY`, `X_APIKEY` or `X_TOKEN` for `X_API_KEY`, and
/// `X_VOICE_ID` for `X_VOICE`.
fn core(name: &str) -> String {
    let words = name.split(['_', '-', '.']).map(str::to_ascii_uppercase);
    let words = words.filter(|word| !["API", "ID", "URL", "NAME"].contains(&word.as_str()));
    words.map(|word| if ["APIKEY", "TOKEN", "SECRET"].contains(&word.as_str()) { "KEY".into() } else { word }).collect()
}

fn is_secret_variable(key: &str) -> bool {
    key.ends_with("_API_KEY") || key.ends_with("_TOKEN") || key.ends_with("_SECRET") || key.ends_with("_PASSWORD")
}

/// Returns the table in which what follows `before` stands.
fn table(before: &str) -> Option<&str> {
    let header = before.lines().rev().map(str::trim).find(|line| line.starts_with('['))?;
    let name = header.trim_start_matches('[').split(']').next()?.trim();
    (!name.is_empty()).then_some(name)
}

/// `unknown`: "`key`, expected one of `a`, `b`".
fn unknown_key(unknown: &str, takes: fn(&str) -> bool) -> String {
    let mut names = unknown.split('`').skip(1).step_by(2);
    let key = names.next().unwrap_or_default();
    let known: Vec<_> = names.collect();
    if let Some(near) = nearest(key, known.iter().copied()) {
        return format!("there is no such setting; did you mean {near}?");
    }
    let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if let Some(table) = TABLES.iter().find(|table| plain && takes(&format!("[{table}]\n{key} = 0"))) {
        return format!("there is no such setting here; it belongs under [{table}]");
    }
    format!("there is no such setting; there may be: {}", known.join(", "))
}

/// `invalid`: "string \"x\", expected i64".
fn wrong_type(invalid: &str, key: &str) -> String {
    let (was, expected) = invalid.rsplit_once(", expected ").unwrap_or((invalid, "something else"));
    let is_header = key.starts_with('[');
    if is_header && expected == "a sequence" {
        return format!("there may be several of these: write [{key}]");
    }
    if key.starts_with("[[") {
        return format!("there is one of these: write {}", key.replace("[[", "[").replace("]]", "]"));
    }
    let was = match was.split_once(' ') {
        Some(("string", text)) => text.to_owned(),
        Some(("integer" | "boolean", value)) => value.trim_matches('`').to_owned(),
        Some(("floating", value)) => value.trim_start_matches("point ").trim_matches('`').to_owned(),
        _ if was == "sequence" => "a list".to_owned(),
        _ if was == "map" => "a table".to_owned(),
        _ => was.to_owned(),
    };
    let may_be = match expected {
        "i64" | "u64" | "u32" | "u16" => "a whole number, without quotes",
        "f64" => "a number, without quotes",
        "a string" => "a text, in quotes",
        "a boolean" => "true or false, without quotes",
        "a sequence" => "a list, in [ ]",
        expected if expected.starts_with("struct ") || expected == "a map" => "a table",
        expected => expected,
    };
    format!("{was} is not {may_be}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_known_by_what_its_writer_meant_and_those_of_others_are_left_alone() {
        for (wrong, meant) in [
            ("DEEPGRAM_KEY", "DEEPGRAM_API_KEY"),
            ("DEEPGARM_API_KEY", "DEEPGRAM_API_KEY"),
            ("deepgram_api_key", "DEEPGRAM_API_KEY"),
            ("GROQ_APIKEY", "GROQ_API_KEY"),
            ("GROQ_API_TOKEN", "GROQ_API_KEY"),
            ("GROK_API_KEY", "GROQ_API_KEY"),
            ("CARTESIA_VOICE_ID", "CARTESIA_VOICE"),
            ("ELEVEN_LABS_API_KEY", "ELEVENLABS_API_KEY"),
            ("OPENAI_API_BASE", "OPENAI_BASE_URL"),
            ("OFFHOOK_GREETNG", "OFFHOOK_GREETING"),
            ("OFFHOOK_TTT", "OFFHOOK_STT"),
        ] {
            assert_eq!(variable_meant(wrong), Some(meant), "{wrong}");
        }
        for theirs in [
            "ANTHROPIC_API_KEY",
            "AZURE_MODEL",
            "COHERE_API_KEY",
            "DATABASE_URL",
            "DEEPGRAM_PROJECT_ID",
            "GEMINI_API_KEY",
            "MODEL",
            "OFFHOOK_PORT",
            "OFFHOOK_SERVICE_HOST",
            "OPENAI_ADMIN_KEY",
            "OPENAI_ORG_ID",
            "OPENAI_PROJECT_ID",
            "OPENAI_WEBHOOK_SECRET",
            "PATH",
            "XAI_API_KEY",
            "",
        ] {
            assert_eq!(variable_meant(theirs), None, "{theirs}");
        }
        assert!(VARIABLES.iter().all(|(known, _)| variable_meant(known).is_none()));
    }

    #[test]
    fn who_errs_by_a_letter_or_two_is_told_what_was_meant() {
        let known = ["greeting", "prompt", "reprompt", "use", "DEEPGRAM_API_KEY"];
        for (wrong, meant) in [
            ("greting", Some("greeting")),
            ("greetings", Some("greeting")),
            ("Greeting", Some("greeting")),
            ("promt", Some("prompt")),
            ("uses", Some("use")),
            ("DEEPGRAM_APIKEY", Some("DEEPGRAM_API_KEY")),
            ("welcome", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, known.into_iter()), meant, "{wrong}");
        }
    }
}
