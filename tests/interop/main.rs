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

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One call in which sound is judged at a time: two cores hardly carry two recognisers, two voices and two softphones.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
