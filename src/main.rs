//! Reads the settings, starts the engine, waits for a signal, stops; nothing else.

use offhook::config::{self, Account, Command, Config, DigestAlgorithm, LogLevel, Secret};
use offhook::control::{Bridge, StartError, server::Server, webhooks::Webhooks};
use offhook::engine::{Engine, certificate, check, clock::SystemClock, folders, log};
use offhook::phone::{Error, command, demo};
use offhook::providers::local::models;
use offhook::replay;
use offhook::time::Clock;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let cwd = std::env::current_dir().unwrap_or_default();
    let (mut config, command) = match Config::load(&args, &|name| std::env::var(name).ok(), &cwd) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error.to_string()),
    };
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    config.warnings.extend(config::misspelt(names));
    // A server tells them by its log, which may be for programs.
    for line in config.warnings.iter().filter(|_| command != Command::Run) {
        complain(&format!("offhook: {line}\n"));
    }
    match command {
        Command::Run => run(config),
        Command::Check { json } => run_check(&config, json),
        Command::Models => obtain_models(&config),
        Command::Ha1 { user, realm } => print_ha1(&user, &realm),
        Command::Call(wanted) => call(&config, &wanted, None),
        Command::Demo(wanted) => demo(config, &wanted),
        Command::Replay(wanted) => replay_call(&wanted),
        Command::Print(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
    }
}

fn run(config: Config) -> ExitCode {
    if let Err(line) = usable(&config) {
        return refuse(&line);
    }
    let clock = Arc::new(SystemClock::start());
    // Before any thread: each inherits that these signals are taken by the one below.
    let mut signals = match Signals::new([SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("cannot wait for signals: {error}")),
    };
    let (journal, log) = match log::start_as(config.log_format, clock.clone(), config.log) {
        Ok(started) => started,
        Err(error) => return fail(&format!("cannot start a thread: {error}")),
    };
    for line in &config.warnings {
        journal.line(LogLevel::Warn, None, line);
    }
    let engine = Arc::new(Engine::new(config.clone(), clock, journal.clone()));
    let mut server = match Server::start(&config.control, engine.clone()) {
        Ok(server) => server,
        Err(error) => {
            let listen = config.control.listen;
            let line = format!("the control API cannot listen on {listen} ({error}); try --api 127.0.0.1:8001");
            return if error.kind() == ErrorKind::AddrNotAvailable { refuse(&line) } else { fail(&line) };
        }
    };
    journal.line(LogLevel::Info, None, format_args!("control API on http://{}", server.local_addr()));
    let bridge: Arc<dyn Bridge> = engine.clone();
    let webhooks = match Webhooks::start(&config.webhooks, &bridge, &journal) {
        Ok(webhooks) => webhooks,
        Err(error) => return fail(&format!("cannot start a thread: {error}")),
    };
    // The first start may obtain models for minutes, and nobody is in a call yet: a signal ends it there and then.
    let at_once = Arc::new(AtomicBool::new(config.start));
    for signal in [SIGINT, SIGTERM] {
        if let Err(error) = flag::register_conditional_shutdown(signal, 0, at_once.clone()) {
            return fail(&format!("cannot wait for signals: {error}"));
        }
    }
    if config.start
        && let Err(error) = engine.start(config.sip.listen)
    {
        let line = start_failure(&error, config.sip.listen);
        // A port that is taken may be free tomorrow; an address of another machine was never right.
        let is_elsewhere = matches!(&error, StartError::Bind(error) if error.kind() == ErrorKind::AddrNotAvailable);
        return if is_elsewhere { refuse(&line) } else { fail(&line) };
    }
    at_once.store(false, Ordering::Release);
    signals.forever().next();
    // Whoever asks twice does not want to wait.
    at_once.store(true, Ordering::Release);
    journal.line(LogLevel::Info, None, "stopping");
    engine.stop();
    webhooks.stop();
    server.stop();
    log.end();
    ExitCode::SUCCESS
}

/// Finds out whether the files and folders that the settings name can be used: which cannot, in a line.
fn usable(config: &Config) -> Result<(), String> {
    config.sip.tls.as_ref().map_or(Ok(()), |tls| certificate::load(tls).map(drop))?;
    folders::check(config)
}

fn start_failure(error: &StartError, listen: SocketAddr) -> String {
    match error {
        StartError::AlreadyRunning { port } => format!("the bridge runs already, on port {port}"),
        StartError::Bind(error) => {
            format!("cannot serve SIP on udp {listen} ({error}); {}", cure(error.kind(), listen))
        }
        StartError::Other(text) => text.clone(),
    }
}

/// What an operator can do about an address that was not to be had.
fn cure(kind: ErrorKind, listen: SocketAddr) -> String {
    let (ip, port) = (listen.ip(), listen.port());
    let next = SocketAddr::new(ip, port.checked_add(1).unwrap_or(5060));
    match kind {
        ErrorKind::AddrInUse => {
            format!("a softphone without an account may hold the port: close it, or try --sip {next}")
        }
        ErrorKind::AddrNotAvailable => {
            format!("{ip} is not an address of this machine: try --sip 0.0.0.0:{port}")
        }
        ErrorKind::PermissionDenied => "ports below 1024 are the system's: try --sip 0.0.0.0:5060".to_owned(),
        _ => format!("try --sip {next}"),
    }
}

/// Says whether everything works from here; exit code 1 where something does not.
fn run_check(config: &Config, json: bool) -> ExitCode {
    if let Err(line) = usable(config) {
        return refuse(&line);
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let report = check::run(config, &clock);
    print(&if json { format!("{}\n", report.json()) } else { report.to_string() });
    if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn obtain_models(config: &Config) -> ExitCode {
    match models::obtain(&config.providers.models, &models::Set::ALL, &mut |line| print(&format!("{line}\n"))) {
        Ok(()) => {
            print(&format!("the local models are in {}\n", config.providers.models.display()));
            ExitCode::SUCCESS
        }
        Err(error @ models::Error::Io { .. }) => refuse(&error.to_string()),
        Err(error) => fail(&error.to_string()),
    }
}

/// Starts an agent, and calls it.
fn demo(mut config: Config, wanted: &config::Call) -> ExitCode {
    // Lines of the log would stand between those of the conversation.
    config.log = config.log.min(LogLevel::Warn);
    let clock = Arc::new(SystemClock::start());
    match log::start(clock.clone(), config.log) {
        Ok((journal, _log)) => {
            let engine = Engine::new(config.clone(), clock, journal);
            call(&config, wanted, Some(&engine))
        }
        Err(error) => fail(&format!("cannot start a thread: {error}")),
    }
}

/// Calls an agent: `engine`, or whoever is named.
fn call(config: &Config, wanted: &config::Call, engine: Option<&Engine>) -> ExitCode {
    let clock = Arc::new(SystemClock::start());
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second one ends the program there and then.
        let at_once = flag::register_conditional_shutdown(signal, 130, stop.clone());
        if let Err(error) = at_once.and_then(|_| flag::register(signal, stop.clone())) {
            return fail(&format!("cannot wait for signals: {error}"));
        }
    }
    // Where the report goes to programs, people read stderr.
    let mut say = |line: &str| if wanted.json { complain(&format!("{line}\n")) } else { print(&format!("{line}\n")) };
    let models = &config.providers.models;
    let made = match engine {
        Some(engine) => demo::run(engine, wanted, models, &clock, &stop, &mut say),
        None => command::recordings(wanted)
            .and_then(|recordings| command::make(wanted, recordings, models, &clock, &stop, &mut say)),
    };
    match made {
        Ok(made) => {
            command::print(&made, models, &mut say);
            if wanted.json {
                print(&format!("{:#}\n", made.report().json()));
            }
            let measured = made.outcome.results.iter().any(Result::is_ok);
            if measured { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(Error::Argument(line)) => refuse(&line),
        Err(Error::Call(line)) => fail(&line),
    }
}

/// Runs a captured call again; exit code 1 where anything is not the same, 2 where there is nothing to be run.
fn replay_call(wanted: &config::Replay) -> ExitCode {
    match replay::run(wanted, &mut |line| print(&format!("{line}\n"))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => refuse(&format!("replay DIR: {error}")),
    }
}

/// Reads a password, and prints what is kept of it.
fn print_ha1(user: &str, realm: &str) -> ExitCode {
    let mut password = String::new();
    if let Err(error) = std::io::stdin().read_line(&mut password) {
        return fail(&format!("cannot read the password from standard input: {error}"));
    }
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return fail("there is no password on the first line of standard input");
    }
    let account = Account::with_password(user, realm, password);
    print(&format!("[[sip.accounts]]\nuser = \"{user}\"\n"));
    for (key, algorithm) in [("ha1", DigestAlgorithm::Md5), ("ha1_sha256", DigestAlgorithm::Sha256)] {
        print(&format!("{key} = \"{}\"\n", account.ha1(algorithm).map_or("", Secret::expose)));
    }
    ExitCode::SUCCESS
}

/// Says which setting or argument is wrong.
fn refuse(text: &str) -> ExitCode {
    complain(&format!("offhook: {text}\n"));
    ExitCode::from(2)
}

/// Says what did not work.
fn fail(text: &str) -> ExitCode {
    complain(&format!("offhook: {text}\n"));
    ExitCode::FAILURE
}

/// Writes to standard output. Who reads no further (`| head`) does not end a call in the middle of a word.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes to standard error, likewise.
fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
