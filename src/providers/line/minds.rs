//! The line of minds: one call's requests, each asked of whoever may be asked, again of the next where that one fails, and twice
//! where it is late.
//!
//! Threads: the session is the call's `mind` thread. Servers are asked by up to [`WORKERS_MAX`] threads of its own, started as they
//! are needed; a mind of another kind has one, started when it is first asked. With one healthy server that is the session and one
//! worker, and nothing stands between the two and the conductor.
//!
//! Before the first useful piece a failure costs nothing but its time: the next in line is asked at once. After it, a server is
//! asked to go on from what was said, once or twice; where nobody can, the reply ends there.

use super::Line;
use super::aside::Aside;
use super::asked::{Asked, Attempt, TRIES_MAX};
use super::going_on::{self, Rest};
use super::hedge::{self, Spending};
use crate::agent::{Failure, FailureKind, MindEvent};
use crate::ids::TurnId;
use crate::metrics::health::{Health, ProviderStage};
use crate::providers::groq::connection::Tap;
use crate::providers::groq::exchange::{Job, News, Retry, Task, Told, Worker};
use crate::providers::groq::{Chat, Patience, Server};
use crate::providers::{MindCommand, MindIo, Request, Responder};
use crate::time::Instant;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Of these, tries that ran into a deadline: two of them are as much silence as a caller bears.
const STALLS_MAX: u32 = 2;
/// How often a reply that broke off is gone on with.
const CONTINUATIONS_MAX: u32 = 2;
/// The wait before the third try; the second follows at once.
const RETRY_WAIT: Duration = Duration::from_millis(250);
/// The longest wait that a server may ask for; a caller does not wait for longer.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(1);
/// How long the first word may take where another mind stands behind: with 0.3 s for the end of the turn, 0.3 s for that one's first
/// word and 0.3 s for the voice, the caller waits for less than 2 s.
pub const FIRST_MAX: Duration = Duration::from_secs(1);
/// What a mind of another kind may take: it computes on this machine, which may be busy.
const PATIENCE_OTHER: Patience = Patience { first: Duration::from_secs(3), next: Duration::from_secs(3) };
/// How long after its last use a connection is used just to keep it: the pool drops it after 55 s, servers after 60 s and more.
const WARM_EVERY: Duration = Duration::from_secs(40);
/// Servers at the head of the line to which a connection is kept open; who stands further back is seldom asked.
const WARM_PLACES: usize = 2;
/// How long a server may take, after all of a reply, to end its body; a thread and a connection wait for it.
const DRAIN_MAX: Duration = Duration::from_millis(200);
/// Threads of one session: two that answer, two that warm a connection, and the drafts of a turn that are still being cut.
const WORKERS_MAX: usize = 6;
/// What workers may have told and the session not yet read.
const TOLD_MAX: usize = 256;
/// The share of an account's limits below which nothing is asked twice.
const ALLOWANCE_MIN: f32 = 0.2;

/// One mind of a line.
pub struct Mind {
    kind: Kind,
    /// What is left of the account's limits, as a share.
    left: Mutex<f32>,
}

enum Kind {
    Server(Arc<Server>),
    Other(Arc<dyn Responder>),
}

impl Mind {
    /// A server that completes chats.
    #[must_use]
    pub fn chat(chat: Chat) -> Self {
        Self::server(chat.into_server())
    }

    /// Any other: it is asked as it is, and neither hedged nor asked to go on from another's words. It says `Sent` once for each
    /// request, in their order.
    #[must_use]
    pub fn other(responder: Arc<dyn Responder>) -> Self {
        Self::of(Kind::Other(responder))
    }

    pub(in crate::providers) fn server(server: Arc<Server>) -> Self {
        Self::of(Kind::Server(server))
    }

    fn of(kind: Kind) -> Self {
        Self { kind, left: Mutex::new(1.0) }
    }

    fn is_server(&self) -> bool {
        matches!(self.kind, Kind::Server(_))
    }

    fn name(&self) -> &'static str {
        match &self.kind {
            Kind::Server(server) => server.name,
            Kind::Other(responder) => responder.name(),
        }
    }
}

/// The line of minds; shared by all calls.
pub struct Minds {
    line: Line<Mind>,
    first_max: Duration,
    spending: Mutex<Spending>,
}

impl Minds {
    /// Makes a line of at least one mind, first choice first, that asks nothing twice.
    #[must_use]
    pub fn new(minds: Vec<Mind>) -> Self {
        let line = Line::new(ProviderStage::Llm, minds, Mind::name);
        Self { line, first_max: FIRST_MAX, spending: Mutex::new(Spending::new(0.0)) }
    }

    /// Asks a `share` (0 to 1) of the requests a second time, at most, while they are late.
    #[must_use]
    pub fn with_hedges(mut self, share: f64) -> Self {
        self.spending = Mutex::new(Spending::new(share));
        self
    }

    /// Waits for a mind's first word for at most `first_max` where another stands behind it.
    #[must_use]
    pub fn with_first_max(mut self, first_max: Duration) -> Self {
        self.first_max = first_max;
        self
    }

    /// Returns the record of each mind, first choice first.
    #[must_use]
    pub fn health(&self) -> Vec<Arc<Health>> {
        self.line.health()
    }

    fn server(&self, place: usize) -> Option<&Arc<Server>> {
        match &self.line.get(place)?.provider.kind {
            Kind::Server(server) => Some(server),
            Kind::Other(_) => None,
        }
    }

    /// How long the mind at `place` is waited for; `last` where nobody is behind it any more.
    fn patience(&self, place: usize, last: bool) -> Patience {
        let own = self.server(place).map_or(PATIENCE_OTHER, |server| server.patience);
        match (self.line.len(), last) {
            (..=1, _) => own,
            (_, false) => Patience { first: own.first.min(self.first_max), ..own },
            (_, true) => Patience { first: own.first.min(2 * self.first_max), ..own },
        }
    }

    /// When a request that `place` is asked is late; never, where asking twice is of no use.
    fn hedge_after(&self, place: usize) -> Option<Duration> {
        let server = self.server(place)?;
        let usual = self.line.get(place)?.place.health().within(hedge::QUANTILE, hedge::SAMPLES_MIN);
        // How much a server of one's own can bear is known once it is known how quick it is.
        if usual.is_none() && !server.elastic { None } else { hedge::after(usual) }
    }
}

impl Responder for Minds {
    fn name(&self) -> &'static str {
        self.line.first().map_or("", Mind::name)
    }

    fn computes(&self) -> bool {
        matches!(self.line.first(), Some(Mind { kind: Kind::Other(responder), .. }) if responder.computes())
    }

    fn run(&self, io: MindIo) {
        Session::new(self, io).run();
    }
}

/// One call's session.
struct Session<'a> {
    minds: &'a Minds,
    io: MindIo,
    jobs: Sender<Job>,
    queue: Receiver<Job>,
    told_to: Sender<Told>,
    told: Receiver<Told>,
    workers: usize,
    /// Jobs that are given out and not done.
    busy: usize,
    last_job: u64,
    /// When connections are to be used again, if only to keep them.
    warm_at: Instant,
    /// By place; minds of other kinds that were asked already.
    asides: Vec<Option<Aside>>,
    asked: Option<Asked>,
    /// Replies that were told whole and whose bodies have not ended, oldest first: the job, and when it is cut.
    draining: VecDeque<(u64, Arc<Tap>, Instant)>,
}

impl<'a> Session<'a> {
    fn new(minds: &'a Minds, io: MindIo) -> Self {
        let (jobs, queue) = bounded(WORKERS_MAX);
        let (told_to, told) = bounded(TOLD_MAX);
        let warm_at = io.clock.now();
        let asides = (0..minds.line.len()).map(|_| None).collect();
        Self {
            minds,
            io,
            jobs,
            queue,
            told_to,
            told,
            workers: 0,
            busy: 0,
            last_job: 0,
            warm_at,
            asides,
            asked: None,
            draining: VecDeque::new(),
        }
    }

    fn run(mut self) {
        while !self.io.stop.raised() {
            loop {
                match self.io.commands.try_recv() {
                    Ok(MindCommand::Ask(request)) => self.ask(request),
                    Ok(MindCommand::Cancel(turn)) => self.cancel(turn),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return self.end(),
                }
            }
            while let Ok(told) = self.told.try_recv() {
                self.handle_told(told);
            }
            let now = self.io.clock.now();
            self.handle_timeout(now);
            let due = self.poll_timeout();
            self.io.listener.wait(Some(due.since(now)));
        }
        self.end();
    }

    fn end(mut self) {
        self.drop_asked();
        self.draining.iter().for_each(|(_, tap, _)| tap.cut());
        let Self { asides, told, .. } = self;
        // A mind that waits for room to tell something is not to wait for ever.
        drop(told);
        asides.into_iter().flatten().for_each(Aside::end);
    }

    fn ask(&mut self, request: Request) {
        self.drop_asked();
        self.minds.spending.lock().earn();
        let now = self.io.clock.now();
        let tried = vec![false; self.minds.line.len()];
        let Some(place) = self.minds.line.next_at_all(&tried, now) else { return };
        let hedge_at = self.minds.hedge_after(place).map(|after| now + after);
        self.asked = Some(Asked::new(request, tried, hedge_at));
        self.start(place, None);
    }

    fn cancel(&mut self, turn: TurnId) {
        if self.asked.as_ref().is_some_and(|asked| asked.request.turn == turn) {
            let place = self.asked.as_ref().and_then(|asked| asked.attempts.first()).map(|attempt| attempt.place);
            self.drop_asked();
            // The cut connection is lost, and the next turn should not have to wait for another.
            if let Some(place) = place {
                self.warm_spare(place);
            }
        }
    }

    fn drop_asked(&mut self) {
        if let Some(asked) = self.asked.take() {
            asked.attempts.iter().for_each(|attempt| self.cut(attempt, asked.request.turn));
        }
    }

    fn cut(&self, attempt: &Attempt, turn: TurnId) {
        match &attempt.tap {
            Some(tap) => tap.cut(),
            None => {
                if let Some(Some(aside)) = self.asides.get(attempt.place) {
                    aside.command(MindCommand::Cancel(turn));
                }
            }
        }
    }

    /// Has the mind at `place` work on the request; `hedges` names the place whose late answer it is to outrun.
    fn start(&mut self, place: usize, hedges: Option<usize>) {
        let minds = self.minds;
        let (Some(asked), Some(seat)) = (&mut self.asked, minds.line.get(place)) else { return };
        let stands_in = hedges.is_none() && asked.tries > 0 && !asked.tried.get(place).copied().unwrap_or(true);
        seat.place.health().asked(stands_in);
        asked.tries += u32::from(hedges.is_none());
        asked.again = None;
        if let Some(tried) = asked.tried.get_mut(place) {
            *tried = true;
        }
        let last = asked.tried.iter().all(|tried| *tried);
        let (request, with_tools) = (asked.request(), asked.with_tools);
        let given = match &seat.provider.kind {
            Kind::Server(server) => server.usable().map_err(|failure| (failure, Retry::Shut)).and_then(|()| {
                let body = server.dialect.body(&server.endpoint.model, &request, with_tools);
                let busy = || Failure { kind: FailureKind::Stalled, text: server.told("all threads are busy") };
                let given = self.give(server.clone(), Task::Ask(body)).ok_or_else(|| (busy(), Retry::Never))?;
                Ok((given.0, Some(given.1)))
            }),
            Kind::Other(responder) => match self.put_aside(place, responder, request) {
                Some(job) => Ok((job, None)),
                None => {
                    let text = format!("{}: there is no thread for it", responder.name());
                    Err((Failure { kind: FailureKind::Stalled, text }, Retry::Never))
                }
            },
        };
        let now = self.io.clock.now();
        let patience = minds.patience(place, last);
        let attempt = |job, tap| {
            let due = now + patience.first;
            Attempt { job, place, tap, begun: now, due, patience, useful: false, hedges }
        };
        match given {
            Ok((job, tap)) => {
                if let Some(asked) = &mut self.asked {
                    asked.attempts.push(attempt(job, tap));
                }
            }
            Err((failure, retry)) => self.handle_failure(&attempt(0, None), failure, retry),
        }
    }

    /// Asks again what is late: another server, or the same by another connection.
    fn hedge(&mut self, now: Instant) {
        let minds = self.minds;
        let Some(asked) = &mut self.asked else { return };
        asked.hedge_at = None;
        let [late] = asked.attempts.as_slice() else { return };
        if late.useful || asked.spoke() {
            return;
        }
        let late = late.place;
        let other = minds.line.next(&asked.tried, Mind::is_server, now);
        let place = other.unwrap_or(late);
        if *minds.line[place].provider.left.lock() < ALLOWANCE_MIN || !minds.spending.lock().spend() {
            return;
        }
        minds.line[late].place.health().hedged();
        self.start(place, Some(late));
    }

    /// Has connections opened, or those that are open kept.
    fn warm_all(&mut self) {
        (0..self.minds.line.len().min(WARM_PLACES)).for_each(|place| self.warm(place));
    }

    fn warm(&mut self, place: usize) {
        self.warm_at = self.io.clock.now() + WARM_EVERY;
        // Where no thread is free, the next request opens its own connection.
        if let Some(server) = self.minds.server(place).filter(|server| server.usable().is_ok()) {
            let _ = self.give(server.clone(), Task::Warm);
        }
    }

    /// Has a connection opened where all are in use: a draft that is thrown away is cut together with its connection, and the
    /// request that takes its place, or a hedge, should not have to wait for a handshake.
    fn warm_spare(&mut self, place: usize) {
        if self.minds.server(place).is_some_and(|server| !server.connections.has_spare()) {
            self.warm(place);
        }
    }

    /// Gives a job to a worker, and starts one if none is free.
    fn give(&mut self, server: Arc<Server>, task: Task) -> Option<(u64, Arc<Tap>)> {
        if self.busy >= self.workers && self.workers < WORKERS_MAX {
            let worker = Worker {
                clock: self.io.clock.clone(),
                jobs: self.queue.clone(),
                told: self.told_to.clone(),
                bell: self.io.listener.bell(),
            };
            let name = format!("{}-request", server.name);
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
        let using = server.connections.using();
        self.jobs.try_send(Job { id: job, server, tap: tap.clone(), task, using }).ok()?;
        self.busy += 1;
        Some((job, tap))
    }

    /// Asks a mind of another kind.
    fn put_aside(&mut self, place: usize, responder: &Arc<dyn Responder>, request: Request) -> Option<u64> {
        self.last_job += 1;
        let job = self.last_job;
        let aside = self.asides.get_mut(place)?;
        if aside.is_none() {
            *aside = Aside::begin(&self.io, responder.clone(), self.told_to.clone());
        }
        let aside = aside.as_ref()?;
        aside.ask(job, request).then_some(job)
    }

    fn handle_told(&mut self, told: Told) {
        if let News::Free = told.news {
            self.warm_at = told.at + WARM_EVERY;
            self.busy = self.busy.saturating_sub(1);
            self.draining.retain(|(job, ..)| *job != told.job);
            return;
        }
        let Some(asked) = &mut self.asked else { return };
        let Some(index) = asked.attempts.iter().position(|attempt| attempt.job == told.job) else { return };
        let turn = asked.request.turn;
        let event = match told.news {
            News::Sent => return self.handle_sent(index, told.at),
            News::Allowance(left) => {
                let place = asked.attempts[index].place;
                *self.minds.line[place].provider.left.lock() = left;
                MindEvent::Allowance { left }
            }
            News::Progress => return self.useful(index, told.at),
            News::Piece(piece) => {
                self.useful(index, told.at);
                let Some(event) = self.asked.as_mut().and_then(|asked| asked.piece(piece)) else { return };
                event
            }
            News::Done => {
                self.useful(index, told.at);
                let Some(mut asked) = self.asked.take() else { return };
                let taps = asked.attempts.drain(..).filter_map(|attempt| attempt.tap.map(|tap| (attempt.job, tap)));
                self.draining.extend(taps.map(|(job, tap)| (job, tap, told.at + DRAIN_MAX)));
                let held = asked.rest.as_mut().map(Rest::finish).unwrap_or_default();
                if !held.is_empty() {
                    self.io.events.send_at(told.at, (turn, MindEvent::Token(held)));
                }
                MindEvent::Done
            }
            News::Failed(failure, retry) => {
                let attempt = asked.attempts.remove(index);
                return self.handle_failure(&attempt, failure, retry);
            }
            News::Free => return,
        };
        self.io.events.send_at(told.at, (turn, event));
    }

    /// The request is written.
    fn handle_sent(&mut self, index: usize, at: Instant) {
        let Some(asked) = &mut self.asked else { return };
        let Some(attempt) = asked.attempts.get(index) else { return };
        let place = attempt.place;
        // A server that keeps no connection is not to be asked for one with every request.
        let keeps = attempt.tap.as_ref().is_some_and(|tap| tap.reused());
        if !std::mem::replace(&mut asked.sent, true) {
            self.io.events.send_at(at, (asked.request.turn, MindEvent::Sent));
        }
        if keeps {
            self.warm_spare(place);
        }
    }

    /// Something of use came of an attempt: from here on it is the only one.
    fn useful(&mut self, index: usize, at: Instant) {
        let Some(asked) = &mut self.asked else { return };
        let turn = asked.request.turn;
        let Some(attempt) = asked.attempts.get_mut(index) else { return };
        attempt.due = at + attempt.patience.next;
        if attempt.useful {
            return;
        }
        attempt.useful = true;
        let (job, place) = (attempt.job, attempt.place);
        self.minds.line[place].place.began(at.since(attempt.begun));
        if let Some(late) = attempt.hedges {
            self.minds.line[late].place.health().hedge_won();
        }
        asked.hedge_at = None;
        let (won, lost): (Vec<Attempt>, Vec<Attempt>) =
            std::mem::take(&mut asked.attempts).into_iter().partition(|attempt| attempt.job == job);
        asked.attempts = won;
        lost.iter().for_each(|attempt| self.cut(attempt, turn));
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, tap, _)) = self.draining.pop_front_if(|(.., due)| now >= *due) {
            tap.cut();
        }
        let Some(asked) = &mut self.asked else {
            if now >= self.warm_at {
                self.warm_all();
            }
            return;
        };
        if let Some((place, _)) = asked.again.take_if(|(_, at)| now >= *at) {
            return self.start(place, None);
        }
        if asked.hedge_at.is_some_and(|at| now >= at) {
            self.hedge(now);
        }
        self.stall(now);
    }

    /// Gives up the attempts whose time is over.
    fn stall(&mut self, now: Instant) {
        while let Some(asked) = &mut self.asked
            && let Some(index) = asked.attempts.iter().position(|attempt| now >= attempt.due)
        {
            let attempt = asked.attempts.remove(index);
            asked.stalls += 1;
            let turn = asked.request.turn;
            self.cut(&attempt, turn);
            let text = if attempt.useful { "the reply stopped" } else { "no word came in time" };
            let text = match self.minds.server(attempt.place) {
                Some(server) => server.told(text),
                None => format!("{}: {text}", self.minds.line[attempt.place].provider.name()),
            };
            self.handle_failure(&attempt, Failure { kind: FailureKind::Stalled, text }, Retry::Worthwhile);
        }
    }

    fn poll_timeout(&self) -> Instant {
        let drained = self.draining.front().map(|(.., due)| *due);
        let Some(asked) = &self.asked else { return drained.map_or(self.warm_at, |due| due.min(self.warm_at)) };
        let dues = asked.attempts.iter().map(|attempt| attempt.due);
        let again = asked.again.map(|(_, at)| at);
        dues.chain(asked.hedge_at).chain(again).chain(drained).min().unwrap_or(self.warm_at)
    }

    /// An attempt has failed, and is not one of the request's any more.
    fn handle_failure(&mut self, attempt: &Attempt, failure: Failure, retry: Retry) {
        let now = self.io.clock.now();
        let place = attempt.place;
        // What another wording or connection cures is not the provider's failure.
        let cured = matches!(retry, Retry::Stale | Retry::Reworded | Retry::WithoutTools | Retry::Shorter);
        if !cured {
            self.minds.line[place].place.failed(self.io.call, &failure, retry == Retry::Shut, now);
        }
        let Some(asked) = &mut self.asked else { return };
        if !asked.attempts.is_empty() {
            return;
        }
        asked.hedge_at = None;
        if asked.spoke() {
            return self.go_on(place, failure, retry);
        }
        if asked.is_put_otherwise(retry) {
            return self.start(place, None);
        }
        match self.minds.line.next(&asked.tried, |_| true, now) {
            Some(next) => self.start(next, None),
            None => self.retry(place, failure, retry, now),
        }
    }

    /// Nobody else is there: the same mind is asked once more, where that is of use.
    fn retry(&mut self, place: usize, failure: Failure, retry: Retry, now: Instant) {
        let Some(asked) = &mut self.asked else { return };
        let wait = match failure.kind {
            FailureKind::RateLimited { retry_after: Some(wait) } => wait,
            FailureKind::RateLimited { retry_after: None } => RETRY_WAIT,
            _ if asked.tries < 2 => Duration::ZERO,
            _ => RETRY_WAIT,
        };
        let of_use = match retry {
            Retry::Never | Retry::WithoutTools | Retry::Shorter => false,
            // Once may be a mistake of the server's.
            Retry::Shut => asked.tries < 2,
            Retry::Worthwhile | Retry::Stale | Retry::Reworded => true,
        };
        if !of_use || asked.tries >= TRIES_MAX || asked.stalls >= STALLS_MAX || wait > RETRY_AFTER_MAX {
            self.fail(failure);
        } else if wait.is_zero() {
            self.start(place, None);
        } else {
            asked.again = Some((place, now + wait));
        }
    }

    /// The reply broke off after some of it was passed on: another server goes on with it, or else the same one.
    fn go_on(&mut self, place: usize, failure: Failure, retry: Retry) {
        let minds = self.minds;
        let now = self.io.clock.now();
        let Some(asked) = &mut self.asked else { return };
        let may = !asked.called && asked.continuations < CONTINUATIONS_MAX;
        let other = minds.line.next(&asked.tried, Mind::is_server, now);
        let same = minds.server(place).filter(|_| !matches!(retry, Retry::Never | Retry::Shut)).map(|_| place);
        match other.or(same).filter(|_| may) {
            Some(place) => {
                asked.continuations += 1;
                asked.rest = Some(Rest::of(&asked.said));
                self.start(place, None);
            }
            // What was said makes sense by itself.
            None if !asked.called && going_on::is_whole(&asked.said) => {
                let turn = asked.request.turn;
                self.asked = None;
                self.io.events.send((turn, MindEvent::Done));
            }
            None => self.fail(failure),
        }
    }

    fn fail(&mut self, failure: Failure) {
        if let Some(asked) = self.asked.take() {
            self.io.events.send((asked.request.turn, MindEvent::Failed(failure)));
        }
    }
}
