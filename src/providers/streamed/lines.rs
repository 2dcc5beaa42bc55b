//! The connections of one voice: the one in use, and a warm one beside it, so that a lost one costs no handshake.
//!
//! Providers close what is idle; a connection is replaced before that, and the spare one earlier still, so that the two
//! never age together.

use super::{RETRY_AFTER_MAX, Said, Vendor, Wire};
use crate::providers::Listener;
use crate::providers::socket::{Incoming, Socket, SocketError};
use crate::time::{Clock, Instant};
use std::collections::VecDeque;
use std::time::Duration;

/// Waits before each new connection; after the last one, the next text is what starts another try.
const BACKOFF: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// How long after the first connection the spare one is opened: the start of a call is busy enough.
const SPARE_AFTER: Duration = Duration::from_secs(1);
/// Waits before a spare connection that failed is tried again; the last of them from then on.
const SPARE_BACKOFF: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(60)];

/// One connection.
pub(super) struct Line {
    pub(super) token: mio::Token,
    pub(super) wire: Box<dyn Wire>,
    socket: Socket,
    /// When it was last opened or used: what its idleness is counted from.
    used: Instant,
}

/// What happened on a connection.
pub(super) enum News {
    /// It said something.
    Said(mio::Token, Said),
    /// It is lost; whether it was the one in use.
    Lost(mio::Token, SocketError, bool),
}

/// The connections of a session.
pub(super) struct Lines {
    active: Option<Line>,
    spare: Option<Line>,
    /// When the next try for one to use is due; `None` is as soon as there is something to say.
    retry_at: Option<Instant>,
    /// When the spare one is opened; `None` is never.
    spare_at: Option<Instant>,
    /// Connections that failed in a row without a good one between.
    failures: usize,
    spare_failures: usize,
    tokens: usize,
    said: VecDeque<(mio::Token, Said)>,
}

impl Line {
    pub(super) fn is_open(&self) -> bool {
        self.socket.is_open()
    }

    /// Sends `messages`; they are taken out.
    pub(super) fn send(&mut self, messages: &mut Vec<String>, now: Instant) -> Result<(), SocketError> {
        self.used = now;
        messages.drain(..).try_for_each(|message| self.socket.send_text(message))
    }

    fn idle(&self, now: Instant) -> Duration {
        now.since(self.used)
    }
}

impl Lines {
    /// Opens the first connection as soon as it is looked after, and a `spare` one soon after it.
    pub(super) fn new(spare: bool, now: Instant) -> Self {
        Self {
            active: None,
            spare: None,
            retry_at: Some(now),
            spare_at: spare.then_some(now + SPARE_AFTER),
            failures: 0,
            spare_failures: 0,
            tokens: 0,
            said: VecDeque::new(),
        }
    }

    /// Opens and replaces connections as it is due. `wanted`: there is something to say; `busy`: something is being said.
    ///
    /// # Errors
    /// No connection can be tried at all.
    pub(super) fn tend(
        &mut self,
        vendor: &dyn Vendor,
        listener: &Listener,
        (wanted, busy): (bool, bool),
        now: Instant,
    ) -> Result<(), SocketError> {
        let idle_max = vendor.account().habits.idle_max;
        if self.spare.as_ref().is_some_and(|spare| spare.idle(now) >= spare_age_max(idle_max)) {
            self.close_spare(now);
        }
        if self.spare.as_mut().is_some_and(|spare| spare.wire.is_worn(now)) {
            self.close_spare(now);
        }
        let old = |line: &mut Line| line.is_open() && (line.idle(now) >= idle_max || line.wire.is_worn(now));
        if !busy && self.active.as_mut().is_some_and(old) {
            close(self.active.take());
            self.retry_at = Some(now);
        }
        if self.active.is_none() && self.spare.is_some() {
            self.active = self.spare.take();
            // Whoever is next is opened as if it were in place of the lost one: a server that refuses all is not besieged.
            self.spare_at = self.spare_at.map(|at| self.retry_at.map_or(at, |retry| at.max(retry)));
        }
        if self.active.is_none() && (self.retry_at.is_some_and(|at| now >= at) || (self.retry_at.is_none() && wanted)) {
            self.active = Some(self.open(vendor, listener, now)?);
        }
        let opened = self.active.is_some() && (wanted || self.active.as_ref().is_some_and(Line::is_open));
        if self.spare.is_none() && opened && self.spare_at.is_some_and(|at| now >= at) {
            self.spare = Some(self.open(vendor, listener, now)?);
        }
        Ok(())
    }

    /// Returns the next thing that happened.
    pub(super) fn poll(&mut self, listener: &Listener, clock: &dyn Clock) -> Option<News> {
        if let Some((token, said)) = self.said.pop_front() {
            return Some(News::Said(token, said));
        }
        for spare in [false, true] {
            let slot = if spare { &mut self.spare } else { &mut self.active };
            while let Some(line) = slot.as_mut() {
                let now = clock.now();
                match line.socket.poll(listener, now) {
                    Ok(None) => break,
                    Ok(Some(Incoming::Opened)) => {
                        line.used = now;
                        self.spare_failures = if spare { 0 } else { self.spare_failures };
                    }
                    Ok(Some(incoming)) => {
                        let mut said = line.wire.read(&incoming).into_iter();
                        let token = line.token;
                        if let Some(first) = said.next() {
                            self.said.extend(said.map(|said| (token, said)));
                            return Some(News::Said(token, first));
                        }
                    }
                    Err(error) => return Some(self.lose(spare, error, now)),
                }
            }
        }
        None
    }

    /// Returns a connection that messages can be sent over.
    pub(super) fn ready(&mut self, now: Instant) -> Option<&mut Line> {
        let good = |line: &mut Line| line.is_open() && !line.wire.is_worn(now);
        if !self.active.as_mut().is_some_and(good) && self.spare.as_ref().is_some_and(Line::is_open) {
            std::mem::swap(&mut self.active, &mut self.spare);
        }
        self.active.as_mut().filter(|active| active.is_open())
    }

    /// Returns the connection `token`, if it is there still.
    pub(super) fn get(&mut self, token: mio::Token) -> Option<&mut Line> {
        [&mut self.active, &mut self.spare].into_iter().flatten().find(|line| line.token == token)
    }

    /// Goes over to the connection beside `token`; returns whether there is one that is open.
    pub(super) fn change(&mut self, token: mio::Token) -> bool {
        if self.active.as_ref().is_some_and(|active| active.token == token) {
            if !self.spare.as_ref().is_some_and(Line::is_open) {
                return false;
            }
            std::mem::swap(&mut self.active, &mut self.spare);
        }
        self.active.as_ref().is_some_and(Line::is_open)
    }

    /// Makes the connection `token` the one in use.
    pub(super) fn prefer(&mut self, token: mio::Token) {
        if self.spare.as_ref().is_some_and(|spare| spare.token == token) {
            std::mem::swap(&mut self.active, &mut self.spare);
        }
    }

    /// Gives up the connection `token`, which is stuck.
    pub(super) fn drop(&mut self, token: mio::Token, now: Instant) {
        if self.active.as_ref().is_some_and(|line| line.token == token) {
            close(self.active.take());
            self.retry_at = Some(now);
        } else if self.spare.as_ref().is_some_and(|line| line.token == token) {
            self.close_spare(now);
        }
        self.said.retain(|(of, _)| *of != token);
    }

    /// A connection is waited for: the one beside it is tried as well.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.spare_at = self.spare_at.map(|_| now);
    }

    /// Good audio came: what failed before is forgotten.
    pub(super) fn praise(&mut self, token: mio::Token, now: Instant) {
        self.failures = 0;
        if let Some(line) = self.get(token) {
            line.used = now;
        }
    }

    /// When something is due without anything coming in.
    pub(super) fn poll_timeout(&self, idle_max: Duration) -> Option<Instant> {
        let sockets = self.active.iter().chain(&self.spare).filter_map(|line| line.socket.poll_timeout());
        let retry = self.retry_at.filter(|_| self.active.is_none());
        let spare = self.spare_at.filter(|_| self.spare.is_none() && self.active.as_ref().is_some_and(Line::is_open));
        let old = self.active.as_ref().map(|line| line.used + idle_max);
        let old_spare = self.spare.as_ref().map(|line| line.used + spare_age_max(idle_max));
        sockets.chain(retry).chain(spare).chain(old).chain(old_spare).min()
    }

    /// Says goodbye.
    pub(super) fn close(&mut self) {
        close(self.active.take());
        close(self.spare.take());
    }

    fn open(&mut self, vendor: &dyn Vendor, listener: &Listener, now: Instant) -> Result<Line, SocketError> {
        let target = vendor.target().inspect_err(|_| self.retry_at = None)?;
        self.tokens += 1;
        let token = mio::Token(self.tokens);
        let socket = Socket::open(target, vendor.account().trust.clone(), listener, token, now);
        Ok(Line { token, wire: vendor.wire(), socket, used: now })
    }

    /// Prepares the next connection after a loss: at once where the socket was merely idle.
    fn lose(&mut self, spare: bool, error: SocketError, now: Instant) -> News {
        let slot = if spare { &mut self.spare } else { &mut self.active };
        let token = slot.take().map_or(mio::Token(0), |line| line.token);
        let transient = error.is_transient();
        let idle = matches!(error, SocketError::Closed { code: 1000, .. });
        if spare {
            let wait =
                if idle { Duration::ZERO } else { SPARE_BACKOFF[self.spare_failures.min(SPARE_BACKOFF.len() - 1)] };
            self.spare_failures += usize::from(!idle);
            self.spare_at = transient.then_some(now + wait);
            return News::Lost(token, error, false);
        }
        let wait = if idle && self.failures == 0 { Some(&Duration::ZERO) } else { BACKOFF.get(self.failures) };
        self.failures += 1;
        if !transient || wait.is_none() {
            self.failures = 0;
        }
        let asked_for = match error {
            SocketError::Refused { retry_after: Some(after), .. } => after.min(RETRY_AFTER_MAX),
            _ => Duration::ZERO,
        };
        self.retry_at = wait.filter(|_| transient).map(|wait| now + asked_for.max(*wait));
        News::Lost(token, error, true)
    }

    fn close_spare(&mut self, now: Instant) {
        close(self.spare.take());
        self.spare_at = Some(now);
    }
}

fn close(line: Option<Line>) {
    if let Some(mut line) = line {
        line.socket.close();
    }
}

/// The age at which the spare connection is replaced, where one in use is at `idle_max`.
const fn spare_age_max(idle_max: Duration) -> Duration {
    idle_max.saturating_sub(Duration::from_nanos(idle_max.as_nanos() as u64 / 3))
}
