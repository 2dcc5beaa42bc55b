//! What the caller's words are while the agent speaks: a wish to speak, a listener's "mhm", or the agent's own words come back.
//!
//! The floor on the media path decides what is done about it and never sees a word; the agent gives it a [`Verdict`] of each
//! transcript. A transcript is judged anew as it grows: "yeah" lets the agent go on, "yeah but" does not.

use super::patience::Told;
use super::reply::Reply;
use super::speculation::key;
use super::{Agent, EarsEvent, Output};
use crate::config;
use crate::time::Instant;
use std::time::Duration;

/// What the caller's words are that are heard while the agent speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Verdict {
    /// Somebody wants to say something.
    Words,
    /// The same, in words that leave no doubt: "stop".
    Hard,
    /// The caller listens, or makes a sound.
    Backchannel,
    /// They are the agent's own, come back from the caller's telephone.
    Echo,
}

impl Verdict {
    /// Whether they leave the floor to the agent.
    #[must_use]
    pub const fn is_aside(self) -> bool {
        matches!(self, Self::Backchannel | Self::Echo)
    }
}

/// The longest run of words of a listener who says nothing: "yeah, yeah, okay, I see".
const BACKCHANNEL_WORDS_MAX: usize = 8;
/// Sounds and surprise among the backchannels: not even an answer to a question.
const FILLERS: &[&str] = &["hm", "m", "ah", "oh", "um", "uh", "er", "erm", "huh", "aha", "wow", "really"];
/// How many of the agent's own words may be missing between two that the recogniser heard in the echo.
const SKIPPED_MAX: usize = 2;
/// The longest transcript, in words, that is an echo only if every word is the agent's: in a longer one a recogniser
/// gets some wrong.
const EXACT_WORDS_MAX: usize = 3;
/// The share of a longer transcript's words that must be the agent's for it to be an echo.
const OWN_SHARE: f32 = 0.7;
/// How many of the agent's words in a row are no coincidence, even where the detector heard a voice: that voice may
/// have been the echo, and a caller who reads along does not want the floor either.
const READ_ALONG_WORDS: usize = 3;
/// How long after the agent's last sound its words may still come out of the recogniser: the echo's way, 0.5 s, and a
/// recogniser's update and end of turn.
const ECHO_TAIL: Duration = Duration::from_millis(2500);
/// How long after a voice its words may come.
const VOICE_TAIL: Duration = Duration::from_millis(1500);
/// Words into the next sentence after which a question is not the matter any more.
const QUESTION_WORDS: usize = 4;

/// What ends sentences and parts of them where it is not done as in English.
const FULL_STOPS: &[char] = &['।', '。', '、', '，', '？', '！', '؟', '،', '۔'];

/// A phrase or a transcript in the words that are compared.
type Words = Vec<String>;

/// The phrases that have a meaning of their own.
#[derive(Debug)]
struct Phrases {
    backchannels: Vec<Words>,
    hard: Vec<Words>,
}

/// What a transcript is judged by.
#[derive(Clone, Copy, Debug, Default)]
struct Moment<'a> {
    /// What the agent is saying or has just said.
    own: &'a str,
    /// Whether it is saying it at this moment.
    speaking: bool,
    /// Whether it has the floor, if only to think.
    holding: bool,
    /// Whether what it is saying is a question.
    asking: bool,
    /// Whether the detector has heard a voice that is not the agent's echo.
    voice: bool,
    /// Whether more words may follow: the recogniser has not ended the turn.
    open: bool,
    /// Whether the media path is certain that these words come from the agent's echo, and from no other sound.
    own_sound: bool,
}

impl Phrases {
    /// Whether `words` are the beginning of a listener's phrase, "I" of "I see".
    fn is_begun(&self, words: &[String]) -> bool {
        self.backchannels.iter().any(|phrase| phrase.len() > words.len() && phrase.starts_with(words))
    }

    /// Whether words that leave no doubt are among these: whoever misses them would not be stopped.
    fn has_hard(&self, words: &[String]) -> bool {
        (0..words.len()).any(|at| prefix(&self.hard, &words[at..]) > 0)
    }

    fn new(settings: &config::Agent) -> Self {
        let of = |list: &[String]| list.iter().map(|phrase| words(phrase)).filter(|words| !words.is_empty()).collect();
        Self { backchannels: of(&settings.backchannels), hard: of(&settings.hard_words) }
    }

    /// Judges a transcript with at least one word.
    fn judge(&self, transcript: &str, moment: &Moment<'_>) -> Verdict {
        let all = words(transcript);
        if all.is_empty() {
            // Nothing but a noise in brackets, or punctuation.
            return if moment.holding { Verdict::Backchannel } else { Verdict::Words };
        }
        if is_echo(&all, moment) || (moment.own_sound && !moment.voice && !self.has_hard(&all)) {
            return Verdict::Echo;
        }
        let (mut rest, mut answer) = (all.as_slice(), false);
        while !rest.is_empty() {
            if prefix(&self.hard, rest) > 0 {
                return Verdict::Hard;
            }
            let len = prefix(&self.backchannels, rest).max(usize::from(is_laughter(&rest[0])));
            if len == 0 && moment.speaking && moment.open && !moment.asking && self.is_begun(rest) {
                // Its next word will tell. Where a voice is heard, the agent has paused by then.
                return Verdict::Backchannel;
            }
            if len == 0 || !moment.holding {
                return Verdict::Words;
            }
            answer |= !FILLERS.contains(&rest[..len].join(" ").as_str()) && !is_laughter(&rest[0]);
            rest = &rest[len..];
        }
        if all.len() > BACKCHANNEL_WORDS_MAX || (answer && moment.asking) {
            Verdict::Words
        } else {
            Verdict::Backchannel
        }
    }
}

/// Returns how many words the longest phrase has that `words` begins with.
fn prefix(phrases: &[Words], words: &[String]) -> usize {
    phrases.iter().filter(|phrase| words.starts_with(phrase)).map(Vec::len).max().unwrap_or(0)
}

/// Returns what counts of the words of `text`: neither case, punctuation, nor how often a letter is repeated; what is in brackets
/// is a recogniser's name for a noise.
fn words(text: &str) -> Words {
    let mut said = String::with_capacity(text.len());
    let mut depth = 0u32;
    for c in text.chars() {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => said.push(c),
            _ => {}
        }
    }
    let single = |word: &str| {
        let mut letters: Vec<char> = word.chars().collect();
        letters.dedup_by(|next, before| next == before && next.is_alphabetic());
        letters.into_iter().collect::<String>()
    };
    let bare = |word: &str| single(word.trim_matches(FULL_STOPS));
    key(&said).split_whitespace().map(bare).filter(|word| !word.is_empty()).collect()
}

/// Whether a word is laughter: "haha", "hehehe".
fn is_laughter(word: &str) -> bool {
    let letters: Vec<char> = word.chars().collect();
    letters.len() >= 4
        && letters.chunks(2).all(|pair| pair[0] == 'h' && (pair.len() == 1 || "aeio".contains(pair[1])))
        && letters.chunks(2).all(|pair| pair.len() == 1 || pair[1] == letters[1])
}

/// Whether these words are the agent's own. Where no caller's voice is heard they can be nobody else's; where one is
/// heard, there have to be many of them, said in step with the agent.
fn is_echo(said: &[String], moment: &Moment<'_>) -> bool {
    if moment.own.is_empty() || (moment.voice && (!moment.speaking || said.len() < READ_ALONG_WORDS)) {
        return false;
    }
    let share = own_share(said, &words(moment.own));
    if said.len() <= EXACT_WORDS_MAX { share >= 1.0 } else { share >= OWN_SHARE }
}

/// Returns the share of `said` that is found in `own`, in order and nearly in a row. The last word may be half a word.
fn own_share(said: &[String], own: &[String]) -> f32 {
    let from = |start: usize| {
        let (mut at, mut found) = (start, 0);
        for (n, word) in said.iter().enumerate() {
            let last = n + 1 == said.len();
            let ahead = own.iter().skip(at).take(SKIPPED_MAX + 1);
            let is_it = |own: &String| own == word || (last && n > 0 && own.starts_with(word.as_str()));
            if let Some(skipped) = ahead.into_iter().position(is_it) {
                at += skipped + 1;
                found += 1;
            }
        }
        found
    };
    let most = (0..own.len()).map(from).max().unwrap_or(0);
    most as f32 / said.len().max(1) as f32
}

/// Whether the agent's speech `sent`, heard up to byte `heard`, is in the middle of a question or has just asked one.
fn is_asking(sent: &str, heard: usize) -> bool {
    let ends: Vec<usize> = sent.match_indices(['.', '?', '!', '…']).map(|(at, end)| at + end.len()).collect();
    let is_question = |end: usize| sent.get(..end).is_some_and(|text| text.ends_with('?'));
    let next = ends.iter().copied().find(|end| *end > heard.min(sent.len().saturating_sub(1)));
    let before = ends.iter().copied().filter(|end| *end <= heard).max();
    let since = before.and_then(|end| sent.get(end..heard)).map_or(usize::MAX, |text| text.split_whitespace().count());
    next.is_some_and(is_question) || before.is_some_and(|end| is_question(end) && since < QUESTION_WORDS)
}

/// What is remembered for the verdicts.
#[derive(Debug)]
pub(super) struct Listener {
    phrases: Phrases,
    /// When the reply at hand was first heard.
    on_air: Option<Instant>,
    /// When the agent fell silent last.
    silent: Option<Instant>,
    speaking: bool,
    /// When the caller's voice stopped last.
    voice_ended: Option<Instant>,
    /// Whether the agent's echo is heard and nothing else, since when, and when that was over last.
    own_echo: bool,
    own_echo_began: Option<Instant>,
    own_echo_ended: Option<Instant>,
}

impl Listener {
    pub fn new(settings: &config::Agent) -> Self {
        Self {
            phrases: Phrases::new(settings),
            on_air: None,
            silent: None,
            speaking: false,
            voice_ended: None,
            own_echo: false,
            own_echo_began: None,
            own_echo_ended: None,
        }
    }

    /// The agent is heard.
    pub fn on_air(&mut self, now: Instant) {
        self.on_air = Some(now);
    }

    /// The agent is heard no more.
    pub fn off_air(&mut self, now: Instant) {
        if self.on_air.take().is_some() {
            self.silent = Some(now);
        }
    }

    /// The caller's voice began or stopped.
    pub fn voice(&mut self, speaking: bool, now: Instant) {
        if self.speaking && !speaking {
            self.voice_ended = Some(now);
        }
        self.speaking = speaking;
    }

    /// The agent's echo is heard and nothing else, or not any more.
    pub fn own_echo(&mut self, heard: bool, now: Instant) {
        match (self.own_echo, heard) {
            (true, false) => self.own_echo_ended = Some(now),
            // What came before it, or while it was doubted, may be the caller's.
            (false, true) => self.own_echo_began = Some(now),
            _ => {}
        }
        self.own_echo = heard;
    }

    /// Whether words that came at `at` are out of the agent's echo.
    fn heard_own_echo(&self, at: Instant) -> bool {
        self.own_echo_began.is_some_and(|began| began <= at)
            && (self.own_echo || self.own_echo_ended.is_some_and(|ended| at.since(ended) < VOICE_TAIL))
    }

    fn heard_voice(&self, now: Instant) -> bool {
        self.speaking || self.voice_ended.is_some_and(|ended| now.since(ended) < VOICE_TAIL)
    }
}

impl Agent {
    /// Returns what the words of `event` are, where it has any: to be asked before the event is told.
    #[must_use]
    pub fn verdict(&self, event: &EarsEvent, now: Instant) -> Option<Verdict> {
        let told = self.caller.patience.told(event, now);
        let transcript = match &told {
            // Words that have been answered are no reason to stop the answer.
            Told::Known => return None,
            Told::Beyond(words) => words,
            Told::New => event.transcript()?,
        };
        // A recogniser repeats the words of an ended turn.
        let repeated = matches!(event, EarsEvent::Update { .. }) && !self.caller.has_turn() && told == Told::New;
        match self.judge(
            transcript,
            !matches!(event, EarsEvent::EagerEndOfTurn { .. } | EarsEvent::EndOfTurn { .. }),
            now,
        )? {
            Verdict::Hard if repeated => Some(Verdict::Words),
            verdict => Some(verdict),
        }
    }

    fn judge(&self, transcript: &str, open: bool, now: Instant) -> Option<Verdict> {
        if transcript.trim().is_empty() {
            return None;
        }
        let reply = self.reply.as_ref().filter(|reply| reply.gate.is_none());
        let on_air = reply.filter(|reply| reply.on_air);
        let lately = || self.listener.silent.is_some_and(|silent| now.since(silent) < ECHO_TAIL);
        let own = match on_air {
            Some(reply) => reply.turn.speech.sent(),
            None if lately() => self.past.back().map_or("", |turn| turn.speech.sent()),
            None => "",
        };
        let moment = Moment {
            own,
            speaking: on_air.is_some(),
            holding: reply.is_some(),
            asking: on_air.is_some_and(|reply| self.is_at_question(reply, now)),
            voice: self.listener.heard_voice(now),
            open,
            own_sound: self.listener.heard_own_echo(self.words_came(transcript, now)),
        };
        Some(self.listener.phrases.judge(transcript, &moment))
    }

    /// Returns when these words of the caller's turn came: an end may repeat them long after.
    fn words_came(&self, transcript: &str, now: Instant) -> Instant {
        let words = || self.caller.patience.joined(transcript);
        self.caller
            .turn
            .as_ref()
            .filter(|(before, _)| key(before) == key(&words()))
            .map_or(now, |(_, changed)| *changed)
    }

    /// Whether `reply`, which is heard, is at a question. Where it cannot be told how far it is, its end decides.
    fn is_at_question(&self, reply: &Reply, now: Instant) -> bool {
        let speech = &reply.turn.speech;
        let elapsed = self.listener.on_air.map_or(Duration::ZERO, |since| now.since(since));
        let heard = speech.heard(elapsed).len();
        is_asking(speech.sent(), if heard == 0 && !elapsed.is_zero() && !speech.is_done() { usize::MAX } else { heard })
    }

    /// Whether these words leave the floor to the agent; `open`: more may follow. Keys that were pressed beside them are to be
    /// answered.
    pub(super) fn aside(&self, transcript: &str, open: bool, now: Instant) -> Option<Verdict> {
        self.judge(transcript, open, now).filter(|verdict| verdict.is_aside() && !self.caller.has_more())
    }

    /// Lets it be known that the caller's words were nothing to answer.
    pub(super) fn note_aside(&mut self, transcript: &str, verdict: Verdict) {
        self.outputs.push_back(Output::Aside { text: transcript.trim().to_owned(), verdict });
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::*;
    use super::*;
    use crate::agent::{Input, MindEvent, VoiceEvent};

    const OWN: &str = "Hello, this is Offhook. We are open from nine to five, and on Sundays from ten to two.";

    fn judge(transcript: &str, scene: Moment<'_>) -> Verdict {
        Phrases::new(&config::Agent::default()).judge(transcript, &scene)
    }

    /// The agent says something that is no question, and a voice is heard.
    fn talking() -> Moment<'static> {
        Moment { own: OWN, speaking: true, holding: true, asking: false, voice: true, open: false, own_sound: false }
    }

    #[test]
    fn a_listeners_words_and_sounds_are_no_wish_to_speak() {
        for text in [
            "Yeah.",
            "mhm",
            "Mm-hmm.",
            "Mhmmm",
            "uh-huh",
            "Okay.",
            "OK, right.",
            "I see.",
            "yeah, yeah, okay",
            "Haha!",
            "hehehe",
            "Oh, wow.",
            "Um",
            "[cough]",
            "(laughter)",
            "Yeahhh",
            "...",
            "Of course. Sure.",
        ] {
            assert_eq!(judge(text, talking()), Verdict::Backchannel, "{text}");
        }
    }

    #[test]
    fn what_grows_out_of_a_backchannel_is_words() {
        for text in [
            "Yeah but what about",
            "Okay so",
            "Right now",
            "I see you",
            "Home",
            "Hah",
            "I",
            "Can I ask something?",
            "yeah yeah yeah yeah yeah yeah yeah yeah yeah",
        ] {
            assert_eq!(judge(text, talking()), Verdict::Words, "{text}");
        }
    }

    #[test]
    fn the_beginning_of_a_listeners_phrase_waits_for_its_next_word() {
        let open = Moment { open: true, ..talking() };
        for text in ["I", "Yeah, I", "Of", "Got"] {
            assert_eq!(judge(text, open), Verdict::Backchannel, "{text}");
            assert_eq!(judge(text, talking()), Verdict::Words, "{text}: nothing followed");
            assert_eq!(judge(text, Moment { asking: true, ..open }), Verdict::Words, "{text}: an answer");
            assert_eq!(
                judge(text, Moment { speaking: false, ..open }),
                Verdict::Words,
                "{text}: nobody is listened to"
            );
        }
        for text in ["I want", "Of what", "Can"] {
            assert_eq!(judge(text, open), Verdict::Words, "{text}");
        }
    }

    #[test]
    fn hard_words_are_hard_from_the_first_one_on() {
        for text in
            ["Stop", "stop it", "No.", "No, no, no!", "Wait a", "Hold on", "Yeah, no", "Excuse me, I", "Oh, wait"]
        {
            assert_eq!(judge(text, talking()), Verdict::Hard, "{text}");
        }
        for text in ["Nothing", "Waiter", "Stopping by", "Hold", "I said no"] {
            assert_eq!(judge(text, talking()), Verdict::Words, "{text}");
        }
    }

    #[test]
    fn an_answer_to_a_question_is_none_of_them() {
        let asked = Moment { asking: true, ..talking() };
        for text in ["Yes.", "Okay", "sure, yeah", "Mhm", "Oh yes", "Uh-huh"] {
            assert_eq!(judge(text, asked), Verdict::Words, "{text}");
        }
        for text in ["Um", "Hmm", "Oh", "Haha"] {
            assert_eq!(judge(text, asked), Verdict::Backchannel, "{text}: not even an answer");
        }
        assert_eq!(judge("No", asked), Verdict::Hard);
    }

    #[test]
    fn a_callers_yes_to_a_silent_agent_is_words() {
        let silent = Moment { speaking: false, holding: false, ..talking() };
        assert_eq!(judge("Yes.", silent), Verdict::Words);
        assert_eq!(judge("[noise]", silent), Verdict::Words);
    }

    #[test]
    fn the_agents_own_words_are_an_echo() {
        let quiet = Moment { voice: false, ..talking() };
        for text in
            ["Hello", "hello this is", "this is off hook we are open", "open from nine to fi", "Sunday's from ten"]
        {
            assert_eq!(judge(text, quiet), Verdict::Echo, "{text}");
        }
        for text in ["Hello, I have a question", "five to nine to", "is it Sunday that you", "Stop"] {
            assert_ne!(judge(text, quiet), Verdict::Echo, "{text}");
        }
        // A voice of the caller's makes them the caller's, but for what nobody says by accident.
        assert_eq!(judge("Hello", talking()), Verdict::Words);
        assert_eq!(judge("nine to five", talking()), Verdict::Echo);
        let over = Moment { speaking: false, holding: false, ..talking() };
        assert_eq!(judge("from ten to two", over), Verdict::Words, "who repeats it when it was said means it");
        let tail = Moment { voice: false, ..over };
        assert_eq!(judge("from ten to two", tail), Verdict::Echo);
    }

    #[test]
    fn other_languages_bring_their_own_words() {
        let settings = config::Agent {
            backchannels: ["हाँ", "अच्छा", "Genau"].map(String::from).to_vec(),
            hard_words: vec!["Moment mal".into()],
            ..config::Agent::default()
        };
        let phrases = Phrases::new(&settings);
        for (text, verdict) in [
            ("हाँ अच्छा।", Verdict::Backchannel),
            ("genau, genau", Verdict::Backchannel),
            ("Moment mal!", Verdict::Hard),
            ("Moment", Verdict::Words),
            ("yeah", Verdict::Words),
        ] {
            assert_eq!(phrases.judge(text, &talking()), verdict, "{text}");
        }
    }

    #[test]
    fn a_question_is_known_by_the_sentence_that_is_heard() {
        let sent = "We open at nine. Shall I book it? I can do that.";
        let at = |part: &str| sent.find(part).expect("it is there");
        assert!(!is_asking(sent, 0) && !is_asking(sent, at("nine")));
        assert!(is_asking(sent, at("book")));
        assert!(is_asking(sent, at("can")), "just asked");
        assert!(!is_asking(sent, sent.len()));
        assert!(is_asking("Shall I?", 8) && is_asking("Shall I?", usize::MAX));
        assert!(!is_asking("", 0) && !is_asking("Shall", 2));
    }

    #[test]
    fn a_backchannel_during_a_reply_begins_no_turn_and_is_not_remembered_as_a_question() {
        let mut scene = Scene::answering();
        assert_eq!(scene.start("Mhm"), []);
        assert_eq!(scene.end("Mhm."), [Output::Aside { text: "Mhm.".into(), verdict: Verdict::Backchannel }]);
        assert_eq!(scene.played(1, 2000), [record(1, "Hi?", "We open at nine.", false)]);
        assert_eq!(scene.history(2), [system(), caller("Hi?"), agent("We open at nine."), caller("What?")]);
    }

    #[test]
    fn a_backchannel_does_not_throw_away_a_reply_that_is_still_being_made() {
        let mut scene = Scene::asked();
        assert_eq!(scene.start("Okay"), []);
        assert_eq!(scene.token(1, "We open at nine. Yes"), [speak(1, 0, "We open at nine. ", false)]);
        assert_eq!(scene.end("Okay.").len(), 1);
        scene.mind(1, MindEvent::Done);
        scene.on_air(1);
        assert!(scene.agent.poll_timeout().is_some());
    }

    #[test]
    fn a_backchannel_that_grows_is_a_turn() {
        let mut scene = Scene::answering();
        scene.start("Yeah");
        let update = EarsEvent::Update { transcript: "Yeah but what".into() };
        assert_eq!(scene.agent.verdict(&update, scene.now), Some(Verdict::Words));
        scene.tell(Input::Ears(update));
        scene.cut(1, 600);
        assert!(asked(&scene.end("Yeah but what about Sunday?")).is_some());
    }

    #[test]
    fn the_echo_of_a_reply_that_is_over_begins_no_turn() {
        let mut scene = Scene::answering();
        scene.played(1, 2000);
        scene.pass(600);
        assert_eq!(
            scene.end("we open at nine"),
            [Output::Aside { text: "we open at nine".into(), verdict: Verdict::Echo }]
        );
        scene.pass(3000);
        assert!(asked(&scene.end("We open at nine?")).is_some(), "by then it is somebody else's");
    }

    #[test]
    fn a_caller_who_chooses_among_the_agents_words_is_answered() {
        let mut scene = Scene::asked();
        scene.token(1, "Shall it be Tuesday or Wednesday?");
        scene.mind(1, MindEvent::Done);
        scene.voice(1, VoiceEvent::Done { length: ms(2000) });
        scene.on_air(1);
        scene.pass(1900);
        scene.tell(Input::CallerSpeech { speaking: true });
        let word = EarsEvent::StartOfTurn { transcript: "Wednesday".into() };
        assert_eq!(scene.agent.verdict(&word, scene.now), Some(Verdict::Words));
        scene.played(1, 2000);
        assert!(asked(&scene.end("Wednesday.")).is_some());
    }

    #[test]
    fn keys_pressed_beside_a_backchannel_are_answered() {
        let mut scene = Scene::answering();
        scene.start("Okay");
        scene.tell(Input::Digit('1'));
        scene.cut(1, 500);
        assert!(asked(&scene.end("Okay.")).is_some());
    }

    #[test]
    fn no_transcript_does_harm() {
        let mut rng = fastrand::Rng::with_seed(3);
        let pieces = ["ha", "h", "(", ")", "]", "é", "mhm", " ", "?", "…", "no", "ß", "\u{0}", "we open"];
        for _ in 0..3000 {
            let text: String = (0..rng.usize(..12)).map(|_| pieces[rng.usize(..pieces.len())]).collect();
            let (voice, speaking, holding, asking) = (rng.bool(), rng.bool(), rng.bool(), rng.bool());
            let scene = Moment { voice, speaking, holding, asking, open: rng.bool(), own: OWN, own_sound: false };
            judge(&text, scene);
            is_asking(&text, rng.usize(..20));
        }
    }

    #[test]
    fn garbled_words_out_of_an_echo_alone_are_the_agents() {
        let echo = Moment { voice: false, own_sound: true, ..talking() };
        for garbled in ["hollow this is of hook", "we or open from nights", "yes", "and what"] {
            assert_eq!(judge(garbled, echo), Verdict::Echo, "{garbled}");
            assert_ne!(judge(garbled, Moment { own_sound: false, ..echo }), Verdict::Echo, "{garbled}");
            assert_ne!(judge(garbled, Moment { voice: true, ..echo }), Verdict::Echo, "{garbled}: a caller is heard");
        }
        assert_eq!(judge("please stop", echo), Verdict::Words, "these are not missed");
        assert_eq!(judge("stop", echo), Verdict::Hard);
    }

    #[test]
    fn words_after_an_echo_that_is_over_are_the_callers() {
        let mut listener = Listener::new(&config::Agent::default());
        let at = Instant::from_millis;
        assert!(!listener.heard_own_echo(at(900)));
        listener.own_echo(true, at(1000));
        assert!(listener.heard_own_echo(at(1100)));
        assert!(!listener.heard_own_echo(at(900)), "these came before it");
        listener.own_echo(false, at(1500));
        listener.own_echo(true, at(1600));
        assert!(!listener.heard_own_echo(at(1550)) && listener.heard_own_echo(at(1650)), "a moment's doubt");
        listener.own_echo(false, at(2000));
        assert!(listener.heard_own_echo(at(3400)) && !listener.heard_own_echo(at(3500)));
    }
}
