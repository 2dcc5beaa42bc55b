//! Digest with real telephones: PJSIP registers and calls by MD5 and by SHA-256, SIPp calls with a password, guessers are refused.

use crate::process::{ECHO, Kept, Offhook, ask, there_is};
use crate::softphone::Softphone;
use std::process::{Command, Stdio};
use std::time::Duration;

const ACCOUNTS: &str = "[[sip.accounts]]\nuser = \"agent001\"\npassword = \"correct horse\"\n";

/// A call of SIPp that is challenged and answers.
const CHALLENGED_CALL: &str = r#"<?xml version="1.0" encoding="ISO-8859-1"?>
<scenario name="challenged">
  <send retrans="500"><![CDATA[
INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:agent001@[local_ip]:[local_port]>;tag=[pid]t[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:agent001@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Length: 0

]]></send>
  <recv response="401" auth="true"/>
  <send><![CDATA[
ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:agent001@[local_ip]:[local_port]>;tag=[pid]t[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
  <send retrans="500"><![CDATA[
INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:agent001@[local_ip]:[local_port]>;tag=[pid]t[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 2 INVITE
Contact: <sip:agent001@[local_ip]:[local_port]>
[authentication username=agent001 password=correct_horse]
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="200" rrs="true"/>
  <send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:agent001@[local_ip]:[local_port]>;tag=[pid]t[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 2 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
  <pause milliseconds="200"/>
  <send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:agent001@[local_ip]:[local_port]>;tag=[pid]t[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 3 BYE
Max-Forwards: 70
Content-Length: 0

]]></send>
  <recv response="200"/>
</scenario>
"#;

/// Registers, calls, hangs up and unregisters.
fn serves(offhook: &Offhook, password: &str) -> bool {
    let Some(mut phone) = Softphone::open_as(offhook.sip(), "agent001", password) else { return false };
    assert_eq!(phone.register("register"), 300);
    assert_eq!(offhook.ask("GET", "/api/v1/sip/status").1["registrations"], 1);
    let call = phone.call("1000");
    offhook.turn(&call, "the chime", |turn| turn["turn"] == 0 && turn["agent"] != "");
    phone.hang_up();
    let over = offhook.until_call(&call, "the end", |call| call["state"] == "ended");
    assert_eq!(over["ended"]["by"], "caller", "{over}");
    assert_eq!(phone.register("unregister"), 0);
    phone.close();
    true
}

#[test]
fn pjsip_registers_and_calls_where_both_algorithms_are_offered() {
    let offhook = Offhook::start(&ECHO, ACCOUNTS);
    if serves(&offhook, "correct horse") {
        assert_eq!(offhook.ask("GET", "/api/v1/sip/status").1["open_mode"], false);
        assert!(!offhook.log.all().join("\n").contains("correct horse"));
    }
}

#[test]
fn pjsip_registers_and_calls_by_sha256_alone() {
    let offhook = Offhook::start(&ECHO, &format!("[sip]\nalgorithms = [\"SHA-256\"]\n{ACCOUNTS}"));
    serves(&offhook, "correct horse");
}

#[test]
fn a_hash_from_the_command_line_is_as_good_as_the_password() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = crate::process::command(folder.path());
    command.args(["ha1", "agent001"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().expect("the binary runs");
    std::io::Write::write_all(&mut process.stdin.take().expect("it is piped"), b"correct horse\n").expect("it reads");
    let printed = String::from_utf8(process.wait_with_output().expect("it ends").stdout).expect("text");
    assert!(printed.contains("ha1_sha256 = ") && !printed.contains("correct horse"), "{printed}");
    let offhook = Offhook::start(&ECHO, &printed);
    serves(&offhook, "correct horse");
}

#[test]
fn a_wrong_password_is_refused_and_said() {
    let offhook = Offhook::start(&ECHO, ACCOUNTS);
    let Some(mut phone) = Softphone::open_as(offhook.sip(), "agent001", "wrong") else { return };
    phone.tell("register");
    let event = phone.expect("an answer to REGISTER", |event| event["event"] == "register");
    assert_eq!(event["code"], 401, "{event}");
    assert_eq!(event["error"], "wrong user name or password", "{event}");
    phone.tell("call 1000");
    let event = phone.expect("an answer to INVITE", |event| event["state"] == "DISCONNECTED");
    assert_eq!(event["code"], 401, "{event}");
    assert_eq!(offhook.ask("GET", "/api/v1/sip/status").1["totals"]["calls"], 0);
    let metrics = ask("GET", offhook.api, "/metrics").body;
    let wrong = metrics.lines().find_map(|line| line.strip_prefix("offhook_sip_wrong_credentials_total "));
    assert!(wrong.and_then(|count| count.parse::<u32>().ok()).is_some_and(|count| count >= 2), "{metrics}");
    assert!(offhook.log.all().iter().any(|line| line.contains("gave a wrong user name or password for \"agent001\"")));
}

#[test]
fn sipp_calls_with_a_password() {
    if !there_is("sipp", "sip-tester") {
        return;
    }
    // SIPp answers the first challenge, and knows MD5 only.
    let accounts = ACCOUNTS.replace("correct horse", "correct_horse");
    let offhook = Offhook::start(&ECHO, &format!("[sip]\nalgorithms = [\"MD5\"]\n{accounts}"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("challenged.xml"), CHALLENGED_CALL).expect("a file");
    let mut command = Command::new("sipp");
    command.current_dir(folder.path()).args(["-sf", "challenged.xml", "-m", "20", "-r", "10", "-i", "127.0.0.1"]);
    command.args(["-s", "1000", "-nostdin", "-timeout", "30", "-timeout_error"]).arg(offhook.sip().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = Kept(command.spawn().expect("sipp runs")).wait("sipp", Duration::from_secs(40));
    assert_eq!(status.code(), Some(0), "{status}");
    let totals = &offhook.ask("GET", "/api/v1/sip/status").1["totals"];
    assert_eq!((&totals["calls"], &totals["answered"]), (&20.into(), &20.into()), "{totals}");
}
