//! An encrypted call under attack: forged, replayed and plain packets from anywhere, and keys that change while it lasts.

use offhook::call::finding::Finding;
use offhook::call::{Call, CallEvent, EarFrame, Measure, Setup, Wire};
use offhook::config;
use offhook::engine::rings::{self, FarEnds};
use offhook::ids::CallId;
use offhook::rtp::packet::{HEADER_LEN, Header, Packet};
use offhook::rtp::rtcp::{Compound, Report, SENT_LEN_MAX, SenderInfo};
use offhook::rtp::srtp::{Inbound, Outbound, Profile};
use offhook::rtp::{Discard, PayloadType, RtpTimestamp, SequenceNumber, Ssrc, latch};
use offhook::sdp::{Keyring, Negotiation};
use offhook::time::Instant;
use rtrb::Consumer;
use std::net::SocketAddr;
use std::time::Duration;

const PHONE: &str = "198.51.100.1:4000";
const PHONE_RTCP: &str = "198.51.100.1:4001";
/// Where attackers are: on the phone's very address, on its host, and elsewhere.
const ATTACKERS: [&str; 3] = [PHONE, "198.51.100.1:4666", "203.0.113.66:6666"];
const KEY: &str = "uVRFzqNsixRG86J5vjw/V6+xFBgFrmqhT5szfsFi";
const OTHER_KEY: &str = "QLdxvT9wCOrPy5g01n3BYl3C6Zh2tGMtTh9EYkHW";
const SSRC: u32 = 7;
/// A packet of quiet codes, none of which a stranger sends.
const FRAME: usize = 160;
/// The loudest that µ-law can be: a sample of a stranger's.
const LOUD: u8 = 0;

/// What the call sends, as it is on the wire.
#[derive(Default)]
struct Sent(Vec<(bool, SocketAddr, Vec<u8>)>);

impl Wire for Sent {
    fn send(&mut self, rtcp: bool, to: SocketAddr, bytes: &[u8]) -> Option<Instant> {
        self.0.push((rtcp, to, bytes.to_vec()));
        None
    }

    fn measure(&mut self, _: Measure, _: Duration) {}
}

/// The agent's end of a call, and the phone's.
struct Line {
    negotiation: Negotiation,
    call: Call,
    frames: Consumer<EarFrame>,
    events: Consumer<CallEvent>,
    outbound: Outbound,
    inbound: Inbound,
    now: Instant,
    sent: Sent,
    /// Everything that the recogniser was given.
    heard: Vec<u8>,
    silent: bool,
    finding: Option<Finding>,
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Bytes of its own for each key that is asked for.
fn random(bytes: &mut [u8]) -> bool {
    use std::sync::atomic::{AtomicU8, Ordering};
    static NEXT: AtomicU8 = AtomicU8::new(1);
    bytes.fill(NEXT.fetch_add(1, Ordering::Relaxed));
    true
}

fn offer(key: &str, attribute: &str) -> Vec<u8> {
    format!(
        "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0\r\n\
         a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\na={attribute}\r\n"
    )
    .into_bytes()
}

/// The phone's ends of the keys.
fn ends(negotiation: &Negotiation, outbound: Option<&Outbound>) -> (Outbound, Inbound) {
    let keys = negotiation.keys().expect("it is encrypted");
    let after = outbound.and_then(Outbound::position);
    let outbound = Outbound::new(Profile::Aes128Sha80, keys.theirs.as_bytes(), after);
    let inbound = Inbound::new(Profile::Aes128Sha80, keys.ours.as_bytes(), None);
    (outbound.expect("a key"), inbound.expect("a key"))
}

impl Line {
    fn new() -> Self {
        let keyring = Keyring::new(config::Srtp::Optional, random);
        let mut negotiation = Negotiation::new(1, address("192.0.2.1:10000")).with_keyring(keyring);
        let (_, agreed) = negotiation.answer(&offer(KEY, "sendrecv")).expect("it is acceptable");
        let (rings, FarEnds { ears: frames, events, .. }) = rings::of_a_call();
        let setup = Setup {
            id: CallId(1),
            agreed: &agreed,
            signalling: address(PHONE).ip(),
            guard: latch::Settings::default(),
            port: 10_000,
            ntp_at_zero: 0,
            cname: "agent@offhook",
            silence_max: Duration::from_secs(5),
            rings,
        };
        let mut call = Call::new(setup, Instant::ZERO, &mut fastrand::Rng::with_seed(1));
        call.set_keys(negotiation.keys(), Instant::ZERO);
        let (outbound, inbound) = ends(&negotiation, None);
        Self {
            negotiation,
            call,
            frames,
            events,
            outbound,
            inbound,
            now: Instant::ZERO,
            sent: Sent::default(),
            heard: Vec::new(),
            silent: false,
            finding: None,
        }
    }

    /// Answers a re-INVITE as the engine does; the phone takes the new keys where there are some.
    fn reoffer(&mut self, key: &str, attribute: &str) {
        let before = self.negotiation.keys().cloned();
        let (_, agreed) = self.negotiation.answer(&offer(key, attribute)).expect("it is acceptable");
        self.call.set_keys(self.negotiation.keys(), self.now);
        self.call.change(&agreed, self.now);
        if self.negotiation.keys() != before.as_ref() {
            (self.outbound, self.inbound) = ends(&self.negotiation, Some(&self.outbound));
        }
    }

    fn protected(&mut self, n: u64) -> Vec<u8> {
        let mut packet = plain(n, &payload(n));
        let len = packet.len();
        packet.resize(len + 10, 0);
        assert_eq!(self.outbound.protect_rtp(&mut packet, len), Some(len + 10));
        packet
    }

    fn arrive(&mut self, rtcp: bool, from: &str, bytes: &[u8]) {
        self.call.datagram(rtcp, address(from), bytes, self.now, &mut self.sent);
        self.collect();
    }

    fn pass(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += Duration::from_millis(1);
            if self.call.poll_timeout() <= self.now {
                self.call.handle_timeout(self.now, &mut self.sent);
            }
            self.collect();
        }
    }

    fn collect(&mut self) {
        while let Ok(frame) = self.frames.pop() {
            self.heard.extend(frame.ulaw);
        }
        while let Ok(event) = self.events.pop() {
            self.silent |= event == CallEvent::Silent;
            if let CallEvent::Audio { audio, .. } = event {
                self.finding = audio.finding;
            }
        }
    }

    /// Reads all that the call has sent, with the phone's key: every packet must be readable, and for the phone.
    fn received(&mut self) -> (usize, usize) {
        let (mut packets, mut reports) = (0, 0);
        for (rtcp, to, mut bytes) in std::mem::take(&mut self.sent.0) {
            assert_eq!(to, address(if rtcp { PHONE_RTCP } else { PHONE }));
            if rtcp {
                let len = self.inbound.unprotect_rtcp(&mut bytes).expect("a right tag");
                reports += Compound::parse(&bytes[..len]).map(Iterator::count).expect("a report").min(1);
            } else {
                let len = self.inbound.unprotect_rtp(&mut bytes).expect("a right tag");
                assert_eq!(Packet::parse(&bytes[..len]).expect("RTP").payload, [0xff; FRAME]);
                packets += 1;
            }
        }
        (packets, reports)
    }
}

/// A packet's payload: each sample tells where it belongs, quietly.
fn payload(n: u64) -> [u8; FRAME] {
    std::array::from_fn(|at| 0xf0 | ((n as usize * 7 + at) % 13) as u8)
}

/// Packet `n` of the phone's stream, which wraps after a second.
fn plain(n: u64, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        marker: false,
        payload_type: PayloadType(0),
        sequence: SequenceNumber(65_486u16.wrapping_add(n as u16)),
        timestamp: RtpTimestamp(n as u32 * FRAME as u32),
        ssrc: Ssrc(SSRC),
    };
    let mut packet = vec![0; HEADER_LEN];
    assert!(header.write(&mut packet));
    packet.extend(payload);
    packet
}

fn report() -> Vec<u8> {
    let mut bytes = vec![0; SENT_LEN_MAX];
    let info = SenderInfo { ntp: 1, ..SenderInfo::default() };
    let report = Report { ssrc: Ssrc(SSRC), sender: Some(info), block: None, cname: "attacker", bye: true };
    let len = report.write(&mut bytes).expect("it fits");
    bytes.truncate(len);
    bytes
}

#[test]
fn not_one_sample_of_a_stranger_is_heard_and_the_call_goes_on() {
    let mut line = Line::new();
    let mut rng = fastrand::Rng::with_seed(3);
    let mut recorded: Vec<Vec<u8>> = Vec::new();
    let mut attacks = 0u64;
    for n in 0..500u64 {
        let genuine = line.protected(n);
        // Before the phone's first packet, too: nothing is learned from what lacks the key.
        for from in ATTACKERS {
            let loud = [LOUD; FRAME];
            let mut forged = plain(n, &loud);
            line.arrive(false, from, &forged);
            line.arrive(false, from, &plain(n + rng.u64(..4000), &loud));
            forged.extend(std::iter::repeat_with(|| rng.u8(..)).take(10));
            line.arrive(false, from, &forged);
            // The phone's own packet with another payload, and a tag that almost fits.
            let mut turned = genuine.clone();
            turned[HEADER_LEN + rng.usize(..FRAME)] ^= 1 << rng.u8(..8);
            line.arrive(false, from, &turned);
            attacks += 4;
            if let Some(old) = rng.choice(&recorded) {
                line.arrive(false, from, old);
                attacks += 1;
            }
            line.arrive(true, from, &report());
            line.arrive(false, from, &report());
            attacks += 2;
        }
        assert_eq!(line.call.remote().is_some(), n > 0, "a stranger was latched on");
        line.arrive(false, PHONE, &genuine);
        recorded.push(genuine);
        assert_eq!(line.call.remote(), Some(address(PHONE)));
        line.pass(20);
    }
    let said: Vec<u8> = (0..500).flat_map(payload).collect();
    assert_eq!(line.heard, said, "the recogniser was given something else than what the phone said");
    let discards = *line.call.discards();
    assert_eq!(discards.of(Discard::Authentication) + discards.of(Discard::Replay), attacks);
    assert_eq!(discards.total(), attacks);
    assert!(discards.of(Discard::Replay) > 1000);
    assert_eq!(line.call.stats().packets_received, 500);
    let (packets, reports) = line.received();
    assert!(packets >= 495 && reports >= 1, "{packets} packets, {reports} reports");
    assert!(!line.silent);
}

#[test]
fn a_stranger_does_not_keep_a_dead_call_alive() {
    let mut line = Line::new();
    let genuine = line.protected(0);
    line.arrive(false, PHONE, &genuine);
    for n in 1..300 {
        line.arrive(false, PHONE, &genuine);
        line.arrive(false, PHONE, &plain(n, &[LOUD; FRAME]));
        line.arrive(true, PHONE_RTCP, &report());
        line.pass(20);
    }
    assert!(line.silent, "packets without the key were taken for a sign of life");
    assert!(line.heard.iter().all(|sample| *sample != LOUD));
}

#[test]
fn a_hold_keeps_key_and_counter_so_that_nothing_old_is_let_in_again() {
    let mut line = Line::new();
    let mut recorded = Vec::new();
    for n in 0..100 {
        let packet = line.protected(n);
        line.arrive(false, PHONE, &packet);
        recorded.push(packet);
        line.pass(20);
    }
    line.received();
    line.reoffer(KEY, "sendonly");
    line.pass(1000);
    line.reoffer(KEY, "sendrecv");
    for packet in &recorded {
        line.arrive(false, PHONE, packet);
    }
    assert_eq!(line.call.discards().of(Discard::Replay), 100);
    let before = line.heard.len();
    for n in 100..150 {
        let packet = line.protected(n);
        line.arrive(false, PHONE, &packet);
        line.pass(20);
    }
    let said: Vec<u8> = (100..150).flat_map(payload).collect();
    assert!(line.heard[before..].windows(FRAME).any(|part| part == &said[49 * FRAME..]));
    let (packets, _) = line.received();
    assert!(packets >= 49, "{packets}");
}

#[test]
fn a_new_key_is_taken_at_once_and_the_old_one_ends_soon() {
    let mut line = Line::new();
    for n in 0..100 {
        let packet = line.protected(n);
        line.arrive(false, PHONE, &packet);
        line.pass(20);
    }
    line.received();
    // Packets that were on their way when the key changed.
    let on_their_way: Vec<_> = (100..105).map(|n| line.protected(n)).collect();
    let too_late = line.protected(400);
    let taken = line.call.stats().packets_received;
    line.reoffer(OTHER_KEY, "sendrecv");
    for packet in &on_their_way {
        line.arrive(false, PHONE, packet);
        line.pass(20);
    }
    assert_eq!(line.call.stats().packets_received - taken, 5);
    // The counter of the old key's last packet is the phone's to go on from.
    for n in 401..600 {
        let packet = line.protected(n);
        line.arrive(false, PHONE, &packet);
        line.pass(20);
    }
    assert_eq!(line.call.stats().packets_received - taken, 5 + 199);
    line.arrive(false, PHONE, &too_late);
    assert_eq!(line.call.discards().of(Discard::Authentication), 1);
    let (packets, _) = line.received();
    assert!(packets >= 200, "{packets}");
}

#[test]
fn a_phone_with_another_key_is_told_apart_from_one_that_sends_nothing() {
    let mut line = Line::new();
    let other = [7; 30];
    line.outbound = Outbound::new(Profile::Aes128Sha80, &other, None).expect("a key");
    for n in 0..100 {
        let packet = line.protected(n);
        line.arrive(false, PHONE, &packet);
        line.pass(20);
    }
    assert_eq!(line.finding, Some(Finding::NotAuthentic));
    assert_eq!((line.call.remote(), line.call.stats().packets_received), (None, 0));
}

#[test]
fn a_phone_that_moves_is_followed_by_its_key_alone() {
    let mut line = Line::new();
    for n in 0..50 {
        let packet = line.protected(n);
        line.arrive(false, PHONE, &packet);
        line.pass(20);
    }
    line.pass(300);
    let packet = line.protected(65);
    line.arrive(false, "203.0.113.200:5555", &packet);
    assert_eq!(line.call.remote(), Some(address("203.0.113.200:5555")));
}
