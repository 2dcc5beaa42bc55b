//! What is measured, under which name, in which unit.
//!
//! ```text
//! media path ── Sample, Record (Copy, by ring) ──▶ stats and journal threads ──▶ Board ──▶ control: /status /calls /metrics
//! net and conductor threads ── small methods of Board ───────────────────────────▲
//! ```
//!
//! The media path only ever copies a [`Sample`] or a [`Record`] into a ring; whoever drains the ring may lock and allocate.

pub mod board;
pub mod histogram;
pub mod journal;
pub mod prometheus;
pub mod view;

pub use board::Board;
pub use histogram::{Distribution, Kind, Percentiles, Sample, Stage};
pub use journal::{Entry, Journal, Record, What};
pub use view::{CallState, CallView, Counter, Ended, Invited, Latency, ProviderNames, Quality, Totals, TurnView};
