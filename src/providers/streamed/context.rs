//! One context of a turn's speech: what was sent in it, how much of that its audio holds, and which words may be told as spoken; pure.

use crate::agent::spoken::aloud::aloud;
use crate::call::VOICE_RATE;
use crate::time::{self, Instant};
use mio::Token;
use std::collections::VecDeque;
use std::time::Duration;

/// How many words a provider may leave out of its report before the next one that it tells: it joins words. More would let
/// one word found far ahead claim too much.
const SKIPPED_MAX: usize = 3;
/// How much later than its audio a word may be told to end: times are rounded, to 10 ms by some.
const ROUNDING: Duration = Duration::from_millis(20);

/// A word as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) spoken: String,
    /// What was written, with the last word that stands for it.
    pub(super) written: String,
}

/// A context under way.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) id: String,
    pub(super) line: Token,
    pub(super) began: Instant,
    /// Audio of the turn before this context's, and of the context itself, in samples.
    before: u64,
    pub(super) samples: u64,
    /// What was sent in it, and where each text of it ends.
    pub(super) words: Vec<Word>,
    pub(super) texts: Vec<usize>,
    /// How many texts the provider has told to be spoken, and how much audio there was by then.
    pub(super) flushed: usize,
    pub(super) flushed_samples: u64,
    /// How many words are made when so much of the audio is: neither ever falls.
    pub(super) marks: Vec<(usize, Duration)>,
    /// How many words the agent was told of.
    told: usize,
    /// Whether the provider tells when each word ends.
    pub(super) timed: bool,
    /// No more text will be sent in it.
    pub(super) finished: bool,
    /// How often the provider has said that it is done, and when it did with texts left of which nothing had come.
    pub(super) dones: usize,
    pub(super) done_at: Option<Instant>,
}

impl Context {
    pub(super) fn new(id: String, line: Token, before: u64, began: Instant) -> Self {
        Self {
            id,
            line,
            began,
            before,
            samples: 0,
            words: Vec::new(),
            texts: Vec::new(),
            flushed: 0,
            flushed_samples: 0,
            marks: Vec::new(),
            told: 0,
            timed: false,
            finished: false,
            dones: 0,
            done_at: None,
        }
    }

    /// Whether all that was sent is spoken, as far as the server tells.
    pub(super) fn is_voiced(&self) -> bool {
        self.flushed >= self.texts.len() || (self.samples > 0 && self.rest().is_empty())
    }

    /// Whether the provider has said of every text that it is spoken, if it says that it is done for each one.
    pub(super) fn is_done(&self) -> bool {
        let unflushed = usize::from(self.samples > self.flushed_samples);
        self.is_voiced() || self.dones.max(self.flushed + unflushed) >= self.texts.len()
    }

    /// Whether it is known which of its words the audio holds.
    pub(super) fn place_is_known(&self) -> bool {
        let marked = self.marks.last().map_or(Duration::ZERO, |mark| mark.1);
        self.samples == 0 || (self.timed && !self.marks.is_empty()) || marked + ROUNDING >= duration(self.samples)
    }

    /// How many words the audio that came holds whole.
    fn heard(&self) -> usize {
        let held = duration(self.samples) + ROUNDING;
        self.marks.iter().rev().find(|(_, end)| *end <= held).map_or(0, |(words, _)| *words)
    }

    /// Returns the words that the audio does not hold.
    pub(super) fn rest(&self) -> Vec<Word> {
        self.words.get(self.heard()..).unwrap_or_default().to_vec()
    }

    /// Notes that `word`, the next one or one soon after it, ends at `end`.
    pub(super) fn mark(&mut self, word: &str, end: Duration) {
        let (at, before) = self.marks.last().copied().unwrap_or_default();
        let mut ahead = self.words.iter().skip(at).take(SKIPPED_MAX + 1);
        if let Some(found) = ahead.position(|next| bare(&next.spoken).eq_ignore_ascii_case(bare(word))) {
            self.marks.push((at + found + 1, end.max(before)));
        }
    }

    /// Tells of the words that the audio holds.
    pub(super) fn tell(&mut self, spoken: &mut VecDeque<(String, Duration)>) {
        let (heard, before, length) = (self.heard(), duration(self.before), duration(self.samples));
        while self.told < heard {
            let end = self.marks.iter().find(|mark| mark.0 > self.told).map_or(length, |mark| mark.1.min(length));
            // Words without a time of their own are told with the one behind them.
            let upto = self.marks.iter().find(|mark| mark.0 > self.told).map_or(heard, |mark| mark.0);
            let written = self.words.get(self.told..upto).unwrap_or_default().iter().map(|word| word.written.as_str());
            let text = written.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
            if !text.is_empty() {
                spoken.push_back((text, before + end));
            }
            self.told = upto;
        }
    }

    /// Tells of all its words: they are as much as its audio.
    pub(super) fn tell_rest(mut self, spoken: &mut VecDeque<(String, Duration)>) {
        self.marks.push((self.words.len(), duration(self.samples)));
        self.tell(spoken);
    }
}

/// Returns the words that say `text`.
pub(super) fn words(text: &str) -> Vec<Word> {
    let mut out: Vec<Word> = Vec::new();
    for said in aloud(text) {
        out.extend(said.spoken.split_whitespace().map(|word| Word { spoken: word.to_owned(), written: String::new() }));
        if let Some(last) = out.last_mut() {
            last.written = said.written;
        }
    }
    out
}

/// Returns `word` without the punctuation around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

/// Returns the time that `samples` last.
pub(super) fn duration(samples: u64) -> Duration {
    time::samples::duration(samples, VOICE_RATE)
}
