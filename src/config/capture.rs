//! What `offhook replay` is told on the command line.

use super::Error;
use super::given::Given;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest wait for anything that can be tried, in milliseconds; no caller waits for longer.
const WAIT_MAX_MS: u64 = 10_000;
/// What Flux takes as `eager_eot_threshold` and as `eot_threshold`.
const EAGER: RangeInclusive<f64> = 0.3..=0.9;
const EOT: RangeInclusive<f64> = 0.5..=1.0;
/// The file that every capture has.
const DESCRIPTION: &str = "capture.json";
/// What can be tried.
const NAMES: &str = "eager=0.3..0.9, eot=0.5..1.0, gap=MS, confirm=MS, pause_max=MS, false_pauses=N or speculation=off, with commas between them";

/// A captured call that is to be run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The capture's folder.
    pub folder: PathBuf,
    /// What is tried beside it.
    pub what_if: Option<WhatIf>,
}

/// Settings to try on a captured call; what is `None` stays as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WhatIf {
    /// How sure the recogniser is to be of the end of a turn before the reply is drafted, in hundredths: 30 to 90, and at most `eot`.
    pub eager: Option<u8>,
    /// How sure it is to be before the turn has ended, in hundredths: 50 to 100.
    pub eot: Option<u8>,
    /// How long a gap in the caller's packets is waited for, in place of what the lateness seen asks for.
    pub gap: Option<Duration>,
    /// How long after the caller's voice has stopped words may still come before the agent goes on.
    pub confirm: Option<Duration>,
    /// How long a voice that yields no words keeps the agent silent.
    pub pause_max: Option<Duration>,
    /// Pauses in a row without a word after which the detector alone is not believed any more.
    pub false_pauses: Option<u8>,
    /// Whether replies are begun on only when the caller's turn has surely ended.
    pub speculation_off: bool,
}

/// The options of the command line.
#[derive(clap::Args, Debug)]
pub struct ReplayArgs {
    /// The capture's folder: one of those in the DIR of --capture.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Also run the call with other settings, and print what becomes of it beside what was: eager=0.3 and eot=0.7 (how sure
    /// the recogniser is to be of a turn's end before the reply is drafted, and before it has ended), gap=40ms (how long a gap in
    /// the caller's packets is waited for), confirm=700ms, pause_max=2000ms, false_pauses=3 (barge-in), speculation=off.
    #[arg(long, value_name = "NAME=VALUE,...")]
    what_if: Option<String>,
}

impl ReplayArgs {
    /// Reads the options of `offhook replay`.
    pub fn read(self, cwd: &Path) -> Result<Replay, Error> {
        let what_if = self.what_if.map(|value| what_if(&Given { name: "--what-if".into(), value })).transpose()?;
        let folder = cwd.join(&self.folder);
        if folder.join(DESCRIPTION).is_file() {
            return Ok(Replay { folder, what_if });
        }
        // Whoever names the DIR of --capture is shown what is in it, the newest.
        let inside = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let newest =
            inside.filter(|entry| entry.path().join(DESCRIPTION).is_file()).map(|entry| entry.file_name()).max();
        let hint = newest.map_or_else(
            || "it may be one of those in the DIR of --capture".to_owned(),
            |newest| format!("it may be one in it, such as {}", newest.to_string_lossy()),
        );
        Err(Error(format!("replay DIR: {} is not the folder of a captured call; {hint}", self.folder.display())))
    }
}

fn what_if(given: &Given) -> Result<WhatIf, Error> {
    let mut what_if = WhatIf::default();
    for part in given.value.split(',') {
        let (name, value) = part.split_once('=').ok_or_else(|| given.wrong(NAMES))?;
        let name = name.trim();
        let given = Given { name: format!("--what-if {name}"), value: value.trim().to_owned() };
        match name {
            "gap" => what_if.gap = Some(wait(&given)?),
            "confirm" => what_if.confirm = Some(wait(&given)?),
            "pause_max" => what_if.pause_max = Some(wait(&given)?),
            "false_pauses" => what_if.false_pauses = u8::try_from(given.number(0..=100)?).ok(),
            "speculation" => what_if.speculation_off = given.choice(&[("off", true)])?,
            "eager" => what_if.eager = Some(share(&given, EAGER)?),
            "eot" => what_if.eot = Some(share(&given, EOT)?),
            _ => return Err(given.wrong(NAMES)),
        }
    }
    match what_if {
        WhatIf { eager: Some(eager), eot: Some(eot), .. } if eager > eot => Err(Error(format!(
            "--what-if eager: it is more than eot, {eager} to {eot} in hundredths; nothing would be drafted"
        ))),
        WhatIf { eager: Some(_), speculation_off: true, .. } => {
            Err(Error("--what-if eager: speculation=off drafts nothing; it may be one or the other".into()))
        }
        what_if => Ok(what_if),
    }
}

/// Reads a share as hundredths.
fn share(given: &Given, range: RangeInclusive<f64>) -> Result<u8, Error> {
    let wrong = || given.wrong(&format!("a number from {:.1} to {:.1}", range.start(), range.end()));
    let share = given.value.parse().ok().filter(|share: &f64| range.contains(share)).ok_or_else(wrong)?;
    Ok((share * 100.0).round() as u8)
}

fn wait(given: &Given) -> Result<Duration, Error> {
    let value = given.value.trim_end_matches("ms").trim().to_owned();
    let bare = Given { name: given.name.clone(), value };
    bare.number(0..=WAIT_MAX_MS).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<WhatIf, String> {
        what_if(&Given { name: "--what-if".into(), value: value.into() }).map_err(|error| error.to_string())
    }

    #[test]
    fn several_settings_are_tried_at_once() {
        let tried = read("gap=40ms, confirm=500,false_pauses=1,eot=0.8,speculation=off").expect("right");
        assert_eq!((tried.gap, tried.confirm), (Some(Duration::from_millis(40)), Some(Duration::from_millis(500))));
        assert_eq!((tried.false_pauses, tried.speculation_off, tried.pause_max), (Some(1), true, None));
        assert_eq!((tried.eot, tried.eager), (Some(80), None));
        assert_eq!(read("eager=0.3").expect("right").eager, Some(30));
    }

    #[test]
    fn what_cannot_be_tried_says_what_can() {
        assert!(read("gap").expect_err("no value").contains("gap=MS"));
        assert!(read("volume=11").expect_err("no such name").contains("confirm=MS"));
        assert!(read("gap=soon").expect_err("no number").contains("--what-if gap"));
        assert!(read("eager=0.2").expect_err("less than Flux takes").contains("0.3 to 0.9"));
        assert!(read("eager=NaN").expect_err("no number").contains("--what-if eager"));
        assert!(read("eot=1.1").expect_err("no share").contains("0.5 to 1.0"));
        assert!(read("eager=0.8,eot=0.6").expect_err("never").contains("more than eot"));
        assert!(read("eager=0.8,speculation=off").expect_err("both").contains("speculation=off"));
    }
}
