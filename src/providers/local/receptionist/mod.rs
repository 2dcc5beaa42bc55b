//! The mind of the local agent: a receptionist who answers what it knows, takes messages, and says when it does not know.
//!
//! No language model: the same conversation gets the same reply, and nothing is claimed that was not told. `topics` is the table of
//! what it talks about, `meaning` finds the topic, `details` finds numbers, times and names, `desk` decides what is said.

pub mod course;
pub mod desk;
pub mod details;
pub mod meaning;
pub mod topics;
pub mod words;

use super::minilm::MiniLm;
use crate::agent::MindEvent;
use crate::config;
use crate::providers::{MindCommand, MindIo, Request, Responder};
use desk::{Desk, LocalTime, Memo};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use topics::Topics;

/// How often the stop is looked at, should the bell not be heard.
const IDLE: Duration = Duration::from_secs(1);

/// The tool that ends the call.
const HANG_UP: &str = "hang_up";

/// Replies without a language model. One table of topics is shared by all calls; it is made at the first need of it, or by
/// [`Self::load`].
pub struct Receptionist {
    business: String,
    answers: Vec<config::Answer>,
    folder: PathBuf,
    desk: Mutex<Option<Arc<Desk>>>,
}

impl Receptionist {
    /// Makes a receptionist for `agent.business` who knows `agent.answers`. With the folder `minilm` in `models` it
    /// compares by meaning, without it by words. Reads nothing yet.
    #[must_use]
    pub fn new(agent: &config::Agent, models: &Path) -> Self {
        Self {
            business: agent.business.clone(),
            answers: agent.answers.clone(),
            folder: models.join("minilm"),
            desk: Mutex::new(None),
        }
    }

    /// Reads the model and places all examples, unless that is done already: about a second. Returns whether meaning is
    /// compared; without the model, words are.
    pub fn load(&self) -> bool {
        self.desk().topics().by_meaning()
    }

    fn desk(&self) -> Arc<Desk> {
        let mut desk = self.desk.lock();
        if let Some(desk) = desk.as_ref() {
            return desk.clone();
        }
        let model = MiniLm::read(&self.folder).ok().map(Arc::new);
        desk.insert(Arc::new(Desk::new(Topics::new(&self.answers, model), &self.business))).clone()
    }
}

impl Responder for Receptionist {
    fn name(&self) -> &'static str {
        "receptionist"
    }

    fn computes(&self) -> bool {
        true
    }

    fn run(&self, io: MindIo) {
        let MindIo { commands, mut listener, events, stop, .. } = io;
        let desk = self.desk();
        let mut memo = Memo::new();
        while !stop.raised() {
            while let Ok(command) = commands.try_recv() {
                // A reply takes a few milliseconds, so a cancel always comes too late to save any of them.
                if let MindCommand::Ask(request) = command {
                    let turn = request.turn;
                    answer(&desk, &request, &local_time(), &mut memo, &mut |event| events.send((turn, event)));
                }
            }
            listener.wait(Some(IDLE));
        }
    }
}

/// Answers one request, word by word.
fn answer(desk: &Desk, request: &Request, now: &LocalTime, memo: &mut Memo, say: &mut dyn FnMut(MindEvent)) {
    say(MindEvent::Sent);
    let reply = desk.reply(&request.messages, now, memo);
    for word in reply.text.split_inclusive(' ') {
        say(MindEvent::Token(word.to_owned()));
    }
    if reply.hang_up && request.tools.iter().any(|tool| tool.name == HANG_UP) {
        let id = format!("{HANG_UP}-{}", request.turn.0);
        say(MindEvent::ToolCall { id, name: HANG_UP.to_owned(), arguments: "{}".to_owned() });
    }
    say(MindEvent::Done);
}

/// The time at this place, for callers who ask.
fn local_time() -> LocalTime {
    let now = jiff::Zoned::now();
    let ending = match now.day() {
        1 | 21 | 31 => "st",
        2 | 22 => "nd",
        3 | 23 => "rd",
        _ => "th",
    };
    LocalTime { time: now.strftime("%-I:%M %p").to_string(), date: format!("{}{ending}", now.strftime("%A, %B %-d")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Message, Tool};
    use crate::ids::TurnId;

    fn events(line: &str, tools: Vec<Tool>) -> Vec<MindEvent> {
        let desk = Desk::new(Topics::new(&[], None), "Offhook");
        let request = Request { turn: TurnId(3), messages: vec![Message::Caller(line.into())], tools };
        let mut events = Vec::new();
        answer(&desk, &request, &LocalTime::default(), &mut Memo::new(), &mut |event| events.push(event));
        events
    }

    #[test]
    fn a_reply_is_streamed_word_by_word_and_a_goodbye_hangs_up_after_its_last_word() {
        let hang_up = Tool { name: HANG_UP.into(), description: String::new(), parameters: "{}".into() };
        let with_tool = events("Goodbye!", vec![hang_up]);
        assert_eq!(with_tool.first(), Some(&MindEvent::Sent));
        assert_eq!(with_tool[1], MindEvent::Token("Goodbye, ".into()));
        let call = &with_tool[with_tool.len() - 2];
        assert!(matches!(call, MindEvent::ToolCall { name, .. } if name == HANG_UP), "{call:?}");
        assert_eq!(with_tool.last(), Some(&MindEvent::Done));
        let without = events("Goodbye!", Vec::new());
        assert!(!without.iter().any(|event| matches!(event, MindEvent::ToolCall { .. })));
    }

    #[test]
    fn the_time_of_this_place_reads_as_a_time_and_a_date() {
        let now = local_time();
        assert!(now.time.ends_with('M') && now.time.contains(':'), "{}", now.time);
        assert!(now.date.contains(", "), "{}", now.date);
    }
}
