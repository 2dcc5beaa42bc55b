//! baresip: another telephone of other authors, driven by its keyboard.

use crate::process::{ECHO, Kept, Lines, Offhook, there_is, wait_for};
use crate::{one_of_two, sound};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const MODULES: &str = "/usr/lib/baresip/modules";

fn settings(folder: &Path, offhook: &Offhook, account: &str) {
    let tone: Vec<i16> = (0..60 * sound::RATE).map(|n| if n % 8 < 4 { 40 } else { -40 }).collect();
    sound::write(&folder.join("quiet.wav"), &tone);
    let dir = folder.display();
    let config = format!(
        "poll_method epoll\nsip_listen 127.0.0.1:0\naudio_source aufile,{dir}/quiet.wav\naudio_player aubridge,nowhere\n\
         audio_alert aubridge,nowhere\nausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1\n\
         rtp_ports 33000-33100\nmodule_path {MODULES}\nmodule stdio.so\nmodule g711.so\nmodule aufile.so\nmodule aubridge.so\n\
         module sndfile.so\nsnd_path {dir}/heard\n\
         module_app account.so\nmodule_app contact.so\nmodule_app menu.so\nmodule srtp.so\n"
    );
    std::fs::create_dir(folder.join("heard")).expect("a folder");
    std::fs::write(folder.join("config"), config).expect("a file");
    let server = offhook.sip();
    std::fs::write(
        folder.join("accounts"),
        format!("<sip:bob@{server}>;auth_user=bob;auth_pass=x;regint=60{account}\n"),
    )
    .expect("a file");
    std::fs::write(folder.join("contacts"), "").expect("a file");
}

#[test]
fn registers_calls_hears_and_hangs_up() {
    assert!(talks("").is_none_or(|over| over["srtp"].is_null()));
}

#[test]
fn calls_in_srtp_where_it_insists() {
    assert!(talks(";mediaenc=srtp-mand").is_none_or(|over| over["srtp"] == "AES_CM_128_HMAC_SHA1_80"));
}

#[test]
fn calls_in_srtp_where_it_can_be_had() {
    assert!(talks(";mediaenc=srtp").is_none_or(|over| over["srtp"] == "AES_CM_128_HMAC_SHA1_80"));
}

/// A whole call with these parameters of its account; returns what is known of it at its end, or `None` without baresip.
fn talks(account: &str) -> Option<serde_json::Value> {
    if !there_is("baresip", "baresip-core") {
        return None;
    }
    let _cores = one_of_two();
    let offhook = Offhook::start(&ECHO, "");
    let folder = tempfile::tempdir().expect("a temporary folder");
    settings(folder.path(), &offhook, account);
    let mut command = Command::new("baresip");
    command
        .current_dir(folder.path())
        .arg("-f")
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut process = Kept(command.spawn().expect("baresip runs"));
    let said = Lines::of(process.0.stdout.take().expect("it is piped"));
    let mut keys = process.0.stdin.take().expect("it is piped");
    let status = || offhook.ask("GET", "/api/v1/sip/status").1;
    wait_for("baresip's registration", Duration::from_secs(15), || (status()["registrations"] == 1).then_some(()));

    writeln!(keys, "/dial sip:1000@{}", offhook.sip()).expect("it reads");
    let call_id = wait_for("baresip's call", Duration::from_secs(10), || {
        offhook.ask("GET", "/api/v1/sip/calls").1["calls"][0]["call_id"].as_str().map(ToOwned::to_owned)
    });
    let greeted = offhook.turn(&call_id, "the chime", |turn| turn["turn"] == 0 && turn["agent"] != "");
    assert_eq!(greeted["interrupted"], false, "{greeted}");
    std::thread::sleep(Duration::from_millis(500));
    writeln!(keys, "/hangup").expect("it reads");
    let over = offhook.until_call(&call_id, "the end", |call| call["state"] == "ended");
    assert_eq!(over["ended"]["by"], "caller", "{over}\n{}", said.all().join("\n"));
    assert!(over["quality"]["packets_received"].as_u64().is_some_and(|packets| packets > 20), "{over}");

    // Its file of what it heard is whole once it has ended, which also takes back the registration.
    writeln!(keys, "/quit").expect("it reads");
    process.wait("baresip's end", Duration::from_secs(10));
    assert_eq!(status()["registrations"], 0);
    let files =
        std::fs::read_dir(folder.path().join("heard")).expect("a folder").map(|file| file.expect("a file").path());
    // What sndfile calls decoded is what was heard.
    let heard = files.into_iter().find(|path| path.to_string_lossy().ends_with("-dec.wav")).expect("a recording");
    let heard = sound::read(&heard);
    assert!(sound::loud_ms(&heard) >= 200, "baresip heard {} ms of the chime", sound::loud_ms(&heard));
    Some(over)
}
