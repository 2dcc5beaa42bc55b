//! One mono frame at a time: codec, sample rates, and whether anyone speaks in it.

pub mod activity;
pub mod g711;
pub mod resample;
