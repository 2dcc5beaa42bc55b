//! What was said, cut down to what was heard; what the model gets to see.

use crate::ids::TurnId;
use std::collections::VecDeque;

/// One message of the conversation, as a language model sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Message {
    /// The instructions.
    System(String),
    /// What the caller said.
    Caller(String),
    /// What the caller heard of the agent; ends with [`INTERRUPTED`] where the caller cut it.
    Agent(String),
    /// The model called a tool.
    ToolCall { id: String, name: String, arguments: String },
    /// What the tool gave back.
    ToolResult { id: String, content: String },
}

/// What the model sees behind a reply that the caller cut: how a written dialogue shows it.
pub const INTERRUPTED: &str = "…";

/// The most messages that are kept beside the instructions. Twenty exchanges are a long call, and free plans allow
/// 8,000 tokens a minute.
pub const MESSAGES_MAX: usize = 40;
/// How many are left when there are too many. Dropping ten at once and not one in each turn leaves the prompt's beginning
/// unchanged for some turns, which providers cache.
pub const MESSAGES_KEPT: usize = 30;
/// The longest message in bytes, about three minutes of speech. Of a longer one the caller's last words are kept, where
/// the question is, and the agent's first ones.
pub const MESSAGE_MAX: usize = 3000;

#[derive(Clone, Debug)]
enum Entry {
    Caller(String),
    Agent { turn: TurnId, heard: String, interrupted: bool },
    ToolCall { id: String, name: String, arguments: String },
    ToolResult { id: String, content: String },
}

/// The conversation of one call.
#[derive(Clone, Debug)]
pub struct Conversation {
    prompt: String,
    entries: VecDeque<Entry>,
}

impl Conversation {
    /// Begins a conversation under the instructions `prompt`, which may be empty.
    #[must_use]
    pub fn new(prompt: &str) -> Self {
        Self { prompt: prompt.to_owned(), entries: VecDeque::new() }
    }

    /// Adds what the caller said.
    pub fn caller(&mut self, text: &str) {
        self.push(Entry::Caller(tail(text).to_owned()));
    }

    /// Adds the place of `turn`'s reply, of which nothing is heard yet.
    pub fn agent(&mut self, turn: TurnId) {
        self.push(Entry::Agent { turn, heard: String::new(), interrupted: false });
    }

    /// Says what was heard of `turn`'s reply; later and better reports replace earlier ones.
    pub fn heard(&mut self, turn: TurnId, text: &str, cut: bool) {
        for entry in self.entries.iter_mut().rev() {
            if let Entry::Agent { turn: of, heard, interrupted } = entry
                && *of == turn
            {
                head(text).clone_into(heard);
                *interrupted = cut;
                return;
            }
        }
    }

    /// Adds a tool's call and what it gave back, in front of what is heard of the reply that goes on with it.
    pub fn tool(&mut self, turn: TurnId, [id, name, arguments]: [&str; 3], content: &str) {
        // Half of an object is no JSON, and nothing that models call here has arguments of this length.
        let arguments = if arguments.len() > MESSAGE_MAX { "{}" } else { arguments };
        let reply =
            self.entries.iter().rposition(|entry| matches!(entry, Entry::Agent { turn: of, .. } if *of == turn));
        let at = reply.unwrap_or(self.entries.len());
        let (id, name) = (head(id).to_owned(), head(name).to_owned());
        let result = Entry::ToolResult { id: id.clone(), content: head(content).to_owned() };
        self.entries.insert(at, result);
        self.entries.insert(at, Entry::ToolCall { id, name, arguments: arguments.to_owned() });
    }

    /// Whether a tool's call is known by this name.
    #[must_use]
    pub fn has_tool(&self, id: &str) -> bool {
        self.entries.iter().any(|entry| matches!(entry, Entry::ToolCall { id: of, .. } if of == id))
    }

    /// Says what a tool gave back, in place of what stood there.
    pub fn tool_result(&mut self, id: &str, result: &str) {
        for entry in &mut self.entries {
            if let Entry::ToolResult { id: of, content } = entry
                && of == id
            {
                head(result).clone_into(content);
            }
        }
    }

    /// Puts a tool's call and result behind all that was said meanwhile.
    pub fn tool_to_end(&mut self, id: &str) {
        let is_its = |entry: &Entry| matches!(entry, Entry::ToolCall { id: of, .. } | Entry::ToolResult { id: of, .. } if of == id);
        let (its, others) = std::mem::take(&mut self.entries).into_iter().partition(is_its);
        self.entries = others;
        self.entries.extend::<VecDeque<Entry>>(its);
    }

    /// Whether the caller has said something that nothing was heard in answer to.
    #[must_use]
    pub fn unanswered(&self) -> bool {
        let last =
            self.entries.iter().rev().find(|entry| !matches!(entry, Entry::Agent { heard, .. } if heard.is_empty()));
        last.is_some_and(|entry| !matches!(entry, Entry::Agent { .. }))
    }

    /// Returns what the model gets to see: what was said in a row by one side is one message.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        let mut messages = Vec::with_capacity(self.entries.len() + 1);
        if !self.prompt.is_empty() {
            messages.push(Message::System(self.prompt.clone()));
        }
        for entry in &self.entries {
            match (entry, messages.last_mut()) {
                (Entry::Agent { heard, .. }, _) if heard.is_empty() => {}
                (Entry::Caller(more), Some(Message::Caller(text))) => {
                    *text = tail(&format!("{text} {more}")).to_owned();
                }
                (Entry::Caller(text), _) => messages.push(Message::Caller(text.clone())),
                (Entry::Agent { heard, interrupted, .. }, last) => {
                    let mark = if *interrupted { INTERRUPTED } else { "" };
                    match last {
                        Some(Message::Agent(text)) => *text = format!("{text} {heard}{mark}"),
                        _ => messages.push(Message::Agent(format!("{heard}{mark}"))),
                    }
                }
                (Entry::ToolCall { id, name, arguments }, _) => messages.push(Message::ToolCall {
                    id: id.clone(),
                    name: name.clone(),
                    arguments: arguments.clone(),
                }),
                (Entry::ToolResult { id, content }, _) => {
                    messages.push(Message::ToolResult { id: id.clone(), content: content.clone() });
                }
            }
        }
        messages
    }

    /// Returns what the model would get to see had the caller said `text`, too.
    #[must_use]
    pub fn messages_with(&self, text: &str) -> Vec<Message> {
        let mut asked = self.clone();
        asked.caller(text);
        asked.messages()
    }

    /// Adds an entry, and drops the oldest where there are too many: up to where the caller speaks, so that a reply keeps
    /// its question and a tool's result its call.
    fn push(&mut self, entry: Entry) {
        self.entries.push_back(entry);
        if self.entries.len() <= MESSAGES_MAX {
            return;
        }
        let spare = self.entries.len() - MESSAGES_KEPT;
        let caller = self.entries.iter().skip(spare).position(|entry| matches!(entry, Entry::Caller(_)));
        self.entries.drain(..spare + caller.unwrap_or(0));
    }
}

/// Returns the last [`MESSAGE_MAX`] bytes of `text`, from the start of a word on.
fn tail(text: &str) -> &str {
    let text = text.trim();
    if text.len() <= MESSAGE_MAX {
        return text;
    }
    let rest = &text[text.ceil_char_boundary(text.len() - MESSAGE_MAX)..];
    rest.split_once(char::is_whitespace).map_or(rest, |(_, words)| words.trim_start())
}

/// Returns the first [`MESSAGE_MAX`] bytes of `text`, up to the end of a word.
fn head(text: &str) -> &str {
    let text = text.trim();
    if text.len() <= MESSAGE_MAX {
        return text;
    }
    let start = &text[..text.floor_char_boundary(MESSAGE_MAX)];
    start.rsplit_once(char::is_whitespace).map_or(start, |(words, _)| words.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(text: &str) -> Message {
        Message::Caller(text.into())
    }

    fn agent(text: &str) -> Message {
        Message::Agent(text.into())
    }

    fn system() -> Message {
        Message::System("Be kind.".into())
    }

    #[test]
    fn a_reply_is_what_was_heard_of_it() {
        let mut conversation = Conversation::new("Be kind.");
        conversation.agent(TurnId(0));
        conversation.heard(TurnId(0), "Hello.", false);
        conversation.caller("When do you open?");
        conversation.agent(TurnId(1));
        assert!(conversation.unanswered());
        conversation.heard(TurnId(1), "We open at", true);
        assert!(!conversation.unanswered());
        assert_eq!(
            conversation.messages(),
            [system(), agent("Hello."), caller("When do you open?"), agent("We open at…")]
        );
        conversation.heard(TurnId(1), "We open at nine.", false);
        assert_eq!(conversation.messages()[3], agent("We open at nine."), "a later report replaces it");
    }

    #[test]
    fn what_was_not_answered_is_joined_to_what_follows() {
        let mut conversation = Conversation::new("");
        conversation.caller("When do you");
        conversation.agent(TurnId(1));
        conversation.caller("close on Sunday?");
        conversation.agent(TurnId(2));
        assert_eq!(conversation.messages(), [caller("When do you close on Sunday?")]);
        conversation.heard(TurnId(1), "We", true);
        assert_eq!(
            conversation.messages(),
            [caller("When do you"), agent("We…"), caller("close on Sunday?")],
            "a late report of what was heard takes its place"
        );
    }

    #[test]
    fn a_tool_call_stands_before_the_reply_that_goes_on_with_it() {
        let mut conversation = Conversation::new("");
        conversation.caller("What's the weather?");
        conversation.agent(TurnId(1));
        conversation.tool(TurnId(1), ["c1", "weather", "{}"], "no such tool");
        conversation.tool(TurnId(1), ["c2", "sky", &"x".repeat(MESSAGE_MAX + 1)], "no such tool");
        assert!(conversation.unanswered());
        conversation.heard(TurnId(1), "I can't say.", false);
        let result = |id: &str| Message::ToolResult { id: id.into(), content: "no such tool".into() };
        let call =
            |id: &str, name: &str| Message::ToolCall { id: id.into(), name: name.into(), arguments: "{}".into() };
        assert_eq!(
            conversation.messages(),
            [
                caller("What's the weather?"),
                call("c1", "weather"),
                result("c1"),
                call("c2", "sky"),
                result("c2"),
                agent("I can't say.")
            ]
        );
    }

    #[test]
    fn the_oldest_exchanges_are_dropped_and_the_instructions_stay() {
        let mut conversation = Conversation::new("Be kind.");
        let mut beginnings = Vec::new();
        for turn in 1..=200 {
            conversation.caller(&format!("question {turn}"));
            conversation.agent(TurnId(turn));
            if turn % 3 == 0 {
                conversation.tool(TurnId(turn), ["id", "name", "{}"], "result");
            }
            conversation.heard(TurnId(turn), &format!("answer {turn}"), false);
            let messages = conversation.messages();
            assert!(messages.len() <= MESSAGES_MAX + 3, "{}", messages.len());
            assert_eq!(messages[0], system());
            assert!(matches!(messages[1], Message::Caller(_)), "{:?}", messages[1]);
            assert_eq!(*messages.last().expect("not empty"), agent(&format!("answer {turn}")));
            beginnings.push(messages[1].clone());
        }
        beginnings.dedup();
        assert!(beginnings.len() < 60, "the beginning changed {} times in 200 turns", beginnings.len());
    }

    #[test]
    fn a_message_is_bounded_at_a_word() {
        let mut conversation = Conversation::new("");
        let long: String = (0..2000).map(|number| format!("żółw{number} ")).collect();
        for _ in 0..3 {
            conversation.caller(&long);
        }
        conversation.agent(TurnId(1));
        conversation.heard(TurnId(1), &long, false);
        let messages = conversation.messages();
        let (Message::Caller(caller), Message::Agent(agent)) = (&messages[0], &messages[1]) else {
            panic!("{messages:?}")
        };
        assert!(caller.len() <= MESSAGE_MAX && agent.len() <= MESSAGE_MAX);
        assert!(caller.starts_with("żółw") && caller.ends_with("żółw1999"), "the caller's last words are kept");
        assert!(agent.starts_with("żółw0 ") && long.starts_with(agent.as_str()), "the agent's first words are kept");
        assert!(long.split_whitespace().any(|word| agent.ends_with(word)));
    }
}
