//! What is remembered of the agent's words is what the caller can have heard.

use super::support::{Reply, Script, Voice, World, caller_voice, ms};
use offhook::agent::{Message, Output, WordSpan};
use offhook::audio::g711::Codec;
use offhook::call::{CallEvent, STALL_MAX};
use offhook::config;
use offhook::ids::TurnId;
use offhook::time::Instant;
use std::time::Duration;

const ANSWER: &str = "We are open from nine to five on weekdays, and on Saturdays from ten to two.";

/// A caller who reports what arrives, has been asked nothing for 12 s, and asks; the answer is to leave next.
fn asked(voice: Voice) -> World {
    let settings =
        config::Agent { greeting: String::new(), reprompt_after: Duration::from_secs(60), ..config::Agent::default() };
    let transcripts = ["When are you open?", "And?"].map(String::from);
    let replies = [ANSWER, "That is all."].map(|text| Reply::Text(text.to_owned()));
    let script = Script {
        transcripts: Some(transcripts.into()),
        replies: replies.into(),
        voices: [voice].into(),
        word_times: true,
        ..Script::default()
    };
    let mut world = World::talking(1, settings, script);
    world.caller().reports = Some(Instant::ZERO);
    world.run_for(Duration::from_secs(12));
    world.caller().say(&caller_voice(500));
    assert!(world.run_until(Duration::from_secs(3), |world| !world.caller().loud().is_empty()), "it is answered");
    world
}

/// What the model gets to see of the agent when it is asked last.
fn remembered(world: &mut World) -> String {
    let asked = world.line().orders.iter().rev().find_map(|(_, order)| match order {
        Output::Ask { messages, .. } => Some(messages.clone()),
        _ => None,
    });
    let said = asked.expect("it was asked").into_iter().filter_map(|message| match message {
        Message::Agent(text) => Some(text),
        _ => None,
    });
    said.collect()
}

fn arrived(world: &mut World) -> usize {
    world.line().events.iter().filter(|(_, event)| matches!(event, CallEvent::Arrived { .. })).count()
}

#[test]
fn words_that_never_arrived_are_not_remembered() {
    let mut world = asked(Voice::Fine);
    world.run_for(ms(2000));
    // The way to the caller breaks down in the middle of the answer, for longer than that lasts.
    world.network.to_caller.loss = 1.0;
    world.run_for(Duration::from_secs(9));
    let turn = world.line().turns[&TurnId(1)].clone();
    assert_eq!(turn.agent, "We are open from nine to five on");
    assert_eq!(turn.heard, WordSpan { min: 8, max: 9 });
    assert!(!turn.interrupted, "the caller did nothing");
    world.network.to_caller.loss = 0.0;
    world.run_for(Duration::from_secs(6));
    assert_eq!(world.line().turns[&TurnId(1)], turn, "what did not come in time does not come");
    world.caller().say(&caller_voice(500));
    world.run_for(Duration::from_secs(2));
    assert_eq!(remembered(&mut world), "We are open from nine to five on…");
}

#[test]
fn loss_that_ends_before_the_answer_does_denies_nothing() {
    let mut world = asked(Voice::Fine);
    world.network.to_caller.loss = 0.3;
    world.run_for(Duration::from_secs(3));
    world.network.to_caller.loss = 0.0;
    world.run_for(Duration::from_secs(15));
    assert_eq!(world.line().turns[&TurnId(1)].agent, ANSWER);
    assert_eq!(world.line().turns[&TurnId(1)].heard, WordSpan { min: 16, max: 16 });
    assert_eq!(arrived(&mut world), 0);
}

#[test]
fn a_caller_who_tells_nothing_is_taken_to_hear() {
    let mut world = asked(Voice::Fine);
    world.caller().reports = None;
    world.network.to_caller.loss = 1.0;
    world.run_for(Duration::from_secs(15));
    assert_eq!(world.line().turns[&TurnId(1)].agent, ANSWER);
}

#[test]
fn a_cut_by_words_tells_the_words_that_were_heard_as_a_span() {
    let mut world = asked(Voice::Fine);
    world.run_for(ms(1500));
    world.caller().say(&caller_voice(900));
    world.run_for(Duration::from_secs(1));
    let turn = world.line().turns[&TurnId(1)].clone();
    let words = turn.agent.split_whitespace().count() as u32;
    assert!(turn.interrupted && ANSWER.starts_with(&turn.agent), "{turn:?}");
    assert!(turn.heard.min == words && turn.heard.max <= words + 1 && words > 3, "{turn:?}");
}

#[test]
fn an_answer_whose_end_is_lost_on_the_way_is_over_within_a_second() {
    let mut world = asked(Voice::Unfinished);
    world.run_for(ms(ANSWER.len() as u64 * 50) + STALL_MAX + ms(100));
    let stalled = |(at, event): &(Instant, CallEvent)| matches!(event, CallEvent::Stalled { .. }).then_some(*at);
    let at = world.line().events.iter().find_map(stalled).expect("it is noticed");
    let last = *world.caller().loud().last().expect("it was answered");
    assert!(at.since(last) <= STALL_MAX + ms(40), "{:?}", at.since(last));
    let turn = world.line().turns[&TurnId(1)].clone();
    assert!(ANSWER.starts_with(&turn.agent) && turn.heard.min >= 15 && !turn.interrupted, "{turn:?}");
    world.caller().say(&caller_voice(500));
    world.run_for(Duration::from_secs(3));
    assert_eq!(world.line().said().last(), Some(&"That is all."));
}

#[test]
fn the_recogniser_gets_every_sample_of_who_interrupts() {
    let settings = config::Agent { greeting: ANSWER.into(), ..config::Agent::default() };
    let mut world = World::talking(1, settings, Script { transcripts: Some(Default::default()), ..Script::default() });
    world.line().providers.keep_audio = true;
    world.run_for(ms(1500));
    let before = world.caller().said.len();
    world.caller().say(&caller_voice(1500));
    world.run_for(ms(2500));
    let cut = world.line().events.iter().any(|(_, event)| matches!(event, CallEvent::Cut { .. }));
    assert!(cut, "the agent was in the middle of its greeting");
    // As G.711 carries it, where silence has two signs.
    let said = &world.caller().said[before..][..1500 * 8];
    let mut codes = vec![0; said.len()];
    Codec::Pcmu.encode(said, &mut codes);
    let pcm_of = |codes: &[u8]| {
        let mut pcm = vec![0; codes.len()];
        Codec::Pcmu.decode(codes, &mut pcm);
        pcm
    };
    let (said, heard) = (pcm_of(&codes), pcm_of(&world.line().providers.heard.ulaw));
    assert!(heard.windows(said.len()).any(|part| part == said), "from its first sample to its last, as it was said");
    let waits = &world.line().providers.heard.waits;
    assert!(waits.iter().all(Duration::is_zero), "and at once");
}
