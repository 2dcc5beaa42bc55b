//! PJSIP set up as MicroSIP: registers, calls, hears, speaks, is answered, presses keys, holds, hangs up and is hung up on.

use crate::process::{ECHO, Offhook, models};
use crate::softphone::Softphone;
use crate::{alone, judged, one_of_two, sound};
use offhook::providers::Speaker;
use offhook::providers::local::voice::HibariVoice;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const GREETING: &str = "Hello, this is the test line. What can I do for you?";
const SETTINGS: &str = r#"
[agent]
greeting = "Hello, this is the test line. What can I do for you?"
[[answers]]
questions = ["What are your opening hours?", "When are you open?"]
answer = "We are open from nine to five."
"#;

/// Speech of the local voice between two silences, as a file that the softphone plays.
pub struct Script<'a> {
    voice: HibariVoice,
    folder: &'a Path,
}

impl<'a> Script<'a> {
    pub fn new(models: &Path, folder: &'a Path) -> Self {
        Self { voice: HibariVoice::new(models), folder }
    }

    pub fn pcm(&self, text: &str) -> Vec<i16> {
        self.voice.render(text).expect("the voice speaks")
    }

    pub fn say(&self, phone: &mut Softphone, text: &str) {
        let path = self.folder.join("said.wav");
        let mut pcm = vec![0; sound::RATE / 10];
        pcm.extend(self.pcm(text));
        pcm.extend(vec![0; sound::RATE / 2]);
        sound::write(&path, &pcm);
        phone.tell(&format!("play {}", path.display()));
    }
}

/// Says `text` to the echo agent of the call `call`, once its chime is over, and waits until it comes back.
pub fn say_to_the_echo(offhook: &Offhook, phone: &mut Softphone, script: &Script<'_>, call: &str, text: &str) {
    offhook.turn(call, "the chime", |turn| turn["turn"] == 0 && turn["agent"] != "");
    script.say(phone, text);
    offhook.turn(call, "the echo", |turn| turn["turn"] != 0 && turn["agent"] != "");
}

/// The words of a text, without case and punctuation.
fn words(text: &Value) -> String {
    let text = text.as_str().expect("text").to_lowercase();
    text.chars().filter(|c| c.is_alphanumeric() || *c == ' ').collect()
}

/// What any recording of the agent has to be: audible, not overdriven, whole.
fn assert_sound(pcm: &[i16], what: &str) {
    let (level, gap, clicks) = (sound::level_dbov(pcm), sound::longest_gap_ms(pcm), sound::clicks(pcm));
    eprintln!("{what}: {} ms loud, {level:.1} dBov, longest gap {gap} ms, {clicks} clicks", sound::loud_ms(pcm));
    assert!((-32.0..=-10.0).contains(&level), "{what}: level {level:.1} dBov");
    assert!(gap <= 40, "{what}: a hole of {gap} ms within a word");
    assert_eq!(clicks, 0, "{what}: clicks");
}

#[test]
fn talks_with_the_agent_of_this_machine() {
    let Some(models) = models() else { return };
    let _cores = alone();
    let offhook = Offhook::start(&[("OFFHOOK_MODELS", models.to_str().expect("text"))], SETTINGS);
    let Some(mut phone) = Softphone::open(offhook.sip()) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = Script::new(&models, folder.path());
    let greeting = script.pcm(GREETING);

    assert_eq!(phone.register("register"), 300);
    assert_eq!(offhook.ask("GET", "/api/v1/sip/status").1["registrations"], 1);

    // The first call: the caller asks, presses keys, holds, and hangs up.
    let recording = folder.path().join("first.wav");
    phone.tell(&format!("record {}", recording.display()));
    let call = phone.call("1000");
    let greeted = offhook
        .turn(&call, "the greeting", |turn| turn["turn"] == 0 && words(&turn["agent"]) == words(&GREETING.into()));
    assert_eq!((&greeted["caller"], &greeted["interrupted"]), (&Value::from(""), &Value::from(false)), "{greeted}");
    let listed = &offhook.ask("GET", "/api/v1/sip/calls").1["calls"][0];
    assert_eq!((listed["codec"].as_str(), listed["state"].as_str()), (Some("PCMA"), Some("active")), "{listed}");

    script.say(&mut phone, "What are your opening hours?");
    let answered = |turn: &Value| {
        words(&turn["caller"]).contains("opening hours") && words(&turn["agent"]).contains("open from nine to five")
    };
    let answer = offhook.turn(&call, "the answer", answered);
    assert_eq!(answer["interrupted"], false, "{answer}");
    let latency = &answer["latency_ms"];
    assert!(latency["total"].as_f64().is_some_and(|total| total > 0.0), "{answer}");
    assert!(latency["unexplained"].as_f64().is_some_and(|rest| rest.abs() < 1.0), "{answer}");

    // A key, and while that is answered another one, which stops the answer.
    phone.tell("dtmf 5");
    offhook.turn(&call, "a key by RFC 4733", |turn| turn["caller"] == "(pressed 5)");
    std::thread::sleep(Duration::from_millis(2_000));
    phone.tell("info 7");
    phone.expect("an answer to INFO", |event| event["event"] == "info" && event["code"] == 200);
    let cut =
        offhook.turn(&call, "the answer that was cut", |turn| turn["caller"] == "(pressed 5)" && turn["agent"] != "");
    assert_eq!(cut["interrupted"], true, "{cut}");
    let whole = offhook.turn(&call, "a key by INFO", |turn| turn["caller"] == "(pressed 7)" && turn["agent"] != "");
    assert!(words(&whole["agent"]).contains('7') && !words(&whole["agent"]).contains('5'), "answered twice: {whole}");

    phone.tell("stop_recording");
    hold_and_unhold(&offhook, &mut phone, &call);
    script.say(&mut phone, "When are you open?");
    offhook.turn(&call, "the answer after hold", |turn| {
        words(&turn["caller"]).contains("when are you open") && words(&turn["agent"]).contains("nine to five")
    });

    phone.hang_up();
    let over = offhook.until_call(&call, "the end", |call| call["state"] == "ended");
    assert_eq!(over["ended"]["by"], "caller", "{over}");
    let quality = &over["quality"];
    assert!(quality["packets_received"].as_u64().is_some_and(|packets| packets > 500), "{quality}");

    // The second call: the agent hangs up.
    let call = phone.call("anything");
    offhook.turn(&call, "the greeting", |turn| turn["turn"] == 0 && turn["agent"] != "");
    script.say(&mut phone, "Goodbye.");
    phone.expect_bye();
    let over = offhook.until_call(&call, "the end", |call| call["state"] == "ended");
    assert_eq!(over["ended"]["by"], "agent", "{over}");
    let farewell = over["turns"].as_array().and_then(|turns| turns.last()).expect("a turn");
    assert!(
        words(&farewell["agent"]).contains("goodbye") && farewell["interrupted"] == false,
        "the farewell was not heard: {over}"
    );

    assert_eq!(phone.register("unregister"), 0);
    assert_eq!(offhook.ask("GET", "/api/v1/sip/status").1["registrations"], 0);
    phone.close();

    let heard = sound::read(&recording);
    assert_sound(&heard, "the agent");
    let likeness = sound::likeness(sound::trim(&greeting), &heard);
    assert!(likeness > 0.9, "the greeting is not what was heard: {likeness:.2}");
    let answer = script.pcm("We are open from nine to five.");
    let likeness = sound::likeness(sound::trim(&answer), &heard);
    assert!(likeness > 0.8, "the answer was not heard: {likeness:.2}");
}

/// The agent sends nothing to a caller on hold, and everything after it.
pub fn hold_and_unhold(offhook: &Offhook, phone: &mut Softphone, call: &str) {
    let sent = || offhook.call(call)["quality"]["packets_sent"].as_u64().expect("a number");
    let pause = || std::thread::sleep(Duration::from_secs(1));
    // PJSIP's own names: 3 is sendrecv, 1 is what holds send: encoding alone.
    phone.tell("hold");
    phone.expect("the answer to hold", |event| event["event"] == "media" && event["direction"] != 3);
    pause();
    let before = sent();
    pause();
    let held = sent() - before;
    assert!(held <= 5, "{held} packets to a caller on hold");
    phone.tell("unhold");
    phone.expect("the answer to unhold", |event| event["event"] == "media" && event["direction"] == 3);
    pause();
    let before = sent();
    pause();
    let talking = sent() - before;
    assert!((25..=120).contains(&talking), "{talking} packets in a second after hold");
}

#[test]
fn hears_its_own_words_back_from_the_echo_agent() {
    judged(hears_itself);
}

fn hears_itself() {
    let Some(models) = models() else { return };
    let _cores = one_of_two();
    let offhook = Offhook::start(&ECHO, "");
    let Some(mut phone) = Softphone::open(offhook.sip()) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = Script::new(&models, folder.path());
    let recording = folder.path().join("echo.wav");
    phone.tell(&format!("record {}", recording.display()));
    phone.register("register");
    let call = phone.call("1000");
    let text = "I would like to hear my own words, please.";
    say_to_the_echo(&offhook, &mut phone, &script, &call, text);
    phone.hang_up();
    let over = offhook.until_call(&call, "the end", |call| call["state"] == "ended");
    assert_eq!(over["ended"]["by"], "caller", "{over}");
    phone.tell("stop_recording");
    phone.register("unregister");
    phone.close();
    let heard = sound::read(&recording);
    assert_sound(&heard, "the echo");
    let likeness = sound::likeness(sound::trim(&script.pcm(text)), &heard);
    assert!(likeness > 0.85, "the words did not come back: {likeness:.2}");
}
