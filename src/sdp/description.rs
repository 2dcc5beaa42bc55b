//! A session description, parsed and written (RFC 8866), as far as one audio stream over RTP needs it.

use super::Error;
use super::crypto::Cryptos;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};

/// Largest body that is read. PJSIP with video, ICE and SRTP stays under 4 kB.
const BODY_LEN_MAX: usize = 16 * 1024;
/// Longest line that is read.
const LINE_LEN_MAX: usize = 1024;
/// Most `m=` lines; parsers with fixed tables have been broken by more.
const MEDIA_MAX: usize = 16;
/// Most formats of one `m=` line.
const FORMATS_MAX: usize = 64;
/// Most attributes in all.
const ATTRIBUTES_MAX: usize = 256;

/// Who sends, seen from whose description it is (RFC 8866 §6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Direction {
    /// Both.
    #[default]
    SendRecv,
    /// Only the one who says so.
    SendOnly,
    /// Only the other.
    RecvOnly,
    /// Nobody.
    Inactive,
}

impl Direction {
    /// Puts a direction together from its halves.
    #[must_use]
    pub const fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether the one who says so sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the one who says so receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// Returns the same, seen from the other side.
    #[must_use]
    pub const fn mirrored(self) -> Self {
        Self::new(self.receives(), self.sends())
    }

    /// Returns the attribute's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive].into_iter().find(|d| d.name() == name)
    }
}

/// A `c=` line, or the address of an `o=` or `a=rtcp` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// An address; `0.0.0.0` and `::` mean hold (RFC 3264 §8.4).
    Address(IpAddr),
    /// A host name, which nobody resolves.
    Name(String),
}

impl Connection {
    /// Returns the address, where it is one host's: speech is not sent to a group of them, whoever asks for it. IPv4 written
    /// as IPv6 (RFC 5118 §4.9) is IPv4.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let Self::Address(ip) = self else { return None };
        let ip = ip.to_canonical();
        let one_host = !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST);
        one_host.then_some(ip)
    }

    /// Whether it is the wildcard address of an old hold.
    #[must_use]
    pub fn is_hold(&self) -> bool {
        matches!(self, Self::Address(ip) if ip.to_canonical().is_unspecified())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let (network, family, address) = (words.next()?, words.next()?, words.next()?);
        if network != "IN" || words.next().is_some() {
            return None;
        }
        // A multicast address may carry its TTL and count (RFC 8866 §5.7).
        let address = address.split('/').next()?;
        match (family, address.parse::<IpAddr>()) {
            ("IP4", Ok(ip @ IpAddr::V4(_))) | ("IP6", Ok(ip @ IpAddr::V6(_))) => Some(Self::Address(ip)),
            ("IP4" | "IP6", Err(_)) if is_host_name(address) => Some(Self::Name(address.into())),
            _ => None,
        }
    }
}

fn is_host_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
        && text.chars().any(|c| c.is_ascii_alphabetic())
}

/// The `o=` line (RFC 8866 §5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Never changes within a call.
    pub session_id: u64,
    /// One more with each change.
    pub version: u64,
    /// Who made the description; nothing is ever sent there.
    pub address: Connection,
}

/// What a payload type stands for (`a=rtpmap`, RFC 8866 §6.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpMap {
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// The encoding's name; case means nothing.
    pub encoding: String,
    /// The clock rate in Hz.
    pub clock_rate: u32,
    /// The encoding's parameters: how many channels audio has, which is one where there are none.
    pub channels: u8,
}

/// One `m=` line and what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// `audio`, `video`, ...
    pub kind: String,
    /// The port; 0: refused, or no longer wanted.
    pub port: u16,
    /// `RTP/AVP`, ...
    pub transport: String,
    /// Payload types in the order of preference; words that mean other things in other transports.
    pub formats: Vec<String>,
    /// Its own `c=`.
    pub connection: Option<Connection>,
    /// Its own direction.
    pub direction: Option<Direction>,
    /// What its payload types stand for.
    pub rtpmaps: Vec<RtpMap>,
    /// `a=fmtp` lines, by payload type.
    pub fmtps: Vec<(u8, String)>,
    /// The packet time that its side would like to receive, in milliseconds.
    pub ptime_ms: Option<u16>,
    /// The longest packet time that its side takes.
    pub maxptime_ms: Option<u16>,
    /// RTCP's port, and its address where it has its own (RFC 3605).
    pub rtcp: Option<(u16, Option<Connection>)>,
    /// Whether RTCP may share RTP's port (RFC 5761).
    pub rtcp_mux: bool,
    /// `a=crypto` lines (RFC 4568).
    pub cryptos: Cryptos,
}

impl Media {
    /// Returns what the payload type of `format` stands for: name and clock rate, by `a=rtpmap`, or for good (RFC 3551 table
    /// 4). `None` for a dynamic one without a map, and for several channels, which are to be ignored.
    #[must_use]
    pub fn encoding_of(&self, format: &str) -> Option<(u8, &str, u32)> {
        let payload_type: u8 = format.parse().ok().filter(|pt| *pt < 128)?;
        let mapped = self.rtpmaps.iter().find(|map| map.payload_type == payload_type);
        match (mapped, payload_type) {
            (Some(map), _) => (map.channels == 1).then_some((payload_type, &map.encoding, map.clock_rate)),
            (None, 0) => Some((0, "PCMU", 8000)),
            (None, 8) => Some((8, "PCMA", 8000)),
            (None, 9) => Some((9, "G722", 8000)),
            (None, 13) => Some((13, "CN", 8000)),
            _ => None,
        }
    }
}

/// A session description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// `o=`.
    pub origin: Origin,
    /// `c=` for all media that have none of their own.
    pub connection: Option<Connection>,
    /// Direction for all media that have none of their own.
    pub direction: Option<Direction>,
    /// The `m=` lines, in order.
    pub media: Vec<Media>,
}

impl Description {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::TooLarge`]. What it does not know it skips, as RFC 8866 §5 and §5.13 want it.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        if body.len() > BODY_LEN_MAX {
            return Err(Error::TooLarge { what: "body" });
        }
        let text = String::from_utf8_lossy(body);
        let mut parser = Parser::default();
        for (line, number) in text.trim_end_matches(['\r', '\n']).split('\n').zip(1..) {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.len() > LINE_LEN_MAX {
                return Err(Error::TooLarge { what: "line" });
            }
            parser.line = number;
            parser.take(line)?;
        }
        parser.finish()
    }

    /// Returns the address that `media` is to be sent to: its own, or the session's.
    #[must_use]
    pub fn connection_of<'a>(&'a self, media: &'a Media) -> Option<&'a Connection> {
        media.connection.as_ref().or(self.connection.as_ref())
    }

    /// Returns the direction of `media`: its own, or the session's, or both ways.
    #[must_use]
    pub fn direction_of(&self, media: &Media) -> Direction {
        media.direction.or(self.direction).unwrap_or_default()
    }

    /// Writes the body, with CRLF line ends.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::with_capacity(512);
        // Writing into a String cannot fail.
        let _ = self.write(&mut text);
        text.into_bytes()
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let Origin { session_id, version, address } = &self.origin;
        write!(out, "v=0\r\no=- {session_id} {version} {address}\r\ns=-\r\n")?;
        if let Some(connection) = &self.connection {
            write!(out, "c={connection}\r\n")?;
        }
        out.write_str("t=0 0\r\n")?;
        if let Some(direction) = self.direction {
            write!(out, "a={}\r\n", direction.name())?;
        }
        self.media.iter().try_for_each(|media| media.write(out))
    }
}

impl Media {
    fn write(&self, out: &mut String) -> fmt::Result {
        write!(out, "m={} {} {}", self.kind, self.port, self.transport)?;
        self.formats.iter().try_for_each(|format| write!(out, " {format}"))?;
        out.write_str("\r\n")?;
        if let Some(connection) = &self.connection {
            write!(out, "c={connection}\r\n")?;
        }
        for RtpMap { payload_type, encoding, clock_rate, channels } in &self.rtpmaps {
            write!(out, "a=rtpmap:{payload_type} {encoding}/{clock_rate}")?;
            match channels {
                1 => write!(out, "\r\n")?,
                _ => write!(out, "/{channels}\r\n")?,
            }
        }
        for (payload_type, parameters) in &self.fmtps {
            write!(out, "a=fmtp:{payload_type} {parameters}\r\n")?;
        }
        if let Some(ptime) = self.ptime_ms {
            write!(out, "a=ptime:{ptime}\r\n")?;
        }
        if let Some(maxptime) = self.maxptime_ms {
            write!(out, "a=maxptime:{maxptime}\r\n")?;
        }
        if let Some((port, address)) = &self.rtcp {
            write!(out, "a=rtcp:{port}")?;
            if let Some(address) = address {
                write!(out, " {address}")?;
            }
            out.write_str("\r\n")?;
        }
        if self.rtcp_mux {
            out.write_str("a=rtcp-mux\r\n")?;
        }
        self.cryptos.lines.iter().try_for_each(|line| write!(out, "a=crypto:{line}\r\n"))?;
        if let Some(direction) = self.direction {
            write!(out, "a={}\r\n", direction.name())?;
        }
        Ok(())
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V4(ip)) => write!(f, "IN IP4 {ip}"),
            Self::Address(IpAddr::V6(ip)) => write!(f, "IN IP6 {ip}"),
            Self::Name(name) => write!(f, "IN IP4 {name}"),
        }
    }
}

/// What is read so far.
#[derive(Default)]
struct Parser {
    line: u16,
    attributes: usize,
    version: bool,
    subject: bool,
    time: bool,
    origin: Option<Origin>,
    connection: Option<Connection>,
    direction: Option<Direction>,
    media: Vec<Media>,
}

impl Parser {
    fn malformed(&self, what: &'static str) -> Error {
        Error::Malformed { what, line: self.line }
    }

    fn take(&mut self, line: &str) -> Result<(), Error> {
        let (kind, value) = match line.as_bytes() {
            [kind, b'=', ..] if kind.is_ascii_lowercase() => (*kind, &line[2..]),
            _ => return Err(self.malformed("line without a type")),
        };
        if value.contains(['\0', '\r']) {
            return Err(self.malformed("control character"));
        }
        if !self.version && (kind != b'v' || value.trim() != "0") {
            return Err(self.malformed("v="));
        }
        match kind {
            b'v' => self.version = true,
            b'o' => {
                let origin = Origin::parse(value).ok_or_else(|| self.malformed("o="))?;
                self.origin = Some(origin);
            }
            b's' => self.subject = true,
            b't' => self.time = true,
            b'c' => {
                let connection = Connection::parse(value).ok_or_else(|| self.malformed("c="))?;
                match self.media.last_mut() {
                    Some(media) => media.connection = Some(connection),
                    None => self.connection = Some(connection),
                }
            }
            b'm' => {
                if self.media.len() == MEDIA_MAX {
                    return Err(Error::TooLarge { what: "number of media" });
                }
                let media = Media::parse(value).ok_or_else(|| self.malformed("m="))?;
                if media.formats.len() > FORMATS_MAX {
                    return Err(Error::TooLarge { what: "number of formats" });
                }
                self.media.push(media);
            }
            b'a' => {
                self.attributes += 1;
                if self.attributes > ATTRIBUTES_MAX {
                    return Err(Error::TooLarge { what: "number of attributes" });
                }
                self.attribute(value).ok_or_else(|| self.malformed("a="))?;
            }
            // i u e p b z k r, and what is not yet invented.
            _ => {}
        }
        Ok(())
    }

    /// Takes an attribute; `None` where it is one that we know, and wrong.
    fn attribute(&mut self, value: &str) -> Option<()> {
        let (name, value) = value.split_once(':').unwrap_or((value, ""));
        let (name, value) = (name.trim(), value.trim());
        if let Some(direction) = Direction::of_name(name) {
            match self.media.last_mut() {
                Some(media) => media.direction = Some(direction),
                None => self.direction = Some(direction),
            }
            return Some(());
        }
        let Some(media) = self.media.last_mut() else { return Some(()) };
        match name {
            "rtpmap" => {
                let (payload_type, encoding) = value.split_once(' ')?;
                let mut parts = encoding.trim().split('/');
                let (encoding, clock_rate) = (parts.next()?.into(), parts.next()?.parse().ok()?);
                let payload_type = payload_type.parse().ok().filter(|pt| *pt < 128)?;
                // What is no number is no format that we have.
                let channels = parts.next().map_or(1, |channels| channels.parse().unwrap_or(0));
                media.rtpmaps.push(RtpMap { payload_type, encoding, clock_rate, channels });
            }
            // The rest is a wish: one that cannot be read is one not made.
            "ptime" => media.ptime_ms = milliseconds(value),
            "maxptime" => media.maxptime_ms = milliseconds(value),
            "rtcp-mux" => media.rtcp_mux = true,
            "crypto" => media.cryptos.read(value),
            "rtcp" => {
                let (port, address) = value.split_once(' ').unwrap_or((value, ""));
                media.rtcp = port.parse().ok().filter(|port| *port != 0).map(|port| (port, Connection::parse(address)));
            }
            _ => {}
        }
        Some(())
    }

    fn finish(self) -> Result<Description, Error> {
        if !self.subject {
            return Err(self.malformed("no s="));
        }
        if !self.time {
            return Err(self.malformed("no t="));
        }
        if self.media.iter().any(|media| media.port != 0 && media.connection.is_none()) && self.connection.is_none() {
            return Err(self.malformed("no c="));
        }
        let Some(origin) = self.origin else {
            return Err(Error::Malformed { what: "no o=", line: self.line });
        };
        Ok(Description { origin, connection: self.connection, direction: self.direction, media: self.media })
    }
}

/// Milliseconds, of which some peers write fractions.
fn milliseconds(text: &str) -> Option<u16> {
    text.split('.').next()?.parse().ok()
}

impl Origin {
    fn parse(value: &str) -> Option<Self> {
        let mut words = value.splitn(4, ' ');
        let (_user, session_id, version) = (words.next()?, words.next()?, words.next()?);
        let address = Connection::parse(words.next()?)?;
        // Numbers by the grammar, but some peers write more digits than 64 bits hold; they are only ever compared.
        let number = |text: &str| -> Option<u64> {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().unwrap_or(u64::MAX))
        };
        Some(Self { session_id: number(session_id)?, version: number(version)?, address })
    }
}

impl Media {
    fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let (kind, port, transport) = (words.next()?, words.next()?, words.next()?);
        let formats: Vec<String> = words.map(Into::into).collect();
        // A count of ports may follow (RFC 8866 §5.14); the first one is ours.
        let (port, count) = port.split_once('/').unwrap_or((port, "1"));
        if formats.is_empty() || count.parse::<u16>().is_err() || !port.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Self {
            kind: kind.into(),
            port: port.parse().ok()?,
            transport: transport.into(),
            formats,
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What MicroSIP's stack offers.
    const PJSIP: &str = "v=0\r\no=- 4004334186 4004334186 IN IP4 127.0.0.1\r\ns=pjmedia\r\nb=AS:84\r\nt=0 0\r\na=X-nat:0\r\n\
        m=audio 4000 RTP/AVP 8 0 120\r\nc=IN IP4 127.0.0.1\r\nb=TIAS:64000\r\na=rtcp:4001 IN IP4 127.0.0.1\r\na=sendrecv\r\n\
        a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:120 telephone-event/8000\r\na=fmtp:120 0-16\r\n\
        a=ssrc:96030695 cname:39b6850d72e49c4c\r\n";

    fn parse(text: &str) -> Result<Description, Error> {
        Description::parse(text.as_bytes())
    }

    fn malformed(text: &str) -> &'static str {
        match parse(text) {
            Err(Error::Malformed { what, .. }) => what,
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    #[test]
    fn only_one_host_is_an_address_to_send_to() {
        for (text, address) in [
            ("IN IP4 10.0.0.5", Some("10.0.0.5")),
            ("IN IP6 fd00::5", Some("fd00::5")),
            ("IN IP6 ::ffff:10.0.0.5", Some("10.0.0.5")),
            ("IN IP4 224.0.0.1/127/3", None),
            ("IN IP6 ff02::1", None),
            ("IN IP4 255.255.255.255", None),
            ("IN IP4 0.0.0.0", None),
            ("IN IP6 ::ffff:0.0.0.0", None),
        ] {
            let found = Connection::parse(text).expect("a connection").address();
            assert_eq!(found.map(|ip| ip.to_string()).as_deref(), address, "{text}");
        }
    }

    #[test]
    fn what_microsip_offers_is_read() {
        let description = parse(PJSIP).expect("it is well formed");
        assert_eq!(description.connection, None, "only the stream has a c=");
        let media = &description.media[0];
        assert_eq!((media.port, media.transport.as_str()), (4000, "RTP/AVP"));
        assert_eq!(media.formats, ["8", "0", "120"]);
        assert_eq!(media.encoding_of("120"), Some((120, "telephone-event", 8000)));
        assert_eq!(media.rtcp, Some((4001, Some(Connection::Address([127, 0, 0, 1].into())))));
        assert_eq!(description.direction_of(media), Direction::SendRecv);
        assert!(description.connection_of(media).is_some_and(|c| c.address() == Some([127, 0, 0, 1].into())));
    }

    #[test]
    fn bare_line_feeds_and_blank_lines_at_the_end_are_accepted() {
        assert_eq!(parse(&PJSIP.replace("\r\n", "\n")), parse(PJSIP));
        assert_eq!(parse(&format!("{PJSIP}\r\n\r\n")), parse(PJSIP));
    }

    #[test]
    fn what_is_written_is_read() {
        let description = Description {
            origin: Origin { session_id: 1, version: 2, address: Connection::Address([192, 0, 2, 1].into()) },
            connection: Some(Connection::Name("phone.example.com".into())),
            direction: Some(Direction::Inactive),
            media: vec![Media {
                kind: "audio".into(),
                port: 10_000,
                transport: "RTP/AVP".into(),
                formats: vec!["0".into(), "101".into()],
                connection: Some(Connection::Address("2001:db8::1".parse().expect("an address"))),
                direction: Some(Direction::RecvOnly),
                rtpmaps: vec![RtpMap { payload_type: 0, encoding: "PCMU".into(), clock_rate: 8000, channels: 1 }],
                fmtps: Vec::new(),
                ptime_ms: Some(20),
                maxptime_ms: Some(60),
                rtcp: Some((10_001, Some(Connection::Address([192, 0, 2, 1].into())))),
                rtcp_mux: true,
                cryptos: Cryptos::default(),
            }],
        };
        assert_eq!(Description::parse(&description.to_bytes()), Ok(description));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let without = |line: &str| PJSIP.replacen(line, "", 1);
        assert_eq!(malformed(""), "line without a type");
        assert_eq!(malformed(&without("v=0\r\n")), "v=");
        assert_eq!(malformed(&PJSIP.replacen("v=0", "v=1", 1)), "v=");
        assert_eq!(malformed(&without("o=- 4004334186 4004334186 IN IP4 127.0.0.1\r\n")), "no o=");
        assert_eq!(malformed(&without("s=pjmedia\r\n")), "no s=");
        assert_eq!(malformed(&without("t=0 0\r\n")), "no t=");
        assert_eq!(malformed(&without("c=IN IP4 127.0.0.1\r\n")), "no c=");
        for c in [
            "IN IP4",
            "ATM IP4 1.2.3.4",
            "IN IP5 1.2.3.4",
            "IN IP4 ::1",
            "IN IP6 1.2.3.4",
            "IN IP4 1.2.3.4 5",
            "IN IP4 1.2.3.444",
        ] {
            assert_eq!(malformed(&PJSIP.replacen("c=IN IP4 127.0.0.1", &format!("c={c}"), 1)), "c=", "{c}");
        }
        for m in [
            "audio",
            "audio 4000 RTP/AVP",
            "audio 70000 RTP/AVP 0",
            "audio -1 RTP/AVP 0",
            "audio +1 RTP/AVP 0",
            "audio 4000/x RTP/AVP 0",
        ] {
            assert_eq!(malformed(&PJSIP.replacen("m=audio 4000 RTP/AVP 8 0 120", &format!("m={m}"), 1)), "m=", "{m}");
        }
        assert_eq!(malformed(&PJSIP.replacen("a=rtpmap:8 PCMA/8000", "a=rtpmap:8 PCMA", 1)), "a=");
        assert_eq!(malformed(&PJSIP.replacen("o=- 4004334186", "o=- x", 1)), "o=");
        assert_eq!(malformed(&PJSIP.replacen("t=0 0\r\n", "t=0 0\r\n\r\n", 1)), "line without a type");
    }

    #[test]
    fn a_refused_stream_needs_no_connection() {
        assert!(parse("v=0\r\no=- 1 1 IN IP4 h.example\r\ns=-\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\n").is_ok());
    }

    #[test]
    fn names_multicast_and_the_wildcard_are_told_apart() {
        let connection = |text| Connection::parse(text).expect("it is one");
        assert_eq!(connection("IN IP4 phone.example.com").address(), None);
        assert_eq!(connection("IN IP4 224.2.1.1/127/3"), Connection::Address([224, 2, 1, 1].into()));
        assert!(connection("IN IP4 0.0.0.0").is_hold() && connection("IN IP4 0.0.0.0").address().is_none());
        assert!(connection("IN IP6 ::").is_hold());
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let refused = |text: String| assert!(matches!(parse(&text), Err(Error::TooLarge { .. })));
        refused(format!("{PJSIP}{}", "a=x\r\n".repeat(257)));
        refused(format!("{PJSIP}a={}\r\n", "x".repeat(1024)));
        refused(format!("{PJSIP}{}", "m=audio 0 RTP/AVP 0\r\n".repeat(16)));
        refused(format!("{PJSIP}m=audio 0 RTP/AVP{}\r\n", " 0".repeat(65)));
        refused(format!("{PJSIP}{}", "i=x\r\n".repeat(4000)));
    }

    #[test]
    fn mutated_descriptions_are_read_or_refused_and_never_more() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut bytes = PJSIP.as_bytes().to_vec();
            for _ in 0..rng.usize(1..10) {
                let at = rng.usize(..bytes.len());
                match rng.u8(..4) {
                    0 => bytes[at] = rng.u8(..),
                    1 if bytes.len() > 1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, *rng.choice(b"0:/ =\r\n9").expect("there are some")),
                    _ => bytes.truncate(at + 1),
                }
            }
            if let Ok(description) = Description::parse(&bytes) {
                let again = Description::parse(&description.to_bytes()).map(|d| d.media.len());
                assert!(again == Ok(description.media.len()), "{:?}", String::from_utf8_lossy(&bytes));
            }
        }
    }
}
