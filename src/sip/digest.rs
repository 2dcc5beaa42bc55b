//! Digest (RFC 3261 §22, RFC 7616, RFC 8760): the challenge, and whether an answer to it is right.
//!
//! A nonce holds its own time and is signed for the address that it was made for, so that a challenge costs no memory: only
//! an answer that is right leaves something behind, which is what keeps it from being used twice.

use super::message::Request;
use super::params::Cursor;
use super::uri::SipUri;
use crate::config::{self, Account, DigestAlgorithm};
use crate::time::Instant;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use subtle::{Choice, ConstantTimeEq};

/// How long a nonce is answered to. RFC 7616 leaves it to the server; a phone that answers later is told `stale` and answers
/// anew without its user.
pub(super) const NONCE_LIFETIME: Duration = Duration::from_secs(120);

/// Nonces whose answers are remembered: over 30 a second for [`NONCE_LIFETIME`]. Only who has an account can fill this.
const ANSWERED_MAX: usize = 4096;

/// Clients that may share a nonce: one that restarts begins anew with the cnonce, and nobody does that often.
const CNONCES_MAX: usize = 8;

/// Bytes of a nonce: 4 of the time in milliseconds modulo 2^32, 8 random ones, 12 of the signature (RFC 2104 §5: at least
/// half of 160 bits). They are 32 characters in base64, without padding.
const NONCE_BYTES: usize = 24;
const TIME_BYTES: usize = 4;
const SIGNED_BYTES: usize = 12;

/// Headers of one request that may carry credentials, and parameters in one of them; phones send one with ten.
const CREDENTIALS_MAX: usize = 4;
const PARAMS_MAX: usize = 24;

/// What a request's credentials are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// They are those of this user, and fresh.
    Authentic { user: &'a str },
    /// They are right, but the nonce is not ours any more, or was used: challenge anew with `stale`.
    Stale,
    /// They are wrong. `proven`: the nonce was made for this address, so that the address is not forged.
    Wrong { proven: bool },
}

/// The Authorization of one request, as far as digest needs it (RFC 7616 §3.4).
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Credentials {
    username: String,
    realm: String,
    nonce: String,
    uri: String,
    response: String,
    algorithm: Option<String>,
    cnonce: Option<String>,
    nc: Option<String>,
    qop: Option<String>,
}

impl Credentials {
    /// Reads the value of an Authorization header; `None` where it is of another scheme, or no whole digest.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut found = parameters(value)?;
        let mut take = |name: &str| {
            let at = found.iter().position(|(known, _)| known == name)?;
            Some(found.swap_remove(at).1)
        };
        Some(Self {
            username: take("username")?,
            realm: take("realm")?,
            nonce: take("nonce")?,
            uri: take("uri")?,
            response: take("response")?,
            algorithm: take("algorithm"),
            cnonce: take("cnonce"),
            nc: take("nc"),
            qop: take("qop"),
        })
    }

    /// Returns credentials for a challenge with `nonce`, as far as its answer depends on them; `protection` is cnonce
    /// and nc.
    pub(super) fn for_challenge(nonce: &str, uri: &str, protection: Option<(&str, &str)>) -> Self {
        let (cnonce, nc) = protection.unzip();
        Self {
            nonce: nonce.to_owned(),
            uri: uri.to_owned(),
            cnonce: cnonce.map(str::to_owned),
            nc: nc.map(str::to_owned),
            qop: protection.map(|_| "auth".to_owned()),
            ..Self::default()
        }
    }

    /// Returns the name that the answer claims.
    pub(super) fn username(&self) -> &str {
        &self.username
    }

    /// Returns the algorithm; `None` is one that is never offered, such as the -sess variants. None named is MD5 (§3.3).
    fn algorithm(&self) -> Option<DigestAlgorithm> {
        let Some(name) = &self.algorithm else { return Some(DigestAlgorithm::Md5) };
        DigestAlgorithm::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// Returns cnonce and nc, the latter a number, where the answer is of the quality that was asked for.
    fn protection(&self) -> Option<(&str, u32)> {
        if !self.qop.as_deref()?.eq_ignore_ascii_case("auth") {
            return None;
        }
        let nc = self.nc.as_deref().filter(|nc| nc.len() == 8 && nc.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let cnonce = self.cnonce.as_deref().filter(|cnonce| !cnonce.is_empty())?;
        Some((cnonce, u32::from_str_radix(nc, 16).ok()?))
    }

    /// Returns what `response` has to be (§3.4.1), with every value as it came.
    pub(super) fn expected(&self, algorithm: DigestAlgorithm, ha1: &str, method: &str) -> String {
        let ha2 = algorithm.hash(&[method, &self.uri]);
        if self.qop.is_none() {
            // RFC 2069 §2.1.2, which older servers still speak; ours does not accept it.
            return algorithm.hash(&[ha1, &self.nonce, &ha2]);
        }
        let nc = self.nc.as_deref().unwrap_or_default();
        let cnonce = self.cnonce.as_deref().unwrap_or_default();
        let qop = self.qop.as_deref().unwrap_or_default();
        algorithm.hash(&[ha1, &self.nonce, nc, cnonce, qop, &ha2])
    }
}

/// Takes the value of a header of the scheme Digest apart, names in small letters; `None` where it is of another scheme, or
/// names something twice: of two values one might be checked and the other believed.
pub(super) fn parameters(value: &str) -> Option<Vec<(String, String)>> {
    let mut cursor = Cursor::new(value);
    cursor.skip_space();
    let scheme = cursor.take_until(&[' ', '\t', ',', '=']);
    if !scheme.eq_ignore_ascii_case("Digest") {
        return None;
    }
    let mut found: Vec<(String, String)> = Vec::with_capacity(12);
    loop {
        while cursor.take(',') {}
        cursor.skip_space();
        if cursor.rest.is_empty() {
            return Some(found);
        }
        let name = cursor.take_until(&['=', ',', ' ', '\t', '"']).to_ascii_lowercase();
        if name.is_empty() || !cursor.take('=') || found.len() == PARAMS_MAX {
            return None;
        }
        let value = if cursor.rest.starts_with('"') {
            unquoted(cursor.take_quoted()?)
        } else {
            cursor.take_until(&[',', ' ', '\t', '"']).to_owned()
        };
        if found.iter().any(|(known, _)| *known == name) {
            return None;
        }
        found.push((name, value));
        cursor.skip_space();
        if !cursor.rest.is_empty() && !cursor.rest.starts_with(',') {
            return None;
        }
    }
}

/// Undoes quotes and escapes (RFC 3261 §25.1, quoted-string).
fn unquoted(quoted: &str) -> String {
    let inside = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(quoted);
    let mut out = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

/// Challenges, and checks what comes back.
#[derive(Debug)]
pub(super) struct Digest {
    realm: String,
    algorithms: Vec<DigestAlgorithm>,
    accounts: BTreeMap<String, Account>,
    nonces: Nonces,
}

impl Digest {
    pub(super) fn new(settings: &config::Sip, rng: &mut fastrand::Rng) -> Self {
        let accounts = settings.accounts.iter().map(|account| (account.user.clone(), account.clone())).collect();
        Self {
            realm: settings.realm.clone(),
            algorithms: settings.algorithms.clone(),
            accounts,
            nonces: Nonces::new(rng),
        }
    }

    /// Whether there is nobody to ask for a password: open mode.
    pub(super) fn is_open(&self) -> bool {
        self.accounts.is_empty()
    }

    /// Whether there is an account of this name.
    pub(super) fn has(&self, user: &str) -> bool {
        self.accounts.contains_key(user)
    }

    /// Returns the WWW-Authenticate values of a 401, strongest first (RFC 8760 §2.4), with one nonce for `source`.
    pub(super) fn challenge(&mut self, source: IpAddr, stale: bool, now: Instant) -> Vec<String> {
        let (realm, nonce) = (&self.realm, self.nonces.make(source, now));
        let stale = if stale { ",stale=true" } else { "" };
        let value = |algorithm: &DigestAlgorithm| {
            format!("Digest realm=\"{realm}\",nonce=\"{nonce}\",algorithm={},qop=\"auth\"{stale}", algorithm.name())
        };
        self.algorithms.iter().map(value).collect()
    }

    /// Returns the credentials for our realm: other proxies' may stand beside them.
    pub(super) fn credentials(&self, request: &Request) -> Option<Credentials> {
        ["Authorization", "Proxy-Authorization"]
            .into_iter()
            .flat_map(|name| request.values(name))
            .take(CREDENTIALS_MAX)
            .filter_map(Credentials::parse)
            .find(|credentials| credentials.realm == self.realm)
    }

    /// Checks the credentials of a request from `source`. Right ones are used up by this.
    ///
    /// A user who does not exist takes the same way as a wrong password, to the last hash.
    pub(super) fn check<'a>(
        &'a mut self,
        credentials: &Credentials,
        method: &str,
        targets: &[&str],
        source: IpAddr,
        now: Instant,
    ) -> Verdict<'a> {
        let nonce = self.nonces.read(&credentials.nonce, source, now);
        let proven = !matches!(nonce, Nonce::Foreign);
        let offered = credentials.algorithm().filter(|algorithm| self.algorithms.contains(algorithm));
        // What was not offered is hashed all the same, and refused in the end.
        let algorithm = offered.unwrap_or(DigestAlgorithm::Md5);
        let account = self.accounts.get(&credentials.username);
        let ha1 = account.and_then(|account| account.ha1(algorithm));
        // Nobody's: a hash that no user name and password have.
        let ha1_of_nobody = self.realm.as_str();
        let expected = credentials.expected(algorithm, ha1.map_or(ha1_of_nobody, |ha1| ha1.expose()), method);
        let given = credentials.response.to_ascii_lowercase();
        let protection = credentials.protection();
        let right = expected.as_bytes().ct_eq(given.as_bytes())
            & Choice::from(u8::from(ha1.is_some()))
            & Choice::from(u8::from(offered.is_some()))
            & Choice::from(u8::from(protection.is_some()))
            & Choice::from(u8::from(fits_target(&credentials.uri, targets)));
        let (true, Some((cnonce, nc)), Some(account)) = (bool::from(right), protection, account) else {
            return Verdict::Wrong { proven };
        };
        match nonce {
            Nonce::Ours(nonce) if self.nonces.use_up(nonce, cnonce, nc, now) => {
                Verdict::Authentic { user: &account.user }
            }
            _ => Verdict::Stale,
        }
    }
}

/// Whether the digest's `uri` means what the request is for: one of `targets` by user and host. Ports and parameters are
/// lost or added on the way through proxies, and so are the capitals of a host; SIPp names the host alone.
fn fits_target(uri: &str, targets: &[&str]) -> bool {
    let Some(uri) = SipUri::parse(uri) else { return false };
    targets.iter().filter_map(|target| SipUri::parse(target)).any(|target| {
        target.address_of_record() == uri.address_of_record()
            || uri.user.is_none() && target.host.eq_ignore_ascii_case(uri.host)
    })
}

/// What a nonce in an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nonce {
    /// Ours, for this address, and young enough.
    Ours(NonceId),
    /// Ours, for this address, but too old.
    Expired,
    /// Somebody else's, one of before a restart, or made for another address.
    Foreign,
}

/// A nonce by its time and its random part; ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NonceId {
    made_at: Instant,
    random: [u8; NONCE_BYTES - TIME_BYTES - SIGNED_BYTES],
}

/// Makes nonces, knows them again, and remembers how far the answered ones were used.
#[derive(Debug)]
struct Nonces {
    /// As long as a block of SHA-256 (RFC 2104 §3).
    key: [u8; 64],
    rng: fastrand::Rng,
    answered: BTreeMap<NonceId, Vec<(String, u32)>>,
    /// What was made before this is answered no more: its uses may have been forgotten.
    forgotten_before: Instant,
}

impl Nonces {
    fn new(rng: &mut fastrand::Rng) -> Self {
        let mut rng = rng.fork();
        let key = std::array::from_fn(|_| rng.u8(..));
        Self { key, rng, answered: BTreeMap::new(), forgotten_before: Instant::ZERO }
    }

    fn make(&mut self, source: IpAddr, now: Instant) -> String {
        let mut nonce = [0; NONCE_BYTES];
        let (time, rest) = nonce.split_at_mut(TIME_BYTES);
        time.copy_from_slice(&milliseconds(now).to_be_bytes());
        self.rng.fill(rest);
        let signature = self.sign(&nonce, source);
        let (_, signed) = nonce.split_at_mut(NONCE_BYTES - SIGNED_BYTES);
        signed.copy_from_slice(&signature);
        BASE64.encode(nonce)
    }

    /// Returns the signature of the first part of a nonce, and of the address that it is made for.
    fn sign(&self, nonce: &[u8; NONCE_BYTES], source: IpAddr) -> [u8; SIGNED_BYTES] {
        let mut mac = Hmac::<Sha256>::new(&self.key.into());
        mac.update(nonce.split_at(NONCE_BYTES - SIGNED_BYTES).0);
        mac.update(&match source.to_canonical() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        });
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        std::array::from_fn(|at| whole[at])
    }

    fn read(&self, text: &str, source: IpAddr, now: Instant) -> Nonce {
        let mut nonce = [0; NONCE_BYTES];
        if BASE64.decode_slice(text, &mut nonce) != Ok(NONCE_BYTES) {
            return Nonce::Foreign;
        }
        let (time, rest) = nonce.split_at(TIME_BYTES);
        let (random, signature) = rest.split_at(NONCE_BYTES - TIME_BYTES - SIGNED_BYTES);
        if !bool::from(self.sign(&nonce, source).ct_eq(signature)) {
            return Nonce::Foreign;
        }
        let (Ok(time), Ok(random)) = (time.try_into().map(u32::from_be_bytes), random.try_into()) else {
            return Nonce::Foreign;
        };
        // Modulo 2^32 ms, 49 days: one that old looks young again, and is a nonce that nobody knows any more.
        let age = Duration::from_millis(milliseconds(now).wrapping_sub(time).into());
        match now.since(Instant::ZERO).checked_sub(age) {
            Some(made_at) if age <= NONCE_LIFETIME => {
                // Whole milliseconds, so that a nonce has one time whenever it is read.
                let made_at = Instant::ZERO + Duration::from_millis(u64::try_from(made_at.as_millis()).unwrap_or(0));
                Nonce::Ours(NonceId { made_at, random })
            }
            _ => Nonce::Expired,
        }
    }

    /// Uses (nonce, cnonce, nc) up; `false` where they, or an nc after this one, were used before. Some phones keep the
    /// nonce, take a new cnonce and begin again with nc 1; others count nc up.
    fn use_up(&mut self, nonce: NonceId, cnonce: &str, nc: u32, now: Instant) -> bool {
        while let Some(first) = self.answered.first_entry() {
            if now.since(first.key().made_at) <= NONCE_LIFETIME {
                break;
            }
            first.remove();
        }
        if nonce.made_at < self.forgotten_before {
            return false;
        }
        if !self.answered.contains_key(&nonce) && self.answered.len() >= ANSWERED_MAX {
            let Some((oldest, _)) = self.answered.pop_first() else { return false };
            self.forgotten_before = oldest.made_at + Duration::from_millis(1);
            if nonce.made_at < self.forgotten_before {
                return false;
            }
        }
        // A long cnonce is known by its hash, so that memory is bounded.
        let cnonce = DigestAlgorithm::Sha256.hash(&[cnonce]);
        let uses = self.answered.entry(nonce).or_default();
        match uses.iter_mut().find(|(known, _)| *known == cnonce) {
            Some((_, highest)) => {
                let rises = nc > *highest;
                *highest = nc.max(*highest);
                rises
            }
            None => {
                let has_room = uses.len() < CNONCES_MAX;
                if has_room {
                    uses.push((cnonce, nc));
                }
                has_room
            }
        }
    }
}

/// Returns the time since the engine's start in milliseconds, modulo 2^32.
fn milliseconds(now: Instant) -> u32 {
    // The remainder always fits.
    u32::try_from(now.since(Instant::ZERO).as_millis() % (1 << 32)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
    const TARGET: &str = "sip:127.0.0.1:5070";

    fn digest() -> Digest {
        let accounts = vec![
            Account::with_password("agent001", "interop", "password123"),
            Account::with_password("quo\"te", "interop", "p"),
        ];
        let settings = config::Sip { accounts, realm: "interop".into(), ..config::Sip::default() };
        Digest::new(&settings, &mut fastrand::Rng::with_seed(3))
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000 + 17)
    }

    /// Answers a challenge as a phone does.
    #[derive(Clone)]
    struct Answer {
        user: &'static str,
        password: &'static str,
        algorithm: DigestAlgorithm,
        nonce: String,
        cnonce: &'static str,
        nc: u32,
        method: &'static str,
        uri: &'static str,
    }

    impl Answer {
        fn to(digest: &mut Digest, now: Instant) -> Self {
            let challenges = digest.challenge(SOURCE, false, now);
            let (_, rest) = challenges[0].split_once("nonce=\"").expect("a nonce");
            Self {
                user: "agent001",
                password: "password123",
                algorithm: DigestAlgorithm::Sha256,
                nonce: rest.split('"').next().expect("its end").to_owned(),
                cnonce: "0a4f113b",
                nc: 1,
                method: "REGISTER",
                uri: TARGET,
            }
        }

        fn credentials(&self) -> Credentials {
            let mut credentials = Credentials {
                username: self.user.into(),
                realm: "interop".into(),
                nonce: self.nonce.clone(),
                uri: self.uri.into(),
                algorithm: Some(self.algorithm.name().into()),
                cnonce: Some(self.cnonce.into()),
                nc: Some(format!("{:08x}", self.nc)),
                qop: Some("auth".into()),
                ..Credentials::default()
            };
            let ha1 = self.algorithm.hash(&[self.user, "interop", self.password]);
            credentials.response = credentials.expected(self.algorithm, &ha1, self.method);
            credentials
        }

        fn check<'a>(&self, digest: &'a mut Digest, now: Instant) -> Verdict<'a> {
            digest.check(&self.credentials(), "REGISTER", &[TARGET], SOURCE, now)
        }
    }

    const AUTHENTIC: Verdict<'static> = Verdict::Authentic { user: "agent001" };
    const WRONG: Verdict<'static> = Verdict::Wrong { proven: true };

    #[test]
    fn the_uri_names_what_the_request_is_for() {
        let targets = ["sip:1000@127.0.0.1:5060", "sip:agent001@127.0.0.1"];
        for uri in ["sip:1000@127.0.0.1", "sip:1000@127.0.0.1:5060;transport=tcp", "sip:127.0.0.1:5060"] {
            assert!(fits_target(uri, &targets), "{uri}");
        }
        for uri in ["sip:1001@127.0.0.1", "sip:192.0.2.1", "tel:1000", ""] {
            assert!(!fits_target(uri, &targets), "{uri}");
        }
    }

    #[test]
    fn the_vectors_of_the_rfc_come_out() {
        // RFC 7616 §3.9.1.
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        for (algorithm, response) in [
            (DigestAlgorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (DigestAlgorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let header = format!(
                "Digest username=\"Mufasa\",\r realm=\"http-auth@example.org\", uri=\"/dir/index.html\", algorithm={}, \
                 nonce=\"{nonce}\", nc=00000001, cnonce=\"{cnonce}\", qop=auth, response=\"{response}\", opaque=\"FQ\"",
                algorithm.name()
            )
            .replace('\r', "");
            let credentials = Credentials::parse(&header).expect("credentials");
            let ha1 = algorithm.hash(&["Mufasa", "http-auth@example.org", "Circle of Life"]);
            assert_eq!(credentials.expected(algorithm, &ha1, "GET"), response);
            assert_eq!(credentials.protection(), Some((cnonce, 1)));
        }
    }

    #[test]
    fn answers_of_real_phones_are_right() {
        // PJSIP: MD5, nc counted up; INVITE; SHA-256; a transport parameter. baresip (its password was the same): no algorithm.
        for (method, header) in [
            (
                "REGISTER",
                r#"Digest username="agent001", realm="interop", nonce="n0nce1", uri="sip:127.0.0.1:5070", response="dd9bc009e528a169ff1f6c4efb0855ca", algorithm=MD5, cnonce="kjzUbfWdgiR9hvAQJFOpNDbrwiX.rHM", qop=auth, nc=00000001"#,
            ),
            (
                "REGISTER",
                r#"Digest username="agent001", realm="interop", nonce="n0nce1", uri="sip:127.0.0.1:5070", response="1c79035ce8c2f6a2baa18992fb1b2b67", algorithm=MD5, cnonce="kjzUbfWdgiR9hvAQJFOpNDbrwiX.rHM", qop=auth, nc=00000002"#,
            ),
            (
                "REGISTER",
                r#"Digest username="agent001", realm="interop", nonce="nMD5", uri="sip:127.0.0.1:5070", response="25ba68373ecfffcfa36fe667694748fb", algorithm=MD5, cnonce=".Q12zZBHw7GfhqA5d0SoFRrj88x4Owk8", qop=auth, nc=00000001"#,
            ),
            (
                "REGISTER",
                r#"Digest username="agent001", realm="interop", nonce="nSHA", uri="sip:127.0.0.1:5070", response="386608058218d02d872b160ed05bca16274bb336196b22a04573864ff1f55b52", algorithm=SHA-256, cnonce="C01nZyDMufpncrupjjuwE7q6PHZvhSkO", qop=auth, nc=00000001"#,
            ),
            (
                "REGISTER",
                r#"Digest username="agent001", realm="interop", nonce="n0nce1", uri="sip:127.0.0.1:5070;transport=tcp", response="47969456ed950f0d67dd427279bac6fc", algorithm=MD5, cnonce="3bSM2klD6r0qtAJZOhTfgg49ESABsrN", qop=auth, nc=00000001"#,
            ),
            (
                "INVITE",
                r#"Digest username="agent001", realm="interop", nonce="n0nce2", uri="sip:1000@127.0.0.1:5070", response="89fd3899a663116216baa43aad171b86", algorithm=MD5, cnonce="anuJP9jovx7LROpdH3TO42pVZ2Ayrb7s", qop=auth, nc=00000001"#,
            ),
            (
                "REGISTER",
                r#"Digest username="agent002", realm="interop", nonce="n0nce1", uri="sip:127.0.0.1:5070", response="dd2d948230a61ca79ddca456c1e2bceb", cnonce="34d597271525cb78", qop=auth, nc=00000001"#,
            ),
        ] {
            let credentials = Credentials::parse(header).expect(header);
            let algorithm = credentials.algorithm().expect("one of ours");
            let ha1 = algorithm.hash(&[&credentials.username, "interop", "password123"]);
            assert_eq!(credentials.expected(algorithm, &ha1, method), credentials.response, "{header}");
            // The nonces were another server's: right, but to be answered anew.
            if credentials.username == "agent001" {
                let targets = ["sip:127.0.0.1:5070;transport=tcp", "sip:1000@127.0.0.1"];
                let mut digest = digest();
                assert_eq!(digest.check(&credentials, method, &targets, SOURCE, at(1)), Verdict::Stale, "{header}");
            }
        }
    }

    #[test]
    fn any_order_spacing_and_quoting_is_read() {
        let plain = Credentials::parse(
            "Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:h\", response=\"0\", algorithm=MD5, cnonce=\"c\", qop=auth, nc=00000001",
        )
        .expect("credentials");
        for text in [
            "  DIGEST\tnc = 00000001 ,QOP=\"auth\",cnonce=\"c\"  , ,response = \"0\",uri=\"sip:h\",nonce=n,realm=\"r\",\tusername=\"\\a\",Algorithm=\"MD5\",",
            "digest username=a,realm=r,nonce=n,uri=sip:h,response=0,algorithm=MD5,cnonce=c,qop=auth,nc=00000001",
        ] {
            assert!(Credentials::parse(text).as_ref() == Some(&plain), "{text}");
        }
        for text in [
            "",
            "Basic YTpi",
            "NoOneKnows x=y",
            "Digest",
            "Digestive username=a",
            "Digest username=\"a",
            "Digest username=\"a\" realm=\"r\"",
            "Digest username=a,username=b,realm=r,nonce=n,uri=sip:h,response=0",
            "Digest =a,realm=r,nonce=n,uri=sip:h,response=0",
            "Digest username,realm=r,nonce=n,uri=sip:h,response=0",
            "Digest username=a,realm=r,nonce=n,uri=sip:h",
        ] {
            assert!(Credentials::parse(text).is_none(), "{text}");
        }
        let long = format!("Digest {}", (0..100).map(|n| format!("x{n}=y,")).collect::<String>());
        assert!(Credentials::parse(&long).is_none());
    }

    #[test]
    fn a_right_answer_counts_once() {
        let mut digest = digest();
        let mut answer = Answer::to(&mut digest, at(5));
        assert_eq!(answer.check(&mut digest, at(6)), AUTHENTIC);
        assert_eq!(answer.check(&mut digest, at(6)), Verdict::Stale);
        // PJSIP counts on; a number that was passed over is gone.
        answer.nc = 10;
        assert_eq!(answer.check(&mut digest, at(7)), AUTHENTIC);
        answer.nc = 9;
        assert_eq!(answer.check(&mut digest, at(7)), Verdict::Stale);
        // baresip begins again with another cnonce.
        (answer.cnonce, answer.nc) = ("another", 1);
        assert_eq!(answer.check(&mut digest, at(7)), AUTHENTIC);
        assert_eq!(answer.check(&mut digest, at(7)), Verdict::Stale);
        answer.algorithm = DigestAlgorithm::Md5;
        assert_eq!(answer.check(&mut digest, at(7)), Verdict::Stale);
        answer.nc = 0x0a;
        assert_eq!(answer.check(&mut digest, at(7)), AUTHENTIC);
    }

    #[test]
    fn a_nonce_lives_for_its_time_and_for_its_address() {
        let mut digest = digest();
        let answer = Answer::to(&mut digest, at(5));
        assert_eq!(answer.check(&mut digest, at(5) + NONCE_LIFETIME + Duration::from_millis(1)), Verdict::Stale);
        let elsewhere = "192.0.2.8".parse().expect("an address");
        let credentials = answer.credentials();
        assert_eq!(digest.check(&credentials, "REGISTER", &[TARGET], elsewhere, at(5)), Verdict::Stale);
        let mapped = "::ffff:192.0.2.7".parse().expect("an address");
        assert_eq!(digest.check(&credentials, "REGISTER", &[TARGET], mapped, at(5) + NONCE_LIFETIME), AUTHENTIC);
        // A wrong answer is never stale, which would tell that it was right.
        let wrong = Answer { password: "x", nonce: "n0nce".into(), ..answer.clone() };
        assert_eq!(wrong.check(&mut digest, at(5)), Verdict::Wrong { proven: false });
        let late = Answer { password: "x", ..answer };
        assert_eq!(late.check(&mut digest, at(500)), WRONG);
    }

    #[test]
    fn time_wraps_after_49_days() {
        let mut digest = digest();
        let late = Instant::from_millis((1 << 32) - 1000);
        let answer = Answer::to(&mut digest, late);
        assert_eq!(answer.check(&mut digest, late + Duration::from_secs(2)), AUTHENTIC);
    }

    #[test]
    fn what_is_wrong_is_wrong() {
        let mut digest = digest();
        let right = Answer::to(&mut digest, at(5));
        for wrong in [
            Answer { password: "password124", ..right.clone() },
            Answer { user: "nobody", ..right.clone() },
            Answer { method: "INVITE", ..right.clone() },
            Answer { uri: "sip:evil.example", ..right.clone() },
            Answer { uri: "sip:other@127.0.0.1:5070", ..right.clone() },
            Answer { uri: "", ..right.clone() },
            Answer { cnonce: "", ..right.clone() },
        ] {
            assert_eq!(wrong.check(&mut digest, at(5)), WRONG);
        }
        let nobody = Credentials { username: "nobody".into(), ..right.credentials() };
        let nobody =
            Credentials { response: nobody.expected(DigestAlgorithm::Sha256, "interop", "REGISTER"), ..nobody };
        let spoil = |change: &dyn Fn(&mut Credentials)| {
            let mut credentials = right.credentials();
            change(&mut credentials);
            // A matching response, so that nothing but the change is wrong.
            let ha1 = DigestAlgorithm::Sha256.hash(&["agent001", "interop", "password123"]);
            credentials.response = credentials.expected(DigestAlgorithm::Sha256, &ha1, "REGISTER");
            credentials
        };
        for credentials in [
            nobody,
            spoil(&|c| c.algorithm = Some("SHA-256-sess".into())),
            spoil(&|c| c.algorithm = Some("SHA-512-256".into())),
            spoil(&|c| c.qop = Some("auth-int".into())),
            spoil(&|c| c.qop = None),
            spoil(&|c| c.nc = None),
            spoil(&|c| c.nc = Some("1".into())),
            spoil(&|c| c.nc = Some("+0000001".into())),
            spoil(&|c| c.cnonce = None),
            Credentials { response: String::new(), ..right.credentials() },
        ] {
            assert_eq!(digest.check(&credentials, "REGISTER", &[TARGET], SOURCE, at(5)), WRONG);
        }
        assert_eq!(right.check(&mut digest, at(5)), AUTHENTIC);
    }

    #[test]
    fn what_was_not_offered_is_not_taken() {
        let accounts = vec![Account::with_password("agent001", "interop", "password123")];
        let algorithms = vec![DigestAlgorithm::Sha256];
        let settings = config::Sip { accounts, algorithms, realm: "interop".into(), ..config::Sip::default() };
        let mut digest = Digest::new(&settings, &mut fastrand::Rng::with_seed(3));
        assert_eq!(digest.challenge(SOURCE, false, at(1)).len(), 1);
        let answer = Answer { algorithm: DigestAlgorithm::Md5, ..Answer::to(&mut digest, at(1)) };
        assert_eq!(answer.check(&mut digest, at(1)), WRONG);
    }

    #[test]
    fn a_user_name_is_what_its_escapes_mean() {
        let mut digest = digest();
        let answer = Answer { user: "quo\"te", password: "p", ..Answer::to(&mut digest, at(1)) };
        let header = format!(
            "Digest username=\"quo\\\"te\",realm=\"interop\",nonce=\"{}\",uri=\"{TARGET}\",response=\"{}\",algorithm=SHA-256,cnonce=\"{}\",nc=00000001,qop=auth",
            answer.nonce,
            answer.credentials().response,
            answer.cnonce
        );
        let credentials = Credentials::parse(&header).expect("credentials");
        let verdict = digest.check(&credentials, "REGISTER", &[TARGET], SOURCE, at(1));
        assert_eq!(verdict, Verdict::Authentic { user: "quo\"te" });
    }

    #[test]
    fn the_challenge_is_the_strongest_first_and_new_each_time() {
        let mut digest = digest();
        let first = digest.challenge(SOURCE, false, at(1));
        assert!(first[0].contains("algorithm=SHA-256") && first[1].contains("algorithm=MD5"), "{first:?}");
        assert!(first.iter().all(|value| value.starts_with("Digest realm=\"interop\",nonce=\"") && value.len() < 110));
        assert!(!first[0].contains("stale"));
        let second = digest.challenge(SOURCE, true, at(1));
        assert!(second.iter().all(|value| value.ends_with(",stale=true")) && first[1] != second[1]);
    }

    #[test]
    fn memory_of_used_nonces_is_bounded_and_forgets_nothing_that_counts() {
        let mut digest = digest();
        let first = Answer::to(&mut digest, at(1));
        assert_eq!(first.check(&mut digest, at(1)), AUTHENTIC);
        for n in 0..ANSWERED_MAX {
            let now = at(2) + Duration::from_millis(n as u64);
            assert_eq!(Answer::to(&mut digest, now).check(&mut digest, now), AUTHENTIC);
        }
        assert_eq!(digest.nonces.answered.len(), ANSWERED_MAX);
        assert_eq!(Answer { nc: 2, ..first }.check(&mut digest, at(7)), Verdict::Stale);
        let later = at(20) + NONCE_LIFETIME;
        assert_eq!(Answer::to(&mut digest, later).check(&mut digest, later), AUTHENTIC);
        assert_eq!(digest.nonces.answered.len(), 1);
        let answer = Answer::to(&mut digest, later);
        for cnonce in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            assert_eq!(Answer { cnonce, ..answer.clone() }.check(&mut digest, later), AUTHENTIC);
        }
        assert_eq!(Answer { cnonce: "i", ..answer }.check(&mut digest, later), Verdict::Stale);
    }
}
