//! Every ring in one table: what it carries, how much of it and why, from whom to whom, and what happens when it is full.
//!
//! | ring | element | capacity | producer | consumer | when full |
//! |---|---|---|---|---|---|
//! | packets | [`Datagram`] | 32: 0.6 s of RTP, far longer than a worker ever sleeps | net | media | newest dropped, counted |
//! | call commands | [`CallCommand`] | 64: an agent gives a few a turn | conductor | media | conductor tries again at its next wake-up |
//! | call events | [`CallEvent`] | 256: a DTMF storm of 5 s | media | conductor | newest dropped, counted |
//! | ear frames | [`EarFrame`] | 256: 5 s of a recogniser that stalls | media | ears | newest dropped, counted |
//! | voice frames | [`VoiceFrame`] | 256: 5 s ahead of the clock; the feeder holds the rest | voice | media | feeder waits |
//! | kept frames | [`KeptFrame`] | 64: 1.3 s; the conductor holds the rest | conductor | media | conductor tries again each 100 ms |
//! | tap | [`TapFrame`] | 50: 1 s of a listener that lags | media | control | newest dropped |
//! | record frames | [`RecordFrame`] | 128: 1.3 s of a disk that stalls | media | recorder | newest dropped, counted |
//! | capture | [`Record`] | 1024, 1.6 MB: 4 s of a disk that stalls | media | capture | the capture breaks off |
//! | pcap | [`WirePacket`] | 128: 2.5 s of a disk that stalls | net, and media | recorder | newest dropped, counted |
//! | worker orders | [`WorkerOrder`] | 1024: every call at once, a few times over | net | media | net tries again at its next wake-up |
//! | retired calls | `Box<Line>` | 1024: every call at once | media | net | the worker keeps the call until there is room |
//! | quality | ([`CallId`], [`Quality`]) | 2048: every call's, a few times over | media | stats | newest dropped; the next one follows |
//! | samples | [`Sample`] | 32768: 1 s of 200 calls | media | stats | newest dropped, counted |

use crate::call::capture::Record;
use crate::call::recording::RecordFrame;
use crate::call::{CallCommand, CallEvent, EarFrame, KeptFrame, Rings, TapFrame, VoiceFrame};
use crate::engine::media::{Line, WorkerOrder};
use crate::engine::pcap::WirePacket;
use crate::ids::CallId;
use crate::metrics::{Quality, Sample};
use crate::time::Instant;
use rtrb::{Consumer, Producer, RingBuffer};
use std::net::SocketAddr;

/// The largest media datagram taken: 60 ms of G.711 is 492 bytes, a full RTCP compound of two parties under 300; the rest
/// is room for header extensions. One of this size or more is dropped and counted.
pub const DATAGRAM_MAX: usize = 1200;

/// A media datagram on its way to its call.
#[derive(Clone, Copy)]
pub struct Datagram {
    /// Whether it came to the RTCP port.
    pub rtcp: bool,
    /// Where it came from.
    pub source: SocketAddr,
    /// When it came in, by the kernel where it tells.
    pub arrived: Instant,
    /// How many of `bytes` count.
    pub len: u16,
    /// The datagram.
    pub bytes: [u8; DATAGRAM_MAX],
}

/// The ends of a call's rings that are not the media path's, whose ends are its [`Rings`].
pub struct FarEnds {
    /// Caller audio, to the ears.
    pub ears: Consumer<EarFrame>,
    /// Agent speech, from the voice.
    pub voice: Producer<VoiceFrame>,
    /// Kept phrases and fillers, from the conductor.
    pub kept: Producer<KeptFrame>,
    /// Orders, from the conductor.
    pub commands: Producer<CallCommand>,
    /// Events, to the conductor.
    pub events: Consumer<CallEvent>,
}

/// Lays the rings between a call on the media path and its conductor, ears and voice.
#[must_use]
pub fn of_a_call() -> (Rings, FarEnds) {
    let (ears, ears_out) = ear_frames();
    let (voice_in, voice) = voice_frames();
    let (kept_in, kept) = kept_frames();
    let (commands_in, commands) = call_commands();
    let (events, events_out) = call_events();
    let far = FarEnds { ears: ears_out, voice: voice_in, kept: kept_in, commands: commands_in, events: events_out };
    (Rings { ears, voice, kept, commands, events }, far)
}

macro_rules! rings {
    ($($(#[$doc:meta])* $name:ident: $element:ty, $capacity:expr;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name() -> (Producer<$element>, Consumer<$element>) {
            RingBuffer::new($capacity)
        }
    )*};
}

rings! {
    /// Media datagrams of one call, net to media.
    packets: Datagram, 32;
    /// What the conductor wants of the media path, conductor to media.
    call_commands: CallCommand, 64;
    /// What happened on the media path, media to conductor.
    call_events: CallEvent, 256;
    /// Caller audio, media to ears.
    ear_frames: EarFrame, 256;
    /// Agent speech, voice to media.
    voice_frames: VoiceFrame, 256;
    /// What is rendered ahead, conductor to media.
    kept_frames: KeptFrame, 64;
    /// Both sides of the call, media to a listener.
    tap: TapFrame, 50;
    /// Both sides of the call with their RTP times, media to recorder.
    record_frames: RecordFrame, 128;
    /// What a captured call is told and sends, media to its capture.
    capture: Record, 1024;
    /// Media datagrams as they come and go, net or media to recorder.
    pcap: WirePacket, 128;
    /// Calls to take over and to let go, net to media.
    worker_orders: WorkerOrder, 1024;
    /// Calls that the worker has let go, media to net, which drops them.
    retired: Box<Line>, 1024;
    /// How well calls' media flow, media to stats.
    quality: (CallId, Quality), 2048;
    /// Measurements, media to stats.
    samples: Sample, 32_768;
}
