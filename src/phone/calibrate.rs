//! How exact the telephone is on this machine: exchanges with a responder of a programmed delay, over loopback.

use super::capture::{Capture, Stream};
use super::line::{self, Line, News, Ports, Route};
use super::mrl::{Discard, Exchange, Measurement, PLAYOUT_TARGET, measure};
use super::report::Calibration;
use super::responder::Responder;
use super::stimulus::Stimulus;
use super::weather::Weather;
use crate::audio::g711::Codec;
use crate::engine::affinity::{self, Role};
use crate::engine::arrival::{self, Arrivals};
use crate::engine::clock::SystemClock;
use crate::rtp::RtpTimestamp;
use crate::time::{Clock, Instant};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What is said: 400 ms of a tone, and then nothing until the reply has ended.
const TONE_SAMPLES: i32 = 3200;
/// From one exchange to the next: the stimulus, the largest delay, the reply, and a pause.
const EXCHANGE: Duration = Duration::from_millis(1800);
/// How long a responder waits for a packet before it looks at its own clock.
const LOOK: Duration = Duration::from_millis(1);

/// What a calibration measures.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many exchanges.
    pub exchanges: u32,
    /// The programmed delay; below 600 ms, and best no multiple of 20 ms.
    pub delay: Duration,
    /// What lies between the two.
    pub weather: Weather,
    /// The chance in it.
    pub seed: u64,
}

/// The figures of one run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Each exchange.
    pub results: Vec<Result<Measurement, Discard>>,
    /// How far each figure was off after what the channel adds: ingress, in milliseconds.
    pub ingress_errors: Vec<f64>,
    /// The same behind the de-jitter buffer.
    pub playout_errors: Vec<f64>,
}

impl Run {
    /// Sums up.
    #[must_use]
    pub fn calibration(&self, conditions: String) -> Calibration {
        Calibration::of(conditions, &self.ingress_errors, &self.playout_errors)
    }
}

enum Event {
    Line(News),
}

/// Runs a calibration, in real time.
///
/// # Errors
/// What the system says.
pub fn run(settings: &Settings, clock: &Arc<SystemClock>) -> io::Result<Run> {
    let pcm: Vec<i16> = (0..TONE_SAMPLES).map(|n| (9000.0 * (f64::from(n) * 0.61).sin()) as i16).collect();
    let stimulus = Stimulus::new("tone", pcm).ok_or(io::ErrorKind::InvalidData)?;
    let ports = Ports::bind(Ipv4Addr::LOCALHOST.into())?;
    let timestamp = RtpTimestamp(settings.seed as u32);
    let (expect, expected) = crossbeam_channel::bounded(64);
    let stop = Arc::new(AtomicBool::new(false));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let remote = socket.local_addr()?;
    let responder = Responder::new(settings.delay, Codec::Pcmu, timestamp, clock.now());
    let peer = Peer { socket, to: ports.local, clock: clock.clone(), expected, stop: stop.clone() };
    let thread = std::thread::Builder::new().name("responder".into()).spawn(move || peer.run(responder))?;
    let (events, news) = line::events();
    let route = Route { remote, codec: Codec::Pcmu, weather: settings.weather, seed: settings.seed, timestamp };
    let line = Line::start(ports, route, clock, &events, Event::Line)?;
    let mut capture = Capture::default();
    let mut exchanges: Vec<Exchange> = Vec::new();
    // A second first, by which both ends know the channel.
    let mut next = clock.now() + Duration::from_secs(1);
    let mut said = 0;
    loop {
        let now = clock.now();
        if now >= next {
            if said == settings.exchanges {
                break;
            }
            if let Some(last) = exchanges.last_mut() {
                last.ended = now;
            }
            line.say(stimulus.pcm.clone().into());
            said += 1;
            next += EXCHANGE;
        }
        match news.recv_timeout(next.since(now)) {
            Ok(Event::Line(News::Began { first_sample, at })) => {
                let speech_end = first_sample + stimulus.speech_end as u64 - 1;
                let _ = expect.try_send(speech_end);
                exchanges.push(Exchange { speech_end, began: at, quiet_since: at, ended: at + EXCHANGE });
            }
            Ok(Event::Line(News::Sent(sent))) => capture.sent.push(sent),
            Ok(Event::Line(News::Received(received))) => capture.received.push(received),
            Ok(Event::Line(News::Said)) | Err(_) => {}
        }
    }
    line.stop();
    stop.store(true, Ordering::Release);
    // A thread that panicked has told nothing, and the figures are missing.
    let _ = thread.join();
    capture.received.sort_by_key(|received| received.at);
    let stream = Stream::of(&capture.received, Codec::Pcmu);
    let results: Vec<_> = exchanges.iter().map(|exchange| measure(&capture, &stream, exchange)).collect();
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
    let (delay, target) = (milliseconds(settings.delay), milliseconds(PLAYOUT_TARGET));
    // What a channel of this kind adds is known beforehand (§7.6): half of an even spread on the way back, whose other way the
    // responder takes out itself.
    let jitter = milliseconds(settings.weather.jitter) / 2.0;
    let errors = |figure: fn(&Measurement) -> f64, added: f64| {
        results.iter().flatten().map(|measured| figure(measured) - added - delay).collect()
    };
    Ok(Run {
        ingress_errors: errors(Measurement::ingress, jitter),
        playout_errors: errors(Measurement::playout, target),
        results,
    })
}

/// The responder's thread.
struct Peer {
    socket: UdpSocket,
    to: SocketAddr,
    clock: Arc<SystemClock>,
    expected: crossbeam_channel::Receiver<u64>,
    stop: Arc<AtomicBool>,
}

impl Peer {
    fn run(self, mut responder: Responder) {
        let _ = affinity::settle(Role::Session);
        arrival::ask(&self.socket);
        let (mut bytes, mut arrivals) = ([0; 1500], Arrivals::default());
        while !self.stop.load(Ordering::Acquire) {
            self.expected.try_iter().for_each(|speech_end| responder.expect(speech_end));
            let now = self.clock.now();
            if let Some(packet) = responder.poll_packet(now) {
                // What the network does not take is lost, as on any network.
                let _ = self.socket.send_to(&packet, self.to);
                continue;
            }
            self.wait(responder.poll_timeout(), now);
            while let Ok((len, _, at)) = arrivals.receive(&self.socket, &mut bytes, &*self.clock) {
                responder.handle_packet(&bytes[..len], at);
            }
        }
    }

    /// Sleeps until the next packet is due, but looks at what has come in between.
    fn wait(&self, due: Instant, now: Instant) {
        // A wait for the socket ends on a tick of the system's; the last stretch to the deadline is slept exactly.
        let _ = self.socket.set_nonblocking(true);
        std::thread::park_timeout((due - now).min(LOOK));
    }
}
