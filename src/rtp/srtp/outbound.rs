//! Our key at work: packets are encrypted and signed on their way out, and no index is ever used twice.

use super::session::{Purpose, Session};
use super::window::guess;
use super::{
    ENCRYPTED, INDEX_LEN, Profile, RTCP_CLEAR_LEN, RTCP_INDEX_END, RTP_INDEX_END, TAG_LEN, outline, rtcp_ssrc,
};
use crate::rtp::Ssrc;
use std::fmt;

/// Where a stream stands: its SSRC, and the index of its last packet.
pub type Position = (Ssrc, u64);

/// Protects what one side sends.
pub struct Outbound {
    rtp: Session,
    rtcp: Session,
    last: Option<Position>,
    rtcp_next: u32,
}

impl Outbound {
    /// Derives the session keys from `master`, key and salt; `None` where it has not the length of the profile's. `after`
    /// is where the stream stood under another key: the rollover counter goes on (RFC 3711 §3.3.1).
    #[must_use]
    pub fn new(profile: Profile, master: &[u8], after: Option<Position>) -> Option<Self> {
        if master.len() != profile.key_len() + super::SALT_LEN {
            return None;
        }
        let rtp = Session::new(master, Purpose::Rtp, profile.tag_len())?;
        let rtcp = Session::new(master, Purpose::Rtcp, TAG_LEN)?;
        Some(Self { rtp, rtcp, last: after, rtcp_next: 0 })
    }

    /// Returns where the stream stands.
    #[must_use]
    pub const fn position(&self) -> Option<Position> {
        self.last
    }

    /// Protects the RTP packet that is the first `len` bytes of `buffer`; returns its length with the tag. `None`, and it is
    /// not to be sent, where there is no room for the tag, where it does not follow upon the packet before it, or where
    /// the key's life is over.
    ///
    /// # Real-time
    /// Bounded by the packet; no heap.
    pub fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Option<usize> {
        let outline = outline(buffer.get(..len)?)?;
        let index = match self.last {
            Some((ssrc, last)) if ssrc == outline.ssrc => {
                guess(last, outline.sequence).filter(|index| *index > last)?
            }
            _ => u64::from(outline.sequence.0),
        };
        let end = len.checked_add(self.rtp.tag_len())?;
        let (packet, tag) = buffer.get_mut(..end)?.split_at_mut_checked(len)?;
        self.last = Some((outline.ssrc, index));
        self.rtp.apply(outline.ssrc, index, packet.get_mut(outline.payload..)?);
        self.rtp.sign(packet, &rollover(index), tag);
        Some(end)
    }

    /// Protects the RTCP packet that is the first `len` bytes of `buffer`; returns its length with index and tag. `None` as
    /// [`Self::protect_rtp`].
    ///
    /// # Real-time
    /// Bounded by the packet; no heap.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Option<usize> {
        let index = self.rtcp_next;
        if index >= RTCP_INDEX_END {
            return None;
        }
        let ssrc = rtcp_ssrc(buffer.get(..len)?)?;
        let signed_len = len.checked_add(INDEX_LEN)?;
        let end = signed_len.checked_add(TAG_LEN)?;
        let (signed, tag) = buffer.get_mut(..end)?.split_at_mut_checked(signed_len)?;
        let (packet, trailer) = signed.split_at_mut_checked(len)?;
        self.rtcp_next += 1;
        self.rtcp.apply(ssrc, u64::from(index), packet.get_mut(RTCP_CLEAR_LEN..)?);
        trailer.copy_from_slice(&(ENCRYPTED | index).to_be_bytes());
        self.rtcp.sign(signed, &[], tag);
        Some(end)
    }
}

/// The rollover counter of an index, which is signed and not sent (RFC 3711 §4.2).
pub(super) const fn rollover(index: u64) -> [u8; 4] {
    debug_assert!(index < RTP_INDEX_END);
    ((index >> 16) as u32).to_be_bytes()
}

/// Shows no key.
impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("last", &self.last).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16, ssrc: u8) -> [u8; 40] {
        let mut packet = [0xd5; 40];
        let [s0, s1] = sequence.to_be_bytes();
        packet[..12].copy_from_slice(&[0x80, 8, s0, s1, 0, 0, 0, 0, 0, 0, 0, ssrc]);
        packet
    }

    fn outbound() -> Outbound {
        Outbound::new(Profile::Aes128Sha80, &[3; 30], None).expect("a key")
    }

    #[test]
    fn a_key_of_the_wrong_length_is_none() {
        for profile in Profile::ALL {
            for len in [0, 16, 29, 30, 31, 32, 45, 46, 47] {
                let fits = len == profile.key_len() + 14;
                assert_eq!(Outbound::new(profile, &vec![1; len], None).is_some(), fits, "{profile:?} {len}");
            }
        }
    }

    #[test]
    fn no_index_is_used_twice() {
        let mut outbound = outbound();
        assert_eq!(outbound.protect_rtp(&mut packet(7, 1), 30), Some(40));
        assert_eq!(outbound.protect_rtp(&mut packet(7, 1), 30), None, "the same number again");
        assert_eq!(outbound.protect_rtp(&mut packet(6, 1), 30), None);
        assert_eq!(outbound.protect_rtp(&mut packet(9, 1), 30), Some(40));
        assert_eq!(outbound.protect_rtp(&mut packet(6, 2), 30), Some(40), "another stream has its own");
    }

    #[test]
    fn no_room_or_no_packet_is_not_sent() {
        let mut outbound = outbound();
        assert_eq!(outbound.protect_rtp(&mut packet(1, 1), 31), None, "no room for the tag");
        assert_eq!(outbound.protect_rtp(&mut packet(1, 1), 11), None);
        assert_eq!(outbound.protect_rtp(&mut packet(1, 1), 41), None);
        assert_eq!(outbound.protect_rtcp(&mut packet(1, 1), 27), None);
        assert_eq!(outbound.protect_rtcp(&mut packet(1, 1), 7), None);
        assert_eq!(outbound.protect_rtcp(&mut packet(1, 1), usize::MAX), None);
        assert_eq!(outbound.protect_rtcp(&mut packet(1, 1), 26), Some(40));
    }

    #[test]
    fn a_key_whose_life_is_over_sends_nothing_more() {
        let after = Some((Ssrc(1), RTP_INDEX_END - 2));
        let mut outbound = Outbound::new(Profile::Aes128Sha32, &[3; 30], after).expect("a key");
        assert_eq!(outbound.protect_rtp(&mut packet(0xffff, 1), 30), Some(34));
        assert_eq!(outbound.protect_rtp(&mut packet(0, 1), 30), None);
        outbound.rtcp_next = RTCP_INDEX_END - 1;
        assert_eq!(outbound.protect_rtcp(&mut packet(0, 1), 20), Some(34));
        assert_eq!(outbound.protect_rtcp(&mut packet(0, 1), 20), None);
    }

    #[test]
    fn nothing_of_a_key_is_shown() {
        assert_eq!(format!("{:?}", outbound()), "Outbound { last: None, .. }");
    }
}
