//! `offhook demo`: an agent and a telephone in one process, and where each reply's time went.

use super::Error;
use super::command::{self, Made, Progress};
use crate::config;
use crate::engine::Engine;
use crate::engine::bridge::{Bridge, StartError};
use crate::engine::clock::SystemClock;
use crate::metrics::TurnView;
use crate::turn::timeline::Stage;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Characters of the longest bar.
const BAR: f64 = 40.0;

/// Starts the agent on a free port, calls it, and prints what was said and where the time went.
///
/// # Errors
/// Which argument is wrong, or what kept the two from talking.
pub fn run(
    engine: &Engine,
    wanted: &config::Call,
    models: &Path,
    clock: &Arc<SystemClock>,
    stop: &AtomicBool,
    print: Progress<'_>,
) -> Result<Made, Error> {
    let recordings = command::recordings(wanted)?;
    engine.prepare(&mut *print);
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    engine.start(listen).map_err(|error| failure(&error))?;
    let port = engine.running().map_or(0, |running| running.listen.port());
    let wanted = config::Call { uri: format!("sip:1000@127.0.0.1:{port}"), ..wanted.clone() };
    let made = command::make(&wanted, recordings, models, clock, stop, print);
    engine.stop();
    let made = made?;
    let turns = engine.board().find(&made.outcome.call_id, engine.now()).map(|call| call.turns).unwrap_or_default();
    print("");
    for turn in &turns {
        waterfall(turn, print);
    }
    print("");
    Ok(made)
}

fn failure(error: &StartError) -> String {
    match error {
        StartError::AlreadyRunning { port } => format!("the agent runs already, on port {port}"),
        StartError::Bind(error) => format!("the agent cannot open a SIP port: {error}"),
        StartError::Other(text) => format!("the agent cannot start: {text}"),
    }
}

/// Prints one turn: what was said, and the stages of the reply on one scale.
fn waterfall(turn: &TurnView, print: Progress<'_>) {
    let record = &turn.record;
    if !record.caller.is_empty() {
        print(&format!("heard  \"{}\"", record.caller));
    }
    print(&format!("said   \"{}\"", record.agent));
    let Some(stages) = &turn.latency else { return };
    let (parts, total) = stages.millis();
    if record.caller.is_empty() || total <= 0.0 {
        return;
    }
    let mut before = 0.0;
    for (stage, ms) in Stage::ALL.into_iter().zip(parts) {
        let (from, to) = (before / total * BAR, (before + ms) / total * BAR);
        let bar = "█".repeat((to.round() - from.round()).max(0.0) as usize);
        let line = format!("       {:<12}{ms:8.1} ms  {}{bar}", stage.name(), " ".repeat(from.round() as usize));
        print(line.trim_end());
        before += ms;
    }
    print(&format!("       {:<12}{total:8.1} ms, from the last packet with speech to the first of the reply", "total"));
}
