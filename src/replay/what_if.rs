//! The same call with other settings: what becomes of it, beside what was.
//!
//! The media path is run again by its own machines, with the caller's packets, the recogniser's words and the agent's speech as
//! they came. That is exact up to where the caller would have noticed: who is not interrupted goes on otherwise than this one
//! did. What a provider would have said can only be reckoned ([`super::reckoning`]), and the output says of each figure which it
//! is.

use super::media::{Line, steps};
use super::reckoning::{self, Draft, End, Tried, Would};
use super::turns::{self, Turn, Turns};
use super::{Captured, Error};
use crate::call::pauses::Pauses;
use crate::capture::{FORMAT_CONFIDENCE, media};
use crate::config::{self, WhatIf};
use crate::ids::CallId;
use crate::jitter::Stats;
use crate::rtp::CLOCK_RATE;
use crate::time::samples;
use std::time::Duration;

/// What one run of the media path shows.
struct Run {
    stats: Stats,
    pauses: Pauses,
    /// How long each frame of the caller's was kept from the recogniser, in rising order.
    holds: Vec<Duration>,
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
    let turns = turns::read(&captured.agent.0);
    let share = |hundredths: Option<u8>| hundredths.map(|hundredths| f32::from(hundredths) / 100.0);
    let tried = Tried { eager: share(what_if.eager), eot: share(what_if.eot), undrafted: what_if.speculation_off };
    if tried == Tried::default() {
        let (waited, cut) = (latency(turns.turns.iter().filter_map(Turn::waited)), turns.cut);
        say(&format!(
            "replies as they were, {cut} of them not heard to their end: {waited}; the recogniser's and the model's times are not run again",
        ));
        return Ok(());
    }
    if (tried.eager.is_some() || tried.eot.is_some()) && !reckoning::knows_confidences(&turns) {
        say(&unanswerable(captured.about.format));
        return Ok(());
    }
    let settings = turns::settings(&captured.agent.0).cloned().unwrap_or_default();
    for line in reckoned(&turns, tried, &settings) {
        say(&line);
    }
    Ok(())
}

/// Returns why a capture cannot say what other thresholds would have done.
fn unanswerable(format: u32) -> String {
    let why = if format < FORMAT_CONFIDENCE {
        "the capture is of format 1, which does not keep how sure the recogniser was; a call that is captured by this version does"
    } else {
        "the recogniser of this call does not tell how sure it is; Flux does"
    };
    format!("eager and eot cannot be tried: {why}. speculation=off can")
}

/// Returns the lines of what is reckoned of the turns.
fn reckoned(turns: &Turns, tried: Tried, settings: &config::Agent) -> Vec<String> {
    let would = reckoning::reckon(turns, tried, settings);
    let mut lines = vec!["what if, reckoned from when the recogniser, the model and the voice answered:".to_owned()];
    for (turn, would) in turns.turns.iter().zip(&would) {
        lines.extend(told(turn, would, tried));
    }
    // What cannot be said of one side is left out on both.
    let both = || turns.turns.iter().zip(&would).filter_map(|(turn, would)| Some((turn.waited()?, would.waited?)));
    let count = both().count();
    lines.push(format!("  replies, {count} of them: was      {}", latency(both().map(|(was, _)| was))));
    let indent = format!("  replies, {count} of them:").len();
    lines.push(format!("{:indent$} would be {}", "", latency(both().map(|(_, is)| is))));
    let row = |name: &str, was: usize, is: usize| format!("  {name:<40} was {was:>10}   would be {is:>10}");
    let drafts = || would.iter().flat_map(|would| &would.drafts);
    let begun =
        turns.turns.iter().flat_map(|turn| &turn.steps).filter(|step| matches!(step, turns::Step::Begun { .. }));
    lines.push(row("drafts begun", begun.count(), drafts().count()));
    let wasted = drafts().filter(|draft| !draft.kept).count();
    lines.push(row("of them thrown away", turns.thrown_away, wasted));
    let tokens = drafts().map(|draft| draft.tokens_wasted).sum();
    lines.push(row("tokens for nothing", turns.tokens_wasted, tokens));
    if tried.eot.is_some() {
        let ends = |wanted: fn(&End) -> bool| would.iter().filter(|would| wanted(&would.end)).count();
        lines.push(row("turns ended while the caller goes on", 0, ends(|end| matches!(end, End::TooSoon(_)))));
        lines.push(row("turns ended later, nobody knows when", 0, ends(|end| matches!(end, End::Later))));
    }
    lines.push(
        "  computed: when the recogniser was how sure; which words the agent would have drafted for; its budget of waste"
            .into(),
    );
    lines.push(
        "  assumed: model and voice take as long as they took for the turn's reply; the threshold stands still; a caller who is \
         answered sooner says the same"
            .into(),
    );
    if let Some(sooner) = drafts().map(|draft| draft.sooner).max().filter(|sooner| !sooner.is_zero()) {
        let sooner = ms(sooner);
        lines.push(format!(
            "  not known: how sure it was between its messages; a draft may begin up to {sooner} sooner"
        ));
    }
    lines
}

/// Returns the line of one turn; none where nothing answered it, and nothing was drafted.
fn told(turn: &Turn, would: &Would, tried: Tried) -> Option<String> {
    let reply = turn.reply.as_ref();
    if reply.is_none() && would.drafts.is_empty() {
        return None;
    }
    let name = reply.map_or_else(|| "an unanswered turn".to_owned(), |reply| reply.turn.to_string());
    let waited = |waited: Option<Duration>| waited.map_or_else(|| "unknown".to_owned(), ms);
    let mut line = format!("  {name}: was {}, would be {}", waited(turn.waited()), waited(would.waited));
    match would.end {
        End::AsItWas => {}
        End::Sooner(by) => line += &format!("; ends {} sooner", ms(by)),
        End::TooSoon(by) => line += &format!("; ends {} sooner, while the caller goes on", ms(by)),
        End::Later => line += "; ends later: it was never as sure",
    }
    if tried.undrafted {
        let drafted = reply.is_some_and(|reply| reply.drafted);
        line += if drafted { "; its draft was kept" } else { "; no draft of it was kept" };
    }
    for draft in &would.drafts {
        line += &of_draft(draft, turn);
    }
    Some(line)
}

fn of_draft(draft: &Draft, turn: &Turn) -> String {
    let sure = draft.confidence.map_or_else(String::new, |sure| format!(" at {sure:.2}"));
    let before = ms(turn.ended.since(draft.begun));
    let fate = match (draft.kept, draft.tokens_wasted) {
        (true, _) => "kept".to_owned(),
        (false, tokens) => {
            format!("thrown away after {} (tokens: {tokens})", ms(draft.over.since(draft.begun)))
        }
    };
    format!("; drafted{sure}, {before} before it ended: {fate}")
}

/// Returns the quantiles of how long callers waited.
fn latency(waited: impl Iterator<Item = Duration>) -> String {
    let mut all: Vec<Duration> = waited.collect();
    all.sort_unstable();
    format!("p50 {} p90 {} max {}", ms(at(&all, 0.5)), ms(at(&all, 0.9)), ms(at(&all, 1.0)))
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
        row("speech made up for lost packets", &|run| ms(samples::duration(run.stats.concealed_samples, CLOCK_RATE))),
        row("times the agent paused for a voice", &|run| run.pauses.begun.to_string()),
        row("of them false: it went on", &|run| run.pauses.resumed.to_string()),
        row("silence in these", &|run| ms(run.pauses.silence)),
        row("replies cut by the caller", &|run| run.pauses.cut.to_string()),
    ]
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
    use super::super::turns::tests::Log;
    use super::*;

    #[test]
    fn each_turn_is_told_with_what_was_and_what_would_have_been() {
        let log = Log::new()
            .start(750, 0.35, "When do")
            .update(1000, 0.2, "When do you open?")
            .update(1250, 0.4, "When do you open?")
            .end(1500, 0.8, "When do you open?")
            .floor(1)
            .ask(1)
            .token(1600, 1)
            .audio(1700, 1)
            .packet(1710, 1);
        let tried = Tried { eager: Some(0.3), ..Tried::default() };
        let lines = reckoned(&turns::read(&log.0), tried, &config::Agent::default());
        let line = "  turn 1: was 710.0 ms, would be 510.0 ms; drafted at 0.35, 750.0 ms before it ended: thrown away after \
                    250.0 ms (tokens: 1); drafted at 0.40, 250.0 ms before it ended: kept";
        assert!(lines.iter().any(|is| is == line), "{lines:#?}");
        assert!(
            lines.iter().any(|line| line.ends_with("would be p50 510.0 ms p90 510.0 ms max 510.0 ms")),
            "{lines:#?}"
        );
        assert!(lines.iter().any(|line| line.contains("drafts begun") && line.ends_with(" 2")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("up to 250.0 ms sooner")), "{lines:#?}");
    }

    #[test]
    fn a_capture_without_confidences_says_why_it_cannot_answer() {
        assert!(unanswerable(1).contains("format 1"));
        assert!(unanswerable(2).contains("does not tell how sure"));
    }
}
