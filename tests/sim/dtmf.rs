//! Keys, pressed in RTP (RFC 4733), on lines that lose, double and reorder them.

use super::support::{Script, Weather, World, caller_voice, ms, seeds};
use offhook::config;
use std::time::Duration;

fn talking(seed: u64) -> World {
    World::talking(seed, config::Agent { greeting: String::new(), ..config::Agent::default() }, Script::default())
}

#[test]
fn keys_are_told_once_each_and_in_order_on_a_bad_line() {
    for seed in seeds(20) {
        let mut world = talking(seed);
        world.network.to_agent = Weather { loss: 0.15, delay: ms(10), jitter: ms(30), reorder: 0.05, duplicate: 0.1 };
        world.run_for(ms(300));
        world.caller().press("0123456789*#5550");
        world.run_for(Duration::from_secs(4));
        assert_eq!(world.line().digits(), "0123456789*#5550");
    }
}

#[test]
fn a_key_is_told_with_its_first_packet() {
    let mut world = talking(1);
    world.run_for(ms(500));
    let pressed = world.now;
    world.caller().press("7");
    assert!(world.run_until(ms(200), |world| world.line().digits() == "7"));
    assert!(world.now.since(pressed) <= ms(21), "{:?}", world.now.since(pressed));
}

#[test]
fn keys_reach_the_mind_as_one_message() {
    let mut world = talking(1);
    world.run_for(ms(300));
    world.caller().press("4711#");
    world.run_for(Duration::from_secs(3));
    let asked = world.line().providers.asked.clone();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].contains("4711"), "{asked:?}");
}

#[test]
fn the_recogniser_s_stream_goes_on_through_keys() {
    let mut world = talking(1);
    world.caller().say(&caller_voice(2000));
    world.run_for(ms(500));
    let before = world.line().providers.heard.frames;
    world.caller().press("12345678");
    world.run_for(Duration::from_secs(2));
    let frames = world.line().providers.heard.frames - before;
    assert!((97..=103).contains(&frames), "{frames} frames in 2 s");
}
