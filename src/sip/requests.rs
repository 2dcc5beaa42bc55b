//! Requests of ours within calls, and what becomes of them (RFC 3261 §8.1.3, §12.2.1, §13.2.2.4).

use super::UserAgent;
use super::dialog::Body;
use super::message::Method;
use super::outbound::REGISTRATION;
use super::reply::Reply;
use super::transaction::Unanswered;
use super::transaction::non_invite_client::Outcome;
use crate::ids::CallId;
use crate::time::Instant;

impl UserAgent {
    /// Sends a request of ours within a call; returns its branch, or `None` where nobody waits for its answer.
    pub(super) fn send_in_dialog(
        &mut self,
        call: CallId,
        method: Method,
        headers: &[(&str, String)],
        body: Option<Body<'_>>,
        now: Instant,
    ) -> Option<String> {
        let branch = self.tags.branch();
        let request = self.sessions.with(call, |session, _| session.dialog.request(method, &branch, headers, body));
        self.transactions.request(call, request.flatten()?, now, &mut self.out).then_some(branch)
    }

    /// Takes a request of ours that was never answered: as if 408 had come, or 503 (RFC 3261 §8.1.3.1).
    pub(super) fn handle_unanswered(&mut self, unanswered: &Unanswered, now: Instant) {
        let Unanswered { owner, method, branch, outcome } = unanswered;
        let status = if *outcome == Outcome::Unreachable { 503 } else { 408 };
        if *owner == REGISTRATION {
            return self.handle_register_reply(branch, status, None, now);
        }
        self.handle_final(*owner, *method, branch, status, None, now);
    }

    /// Takes a response to a request of ours.
    pub(super) fn handle_reply(&mut self, call: CallId, reply: &Reply, now: Instant) {
        if call == REGISTRATION {
            if reply.status >= 200 {
                self.handle_register_reply(&reply.branch, reply.status, Some(reply), now);
            }
            return;
        }
        if reply.method == Method::Invite && self.handle_call_reply(call, reply, now) {
            return;
        }
        if reply.method == Method::Invite && (200..300).contains(&reply.status) && self.acknowledge(call, reply) {
            return;
        }
        if reply.status >= 200 {
            self.handle_final(call, reply.method, &reply.branch, reply.status, Some(reply), now);
        }
    }

    /// Acknowledges a 2xx to a re-INVITE of ours; returns whether it had come before.
    fn acknowledge(&mut self, call: CallId, reply: &Reply) -> bool {
        let branch = self.tags.branch();
        let sent = self.sessions.with(call, |session, _| {
            if let Some((_, ack)) = session.acknowledged.as_ref().filter(|(cseq, _)| *cseq == reply.cseq) {
                return Some((session.dialog.flow, ack.clone(), true));
            }
            session.dialog.refresh_target(reply.contact_uri().as_deref());
            let ack = session.dialog.acknowledge(reply.cseq, &branch)?;
            session.acknowledged = Some((reply.cseq, ack.clone()));
            Some((session.dialog.flow, ack, false))
        });
        let Some((to, ack, again)) = sent.flatten() else { return false };
        self.out.send(to, ack);
        again
    }

    /// Takes the end of a request of ours: its final status, and the response unless there was none.
    fn handle_final(
        &mut self,
        call: CallId,
        method: Method,
        branch: &str,
        status: u16,
        reply: Option<&Reply>,
        now: Instant,
    ) {
        match method {
            // Whatever is said to a BYE, the dialog is over (RFC 3261 §15.1.1).
            Method::Bye => self.sessions.remove(call),
            Method::Invite | Method::Update if self.handle_refreshed(call, branch, status, reply, now) => {}
            Method::Invite => self.call_failed(call, status, reply, now),
            Method::Refer => self.handle_referred(call, branch, status),
            _ => {}
        }
    }
}
