//! What is kept of calls, where, and for how long; nothing, unless `[records]` names a folder.

use super::file::{PHRASE_MAX, in_file, number};
use super::given::Given;
use super::{Config, Error};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most days that records may be kept for: ten years.
const DAYS_MAX: i64 = 3_650;
/// The least bytes worth keeping: a quarter of an hour of one call.
const BYTES_MIN: i64 = 32 << 20;
/// Most bytes: what the largest disks hold.
const BYTES_MAX: i64 = 1 << 50;

/// What is kept of calls (`engine/recorder/`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    /// `records.folder` or `OFFHOOK_RECORDS`: where; `None`: nothing is kept.
    pub folder: Option<PathBuf>,
    /// Which of the two settings named it.
    pub named: String,
    /// Whether calls are recorded, in stereo. On by default where a folder is named: who names one wants that.
    pub audio: bool,
    /// Whether what was said is kept as text, with times.
    pub transcripts: bool,
    /// `records.pcap`: whether each call's packets are kept, from its INVITE on. Off by default: one call's can be asked for.
    pub pcap: bool,
    /// How long recordings, transcripts and packet captures are kept; `None`: until somebody removes them.
    pub keep: Option<Duration>,
    /// How many bytes of them are kept, the newest; `None`: as many as there are.
    pub keep_bytes_max: Option<u64>,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            folder: None,
            named: String::new(),
            audio: true,
            transcripts: true,
            pcap: false,
            keep: None,
            keep_bytes_max: None,
        }
    }
}

/// The table as it stands in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileRecords {
    folder: Option<String>,
    audio: Option<bool>,
    transcripts: Option<bool>,
    pcap: Option<bool>,
    keep_days: Option<i64>,
    keep_bytes_max: Option<i64>,
    consent: Option<String>,
}

impl FileRecords {
    /// Puts the settings into `config`; `env` is `OFFHOOK_RECORDS`. Where calls are recorded and callers are to be told so, the
    /// greeting begins with it, whatever the greeting is.
    pub(super) fn apply(&self, env: Option<Given>, cwd: &Path, config: &mut Config) -> Result<(), Error> {
        let to = &mut config.records;
        let named = env.or_else(|| self.folder.as_ref().map(|folder| in_file("records.folder", folder)));
        if let Some(Given { name, value }) = named {
            if value.trim().is_empty() {
                return Err(Error(format!(
                    "{name}: it is empty, and names the folder in which records of calls are kept"
                )));
            }
            to.folder = Some(cwd.join(value));
            to.named = name;
        }
        to.audio = self.audio.unwrap_or(to.audio);
        to.transcripts = self.transcripts.unwrap_or(to.transcripts);
        to.pcap = self.pcap.unwrap_or(to.pcap);
        let (mut days, mut bytes) = (0u64, 0u64);
        number("records.keep_days", self.keep_days, 1..=DAYS_MAX, &mut days)?;
        to.keep = self.keep_days.map(|_| Duration::from_secs(days * 24 * 60 * 60));
        number("records.keep_bytes_max", self.keep_bytes_max, BYTES_MIN..=BYTES_MAX, &mut bytes)?;
        to.keep_bytes_max = self.keep_bytes_max.map(|_| bytes);
        if let Some(consent) = &self.consent {
            let consent = in_file("records.consent", consent).text(PHRASE_MAX)?;
            if to.folder.is_some() && to.audio {
                config.agent.greeting = format!("{consent} {}", config.agent.greeting).trim().to_owned();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(toml: &str, env: Option<&str>) -> Result<Config, Error> {
        let file: FileRecords = toml::from_str(toml).expect("a table");
        let mut config = Config::default();
        config.agent.greeting = "Hello.".into();
        let env = env.map(|value| Given { name: "OFFHOOK_RECORDS".into(), value: value.into() });
        file.apply(env, Path::new("/srv"), &mut config).map(|()| config)
    }

    #[test]
    fn nothing_is_kept_unless_a_folder_is_named() {
        assert_eq!(apply("", None).expect("right").records.folder, None);
        let asked = apply("", Some("calls")).expect("right").records;
        assert_eq!((asked.folder, asked.audio, asked.transcripts), (Some("/srv/calls".into()), true, true));
        assert!(!asked.pcap, "packets are kept only where somebody says so");
        let file =
            apply("folder = \"/var/calls\"\naudio = false\npcap = true\nkeep_days = 2", None).expect("right").records;
        assert_eq!((file.folder, file.audio, file.pcap), (Some("/var/calls".into()), false, true));
        assert_eq!(file.keep, Some(Duration::from_secs(172_800)));
    }

    #[test]
    fn the_caller_is_told_of_a_recording_and_of_nothing_else() {
        let greeting = |toml: &str| apply(toml, None).expect("right").agent.greeting;
        let consent = "consent = \"This call is recorded.\"";
        assert_eq!(greeting(&format!("folder = \"a\"\n{consent}")), "This call is recorded. Hello.");
        assert_eq!(greeting(&format!("folder = \"a\"\naudio = false\n{consent}")), "Hello.");
        assert_eq!(greeting(consent), "Hello.");
    }

    #[test]
    fn a_wrong_setting_is_told_in_one_line() {
        for (toml, start) in [
            ("keep_days = 0", "records.keep_days in offhook.toml: 0 is not a whole number from 1"),
            ("keep_bytes_max = 1", "records.keep_bytes_max in offhook.toml: 1 is not"),
            ("folder = \" \"", "records.folder in offhook.toml: it is empty"),
        ] {
            let error = apply(toml, None).expect_err(toml).to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
