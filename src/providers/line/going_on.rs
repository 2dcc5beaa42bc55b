//! A reply that broke off after some of it was spoken: how another mind is asked to go on, and what of its answer is still to be
//! said; pure.

use crate::agent::Message;

/// Asks for the rest. As the caller's words, since many servers take the system's at the beginning only.
const GO_ON: &str = "(Your reply was cut off by the network after its last word. Go on from exactly there, as if nothing had \
                     happened. Repeat none of it, and begin with the very next word.)";

/// Returns the conversation as it is put to the mind that is to go on after `said`.
#[must_use]
pub fn messages(asked: &[Message], said: &str) -> Vec<Message> {
    let rest = [Message::Agent(said.trim_end().to_owned()), Message::Caller(GO_ON.to_owned())];
    asked.iter().cloned().chain(rest).collect()
}

/// Whether what was said may stand as it is: its last sentence is whole.
#[must_use]
pub fn is_whole(said: &str) -> bool {
    said.trim_end().trim_end_matches(['"', '\'', ')', '”', '’']).ends_with(['.', '!', '?', '…', '。', '？', '！'])
}

/// Takes from the rest of a reply what was said before: some models begin again from the first word whatever they are told.
#[derive(Debug)]
pub struct Rest {
    said: String,
    /// What has come so far and may turn out to be a repetition.
    held: String,
    /// Whether the first word of the rest is out.
    begun: bool,
}

impl Rest {
    /// Expects the rest of what begins with `said`.
    #[must_use]
    pub fn of(said: &str) -> Self {
        Self { said: said.to_owned(), held: String::new(), begun: false }
    }

    /// Takes a token; returns what is to be said.
    pub fn token(&mut self, token: &str) -> String {
        if self.begun {
            return token.to_owned();
        }
        self.held.push_str(token);
        let (said, held) = (self.said.trim(), self.held.trim_start());
        if let Some(rest) = held.strip_prefix(said) {
            // All of it was repeated; what follows is new, if anything does yet.
            if rest.trim().is_empty() {
                return String::new();
            }
            let rest = rest.to_owned();
            return self.begin(&rest);
        }
        if said.starts_with(held.trim_end()) {
            return String::new();
        }
        let held = std::mem::take(&mut self.held);
        self.begin(&held)
    }

    /// The reply is over; returns what was held back and is no repetition of all that was said.
    pub fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        let (said, rest) = (self.said.trim(), held.trim());
        // A short rest may happen to be how the reply began: "Yes." is worth more than the risk of saying it twice.
        if self.begun || rest.is_empty() || said == rest { String::new() } else { self.begin(rest) }
    }

    /// The first words of the rest, apart from the last one that was said.
    fn begin(&mut self, text: &str) -> String {
        self.begun = true;
        self.held.clear();
        let joins = self.said.ends_with(char::is_whitespace) || self.said.is_empty();
        let text = if joins { text.trim_start() } else { text };
        let apart = self.said.ends_with(char::is_alphanumeric) && text.starts_with(char::is_alphanumeric);
        if apart { format!(" {text}") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(said: &str, tokens: &[&str]) -> String {
        let mut rest = Rest::of(said);
        let mut out: String = tokens.iter().map(|token| rest.token(token)).collect();
        out.push_str(&rest.finish());
        format!("{said}{out}")
    }

    #[test]
    fn what_goes_on_is_said_as_it_comes() {
        assert_eq!(rest("Hello! What ", &["can ", "I ", "do?"]), "Hello! What can I do?");
        assert_eq!(rest("Hello! What", &["can I do?"]), "Hello! What can I do?");
        assert_eq!(rest("Hello! What", &[" can", " I do?"]), "Hello! What can I do?");
        assert_eq!(rest("Hello! What ", &[" can I do?"]), "Hello! What can I do?");
        assert_eq!(rest("We are open", &[", of course."]), "We are open, of course.");
    }

    #[test]
    fn what_was_said_is_not_said_again() {
        assert_eq!(rest("Hello! What ", &["Hel", "lo!", " What ", "can ", "I do?"]), "Hello! What can I do?");
        assert_eq!(rest("Hello! What", &["Hello! What can I do?"]), "Hello! What can I do?");
        assert_eq!(rest("All said.", &["All ", "said."]), "All said.");
    }

    #[test]
    fn a_rest_that_only_begins_like_the_reply_is_said() {
        assert_eq!(rest("We open at ten and ", &["We ", "close at six."]), "We open at ten and We close at six.");
        assert_eq!(rest("Yes, it is open, ", &["Yes"]), "Yes, it is open, Yes");
    }

    #[test]
    fn the_question_stays_in_front_and_what_was_said_stands_before_the_order_to_go_on() {
        let asked = [Message::System("Be brief.".into()), Message::Caller("Hello?".into())];
        let messages = messages(&asked, "Hello! What ");
        assert_eq!(messages[..2], asked);
        assert_eq!(messages[2], Message::Agent("Hello! What".into()));
        assert!(matches!(&messages[3], Message::Caller(text) if text.contains("Go on")));
    }

    #[test]
    fn a_sentence_that_ended_may_stand() {
        assert!(is_whole("We are open. ") && is_whole("He said \"yes.\""));
        assert!(!is_whole("We are ") && !is_whole("") && !is_whole("One, "));
    }
}
