//! A setting as somebody wrote it, and what it may be: every rule about the form of a value stands here.

use super::{Error, Secret};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

/// Characters of a wrong value that an error line repeats.
const SHOWN_MAX: usize = 80;
/// Longest key, token, model or voice name, in characters: several times the longest in use.
const WORD_MAX: usize = 512;

/// A setting that was given, and under which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// How the operator knows it: `--api`, `OFFHOOK_STT`, `sip.listen in offhook.toml`.
    pub name: String,
    /// What was given.
    pub value: String,
}

/// How a provider is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `wss://`, to loopback also `ws://`.
    WebSocket,
    /// `https://`, to loopback also `http://`.
    Http,
}

impl Scheme {
    const fn safe(self) -> &'static str {
        match self {
            Self::WebSocket => "wss://",
            Self::Http => "https://",
        }
    }

    const fn plain(self) -> &'static str {
        match self {
            Self::WebSocket => "ws://",
            Self::Http => "http://",
        }
    }
}

impl Given {
    /// Says that the value is wrong, and what it may be.
    pub fn wrong(&self, may_be: &str) -> Error {
        let shown: String = self.value.chars().take(SHOWN_MAX).collect();
        Error(format!("{}: {shown:?} is not {may_be}", self.name))
    }

    /// Reads `ADDR:PORT`; port 0 lets the system choose.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.value
            .parse()
            .map_err(|_| self.wrong("an address and port, such as 127.0.0.1:8000, 0.0.0.0:5060 or [::1]:8000"))
    }

    /// Reads an address without a port.
    pub fn ip(&self) -> Result<IpAddr, Error> {
        let ip: IpAddr = self.value.parse().map_err(|_| self.wrong("an address, such as 192.0.2.10"))?;
        if ip.is_unspecified() { Err(self.wrong("an address that a peer can send to")) } else { Ok(ip) }
    }

    /// Reads `A-B`: ports with room for at least one pair of RTP (even) and RTCP (odd).
    pub fn port_range(&self) -> Result<RangeInclusive<u16>, Error> {
        let parse = || {
            let (first, last) = self.value.split_once('-')?;
            let (first, last) = (first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?);
            let first_even = first.checked_add(first % 2)?;
            (first > 0 && first_even < last).then_some(first..=last)
        };
        parse().ok_or_else(|| {
            self.wrong(
                "a range of ports from 1 to 65535 that holds an even one and the odd one after it, such as 10000-20000",
            )
        })
    }

    /// Reads a whole number in `range`.
    pub fn number(&self, range: RangeInclusive<u64>) -> Result<u64, Error> {
        let number = self.value.trim().parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| self.wrong(&format!("a number from {} to {}", range.start(), range.end())))
    }

    /// Reads one of `choices`.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Error> {
        let found = choices.iter().find(|(name, _)| *name == self.value);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.wrong(&format!("one of: {}", names.join(", ")))
        })
    }

    /// Reads a name that goes into a URL or a JSON string: visible ASCII.
    pub fn word(&self) -> Result<String, Error> {
        let visible = !self.value.is_empty() && self.value.bytes().all(|b| b.is_ascii_graphic());
        if visible && self.value.len() <= WORD_MAX {
            Ok(self.value.clone())
        } else {
            Err(self.wrong(&format!("a name of 1 to {WORD_MAX} visible ASCII characters without spaces")))
        }
    }

    /// Reads a secret, which no error repeats. White space around it is what copying leaves behind.
    pub fn secret(&self) -> Result<Secret, Error> {
        let secret = self.value.trim();
        if secret.bytes().all(|b| b.is_ascii_graphic()) && secret.len() <= WORD_MAX {
            return Ok(Secret::new(secret));
        }
        Err(Error(format!(
            "{}: its {} characters are not a key; it may be up to {WORD_MAX} visible ASCII characters without spaces",
            self.name,
            secret.chars().count()
        )))
    }

    /// Reads a text of at most `characters_max`.
    pub fn text(&self, characters_max: usize) -> Result<String, Error> {
        if self.value.chars().count() <= characters_max {
            Ok(self.value.clone())
        } else {
            Err(self.wrong(&format!("a text of at most {characters_max} characters")))
        }
    }

    /// Reads the address of a provider, without a trailing slash. Audio, words and keys go there, so that it is
    /// encrypted, or does not leave this machine.
    pub fn base_url(&self, scheme: Scheme) -> Result<String, Error> {
        let (safe, plain) = (scheme.safe(), scheme.plain());
        let wrong = || {
            self.wrong(&format!(
                "a base URL: {safe}HOST[:PORT][/PATH], or {plain} where HOST is localhost, 127.0.0.1 or [::1]"
            ))
        };
        let url = self.value.trim().trim_end_matches('/');
        let (rest, is_plain) = match (url.strip_prefix(safe), url.strip_prefix(plain)) {
            (Some(rest), _) => (rest, false),
            (None, Some(rest)) => (rest, true),
            (None, None) => return Err(wrong()),
        };
        // A query would be cut in two by the path that is added, and a user name would be a secret in a URL.
        if !url.bytes().all(|b| b.is_ascii_graphic()) || rest.contains(['?', '#', '@', '"', '\\']) {
            return Err(wrong());
        }
        let authority = rest.split('/').next().unwrap_or_default();
        let host = host_of(authority).ok_or_else(wrong)?;
        if is_plain && !is_loopback_name(host) { Err(wrong()) } else { Ok(url.to_owned()) }
    }
}

/// Returns the host of `HOST`, `HOST:PORT` or `[V6]:PORT`, without brackets; `None` where it is none of these.
pub fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
        (host, port)
    } else if let Some((host, port)) = authority.split_once(':') {
        (host, Some(port))
    } else {
        (authority, None)
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    (port_fits && !host.is_empty()).then_some(host)
}

/// Whether `host` names this machine itself, whatever a name server says.
pub fn is_loopback_name(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(value: &str) -> Given {
        Given { name: "X".into(), value: value.into() }
    }

    #[test]
    fn plain_text_goes_to_this_machine_only() {
        for fits in [
            "wss://api.deepgram.com",
            "wss://eu.example:8443/base",
            "ws://127.0.0.1:9000",
            "ws://localhost",
            "ws://LOCALHOST:1",
            "ws://[::1]:9000/x",
            "ws://127.3.4.5",
        ] {
            assert_eq!(given(fits).base_url(Scheme::WebSocket).as_deref(), Ok(fits));
        }
        for wrong in [
            "ws://api.deepgram.com",
            "ws://127.0.0.1.evil.example",
            "ws://127.0.0.1@evil.example",
            "ws://localhost:80@evil.example",
            "ws://192.168.1.2:9000",
            "ws://0.0.0.0:9000",
            "ws://[::2]:9000",
            "ws://[::1",
            "ws://[::1]9000",
            "ws:///path",
            "ws://:9000",
            "wss://",
            "wss://host:0",
            "wss://host:70000",
            "wss://host/?key=1",
            "wss://user:pass@host",
            "wss://ho st",
            "https://api.deepgram.com",
            "api.deepgram.com",
            "",
        ] {
            let error = given(wrong).base_url(Scheme::WebSocket).expect_err(wrong).to_string();
            assert!(error.starts_with("X: ") && error.contains("wss://HOST"), "{error}");
            assert!(!error.contains('\n'));
        }
    }

    #[test]
    fn a_base_url_loses_its_last_slash() {
        assert_eq!(
            given("http://localhost:11434/v1/").base_url(Scheme::Http).as_deref(),
            Ok("http://localhost:11434/v1")
        );
    }

    #[test]
    fn a_port_range_holds_a_pair() {
        assert_eq!(given("10000-20000").port_range(), Ok(10_000..=20_000));
        assert_eq!(given("4000-4001").port_range(), Ok(4000..=4001));
        assert_eq!(given("65534-65535").port_range(), Ok(65_534..=65_535));
        for wrong in ["", "10000", "20000-10000", "4001-4002", "0-10", "65535-65535", "1-65536", "a-b", "-1-5", "5-"] {
            assert!(given(wrong).port_range().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_error_never_repeats_a_secret_and_is_one_line() {
        let error = given("sk-hunter2 \u{7f}second").secret().expect_err("holds a space").to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert_eq!(given(" sk-hunter2\n").secret().expect("trimmed").expose(), "sk-hunter2");
        assert!(!given("a\nb").word().expect_err("holds a line feed").to_string().contains('\n'));
    }

    #[test]
    fn a_long_value_is_shown_cut() {
        assert!(given(&"x".repeat(5000)).address().expect_err("no address").to_string().len() < 250);
    }
}
