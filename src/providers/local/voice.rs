//! The voice of the local agent: clauses in, hibari's speech out, the first words first.

use super::g2p::Spoken;
use super::hibari::{Hibari, Session};
use super::speech::{pause_after, pieces};
use crate::agent::{Failure, FailureKind, VoiceEvent};
use crate::call::VOICE_RATE;
use crate::ids::TurnId;
use crate::providers::feeder::Feeder;
use crate::providers::{Events, Speaker, VoiceCommand, VoiceIo};
use crate::time::{Clock, samples};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often a full ring is looked at, should its bell not be heard.
const PUMP_EVERY: Duration = Duration::from_millis(100);
/// How often the stop is looked at, should the bell not be heard.
const IDLE: Duration = Duration::from_secs(1);
/// Pieces of one turn that wait at most: half an hour of speech.
const PIECES_MAX: usize = 600;

/// Speaks with hibari. One model is shared by all calls; it is read at the first need of it, or by [`Self::load`].
pub struct HibariVoice {
    folder: PathBuf,
    model: Mutex<Option<Arc<Hibari>>>,
}

impl HibariVoice {
    /// Makes a voice whose files are in the folder `hibari` of `models`. Reads nothing yet.
    #[must_use]
    pub fn new(models: &Path) -> Self {
        Self { folder: models.join("hibari"), model: Mutex::new(None) }
    }

    /// Reads the model unless that is done already: about half a second.
    ///
    /// # Errors
    /// Which file is missing or unusable.
    pub fn load(&self) -> Result<(), Failure> {
        self.shared().map(|_| ())
    }

    fn shared(&self) -> Result<Arc<Hibari>, Failure> {
        let mut model = self.model.lock();
        if let Some(model) = model.as_ref() {
            return Ok(model.clone());
        }
        let read = Hibari::read(&self.folder).map_err(|error| Failure {
            kind: FailureKind::Refused,
            text: format!("hibari: {error} in {}; `offhook models` obtains it", self.folder.display()),
        })?;
        Ok(model.insert(Arc::new(read)).clone())
    }
}

impl Speaker for HibariVoice {
    fn name(&self) -> &'static str {
        "hibari"
    }

    fn computes(&self) -> bool {
        true
    }

    fn run(&self, io: VoiceIo) {
        let VoiceIo { clock, commands, mut listener, frames, media, events, stop, .. } = io;
        let feeder = Feeder::new(frames, media);
        let mut speaking = Speaking::new(self.shared(), feeder, events, clock);
        while !stop.raised() {
            while let Ok(command) = commands.try_recv() {
                speaking.obey(command);
            }
            speaking.feeder.pump();
            if let Some(piece) = speaking.pieces.pop_front() {
                let made = speaking.make(&piece);
                // An order that came meanwhile may say that this is not wanted any more.
                while let Ok(command) = commands.try_recv() {
                    speaking.obey(command);
                }
                speaking.say(&piece, made);
            } else {
                listener.wait(Some(if speaking.feeder.waiting() { PUMP_EVERY } else { IDLE }));
            }
        }
    }

    fn render(&self, text: &str) -> Result<Vec<i16>, Failure> {
        let model = self.shared()?;
        let session = Session::new();
        let words = model.phonemes(text, &session);
        let mut pcm = Vec::new();
        for piece in pieces(&words, false) {
            let speech = model.speak(&words[piece.clone()], &session).map_err(unusable)?;
            pcm.extend(speech.pcm());
            if piece.end < words.len() {
                pcm.resize(pcm.len() + pause_after(&words[piece.end - 1].phonemes), 0);
            }
        }
        Ok(pcm)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
fn unusable(error: rten::RunError) -> Failure {
    Failure { kind: FailureKind::Garbage, text: format!("hibari: {error}") }
}

/// What is spoken in one go.
struct Piece {
    turn: TurnId,
    clause: u16,
    /// Whether its clause begins with it.
    opens_clause: bool,
    words: Vec<Spoken>,
    /// The pause in front of it, in samples; the turn's first piece has none.
    pause: usize,
    /// The turn's speech is whole after it.
    last: bool,
}

/// A piece made into sound.
struct Made {
    pcm: Vec<i16>,
    words: Vec<(String, usize)>,
}

/// One call's voice at work.
struct Speaking {
    model: Result<Arc<Hibari>, Failure>,
    session: Session,
    feeder: Feeder,
    events: Events<(TurnId, VoiceEvent)>,
    clock: Arc<dyn Clock>,
    turn: Option<TurnId>,
    pieces: VecDeque<Piece>,
    /// The pause that the next piece of the turn begins with; `None` before the first.
    pause: Option<usize>,
    /// The turn's audio has begun.
    heard: bool,
    /// No more is said of this turn or an earlier one.
    closed: Option<TurnId>,
}

impl Speaking {
    fn new(
        model: Result<Arc<Hibari>, Failure>,
        feeder: Feeder,
        events: Events<(TurnId, VoiceEvent)>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let session = Session::new();
        Self {
            model,
            session,
            feeder,
            events,
            clock,
            turn: None,
            pieces: VecDeque::new(),
            pause: None,
            heard: false,
            closed: None,
        }
    }

    fn obey(&mut self, command: VoiceCommand) {
        match command {
            VoiceCommand::Speak { turn, clause, text, last } => {
                if self.wants(turn) {
                    self.divide(turn, clause, &text, last);
                }
            }
            VoiceCommand::Cancel(turn) => {
                self.pieces.retain(|piece| piece.turn != turn);
                if self.turn == Some(turn) {
                    self.feeder.cancel();
                    self.closed = Some(turn);
                }
            }
        }
    }

    /// Whether `turn` is still to be spoken; one that comes after another takes its place.
    fn wants(&mut self, turn: TurnId) -> bool {
        if self.closed == Some(turn) {
            return false;
        }
        if self.turn != Some(turn) {
            self.pieces.clear();
            self.feeder.begin(turn);
            (self.turn, self.pause, self.heard) = (Some(turn), None, false);
        }
        true
    }

    /// Divides a clause into pieces. A voice without a model fails at its first clause.
    fn divide(&mut self, turn: TurnId, clause: u16, text: &str, last: bool) {
        let words = match &self.model {
            Ok(model) => model.phonemes(text, &self.session),
            Err(failure) => {
                let failure = failure.clone();
                return self.fail(turn, failure);
            }
        };
        let ranges = pieces(&words, self.pause.is_none());
        let count = ranges.len();
        for (i, range) in ranges.into_iter().enumerate() {
            let words = words[range].to_vec();
            let pause = self.pause.unwrap_or(0);
            self.pause = Some(words.last().map_or(0, |word| pause_after(&word.phonemes)));
            if self.pieces.len() < PIECES_MAX {
                self.pieces.push_back(Piece {
                    turn,
                    clause,
                    opens_clause: i == 0,
                    words,
                    pause,
                    last: last && i + 1 == count,
                });
            }
        }
        if count == 0 && last {
            self.pieces.push_back(Piece { turn, clause, opens_clause: false, words: Vec::new(), pause: 0, last });
        }
    }

    /// Makes a piece into sound.
    fn make(&mut self, piece: &Piece) -> Result<Made, Failure> {
        if piece.opens_clause {
            self.events.send((piece.turn, VoiceEvent::Sent { clause: piece.clause }));
        }
        let model = self.model.as_ref().map_err(Failure::clone)?;
        let speech = model.speak(&piece.words, &self.session).map_err(unusable)?;
        Ok(Made { pcm: speech.pcm(), words: speech.words })
    }

    /// Hands a piece to the media path, and tells until when each of its words is spoken.
    fn say(&mut self, piece: &Piece, made: Result<Made, Failure>) {
        if self.turn != Some(piece.turn) || self.closed == Some(piece.turn) {
            return;
        }
        let made = match made {
            Ok(made) => made,
            Err(failure) => return self.fail(piece.turn, failure),
        };
        let now = self.clock.now();
        if !made.pcm.is_empty() {
            if piece.pause > 0 {
                self.feeder.push(&vec![0; piece.pause], now);
            }
            let begin = self.feeder.pushed();
            self.feeder.push(&made.pcm, now);
            if !self.heard {
                self.heard = true;
                self.events.send_at(now, (piece.turn, VoiceEvent::FirstAudio));
            }
            for (text, end) in made.words {
                self.events.send((piece.turn, VoiceEvent::Spoken { text, end: length(begin + end as u64) }));
            }
        }
        if piece.last {
            self.finish(piece.turn);
        }
    }

    fn finish(&mut self, turn: TurnId) {
        self.feeder.finish(self.clock.now());
        self.events.send((turn, VoiceEvent::Done { length: length(self.feeder.pushed()) }));
        self.pieces.clear();
        self.closed = Some(turn);
    }

    fn fail(&mut self, turn: TurnId, failure: Failure) {
        self.pieces.clear();
        self.closed = Some(turn);
        self.feeder.break_off(self.clock.now());
        self.events.send((turn, VoiceEvent::Failed(failure)));
    }
}

/// How long `samples` at 8 kHz last.
fn length(samples: u64) -> Duration {
    samples::duration(samples, VOICE_RATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::VoiceFrame;
    use crate::providers::local::models_for_tests;
    use crate::providers::rig::Still;
    use crate::providers::{Listener, Stamped};
    use crate::time::Instant;
    use crossbeam_channel::Receiver;

    type Told = Receiver<Stamped<(TurnId, VoiceEvent)>>;

    fn speaking(model: Result<Arc<Hibari>, Failure>) -> (Speaking, Told, rtrb::Consumer<VoiceFrame>) {
        let (bell, _listener) = Listener::new().expect("a file descriptor");
        let (frames, ring) = rtrb::RingBuffer::new(2048);
        let (sender, told) = crossbeam_channel::bounded(4096);
        let events = Events::new(Arc::new(Still(Instant::from_millis(7))), sender, bell.clone(), |event| event);
        (Speaking::new(model, Feeder::new(frames, bell), events, Arc::new(Still(Instant::from_millis(7)))), told, ring)
    }

    fn no_model() -> Result<Arc<Hibari>, Failure> {
        Err(Failure { kind: FailureKind::Refused, text: "hibari: no model".into() })
    }

    fn clause(turn: u32, clause: u16, text: &str, last: bool) -> VoiceCommand {
        VoiceCommand::Speak { turn: TurnId(turn), clause, text: text.into(), last }
    }

    fn work(speaking: &mut Speaking) {
        while let Some(piece) = speaking.pieces.pop_front() {
            let made = speaking.make(&piece);
            speaking.say(&piece, made);
        }
    }

    #[test]
    fn a_voice_without_a_model_says_so_once_per_turn() {
        let (mut speaking, told, _ring) = speaking(no_model());
        speaking.obey(clause(1, 0, "Hello,", false));
        speaking.obey(clause(1, 1, "there.", true));
        work(&mut speaking);
        let told: Vec<VoiceEvent> = told.try_iter().map(|stamped| stamped.event.1).collect();
        assert!(matches!(told.as_slice(), [VoiceEvent::Failed(_)]), "{told:?}");
    }

    #[test]
    fn clauses_are_spoken_in_order_with_their_words_and_one_end() {
        let Some(folder) = models_for_tests("hibari") else { return };
        let model = Arc::new(Hibari::read(&folder).expect("usable files"));
        let (mut speaking, told, mut ring) = speaking(Ok(model));
        speaking.obey(clause(1, 0, "It costs $12.50,", false));
        work(&mut speaking);
        speaking.obey(clause(1, 1, "I think.", false));
        speaking.obey(clause(1, 2, "", true));
        work(&mut speaking);
        let told: Vec<VoiceEvent> = told.try_iter().map(|stamped| stamped.event.1).collect();
        let words: Vec<&str> = told
            .iter()
            .filter_map(|event| if let VoiceEvent::Spoken { text, .. } = event { Some(text.as_str()) } else { None })
            .collect();
        assert_eq!(words, ["It", "costs", "$12.50,", "I", "think."]);
        let ends: Vec<Duration> = told
            .iter()
            .filter_map(|event| match event {
                VoiceEvent::Spoken { end, .. } => Some(*end),
                VoiceEvent::Done { length } => Some(*length),
                _ => None,
            })
            .collect();
        assert!(ends.windows(2).all(|pair| pair[0] <= pair[1]), "{ends:?}");
        assert_eq!(told.iter().filter(|event| **event == VoiceEvent::FirstAudio).count(), 1);
        assert!(matches!(told.last(), Some(VoiceEvent::Done { .. })));
        let frames: Vec<VoiceFrame> = std::iter::from_fn(|| ring.pop().ok()).collect();
        let samples: usize = frames.iter().map(|frame| usize::from(frame.len)).sum();
        assert_eq!(Some(&length(samples as u64)), ends.last());
        assert_eq!(frames.iter().filter(|frame| frame.last).count(), 1);
    }

    #[test]
    fn a_cancelled_turn_says_nothing_more_and_the_next_one_speaks() {
        let Some(folder) = models_for_tests("hibari") else { return };
        let model = Arc::new(Hibari::read(&folder).expect("usable files"));
        let (mut speaking, told, mut ring) = speaking(Ok(model));
        speaking.obey(clause(1, 0, "One two three.", false));
        let piece = speaking.pieces.pop_front().expect("a piece");
        let made = speaking.make(&piece);
        speaking.obey(VoiceCommand::Cancel(TurnId(1)));
        speaking.say(&piece, made);
        speaking.obey(clause(1, 1, "Four.", true));
        work(&mut speaking);
        assert!(ring.pop().is_err(), "no sample of a cancelled turn");
        assert!(told.try_iter().all(|stamped| matches!(stamped.event.1, VoiceEvent::Sent { .. })));
        speaking.obey(clause(2, 0, "Five.", true));
        work(&mut speaking);
        assert!(ring.pop().is_ok_and(|frame| frame.turn == TurnId(2)));
    }
}
