//! PJSIP with every codec, packet time and manner of pausing, and keys pressed in the audio: both sides hear each other.

use crate::microsip::{Script, say_to_the_echo};
use crate::process::{ECHO, Offhook, models};
use crate::softphone::Softphone;
use crate::{judged, one_of_two, sound};
use serde_json::Value;
use std::f32::consts::TAU;
use std::path::Path;
use std::time::Duration;

const TEXT: &str = "I would like to hear my own words, please.";

/// Calls the echo agent with a softphone of these settings, says a sentence, and hears it back. `meanwhile` has the call before
/// it is hung up. Returns the call as it was shown when it was over.
fn echoed(settings: &[&str], mut meanwhile: impl FnMut(&Offhook, &mut Softphone, &Script<'_>, &str)) -> Option<Value> {
    judged(|| echoed_once(settings, &mut meanwhile))
}

fn echoed_once(
    settings: &[&str],
    meanwhile: &mut dyn FnMut(&Offhook, &mut Softphone, &Script<'_>, &str),
) -> Option<Value> {
    let models = models()?;
    let _cores = one_of_two();
    let offhook = Offhook::start(&ECHO, "");
    let mut phone = Softphone::open_with(offhook.sip(), settings)?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = Script::new(&models, folder.path());
    let recording = folder.path().join("echo.wav");
    phone.tell(&format!("record {}", recording.display()));
    let call = phone.call("1000");
    say_to_the_echo(&offhook, &mut phone, &script, &call, TEXT);
    meanwhile(&offhook, &mut phone, &script, &call);
    phone.hang_up();
    let over = offhook.until_call(&call, "the end", |call| call["state"] == "ended");
    phone.tell("stop_recording");
    phone.close();
    let heard = heard(&recording, settings);
    let likeness = sound::likeness(sound::trim(&script.pcm(TEXT)), &heard);
    eprintln!("{settings:?}: codec {}, likeness {likeness:.2}, {}", over["codec"], over["quality"]);
    assert!(likeness > 0.8, "{settings:?}: the words did not come back: {likeness:.2}");
    assert_eq!(sound::clicks(&heard), 0, "{settings:?}");
    Some(over)
}

/// What the softphone recorded, at 8 kHz.
fn heard(recording: &Path, settings: &[&str]) -> Vec<i16> {
    let pcm = sound::read(recording);
    if !settings.contains(&"rate=16000") {
        return pcm;
    }
    pcm.chunks_exact(2).map(|two| two[0] / 2 + two[1] / 2).collect()
}

fn count(call: &Value, name: &str) -> u64 {
    call["quality"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {call}"))
}

/// Packets that we send in a second.
fn pace(offhook: &Offhook, call: &str) -> u64 {
    let before = count(&offhook.call(call), "packets_sent");
    std::thread::sleep(Duration::from_secs(2));
    (count(&offhook.call(call), "packets_sent") - before) / 2
}

#[test]
fn speaks_g722() {
    let settings = ["codecs=G722/16000/1,PCMU/8000/1", "rate=16000"];
    let Some(over) = echoed(&settings, |offhook, _, _, call| {
        assert_eq!(offhook.call(call)["codec"], "G722");
    }) else {
        return;
    };
    assert_eq!(count(&over, "lost"), 0, "{over}");
}

#[test]
fn speaks_every_codec_alone() {
    for (setting, codec) in [("codecs=PCMA/8000/1", "PCMA"), ("codecs=PCMU/8000/1", "PCMU")] {
        let Some(over) = echoed(&[setting], |_, _, _, _| {}) else { return };
        assert_eq!(over["codec"], codec, "{over}");
    }
}

#[test]
fn hears_any_packet_time() {
    for (ptime, codecs) in [(10, "PCMA/8000/1"), (30, "PCMU/8000/1"), (60, "PCMA/8000/1"), (40, "G722/16000/1")] {
        let mut rate = 0;
        let settings = [format!("ptime={ptime}"), format!("codecs={codecs}")];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let Some(over) = echoed(&settings, |offhook, _, _, call| rate = pace(offhook, call)) else { return };
        // PJSIP offers no ptime, whatever it sends: then ours is 20 ms, 50 a second and not 25 or 100, on a busy machine too.
        assert!((35..=75).contains(&rate), "{rate} packets a second");
        assert_eq!(count(&over, "lost"), 0, "{over}");
    }
}

#[test]
fn goes_on_with_a_caller_who_sends_nothing_in_silence() {
    let Some(over) = echoed(&["vad=on"], |offhook, phone, script, call| {
        let before = count(&offhook.call(call), "packets_received");
        std::thread::sleep(Duration::from_secs(7));
        let paused = count(&offhook.call(call), "packets_received") - before;
        assert!(paused < 150, "{paused} packets in 7 s: it does not pause");
        let turns = offhook.call(call)["turns"].as_array().map_or(0, Vec::len);
        script.say(phone, TEXT);
        offhook.until_call(call, "the echo after a pause", |call| {
            call["turns"].as_array().is_some_and(|all| all.len() > turns && all[all.len() - 1]["agent"] != "")
        });
    }) else {
        return;
    };
    assert_eq!(count(&over, "lost"), 0, "{over}");
}

/// The tones of keys, 100 ms each, 100 ms apart.
fn tones(keys: &str) -> Vec<i16> {
    const KEYPAD: [&str; 4] = ["123A", "456B", "789C", "*0#D"];
    let mut pcm = vec![0; sound::RATE / 5];
    for key in keys.chars() {
        let (row, line) = KEYPAD.iter().enumerate().find(|(_, line)| line.contains(key)).expect("a key");
        let column = line.find(key).expect("it is there");
        let tones = [[697.0, 770.0, 852.0, 941.0][row], [1209.0, 1336.0, 1477.0, 1633.0][column]];
        pcm.extend((0..sound::RATE / 10).map(|n| {
            let sample = |hz: f32| 5000.0 * (TAU * hz * n as f32 / sound::RATE as f32).sin();
            tones.into_iter().map(sample).sum::<f32>() as i16
        }));
        pcm.extend(vec![0; sound::RATE / 10]);
    }
    pcm.extend(vec![0; sound::RATE / 2]);
    pcm
}

#[test]
fn hears_keys_in_the_audio_and_each_key_once() {
    for codecs in ["codecs=PCMU/8000/1", "codecs=G722/16000/1"] {
        let Some(_) = echoed(&[codecs], |offhook, phone, _, call| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("keys.wav");
            sound::write(&path, &tones("1590*#"));
            phone.tell(&format!("play {}", path.display()));
            offhook.turn(call, "keys in the audio", |turn| turn["caller"] == "(pressed 1590*)");
            std::thread::sleep(Duration::from_secs(2));
            // One press, by all three ways at once.
            sound::write(&path, &tones("7"));
            phone.tell(&format!("play {}", path.display()));
            phone.tell("dtmf 7");
            phone.tell("info 7");
            offhook.turn(call, "a key by three ways", |turn| turn["caller"] == "(pressed 7)");
        }) else {
            return;
        };
    }
}
