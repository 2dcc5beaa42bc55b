//! One turn's speech: which text is sent in which context, what of it was heard as audio, and what is still owed; pure.
//!
//! A context is Cartesia's unit of prosody: a turn has one, and a further one where the first has expired or failed.

use crate::ids::TurnId;
use crate::time::Instant;
use std::time::Duration;

/// How long the next audio of a turn may take, the first one among it: ten times what Cartesia needs.
const AUDIO_MAX: Duration = Duration::from_secs(3);
/// The wait before another try where too many contexts were open.
const LIMITED_WAIT: Duration = Duration::from_millis(300);
/// Further tries of a turn.
const RETRIES_MAX: u32 = 1;
/// An idle context expires after about 1 s; text that comes later than this goes into another one.
const STALE_AFTER: Duration = Duration::from_millis(600);
/// Texts of one turn; a reply of 400 tokens has fewer clauses.
const PARTS_MAX: usize = 256;
/// Samples in a second of audio.
const SAMPLES_PER_SECOND: u64 = 8000;

/// A message that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Speak {
    pub(super) context: String,
    pub(super) transcript: String,
    pub(super) more: bool,
    /// The clause whose text this is, if it is sent for the first time.
    pub(super) clause: Option<u16>,
}

/// What to do about audio that does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// Everything is there; only the word that it is did not come.
    Complete,
    /// What was not heard is to be sent again, over another connection.
    Again,
    /// Nothing can be done.
    Failed,
}

#[derive(Debug)]
struct Part {
    clause: Option<u16>,
    text: String,
}

/// A context under way.
#[derive(Debug)]
struct Context {
    id: String,
    /// Audio of the turn before this context's, and of the context itself, in samples.
    before: u64,
    samples: u64,
    /// What was sent in it.
    text: String,
    /// Where each word ends in the context's audio.
    word_ends: Vec<Duration>,
    sent: usize,
    flushed: usize,
    /// No more text will be sent in it.
    finished: bool,
}

/// The speech of one turn.
#[derive(Debug)]
pub(super) struct Speech {
    pub(super) turn: TurnId,
    parts: Vec<Part>,
    sent: usize,
    /// No more text will come.
    last: bool,
    context: Option<Context>,
    samples: u64,
    /// Whether word times came for this turn.
    timed: bool,
    retries: u32,
    /// When something was last sent or came.
    active: Instant,
    /// From when on the audio that is owed is waited for.
    since: Instant,
    not_before: Instant,
}

impl Speech {
    /// Begins the speech of `turn`.
    pub(super) fn new(turn: TurnId, now: Instant) -> Self {
        Self {
            turn,
            parts: Vec::new(),
            sent: 0,
            last: false,
            context: None,
            samples: 0,
            timed: false,
            retries: 0,
            active: now,
            since: now,
            not_before: now,
        }
    }

    /// Adds a clause. Text without a letter or a digit is nothing that can be spoken.
    pub(super) fn add(&mut self, clause: u16, text: &str, last: bool, now: Instant) {
        if !self.owes() {
            self.since = now;
        }
        self.last |= last;
        if text.contains(char::is_alphanumeric) && self.parts.len() < PARTS_MAX {
            self.parts.push(Part { clause: Some(clause), text: text.trim().to_owned() });
        }
    }

    /// Returns what is to be sent next; `contexts` numbers the session's contexts.
    pub(super) fn next_message(&mut self, contexts: &mut u32, now: Instant) -> Option<Speak> {
        if now < self.not_before {
            return None;
        }
        let parts = self.parts.len();
        let Some(part) = self.parts.get_mut(self.sent) else {
            let context = self.context.as_mut().filter(|context| self.last && !context.finished)?;
            context.finished = true;
            let (context, transcript) = (context.id.clone(), String::new());
            return Some(Speak { context, transcript, more: false, clause: None });
        };
        let idle = now.since(self.active) >= STALE_AFTER;
        self.context.take_if(|context| context.finished || (idle && context.is_voiced()));
        let (turn, before) = (self.turn.0, self.samples);
        let context = self.context.get_or_insert_with(|| {
            *contexts += 1;
            Context::new(format!("t{turn}-{contexts}"), before)
        });
        self.sent += 1;
        let more = !self.last || self.sent < parts;
        // Cartesia joins texts as they are.
        let transcript = if more { format!("{} ", part.text) } else { part.text.clone() };
        context.text.push_str(&part.text);
        context.text.push(' ');
        context.sent += 1;
        context.finished = !more;
        (self.active, self.since) = (now, now);
        Some(Speak { context: context.id.clone(), transcript, more, clause: part.clause.take() })
    }

    /// Whether a message about `context` is about what is being spoken; one that names none is.
    pub(super) fn concerns(&self, context: Option<&str>) -> bool {
        match (&self.context, context) {
            (Some(own), Some(id)) => own.id == id,
            (own, None) => own.is_some(),
            (None, Some(_)) => false,
        }
    }

    /// Returns the context that has to be cancelled when the turn is.
    pub(super) fn context(&self) -> Option<&str> {
        self.context.as_ref().map(|context| context.id.as_str())
    }

    /// Audio came; returns whether it is the turn's first.
    pub(super) fn handle_audio(&mut self, samples: usize, now: Instant) -> bool {
        let first = self.samples == 0 && samples > 0;
        self.samples += samples as u64;
        (self.active, self.since) = (now, now);
        if let Some(context) = &mut self.context {
            context.samples += samples as u64;
        }
        first
    }

    /// Words came with the ends of their audio; returns where that is in the turn's audio.
    pub(super) fn handle_word(&mut self, end: Duration, now: Instant) -> Duration {
        self.timed = true;
        (self.active, self.since) = (now, now);
        let Some(context) = &mut self.context else { return end };
        context.word_ends.push(end);
        duration(context.before) + end
    }

    /// The oldest text that was not yet spoken is.
    pub(super) fn handle_flush_done(&mut self, now: Instant) {
        (self.active, self.since) = (now, now);
        if let Some(context) = &mut self.context {
            context.flushed += 1;
        }
    }

    /// The context is over. If it expired just as more text was sent into it, that text is to be sent again.
    pub(super) fn handle_done(&mut self, now: Instant) {
        (self.active, self.since) = (now, now);
        if let Some(context) = self.context.take()
            && !context.finished
            && context.flushed < context.sent
            && !context.word_ends.is_empty()
        {
            self.say_again(&context);
        }
    }

    /// The context failed; `elsewhere`, or on the same connection, another one may do. Returns whether it is tried.
    pub(super) fn retry(&mut self, limited: bool, now: Instant) -> bool {
        // Without word times, nobody knows where to go on.
        let lost = |context: &Context| context.samples > 0 && context.word_ends.is_empty();
        if self.retries >= RETRIES_MAX || self.context.as_ref().is_some_and(lost) {
            return false;
        }
        self.retries += 1;
        if let Some(context) = self.context.take() {
            self.say_again(&context);
        }
        self.since = now;
        self.not_before = if limited { now + LIMITED_WAIT } else { now };
        true
    }

    /// When audio is owed and does not come: what to do about it.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Late> {
        if now >= self.not_before {
            self.since = self.since.max(self.not_before);
        }
        if self.poll_timeout().is_none_or(|due| now < due) || now < self.not_before {
            return None;
        }
        let complete = |context: &Context| context.finished && context.samples > 0 && context.rest().is_empty();
        if self.context.as_ref().is_some_and(complete) {
            self.context = None;
            return Some(Late::Complete);
        }
        let (sent, again) = (self.context.is_some(), self.retry(false, now));
        Some(if sent && again { Late::Again } else { Late::Failed })
    }

    /// When the next step is due without anything coming in.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let wait = Some(self.not_before).filter(|_| self.sent < self.parts.len() && self.not_before > self.since);
        let late = self.owes().then(|| self.since.max(self.not_before) + AUDIO_MAX);
        wait.into_iter().chain(late).min()
    }

    /// Whether all of the turn's audio is there.
    pub(super) fn is_complete(&self) -> bool {
        self.last && self.sent == self.parts.len() && self.context.is_none()
    }

    /// How much audio of the turn came.
    pub(super) fn length(&self) -> Duration {
        duration(self.samples)
    }

    /// Whether word times came.
    pub(super) fn is_timed(&self) -> bool {
        self.timed
    }

    fn owes(&self) -> bool {
        self.sent < self.parts.len()
            || self.context.as_ref().is_some_and(|context| context.finished || !context.is_voiced())
    }

    fn say_again(&mut self, context: &Context) {
        let text = context.rest();
        if text.contains(char::is_alphanumeric) {
            self.parts.insert(self.sent, Part { clause: None, text });
        }
    }
}

impl Context {
    fn new(id: String, before: u64) -> Self {
        let (text, word_ends) = (String::new(), Vec::new());
        Self { id, before, samples: 0, text, word_ends, sent: 0, flushed: 0, finished: false }
    }

    /// Whether all that was sent is spoken, as far as the server tells.
    fn is_voiced(&self) -> bool {
        self.flushed >= self.sent || (self.samples > 0 && self.rest().is_empty())
    }

    /// Returns the text that was not heard as audio, by the ends of its words.
    fn rest(&self) -> String {
        let heard = self.word_ends.iter().filter(|end| **end <= duration(self.samples)).count();
        self.text.split_whitespace().skip(heard).collect::<Vec<_>>().join(" ")
    }
}

/// Returns the time that `samples` last.
fn duration(samples: u64) -> Duration {
    Duration::from_nanos(samples.saturating_mul(1_000_000_000 / SAMPLES_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// A turn with these clauses, all of them sent at 0.
    fn speech(clauses: &[&str], last: bool) -> (Speech, Vec<Speak>, u32) {
        let (mut speech, mut contexts) = (Speech::new(TurnId(4), at(0)), 0);
        for (n, text) in clauses.iter().enumerate() {
            speech.add(n as u16, text, last && n + 1 == clauses.len(), at(0));
        }
        let sent = std::iter::from_fn(|| speech.next_message(&mut contexts, at(0))).collect();
        (speech, sent, contexts)
    }

    fn hear(speech: &mut Speech, ends: &[u64], samples: usize) {
        for end in ends {
            speech.handle_word(Duration::from_millis(*end), at(100));
        }
        speech.handle_audio(samples, at(100));
    }

    #[test]
    fn a_turn_is_one_context_and_its_last_text_ends_it() {
        let (speech, sent, _) = speech(&["Hello there.", "Bye."], true);
        let told: Vec<_> = sent.iter().map(|s| (s.context.as_str(), s.transcript.as_str(), s.more, s.clause)).collect();
        assert_eq!(told, [("t4-1", "Hello there. ", true, Some(0)), ("t4-1", "Bye.", false, Some(1))]);
        assert!(!speech.is_complete());
    }

    #[test]
    fn an_empty_last_text_ends_the_context_and_signs_alone_are_not_sent() {
        let (mut speech, sent, mut contexts) = speech(&["Hello.", " -- "], false);
        assert_eq!(sent.len(), 1);
        speech.add(2, "", true, at(10));
        let end = Speak { context: "t4-1".into(), transcript: String::new(), more: false, clause: None };
        assert_eq!(speech.next_message(&mut contexts, at(10)), Some(end));
        assert_eq!(speech.next_message(&mut contexts, at(10)), None);
        speech.handle_done(at(20));
        assert!(speech.is_complete());
    }

    #[test]
    fn a_turn_without_words_is_complete_at_once() {
        let (speech, sent, _) = speech(&["..."], true);
        assert!(sent.is_empty() && speech.is_complete());
    }

    #[test]
    fn text_after_the_context_expired_gets_another_one() {
        let (mut speech, _, mut contexts) = speech(&["One moment."], false);
        hear(&mut speech, &[300, 700], 8000);
        speech.handle_flush_done(at(100));
        speech.handle_done(at(1100));
        speech.add(1, "Here it is.", true, at(2000));
        let next = speech.next_message(&mut contexts, at(2000)).expect("a message");
        assert_eq!((next.context.as_str(), next.transcript.as_str(), next.more), ("t4-2", "Here it is.", false));
        let end = speech.handle_word(Duration::from_millis(200), at(2100));
        assert_eq!(end, Duration::from_millis(1200), "the second context begins after the first one's second");
    }

    #[test]
    fn text_after_a_pause_does_not_race_the_expiry() {
        let (mut speech, _, mut contexts) = speech(&["One moment."], false);
        hear(&mut speech, &[300, 700], 8000);
        speech.handle_flush_done(at(100));
        speech.add(1, "Here.", false, at(900));
        assert_eq!(speech.next_message(&mut contexts, at(900)).map(|next| next.context), Some("t4-2".into()));
        assert!(!speech.concerns(Some("t4-1")));
    }

    #[test]
    fn text_lost_in_an_expiring_context_is_said_again() {
        let (mut speech, _, mut contexts) = speech(&["One moment.", "Here it is."], false);
        hear(&mut speech, &[300, 700], 8000);
        speech.handle_flush_done(at(100));
        speech.handle_done(at(1000));
        let next = speech.next_message(&mut contexts, at(1000)).expect("a message");
        assert_eq!((next.context.as_str(), next.transcript.as_str()), ("t4-2", "Here it is. "));
        assert_eq!(next.clause, None, "it was told as sent before");
    }

    #[test]
    fn audio_that_stops_is_gone_on_with_where_it_stopped_and_only_once() {
        let (mut speech, _, mut contexts) = speech(&["Your table is booked."], true);
        hear(&mut speech, &[200, 500, 700, 1000], 5600);
        assert_eq!(speech.handle_timeout(at(3000)), None);
        assert_eq!(speech.poll_timeout(), Some(at(3100)));
        assert_eq!(speech.handle_timeout(at(3100)), Some(Late::Again));
        assert_eq!(speech.next_message(&mut contexts, at(3200)).map(|next| next.transcript), Some("booked.".into()));
        assert_eq!(speech.handle_timeout(at(6200)), Some(Late::Failed));
    }

    #[test]
    fn audio_that_is_all_there_needs_no_done() {
        let (mut speech, _, _) = speech(&["Your table."], true);
        hear(&mut speech, &[200, 500], 4000);
        assert_eq!(speech.handle_timeout(at(3100)), Some(Late::Complete));
        assert!(speech.is_complete());
    }

    #[test]
    fn without_word_times_nothing_is_said_twice() {
        let (mut speech, _, _) = speech(&["Your table."], true);
        speech.handle_audio(800, at(100));
        assert_eq!(speech.handle_timeout(at(3100)), Some(Late::Failed));
    }

    #[test]
    fn text_that_cannot_be_sent_fails_in_time() {
        let mut speech = Speech::new(TurnId(1), at(0));
        speech.add(0, "Hello.", true, at(1000));
        assert_eq!(speech.poll_timeout(), Some(at(4000)));
        assert_eq!(speech.handle_timeout(at(4000)), Some(Late::Failed));
    }

    #[test]
    fn a_slow_model_is_not_taken_for_a_slow_voice() {
        let (mut speech, _, _) = speech(&["Well,"], false);
        hear(&mut speech, &[300], 4000);
        speech.handle_flush_done(at(200));
        assert_eq!(speech.poll_timeout(), None);
    }

    #[test]
    fn a_limited_context_is_tried_again_after_a_while() {
        let (mut speech, _, mut contexts) = speech(&["Hello."], true);
        assert!(speech.retry(true, at(50)));
        assert_eq!(speech.next_message(&mut contexts, at(100)), None);
        assert_eq!(speech.poll_timeout(), Some(at(350)));
        assert_eq!(speech.next_message(&mut contexts, at(350)).map(|next| next.context), Some("t4-2".into()));
        assert!(!speech.retry(true, at(400)));
    }

    #[test]
    fn a_wait_that_is_over_is_not_due_again() {
        let (mut speech, _, _) = speech(&["Hello."], true);
        assert!(speech.retry(true, at(50)));
        // There is no connection to send it over yet.
        assert_eq!(speech.handle_timeout(at(350)), None);
        assert_eq!(speech.poll_timeout(), Some(at(3350)));
    }

    #[test]
    fn only_the_present_context_is_listened_to() {
        let (speech, _, _) = speech(&["Hello."], true);
        assert!(speech.concerns(Some("t4-1")) && speech.concerns(None));
        assert!(!speech.concerns(Some("t3-1")) && !speech.concerns(Some("t4-10")));
    }
}
