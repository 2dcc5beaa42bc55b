//! What one call costs on the media path: packet in, ear frame out, voice frame in, packet out, in time per second of audio.

use divan::Bencher;
use offhook::audio::g711::Codec;
use offhook::call::recording::{RecordFrame, Recording};
use offhook::call::{Call, CallCommand, CallEvent, EarFrame, FRAME_8K, Measure, Rings, Setup, VoiceFrame, Wire};
use offhook::engine::rings;
use offhook::ids::{CallId, TurnId};
use offhook::rtp::latch::Settings;
use offhook::rtp::packet::{HEADER_LEN, Header};
use offhook::rtp::{PayloadType, RtpTimestamp, SequenceNumber, Ssrc};
use offhook::sdp::{Agreed, Direction, Encoding, RemoteAddress};
use offhook::time::Instant;
use rtrb::{Consumer, Producer};
use std::f32::consts::TAU;
use std::net::SocketAddr;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

/// 20 ms slots of one second.
const SLOTS: u64 = 50;

fn main() {
    for (caller, agent) in [(0, 0), (6000, 0), (0, 6000)] {
        let mut line = Line::new(caller, agent);
        for _ in 0..10 {
            line.second(|_| true);
        }
        assert_eq!((line.sent, line.heard), (500, 500), "a packet and a frame in every slot");
        let talks = line.loud > 400;
        assert_eq!(talks, agent > 0, "{} loud packets", line.loud);
        assert_eq!(line.speech > 200, caller > 0, "{} frames with speech", line.speech);
    }
    divan::main();
}

/// Counts what is sent, and how much of it is loud.
#[derive(Default)]
struct Sink {
    sent: u64,
    loud: u64,
}

impl Wire for Sink {
    fn send(&mut self, rtcp: bool, _to: SocketAddr, bytes: &[u8]) -> Option<Instant> {
        if !rtcp {
            self.sent += 1;
            self.loud += u64::from(bytes.iter().skip(HEADER_LEN).any(|code| *code & 0x7f < 0x40));
        }
        None
    }

    fn measure(&mut self, _what: Measure, _value: Duration) {}
}

/// One call and the other ends of its rings.
struct Line {
    call: Call,
    ears: Consumer<EarFrame>,
    voice: Producer<VoiceFrame>,
    events: Consumer<CallEvent>,
    /// A second of the caller's packets, and where they come from.
    packets: Vec<[u8; HEADER_LEN + FRAME_8K]>,
    peer: SocketAddr,
    speech_frame: Option<VoiceFrame>,
    recorded: Option<Consumer<RecordFrame>>,
    slot: u64,
    sent: u64,
    loud: u64,
    heard: u64,
    speech: u64,
}

impl Line {
    /// A call in which caller and agent speak as loud as that, or not at all.
    fn new(caller: i16, agent: i16) -> Self {
        let peer: SocketAddr = "127.0.0.1:4000".parse().expect("an address");
        let agreed = Agreed {
            encoding: Encoding::Pcmu,
            payload_type_sent: 0,
            payload_types_received: [Some(0), None, None],
            telephone_event_sent: Some(101),
            telephone_event_received: Some(101),
            comfort_noise_received: None,
            direction: Direction::SendRecv,
            held: false,
            remote: RemoteAddress::Known(peer),
            remote_rtcp: RemoteAddress::Learned { port: 4001 },
            rtcp_mux: false,
            ptime_ms: 20,
        };
        let (ears_in, ears) = rings::ear_frames();
        let (voice, voice_out) = rings::voice_frames();
        let (_, kept) = rings::kept_frames();
        let (mut commands, commands_out) = rings::call_commands();
        let (events_in, events) = rings::call_events();
        let setup = Setup {
            id: CallId(1),
            agreed: &agreed,
            signalling: peer.ip(),
            ntp_at_zero: 0,
            cname: "agent@offhook",
            guard: Settings::default(),
            port: 10_000,
            silence_max: Duration::from_secs(60),
            rings: Rings { ears: ears_in, voice: voice_out, kept, commands: commands_out, events: events_in },
        };
        let call = Call::new(setup, Instant::ZERO, &mut fastrand::Rng::with_seed(1));
        commands.push(CallCommand::Grant(TurnId(1))).expect("an empty ring");
        let frame = VoiceFrame { turn: TurnId(1), pcm: voiced(0, agent), len: 160, last: false, made: Instant::ZERO };
        Self {
            call,
            ears,
            voice,
            events,
            packets: (0..SLOTS as usize).map(|slot| packet(&said(slot, caller))).collect(),
            peer,
            recorded: None,
            speech_frame: (agent > 0).then_some(frame),
            slot: 0,
            sent: 0,
            loud: 0,
            heard: 0,
            speech: 0,
        }
    }

    /// A call that is recorded, too.
    fn recorded(caller: i16, agent: i16) -> Self {
        let mut line = Self::new(caller, agent);
        let (frames, recorded) = rings::record_frames();
        line.call.record(Recording::new(frames));
        line.recorded = Some(recorded);
        line
    }

    /// A second of the call; packets that are not `kept` are lost.
    fn second(&mut self, kept: impl Fn(u64) -> bool) -> u64 {
        let mut sink = Sink::default();
        for at in 0..SLOTS as usize {
            let now = Instant::from_millis(self.slot * 20);
            let bytes = &mut self.packets[at];
            bytes[2..4].copy_from_slice(&(self.slot as u16).to_be_bytes());
            bytes[4..8].copy_from_slice(&(self.slot as u32 * FRAME_8K as u32).to_be_bytes());
            if kept(self.slot) {
                self.call.datagram(false, self.peer, bytes, now, &mut sink);
            }
            if let Some(frame) = &self.speech_frame {
                let _ = self.voice.push(*frame);
            }
            self.call.handle_timeout(now, &mut sink);
            while let Ok(frame) = self.ears.pop() {
                self.heard += 1;
                self.speech += u64::from(frame.speech);
            }
            while self.events.pop().is_ok() {}
            while self.recorded.as_mut().is_some_and(|frames| frames.pop().is_ok()) {}
            self.call.take_wakes();
            self.slot += 1;
        }
        self.sent += sink.sent;
        self.loud += sink.loud;
        sink.sent
    }
}

/// A voice of 125 Hz and its overtones, at about this level.
fn voiced(from: usize, level: i16) -> [i16; FRAME_8K] {
    std::array::from_fn(|n| {
        let phase = ((from + n) % 64) as f32 / 64.0;
        let overtones = (1..24u8).map(|k| (TAU * phase * f32::from(k)).sin() / f32::from(k));
        (f32::from(level) * overtones.sum::<f32>()) as i16
    })
}

/// What the caller says in a slot of each second: 600 ms of voice and a pause, as no voice goes on for ever.
fn said(slot: usize, level: i16) -> [i16; FRAME_8K] {
    voiced(slot * FRAME_8K, if slot < 30 { level } else { 0 })
}

fn packet(pcm: &[i16; FRAME_8K]) -> [u8; HEADER_LEN + FRAME_8K] {
    let mut bytes = [0; HEADER_LEN + FRAME_8K];
    let header = Header {
        marker: false,
        payload_type: PayloadType(0),
        sequence: SequenceNumber(0),
        timestamp: RtpTimestamp(0),
        ssrc: Ssrc(7),
    };
    header.write(&mut bytes);
    Codec::Pcmu.encode(pcm, &mut bytes[HEADER_LEN..]);
    bytes
}

/// Both sides silent: packets still flow.
#[divan::bench]
fn second_of_silence(bencher: Bencher<'_, '_>) {
    let mut line = Line::new(0, 0);
    bencher.bench_local(|| line.second(|_| true));
}

/// The caller speaks.
#[divan::bench]
fn second_of_caller(bencher: Bencher<'_, '_>) {
    let mut line = Line::new(6000, 0);
    bencher.bench_local(|| line.second(|_| true));
}

/// The agent speaks.
#[divan::bench]
fn second_of_agent(bencher: Bencher<'_, '_>) {
    let mut line = Line::new(0, 6000);
    bencher.bench_local(|| line.second(|_| true));
}

/// The caller speaks, and the call is recorded: what that costs the media path, and the copy out of the ring.
#[divan::bench]
fn second_of_caller_recorded(bencher: Bencher<'_, '_>) {
    let mut line = Line::recorded(6000, 0);
    bencher.bench_local(|| line.second(|_| true));
}

/// The caller speaks, and one packet of ten is lost.
#[divan::bench]
fn second_of_caller_with_loss(bencher: Bencher<'_, '_>) {
    let mut line = Line::new(6000, 0);
    bencher.bench_local(|| line.second(|slot| slot % 10 != 7));
}
