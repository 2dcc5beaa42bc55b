//! The agent of a captured call, run again: told the same at the same times, it must want the same.

use super::{Error, Outcome};
use crate::agent::Agent;
use crate::capture::agent::Entry;
use crate::capture::{AGENT_FILE, Ending};
use crate::time::Instant;

/// Characters of what was wanted that are shown where two differ.
const SHOWN: usize = 160;

/// Runs the agent again and compares all that it wants done.
///
/// # Errors
/// A log without a beginning.
pub fn replay(log: &(Vec<Entry>, Ending)) -> Result<Outcome, Error> {
    let (entries, ending) = log;
    if entries.is_empty() {
        return Ok(Outcome { same: 0, what: "orders", difference: None, ending: *ending });
    }
    let Some(Entry::Begin(settings)) = entries.first() else { return Err(Error::NoBeginning(AGENT_FILE)) };
    let mut agent = Agent::new(settings);
    let mut same = 0;
    let mut told = (Instant::ZERO, "nothing".to_owned());
    for entry in entries.iter().skip(1) {
        let difference = match entry {
            Entry::In { now, input, .. } => {
                told = (*now, shown(input));
                agent.handle_input(input.clone(), *now);
                None
            }
            Entry::Tick { now } => {
                told = (*now, "the passage of time".into());
                agent.handle_timeout(*now);
                None
            }
            Entry::Out(was) => match agent.poll_output() {
                Some(is) if is == *was => {
                    same += 1;
                    None
                }
                Some(is) => Some(format!("it wanted {} and wants {}", shown(was), shown(&is))),
                None => Some(format!("it wanted {} and wants nothing", shown(was))),
            },
            Entry::Begin(_) | Entry::Confidence { .. } | Entry::Broken | Entry::End => None,
        };
        if let Some(why) = difference {
            return Ok(outcome(same, Some(why), &told, *ending));
        }
    }
    // What was cut off may have taken with it what was wanted last.
    let left = agent.poll_output().filter(|_| *ending == Ending::Whole);
    let why = left.map(|is| format!("it wanted nothing more and wants {}", shown(&is)));
    Ok(outcome(same, why, &told, *ending))
}

fn outcome(same: usize, why: Option<String>, told: &(Instant, String), ending: Ending) -> Outcome {
    let (at, what) = told;
    let difference = why.map(|why| format!("{why}, {:.3} s after the engine's start, told {what}", seconds(*at)));
    Outcome { same, what: "orders", difference, ending }
}

fn seconds(at: Instant) -> f64 {
    at.since(Instant::ZERO).as_secs_f64()
}

fn shown(what: &impl std::fmt::Debug) -> String {
    let text = format!("{what:?}");
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
