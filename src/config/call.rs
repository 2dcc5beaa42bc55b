//! What `offhook call` and `offhook demo` are told on the command line.

use super::Error;
use super::Secret;
use super::environment::Environment;
use super::given::Given;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most exchanges of one call: half an hour of short ones.
const TURNS_MAX: usize = 500;
/// The largest jitter that is added, in milliseconds: more is no telephone call any more.
const JITTER_MAX_MS: u64 = 500;

/// A call to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who is called.
    pub uri: String,
    /// Who calls.
    pub user: String,
    /// `OFFHOOK_CALL_PASSWORD`, for who is asked.
    pub password: Option<Secret>,
    /// Whether to register first.
    pub register: bool,
    /// Recordings to be played to the agent, in order.
    pub wavs: Vec<PathBuf>,
    /// Texts to be said by the local voice, behind those.
    pub says: Vec<String>,
    /// How many exchanges; what is said starts over where there is less of it. `None`: each once.
    pub turns: Option<usize>,
    /// The share of packets lost in each direction, in hundredths of a percent.
    pub loss_bp: u16,
    /// The most delay that is added to a packet.
    pub jitter: Duration,
    /// The chance in loss and jitter.
    pub seed: u64,
    /// Where the recording goes; `None`: there is none.
    pub record: Option<PathBuf>,
    /// Whether somebody named that file; else it goes into the working directory, where that can be written.
    pub record_is_named: bool,
    /// Whether to print the report as JSON.
    pub json: bool,
    /// Whether to find out first how exact this telephone is here.
    pub calibrate: bool,
}

/// The options of the command line.
#[derive(clap::Args, Debug)]
pub struct CallArgs {
    /// A recording to play to the agent (WAV); may be given several times, one for each turn.
    #[arg(long, value_name = "FILE")]
    wav: Vec<PathBuf>,
    /// A text to say with the local voice; may be given several times, one for each turn.
    #[arg(long, value_name = "TEXT")]
    say: Vec<String>,
    /// How many turns; what is said starts over where there is less of it.
    #[arg(long, value_name = "N")]
    turns: Option<String>,
    /// Packets lost in each direction, in percent.
    #[arg(long, value_name = "PERCENT")]
    loss: Option<String>,
    /// The most delay added to each packet, in milliseconds.
    #[arg(long, value_name = "MS")]
    jitter: Option<String>,
    /// The chance in loss and jitter [default: 1].
    #[arg(long, value_name = "N")]
    seed: Option<String>,
    /// Where both sides are recorded, caller left, agent right [default: offhook-call.wav].
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Keep no recording.
    #[arg(long, conflicts_with = "record")]
    no_record: bool,
    /// Print the report as JSON (mrl-report/1); everything else goes to stderr.
    #[arg(long)]
    json: bool,
    /// First measure this telephone against a programmed delay, and put that into the report; takes a minute and a half.
    #[arg(long)]
    calibrate: bool,
}

/// What `offhook call` has beside [`CallArgs`].
#[derive(clap::Args, Debug)]
pub struct PeerArgs {
    /// Who is called (default: sip:1000@127.0.0.1:5060).
    #[arg(value_name = "SIP-URI")]
    uri: Option<String>,
    /// Who calls [default: agent001]; the password is read from OFFHOOK_CALL_PASSWORD.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Do not register first.
    #[arg(long)]
    no_register: bool,
    #[command(flatten)]
    call: CallArgs,
}

impl PeerArgs {
    /// Reads the options of `offhook call`.
    pub fn read(self, env: &Environment<'_>, cwd: &Path) -> Result<Call, Error> {
        // A password may have spaces in it, where a key has none.
        let password = env.get("OFFHOOK_CALL_PASSWORD").map(|password| Secret::new(password.value));
        let call = self.call.read(cwd)?;
        Ok(Call {
            uri: self.uri.unwrap_or(call.uri),
            user: match self.user {
                Some(user) => super::accounts::name(&Given { name: "--user".into(), value: user })?,
                None => call.user,
            },
            password,
            register: !self.no_register,
            ..call
        })
    }
}

impl CallArgs {
    /// Reads what every call may be told.
    pub fn read(self, cwd: &Path) -> Result<Call, Error> {
        let given = |name: &str, value: Option<String>| value.map(|value| Given { name: name.to_owned(), value });
        let turns = given("--turns", self.turns).map(|turns| turns.number(1..=TURNS_MAX as u64)).transpose()?;
        let loss_bp = given("--loss", self.loss).map(|loss| percent(&loss)).transpose()?;
        let jitter = given("--jitter", self.jitter).map(|jitter| jitter.number(0..=JITTER_MAX_MS)).transpose()?;
        let seed = given("--seed", self.seed).map(|seed| seed.number(0..=u64::from(u32::MAX))).transpose()?;
        let record_is_named = self.record.is_some();
        let record = (!self.no_record).then(|| cwd.join(self.record.unwrap_or_else(|| "offhook-call.wav".into())));
        Ok(Call {
            uri: "sip:1000@127.0.0.1:5060".to_owned(),
            user: "agent001".to_owned(),
            password: None,
            register: true,
            wavs: self.wav.into_iter().map(|wav| cwd.join(wav)).collect(),
            says: self.say,
            turns: turns.map(|turns| turns as usize),
            loss_bp: loss_bp.unwrap_or(0),
            jitter: Duration::from_millis(jitter.unwrap_or(0)),
            seed: seed.unwrap_or(1),
            record,
            record_is_named,
            json: self.json,
            calibrate: self.calibrate,
        })
    }
}

/// Reads a share in percent, as hundredths of one.
fn percent(given: &Given) -> Result<u16, Error> {
    let value = given.value.trim_end_matches('%').trim().parse::<f64>().ok();
    match value.filter(|percent| (0.0..=50.0).contains(percent)) {
        Some(percent) => Ok((percent * 100.0).round() as u16),
        None => Err(given.wrong("a share in percent, 0 to 50")),
    }
}
