//! Whole calls in virtual time: callers, a bad network, and the engine's machines wired as its threads wire them.
//!
//! One file per behaviour. A test that fails prints its seed; `SIM_SEED=n` replays it.

mod attackers;
mod barge_in;
mod call;
mod conversation;
mod dtmf;
mod echo;
mod faults;
mod heard;
mod hold;
mod jitter;
mod no_audio;
mod pacing;
mod register;
mod speculation;
mod srtp;
mod support;
mod whole;
