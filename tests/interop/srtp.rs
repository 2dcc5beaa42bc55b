//! Telephones that encrypt their media, PJSIP and baresip: both directions heard, over a hold, in each suite, and refused where
//! the two sides cannot agree.

use crate::microsip::hold_and_unhold;
use crate::process::{ECHO, Offhook};
use crate::softphone::Softphone;
use crate::{judged, one_of_two, sound};
use std::f32::consts::TAU;
use std::path::Path;

/// Four syllables of a voice of 125 Hz, unlike one another, so that an echo can be told from anything else.
fn syllables() -> Vec<i16> {
    const SYLLABLES: [(usize, f32); 4] = [(300, 4000.0), (160, 7000.0), (420, 2500.0), (240, 6000.0)];
    let tone = |n: usize, level: f32| {
        let phase = (n % 64) as f32 / 64.0;
        (level * (1..24u8).map(|k| (TAU * phase * f32::from(k)).sin() / f32::from(k)).sum::<f32>() / 2.0) as i16
    };
    let mut pcm = Vec::new();
    for (millis, level) in SYLLABLES {
        pcm.extend((0..millis * sound::RATE / 1000).map(|n| tone(n, level)));
        pcm.extend(vec![0; sound::RATE * 6 / 100]);
    }
    pcm
}

fn say(phone: &mut Softphone, folder: &Path) {
    let silence = |millis: usize| vec![0; sound::RATE * millis / 1000];
    let path = folder.join("said.wav");
    sound::write(&path, &[silence(100), syllables(), silence(1500)].concat());
    phone.tell(&format!("play {}", path.display()));
}

/// A call in which the caller hears itself, is on hold, and hears itself again; the engine says `suite` of it.
fn talks(settings: &[&str], toml: &str, suite: &str) {
    judged(|| talks_once(settings, toml, suite));
}

fn talks_once(settings: &[&str], toml: &str, suite: &str) {
    let _cores = one_of_two();
    let offhook = Offhook::start(&ECHO, toml);
    let Some(mut phone) = Softphone::open_with(offhook.sip(), settings) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    phone.register("register");
    let call = phone.call("1000");
    assert_eq!(offhook.call(&call)["srtp"], suite);
    offhook.turn(&call, "the chime", |turn| turn["turn"] == 0 && turn["agent"] != "");
    let heard_again = |phone: &mut Softphone, after: u64| {
        let recording = folder.path().join(format!("echo-{after}.wav"));
        phone.tell(&format!("record {}", recording.display()));
        say(phone, folder.path());
        let turn = offhook.turn(&call, "the echo", |turn| {
            turn["turn"].as_u64().is_some_and(|turn| turn > after) && turn["agent"] != ""
        });
        phone.tell("stop_recording");
        (recording, turn["turn"].as_u64().expect("a number"))
    };
    let (first, turn) = heard_again(&mut phone, 0);
    hold_and_unhold(&offhook, &mut phone, &call);
    assert_eq!(offhook.call(&call)["srtp"], suite, "after the hold");
    let (second, _) = heard_again(&mut phone, turn);
    phone.hang_up();
    let over = offhook.until_call(&call, "the end", |call| call["state"] == "ended");
    assert_eq!(over["ended"]["by"], "caller", "{over}");
    assert_eq!(over["quality"]["discarded"], 0, "packets were refused: {over}");
    // It comes of reports both ways: the phone could read ours, and we its own.
    assert!(over["quality"]["round_trip_ms"].is_number(), "no RTCP was read: {over}");
    phone.register("unregister");
    phone.close();
    for recording in [first, second] {
        let likeness = sound::likeness(sound::trim(&syllables()), &sound::read(&recording));
        eprintln!("{settings:?}: likeness {likeness:.2}");
        assert!(likeness > 0.85, "{settings:?}: the words did not come back: {likeness:.2}");
    }
    let log = offhook.log.all().join("\n");
    assert_eq!(log.matches("its SRTP keys came over UDP").count(), 1, "{log}");
    assert!(!log.contains("inline:"), "a key is in the log");
}

/// A call that is refused with 488.
fn refused(settings: &[&str], toml: &str) {
    let _cores = one_of_two();
    let offhook = Offhook::start(&ECHO, toml);
    let Some(mut phone) = Softphone::open_with(offhook.sip(), settings) else { return };
    phone.tell("call 1000");
    let event = phone.expect("an answer to INVITE", |event| event["state"] == "DISCONNECTED");
    assert_eq!(event["code"], 488, "{event}");
    phone.close();
}

#[test]
fn pjsip_that_offers_srtp_talks_in_its_first_suite() {
    talks(&["srtp=1"], "", "AES_256_CM_HMAC_SHA1_80");
}

#[test]
fn pjsip_that_insists_on_srtp_talks_in_its_first_suite() {
    talks(&["srtp=2"], "[media]\nsrtp = \"mandatory\"\n", "AES_256_CM_HMAC_SHA1_80");
}

#[test]
fn pjsip_talks_in_each_other_suite() {
    for suite in ["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AES_256_CM_HMAC_SHA1_32"] {
        talks(&["srtp=2", &format!("suite={suite}")], "", suite);
    }
}

#[test]
fn who_insists_is_refused_by_who_does_not_encrypt_and_the_other_way_round() {
    refused(&["srtp=2"], "[media]\nsrtp = \"off\"\n");
    refused(&["srtp=0"], "[media]\nsrtp = \"mandatory\"\n");
}
