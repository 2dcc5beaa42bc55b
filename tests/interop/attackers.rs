//! Strangers on other addresses of this machine against a call: not one sample of theirs is heard, and the call goes on.

use crate::one_of_two;
use crate::phone::{Habits, Phone, Weather};
use crate::process::{ECHO, Offhook};
use offhook::audio::g711::Codec;
use offhook::rtp::Ssrc;
use offhook::rtp::rtcp::{Report, ReportBlock, SENT_LEN_MAX, SenderInfo};
use std::f64::consts::TAU;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const RATE: f64 = 8000.0;
const FRAME: usize = 160;
/// The lowest tone of the caller's voice, and the strangers': a whistle above all of its overtones.
const VOICE_HZ: f64 = 125.0;
const WHISTLE_HZ: f64 = 3400.0;
/// The caller's SSRC, which the strangers know.
const SSRC: u32 = 0x0ff_400c;

fn tone(hz: f64, level: f64, samples: usize) -> Vec<i16> {
    (0..samples).map(|n| ((TAU * hz * n as f64 / RATE).sin() * level) as i16).collect()
}

/// A voice, roughly: a tone and its overtones up to 3 kHz, swelling a little.
fn voice(samples: usize) -> Vec<i16> {
    let sample = |n: usize| {
        let t = n as f64 / RATE;
        let tones: f64 = (1..25).map(f64::from).map(|k| (TAU * VOICE_HZ * k * t).sin() / k).sum();
        (5000.0 * (0.8 + 0.2 * (TAU * 4.0 * t).sin()) * tones) as i16
    };
    (0..samples).map(sample).collect()
}

/// The power of `hz` in `pcm` against all of it (Goertzel).
fn share_of(hz: f64, pcm: &[i16]) -> f64 {
    let coefficient = 2.0 * (TAU * hz / RATE).cos();
    let (mut power, mut all) = (0.0, 1.0);
    for block in pcm.chunks_exact(4000) {
        let (mut before, mut last) = (0.0, 0.0);
        for sample in block {
            let sample = f64::from(*sample);
            (before, last) = (last, sample + coefficient * last - before);
            all += sample * sample;
        }
        power += (before * before + last * last - coefficient * before * last) * 2.0 / block.len() as f64;
    }
    power / all
}

/// Strangers that send to a range of ports until they are stopped.
struct Strangers {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Strangers {
    /// From 127.0.0.2 to 127.0.0.9, each in its turn, a packet to each even port every 5 ms.
    fn spray(ports: Vec<u16>) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), sent.clone());
        let stranger = |host| (socket(Ipv4Addr::new(127, 0, 0, host)), Whistle::new());
        let mut strangers: Vec<_> = (2..10).map(stranger).collect();
        let thread = std::thread::spawn(move || {
            let mut round = 0usize;
            let mut due = Instant::now();
            while !stopped.load(Ordering::Acquire) {
                let n = round % strangers.len();
                let (socket, whistle) = &mut strangers[n];
                // Each has a stream in order; half of them know the caller's SSRC.
                let packet = whistle.packet(if n.is_multiple_of(2) { SSRC } else { n as u32 }, 8);
                for port in &ports {
                    count.fetch_add(1, Ordering::Relaxed);
                    let _ = socket.send_to(&packet, (Ipv4Addr::LOCALHOST, *port));
                }
                round += 1;
                due += Duration::from_millis(5);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        });
        Self { stop, sent, thread: Some(thread) }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn socket(ip: Ipv4Addr) -> UdpSocket {
    UdpSocket::bind(SocketAddr::from((ip, 0))).expect("a loopback address")
}

/// A stream that whistles.
struct Whistle {
    sequence: u16,
    timestamp: u32,
    codes: [u8; FRAME],
}

impl Whistle {
    fn new() -> Self {
        let mut codes = [0; FRAME];
        Codec::Pcma.encode(&tone(WHISTLE_HZ, 16_000.0, FRAME), &mut codes);
        Self { sequence: fastrand::u16(..), timestamp: fastrand::u32(..), codes }
    }

    fn packet(&mut self, ssrc: u32, payload_type: u8) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
        let mut packet = vec![0x80, payload_type];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend(self.codes);
        packet
    }
}

/// A report of whoever has this SSRC, that says goodbye and that all of `about` was lost.
fn forged(ssrc: u32, about: u32) -> Vec<u8> {
    let sender = Some(SenderInfo { ntp: u64::MAX, ..SenderInfo::default() });
    let block = Some(ReportBlock { ssrc: Ssrc(about), fraction_lost: 255, last_sr: 1, ..ReportBlock::default() });
    let mut bytes = [0; SENT_LEN_MAX];
    let len = Report { ssrc: Ssrc(ssrc), sender, block, cname: "x", bye: true }.write(&mut bytes).expect("it fits");
    bytes[..len].to_vec()
}

#[test]
fn two_calls_are_not_to_be_connected_with_each_other() {
    let _cores = one_of_two();
    let offhook = Offhook::start(&ECHO, "");
    let (caller, media) = (socket(Ipv4Addr::LOCALHOST), socket(Ipv4Addr::LOCALHOST));
    caller.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let own = caller.local_addr().expect("an address");
    let place = |call: &str, port: u16| {
        let offer = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
        );
        let request = |method: &str, to_tag: &str, body: &str| {
            format!(
                "{method} sip:1@{} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{method}{call}\r\nFrom: <sip:a@{own}>;tag=1\r\n\
                 To: <sip:1@127.0.0.1>{to_tag}\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\nContact: <sip:a@{own}>\r\n\
                 Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
                offhook.sip(),
                body.len()
            )
        };
        caller.send_to(request("INVITE", "", &offer).as_bytes(), offhook.sip()).expect("sent");
        let mut bytes = [0; 2000];
        loop {
            let len = caller.recv(&mut bytes).expect("an answer");
            let text = String::from_utf8_lossy(&bytes[..len]);
            let is_answer = text.starts_with("SIP/2.0 200") && text.contains(&format!("Call-ID: {call}\r\n"));
            if let Some((_, after)) = text.split_once("To: <sip:1@127.0.0.1>").filter(|_| is_answer) {
                let tag = after.split("\r\n").next().expect("a tag");
                caller.send_to(request("ACK", tag, "").as_bytes(), offhook.sip()).expect("sent");
                return;
            }
        }
    };
    place("first", media.local_addr().expect("an address").port());
    let port = offhook.call("first")["rtp_port"].as_u64().expect("a port") as u16;
    place("second", port);
    std::thread::sleep(Duration::from_secs(2));
    let quality = &offhook.call("first")["quality"];
    assert!(quality["packets_sent"].as_u64().expect("a count") > 50, "{quality}");
    assert_eq!((&quality["packets_received"], &quality["foreign"]), (&0.into(), &0.into()), "{quality}");
    assert!(offhook.call("second")["remote"].is_null());
}

#[test]
fn strangers_are_not_heard_and_end_nothing() {
    let _cores = one_of_two();
    let offhook = Offhook::start(&ECHO, "");
    let caller = |offhook: &Offhook| {
        // It takes a second to open its audio: the strangers are there first.
        let habits = Habits { ssrc: Some(SSRC), silent_for: Duration::from_secs(1), ..Habits::default() };
        Phone::call_as(offhook.sip(), Codec::Pcma, Weather::default(), habits).expect("an answer")
    };
    // A call before, to learn where the next one's ports are: the range is small, and each port rests.
    let scout = caller(&offhook);
    let port = offhook.call(scout.call_id())["rtp_port"].as_u64().expect("a port") as u16;
    scout.hang_up();
    let ports = (port.saturating_sub(100)..port.saturating_add(100)).filter(|port| port % 2 == 0).collect();
    let strangers = Strangers::spray(ports);

    let phone = caller(&offhook);
    let port = offhook.call(phone.call_id())["rtp_port"].as_u64().expect("a port") as u16;
    let media = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    offhook.turn(phone.call_id(), "the chime", |turn| turn["turn"] == 0 && turn["agent"] != "");
    phone.say(&voice(3 * 8000));

    assert!(phone.wait_until(Duration::from_secs(5), |phone| phone.first_loud_sent().is_some()), "it speaks");

    // Meanwhile: forged RTCP from another host and from the caller's with another SSRC, wrong payload types, and a flood.
    let ours = phone.heard().last().map_or(0, |packet| packet.ssrc);
    let (other, same) = (socket(Ipv4Addr::new(127, 0, 0, 4)), socket(Ipv4Addr::LOCALHOST));
    let rtcp = SocketAddr::new(media.ip(), port + 1);
    for to in [media, rtcp] {
        let _ = other.send_to(&forged(SSRC, ours), to);
        let _ = same.send_to(&forged(SSRC ^ 1, ours), to);
    }
    let mut whistle = Whistle::new();
    for n in 0..5000u32 {
        let packet = whistle.packet(SSRC, if n % 3 == 0 { 0 } else { 8 });
        let _ = other.send_to(&packet, media);
        if n % 50 == 49 {
            // Some 10,000 a second, 200 times a call's own.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    // From the caller's own host, once its stream is known: the latch holds one port of it.
    for _ in 0..100 {
        let _ = same.send_to(&whistle.packet(SSRC, 8), media);
    }
    assert!(phone.wait_until(Duration::from_secs(10), |phone| !phone.saying()), "it has spoken");
    offhook.turn(phone.call_id(), "the echo", |turn| turn["turn"] != 0 && turn["agent"] != "");
    assert!(phone.wait_until(Duration::from_secs(5), |phone| phone.quiet_for(Duration::from_millis(400))));

    let call = offhook.call(phone.call_id());
    let (quality, sprayed) = (&call["quality"], strangers.sent());
    let recording = phone.recording();
    let spoken: f64 = (1..9).map(|k| share_of(VOICE_HZ * f64::from(k), &recording)).sum();
    let whistled = share_of(WHISTLE_HZ, &recording);
    eprintln!(
        "{sprayed} sprayed, {} refused as foreign; {:.1} % voice, {:.4} % whistle",
        quality["foreign"],
        spoken * 100.0,
        whistled * 100.0
    );
    assert!(quality["foreign"].as_u64().is_some_and(|foreign| foreign > 500), "{call}");
    assert!(spoken > 0.3, "the caller's own words came back: {spoken}");
    assert!(whistled < 1e-4, "a stranger was heard: {whistled}");
    assert_eq!((&call["state"], &call["audio"]["state"]), (&"active".into(), &"ok".into()), "{call}");
    assert!(
        quality["round_trip_ms"].is_null() && quality["remote_loss_percent"].is_null(),
        "nobody was believed: {call}"
    );
    assert!(!phone.hung_up());
    phone.hang_up();
}
