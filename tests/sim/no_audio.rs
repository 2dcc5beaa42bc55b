//! A call without sound: what is wrong is said within a second of it, and taken back when the sound comes.

use super::support::{Script, World, caller_voice, ms};
use offhook::call::CallEvent;
use offhook::call::finding::{Audio, Finding, State};
use offhook::config;
use offhook::rtp::rtcp::{Report, ReportBlock, SENT_LEN_MAX};
use offhook::rtp::{Ssrc, latch};
use std::net::SocketAddr;
use std::time::Duration;

fn settings() -> config::Agent {
    config::Agent {
        reprompt_after: Duration::from_secs(3600),
        call_max: Duration::from_secs(3600),
        ..Default::default()
    }
}

/// A call in the moment of its answer, to a caller that is set up by `change` before it has sent anything.
fn answered(change: impl FnOnce(&mut World)) -> World {
    let mut world = World::with(1, settings());
    world.script(Script::default());
    world.add_caller();
    change(&mut world);
    let now = world.now;
    world.caller().invite(now);
    assert!(world.run_until(ms(2000), |world| world.callers[0].media.is_some()), "the call is answered");
    world
}

fn audio(world: &mut World) -> Audio {
    world.line().call.as_ref().expect("the media have begun").audio()
}

fn finding(world: &mut World) -> Option<Finding> {
    audio(world).finding
}

/// What went into the log.
fn logged(world: &mut World) -> Vec<Option<Finding>> {
    let logged = |event: &CallEvent| match event {
        CallEvent::Audio { audio, log: true } => Some(audio.finding),
        _ => None,
    };
    world.line().events.iter().filter_map(|(_, event)| logged(event)).collect()
}

fn reinvite(world: &mut World, description: &str) {
    let now = world.now;
    world.caller().invite_with(description, now);
    world.run_for(ms(100));
}

/// Sends an RTCP report of the caller's.
fn report(world: &mut World, block: Option<ReportBlock>) {
    let report = Report { ssrc: Ssrc(world.caller().ssrc), sender: None, block, cname: "caller", bye: false };
    let mut bytes = [0; SENT_LEN_MAX];
    let len = report.write(&mut bytes).expect("it fits");
    world.caller().send_rtcp(&bytes[..len]);
    world.run_for(ms(10));
}

#[test]
fn nothing_arrives() {
    let mut world = answered(|world| world.caller().holds = true);
    world.run_for(ms(900));
    assert_eq!(audio(&mut world), Audio { state: State::Starting, finding: None });
    world.run_for(ms(150));
    let described = Some(world.caller().rtp);
    let Audio { state, finding } = audio(&mut world);
    assert_eq!(
        (state, finding),
        (State::Silent, Some(Finding::NothingArrives { port: 10_002, described, rtcp: false }))
    );
    world.run_for(Duration::from_secs(20));
    assert_eq!(logged(&mut world).len(), 1, "once");
}

#[test]
fn packets_come_from_another_address() {
    let from: SocketAddr = "192.0.2.77:4000".parse().expect("an address");
    let mut world = answered(|world| world.caller().behind = Some(from));
    world.run_for(ms(1100));
    let described = Some(world.caller().rtp);
    assert_eq!(finding(&mut world), Some(Finding::OtherAddress { described, source: from }));
    let sentence = finding(&mut world).expect("there is one").to_string();
    assert!(sentence.contains("10.0.0.10:4000") && sentence.contains("192.0.2.77:4000"), "{sentence}");
    assert!(world.caller().heard.len() > 50, "and is sent to where the description says");

    // With the setting that the sentence names it is a call like any other.
    let mut world = answered(|world| {
        world.guard = latch::Settings { policy: config::Latch::Any, ..latch::Settings::default() };
        world.caller().behind = Some(from);
    });
    world.caller().say(&caller_voice(3000));
    world.run_for(ms(2000));
    assert_eq!(audio(&mut world), Audio { state: State::Ok, finding: None });
    assert_eq!(world.line().call.as_ref().and_then(|call| call.remote()), Some(from));
}

#[test]
fn a_payload_type_that_was_not_agreed_upon() {
    let mut world = answered(|world| world.caller().payload_type = 18);
    world.run_for(ms(1100));
    assert_eq!(finding(&mut world), Some(Finding::OtherPayloadType { came: 18, agreed: 0 }));
}

#[test]
fn a_muted_microphone_and_the_voice_that_comes_after_it() {
    let mut world = answered(|_| {});
    world.run_for(ms(1100));
    assert_eq!(audio(&mut world), Audio { state: State::Quiet, finding: Some(Finding::Muted) });
    assert_eq!(logged(&mut world), [], "a caller may listen for a while");
    world.run_for(ms(5000));
    assert_eq!(logged(&mut world), [Some(Finding::Muted)]);
    world.caller().say(&caller_voice(1000));
    world.run_for(ms(200));
    assert_eq!(audio(&mut world), Audio { state: State::Ok, finding: None });
    assert_eq!(logged(&mut world), [Some(Finding::Muted), None]);
    world.run_for(Duration::from_secs(10));
    assert_eq!(finding(&mut world), None, "a pause is no mute");
    world.run_for(Duration::from_secs(60));
    assert_eq!(finding(&mut world), Some(Finding::Muted));
    assert_eq!(logged(&mut world).len(), 2, "each finding is logged once");
}

#[test]
fn a_hold_is_said_at_once_and_ended_by_the_resume() {
    let mut world = answered(|_| {});
    world.caller().say(&caller_voice(2000));
    world.run_for(ms(1500));
    assert_eq!(finding(&mut world), None);
    let hold = world.caller().description("sendonly");
    reinvite(&mut world, &hold);
    assert_eq!(audio(&mut world), Audio { state: State::Held, finding: Some(Finding::OnHold) });
    let resume = world.caller().description("sendrecv");
    reinvite(&mut world, &resume);
    assert_eq!(finding(&mut world), None);
    world.caller().say(&caller_voice(3000));
    world.run_for(ms(1500));
    assert_eq!(audio(&mut world), Audio { state: State::Ok, finding: None });
}

#[test]
fn the_caller_hears_nothing_by_its_own_reports() {
    let mut world = answered(|_| {});
    world.caller().say(&caller_voice(60_000));
    world.run_for(ms(4000));
    let ours = Ssrc(world.caller().heard[0].ssrc);
    // PJSIP's first report is about SSRC 0; a good one follows.
    report(&mut world, Some(ReportBlock::default()));
    report(&mut world, Some(ReportBlock { ssrc: ours, highest_sequence: 70, ..ReportBlock::default() }));
    world.run_for(ms(5000));
    assert_eq!(finding(&mut world), None);
    for _ in 0..2 {
        // It has heard no more since.
        report(&mut world, Some(ReportBlock { ssrc: ours, highest_sequence: 70, ..ReportBlock::default() }));
        world.run_for(ms(5000));
    }
    let to = world.caller().rtp;
    assert_eq!(audio(&mut world), Audio { state: State::OneWay, finding: Some(Finding::HearsNothing { to }) });
    let heard = ReportBlock { ssrc: ours, highest_sequence: 600, fraction_lost: 9, ..ReportBlock::default() };
    report(&mut world, Some(heard));
    world.run_for(ms(200));
    assert_eq!(audio(&mut world), Audio { state: State::Ok, finding: None });
    let remote = world.line().call.as_ref().and_then(|call| call.remote_inbound()).expect("it has reported");
    assert_eq!(remote.fraction_lost, 9);
}

#[test]
fn audio_that_stops_is_told_from_a_voice_detector() {
    let mut world = answered(|_| {});
    world.caller().say(&caller_voice(1000));
    world.run_for(ms(1500));
    world.caller().sending = false;
    world.run_for(ms(5000));
    assert_eq!(finding(&mut world), None, "a phone may send nothing while nobody speaks");
    world.run_for(ms(1500));
    assert_eq!(finding(&mut world), Some(Finding::Stopped));

    let mut world = answered(|_| {});
    world.run_for(ms(300));
    world.caller().sending = false;
    world.run_for(ms(1500));
    assert_eq!(audio(&mut world), Audio { state: State::Quiet, finding: Some(Finding::Pauses) });
}

#[test]
fn a_caller_with_a_voice_detector_is_not_given_up() {
    let mut world = answered(|_| {});
    for _ in 0..30 {
        // A packet each five seconds, as PJSIP sends in silence.
        world.run_for(ms(20));
        world.caller().sending = false;
        world.run_for(ms(4980));
        let now = world.now;
        world.caller().resume_sending(now);
    }
    assert!(world.line().ended.is_none());
}

#[test]
fn who_only_listens_is_not_given_up_and_rtcp_is_a_sign_of_life() {
    let mut world = answered(|_| {});
    world.run_for(ms(1000));
    let only_listens = world.caller().description("recvonly");
    world.caller().sending = false;
    reinvite(&mut world, &only_listens);
    world.caller().sending = false;
    world.run_for(Duration::from_secs(90));
    assert_eq!(audio(&mut world), Audio { state: State::Silent, finding: Some(Finding::SendsNothing) });
    assert!(world.line().ended.is_none());

    let mut world = answered(|_| {});
    world.run_for(ms(1000));
    world.caller().sending = false;
    for _ in 0..20 {
        world.run_for(Duration::from_secs(5));
        report(&mut world, None);
    }
    assert!(world.line().ended.is_none(), "it reports, so it is there");
    world.run_for(Duration::from_secs(61));
    assert!(world.line().ended.is_some());
    world.run_for(ms(100));
    let (_, bye) = world.caller().requests.last().expect("a BYE").clone();
    assert!(bye.starts_with("BYE") && bye.contains("\r\nReason: ") && bye.contains("no RTP from the peer"), "{bye}");
}
