//! One call of the telephone, from REGISTER to the report.

use super::capture::{Capture, Stream};
use super::level::dbov;
use super::line::{self, Line, News, Ports, Route};
use super::mrl::{Discard, Exchange, Measurement, measure};
use super::stimulus::Stimulus;
use super::talk::{self, Talk};
use super::weather::Weather;
use crate::audio::g711::Codec;
use crate::config::Secret;
use crate::engine::clock::SystemClock;
use crate::rtp::RtpTimestamp;
use crate::rtp::packet::Packet;
use crate::sdp::{Encoding, Negotiation};
use crate::sip::flow::Flow;
use crate::sip::{self, Command, Login, Outbound, Refusal, Registration, UserAgent};
use crate::time::{Clock, Instant};
use crate::{config, ids::CallId};
use crossbeam_channel::{Receiver, Sender};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The level of a packet from which the agent is heard: that of the strictest onset.
const LOUD_DBOV: f64 = -45.0;
/// How long the registration is asked for, in seconds: longer than most calls; it is removed afterwards.
const EXPIRES_S: u32 = 600;
/// How long our own BYE, and the removal of our registration, are waited for.
const GOODBYE_MAX: Duration = Duration::from_secs(2);
/// How long the agent's last loud packet dies away: what is heard in that time begins nothing.
const DECAY: Duration = Duration::from_millis(500);
/// How often the interruption by a signal is looked for.
const LOOK: Duration = Duration::from_millis(100);
/// How long a closed port may take to say so: a round trip on a local network, many times over.
const CLOSED_MAX: Duration = Duration::from_millis(100);
/// How long a REGISTER goes unanswered before the user is told that it is waited for.
const UNANSWERED: Duration = Duration::from_secs(3);
/// What a telephone offers: what every other one has, µ-law first.
const OFFERED: [Encoding; 2] = [Encoding::Pcmu, Encoding::Pcma];

/// Who is called, and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    /// The SIP URI, as it is called.
    pub uri: String,
    /// Where it is served.
    pub server: SocketAddr,
    /// The domain of our address.
    domain: String,
}

impl Target {
    /// Reads a SIP URI, and looks its host up; `sip:` may be left out.
    ///
    /// # Errors
    /// What is wrong with it, in a line.
    pub fn read(uri: &str) -> Result<Self, String> {
        let full = if uri.starts_with("sip:") { uri.to_owned() } else { format!("sip:{uri}") };
        let wrong = |why: &str| format!("call SIP-URI: {uri:?} {why}; it may be sip:1000@127.0.0.1:5060");
        if full.starts_with("sip:sips:") || full.contains("transport=") && !full.contains("transport=udp") {
            return Err(wrong("cannot be called: the telephone speaks SIP over UDP only"));
        }
        let parsed = sip::uri::SipUri::parse(&full).ok_or_else(|| wrong("is no SIP URI"))?;
        let host = parsed.host.trim_matches(['[', ']']).to_owned();
        let port = parsed.port.unwrap_or(5060);
        let mut found =
            (host.as_str(), port).to_socket_addrs().map_err(|error| wrong(&format!("leads nowhere ({error})")))?;
        let server = found.next().ok_or_else(|| wrong("leads nowhere"))?;
        let domain = parsed.host.to_owned();
        Ok(Self { uri: full.clone(), server, domain })
    }
}

/// How a call is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who is called.
    pub target: Target,
    /// Who calls.
    pub user: String,
    /// The password, where that is asked for.
    pub password: Option<Secret>,
    /// Whether to register first.
    pub register: bool,
    /// What the network does.
    pub weather: Weather,
    /// The chance in it, and in all else.
    pub seed: u64,
    /// When to speak and to wait.
    pub talk: talk::Settings,
}

/// What came of a call.
pub struct Outcome {
    /// Its Call-ID.
    pub call_id: String,
    /// From the INVITE to its 200.
    pub answered_after: Duration,
    /// The codec.
    pub codec: Codec,
    /// What was sent and came.
    pub capture: Capture,
    /// What came, laid out.
    pub stream: Stream,
    /// Where what was said begins, by exchange, in the samples that were sent.
    pub said: Vec<(usize, u64)>,
    /// From where to where each reply was listened to.
    pub heard: Vec<(Instant, Instant)>,
    /// The figures of each exchange.
    pub results: Vec<Result<Measurement, Discard>>,
    /// How long after the answer the agent was first heard.
    pub greeting_after: Option<Duration>,
    /// Why the call ended, where the agent ended it.
    pub ended_by_agent: Option<String>,
}

/// What the telephone's loop waits for.
enum Event {
    Sip(Vec<u8>, SocketAddr),
    Line(News),
}

/// An exchange that is under way, or over.
struct Under {
    turn: usize,
    quiet_since: Instant,
    first_sample: Option<u64>,
    began: Instant,
    ended: Option<Instant>,
}

/// The telephone.
struct Telephone<'a> {
    settings: &'a Settings,
    stimuli: &'a [Stimulus],
    clock: Arc<SystemClock>,
    agent: UserAgent,
    socket: UdpSocket,
    flow: Flow,
    negotiation: Negotiation,
    ports: Option<Ports>,
    line: Option<Line>,
    codec: Codec,
    talk: Talk,
    events: (Sender<Event>, Receiver<Event>),
    call: Option<CallId>,
    call_id: String,
    placed_at: Instant,
    answered_at: Option<Instant>,
    first_loud: Option<Instant>,
    capture: Capture,
    exchanges: Vec<Under>,
    registered: Option<Result<(), String>>,
    over: Option<String>,
    we_hung_up: bool,
    progress: &'a mut dyn FnMut(&str),
}

/// Calls, talks and hangs up. `progress` gets a line at a time; `stop` ends the call early, and what was measured counts.
///
/// # Errors
/// Why there was no call, in a line that names the cure where there is one.
pub fn run(
    settings: &Settings,
    stimuli: &[Stimulus],
    clock: &Arc<SystemClock>,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&str),
) -> Result<Outcome, String> {
    anybody(settings.target.server)?;
    let mut telephone = Telephone::open(settings, stimuli, clock, progress)
        .map_err(|error| format!("cannot open a telephone: {error}"))?;
    let reading = telephone.read_sip().map_err(|error| format!("cannot start a thread: {error}"))?;
    let called = telephone.talk(stop);
    telephone.leave();
    reading.1.store(true, Ordering::Release);
    // A thread that panicked is gone, which is what an end wants.
    let _ = reading.0.join();
    called?;
    telephone.outcome()
}

/// Finds out whether a port of this machine or its network is closed, which a socket that is connected to it is told: the answer
/// to a REGISTER would be waited for half a minute. Two line ends are what telephones keep a port open with (RFC 5626 §3.5.1).
fn anybody(server: SocketAddr) -> Result<(), String> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let tried = UdpSocket::bind(any).and_then(|probe| {
        probe.connect(server)?;
        probe.set_read_timeout(Some(CLOSED_MAX))?;
        probe.send(b"\r\n\r\n")?;
        probe.recv(&mut [0; 64])
    });
    match tried {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Err(format!("nobody listens on UDP {server}: is it running there, and is the port right?"))
        }
        // Silence is what an open port is expected to answer with.
        _ => Ok(()),
    }
}

impl<'a> Telephone<'a> {
    fn open(
        settings: &'a Settings,
        stimuli: &'a [Stimulus],
        clock: &Arc<SystemClock>,
        progress: &'a mut dyn FnMut(&str),
    ) -> io::Result<Self> {
        let server = settings.target.server;
        let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
        let probe = UdpSocket::bind(any)?;
        probe.connect(server)?;
        let local = probe.local_addr()?.ip();
        let socket = UdpSocket::bind((local, 0))?;
        let ports = Ports::bind(local)?;
        let mut seed = fastrand::Rng::with_seed(settings.seed);
        // Whoever is called may be anywhere, and its requests within the call are to be answered.
        let trusted = config::Network::parse(&server.ip().to_canonical().to_string()).into_iter().collect();
        let sip = config::Sip { trusted, ..config::Sip::default() };
        let negotiation = Negotiation::new(seed.u64(..1 << 62), ports.local).offering(&OFFERED);
        let product = concat!("offhook-call/", env!("CARGO_PKG_VERSION"));
        Ok(Self {
            settings,
            stimuli,
            clock: clock.clone(),
            // Tags and branches are not to be guessed, whatever the seed of the weather is.
            agent: UserAgent::new(&sip, product, fastrand::Rng::new()),
            flow: Flow::udp(server, socket.local_addr()?),
            socket,
            negotiation,
            ports: Some(ports),
            line: None,
            codec: Codec::Pcmu,
            talk: Talk::new(settings.talk),
            events: line::events(),
            call: None,
            call_id: String::new(),
            placed_at: clock.now(),
            answered_at: None,
            first_loud: None,
            capture: Capture::default(),
            exchanges: Vec::new(),
            registered: None,
            over: None,
            we_hung_up: false,
            progress,
        })
    }

    /// Starts to read the SIP socket; the flag ends it.
    fn read_sip(&self) -> io::Result<(std::thread::JoinHandle<()>, Arc<AtomicBool>)> {
        let (socket, events) = (self.socket.try_clone()?, self.events.0.clone());
        socket.set_read_timeout(Some(LOOK))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let body = move || {
            let mut bytes = [0; sip::DATAGRAM_BYTES_MAX];
            while !stopped.load(Ordering::Acquire) {
                // An error is that nothing came, or that nobody is there: the retransmissions' end tells.
                if let Ok((len, source)) = socket.recv_from(&mut bytes) {
                    let _ = events.try_send(Event::Sip(bytes[..len].to_vec(), source));
                }
            }
        };
        Ok((std::thread::Builder::new().name("phone-sip".into()).spawn(body)?, stop))
    }

    fn login(&self) -> Option<Login> {
        let password = self.settings.password.clone()?;
        Some(Login { user: self.settings.user.clone(), password })
    }

    fn address(&self) -> String {
        format!("sip:{}@{}", self.settings.user, self.settings.target.domain)
    }

    fn talk(&mut self, stop: &AtomicBool) -> Result<(), String> {
        if self.settings.register {
            self.register(EXPIRES_S);
            self.until(stop, Some(UNANSWERED), |telephone| telephone.registered.is_some());
            if self.registered.is_none() && !stop.load(Ordering::Acquire) {
                (self.progress)(&format!("no answer from {} yet", self.settings.target.server));
                self.until(stop, None, |telephone| telephone.registered.is_some());
            }
            let address = self.address();
            match self.registered.take() {
                Some(Ok(())) => (self.progress)(&format!("registered as {address}")),
                Some(Err(reason)) => {
                    return Err(format!("cannot register as {address}: {reason}{}", self.hint(&reason)));
                }
                None => return Err("interrupted".to_owned()),
            }
        }
        self.place();
        self.until(stop, None, |telephone| telephone.over.is_some());
        match (&self.over, self.answered_at) {
            (Some(reason), None) => Err(format!("{}: {reason}{}", self.settings.target.uri, self.hint(reason))),
            (None, None) => Err("interrupted".to_owned()),
            _ => Ok(()),
        }
    }

    /// What a user can do about a refusal.
    fn hint(&self, reason: &str) -> &'static str {
        let refused = ["401", "403", "407"].iter().any(|status| reason.contains(status));
        match () {
            () if refused && self.settings.password.is_none() => {
                "; give --user, and the password in OFFHOOK_CALL_PASSWORD"
            }
            () if refused => "; are --user and OFFHOOK_CALL_PASSWORD right?",
            () if reason.contains("no answer from") => "; is it running there, and is the port right?",
            () if reason.contains("405") || reason.contains("501") => "; it is no registrar: try --no-register",
            () => "",
        }
    }

    fn register(&mut self, expires_s: u32) {
        let registrar = format!("sip:{}:{}", self.settings.target.domain, self.flow.peer.port());
        let registration =
            Registration { flow: self.flow, registrar, aor: self.address(), expires_s, login: self.login() };
        self.command(Command::Register(Box::new(registration)));
    }

    fn place(&mut self) {
        let sdp = self.negotiation.offer();
        let (target, from) = (self.settings.target.uri.clone(), self.address());
        self.placed_at = self.clock.now();
        (self.progress)(&format!("calling {target}"));
        self.command(Command::Place(Box::new(Outbound { flow: self.flow, from, target, sdp, login: self.login() })));
    }

    fn command(&mut self, command: Command) {
        self.agent.handle_input(sip::Input::Command(command), self.clock.now());
        self.obey();
    }

    /// Runs until `done`, the time is up, or somebody stops it.
    fn until(&mut self, stop: &AtomicBool, max: Option<Duration>, done: impl Fn(&Self) -> bool) {
        let give_up_at = max.map(|max| self.clock.now() + max);
        while !done(self) && !stop.load(Ordering::Acquire) {
            let now = self.clock.now();
            if give_up_at.is_some_and(|at| at <= now) {
                return;
            }
            let dues =
                [self.agent.poll_timeout().map(|due| due.at), self.talk.poll_timeout().map(|due| due.at), give_up_at];
            let wait = dues.into_iter().flatten().min().map_or(LOOK, |at| at.since(now).min(LOOK));
            if let Ok(event) = self.events.1.recv_timeout(wait) {
                self.event(event);
            }
            let now = self.clock.now();
            self.agent.handle_timeout(now);
            self.obey();
            self.talk.handle_timeout(now);
            self.follow();
        }
    }

    fn event(&mut self, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Sip(bytes, source) => {
                let flow = Flow { peer: source, ..self.flow };
                self.agent.handle_input(sip::Input::Received { flow, bytes: &bytes }, now);
                self.obey();
            }
            Event::Line(News::Received(received)) => {
                let loud = Packet::parse(&received.bytes).is_ok_and(|packet| {
                    let mut pcm = vec![0; packet.payload.len()];
                    self.codec.decode(packet.payload, &mut pcm);
                    dbov(&pcm) >= LOUD_DBOV
                });
                if loud {
                    self.first_loud.get_or_insert(received.at);
                }
                if self.capture.received.len() < super::capture::PACKETS_MAX {
                    self.capture.received.push(received);
                }
                self.talk.handle_input(talk::Input::Heard { loud }, now);
            }
            Event::Line(News::Sent(sent)) => {
                if self.capture.sent.len() < super::capture::PACKETS_MAX {
                    self.capture.sent.push(sent);
                }
            }
            Event::Line(News::Began { first_sample, at }) => {
                if let Some(under) = self.exchanges.last_mut() {
                    under.first_sample = Some(first_sample);
                    under.began = at;
                }
            }
            Event::Line(News::Said) => self.talk.handle_input(talk::Input::Said, now),
        }
        self.follow();
    }

    /// Does what the talk wants.
    fn follow(&mut self) {
        while let Some(output) = self.talk.poll_output() {
            let now = self.clock.now();
            match output {
                talk::Output::Say { turn, quiet_since } => {
                    let stimulus = &self.stimuli[turn % self.stimuli.len()];
                    if let Some(line) = &self.line {
                        line.say(stimulus.pcm.clone().into());
                    }
                    self.exchanges.push(Under { turn, quiet_since, first_sample: None, began: now, ended: None });
                }
                talk::Output::Over { turn } => {
                    if let Some(under) = self.exchanges.iter_mut().find(|under| under.turn == turn) {
                        under.ended = Some(now);
                    }
                }
                talk::Output::HangUp => self.hang_up(),
            }
        }
    }

    fn hang_up(&mut self) {
        if let Some(call) = self.call {
            self.we_hung_up = true;
            self.command(Command::HangUp { call, reason: "the conversation is over".to_owned() });
        }
    }

    /// Does what the user agent wants.
    fn obey(&mut self) {
        while let Some(output) = self.agent.poll_output() {
            match output {
                // What the system does not take is sent again, or told as unanswered.
                sip::Output::Transmit { to, bytes } => drop(self.socket.send_to(&bytes, to.peer)),
                sip::Output::Event(event) => self.sip_event(event),
            }
        }
    }

    fn sip_event(&mut self, event: sip::Event) {
        let now = self.clock.now();
        match event {
            sip::Event::RegisterAnswered { status, reason } => {
                self.registered = Some(if (200..300).contains(&status) { Ok(()) } else { Err(reason) });
            }
            sip::Event::Placed { call, call_id } => {
                self.call = Some(call);
                self.call_id = call_id;
            }
            sip::Event::Answered { call, answer } => self.answered(call, &answer, now),
            sip::Event::Ended { reason, .. } => {
                self.over = Some(reason);
                self.talk.handle_input(talk::Input::HungUp, now);
            }
            // Holding, a new address: answered as the call stands, which is enough to measure it.
            sip::Event::Reoffered { call, offer } => {
                let sdp = offer.and_then(|offer| self.negotiation.answer(&offer).ok()).map(|(sdp, _)| sdp);
                let sdp = sdp.or_else(|| Some(self.negotiation.offer()));
                self.agent.handle_input(sip::Input::Command(Command::AcceptReoffer { call, sdp }), now);
            }
            sip::Event::Invited(invitation) => {
                let refusal = Refusal { status: 486, warning: None, retry_after_s: None };
                let command = Command::Refuse { call: invitation.call, refusal };
                self.agent.handle_input(sip::Input::Command(command), now);
            }
            _ => {}
        }
    }

    fn answered(&mut self, call: CallId, answer: &[u8], now: Instant) {
        let agreed = match self.negotiation.read_answer(answer) {
            Ok(agreed) => agreed,
            Err(error) => {
                self.over = Some(format!("its session description: {error}"));
                let reason = "its session description cannot be used".to_owned();
                self.agent.handle_input(sip::Input::Command(Command::HangUp { call, reason }), now);
                return;
            }
        };
        self.codec = if agreed.encoding == Encoding::Pcma { Codec::Pcma } else { Codec::Pcmu };
        let remote =
            agreed.remote.known().unwrap_or_else(|| SocketAddr::new(self.flow.peer.ip(), agreed.remote.port()));
        let Some(ports) = self.ports.take() else { return };
        let (weather, seed) = (self.settings.weather, self.settings.seed);
        let route = Route { remote, codec: self.codec, weather, seed, timestamp: RtpTimestamp(seed as u32) };
        match Line::start(ports, route, &self.clock, &self.events.0, Event::Line) {
            Ok(line) => self.line = Some(line),
            Err(error) => {
                self.over = Some(format!("cannot send audio: {error}"));
                return;
            }
        }
        self.answered_at = Some(now);
        let after = now.since(self.placed_at).as_millis();
        (self.progress)(&format!("answered after {after} ms, {}", self.codec.name()));
        self.talk.handle_input(talk::Input::Answered, now);
    }

    /// Leaves nothing behind: no call, no registration, no thread.
    fn leave(&mut self) {
        let go_on = AtomicBool::new(false);
        if self.over.is_none() {
            self.hang_up();
        }
        self.until(&go_on, Some(GOODBYE_MAX), |telephone| telephone.agent.transactions().1 == 0);
        if let Some(line) = self.line.take() {
            line.stop();
        }
        if self.settings.register && self.answered_at.is_some() {
            self.registered = None;
            self.register(0);
            self.until(&go_on, Some(GOODBYE_MAX), |telephone| telephone.registered.is_some());
        }
    }

    fn outcome(mut self) -> Result<Outcome, String> {
        let answered_at = self.answered_at.ok_or("there was no call")?;
        let end = self.clock.now();
        let stream = Stream::of(&self.capture.received, self.codec);
        let mut outcome = Outcome {
            call_id: std::mem::take(&mut self.call_id),
            answered_after: answered_at.since(self.placed_at),
            codec: self.codec,
            said: Vec::new(),
            heard: Vec::new(),
            results: Vec::new(),
            greeting_after: self.first_loud.map(|at| at.since(answered_at)),
            ended_by_agent: self.over.take().filter(|_| !self.we_hung_up),
            capture: std::mem::take(&mut self.capture),
            stream,
        };
        for under in &self.exchanges {
            let stimulus = &self.stimuli[under.turn % self.stimuli.len()];
            let result = match under.first_sample {
                Some(first) => {
                    outcome.said.push((under.turn, first));
                    let exchange = Exchange {
                        speech_end: first + stimulus.speech_end as u64 - 1,
                        began: under.began,
                        quiet_since: under.quiet_since + DECAY,
                        ended: under.ended.unwrap_or(end),
                    };
                    measure(&outcome.capture, &outcome.stream, &exchange)
                }
                None => Err(Discard::SpeechEndNotFound),
            };
            outcome.heard.push((under.began, under.ended.unwrap_or(end)));
            outcome.results.push(result);
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_port_is_told_before_anything_is_sent_to_it() {
        let open = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = open.local_addr().expect("an address");
        assert_eq!(anybody(address), Ok(()));
        drop(open);
        let told = anybody(address).expect_err("nobody is there");
        assert_eq!(told, format!("nobody listens on UDP {address}: is it running there, and is the port right?"));
    }

    #[test]
    fn what_is_called_may_leave_out_what_goes_without_saying() {
        let target = Target::read("1000@127.0.0.1").expect("a target");
        assert_eq!((target.uri.as_str(), target.server), ("sip:1000@127.0.0.1", ([127, 0, 0, 1], 5060).into()));
        let target = Target::read("sip:agent@[::1]:5070").expect("a target");
        assert_eq!(target.server.to_string(), "[::1]:5070");
        for wrong in ["", "sip:", "sips:1000@127.0.0.1", "sip:1000@127.0.0.1;transport=tcp", "sip:1000@host.invalid"] {
            let error = Target::read(wrong).expect_err("it is wrong");
            assert!(error.contains("it may be sip:1000@127.0.0.1:5060"), "{error}");
        }
    }
}
