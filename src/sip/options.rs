//! OPTIONS is answered here (RFC 3261 §11): what this server can do.

use super::response::{ALLOW, Response};

/// What bodies are understood.
pub const ACCEPT: &str = "application/sdp, multipart/mixed, application/dtmf-relay, application/dtmf";

/// The extensions that are served (RFC 3261 §20.37): reliable provisional responses (RFC 3262), session timers (RFC 4028),
/// INVITE that takes a call over (RFC 3891), REFER without a subscription (RFC 4488).
pub const SUPPORTED: &str = "100rel, timer, replaces, norefersub";

/// Adds what this server can do to a 200.
#[must_use]
pub(super) fn describe(response: Response) -> Response {
    response
        .with("Allow", ALLOW)
        .with("Accept", ACCEPT)
        .with("Accept-Encoding", "identity")
        .with("Accept-Language", "en")
        .with("Supported", SUPPORTED)
}
