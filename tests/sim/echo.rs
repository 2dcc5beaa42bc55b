//! The caller's loudspeaker plays the agent into the caller's microphone.

use super::support::{SAMPLES_PER_BYTE, Script, World, ms, seeds};
use offhook::agent::{EarsEvent, Verdict};
use offhook::call::CallEvent;
use offhook::config;
use offhook::ids::TurnId;
use std::f32::consts::{PI, TAU};

const GREETING: &str = "This is a long greeting, which nobody would listen to until its very end if they could.";

/// A voice at 8 kHz: pulses of a wavering pitch through vowels in turn, in syllables, with gaps between words.
fn voice(seed: u64, hz: f32, millis: usize, peak: f32) -> Vec<i16> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut phase, mut flow, mut past) = (0.0f32, 0.0f32, [[0.0f32; 2]; 3]);
    let (mut formants, mut gain, mut left) = ([700.0, 1200.0, 2500.0], 1.0, 0);
    let vowels = [[700.0, 1200.0, 2500.0], [350.0, 2000.0, 2700.0], [450.0, 900.0, 2400.0], [550.0, 1700.0, 2500.0]];
    let sample = |n: usize| {
        if left == 0 {
            left = rng.usize(800..2400);
            gain = if n > 1600 && rng.u8(..5) == 0 { 0.01 } else { 0.5 + 0.5 * rng.f32() };
            formants = vowels[rng.usize(..vowels.len())];
        }
        left -= 1;
        phase += hz * (1.0 + 0.15 * (TAU * 0.7 * n as f32 / 8000.0 + seed as f32).sin()) / 8000.0;
        flow = 0.9 * flow + if phase >= 1.0 { 1.0 } else { 0.0 } + 0.01 * (rng.f32() - 0.5);
        phase %= 1.0;
        let mut value = flow * gain;
        for (hz, past) in formants.iter().zip(&mut past) {
            let r = (-PI * 90.0 / 8000.0f32).exp();
            value += 2.0 * r * (TAU * hz / 8000.0).cos() * past[0] - r * r * past[1];
            *past = [value, past[0]];
        }
        value
    };
    let pcm: Vec<f32> = (0..millis * 8).map(sample).collect();
    let most = pcm.iter().fold(1e-9f32, |most, value| most.max(value.abs()));
    pcm.iter().map(|value| (value / most * peak) as i16).collect()
}

/// A call whose caller's telephone sends back the agent; the recogniser understands every word of it.
fn echoing(seed: u64, loss_db: f32, delay_ms: u64) -> World {
    let settings = config::Agent { greeting: GREETING.into(), ..config::Agent::default() };
    let script = Script {
        transcripts: Some(std::iter::repeat_n(GREETING.to_owned(), 10).collect()),
        first_words: "This is".into(),
        voice: Some(voice(seed, 90.0 + 10.0 * seed as f32, 5000, 20_000.0)),
        ..Script::default()
    };
    let mut world = World::with(seed, settings);
    world.script(script);
    world.add_caller();
    world.caller().echo(loss_db, ms(delay_ms));
    let now = world.now;
    world.caller().invite(now);
    assert!(world.run_until(ms(2000), |world| world.callers[0].got("200").is_some()), "the call is answered");
    world
}

fn cuts(world: &mut World) -> usize {
    world.line().events.iter().filter(|(_, event)| matches!(event, CallEvent::Cut { .. })).count()
}

#[test]
fn the_greeting_survives_its_own_loud_echo_from_the_first_second() {
    let mut longest = ms(0);
    for seed in seeds(3) {
        for (loss_db, delay_ms) in [(6.0, 20), (6.0, 120), (6.0, 300), (20.0, 80)] {
            let mut world = echoing(seed, loss_db, delay_ms);
            world.run_for(ms(7500));
            assert_eq!(cuts(&mut world), 0, "{loss_db} dB, {delay_ms} ms");
            assert_eq!(world.line().said(), [GREETING], "{loss_db} dB, {delay_ms} ms: and nothing was answered");
            let at = |world: &mut World, what: fn(&CallEvent) -> bool| {
                world.line().events.iter().find(|(_, event)| what(event)).map(|(at, _)| *at).expect("it was played")
            };
            let first = at(&mut world, |event| matches!(event, CallEvent::FirstPacket { .. }));
            let played = at(&mut world, |event| matches!(event, CallEvent::Played { .. }));
            let length = ms((GREETING.len() * SAMPLES_PER_BYTE / 8) as u64);
            longest = longest.max(played.since(first).saturating_sub(length));
            let echo = world.line().call.as_ref().and_then(|call| call.echo()).expect("the echo was measured");
            assert!(echo.speakerphone, "{echo:?}");
            let measured = echo.delay.as_millis() as u64;
            assert!((delay_ms..=delay_ms + 45).contains(&measured), "{measured} of {delay_ms} ms");
        }
    }
    println!("the greeting was held up by {longest:?} at most");
    assert!(longest <= ms(1000), "the greeting paused for {longest:?}");
}

#[test]
fn words_out_of_the_echo_begin_no_turn_even_when_the_reply_is_over() {
    let mut world = echoing(1, 6.0, 300);
    world.line().providers.script.transcripts = None;
    world.run_for(ms(4700));
    world.ears(EarsEvent::StartOfTurn { transcript: "to its very end".into() });
    world.ears(EarsEvent::EndOfTurn {
        transcript: "until its very end if they could".into(),
        speech: Default::default(),
    });
    world.run_for(ms(1000));
    assert_eq!(world.line().asides, [("until its very end if they could".to_owned(), Verdict::Echo)]);
    assert_eq!((cuts(&mut world), world.line().turns.len()), (0, 1));
}

#[test]
fn words_that_the_recogniser_has_garbled_out_of_the_echo_begin_no_turn() {
    for seed in seeds(4) {
        for (loss_db, delay_ms) in [(20.0, 60), (12.0, 150), (6.0, 100), (6.0, 300)] {
            let what = format!("seed {seed}: {loss_db} dB, {delay_ms} ms");
            let mut world = echoing(seed, loss_db, delay_ms);
            world.line().providers.script.transcripts = None;
            world.run_for(ms(1800));
            world.ears(EarsEvent::StartOfTurn { transcript: "Hollow this".into() });
            for garbled in ["Hollow this salon", "Hollow this salon greeting", "Hollow this salon greeting with Betty"]
            {
                world.run_for(ms(250));
                world.ears(EarsEvent::Update { transcript: garbled.into() });
            }
            world.run_for(ms(400));
            let transcript = "Hollow this salon greeting with Betty.".to_owned();
            world.ears(EarsEvent::EndOfTurn { transcript: transcript.clone(), speech: Default::default() });
            world.run_for(ms(6000));
            assert_eq!(cuts(&mut world), 0, "{what}");
            assert_eq!(world.line().asides, [(transcript, Verdict::Echo)], "{what}");
            assert_eq!(world.line().said(), [GREETING], "{what}");
        }
    }
}

#[test]
fn a_caller_as_loud_as_the_echo_is_not_lost_in_it() {
    for seed in seeds(4) {
        for (loss_db, delay_ms) in [(20.0, 60), (12.0, 150), (6.0, 100)] {
            let what = format!("seed {seed}: {loss_db} dB, {delay_ms} ms");
            let mut world = echoing(seed, loss_db, delay_ms);
            world.line().providers.script.transcripts = None;
            world.run_for(ms(1500));
            let peak = 20_000.0 * 10f32.powf(-loss_db / 20.0);
            world.caller().say(&voice(seed + 40, 180.0, 1200, peak));
            world.run_for(ms(500));
            world.ears(EarsEvent::StartOfTurn { transcript: "Can I".into() });
            world.run_for(ms(250));
            world.ears(EarsEvent::Update { transcript: "Can I ask".into() });
            world.run_for(ms(250));
            world.ears(EarsEvent::Update { transcript: "Can I ask something".into() });
            world.run_for(ms(600));
            let transcript = "Can I ask something?".to_owned();
            world.ears(EarsEvent::EndOfTurn { transcript, speech: Default::default() });
            world.run_for(ms(2000));
            assert_eq!(world.line().asides, [], "{what}");
            assert_eq!(cuts(&mut world), 1, "{what}");
            assert!(world.line().said().len() > 1, "{what}: it is answered");
        }
    }
}

#[test]
fn a_caller_over_the_echo_takes_the_floor() {
    let mut late = Vec::new();
    for seed in seeds(4) {
        for (loss_db, delay_ms) in [(20.0, 60), (12.0, 150), (6.0, 100)] {
            let mut world = echoing(seed, loss_db, delay_ms);
            world.line().providers.script.transcripts = None;
            world.run_for(ms(1500));
            let start = world.now;
            world.caller().say(&voice(seed + 40, 180.0, 1200, 26_000.0));
            world.run_for(ms(250));
            world.ears(EarsEvent::StartOfTurn { transcript: "Can I ask".into() });
            world.run_for(ms(250));
            world.ears(EarsEvent::Update { transcript: "Can I ask something".into() });
            world.run_for(ms(500));
            assert_eq!(cuts(&mut world), 1, "seed {seed}: {loss_db} dB, {delay_ms} ms");
            let loud: Vec<_> = world.caller().loud();
            late.push(loud[loud.len() - 1].since(start));
        }
    }
    late.sort_unstable();
    println!(
        "silent {:?} after the caller's first sound in the middle, {:?} at most",
        late[late.len() / 2],
        late[late.len() - 1]
    );
    assert!(late[late.len() - 1] <= ms(600), "{late:?}");
}

#[test]
fn a_line_without_an_echo_shows_none() {
    let mut world = echoing(2, 90.0, 100);
    world.run_for(ms(6000));
    assert!(world.line().call.as_ref().is_some_and(|call| call.echo().is_none()));
    assert!(world.line().turns[&TurnId::GREETING].agent == GREETING);
}
