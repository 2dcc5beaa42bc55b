//! The media path keeps off the heap, sleeps by its deadlines and stays in memory, whatever the network and the caller do.
#![allow(unsafe_code, reason = "getrusage is a C function")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/heap.rs"]
mod heap;

use heap::counted;
use offhook::audio::g711::Codec;
use offhook::audio::g722;
use offhook::call::capture::{Begin, Capture, Record};
use offhook::call::recording::{RecordFrame, Recording, Side};
use offhook::call::{Call, CallCommand, CallEvent, EarFrame, FRAME_8K, Heard, Setup, TapFrame, VoiceFrame};
use offhook::capture::{Ending, media};
use offhook::engine::clock::SystemClock;
use offhook::engine::media::{Line, Worker, WorkerCounters, WorkerOrder};
use offhook::engine::pcap::Packets;
use offhook::engine::rings::{self, DATAGRAM_MAX, Datagram, FarEnds};
use offhook::ids::{CallId, TurnId};
use offhook::metrics::{Quality, Sample};
use offhook::providers::Bell;
use offhook::replay;
use offhook::rtp::keypad::Presses;
use offhook::rtp::latch::Settings;
use offhook::rtp::packet::{HEADER_LEN, Header};
use offhook::rtp::rtcp::{Report, ReportBlock, SENT_LEN_MAX, SenderInfo};
use offhook::rtp::srtp::{Outbound, Profile};
use offhook::rtp::{PayloadType, RtpTimestamp, SequenceNumber, Ssrc};
use offhook::sdp::{Agreed, Direction, Encoding, Keyring, Keys, Negotiation, RemoteAddress};
use offhook::time::{Clock, Instant};
use rtrb::{Consumer, Producer};
use std::f32::consts::TAU;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const CALLS: u32 = 4;
/// The call that is encrypted.
const ENCRYPTED: u32 = 3;
const AUDIO: u8 = 0;
const WIDE: u8 = 9;
const COMFORT_NOISE: u8 = 13;
const EVENT: u8 = 101;

/// What came out of one call.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    frames: u64,
    concealed: u64,
    speech: u64,
    digits: u64,
    pressed: u64,
    cuts: u64,
    played: u64,
    first_packets: u64,
    recorded: [u64; 2],
}

/// The far end of one call: a caller on a bad line, and the threads at the other ends of the rings.
struct Peer {
    id: CallId,
    rng: fastrand::Rng,
    /// Where the agent's packets go; nobody reads them.
    rtp: UdpSocket,
    rtcp: UdpSocket,
    packets: Producer<Datagram>,
    ears: Consumer<EarFrame>,
    voice: Producer<VoiceFrame>,
    commands: Producer<CallCommand>,
    events: Consumer<CallEvent>,
    recorded: Consumer<RecordFrame>,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    slot: u64,
    turn: TurnId,
    seen: Seen,
    /// Of a caller who speaks G.722.
    wide: Option<g722::Encoder>,
    outbound: Option<Outbound>,
    /// What is captured of the call, where it is.
    records: Option<Consumer<Record>>,
    entries: Vec<media::Entry>,
}

impl Peer {
    /// Makes a call, and the line that a worker takes over. Every other one is G.722.
    fn new(id: u32, now: Instant) -> (Self, Box<Line>) {
        let wide = id.is_multiple_of(2);
        let bind = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (rtp, rtcp) = (bind(), bind());
        let mut rng = fastrand::Rng::with_seed(u64::from(id));
        let (packets, packets_out) = rings::packets();
        let (rings, FarEnds { ears, voice, commands, events, .. }) = rings::of_a_call();
        let setup = Setup {
            id: CallId(id),
            agreed: &agreed(&rtp, &rtcp, wide, Direction::SendRecv),
            signalling: "127.0.0.1".parse().unwrap(),
            ntp_at_zero: 0,
            cname: "agent@offhook",
            guard: Settings::default(),
            port: 10_000,
            silence_max: Duration::from_secs(60),
            rings,
        };
        let here = Bell::for_thread(std::thread::current());
        let mut call = Call::new(setup, now, &mut rng);
        let keys = (id == ENCRYPTED).then(|| keys(1));
        call.set_keys(keys.as_ref(), now);
        let (frames, recorded) = rings::record_frames();
        call.record(Recording::new(frames));
        let line = Line {
            call,
            packets: packets_out,
            rtp: Arc::new(bind()),
            rtcp: Arc::new(bind()),
            ears: here.clone(),
            conductor: here,
            pcap: Some(Packets::lay().0),
            quality_due: now,
            failed: false,
        };
        let peer = Self {
            id: CallId(id),
            sequence: rng.u16(..),
            timestamp: rng.u32(..),
            ssrc: rng.u32(..),
            rng,
            rtp,
            rtcp,
            packets,
            ears,
            voice,
            commands,
            events,
            recorded,
            slot: 0,
            turn: TurnId::GREETING,
            seen: Seen::default(),
            wide: wide.then(g722::Encoder::new),
            outbound: keys.and_then(|keys| Outbound::new(Profile::Aes128Sha80, keys.theirs.as_bytes(), None)),
            records: None,
            entries: Vec::new(),
        };
        (peer, Box::new(line))
    }

    /// Captures the call, which was made at `now`, from here on.
    fn capture(&mut self, line: &mut Line, now: Instant) {
        let (ring, records) = rings::capture();
        let mut capture = Capture::new(ring);
        capture.push(Record::Begin(Begin {
            now,
            agreed: self.agreed(Direction::SendRecv),
            signalling: "127.0.0.1".parse().unwrap(),
            guard: Settings::default(),
            port: 10_000,
            ntp_at_zero: 0,
            cname: media::cname("agent@offhook"),
            silence_max: Duration::from_secs(60),
            seed: u64::from(self.id.0),
        }));
        line.call.set_capture(capture);
        self.records = Some(records);
    }

    /// What the capture's own thread does.
    fn write_down(&mut self) {
        while let Some(record) = self.records.as_mut().and_then(|records| records.pop().ok()) {
            self.entries.push(media::Entry::from(&record));
        }
    }

    fn agreed(&self, direction: Direction) -> Agreed {
        agreed(&self.rtp, &self.rtcp, self.wide.is_some(), direction)
    }

    /// One slot of the caller: speech or silence, a key, a loss, a duplicate, an overtaken packet, noise, a report.
    fn slot(&mut self, now: Instant) {
        self.slot += 1;
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(FRAME_8K as u32);
        let speaks = self.slot % 300 >= 220;
        let pressing = self.slot % 250 < 5;
        // A pause of half a second, of which one packet tells the level.
        let pause = self.slot % 900 / 25 == 7;
        if pause && !self.slot.is_multiple_of(25) {
            self.sequence = self.sequence.wrapping_sub(1);
            return self.agent_side();
        }
        let packet = match (pressing, pause) {
            (true, _) => self.event(),
            (_, true) => [self.header(COMFORT_NOISE, false), vec![60]].concat(),
            _ => self.audio(speaks),
        };
        match self.rng.u32(..100) {
            0..5 => {}
            5..7 => {
                self.put(false, &packet, now);
                self.put(false, &packet, now);
            }
            _ => self.put(false, &packet, now),
        }
        match self.rng.u32(..1000) {
            // Two packets change places, by way of one that comes too early.
            0..20 => {
                let (sequence, timestamp) = (self.sequence, self.timestamp);
                self.sequence = sequence.wrapping_add(1);
                self.timestamp = timestamp.wrapping_add(FRAME_8K as u32);
                let early = self.audio(speaks);
                self.put(false, &early, now);
                (self.sequence, self.timestamp) = (sequence, timestamp);
            }
            20..25 => {
                let noise: Vec<u8> = (0..self.rng.usize(..300)).map(|_| self.rng.u8(..)).collect();
                let rtcp = self.rng.bool();
                self.put(rtcp, &noise, now);
            }
            // The peer begins anew.
            25 => {
                self.ssrc = self.rng.u32(..);
                self.sequence = self.rng.u16(..);
            }
            _ => {}
        }
        if self.slot.is_multiple_of(100) {
            let report = self.report(now);
            self.put(true, &report, now);
        }
        self.agent_side();
    }

    /// What ears, voice and conductor do meanwhile.
    fn agent_side(&mut self) {
        match self.slot % 300 {
            10 => {
                self.turn = self.turn.next();
                let _ = self.commands.push(CallCommand::Grant(self.turn));
            }
            150 => {
                let _ = self.commands.push(CallCommand::Press(Presses::parse("1#").unwrap()));
            }
            // The recogniser confirms a barge-in in every other turn; the rest are coughs.
            235 if (self.slot / 300).is_multiple_of(2) => {
                let _ = self.commands.push(CallCommand::Ears(Heard::StartOfTurn));
            }
            240 => {
                let _ = self.commands.push(CallCommand::Ears(Heard::Words));
            }
            290 => {
                let _ = self.commands.push(CallCommand::Ears(Heard::EndOfTurn));
                if (self.slot / 300).is_multiple_of(3) {
                    let _ = self.commands.push(CallCommand::Withdraw(self.turn));
                }
            }
            _ => {}
        }
        // Every third reply ends before the caller speaks again; the others are long enough to be cut.
        let (from, frames) = (15, if self.turn.0.is_multiple_of(3) { 100 } else { 260 });
        let at = self.slot % 300;
        if (from..from + frames).contains(&at) && self.turn > TurnId::GREETING {
            let last = at + 1 == from + frames;
            let pcm = voice(self.slot * 160, 5000.0);
            let len = if last { 40 } else { FRAME_8K as u16 };
            let _ = self.voice.push(VoiceFrame { turn: self.turn, pcm, len, last, made: Instant::ZERO });
        }
        // A recorder that stalls as long: its ring runs full, too.
        if self.slot % 1000 > 300 {
            while let Ok(frame) = self.recorded.pop() {
                self.seen.recorded[usize::from(frame.side == Side::Agent)] += 1;
            }
        }
        // Ears that stall for 6 s: their ring runs full.
        if self.slot % 1000 > 300 {
            while let Ok(frame) = self.ears.pop() {
                self.seen.frames += 1;
                self.seen.concealed += u64::from(frame.concealed);
                self.seen.speech += u64::from(frame.speech);
            }
        }
        while let Ok(event) = self.events.pop() {
            match event {
                CallEvent::Digit { .. } => self.seen.digits += 1,
                CallEvent::Pressed => self.seen.pressed += 1,
                CallEvent::Cut { .. } => self.seen.cuts += 1,
                CallEvent::Played { .. } => self.seen.played += 1,
                CallEvent::FirstPacket { .. } => self.seen.first_packets += 1,
                CallEvent::CallerSpeech { .. }
                | CallEvent::OwnEcho { .. }
                | CallEvent::AgentSpeech { .. }
                | CallEvent::Silent
                | CallEvent::Audio { .. }
                | CallEvent::Arrived { .. }
                | CallEvent::Stalled { .. } => {}
            }
        }
    }

    fn put(&mut self, rtcp: bool, packet: &[u8], arrived: Instant) {
        let mut bytes = [0; DATAGRAM_MAX];
        bytes[..packet.len()].copy_from_slice(packet);
        // What follows upon nothing goes out as it is, and is refused: noise, and a packet that comes too late.
        let protected = self.outbound.as_mut().and_then(|key| match rtcp {
            true => key.protect_rtcp(&mut bytes, packet.len()),
            false => key.protect_rtp(&mut bytes, packet.len()),
        });
        let len = protected.unwrap_or(packet.len()) as u16;
        let source = if rtcp { &self.rtcp } else { &self.rtp }.local_addr().unwrap();
        // A full ring drops the newest, as net does.
        let _ = self.packets.push(Datagram { rtcp, source, arrived, len, bytes });
    }

    fn header(&self, payload_type: u8, marker: bool) -> Vec<u8> {
        let header = Header {
            marker,
            payload_type: PayloadType(payload_type),
            sequence: SequenceNumber(self.sequence),
            timestamp: RtpTimestamp(self.timestamp),
            ssrc: Ssrc(self.ssrc),
        };
        let mut bytes = vec![0; HEADER_LEN];
        assert!(header.write(&mut bytes));
        bytes
    }

    fn audio(&mut self, speaks: bool) -> Vec<u8> {
        let mut packet = self.header(if self.wide.is_some() { WIDE } else { AUDIO }, false);
        let mut codes = [0; FRAME_8K];
        let pcm = voice(u64::from(self.timestamp), if speaks { 5000.0 } else { 0.0 });
        match &mut self.wide {
            Some(encoder) => encoder.encode(&pcm.map(|sample| [sample; 2]).concat(), &mut codes),
            None => Codec::Pcmu.encode(&pcm, &mut codes),
        }
        packet.extend(codes);
        packet
    }

    /// A packet of a key that is held for 100 ms (RFC 4733 §2.5.1).
    fn event(&mut self) -> Vec<u8> {
        let nth = (self.slot % 250) as u16;
        let end = if nth == 4 { 0x80 } else { 0 };
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_sub(u32::from(nth) * 160);
        let mut packet = self.header(EVENT, nth == 0);
        self.timestamp = timestamp;
        let [d0, d1] = ((nth + 1) * 160).to_be_bytes();
        packet.extend([5, end | 10, d0, d1]);
        packet
    }

    fn report(&self, now: Instant) -> Vec<u8> {
        let info = SenderInfo { ntp: now.as_nanos(), timestamp: RtpTimestamp(self.timestamp), packets: 1, octets: 160 };
        let block = ReportBlock { ssrc: Ssrc(self.ssrc), last_sr: 1, ..ReportBlock::default() };
        let report =
            Report { ssrc: Ssrc(self.ssrc), sender: Some(info), block: Some(block), cname: "caller", bye: false };
        let mut bytes = vec![0; SENT_LEN_MAX];
        let len = report.write(&mut bytes).unwrap();
        bytes.truncate(len);
        bytes
    }
}

fn agreed(rtp: &UdpSocket, rtcp: &UdpSocket, wide: bool, direction: Direction) -> Agreed {
    Agreed {
        encoding: if wide { Encoding::G722 } else { Encoding::Pcmu },
        payload_type_sent: if wide { WIDE } else { AUDIO },
        payload_types_received: [(!wide).then_some(AUDIO), None, wide.then_some(WIDE)],
        telephone_event_sent: Some(EVENT),
        telephone_event_received: Some(EVENT),
        comfort_noise_received: None,
        direction,
        held: !direction.sends(),
        remote: RemoteAddress::Known(rtp.local_addr().unwrap()),
        remote_rtcp: RemoteAddress::Known(rtcp.local_addr().unwrap()),
        rtcp_mux: false,
        ptime_ms: 20,
    }
}

/// The keys that an answer agrees upon, each byte of the phone's being `own`.
fn keys(own: u8) -> Keys {
    let digits = ["AQEB", "AgIC"][usize::from(own) - 1].repeat(10);
    let offer = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0\r\n\
         a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{digits}\r\n"
    );
    let keyring = Keyring::new(offhook::config::Srtp::Optional, |bytes| {
        bytes.fill(7);
        true
    });
    let mut negotiation = Negotiation::new(1, "127.0.0.1:10000".parse().unwrap()).with_keyring(keyring);
    negotiation.answer(offer.as_bytes()).unwrap();
    negotiation.keys().cloned().unwrap()
}

/// A voice of 125 Hz and its overtones, from this sample on.
fn voice(from: u64, level: f32) -> [i16; FRAME_8K] {
    std::array::from_fn(|n| {
        let phase = ((from as usize + n) % 64) as f32 / 64.0;
        (level * (1..24u8).map(|k| (TAU * phase * f32::from(k)).sin() / f32::from(k)).sum::<f32>()) as i16
    })
}

/// A worker, and the ends that net and stats hold.
struct Bench {
    worker: Worker,
    orders: Producer<WorkerOrder>,
    retired: Consumer<Box<Line>>,
    samples: Consumer<Sample>,
    quality: Consumer<(CallId, Quality)>,
    counters: Arc<WorkerCounters>,
    clock: Arc<SystemClock>,
}

impl Bench {
    fn new() -> Self {
        let (orders, orders_out) = rings::worker_orders();
        let (retired_in, retired) = rings::retired();
        let (samples_in, samples) = rings::samples();
        let (quality_in, quality) = rings::quality();
        let counters = Arc::new(WorkerCounters::default());
        let clock = Arc::new(SystemClock::start());
        let net = Bell::for_thread(std::thread::current());
        let worker =
            Worker::new(16, orders_out, retired_in, samples_in, quality_in, net, clock.clone(), counters.clone());
        Self { worker, orders, retired, samples, quality, counters, clock }
    }

    fn order(&mut self, order: WorkerOrder) {
        assert!(self.orders.push(order).is_ok());
    }
}

#[test]
fn a_minute_of_four_bad_calls_makes_no_heap_call_after_the_first_second() {
    let mut bench = Bench::new();
    let mut peers = Vec::new();
    for id in 1..=CALLS {
        let (mut peer, mut line) = Peer::new(id, Instant::ZERO);
        peer.capture(&mut line, Instant::ZERO);
        bench.order(WorkerOrder::Add(line));
        peers.push(peer);
    }
    let (tap_in, mut tap) = rings::tap();
    bench.order(WorkerOrder::Tap(CallId(1), tap_in));
    let mut taps: Vec<TapFrame> = Vec::new();
    let (mut next, mut slept_to, mut held) = (Instant::ZERO, Instant::ZERO, 0);
    let mut heap_calls = 0;
    for slot in 0..61 * 50u64 {
        let start = Instant::from_millis(slot * 20);
        for (n, peer) in peers.iter_mut().enumerate() {
            peer.slot(start + Duration::from_millis(n as u64 * 3));
        }
        // A hold, and a call that comes late and goes early.
        match slot {
            1000 | 1500 => {
                let direction = if slot == 1000 { Direction::RecvOnly } else { Direction::SendRecv };
                let agreed = peers[1].agreed(direction);
                bench.order(WorkerOrder::Change(CallId(2), agreed));
                held += 1;
            }
            500 => {
                let (mut peer, mut line) = Peer::new(CALLS + 1, start);
                peer.capture(&mut line, start);
                bench.order(WorkerOrder::Add(line));
                peers.push(peer);
            }
            // Another key for the call that is encrypted.
            2000 => {
                let peer = &mut peers[ENCRYPTED as usize - 1];
                let keys = keys(2);
                let after = peer.outbound.as_ref().and_then(Outbound::position);
                peer.outbound = Outbound::new(Profile::Aes128Sha80, keys.theirs.as_bytes(), after);
                bench.order(WorkerOrder::Secure(peer.id, Some(keys)));
            }
            2500 => bench.order(WorkerOrder::Remove(CallId(CALLS + 1))),
            _ => {}
        }
        // The worker is woken by the packets, and then by its own deadlines until the slot is over.
        let mut now = start;
        loop {
            let asked;
            (next, asked) = counted(|| bench.worker.do_work(now));
            heap_calls += if slot < 50 { 0 } else { asked };
            slept_to = slept_to.max(next);
            if next >= start + Duration::from_millis(20) {
                break;
            }
            now = next.max(now + Duration::from_micros(50));
        }
        taps.extend(std::iter::from_fn(|| tap.pop().ok()));
        peers.iter_mut().for_each(Peer::write_down);
        while bench.samples.pop().is_ok() {}
        while bench.quality.pop().is_ok() {}
    }
    assert_eq!(heap_calls, 0, "the media path asked the heap for something");

    // It was all there: nothing was left out that could have asked.
    for peer in &peers[..CALLS as usize] {
        let Seen { frames, concealed, speech, digits, pressed, cuts, played, first_packets, recorded } = peer.seen;
        assert!(recorded.iter().all(|frames| *frames > 1000), "{}: {recorded:?}", peer.id);
        assert!(frames > 1500 && concealed > 20 && speech > 100, "{}: {:?}", peer.id, peer.seen);
        assert!(pressed >= 5, "{}: {:?}", peer.id, peer.seen);
        assert!(digits >= 9 && cuts >= 2 && played >= 1 && first_packets >= 5, "{}: {:?}", peer.id, peer.seen);
    }
    assert!(taps.len() > 3000, "{} frames were listened to", taps.len());
    let sent = bench.counters.sent.load(Ordering::Relaxed);
    assert!(sent > 3 * 3000 && held == 2, "{sent} packets were sent");
    assert_eq!(bench.counters.panics.load(Ordering::Relaxed), 0);
    assert_eq!(bench.retired.slots(), 1, "a call that is let go comes back to be dropped");
    assert!(next > Instant::ZERO && slept_to >= next);
    for peer in peers {
        assert_replays(peer);
    }
    // The counter does count.
    assert_eq!(counted(|| drop(std::hint::black_box(vec![0u8; 10]))).1, 2);
}

/// Runs a captured call again: every packet is the same, and one that is not is found.
fn assert_replays(peer: Peer) {
    let Peer { id, mut entries, .. } = peer;
    let closed = entries.last() == Some(&media::Entry::End);
    if closed {
        entries.pop();
    }
    let mut log = (entries, if closed { Ending::Whole } else { Ending::Cut });
    let outcome = replay::media::replay(id, &log).unwrap();
    println!("{id}: {outcome}");
    assert!(outcome.is_identical() && outcome.same > 1900, "{id}: {outcome}");
    assert_eq!(closed, id == CallId(CALLS + 1));
    if id != CallId(1) {
        return;
    }

    let at = log.0.iter().rposition(|entry| matches!(entry, media::Entry::Packet { .. })).unwrap() / 2;
    let changed = log.0.iter_mut().skip(at).find_map(|entry| match entry {
        media::Entry::Packet { bytes, .. } => bytes.0.last_mut(),
        _ => None,
    });
    *changed.unwrap() ^= 1;
    let outcome = replay::media::replay(id, &log).unwrap();
    let difference = outcome.difference.clone().unwrap();
    assert!(!outcome.is_identical() && difference.contains("packet differs from byte"), "{id}: {outcome}");
}

/// What the system counts of the calling thread: voluntary context switches, minor and major page faults.
#[cfg(target_os = "linux")]
fn usage() -> Option<(i64, i64, i64)> {
    // SAFETY: all zeros are a value of this struct of numbers, and the call only fills it in.
    let (result, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage), usage)
    };
    (result == 0).then_some((usage.ru_nvcsw, usage.ru_minflt, usage.ru_majflt))
}

#[cfg(not(target_os = "linux"))]
fn usage() -> Option<(i64, i64, i64)> {
    None
}

/// How long the worker runs in real time, in seconds.
const REAL_SECONDS: u64 = 4;

#[test]
#[expect(clippy::disallowed_methods, reason = "a telephone sends in real time")]
fn a_worker_sleeps_by_its_deadlines_and_bells_only_and_stays_in_memory() {
    if usage().is_none() {
        eprintln!("SKIPPED: the system does not count a thread's switches and page faults");
        return;
    }
    let mut bench = Bench::new();
    let clock = bench.clock.clone();
    let stop = offhook::providers::Stop::default();
    let mut peers = Vec::new();
    for id in 1..=2 {
        let (peer, line) = Peer::new(id, clock.now());
        bench.order(WorkerOrder::Add(line));
        peers.push(peer);
    }
    let Bench { mut worker, .. } = bench;
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || {
        let (mut rounds, mut parks, mut heap_calls) = (0u64, 0i64, 0);
        let mut before = None;
        while !stopped.raised() {
            let (next, asked) = counted(|| worker.do_work(clock.now()));
            heap_calls += asked;
            let now = clock.now();
            if next > now {
                std::thread::park_timeout(next - now);
                parks += 1;
            }
            rounds += 1;
            // The first rounds touch the stack and the rings for the first time.
            if rounds == 100 {
                before = usage();
                parks = 0;
                heap_calls = 0;
            }
        }
        (before, usage(), parks, heap_calls)
    });
    let bell = Bell::for_thread(thread.thread().clone());
    let clock = SystemClock::start();
    let (mut wakes, slots) = (0, REAL_SECONDS * 50);
    for slot in 1..=slots {
        let due = Instant::from_millis(slot * 20);
        std::thread::sleep(due.since(clock.now()));
        let arrived = bench.clock.now();
        peers.iter_mut().for_each(|peer| peer.slot(arrived));
        bell.ring();
        wakes += 1;
    }
    stop.raise();
    bell.ring();
    let (before, after, parks, heap_calls) = thread.join().unwrap();
    let (Some(before), Some(after)) = (before, after) else { panic!("the worker did not run for 100 rounds") };
    let (switches, minor, major) = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
    println!(
        "{switches} voluntary switches, {parks} parks, {wakes} wakes; {minor} minor and {major} major page faults"
    );
    assert_eq!(heap_calls, 0);
    // A park switches once, or not at all where the bell has already rung; nothing else may.
    assert!(switches <= parks + 2, "{switches} switches in {parks} parks: something else waits");
    // Per slot: a wake-up by the bell, one tick for each call's grid, and one for gaps and reports.
    let ticks = slots as i64 * (peers.len() as i64 + 1);
    assert!(switches <= ticks + wakes, "{switches} switches for {ticks} ticks and {wakes} wakes");
    assert_eq!(major, 0, "something was paged in");
    // A page of a ring that is reached for the first time: the rings and the calls are less than 2 MB.
    assert!(minor <= 512, "{minor} minor page faults");
}
