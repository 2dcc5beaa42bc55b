//! The caller holds and comes back.

use super::support::{Script, World, ms};
use offhook::config;
use offhook::ids::TurnId;
use std::time::Duration;

fn talking() -> World {
    let greeting = "A greeting that is long enough to be held in the middle of it, and to go on after.";
    let settings = config::Agent { greeting: greeting.into(), ..config::Agent::default() };
    let mut world = World::talking(1, settings, Script::default());
    world.run_for(ms(1000));
    world
}

fn reinvite(world: &mut World, description: &str) {
    let now = world.now;
    let before = world.caller().all_got("200").len();
    world.caller().invite_with(description, now);
    world.run_for(ms(100));
    assert_eq!(world.caller().all_got("200").len(), before + 1);
}

#[test]
fn a_held_agent_is_silent_and_its_speech_waits() {
    let mut world = talking();
    world.caller().holds = true;
    world.caller().sending = false;
    let hold = world.caller().description("sendonly");
    reinvite(&mut world, &hold);
    let heard = world.caller().heard.len();
    world.run_for(Duration::from_secs(120));
    assert_eq!(world.caller().heard.len(), heard, "nothing is sent to who holds");
    assert!(world.line().ended.is_none(), "a hold is not a dead line");
    world.caller().holds = false;
    let resume = world.caller().description("sendrecv");
    reinvite(&mut world, &resume);
    world.run_for(Duration::from_secs(6));
    let packets = world.caller().heard.clone();
    let (before, after) = (&packets[heard - 1], &packets[heard]);
    assert_eq!(after.sequence, before.sequence.wrapping_add(1));
    assert_eq!(after.ssrc, before.ssrc);
    assert!(after.marker, "time has passed without packets");
    let media = after.timestamp.wrapping_sub(before.timestamp) / 8;
    let wall = after.at.since(before.at).as_millis() as u64;
    assert!(u64::from(media).abs_diff(wall) <= 20, "{media} ms of timestamps in {wall} ms");
    let said = world.line().turns[&TurnId::GREETING].clone();
    assert!(said.agent.ends_with("go on after.") && !said.interrupted, "{said:?}");
}

#[test]
fn the_recogniser_hears_silence_while_the_caller_holds() {
    let mut world = talking();
    world.line().providers.keep_audio = true;
    world.caller().holds = true;
    let hold = world.caller().description("sendonly");
    reinvite(&mut world, &hold);
    world.run_for(ms(500));
    world.line().providers.heard.ulaw.clear();
    let before = world.line().providers.heard.frames;
    // Music on hold.
    world.caller().say(&super::support::caller_voice(3000));
    world.run_for(Duration::from_secs(3));
    let heard = &world.line().providers.heard;
    assert!((147..=152).contains(&(heard.frames - before)), "{} frames in 3 s", heard.frames - before);
    assert!(heard.ulaw.iter().all(|code| code | 0x80 == 0xff), "music on hold is not the caller");
}

#[test]
fn an_old_hold_without_an_address_is_a_hold() {
    let mut world = talking();
    world.caller().holds = true;
    world.caller().sending = false;
    let hold = world.caller().description("sendrecv").replace("c=IN IP4 10.0.0.10", "c=IN IP4 0.0.0.0");
    reinvite(&mut world, &hold);
    let heard = world.caller().heard.len();
    world.run_for(Duration::from_secs(70));
    assert_eq!(world.caller().heard.len(), heard);
    assert!(world.line().ended.is_none());
    world.caller().holds = false;
    let resume = world.caller().description("sendrecv");
    reinvite(&mut world, &resume);
    world.run_for(ms(500));
    assert!(world.caller().heard.len() > heard + 20);
}

#[test]
fn a_reoffer_that_we_cannot_take_leaves_the_call_as_it_was() {
    let mut world = talking();
    let now = world.now;
    let video = world.caller().description("sendrecv").replace("m=audio", "m=video");
    world.caller().invite_with(&video, now);
    world.run_for(ms(200));
    assert!(world.caller().got("488").is_some());
    let heard = world.caller().heard.len();
    world.run_for(ms(1000));
    assert!((49..=51).contains(&(world.caller().heard.len() - heard)));
}
