//! A user agent server (RFC 3261), signalling only: datagrams and deadlines in; datagrams, deadlines and call events out.

mod counters;

pub use counters::{COUNTED_METHODS, Counters, Discard};

use crate::config;
use crate::ids::CallId;
use crate::time::{Deadline, Instant};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// What happens to the user agent.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram came in. `local` is the address and port of ours that `source` reaches us by: what Contact and Via say,
    /// never `0.0.0.0`.
    Datagram { source: SocketAddr, local: SocketAddr, bytes: &'a [u8] },
    /// The engine wants something done.
    Command(Command),
    /// A datagram to `to` could not be sent, and will not be: what waits for its answer is told (RFC 3261 §18.4).
    Unreachable { to: SocketAddr },
}

/// What the engine wants done about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// 180 Ringing.
    Ring { call: CallId },
    /// 200 to the INVITE, with this session description.
    Answer { call: CallId, sdp: Vec<u8> },
    /// A final refusal of the INVITE.
    Refuse { call: CallId, refusal: Refusal },
    /// 200 to the re-INVITE or UPDATE that is open, with this session description (none: a refresh without one).
    AcceptReoffer { call: CallId, sdp: Option<Vec<u8>> },
    /// A refusal of the re-INVITE or UPDATE that is open; the session stays as it was.
    RefuseReoffer { call: CallId, refusal: Refusal },
    /// End the call: BYE with this reason (RFC 3326), or the final answer that fits while it is not yet answered.
    HangUp { call: CallId, reason: String },
    /// Refuse every new INVITE and REGISTER with 503 from here on: the bridge is stopping.
    Drain,
}

/// A refusal: what goes into the status line and beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400 to 699.
    pub status: u16,
    /// Text of a Warning header (`304 "..."` code and text), if any.
    pub warning: Option<(u16, String)>,
    /// Retry-After in seconds, if any.
    pub retry_after_s: Option<u32>,
}

/// What the user agent wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send `bytes` to `to` from the SIP socket.
    Transmit { to: SocketAddr, bytes: Vec<u8> },
    /// Something happened that the engine acts upon.
    Event(Event),
}

/// What happened to calls and registrations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new call; 100 is already sent. Answer with [`Command::Answer`] or [`Command::Refuse`].
    Invited(Invitation),
    /// The ACK of the 200 has come; `answer` is its body, when the offer was ours.
    Confirmed { call: CallId, answer: Option<Vec<u8>> },
    /// The peer offers a change (re-INVITE or UPDATE with a body), or asks for our offer (`None`). Answer with
    /// [`Command::AcceptReoffer`] or [`Command::RefuseReoffer`].
    Reoffered { call: CallId, offer: Option<Vec<u8>> },
    /// A digit came by INFO.
    Digit { call: CallId, digit: char, duration_ms: u32 },
    /// The call is over, whoever ended it; said exactly once per invited call that was not refused by the engine.
    Ended { call: CallId, by: EndedBy, reason: String },
    /// A user registered (or refreshed) a contact.
    Registered { aor: String, contact: String, source: SocketAddr, expires_s: u32 },
    /// A user's contact is gone.
    Unregistered { aor: String },
}

/// A new call, as its INVITE tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The engine's number for it.
    pub call: CallId,
    /// The Call-ID header's value.
    pub call_id: String,
    /// The From header's value.
    pub from: String,
    /// The To header's value.
    pub to: String,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// The address of ours that reaches it: what our SDP says.
    pub local: IpAddr,
    /// Its session description; `None`: the offer is to be ours, in the 200.
    pub offer: Option<Vec<u8>>,
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// BYE or CANCEL from the peer.
    Caller,
    /// The agent hung up.
    Agent,
    /// The engine: a time-out, a fault, a stop.
    Engine,
}

impl EndedBy {
    /// Returns the word that the control API shows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Agent => "agent",
            Self::Engine => "engine",
        }
    }
}

/// What `handle_timeout` is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A timer of a transaction (RFC 3261 Table 4).
    Transaction,
    /// A 200 without its ACK, or a call that rings too long.
    Session,
    /// The end of a registration.
    Binding,
}

/// A user agent server over UDP (RFC 3261): registrar, and callee of every call.
///
/// After each `handle_*` drain [`Self::poll_output`] to `None`, then wait until [`Self::poll_timeout`] or the next input.
#[derive(Debug)]
pub struct UserAgent {
    settings: config::Sip,
    product: String,
    rng: fastrand::Rng,
    counters: Counters,
    outputs: VecDeque<Output>,
}

impl UserAgent {
    /// Makes a user agent that calls itself `product` (`name/version`, RFC 3261 §20.35 and §20.41). `rng` makes tags and
    /// branches: seed it from the system, or tags can be guessed.
    #[must_use]
    pub fn new(settings: &config::Sip, product: &str, rng: fastrand::Rng) -> Self {
        Self {
            settings: settings.clone(),
            product: product.to_owned(),
            rng,
            counters: Counters::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input. Afterwards drain [`Self::poll_output`] to `None` before the next input.
    pub fn handle_input(&mut self, _input: Input<'_>, _now: Instant) {
        self.counters.datagrams_received += 1;
    }

    /// Takes the passage of time. Early, late or repeated calls are safe and change nothing that is not due.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// Returns the next thing to be done, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when `handle_timeout` is due, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline<Timer>> {
        None
    }

    /// Returns what was counted since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns the number of calls that are not over: ringing, answered, confirmed.
    #[must_use]
    pub fn live_calls(&self) -> usize {
        0
    }

    /// Returns every registered contact, by user.
    pub fn bindings(&self) -> impl Iterator<Item = &Binding> {
        [].iter()
    }
}

/// A registered contact (RFC 3261 §10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The address-of-record, `sip:user@host`.
    pub aor: String,
    /// The contact's URI, as the user agent wrote it.
    pub contact: String,
    /// Where its latest REGISTER came from: where requests to it go.
    pub source: SocketAddr,
    /// When it ends unless refreshed.
    pub expires_at: Instant,
    /// Its User-Agent header, cut to 128 characters.
    pub user_agent: String,
}
