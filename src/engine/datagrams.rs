//! SIP's UDP socket: which of our addresses a datagram came to, and answers from that same address.
//!
//! A phone drops an answer from an address that it has not asked, and so does the NAT before it. Where the socket is on all
//! addresses only the kernel knows which it was, and tells it beside the datagram on Linux (IP_PKTINFO, `ip(7)`); elsewhere
//! the address that routes to the peer stands for it.

use crate::engine::streams::canonical;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// The socket. Addresses go in and out with IPv4 as IPv4, also where the socket is one for both.
pub struct Datagrams {
    socket: mio::net::UdpSocket,
    is_v6: bool,
    /// Whether the kernel tells the address.
    is_told: bool,
}

/// A datagram's length, where it came from, and the address of ours that it came to, if that is known.
pub type Received = (usize, SocketAddr, Option<IpAddr>);

impl Datagrams {
    /// Takes a bound, non-blocking socket.
    ///
    /// # Errors
    /// What the system says about its address.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let bound = socket.local_addr()?;
        let is_told = bound.ip().is_unspecified() && told::ask(&socket, bound.is_ipv6());
        Ok(Self { socket: mio::net::UdpSocket::from_std(socket), is_v6: bound.is_ipv6(), is_told })
    }

    /// Returns the socket, to be registered.
    pub fn source(&mut self) -> &mut mio::net::UdpSocket {
        &mut self.socket
    }

    /// Reads a datagram.
    ///
    /// # Errors
    /// That there is none, or an error of an earlier answer; the socket is as good as before.
    pub fn receive(&self, bytes: &mut [u8]) -> io::Result<Received> {
        let (len, peer, local) = if self.is_told {
            told::receive(&self.socket, bytes)?
        } else {
            let (len, peer) = self.socket.recv_from(bytes)?;
            (len, peer, None)
        };
        Ok((len, canonical(peer), local.map(|local| local.to_canonical()).filter(is_own)))
    }

    /// Sends a datagram, from `local` where that is asked for and the system can do it.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&self, bytes: &[u8], to: SocketAddr, local: Option<IpAddr>) -> io::Result<()> {
        let to = match to.ip() {
            IpAddr::V4(v4) if self.is_v6 => SocketAddr::new(v4.to_ipv6_mapped().into(), to.port()),
            _ => to,
        };
        match local {
            // An address that has gone meanwhile, or never was one of ours, is none to insist on.
            Some(local) if self.is_told && told::send(&self.socket, bytes, to, local).is_ok() => Ok(()),
            _ => self.socket.send_to(bytes, to).map(|_| ()),
        }
    }
}

/// Whether `address` may be one of this machine's, and so can be answered from.
fn is_own(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}

#[cfg(target_os = "linux")]
mod told {
    use super::Received;
    use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
    use nix::sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
    };
    use std::io::{self, IoSlice, IoSliceMut};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
    use std::os::fd::AsRawFd;

    /// Asks for the address with each datagram; returns whether the kernel will tell it.
    pub(super) fn ask(socket: &UdpSocket, is_v6: bool) -> bool {
        if is_v6 {
            setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true).is_ok()
        } else {
            setsockopt(socket, sockopt::Ipv4PacketInfo, &true).is_ok()
        }
    }

    pub(super) fn receive(socket: &mio::net::UdpSocket, bytes: &mut [u8]) -> io::Result<Received> {
        let mut control = nix::cmsg_space!(in_pktinfo, in6_pktinfo);
        let mut parts = [IoSliceMut::new(bytes)];
        let message =
            recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
        let peer = message.address.as_ref().and_then(address).ok_or(io::ErrorKind::InvalidData)?;
        let local = message.cmsgs()?.find_map(|control| match control {
            // For a broadcast that is the interface's own address.
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(IpAddr::V4(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes())))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr))),
            _ => None,
        });
        Ok((message.bytes, peer, local))
    }

    pub(super) fn send(socket: &mio::net::UdpSocket, bytes: &[u8], to: SocketAddr, local: IpAddr) -> io::Result<()> {
        let parts = [IoSlice::new(bytes)];
        let fd = socket.as_raw_fd();
        let sent = match (to, local) {
            (SocketAddr::V4(to), IpAddr::V4(local)) => {
                let ipi_spec_dst = in_addr { s_addr: u32::from_ne_bytes(local.octets()) };
                let info = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst, ipi_addr: in_addr { s_addr: 0 } };
                let control = [ControlMessage::Ipv4PacketInfo(&info)];
                sendmsg(fd, &parts, &control, MsgFlags::empty(), Some(&SockaddrStorage::from(to)))
            }
            (SocketAddr::V6(to), local) => {
                let local = match local {
                    IpAddr::V4(local) => local.to_ipv6_mapped(),
                    IpAddr::V6(local) => local,
                };
                let ipi6_addr = in6_addr { s6_addr: local.octets() };
                let info = in6_pktinfo { ipi6_addr, ipi6_ifindex: to.scope_id() };
                let control = [ControlMessage::Ipv6PacketInfo(&info)];
                sendmsg(fd, &parts, &control, MsgFlags::empty(), Some(&SockaddrStorage::from(to)))
            }
            (SocketAddr::V4(_), IpAddr::V6(_)) => return Err(io::ErrorKind::InvalidInput.into()),
        };
        Ok(sent.map(|_| ())?)
    }

    fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
        let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
    }
}

#[cfg(not(target_os = "linux"))]
mod told {
    use super::Received;
    use std::io;
    use std::net::{IpAddr, SocketAddr, UdpSocket};

    pub(super) fn ask(_: &UdpSocket, _: bool) -> bool {
        false
    }

    pub(super) fn receive(_: &mio::net::UdpSocket, _: &mut [u8]) -> io::Result<Received> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn send(_: &mio::net::UdpSocket, _: &[u8], _: SocketAddr, _: IpAddr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
