//! How speech stops and goes on in the middle of a word: without a click.

/// 5 ms at 8 kHz: one period of a low voice, and the shortest fade without an audible click on speech.
pub(super) const FADE_SAMPLES: usize = 40;

/// What dies away, what comes up, and what either is made of where nothing else is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fade {
    /// Samples of the fade-in that are still to come.
    rising: usize,
    /// What is left to be said of what stopped, fading.
    tail: [i16; FADE_SAMPLES],
    tail_len: usize,
    /// What was played last; silence, once it has faded.
    last: [i16; FADE_SAMPLES],
}

impl Fade {
    /// Begins in silence.
    pub(super) const fn new() -> Self {
        Self { rising: 0, tail: [0; FADE_SAMPLES], tail_len: 0, last: [0; FADE_SAMPLES] }
    }

    /// What is played next rises from nothing.
    pub(super) const fn rise(&mut self) {
        self.rising = FADE_SAMPLES;
    }

    /// What is played next begins as it was made.
    pub(super) const fn begin(&mut self) {
        self.rising = 0;
    }

    /// Forgets what was played: silence was heard since.
    pub(super) const fn forget(&mut self) {
        (self.tail_len, self.last) = (0, [0; FADE_SAMPLES]);
    }

    /// Lets `pcm`, which is played next, rise as far as it is to.
    ///
    /// # Real-time
    /// Bounded by the length of `pcm`.
    pub(super) fn raise(&mut self, pcm: &mut [i16]) {
        for (sample, left) in pcm.iter_mut().zip((1..=self.rising).rev()) {
            let gain = (FADE_SAMPLES + 1 - left) as i32;
            *sample = (i32::from(*sample) * gain / (FADE_SAMPLES as i32 + 1)) as i16;
        }
        self.rising = self.rising.saturating_sub(pcm.len());
    }

    /// Keeps the last samples of what is `played`.
    ///
    /// # Real-time
    /// Constant time.
    pub(super) fn remember(&mut self, played: &[i16]) {
        let kept = played.len().min(FADE_SAMPLES);
        self.last.copy_within(kept.., 0);
        let newest = played.get(played.len() - kept..).unwrap_or_default();
        for (to, from) in self.last.iter_mut().skip(FADE_SAMPLES - kept).zip(newest) {
            *to = *from;
        }
    }

    /// Lets `pcm` die away. Its first `len` samples are speech; after them, unless the speech `ended` there, what was played last
    /// goes on backwards: that begins where it stopped, and nothing else is there to fade.
    ///
    /// # Real-time
    /// Bounded by the length of `pcm`.
    pub(super) fn die_away(&mut self, pcm: &mut [i16], len: usize, ended: bool) {
        if ended {
            return self.sink(pcm.get_mut(..len).unwrap_or_default());
        }
        for (to, from) in pcm.iter_mut().skip(len).zip(self.last.iter().rev()) {
            *to = *from;
        }
        self.sink(pcm);
    }

    /// Makes the tail of what stops, by [`Self::die_away`].
    ///
    /// # Real-time
    /// Constant time.
    pub(super) fn leave_tail(&mut self, mut tail: [i16; FADE_SAMPLES], len: usize, ended: bool) {
        self.remember(tail.get(..len).unwrap_or_default());
        self.die_away(&mut tail, len, ended);
        (self.tail, self.tail_len) = (tail, if ended { len } else { FADE_SAMPLES });
    }

    /// Fills the beginning of `out` with what is left of the tail. Returns how many samples that are.
    ///
    /// # Real-time
    /// Constant time.
    pub(super) fn take_tail(&mut self, out: &mut [i16]) -> usize {
        let len = self.tail_len.min(out.len());
        for (to, from) in out.iter_mut().zip(self.tail.iter().take(len)) {
            *to = *from;
        }
        self.tail.copy_within(len.., 0);
        self.tail_len -= len;
        len
    }

    /// Lets `pcm` fall to nothing over its length.
    fn sink(&mut self, pcm: &mut [i16]) {
        let len = pcm.len() as i32;
        for (sample, left) in pcm.iter_mut().zip((0..len).rev()) {
            *sample = (i32::from(*sample) * (left + 1) / (len + 1)) as i16;
        }
        self.last = [0; FADE_SAMPLES];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVEL: i16 = 10_000;

    /// The largest step from one sample to the next, from `before` on.
    fn step(before: i16, pcm: &[i16]) -> i16 {
        let (steps, _) =
            pcm.iter().fold((0, before), |(most, last), sample| (most.max((sample - last).abs()), *sample));
        steps
    }

    #[test]
    fn what_rises_comes_up_over_5_ms_however_it_is_cut() {
        for cuts in [vec![40], vec![1; 40], vec![30, 30], vec![160]] {
            let mut fade = Fade::new();
            fade.rise();
            let mut heard = Vec::new();
            for len in cuts {
                let mut pcm = vec![LEVEL; len];
                fade.raise(&mut pcm);
                heard.extend(pcm);
            }
            assert!(step(0, &heard) < LEVEL / 20 && heard.is_sorted() && heard[39] > LEVEL / 10 * 9);
        }
    }

    #[test]
    fn what_stops_dies_away_whatever_is_left_of_it() {
        for len in [0, 1, 20, 40] {
            let mut fade = Fade::new();
            fade.remember(&[LEVEL; 160]);
            let mut tail = [0; FADE_SAMPLES];
            tail[..len].fill(LEVEL);
            fade.leave_tail(tail, len, false);
            let mut heard = [0; 60];
            assert_eq!(fade.take_tail(&mut heard), FADE_SAMPLES);
            assert!(step(LEVEL, &heard) < LEVEL / 10 && heard[38] > 0 && heard[40..] == [0; 20], "{len}: {heard:?}");
        }
    }

    #[test]
    fn a_tail_that_does_not_fit_goes_on_in_the_next_packet() {
        let mut fade = Fade::new();
        fade.leave_tail([LEVEL; FADE_SAMPLES], FADE_SAMPLES, false);
        let (mut first, mut second) = ([0; 30], [0; 30]);
        assert_eq!((fade.take_tail(&mut first), fade.take_tail(&mut second)), (30, 10));
        assert!(first[29] > second[0] && second[9] > 0 && second[10] == 0);
        assert_eq!(fade.take_tail(&mut second), 0);
    }

    #[test]
    fn nothing_is_put_behind_an_end_nor_behind_silence() {
        let mut fade = Fade::new();
        fade.remember(&[LEVEL; 160]);
        fade.leave_tail([LEVEL; FADE_SAMPLES], 7, true);
        assert_eq!(fade.take_tail(&mut [0; 60]), 7);
        let mut after = [0; FADE_SAMPLES];
        fade.die_away(&mut after, 0, false);
        assert_eq!(after, [0; FADE_SAMPLES], "it has faded");
        fade.remember(&[LEVEL; 160]);
        fade.forget();
        fade.die_away(&mut after, 0, false);
        assert_eq!(after, [0; FADE_SAMPLES]);
    }
}
