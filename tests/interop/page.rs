//! The page in a real browser, headless, while real calls come in: what it shows, what can be done on it, and that it never complains.

use crate::microsip::Script;
use crate::phone::{Phone, Weather};
use crate::process::{ECHO, Kept, Lines, Offhook, models, percent_encoded, skip, wait_for};
use crate::softphone::Softphone;
use crate::{alone, process};
use offhook::audio::g711::Codec;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);
/// A name that would do harm on a page that made HTML of it.
const HOSTILE: &str = "<img src=x onerror=document.title=1>";
const SETTINGS: &str = r#"
[[answers]]
questions = ["What are your opening hours?", "When are you open?"]
answer = "We are open from nine to five."
"#;
/// Keeps every state of the transcript that grows.
const OBSERVE: &str = r#"
window.grown = [];
new MutationObserver(() => {
  const text = document.querySelector(".growing")?.textContent.trim() ?? "";
  if (text && window.grown.at(-1) !== text) window.grown.push(text);
}).observe(document.getElementById("calls"), { childList: true, subtree: true, characterData: true });
true"#;

/// Keeps how loud the two sides were of what is played.
const LISTEN: &str = r#"
window.sides = [0, 0];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (at) {
  [0, 1].forEach((side) => (window.sides[side] = Math.max(window.sides[side], ...this.buffer.getChannelData(side).map(Math.abs))));
  return start.call(this, at);
};
true"#;

/// A browser with one page.
struct Browser {
    _process: Kept,
    stdin: ChildStdin,
    answers: Lines,
    told: usize,
}

impl Browser {
    /// Opens `url`; `None`, said aloud, where there is no Chromium.
    fn open(url: &str) -> Option<Self> {
        let program = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(|name| {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.exists())
        });
        let Some(program) = program else {
            skip("the page in a browser", "apt-get install chromium");
            return None;
        };
        let mut command = Command::new("python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/browser.py")).arg(program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Kept(command.spawn().expect("Python runs"));
        let stdin = process.0.stdin.take().expect("it is piped");
        let answers = Lines::of(process.0.stdout.take().expect("it is piped"));
        let mut browser = Self { _process: process, stdin, answers, told: 0 };
        browser.answer();
        browser.tell(json!({"size": 1280}));
        browser.tell(json!({"goto": url}));
        browser.wait(
            "the page",
            "document.getElementById('where')?.dataset.state || document.querySelector('dialog')?.open",
        );
        Some(browser)
    }

    fn answer(&mut self) -> Value {
        let at = self.told;
        self.told += 1;
        let line = wait_for("the browser", Duration::from_secs(60), || self.answers.all().into_iter().nth(at));
        serde_json::from_str(&line).expect("JSON")
    }

    fn tell(&mut self, command: Value) -> Value {
        writeln!(self.stdin, "{command}").expect("it reads");
        let answer = self.answer();
        assert!(answer.get("error").is_none(), "{command}: {answer}");
        answer["value"].clone()
    }

    fn eval(&mut self, script: &str) -> Value {
        self.tell(json!({"eval": script}))
    }

    /// Waits until `script` is true of the page, and returns what it is.
    fn wait(&mut self, what: &str, script: &str) -> Value {
        wait_for(&format!("the page: {what}"), SOON, || {
            let value = self.eval(script);
            (!matches!(value, Value::Null | Value::Bool(false)) && value != "" && value != 0).then_some(value)
        })
    }

    fn text(&mut self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({})?.innerText ?? ''", json!(selector)));
        text.as_str().expect("text").to_owned()
    }

    fn click(&mut self, selector: &str) {
        self.wait(
            selector,
            &format!("(document.querySelector({0})?.click(), !!document.querySelector({0}))", json!(selector)),
        );
    }

    fn type_into(&mut self, selector: &str, text: &str) {
        self.eval(&format!("document.querySelector({}).value = {}, true", json!(selector), json!(text)));
    }

    /// What the page was silent about so far, and has to stay silent about.
    fn assert_no_errors(&mut self) {
        assert_eq!(self.tell(json!({"errors": true})), json!([]));
    }
}

#[test]
fn a_call_is_watched_while_it_lasts_and_afterwards() {
    let Some(models) = models() else { return };
    let _cores = alone();
    let records = tempfile::tempdir().expect("a folder");
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let env = [("OFFHOOK_MODELS", &*text(&models)), ("OFFHOOK_RECORDS", &*text(records.path()))];
    let offhook = Offhook::start(&env, SETTINGS);
    let Some(mut page) = Browser::open(&format!("http://{}/", offhook.api)) else { return };
    let name = format!("name={HOSTILE}");
    let Some(mut phone) = Softphone::open_with(offhook.sip(), &[&name]) else { return };
    page.wait("an invitation to call", "!document.getElementById('empty').hidden");
    assert_eq!(page.text("#field-server"), offhook.sip().to_string());
    page.eval(OBSERVE);

    let call = phone.call("1000");
    page.wait("the call", "document.querySelector('#calls .call .clock')?.dataset.state === 'active'");
    assert_eq!(page.text("#calls .who"), format!("{HOSTILE} to 1000"), "a name is text");
    assert_eq!(page.eval("document.title"), "(1) Offhook");
    page.wait("the greeting", "document.querySelector('[data-turn=\"0\"]')?.innerText.includes('Hello')");
    offhook.turn(&call, "the greeting", |turn| turn["turn"] == 0 && turn["agent"] != "");

    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = Script::new(&models, folder.path());
    script.say(&mut phone, "Good morning, I am calling from the harbour. What are your opening hours?");
    page.wait("the caller's level", "document.querySelector('.meter.caller i').style.transform > 'scaleX(0.2)'");
    // A pause may have made two turns of what was said.
    let asked = "[...document.querySelectorAll('[data-turn]')].find((turn) => turn.innerText.includes('opening hours'))?.dataset.turn";
    let number = page.wait("the turn", asked);
    let number: u64 = number.as_str().and_then(|number| number.parse().ok()).expect("a number");
    let within = |selector: &str| format!("[data-turn=\"{number}\"] {selector}");
    let grown = page.eval("window.grown");
    let grown = grown.as_array().expect("an array");
    assert!(grown.len() >= 2, "the transcript does not grow: {grown:?}");

    // The waterfall is the turn's: its stages and their sum are those that the API tells.
    let turn = offhook.turn(&call, "its latency", |turn| turn["turn"] == number && turn["latency_ms"].is_object());
    let total = page.wait("the waterfall", &format!("document.querySelector('{}')?.dataset.total", within(".fall")));
    assert_eq!(total.as_str().and_then(|total| total.parse::<f64>().ok()), turn["latency_ms"]["total"].as_f64());
    let bars = format!("[...document.querySelectorAll('{}')].map((bar) => bar.title)", within(".bar"));
    let bars = page.eval(&bars).to_string();
    // A stage that took no time has no bar: a draft may have done all that model and voice had to do.
    let names = [("end_of_turn", "End of turn: "), ("llm", "LLM: "), ("tts", "TTS: "), ("egress", "Egress: ")];
    for (stage, name) in names {
        let took = turn["latency_ms"][stage].as_f64().expect("milliseconds");
        assert_eq!(bars.contains(name), took >= 0.05, "{stage} took {took} ms: {bars}");
    }
    assert!(bars.contains("End of turn: "), "{bars}");
    page.click(&within(".fall .link"));
    let steps = format!("document.querySelectorAll('{}').length", within(".step"));
    assert_eq!(page.eval(&steps).as_u64(), turn["latency_ms"].as_object().map(|stages| stages.len() as u64 - 1));
    page.wait("the last minute", "document.querySelector('#windows .big').innerText.includes('p50')");

    // Listening takes nothing away, and the agent says what it is told to.
    offhook.turn(&call, "the answer", |turn| turn["turn"] == number && turn["agent"] != "");
    page.eval(LISTEN);
    page.click(".actions > button");
    page.wait("that it listens", "document.querySelector('.actions > button').getAttribute('aria-pressed') === 'true'");
    page.type_into("[aria-label='Have the agent say']", "One moment please.");
    page.click(".actions form button");
    page.wait("what was said", "document.querySelector('.turns').innerText.includes('One moment please.')");
    page.wait("the agent's voice", "window.sides[1] > 0.05");
    assert!(page.eval("window.sides[0]").as_f64() < Some(0.01), "the agent is heard on the caller's side");
    let listens = "document.querySelector('.actions > button').getAttribute('aria-pressed')";
    assert_eq!(page.eval(listens), "true", "the sound has gone");

    page.tell(json!({"size": 360}));
    assert_eq!(page.eval("document.documentElement.scrollWidth"), 360, "a narrow page scrolls sideways");
    page.tell(json!({"size": 1280}));

    // Packets are captured from here on, and are to be had while the call lasts.
    let pcap = format!("/api/v1/sip/calls/{}/packets.pcap", percent_encoded(&call));
    assert_eq!(offhook.ask("GET", &pcap).0, 404);
    page.click("[data-action=capture]");
    page.wait("the captured packets", "!!document.querySelector('#calls [data-action=packets]')");

    page.click("[data-action=hang-up]");
    phone.expect_bye();
    page.wait("the past call", "!document.querySelector('#calls .call') && document.querySelector('#past .call')");
    page.click("#past summary");
    page.wait("its transcript", "document.querySelector('#past .turns')?.innerText.includes('opening hours')");
    page.wait("its waterfall", "document.querySelector('#past .fall')?.dataset.total");
    assert!(page.text("#past .meta").contains("hung up by the control API"));
    // What was said, how long it took and what was recorded stand on one timeline.
    page.wait("its waveform", "document.querySelector('#past canvas')?.width > 0");
    let at = format!("document.querySelector('#past {}')?.innerText", within(".at"));
    assert!(page.wait("when the turn was", &at).as_str().is_some_and(|at| at.starts_with("0:")));
    page.click(&format!("#past {}", within(".at")));
    page.wait(
        "the turn as it is heard",
        &format!("!!document.querySelector('#past [data-turn=\"{number}\"].playing')"),
    );
    page.tell(json!({"downloads": folder.path()}));
    for (button, ending, begins) in [("Recording", "wav", &b"RIFF"[..]), ("Packets", "pcap", &[0xd4, 0xc3, 0xb2, 0xa1])]
    {
        page.eval(&format!(
            "[...document.querySelectorAll('#past .file')].find((file) => file.innerText === '{button}').click(), true"
        ));
        let file = wait_for("the download", SOON, || {
            let files = std::fs::read_dir(folder.path()).expect("a folder").flatten().map(|entry| entry.path());
            files
                .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("offhook-")))
                .find(|path| path.extension().is_some_and(|found| found == ending))
        });
        let bytes = wait_for("its bytes", SOON, || std::fs::read(&file).ok().filter(|bytes| bytes.len() > 1000));
        assert!(bytes.starts_with(begins), "{button}: {:?}", &bytes[..4]);
    }
    assert_eq!(page.eval("document.title"), "Offhook");
    page.assert_no_errors();
    phone.close();
}

#[test]
fn the_page_asks_for_the_token_and_steers_the_bridge() {
    let env = [&ECHO[..], &[("OFFHOOK_API_TOKEN", "correct-horse")]].concat();
    let offhook = Offhook::run(&[], &env, "");
    let Some(mut page) = Browser::open(&format!("http://{}/", offhook.api)) else { return };
    for (token, opens) in [("wrong", false), ("correct-horse", true)] {
        page.wait("the question", "document.querySelector('dialog').open");
        page.type_into("#token", token);
        page.click("#token-form button");
        let next = if opens {
            "!document.getElementById('stopped').hidden"
        } else {
            "!document.getElementById('token-problem').hidden"
        };
        page.wait("what follows", next);
    }
    let kept = page.eval("[sessionStorage.length, localStorage.length, document.cookie]");
    assert_eq!(kept, json!([1, 0, ""]), "the token stays in its tab");
    // A browser reports what was refused until the token was right; from here on there is nothing to report.
    let refused = page.tell(json!({"errors": true})).as_array().map_or(0, Vec::len);

    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("it is bound").port();
    page.type_into("#start-host", "127.0.0.1");
    page.type_into("#start-port", &port.to_string());
    page.click("#start-form button");
    page.wait("why it does not start", "document.getElementById('start-problem').innerText.includes('is in use')");
    drop(taken);
    page.click("#start-form button");
    page.wait("the bridge", "document.getElementById('where').dataset.state === 'running'");

    let sip = format!("127.0.0.1:{port}").parse().expect("an address");
    let phone = Phone::call(sip, Codec::Pcma, Weather::default()).expect("the call is answered");
    page.wait("the call", "document.querySelector('#calls .call')");
    page.click(".actions > button");
    page.wait("that it listens", "document.querySelector('.actions > button').getAttribute('aria-pressed') === 'true'");
    // There is no folder for records, and the button says so.
    assert_eq!(page.eval("document.querySelector('[data-action=capture]').getAttribute('aria-disabled')"), "true");
    page.click("[data-action=capture]");
    page.wait(
        "why there is no capture",
        "document.querySelector('.call .problem').innerText.includes('OFFHOOK_RECORDS')",
    );
    // Stopping asks first, since it ends the call.
    page.eval("window.confirm = () => true");
    page.click("#bridge");
    page.wait("the end", "!document.getElementById('stopped').hidden && document.querySelector('#past .call')");
    assert!(phone.wait_until(SOON, Phone::hung_up), "no BYE");
    let errors = page.tell(json!({"errors": true}));
    let told: Vec<_> = errors.as_array().expect("an array").iter().skip(refused).map(Value::to_string).collect();
    assert!(told.iter().all(|error| error.contains("409")), "only what was refused may be complained of: {told:?}");
    let _: process::Reply = process::ask("GET", offhook.api, "/page/app.js");

    drop(offhook);
    page.wait("that the engine is gone", "document.getElementById('where').dataset.state === 'gone'");
    assert!(page.text("#banner").contains("does not answer"));
    assert_eq!(page.eval("document.body.classList.contains('gone')"), true);
}
