//! A media worker: packets as they come and the 20 ms tick, over all its calls.
//!
//! The worker sleeps to the nearest deadline of its calls, and is woken by the bell of the threads that put something
//! into one of its rings. It touches no heap, no lock and no log; its system calls are its own sleep, the packets it
//! sends, and the wake-up of a thread that sleeps at the other end of a ring.

use crate::call::{Call, Measure, TapFrame, Wire};
use crate::engine::clock::SystemClock;
use crate::engine::pcap::Packets;
use crate::engine::rings::Datagram;
use crate::ids::CallId;
use crate::metrics::{Kind, Quality, Sample};
use crate::providers::Bell;
use crate::rtp::{CLOCK_RATE, Discard};
use crate::sdp::{Agreed, Keys};
use crate::time::{Clock, Instant, samples};
use rtrb::{Consumer, Producer};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a worker without a deadline sleeps: it is woken by its bell, so this only bounds the effect of a lost ring.
const IDLE: Duration = Duration::from_millis(100);

/// How often the table of calls is told how a call's media flow.
const QUALITY_INTERVAL: Duration = Duration::from_millis(500);

/// What net wants of a worker.
pub enum WorkerOrder {
    /// Take a call over; its media begin.
    Add(Box<Line>),
    /// Let a call go: it comes back by the retired ring.
    Remove(CallId),
    /// The session has changed: codec, addresses, direction.
    Change(CallId, Agreed),
    /// Its signalling comes from another peer; a [`Self::Change`] follows.
    Signalling(CallId, IpAddr),
    /// The keys of the session that the next change is of; `None`: it is not encrypted.
    Secure(CallId, Option<Keys>),
    /// Let somebody listen to a call.
    Tap(CallId, Producer<TapFrame>),
    /// Copy what a call sends; at most once in a call.
    Pcap(CallId, Packets),
}

/// A call on a worker, with what it is connected to.
pub struct Line {
    /// The call.
    pub call: Call,
    /// Its datagrams.
    pub packets: Consumer<Datagram>,
    /// The socket of its RTP port.
    pub rtp: Arc<UdpSocket>,
    /// The socket of its RTCP port.
    pub rtcp: Arc<UdpSocket>,
    /// Wakes its ears.
    pub ears: Bell,
    /// Wakes its conductor.
    pub conductor: Bell,
    /// Copies what it sends, once that was asked for.
    pub pcap: Option<Packets>,
    /// When its quality is told next.
    pub quality_due: Instant,
    /// Whether its work panicked: the call is ended, and no other.
    pub failed: bool,
}

/// What a worker counts, readable at any time.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// Packets sent.
    pub sent: AtomicU64,
    /// Packets that the kernel refused: no route, or its buffer is full.
    pub send_errors: AtomicU64,
    /// Samples that found their ring full.
    pub samples_dropped: AtomicU64,
    /// Calls ended by a panic.
    pub panics: AtomicU64,
}

/// The worker; [`Self::do_work`] is its whole thread body but for the sleep.
pub struct Worker {
    lines: Vec<Box<Line>>,
    orders: Consumer<WorkerOrder>,
    retired: Producer<Box<Line>>,
    samples: Producer<Sample>,
    quality: Producer<(CallId, Quality)>,
    net: Bell,
    clock: Arc<SystemClock>,
    counters: Arc<WorkerCounters>,
}

impl Worker {
    /// Makes a worker for at most `calls_max` calls.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "each is one end of what connects it")]
    pub fn new(
        calls_max: usize,
        orders: Consumer<WorkerOrder>,
        retired: Producer<Box<Line>>,
        samples: Producer<Sample>,
        quality: Producer<(CallId, Quality)>,
        net: Bell,
        clock: Arc<SystemClock>,
        counters: Arc<WorkerCounters>,
    ) -> Self {
        Self { lines: Vec::with_capacity(calls_max), orders, retired, samples, quality, net, clock, counters }
    }

    /// Does all that is due at `now` and returns when the next thing is.
    ///
    /// # Real-time
    /// No heap, no lock, no log; bounded by the rings' capacities and the number of calls.
    pub fn do_work(&mut self, now: Instant) -> Instant {
        let mut next = now + IDLE;
        self.take_orders(now);
        let mut at = 0;
        while at < self.lines.len() {
            let Line { call, packets, rtp, rtcp, ears, conductor, pcap, quality_due, .. } = &mut *self.lines[at];
            let mut out = Out {
                call: call.id(),
                rtp,
                rtcp,
                pcap,
                samples: &mut self.samples,
                clock: &self.clock,
                counters: &self.counters,
            };
            let work = catch_unwind(AssertUnwindSafe(|| {
                while let Ok(datagram) = packets.pop() {
                    let bytes = datagram.bytes.get(..usize::from(datagram.len)).unwrap_or_default();
                    call.datagram(datagram.rtcp, datagram.source, bytes, datagram.arrived, &mut out);
                }
                call.handle_timeout(now, &mut out);
                call.take_wakes()
            }));
            match work {
                Ok(wakes) => {
                    if wakes.ears {
                        ears.ring();
                    }
                    if wakes.conductor {
                        conductor.ring();
                    }
                    if now >= *quality_due {
                        *quality_due = now + QUALITY_INTERVAL;
                        // A snapshot that finds no room is followed by the next.
                        let _ = self.quality.push((call.id(), quality(call)));
                    }
                    next = next.min(call.poll_timeout());
                    at += 1;
                }
                Err(_panic) => {
                    self.lines[at].failed = true;
                    self.counters.panics.fetch_add(1, Ordering::Relaxed);
                    if !self.retire(at) {
                        at += 1;
                    }
                }
            }
        }
        next
    }

    fn take_orders(&mut self, now: Instant) {
        // A Remove needs room in the retired ring; where there is none it stays in its own until there is.
        while !(self.retired.is_full() && matches!(self.orders.peek(), Ok(WorkerOrder::Remove(_)))) {
            let Ok(order) = self.orders.pop() else { return };
            self.obey(order, now);
        }
    }

    /// Carries out an order; one for a call that is gone is nothing.
    fn obey(&mut self, order: WorkerOrder, now: Instant) {
        match order {
            // The vector was made for every call that net admits, so this does not grow it.
            WorkerOrder::Add(line) => self.lines.push(line),
            WorkerOrder::Remove(id) => {
                if let Some(at) = self.find(id) {
                    self.close(at, now);
                    self.retire(at);
                }
            }
            WorkerOrder::Change(id, agreed) => {
                if let Some(line) = self.line(id) {
                    line.call.change(&agreed, now);
                }
            }
            WorkerOrder::Signalling(id, from) => {
                if let Some(line) = self.line(id) {
                    line.call.set_signalling(from);
                }
            }
            WorkerOrder::Secure(id, keys) => {
                if let Some(line) = self.line(id) {
                    line.call.set_keys(keys.as_ref(), now);
                }
            }
            WorkerOrder::Tap(id, tap) => {
                if let Some(line) = self.line(id) {
                    // Where as many listen as may, this ring is dropped, and the listener sees that it is abandoned.
                    let _ = line.call.listen(tap);
                }
            }
            WorkerOrder::Pcap(id, packets) => {
                if let Some(line) = self.line(id) {
                    line.pcap = Some(packets);
                }
            }
        }
    }

    fn close(&mut self, at: usize, now: Instant) {
        let Line { call, rtp, rtcp, pcap, conductor, .. } = &mut *self.lines[at];
        let mut out = Out {
            call: call.id(),
            rtp,
            rtcp,
            pcap,
            samples: &mut self.samples,
            clock: &self.clock,
            counters: &self.counters,
        };
        call.close(now, &mut out);
        conductor.ring();
    }

    fn find(&self, id: CallId) -> Option<usize> {
        self.lines.iter().position(|line| line.call.id() == id)
    }

    fn line(&mut self, id: CallId) -> Option<&mut Line> {
        self.lines.iter_mut().map(|line| &mut **line).find(|line| line.call.id() == id)
    }

    /// Hands a line back to net, which drops it; returns whether there was room.
    fn retire(&mut self, at: usize) -> bool {
        if self.retired.is_full() {
            return false;
        }
        let line = self.lines.swap_remove(at);
        let pushed = self.retired.push(line).is_ok();
        self.net.ring();
        pushed
    }
}

impl Line {
    /// How the call's media flow, as the table of calls shows it.
    pub fn quality(&self) -> Quality {
        quality(&self.call)
    }
}

fn quality(call: &Call) -> Quality {
    let (stats, discards, sent) = (call.stats(), call.discards(), call.sent());
    Quality {
        packets_received: stats.packets_received,
        lost: stats.packets_lost,
        late: stats.packets_discarded,
        duplicate: stats.packets_duplicated,
        foreign: discards.of(Discard::Foreign) + discards.of(Discard::Unconfirmed),
        discarded: discards.total() - discards.of(Discard::Late) - discards.of(Discard::Duplicate),
        concealed: samples::duration(stats.concealed_samples, CLOCK_RATE),
        filler: call.filler(),
        packets_sent: sent.packets_sent,
        underruns: call.underruns(),
        remote_inbound: call.remote_inbound(),
        round_trip: call.round_trip(),
        echo: call.echo(),
        remote: call.remote(),
    }
}

/// Where a call's packets and measurements go.
struct Out<'a> {
    call: CallId,
    rtp: &'a UdpSocket,
    rtcp: &'a UdpSocket,
    pcap: &'a mut Option<Packets>,
    samples: &'a mut Producer<Sample>,
    clock: &'a SystemClock,
    counters: &'a WorkerCounters,
}

impl Wire for Out<'_> {
    fn send(&mut self, rtcp: bool, to: SocketAddr, bytes: &[u8]) -> Option<Instant> {
        let socket = if rtcp { self.rtcp } else { self.rtp };
        let sent = socket.send_to(bytes, to).is_ok();
        let counter = if sent { &self.counters.sent } else { &self.counters.send_errors };
        counter.fetch_add(1, Ordering::Relaxed);
        let at = sent.then(|| self.clock.now())?;
        if let Some(pcap) = self.pcap {
            pcap.push(rtcp, to, at, bytes);
        }
        Some(at)
    }

    fn measure(&mut self, what: Measure, value: Duration) {
        let kind = match what {
            Measure::InterarrivalJitter => Kind::Jitter,
            Measure::GapWait => Kind::GapWait,
            Measure::PacingError => Kind::PacingError,
            Measure::BargeIn => Kind::BargeIn,
            Measure::RoundTrip => Kind::RoundTrip,
        };
        if self.samples.push(Sample { kind, call: self.call, value }).is_err() {
            self.counters.samples_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
