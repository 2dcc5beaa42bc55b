//! One turn's speech: which text is sent in which context, what of it came as audio, and what is still owed; pure.
//!
//! A context is a provider's unit of prosody: a turn has one, and a further one where the first has expired or failed. Where
//! no audio comes, the same text may be asked for in two contexts over two connections: the present one and its rival.

use super::context::{Context, Word, duration, words};
use crate::ids::TurnId;
use crate::time::Instant;
use mio::Token;
use std::collections::VecDeque;
use std::time::Duration;

/// How long audio may be owed without any coming, whatever is tried meanwhile. With a language model's 300 ms in front of it
/// and another voice's 300 ms behind it, the caller hears something within 2 s.
pub const GIVE_UP_AFTER: Duration = Duration::from_millis(1200);
/// The same for the first audio of a turn that was asked for and that no other voice could speak: all that would come is an
/// apology, and until then the caller is told that the agent is thinking.
pub const GIVE_UP_ALONE_AFTER: Duration = Duration::from_millis(2500);
/// How long the next audio of a context may take once some has come. These providers send several times as fast as it is
/// played; a pause of this length is either the end or a fault.
const CHUNK_MAX: Duration = Duration::from_millis(600);
/// How long audio may take to follow the word that a context is done, where it holds texts of which nothing was told: some
/// servers say it of each text. It is the first audio of a text, and is over before the audio in hand is played.
const AFTER_DONE_MAX: Duration = Duration::from_millis(300);
/// The wait before another try where too many contexts were open.
const LIMITED_WAIT: Duration = Duration::from_millis(300);
/// Further tries of a turn: a reply whose connection breaks more often than this is better said by another voice.
const RETRIES_MAX: u32 = 3;
/// Texts of one turn; a reply of 400 tokens has fewer clauses.
const PARTS_MAX: usize = 256;

/// A message that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::providers) struct Speak {
    pub(in crate::providers) context: String,
    pub(in crate::providers) transcript: String,
    /// Text of this context may follow.
    pub(in crate::providers) more: bool,
    /// The context begins with it.
    pub(in crate::providers) first: bool,
    /// The clause whose text this is, if it is sent for the first time.
    pub(in crate::providers) clause: Option<u16>,
}

/// What to do about audio that does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// Everything is there; only the word that it is did not come.
    Complete,
    /// There is no connection to send it over.
    Unsent,
    /// Nothing of the context came: it is to be asked for again.
    Silent,
    /// It stopped in the middle: what was not heard is to be sent again, over another connection.
    Stuck,
    /// It is too late.
    Failed,
}

/// What audio was the first of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) turn_first: bool,
    /// How long the context's first text took to be heard, where this is its beginning.
    pub(super) context_first: Option<Duration>,
}

#[derive(Debug)]
struct Part {
    clause: Option<u16>,
    words: Vec<Word>,
}

/// The speech of one turn.
#[derive(Debug)]
pub(super) struct Speech {
    pub(super) turn: TurnId,
    context_idle: Duration,
    /// Whether no other voice stands behind this one.
    alone: bool,
    parts: Vec<Part>,
    sent: usize,
    /// No more text will come.
    last: bool,
    context: Option<Context>,
    rival: Option<Context>,
    samples: u64,
    retries: u32,
    refused: bool,
    /// When something was last sent or came.
    active: Instant,
    /// From when on the audio that is owed is waited for, by this try and in all.
    since: Instant,
    owed: Instant,
    not_before: Instant,
    spoken: VecDeque<(String, Duration)>,
}

impl Speech {
    /// Begins the speech of `turn`; text that comes `context_idle` after the one before goes into another context.
    pub(super) fn new(turn: TurnId, context_idle: Duration, now: Instant) -> Self {
        Self {
            turn,
            context_idle,
            alone: false,
            parts: Vec::new(),
            sent: 0,
            last: false,
            context: None,
            rival: None,
            samples: 0,
            retries: 0,
            refused: false,
            active: now,
            since: now,
            owed: now,
            not_before: now,
            spoken: VecDeque::new(),
        }
    }

    /// Waits longer for the first audio where no other voice stands behind this one.
    pub(super) fn alone(self, alone: bool) -> Self {
        Self { alone, ..self }
    }

    /// Adds a clause. Text without a letter or a digit is nothing that can be spoken.
    pub(super) fn add(&mut self, clause: u16, text: &str, last: bool, now: Instant) {
        if !self.owes() {
            (self.since, self.owed) = (now, now);
        }
        self.last |= last;
        let words = words(text);
        if !words.is_empty() && self.parts.len() < PARTS_MAX {
            self.parts.push(Part { clause: Some(clause), words });
        }
    }

    /// Returns what is to be sent next over `line`; `contexts` numbers the session's contexts.
    pub(super) fn next_message(&mut self, contexts: &mut u32, line: Token, now: Instant) -> Option<Speak> {
        if now < self.not_before || self.done_at().is_some() {
            return None;
        }
        let parts = self.parts.len();
        let Some(part) = self.parts.get_mut(self.sent) else {
            let context = self.context.as_mut().filter(|context| self.last && !context.finished)?;
            context.finished = true;
            let (context, transcript) = (context.id.clone(), String::new());
            return Some(Speak { context, transcript, more: false, first: false, clause: None });
        };
        let idle = now.since(self.active) >= self.context_idle;
        if let Some(old) = self.context.take_if(|context| context.finished || (idle && context.is_voiced())) {
            old.tell_rest(&mut self.spoken);
        }
        let (turn, before, first) = (self.turn.0, self.samples, self.context.is_none());
        let context = self.context.get_or_insert_with(|| {
            *contexts += 1;
            Context::new(format!("t{turn}-{contexts}"), line, before, now)
        });
        if context.is_voiced() {
            (self.since, self.owed) = (now, if part.clause.is_some() { now } else { self.owed });
        }
        self.sent += 1;
        let more = !self.last || self.sent < parts;
        // Texts are joined as they are.
        let mut transcript = part.words.iter().map(|word| word.spoken.as_str()).collect::<Vec<_>>().join(" ");
        if more {
            transcript.push(' ');
        }
        context.words.extend(part.words.iter().cloned());
        context.texts.push(context.words.len());
        context.finished = !more;
        self.active = now;
        Some(Speak { context: context.id.clone(), transcript, more, first, clause: part.clause.take() })
    }

    /// Whether a message about `context` is about what is being spoken; one that names none is, if it came by the same line.
    pub(super) fn concerns(&self, context: Option<&str>, line: Token) -> bool {
        match (&self.context, context) {
            (Some(own), Some(id)) => own.id == id,
            (Some(own), None) => own.line == line,
            (None, _) => false,
        }
    }

    /// Returns the context that has to be cancelled when the turn is.
    pub(super) fn context(&self) -> Option<(String, Token)> {
        self.context.as_ref().map(|context| (context.id.clone(), context.line))
    }

    /// Returns the line that the present context is spoken over.
    pub(super) fn line(&self) -> Option<Token> {
        self.context.as_ref().map(|context| context.line)
    }

    /// Returns the context that is asked for the same as the present one.
    pub(super) fn rival(&self) -> Option<(String, Token)> {
        self.rival.as_ref().map(|rival| (rival.id.clone(), rival.line))
    }

    pub(super) fn is_rival(&self, context: &str) -> bool {
        self.rival.as_ref().is_some_and(|rival| rival.id == context)
    }

    pub(super) fn forget_rival(&mut self) {
        self.rival = None;
    }

    /// The present context has said nothing yet: what was sent in it is to be sent in another one as well.
    pub(super) fn hedge(&mut self, now: Instant) {
        self.retries += 1;
        self.since = now;
        self.rival = self.context.take();
        if let Some(rival) = &self.rival {
            self.parts.insert(self.sent, Part { clause: None, words: rival.words.clone() });
        }
    }

    /// The rival was the quicker one: it is the present context from here on. Returns the one that is to be cancelled.
    pub(super) fn adopt_rival(&mut self) -> Option<(String, Token)> {
        let rival = self.rival.take()?;
        let loser = match self.context.take() {
            Some(loser) => {
                // Text that came after the two had parted is still to be sent.
                let later = loser.words.get(rival.words.len()..).unwrap_or_default().to_vec();
                self.insert(later);
                Some((loser.id, loser.line))
            }
            None => {
                self.parts.remove(self.sent);
                None
            }
        };
        self.context = Some(rival);
        loser
    }

    /// Audio came.
    pub(super) fn handle_audio(&mut self, samples: usize, now: Instant) -> Heard {
        let turn_first = self.samples == 0 && samples > 0;
        self.samples += samples as u64;
        self.progress(now);
        let Some(context) = &mut self.context else { return Heard { turn_first, context_first: None } };
        let first = context.samples == 0 && samples > 0;
        context.samples += samples as u64;
        if samples > 0 {
            context.done_at = None;
        }
        context.tell(&mut self.spoken);
        Heard { turn_first, context_first: first.then(|| now.since(context.began)) }
    }

    /// Words came with the ends of their audio: in the context's, or from the end of what came of it so far.
    pub(super) fn handle_words(&mut self, words: &[(String, Duration)], from_here: bool, now: Instant) {
        self.progress(now);
        let Some(context) = &mut self.context else { return };
        let start = if from_here { duration(context.samples) } else { Duration::ZERO };
        context.timed = true;
        for (word, end) in words {
            context.mark(word, start + *end);
        }
        context.tell(&mut self.spoken);
    }

    /// The oldest text that was not yet spoken is.
    pub(super) fn handle_flush_done(&mut self, now: Instant) {
        self.progress(now);
        let Some(context) = &mut self.context else { return };
        context.flushed += 1;
        context.flushed_samples = context.samples;
        if !context.timed
            && let Some(words) = context.texts.get(context.flushed - 1)
        {
            context.marks.push((*words, duration(context.samples)));
        }
        context.tell(&mut self.spoken);
    }

    /// The context is over. If it expired just as more text was sent into it, that text is to be sent again; where it says
    /// nothing of its later texts, these may still come.
    pub(super) fn handle_done(&mut self, now: Instant) {
        self.progress(now);
        let Some(mut context) = self.context.take() else { return };
        let marked = context.timed || context.flushed > 0;
        context.dones += 1;
        if !context.finished && !context.is_voiced() && marked {
            self.insert(context.rest());
        } else if context.is_done() {
            context.tell_rest(&mut self.spoken);
        } else {
            context.done_at = Some(now);
            self.context = Some(context);
        }
    }

    /// The context failed, or is stuck; another one, over another connection or this one, may do. Returns whether it is tried.
    pub(super) fn retry(&mut self, limited: bool, now: Instant) -> bool {
        // Without knowing which words were heard, nobody knows where to go on.
        if self.retries >= RETRIES_MAX || self.context.as_ref().is_some_and(|context| !context.place_is_known()) {
            return false;
        }
        self.retries += 1;
        self.rival = None;
        if let Some(context) = self.context.take() {
            self.insert(context.rest());
        }
        self.since = now;
        self.not_before = if limited { now + LIMITED_WAIT } else { now };
        true
    }

    /// Something would never do, the provider says; returns whether it has said so before. Once may be a mistake of its own.
    pub(super) fn is_refused_again(&mut self) -> bool {
        std::mem::replace(&mut self.refused, true)
    }

    /// When audio is owed and does not come: what to do about it. A first audio may take `patience`.
    pub(super) fn handle_timeout(&mut self, patience: Duration, now: Instant) -> Option<Late> {
        if !self.owes() {
            return None;
        }
        if self.done_at().is_some_and(|done| now >= done + AFTER_DONE_MAX)
            && let Some(context) = self.context.take()
        {
            context.tell_rest(&mut self.spoken);
            return Some(Late::Complete);
        }
        let complete = |context: &Context| context.finished && context.samples > 0 && context.rest().is_empty();
        if self.due(patience) <= now
            && let Some(context) = self.context.take_if(|context| complete(context))
        {
            context.tell_rest(&mut self.spoken);
            return Some(Late::Complete);
        }
        if now >= self.given_up_at() {
            return Some(Late::Failed);
        }
        if now < self.due(patience) || now < self.not_before {
            return None;
        }
        // Each try is waited for as long as the one before.
        self.since = now;
        Some(match &self.context {
            None => Late::Unsent,
            Some(context) if context.samples == 0 => Late::Silent,
            Some(_) => Late::Stuck,
        })
    }

    /// When the next step is due without anything coming in.
    pub(super) fn poll_timeout(&self, patience: Duration) -> Option<Instant> {
        let wait = Some(self.not_before).filter(|_| self.sent < self.parts.len() && self.not_before > self.since);
        let late = self.owes().then(|| self.due(patience).min(self.given_up_at()));
        let done = self.done_at().map(|done| done + AFTER_DONE_MAX);
        wait.into_iter().chain(late).chain(done).min()
    }

    /// When the present context was said to be done, if more of it may come.
    fn done_at(&self) -> Option<Instant> {
        self.context.as_ref()?.done_at
    }

    fn given_up_at(&self) -> Instant {
        let asked = self.context.is_some() || self.rival.is_some();
        self.owed + if self.alone && asked && self.samples == 0 { GIVE_UP_ALONE_AFTER } else { GIVE_UP_AFTER }
    }

    /// Whether two connections are asked, and nothing but waiting for them is left.
    pub(super) fn is_waiting(&self) -> bool {
        self.alone && self.rival.is_some()
    }

    /// Returns the next words that are spoken: as they are written, and where they end in the turn's audio.
    pub(super) fn poll_spoken(&mut self) -> Option<(String, Duration)> {
        self.spoken.pop_front()
    }

    /// Whether all of the turn's audio is there.
    pub(super) fn is_complete(&self) -> bool {
        self.last && self.sent == self.parts.len() && self.context.is_none()
    }

    /// How much audio of the turn came.
    pub(super) fn length(&self) -> Duration {
        duration(self.samples)
    }

    fn owes(&self) -> bool {
        self.sent < self.parts.len()
            || self.context.as_ref().is_some_and(|context| context.finished || !context.is_voiced())
    }

    /// Until when the present try is waited for.
    fn due(&self, patience: Duration) -> Instant {
        let begun = self.context.as_ref().is_some_and(|context| context.samples > 0);
        self.since.max(self.not_before) + if begun { CHUNK_MAX } else { patience }
    }

    fn progress(&mut self, now: Instant) {
        (self.active, self.since, self.owed) = (now, now, now);
    }

    /// Puts `words` in front of what is to be sent.
    fn insert(&mut self, words: Vec<Word>) {
        if !words.is_empty() {
            self.parts.insert(self.sent, Part { clause: None, words });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    const LINE: Token = Token(1);
    const PATIENCE: Duration = Duration::from_millis(500);
    const IDLE: Duration = Duration::from_millis(600);

    /// A turn with these clauses, all of them sent at 0.
    fn speech(clauses: &[&str], last: bool) -> (Speech, Vec<Speak>, u32) {
        let (mut speech, mut contexts) = (Speech::new(TurnId(4), IDLE, at(0)), 0);
        for (n, text) in clauses.iter().enumerate() {
            speech.add(n as u16, text, last && n + 1 == clauses.len(), at(0));
        }
        let sent = std::iter::from_fn(|| speech.next_message(&mut contexts, LINE, at(0))).collect();
        (speech, sent, contexts)
    }

    fn hear(speech: &mut Speech, words: &[(&str, u64)], samples: usize) {
        let words: Vec<_> = words.iter().map(|(word, end)| ((*word).to_owned(), Duration::from_millis(*end))).collect();
        speech.handle_words(&words, false, at(100));
        speech.handle_audio(samples, at(100));
    }

    fn spoken(speech: &mut Speech) -> Vec<(String, u64)> {
        std::iter::from_fn(|| speech.poll_spoken()).map(|(text, end)| (text, end.as_millis() as u64)).collect()
    }

    fn told(words: &[(&str, u64)]) -> Vec<(String, u64)> {
        words.iter().map(|(word, end)| ((*word).to_owned(), *end)).collect()
    }

    #[test]
    fn a_turn_is_one_context_and_its_last_text_ends_it() {
        let (speech, sent, _) = speech(&["Hello there.", "Bye."], true);
        let told: Vec<_> =
            sent.iter().map(|s| (s.context.as_str(), s.transcript.as_str(), s.more, s.first, s.clause)).collect();
        let expected = [("t4-1", "Hello there. ", true, true, Some(0)), ("t4-1", "Bye.", false, false, Some(1))];
        assert_eq!(told, expected);
        assert!(!speech.is_complete());
    }

    #[test]
    fn a_server_that_says_done_after_every_text_is_heard_to_the_last() {
        let (mut speech, _, mut contexts) = speech(&["One.", "Two."], false);
        speech.handle_audio(800, at(100));
        speech.handle_done(at(120));
        speech.add(2, "Three.", true, at(130));
        assert_eq!(speech.next_message(&mut contexts, LINE, at(130)), None, "it may be closed");
        assert!(speech.concerns(Some("t4-1"), LINE));
        speech.handle_audio(800, at(200));
        let third = speech.next_message(&mut contexts, LINE, at(200)).map(|speak| speak.context);
        assert_eq!(third.as_deref(), Some("t4-1"));
        speech.handle_done(at(210));
        speech.handle_audio(800, at(300));
        assert!(!speech.is_complete());
        speech.handle_done(at(310));
        assert!(speech.is_complete());
        assert_eq!(speech.length(), Duration::from_millis(300));
    }

    #[test]
    fn one_done_for_all_texts_ends_them_soon_where_nothing_tells_which_were_spoken() {
        let (mut speech, ..) = speech(&["One.", "Two."], true);
        speech.handle_audio(1600, at(100));
        speech.handle_done(at(120));
        assert!(!speech.is_complete());
        assert_eq!(speech.poll_timeout(PATIENCE), Some(at(120) + AFTER_DONE_MAX));
        assert_eq!(speech.handle_timeout(PATIENCE, at(419)), None);
        assert_eq!(speech.handle_timeout(PATIENCE, at(420)), Some(Late::Complete));
        assert!(speech.is_complete());
        assert_eq!(spoken(&mut speech), told(&[("One. Two.", 200)]));
    }

    #[test]
    fn an_empty_last_text_ends_the_context_and_signs_alone_are_not_sent() {
        let (mut speech, sent, mut contexts) = speech(&["Hello.", " -- "], false);
        assert_eq!(sent.len(), 1);
        speech.add(2, "", true, at(10));
        let end = Speak { context: "t4-1".into(), transcript: String::new(), more: false, first: false, clause: None };
        assert_eq!(speech.next_message(&mut contexts, LINE, at(10)), Some(end));
        assert_eq!(speech.next_message(&mut contexts, LINE, at(10)), None);
        speech.handle_done(at(20));
        assert!(speech.is_complete());
    }

    #[test]
    fn a_turn_without_words_is_complete_at_once() {
        let (speech, sent, _) = speech(&["..."], true);
        assert!(sent.is_empty() && speech.is_complete());
    }

    #[test]
    fn words_are_told_as_written_once_their_audio_is_there() {
        let (mut speech, sent, _) = speech(&["Pay $12.50 now."], true);
        assert_eq!(sent[0].transcript, "Pay twelve dollars and fifty cents now.");
        let words = [("Pay", 200), ("twelve", 400), ("dollars", 600), ("and", 700), ("fifty", 900), ("cents", 1200)];
        hear(&mut speech, &words, 8000);
        assert_eq!(spoken(&mut speech), told(&[("Pay", 200)]));
        speech.handle_audio(1600, at(110));
        assert_eq!(spoken(&mut speech), told(&[("$12.50", 1200)]));
        speech.handle_words(&[("now.".into(), Duration::from_millis(1500))], false, at(120));
        speech.handle_audio(2400, at(130));
        speech.handle_done(at(140));
        assert_eq!(spoken(&mut speech), told(&[("now.", 1500)]));
        assert!(speech.is_complete());
    }

    #[test]
    fn words_may_be_timed_from_where_the_audio_stands() {
        let (mut speech, ..) = speech(&["One two."], true);
        for word in ["One", "two."] {
            speech.handle_words(&[(word.into(), Duration::from_millis(300))], true, at(10));
            speech.handle_audio(2400, at(10));
        }
        assert_eq!(spoken(&mut speech), told(&[("One", 300), ("two.", 600)]));
    }

    #[test]
    fn a_voice_without_word_times_tells_whole_clauses() {
        let (mut speech, ..) = speech(&["One two.", "Three."], true);
        speech.handle_audio(4000, at(10));
        assert_eq!(spoken(&mut speech), []);
        speech.handle_flush_done(at(20));
        speech.handle_audio(4000, at(30));
        speech.handle_done(at(40));
        assert_eq!(spoken(&mut speech), told(&[("One two.", 500), ("Three.", 1000)]));
    }

    #[test]
    fn text_after_the_context_expired_gets_another_one() {
        let (mut speech, _, mut contexts) = speech(&["One moment."], false);
        hear(&mut speech, &[("One", 300), ("moment.", 700)], 8000);
        speech.handle_flush_done(at(100));
        speech.handle_done(at(1100));
        speech.add(1, "Here it is.", true, at(2000));
        let next = speech.next_message(&mut contexts, LINE, at(2000)).expect("a message");
        assert_eq!((next.context.as_str(), next.transcript.as_str(), next.more), ("t4-2", "Here it is.", false));
        spoken(&mut speech);
        hear(&mut speech, &[("Here", 200)], 8000);
        assert_eq!(spoken(&mut speech), told(&[("Here", 1200)]), "it begins after the first one's second");
    }

    #[test]
    fn text_after_a_pause_does_not_race_the_expiry() {
        let (mut speech, _, mut contexts) = speech(&["One moment."], false);
        hear(&mut speech, &[("One", 300), ("moment.", 700)], 8000);
        speech.handle_flush_done(at(100));
        speech.add(1, "Here.", false, at(900));
        assert_eq!(speech.next_message(&mut contexts, LINE, at(900)).map(|next| next.context), Some("t4-2".into()));
        assert!(!speech.concerns(Some("t4-1"), LINE));
    }

    #[test]
    fn text_lost_in_an_expiring_context_is_said_again() {
        let (mut speech, _, mut contexts) = speech(&["One moment.", "Here it is."], false);
        hear(&mut speech, &[("One", 300), ("moment.", 700)], 8000);
        speech.handle_flush_done(at(100));
        speech.handle_done(at(1000));
        let next = speech.next_message(&mut contexts, LINE, at(1000)).expect("a message");
        assert_eq!((next.context.as_str(), next.transcript.as_str()), ("t4-2", "Here it is. "));
        assert_eq!(next.clause, None, "it was told as sent before");
    }

    #[test]
    fn audio_that_stops_is_gone_on_with_at_the_word_where_it_stopped() {
        let (mut speech, _, mut contexts) = speech(&["Your table costs $12.50."], true);
        hear(&mut speech, &[("Your", 200), ("table", 500), ("costs", 600), ("twelve", 690), ("dollars", 1000)], 5600);
        assert_eq!(spoken(&mut speech), told(&[("Your", 200), ("table", 500), ("costs", 600)]));
        assert_eq!(speech.handle_timeout(PATIENCE, at(699)), None);
        assert_eq!(speech.poll_timeout(PATIENCE), Some(at(700)));
        assert_eq!(speech.handle_timeout(PATIENCE, at(700)), Some(Late::Stuck));
        assert!(speech.retry(false, at(700)));
        let next = speech.next_message(&mut contexts, Token(2), at(700)).map(|next| next.transcript);
        assert_eq!(next.as_deref(), Some("dollars and fifty cents."));
        hear(&mut speech, &[("dollars", 300), ("and", 400), ("fifty", 600), ("cents.", 900)], 8000);
        assert_eq!(spoken(&mut speech), told(&[("$12.50.", 1600)]));
    }

    #[test]
    fn what_cannot_be_had_is_given_up_in_time() {
        let (mut speech, _, mut contexts) = speech(&["Hello there."], true);
        let mut now = 0;
        let mut lates = Vec::new();
        loop {
            let due = speech.poll_timeout(PATIENCE).expect("audio is owed");
            assert!(due > at(now), "time passes");
            now = due.since(at(0)).as_millis() as u64;
            let late = speech.handle_timeout(PATIENCE, due).expect("something is due");
            lates.push(late);
            if late == Late::Failed {
                break;
            }
            assert!(speech.retry(false, due));
            assert!(speech.next_message(&mut contexts, LINE, due).is_some());
        }
        assert_eq!((now, lates), (1200, vec![Late::Silent, Late::Silent, Late::Failed]));
    }

    #[test]
    fn a_voice_with_none_behind_it_is_waited_for_until_it_has_begun() {
        let (speech, _, _) = speech(&["Hello there."], true);
        let mut speech = speech.alone(true);
        assert_eq!(speech.handle_timeout(PATIENCE, at(2499)), Some(Late::Silent));
        assert!(!speech.is_waiting(), "another connection is to be asked");
        speech.hedge(at(2499));
        assert!(speech.is_waiting());
        assert_eq!(speech.handle_timeout(PATIENCE, at(2500)), Some(Late::Failed));
        let (speech, _, _) = self::speech(&["Hello there."], true);
        let mut speech = speech.alone(true);
        speech.handle_audio(800, at(2000));
        assert_eq!(speech.handle_timeout(PATIENCE, at(2000) + GIVE_UP_AFTER), Some(Late::Failed));
    }

    #[test]
    fn more_text_does_not_prolong_the_wait() {
        let (mut speech, _, mut contexts) = speech(&["Hello there."], false);
        for n in 1..4 {
            speech.add(n, "And more.", false, at(300 * u64::from(n)));
            let _ = speech.next_message(&mut contexts, LINE, at(300 * u64::from(n)));
        }
        assert_eq!(speech.handle_timeout(PATIENCE, at(1200)), Some(Late::Failed));
    }

    #[test]
    fn of_two_contexts_the_quicker_one_is_heard() {
        for quicker in ["t4-1", "t4-2"] {
            let (mut speech, _, mut contexts) = speech(&["One two."], false);
            speech.hedge(at(500));
            speech.add(1, "Three.", true, at(510));
            let again: Vec<_> = std::iter::from_fn(|| speech.next_message(&mut contexts, Token(2), at(520)))
                .map(|s| s.transcript)
                .collect();
            assert_eq!(again, ["One two. ", "Three."]);
            if quicker == "t4-1" {
                assert!(speech.is_rival("t4-1"));
                assert_eq!(speech.adopt_rival(), Some(("t4-2".into(), Token(2))));
                let rest = speech.next_message(&mut contexts, LINE, at(600)).expect("what came later");
                assert_eq!((rest.context.as_str(), rest.transcript.as_str(), rest.more), ("t4-1", "Three.", false));
            } else {
                speech.forget_rival();
            }
            assert!(speech.concerns(Some(quicker), LINE) && speech.rival().is_none());
            hear(&mut speech, &[("One", 100), ("two.", 200), ("Three.", 400)], 4000);
            speech.handle_done(at(700));
            let words: Vec<_> = spoken(&mut speech).into_iter().map(|(word, _)| word).collect();
            assert_eq!(words, ["One", "two.", "Three."]);
            assert!(speech.is_complete());
        }
    }

    #[test]
    fn a_rival_that_wins_before_the_other_is_asked_leaves_nothing_to_ask() {
        let (mut speech, _, mut contexts) = speech(&["One two."], true);
        speech.hedge(at(500));
        assert_eq!(speech.adopt_rival(), None);
        assert_eq!(speech.next_message(&mut contexts, Token(2), at(510)), None);
        assert!(speech.concerns(Some("t4-1"), LINE));
    }

    #[test]
    fn audio_that_is_all_there_needs_no_done() {
        let (mut speech, ..) = speech(&["Your table."], true);
        hear(&mut speech, &[("Your", 200), ("table.", 500)], 4000);
        assert_eq!(speech.handle_timeout(PATIENCE, at(700)), Some(Late::Complete));
        assert!(speech.is_complete());
    }

    #[test]
    fn without_word_times_nothing_is_said_twice() {
        let (mut speech, _, mut contexts) = speech(&["Your table.", "It is booked."], true);
        speech.handle_audio(800, at(100));
        assert!(!speech.retry(false, at(200)), "in the middle of a clause");
        speech.handle_flush_done(at(200));
        assert!(speech.retry(false, at(300)), "between two of them");
        let next = speech.next_message(&mut contexts, LINE, at(300)).map(|next| next.transcript);
        assert_eq!(next.as_deref(), Some("It is booked."));
    }

    #[test]
    fn text_that_cannot_be_sent_fails_in_time() {
        let mut speech = Speech::new(TurnId(1), IDLE, at(0));
        speech.add(0, "Hello.", true, at(1000));
        assert_eq!(speech.handle_timeout(PATIENCE, at(1500)), Some(Late::Unsent));
        assert_eq!(speech.handle_timeout(PATIENCE, at(2200)), Some(Late::Failed));
    }

    #[test]
    fn a_slow_model_is_not_taken_for_a_slow_voice() {
        let (mut speech, ..) = speech(&["Well,"], false);
        hear(&mut speech, &[("Well,", 300)], 4000);
        speech.handle_flush_done(at(200));
        assert_eq!(speech.poll_timeout(PATIENCE), None);
        assert_eq!(speech.handle_timeout(PATIENCE, at(9000)), None);
    }

    #[test]
    fn a_limited_context_is_tried_again_after_a_while_and_not_for_ever() {
        let (mut speech, _, mut contexts) = speech(&["Hello."], true);
        for (n, now) in [50, 400, 800].into_iter().enumerate() {
            assert!(speech.retry(true, at(now)));
            assert_eq!(speech.next_message(&mut contexts, LINE, at(now + 50)), None);
            assert_eq!(speech.poll_timeout(PATIENCE), Some(at(now + 300)));
            let next = speech.next_message(&mut contexts, LINE, at(now + 300)).map(|next| next.context);
            assert_eq!(next, Some(format!("t4-{}", n + 2)));
        }
        assert!(!speech.retry(true, at(1150)));
    }

    #[test]
    fn only_the_present_context_is_listened_to() {
        let (speech, ..) = speech(&["Hello."], true);
        assert!(speech.concerns(Some("t4-1"), LINE) && speech.concerns(None, LINE));
        assert!(!speech.concerns(Some("t3-1"), LINE) && !speech.concerns(Some("t4-10"), LINE));
        assert!(!speech.concerns(None, Token(2)), "an error of the spare connection");
    }
}
