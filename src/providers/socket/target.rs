//! Where a socket leads, and the request that asks for it.

use super::SocketError;
use crate::config::Secret;
use std::io;
use std::net::IpAddr;
use tungstenite::handshake::client::{generate_key, generate_request};
use tungstenite::http::{Request, Uri};

/// Where a socket leads: an address, a path and the header that carries the key.
#[derive(Clone, Debug)]
pub struct Target {
    tls: bool,
    host: String,
    port: u16,
    path: String,
    headers: Vec<(&'static str, String)>,
    auth: Option<(&'static str, &'static str)>,
    key: Secret,
}

impl Target {
    /// Makes the target `base_url` + `path`, where `path` may carry a query.
    ///
    /// # Errors
    /// [`SocketError::Url`] where `base_url` is no `wss://` address, or a `ws://` one that does not lead to loopback.
    pub fn new(base_url: &str, path: &str) -> Result<Self, SocketError> {
        let wrong = |why: &'static str| SocketError::Url { url: base_url.to_owned(), why };
        let uri: Uri = base_url.parse().map_err(|_| wrong("is no URL"))?;
        let host = uri.host().ok_or_else(|| wrong("has no host"))?.trim_matches(['[', ']']).to_owned();
        let tls = match uri.scheme_str() {
            Some("wss") => true,
            Some("ws") if is_loopback(&host) => false,
            Some("ws") => return Err(wrong("is not encrypted; ws:// is for loopback only, use wss://")),
            _ => return Err(wrong("does not begin with wss://")),
        };
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = format!("{}{path}", uri.path().trim_end_matches('/'));
        Ok(Self { tls, host, port, path, headers: Vec::new(), auth: None, key: Secret::default() })
    }

    /// Adds a header that is no secret.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Sends `prefix` + `key` as the header `name`.
    #[must_use]
    pub fn auth(mut self, name: &'static str, prefix: &'static str, key: &Secret) -> Self {
        self.auth = Some((name, prefix));
        self.key = key.clone();
        self
    }

    /// Returns the host's name, for error texts.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.tls
    }

    /// Returns what must not be in any text.
    pub(super) fn key(&self) -> &Secret {
        &self.key
    }

    pub(super) fn unreachable(&self, source: io::Error) -> SocketError {
        SocketError::Unreachable { host: self.host.clone(), source }
    }

    pub(super) fn timed_out(&self, what: &'static str) -> SocketError {
        SocketError::TimedOut { host: self.host.clone(), what }
    }

    /// Writes the upgrade request; returns it with the accept key that its answer must carry.
    pub(super) fn request(&self) -> Result<(Vec<u8>, String), SocketError> {
        let scheme = if self.tls { "wss" } else { "ws" };
        let authority = match (self.host.contains(':'), self.port) {
            (true, port) => format!("[{}]:{port}", self.host),
            (false, 80 | 443) => self.host.clone(),
            (false, port) => format!("{}:{port}", self.host),
        };
        let mut builder = Request::builder()
            .uri(format!("{scheme}://{authority}{}", self.path))
            .header("Host", authority)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", generate_key());
        for (name, value) in &self.headers {
            builder = builder.header(*name, value);
        }
        if let Some((name, prefix)) = self.auth {
            builder = builder.header(name, format!("{prefix}{}", self.key.expose()));
        }
        // A key with a line break in it is the one way to get here; the error must not repeat it.
        let unfit =
            || SocketError::Url { url: self.host.clone(), why: "cannot be asked: the key does not fit a header" };
        let request = builder.body(()).map_err(|_| unfit())?;
        let (bytes, key) = generate_request(request).map_err(|_| unfit())?;
        Ok((bytes, tungstenite::handshake::derive_accept_key(key.as_bytes())))
    }
}

/// Whether `host` is this machine: an address of the loopback interface, or `localhost`.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encryption_is_left_out_to_loopback_only() {
        for url in
            ["wss://api.deepgram.com", "ws://localhost:1", "ws://127.0.0.9", "ws://[::1]:8080", "wss://[2001:db8::1]/x"]
        {
            assert!(Target::new(url, "/p").is_ok(), "{url}");
        }
        for url in [
            "ws://api.deepgram.com",
            "ws://10.0.0.1",
            "https://api.deepgram.com",
            "wss:",
            "",
            "ws://localhost.example.com",
        ] {
            assert!(matches!(Target::new(url, "/p"), Err(SocketError::Url { .. })), "{url}");
        }
    }

    #[test]
    fn the_request_carries_path_host_and_key() {
        let target = Target::new("wss://api.example.com/eu/", "/v2/listen?a=b").expect("a target");
        let target =
            target.header("Cartesia-Version", "2026-03-01").auth("Authorization", "Token ", &Secret::new("k3y"));
        let request = String::from_utf8(target.request().expect("a request").0).expect("ASCII");
        assert!(request.starts_with("GET /eu/v2/listen?a=b HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("Host: api.example.com\r\n"), "{request}");
        assert!(request.contains("authorization: Token k3y\r\n"), "{request}");
        assert!(request.contains("cartesia-version: 2026-03-01\r\n"), "{request}");
    }

    #[test]
    fn other_ports_and_ipv6_addresses_are_named_in_the_host_header() {
        let host = |url: &str| {
            let request = Target::new(url, "/").expect("a target").request().expect("a request").0;
            let request = String::from_utf8(request).expect("ASCII");
            request.lines().find_map(|line| Some(line.strip_prefix("Host: ")?.to_owned())).expect("a host")
        };
        assert_eq!(host("ws://127.0.0.1:8080"), "127.0.0.1:8080");
        assert_eq!(host("ws://[::1]:8080"), "[::1]:8080");
        assert_eq!(host("wss://example.com:443"), "example.com");
    }

    #[test]
    fn a_key_that_fits_no_header_is_refused_without_being_shown() {
        let target = Target::new("wss://h", "/").expect("a target").auth("X-API-Key", "", &Secret::new("two\r\nlines"));
        let error = target.request().expect_err("no request").to_string();
        assert!(error.contains("key") && !error.contains("lines"), "{error}");
        assert!(!format!("{target:?}").contains("lines"));
    }
}
