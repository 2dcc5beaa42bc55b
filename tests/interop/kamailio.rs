//! Kamailio as a proxy in between: two hops in Via, Record-Route, and BYE from both sides along it.

use crate::process::{ECHO, Kept, Offhook, there_is, wait_for};
use crate::softphone::Softphone;
use serde_json::Value;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The proxy, and where it listens.
struct Kamailio {
    process: Kept,
    address: SocketAddr,
}

impl Kamailio {
    fn start(offhook: &Offhook, folder: &Path) -> Self {
        let free = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
        let mut command = Command::new("kamailio");
        command.args(["-f", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/kamailio.cfg"), "-DD", "-E"]);
        command.args(["-A", &format!("OFFHOOK=\"{}\"", offhook.sip()), "-l", &format!("udp:{free}")]);
        command.arg("-w").arg(folder).arg("-Y").arg(folder).arg("-P").arg(folder.join("pid")).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Kept(command.spawn().expect("kamailio runs"));
        // It is there once a request gets through it to the other side.
        let asking = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        asking.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let own = asking.local_addr().expect("an address");
        wait_for("an answer through kamailio", Duration::from_secs(15), || {
            let ended = process.0.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "kamailio ended with {ended:?}");
            let options = format!(
                "OPTIONS sip:1000@{free} SIP/2.0\r\nVia: SIP/2.0/UDP {own};rport;branch=z9hG4bK{own}\r\nMax-Forwards: 5\r\n\
                 From: <sip:a@{own}>;tag=1\r\nTo: <sip:1000@{free}>\r\nCall-ID: {own}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
            );
            asking.send_to(options.as_bytes(), free).ok()?;
            let mut answer = [0; 2048];
            let len = asking.recv(&mut answer).ok()?;
            answer.get(..len)?.starts_with(b"SIP/2.0 200 ").then_some(())
        });
        Self { process, address: free }
    }
}

/// It ends its child processes only where it is asked to end, not where it is killed.
impl Drop for Kamailio {
    fn drop(&mut self) {
        self.process.terminate();
        let until = Instant::now() + Duration::from_secs(5);
        while self.process.0.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn ended_by(offhook: &Offhook, call_id: &str) -> Value {
    offhook.until_call(call_id, "the end", |call| call["state"] == "ended")["ended"]["by"].clone()
}

#[test]
fn calls_through_a_proxy_are_ended_from_either_side() {
    if !there_is("kamailio", "kamailio") {
        return;
    }
    let offhook = Offhook::start(&ECHO, "");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let kamailio = Kamailio::start(&offhook, folder.path());
    let Some(mut phone) = Softphone::open(kamailio.address) else { return };
    phone.register("register");
    assert_eq!(offhook.ask("GET", "/api/v1/sip/status").1["registrations"], 1);

    let call_id = phone.call("1000");
    offhook.turn(&call_id, "the chime", |turn| turn["turn"] == 0 && turn["agent"] != "");
    // Hold and back go along the recorded route, too.
    phone.tell("hold");
    phone.expect("the answer to hold", |event| event["event"] == "media" && event["direction"] != 3);
    phone.tell("unhold");
    phone.expect("the answer to unhold", |event| event["event"] == "media" && event["direction"] == 3);
    phone.hang_up();
    assert_eq!(ended_by(&offhook, &call_id), "caller");

    let call_id = phone.call("1000");
    offhook.turn(&call_id, "the chime", |turn| turn["turn"] == 0 && turn["agent"] != "");
    let (status, body) =
        offhook.ask("DELETE", &format!("/api/v1/sip/calls/{}", crate::process::percent_encoded(&call_id)));
    assert_eq!(status, 200, "{body}");
    phone.expect_bye();
    assert_ne!(ended_by(&offhook, &call_id), "caller");
    phone.register("unregister");
    assert_eq!(offhook.ask("GET", "/api/v1/sip/status").1["registrations"], 0);
    phone.close();
}

#[test]
fn a_row_of_calls_goes_through_a_proxy() {
    if !there_is("kamailio", "kamailio") || !there_is("sipp", "sip-tester") {
        return;
    }
    let offhook = Offhook::start(&ECHO, "");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let kamailio = Kamailio::start(&offhook, folder.path());
    let to = kamailio.address.to_string();
    let mut command = Command::new("sipp");
    command.current_dir(folder.path()).args(["-sn", "uac", "-m", "20", "-r", "10", "-d", "300", &to]);
    command.args(["-i", "127.0.0.1", "-s", "1000", "-nostdin", "-timeout", "30", "-timeout_error"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = Kept(command.spawn().expect("sipp runs"));
    let status = process.wait("sipp", Duration::from_secs(40));
    assert_eq!(status.code(), Some(0), "{status}");
    let totals = offhook.ask("GET", "/api/v1/sip/status").1["totals"].clone();
    assert_eq!((&totals["answered"], &totals["ended_by_caller"]), (&20.into(), &20.into()), "{totals}");
}
