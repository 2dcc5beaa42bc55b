//! `offhook call`, the telephone in the box: it calls this agent, with and without a password, and PJSIP, and says how long replies took.

use crate::alone;
use crate::process::{ECHO, Offhook, command, models};
use crate::softphone::Softphone;
use serde_json::Value;
use std::f64::consts::TAU;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A recording of 600 ms that has the level and the rise and fall of a voice.
fn recording(folder: &Path) -> PathBuf {
    let path = folder.join("voice.wav");
    let spec =
        hound::WavSpec { channels: 1, sample_rate: 8000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut wav = hound::WavWriter::create(&path, spec).expect("a file");
    for n in 0..4800 {
        let t = f64::from(n) / 8000.0;
        let voiced: f64 = (1..20).map(|k| (TAU * 125.0 * f64::from(k) * t).sin() / f64::from(k)).sum();
        wav.write_sample((4000.0 * voiced * (0.8 + 0.2 * (TAU * 4.0 * t).sin())) as i16).expect("written");
    }
    wav.finalize().expect("written");
    path
}

/// Runs `offhook call` in a folder of its own.
fn call(folder: &TempDir, args: &[&str], password: Option<&str>) -> Output {
    let mut call: Command = command(folder.path());
    call.arg("call").args(args);
    if let Some(password) = password {
        call.env("OFFHOOK_CALL_PASSWORD", password);
    }
    call.output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The report of a call; it succeeded where a reply was measured.
fn report(output: &Output) -> Value {
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)));
    let reported = report["results"]["n_reported"].as_u64().expect("a count");
    assert_eq!(output.status.success(), reported > 0, "{report:#}{}", text(&output.stderr));
    report
}

#[test]
fn an_agent_that_asks_for_a_password_is_called_and_its_replies_are_measured() {
    let offhook = Offhook::start(&ECHO, "[[sip.accounts]]\nuser = \"agent001\"\npassword = \"correct horse\"\n");
    let folder = TempDir::new().expect("a folder");
    let wav = recording(folder.path());
    let uri = format!("sip:1000@{}", offhook.sip());
    let args = [uri.as_str(), "--wav", wav.to_str().expect("a path"), "--turns", "2", "--json"];
    let report = report(&call(&folder, &args, Some("correct horse")));
    assert_eq!(report["schema"], "mrl-report/1");
    assert_eq!(report["results"]["n_attempted"], 2, "{report:#}");
    // A machine that is busy may keep the telephone from its own time, which it then says; but it never loses a figure silently.
    let (reported, discarded) = (&report["results"]["n_reported"], &report["results"]["n_discarded"]);
    assert_eq!(reported.as_u64().zip(discarded.as_u64()).map(|(a, b)| a + b), Some(2), "{report:#}");
    let recorded = hound::WavReader::open(folder.path().join("offhook-call.wav")).expect("a recording");
    assert_eq!((recorded.spec().channels, recorded.spec().sample_rate), (2, 8000));
    let (left, right) =
        recorded.into_samples::<i16>().map(|sample| i64::from(sample.expect("a sample")).abs()).enumerate().fold(
            (0, 0),
            |(left, right), (n, level)| if n % 2 == 0 { (left + level, right) } else { (left, right + level) },
        );
    assert!(left > 1_000_000 && right > 1_000_000, "caller {left}, agent {right}");
    // The call and the registration are over.
    assert_eq!(offhook.ask("GET", "/api/v1/sip/calls").1["count"], 0);
    assert_eq!(offhook.ask("GET", "/api/v1/sip/status").1["registrations"], 0);
}

#[test]
fn what_keeps_a_call_from_being_made_is_said_in_a_line_with_its_cure() {
    let offhook = Offhook::start(&ECHO, "[[sip.accounts]]\nuser = \"agent001\"\npassword = \"correct horse\"\n");
    let folder = TempDir::new().expect("a folder");
    let wav = recording(folder.path());
    let wav = wav.to_str().expect("a path");
    let uri = format!("sip:1000@{}", offhook.sip());
    for (args, password, said) in [
        (vec![uri.as_str(), "--wav", wav], None, "OFFHOOK_CALL_PASSWORD"),
        (vec![uri.as_str(), "--wav", wav], Some("wrong"), "wrong user name or password"),
        (vec!["sip:1000@127.0.0.1:1", "--wav", wav], None, "nobody listens"),
    ] {
        let output = call(&folder, &args, password);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.lines().last().is_some_and(|line| line.starts_with("offhook: ") && line.contains(said)),
            "{stderr}"
        );
    }
    let output = call(&folder, &[uri.as_str(), "--turns", "0"], None);
    assert_eq!((output.status.code(), text(&output.stderr).lines().count()), (Some(2), 1));
}

#[test]
fn another_sip_agent_is_called_too() {
    let offhook = Offhook::start(&ECHO, "");
    let Some(mut peer) = Softphone::open_with(offhook.sip(), &["bind=127.0.0.1", "user=agent002"]) else { return };
    let folder = TempDir::new().expect("a folder");
    let wav = recording(folder.path());
    let uri = format!("sip:agent002@{}", peer.address);
    let args = [uri.as_str(), "--wav", wav.to_str().expect("a path"), "--no-register", "--json", "--no-record"];
    let output = call(&folder, &args, None);
    peer.expect("a call", |event| event["event"] == "call" && event["state"] == "CONFIRMED");
    // PJSIP answers, and says nothing: there is a report, and no figure in it.
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    assert_eq!(report["results"]["n_attempted"], 1, "{report:#}");
    assert!(!folder.path().join("offhook-call.wav").exists());
    peer.close();
}

#[test]
fn the_demo_talks_with_itself() {
    let Some(models) = models() else { return };
    let _cores = alone();
    let folder = TempDir::new().expect("a folder");
    let mut demo = command(folder.path());
    demo.env("OFFHOOK_MODELS", models).args(["demo", "--say", "When are you open?"]);
    let output = demo.output().expect("it runs");
    let said = text(&output.stdout);
    // A call of which this machine was too busy to take a figure is a call all the same.
    let is_measured = output.status.success() || said.contains("this machine was too busy");
    assert!(is_measured, "{said}{}", text(&output.stderr));
    for line in ["heard  \"", "end_of_turn", "unexplained", "agent  greets after", "replies measured, mouth to ear"] {
        assert!(said.contains(line), "{line}: {said}");
    }
}
