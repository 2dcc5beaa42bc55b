//! The agent on this machine: voice and mind without a key and without the network.

pub mod g2p;
pub mod receptionist;
pub mod voice;
