//! The keys of SRTP in a description: `a=crypto` lines read, one chosen, ours written (RFC 4568).
//!
//! Whoever reads the description has the keys: SDES is as secret as the signalling. A line is taken if nothing in it asks for
//! what we do not do; of those that are, the offerer's first.

use super::Error;
use super::description::Media;
use crate::config;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::fmt;
use zeroize::Zeroize;

/// Audio that is not encrypted, or is where the other side can (RFC 3551).
pub const AVP: &str = "RTP/AVP";
/// Audio that is encrypted (RFC 3711).
pub const SAVP: &str = "RTP/SAVP";
/// The same, where RTCP may come early (RFC 5124); nobody has to send any of its feedback.
const SAVPF: &str = "RTP/SAVPF";
/// Bytes of the longest master key with its salt.
const KEY_LEN_MAX: usize = 46;
/// Digits of a tag (RFC 4568 §9.1).
const TAG_DIGITS_MAX: usize = 9;
/// The longest life of an SRTP key, as a power of two (RFC 3711 §9.2).
const LIFETIME_POWER_MAX: u32 = 48;
/// The least window size hint that may be given (RFC 4568 §6.3.6).
const WINDOW_MIN: u32 = 64;

/// Base64 with its padding, or, as some phones write it, without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How packets are protected (RFC 4568 §6.2, RFC 6188 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// AES-128, tags of 80 bits.
    AesCm128Sha80,
    /// AES-128, SRTP tags of 32 bits.
    AesCm128Sha32,
    /// AES-256, tags of 80 bits.
    Aes256CmSha80,
    /// AES-256, SRTP tags of 32 bits.
    Aes256CmSha32,
}

impl Suite {
    /// Every suite that we speak, in the order of our own offers: first the one that every phone with SRTP has.
    pub const ALL: [Self; 4] = [Self::AesCm128Sha80, Self::Aes256CmSha80, Self::AesCm128Sha32, Self::Aes256CmSha32];

    /// Returns its registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.names()[0]
    }

    /// Its registered name, and the one that drafts of RFC 6188 gave it.
    const fn names(self) -> [&'static str; 2] {
        match self {
            Self::AesCm128Sha80 => ["AES_CM_128_HMAC_SHA1_80"; 2],
            Self::AesCm128Sha32 => ["AES_CM_128_HMAC_SHA1_32"; 2],
            Self::Aes256CmSha80 => ["AES_256_CM_HMAC_SHA1_80", "AES_CM_256_HMAC_SHA1_80"],
            Self::Aes256CmSha32 => ["AES_256_CM_HMAC_SHA1_32", "AES_CM_256_HMAC_SHA1_32"],
        }
    }

    /// Returns the bytes of a master key with its salt.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCm128Sha80 | Self::AesCm128Sha32 => 30,
            Self::Aes256CmSha80 | Self::Aes256CmSha32 => KEY_LEN_MAX,
        }
    }

    /// Finds a suite and the name that it is called by.
    fn of_name(name: &str) -> Option<(Self, &'static str)> {
        let called = |suite: Self| suite.names().into_iter().find(|own| own.eq_ignore_ascii_case(name));
        Self::ALL.into_iter().find_map(|suite| Some((suite, called(suite)?)))
    }
}

/// A source of bytes that nobody can guess; `false` where it has none. It is handed in, since this folder asks no system.
pub type Random = fn(&mut [u8]) -> bool;

/// A master key with its salt behind it. It is wiped when it goes, and prints as its length.
#[derive(Clone)]
pub struct Key {
    bytes: [u8; KEY_LEN_MAX],
    len: usize,
}

impl Key {
    /// Makes a key of `suite`'s length; `None` where there is no randomness to be had.
    fn random(suite: Suite, random: Random) -> Option<Self> {
        let mut key = Self { bytes: [0; KEY_LEN_MAX], len: suite.key_len() };
        random(key.bytes.get_mut(..key.len)?).then_some(key)
    }

    /// Reads base64; `None` where it is none, or not of `suite`'s length.
    fn parse(suite: Suite, text: &str) -> Option<Self> {
        // One byte more, so that a key that is too long is seen to be.
        let mut bytes = [0; KEY_LEN_MAX + 2];
        let len = BASE64.decode_slice(text, &mut bytes).ok().filter(|len| *len == suite.key_len());
        let key = len.and_then(|len| Some(Self { bytes: *bytes.first_chunk()?, len }));
        bytes.zeroize();
        key
    }

    /// Returns key and salt.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl Drop for Key {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<key of {} bytes>", self.len)
    }
}

/// What both sides agree upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// How packets are protected, both ways.
    pub suite: Suite,
    /// The key that we send with.
    pub ours: Key,
    /// The key that the peer sends with.
    pub theirs: Key,
}

/// One `a=crypto` line that we could take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    /// Its number, by which an answer names it.
    pub tag: u32,
    /// The suite.
    pub suite: Suite,
    /// What the suite is called here.
    name: &'static str,
    /// The key that its side sends with.
    pub key: Key,
}

impl Crypto {
    /// Makes a line of our own.
    #[must_use]
    pub const fn new(tag: u32, suite: Suite, key: Key) -> Self {
        Self { tag, suite, name: suite.name(), key }
    }

    /// Returns the line that answers this one: its number and name, and our key.
    #[must_use]
    pub fn answered(&self, keys: &Keys) -> Self {
        Self { key: keys.ours.clone(), ..*self }
    }
}

impl fmt::Display for Crypto {
    /// Writes the line's value, key and all: for the description only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 4 * KEY_LEN_MAX.div_ceil(3)];
        let len = BASE64.encode_slice(self.key.as_bytes(), &mut text).map_err(|_| fmt::Error)?;
        let key = text.get(..len).and_then(|text| std::str::from_utf8(text).ok()).ok_or(fmt::Error)?;
        write!(f, "{} {} inline:{key}", self.tag, self.name)?;
        text.zeroize();
        Ok(())
    }
}

/// The `a=crypto` lines of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cryptos {
    /// Those that we could take, in order.
    pub lines: Vec<Crypto>,
    /// The number of every line, also of those that we could not.
    tags: Vec<u32>,
    /// Whether one breaks the grammar, has the number of another, or a key that its suite cannot have: then none is
    /// trusted.
    pub malformed: bool,
}

impl Cryptos {
    /// Makes the lines of a description of ours.
    #[must_use]
    pub fn of(lines: Vec<Crypto>) -> Self {
        Self { tags: lines.iter().map(|line| line.tag).collect(), lines, malformed: false }
    }

    /// Takes a line.
    pub(super) fn read(&mut self, value: &str) {
        let mut words = value.split_ascii_whitespace();
        let digits = words.next().unwrap_or_default();
        let is_tag = digits.len() <= TAG_DIGITS_MAX && digits.bytes().all(|b| b.is_ascii_digit());
        let tag = digits.parse().ok().filter(|tag| is_tag && !self.tags.contains(tag));
        let (Some(tag), Some(suite), Some(parameters)) = (tag, words.next(), words.next()) else {
            self.malformed = true;
            return;
        };
        self.tags.push(tag);
        // A suite that is not ours has parameters of its own.
        let Some((suite, name)) = Suite::of_name(suite) else { return };
        match read_key(suite, parameters) {
            Ok(Some(key)) if words.all(is_acceptable) => self.lines.push(Crypto { tag, suite, name, key }),
            Ok(_) => {}
            Err(Malformed) => self.malformed = true,
        }
    }
}

/// It breaks the grammar.
struct Malformed;

/// Reads `inline:KEY|LIFETIME|MKI:LENGTH`; `None` where there is a master key index, and so maybe several keys: a line that is
/// in order, and not for us.
fn read_key(suite: Suite, parameters: &str) -> Result<Option<Key>, Malformed> {
    let (first, others) = parameters.split_once(';').map_or((parameters, None), |(first, rest)| (first, Some(rest)));
    let (method, info) = first.split_once(':').ok_or(Malformed)?;
    if !method.eq_ignore_ascii_case("inline") {
        return Err(Malformed);
    }
    let mut fields = info.split('|');
    let key = Key::parse(suite, fields.next().unwrap_or_default()).ok_or(Malformed)?;
    let mut has_mki = false;
    for (at, field) in fields.enumerate() {
        match field.split_once(':') {
            Some((mki, length)) if !has_mki => {
                let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                has_mki = digits(mki) && digits(length);
                if !has_mki {
                    return Err(Malformed);
                }
            }
            // A shorter life than the longest is for its own sender to keep to.
            None if at == 0 && is_lifetime(field) => {}
            _ => return Err(Malformed),
        }
    }
    Ok((!has_mki && others.is_none()).then_some(key))
}

/// Whether `text` is a number of packets within the life of a key: `2^20` or decimal.
fn is_lifetime(text: &str) -> bool {
    match text.strip_prefix("2^") {
        Some(power) => power.parse().is_ok_and(|power: u32| power <= LIFETIME_POWER_MAX),
        None => text.parse().is_ok_and(|packets: u64| packets > 0 && packets <= 1 << LIFETIME_POWER_MAX),
    }
}

/// Whether a session parameter (RFC 4568 §6.3) asks for nothing that we do not do. One with a `-` may be ignored; to leave
/// encryption or signing out would make the keys a sham, and another key derivation rate or order of error correction is none of
/// ours.
fn is_acceptable(parameter: &str) -> bool {
    let window = parameter.strip_prefix("WSH=").map(str::parse);
    parameter.starts_with('-') || window.is_some_and(|size| size.is_ok_and(|size: u32| size >= WINDOW_MIN))
}

/// Chooses the line of an offered stream to take: `None` is without encryption.
///
/// # Errors
/// [`Error::Transport`] for one that is not ours, [`Error::Crypto`] where it has to be encrypted and none of its lines can be
/// taken, [`Error::Unencrypted`] where we insist and it does not offer.
pub(super) fn choose(mode: config::Srtp, media: &Media) -> Result<Option<&Crypto>, Error> {
    let is = |transport: &str| media.transport.eq_ignore_ascii_case(transport);
    let cryptos = &media.cryptos;
    let first = cryptos.lines.first().filter(|_| !cryptos.malformed);
    match mode {
        config::Srtp::Off if is(AVP) => Ok(None),
        config::Srtp::Optional if is(AVP) => Ok(first),
        config::Srtp::Mandatory if is(AVP) => first.ok_or(Error::Unencrypted).map(Some),
        config::Srtp::Optional | config::Srtp::Mandatory if is(SAVP) || is(SAVPF) => {
            first.ok_or(Error::Crypto).map(Some)
        }
        _ => Err(Error::Transport),
    }
}

/// One side's keys over the offers and answers of a call.
#[derive(Clone, Debug)]
pub struct Keyring {
    /// Whether a call is encrypted.
    pub mode: config::Srtp,
    random: Random,
    /// What is agreed upon.
    pub keys: Option<Keys>,
}

impl Keyring {
    /// Makes one that agrees to what `mode` allows.
    #[must_use]
    pub const fn new(mode: config::Srtp, random: Random) -> Self {
        Self { mode, random, keys: None }
    }

    /// Returns the keys for a stream whose line is taken: ours is a fresh one, unless the peer's is the one that it was.
    ///
    /// # Errors
    /// [`Error::Crypto`] where there is no randomness to be had.
    pub(super) fn keys_for(&self, theirs: &Crypto) -> Result<Keys, Error> {
        let same = |keys: &&Keys| keys.suite == theirs.suite && keys.theirs == theirs.key;
        if let Some(keys) = self.keys.as_ref().filter(same) {
            return Ok(keys.clone());
        }
        let ours = Key::random(theirs.suite, self.random).ok_or(Error::Crypto)?;
        Ok(Keys { suite: theirs.suite, ours, theirs: theirs.key.clone() })
    }

    /// Returns the transport and the lines of our own offer. A call that is encrypted stays so, with the key that it has. One
    /// that is not yet agreed upon is offered encryption only where we insist: an INVITE without an offer says nothing of what
    /// its phone can do, and most refuse `RTP/SAVP`, or an `RTP/AVP` with keys, for want of it.
    pub(super) fn offer(&self, transport: Option<&str>) -> (String, Cryptos) {
        if let Some(keys) = &self.keys {
            let line = Crypto::new(1, keys.suite, keys.ours.clone());
            return (transport.unwrap_or(SAVP).into(), Cryptos::of(vec![line]));
        }
        if self.mode != config::Srtp::Mandatory {
            return (AVP.into(), Cryptos::default());
        }
        let line = |(tag, suite)| Some(Crypto::new(tag, suite, Key::random(suite, self.random)?));
        (SAVP.into(), Cryptos::of((1..).zip(Suite::ALL).filter_map(line).collect()))
    }

    /// Returns the keys that the `answer` to our `offered` stream makes.
    ///
    /// # Errors
    /// [`Error::NotAnAnswer`] where it takes no line that we offered, and has to.
    pub(super) fn accept(&self, offered: &Media, answer: &Media) -> Result<Option<Keys>, Error> {
        let cryptos = &answer.cryptos;
        let has_to = !offered.transport.eq_ignore_ascii_case(AVP) || self.mode == config::Srtp::Mandatory;
        let line = cryptos.lines.first().filter(|_| !cryptos.malformed);
        let same = |ours: &&Crypto| line.is_some_and(|line| (line.tag, line.suite) == (ours.tag, ours.suite));
        match (offered.cryptos.lines.iter().find(same), line) {
            (Some(ours), Some(theirs)) => {
                Ok(Some(Keys { suite: ours.suite, ours: ours.key.clone(), theirs: theirs.key.clone() }))
            }
            _ if has_to || cryptos.malformed => Err(Error::NotAnAnswer),
            _ => Ok(None),
        }
    }
}

/// A call that is never encrypted.
impl Default for Keyring {
    fn default() -> Self {
        Self::new(config::Srtp::Off, |_| false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of RFC 4568 §6.1's examples are of these lengths: 30 and 46 bytes.
    const SHORT: &str = "uVRFzqNsixRG86J5vjw/V6+xFBgFrmqhT5szfsFi";
    const LONG: &str = "auOlaP9LnffeQBEddVNDIN9h5XKUlkPN9I7NN6OX9coEArlitMLNGv4LUqnnBg==";

    fn read(lines: &[&str]) -> Cryptos {
        let mut cryptos = Cryptos::default();
        lines.iter().for_each(|line| cryptos.read(line));
        cryptos
    }

    fn tags(lines: &[&str]) -> Vec<u32> {
        let cryptos = read(lines);
        assert!(!cryptos.malformed, "{lines:?}");
        cryptos.lines.iter().map(|line| line.tag).collect()
    }

    #[test]
    fn what_is_read_is_written() {
        for (suite, key) in [
            ("AES_CM_128_HMAC_SHA1_80", SHORT),
            ("AES_CM_128_HMAC_SHA1_32", SHORT),
            ("AES_256_CM_HMAC_SHA1_80", LONG),
            ("AES_256_CM_HMAC_SHA1_32", LONG),
            ("AES_CM_256_HMAC_SHA1_80", LONG),
        ] {
            let line = format!("3 {suite} inline:{key}");
            let cryptos = read(&[&line]);
            assert_eq!(cryptos.lines[0].to_string(), line);
            assert_eq!(cryptos.lines[0].key.as_bytes().len(), cryptos.lines[0].suite.key_len());
        }
    }

    #[test]
    fn padding_may_be_left_out_and_case_means_nothing() {
        let bare = LONG.trim_end_matches('=');
        assert_eq!(tags(&[&format!("1 aes_256_cm_hmac_sha1_80 INLINE:{bare}")]), [1]);
    }

    #[test]
    fn lifetime_is_read_and_a_master_key_index_is_not_for_us() {
        let line = |rest: &str| format!("1 AES_CM_128_HMAC_SHA1_80 inline:{SHORT}{rest}");
        for fits in ["", "|2^20", "|2^48", "|1000", " WSH=64", " WSH=1024 -FOO=1", " -BAR", "|2^31 WSH=128"] {
            assert_eq!(tags(&[&line(fits)]), [1], "{fits}");
        }
        let two = format!(";inline:{SHORT}|2^20|2:4");
        for skipped in ["|2^20|1:4", "|1:4", &format!("|2^20|1:4{two}"), &two, " KDR=1", " UNENCRYPTED_SRTP"] {
            assert!(tags(&[&line(skipped)]).is_empty(), "{skipped}");
        }
        for skipped in
            [" UNENCRYPTED_SRTCP", " UNAUTHENTICATED_SRTP", " FEC_ORDER=FEC_SRTP", " WSH=63", " WSH=x", " NEW=1"]
        {
            assert!(tags(&[&line(skipped)]).is_empty(), "{skipped}");
        }
        for wrong in ["|", "|0", "|2^49", "|2^", "|x", "|2^20|2^20", "|2^20|1:4|1:4", "|2^20|:4", "|1:x", "|1:4|2^20"] {
            assert!(read(&[&line(wrong)]).malformed, "{wrong}");
        }
    }

    #[test]
    fn lines_that_break_the_grammar_are_not_trusted() {
        for wrong in [
            String::new(),
            "1".into(),
            "1 AES_CM_128_HMAC_SHA1_80".into(),
            format!("x AES_CM_128_HMAC_SHA1_80 inline:{SHORT}"),
            format!("-1 AES_CM_128_HMAC_SHA1_80 inline:{SHORT}"),
            format!("+1 AES_CM_128_HMAC_SHA1_80 inline:{SHORT}"),
            format!("1234567890 AES_CM_128_HMAC_SHA1_80 inline:{SHORT}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{LONG}"),
            format!("1 AES_256_CM_HMAC_SHA1_80 inline:{SHORT}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{SHORT}AAAA"),
            format!("1 AES_256_CM_HMAC_SHA1_80 inline:{}", "A".repeat(900)),
            "1 AES_CM_128_HMAC_SHA1_80 inline:".into(),
            "1 AES_CM_128_HMAC_SHA1_80 inline:!!!!".into(),
            format!("1 AES_CM_128_HMAC_SHA1_80 {SHORT}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 uri:{SHORT}"),
        ] {
            assert!(read(&[&wrong]).malformed, "{wrong:?}");
        }
        let line = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{SHORT}");
        assert!(read(&[&line, &line]).malformed, "one number for two");
        assert!(read(&["1 AEAD_AES_128_GCM inline:x", &line]).malformed, "one number for two, and one is unknown");
    }

    #[test]
    fn suites_of_others_are_skipped() {
        let ours = format!("2 AES_CM_128_HMAC_SHA1_32 inline:{SHORT}");
        assert_eq!(tags(&["1 AEAD_AES_256_GCM inline:x", &ours, "3 F8_128_HMAC_SHA1_80 inline:y"]), [2]);
    }

    #[test]
    fn a_key_prints_as_its_length_and_is_wiped() {
        let cryptos = read(&[&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{SHORT}")]);
        let shown = format!("{cryptos:?}");
        assert!(shown.contains("<key of 30 bytes>") && !shown.contains("uVRF"), "{shown}");
    }

    #[test]
    fn any_line_is_read_without_harm() {
        let mut rng = fastrand::Rng::with_seed(1);
        let valid = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{SHORT}|2^20|1:4;inline:{SHORT}|2^20|2:4 KDR=2 WSH=64");
        for _ in 0..20_000 {
            let mut bytes = valid.clone().into_bytes();
            for _ in 0..rng.usize(1..6) {
                let at = rng.usize(..bytes.len());
                match rng.u8(..3) {
                    0 => bytes[at] = rng.u8(32..127),
                    1 if bytes.len() > 1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, *rng.choice(b"|:;= 0^").expect("there are some")),
                }
            }
            let cryptos = read(&[&String::from_utf8(bytes).expect("ASCII")]);
            assert!(cryptos.lines.len() <= 1);
        }
    }
}
