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

/// A UDP socket that can be read, blocking or not.
pub trait Socket: stamp::Handle {
    /// Reads a datagram as [`UdpSocket::recv_from`] does.
    ///
    /// # Errors
    /// As there.
    fn read(&self, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr)>;
}

impl Socket for UdpSocket {
    fn read(&self, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.recv_from(bytes)
    }
}

impl Socket for mio::net::UdpSocket {
    fn read(&self, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.recv_from(bytes)
    }
}

/// Asks the kernel to note each datagram's arrival; returns whether it will.
pub fn ask(socket: &impl Socket) -> bool {
    stamp::ask(socket)
}

/// Reads datagrams with their times; keeps the buffer that those come in.
#[derive(Debug, Default)]
pub struct Arrivals {
    stamps: stamp::Stamps,
}

impl Arrivals {
    /// Reads a datagram, waiting as the socket is set to.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`].
    pub fn receive(&mut self, socket: &impl Socket, bytes: &mut [u8], clock: &dyn Clock) -> io::Result<Arrival> {
        let (len, source, age) = self.stamps.receive(socket, bytes)?;
        let age = age.filter(|age| *age <= AGE_MAX).unwrap_or_default();
        Ok((len, source, clock.now() - age))
    }
}

#[cfg(target_os = "linux")]
mod stamp {
    use super::Socket;
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
    use nix::sys::time::TimeSpec;
    use std::io::{self, IoSliceMut};
    use std::net::SocketAddr;
    use std::os::fd::{AsFd, AsRawFd};
    use std::time::{Duration, SystemTime};

    /// What the system knows a socket by.
    pub trait Handle: AsRawFd + AsFd {}
    impl<T: AsRawFd + AsFd> Handle for T {}

    pub(super) fn ask(socket: &impl Socket) -> bool {
        setsockopt(socket, sockopt::ReceiveTimestampns, &true).is_ok()
    }

    #[derive(Debug)]
    pub(super) struct Stamps {
        control: Vec<u8>,
    }

    impl Default for Stamps {
        fn default() -> Self {
            Self { control: nix::cmsg_space!(TimeSpec) }
        }
    }

    impl Stamps {
        #[expect(
            clippy::disallowed_methods,
            reason = "the kernel's times are of the wall clock, and are compared with it here"
        )]
        pub(super) fn receive(
            &mut self,
            socket: &impl Socket,
            bytes: &mut [u8],
        ) -> io::Result<(usize, SocketAddr, Option<Duration>)> {
            let mut parts = [IoSliceMut::new(bytes)];
            let control = Some(self.control.as_mut_slice());
            let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, control, MsgFlags::empty())?;
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
}

#[cfg(not(target_os = "linux"))]
mod stamp {
    use super::Socket;
    use std::io;
    use std::net::SocketAddr;
    use std::time::Duration;

    /// Nothing more is needed of a socket.
    pub trait Handle {}
    impl<T> Handle for T {}

    pub(super) fn ask(_: &impl Socket) -> bool {
        false
    }

    #[derive(Debug, Default)]
    pub(super) struct Stamps;

    impl Stamps {
        pub(super) fn receive(
            &mut self,
            socket: &impl Socket,
            bytes: &mut [u8],
        ) -> io::Result<(usize, SocketAddr, Option<Duration>)> {
            socket.read(bytes).map(|(len, source)| (len, source, None))
        }
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
        let mut reading = Arrivals::default();
        for n in 0..10u8 {
            let mut bytes = [0; 8];
            let (len, source, at) = reading.receive(&here, &mut bytes, &clock).expect("a datagram");
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
