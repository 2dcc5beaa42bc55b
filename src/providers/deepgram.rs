//! Speech to text by Deepgram, over a WebSocket: 20 ms frames up, turns or words down.
//!
//! Flux tells turns (`turns`), and how eagerly is learnt (`eager`); Nova tells words (`results`), of which turns are made on this
//! machine ([`super::endpoint`]). What both send is in `outbox` until it needs no second time, and goes over one `connection`.

mod cadence;
mod connection;
mod eager;
mod flux;
mod nova;
mod outbox;
mod results;
mod turns;

pub use flux::Flux;
pub use nova::Nova;
