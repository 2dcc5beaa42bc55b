//! Responses that come: what our own requests learn from their answers (RFC 3261 §8.1.3).

use super::lexer::{Lexed, digits};
use super::message::{Headers, Method, cseq_parts, method_called};
use super::name_addr::NameAddr;
use super::uri::SipUri;
use super::via::Via;

/// A response whose every part that a decision rests on has been read.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    /// 100 to 699.
    pub(super) status: u16,
    /// The branch of the one Via, which is ours.
    pub(super) branch: String,
    /// The method in CSeq.
    pub(super) method: Method,
    /// The number in CSeq.
    pub(super) cseq: u32,
    /// To, as written.
    pub(super) to: String,
    headers: Headers,
    body: Vec<u8>,
}

impl Reply {
    /// Reads what the lexer took apart; `None` where it cannot be an answer to a request of ours, each of which has
    /// exactly one Via.
    pub(super) fn read(lexed: &Lexed<'_>, status: u16) -> Option<Self> {
        let mut vias = lexed.values("Via");
        let via = vias.next().and_then(Via::parse_list)?;
        let [via] = via.as_slice() else { return None };
        let (number, method) = lexed.values("CSeq").next().and_then(cseq_parts)?;
        let method = method_called(method)?;
        if vias.next().is_some() || !(100..700).contains(&status) {
            return None;
        }
        let mut headers = Headers::default();
        for field in &lexed.fields {
            headers.push(field.name, field.value.as_ref());
        }
        Some(Self {
            status,
            branch: via.unique_branch()?.to_owned(),
            method,
            cseq: number,
            to: lexed.values("To").next().unwrap_or_default().to_owned(),
            headers,
            body: lexed.body.to_vec(),
        })
    }

    /// Returns the tag in To.
    pub(super) fn to_tag(&self) -> Option<String> {
        NameAddr::parse(&self.to)?.tag().map(str::to_owned)
    }

    /// Returns the value of the first header called `name`.
    pub(super) fn header<'s>(&'s self, name: &'s str) -> Option<&'s str> {
        self.headers.values(name).next()
    }

    /// Returns all values of headers called `name`.
    pub(super) fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.headers.values(name)
    }

    /// Returns the sip URI in Contact, if there is one.
    pub(super) fn contact_uri(&self) -> Option<String> {
        let contact = NameAddr::parse_list(self.header("Contact")?)?.into_iter().next()?;
        SipUri::parse(&contact.uri).is_some().then_some(contact.uri)
    }

    /// Returns the session description, if that is what the body is.
    pub(super) fn session_description(&self) -> Option<&[u8]> {
        let kind = self.header("Content-Type")?.split(';').next()?.trim();
        (kind.eq_ignore_ascii_case("application/sdp") && !self.body.is_empty()).then_some(self.body.as_slice())
    }

    /// Returns the seconds in Retry-After (RFC 3261 §20.33).
    pub(super) fn retry_after_s(&self) -> Option<u64> {
        self.header("Retry-After")?.split([';', '(', ' ']).next().and_then(digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::lexer::lex;

    fn read(headers: &str) -> Option<Reply> {
        let text = format!("SIP/2.0 200 OK\r\n{headers}\r\n");
        Reply::read(&lex(text.as_bytes()).expect("SIP"), 200)
    }

    #[test]
    fn an_answer_to_our_request_is_read() {
        let reply = read(
            "Via: SIP/2.0/UDP h;branch=z9hG4bKx\r\nCSeq:  7   INVITE\r\nTo: \"B\" <sip:b@c>;tag=2\r\nContact: <sip:b@192.0.2.1;ob>\r\n\
             Retry-After: 5 (busy)\r\nContent-Type: Application/SDP;x=y\r\nContent-Length: 0\r\n",
        )
        .expect("a reply");
        assert_eq!((reply.branch.as_str(), reply.method, reply.cseq), ("z9hG4bKx", Method::Invite, 7));
        assert_eq!(
            (reply.to_tag().as_deref(), reply.contact_uri().as_deref()),
            (Some("2"), Some("sip:b@192.0.2.1;ob"))
        );
        assert_eq!((reply.retry_after_s(), reply.session_description()), (Some(5), None));
    }

    #[test]
    fn what_answers_nothing_of_ours_is_refused() {
        for headers in [
            "CSeq: 1 BYE\r\n",
            "Via: SIP/2.0/UDP h;branch=z9hG4bKx\r\n",
            "Via: SIP/2.0/UDP h;branch=z9hG4bKx\r\nCSeq: BYE\r\n",
            "Via: SIP/2.0/UDP h;branch=z9hG4bKx\r\nCSeq: 1 WHAT\r\n",
            "Via: SIP/2.0/UDP h;branch=z9hG4bKx\r\nCSeq: 4294967296 BYE\r\n",
            "Via: SIP/2.0/UDP h;branch=old\r\nCSeq: 1 BYE\r\n",
            "Via: SIP/2.0/UDP h;branch=z9hG4bKx, SIP/2.0/UDP i;branch=z9hG4bKy\r\nCSeq: 1 BYE\r\n",
            "Via: SIP/2.0/UDP h;branch=z9hG4bKx\r\nVia: SIP/2.0/UDP i\r\nCSeq: 1 BYE\r\n",
        ] {
            assert!(read(headers).is_none(), "{headers}");
        }
    }
}
