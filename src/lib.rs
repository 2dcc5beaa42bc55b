//! Offhook answers the phone with an AI agent. This is the map; each folder's `mod.rs` opens with its own half page.

pub mod agent;
pub mod audio;
pub mod call;
pub mod config;
pub mod control;
pub mod engine;
pub mod ids;
pub mod jitter;
pub mod metrics;
pub mod providers;
pub mod rtp;
pub mod sdp;
pub mod sip;
pub mod time;
pub mod turn;
