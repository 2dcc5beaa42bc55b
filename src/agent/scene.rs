//! A call in virtual time, for the agent's tests.

use super::*;

/// An agent whose outputs are read input by input.
pub(super) struct Scene {
    pub agent: Agent,
    pub now: Instant,
    /// What was told last of each turn, but for the span of its words.
    told: std::collections::BTreeMap<TurnId, TurnRecord>,
}

impl Scene {
    /// A call that rings, with short phrases, none of them ready.
    pub fn ringing() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut config::Agent)) -> Self {
        let mut settings = config::Agent {
            greeting: "Hello, this is Offhook.".into(),
            prompt: "Be kind.".into(),
            reprompt: "Are you there?".into(),
            goodbye: "Goodbye!".into(),
            apology: "Sorry, say it again.".into(),
            farewell_on_failure: "Please call later.".into(),
            fillers: Vec::new(),
            ..config::Agent::default()
        };
        change(&mut settings);
        Self { agent: Agent::new(&settings), now: Instant::ZERO, told: std::collections::BTreeMap::new() }
    }

    /// A call in which the caller speaks first, and all phrases are ready.
    pub fn listening() -> Self {
        let mut scene = Self::with(|settings| settings.greeting.clear());
        scene.all_ready();
        assert_eq!(scene.tell(Input::Answered), []);
        scene
    }

    /// The same; and the caller has asked "Hi?", and the model is at its answer, turn 1.
    pub fn asked() -> Self {
        let mut scene = Self::listening();
        scene.end("Hi?");
        scene
    }

    /// The same; and the model's whole reply is "We open at nine.", which is heard from one second on.
    pub fn answering() -> Self {
        let mut scene = Self::asked();
        scene.token(1, "We open at nine.");
        scene.mind(1, MindEvent::Done);
        scene.voice(1, VoiceEvent::Spoken { text: "We open at nine.".into(), end: ms(2000) });
        scene.voice(1, VoiceEvent::Done { length: ms(2000) });
        scene.pass(1000);
        scene.tell(Input::FirstPacket { turn: TurnId(1) });
        scene
    }

    pub fn all_ready(&mut self) {
        use Phrase::{Apology, FarewellOnFailure, Goodbye, Greeting, Reprompt};
        for phrase in [Greeting, Reprompt, Goodbye, Apology, FarewellOnFailure] {
            assert_eq!(self.tell(Input::PhraseReady(phrase)), []);
        }
    }

    /// Tells the agent; records are returned without the span of their words, and a single one only where the rest of it changed.
    pub fn tell(&mut self, input: Input) -> Vec<Output> {
        self.agent.handle_input(input, self.now);
        let mut outputs: Vec<Output> = std::iter::from_fn(|| self.agent.poll_output()).collect();
        let alone = outputs.len() == 1;
        outputs.retain_mut(|output| match output {
            Output::Turn(record) => {
                record.heard = WordSpan::default();
                self.told.insert(record.turn, record.clone()).is_none_or(|before| before != *record) || !alone
            }
            _ => true,
        });
        outputs
    }

    /// Lets `millis` pass, with every time-out on the way.
    pub fn pass(&mut self, millis: u64) -> Vec<Output> {
        let end = self.now + ms(millis);
        let mut outputs = Vec::new();
        for _ in 0..1000 {
            let due = self.agent.poll_timeout().filter(|due| due.at <= end);
            self.now = due.map_or(end, |due| due.at.max(self.now));
            self.agent.handle_timeout(self.now);
            outputs.extend(std::iter::from_fn(|| self.agent.poll_output()).map(|output| match output {
                Output::Turn(record) => Output::Turn(TurnRecord { heard: WordSpan::default(), ..record }),
                output => output,
            }));
            if due.is_none() {
                return outputs;
            }
        }
        panic!("time-outs without end: {outputs:?}");
    }

    pub fn start(&mut self, transcript: &str) -> Vec<Output> {
        self.tell(Input::Ears(EarsEvent::StartOfTurn { transcript: transcript.into() }))
    }

    pub fn end(&mut self, transcript: &str) -> Vec<Output> {
        let speech = SpeechMark::default();
        self.tell(Input::Ears(EarsEvent::EndOfTurn { transcript: transcript.into(), speech }))
    }

    pub fn mind(&mut self, turn: u32, event: MindEvent) -> Vec<Output> {
        self.tell(Input::Mind { turn: TurnId(turn), event })
    }

    pub fn token(&mut self, turn: u32, token: &str) -> Vec<Output> {
        self.mind(turn, MindEvent::Token(token.into()))
    }

    pub fn call_tool(&mut self, turn: u32, name: &str) -> Vec<Output> {
        self.mind(turn, MindEvent::ToolCall { id: "c1".into(), name: name.into(), arguments: "{".into() })
    }

    pub fn voice(&mut self, turn: u32, event: VoiceEvent) -> Vec<Output> {
        self.tell(Input::Voice { turn: TurnId(turn), event })
    }

    pub fn on_air(&mut self, turn: u32) -> Vec<Output> {
        self.tell(Input::FirstPacket { turn: TurnId(turn) })
    }

    pub fn played(&mut self, turn: u32, millis: u64) -> Vec<Output> {
        self.tell(Input::Played { turn: TurnId(turn), heard: ms(millis) })
    }

    pub fn cut(&mut self, turn: u32, millis: u64) -> Vec<Output> {
        self.tell(Input::Cut { turn: TurnId(turn), heard: ms(millis) })
    }

    /// Asks turn `turn` something, and returns what the model gets to see for it.
    pub fn history(&mut self, turn: u32) -> Vec<Message> {
        let outputs = self.end("What?");
        asked(&outputs).unwrap_or_else(|| panic!("turn {turn} asks nothing: {outputs:?}"))
    }
}

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Returns the messages of the request among `outputs`.
pub(super) fn asked(outputs: &[Output]) -> Option<Vec<Message>> {
    outputs.iter().find_map(|output| match output {
        Output::Ask { messages, .. } => Some(messages.clone()),
        _ => None,
    })
}

pub(super) fn failure(kind: FailureKind) -> Failure {
    Failure { kind, text: "it broke".into() }
}

/// Returns the next attempt at `turn`, after a draft of it that was thrown away.
pub(super) fn again(turn: u32) -> u32 {
    TurnId(turn).again().0
}

pub(super) fn floor(turn: u32) -> Output {
    Output::Floor { turn: TurnId(turn), firm: false }
}

pub(super) fn play(turn: u32, phrase: Phrase) -> Output {
    Output::Play { turn: TurnId(turn), phrase }
}

pub(super) fn speak(turn: u32, clause: u16, text: &str, last: bool) -> Output {
    Output::Speak { turn: TurnId(turn), clause, text: text.into(), last }
}

pub(super) fn cancel_ask(turn: u32) -> Output {
    Output::CancelAsk { turn: TurnId(turn) }
}

pub(super) fn cancel_speech(turn: u32) -> Output {
    Output::CancelSpeech { turn: TurnId(turn) }
}

pub(super) fn opened(turn: u32) -> Output {
    Output::Draft { turn: TurnId(turn), news: DraftNews::Opened }
}

pub(super) fn record(turn: u32, caller: &str, agent: &str, interrupted: bool) -> Output {
    Output::Turn(TurnRecord {
        turn: TurnId(turn),
        caller: caller.into(),
        agent: agent.into(),
        interrupted,
        ..TurnRecord::default()
    })
}

pub(super) fn hang_up(reason: &str) -> Output {
    Output::HangUp { reason: reason.into() }
}

pub(super) fn system() -> Message {
    Message::System("Be kind.".into())
}

pub(super) fn caller(text: &str) -> Message {
    Message::Caller(text.into())
}

pub(super) fn agent(text: &str) -> Message {
    Message::Agent(text.into())
}
