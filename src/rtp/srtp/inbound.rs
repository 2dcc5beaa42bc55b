//! The other side's key at work: a packet is let in if its tag is right and it has not been here before, then decrypted.

use super::outbound::{Position, rollover};
use super::session::{Purpose, Session};
use super::window::{Window, guess};
use super::{ENCRYPTED, INDEX_LEN, Profile, RTCP_CLEAR_LEN, SALT_LEN, TAG_LEN, outline, rtcp_ssrc};
use crate::rtp::packet::DATAGRAM_LEN_MAX;
use crate::rtp::{Discard, SequenceNumber, Ssrc};
use std::fmt;

/// Sources whose packets are known, each in a place that only a right tag takes. None is ever given up: what it sent could be
/// played again. A phone changes its SSRC a few times in a call at most; with more a peer needs another key.
const STREAMS_MAX: usize = 16;
/// Indices that a packet may have: where the stream went on over a change of keys, or in its first two rollovers.
const GUESSES_MAX: usize = 3;

/// One source, as far as its packets were let in.
#[derive(Clone, Copy, Debug)]
struct Stream {
    ssrc: Ssrc,
    rtp: Option<Window>,
    /// The index of its last SRTCP packet, which only grows: reports come seconds apart.
    rtcp: Option<u32>,
}

/// Unprotects what one side receives.
pub struct Inbound {
    rtp: Session,
    rtcp: Session,
    streams: [Option<Stream>; STREAMS_MAX],
    /// Where streams stood under the key before this one.
    before: [Option<Position>; STREAMS_MAX],
}

impl Inbound {
    /// Derives the session keys from `master`, key and salt; `None` where it has not the length of the profile's. `before` is
    /// what the key before it let in: a stream's rollover counter goes on under another key (RFC 3711 §3.3.1).
    #[must_use]
    pub fn new(profile: Profile, master: &[u8], before: Option<&Self>) -> Option<Self> {
        if master.len() != profile.key_len() + SALT_LEN {
            return None;
        }
        let rtp = Session::new(master, Purpose::Rtp, profile.tag_len())?;
        let rtcp = Session::new(master, Purpose::Rtcp, TAG_LEN)?;
        let before = before.map_or([None; STREAMS_MAX], |before| before.streams.map(|stream| stream?.position()));
        Some(Self { rtp, rtcp, streams: [None; STREAMS_MAX], before })
    }

    /// Checks and decrypts an RTP packet where it stands; returns its length without the tag. A packet that is refused
    /// changes nothing.
    ///
    /// # Errors
    /// [`Discard::Malformed`] for what is too short or too long, [`Discard::Authentication`] for a wrong tag,
    /// [`Discard::Replay`] for what has been here or is too old to know.
    ///
    /// # Real-time
    /// Bounded by the packet; no heap.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, Discard> {
        let len = packet.len().checked_sub(self.rtp.tag_len()).ok_or(Discard::Malformed)?;
        let (packet, tag) = packet.split_at_mut_checked(len).ok_or(Discard::Malformed)?;
        let outline = outline(packet).filter(|_| len <= DATAGRAM_LEN_MAX).ok_or(Discard::Malformed)?;
        let guesses = self.guesses(outline.ssrc, outline.sequence);
        let signed = |index: &u64| self.rtp.is_signed(packet, &rollover(*index), tag);
        let index = guesses.into_iter().flatten().find(signed).ok_or(Discard::Authentication)?;
        let stream = self.stream(outline.ssrc)?;
        match &mut stream.rtp {
            Some(window) => window.admit(index)?,
            first => *first = Some(Window::new(index)),
        }
        self.rtp.apply(outline.ssrc, index, packet.get_mut(outline.payload..).ok_or(Discard::Malformed)?);
        Ok(len)
    }

    /// Checks and decrypts an RTCP packet where it stands; returns its length without index and tag. A packet that is refused
    /// changes nothing.
    ///
    /// # Errors
    /// As [`Self::unprotect_rtp`]. One that is not encrypted is malformed: that was not agreed upon.
    ///
    /// # Real-time
    /// Bounded by the packet; no heap.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, Discard> {
        let (signed, tag) = packet.split_last_chunk_mut::<TAG_LEN>().ok_or(Discard::Malformed)?;
        if signed.len() > DATAGRAM_LEN_MAX + INDEX_LEN {
            return Err(Discard::Malformed);
        }
        let is_signed = self.rtcp.is_signed(signed, &[], tag);
        let (packet, trailer) = signed.split_last_chunk_mut::<INDEX_LEN>().ok_or(Discard::Malformed)?;
        let ssrc = rtcp_ssrc(packet).ok_or(Discard::Malformed)?;
        if !is_signed {
            return Err(Discard::Authentication);
        }
        let trailer = u32::from_be_bytes(*trailer);
        if trailer & ENCRYPTED == 0 {
            return Err(Discard::Malformed);
        }
        let index = trailer & !ENCRYPTED;
        let stream = self.stream(ssrc)?;
        if stream.rtcp.is_some_and(|last| index <= last) {
            return Err(Discard::Replay);
        }
        stream.rtcp = Some(index);
        self.rtcp.apply(ssrc, u64::from(index), packet.get_mut(RTCP_CLEAR_LEN..).ok_or(Discard::Malformed)?);
        Ok(packet.len())
    }

    /// The indices that a packet may have. One whose source is known has one; the tag decides which one it is else: a peer may
    /// keep its rollover counter over a change of keys, as the RFC has it, or begin anew, and we may have missed a wrap before
    /// the first packet that reached us.
    fn guesses(&self, ssrc: Ssrc, sequence: SequenceNumber) -> [Option<u64>; GUESSES_MAX] {
        let known = self.streams.iter().flatten().find(|stream| stream.ssrc == ssrc).and_then(Stream::position);
        if let Some((_, highest)) = known {
            return [guess(highest, sequence), None, None];
        }
        let before = self.before.iter().flatten().find(|(of, _)| *of == ssrc);
        let went_on = before.and_then(|(_, highest)| guess(*highest, sequence));
        let first = u64::from(sequence.0);
        let wrapped = (sequence.0 < 1 << 15).then_some(first + (1 << 16));
        [went_on, Some(first), wrapped]
    }

    /// The place of a source whose tag was right.
    fn stream(&mut self, ssrc: Ssrc) -> Result<&mut Stream, Discard> {
        let known = self.streams.iter().position(|stream| stream.is_none_or(|stream| stream.ssrc == ssrc));
        let place = known.and_then(|at| self.streams.get_mut(at)).ok_or(Discard::Replay)?;
        Ok(place.get_or_insert(Stream { ssrc, rtp: None, rtcp: None }))
    }
}

impl Stream {
    fn position(&self) -> Option<Position> {
        self.rtp.map(|window| (self.ssrc, window.highest()))
    }
}

/// Shows no key.
impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound").field("streams", &self.streams.iter().flatten().count()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outbound;
    use super::*;

    const MASTER: [u8; 46] = [9; 46];

    fn pair(profile: Profile) -> (Outbound, Inbound) {
        let master = &MASTER[..profile.key_len() + SALT_LEN];
        (Outbound::new(profile, master, None).expect("a key"), Inbound::new(profile, master, None).expect("a key"))
    }

    fn plain(sequence: u16, ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 8];
        packet.extend(sequence.to_be_bytes());
        packet.extend(7u32.to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend((0..160).map(|n| n as u8));
        packet
    }

    fn protected(outbound: &mut Outbound, mut packet: Vec<u8>) -> Vec<u8> {
        let len = packet.len();
        packet.resize(len + 10, 0);
        let len = outbound.protect_rtp(&mut packet, len).expect("it is protected");
        packet.truncate(len);
        packet
    }

    fn protected_rtcp(outbound: &mut Outbound, mut packet: Vec<u8>) -> Vec<u8> {
        let len = packet.len();
        packet.resize(len + 14, 0);
        assert_eq!(outbound.protect_rtcp(&mut packet, len), Some(len + 14));
        packet
    }

    fn unprotected(inbound: &mut Inbound, packet: &[u8]) -> Result<Vec<u8>, Discard> {
        let mut packet = packet.to_vec();
        let len = inbound.unprotect_rtp(&mut packet)?;
        packet.truncate(len);
        Ok(packet)
    }

    fn unprotected_rtcp(inbound: &mut Inbound, packet: &[u8]) -> Result<Vec<u8>, Discard> {
        let mut packet = packet.to_vec();
        let len = inbound.unprotect_rtcp(&mut packet)?;
        packet.truncate(len);
        Ok(packet)
    }

    #[test]
    fn what_is_protected_is_read_in_each_profile_and_over_wraps() {
        for profile in Profile::ALL {
            let (mut ours, mut theirs) = pair(profile);
            // All of the first wrap arrive, then one in 997.
            for n in (0..2000).chain((2000..200_000u64).step_by(997)) {
                let packet = plain(65_000u16.wrapping_add(n as u16), 5);
                let secret = protected(&mut ours, packet.clone());
                assert_eq!(secret.len(), 172 + profile.tag_len());
                assert_eq!(secret[..12], packet[..12], "the header stays in the clear");
                assert_ne!(secret[12..172], packet[12..], "the payload does not");
                assert_eq!(unprotected(&mut theirs, &secret), Ok(packet));
            }
        }
    }

    #[test]
    fn contributing_sources_and_extension_stay_in_the_clear() {
        let (mut ours, mut theirs) = pair(Profile::Aes128Sha80);
        let mut packet = plain(1, 5);
        packet[0] = 0x92;
        packet[20..24].copy_from_slice(&[0xbe, 0xde, 0, 2]);
        let secret = protected(&mut ours, packet.clone());
        assert_eq!(secret[..32], packet[..32]);
        assert_ne!(secret[32..172], packet[32..]);
        assert_eq!(unprotected(&mut theirs, &secret), Ok(packet));
    }

    #[test]
    fn each_packet_is_let_in_once() {
        let (mut ours, mut theirs) = pair(Profile::Aes128Sha80);
        let secrets: Vec<_> = (0..300).map(|n| protected(&mut ours, plain(n, 5))).collect();
        for at in [0, 3, 2, 1, 150, 100] {
            assert!(unprotected(&mut theirs, &secrets[at]).is_ok());
            assert_eq!(unprotected(&mut theirs, &secrets[at]), Err(Discard::Replay));
        }
        assert_eq!(unprotected(&mut theirs, &secrets[22]), Err(Discard::Replay), "too old to know");
        assert!(unprotected(&mut theirs, &secrets[23]).is_ok());
    }

    #[test]
    fn a_forged_packet_changes_nothing() {
        let (mut ours, mut theirs) = pair(Profile::Aes128Sha32);
        let first = protected(&mut ours, plain(60_000, 5));
        assert!(unprotected(&mut theirs, &first).is_ok());
        let next = protected(&mut ours, plain(60_001, 5));
        // A forged number far ahead would move the window, and a forged SSRC would take a place.
        for n in 0..1000u16 {
            let mut forged = next.clone();
            forged[2..4].copy_from_slice(&(60_001 + n % 5000).to_be_bytes());
            let last = forged.len() - 1;
            forged[last] ^= 1;
            assert_eq!(unprotected(&mut theirs, &forged), Err(Discard::Authentication));
            forged[8..10].copy_from_slice(&n.to_be_bytes());
            assert_eq!(unprotected(&mut theirs, &forged), Err(Discard::Authentication));
        }
        assert_eq!(unprotected(&mut theirs, &plain(60_001, 5)), Err(Discard::Authentication), "plain RTP");
        assert_eq!(theirs.streams.iter().flatten().count(), 1);
        assert!(unprotected(&mut theirs, &next).is_ok());
    }

    #[test]
    fn each_bit_of_a_packet_is_signed() {
        let (mut ours, mut theirs) = pair(Profile::Aes256Sha80);
        let secret = protected(&mut ours, plain(1, 5));
        let report = protected_rtcp(&mut ours, vec![0x80, 201, 0, 1, 0, 0, 0, 5]);
        for bit in 0..8 * secret.len() {
            let mut forged = secret.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(unprotected(&mut theirs, &forged), Err(Discard::Authentication | Discard::Malformed)));
        }
        for bit in 0..8 * report.len() {
            let mut forged = report.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unprotected_rtcp(&mut theirs, &forged), Err(Discard::Authentication));
        }
        assert!(unprotected(&mut theirs, &secret).is_ok() && unprotected_rtcp(&mut theirs, &report).is_ok());
    }

    #[test]
    fn the_wrong_key_is_no_key() {
        let (mut ours, _) = pair(Profile::Aes128Sha80);
        let mut other = Inbound::new(Profile::Aes128Sha80, &[8; 30], None).expect("a key");
        let secret = protected(&mut ours, plain(1, 5));
        assert_eq!(unprotected(&mut other, &secret), Err(Discard::Authentication));
    }

    #[test]
    fn each_source_has_its_own_counter_and_only_so_many_have_one() {
        let (mut ours, mut theirs) = pair(Profile::Aes128Sha80);
        let mut firsts = Vec::new();
        for ssrc in 0..STREAMS_MAX as u32 + 1 {
            for n in 65_000..65_600u32 {
                let secret = protected(&mut ours, plain(n as u16, ssrc));
                let result = unprotected(&mut theirs, &secret);
                assert_eq!(result.is_ok(), ssrc < STREAMS_MAX as u32, "{ssrc}");
                if n == 65_000 {
                    firsts.push(secret);
                }
            }
        }
        assert!(firsts.iter().all(|secret| unprotected(&mut theirs, secret) == Err(Discard::Replay)));
    }

    #[test]
    fn a_wrap_before_the_first_packet_that_came_is_seen() {
        let (mut ours, mut theirs) = pair(Profile::Aes128Sha80);
        for n in 65_500..65_536u32 {
            let _ = protected(&mut ours, plain(n as u16, 5));
        }
        let secret = protected(&mut ours, plain(3, 5));
        assert_eq!(unprotected(&mut theirs, &secret), Ok(plain(3, 5)));
        assert_eq!(theirs.guesses(Ssrc(5), SequenceNumber(4)), [Some(65_540), None, None]);
    }

    #[test]
    fn another_key_goes_on_with_the_counter_or_begins_anew() {
        for keeps in [true, false] {
            let (mut ours, mut theirs) = pair(Profile::Aes128Sha80);
            for n in 65_000..70_000u32 {
                let secret = protected(&mut ours, plain(n as u16, 5));
                assert!(unprotected(&mut theirs, &secret).is_ok());
            }
            let after = ours.position().filter(|_| keeps);
            let mut ours = Outbound::new(Profile::Aes256Sha80, &[1; 46], after).expect("a key");
            let mut theirs = Inbound::new(Profile::Aes256Sha80, &[1; 46], Some(&theirs)).expect("a key");
            for n in 70_000..70_100u32 {
                let secret = protected(&mut ours, plain(n as u16, 5));
                assert_eq!(unprotected(&mut theirs, &secret), Ok(plain(n as u16, 5)), "keeps: {keeps}");
            }
        }
    }

    #[test]
    fn reports_are_read_and_their_index_only_grows() {
        for profile in Profile::ALL {
            let (mut ours, mut theirs) = pair(profile);
            let report = [&[0x81, 200, 0, 12, 0, 0, 0, 5][..], &[1; 44]].concat();
            let first = protected_rtcp(&mut ours, report.clone());
            let second = protected_rtcp(&mut ours, report.clone());
            let third = protected_rtcp(&mut ours, report.clone());
            assert_eq!((&first[..8], first[52..56].to_vec()), (&report[..8], vec![0x80, 0, 0, 0]));
            assert_eq!(second[52..56], [0x80, 0, 0, 1]);
            assert_ne!(first[8..52], report[8..]);
            assert_eq!(unprotected_rtcp(&mut theirs, &first), Ok(report.clone()));
            assert_eq!(unprotected_rtcp(&mut theirs, &third), Ok(report.clone()));
            for old in [&first, &second, &third] {
                assert_eq!(unprotected_rtcp(&mut theirs, old), Err(Discard::Replay));
            }
            assert_eq!(unprotected_rtcp(&mut theirs, &report), Err(Discard::Authentication));
        }
    }

    #[test]
    fn a_report_that_is_signed_but_not_encrypted_is_refused() {
        let (ours, mut theirs) = pair(Profile::Aes128Sha80);
        let mut report = vec![0x80, 201, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0];
        let mut tag = [0; TAG_LEN];
        let session = Session::new(&MASTER[..30], Purpose::Rtcp, TAG_LEN).expect("a key");
        session.sign(&report, &[], &mut tag);
        report.extend(tag);
        assert_eq!(unprotected_rtcp(&mut theirs, &report), Err(Discard::Malformed));
        drop(ours);
    }

    #[test]
    fn mutated_packets_are_refused_and_never_more() {
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut ours, mut theirs) = pair(Profile::Aes128Sha80);
        let secret = protected(&mut ours, plain(1, 5));
        for _ in 0..50_000 {
            let mut bytes = secret.clone();
            bytes.truncate(rng.usize(..=secret.len()));
            for _ in 0..rng.usize(1..8) {
                if !bytes.is_empty() {
                    let at = rng.usize(..bytes.len().min(40));
                    bytes[at] = bytes[at].wrapping_add(rng.u8(1..));
                }
            }
            if bytes != secret {
                assert!(unprotected(&mut theirs, &bytes).is_err());
            }
            assert!(unprotected_rtcp(&mut theirs, &bytes).is_err());
        }
        assert!(unprotected(&mut theirs, &secret).is_ok());
        assert!(!format!("{theirs:?}").contains('9'));
    }
}
