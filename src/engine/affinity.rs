//! Pinning and priority: what the system grants of it, and no more.

#![expect(unsafe_code, reason = "scheduling has no safe interface; each call passes plain values only")]

/// Scheduling priority of a media worker (`sched(7)`: 1 to 99). Above ordinary threads, below the kernel's own at 50.
const MEDIA_PRIORITY: i32 = 20;
/// Scheduling priority of the net thread: below the workers, so that a flood of packets cannot delay the clock.
const NET_PRIORITY: i32 = 10;

/// What a thread was granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// Whether it runs under `SCHED_FIFO`.
    pub fifo: bool,
}

/// Scheduling priority of a call's conductor and of providers that only wait for sockets: above ordinary threads, below all
/// that touches a packet.
const SESSION_PRIORITY: i32 = 5;

/// Which thread asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The n-th media worker.
    Media(usize),
    /// The net thread.
    Net,
    /// A thread of one call that only carries messages.
    Session,
}

/// Returns how many cores the process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Pins the current thread, raises its priority and makes its sleeps exact, as far as the system allows.
///
/// Media workers take the last cores, one each; the net thread takes the one before them where there is one. On a
/// machine with a single core nothing is pinned.
#[must_use]
pub fn settle(role: Role) -> Granted {
    exact_sleeps();
    let cores = cores();
    let (core, priority) = match role {
        Role::Media(n) => (cores.checked_sub(1 + n), MEDIA_PRIORITY),
        // Left to the scheduler: it wakes wherever a core is free.
        Role::Net => (None, NET_PRIORITY),
        Role::Session => (None, SESSION_PRIORITY),
    };
    Granted { core: core.filter(|_| cores > 1).filter(|core| pin(*core)), fifo: fifo(priority) }
}

#[cfg(target_os = "linux")]
fn pin(core: usize) -> bool {
    // SAFETY: an all-zero cpu_set_t is the empty set, CPU_SET bounds its index, and the set outlives the call.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if core >= 8 * size_of::<libc::cpu_set_t>() {
            return false;
        }
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) == 0
    }
}

#[cfg(target_os = "linux")]
fn fifo(priority: i32) -> bool {
    // SAFETY: an all-zero sched_param is valid; it outlives the call.
    unsafe {
        let mut param: libc::sched_param = std::mem::zeroed();
        param.sched_priority = priority;
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const param) == 0
    }
}

/// Sets the current thread's timer slack to 1 ns (`prctl(2)`); the default lets a sleep run 50 µs over.
#[cfg(target_os = "linux")]
fn exact_sleeps() {
    // SAFETY: PR_SET_TIMERSLACK takes one integer and no pointer.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1);
    }
}

/// Locks the process's memory as it is touched, where its limit on locked memory is infinite; a smaller limit would make
/// later allocations fail.
#[cfg(target_os = "linux")]
#[must_use]
pub fn lock_memory() -> bool {
    // SAFETY: the limit is a plain out-parameter that outlives the call; mlockall takes flags only.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        let unlimited =
            libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) == 0 && limit.rlim_cur == libc::RLIM_INFINITY;
        (unlimited || libc::geteuid() == 0)
            && libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) == 0
    }
}

#[cfg(not(target_os = "linux"))]
fn pin(_core: usize) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn fifo(_priority: i32) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn exact_sleeps() {}

/// Locking memory is a Linux matter here.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn lock_memory() -> bool {
    false
}

/// The process's resource use, as `/metrics` shows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time of all threads, in microseconds.
    pub cpu_us: u64,
    /// The largest resident set so far, in bytes.
    pub resident_max_bytes: u64,
}

/// Returns the process's resource use.
#[must_use]
pub fn usage() -> Usage {
    // SAFETY: an all-zero rusage is valid and outlives the call.
    let (ok, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) == 0, usage)
    };
    if !ok {
        return Usage::default();
    }
    let micros =
        |t: libc::timeval| u64::try_from(t.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(t.tv_usec).unwrap_or(0);
    Usage {
        cpu_us: micros(usage.ru_utime) + micros(usage.ru_stime),
        resident_max_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
    }
}
