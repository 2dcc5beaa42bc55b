//! Does the caller take the floor: the only emitter of `Output::CutPlayout`.

use super::{Input, Output};
use crate::ids::TurnId;
use crate::time::{Deadline, Instant};
use std::time::Duration;

/// How long the floor waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long after the caller's voice has stopped words may still come before the agent goes on.
    pub confirm: Duration,
    /// How long a voice that yields no words keeps the agent silent.
    pub pause_max: Duration,
    /// Pauses in a row without a word after which the detector alone is not believed any more.
    pub false_pauses_max: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // A recogniser gives its first words up to 500 ms after they were said (Flux: an update each 250 ms; a
            // model on this machine decodes at most twice a second); 200 ms more absorb its queue and the network.
            confirm: Duration::from_millis(700),
            // LiveKit gives a false interruption 2.0 s (`resume_false_interruption`); speech that long has words.
            pause_max: Duration::from_secs(2),
            // A cough or two happens; three in a row are a loudspeaker's echo or a noisy street.
            false_pauses_max: 3,
        }
    }
}

/// What the floor waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Words of a caller whose voice made the agent pause.
    Confirm,
}

/// The reply that has the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reply {
    turn: TurnId,
    /// Whether any of it was played.
    playing: bool,
    /// Whether the caller cannot take the floor from it.
    firm: bool,
}

/// What the local detector has heard since the floor was granted. A voice that was already there then is mostly the end of
/// the turn which the agent answers; where it is not, it is told after the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voice {
    /// Nothing.
    Quiet,
    /// A voice, since `onset`.
    Speaking { onset: Instant },
    /// A voice from `onset` that stopped at `end`; its words may still come.
    Stopped { onset: Instant, end: Instant },
}

/// Who holds the floor, caller or agent.
///
/// The agent's reply holds it from `Granted` until it is played, withdrawn or cut. The detector hears a caller first but
/// cannot tell a word from a cough, so its onset only pauses the reply; the recogniser's words cut it. Without words, or with a
/// listener's, the reply goes on from the sample where it stopped. Every source of an interruption comes here and nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    settings: Settings,
    reply: Option<Reply>,
    voice: Voice,
    paused: bool,
    /// Whether a voice is heard that the echo explains.
    masked: bool,
    /// Whether words came out of it, of which it was not sure yet whose they are.
    doubted: bool,
    /// Whether the caller has a turn that was a listener's so far: what it grows into is no repetition.
    listening: bool,
    /// Pauses of a playing reply, in a row, that no word followed.
    false_pauses: u8,
    /// At most one thing to be done follows from an input, and where nobody asked in between, only the last one counts:
    /// a pause resumed is no pause, a cut ends a pause, and a grant drops whatever was queued before it.
    output: Option<Output>,
}

impl Floor {
    /// Makes a floor that nobody holds.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self {
            settings,
            reply: None,
            voice: Voice::Quiet,
            paused: false,
            masked: false,
            doubted: false,
            listening: false,
            false_pauses: 0,
            output: None,
        }
    }

    /// Takes one input. Afterwards drain [`Self::poll_output`] to `None` before the next input.
    ///
    /// # Real-time
    /// Constant time, no heap.
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        match (input, self.reply) {
            (Input::Masked { masked }, _) => self.masked = masked,
            (Input::Granted { turn }, _) => self.grant(turn, false),
            (Input::GrantedFirmly { turn }, _) => self.grant(turn, true),
            // Only a floor that the agent holds can be taken from it.
            (_, None) => {}
            (Input::Playing { turn }, Some(reply)) => {
                if turn == reply.turn {
                    self.reply = Some(Reply { playing: true, ..reply });
                }
            }
            (Input::Played { turn } | Input::Withdrawn { turn }, Some(reply)) => {
                if turn == reply.turn {
                    self.release();
                }
            }
            (_, Some(Reply { firm: true, .. })) => {}
            (Input::CallerSpeech { speaking: true }, Some(_)) => self.onset(now),
            (Input::CallerSpeech { speaking: false }, Some(_)) => {
                if let Voice::Speaking { onset } = self.voice {
                    self.voice = Voice::Stopped { onset, end: now };
                }
            }
            // The first words that come out of an echo may be the agent's, misheard; the next ones tell.
            (Input::StartOfTurn | Input::Words, Some(_)) if self.is_doubtful() => self.doubted = true,
            // Each has words in it, of a turn later than the one that is answered: that one ended before the grant.
            (Input::StartOfTurn | Input::EndOfTurn | Input::Hard, Some(reply)) => self.cut(reply.turn),
            // A recogniser repeats the words of an ended turn, or has some without a start; a voice makes them current.
            (Input::Words, Some(reply)) => {
                if self.voice != Voice::Quiet || self.masked || self.listening {
                    self.cut(reply.turn);
                }
            }
            (Input::Backchannel { whole }, Some(_)) => self.listened_to(whole),
            (Input::Echo, Some(_)) => self.echoed(),
        }
    }

    /// Takes the passage of time. Early, late or repeated calls are safe and change nothing that is not due.
    ///
    /// # Real-time
    /// Constant time, no heap.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|deadline| now < deadline.at) {
            return;
        }
        // A voice that goes on without words is forgotten once it stops, so that it pauses the reply only once.
        if matches!(self.voice, Voice::Stopped { .. }) {
            self.voice = Voice::Quiet;
        }
        if self.paused {
            // Before its first sample the agent cannot be what the detector heard.
            if self.reply.is_some_and(|reply| reply.playing) {
                self.false_pauses = self.false_pauses.saturating_add(1);
            }
            self.resume();
        }
    }

    /// Returns the next thing to be done.
    ///
    /// # Real-time
    /// Constant time, no heap.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.take()
    }

    /// Returns when `handle_timeout` is due.
    ///
    /// # Real-time
    /// Constant time, no heap.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline<Timer>> {
        let Settings { confirm, pause_max, .. } = self.settings;
        let at = match self.voice {
            Voice::Quiet => return None,
            Voice::Speaking { onset } if self.paused => onset + pause_max,
            Voice::Speaking { .. } => return None,
            // A voice that stutters on keeps its onset, so that the pause has an end.
            Voice::Stopped { onset, end } => (end + confirm).min(onset + pause_max + confirm),
        };
        Some(Deadline { at, timer: Timer::Confirm })
    }

    fn grant(&mut self, turn: TurnId, firm: bool) {
        self.release();
        self.reply = Some(Reply { turn, playing: false, firm });
    }

    /// Hears the caller's voice begin, and pauses the reply at once where the detector is to be believed.
    fn onset(&mut self, now: Instant) {
        match self.voice {
            Voice::Quiet => {
                self.voice = Voice::Speaking { onset: now };
                if self.false_pauses < self.settings.false_pauses_max {
                    self.paused = true;
                    self.output = Some(Output::Pause);
                }
            }
            Voice::Speaking { .. } => {}
            Voice::Stopped { onset, .. } => self.voice = Voice::Speaking { onset },
        }
    }

    /// Whether words that come at this moment are as likely to be the agent's.
    fn is_doubtful(&self) -> bool {
        self.masked && self.voice == Voice::Quiet && !self.doubted
    }

    /// The caller listens. What the detector heard was a voice, and so it is to be believed; once it has said all, the reply
    /// goes on at once.
    fn listened_to(&mut self, whole: bool) {
        (self.doubted, self.listening) = (false, !whole);
        if self.voice != Voice::Quiet {
            self.false_pauses = 0;
        }
        if whole {
            self.forget_voice();
        }
    }

    /// The agent has heard itself: a pause was for nothing.
    fn echoed(&mut self) {
        self.doubted = false;
        if self.paused && self.reply.is_some_and(|reply| reply.playing) {
            self.false_pauses = self.false_pauses.saturating_add(1);
        }
        self.forget_voice();
    }

    /// Goes on, and waits no more for words of a voice that has stopped. One that goes on may still have some.
    fn forget_voice(&mut self) {
        if matches!(self.voice, Voice::Stopped { .. }) {
            self.voice = Voice::Quiet;
        }
        if self.paused {
            self.resume();
        }
    }

    /// Gives the floor to the caller.
    fn cut(&mut self, turn: TurnId) {
        if self.voice != Voice::Quiet {
            // The detector heard what had words: it is believed again.
            self.false_pauses = 0;
        }
        self.reply = None;
        self.voice = Voice::Quiet;
        self.paused = false;
        (self.doubted, self.listening) = (false, false);
        self.output = Some(Output::CutPlayout { turn });
    }

    /// Leaves the floor to nobody.
    fn release(&mut self) {
        self.reply = None;
        (self.doubted, self.listening) = (false, false);
        self.voice = Voice::Quiet;
        if self.paused {
            self.resume();
        }
    }

    fn resume(&mut self) {
        self.paused = false;
        self.output = Some(Output::Resume);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TurnId = TurnId(1);
    const TWO: TurnId = TurnId(2);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    struct Scene(Floor);

    impl Scene {
        /// Turn 1 was granted at 0 and has been playing from 100 on.
        fn playing() -> Self {
            let mut scene = Self::granted();
            assert_eq!(scene.tell(100, Input::Playing { turn: ONE }), None);
            scene
        }

        fn granted() -> Self {
            let mut scene = Self(Floor::new(Settings::default()));
            assert_eq!(scene.tell(0, Input::Granted { turn: ONE }), None);
            scene
        }

        fn tell(&mut self, millis: u64, input: Input) -> Option<Output> {
            self.0.handle_input(input, at(millis));
            let output = self.0.poll_output();
            assert_eq!(self.0.poll_output(), None, "one output at most follows from an input");
            output
        }

        fn voice(&mut self, millis: u64, speaking: bool) -> Option<Output> {
            self.tell(millis, Input::CallerSpeech { speaking })
        }

        fn wait(&mut self, millis: u64) -> Option<Output> {
            self.0.handle_timeout(at(millis));
            self.0.poll_output()
        }

        fn due(&self) -> Option<Instant> {
            self.0.poll_timeout().map(|deadline| deadline.at)
        }
    }

    #[test]
    fn an_onset_pauses_and_the_first_words_cut() {
        for words in [Input::StartOfTurn, Input::Words, Input::EndOfTurn] {
            let mut scene = Scene::playing();
            assert_eq!(scene.voice(500, true), Some(Output::Pause));
            assert_eq!(scene.tell(750, words), Some(Output::CutPlayout { turn: ONE }), "{words:?}");
            assert_eq!(scene.due(), None);
            assert_eq!(scene.tell(800, Input::Words), None, "a floor is taken once");
        }
    }

    #[test]
    fn words_come_after_the_voice_has_stopped_and_still_cut() {
        let mut scene = Scene::playing();
        scene.voice(500, true);
        scene.voice(900, false);
        assert_eq!(scene.wait(1599), None);
        assert_eq!(scene.tell(1599, Input::Words), Some(Output::CutPlayout { turn: ONE }));
    }

    #[test]
    fn a_cough_resumes_the_reply_where_it_stopped() {
        let mut scene = Scene::playing();
        scene.voice(500, true);
        scene.voice(800, false);
        assert_eq!(scene.due(), Some(at(1500)));
        assert_eq!(scene.wait(1499), None);
        assert_eq!(scene.wait(1500), Some(Output::Resume));
        assert_eq!(scene.wait(1500), None, "a repeated time-out changes nothing");
        assert_eq!(scene.due(), None);
        assert_eq!(scene.tell(3000, Input::Words), None, "words without a voice are those of an earlier turn");
    }

    #[test]
    fn a_voice_without_words_stops_the_agent_for_two_seconds_at_most() {
        let mut scene = Scene::playing();
        scene.voice(500, true);
        assert_eq!(scene.wait(2499), None);
        assert_eq!(scene.wait(2500), Some(Output::Resume));
        assert_eq!(scene.due(), None, "a noise that goes on does not pause again");
        assert_eq!(scene.voice(9000, false), None);
        assert_eq!(scene.wait(9700), None);
        assert_eq!(scene.voice(10_000, true), Some(Output::Pause), "the next onset does");
    }

    #[test]
    fn a_voice_that_stutters_does_not_prolong_the_pause_for_ever() {
        let mut scene = Scene::playing();
        let mut millis = 500;
        let mut resumed = None;
        while resumed.is_none() && millis < 10_000 {
            scene.voice(millis, (millis / 100) % 2 == 1);
            millis += 100;
            resumed = scene.wait(millis).map(|output| (output, millis));
        }
        let (output, when) = resumed.expect("the pause has an end");
        assert_eq!(output, Output::Resume);
        assert!(when <= 500 + 2000 + 700, "resumed at {when}");
    }

    #[test]
    fn words_cut_a_resumed_reply_whose_noise_goes_on() {
        let mut scene = Scene::playing();
        scene.voice(500, true);
        assert_eq!(scene.wait(2500), Some(Output::Resume));
        assert_eq!(scene.tell(2600, Input::Words), Some(Output::CutPlayout { turn: ONE }));
    }

    #[test]
    fn the_recogniser_cuts_alone_what_the_detector_did_not_hear() {
        for words in [Input::StartOfTurn, Input::EndOfTurn] {
            assert_eq!(Scene::playing().tell(500, words), Some(Output::CutPlayout { turn: ONE }));
            assert_eq!(Scene::granted().tell(50, words), Some(Output::CutPlayout { turn: ONE }), "nothing was played");
        }
    }

    #[test]
    fn late_words_of_the_turn_being_answered_do_not_cut_the_reply() {
        let mut scene = Scene(Floor::new(Settings::default()));
        assert_eq!(scene.voice(0, true), None);
        assert_eq!(scene.tell(10, Input::StartOfTurn), None);
        assert_eq!(scene.tell(900, Input::EndOfTurn), None);
        assert_eq!(scene.tell(901, Input::Granted { turn: ONE }), None);
        assert_eq!(scene.tell(950, Input::Words), None);
        assert_eq!(scene.voice(960, false), None, "the voice from before the grant stops late");
        assert_eq!(scene.tell(970, Input::Words), None);
        assert_eq!(scene.due(), None);
    }

    #[test]
    fn a_caller_who_goes_on_before_the_first_sample_keeps_the_reply_waiting() {
        let mut scene = Scene::granted();
        assert_eq!(scene.voice(200, true), Some(Output::Pause));
        scene.voice(400, false);
        assert_eq!(scene.wait(1100), Some(Output::Resume));
    }

    #[test]
    fn a_firm_reply_is_neither_paused_nor_cut_and_the_next_one_is() {
        let mut scene = Scene::granted();
        assert_eq!(scene.tell(10, Input::GrantedFirmly { turn: TWO }), None);
        assert_eq!(scene.tell(20, Input::Playing { turn: TWO }), None);
        for input in [
            Input::CallerSpeech { speaking: true },
            Input::StartOfTurn,
            Input::Hard,
            Input::Words,
            Input::EndOfTurn,
            Input::CallerSpeech { speaking: false },
        ] {
            assert_eq!(scene.tell(500, input), None, "{input:?}");
        }
        assert_eq!(scene.due(), None);
        assert_eq!(scene.tell(900, Input::Played { turn: TWO }), None);
        scene.tell(1000, Input::Granted { turn: ONE });
        assert_eq!(scene.voice(1100, true), Some(Output::Pause));
    }

    #[test]
    fn a_turn_that_began_as_a_listeners_cuts_with_its_next_words_though_no_voice_was_heard() {
        let mut scene = Scene::playing();
        assert_eq!(scene.tell(500, Input::Backchannel { whole: false }), None);
        assert_eq!(scene.tell(750, Input::Words), Some(Output::CutPlayout { turn: ONE }));
        let mut scene = Scene::playing();
        scene.tell(500, Input::Backchannel { whole: false });
        scene.tell(700, Input::Backchannel { whole: true });
        assert_eq!(scene.tell(750, Input::Words), None, "a repetition of a turn that has ended");
    }

    #[test]
    fn a_grant_forgets_the_turn_before_and_its_pause() {
        let mut scene = Scene::playing();
        scene.voice(500, true);
        assert_eq!(scene.tell(600, Input::Granted { turn: TWO }), Some(Output::Resume));
        assert_eq!(scene.due(), None);
        assert_eq!(scene.tell(650, Input::Words), None, "the voice belongs to the turn that is answered");
        assert_eq!(scene.tell(700, Input::StartOfTurn), Some(Output::CutPlayout { turn: TWO }));
    }

    #[test]
    fn a_reply_that_is_over_cannot_be_cut() {
        for over in [Input::Played { turn: ONE }, Input::Withdrawn { turn: ONE }] {
            let mut scene = Scene::playing();
            scene.voice(500, true);
            assert_eq!(scene.tell(501, over), Some(Output::Resume), "the pause goes with its reason");
            assert_eq!(scene.tell(600, Input::StartOfTurn), None);
            assert_eq!(scene.voice(700, true), None);
        }
    }

    #[test]
    fn reports_of_an_earlier_turn_change_nothing() {
        let mut scene = Scene::granted();
        scene.tell(10, Input::Granted { turn: TWO });
        for stale in [Input::Playing { turn: ONE }, Input::Played { turn: ONE }, Input::Withdrawn { turn: ONE }] {
            assert_eq!(scene.tell(20, stale), None);
        }
        assert_eq!(scene.tell(30, Input::StartOfTurn), Some(Output::CutPlayout { turn: TWO }));
    }

    #[test]
    fn a_detector_that_cries_wolf_is_believed_again_only_after_words() {
        let mut scene = Scene::playing();
        for round in 0..3 {
            let start = 1000 + round * 2000;
            assert_eq!(scene.voice(start, true), Some(Output::Pause), "round {round}");
            scene.voice(start + 200, false);
            assert_eq!(scene.wait(start + 900), Some(Output::Resume));
        }
        assert_eq!(scene.voice(8000, true), None, "its echo does not chop the reply any more");
        scene.voice(8200, false);
        assert_eq!(scene.wait(8900), None);
        assert_eq!(scene.voice(9000, true), None);
        assert_eq!(scene.tell(9300, Input::Words), Some(Output::CutPlayout { turn: ONE }), "words cut as before");
        scene.tell(9400, Input::Granted { turn: TWO });
        assert_eq!(scene.voice(9900, true), Some(Output::Pause));
    }

    #[test]
    fn noise_before_the_first_sample_is_no_evidence_of_echo() {
        let mut scene = Scene::granted();
        for round in 0..5 {
            let start = 100 + round * 2000;
            assert_eq!(scene.voice(start, true), Some(Output::Pause));
            scene.voice(start + 100, false);
            assert_eq!(scene.wait(start + 800), Some(Output::Resume));
        }
    }

    #[test]
    fn a_listeners_yeah_pauses_and_resumes_at_once_when_it_is_whole() {
        let mut scene = Scene::playing();
        assert_eq!(scene.voice(500, true), Some(Output::Pause));
        assert_eq!(scene.tell(750, Input::Backchannel { whole: false }), None, "more may follow");
        scene.voice(800, false);
        assert_eq!(scene.tell(950, Input::Backchannel { whole: true }), Some(Output::Resume));
        assert_eq!(scene.due(), None);
        assert_eq!(scene.tell(1000, Input::Words), None, "words without a voice");
    }

    #[test]
    fn yeah_but_what_about_cuts() {
        for resumed in [false, true] {
            let mut scene = Scene::playing();
            scene.voice(500, true);
            let output = scene.tell(750, Input::Backchannel { whole: resumed });
            assert_eq!(output, resumed.then_some(Output::Resume));
            assert_eq!(scene.tell(1000, Input::Words), Some(Output::CutPlayout { turn: ONE }), "the voice goes on");
        }
    }

    #[test]
    fn a_backchannel_that_is_never_ended_resumes_as_a_cough_does() {
        let mut scene = Scene::playing();
        scene.voice(500, true);
        scene.tell(750, Input::Backchannel { whole: false });
        scene.voice(800, false);
        assert_eq!(scene.wait(1499), None);
        assert_eq!(scene.wait(1500), Some(Output::Resume));
    }

    #[test]
    fn backchannels_and_echoes_without_a_voice_change_nothing() {
        for aside in [Input::Backchannel { whole: false }, Input::Backchannel { whole: true }, Input::Echo] {
            let mut scene = Scene::playing();
            assert_eq!(scene.tell(500, aside), None);
            assert_eq!(scene.tell(600, Input::StartOfTurn), Some(Output::CutPlayout { turn: ONE }));
        }
    }

    #[test]
    fn hard_words_cut_whatever_the_detector_heard() {
        for masked in [false, true] {
            let mut scene = Scene::playing();
            scene.tell(400, Input::Masked { masked });
            assert_eq!(scene.tell(500, Input::Hard), Some(Output::CutPlayout { turn: ONE }));
        }
    }

    #[test]
    fn the_first_words_out_of_an_echo_are_doubted_and_the_next_ones_cut() {
        let mut scene = Scene::playing();
        scene.tell(400, Input::Masked { masked: true });
        assert_eq!(scene.tell(500, Input::StartOfTurn), None);
        assert_eq!(scene.tell(600, Input::Echo), None, "they were the agent's");
        assert_eq!(scene.tell(900, Input::StartOfTurn), None);
        assert_eq!(scene.tell(1150, Input::Words), Some(Output::CutPlayout { turn: ONE }));
        let mut scene = Scene::playing();
        scene.tell(400, Input::Masked { masked: true });
        scene.voice(450, true);
        assert_eq!(
            scene.tell(500, Input::StartOfTurn),
            Some(Output::CutPlayout { turn: ONE }),
            "a voice over the echo"
        );
    }

    #[test]
    fn pauses_for_an_echo_are_counted_and_end_at_once() {
        let mut scene = Scene::playing();
        for round in 0..3 {
            let start = 1000 + round * 2000;
            assert_eq!(scene.voice(start, true), Some(Output::Pause), "round {round}");
            assert_eq!(scene.tell(start + 300, Input::Echo), Some(Output::Resume));
            scene.voice(start + 400, false);
            scene.wait(start + 1100);
        }
        assert_eq!(scene.voice(8000, true), None);
        assert_eq!(scene.tell(8250, Input::Backchannel { whole: true }), None);
        scene.voice(8300, false);
        scene.wait(9000);
        assert_eq!(scene.voice(9500, true), Some(Output::Pause), "a listener's voice was no echo");
    }

    #[test]
    fn the_machine_is_a_plain_value() {
        fn copy<T: Copy>() {}
        copy::<Floor>();
        assert!(size_of::<Floor>() <= 128, "{} bytes", size_of::<Floor>());
    }

    #[test]
    fn whatever_the_order_of_events_a_pause_has_an_end_and_only_the_reply_with_the_floor_is_cut() {
        for seed in 0..2000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut floor, mut now, mut holder, mut paused) = (Floor::new(Settings::default()), at(0), None, false);
            let mut firm = false;
            for step in 0..200 {
                now += Duration::from_millis(rng.u64(0..400));
                let turn = TurnId(rng.u32(0..4));
                let input = match rng.u32(0..14) {
                    13 => Input::GrantedFirmly { turn },
                    9 => Input::Masked { masked: rng.bool() },
                    10 => Input::Hard,
                    11 => Input::Backchannel { whole: rng.bool() },
                    12 => Input::Echo,
                    0 | 1 => Input::CallerSpeech { speaking: rng.bool() },
                    2 => Input::StartOfTurn,
                    3 => Input::Words,
                    4 => Input::EndOfTurn,
                    5 => Input::Granted { turn },
                    6 => Input::Playing { turn },
                    7 => Input::Played { turn },
                    _ => Input::Withdrawn { turn },
                };
                let mut outputs = [None; 2];
                floor.handle_timeout(now);
                outputs[0] = floor.poll_output();
                if let Input::Granted { turn } | Input::GrantedFirmly { turn } = input {
                    (holder, firm) = (Some(turn), matches!(input, Input::GrantedFirmly { .. }));
                }
                floor.handle_input(input, now);
                outputs[1] = floor.poll_output();
                for output in outputs.into_iter().flatten() {
                    assert!(!firm || output == Output::Resume, "seed {seed} step {step}: {output:?} of what is firm");
                    match output {
                        Output::Pause => assert!(!std::mem::replace(&mut paused, true), "seed {seed} step {step}"),
                        Output::Resume => assert!(std::mem::replace(&mut paused, false), "seed {seed} step {step}"),
                        Output::CutPlayout { turn } => {
                            assert_eq!(holder.take(), Some(turn), "seed {seed} step {step}");
                            paused = false;
                        }
                    }
                }
                if let Input::Played { turn } | Input::Withdrawn { turn } = input
                    && holder == Some(turn)
                {
                    holder = None;
                }
                assert!(!paused || holder.is_some(), "seed {seed} step {step}: nobody's pause");
                assert!(!paused || floor.poll_timeout().is_some(), "seed {seed} step {step}: a pause without end");
            }
        }
    }
}
