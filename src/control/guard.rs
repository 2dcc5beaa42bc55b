//! Who may ask: a bearer token where one is set, and otherwise only programs and pages of this machine.
//!
//! Without a token the API listens on loopback, where every local program may ask. A web page from elsewhere may not, though
//! its requests come from loopback too when the operator's browser shows it. Two ways are open to such a page:
//! - It lets its own host name resolve to 127.0.0.1 (DNS rebinding) and is then of the same origin as the API, free to read
//!   transcripts. Its requests carry that name in Host, which therefore has to name this machine.
//! - It sends a POST, or opens a WebSocket, across origins; neither needs anybody's leave. Browsers put the page's origin
//!   into Origin, which therefore has to be of this machine where it is there. `null` is not: any page can have that.
//!
//! With a token both are barred by it, since no page knows it, and Host may be any name that the operator gave the machine.

use crate::config::{Secret, host_of, is_loopback_name};

/// What a request shows of who sent it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender<'a> {
    /// The Host header.
    pub host: Option<&'a str>,
    /// The Origin header.
    pub origin: Option<&'a str>,
    /// The Authorization header.
    pub authorization: Option<&'a str>,
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The token is missing or wrong.
    Unauthenticated,
    /// Host names another machine.
    Host,
    /// Origin is a page from elsewhere.
    Origin,
}

/// Checks `sender`; `token` is the one that is demanded, if any.
pub fn check(sender: &Sender<'_>, token: Option<&Secret>) -> Result<(), Denied> {
    if let Some(token) = token {
        let shown = sender.authorization.and_then(bearer).unwrap_or_default();
        return if same_secret(shown, token.expose()) { Ok(()) } else { Err(Denied::Unauthenticated) };
    }
    // HTTP/1.0 has no Host, and browsers do not speak it.
    if sender.host.is_some_and(|host| !names_this_machine(host)) {
        return Err(Denied::Host);
    }
    let foreign = |origin: &str| {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        !authority.is_some_and(names_this_machine)
    };
    if sender.origin.is_some_and(foreign) { Err(Denied::Origin) } else { Ok(()) }
}

fn names_this_machine(authority: &str) -> bool {
    host_of(authority).is_some_and(is_loopback_name)
}

/// Returns the token of `Bearer <token>` (RFC 6750 §2.1).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares in a time that tells the length at most, so that a token cannot be guessed character by character.
fn same_secret(shown: &str, secret: &str) -> bool {
    let pairs = shown.bytes().zip(secret.bytes());
    let difference = pairs.fold(0, |difference, (a, b)| std::hint::black_box(difference | (a ^ b)));
    shown.len() == secret.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(host: Option<&str>, origin: Option<&str>) -> Result<(), Denied> {
        check(&Sender { host, origin, authorization: None }, None)
    }

    #[test]
    fn a_host_of_this_machine_may_ask() {
        for host in ["127.0.0.1:8000", "localhost:8000", "localhost", "[::1]:8000", "127.0.0.2", "LocalHost:1"] {
            assert_eq!(from(Some(host), None), Ok(()), "{host}");
        }
        assert_eq!(from(None, None), Ok(()));
    }

    #[test]
    fn a_rebound_name_may_not() {
        for host in [
            "evil.example",
            "evil.example:8000",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            "[::2]:8000",
            "10.0.0.1",
        ] {
            assert_eq!(from(Some(host), None), Err(Denied::Host), "{host}");
        }
    }

    #[test]
    fn a_page_from_elsewhere_may_not() {
        let host = Some("127.0.0.1:8000");
        for origin in ["http://localhost:3000", "http://127.0.0.1:8000", "https://localhost", "http://[::1]:5173"] {
            assert_eq!(from(host, Some(origin)), Ok(()), "{origin}");
        }
        for origin in [
            "https://evil.example",
            "null",
            "",
            "http://localhost.evil.example",
            "file://",
            "http://127.0.0.1@evil.example",
        ] {
            assert_eq!(from(host, Some(origin)), Err(Denied::Origin), "{origin}");
        }
    }

    #[test]
    fn a_token_is_all_that_counts_where_it_is_set() {
        let token = Secret::new("correct-horse");
        let show = |authorization| {
            check(&Sender { host: Some("pbx.example:8000"), origin: None, authorization }, Some(&token))
        };
        assert_eq!(show(Some("Bearer correct-horse")), Ok(()));
        assert_eq!(show(Some("bearer  correct-horse ")), Ok(()));
        let wrong = [
            None,
            Some(""),
            Some("Bearer"),
            Some("Bearer "),
            Some("Bearer correct-hors"),
            Some("Bearer correct-horse1"),
            Some("Bearer Correct-horse"),
            Some("Basic correct-horse"),
            Some("correct-horse"),
        ];
        for shown in wrong {
            assert_eq!(show(shown), Err(Denied::Unauthenticated), "{shown:?}");
        }
    }
}
