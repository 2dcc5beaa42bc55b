//! Datagrams as a packet capture holds them: the classic pcap format, read by everything that reads packets.
//!
//! Each datagram stands there as it was, behind IP and UDP headers made anew from its addresses (LINKTYPE_RAW, as rtpengine
//! writes it): who captures on a socket never sees the real ones. What came by TCP or TLS is written as UDP, too, as
//! Asterisk's logger does: one packet for each SIP message, readable. A file that breaks off in mid-packet is good up to there.

use etherparse::PacketBuilder;
use etherparse::err::packet::BuildWriteError;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Bytes of the file's header.
pub const HEADER_LEN: usize = 24;
/// Seconds and microseconds, in the byte order of whoever writes (draft-ietf-opsawg-pcap §4).
const MAGIC: u32 = 0xA1B2_C3D4;
/// Nothing is cut: an IP packet has at most 65,535 bytes, and this is the longest that libpcap takes.
const SNAP_LEN: u32 = 262_144;
/// LINKTYPE_RAW: packets begin with their IPv4 or IPv6 header.
const LINK_TYPE: u32 = 101;
/// What hosts begin with; how many routers a packet has passed is not known.
const HOP_LIMIT: u8 = 64;

/// Returns the header of a file.
#[must_use]
pub fn header() -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    // Version 2.4, no time zone and no accuracy, both of which are always 0.
    let version = 2 | 4 << 16;
    for (to, from) in header.chunks_exact_mut(4).zip([MAGIC, version, 0, 0, SNAP_LEN, LINK_TYPE]) {
        to.copy_from_slice(&from.to_le_bytes());
    }
    header
}

/// Returns the record of a datagram that came, or left, at `at` since 1970.
///
/// # Errors
/// It is longer than any datagram can be.
pub fn record(at: Duration, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Result<Vec<u8>, BuildWriteError> {
    let mut record = vec![0; 16];
    match (from.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let builder = PacketBuilder::ipv4(source.octets(), target.octets(), HOP_LIMIT);
            builder.udp(from.port(), to.port()).write(&mut record, payload)?;
        }
        // A socket for both families may have one of each.
        (source, target) => {
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            let builder = PacketBuilder::ipv6(octets(source), octets(target), HOP_LIMIT);
            builder.udp(from.port(), to.port()).write(&mut record, payload)?;
        }
    }
    // A packet is not longer than 65,575 bytes, and the seconds are good until 2106.
    let len = (record.len() - 16) as u32;
    for (to, from) in record.chunks_exact_mut(4).zip([at.as_secs() as u32, at.subsec_micros(), len, len]) {
        to.copy_from_slice(&from.to_le_bytes());
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
    }

    #[test]
    fn the_header_is_that_of_the_format() {
        let header = header();
        assert_eq!(header[..8], [0xD4, 0xC3, 0xB2, 0xA1, 2, 0, 4, 0]);
        assert_eq!((word(&header, 16), word(&header, 20)), (262_144, 101));
    }

    #[test]
    fn a_record_has_its_time_its_length_and_headers_whose_checksums_are_right() {
        let at = Duration::new(1_795_367_956, 123_456_789);
        for (from, to) in [
            ("192.0.2.7:5062", "198.51.100.1:5060"),
            ("[2001:db8::7]:40000", "[2001:db8::1]:10000"),
            ("[::1]:1", "127.0.0.1:2"),
        ] {
            let (from, to) = (address(from), address(to));
            let record = record(at, from, to, b"hello").expect("short");
            assert_eq!((word(&record, 0), word(&record, 4)), (1_795_367_956, 123_456));
            assert_eq!((word(&record, 8), word(&record, 12)), (record.len() as u32 - 16, record.len() as u32 - 16));
            let packet = SlicedPacket::from_ip(&record[16..]).expect("an IP packet");
            let Some(TransportSlice::Udp(udp)) = packet.transport else { panic!("{packet:?}") };
            assert_eq!(
                (udp.source_port(), udp.destination_port(), udp.payload()),
                (from.port(), to.port(), &b"hello"[..])
            );
            let checksum = match packet.net.expect("a network layer") {
                NetSlice::Ipv4(ip) => {
                    assert_eq!((IpAddr::from(ip.header().source_addr()), ip.header().ttl()), (from.ip(), 64));
                    assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
                    udp.to_header().calc_checksum_ipv4(&ip.header().to_header(), b"hello")
                }
                NetSlice::Ipv6(ip) => {
                    assert_eq!(IpAddr::from(ip.header().source_addr()), from.ip());
                    udp.to_header().calc_checksum_ipv6(&ip.header().to_header(), b"hello")
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(checksum.expect("a checksum"), udp.checksum());
        }
    }

    #[test]
    fn what_no_datagram_can_hold_is_refused() {
        let (from, to) = (address("192.0.2.7:5062"), address("198.51.100.1:5060"));
        assert!(record(Duration::ZERO, from, to, &[0; 65_507]).is_ok());
        assert!(record(Duration::ZERO, from, to, &[0; 65_508]).is_err());
    }
}
