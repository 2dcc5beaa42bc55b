//! A call on the media path, while its caller and strangers send what they like to its ports.

use super::campaign::{EPISODE_MESSAGES, Tally, Trace};
use super::corpus::Corpus;
use super::mutate;
use fastrand::Rng;
use offhook::call::{Call, CallCommand, CallEvent, EarFrame, FRAME_8K, Heard, Measure, Setup, VoiceFrame, Wire};
use offhook::engine::rings::{self, FarEnds};
use offhook::ids::{CallId, TurnId};
use offhook::rtp::latch;
use offhook::sdp::{Agreed, Negotiation};
use offhook::time::Instant;
use rtrb::{Consumer, Producer};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The most that one packet may bring, in frames of 20 ms: what a gap holds back, and the filling of a gap.
const FRAMES_AT_ONCE_MAX: u64 = 50;

/// Where the caller says its media are, and where they come from.
const CALLER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5));
/// Somebody who was never heard of in signalling.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 66, 66, 66));

struct Line {
    sent: u64,
}

impl Wire for Line {
    fn send(&mut self, _rtcp: bool, to: SocketAddr, bytes: &[u8]) -> Option<Instant> {
        assert_ne!(to.ip(), STRANGER, "speech is sent to a stranger");
        assert!(!bytes.is_empty() && bytes.len() <= 1500);
        self.sent += 1;
        None
    }

    fn measure(&mut self, _what: Measure, _value: Duration) {}
}

struct Media<'a> {
    rng: &'a mut Rng,
    corpus: &'a Corpus,
    call: Call,
    line: Line,
    now: Instant,
    ears: Consumer<EarFrame>,
    voice: Producer<VoiceFrame>,
    commands: Producer<CallCommand>,
    events: Consumer<CallEvent>,
    /// The caller's own stream.
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    tally: Tally,
}

fn agreed(rng: &mut Rng, corpus: &Corpus) -> Agreed {
    const PLAIN: &[u8] =
        b"v=0\r\no=- 1 1 IN IP4 10.0.0.5\r\ns=-\r\nc=IN IP4 10.0.0.5\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0 101\r\n\
                           a=rtpmap:101 telephone-event/8000\r\n";
    let mut offer = PLAIN.to_vec();
    if rng.u8(0..3) == 0 {
        super::grammar::description(rng, &mut offer, corpus);
    }
    let mut negotiation = Negotiation::new(1, SocketAddr::from(([10, 0, 0, 1], 10_000)));
    let answered = negotiation.answer(&offer).or_else(|_| negotiation.answer(PLAIN));
    answered.expect("the plain one can be answered").1
}

/// Runs an episode.
pub fn run(rng: &mut Rng, corpus: &Corpus, trace: &mut Trace) -> Tally {
    let (rings, FarEnds { ears, voice, commands, events, .. }) = rings::of_a_call();
    let setup = Setup {
        id: CallId(1),
        agreed: &agreed(rng, corpus),
        signalling: CALLER,
        guard: latch::Settings::default(),
        port: 10_000,
        ntp_at_zero: rng.u64(..),
        cname: "agent@offhook",
        silence_max: Duration::from_secs(60),
        rings,
    };
    let now = Instant::ZERO + Duration::from_millis(rng.u64(0..100_000));
    let mut seeds = rng.fork();
    let call = Call::new(setup, now, &mut seeds);
    let (sequence, timestamp, ssrc) = (rng.u16(..), rng.u32(..), rng.u32(..));
    let tally = Tally::default();
    let line = Line { sent: 0 };
    let mut media =
        Media { rng, corpus, call, line, now, ears, voice, commands, events, sequence, timestamp, ssrc, tally };
    for _ in 0..EPISODE_MESSAGES {
        media.step(trace);
    }
    media.call.close(media.now, &mut media.line);
    media.tally.answers += media.line.sent;
    media.tally
}

impl Media<'_> {
    fn step(&mut self, trace: &mut Trace) {
        let (rtcp, message) = self.message();
        let address = if self.rng.u8(0..8) == 0 { STRANGER } else { CALLER };
        let port = if self.rng.u8(0..16) == 0 { self.rng.u16(1..) } else { 4000 + u16::from(rtcp) };
        trace.note(&message);
        self.tally.messages += 1;
        let taken = self.call.stats().packets_received;
        self.call.datagram(rtcp, SocketAddr::from((address, port)), &message, self.now, &mut self.line);
        self.tally.packets += self.call.stats().packets_received - taken;
        assert!(self.call.remote().is_none_or(|remote| remote.ip() != STRANGER), "a stranger is latched onto");
        self.take_frames();
        self.do_engine_things();
        let stretch = match self.rng.u8(..) {
            0 => 5000,
            1..5 => 300,
            _ => [0, 0, 1, 10, 20, 20, 20][self.rng.usize(..7)],
        };
        self.wait(Duration::from_millis(stretch));
    }

    /// Makes the next datagram, and says whether it goes to the RTCP port.
    fn message(&mut self) -> (bool, Vec<u8>) {
        let rtcp = self.rng.u8(0..5) == 0;
        let mut message = match self.rng.u8(0..8) {
            _ if rtcp => self.corpus.reports[self.rng.usize(..self.corpus.reports.len())].clone(),
            0 => self.corpus.packets[self.rng.usize(..self.corpus.packets.len())].clone(),
            1 => self.key(),
            2 => (0..self.rng.usize(0..64)).map(|_| self.rng.u8(..)).collect(),
            _ => self.speech(),
        };
        for _ in 0..self.rng.usize(0..3) {
            if rtcp {
                report(self.rng, &mut message);
            } else {
                packet(self.rng, &mut message);
            }
        }
        message.truncate(1500);
        (rtcp && self.rng.u8(0..4) > 0, message)
    }

    fn header(&mut self, marker: bool, payload_type: u8, timestamp: u32) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = vec![0x80, payload_type | u8::from(marker) << 7];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet
    }

    fn speech(&mut self) -> Vec<u8> {
        self.timestamp = self.timestamp.wrapping_add(160);
        let timestamp = self.timestamp;
        let mut packet = self.header(false, 8, timestamp);
        let loud = self.rng.bool();
        packet.extend((0..160).map(|at: u8| if loud { at.wrapping_mul(37) } else { 0xd5 }));
        packet
    }

    /// A packet of an event (RFC 4733 §2.3), begun, under way or ended.
    fn key(&mut self) -> Vec<u8> {
        let timestamp = self.timestamp & !0x3ff;
        let marker = self.rng.bool();
        let mut packet = self.header(marker, 101, timestamp);
        let flags = self.rng.u8(0..64) | if self.rng.bool() { 0x80 } else { 0 };
        packet.extend([self.rng.u8(0..18), flags]);
        packet.extend(self.rng.u16(..).to_be_bytes());
        packet
    }

    fn do_engine_things(&mut self) {
        match self.rng.u8(0..24) {
            0 => {
                let agreed = agreed(self.rng, self.corpus);
                self.call.change(&agreed, self.now);
            }
            1 => {
                let orders = [
                    CallCommand::Grant(TurnId(1)),
                    CallCommand::Withdraw(TurnId(1)),
                    CallCommand::Ears(Heard::StartOfTurn),
                    CallCommand::Ears(Heard::Words),
                    CallCommand::Ears(Heard::EndOfTurn),
                ];
                let _ = self.commands.push(orders[self.rng.usize(..orders.len())]);
            }
            2..6 => {
                let last = self.rng.u8(0..20) == 0;
                let len = if last { self.rng.u16(0..=160) } else { 160 };
                let pcm = [self.rng.i16(..); FRAME_8K];
                let _ = self.voice.push(VoiceFrame { turn: TurnId(1), pcm, len, last, made: self.now });
            }
            _ => {}
        }
    }

    fn take_frames(&mut self) {
        let mut frames = 0;
        while self.ears.pop().is_ok() {
            frames += 1;
        }
        assert!(frames <= FRAMES_AT_ONCE_MAX, "{frames} frames at once");
        self.tally.frames += frames;
        self.tally.frames_at_once = self.tally.frames_at_once.max(frames);
        while let Ok(event) = self.events.pop() {
            self.tally.digits += u64::from(matches!(event, CallEvent::Digit { .. }));
        }
    }

    /// Lets time pass as the worker does.
    fn wait(&mut self, stretch: Duration) {
        let end = self.now + stretch;
        let mut stuck = 0;
        while self.call.poll_timeout() <= end {
            let due = self.call.poll_timeout();
            stuck = if due > self.now { 0 } else { stuck + 1 };
            assert!(stuck < 64, "the clock does not get on");
            self.now = self.now.max(due);
            self.call.handle_timeout(self.now, &mut self.line);
            self.take_frames();
        }
        self.now = end;
    }
}

/// Changes an RTP packet once: flags, numbers, extension, padding, payload (RFC 3550 §5.1, §5.3.1).
fn packet(rng: &mut Rng, packet: &mut Vec<u8>) {
    if packet.len() < 12 || rng.u8(0..4) == 0 {
        return mutate::bytes(rng, packet, &[0xff; 64]);
    }
    match rng.u8(0..12) {
        0 => packet[0] = rng.u8(..),
        1 => packet[1] = rng.u8(..),
        2 => packet[2..4].copy_from_slice(&rng.u16(..).to_be_bytes()),
        3 => packet[4..8].copy_from_slice(&rng.u32(..).to_be_bytes()),
        4 => packet[8..12].copy_from_slice(&rng.u32(..).to_be_bytes()),
        5 => {
            // Near the last one, or half the numbers away.
            let near = u16::from_be_bytes([packet[2], packet[3]])
                .wrapping_add([0, 1, 2, 100, 3000, 0x7fff, 0x8000, 0xffff][rng.usize(..8)]);
            packet[2..4].copy_from_slice(&near.to_be_bytes());
        }
        6 => {
            let old = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
            let steps = [1, 159, 8000, 80_000, 0x7fff_ffff, 0x8000_0000, u32::MAX];
            packet[4..8].copy_from_slice(&old.wrapping_add(steps[rng.usize(..steps.len())]).to_be_bytes());
        }
        7 => {
            // An extension whose length may be a lie.
            packet[0] |= 0x10;
            let words = [0, 1, 2, 37, 0xffff][rng.usize(..5)];
            let [high, low] = u16::to_be_bytes(words);
            packet.splice(12..12, [0xbe, 0xde, high, low, 0x10, 0xff, 0, 0]);
        }
        8 => {
            packet[0] |= 0x20;
            let padding = [0, 1, 4, 160, 255][rng.usize(..5)];
            *packet.last_mut().expect("it is not empty") = padding;
        }
        9 => packet[0] = packet[0] & 0xf0 | rng.u8(0..16),
        10 => packet.truncate(rng.usize(0..=packet.len())),
        _ => packet.resize(rng.usize(12..1500), rng.u8(..)),
    }
}

/// Changes an RTCP datagram once: lengths, counts, types, padding, more packets behind it (RFC 3550 §6.4).
fn report(rng: &mut Rng, bytes: &mut Vec<u8>) {
    if bytes.len() < 4 || rng.u8(0..4) == 0 {
        return mutate::bytes(rng, bytes, &[0xff; 64]);
    }
    match rng.u8(0..8) {
        0 => bytes[0] = rng.u8(..),
        1 => bytes[1] = [200, 201, 202, 203, 204, 205, 206, 207, 192, 0, 255][rng.usize(..11)],
        2 => bytes[2..4].copy_from_slice(&[0u16, 1, 6, 7, 0x4000, 0xffff][rng.usize(..6)].to_be_bytes()),
        3 => bytes[0] = bytes[0] & 0xe0 | rng.u8(0..32),
        4 => bytes[0] |= 0x20,
        5 => bytes.extend_from_within(..),
        6 => bytes.extend([0x81, 203, 0, 1, 1, 2, 3, 4]),
        _ => {
            let at = rng.usize(..bytes.len());
            bytes[at..].fill(0xff);
        }
    }
}
