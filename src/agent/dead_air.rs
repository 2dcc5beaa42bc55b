//! Dead air: when the agent owes a word and nothing is heard of it, kept words bridge the wait, and in the end an apology.
//!
//! ```text
//! the caller's last sound ─ 1.4 s ─▶ filler ─ 1.4 s ─▶ another one ─ 1.4 s ─▶ apology: whoever is due has failed
//!                            └─ the reply's first packet, at any time: nothing more is said in between
//! ```
//!
//! Silence is what the caller hears: it is judged by the packets that were sent and received, not by what the agent
//! believes it is doing. A voice that stops in the middle of a reply is as silent as one that never began.

use super::reply::Then;
use super::{Agent, EarsEvent, Output, Phrase, Stage, Timer};
use crate::config;
use crate::ids::TurnId;
use crate::time::Instant;
use std::time::Duration;

/// How long a reply may always take, counted from its question, even if the end of the turn came late: a quick model
/// and voice take 400 ms, and a filler in front of their reply would only delay it.
const GRACE: Duration = Duration::from_millis(500);
/// The most silence that the caller may hear where the end of the turn came late. A filler that is ordered leaves
/// within 40 ms, so that nobody waits for 2 s.
const SILENCE_MAX: Duration = Duration::from_millis(1850);
/// How long the recogniser may take to say anything about a caller whose voice has stopped. Recognisers on this machine let a
/// sentence that seems unfinished wait for 1.2 s, and need a moment; Flux tells words four times a second.
const EARS_MAX: Duration = Duration::from_millis(1800);
/// A recogniser that said something of the open turn this recently is at work on it: twice Flux's interval of 0.25 s.
const EARS_BEAT: Duration = Duration::from_millis(500);
/// The local detector's hang-over: it reports the end of a voice this much late.
const HANGOVER: Duration = Duration::from_millis(200);
/// Fillers in one wait. Whoever has heard two of them is told what is wrong.
const FILLERS_MAX: u32 = 2;
/// How recently a voice may have stopped for its words to count as missed, when a recogniser that has said nothing
/// about them turns out to be away: a lost connection is noticed within two seconds.
const UNTOLD_MAX: Duration = Duration::from_secs(3);
/// Times in a row that a caller is asked to say it again because nothing was recognised; then the agent gives up.
const UNHEARD_MAX: u32 = 2;

/// Who is silent, since when, and who should not be.
#[derive(Debug)]
pub(super) struct DeadAir {
    /// Silence after which it is bridged.
    after: Duration,
    /// How many fillers there are.
    fillers: u8,
    /// The one that is said next; over the whole call, so that they do not repeat.
    next: u8,
    /// The turn that has the floor, or had it last and was not cancelled: kept words can be heard as a part of it.
    pub granted: Option<TurnId>,
    /// Whether packets with agent speech leave.
    agent_speaks: bool,
    /// Whether the local detector hears the caller.
    caller_speaks: bool,
    /// When either of them was heard last.
    quiet_since: Instant,
    /// Whether the detector has heard the caller's voice stop, and the recogniser has not ended a turn since.
    voice_stopped: bool,
    /// When the recogniser said something last.
    ears_at: Instant,
    /// Whether the recogniser is away: it has lost its connection and is making another.
    ears_away: bool,
    /// Whether the caller's voice was heard while the recogniser was away, and it has said nothing since.
    voice_untold: bool,
    /// The turn that is waited for, and since when.
    owed: Option<(TurnId, Instant)>,
    /// Fillers said in this wait.
    said: u32,
    /// When something was last done about it.
    acted_at: Instant,
    /// Times in a row that nothing was recognised of what the caller said.
    unheard: u32,
}

impl DeadAir {
    pub fn new(settings: &config::Agent) -> Self {
        Self {
            after: settings.filler_after,
            fillers: settings.fillers.len().try_into().unwrap_or(u8::MAX),
            next: 0,
            granted: None,
            agent_speaks: false,
            caller_speaks: false,
            quiet_since: Instant::ZERO,
            voice_stopped: false,
            ears_at: Instant::ZERO,
            ears_away: false,
            voice_untold: false,
            owed: None,
            said: 0,
            acted_at: Instant::ZERO,
            unheard: 0,
        }
    }

    /// Whether packets with agent speech leave.
    pub fn agent_speaks(&self) -> bool {
        self.agent_speaks
    }

    /// Packets with agent speech leave from `now` on, or do not any more.
    pub fn agent_speech(&mut self, speaking: bool, now: Instant) {
        self.agent_speaks = speaking;
        self.quiet_since = now;
    }

    /// The local detector hears the caller from `now` on, or does not any more.
    pub fn caller_speech(&mut self, speaking: bool, now: Instant) {
        if speaking != self.caller_speaks {
            self.caller_speaks = speaking;
            let sound = if speaking { now } else { now - HANGOVER };
            self.quiet_since = self.quiet_since.max(sound);
            self.voice_stopped = !speaking;
            self.voice_untold |= self.ears_away;
        }
    }

    /// The recogniser has ended the caller's turn, whose last sound arrived at `arrived`. What the detector still hears is noise.
    pub fn turn_ended(&mut self, arrived: Instant) {
        if std::mem::take(&mut self.caller_speaks) {
            self.quiet_since = self.quiet_since.max(arrived);
        }
        self.voice_stopped = false;
        self.unheard = 0;
    }

    /// The caller did something that is not heard: a key, or the end of a hold.
    pub fn stirred(&mut self, now: Instant) {
        self.quiet_since = self.quiet_since.max(now);
    }

    /// The recogniser says something, if only that it is away.
    pub fn ears(&mut self, event: &EarsEvent, now: Instant) {
        match event {
            EarsEvent::Reconnecting(_) => {
                self.ears_away = true;
                let spoken = self.voice_stopped && now.since(self.quiet_since) < UNTOLD_MAX;
                self.voice_untold |= self.caller_speaks || spoken;
            }
            EarsEvent::Connected => self.ears_away = false,
            // The event that it belongs to follows.
            EarsEvent::Confidence(_) => {}
            _ => {
                self.ears_at = now;
                (self.ears_away, self.voice_untold) = (false, false);
            }
        }
    }

    /// The reply itself is heard: what comes after is another wait.
    pub fn reply_heard(&mut self) {
        self.said = 0;
    }

    /// Says which turn the caller waits for.
    fn owe(&mut self, turn: Option<TurnId>, now: Instant) {
        if self.owed.map(|(turn, _)| turn) != turn {
            self.said = 0;
            self.owed = turn.map(|turn| (turn, now));
        }
    }

    /// Returns when the wait is to be bridged, or ended.
    fn due(&self) -> Option<Instant> {
        let (_, since) = self.owed?;
        if self.fillers == 0 || self.agent_speaks || self.caller_speaks {
            return None;
        }
        let due = self.quiet_since + self.after;
        let latest = self.quiet_since + SILENCE_MAX.max(self.after);
        Some(match since + GRACE {
            // A filler that was ordered is as good as heard; where it is not, that is noticed by itself.
            _ if self.said > 0 => due.max(self.acted_at + GRACE),
            // The turn ended so late because the recogniser waited for the caller to go on: no provider has failed so
            // far.
            soon if since > latest => soon,
            soon => due.max(soon.min(latest)),
        })
    }

    /// Returns when the recogniser has said nothing for too long about a caller whose voice has stopped.
    fn ears_due(&self) -> Option<Instant> {
        let silent = self.voice_stopped && self.fillers > 0 && !self.agent_speaks;
        silent.then(|| (self.quiet_since + EARS_MAX).max(self.ears_at + EARS_BEAT))
    }

    /// Returns the next filler, if another one may be said; `more`: as many as it takes.
    fn filler(&mut self, more: bool) -> Option<Phrase> {
        let most = FILLERS_MAX.min(u32::from(self.fillers));
        if self.fillers == 0 || (self.said >= most && !more) {
            return None;
        }
        let filler = Phrase::Filler(self.next);
        self.next = (self.next + 1) % self.fillers;
        Some(filler)
    }
}

impl Agent {
    /// Looks again at what the caller waits for: after every input, so that no path to silence is forgotten.
    pub(super) fn watch_dead_air(&mut self, now: Instant) {
        if self.stage != Stage::Talking {
            return;
        }
        // A draft is nobody's business, and a kept phrase needs nobody.
        let reply = self.reply.as_ref().filter(|reply| reply.gate.is_none() && !reply.turn.kept);
        let works = self.reply.is_none() && self.work.is_pending() && !self.caller.has_turn();
        let owed = reply.map(|reply| reply.turn.id).or(self.dead_air.granted.filter(|_| works));
        self.dead_air.owe(owed, now);
        let due = match self.dead_air.owed {
            _ if self.held => None,
            Some(_) => self.dead_air.due(),
            None if self.caller.is_in_turn() => self.dead_air.ears_due(),
            None if self.dead_air.voice_untold && self.reply.is_none() && !self.caller.has_turn() => {
                self.dead_air.ears_due()
            }
            None => None,
        };
        match due {
            Some(at) => self.timers.set(Timer::DeadAir, at),
            None => self.timers.clear(Timer::DeadAir),
        }
    }

    /// The caller has heard nothing for too long.
    pub(super) fn bridge(&mut self, now: Instant) {
        if self.dead_air.owed.is_none() {
            self.dead_air.voice_stopped = false;
            if self.caller.is_in_turn() {
                // The words so far have stood long enough to be answered: that is better than asking for them again.
                return self.turn_stuck(now);
            }
            // What the caller said waits for the recogniser to come back, as does the caller.
            self.begin(None, now);
            if let Some(reply) = self.reply.as_mut() {
                reply.unheard = true;
            }
            self.dead_air.owe(self.dead_air.granted, now);
        }
        self.dead_air.acted_at = now;
        let unheard = self.reply.as_ref().is_some_and(|reply| reply.unheard);
        match self.dead_air.filler(self.work.is_pending()) {
            Some(filler) => self.fill(filler),
            None if unheard => self.ask_again(now),
            None => self.reply_stalled(now),
        }
    }

    /// Says kept words while the reply is waited for, or the tools that it needs. They are no part of it.
    fn fill(&mut self, filler: Phrase) {
        let Some(turn) = self.dead_air.granted else { return };
        if let Some(reply) = self.reply.as_mut() {
            reply.turn.filler = true;
        }
        self.dead_air.said += 1;
        self.outputs.push_back(Output::Fill { turn, phrase: filler });
    }

    /// Nothing was recognised of what the caller has said: it is asked for again, but not for ever.
    fn ask_again(&mut self, now: Instant) {
        self.dead_air.voice_stopped = false;
        self.timers.clear(Timer::CallerTurn);
        self.dead_air.voice_untold = false;
        self.dead_air.unheard += 1;
        if self.dead_air.unheard >= UNHEARD_MAX {
            let reason = "the recogniser failed: it says nothing".into();
            self.say(Phrase::FarewellOnFailure, Then::HangUp { reason, even_if_cut: true }, now);
        } else {
            self.say(Phrase::NotHeard, Then::Listen, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::*;
    use super::*;
    use crate::agent::{FailureKind, Input, MindEvent, SpeechMark, VoiceEvent};

    /// A call with three fillers, in which the caller has spoken up to 5.0 s.
    fn spoken() -> Scene {
        let mut scene = Scene::with(|settings| {
            settings.greeting.clear();
            settings.speculation = false;
            settings.not_heard = "I did not hear you.".into();
            settings.fillers = ["One moment.", "Let me think.", "Just a second."].map(String::from).to_vec();
        });
        scene.all_ready();
        scene.tell(Input::PhraseReady(Phrase::NotHeard));
        scene.tell(Input::Answered);
        scene.pass(4000);
        scene.tell(Input::CallerSpeech { speaking: true });
        scene.start("Hi");
        scene.pass(1000);
        scene
    }

    /// The same; the end of the turn came `millis` after that.
    fn waiting(millis: u64) -> Scene {
        let mut scene = spoken();
        let arrived = scene.now;
        if millis > 200 {
            scene.pass(200);
            scene.tell(Input::CallerSpeech { speaking: false });
        }
        scene.pass(millis - if millis > 200 { 200 } else { 0 });
        let speech = SpeechMark { arrived, handed: arrived };
        scene.tell(Input::Ears(EarsEvent::EndOfTurn { transcript: "Hi?".into(), speech }));
        scene
    }

    fn fill(turn: u32, filler: u8) -> Output {
        Output::Fill { turn: TurnId(turn), phrase: Phrase::Filler(filler) }
    }

    /// Packets of `millis` of speech leave.
    fn heard(scene: &mut Scene, millis: u64) {
        scene.tell(Input::AgentSpeech { speaking: true });
        assert_eq!(scene.pass(millis), [], "somebody speaks");
        scene.tell(Input::AgentSpeech { speaking: false });
    }

    #[test]
    fn a_usual_reply_is_never_bridged() {
        for end in [200, 300, 600, 900] {
            let mut scene = waiting(end);
            assert_eq!(scene.pass(390), [], "end of turn after {end} ms");
            scene.token(1, "We open at nine.");
            scene.mind(1, MindEvent::Done);
            scene.tell(Input::AgentSpeech { speaking: true });
            scene.on_air(1);
            assert_eq!(scene.pass(3000), []);
        }
    }

    #[test]
    fn a_wait_is_bridged_before_two_seconds_twice_and_then_apologised_for() {
        let mut scene = waiting(200);
        assert_eq!(scene.pass(1199), []);
        assert_eq!(scene.pass(1), [fill(1, 0)]);
        scene.pass(20);
        heard(&mut scene, 800);
        assert_eq!(scene.pass(1399), []);
        assert_eq!(scene.pass(1), [fill(1, 1)], "another one");
        scene.pass(20);
        heard(&mut scene, 800);
        assert_eq!(scene.pass(1400), [cancel_ask(1), play(1, Phrase::Apology)]);
        scene.tell(Input::AgentSpeech { speaking: true });
        scene.on_air(1);
        scene.tell(Input::AgentSpeech { speaking: false });
        let told = Output::Turn(super::super::TurnRecord {
            turn: TurnId(1),
            caller: "Hi?".into(),
            agent: "Sorry, say it again.".into(),
            filler: true,
            ..super::super::TurnRecord::default()
        });
        assert_eq!(scene.played(1, 900), [told]);
    }

    #[test]
    fn fillers_do_not_repeat_over_turns_and_are_no_part_of_what_was_said() {
        let mut scene = waiting(200);
        scene.pass(1200);
        heard(&mut scene, 800);
        scene.token(1, "We open at nine.");
        scene.mind(1, MindEvent::Done);
        scene.voice(1, VoiceEvent::Done { length: ms(2000) });
        scene.tell(Input::AgentSpeech { speaking: true });
        scene.on_air(1);
        scene.pass(2000);
        scene.tell(Input::AgentSpeech { speaking: false });
        scene.played(1, 2000);
        let history = scene.history(2);
        assert_eq!(history, [system(), caller("Hi?"), agent("We open at nine."), caller("What?")]);
        assert_eq!(scene.pass(1400), [fill(2, 1)]);
        scene.mind(2, MindEvent::Failed(failure(FailureKind::Dropped)));
        scene.played(2, 900);
        scene.pass(2000);
        scene.end("What?");
        assert_eq!(scene.pass(500), [fill(3, 2)]);
    }

    #[test]
    fn a_late_end_of_turn_leaves_the_reply_a_moment_before_it_is_bridged() {
        let mut scene = waiting(1300);
        assert_eq!(scene.pass(499), []);
        assert_eq!(scene.pass(1), [fill(1, 0)], "1.8 s after the caller's last sound");
        let mut scene = waiting(1500);
        assert_eq!(scene.pass(349), []);
        assert_eq!(scene.pass(1), [fill(1, 0)], "1.85 s");
        let mut scene = waiting(1700);
        assert_eq!(scene.pass(150), [fill(1, 0)], "1.85 s");
    }

    #[test]
    fn a_voice_that_stops_in_the_middle_is_bridged_and_goes_on() {
        let mut scene = waiting(200);
        scene.token(1, "We open at nine. And we");
        scene.tell(Input::AgentSpeech { speaking: true });
        scene.on_air(1);
        scene.pass(1500);
        scene.tell(Input::AgentSpeech { speaking: false });
        assert_eq!(scene.pass(1399), []);
        assert_eq!(scene.pass(1), [fill(1, 0)]);
        heard(&mut scene, 800);
        scene.tell(Input::AgentSpeech { speaking: true });
        assert_eq!(scene.pass(1000), [], "it goes on");
        scene.tell(Input::AgentSpeech { speaking: false });
        assert_eq!(scene.pass(1400), [fill(1, 1)], "and stops again");
        heard(&mut scene, 800);
        assert_eq!(scene.pass(1400), [cancel_ask(1), speak(1, 1, "Sorry, say it again. ", true)]);
        assert_eq!(scene.pass(499), []);
        assert_eq!(scene.pass(1).last(), Some(&play(2, Phrase::Apology)), "the voice does not say that either");
    }

    #[test]
    fn a_caller_who_speaks_is_not_spoken_into() {
        let mut scene = waiting(200);
        scene.pass(1000);
        scene.tell(Input::CallerSpeech { speaking: true });
        assert_eq!(scene.pass(3000), []);
        scene.tell(Input::CallerSpeech { speaking: false });
        assert_eq!(scene.pass(1199), []);
        assert_eq!(scene.pass(1), [fill(1, 0)], "counted from his last sound, not from when the detector was sure");
    }

    #[test]
    fn noise_that_goes_on_when_the_turn_has_ended_keeps_nobody_waiting() {
        let mut scene = spoken();
        let arrived = scene.now;
        scene.pass(300);
        scene.tell(Input::Ears(EarsEvent::EndOfTurn {
            transcript: "Hi?".into(),
            speech: SpeechMark { arrived, handed: arrived },
        }));
        assert_eq!(scene.pass(1100), [fill(1, 0)]);
    }

    #[test]
    fn a_turn_that_the_recogniser_forgets_is_answered_by_its_words() {
        let mut scene = spoken();
        scene.pass(200);
        scene.tell(Input::CallerSpeech { speaking: false });
        assert_eq!(but_for_the_order_to_end_it(scene.pass(1599)), []);
        let outputs = scene.pass(1);
        assert_eq!(asked(&outputs), Some(vec![system(), caller("Hi")]));
        assert_eq!(scene.pass(50), [fill(1, 0)]);
    }

    #[test]
    fn a_recogniser_that_is_away_is_bridged_and_then_the_caller_is_asked_again() {
        let away = || Input::Ears(EarsEvent::Reconnecting(failure(FailureKind::Dropped)));
        let mut scene = spoken();
        scene.end("");
        scene.tell(away());
        assert_eq!(scene.pass(5000), [], "nobody has said anything");
        for turn in [1, 2] {
            scene.tell(Input::CallerSpeech { speaking: true });
            scene.pass(1000);
            scene.tell(Input::CallerSpeech { speaking: false });
            assert_eq!(scene.pass(1599), []);
            let outputs = scene.pass(1);
            assert_eq!(outputs[0], floor(turn));
            assert!(matches!(outputs.last(), Some(Output::Fill { .. })));
            heard(&mut scene, 800);
            assert!(matches!(scene.pass(1400)[..], [Output::Fill { .. }]));
            heard(&mut scene, 800);
            let phrase = if turn == 1 { Phrase::NotHeard } else { Phrase::FarewellOnFailure };
            assert_eq!(scene.pass(1400), [play(turn, phrase)]);
            scene.on_air(turn);
            let outputs = scene.played(turn, 900);
            let ended = outputs.contains(&hang_up("the recogniser failed: it says nothing"));
            assert_eq!(ended, turn == 2, "not for ever");
        }
    }

    #[test]
    fn a_recogniser_that_still_tells_words_is_waited_for() {
        let mut scene = spoken();
        scene.tell(Input::CallerSpeech { speaking: false });
        for _ in 0..7 {
            assert_eq!(but_for_the_order_to_end_it(scene.pass(250)), []);
            scene.tell(Input::Ears(EarsEvent::Update { transcript: "My number is".into() }));
        }
    }

    #[test]
    fn words_that_come_late_take_the_place_of_the_filler() {
        let mut scene = spoken();
        scene.end("");
        scene.tell(Input::Ears(EarsEvent::Reconnecting(failure(FailureKind::Dropped))));
        scene.tell(Input::CallerSpeech { speaking: true });
        scene.pass(1000);
        scene.tell(Input::CallerSpeech { speaking: false });
        scene.pass(1600);
        let outputs = scene.end("Hi?");
        assert_eq!(outputs[..2], [cancel_speech(1), Output::Turn(filled(1))]);
        assert_eq!(asked(&outputs), Some(vec![system(), caller("Hi?")]));
    }

    /// The agent may ask a recogniser that lags to end the turn; this one has stalled.
    fn but_for_the_order_to_end_it(mut outputs: Vec<Output>) -> Vec<Output> {
        outputs.retain(|output| *output != Output::ForceEndTurn);
        outputs
    }

    fn filled(turn: u32) -> super::super::TurnRecord {
        super::super::TurnRecord { turn: TurnId(turn), interrupted: true, filler: true, ..Default::default() }
    }

    #[test]
    fn a_caller_who_holds_hears_no_filler() {
        let mut scene = waiting(200);
        scene.tell(Input::Held(true));
        assert_eq!(scene.pass(5000), []);
        scene.tell(Input::Held(false));
        assert_eq!(scene.pass(1399), []);
        assert_eq!(scene.pass(1), [fill(1, 0)]);
    }

    #[test]
    fn without_fillers_a_wait_is_as_long_as_it_is() {
        let mut scene = Scene::asked();
        assert_eq!(scene.pass(7999), []);
    }

    #[test]
    fn nothing_is_bridged_where_nobody_waits() {
        let mut scene = spoken();
        scene.tell(Input::CallerSpeech { speaking: false });
        scene.end("");
        assert_eq!(scene.pass(10_000), [], "a turn without words is no question");
    }
}
