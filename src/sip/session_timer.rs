//! Session timers (RFC 4028): a call whose peer is gone ends, on hold too; either side refreshes.

use super::message::{Method, Request};
use super::params::{Cursor, Params};
use super::reason::{Cause, Reason};
use super::reply::Reply;
use super::response::{ALLOW, Response};
use super::session::{Session, State};
use super::{EndedBy, Event, UserAgent, options};
use crate::ids::CallId;
use crate::time::Instant;
use std::time::Duration;

/// The shortest session interval that is agreed to, in seconds: below it a refresh is more load than use (RFC 4028 §4).
pub const MIN_SE_S: u32 = 90;

/// How long before the end of the interval a session that was not refreshed is given up: this, or a third of the
/// interval where that is less (RFC 4028 §10).
const EARLY_BYE: Duration = Duration::from_secs(32);

/// How soon a refresh is tried again that met an open request of the peer: few are open for longer.
const BUSY: Duration = Duration::from_secs(1);

/// How soon a refresh is tried again that the peer refused for a reason of its own.
const REFUSED: Duration = Duration::from_secs(10);

/// The longest that a Retry-After is followed, in seconds: as much as we would ask for ourselves (RFC 3261 §14.2).
const RETRY_AFTER_MAX_S: u64 = 10;

/// Who refreshes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refresher {
    Us,
    Peer,
}

/// What a request and our 2xx to it, or the other way round, agree upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    interval_s: u32,
    refresher: Refresher,
    /// The smallest interval that a peer has asked for, in seconds.
    least_s: u32,
    /// Whether the peer knows of session timers; one that does not is refreshed by us.
    peer_knows: bool,
}

impl Terms {
    /// Decides upon an INVITE, re-INVITE or UPDATE (RFC 4028 §9, table 2). `own_s` is the interval that is wanted where the
    /// peer says none, in seconds; 0: none is.
    ///
    /// # Errors
    ///
    /// 422: the interval is too small, and the peer can do something about it.
    pub(super) fn for_request(request: &Request, own_s: u32) -> Result<Option<Self>, TooSmall> {
        let peer_knows = request.tokens("Supported").chain(request.tokens("Require")).any(|tag| tag == "timer");
        let least_s = request.header("Min-SE").and_then(seconds).unwrap_or(0);
        let asked = request.header("Session-Expires").and_then(read);
        let terms = |interval_s, refresher| Some(Self { interval_s, refresher, peer_knows, least_s: MIN_SE_S });
        Ok(match (asked, peer_knows) {
            (Some((interval_s, _)), true) if interval_s < MIN_SE_S => return Err(TooSmall),
            (Some((interval_s, Some(Side::Uas))), true) => terms(interval_s, Refresher::Us),
            (Some((interval_s, _)), true) => terms(interval_s, Refresher::Peer),
            // A proxy wants it, and the peer would not understand a 422.
            (Some((interval_s, _)), false) => terms(interval_s.max(MIN_SE_S), Refresher::Us),
            (None, _) if own_s == 0 => None,
            (None, true) => terms(own_s.max(least_s), Refresher::Peer),
            (None, false) => terms(own_s.max(least_s), Refresher::Us),
        })
    }

    /// Reads the 2xx to a request of ours that asked for these terms (RFC 4028 §7.2); `None`: the session does not expire.
    fn accepted(self, reply: &Reply) -> Option<Self> {
        match reply.header("Session-Expires").and_then(read) {
            Some((interval_s, side)) => {
                let refresher = if side == Some(Side::Uas) { Refresher::Peer } else { Refresher::Us };
                Some(Self { interval_s: interval_s.max(MIN_SE_S), refresher, peer_knows: true, ..self })
            }
            // A peer that knows nothing of session timers is sent refreshes all the same: that it answers shows that it
            // is there.
            None => Some(self).filter(|terms| !terms.peer_knows),
        }
    }

    /// Returns what a call of ours asks for; `own_s` is the interval in seconds, 0: nothing is asked for.
    pub(super) const fn for_call(own_s: u32) -> Option<Self> {
        if own_s == 0 {
            return None;
        }
        Some(Self { interval_s: own_s, refresher: Refresher::Us, peer_knows: false, least_s: MIN_SE_S })
    }

    /// Reads the 2xx to a call of ours.
    pub(super) fn of_call(asked: Option<Self>, reply: &Reply) -> Option<Self> {
        let nothing = Self { interval_s: 0, refresher: Refresher::Us, peer_knows: true, least_s: MIN_SE_S };
        asked.unwrap_or(nothing).accepted(reply)
    }

    /// Adds what a 2xx says about it (RFC 4028 §9).
    pub(super) fn complete(self, response: Response) -> Response {
        let side = if self.refresher == Refresher::Us { "uas" } else { "uac" };
        let response = response.with("Session-Expires", format!("{};refresher={side}", self.interval_s));
        if self.peer_knows { response.with("Require", "timer") } else { response }
    }

    /// Returns the headers of a request of ours.
    pub(super) fn headers(self) -> [(&'static str, String); 2] {
        // For a first request the peer may choose; a refresh stays with who does it (RFC 4028 §7.4).
        let expires = format!("{};refresher=uac", self.interval_s);
        [("Session-Expires", expires), ("Min-SE", self.least_s.to_string())]
    }
}

/// 422, with Min-SE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooSmall;

/// Whose side of the transaction refreshes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Uac,
    Uas,
}

fn read(value: &str) -> Option<(u32, Option<Side>)> {
    let mut cursor = Cursor::new(value);
    let interval_s = seconds(cursor.take_until(&[';']))?;
    let params = Params::read(&mut cursor)?;
    let side = params.value("refresher").and_then(|side| match side.to_ascii_lowercase().as_str() {
        "uac" => Some(Side::Uac),
        "uas" => Some(Side::Uas),
        _ => None,
    });
    Some((interval_s, side))
}

/// Reads a number of seconds; more than fits is as long as can be.
fn seconds(value: &str) -> Option<u32> {
    let value = value.split(';').next()?.trim();
    let all_digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| value.parse().unwrap_or(u32::MAX))
}

/// The timer of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionTimer {
    terms: Terms,
    /// When our refresh is due; `None` while it is on its way, and where the peer refreshes.
    refresh_at: Option<Instant>,
    expires_at: Instant,
}

impl SessionTimer {
    pub(super) fn start(terms: Terms, now: Instant) -> Self {
        let interval = Duration::from_secs(terms.interval_s.into());
        match terms.refresher {
            // "Half the session interval" (RFC 4028 §7.2), which leaves the other half to try again.
            Refresher::Us => Self { terms, refresh_at: Some(now + interval / 2), expires_at: now + interval },
            Refresher::Peer => {
                let expires_at = now + (interval - EARLY_BYE.min(interval / 3));
                Self { terms, refresh_at: None, expires_at }
            }
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.refresh_at.map_or(self.expires_at, |at| at.min(self.expires_at))
    }
}

/// A refresh of ours that is not answered yet.
#[derive(Debug)]
pub(super) struct Refresh {
    branch: String,
    pub(super) method: Method,
}

impl UserAgent {
    /// Takes the passage of time for a session's timer.
    pub(super) fn handle_session_timer(&mut self, call: CallId, now: Instant) {
        let Some(timer) = self.sessions.get(call).and_then(|session| session.timer) else { return };
        if timer.expires_at <= now {
            self.sessions.with(call, |session, _| session.timer = None);
            let reason = Reason::new(Cause::TimerExpired, "the session was not refreshed");
            return self.hang_up(call, reason, EndedBy::Engine, now);
        }
        if timer.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_session(call, timer.terms, now);
        }
    }

    /// Sends a refresh: UPDATE without a description where the peer takes it, else re-INVITE with the one that stands.
    fn refresh_session(&mut self, call: CallId, terms: Terms, now: Instant) {
        let Some(session) = self.sessions.get(call) else { return };
        if !matches!(session.state, State::Established) || session.refresh.is_some() {
            return;
        }
        if session.reoffer.is_some() || session.unacknowledged.is_some() {
            return self.refresh_again(call, now + BUSY);
        }
        let method = if session.allows_update { Method::Update } else { Method::Invite };
        let mut headers = vec![
            ("Contact", session.dialog.flow.contact(false)),
            ("Allow", ALLOW.to_owned()),
            ("Supported", options::SUPPORTED.to_owned()),
            ("User-Agent", self.product.clone()),
        ];
        headers.extend(terms.headers());
        let description = session.description.clone();
        let body = (method == Method::Invite).then_some(("application/sdp", description.as_slice()));
        let sent = self.send_in_dialog(call, method, &headers, body, now);
        self.sessions.with(call, |session, _| {
            if let Some(timer) = &mut session.timer {
                timer.refresh_at = None;
            }
            session.refresh = sent.map(|branch| Refresh { branch, method });
        });
        if self.sessions.get(call).is_some_and(|session| session.refresh.is_none()) {
            // There was no room to wait for its answer.
            self.refresh_again(call, now + REFUSED);
        }
    }

    fn refresh_again(&mut self, call: CallId, at: Instant) {
        self.sessions.with(call, |session, _| {
            if let Some(timer) = &mut session.timer {
                timer.refresh_at = Some(at);
            }
        });
    }

    /// Takes the final answer to the request with this branch, if that was a refresh; returns whether it was.
    pub(super) fn handle_refreshed(
        &mut self,
        call: CallId,
        branch: &str,
        status: u16,
        reply: Option<&Reply>,
        now: Instant,
    ) -> bool {
        let ours = |refresh: &mut Refresh| refresh.branch == branch;
        let refresh = self.sessions.with(call, |session, _| session.refresh.take_if(ours)).flatten();
        let Some(refresh) = refresh else { return false };
        let Some(session) = self.sessions.get(call).filter(|session| matches!(session.state, State::Established))
        else {
            return true;
        };
        let Some(terms) = session.timer.map(|timer| timer.terms) else { return true };
        match (status, reply) {
            (200..300, Some(reply)) => self.refreshed(call, &refresh, terms, reply, now),
            // RFC 3261 §12.2.1.2: the dialog is gone.
            (408 | 481, _) => {
                let reason = Reason::new(Cause::TimerExpired, format!("the session's refresh was answered {status}"));
                self.hang_up(call, reason, EndedBy::Engine, now);
            }
            (422, Some(reply)) => self.raise_interval(call, terms, reply, now),
            (405 | 501, _) if refresh.method == Method::Update => {
                self.sessions.with(call, |session, _| session.allows_update = false);
                self.refresh_again(call, now);
            }
            (491, _) => {
                // RFC 3261 §14.1: whose Call-ID it is waits 2.1 to 4 s, the other 0 to 2 s, in steps of 10 ms.
                let steps = if session.dialog.is_ours() { 210..=400 } else { 0..=200 };
                let wait = Duration::from_millis(10 * self.rng.u64(steps));
                self.refresh_again(call, now + wait);
            }
            (_, reply) => {
                let wait = reply.and_then(Reply::retry_after_s).map(|seconds| seconds.min(RETRY_AFTER_MAX_S));
                self.refresh_again(call, now + wait.map_or(REFUSED, Duration::from_secs));
            }
        }
        true
    }

    fn refreshed(&mut self, call: CallId, refresh: &Refresh, terms: Terms, reply: &Reply, now: Instant) {
        self.sessions.with(call, |session, _| {
            session.dialog.refresh_target(reply.contact_uri().as_deref());
            session.timer = terms.accepted(reply).map(|terms| SessionTimer::start(terms, now));
        });
        if let Some(answer) = reply.session_description().filter(|_| refresh.method == Method::Invite) {
            self.out.event(Event::Reanswered { call, answer: answer.to_vec() });
        }
    }

    /// 422 to our refresh (RFC 4028 §7.4): as long as the peer wants it, once.
    fn raise_interval(&mut self, call: CallId, terms: Terms, reply: &Reply, now: Instant) {
        let least_s = reply.header("Min-SE").and_then(seconds).filter(|least_s| *least_s > terms.interval_s);
        let Some(interval_s) = least_s else { return self.refresh_again(call, now + REFUSED) };
        self.sessions.with(call, |session, _| {
            if let Some(timer) = &mut session.timer {
                timer.terms = Terms { interval_s, least_s: interval_s, ..timer.terms };
            }
        });
        self.refresh_again(call, now);
    }
}

impl Session {
    /// Begins the interval that our 2xx to the peer's request says.
    pub(super) fn restart_timer(&mut self, terms: Option<Terms>, now: Instant) {
        self.timer = terms.map(|terms| SessionTimer::start(terms, now));
    }
}

/// Whether the sender takes UPDATE; `None` where it does not say what it takes.
pub(super) fn allows_update<'v>(allow: impl Iterator<Item = &'v str>) -> Option<bool> {
    let mut methods = allow.flat_map(|value| value.split(',')).map(str::trim).peekable();
    methods.peek()?;
    Some(methods.any(|method| method == "UPDATE"))
}

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::super::rig::{Caller, Rig};
    use super::*;
    use crate::config;

    const NOTHING: [&str; 0] = [];

    fn established(headers: &str) -> (Rig, Caller, CallId) {
        let mut rig = Rig::new();
        let mut caller = Caller::new("a");
        caller.headers += headers;
        let call = rig.establish(&mut caller);
        (rig, caller, call)
    }

    /// What the 200 to an INVITE with these headers says.
    fn agreed(headers: &str) -> (Option<String>, bool) {
        let (rig, ..) = established(headers);
        let ok = rig.sent.iter().find(|sent| sent.text.contains("v=0 ours")).expect("the 200");
        (ok.header("Session-Expires").map(str::to_owned), ok.header("Require") == Some("timer"))
    }

    /// An answer to the latest request of ours.
    fn answer(rig: &Rig, status: &str, headers: &str) -> String {
        let ours = rig.last();
        let copied = ["Via", "From", "To", "Call-ID", "CSeq"]
            .map(|name| format!("{name}: {}\r\n", ours.header(name).expect(name)));
        format!("SIP/2.0 {status}\r\n{}{headers}\r\n", copied.concat())
    }

    #[test]
    fn every_row_of_table_2_is_kept() {
        for (headers, expires, required) in [
            ("Supported: timer\r\nSession-Expires: 100\r\n", "100;refresher=uac", true),
            ("Supported: timer\r\nx: 100;refresher=uac\r\n", "100;refresher=uac", true),
            ("Supported: replaces, timer\r\nx: 100 ; refresher = UAS\r\n", "100;refresher=uas", true),
            ("Session-Expires: 100\r\n", "100;refresher=uas", false),
            ("Session-Expires: 100;refresher=uac\r\n", "100;refresher=uas", false),
            // Nobody has asked, and we do.
            ("Supported: timer\r\n", "1800;refresher=uac", true),
            ("Supported: timer\r\nMin-SE: 7200\r\n", "7200;refresher=uac", true),
            ("", "1800;refresher=uas", false),
            // Too small, but 422 would not be understood.
            ("Session-Expires: 30\r\n", "90;refresher=uas", false),
            ("Session-Expires: soon\r\n", "1800;refresher=uas", false),
        ] {
            assert_eq!(agreed(headers), (Some(expires.to_owned()), required), "{headers}");
        }
        assert!(agreed("Session-Expires: 99999999999\r\n").0.is_some_and(|expires| expires.starts_with("4294967295")));
    }

    #[test]
    fn where_it_is_switched_off_only_callers_begin_it() {
        let mut rig = Rig::with(&config::Sip { session_expires_s: 0, ..config::Sip::default() });
        rig.establish(&mut Caller::new("a"));
        assert!(!rig.sent.iter().any(|sent| sent.header("Session-Expires").is_some()));
        let mut asking = Caller::new("b");
        asking.headers += "Session-Expires: 90\r\n";
        rig.establish(&mut asking);
        assert!(rig.sent.iter().any(|sent| sent.header("Session-Expires").is_some()));
    }

    #[test]
    fn a_session_that_the_peer_does_not_refresh_ends() {
        let (mut rig, _, call) = established("Supported: timer\r\nSession-Expires: 300;refresher=uac\r\n");
        let sent = rig.run(Duration::from_secs(268));
        assert_eq!(sent, [(268_000, "BYE sip:a@127.0.0.1:40000;ob".to_owned())]);
        assert_eq!(rig.last().header("Reason"), Some("Q.850;cause=102;text=\"the session was not refreshed\""));
        let reason = "the session was not refreshed".into();
        assert_eq!(rig.events(), [Event::Ended { call, by: EndedBy::Engine, reason }]);
    }

    #[test]
    fn the_peers_refresh_by_update_or_reinvite_keeps_the_session() {
        let (mut rig, mut caller, call) = established("Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n");
        // A third of it before the end.
        rig.run(Duration::from_secs(45));
        let timer = "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\nMin-SE: 90\r\n";
        assert_eq!(rig.say(&caller.request("UPDATE", timer, "")), ["200 OK"]);
        assert_eq!(rig.last().header("Session-Expires"), Some("90;refresher=uac"));
        assert_eq!(rig.run(Duration::from_secs(59)), []);
        let headers = format!("Contact: <sip:a@127.0.0.1:40000;ob>\r\n{timer}");
        assert_eq!(rig.say(&caller.request("INVITE", &headers, "v=0 theirs")), ["100 Trying"]);
        rig.command(Command::AcceptReoffer { call, sdp: Some(b"v=0 again".to_vec()) });
        assert_eq!(
            (rig.last().header("Session-Expires"), rig.last().header("Require")),
            (Some("90;refresher=uac"), Some("timer"))
        );
        rig.say(&caller.ack(""));
        assert_eq!(rig.run(Duration::from_secs(59)), []);
        assert!(rig.run(Duration::from_secs(1)).iter().any(|(_, what)| what.starts_with("BYE")));
    }

    #[test]
    fn a_refresh_of_too_short_an_interval_is_refused() {
        let (mut rig, mut caller, _) = established("");
        let update = caller.request("UPDATE", "Supported: timer\r\nSession-Expires: 60\r\n", "");
        assert_eq!(rig.say(&update), ["422 Session Interval Too Small"]);
        assert_eq!(rig.last().header("Min-SE"), Some("90"));
        assert_eq!(rig.ua.live_calls(), 1);
    }

    #[test]
    fn we_refresh_by_update_at_half_time_where_the_peer_takes_it() {
        let (mut rig, ..) =
            established("Supported: timer\r\nSession-Expires: 90;refresher=uas\r\nAllow: INVITE, UPDATE\r\n");
        for _ in 0..3 {
            let at = rig.now.as_nanos() / 1_000_000 + 45_000;
            assert_eq!(rig.run(Duration::from_secs(45)), [(at, "UPDATE sip:a@127.0.0.1:40000;ob".to_owned())]);
            let update = rig.last();
            assert_eq!(update.header("Session-Expires"), Some("90;refresher=uac"));
            assert!(update.header("Contact").is_some() && update.header("Supported").is_some());
            assert!(update.text.ends_with("Content-Length: 0\r\n\r\n"));
            assert_eq!(
                rig.say(&answer(&rig, "200 OK", "Require: timer\r\nSession-Expires: 90;refresher=uac\r\n")),
                NOTHING
            );
        }
        assert_eq!(rig.events(), []);
        assert_eq!(rig.ua.live_calls(), 1);
    }

    #[test]
    fn we_refresh_by_reinvite_where_the_peer_does_not_take_update() {
        let (mut rig, _, call) = established("Session-Expires: 90\r\nAllow: INVITE, ACK, BYE\r\n");
        assert_eq!(rig.run(Duration::from_secs(45)), [(45_000, "INVITE sip:a@127.0.0.1:40000;ob".to_owned())]);
        assert!(rig.last().text.ends_with("\r\n\r\nv=0 ours"), "{}", rig.last().text);
        let ok = answer(&rig, "200 OK", "Content-Type: application/sdp\r\nContact: <sip:n@h>\r\n") + "v=0 theirs";
        assert_eq!(rig.say(&ok), ["ACK sip:n@h"]);
        assert_eq!(rig.last().header("CSeq"), Some("1 ACK"));
        assert_eq!(rig.say(&ok), ["ACK sip:n@h"]);
        assert_eq!(rig.events(), [Event::Reanswered { call, answer: b"v=0 theirs".to_vec() }]);
        // It knows nothing of session timers: we go on asking.
        assert_eq!(rig.run(Duration::from_secs(45)), [(90_000, "INVITE sip:n@h".to_owned())]);
    }

    #[test]
    fn an_answer_may_hand_the_refresh_over_or_end_it() {
        let asked = "Supported: timer\r\nSession-Expires: 90;refresher=uas\r\nAllow: UPDATE\r\n";
        let (mut rig, ..) = established(asked);
        rig.run(Duration::from_secs(45));
        rig.say(&answer(&rig, "200 OK", "Session-Expires: 120;refresher=uas\r\n"));
        assert_eq!(rig.run(Duration::from_secs(79)), []);
        assert!(rig.run(Duration::from_secs(9)).iter().any(|(_, what)| what.starts_with("BYE")));
        let (mut rig, ..) = established(asked);
        rig.run(Duration::from_secs(45));
        rig.say(&answer(&rig, "200 OK", ""));
        assert_eq!(rig.run(Duration::from_secs(10_000)), []);
    }

    #[test]
    fn a_refresh_that_the_peer_does_not_know_or_answer_ends_the_call() {
        let (mut rig, _, call) = established("Session-Expires: 90\r\nAllow: UPDATE\r\n");
        rig.run(Duration::from_secs(45));
        assert_eq!(rig.say(&answer(&rig, "481 Gone", "")), ["BYE sip:a@127.0.0.1:40000;ob"]);
        let reason = "the session's refresh was answered 481".into();
        assert_eq!(rig.events(), [Event::Ended { call, by: EndedBy::Engine, reason }]);
        let (mut rig, ..) = established("Session-Expires: 90\r\nAllow: UPDATE\r\n");
        let sent = rig.run(Duration::from_secs(45 + 32));
        assert_eq!(sent.last(), Some(&(77_000, "BYE sip:a@127.0.0.1:40000;ob".to_owned())));
    }

    #[test]
    fn a_refused_refresh_is_tried_again_as_the_refusal_asks_for() {
        for (status, headers, from_ms, to_ms, what, expires) in [
            ("500 Busy", "Retry-After: 3\r\n", 3_000, 3_000, "UPDATE", "90"),
            ("500 Busy", "Retry-After: 3000\r\n", 10_000, 10_000, "UPDATE", "90"),
            ("488 No", "", 10_000, 10_000, "UPDATE", "90"),
            (
                "401 Who Are You",
                "WWW-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\n",
                10_000,
                10_000,
                "UPDATE",
                "90",
            ),
            // Glare: the Call-ID is the peer's.
            ("491 Request Pending", "", 0, 2_000, "UPDATE", "90"),
            ("422 Too Small", "Min-SE: 600\r\n", 0, 0, "UPDATE", "600"),
            ("422 Too Small", "Min-SE: 60\r\n", 10_000, 10_000, "UPDATE", "90"),
            ("405 No", "", 0, 0, "INVITE", "90"),
        ] {
            let (mut rig, ..) = established("Session-Expires: 90\r\nAllow: UPDATE\r\n");
            rig.run(Duration::from_secs(45));
            assert_eq!(rig.say(&answer(&rig, status, headers)), NOTHING, "{status}");
            let sent = rig.run(Duration::from_millis(to_ms));
            assert!(!sent.is_empty(), "{status}");
            assert!((45_000 + from_ms..=45_000 + to_ms).contains(&sent[0].0), "{status}: {sent:?}");
            assert!(sent[0].1.starts_with(what) && rig.last().header("Authorization").is_none(), "{status}");
            assert!(rig.last().header("Session-Expires").is_some_and(|value| value.starts_with(expires)), "{status}");
            assert_eq!((rig.events(), rig.ua.live_calls()), (vec![], 1), "{status}");
        }
    }

    #[test]
    fn offers_that_meet_are_both_refused() {
        let (mut rig, mut caller, call) = established("Session-Expires: 90\r\nAllow: INVITE\r\n");
        rig.run(Duration::from_secs(45));
        let refresh = rig.last().clone();
        assert_eq!(rig.say(&caller.reinvite()), ["491 Request Pending"]);
        assert_eq!(rig.say(&caller.ack_refusal()), NOTHING);
        rig.sent.push(refresh);
        assert_eq!(rig.say(&answer(&rig, "491 Request Pending", "")), ["ACK sip:a@127.0.0.1:40000;ob"]);
        // The peer is the first to try again; ours waits until that is done.
        assert_eq!(rig.say(&caller.reinvite()), ["100 Trying"]);
        assert!(rig.run(Duration::from_secs(3)).is_empty());
        rig.command(Command::AcceptReoffer { call, sdp: Some(b"v=0 again".to_vec()) });
        assert_eq!(rig.say(&caller.ack("")), NOTHING);
        assert_eq!(rig.run(Duration::from_secs(44)), []);
        assert_eq!(rig.run(Duration::from_secs(1)).len(), 1);
        assert!(rig.last().text.ends_with("v=0 again"));
    }
}
