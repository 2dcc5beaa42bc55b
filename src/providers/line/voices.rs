//! The line of voices: one speaks; where it breaks off, the next speaks again from the first clause whose audio is not whole, in the
//! same turn and the same ring.
//!
//! Threads: all of a line's voices run on the call's `voice` thread, one after the other. With a healthy first one nothing stands
//! between it and the media path. A voice that has taken over keeps the call: a caller should not hear voices change with each
//! sentence.

use super::{Line, Place, Seat};
use crate::agent::{Failure, FailureKind, VoiceEvent};
use crate::call::VOICE_RATE;
use crate::ids::{CallId, TurnId};
use crate::metrics::health::{Health, ProviderStage};
use crate::providers::agent_audio::Script;
use crate::providers::{Bell, Events, Speaker, Stamped, Stop, VoiceIo};
use crate::time::{self, Instant};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// The line of voices; shared by all calls.
pub struct VoiceLine(Line<Arc<dyn Speaker>>);

impl VoiceLine {
    /// Makes a line of at least one voice, first choice first.
    #[must_use]
    pub fn new(voices: Vec<Arc<dyn Speaker>>) -> Self {
        Self(Line::new(ProviderStage::Tts, voices, |voice| voice.name()))
    }

    /// Returns the record of each voice, first choice first.
    #[must_use]
    pub fn health(&self) -> Vec<Arc<Health>> {
        self.0.health()
    }
}

/// How far the open turn is, whoever speaks it.
#[derive(Debug, Default)]
struct Spoken {
    turn: Option<TurnId>,
    /// Words that are told to be spoken.
    words: usize,
    /// Where each whole clause ends, in samples of the turn.
    ends: Vec<u64>,
    /// Clauses that voices before this one have spoken, and the samples of theirs that stand.
    clauses_before: usize,
    samples_before: u64,
    /// When the voice was given its first clause.
    asked: Option<Instant>,
    /// Whether the turn's first audio was told.
    begun: bool,
    /// Why the present voice was lost.
    lost: Option<Failure>,
}

impl Spoken {
    fn begin(&mut self, turn: TurnId) {
        if self.turn != Some(turn) {
            *self = Self { turn: Some(turn), lost: self.lost.take(), ..Self::default() };
        }
    }

    /// Words are spoken up to `end` of the turn's audio.
    fn words(&mut self, text: &str, end: Duration, script: &Script) {
        self.words += text.split_whitespace().count();
        let mut due = 0;
        for (n, (_, text, _)) in script.clauses.iter().enumerate().skip(self.clauses_before) {
            due += text.split_whitespace().count();
            if due > self.words {
                break;
            }
            if n >= self.ends.len() {
                self.ends.push(samples(end));
            }
        }
    }
}

/// Returns how many samples come before `end`.
fn samples(end: Duration) -> u64 {
    time::samples::count(end, VOICE_RATE)
}

/// Returns how long `samples` last.
fn duration(samples: u64) -> Duration {
    time::samples::duration(samples, VOICE_RATE)
}

impl Speaker for VoiceLine {
    fn name(&self) -> &'static str {
        self.0.first().map_or("", |voice| voice.name())
    }

    fn computes(&self) -> bool {
        self.0.first().is_some_and(|voice| voice.computes())
    }

    /// Only the first voice's phrases are kept, so that no other renders one in its name.
    fn render(&self, text: &str) -> Result<Vec<i16>, Failure> {
        match self.0.first() {
            Some(voice) => voice.render(text),
            None => Err(Failure { kind: FailureKind::Dropped, text: "there is no voice".to_owned() }),
        }
    }

    fn run(&self, io: VoiceIo) {
        let VoiceIo { call, clock, commands, mut listener, frames, media, events, stop } = io;
        let events = Arc::new(Mutex::new(events));
        let (script, spoken) = (Arc::new(Mutex::new(Script::default())), Arc::new(Mutex::new(Spoken::default())));
        let mut tried = vec![false; self.0.len()];
        while !stop.raised() {
            let Some(Seat { provider: voice, place }) = self.0.take_next(&mut tried, clock.now()) else { return };
            let (lent, loan) = listener.lend();
            let behind = tried.contains(&false);
            let over = stop.under();
            let relay = Relay {
                call,
                events: events.clone(),
                script: script.clone(),
                spoken: spoken.clone(),
                place: place.clone(),
                over: over.clone(),
                bell: lent.bell(),
                behind,
            };
            voice.run(VoiceIo {
                call,
                clock: clock.clone(),
                commands: commands.noted_in(&script),
                listener: lent,
                frames: frames.again(behind),
                media: media.clone(),
                events: Events::relay(clock.clone(), move |stamped| relay.pass(stamped)),
                stop: over,
            });
            let mut spoken = spoken.lock();
            let (Some(_), Some(back)) = (spoken.lost.take(), loan.back().filter(|_| behind)) else { return };
            listener = back;
            let (clauses, stand) = frames.cut_to(&spoken.ends);
            spoken.ends.truncate(clauses);
            (spoken.clauses_before, spoken.samples_before) = (clauses, stand);
            (spoken.words, spoken.asked) = (0, None);
            script.lock().speak_again(clauses);
        }
    }
}

/// What a voice's events go through.
struct Relay {
    call: CallId,
    events: Arc<Mutex<Events<(TurnId, VoiceEvent)>>>,
    script: Arc<Mutex<Script>>,
    spoken: Arc<Mutex<Spoken>>,
    place: Arc<Place>,
    /// Ends the voice's session, and wakes it.
    over: Stop,
    bell: Bell,
    /// Whether another stands behind it.
    behind: bool,
}

impl Relay {
    fn pass(&self, Stamped { at, event: (turn, event) }: Stamped<(TurnId, VoiceEvent)>) {
        if let Some(event) = self.told(turn, event, at) {
            self.events.lock().send_at(at, (turn, event));
        }
    }

    /// Returns what the agent is told: of the turn, not of one voice's part of it.
    fn told(&self, turn: TurnId, event: VoiceEvent, at: Instant) -> Option<VoiceEvent> {
        let script = self.script.lock();
        if script.turn != Some(turn) {
            return Some(event);
        }
        let mut spoken = self.spoken.lock();
        spoken.begin(turn);
        let before = duration(spoken.samples_before);
        match event {
            VoiceEvent::Sent { clause } => {
                spoken.asked.get_or_insert(at);
                Some(VoiceEvent::Sent { clause })
            }
            VoiceEvent::FirstAudio => {
                self.place.began(spoken.asked.map_or(Duration::ZERO, |asked| at.since(asked)));
                let first = !std::mem::replace(&mut spoken.begun, true);
                first.then_some(VoiceEvent::FirstAudio)
            }
            VoiceEvent::Spoken { text, end } => {
                spoken.words(&text, before + end, &script);
                Some(VoiceEvent::Spoken { text, end: before + end })
            }
            VoiceEvent::Done { length } => Some(VoiceEvent::Done { length: before + length }),
            VoiceEvent::Failed(failure) => {
                self.place.failed(self.call, &failure, failure.kind == FailureKind::Refused, at);
                if !self.behind {
                    return Some(VoiceEvent::Failed(failure));
                }
                spoken.lost = Some(failure);
                self.over.raise();
                self.bell.ring();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::VoiceFrame;
    use crate::providers::feeder::Feeder;
    use crate::providers::rig::Still;
    use crate::providers::{Listener, VoiceCommand};
    use crate::time::Clock;
    use crossbeam_channel::bounded;

    /// Speaks 100 samples a word, each of them `tone`, and tells each word; breaks off after `words_max` words and half of another.
    /// Nobody is there once all orders are spoken.
    struct Fake {
        name: &'static str,
        tone: i16,
        words_max: usize,
        spoke: Mutex<Vec<String>>,
    }

    fn fake(name: &'static str, tone: i16, words_max: usize) -> Arc<Fake> {
        Arc::new(Fake { name, tone, words_max, spoke: Mutex::default() })
    }

    impl Speaker for Fake {
        fn name(&self) -> &'static str {
            self.name
        }

        fn run(&self, io: VoiceIo) {
            let now = io.clock.now();
            let mut feeder = Feeder::new(io.frames, io.media);
            let (mut words, mut begun) = (0, None);
            while let Ok(command) = io.commands.try_recv() {
                let VoiceCommand::Speak { turn, clause, text, last } = command else { continue };
                if begun.replace(turn) != Some(turn) {
                    feeder.begin(turn);
                    words = 0;
                }
                self.spoke.lock().push(text.clone());
                io.events.send((turn, VoiceEvent::Sent { clause }));
                for word in text.split_whitespace() {
                    if words == self.words_max {
                        feeder.push(&[self.tone; 50], now);
                        feeder.break_off(now);
                        let failure = Failure { kind: FailureKind::Dropped, text: "gone".into() };
                        io.events.send((turn, VoiceEvent::Failed(failure)));
                        return;
                    }
                    words += 1;
                    feeder.push(&[self.tone; 100], now);
                    if words == 1 {
                        io.events.send((turn, VoiceEvent::FirstAudio));
                    }
                    let end = duration(100 * words as u64);
                    io.events.send((turn, VoiceEvent::Spoken { text: word.to_owned(), end }));
                }
                if last {
                    feeder.finish(now);
                    io.events.send((turn, VoiceEvent::Done { length: duration(100 * words as u64) }));
                }
            }
        }

        fn render(&self, _: &str) -> Result<Vec<i16>, Failure> {
            Ok(vec![self.tone])
        }
    }

    /// What a call heard and was told.
    struct Heard {
        pcm: Vec<i16>,
        lasts: usize,
        told: Vec<(TurnId, VoiceEvent)>,
        line: VoiceLine,
    }

    /// Speaks these clauses of turn 1 through a ring of `frames` frames.
    fn speak(voices: &[Arc<Fake>], frames: usize, clauses: &[&str]) -> Heard {
        let line = VoiceLine::new(voices.iter().map(|fake| fake.clone() as Arc<dyn Speaker>).collect());
        let (ring, mut out) = rtrb::RingBuffer::<VoiceFrame>::new(frames);
        let clock: Arc<dyn Clock> = Arc::new(Still(Instant::ZERO));
        let (bell, listener) = Listener::new().expect("a poll");
        let (send, events) = bounded(256);
        let events_to =
            Events::new(clock.clone(), send, bell.clone(), |stamped: Stamped<(TurnId, VoiceEvent)>| stamped.event);
        let (orders, commands) = bounded(64);
        for (n, text) in clauses.iter().enumerate() {
            let (turn, clause, last) = (TurnId(1), n as u16, n + 1 == clauses.len());
            orders.send(VoiceCommand::Speak { turn, clause, text: (*text).to_owned(), last }).expect("room");
        }
        let (call, stop) = (CallId(1), Stop::default());
        let (commands, frames) = (commands.into(), ring.into());
        line.run(VoiceIo { call, clock, commands, listener, frames, media: bell, events: events_to, stop });
        let (mut pcm, mut lasts) = (Vec::new(), 0);
        while let Ok(frame) = out.pop() {
            pcm.extend_from_slice(&frame.pcm[..usize::from(frame.len)]);
            lasts += usize::from(frame.last);
        }
        Heard { pcm, lasts, told: events.try_iter().collect(), line }
    }

    /// How often each tone is heard, in order.
    fn runs(pcm: &[i16]) -> Vec<(i16, usize)> {
        let mut runs: Vec<(i16, usize)> = Vec::new();
        for tone in pcm {
            match runs.last_mut().filter(|(last, _)| last == tone) {
                Some((_, count)) => *count += 1,
                None => runs.push((*tone, 1)),
            }
        }
        runs
    }

    const CLAUSES: [&str; 3] = ["one two three,", "four five,", "six seven."];

    #[test]
    fn a_healthy_voice_speaks_alone() {
        let (first, second) = (fake("first", 1, 99), fake("second", 2, 99));
        let heard = speak(&[first, second.clone()], 64, &CLAUSES);
        assert_eq!((runs(&heard.pcm), heard.lasts), (vec![(1, 700)], 1));
        assert!(second.spoke.lock().is_empty());
        assert!(heard.told.contains(&(TurnId(1), VoiceEvent::Done { length: duration(700) })));
    }

    #[test]
    fn the_next_voice_begins_with_the_clause_that_is_not_whole() {
        // The ring takes one frame at first, so that the half clause can be dropped.
        let (first, second) = (fake("first", 1, 4), fake("second", 2, 99));
        let heard = speak(&[first, second.clone()], 1, &CLAUSES);
        assert_eq!(*second.spoke.lock(), ["four five,", "six seven."]);
        assert_eq!(runs(&heard.pcm), [(1, 160)], "what the ring took");
        assert!(heard.told.contains(&(TurnId(1), VoiceEvent::Done { length: duration(300 + 400) })));
        let seven = VoiceEvent::Spoken { text: "seven.".into(), end: duration(700) };
        assert!(heard.told.contains(&(TurnId(1), seven)));
        let firsts = heard.told.iter().filter(|(_, event)| *event == VoiceEvent::FirstAudio).count();
        assert_eq!(firsts, 1);
        assert!(!heard.told.iter().any(|(_, event)| matches!(event, VoiceEvent::Failed(_))));
        let views: Vec<_> = heard.line.health().iter().map(|health| health.view(Instant::ZERO)).collect();
        assert_eq!((views[0].counts.failed, views[1].counts.stood_in), (1, 1));
    }

    #[test]
    fn no_sample_is_lost_and_what_left_is_not_taken_back() {
        let (first, second) = (fake("first", 1, 4), fake("second", 2, 99));
        let heard = speak(&[first, second], 64, &CLAUSES);
        // 320 of the first voice's 450 samples were in the ring: two whole frames.
        assert_eq!((runs(&heard.pcm), heard.lasts), (vec![(1, 320), (2, 400)], 1));
    }

    #[test]
    fn a_voice_that_never_says_a_word_costs_none() {
        let (first, second) = (fake("first", 1, 0), fake("second", 2, 99));
        let heard = speak(&[first, second], 64, &CLAUSES);
        assert_eq!((runs(&heard.pcm), heard.lasts), (vec![(2, 700)], 1));
    }

    #[test]
    fn the_last_one_breaking_off_is_told_and_its_turn_ends() {
        let (first, second) = (fake("first", 1, 0), fake("second", 2, 3));
        let heard = speak(&[first, second], 64, &CLAUSES);
        assert_eq!((runs(&heard.pcm), heard.lasts), (vec![(2, 350)], 1));
        let failed = heard.told.iter().filter(|(_, event)| matches!(event, VoiceEvent::Failed(_))).count();
        assert_eq!(failed, 1);
    }
}
