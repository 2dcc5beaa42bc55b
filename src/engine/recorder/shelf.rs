//! The folder of records: what its files are called, who may read them, how long they stay, and what a start makes of what the
//! last one left behind.
//!
//! | file | what |
//! |---|---|
//! | `cdr.jsonl` | one line for each call that is over |
//! | `NAME.wav`, `NAME.json`, `NAME.pcap` | a call's recording, its transcript and its packets |
//! | `NAME.open` | the record of a call under way, from which it is completed should the engine die |

use super::wav;
use crate::metrics::cdr::Record;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Characters of a Call-ID that a name shows; the rest is in its hash.
const SHOWN_MAX: usize = 40;
/// How much of the end of `cdr.jsonl` is searched for a record that may be there already: some hundred calls.
const TAIL: u64 = 1 << 20;
/// Where the records of calls that are over stand.
const RECORDS: &str = "cdr.jsonl";

/// What a call's file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The recording.
    Audio,
    /// The transcript.
    Transcript,
    /// The packets.
    Pcap,
    /// The record while the call lasts.
    Open,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Audio, Self::Transcript, Self::Pcap, Self::Open];

    /// Returns the ending of such a file's name.
    #[must_use]
    pub const fn ending(self) -> &'static str {
        match self {
            Self::Audio => "wav",
            Self::Transcript => "json",
            Self::Pcap => "pcap",
            Self::Open => "open",
        }
    }
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Shelf {
    folder: PathBuf,
}

/// Returns a time of day, given since 1970, as RFC 3339 in UTC.
#[must_use]
pub fn rfc_3339(unix: Duration) -> String {
    timestamp(unix).strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

fn timestamp(unix: Duration) -> jiff::Timestamp {
    let seconds = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::new(seconds, unix.subsec_nanos().cast_signed()).unwrap_or_default()
}

fn stamp(unix: Duration) -> String {
    timestamp(unix).strftime("%Y%m%dT%H%M%S.%3fZ").to_string()
}

/// Returns what stands for a Call-ID in names: never a path, whatever it holds, and another for each.
fn safe(call_id: &str) -> String {
    let shown = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut safe: String = call_id.chars().take(SHOWN_MAX).map(shown).collect();
    safe.push('-');
    for byte in Sha256::digest(call_id.as_bytes()).iter().take(8) {
        // Writing into a string cannot fail.
        let _ = write!(safe, "{byte:02x}");
    }
    safe
}

/// Returns the name of a call's files, without their ending.
#[must_use]
pub fn name(invited: Duration, call_id: &str) -> String {
    format!("{}-{}", stamp(invited), safe(call_id))
}

impl Shelf {
    /// Opens the folder, and makes it where it is not there: for its owner only.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Returns the path of a file of the call with this name.
    #[must_use]
    pub fn path(&self, name: &str, kind: Kind) -> PathBuf {
        self.folder.join(format!("{name}.{}", kind.ending()))
    }

    /// Makes a file of a call, for its owner only.
    ///
    /// # Errors
    /// What the system says; a file of this name may be there.
    pub fn create(&self, name: &str, kind: Kind) -> io::Result<File> {
        private(File::options().write(true).create_new(true), &self.path(name, kind))
    }

    /// Writes a file of a call whole: who reads it sees the one before or this one.
    ///
    /// # Errors
    /// What the system says.
    pub fn replace(&self, name: &str, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        replace(&self.path(name, kind), bytes)
    }

    /// Removes a file of a call, where there is one.
    pub fn remove(&self, name: &str, kind: Kind) {
        // What is not there needs no removing; what cannot be removed is found again at the next start.
        let _ = fs::remove_file(self.path(name, kind));
    }

    /// Adds a call that is over.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(&self, record: &Record) -> io::Result<()> {
        let path = self.folder.join(RECORDS);
        let mut file = private(File::options().read(true).append(true).create(true), &path)?;
        // A line that was being written when the engine died is ended, so that it spoils no other.
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(-1)).is_ok() {
            file.read_exact(&mut last)?;
        }
        let start = if last == [b'\n'] { "" } else { "\n" };
        file.write_all(format!("{start}{}", record.line()).as_bytes())
    }

    /// Returns the newest file of the call with this Call-ID.
    #[must_use]
    pub fn find(&self, call_id: &str, kind: Kind) -> Option<PathBuf> {
        let wanted = format!("-{}.{}", safe(call_id), kind.ending());
        let names = self.names().into_iter().filter(|name| name.ends_with(&wanted));
        names.max().map(|name| self.folder.join(name))
    }

    /// Completes the calls that were under way when the engine died: their recordings play to the end, and each has its record.
    /// Returns how many there were.
    ///
    /// # Errors
    /// What the system says; what could not be completed stays for the next start.
    pub fn recover(&self) -> io::Result<usize> {
        let open: Vec<String> = self
            .names()
            .into_iter()
            .filter_map(|name| name.strip_suffix(".open").map(str::to_owned))
            .filter(|name| is_name(name))
            .collect();
        for name in &open {
            let text = fs::read(self.path(name, Kind::Open))?;
            // One that cannot be read was never whole; its recording is there nonetheless.
            let record = serde_json::from_slice::<Record>(&text).ok();
            let audio = wav::repair(&self.path(name, Kind::Audio)).ok();
            if let Some(mut record) = record
                && !self.has(name)?
            {
                finish(&mut record, audio);
                self.add(&record)?;
            }
            self.remove(name, Kind::Open);
        }
        Ok(open.len())
    }

    /// Removes what is older than `keep`, and then the oldest until at most `bytes_max` are left; calls whose names `is_live`
    /// confirms stay. Returns how many files went.
    pub fn tidy(
        &self,
        now: Duration,
        keep: Option<Duration>,
        bytes_max: Option<u64>,
        is_live: impl Fn(&str) -> bool,
    ) -> usize {
        let mut kept: Vec<(String, u64)> = Vec::new();
        let mut removed = 0;
        let oldest = keep.map(|keep| stamp(now.saturating_sub(keep)));
        let mut remove = |name: &str| removed += usize::from(fs::remove_file(self.folder.join(name)).is_ok());
        for name in self.names() {
            let Some((stem, ending)) = name.rsplit_once('.') else { continue };
            if !is_name(stem) || !Kind::ALL.iter().any(|kind| kind.ending() == ending) || is_live(stem) {
                continue;
            }
            if oldest.as_deref().is_some_and(|oldest| stem < oldest) {
                remove(&name);
            } else {
                let len = fs::metadata(self.folder.join(&name)).map_or(0, |metadata| metadata.len());
                kept.push((name, len));
            }
        }
        if let Some(bytes_max) = bytes_max {
            kept.sort();
            let mut bytes: u64 = kept.iter().map(|(_, len)| len).sum();
            for (name, len) in kept {
                if bytes <= bytes_max {
                    break;
                }
                remove(&name);
                bytes -= len;
            }
        }
        if let Some(keep) = keep {
            // The next time will do as well.
            let _ = self.tidy_records(&rfc_3339(now.saturating_sub(keep)));
        }
        removed
    }

    /// Removes the records of calls that came in before `oldest`.
    fn tidy_records(&self, oldest: &str) -> io::Result<()> {
        let path = self.folder.join(RECORDS);
        let text = fs::read_to_string(&path)?;
        let is_old = |line: &&str| {
            let value = serde_json::from_str::<serde_json::Value>(line).unwrap_or_default();
            value["invited_at"].as_str().is_some_and(|at| at < oldest)
        };
        // Records stand in the order of their ends: where the first one may stay, hardly any other is to go.
        if !text.lines().next().is_some_and(|line| is_old(&line)) {
            return Ok(());
        }
        let kept: String = text.lines().filter(|line| !is_old(line)).flat_map(|line| [line, "\n"]).collect();
        replace(&path, kept.as_bytes())
    }

    /// Whether the record of this name is among those of the calls that are over.
    fn has(&self, name: &str) -> io::Result<bool> {
        let mut file = match File::open(self.folder.join(RECORDS)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(TAIL)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        let is_it = |line: &[u8]| serde_json::from_slice::<Record>(line).is_ok_and(|record| record.record == name);
        Ok(tail.split(|byte| *byte == b'\n').any(is_it))
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
}

/// Whether a file of this name, without its ending, is ours: nothing else is ever removed.
fn is_name(stem: &str) -> bool {
    let mask = "dddddddd.dddddd.ddd.";
    let fits = |(byte, mask): (u8, u8)| (mask == b'd') == byte.is_ascii_digit();
    let hash = stem.rsplit('-').next().unwrap_or_default();
    stem.len() > mask.len()
        && stem.bytes().zip(mask.bytes()).all(fits)
        && hash.len() == 16
        && hash.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A call ended when its recording did, or (without one) when its record was last written.
fn finish(record: &mut Record, audio: Option<Duration>) {
    let answered = record.answered_at.as_deref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    if let (Some(answered), Some(audio)) = (answered, audio) {
        record.duration_s = record.duration_s.max((audio.as_secs_f64() * 1000.0).round() / 1000.0);
        let unix = Duration::try_from(answered.as_duration()).unwrap_or_default();
        record.complete(rfc_3339(unix + audio));
    } else {
        let from = answered.or_else(|| record.invited_at.parse().ok()).unwrap_or_default();
        let unix = Duration::try_from(from.as_duration()).unwrap_or_default();
        record.complete(rfc_3339(unix + Duration::try_from_secs_f64(record.duration_s).unwrap_or_default()));
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = private(File::options().write(true).create(true).truncate(true), Path::new(&beside))?;
    file.write_all(bytes)?;
    fs::rename(beside, path)
}

fn private(options: &mut fs::OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::recording::Side;

    const DAY: Duration = Duration::from_secs(86_400);
    const NOW: Duration = Duration::from_secs(1_780_000_000);

    fn shelf() -> (tempfile::TempDir, Shelf) {
        let folder = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::open(&folder.path().join("calls")).expect("made");
        (folder, shelf)
    }

    fn record(name: &str) -> Record {
        let line = format!(
            "{{\"version\":1,\"record\":\"{name}\",\"call_id\":\"a\",\"from\":\"\",\"to\":\"\",\"source\":\"\",\
             \"invited_at\":\"{}\",\"answered_at\":\"{}\",\"duration_s\":1.0,\"codec\":null,\
             \"srtp\":null,\"providers\":{{\"stt\":\"\",\"llm\":\"\",\"tts\":\"\"}},\"quality\":{{\"packets_received\":0,\
             \"packets_sent\":0,\"lost\":0,\"late\":0,\"duplicate\":0,\"concealed_ms\":0.0,\"underruns\":0}},\
             \"recording_dropped_frames\":0,\"turns\":[]}}",
            rfc_3339(NOW),
            rfc_3339(NOW)
        );
        serde_json::from_str(&line).expect("a record")
    }

    fn records(shelf: &Shelf) -> Vec<Record> {
        let text = fs::read_to_string(shelf.folder.join(RECORDS)).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    #[test]
    fn a_call_id_names_no_path_and_no_two_share_a_name() {
        let hostile =
            ["../../etc/passwd", "a/b", "a\\b", "..", "", "a\0b", "CON", "a\nb", "-rf", &"x".repeat(5000), "ä😀"];
        let mut names: Vec<String> = hostile.iter().map(|call_id| name(NOW, call_id)).collect();
        for name in &names {
            assert!(is_name(name), "{name}");
            assert!(
                name.len() < 100 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)),
                "{name}"
            );
            assert!(!name.contains("..") && !name.starts_with(['-', '.']));
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), hostile.len());
        assert_ne!(safe(&"x".repeat(50)), safe(&"x".repeat(51)));
    }

    #[test]
    #[cfg(unix)]
    fn folder_and_files_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, shelf) = shelf();
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(&shelf.folder), 0o700);
        let name = name(NOW, "a");
        shelf.create(&name, Kind::Audio).expect("made");
        shelf.replace(&name, Kind::Open, b"{}").expect("made");
        shelf.add(&record("r")).expect("added");
        for path in [shelf.path(&name, Kind::Audio), shelf.path(&name, Kind::Open), shelf.folder.join(RECORDS)] {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
        assert!(shelf.create(&name, Kind::Audio).is_err(), "nothing is overwritten");
    }

    #[test]
    fn the_newest_file_of_a_call_id_is_found() {
        let (_folder, shelf) = shelf();
        for (at, call_id) in [(NOW, "a@b"), (NOW + DAY, "a@b"), (NOW + 2 * DAY, "a_b")] {
            shelf.create(&name(at, call_id), Kind::Audio).expect("made");
        }
        assert_eq!(shelf.find("a@b", Kind::Audio), Some(shelf.path(&name(NOW + DAY, "a@b"), Kind::Audio)));
        assert_eq!(shelf.find("../a@b", Kind::Audio), None);
        assert_eq!(shelf.find("a@b", Kind::Transcript), None);
    }

    #[test]
    fn what_the_engine_left_behind_is_completed_once() {
        let (_folder, shelf) = shelf();
        let name = name(NOW, "a");
        let mut recording = wav::Wav::new(shelf.create(&name, Kind::Audio).expect("made"), 8000).expect("written");
        recording.put(Side::Caller, 0, &[1; 20_000]).expect("put");
        recording.flush().expect("written");
        let line = record(&name).line();
        for again in 0..3 {
            shelf.replace(&name, Kind::Open, line.as_bytes()).expect("written");
            // The second time as if it had died between the record and the removal of what it came from.
            assert_eq!(shelf.recover().expect("recovered"), 1, "{again}");
            let records = records(&shelf);
            assert_eq!(records.len(), 1);
            let ended = records[0].ended.as_ref().expect("over");
            assert_eq!((ended.by.as_str(), records[0].duration_s), ("engine", 2.5));
            assert_eq!(records[0].ended_at, Some(rfc_3339(NOW + Duration::from_millis(2500))));
        }
        assert_eq!(shelf.recover().expect("recovered"), 0);
        shelf.replace(&name, Kind::Open, b"{\"version\":1,\"rec").expect("written");
        assert_eq!(shelf.recover().expect("what is torn is nothing"), 1);
        assert_eq!(records(&shelf).len(), 1);
    }

    #[test]
    fn a_torn_line_spoils_no_other() {
        let (_folder, shelf) = shelf();
        shelf.add(&record("a")).expect("added");
        let mut file = File::options().append(true).open(shelf.folder.join(RECORDS)).expect("there");
        file.write_all(b"{\"version\":1,").expect("written");
        shelf.add(&record("b")).expect("added");
        let names: Vec<String> = records(&shelf).into_iter().map(|record| record.record).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn the_oldest_go_first_and_nothing_that_is_not_ours() {
        let (_folder, shelf) = shelf();
        let names: Vec<String> = (0..5).map(|day| name(NOW + day * DAY, "a")).collect();
        for name in &names {
            shelf.create(name, Kind::Audio).and_then(|mut file| file.write_all(&[0; 1000])).expect("made");
            shelf.create(name, Kind::Transcript).expect("made");
        }
        for other in ["notes.wav", "20260101.wav", "cdr.jsonl"] {
            fs::write(shelf.folder.join(other), "mine").expect("written");
        }
        let now = NOW + 5 * DAY;
        let left = |shelf: &Shelf| names.iter().filter(|name| shelf.path(name, Kind::Audio).exists()).count();
        assert_eq!(shelf.tidy(now, None, None, |_| false), 0);
        assert_eq!(shelf.tidy(now, Some(3 * DAY + DAY / 2), None, |_| false), 4, "two calls, two files each");
        assert_eq!(left(&shelf), 3);
        shelf.tidy(now, None, Some(1500), |name| name == names[2]);
        assert_eq!(left(&shelf), 2, "the one under way, and the newest");
        assert!(shelf.path(&names[2], Kind::Audio).exists() && shelf.path(&names[4], Kind::Audio).exists());
        assert!(shelf.folder.join("notes.wav").exists() && shelf.folder.join("20260101.wav").exists());
    }

    #[test]
    fn old_records_go_with_their_calls() {
        let (_folder, shelf) = shelf();
        let at = |day: u32| Record { invited_at: rfc_3339(NOW + day * DAY), ..record(&day.to_string()) };
        (0..4).for_each(|day| shelf.add(&at(day)).expect("added"));
        shelf.tidy(NOW + 4 * DAY, Some(2 * DAY + DAY / 2), None, |_| false);
        let names: Vec<String> = records(&shelf).into_iter().map(|record| record.record).collect();
        assert_eq!(names, ["2", "3"]);
    }
}
