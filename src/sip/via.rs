//! The Via header: which way a request came, and so which way its response goes (RFC 3261 §20.42).

use super::lexer::is_token;
use super::params::{Cursor, Params};
use super::uri::host_port;
use std::fmt;

/// What a branch begins with when it is unique in space and time (RFC 3261 §8.1.1.7).
pub const MAGIC_COOKIE: &str = "z9hG4bK";

/// One hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// `UDP`, or whatever else it says.
    pub transport: String,
    /// The host of sent-by.
    pub host: String,
    /// The port of sent-by.
    pub port: Option<u16>,
    /// branch, rport, received and the others.
    pub params: Params,
}

impl Via {
    /// Reads a comma list of hops, the nearest first; `None` where any of it is malformed.
    #[must_use]
    pub fn parse_list(text: &str) -> Option<Vec<Self>> {
        Cursor::new(text).read_list(Self::read)
    }

    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        cursor.skip_space();
        let name = cursor.take_until(&['/', ';', ',']);
        let version = cursor.take('/').then(|| cursor.take_until(&['/', ';', ',']))?;
        let transport = cursor.take('/').then(|| cursor.take_until(&[' ', '\t', ';', ',']))?;
        if ![name, version, transport].into_iter().all(is_token) {
            return None;
        }
        cursor.skip_space();
        // `host : port` may have spaces round its colon.
        let sent_by: String = cursor.take_until(&[';', ',']).split([' ', '\t']).collect();
        let (host, port) = host_port(&sent_by)?;
        let (host, port) = (host.to_owned(), port);
        let params = Params::read(cursor)?;
        Some(Self { transport: transport.to_owned(), host, port, params })
    }

    /// Returns the branch, if it is one that identifies a transaction by itself (RFC 3261 §17.2.3).
    #[must_use]
    pub fn unique_branch(&self) -> Option<&str> {
        let branch = self.params.value("branch")?;
        let cookie = branch.get(..MAGIC_COOKIE.len())?;
        (cookie.eq_ignore_ascii_case(MAGIC_COOKIE) && branch.len() > MAGIC_COOKIE.len()).then_some(branch)
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Via {
        Via::parse_list(text).unwrap_or_else(|| panic!("{text}")).remove(0)
    }

    #[test]
    fn hops_are_read_with_any_spacing_transport_and_address() {
        let spaced = one(
            "SIP  / 2.0  / TCP     spindle.example.com : 5061  ;  branch  =   z9hG4bK9ikj8  , SIP/2.0/UDP 192.168.255.111",
        );
        assert_eq!(
            (spaced.transport.as_str(), spaced.port, spaced.unique_branch()),
            ("TCP", Some(5061), Some("z9hG4bK9ikj8"))
        );
        assert_eq!(one("SIP/2.0/UNKNOWN h;branch=x").unique_branch(), None);
        let v6 = one("SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3-111");
        assert_eq!((v6.host.as_str(), v6.unique_branch()), ("[2001:db8::9:1]", Some("z9hG4bKas3-111")));
        assert_eq!(v6.to_string(), "SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3-111");
    }

    #[test]
    fn a_bare_cookie_is_no_branch() {
        assert_eq!(one("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK").unique_branch(), None);
        assert_eq!(one("SIP/2.0/UDP 192.0.2.1").unique_branch(), None);
    }

    #[test]
    fn malformed_hops_are_refused() {
        for text in [
            "SIP/2.0/UDP 192.0.2.15;;,;,,",
            "SIP/2.0/UDP",
            "SIP/2.0 h",
            "",
            "SIP/2.0/UDP h:0",
            "SIP/2.0/UDP 2001:db8::1",
            "SIP/2.0/UDP h,",
        ] {
            assert_eq!(Via::parse_list(text), None, "{text}");
        }
    }
}
