//! When a datagram came in: by the kernel's own clock where it tells (SO_TIMESTAMPNS, `socket(7)`), not when it was read.
//!
//! Between a packet's arrival and the moment in which a thread reads it lies whatever else the machine was doing. The kernel's
//! time is of the wall clock, so only its distance to the present is used: the arrival is that much before now.

use crate::time::{Clock, Instant};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// The longest time between arrival and reading that is believed: a wall clock that was set in between says more.
const AGE_MAX: Duration = Duration::from_secs(1);

/// A datagram: its length, where it came from, and when it came.
pub type Arrival = (usize, SocketAddr, Instant);

/// Asks the kernel to note each datagram's arrival; returns whether it will.
pub fn ask(socket: &UdpSocket) -> bool {
    stamp::ask(socket)
}

/// Reads a datagram, waiting as the socket is set to.
///
/// # Errors
/// As [`UdpSocket::recv_from`].
pub fn receive(socket: &UdpSocket, bytes: &mut [u8], clock: &dyn Clock) -> io::Result<Arrival> {
    let (len, source, age) = stamp::receive(socket, bytes)?;
    let now = clock.now();
    let age = age.filter(|age| *age <= AGE_MAX).unwrap_or_default();
    Ok((len, source, Instant::from_nanos(now.as_nanos().saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(0)))))
}

#[cfg(target_os = "linux")]
mod stamp {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
    use nix::sys::time::TimeSpec;
    use std::io::{self, IoSliceMut};
    use std::net::{SocketAddr, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::time::{Duration, SystemTime};

    pub(super) fn ask(socket: &UdpSocket) -> bool {
        setsockopt(socket, sockopt::ReceiveTimestampns, &true).is_ok()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the kernel's times are of the wall clock, and are compared with it here"
    )]
    pub(super) fn receive(socket: &UdpSocket, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr, Option<Duration>)> {
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut parts = [IoSliceMut::new(bytes)];
        let message =
            recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
        let storage = message.address.as_ref();
        let v4 = storage.and_then(|storage| storage.as_sockaddr_in()).map(|v4| SocketAddr::V4((*v4).into()));
        let v6 = storage.and_then(|storage| storage.as_sockaddr_in6()).map(|v6| SocketAddr::V6((*v6).into()));
        let source = v4.or(v6).ok_or(io::ErrorKind::InvalidData)?;
        let stamped = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
            _ => None,
        });
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok((message.bytes, source, stamped.and_then(|at| now.checked_sub(at))))
    }
}

#[cfg(not(target_os = "linux"))]
mod stamp {
    use std::io;
    use std::net::{SocketAddr, UdpSocket};
    use std::time::Duration;

    pub(super) fn ask(_: &UdpSocket) -> bool {
        false
    }

    pub(super) fn receive(socket: &UdpSocket, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr, Option<Duration>)> {
        socket.recv_from(bytes).map(|(len, source)| (len, source, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::clock::SystemClock;

    #[test]
    fn a_datagram_that_waits_to_be_read_has_its_own_time() {
        let clock = SystemClock::start();
        let (here, there) = (UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
        let (here, there) = (here.expect("a socket"), there.expect("a socket"));
        let stamps = ask(&here);
        let to = here.local_addr().expect("an address");
        let mut arrivals = Vec::new();
        let before = clock.now();
        for n in 0..10u8 {
            there.send_to(&[n], to).expect("sent");
        }
        let sent = clock.now();
        for n in 0..10u8 {
            let mut bytes = [0; 8];
            let (len, source, at) = receive(&here, &mut bytes, &clock).expect("a datagram");
            assert_eq!((len, bytes[0], source), (1, n, there.local_addr().expect("an address")));
            arrivals.push(at);
        }
        if stamps {
            // The two clocks are read one after the other, and may be told to differ by a little.
            let slack = Duration::from_millis(50);
            assert!(
                arrivals.iter().all(|at| *at + slack >= before && *at <= sent + slack),
                "{arrivals:?} {before:?} {sent:?}"
            );
        }
        assert!(arrivals.windows(2).all(|pair| pair[1] + Duration::from_millis(5) >= pair[0]), "{arrivals:?}");
    }
}
