//! Requests that can be relied upon, on rsip's types; this is the one home of that crate.
//!
//! rsip's own parser is not shown the network: it loses parameters, knows neither IPv6 nor compact names, and takes a cut
//! header for a body. Its method, URI and header types are the model; `lexer.rs` and the typed views beside it fill them.

use super::lexer::{Flaw, Lexed, StartLine, digits, is_token};
use super::name_addr::NameAddr;
use super::response::Envelope;
use super::uri::SipUri;
use super::via::Via;
use rsip::common::uri::param::{OtherParam, OtherParamValue};
use rsip::headers::UntypedHeader;
use std::io::Write;

pub use rsip::Method;

/// Largest CSeq number (RFC 3261 §8.1.1.5: less than 2^31).
const CSEQ_MAX: u64 = (1 << 31) - 1;

/// The methods that are understood, whether served or not; another one is answered 501.
const METHODS: [(&str, Method); 14] = [
    ("INVITE", Method::Invite),
    ("ACK", Method::Ack),
    ("BYE", Method::Bye),
    ("CANCEL", Method::Cancel),
    ("REGISTER", Method::Register),
    ("OPTIONS", Method::Options),
    ("INFO", Method::Info),
    ("UPDATE", Method::Update),
    ("PRACK", Method::PRack),
    ("SUBSCRIBE", Method::Subscribe),
    ("NOTIFY", Method::Notify),
    ("REFER", Method::Refer),
    ("MESSAGE", Method::Message),
    ("PUBLISH", Method::Publish),
];

/// Headers of which there may be one only (RFC 3261 §7.3.1); From and Content-Length are looked at by themselves.
const SINGLE: [&str; 6] = ["To", "Call-ID", "CSeq", "Max-Forwards", "Content-Type", "Expires"];

/// Returns the method's name.
#[must_use]
pub fn method_name(method: Method) -> &'static str {
    METHODS.iter().find(|(_, known)| *known == method).map_or("OPTIONS", |(name, _)| name)
}

/// Returns the method called `name`; names are case-sensitive (RFC 3261 §7.1).
#[must_use]
pub fn method_called(name: &str) -> Option<Method> {
    METHODS.iter().find(|(known, _)| *known == name).map(|(_, method)| *method)
}

macro_rules! header_table {
    ($($variant:ident $name:literal)*) => {
        fn header(name: &str, value: String) -> rsip::Header {
            $(if name.eq_ignore_ascii_case($name) {
                return rsip::Header::$variant(value.into());
            })*
            rsip::Header::Other(name.to_owned(), value)
        }

        fn parts(header: &rsip::Header) -> (&str, &str) {
            match header {
                $(rsip::Header::$variant(header) => ($name, header.value()),)*
                rsip::Header::Other(name, value) => (name, value),
            }
        }
    };
}

header_table! {
    Via "Via" From "From" To "To" CallId "Call-ID" CSeq "CSeq" MaxForwards "Max-Forwards" Contact "Contact"
    ContentLength "Content-Length" ContentType "Content-Type" Route "Route" RecordRoute "Record-Route" Allow "Allow"
    Supported "Supported" UserAgent "User-Agent" Server "Server" Expires "Expires" Require "Require"
    Accept "Accept" AcceptEncoding "Accept-Encoding" AcceptLanguage "Accept-Language" AlertInfo "Alert-Info"
    AuthenticationInfo "Authentication-Info" Authorization "Authorization" CallInfo "Call-Info"
    ContentDisposition "Content-Disposition" ContentEncoding "Content-Encoding" ContentLanguage "Content-Language"
    Date "Date" ErrorInfo "Error-Info" Event "Event" InReplyTo "In-Reply-To" MimeVersion "MIME-Version"
    MinExpires "Min-Expires" Organization "Organization" Priority "Priority" ProxyAuthenticate "Proxy-Authenticate"
    ProxyAuthorization "Proxy-Authorization" ProxyRequire "Proxy-Require" ReplyTo "Reply-To" RetryAfter "Retry-After"
    Subject "Subject" SubscriptionState "Subscription-State" Timestamp "Timestamp" Unsupported "Unsupported"
    Warning "Warning" WwwAuthenticate "WWW-Authenticate"
}

/// Header fields in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(rsip::Headers);

impl Headers {
    /// Puts a field at the end.
    pub fn push(&mut self, name: &str, value: impl Into<String>) {
        self.0.push(header(name, value.into()));
    }

    /// Returns the values of the fields called `name`, in order.
    pub fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.0.iter().map(parts).filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Returns the fields but those called `name`.
    #[must_use]
    pub(super) fn without(mut self, name: &str) -> Self {
        self.0.retain(|header| !parts(header).0.eq_ignore_ascii_case(name));
        self
    }

    /// Writes the fields, Content-Length for `body`, the empty line and `body` byte for byte.
    pub(super) fn write(&self, out: &mut Vec<u8>, body: &[u8]) {
        for (name, value) in self.0.iter().map(parts) {
            push_all(out, &[name, ": ", value, "\r\n"]);
        }
        push_all(out, &["Content-Length: ", &body.len().to_string(), "\r\n\r\n"]);
        out.extend_from_slice(body);
    }
}

fn push_all(out: &mut Vec<u8>, pieces: &[&str]) {
    pieces.iter().for_each(|piece| out.extend_from_slice(piece.as_bytes()));
}

/// The value of Contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contacts {
    /// `*`: all of them, which only an un-REGISTER may say.
    Star,
    /// The contacts, none where the header is missing.
    List(Vec<NameAddr>),
}

/// A request whose every part that a decision rests on has been read.
#[derive(Clone, Debug)]
pub struct Request {
    model: rsip::Request,
    headers: Headers,
    envelope: Envelope,
    via: Via,
    from: NameAddr,
    to: NameAddr,
    cseq: u32,
    contacts: Contacts,
    target: String,
}

impl Request {
    /// Reads what the lexer took apart.
    ///
    /// # Errors
    ///
    /// The [`Flaw`] to refuse it with, the one that the sender can do most about first.
    pub fn read(lexed: &Lexed<'_>) -> Result<Self, Flaw> {
        let StartLine::Request { method, uri, flaw } = lexed.start else { return Err(Flaw::bad("Not A Request")) };
        if let Some(flaw) = flaw.filter(|flaw| matches!(flaw.status, 400 | 505)) {
            return Err(flaw);
        }
        let method = method_called(method).ok_or(Flaw { status: 501, why: "Not Implemented" })?;
        flaw.or(lexed.flaw).map_or(Ok(()), Err)?;
        check_repeats(lexed)?;

        let envelope = Envelope::of(lexed).ok_or(Flaw::bad("Missing Header"))?;
        let via = envelope.nearest().cloned().ok_or(Flaw::bad("Bad Via"))?;
        let from = NameAddr::parse(envelope.from()).ok_or(Flaw::bad("Bad From"))?;
        let to = NameAddr::parse(envelope.to()).ok_or(Flaw::bad("Bad To"))?;
        if !fits_call_id(envelope.call_id()) {
            return Err(Flaw::bad("Bad Call-ID"));
        }
        let cseq = read_cseq(envelope.cseq(), method)?;
        let contacts = read_contacts(lexed)?;
        let model_uri = model_uri(uri).ok_or(Flaw::bad("Bad Request-URI"))?;

        let mut headers = Headers::default();
        for field in &lexed.fields {
            headers.push(field.name, field.value.as_ref());
        }
        let model = rsip::Request {
            method,
            uri: model_uri,
            version: rsip::Version::V2,
            headers: rsip::Headers::default(),
            body: lexed.body.to_vec(),
        };
        Ok(Self { model, headers, envelope, via, from, to, cseq, contacts, target: uri.to_owned() })
    }

    /// Makes a request to be sent; `None` where `target` is not a sip URI.
    pub(super) fn compose(method: Method, target: &str, headers: &Headers, body: &[u8]) -> Option<Vec<u8>> {
        let uri = model_uri(target)?;
        let mut out = Vec::with_capacity(512 + body.len());
        // A Vec takes every write.
        write!(out, "{} {uri} SIP/2.0\r\n", method_name(method)).ok()?;
        headers.write(&mut out, body);
        Some(out)
    }

    /// Returns the method.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.model.method
    }

    /// Returns the Request-URI as written.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Returns what a response copies from it.
    #[must_use]
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Returns the nearest hop.
    #[must_use]
    pub const fn via(&self) -> &Via {
        &self.via
    }

    /// Returns From.
    #[must_use]
    pub const fn from(&self) -> &NameAddr {
        &self.from
    }

    /// Returns To.
    #[must_use]
    pub const fn to(&self) -> &NameAddr {
        &self.to
    }

    /// Returns the Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &str {
        self.envelope.call_id()
    }

    /// Returns the number in CSeq.
    #[must_use]
    pub const fn cseq(&self) -> u32 {
        self.cseq
    }

    /// Returns Contact.
    #[must_use]
    pub const fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    /// Returns the sip URI of the one contact that a dialog needs (RFC 3261 §8.1.1.8), if there is one.
    #[must_use]
    pub fn contact_uri(&self) -> Option<&str> {
        let Contacts::List(list) = &self.contacts else { return None };
        list.first().map(|contact| contact.uri.as_str()).filter(|uri| SipUri::parse(uri).is_some())
    }

    /// Returns the value of the first header called `name`.
    #[must_use]
    pub fn header<'s>(&'s self, name: &'s str) -> Option<&'s str> {
        self.headers.values(name).next()
    }

    /// Returns the tokens of all headers called `name`, commas undone.
    pub fn tokens<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.headers.values(name).flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
    }

    /// Returns all values of headers called `name`.
    pub fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.headers.values(name)
    }

    /// Returns the body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.model.body
    }

    /// Lets go of the body, which is the larger part of a kept INVITE.
    pub(super) fn drop_body(&mut self) {
        self.model.body = Vec::new();
    }
}

fn check_repeats(lexed: &Lexed<'_>) -> Result<(), Flaw> {
    if SINGLE.iter().any(|name| lexed.values(name).nth(1).is_some()) {
        return Err(Flaw::bad("Repeated Header"));
    }
    // A phone that hides the caller's number may send a further From without a tag; the first one counts.
    let tagged = |value: &str| NameAddr::parse(value).is_none_or(|from| from.tag().is_some());
    if lexed.values("From").skip(1).any(tagged) {
        return Err(Flaw::bad("Repeated Header"));
    }
    Ok(())
}

/// Takes the value of CSeq apart; `None` where the number is none, or too large for one (RFC 3261 §8.1.1.5).
pub(super) fn cseq_parts(text: &str) -> Option<(u32, &str)> {
    let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
    let (Some(number), Some(method), None) = (words.next(), words.next(), words.next()) else { return None };
    let number = digits(number).filter(|number| *number <= CSEQ_MAX)?;
    u32::try_from(number).ok().map(|number| (number, method))
}

fn read_cseq(text: &str, method: Method) -> Result<u32, Flaw> {
    match cseq_parts(text) {
        Some((_, name)) if name != method_name(method) => Err(Flaw::bad("CSeq Of Another Method")),
        Some((number, _)) => Ok(number),
        None => Err(Flaw::bad("Bad CSeq")),
    }
}

fn read_contacts(lexed: &Lexed<'_>) -> Result<Contacts, Flaw> {
    let mut values = lexed.values("Contact").peekable();
    if values.peek() == Some(&"*") {
        values.next();
        return if values.next().is_none() { Ok(Contacts::Star) } else { Err(Flaw::bad("Bad Contact")) };
    }
    let mut list = Vec::new();
    for value in values {
        list.extend(NameAddr::parse_list(value).ok_or(Flaw::bad("Bad Contact"))?);
    }
    Ok(Contacts::List(list))
}

fn fits_call_id(text: &str) -> bool {
    let word = |part: &str| {
        !part.is_empty() && part.chars().all(|c| is_token(c.encode_utf8(&mut [0; 4])) || "()<>:\\\"/[]?{}".contains(c))
    };
    text.split_once('@').map_or_else(|| word(text), |(local, host)| word(local) && word(host))
}

/// Makes a Request-URI of `text`: headers and `method` have no place in one (RFC 3261 §19.1.5), unknown parameters stay.
fn model_uri(text: &str) -> Option<rsip::Uri> {
    let uri = SipUri::parse(text)?;
    let host = rsip::Host::Domain(uri.host.into());
    let params = uri.params.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("method")).map(|(name, value)| {
        rsip::Param::Other(OtherParam::new(*name), value.map(|value| OtherParamValue::new(value.to_owned())))
    });
    Some(rsip::Uri {
        scheme: Some(if uri.secure { rsip::Scheme::Sips } else { rsip::Scheme::Sip }),
        auth: uri.user.map(|user| rsip::Auth { user: user.to_owned(), password: uri.password.map(str::to_owned) }),
        host_with_port: rsip::HostWithPort { host, port: uri.port.map(Into::into) },
        params: params.collect(),
        headers: Vec::new(),
    })
}
