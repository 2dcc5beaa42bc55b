//! The agent on this machine: voice and mind without a key and without the network.

pub mod receptionist;
pub mod voice;
