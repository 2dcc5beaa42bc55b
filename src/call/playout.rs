//! The agent's queued speech: `cut` drops it here, `heard` says how much of it was played.

use super::fade::{FADE_SAMPLES, Fade};
use super::filler::Filler;
use super::refill::Refill;
use super::{FRAME_8K, VoiceFrame};
use crate::ids::TurnId;
use crate::time::Instant;

/// Frames that wait here. The ring behind it holds more; this is only what may be played without another look at it:
/// 640 ms, so that a worker which sees the ring every 20 ms never runs dry.
const QUEUE_FRAMES: usize = 32;
/// Turns whose heard samples are remembered; a report about an older turn has long been asked for.
const TURNS_REMEMBERED: usize = 4;
/// Drafts that were withdrawn before their turn, and whose frames may still come in.
const DRAFTS_REMEMBERED: usize = 8;

/// What one frame of playout held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The turn whose speech it holds, or which ended with it; `None`: silence, or a filler.
    pub turn: Option<TurnId>,
    /// Samples of that turn, or of a filler, in it; the rest is silence.
    pub samples: u16,
    /// Whether the turn's first sample is in it.
    pub first: bool,
    /// When the last of its audio came from the voice.
    pub made: Instant,
    /// The turn that ended with it, and its samples played in all.
    pub finished: Option<Finished>,
    /// Whether a turn is under way whose next samples are not there.
    pub underrun: bool,
}

/// A turn whose speech was played to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The turn.
    pub turn: TurnId,
    /// Samples of it that were played, at 8 kHz.
    pub heard: u32,
}

/// The queue of the agent's speech. About 17 kB, without heap.
///
/// Frames of a turn wait until it is granted. A grant drops everything of the turns before it, here and as it still comes
/// in; a cut drops its own turn, and those before it if it had been granted. Turns come in rising order.
pub struct Playout {
    queue: [VoiceFrame; QUEUE_FRAMES],
    head: usize,
    len: usize,
    /// Samples of the first queued frame that are played.
    offset: usize,
    /// Turns below it are over.
    live_from: TurnId,
    /// Turns from `live_from` on that are over all the same.
    withdrawn: [Option<TurnId>; DRAFTS_REMEMBERED],
    withdrawn_next: usize,
    granted: Option<TurnId>,
    /// The turn of which something was played, and that is not over.
    under_way: Option<TurnId>,
    pause: Pause,
    fade: Fade,
    /// Samples played of the latest turns.
    heard: [Option<(TurnId, u32)>; TURNS_REMEMBERED],
    heard_next: usize,
    underruns: u64,
    /// Whether the turn under way waits for its voice.
    dry: bool,
    refill: Refill,
    filler: Filler,
}

/// Whether the agent is silent though it has something to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    No,
    /// From the next frame on, which still holds the fade.
    Fading,
    Silent,
}

impl Default for Playout {
    fn default() -> Self {
        Self::new()
    }
}

impl Playout {
    /// Makes an empty queue, with nothing granted.
    #[must_use]
    pub fn new() -> Self {
        Self {
            queue: [VoiceFrame::EMPTY; QUEUE_FRAMES],
            head: 0,
            len: 0,
            offset: 0,
            live_from: TurnId::GREETING,
            withdrawn: [None; DRAFTS_REMEMBERED],
            withdrawn_next: 0,
            granted: None,
            under_way: None,
            pause: Pause::No,
            fade: Fade::new(),
            heard: [None; TURNS_REMEMBERED],
            heard_next: 0,
            underruns: 0,
            dry: false,
            refill: Refill::default(),
            filler: Filler::new(),
        }
    }

    /// Returns how many more frames [`Self::push`] takes.
    ///
    /// # Real-time
    /// Constant time.
    #[must_use]
    pub const fn room(&self) -> usize {
        QUEUE_FRAMES - self.len
    }

    /// Queues `frame`; one of a turn that is over is dropped. Returns whether it was queued or rightly dropped: `false`
    /// means that there was no room.
    ///
    /// # Real-time
    /// Constant time; copies one frame.
    pub fn push(&mut self, frame: &VoiceFrame) -> bool {
        if self.is_over(frame.turn) {
            return true;
        }
        if self.len == QUEUE_FRAMES {
            return false;
        }
        self.queue[(self.head + self.len) % QUEUE_FRAMES] = *frame;
        self.len += 1;
        true
    }

    /// Queues `frame` of a filler for the wait of its turn; it is not counted as heard, and dropped where the turn is over, unless it
    /// is being played, or its own speech is there. Returns whether it was queued or rightly dropped: `false` means that there
    /// was no room.
    ///
    /// # Real-time
    /// Constant time; copies one frame.
    pub fn fill(&mut self, frame: &VoiceFrame) -> bool {
        (self.is_over(frame.turn) && !self.filler.goes_on_with(frame)) || self.filler.push(frame)
    }

    /// Whether a filler is being played.
    #[must_use]
    pub const fn filling(&self) -> bool {
        self.filler.under_way()
    }

    /// Gives the floor to `turn`: earlier turns are dropped, a pause ends, and its frames are played from the next frame on, or
    /// from the end of a filler that is being played.
    ///
    /// # Real-time
    /// Bounded by the queue's length.
    pub fn grant(&mut self, turn: TurnId) {
        if self.is_over(turn) || self.granted == Some(turn) {
            return;
        }
        self.stop(|under_way| under_way < turn);
        self.live_from = turn;
        self.granted = Some(turn);
        self.drop_what_is_over();
    }

    /// Drops `turn` and the fillers at once, since the caller speaks. Returns as [`Self::withdraw`].
    ///
    /// # Real-time
    /// Bounded by the queue's length.
    pub fn cut(&mut self, turn: TurnId) -> u32 {
        self.stop_filler();
        self.withdraw(turn)
    }

    /// Drops `turn`, queued or still to come, after a fade of 5 ms, and, unless it is a draft that was never granted, everything
    /// before it; a filler that is being played ends with its last word. Returns how many of the turn's samples were played; the
    /// fade that follows is not counted.
    ///
    /// # Real-time
    /// Bounded by the queue's length.
    pub fn withdraw(&mut self, turn: TurnId) -> u32 {
        let heard = self.heard(turn);
        if self.granted.is_some_and(|granted| turn <= granted) {
            self.stop(|under_way| under_way <= turn);
            self.live_from = self.live_from.max(turn.again());
        } else if !self.is_over(turn) {
            self.withdrawn[self.withdrawn_next] = Some(turn);
            self.withdrawn_next = (self.withdrawn_next + 1) % DRAFTS_REMEMBERED;
        }
        self.drop_what_is_over();
        heard
    }

    /// Is silent from the next frame on, but for a fade of 5 ms, and keeps what is queued; a filler has nothing to bridge then.
    ///
    /// # Real-time
    /// Constant time.
    pub fn pause(&mut self) {
        self.stop_filler();
        if self.pause == Pause::No {
            // What has not begun, or has run dry, has nothing to fade.
            self.pause = if self.under_way.is_some() && !self.dry { Pause::Fading } else { Pause::Silent };
        }
    }

    /// Goes on from the sample where [`Self::pause`] stopped; none is lost or repeated.
    ///
    /// # Real-time
    /// Constant time.
    pub fn resume(&mut self) {
        if self.pause == Pause::Silent && self.under_way.is_some() {
            self.fade.rise();
        }
        self.pause = Pause::No;
    }

    /// Nothing is sent for a while: what is under way goes on softly from the sample where it stopped.
    ///
    /// # Real-time
    /// Constant time.
    pub fn interrupt(&mut self) {
        if self.under_way.is_some() {
            self.fade.rise();
        }
        self.fade.forget();
    }

    /// Whether the agent is silent though it may have something to say.
    ///
    /// # Real-time
    /// Constant time.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.pause != Pause::No
    }

    /// Returns how many samples of `turn` were played, at 8 kHz; 0 for one long gone.
    ///
    /// # Real-time
    /// Constant time.
    #[must_use]
    pub fn heard(&self, turn: TurnId) -> u32 {
        self.heard.iter().flatten().find(|(of, _)| *of == turn).map_or(0, |(_, samples)| *samples)
    }

    /// Returns the turn of which something was played, and that is not over.
    #[must_use]
    pub const fn under_way(&self) -> Option<TurnId> {
        self.under_way
    }

    /// Returns how often a turn's speech ran dry before its end.
    #[must_use]
    pub const fn underruns(&self) -> u64 {
        self.underruns
    }

    /// Whether the next packet, of `samples`, would hold speech.
    ///
    /// # Real-time
    /// Bounded by the packet's length.
    #[must_use]
    pub fn ready(&self, samples: usize) -> bool {
        self.pause == Pause::No && (self.filler.ready(self.granted) || self.speech_ready(samples))
    }

    fn speech_ready(&self, samples: usize) -> bool {
        let speech = self.front().is_some_and(|front| usize::from(front.len) > self.offset);
        speech && if self.under_way.is_some() { !self.refills() } else { self.fills(samples) }
    }

    /// Whether a turn that ran dry waits for more than is queued of it.
    fn refills(&self) -> bool {
        if !self.dry {
            return false;
        }
        let mut frames = 0;
        for n in 0..self.len {
            let frame = &self.queue[(self.head + n) % QUEUE_FRAMES];
            // All that there is to come is here.
            if frame.last || Some(frame.turn) != self.granted {
                return false;
            }
            frames += 1;
        }
        self.refill.holds(frames)
    }

    /// Whether what is queued fills `samples`, or all there is to come is here. A packet longer than a frame that began with less
    /// would begin a reply with a hole.
    fn fills(&self, samples: usize) -> bool {
        let mut queued = 0;
        for n in 0..self.len {
            let frame = &self.queue[(self.head + n) % QUEUE_FRAMES];
            queued += usize::from(frame.len);
            if frame.last || Some(frame.turn) != self.granted || queued >= samples + self.offset {
                return true;
            }
        }
        false
    }

    /// Fills `out` with what comes next: speech, or silence where there is none. Turns do not share a frame.
    ///
    /// # Real-time
    /// Bounded by the length of `out`.
    pub fn take(&mut self, out: &mut [i16]) -> Taken {
        out.fill(0);
        let mut start = self.fade.take_tail(out);
        let end = match self.pause {
            Pause::No => out.len(),
            Pause::Fading => (start + FADE_SAMPLES).min(out.len()),
            Pause::Silent => return Taken::default(),
        };
        if self.pause == Pause::No {
            if let Some(samples) = self.take_filler(out.get_mut(start..).unwrap_or_default()) {
                return Taken { samples, ..Taken::default() };
            }
            if self.filler.under_way() {
                // The rest of it does not come.
                self.stop_filler();
                start += self.fade.take_tail(out.get_mut(start..).unwrap_or_default());
            }
        }
        if self.under_way.is_none() && !self.fills(end.saturating_sub(start)) {
            return Taken::default();
        }
        if self.refills() {
            self.refill.held(if self.front().is_some() { out.len() } else { 0 });
            return Taken { underrun: true, ..Taken::default() };
        }
        let mut taken = self.take_speech(out.get_mut(start..end).unwrap_or_default());
        let played = usize::from(taken.samples);
        let rest = start + played;
        if self.pause == Pause::Fading {
            let ended = self.under_way.is_none();
            self.fade.die_away(out.get_mut(start..end).unwrap_or_default(), played, ended);
            self.pause = Pause::Silent;
        } else if rest < out.len() && self.under_way.is_some() {
            taken.underrun = true;
            self.run_dry(out.get_mut(rest..).unwrap_or_default());
        }
        taken
    }

    /// Fills `out` with the speech of the turn that is granted, as far as it is there.
    fn take_speech(&mut self, out: &mut [i16]) -> Taken {
        let (mut at, mut taken) = (0, Taken::default());
        while at < out.len() {
            let to = out.get_mut(at..).unwrap_or_default();
            let Some((turn, made, copied, ended)) = self.take_some(to) else { break };
            taken.turn = Some(turn);
            taken.made = made;
            taken.samples += copied as u16;
            taken.first |= copied > 0 && self.under_way.is_none();
            if copied > 0 {
                self.fade.remember(to.get(..copied).unwrap_or_default());
                self.filler.drop_all();
                self.under_way = Some(turn);
                self.dry = false;
                self.count(turn, copied);
            }
            at += copied;
            if ended {
                self.under_way = None;
                self.refill = Refill::default();
                taken.finished = Some(Finished { turn, heard: self.heard(turn) });
                break;
            }
        }
        taken
    }

    /// The turn under way has nothing more for now: it dies away in `rest`, and will go on softly.
    fn run_dry(&mut self, rest: &mut [i16]) {
        if !self.dry {
            self.underruns += 1;
            self.refill.ran_dry();
            self.fade.leave_tail([0; FADE_SAMPLES], 0, false);
            self.fade.take_tail(rest);
        }
        self.dry = true;
        self.fade.rise();
    }

    /// Fills `out` with a filler; one that has not begun gives way to the speech it was to bridge the wait for.
    fn take_filler(&mut self, out: &mut [i16]) -> Option<u16> {
        if !self.filler.under_way() && self.speech_ready(out.len()) {
            self.filler.drop_all();
        }
        let samples = self.filler.take(self.granted, out);
        self.fade.remember(out.get(..samples).unwrap_or_default());
        (samples > 0).then_some(samples as u16)
    }

    /// Drops the filler; what was to come next of one that is played becomes the tail.
    fn stop_filler(&mut self) {
        if self.filler.under_way() {
            let mut tail = [0; FADE_SAMPLES];
            let len = self.filler.take(self.granted, &mut tail);
            self.fade.leave_tail(tail, len, !self.filler.under_way());
        }
        self.filler.drop_all();
    }

    /// The first queued frame, if it may be played.
    fn front(&self) -> Option<&VoiceFrame> {
        let front = &self.queue[self.head];
        (self.len > 0 && Some(front.turn) == self.granted).then_some(front)
    }

    /// Copies from the first queued frame. Returns its turn, when it was made, how many samples, and whether the turn ends.
    fn take_some(&mut self, out: &mut [i16]) -> Option<(TurnId, Instant, usize, bool)> {
        let front = self.front()?;
        let (turn, made, last) = (front.turn, front.made, front.last);
        let len = usize::from(front.len).min(FRAME_8K);
        let rest = front.pcm.get(self.offset..len).unwrap_or_default();
        let copied = rest.len().min(out.len());
        for (to, from) in out.iter_mut().zip(rest) {
            *to = *from;
        }
        self.offset += copied;
        let done = self.offset >= len;
        if done {
            self.pop();
        }
        self.fade.raise(out.get_mut(..copied).unwrap_or_default());
        Some((turn, made, copied, done && last))
    }

    /// Ends what is under way where it `is_over`: the next samples of it become the tail.
    fn stop(&mut self, is_over: impl Fn(TurnId) -> bool) {
        self.filler.drop_waiting();
        let audible = self.pause != Pause::Silent && !self.dry;
        if self.under_way.is_some_and(is_over) {
            if audible {
                let (mut tail, mut len, mut whole) = ([0; FADE_SAMPLES], 0, false);
                while let Some((.., copied, ended)) = self.take_some(tail.get_mut(len..).unwrap_or_default()) {
                    len += copied;
                    whole = ended;
                    if ended || copied == 0 {
                        break;
                    }
                }
                self.fade.leave_tail(tail, len, whole);
            }
            self.under_way = None;
        }
        self.pause = Pause::No;
        self.fade.begin();
        (self.dry, self.refill) = (false, Refill::default());
    }

    fn is_over(&self, turn: TurnId) -> bool {
        turn < self.live_from || self.withdrawn.contains(&Some(turn))
    }

    fn drop_what_is_over(&mut self) {
        let first = self.queue[self.head].turn;
        if self.len > 0 && self.is_over(first) {
            self.offset = 0;
        }
        let mut kept = 0;
        for n in 0..self.len {
            let from = (self.head + n) % QUEUE_FRAMES;
            if !self.is_over(self.queue[from].turn) {
                let to = (self.head + kept) % QUEUE_FRAMES;
                if to != from {
                    self.queue[to] = self.queue[from];
                }
                kept += 1;
            }
        }
        self.len = kept;
    }

    const fn pop(&mut self) {
        self.head = (self.head + 1) % QUEUE_FRAMES;
        self.len -= 1;
        self.offset = 0;
    }

    fn count(&mut self, turn: TurnId, samples: usize) {
        let samples = samples as u32;
        if let Some((_, heard)) = self.heard.iter_mut().flatten().find(|(of, _)| *of == turn) {
            *heard = heard.saturating_add(samples);
        } else {
            self.heard[self.heard_next] = Some((turn, samples));
            self.heard_next = (self.heard_next + 1) % TURNS_REMEMBERED;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVEL: i16 = 10_000;

    fn frame(turn: u32, level: i16) -> VoiceFrame {
        VoiceFrame { turn: TurnId(turn), pcm: [level; FRAME_8K], len: 160, last: false, made: Instant::ZERO }
    }

    fn last(turn: u32, len: u16) -> VoiceFrame {
        VoiceFrame { len, last: true, ..frame(turn, LEVEL) }
    }

    /// A playout with `frames` frames of turn 1 queued and the turn granted.
    fn granted(frames: usize) -> Playout {
        let mut playout = Playout::new();
        for _ in 0..frames {
            assert!(playout.push(&frame(1, LEVEL)));
        }
        playout.grant(TurnId(1));
        playout
    }

    fn take(playout: &mut Playout) -> ([i16; FRAME_8K], Taken) {
        let mut out = [7; FRAME_8K];
        let taken = playout.take(&mut out);
        (out, taken)
    }

    /// The largest step from one sample to the next: a click where it is near the level.
    fn step(pcm: &[i16]) -> i16 {
        pcm.windows(2).map(|pair| (pair[1] - pair[0]).abs()).max().unwrap_or(0)
    }

    #[test]
    fn nothing_is_played_before_the_grant() {
        let mut playout = Playout::new();
        playout.push(&frame(1, LEVEL));
        assert!(!playout.ready(FRAME_8K));
        assert_eq!(take(&mut playout), ([0; FRAME_8K], Taken::default()));
        playout.grant(TurnId(1));
        assert!(playout.ready(FRAME_8K));
        let (pcm, taken) = take(&mut playout);
        assert_eq!(pcm, [LEVEL; FRAME_8K]);
        assert!(taken.first && taken.turn == Some(TurnId(1)) && taken.samples == 160);
    }

    #[test]
    fn a_turn_ends_with_its_last_frame() {
        let mut playout = granted(2);
        playout.push(&last(1, 30));
        assert!(take(&mut playout).1.first);
        assert_eq!(take(&mut playout).1.finished, None);
        let (pcm, taken) = take(&mut playout);
        assert_eq!((pcm[29], pcm[30]), (LEVEL, 0));
        assert_eq!(taken.finished, Some(Finished { turn: TurnId(1), heard: 350 }));
        assert_eq!(take(&mut playout).1, Taken::default(), "and no underrun after it");
        assert_eq!(playout.under_way(), None);
    }

    #[test]
    fn a_turn_may_end_with_an_empty_frame_or_be_empty() {
        let mut playout = granted(1);
        playout.push(&last(1, 0));
        assert_eq!(take(&mut playout).1.finished, None);
        assert_eq!(take(&mut playout).1.finished, Some(Finished { turn: TurnId(1), heard: 160 }));
        playout.push(&last(2, 0));
        playout.grant(TurnId(2));
        assert!(!playout.ready(FRAME_8K));
        let taken = take(&mut playout).1;
        assert_eq!(taken.finished, Some(Finished { turn: TurnId(2), heard: 0 }));
        assert!(!taken.first);
    }

    #[test]
    fn a_grant_drops_earlier_turns_wherever_they_are() {
        let mut playout = granted(3);
        take(&mut playout);
        playout.push(&frame(2, 500));
        playout.grant(TurnId(2));
        assert!(playout.push(&frame(1, LEVEL)), "dropped, not refused");
        let (pcm, taken) = take(&mut playout);
        assert_eq!(taken.turn, Some(TurnId(2)));
        assert_eq!(pcm[159], 500);
        assert!(step(&pcm) < LEVEL / 10, "the old turn fades under it");
        assert_eq!(playout.heard(TurnId(1)), 160);
        assert_eq!(playout.room(), QUEUE_FRAMES - 1);
    }

    #[test]
    fn a_cut_fades_within_the_next_frame_and_tells_what_was_heard() {
        let mut playout = granted(10);
        take(&mut playout);
        take(&mut playout);
        assert_eq!(playout.cut(TurnId(1)), 320);
        assert!(!playout.ready(FRAME_8K));
        let (pcm, taken) = take(&mut playout);
        assert_eq!(taken, Taken::default());
        assert!(pcm[0] > LEVEL / 10 * 9 && step(&pcm) < LEVEL / 10);
        assert_eq!(pcm[FADE_SAMPLES..], [0; FRAME_8K - FADE_SAMPLES]);
        assert_eq!(take(&mut playout).0, [0; FRAME_8K]);
        assert!(playout.push(&frame(1, LEVEL)));
        assert_eq!(playout.room(), QUEUE_FRAMES, "what still comes in of it is dropped");
        assert_eq!((playout.heard(TurnId(1)), playout.underruns()), (320, 0));
    }

    #[test]
    fn a_cut_of_a_pause_says_nothing_more() {
        let mut playout = granted(10);
        take(&mut playout);
        playout.pause();
        take(&mut playout);
        assert_eq!(playout.cut(TurnId(1)), 200);
        assert_eq!(take(&mut playout).0, [0; FRAME_8K]);
        playout.push(&frame(2, 500));
        playout.grant(TurnId(2));
        assert_eq!(take(&mut playout).0, [500; FRAME_8K], "the pause is over");
    }

    #[test]
    fn a_draft_that_is_withdrawn_leaves_the_turn_under_way_alone() {
        let mut playout = granted(3);
        take(&mut playout);
        playout.push(&frame(2, 500));
        assert_eq!(playout.cut(TurnId(2)), 0);
        playout.push(&frame(2, 500));
        assert_eq!(playout.room(), QUEUE_FRAMES - 2);
        assert_eq!(take(&mut playout).0, [LEVEL; FRAME_8K]);
        playout.grant(TurnId(2));
        assert_eq!(take(&mut playout).1.turn, Some(TurnId(1)), "what is over cannot be granted");
    }

    #[test]
    fn a_pause_loses_and_repeats_no_sample() {
        let ramp: Vec<i16> = (1..=1600).map(|n| n * 10).collect();
        let mut playout = Playout::new();
        for chunk in ramp.chunks(160) {
            let mut frame = frame(1, 0);
            frame.pcm.copy_from_slice(chunk);
            playout.push(&frame);
        }
        playout.grant(TurnId(1));
        let mut heard = take(&mut playout).0.to_vec();
        playout.pause();
        let (fading, taken) = take(&mut playout);
        assert_eq!(taken.samples, FADE_SAMPLES as u16);
        assert!(fading[..FADE_SAMPLES].iter().zip(&ramp[160..]).all(|(faded, whole)| (0..=*whole).contains(faded)));
        assert_eq!(fading[FADE_SAMPLES..], [0; 120]);
        assert_eq!(take(&mut playout).1, Taken::default());
        assert!(!playout.ready(FRAME_8K));
        playout.resume();
        let (rising, taken) = take(&mut playout);
        assert_eq!(taken.samples, 160);
        assert!(rising[0] < ramp[200] / 20, "it begins softly");
        assert_eq!(rising[FADE_SAMPLES..], ramp[200 + FADE_SAMPLES..360]);
        heard.extend(rising);
        assert_eq!(playout.heard(TurnId(1)), 360);
        assert_eq!(playout.underruns(), 0);
    }

    #[test]
    fn a_pause_and_resume_between_two_frames_is_no_pause() {
        let mut playout = granted(3);
        take(&mut playout);
        playout.pause();
        playout.resume();
        assert_eq!(take(&mut playout).0, [LEVEL; FRAME_8K]);
    }

    #[test]
    fn a_pause_before_the_first_sample_holds_it_whole() {
        let mut playout = granted(2);
        playout.pause();
        assert_eq!(take(&mut playout).1, Taken::default());
        playout.resume();
        let (pcm, taken) = take(&mut playout);
        assert!(taken.first && pcm == [LEVEL; FRAME_8K]);
    }

    #[test]
    fn running_dry_is_counted_once_and_goes_on_softly() {
        let mut playout = granted(1);
        take(&mut playout);
        assert!(take(&mut playout).1.underrun);
        assert!(take(&mut playout).1.underrun);
        assert_eq!(playout.underruns(), 1);
        for _ in 0..4 {
            assert!(!playout.ready(FRAME_8K) && take(&mut playout).1.underrun, "one chunk is no stock");
            playout.push(&frame(1, LEVEL));
        }
        assert_eq!(playout.underruns(), 1);
        assert!(playout.ready(FRAME_8K));
        let (pcm, taken) = take(&mut playout);
        assert!(!taken.underrun && !taken.first);
        assert!(pcm[0] < LEVEL / 20 && pcm[FADE_SAMPLES] == LEVEL);
    }

    #[test]
    fn the_end_of_a_turn_that_ran_dry_is_not_waited_for_more() {
        let mut playout = granted(1);
        take(&mut playout);
        take(&mut playout);
        playout.push(&last(1, 100));
        assert_eq!(take(&mut playout).1.finished, Some(Finished { turn: TurnId(1), heard: 260 }));
    }

    #[test]
    fn a_voice_slower_than_speech_stops_seldom() {
        // Nine frames in the time of ten, and 10 s of them.
        let mut playout = Playout::new();
        playout.grant(TurnId(1));
        let (mut sent, mut slots) = (0, 0);
        while playout.heard(TurnId(1)) < 80_000 {
            assert!(slots < 1000, "it comes to an end");
            while sent < slots * 9 / 10 && playout.room() > 0 {
                playout.push(&frame(1, LEVEL));
                sent += 1;
            }
            take(&mut playout);
            slots += 1;
        }
        assert!(playout.underruns() <= 6, "{} times", playout.underruns());
    }

    #[test]
    fn any_packet_length_takes_every_sample_once() {
        for len in [80, 160, 240, 480] {
            let mut playout = Playout::new();
            for n in 0..12 {
                playout.push(&frame(1, n + 1));
            }
            playout.push(&last(1, 50));
            playout.grant(TurnId(1));
            let (mut heard, mut finished) = (Vec::new(), None);
            while finished.is_none() {
                let mut out = vec![0; len];
                let taken = playout.take(&mut out);
                heard.extend_from_slice(&out[..usize::from(taken.samples)]);
                finished = taken.finished;
            }
            let expected: Vec<i16> = (0..12).flat_map(|n| [n + 1; 160]).chain([LEVEL; 50]).collect();
            assert_eq!(heard, expected, "{len}");
        }
    }

    #[test]
    fn a_full_queue_refuses_and_says_so() {
        let mut playout = granted(QUEUE_FRAMES);
        assert_eq!(playout.room(), 0);
        assert!(!playout.push(&frame(1, LEVEL)));
        take(&mut playout);
        assert!(playout.push(&frame(1, LEVEL)));
    }

    #[test]
    fn random_orders_never_break_the_queue() {
        let mut rng = fastrand::Rng::with_seed(11);
        for _ in 0..200 {
            let mut playout = Playout::new();
            let mut turn = 0;
            let mut played = std::collections::BTreeMap::new();
            for _ in 0..400 {
                match rng.u8(..10) {
                    0 => playout.pause(),
                    1 => playout.resume(),
                    2 => {
                        turn += rng.u32(..2);
                        playout.grant(TurnId(turn));
                    }
                    3 => {
                        playout.cut(TurnId(turn + rng.u32(..2)));
                    }
                    4..=6 => {
                        let turn = TurnId(turn + rng.u32(..3));
                        let frame = VoiceFrame { turn, len: rng.u16(..161), last: rng.u8(..5) == 0, ..frame(0, 9) };
                        playout.push(&frame);
                    }
                    _ => {
                        let mut out = [0; 240];
                        let len = 80 * rng.usize(1..4);
                        let taken = playout.take(&mut out[..len]);
                        if let Some(turn) = taken.turn {
                            *played.entry(turn).or_insert(0) += u32::from(taken.samples);
                            assert_eq!(playout.heard(turn), played[&turn]);
                            assert!(usize::from(taken.samples) <= len);
                        }
                    }
                }
                assert!(playout.room() <= QUEUE_FRAMES);
            }
        }
    }

    #[test]
    fn a_filler_bridges_the_wait_and_the_speech_follows_it_without_being_counted_together() {
        let mut playout = granted(0);
        let kept = |last: bool| VoiceFrame { made: Instant::from_millis(9), last, ..frame(1, 500) };
        assert!(playout.fill(&kept(false)) && playout.fill(&kept(true)));
        assert!(playout.ready(160));
        let mut out = [0; 160];
        let taken = playout.take(&mut out);
        assert_eq!((taken.turn, taken.samples, taken.first, out), (None, 160, false, [500; 160]));
        assert!(playout.push(&frame(1, LEVEL)));
        assert_eq!(playout.take(&mut out).turn, None, "it is not cut short by what it was to bridge the wait for");
        let taken = playout.take(&mut out);
        assert_eq!((taken.turn, taken.first, out), (Some(TurnId(1)), true, [LEVEL; 160]));
        assert_eq!(playout.heard(TurnId(1)), 160);
    }

    #[test]
    fn a_filler_that_comes_with_a_pause_waits_for_its_end() {
        let mut playout = granted(1);
        take(&mut playout);
        playout.pause();
        playout.fill(&VoiceFrame { made: Instant::from_millis(9), ..frame(1, 500) });
        let (fading, _) = take(&mut playout);
        assert!(step(&fading) < LEVEL / 10 && fading[FADE_SAMPLES..] == [0; FRAME_8K - FADE_SAMPLES], "{fading:?}");
        assert_eq!(take(&mut playout).0, [0; FRAME_8K], "the caller has the floor");
        playout.resume();
        assert_eq!(take(&mut playout).0, [500; FRAME_8K]);
    }

    #[test]
    fn a_filler_that_has_not_begun_gives_way_to_speech_and_a_voice_of_the_caller_ends_one_that_has() {
        let mut playout = granted(1);
        let kept = |at: u64| VoiceFrame { made: Instant::from_millis(at), ..frame(1, 500) };
        playout.fill(&kept(9));
        let mut out = [0; 160];
        assert_eq!(playout.take(&mut out).turn, Some(TurnId(1)));
        playout.fill(&kept(9));
        assert_eq!(playout.take(&mut out).samples, 0, "nor does the rest of it come");
        playout.fill(&kept(10));
        playout.fill(&kept(10));
        assert_eq!(playout.take(&mut out).samples, 160, "a voice that stops in the middle is bridged, too");
        playout.pause();
        assert_eq!(playout.take(&mut out).samples, 0);
        assert!(out[0] > 400 && out[FADE_SAMPLES - 1] < 50 && out[FADE_SAMPLES] == 0, "it fades");
        playout.resume();
        playout.fill(&kept(10));
        assert_eq!(playout.take(&mut out).samples, 0);
    }

    #[test]
    fn a_voice_of_the_caller_ends_a_filler_with_its_turn() {
        let mut playout = granted(0);
        let kept = VoiceFrame { made: Instant::from_millis(9), ..frame(1, 500) };
        playout.fill(&kept);
        playout.fill(&kept);
        let mut out = [0; 160];
        playout.take(&mut out);
        assert!(playout.filling());
        playout.cut(TurnId(1));
        assert!(!playout.filling());
        assert!(playout.fill(&kept), "what comes late is dropped");
        assert_eq!(playout.take(&mut out).samples, 0);
        assert!(out[0] > 400 && out[FADE_SAMPLES] == 0, "it fades");
    }

    #[test]
    fn a_filler_is_not_cut_short_by_what_the_agent_says_in_place_of_the_reply() {
        for withdrawn in [false, true] {
            let mut playout = granted(0);
            let kept = |last: bool| VoiceFrame { made: Instant::from_millis(9), last, ..frame(1, 500) };
            let another = VoiceFrame { made: Instant::from_millis(11), ..frame(1, 700) };
            assert!(playout.fill(&kept(false)) && playout.fill(&kept(false)));
            let (pcm, _) = take(&mut playout);
            assert_eq!(pcm, [500; FRAME_8K]);
            assert!(playout.fill(&another));
            if withdrawn {
                playout.withdraw(TurnId(1));
            }
            playout.grant(TurnId(2));
            assert!(playout.push(&frame(2, LEVEL)));
            assert_eq!(take(&mut playout).0, [500; FRAME_8K], "what was queued of it");
            assert!(playout.fill(&kept(true)) && playout.fill(&another));
            assert_eq!(take(&mut playout).0, [500; FRAME_8K], "and what was still to come");
            let (pcm, taken) = take(&mut playout);
            assert_eq!((taken.turn, pcm), (Some(TurnId(2)), [LEVEL; FRAME_8K]), "and nothing that had not begun");
        }
    }

    #[test]
    fn a_filler_whose_rest_does_not_come_dies_away() {
        let mut playout = granted(0);
        playout.fill(&VoiceFrame { made: Instant::from_millis(9), ..frame(1, LEVEL) });
        take(&mut playout);
        playout.push(&frame(1, 10));
        let (pcm, taken) = take(&mut playout);
        assert!(pcm[0] > LEVEL / 10 * 9 && step(&pcm) < LEVEL / 10);
        assert_eq!((taken.turn, taken.first, pcm[FADE_SAMPLES]), (Some(TurnId(1)), true, 10));
    }

    /// What is heard from the packet on that holds the last samples: `before`, and three more.
    fn dying(before: [i16; FRAME_8K], playout: &mut Playout) -> Vec<i16> {
        (0..3).fold(before.to_vec(), |mut heard, _| {
            heard.extend(take(playout).0);
            heard
        })
    }

    #[test]
    fn running_dry_dies_away_wherever_in_a_packet_it_happens() {
        for len in [160, 100, 150, 30] {
            let mut playout = granted(1);
            playout.push(&VoiceFrame { len, ..frame(1, LEVEL) });
            take(&mut playout);
            let (before, taken) = take(&mut playout);
            assert_eq!(taken.samples, len);
            let heard = dying(before, &mut playout);
            assert!(step(&heard) < LEVEL / 10, "{len}: a step of {}", step(&heard));
            let last = heard.iter().rposition(|sample| *sample != 0).expect("something is heard");
            assert_eq!(last + 1, usize::from(len) + FADE_SAMPLES, "5 ms of it");
            assert_eq!((playout.heard(TurnId(1)), playout.underruns()), (160 + u32::from(len), 1), "it is not counted");
        }
    }

    #[test]
    fn what_stops_where_nothing_more_is_queued_dies_away_once() {
        let ways: [fn(&mut Playout); 3] = [
            Playout::pause,
            |playout| {
                playout.cut(TurnId(1));
            },
            |playout| playout.grant(TurnId(2)),
        ];
        for (n, stop) in ways.into_iter().enumerate() {
            let mut playout = granted(1);
            let (before, _) = take(&mut playout);
            stop(&mut playout);
            let heard = dying(before, &mut playout);
            assert!(step(&heard) < LEVEL / 10, "way {n}: a step of {}", step(&heard));
            assert_eq!(heard.iter().rposition(|sample| *sample != 0), Some(FRAME_8K + FADE_SAMPLES - 1));
            playout.resume();
            assert_eq!(take(&mut playout).0, [0; FRAME_8K], "way {n}: not again, after silence");
            assert_eq!(playout.heard(TurnId(1)), 160);
        }
    }

    #[test]
    fn the_end_of_a_turn_is_left_as_the_voice_made_it() {
        let mut playout = granted(1);
        playout.push(&last(1, 20));
        take(&mut playout);
        playout.cut(TurnId(1));
        let (pcm, _) = take(&mut playout);
        assert!(pcm[..20].iter().all(|sample| *sample > 0) && pcm[20..] == [0; 140], "no more than there is");
    }
}
