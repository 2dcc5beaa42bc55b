//! Tries a provider before a call does: how far its server is, and whether a session of its role works.
//!
//! A role is tried through its own factory, as a call would use it, so that a provider needs no code for it. What it costs: the
//! ears hear nothing and cost nothing; the mind is asked for one word, twice; the voice says one word, twice. Of each two
//! the second is what counts, since a call's session is warm by the time somebody has said something.

use super::tls::Trust;
use super::{
    Bell, EarsIo, Events, Listener, MindCommand, MindIo, Request, Responder, Speaker, Stamped, Stop, Transcriber,
    VoiceCommand, VoiceIo,
};
use crate::agent::{EarsEvent, Message, MindEvent, VoiceEvent};
use crate::config::host_of;
use crate::ids::{CallId, TurnId};
use crate::time::{Clock, Instant};
use crossbeam_channel::{Receiver, bounded};
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// How long a role may take for its word: as long as a caller who waits.
const SESSION_MAX: Duration = Duration::from_secs(8);
/// How long a TCP connection or a TLS handshake may take.
const CONNECT_MAX: Duration = Duration::from_secs(4);
/// Events of a session that are not read yet: a word has a few.
const EVENTS_MAX: usize = 256;
/// Frames of a word, 5 s of it.
const FRAMES_MAX: usize = 256;
/// The text that a voice says, and the one that a mind answers.
const WORD: &str = "Yes.";
const QUESTION: &str = "Say yes.";

/// How far a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The look-up of its name.
    pub dns: Duration,
    /// The TCP handshake: one round trip.
    pub tcp: Duration,
    /// The TLS handshake; nothing where there is none.
    pub tls: Option<Duration>,
}

/// What a role did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// From the order to the first result of a cold session: with connection, handshake and authorisation.
    pub cold: Duration,
    /// The same once it is warm; nothing for ears, who are measured by their readiness alone.
    pub warm: Option<Duration>,
}

/// Connects to the server of `url`, and hangs up.
///
/// # Errors
/// What kept it from being reached, in a few words.
pub fn reach(url: &str, trust: &Trust, clock: &dyn Clock) -> Result<Reach, String> {
    let (scheme, rest) = url.split_once("://").ok_or("its address has no scheme")?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = host_of(authority).ok_or("its address has no host")?;
    let is_encrypted = matches!(scheme, "https" | "wss");
    let port = authority.strip_prefix(host).or_else(|| authority.split_once(']').map(|(_, port)| port));
    let port =
        port.and_then(|port| port.strip_prefix(':')?.parse().ok()).unwrap_or(if is_encrypted { 443 } else { 80 });

    let begun = clock.now();
    let addresses: Vec<_> =
        (host, port).to_socket_addrs().map_err(|error| format!("{host} has no address ({error})"))?.collect();
    let resolved = clock.now();
    let mut error = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        let before = clock.now();
        match TcpStream::connect_timeout(&address, CONNECT_MAX) {
            Ok(mut stream) => {
                let connected = clock.now();
                let mut reach = Reach { dns: resolved.since(begun), tcp: connected.since(before), tls: None };
                if is_encrypted {
                    trust
                        .handshake(&mut stream, host, CONNECT_MAX)
                        .map_err(|error| format!("TLS with {host} failed ({error})"))?;
                    reach.tls = Some(clock.now().since(connected));
                }
                return Ok(reach);
            }
            Err(refused) => error = refused,
        }
    }
    Err(format!("{host} cannot be reached ({error})"))
}

/// Opens a session of the ears, and waits until they listen.
///
/// # Errors
/// What they failed with.
pub fn ears(ears: Arc<dyn Transcriber>, clock: &Arc<dyn Clock>) -> Result<Session, String> {
    let (frames, heard) = rtrb::RingBuffer::new(FRAMES_MAX);
    let (orders, commands) = bounded(1);
    let mut trial = Trial::begin(clock, |trial, send| {
        let events = Events::new(trial.clock.clone(), send, trial.here(), |stamped| stamped);
        let io = EarsIo {
            call: CallId(0),
            clock: trial.clock.clone(),
            frames: heard,
            commands,
            listener: trial.listener.take()?,
            events,
            stop: trial.stop.clone(),
        };
        Some(move || ears.run(io))
    })?;
    let begun = clock.now();
    let listening = trial.wait(begun, |event| match event {
        EarsEvent::Connected => Some(Ok(())),
        EarsEvent::Failed(failure) => Some(Err(failure.text)),
        _ => None,
    });
    let cold = listening?.since(begun);
    drop((frames, orders));
    Ok(Session { cold, warm: None })
}

/// Opens a session of the mind, and asks it for a word, twice.
///
/// # Errors
/// What it failed with.
pub fn mind(mind: Arc<dyn Responder>, clock: &Arc<dyn Clock>) -> Result<Session, String> {
    let (orders, commands) = bounded(4);
    let mut trial = Trial::begin(clock, |trial, send| {
        let events = Events::new(trial.clock.clone(), send, trial.here(), |stamped| stamped);
        let listener = trial.listener.take()?;
        let io = MindIo {
            call: CallId(0),
            clock: trial.clock.clone(),
            commands,
            listener,
            events,
            stop: trial.stop.clone(),
        };
        Some(move || mind.run(io))
    })?;
    let mut first = |turn: u32| {
        let messages = vec![Message::System("Answer with one word.".into()), Message::Caller(QUESTION.into())];
        let turn = TurnId(turn);
        let begun = clock.now();
        // A session that is gone says so by its silence.
        let _ = orders.send(MindCommand::Ask(Request { turn, messages, tools: Vec::new() }));
        trial.bell.ring();
        let mut spoken = None;
        let whole = trial.wait(begun, |(of, event): (TurnId, MindEvent)| match event {
            MindEvent::Token(text) if of == turn && !text.trim().is_empty() => {
                spoken.get_or_insert(clock.now());
                None
            }
            MindEvent::Done if of == turn => Some(Ok(())),
            MindEvent::Failed(failure) if of == turn => Some(Err(failure.text)),
            _ => None,
        });
        whole?;
        spoken.map(|at| at.since(begun)).ok_or_else(|| "it answered nothing".to_owned())
    };
    Ok(Session { cold: first(1)?, warm: Some(first(2)?) })
}

/// Opens a session of the voice, and has it say a word, twice.
///
/// # Errors
/// What it failed with.
pub fn voice(voice: Arc<dyn Speaker>, clock: &Arc<dyn Clock>) -> Result<Session, String> {
    let (frames, spoken) = rtrb::RingBuffer::new(FRAMES_MAX);
    let (orders, commands) = bounded(4);
    let mut trial = Trial::begin(clock, |trial, send| {
        let events = Events::new(trial.clock.clone(), send, trial.here(), |stamped| stamped);
        let io = VoiceIo {
            call: CallId(0),
            clock: trial.clock.clone(),
            commands,
            listener: trial.listener.take()?,
            frames,
            media: trial.here(),
            events,
            stop: trial.stop.clone(),
        };
        Some(move || voice.run(io))
    })?;
    let mut first = |turn: u32| {
        let turn = TurnId(turn);
        let begun = clock.now();
        let _ = orders.send(VoiceCommand::Speak { turn, clause: 0, text: WORD.into(), last: true });
        trial.bell.ring();
        let mut sounded = None;
        trial.wait(begun, |(of, event): (TurnId, VoiceEvent)| match event {
            VoiceEvent::FirstAudio if of == turn => {
                sounded = Some(clock.now());
                None
            }
            VoiceEvent::Done { .. } if of == turn => Some(Ok(())),
            VoiceEvent::Failed(failure) if of == turn => Some(Err(failure.text)),
            _ => None,
        })?;
        sounded.map(|at| at.since(begun)).ok_or_else(|| "it made no sound".to_owned())
    };
    let session = Session { cold: first(1)?, warm: Some(first(2)?) };
    drop(spoken);
    Ok(session)
}

/// A session on a thread of its own, and what it says.
struct Trial<E> {
    clock: Arc<dyn Clock>,
    bell: Bell,
    listener: Option<Listener>,
    stop: Stop,
    said: Receiver<Stamped<E>>,
}

impl<E: Send + 'static> Trial<E> {
    /// Starts what `make` makes; its thread is left to end by its provider's own deadlines.
    fn begin<F: FnOnce() + Send + 'static>(
        clock: &Arc<dyn Clock>,
        make: impl FnOnce(&mut Self, crossbeam_channel::Sender<Stamped<E>>) -> Option<F>,
    ) -> Result<Self, String> {
        let (bell, listener) = Listener::new().map_err(|error| error.to_string())?;
        let (send, said) = bounded(EVENTS_MAX);
        let mut trial = Self { clock: clock.clone(), bell, listener: Some(listener), stop: Stop::default(), said };
        let body = make(&mut trial, send).ok_or("it could not be started")?;
        std::thread::Builder::new().name("probe".into()).spawn(body).map_err(|error| error.to_string())?;
        Ok(trial)
    }

    /// A bell that wakes this thread.
    fn here(&self) -> Bell {
        Bell::for_thread(std::thread::current())
    }

    /// Reads events until `verdict` has one; returns when that was.
    fn wait(
        &mut self,
        begun: Instant,
        mut verdict: impl FnMut(E) -> Option<Result<(), String>>,
    ) -> Result<Instant, String> {
        loop {
            let left = (begun + SESSION_MAX).since(self.clock.now());
            let Ok(Stamped { at, event }) = self.said.recv_timeout(left) else {
                return Err(format!("nothing came within {} s", SESSION_MAX.as_secs()));
            };
            if let Some(verdict) = verdict(event) {
                return verdict.map(|()| at);
            }
        }
    }
}

impl<E> Drop for Trial<E> {
    fn drop(&mut self) {
        self.stop.raise();
        self.bell.ring();
    }
}
