//! Drives the softphone on PJSIP: a command a line in, an event a line out.

use crate::process::{Kept, Lines, PATIENCE, skip, wait_for};
use serde_json::Value;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

/// A softphone with the settings of MicroSIP.
pub struct Softphone {
    process: Kept,
    stdin: ChildStdin,
    events: Lines,
    /// Events that were expected and have come.
    seen: usize,
    /// Where it listens, as it says itself.
    pub address: String,
}

impl Softphone {
    /// Starts one that knows `server`; `None`, said aloud, where there is no pjsua2.
    pub fn open(server: SocketAddr) -> Option<Self> {
        Self::open_with(server, &[])
    }

    /// Starts one that calls itself `user`.
    pub fn open_as(server: SocketAddr, user: &str, password: &str) -> Option<Self> {
        Self::open_with(server, &[&format!("user={user}"), &format!("password={password}")])
    }

    /// Starts one that reaches `server` over `transport`: `udp`, `tcp` or `tls`.
    pub fn open_over(transport: &str, server: SocketAddr) -> Option<Self> {
        Self::open_with(server, &[&format!("transport={transport}")])
    }

    /// Starts one with settings that are not MicroSIP's: see `pjsua2_phone.py`.
    pub fn open_with(server: SocketAddr, settings: &[&str]) -> Option<Self> {
        let python = std::env::var_os("OFFHOOK_TEST_PYTHON").unwrap_or_else(|| "python3".into());
        let has_it = Command::new(&python).args(["-c", "import pjsua2"]).stderr(Stdio::null()).status();
        if !has_it.is_ok_and(|status| status.success()) {
            let remedy = "python3.11 -m venv V && V/bin/pip install pjsua2-python==2.15.1.post1, and name \
                          V/bin/python in OFFHOOK_TEST_PYTHON";
            skip("the softphone on PJSIP", remedy);
            return None;
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/pjsua2_phone.py");
        let mut command = Command::new(python);
        command
            .arg(script)
            .arg(server.to_string())
            .args(settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = Kept(command.spawn().expect("Python runs"));
        let events = Lines::of(process.0.stdout.take().expect("it is piped"));
        let stdin = process.0.stdin.take().expect("it is piped");
        let mut phone = Self { process, stdin, events, seen: 0, address: String::new() };
        let ready = phone.expect("ready", |event| event["event"] == "ready");
        phone.address = ready["address"].as_str().expect("an address").to_owned();
        Some(phone)
    }

    /// Gives a command, and waits until it is taken.
    pub fn tell(&mut self, command: &str) {
        let name = command.split(' ').next().expect("a word").to_owned();
        let is_answer = |event: &Value| event["command"] == name.as_str();
        let before = self.all().iter().filter(|event| is_answer(event)).count();
        writeln!(self.stdin, "{command}").expect("it reads");
        let answer = wait_for(command, PATIENCE, || self.all().into_iter().filter(is_answer).nth(before));
        assert_eq!(answer["event"], "done", "{answer}");
    }

    /// Waits for an event after those that were expected before.
    pub fn expect(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.expect_within(what, Duration::from_secs(20), wanted)
    }

    /// Waits for an event that may have come before, too.
    pub fn expect_anywhere(&self, what: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("the softphone: {what}"), limit, || self.all().into_iter().find(&wanted))
    }

    /// Waits for an event, at most `limit`.
    pub fn expect_within(&mut self, what: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let what = format!("the softphone: {what}");
        let (n, event) = wait_for(&what, limit, || {
            self.all().into_iter().enumerate().skip(self.seen).find(|(_, event)| wanted(event))
        });
        self.seen = n + 1;
        event
    }

    /// Registers or unregisters, and returns for how many seconds.
    pub fn register(&mut self, command: &str) -> u64 {
        self.tell(command);
        let event = self.expect("an answer to REGISTER", |event| event["event"] == "register");
        assert_eq!(event["code"], 200, "{event}");
        event["expires"].as_u64().expect("seconds")
    }

    /// Dials, and returns the Call-ID once the call is up.
    pub fn call(&mut self, user: &str) -> String {
        self.place(&format!("call {user}"))
    }

    /// Gives a command that calls somebody, and returns the Call-ID once the call is up.
    pub fn place(&mut self, command: &str) -> String {
        self.tell(command);
        let up = |event: &Value| event["state"] == "CONFIRMED" || event["state"] == "DISCONNECTED";
        let event = self.expect("an answer to INVITE", up);
        assert_eq!(event["state"], "CONFIRMED", "{event}");
        event["call_id"].as_str().expect("a Call-ID").to_owned()
    }

    /// Waits for the end of a transaction.
    pub fn expect_transaction(&mut self, method: &str, ours: bool, code: u64, limit: Duration) {
        let wanted = |event: &Value| {
            event["event"] == "transaction"
                && event["method"] == method
                && event["ours"] == ours
                && event["code"] == code
        };
        self.expect_within(&format!("{code} to {method}"), limit, wanted);
    }

    /// Returns how many packets of the selected call came and went.
    pub fn stats(&mut self) -> (u64, u64) {
        self.tell("stats");
        let stats = self.all().into_iter().rfind(|event| event["event"] == "stats").expect("stats");
        (stats["received"].as_u64().expect("a number"), stats["sent"].as_u64().expect("a number"))
    }

    /// Hangs up, and waits until that is answered.
    pub fn hang_up(&mut self) {
        self.tell("hangup");
        self.expect("an answer to BYE", |event| event["state"] == "DISCONNECTED");
    }

    /// Waits until the other side has hung up.
    pub fn expect_bye(&mut self) {
        self.expect_within("a BYE", Duration::from_secs(30), |event| event["state"] == "DISCONNECTED");
    }

    /// Closes it; what it records is whole after that.
    pub fn close(mut self) {
        drop(self.stdin);
        self.process.wait("the softphone's end", Duration::from_secs(10));
    }

    fn all(&self) -> Vec<Value> {
        self.events.all().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}
