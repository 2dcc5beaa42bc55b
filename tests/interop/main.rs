//! Real telephones against the real binary on loopback. What is not installed is skipped aloud, or fails with OFFHOOK_TEST_ALL=1.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "telephones live in real time")]

#[path = "../support/phone.rs"]
mod phone;
#[path = "../support/process.rs"]
mod process;
#[path = "../standin/mod.rs"]
mod standin;

mod accounts;
mod attackers;
mod baresip;
mod caller;
mod captures;
mod codecs;
mod doctor;
mod in_call;
mod kamailio;
mod microsip;
mod page;
mod pcap;
mod scanners;
mod sipp;
mod softphone;
mod sound;
mod srtp;
mod tools;
mod transfer;
mod transports;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Cores kept for calls in which sound is judged: two hardly carry two recognisers, two voices and two softphones.
#[must_use]
struct Cores(usize);

static FREE: Mutex<usize> = Mutex::new(2);
static GIVEN_BACK: Condvar = Condvar::new();

/// For a call with a recogniser and a voice of this machine's own.
fn alone() -> Cores {
    Cores::take(2)
}

/// For a call with the echo agent: one other may be beside it.
fn one_of_two() -> Cores {
    Cores::take(1)
}

impl Cores {
    fn take(count: usize) -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = GIVEN_BACK.wait_while(free, |free| *free < count).unwrap_or_else(PoisonError::into_inner);
        *free -= count;
        Self(count)
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(PoisonError::into_inner) += self.0;
        GIVEN_BACK.notify_all();
    }
}

/// How often it is looked whether the machine stands still.
const WATCH_EVERY: Duration = Duration::from_millis(5);
/// By how much the machine has to have been late for a call that failed meanwhile to prove nothing: a softphone's buffers
/// hold about two packets, and what is later tears the sound whatever the engine does.
const STALL_MIN: Duration = Duration::from_millis(40);

/// Makes a call whose sound is judged. One that fails while the machine stood still is made again, aloud, up to twice; on a
/// machine that keeps time the first one counts.
fn judged<T>(mut call: impl FnMut() -> T) -> T {
    for _ in 0..2 {
        let watch = Watch::start();
        let outcome = catch_unwind(AssertUnwindSafe(&mut call));
        let late = watch.stop();
        match outcome {
            Ok(outcome) => return outcome,
            Err(failure) if late < STALL_MIN => resume_unwind(failure),
            Err(_) => eprintln!("MADE AGAIN: the machine stood still for {late:?} during the call"),
        }
    }
    call()
}

/// Notes how late the machine wakes a thread that has a softphone's priority.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Watch {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut late = Duration::ZERO;
            while !stopped.load(Ordering::Acquire) {
                let asleep = Instant::now();
                std::thread::sleep(WATCH_EVERY);
                late = late.max(asleep.elapsed().saturating_sub(WATCH_EVERY));
            }
            late
        });
        Self { stop, thread }
    }

    /// Returns by how much it was late at most.
    fn stop(self) -> Duration {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("it only sleeps")
    }
}
