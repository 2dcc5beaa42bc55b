//! The command line, and the text of `--help`, which says it all.

use super::call::{CallArgs, PeerArgs};
use super::capture::ReplayArgs;
use super::given::Given;
use super::{Error, environment};
use clap::error::ErrorKind;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Answers the phone with an AI agent: register a softphone, dial anything, talk.
///
/// Works with no key and no settings: each stage (hearing, thinking, speaking) whose key is set uses its provider, each
/// other one runs on this machine.
#[derive(clap::Parser, Debug)]
#[command(name = "offhook", version)]
pub struct Cli {
    /// Start the bridge at once; without it, POST /api/v1/sip/start does.
    #[arg(long)]
    pub start: bool,
    /// Where the control API listens; other than on loopback it demands OFFHOOK_API_TOKEN [default: 127.0.0.1:8000].
    #[arg(long, value_name = "ADDR:PORT")]
    api: Option<String>,
    /// Where --start serves SIP over UDP and TCP [default: 0.0.0.0:5060].
    #[arg(long, value_name = "ADDR:PORT")]
    sip: Option<String>,
    /// UDP ports for RTP and RTCP, one pair per call [default: 10000-20000].
    #[arg(long, value_name = "A-B")]
    rtp_ports: Option<String>,
    /// The settings file [default: offhook.toml in the working directory, if it is there].
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// A file of NAME=value lines, for names that the environment does not set [default: .env in the working directory,
    /// if it is there].
    #[arg(long, value_name = "FILE", global = true)]
    pub env_file: Option<PathBuf>,
    /// Keep in a folder of DIR what each call is told and sends, so that offhook replay can run it again; all that is said is
    /// in it.
    #[arg(long, value_name = "DIR")]
    pub capture: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<Subcommand>,
}

/// What is done where no calls are served.
#[derive(clap::Subcommand, Debug)]
pub enum Subcommand {
    /// Obtain the models of the local agent, once; the first start that needs them does it too.
    Models,
    /// Say whether everything that the settings name works from here, and what each provider costs in milliseconds. Asks every
    /// provider for one word, which costs a small fraction of a cent. Exit code 0: it works, 1: something does not.
    Check {
        /// Print JSON in place of a table.
        #[arg(long)]
        json: bool,
    },
    /// Read a password from standard input, and print the lines that [[sip.accounts]] holds in its place.
    Ha1 {
        /// The account's user name.
        user: String,
    },
    /// Call a SIP agent, talk with it, and print how long each reply took: this one, or any other.
    Call(PeerArgs),
    /// Start an agent and a telephone in this one process, and let them talk.
    Demo(CallArgs),
    /// Run a captured call again, offline, and say whether every packet is the same, byte for byte. Exit code 0: it is, 1: not.
    Replay(ReplayArgs),
}

/// What the command line says.
pub enum Parsed {
    /// These settings.
    Settings(Box<Cli>),
    /// To print this.
    Print(String),
}

/// Columns of the narrowest terminal in use; `--help` fits into it.
const COLUMNS: usize = 80;
/// Columns of the names of variables, in `--help`.
const NAMES: usize = 24;

/// Reads the arguments after the program's name.
pub fn parse(args: &[OsString]) -> Result<Parsed, Error> {
    let command = <Cli as clap::CommandFactory>::command().term_width(COLUMNS).after_help(after_help());
    let asked =
        args.iter().filter_map(|arg| command.find_subcommand(arg)).map(|command| format!(" {}", command.get_name()));
    let asked = asked.take(1).collect::<String>();
    let args = std::iter::once(OsString::from("offhook")).chain(args.iter().cloned());
    let parsed = command
        .try_get_matches_from(args)
        .and_then(|mut matches| <Cli as clap::FromArgMatches>::from_arg_matches_mut(&mut matches));
    match parsed {
        Ok(cli) => Ok(Parsed::Settings(Box::new(cli))),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Parsed::Print(error.to_string()))
        }
        Err(error) => {
            let told = in_one_line(&error.to_string());
            Err(Error(format!("{told} offhook{asked} --help lists them")))
        }
    }
}

/// Makes one line of what clap says in several: the error, the arguments that it is about, and what was probably meant.
fn in_one_line(text: &str) -> String {
    let mut lines = text.lines();
    let mut told = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    for missing in lines.by_ref().map(str::trim).take_while(|line| !line.is_empty()) {
        told.push(' ');
        told.push_str(missing);
    }
    let meant =
        lines.find_map(|line| line.trim().strip_prefix("tip: ")?.split_once("exists: ")).map(|(_, meant)| meant);
    match meant {
        Some(meant) => format!("{told}; did you mean {meant}?"),
        None => format!("{told};"),
    }
}

fn after_help() -> String {
    let mut text = String::from("Environment (or .env):\n");
    for (name, line) in environment::VARIABLES {
        wrap(&mut text, &format!("  {name:<width$}", width = NAMES - 2), line);
    }
    text.push('\n');
    for paragraph in [
        "A setting is taken from the first place that has it: command line, environment, .env, offhook.toml, default. A wrong \
         one is told in one line on stderr, with exit code 2.",
        "offhook.toml holds [agent], [[agent.transfers]], [[answers]], [[tools]], [[webhooks]], [sip], [[sip.accounts]], \
         [media], [control], [records], [capture], [slo], [providers], and in [stt], [llm], [tts] who serves each stage and who \
         takes over: use = [\"groq\", \"local\"].",
        "Keys and tokens are read from the environment or .env only; ws:// and http:// addresses are allowed to this machine \
         only.",
    ] {
        wrap(&mut text, "", paragraph);
    }
    text
}

/// Adds a paragraph whose first line begins with `head`, and the others with as many spaces.
fn wrap(text: &mut String, head: &str, paragraph: &str) {
    let mut line = head.to_owned();
    for word in paragraph.split(' ') {
        if line.len() + 1 + word.len() > COLUMNS && line.trim_end().len() > head.trim_end().len() {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{}", line.trim_end());
            line = " ".repeat(head.len());
        }
        line.push_str(word);
        line.push(' ');
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

impl Cli {
    pub fn api(&self) -> Option<Given> {
        given("--api", self.api.as_ref())
    }

    pub fn sip(&self) -> Option<Given> {
        given("--sip", self.sip.as_ref())
    }

    pub fn rtp_ports(&self) -> Option<Given> {
        given("--rtp-ports", self.rtp_ports.as_ref())
    }
}

fn given(name: &str, value: Option<&String>) -> Option<Given> {
    value.map(|value| Given { name: name.to_owned(), value: value.clone() })
}
