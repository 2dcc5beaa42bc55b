//! Phrases that are rendered ahead and kept: the greeting is heard at once, and an apology needs no provider.

use crate::agent::Phrase;
use crate::config;
use crate::engine::tones;
use crate::providers::{Speaker, Stop};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Waits between attempts to render what is still missing: short at first, since a caller may be waiting.
const RETRIES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
];

/// The kept phrases of one voice.
pub struct Phrases {
    texts: BTreeMap<Phrase, String>,
    ready: Mutex<BTreeMap<Phrase, Arc<[i16]>>>,
    changed: Condvar,
    cache: Option<(PathBuf, String)>,
    /// What is heard in place of a filler, and of everything else.
    tones: [Arc<[i16]>; 2],
}

impl Phrases {
    /// Makes the store for what `agent` says. `cache` is a folder that keeps what a paid voice has rendered over
    /// restarts, and what tells that voice from every other.
    #[must_use]
    pub fn new(agent: &config::Agent, cache: Option<(PathBuf, String)>) -> Self {
        let texts = Phrase::all(agent).map(|phrase| (phrase, phrase.text(agent).to_owned()));
        let texts = texts.filter(|(_, text)| !text.trim().is_empty()).collect();
        let tones = [tones::wait(), tones::end()];
        Self { texts, ready: Mutex::new(BTreeMap::new()), changed: Condvar::new(), cache, tones }
    }

    /// Returns a phrase's audio (mono, 8 kHz) and what it says; before it is rendered a tone, which says nothing.
    #[must_use]
    pub fn sound(&self, phrase: Phrase) -> (Arc<[i16]>, &str) {
        let [wait, end] = &self.tones;
        match (self.ready.lock().get(&phrase), phrase) {
            (Some(pcm), _) => (pcm.clone(), self.texts.get(&phrase).map_or("", String::as_str)),
            (None, Phrase::Filler(_)) => (wait.clone(), ""),
            (None, _) => (end.clone(), ""),
        }
    }

    /// Whether there is nothing to wait for: the phrase is rendered, or is empty.
    #[must_use]
    pub fn settled(&self, phrase: Phrase) -> bool {
        !self.texts.contains_key(&phrase) || self.ready.lock().contains_key(&phrase)
    }

    /// Phrases rendered so far.
    #[must_use]
    pub fn rendered(&self) -> Vec<Phrase> {
        self.ready.lock().keys().copied().collect()
    }

    /// Renders every phrase by `voice`, again and again until all are there or `stop` is raised; where `voice` fails,
    /// `substitute` speaks meanwhile. `changed` is called after each phrase, `report` with each new cause of failure.
    pub fn render_all(
        &self,
        voice: &dyn Speaker,
        substitute: Option<&dyn Speaker>,
        stop: &Stop,
        mut changed: impl FnMut(),
        mut report: impl FnMut(&str),
    ) {
        let mut said = String::new();
        let mut missing: Vec<(Phrase, &String)> = self.texts.iter().map(|(phrase, text)| (*phrase, text)).collect();
        for attempt in 0.. {
            missing.retain(|(phrase, text)| {
                if stop.raised() {
                    return true;
                }
                match self.cached(text).map_or_else(|| voice.render(text), Ok) {
                    Ok(pcm) => {
                        self.keep(text, &pcm);
                        self.ready.lock().insert(*phrase, pcm.into());
                        changed();
                        false
                    }
                    Err(failure) => {
                        if failure.text != said {
                            report(&format!("the phrase \"{text}\" could not be rendered: {}", failure.text));
                            said = failure.text;
                        }
                        let stopgap = substitute.filter(|_| !self.settled(*phrase)).and_then(|s| s.render(text).ok());
                        if let Some(pcm) = stopgap {
                            self.ready.lock().insert(*phrase, pcm.into());
                            changed();
                        }
                        true
                    }
                }
            });
            if missing.is_empty() || stop.raised() {
                return;
            }
            let wait = RETRIES[RETRIES.len().min(attempt + 1) - 1];
            self.wait(stop, wait);
        }
    }

    /// Ends [`Self::render_all`]'s wait, after `stop` was raised.
    pub fn interrupt(&self) {
        let _guard = self.ready.lock();
        self.changed.notify_all();
    }

    fn wait(&self, stop: &Stop, time: Duration) {
        let mut guard = self.ready.lock();
        if !stop.raised() {
            self.changed.wait_for(&mut guard, time);
        }
    }

    fn path(&self, text: &str) -> Option<PathBuf> {
        use sha2::{Digest, Sha256};
        let (folder, voice) = self.cache.as_ref()?;
        let digest = Sha256::digest(format!("{voice}\n{text}").as_bytes());
        let name: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Some(folder.join(name + ".wav"))
    }

    fn cached(&self, text: &str) -> Option<Vec<i16>> {
        let mut wav = hound::WavReader::open(self.path(text)?).ok()?;
        let spec = wav.spec();
        (spec.channels == 1 && spec.sample_rate == 8000 && spec.bits_per_sample == 16).then_some(())?;
        let pcm: Vec<i16> = wav.samples::<i16>().collect::<Result<_, _>>().ok()?;
        (!pcm.is_empty()).then_some(pcm)
    }

    /// Keeps a phrase on disk; a phrase that cannot be kept is rendered again at the next start, which costs only that.
    fn keep(&self, text: &str, pcm: &[i16]) {
        if let Some(path) = self.path(text) {
            let _ = write_wav(&path, pcm);
        }
    }
}

fn write_wav(path: &Path, pcm: &[i16]) -> Result<(), hound::Error> {
    if path.exists() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let spec =
        hound::WavSpec { channels: 1, sample_rate: 8000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    // Written beside and renamed, so that an interrupted start leaves no half phrase.
    let file = tempfile::NamedTempFile::new_in(folder)?;
    let mut wav = hound::WavWriter::new(std::io::BufWriter::new(file.reopen()?), spec)?;
    for &sample in pcm {
        wav.write_sample(sample)?;
    }
    wav.finalize()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Failure, FailureKind};
    use crate::providers::VoiceIo;

    /// A voice that says so many samples, or nothing at all.
    struct Voice(Option<usize>);

    impl Speaker for Voice {
        fn name(&self) -> &'static str {
            "scripted"
        }

        fn run(&self, _: VoiceIo) {}

        fn render(&self, _: &str) -> Result<Vec<i16>, Failure> {
            let failure = || Failure { kind: FailureKind::Dropped, text: "away".into() };
            self.0.map(|samples| vec![1; samples]).ok_or_else(failure)
        }
    }

    #[test]
    fn what_no_voice_has_said_yet_is_a_tone_that_claims_no_words() {
        let phrases = Phrases::new(&config::Agent::default(), None);
        assert!(phrases.rendered().is_empty());
        let (wait, nothing) = phrases.sound(Phrase::Filler(1));
        let (end, _) = phrases.sound(Phrase::FarewellOnFailure);
        assert!(!wait.is_empty() && end.len() > wait.len() && nothing.is_empty());
        phrases.render_all(&Voice(Some(99)), None, &Stop::default(), || {}, |_| {});
        assert_eq!(phrases.sound(Phrase::Filler(1)).1, config::Agent::default().fillers[1]);
        assert_eq!(phrases.sound(Phrase::FarewellOnFailure).0.len(), 99);
    }

    #[test]
    fn a_substitute_speaks_while_the_voice_is_away() {
        let phrases = Phrases::new(&config::Agent::default(), None);
        let stop = Stop::default();
        phrases.render_all(&Voice(None), Some(&Voice(Some(7))), &stop, || {}, |_| stop.raise());
        assert_eq!(phrases.sound(Phrase::Greeting).0.len(), 7);
    }
}
