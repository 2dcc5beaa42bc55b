//! How many descriptors this process may hold: as many as the calls of its settings take, where the system lets it.
#![expect(unsafe_code, reason = "resource limits have no safe interface; both calls pass a plain value only")]

/// Descriptors of one call: its two UDP sockets, what wakes its threads and what they wait for, its providers' connections, and
/// the files that it is kept in.
const PER_CALL: u64 = 20;
/// Descriptors beside those of calls: connections of SIP, of the control API and of idle providers.
const BESIDE_CALLS: u64 = 1024;

/// Raises the soft limit on descriptors, which most systems set to 1024 for every process, to what `calls_max` calls take.
/// Returns what an operator is to know where the hard limit does not let it.
#[must_use]
pub fn make_room(calls_max: usize) -> Option<String> {
    let wanted = PER_CALL * calls_max as u64 + BESIDE_CALLS;
    let (soft, hard) = limits()?;
    let granted = wanted.min(hard).max(soft);
    if granted > soft {
        set(granted, hard);
    }
    // Whatever was asked for, what counts is what there is.
    let (soft, _) = limits()?;
    (soft < wanted).then(|| {
        let fit = soft.saturating_sub(BESIDE_CALLS / 8) / PER_CALL;
        format!(
            "{soft} open files are all that this process may have, room for some {fit} calls, and {calls_max} may come at once: \
             let it have {wanted} (ulimit -n, LimitNOFILE=)"
        )
    })
}

/// Returns the soft and the hard limit.
#[cfg(unix)]
fn limits() -> Option<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is a plain out-parameter that outlives the call.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0;
    known.then_some((limit.rlim_cur, limit.rlim_max))
}

#[cfg(unix)]
fn set(soft: u64, hard: u64) {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the limit is read only, and outlives the call.
    unsafe {
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
}

#[cfg(not(unix))]
fn limits() -> Option<(u64, u64)> {
    None
}

#[cfg(not(unix))]
fn set(_soft: u64, _hard: u64) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_never_made_less_and_a_lack_is_told() {
        let before = limits().expect("a system with limits");
        assert_eq!(make_room(0).is_some(), before.1 < BESIDE_CALLS);
        assert!(limits().is_some_and(|(soft, hard)| soft >= before.0 && hard == before.1));
        let told = make_room(usize::MAX / 64).expect("more than any system has");
        assert!(told.contains("open files") && told.contains("LimitNOFILE="), "{told}");
    }
}
