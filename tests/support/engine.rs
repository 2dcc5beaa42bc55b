//! An engine in this process for tests and measurements, on ports that nobody else has.
#![allow(dead_code, reason = "each test and measurement uses a part of it")]

use offhook::config::Config;
use offhook::control::Bridge;
use offhook::engine::{Engine, clock::SystemClock, log};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::Arc;

/// Starts an engine whose environment is `env` and nothing else, with SIP on a free loopback port; `args` are the flags of
/// the command line. Returns it and where it serves SIP.
pub fn start(args: &[&str], env: &[(&str, String)]) -> (Arc<Engine>, SocketAddr) {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    let lookup = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
    let nowhere = tempfile::tempdir().expect("a temporary folder");
    let (config, _) = Config::load(&args, &lookup, nowhere.path()).expect("settings that are right");
    let clock = Arc::new(SystemClock::start());
    let (journal, _log) = log::start(clock.clone(), config.log).expect("a thread");
    let engine = Arc::new(Engine::new(config, clock, journal));
    engine.start("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listen = engine.running().expect("it was just started").listen;
    (engine, listen)
}
