//! DTMF in RTP: each key press told once, whatever was lost, repeated or interleaved (RFC 4733).

use super::packet::Header;
use super::{RtpTimestamp, Ssrc};

/// Presses that are remembered, so that a late packet of one is not taken for another press. Keys are at least 80 ms apart, so
/// that is more than the longest reordering that a call survives.
const PRESSES_REMEMBERED: usize = 4;
/// Blocks read of one packet (RFC 4733 §2.3.1 puts no limit). Eight presses in one packet is more than any sender does.
const BLOCKS_MAX: usize = 8;
/// Bytes of one block (RFC 4733 §2.3).
const BLOCK_LEN: usize = 4;
/// A press is told in segments when its duration would overflow 16 bits (RFC 4733 §2.5.1.3); senders stop up to one packet
/// of 60 ms short of it.
const SEGMENT_DURATION_MIN: u16 = u16::MAX - 480;

/// A key of the telephone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Digit(char);

impl Digit {
    /// Returns the key: `0` to `9`, `*`, `#`, `A` to `D`, or `R` for a hook flash.
    #[must_use]
    pub const fn as_char(self) -> char {
        self.0
    }

    /// Returns the key that we can press, if it is one.
    pub(super) const fn of_char(key: char) -> Option<Self> {
        match key {
            '0'..='9' | '*' | '#' | 'A'..='D' => Some(Self(key)),
            _ => None,
        }
    }

    /// Returns its event code (RFC 4733 table 3).
    pub(super) const fn event(self) -> u8 {
        match self.0 {
            '0'..='9' => self.0 as u8 - b'0',
            '*' => 10,
            '#' => 11,
            'A'..='D' => self.0 as u8 - b'A' + 12,
            _ => 16,
        }
    }

    /// Returns the key of an event code (RFC 4733 table 3), if it is one.
    const fn of_event(code: u8) -> Option<Self> {
        match code {
            0..=9 => Some(Self((b'0' + code) as char)),
            10 => Some(Self('*')),
            11 => Some(Self('#')),
            12..=15 => Some(Self((b'A' + code - 12) as char)),
            16 => Some(Self('R')),
            _ => None,
        }
    }
}

/// A press, as its packets name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Press {
    ssrc: Ssrc,
    /// Of its (last) segment.
    timestamp: RtpTimestamp,
    event: u8,
    /// The longest duration told so far.
    duration: u16,
    ended: bool,
}

/// Hears presses in a stream of telephone events.
#[derive(Clone, Debug, Default)]
pub struct Receiver {
    /// The last presses; the newest is at `newest`.
    presses: [Option<Press>; PRESSES_REMEMBERED],
    newest: usize,
}

impl Receiver {
    /// Makes one that has heard nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a packet of telephone events and tells each press that begins with it, in order, to `pressed`. The marker is not
    /// needed and the end is not waited for: a press counts from its first packet that arrives.
    ///
    /// # Real-time
    /// Bounded by [`BLOCKS_MAX`].
    pub fn handle(&mut self, header: &Header, payload: &[u8], pressed: &mut impl FnMut(Digit)) {
        let mut timestamp = header.timestamp.0;
        // Blocks of one packet follow each other in time without a pause (RFC 4733 §2.3.1).
        for block in payload.chunks_exact(BLOCK_LEN).take(BLOCKS_MAX) {
            let &[event, flags, d0, d1] = block else { return };
            let duration = u16::from_be_bytes([d0, d1]);
            let press = Press {
                ssrc: header.ssrc,
                timestamp: RtpTimestamp(timestamp),
                event,
                duration,
                ended: flags & 0x80 != 0,
            };
            if self.is_new(&press)
                && let Some(digit) = Digit::of_event(event)
            {
                pressed(digit);
            }
            timestamp = timestamp.wrapping_add(u32::from(duration));
        }
    }

    /// Remembers `press`; false where it is one already told.
    fn is_new(&mut self, press: &Press) -> bool {
        let same = |known: &&mut Press| {
            (known.ssrc, known.timestamp, known.event) == (press.ssrc, press.timestamp, press.event)
        };
        if let Some(known) = self.presses.iter_mut().flatten().find(same) {
            known.duration = known.duration.max(press.duration);
            known.ended |= press.ended;
            return false;
        }
        if let Some(last) = &mut self.presses[self.newest]
            && last.goes_on_as(press)
        {
            *last = *press;
            return false;
        }
        self.newest = (self.newest + 1) % PRESSES_REMEMBERED;
        self.presses[self.newest] = Some(*press);
        true
    }
}

impl Press {
    /// Whether `later`, which has another timestamp, is still this press.
    fn goes_on_as(&self, later: &Self) -> bool {
        if (self.ssrc, self.event) != (later.ssrc, later.event) || self.ended {
            return false;
        }
        let apart = later.timestamp.0.wrapping_sub(self.timestamp.0);
        // The next segment of a long press begins where this one stops.
        let segment = self.duration >= SEGMENT_DURATION_MIN
            && apart >= u32::from(self.duration)
            && apart <= u32::from(u16::MAX) + 1;
        // Some senders let the timestamp run with the press. Then the duration keeps growing; in another press it begins
        // anew.
        let running = apart <= u32::from(u16::MAX) && later.duration > self.duration;
        segment || running
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PayloadType, SequenceNumber};
    use super::*;

    fn header(timestamp: u32) -> Header {
        Header {
            marker: false,
            payload_type: PayloadType(101),
            sequence: SequenceNumber(0),
            timestamp: RtpTimestamp(timestamp),
            ssrc: Ssrc(7),
        }
    }

    /// Feeds (timestamp, payload) pairs; returns the keys heard.
    fn keys(packets: &[(u32, &[u8])]) -> String {
        let mut receiver = Receiver::new();
        let mut keys = String::new();
        for (timestamp, payload) in packets {
            receiver.handle(&header(*timestamp), payload, &mut |digit| keys.push(digit.as_char()));
        }
        keys
    }

    /// Payloads of one press as PJSIP sends it: nine packets, then three with the end bit.
    fn press(event: u8, timestamp: u32) -> Vec<(u32, [u8; 4])> {
        let going = (1..10u8).map(|n| (0x0a, u16::from(n) * 160));
        let ending = std::iter::repeat_n((0x8a, 1600u16), 3);
        going
            .chain(ending)
            .map(|(flags, duration)| {
                let [d0, d1] = duration.to_be_bytes();
                (timestamp, [event, flags, d0, d1])
            })
            .collect()
    }

    fn keys_of(packets: &[(u32, [u8; 4])]) -> String {
        keys(&packets.iter().map(|(timestamp, payload)| (*timestamp, &payload[..])).collect::<Vec<_>>())
    }

    #[test]
    fn a_press_is_heard_once() {
        assert_eq!(keys_of(&press(1, 16_480)), "1");
        assert_eq!(keys_of(&[press(1, 16_480), press(11, 18_400)].concat()), "1#");
        assert_eq!(keys_of(&[press(5, 16_480), press(5, 18_400)].concat()), "55");
    }

    #[test]
    fn any_one_packet_that_arrives_is_enough() {
        for packet in press(9, 160) {
            assert_eq!(keys_of(&[packet]), "9");
        }
    }

    #[test]
    fn the_same_key_after_a_lost_end_is_another_press() {
        let mut packets = press(4, 1000);
        packets.truncate(6);
        packets.extend(press(4, 4000));
        assert_eq!(keys_of(&packets), "44");
    }

    #[test]
    fn packets_of_two_presses_in_any_order_are_two_presses() {
        let mut rng = fastrand::Rng::with_seed(5);
        for _ in 0..200 {
            let mut packets = [press(1, 1000), press(2, 3000)].concat();
            rng.shuffle(&mut packets);
            let heard = keys_of(&packets);
            assert!(heard == "12" || heard == "21", "{heard}");
        }
    }

    #[test]
    fn a_press_longer_than_a_segment_is_one_press() {
        let block = |duration: u16| [3, 0x0a, (duration >> 8) as u8, duration as u8];
        let packets =
            [(0, block(160)), (0, block(65_440)), (65_440, block(160)), (65_440, block(65_535)), (130_975, block(320))];
        assert_eq!(keys_of(&packets), "3");
    }

    #[test]
    fn a_timestamp_that_runs_with_the_press_makes_no_more_presses() {
        let packets: Vec<_> = (1..10u8).map(|n| (u32::from(n) * 160, [8, 0x0a, 0, n * 16])).collect();
        assert_eq!(keys_of(&packets), "8");
    }

    #[test]
    fn several_blocks_in_a_packet_are_several_presses() {
        let payload = [1, 0x8a, 3, 32, 2, 0x8a, 3, 32, 3, 10, 0, 160];
        assert_eq!(keys(&[(800, &payload[..]), (800, &payload[..])]), "123");
    }

    #[test]
    fn all_keys_have_their_names_and_other_events_are_not_keys() {
        let packets: Vec<_> = (0..=255u8).map(|event| (u32::from(event) * 4000, [event, 0x8a, 3, 32])).collect();
        assert_eq!(keys_of(&packets), "0123456789*#ABCDR");
    }

    #[test]
    fn short_and_empty_payloads_are_nothing() {
        assert_eq!(keys(&[(0, &[][..]), (0, &[1, 2, 3][..]), (0, &[1, 0, 0, 160, 2, 0][..])]), "1");
    }

    #[test]
    fn the_presses_captured_from_pjsip_and_baresip_are_heard() {
        // Payloads and timestamps of the wire: PJSIP's 1 and #, then baresip's, whose audio goes on between its events.
        let capture = "16480 010a00a0 16480 010a0640 16480 018a0640 16480 018a0640 18400 0b0a00a0 18400 0b8a0640";
        let words: Vec<&str> = capture.split_whitespace().collect();
        let packets: Vec<_> = words
            .chunks(2)
            .map(|pair| {
                let bytes = u32::from_str_radix(pair[1], 16).expect("hex").to_be_bytes();
                (pair[0].parse().expect("a timestamp"), bytes)
            })
            .collect();
        assert_eq!(keys_of(&packets), "1#");
    }
}
