//! The caller's turns of a captured call: what the recogniser said of each, how sure it was, and how its reply came about.

use crate::agent::{Agent, Confidence, DraftNews, EarsEvent, Input, MindEvent, Output, VoiceEvent};
use crate::capture::agent::Entry;
use crate::config;
use crate::ids::TurnId;
use crate::time::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a call's turns were.
#[derive(Debug, Default)]
pub struct Turns {
    /// The caller's, oldest first.
    pub turns: Vec<Turn>,
    /// Replies of which some was heard, and that were cut.
    pub cut: usize,
    /// Drafts that were thrown away.
    pub thrown_away: usize,
    /// Pieces of text that the model had made of these.
    pub tokens_wasted: usize,
    /// The shares of its limits that the model's provider had left, and when it said so.
    pub allowances: Vec<(Instant, f32)>,
}

/// One turn of the caller's, up to its end.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// What was known of it, oldest first.
    pub steps: Vec<Step>,
    /// When the packet with the caller's last speech came in.
    pub speech: Instant,
    /// When its end was told.
    pub ended: Instant,
    /// What drafts compare of its text.
    pub key: String,
    /// What answered it.
    pub reply: Option<Reply>,
}

/// Something that was known before a turn's end, or with it.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The recogniser spoke.
    Frame(Frame),
    /// A draft was begun; `early`: on words that stood.
    Begun { at: Instant, early: bool },
}

/// One message of the recogniser's about a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// When it came in.
    pub at: Instant,
    /// How sure it was, if it said so.
    pub confidence: Option<Confidence>,
    /// What drafts compare of its text.
    pub key: String,
    /// Whether a draft might be begun on it: the agent was free, and the words ask for no more.
    pub may_draft: bool,
    /// Whether it took back a probable end.
    pub resumed: bool,
}

/// How a reply came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Which turn of the agent's it was.
    pub turn: TurnId,
    /// When the model was asked; `None`: it was not, a kept phrase answered.
    pub begun: Option<Instant>,
    /// Whether it had been drafted.
    pub drafted: bool,
    /// When it was given the floor.
    pub granted: Instant,
    /// When the model's pieces of text came.
    pub tokens: Vec<Instant>,
    /// When its first audio came out of the voice, if out of one.
    pub first_audio: Option<Instant>,
    /// When its first packet was sent.
    pub first_packet: Instant,
}

impl Turn {
    /// How long the caller waited; `None`: nothing answered.
    #[must_use]
    pub fn waited(&self) -> Option<Duration> {
        self.reply.as_ref().map(|reply| reply.first_packet.since(self.speech))
    }

    /// Returns its frames, oldest first.
    pub fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.steps.iter().filter_map(|step| match step {
            Step::Frame(frame) => Some(frame),
            Step::Begun { .. } => None,
        })
    }
}

impl Reply {
    /// How long model and voice took from being asked to the first audio.
    #[must_use]
    pub fn making(&self) -> Option<Duration> {
        self.first_audio.zip(self.begun).map(|(audio, begun)| audio.since(begun))
    }

    /// How long it took from when it could be heard to its first packet.
    #[must_use]
    pub fn sending(&self) -> Duration {
        self.first_packet.since(self.first_audio.map_or(self.granted, |audio| audio.max(self.granted)))
    }
}

/// Returns the settings of a captured agent.
#[must_use]
pub fn settings(entries: &[Entry]) -> Option<&config::Agent> {
    match entries.first() {
        Some(Entry::Begin(settings)) => Some(settings),
        _ => None,
    }
}

/// Reads the turns out of an agent's log. The agent itself runs beside it, to say what it would have made of the caller's words.
#[must_use]
pub fn read(entries: &[Entry]) -> Turns {
    let mut reader = Reader::new(entries);
    for entry in entries {
        reader.entry(entry);
    }
    reader.turns
}

#[derive(Default)]
struct Reader {
    turns: Turns,
    agent: Option<Agent>,
    /// When that happened which was told last.
    told: Instant,
    confidence: Option<(Instant, Confidence)>,
    /// The turn that the caller is in.
    open: Turn,
    /// Which of the turns is answered next.
    unanswered: Option<usize>,
    /// Replies that are made and not heard yet, and which of the turns they answer.
    making: BTreeMap<TurnId, Making>,
}

/// A reply before its first packet.
#[derive(Default)]
struct Making {
    answers: Option<usize>,
    begun: Option<Instant>,
    drafted: bool,
    granted: Instant,
    tokens: Vec<Instant>,
    first_audio: Option<Instant>,
}

impl Reader {
    fn new(entries: &[Entry]) -> Self {
        Self { agent: settings(entries).map(Agent::new), ..Self::default() }
    }

    fn entry(&mut self, entry: &Entry) {
        match entry {
            Entry::In { now, at, input } => {
                self.told = at.unwrap_or(*now);
                match input {
                    Input::Ears(event) => self.ears(event, *now),
                    _ => self.tell(input, *now),
                }
                self.input(input);
            }
            Entry::Confidence { at, confidence } => self.confidence = Some((*at, *confidence)),
            Entry::Tick { now } => {
                self.told = *now;
                if let Some(agent) = &mut self.agent {
                    agent.handle_timeout(*now);
                    while agent.poll_output().is_some() {}
                }
            }
            Entry::Out(output) => self.output(output),
            Entry::Begin(_) | Entry::Broken | Entry::End => {}
        }
    }

    fn tell(&mut self, input: &Input, now: Instant) {
        if let Some(agent) = &mut self.agent {
            agent.handle_input(input.clone(), now);
            while agent.poll_output().is_some() {}
        }
    }

    fn ears(&mut self, event: &EarsEvent, now: Instant) {
        let key = |agent: &Option<Agent>, text: &str| agent.as_ref().map_or_else(String::new, |a| a.draft_key(text));
        let confidence = self.confidence.take().filter(|(at, _)| *at == self.told).map(|(_, confidence)| confidence);
        if let EarsEvent::EndOfTurn { transcript, speech } = event {
            // The end's words are compared before they are taken.
            let mut turn = std::mem::take(&mut self.open);
            (turn.speech, turn.ended, turn.key) = (speech.arrived, self.told, key(&self.agent, transcript));
            let key = turn.key.clone();
            turn.steps.push(Step::Frame(Frame { at: self.told, confidence, key, may_draft: false, resumed: false }));
            self.turns.turns.push(turn);
            self.unanswered = Some(self.turns.turns.len() - 1);
            return self.tell(&Input::Ears(event.clone()), now);
        }
        self.tell(&Input::Ears(event.clone()), now);
        let Some(text) = event.partial() else { return };
        let may_draft = self.agent.as_ref().is_some_and(|agent| agent.would_draft(text, now));
        let resumed = matches!(event, EarsEvent::TurnResumed { .. });
        let key = key(&self.agent, text);
        self.open.steps.push(Step::Frame(Frame { at: self.told, confidence, key, may_draft, resumed }));
    }

    fn input(&mut self, input: &Input) {
        match input {
            Input::Mind { event: MindEvent::Allowance { left }, .. } => self.turns.allowances.push((self.told, *left)),
            Input::Mind { turn, event: MindEvent::Token(_) } => {
                if let Some(making) = self.making.get_mut(turn) {
                    making.tokens.push(self.told);
                }
            }
            Input::Voice { turn, event: VoiceEvent::FirstAudio } => {
                if let Some(making) = self.making.get_mut(turn) {
                    making.first_audio.get_or_insert(self.told);
                }
            }
            Input::Cut { heard, .. } if !heard.is_zero() => self.turns.cut += 1,
            Input::FirstPacket { turn } => {
                let Some(Making { answers: Some(answers), begun, drafted, granted, tokens, first_audio }) =
                    self.making.remove(turn)
                else {
                    return;
                };
                let (turn, first_packet) = (*turn, self.told);
                let reply = Reply { turn, begun, drafted, granted, tokens, first_audio, first_packet };
                if let Some(answered) = self.turns.turns.get_mut(answers) {
                    answered.reply = Some(reply);
                }
            }
            _ => {}
        }
    }

    fn output(&mut self, output: &Output) {
        match output {
            Output::Draft { turn, news: news @ (DraftNews::Begun | DraftNews::BegunEarly) } => {
                let early = *news == DraftNews::BegunEarly;
                self.open.steps.push(Step::Begun { at: self.told, early });
                self.making.entry(*turn).or_default().begun = Some(self.told);
            }
            Output::Draft { turn, news: DraftNews::Opened } => {
                self.making.entry(*turn).or_default().drafted = true;
            }
            Output::Draft { turn, news: DraftNews::ThrownAway { .. } } => {
                self.turns.thrown_away += 1;
                self.turns.tokens_wasted += self.making.remove(turn).map_or(0, |making| making.tokens.len());
            }
            Output::Ask { turn, .. } => {
                self.making.entry(*turn).or_default().begun.get_or_insert(self.told);
            }
            // That was no turn: nothing is to answer it.
            Output::Aside { .. } => {
                let aside = self.unanswered.take();
                self.turns.turns.truncate(aside.unwrap_or(usize::MAX));
            }
            Output::Floor { turn, .. } => {
                let answers = self.unanswered.take();
                let making = self.making.entry(*turn).or_default();
                (making.answers, making.granted) = (answers, self.told);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::agent::SpeechMark;

    pub fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn told(at_ms: u64, input: Input) -> Entry {
        Entry::In { now: at(at_ms) + Duration::from_millis(3), at: Some(at(at_ms)), input }
    }

    /// A log: what a call of an agent that greets nobody begins with, and what follows.
    pub struct Log(pub Vec<Entry>);

    impl Log {
        pub fn new() -> Self {
            let settings = config::Agent { greeting: String::new(), ..config::Agent::default() };
            Self(vec![Entry::Begin(Box::new(settings)), told(0, Input::Answered)])
        }

        fn push(mut self, entry: Entry) -> Self {
            self.0.push(entry);
            self
        }

        pub fn ears(mut self, at_ms: u64, sure: f32, event: EarsEvent) -> Self {
            let confidence = Confidence { end_of_turn: sure, eager: Some(0.5), eot: 0.7 };
            self.0.push(Entry::Confidence { at: at(at_ms), confidence });
            self.push(told(at_ms, Input::Ears(event)))
        }

        pub fn start(self, at_ms: u64, sure: f32, text: &str) -> Self {
            self.ears(at_ms, sure, EarsEvent::StartOfTurn { transcript: text.into() })
        }

        pub fn update(self, at_ms: u64, sure: f32, text: &str) -> Self {
            self.ears(at_ms, sure, EarsEvent::Update { transcript: text.into() })
        }

        pub fn eager(self, at_ms: u64, sure: f32, text: &str) -> Self {
            self.ears(at_ms, sure, EarsEvent::EagerEndOfTurn { transcript: text.into() })
        }

        /// The caller's last speech is that of 1 s.
        pub fn end(self, at_ms: u64, sure: f32, text: &str) -> Self {
            let speech = SpeechMark { arrived: at(1000), handed: at(1001) };
            self.ears(at_ms, sure, EarsEvent::EndOfTurn { transcript: text.into(), speech })
        }

        pub fn draft(self, turn: u32, news: DraftNews) -> Self {
            self.push(Entry::Out(Output::Draft { turn: TurnId(turn), news }))
        }

        pub fn ask(self, turn: u32) -> Self {
            self.push(Entry::Out(Output::Ask { turn: TurnId(turn), messages: vec![], tools: vec![] }))
        }

        pub fn floor(self, turn: u32) -> Self {
            self.push(Entry::Out(Output::Floor { turn: TurnId(turn), firm: false }))
        }

        pub fn token(self, at_ms: u64, turn: u32) -> Self {
            self.push(told(at_ms, Input::Mind { turn: TurnId(turn), event: MindEvent::Token("We ".into()) }))
        }

        pub fn audio(self, at_ms: u64, turn: u32) -> Self {
            self.push(told(at_ms, Input::Voice { turn: TurnId(turn), event: VoiceEvent::FirstAudio }))
        }

        pub fn packet(self, at_ms: u64, turn: u32) -> Self {
            self.push(told(at_ms, Input::FirstPacket { turn: TurnId(turn) }))
        }
    }

    #[test]
    fn a_turn_is_what_was_said_of_it_and_how_its_reply_came_about() {
        let log = Log::new()
            .start(700, 0.1, "When do")
            .update(950, 0.2, "When do you open")
            .eager(1200, 0.5, "When do you open?")
            .draft(1, DraftNews::Begun)
            .ask(1)
            .token(1300, 1)
            .audio(1400, 1)
            .end(1500, 0.8, "When do you open?")
            .floor(1)
            .draft(1, DraftNews::Opened)
            .packet(1510, 1);
        let Turns { turns, .. } = read(&log.0);
        let [turn] = turns.as_slice() else { panic!("{turns:#?}") };
        let frames: Vec<_> = turn.frames().map(|frame| (frame.key.as_str(), frame.may_draft)).collect();
        let whole = "when do you open";
        assert_eq!(frames, [("when do", true), (whole, true), (whole, true), (whole, false)]);
        assert!(turn.steps.contains(&Step::Begun { at: at(1200), early: false }));
        let reply = turn.reply.clone().expect("it was answered");
        assert_eq!((reply.begun, reply.granted, reply.drafted), (Some(at(1200)), at(1500), true));
        assert_eq!(reply.making(), Some(Duration::from_millis(200)));
        assert_eq!((reply.sending(), reply.tokens), (Duration::from_millis(10), vec![at(1300)]));
        assert_eq!(turn.waited(), Some(Duration::from_millis(510)));
    }

    #[test]
    fn a_confidence_belongs_to_what_follows_it_at_the_same_time() {
        let sure = Confidence { end_of_turn: 0.9, eager: None, eot: 0.7 };
        let log = Log::new()
            .push(Entry::Confidence { at: at(500), confidence: sure })
            .push(told(600, Input::Ears(EarsEvent::StartOfTurn { transcript: "Hi".into() })))
            .end(1500, 0.8, "Hi.");
        let turns = read(&log.0).turns;
        let confidences: Vec<_> =
            turns[0].frames().map(|frame| frame.confidence.map(|confidence| confidence.end_of_turn)).collect();
        assert_eq!(confidences, [None, Some(0.8)]);
    }

    #[test]
    fn a_greeting_answers_nobody() {
        let log = Log::new().floor(0).packet(20, 0);
        let cut = Input::Cut { turn: TurnId(0), heard: Duration::from_millis(880) };
        let Turns { turns, cut, .. } = read(&log.push(told(900, cut)).0);
        assert_eq!((turns.len(), cut), (0, 1));
    }

    #[test]
    fn what_a_draft_in_vain_has_cost_is_counted() {
        let waste = DraftNews::ThrownAway { why: crate::agent::Waste::Resumed, characters: 6 };
        let log = Log::new().start(700, 0.1, "Hi").eager(900, 0.5, "Hi.").draft(1, DraftNews::Begun).ask(1);
        let log = log.token(950, 1).token(960, 1).draft(1, waste);
        let turns = read(&log.0);
        assert_eq!((turns.thrown_away, turns.tokens_wasted), (1, 2));
    }
}
