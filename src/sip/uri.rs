//! sip URIs (RFC 3261 §19.1): taken apart, and compared.

use super::lexer::is_scheme;
use std::net::IpAddr;

/// A `sip:` or `sips:` URI, borrowed from its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipUri<'a> {
    /// Whether it is `sips:`.
    pub secure: bool,
    /// The user part as written, escapes and all.
    pub user: Option<&'a str>,
    /// The password, which nobody should send.
    pub password: Option<&'a str>,
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    pub host: &'a str,
    /// The port, if one is said.
    pub port: Option<u16>,
    /// `;name=value`, as written.
    pub params: Vec<(&'a str, Option<&'a str>)>,
    /// What follows `?`.
    pub headers: Option<&'a str>,
}

impl<'a> SipUri<'a> {
    /// Takes `text` apart; `None` where it is not a sip or sips URI.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let secure = scheme.eq_ignore_ascii_case("sips");
        if !(secure || scheme.eq_ignore_ascii_case("sip")) || text.contains(unfit) {
            return None;
        }
        let (userinfo, rest) = match rest.split_once('@') {
            Some((userinfo, rest)) => (Some(userinfo), rest),
            None => (None, rest),
        };
        let (user, password) = match userinfo.map(|userinfo| userinfo.split_once(':').unwrap_or((userinfo, ""))) {
            Some(("", _)) => return None,
            Some((user, password)) => (Some(user), Some(password).filter(|password| !password.is_empty())),
            None => (None, None),
        };
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, Some(headers)),
            None => (rest, None),
        };
        let mut parts = rest.split(';');
        let (host, port) = host_port(parts.next()?)?;
        let params = parts
            .map(|param| param.split_once('=').map_or((param, None), |(name, value)| (name, Some(value))))
            .collect::<Vec<_>>();
        if params.iter().any(|(name, _)| name.is_empty()) || rest.contains('@') {
            return None;
        }
        Some(Self { secure, user, password, host, port, params, headers })
    }

    /// Returns the URI parameter called `name`: `Some(None)` where it has no value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<&'a str>> {
        self.params.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// Returns the user with harmless escapes undone.
    #[must_use]
    pub fn plain_user(&self) -> Option<String> {
        self.user.map(canonical_user)
    }

    /// Returns `sip:user@host`, as a registrar's key (RFC 3261 §10.3 step 5): escapes undone where harmless, host in small
    /// letters, neither port nor parameters, which users type or leave out as they please.
    #[must_use]
    pub fn address_of_record(&self) -> String {
        let host = self.host.to_ascii_lowercase();
        match self.user {
            Some(user) => format!("sip:{}@{host}", canonical_user(user)),
            None => format!("sip:{host}"),
        }
    }

    /// Whether both mean the same resource (RFC 3261 §19.1.4); passwords are left out.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        let user = |uri: &Self| uri.user.map(canonical_user);
        let matters = ["transport", "user", "ttl", "method", "maddr"];
        let same_param = |name: &str| match (self.param(name), other.param(name)) {
            (Some(a), Some(b)) => a.unwrap_or("").eq_ignore_ascii_case(b.unwrap_or("")),
            (None, None) => true,
            // A parameter that only one side has counts if it is one of these.
            _ => !matters.contains(&name.to_ascii_lowercase().as_str()),
        };
        self.secure == other.secure
            && user(self) == user(other)
            && self.host.eq_ignore_ascii_case(other.host)
            && self.port == other.port
            && self.headers == other.headers
            && self.params.iter().chain(&other.params).all(|(name, _)| same_param(name))
    }
}

fn unfit(c: char) -> bool {
    c.is_control() || matches!(c, ' ' | '<' | '>' | '"')
}

/// Splits `host[:port]`, the port 1 to 65535; `None` where either is not one.
#[must_use]
pub fn host_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if text.starts_with('[') {
        let end = text.find(']')?;
        let (host, rest) = text.split_at(end + 1);
        // RFC 5118 §4.10: three colons came out of a bug in the grammar and are to be borne with.
        let inside = host.get(1..end)?;
        if inside.is_empty() || !inside.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte)) {
            return None;
        }
        (host, rest)
    } else {
        let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
        if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
            return None;
        }
        (host, rest)
    };
    if port.is_empty() {
        return Some((host, None));
    }
    let digits = port.strip_prefix(':').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((host, Some(digits.parse().ok().filter(|port| *port != 0)?)))
}

/// Whether `text` begins as an absolute URI of any scheme.
#[must_use]
pub fn is_absolute(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty()) && !text.contains(unfit)
}

/// Returns `address` as a host, IPv6 in brackets and IPv4 in IPv6 as IPv4.
#[must_use]
pub fn host_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// Undoes each escape of an unreserved character once (RFC 3261 §19.1.4) and writes the others in capitals, so that equal
/// users read equal; `%00` stays `%00`, and cuts nothing.
fn canonical_user(user: &str) -> String {
    let mut out = String::with_capacity(user.len());
    let mut rest = user;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let value = escape.get(1..3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match value {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) => {
                out.push(char::from(byte))
            }
            Some(byte) => out.push_str(&format!("%{byte:02X}")),
            None => {
                out.push('%');
                rest = escape.get(1..).unwrap_or_default();
                continue;
            }
        }
        rest = escape.get(3..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> SipUri<'_> {
        SipUri::parse(text).unwrap_or_else(|| panic!("{text} is a URI"))
    }

    #[test]
    fn users_with_dots_semicolons_and_escapes_are_read() {
        assert_eq!(parse("sip:first.last@host").user, Some("first.last"));
        assert_eq!(parse("sip:user;par=u%40example.net@example.com").host, "example.com");
        assert_eq!(parse("sip:user;par=u%40example.net@example.com").user, Some("user;par=u%40example.net"));
        assert_eq!(parse("sip:a:secret@h").password, Some("secret"));
        assert_eq!(parse("sip:192.0.2.2:45870;ob").user, None);
        assert_eq!(parse("SIP:h;LR").param("lr"), Some(None));
    }

    #[test]
    fn ipv6_needs_brackets_and_keeps_its_port_apart() {
        assert_eq!(parse("sip:[2001:db8::10:5070]").port, None);
        assert_eq!(parse("sip:[2001:db8::10]:5070").port, Some(5070));
        assert_eq!(parse("sip:user@[2001:db8:::192.0.2.1]").host, "[2001:db8:::192.0.2.1]");
        assert_eq!(SipUri::parse("sip:2001:db8::10"), None);
    }

    #[test]
    fn broken_uris_are_refused() {
        for text in [
            "sip:",
            "sip:@h",
            "sip:a@",
            "sip:a@h:0",
            "sip:a@h:65536",
            "sip:a@h:x",
            "sip:a@b@c",
            "sip:h;;a",
            "tel:1",
            "a b",
            "sip:a@h<",
        ] {
            assert_eq!(SipUri::parse(text), None, "{text}");
        }
    }

    #[test]
    fn comparison_follows_the_rfc() {
        for (a, b) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:biloxi.com;transport=tcp", "sip:biloxi.com;transport=tcp;security=on"),
        ] {
            assert!(parse(a).same(&parse(b)), "{a} {b}");
        }
        for (a, b) in [
            ("SIP:ALICE@AtLanTa.CoM", "sip:alice@AtLanTa.CoM"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:a%00b@h", "sip:a@h"),
            ("sip:a%00b@h", "sip:a%00c@h"),
            ("sip:c@h;newparam=5", "sip:c@h;newparam=6"),
        ] {
            assert!(!parse(a).same(&parse(b)), "{a} {b}");
        }
    }

    #[test]
    fn an_address_of_record_has_neither_port_nor_parameters() {
        assert_eq!(parse("sip:Agent%30@LocalHost:5070;transport=tcp").address_of_record(), "sip:Agent0@localhost");
        assert_eq!(parse("sip:a%00%2f@h").address_of_record(), "sip:a%00/@h");
        assert_eq!(parse("sip:50%@h").address_of_record(), "sip:50%@h");
    }
}
