//! `offhook check` against the stand-ins: everything well, and everything that can be wrong.

use super::standin::groq::Fault;
use super::standin::{KEY, Refusal, Server, Wall, cartesia, flux, groq};
use super::{assert_secret, eventually};
use offhook::config::{Command, Config};
use offhook::engine::check::{self, Report};
use offhook::time::Clock;
use serde_json::Value;
use std::ffi::OsString;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// The stand-ins, and the settings that lead to them.
struct World {
    _servers: [Server; 3],
    groq: Arc<groq::Plan>,
    env: Vec<(&'static str, String)>,
}

fn world(groq: groq::Plan) -> World {
    let (ears, _, ears_url) = flux::start(flux::Plan::default());
    let (mind, groq, mind_url) = groq::start(groq);
    let (voice, _, voice_url) = cartesia::start(cartesia::Plan::default());
    let keys = ["DEEPGRAM_API_KEY", "GROQ_API_KEY", "CARTESIA_API_KEY"].map(|name| (name, KEY.to_owned()));
    let urls = [("DEEPGRAM_BASE_URL", ears_url), ("GROQ_BASE_URL", mind_url), ("CARTESIA_BASE_URL", voice_url)];
    World { _servers: [ears, mind, voice], groq, env: keys.into_iter().chain(urls).collect() }
}

impl World {
    /// Checks with these settings, on ports that nobody has.
    fn check(&self, toml: &str) -> (Report, Config) {
        let folder = tempfile::tempdir().expect("a folder for the test");
        std::fs::write(folder.path().join("offhook.toml"), toml).expect("a file for the test");
        let args = "--sip 127.0.0.1:0 --api 127.0.0.1:0 check";
        let args: Vec<OsString> = args.split(' ').map(OsString::from).collect();
        let models = folder.path().join("none").display().to_string();
        let env = |name: &str| match name {
            "OFFHOOK_MODELS" => Some(models.clone()),
            name => self.env.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()),
        };
        let (config, command) = Config::load(&args, &env, folder.path()).expect("right settings");
        assert_eq!(command, Command::Check { json: false });
        let clock: Arc<dyn Clock> = Wall::start();
        let report = check::run(&config, &clock);
        assert_secret(&report.to_string());
        assert_secret(&report.json());
        (report, config)
    }
}

fn quick() -> groq::Plan {
    groq::Plan { first_token: Duration::from_millis(30), replies: vec!["Yes.".into()], ..groq::Plan::default() }
}

#[test]
fn everything_that_works_is_told_with_its_times() {
    let world = world(quick());
    let (report, _) = world.check("");
    assert!(report.ok, "{report}");
    let json: Value = serde_json::from_str(&report.json()).expect("it is JSON");
    let finding = |what: &str| {
        let all = json["findings"].as_array().expect("a list");
        all.iter().find(|finding| finding["what"] == what && finding["place"] == 0).expect(what).clone()
    };
    for (what, name) in [("ears", "flux"), ("mind", "groq"), ("voice", "cartesia")] {
        let finding = finding(what);
        assert_eq!(finding["name"], name, "{finding}");
        assert!(finding["tcp_ms"].is_number() && finding["cold_ms"].is_number(), "{finding}");
        assert!(finding["tls_ms"].is_null(), "loopback is not encrypted: {finding}");
    }
    assert!(finding("mind")["warm_ms"].as_f64().is_some_and(|ms| ms >= 30.0), "{json}");
    assert!(report.reply_ms.is_some_and(|ms| ms > 260.0 + 30.0 + 9.0), "{report}");
    let text = report.to_string();
    assert!(text.contains("mind, fallback 1") && text.contains("offhook models"), "the local ones are named: {text}");
    assert!(text.contains("everything works"), "{text}");
    let asked = world.groq.seen.lock().bodies.len();
    assert_eq!(asked, 2, "a word, twice");
}

#[test]
fn a_refused_key_and_a_dead_tool_are_told_and_the_rest_is_checked() {
    let plan = quick();
    let refused = Refusal::new(401, "{\"error\":{\"message\":\"Invalid API Key\"}}");
    (0..8).for_each(|_| plan.faults.push(Fault::Refuse(refused.clone())));
    let world = world(plan);
    let toml = "[[tools]]\nname = \"find\"\ndescription = \"Finds it\"\nurl = \"http://127.0.0.1:9/x\"\n";
    let (report, _) = world.check(toml);
    assert!(!report.ok && report.reply_ms.is_none(), "{report}");
    let wrong: Vec<_> = report.findings.iter().filter(|finding| !finding.ok).collect();
    assert_eq!(wrong.iter().map(|finding| finding.what).collect::<Vec<_>>(), ["mind", "tool"], "{report}");
    assert!(wrong[0].note.contains("401"), "{report}");
    assert!(wrong[1].note.contains("127.0.0.1 cannot be reached"), "{report}");
    assert!(report.to_string().contains("2 things do not work"), "{report}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let world = world(quick());
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = holder.local_addr().expect("bound");
    let (report, _) = world.check(&format!("[sip]\nlisten = \"{address}\"\n"));
    assert!(report.ok, "the flag wins over the file: {report}");
    let mut env = world.env.clone();
    env.push(("OFFHOOK_GREETING", String::new()));
    let (_, mut config) = World { env, ..world }.check("");
    config.sip.listen = address;
    let clock: Arc<dyn Clock> = Wall::start();
    config.providers.stt = config.providers.stt.clone();
    let mut report = None;
    eventually("the check", || {
        report = Some(check::run(&config, &clock));
        true
    });
    let report = report.expect("it was made");
    let sip = report.findings.iter().find(|finding| finding.name.starts_with("SIP")).expect("it is listed");
    assert!(!sip.ok && sip.note.starts_with("in use"), "{report}");
}
