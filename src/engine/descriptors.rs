//! How many descriptors this process may hold: as many as the calls of its settings take, where the system lets it.

#[cfg(target_os = "linux")]
use nix::sys::resource::{Resource, getrlimit, setrlimit};

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
#[cfg(target_os = "linux")]
fn limits() -> Option<(u64, u64)> {
    getrlimit(Resource::RLIMIT_NOFILE).ok()
}

#[cfg(target_os = "linux")]
fn set(soft: u64, hard: u64) {
    // Where the system does not grant it, the limit stays, and is told.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
}

#[cfg(not(target_os = "linux"))]
fn limits() -> Option<(u64, u64)> {
    None
}

#[cfg(not(target_os = "linux"))]
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
