//! The reply is made while the turn is ending: nobody hears or reads of it before the turn has ended.

use super::support::{Reply, Script, World, caller_voice, ms, seeds};
use offhook::agent::{DraftNews, EarsEvent, SpeechMark, Waste};
use offhook::call::CallEvent;
use offhook::config;
use offhook::ids::TurnId;
use offhook::time::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

/// What the network takes to the caller.
const DELAY: Duration = ms(1);
const PACKET: Duration = ms(20);

fn settings() -> config::Agent {
    config::Agent { greeting: String::new(), ..config::Agent::default() }
}

/// A call in which the caller has begun to speak, to a model and a voice that are this quick.
fn speaking(seed: u64, first_token: u64, first_audio: u64) -> World {
    let replies = (1..=9).map(|n| Reply::Text(format!("Answer number {n} of many."))).collect();
    let script = Script { replies, first_token: ms(first_token), first_audio: ms(first_audio), ..Script::default() };
    let mut world = World::talking(seed, settings(), script);
    let mut rng = fastrand::Rng::with_seed(seed);
    world.run_for(ms(500) + ms(rng.u64(..40)));
    world.ears(EarsEvent::StartOfTurn { transcript: "When".into() });
    world.run_for(ms(300));
    world
}

fn eager(world: &mut World, transcript: &str) {
    world.ears(EarsEvent::EagerEndOfTurn { transcript: transcript.into() });
}

fn resumed(world: &mut World, transcript: &str) {
    world.ears(EarsEvent::TurnResumed { transcript: transcript.into() });
}

fn end(world: &mut World, transcript: &str) {
    let speech = SpeechMark { arrived: world.now, handed: world.now };
    world.ears(EarsEvent::EndOfTurn { transcript: transcript.into(), speech });
}

fn first_packet(world: &mut World) -> Option<(Instant, TurnId)> {
    world.line().events.iter().find_map(|(at, event)| match event {
        CallEvent::FirstPacket { turn, .. } => Some((*at, *turn)),
        _ => None,
    })
}

fn fates(world: &mut World) -> Vec<(u32, DraftNews)> {
    world.line().drafts.iter().map(|(_, turn, news)| (turn.0, *news)).collect()
}

#[test]
fn a_reply_that_is_ready_leaves_when_the_turn_ends() {
    let mut waits = Vec::new();
    for seed in seeds(40) {
        let mut world = speaking(seed, 60, 40);
        eager(&mut world, "When do you open?");
        world.run_for(ms(150));
        assert_eq!(first_packet(&mut world), None);
        assert!(world.caller().loud().is_empty() && world.line().turns.is_empty(), "nothing leaks");
        end(&mut world, "when do you open");
        let ended = world.now;
        world.run_for(ms(100));
        let (first, turn) = first_packet(&mut world).expect("it is answered");
        assert_eq!(turn, TurnId(1));
        assert_eq!(world.caller().loud()[0], first + DELAY);
        waits.push(first.since(ended));
        world.run_for(Duration::from_secs(3));
        assert_eq!(world.line().said(), ["Answer number 1 of many."]);
        assert_eq!(world.line().turns[&TurnId(1)].caller, "when do you open");
        assert_eq!(world.line().providers.asked.len(), 1);
        let loud = world.caller().loud();
        let gap = loud.windows(2).map(|pair| pair[1].since(pair[0])).max();
        assert!(gap.is_some_and(|gap| gap <= PACKET + ms(1)), "nothing of it is missing: {gap:?}");
    }
    waits.sort();
    // The grid moves forward for it, unless the packet before has only just left.
    println!("from the end of the turn to the first packet: {waits:?}");
    assert!(waits.iter().all(|wait| *wait < PACKET) && waits[waits.len() / 2].is_zero(), "{waits:?}");
}

#[test]
fn a_reply_that_is_still_being_made_is_heard_as_soon_as_it_is_there() {
    let heard_after = |with_eager: bool| {
        let mut world = speaking(7, 300, 90);
        let spoke = world.now;
        world.run_for(ms(80));
        if with_eager {
            eager(&mut world, "When do you open?");
        }
        world.run_for(ms(120));
        end(&mut world, "When do you open?");
        world.run_for(ms(1000));
        first_packet(&mut world).expect("it is answered").0.since(spoke)
    };
    let (with, without) = (heard_after(true), heard_after(false));
    assert!(without >= ms(590) && without - with == ms(120), "{with:?} with eager ends, {without:?} without");
}

#[test]
fn a_turn_that_goes_on_leaves_no_trace_of_its_draft() {
    for seed in seeds(40) {
        let mut world = speaking(seed, 60, 40);
        eager(&mut world, "When do you open?");
        let mut rng = fastrand::Rng::with_seed(seed);
        world.run_for(ms(rng.u64(..400)));
        resumed(&mut world, "When do you open, I mean");
        world.run_for(Duration::from_secs(1));
        assert!(world.caller().loud().is_empty() && world.line().turns.is_empty());
        assert!(matches!(fates(&mut world)[..], [_, (1, DraftNews::ThrownAway { why: Waste::Resumed, .. })]));
        end(&mut world, "When do you open, I mean close?");
        world.run_for(Duration::from_secs(3));
        assert_eq!(world.line().said(), ["Answer number 2 of many."]);
        let question = world.line().providers.asked[1].clone();
        assert!(question.contains("I mean close?") && !question.contains("Answer"), "{question}");
        assert_eq!(world.line().turns.keys().map(|turn| turn.number()).collect::<Vec<_>>(), [1], "as people count");
    }
}

#[test]
fn an_end_with_other_words_costs_no_more_than_no_draft() {
    let heard_after = |draft: Option<&str>| {
        let mut world = speaking(3, 300, 90);
        if let Some(words) = draft {
            eager(&mut world, words);
        }
        world.run_for(ms(120));
        end(&mut world, "When do you close?");
        let ended = world.now;
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.line().said().len(), 0, "it is being said");
        first_packet(&mut world).expect("it is answered").0.since(ended)
    };
    assert_eq!(heard_after(Some("When do you")), heard_after(None));
}

#[test]
fn a_caller_who_speaks_while_a_draft_waits_is_not_answered_and_the_next_reply_can_be_cut() {
    let mut world = speaking(5, 60, 40);
    eager(&mut world, "When do you open?");
    world.run_for(ms(150));
    world.caller().say(&caller_voice(600));
    world.run_for(ms(100));
    resumed(&mut world, "When do you open and");
    world.run_for(ms(500));
    assert!(world.caller().loud().is_empty());
    world.run_for(ms(400));
    eager(&mut world, "When do you open and close?");
    world.run_for(ms(150));
    end(&mut world, "When do you open and close?");
    world.run_for(ms(400));
    assert!(!world.caller().loud().is_empty());
    world.ears(EarsEvent::StartOfTurn { transcript: "Stop".into() });
    let cut = world.now;
    world.run_for(ms(300));
    assert!(*world.caller().loud().last().expect("as above") <= cut + PACKET + DELAY);
    let turn = world.line().turns[&TurnId(1).again()].clone();
    assert!(turn.interrupted && "Answer number 2".starts_with(&turn.agent), "{turn:?}");
}

#[test]
fn a_caller_who_hangs_up_on_a_draft_has_heard_nothing_of_it() {
    let mut world = speaking(6, 60, 40);
    eager(&mut world, "When do you open?");
    world.run_for(ms(200));
    let now = world.now;
    world.caller().bye(now);
    world.run_for(Duration::from_secs(1));
    assert!(world.line().ended.is_some() && world.line().turns.is_empty());
    assert!(world.caller().loud().is_empty());
}

/// The caller's turns as a recogniser may tell them: words, eager ends, resumptions, other words at the end.
fn caller_turn(world: &mut World, rng: &mut fastrand::Rng, n: usize) {
    let words = format!("Question {n} is this");
    world.ears(EarsEvent::StartOfTurn { transcript: "Question".into() });
    world.run_for(ms(rng.u64(..400)));
    for _ in 0..rng.u32(0..4) {
        let guess = if rng.u32(0..3) > 0 { words.clone() } else { "Question".into() };
        eager(world, &guess);
        world.run_for(ms(rng.u64(..900)));
        match rng.u32(0..6) {
            0 => resumed(world, &words),
            1 => resumed(world, ""),
            2 => world.ears(EarsEvent::Update { transcript: words.clone() }),
            3 => world.caller().say(&caller_voice(200)),
            _ => {}
        }
        world.run_for(ms(rng.u64(..200)));
    }
    end(world, &format!("{words}."));
}

#[test]
fn no_draft_is_heard_or_remembered_before_its_turn_has_ended() {
    let (mut kept, mut thrown_away) = (0, 0);
    let seeds = seeds(60);
    for &seed in &seeds {
        let mut rng = fastrand::Rng::with_seed(seed);
        let replies =
            (1..=60).map(|n| Reply::Text(format!("Answer {n}, which is long enough to be cut. Yes."))).collect();
        let script =
            Script { replies, first_token: ms(rng.u64(..400)), first_audio: ms(rng.u64(..150)), ..Script::default() };
        let settings = config::Agent { speculation_waste_max: 0.8, ..settings() };
        let mut world = World::talking(seed, settings, script);
        for n in 0..6 {
            caller_turn(&mut world, &mut rng, n);
            let patience = if rng.bool() { 5000 } else { 700 };
            world.run_for(ms(rng.u64(..patience)));
        }
        world.run_for(Duration::from_secs(5));
        let line = world.line();
        // A turn is heard from its gate's opening on, and one at a time.
        let mut opened: BTreeMap<TurnId, Instant> = BTreeMap::new();
        let mut drafted = BTreeMap::new();
        for (at, turn, news) in &line.drafts {
            match news {
                DraftNews::Begun | DraftNews::BegunEarly => assert_eq!(drafted.insert(*turn, false), None),
                DraftNews::Opened => {
                    kept += 1;
                    assert_eq!(drafted.insert(*turn, true), Some(false));
                    opened.insert(*turn, *at);
                }
                DraftNews::ThrownAway { .. } => {
                    thrown_away += 1;
                    assert_eq!(drafted.get(turn), Some(&false));
                }
            }
        }
        let mut on_air = None;
        for (at, event) in &line.events {
            match event {
                CallEvent::FirstPacket { turn, .. } => {
                    assert_eq!(on_air.replace(*turn), None, "one speaker at a time");
                    if drafted.contains_key(turn) {
                        assert!(opened.get(turn).is_some_and(|opened| opened <= at), "{turn:?} is heard at {at:?}");
                    }
                }
                CallEvent::Played { turn, .. } | CallEvent::Cut { turn, .. } if on_air == Some(*turn) => on_air = None,
                _ => {}
            }
        }
        for turn in line.turns.keys() {
            assert_ne!(drafted.get(turn), Some(&false), "nothing is told of what was thrown away");
        }
    }
    // Of the six turns of a call, at least one of each.
    let enough = if seeds.len() > 1 { seeds.len() } else { 0 };
    assert!(kept >= enough && thrown_away >= enough, "{kept} kept, {thrown_away} thrown away");
}
