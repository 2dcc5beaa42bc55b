//! Which address this call's media come from and go to: learned from the description, the signalling and the packets.
//!
//! Whoever can make us send to them hears the call (RTP Bleed), and whoever can make us listen speaks to the agent (RTP
//! Inject). So only hosts that the signalling names may send, the best of them wins, and once one is confirmed it stays. Where
//! the call is encrypted a packet's tag says whose it is, and its address is only where to send to.
//!
//! What is left without SRTP: who sends from the peer's own host before it does, or behind the same NAT from the same address
//! and port, cannot be told from it.

use super::packet::Header;
use super::{Discard, SequenceNumber, Ssrc};
use crate::config::Latch as Policy;
use crate::time::Instant;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// For this long after the first confirmation a better candidate may still take over: early media from one address and then
/// the phone's own come within a few seconds, if at all.
const LEARNING: Duration = Duration::from_secs(5);
/// Packets in sequence that confirm a candidate which the description does not name.
const CONFIRMING_PACKETS: u8 = 4;
/// And the least time from the first of them to the last, so that a burst of guesses confirms nothing. Four packets of
/// 10 ms take 30.
const CONFIRMING_TIME: Duration = Duration::from_millis(20);
/// A candidate that is quiet for longer gives way to another.
const CANDIDATE_QUIET: Duration = Duration::from_millis(200);
/// The old address must be silent for this long before the same stream may go on from another port of the same host, as after
/// a NAT's rebinding.
const MOVE_QUIET: Duration = Duration::from_millis(1500);
/// Ports below belong to services of the host: a description that names one is out to abuse us.
const PORT_MIN: u16 = 1024;

/// What the signalling says about where media come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The address in the description; `None` where it is a host name.
    pub ip: Option<IpAddr>,
    /// The port in the description.
    pub port: u16,
    /// Where the RTCP port is, by the description.
    pub rtcp_port: u16,
    /// Where the peer's SIP comes from.
    pub signalling: IpAddr,
}

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The address.
    pub address: SocketAddr,
    /// Whether the packet's tag says that it is the peer's ([`super::srtp`]).
    pub authenticated: bool,
}

/// An address alone says nothing of who is behind it.
impl From<SocketAddr> for Source {
    fn from(address: SocketAddr) -> Self {
        Self { address, authenticated: false }
    }
}

/// How a call's media port is guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    /// Who may be taken for the peer at all.
    pub policy: Policy,
    /// Where this peer's signalling reaches us: a description that names it would have us talk to ourselves.
    pub own_sip: Option<SocketAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { policy: Policy::Signalling, own_sip: None }
    }
}

/// How good a source is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Address and port of the description.
    Described,
    /// Its address, another port.
    DescribedHost,
    /// The host that the signalling comes from, any port.
    SignallingHost,
    /// Anybody, where the settings say so or the packet is authenticated.
    Anybody,
}

#[derive(Clone, Copy, Debug)]
struct Confirmed {
    source: SocketAddr,
    rank: Rank,
    ssrc: Ssrc,
    heard: Instant,
    learning_ends: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    source: SocketAddr,
    rank: Rank,
    ssrc: Ssrc,
    next: SequenceNumber,
    packets: u8,
    since: Instant,
    heard: Instant,
}

/// Guards a call's media port.
#[derive(Clone, Debug)]
pub struct Latch {
    settings: Settings,
    expected: Expected,
    confirmed: Option<Confirmed>,
    candidate: Option<Candidate>,
    rtcp: Option<SocketAddr>,
}

impl Latch {
    /// Expects media as the signalling says.
    #[must_use]
    pub fn new(expected: Expected, settings: Settings) -> Self {
        Self { settings, expected: expected.checked(&settings), confirmed: None, candidate: None, rtcp: None }
    }

    /// Expects something else, after a re-offer. Where it is the same, what is confirmed stays.
    ///
    /// # Real-time
    /// Constant time.
    pub fn expect(&mut self, expected: Expected) {
        if self.expected != expected.checked(&self.settings) {
            *self = Self::new(expected, self.settings);
        }
    }

    /// Lets an RTP packet in, or not. `header` is its own, read before. One that is authenticated is the peer's and is let in
    /// from anywhere; we send to where it comes from once nothing has come from the address before it for a moment, so that
    /// nobody who copies packets draws ours away while they last.
    ///
    /// # Errors
    /// [`Discard::Foreign`] for a source that is not this call's, [`Discard::Unconfirmed`] for one that may yet be.
    ///
    /// # Real-time
    /// Constant time.
    pub fn admit(&mut self, source: impl Into<Source>, header: &Header, now: Instant) -> Result<(), Discard> {
        let Source { address, authenticated } = source.into();
        let source = canonical(address);
        let rank = self.rank(source).or(authenticated.then_some(Rank::Anybody));
        if let Some(confirmed) = &mut self.confirmed {
            if confirmed.source == source {
                confirmed.heard = now;
                confirmed.ssrc = header.ssrc;
                return Ok(());
            }
            let same_stream = confirmed.source.ip() == source.ip() && confirmed.ssrc == header.ssrc;
            let quiet = now.since(confirmed.heard);
            if same_stream && quiet > MOVE_QUIET || authenticated && quiet > CANDIDATE_QUIET {
                confirmed.source = source;
                confirmed.heard = now;
                confirmed.ssrc = header.ssrc;
                return Ok(());
            }
            let better = now < confirmed.learning_ends && rank.is_some_and(|rank| rank < confirmed.rank);
            if !better {
                return if authenticated { Ok(()) } else { Err(Discard::Foreign) };
            }
        }
        let rank = rank.ok_or(Discard::Foreign)?;
        if rank != Rank::Described && !authenticated && !self.try_out(source, rank, header, now) {
            return Err(Discard::Unconfirmed);
        }
        let learning_ends = self.confirmed.map_or(now + LEARNING, |confirmed| confirmed.learning_ends);
        self.confirmed = Some(Confirmed { source, rank, ssrc: header.ssrc, heard: now, learning_ends });
        self.candidate = None;
        Ok(())
    }

    /// Whether `source` is the peer's host, or may yet turn out to be it.
    ///
    /// # Real-time
    /// Constant time.
    #[must_use]
    pub fn is_plausible(&self, source: SocketAddr) -> bool {
        let source = canonical(source);
        match &self.confirmed {
            Some(confirmed) => confirmed.source.ip() == source.ip(),
            None => self.rank(source).is_some(),
        }
    }

    fn guess(&self, port: u16) -> Option<SocketAddr> {
        self.expected.guess(port).filter(|guess| Some(*guess) != self.settings.own_sip.map(canonical))
    }

    fn rank(&self, source: SocketAddr) -> Option<Rank> {
        let rank = self.expected.rank(source);
        match self.settings.policy {
            Policy::Sdp => rank.filter(|rank| *rank <= Rank::DescribedHost),
            Policy::Signalling => rank,
            Policy::Any => rank.or(Some(Rank::Anybody)),
        }
    }

    /// Counts a packet for a candidate; true once it is confirmed.
    fn try_out(&mut self, source: SocketAddr, rank: Rank, header: &Header, now: Instant) -> bool {
        let next = SequenceNumber(header.sequence.0.wrapping_add(1));
        match &mut self.candidate {
            Some(known) if (known.source, known.ssrc, known.next) == (source, header.ssrc, header.sequence) => {
                known.next = next;
                known.packets = known.packets.saturating_add(1);
                known.heard = now;
                known.packets >= CONFIRMING_PACKETS && now.since(known.since) >= CONFIRMING_TIME
            }
            // Another source does not push a candidate out, unless it is better or the candidate has gone quiet.
            Some(known)
                if known.source != source && known.rank <= rank && now.since(known.heard) <= CANDIDATE_QUIET =>
            {
                false
            }
            candidate => {
                *candidate =
                    Some(Candidate { source, rank, ssrc: header.ssrc, next, packets: 1, since: now, heard: now });
                false
            }
        }
    }

    /// Lets an RTCP datagram in, or not: it must come from the host that RTP comes from, whatever the port, or be
    /// authenticated.
    ///
    /// # Real-time
    /// Constant time.
    pub fn admit_rtcp(&mut self, source: impl Into<Source>) -> Result<(), Discard> {
        let Source { address, authenticated } = source.into();
        let source = canonical(address);
        let admitted = match &self.confirmed {
            Some(confirmed) => confirmed.source.ip() == source.ip(),
            None => self.rank(source).is_some(),
        };
        if !admitted {
            return if authenticated { Ok(()) } else { Err(Discard::Foreign) };
        }
        self.rtcp = Some(source);
        Ok(())
    }

    /// Returns where RTP goes: to where it comes from, and until then to where the signalling lets us guess.
    #[must_use]
    pub fn destination(&self) -> Option<SocketAddr> {
        match &self.confirmed {
            Some(confirmed) => Some(confirmed.source),
            None => self.guess(self.expected.port),
        }
    }

    /// Returns where RTCP goes, for a peer that has it on a port of its own.
    #[must_use]
    pub fn rtcp_destination(&self) -> Option<SocketAddr> {
        match (&self.confirmed, self.rtcp) {
            (Some(confirmed), Some(rtcp)) if rtcp.ip() == confirmed.source.ip() => Some(rtcp),
            (Some(confirmed), _) => Some(SocketAddr::new(confirmed.source.ip(), self.expected.rtcp_port)),
            (None, Some(rtcp)) => Some(rtcp),
            (None, None) => self.guess(self.expected.rtcp_port),
        }
    }

    /// Whether a source is confirmed.
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        self.confirmed.is_some()
    }
}

impl Expected {
    /// Takes out what no honest description says.
    fn checked(self, settings: &Settings) -> Self {
        let signalling = self.signalling.to_canonical();
        let ip = self.ip.map(|ip| ip.to_canonical());
        let ourselves = |ip: &IpAddr| settings.own_sip.map(canonical) == Some(SocketAddr::new(*ip, self.port));
        let ip = ip.filter(|ip| is_sendable(*ip, signalling) && !ourselves(ip));
        Self { ip, signalling, ..self }
    }

    fn rank(&self, source: SocketAddr) -> Option<Rank> {
        if Some(source.ip()) == self.ip {
            Some(if source.port() == self.port { Rank::Described } else { Rank::DescribedHost })
        } else if source.ip() == self.signalling {
            Some(Rank::SignallingHost)
        } else {
            None
        }
    }

    /// The best guess before anything came. A private address that is not of the network that the signalling comes from (a
    /// phone behind a NAT, in a virtual machine, on this very machine) gives way to the address that it does come from. A PBX
    /// whose media have a host of their own in its network keeps it.
    fn guess(&self, port: u16) -> Option<SocketAddr> {
        if port < PORT_MIN {
            return None;
        }
        let is_reachable = |ip: &IpAddr| match private_network(*ip) {
            _ if self.signalling.is_loopback() => ip.is_loopback(),
            Some(network) => private_network(self.signalling) == Some(network),
            None => true,
        };
        Some(SocketAddr::new(self.ip.filter(is_reachable).unwrap_or(self.signalling), port))
    }
}

fn canonical(source: SocketAddr) -> SocketAddr {
    SocketAddr::new(source.ip().to_canonical(), source.port())
}

/// Whether a peer that signals from `signalling` may name `ip`: our own machine's services, a whole network or nobody are not
/// to be sent to.
fn is_sendable(ip: IpAddr, signalling: IpAddr) -> bool {
    let special = match ip {
        IpAddr::V4(ip) => ip.is_broadcast() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(ip.is_unspecified() || ip.is_multicast() || special) && (!ip.is_loopback() || signalling.is_loopback())
}

/// Which private network an address is of, as far as addresses tell: RFC 1918, RFC 6598 for the NATs of providers
/// (100.64.0.0/10), RFC 4193; none for a public one.
fn private_network(ip: IpAddr) -> Option<u8> {
    match ip {
        IpAddr::V4(v4) => match v4.octets() {
            [first @ (10 | 127), ..] => Some(first),
            [172, b, ..] if b & 0xf0 == 16 => Some(172),
            [192, 168, ..] => Some(192),
            [100, b, ..] if b & 0xc0 == 64 => Some(100),
            _ => None,
        },
        IpAddr::V6(v6) => (v6.is_unique_local() || v6.is_loopback()).then_some(6),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PayloadType, RtpTimestamp};
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn latch(described: &str, signalling: &str) -> Latch {
        let described = addr(described);
        guarded(described, signalling, Settings::default())
    }

    fn guarded(described: SocketAddr, signalling: &str, settings: Settings) -> Latch {
        let expected = Expected {
            ip: Some(described.ip()),
            port: described.port(),
            rtcp_port: described.port() + 1,
            signalling: signalling.parse().expect("an address"),
        };
        Latch::new(expected, settings)
    }

    /// Sends packets `numbers` of stream `ssrc`, 20 ms apart from `ms` on; returns what became of the last one.
    fn send(latch: &mut Latch, from: &str, ssrc: u32, numbers: std::ops::Range<u16>, ms: u64) -> Result<(), Discard> {
        let mut last = Err(Discard::Foreign);
        for (n, sequence) in numbers.enumerate() {
            let header = Header {
                marker: false,
                payload_type: PayloadType(8),
                sequence: SequenceNumber(sequence),
                timestamp: RtpTimestamp(0),
                ssrc: Ssrc(ssrc),
            };
            last = latch.admit(addr(from), &header, Instant::from_millis(ms + 20 * n as u64));
        }
        last
    }

    #[test]
    fn the_described_address_is_confirmed_by_its_first_packet() {
        let mut latch = latch("198.51.100.1:4000", "198.51.100.1");
        assert_eq!(latch.destination(), Some(addr("198.51.100.1:4000")));
        assert_eq!(latch.rtcp_destination(), Some(addr("198.51.100.1:4001")));
        assert_eq!(send(&mut latch, "198.51.100.1:4000", 1, 0..1, 0), Ok(()));
        assert!(latch.is_confirmed());
    }

    #[test]
    fn the_signalling_host_is_confirmed_by_four_packets_in_sequence() {
        let mut latch = latch("192.168.1.7:4000", "198.51.100.1");
        assert_eq!(latch.destination(), Some(addr("198.51.100.1:4000")), "a private address behind a NAT");
        assert_eq!(send(&mut latch, "198.51.100.1:31000", 1, 0..3, 0), Err(Discard::Unconfirmed));
        assert_eq!(latch.destination(), Some(addr("198.51.100.1:4000")), "three are not enough");
        assert_eq!(send(&mut latch, "198.51.100.1:31000", 1, 4..7, 80), Err(Discard::Unconfirmed), "one was lost");
        assert_eq!(send(&mut latch, "198.51.100.1:31000", 1, 7..8, 140), Ok(()));
        assert_eq!(latch.destination(), Some(addr("198.51.100.1:31000")));
    }

    #[test]
    fn a_phone_on_this_machine_that_names_its_lan_address_is_heard() {
        let mut latch = latch("192.0.2.2:4000", "127.0.0.1");
        assert_eq!(latch.destination(), Some(addr("127.0.0.1:4000")));
        assert_eq!(send(&mut latch, "127.0.0.1:4000", 1, 0..4, 0), Ok(()));
        // And from the address that it named, within the time of learning, even better.
        assert_eq!(send(&mut latch, "192.0.2.2:4000", 1, 4..5, 80), Ok(()));
        assert_eq!(latch.destination(), Some(addr("192.0.2.2:4000")));
    }

    #[test]
    fn anything_else_is_never_let_in() {
        let mut latch = latch("198.51.100.1:4000", "198.51.100.1");
        assert_eq!(send(&mut latch, "203.0.113.9:4000", 1, 0..200, 0), Err(Discard::Foreign));
        assert_eq!(send(&mut latch, "198.51.100.1:4000", 1, 0..1, 0), Ok(()));
        assert_eq!(send(&mut latch, "203.0.113.9:4000", 1, 0..200, 20), Err(Discard::Foreign));
        assert_eq!(latch.destination(), Some(addr("198.51.100.1:4000")));
    }

    #[test]
    fn a_burst_of_guesses_confirms_nothing() {
        let mut latch = latch("198.51.100.1:4000", "198.51.100.1");
        for sequence in 0..50u16 {
            let at = Instant::from_nanos(u64::from(sequence) * 10_000);
            let header = Header {
                marker: false,
                payload_type: PayloadType(0),
                sequence: SequenceNumber(sequence),
                timestamp: RtpTimestamp(0),
                ssrc: Ssrc(9),
            };
            assert_eq!(latch.admit(addr("198.51.100.1:5555"), &header, at), Err(Discard::Unconfirmed));
        }
    }

    #[test]
    fn a_candidate_is_not_pushed_out_by_a_worse_or_equal_one() {
        let mut latch = latch("198.51.100.1:4000", "203.0.113.1");
        for n in 0..3u16 {
            let _ = send(&mut latch, "198.51.100.1:4444", 1, n..n + 1, u64::from(n) * 20);
            let _ = send(&mut latch, "203.0.113.1:7777", 2, n..n + 1, u64::from(n) * 20 + 1);
        }
        assert_eq!(send(&mut latch, "198.51.100.1:4444", 1, 3..4, 60), Ok(()));
        assert_eq!(send(&mut latch, "203.0.113.1:7777", 2, 3..9, 61), Err(Discard::Foreign));
    }

    #[test]
    fn the_same_stream_may_move_to_another_port_after_silence() {
        let mut latch = latch("198.51.100.1:4000", "198.51.100.1");
        assert_eq!(send(&mut latch, "198.51.100.1:4000", 1, 0..10, 0), Ok(()));
        assert_eq!(send(&mut latch, "198.51.100.1:6000", 1, 10..11, 1000), Err(Discard::Foreign), "too soon");
        assert_eq!(send(&mut latch, "198.51.100.1:6000", 2, 10..11, 2000), Err(Discard::Foreign), "another SSRC");
        assert_eq!(send(&mut latch, "198.51.100.2:6000", 1, 10..11, 2000), Err(Discard::Foreign), "another host");
        assert_eq!(send(&mut latch, "198.51.100.1:6000", 1, 10..11, 2000), Ok(()));
        assert_eq!(send(&mut latch, "198.51.100.1:4000", 1, 11..12, 2020), Err(Discard::Foreign));
    }

    #[test]
    fn a_better_source_takes_over_only_while_learning() {
        for (ms, outcome) in [(4000, Ok(())), (6000, Err(Discard::Foreign))] {
            let mut latch = latch("198.51.100.1:4000", "203.0.113.1");
            assert_eq!(send(&mut latch, "203.0.113.1:7000", 1, 0..4, 0), Ok(()));
            assert_eq!(send(&mut latch, "198.51.100.1:4000", 2, 0..1, ms), outcome);
        }
    }

    #[test]
    fn a_re_offer_learns_anew_only_where_the_address_changed() {
        let mut latch = latch("198.51.100.1:4000", "198.51.100.1");
        assert_eq!(send(&mut latch, "198.51.100.1:4000", 1, 0..1, 0), Ok(()));
        let same = latch.expected;
        latch.expect(same);
        assert!(latch.is_confirmed());
        latch.expect(Expected { port: 4010, rtcp_port: 4011, ..same });
        assert!(!latch.is_confirmed());
        assert_eq!(latch.destination(), Some(addr("198.51.100.1:4010")));
    }

    #[test]
    fn our_own_services_are_not_to_be_sent_to() {
        for described in ["127.0.0.1:4000", "0.0.0.0:4000", "224.0.0.1:4000", "169.254.1.1:4000", "[::1]:4000"] {
            let latch = latch(described, "198.51.100.1");
            assert_eq!(latch.destination(), Some(addr("198.51.100.1:4000")), "{described}");
        }
        assert_eq!(latch("198.51.100.1:53", "198.51.100.1").destination(), None);
    }

    #[test]
    fn our_own_signalling_is_not_to_be_sent_to_either() {
        let own_sip = Some(addr("198.51.100.7:5060"));
        let settings = Settings { own_sip, ..Settings::default() };
        let fooled = guarded(addr("198.51.100.7:5060"), "198.51.100.1", settings);
        assert_eq!(fooled.destination(), Some(addr("198.51.100.1:5060")), "the phone itself may use that port");
        let ours = guarded(addr("198.51.100.7:5060"), "198.51.100.7", settings);
        assert_eq!(ours.destination(), None);
        let other = guarded(addr("198.51.100.7:4000"), "198.51.100.1", settings);
        assert_eq!(other.destination(), Some(addr("198.51.100.7:4000")));
    }

    #[test]
    fn a_private_address_of_another_network_gives_way_to_the_signalling() {
        for (described, signalling, guess) in [
            ("192.168.1.5:4000", "10.0.0.3", "10.0.0.3:4000"),
            ("192.168.1.5:4000", "198.51.100.1", "198.51.100.1:4000"),
            ("192.168.1.5:4000", "127.0.0.1", "127.0.0.1:4000"),
            ("100.64.0.9:4000", "198.51.100.1", "198.51.100.1:4000"),
            ("10.0.0.5:4000", "10.0.0.2", "10.0.0.5:4000"),
            ("172.31.0.5:4000", "172.16.0.2", "172.31.0.5:4000"),
            ("198.51.100.9:4000", "10.0.0.2", "198.51.100.9:4000"),
        ] {
            assert_eq!(latch(described, signalling).destination(), Some(addr(guess)), "{described} by {signalling}");
        }
    }

    #[test]
    fn the_setting_says_who_may_be_taken_for_the_peer() {
        let stranger = "203.0.113.9:4000";
        for (policy, by_signalling, by_anybody) in [
            (Policy::Sdp, Err(Discard::Foreign), Err(Discard::Foreign)),
            (Policy::Signalling, Ok(()), Err(Discard::Foreign)),
            (Policy::Any, Ok(()), Ok(())),
        ] {
            let settings = Settings { policy, ..Settings::default() };
            let new = || guarded(addr("198.51.100.1:4000"), "203.0.113.1", settings);
            assert_eq!(send(&mut new(), "198.51.100.1:4444", 1, 0..4, 0), Ok(()), "{policy:?}");
            assert_eq!(send(&mut new(), "203.0.113.1:4444", 1, 0..4, 0), by_signalling, "{policy:?}");
            assert_eq!(send(&mut new(), stranger, 1, 0..4, 0), by_anybody, "{policy:?}");
            let mut talking = new();
            assert_eq!(send(&mut talking, "198.51.100.1:4000", 1, 0..1, 0), Ok(()));
            assert_eq!(send(&mut talking, stranger, 1, 1..200, 20), Err(Discard::Foreign), "{policy:?}, once locked");
        }
    }

    #[test]
    fn rtcp_comes_from_the_host_of_rtp_and_is_answered_there() {
        let mut latch = latch("198.51.100.1:4000", "203.0.113.1");
        assert_eq!(latch.admit_rtcp(addr("192.0.2.66:4001")), Err(Discard::Foreign));
        assert_eq!(send(&mut latch, "198.51.100.1:4000", 1, 0..1, 0), Ok(()));
        assert_eq!(latch.admit_rtcp(addr("203.0.113.1:4001")), Err(Discard::Foreign), "not RTP's host");
        assert_eq!(latch.admit_rtcp(addr("198.51.100.1:9999")), Ok(()));
        assert_eq!(latch.rtcp_destination(), Some(addr("198.51.100.1:9999")));
    }

    #[test]
    fn a_mapped_address_is_the_address() {
        let mut latch = latch("198.51.100.1:4000", "198.51.100.1");
        assert_eq!(send(&mut latch, "[::ffff:198.51.100.1]:4000", 1, 0..1, 0), Ok(()));
        assert_eq!(latch.destination(), Some(addr("198.51.100.1:4000")));
    }

    /// Admits one authenticated packet of stream 1.
    fn authenticated(latch: &mut Latch, from: &str, number: u16, ms: u64) -> Result<(), Discard> {
        let header = Header {
            marker: false,
            payload_type: PayloadType(0),
            sequence: SequenceNumber(number),
            timestamp: RtpTimestamp(0),
            ssrc: Ssrc(1),
        };
        latch.admit(Source { address: addr(from), authenticated: true }, &header, Instant::from_millis(ms))
    }

    #[test]
    fn what_is_authenticated_is_let_in_from_anywhere_and_sent_to_at_once() {
        let mut latch = latch("198.51.100.1:4000", "198.51.100.1");
        assert_eq!(authenticated(&mut latch, "203.0.113.9:7000", 1, 0), Ok(()));
        assert_eq!(latch.destination(), Some(addr("203.0.113.9:7000")));
        // What the description names is better still, for as long as we learn.
        assert_eq!(authenticated(&mut latch, "198.51.100.1:4000", 2, 20), Ok(()));
        assert_eq!(latch.destination(), Some(addr("198.51.100.1:4000")));
    }

    #[test]
    fn who_copies_packets_does_not_draw_ours_away() {
        let mut latch = latch("198.51.100.1:4000", "198.51.100.1");
        for n in 0..100 {
            // Whichever comes first is the one that is no replay.
            let from = if n % 3 == 2 { "203.0.113.9:7000" } else { "198.51.100.1:4000" };
            assert_eq!(authenticated(&mut latch, from, n, u64::from(n) * 20), Ok(()));
            assert_eq!(latch.destination(), Some(addr("198.51.100.1:4000")));
        }
        // A phone that has really moved is followed.
        assert_eq!(authenticated(&mut latch, "203.0.113.9:7000", 100, 2181), Ok(()));
        assert_eq!(latch.destination(), Some(addr("203.0.113.9:7000")));
        assert_eq!(latch.admit_rtcp(Source { address: addr("192.0.2.5:1"), authenticated: true }), Ok(()));
        assert_eq!(latch.rtcp_destination().map(|to| to.ip()), Some(addr("203.0.113.9:7000").ip()));
    }
}
