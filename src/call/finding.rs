//! What the doctor finds, in numbers on the media path and in one sentence for people: what is wrong, and what to do.

use std::fmt;
use std::net::SocketAddr;

/// How the call's audio is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Too early to tell.
    #[default]
    Starting,
    /// It flows.
    Ok,
    /// Nothing that could be understood comes from the caller.
    Silent,
    /// The caller is heard, and does not hear.
    OneWay,
    /// Packets come, and there is no sound in them.
    Quiet,
    /// The caller holds.
    Held,
}

impl State {
    /// Returns the word that the control API shows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ok => "ok",
            Self::Silent => "silent",
            Self::OneWay => "one_way",
            Self::Quiet => "quiet",
            Self::Held => "held",
        }
    }
}

/// How a call's audio is, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audio {
    /// How it is.
    pub state: State,
    /// What is wrong, if anything is.
    pub finding: Option<Finding>,
}

/// What keeps a call without sound; its `Display` is the sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// No packet comes to our port. `described`: where the phone says it is; `rtcp`: its reports do come.
    NothingArrives { port: u16, described: Option<SocketAddr>, rtcp: bool },
    /// Audio comes from a host that the signalling does not name, and is refused.
    OtherAddress { described: Option<SocketAddr>, source: SocketAddr },
    /// Audio comes in a payload type that was not agreed upon.
    OtherPayloadType { came: u8, agreed: u8 },
    /// Two streams, or none, seem to come from the phone: SSRC or sequence changes with each packet.
    Unsteady { source: SocketAddr },
    /// Packets are as long as SRTP's, and plain RTP was agreed upon.
    Encrypted,
    /// SRTP was agreed upon, and no packet is authentic.
    NotAuthentic,
    /// A handshake (DTLS, STUN) that was not agreed upon comes in place of audio.
    Handshake,
    /// By its RTCP the phone gets none of our packets.
    HearsNothing { to: SocketAddr },
    /// The system does not send our packets.
    CannotSend { to: SocketAddr },
    /// The phone has named no address that audio may be sent to.
    NowhereToSend { described: Option<SocketAddr> },
    /// Every packet is digital silence.
    Muted,
    /// There is sound, and it is hardly more than noise: the loudest so far, in dB below overload.
    TooQuiet { dbov: i8 },
    /// Hardly anything comes, as from a phone that sends nothing while nobody speaks.
    Pauses,
    /// Audio came, and comes no more.
    Stopped,
    /// The phone has put the call on hold.
    OnHold,
    /// The phone's description says that it only listens.
    SendsNothing,
}

impl Finding {
    /// How many there are.
    pub const COUNT: usize = 16;

    /// The words that programs know them by, in the order of [`Self::index`].
    pub const NAMES: [&'static str; Self::COUNT] = [
        "nothing_arrives",
        "other_address",
        "other_payload_type",
        "unsteady",
        "encrypted",
        "not_authentic",
        "handshake",
        "hears_nothing",
        "cannot_send",
        "nowhere_to_send",
        "muted",
        "too_quiet",
        "pauses",
        "stopped",
        "on_hold",
        "sends_nothing",
    ];

    /// Returns the word that programs know it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// Returns the finding's place in an array of [`Self::COUNT`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::NothingArrives { .. } => 0,
            Self::OtherAddress { .. } => 1,
            Self::OtherPayloadType { .. } => 2,
            Self::Unsteady { .. } => 3,
            Self::Encrypted => 4,
            Self::NotAuthentic => 5,
            Self::Handshake => 6,
            Self::HearsNothing { .. } => 7,
            Self::CannotSend { .. } => 8,
            Self::NowhereToSend { .. } => 9,
            Self::Muted => 10,
            Self::TooQuiet { .. } => 11,
            Self::Pauses => 12,
            Self::Stopped => 13,
            Self::OnHold => 14,
            Self::SendsNothing => 15,
        }
    }

    /// Whether it may be no fault at all: a caller who says nothing, or means to hold.
    #[must_use]
    pub const fn may_be_meant(self) -> bool {
        matches!(self, Self::Muted | Self::TooQuiet { .. } | Self::Pauses | Self::OnHold | Self::SendsNothing)
    }
}

/// An address as a description may have it, or not.
struct Said(Option<SocketAddr>);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("no usable address"),
        }
    }
}

/// A payload type and its name, where it has a fixed one (RFC 3551 table 4).
struct PayloadType(u8);

impl fmt::Display for PayloadType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "PCMU",
            3 => "GSM",
            4 => "G723",
            8 => "PCMA",
            9 => "G722",
            18 => "G729",
            _ => return self.0.fmt(f),
        };
        write!(f, "{} ({name})", self.0)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NothingArrives { port, described, rtcp: false } => write!(
                f,
                "no audio has come to UDP port {port} (the phone says it is at {}): let the RTP ports through this machine's \
                 firewall, or set sip.advertised_address to an address that the phone can reach",
                Said(described)
            ),
            Self::NothingArrives { port, rtcp: true, .. } => write!(
                f,
                "the phone's RTCP comes, but no audio to UDP port {port}: let the even RTP ports through every firewall on the \
                 way, or choose a microphone in the phone (MicroSIP: Settings, Microphone)"
            ),
            Self::OtherAddress { described, source } => write!(
                f,
                "the phone's description says {}, but packets come from {source} and are refused: give the phone its right \
                 address (MicroSIP: Public address), or, in a network without strangers, set media.latch = \"any\"",
                Said(described)
            ),
            Self::OtherPayloadType { came, agreed } => write!(
                f,
                "the phone sends payload type {}, but {} was agreed upon: leave only PCMA and PCMU enabled in the phone \
                 (MicroSIP: Settings, Enabled codecs)",
                PayloadType(came),
                PayloadType(agreed)
            ),
            Self::Unsteady { source } => write!(
                f,
                "packets from {source} change their SSRC or sequence each time, so none is taken: end other calls or players \
                 that send to the same port"
            ),
            Self::Encrypted => f.write_str(
                "the phone seems to encrypt its audio, though plain RTP was agreed upon: set its media encryption to disabled \
                 (MicroSIP: Account, Media encryption)",
            ),
            Self::NotAuthentic => f.write_str(
                "the phone's SRTP packets fail their check: it encrypts with another key than it offered; set its media \
                 encryption to disabled (MicroSIP: Account, Media encryption) to be heard",
            ),
            Self::Handshake => f.write_str(
                "the phone begins a handshake (DTLS or ICE) that was not agreed upon in place of audio: switch ICE and DTLS-SRTP \
                 off in the phone (MicroSIP: Account, Media encryption and ICE)",
            ),
            Self::HearsNothing { to } => write!(
                f,
                "the caller is heard but hears nothing: the phone reports that our packets to {to} do not arrive; let UDP through \
                 the firewall at its side, or give the phone its right address (MicroSIP: Public address)"
            ),
            Self::CannotSend { to } => {
                write!(f, "the caller hears nothing: this machine cannot send to {to}; check its route and firewall")
            }
            Self::NowhereToSend { described } => write!(
                f,
                "the caller hears nothing: the phone's description says {}, where audio may not be sent; give the phone its right \
                 address (MicroSIP: Public address)",
                Said(described)
            ),
            Self::Muted => f.write_str(
                "packets come, but all of them are digital silence: the microphone is muted, or the wrong one is chosen \
                 (MicroSIP: Settings, Microphone)",
            ),
            Self::TooQuiet { dbov } => write!(
                f,
                "the loudest sound from the phone so far is {dbov} dBov, hardly more than noise: turn its microphone up, or \
                 choose another one (MicroSIP: Settings, Microphone)"
            ),
            Self::Pauses => f.write_str(
                "the phone sends next to nothing, as it does while nobody speaks: if somebody speaks, choose another microphone or \
                 switch voice detection off (MicroSIP: Settings, VAD)",
            ),
            Self::Stopped => f.write_str(
                "the caller's audio has stopped: the phone has lost its network, or a NAT or firewall has closed the way; \
                 hang up and call again",
            ),
            Self::OnHold => f.write_str("the phone has put the call on hold: press Hold again to go on"),
            Self::SendsNothing => f.write_str(
                "the phone said that it only listens (a=recvonly): hold and resume the call, or give the phone a microphone",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_one_sentence_that_fits_a_log_line() {
        let longest: SocketAddr = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".parse().expect("an address");
        let (described, source, to) = (Some(longest), longest, longest);
        let all = [
            Finding::NothingArrives { port: 65_534, described, rtcp: false },
            Finding::OtherAddress { described, source },
            Finding::OtherPayloadType { came: 127, agreed: 8 },
            Finding::Unsteady { source },
            Finding::Encrypted,
            Finding::NotAuthentic,
            Finding::Handshake,
            Finding::HearsNothing { to },
            Finding::CannotSend { to },
            Finding::NowhereToSend { described },
            Finding::Muted,
            Finding::TooQuiet { dbov: -58 },
            Finding::Pauses,
            Finding::Stopped,
            Finding::OnHold,
            Finding::SendsNothing,
        ];
        for (index, finding) in all.into_iter().enumerate() {
            let text = finding.to_string();
            assert_eq!(finding.index(), index);
            // An IPv4 address is at least 25 characters shorter than the longest IPv6 one.
            let addresses = text.matches("2001:db8").count();
            assert!(text.chars().count() - 25 * addresses < 250, "{}: {text}", text.chars().count());
            assert!(!text.contains(['\n', '.']) || text.contains("sip.advertised") || text.contains("media.latch"));
        }
    }

    #[test]
    fn addresses_that_disagree_are_both_named() {
        let described = Some("192.168.1.5:4000".parse().expect("an address"));
        let source = "10.0.0.3:4000".parse().expect("an address");
        let text = Finding::OtherAddress { described, source }.to_string();
        assert!(text.starts_with("the phone's description says 192.168.1.5:4000, but packets come from 10.0.0.3:4000"));
    }
}
