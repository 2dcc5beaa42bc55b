//! Addresses and networks, as `sip.trusted` lists them: `192.0.2.10`, `10.0.0.0/8`, `2001:db8::/32`.

use super::Error;
use super::given::Given;
use std::net::IpAddr;

/// A network: all addresses that begin like this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

impl Network {
    /// Whether `address` is in it; an IPv4 address in IPv6 is that IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, own_bits) = bits(self.address);
        let (other, other_bits) = bits(address.to_canonical());
        let free = own_bits - self.prefix_bits;
        own_bits == other_bits && own.checked_shr(free).unwrap_or(0) == other.checked_shr(free).unwrap_or(0)
    }

    /// Reads `ADDRESS` or `ADDRESS/BITS`; bits beyond the prefix have to be 0, so that a typing error is noticed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let (value, all_bits) = bits(address);
        let prefix_bits = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|bits| *bits <= all_bits)?,
            None => all_bits,
        };
        let host = value.checked_shl(128 - all_bits + prefix_bits).unwrap_or(0);
        (host == 0).then_some(Self { address, prefix_bits })
    }

    /// Reads the setting that is a network.
    pub fn read(given: &Given) -> Result<Self, Error> {
        Self::parse(&given.value)
            .ok_or_else(|| given.wrong("an address or a network, such as 192.0.2.10, 10.0.0.0/8 or 2001:db8::/32"))
    }
}

/// Returns an address as a number, and how many bits it has.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u32::from(v4).into(), 32),
        IpAddr::V6(v6) => (v6.into(), 128),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_what_begins_like_it() {
        for (network_text, address, inside) in [
            ("192.0.2.10", "192.0.2.10", true),
            ("192.0.2.10", "192.0.2.11", false),
            ("192.0.2.10", "::ffff:192.0.2.10", true),
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("192.0.2.128/25", "192.0.2.127", false),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(
                Network::parse(network_text).expect("a network").contains(address),
                inside,
                "{network_text} {address}"
            );
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "10.0.0.0/-1", "2001:db8::1/64", "10/8"]
        {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
