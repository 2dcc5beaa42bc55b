//! A dialog: tags, CSeq, route set, remote target (RFC 3261 §12).

use super::flow::Flow;
use super::lexer::Flaw;
use super::message::{Headers, Method, Request, method_name};
use super::name_addr::NameAddr;
use super::reply::Reply;
use super::transaction::{Outgoing, RefusalAck};
use super::uri::{SipUri, host_of};

/// Most entries of a route set; a request with more of them would be larger than this server itself reads.
const ROUTES_MAX: usize = 32;

/// What a dialog is known by (RFC 3261 §12): tags, not URIs, which phones write differently each time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DialogId {
    call_id: String,
    local_tag: String,
    /// `None` where the caller sent none (RFC 2543).
    remote_tag: Option<String>,
}

impl DialogId {
    /// Returns the dialog that `request` says it is in; `None` where it says none.
    pub(super) fn of(request: &Request) -> Option<Self> {
        Some(Self {
            call_id: request.call_id().to_owned(),
            local_tag: request.to().tag()?.to_owned(),
            remote_tag: request.from().tag().map(str::to_owned),
        })
    }

    /// Makes the name of a dialog of ours out of its parts.
    pub(super) fn new(call_id: &str, local_tag: &str, remote_tag: &str) -> Self {
        let [call_id, local_tag, remote_tag] = [call_id, local_tag, remote_tag].map(str::to_owned);
        Self { call_id, local_tag, remote_tag: Some(remote_tag) }
    }
}

/// A body and its type.
pub(super) type Body<'b> = (&'static str, &'b [u8]);

/// A dialog.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    id: DialogId,
    /// Our side: To of the INVITE with our tag; From of what we send.
    local: String,
    /// The caller's side: From of the INVITE; To of what we send.
    remote: String,
    routes: Vec<NameAddr>,
    target: String,
    local_cseq: u32,
    /// `None` until the peer has sent a request in it.
    remote_cseq: Option<u32>,
    /// Whether the INVITE was ours, and so the Call-ID.
    is_ours: bool,
    /// Where the latest request came from: where ours go, since Contact may be an address that only the caller can reach.
    pub(super) flow: Flow,
}

impl Dialog {
    /// Begins the dialog of an INVITE, with our tag (RFC 3261 §12.1.1).
    ///
    /// # Errors
    ///
    /// A [`Flaw`] where Contact or Record-Route cannot be used.
    pub(super) fn new(invite: &Request, tag: String, flow: Flow) -> Result<Self, Flaw> {
        // A caller of RFC 2543 may leave Contact out; then From is all there is (RFC 2543 §6.13).
        let legacy = invite.via().unique_branch().is_none();
        let from = Some(invite.from().uri.as_str()).filter(|uri| legacy && SipUri::parse(uri).is_some());
        let target = invite.contact_uri().or(from).ok_or(Flaw::bad("Missing Contact"))?.to_owned();
        let mut routes = Vec::new();
        for value in invite.values("Record-Route") {
            routes.extend(NameAddr::parse_list(value).ok_or(Flaw::bad("Bad Record-Route"))?);
        }
        if routes.len() > ROUTES_MAX || routes.iter().any(|route| SipUri::parse(&route.uri).is_none()) {
            return Err(Flaw::bad("Bad Record-Route"));
        }
        let local = invite.envelope().to_with_tag(&tag);
        let id = DialogId {
            call_id: invite.call_id().to_owned(),
            local_tag: tag,
            remote_tag: invite.from().tag().map(str::to_owned),
        };
        let remote = invite.envelope().from().to_owned();
        let remote_cseq = Some(invite.cseq());
        Ok(Self { id, local, remote, routes, target, local_cseq: 0, remote_cseq, is_ours: false, flow })
    }

    /// Begins to call: not a dialog before a response has come ([`Self::established`]). `local` is From without its tag,
    /// `target` what is called, by `flow`.
    pub(super) fn calling(call_id: String, tag: String, local: &str, target: &str, flow: Flow) -> Self {
        Self {
            local: format!("{local};tag={tag}"),
            remote: format!("<{target}>"),
            id: DialogId { call_id, local_tag: tag, remote_tag: None },
            routes: Vec::new(),
            target: target.to_owned(),
            local_cseq: 0,
            remote_cseq: None,
            is_ours: true,
            flow,
        }
    }

    /// Begins to register `aor` at `registrar`, both SIP URIs: no dialog, but numbered like one (RFC 3261 §10.2).
    pub(super) fn registering(call_id: String, tag: String, aor: &str, registrar: &str, flow: Flow) -> Self {
        let address = format!("<{aor}>");
        Self { remote: address.clone(), ..Self::calling(call_id, tag, &address, registrar, flow) }
    }

    /// Returns what the requests of the dialog are sent to.
    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// Returns the dialog that a 2xx to our INVITE makes (RFC 3261 §12.1.2): the route set is Record-Route from its end, and
    /// where that or Contact cannot be used the peer is still reached by `flow`.
    pub(super) fn established(&self, reply: &Reply) -> Self {
        let mut dialog = self.clone();
        dialog.id.remote_tag = reply.to_tag();
        dialog.remote.clone_from(&reply.to);
        let routes: Option<Vec<Vec<NameAddr>>> = reply.values("Record-Route").map(NameAddr::parse_list).collect();
        let routes = routes.unwrap_or_default().into_iter().flatten();
        dialog.routes = routes.filter(|route| SipUri::parse(&route.uri).is_some()).take(ROUTES_MAX).collect();
        dialog.routes.reverse();
        dialog.refresh_target(reply.contact_uri().as_deref());
        dialog
    }

    /// Whether the Call-ID is ours: where two requests have met, its owner waits longer (RFC 3261 §14.1).
    pub(super) const fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// Returns our side's URI, as the caller dialled it.
    pub(super) fn local_uri(&self) -> Option<String> {
        NameAddr::parse(&self.local).map(|local| local.uri)
    }

    /// Returns the peer's side, without its tag.
    pub(super) fn peer(&self) -> String {
        let Some(mut peer) = NameAddr::parse(&self.remote) else { return self.remote.clone() };
        peer.params.remove("tag");
        peer.to_string()
    }

    pub(super) const fn id(&self) -> &DialogId {
        &self.id
    }

    pub(super) fn tag(&self) -> &str {
        &self.id.local_tag
    }

    /// Takes the number of a further request; whether it is in order (RFC 3261 §12.2.2).
    pub(super) const fn advance(&mut self, cseq: u32) -> bool {
        let in_order = match self.remote_cseq {
            Some(latest) => cseq > latest,
            None => true,
        };
        if in_order {
            self.remote_cseq = Some(cseq);
        }
        in_order
    }

    /// Takes the Contact of an accepted re-INVITE or UPDATE (RFC 3261 §12.2.2, target refresh).
    pub(super) fn refresh_target(&mut self, contact: Option<&str>) {
        if let Some(contact) = contact {
            contact.clone_into(&mut self.target);
        }
    }

    /// Makes a request in the dialog (RFC 3261 §12.2.1.1); `None` where the target cannot be written as a Request-URI.
    pub(super) fn request(
        &mut self,
        method: Method,
        branch: &str,
        headers: &[(&str, String)],
        body: Option<Body<'_>>,
    ) -> Option<Outgoing> {
        self.local_cseq += 1;
        let (target, mut fields) = self.head(method, self.local_cseq, branch);
        let ack = (method == Method::Invite).then(|| {
            let (target, fields) = self.head(Method::Ack, self.local_cseq, branch);
            RefusalAck { target, fields: fields.without("To") }
        });
        headers.iter().for_each(|(name, value)| fields.push(name, value.as_str()));
        let (kind, body) = body.unwrap_or_default();
        if !body.is_empty() {
            fields.push("Content-Type", kind);
        }
        let bytes = Request::compose(method, &target, &fields, body)?;
        Some(Outgoing { branch: branch.to_owned(), method, to: self.flow, bytes, ack })
    }

    /// Makes the ACK of a 2xx to our INVITE (RFC 3261 §13.2.2.4), numbered as the INVITE was.
    pub(super) fn acknowledge(&self, cseq: u32, branch: &str) -> Option<Vec<u8>> {
        let (target, fields) = self.head(Method::Ack, cseq, branch);
        Request::compose(Method::Ack, &target, &fields, &[])
    }

    /// Makes the CANCEL of our INVITE, which is the latest request of ours (RFC 3261 §9.1).
    pub(super) fn cancel(&self, branch: &str, reason: &str) -> Option<Outgoing> {
        let (target, mut fields) = self.head(Method::Cancel, self.local_cseq, branch);
        fields.push("Reason", reason);
        let bytes = Request::compose(Method::Cancel, &target, &fields, &[])?;
        Some(Outgoing { branch: branch.to_owned(), method: Method::Cancel, to: self.flow, bytes, ack: None })
    }

    /// Returns the Request-URI, and the fields that each request of the dialog begins with.
    fn head(&self, method: Method, cseq: u32, branch: &str) -> (String, Headers) {
        let sent_by = format!("{}:{}", host_of(self.flow.local.ip()), self.flow.local.port());
        let mut fields = Headers::default();
        fields.push("Via", format!("SIP/2.0/{} {sent_by};rport;branch={branch}", self.flow.transport.name()));
        fields.push("Max-Forwards", "70");
        fields.push("From", self.local.as_str());
        fields.push("To", self.remote.as_str());
        fields.push("Call-ID", self.id.call_id.as_str());
        fields.push("CSeq", format!("{cseq} {}", method_name(method)));
        let is_loose = |route: &NameAddr| SipUri::parse(&route.uri).is_some_and(|uri| uri.param("lr").is_some());
        let target = match self.routes.split_first() {
            // A strict router wants itself in the Request-URI, and the target at the end of the routes.
            Some((first, rest)) if !is_loose(first) => {
                rest.iter().for_each(|route| fields.push("Route", route.to_string()));
                fields.push("Route", format!("<{}>", self.target));
                &first.uri
            }
            _ => {
                self.routes.iter().for_each(|route| fields.push("Route", route.to_string()));
                &self.target
            }
        };
        (target.clone(), fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::lexer::lex;

    fn invite(headers: &str) -> Request {
        let text = format!(
            "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: \"C\" <sip:c@d>;tag=1\r\nTo: sip:a@b\r\nCall-ID: x\r\nCSeq: 5 INVITE\r\n{headers}\r\n"
        );
        Request::read(&lex(text.as_bytes()).expect("SIP")).expect("a request")
    }

    fn dialog(headers: &str) -> Result<Dialog, Flaw> {
        let address = |text: &str| text.parse().expect("an address");
        Dialog::new(&invite(headers), "ours".into(), Flow::udp(address("10.0.0.2:5060"), address("10.0.0.1:5060")))
    }

    fn bye(headers: &str) -> String {
        let reason = [("Reason", "Q.850;cause=16".to_owned())];
        let bye = dialog(headers).expect("a dialog").request(Method::Bye, "z9hG4bKb", &reason, None);
        String::from_utf8(bye.expect("a request").bytes).expect("text")
    }

    #[test]
    fn our_request_goes_to_the_contact_and_turns_the_sides_round() {
        let text = bye("Contact: <sip:c@192.0.2.2:4000;ob;method=INVITE?Subject=x>\r\n");
        assert!(
            text.starts_with(
                "BYE sip:c@192.0.2.2:4000;ob SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bKb\r\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("\r\nFrom: sip:a@b;tag=ours\r\nTo: \"C\" <sip:c@d>;tag=1\r\nCall-ID: x\r\nCSeq: 1 BYE\r\n"),
            "{text}"
        );
        assert!(text.ends_with("Reason: Q.850;cause=16\r\nContent-Length: 0\r\n\r\n"), "{text}");
    }

    #[test]
    fn loose_routes_are_followed_in_the_order_in_which_they_came() {
        let text = bye("Contact: <sip:c@d>\r\nRecord-Route: <sip:p1;lr>, <sip:p2;lr>\r\nRecord-Route: <sip:p3;lr>\r\n");
        assert!(text.starts_with("BYE sip:c@d SIP/2.0\r\n"));
        assert!(text.contains("Route: <sip:p1;lr>\r\nRoute: <sip:p2;lr>\r\nRoute: <sip:p3;lr>\r\n"), "{text}");
    }

    #[test]
    fn a_strict_route_takes_the_request_uri() {
        let text = bye("Contact: <sip:c@d>\r\nRecord-Route: <sip:p1>, <sip:p2;lr>\r\n");
        assert!(text.starts_with("BYE sip:p1 SIP/2.0\r\n"));
        assert!(text.contains("Route: <sip:p2;lr>\r\nRoute: <sip:c@d>\r\n"), "{text}");
    }

    #[test]
    fn a_dialog_needs_a_contact_and_usable_routes() {
        assert_eq!(dialog("").map(|_| ()), Err(Flaw::bad("Missing Contact")));
        assert_eq!(dialog("Contact: <tel:1>\r\n").map(|_| ()), Err(Flaw::bad("Missing Contact")));
        assert!(dialog("Contact: <sip:c@d>\r\nRecord-Route: <tel:1>\r\n").is_err());
        assert!(dialog("Contact: <sip:c@d>\r\nRecord-Route: sip:a@b, ,\r\n").is_err());
    }

    #[test]
    fn a_dialog_of_ours_takes_its_routes_from_their_end() {
        let flow = dialog("Contact: <sip:c@d>\r\n").expect("a dialog").flow;
        let mut calling = Dialog::calling("x".into(), "ours".into(), "<sip:a@b>", "sip:t@h", flow);
        let invite = calling.request(Method::Invite, "z9hG4bKi", &[], Some(("application/sdp", b"v=0"))).expect("one");
        let text = String::from_utf8(invite.bytes).expect("text");
        assert!(
            text.starts_with("INVITE sip:t@h SIP/2.0\r\n") && text.ends_with("Content-Length: 3\r\n\r\nv=0"),
            "{text}"
        );
        assert!(
            text.contains("From: <sip:a@b>;tag=ours\r\nTo: <sip:t@h>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n"),
            "{text}"
        );
        let ok = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKi\r\nTo: <sip:t@h>;tag=t\r\nCSeq: 1 INVITE\r\n\
                  Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\nRecord-Route: <sip:p3;lr>\r\nContact: <sip:t@192.0.2.7>\r\n\r\n";
        let reply = Reply::read(&lex(ok.as_bytes()).expect("SIP"), 200).expect("a reply");
        let mut dialog = calling.established(&reply);
        assert_eq!(dialog.id(), &DialogId::new("x", "ours", "t"));
        let ack = String::from_utf8(dialog.acknowledge(1, "z9hG4bKa").expect("an ACK")).expect("text");
        assert!(ack.starts_with("ACK sip:t@192.0.2.7 SIP/2.0\r\n") && ack.contains("CSeq: 1 ACK\r\n"), "{ack}");
        assert!(ack.contains("Route: <sip:p3;lr>\r\nRoute: <sip:p2;lr>\r\nRoute: <sip:p1;lr>\r\n"), "{ack}");
        assert!(dialog.advance(0) && !dialog.advance(0) && dialog.advance(1));
    }

    #[test]
    fn requests_must_come_in_order() {
        let mut dialog = dialog("Contact: <sip:c@d>\r\n").expect("a dialog");
        assert!(
            !dialog.advance(5) && !dialog.advance(4) && dialog.advance(9) && !dialog.advance(9) && dialog.advance(10)
        );
    }
}
