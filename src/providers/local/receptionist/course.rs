//! A conversation as far as it has gone: what is asked, and the message that is being taken.

use super::details::{Details, NUMBER_MIN, longest_run, name, read_back};
use super::words::{sentences, words};
use std::collections::BTreeMap;

/// What is said, and what follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// What is said; empty where the caller said nothing that wants a reply.
    pub text: String,
    /// Whether the call ends after it.
    pub hang_up: bool,
    /// What it is about: a topic of the table, or a step of taking a message.
    pub about: String,
}

/// Words of the caller that are said back at most.
const SAID_BACK_MAX: usize = 24;

/// Characters of them at most.
const CHARACTERS_MAX: usize = 240;

/// Where the conversation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing is asked.
    #[default]
    Open,
    /// A message was offered.
    Offered,
    /// "Is there anything else?" was asked.
    AnythingElse,
    /// The caller's name was asked for.
    Name,
    /// The number was asked for.
    Number,
    /// The message was asked for.
    Text,
    /// The message was read back.
    Confirm,
    /// It was asked what to change.
    Correct,
}

/// A message as far as it is taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) name: Option<String>,
    /// Digits; empty where the caller gives none.
    pub(super) number: Option<String>,
    pub(super) text: Option<String>,
    /// Digits of a number of which only a part was said.
    pub(super) partial: String,
    /// How often the present question was not answered.
    pub(super) misses: usize,
}

#[derive(Default)]
pub(super) struct Course {
    pub(super) step: Step,
    pub(super) draft: Draft,
    /// How often each topic was replied to.
    pub(super) used: BTreeMap<usize, usize>,
    /// The caller's name, where it was given.
    pub(super) name: Option<String>,
    pub(super) last: Reply,
    /// Turns in a row that were not understood.
    pub(super) lost: usize,
    /// Whether the caller heard the question at the end of the last reply.
    pub(super) asked: bool,
}

/// Words of a name that did not look like one.
const NAME_WORDS_MAX: usize = 3;

/// Words that decline to give a number.
const DECLINES: [&str; 5] = ["no", "don't", "none", "without", "skip"];

impl Course {
    /// Whether enough of the last question was heard to be answered: its first two words.
    pub(super) fn was_asked(&self, heard: &str) -> bool {
        let said = &self.last.text;
        let question = sentences(said).iter().rfind(|sentence| sentence.ends_with('?')).map_or(0, |sentence| {
            let place = sentence.as_ptr() as usize - said.as_ptr() as usize;
            words(&said[..place]).len()
        });
        words(heard).len() >= question + 2
    }

    /// The question that is open.
    pub(super) fn question(&self) -> String {
        match self.step {
            Step::Name => "What's your name?".to_owned(),
            Step::Number => "What number can you be reached at?".to_owned(),
            Step::Text => "What's the message?".to_owned(),
            Step::Confirm => self.read_back(),
            Step::Correct => "What should I change: the name, the number, or the message?".to_owned(),
            Step::Offered => "Shall I take a message?".to_owned(),
            Step::Open | Step::AnythingElse => "Is there anything else?".to_owned(),
        }
    }

    /// Asks for what the message still lacks, after saying `before`.
    pub(super) fn ask(&mut self, before: &str) -> Reply {
        self.draft.misses = 0;
        let (step, about) = match &self.draft {
            Draft { name: None, .. } => (Step::Name, "asks for the name"),
            Draft { number: None, .. } => (Step::Number, "asks for the number"),
            Draft { text: None, .. } => (Step::Text, "asks for the message"),
            _ => (Step::Confirm, "reads back"),
        };
        self.step = step;
        reply(about, format!("{before} {}", self.question()).trim_start())
    }

    fn read_back(&self) -> String {
        let name = self.draft.name.as_deref().unwrap_or("somebody");
        let number = match self.draft.number.as_deref() {
            None | Some("") => "without a number".to_owned(),
            Some(digits) => format!("number {}", read_back(digits)),
        };
        let text = said_back(self.draft.text.as_deref().unwrap_or(""));
        format!("Let me read that back. From {name}, {number}. The message: {text} Is that right?")
    }

    pub(super) fn learn_name(&mut self, line: &str) {
        if let Some(name) = name(line, false) {
            self.name = Some(name);
        }
    }

    pub(super) fn take_name(&mut self, line: &str) -> Reply {
        let found = name(line, true).or_else(|| {
            let given: Vec<String> = words(line).into_iter().take(NAME_WORDS_MAX).collect();
            let given = said_back(&given.join(" "));
            let given = given.trim_end_matches('.').to_owned();
            (self.draft.misses > 0 && !given.is_empty()).then_some(given)
        });
        let Some(found) = found else {
            return self.missed("I'm sorry, I didn't get the name. Could you just say your name?");
        };
        self.name = Some(found.clone());
        self.draft.name = Some(found.clone());
        if let Some(number) = Details::of(line).number {
            self.draft.number = Some(number);
        }
        self.ask(&format!("Thank you, {found}."))
    }

    /// A number may come in several turns: digits are collected until there are enough.
    pub(super) fn take_number(&mut self, line: &str, says_no: bool) -> Reply {
        let declines = says_no || words(line).iter().any(|word| DECLINES.contains(&word.as_str()));
        // The "one" of "I don't have one" is no digit.
        let digits = longest_run(line).filter(|digits| !declines || digits.len() > 2).unwrap_or_default();
        self.draft.partial.push_str(&digits);
        let all = &self.draft.partial;
        if all.len() >= NUMBER_MIN {
            let read = read_back(all);
            self.draft.number = Some(std::mem::take(&mut self.draft.partial));
            return self.ask(&format!("I have {read}."));
        }
        if !digits.is_empty() {
            return reply("asks for the rest", &format!("So far I have {}. What comes next?", read_back(all)));
        }
        if declines || self.draft.misses > 0 {
            self.draft.number = Some(std::mem::take(&mut self.draft.partial));
            return self.ask(if declines { "All right." } else { "I still didn't get it, so I'll go on." });
        }
        self.missed("I'm sorry, I didn't get a number. Could you say it digit by digit?")
    }

    pub(super) fn take_text(&mut self, line: &str) -> Reply {
        if words(line).is_empty() {
            return self.missed("I'm sorry, I didn't catch the message. Could you say it again?");
        }
        self.draft.text = Some(line.trim().to_owned());
        self.ask("")
    }

    fn missed(&mut self, text: &str) -> Reply {
        self.draft.misses += 1;
        reply("asks again", text)
    }

    /// After the message was read back: takes what is changed, or asks what is to be.
    pub(super) fn correct(&mut self, line: &str, says_yes: bool) -> Reply {
        let all = words(line);
        let speaks_of = |word: &str| all.iter().any(|other| other == word);
        if let Some(number) = Details::of(line).number {
            self.draft.number = Some(number);
            return self.ask("I've changed the number.");
        }
        if let Some(name) = name(line, false) {
            self.draft.name = Some(name);
            return self.ask("I've changed the name.");
        }
        if speaks_of("name") {
            self.draft.name = None;
        } else if speaks_of("number") {
            self.draft.number = None;
        } else if speaks_of("message") || speaks_of("text") {
            self.draft.text = None;
        } else if says_yes && self.step == Step::Confirm {
            // The question was cut off before it was heard.
        } else {
            self.step = Step::Correct;
            return reply("asks what to change", &self.question());
        }
        self.ask(if says_yes { "" } else { "All right." })
    }

    pub(super) fn farewell(&self) -> String {
        let name = self.name.as_ref().map_or(String::new(), |name| format!(", {name}"));
        format!("All right. Thanks for calling{name}. Goodbye!")
    }
}

pub(super) fn reply(about: &str, text: &str) -> Reply {
    Reply { text: text.to_owned(), hang_up: false, about: about.to_owned() }
}

/// The caller's own words, short enough to be said back, closed by a full stop.
pub(super) fn said_back(line: &str) -> String {
    let all: Vec<&str> = line.split_whitespace().collect();
    let cut = all.len() > SAID_BACK_MAX;
    let mut said = all[..all.len().min(SAID_BACK_MAX)].join(" ");
    // A word without end is no speech; any character boundary will do.
    let end = said.char_indices().nth(CHARACTERS_MAX).map_or(said.len(), |(at, _)| at);
    said.truncate(end);
    let said = said.trim_end_matches(['.', ',', ';', ':', ' ', '…']);
    match said.chars().next_back() {
        _ if cut => format!("{said}, and so on."),
        Some('?' | '!') => said.to_owned(),
        _ => format!("{said}."),
    }
}
