//! The local end of turn, for recognisers that tell words and no turns: what they write, and what the local detector hears, as turns.
//!
//! A pure machine whose clock is the caller's frames, 20 ms each, which never stop while a call lasts. A short pause has the
//! recogniser settle what it has heard; how long the pause must last is decided by how the text reads.

use crate::agent::wording::{self, Wording};
use crate::agent::{EarsEvent, SpeechMark};
use std::collections::VecDeque;

/// Milliseconds per frame.
const FRAME_MS: u64 = 20;

const fn frames(ms: u64) -> u64 {
    ms / FRAME_MS
}

/// How many of the last [`ONSET_WINDOW`] frames must hold speech for it to go on after a pause: 60 ms are longer than a
/// click.
const ONSET_FRAMES: u32 = 3;
const ONSET_WINDOW: u32 = 5;
/// The pause after which the recogniser is to settle its words. Stops inside words last up to 100 ms.
const PAUSE: u64 = frames(160);
/// How long settled words are waited for; then the words so far are the turn's. A round trip and Nova's own time are less.
const SETTLED_MAX: u64 = frames(700);
/// The same where the local detector has not heard the caller at all, so that only the words tell of a voice.
const QUIET_CALLER: u64 = frames(1000);

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Have the recogniser write down what it has heard up to here.
    Settle,
    /// Tell the agent.
    Event(EarsEvent),
}

/// The machine for one call.
#[derive(Debug, Default)]
pub struct Endpointer {
    /// The number of the next frame.
    next: u64,
    /// Speech in the latest frames, the latest in bit 0.
    recent: u32,
    /// The last frame with speech, and its times.
    speech: Option<(u64, SpeechMark)>,
    /// The last frame's times.
    latest: SpeechMark,
    /// The turn's words so far, and when they last changed.
    words: String,
    changed: u64,
    /// Whether the agent knows of the turn.
    told: bool,
    pause: Option<Pause>,
    outputs: VecDeque<Output>,
}

/// A pause that may be the turn's end.
#[derive(Clone, Copy, Debug, Default)]
struct Pause {
    /// Whether the words are those of all that was said before it.
    settled: bool,
    eager: bool,
    forced: bool,
}

impl Endpointer {
    /// Takes the next 20 ms: whether they hold speech, and their times.
    pub fn handle_frame(&mut self, speech: bool, mark: SpeechMark) {
        self.next += 1;
        self.latest = mark;
        self.recent = (self.recent << 1 | u32::from(speech)) & ((1 << ONSET_WINDOW) - 1);
        let onset = speech && self.recent.count_ones() >= ONSET_FRAMES;
        if speech && (self.pause.is_none() || onset) {
            self.speech = Some((self.next, mark));
        }
        if onset {
            self.resume();
        } else if self.pause.is_none() && self.speech.is_some() && self.quiet() >= PAUSE {
            self.pause = Some(Pause::default());
            self.outputs.push_back(Output::Settle);
        }
        self.end_if_due();
    }

    /// Takes the words of the turn so far; `settled` if they are all that was said, and will not change.
    pub fn handle_words(&mut self, words: &str, settled: bool) {
        if !words.is_empty() && words != self.words {
            if self.pause.is_some_and(|pause| pause.eager) {
                self.resume_with(words);
            }
            words.clone_into(&mut self.words);
            self.changed = self.next;
            let transcript = self.words.clone();
            self.outputs.push_back(Output::Event(if std::mem::replace(&mut self.told, true) {
                EarsEvent::Update { transcript }
            } else {
                EarsEvent::StartOfTurn { transcript }
            }));
        }
        if let Some(pause) = &mut self.pause {
            pause.settled |= settled;
        }
        self.end_if_due();
    }

    /// The turn is over by a surer rule, unless the caller goes on.
    pub fn force_end_turn(&mut self) {
        if self.told {
            if self.pause.is_none() {
                self.outputs.push_back(Output::Settle);
            }
            self.pause.get_or_insert_default().forced = true;
            self.end_if_due();
        }
    }

    /// Returns the next thing to be done, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether a turn has begun and not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.told
    }

    /// Whether the caller has spoken before a pause, of which no words have come.
    #[must_use]
    pub fn awaits_words(&self) -> bool {
        self.pause.is_some_and(|pause| !pause.settled) && self.speech.is_some() && !self.told
    }

    /// Frames since the caller was last heard, by the detector or, where that hears nothing, by the words.
    fn quiet(&self) -> u64 {
        self.next - self.speech.map_or(self.changed, |(frame, _)| frame)
    }

    fn resume(&mut self) {
        if self.pause.take().is_some_and(|pause| pause.eager) {
            let transcript = self.words.clone();
            self.outputs.push_back(Output::Event(EarsEvent::TurnResumed { transcript }));
        }
    }

    fn resume_with(&mut self, words: &str) {
        if let Some(pause) = &mut self.pause {
            pause.eager = false;
        }
        let transcript = words.to_owned();
        self.outputs.push_back(Output::Event(EarsEvent::TurnResumed { transcript }));
    }

    fn end_if_due(&mut self) {
        let quiet = self.quiet();
        if self.speech.is_none() && self.told && quiet >= QUIET_CALLER {
            self.pause.get_or_insert_default().settled = true;
        }
        let Some(pause) = &mut self.pause else { return };
        pause.settled |= quiet >= SETTLED_MAX;
        if !pause.settled {
            return;
        }
        if !self.told {
            // It was no word, or the recogniser understood none.
            if quiet >= SETTLED_MAX {
                (self.pause, self.speech) = (None, None);
            }
            return;
        }
        let wording = wording::of(&self.words);
        let due = match wording {
            _ if pause.forced => 0,
            Wording::Closed => frames(320),
            Wording::Finished => frames(400),
            Wording::Open => frames(640),
            Wording::Unfinished => frames(1200),
        };
        let transcript = self.words.clone();
        if quiet >= due {
            let speech = self.speech.map_or(self.latest, |(_, mark)| mark);
            self.outputs.push_back(Output::Event(EarsEvent::EndOfTurn { transcript, speech }));
            (self.told, self.pause, self.speech) = (false, None, None);
            self.words.clear();
        } else if wording > Wording::Unfinished && !pause.eager {
            pause.eager = true;
            self.outputs.push_back(Output::Event(EarsEvent::EagerEndOfTurn { transcript }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    /// A caller and a recogniser by a timetable; returns what happens, with its time in milliseconds.
    #[derive(Default)]
    struct World {
        machine: Endpointer,
        ms: u64,
        outputs: Vec<(u64, Output)>,
    }

    impl World {
        fn hear(&mut self, speech: bool, ms: u64) -> &mut Self {
            for _ in 0..frames(ms) {
                self.ms += FRAME_MS;
                let at = Instant::from_millis(self.ms);
                self.machine.handle_frame(speech, SpeechMark { arrived: at, handed: at });
                self.drain()
            }
            self
        }

        fn words(&mut self, words: &str, settled: bool) -> &mut Self {
            self.machine.handle_words(words, settled);
            self.drain();
            self
        }

        fn drain(&mut self) {
            let at = self.ms;
            self.outputs.extend(std::iter::from_fn(|| self.machine.poll_output()).map(|output| (at, output)));
        }

        fn taken(&mut self) -> Vec<(u64, String)> {
            let name = |output: Output| match output {
                Output::Settle => "settle".to_owned(),
                Output::Event(EarsEvent::StartOfTurn { transcript }) => format!("start {transcript}"),
                Output::Event(EarsEvent::Update { transcript }) => format!("update {transcript}"),
                Output::Event(EarsEvent::EagerEndOfTurn { transcript }) => format!("eager {transcript}"),
                Output::Event(EarsEvent::TurnResumed { transcript }) => format!("resumed {transcript}"),
                Output::Event(EarsEvent::EndOfTurn { transcript, .. }) => format!("end {transcript}"),
                Output::Event(event) => format!("{event:?}"),
            };
            std::mem::take(&mut self.outputs).into_iter().map(|(at, output)| (at, name(output))).collect()
        }
    }

    fn told(all: &[(u64, &str)]) -> Vec<(u64, String)> {
        all.iter().map(|(at, text)| (*at, (*text).to_owned())).collect()
    }

    #[test]
    fn a_turn_is_settled_ended_eagerly_and_ended() {
        let mut world = World::default();
        world.hear(true, 400).words("Do you", false).hear(true, 400).words("Do you open?", false).hear(false, 200);
        world.words("Do you open today?", true).hear(false, 400);
        let all = [
            (400, "start Do you"),
            (800, "update Do you open?"),
            (960, "settle"),
            (1000, "update Do you open today?"),
            (1000, "eager Do you open today?"),
            (1200, "end Do you open today?"),
        ];
        assert_eq!(world.taken(), told(&all));
    }

    #[test]
    fn speech_or_other_words_take_an_eager_end_back() {
        let mut world = World::default();
        world.hear(true, 400).hear(false, 200).words("Yes please.", true);
        world
            .hear(true, 60)
            .hear(false, 200)
            .words("Yes please. Two.", true)
            .words("Yes please. Too.", true)
            .hear(false, 400);
        let all = [
            (400 + 160, "settle"),
            (600, "start Yes please."),
            (600, "eager Yes please."),
            (660, "resumed Yes please."),
            (660 + 160, "settle"),
            (860, "update Yes please. Two."),
            (860, "eager Yes please. Two."),
            (860, "resumed Yes please. Too."),
            (860, "update Yes please. Too."),
            (860, "eager Yes please. Too."),
            (660 + 400, "end Yes please. Too."),
        ];
        assert_eq!(world.taken(), told(&all));
    }

    #[test]
    fn a_sentence_that_leads_on_is_waited_for_and_a_click_does_not_make_it_longer() {
        let mut world = World::default();
        world.hear(true, 400).hear(false, 200).words("My number is", true).hear(true, 20).hear(false, 2000);
        assert_eq!(world.taken().last(), Some(&(1600, "end My number is".to_owned())));
    }

    #[test]
    fn words_that_are_never_settled_end_all_the_same() {
        let mut world = World::default();
        world.hear(true, 400).words("Hello.", false).hear(false, 2000);
        assert_eq!(world.taken().last(), Some(&(400 + 700, "end Hello.".to_owned())));
        world.hear(true, 100).hear(false, 2000);
        assert_eq!(world.taken(), told(&[(3 * 1000 - 500 + 160, "settle")]), "a cough is no turn");
    }

    #[test]
    fn a_caller_too_quiet_for_the_detector_has_turns_too() {
        let mut world = World::default();
        world.hear(false, 1000).words("Hello.", true).hear(false, 1000);
        assert_eq!(world.taken(), told(&[(1000, "start Hello."), (2000, "end Hello.")]));
    }

    #[test]
    fn an_order_ends_the_turn_as_soon_as_its_words_are_settled() {
        let mut world = World::default();
        world.machine.force_end_turn();
        world.hear(true, 400).words("My number is", false).hear(false, 100);
        world.machine.force_end_turn();
        world.hear(false, 100).words("My number is 5.", true);
        assert_eq!(world.taken().last(), Some(&(600, "end My number is 5.".to_owned())));
    }
}
