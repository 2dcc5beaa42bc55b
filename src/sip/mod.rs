//! A user agent server (RFC 3261), signalling only: datagrams and deadlines in; datagrams, deadlines and call events out.

use crate::ids::CallId;
use std::net::{IpAddr, SocketAddr};

/// What happens to the user agent.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram came in. `local` is the address and port of ours that `source` reaches us by: what Contact and Via say,
    /// never `0.0.0.0`.
    Datagram { source: SocketAddr, local: SocketAddr, bytes: &'a [u8] },
    /// The engine wants something done.
    Command(Command),
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
