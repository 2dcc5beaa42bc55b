//! The cloud providers against their stand-ins: calls that go well, every fault that there is, and keys that stay secret.

#[path = "providers/check.rs"]
mod check;
#[path = "providers/ears.rs"]
mod ears;
#[path = "providers/keyless.rs"]
mod keyless;
#[path = "providers/mind.rs"]
mod mind;
#[path = "providers/minds.rs"]
mod minds;
#[path = "providers/nova.rs"]
mod nova;
#[path = "standin/mod.rs"]
mod standin;
#[path = "providers/tls.rs"]
mod tls;
#[path = "providers/voice.rs"]
mod voice;
#[path = "providers/webhook.rs"]
mod webhook;

use crossbeam_channel::{Receiver, bounded};
use offhook::config::{Endpoint, Secret};
use offhook::providers::{Bell, Events, Stamped, Stop};
use offhook::time::Clock;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long anything is waited for; only a test that fails takes as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// The settings that lead to a stand-in.
fn endpoint(base_url: &str, model: &str) -> Endpoint {
    Endpoint { key: Secret::new(standin::KEY), base_url: base_url.into(), model: model.into() }
}

/// A sender of events, and where they come out.
fn events<T: Send + 'static>(clock: &Arc<dyn Clock>) -> (Events<T>, Receiver<Stamped<T>>) {
    let (send, receive) = bounded(4096);
    let bell = Bell::for_thread(std::thread::current());
    (Events::new(clock.clone(), send, bell, |stamped| stamped), receive)
}

/// The thread of a provider's session. Dropped, it is told to stop and waited for; that it panicked fails the test.
struct Session {
    bell: Bell,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Session {
    /// Starts a session that runs `body`, is woken by `bell`, and ends once `stop` is raised.
    fn start(bell: Bell, stop: Stop, body: impl FnOnce() + Send + 'static) -> Self {
        Self { bell, stop, thread: Some(std::thread::spawn(body)) }
    }

    /// Has it look at what has come.
    fn wake(&self) {
        self.bell.ring();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop.raise();
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking(), "the session panicked");
        }
    }
}

/// Waits for `condition`, for as long as it may take.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let pause = Duration::from_millis(10);
    let mut left = PATIENCE;
    while !condition() {
        assert!(!left.is_zero(), "{what} did not happen");
        left = left.saturating_sub(pause);
        std::thread::park_timeout(pause);
    }
}

/// No text may show the key.
fn assert_secret(text: &str) {
    assert!(!text.contains(standin::KEY), "the key is in {text:?}");
}
