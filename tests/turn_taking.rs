//! Agent and floor together, in thousands of orders of events that no script would think of; `SIM_SEED` replays one.

use offhook::agent::conversation::INTERRUPTED;
use offhook::agent::{
    Agent, DraftNews, EarsEvent, Failure, FailureKind, Input, Message, MindEvent, Output, Phrase, SpeechMark,
    TurnRecord, VoiceEvent,
};
use offhook::config;
use offhook::ids::TurnId;
use offhook::time::Instant;
use offhook::turn::{self, Floor};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How long one byte of text takes to say; every voice here speaks evenly, so that who heard what is known exactly.
const BYTE_MS: u64 = 60;

const PHRASES: [(Phrase, &str); 7] = [
    (Phrase::Greeting, "Hello, this is Offhook."),
    (Phrase::Reprompt, "Are you still there?"),
    (Phrase::Goodbye, "Goodbye!"),
    (Phrase::Apology, "I'm sorry, say it again."),
    (Phrase::FarewellOnFailure, "Please call again later."),
    (Phrase::NotHeard, "I did not hear you."),
    (Phrase::ToolFiller(0), "Let me look that up."),
];

/// What the world knows of one turn's speech.
#[derive(Default)]
struct Speech {
    text: String,
    clauses: u16,
    whole: bool,
    kept: bool,
    cancelled: bool,
    /// Bytes of the text that were made into audio, and those told to the agent.
    made: usize,
    told: usize,
    done: bool,
    failed: bool,
    played: Duration,
    over: bool,
    /// What can have arrived of it, as far as the far end has told, and what the agent was told of that.
    arrived: Option<Duration>,
    arrived_told: Option<Duration>,
}

struct World {
    rng: fastrand::Rng,
    /// How many events of a provider there are to one failure.
    calm: u32,
    now: Instant,
    agent: Agent,
    floor: Floor,
    speeches: BTreeMap<TurnId, Speech>,
    /// Turns whose request is being answered.
    asked: BTreeSet<TurnId>,
    /// The draft behind the gate, the drafts that were thrown away, and how many were kept.
    draft: Option<TurnId>,
    thrown_away: BTreeSet<TurnId>,
    kept: usize,
    /// The operator's tools that run, whether a transfer is under way, and whether keys are pressed; and how many of each began.
    running: BTreeSet<u32>,
    transferring: bool,
    pressing: bool,
    begun: [usize; 3],
    /// What the recogniser said last.
    words: String,
    granted: Option<TurnId>,
    last_granted: Option<TurnId>,
    paused: bool,
    /// What the media path has told and the agent has not yet been told.
    reports: VecDeque<Input>,
    /// What was told last of each turn.
    records: BTreeMap<TurnId, String>,
    ended: Option<String>,
    log: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let calm = [24, 200, 1000][rng.usize(0..3)];
        let text =
            |phrase: Phrase| PHRASES.into_iter().find(|(of, _)| *of == phrase).map_or("", |(_, text)| text).to_owned();
        let settings = config::Agent {
            greeting: if rng.u32(0..4) == 0 { String::new() } else { text(Phrase::Greeting) },
            reprompt: text(Phrase::Reprompt),
            goodbye: text(Phrase::Goodbye),
            apology: text(Phrase::Apology),
            farewell_on_failure: text(Phrase::FarewellOnFailure),
            not_heard: text(Phrase::NotHeard),
            call_max: Duration::from_secs(rng.u64(20..600)),
            reprompts_max: rng.u32(0..3),
            send_dtmf: true,
            transfers: vec![config::Transfer {
                name: "sales".into(),
                to: "sip:sales@pbx.example".into(),
                description: String::new(),
            }],
            tools: vec![config::Tool {
                name: "find".into(),
                description: "Finds something.".into(),
                url: "https://crm.example/".into(),
                method: config::Method::Post,
                parameters: r#"{"type":"object"}"#.into(),
                timeout: Duration::from_secs(rng.u64(1..10)),
                filler: if rng.bool() { text(Phrase::ToolFiller(0)) } else { String::new() },
                headers: Vec::new(),
            }],
            ..config::Agent::default()
        };
        Self {
            rng,
            calm,
            now: Instant::ZERO,
            agent: Agent::new(&settings),
            floor: Floor::new(turn::Settings::default()),
            speeches: BTreeMap::new(),
            asked: BTreeSet::new(),
            draft: None,
            thrown_away: BTreeSet::new(),
            kept: 0,
            running: BTreeSet::new(),
            transferring: false,
            pressing: false,
            begun: [0; 3],
            words: String::new(),
            granted: None,
            last_granted: None,
            paused: false,
            reports: VecDeque::new(),
            records: BTreeMap::new(),
            ended: None,
            log: Vec::new(),
        }
    }

    fn tell(&mut self, input: Input) -> Vec<Output> {
        self.log.push(format!("{:>7} ms  {input:?}", self.now.as_nanos() / 1_000_000));
        self.agent.handle_input(input, self.now);
        self.drain()
    }

    fn report(&mut self, report: Input) {
        // From here on the agent's history may be held against it; of turns long past it is not amended any more.
        let outputs = self.tell(report.clone());
        if let Input::Arrived { turn, heard_max } = report
            && outputs.iter().any(|output| matches!(output, Output::Turn(record) if record.turn == turn))
        {
            self.speeches.get_mut(&turn).expect("it is over").arrived_told = Some(heard_max);
        }
    }

    fn drain(&mut self) -> Vec<Output> {
        let outputs: Vec<Output> = std::iter::from_fn(|| self.agent.poll_output()).collect();
        for output in &outputs {
            self.log.push(format!("            {output:?}"));
            assert_eq!(self.ended, None, "nothing is done after the end");
            self.obey(output);
        }
        outputs
    }

    fn obey(&mut self, output: &Output) {
        match output {
            Output::Ask { turn, messages, .. } => {
                // What goes on with the results of tools is asked for while the words before them are still heard.
                let early = self.draft.is_none() && self.last_granted.is_some_and(|last| last < *turn);
                assert!(self.is_making(*turn) || early, "a reply is asked for only with the floor, or as a draft");
                self.speeches.entry(*turn).or_default();
                assert!(messages.len() <= 100);
                self.check_history(messages);
                assert!(self.asked.insert(*turn), "one request at a time");
            }
            Output::ForceEndTurn | Output::TurnEnded | Output::Aside { .. } => {}
            Output::CancelAsk { turn } => assert!(self.asked.remove(turn), "only what runs is cancelled"),
            Output::Floor { turn, .. } => {
                assert!(self.last_granted.is_none_or(|last| last < *turn), "turns only grow");
                if let Some(old) = self.granted {
                    self.drop_speech(old);
                }
                self.granted = Some(*turn);
                self.last_granted = Some(*turn);
                assert!(!self.thrown_away.contains(turn), "what is thrown away stays so");
                assert!(self.speeches.entry(*turn).or_default().played.is_zero(), "nothing was heard before");
                self.tell_floor(turn::Input::Granted { turn: *turn });
            }
            Output::Speak { turn, clause, text, last } => {
                assert!(self.is_making(*turn), "only the turn with the floor speaks, or the draft");
                let speech = self.speeches.get_mut(turn).expect("the floor was granted");
                assert!(!speech.cancelled, "nothing is spoken for a cancelled turn");
                assert!(!speech.whole && !speech.kept, "nothing is spoken after the last clause");
                assert_eq!(speech.clauses, *clause);
                assert!(text.chars().any(char::is_alphanumeric) || (*last && text.is_empty()), "{text:?}");
                speech.clauses += 1;
                speech.text.push_str(text);
                speech.whole = *last;
            }
            Output::Play { turn, phrase } => {
                assert!(self.is_making(*turn), "only the turn with the floor speaks, or the draft");
                let speech = self.speeches.get_mut(turn).expect("the floor was granted");
                assert!(!speech.cancelled && speech.clauses == 0 && !speech.kept, "a phrase is a whole speech");
                let (_, text) = PHRASES.into_iter().find(|(of, _)| of == phrase).expect("all are there");
                speech.text = text.to_owned();
                (speech.kept, speech.whole) = (true, true);
            }
            Output::Fill { turn, phrase } => {
                assert_eq!(self.last_granted, Some(*turn), "a filler bridges the wait of the turn that has the floor");
                let speech = &self.speeches[turn];
                assert!(!speech.cancelled && (!speech.kept || speech.over), "there is something to wait for");
                assert!(matches!(phrase, Phrase::Filler(_)));
            }
            Output::CancelSpeech { turn } => {
                self.speeches.get_mut(turn).expect("the floor was granted").cancelled = true;
                self.drop_speech(*turn);
                self.tell_floor(turn::Input::Withdrawn { turn: *turn });
            }
            Output::Draft { turn, news } => self.check_draft(*turn, *news),
            Output::Turn(record) => self.check_record(record),
            Output::RunTool { job, .. } => {
                assert!(self.draft.is_none(), "no tool runs for a draft");
                assert!(self.running.insert(*job), "each has a number of its own");
                self.begun[0] += 1;
            }
            Output::Transfer { .. } => {
                assert!(self.draft.is_none(), "nobody is transferred for a draft");
                self.assert_heard();
                self.transferring = true;
                self.begun[1] += 1;
            }
            Output::SendDtmf { .. } => {
                assert!(self.draft.is_none(), "no key is pressed for a draft");
                self.assert_heard();
                self.pressing = true;
                self.begun[2] += 1;
            }
            Output::HangUp { reason } => self.ended = Some(reason.clone()),
        }
    }

    fn check_draft(&mut self, turn: TurnId, news: DraftNews) {
        match news {
            DraftNews::Begun | DraftNews::BegunEarly => {
                assert_eq!(self.draft.replace(turn), None, "one draft at a time");
                assert_eq!(self.granted, None, "nobody has the floor while a draft is made");
                self.speeches.insert(turn, Speech::default());
            }
            DraftNews::Opened => {
                assert_eq!(self.draft.take(), Some(turn));
                assert_eq!(self.granted, Some(turn), "an open gate is the floor");
                self.kept += 1;
            }
            DraftNews::ThrownAway { .. } => {
                assert_eq!(self.draft.take(), Some(turn));
                assert!(!self.asked.contains(&turn), "its request is cancelled");
                assert!(self.speeches[&turn].cancelled && self.speeches[&turn].played.is_zero());
                self.thrown_away.insert(turn);
            }
        }
    }

    /// What is told of a turn is what was said of it, up to the end of a word, and no more than was heard.
    fn check_record(&mut self, record: &TurnRecord) {
        let private = self.draft == Some(record.turn) || self.thrown_away.contains(&record.turn);
        assert!(!private, "nothing is told of a draft: {record:?}");
        let speech = &self.speeches.get(&record.turn);
        let (text, played) = speech.map_or(("", Duration::ZERO), |speech| (speech.text.as_str(), speech.played));
        assert!(text.starts_with(&record.agent), "{record:?} is no prefix of {text:?}");
        let next = text[record.agent.len()..].chars().next();
        assert!(
            record.agent.is_empty() || next.is_none_or(char::is_whitespace),
            "{record:?} ends within a word of {text:?}"
        );
        let arrived = speech.and_then(|speech| speech.arrived_told).map_or(played, |arrived| arrived.min(played));
        let least = Duration::from_millis(record.agent.len() as u64 * BYTE_MS);
        assert!(least <= arrived, "{record:?} takes {least:?}, and {arrived:?} were heard");
        let words = record.agent.split_whitespace().count() as u32;
        assert!((record.heard.min..=record.heard.max).contains(&words), "{record:?}");
        self.records.insert(record.turn, record.agent.clone());
    }

    /// What was said before has been heard to its end.
    fn assert_heard(&self) {
        let last = self.last_granted.and_then(|turn| self.speeches.get(&turn));
        assert!(last.is_none_or(|speech| speech.over || speech.text.is_empty()), "its words were not heard yet");
    }

    /// A tool is done, in one way or another.
    fn tool(&mut self) {
        match self.rng.u32(0..3) {
            0 => {
                let Some(job) = self.running.pop_first() else { return };
                self.tell(Input::Tool { job, result: "{}".into() });
            }
            1 if self.transferring => {
                let status = [100, 180, 200, 486, 603][self.rng.usize(0..5)];
                self.transferring = status < 200;
                self.tell(Input::Transfer { status });
            }
            2 if self.pressing => {
                self.pressing = false;
                self.tell(Input::Pressed);
            }
            _ => {}
        }
    }

    /// What the model gets to see of the agent is what was told of its turns, in order.
    fn check_history(&self, messages: &[Message]) {
        if messages.iter().any(|message| matches!(message, Message::ToolCall { .. })) {
            // What was said before the tool was called is shown before it is heard.
            return;
        }
        let heard: Vec<&str> = self.records.values().map(String::as_str).filter(|heard| !heard.is_empty()).collect();
        let heard = heard.join(" ");
        let mut rest = heard.as_str();
        for message in messages {
            if let Message::Agent(text) = message {
                let text = text.replace(INTERRUPTED, "");
                let at = rest.find(text.trim_end()).unwrap_or_else(|| panic!("{text:?} is not in {rest:?}"));
                rest = &rest[at + text.trim_end().len()..];
            }
        }
    }

    /// The far end, or the kernel, tells how little can have arrived of a turn that is over; or its rest is lost on the way.
    fn lose(&mut self) {
        let over: Vec<TurnId> = self.speeches.iter().filter(|(_, speech)| speech.over).map(|(turn, _)| *turn).collect();
        if self.rng.u32(0..3) == 0 {
            let Some(turn) = self.granted else { return };
            let Some(speech) = self.speeches.get(&turn).filter(|speech| !speech.played.is_zero()) else { return };
            self.reports.push_back(Input::Stalled { turn, heard: speech.played });
        } else if !over.is_empty() {
            let turn = over[self.rng.usize(0..over.len())];
            let speech = self.speeches.get_mut(&turn).expect("it is over");
            let share = Duration::from_millis(self.rng.u64(0..=speech.played.as_millis() as u64));
            let arrived = speech.arrived.map_or(share, |before| before.min(share));
            speech.arrived = Some(arrived);
            self.reports.push_back(Input::Arrived { turn, heard_max: arrived });
        }
    }

    /// Whether `turn` is the one whose reply is made: it has the floor, or is the draft.
    fn is_making(&self, turn: TurnId) -> bool {
        self.draft.or(self.last_granted) == Some(turn)
    }

    /// Drops what is queued of `turn`, and reports how much of it was heard.
    fn drop_speech(&mut self, turn: TurnId) {
        if self.granted == Some(turn) {
            self.granted = None;
        }
        if let Some(speech) = self.speeches.get_mut(&turn).filter(|speech| !speech.over) {
            speech.over = true;
            if !speech.played.is_zero() {
                self.reports
                    .extend([Input::Cut { turn, heard: speech.played }, Input::AgentSpeech { speaking: false }]);
            }
        }
    }

    fn tell_floor(&mut self, input: turn::Input) {
        self.floor.handle_input(input, self.now);
        self.obey_floor();
    }

    fn obey_floor(&mut self) {
        match self.floor.poll_output() {
            None => {}
            Some(turn::Output::Pause) => self.paused = true,
            Some(turn::Output::Resume) => self.paused = false,
            Some(turn::Output::CutPlayout { turn }) => {
                self.paused = false;
                assert_eq!(self.granted, Some(turn), "only the turn with the floor is cut");
                let speech = self.speeches.get_mut(&turn).expect("the floor was granted");
                speech.over = true;
                self.reports
                    .extend([Input::Cut { turn, heard: speech.played }, Input::AgentSpeech { speaking: false }]);
                self.granted = None;
            }
        }
    }

    /// Plays `time` of what is queued.
    fn play(&mut self, time: Duration) {
        let Some(turn) = self.granted.filter(|_| !self.paused) else { return };
        let speech = self.speeches.get_mut(&turn).expect("the floor was granted");
        let made = Duration::from_millis(speech.made as u64 * BYTE_MS);
        let first = speech.played.is_zero();
        speech.played = made.min(speech.played + time);
        let (played, over) = (speech.played, (speech.done || speech.failed) && speech.played == made);
        if first && !played.is_zero() {
            self.reports.push_back(Input::AgentSpeech { speaking: true });
            self.reports.push_back(Input::FirstPacket { turn });
            self.tell_floor(turn::Input::Playing { turn });
        }
        if over && self.granted == Some(turn) {
            self.reports.push_back(Input::AgentSpeech { speaking: false });
            self.reports.push_back(Input::Played { turn, heard: played });
            self.speeches.get_mut(&turn).expect("as above").over = true;
            self.granted = None;
            self.tell_floor(turn::Input::Played { turn });
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..10_000 {
            let due = [self.agent.poll_timeout().map(|due| due.at), self.floor.poll_timeout().map(|due| due.at)];
            let next = due.into_iter().flatten().min().filter(|at| *at <= end).unwrap_or(end).max(self.now);
            self.play(next - self.now);
            self.now = next;
            self.floor.handle_timeout(self.now);
            self.obey_floor();
            self.agent.handle_timeout(self.now);
            self.drain();
            if next == end {
                return;
            }
        }
        panic!("time-outs without end");
    }

    /// Makes some audio of a turn, or all of it, and says so by words or by clause.
    fn voice(&mut self, turn: TurnId) {
        let rng = &mut self.rng;
        let Some(speech) = self.speeches.get_mut(&turn) else { return };
        if speech.done || speech.failed || speech.text.is_empty() {
            return;
        }
        let made = |bytes: usize| Duration::from_millis(bytes as u64 * BYTE_MS);
        let event = match rng.u32(0..self.calm) {
            0 => {
                speech.failed = true;
                VoiceEvent::Failed(failure(rng))
            }
            1 => VoiceEvent::Sent { clause: 0 },
            2 => VoiceEvent::FirstAudio,
            _ if speech.told < speech.text.trim_end().len() => {
                let rest = &speech.text[speech.told..];
                let words = rng.usize(1..6);
                let len = rest.split_inclusive(' ').take(words).map(str::len).sum::<usize>();
                let text = rest[..len].to_owned();
                speech.told += len;
                let end = speech.told - (text.len() - text.trim_end().len());
                speech.made = speech.told;
                VoiceEvent::Spoken { text, end: made(end) }
            }
            _ if speech.whole => {
                speech.made = speech.text.len();
                speech.done = true;
                VoiceEvent::Done { length: made(speech.text.len()) }
            }
            _ => return,
        };
        let expects_more = matches!(event, VoiceEvent::Failed(_)) && self.granted == Some(turn);
        let outputs = self.tell(Input::Voice { turn, event });
        // Where the media path has cut the turn already, or played it out, the caller's next word decides.
        if expects_more && self.reports.is_empty() {
            assert!(outputs.iter().any(is_speech_or_end), "a voice failed and nothing was said");
        }
    }

    fn mind(&mut self, turn: TurnId) {
        let rng = &mut self.rng;
        let tokens = [
            "We open",
            " at nine. ",
            "Well, ",
            "and then we close",
            " at 3.30 p.m. ",
            "**Yes!** ",
            "<think>",
            "</think>",
            "😀",
            "I",
            "'d say ",
            "no. ",
        ];
        let call = |name: &str, arguments: &str| MindEvent::ToolCall {
            id: "3".into(),
            name: name.into(),
            arguments: arguments.into(),
        };
        let event = match rng.u32(0..self.calm) {
            0 => MindEvent::Failed(failure(rng)),
            1 => MindEvent::ToolCall { id: "1".into(), name: "hang_up".into(), arguments: String::new() },
            2 => MindEvent::ToolCall { id: "2".into(), name: "weather".into(), arguments: "{}".into() },
            3 => MindEvent::Sent,
            4 => call("find", "{}"),
            5 => call("find", "[]"),
            6 => call("transfer", r#"{"to":"sales"}"#),
            7 => call("transfer", r#"{"to":"sales","announcement":"One moment."}"#),
            8 => call("send_dtmf", r#"{"digits":"12#"}"#),
            n if n % 5 == 4 => MindEvent::Done,
            _ => MindEvent::Token(tokens[rng.usize(0..tokens.len())].into()),
        };
        let ends = matches!(event, MindEvent::Failed(_) | MindEvent::Done);
        let wanted = ends && self.asked.remove(&turn) && self.draft != Some(turn) && self.is_making(turn);
        let before = self.ended.is_some();
        let outputs = self.tell(Input::Mind { turn, event });
        if wanted && !before {
            let asks = |output: &Output| {
                matches!(
                    output,
                    Output::Ask { .. } | Output::RunTool { .. } | Output::Transfer { .. } | Output::SendDtmf { .. }
                )
            };
            let asked = outputs.iter().any(asks);
            assert!(asked || outputs.iter().any(is_speech_or_end), "a reply ended and nothing was said");
        }
    }

    fn ears(&mut self) {
        let words = ["When", "When do you open", "I'd like a table", "uh", "Goodbye.", "", " "];
        let transcript = match self.rng.u32(0..6) {
            0..3 => self.words.clone(),
            // The same words in another spelling.
            3 => format!(" {}? ", self.words.to_uppercase()),
            _ => words[self.rng.usize(0..words.len())].to_owned(),
        };
        self.words.clone_from(&transcript.trim_matches([' ', '?']).to_owned());
        let some = !transcript.trim().is_empty();
        let (event, floor) = match self.rng.u32(0..40) {
            0..8 => (EarsEvent::StartOfTurn { transcript }, turn::Input::StartOfTurn),
            8..18 => (EarsEvent::Update { transcript }, turn::Input::Words),
            18..21 => (EarsEvent::EagerEndOfTurn { transcript }, turn::Input::Words),
            21..23 => (EarsEvent::TurnResumed { transcript }, turn::Input::Words),
            23 => (EarsEvent::Connected, turn::Input::CallerSpeech { speaking: false }),
            24 if self.rng.u32(0..self.calm) == 0 => {
                (EarsEvent::Failed(failure(&mut self.rng)), turn::Input::CallerSpeech { speaking: false })
            }
            _ => (EarsEvent::EndOfTurn { transcript, speech: SpeechMark::default() }, turn::Input::EndOfTurn),
        };
        if some {
            self.tell_floor(floor);
        }
        self.tell(Input::Ears(event));
    }

    fn step(&mut self) {
        let turns: Vec<TurnId> = self.speeches.keys().copied().collect();
        // Mostly the last turn, at times an older one whose events are late.
        let turn = match self.rng.u32(0..5) {
            0 if !turns.is_empty() => turns[self.rng.usize(0..turns.len())],
            _ => self.draft.or(self.last_granted).unwrap_or_default(),
        };
        match self.rng.u32(0..100) {
            0..7 => self.ears(),
            7..40 => self.mind(turn),
            40..65 => self.voice(turn),
            65..70 => {
                let speaking = self.rng.bool();
                self.tell_floor(turn::Input::CallerSpeech { speaking });
                self.tell(Input::CallerSpeech { speaking });
            }
            70..72 => {
                let digit = ['1', '#', '*', 'x'][self.rng.usize(0..4)];
                self.tell(Input::Digit(digit));
            }
            72 => {
                let (phrase, _) = PHRASES[self.rng.usize(0..PHRASES.len())];
                self.tell(Input::PhraseReady(phrase));
            }
            73..76 => self.tool(),
            76..88 => {
                if let Some(report) = self.reports.pop_front() {
                    self.report(report);
                }
            }
            88 => self.lose(),
            _ => {
                let longest = if self.rng.u32(0..10) == 0 { 12_000 } else { 700 };
                let time = Duration::from_millis(self.rng.u64(0..longest));
                self.pass(time);
            }
        }
    }
}

fn failure(rng: &mut fastrand::Rng) -> Failure {
    let kinds = [FailureKind::Refused, FailureKind::Dropped, FailureKind::Stalled, FailureKind::Garbage];
    Failure { kind: kinds[rng.usize(0..kinds.len())], text: "it broke".into() }
}

fn is_speech_or_end(output: &Output) -> bool {
    matches!(output, Output::Speak { .. } | Output::Play { .. } | Output::HangUp { .. })
}

fn run(seed: u64) -> World {
    let mut world = World::new(seed);
    for (phrase, _) in PHRASES {
        if world.rng.u32(0..4) > 0 {
            world.tell(Input::PhraseReady(phrase));
        }
    }
    world.tell(Input::Answered);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..world.rng.u32(20..400) {
            world.step();
        }
        // Every provider has gone silent; the media path plays what it has, and time passes.
        for _ in 0..120 {
            while let Some(report) = world.reports.pop_front() {
                world.report(report);
            }
            world.pass(Duration::from_secs(10));
        }
        assert!(world.ended.is_some(), "every call ends");
        assert_eq!(world.agent.poll_timeout(), None, "an ended call waits for nothing");
    }));
    if let Err(panic) = result {
        eprintln!("SIM_SEED={seed}\n{}", world.log.join("\n"));
        std::panic::resume_unwind(panic);
    }
    world
}

#[test]
fn whatever_the_order_of_events_one_turn_speaks_history_is_what_was_heard_and_the_call_ends() {
    if let Some(seed) = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        eprintln!("{}", run(seed).log.join("\n"));
        return;
    }
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let (mut whole, mut part) = (0, 0);
    let (mut kept, mut thrown_away) = (0, 0);
    let mut begun = [0; 3];
    for seed in 0..10_000 {
        let world = run(seed);
        kept += world.kept;
        thrown_away += world.thrown_away.len();
        begun.iter_mut().zip(world.begun).for_each(|(all, of)| *all += of);
        *reasons.entry(world.ended.expect("checked by run")).or_default() += 1;
        for speech in world.speeches.values().filter(|speech| !speech.played.is_zero()) {
            let length = Duration::from_millis(speech.text.len() as u64 * BYTE_MS);
            *if speech.played < length { &mut part } else { &mut whole } += 1;
        }
    }
    // A world in which nothing happens would prove nothing.
    assert!(whole > 5000 && part > 5000, "{whole} turns were heard whole, {part} in part");
    assert!(kept > 1000 && thrown_away > 1000, "{kept} drafts were kept, {thrown_away} thrown away");
    assert!(begun.iter().all(|count| *count > 100), "tools, transfers and keys: {begun:?}");
    for reason in ["goodbye", "silent", "longest", "recogniser", "model", "voice"] {
        assert!(reasons.keys().any(|given| given.contains(reason)), "no call ended by {reason}: {reasons:?}");
    }
}
