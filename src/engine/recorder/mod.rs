//! The recorder's thread: recordings, transcripts and records of calls, from rings and notes into files.
//!
//! It pushes back on nobody: a ring that it does not empty in time drops frames, and a disk that fails costs a call its
//! recording and not the call. What is on disk survives the process, not the machine: nothing is synced.

mod pcap;
mod placement;
pub mod shelf;
mod transcript;
mod wav;

use crate::audio::resample::{Down2, Up2};
use crate::call::CallEvent;
use crate::call::recording::{RecordFrame, Recording, Side};
use crate::config::{LogLevel, Records};
use crate::engine::clock::SystemClock;
use crate::engine::conductor::Event;
use crate::engine::pcap::Pcap;
use crate::engine::rings;
use crate::ids::CallId;
use crate::metrics::cdr::{self, Record};
use crate::metrics::{Board, CallView, Counter, Journal};
use crate::providers::Stop;
use crate::time::{Clock, Instant};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use pcap::Writing;
use placement::{Piece, Placement, ticks_since};
use rtrb::Consumer;
use shelf::{Kind, Shelf, rfc_3339};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use transcript::{Moment, Timeline, Transcript};
use wav::Wav;

/// How often the rings are emptied: an eighth of what they hold.
const PASS: Duration = Duration::from_millis(100);
/// How often what a recording has got is written, with its header: what a killed engine loses of it, and a pass.
const FLUSH: Duration = Duration::from_millis(400);
/// How often the records of calls under way are written.
const OPEN: Duration = Duration::from_secs(2);
/// How long after a call's end its last words are waited for: the table of calls has them within a few wake-ups.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How often old files are looked for.
const TIDY: Duration = Duration::from_secs(600);
/// Notes that wait: some for every call at once. One that finds no room costs a time in a transcript; a call's end is seen in
/// the table of calls as well.
const NOTES_MAX: usize = 8_192;
/// A frame without a sample louder than this may be moved without anybody noticing: -50 dBov.
const QUIET: u16 = 100;

const DROPPED: Counter = Counter {
    name: "recorder_dropped_frames",
    help: "Frames of 20 ms that recordings lack because the recorder was too slow",
};
const DROPPED_PACKETS: Counter = Counter {
    name: "recorder_dropped_packets",
    help: "Media datagrams that packet captures lack because the recorder was too slow",
};
const ERRORS: Counter = Counter { name: "recorder_errors", help: "Records of calls that could not be written" };
const RECORDED: Counter = Counter { name: "recorder_calls", help: "Calls whose record was written" };

/// What the recorder is told.
enum Note {
    Invited { call: CallId, at: Instant },
    Answered { call: CallId, at: Instant, frames: Option<Consumer<RecordFrame>>, wide: bool },
    Moment { call: CallId, at: Instant, moment: Moment },
    Pcap { call: CallId, at: Instant, pcap: Box<Pcap> },
    Ended { call: CallId, at: Instant },
}

/// How others reach the recorder. Where nothing is kept of calls, its methods do nothing.
#[derive(Clone, Default)]
pub struct Recorder {
    notes: Option<Sender<Note>>,
    audio: bool,
}

impl Recorder {
    /// A call came in.
    pub fn invited(&self, call: CallId, at: Instant) {
        self.note(Note::Invited { call, at });
    }

    /// A call's media begin; `wide`: it is heard at 16 kHz. Returns what records them.
    #[must_use]
    pub fn answered(&self, call: CallId, wide: bool, at: Instant) -> Recording {
        if self.notes.is_none() {
            return Recording::default();
        }
        let ring = self.audio.then(rings::record_frames);
        let (producer, frames) = ring.unzip();
        self.note(Note::Answered { call, at, frames, wide });
        producer.map(Recording::new).unwrap_or_default()
    }

    /// Whether anything is kept of calls.
    #[must_use]
    pub const fn keeps(&self) -> bool {
        self.notes.is_some()
    }

    /// A call's packets are to be kept.
    pub fn pcap(&self, call: CallId, pcap: Pcap, at: Instant) {
        self.note(Note::Pcap { call, at, pcap: Box::new(pcap) });
    }

    /// A call is over.
    pub fn ended(&self, call: CallId, at: Instant) {
        self.note(Note::Ended { call, at });
    }

    /// A call's agent is told this.
    pub fn event(&self, call: CallId, event: &Event, now: Instant) {
        if self.notes.is_some()
            && let Some((at, moment)) = Moment::of_event(event, now)
        {
            self.note(Note::Moment { call, at, moment });
        }
    }

    /// This happened on a call's media path.
    pub fn media(&self, call: CallId, event: &CallEvent, now: Instant) {
        if self.notes.is_some()
            && let Some((at, moment)) = Moment::of_media(event, now)
        {
            self.note(Note::Moment { call, at, moment });
        }
    }

    fn note(&self, note: Note) {
        if let Some(notes) = &self.notes {
            let _ = notes.try_send(note);
        }
    }
}

/// The thread.
pub struct RecorderThread {
    thread: Option<JoinHandle<()>>,
    stop: Stop,
}

impl RecorderThread {
    /// Ends the thread, with every call's record written. Called after all who have something to tell are gone.
    pub fn end(self) {
        self.stop.raise();
        if let Some(thread) = self.thread {
            // A thread that panicked has written what it could; the next start completes the rest.
            let _ = thread.join();
        }
    }
}

/// Starts the recorder, if there is anything to keep, and completes what an earlier engine left behind.
///
/// # Errors
/// What the system says of the folder, or when it has no thread left.
pub fn start(
    settings: &Records,
    clock: Arc<SystemClock>,
    board: Arc<Board>,
    journal: Journal,
) -> io::Result<(Recorder, RecorderThread)> {
    let stop = Stop::default();
    let Some(folder) = &settings.folder else {
        return Ok((Recorder::default(), RecorderThread { thread: None, stop }));
    };
    let shelf = Shelf::open(folder).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!(
                "{}: {} cannot be written ({error}); it may be a folder of yours",
                settings.named,
                folder.display()
            ),
        )
    })?;
    let (sender, notes) = crossbeam_channel::bounded(NOTES_MAX);
    let stopped = stop.clone();
    let mut desk = Desk::new(settings.clone(), shelf, clock, board, journal);
    let thread = std::thread::Builder::new().name("recorder".into()).spawn(move || desk.run(&notes, &stopped))?;
    Ok((Recorder { notes: Some(sender), audio: settings.audio }, RecorderThread { thread: Some(thread), stop }))
}

/// Returns the file of this kind of the call with this Call-ID, the newest; it may be under way.
#[must_use]
pub fn find(settings: &Records, call_id: &str, kind: Kind) -> Option<PathBuf> {
    let shelf = Shelf::open(settings.folder.as_deref()?).ok()?;
    shelf.find(call_id, kind)
}

/// A recorder that keeps nothing, and what gives out the packet captures that it is asked for.
#[cfg(test)]
pub fn pretend() -> (Recorder, impl Fn() -> Option<Pcap>) {
    let (sender, notes) = crossbeam_channel::bounded(NOTES_MAX);
    let begun = move || {
        notes.try_iter().find_map(|note| match note {
            Note::Pcap { pcap, .. } => Some(*pcap),
            _ => None,
        })
    };
    (Recorder { notes: Some(sender), audio: false }, begun)
}

/// What the thread works with.
struct Desk {
    settings: Records,
    shelf: Shelf,
    clock: Arc<SystemClock>,
    board: Arc<Board>,
    journal: Journal,
    calls: BTreeMap<CallId, Sheet>,
    /// Packet captures, which go on for a little after their call, and the names of their files.
    pcaps: BTreeMap<CallId, (String, Writing)>,
    tidy_due: Instant,
}

/// One call.
struct Sheet {
    name: String,
    invited: Instant,
    answered: Option<Instant>,
    ended: Option<Instant>,
    audio: Option<Audio>,
    has_audio: bool,
    has_pcap: bool,
    timeline: Timeline,
    /// As it was last seen.
    view: CallView,
    dropped: u64,
    open_due: Instant,
    /// Its record could not be written when that was last tried.
    is_failing: bool,
}

impl Desk {
    fn new(settings: Records, shelf: Shelf, clock: Arc<SystemClock>, board: Arc<Board>, journal: Journal) -> Self {
        let (calls, pcaps) = (BTreeMap::new(), BTreeMap::new());
        Self { settings, shelf, clock, board, journal, calls, pcaps, tidy_due: Instant::ZERO }
    }

    fn run(&mut self, notes: &Receiver<Note>, stop: &Stop) {
        match self.shelf.recover() {
            Ok(0) => {}
            Ok(count) => {
                let text = format!("{count} calls that were under way when the engine was stopped are on record");
                self.journal.line(LogLevel::Info, None, text);
            }
            Err(error) => self.failed(None, "the records of calls that were under way", &error),
        }
        let mut due = self.clock.now();
        loop {
            let wait = due.since(self.clock.now());
            let note = notes.recv_timeout(wait);
            let last = stop.raised() || matches!(note, Err(RecvTimeoutError::Disconnected));
            note.into_iter().chain(notes.try_iter().take(NOTES_MAX)).for_each(|note| self.take(note));
            let now = self.clock.now();
            if last || now >= due {
                due = now + PASS;
                self.pass(now, last);
            }
            if last {
                return;
            }
        }
    }

    fn take(&mut self, note: Note) {
        match note {
            Note::Invited { call, at } => {
                let Some(view) = self.board.view(call, at) else { return };
                let name = shelf::name(self.clock.unix_time(at), &view.call_id);
                let sheet = Sheet {
                    name,
                    invited: at,
                    answered: None,
                    ended: None,
                    audio: None,
                    has_audio: false,
                    has_pcap: false,
                    timeline: Timeline::default(),
                    view,
                    dropped: 0,
                    open_due: at,
                    is_failing: false,
                };
                self.calls.insert(call, sheet);
            }
            Note::Answered { call, at, frames, wide } => {
                let Some(sheet) = self.calls.get_mut(&call) else { return };
                sheet.answered = Some(at);
                sheet.open_due = at;
                let Some(frames) = frames else { return };
                let rate = if wide { 16_000 } else { 8_000 };
                let made = self.shelf.create(&sheet.name, Kind::Audio).and_then(|file| Wav::new(file, rate));
                match made {
                    Ok(wav) => {
                        sheet.audio = Some(Audio::new(frames, wav, at));
                        sheet.has_audio = true;
                    }
                    Err(error) => self.failed(Some(call), "no recording", &error),
                }
            }
            Note::Moment { call, at, moment } => {
                if let Some(sheet) = self.calls.get_mut(&call)
                    && let Some(answered) = sheet.answered
                {
                    sheet.timeline.take(at.since(answered), moment);
                }
            }
            Note::Pcap { call, at, pcap } => {
                let Some(sheet) = self.calls.get_mut(&call) else { return };
                sheet.open_due = at;
                let made = self.shelf.create(&sheet.name, Kind::Pcap).and_then(|file| Writing::new(file, *pcap));
                match made {
                    Ok(writing) => {
                        sheet.has_pcap = true;
                        self.pcaps.insert(call, (sheet.name.clone(), writing));
                    }
                    Err(error) => self.failed(Some(call), "no packet capture", &error),
                }
            }
            Note::Ended { call, at } => {
                if let Some((_, pcap)) = self.pcaps.get_mut(&call) {
                    pcap.ended.get_or_insert(at);
                }
                if let Some(sheet) = self.calls.get_mut(&call) {
                    sheet.ended.get_or_insert(at);
                }
            }
        }
    }

    /// Brings every call's files up to date; `last`: and ends them.
    fn pass(&mut self, now: Instant, last: bool) {
        let calls: Vec<CallId> = self.calls.keys().copied().collect();
        for call in calls {
            let Some(mut sheet) = self.calls.remove(&call) else { continue };
            self.record_audio(call, &mut sheet, now);
            let over = sheet.ended.is_some_and(|ended| now.since(ended) >= LAST_WORDS) || last;
            if over || now >= sheet.open_due {
                sheet.open_due = now + OPEN;
                if let Some(view) = self.board.view(call, now) {
                    if view.ended.is_some() {
                        sheet.ended.get_or_insert(now);
                    }
                    sheet.view = view;
                }
                self.write(call, &mut sheet, now, over);
            }
            if !over {
                self.calls.insert(call, sheet);
            }
        }
        self.write_pcaps(now, last);
        if now >= self.tidy_due {
            self.tidy_due = now + TIDY;
            let Records { keep, keep_bytes_max, .. } = self.settings;
            let is_live = |name: &str| {
                let pcaps = self.pcaps.values().map(|(name, _)| name);
                self.calls.values().map(|sheet| &sheet.name).chain(pcaps).any(|live| live == name)
            };
            let removed = self.shelf.tidy(self.clock.unix_time(now), keep, keep_bytes_max, is_live);
            if removed > 0 {
                self.journal.line(LogLevel::Info, None, format!("{removed} old files of calls are removed"));
            }
        }
    }

    fn write_pcaps(&mut self, now: Instant, last: bool) {
        let calls: Vec<CallId> = self.pcaps.keys().copied().collect();
        for call in calls {
            let Some((name, mut pcap)) = self.pcaps.remove(&call) else { continue };
            let (dropped, full) = (pcap.dropped, pcap.full);
            let is_over = pcap.is_over(now) || last;
            let written = pcap.pass(&self.clock, now, is_over);
            if pcap.dropped > dropped {
                self.board.count(DROPPED_PACKETS, pcap.dropped - dropped);
            }
            if pcap.full && !full {
                let text = format_args!("its pcap is full: no media from here on, only messages");
                self.journal.line(LogLevel::Warn, Some(call), text);
            }
            match written {
                Ok(()) if is_over => {}
                Ok(()) => drop(self.pcaps.insert(call, (name, pcap))),
                Err(error) => self.failed(Some(call), "the packet capture ends here", &error),
            }
        }
    }

    fn record_audio(&mut self, call: CallId, sheet: &mut Sheet, now: Instant) {
        let Some(audio) = &mut sheet.audio else { return };
        let end = sheet.ended.unwrap_or(now);
        let written = audio.record(end, now);
        let dropped = audio.dropped - std::mem::replace(&mut sheet.dropped, audio.dropped);
        if dropped > 0 {
            self.board.count(DROPPED, dropped);
        }
        if let Err(error) = written {
            sheet.audio = None;
            self.failed(Some(call), "the recording ends here", &error);
        }
    }

    /// Writes a call's record and its transcript; `over`: for good.
    fn write(&mut self, call: CallId, sheet: &mut Sheet, now: Instant, over: bool) {
        if over
            && let Some(audio) = &mut sheet.audio
            && let Err(error) = audio.finish(sheet.ended.unwrap_or(now))
        {
            self.failed(Some(call), "the recording's end", &error);
        }
        let time = |at: Instant| rfc_3339(self.clock.unix_time(at));
        let file = |kind: Kind| format!("{}.{}", sheet.name, kind.ending());
        let has_transcript = self.settings.transcripts && sheet.answered.is_some();
        let frame = cdr::Frame {
            record: sheet.name.clone(),
            invited_at: time(sheet.invited),
            answered_at: sheet.answered.map(time),
            ended_at: over.then(|| time(sheet.ended.unwrap_or(now))),
            audio: sheet.has_audio.then(|| file(Kind::Audio)),
            transcript: has_transcript.then(|| file(Kind::Transcript)),
            pcap: sheet.has_pcap.then(|| file(Kind::Pcap)),
            dropped: sheet.dropped,
        };
        let mut record = Record::new(&sheet.view, frame, &time);
        if over && let Some(ended_at) = record.ended_at.clone() {
            record.complete(ended_at);
        }
        let written = self.write_files(&record, sheet, over, has_transcript);
        let was_failing = std::mem::replace(&mut sheet.is_failing, written.is_err());
        match written {
            // It is tried every other second, and a disk that is full stays so: that is told once, and once more for good.
            Err(_) if was_failing && !over => self.board.count(ERRORS, 1),
            Err(error) => self.failed(Some(call), "the call's record", &error),
            Ok(()) => {}
        }
    }

    fn write_files(&self, record: &Record, sheet: &Sheet, over: bool, has_transcript: bool) -> io::Result<()> {
        let name = &sheet.name;
        if has_transcript {
            let transcript = Transcript {
                version: cdr::VERSION,
                record: name,
                call_id: &record.call_id,
                started_at: record.answered_at.as_deref(),
                audio: record.audio.as_deref(),
                turns: sheet.timeline.lines(&sheet.view.turns),
            };
            let text = serde_json::to_vec_pretty(&transcript).map_err(io::Error::other)?;
            self.shelf.replace(name, Kind::Transcript, &text)?;
        }
        if !over {
            return self.shelf.replace(name, Kind::Open, record.line().as_bytes());
        }
        self.shelf.add(record)?;
        self.shelf.remove(name, Kind::Open);
        self.board.count(RECORDED, 1);
        Ok(())
    }

    fn failed(&self, call: Option<CallId>, what: &str, error: &io::Error) {
        self.board.count(ERRORS, 1);
        self.journal.line(LogLevel::Error, call, format_args!("{what}: {error}"));
    }
}

/// The recording of one call.
struct Audio {
    frames: Consumer<RecordFrame>,
    wav: Wav,
    zero: Instant,
    sides: [Channel; 2],
    next: u64,
    dropped: u64,
    flush_due: Instant,
}

/// One side of it.
struct Channel {
    placement: Placement,
    up: Up2,
    down: Down2,
}

impl Channel {
    fn new() -> Self {
        Self { placement: Placement::default(), up: Up2::new(), down: Down2::new() }
    }
}

impl Audio {
    fn new(frames: Consumer<RecordFrame>, wav: Wav, zero: Instant) -> Self {
        let sides = [Channel::new(), Channel::new()];
        Self { frames, wav, zero, sides, next: 0, dropped: 0, flush_due: zero }
    }

    /// Takes what has come in; the recording goes on to `end`.
    fn record(&mut self, end: Instant, now: Instant) -> io::Result<()> {
        // No more than the ring holds, so that a call that pours holds up no other.
        for _ in 0..self.frames.buffer().capacity() {
            let Ok(frame) = self.frames.pop() else { break };
            self.dropped += frame.number.saturating_sub(self.next);
            self.next = frame.number + 1;
            self.put(&frame)?;
        }
        if now >= self.flush_due {
            self.flush_due = now + FLUSH;
            self.extend(end)?;
            self.wav.flush()?;
        }
        Ok(())
    }

    fn finish(&mut self, end: Instant) -> io::Result<()> {
        self.extend(end)?;
        self.wav.flush()
    }

    fn extend(&mut self, end: Instant) -> io::Result<()> {
        let per_tick = u64::from(self.wav.rate()) / 8_000;
        self.wav.extend(u64::try_from(ticks_since(self.zero, end)).unwrap_or(0) * per_tick)
    }

    fn put(&mut self, frame: &RecordFrame) -> io::Result<()> {
        let pcm = frame.pcm.get(..usize::from(frame.len)).unwrap_or_default();
        let channel = &mut self.sides[usize::from(frame.side == Side::Agent)];
        let piece = Piece {
            ticks: frame.ticks,
            came: ticks_since(self.zero, frame.at),
            made_up: frame.made_up,
            restart: frame.restart,
            quiet: pcm.iter().all(|sample| sample.unsigned_abs() <= QUIET),
        };
        let Some(at) = channel.placement.place(&piece) else { return Ok(()) };
        // A recording has one rate; a re-INVITE may have changed that of the call.
        let mut converted = [0; 2 * crate::call::FRAME_16K];
        match (frame.wide, self.wav.rate() == 16_000) {
            (false, true) => {
                let len = channel.up.process(pcm, &mut converted);
                self.wav.put(frame.side, at * 2, converted.get(..len).unwrap_or_default())
            }
            (true, false) => {
                let len = channel.down.process(pcm, &mut converted);
                self.wav.put(frame.side, at, converted.get(..len).unwrap_or_default())
            }
            (true, true) => self.wav.put(frame.side, at * 2, pcm),
            (false, false) => self.wav.put(frame.side, at, pcm),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Invited, ProviderNames};

    #[test]
    fn a_full_disk_is_told_once_while_a_call_lasts_and_once_at_its_end() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let clock = Arc::new(SystemClock::start());
        let (journal, entries) = Journal::new(clock.clone(), LogLevel::Info);
        let board = Arc::new(Board::new());
        board.invited(&Invited {
            call: CallId(1),
            call_id: "a",
            from: "<sip:ann@127.0.0.1>",
            to: "<sip:100@127.0.0.1>",
            source: ([127, 0, 0, 1], 5062).into(),
            rtp_port: 10_000,
            providers: ProviderNames::default(),
        });
        let shelf = Shelf::open(folder.path()).expect("a folder");
        let mut desk = Desk::new(Records::default(), shelf, clock, board, journal);
        desk.take(Note::Invited { call: CallId(1), at: Instant::ZERO });
        let mut sheet = desk.calls.remove(&CallId(1)).expect("the call is known");
        let mut write = |now, over| {
            desk.write(CallId(1), &mut sheet, Instant::from_millis(now), over);
            entries.try_iter().count()
        };
        assert_eq!(write(0, false), 0);
        // Nothing can be written into a folder that is gone, as onto a disk that is full.
        folder.close().expect("a folder can be removed");
        assert_eq!([write(2_000, false), write(4_000, false), write(6_000, false), write(8_000, true)], [1, 0, 0, 1]);
    }
}
