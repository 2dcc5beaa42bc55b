//! Packets in whenever; the caller's speech out in order, as soon as it can be known.

pub mod conceal;
