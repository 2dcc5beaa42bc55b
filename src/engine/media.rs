//! A media worker: packets as they come and the 20 ms tick, over all its calls.
//!
//! The worker sleeps to the nearest deadline of its calls, and is woken by the bell of the threads that put something
//! into one of its rings. It touches no heap, no lock and no log; its system calls are its own sleep, the packets it
//! sends, and the wake-up of a thread that sleeps at the other end of a ring.

use crate::call::{Call, Measure, TapFrame, Wire};
use crate::engine::rings::Datagram;
use crate::ids::CallId;
use crate::metrics::{Kind, Sample};
use crate::providers::Bell;
use crate::sdp::answer::Agreed;
use crate::time::Instant;
use rtrb::{Consumer, Producer};
use std::net::{SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a worker without a deadline sleeps: it is woken by its bell, so this only bounds the effect of a lost ring.
const IDLE: Duration = Duration::from_millis(100);

/// What net wants of a worker.
pub enum WorkerOrder {
    /// Take a call over; its media begin.
    Add(Box<Line>),
    /// Let a call go: it comes back by the retired ring.
    Remove(CallId),
    /// The session has changed: codec, addresses, direction.
    Change(CallId, Agreed),
    /// Let somebody listen to a call.
    Tap(CallId, Producer<TapFrame>),
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
    net: Bell,
    counters: Arc<WorkerCounters>,
}

impl Worker {
    /// Makes a worker for at most `calls_max` calls.
    #[must_use]
    pub fn new(
        calls_max: usize,
        orders: Consumer<WorkerOrder>,
        retired: Producer<Box<Line>>,
        samples: Producer<Sample>,
        net: Bell,
        counters: Arc<WorkerCounters>,
    ) -> Self {
        Self { lines: Vec::with_capacity(calls_max), orders, retired, samples, net, counters }
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
            let line = &mut self.lines[at];
            let mut out = Out {
                call: line.call.id(),
                rtp: &line.rtp,
                rtcp: &line.rtcp,
                samples: &mut self.samples,
                counters: &self.counters,
            };
            let work = catch_unwind(AssertUnwindSafe(|| {
                while let Ok(datagram) = line.packets.pop() {
                    let bytes = datagram.bytes.get(..usize::from(datagram.len)).unwrap_or_default();
                    line.call.datagram(datagram.rtcp, datagram.source, bytes, datagram.arrived, &mut out);
                }
                line.call.handle_timeout(now, &mut out);
                line.call.take_wakes()
            }));
            match work {
                Ok(wakes) => {
                    if wakes.ears {
                        line.ears.ring();
                    }
                    if wakes.conductor {
                        line.conductor.ring();
                    }
                    next = next.min(line.call.poll_timeout());
                    at += 1;
                }
                Err(_panic) => {
                    line.failed = true;
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
        loop {
            // A Remove needs room in the retired ring; where there is none it stays in its own until there is.
            match self.orders.peek() {
                Ok(WorkerOrder::Remove(_)) if self.retired.is_full() => return,
                Ok(_) => {}
                Err(_) => return,
            }
            match self.orders.pop() {
                // The vector was made for every call that net admits, so this does not grow it.
                Ok(WorkerOrder::Add(mut line)) => {
                    line.call.start(now);
                    self.lines.push(line);
                }
                Ok(WorkerOrder::Remove(id)) => {
                    if let Some(at) = self.find(id) {
                        self.lines[at].call.close(now);
                        self.lines[at].conductor.ring();
                        self.retire(at);
                    }
                }
                Ok(WorkerOrder::Change(id, agreed)) => {
                    if let Some(at) = self.find(id) {
                        self.lines[at].call.change(&agreed, now);
                    }
                }
                Ok(WorkerOrder::Tap(id, tap)) => {
                    if let Some(at) = self.find(id) {
                        self.lines[at].call.tap(tap);
                    }
                }
                Err(_) => return,
            }
        }
    }

    fn find(&self, id: CallId) -> Option<usize> {
        self.lines.iter().position(|line| line.call.id() == id)
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

/// Where a call's packets and measurements go.
struct Out<'a> {
    call: CallId,
    rtp: &'a UdpSocket,
    rtcp: &'a UdpSocket,
    samples: &'a mut Producer<Sample>,
    counters: &'a WorkerCounters,
}

impl Wire for Out<'_> {
    fn send(&mut self, rtcp: bool, to: SocketAddr, bytes: &[u8]) -> bool {
        let socket = if rtcp { self.rtcp } else { self.rtp };
        let sent = socket.send_to(bytes, to).is_ok();
        let counter = if sent { &self.counters.sent } else { &self.counters.send_errors };
        counter.fetch_add(1, Ordering::Relaxed);
        sent
    }

    fn measure(&mut self, what: Measure, value: Duration) {
        let kind = match what {
            Measure::InterarrivalJitter => Kind::InterarrivalJitter,
            Measure::GapWait => Kind::GapWait,
            Measure::PacingError => Kind::PacingError,
        };
        if self.samples.push(Sample { kind, call: self.call, value }).is_err() {
            self.counters.samples_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
