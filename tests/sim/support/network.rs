//! A network that loses, delays, reorders and doubles datagrams, by a seed.

use offhook::time::Instant;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// What the network does to datagrams of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// The share that is lost.
    pub loss: f64,
    /// What each takes at least.
    pub delay: Duration,
    /// The most that is added to it, evenly spread from nothing.
    pub jitter: Duration,
    /// The share that is held back by 30 ms, so that the next one overtakes it.
    pub reorder: f64,
    /// The share that comes twice.
    pub duplicate: f64,
}

/// How long a datagram that is to be overtaken is held back: longer than a packet.
const HELD_BACK: Duration = Duration::from_millis(30);

/// Which socket a datagram leaves from and comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    Sip,
    Rtp,
    Rtcp,
}

/// A datagram under way.
#[derive(Clone, Debug)]
pub struct Datagram {
    pub port: Port,
    pub source: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

/// Everything that is under way.
pub struct Network {
    rng: fastrand::Rng,
    /// Signalling, both ways.
    pub sip: Weather,
    /// Media from the callers.
    pub to_agent: Weather,
    /// Media to the callers.
    pub to_caller: Weather,
    /// SIP messages that begin so are lost, so many times.
    lost: Vec<(String, u32)>,
    under_way: BTreeMap<(Instant, u64), Datagram>,
    sent: u64,
    /// A digest of every datagram that was sent, when, and from where to where (FNV-1a).
    pub digest: u64,
    /// The agent's RTP as it left, where it is to be kept.
    pub kept: Option<Vec<(Instant, Vec<u8>)>>,
}

impl Network {
    pub fn new(seed: u64) -> Self {
        let near = Weather { delay: Duration::from_millis(1), ..Weather::default() };
        Self {
            rng: fastrand::Rng::with_seed(seed),
            sip: near,
            to_agent: near,
            to_caller: near,
            lost: Vec::new(),
            under_way: BTreeMap::new(),
            sent: 0,
            digest: 0xcbf2_9ce4_8422_2325,
            kept: None,
        }
    }

    /// Loses the next `times` SIP messages whose first line begins with `start`.
    pub fn lose(&mut self, start: &str, times: u32) {
        self.lost.push((start.to_owned(), times));
    }

    pub fn send(&mut self, datagram: Datagram, to_agent: bool, now: Instant) {
        self.note(&datagram, now);
        if let (Some(kept), Port::Rtp, false) = (&mut self.kept, datagram.port, to_agent) {
            kept.push((now, datagram.bytes.clone()));
        }
        if datagram.port == Port::Sip && self.is_to_be_lost(&datagram.bytes) {
            return;
        }
        let weather = match (datagram.port, to_agent) {
            (Port::Sip, _) => self.sip,
            (_, true) => self.to_agent,
            (_, false) => self.to_caller,
        };
        if self.rng.f64() < weather.loss {
            return;
        }
        let copies = if self.rng.f64() < weather.duplicate { 2 } else { 1 };
        for _ in 0..copies {
            let held_back = if self.rng.f64() < weather.reorder { HELD_BACK } else { Duration::ZERO };
            let delay = weather.delay + weather.jitter.mul_f64(self.rng.f64()) + held_back;
            self.sent += 1;
            self.under_way.insert((now + delay, self.sent), datagram.clone());
        }
    }

    /// Returns what has arrived by `now`, first come first.
    pub fn arrived(&mut self, now: Instant) -> Option<Datagram> {
        let entry = self.under_way.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    fn note(&mut self, datagram: &Datagram, now: Instant) {
        let ports = [datagram.source.port().to_be_bytes(), datagram.to.port().to_be_bytes()].concat();
        for byte in now.as_nanos().to_be_bytes().iter().chain(&ports).chain(&datagram.bytes) {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn is_to_be_lost(&mut self, bytes: &[u8]) -> bool {
        let Some((_, times)) =
            self.lost.iter_mut().find(|(start, times)| *times > 0 && bytes.starts_with(start.as_bytes()))
        else {
            return false;
        };
        *times -= 1;
        true
    }
}
