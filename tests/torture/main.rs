//! The conditions of RFC 4475 and RFC 5118, a row each with a message of its own, and the answer that a server must give.
//!
//! A message goes through the whole user agent and, where it is an INVITE, through offer and answer, as in the engine. Each
//! answer is looked at twice: for what its row says, and for what every response must be (RFC 3261 §8.2.6).

mod broken;
mod message;
mod responses;
mod rfc4475;
mod rfc5118;
mod server;

use message::Message;
use offhook::sip::lexer::{Lexed, StartLine, lex};
use offhook::sip::via::Via;
use server::{Outcome, Server};

/// What has to come back.
enum Answer {
    /// Nothing at all.
    Silence,
    /// This final status, and header values that hold these texts.
    Final(u16, Vec<(&'static str, &'static str)>),
}

/// A condition, a message that meets it, and what comes of it.
struct Row {
    /// Section of the RFC, and the name that the RFC gives to its own example.
    section: &'static str,
    condition: &'static str,
    bytes: Vec<u8>,
    source: &'static str,
    answer: Answer,
    seen: Option<fn(&Outcome)>,
}

fn row(section: &'static str, condition: &'static str, message: &Message) -> Row {
    raw(section, condition, message.bytes())
}

fn raw(section: &'static str, condition: &'static str, bytes: Vec<u8>) -> Row {
    Row { section, condition, bytes, source: "127.0.0.1:40000", answer: Answer::Silence, seen: None }
}

impl Row {
    /// Comes from this address.
    fn from(mut self, source: &'static str) -> Self {
        self.source = source;
        self
    }

    /// Is answered with this final status.
    fn gives(mut self, status: u16) -> Self {
        self.answer = Answer::Final(status, Vec::new());
        self
    }

    /// And with a header that holds `text`.
    fn with(mut self, name: &'static str, text: &'static str) -> Self {
        let Answer::Final(_, headers) = &mut self.answer else { panic!("silence has no header") };
        headers.push((name, text));
        self
    }

    /// And leaves the server as this finds right.
    fn leaving(mut self, seen: fn(&Outcome)) -> Self {
        self.seen = Some(seen);
        self
    }

    fn check(&self) {
        let name = format!("{} {}", self.section, self.condition);
        let outcome = Server::new().receive(self.source, &self.bytes);
        let said = || format!("{name}\n{}\n=> {:#?}", String::from_utf8_lossy(&self.bytes), outcome.sent);
        match &self.answer {
            Answer::Silence => assert!(outcome.sent.is_empty(), "{}", said()),
            Answer::Final(status, headers) => {
                let answer = outcome.last();
                assert_eq!(answer.map(|answer| answer.status()), Some(*status), "{}", said());
                let answer = answer.expect("it has a status");
                for (name, text) in headers {
                    let found = answer.header(name).is_some_and(|value| value.contains(text));
                    assert!(found, "{name} without {text:?}: {}", said());
                }
                let provisional = usize::from(outcome.invitation.is_some());
                assert_eq!(outcome.sent.len(), 1 + provisional, "one final answer: {}", said());
                self.check_copied(&answer.bytes, &name);
            }
        }
        if let Some(seen) = self.seen {
            seen(&outcome);
        }
    }

    /// Checks what every response copies from its request (RFC 3261 §8.2.6.2), as far as the request has it.
    fn check_copied(&self, answer: &[u8], name: &str) {
        let (request, answer) = (lex(&self.bytes).expect("a request"), lex(answer).expect("a response"));
        assert!(matches!(answer.start, StartLine::Status { .. }) && answer.flaw.is_none(), "{name}: {answer:?}");
        let first = |lexed: &Lexed<'_>, name: &str| lexed.values(name).next().map(str::to_owned);
        for header in ["From", "Call-ID", "CSeq"] {
            assert_eq!(first(&answer, header), first(&request, header), "{name}");
        }
        match first(&request, "To") {
            Some(to) => {
                let answered = first(&answer, "To").expect("To");
                assert!(answered.starts_with(&to), "{name}: {answered}");
                assert!(answered.contains("tag"), "{name}: every final answer has a tag: {answered}");
            }
            None => assert_eq!(first(&answer, "To"), None, "{name}"),
        }
        // Every hop, in order; the nearest one with where the request came from.
        let (asked, answered) = (hops(&request), hops(&answer));
        match (asked, answered) {
            (Some(mut asked), Some(answered)) => {
                asked[0].params = answered[0].params.clone();
                assert_eq!(answered, asked, "{name}");
            }
            _ => assert_eq!(first(&answer, "Via"), first(&request, "Via"), "{name}"),
        }
    }
}

fn hops(lexed: &Lexed<'_>) -> Option<Vec<Via>> {
    lexed.values("Via").map(Via::parse_list).collect::<Option<Vec<_>>>().map(|lists| lists.concat())
}

#[test]
fn each_condition_of_rfc_4475_gets_its_answer() {
    let rows = rfc4475::rows();
    rows.iter().for_each(Row::check);
    cover(&rows, &rfc4475::SECTIONS, &responses::SECTIONS);
}

#[test]
fn each_condition_of_rfc_5118_gets_its_answer() {
    let rows = rfc5118::rows();
    rows.iter().for_each(Row::check);
    cover(&rows, &rfc5118::SECTIONS, &[]);
}

/// Checks that no section is left out of the table.
fn cover(rows: &[Row], sections: &[&str], elsewhere: &[&str]) {
    for section in sections.iter().filter(|section| !elsewhere.contains(section)) {
        assert!(rows.iter().any(|row| row.section == *section), "{section} has no row");
    }
    assert!(rows.iter().all(|row| sections.contains(&row.section)), "a row of no section");
}
