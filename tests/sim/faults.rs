//! Faults of every kind at every stage: the caller never hears two seconds of nothing, and every call ends with words and a BYE.

use super::support::{Reply, Script, Voice, World, caller_voice, failure, ms};
use offhook::agent::{EarsEvent, FailureKind, SpeechMark};
use offhook::config;
use offhook::sip::EndedBy;
use offhook::time::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// The most silence that a caller who waits may hear.
const SILENCE_MAX: Duration = ms(2000);
/// Silence after which the agent has said what it had to say.
const SETTLED: Duration = ms(3000);
/// The longest that one turn is watched: two fillers, an apology, and a voice that is late with each clause.
const TURN_MAX: Duration = ms(60_000);
/// Turns of a caller whose agent fails each time.
const TURNS: usize = 6;

/// What the recogniser does with a turn of the caller's.
#[derive(Clone, Copy, Debug)]
enum Ears {
    /// The turn ends so long after the last sound.
    End(Duration),
    /// The end comes without a beginning.
    EndOnly,
    /// The turn begins, and nothing more is said of it.
    Forgets,
    /// It is away while the caller speaks, and comes back so long after the last sound, or never.
    Away(Option<Duration>),
    /// It is lost for good.
    Lost,
}

const FINE: Ears = Ears::End(ms(300));

/// What the caller made of a call.
#[derive(Debug)]
struct Heard {
    /// The longest silence of a caller who waited.
    silence: Duration,
    /// Turns that were had.
    turns: usize,
    said: Vec<String>,
    fillers: usize,
    ended: Option<String>,
}

fn settings() -> config::Agent {
    config::Agent { greeting: "Hello.".into(), speculation: false, ..config::Agent::default() }
}

/// Has a call in which the recogniser does so, turn by turn.
fn call(script: Script, ears: &[Ears]) -> Heard {
    let mut world = World::talking(1, settings(), script);
    world.run_for(ms(1500));
    let mut heard = Heard { silence: Duration::ZERO, turns: 0, said: Vec::new(), fillers: 0, ended: None };
    for ears in ears {
        if world.line().ended.is_some() {
            break;
        }
        heard.turns += 1;
        let spoken = speak(&mut world, *ears);
        settle(&mut world, spoken);
        heard.silence = heard.silence.max(silence(&mut world, spoken));
    }
    let line = world.line();
    heard.said = line.said().into_iter().map(str::to_owned).collect();
    heard.fillers = line.fillers.len();
    if let Some((at, by, reason)) = line.ended.clone() {
        assert_eq!(by, EndedBy::Agent, "{reason}");
        assert_eq!(world.caller().all_got("BYE").len(), 1, "one BYE");
        let last = *world.caller().loud().last().expect("it was heard before");
        assert!(at.since(last) < ms(500), "the BYE follows the last word");
        heard.ended = Some(reason);
    }
    heard
}

/// Lets the caller speak for 600 ms; returns when that ended.
fn speak(world: &mut World, ears: Ears) -> Instant {
    if matches!(ears, Ears::Away(_)) {
        world.ears(EarsEvent::Reconnecting(failure(FailureKind::Dropped)));
    }
    world.caller().say(&caller_voice(600));
    world.run_for(ms(400));
    if matches!(ears, Ears::End(_) | Ears::Forgets) {
        world.ears(EarsEvent::StartOfTurn { transcript: "When do".into() });
    }
    world.run_for(ms(200));
    let spoken = world.now;
    let end = match ears {
        Ears::End(after) | Ears::Away(Some(after)) => Some(after),
        Ears::EndOnly => Some(ms(300)),
        Ears::Forgets | Ears::Away(None) => None,
        Ears::Lost => {
            world.ears(EarsEvent::Failed(failure(FailureKind::Dropped)));
            None
        }
    };
    if let Some(after) = end {
        world.run_for(after);
        if matches!(ears, Ears::Away(_)) {
            world.ears(EarsEvent::Connected);
        }
        let speech = SpeechMark { arrived: spoken, handed: spoken };
        world.ears(EarsEvent::EndOfTurn { transcript: "When do you open?".into(), speech });
    }
    spoken
}

/// Runs until the agent has said all, or the call is over.
fn settle(world: &mut World, spoken: Instant) {
    let until = spoken + TURN_MAX;
    while world.line().ended.is_none() && world.now < until {
        world.run_for(ms(100));
        let last = world.caller().loud().last().copied().unwrap_or(spoken).max(spoken);
        if world.now.since(last) > SETTLED {
            return;
        }
    }
}

/// Returns the longest silence from the caller's last sound to the agent's last one.
fn silence(world: &mut World, spoken: Instant) -> Duration {
    let now = world.now;
    let mut loud: Vec<Instant> = world.caller().loud().into_iter().filter(|at| *at > spoken).collect();
    if loud.is_empty() {
        loud.push(now);
    }
    let before = std::iter::once(spoken).chain(loud.iter().copied());
    before.zip(&loud).map(|(before, at)| at.since(before)).max().unwrap_or_default()
}

fn minds() -> Vec<(&'static str, Script, bool)> {
    let answer = || "We open at nine. And we close at five.".to_owned();
    let mind = |reply: Reply| Script { replies: vec![reply; TURNS].into(), ..Script::default() };
    let fails = |kind| mind(Reply::Fails(kind));
    let slow = |first_token: u64| Script { first_token: ms(first_token), ..mind(Reply::Text(answer())) };
    vec![
        ("refused", fails(FailureKind::Refused), true),
        ("rate limited", fails(FailureKind::RateLimited { retry_after: Some(ms(1000)) }), true),
        ("dropped", fails(FailureKind::Dropped), true),
        ("garbage", fails(FailureKind::Garbage), true),
        ("stalled, told after 3 s", Script { first_token: ms(3000), ..fails(FailureKind::Stalled) }, true),
        ("stalled, never told", mind(Reply::Mute), true),
        ("stalled mid-stream", mind(Reply::StallsAfter("We open at nine. And we".into())), true),
        ("dropped mid-stream", mind(Reply::FailsAfter("We open at nine. And we".into(), FailureKind::Dropped)), true),
        ("says nothing", mind(Reply::Text(String::new())), true),
        ("slow by 1.2 s", slow(1200), false),
        ("slow by 2.5 s", slow(2500), false),
        ("slow by 4 s", slow(4000), false),
        ("slow from word to word", Script { token_gap: ms(1500), ..mind(Reply::Text(answer())) }, true),
    ]
}

fn voices() -> Vec<(&'static str, Script, bool)> {
    let reply = Reply::Text("We open at nine in the morning. And we close at five. On Sunday we are closed.".into());
    let voice = |voice: Voice| Script {
        replies: vec![reply.clone(); TURNS].into(),
        voices: vec![voice; 2 * TURNS].into(),
        ..Script::default()
    };
    vec![
        ("dropped before the first audio", voice(Voice::Fails { at: 0 }), true),
        ("dropped mid-stream", voice(Voice::Fails { at: 1 }), true),
        ("rate limited before the first audio", voice(Voice::Limited { at: 0 }), true),
        ("rate limited mid-stream", voice(Voice::Limited { at: 1 }), true),
        ("stalled before the first audio", voice(Voice::Stalls { at: 0 }), true),
        ("stalled mid-stream", voice(Voice::Stalls { at: 1 }), true),
        ("never whole", voice(Voice::Unfinished), false),
        ("late by 1 s each", voice(Voice::Late(ms(1000))), false),
        ("late by 3 s each", voice(Voice::Late(ms(3000))), true),
        ("refused always", Script { voice_fails: true, ..voice(Voice::Fine) }, true),
    ]
}

/// Checks a call in which a stage fails each time: `gives_up` says whether that must end it.
fn check(stage: &str, (name, script, gives_up): (&str, Script, bool)) {
    let heard = call(script, &[FINE; TURNS]);
    println!("{stage:>5} {name:<32} {:>6} ms {heard:?}", heard.silence.as_millis());
    assert!(heard.silence <= SILENCE_MAX, "{stage}, {name}: {heard:?}");
    if let Some(reason) = &heard.ended {
        assert!(reason.contains("failed"), "{stage}, {name}: {reason}");
        let farewell = settings().farewell_on_failure;
        let last = heard.said.last().expect("words");
        assert!(last.ends_with(&farewell), "{stage}, {name}: {heard:?}");
    }
    assert_eq!(heard.ended.is_some(), gives_up, "{stage}, {name}: {heard:?}");
}

#[test]
fn no_fault_of_the_mind_is_two_seconds_of_silence_or_a_call_without_an_end() {
    minds().into_iter().for_each(|case| check("mind", case));
}

#[test]
fn no_fault_of_the_voice_is_two_seconds_of_silence_or_a_call_without_an_end() {
    voices().into_iter().for_each(|case| check("voice", case));
}

#[test]
fn one_fault_of_mind_or_voice_is_coped_with_and_the_call_goes_on() {
    for (name, mut script, _) in minds().into_iter().chain(voices()) {
        if script.voice_fails {
            continue;
        }
        script.replies.truncate(1);
        script.voices.truncate(1);
        script.first_token = ms(300).max(script.first_token.min(ms(3000)));
        script.replies.extend(vec![Reply::Text("That is all I know.".into()); TURNS]);
        let heard = call(script, &[FINE; 3]);
        assert!(heard.silence <= SILENCE_MAX, "{name}: {heard:?}");
        assert!(heard.ended.is_none(), "{name}: {heard:?}");
        assert_eq!(heard.said.last().map(String::as_str), Some("That is all I know."), "{name}: {heard:?}");
    }
}

#[test]
fn a_voice_that_is_sure_to_refuse_ends_the_call_with_words() {
    for at in [0, 1] {
        let (_, script, _) = voices().remove(0);
        let script = Script { voices: vec![Voice::Refuses { at }].into(), ..script };
        check("voice", ("refused for certain", script, true));
    }
}

#[test]
fn no_fault_of_the_ears_is_two_seconds_of_silence_or_a_call_without_an_end() {
    let cases = [
        ("late by 1 s", Ears::End(ms(1300)), None),
        ("late by 1.5 s", Ears::End(ms(1800)), None),
        ("late by 4 s", Ears::End(ms(4000)), None),
        ("an end without a beginning", Ears::EndOnly, None),
        ("a turn that is forgotten", Ears::Forgets, None),
        ("away for 1 s", Ears::Away(Some(ms(1000))), None),
        ("away for 4 s", Ears::Away(Some(ms(4000))), None),
        ("away for good", Ears::Away(None), Some("the recogniser failed")),
        ("lost for good", Ears::Lost, Some("the recogniser failed")),
    ];
    for (name, ears, ends) in cases {
        let heard = call(Script::default(), &[ears, ears, ears]);
        println!(" ears {name:<32} {:>6} ms {heard:?}", heard.silence.as_millis());
        assert!(heard.silence <= SILENCE_MAX, "{name}: {heard:?}");
        match ends {
            None => {
                assert_eq!((heard.turns, &heard.ended), (3, &None), "{name}");
                let answers = heard.said.iter().filter(|said| said.contains("I see. Tell me more.")).count();
                assert!(answers >= 3, "{name}: {heard:?}");
            }
            Some(reason) => {
                assert!(heard.ended.as_ref().is_some_and(|ended| ended.starts_with(reason)), "{name}: {heard:?}");
                assert_eq!(heard.said.last(), Some(&settings().farewell_on_failure), "{name}: {heard:?}");
            }
        }
    }
}

#[test]
fn an_end_of_turn_that_was_not_waited_for_does_not_cut_the_reply() {
    let long = "We open at nine on every day of the week but on Sunday, when we are closed.";
    for late in [2000, 2300, 3000] {
        let script = Script { replies: vec![Reply::Text(long.into()); 2].into(), ..Script::default() };
        let mut world = World::talking(1, settings(), script);
        world.run_for(ms(1500));
        let spoken = speak(&mut world, Ears::Forgets);
        let heard = |world: &mut World| world.caller().loud().last().is_some_and(|at| *at > spoken);
        assert!(world.run_until(ms(late), heard), "the reply has begun before {late} ms");
        world.run_for((spoken + ms(late)).since(world.now));
        let speech = SpeechMark { arrived: spoken, handed: spoken };
        world.ears(EarsEvent::EndOfTurn { transcript: "When do".into(), speech });
        settle(&mut world, spoken);
        assert_eq!(world.line().said(), ["Hello.", long], "after {late} ms");
        assert!(world.line().turns.values().all(|turn| !turn.interrupted));
        assert_eq!(world.line().providers.asked.len(), 1, "it is answered once");
    }
}

#[test]
fn a_usual_turn_has_no_filler() {
    let replies: VecDeque<Reply> = vec![Reply::Text("We open at nine.".into()); 4].into();
    for (end, first_token, first_audio) in [(200, 300, 90), (300, 500, 190), (600, 300, 90), (1200, 300, 90)] {
        let (first_token, first_audio) = (ms(first_token), ms(first_audio));
        let script = Script { replies: replies.clone(), first_token, first_audio, ..Script::default() };
        let heard = call(script, &[Ears::End(ms(end)); 4]);
        assert_eq!(heard.fillers, 0, "{heard:?}");
    }
}

#[test]
fn a_filler_is_followed_by_the_reply_at_once_and_is_not_remembered() {
    let script = Script {
        replies: vec![Reply::Text("We open at nine.".into()); 2].into(),
        first_token: ms(1600),
        ..Script::default()
    };
    let mut world = World::talking(1, settings(), script);
    world.run_for(ms(1500));
    let filled = |world: &mut World| world.line().call.as_ref().expect("it is up").filler();
    assert_eq!(filled(&mut world), Duration::ZERO, "the greeting is none");
    let spoken = speak(&mut world, FINE);
    settle(&mut world, spoken);
    let packets = world.caller().loud().into_iter().filter(|at| *at > spoken).count() as u32;
    let filler = filled(&mut world);
    assert!(filler > ms(200) && filler < ms(20) * packets, "{filler:?} of {packets} packets");
    let loud: Vec<Instant> = world.caller().loud().into_iter().filter(|at| *at > spoken).collect();
    let gap = loud.windows(2).map(|pair| pair[1].since(pair[0])).max();
    assert!(gap <= Some(ms(40)), "the reply was ready while the filler was heard: {gap:?}");
    let first = loud[0].since(spoken);
    assert!(first >= ms(1380) && first <= ms(1900), "{first:?}");
    assert_eq!(world.line().said(), ["Hello.", "We open at nine."]);
    assert!(world.line().turns.values().any(|turn| turn.filler));
    speak(&mut world, FINE);
    let asked = world.line().providers.asked.last().cloned().unwrap_or_default();
    assert!(!asked.contains("moment"), "{asked}");
}

#[test]
fn a_caller_who_speaks_into_a_filler_ends_it_and_is_answered() {
    let script = Script { replies: vec![Reply::Mute, Reply::Text("Yes.".into())].into(), ..Script::default() };
    let mut world = World::talking(1, settings(), script);
    world.run_for(ms(1500));
    speak(&mut world, FINE);
    assert!(world.run_until(ms(3000), |world| !world.line().fillers.is_empty()));
    world.run_for(ms(200));
    world.caller().say(&caller_voice(600));
    let began = world.now;
    world.run_for(ms(400));
    world.ears(EarsEvent::StartOfTurn { transcript: "And on Sunday".into() });
    world.run_for(ms(200));
    let loud = world.caller().loud();
    let into = loud.iter().filter(|at| **at > began + ms(250)).count();
    assert_eq!(into, 0, "the agent is silent once the voice is sure");
    let spoken = world.now;
    let speech = SpeechMark { arrived: spoken, handed: spoken };
    world.run_for(ms(300));
    world.ears(EarsEvent::EndOfTurn { transcript: "And on Sunday?".into(), speech });
    settle(&mut world, spoken);
    assert_eq!(world.line().said(), ["Hello.", "Yes."]);
    assert!(world.line().providers.asked[1].contains("And on Sunday?"));
}
