//! SIPp: many calls in a row, a recorded caller, and callers who do what goes wrong on networks (`sipp/`, a scenario each).

use crate::process::{ECHO, Kept, Offhook, there_is, wait_for};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const PCAPS: &str = "/usr/share/sip-tester";

fn sipp(offhook: &Offhook, folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("sipp");
    command.current_dir(folder).args(args).arg(offhook.sip().to_string());
    command.args(["-i", "127.0.0.1", "-s", "1000", "-nostdin", "-timeout_error"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn two_hundred_calls_at_fifty_a_second_are_all_answered() {
    all_are_answered("u1", 200, 50);
}

#[test]
fn twenty_calls_over_one_connection_are_all_answered() {
    all_are_answered("t1", 20, 10);
}

#[test]
fn twenty_calls_over_a_connection_each_are_all_answered() {
    all_are_answered("tn", 20, 10);
}

/// SIPp's names: `u1` is one UDP socket, `t1` one TCP connection, `tn` one per call.
fn all_are_answered(transport: &str, calls: u32, per_second: u32) {
    if !there_is("sipp", "sip-tester") {
        return;
    }
    // Each of them has a port for half a second, which then rests.
    let args = ["--start", "--sip", "127.0.0.1:0", "--rtp-ports", "12000-13999"];
    let offhook = Offhook::run(&args, &ECHO, "");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = sipp(
        &offhook,
        folder.path(),
        &[
            "-sn",
            "uac",
            "-m",
            &calls.to_string(),
            "-r",
            &per_second.to_string(),
            "-d",
            "500",
            "-t",
            transport,
            "-max_socket",
            "200",
        ],
    );
    let mut process = Kept(command.spawn().expect("sipp runs"));
    let status = process.wait("sipp", Duration::from_secs(40));
    // 0: every call went as the scenario says, and nothing came that it does not expect.
    assert_eq!(status.code(), Some(0), "{status}");
    let status = wait_for("the end of all calls", Duration::from_secs(5), || {
        Some(offhook.ask("GET", "/api/v1/sip/status").1).filter(|status| status["active_calls"] == 0)
    });
    let totals = &status["totals"];
    let of = |name: &str| totals[name].as_u64().expect("a number");
    let calls = u64::from(calls);
    assert_eq!(
        (of("calls"), of("answered"), of("refused"), of("ended_by_caller")),
        (calls, calls, 0, calls),
        "{totals}"
    );
    assert_eq!(status["rtp_ports_in_use"], Value::Array(Vec::new()));
}

/// Scenarios in which a repetition is a step of its own, so that SIPp must not take care of it (`-nr`).
const WITHOUT_REPETITION: [&str; 4] = ["invite_again_after_ack", "lost_ack", "lost_bye_answer", "merged"];

#[test]
fn off_nominal_calls_go_as_their_scenarios_say() {
    if !there_is("sipp", "sip-tester") {
        return;
    }
    let offhook = Offhook::start(&ECHO, "");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/sipp");
    let paths = std::fs::read_dir(scenarios).expect("a folder").map(|entry| entry.expect("an entry").path());
    // All at once: one of them lasts as long as a caller may leave a 200 without an ACK.
    let running: Vec<(String, Kept)> = paths
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let file = path.to_string_lossy().into_owned();
            let errors = format!("{name}.errors");
            let mut args = vec!["-sf", file.as_str(), "-m", "1", "-trace_err", "-error_file", errors.as_str()];
            args.extend(WITHOUT_REPETITION.contains(&name.as_str()).then_some("-nr"));
            let mut command = sipp(&offhook, folder.path(), &args);
            let process = Kept(command.args(["-timeout", "50"]).spawn().expect("sipp runs"));
            (name, process)
        })
        .collect();
    assert!(running.len() >= 15, "{} scenarios", running.len());
    let mut failed = Vec::new();
    for (name, mut process) in running {
        let status = process.wait(&name, Duration::from_secs(60));
        if status.code() != Some(0) {
            let errors = std::fs::read_to_string(folder.path().join(format!("{name}.errors"))).unwrap_or_default();
            failed.push(format!("{name}: {status}\n{errors}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let status = offhook.ask("GET", "/api/v1/sip/status").1;
    assert_eq!(status["active_calls"], 0, "{status}");
}

#[test]
fn a_recorded_caller_is_heard_whole() {
    if !there_is("sipp", "sip-tester") {
        return;
    }
    if !Path::new(PCAPS).join("g711a.pcap").exists() {
        return crate::process::skip("SIPp's recorded caller", "apt-get install sip-tester");
    }
    let offhook = Offhook::start(&ECHO, "");
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::os::unix::fs::symlink(PCAPS, folder.path().join("pcap")).expect("a link");
    let mut command = sipp(&offhook, folder.path(), &["-sn", "uac_pcap", "-m", "1", "-mi", "127.0.0.1"]);
    let mut process = Kept(command.spawn().expect("sipp runs"));
    let call_id = wait_for("the call", Duration::from_secs(10), || {
        let ended = process.0.try_wait().expect("a child can be waited for");
        assert!(ended.is_none(), "sipp ended with {ended:?}; it needs raw sockets, as root has them");
        offhook.ask("GET", "/api/v1/sip/calls").1["calls"][0]["call_id"].as_str().map(ToOwned::to_owned)
    });
    let status = process.wait("sipp", Duration::from_secs(40));
    assert_eq!(status.code(), Some(0), "{status}");
    let call = offhook.until_call(&call_id, "the end", |call| call["state"] == "ended");
    assert_eq!(call["ended"]["by"], "caller", "{call}");
    // 236 packets of A-law, and those of one key with an SSRC of their own.
    assert!(call["quality"]["packets_received"].as_u64().is_some_and(|packets| packets >= 236), "{call}");
    assert_eq!((&call["quality"]["lost"], &call["quality"]["concealed_ms"]), (&0.into(), &0.0.into()), "{call}");
    let turns = call["turns"].as_array().expect("an array");
    assert!(turns.iter().any(|turn| turn["caller"] == "(speech)"), "{call}");
}
