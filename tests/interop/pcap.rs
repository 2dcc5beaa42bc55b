//! A call's packet capture, read by Wireshark's own tshark: the ladder, the streams, as many packets as the call counted.

use crate::one_of_two;
use crate::process::{ECHO, Offhook, percent_encoded, there_is, wait_for};
use crate::softphone::Softphone;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Returns what tshark says of the file, line by line.
fn tshark(file: &Path, args: &[&str]) -> Vec<String> {
    let output = Command::new("tshark").arg("-r").arg(file).arg("-n").args(args).output().expect("tshark runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

/// The start lines of a file's messages, each behind who sent it.
fn ladder(file: &Path, offhook: &Offhook) -> Vec<String> {
    let fields = ["-Y", "sip", "-T", "fields", "-e", "udp.srcport", "-e", "sip.Method", "-e", "sip.Status-Code"];
    let ours = offhook.sip().port().to_string();
    let line = |line: &String| {
        let words: Vec<_> = line.split('\t').collect();
        let who = if words[0] == ours { "offhook" } else { "phone" };
        format!("{who} {}", words[1..].concat())
    };
    tshark(file, &fields).iter().map(line).collect()
}

fn fetch(offhook: &Offhook, call_id: &str, to: &Path) {
    let target = format!("/api/v1/sip/calls/{}/packets.pcap", percent_encoded(call_id));
    let url = format!("http://{}{target}", offhook.api);
    let fetched = Command::new("curl").args(["-sSf", "-o"]).arg(to).arg(url).status().expect("curl");
    assert!(fetched.success());
}

/// Fetches the file of a call that is over, once its last message is in it.
fn whole(offhook: &Offhook, call_id: &str, to: &Path) -> Vec<String> {
    wait_for("the answer to BYE", Duration::from_secs(10), || {
        fetch(offhook, call_id, to);
        let ladder = ladder(to, offhook);
        let bye = ladder.iter().position(|line| line.ends_with(" BYE"))?;
        ladder[bye..].iter().any(|line| line.ends_with(" 200")).then_some(ladder)
    })
}

#[test]
fn tshark_counts_what_the_call_counted() {
    let _cores = one_of_two();
    let records = tempfile::tempdir().expect("a folder");
    let env: Vec<_> = ECHO.into_iter().chain([("OFFHOOK_RECORDS", records.path().to_str().expect("text"))]).collect();
    let offhook = Offhook::start(&env, "[records]\naudio = false\npcap = true\n");
    let Some(mut phone) = Softphone::open(offhook.sip()) else { return };
    if !there_is("tshark", "tshark") {
        return;
    }
    phone.register("register");
    let call = phone.call("1000");
    offhook.turn(&call, "the chime", |turn| turn["turn"] == 0 && turn["agent"] != "");
    std::thread::sleep(Duration::from_secs(6));
    phone.hang_up();
    let over = offhook.until_call(&call, "the end", |call| call["state"] == "ended");
    let file = records.path().join("fetched.pcap");
    let ladder = whole(&offhook, &call, &file);
    for line in &ladder {
        println!("{line}");
    }
    let start = ["phone INVITE", "offhook 100", "offhook 180", "offhook 200", "phone ACK"];
    assert_eq!(ladder.get(..5).expect("a ladder"), start);
    assert_eq!(ladder.get(ladder.len() - 2..), Some(&["phone BYE".to_owned(), "offhook 200".to_owned()][..]));
    assert_eq!(tshark(&file, &["-Y", "_ws.malformed"]), Vec::<String>::new());
    // Each stream by the description that came before it, with what tshark found wrong.
    let sent = |port: &str| tshark(&file, &["-Y", &format!("rtp && udp.srcport == {port}")]).len() as u64;
    let port = over["rtp_port"].to_string();
    let streams = tshark(&file, &["-q", "-z", "rtp,streams"]);
    println!("{}", streams.join("\n"));
    let streams: Vec<_> = streams.iter().filter(|line| line.contains("0x")).collect();
    assert_eq!(streams.len(), 2, "one each way");
    assert!(streams.iter().all(|line| line.contains(" 0 (0.0%)")), "none is lost");
    let all = tshark(&file, &["-Y", "rtp"]).len() as u64;
    let quality = &over["quality"];
    assert_eq!(quality["packets_sent"].as_u64(), Some(sent(&port)), "{quality}");
    // What came before the call took its first packet, or was refused, counts elsewhere.
    let refused = quality["discarded"].as_u64().unwrap_or(0);
    assert_eq!(quality["packets_received"].as_u64().map(|count| count + refused), Some(all - sent(&port)), "{quality}");
    assert!(all > 500, "{all} packets in six seconds");
    assert!(!tshark(&file, &["-Y", "rtcp"]).is_empty());
    phone.close();
}

#[test]
fn a_capture_that_is_asked_for_late_has_the_invite_and_no_secret() {
    let _cores = one_of_two();
    let records = tempfile::tempdir().expect("a folder");
    let env: Vec<_> = ECHO.into_iter().chain([("OFFHOOK_RECORDS", records.path().to_str().expect("text"))]).collect();
    let toml = "[records]\naudio = false\n[[sip.accounts]]\nuser = \"ann\"\npassword = \"her-secret\"\n";
    let offhook = Offhook::start(&env, toml);
    let Some(mut phone) = Softphone::open_with(offhook.sip(), &["srtp=2", "user=ann", "password=her-secret"]) else {
        return;
    };
    if !there_is("tshark", "tshark") {
        return;
    }
    let call = phone.call("1000");
    let target = format!("/api/v1/sip/calls/{}/packets.pcap", percent_encoded(&call));
    assert_eq!(offhook.ask("GET", &target).0, 404);
    std::thread::sleep(Duration::from_secs(1));
    let (status, body) = offhook.ask("POST", &target);
    assert_eq!((status, &body["status"]), (200, &"capturing".into()));
    std::thread::sleep(Duration::from_secs(2));
    phone.hang_up();
    offhook.until_call(&call, "the end", |call| call["state"] == "ended");
    let file = records.path().join("fetched.pcap");
    let ladder = whole(&offhook, &call, &file);
    let start =
        ["phone INVITE", "offhook 401", "phone ACK", "phone INVITE", "offhook 100", "offhook 180", "offhook 200"];
    assert_eq!(ladder.get(..start.len()).expect("a ladder"), start);
    assert_eq!(tshark(&file, &["-Y", "_ws.malformed"]), Vec::<String>::new());
    assert!(tshark(&file, &["-Y", "rtp"]).len() > 150);
    let text = String::from_utf8_lossy(&std::fs::read(&file).expect("there")).into_owned();
    let keys: Vec<_> = text.split("inline:").skip(1).filter_map(|rest| rest.split(['|', '\r', ' ']).next()).collect();
    assert!(keys.len() >= 2 && keys.iter().all(|key| key.len() >= 40 && key.bytes().all(|b| b == b'x')), "{keys:?}");
    let response = text.split(" response=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("credentials");
    assert!(response.len() >= 32 && response.bytes().all(|b| b == b'x'), "{response}");
    assert_eq!(offhook.ask("POST", &target).0, 404, "it is over");
    phone.close();
}
