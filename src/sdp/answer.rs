//! The answer to an offer, and our own offer: codec, direction, ptime (RFC 3264 §5, §6).

use super::{Agreed, Error};
use std::net::{IpAddr, SocketAddr};

/// One call's side of offer and answer: keeps the session's id and version over re-offers.
#[derive(Clone, Debug)]
pub struct Negotiation {
    session_id: u64,
    local: SocketAddr,
}

impl Negotiation {
    /// Begins for a call whose RTP port is `local`: the address that routes to the peer, never `0.0.0.0`. `session_id`
    /// is random, below 2^62 (RFC 8866 §5.2).
    #[must_use]
    pub fn new(session_id: u64, local: SocketAddr) -> Self {
        Self { session_id, local }
    }

    /// Answers `offer`, the body of an INVITE, re-INVITE or UPDATE. Returns our description and what is agreed upon.
    ///
    /// # Errors
    /// What is wrong with the offer; the session stays as it was.
    pub fn answer(&mut self, offer: &[u8]) -> Result<(Vec<u8>, Agreed), Error> {
        let _ = (offer, self.session_id, self.local);
        Err(Error::NoAudio)
    }

    /// Returns our offer, for an INVITE or re-INVITE without one.
    pub fn offer(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Reads the answer to the last [`Self::offer`], the body of an ACK.
    ///
    /// # Errors
    /// What is wrong with the answer: the call cannot go on.
    pub fn read_answer(&mut self, answer: &[u8]) -> Result<Agreed, Error> {
        let _ = answer;
        Err(Error::NotAnAnswer)
    }

    /// Puts `address` in place of the address in our descriptions from here on.
    pub fn set_address(&mut self, address: IpAddr) {
        self.local.set_ip(address);
    }
}
