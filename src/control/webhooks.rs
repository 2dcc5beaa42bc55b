//! Signed webhooks: events are posted to whoever the settings name, each from a thread of its own.
//!
//! What cannot be delivered waits in memory, in order and within bounds, and is tried again ever more rarely. It is gone with the
//! process: who must miss nothing compares with `/api/v1/sip/calls?state=ended`. A receiver checks the signature over its time and
//! the body as it came, and leaves out what it has had: an event whose answer was lost is posted again, under the same id.

use super::{Bridge, events};
use crate::config::{LogLevel, Secret, Webhook};
use crate::metrics::events::{Cursor, News};
use crate::metrics::{Counter, Event, Journal};
use crate::time::Instant;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Events that wait for one receiver: an hour of a call every 20 s, with 5 turns each.
const WAITING_MAX: usize = 1_000;
/// Bytes of them.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// How long a failed delivery is waited with, at first; each time twice as long.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// And in the end: a receiver that is back is noticed within this.
const RETRY_LAST: Duration = Duration::from_secs(120);
/// How long one delivery may take.
const DELIVERY_MAX: Duration = Duration::from_secs(10);
/// How long a thread waits for news before it looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long the last events may take when the process ends.
const FAREWELL: Duration = Duration::from_secs(1);

const DELIVERED: Counter = Counter { name: "webhook_delivered", help: "Events that a webhook has taken" };
const FAILED: Counter =
    Counter { name: "webhook_failures", help: "Attempts to deliver an event to a webhook that failed" };
const DROPPED: Counter = Counter { name: "webhook_dropped", help: "Events that a webhook will never get" };

/// The threads.
pub struct Webhooks {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    bridge: Arc<dyn Bridge>,
}

impl Webhooks {
    /// Starts a thread for each of `hooks`; they are told of what happens from here on.
    ///
    /// # Errors
    /// What the system says when it has no thread left.
    pub fn start(hooks: &[Webhook], bridge: &Arc<dyn Bridge>, journal: &Journal) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut webhooks = Self { threads: Vec::new(), stop: stop.clone(), bridge: bridge.clone() };
        for hook in hooks {
            let courier = Courier {
                agent: agent(&hook.url),
                hook: hook.clone(),
                since: bridge.board().events().end(),
                bridge: bridge.clone(),
                journal: journal.clone(),
                stop: stop.clone(),
            };
            webhooks.threads.push(std::thread::Builder::new().name("webhook".into()).spawn(move || courier.run())?);
        }
        Ok(webhooks)
    }

    /// Delivers what has just happened, if that is quick, and ends the threads.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.bridge.board().events().wake();
        for thread in self.threads {
            // A thread that panicked has nothing left to deliver.
            let _ = thread.join();
        }
    }
}

fn agent(url: &str) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        // A redirect would carry what was said to somewhere else.
        .max_redirects(0)
        .timeout_global(Some(DELIVERY_MAX))
        .user_agent(concat!("offhook/", env!("CARGO_PKG_VERSION")));
    if url.starts_with("http:") {
        config = config.proxy(None);
    }
    config.build().new_agent()
}

/// One event on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Delivery {
    name: &'static str,
    body: String,
}

/// What waits for one receiver, and when it is tried next.
#[derive(Debug, Default)]
struct Spool {
    waiting: VecDeque<Delivery>,
    bytes: usize,
    failures: u32,
    retry_at: Instant,
}

impl Spool {
    /// Takes an event, and returns how many have to make room for it.
    fn push(&mut self, delivery: Delivery) -> u64 {
        self.bytes += delivery.body.len();
        self.waiting.push_back(delivery);
        let mut dropped = 0;
        while self.waiting.len() > WAITING_MAX || self.bytes > WAITING_BYTES_MAX {
            self.pop();
            dropped += 1;
        }
        dropped
    }

    fn pop(&mut self) {
        if let Some(delivery) = self.waiting.pop_front() {
            self.bytes -= delivery.body.len();
        }
    }

    /// Returns what is to be delivered at `now`.
    fn due(&self, now: Instant) -> Option<&Delivery> {
        self.waiting.front().filter(|_| self.failures == 0 || now >= self.retry_at)
    }

    /// The oldest was delivered.
    fn delivered(&mut self) {
        self.pop();
        self.failures = 0;
    }

    /// It was not.
    fn failed(&mut self, now: Instant) {
        let doubled = RETRY_FIRST.saturating_mul(1 << self.failures.min(16));
        self.retry_at = now + doubled.min(RETRY_LAST);
        self.failures += 1;
    }

    /// Returns how long nothing is to be done at most.
    fn patience(&self, now: Instant) -> Duration {
        match (self.waiting.is_empty(), self.failures) {
            (true, _) => PATIENCE,
            (false, 0) => Duration::ZERO,
            (false, _) => self.retry_at.since(now).min(PATIENCE),
        }
    }
}

/// What became of an attempt.
enum Outcome {
    Taken,
    /// Why not.
    Refused(String),
    /// 410: nobody wants it any more.
    Gone,
}

/// One receiver's thread.
struct Courier {
    hook: Webhook,
    /// What happened before is not told.
    since: Cursor,
    agent: ureq::Agent,
    bridge: Arc<dyn Bridge>,
    journal: Journal,
    stop: Arc<AtomicBool>,
}

impl Courier {
    fn run(self) {
        let events = self.bridge.board().events();
        let mut cursor = self.since;
        let mut spool = Spool::default();
        while !self.stop.load(Ordering::Acquire) {
            let news = events.follow(&mut cursor, spool.patience(self.bridge.now()));
            self.take(&mut spool, news);
            if let Some(delivery) = spool.due(self.bridge.now()) {
                match self.post(delivery) {
                    Outcome::Taken => self.delivered(&mut spool),
                    Outcome::Refused(why) => self.failed(&mut spool, &why),
                    Outcome::Gone => {
                        let text = format_args!("webhook {}: 410, it is told nothing more", self.hook.url);
                        return self.journal.line(LogLevel::Warn, None, text);
                    }
                }
            }
        }
        self.take(&mut spool, events.follow(&mut cursor, Duration::ZERO));
        let until = self.bridge.now() + FAREWELL;
        while let Some(delivery) = spool.due(self.bridge.now()).filter(|_| self.bridge.now() < until) {
            match self.post(delivery) {
                Outcome::Taken => self.delivered(&mut spool),
                Outcome::Refused(_) | Outcome::Gone => break,
            }
        }
        self.dropped(spool.waiting.len() as u64);
    }

    fn take(&self, spool: &mut Spool, News { lost, events }: News) {
        let wanted = |event: &Event| self.hook.events.iter().any(|wanted| wanted == event.what.name());
        let fresh = events.iter().filter(|event| event.number.is_some() && wanted(event));
        let dropped: u64 = fresh
            .map(|event| {
                let body = events::body(event, &*self.bridge).to_string();
                spool.push(Delivery { name: event.what.name(), body })
            })
            .sum();
        self.dropped(lost + dropped);
    }

    fn delivered(&self, spool: &mut Spool) {
        if spool.failures > 0 {
            self.journal.line(LogLevel::Info, None, format_args!("webhook {}: it takes events again", self.hook.url));
        }
        spool.delivered();
        self.bridge.board().count(DELIVERED, 1);
    }

    fn failed(&self, spool: &mut Spool, why: &str) {
        if spool.failures == 0 {
            let text = format_args!("webhook {}: {why}; what it is to be told waits for it", self.hook.url);
            self.journal.line(LogLevel::Warn, None, text);
        }
        spool.failed(self.bridge.now());
        self.bridge.board().count(FAILED, 1);
    }

    fn dropped(&self, count: u64) {
        if count > 0 {
            self.bridge.board().count(DROPPED, count);
            let text = format_args!("webhook {}: {count} events are lost to it", self.hook.url);
            self.journal.line(LogLevel::Warn, None, text);
        }
    }

    fn post(&self, delivery: &Delivery) -> Outcome {
        let time = self.bridge.unix_time(self.bridge.now()).as_secs();
        let request = self
            .agent
            .post(&self.hook.url)
            .header("Content-Type", "application/json")
            .header("Offhook-Event", delivery.name)
            .header("Offhook-Signature", signature(&self.hook.secret, time, &delivery.body));
        match request.send(delivery.body.as_str()) {
            Ok(reply) if reply.status().is_success() => Outcome::Taken,
            Ok(reply) if reply.status() == 410 => Outcome::Gone,
            Ok(reply) => Outcome::Refused(format!("status {}", reply.status().as_u16())),
            Err(ureq::Error::Timeout(_)) => Outcome::Refused(format!("no answer within {} s", DELIVERY_MAX.as_secs())),
            Err(error) => Outcome::Refused(error.to_string()),
        }
    }
}

/// Returns the signature: its time in seconds since 1970, and HMAC-SHA256 over that time, a full stop, and the body.
fn signature(secret: &Secret, time: u64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("{time}.{body}").as_bytes());
    let mut text = format!("t={time},v1=");
    for byte in mac.finalize().into_bytes() {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(body: &str) -> Delivery {
        Delivery { name: "turn", body: body.into() }
    }

    #[test]
    fn a_signature_is_over_time_and_body() {
        // By `printf '1795367956.{"a":1}' | openssl dgst -sha256 -hmac s3cret`.
        let signed = signature(&Secret::new("s3cret"), 1_795_367_956, r#"{"a":1}"#);
        assert_eq!(signed, "t=1795367956,v1=58d8ab51c22c142780f97d85be2e85b30fdb0932e3c1ea22e78cc1e6134a82a1");
    }

    #[test]
    fn what_fails_is_tried_again_ever_more_rarely_and_in_order() {
        let mut spool = Spool::default();
        spool.push(delivery("one"));
        spool.push(delivery("two"));
        let mut now = Instant::from_millis(5);
        let mut waits = Vec::new();
        for _ in 0..10 {
            assert_eq!(spool.due(now), Some(&delivery("one")));
            spool.failed(now);
            assert_eq!(spool.due(now), None);
            waits.push(spool.retry_at.since(now).as_secs());
            now = spool.retry_at;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 120, 120, 120]);
        spool.delivered();
        assert_eq!(spool.due(now), Some(&delivery("two")), "a receiver that is back gets the rest at once");
        assert_eq!(spool.patience(now), Duration::ZERO);
    }

    #[test]
    fn the_oldest_make_room() {
        let mut spool = Spool::default();
        let dropped: u64 = (0..WAITING_MAX + 3).map(|n| spool.push(delivery(&n.to_string()))).sum();
        assert_eq!((dropped, spool.due(Instant::ZERO)), (3, Some(&delivery("3"))));
        assert!(spool.push(delivery(&"x".repeat(WAITING_BYTES_MAX - 10))) > 900);
        assert!(spool.bytes <= WAITING_BYTES_MAX);
    }
}
