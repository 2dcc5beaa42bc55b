//! What the receptionist says next: a pure function of the conversation so far.
//!
//! The conversation is gone through from its beginning each time, so nothing is remembered between two turns but what was
//! really said and heard. A question that was cut off before the caller could hear it has not been asked.

pub use super::course::Reply;
use super::course::{Course, Draft, Step, reply, said_back};
use super::details::{Details, name, read_back};
use super::topics::{About, Does, Topics};
use super::words::{sentences, without_lead_in, words};
use crate::agent::Message;
use std::collections::BTreeMap;

/// The receptionist at work.
pub struct Desk {
    topics: Topics,
    business: String,
}

/// The time at the place of the engine, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalTime {
    /// Such as "5:44 PM".
    pub time: String,
    /// Such as "Sunday, November 22nd".
    pub date: String,
}

/// Sentences already placed, so that a long conversation does not cost more each turn. Bounded by [`MEMO_MAX`].
pub type Memo = BTreeMap<String, Option<About>>;

/// Sentences kept in a [`Memo`]: those of an hour of talk.
const MEMO_MAX: usize = 512;
/// A topic this sure is heard even where a name or a number was asked for.
const SURE: f32 = 0.8;
/// A longer utterance is no plain goodbye while a message is dictated.
const SHORT: usize = 5;

impl Desk {
    /// Opens the desk of `business`.
    #[must_use]
    pub fn new(topics: Topics, business: &str) -> Self {
        Self { topics, business: business.to_owned() }
    }

    /// Returns the table of topics.
    #[must_use]
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Returns the reply to the last thing that the caller said.
    pub fn reply(&self, messages: &[Message], now: &LocalTime, memo: &mut Memo) -> Reply {
        if memo.len() > MEMO_MAX {
            memo.clear();
        }
        let mut course = Course::default();
        let mut said: Option<String> = None;
        let mut heard = String::new();
        for message in messages {
            match message {
                // What the caller says in several goes, with nothing heard between, is one utterance.
                Message::Caller(text) => {
                    if said.is_none() {
                        course.asked = course.was_asked(&heard);
                        heard.clear();
                    }
                    said = Some(said.map_or_else(|| text.clone(), |said| format!("{said} {text}")));
                }
                Message::Agent(text) if !text.trim().is_empty() => {
                    if let Some(said) = said.take() {
                        course.last = self.next(&mut course, &said, now, memo);
                    }
                    heard.push_str(text);
                    heard.push(' ');
                }
                _ => {}
            }
        }
        // Where the agent had the last word, nothing wants a reply.
        said.map_or_else(Reply::default, |said| self.next(&mut course, &said, now, memo))
    }

    fn next(&self, course: &mut Course, line: &str, now: &LocalTime, memo: &mut Memo) -> Reply {
        let about = self.about(line, memo);
        let reply = self.in_step(course, line, about, now).unwrap_or_else(|| self.openly(course, line, about, now));
        course.lost = if reply.about == "lost" { course.lost + 1 } else { 0 };
        reply
    }

    /// The topic of a whole utterance: a courtesy gives way, a goodbye wins over all but a question that has an answer.
    fn about(&self, line: &str, memo: &mut Memo) -> Option<About> {
        let mut best: Option<(u8, About)> = None;
        for sentence in sentences(line) {
            let found = *memo.entry(sentence.to_owned()).or_insert_with(|| self.about_sentence(sentence));
            let Some(found) = found else { continue };
            let row = self.topics.row(found.topic);
            let rank = match row.does {
                Does::HangUp => 3,
                _ if self.topics.is_answer(found.topic) => 2,
                _ if row.courtesy => 0,
                _ => 2,
            };
            if best.is_none_or(|(other, about)| (rank, found.score) >= (other, about.score)) {
                best = Some((rank, found));
            }
        }
        best.map(|(_, about)| about)
    }

    fn about_sentence(&self, sentence: &str) -> Option<About> {
        let bare = without_lead_in(sentence);
        let whole = self.topics.surely_about(sentence).filter(|about| about.score >= 1.0);
        // A caller who gives a name or a number talks about nothing else, however near another topic may seem.
        let named = || name(sentence, false).is_some() || Details::of(sentence).number.is_some();
        whole.or_else(|| if named() { self.topics.surely_about(bare) } else { self.topics.about(bare) })
    }

    /// Replies to what answers a question; `None` where the utterance is about something else.
    fn in_step(&self, course: &mut Course, line: &str, about: Option<About>, now: &LocalTime) -> Option<Reply> {
        let does = about.map(|about| self.topics.row(about.topic).does);
        let says_yes = does == Some(Does::Yes);
        let says_no = does == Some(Does::No);
        let taking = matches!(course.step, Step::Name | Step::Number | Step::Text | Step::Confirm | Step::Correct);
        if taking && does == Some(Does::HangUp) && (course.step != Step::Text || words(line).len() <= SHORT) {
            return None;
        }
        if taking && does == Some(Does::Repeat) {
            return None;
        }
        if taking && is_given_up(line) {
            course.step = Step::AnythingElse;
            course.draft = Draft::default();
            return Some(reply("message dropped", "All right, I'll drop the message. Is there anything else?"));
        }
        // Something else comes first where it is sure, or where the question was not heard.
        let other = about.filter(|about| {
            let row = self.topics.row(about.topic);
            let plain = matches!(row.does, Does::Reply) && !row.courtesy;
            plain && (about.score >= SURE || !course.asked) && course.step != Step::Text
        });
        if let Some(other) = other.filter(|_| taking) {
            let aside = self.said_of(course, other.topic, line, now);
            let question = course.question();
            return Some(reply(&self.topics.row(other.topic).name, &format!("{aside} {question}")));
        }
        match course.step {
            Step::Open => None,
            Step::Offered if says_yes => {
                course.draft.misses = 0;
                Some(course.ask("Good."))
            }
            Step::Offered if says_no => {
                course.step = Step::AnythingElse;
                course.draft = Draft::default();
                Some(reply("message declined", "All right. Is there anything else?"))
            }
            Step::AnythingElse if says_no => {
                course.step = Step::Open;
                Some(Reply { hang_up: true, ..reply("goodbye", &course.farewell()) })
            }
            Step::AnythingElse if says_yes => {
                course.step = Step::Open;
                Some(reply("go ahead", "Go ahead, please."))
            }
            Step::Offered | Step::AnythingElse => None,
            Step::Name => Some(course.take_name(line)),
            Step::Number => Some(course.take_number(line, says_no)),
            Step::Text => Some(course.take_text(line)),
            Step::Confirm if says_yes && course.asked => {
                course.step = Step::AnythingElse;
                let name = course.draft.name.take().map_or(String::new(), |name| format!(", {name}"));
                course.draft = Draft::default();
                let text = format!("Thank you{name}. Your message is noted with this call. Is there anything else?");
                Some(reply("message taken", &text))
            }
            Step::Confirm | Step::Correct => Some(course.correct(line, says_yes)),
        }
    }

    /// Replies to an utterance that answers no question.
    fn openly(&self, course: &mut Course, line: &str, about: Option<About>, now: &LocalTime) -> Reply {
        course.learn_name(line);
        if words(line).is_empty() {
            return reply("nothing heard", "I'm sorry, I didn't catch that. Could you say it again?");
        }
        let Some(about) = about else { return self.without_topic(course, line) };
        let row = self.topics.row(about.topic);
        if matches!(row.does, Does::Yes | Does::No) && about.score < 1.0 {
            return self.without_topic(course, line);
        }
        let said = self.said_of(course, about.topic, line, now);
        let plain = reply(&row.name, &said);
        match row.does {
            Does::Reply | Does::Yes => {
                course.step = Step::Open;
                plain
            }
            // What was said last, and where the conversation is, stay as they are.
            Does::Repeat => plain,
            Does::HangUp => {
                course.step = Step::Open;
                Reply { hang_up: true, ..plain }
            }
            Does::AskMore | Does::No => {
                course.step = Step::AnythingElse;
                plain
            }
            Does::OfferMessage => {
                course.step = Step::Offered;
                course.draft = Draft { name: course.name.clone(), ..Draft::default() };
                plain
            }
            Does::TakeMessage | Does::Book => {
                let text = if row.does == Does::Book { Some(line.to_owned()) } else { dictated(line) };
                course.draft =
                    Draft { name: course.name.clone(), number: Details::of(line).number, text, ..Draft::default() };
                let details =
                    Details::of(line).appointment().map_or(String::new(), |when| format!(" I understood: {when}."));
                let asked = course.ask(&format!("{said}{details}"));
                Reply { about: row.name.clone(), ..asked }
            }
        }
    }

    /// Nothing in the table fits: a name, a number or a time is read back; all else is said back.
    fn without_topic(&self, course: &mut Course, line: &str) -> Reply {
        let details = Details::of(line);
        let offer = |course: &mut Course, text: Option<String>, number: Option<String>| {
            course.step = Step::Offered;
            course.draft = Draft { name: course.name.clone(), number, text, ..Draft::default() };
        };
        if let Some(number) = &details.number {
            offer(course, None, Some(number.clone()));
            let text = format!("I understood the number {}. Shall I take a message with it?", read_back(number));
            return reply("number", &text);
        }
        if let Some(what) = details.appointment().or_else(|| details.amount.clone()) {
            offer(course, Some(line.to_owned()), None);
            return reply("details", &format!("I understood: {what}. Shall I pass that on as a message?"));
        }
        if let Some(name) = name(line, false) {
            course.step = Step::Open;
            return reply("name", &format!("Nice to meet you, {name}. How can I help you?"));
        }
        let said = said_back(line);
        let text = match course.lost % 3 {
            0 => {
                course.step = Step::Open;
                let verb = if line.trim_end().ends_with('?') { "You asked" } else { "You said" };
                format!("{verb}: {said} I have no answer to that. I can take a message, or tell you what I can do.")
            }
            1 => {
                offer(course, Some(line.to_owned()), None);
                format!("I heard: {said} That is beyond me, I'm sorry. Shall I take it down as a message?")
            }
            _ => {
                offer(course, Some(line.to_owned()), None);
                format!("I understood: {said} I can't help with that myself. Would you like to leave a message?")
            }
        };
        reply("lost", &text)
    }

    /// Fills the topic's next reply in.
    fn said_of(&self, course: &mut Course, topic: usize, line: &str, now: &LocalTime) -> String {
        let row = self.topics.row(topic);
        let used = course.used.entry(topic).or_insert(0);
        let template = &row.replies[*used % row.replies.len()];
        *used += 1;
        let answers = self.topics.questions().next().is_some();
        let last = if course.last.text.is_empty() { "How can I help you?" } else { &course.last.text };
        template
            .replace("{business}", &self.business)
            .replace("{comma_name}", &course.name.as_ref().map_or(String::new(), |name| format!(", {name}")))
            .replace("{time}", &now.time)
            .replace("{date}", &now.date)
            .replace("{known}", if answers { "answer questions, " } else { "" })
            .replace("{ask}", if answers { "ask me a question, " } else { "" })
            .replace("{said}", &said_back(line))
            .replace("{last}", bare(last))
    }
}

/// "Cancel", "forget the message", while one is taken.
fn is_given_up(line: &str) -> bool {
    const WAYS: [&str; 7] =
        ["never mind", "nevermind", "forget it", "cancel", "cancel that", "stop", "forget about it"];
    let all = words(without_lead_in(line)).join(" ");
    WAYS.iter().any(|way| all == *way || all == format!("no {way}"))
}

/// What was dictated along with the wish: "tell him that I'll be late" is "I'll be late".
fn dictated(line: &str) -> Option<String> {
    const OPENINGS: [&str; 8] = [
        "tell him",
        "tell her",
        "tell them",
        "let him know",
        "let her know",
        "let them know",
        "message that",
        "message saying",
    ];
    let lower = line.to_ascii_lowercase();
    let (at, opening) = OPENINGS.iter().find_map(|opening| lower.find(opening).map(|at| (at, *opening)))?;
    let rest = line[at + opening.len()..].trim_start_matches([' ', ',', ':']);
    let rest = rest.strip_prefix("that ").unwrap_or(rest);
    (words(rest).len() > 1).then(|| rest.to_owned())
}

/// A reply without the words with which it was said again.
fn bare(text: &str) -> &str {
    ["Sure. ", "I said: "].iter().find_map(|opening| text.strip_prefix(opening)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Answer;
    use crate::providers::local::minilm::MiniLm;
    use crate::providers::local::models_for_tests;
    use std::sync::Arc;

    fn desk(model: Option<Arc<MiniLm>>) -> Desk {
        let answer = |questions: &[&str], answer: &str| Answer {
            questions: questions.iter().map(|question| (*question).to_owned()).collect(),
            answer: answer.to_owned(),
        };
        let answers = [
            answer(
                &["What are your opening hours?", "When do you open?", "Are you open on Sunday?"],
                "We're open from nine to five.",
            ),
            answer(&["Where are you located?", "What is your address?"], "We're at 12 Oak Street."),
            answer(&["How much is a cleaning?", "What does it cost?"], "A cleaning is $80."),
        ];
        Desk::new(Topics::new(&answers, model), "Acme Dental")
    }

    fn now() -> LocalTime {
        LocalTime { time: "5:44 PM".into(), date: "Sunday, November 22nd".into() }
    }

    /// A conversation in which every reply is heard whole: what each reply is about, and its text.
    fn talk(desk: &Desk, lines: &[&str]) -> Vec<Reply> {
        let mut messages = vec![Message::System("be nice".into()), Message::Agent("Hello, this is Acme.".into())];
        let mut memo = Memo::new();
        let mut replies = Vec::new();
        for line in lines {
            messages.push(Message::Caller((*line).to_owned()));
            let reply = desk.reply(&messages, &now(), &mut memo);
            messages.push(Message::Agent(reply.text.clone()));
            replies.push(reply);
        }
        replies
    }

    /// Caller line, and what the reply is about.
    const BY_WORDS: &[(&str, &str)] = &[
        ("Hello.", "greeting"),
        ("Hi there!", "greeting"),
        ("Good morning.", "greeting"),
        ("How are you?", "how are you"),
        ("Hey, how's it going today?", "how are you"),
        ("Who is this?", "who are you"),
        ("What's your name?", "who are you"),
        ("Are you a robot?", "robot"),
        ("Hang on, am I talking to a machine?", "robot"),
        ("What can you do?", "abilities"),
        ("Can you help me?", "abilities"),
        ("What is Offhook?", "offhook"),
        ("Can you hear me?", "hear me"),
        ("Hello? Are you there?", "hear me"),
        ("I can't hear you.", "cannot hear"),
        ("Pardon?", "repeat"),
        ("Sorry, could you repeat that please?", "repeat"),
        ("You're speaking too fast for me.", "slower"),
        ("Hold on a second.", "wait"),
        ("Tell me a joke.", "joke"),
        ("Do you know another joke?", "joke"),
        ("What time is it?", "time"),
        ("Um, can you tell me the time?", "time"),
        ("What day is it today?", "date"),
        ("What's the weather like?", "live information"),
        ("Do you speak Spanish?", "language"),
        ("I think I have the wrong number.", "wrong number"),
        ("This is just a test call.", "test"),
        ("Testing, testing.", "test"),
        ("That's really cool.", "praise"),
        ("You're stupid.", "blame"),
        ("Thank you very much.", "thanks"),
        ("Yes.", "yes"),
        ("No, thank you.", "no"),
        ("I'd like to leave a message.", "message"),
        ("Could you take a message for the doctor?", "message"),
        ("Can I speak to a human?", "transfer"),
        ("Please put me through to the manager.", "transfer"),
        ("I'd like to book an appointment.", "booking"),
        ("I want to make a reservation for tonight.", "booking"),
        ("Goodbye.", "goodbye"),
        ("Okay, thanks, bye!", "goodbye"),
        ("That's all.", "goodbye"),
        ("You can hang up now.", "goodbye"),
        ("This is an emergency!", "emergency"),
        ("What are your opening hours?", "What are your opening hours?"),
        ("Hi. When do you open?", "What are your opening hours?"),
        ("Thank you. And what is your address?", "Where are you located?"),
        ("My name is John.", "name"),
        ("My number is 555-271-8346.", "number"),
        ("Purple elephants juggle seven spoons.", "lost"),
        ("", "nothing heard"),
    ];

    /// Ways of saying it that share few words with the table.
    const BY_MEANING: &[(&str, &str)] = &[
        ("Do you work on weekends?", "What are your opening hours?"),
        ("How late can I drop by?", "What are your opening hours?"),
        ("What time do you close on Fridays?", "What are your opening hours?"),
        ("How do I get to your office?", "Where are you located?"),
        ("Which street are you on?", "Where are you located?"),
        ("What's the price of a cleaning?", "How much is a cleaning?"),
        ("Is it expensive to get my teeth cleaned?", "How much is a cleaning?"),
        ("Am I speaking with a living person?", "robot"),
        ("Is there a person I could speak with instead?", "transfer"),
        ("I would prefer to talk to one of your colleagues.", "transfer"),
        ("Could you make me laugh with something?", "joke"),
        ("I need to come in to see the dentist next week.", "booking"),
        ("Could you let Peter know that I'm running late?", "message"),
        ("Ask somebody to ring me back, please.", "message"),
        ("So what are you able to help with?", "abilities"),
        ("Is it going to be sunny tomorrow?", "live information"),
        ("Who won the match yesterday?", "live information"),
        ("What's today's date, please?", "date"),
        ("I didn't understand, say it once more.", "repeat"),
        ("I must be going now, take care.", "goodbye"),
        ("Many thanks for that.", "thanks"),
        ("How have you been?", "how are you"),
        ("Can we continue in German?", "language"),
        ("The connection is really bad, you sound very quiet.", "cannot hear"),
        ("My fish tank is a shade of green.", "lost"),
        ("The committee approved the second draft of the treaty.", "lost"),
        ("I had spaghetti with my cousin.", "lost"),
    ];

    #[test]
    fn each_line_finds_its_topic_by_words_alone() {
        let desk = desk(None);
        for (line, about) in BY_WORDS {
            let reply = talk(&desk, &[line]).remove(0);
            assert_eq!(reply.about, *about, "{line}: {}", reply.text);
        }
    }

    #[test]
    fn with_the_model_paraphrases_find_their_topic_too() {
        let Some(folder) = models_for_tests("minilm") else { return };
        let desk = desk(Some(Arc::new(MiniLm::read(&folder).expect("usable files"))));
        let wrong = |table: &[(&str, &str)]| -> Vec<String> {
            let replies = table.iter().map(|(line, about)| (line, about, talk(&desk, &[line]).remove(0)));
            let wrong = replies.filter(|(_, about, reply)| reply.about != **about);
            wrong.map(|(line, about, reply)| format!("{line}: {} ({about})", reply.about)).collect()
        };
        assert_eq!(wrong(BY_WORDS), Vec::<String>::new());
        // The table must not be fitted to these: four of five right is what the model is good for.
        let missed = wrong(BY_MEANING);
        assert!(missed.len() * 5 <= BY_MEANING.len(), "{missed:#?}");
    }

    #[test]
    fn a_message_is_taken_read_back_and_noted() {
        let replies = talk(
            &desk(None),
            &[
                "Can I leave a message?",
                "John Smith.",
                "It's five five five, two seven one, eight three four six.",
                "Please tell Dr. Lee that I'll be ten minutes late.",
                "Yes, that's right.",
                "No, that's all.",
            ],
        );
        let about: Vec<&str> = replies.iter().map(|reply| reply.about.as_str()).collect();
        let steps =
            ["message", "asks for the number", "asks for the message", "reads back", "message taken", "goodbye"];
        assert_eq!(about, steps, "{replies:#?}");
        assert_eq!(replies[1].text, "Thank you, John Smith. What number can you be reached at?");
        assert_eq!(replies[2].text, "I have 5 5 5, 2 7 1, 8 3 4 6. What's the message?");
        assert_eq!(
            replies[3].text,
            "Let me read that back. From John Smith, number 5 5 5, 2 7 1, 8 3 4 6. The message: Please tell Dr. Lee that I'll be ten minutes late. Is that right?"
        );
        assert!(replies[5].hang_up && replies[5].text.contains("John Smith"), "{}", replies[5].text);
    }

    #[test]
    fn what_is_wrong_in_a_message_is_changed() {
        let replies = talk(
            &desk(None),
            &[
                "I'd like to leave a message",
                "Ann",
                "555 271 8346",
                "Call me",
                "No.",
                "The number",
                "555 271 8347",
                "Yes",
            ],
        );
        assert_eq!(replies[4].about, "asks what to change");
        assert_eq!(replies[5].about, "asks for the number");
        assert!(
            replies[6].text.contains("8 3 4 7") && replies[6].text.contains("Is that right?"),
            "{}",
            replies[6].text
        );
        assert_eq!(replies[7].about, "message taken");
        let at_once = talk(
            &desk(None),
            &["I'd like to leave a message", "Ann", "555 271 8346", "Call me", "No, the number is 555 271 8347."],
        );
        assert!(at_once[4].text.starts_with("I've changed the number.") && at_once[4].text.contains("8 3 4 7"));
    }

    #[test]
    fn a_number_may_come_in_pieces_or_not_at_all() {
        let pieces = talk(&desk(None), &["Take a message please", "Bob", "555 271", "8346"]);
        assert_eq!(pieces[2].text, "So far I have 5 5 5, 2 7 1. What comes next?");
        assert!(pieces[3].text.starts_with("I have 5 5 5, 2 7 1, 8 3 4 6."), "{}", pieces[3].text);
        let none = talk(&desk(None), &["Take a message please", "Bob", "I don't have one", "Hi from Bob."]);
        assert!(none[3].text.contains("without a number"), "{}", none[3].text);
    }

    #[test]
    fn a_question_in_between_is_answered_and_the_thread_kept() {
        let replies = talk(&desk(None), &["I'd like to leave a message.", "What are your opening hours?", "Maria"]);
        assert_eq!(replies[1].text, "We're open from nine to five. What's your name?");
        assert!(replies[2].text.starts_with("Thank you, Maria."));
    }

    #[test]
    fn a_question_that_was_cut_off_was_not_asked() {
        let desk = desk(None);
        let ask = |heard: &str| {
            let messages = [
                Message::Caller("I'd like to leave a message.".into()),
                Message::Agent(heard.into()),
                Message::Caller("What time is it?".into()),
            ];
            desk.reply(&messages, &now(), &mut Memo::new()).about
        };
        assert_eq!(ask("Sure, I"), "time");
        let confirm = |heard: &str| {
            let messages = [
                Message::Caller("Take a message: tell him that I'm late.".into()),
                Message::Agent("Sure, I can take a message. What's your name?".into()),
                Message::Caller("Ann".into()),
                Message::Agent("Thank you, Ann. What number can you be reached at?".into()),
                Message::Caller("555 271 8346".into()),
                Message::Agent(heard.into()),
                Message::Caller("Yes".into()),
            ];
            desk.reply(&messages, &now(), &mut Memo::new()).about
        };
        assert_eq!(confirm("I have 5 5 5"), "reads back", "nothing was confirmed yet");
        let whole = "I have 5 5 5, 2 7 1, 8 3 4 6. Let me read that back. From Ann, number 5 5 5, 2 7 1, 8 3 4 6. The message: I'm late. Is that right?";
        assert_eq!(confirm(whole), "message taken");
    }

    #[test]
    fn what_was_said_in_two_goes_is_one_utterance() {
        let messages = [Message::Caller("I'd like to".into()), Message::Caller("leave a message.".into())];
        assert_eq!(desk(None).reply(&messages, &now(), &mut Memo::new()).about, "message");
    }

    #[test]
    fn who_is_not_understood_hears_what_was() {
        let replies = talk(&desk(None), &["Purple elephants juggle spoons.", "Green tigers paint ceilings?", "Yes"]);
        assert!(replies[0].text.starts_with("You said: Purple elephants juggle spoons."), "{}", replies[0].text);
        assert!(replies[1].text.starts_with("I heard: Green tigers paint ceilings?"), "{}", replies[1].text);
        assert_eq!(replies[2].about, "asks for the name", "the offer was taken");
    }

    #[test]
    fn an_appointment_is_passed_on_with_its_time() {
        let replies = talk(&desk(None), &["I'd like to book an appointment for tomorrow at three thirty.", "Ann Lee"]);
        assert!(replies[0].text.contains("tomorrow at 3:30") && replies[0].text.ends_with("What's your name?"));
        assert!(replies[1].text.starts_with("Thank you, Ann Lee."));
    }

    #[test]
    fn a_time_without_more_is_read_back_and_offered_to_be_passed_on() {
        let replies = talk(&desk(None), &["Around seven o'clock in the evening.", "Yes, please.", "Ann", "no", "Yes"]);
        assert_eq!(replies[0].text, "I understood: 7 PM. Shall I pass that on as a message?");
        assert_eq!(replies[3].about, "reads back", "{replies:#?}");
        assert!(replies[3].text.contains("The message: Around seven o'clock in the evening."));
    }

    #[test]
    fn the_last_reply_is_said_again_and_again() {
        let replies = talk(&desk(None), &["What are your opening hours?", "Pardon?", "Sorry?"]);
        assert_eq!(replies[1].text, "Sure. We're open from nine to five.");
        assert_eq!(replies[2].text, "I said: We're open from nine to five.");
    }

    #[test]
    fn replies_vary_and_the_same_conversation_gets_the_same() {
        let lines = ["Tell me a joke", "Tell me a joke", "What time is it?"];
        let first = talk(&desk(None), &lines);
        assert_ne!(first[0].text, first[1].text);
        assert_eq!(first[2].text, "It's 5:44 PM.");
        assert_eq!(first, talk(&desk(None), &lines));
    }

    #[test]
    fn nothing_that_is_said_breaks_it() {
        let desk = desk(None);
        let long = "word ".repeat(5000);
        for line in
            ["?", "...", "🙂", "\u{0}", "{last}", "{business}", &long, "'s", "at at at", "$", "no no no", "1 2 3"]
        {
            for before in ["hello", "I'd like to leave a message", "Can I speak to a human?"] {
                let replies = talk(&desk, &[before, line, line, line, line]);
                assert!(replies.iter().all(|reply| reply.text.len() < 2000), "{line}");
            }
        }
        assert_eq!(desk.reply(&[], &now(), &mut Memo::new()), Reply::default());
    }
}
