//! What is kept of calls, by the real binary: while they last, when they are over, and when the engine is killed in their midst.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "telephones live in real time")]

#[path = "support/phone.rs"]
mod phone;
#[path = "support/process.rs"]
mod process;

use offhook::audio::g711::Codec;
use phone::{Phone, Weather};
use process::{ECHO, Offhook, percent_encoded, wait_for};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);

/// A tone of 440 Hz.
fn tone(seconds: f32) -> Vec<i16> {
    let sample = |n: usize| (9000.0 * (std::f32::consts::TAU * 440.0 * n as f32 / 8000.0).sin()) as i16;
    (0..(seconds * 8000.0) as usize).map(sample).collect()
}

fn start(records: &Path, toml: &str) -> Offhook {
    let records = records.to_str().expect("text");
    let env: Vec<_> = ECHO.into_iter().chain([("OFFHOOK_RECORDS", records)]).collect();
    Offhook::start(&env, toml)
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == ending)).collect()
}

fn records(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("cdr.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Left and right of a recording.
fn channels(path: &Path) -> (Vec<i16>, Vec<i16>) {
    let mut wav = hound::WavReader::open(path).expect("a WAV file");
    assert_eq!((wav.spec().channels, wav.spec().sample_rate), (2, 8000));
    let samples: Vec<i16> = wav.samples().map(|sample| sample.expect("whole")).collect();
    samples.chunks_exact(2).map(|both| (both[0], both[1])).unzip()
}

/// Seconds of it that are loud.
fn loud(pcm: &[i16]) -> f64 {
    pcm.chunks(80).filter(|piece| piece.iter().any(|sample| sample.unsigned_abs() > 2000)).count() as f64 / 100.0
}

#[test]
fn a_call_is_recorded_written_down_and_put_on_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("calls");
    let mut offhook = start(&kept, "");
    let weather = Weather { loss: 30, jitter: Duration::from_millis(20), reorder: 20, seed: 5 };
    let phone = Phone::call(offhook.sip(), Codec::Pcma, weather).expect("the call is answered");
    let call_id = phone.call_id().to_owned();
    phone.say(&tone(3.0));
    std::thread::sleep(Duration::from_millis(2000));
    // While it lasts.
    let url = format!("http://{}/api/v1/sip/calls/{}/recording.wav", offhook.api, percent_encoded(&call_id));
    let fetch = |to: &Path, range: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-o"]).arg(to).args(["-w", "%{http_code}", "-r", range]).arg(&url);
        String::from_utf8(curl.output().expect("curl").stdout).expect("text")
    };
    let part = folder.path().join("part.wav");
    assert_eq!(fetch(&part, "0-"), "206");
    assert!(loud(&channels(&part).0) > 1.0, "the caller is in it already");
    assert_eq!(fetch(&part, "0-3"), "206");
    assert_eq!(fs::read(&part).expect("there"), b"RIFF");
    assert_eq!(fetch(&part, "999999999-"), "416");
    assert!(records(&kept).is_empty());
    phone.wait_until(SOON, |phone| !phone.saying());
    std::thread::sleep(Duration::from_millis(4500));
    phone.hang_up();
    let record = wait_for("the record", SOON, || records(&kept).into_iter().next());
    assert_eq!((record["call_id"].as_str(), record["ended"]["by"].as_str()), (Some(&*call_id), Some("caller")));
    assert!(record["quality"]["lost"].as_u64() > Some(0), "{record:#}");
    let mos = record["quality"]["heard_by_agent"]["mos"].as_f64().expect("packets came");
    assert!((2.5..4.4).contains(&mos), "{mos}");
    let wav = kept.join(record["audio"].as_str().expect("a recording"));
    let (caller, agent) = channels(&wav);
    assert!((2.7..3.2).contains(&loud(&caller)), "{} s of 3 s, for loss is concealed", loud(&caller));
    assert!(loud(&agent) > 0.1, "the greeting is on the right: {}", loud(&agent));
    let seconds = caller.len() as f64 / 8000.0;
    assert!((seconds - record["duration_s"].as_f64().expect("a number")).abs() < 0.2, "{seconds}: {record:#}");
    let transcript = kept.join(record["transcript"].as_str().expect("a transcript"));
    let transcript: Value = serde_json::from_slice(&fs::read(transcript).expect("there")).expect("JSON");
    assert_eq!(transcript["call_id"].as_str(), Some(&*call_id));
    assert!(files(&kept, "open").is_empty() && files(&kept, "new").is_empty());
    assert!(offhook.terminate().0.success());
}

#[test]
fn a_killed_engine_leaves_a_recording_that_plays_and_the_next_one_its_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("calls");
    let offhook = start(&kept, "");
    let phone = Phone::call(offhook.sip(), Codec::Pcmu, Weather::default()).expect("the call is answered");
    let call_id = phone.call_id().to_owned();
    phone.say(&tone(30.0));
    std::thread::sleep(Duration::from_millis(4700));
    let lasted = Instant::now() - phone.answered_at;
    let killed = Command::new("kill").args(["-9", &offhook.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    std::thread::sleep(Duration::from_millis(300));
    let wav = files(&kept, "wav").pop().expect("a recording");
    let (caller, _) = channels(&wav);
    let plays = Duration::from_secs_f64(caller.len() as f64 / 8000.0);
    println!("killed {lasted:?} after the answer; the recording plays {plays:?}");
    assert!(lasted < plays + Duration::from_secs(1), "{lasted:?} were recorded and {plays:?} play");
    assert!(plays < lasted + Duration::from_millis(300));
    assert!(loud(&caller) > 3.0, "{}", loud(&caller));
    assert!(records(&kept).is_empty(), "it had no time for that");
    drop((phone, offhook));
    let mut next = start(&kept, "");
    let record = wait_for("the record", SOON, || records(&kept).into_iter().next());
    assert_eq!(record["call_id"].as_str(), Some(&*call_id));
    assert_eq!(
        (record["ended"]["by"].as_str(), record["ended"]["reason"].as_str()),
        (Some("engine"), Some("the engine was stopped"))
    );
    let duration = record["duration_s"].as_f64().expect("a number");
    assert!((duration - plays.as_secs_f64()).abs() < 1.0, "{duration} and {plays:?}");
    assert!(files(&kept, "open").is_empty());
    assert!(next.terminate().0.success());
    assert_eq!(records(&kept).len(), 1);
}

#[test]
fn a_stop_ends_the_records_of_live_calls() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut offhook = start(folder.path(), "[records]\naudio = false\n");
    let phone = Phone::call(offhook.sip(), Codec::Pcmu, Weather::default()).expect("the call is answered");
    std::thread::sleep(Duration::from_millis(500));
    assert!(offhook.terminate().0.success());
    drop(phone);
    let [record] = &records(folder.path())[..] else { panic!("{:?}", records(folder.path())) };
    assert_eq!((record["ended"]["by"].as_str(), record["audio"].as_str()), (Some("engine"), None));
    assert!(files(folder.path(), "wav").is_empty() && files(folder.path(), "open").is_empty());
}

#[test]
fn nothing_is_kept_unless_it_was_asked_for() {
    let offhook = Offhook::start(&ECHO, "");
    let phone = Phone::call(offhook.sip(), Codec::Pcmu, Weather::default()).expect("the call is answered");
    let target = format!("/api/v1/sip/calls/{}/recording.wav", percent_encoded(phone.call_id()));
    assert_eq!(offhook.ask("GET", &target).0, 404);
    phone.hang_up();
    std::thread::sleep(Duration::from_millis(800));
    let left: Vec<_> =
        fs::read_dir(offhook.folder.path()).expect("readable").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["offhook.toml"]);
}
