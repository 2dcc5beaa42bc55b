//! INVITE to BYE, both ways, and what the network may do to it.

use super::support::{Script, Weather, World, ms, seeds};
use offhook::config;
use offhook::sip::EndedBy;
use std::time::Duration;

fn settings() -> config::Agent {
    config::Agent { greeting: "Hello.".into(), ..config::Agent::default() }
}

fn talking(seed: u64) -> World {
    World::talking(seed, settings(), Script::default())
}

#[test]
fn a_call_is_answered_greeted_and_ended_by_the_caller() {
    let mut world = talking(1);
    assert_eq!(world.caller().answers(), ["100 Trying", "180 Ringing", "200 OK"]);
    let answered = world.now;
    world.run_for(ms(1000));
    let first = world.caller().loud()[0];
    assert!(first.since(answered) <= ms(100), "the greeting is heard {:?} after the answer", first.since(answered));
    assert_eq!(world.line().said(), ["Hello."]);
    let now = world.now;
    world.caller().bye(now);
    world.run_for(ms(50));
    assert_eq!(world.caller().answers().last(), Some(&"200 OK"));
    let (_, by, _) = world.line().ended.clone().expect("it is over");
    assert_eq!(by, EndedBy::Caller);
    let packets = world.caller().heard.len();
    world.run_for(ms(1000));
    assert_eq!(world.caller().heard.len(), packets, "nothing is sent after the end");
    world.run_for(Duration::from_secs(40));
    assert_eq!((world.ua.live_calls(), world.ua.transactions()), (0, (0, 0)));
}

#[test]
fn nothing_stands_between_the_invite_and_its_200_and_no_provider_is_asked_before_it() {
    for greeting in ["Hello.", ""] {
        let mut world = World::with(1, config::Agent { greeting: greeting.into(), ..settings() });
        // Ears that never say a word, a mind and a voice that would take a minute.
        let slow = Duration::from_secs(60);
        world.script(Script { first_token: slow, first_audio: slow, ..Script::default() });
        world.add_caller();
        let sent = world.now;
        world.callers[0].invite(sent);
        assert!(world.run_until(ms(100), |world| world.callers[0].got("200").is_some()), "it is answered");
        assert_eq!(world.now.since(sent), ms(2), "the network's own time, there and back");
        let line = world.line();
        assert!(line.ears.is_empty() && line.orders.is_empty() && line.providers.asked.is_empty());
    }
}

#[test]
fn a_lost_200_is_sent_again_until_it_is_acknowledged() {
    let mut world = World::new(1);
    world.network.lose("SIP/2.0 200", 3);
    world.add_caller();
    world.callers[0].invite(world.now);
    let start = world.now;
    assert!(world.run_until(Duration::from_secs(10), |world| world.callers[0].got("200").is_some()));
    // 0, 0.5, 1.5 and 3.5 s: T1, then twice as long each time (§13.3.1.4).
    assert!(world.now.since(start).abs_diff(ms(3502)) < ms(5), "{:?}", world.now.since(start));
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.callers[0].all_got("200").len(), 1, "the ACK has come");
    assert!(world.line().ended.is_none());
}

#[test]
fn a_lost_ack_is_asked_for_by_the_next_200() {
    let mut world = World::new(1);
    world.network.lose("ACK", 2);
    world.add_caller();
    world.callers[0].invite(world.now);
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.callers[0].all_got("200").len(), 3);
    assert!(world.line().ended.is_none());
    assert_eq!(world.line().said(), ["Hello."], "the greeting does not wait for the ACK, and is said once");
}

#[test]
fn without_an_ack_the_call_ends_after_32_seconds() {
    let mut world = World::new(1);
    world.add_caller();
    world.callers[0].acks = false;
    world.callers[0].invite(world.now);
    world.run_for(Duration::from_secs(31));
    assert!(world.line().ended.is_none());
    world.run_for(Duration::from_secs(2));
    assert!(world.line().ended.is_some());
    assert!(world.callers[0].got("BYE").is_some());
}

#[test]
fn an_invite_that_comes_again_makes_no_second_call() {
    let mut world = World::new(1);
    world.network.sip = Weather { delay: ms(300), ..Weather::default() };
    world.add_caller();
    world.callers[0].invite(world.now);
    for _ in 0..5 {
        world.run_for(ms(40));
        world.callers[0].again();
    }
    world.run_for(Duration::from_secs(3));
    assert_eq!(world.lines.len(), 1);
    assert!(world.line().ended.is_none());
}

#[test]
fn a_cancel_while_it_rings_ends_it_with_487() {
    let mut world = World::new(1);
    world.script(Script { phrases: false, ..Script::default() });
    world.add_caller();
    world.callers[0].invite(world.now);
    world.run_for(ms(500));
    assert_eq!(world.callers[0].answers(), ["100 Trying", "180 Ringing"]);
    world.callers[0].cancel(world.now);
    world.run_for(ms(100));
    let answers = world.callers[0].answers();
    assert!(answers.contains(&"487 Request Terminated") && answers.contains(&"200 OK"), "{answers:?}");
    assert_eq!(world.line().ended.clone().map(|(_, by, _)| by), Some(EndedBy::Caller));
    world.run_for(Duration::from_secs(40));
    assert_eq!((world.ua.live_calls(), world.ua.transactions()), (0, (0, 0)));
}

#[test]
fn a_cancel_that_meets_the_200_leaves_a_call_that_bye_ends() {
    let mut world = World::new(1);
    world.network.sip = Weather { delay: ms(30), ..Weather::default() };
    world.add_caller();
    world.callers[0].invite(world.now);
    // The 200 is on its way when the CANCEL leaves.
    world.run_for(ms(45));
    world.callers[0].cancel(world.now);
    world.run_for(ms(200));
    assert!(world.callers[0].got("487").is_none(), "the INVITE has its final answer");
    assert!(world.line().ended.is_none());
    world.callers[0].bye(world.now);
    world.run_for(ms(200));
    assert!(world.line().ended.is_some());
}

#[test]
fn a_lost_bye_of_ours_is_sent_again() {
    let settings = config::Agent { call_max: Duration::from_secs(5), ..settings() };
    let mut world = World::talking(1, settings, Script::default());
    world.network.lose("BYE", 3);
    assert!(world.run_until(Duration::from_secs(20), |world| world.callers[0].got("BYE").is_some()));
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.callers[0].all_got("BYE").len(), 1);
    assert_eq!(world.ua.live_calls(), 0);
}

#[test]
fn calls_begin_and_end_whatever_the_network_loses() {
    for seed in seeds(12) {
        let mut world = World::new(seed);
        world.network.sip = Weather { loss: 0.25, delay: ms(10), jitter: ms(150), reorder: 0.1, duplicate: 0.1 };
        for n in 0..4 {
            world.add_caller();
            world.callers[n].invite(world.now);
        }
        world.run_for(Duration::from_secs(12));
        for n in 0..4 {
            let now = world.now;
            assert!(world.callers[n].got("200").is_some(), "caller {n} is answered");
            world.callers[n].bye(now);
        }
        world.run_for(Duration::from_secs(33));
        assert_eq!(world.lines.len(), 4);
        assert!(world.lines.values().all(|line| line.ended.is_some()));
        world.run_for(Duration::from_secs(40));
        assert_eq!((world.ua.live_calls(), world.ua.transactions()), (0, (0, 0)));
    }
}

#[test]
fn a_dead_line_is_given_up_after_a_minute() {
    let settings = config::Agent { reprompt_after: Duration::from_secs(600), ..settings() };
    let mut world = World::talking(1, settings, Script::default());
    world.run_for(Duration::from_secs(2));
    world.caller().sending = false;
    world.run_for(Duration::from_secs(59));
    assert!(world.line().ended.is_none());
    world.run_for(Duration::from_secs(2));
    let (_, by, reason) = world.line().ended.clone().expect("it is over");
    assert_eq!((by, reason.as_str()), (EndedBy::Engine, "no RTP from the peer"));
    assert!(world.caller().got("BYE").is_some());
}
