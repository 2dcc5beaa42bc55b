//! `offhook call`: what is said, the call, and what is printed of it.

use super::call::{self, Outcome, Settings, Target};
use super::capture::Stream;
use super::mrl::{Discard, Measurement, PLAYOUT_TARGET};
use super::report::{Aggregate, Calibration, Report};
use super::stimulus::Stimulus;
use super::weather::Weather;
use super::{Error, calibrate, record, talk, wav};
use crate::audio::resample::Up2;
use crate::config;
use crate::engine::clock::SystemClock;
use crate::providers::Speaker;
use crate::providers::local::models::{self, Set};
use crate::providers::local::moonshine::Moonshine;
use crate::providers::local::one_thread;
use crate::providers::local::voice::HibariVoice;
use crate::time::Instant;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What is said where nothing else is asked for: what a receptionist is asked.
const LINES: [&str; 3] = ["Hello, can you hear me?", "When are you open?", "Thank you very much."];
/// Exchanges of a calibration.
const CALIBRATION_EXCHANGES: u32 = 50;
/// Its programmed delay: no multiple of a packet's 20 ms, which would hide errors of up to one (draft-nygate-ippm-mrl §7.6).
const CALIBRATION_DELAY: Duration = Duration::from_millis(253);

/// Where lines go while the call runs.
pub type Progress<'a> = &'a mut dyn FnMut(&str);

/// One call, made and measured.
pub struct Made {
    /// What was said.
    pub stimuli: Vec<Stimulus>,
    /// What came of it.
    pub outcome: Outcome,
    calibration: Option<Calibration>,
    sut: String,
}

impl Made {
    /// Returns the report of it.
    #[must_use]
    pub fn report(&self) -> Report<'_> {
        Report {
            sut: &self.sut,
            codec: self.outcome.codec.name(),
            stimuli: &self.stimuli,
            results: &self.outcome.results,
            calibration: self.calibration.as_ref(),
        }
    }
}

/// Makes a call as the command line says, and records it; `recordings` are those that it names.
///
/// # Errors
/// Which argument is wrong, or what kept the call from being made.
pub fn make(
    wanted: &config::Call,
    recordings: Vec<Stimulus>,
    models: &Path,
    clock: &Arc<SystemClock>,
    stop: &AtomicBool,
    progress: Progress<'_>,
) -> Result<Made, Error> {
    let target = Target::read(&wanted.uri).map_err(Error::Argument)?;
    let stimuli = stimuli(wanted, recordings, models)?;
    let calibration = if wanted.calibrate { Some(calibrated(clock, wanted.seed, progress)?) } else { None };
    let weather = Weather { loss: f64::from(wanted.loss_bp) / 10_000.0, jitter: wanted.jitter };
    let settings = Settings {
        target,
        user: wanted.user.clone(),
        password: wanted.password.clone(),
        register: wanted.register,
        weather,
        seed: wanted.seed,
        talk: talk::Settings { turns: wanted.turns.unwrap_or(stimuli.len()), ..talk::Settings::default() },
    };
    let outcome = call::run(&settings, &stimuli, clock, stop, progress)?;
    if let Some(path) = &wanted.record {
        let said: Vec<record::Said<'_>> =
            outcome.said.iter().map(|(turn, first)| (*first, stimuli[turn % stimuli.len()].pcm.as_slice())).collect();
        match record::write(path, &outcome.capture, &outcome.stream, &said) {
            Ok(()) => progress(&format!("recorded in {} (caller left, agent right)", path.display())),
            Err(error) => progress(&format!("no recording: cannot write {} ({error}); see --record", path.display())),
        }
    }
    Ok(Made { stimuli, outcome, calibration, sut: wanted.uri.clone() })
}

/// Reads the recordings that the command line names, and finds out whether the one that it asks for can be written: before
/// models are obtained, and before a call whose recording nobody could make again.
///
/// # Errors
/// Which argument is wrong.
pub fn recordings(wanted: &config::Call) -> Result<Vec<Stimulus>, Error> {
    if let Some(path) = wanted.record.as_ref().filter(|_| wanted.record_is_named)
        && let Err(error) = record::probe(path)
    {
        let may_be = "it may be a file in a folder that can be written";
        return Err(Error::Argument(format!("--record: {path:?} cannot be written ({error}); {may_be}")));
    }
    let read = |path: &PathBuf| {
        let wrong = |what: &str| {
            Error::Argument(format!("--wav: {path:?} {what}; it may be a WAV file of speech, best in 16-bit PCM"))
        };
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let pcm = wav::read(path).map_err(|what| wrong(&what))?;
        Stimulus::new(name, pcm).ok_or_else(|| wrong("has no speech in it"))
    };
    wanted.wavs.iter().map(read).collect()
}

/// Returns what is said: the recordings, then the texts; without either, what a receptionist is asked.
fn stimuli(wanted: &config::Call, recordings: Vec<Stimulus>, models: &Path) -> Result<Vec<Stimulus>, Error> {
    let mut stimuli = recordings;
    let texts: Vec<&str> = match (wanted.says.is_empty(), stimuli.is_empty()) {
        (true, true) => LINES.to_vec(),
        _ => wanted.says.iter().map(String::as_str).collect(),
    };
    if !texts.is_empty() {
        let voice = HibariVoice::new(models);
        for text in texts {
            let pcm = voice.render(text).map_err(|failure| {
                // Where the models are missing, the failure says how they are obtained.
                format!("cannot say {text:?}: {}; or give --wav FILE", failure.text)
            })?;
            let silent = || format!("--say: {text:?} is nothing that the voice can say; it may be a sentence");
            stimuli.push(Stimulus::new(text, pcm).ok_or_else(|| Error::Argument(silent()))?);
        }
    }
    Ok(stimuli)
}

fn calibrated(clock: &Arc<SystemClock>, seed: u64, progress: Progress<'_>) -> Result<Calibration, String> {
    let delay_ms = CALIBRATION_DELAY.as_millis();
    progress(&format!("calibrating: {CALIBRATION_EXCHANGES} exchanges with a programmed delay of {delay_ms} ms"));
    let settings = calibrate::Settings {
        exchanges: CALIBRATION_EXCHANGES,
        delay: CALIBRATION_DELAY,
        weather: Weather::default(),
        seed,
    };
    let run = calibrate::run(&settings, clock).map_err(|error| format!("cannot calibrate: {error}"))?;
    let calibration = run.calibration(format!(
        "loopback, 20 ms grid, PCMU, {delay_ms} ms programmed, {CALIBRATION_EXCHANGES} exchanges"
    ));
    progress(&format!(
        "calibrated: off by {:+.2} ms in the mean, 95 of 100 within {:.2} ms",
        calibration.ingress.0, calibration.ingress.1
    ));
    Ok(calibration)
}

/// Prints the conversation and the figures for people.
pub fn print(made: &Made, models: &Path, print: Progress<'_>) {
    let Made { stimuli, outcome, .. } = made;
    let ears = Transcript::load(models);
    let words = |from: Instant, to: Instant| ears.as_ref().and_then(|ears| ears.of(&outcome.stream, from, to));
    if let (Some(after), Some((began, _))) = (outcome.greeting_after, outcome.heard.first()) {
        let said = words(Instant::ZERO, *began).map(|words| format!("  \"{words}\"")).unwrap_or_default();
        print(&format!("agent  greets after {} ms{said}", after.as_millis()));
    }
    for (n, result) in outcome.results.iter().enumerate() {
        let stimulus = &stimuli[n % stimuli.len()];
        print(&format!("you    \"{}\"", stimulus.id));
        let reply = match (result, outcome.heard.get(n)) {
            (Ok(measured), Some((_, to))) => {
                let said = words(measured.t1, *to).map(|words| format!("  \"{words}\"")).unwrap_or_default();
                format!("after {:.0} ms{said}", measured.ingress())
            }
            (Err(reason), _) => format!("no figure: {}", explained(*reason)),
            (Ok(_), None) => continue,
        };
        print(&format!("agent  {reply}"));
    }
    if let Some(reason) = &outcome.ended_by_agent {
        print(&format!("the agent hung up ({reason})"));
    }
    summary(&made.report(), print);
}

fn summary(report: &Report<'_>, print: Progress<'_>) {
    let measured = report.results.iter().flatten().count();
    print(&format!(
        "{measured} of {} replies measured, mouth to ear at this telephone's RTP port:",
        report.results.len()
    ));
    let line = |name: &str, Aggregate { mean, p50, p95, max }: Aggregate| {
        format!("  {name:<22} p50 {p50:7.1}  p95 {p95:7.1}  max {max:7.1}  mean {mean:7.1} ms")
    };
    print(&line("as it arrives", report.aggregate(Measurement::ingress)));
    let target = PLAYOUT_TARGET.as_millis();
    print(&line(&format!("behind {target} ms of buffer"), report.aggregate(Measurement::playout)));
    let spread = report.aggregate(Measurement::spread_ms);
    print(&format!("  the three definitions of a beginning differ by {:.1} ms (max {:.1})", spread.p50, spread.max));
    let count = |flag: fn(&Measurement) -> bool| report.results.iter().flatten().filter(|one| flag(one)).count();
    for (flagged, what) in [
        (count(|one| one.flags.high_loss), "with more than 1 % of packets lost"),
        (count(|one| one.flags.high_late_discard), "with more than 1 % of packets too late for the buffer"),
        (
            count(|one| one.flags.discontiguous),
            "with a pause of more than 150 ms in its first 2 s: a filler, or the end of a short sentence",
        ),
    ] {
        if flagged > 0 {
            print(&format!("  {flagged} {what}"));
        }
    }
}

const fn explained(reason: Discard) -> &'static str {
    match reason {
        Discard::SpeechEndNotFound => "what was said did not go out whole",
        Discard::NoPackets => "no RTP came",
        Discard::OnsetNotFound => "no reply was heard",
        Discard::OnsetInFirstFrame => "the reply was there in the first packet, and may have begun before",
        Discard::TxPacingDeviation => "this machine was too busy to send every 20 ms",
    }
}

/// The local ears, for the telephone's own transcript.
struct Transcript {
    moonshine: Moonshine,
}

impl Transcript {
    /// Loads them, where they are.
    fn load(models: &Path) -> Option<Self> {
        if !models::status(models).contains(&Set::Moonshine) {
            return None;
        }
        Some(Self { moonshine: Moonshine::load(&models.join(Set::Moonshine.folder())).ok()? })
    }

    /// Writes down what the agent said between two times.
    fn of(&self, stream: &Stream, from: Instant, to: Instant) -> Option<String> {
        let first = stream.sample_at(from)? as usize;
        let last = stream.sample_at(to).map_or(stream.pcm().len(), |last| last as usize);
        let narrow = stream.pcm().get(first..last.max(first))?;
        let mut up = Up2::new();
        let mut wide = vec![0; narrow.len() * 2];
        for (from, to) in narrow.chunks(super::FRAME).zip(wide.chunks_mut(2 * super::FRAME)) {
            up.process(from, to);
        }
        let pcm: Vec<f32> = wide.iter().map(|sample| f32::from(*sample) / 32_768.0).collect();
        let pool = one_thread();
        let heard = self.moonshine.transcribe(&pcm, &[], &pool, &|| false).ok()??;
        (!heard.text.is_empty()).then_some(heard.text)
    }
}
