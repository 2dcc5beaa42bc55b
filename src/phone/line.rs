//! The telephone's RTP: a packet out every 20 ms, and what comes in with the kernel's times.
//!
//! Two threads, since neither may wait for the other. What goes out is dated just before it is given to the system, what comes
//! in by its arrival; bad weather lies behind those points, as a network would.

use super::capture::{Received, Sent};
use super::weather::{Channel, Weather};
use super::{FRAME, RATE};
use crate::audio::g711::Codec;
use crate::engine::affinity::{self, Role};
use crate::engine::arrival::{self, Arrivals};
use crate::engine::clock::SystemClock;
use crate::rtp::packet::{HEADER_LEN, Header, Packet};
use crate::rtp::{PayloadType, RtpTimestamp, SequenceNumber, Ssrc};
use crate::time::{self, Clock, Instant};
use crossbeam_channel::{Receiver, Sender};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A packet's time.
const SLOT: Duration = Duration::from_millis(20);
/// How often a thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
/// News that wait for the telephone: a second of both directions, many times over.
const NEWS_MAX: usize = 4096;
/// Ports that are tried for an even one whose neighbour is free, too (RFC 3550 §11).
const PORT_TRIES: usize = 100;

/// What the line tells.
#[derive(Clone, Debug)]
pub enum News {
    /// A packet went out.
    Sent(Sent),
    /// What was to be said begins with this sample of the stream.
    Began { first_sample: u64, at: Instant },
    /// All of it is sent.
    Said,
    /// A packet came.
    Received(Received),
}

/// The media ports of a telephone.
pub struct Ports {
    rtp: UdpSocket,
    /// Bound so that RTCP does not come back as an error; nobody reads it.
    _rtcp: UdpSocket,
    /// Where RTP is expected.
    pub local: SocketAddr,
}

impl Ports {
    /// Binds an even port and the one behind it.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(address: IpAddr) -> io::Result<Self> {
        for _ in 0..PORT_TRIES {
            let rtp = UdpSocket::bind((address, 0))?;
            let local = rtp.local_addr()?;
            if local.port() % 2 != 0 || local.port() == u16::MAX {
                continue;
            }
            if let Ok(rtcp) = UdpSocket::bind((address, local.port() + 1)) {
                return Ok(Self { rtp, _rtcp: rtcp, local });
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }
}

/// Where RTP goes, and how.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The peer's RTP address.
    pub remote: SocketAddr,
    /// The codec.
    pub codec: Codec,
    /// What the network does.
    pub weather: Weather,
    /// The chance in it.
    pub seed: u64,
    /// The timestamp of the first packet.
    pub timestamp: RtpTimestamp,
}

/// A line in use.
pub struct Line {
    say: Sender<Arc<[i16]>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    _ports: Ports,
}

impl Line {
    /// Begins to send and to listen; `make` turns what happens into the owner's own events.
    ///
    /// # Errors
    /// What the system says.
    pub fn start<E: Send + 'static>(
        ports: Ports,
        route: Route,
        clock: &Arc<SystemClock>,
        events: &Sender<E>,
        make: fn(News) -> E,
    ) -> io::Result<Self> {
        arrival::ask(&ports.rtp);
        ports.rtp.set_read_timeout(Some(LOOK))?;
        let (say, to_say) = crossbeam_channel::bounded(4);
        let stop = Arc::new(AtomicBool::new(false));
        let mut rng = fastrand::Rng::with_seed(route.seed);
        let (there, back) = (Channel::new(route.weather, rng.fork()), Channel::new(route.weather, rng.fork()));
        let mut sender = SendingSide {
            socket: ports.rtp.try_clone()?,
            route,
            channel: there,
            clock: clock.clone(),
            to_say,
            saying: None,
            sequence: rng.u16(..),
            ssrc: rng.u32(..),
            samples: 0,
            delayed: BTreeMap::new(),
        };
        let mut receiver =
            ReceivingSide { socket: ports.rtp.try_clone()?, channel: back, clock: clock.clone(), codec: route.codec };
        let (events_sent, events_received) = (events.clone(), events.clone());
        let (stop_sending, stop_receiving) = (stop.clone(), stop.clone());
        let sending = std::thread::Builder::new().name("phone-out".into()).spawn(move || {
            let _ = affinity::settle(Role::Session);
            // Who does not read its news any more has hung up.
            sender.run(&stop_sending, &mut |news| drop(events_sent.try_send(make(news))));
        })?;
        let receiving = std::thread::Builder::new().name("phone-in".into()).spawn(move || {
            let _ = affinity::settle(Role::Session);
            receiver.run(&stop_receiving, &mut |news| drop(events_received.try_send(make(news))));
        })?;
        Ok(Self { say, stop, threads: vec![sending, receiving], _ports: ports })
    }

    /// Says this once what is being said has been said.
    pub fn say(&self, pcm: Arc<[i16]>) {
        let _ = self.say.try_send(pcm);
    }

    /// Ends both directions.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads {
            // A thread that panicked is gone, which is what a stop wants.
            let _ = thread.join();
        }
    }
}

/// Returns a channel for a line's news among its owner's events.
#[must_use]
pub fn events<E>() -> (Sender<E>, Receiver<E>) {
    crossbeam_channel::bounded(NEWS_MAX)
}

struct SendingSide {
    socket: UdpSocket,
    route: Route,
    channel: Channel,
    clock: Arc<SystemClock>,
    to_say: Receiver<Arc<[i16]>>,
    saying: Option<(Arc<[i16]>, usize)>,
    sequence: u16,
    ssrc: u32,
    samples: u64,
    /// Packets on their way through the weather, by when they come out of it.
    delayed: BTreeMap<(Instant, u64), Vec<u8>>,
}

impl SendingSide {
    fn run(&mut self, stop: &AtomicBool, tell: &mut dyn FnMut(News)) {
        let mut due = self.clock.now() + SLOT;
        while !stop.load(Ordering::Acquire) {
            let next = self.delayed.keys().next().map_or(due, |(at, _)| due.min(*at));
            let now = self.clock.now();
            if next > now {
                std::thread::park_timeout(next - now);
                continue;
            }
            while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
                // What the network does not take is lost, as on any network.
                let _ = self.socket.send_to(&entry.remove(), self.route.remote);
            }
            if due <= now {
                self.slot(due, tell);
                // A slot that was missed by more than its length is not made up for by a burst.
                due = if now.since(due) > 5 * SLOT { now + SLOT } else { due + SLOT };
            }
        }
    }

    fn slot(&mut self, due: Instant, tell: &mut dyn FnMut(News)) {
        let mut pcm = [0; FRAME];
        let mut began = None;
        let mut said = false;
        if self.saying.is_none()
            && let Ok(pcm) = self.to_say.try_recv()
        {
            self.saying = Some((pcm, 0));
            began = Some(self.samples);
        }
        if let Some((saying, at)) = &mut self.saying {
            let frame = saying.get(*at..(*at + FRAME).min(saying.len())).unwrap_or_default();
            pcm[..frame.len()].copy_from_slice(frame);
            *at += FRAME;
            said = *at >= saying.len();
        }
        if said {
            self.saying = None;
        }
        let header = Header {
            marker: began.is_some() || self.samples == 0,
            payload_type: PayloadType(self.route.codec.rtp_payload_type()),
            sequence: SequenceNumber(self.sequence),
            timestamp: RtpTimestamp(self.route.timestamp.0.wrapping_add(self.samples as u32)),
            ssrc: Ssrc(self.ssrc),
        };
        let mut bytes = vec![0; HEADER_LEN + FRAME];
        header.write(&mut bytes);
        self.route.codec.encode(&pcm, &mut bytes[HEADER_LEN..]);
        let sent = Sent { at: self.clock.now(), due, first_sample: self.samples };
        match self.channel.pass() {
            Some(Duration::ZERO) => drop(self.socket.send_to(&bytes, self.route.remote)),
            Some(delay) => drop(self.delayed.insert((sent.at + delay, self.samples), bytes)),
            None => {}
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.samples += FRAME as u64;
        if let Some(first_sample) = began {
            tell(News::Began { first_sample, at: sent.at });
        }
        tell(News::Sent(sent));
        if said {
            tell(News::Said);
        }
    }
}

struct ReceivingSide {
    socket: UdpSocket,
    channel: Channel,
    clock: Arc<SystemClock>,
    codec: Codec,
}

impl ReceivingSide {
    fn run(&mut self, stop: &AtomicBool, tell: &mut dyn FnMut(News)) {
        let (mut bytes, mut arrivals) = ([0; 1500], Arrivals::default());
        while !stop.load(Ordering::Acquire) {
            // An error is that nothing came, or that the peer has no port there yet.
            let Ok((len, _, at)) = arrivals.receive(&self.socket, &mut bytes, &*self.clock) else { continue };
            let wanted = |packet: Packet<'_>| packet.header.payload_type.0 == self.codec.rtp_payload_type();
            if !Packet::parse(&bytes[..len]).is_ok_and(wanted) {
                continue;
            }
            if let Some(delay) = self.channel.pass() {
                tell(News::Received(Received { at: at + delay, bytes: bytes[..len].to_vec() }));
            }
        }
    }
}

/// Returns how many samples `duration` holds.
#[must_use]
pub const fn samples(duration: Duration) -> usize {
    time::samples::count(duration, RATE) as usize
}
