//! The table of what the receptionist can talk about: its own topics, and the answers it was given.

use super::meaning::Meaning;
use super::words::{has_phrase, words};
use crate::config::Answer;
use crate::providers::local::minilm::MiniLm;
use std::sync::Arc;

/// The receptionist's own topics, as text.
const OWN: &str = include_str!("topics.toml");

/// What follows from a topic, beyond its reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Does {
    /// Nothing.
    #[default]
    Reply,
    /// The call ends after the reply.
    HangUp,
    /// A message is taken.
    TakeMessage,
    /// A message is offered; yes takes it.
    OfferMessage,
    /// A message is taken, and what was said is its text.
    Book,
    /// The last reply is said again.
    Repeat,
    /// Asks whether there is anything else; no ends the call.
    AskMore,
    /// Says yes to what was asked.
    Yes,
    /// Says no to what was asked.
    No,
}

/// One row of the table.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// What it is called, in tests and in the log.
    pub name: String,
    /// Ways in which callers say it.
    pub examples: Vec<String>,
    /// Sentences that are surely it.
    #[serde(default)]
    pub phrases: Vec<String>,
    /// Runs of words that make a sentence surely it.
    #[serde(default)]
    pub contains: Vec<String>,
    /// What is said, in turn.
    pub replies: Vec<String>,
    /// What follows.
    #[serde(default)]
    pub does: Does,
    /// Gives way to any other topic of the same turn.
    #[serde(default)]
    pub courtesy: bool,
}

#[derive(serde::Deserialize)]
struct Table {
    topic: Vec<Topic>,
}

/// All topics, the given answers first.
pub struct Topics {
    rows: Vec<Topic>,
    answers: usize,
    meaning: Meaning,
}

/// A topic that an utterance is about, and how sure that is (1 is certain).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct About {
    /// Number of the topic.
    pub topic: usize,
    /// How near it is.
    pub score: f32,
}

/// The score of a sentence that has the topic's own words: surer than most likenesses, and less sure than a question learnt by heart.
const BY_WORDS: f32 = 0.9;
/// A given answer wins over an own topic that is nearer by less than this: who wrote the answers knows the callers.
const ANSWERS_FIRST: f32 = 0.08;

impl Topics {
    /// Joins `answers` with the receptionist's own topics.
    ///
    /// # Panics
    /// If the table in this folder is no table, which a test rules out.
    #[must_use]
    pub fn new(answers: &[Answer], model: Option<Arc<MiniLm>>) -> Self {
        let given = answers.iter().map(|answer| Topic {
            name: answer.questions.first().cloned().unwrap_or_default(),
            examples: answer.questions.clone(),
            replies: vec![answer.answer.clone()],
            ..Topic::default()
        });
        let own: Table = toml::from_str(OWN).expect("the table is part of the program");
        let rows: Vec<Topic> = given.chain(own.topic).collect();
        let examples: Vec<(usize, String)> = rows
            .iter()
            .enumerate()
            .flat_map(|(i, topic)| topic.examples.iter().map(move |example| (i, example.clone())))
            .collect();
        Self { meaning: Meaning::new(&examples, model), answers: answers.len(), rows }
    }

    /// Returns row `topic`.
    #[must_use]
    pub fn row(&self, topic: usize) -> &Topic {
        &self.rows[topic.min(self.rows.len() - 1)]
    }

    /// Whether `topic` is one of the given answers.
    #[must_use]
    pub fn is_answer(&self, topic: usize) -> bool {
        topic < self.answers
    }

    /// The first question of each given answer.
    pub fn questions(&self) -> impl Iterator<Item = &str> {
        self.rows[..self.answers].iter().map(|row| row.name.as_str())
    }

    /// Whether utterances are compared by meaning.
    #[must_use]
    pub fn by_meaning(&self) -> bool {
        self.meaning.by_meaning()
    }

    /// Returns the topic that has `sentence` for one of its own, or its words in it.
    #[must_use]
    pub fn surely_about(&self, sentence: &str) -> Option<About> {
        let all = words(sentence);
        let is = |phrase: &String| words(phrase) == all;
        let whole = self.rows.iter().position(|row| row.phrases.iter().chain(&row.examples).any(is));
        let part = || self.rows.iter().position(|row| row.contains.iter().any(|phrase| has_phrase(&all, phrase)));
        let whole = whole.map(|topic| About { topic, score: 1.0 });
        whole.or_else(|| part().map(|topic| About { topic, score: BY_WORDS }))
    }

    /// Returns the topic that `sentence` is about, if it is near enough to any.
    #[must_use]
    pub fn about(&self, sentence: &str) -> Option<About> {
        let sure = self.surely_about(sentence).filter(|about| about.score >= 1.0 || !self.is_answer(about.topic));
        if sure.is_some_and(|about| about.score >= 1.0) {
            return sure;
        }
        let likeness = self.meaning.scores(sentence);
        let given = |topic: usize| if self.is_answer(topic) { ANSWERS_FIRST } else { 0.0 };
        let like = likeness.into_iter().enumerate().map(|(topic, score)| About { topic, score });
        like.filter(|about| about.score >= self.meaning.near()).chain(sure).max_by(|a, b| {
            (a.score + given(a.topic)).total_cmp(&(b.score + given(b.topic))).then(b.topic.cmp(&a.topic))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        let topics = Topics::new(&[], None);
        for row in &topics.rows {
            assert!(!row.examples.is_empty() && !row.replies.is_empty(), "{}", row.name);
            let known = ["{business}", "{comma_name}", "{time}", "{date}", "{last}", "{known}", "{ask}", "{said}"];
            for reply in &row.replies {
                let left = known.iter().fold(reply.clone(), |reply, place| reply.replace(place, ""));
                assert!(!left.contains(['{', '}']), "{reply}");
            }
        }
    }

    #[test]
    fn a_given_answer_comes_before_what_the_receptionist_says_by_itself() {
        let answers = [Answer {
            questions: vec!["When are you open?".into(), "opening hours".into()],
            answer: "Nine to five.".into(),
        }];
        let topics = Topics::new(&answers, None);
        let about = topics.about("What are the opening hours?").expect("is near");
        assert!(topics.is_answer(about.topic), "{}", topics.row(about.topic).name);
        assert_eq!(topics.about("purple elephants juggle"), None);
    }
}
