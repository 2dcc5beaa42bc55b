//! What the model may do beside talking: the operator's own tools, and where callers may be transferred to.

use super::environment::Environment;
use super::file::in_file;
use super::given::Scheme;
use super::{Error, Secret};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Tools and destinations of an agent: each is told to the model in every turn, and models choose badly among more.
const TOOLS_MAX: usize = 32;
/// Characters of a description.
const DESCRIPTION_MAX: usize = 1_000;
/// Bytes of the JSON schema of a tool's arguments.
const SCHEMA_MAX: usize = 16_000;
/// Characters of a name: what OpenAI's interface allows of a function's name.
const NAME_MAX: usize = 64;
/// Bytes of a URL.
const URL_MAX: usize = 2_000;
/// Headers of one tool.
const HEADERS_MAX: usize = 16;
/// Characters of a header's value; tokens of several kB exist.
const HEADER_MAX: usize = 4_096;
/// How long a tool may take unless it says otherwise: callers hang up on a longer silence.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may be allowed to take, in milliseconds.
const TIMEOUT_MS: std::ops::RangeInclusive<i64> = 100..=30_000;
/// What is said while a tool runs that says nothing itself.
const FILLER: &str = "One moment, please.";

/// The names of the tools that every agent may have.
pub const RESERVED_TOOLS: [&str; 3] = ["hang_up", "transfer", "send_dtmf"];

/// Headers that a request has anyway.
const RESERVED_HEADERS: [&str; 7] =
    ["host", "content-length", "content-type", "transfer-encoding", "connection", "accept", "user-agent"];

/// How a tool is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// Arguments in the query.
    Get,
    /// Arguments as a JSON body.
    #[default]
    Post,
    /// The same.
    Put,
    /// The same.
    Patch,
    /// Arguments in the query.
    Delete,
}

impl Method {
    const ALL: &[(&str, Self)] = &[
        ("GET", Self::Get),
        ("POST", Self::Post),
        ("PUT", Self::Put),
        ("PATCH", Self::Patch),
        ("DELETE", Self::Delete),
    ];

    /// Returns its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, method)| *method == self).map_or("POST", |(name, _)| name)
    }

    /// Whether the arguments are in a body.
    #[must_use]
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}

/// A tool of the operator's: an address that is asked over HTTP.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tool {
    /// What the model calls it.
    pub name: String,
    /// What it is for, for the model.
    pub description: String,
    /// Where it is: `https://`, or `http://` to loopback.
    #[serde(skip)]
    pub url: String,
    /// How it is asked.
    pub method: Method,
    /// The JSON schema of its arguments.
    pub parameters: String,
    /// How long it may take in all.
    pub timeout: Duration,
    /// What the agent says while it runs; empty: nothing.
    pub filler: String,
    /// Headers, whose values are secrets.
    #[serde(skip)]
    pub headers: Vec<(String, Secret)>,
}

/// Where callers may be transferred to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// What the model calls it.
    pub name: String,
    /// The URI that the caller's telephone is asked to call.
    pub to: String,
    /// Who is there, for the model; may be empty.
    pub description: String,
}

/// A table `[[tools]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileTool {
    name: String,
    description: String,
    url: String,
    method: Option<String>,
    parameters: Option<Value>,
    timeout_ms: Option<i64>,
    filler: Option<String>,
    #[serde(default)]
    header_env: BTreeMap<String, String>,
}

/// A table `[[agent.transfers]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileTransfer {
    name: String,
    to: String,
    #[serde(default)]
    description: String,
}

/// Reads the tools.
pub fn tools(given: &[FileTool], env: &Environment<'_>) -> Result<Vec<Tool>, Error> {
    let mut tools: Vec<Tool> = Vec::new();
    for tool in given {
        let tool = tool.read(env)?;
        if RESERVED_TOOLS.contains(&tool.name.as_str()) || tools.iter().any(|other| other.name == tool.name) {
            return Err(in_file("tools.name", &tool.name).wrong("a name that no other tool has"));
        }
        tools.push(tool);
    }
    limited("tools", tools.len())?;
    Ok(tools)
}

/// Reads the destinations.
pub fn transfers(given: &[FileTransfer]) -> Result<Vec<Transfer>, Error> {
    let mut transfers: Vec<Transfer> = Vec::new();
    for transfer in given {
        let name = in_file("agent.transfers.name", &transfer.name);
        let named = name.value.chars().count() <= NAME_MAX && !name.value.chars().any(char::is_control);
        if name.value.trim().is_empty() || !named {
            return Err(name.wrong(&format!("a name of 1 to {NAME_MAX} characters")));
        }
        if transfers.iter().any(|other| other.name.eq_ignore_ascii_case(&name.value)) {
            return Err(name.wrong("a name that no other destination has"));
        }
        let to = in_file("agent.transfers.to", &transfer.to);
        let scheme = ["sip:", "sips:", "tel:"].into_iter().find_map(|scheme| to.value.strip_prefix(scheme));
        let fits =
            |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"\\".contains(&b));
        if !scheme.is_some_and(fits) || to.value.len() > URL_MAX {
            return Err(to.wrong("a URI that the caller's telephone can call, such as sip:sales@pbx.example"));
        }
        let description = in_file("agent.transfers.description", &transfer.description).text(DESCRIPTION_MAX)?;
        transfers.push(Transfer { name: name.value, to: to.value, description });
    }
    limited("agent.transfers", transfers.len())?;
    Ok(transfers)
}

fn limited(what: &str, number: usize) -> Result<(), Error> {
    if number <= TOOLS_MAX {
        return Ok(());
    }
    Err(Error(format!("{what} in offhook.toml: there are {number}, and there may be at most {TOOLS_MAX}")))
}

impl FileTool {
    fn read(&self, env: &Environment<'_>) -> Result<Tool, Error> {
        let name = in_file("tools.name", &self.name);
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if name.value.is_empty() || name.value.len() > NAME_MAX || !name.value.bytes().all(word) {
            return Err(name.wrong(&format!("a name of 1 to {NAME_MAX} letters, digits, _ and -")));
        }
        let key = |key: &str| format!("tools.{}.{key}", self.name);
        let description = in_file(&key("description"), &self.description);
        if description.value.trim().is_empty() {
            return Err(description.wrong("a description that tells the model when to call it"));
        }
        let mut timeout_ms = TIMEOUT.as_millis() as i64;
        super::file::number(&key("timeout_ms"), self.timeout_ms, TIMEOUT_MS, &mut timeout_ms)?;
        let method = match &self.method {
            Some(method) => in_file(&key("method"), &method.to_ascii_uppercase()).choice(Method::ALL)?,
            None => Method::default(),
        };
        let filler = self.filler.as_deref().unwrap_or(FILLER);
        Ok(Tool {
            name: name.value,
            description: description.text(DESCRIPTION_MAX)?,
            url: url(&key("url"), &self.url)?,
            method,
            parameters: schema(&key("parameters"), self.parameters.as_ref())?,
            timeout: Duration::from_millis(timeout_ms.unsigned_abs()),
            filler: in_file(&key("filler"), filler).text(DESCRIPTION_MAX)?,
            headers: self.headers(env, &key("header_env"))?,
        })
    }

    /// Reads the headers' values from the variables that are named.
    fn headers(&self, env: &Environment<'_>, key: &str) -> Result<Vec<(String, Secret)>, Error> {
        let mut headers = Vec::new();
        for (header, variable) in &self.header_env {
            let given = in_file(key, header);
            let token = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            let lower = header.to_ascii_lowercase();
            if header.is_empty()
                || header.len() > NAME_MAX
                || !header.bytes().all(token)
                || RESERVED_HEADERS.contains(&lower.as_str())
                || lower.starts_with("x-offhook-")
            {
                return Err(given.wrong("a header that may be set, such as Authorization = \"NAME_OF_A_VARIABLE\""));
            }
            let Some(value) = env.get(variable) else {
                return Err(Error(format!(
                    "{variable}: not set, and {key} in offhook.toml sends it as {header}; set it in the environment or .env"
                )));
            };
            let value = value.value.trim();
            if value.len() > HEADER_MAX || !value.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
                return Err(Error(format!(
                    "{variable}: its {} characters are not a header's value, which is up to {HEADER_MAX} characters of \
                     visible ASCII",
                    value.chars().count()
                )));
            }
            headers.push((header.clone(), Secret::new(value)));
        }
        if headers.len() > HEADERS_MAX {
            return Err(Error(format!("{key} in offhook.toml: there are more than {HEADERS_MAX} headers")));
        }
        Ok(headers)
    }
}

/// Checks a URL as it stands: it may have a query, and its last slash matters to some servers.
fn url(key: &str, text: &str) -> Result<String, Error> {
    let base = text.split('?').next().unwrap_or_default();
    in_file(key, base).base_url(Scheme::Http)?;
    let given = in_file(key, text);
    let fits = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&b);
    if text.len() > URL_MAX || !text.bytes().all(fits) {
        return Err(given.wrong("a URL of visible ASCII characters without a fragment"));
    }
    Ok(given.value)
}

/// Reads the schema of a tool's arguments, as a table or as JSON in a string.
fn schema(key: &str, given: Option<&Value>) -> Result<String, Error> {
    let wrong = |what: &str| Err(Error(format!("{key} in offhook.toml: {what}")));
    let parsed;
    let schema = match given {
        None => return Ok(r#"{"type":"object","properties":{}}"#.to_owned()),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(schema) => {
                parsed = schema;
                &parsed
            }
            Err(error) => return wrong(&format!("it is not JSON: {error}")),
        },
        Some(schema) => schema,
    };
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return wrong("a tool's arguments are an object: type = \"object\", and properties");
    }
    if schema.get("properties").is_some_and(|properties| !properties.is_object()) {
        return wrong("properties is not a table of schemas");
    }
    let is_names = |names: &Value| names.as_array().is_some_and(|names| names.iter().all(Value::is_string));
    if schema.get("required").is_some_and(|names| !is_names(names)) {
        return wrong("required is not a list of names");
    }
    let text = schema.to_string();
    if text.len() > SCHEMA_MAX {
        return wrong(&format!("it has {} bytes, and may have at most {SCHEMA_MAX}", text.len()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn load(toml: &str) -> Result<Config, Error> {
        let folder = tempfile::tempdir().expect("a folder for the test");
        std::fs::write(folder.path().join("offhook.toml"), toml).expect("a file for the test");
        let env = |name: &str| match name {
            "CRM" => Some("Bearer hunter2".to_owned()),
            "BAD" => Some("a\nb hunter2".to_owned()),
            "OFFHOOK_TOOL_SECRET" => Some("s3cret".to_owned()),
            _ => None,
        };
        Config::load(&[], &env, folder.path()).map(|(config, _)| config)
    }

    const TOOL: &str =
        "[[tools]]\nname = \"find_order\"\ndescription = \"Finds an order\"\nurl = \"https://crm.example/o?x=1\"\n";

    #[test]
    fn a_tool_needs_little_and_may_say_much() {
        let agent = load(TOOL).expect("right settings").agent;
        let tool = &agent.tools[0];
        assert_eq!((tool.method, tool.timeout, tool.filler.as_str()), (Method::Post, TIMEOUT, FILLER));
        assert_eq!(tool.parameters, r#"{"type":"object","properties":{}}"#);
        assert_eq!(agent.tool_secret.expose(), "s3cret");
        let toml = format!(
            "{TOOL}method = \"get\"\ntimeout_ms = 800\nfiller = \"\"\nheader_env = {{ Authorization = \"CRM\" }}\n\
             [tools.parameters]\ntype = \"object\"\nrequired = [\"number\"]\n\
             [tools.parameters.properties.number]\ntype = \"integer\"\n\
             [[agent.transfers]]\nname = \"sales\"\nto = \"sip:200@pbx.example\"\n[agent]\nsend_dtmf = true\n"
        );
        let agent = load(&toml.replace("[agent]\nsend_dtmf = true\n", "")).expect("right settings").agent;
        let tool = &agent.tools[0];
        assert_eq!((tool.method, tool.timeout.as_millis(), tool.filler.as_str()), (Method::Get, 800, ""));
        assert!(tool.parameters.contains(r#""required":["number"]"#), "{}", tool.parameters);
        assert_eq!((tool.headers[0].0.as_str(), tool.headers[0].1.expose()), ("Authorization", "Bearer hunter2"));
        assert!(!format!("{tool:?}").contains("hunter2"));
        assert_eq!(agent.transfers[0].to, "sip:200@pbx.example");
        let json = format!("{TOOL}parameters = '{{\"type\":\"object\"}}'\n");
        assert_eq!(load(&json).expect("right settings").agent.tools[0].parameters, r#"{"type":"object"}"#);
    }

    #[test]
    fn a_wrong_tool_is_told_in_one_line() {
        let tool = |change: &str, to: &str| TOOL.replace(change, to);
        for (toml, what) in [
            (tool("find_order", "find order"), "tools.name in offhook.toml: \"find order\" is not a name"),
            (tool("find_order", "hang_up"), "a name that no other tool has"),
            (format!("{TOOL}{TOOL}"), "a name that no other tool has"),
            (tool("Finds an order", " "), "tools.find_order.description"),
            (tool("https://crm", "http://crm"), "tools.find_order.url"),
            (tool("https://crm", "https://u:p@crm"), "tools.find_order.url"),
            (tool("x=1", "x=a b"), "tools.find_order.url"),
            (format!("{TOOL}method = \"TRACE\""), "is not one of: GET, POST"),
            (format!("{TOOL}timeout_ms = 60000"), "60000 is not a whole number from 100 to 30000"),
            (format!("{TOOL}parameters = \"{{\""), "tools.find_order.parameters in offhook.toml: it is not JSON"),
            (format!("{TOOL}parameters = {{ type = \"array\" }}"), "arguments are an object"),
            (format!("{TOOL}parameters = {{ type = \"object\", required = [1] }}"), "required is not a list"),
            (format!("{TOOL}header_env = {{ Authorization = \"NONE\" }}"), "NONE: not set, and tools.find_order"),
            (format!("{TOOL}header_env = {{ Authorization = \"BAD\" }}"), "BAD: its 11 characters are not"),
            (format!("{TOOL}header_env = {{ Host = \"CRM\" }}"), "a header that may be set"),
            (format!("{TOOL}header_env = {{ \"X-Offhook-Signature\" = \"CRM\" }}"), "a header that may be set"),
            ("[[agent.transfers]]\nname = \"a\"\nto = \"200\"".into(), "agent.transfers.to in offhook.toml: \"200\""),
            ("[[agent.transfers]]\nname = \"\"\nto = \"sip:a@b\"".into(), "agent.transfers.name"),
            ("[[agent.transfers]]\nname = \"a\"\nto = \"sip:a@b>\"".into(), "agent.transfers.to"),
        ] {
            let error = load(&toml).expect_err(&toml).to_string();
            assert!(error.contains(what) && !error.contains('\n') && !error.contains("hunter2"), "{error}");
        }
    }
}
