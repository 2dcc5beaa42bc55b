//! A bridge without an engine, for the tests of this folder: it starts, stops and hangs up on its own board.

use super::{About, Bridge, ListenError, ListenFrame, Realtime, Running, StartError};
use crate::ids::CallId;
use crate::metrics::{Board, Invited, ProviderNames};
use crate::sip::EndedBy;
use crate::time::Instant;
use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub const NAMES: ProviderNames = ProviderNames { stt: "moonshine", llm: "receptionist", tts: "hibari" };

/// Port 5999 is taken, and 192.0.2.1 is somebody else's.
#[derive(Default)]
pub struct Pretend {
    pub board: Arc<Board>,
    pub running: Mutex<Option<SocketAddr>>,
    /// What is put in here is heard by the last listener.
    pub heard: Mutex<Option<Sender<ListenFrame>>>,
    /// What it was told to do with calls.
    pub orders: Mutex<Vec<String>>,
}

impl Pretend {
    pub fn started() -> Self {
        let bridge = Self::default();
        *bridge.running.lock() = Some(SocketAddr::from(([0, 0, 0, 0], 5060)));
        bridge
    }

    pub fn invite(&self, call: u32, call_id: &str) {
        self.board.invited(&Invited {
            call: CallId(call),
            call_id,
            from: "\"Ann \\ Lee\" <sip:ann@127.0.0.1>;tag=1",
            to: "<sip:100@127.0.0.1>",
            source: SocketAddr::from(([127, 0, 0, 1], 5062)),
            rtp_port: 10_000 + 2 * u16::try_from(call).expect("few calls"),
            providers: NAMES,
        });
    }
}

impl Bridge for Pretend {
    fn start(&self, listen: SocketAddr) -> Result<(), StartError> {
        let mut running = self.running.lock();
        if let Some(running) = *running {
            return Err(StartError::AlreadyRunning { port: running.port() });
        }
        let refused = |kind: ErrorKind| Err(StartError::Bind(kind.into()));
        match (listen.ip().to_string().as_str(), listen.port()) {
            ("192.0.2.1", _) => return refused(ErrorKind::AddrNotAvailable),
            (_, 5999 | 65_535) => return refused(ErrorKind::AddrInUse),
            (_, ..1024) => return refused(ErrorKind::PermissionDenied),
            _ => *running = Some(listen),
        }
        Ok(())
    }

    fn stop(&self) -> bool {
        self.running.lock().take().is_some()
    }

    fn running(&self) -> Option<Running> {
        self.running.lock().map(|listen| Running {
            listen,
            transports: Vec::new(),
            registrations: 1,
            uptime: Duration::from_secs(7),
        })
    }

    fn about(&self) -> About {
        let realtime = Realtime { pinned: true, fifo: false, mlock: true };
        About { providers: NAMES, notice: None, open_mode: true, realtime, uptime: Duration::from_secs(9) }
    }

    fn board(&self) -> &Board {
        &self.board
    }

    fn now(&self) -> Instant {
        Instant::from_millis(20_000)
    }

    fn hang_up(&self, call: CallId) -> bool {
        self.board.ended(call, EndedBy::Engine, "hung up by the operator", self.now());
        true
    }

    fn say(&self, call: CallId, text: String) -> bool {
        self.orders.lock().push(format!("{call}: say {text}"));
        true
    }

    fn transfer(&self, call: CallId, target: String) -> bool {
        self.orders.lock().push(format!("{call}: transfer to {target}"));
        true
    }

    /// 2026-11-22T17:19:16Z is the start.
    fn unix_time(&self, at: Instant) -> Duration {
        Duration::from_secs(1_795_367_956) + at.since(Instant::ZERO)
    }

    /// Nothing is kept.
    fn recording(&self, _call_id: &str) -> Option<PathBuf> {
        None
    }

    fn transcript(&self, _call_id: &str) -> Option<PathBuf> {
        None
    }

    fn pcap(&self, _call_id: &str) -> Option<PathBuf> {
        None
    }

    fn keeps_pcaps(&self) -> bool {
        self.running.lock().is_some()
    }

    fn begin_pcap(&self, call: CallId) -> bool {
        self.orders.lock().push(format!("{call}: pcap"));
        true
    }

    fn listen(&self, call_id: &str) -> Result<Receiver<ListenFrame>, ListenError> {
        self.running.lock().ok_or(ListenError::NotRunning)?;
        self.board.find_live(call_id).ok_or(ListenError::NoSuchCall)?;
        let (sender, receiver) = crossbeam_channel::bounded(50);
        *self.heard.lock() = Some(sender);
        Ok(receiver)
    }
}
