//! What goes into a call's pcap, on its way there: its SIP messages and its media datagrams, as they come and go.
//!
//! A pcap can be asked for at any time in a call and begins with its INVITE all the same: net keeps the last messages of each
//! call, as long as there is a folder in which a pcap could be. Media are in it from the moment in which it was asked for, as they
//! were on the wire: SRTP is encrypted, and no key is kept (`capture/secrets.rs`).
//!
//! What belongs to a call is told by its Call-ID: the dialog with the target of a transfer has another, and is not in it.

use crate::engine::recorder::Recorder;
use crate::engine::rings::{self, DATAGRAM_MAX};
use crate::ids::CallId;
use crate::sip::flow::Flow;
use crate::sip::lexer;
use crate::time::Instant;
use crossbeam_channel::{Receiver, Sender};
use rtrb::{Consumer, Producer};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Messages that are kept of a call for which nobody has asked yet, the newest: a call that is held now and then has fewer.
const HISTORY_MAX: usize = 48;
/// Bytes of them, for who sends large ones: 200 calls take 6 MB at most.
const HISTORY_BYTES_MAX: usize = 32 << 10;
/// Messages that wait for the recorder, the history included.
const MESSAGES_MAX: usize = 512;
/// Messages of no known call that are held: an INVITE that was challenged before, its answers, and what others send meanwhile.
const UNCLAIMED_MAX: usize = 16;
/// How long messages of a call are taken after its end: until the second time that a BYE is sent again (RFC 3261 §17.1.2.2).
pub const LAST_MESSAGES: Duration = Duration::from_secs(2);

/// A media datagram, as it is on the wire.
#[derive(Clone, Copy)]
pub struct WirePacket {
    /// Its number among those of its ring, those that were dropped included.
    pub number: u64,
    /// When it came, or had gone.
    pub at: Instant,
    /// Whether it was at our RTCP port.
    pub rtcp: bool,
    /// Where it came from, or went to.
    pub peer: SocketAddr,
    /// How many of `bytes` count.
    pub len: u16,
    /// The datagram.
    pub bytes: [u8; DATAGRAM_MAX],
}

/// The end of a ring that takes media datagrams of one direction.
pub struct Packets {
    ring: Producer<WirePacket>,
    number: u64,
}

impl Packets {
    /// Lays a ring, and returns both its ends.
    #[must_use]
    pub fn lay() -> (Self, Consumer<WirePacket>) {
        let (ring, packets) = rings::pcap();
        (Self { ring, number: 0 }, packets)
    }

    /// Copies a datagram; one that finds the ring full is dropped, and the number of the next one tells of it.
    ///
    /// # Real-time
    /// One copy of at most [`DATAGRAM_MAX`] bytes.
    pub fn push(&mut self, rtcp: bool, peer: SocketAddr, at: Instant, bytes: &[u8]) {
        let number = self.number;
        self.number += 1;
        let mut room = [0; DATAGRAM_MAX];
        let (Some(to), Ok(len)) = (room.get_mut(..bytes.len()), u16::try_from(bytes.len())) else { return };
        to.copy_from_slice(bytes);
        let _ = self.ring.push(WirePacket { number, at, rtcp, peer, len, bytes: room });
    }
}

/// A SIP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// When it came, or went.
    pub at: Instant,
    /// Who sent it.
    pub from: SocketAddr,
    /// And to whom.
    pub to: SocketAddr,
    /// The message, with its secrets.
    pub bytes: Box<[u8]>,
}

/// All that the recorder needs to write a call's pcap.
pub struct Pcap {
    /// The address of ours at which its media arrive.
    pub local: SocketAddr,
    /// Its messages.
    pub messages: Receiver<Message>,
    /// What comes to its media ports.
    pub incoming: Consumer<WirePacket>,
    /// What leaves them.
    pub outgoing: Consumer<WirePacket>,
}

/// Net's end of all pcaps. Where nothing is kept of calls, its methods do nothing.
pub struct Pcaps {
    recorder: Recorder,
    /// Whether every call has one.
    every: bool,
    calls: BTreeMap<CallId, Trace>,
    by_call_id: BTreeMap<String, CallId>,
    /// Messages of Call-IDs that nobody knows yet.
    unclaimed: VecDeque<(String, Message)>,
    /// Calls that are over, oldest first, and when.
    over: VecDeque<(CallId, Instant)>,
}

/// One call.
struct Trace {
    call_id: String,
    local: SocketAddr,
    messages: Messages,
    incoming: Option<Packets>,
    /// What the media path is to be given.
    outgoing: Option<Packets>,
}

/// Where its messages go.
enum Messages {
    Kept(VecDeque<Message>),
    Written(Sender<Message>),
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
}

impl Pcaps {
    /// Makes the table; `every`: each call gets a pcap unasked.
    #[must_use]
    pub fn new(recorder: Recorder, every: bool) -> Self {
        Self {
            recorder,
            every,
            calls: BTreeMap::new(),
            by_call_id: BTreeMap::new(),
            unclaimed: VecDeque::new(),
            over: VecDeque::new(),
        }
    }

    /// Takes a message that came, or is about to go.
    pub fn message(&mut self, way: Way, flow: Flow, bytes: &[u8], at: Instant) {
        if !self.recorder.keeps() {
            return;
        }
        self.forget(at);
        let Some(call_id) = call_id(bytes) else { return };
        let (from, to) = if way == Way::In { (flow.peer, flow.local) } else { (flow.local, flow.peer) };
        let message = Message { at, from, to, bytes: bytes.into() };
        match self.by_call_id.get(&call_id).and_then(|call| self.calls.get_mut(call)) {
            Some(trace) => trace.messages.take(message),
            None => {
                if self.unclaimed.len() == UNCLAIMED_MAX {
                    self.unclaimed.pop_front();
                }
                self.unclaimed.push_back((call_id, message));
            }
        }
    }

    /// A call has come in, whose media ports begin with that of `local`.
    pub fn invited(&mut self, call: CallId, call_id: &str, local: SocketAddr, now: Instant) {
        if !self.recorder.keeps() {
            return;
        }
        let mut messages = Messages::Kept(VecDeque::new());
        for (of, message) in self.unclaimed.drain(..) {
            if of == call_id {
                messages.take(message);
            }
        }
        // Whoever has a Call-ID first keeps its messages.
        self.by_call_id.entry(call_id.to_owned()).or_insert(call);
        let trace = Trace { call_id: call_id.to_owned(), local, messages, incoming: None, outgoing: None };
        self.calls.insert(call, trace);
        if self.every {
            self.begin(call, now);
        }
    }

    /// Begins the pcap of a call, unless it has one.
    pub fn begin(&mut self, call: CallId, now: Instant) {
        let Some(trace) = self.calls.get_mut(&call) else { return };
        let Messages::Kept(history) = &mut trace.messages else { return };
        let (sender, messages) = crossbeam_channel::bounded(MESSAGES_MAX);
        for message in history.drain(..) {
            // There is room for more than is kept.
            let _ = sender.try_send(message);
        }
        trace.messages = Messages::Written(sender);
        let (to_incoming, incoming) = Packets::lay();
        let (to_outgoing, outgoing) = Packets::lay();
        trace.incoming = Some(to_incoming);
        trace.outgoing = Some(to_outgoing);
        self.recorder.pcap(call, Pcap { local: trace.local, messages, incoming, outgoing }, now);
    }

    /// Takes a datagram that came to a call's media ports.
    pub fn datagram(&mut self, call: CallId, rtcp: bool, source: SocketAddr, arrived: Instant, bytes: &[u8]) {
        if let Some(packets) = self.calls.get_mut(&call).and_then(|trace| trace.incoming.as_mut()) {
            packets.push(rtcp, source, arrived, bytes);
        }
    }

    /// Returns what the media path of a call has to be given, once.
    pub fn take_outgoing(&mut self, call: CallId) -> Option<Packets> {
        self.calls.get_mut(&call)?.outgoing.take()
    }

    /// A call is over; its last messages may be still to come.
    pub fn ended(&mut self, call: CallId, now: Instant) {
        if let Some(trace) = self.calls.get_mut(&call) {
            (trace.incoming, trace.outgoing) = (None, None);
            self.over.push_back((call, now));
        }
    }

    /// Forgets the calls that have been over for long enough.
    fn forget(&mut self, now: Instant) {
        while let Some((call, _)) = self.over.front().copied().filter(|(_, at)| now.since(*at) >= LAST_MESSAGES) {
            self.over.pop_front();
            if let Some(trace) = self.calls.remove(&call)
                && self.by_call_id.get(&trace.call_id) == Some(&call)
            {
                self.by_call_id.remove(&trace.call_id);
            }
        }
    }
}

impl Messages {
    fn take(&mut self, message: Message) {
        match self {
            Self::Kept(history) => {
                history.push_back(message);
                let bytes =
                    |history: &VecDeque<Message>| history.iter().map(|message| message.bytes.len()).sum::<usize>();
                // The INVITE stays, without which no other can be understood.
                while history.len() > 1 && (history.len() > HISTORY_MAX || bytes(history) > HISTORY_BYTES_MAX) {
                    history.remove(1);
                }
            }
            // A recorder that is that far behind has a disk that takes nothing.
            Self::Written(messages) => drop(messages.try_send(message)),
        }
    }
}

/// Returns the Call-ID of a message; `None`: it is none, or has none.
fn call_id(bytes: &[u8]) -> Option<String> {
    lexer::lex(bytes)?.values("Call-ID").next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::recorder::pretend;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 7], port))
    }

    fn text(line: &str, call_id: &str) -> String {
        format!("{line}\r\ni: {call_id}\r\nContent-Length: 0\r\n\r\n")
    }

    fn message(pcaps: &mut Pcaps, way: Way, line: &str, call_id: &str, ms: u64) {
        let flow = Flow::udp(address(5062), address(5060));
        pcaps.message(way, flow, text(line, call_id).as_bytes(), at(ms));
    }

    fn lines(pcap: &Pcap) -> Vec<(u16, String)> {
        let line =
            |message: &Message| String::from_utf8_lossy(&message.bytes).lines().next().unwrap_or_default().to_owned();
        pcap.messages.try_iter().map(|message| (message.from.port(), line(&message))).collect()
    }

    const INVITE: &str = "INVITE sip:1@b SIP/2.0";

    #[test]
    fn a_pcap_that_is_asked_for_late_begins_with_the_invite() {
        let (recorder, begun) = pretend();
        let mut pcaps = Pcaps::new(recorder, false);
        message(&mut pcaps, Way::In, "OPTIONS sip:b SIP/2.0", "other", 0);
        message(&mut pcaps, Way::In, INVITE, "a", 1);
        message(&mut pcaps, Way::Out, "SIP/2.0 100 Trying", "a", 2);
        pcaps.invited(CallId(1), "a", address(10_000), at(2));
        message(&mut pcaps, Way::Out, "SIP/2.0 200 OK", "a", 3);
        pcaps.datagram(CallId(1), false, address(4000), at(4), b"early");
        assert!(pcaps.take_outgoing(CallId(1)).is_none());
        pcaps.begin(CallId(1), at(5));
        pcaps.begin(CallId(1), at(6));
        message(&mut pcaps, Way::In, "ACK sip:1@b SIP/2.0", "a", 7);
        pcaps.datagram(CallId(1), true, address(4001), at(8), b"late");
        let mut pcap = begun().expect("begun");
        assert!(begun().is_none(), "once");
        let told =
            [(5062, INVITE), (5060, "SIP/2.0 100 Trying"), (5060, "SIP/2.0 200 OK"), (5062, "ACK sip:1@b SIP/2.0")];
        assert_eq!(lines(&pcap), told.map(|(port, line)| (port, line.to_owned())));
        let packet = pcap.incoming.pop().expect("a datagram");
        assert_eq!((packet.rtcp, packet.peer, packet.at), (true, address(4001), at(8)));
        assert_eq!(packet.bytes.get(..usize::from(packet.len)), Some(&b"late"[..]));
        assert!(pcap.incoming.pop().is_err() && pcaps.take_outgoing(CallId(1)).is_some());
    }

    #[test]
    fn what_follows_an_end_is_taken_for_a_while_and_forgotten_then() {
        let (recorder, begun) = pretend();
        let mut pcaps = Pcaps::new(recorder, true);
        message(&mut pcaps, Way::In, INVITE, "a", 0);
        pcaps.invited(CallId(1), "a", address(10_000), at(0));
        pcaps.ended(CallId(1), at(1000));
        message(&mut pcaps, Way::Out, "SIP/2.0 200 OK", "a", 1500);
        message(&mut pcaps, Way::In, "BYE sip:b SIP/2.0", "a", 3100);
        assert_eq!(lines(&begun().expect("begun")).len(), 2);
        assert!(pcaps.calls.is_empty() && pcaps.by_call_id.is_empty() && pcaps.over.is_empty());
    }

    #[test]
    fn what_is_kept_of_a_call_is_bounded_and_keeps_its_invite() {
        let (recorder, begun) = pretend();
        let mut pcaps = Pcaps::new(recorder, false);
        message(&mut pcaps, Way::In, INVITE, "a", 0);
        pcaps.invited(CallId(1), "a", address(10_000), at(0));
        for n in 0..500 {
            message(&mut pcaps, Way::In, &format!("INFO sip:{n}@b SIP/2.0"), "a", n);
            message(&mut pcaps, Way::In, INVITE, &format!("stranger-{n}"), n);
        }
        assert!(pcaps.unclaimed.len() <= UNCLAIMED_MAX);
        pcaps.begin(CallId(1), at(600));
        let lines = lines(&begun().expect("begun"));
        assert_eq!((lines.len(), lines[0].1.as_str()), (HISTORY_MAX, INVITE));
        assert_eq!(lines.last().map(|(_, line)| line.as_str()), Some("INFO sip:499@b SIP/2.0"));
    }

    #[test]
    fn a_full_ring_drops_and_the_numbers_tell_how_many() {
        let (mut packets, mut taken) = Packets::lay();
        for n in 0..200 {
            packets.push(false, address(1), at(n), &[0; 172]);
        }
        let before = std::iter::from_fn(|| taken.pop().ok()).last().expect("some").number;
        packets.push(false, address(1), at(200), &[0; DATAGRAM_MAX + 1]);
        packets.push(false, address(1), at(201), &[0; 172]);
        assert_eq!(taken.pop().map(|packet| packet.number - before), Ok(200 - 127 + 1));
    }

    #[test]
    fn nothing_is_copied_where_nothing_is_kept() {
        let mut pcaps = Pcaps::new(Recorder::default(), true);
        message(&mut pcaps, Way::In, INVITE, "a", 0);
        pcaps.invited(CallId(1), "a", address(10_000), at(0));
        assert!(pcaps.calls.is_empty() && pcaps.unclaimed.is_empty());
    }
}
