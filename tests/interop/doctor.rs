//! Calls without sound: the sentence that the API and the log have for each, and PJSIP's round trip by RTCP.

use crate::phone::{Habits, Phone, Weather};
use crate::process::{ECHO, Offhook, percent_encoded, wait_for};
use crate::softphone::Softphone;
use crate::{one_of_two, sound};
use offhook::audio::g711::Codec;
use serde_json::Value;
use std::f64::consts::TAU;
use std::time::{Duration, Instant};

/// What the doctor may take: a second of silence, and a moment for the poll that asks and for a busy machine.
const WITHIN: Duration = Duration::from_millis(1_600);

/// Waits for a cause; returns the whole of `audio` and how long after the answer it was there.
fn diagnosis(offhook: &Offhook, phone: &Phone, cause: &str) -> (Value, Duration) {
    let target = format!("/api/v1/sip/calls/{}", percent_encoded(phone.call_id()));
    wait_for(cause, Duration::from_secs(10), || {
        let audio = offhook.ask("GET", &target).1["audio"].clone();
        (audio["cause"] == cause).then(|| (audio, phone.answered_at.elapsed()))
    })
}

#[test]
fn says_within_a_second_what_is_wrong_and_what_to_do() {
    let offhook = Offhook::start(&ECHO, "");
    let ip = |text: &str| text.parse().expect("an address");
    let cases = [
        (
            Habits { sends: false, ..Habits::default() },
            "nothing_arrives",
            "silent",
            ["no audio has come to UDP port", "firewall"],
        ),
        (
            Habits { described: ip("192.168.1.5"), rtp: ip("127.0.0.2"), ..Habits::default() },
            "other_address",
            "silent",
            ["the phone's description says 192.168.1.5:", "packets come from 127.0.0.2:"],
        ),
        (
            Habits { payload_type: Some(18), ..Habits::default() },
            "other_payload_type",
            "silent",
            ["payload type 18 (G729), but 8 (PCMA) was agreed", "Enabled codecs"],
        ),
        (Habits::default(), "muted", "quiet", ["digital silence", "microphone"]),
    ];
    for (habits, cause, state, words) in cases {
        let phone = Phone::call_as(offhook.sip(), Codec::Pcma, Weather::default(), habits).expect("an answer");
        let (audio, after) = diagnosis(&offhook, &phone, cause);
        eprintln!("{cause} after {} ms: {}", after.as_millis(), audio["finding"]);
        assert!(after < WITHIN, "{after:?}");
        assert_eq!(audio["state"], state, "{audio}");
        let finding = audio["finding"].as_str().expect("a sentence");
        assert!(words.iter().all(|words| finding.contains(words)), "{finding}");
        let listed = &offhook.ask("GET", "/api/v1/sip/calls").1["calls"][0]["audio"];
        assert_eq!(*listed, audio, "the list says the same");
        if cause == "muted" {
            let hello: Vec<i16> =
                (0..8000).map(|n| ((TAU * 300.0 * f64::from(n) / 8000.0).sin() * 8000.0) as i16).collect();
            phone.say(&hello);
            offhook.until_call(phone.call_id(), "audio that flows", |call| call["audio"]["state"] == "ok");
        } else {
            let log = |line: &String| line.contains("no audio: ") && line.contains(&finding[..60]);
            wait_for("one line in the log", Duration::from_secs(5), || offhook.log.all().iter().any(log).then_some(()));
            assert_eq!(offhook.log.all().iter().filter(|line| log(line)).count(), 1);
        }
        phone.hang_up();
    }
    let metrics = crate::process::ask("GET", offhook.api, "/metrics").body;
    for cause in ["nothing_arrives", "other_address", "other_payload_type"] {
        let line = format!("offhook_audio_findings_total{{finding=\"{cause}\"}} 1");
        assert!(metrics.lines().any(|l| l == line), "{line}");
    }
}

#[test]
fn another_address_is_heard_where_the_setting_allows_it() {
    let offhook = Offhook::start(&ECHO, "[media]\nlatch = \"any\"\n");
    let (described, rtp) = ("192.168.1.5".parse().expect("an address"), "127.0.0.2".parse().expect("an address"));
    let habits = Habits { described, rtp, ..Habits::default() };
    let phone = Phone::call_as(offhook.sip(), Codec::Pcma, Weather::default(), habits).expect("an answer");
    let heard = |call: &Value| call["remote"].as_str().is_some_and(|remote| remote.starts_with("127.0.0.2:"));
    offhook.until_call(phone.call_id(), "the latch", heard);
    assert!(phone.wait_until(Duration::from_secs(5), |phone| phone.heard().len() > 20), "and is answered there");
    phone.hang_up();
}

#[test]
fn pjsip_is_muted_then_heard_then_on_hold_and_its_round_trip_is_known() {
    let _cores = one_of_two();
    let offhook = Offhook::start(&ECHO, "");
    let Some(mut phone) = Softphone::open(offhook.sip()) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("said.wav");
    let tone = |n: usize| ((TAU * 300.0 * n as f64 / sound::RATE as f64).sin() * 8000.0) as i16;
    sound::write(&path, &(0..sound::RATE * 2).map(tone).collect::<Vec<_>>());
    phone.register("register");
    let began = Instant::now();
    let call = phone.call("1000");
    offhook.until_call(&call, "a microphone without a sound", |call| call["audio"]["cause"] == "muted");
    phone.tell(&format!("play {}", path.display()));
    offhook.until_call(&call, "audio that flows", |call| call["audio"]["state"] == "ok");
    phone.tell("hold");
    let held = offhook.until_call(&call, "the hold", |call| call["audio"]["state"] == "held");
    assert_eq!((&held["audio"]["cause"], held["state"].as_str()), (&"on_hold".into(), Some("active")), "{held}");
    phone.tell("unhold");
    offhook.until_call(&call, "the end of the hold", |call| call["audio"]["state"] != "held");
    // Reports are five seconds apart at both ends, and the first answer comes after two of them.
    let mut measured = Value::Null;
    while measured.is_null() && began.elapsed() < Duration::from_secs(40) {
        std::thread::sleep(Duration::from_millis(200));
        let quality = offhook.call(&call)["quality"].clone();
        if quality["round_trip_ms"].is_number() {
            measured = quality;
        }
    }
    eprintln!(
        "after {} s: round trip {} ms, remote loss {} %, {} lost, jitter {} ms",
        began.elapsed().as_secs(),
        measured["round_trip_ms"],
        measured["remote_loss_percent"],
        measured["remote_lost"],
        measured["remote_jitter_ms"]
    );
    assert!(measured["round_trip_ms"].as_f64().is_some_and(|ms| (0.0..500.0).contains(&ms)), "{measured}");
    assert!(measured["remote_jitter_ms"].as_f64().is_some_and(|ms| ms < 200.0), "{measured}");
    assert!(measured["remote_lost"].is_i64() && measured["remote_loss_percent"].is_number(), "{measured}");
    let metrics = crate::process::ask("GET", offhook.api, "/metrics").body;
    let count = metrics.lines().find_map(|line| line.strip_prefix("offhook_rtp_round_trip_seconds_count "));
    assert!(count.is_some_and(|count| count != "0"), "{count:?}");
    let shown = offhook.call(&call);
    assert_eq!(shown["state"], "active", "PJSIP's RTCP BYE at a hold ends nothing");
    let turns = shown["turns"].as_array().expect("an array");
    let heard = turns.iter().find(|turn| turn["agent"] == "(speech)").expect("it was answered");
    assert_eq!(
        heard["heard"],
        serde_json::json!({ "words_min": 1, "words_max": 1 }),
        "PJSIP's reports deny nothing: {heard}"
    );
    phone.hang_up();
    phone.close();
}
