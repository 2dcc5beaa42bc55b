//! Text to text by Groq, or by any server that speaks OpenAI's chat completions, streamed over HTTPS.

mod connection;
mod exchange;
mod reply;
mod request;
mod sse;

use super::socket::is_loopback;
use super::tls::Trust;
use super::{MindCommand, MindIo, Request, Responder};
use crate::agent::{Failure, FailureKind, MindEvent};
use crate::config::Endpoint;
use crate::ids::TurnId;
use crate::time::Instant;
use connection::Tap;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use exchange::{Job, News, Retry, Task, Told, Worker};
use reply::Piece;
use request::Dialect;
use std::sync::Arc;
use std::time::Duration;

/// How long the first useful piece and each next one may take. Tokens of reasoning are of no use to a caller.
#[derive(Clone, Copy, Debug)]
struct Patience {
    first: Duration,
    next: Duration,
}

/// Groq answers within 0.3 s; after ten times that another try is the better bet.
const PATIENCE_GROQ: Patience = Patience { first: Duration::from_secs(3), next: Duration::from_secs(5) };
/// A server of one's own may have to load its model or to read a long prompt first.
const PATIENCE_OPENAI: Patience = Patience { first: Duration::from_secs(15), next: Duration::from_secs(10) };
/// Tries of one request. A pooled connection that the server has closed meanwhile costs one.
const TRIES_MAX: u32 = 3;
/// Of these, tries that ran into a deadline: two of them are as much silence as a caller bears.
const STALLS_MAX: u32 = 2;
/// The wait before the third try; the second follows at once.
const RETRY_WAIT: Duration = Duration::from_millis(250);
/// The longest wait that a server may ask for; a caller does not wait for longer.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(1);
/// How long after its last use a connection is used just to keep it: the pool drops it after 55 s, servers after 60 s and more.
const WARM_EVERY: Duration = Duration::from_secs(40);
/// Threads of one session: one that answers, one that warms a connection, and the drafts of a turn that are still being cut.
const WORKERS_MAX: usize = 5;
/// What workers may have told and the session not yet read.
const TOLD_MAX: usize = 256;

/// A server that completes chats. All calls share its connections.
pub struct Chat {
    server: Arc<Server>,
    patience: Patience,
}

/// The server, as its workers know it.
struct Server {
    name: &'static str,
    endpoint: Endpoint,
    agent: ureq::Agent,
    dialect: Dialect,
}

impl Chat {
    /// Groq, with the fields that its models want.
    #[must_use]
    pub fn groq(endpoint: &Endpoint) -> Self {
        Self::new("groq", endpoint, &Trust::web(), PATIENCE_GROQ)
    }

    /// Any OpenAI-compatible server, with fields that all of them know.
    #[must_use]
    pub fn openai(endpoint: &Endpoint) -> Self {
        Self::new("openai", endpoint, &Trust::web(), PATIENCE_OPENAI)
    }

    /// Checks the server's certificate against `trust`.
    #[must_use]
    pub fn with_trust(self, trust: &Trust) -> Self {
        Self::new(self.server.name, &self.server.endpoint, trust, self.patience)
    }

    /// Waits for at most `first` for the first words of a reply, and for at most `next` for each piece after them.
    #[must_use]
    pub fn with_patience(self, first: Duration, next: Duration) -> Self {
        Self { patience: Patience { first, next }, ..self }
    }

    fn new(name: &'static str, endpoint: &Endpoint, trust: &Trust, patience: Patience) -> Self {
        let agent = connection::agent(endpoint, trust);
        let server = Server { name, endpoint: endpoint.clone(), agent, dialect: Dialect::new(name == "groq") };
        Self { server: Arc::new(server), patience }
    }

    /// Asks the server for its models: whether it is there, takes the key and has the model. Blocks for 5 s at most.
    ///
    /// # Errors
    /// What is wrong, as one line for the operator.
    pub fn check(&self) -> Result<(), Failure> {
        self.usable()?;
        let list = self.server.models()?;
        let list: serde_json::Value = serde_json::from_str(&list).unwrap_or_default();
        let models = list.get("data").and_then(serde_json::Value::as_array).map_or(&[][..], Vec::as_slice);
        let names: Vec<&str> = models.iter().filter_map(|model| model.get("id")?.as_str()).collect();
        let wanted = self.server.endpoint.model.as_str();
        // Ollama lists `llama3:latest` for what it is asked as `llama3`; a server that lists nothing may have it.
        let is_wanted = |name: &&str| *name == wanted || name.split_once(':').is_some_and(|(name, _)| name == wanted);
        if names.is_empty() || names.iter().any(is_wanted) {
            return Ok(());
        }
        let settings = self.server.name.to_uppercase();
        let text = format!("there is no model {wanted}; {settings}_MODEL may be: {}", names.join(", "));
        Err(Failure { kind: FailureKind::Refused, text: self.server.told(&text) })
    }

    /// Refuses an address that would carry conversations in the clear.
    fn usable(&self) -> Result<(), Failure> {
        let url = &self.server.endpoint.base_url;
        let uri: Option<ureq::http::Uri> = url.parse().ok();
        let host = uri.as_ref().and_then(ureq::http::Uri::host).unwrap_or_default().trim_matches(['[', ']']);
        match uri.as_ref().and_then(ureq::http::Uri::scheme_str) {
            Some("https") if !host.is_empty() => Ok(()),
            Some("http") if is_loopback(host) => Ok(()),
            _ => {
                let text = format!("{url} does not begin with https://, nor is it http:// to loopback");
                Err(Failure { kind: FailureKind::Refused, text: self.server.told(&text) })
            }
        }
    }
}

impl Responder for Chat {
    fn name(&self) -> &'static str {
        self.server.name
    }

    fn run(&self, io: MindIo) {
        Session::new(self, io).run();
    }
}

/// One call's session.
struct Session<'a> {
    chat: &'a Chat,
    io: MindIo,
    jobs: Sender<Job>,
    queue: Receiver<Job>,
    told_to: Sender<Told>,
    told: Receiver<Told>,
    workers: usize,
    /// Jobs that are given out and not done.
    busy: usize,
    last_job: u64,
    /// When the connection is to be used again, if only to keep it.
    warm_at: Instant,
    asked: Option<Asked>,
}

/// The request that is being answered.
struct Asked {
    request: Request,
    job: u64,
    tap: Option<Arc<Tap>>,
    tries: u32,
    stalls: u32,
    with_tools: bool,
    /// Whether `Sent` was told.
    sent: bool,
    /// Whether something was passed on; from then on there is no other try.
    spoke: bool,
    /// When patience ends, or, without a tap, when the next try is due.
    due: Instant,
}

impl<'a> Session<'a> {
    fn new(chat: &'a Chat, io: MindIo) -> Self {
        let (jobs, queue) = bounded(WORKERS_MAX);
        let (told_to, told) = bounded(TOLD_MAX);
        let warm_at = io.clock.now();
        Self { chat, io, jobs, queue, told_to, told, workers: 0, busy: 0, last_job: 0, warm_at, asked: None }
    }

    fn run(mut self) {
        while !self.io.stop.raised() {
            loop {
                match self.io.commands.try_recv() {
                    Ok(MindCommand::Ask(request)) => self.ask(request),
                    Ok(MindCommand::Cancel(turn)) => self.cancel(turn),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return self.drop_asked(),
                }
            }
            while let Ok(told) = self.told.try_recv() {
                self.handle_told(told);
            }
            let now = self.io.clock.now();
            self.handle_timeout(now);
            let due = self.asked.as_ref().map_or(self.warm_at, |asked| asked.due);
            self.io.listener.wait(Some(due.since(now)));
        }
        self.drop_asked();
    }

    fn ask(&mut self, request: Request) {
        self.drop_asked();
        if let Err(failure) = self.chat.usable() {
            return self.io.events.send((request.turn, MindEvent::Failed(failure)));
        }
        self.asked = Some(Asked {
            request,
            job: 0,
            tap: None,
            tries: 0,
            stalls: 0,
            with_tools: true,
            sent: false,
            spoke: false,
            due: self.io.clock.now(),
        });
        self.attempt();
    }

    fn cancel(&mut self, turn: TurnId) {
        if self.asked.as_ref().is_some_and(|asked| asked.request.turn == turn) {
            self.drop_asked();
            // The cut connection is lost, and the next turn should not have to wait for another.
            self.warm();
        }
    }

    fn drop_asked(&mut self) {
        if let Some(tap) = self.asked.take().and_then(|asked| asked.tap) {
            tap.cut();
        }
    }

    /// Sends the request (again).
    fn attempt(&mut self) {
        let Some(asked) = &self.asked else { return };
        let server = &self.chat.server;
        let body = server.dialect.body(&server.endpoint.model, &asked.request, asked.with_tools);
        let given = self.give(Task::Ask(body));
        let now = self.io.clock.now();
        let first = self.chat.patience.first;
        let Some(asked) = &mut self.asked else { return };
        match given {
            Some((job, tap)) => {
                asked.job = job;
                asked.tap = Some(tap);
                asked.tries += 1;
                asked.due = now + first;
            }
            None => {
                let text = self.chat.server.told("all threads are busy");
                self.fail(Failure { kind: FailureKind::Stalled, text });
            }
        }
    }

    /// Has a connection opened, or one that is open kept.
    fn warm(&mut self) {
        self.warm_at = self.io.clock.now() + WARM_EVERY;
        // Where no thread is free, the next request opens its own connection.
        if self.chat.usable().is_ok() {
            let _ = self.give(Task::Warm);
        }
    }

    /// Gives a job to a worker, and starts one if none is free.
    fn give(&mut self, task: Task) -> Option<(u64, Arc<Tap>)> {
        if self.busy >= self.workers && self.workers < WORKERS_MAX {
            let worker = Worker {
                server: self.chat.server.clone(),
                clock: self.io.clock.clone(),
                jobs: self.queue.clone(),
                told: self.told_to.clone(),
                bell: self.io.listener.bell(),
            };
            let name = format!("{}-request", self.chat.server.name);
            if std::thread::Builder::new().name(name).spawn(move || worker.run()).is_ok() {
                self.workers += 1;
            }
        }
        if self.busy >= self.workers {
            return None;
        }
        self.last_job += 1;
        let (job, told, bell) = (self.last_job, self.told_to.clone(), self.io.listener.bell());
        let tap = Tap::new(self.io.clock.clone(), move |at| {
            if told.send(Told { job, at, news: News::Sent }).is_ok() {
                bell.ring();
            }
        });
        self.jobs.try_send(Job { id: job, tap: tap.clone(), task }).ok()?;
        self.busy += 1;
        Some((job, tap))
    }

    fn handle_told(&mut self, told: Told) {
        if let News::Free = told.news {
            self.warm_at = told.at + WARM_EVERY;
            self.busy = self.busy.saturating_sub(1);
            return;
        }
        let Some(asked) = self.asked.as_mut().filter(|asked| asked.job == told.job && asked.tap.is_some()) else {
            return;
        };
        let turn = asked.request.turn;
        let event = match told.news {
            News::Sent if asked.sent => return,
            News::Sent => {
                asked.sent = true;
                MindEvent::Sent
            }
            News::Allowance(left) => MindEvent::Allowance { left },
            News::Progress => {
                asked.due = told.at + self.chat.patience.next;
                return;
            }
            News::Piece(piece) => {
                asked.spoke = true;
                asked.due = told.at + self.chat.patience.next;
                match piece {
                    Piece::Text(text) => MindEvent::Token(text),
                    Piece::Call { id, name, arguments } => MindEvent::ToolCall { id, name, arguments },
                }
            }
            News::Done => {
                self.asked = None;
                MindEvent::Done
            }
            News::Failed(failure, retry) => return self.handle_failure(failure, retry),
            News::Free => return,
        };
        self.io.events.send_at(told.at, (turn, event));
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.asked.is_none() && now >= self.warm_at {
            self.warm();
        }
        let Some(asked) = self.asked.as_mut().filter(|asked| now >= asked.due) else { return };
        let Some(tap) = asked.tap.take() else { return self.attempt() };
        tap.cut();
        asked.stalls += 1;
        let text = self.chat.server.told(if asked.spoke { "the reply stopped" } else { "no word came in time" });
        let retry = if asked.stalls < STALLS_MAX { Retry::Worthwhile } else { Retry::Never };
        self.handle_failure(Failure { kind: FailureKind::Stalled, text }, retry);
    }

    /// Tries again, where that is of use and nothing was said yet.
    fn handle_failure(&mut self, failure: Failure, retry: Retry) {
        let Some(asked) = &mut self.asked else { return };
        asked.tap = None;
        let wait = match failure.kind {
            FailureKind::RateLimited { retry_after: Some(wait) } => wait,
            FailureKind::RateLimited { retry_after: None } => RETRY_WAIT,
            _ if asked.tries < 2 => Duration::ZERO,
            _ => RETRY_WAIT,
        };
        if retry == Retry::Never || asked.spoke || asked.tries >= TRIES_MAX || wait > RETRY_AFTER_MAX {
            return self.fail(failure);
        }
        asked.with_tools &= retry != Retry::WithoutTools;
        asked.due = self.io.clock.now() + wait;
        if wait.is_zero() {
            self.attempt();
        }
    }

    fn fail(&mut self, failure: Failure) {
        if let Some(asked) = self.asked.take() {
            self.io.events.send((asked.request.turn, MindEvent::Failed(failure)));
        }
    }
}
