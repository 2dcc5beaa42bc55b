//! Cuts the caller's frames into turns: when a turn begins, when to look at it, and when it has ended.
//!
//! A pure machine that sees no sample and runs no network. Its clock is the frames themselves, 20 ms each, since they never stop while
//! a call lasts; so it needs no timer. It orders decodes of stretches of frames, and is told what they said.
//!
//! The text of a turn is decoded while the pause that may end it is still short. How long the pause must last is decided by what
//! the text reads like and by how the turn sounded; the caller who goes on speaking before that has never left the turn.

use crate::agent::wording::{self, Wording};
use crate::agent::{EarsEvent, SpeechMark};
use crate::time::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input<'a> {
    /// The next 20 ms came in: whether they hold speech, and when their packet arrived. `now` is when they were handed over.
    Frame { speech: bool, arrived: Instant },
    /// Decode `id` is done after `took`; `None` if it could not be run.
    Decoded { id: u32, text: Option<&'a str>, took: Duration },
    /// The turn is over by a rule that is surer than any here: it ends as soon as its text is there.
    ForceEndTurn,
    /// The opinion `id` on the pause: how probable it is that the turn is whole, 0 to 1.
    Opinion { id: u32, complete: Option<f32> },
}

/// What is to be done. Stretches are numbers of frames since the call began, the end not included.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Write down what is said in these frames; `last` if the stretch may end there, so that somebody waits for it.
    Decode { id: u32, from: u64, to: u64, last: bool },
    /// Say whether the turn sounds whole at the end of these frames; `Opinion` must follow, `None` if there is none.
    Judge { id: u32, from: u64, to: u64 },
    /// Decode `id` is not wanted any more; its result may be left out.
    Cancel { id: u32 },
    /// Tell the agent.
    Event(EarsEvent),
}

/// Milliseconds per frame.
const FRAME_MS: u64 = 20;

const fn frames(ms: u64) -> u64 {
    ms / FRAME_MS
}

/// How many of the last [`ONSET_WINDOW`] frames must hold speech for it to begin, or to begin again after a pause: 60
/// ms are longer than a click.
const ONSET_FRAMES: u32 = 3;
const ONSET_WINDOW: u32 = 5;

/// How far back from an onset the first frame of speech is looked for, in frames: a first consonant may stand alone.
const HISTORY: u32 = 15;

/// What is decoded in front of the first frame of speech, and behind the last: soft consonants lie outside of what the
/// detector calls speech ("please" began as "ease" with 100 ms in front). The model leaves out words with much more.
const LEAD: u64 = frames(160);
const PAD: u64 = frames(100);

/// Speech shorter than this in all is no word, and is not looked at.
const WORD_MIN: u64 = frames(100);

/// The first look at a turn. Earlier ones see one syllable, about which the model babbles.
const FIRST_LOOK: u64 = frames(360);

/// The least time from one look to the next.
const LOOK_INTERVAL: u64 = frames(400);

/// The least time from one look to the next, as a multiple of what the last look took: a call may look for one third of
/// the time.
const LOOK_COST: u64 = 3;

/// Speech shorter than this is shown after its first words only where two looks agree.
const BABBLE_MAX: u64 = frames(1000);

/// The pause after which the text is decoded as if it were the last. Stops inside words last up to 100 ms.
const PAUSE: u64 = frames(120);

/// A stretch longer than this is closed at the next pause: the cost of a look grows with its length.
const STRETCH_SOFT_MAX: u64 = frames(8_000);

/// A stretch longer than this is closed in the middle of speech: the model was made for less than 30 s.
pub const STRETCH_HARD_MAX: u64 = frames(24_000);

/// Stretches of one turn, after which it is ended: about five minutes that nobody can answer anyway.
const STRETCHES_MAX: usize = 16;

/// A text that has not come by then is given up, and the turn ends with what was last seen.
const TEXT_MAX_WAIT: u64 = frames(4_000);

/// How much of a turn's end is judged by its sound.
const JUDGED: u64 = frames(8_000);

/// The machine for one call.
#[derive(Debug, Default)]
pub struct Segmenter {
    /// The number of the next frame.
    next: u64,
    /// Speech in the latest frames, the latest in bit 0.
    recent: u32,
    ids: u32,
    turn: Option<Turn>,
    outputs: VecDeque<Output>,
}

/// A turn that has begun, or may have.
#[derive(Debug)]
struct Turn {
    /// First frame of the turn, and of the stretch that is not closed.
    begun: u64,
    from: u64,
    /// Frames of speech in the stretch, and the end of the last of them.
    speech: u64,
    end: u64,
    mark: SpeechMark,
    /// Texts of closed stretches.
    closed: Vec<String>,
    /// A closed stretch whose text is still to come.
    closing: Option<u32>,
    /// The look in hand, and the frame from which on another may be had.
    look: Option<u32>,
    look_due: u64,
    /// What the last look saw of the stretch.
    seen: String,
    /// What the agent was told last; `None` before StartOfTurn.
    told: Option<String>,
    pause: Option<Pause>,
    /// Whether this pause is the turn's end by order.
    forced: bool,
}

/// A pause that may be the turn's end.
#[derive(Debug)]
struct Pause {
    id: u32,
    text: Option<String>,
    opinion: Opinion,
    eager: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Opinion {
    Awaited,
    None,
    Complete(f32),
}

impl Segmenter {
    /// Makes one that has heard nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one input. Afterwards drain [`Self::poll_output`] to `None` before the next input.
    pub fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Frame { speech, arrived } => self.frame(speech, SpeechMark { arrived, handed: now }),
            Input::Decoded { id, text, took } => self.decoded(id, text, took),
            Input::ForceEndTurn => self.force(),
            Input::Opinion { id, complete } => {
                let pause = self.turn.as_mut().and_then(|turn| turn.pause.as_mut()).filter(|pause| pause.id == id);
                if let Some(pause) = pause {
                    pause.opinion = complete.map_or(Opinion::None, Opinion::Complete);
                    self.end_if_due();
                }
            }
        }
    }

    /// Returns the next thing to be done, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn id(&mut self) -> u32 {
        self.ids = self.ids.wrapping_add(1);
        self.ids
    }

    fn frame(&mut self, speech: bool, mark: SpeechMark) {
        self.next += 1;
        self.recent = (self.recent << 1 | u32::from(speech)) & ((1 << HISTORY) - 1);
        let onset = speech && (self.recent & ((1 << ONSET_WINDOW) - 1)).count_ones() >= ONSET_FRAMES;
        let oldest = u64::from(u32::BITS - self.recent.leading_zeros());
        let Some(turn) = &mut self.turn else {
            if onset {
                let from = self.next.saturating_sub(oldest + LEAD);
                self.turn = Some(Turn::new(from, u64::from(self.recent.count_ones()), self.next, mark));
            }
            return;
        };
        if turn.pause.is_some() {
            if onset {
                let from = self.next.saturating_sub(oldest + LEAD);
                self.resume(from, mark);
            } else {
                self.end_if_due();
            }
            return;
        }
        if speech {
            turn.speech += 1;
            turn.end = self.next;
            turn.mark = mark;
        }
        if self.next - turn.end >= PAUSE {
            self.pause();
        } else {
            self.look_if_due();
        }
    }

    /// The caller is silent for a moment: have the text made in case that this is the end.
    fn pause(&mut self) {
        let id = self.id();
        let Some(turn) = &mut self.turn else { return };
        if let Some(look) = turn.look.take() {
            self.outputs.push_back(Output::Cancel { id: look });
        }
        if turn.speech < WORD_MIN && turn.told.is_none() && turn.closed.is_empty() {
            self.turn = None;
            return;
        }
        let to = (turn.end + PAD).min(self.next);
        turn.pause = Some(Pause { id, text: None, opinion: Opinion::Awaited, eager: false });
        self.outputs.push_back(Output::Decode { id, from: turn.from, to, last: true });
        let from = turn.begun.max(self.next.saturating_sub(JUDGED));
        self.outputs.push_back(Output::Judge { id, from, to: self.next });
    }

    /// The turn is to end, which the caller can still prevent by going on.
    fn force(&mut self) {
        if self.turn.as_ref().is_some_and(|turn| turn.pause.is_none()) {
            self.pause();
        }
        if let Some(turn) = &mut self.turn {
            turn.forced = true;
            self.end_if_due();
        }
    }

    /// The caller goes on before the turn has ended.
    fn resume(&mut self, from: u64, mark: SpeechMark) {
        let Some(turn) = &mut self.turn else { return };
        let Some(pause) = turn.pause.take() else { return };
        turn.forced = false;
        if pause.eager {
            self.outputs.push_back(Output::Event(EarsEvent::TurnResumed { transcript: turn.transcript() }));
        }
        let long = turn.end - turn.from >= STRETCH_SOFT_MAX;
        // What was decoded of the pause belongs to the stretch before.
        let from = from.max(turn.end + PAD);
        match pause.text {
            Some(text) if long => turn.close(text, from),
            None if long && turn.closing.is_none() => {
                turn.closing = Some(pause.id);
                let seen = std::mem::take(&mut turn.seen);
                turn.close(seen, from);
            }
            Some(_) => {}
            None => self.outputs.push_back(Output::Cancel { id: pause.id }),
        }
        turn.speech += u64::from(ONSET_FRAMES);
        turn.end = self.next;
        turn.mark = mark;
        turn.look_due = turn.look_due.max(self.next + LOOK_INTERVAL / 2);
    }

    fn look_if_due(&mut self) {
        let id = self.ids.wrapping_add(1);
        let Some(turn) = &mut self.turn else { return };
        if self.next - turn.from >= STRETCH_HARD_MAX && turn.closing.is_none() {
            if let Some(look) = turn.look.take() {
                self.outputs.push_back(Output::Cancel { id: look });
            }
            self.outputs.push_back(Output::Decode { id, from: turn.from, to: self.next, last: true });
            turn.closing = Some(id);
            let seen = std::mem::take(&mut turn.seen);
            turn.close(seen, self.next);
        } else if turn.look.is_none() && self.next >= turn.look_due && turn.speech >= FIRST_LOOK / 2 {
            self.outputs.push_back(Output::Decode { id, from: turn.from, to: self.next, last: false });
            turn.look = Some(id);
        } else {
            return;
        }
        self.ids = id;
    }

    fn decoded(&mut self, id: u32, text: Option<&str>, took: Duration) {
        let Some(turn) = &mut self.turn else { return };
        let plausible = text.filter(|text| wording::is_plausible(text));
        if turn.look == Some(id) {
            turn.look = None;
            let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX / LOOK_COST);
            turn.look_due = self.next + LOOK_INTERVAL.max(took.saturating_mul(LOOK_COST) / FRAME_MS);
            if let Some(text) = plausible {
                let trusted =
                    turn.told.is_none() || turn.end - turn.from >= BABBLE_MAX || wording::agree(&turn.seen, text);
                text.clone_into(&mut turn.seen);
                if trusted {
                    tell(turn, &mut self.outputs);
                }
            }
        } else if turn.closing == Some(id) {
            turn.closing = None;
            if let (Some(text), Some(closed)) = (plausible, turn.closed.last_mut()) {
                text.clone_into(closed);
            }
            self.end_if_due();
        } else if let Some(pause) = turn.pause.as_mut().filter(|pause| pause.id == id) {
            // An empty text after words were seen is a slip of the model, not of the caller.
            let text = plausible.unwrap_or(&turn.seen).to_owned();
            if text.is_empty() && turn.told.is_none() && turn.closed.is_empty() {
                self.turn = None;
                return;
            }
            pause.text = Some(text.clone());
            turn.seen = text;
            tell(turn, &mut self.outputs);
            self.end_if_due();
            self.hint_at_the_end();
        }
    }

    /// Says that the turn has probably ended, where it reads like that.
    fn hint_at_the_end(&mut self) {
        let Some(turn) = &mut self.turn else { return };
        let transcript = turn.transcript();
        if let Some(pause) = &mut turn.pause
            && turn.closing.is_none()
            && wording::of(&transcript) > Wording::Unfinished
        {
            pause.eager = true;
            self.outputs.push_back(Output::Event(EarsEvent::EagerEndOfTurn { transcript }));
        }
    }

    /// Ends the turn if the pause has lasted long enough for what is known of it.
    fn end_if_due(&mut self) {
        let Some(turn) = &self.turn else { return };
        let Some(pause) = &turn.pause else { return };
        let silence = self.next - turn.end;
        let transcript = turn.transcript();
        let due = match &pause.text {
            Some(_) if turn.closing.is_some() => TEXT_MAX_WAIT,
            Some(_) if turn.forced || turn.closed.len() >= STRETCHES_MAX => 0,
            Some(_) => patience(wording::of(&transcript), pause.opinion),
            None => TEXT_MAX_WAIT,
        };
        if silence < due {
            return;
        }
        if pause.text.is_none() {
            self.outputs.push_back(Output::Cancel { id: pause.id });
        }
        let speech = turn.mark;
        let said_nothing = turn.told.is_none() && transcript.is_empty();
        self.turn = None;
        self.recent = 0;
        if !said_nothing {
            self.outputs.push_back(Output::Event(EarsEvent::EndOfTurn { transcript, speech }));
        }
    }
}

impl Turn {
    fn new(from: u64, speech: u64, next: u64, mark: SpeechMark) -> Self {
        Self {
            begun: from,
            from,
            speech,
            end: next,
            mark,
            closed: Vec::new(),
            closing: None,
            look: None,
            look_due: from + LEAD + FIRST_LOOK,
            seen: String::new(),
            told: None,
            pause: None,
            forced: false,
        }
    }

    /// Ends the stretch, whose text is `text` as far as is known, and begins the next at frame `from`.
    fn close(&mut self, text: String, from: u64) {
        self.closed.push(text);
        self.from = from;
        self.speech = 0;
        self.seen = String::new();
        self.look_due = from + LEAD + FIRST_LOOK;
    }

    fn transcript(&self) -> String {
        let parts = self.closed.iter().map(String::as_str).chain([self.seen.as_str()]);
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// Tells the agent what is seen of the turn, if it is something else than before.
fn tell(turn: &mut Turn, outputs: &mut VecDeque<Output>) {
    let transcript = turn.transcript();
    if transcript.is_empty() || turn.told.as_ref() == Some(&transcript) {
        return;
    }
    let begun = turn.told.replace(transcript.clone()).is_some();
    outputs.push_back(Output::Event(if begun {
        EarsEvent::Update { transcript }
    } else {
        EarsEvent::StartOfTurn { transcript }
    }));
}

/// Returns how many frames of silence end a turn that reads and sounds like this.
///
/// Pauses inside sentences are mostly shorter than 0.3 s, those between sentences of one speaker 0.3 to 0.7 s.
fn patience(wording: Wording, opinion: Opinion) -> u64 {
    const SURE: f32 = 0.8;
    const LIKELY: f32 = 0.5;
    const DOUBTFUL: f32 = 0.2;
    let ms = match (wording, opinion) {
        (Wording::Closed, Opinion::Complete(p)) if p >= LIKELY => 280,
        (Wording::Closed, Opinion::Complete(p)) if p < DOUBTFUL => 600,
        (Wording::Closed, _) => 320,
        (Wording::Finished, Opinion::Complete(p)) if p >= SURE => 300,
        (Wording::Finished, Opinion::Complete(p)) if p >= LIKELY => 400,
        (Wording::Finished, Opinion::Complete(p)) if p >= DOUBTFUL => 700,
        (Wording::Finished, Opinion::Complete(_)) => 1000,
        (Wording::Finished, Opinion::Awaited) => 440,
        (Wording::Finished, Opinion::None) => 380,
        (Wording::Open, Opinion::Complete(p)) if p >= LIKELY => 500,
        (Wording::Open, Opinion::Complete(_)) => 1000,
        (Wording::Open, _) => 640,
        (Wording::Unfinished, Opinion::Complete(p)) if p >= SURE => 900,
        (Wording::Unfinished, _) => 1200,
    };
    frames(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A caller whose speech is a timetable, and a recogniser that answers from a script.
    struct World {
        segmenter: Segmenter,
        frame: u64,
        /// What is said from which frame on; a decode hears the words that begin inside its stretch.
        words: Vec<(u64, &'static str)>,
        decode_ms: u64,
        opinion: Option<f32>,
        opinion_ms: u64,
        due: Vec<(u64, u32, Result<String, Option<f32>>)>,
        events: Vec<(u64, EarsEvent)>,
        decodes: Vec<(u64, u64, bool)>,
        cancelled: Vec<u32>,
    }

    impl World {
        fn saying(words: &[(u64, &'static str)]) -> Self {
            Self {
                segmenter: Segmenter::new(),
                frame: 0,
                words: words.iter().map(|&(ms, word)| (frames(ms), word)).collect(),
                decode_ms: 80,
                opinion: None,
                opinion_ms: 200,
                due: Vec::new(),
                events: Vec::new(),
                decodes: Vec::new(),
                cancelled: Vec::new(),
            }
        }

        /// Lets `ms` pass with the caller speaking or silent; times are in milliseconds since the beginning.
        fn hear(&mut self, speech: bool, ms: u64) -> &mut Self {
            for _ in 0..frames(ms) {
                self.frame += 1;
                let now = Instant::from_millis(self.frame * FRAME_MS);
                self.segmenter.handle_input(Input::Frame { speech, arrived: now }, now);
                self.carry_out();
                let (due, later) = std::mem::take(&mut self.due).into_iter().partition(|(at, ..)| *at <= self.frame);
                self.due = later;
                for (_, id, result) in due {
                    let took = Duration::from_millis(self.decode_ms);
                    let input = match &result {
                        Ok(text) => Input::Decoded { id, text: Some(text), took },
                        Err(complete) => Input::Opinion { id, complete: *complete },
                    };
                    self.segmenter.handle_input(input, now);
                    self.carry_out();
                }
            }
            self
        }

        fn carry_out(&mut self) {
            while let Some(output) = self.segmenter.poll_output() {
                match output {
                    Output::Event(event) => self.events.push((self.frame * FRAME_MS, event)),
                    Output::Cancel { id } => {
                        self.due.retain(|(_, due, result)| *due != id || result.is_err());
                        self.cancelled.push(id);
                    }
                    Output::Judge { id, .. } => {
                        self.due.push((self.frame + frames(self.opinion_ms), id, Err(self.opinion)));
                    }
                    Output::Decode { id, from, to, last } => {
                        assert!(from < to && to <= self.frame, "{from}..{to} at {}", self.frame);
                        self.decodes.push((from, to, last));
                        let heard = self.words.iter().filter(|(at, _)| (from..to).contains(at));
                        let text = heard.map(|(_, word)| *word).collect::<Vec<_>>().join(" ");
                        self.due.push((self.frame + frames(self.decode_ms), id, Ok(text)));
                    }
                }
            }
        }

        fn end(&self) -> Option<(u64, &str)> {
            let mut ends = self.events.iter().filter_map(|(at, event)| match event {
                EarsEvent::EndOfTurn { transcript, .. } => Some((*at, transcript.as_str())),
                _ => None,
            });
            assert!(ends.clone().count() <= 1, "{:?}", self.events);
            ends.next_back()
        }
    }

    #[test]
    fn a_turn_ends_by_order_as_soon_as_its_text_is_there() {
        let mut world = World::saying(&[(200, "My"), (400, "number"), (600, "is")]);
        world.hear(false, 200).hear(true, 800).hear(false, 80);
        world.segmenter.handle_input(Input::ForceEndTurn, Instant::from_millis(1080));
        world.carry_out();
        world.hear(false, 120);
        let (at, end) = world.events.last().expect("it has ended").clone();
        assert!(matches!(end, EarsEvent::EndOfTurn { .. }) && at <= 1200, "{at}: {end:?}");
        let count = world.events.len();
        world.segmenter.handle_input(Input::ForceEndTurn, Instant::from_millis(1200));
        world.carry_out();
        world.hear(false, 2000);
        assert_eq!(world.events.len(), count, "without a turn nothing follows");
    }

    #[test]
    fn a_sentence_starts_with_its_first_words_grows_and_ends() {
        let mut world = World::saying(&[(1000, "I'd"), (1300, "like"), (1600, "a"), (1900, "table.")]);
        world.hear(false, 1000).hear(true, 1200).hear(false, 1000);
        let (at, EarsEvent::StartOfTurn { transcript }) = &world.events[0] else { panic!("{:?}", world.events) };
        assert_eq!((*at, transcript.as_str()), (1440, "I'd like"));
        assert!(world.events.iter().any(|(_, event)| matches!(event, EarsEvent::Update { .. })));
        assert_eq!(world.end(), Some((2580, "I'd like a table.")));
        let EarsEvent::EndOfTurn { speech, .. } = &world.events.last().expect("an end").1 else { panic!() };
        assert_eq!(speech.arrived, Instant::from_millis(2200));
    }

    #[test]
    fn a_turn_that_sounds_whole_ends_sooner_and_one_that_does_not_later() {
        let end_with = |opinion| {
            let mut world = World::saying(&[(1000, "I'd like a table.")]);
            world.opinion = opinion;
            world.opinion_ms = 100;
            world.hear(false, 1000).hear(true, 1000).hear(false, 2000);
            world.end().expect("an end").0 - 2000
        };
        assert_eq!(end_with(Some(0.95)), 300);
        assert_eq!(end_with(None), 380);
        assert_eq!(end_with(Some(0.4)), 700);
        assert_eq!(end_with(Some(0.05)), 1000);
    }

    #[test]
    fn a_number_in_the_middle_is_waited_for() {
        let mut world = World::saying(&[(1000, "My number is 555"), (2900, "271"), (4300, "8346.")]);
        world.hear(false, 1000).hear(true, 1000).hear(false, 900).hear(true, 600).hear(false, 800).hear(true, 600);
        assert_eq!(world.end(), None);
        world.hear(false, 1000);
        assert_eq!(world.end(), Some((5280, "My number is 555 271 8346.")));
    }

    #[test]
    fn speech_that_goes_on_takes_the_hint_of_an_end_back() {
        let mut world = World::saying(&[(1000, "Yes."), (1740, "I want to cancel.")]);
        world.opinion = Some(0.4);
        world.hear(false, 1000).hear(true, 500).hear(false, 240).hear(true, 700).hear(false, 1000);
        let kinds: Vec<&EarsEvent> = world.events.iter().map(|(_, event)| event).collect();
        let eager = kinds.iter().position(|event| matches!(event, EarsEvent::EagerEndOfTurn { .. }));
        let resumed = kinds.iter().position(|event| matches!(event, EarsEvent::TurnResumed { .. }));
        assert!(eager.is_some() && eager < resumed, "{kinds:?}");
        assert_eq!(world.end().expect("an end").1, "Yes. I want to cancel.");
    }

    #[test]
    fn every_hint_is_followed_by_the_end_with_the_same_text_or_taken_back() {
        let mut world = World::saying(&[(1000, "Good."), (1900, "Fine."), (2800, "Great.")]);
        world.opinion = Some(0.3);
        world.hear(false, 1000);
        for _ in 0..3 {
            world.hear(true, 500).hear(false, 400);
        }
        world.hear(false, 1500);
        let mut hint: Option<String> = None;
        for (_, event) in &world.events {
            match event {
                EarsEvent::EagerEndOfTurn { transcript } => assert_eq!(hint.replace(transcript.clone()), None),
                EarsEvent::TurnResumed { .. } => assert!(hint.take().is_some()),
                EarsEvent::EndOfTurn { transcript, .. } => assert_eq!(hint.take().as_ref(), Some(transcript)),
                _ => {}
            }
        }
        assert_eq!(world.end().expect("an end").1, "Good. Fine. Great.");
    }

    #[test]
    fn a_short_word_is_heard_without_any_look() {
        let mut world = World::saying(&[(1000, "Stop.")]);
        world.hear(false, 1000).hear(true, 240).hear(false, 800);
        assert_eq!(world.decodes.len(), 1, "{:?}", world.decodes);
        let (at, EarsEvent::StartOfTurn { .. }) = &world.events[0] else { panic!("{:?}", world.events) };
        assert_eq!(*at, 1240 + 120 + 80);
        assert_eq!(world.end().expect("an end").1, "Stop.");
    }

    #[test]
    fn clicks_and_noise_without_words_say_nothing() {
        let mut world = World::saying(&[]);
        world.hear(false, 500).hear(true, 40).hear(false, 500);
        assert!(world.decodes.is_empty(), "a click of 40 ms is not looked at");
        world.hear(true, 80).hear(false, 500);
        assert!(world.decodes.is_empty(), "80 ms are no word");
        world.hear(true, 1500).hear(false, 3000);
        assert!(!world.decodes.is_empty() && world.events.is_empty(), "{:?}", world.events);
        world.words = vec![(world.frame, "Hello.")];
        world.hear(true, 500).hear(false, 1000);
        assert_eq!(world.end().expect("words after noise are a turn").1, "Hello.");
    }

    #[test]
    fn babble_about_the_first_second_is_not_shown_unless_two_looks_agree() {
        let mut world = World::saying(&[]);
        world.decode_ms = 20;
        let mut turn = |words: &'static str| {
            world.words = vec![(0, words)];
            world.hear(true, 400);
        };
        turn("He might eat");
        turn("Yes, yes");
        assert_eq!(world.events.len(), 1, "{:?}", world.events);
        world.words = vec![(0, "Yes, yes I")];
        world.hear(true, 400);
        assert_eq!(world.events[1].1, EarsEvent::Update { transcript: "Yes, yes I".into() });
    }

    #[test]
    fn a_slow_machine_looks_less_often() {
        let looks = |decode_ms| {
            let mut world = World::saying(&[(0, "Word")]);
            world.decode_ms = decode_ms;
            world.hear(true, 8000);
            world.decodes.len()
        };
        assert!(looks(20) >= 17, "{}", looks(20));
        assert!(looks(400) <= 6, "{}", looks(400));
    }

    #[test]
    fn a_long_turn_is_closed_at_a_pause_and_its_texts_are_joined() {
        let mut world = World::saying(&[(1000, "First."), (15_000, "Second."), (20_000, "Third.")]);
        world.opinion = Some(0.0);
        world.hear(false, 1000).hear(true, 13_600).hear(false, 400).hear(true, 1000).hear(false, 300);
        world.hear(true, 6000).hear(false, 1500);
        assert_eq!(world.end().expect("an end").1, "First. Second. Third.");
        let longest = world.decodes.iter().map(|(from, to, _)| to - from).max().expect("decodes");
        assert!(longest <= frames(14_000), "{longest}");
    }

    #[test]
    fn endless_speech_is_closed_without_a_pause_and_decodes_stay_bounded() {
        let mut world = World::saying(&[(100, "Bla"), (25_000, "bli"), (50_000, "blu")]);
        world.hear(true, 60_000).hear(false, 1500);
        assert_eq!(world.end().expect("an end").1, "Bla bli blu");
        let longest = world.decodes.iter().map(|(from, to, _)| to - from).max().expect("decodes");
        assert!(longest <= STRETCH_HARD_MAX + 20, "{longest}");
    }

    #[test]
    fn a_text_that_never_comes_ends_the_turn_with_what_was_seen() {
        let mut world = World::saying(&[(1000, "Hello")]);
        world.hear(false, 1000).hear(true, 1000);
        world.decode_ms = 60_000;
        world.hear(false, 5000);
        assert_eq!(world.end(), Some((6000, "Hello")));
    }

    #[test]
    fn a_caller_cannot_make_the_machine_grow() {
        let mut world = World::saying(&[(0, "Bla.")]);
        world.opinion = Some(0.0);
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            world.hear(random.bool(), random.u64(1..40) * FRAME_MS);
            assert!(world.due.len() <= 8, "{:?}", world.due);
        }
        assert!(world.segmenter.outputs.is_empty());
    }
}
