//! The edge of a call that is encrypted: what comes in is unprotected before anyone looks at it, what goes out is protected last.

use crate::rtp::Discard;
use crate::rtp::packet::DATAGRAM_LEN_MAX;
use crate::rtp::srtp::{Inbound, Outbound, Profile, TRAILER_LEN_MAX};
use crate::sdp::Keys;
use crate::sdp::crypto::Suite;
use crate::time::Instant;
use std::time::Duration;

/// How long packets under the key before the last are still let in: those on their way when the answer left, and those that the
/// peer sent until it had read it.
const FORMER_KEY_LIFE: Duration = Duration::from_secs(2);

/// Room for the largest datagram that is read.
pub const PLAIN_LEN: usize = DATAGRAM_LEN_MAX + TRAILER_LEN_MAX;

/// A datagram as it came in, readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unprotected<'a> {
    /// The packet.
    pub bytes: &'a [u8],
    /// Whether its tag says that it is the peer's, wherever it came from.
    pub authenticated: bool,
}

/// The keys of one call, at work; without keys, as at first, everything passes as it is.
#[derive(Debug, Default)]
pub struct Protection {
    keys: Option<Keys>,
    inbound: Option<Inbound>,
    outbound: Option<Outbound>,
    /// The peer's key before the last, and until when it counts.
    former: Option<(Inbound, Instant)>,
}

impl Protection {
    /// Takes the keys of an offer and its answer; `None`: the call is not encrypted. A key that stays goes on as it stands:
    /// a re-INVITE for hold neither lets old packets in again nor uses an index twice.
    ///
    /// # Real-time
    /// A few AES blocks and hashes; no heap.
    pub fn set_keys(&mut self, keys: Option<&Keys>, now: Instant) {
        let before = self.keys.take();
        let suite = |keys: &Keys| profile(keys.suite);
        let stays = |of: fn(&Keys) -> &[u8]| match (&before, keys) {
            (Some(before), Some(keys)) => before.suite == keys.suite && of(before) == of(keys),
            (None, None) => true,
            _ => false,
        };
        if !stays(|keys| keys.theirs.as_bytes()) {
            let inbound =
                keys.and_then(|keys| Inbound::new(suite(keys), keys.theirs.as_bytes(), self.inbound.as_ref()));
            let former = std::mem::replace(&mut self.inbound, inbound);
            self.former = former.map(|former| (former, now + FORMER_KEY_LIFE));
        }
        if !stays(|keys| keys.ours.as_bytes()) {
            let position = self.outbound.as_ref().and_then(Outbound::position);
            self.outbound = keys.and_then(|keys| Outbound::new(suite(keys), keys.ours.as_bytes(), position));
        }
        self.keys = keys.cloned();
    }

    /// Reads a datagram, into `plain` where it is encrypted; `rtcp` says which of both it is.
    ///
    /// # Errors
    /// [`Discard::Authentication`], [`Discard::Replay`], [`Discard::Malformed`]: nothing has changed but the count to come.
    ///
    /// # Real-time
    /// Bounded by the datagram and two keys; no heap.
    pub fn unprotect<'a>(
        &mut self,
        rtcp: bool,
        datagram: &'a [u8],
        now: Instant,
        plain: &'a mut [u8; PLAIN_LEN],
    ) -> Result<Unprotected<'a>, Discard> {
        if self.former.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.former = None;
        }
        let is_encrypted = self.keys.is_some();
        if !is_encrypted && self.former.is_none() {
            return Ok(Unprotected { bytes: datagram, authenticated: false });
        }
        let Self { inbound, former, .. } = self;
        let plain = plain.get_mut(..datagram.len()).ok_or(Discard::Malformed)?;
        plain.copy_from_slice(datagram);
        let mut refused = Discard::Authentication;
        for key in inbound.iter_mut().chain(former.iter_mut().map(|(former, _)| former)) {
            let len = if rtcp { key.unprotect_rtcp(plain) } else { key.unprotect_rtp(plain) };
            match len {
                Ok(len) => return Ok(Unprotected { bytes: plain.get(..len).unwrap_or_default(), authenticated: true }),
                Err(Discard::Authentication) => {}
                Err(other) => {
                    refused = other;
                    break;
                }
            }
        }
        // Encryption has just been given up: what is not under the former key is plain.
        if !is_encrypted && refused != Discard::Replay {
            return Ok(Unprotected { bytes: datagram, authenticated: false });
        }
        Err(refused)
    }

    /// Makes the packet that is the first `len` bytes of `buffer` ready to go out; returns its length. `None`: it must not. The
    /// buffer has room for [`TRAILER_LEN_MAX`] more bytes.
    ///
    /// # Real-time
    /// Bounded by the packet; no heap.
    pub fn protect(&mut self, rtcp: bool, buffer: &mut [u8], len: usize) -> Option<usize> {
        if self.keys.is_none() {
            return Some(len);
        }
        let outbound = self.outbound.as_mut()?;
        if rtcp { outbound.protect_rtcp(buffer, len) } else { outbound.protect_rtp(buffer, len) }
    }
}

/// The profile of a suite.
const fn profile(suite: Suite) -> Profile {
    match suite {
        Suite::AesCm128Sha80 => Profile::Aes128Sha80,
        Suite::AesCm128Sha32 => Profile::Aes128Sha32,
        Suite::Aes256CmSha80 => Profile::Aes256Sha80,
        Suite::Aes256CmSha32 => Profile::Aes256Sha32,
    }
}
