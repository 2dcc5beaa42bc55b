//! The ears of the local agent: frames to a [`Segmenter`], its orders to the networks, and what they say back to it.

use super::Error;
use super::models::Set;
use super::moonshine::{Moonshine, SAMPLE_RATE};
use super::segmenter::{Input, Output, STRETCH_HARD_MAX, Segmenter};
use super::smart_turn::SmartTurn;
use super::work::{Urgency, Work};
use crate::agent::{EarsEvent, Failure, FailureKind};
use crate::call::FRAME_16K;
use crate::providers::{Bell, EarsCommand, EarsIo, Transcriber};
use crate::time::Clock;
use crossbeam_channel::{Receiver, Sender};
use rten::ThreadPool;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Moonshine with Smart Turn, shared by all calls: one copy of the networks and one small pool of threads that run them.
pub struct Ears {
    networks: Arc<Networks>,
    work: Work,
}

struct Networks {
    moonshine: Moonshine,
    smart_turn: Option<SmartTurn>,
}

/// The audio that is kept, in frames: the longest stretch, and some seconds for a busy machine to look at it.
const KEPT_FRAMES: usize = STRETCH_HARD_MAX as usize + 300;

/// Results that wait for the call's thread. It has at most a look, a closing, a last text and an opinion in hand.
const RESULTS_MAX: usize = 16;

/// How long the call's thread sleeps when nobody rings: frames come every 20 ms while the call lives.
const NAP: Duration = Duration::from_millis(200);

/// How long an opinion may wait for a thread: it takes 0.2 s to be made, and one that comes later than some 0.4 s into a
/// pause changes nothing.
const OPINION_WAIT_MAX: Duration = Duration::from_millis(100);

/// Decodes that may fail one after another before the ears are given up. A sane model never fails.
const FAILURES_MAX: u32 = 3;

impl Ears {
    /// Loads the networks from the models folder; Smart Turn is used where it is there. Takes some tenths of a second.
    ///
    /// # Errors
    /// What keeps Moonshine from running.
    pub fn load(models: &Path) -> Result<Self, Error> {
        let moonshine = Moonshine::load(&models.join(Set::Moonshine.folder()))?;
        let smart_turn = SmartTurn::load(&models.join(Set::SmartTurn.folder())).ok();
        Ok(Self { networks: Arc::new(Networks { moonshine, smart_turn }), work: Work::new() })
    }
}

impl Transcriber for Ears {
    fn name(&self) -> &'static str {
        "moonshine"
    }

    fn computes(&self) -> bool {
        true
    }

    fn run(&self, io: EarsIo) {
        let (results_in, results) = crossbeam_channel::bounded(RESULTS_MAX);
        let mut session = Session {
            ears: self,
            segmenter: Segmenter::new(),
            audio: Audio::default(),
            pending: BTreeMap::new(),
            draft: Draft::default(),
            failures: 0,
            results_in,
            results,
            bell: io.listener.bell(),
            clock: io.clock.clone(),
            io,
        };
        session.io.events.send(EarsEvent::Connected);
        while !session.io.stop.raised() {
            session.do_work();
            if session.failures >= FAILURES_MAX {
                let text = "moonshine: the network fails to run; `offhook models` obtains it again".to_owned();
                session.io.events.send(EarsEvent::Failed(Failure { kind: FailureKind::Garbage, text }));
                break;
            }
            session.io.listener.wait(Some(NAP));
        }
        // Nobody waits for what is still in hand.
        session.pending.values().for_each(|cancelled| cancelled.store(true, Ordering::Relaxed));
    }
}

/// One call's session.
struct Session<'a> {
    ears: &'a Ears,
    io: EarsIo,
    segmenter: Segmenter,
    audio: Audio,
    /// Decodes in hand, and the flags that stop them.
    pending: BTreeMap<u32, Arc<AtomicBool>>,
    draft: Draft,
    failures: u32,
    results_in: Sender<Done>,
    results: Receiver<Done>,
    bell: Bell,
    clock: Arc<dyn Clock>,
}

/// What the latest look saw, as a draft for the next look at the same stretch.
#[derive(Default)]
struct Draft {
    from: u64,
    tokens: Vec<u32>,
}

/// What a piece of work came to.
enum Done {
    Decoded { id: u32, from: u64, text: Option<String>, tokens: Vec<u32>, took: Duration },
    Judged { id: u32, complete: Option<f32> },
}

impl Session<'_> {
    /// Takes what has come in since the last time.
    fn do_work(&mut self) {
        while let Ok(frame) = self.io.frames.pop() {
            self.audio.push(&frame.pcm);
            let now = self.clock.now();
            self.segmenter.handle_input(Input::Frame { speech: frame.speech, arrived: frame.arrived }, now);
            self.carry_out();
        }
        while let Ok(EarsCommand::ForceEndTurn) = self.io.commands.try_recv() {
            self.segmenter.handle_input(Input::ForceEndTurn, self.clock.now());
            self.carry_out();
        }
        while let Ok(done) = self.results.try_recv() {
            let now = self.clock.now();
            match done {
                Done::Decoded { id, from, text, tokens, took } => {
                    self.pending.remove(&id);
                    self.failures = if text.is_some() { 0 } else { self.failures + 1 };
                    self.draft = Draft { from, tokens };
                    self.segmenter.handle_input(Input::Decoded { id, text: text.as_deref(), took }, now);
                }
                Done::Judged { id, complete } => {
                    self.segmenter.handle_input(Input::Opinion { id, complete }, now);
                }
            }
            self.carry_out();
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.segmenter.poll_output() {
            match output {
                Output::Event(event) => self.io.events.send(event),
                Output::Decode { id, from, to, last } => self.decode(id, from, to, last),
                Output::Judge { id, from, to } => self.judge(id, from, to),
                Output::Cancel { id } => {
                    if let Some(cancelled) = self.pending.remove(&id) {
                        cancelled.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    fn decode(&mut self, id: u32, from: u64, to: u64, last: bool) {
        let pcm = self.audio.stretch(from, to);
        let draft = if self.draft.from == from { std::mem::take(&mut self.draft.tokens) } else { Vec::new() };
        let cancelled = Arc::new(AtomicBool::new(false));
        let (networks, flag, clock) = (self.ears.networks.clone(), cancelled.clone(), self.clock.clone());
        let (results, bell) = (self.results_in.clone(), self.bell.clone());
        let job = move |pool: &Arc<ThreadPool>| {
            let stopped = || flag.load(Ordering::Relaxed);
            if stopped() {
                return;
            }
            let began = clock.now();
            let hypothesis = if last {
                last_text(&networks.moonshine, &pcm, pool, &stopped)
            } else {
                networks.moonshine.transcribe(&pcm, &draft, pool, &stopped)
            };
            let (text, tokens) = match hypothesis {
                Ok(Some(hypothesis)) => (Some(hypothesis.text), hypothesis.tokens),
                Ok(None) => return,
                Err(_) => (None, Vec::new()),
            };
            let took = clock.now().since(began);
            // A call that is gone, or that has so many results to look at, does not miss this one.
            let _ = results.try_send(Done::Decoded { id, from, text, tokens, took });
            bell.ring();
        };
        let urgency = if last { Urgency::Final } else { Urgency::Partial };
        if self.ears.work.submit(urgency, job) {
            self.pending.insert(id, cancelled);
        } else {
            let input = Input::Decoded { id, text: None, took: Duration::ZERO };
            self.segmenter.handle_input(input, self.clock.now());
        }
    }

    fn judge(&mut self, id: u32, from: u64, to: u64) {
        let pcm = self.audio.stretch(from, to);
        let (networks, clock) = (self.ears.networks.clone(), self.clock.clone());
        let (results, bell) = (self.results_in.clone(), self.bell.clone());
        let asked = clock.now();
        let job = move |pool: &Arc<ThreadPool>| {
            let late = clock.now().since(asked) > OPINION_WAIT_MAX;
            let network = networks.smart_turn.as_ref().filter(|_| !late);
            let complete = network.as_ref().and_then(|network| network.completeness(&pcm, pool).ok());
            let _ = results.try_send(Done::Judged { id, complete });
            bell.ring();
        };
        if self.ears.networks.smart_turn.is_none() || !self.ears.work.submit(Urgency::Opinion, job) {
            self.segmenter.handle_input(Input::Opinion { id, complete: None }, self.clock.now());
        }
    }
}

/// Digital silence around speech that is tried again, in samples.
const RETRY_SILENCE: usize = SAMPLE_RATE * 3 / 20;

/// What is cut from either end of speech that is tried again: the pad that the segmenter left.
const RETRY_CUT: usize = SAMPLE_RATE / 10;

/// Writes down a stretch that somebody waits for, and tries again where the model fell silent or into a loop. Both depend
/// on how much silence there is around short speech.
fn last_text(
    moonshine: &Moonshine,
    pcm: &[f32],
    pool: &Arc<ThreadPool>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Option<super::moonshine::Hypothesis>, Error> {
    let Some(first) = moonshine.transcribe(pcm, &[], pool, cancelled)? else { return Ok(None) };
    if first.ended && !first.text.is_empty() {
        return Ok(Some(first));
    }
    let core = pcm.get(RETRY_CUT..pcm.len().saturating_sub(RETRY_CUT)).unwrap_or(pcm);
    let mut framed = vec![0.0; RETRY_SILENCE];
    framed.extend_from_slice(core);
    framed.resize(framed.len() + RETRY_SILENCE, 0.0);
    let Some(second) = moonshine.transcribe(&framed, &[], pool, cancelled)? else { return Ok(None) };
    let second_is_better = !second.text.is_empty() && (second.ended || first.text.is_empty());
    Ok(Some(if second_is_better { second } else { first }))
}

/// The latest audio of the call, by the number of the frame.
#[derive(Default)]
struct Audio {
    samples: VecDeque<i16>,
    /// The number of the frame that comes next.
    next: u64,
}

impl Audio {
    fn push(&mut self, frame: &[i16; FRAME_16K]) {
        if self.samples.len() >= KEPT_FRAMES * FRAME_16K {
            self.samples.drain(..FRAME_16K);
        }
        self.samples.extend(frame);
        self.next += 1;
    }

    /// Returns frames `from..to` as ±1, as far as they are kept.
    fn stretch(&self, from: u64, to: u64) -> Vec<f32> {
        let oldest = self.next - (self.samples.len() / FRAME_16K) as u64;
        let index = |frame: u64| (frame.clamp(oldest, self.next) - oldest) as usize * FRAME_16K;
        let (from, to) = (index(from), index(to).max(index(from)));
        self.samples.range(from..to).map(|&sample| f32::from(sample) / 32_768.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{EarFrame, FRAME_8K};
    use crate::ids::CallId;
    use crate::providers::rig::Still;
    use crate::providers::{Events, Listener, Stamped, Stop};
    use crate::time::Instant;

    #[test]
    fn a_stretch_is_what_was_pushed_as_far_as_it_is_kept() {
        let mut audio = Audio::default();
        for n in 0..KEPT_FRAMES as i16 + 10 {
            audio.push(&[n; FRAME_16K]);
        }
        let stretch = audio.stretch(20, 22);
        assert_eq!(stretch.len(), 2 * FRAME_16K);
        assert_eq!(stretch.first().copied(), Some(20.0 / 32_768.0));
        assert_eq!(stretch.last().copied(), Some(21.0 / 32_768.0));
        assert_eq!(audio.stretch(0, 11).len(), FRAME_16K, "frames 0 to 9 are gone");
        assert_eq!(audio.stretch(5000, 6000).len(), 0);
        assert_eq!(audio.stretch(30, 20).len(), 0);
        assert_eq!(audio.samples.len(), KEPT_FRAMES * FRAME_16K);
    }

    /// Returns the models folder, or says aloud why the test is skipped.
    fn models() -> Option<std::path::PathBuf> {
        let named = std::env::var_os("OFFHOOK_MODELS").map(std::path::PathBuf::from);
        let folder = named.or_else(|| Some(dirs::cache_dir()?.join("offhook")))?;
        let there = super::super::models::status(&folder);
        if there.contains(&Set::Moonshine) && there.contains(&Set::SmartTurn) {
            return Some(folder);
        }
        eprintln!("skipped: {} lacks Moonshine and Smart Turn; run `offhook models` first", folder.display());
        None
    }

    /// Gives the ears `frames` as fast as they take them and returns what they say until the last is consumed, and for as
    /// long after as `until` wants more.
    fn hear(ears: &Ears, frames: &[EarFrame], until: impl Fn(&EarsEvent) -> bool) -> Vec<EarsEvent> {
        let clock: Arc<dyn Clock> = Arc::new(Still(Instant::ZERO));
        let (mut ring, consumer) = rtrb::RingBuffer::new(frames.len().max(1));
        let (bell, listener) = Listener::new().expect("a poll");
        let (sender, events) = crossbeam_channel::bounded::<Stamped<EarsEvent>>(1024);
        let stop = Stop::default();
        let io = EarsIo {
            call: CallId(1),
            clock: clock.clone(),
            frames: consumer.into(),
            commands: crossbeam_channel::never(),
            listener,
            events: Events::new(clock, sender, bell.clone(), |event| event),
            stop: stop.clone(),
        };
        for frame in frames {
            ring.push(*frame).expect("room for all");
        }
        std::thread::scope(|scope| {
            scope.spawn(|| ears.run(io));
            bell.ring();
            let mut all = Vec::new();
            // A machine under load takes its time; a minute without any event is a failure.
            while let Ok(Stamped { event, .. }) = events.recv_timeout(Duration::from_secs(60)) {
                let enough = until(&event);
                all.push(event);
                if enough {
                    break;
                }
            }
            stop.raise();
            bell.ring();
            all
        })
    }

    fn frame(pcm: [i16; FRAME_16K], speech: bool) -> EarFrame {
        EarFrame { pcm, ulaw: [0xff; FRAME_8K], arrived: Instant::ZERO, speech, concealed: false }
    }

    #[test]
    fn silence_has_no_text_and_a_look_that_is_not_wanted_stops() {
        let Some(models) = models() else { return };
        let ears = Ears::load(&models).expect("models that are complete");
        let pool = super::super::one_thread();
        let networks = &ears.networks;
        for pcm in [vec![0.0; 32_000], vec![0.0; 10], Vec::new()] {
            let heard = networks.moonshine.transcribe(&pcm, &[], &pool, &|| false).expect("a run");
            assert_eq!(heard.map(|heard| heard.text), Some(String::new()));
            let whole = networks.smart_turn.as_ref().expect("loaded").completeness(&pcm, &pool).expect("a run");
            assert!((0.0..=1.0).contains(&whole), "{whole}");
        }
        let cancelled = networks.moonshine.transcribe(&[0.1; 32_000], &[], &pool, &|| true).expect("a run");
        assert_eq!(cancelled, None);
    }

    #[test]
    fn a_human_sentence_over_g711_is_heard_to_its_end() {
        let Some(models) = models() else { return };
        let prompt = "/usr/share/asterisk/sounds/en_US_f_Allison/vm-advopts.wav";
        let Ok(mut wav) = hound::WavReader::open(prompt) else {
            eprintln!("skipped: {prompt} is not there; install asterisk-core-sounds-en-wav");
            return;
        };
        let mut narrow: Vec<i16> = vec![0; 8000];
        narrow.extend(wav.samples::<i16>().map(|sample| sample.expect("a sample")));
        narrow.resize(narrow.len().next_multiple_of(FRAME_8K) + 8000 * 2, 0);
        let mut up = crate::audio::resample::Up2::new();
        let mut activity = crate::audio::activity::Activity::new();
        let frames: Vec<EarFrame> = narrow
            .chunks_exact(FRAME_8K)
            .map(|narrow| {
                let (mut ulaw, mut heard, mut wide) = ([0; FRAME_8K], [0; FRAME_8K], [0; FRAME_16K]);
                crate::audio::g711::encode_ulaw(narrow, &mut ulaw);
                crate::audio::g711::decode_ulaw(&ulaw, &mut heard);
                up.process(&heard, &mut wide);
                EarFrame { ulaw, ..frame(wide, activity.push(&wide).speech) }
            })
            .collect();
        let ears = Ears::load(&models).expect("models that are complete");
        let events = hear(&ears, &frames, |event| matches!(event, EarsEvent::EndOfTurn { .. }));
        let Some(EarsEvent::EndOfTurn { transcript, .. }) = events.last() else { panic!("{events:?}") };
        let words = transcript.to_lowercase();
        assert!(words.contains("press") && words.contains("advanced options"), "{transcript}");
        let started = events.iter().position(|event| matches!(event, EarsEvent::StartOfTurn { .. }));
        assert_eq!(started, Some(1), "{events:?}");
    }
}
