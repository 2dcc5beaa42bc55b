//! How a provider's thread is woken: it waits for its bell and for its sockets at once.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Wakes the thread that waits on the other end. Rings between two wake-ups are one.
#[derive(Clone)]
pub struct Bell(Arc<BellInner>);

struct BellInner {
    rung: AtomicBool,
    way: Way,
}

enum Way {
    Poll(mio::Waker),
    Park(std::thread::Thread),
}

impl Bell {
    /// A bell that unparks `thread`, which must look at its queues before it parks.
    #[must_use]
    pub fn for_thread(thread: std::thread::Thread) -> Self {
        Self(Arc::new(BellInner { rung: AtomicBool::new(false), way: Way::Park(thread) }))
    }

    /// Wakes the thread at the other end; no heap, no lock; a system call only where it sleeps.
    pub fn ring(&self) {
        match &self.0.way {
            Way::Park(thread) => thread.unpark(),
            Way::Poll(waker) => {
                if !self.0.rung.swap(true, Ordering::AcqRel) {
                    // An eventfd write fails only when its counter is full, and then the reader is awake anyway.
                    let _ = waker.wake();
                }
            }
        }
    }
}

/// The other end of a [`Bell`]: a `mio::Poll` on which a session waits for the bell and for its own sockets at once.
pub struct Listener {
    /// There until it is dropped.
    inner: Option<Box<Waiting>>,
    /// Where it goes when this is dropped, if it is lent.
    home: Option<Arc<Mutex<Option<Box<Waiting>>>>>,
}

struct Waiting {
    poll: mio::Poll,
    events: mio::Events,
    bell: Bell,
}

/// What the lender keeps of a listener that is lent: the claim to it.
pub struct Loan(Arc<Mutex<Option<Box<Waiting>>>>);

impl Loan {
    /// Returns the listener, once whoever had it has dropped it.
    #[must_use]
    pub fn back(self) -> Option<Listener> {
        let inner = self.0.lock().take()?;
        Some(Listener { inner: Some(inner), home: None })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            *home.lock() = self.inner.take();
        }
    }
}

/// Sockets that one wait reports: all that a session has, and enough of the net thread's that its turns are long.
const EVENTS_PER_WAIT: usize = 256;

/// The token of the bell itself; a session's sockets take others.
pub const BELL_TOKEN: mio::Token = mio::Token(usize::MAX);

impl Listener {
    /// Makes a bell and the listener that hears it.
    ///
    /// # Errors
    /// What the system says when it has no file descriptor left.
    pub fn new() -> std::io::Result<(Bell, Self)> {
        let poll = mio::Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), BELL_TOKEN)?;
        let bell = Bell(Arc::new(BellInner { rung: AtomicBool::new(false), way: Way::Poll(waker) }));
        let waiting = Waiting { poll, events: mio::Events::with_capacity(EVENTS_PER_WAIT), bell: bell.clone() };
        Ok((bell, Self { inner: Some(Box::new(waiting)), home: None }))
    }

    /// Lends it to a session that ends before the one who listens does.
    #[must_use]
    pub fn lend(mut self) -> (Self, Loan) {
        let home = Arc::new(Mutex::new(None));
        (Self { inner: self.inner.take(), home: Some(home.clone()) }, Loan(home))
    }

    fn waiting(&self) -> &Waiting {
        self.inner.as_ref().expect("only a drop takes it")
    }

    /// Returns a bell that this listener hears, for a session's own threads.
    #[must_use]
    pub fn bell(&self) -> Bell {
        self.waiting().bell.clone()
    }

    /// Where a session registers its sockets.
    #[must_use]
    pub fn registry(&self) -> &mio::Registry {
        self.waiting().poll.registry()
    }

    /// Waits as [`Self::wait`], and puts the tokens of the sockets that are ready into `ready`.
    pub fn wait_for(&mut self, timeout: Option<Duration>, ready: &mut Vec<mio::Token>) {
        ready.clear();
        self.wait(timeout);
        ready.extend(self.waiting().events.iter().map(mio::event::Event::token).filter(|token| *token != BELL_TOKEN));
    }

    /// Waits for the bell, a registered socket, or `timeout` (rounded up to a millisecond). Look at every queue and
    /// socket afterwards: what woke it is not told, and a wake-up for nothing is allowed.
    pub fn wait(&mut self, timeout: Option<Duration>) {
        let Waiting { poll, events, bell } = &mut **self.inner.as_mut().expect("only a drop takes it");
        // An interrupted wait is a wake-up for nothing.
        let _ = poll.poll(events, timeout);
        bell.0.rung.store(false, Ordering::Release);
    }
}
