//! How a message came, and so the way on which its answers and our own requests go back (RFC 5626 §2: a flow).

use super::uri::host_of;
use std::net::SocketAddr;

/// What carries messages between two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams, one message each; what is lost is sent again by timers.
    Udp,
    /// A stream of messages.
    Tcp,
    /// A stream of messages that nobody else reads.
    Tls,
}

impl Transport {
    /// Returns the word in Via's sent-protocol (RFC 3261 §20.42).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// Returns the value of a URI's `transport` parameter (RFC 3261 §19.1.1); none is needed for UDP.
    #[must_use]
    pub const fn uri_param(self) -> Option<&'static str> {
        match self {
            Self::Udp => None,
            Self::Tcp => Some("tcp"),
            Self::Tls => Some("tls"),
        }
    }

    /// Whether the transport itself repeats what is lost, so that no timer has to (RFC 3261 §17.1.1.1).
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }
}

/// One way between a peer and us. Requests to a peer go where its own came from: what its Contact says is often an
/// address that only the peer can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// What carries it.
    pub transport: Transport,
    /// The peer's address and port, as we see them.
    pub peer: SocketAddr,
    /// The address and port of ours that the peer reaches us by: what Contact and Via say, never `0.0.0.0`.
    pub local: SocketAddr,
    /// Which connection, among all since the start; 0 over UDP.
    pub connection: u64,
}

impl Flow {
    /// Makes the flow of datagrams between `peer` and `local`.
    #[must_use]
    pub const fn udp(peer: SocketAddr, local: SocketAddr) -> Self {
        Self { transport: Transport::Udp, peer, local, connection: 0 }
    }

    /// Whether what is known of one is known of the other: the same connection, or datagrams to the same peer.
    #[must_use]
    pub fn is_same_way(&self, other: &Self) -> bool {
        self.transport == other.transport && self.connection == other.connection && self.peer == other.peer
    }

    /// Returns the value of our Contact for a peer that comes by this flow; `secure`: it asked for a `sips` URI, and
    /// has to be given one (RFC 3261 §12.1.1).
    #[must_use]
    pub fn contact(&self, secure: bool) -> String {
        let (host, port) = (host_of(self.local.ip()), self.local.port());
        match self.transport.uri_param() {
            // sips says TLS, and RFC 3261 §26.2.2 has done away with the parameter.
            _ if secure => format!("<sips:{host}:{port}>"),
            Some(transport) => format!("<sip:{host}:{port};transport={transport}>"),
            None => format!("<sip:{host}:{port}>"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::rig::{Caller, Rig};
    use crate::sip::{Command, EndedBy, Event};
    use std::time::Duration;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn stream(transport: Transport, connection: u64) -> Flow {
        let local = address("127.0.0.1:5061");
        Flow { transport, connection, ..Flow::udp(address("127.0.0.1:40000"), local) }
    }

    /// Hands a message in, and returns the first lines of what was sent because of it.
    fn say(rig: &mut Rig, flow: Flow, text: &str) -> Vec<String> {
        rig.receive_by(flow, text.as_bytes()).iter().map(|sent| sent.what().to_owned()).collect()
    }

    fn caller(transport: Transport) -> Caller {
        let mut caller = Caller::new("a");
        caller.via = caller.via.replace("UDP", transport.name());
        caller
    }

    fn register(cseq: u32, contact: &str) -> String {
        format!(
            "REGISTER sip:b SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:40000;rport;branch=z9hG4bKr{cseq}\r\nFrom: <sip:a@b>;tag={cseq}\r\n\
             To: <sip:a@b>\r\nCall-ID: r{cseq}\r\nCSeq: {cseq} REGISTER\r\nSupported: outbound, path\r\n\
             Contact: {contact}\r\nExpires: 300\r\nContent-Length: 0\r\n\r\n"
        )
    }

    #[test]
    fn contact_says_the_transport_and_sips_where_it_was_asked_for() {
        let udp = Flow::udp(address("10.0.0.2:5060"), address("[fd00::1]:5060"));
        assert_eq!(udp.contact(false), "<sip:[fd00::1]:5060>");
        let tcp = Flow { transport: Transport::Tcp, connection: 7, ..udp };
        assert_eq!(tcp.contact(false), "<sip:[fd00::1]:5060;transport=tcp>");
        let tls = Flow { transport: Transport::Tls, local: address("10.0.0.1:5061"), ..tcp };
        assert_eq!(tls.contact(false), "<sip:10.0.0.1:5061;transport=tls>");
        assert_eq!(tls.contact(true), "<sips:10.0.0.1:5061>");
    }

    #[test]
    fn a_connection_is_told_from_its_successor() {
        let first = stream(Transport::Tcp, 7);
        assert!(first.is_same_way(&Flow { local: address("192.0.2.1:5060"), ..first }));
        assert!(!first.is_same_way(&Flow { connection: 8, ..first }));
    }

    #[test]
    fn a_call_over_a_connection_says_so_and_our_bye_goes_back_through_it() {
        let mut rig = Rig::new();
        let (tcp, mut phone) = (stream(Transport::Tcp, 7), caller(Transport::Tcp));
        assert_eq!(say(&mut rig, tcp, &phone.invite()), ["100 Trying"]);
        let Some(Event::Invited(invitation)) = rig.events().pop() else { panic!("no invitation") };
        let call = invitation.call;
        assert_eq!(invitation.transport, Transport::Tcp);
        rig.command(Command::Answer { call, sdp: b"v=0".to_vec() });
        phone.hear(&rig.last().clone());
        assert_eq!(rig.last().header("Contact"), Some("<sip:127.0.0.1:5061;transport=tcp>"));
        // End to end the 200 is repeated whatever carries it (RFC 3261 §13.3.1.4).
        assert_eq!(rig.run(Duration::from_millis(600)), [(500, "200 OK".to_owned())]);
        assert_eq!(say(&mut rig, tcp, &phone.ack("")), [""; 0]);
        assert!(rig.ua.needs(7) && !rig.ua.needs(8));
        // The phone comes back by another connection, and what follows goes there.
        assert_eq!(say(&mut rig, stream(Transport::Tcp, 8), &phone.request("OPTIONS", "", "")), ["200 OK"]);
        assert!(!rig.ua.needs(7) && rig.ua.needs(8));
        rig.events();
        rig.command(Command::HangUp { call, reason: "x".into() });
        assert!(rig.last().header("Via").is_some_and(|via| via.starts_with("SIP/2.0/TCP 127.0.0.1:5061;")));
        // The connection is gone: nobody will answer, and nothing waits.
        assert_eq!(rig.run(Duration::from_secs(10)), []);
        rig.lose(stream(Transport::Tcp, 7));
        assert_eq!(rig.ua.transactions().1, 1);
        rig.lose(stream(Transport::Tcp, 8));
        assert_eq!(rig.ua.transactions().1, 0);
        assert_eq!(rig.events(), [Event::Ended { call, by: EndedBy::Agent, reason: "x".into() }]);
    }

    #[test]
    fn a_call_outlives_its_connection() {
        let mut rig = Rig::new();
        let (tcp, mut phone) = (stream(Transport::Tcp, 7), caller(Transport::Tcp));
        say(&mut rig, tcp, &phone.invite());
        let Some(Event::Invited(invitation)) = rig.events().pop() else { panic!("no invitation") };
        let call = invitation.call;
        rig.lose(tcp);
        rig.command(Command::Answer { call, sdp: b"v=0".to_vec() });
        phone.hear(&rig.last().clone());
        // The INVITE comes again by the next connection: it is absorbed, and the 200 goes there from then on.
        let next = stream(Transport::Tcp, 8);
        assert_eq!(say(&mut rig, next, &phone.invite()), [""; 0]);
        assert_eq!(say(&mut rig, next, &phone.ack("")), [""; 0]);
        assert_eq!(rig.events(), [Event::Confirmed { call, answer: None }]);
        assert_eq!(say(&mut rig, next, &phone.request("BYE", "", "")), ["200 OK"]);
    }

    #[test]
    fn a_refusal_over_a_connection_is_said_once() {
        for (transport, times) in [(Transport::Udp, 11), (Transport::Tcp, 1)] {
            let mut rig = Rig::new();
            let phone = caller(transport);
            let connection = u64::from(transport.is_reliable());
            say(&mut rig, stream(transport, connection), &phone.invite());
            let Some(Event::Invited(invitation)) = rig.events().pop() else { panic!("no invitation") };
            let refusal = crate::sip::rig::refusal(486);
            let first = rig.command(Command::Refuse { call: invitation.call, refusal }).len();
            assert_eq!(first + rig.run(Duration::from_secs(40)).len(), times, "{transport:?}");
            assert_eq!(rig.ua.transactions(), (0, 0));
        }
    }

    #[test]
    fn what_was_registered_over_a_connection_ends_with_it() {
        let mut rig = Rig::new();
        let (tcp, udp) = (stream(Transport::Tcp, 7), stream(Transport::Udp, 0));
        assert_eq!(say(&mut rig, tcp, &register(1, "<sip:a@127.0.0.1:40000;transport=tcp>")), ["200 OK"]);
        assert_eq!(rig.last().header("Flow-Timer"), None);
        assert_eq!(say(&mut rig, udp, &register(2, "<sip:a@127.0.0.1:40000>")), ["200 OK"]);
        assert!(rig.ua.needs(7));
        rig.events();
        rig.lose(udp);
        assert_eq!((rig.ua.bindings().count(), rig.events()), (2, vec![]));
        rig.lose(tcp);
        assert_eq!(rig.events(), [Event::Unregistered { aor: "sip:a@b".into() }]);
        assert_eq!((rig.ua.bindings().count(), rig.ua.needs(7)), (1, false));
    }

    #[test]
    fn the_same_device_replaces_its_flow_and_is_told_how_often_to_ping() {
        let mut rig = Rig::new();
        let contact = |port: u16, id: u8| {
            format!("<sip:a@127.0.0.1:{port};transport=TCP;ob>;reg-id={id};+sip.instance=\"<urn:uuid:0-1>\"")
        };
        assert_eq!(say(&mut rig, stream(Transport::Tcp, 7), &register(1, &contact(40_000, 1))), ["200 OK"]);
        assert_eq!(rig.last().header("Flow-Timer"), Some("120"));
        assert_eq!(say(&mut rig, stream(Transport::Tcp, 8), &register(2, &contact(40_001, 1))), ["200 OK"]);
        assert_eq!(rig.ua.bindings().map(|binding| binding.flow.connection).collect::<Vec<_>>(), [8]);
        assert_eq!(say(&mut rig, stream(Transport::Tcp, 9), &register(3, &contact(40_002, 2))), ["200 OK"]);
        assert_eq!(rig.ua.bindings().count(), 2);
    }

    #[test]
    fn sips_is_served_over_tls_alone() {
        let invite = caller(Transport::Tls).invite().replace("INVITE sip:", "INVITE sips:");
        for transport in [Transport::Udp, Transport::Tcp] {
            let mut rig = Rig::new();
            let connection = u64::from(transport.is_reliable());
            assert_eq!(say(&mut rig, stream(transport, connection), &invite), ["416 SIPS Needs TLS"]);
        }
        let mut rig = Rig::new();
        assert_eq!(say(&mut rig, stream(Transport::Tls, 3), &invite), ["100 Trying"]);
        let Some(Event::Invited(invitation)) = rig.events().pop() else { panic!("no invitation") };
        rig.command(Command::Answer { call: invitation.call, sdp: b"v=0".to_vec() });
        assert_eq!(rig.last().header("Contact"), Some("<sips:127.0.0.1:5061>"));
    }

    #[test]
    fn a_stream_needs_content_length_and_datagrams_do_not() {
        let options =
            caller(Transport::Tcp).invite().replace("INVITE", "OPTIONS").replace("Content-Length: 10\r\n", "");
        let options = options.split("v=0").next().expect("a head").to_owned();
        let mut rig = Rig::new();
        assert_eq!(say(&mut rig, stream(Transport::Tcp, 1), &options), ["400 Missing Content-Length"]);
        assert_eq!(say(&mut rig, stream(Transport::Udp, 0), &options), ["200 OK"]);
        let long = options.replace("Max-Forwards", "Content-Length: 16385\r\nMax-Forwards");
        assert_eq!(say(&mut rig, stream(Transport::Tcp, 1), &long), ["400 Content-Length Beyond Body"]);
    }
}
