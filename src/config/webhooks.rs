//! `[[webhooks]]` of `offhook.toml`: who is told of events, and the secret by which it knows who tells it.

use super::environment::Environment;
use super::given::{Given, Scheme};
use super::{Error, Secret};
use serde::Deserialize;

/// Types of events that a webhook may be told of; `/api/v1/events` has them all.
pub const EVENTS: [&str; 12] = [
    "call.ringing",
    "call.answered",
    "call.ended",
    "caller.speaking",
    "transcript.partial",
    "turn",
    "slo.breach",
    "audio",
    "provider.failed",
    "provider.circuit",
    "bridge.started",
    "bridge.stopped",
];

/// Those that come too often to be told unless they are asked for.
const FREQUENT: [&str; 2] = ["caller.speaking", "transcript.partial"];

/// Webhooks at most: each takes a thread.
const WEBHOOKS_MAX: usize = 16;

/// Somebody who is told of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where they are posted to.
    pub url: String,
    /// The types of event that are of interest, of [`EVENTS`].
    pub events: Vec<String>,
    /// What they are signed by.
    pub secret: Secret,
}

/// A webhook as it stands in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileWebhook {
    url: String,
    events: Option<Vec<String>>,
    secret_env: String,
}

/// Reads them; their secrets are in the environment.
pub fn read(hooks: &[FileWebhook], env: &Environment<'_>) -> Result<Vec<Webhook>, Error> {
    if hooks.len() > WEBHOOKS_MAX {
        return Err(Error(format!(
            "webhooks in offhook.toml: there are {}, and there may be {WEBHOOKS_MAX}",
            hooks.len()
        )));
    }
    hooks.iter().map(|hook| one(hook, env)).collect()
}

fn one(hook: &FileWebhook, env: &Environment<'_>) -> Result<Webhook, Error> {
    let in_file =
        |key: &str, value: &str| Given { name: format!("webhooks.{key} in offhook.toml"), value: value.into() };
    let url = in_file("url", &hook.url).base_url(Scheme::Http)?;
    let events = match &hook.events {
        None => EVENTS.into_iter().filter(|event| !FREQUENT.contains(event)).map(String::from).collect(),
        Some(events) => {
            let wrong = events.iter().find(|event| !EVENTS.contains(&event.as_str()));
            if let Some(wrong) = wrong.map(String::as_str).or(events.is_empty().then_some("")) {
                return Err(in_file("events", wrong).wrong(&format!("one of: {}", EVENTS.join(", "))));
            }
            events.clone()
        }
    };
    let name = in_file("secret_env", &hook.secret_env).word()?;
    let secret = env.get(&name).map(|secret| secret.secret()).transpose()?.filter(|secret| !secret.is_empty());
    let secret = secret.ok_or_else(|| {
        Error(format!(
            "{name}: not set, and a webhook's secret_env names it; set it to the secret that {url} checks by"
        ))
    })?;
    Ok(Webhook { url, events, secret })
}
