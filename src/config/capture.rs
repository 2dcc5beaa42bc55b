//! What `offhook replay` is told on the command line.

use super::Error;
use super::given::Given;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest wait for anything that can be tried, in milliseconds; no caller waits for longer.
const WAIT_MAX_MS: u64 = 10_000;
/// What can be tried.
const NAMES: &str = "gap=MS, confirm=MS, pause_max=MS, false_pauses=N or speculation=off, with commas between them";

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
    /// Also run the call with other settings, and print what becomes of it beside what was: gap=40ms (how long a gap in the
    /// caller's packets is waited for), confirm=700ms, pause_max=2000ms, false_pauses=3 (barge-in), speculation=off.
    #[arg(long, value_name = "NAME=VALUE,...")]
    what_if: Option<String>,
}

impl ReplayArgs {
    /// Reads the options of `offhook replay`.
    pub fn read(self, cwd: &Path) -> Result<Replay, Error> {
        let what_if = self.what_if.map(|value| what_if(&Given { name: "--what-if".into(), value })).transpose()?;
        Ok(Replay { folder: cwd.join(self.folder), what_if })
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
            "eager" => {
                return Err(Error(
                    "--what-if eager: a capture holds what the recogniser said, not how sure it was of it; it may be \
                     speculation=off"
                        .into(),
                ));
            }
            _ => return Err(given.wrong(NAMES)),
        }
    }
    Ok(what_if)
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
        let tried = read("gap=40ms, confirm=500,false_pauses=1,speculation=off").expect("right");
        assert_eq!((tried.gap, tried.confirm), (Some(Duration::from_millis(40)), Some(Duration::from_millis(500))));
        assert_eq!((tried.false_pauses, tried.speculation_off, tried.pause_max), (Some(1), true, None));
    }

    #[test]
    fn what_cannot_be_tried_says_what_can() {
        assert!(read("gap").expect_err("no value").contains("gap=MS"));
        assert!(read("volume=11").expect_err("no such name").contains("confirm=MS"));
        assert!(read("gap=soon").expect_err("no number").contains("--what-if gap"));
        assert!(read("eager=0.3").expect_err("not captured").contains("how sure"));
    }
}
