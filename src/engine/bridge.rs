//! What the engine does for whoever steers it, and what it tells of itself: all that the control API sees.

use crate::engine::listeners::Served;
use crate::ids::CallId;
use crate::metrics::{Board, ProviderNames};
use crate::time::Instant;
use crossbeam_channel::Receiver;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// 20 ms of both sides of a call: PCM at 16 kHz.
pub type ListenFrame = crate::call::TapFrame;

/// What the engine does for the control API. Called from the control threads, several at once; may block for as long as its
/// method says.
pub trait Bridge: Send + Sync {
    /// Starts the bridge; returns once its SIP socket is bound.
    ///
    /// # Errors
    /// That it runs already, or what kept it from starting; then it is stopped as before.
    fn start(&self, listen: SocketAddr) -> Result<(), StartError>;
    /// Ends every call with a BYE and closes every port; returns once that is done (within 5 s). `false`: it was not running.
    fn stop(&self) -> bool;
    /// Returns where the bridge is, or `None` while it is stopped.
    fn running(&self) -> Option<Running>;
    /// Returns the part of the status that does not depend on whether the bridge runs.
    fn about(&self) -> About;
    /// Returns the table of calls.
    fn board(&self) -> &Board;
    /// Returns the present, on the engine's clock.
    fn now(&self) -> Instant;
    /// Hangs up; returns once the BYE is on its way. `false`: there is no such live call.
    fn hang_up(&self, call: CallId) -> bool;
    /// Has the agent of a live call say `text`, in place of what it is saying. `false`: there is no such live call.
    fn say(&self, call: CallId, text: String) -> bool;
    /// Asks the caller's telephone to call `target`, a URI, and to leave us. `false`: there is no such live call.
    fn transfer(&self, call: CallId, target: String) -> bool;
    /// Returns the time of day at `at`, since 1970 in UTC.
    fn unix_time(&self, at: Instant) -> Duration;
    /// Returns where the recording of the call with this Call-ID is, the newest one; it may be growing.
    fn recording(&self, call_id: &str) -> Option<PathBuf>;
    /// Returns where the transcript of the call with this Call-ID is, the newest one; it may be growing.
    fn transcript(&self, call_id: &str) -> Option<PathBuf>;
    /// Returns where the packet capture of the call with this Call-ID is, the newest one; it may be growing.
    fn pcap(&self, call_id: &str) -> Option<PathBuf>;
    /// Whether there is a folder in which a packet capture could be.
    fn keeps_pcaps(&self) -> bool;
    /// Begins the packet capture of a live call, unless it has one. `false`: there is no such live call.
    fn begin_pcap(&self, call: CallId) -> bool;
    /// Returns frames of both sides of the live call with this Call-ID from here on; the channel closes when the call ends. It is bounded, and
    /// whoever fills it drops frames rather than wait.
    ///
    /// # Errors
    /// Why there is nothing to hear.
    fn listen(&self, call_id: &str) -> Result<Receiver<ListenFrame>, ListenError>;
}

/// Why the bridge did not start.
#[derive(Debug)]
pub enum StartError {
    /// It runs already, on this port.
    AlreadyRunning { port: u16 },
    /// The SIP socket could not be bound.
    Bind(std::io::Error),
    /// Something else, in words.
    Other(String),
}

/// Why there is nothing to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenError {
    /// The bridge is stopped.
    NotRunning,
    /// There is no such live call.
    NoSuchCall,
    /// As many listeners as are allowed hear this call.
    TooMany,
}

/// A running bridge, for the status; its calls stand in the [`Board`].
#[derive(Clone, Debug)]
pub struct Running {
    /// Where SIP is served, as it was asked for.
    pub listen: SocketAddr,
    /// Over what, and where each of them is.
    pub transports: Vec<Served>,
    /// Registrations that are valid.
    pub registrations: usize,
    /// Since its start.
    pub uptime: Duration,
}

/// What the engine is and was granted.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Who hears, thinks and speaks in the next call.
    pub providers: ProviderNames,
    /// One line that the operator should see, such as why calls are answered by the echo agent.
    pub notice: Option<String>,
    /// Whether any user and password is accepted (from loopback and private networks only).
    pub open_mode: bool,
    /// What the system granted.
    pub realtime: Realtime,
    /// Since the engine's start.
    pub uptime: Duration,
}

/// What the system granted to the media workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Realtime {
    /// Each worker is pinned to a core.
    pub pinned: bool,
    /// They run under SCHED_FIFO.
    pub fifo: bool,
    /// Memory is locked.
    pub mlock: bool,
}
