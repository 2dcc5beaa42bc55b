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

    /// Returns the value of our Contact for who comes this way; `secure`: for whoever asked for a `sips` URI, who has to be
    /// given one (RFC 3261 §12.1.1).
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

    #[test]
    fn contact_says_the_transport_and_sips_where_it_was_asked_for() {
        let address = |text: &str| text.parse().expect("an address");
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
        let address = |text: &str| text.parse().expect("an address");
        let first = Flow {
            transport: Transport::Tcp,
            connection: 7,
            ..Flow::udp(address("10.0.0.2:4"), address("10.0.0.1:5060"))
        };
        assert!(first.is_same_way(&Flow { local: address("192.0.2.1:5060"), ..first }));
        assert!(!first.is_same_way(&Flow { connection: 8, ..first }));
    }
}
