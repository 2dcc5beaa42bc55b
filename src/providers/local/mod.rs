//! The agent on this machine: voice and mind without a key and without the network.

pub mod g2p;
pub mod hibari;
pub mod receptionist;
pub mod speech;
pub mod vocoder;
pub mod voice;
