//! Threads, sockets, clock: starts them, stops them, and owns every one.
//!
//! | thread | does | wakes by |
//! |---|---|---|
//! | `net` | SIP and RTP sockets and connections in, SIP out, calls begun and ended | its sockets, its bell |
//! | `media-N` | the calls' packets and 20 ms slots | deadlines of its calls, its bell |
//! | `conductor-C`, `ears-C`, `mind-C`, `voice-C` | one call's agent and its providers | their bells and sockets |
//! | `tool-C-N` | asks one of the operator's tools | its socket; ends with its answer |
//! | `capture-C` | writes down what one call is told and sends, where that is asked for | every 100 ms |
//! | `phrases` | renders the greeting and the apologies ahead | once per start |
//! | `stats` | empties the media workers' rings into the table of calls | every 50 ms |
//! | `recorder` | recordings, transcripts and records of calls, if asked for | notes, and every 100 ms |
//! | `journal` | writes log lines | lines |
//! | `control-N` | the HTTP API | requests |

pub mod affinity;
pub mod arrival;
pub mod bridge;
pub mod capture;
pub mod cast;
pub mod certificate;
pub mod check;
pub mod clock;
pub mod conductor;
pub mod datagrams;
pub mod descriptors;
pub mod folders;
pub mod kept;
pub mod latencies;
pub mod listeners;
pub mod log;
pub mod media;
pub mod net;
pub mod pcap;
pub mod phrases;
pub mod ports;
pub mod provider_threads;
pub mod recorder;
pub mod rings;
pub mod stats;
pub mod streams;
pub mod tones;
pub mod tool_threads;

use crate::config::{Config, LogLevel};
use crate::engine::affinity::{Granted, Role};
use crate::engine::bridge::{About, Bridge, ListenError, ListenFrame, Realtime, Running, StartError};
use crate::engine::capture::Captures;
use crate::engine::cast::Casting;
use crate::engine::clock::SystemClock;
use crate::engine::listeners::Served;
use crate::engine::media::{Worker, WorkerCounters};
use crate::engine::net::{Net, NetCommand, NetHandle, Parts, WorkerLink};
use crate::engine::phrases::Phrases;
use crate::engine::recorder::RecorderThread;
use crate::engine::recorder::shelf::Kind;
use crate::ids::CallId;
use crate::metrics::{Board, Journal, ProviderNames};
use crate::providers::webhook::Webhooks;
use crate::providers::{Bell, Listener, Stop};
use crate::sip::EndedBy;
use crate::time::{Clock, Instant};
use crossbeam_channel::Receiver;
use parking_lot::Mutex;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// Frames that wait for a listener: 1 s.
const LISTEN_FRAMES_MAX: usize = 50;

/// The engine; the bridge in it is started and stopped.
pub struct Engine {
    config: Arc<Config>,
    clock: Arc<SystemClock>,
    board: Arc<Board>,
    journal: Journal,
    casting: OnceLock<Casting>,
    realtime: Mutex<Realtime>,
    /// Held while the bridge starts or stops: a stop says goodbye to every call, and whoever asks for another stop or a start
    /// meanwhile is answered when that is done. The status is not kept waiting.
    changing: Mutex<()>,
    bridge: Mutex<Option<Started>>,
}

/// A running bridge.
struct Started {
    listen: SocketAddr,
    served: Vec<Served>,
    since: Instant,
    net: NetHandle,
    net_thread: JoinHandle<()>,
    stop_workers: Stop,
    worker_bells: Vec<Bell>,
    workers: Vec<JoinHandle<()>>,
    stats: JoinHandle<()>,
    recorder: RecorderThread,
    phrases: Arc<Phrases>,
    stop_phrases: Stop,
    phrases_thread: JoinHandle<()>,
    registrations: Arc<std::sync::atomic::AtomicUsize>,
}

impl Engine {
    /// Makes an engine whose bridge is stopped.
    #[must_use]
    pub fn new(config: Config, clock: Arc<SystemClock>, journal: Journal) -> Self {
        if let Some(lack) = descriptors::make_room(config.sip.calls_max) {
            journal.line(LogLevel::Warn, None, lack);
        }
        Self {
            board: Arc::new(Board::with_clock(clock.clone()).with_slo(config.slo)),
            config: Arc::new(config),
            clock,
            journal,
            casting: OnceLock::new(),
            realtime: Mutex::new(Realtime::default()),
            changing: Mutex::new(()),
            bridge: Mutex::new(None),
        }
    }

    /// Obtains and loads the providers, once; whoever asks meanwhile waits. `progress` gets a line at a time.
    pub fn prepare(&self, progress: &mut dyn FnMut(&str)) -> &Casting {
        self.casting.get_or_init(|| {
            let clock: Arc<dyn Clock> = self.clock.clone();
            let casting = cast::cast(&self.config, &clock, progress);
            for health in &casting.health {
                health.report_to(&self.board);
                health.log_to(&self.journal);
            }
            if let Some(notice) = &casting.notice {
                self.journal.line(LogLevel::Warn, None, notice);
            }
            self.board.watch(casting.health.clone());
            self.realtime.lock().mlock = affinity::lock_memory();
            casting
        })
    }

    fn start_bridge(&self, listen: SocketAddr) -> Result<Started, StartError> {
        let tls = self.config.sip.tls.as_ref();
        let bound = listeners::bind(listen, tls).map_err(StartError::Bind)?;
        let listen = bound.socket.local_addr().map_err(StartError::Bind)?;
        let other = |error: io::Error| StartError::Other(error.to_string());
        let casting = self.prepare(&mut |line| self.journal.line(LogLevel::Info, None, line));
        let (net_bell, listener) = Listener::new().map_err(other)?;
        let (net, commands) = NetHandle::new(net_bell);
        let stop_workers = Stop::default();
        let mut started = Workers::start(self, &net, &stop_workers).map_err(other)?;
        let stats =
            stats::start(std::mem::take(&mut started.ends), self.board.clone(), stop_workers.clone()).map_err(other)?;
        let (recorder, recorder_thread) =
            recorder::start(&self.config.records, self.clock.clone(), self.board.clone(), self.journal.clone())
                .map_err(other)?;
        let phrases = Arc::new(Phrases::new(&self.config.agent, casting.phrase_cache.clone()));
        let stop_phrases = Stop::default();
        let phrases_thread = self.render_phrases(casting, &phrases, &stop_phrases, net.bell()).map_err(other)?;
        let registrations = Arc::default();
        let parts = Parts {
            config: self.config.clone(),
            clock: self.clock.clone(),
            socket: bound.socket,
            listen,
            listeners: bound.listeners,
            listener,
            handle: net.clone(),
            commands,
            workers: started.links,
            cast: casting.cast.clone(),
            phrases: phrases.clone(),
            webhooks: Arc::new(Webhooks::new(&self.config.agent)),
            board: self.board.clone(),
            journal: self.journal.clone(),
            recorder,
            registrations: Arc::clone(&registrations),
            captures: Captures::new(&self.config, &self.clock, &self.journal),
            rng: fastrand::Rng::new(),
        };
        let net_state = Net::new(parts).map_err(other)?;
        let net_thread =
            std::thread::Builder::new().name("net".into()).spawn(move || net_state.run()).map_err(other)?;
        self.report(listen, &bound.served);
        Ok(Started {
            listen,
            served: bound.served,
            since: self.clock.now(),
            net,
            net_thread,
            stop_workers,
            worker_bells: started.bells,
            workers: started.threads,
            stats,
            recorder: recorder_thread,
            phrases,
            stop_phrases,
            phrases_thread,
            registrations,
        })
    }

    /// Gives the net thread a command; `false`: the bridge is stopped.
    fn command(&self, command: NetCommand) -> bool {
        let bridge = self.bridge.lock();
        let Some(started) = &*bridge else { return false };
        started.net.send(command);
        true
    }

    /// Says where SIP is served and for whom, and where it should be and is not.
    fn report(&self, listen: SocketAddr, served: &[Served]) {
        let who = match self.config.sip.accounts.first() {
            Some(account) => format!("{} with its password", account.user),
            None => "agent001 with any password".to_owned(),
        };
        let here = match listen.ip() {
            ip if ip.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], listen.port())),
            _ => listen,
        };
        self.journal.line(
            LogLevel::Info,
            None,
            format_args!("SIP on udp {listen}; register a softphone to {here} as {who} and dial 1000"),
        );
        for Served { transport, listen, problem, .. } in served {
            match problem {
                Some(problem) => self.journal.line(
                    LogLevel::Warn,
                    None,
                    format_args!("no SIP over {transport} on {listen}: {problem}; the other transports are served"),
                ),
                None if *transport == "udp" => {}
                None => self.journal.line(LogLevel::Info, None, format_args!("SIP over {transport} on {listen}")),
            }
        }
        if let Some(Ok(fingerprint)) = self.config.sip.tls.as_ref().map(certificate::fingerprint) {
            self.journal.line(LogLevel::Info, None, format_args!("the TLS certificate's SHA-256 is {fingerprint}"));
        }
        if self.config.sip.accounts.is_empty() && !listen.ip().is_loopback() {
            let text = "OPEN MODE: there are no [[sip.accounts]], and anybody on this machine and its private networks may call";
            self.journal.line(LogLevel::Warn, None, text);
        }
    }

    fn render_phrases(
        &self,
        casting: &Casting,
        phrases: &Arc<Phrases>,
        stop: &Stop,
        net: Bell,
    ) -> io::Result<JoinHandle<()>> {
        let (voice, substitute) = (casting.cast.voice.clone(), casting.substitute.clone());
        let (phrases, stop, journal) = (phrases.clone(), stop.clone(), self.journal.clone());
        std::thread::Builder::new().name("phrases".into()).spawn(move || {
            let report = |text: &str| journal.line(LogLevel::Warn, None, text);
            phrases.render_all(&*voice, substitute.as_deref(), &stop, || net.ring(), report);
        })
    }
}

impl Started {
    /// Ends every call, closes every port, and waits for every thread.
    fn stop(self) {
        self.stop_phrases.raise();
        self.phrases.interrupt();
        self.net.send(NetCommand::Stop);
        let _ = self.net_thread.join();
        self.stop_workers.raise();
        for bell in &self.worker_bells {
            bell.ring();
        }
        let threads = self.workers.into_iter().chain([self.stats, self.phrases_thread]);
        for thread in threads {
            // A thread that panicked is gone, which is what a stop wants.
            let _ = thread.join();
        }
        self.recorder.end();
    }
}

/// The media workers of a start.
struct Workers {
    links: Vec<WorkerLink>,
    ends: Vec<stats::Ends>,
    bells: Vec<Bell>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    fn start(engine: &Engine, net: &NetHandle, stop: &Stop) -> io::Result<Self> {
        let mut workers = Self { links: Vec::new(), ends: Vec::new(), bells: Vec::new(), threads: Vec::new() };
        for n in 0..engine.config.media.workers.max(1) {
            let (orders, orders_out) = rings::worker_orders();
            let (retired_in, retired) = rings::retired();
            let (samples, samples_out) = rings::samples();
            let (quality, quality_out) = rings::quality();
            let counters = Arc::new(WorkerCounters::default());
            let calls_max = engine.config.sip.calls_max;
            let mut worker = Worker::new(
                calls_max,
                orders_out,
                retired_in,
                samples,
                quality,
                net.bell(),
                engine.clock.clone(),
                counters.clone(),
            );
            let (clock, stop) = (engine.clock.clone(), stop.clone());
            let (granted_in, granted) = crossbeam_channel::bounded(1);
            let thread = std::thread::Builder::new().name(format!("media-{n}")).spawn(move || {
                let _ = granted_in.send(affinity::settle(Role::Media(n)));
                while !stop.raised() {
                    let next = worker.do_work(clock.now());
                    let now = clock.now();
                    if next > now {
                        std::thread::park_timeout(next - now);
                    }
                }
            })?;
            let Granted { core, fifo } = granted.recv().unwrap_or_default();
            let mut realtime = engine.realtime.lock();
            realtime.pinned = core.is_some() && (n == 0 || realtime.pinned);
            realtime.fifo = fifo && (n == 0 || realtime.fifo);
            let bell = Bell::for_thread(thread.thread().clone());
            workers.bells.push(bell.clone());
            workers.links.push(WorkerLink { orders, retired, bell, calls: 0, fed: false });
            workers.ends.push(stats::Ends { samples: samples_out, quality: quality_out, counters });
            workers.threads.push(thread);
        }
        Ok(workers)
    }
}

impl Bridge for Engine {
    fn start(&self, listen: SocketAddr) -> Result<(), StartError> {
        if let Some(running) = self.running() {
            return Err(StartError::AlreadyRunning { port: running.listen.port() });
        }
        // An address that cannot be had is told at once, and not behind the minutes that the first start takes for models.
        {
            let _after_a_stop = self.changing.lock();
            if self.running().is_none() {
                drop(listeners::bind(listen, self.config.sip.tls.as_ref()).map_err(StartError::Bind)?);
            }
        }
        // Before the locks: models may take a while, and the status is answered meanwhile, and a stop obeyed.
        self.prepare(&mut |line| self.journal.line(LogLevel::Info, None, line));
        let _changing = self.changing.lock();
        let mut bridge = self.bridge.lock();
        if let Some(started) = &*bridge {
            return Err(StartError::AlreadyRunning { port: started.listen.port() });
        }
        let started = self.start_bridge(listen)?;
        self.board.bridge(Some(started.listen));
        *bridge = Some(started);
        Ok(())
    }

    fn stop(&self) -> bool {
        let _changing = self.changing.lock();
        let started = self.bridge.lock().take();
        let running = started.is_some();
        if let Some(started) = started {
            started.stop();
            self.board.bridge(None);
            self.journal.line(LogLevel::Info, None, "the bridge is stopped");
        }
        running
    }

    fn running(&self) -> Option<Running> {
        let bridge = self.bridge.lock();
        bridge.as_ref().map(|started| Running {
            listen: started.listen,
            transports: started.served.clone(),
            registrations: started.registrations.load(Ordering::Relaxed),
            uptime: self.clock.now() - started.since,
        })
    }

    fn about(&self) -> About {
        let casting = self.casting.get();
        let names = |casting: &Casting| {
            let crate::engine::provider_threads::Cast { ears, mind, voice } = &casting.cast;
            ProviderNames { stt: ears.name(), llm: mind.name(), tts: voice.name() }
        };
        About {
            providers: casting.map(names).unwrap_or_default(),
            notice: casting.and_then(|casting| casting.notice.clone()),
            open_mode: self.config.sip.accounts.is_empty(),
            realtime: *self.realtime.lock(),
            uptime: self.clock.now() - Instant::ZERO,
        }
    }

    fn board(&self) -> &Board {
        &self.board
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn hang_up(&self, call: CallId) -> bool {
        let reason = "hung up by the control API".to_owned();
        self.command(NetCommand::HangUp { call, by: EndedBy::Engine, reason })
    }

    fn say(&self, call: CallId, text: String) -> bool {
        self.command(NetCommand::Say { call, text })
    }

    fn transfer(&self, call: CallId, target: String) -> bool {
        self.command(NetCommand::Transfer { call, target })
    }

    fn unix_time(&self, at: Instant) -> Duration {
        self.clock.unix_time(at)
    }

    fn recording(&self, call_id: &str) -> Option<PathBuf> {
        recorder::find(&self.config.records, call_id, Kind::Audio)
    }

    fn transcript(&self, call_id: &str) -> Option<PathBuf> {
        recorder::find(&self.config.records, call_id, Kind::Transcript)
    }

    fn pcap(&self, call_id: &str) -> Option<PathBuf> {
        recorder::find(&self.config.records, call_id, Kind::Pcap)
    }

    fn keeps_pcaps(&self) -> bool {
        self.config.records.folder.is_some()
    }

    fn begin_pcap(&self, call: CallId) -> bool {
        self.command(NetCommand::Pcap { call })
    }

    fn listen(&self, call_id: &str) -> Result<Receiver<ListenFrame>, ListenError> {
        let bridge = self.bridge.lock();
        let started = bridge.as_ref().ok_or(ListenError::NotRunning)?;
        let call = self.board.find_live(call_id).ok_or(ListenError::NoSuchCall)?;
        let (tap, frames) = rings::tap();
        let (sender, receiver) = crossbeam_channel::bounded(LISTEN_FRAMES_MAX);
        started.net.send(NetCommand::Listen { call, tap });
        let carry = move || carry_frames(frames, &sender);
        match std::thread::Builder::new().name(format!("listen-{}", call.0)).spawn(carry) {
            Ok(_) => Ok(receiver),
            Err(_) => Err(ListenError::TooMany),
        }
    }
}

/// Carries frames from the media path's ring to a listener's channel until one of the two ends.
fn carry_frames(mut frames: rtrb::Consumer<ListenFrame>, sender: &crossbeam_channel::Sender<ListenFrame>) {
    loop {
        while let Ok(frame) = frames.pop() {
            match sender.try_send(frame) {
                Ok(()) | Err(crossbeam_channel::TrySendError::Full(_)) => {}
                Err(crossbeam_channel::TrySendError::Disconnected(_)) => return,
            }
        }
        if frames.is_abandoned() {
            return;
        }
        // The media path rings no bell for a listener: half a frame is soon enough for an ear.
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
