//! The answer to a challenge: digest from the side that is asked (RFC 3261 §22.2, RFC 7616 §3.4, RFC 8760).

use super::digest::{Credentials, parameters};
use super::reply::Reply;
use crate::config::{DigestAlgorithm, Secret};

/// Who we are to a server that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// Challenges of one response that are looked at; servers send one for each algorithm.
const CHALLENGES_MAX: usize = 8;

/// A challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// The header that the answer goes into.
    header: &'static str,
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: DigestAlgorithm,
    /// Whether the name of the algorithm was given: what is not given is not repeated (RFC 2069 servers).
    names_algorithm: bool,
    /// Whether the quality `auth` is offered; without any quality the digest is that of RFC 2069.
    quality: bool,
    /// Whether the last answer was right but for its nonce.
    pub(super) stale: bool,
}

impl Challenge {
    /// Reads the challenge of a 401 or 407, the strongest of several that can be answered.
    pub(super) fn read(reply: &Reply) -> Option<Self> {
        let (asks, answers) = match reply.status {
            401 => ("WWW-Authenticate", "Authorization"),
            407 => ("Proxy-Authenticate", "Proxy-Authorization"),
            _ => return None,
        };
        let challenges = reply.values(asks).take(CHALLENGES_MAX).filter_map(|value| Self::parse(value, answers));
        // Of equals the first: the server's order is its preference (RFC 8760 §2.4).
        challenges.reduce(|best, other| if rank(other.algorithm) > rank(best.algorithm) { other } else { best })
    }

    fn parse(value: &str, header: &'static str) -> Option<Self> {
        let found = parameters(value)?;
        let get = |name: &str| found.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let algorithm = match get("algorithm") {
            Some(name) => DigestAlgorithm::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(name))?,
            None => DigestAlgorithm::Md5,
        };
        let quality = match get("qop") {
            Some(offered) if offered.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth")) => true,
            // auth-int alone wants the body hashed, too.
            Some(_) => return None,
            None => false,
        };
        Some(Self {
            header,
            realm: get("realm")?.to_owned(),
            nonce: get("nonce")?.to_owned(),
            opaque: get("opaque").map(str::to_owned),
            algorithm,
            names_algorithm: get("algorithm").is_some(),
            quality,
            stale: get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// Returns the header, and its value, that answers for a request of `method` to `uri`. `cnonce` is of our making, and never
    /// used twice.
    pub(super) fn answer(&self, login: &Login, method: &str, uri: &str, cnonce: &str) -> (&'static str, String) {
        let ha1 = self.algorithm.hash(&[&login.user, &self.realm, login.password.expose()]);
        let protection = self.quality.then_some((cnonce, "00000001"));
        let response = Credentials::for_challenge(&self.nonce, uri, protection).expected(self.algorithm, &ha1, method);
        let mut value = format!(
            "Digest username={},realm={},nonce={},uri={},response=\"{response}\"",
            quoted(&login.user),
            quoted(&self.realm),
            quoted(&self.nonce),
            quoted(uri)
        );
        if self.names_algorithm {
            value += &format!(",algorithm={}", self.algorithm.name());
        }
        if let Some((cnonce, count)) = protection {
            value += &format!(",cnonce=\"{cnonce}\",nc={count},qop=auth");
        }
        if let Some(opaque) = &self.opaque {
            value += &format!(",opaque={}", quoted(opaque));
        }
        (self.header, value)
    }
}

const fn rank(algorithm: DigestAlgorithm) -> u8 {
    match algorithm {
        DigestAlgorithm::Md5 => 0,
        DigestAlgorithm::Sha256 => 1,
    }
}

/// Writes a quoted-string (RFC 3261 §25.1).
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::super::lexer::lex;
    use super::*;

    fn challenge(status: u16, headers: &str) -> Option<Challenge> {
        let via = "Via: SIP/2.0/UDP h;branch=z9hG4bKx\r\nCSeq: 1 REGISTER\r\nTo: <sip:a@b>;tag=1\r\n";
        let text = format!("SIP/2.0 {status} No\r\n{via}{headers}\r\n");
        Challenge::read(&Reply::read(&lex(text.as_bytes()).expect("SIP"), status).expect("a reply"))
    }

    fn mufasa() -> Login {
        Login { user: "Mufasa".into(), password: Secret::new("Circle of Life") }
    }

    #[test]
    fn the_examples_of_rfc_7616_come_out() {
        // RFC 7616 §3.9.1: the same request, by both algorithms.
        let header = |algorithm: &str| {
            format!(
                "WWW-Authenticate: Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"\r\n"
            )
        };
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let asked = challenge(401, &header(algorithm)).expect("a challenge");
            let (name, value) = asked.answer(&mufasa(), "GET", "/dir/index.html", cnonce);
            assert_eq!(name, "Authorization");
            assert!(value.contains(&format!("response=\"{response}\"")), "{value}");
            assert!(value.contains("nc=00000001,qop=auth") && value.contains("opaque=\"FQhe/"), "{value}");
        }
    }

    #[test]
    fn the_strongest_of_several_is_answered_and_what_cannot_be_is_not() {
        let of =
            |algorithm: &str| format!("Proxy-Authenticate: Digest realm=\"r\",nonce=\"n\",algorithm={algorithm}\r\n");
        let best = challenge(407, &(of("MD5") + &of("SHA-256") + &of("SHA-512-256"))).expect("a challenge");
        assert_eq!(
            (best.algorithm, best.header, best.quality),
            (DigestAlgorithm::Sha256, "Proxy-Authorization", false)
        );
        for headers in [
            of("MD5-sess").as_str(),
            "Proxy-Authenticate: Basic realm=\"r\"\r\n",
            "Proxy-Authenticate: Digest realm=\"r\",nonce=\"n\",qop=\"auth-int\"\r\n",
            "Proxy-Authenticate: Digest realm=\"r\"\r\n",
            "",
        ] {
            assert_eq!(challenge(407, headers), None, "{headers}");
        }
        assert_eq!(challenge(403, &of("MD5")), None);
    }

    #[test]
    fn names_with_quotes_do_not_leave_their_quotes() {
        let asked = challenge(401, "WWW-Authenticate: Digest realm=\"a\\\"b\",nonce=\"n\"\r\n").expect("a challenge");
        let (_, value) = asked.answer(&Login { user: "x\",y=\"z".into(), ..mufasa() }, "REGISTER", "sip:h", "c");
        assert!(value.starts_with("Digest username=\"x\\\",y=\\\"z\",realm=\"a\\\"b\","), "{value}");
        assert!(!value.contains("cnonce") && !value.contains("algorithm"), "RFC 2069: {value}");
    }
}
