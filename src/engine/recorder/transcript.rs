//! What was said in a call, by whom and when, on the timeline of its recording.

use crate::agent::{EarsEvent, TimedWord, VoiceEvent};
use crate::call::{CallEvent, VOICE_RATE};
use crate::engine::conductor::Event;
use crate::ids::TurnId;
use crate::metrics::TurnView;
use crate::time::{Instant, samples};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Turns whose times are kept: as many as the table of calls has.
const TURNS_MAX: usize = crate::metrics::board::TURNS_KEPT;
/// Words kept of a turn's reply: minutes of speech.
const WORDS_MAX: usize = 2_000;

/// What happened, as far as a transcript wants to know.
#[derive(Clone, Debug, PartialEq)]
pub enum Moment {
    /// The caller began to speak.
    CallerBegan,
    /// The caller's last speech before the end of a turn.
    CallerEnded,
    /// The caller said these words, each from and to so much after the first one began.
    CallerWords(Vec<(String, Duration, Duration)>),
    /// The first packet of a reply left.
    Replied(TurnId),
    /// This much of a reply's text is spoken up to so far from its beginning.
    Spoken(TurnId, String, Duration),
    /// A reply is over after so much of it was played.
    Over(TurnId, Duration),
}

impl Moment {
    /// Reads what a call's agent is told; `now` is when.
    #[must_use]
    pub fn of_event(event: &Event, now: Instant) -> Option<(Instant, Self)> {
        match event {
            Event::Ears(ears) => match &ears.event {
                EarsEvent::EndOfTurn { speech, .. } => {
                    let known = speech.arrived > Instant::ZERO;
                    Some((if known { speech.arrived } else { ears.at }, Self::CallerEnded))
                }
                EarsEvent::Words(words) => {
                    let began = words.first()?.from;
                    let word = |word: &TimedWord| (word.text.clone(), word.from.since(began), word.to.since(began));
                    Some((began, Self::CallerWords(words.iter().map(word).collect())))
                }
                _ => None,
            },
            Event::Voice(voice) => match &voice.event {
                (turn, VoiceEvent::Spoken { text, end }) => Some((now, Self::Spoken(*turn, text.clone(), *end))),
                _ => None,
            },
            _ => None,
        }
    }

    /// Reads what happens on the media path.
    #[must_use]
    pub fn of_media(event: &CallEvent, now: Instant) -> Option<(Instant, Self)> {
        let length = |samples: u64| samples::duration(samples, VOICE_RATE);
        match *event {
            CallEvent::CallerSpeech { speaking: true, at } => Some((at, Self::CallerBegan)),
            CallEvent::FirstPacket { turn, at } => Some((at, Self::Replied(turn))),
            CallEvent::Played { turn, samples } => Some((now, Self::Over(turn, length(samples)))),
            CallEvent::Cut { turn, samples, at } => Some((at, Self::Over(turn, length(samples)))),
            _ => None,
        }
    }
}

/// When each turn was.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    turns: BTreeMap<TurnId, Times>,
    /// What the caller has begun to say, and where it ended, until a reply says which turn it was.
    caller: Option<(Duration, Option<Duration>)>,
    /// What the caller has said since the last reply, where the recogniser tells when.
    words: Vec<(String, Duration, Duration)>,
}

#[derive(Clone, Debug, Default)]
struct Times {
    caller: Option<(Duration, Duration)>,
    caller_words: Vec<(String, Duration, Duration)>,
    agent_from: Option<Duration>,
    agent_to: Option<Duration>,
    /// Text and the time up to which it is spoken, from the reply's beginning.
    spoken: Vec<(String, Duration)>,
    played: Option<Duration>,
}

impl Timeline {
    /// Takes what happened at `at`, counted from the recording's beginning.
    pub fn take(&mut self, at: Duration, moment: Moment) {
        match moment {
            Moment::CallerBegan => match &mut self.caller {
                Some((from, to @ Some(_))) => (*from, *to) = (at, None),
                Some(_) => {}
                None => self.caller = Some((at, None)),
            },
            Moment::CallerEnded => {
                let from = self.caller.map_or(at, |(from, _)| from);
                self.caller = Some((from.min(at), Some(at)));
            }
            Moment::CallerWords(words) => {
                self.words.extend(words.into_iter().map(|(text, from, to)| (text, at + from, at + to)));
                self.words.truncate(WORDS_MAX);
            }
            Moment::Replied(turn) => {
                let caller = match self.caller {
                    Some((from, Some(to))) if turn != TurnId::GREETING => Some((from, to)),
                    _ => None,
                };
                if caller.is_some() {
                    self.caller = None;
                }
                let words = if turn == TurnId::GREETING { Vec::new() } else { std::mem::take(&mut self.words) };
                let times = self.of(turn);
                times.agent_from.get_or_insert(at);
                times.caller = times.caller.or(caller);
                times.caller_words.extend(words);
            }
            Moment::Spoken(turn, text, end) => {
                let times = self.of(turn);
                if times.spoken.len() < WORDS_MAX {
                    times.spoken.push((text, end));
                }
            }
            Moment::Over(turn, played) => {
                let times = self.of(turn);
                times.agent_to = Some(at);
                times.played = Some(played);
            }
        }
    }

    fn of(&mut self, turn: TurnId) -> &mut Times {
        if self.turns.len() >= TURNS_MAX && !self.turns.contains_key(&turn) {
            self.turns.pop_first();
        }
        self.turns.entry(turn).or_default()
    }

    /// Returns what was said, in order, as `turns` tells it.
    #[must_use]
    pub fn lines(&self, turns: &[TurnView]) -> Vec<Line> {
        let none = Times::default();
        let mut lines = Vec::new();
        for TurnView { record, .. } in turns {
            let times = self.turns.get(&record.turn).unwrap_or(&none);
            if !record.caller.is_empty() {
                lines.push(Line {
                    turn: record.turn.number(),
                    who: "caller",
                    from_s: times.caller.map(|(from, _)| seconds(from)),
                    to_s: times.caller.map(|(_, to)| seconds(to)),
                    text: record.caller.clone(),
                    heard: None,
                    interrupted: None,
                    words: times.words_of(&record.caller),
                });
            }
            if !record.agent.is_empty() || times.agent_from.is_some() {
                lines.push(Line {
                    turn: record.turn.number(),
                    who: "agent",
                    from_s: times.agent_from.map(seconds),
                    to_s: times.agent_to.map(seconds),
                    text: record.agent.clone(),
                    heard: Some(Heard { words_min: record.heard.min, words_max: record.heard.max }),
                    interrupted: Some(record.interrupted),
                    words: times.words(),
                });
            }
        }
        lines
    }
}

impl Times {
    /// Returns the words of which `text` consists. Others were said, too, and were nothing to answer.
    fn words_of(&self, text: &str) -> Vec<Word> {
        let mut left = text.split_whitespace().rev().peekable();
        let mut words: Vec<Word> = Vec::new();
        for (said, from, to) in self.caller_words.iter().rev() {
            // What is a word to the recogniser may be several here.
            let pieces = said.split_whitespace().rev();
            if pieces.into_iter().all(|piece| left.next_if_eq(&piece).is_some()) {
                words.push(Word { text: said.clone(), from_s: seconds(*from), to_s: seconds(*to), heard: None });
            }
        }
        words.reverse();
        words
    }

    fn words(&self) -> Vec<Word> {
        let Some(start) = self.agent_from else { return Vec::new() };
        let mut from = Duration::ZERO;
        let words = self.spoken.iter().map(|(text, end)| {
            let word = Word {
                text: text.clone(),
                from_s: seconds(start + from),
                to_s: seconds(start + *end),
                heard: Some(self.played.is_none_or(|played| *end <= played)),
            };
            from = *end;
            word
        });
        words.collect()
    }
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// A transcript.
#[derive(Debug, Serialize)]
pub struct Transcript<'a> {
    /// Of these fields.
    pub version: u32,
    /// The call's record.
    pub record: &'a str,
    /// The Call-ID header's value.
    pub call_id: &'a str,
    /// What all times count from, and the recording, too: RFC 3339, UTC.
    pub started_at: Option<&'a str>,
    /// The recording's file name.
    pub audio: Option<&'a str>,
    /// What was said, in order.
    pub turns: Vec<Line>,
}

/// What one side said in a turn. Of a reply, what was heard of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    turn: u32,
    who: &'static str,
    from_s: Option<f64>,
    to_s: Option<f64>,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    heard: Option<Heard>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interrupted: Option<bool>,
    /// Words with their times, of the agent's side clauses where the voice tells no more; these do not know of pauses. Of the
    /// caller's side only where the recogniser tells them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    words: Vec<Word>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Heard {
    words_min: u32,
    words_max: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Word {
    text: String,
    from_s: f64,
    to_s: f64,
    /// Whether the caller heard it; none of the caller's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    heard: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{TurnRecord, WordSpan};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_turn_is_told_with_its_times_and_what_was_heard_of_it() {
        let mut timeline = Timeline::default();
        let turn = TurnId(1);
        for (at, moment) in [
            (100, Moment::Replied(TurnId::GREETING)),
            (900, Moment::Over(TurnId::GREETING, ms(800))),
            (1000, Moment::CallerBegan),
            (1400, Moment::CallerBegan),
            (2000, Moment::CallerEnded),
            (2500, Moment::Replied(turn)),
            (2500, Moment::Spoken(turn, "Yes.".into(), ms(300))),
            (2500, Moment::Spoken(turn, "Surely.".into(), ms(900))),
            (2900, Moment::CallerBegan),
            (3000, Moment::Over(turn, ms(500))),
        ] {
            timeline.take(ms(at), moment);
        }
        let record = TurnRecord {
            turn,
            caller: "Is it open?".into(),
            agent: "Yes.".into(),
            heard: WordSpan { min: 1, max: 2 },
            interrupted: true,
            ..TurnRecord::default()
        };
        let lines = timeline.lines(&[TurnView { record, ..TurnView::default() }]);
        let [caller, agent] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((caller.who, caller.from_s, caller.to_s), ("caller", Some(1.0), Some(2.0)));
        assert_eq!((agent.from_s, agent.to_s, agent.interrupted), (Some(2.5), Some(3.0), Some(true)));
        let words: Vec<_> = agent.words.iter().map(|word| (word.from_s, word.to_s, word.heard)).collect();
        assert_eq!(words, [(2.5, 2.8, Some(true)), (2.8, 3.4, Some(false))]);
        assert_eq!(timeline.caller, Some((ms(2900), None)), "what cut the reply begins the next turn");
    }

    #[test]
    fn the_callers_words_stand_where_they_were_said_and_none_that_was_nothing_to_answer() {
        let mut timeline = Timeline::default();
        let word = |text: &str, from, to| (text.to_owned(), ms(from), ms(to));
        for (at, moment) in [
            (500, Moment::CallerWords(vec![word("Mhm.", 0, 200)])),
            (1000, Moment::CallerWords(vec![word("Is", 0, 200), word("it", 200, 300), word("open?", 350, 800)])),
            (2500, Moment::Replied(TurnId(1))),
            (3000, Moment::CallerWords(vec![word("Thanks.", 0, 400)])),
            (4000, Moment::Replied(TurnId(2))),
        ] {
            timeline.take(ms(at), moment);
        }
        let view = |turn, caller: &str| {
            let record = TurnRecord { turn: TurnId(turn), caller: caller.into(), ..TurnRecord::default() };
            TurnView { record, ..TurnView::default() }
        };
        let lines = timeline.lines(&[view(1, "Is it open?"), view(2, "Something else.")]);
        let words: Vec<_> = lines[0].words.iter().map(|word| (word.text.as_str(), word.from_s, word.to_s)).collect();
        assert_eq!(words, [("Is", 1.0, 1.2), ("it", 1.2, 1.3), ("open?", 1.35, 1.8)]);
        assert_eq!(lines[0].words[0].heard, None);
        assert!(lines.iter().filter(|line| line.turn == 2).all(|line| line.words.is_empty()), "{lines:?}");
    }

    #[test]
    fn a_turn_of_unknown_times_is_told_without() {
        let record = TurnRecord { turn: TurnId(4), caller: "Hello?".into(), ..TurnRecord::default() };
        let lines = Timeline::default().lines(&[TurnView { record, ..TurnView::default() }]);
        assert_eq!((lines.len(), lines[0].from_s, lines[0].text.as_str()), (1, None, "Hello?"));
    }
}
