//! A call that we place: INVITE, CANCEL, the ACK of each 2xx (RFC 3261 §9.1, §13.2). To the target of a REFER here, and of our
//! own accord by [`super::outbound`].
//!
//! Not here: redirection is not followed, and the target of a REFER gets no answer to a challenge: this server has no
//! credentials for others.

use super::dialog::Dialog;
use super::flow::Flow;
use super::message::Method;
use super::outbound::Authentication;
use super::reason::{Cause, Reason};
use super::reply::Reply;
use super::response::ALLOW;
use super::session::{Session, State};
use super::session_timer::{SessionTimer, Terms, allows_update};
use super::transaction::timers::Letter;
use super::{EndedBy, Event, UserAgent, options};
use crate::ids::CallId;
use crate::time::Instant;
use std::time::Duration;

/// How long the target of a transfer may ring: the caller waits that long, and most mailboxes answer before.
pub(super) const RINGING_MAX: Duration = Duration::from_secs(60);

/// An INVITE of ours without its final answer.
#[derive(Debug)]
pub(super) struct Calling {
    pub(super) branch: String,
    /// The call that it is placed for: itself, where the transferor has left already and where the call is our own;
    /// `None`: nobody waits for it any more.
    pub(super) of: Option<CallId>,
    pub(super) terms: Option<Terms>,
    pub(super) cancel: Cancel,
    pub(super) expires_at: Instant,
    /// Set for a call of our own; one that follows a REFER has none.
    pub(super) authentication: Option<Authentication>,
}

/// How far a CANCEL is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancel {
    No,
    /// It waits for a provisional response (RFC 3261 §9.1).
    Wanted(Cause),
    Sent,
}

impl UserAgent {
    /// Calls the target of the referral that is open, with this offer.
    pub(super) fn follow_referral(&mut self, call: CallId, sdp: Vec<u8>, now: Instant) {
        let Some(session) = self.sessions.get(call) else { return };
        let Some(referral) = session.referral.as_ref().filter(|referral| referral.leg.is_none()) else { return };
        let (target, referred_by) = (referral.target.clone(), referral.referred_by.clone());
        let Some(from) = session.dialog.local_uri() else { return self.fail_referral(call, 500, now) };
        let (call_id, tag, branch) = (self.tags.fresh(), self.tags.fresh(), self.tags.branch());
        let mut dialog = Dialog::calling(call_id, tag, &format!("<{from}>"), &target.uri, target.flow);
        let terms = Terms::for_call(self.settings.session_expires_s);
        let mut headers = self.invite_headers(target.flow, terms);
        headers.extend(referred_by.map(|value| ("Referred-By", value)));
        if let Some(replaces) = &target.replaces {
            headers.extend([("Replaces", replaces.to_string()), ("Require", "replaces".to_owned())]);
        }
        let Some(invite) = dialog.request(Method::Invite, &branch, &headers, Some(("application/sdp", &sdp))) else {
            return self.fail_referral(call, 500, now);
        };
        let expires_at = now + RINGING_MAX;
        let calling = Calling {
            branch: branch.clone(),
            of: Some(call),
            terms,
            cancel: Cancel::No,
            expires_at,
            authentication: None,
        };
        let mut leg = Session::new(dialog, State::Calling(Box::new(calling)), false);
        leg.description = sdp;
        let leg = self.sessions.insert(leg);
        self.sessions.with(call, |session, _| {
            if let Some(referral) = &mut session.referral {
                referral.leg = Some(leg);
            }
        });
        if !self.transactions.request(leg, invite, now, &mut self.out) {
            self.call_failed(leg, 503, None, now);
        }
    }

    /// Returns what an INVITE of ours says of us.
    pub(super) fn invite_headers(&self, flow: Flow, terms: Option<Terms>) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("Contact", flow.contact(false)),
            ("Allow", ALLOW.to_owned()),
            // Not 100rel: a provisional response that is lost does no harm here.
            ("Supported", options::SUPPORTED.replace("100rel, ", "")),
            ("User-Agent", self.product.clone()),
        ];
        headers.extend(terms.into_iter().flat_map(Terms::headers).map(|(name, value)| {
            // The peer may choose who refreshes.
            (name, value.replace(";refresher=uac", ""))
        }));
        headers
    }

    /// Takes a response to an INVITE that makes a dialog; returns whether it was one.
    pub(super) fn handle_call_reply(&mut self, leg: CallId, reply: &Reply, now: Instant) -> bool {
        let Some(session) = self.sessions.get(leg) else { return false };
        match &session.state {
            State::Calling(calling) if calling.branch == reply.branch => {}
            _ => return self.refuse_fork(leg, reply, now),
        }
        match reply.status {
            status @ ..200 => {
                if self.is_ours(leg) && status > 100 {
                    self.out.event(Event::Progress { call: leg, status });
                }
                self.send_wanted_cancel(leg, now);
            }
            200..300 => self.call_answered(leg, reply, now),
            _ if self.call_again(leg, reply, now) => {}
            status => self.call_failed(leg, status, Some(reply), now),
        }
        true
    }

    fn call_answered(&mut self, leg: CallId, reply: &Reply, now: Instant) {
        let branch = self.tags.branch();
        let answered = self.sessions.with(leg, |session, _| {
            let State::Calling(calling) = &session.state else { return None };
            let (of, terms) = (calling.of.filter(|_| calling.cancel == Cancel::No), calling.terms);
            let is_ours = calling.authentication.is_some();
            let dialog = session.dialog.established(reply);
            let ack = dialog.acknowledge(reply.cseq, &branch)?;
            session.acknowledged = Some((reply.cseq, ack.clone()));
            session.allows_update = allows_update(reply.values("Allow")).unwrap_or(false);
            session.timer = Terms::of_call(terms, reply).map(|terms| SessionTimer::start(terms, now));
            session.state = State::Established;
            Some((of, is_ours, dialog, ack))
        });
        let Some((of, is_ours, dialog, ack)) = answered.flatten() else {
            return self.call_failed(leg, 500, Some(reply), now);
        };
        self.out.send(dialog.flow, ack);
        let (peer, source) = (dialog.peer(), dialog.flow.peer);
        self.sessions.set_dialog(leg, dialog);
        let (of, answer) = match (of, reply.session_description()) {
            (Some(of), Some(answer)) => (of, answer.to_vec()),
            (of, _) => {
                // Cancelled too late, wanted by nobody, or without an answer to our offer (RFC 3261 §13.2.2.4).
                let reason =
                    Reason::new(Cause::Normal, if of.is_some() { "no answer to the offer" } else { "cancelled" });
                self.sessions.with(leg, |session, _| session.state = State::Leaving { reason });
                self.leg_failed(of, leg, (488, None), is_ours, now);
                return self.send_bye(leg, now);
            }
        };
        if is_ours {
            return self.out.event(Event::Answered { call: leg, answer });
        }
        if of != leg {
            self.transferred(of, leg, now);
        }
        self.out.event(Event::Transferred { call: of, answer, peer, source });
    }

    /// Whether a call without its final answer is of our own accord.
    fn is_ours(&self, leg: CallId) -> bool {
        let session = self.sessions.get(leg).map(|session| &session.state);
        matches!(session, Some(State::Calling(calling)) if calling.authentication.is_some())
    }

    /// The INVITE of `leg` has failed with `status`; without `reply` nobody said so.
    pub(super) fn call_failed(&mut self, leg: CallId, status: u16, reply: Option<&Reply>, now: Instant) {
        let Some(session) = self.sessions.get(leg) else { return };
        let State::Calling(calling) = &session.state else { return };
        let (of, is_ours) = (calling.of, calling.authentication.is_some());
        self.leg_failed(of, leg, (status, reply), is_ours, now);
        self.sessions.remove(leg);
    }

    fn leg_failed(
        &mut self,
        of: Option<CallId>,
        leg: CallId,
        (status, reply): (u16, Option<&Reply>),
        is_ours: bool,
        now: Instant,
    ) {
        match of {
            Some(call) if is_ours => self.placing_failed(call, status, reply),
            Some(call) if call == leg => {
                let reason = format!("transferred, but the target said {status}");
                self.out.event(Event::Ended { call, by: EndedBy::Caller, reason });
            }
            Some(call) => self.fail_referral(call, status, now),
            None => {}
        }
    }

    /// Takes a call of ours back: nobody waits for it any more, or it has rung too long.
    pub(super) fn cancel_call(&mut self, leg: CallId, cause: Cause, now: Instant) {
        self.sessions.with(leg, |session, timers| {
            if let State::Calling(calling) = &mut session.state
                && calling.cancel == Cancel::No
            {
                calling.cancel = Cancel::Wanted(cause);
                // RFC 3261 §9.1: after this the transaction is taken for cancelled.
                calling.expires_at = now + timers.length(Letter::B);
            }
        });
        self.send_wanted_cancel(leg, now);
    }

    fn send_wanted_cancel(&mut self, leg: CallId, now: Instant) {
        let Some(session) = self.sessions.get(leg) else { return };
        let State::Calling(calling) = &session.state else { return };
        let Cancel::Wanted(cause) = calling.cancel else { return };
        if !self.transactions.is_cancellable(&calling.branch) {
            return;
        }
        let text = if cause == Cause::NoAnswer { "not answered in time" } else { "hung up" };
        let cancel = session.dialog.cancel(&calling.branch, &Reason::new(cause, text).value());
        self.sessions.with(leg, |session, _| {
            if let State::Calling(calling) = &mut session.state {
                calling.cancel = Cancel::Sent;
            }
        });
        if let Some(cancel) = cancel {
            self.transactions.request(leg, cancel, now, &mut self.out);
        }
    }

    /// Takes the passage of time for a call of ours that is not answered.
    pub(super) fn handle_calling_timeout(&mut self, leg: CallId, now: Instant) {
        let Some(session) = self.sessions.get(leg) else { return };
        let State::Calling(calling) = &session.state else { return };
        if calling.expires_at > now {
            return;
        }
        if calling.cancel == Cancel::No {
            return self.cancel_call(leg, Cause::NoAnswer, now);
        }
        let branch = calling.branch.clone();
        self.transactions.forget(&branch, Method::Invite);
        self.call_failed(leg, 487, None, now);
    }

    /// A 2xx of another branch of our INVITE: acknowledged, and ended by BYE (RFC 3261 §13.2.2.4); returns whether it was.
    fn refuse_fork(&mut self, leg: CallId, reply: &Reply, now: Instant) -> bool {
        let branch = self.tags.branch();
        let Some(session) = self.sessions.get(leg) else { return false };
        let is_of_the_call = session.acknowledged.as_ref().is_some_and(|(cseq, _)| *cseq == reply.cseq);
        let other = session.dialog.established(reply);
        if !(200..300).contains(&reply.status) || !is_of_the_call || other.id() == session.dialog.id() {
            return false;
        }
        // One that came before is on its way out already.
        if self.sessions.find_dialog(other.id()).is_none() {
            let ack = other.acknowledge(reply.cseq, &branch);
            ack.into_iter().for_each(|ack| self.out.send(other.flow, ack));
            let reason = Reason::new(Cause::Normal, "answered elsewhere");
            let other = self.sessions.insert(Session::new(other, State::Leaving { reason }, false));
            self.send_bye(other, now);
        }
        true
    }
}
