//! What is measured, under which name, in which unit.
//!
//! ```text
//! media path ── Sample, Quality (Copy, by ring) ──▶ stats thread ──▶ Board ──▶ control: /status /calls /metrics
//! net and conductor threads ── small methods of Board ──────────────▲
//! Board ── Event, snapshot ──▶ Events ──▶ control: /events, webhooks
//! all threads but the media path's ── lines ──▶ Journal ──▶ log thread
//! ```
//!
//! The media path only ever copies a [`Sample`] or a [`Quality`] into a ring; whoever drains the ring may lock and allocate.

pub mod board;
pub mod cdr;
pub mod emodel;
pub mod events;
pub mod health;
pub mod histogram;
pub mod journal;
pub mod prometheus;
pub mod rolling;
pub mod slo;
pub mod view;

pub use board::Board;
pub use events::{Event, Events, What};
pub use histogram::{Distribution, Kind, Percentiles, Sample};
pub use journal::{Entry, Field, Journal};
pub use view::{
    CallState, CallView, Counter, Ended, Invited, ProviderFailure, ProviderNames, Quality, Speculation, Totals,
    TurnView,
};
