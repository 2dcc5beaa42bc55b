//! A call's pcap on its way to the disk: messages and datagrams of three queues in the order of their times, without secrets.

use crate::capture::{pcap, secrets};
use crate::engine::clock::SystemClock;
use crate::engine::pcap::{LAST_MESSAGES, Message, Pcap, WirePacket};
use crate::time::Instant;
use rtrb::Consumer;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

/// How long a datagram waits for others that are older and come by another queue: what a busy thread may be late by.
const HOLD: Duration = Duration::from_millis(200);
/// Bytes after which no more media are written: 100 minutes of G.711 both ways. Messages still are, so that the call's end is there.
const MEDIA_BYTES_MAX: u64 = 128 << 20;
/// Bytes after which nothing more is written: thousands of messages.
const BYTES_MAX: u64 = MEDIA_BYTES_MAX + (8 << 20);
/// Messages taken in one pass, so that a call that pours holds up no other.
const MESSAGES_PER_PASS: usize = 512;

/// The file of one call.
pub struct Writing {
    file: BufWriter<File>,
    source: Pcap,
    /// What waits for its turn: when it came or went, and its record.
    held: Vec<(Instant, Vec<u8>)>,
    written: u64,
    next: [u64; 2],
    /// Datagrams that are not in it since their ring was full.
    pub dropped: u64,
    /// Whether it has grown to its longest, and holds no more media.
    pub full: bool,
    /// When the call was over.
    pub ended: Option<Instant>,
}

impl Writing {
    /// Begins one.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(file: File, source: Pcap) -> io::Result<Self> {
        let mut file = BufWriter::new(file);
        file.write_all(&pcap::header())?;
        let written = pcap::HEADER_LEN as u64;
        Ok(Self { file, source, held: Vec::new(), written, next: [0; 2], dropped: 0, full: false, ended: None })
    }

    /// Whether nothing more is to come.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        self.ended.is_some_and(|ended| now.since(ended) >= LAST_MESSAGES + HOLD)
    }

    /// Writes what has come in and is old enough; `last`: all of it. It stands on the disk up to a whole packet then.
    ///
    /// # Errors
    /// What the system says.
    pub fn pass(&mut self, clock: &SystemClock, now: Instant, last: bool) -> io::Result<()> {
        self.gather(clock);
        self.held.sort_by_key(|(at, _)| *at);
        let ready = if last { self.held.len() } else { self.held.partition_point(|(at, _)| now.since(*at) >= HOLD) };
        for (_, record) in self.held.drain(..ready) {
            self.file.write_all(&record)?;
        }
        self.file.flush()
    }

    fn gather(&mut self, clock: &SystemClock) {
        for _ in 0..MESSAGES_PER_PASS {
            let Ok(Message { at, from, to, mut bytes }) = self.source.messages.try_recv() else { break };
            secrets::strike_out(&mut bytes);
            self.hold(at, pcap::record(clock.unix_time(at), from, to, &bytes).ok(), BYTES_MAX);
        }
        for leaves in [false, true] {
            while let Some(packet) = self.pop(leaves) {
                let local = self.source.local;
                let here = SocketAddr::new(local.ip(), local.port() + u16::from(packet.rtcp));
                let (from, to) = if leaves { (here, packet.peer) } else { (packet.peer, here) };
                let bytes = packet.bytes.get(..usize::from(packet.len)).unwrap_or_default();
                let record = pcap::record(clock.unix_time(packet.at), from, to, bytes).ok();
                self.full |= !self.hold(packet.at, record, MEDIA_BYTES_MAX);
            }
        }
    }

    /// Takes the next datagram that leaves, or comes.
    fn pop(&mut self, leaves: bool) -> Option<WirePacket> {
        let ring: &mut Consumer<WirePacket> =
            if leaves { &mut self.source.outgoing } else { &mut self.source.incoming };
        let packet = ring.pop().ok()?;
        let next = &mut self.next[usize::from(leaves)];
        self.dropped += packet.number.saturating_sub(*next);
        *next = packet.number + 1;
        Some(packet)
    }

    /// Holds a record until its turn, unless the file is longer than `max` with it; returns whether it did.
    fn hold(&mut self, at: Instant, record: Option<Vec<u8>>, max: u64) -> bool {
        let Some(record) = record else { return true };
        let len = self.written + record.len() as u64;
        if len > max {
            return false;
        }
        self.written = len;
        self.held.push((at, record));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::pcap::{Pcaps, Way};
    use crate::engine::recorder::pretend;
    use crate::ids::CallId;
    use crate::sip::flow::Flow;

    /// Reads a file back: the time in µs, source and target port, and payload of each packet.
    fn records(bytes: &[u8]) -> Vec<(u64, u16, u16, Vec<u8>)> {
        let word = |bytes: &[u8]| u64::from(u32::from_le_bytes(bytes[..4].try_into().expect("four")));
        let port = |bytes: &[u8]| u16::from_be_bytes(bytes[..2].try_into().expect("two"));
        let (mut rest, mut records) = (&bytes[24..], Vec::new());
        while !rest.is_empty() {
            let len = word(&rest[8..]) as usize;
            let packet = &rest[16..16 + len];
            let at = word(rest) * 1_000_000 + word(&rest[4..]);
            records.push((at, port(&packet[20..]), port(&packet[22..]), packet[28..].to_vec()));
            rest = &rest[16 + len..];
        }
        records
    }

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 7], port))
    }

    fn begin() -> (tempfile::TempDir, Pcaps, Writing) {
        let (recorder, begun) = pretend();
        let mut pcaps = Pcaps::new(recorder, true);
        let invite = b"INVITE sip:1@b SIP/2.0\r\nCall-ID: a\r\nAuthorization: Digest response=\"0123\"\r\n\r\n";
        pcaps.message(Way::In, Flow::udp(address(5062), address(5060)), invite, at(0));
        pcaps.invited(CallId(1), "a", address(10_000), at(0));
        let folder = tempfile::tempdir().expect("a folder");
        let file = File::create(folder.path().join("a.pcap")).expect("made");
        (folder, pcaps, Writing::new(file, begun().expect("begun")).expect("written"))
    }

    fn read(folder: &tempfile::TempDir) -> Vec<(u64, u16, u16, Vec<u8>)> {
        records(&std::fs::read(folder.path().join("a.pcap")).expect("there"))
    }

    #[test]
    fn both_directions_and_the_messages_stand_in_the_order_of_their_times() {
        let clock = SystemClock::start();
        let (folder, mut pcaps, mut writing) = begin();
        let mut outgoing = pcaps.take_outgoing(CallId(1)).expect("a ring");
        outgoing.push(false, address(4000), at(25), b"out");
        outgoing.push(true, address(4001), at(30), b"report");
        pcaps.datagram(CallId(1), false, address(4000), at(20), b"in");
        pcaps.datagram(CallId(1), false, address(4000), at(900), b"young");
        writing.pass(&clock, at(1000), false).expect("written");
        let got: Vec<_> = read(&folder).into_iter().map(|(_, from, to, bytes)| (from, to, bytes)).collect();
        let media = |from, to, bytes: &[u8]| (from, to, bytes.to_vec());
        assert_eq!(got[1..], [media(4000, 10_000, b"in"), media(10_000, 4000, b"out"), media(10_001, 4001, b"report")]);
        assert_eq!((got[0].0, got[0].1), (5062, 5060));
        let invite = String::from_utf8_lossy(&got[0].2);
        assert!(invite.starts_with("INVITE ") && invite.contains("response=\"xxxx\""), "{invite}");
        writing.pass(&clock, at(1000), true).expect("written");
        let all = read(&folder);
        assert_eq!(all.len(), 5, "the young one waited for older ones");
        assert_eq!(all[4].0 - all[0].0, 900_000, "times are those of the packets");
        assert_eq!((writing.dropped, writing.full), (0, false));
    }

    #[test]
    fn a_file_that_is_full_takes_messages_but_no_media() {
        let clock = SystemClock::start();
        let (folder, mut pcaps, mut writing) = begin();
        writing.pass(&clock, at(500), false).expect("written");
        writing.written = MEDIA_BYTES_MAX;
        pcaps.datagram(CallId(1), false, address(4000), at(600), b"in");
        let bye = b"BYE sip:b SIP/2.0\r\nCall-ID: a\r\n\r\n";
        pcaps.message(Way::In, Flow::udp(address(5062), address(5060)), bye, at(700));
        pcaps.ended(CallId(1), at(700));
        writing.ended = Some(at(700));
        writing.pass(&clock, at(1000), false).expect("written");
        assert!(writing.full && !writing.is_over(at(1000)));
        let got: Vec<_> = read(&folder).into_iter().map(|(.., bytes)| bytes[..4].to_vec()).collect();
        assert_eq!(got, [b"INVI".to_vec(), b"BYE ".to_vec()]);
        assert!(writing.is_over(at(700) + LAST_MESSAGES + HOLD));
    }

    #[test]
    fn what_was_dropped_is_counted() {
        let clock = SystemClock::start();
        let (_folder, mut pcaps, mut writing) = begin();
        for n in 0..200 {
            pcaps.datagram(CallId(1), false, address(4000), at(n), b"in");
        }
        writing.pass(&clock, at(500), false).expect("written");
        pcaps.datagram(CallId(1), false, address(4000), at(501), b"in");
        writing.pass(&clock, at(1000), false).expect("written");
        assert_eq!(writing.dropped, 200 - 128);
    }
}
