//! One mono frame at a time: codec, sample rates, and whether anyone speaks in it.
//!
//! On the live path a caller's 20 ms go through [`g711`] (bytes to 160 samples at 8 kHz) and [`resample::Up2`] (320 samples at
//! 16 kHz, 1.94 ms later), or through [`g722`] (to 320 samples at once), then [`activity`] (speech or not) and [`tone`] (a key or
//! none); what a peer leaves out is [`comfort_noise`]. The agent's go the other way through [`resample::Down3`] where its
//! voice speaks at 24 kHz, 1.875 ms later. All of these own fixed arrays, ask nothing of the heap, and take blocks of any
//! length. [`dual_tone`] is a key as it sounds. [`resample::Converter`] is for voices at other rates, off the live path.

pub mod activity;
mod background;
pub mod comfort_noise;
pub mod dual_tone;
pub mod g711;
pub mod g722;
pub mod resample;
pub mod tone;
