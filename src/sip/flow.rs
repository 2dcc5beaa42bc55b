//! How a message came, and so the way on which its answers and our own requests go back (RFC 5626 §2: a flow).

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
}
