//! The line of ears: one recogniser hears the call; where it is lost, the next hears the open turn again from its beginning, and
//! what comes after it.
//!
//! Threads: all of a line's recognisers run on the call's `ears` thread, one after the other, with the same ring, bell and
//! channel. With a healthy first one nothing stands between it and the media path.

use super::{Line, Place, Seat};
use crate::agent::{EarsEvent, Failure, FailureKind};
use crate::ids::CallId;
use crate::metrics::health::{Health, ProviderStage};
use crate::providers::caller_audio::CallerAudio;
use crate::providers::{Bell, EarsIo, Events, Stamped, Stop, Transcriber};
use parking_lot::Mutex;
use std::sync::Arc;

/// Connections that a recogniser may lose without a word between them where another stands behind it. The first is made anew at once,
/// and hears again what it missed: that is quicker than another recogniser.
const RECONNECTS_MAX: u32 = 1;

/// The line of ears; shared by all calls.
pub struct EarsLine(Line<Arc<dyn Transcriber>>);

impl EarsLine {
    /// Makes a line of at least one recogniser, first choice first.
    #[must_use]
    pub fn new(ears: Vec<Arc<dyn Transcriber>>) -> Self {
        Self(Line::new(ProviderStage::Stt, ears, |ears| ears.name()))
    }

    /// Returns the record of each recogniser, first choice first.
    #[must_use]
    pub fn health(&self) -> Vec<Arc<Health>> {
        self.0.health()
    }
}

/// What is known of the caller's turn, whoever hears it.
#[derive(Debug, Default)]
struct Heard {
    turn_open: bool,
    /// The text of an eager end that is neither resumed nor followed by the end.
    eager: Option<String>,
    /// Connections that the present recogniser has lost since it last had words.
    reconnects: u32,
    /// Why the present recogniser was lost.
    lost: Option<Failure>,
}

impl Heard {
    /// Returns why `event` means that the recogniser is lost; sooner where another stands `behind` it.
    fn lost_by<'a>(&self, event: &'a EarsEvent, behind: bool) -> Option<&'a Failure> {
        match event {
            EarsEvent::Failed(failure) => Some(failure),
            EarsEvent::Reconnecting(failure) if behind && self.reconnects >= RECONNECTS_MAX => Some(failure),
            _ => None,
        }
    }

    /// Another recogniser begins; returns why the one before it was lost, and the eager end that it leaves open.
    fn begin_again(&mut self) -> (Option<Failure>, Option<String>) {
        self.reconnects = 0;
        (self.lost.take(), self.eager.take())
    }

    /// Takes an event; returns what the agent is told: a turn that another recogniser had begun goes on.
    fn event(&mut self, event: EarsEvent) -> EarsEvent {
        let event = match event {
            EarsEvent::StartOfTurn { transcript } if self.turn_open => EarsEvent::Update { transcript },
            event => event,
        };
        match &event {
            EarsEvent::Reconnecting(_) => self.reconnects += 1,
            EarsEvent::Connected | EarsEvent::Words(_) | EarsEvent::Confidence(_) | EarsEvent::Failed(_) => {}
            EarsEvent::StartOfTurn { .. } => (self.turn_open, self.reconnects) = (true, 0),
            EarsEvent::Update { .. } => self.reconnects = 0,
            EarsEvent::EagerEndOfTurn { transcript } => self.eager = Some(transcript.clone()),
            EarsEvent::TurnResumed { .. } => self.eager = None,
            EarsEvent::EndOfTurn { .. } => (self.turn_open, self.eager, self.reconnects) = (false, None, 0),
        }
        event
    }
}

impl Transcriber for EarsLine {
    fn name(&self) -> &'static str {
        self.0.first().map_or("", |ears| ears.name())
    }

    fn computes(&self) -> bool {
        self.0.first().is_some_and(|ears| ears.computes())
    }

    fn learn(&self, kept: bool) {
        self.0.providers().for_each(|ears| ears.learn(kept));
    }

    fn run(&self, io: EarsIo) {
        let EarsIo { call, clock, frames, commands, mut listener, events, stop } = io;
        let mut frames = Some(if self.0.len() > 1 { frames.kept() } else { frames });
        let events = Arc::new(Mutex::new(events));
        let heard = Arc::new(Mutex::new(Heard::default()));
        let mut tried = vec![false; self.0.len()];
        while !stop.raised() {
            let Some(Seat { provider: ears, place }) = self.0.take_next(&mut tried, clock.now()) else { return };
            let behind = tried.contains(&false);
            let again = frames.as_ref().and_then(|frames| frames.again(behind));
            let Some(audio) = again.or_else(|| frames.take()) else { return };
            let (lent, loan) = listener.lend();
            let relay = Relay {
                call,
                events: events.clone(),
                heard: heard.clone(),
                audio: audio.again(behind),
                place: place.clone(),
                over: stop.under(),
                bell: lent.bell(),
                behind,
            };
            let over = relay.over.clone();
            let relay = Events::relay(clock.clone(), move |stamped| relay.pass(stamped));
            ears.run(EarsIo {
                call,
                clock: clock.clone(),
                frames: audio,
                commands: commands.clone(),
                listener: lent,
                events: relay,
                stop: over,
            });
            let (lost, eager) = heard.lock().begin_again();
            let Some(failure) = lost else { return };
            place.failed(call, &failure, failure.kind == FailureKind::Refused, clock.now());
            let Some(back) = loan.back().filter(|_| behind) else { return };
            listener = back;
            // A probable end that nobody will confirm is none.
            if let Some(transcript) = eager {
                events.lock().send(EarsEvent::TurnResumed { transcript });
            }
            if let Some(frames) = &frames {
                frames.rewind();
            }
        }
    }
}

/// What a recogniser's events go through.
struct Relay {
    call: CallId,
    events: Arc<Mutex<Events<EarsEvent>>>,
    heard: Arc<Mutex<Heard>>,
    audio: Option<CallerAudio>,
    place: Arc<Place>,
    /// Ends the recogniser's session, and wakes it.
    over: Stop,
    bell: Bell,
    /// Whether another stands behind it.
    behind: bool,
}

impl Relay {
    fn pass(&self, Stamped { at, event }: Stamped<EarsEvent>) {
        let mut heard = self.heard.lock();
        if let Some(failure) = heard.lost_by(&event, self.behind) {
            heard.lost = Some(failure.clone());
            self.over.raise();
            self.bell.ring();
            if self.behind {
                return;
            }
        }
        let event = heard.event(event);
        drop(heard);
        match (&event, &self.audio) {
            (EarsEvent::Connected, _) => self.place.answered(),
            (EarsEvent::Reconnecting(failure), _) => self.place.health().stumbled(self.call, failure),
            (EarsEvent::StartOfTurn { .. }, Some(audio)) => audio.turn_began(),
            (EarsEvent::EndOfTurn { .. }, Some(audio)) => audio.turn_ended(),
            _ => {}
        }
        self.events.lock().send_at(at, event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::SpeechMark;
    use crate::call::{EarFrame, FRAME_8K, FRAME_16K};
    use crate::providers::Listener;
    use crate::providers::rig::Still;
    use crate::time::{Clock, Instant};
    use crossbeam_channel::{Receiver, bounded};

    /// Hears `frames` frames, or all, says `says`, and stays until it is stopped where nothing of that is a failure.
    struct Fake {
        name: &'static str,
        frames: usize,
        says: Vec<EarsEvent>,
        heard: Mutex<Vec<i16>>,
    }

    fn fake(name: &'static str, frames: usize, says: &[EarsEvent]) -> Arc<Fake> {
        Arc::new(Fake { name, frames, says: says.to_vec(), heard: Mutex::default() })
    }

    impl Transcriber for Fake {
        fn name(&self) -> &'static str {
            self.name
        }

        fn run(&self, mut io: EarsIo) {
            let (mut heard, mut says) = (0, self.says.iter());
            for event in says.by_ref().take(2) {
                io.events.send(event.clone());
            }
            while heard < self.frames
                && let Ok(frame) = io.frames.pop()
            {
                self.heard.lock().push(frame.pcm[0]);
                heard += 1;
            }
            for event in says {
                io.events.send(event.clone());
                if io.stop.raised() || matches!(event, EarsEvent::Failed(_)) {
                    return;
                }
            }
            assert!(self.name != "lost", "the one that is lost is left");
        }
    }

    fn dropped() -> Failure {
        Failure { kind: FailureKind::Dropped, text: "gone".into() }
    }

    fn text(text: &str) -> String {
        text.to_owned()
    }

    /// Runs a call of 100 frames; returns what the agent is told, and the line.
    fn run(line: &[Arc<Fake>]) -> (Vec<EarsEvent>, EarsLine) {
        let line = EarsLine::new(line.iter().map(|fake| fake.clone() as Arc<dyn Transcriber>).collect());
        (call(&line), line)
    }

    fn call(line: &EarsLine) -> Vec<EarsEvent> {
        let (mut ring, frames) = rtrb::RingBuffer::new(200);
        for n in 0..100 {
            let (pcm, ulaw, arrived) = ([n; FRAME_16K], [0; FRAME_8K], Instant::ZERO);
            assert!(ring.push(EarFrame { pcm, ulaw, arrived, speech: true, concealed: false }).is_ok());
        }
        let clock: Arc<dyn Clock> = Arc::new(Still(Instant::ZERO));
        let (bell, listener) = Listener::new().expect("a poll");
        let (send, events): (_, Receiver<EarsEvent>) = bounded(64);
        let events_to = Events::new(clock.clone(), send, bell, |stamped: Stamped<EarsEvent>| stamped.event);
        let (_orders, commands) = bounded(1);
        let (call, stop) = (CallId(1), Stop::default());
        line.run(EarsIo { call, clock, frames: frames.into(), commands, listener, events: events_to, stop });
        events.try_iter().collect()
    }

    #[test]
    fn the_next_hears_the_open_turn_again_and_the_agent_one_turn() {
        let start = EarsEvent::StartOfTurn { transcript: text("I") };
        let eager = EarsEvent::EagerEndOfTurn { transcript: text("I would") };
        let first =
            fake("lost", 60, &[EarsEvent::Connected, start.clone(), eager.clone(), EarsEvent::Failed(dropped())]);
        let end = EarsEvent::EndOfTurn { transcript: text("I would like it"), speech: SpeechMark::default() };
        let again = EarsEvent::StartOfTurn { transcript: text("I would") };
        let second = fake("next", 1000, &[EarsEvent::Connected, again, end.clone()]);
        let (told, line) = run(&[first.clone(), second.clone()]);
        assert_eq!(*second.heard.lock(), (0..100).collect::<Vec<_>>(), "no frame of the turn is lost");
        let resumed = EarsEvent::TurnResumed { transcript: text("I would") };
        let update = EarsEvent::Update { transcript: text("I would") };
        assert_eq!(told, [EarsEvent::Connected, start, eager, resumed, EarsEvent::Connected, update, end]);
        let health: Vec<_> = line.health().iter().map(|health| health.view(Instant::ZERO)).collect();
        assert_eq!((health[0].counts.failed, health[1].counts.stood_in), (1, 1));
    }

    #[test]
    fn what_a_turn_that_ended_had_is_not_heard_again() {
        let start = EarsEvent::StartOfTurn { transcript: text("Yes") };
        let end = EarsEvent::EndOfTurn { transcript: text("Yes"), speech: SpeechMark::default() };
        let first = fake("lost", 60, &[EarsEvent::Connected, start, end, EarsEvent::Failed(dropped())]);
        let second = fake("next", 1000, &[EarsEvent::Connected]);
        run(&[first, second.clone()]);
        assert_eq!(*second.heard.lock(), (60..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_second_lost_connection_in_a_row_is_one_too_many() {
        let lost = || EarsEvent::Reconnecting(dropped());
        let first =
            fake("lost", 10, &[EarsEvent::Connected, lost(), EarsEvent::Connected, lost(), EarsEvent::Connected]);
        let second = fake("next", 1000, &[EarsEvent::Connected]);
        let (told, _) = run(&[first, second]);
        assert_eq!(told, [EarsEvent::Connected, lost(), EarsEvent::Connected, EarsEvent::Connected]);
    }

    #[test]
    fn the_last_one_may_try_for_as_long_as_it_likes_and_its_loss_is_told() {
        let lost = || EarsEvent::Reconnecting(dropped());
        let only = fake("only", 10, &[lost(), lost(), lost(), EarsEvent::Failed(dropped())]);
        let (told, line) = run(&[only]);
        assert_eq!(told, [lost(), lost(), lost(), EarsEvent::Failed(dropped())]);
        assert_eq!(line.health()[0].view(Instant::ZERO).last_error.as_deref(), Some("gone"));
    }

    #[test]
    fn whoever_is_left_is_asked_though_it_failed_in_other_calls() {
        let lost = || EarsEvent::Reconnecting(dropped());
        let first = fake("lost", 10, &[EarsEvent::Connected, lost(), EarsEvent::Failed(dropped())]);
        let second = fake("next", 1000, &[EarsEvent::Connected]);
        let line = EarsLine::new(vec![first, second.clone()]);
        let seat = &line.0[1];
        (0..3).for_each(|_| seat.place.failed(CallId(1), &dropped(), false, Instant::ZERO));
        assert!(!seat.place.admits(Instant::ZERO));
        assert_eq!(call(&line), [EarsEvent::Connected, lost(), EarsEvent::Connected]);
        assert_eq!(second.heard.lock().len(), 100);
    }
}
