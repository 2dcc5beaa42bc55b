//! A telephone for tests and measurements: calls, sends paced G.711, keeps every packet it gets with its time of arrival.
#![allow(dead_code, reason = "each test and measurement uses a part of it")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a telephone lives in real time")]

use offhook::audio::g711::Codec;
use offhook::engine::arrival::{self, Arrivals};
use offhook::time::Clock;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Samples of a 20 ms packet.
pub const FRAME: usize = 160;
const SLOT: Duration = Duration::from_millis(20);
/// Mean amplitude from which a packet that is sent counts as speech, and no more as its fading: as the stand-in of the recogniser
/// counts it.
const SPEECH_LEVEL: u32 = 400;
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A packet from the agent.
#[derive(Clone)]
pub struct Heard {
    /// When it came, by the kernel where it tells.
    pub at: Instant,
    /// Its sequence number.
    pub sequence: u16,
    /// Its timestamp.
    pub timestamp: u32,
    /// Its marker bit.
    pub marker: bool,
    /// Its SSRC.
    pub ssrc: u32,
    /// Its audio, at 8 kHz.
    pub pcm: Vec<i16>,
}

impl Heard {
    /// Whether there is more in it than comfort noise: its loudest sample is above -44 dBov.
    pub fn loud(&self) -> bool {
        self.pcm.iter().any(|sample| sample.unsigned_abs() > 200)
    }
}

/// What the network does to the caller's packets on their way.
#[derive(Clone, Copy, Default)]
pub struct Weather {
    /// Packets lost, of 1000.
    pub loss: u32,
    /// Largest delay added to a packet, evenly spread from nothing.
    pub jitter: Duration,
    /// Packets, of 1000, that are held back by 30 ms, so that the next one overtakes them.
    pub reorder: u32,
    /// The seed of it all.
    pub seed: u64,
}

/// How a caller's media differ from what its description leads one to expect.
#[derive(Clone, Copy)]
pub struct Habits {
    /// The address in its description.
    pub described: IpAddr,
    /// The address that its RTP leaves from, and comes to.
    pub rtp: IpAddr,
    /// The payload type of its packets, where that is not its codec's.
    pub payload_type: Option<u8>,
    /// Whether it sends any.
    pub sends: bool,
    /// How long after the answer it begins to.
    pub silent_for: Duration,
    /// Its SSRC.
    pub ssrc: Option<u32>,
}

impl Default for Habits {
    fn default() -> Self {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { described: here, rtp: here, payload_type: None, sends: true, silent_for: Duration::ZERO, ssrc: None }
    }
}

#[derive(Default)]
struct Shared {
    to_say: Mutex<VecDeque<i16>>,
    last_loud_sent: Mutex<Option<Instant>>,
    first_loud_sent: Mutex<Option<Instant>>,
    heard: Mutex<Vec<Heard>>,
    echo: Mutex<Option<EchoPath>>,
    bye: AtomicBool,
    stop: AtomicBool,
}

/// From a telephone's loudspeaker to its microphone.
struct EchoPath {
    gain: f32,
    /// What is on its way.
    line: VecDeque<i16>,
    /// The sample before: a small loudspeaker plays little below 500 Hz.
    before: f32,
}

impl EchoPath {
    fn mix(&mut self, pcm: &mut [i16]) {
        let len = self.line.len().min(pcm.len());
        for (to, back) in pcm.iter_mut().zip(self.line.drain(..len)) {
            let back = f32::from(back);
            let heard = back - 0.5 * std::mem::replace(&mut self.before, back);
            *to = to.saturating_add((heard * self.gain) as i16);
        }
    }
}

/// A telephone in a call.
pub struct Phone {
    sip: UdpSocket,
    server: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    dialog: Dialog,
    /// From the INVITE being sent to its 200.
    pub answered_after: Duration,
    /// When the 200 came.
    pub answered_at: Instant,
}

struct Dialog {
    call_id: String,
    from: String,
    to: String,
    target: String,
    local: SocketAddr,
    cseq: u32,
}

impl Phone {
    /// Calls `server` from a socket on loopback and returns once the call is answered and acknowledged.
    pub fn call(server: SocketAddr, codec: Codec, weather: Weather) -> io::Result<Self> {
        Self::call_as(server, codec, weather, Habits::default())
    }

    /// Calls as somebody whose media are not quite as its description says.
    pub fn call_as(server: SocketAddr, codec: Codec, weather: Weather, habits: Habits) -> io::Result<Self> {
        let v6 = server.is_ipv6();
        let sip = UdpSocket::bind(if v6 { "[::1]:0" } else { "127.0.0.1:0" })?;
        sip.set_read_timeout(Some(Duration::from_millis(100)))?;
        let rtp = UdpSocket::bind(SocketAddr::new(if v6 { sip.local_addr()?.ip() } else { habits.rtp }, 0))?;
        let local = sip.local_addr()?;
        let id = fastrand::u64(..);
        let mut dialog = Dialog {
            call_id: format!("{id:016x}@phone"),
            from: format!("<sip:caller@{local}>;tag={id:x}"),
            to: format!("<sip:1000@{server}>"),
            target: format!("sip:1000@{server}"),
            local,
            cseq: 1,
        };
        let name = codec.name();
        let payload_type = codec.rtp_payload_type();
        let sdp = format!(
            "v=0\r\no=- {id} 1 IN IP4 127.0.0.1\r\ns=-\r\nc={}\r\nt=0 0\r\nm=audio {} RTP/AVP {payload_type} 101\r\n\
             a=rtpmap:{payload_type} {name}/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n",
            if v6 { "IN IP6 ::1".to_owned() } else { format!("IN IP4 {}", habits.described) },
            rtp.local_addr()?.port()
        );
        let invite = dialog.request("INVITE", Some(&sdp));
        let sent_at = Instant::now();
        let mut again = sent_at;
        let mut interval = Duration::from_millis(500);
        let answer = loop {
            if Instant::now() >= again {
                sip.send_to(invite.as_bytes(), server)?;
                again = Instant::now() + interval;
                interval *= 2;
            }
            if sent_at.elapsed() > ANSWER_MAX {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no final answer to the INVITE"));
            }
            let Some(message) = receive(&sip) else { continue };
            match status(&message) {
                Some(200) if header(&message, "CSeq").is_some_and(|cseq| cseq.ends_with("INVITE")) => break message,
                Some(code) if code >= 300 => {
                    return Err(io::Error::other(message.lines().next().unwrap_or("").to_owned()));
                }
                _ => {}
            }
        };
        let answered_at = Instant::now();
        dialog.to = header(&answer, "To").unwrap_or_default();
        dialog.target = header(&answer, "Contact").and_then(|contact| between(&contact, '<', '>')).unwrap_or_default();
        let ack = dialog.request("ACK", None);
        sip.send_to(ack.as_bytes(), server)?;
        dialog.cseq += 1;
        let port = answer
            .lines()
            .find_map(|line| line.strip_prefix("m=audio "))
            .and_then(|rest| rest.split(' ').next()?.parse().ok());
        let ip = answer
            .lines()
            .find_map(|line| line.strip_prefix("c=IN IP"))
            .and_then(|ip| ip.get(2..)?.trim().parse().ok());
        let (Some(port), Some(ip)) = (port, ip) else { return Err(io::Error::other("no media address in the answer")) };
        let shared = Arc::new(Shared::default());
        let media = SocketAddr::new(ip, port);
        let mut phone = Self {
            sip,
            server,
            shared,
            threads: Vec::new(),
            dialog,
            answered_after: answered_at - sent_at,
            answered_at,
        };
        phone.start_media(rtp, media, codec, weather, habits)?;
        Ok(phone)
    }

    fn start_media(
        &mut self,
        rtp: UdpSocket,
        media: SocketAddr,
        codec: Codec,
        weather: Weather,
        habits: Habits,
    ) -> io::Result<()> {
        rtp.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (sender, shared) = (rtp.try_clone()?, self.shared.clone());
        if habits.sends {
            self.threads.push(std::thread::spawn(move || send(&sender, media, codec, weather, habits, &shared)));
        }
        let shared = self.shared.clone();
        self.threads.push(std::thread::spawn(move || listen(&rtp, codec, &shared)));
        let (sip, shared) = (self.sip.try_clone()?, self.shared.clone());
        self.threads.push(std::thread::spawn(move || answer_requests(&sip, &shared)));
        Ok(())
    }

    /// Returns the call's Call-ID, by which the control API knows it.
    pub fn call_id(&self) -> &str {
        &self.dialog.call_id
    }

    /// Queues audio at 8 kHz; it leaves in the slots to come. Silence is sent where nothing is queued.
    pub fn say(&self, pcm: &[i16]) {
        *lock(&self.shared.first_loud_sent) = None;
        lock(&self.shared.to_say).extend(pcm);
    }

    /// Sends back what it hears, so much fainter and later, beside what it says itself.
    pub fn echo(&self, loss_db: f32, delay: Duration) {
        let line = VecDeque::from(vec![0; delay.as_millis() as usize * 8]);
        *lock(&self.shared.echo) = Some(EchoPath { gain: 10f32.powf(-loss_db / 20.0), line, before: 0.0 });
    }

    /// Whether something is still queued.
    pub fn saying(&self) -> bool {
        !lock(&self.shared.to_say).is_empty()
    }

    /// Returns when the last packet with speech was sent.
    pub fn last_loud_sent(&self) -> Option<Instant> {
        *lock(&self.shared.last_loud_sent)
    }

    /// Returns when the first packet with speech since the last [`Self::say`] was sent.
    pub fn first_loud_sent(&self) -> Option<Instant> {
        *lock(&self.shared.first_loud_sent)
    }

    /// Returns every packet that has come.
    pub fn heard(&self) -> Vec<Heard> {
        lock(&self.shared.heard).clone()
    }

    /// Forgets every packet so far: a long call would keep them all.
    pub fn forget(&self) {
        lock(&self.shared.heard).clear();
    }

    /// Returns when the first packet with agent speech came at or after `since`.
    pub fn first_loud_after(&self, since: Instant) -> Option<Instant> {
        lock(&self.shared.heard).iter().find(|packet| packet.at >= since && packet.loud()).map(|packet| packet.at)
    }

    /// Returns when the last packet with agent speech so far came.
    pub fn last_loud(&self) -> Option<Instant> {
        lock(&self.shared.heard).iter().rev().find(|packet| packet.loud()).map(|packet| packet.at)
    }

    /// Whether the agent has been silent for `time`.
    pub fn quiet_for(&self, time: Duration) -> bool {
        self.last_loud().unwrap_or(self.answered_at).elapsed() >= time
    }

    /// Whether the other side has hung up.
    pub fn hung_up(&self) -> bool {
        self.shared.bye.load(Ordering::Acquire)
    }

    /// Waits until `done`, at most `limit`; returns whether it is.
    pub fn wait_until(&self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let until = Instant::now() + limit;
        while !done(self) {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Everything heard, as one recording at 8 kHz, placed by RTP timestamp.
    pub fn recording(&self) -> Vec<i16> {
        let heard = self.heard();
        let Some(first) = heard.first() else { return Vec::new() };
        let mut pcm: Vec<i16> = Vec::new();
        for packet in &heard {
            let at = packet.timestamp.wrapping_sub(first.timestamp) as usize;
            if at < 8000 * 3600 {
                pcm.resize(pcm.len().max(at + packet.pcm.len()), 0);
                pcm[at..at + packet.pcm.len()].copy_from_slice(&packet.pcm);
            }
        }
        pcm
    }

    /// Hangs up.
    pub fn hang_up(mut self) {
        if !self.hung_up() {
            let bye = self.dialog.request("BYE", None);
            // The answer is read by the thread that answers requests; a lost BYE is sent once more.
            for _ in 0..2 {
                let _ = self.sip.send_to(bye.as_bytes(), self.server);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        self.end();
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.end();
    }
}

impl Dialog {
    fn request(&self, method: &str, body: Option<&str>) -> String {
        let Self { call_id, from, to, target, local, cseq } = self;
        let branch = fastrand::u64(..);
        let content = body.map_or("", |_| "Content-Type: application/sdp\r\n");
        let body = body.unwrap_or("");
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{branch:x};rport\r\nMax-Forwards: 70\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:caller@{local}>\r\n\
             {content}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

fn send(socket: &UdpSocket, media: SocketAddr, codec: Codec, weather: Weather, habits: Habits, shared: &Shared) {
    let mut rng = fastrand::Rng::with_seed(weather.seed);
    let (mut sequence, mut timestamp, ssrc) = (rng.u16(..), rng.u32(..), habits.ssrc.unwrap_or(rng.u32(..)));
    let payload_type = habits.payload_type.unwrap_or(codec.rtp_payload_type());
    std::thread::sleep(habits.silent_for);
    let mut slot = Instant::now();
    // Packets under way, by the time of their arrival.
    let mut under_way: Vec<(Instant, Vec<u8>)> = Vec::new();
    while !shared.stop.load(Ordering::Acquire) {
        let mut pcm = [0i16; FRAME];
        let said = {
            let mut queue = lock(&shared.to_say);
            let len = queue.len().min(FRAME);
            for (to, from) in pcm.iter_mut().zip(queue.drain(..len)) {
                *to = from;
            }
            len > 0
        };
        let level = pcm.iter().map(|sample| u32::from(sample.unsigned_abs())).sum::<u32>() / FRAME as u32;
        if let Some(echo) = lock(&shared.echo).as_mut() {
            echo.mix(&mut pcm);
        }
        let mut packet = vec![0x80, payload_type];
        packet.extend(sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        let mut payload = [0; FRAME];
        codec.encode(&pcm, &mut payload);
        packet.extend(payload);
        sequence = sequence.wrapping_add(1);
        timestamp = timestamp.wrapping_add(FRAME as u32);
        let lost = rng.u32(..1000) < weather.loss;
        let held = if rng.u32(..1000) < weather.reorder { Duration::from_millis(30) } else { Duration::ZERO };
        let delay = held + weather.jitter.mul_f64(rng.f64());
        if !lost {
            under_way.push((Instant::now() + delay, packet));
        }
        let leaving = Instant::now();
        deliver(socket, media, &mut under_way);
        if said && level >= SPEECH_LEVEL {
            *lock(&shared.last_loud_sent) = Some(leaving);
            lock(&shared.first_loud_sent).get_or_insert(leaving);
        }
        slot += SLOT;
        loop {
            let now = Instant::now();
            let next = under_way.iter().map(|(at, _)| *at).min().map_or(slot, |at| at.min(slot));
            if now >= slot {
                break;
            }
            if next > now {
                std::thread::sleep(next - now);
            }
            deliver(socket, media, &mut under_way);
        }
    }
}

fn deliver(socket: &UdpSocket, media: SocketAddr, under_way: &mut Vec<(Instant, Vec<u8>)>) {
    let now = Instant::now();
    under_way.sort_by_key(|(at, _)| *at);
    while under_way.first().is_some_and(|(at, _)| *at <= now) {
        let (_, packet) = under_way.remove(0);
        let _ = socket.send_to(&packet, media);
    }
}

/// The time since it was made, for whoever dates arrivals by it.
struct Since(Instant);

impl Clock for Since {
    fn now(&self) -> offhook::time::Instant {
        offhook::time::Instant::from_nanos(self.0.elapsed().as_nanos() as u64)
    }
}

fn listen(socket: &UdpSocket, codec: Codec, shared: &Shared) {
    let (clock, mut arrivals) = (Since(Instant::now()), Arrivals::default());
    arrival::ask(socket);
    let mut bytes = [0; 2048];
    while !shared.stop.load(Ordering::Acquire) {
        let Ok((len, _, at)) = arrivals.receive(socket, &mut bytes, &clock) else { continue };
        let at = clock.0 + Duration::from_nanos(at.as_nanos());
        let Some(packet) =
            bytes.get(..len).filter(|packet| packet.len() > 12 && packet[1] & 0x7f == codec.rtp_payload_type())
        else {
            continue;
        };
        let mut pcm = vec![0; len - 12];
        codec.decode(&packet[12..], &mut pcm);
        if let Some(echo) = lock(&shared.echo).as_mut() {
            echo.line.extend(&pcm);
        }
        lock(&shared.heard).push(Heard {
            at,
            sequence: u16::from_be_bytes([packet[2], packet[3]]),
            timestamp: u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]),
            marker: packet[1] & 0x80 != 0,
            ssrc: u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]),
            pcm,
        });
    }
}

/// Answers the server's requests with 200, and notes its BYE.
fn answer_requests(sip: &UdpSocket, shared: &Shared) {
    let mut bytes = [0; 8192];
    while !shared.stop.load(Ordering::Acquire) {
        let Ok((len, source)) = sip.recv_from(&mut bytes) else { continue };
        let message = String::from_utf8_lossy(&bytes[..len]).into_owned();
        if message.starts_with("SIP/2.0") || message.starts_with("ACK") {
            continue;
        }
        let keep = ["via", "from", "to", "call-id", "cseq"];
        let kept =
            message.lines().filter(|line| keep.contains(&line.split(':').next().unwrap_or("").to_lowercase().as_str()));
        let headers: String = kept.map(|line| format!("{}\r\n", line.trim_end())).collect();
        let _ = sip.send_to(format!("SIP/2.0 200 OK\r\n{headers}Content-Length: 0\r\n\r\n").as_bytes(), source);
        if message.starts_with("BYE") {
            shared.bye.store(true, Ordering::Release);
        }
    }
}

fn receive(sip: &UdpSocket) -> Option<String> {
    let mut bytes = [0; 8192];
    let (len, _) = sip.recv_from(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes[..len]).into_owned())
}

fn status(message: &str) -> Option<u16> {
    message.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

fn header(message: &str, name: &str) -> Option<String> {
    message.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

fn between(text: &str, open: char, close: char) -> Option<String> {
    let (_, rest) = text.split_once(open)?;
    Some(rest.split_once(close)?.0.to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
