//! What is taken of each source before anything is read, and what is answered: floods end here.
//!
//! UDP sources are forged easily, so nothing that one datagram says bans anybody: a ban needs wrong answers to a nonce that
//! was made for that very address. A flow that is known, because its REGISTER was accepted or its call acknowledged, has a
//! budget of its own, which neither a ban of its address nor a flood from it touches.

use crate::config::Limits;
use crate::time::Instant;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Addresses whose budgets are kept. Where there are more, those that have used least are forgotten, and begin with a full
/// budget; the budget of all strangers together holds in any case.
pub const SOURCES_MAX: usize = 4096;

/// Flows that are known at a time: several per telephone of a large office. Those that end first give way.
pub const FLOWS_MAX: usize = 16_384;

/// Addresses whose wrong passwords are counted. Each has answered a nonce, and so is not forged.
const SUSPECTS_MAX: usize = 4096;

/// Wrong passwords for one user, from anywhere, that are checked each second once there were many. Enough that its owner
/// still gets through from a new address, and too few to guess a password within a year.
const USER_CHECKS_PER_S: u32 = 10;

/// How long a flow is known after it gave right credentials: longer than any registration that is granted.
pub(super) const AUTHENTIC_FOR: Duration = Duration::from_secs(3_700);

/// How long it is known after a call on it was acknowledged, or spoke up again: as long as the longest call.
pub(super) const CALL_FOR: Duration = Duration::from_secs(1_800);

/// Scanners by a part of their User-Agent, in small letters. They get no answer, and nobody is banned for it: the header is
/// as easily forged as the source.
const SCANNERS: [&str; 9] = [
    "friendly-scanner",
    "sipvicious",
    "sipcli",
    "vaxsipuseragent",
    "vaxipuseragent",
    "sundayddr",
    "sip-scan",
    "pplsip",
    "friendly-request",
];

/// Whether a message with this User-Agent comes from a scanner.
pub(super) fn is_scanner(user_agent: &str) -> bool {
    let user_agent = user_agent.to_ascii_lowercase();
    SCANNERS.iter().any(|scanner| user_agent.contains(scanner))
}

/// A token bucket, as the moment at which it would be full again (the virtual scheduling of ITU-T I.371 Annex A).
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes one token, where there is one: another comes back after each `interval`, and `burst` fit.
    fn take(&mut self, interval: Duration, burst: u32, now: Instant) -> bool {
        let full_at = self.full_at.filter(|at| *at > now).unwrap_or(now);
        if full_at.since(now) + interval > interval.saturating_mul(burst.max(1)) {
            return false;
        }
        self.full_at = Some(full_at + interval);
        true
    }
}

/// The time between tokens of which `per_s` come each second.
fn interval(per_s: u32) -> Duration {
    Duration::from_secs(1) / per_s.max(1)
}

/// A bounded table; each entry is worth keeping until some moment.
#[derive(Debug)]
struct Table<K, V> {
    entries: BTreeMap<K, V>,
    most: usize,
}

impl<K: Ord + Copy, V: Default> Table<K, V> {
    const fn new(most: usize) -> Self {
        Self { entries: BTreeMap::new(), most }
    }

    /// Returns the entry of `key`. To make room, all that are `idle` go, and where none is, the half that is worth least.
    fn entry(&mut self, key: K, worth: impl Fn(&V) -> Option<Instant>, now: Instant) -> &mut V {
        if self.entries.len() >= self.most && !self.entries.contains_key(&key) {
            self.entries.retain(|_, value| worth(value).is_some_and(|until| until > now));
            // Half of them at once, so that a flood of forged sources does not sort the table for each datagram.
            if self.entries.len() >= self.most {
                let mut worths: Vec<_> = self.entries.values().map(&worth).collect();
                let (_, median, _) = worths.select_nth_unstable(self.most / 2);
                let median = *median;
                self.entries.retain(|_, value| worth(value) > median);
            }
        }
        self.entries.entry(key).or_default()
    }
}

/// What a stranger's address has left.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    messages: Bucket,
    answers: Bucket,
}

impl Budget {
    fn worth(&self) -> Option<Instant> {
        self.messages.full_at.max(self.answers.full_at)
    }
}

/// A flow that is known.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    until: Option<Instant>,
    messages: Bucket,
}

/// Wrong passwords in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    /// When they are forgotten.
    until: Option<Instant>,
    checks: Bucket,
}

impl Failures {
    const fn worth(&self) -> Option<Instant> {
        self.until
    }

    /// Forgets what is long ago.
    fn decay(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            *self = Self::default();
        }
    }
}

/// Why a message is not looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// Its source has used its budget up.
    Rate,
    /// Its source is banned.
    Banned,
}

/// The budgets, as of the time that they were told last.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Limits,
    now: Instant,
    strangers: Bucket,
    sources: Table<IpAddr, Budget>,
    flows: Table<SocketAddr, Known>,
    suspects: Table<IpAddr, Failures>,
    /// Wrong passwords by user; only of users who exist, of whom there are as many as accounts.
    users: BTreeMap<String, Failures>,
}

impl Admission {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            now: Instant::ZERO,
            strangers: Bucket::default(),
            sources: Table::new(SOURCES_MAX),
            flows: Table::new(FLOWS_MAX),
            suspects: Table::new(SUSPECTS_MAX),
            users: BTreeMap::new(),
        }
    }

    /// Takes the passage of time.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Decides about a message before it is read.
    ///
    /// # Errors
    ///
    /// Why it is to be dropped.
    pub(super) fn admit(&mut self, source: SocketAddr) -> Result<(), Excess> {
        let (limits, now) = (&self.limits, self.now);
        if let Some(known) = self.flows.entries.get_mut(&source).filter(|known| known.until > Some(now)) {
            let per_s = limits.known_messages_per_s;
            return if known.messages.take(interval(per_s), per_s, now) { Ok(()) } else { Err(Excess::Rate) };
        }
        if let Some(suspect) = self.suspects.entries.get_mut(&source.ip()) {
            suspect.decay(now);
            if suspect.count >= limits.failures_banned {
                return Err(Excess::Banned);
            }
        }
        let budget = self.sources.entry(source.ip(), Budget::worth, now);
        // The source's own budget comes first, so that a flood from one takes nothing from that of all.
        let admitted = budget.messages.take(interval(limits.messages_per_s), limits.messages_burst, now)
            && self.strangers.take(interval(limits.strangers_per_s), limits.strangers_per_s, now);
        if admitted { Ok(()) } else { Err(Excess::Rate) }
    }

    /// Whether a refusal may be sent to `source`.
    pub(super) fn may_answer(&mut self, source: SocketAddr) -> bool {
        // Nobody else can take this machine's loopback for a source, nor would anybody else get the answer.
        if self.knows(source) || source.ip().to_canonical().is_loopback() {
            return true;
        }
        let per_s = self.limits.answers_per_s;
        // A burst of two seconds: phones that all register after a power cut, behind one address.
        let budget = self.sources.entry(source.ip(), Budget::worth, self.now);
        budget.answers.take(interval(per_s), per_s.saturating_mul(2), self.now)
    }

    /// Takes note that `flow` belongs to a user or a call, for this long at least.
    pub(super) fn know(&mut self, flow: SocketAddr, duration: Duration) {
        let until = Some(self.now + duration);
        let known = self.flows.entry(flow, |known| known.until, self.now);
        known.until = known.until.max(until);
    }

    /// Whether `flow` is known.
    pub(super) fn knows(&self, flow: SocketAddr) -> bool {
        self.flows.entries.get(&flow).is_some_and(|known| known.until > Some(self.now))
    }

    /// Whether an answer of `source` to a challenge counts: after many wrong ones only now and then, but always where the
    /// flow is known. `user` is the one that is claimed, if it exists.
    pub(super) fn may_check(&mut self, source: SocketAddr, user: Option<&str>) -> bool {
        if self.knows(source) {
            return true;
        }
        let (limits, now) = (&self.limits, self.now);
        let passes = |failures: Option<&mut Failures>, interval: Duration, burst: u32| {
            failures.is_none_or(|failures| {
                failures.decay(now);
                failures.count < limits.failures_free || failures.checks.take(interval, burst, now)
            })
        };
        passes(self.suspects.entries.get_mut(&source.ip()), limits.failure_interval, 1)
            && passes(user.and_then(|user| self.users.get_mut(user)), interval(USER_CHECKS_PER_S), USER_CHECKS_PER_S)
    }

    /// Takes note of wrong credentials. `proven`: they answer a nonce that was made for `source`, so that it is not forged.
    /// Returns how many the source has given in a row, 0 where that is not proven.
    pub(super) fn failed(&mut self, source: SocketAddr, user: Option<&str>, proven: bool) -> u32 {
        let (until, now) = (Some(self.now + self.limits.ban), self.now);
        let fail = |failures: &mut Failures| {
            failures.decay(now);
            failures.count = failures.count.saturating_add(1);
            failures.until = until;
            failures.count
        };
        if !proven {
            return 0;
        }
        if let Some(user) = user {
            match self.users.get_mut(user) {
                Some(failures) => fail(failures),
                None => fail(self.users.entry(user.to_owned()).or_default()),
            };
        }
        fail(self.suspects.entry(source.ip(), Failures::worth, now))
    }

    /// Takes note of right credentials. The count of the address stands: its neighbours may be guessing.
    pub(super) fn succeeded(&mut self, source: SocketAddr, user: &str) {
        self.know(source, AUTHENTIC_FOR);
        self.users.remove(user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        Admission::new(&Limits { failures_free: 5, failures_banned: 30, ..Limits::default() })
    }

    fn source(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn at(admission: &mut Admission, millis: u64) {
        admission.handle_timeout(Instant::from_millis(millis));
    }

    /// Sends a message each millisecond for a second, and returns how many were taken.
    fn flood(admission: &mut Admission, from: SocketAddr, second: u64) -> usize {
        let taken = |millis: &u64| {
            at(admission, second * 1000 + millis);
            admission.admit(from).is_ok()
        };
        (0..1000).filter(taken).count()
    }

    #[test]
    fn a_flood_from_one_source_is_cut_to_its_budget_and_ends_with_it() {
        let mut admission = admission();
        let attacker = source("127.0.0.9:5060");
        assert_eq!(flood(&mut admission, attacker, 0), 600 + 299);
        assert!((299..=301).contains(&flood(&mut admission, attacker, 1)));
        assert_eq!(admission.admit(source("127.0.0.9:9")), Err(Excess::Rate), "another port is the same source");
        assert_eq!(admission.admit(source("127.0.0.1:9")), Ok(()));
        at(&mut admission, 4_000);
        assert_eq!((0..700).filter(|_| admission.admit(attacker).is_ok()).count(), 600);
    }

    #[test]
    fn fifty_calls_a_second_from_one_source_pass() {
        let mut admission = admission();
        for call in 0..200 {
            at(&mut admission, call * 20);
            for _message in ["INVITE", "ACK", "BYE", "INVITE again", "ACK again"] {
                assert_eq!(admission.admit(source("127.0.0.1:5060")), Ok(()));
            }
        }
    }

    #[test]
    fn a_known_flow_has_its_own_budget() {
        let mut admission = admission();
        let phone = source("192.0.2.1:5060");
        admission.know(phone, Duration::from_secs(60));
        while admission.admit(source("192.0.2.1:666")).is_ok() {}
        assert_eq!(admission.admit(phone), Ok(()));
        assert_eq!((0..3000).filter(|_| admission.admit(phone).is_ok()).count(), 1999);
        at(&mut admission, 60_001);
        assert!(!admission.knows(phone));
    }

    #[test]
    fn floods_from_forged_sources_stay_within_the_budget_of_all_strangers() {
        let mut admission = admission();
        let phone = source("192.0.2.1:5060");
        admission.know(phone, Duration::from_secs(60));
        let taken = (0..50_000u32).filter(|n| admission.admit(SocketAddr::new(IpAddr::V4((*n).into()), 1)).is_ok());
        assert_eq!(taken.count(), 3000);
        assert!(admission.sources.entries.len() <= SOURCES_MAX);
        assert_eq!(admission.admit(phone), Ok(()));
        for n in 0..20_000u32 {
            admission.know(SocketAddr::new(IpAddr::V4(n.into()), 1), Duration::from_secs(30));
        }
        assert!(admission.flows.entries.len() <= FLOWS_MAX && admission.knows(phone));
    }

    #[test]
    fn one_address_is_told_so_many_refusals() {
        let mut admission = admission();
        let victim = source("192.0.2.1:5060");
        assert_eq!((0..500).filter(|_| admission.may_answer(victim)).count(), 120);
        at(&mut admission, 500);
        assert_eq!((0..500).filter(|_| admission.may_answer(victim)).count(), 30);
        admission.know(victim, Duration::from_secs(1));
        assert!(admission.may_answer(victim));
        for here in ["127.0.0.1:5060", "[::1]:5060", "[::ffff:127.0.0.1]:5060"] {
            assert!((0..500).all(|_| admission.may_answer(source(here))), "{here} is nobody's victim");
        }
    }

    #[test]
    fn guessing_gets_slow_and_then_ends_in_a_ban_that_ends() {
        let mut admission = admission();
        let (attacker, phone) = (source("192.0.2.1:6666"), source("192.0.2.1:5060"));
        admission.succeeded(phone, "a");
        for count in 1..=5 {
            assert!(admission.may_check(attacker, None));
            assert_eq!(admission.failed(attacker, None, true), count);
        }
        assert!(admission.may_check(attacker, None));
        assert!(!admission.may_check(attacker, None) && admission.may_check(phone, None));
        at(&mut admission, 1_000);
        assert!(admission.may_check(attacker, None));
        for _ in 5..30 {
            admission.failed(attacker, None, true);
        }
        assert_eq!((admission.admit(attacker), admission.admit(phone)), (Err(Excess::Banned), Ok(())));
        at(&mut admission, 301_001);
        assert_eq!(admission.admit(attacker), Ok(()));
    }

    #[test]
    fn a_forged_source_bans_nobody() {
        let mut admission = admission();
        let victim = source("192.0.2.1:5060");
        for _ in 0..100 {
            assert_eq!(admission.failed(victim, Some("a"), false), 0);
        }
        assert_eq!(admission.admit(victim), Ok(()));
        assert!(admission.may_check(victim, Some("a")));
    }

    #[test]
    fn guessing_from_everywhere_slows_one_user_down_and_locks_nobody_out() {
        let mut admission = admission();
        admission.succeeded(source("192.0.2.1:5060"), "a");
        let mut checked = 0;
        for n in 0..1000u32 {
            at(&mut admission, u64::from(n));
            let from = SocketAddr::new(IpAddr::V4((n << 8).into()), 1);
            if admission.may_check(from, Some("a")) {
                checked += 1;
                admission.failed(from, Some("a"), true);
            }
        }
        assert!((15..=30).contains(&checked), "{checked}");
        assert!(admission.may_check(source("192.0.2.1:5060"), Some("a")));
        at(&mut admission, 1_200);
        assert!(admission.may_check(source("198.51.100.1:5060"), Some("a")));
        assert!(admission.may_check(source("198.51.100.2:5060"), Some("b")));
    }

    #[test]
    fn scanners_are_known_by_their_name() {
        assert!(is_scanner("friendly-scanner") && is_scanner("VaxSIPUserAgent/3.1") && is_scanner("sipcli/v1.8"));
        assert!(!is_scanner("MicroSIP/3.22.3") && !is_scanner("baresip v1.0.0 (x86_64/linux)") && !is_scanner(""));
    }
}
