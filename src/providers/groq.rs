//! Text to text by Groq, or by any server that speaks OpenAI's chat completions, streamed over HTTPS.
//!
//! What is here is the server: how it is asked and how its answers are read. Which server is asked, how long it is waited for and
//! what follows a failure is the line's (`line/minds.rs`), also where one server is the whole of it.

pub(super) mod connection;
pub(super) mod exchange;
pub(super) mod reply;
mod request;
mod sse;

use super::line::minds::{Mind, Minds};
use super::socket::is_loopback;
use super::tls::Trust;
use super::{MindIo, Responder};
use crate::agent::{Failure, FailureKind};
use crate::config::Endpoint;
use connection::Connections;
use request::Dialect;
use std::sync::Arc;
use std::time::Duration;

/// How long the first useful piece and each next one may take. Tokens of reasoning are of no use to a caller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) first: Duration,
    pub(super) next: Duration,
}

/// Groq answers within 0.3 s; after five times that another try is the better bet. Its tokens come by the hundred in a second.
const PATIENCE_GROQ: Patience = Patience { first: Duration::from_millis(1500), next: Duration::from_millis(1500) };
/// A server of one's own may have to load its model or to read a long prompt first.
const PATIENCE_OPENAI: Patience = Patience { first: Duration::from_secs(15), next: Duration::from_secs(4) };

/// A server that completes chats. All calls share its connections.
pub struct Chat {
    server: Arc<Server>,
}

/// The server, as its workers know it.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) endpoint: Endpoint,
    pub(super) connections: Arc<Connections>,
    pub(super) dialect: Dialect,
    pub(super) patience: Patience,
    /// Whether it has capacity to spare, so that a request may be asked twice before it is known how quick it is.
    pub(super) elastic: bool,
}

impl Chat {
    /// Groq, with the fields that its models want.
    #[must_use]
    pub fn groq(endpoint: &Endpoint) -> Self {
        Self::new("groq", endpoint, &Trust::web(), PATIENCE_GROQ)
    }

    /// Any OpenAI-compatible server, with fields that all of them know.
    #[must_use]
    pub fn openai(endpoint: &Endpoint) -> Self {
        Self::new("openai", endpoint, &Trust::web(), PATIENCE_OPENAI)
    }

    /// Checks the server's certificate against `trust`.
    #[must_use]
    pub fn with_trust(self, trust: &Trust) -> Self {
        Self::new(self.server.name, &self.server.endpoint, trust, self.server.patience)
    }

    /// Waits for at most `first` for the first words of a reply, and for at most `next` for each piece after them.
    #[must_use]
    pub fn with_patience(self, first: Duration, next: Duration) -> Self {
        let server = &self.server;
        let dialect = Dialect::new(server.elastic);
        let (endpoint, connections) = (server.endpoint.clone(), server.connections.clone());
        let patience = Patience { first, next };
        let server = Server { name: server.name, endpoint, connections, dialect, patience, elastic: server.elastic };
        Self { server: Arc::new(server) }
    }

    pub(super) fn into_server(self) -> Arc<Server> {
        self.server
    }

    fn new(name: &'static str, endpoint: &Endpoint, trust: &Trust, patience: Patience) -> Self {
        let connections = Arc::new(Connections::new(endpoint, trust));
        let groq = name == "groq";
        let dialect = Dialect::new(groq);
        let server = Server { name, endpoint: endpoint.clone(), connections, dialect, patience, elastic: groq };
        Self { server: Arc::new(server) }
    }

    /// Asks the server for its models: whether it is there, takes the key and has the model. Blocks for 5 s at most.
    ///
    /// # Errors
    /// What is wrong, as one line for the operator.
    pub fn check(&self) -> Result<(), Failure> {
        self.server.usable()?;
        let list = self.server.models()?;
        let list: serde_json::Value = serde_json::from_str(&list).unwrap_or_default();
        let models = list.get("data").and_then(serde_json::Value::as_array).map_or(&[][..], Vec::as_slice);
        let names: Vec<&str> = models.iter().filter_map(|model| model.get("id")?.as_str()).collect();
        let wanted = self.server.endpoint.model.as_str();
        // Ollama lists `llama3:latest` for what it is asked as `llama3`; a server that lists nothing may have it.
        let is_wanted = |name: &&str| *name == wanted || name.split_once(':').is_some_and(|(name, _)| name == wanted);
        if names.is_empty() || names.iter().any(is_wanted) {
            return Ok(());
        }
        let settings = self.server.name.to_uppercase();
        let text = format!("there is no model {wanted}; {settings}_MODEL may be: {}", names.join(", "));
        Err(Failure { kind: FailureKind::Refused, text: self.server.told(&text) })
    }
}

impl Server {
    /// Refuses an address that would carry conversations in the clear.
    pub(super) fn usable(&self) -> Result<(), Failure> {
        let url = &self.endpoint.base_url;
        let uri: Option<ureq::http::Uri> = url.parse().ok();
        let host = uri.as_ref().and_then(ureq::http::Uri::host).unwrap_or_default().trim_matches(['[', ']']);
        match uri.as_ref().and_then(ureq::http::Uri::scheme_str) {
            Some("https") if !host.is_empty() => Ok(()),
            Some("http") if is_loopback(host) => Ok(()),
            _ => {
                let text = format!("{url} does not begin with https://, nor is it http:// to loopback");
                Err(Failure { kind: FailureKind::Refused, text: self.told(&text) })
            }
        }
    }
}

impl Responder for Chat {
    fn name(&self) -> &'static str {
        self.server.name
    }

    fn run(&self, io: MindIo) {
        Minds::new(vec![Mind::server(self.server.clone())]).run(io);
    }
}
