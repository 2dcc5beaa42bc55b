//! A conversation: greeting, turns, farewell; a caller who says nothing; providers that fail.

use super::support::{Reply, Script, World, caller_voice, failure, ms, seeds};
use offhook::agent::{EarsEvent, FailureKind};
use offhook::call::CallEvent;
use offhook::config;
use offhook::ids::TurnId;
use offhook::sip::EndedBy;
use offhook::time::Instant;
use std::time::Duration;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn settings() -> config::Agent {
    config::Agent { greeting: "Hello.".into(), ..config::Agent::default() }
}

fn texts(texts: &[&str]) -> Option<std::collections::VecDeque<String>> {
    Some(texts.iter().map(|text| (*text).to_owned()).collect())
}

/// Returns when the first packet of a turn left.
fn first_packet(world: &mut World, of: TurnId) -> Option<Instant> {
    world.line().events.iter().find_map(|(_, event)| match event {
        CallEvent::FirstPacket { turn, at } if *turn == of => Some(*at),
        _ => None,
    })
}

/// Runs until the agent has hung up, and returns how the call ended.
fn until_hung_up(world: &mut World, limit: Duration) -> String {
    let over = world.run_until(limit, |world| world.caller().got("BYE").is_some());
    assert!(over, "no BYE in {limit:?}");
    let (_, by, reason) = world.line().ended.clone().expect("it is over");
    assert_eq!(by, EndedBy::Agent, "{reason}");
    reason
}

#[test]
fn turns_are_asked_and_answered_one_after_the_other() {
    for seed in seeds(5) {
        let replies = ["We are open from nine to five.", "On Sunday we are closed.", "You are welcome."];
        let script = Script {
            transcripts: texts(&["When are you open?", "And on Sunday?", "Thank you."]),
            replies: replies.iter().map(|text| Reply::Text((*text).to_owned())).collect(),
            ..Script::default()
        };
        let mut world = World::talking(seed, settings(), script);
        for n in 0..3 {
            world.run_for(ms(3000));
            world.caller().say(&caller_voice(800));
            world.run_for(ms(800));
            let spoken = world.now;
            let turn = TurnId(n + 1);
            assert!(world.run_until(s(3), |world| first_packet(world, turn).is_some()));
            let took = world.now.since(spoken);
            // 300 ms to the end of the turn, 300 to the first token, the clause, 90 to the first audio.
            assert!(took >= ms(640) && took <= ms(800), "{took:?}");
        }
        world.run_for(s(4));
        let mut said = vec!["Hello."];
        said.extend(replies);
        assert_eq!(world.line().said(), said);
        let asked = world.line().providers.asked.clone();
        assert_eq!(asked.len(), 3);
        assert!(asked[1].contains("And on Sunday?"), "{asked:?}");
    }
}

#[test]
fn the_hang_up_tool_lets_the_farewell_finish() {
    let farewell = "It was nice to talk to you. Goodbye!";
    let script =
        Script { transcripts: texts(&["Bye."]), replies: [Reply::HangUp(farewell.into())].into(), ..Script::default() };
    let mut world = World::talking(1, settings(), script);
    world.run_for(s(1));
    world.caller().say(&caller_voice(400));
    until_hung_up(&mut world, s(10));
    assert_eq!(world.line().said(), ["Hello.", farewell]);
    let played = CallEvent::Played { turn: TurnId(1), samples: ((farewell.len()) * 400) as u64 };
    let events = world.line().events.clone();
    let all = events.iter().any(|(_, event)| matches!((event, &played),
        (CallEvent::Played { turn, samples }, CallEvent::Played { turn: of, samples: all }) if turn == of && samples >= all));
    assert!(all, "{events:?}");
}

#[test]
fn a_silent_caller_is_asked_twice_and_let_go() {
    let mut world = World::talking(1, settings(), Script::default());
    let start = world.now;
    until_hung_up(&mut world, s(60));
    let settings = settings();
    assert_eq!(world.line().said(), ["Hello.", &settings.reprompt, &settings.reprompt, &settings.goodbye]);
    assert!(world.now.since(start) > s(36) && world.now.since(start) < s(42), "{:?}", world.now.since(start));
}

#[test]
fn without_a_greeting_the_caller_speaks_first() {
    let script = Script { transcripts: texts(&["Hello?"]), ..Script::default() };
    let mut world = World::talking(1, config::Agent { greeting: String::new(), ..settings() }, script);
    world.run_for(s(1));
    assert!(world.caller().loud().is_empty());
    world.caller().say(&caller_voice(400));
    world.run_for(s(4));
    assert_eq!(world.line().said(), ["I see. Tell me more."]);
}

#[test]
fn a_mind_that_fails_once_is_apologised_for_and_the_call_goes_on() {
    let script = Script {
        transcripts: texts(&["One?", "Two?"]),
        replies: [Reply::Fails(FailureKind::Dropped), Reply::Text("That is two.".into())].into(),
        ..Script::default()
    };
    let mut world = World::talking(1, settings(), script);
    world.run_for(s(1));
    world.caller().say(&caller_voice(400));
    world.run_for(s(7));
    world.caller().say(&caller_voice(400));
    world.run_for(s(5));
    assert_eq!(world.line().said(), ["Hello.", &settings().apology, "That is two."]);
    assert!(world.line().ended.is_none());
}

#[test]
fn whatever_fails_for_good_ends_in_words_and_a_bye() {
    let kinds = [FailureKind::Refused, FailureKind::Dropped, FailureKind::Stalled, FailureKind::Garbage];
    for kind in kinds {
        let script = Script {
            transcripts: texts(&["One?", "Two?", "Three?", "Four?", "Five?"]),
            replies: (0..5).map(|_| Reply::Fails(kind)).collect(),
            ..Script::default()
        };
        let mut world = World::talking(1, settings(), script);
        world.run_for(s(1));
        for _ in 0..5 {
            if world.line().ended.is_none() {
                world.caller().say(&caller_voice(400));
                world.run_for(s(8));
            }
        }
        until_hung_up(&mut world, s(5));
        assert_eq!(world.line().said().last(), Some(&settings().farewell_on_failure.as_str()), "{kind:?}");
    }
}

#[test]
fn ears_that_are_lost_are_told_of_and_the_call_ends() {
    let mut world = World::talking(1, settings(), Script::default());
    world.run_for(s(2));
    world.ears(EarsEvent::Failed(failure(FailureKind::Dropped)));
    until_hung_up(&mut world, s(10));
    assert_eq!(world.line().said(), ["Hello.", &settings().farewell_on_failure]);
}

#[test]
fn a_voice_that_fails_leaves_the_kept_phrases() {
    let script =
        Script { transcripts: texts(&["One?", "Two?", "Three?", "Four?"]), voice_fails: true, ..Script::default() };
    let mut world = World::talking(1, settings(), script);
    world.run_for(s(1));
    for _ in 0..4 {
        if world.line().ended.is_none() {
            world.caller().say(&caller_voice(400));
            world.run_for(s(8));
        }
    }
    until_hung_up(&mut world, s(5));
    assert_eq!(world.line().said().last(), Some(&settings().farewell_on_failure.as_str()));
}

#[test]
fn a_mind_that_says_nothing_is_not_waited_for_in_silence() {
    let script = Script { transcripts: texts(&["One?"]), replies: [Reply::Mute].into(), ..Script::default() };
    let mut world = World::talking(1, settings(), script);
    world.run_for(s(1));
    world.caller().say(&caller_voice(400));
    world.run_for(ms(700));
    let ended = world.now;
    assert!(
        world.run_until(s(20), |world| first_packet(world, TurnId(2)).or(first_packet(world, TurnId(1))).is_some())
    );
    println!("a mute mind is apologised for after {:?}", world.now.since(ended));
    world.run_for(s(6));
    assert!(world.line().said().contains(&settings().apology.as_str()), "{:?}", world.line().said());
}

#[test]
fn the_longest_call_ends_with_a_goodbye() {
    let settings = config::Agent { call_max: s(20), reprompt_after: s(60), ..settings() };
    let mut world = World::talking(1, settings.clone(), Script::default());
    let start = world.now;
    until_hung_up(&mut world, s(30));
    assert_eq!(world.line().said(), ["Hello.", &settings.goodbye]);
    assert!(world.now.since(start) >= s(20) && world.now.since(start) < s(24));
}
