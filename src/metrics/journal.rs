//! What happened, in words: bounded lines through a bounded channel to a thread that may wait for a terminal.

use crate::config::LogLevel;
use crate::ids::CallId;
use crate::time::{Clock, Instant};
use crossbeam_channel::{Receiver, Sender};
use std::fmt::{self, Write as _};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Characters of a line's text, two lines of a wide terminal; a longer one ends in an ellipsis.
pub const TEXT_MAX: usize = 256;
/// Lines that may wait for the log thread: a burst of every call ending at once, several times over.
pub const LINES_WAITING: usize = 4_096;

/// Characters of one field of a message in a line: nobody's long name pushes what follows it out of sight.
pub const FIELD_MAX: usize = 128;

/// What came from the wire, on its way into a line: cut. The line escapes it.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a>(pub &'a str);

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(FIELD_MAX) {
            Some((end, _)) => write!(f, "{}\u{2026}", self.0.get(..end).unwrap_or_default()),
            None => f.write_str(self.0),
        }
    }
}

/// One line on its way to the log thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Instant,
    /// How much it matters.
    pub level: LogLevel,
    /// In which call, if in one.
    pub call: Option<CallId>,
    /// In words; at most [`TEXT_MAX`] characters, control characters escaped.
    text: String,
}

impl Entry {
    /// Makes an entry; `text` may hold what came from the wire.
    #[must_use]
    pub fn new(at: Instant, level: LogLevel, call: Option<CallId>, text: impl fmt::Display) -> Self {
        let mut kept = Kept { text: String::new(), left: TEXT_MAX };
        if write!(kept, "{text}").is_err() {
            kept.text.push('\u{2026}');
        }
        Self { at, level, call, text: kept.text }
    }

    /// Writes the line for a program: a JSON object with `time`, `level`, `call` and `text`.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_json(&self, out: &mut impl io::Write, started: Duration) -> io::Result<()> {
        let time = Utc(started + self.at.since(Instant::ZERO)).to_string();
        let call = self.call.map(|call| call.0);
        let line = serde_json::json!({"time": time, "level": self.level_name(), "call": call, "text": self.text});
        writeln!(out, "{line}")
    }

    const fn level_name(&self) -> &'static str {
        match self.level {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }

    /// Writes the line for stderr: `2026-11-22T17:19:16.123Z info call 3: text`.
    ///
    /// `started` is the wall-clock time of [`Instant::ZERO`], since 1970 in UTC.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, out: &mut impl io::Write, started: Duration) -> io::Result<()> {
        let level = self.level_name();
        let wall = started + self.at.since(Instant::ZERO);
        write!(out, "{} {level} ", Utc(wall))?;
        if let Some(call) = self.call {
            write!(out, "{call}: ")?;
        }
        writeln!(out, "{}", self.text)
    }
}

/// Takes text until it has enough; what could break a line or steer a terminal is escaped.
struct Kept {
    text: String,
    left: usize,
}

impl fmt::Write for Kept {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for c in s.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            // Overrides of the writing direction make a line read as another one.
            if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
                self.text.extend(c.escape_unicode());
            } else {
                self.text.push(c);
            }
        }
        Ok(())
    }
}

/// A time since 1970, shown as RFC 3339 in UTC with milliseconds.
pub struct Utc(pub Duration);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let milli = self.0.subsec_millis();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

/// Returns year, month and day of the `days`-th day after 1 January 1970 in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is a year's last and months have lengths that a line fits:
/// the m-th month from March begins at day (153 m + 2) / 5.
const fn date(days: u64) -> (u64, u64, u64) {
    /// Days of 400 years, after which the calendar repeats.
    const CYCLE: u64 = 146_097;
    /// From 1 March of the year 0 to 1 January 1970.
    const TO_1970: u64 = 719_468;
    let days = days + TO_1970;
    let (cycle, day) = (days / CYCLE, days % CYCLE);
    let year = (day - day / 1_460 + day / 36_524 - day / (CYCLE - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + carry, month, day)
}

/// Where threads other than the media workers leave their lines; clones share one channel.
#[derive(Clone)]
pub struct Journal {
    clock: Arc<dyn Clock>,
    level: LogLevel,
    entries: Sender<Entry>,
    dropped: Arc<AtomicU64>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("level", &self.level).finish_non_exhaustive()
    }
}

impl Journal {
    /// Makes a journal that keeps what is at least as grave as `level`, and the end that the log thread reads.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, level: LogLevel) -> (Self, Receiver<Entry>) {
        let (entries, receiver) = crossbeam_channel::bounded(LINES_WAITING);
        (Self { clock, level, entries, dropped: Arc::default() }, receiver)
    }

    /// Leaves a line. Never waits: where the log thread lags, the line is dropped and counted.
    pub fn line(&self, level: LogLevel, call: Option<CallId>, text: impl fmt::Display) {
        if self.keeps(level) {
            let entry = Entry::new(self.clock.now(), level, call, text);
            if self.entries.try_send(entry).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Returns the time that a line gets which is left at this moment.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Whether lines of this level are written.
    #[must_use]
    pub fn keeps(&self, level: LogLevel) -> bool {
        level <= self.level
    }

    /// Returns how many lines were dropped since this was last asked.
    #[must_use]
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Instant {
            Instant::from_millis(1_500)
        }
    }

    fn line(entry: &Entry, started: Duration) -> String {
        let mut out = Vec::new();
        entry.write(&mut out, started).expect("a vector takes all");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_line_has_a_time_a_level_a_call_and_a_text() {
        let entry = Entry::new(Instant::from_millis(250), LogLevel::Info, Some(CallId(3)), "turn 2: cut by the caller");
        let started = Duration::from_secs(1_795_367_956);
        assert_eq!(line(&entry, started), "2026-11-22T17:19:16.250Z info call 3: turn 2: cut by the caller\n");
    }

    #[test]
    fn a_program_gets_the_same_as_json() {
        let entry = Entry::new(Instant::from_millis(250), LogLevel::Warn, Some(CallId(3)), "say \"hi\"\n");
        let mut out = Vec::new();
        entry.write_json(&mut out, Duration::from_secs(1_795_367_956)).expect("a vector takes all");
        let line = String::from_utf8(out).expect("text");
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1, "{line}");
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let text = r#"say "hi"\u{a}"#;
        let expected =
            serde_json::json!({"time": "2026-11-22T17:19:16.250Z", "level": "warn", "call": 3, "text": text});
        assert_eq!(value, expected);
    }

    #[test]
    fn dates_are_right_over_leap_years_and_centuries() {
        let day = 86_400;
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (59 * day, "1970-03-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_709_164_799, "2024-02-28T23:59:59.000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Utc(Duration::from_secs(seconds)).to_string(), text);
        }
    }

    #[test]
    fn text_from_the_wire_stays_one_bounded_line() {
        let hostile = format!("a\r\nfake line\u{1b}[2J\u{202e}{}", "x".repeat(10_000));
        let shown = line(&Entry::new(Instant::ZERO, LogLevel::Warn, None, hostile), Duration::ZERO);
        assert_eq!(shown.matches('\n').count(), 1);
        assert!(shown.contains(r"a\u{d}\u{a}fake line\u{1b}[2J\u{202e}x") && shown.ends_with("x\u{2026}\n"), "{shown}");
        assert!(shown.chars().count() < TEXT_MAX + 100);
    }

    #[test]
    fn a_long_field_does_not_hide_the_next() {
        let long = "\u{e9}".repeat(500);
        let text = format!("{} calls {}", Field(&long), Field("1000"));
        assert!(text.ends_with("\u{e9}\u{2026} calls 1000"));
        assert_eq!(text.chars().count(), FIELD_MAX + 1 + " calls 1000".len());
    }

    #[test]
    fn a_full_journal_drops_and_counts_and_never_waits() {
        let (journal, lines) = Journal::new(Arc::new(Stopped), LogLevel::Info);
        for n in 0..LINES_WAITING + 5 {
            journal.line(LogLevel::Info, None, n);
        }
        assert_eq!((journal.take_dropped(), journal.take_dropped(), lines.len()), (5, 0, LINES_WAITING));
    }

    #[test]
    fn what_is_less_grave_than_asked_for_is_not_kept() {
        let (journal, lines) = Journal::new(Arc::new(Stopped), LogLevel::Warn);
        journal.line(LogLevel::Info, None, "no");
        journal.line(LogLevel::Error, Some(CallId(1)), "yes");
        let entry = lines.try_recv().expect("one line");
        assert_eq!(entry, Entry::new(Instant::from_millis(1_500), LogLevel::Error, Some(CallId(1)), "yes"));
        assert!(lines.try_recv().is_err());
    }
}
