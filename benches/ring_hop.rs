//! What it costs to hand a frame to another thread: the ring alone, and the ring with the bell that wakes its reader.

use divan::{Bencher, black_box};
use offhook::call::{EarFrame, FRAME_8K, FRAME_16K};
use offhook::engine::rings;
use offhook::providers::Bell;
use offhook::time::Instant;
use rtrb::{Consumer, Producer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    let (mut to, mut from) = rings::ear_frames();
    for n in 0..1000 {
        assert!(to.push(frame(n)).is_ok());
        assert_eq!(from.pop().map(|frame| frame.arrived), Ok(Instant::from_nanos(n)));
    }
    let mut echo = Echo::start();
    for n in 0..1000 {
        assert_eq!(echo.round_trip(n), Instant::from_nanos(n), "each frame comes back, in order");
    }
    echo.end();
    divan::main();
}

fn frame(n: u64) -> EarFrame {
    let pcm = [n as i16; FRAME_16K];
    EarFrame { pcm, ulaw: [0; FRAME_8K], arrived: Instant::from_nanos(n), speech: false, concealed: false }
}

/// A thread that parks, and sends every frame back.
struct Echo {
    to: Producer<EarFrame>,
    from: Consumer<EarFrame>,
    bell: Bell,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Echo {
    fn start() -> Self {
        let (to, mut frames) = rings::ear_frames();
        let (mut back, from) = rings::ear_frames();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, here) = (stop.clone(), Bell::for_thread(std::thread::current()));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                while let Ok(frame) = frames.pop() {
                    assert!(back.push(frame).is_ok());
                    here.ring();
                }
                std::thread::park();
            }
        });
        let bell = Bell::for_thread(thread.thread().clone());
        Self { to, from, bell, stop, thread }
    }

    /// Sends a frame there and waits, parked, until it is back.
    fn round_trip(&mut self, n: u64) -> Instant {
        assert!(self.to.push(frame(n)).is_ok());
        self.bell.ring();
        loop {
            match self.from.pop() {
                Ok(frame) => return frame.arrived,
                Err(_) => std::thread::park(),
            }
        }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
        self.thread.join().expect("it does not panic");
    }
}

/// Push and pop on one thread: the copy of a frame, twice.
#[divan::bench]
fn same_thread(bencher: Bencher<'_, '_>) {
    let (mut to, mut from) = rings::ear_frames();
    let sent = frame(1);
    bencher.bench_local(|| {
        let _ = to.push(black_box(sent));
        black_box(from.pop())
    });
}

/// There and back between two parked threads: two hops, each with a wake-up by the system.
#[divan::bench]
fn round_trip_between_parked_threads(bencher: Bencher<'_, '_>) {
    let mut echo = Echo::start();
    bencher.bench_local(|| echo.round_trip(1));
    echo.end();
}
