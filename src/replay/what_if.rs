//! The same call with other settings: what becomes of it, beside what was.
//!
//! The media path is run again by its own machines, with the caller's packets, the recogniser's words and the agent's speech as
//! they came. That is exact up to where the caller would have noticed: who is not interrupted goes on otherwise than this one
//! did. What a provider would have said can only be reckoned, and the output says of each figure which it is.

use super::media::{Line, steps};
use super::{Captured, Error};
use crate::agent::{DraftNews, EarsEvent, Input, Output, VoiceEvent};
use crate::call::pauses::Pauses;
use crate::capture::{agent, media};
use crate::config::WhatIf;
use crate::ids::{CallId, TurnId};
use crate::jitter::Stats;
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

/// What one run of the media path shows.
struct Run {
    stats: Stats,
    pauses: Pauses,
    /// How long each frame of the caller's was kept from the recogniser, in rising order.
    holds: Vec<Duration>,
}

/// How long the caller waited for one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waited {
    turn: TurnId,
    /// From the caller's last speech to the reply's first packet.
    was: Duration,
    /// The same without the draft that became the reply, if one did.
    undrafted: Option<Duration>,
}

/// What the agent's log tells of latency.
#[derive(Default)]
struct Replies {
    waited: Vec<Waited>,
    thrown_away: usize,
    cut: usize,
}

/// Runs a capture with the settings of `what_if`, and tells what comes of it beside what was.
///
/// # Errors
/// A log without a beginning.
pub fn run(captured: &Captured, what_if: &WhatIf, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let (id, entries) = (captured.about.call, &captured.media.0);
    let was = media_run(id, entries, None)?;
    let tried = media_run(id, entries, Some(what_if))?;
    say("what if, run again exactly, up to where the caller would have noticed:");
    for line in compared(&was, &tried) {
        say(&line);
    }
    let replies = replies(&captured.agent.0);
    let latency = |of: &dyn Fn(&Waited) -> Duration| {
        let mut all: Vec<Duration> = replies.waited.iter().map(of).collect();
        all.sort_unstable();
        format!("p50 {} p90 {} max {}", ms(at(&all, 0.5)), ms(at(&all, 0.9)), ms(at(&all, 1.0)))
    };
    let turns = replies.waited.len();
    if !what_if.speculation_off {
        say(&format!(
            "replies as they were, {turns} of them, {} not heard to their end: {}; the recogniser's and the model's times are not run again",
            replies.cut,
            latency(&|turn| turn.was)
        ));
        return Ok(());
    }
    say("what if, reckoned from when the recogniser, the model and the voice answered:");
    say(&format!("  replies, {turns} of them:           was {}", latency(&|turn| turn.was)));
    say(&format!("  without drafts:             would be {}", latency(&|turn| turn.undrafted.unwrap_or(turn.was))));
    for turn in &replies.waited {
        let mut line = format!("  {}: was {}", turn.turn, ms(turn.was));
        // Writing into a String cannot fail.
        let _ = match turn.undrafted {
            Some(undrafted) => write!(line, ", would be {}: its draft was kept", ms(undrafted)),
            None => write!(line, ", and stays so: no draft of it was kept"),
        };
        say(&line);
    }
    say(&format!("  requests for nothing: was {}, would be 0", replies.thrown_away));
    Ok(())
}

fn media_run(id: CallId, entries: &[media::Entry], what_if: Option<&WhatIf>) -> Result<Run, Error> {
    let mut line = Line::new(id, entries)?;
    if let Some(what_if) = what_if {
        line.try_out(what_if);
    }
    let mut holds = Vec::new();
    for step in steps(entries.get(1..).unwrap_or_default()) {
        line.feed(step);
        holds.extend(line.holds());
    }
    holds.sort_unstable();
    Ok(Run { stats: *line.call().stats(), pauses: *line.call().pauses(), holds })
}

/// Returns the lines of the comparison.
fn compared(was: &Run, is: &Run) -> Vec<String> {
    let row =
        |name: &str, of: &dyn Fn(&Run) -> String| format!("  {name:<40} was {:>10}   would be {:>10}", of(was), of(is));
    vec![
        row("caller's speech kept back, p99", &|run| ms(at(&run.holds, 0.99))),
        row("caller's speech kept back, longest", &|run| ms(at(&run.holds, 1.0))),
        row("gaps waited for, in all", &|run| ms(run.stats.gap_wait)),
        row("packets too late for their gap", &|run| run.stats.packets_discarded.to_string()),
        row("speech made up for lost packets", &|run| ms(Duration::from_micros(run.stats.concealed_samples * 125))),
        row("times the agent paused for a voice", &|run| run.pauses.begun.to_string()),
        row("of them false: it went on", &|run| run.pauses.resumed.to_string()),
        row("silence in these", &|run| ms(run.pauses.silence)),
        row("replies cut by the caller", &|run| run.pauses.cut.to_string()),
    ]
}

/// Reads how long the caller waited for each reply.
fn replies(entries: &[agent::Entry]) -> Replies {
    let mut replies = Replies::default();
    let mut told = Instant::ZERO;
    // The caller's last speech, and when its turn had ended, of the turn that is answered next and of each that was.
    let mut ended: Option<(Instant, Instant)> = None;
    let mut answers: BTreeMap<TurnId, (Instant, Instant)> = BTreeMap::new();
    let (mut begun, mut spoken) = (BTreeMap::<TurnId, Instant>::new(), BTreeMap::<TurnId, Instant>::new());
    let mut kept = BTreeSet::new();
    for entry in entries {
        match entry {
            agent::Entry::In { now, at, input } => {
                told = at.unwrap_or(*now);
                match input {
                    Input::Ears(EarsEvent::EndOfTurn { speech, .. }) => ended = Some((speech.arrived, told)),
                    Input::Voice { turn, event: VoiceEvent::FirstAudio } => {
                        spoken.entry(*turn).or_insert(told);
                    }
                    Input::Cut { heard, .. } if !heard.is_zero() => replies.cut += 1,
                    Input::FirstPacket { turn } => {
                        let Some((speech, end)) = answers.remove(turn) else { continue };
                        let draft = begun.get(turn).filter(|_| kept.contains(turn)).zip(spoken.get(turn));
                        // All that was done ahead would have begun when the turn had ended.
                        let undrafted = draft.map(|(begun, audio)| (end + audio.since(*begun)).since(speech));
                        let was = told.since(speech);
                        replies.waited.push(Waited { turn: *turn, was, undrafted: undrafted.map(|d| d.max(was)) });
                    }
                    _ => {}
                }
            }
            agent::Entry::Tick { now } => told = *now,
            agent::Entry::Out(Output::Draft { turn, news }) => match news {
                DraftNews::Begun | DraftNews::BegunEarly => drop(begun.insert(*turn, told)),
                DraftNews::Opened => drop(kept.insert(*turn)),
                DraftNews::ThrownAway { .. } => replies.thrown_away += 1,
            },
            agent::Entry::Out(Output::Floor { turn, .. }) => {
                if let Some(ended) = ended.take() {
                    answers.insert(*turn, ended);
                }
            }
            _ => {}
        }
    }
    replies
}

/// Returns the value below which this share of `sorted` is.
fn at(sorted: &[Duration], share: f64) -> Duration {
    let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or_default()
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::SpeechMark;

    fn told(at_ms: u64, input: Input) -> agent::Entry {
        let at = Instant::from_millis(at_ms);
        agent::Entry::In { now: at + Duration::from_millis(3), at: Some(at), input }
    }

    #[test]
    fn a_reply_without_its_draft_begins_when_the_turn_has_ended() {
        let turn = TurnId(1);
        let speech = SpeechMark { arrived: Instant::from_millis(1000), handed: Instant::from_millis(1001) };
        let entries = [
            told(1100, Input::Ears(EarsEvent::EagerEndOfTurn { transcript: "Hello.".into() })),
            agent::Entry::Out(Output::Draft { turn, news: DraftNews::Begun }),
            told(1400, Input::Voice { turn, event: VoiceEvent::FirstAudio }),
            told(1500, Input::Ears(EarsEvent::EndOfTurn { transcript: "Hello.".into(), speech })),
            agent::Entry::Out(Output::Draft { turn, news: DraftNews::Opened }),
            agent::Entry::Out(Output::Floor { turn, firm: false }),
            told(1510, Input::FirstPacket { turn }),
        ];
        let replies = replies(&entries);
        let ms = Duration::from_millis;
        assert_eq!(replies.waited, [Waited { turn, was: ms(510), undrafted: Some(ms(800)) }]);
    }

    #[test]
    fn a_greeting_answers_nobody() {
        let turn = TurnId::GREETING;
        let entries = [
            told(0, Input::Answered),
            agent::Entry::Out(Output::Floor { turn, firm: false }),
            told(20, Input::FirstPacket { turn }),
            told(900, Input::Cut { turn, heard: Duration::from_millis(880) }),
        ];
        let replies = replies(&entries);
        assert_eq!((replies.waited.len(), replies.cut), (0, 1));
    }
}
