//! Whole conversations by a seed: callers who ask, interrupt, hum, press keys, hold and hang up, over a bad network, with providers
//! that hesitate and fail; what must hold in every one of them is checked against what was on the wire.
//!
//! `SIM_CALLS=2000` makes more of them; `SIM_SEED=n` replays the one that failed.

use super::support::marks::{Follower, marks};
use super::support::{Event, Reply, SAMPLES_PER_BYTE, Script, Voice, Weather, World, caller_voice, ms};
use offhook::agent::{self, DraftNews, EarsEvent, FailureKind, Message, SpeechMark};
use offhook::audio::g711::Codec;
use offhook::call::CallEvent;
use offhook::config;
use offhook::ids::TurnId;
use offhook::rtp::packet::Packet;
use offhook::sip::{self, EndedBy};
use offhook::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

/// Calls of a run.
const CALLS: u64 = 40;
/// How long a caller at most stays.
const STAY_MAX: Duration = Duration::from_secs(60);
/// How long a question may be without any word in answer: the agent's last net for a reply, its floor's longest pause, and a packet.
const ANSWER_MAX: Duration = Duration::from_millis(10_600);
/// What callers say without asking anything.
const HUMS: [&str; 3] = ["mhm", "yeah", "okay"];
/// How long after a turn its end may be told: another turn has begun by then.
const END_TOLD_LATE: Duration = Duration::from_secs(4);
/// Samples of a fade.
const FADE: usize = 40;
/// How much of a turn's speech is not recognised where it begins in a fade: the caller coughs at its first sample.
const FADED: usize = 80;

/// One packet of the agent's, as it left.
struct Sent {
    at: Instant,
    sequence: u16,
    timestamp: u32,
    /// Of which turns it holds what.
    speech: Vec<(TurnId, Range<usize>)>,
}

/// How far each turn's speech had left, and when.
type Left = BTreeMap<TurnId, Vec<(Instant, usize)>>;

/// A caller's life, and what was asked.
struct Life {
    world: World,
    rng: fastrand::Rng,
    questions: u32,
    /// When the caller did something that makes any question before it moot.
    moves: Vec<Instant>,
    holds: Vec<Instant>,
    hung_up: bool,
}

fn word(rng: &mut fastrand::Rng, mark: &str, n: u32) -> String {
    let ends = ["", "", "", "", ",", "."];
    format!("{mark}{n}{} ", ends[rng.usize(0..ends.len())])
}

/// Returns a text in which each word occurs once in the call.
fn text(rng: &mut fastrand::Rng, reply: u32) -> String {
    let text: String = (0..rng.u32(1..24)).map(|n| word(rng, &format!("r{reply}w"), n)).collect();
    format!("{}.", text.trim_end().trim_end_matches(['.', ',']))
}

fn kind(rng: &mut fastrand::Rng) -> FailureKind {
    let limited = FailureKind::RateLimited { retry_after: Some(ms(2000)) };
    let kinds = [FailureKind::Dropped, FailureKind::Stalled, FailureKind::Garbage, FailureKind::Refused, limited];
    kinds[rng.usize(0..kinds.len())]
}

fn script(rng: &mut fastrand::Rng) -> Script {
    // Of so many replies, and of so many speeches, one fails.
    let calm = [2, 8, 100][rng.usize(0..3)];
    let reply = |rng: &mut fastrand::Rng, n| match rng.u32(0..calm * 5) {
        0 => Reply::Fails(kind(rng)),
        1 => Reply::Mute,
        2 => Reply::FailsAfter(text(rng, n), kind(rng)),
        3 => Reply::StallsAfter(text(rng, n)),
        4 => Reply::Tool(text(rng, n)),
        5 => Reply::HangUp(text(rng, n)),
        6 => Reply::Text(String::new()),
        _ => Reply::Text(text(rng, n)),
    };
    let voice = |rng: &mut fastrand::Rng| match rng.u32(0..calm * 4) {
        0 => Voice::Fails { at: rng.u16(0..3) },
        1 => Voice::Stalls { at: rng.u16(0..3) },
        2 => Voice::Late(ms(rng.u64(50..1500))),
        3 => Voice::Unfinished,
        _ => Voice::Fine,
    };
    Script {
        transcripts: None,
        replies: (0..200).map(|n| reply(rng, n)).collect(),
        voices: (0..200).map(|_| voice(rng)).collect(),
        word_times: rng.bool(),
        token_gap: ms(rng.u64(1..60)),
        first_token: ms(rng.u64(20..900)),
        first_audio: ms(rng.u64(20..300)),
        hop: ms([0, 2, 40][rng.usize(0..3)]),
        stubborn: rng.u32(0..3) == 0,
        phrases: rng.u32(0..5) > 0,
        ..Script::default()
    }
}

fn weather(rng: &mut fastrand::Rng) -> Weather {
    let bad = [0.0, 0.3, 1.0][rng.usize(0..3)];
    Weather {
        loss: 0.08 * bad * rng.f64(),
        delay: ms(rng.u64(1..80)),
        jitter: ms(rng.u64(1..60)).mul_f64(bad),
        reorder: 0.03 * bad * rng.f64(),
        duplicate: 0.03 * bad * rng.f64(),
    }
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let greeting = if rng.u32(0..4) == 0 { "" } else { "Hello, this is a greeting of some length." };
        let settings = config::Agent {
            greeting: greeting.into(),
            speculation_waste_max: [0.0, 0.3, 0.8][rng.usize(0..3)],
            call_max: Duration::from_secs(rng.u64(15..300)),
            ..config::Agent::default()
        };
        let script = script(&mut rng);
        let mut world = World::with(seed, settings);
        world.script(script);
        world.add_caller();
        world.network.kept = Some(Vec::new());
        world.silence_max = Duration::from_secs(20);
        world.lag_max = ms([0, 5, 40][rng.usize(0..3)]);
        world.network.to_agent = weather(&mut rng);
        world.network.to_caller = weather(&mut rng);
        world.callers[0].reports = (rng.u32(0..4) > 0).then_some(Instant::ZERO);
        world.callers[0].invite(world.now);
        assert!(
            world.run_until(Duration::from_secs(9), |world| world.callers[0].got("200").is_some()),
            "it is answered"
        );
        Self { world, rng, questions: 0, moves: Vec::new(), holds: Vec::new(), hung_up: false }
    }

    fn over(&mut self) -> bool {
        self.hung_up || self.world.line().ended.is_some()
    }

    fn run_for(&mut self, time: Duration) {
        self.world.run_for(time);
    }

    fn pass(&mut self, millis: std::ops::Range<u64>) {
        let time = ms(self.rng.u64(millis));
        self.run_for(time);
    }

    /// Lets the recogniser say something `after` so long.
    fn ears(&mut self, after: Duration, event: EarsEvent) {
        let at = self.world.now + after;
        self.world.line().providers.schedule(at, Event::Ears(event));
    }

    /// The caller says something, and the recogniser hears it: in time or late, rightly or not, to its end or not.
    fn speaks(&mut self) {
        self.questions += 1;
        let words: Vec<String> = (0..self.rng.u32(1..8)).map(|n| format!("q{}w{n}", self.questions)).collect();
        let said = |count: usize| words[..count.min(words.len())].join(" ");
        let mut end = ms(self.rng.u64(200..1500));
        self.world.caller().say(&caller_voice(end.as_millis() as usize));
        let first = ms(self.rng.u64(120..450));
        if self.rng.u32(0..12) > 0 {
            self.ears(first, EarsEvent::StartOfTurn { transcript: said(1) });
        }
        for at in 0..self.rng.usize(0..3) {
            let after = (first + ms(100 * at as u64)).min(end);
            self.ears(after, EarsEvent::Update { transcript: said(at + 1) });
        }
        let mut told = first;
        while self.rng.u32(0..5) < 2 {
            let eager = end + ms(self.rng.u64(40..250));
            told = told.max(eager);
            let guess = if self.rng.u32(0..4) > 0 { words.len() } else { self.rng.usize(1..=words.len()) };
            self.ears(eager, EarsEvent::EagerEndOfTurn { transcript: said(guess) });
            if self.rng.u32(0..3) == 0 {
                let more = ms(self.rng.u64(100..600));
                self.ears(eager + more / 2, EarsEvent::TurnResumed { transcript: said(words.len()) });
                self.world.caller().say(&vec![0; 8 * (eager + more / 2).saturating_sub(end).as_millis() as usize]);
                self.world.caller().say(&caller_voice(more.as_millis() as usize));
                end = eager + more;
            }
        }
        let late = if self.rng.u32(0..8) == 0 { END_TOLD_LATE } else { ms(900) };
        // A recogniser may be wrong, but tells the end last.
        let over = (end + ms(self.rng.u64(80..late.as_millis() as u64))).max(told + ms(1));
        let speech = SpeechMark { arrived: self.world.now + end, handed: self.world.now + end };
        let transcript = match self.rng.u32(0..30) {
            0 => String::new(),
            1 => said(1),
            2 => format!("{}!", said(words.len()).to_uppercase()),
            _ => said(words.len()),
        };
        if self.rng.u32(0..40) > 0 {
            self.ears(over, EarsEvent::EndOfTurn { transcript, speech });
        }
        self.run_for(over);
    }

    /// A cough, or a word that asks nothing.
    fn hums(&mut self) {
        let length = self.rng.usize(60..500);
        self.world.caller().say(&caller_voice(length));
        let words = HUMS[self.rng.usize(0..HUMS.len())].to_owned();
        let after = ms(self.rng.u64(150..500));
        match self.rng.u32(0..4) {
            0 => self.ears(after, EarsEvent::Update { transcript: words }),
            1 => {
                let speech = SpeechMark { arrived: self.world.now, handed: self.world.now };
                self.ears(after, EarsEvent::StartOfTurn { transcript: words.clone() });
                self.ears(after + ms(400), EarsEvent::EndOfTurn { transcript: words, speech });
            }
            _ => {}
        }
    }

    fn reinvites(&mut self, direction: &str) {
        let description = self.world.caller().description(direction);
        let now = self.world.now;
        self.moves.push(now);
        self.world.caller().invite_with(&description, now);
    }

    fn holds(&mut self) {
        self.holds.push(self.world.now);
        self.world.caller().holds = true;
        self.reinvites("sendonly");
        self.run_for(ms(400));
        self.world.caller().sending = false;
        self.pass(100..6000);
        if !self.over() {
            self.world.caller().holds = false;
            self.reinvites("sendrecv");
            self.run_for(ms(400));
            let now = self.world.now;
            if !self.over() && !self.world.caller().sending {
                self.world.caller().resume_sending(now);
            }
            self.holds.push(now);
        }
    }

    /// For some seconds nothing of the agent's arrives.
    fn outage(&mut self) {
        let before = std::mem::replace(&mut self.world.network.to_caller.loss, 1.0);
        self.pass(500..9000);
        self.world.network.to_caller.loss = before;
    }

    fn hangs_up(&mut self) {
        let now = self.world.now;
        self.moves.push(now);
        self.world.caller().bye(now);
        self.hung_up = true;
    }

    /// What the caller does until one of them hangs up.
    fn live(&mut self) {
        let end = self.world.now + STAY_MAX.mul_f64(0.3 + 0.7 * self.rng.f64());
        while !self.over() && self.world.now < end {
            match self.rng.u32(0..40) {
                0..22 => self.speaks(),
                22..28 => self.hums(),
                28..30 => {
                    let keys: String =
                        (0..self.rng.u32(1..5)).map(|_| char::from(b"0123456789*#"[self.rng.usize(0..12)])).collect();
                    self.world.caller().press(&keys);
                    self.moves.extend((0..20).map(|n| self.world.now + ms(n * 100)));
                }
                30 => self.holds(),
                31 | 35 => self.outage(),
                32 => self.pass(8000..20_000),
                33 => {
                    let failure = super::support::failure(kind(&mut self.rng));
                    if self.rng.u32(0..4) == 0 {
                        self.ears(ms(1), EarsEvent::Failed(failure));
                    }
                }
                // The caller falls silent, or is gone without a word.
                34 if self.rng.u32(0..4) == 0 => {
                    self.moves.push(self.world.now);
                    self.world.caller().sending = self.rng.bool();
                    self.run_for(Duration::from_secs(50));
                }
                _ => {}
            }
            if !self.over() {
                // Some let the agent finish, some do not.
                let patience = [300, 1500, 6000][self.rng.usize(0..3)];
                self.pass(0..patience);
            }
        }
        if !self.over() {
            self.hangs_up();
        }
        // Longer than any transaction lives (64 T1, RFC 3261 §17).
        self.run_for(Duration::from_secs(40));
    }

    fn sent(&self) -> Vec<Sent> {
        let kept = self.world.network.kept.as_ref().expect("it was asked for");
        let mut follower = Follower::default();
        let mut pcm = Vec::new();
        let sent = |(at, bytes): &(Instant, Vec<u8>)| {
            let packet = Packet::parse(bytes).expect("the agent sends RTP");
            pcm.resize(packet.payload.len(), 0);
            Codec::Pcmu.decode(packet.payload, &mut pcm);
            let (sequence, timestamp) = (packet.header.sequence.0, packet.header.timestamp.0);
            Sent { at: *at, sequence, timestamp, speech: follower.take(&pcm) }
        };
        kept.iter().map(sent).collect()
    }
}

/// What is known of a call once it is over.
struct Checked {
    turns: usize,
    questions: usize,
    drafts: usize,
    cuts: usize,
    denied: usize,
    stalls: usize,
    by: EndedBy,
    reason: String,
    digest: u64,
}

/// Every 20 ms a packet, with numbers that go on; not two at once.
fn check_pace(sent: &[Sent], holds: &[Instant]) {
    for pair in sent.windows(2) {
        let (one, two) = (&pair[0], &pair[1]);
        assert_eq!(two.sequence, one.sequence.wrapping_add(1));
        let samples = two.timestamp.wrapping_sub(one.timestamp);
        let gap = two.at.since(one.at);
        assert!(gap >= ms(2), "{gap:?} at {:?}", two.at);
        if holds.is_empty() {
            assert_eq!(samples, 160);
            assert!(gap <= ms(21), "{gap:?} at {:?}", two.at);
        } else {
            assert_eq!(samples % 160, 0);
            let media = Duration::from_micros(u64::from(samples) * 125);
            assert!(media.abs_diff(gap) <= ms(40), "{media:?} in {gap:?} at {:?}", two.at);
        }
    }
}

/// One turn at a time is on the wire, from its first sample to where it ends, and nothing of it once it was cancelled or cut.
fn check_speech(sent: &[Sent], orders: &[(Instant, agent::Output)], events: &[(Instant, CallEvent)]) -> Left {
    let mut over: BTreeMap<TurnId, Instant> = BTreeMap::new();
    let ended = orders.iter().filter_map(|(at, order)| match order {
        agent::Output::CancelSpeech { turn } => Some((*turn, *at)),
        _ => None,
    });
    let cut = events.iter().filter_map(|(_, event)| match event {
        CallEvent::Cut { turn, at, .. } => Some((*turn, *at)),
        _ => None,
    });
    for (turn, at) in ended.chain(cut) {
        let first = over.entry(turn).or_insert(at);
        *first = at.min(*first);
    }
    let mut left: Left = BTreeMap::new();
    let mut speaks = None;
    for packet in sent {
        for (turn, range) in &packet.speech {
            assert!(speaks.is_none_or(|before| before <= *turn), "one speaker at a time: {turn} after {speaks:?}");
            speaks = Some(*turn);
            // A cut fades out within the packet after it.
            let fade = if range.len() <= FADE { ms(21) } else { Duration::ZERO };
            let until = over.get(turn).map(|over| *over + fade);
            assert!(until.is_none_or(|until| packet.at <= until), "{turn} {range:?} leaves at {:?}", packet.at);
            let before = left.entry(*turn).or_default();
            // Nothing comes twice, and nothing is left out.
            match before.last() {
                Some((_, end)) => assert_eq!(range.start, *end, "{turn} at {:?}", packet.at),
                None => assert!(range.start <= FADED, "{turn} begins at {range:?}"),
            }
            before.push((packet.at, range.end));
        }
    }
    left
}

/// Of a draft nothing is heard, remembered or done before its gate opens, and of one that was thrown away nothing at all.
fn check_drafts(life: &mut Life, left: &Left) -> usize {
    let line = life.world.line();
    let mut fates: BTreeMap<TurnId, Option<Instant>> = BTreeMap::new();
    for (at, turn, news) in &line.drafts {
        match news {
            DraftNews::Begun | DraftNews::BegunEarly => assert_eq!(fates.insert(*turn, None), None),
            DraftNews::Opened => assert_eq!(fates.insert(*turn, Some(*at)), Some(None)),
            DraftNews::ThrownAway { .. } => assert_eq!(fates.get(turn), Some(&None)),
        }
    }
    for (turn, opened) in &fates {
        let first = left.get(turn).map(|left| left[0].0);
        assert!(first.is_none_or(|first| opened.is_some_and(|opened| opened <= first)), "{turn} is heard at {first:?}");
        assert_eq!(line.turns.contains_key(turn), opened.is_some(), "{turn}");
    }
    fates.len()
}

/// What the agent remembers is what left, to the word; and where it was told that less arrived, it is what the caller's ear had.
fn check_history(life: &mut Life, left: &Left) {
    let heard = heard(life);
    let line = life.world.line();
    let arrived: BTreeSet<TurnId> = line
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            CallEvent::Arrived { turn, .. } => Some(*turn),
            _ => None,
        })
        .collect();
    let mut spoken: BTreeMap<TurnId, String> = BTreeMap::new();
    // Where each word of a reply stands, and so when it had left.
    let mut places: BTreeMap<String, (TurnId, usize)> = BTreeMap::new();
    for (at, order) in &line.orders {
        match order {
            agent::Output::Speak { turn, text, .. } => {
                let spoken = spoken.entry(*turn).or_default();
                for word in text.split_inclusive(' ') {
                    if word.starts_with('r') {
                        places.insert(word.trim().to_owned(), (*turn, spoken.len() + word.trim_end().len()));
                    }
                    spoken.push_str(word);
                }
            }
            agent::Output::Ask { turn, messages, .. } => {
                assert!(messages.len() <= 50, "{}", messages.len());
                let said = messages.iter().filter_map(|message| match message {
                    Message::Agent(text) => Some(text),
                    _ => None,
                });
                for word in said.flat_map(|text| text.split_whitespace()).map(|word| word.trim_end_matches('…')) {
                    // Before a tool's result stands what was said before it was called.
                    let Some((of, end)) = places.get(word).filter(|(of, _)| of != turn) else { continue };
                    let by_then = |left: &&(Instant, usize)| left.0 <= *at;
                    let left = left.get(of).and_then(|left| left.iter().rfind(by_then)).map_or(0, |left| left.1);
                    assert!(end * SAMPLES_PER_BYTE <= left, "{word} was not heard when {turn} was asked for");
                }
            }
            _ => {}
        }
    }
    for (turn, record) in &line.turns {
        let left = left.get(turn).and_then(|left| left.last()).map_or(0, |left| left.1);
        assert!(record.agent.len() * SAMPLES_PER_BYTE <= left, "{record:?}, and {left} samples left");
        let words = record.agent.split_whitespace().count() as u32;
        assert!((record.heard.min..=record.heard.max).contains(&words), "{record:?}");
        let Some(text) = spoken.get(turn) else { continue };
        assert!(text.starts_with(&record.agent), "{record:?} of {text:?}");
        let ear = heard.get(turn).copied().unwrap_or(0);
        let whole = |samples: usize| {
            text.split_inclusive(' ')
                .scan(0, |end, word| {
                    *end += word.len();
                    Some(*end * SAMPLES_PER_BYTE <= samples)
                })
                .take_while(|whole| *whole)
                .count() as u32
        };
        // A clause without word times is cut in proportion, and rounded.
        assert!(words + 1 >= whole(ear), "{record:?}, and the ear had {ear} samples of {text:?}");
        if !arrived.contains(turn) && !text.is_empty() {
            assert!(words + 1 >= whole(left), "{record:?}, and {left} samples of {text:?} left");
        }
    }
}

/// How far each turn came at the caller's ear.
fn heard(life: &mut Life) -> BTreeMap<TurnId, usize> {
    let mut heard = BTreeMap::new();
    for mark in life.world.caller().heard.iter().flat_map(|packet| marks(&packet.pcm)) {
        let end = heard.entry(mark.turn).or_insert(0);
        *end = mark.end.max(*end);
    }
    heard
}

/// Each question is answered or apologised for, or superseded by what the caller did next, or the call ends. What the agent takes
/// for no question is none: a hum while it has something to say, and never more than that.
fn check_answers(life: &mut Life) -> usize {
    let moves = life.moves.clone();
    let line = life.world.line();
    let ended = line.ended.as_ref().expect("it is over").0;
    let mut questions = 0;
    for (n, (at, event)) in line.ears.iter().enumerate() {
        let EarsEvent::EndOfTurn { transcript, .. } = event else { continue };
        if transcript.is_empty() || *at >= ended {
            continue;
        }
        let aside = |(when, order): &(Instant, agent::Output)| match order {
            agent::Output::Aside { text, .. } => when == at && text == transcript,
            _ => false,
        };
        if line.orders.iter().any(aside) {
            assert!(HUMS.contains(&transcript.as_str()), "{transcript:?} of {at:?} is a question");
            continue;
        }
        questions += 1;
        let by = *at + ANSWER_MAX;
        // The end may be told of what was answered by its words already.
        let words = transcript.to_lowercase();
        let asked = |(when, order): &(Instant, agent::Output)| match order {
            agent::Output::Turn(record) => {
                when <= at && record.caller.to_lowercase().contains(words.trim_end_matches('!'))
            }
            _ => false,
        };
        let since = line.orders.iter().find(|order| asked(order)).map_or(*at, |(when, _)| *when);
        let spoke = line
            .events
            .iter()
            .any(|(when, event)| matches!(event, CallEvent::FirstPacket { .. }) && *when >= since && *when <= by);
        let superseded = line.ears[n + 1..].iter().any(|(when, _)| *when <= by)
            || moves.iter().any(|when| when >= at && *when <= by);
        assert!(spoke || superseded || ended <= by, "{transcript:?} of {at:?} is not answered");
    }
    questions
}

/// Turns are numbered as people count them, and no word of the caller's is answered twice.
fn check_turns(life: &mut Life) {
    let line = life.world.line();
    let numbers: Vec<u32> = line.turns.keys().map(|turn| turn.number()).collect();
    let first = numbers.first().copied().unwrap_or(0);
    assert!(first <= 1 && numbers.iter().copied().eq(first..first + numbers.len() as u32), "{numbers:?}");
    let mut asked: BTreeMap<String, TurnId> = BTreeMap::new();
    for record in line.turns.values() {
        for word in record.caller.split_whitespace().map(|word| word.trim_end_matches('!').to_lowercase()) {
            if word.starts_with('q') {
                let before = asked.insert(word, record.turn);
                assert!(before.is_none_or(|before| before == record.turn), "{record:?} and {before:?}");
            }
        }
    }
}

fn check(seed: u64) -> Checked {
    let mut life = Life::new(seed);
    life.live();
    let digest = life.world.network.digest;
    let (holds, by_caller) = (life.holds.clone(), life.hung_up);
    let sent = life.sent();
    let line = life.world.line();
    let (orders, events) = (line.orders.clone(), line.events.clone());
    let (ended, by, reason) = line.ended.clone().expect("every call ends");
    assert!(!reason.is_empty());
    let hang_ups = orders.iter().filter(|(_, order)| matches!(order, agent::Output::HangUp { .. })).count();
    assert!(hang_ups <= 1, "one reason");
    assert!(life.world.callers[0].all_got("BYE").len() <= 1, "one BYE");
    assert!(by_caller || life.world.callers[0].all_got("BYE").len() == 1, "a BYE");
    let ends = life.world.sip_events.iter().filter(|(_, event)| matches!(event, sip::Event::Ended { .. })).count();
    assert_eq!(ends, 1, "it ends once");
    assert_eq!((life.world.ua.live_calls(), life.world.ua.transactions()), (0, (0, 0)), "nothing is left of it");
    assert!(sent.last().is_none_or(|last| last.at <= ended), "nothing is sent after the end");
    check_pace(&sent, &holds);
    let left = check_speech(&sent, &orders, &events);
    let drafts = check_drafts(&mut life, &left);
    check_turns(&mut life);
    check_history(&mut life, &left);
    let questions = check_answers(&mut life);
    let count = |of: fn(&CallEvent) -> bool| events.iter().filter(|(_, event)| of(event)).count();
    Checked {
        turns: left.len(),
        questions,
        drafts,
        cuts: count(|event| matches!(event, CallEvent::Cut { .. })),
        denied: count(|event| matches!(event, CallEvent::Arrived { .. })),
        stalls: count(|event| matches!(event, CallEvent::Stalled { .. })),
        by,
        reason,
        digest,
    }
}

/// Returns what is known of the call, or nothing where it breaks a promise.
fn tried(seed: u64) -> Option<Checked> {
    std::panic::catch_unwind(|| check(seed)).ok()
}

fn calls() -> Vec<u64> {
    if std::env::var("SIM_SEED").is_ok() {
        return super::support::seeds(1);
    }
    let calls = std::env::var("SIM_CALLS").ok().map_or(CALLS, |calls| calls.parse().expect("SIM_CALLS is a number"));
    (1..=calls).collect()
}

#[test]
fn whole_conversations_hold_what_they_promise() {
    let seeds = calls();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checked: Vec<(u64, Option<Checked>)> = std::thread::scope(|scope| {
        let shares: Vec<Vec<u64>> =
            (0..threads).map(|n| seeds.iter().copied().skip(n).step_by(threads).collect()).collect();
        let threads: Vec<_> = shares
            .into_iter()
            .map(|share| scope.spawn(move || share.into_iter().map(|seed| (seed, tried(seed))).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("what panics is caught")).collect()
    });
    let broken: Vec<u64> = checked.iter().filter(|(_, call)| call.is_none()).map(|(seed, _)| *seed).collect();
    assert!(broken.is_empty(), "calls that break their promises: {broken:?}");
    let checked: Vec<Checked> = checked.into_iter().filter_map(|(_, call)| call).collect();
    let sum = |of: fn(&Checked) -> usize| checked.iter().map(of).sum::<usize>();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for Checked { by, reason, .. } in &checked {
        *reasons.entry(format!("{by:?}: {reason}")).or_default() += 1;
    }
    let (turns, questions, drafts) = (sum(|call| call.turns), sum(|call| call.questions), sum(|call| call.drafts));
    let (cuts, denied, stalls) = (sum(|call| call.cuts), sum(|call| call.denied), sum(|call| call.stalls));
    let calls = checked.len();
    println!(
        "{calls} calls: {questions} questions, {turns} turns spoken, {drafts} drafts, {cuts} cuts, {denied} not arrived, {stalls} stalls"
    );
    println!("{reasons:#?}");
    if calls >= CALLS as usize {
        // Conversations in which nothing happens would prove nothing.
        assert!(turns > calls * 3 && cuts > calls && drafts > calls / 2 && denied > 0 && reasons.len() > 3);
    }
}

#[test]
fn a_seed_replays_to_the_byte() {
    for seed in [3, 4] {
        assert_eq!(check(seed).digest, check(seed).digest);
    }
    assert_ne!(check(3).digest, check(4).digest);
}
