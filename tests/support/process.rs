//! The real `offhook` in a process of its own, for tests that speak to it as its users do.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "peers live in real time")]

use serde_json::Value;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long anything may take that is waited for, unless a test says otherwise: loading all models on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The settings under which no model is needed.
pub const ECHO: [(&str, &str); 3] = [("OFFHOOK_STT", "echo"), ("OFFHOOK_LLM", "echo"), ("OFFHOOK_TTS", "echo")];

/// Ports of one engine; engines that run at the same time have different ones.
const RTP_PORTS: u16 = 100;

/// Says aloud that something is not tested and how to have it tested; where everything has to be tested, fails.
pub fn skip(what: &str, remedy: &str) {
    let text = format!("SKIPPED: {what}; {remedy}");
    assert!(std::env::var_os("OFFHOOK_TEST_ALL").is_none(), "{text}");
    // Not by eprintln, which is shown for failed tests only.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Whether a program is there; one that is not is said aloud.
pub fn there_is(program: &str, package: &str) -> bool {
    let found =
        std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|p| p.join(program).exists()));
    if !found {
        skip(program, &format!("apt-get install {package}"));
    }
    found
}

/// Where the local models are, if all of them are; otherwise that is said aloud.
pub fn models() -> Option<PathBuf> {
    use offhook::providers::local::models::{Set, status};
    let named = std::env::var_os("OFFHOOK_MODELS").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| offhook::config::Config::default().providers.models);
    let have = status(&folder);
    if Set::ALL.iter().all(|set| have.contains(set)) {
        return Some(folder);
    }
    skip("the local agent", "cargo run -- models");
    None
}

/// Asks again and again until there is an answer; panics with `what` after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut answer: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + limit;
    loop {
        if let Some(found) = answer() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process that is killed when it goes out of scope.
pub struct Kept(pub Child);

impl Kept {
    /// Waits for its end; a process that outlives `limit` is killed and fails the test.
    pub fn wait(&mut self, what: &str, limit: Duration) -> ExitStatus {
        wait_for(what, limit, || self.0.try_wait().expect("a child can be waited for"))
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.0.id());
        let sent = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
        assert!(sent.success());
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process has printed, line by line.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Collects what `pipe` brings until its end.
    pub fn of(pipe: impl io::Read + Send + 'static) -> Self {
        let lines = Self::default();
        let kept = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                kept.0.lock().unwrap_or_else(PoisonError::into_inner).push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        lines
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A running `offhook`.
pub struct Offhook {
    process: Kept,
    /// Its working directory.
    pub folder: tempfile::TempDir,
    /// What it has written to stderr.
    pub log: Lines,
    /// The control API.
    pub api: SocketAddr,
    /// SIP, where it was started.
    pub sip: Option<SocketAddr>,
}

/// The binary with nothing of this process's environment, in `folder`.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    command
}

/// A range of ports that no other engine of this test run uses, below those that the system hands out.
pub fn rtp_ports() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let mine = u16::try_from(std::process::id() % 12).expect("small") * 10 + NEXT.fetch_add(1, Ordering::Relaxed) % 10;
    let first = 20_000 + mine * RTP_PORTS;
    format!("{first}-{}", first + RTP_PORTS - 1)
}

impl Offhook {
    /// Runs it with `--start` on free ports, with `env` for an environment and `toml` for settings, until it serves SIP.
    pub fn start(env: &[(&str, &str)], toml: &str) -> Self {
        Self::run(&["--start", "--sip", "127.0.0.1:0"], env, toml)
    }

    /// Runs it on a free port for its API, until it serves what `args` ask for.
    pub fn run(args: &[&str], env: &[(&str, &str)], toml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("offhook.toml"), toml).expect("a file");
        let mut command = command(folder.path());
        command.args(["--api", "127.0.0.1:0"]).args(args);
        if !args.contains(&"--rtp-ports") {
            command.args(["--rtp-ports", &rtp_ports()]);
        }
        command.env("OFFHOOK_LOG", "debug").envs(env.iter().copied());
        let mut process = Kept(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary runs"));
        let log = Lines::of(process.0.stderr.take().expect("it is piped"));
        let mut address = |after: &str| {
            wait_for(after, PATIENCE, || {
                let lines = log.all();
                let ended = process.0.try_wait().expect("a child can be waited for");
                assert!(ended.is_none(), "offhook ended with {ended:?}: {lines:?}");
                let line = lines.iter().find_map(|line| Some(line.split_once(after)?.1.to_owned()))?;
                let text = line.split(|c: char| c == ';' || c.is_whitespace()).next()?;
                Some(text.parse().expect("an address"))
            })
        };
        let api = address("control API on http://");
        let sip = args.contains(&"--start").then(|| address("SIP on udp "));
        Self { process, folder, log, api, sip }
    }

    /// Where it serves SIP.
    pub fn sip(&self) -> SocketAddr {
        self.sip.expect("it was started with --start")
    }

    /// Sends a request to its API; returns status and body.
    pub fn ask(&self, method: &str, target: &str) -> (u16, Value) {
        let reply = ask(method, self.api, target);
        let body = serde_json::from_str(&reply.body).unwrap_or_else(|_| panic!("no JSON: {}", reply.body));
        (reply.status, body)
    }

    /// All that is known of the call.
    pub fn call(&self, call_id: &str) -> Value {
        let (status, body) = self.ask("GET", &format!("/api/v1/sip/calls/{}", percent_encoded(call_id)));
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Waits for a turn of the call of which `wanted` is true, and returns it.
    pub fn turn(&self, call_id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            last = self.call(call_id);
            let turns = last["turns"].as_array().expect("an array");
            if let Some(turn) = turns.iter().find(|turn| wanted(turn)) {
                return turn.clone();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no turn: {what}: {last:#}");
    }

    /// Waits until `wanted` is true of the call.
    pub fn until_call(&self, call_id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, Duration::from_secs(15), || Some(self.call(call_id)).filter(&wanted))
    }

    /// Sends SIGTERM and returns how it ended, and after how long.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let sent = Instant::now();
        self.process.terminate();
        (self.process.wait("the end after SIGTERM", Duration::from_secs(10)), sent.elapsed())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.0.id()
    }
}

impl Drop for Offhook {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("offhook wrote:\n{}", self.log.all().join("\n"));
        }
    }
}

/// A reply of the control API.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The header lines, in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

/// Sends a request by curl, as users do; without curl by the crate's own client.
pub fn ask(method: &str, api: SocketAddr, target: &str) -> Reply {
    let url = format!("http://{api}{target}");
    let method_flags: &[&str] = if method == "HEAD" { &["-I"] } else { &["-i", "-X", method] };
    let curl = Command::new("curl").args(["-sS", "-g", "--max-time", "20"]).args(method_flags).arg(&url).output();
    let Ok(output) = curl else { return ask_without_curl(method, &url) };
    assert!(output.status.success(), "curl {method} {url}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Reply { status, head: head.to_lowercase(), body: body.to_owned() }
}

fn ask_without_curl(method: &str, url: &str) -> Reply {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let request = ureq::http::Request::builder().method(method).uri(url).body(()).expect("a request");
    let mut response = agent.run(request).expect("an answer");
    let head = response.headers().iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap_or("?")));
    let head = head.collect::<String>().to_lowercase();
    Reply { status: response.status().as_u16(), head, body: response.body_mut().read_to_string().expect("text") }
}

/// A Call-ID as it stands in a path.
pub fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}
