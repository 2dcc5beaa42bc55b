//! The few threads that run the ears' networks for all calls, most urgent work first.
//!
//! One pool for all calls, and not a thread per call: a decode is pure computation, so more of them at once than there are
//! cores only makes each of them later. The pool serves a text that somebody waits for before a look at a turn that still goes on,
//! whichever call they belong to, and it keeps one thread free of anything but final texts where it has two.

use parking_lot::{Condvar, Mutex};
use rten::ThreadPool;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

/// How urgent a piece of work is; the first goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// The text of a turn that may have ended: a caller waits for it.
    Final,
    /// A look at a turn that goes on.
    Partial,
    /// A second opinion that is worth having only soon.
    Opinion,
}

/// The most work that waits. A call has at most one piece of each urgency there; the cap on calls is 200.
const WAITING_MAX: usize = 1024;

/// The most threads, however many cores: eight finish a final text for each of some hundred calls in time.
const THREADS_MAX: usize = 8;

type Job = Box<dyn FnOnce(&Arc<ThreadPool>) + Send>;

/// The threads. They end when it is dropped, after the work in hand; what still waits is forgotten.
pub struct Work {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

struct Queue {
    /// By urgency, then oldest first.
    waiting: BTreeMap<(Urgency, u64), Job>,
    next: u64,
    threads: usize,
    /// Threads at work, and those of them that do not make a final text.
    busy: usize,
    busy_in_background: usize,
    ended: bool,
}

impl Queue {
    /// How many threads may do anything but final texts at once.
    fn background_max(&self) -> usize {
        (self.threads - 1).max(1)
    }

    fn take(&mut self) -> Option<(Urgency, Job)> {
        let &key = self.waiting.keys().next()?;
        if key.0 != Urgency::Final && self.busy_in_background >= self.background_max() {
            return None;
        }
        self.busy += 1;
        self.busy_in_background += usize::from(key.0 != Urgency::Final);
        self.waiting.remove(&key).map(|job| (key.0, job))
    }

    fn done(&mut self, urgency: Urgency) {
        self.busy -= 1;
        self.busy_in_background -= usize::from(urgency != Urgency::Final);
    }
}

impl Work {
    /// Starts one thread per core that the process may use.
    #[must_use]
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::with_threads(cores.min(THREADS_MAX))
    }

    /// Starts `count` threads, at least one.
    #[must_use]
    pub fn with_threads(count: usize) -> Self {
        let queue = Queue {
            waiting: BTreeMap::new(),
            next: 0,
            threads: count.max(1),
            busy: 0,
            busy_in_background: 0,
            ended: false,
        };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), changed: Condvar::new() });
        let threads = (0..count.max(1))
            .filter_map(|index| {
                let shared = shared.clone();
                std::thread::Builder::new().name(format!("ears-work-{index}")).spawn(move || work(&shared)).ok()
            })
            .collect();
        Self { shared, threads }
    }

    /// Puts `job` in the queue; it gets the thread's own pool to run networks on. Returns whether it was taken: an opinion only
    /// where a second core makes it, and if it would be the next to be made; nothing when the queue is full.
    pub fn submit(&self, urgency: Urgency, job: impl FnOnce(&Arc<ThreadPool>) + Send + 'static) -> bool {
        let mut queue = self.shared.queue.lock();
        let background = |key: &(Urgency, u64)| key.0 != Urgency::Final;
        let crowded = queue.threads < 2 || queue.waiting.keys().any(background);
        if queue.waiting.len() >= WAITING_MAX || (urgency == Urgency::Opinion && crowded) {
            return false;
        }
        let number = queue.next;
        queue.next += 1;
        queue.waiting.insert((urgency, number), Box::new(job));
        drop(queue);
        self.shared.changed.notify_one();
        true
    }
}

impl Default for Work {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let forgotten = {
            let mut queue = self.shared.queue.lock();
            queue.ended = true;
            std::mem::take(&mut queue.waiting)
        };
        drop(forgotten);
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A job that panicked has already told its call by dropping the sender of its result.
            let _ = thread.join();
        }
    }
}

fn work(shared: &Shared) {
    let pool = super::one_thread();
    let mut queue = shared.queue.lock();
    while !queue.ended {
        let Some((urgency, job)) = queue.take() else {
            shared.changed.wait(&mut queue);
            continue;
        };
        drop(queue);
        // A panic in one call's work is that call's loss only.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(&pool)));
        queue = shared.queue.lock();
        queue.done(urgency);
        // What was held back for this thread's sake may go on in another one that sleeps.
        shared.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Receiver, Sender, bounded};

    /// A pool whose threads are all held up by a final text; they go on when the sender is dropped.
    fn held_up(threads: usize) -> (Work, Sender<()>) {
        let work = Work::with_threads(threads);
        let (go, wait) = bounded::<()>(0);
        let (there, arrived) = bounded(threads);
        for _ in 0..threads {
            let (wait, there): (Receiver<()>, Sender<()>) = (wait.clone(), there.clone());
            work.submit(Urgency::Final, move |_| {
                let _ = there.send(());
                let _ = wait.recv();
            });
        }
        for _ in 0..threads {
            arrived.recv().expect("a thread that waits");
        }
        (work, go)
    }

    fn told(work: &Work, urgency: Urgency, name: &'static str, to: &Sender<&'static str>) -> bool {
        let to = to.clone();
        work.submit(urgency, move |_| {
            let _ = to.send(name);
        })
    }

    #[test]
    fn final_texts_overtake_looks_and_keep_their_order() {
        let (work, go) = held_up(1);
        let (to, done) = bounded(8);
        told(&work, Urgency::Partial, "look", &to);
        told(&work, Urgency::Final, "first", &to);
        told(&work, Urgency::Final, "second", &to);
        drop((go, to));
        assert_eq!(done.iter().collect::<Vec<_>>(), ["first", "second", "look"]);
    }

    #[test]
    fn an_opinion_is_refused_on_one_core_and_behind_other_looks() {
        let (to, _done) = bounded(8);
        let (one, _go) = held_up(1);
        assert!(!told(&one, Urgency::Opinion, "opinion", &to));
        let (two, _go) = held_up(2);
        assert!(told(&two, Urgency::Opinion, "opinion", &to));
        assert!(!told(&two, Urgency::Opinion, "another", &to));
    }

    #[test]
    fn looks_leave_one_thread_of_two_to_final_texts() {
        let work = Work::with_threads(2);
        let (go, wait) = bounded::<()>(0);
        let (to, done) = bounded(8);
        for _ in 0..2 {
            let (wait, to) = (wait.clone(), to.clone());
            work.submit(Urgency::Partial, move |_| {
                let _ = wait.recv();
                let _ = to.send("look");
            });
        }
        told(&work, Urgency::Final, "final", &to);
        assert_eq!(done.recv(), Ok("final"));
        drop((go, to));
        assert_eq!(done.iter().collect::<Vec<_>>(), ["look", "look"]);
    }

    #[test]
    fn work_that_panics_takes_no_thread_with_it() {
        let work = Work::with_threads(1);
        let (to, done) = bounded(1);
        work.submit(Urgency::Final, |_| panic!("a panic that the test wants"));
        told(&work, Urgency::Final, "after", &to);
        assert_eq!(done.recv(), Ok("after"));
    }

    #[test]
    fn the_queue_is_bounded_and_forgotten_at_the_end() {
        let (work, go) = held_up(1);
        let (to, done) = bounded(1);
        let taken = (0..2 * WAITING_MAX).filter(|_| told(&work, Urgency::Partial, "look", &to)).count();
        assert_eq!(taken, WAITING_MAX);
        drop(to);
        work.shared.queue.lock().ended = true;
        drop(go);
        drop(work);
        assert!(done.iter().count() <= 1);
    }
}
