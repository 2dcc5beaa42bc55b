//! The caller speaks while the agent does.

use super::support::{Script, World, caller_voice, ms, seeds, voice_of};
use offhook::agent::{EarsEvent, Verdict};
use offhook::audio::g711::Codec;
use offhook::call::CallEvent;
use offhook::config;
use offhook::ids::TurnId;
use offhook::time::Instant;
use std::time::Duration;

/// What the network takes to the caller.
const DELAY: Duration = ms(1);
const PACKET: Duration = ms(20);

fn settings() -> config::Agent {
    let greeting = "This is a long greeting which nobody would listen to until its very end, if they could help it.";
    config::Agent { greeting: greeting.into(), ..config::Agent::default() }
}

/// The agent has been greeting for a good second.
fn greeting(seed: u64, transcripts: Option<&[&str]>) -> World {
    let transcripts = transcripts.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect());
    let mut world = World::talking(seed, settings(), Script { transcripts, ..Script::default() });
    let mut rng = fastrand::Rng::with_seed(seed);
    world.run_for(ms(1000) + ms(rng.u64(..40)));
    world
}

/// Returns when the media path told of something.
fn when(world: &mut World, what: impl Fn(&CallEvent) -> bool) -> Option<Instant> {
    world.line().events.iter().find(|(_, event)| what(event)).map(|(at, _)| *at)
}

fn is_cut(event: &CallEvent) -> bool {
    matches!(event, CallEvent::Cut { .. })
}

fn last_loud(world: &mut World) -> Instant {
    *world.caller().loud().last().expect("the agent spoke")
}

#[test]
fn words_cut_the_agent_within_a_packet_of_the_voice() {
    let mut silent_after = Vec::new();
    for seed in seeds(40) {
        let mut world = greeting(seed, Some(&["Stop, please."]));
        let start = world.now;
        world.caller().say(&caller_voice(900));
        world.run_for(ms(800));
        let onset = when(&mut world, |event| matches!(event, CallEvent::CallerSpeech { speaking: true, .. }));
        let onset = onset.expect("the voice is heard");
        let last = last_loud(&mut world);
        assert!(last <= onset + PACKET + DELAY, "the agent goes on for {:?}", last.since(onset));
        let cut = when(&mut world, is_cut).expect("the recogniser confirms it");
        assert!(cut.since(start) < ms(400), "{:?}", cut.since(start));
        silent_after.push(last.since(start));
        let turn = world.line().turns[&TurnId::GREETING].clone();
        assert!(turn.interrupted && turn.agent.starts_with("This is a long") && turn.agent.len() < 40, "{turn:?}");
    }
    silent_after.sort();
    let (median, worst) = (silent_after[silent_after.len() / 2], silent_after[silent_after.len() - 1]);
    println!("from the caller's first sound to the agent's last packet: median {median:?}, worst {worst:?}");
    assert!(median <= ms(150), "{median:?}");
}

#[test]
fn the_recogniser_alone_cuts_within_a_packet() {
    for seed in seeds(20) {
        let mut world = greeting(seed, None);
        let decided = world.now;
        world.ears(EarsEvent::StartOfTurn { transcript: "Stop".into() });
        world.run_for(ms(500));
        assert_eq!(when(&mut world, is_cut), Some(decided));
        let last = last_loud(&mut world);
        assert!(last <= decided + PACKET + DELAY, "{:?}", last.since(decided));
    }
}

#[test]
fn a_click_of_60_ms_does_not_cut_or_pause() {
    for seed in seeds(40) {
        let mut world = greeting(seed, Some(&[]));
        let mut rng = fastrand::Rng::with_seed(seed);
        // A knock that dies away, a burst of noise, a piece of a voice; anywhere in a packet.
        let mut click = vec![0; rng.usize(..160)];
        let len = rng.usize(8..=480);
        click.extend((0..len).map(|n| match seed % 3 {
            0 => (20_000.0 * (-(n as f32) / 60.0).exp() * (n as f32 * 0.9).sin()) as i16,
            1 => rng.i16(-12_000..12_000),
            _ => caller_voice(60)[n],
        }));
        world.caller().say(&click);
        world.run_for(Duration::from_secs(6));
        assert_eq!(when(&mut world, is_cut), None);
        let loud: Vec<Instant> = world.caller().loud();
        let gap = loud.windows(2).map(|pair| pair[1].since(pair[0])).max().expect("the agent spoke");
        assert!(gap <= PACKET, "the agent was silent for {gap:?}");
        assert_eq!(world.line().said(), [settings().greeting]);
    }
}

#[test]
fn a_cough_pauses_and_the_reply_goes_on_without_losing_or_repeating_a_sample() {
    for seed in seeds(20) {
        let mut world = greeting(seed, Some(&[]));
        // A voice that yields no words.
        world.line().providers.script.transcripts = None;
        world.caller().say(&caller_voice(300));
        world.run_for(Duration::from_secs(8));
        assert_eq!(when(&mut world, is_cut), None);
        let samples = settings().greeting.len() * super::support::SAMPLES_PER_BYTE;
        let played =
            when(&mut world, |event| *event == CallEvent::Played { turn: TurnId::GREETING, samples: samples as u64 });
        assert!(played.is_some(), "every sample is played");
        let heard: Vec<i16> = world.caller().heard.iter().flat_map(|packet| packet.pcm.clone()).collect();
        check_pause(&heard, &voice_of(TurnId::GREETING, samples));
    }
}

/// Finds `said` in `heard`, whole but for one pause with a fade of 5 ms at either side.
fn check_pause(heard: &[i16], said: &[i16]) {
    const FADE: usize = 40;
    let on_the_wire: Vec<i16> = said
        .iter()
        .map(|sample| {
            let (mut code, mut pcm) = ([0], [0]);
            Codec::Pcmu.encode(&[*sample], &mut code);
            Codec::Pcmu.decode(&code, &mut pcm);
            pcm[0]
        })
        .collect();
    let start = heard.iter().position(|sample| sample.unsigned_abs() > 500).expect("the agent spoke");
    let before = heard[start..].iter().zip(&on_the_wire).take_while(|(heard, said)| heard == said).count();
    assert!(before >= 8000, "only {before} samples are as they were said");
    // The fade goes down from there; it ends where the packet is silent.
    let faded = before + FADE;
    for n in before..faded {
        assert!(
            heard[start + n].unsigned_abs() <= on_the_wire[n].unsigned_abs() + 300,
            "no sample is louder in a fade"
        );
    }
    let silent = heard[start + faded..].iter().take_while(|sample| sample.unsigned_abs() < 16).count();
    assert!(silent >= 8 * 500, "a pause of {silent} samples");
    // What follows the second fade is what followed the first, so that nothing is missing and nothing comes twice.
    let rest = &on_the_wire[before..];
    let from = (0..2 * FADE)
        .find(|skip| {
            let after = start + faded + silent;
            (0..4 * FADE).any(|at| heard[after + at..].starts_with(&rest[FADE + skip..FADE + skip + 200]))
        })
        .expect("the reply goes on");
    let window = &rest[FADE + from..FADE + from + 200];
    let at = heard[start + faded..].windows(200).position(|found| found == window).expect("just found");
    // Silence is whole packets and what the faded packet had left.
    let inserted = at + faded - (before + FADE + from);
    assert_eq!(inserted % 160, 120, "{inserted} samples of pause: a sample is lost or repeated");
    assert_eq!(&heard[start + faded + at..][..rest.len() - FADE - from], &rest[FADE + from..], "to the end");
}

#[test]
fn a_caller_who_goes_on_is_answered_and_the_cut_reply_is_not_heard_again() {
    for seed in seeds(10) {
        let mut world = greeting(seed, Some(&["What are your hours?"]));
        world.caller().say(&caller_voice(1500));
        world.run_for(Duration::from_secs(6));
        assert_eq!(world.line().said().last(), Some(&"I see. Tell me more."));
        let heard: Vec<i16> = world.caller().heard.iter().flat_map(|packet| packet.pcm.clone()).collect();
        let reply = voice_of(TurnId(1), 20 * super::support::SAMPLES_PER_BYTE);
        let loud = heard.iter().filter(|sample| sample.unsigned_abs() > 500).count();
        assert!(loud > reply.len() && loud < reply.len() + 8000 * 2, "{loud} loud samples");
        assert!(world.line().ended.is_none());
    }
}

#[test]
fn who_goes_on_before_a_late_end_of_turn_is_not_talked_over() {
    for seed in seeds(10) {
        let mut world = greeting(seed, None);
        world.ears(EarsEvent::StartOfTurn { transcript: "Stop".into() });
        world.run_for(ms(300));
        // Half a sentence, a pause that sounds like its end, and the other half has begun when that end is told.
        world.caller().say(&caller_voice(800));
        world.run_for(ms(1400));
        let begun = world.now;
        world.caller().say(&caller_voice(1500));
        world.run_for(ms(250));
        world
            .ears(EarsEvent::EndOfTurn { transcript: "Stop. What are your hours?".into(), speech: Default::default() });
        world.run_for(Duration::from_secs(8));
        let replied =
            world.caller().loud().into_iter().find(|at| *at > begun).expect("nothing followed: it is answered");
        assert!(replied.since(begun) > ms(1500), "{seed}: after {:?}", replied.since(begun));
    }
}

/// The caller says `words`, which the recogniser tells one after another, 250 ms after the voice has begun.
fn hear(world: &mut World, words: &[&str]) {
    world.caller().say(&caller_voice(400));
    world.run_for(ms(350));
    world.ears(EarsEvent::StartOfTurn { transcript: words[0].into() });
    for word in &words[1..] {
        world.run_for(ms(250));
        world.ears(EarsEvent::Update { transcript: (*word).into() });
    }
}

#[test]
fn a_listeners_mhm_lets_the_reply_go_on_from_its_sample_and_begins_no_turn() {
    for seed in seeds(10) {
        let mut world = greeting(seed, None);
        hear(&mut world, &["Mhm"]);
        world.run_for(ms(400));
        assert!(world.now.since(last_loud(&mut world)) > ms(300), "it waits for what follows");
        let whole = world.now;
        world.ears(EarsEvent::EndOfTurn { transcript: "Mhm.".into(), speech: Default::default() });
        world.run_for(ms(100));
        let next = world.caller().loud().into_iter().find(|at| *at > whole).expect("it goes on");
        assert!(next.since(whole) <= PACKET + DELAY, "at once: {:?}", next.since(whole));
        world.run_for(Duration::from_secs(8));
        assert_eq!(when(&mut world, is_cut), None);
        let samples = settings().greeting.len() * super::support::SAMPLES_PER_BYTE;
        let played = CallEvent::Played { turn: TurnId::GREETING, samples: samples as u64 };
        assert!(when(&mut world, |event| *event == played).is_some(), "every sample is played");
        let heard: Vec<i16> = world.caller().heard.iter().flat_map(|packet| packet.pcm.clone()).collect();
        check_pause(&heard, &voice_of(TurnId::GREETING, samples));
        assert_eq!(world.line().said(), [settings().greeting]);
        assert_eq!(world.line().turns.len(), 1);
        assert_eq!(world.line().asides, [("Mhm.".to_owned(), Verdict::Backchannel)]);
        assert!(world.line().providers.asked.is_empty(), "nobody was asked");
    }
}

#[test]
fn what_grows_out_of_a_backchannel_cuts_and_is_answered_whole() {
    let mut world = greeting(1, None);
    hear(&mut world, &["Yeah"]);
    assert_eq!(when(&mut world, is_cut), None);
    world.run_for(ms(250));
    let grown = world.now;
    world.ears(EarsEvent::Update { transcript: "Yeah but what about".into() });
    assert_eq!(when(&mut world, is_cut), Some(grown));
    world.ears(EarsEvent::EndOfTurn { transcript: "Yeah but what about Sunday?".into(), speech: Default::default() });
    world.run_for(ms(500));
    assert!(world.line().providers.asked[0].contains("Yeah but what about Sunday?"));
}

#[test]
fn a_hard_word_cuts_though_no_voice_was_heard() {
    for word in ["Stop", "No", "Wait"] {
        let mut world = greeting(2, None);
        let decided = world.now;
        world.ears(EarsEvent::StartOfTurn { transcript: word.into() });
        world.run_for(ms(300));
        assert_eq!(when(&mut world, is_cut), Some(decided), "{word}");
        assert!(last_loud(&mut world) <= decided + PACKET + DELAY);
    }
}

#[test]
fn yes_into_the_agents_question_is_an_answer() {
    let greeting = "Would you like to book a table for two at seven or at eight this evening, or on some other day?";
    let settings = config::Agent { greeting: greeting.into(), ..config::Agent::default() };
    let mut world = World::talking(3, settings, Script::default());
    world.run_for(ms(3000));
    hear(&mut world, &["Yes"]);
    assert!(when(&mut world, is_cut).is_some());
    world.ears(EarsEvent::EndOfTurn { transcript: "Yes.".into(), speech: Default::default() });
    world.run_for(ms(1500));
    assert!(world.line().providers.asked[0].contains("Yes."));
}

#[test]
fn the_recognisers_audio_has_no_hole_while_the_agent_is_interrupted() {
    let mut world = greeting(4, None);
    world.line().providers.keep_audio = true;
    let from = world.caller().said.len();
    hear(&mut world, &["Can", "Can I ask"]);
    world.run_for(ms(200));
    let said: Vec<i16> = world.caller().said[from..].to_vec();
    let mut codes = vec![0; said.len()];
    Codec::Pcmu.encode(&said, &mut codes);
    let heard = &world.line().providers.heard.ulaw;
    // Its first frames were cut elsewhere than the packets.
    let start = heard.windows(800).position(|part| part == &codes[480..1280]).expect("the first words are there");
    let len = (heard.len() - start).min(codes.len() - 480);
    assert!(len > 5000, "{len}");
    assert_eq!(heard[start..start + len], codes[480..480 + len]);
}

#[test]
fn a_greeting_that_is_not_to_be_interrupted_is_heard_whole_and_what_was_said_to_it_is_answered() {
    for seed in seeds(5) {
        let settings = config::Agent { interruptible_greeting: false, ..settings() };
        let transcripts = Some(["Stop, please.".to_owned()].into());
        let mut world = World::talking(seed, settings.clone(), Script { transcripts, ..Script::default() });
        world.run_for(ms(1000));
        world.caller().say(&caller_voice(900));
        let answered = |world: &mut World| world.line().turns.contains_key(&TurnId(1));
        assert!(world.run_until(ms(20_000), |world| answered(world)), "seed {seed}: it is answered");
        assert_eq!(when(&mut world, is_cut), None, "seed {seed}");
        let turns = world.line().turns.clone();
        assert_eq!(turns[&TurnId::GREETING].agent, settings.greeting);
        assert!(!turns[&TurnId::GREETING].interrupted);
        assert_eq!(turns[&TurnId(1)].caller, "Stop, please.");
        // Its packets follow each other without a pause.
        let greeted = when(&mut world, |event| matches!(event, CallEvent::Played { .. })).expect("it was played");
        let first = when(&mut world, |event| matches!(event, CallEvent::FirstPacket { .. })).expect("it was begun");
        let length = ms((settings.greeting.len() * super::support::SAMPLES_PER_BYTE / 8) as u64);
        assert!(greeted.since(first) <= length + PACKET, "seed {seed}: {:?} for {length:?}", greeted.since(first));
    }
}
