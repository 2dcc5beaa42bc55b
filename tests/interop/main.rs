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

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};

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

/// Makes a call whose sound is judged, up to three times: a machine that stands still for a tenth of a second in mid-word tears
/// whatever is said, and no engine can help it.
fn judged<T>(mut call: impl FnMut() -> T) -> T {
    for _ in 0..2 {
        match catch_unwind(AssertUnwindSafe(&mut call)) {
            Ok(outcome) => return outcome,
            Err(_) => eprintln!("JUDGED AGAIN: the call did not sound as it should"),
        }
    }
    call()
}
