//! A telephone: sends INVITE, ACK, CANCEL and BYE with their retransmissions, paced G.711 and keys, and keeps what it hears.

use super::network::{Datagram, Port};
use offhook::audio::g711::Codec;
use offhook::rtp::packet::{HEADER_LEN, Header, Packet};
use offhook::rtp::rtcp::{self, LastSenderReport, ReportBlock};
use offhook::rtp::sequence::SequenceExtender;
use offhook::rtp::{PayloadType, RtpTimestamp, SequenceNumber, Ssrc};
use offhook::time::Instant;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

pub const FRAME: usize = 160;
pub const SLOT: Duration = Duration::from_millis(20);
/// RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
const EVENT_TYPE: u8 = 101;
/// Between two RTCP reports (RFC 3550 §6.2).
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// Packets of a key: 100 ms, and the end twice more (RFC 4733 §2.5.1.4).
const KEY_PACKETS: u16 = 5;
const END_PACKETS: u16 = 3;

/// A packet from the agent.
#[derive(Clone, Debug)]
pub struct Heard {
    pub at: Instant,
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub ssrc: u32,
    pub payload_type: u8,
    pub pcm: Vec<i16>,
}

impl Heard {
    /// Whether the agent speaks in it: its scripted voice is never below 1000.
    pub fn loud(&self) -> bool {
        self.pcm.iter().any(|sample| sample.unsigned_abs() > 500)
    }
}

/// A request that waits for its answer.
struct Pending {
    text: String,
    method: &'static str,
    again: Instant,
    interval: Duration,
}

/// A key that is being pressed.
struct Key {
    event: u8,
    timestamp: u32,
    sent: u16,
}

pub struct Caller {
    pub sip: SocketAddr,
    pub rtp: SocketAddr,
    agent: SocketAddr,
    pub id: String,
    to_tag: String,
    target: String,
    cseq: u32,
    invite_cseq: u32,
    branches: u32,
    codec: Codec,
    pending: Option<Pending>,
    /// Whether 200s are acknowledged.
    pub acks: bool,
    /// Where the agent's media are.
    pub media: Option<SocketAddr>,
    pub sending: bool,
    /// Whether a 200 leaves it silent.
    pub holds: bool,
    slot: Instant,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// The payload type of its audio.
    pub payload_type: u8,
    /// Where its RTP comes from, where that is not what its description says.
    pub behind: Option<SocketAddr>,
    to_say: VecDeque<i16>,
    /// What its loudspeaker lets its microphone hear: the loss in dB, and what is on its way.
    echo: Option<(f32, VecDeque<i16>)>,
    keys: VecDeque<u8>,
    key: Option<Key>,
    /// Everything that was sent as audio, in PCM.
    pub said: Vec<i16>,
    pub responses: Vec<(Instant, String)>,
    pub requests: Vec<(Instant, String)>,
    pub heard: Vec<Heard>,
    pub rtcp_heard: usize,
    /// When the next RTCP report about the agent's stream is due; `None`: none is ever sent.
    pub reports: Option<Instant>,
    agent_numbers: Option<SequenceExtender>,
    agent_report: Option<LastSenderReport>,
    out: VecDeque<Datagram>,
}

impl Caller {
    pub fn new(n: u8, agent: SocketAddr, rng: &mut fastrand::Rng) -> Self {
        let at = |port| SocketAddr::from(([10, 0, 0, 10 + n], port));
        Self {
            sip: at(5060),
            rtp: at(4000),
            agent,
            id: format!("caller{n}-{:x}", rng.u32(..)),
            to_tag: String::new(),
            target: format!("sip:1000@{agent}"),
            cseq: 100,
            invite_cseq: 100,
            branches: 0,
            codec: Codec::Pcmu,
            pending: None,
            acks: true,
            media: None,
            sending: false,
            holds: false,
            slot: Instant::ZERO,
            sequence: rng.u16(..),
            timestamp: rng.u32(..),
            ssrc: rng.u32(..),
            payload_type: 0,
            behind: None,
            to_say: VecDeque::new(),
            echo: None,
            keys: VecDeque::new(),
            key: None,
            said: Vec::new(),
            responses: Vec::new(),
            requests: Vec::new(),
            heard: Vec::new(),
            rtcp_heard: 0,
            reports: None,
            agent_numbers: None,
            agent_report: None,
            out: VecDeque::new(),
        }
    }

    pub fn register(&mut self, expires_s: u32, now: Instant) {
        self.cseq += 1;
        let contact = format!("Contact: <sip:{}@{};ob>\r\nExpires: {expires_s}\r\n", self.id, self.sip);
        let target = std::mem::replace(&mut self.target, format!("sip:{}", self.agent.ip()));
        let text = self.write("REGISTER", self.cseq, &contact, "");
        self.target = target;
        self.request("REGISTER", text, now);
    }

    pub fn invite(&mut self, now: Instant) {
        let offer = self.description("sendrecv");
        self.invite_with(&offer, now);
    }

    /// Sends an INVITE, or a re-INVITE within the call, with this body.
    pub fn invite_with(&mut self, offer: &str, now: Instant) {
        self.cseq += 1;
        self.invite_cseq = self.cseq;
        let text = self.write("INVITE", self.cseq, "", offer);
        self.request("INVITE", text, now);
    }

    pub fn cancel(&mut self, now: Instant) {
        self.pending = None;
        let text = self.write("CANCEL", self.invite_cseq, "", "");
        self.request("CANCEL", text, now);
    }

    pub fn bye(&mut self, now: Instant) {
        self.cseq += 1;
        self.sending = false;
        let text = self.write("BYE", self.cseq, "", "");
        self.request("BYE", text, now);
    }

    /// Sends the pending request once more, out of turn.
    pub fn again(&mut self) {
        let text = self.pending.as_ref().expect("a request is under way").text.clone();
        self.send_sip(text);
    }

    /// Queues audio; silence is sent where there is none.
    pub fn say(&mut self, pcm: &[i16]) {
        self.to_say.extend(pcm);
    }

    /// Sends back what it hears, so much fainter and later.
    pub fn echo(&mut self, loss_db: f32, delay: Duration) {
        self.echo = Some((loss_db, VecDeque::from(vec![0; delay.as_millis() as usize * 8])));
    }

    pub fn press(&mut self, keys: &str) {
        let code = |key: char| "0123456789*#ABCD".find(key).expect("a key") as u8;
        self.keys.extend(keys.chars().map(code));
    }

    /// Sends RTCP to the port after the agent's RTP port.
    pub fn send_rtcp(&mut self, bytes: &[u8]) {
        let next = |address: SocketAddr| SocketAddr::new(address.ip(), address.port() + 1);
        let to = next(self.media.expect("the call is answered"));
        self.out.push_back(Datagram { port: Port::Rtcp, source: next(self.rtp), to, bytes: bytes.to_vec() });
    }

    /// Sends again, from the next slot on that is due after a pause.
    pub fn resume_sending(&mut self, now: Instant) {
        let slots = now.since(self.slot).as_millis() as u64 / SLOT.as_millis() as u64;
        self.timestamp = self.timestamp.wrapping_add(slots as u32 * FRAME as u32);
        self.slot = now;
        self.sending = true;
    }

    /// Returns the first lines of what was answered, without the version.
    pub fn answers(&self) -> Vec<&str> {
        self.responses.iter().map(|(_, text)| first_line(text).trim_start_matches("SIP/2.0 ")).collect()
    }

    /// Returns when a message of the agent's that begins so came first.
    pub fn got(&self, start: &str) -> Option<Instant> {
        self.all_got(start).first().copied()
    }

    pub fn all_got(&self, start: &str) -> Vec<Instant> {
        let all = self.responses.iter().chain(&self.requests);
        all.filter(|(_, text)| text.trim_start_matches("SIP/2.0 ").starts_with(start)).map(|(at, _)| *at).collect()
    }

    /// Returns when packets with agent speech came.
    pub fn loud(&self) -> Vec<Instant> {
        self.heard.iter().filter(|packet| packet.loud()).map(|packet| packet.at).collect()
    }

    pub fn description(&self, direction: &str) -> String {
        format!(
            "v=0\r\no=- 1 {} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {} RTP/AVP 0 {EVENT_TYPE}\r\n\
             a=rtpmap:0 PCMU/8000\r\na=rtpmap:{EVENT_TYPE} telephone-event/8000\r\na=fmtp:{EVENT_TYPE} 0-16\r\n\
             a=ptime:20\r\na={direction}\r\n",
            self.cseq,
            self.rtp.port(),
            ip = self.rtp.ip(),
        )
    }

    pub fn handle(&mut self, datagram: &Datagram, now: Instant) {
        match datagram.port {
            Port::Sip => self.handle_sip(String::from_utf8_lossy(&datagram.bytes).into_owned(), now),
            Port::Rtcp => {
                self.rtcp_heard += 1;
                let mut compound = rtcp::Compound::parse(&datagram.bytes).expect("the agent sends RTCP");
                if let Some(rtcp::Packet::SenderReport { info, .. }) = compound.next() {
                    let middle = rtcp::ntp_middle(info.ntp);
                    self.agent_report = Some(LastSenderReport { middle, arrived: now });
                }
            }
            Port::Rtp => {
                let Packet { header, payload } = Packet::parse(&datagram.bytes).expect("the agent sends RTP");
                let mut pcm = vec![0; payload.len()];
                self.codec.decode(payload, &mut pcm);
                if let Some((_, line)) = &mut self.echo {
                    line.extend(&pcm);
                }
                let numbers = self.agent_numbers.get_or_insert(SequenceExtender::new(header.sequence));
                numbers.advance(numbers.extend(header.sequence));
                self.heard.push(Heard {
                    at: now,
                    sequence: header.sequence.0,
                    timestamp: header.timestamp.0,
                    marker: header.marker,
                    ssrc: header.ssrc.0,
                    payload_type: header.payload_type.0,
                    pcm,
                });
            }
        }
    }

    pub fn poll_output(&mut self) -> Option<Datagram> {
        self.out.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let slot = self.sending.then_some(self.slot);
        let report = self.reports.filter(|_| self.sending);
        self.pending.as_ref().map(|pending| pending.again).into_iter().chain(slot).chain(report).min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(pending) = self.pending.as_mut().filter(|pending| pending.again <= now) {
            let text = pending.text.clone();
            pending.interval = (pending.interval * 2).min(if pending.method == "INVITE" { T1 * 64 } else { T2 });
            pending.again = now + pending.interval;
            self.send_sip(text);
        }
        if self.sending && self.reports.is_some_and(|due| due <= now) {
            self.reports = Some(now + REPORT_INTERVAL);
            self.report(now);
        }
        while self.sending && self.slot <= now {
            self.send_slot();
            self.slot += SLOT;
        }
    }

    /// Reports what came of the agent's stream (RFC 3550 §6.4.2); losses are not counted.
    fn report(&mut self, now: Instant) {
        let Some(numbers) = self.agent_numbers else { return };
        let ssrc = self.heard.last().map_or(0, |packet| packet.ssrc);
        let highest_sequence = numbers.highest_reported();
        let mut block = ReportBlock { ssrc: Ssrc(ssrc), highest_sequence, ..ReportBlock::default() };
        if let Some(last) = self.agent_report {
            last.fill(&mut block, now);
        }
        let report = rtcp::Report { ssrc: Ssrc(self.ssrc), sender: None, block: Some(block), cname: "x", bye: false };
        let mut bytes = [0; rtcp::SENT_LEN_MAX];
        let len = report.write(&mut bytes).expect("it fits");
        self.send_rtcp(&bytes[..len]);
    }

    fn handle_sip(&mut self, text: String, now: Instant) {
        if !text.starts_with("SIP/2.0") {
            self.handle_request(&text);
            self.requests.push((now, text));
            return;
        }
        let status: u16 = text[8..11].parse().expect("a status");
        let cseq = header(&text, "CSeq").expect("CSeq");
        let answers_pending = self.pending.as_ref().is_some_and(|pending| cseq.ends_with(pending.method));
        if answers_pending && (status >= 200 || cseq.ends_with("INVITE")) {
            self.pending = None;
        }
        if cseq.ends_with("INVITE") && status >= 200 {
            self.handle_final(&text, status, now);
        }
        self.responses.push((now, text));
    }

    fn handle_final(&mut self, text: &str, status: u16, now: Instant) {
        let to = header(text, "To").expect("To");
        let tag = to.split_once(";tag=").map(|(_, tag)| format!(";tag={tag}")).expect("a tag");
        if status >= 300 {
            let to_tag = std::mem::replace(&mut self.to_tag, tag);
            let ack = self.write("ACK", self.invite_cseq, "", "");
            self.to_tag = to_tag;
            self.send_sip(ack);
            return;
        }
        self.to_tag = tag;
        if let Some((_, contact)) = header(text, "Contact").and_then(|contact| contact.split_once('<')) {
            self.target = contact.split('>').next().expect("a URI").to_owned();
        }
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let port = field("m=audio ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        let ip = field("c=IN IP4 ").and_then(|ip| ip.trim().parse().ok());
        if let (Some(ip), Some(port)) = (ip, port) {
            self.media = Some(SocketAddr::new(ip, port));
        }
        if self.acks {
            let ack = self.write("ACK", self.invite_cseq, "", "");
            self.send_sip(ack);
            if !self.sending && !self.holds {
                self.sending = true;
                self.slot = now;
            }
        }
    }

    fn handle_request(&mut self, text: &str) {
        let kept = ["Via", "From", "To", "Call-ID", "CSeq"];
        let headers = text.lines().filter(|line| kept.contains(&line.split(':').next().unwrap_or_default()));
        let headers: String = headers.map(|line| format!("{line}\r\n")).collect();
        if text.starts_with("BYE") {
            self.sending = false;
        }
        if !text.starts_with("ACK") {
            self.send_sip(format!("SIP/2.0 200 OK\r\n{headers}Content-Length: 0\r\n\r\n"));
        }
    }

    fn request(&mut self, method: &'static str, text: String, now: Instant) {
        self.send_sip(text.clone());
        self.pending = Some(Pending { text, method, again: now + T1, interval: T1 });
    }

    fn send_sip(&mut self, text: String) {
        let bytes = text.into_bytes();
        self.out.push_back(Datagram { port: Port::Sip, source: self.sip, to: self.agent, bytes });
    }

    fn write(&mut self, method: &str, cseq: u32, headers: &str, body: &str) -> String {
        let Self { id, to_tag, sip, target, .. } = self;
        // CANCEL has the branch of its INVITE, and so has the ACK of a refusal (§9.1, §17.1.1.3).
        let of_invite = ["INVITE", "CANCEL"].contains(&method) || (method == "ACK" && self.media.is_none());
        let branch = if of_invite {
            format!("i{cseq}")
        } else {
            self.branches += 1;
            format!("r{}", self.branches)
        };
        let contact =
            if headers.contains("Contact") { String::new() } else { format!("Contact: <sip:{id}@{sip};ob>\r\n") };
        let to = if method == "REGISTER" {
            format!("<sip:{id}@{}>", self.agent.ip())
        } else {
            format!("<sip:1000@{}>", self.agent.ip())
        };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {sip};rport;branch=z9hG4bK{id}{branch}\r\nMax-Forwards: 70\r\n\
             From: <sip:{id}@{}>;tag=f{id}\r\nTo: {to}{to_tag}\r\nCall-ID: {id}\r\nCSeq: {cseq} {method}\r\n\
             {headers}{contact}{kind}Content-Length: {}\r\n\r\n{body}",
            self.agent.ip(),
            body.len()
        )
    }

    fn send_slot(&mut self) {
        let Some(media) = self.media else { return };
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
        if self.key.is_none() {
            self.key = self.keys.pop_front().map(|event| Key { event, timestamp: self.timestamp, sent: 0 });
        }
        let bytes = match self.key.take() {
            Some(key) => self.key_packet(key),
            None => self.audio_packet(),
        };
        self.out.push_back(Datagram { port: Port::Rtp, source: self.behind.unwrap_or(self.rtp), to: media, bytes });
    }

    fn audio_packet(&mut self) -> Vec<u8> {
        let mut pcm = [0; FRAME];
        let len = self.to_say.len().min(FRAME);
        for (to, from) in pcm.iter_mut().zip(self.to_say.drain(..len)) {
            *to = from;
        }
        if let Some((loss_db, line)) = &mut self.echo {
            let gain = 10f32.powf(-*loss_db / 20.0);
            for (to, back) in pcm.iter_mut().zip(line.drain(..FRAME.min(line.len()))) {
                *to = to.saturating_add((f32::from(back) * gain) as i16);
            }
        }
        self.said.extend(pcm);
        let mut packet = self.header(self.payload_type, self.timestamp, false);
        let mut codes = [0; FRAME];
        self.codec.encode(&pcm, &mut codes);
        packet.extend(codes);
        packet
    }

    fn key_packet(&mut self, mut key: Key) -> Vec<u8> {
        let ended = key.sent + 1 >= KEY_PACKETS;
        let duration = (key.sent + 1).min(KEY_PACKETS) * FRAME as u16;
        let mut packet = self.header(EVENT_TYPE, key.timestamp, key.sent == 0);
        let [d0, d1] = duration.to_be_bytes();
        packet.extend([key.event, if ended { 0x8a } else { 10 }, d0, d1]);
        self.said.extend([0; FRAME]);
        key.sent += 1;
        if key.sent < KEY_PACKETS + END_PACKETS - 1 {
            self.key = Some(key);
        }
        packet
    }

    fn header(&self, payload_type: u8, timestamp: u32, marker: bool) -> Vec<u8> {
        let header = Header {
            marker,
            payload_type: PayloadType(payload_type),
            sequence: SequenceNumber(self.sequence),
            timestamp: RtpTimestamp(timestamp),
            ssrc: Ssrc(self.ssrc),
        };
        let mut bytes = vec![0; HEADER_LEN];
        assert!(header.write(&mut bytes));
        bytes
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

pub fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| *key == name).map(|(_, value)| value)
}
