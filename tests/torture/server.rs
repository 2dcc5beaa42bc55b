//! A server that answers each call as the engine does: user agent, offer and answer, and no more.

use offhook::config;
use offhook::sdp::{Agreed, Negotiation};
use offhook::sip::flow::Flow;
use offhook::sip::lexer::{StartLine, lex};
use offhook::sip::{Command, Counters, Event, Input, Invitation, Output, Refusal, UserAgent};
use offhook::time::Instant;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// A message that the server sent.
#[derive(Clone)]
pub struct Sent {
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

impl Sent {
    /// The status of a response.
    pub fn status(&self) -> u16 {
        match lex(&self.bytes).expect("a message").start {
            StartLine::Status { code } => code,
            StartLine::Request { .. } => panic!("a request"),
        }
    }

    /// The value of the first header called `name`.
    pub fn header(&self, name: &str) -> Option<String> {
        lex(&self.bytes)?.values(name).next().map(str::to_owned)
    }

    /// The body, as text.
    pub fn body(&self) -> String {
        String::from_utf8_lossy(lex(&self.bytes).expect("a message").body).into_owned()
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "to {}:\n{}", self.to, String::from_utf8_lossy(&self.bytes))
    }
}

/// What came of a message.
#[derive(Debug, Default)]
pub struct Outcome {
    pub sent: Vec<Sent>,
    pub invitation: Option<Invitation>,
    pub agreed: Option<Agreed>,
    /// Address-of-record and contact of each registration.
    pub bindings: Vec<(String, String)>,
}

impl Outcome {
    pub fn last(&self) -> Option<&Sent> {
        self.sent.last()
    }
}

/// The server.
pub struct Server {
    ua: UserAgent,
    now: Instant,
}

impl Server {
    pub fn new() -> Self {
        let ua = UserAgent::new(&config::Sip::default(), "Offhook/0", fastrand::Rng::with_seed(4475));
        Self { ua, now: Instant::ZERO }
    }

    /// Hands a datagram in, and answers the call that it may be.
    pub fn receive(&mut self, source: &str, bytes: &[u8]) -> Outcome {
        let source: SocketAddr = source.parse().expect("an address");
        let local = if source.is_ipv4() { "127.0.0.1:5060" } else { "[fd00::1]:5060" };
        let local = local.parse().expect("an address");
        self.ua.handle_input(Input::Received { flow: Flow::udp(source, local), bytes }, self.now);
        self.drain()
    }

    /// What the user agent has counted.
    pub fn counters(&self) -> &Counters {
        self.ua.counters()
    }

    /// Ends the call that is up, and returns its BYE.
    pub fn hang_up(&mut self, invitation: &Invitation) -> Sent {
        let over = Command::HangUp { call: invitation.call, reason: "over".to_owned() };
        self.ua.handle_input(Input::Command(over), self.now);
        self.drain().sent.pop().expect("a BYE")
    }

    /// Lets time pass, and returns how many messages were sent in it.
    pub fn wait(&mut self, duration: Duration) -> usize {
        self.now += duration;
        self.ua.handle_timeout(self.now);
        self.drain().sent.len()
    }

    fn drain(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some(output) = self.ua.poll_output() {
            match output {
                Output::Transmit { to, bytes } => outcome.sent.push(Sent { to: to.peer, bytes }),
                Output::Event(Event::Invited(invitation)) => {
                    let command = answer(&invitation, &mut outcome.agreed);
                    outcome.invitation = Some(invitation);
                    self.ua.handle_input(Input::Command(command), self.now);
                }
                Output::Event(_) => {}
            }
        }
        outcome.bindings = self.ua.bindings().map(|binding| (binding.aor.clone(), binding.contact.clone())).collect();
        outcome
    }
}

fn answer(invitation: &Invitation, agreed: &mut Option<Agreed>) -> Command {
    let call = invitation.call;
    let mut negotiation = Negotiation::new(1, SocketAddr::new(invitation.local, 10_000));
    let Some(offer) = &invitation.offer else {
        return Command::Answer { call, sdp: negotiation.offer() };
    };
    match negotiation.answer(offer) {
        Ok((sdp, found)) => {
            *agreed = Some(found);
            Command::Answer { call, sdp }
        }
        Err(error) => {
            let warning = Some(error.warning());
            Command::Refuse { call, refusal: Refusal { status: error.status(), warning, retry_after_s: None } }
        }
    }
}
