//! Why a socket is over, and what the operator is told about it.

use crate::agent::{Failure, FailureKind};
use std::io::{self, ErrorKind};
use std::{fmt, time::Duration};

/// Why there is no socket (any more).
#[derive(Debug)]
pub enum SocketError {
    /// The address cannot be used.
    Url { url: String, why: &'static str },
    /// Not resolved, not connected, or no TLS.
    Unreachable { host: String, source: io::Error },
    /// A deadline passed.
    TimedOut { host: String, what: &'static str },
    /// The upgrade was answered with something else.
    Refused { host: String, status: u16, body: String, limits: Vec<(String, String)>, retry_after: Option<Duration> },
    /// What came is not WebSocket.
    Protocol { host: String, source: tungstenite::Error },
    /// The connection broke.
    Broken { host: String, source: io::Error },
    /// The peer closed; 1005 is "without a code" (RFC 6455 §7.1.5).
    Closed { host: String, code: u16, reason: String },
}

impl SocketError {
    /// Whether another try may go better: everything but a wrong address and a refusal by 4xx other than 408 and 429.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Url { .. } => false,
            Self::Refused { status, .. } => !matches!(status, 300..500) || matches!(status, 408 | 429),
            // A certificate does not become valid by asking again.
            Self::Unreachable { source, .. } => source.kind() != ErrorKind::InvalidData,
            _ => true,
        }
    }

    /// Returns it as a provider's failure.
    #[must_use]
    pub fn failure(&self, provider: &str) -> Failure {
        let kind = match self {
            Self::Refused { status: 429, retry_after, .. } => FailureKind::RateLimited { retry_after: *retry_after },
            Self::TimedOut { .. } => FailureKind::Stalled,
            Self::Protocol { .. } => FailureKind::Garbage,
            _ if self.is_transient() => FailureKind::Dropped,
            _ => FailureKind::Refused,
        };
        let settings = provider.to_uppercase();
        let cure = match self {
            Self::Refused { status: 401 | 403, .. } => format!("; check {settings}_API_KEY"),
            Self::Refused { status: 402, .. } => "; the account has no credit".into(),
            Self::Refused { status: 429, .. } => "; too many sessions for this account".into(),
            Self::Unreachable { .. } => format!("; check the network and {settings}_BASE_URL"),
            _ => String::new(),
        };
        Failure { kind, text: format!("{provider}: {self}{cure}") }
    }
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { url, why } => write!(f, "{url} {why}"),
            Self::Unreachable { host, source } => write!(f, "{host} cannot be reached: {source}"),
            Self::TimedOut { host, what } => write!(f, "{host} did not {what} in time"),
            Self::Refused { host, status, body, limits, .. } => {
                write!(f, "{host} refused with {status}")?;
                for (name, value) in limits {
                    write!(f, ", {name} {value}")?;
                }
                if body.is_empty() { Ok(()) } else { write!(f, ": {body}") }
            }
            Self::Protocol { host, source } => write!(f, "{host} does not speak websocket: {source}"),
            Self::Broken { host, source } => write!(f, "the connection to {host} broke: {source}"),
            Self::Closed { host, code, reason } => write!(f, "{host} closed the connection with {code} {reason:?}"),
        }
    }
}

impl std::error::Error for SocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable { source, .. } | Self::Broken { source, .. } => Some(source),
            Self::Protocol { source, .. } => Some(source),
            _ => None,
        }
    }
}
