//! Where a response goes back to: Via, received, rport (RFC 3261 §18.2.2, RFC 3581).
//!
//! The address is always the one that the request came from; what Via says decides the port at most. `maddr`, a broadcast
//! or somebody else's sent-by would make this server send to a third party.

use super::flow::Flow;
use super::uri::host_of;
use super::via::Via;
use std::net::SocketAddr;

/// The port of sent-by where it says none (RFC 3261 §18.2.2).
const DEFAULT_PORT: u16 = 5060;

/// Returns where the response to a request that came by `flow` goes: over a connection, back through it (RFC 3261 §18.2.2).
#[must_use]
pub fn route(via: &Via, flow: Flow) -> SocketAddr {
    if via.params.get("rport").is_some() || flow.transport.is_reliable() {
        return flow.peer;
    }
    SocketAddr::new(flow.peer.ip(), via.port.unwrap_or(DEFAULT_PORT))
}

/// Writes into the nearest Via where the request came from (RFC 3581 §4), whatever was written there before.
pub fn stamp(via: &mut Via, source: SocketAddr) {
    let address = host_of(source.ip());
    let rport = via.params.get("rport").is_some();
    via.params.remove("received");
    if rport {
        via.params.set("rport", source.port().to_string());
    }
    if rport || !via.host.eq_ignore_ascii_case(&address) {
        via.params.set("received", address.trim_matches(['[', ']']).to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(via: &str, source: &str) -> (String, String) {
        let mut via = Via::parse_list(via).expect("a Via").remove(0);
        let source = source.parse().expect("an address");
        let to = route(&via, Flow::udp(source, source));
        stamp(&mut via, source);
        (via.to_string(), to.to_string())
    }

    #[test]
    fn rport_sends_the_response_to_the_source() {
        assert_eq!(
            answered("SIP/2.0/UDP 192.0.2.2:55416;rport;branch=z9hG4bKx", "127.0.0.1:40000"),
            (
                "SIP/2.0/UDP 192.0.2.2:55416;rport=40000;branch=z9hG4bKx;received=127.0.0.1".into(),
                "127.0.0.1:40000".into()
            )
        );
    }

    #[test]
    fn without_rport_the_port_is_the_one_of_sent_by() {
        assert_eq!(answered("SIP/2.0/UDP 10.0.0.1:5074;branch=x", "10.0.0.1:40000").1, "10.0.0.1:5074");
        assert_eq!(
            answered("SIP/2.0/UDP 10.0.0.1;branch=x", "10.0.0.1:40000"),
            ("SIP/2.0/UDP 10.0.0.1;branch=x".into(), "10.0.0.1:5060".into())
        );
    }

    #[test]
    fn nothing_written_in_via_sends_it_to_a_third_party() {
        let (via, to) =
            answered("SIP/2.0/UDP 255.255.255.255;received=8.8.8.8;maddr=224.0.1.75;branch=x", "10.0.0.9:7000");
        assert_eq!(to, "10.0.0.9:5060");
        assert_eq!(via, "SIP/2.0/UDP 255.255.255.255;maddr=224.0.1.75;branch=x;received=10.0.0.9");
    }

    #[test]
    fn ipv6_is_received_without_brackets() {
        assert_eq!(
            answered("SIP/2.0/UDP [2001:db8::1];rport;branch=x", "[::1]:9").0,
            "SIP/2.0/UDP [2001:db8::1];rport=9;branch=x;received=::1"
        );
        assert!(
            answered("SIP/2.0/UDP 10.0.0.1;rport;branch=x", "[::ffff:10.0.0.1]:9").0.ends_with("received=10.0.0.1")
        );
    }
}
