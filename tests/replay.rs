//! A call that was captured, with a bad line and cloud providers, runs again offline and makes the same packets, byte for byte.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "the call that is captured lives in real time")]

#[path = "support/engine.rs"]
mod engine;
#[path = "support/phone.rs"]
mod phone;
#[path = "standin/mod.rs"]
mod standin;
#[path = "support/voice.rs"]
mod voice;

use offhook::audio::g711::Codec;
use offhook::capture::{self, ABOUT_FILE, AGENT_FILE, Check, MEDIA_FILE, agent};
use offhook::config::{Replay, WhatIf};
use offhook::control::Bridge;
use offhook::replay;
use phone::{Phone, Weather};
use standin::{KEY, cartesia, flux, groq};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// How long anything is waited for; only a test that fails takes as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Has a call of three turns over a bad line, of which the caller cuts the last, and returns the folder of its capture.
fn captured(dir: &TempDir) -> PathBuf {
    let millis = Duration::from_millis;
    let (_flux, _, flux_url) = flux::start(flux::Plan {
        end_after: millis(250),
        eager_after: Some(millis(100)),
        misses: 0.3,
        ..flux::Plan::default()
    });
    let (_groq, _, groq_url) = groq::start(groq::Plan { first_token: millis(60), ..groq::Plan::default() });
    let (_cartesia, _, cartesia_url) =
        cartesia::start(cartesia::Plan { first_audio: millis(60), ..cartesia::Plan::default() });
    let mut env = standin::env(flux_url, groq_url, cartesia_url);
    env.extend([("OFFHOOK_LOG", "error".to_owned()), ("OFFHOOK_MODELS", "no-models".to_owned())]);
    let folder = dir.path().join("captures");
    let (engine, server) = engine::start(&["--capture", folder.to_str().expect("a path")], &env);
    let weather = Weather { loss: 20, jitter: millis(30), reorder: 20, seed: 7 };
    let phone = Phone::call(server, Codec::Pcmu, weather).expect("an answer");
    assert!(phone.wait_until(PATIENCE, |phone| phone.last_loud().is_some()), "a greeting");
    for turn in 0..3 {
        if turn < 2 {
            assert!(phone.wait_until(PATIENCE, |phone| phone.quiet_for(millis(300))), "it stops");
        }
        phone.say(&voice::speech());
        assert!(phone.wait_until(PATIENCE, |phone| !phone.saying()));
        let said = phone.last_loud_sent().expect("it was loud");
        assert!(phone.wait_until(PATIENCE, |phone| phone.first_loud_after(said).is_some()), "a reply");
    }
    phone.hang_up();
    engine.stop();
    let mut captures = fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let path = captures.next().expect("a capture");
    assert_eq!(captures.next(), None);
    path
}

/// Replays a capture; returns whether it is the same, and what was told.
fn replayed(folder: &Path) -> (bool, String) {
    let mut told = String::new();
    let wanted = Replay { folder: folder.to_owned(), what_if: None };
    let same = replay::run(&wanted, &mut |line| told += &format!("{line}\n"));
    (same.expect("it can be run"), told)
}

/// Runs a capture with other settings: what they govern is another, and the rest is not.
fn assert_tries_out(folder: &Path) {
    let tried = |what_if: WhatIf| {
        let mut told = Vec::new();
        let wanted = Replay { folder: folder.to_owned(), what_if: Some(what_if) };
        let same = replay::run(&wanted, &mut |line| told.push(line.to_owned()));
        assert!(same.expect("it can be run"), "{told:#?}");
        println!("{}", told.join("\n"));
        told
    };
    let row = |told: &[String], name: &str| {
        let line = told.iter().find(|line| line.contains(name)).expect("it is told").clone();
        let figures = line.split_once(" was ").and_then(|(_, rest)| rest.split_once("would be"));
        figures.map(|(was, is)| (was.trim().to_owned(), is.trim().to_owned())).expect("two figures")
    };
    let unchanged = tried(WhatIf::default());
    let impatient = tried(WhatIf { gap: Some(Duration::ZERO), ..WhatIf::default() });
    let (was, is) = row(&unchanged, "replies cut by the caller");
    assert_eq!(was, is, "nothing else was tried");
    let (was, is) = row(&impatient, "gaps waited for, in all");
    assert!(was != "0.0 ms" && is == "0.0 ms", "{was} {is}");
    assert_tries_thresholds(&tried);
    let undrafted = tried(WhatIf { speculation_off: true, ..WhatIf::default() });
    assert!(undrafted.iter().any(|line| line.contains("drafts begun") && line.ends_with(" 0")), "{undrafted:#?}");
}

/// Tries out how sure the recogniser is to be.
fn assert_tries_thresholds(tried: &dyn Fn(WhatIf) -> Vec<String>) {
    let count = |told: &[String], name: &str| {
        let line = told.iter().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no {name}: {told:#?}"));
        let number = |text: &str| text.split_whitespace().next().and_then(|word| word.parse::<usize>().ok());
        let (was, is) =
            line.split_once(" was ").and_then(|(_, rest)| rest.split_once("would be")).expect("two figures");
        number(was).zip(number(is)).expect("numbers")
    };
    // The stand-in is ever surer while the caller is silent: a little less than the first threshold it always was, and 0.9 it
    // never is.
    let as_it_was = tried(WhatIf { eager: Some(35), ..WhatIf::default() });
    let (was, is) = count(&as_it_was, "drafts begun");
    assert!(was >= 1 && is >= was, "{as_it_was:#?}");
    let never = tried(WhatIf { eager: Some(90), ..WhatIf::default() });
    assert_eq!(count(&never, "drafts begun").1, 0, "{never:#?}");
    assert_eq!(count(&never, "tokens for nothing").1, 0);
    let sure = tried(WhatIf { eot: Some(95), ..WhatIf::default() });
    assert!(count(&sure, "turns ended later").1 >= 2, "{sure:#?}");
}

/// Makes a capture into what version 0.1 wrote, and tries a threshold on it.
fn assert_an_old_capture_says_what_it_cannot(folder: &Path) {
    let old = TempDir::new().expect("a folder");
    for file in [MEDIA_FILE, ABOUT_FILE] {
        let text = fs::read_to_string(folder.join(file)).expect("a file");
        fs::write(old.path().join(file), text.replace("\"format\": 2", "\"format\": 1")).expect("written");
    }
    let (entries, _) = capture::read::<agent::Entry>(&fs::read(folder.join(AGENT_FILE)).expect("a log"));
    let mut check = Check::default();
    let old_entries = entries.iter().filter(|entry| !matches!(entry, agent::Entry::Confidence { .. }));
    let log: String = old_entries.chain([&agent::Entry::End]).filter_map(|entry| check.line(entry)).collect();
    fs::write(old.path().join(AGENT_FILE), log).expect("written");
    let mut told = String::new();
    let what_if = Some(WhatIf { eager: Some(30), ..WhatIf::default() });
    let wanted = Replay { folder: old.path().to_owned(), what_if };
    let same = replay::run(&wanted, &mut |line| told += &format!("{line}\n"));
    assert!(same.expect("it can be run"), "{told}");
    assert!(told.contains("eager and eot cannot be tried: the capture is of format 1"), "{told}");
}

#[test]
fn a_captured_call_is_replayed_byte_for_byte_and_every_damage_is_noticed() {
    let dir = TempDir::new().expect("a folder");
    let path = captured(&dir);
    let (same, told) = replayed(&path);
    println!("{told}");
    assert!(same, "{told}");
    assert!(told.contains("packets, identical\n") && told.contains("orders, identical\n"), "{told}");
    // Nobody else may read what was said.
    for entry in fs::read_dir(&path).expect("a folder") {
        let entry = entry.expect("an entry");
        assert_eq!(entry.metadata().expect("its mode").permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        let text = fs::read_to_string(entry.path()).expect("text");
        assert!(!text.contains(KEY), "a key is in {:?}", entry.path());
    }
    assert_tries_out(&path);
    assert_an_old_capture_says_what_it_cannot(&path);
    for file in [MEDIA_FILE, AGENT_FILE] {
        let whole = fs::read(path.join(file)).expect("a log");
        assert!(whole.len() > 10_000, "{} bytes", whole.len());
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..5 {
            let mut log = whole.clone();
            let at = rng.usize(..log.len());
            log[at] ^= 1 << rng.u32(..8);
            fs::write(path.join(file), log).expect("written");
            let (same, told) = replayed(&path);
            assert!(!same && told.contains("damaged in line"), "byte {at} of {file}: {told}");
        }
        // As a process leaves it that is killed: it is good as far as it goes.
        for _ in 0..5 {
            fs::write(path.join(file), &whole[..rng.usize(whole.len() / 2..whole.len())]).expect("written");
            let (same, told) = replayed(&path);
            assert!(same && told.contains("the log is cut off"), "{told}");
        }
        fs::write(path.join(file), whole).expect("written");
    }
}
