//! REGISTER is answered here (RFC 3261 §10.3): contacts that expire. Who may register was decided before, in
//! `trust.rs`.

use super::Event;
use super::flow::Flow;
use super::lexer::digits;
use super::message::{Contacts, Request};
use super::name_addr::NameAddr;
use super::schedule::Schedule;
use super::uri::SipUri;
use crate::config;
use crate::time::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

/// Most contacts of one user: more devices than people have, fewer than an attacker would like. The oldest gives way.
pub const CONTACTS_PER_USER_MAX: usize = 10;

/// Longest contact in bytes, parameters and all: one with instance, GRUU and keep-alive has 300. All of a user's go into one
/// datagram, and a short question does not make a long answer.
const CONTACT_BYTES_MAX: usize = 512;

/// Longest User-Agent that is kept, in characters.
const USER_AGENT_CHARS_MAX: usize = 128;

/// A registered contact (RFC 3261 §10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The address-of-record, `sip:user@host`.
    pub aor: String,
    /// The contact's URI, as the user agent wrote it.
    pub contact: String,
    /// Where its latest REGISTER came from: where requests to it go.
    pub flow: Flow,
    /// When it ends unless refreshed.
    pub expires_at: Instant,
    /// Its User-Agent header, cut to 128 characters.
    pub user_agent: String,
    call_id: String,
    cseq: u32,
    /// The contact with its parameters but expires, as the 200 lists it.
    listed: String,
    instance: Option<Instance>,
}

/// Which of its flows a device registers (RFC 5626 §4.2): the one of these two that came before is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Instance {
    instance: String,
    reg_id: u32,
}

impl Instance {
    fn of(contact: &NameAddr) -> Option<Self> {
        let instance = contact.params.value("+sip.instance")?.to_owned();
        let reg_id = contact.params.value("reg-id")?.parse().ok()?;
        Some(Self { instance, reg_id })
    }
}

/// Whether the contacts of `request` ask for RFC 5626: then the 200 says how long their flow may be silent.
pub(super) fn is_outbound(request: &Request) -> bool {
    let Contacts::List(contacts) = request.contacts() else { return false };
    request.tokens("Supported").any(|tag| tag.eq_ignore_ascii_case("outbound"))
        && contacts.iter().any(|contact| Instance::of(contact).is_some())
}

impl Binding {
    fn is_for(&self, uri: &str) -> bool {
        match (SipUri::parse(&self.contact), SipUri::parse(uri)) {
            (Some(a), Some(b)) => a.same(&b),
            _ => self.contact == uri,
        }
    }
}

/// Why a REGISTER is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterRefusal {
    /// 404: To is no address-of-record.
    NotAnAddress,
    /// 400: `*` with company, or without `Expires: 0`.
    Star,
    /// 400: a contact longer than any phone's.
    TooLong,
    /// 423, with Min-Expires.
    TooBrief,
    /// 500: older than what is known (RFC 3261 §10.3 step 7).
    OutOfOrder,
    /// 503: too many registrations.
    Full,
}

/// All registrations.
#[derive(Debug)]
pub(super) struct Registrar {
    settings: config::Sip,
    users: BTreeMap<String, Vec<Binding>>,
    schedule: Schedule<String>,
    count: usize,
}

impl Registrar {
    pub(super) fn new(settings: &config::Sip) -> Self {
        Self { settings: settings.clone(), users: BTreeMap::new(), schedule: Schedule::new(), count: 0 }
    }

    /// Takes a REGISTER: all of it, or nothing; returns the contacts for the 200, as Contact values, and what happened.
    ///
    /// # Errors
    ///
    /// Why nothing was changed.
    pub(super) fn register(
        &mut self,
        request: &Request,
        flow: Flow,
        now: Instant,
    ) -> Result<(Vec<String>, Vec<Event>), RegisterRefusal> {
        let aor = SipUri::parse(&request.to().uri).ok_or(RegisterRefusal::NotAnAddress)?.address_of_record();
        let mut bindings = self.users.get(&aor).cloned().unwrap_or_default();
        let mut events = Vec::new();
        match request.contacts() {
            Contacts::Star => {
                if request.header("Expires").and_then(digits) != Some(0) {
                    return Err(RegisterRefusal::Star);
                }
                if bindings.iter().any(|binding| is_stale(binding, request)) {
                    return Err(RegisterRefusal::OutOfOrder);
                }
                events.extend(bindings.drain(..).map(|binding| Event::Unregistered { aor: binding.aor }));
            }
            Contacts::List(contacts) => {
                for contact in contacts {
                    self.bind(&aor, contact, request, flow, now, &mut bindings, &mut events)?;
                }
            }
        }
        let others = self.count - self.users.get(&aor).map_or(0, Vec::len);
        if others + bindings.len() > self.settings.bindings_max && !bindings.is_empty() && !events.is_empty() {
            return Err(RegisterRefusal::Full);
        }
        let listed = bindings.iter().map(|binding| {
            let left = binding.expires_at.since(now).as_secs();
            format!("{};expires={left}", binding.listed)
        });
        let listed = listed.collect();
        self.count = others + bindings.len();
        self.store(aor, bindings);
        Ok((listed, events))
    }

    /// Adds, refreshes or removes one contact in `bindings` (RFC 3261 §10.3 step 7).
    #[expect(clippy::too_many_arguments, reason = "one step of register(), split off to be read")]
    fn bind(
        &self,
        aor: &str,
        contact: &NameAddr,
        request: &Request,
        flow: Flow,
        now: Instant,
        bindings: &mut Vec<Binding>,
        events: &mut Vec<Event>,
    ) -> Result<(), RegisterRefusal> {
        let expires_s = self.granted(contact, request)?;
        let instance = Instance::of(contact);
        let is_known =
            |binding: &Binding| binding.is_for(&contact.uri) || instance.is_some() && binding.instance == instance;
        let known = bindings.iter().position(is_known);
        if let Some(known) = known {
            if bindings.get(known).is_some_and(|binding| is_stale(binding, request)) {
                return Err(RegisterRefusal::OutOfOrder);
            }
            bindings.remove(known);
        }
        if expires_s == 0 {
            if known.is_some() {
                events.push(Event::Unregistered { aor: aor.to_owned() });
            }
            return Ok(());
        }
        if bindings.len() >= CONTACTS_PER_USER_MAX {
            let oldest = bindings.remove(0);
            events.push(Event::Unregistered { aor: oldest.aor });
        }
        let mut listed = contact.clone();
        listed.display.clear();
        listed.params.remove("expires");
        let listed = listed.to_string();
        if listed.len() > CONTACT_BYTES_MAX {
            return Err(RegisterRefusal::TooLong);
        }
        let user_agent = request.header("User-Agent").unwrap_or_default();
        bindings.push(Binding {
            aor: aor.to_owned(),
            contact: contact.uri.clone(),
            flow,
            expires_at: now + Duration::from_secs(expires_s.into()),
            user_agent: user_agent.chars().take(USER_AGENT_CHARS_MAX).collect(),
            call_id: request.call_id().to_owned(),
            cseq: request.cseq(),
            listed,
            instance,
        });
        events.push(Event::Registered {
            aor: aor.to_owned(),
            contact: contact.uri.clone(),
            source: flow.peer,
            expires_s,
        });
        Ok(())
    }

    /// Decides how long a contact is kept, in seconds: its own wish, else that of the request, else the default; a wish that
    /// cannot be read is none (RFC 3261 §10.2.1.1).
    fn granted(&self, contact: &NameAddr, request: &Request) -> Result<u32, RegisterRefusal> {
        let settings = &self.settings;
        let wish = contact.params.value("expires").or_else(|| request.header("Expires"));
        let wish = wish.and_then(|text| {
            // More than fits is as long as can be.
            let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            all_digits.then(|| text.parse().unwrap_or(u32::MAX))
        });
        match wish {
            Some(0) => Ok(0),
            Some(wish) if wish < settings.expires_min_s => Err(RegisterRefusal::TooBrief),
            wish => Ok(wish.unwrap_or(settings.expires_default_s).min(settings.expires_max_s).max(1)),
        }
    }

    /// Takes the passage of time: contacts that were not refreshed are gone.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(aor) = self.schedule.pop_due(now) {
            let gone = self.expire(&aor, now);
            events.extend((0..gone).map(|_| Event::Unregistered { aor: aor.clone() }));
        }
        events
    }

    /// Takes the end of a connection: what was bound to it is bound no more (RFC 5626 §5.3: a failed flow is not used again).
    pub(super) fn handle_gone(&mut self, flow: Flow) -> Vec<Event> {
        if !flow.transport.is_reliable() {
            return Vec::new();
        }
        let is_gone = |binding: &Binding| binding.flow.is_same_way(&flow);
        let users: Vec<String> = self
            .users
            .iter()
            .filter(|(_, bindings)| bindings.iter().any(is_gone))
            .map(|(aor, _)| aor.clone())
            .collect();
        let mut events = Vec::new();
        for aor in users {
            let Some(mut bindings) = self.users.remove(&aor) else { continue };
            let before = bindings.len();
            bindings.retain(|binding| !is_gone(binding));
            self.count -= before - bindings.len();
            events.extend((bindings.len()..before).map(|_| Event::Unregistered { aor: aor.clone() }));
            self.store(aor, bindings);
        }
        events
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.schedule.next()
    }

    pub(super) fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.users.values().flatten()
    }

    fn expire(&mut self, aor: &str, now: Instant) -> usize {
        let Some(mut bindings) = self.users.remove(aor) else { return 0 };
        let before = bindings.len();
        bindings.retain(|binding| binding.expires_at > now);
        let gone = before - bindings.len();
        self.count -= gone;
        self.store(aor.to_owned(), bindings);
        gone
    }

    fn store(&mut self, aor: String, bindings: Vec<Binding>) {
        self.schedule.set(&aor, bindings.iter().map(|binding| binding.expires_at).min());
        if bindings.is_empty() {
            self.users.remove(&aor);
        } else {
            self.users.insert(aor, bindings);
        }
    }
}

fn is_stale(binding: &Binding, request: &Request) -> bool {
    binding.call_id == request.call_id() && request.cseq() <= binding.cseq
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::lexer::lex;

    struct Phone {
        registrar: Registrar,
        cseq: u32,
        now: Instant,
    }

    impl Phone {
        fn new() -> Self {
            Self::with(&config::Sip { expires_min_s: 60, ..config::Sip::default() })
        }

        fn with(settings: &config::Sip) -> Self {
            Self { registrar: Registrar::new(settings), cseq: 0, now: Instant::ZERO }
        }

        fn send(&mut self, to: &str, headers: &str) -> Result<Vec<String>, RegisterRefusal> {
            self.cseq += 1;
            let (cseq, tag) = (self.cseq, self.cseq * 7);
            let text = format!(
                "REGISTER sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{cseq}\r\nFrom: <{to}>;tag={tag}\r\nTo: <{to}>\r\nCall-ID: 1\r\nCSeq: {cseq} REGISTER\r\n{headers}\r\n"
            );
            let request = Request::read(&lex(text.as_bytes()).expect("SIP")).expect("a request");
            let address = |text: &str| text.parse().expect("an address");
            let source = Flow::udp(address("127.0.0.1:5070"), address("127.0.0.1:5060"));
            self.registrar.register(&request, source, self.now).map(|(contacts, _)| contacts)
        }
    }

    #[test]
    fn a_contact_is_added_refreshed_listed_and_removed() {
        let mut phone = Phone::new();
        assert_eq!(
            phone.send("sip:a@h", "Contact: \"A\" <sip:a@1.2.3.4:5;ob>;q=0.5\r\nExpires: 100\r\n").as_deref(),
            Ok(&["<sip:a@1.2.3.4:5;ob>;q=0.5;expires=100".to_owned()][..])
        );
        phone.now += Duration::from_secs(40);
        assert_eq!(
            phone.send("sip:a@H:5070", "").as_deref(),
            Ok(&["<sip:a@1.2.3.4:5;ob>;q=0.5;expires=60".to_owned()][..])
        );
        assert_eq!(
            phone
                .send("sip:a@h", "Contact: <sip:a@1.2.3.4:5;ob>;expires=200\r\nExpires: 100\r\n")
                .map(|list| list.len()),
            Ok(1)
        );
        assert_eq!(
            phone.registrar.bindings().map(|binding| binding.expires_at).next(),
            Some(Instant::from_millis(240_000))
        );
        assert_eq!(phone.send("sip:a@h", "Contact: <sip:a@1.2.3.4:5;ob>\r\nExpires: 0\r\n"), Ok(vec![]));
        assert_eq!(
            (phone.registrar.bindings().count(), phone.registrar.count, phone.registrar.poll_timeout()),
            (0, 0, None)
        );
    }

    #[test]
    fn the_time_granted_is_the_contacts_then_the_requests_then_the_default() {
        let mut phone = Phone::new();
        let mut granted = |headers: &str| {
            phone.send("sip:a@h", &format!("Contact: <sip:x@y>{headers}\r\n")).map(|list| list[0].clone())
        };
        assert_eq!(granted(";expires=70\r\nExpires: 80").as_deref(), Ok("<sip:x@y>;expires=70"));
        assert_eq!(granted("\r\nExpires: 80").as_deref(), Ok("<sip:x@y>;expires=80"));
        assert_eq!(granted("").as_deref(), Ok("<sip:x@y>;expires=300"));
        assert_eq!(granted("\r\nExpires: soon").as_deref(), Ok("<sip:x@y>;expires=300"));
        assert_eq!(granted("\r\nExpires: 99999999999").as_deref(), Ok("<sip:x@y>;expires=3600"));
        assert_eq!(granted(";expires=59"), Err(RegisterRefusal::TooBrief));
    }

    #[test]
    fn a_refused_register_changes_nothing() {
        let mut phone = Phone::new();
        phone.send("sip:a@h", "Contact: <sip:x@y>\r\n").expect("registered");
        assert_eq!(
            phone.send("sip:a@h", "Contact: <sip:z@y>, <sip:x@y>;expires=5\r\n"),
            Err(RegisterRefusal::TooBrief)
        );
        assert_eq!(phone.registrar.bindings().map(|binding| binding.contact.as_str()).collect::<Vec<_>>(), ["sip:x@y"]);
    }

    #[test]
    fn star_removes_all_and_stands_alone() {
        let mut phone = Phone::new();
        phone.send("sip:a@h", "Contact: <sip:x@y>, <sip:z@y>\r\n").expect("registered");
        assert_eq!(phone.send("sip:a@h", "Contact: *\r\n"), Err(RegisterRefusal::Star));
        assert_eq!(phone.send("sip:a@h", "Contact: *\r\nExpires: 1\r\n"), Err(RegisterRefusal::Star));
        assert_eq!(phone.send("sip:a@h", "Contact: *\r\nExpires: 0\r\n"), Ok(vec![]));
    }

    #[test]
    fn an_older_register_of_the_same_call_id_is_refused() {
        let mut phone = Phone::new();
        phone.send("sip:a@h", "Contact: <sip:x@y>\r\n").expect("registered");
        phone.cseq -= 1;
        assert_eq!(phone.send("sip:a@h", "Contact: <sip:x@y>;expires=0\r\n"), Err(RegisterRefusal::OutOfOrder));
        phone.cseq -= 1;
        assert_eq!(phone.send("sip:a@h", "Contact: *\r\nExpires: 0\r\n"), Err(RegisterRefusal::OutOfOrder));
        assert_eq!(phone.registrar.bindings().count(), 1);
    }

    #[test]
    fn contacts_expire() {
        let mut phone = Phone::new();
        phone.send("sip:a@h", "Contact: <sip:x@y>;expires=60, <sip:z@y>;expires=90\r\n").expect("registered");
        assert_eq!(phone.registrar.poll_timeout(), Some(Instant::from_millis(60_000)));
        assert_eq!(phone.registrar.handle_timeout(Instant::from_millis(59_999)), []);
        assert_eq!(
            phone.registrar.handle_timeout(Instant::from_millis(60_000)),
            [Event::Unregistered { aor: "sip:a@h".into() }]
        );
        assert_eq!(phone.registrar.poll_timeout(), Some(Instant::from_millis(90_000)));
        phone.registrar.handle_timeout(Instant::from_millis(90_000));
        assert_eq!((phone.registrar.count, phone.registrar.poll_timeout()), (0, None));
    }

    #[test]
    fn one_user_has_ten_contacts_and_the_oldest_gives_way() {
        let mut phone = Phone::new();
        for port in 1..=12 {
            phone.send("sip:a@h", &format!("Contact: <sip:x@y:{port}>\r\n")).expect("registered");
        }
        let contacts: Vec<&str> = phone.registrar.bindings().map(|binding| binding.contact.as_str()).collect();
        assert_eq!((contacts.len(), contacts.first(), phone.registrar.count), (10, Some(&"sip:x@y:3"), 10));
    }

    #[test]
    fn all_users_together_are_limited() {
        let mut phone = Phone::with(&config::Sip { bindings_max: 2, ..config::Sip::default() });
        phone.send("sip:a@h", "Contact: <sip:x@y>\r\n").expect("registered");
        phone.send("sip:b@h", "Contact: <sip:x@y>\r\n").expect("registered");
        assert_eq!(phone.send("sip:c@h", "Contact: <sip:x@y>\r\n"), Err(RegisterRefusal::Full));
        assert!(phone.send("sip:b@h", "Contact: <sip:x@y>\r\n").is_ok());
        assert!(phone.send("sip:b@h", "Contact: <sip:x@y>;expires=0\r\n").is_ok());
        assert!(phone.send("sip:c@h", "Contact: <sip:x@y>\r\n").is_ok());
    }

    #[test]
    fn escapes_keep_contacts_and_users_apart() {
        let mut phone = Phone::new();
        let list = phone
            .send("sip:null-%00-null@h", "Contact: <sip:%00@h1>\r\nContact: <sip:%00%00@h1>\r\n")
            .expect("registered");
        assert_eq!(list.len(), 2);
        let list =
            phone.send("sip:b@h", "Contact: <sip:u@e?Route=%3Csip:sip.example.com%3E>;p=1\r\n").expect("registered");
        assert_eq!(list, ["<sip:u@e?Route=%3Csip:sip.example.com%3E>;p=1;expires=300"]);
        let long = format!("Contact: <sip:{}@y>\r\n", "x".repeat(CONTACT_BYTES_MAX));
        assert_eq!(phone.send("sip:a@h", &long), Err(RegisterRefusal::TooLong));
        assert_eq!(phone.send("isbn:2983792873", "Contact: <name:John>\r\n"), Err(RegisterRefusal::NotAnAddress));
    }
}
