//! The world of these tests: a virtual clock, a seeded network, callers, and the engine's machines wired as its threads do.

pub mod caller;
pub mod marks;
pub mod network;
pub mod script;

pub use caller::Caller;
pub use marks::{filler_of, voice_of};
pub use network::Weather;
pub use script::{Event, Reply, SAMPLES_PER_BYTE, Script, Voice, failure};

use network::{Datagram, Network, Port};
use offhook::agent::{self, Agent, DraftNews, EarsEvent, Phrase, VoiceEvent};
use offhook::call::digits::{Digits, Way};
use offhook::call::lifecycle::{self, Lifecycle};
use offhook::call::{Call, CallCommand, CallEvent, EarFrame, Heard, Measure, Rings, Setup, Wire};
use offhook::config;
use offhook::engine::conductor;
use offhook::engine::kept::{self, Kept};
use offhook::engine::rings::{self, FarEnds};
use offhook::ids::{CallId, TurnId};
use offhook::providers::Bell;
use offhook::rtp::keypad::Presses;
use offhook::rtp::latch;
use offhook::sdp::{Agreed, Negotiation};
use offhook::sip::flow::Flow;
use offhook::sip::{self, Command, EndedBy, Invitation, Refusal, UserAgent};
use offhook::time::Instant;
use rtrb::{Consumer, Producer};
use script::{Order, Providers};
use std::collections::{BTreeMap, VecDeque};
use std::f32::consts::TAU;
use std::net::SocketAddr;
use std::time::Duration;

/// The agent's SIP address.
pub const AGENT: &str = "10.0.0.1:5060";
/// Log lines shown when a test fails.
const LOG_LINES: usize = 60;
/// How much of each.
const LINE_CHARS: usize = 160;
/// Steps at one moment after which the machines go round in circles.
const ROUNDS_MAX: u32 = 1000;

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Returns the seeds to run a test with: so many, or the one that `SIM_SEED` names.
pub fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SIM_SEED") {
        Ok(seed) => vec![seed.parse().expect("SIM_SEED is a number")],
        Err(_) => (1..=count).collect(),
    }
}

/// Returns `millis` of a caller's voice: 125 Hz and its overtones, swelling a little.
pub fn caller_voice(millis: usize) -> Vec<i16> {
    // 125 Hz come round in 64 samples, and what swells it, 4 Hz, in 2000.
    let tones: [f32; 64] = std::array::from_fn(|n| {
        (1..24u8).map(|k| (TAU * 125.0 * f32::from(k) * n as f32 / 8000.0).sin() / f32::from(k)).sum()
    });
    let swell = |n: usize| 0.8 + 0.2 * (TAU * (n % 2000) as f32 / 2000.0).sin();
    (0..millis * 8).map(|n| (5000.0 * swell(n) * tones[n % 64]) as i16).collect()
}

/// A call at the agent's side.
pub struct Line {
    lifecycle: Lifecycle,
    negotiation: Negotiation,
    answer: Vec<u8>,
    agreed: Option<Agreed>,
    source: SocketAddr,
    media_address: SocketAddr,
    pub call: Option<Box<Call>>,
    idle: Option<Rings>,
    agent: Agent,
    commands: Producer<CallCommand>,
    kept: Kept,
    /// What the voice would say of kept phrases that are played.
    played: VecDeque<(TurnId, VoiceEvent)>,
    media: Consumer<CallEvent>,
    frames: Consumer<EarFrame>,
    pub providers: Providers,
    waiting: VecDeque<CallCommand>,
    digits: Digits,
    /// Every event of the media path, and when the conductor had it.
    pub events: Vec<(Instant, CallEvent)>,
    /// Fillers that were ordered.
    pub fillers: Vec<(Instant, String)>,
    /// What the recogniser said, and what the agent wanted done, all in order.
    pub ears: Vec<(Instant, EarsEvent)>,
    pub orders: Vec<(Instant, agent::Output)>,
    /// What became of each draft.
    pub drafts: Vec<(Instant, TurnId, DraftNews)>,
    /// What the caller said that was nothing to answer.
    pub asides: Vec<(String, agent::Verdict)>,
    /// The latest record of each turn.
    pub turns: BTreeMap<TurnId, agent::TurnRecord>,
    /// Measured on the media path.
    pub pacing_max: Duration,
    pub ended: Option<(Instant, EndedBy, String)>,
    /// When the conductor wakes for what has come.
    wakes: Option<Instant>,
    /// When it looks again whether there is room for what is kept.
    pumps: Option<Instant>,
    hang_up: Option<(EndedBy, String)>,
}

impl Line {
    /// Returns what the agent was heard to say, turn by turn.
    pub fn said(&self) -> Vec<&str> {
        self.turns.values().map(|turn| turn.agent.as_str()).filter(|text| !text.is_empty()).collect()
    }

    pub fn digits(&self) -> String {
        let digit = |(_, event): &(Instant, CallEvent)| match event {
            CallEvent::Digit { digit, .. } => Some(*digit),
            _ => None,
        };
        self.events.iter().filter_map(digit).collect()
    }

    fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        let lifecycle = self.lifecycle.poll_timeout().map(|due| due.at);
        let agent = self.agent.poll_timeout().map(|due| due.at);
        let media = self.call.as_ref().map(|call| call.poll_timeout());
        if let Some(wakes) = self.wakes {
            return lifecycle.into_iter().chain(media).chain([wakes]).min();
        }
        lifecycle.into_iter().chain(self.pumps).chain(agent).chain(media).chain(self.providers.poll_timeout(now)).min()
    }
}

/// Where a call's packets go.
struct Out<'a> {
    now: Instant,
    network: &'a mut Network,
    source: SocketAddr,
    pacing_max: &'a mut Duration,
}

impl Wire for Out<'_> {
    fn send(&mut self, rtcp: bool, to: SocketAddr, bytes: &[u8]) -> Option<Instant> {
        let port = if rtcp { Port::Rtcp } else { Port::Rtp };
        self.network.send(Datagram { port, source: self.source, to, bytes: bytes.to_vec() }, false, self.now);
        Some(self.now)
    }

    fn measure(&mut self, what: Measure, value: Duration) {
        if what == Measure::PacingError {
            *self.pacing_max = value.max(*self.pacing_max);
        }
    }
}

pub struct World {
    pub now: Instant,
    seed: u64,
    rng: fastrand::Rng,
    pub network: Network,
    pub ua: UserAgent,
    settings: config::Agent,
    pub guard: latch::Settings,
    pub silence_max: Duration,
    /// The longest that a conductor takes to wake.
    pub lag_max: Duration,
    pub callers: Vec<Caller>,
    pub lines: BTreeMap<CallId, Line>,
    /// What the next call's providers do.
    scripts: VecDeque<Script>,
    pub sip_events: Vec<(Instant, sip::Event)>,
    log: VecDeque<String>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self::with(seed, config::Agent { greeting: "Hello.".into(), ..config::Agent::default() })
    }

    pub fn with(seed: u64, settings: config::Agent) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let ua = UserAgent::new(&config::Sip::default(), "Offhook/0", rng.fork());
        Self {
            // Not zero, where a time that was never set would go unnoticed.
            now: Instant::from_millis(10_000),
            seed,
            network: Network::new(rng.u64(..)),
            rng,
            ua,
            settings,
            guard: latch::Settings::default(),
            silence_max: config::Media::default().silence_max,
            lag_max: Duration::ZERO,
            callers: Vec::new(),
            lines: BTreeMap::new(),
            scripts: VecDeque::new(),
            sip_events: Vec::new(),
            log: VecDeque::new(),
        }
    }

    /// Adds a caller; the first is number 0.
    pub fn add_caller(&mut self) -> usize {
        let n = self.callers.len();
        self.callers.push(Caller::new(n as u8, AGENT.parse().expect("an address"), &mut self.rng));
        n
    }

    /// Says what the providers of the next call do.
    pub fn script(&mut self, script: Script) {
        self.scripts.push_back(script);
    }

    /// A world with one caller in a confirmed call, in the moment when the 200 has reached it.
    pub fn talking(seed: u64, settings: config::Agent, script: Script) -> Self {
        let mut world = Self::with(seed, settings);
        world.script(script);
        world.add_caller();
        world.callers[0].invite(world.now);
        assert!(world.run_until(ms(2000), |world| world.callers[0].got("200").is_some()), "the call is answered");
        world
    }

    pub fn caller(&mut self) -> &mut Caller {
        &mut self.callers[0]
    }

    /// The first call.
    pub fn line(&mut self) -> &mut Line {
        self.lines.values_mut().next().expect("there is a call")
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.run_until(time, |_| false);
        self.now = end;
    }

    /// Runs until `done`, at most for `limit`; returns whether it is.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.step();
            if done(self) {
                return true;
            }
            match self.poll_timeout().map(|at| at.max(self.now)).filter(|at| *at <= end) {
                Some(at) => self.now = at.max(self.now),
                None => {
                    self.now = end;
                    return false;
                }
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let lines = self.lines.values().filter_map(|line| line.poll_timeout(self.now));
        let callers = self.callers.iter().filter_map(Caller::poll_timeout);
        let ua = self.ua.poll_timeout().map(|due| due.at);
        lines.chain(callers).chain(ua).chain(self.network.poll_timeout()).min()
    }

    /// Does all that is due now, until nothing is.
    fn step(&mut self) {
        let now = self.now;
        for _ in 0..ROUNDS_MAX {
            while let Some(datagram) = self.network.arrived(now) {
                self.deliver(&datagram);
            }
            for caller in &mut self.callers {
                caller.handle_timeout(now);
                while let Some(datagram) = caller.poll_output() {
                    self.network.send(datagram, true, now);
                }
            }
            self.ua.handle_timeout(now);
            self.obey_user_agent();
            let calls: Vec<CallId> = self.lines.keys().copied().collect();
            for id in calls {
                self.run_lifecycle(id);
                self.run_line(id);
            }
            if self.poll_timeout().is_none_or(|at| at > now) {
                return;
            }
        }
        panic!("{:?} is always due", self.poll_timeout());
    }

    fn note(&mut self, text: String) {
        if self.log.len() == LOG_LINES {
            self.log.pop_front();
        }
        let text: String = text.chars().take(LINE_CHARS).collect();
        self.log.push_back(format!("{:>9.3} ms  {text}", self.now.as_nanos() as f64 / 1e6));
    }

    fn deliver(&mut self, datagram: &Datagram) {
        let now = self.now;
        if let Some(caller) = self.callers.iter_mut().find(|caller| caller.sip.ip() == datagram.to.ip()) {
            caller.handle(datagram, now);
        } else if datagram.port == Port::Sip {
            let flow = Flow::udp(datagram.source, datagram.to);
            let input = sip::Input::Received { flow, bytes: &datagram.bytes };
            self.ua.handle_input(input, now);
            self.obey_user_agent();
        } else {
            let port = datagram.to.port() & !1;
            let line = self.lines.values_mut().find(|line| line.media_address.port() == port);
            let Some(Line { call: Some(call), media_address, pacing_max, .. }) = line else { return };
            let mut out = Out { now, network: &mut self.network, source: *media_address, pacing_max };
            call.datagram(datagram.port == Port::Rtcp, datagram.source, &datagram.bytes, now, &mut out);
        }
    }

    fn obey_user_agent(&mut self) {
        while let Some(output) = self.ua.poll_output() {
            match output {
                sip::Output::Transmit { to, bytes } => {
                    let first = String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().to_owned();
                    self.note(format!("agent sends {first}"));
                    let source = AGENT.parse().expect("an address");
                    self.network.send(Datagram { port: Port::Sip, source, to: to.peer, bytes }, false, self.now);
                }
                sip::Output::Event(event) => {
                    self.note(format!("{event:?}"));
                    self.sip_events.push((self.now, event.clone()));
                    self.sip_event(event);
                }
            }
        }
    }

    pub fn command(&mut self, command: Command) {
        self.ua.handle_input(sip::Input::Command(command), self.now);
        self.obey_user_agent();
    }

    fn sip_event(&mut self, event: sip::Event) {
        match event {
            sip::Event::Invited(invitation) => self.invited(&invitation),
            sip::Event::Confirmed { call, answer } => {
                let Some(line) = self.lines.get_mut(&call) else { return };
                if let (None, Some(answer)) = (line.agreed, answer) {
                    line.agreed = Some(line.negotiation.read_answer(&answer).expect("the caller answers our offer"));
                    self.begin_media(call);
                }
                if let Some(line) = self.lines.get_mut(&call) {
                    line.lifecycle.handle_input(lifecycle::Input::Confirmed, self.now);
                }
                self.run_lifecycle(call);
            }
            sip::Event::Reoffered { call, offer } => {
                let now = self.now;
                let Some(line) = self.lines.get_mut(&call) else { return };
                let Some(offer) = offer else {
                    let sdp = Some(line.negotiation.offer());
                    return self.command(Command::AcceptReoffer { call, sdp });
                };
                let mut held = None;
                let command = match line.negotiation.answer(&offer) {
                    Ok((sdp, agreed)) => {
                        line.agreed = Some(agreed);
                        held = Some(agreed.held);
                        line.call.iter_mut().for_each(|media| media.change(&agreed, now));
                        Command::AcceptReoffer { call, sdp: Some(sdp) }
                    }
                    Err(error) => Command::RefuseReoffer { call, refusal: refusal(error.status()) },
                };
                self.command(command);
                held.into_iter().for_each(|held| self.tell(call, agent::Input::Held(held)));
            }
            sip::Event::Digit { call, digit, .. } => self.digit(call, digit, Way::Info, self.now),
            sip::Event::Ended { call, by, reason } => self.ended(call, by, reason),
            // Transfers and refreshes by re-INVITE are tried with real telephones: tests/interop.
            _ => {}
        }
    }

    fn invited(&mut self, invitation: &Invitation) {
        let id = invitation.call;
        let media_address = SocketAddr::new(invitation.local, 10_000 + 2 * id.0 as u16);
        let mut negotiation = Negotiation::new(self.rng.u64(..1 << 62), media_address);
        let (answer, agreed) = match &invitation.offer {
            Some(offer) => match negotiation.answer(offer) {
                Ok((answer, agreed)) => (answer, Some(agreed)),
                Err(error) => return self.command(Command::Refuse { call: id, refusal: refusal(error.status()) }),
            },
            None => (negotiation.offer(), None),
        };
        let script = self.scripts.pop_front().unwrap_or_default();
        let (rings, FarEnds { ears: frames, voice: speech, kept, commands, events: media }) = rings::of_a_call();
        let mut agent = Agent::new(&self.settings);
        if script.phrases {
            for phrase in Phrase::all(&self.settings) {
                agent.handle_input(agent::Input::PhraseReady(phrase), self.now);
            }
        }
        let ready = script.phrases || self.settings.greeting.is_empty();
        let line = Line {
            lifecycle: Lifecycle::new(ready, self.now),
            negotiation,
            answer,
            agreed,
            source: invitation.source,
            media_address,
            call: None,
            idle: Some(rings),
            agent,
            commands,
            kept: Kept::new(kept, Bell::for_thread(std::thread::current())),
            played: VecDeque::new(),
            media,
            frames,
            providers: Providers::new(script, speech),
            waiting: VecDeque::new(),
            digits: Digits::new(),
            events: Vec::new(),
            fillers: Vec::new(),
            ears: Vec::new(),
            orders: Vec::new(),
            drafts: Vec::new(),
            asides: Vec::new(),
            turns: BTreeMap::new(),
            pacing_max: Duration::ZERO,
            ended: None,
            wakes: None,
            pumps: None,
            hang_up: None,
        };
        self.lines.insert(id, line);
        self.run_lifecycle(id);
    }

    fn run_lifecycle(&mut self, id: CallId) {
        if let Some(line) = self.lines.get_mut(&id) {
            line.lifecycle.handle_timeout(self.now);
        }
        while let Some(output) = self.lines.get_mut(&id).and_then(|line| line.lifecycle.poll_output()) {
            match output {
                lifecycle::Output::Ring => self.command(Command::Ring { call: id }),
                lifecycle::Output::Answer => {
                    let sdp = self.lines[&id].answer.clone();
                    self.command(Command::Answer { call: id, sdp });
                    self.begin_media(id);
                }
                lifecycle::Output::Greet => self.tell(id, agent::Input::Answered),
            }
        }
    }

    fn begin_media(&mut self, id: CallId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let (Some(agreed), None) = (line.agreed, &line.ended) else { return };
        let Some(rings) = line.idle.take() else { return };
        let setup = Setup {
            id,
            agreed: &agreed,
            signalling: line.source.ip(),
            ntp_at_zero: 0,
            cname: "agent@offhook",
            guard: self.guard,
            port: line.media_address.port(),
            silence_max: self.silence_max,
            rings,
        };
        line.call = Some(Box::new(Call::new(setup, self.now, &mut self.rng)));
        self.tell(id, agent::Input::Held(agreed.held));
    }

    fn ended(&mut self, id: CallId, by: EndedBy, reason: String) {
        let now = self.now;
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.lifecycle.handle_input(lifecycle::Input::Ended, now);
        if let Some(mut call) = line.call.take() {
            let (source, pacing_max) = (line.media_address, &mut line.pacing_max);
            call.close(now, &mut Out { now, network: &mut self.network, source, pacing_max });
        }
        let (by, reason) = line.hang_up.take().unwrap_or((by, reason));
        line.ended = Some((now, by, reason));
        while let Some(event) = self.lines.get_mut(&id).and_then(|line| line.media.pop().ok()) {
            self.media_event(id, event);
        }
    }

    /// What the worker, the ears and the conductor do for one call.
    fn run_line(&mut self, id: CallId) {
        let now = self.now;
        loop {
            let Some(line) = self.lines.get_mut(&id).filter(|line| line.ended.is_none()) else { return };
            if let Some(call) = &mut line.call {
                let (source, pacing_max) = (line.media_address, &mut line.pacing_max);
                call.handle_timeout(now, &mut Out { now, network: &mut self.network, source, pacing_max });
            }
            while let Ok(frame) = line.frames.pop() {
                line.providers.hear(&frame, now);
            }
            line.providers.pump();
            if !self.is_awake(id) {
                return;
            }
            let mut worked = false;
            while let Some(event) = self.lines.get_mut(&id).and_then(|line| line.media.pop().ok()) {
                self.media_event(id, event);
                worked = true;
            }
            while let Some(event) = self.live(id).and_then(|line| line.providers.poll(now)) {
                self.provider_event(id, event);
                worked = true;
            }
            if let Some(line) = self.live(id) {
                line.agent.handle_timeout(now);
                line.kept.pump();
            }
            self.carry_out(id);
            let Some(line) = self.live(id) else { return };
            line.pumps = line.kept.waiting().then_some(now + kept::PUMP_EVERY);
            while let Some(command) = line.waiting.pop_front() {
                line.commands.push(command).expect("the ring has room");
                worked = true;
            }
            if !worked {
                return;
            }
        }
    }

    /// Whether the call's conductor is at work, for which it takes a while once there is some.
    fn is_awake(&mut self, id: CallId) -> bool {
        let (now, lag_max) = (self.now, self.lag_max.as_micros() as u64);
        let lag = if lag_max == 0 { return true } else { Duration::from_micros(self.rng.u64(0..=lag_max)) };
        let Some(line) = self.live(id) else { return false };
        if line.wakes.is_some() {
            return line.wakes.take_if(|at| *at <= now).is_some();
        }
        let agent = line.agent.poll_timeout().map(|due| due.at);
        let due = agent.into_iter().chain(line.pumps).chain(line.providers.poll_timeout(now)).min();
        let due = due.is_some_and(|at| at <= now);
        if due || !line.media.is_empty() || !line.waiting.is_empty() {
            line.wakes = Some(now + lag);
        }
        false
    }

    fn live(&mut self, id: CallId) -> Option<&mut Line> {
        self.lines.get_mut(&id).filter(|line| line.ended.is_none())
    }

    /// Lets the recogniser of the first call say something.
    pub fn ears(&mut self, event: EarsEvent) {
        let id = *self.lines.keys().next().expect("there is a call");
        self.provider_event(id, Event::Ears(event));
        self.step();
    }

    fn provider_event(&mut self, id: CallId, event: Event) {
        self.note(format!("{event:?}"));
        let now = self.now;
        match event {
            Event::Ears(event) => {
                if let Some(line) = self.lines.get_mut(&id) {
                    line.ears.push((now, event.clone()));
                    let heard = Heard::of(&event, line.agent.verdict(&event, now));
                    line.waiting.extend(heard.map(CallCommand::Ears));
                }
                self.tell(id, agent::Input::Ears(event));
            }
            Event::Mind(turn, event) => self.tell(id, agent::Input::Mind { turn, event }),
            Event::Voice(turn, event) => self.tell(id, agent::Input::Voice { turn, event }),
            Event::Audio(..) | Event::Whole(_) | Event::Order(_) => unreachable!("the voice keeps its audio to itself"),
        }
    }

    fn media_event(&mut self, id: CallId, event: CallEvent) {
        self.note(format!("{event:?}"));
        let now = self.now;
        if let Some(line) = self.lines.get_mut(&id) {
            line.events.push((now, event));
        }
        match event {
            CallEvent::Digit { digit, by, at } => self.digit(id, digit, by, at),
            CallEvent::Audio { audio, log } => {
                let finding = audio.finding.map(|finding| finding.to_string()).unwrap_or_default();
                self.note(format!("audio is {}, log {log}: {finding}", audio.state.name()));
            }
            CallEvent::Silent => self.hang_up(id, EndedBy::Engine, "no RTP from the peer".into()),
            _ => {}
        }
        if let Some(input) = conductor::input_of(event) {
            self.tell(id, input);
        }
    }

    fn digit(&mut self, id: CallId, digit: char, by: Way, at: Instant) {
        if self.lines.get_mut(&id).is_some_and(|line| line.digits.is_new(digit, by, at)) {
            self.tell(id, agent::Input::Digit(digit));
        }
    }

    fn tell(&mut self, id: CallId, input: agent::Input) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.agent.handle_input(input, self.now);
        self.carry_out(id);
    }

    fn carry_out(&mut self, id: CallId) {
        loop {
            self.obey_agent(id);
            let played = self.lines.get_mut(&id).and_then(|line| line.played.pop_front());
            let (Some((turn, event)), Some(line)) = (played, self.lines.get_mut(&id)) else { return };
            line.agent.handle_input(agent::Input::Voice { turn, event }, self.now);
        }
    }

    fn obey_agent(&mut self, id: CallId) {
        let now = self.now;
        while let Some(output) = self.lines.get_mut(&id).and_then(|line| line.agent.poll_output()) {
            self.note(format!("agent: {output:?}"));
            let Some(line) = self.lines.get_mut(&id) else { return };
            line.orders.push((now, output.clone()));
            match output {
                agent::Output::Ask { turn, messages, .. } => {
                    let last = format!("{:?}", messages.last());
                    line.providers.order(Order::Ask { turn, last }, now);
                }
                agent::Output::CancelAsk { turn } => line.providers.order(Order::CancelAsk(turn), now),
                agent::Output::Floor { turn, firm: false } => line.waiting.push_back(CallCommand::Grant(turn)),
                agent::Output::Floor { turn, firm: true } => line.waiting.push_back(CallCommand::GrantFirmly(turn)),
                agent::Output::Speak { turn, clause, text, last } => {
                    line.providers.order(Order::Speak { turn, clause, text, last }, now);
                }
                agent::Output::Play { turn, phrase } => {
                    let text = phrase.text(&self.settings).to_owned();
                    let pcm = voice_of(turn, text.len() * SAMPLES_PER_BYTE);
                    let length = Duration::from_micros(pcm.len() as u64 * 125);
                    let spoken = VoiceEvent::Spoken { text, end: length };
                    line.played.extend([(turn, spoken), (turn, VoiceEvent::Done { length })]);
                    line.kept.play(turn, pcm.into(), now);
                }
                agent::Output::Fill { turn, phrase } => {
                    let text = phrase.text(&self.settings);
                    line.fillers.push((now, text.to_owned()));
                    line.kept.fill(turn, filler_of(text.len() * SAMPLES_PER_BYTE).into(), now);
                }
                agent::Output::CancelSpeech { turn } => {
                    line.waiting.push_back(CallCommand::Withdraw(turn));
                    line.kept.cancel(turn);
                    line.providers.order(Order::CancelSpeech(turn), now);
                }
                agent::Output::ForceEndTurn => line.providers.force_end_turn(now),
                agent::Output::TurnEnded => {}
                agent::Output::Turn(record) => {
                    line.turns.insert(record.turn, record);
                }
                agent::Output::Aside { text, verdict } => line.asides.push((text, verdict)),
                agent::Output::Draft { turn, news } => line.drafts.push((now, turn, news)),
                agent::Output::SendDtmf { digits } => {
                    line.waiting.push_back(CallCommand::Press(Presses::parse(&digits).expect("keys")));
                }
                // There is no operator and no second telephone here; both are in tests/interop.
                agent::Output::RunTool { .. } | agent::Output::Transfer { .. } => {}
                agent::Output::HangUp { reason } => self.hang_up(id, EndedBy::Agent, reason),
            }
        }
    }

    fn hang_up(&mut self, call: CallId, by: EndedBy, reason: String) {
        if let Some(line) = self.live(call) {
            line.hang_up.get_or_insert((by, reason.clone()));
            self.command(Command::HangUp { call, reason });
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SIM_SEED={} replays it; what happened last:", self.seed);
            self.log.iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

fn refusal(status: u16) -> Refusal {
    Refusal { status, warning: None, retry_after_s: None }
}
