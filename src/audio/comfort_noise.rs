//! Comfort noise: the room's murmur in a pause of which the peer tells only how loud it is (RFC 3389).

/// The loudest that is made, in dBov. What is louder is no background, and no peer is to make the recogniser listen to a roar.
const LEVEL_DB_MAX: f32 = -35.0;
/// Full scale, in samples: 0 dBov is a square wave of it.
const FULL_SCALE: f32 = 32_768.0;
/// Noise is the same for every call: it has to be no secret, only without a pattern.
const SEED: u64 = 3389;

/// Makes noise of the level that the peer names.
///
/// The spectrum that may follow the level (RFC 3389 §3) is not used: to a recogniser and to a voice detector, the level of a
/// background is what tells it from speech.
#[derive(Clone, Debug)]
pub struct ComfortNoise {
    /// The largest sample; `None` outside of a pause.
    peak: Option<f32>,
    rng: fastrand::Rng,
}

impl Default for ComfortNoise {
    fn default() -> Self {
        Self::new()
    }
}

impl ComfortNoise {
    /// Makes one outside of a pause.
    #[must_use]
    pub fn new() -> Self {
        Self { peak: None, rng: fastrand::Rng::with_seed(SEED) }
    }

    /// Takes the payload of a comfort noise packet: a pause begins, or its level changes. One without a level says only that
    /// the peer pauses.
    ///
    /// # Real-time
    /// Constant time.
    pub fn begin(&mut self, payload: &[u8]) {
        // The first bit is always zero (RFC 3389 §3.1).
        let level_db = payload.first().map(|level| -f32::from(level & 0x7f));
        // Equal shares from -peak to peak have a third of its power.
        let peak = |level_db: f32| FULL_SCALE * 10f32.powf(level_db.min(LEVEL_DB_MAX) / 20.0) * 3f32.sqrt();
        self.peak = Some(level_db.map_or(0.0, peak));
    }

    /// The pause is over.
    pub const fn end(&mut self) {
        self.peak = None;
    }

    /// Fills `out` with noise in a pause; false, and nothing done, outside of one.
    ///
    /// # Real-time
    /// No heap, no panic; time is proportional to the block.
    pub fn fill(&mut self, out: &mut [i16]) -> bool {
        let Some(peak) = self.peak else { return false };
        for sample in out {
            *sample = ((2.0 * self.rng.f32() - 1.0) * peak).round() as i16;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level_db(noise: &mut ComfortNoise) -> f32 {
        let mut pcm = [0; 8000];
        assert!(noise.fill(&mut pcm));
        let power = pcm.iter().map(|s| f32::from(*s).powi(2)).sum::<f32>() / pcm.len() as f32;
        10.0 * (power / FULL_SCALE.powi(2)).log10()
    }

    #[test]
    fn it_is_as_loud_as_the_peer_says() {
        let mut noise = ComfortNoise::new();
        for level in [40, 50, 60, 70] {
            noise.begin(&[level, 130, 120]);
            assert!((level_db(&mut noise) + f32::from(level)).abs() < 0.3, "{level}");
            noise.begin(&[level | 0x80]);
            assert!((level_db(&mut noise) + f32::from(level)).abs() < 0.3, "the first bit means nothing");
        }
    }

    #[test]
    fn it_is_never_loud_and_its_least_level_is_silence() {
        let mut noise = ComfortNoise::new();
        noise.begin(&[0]);
        assert!((level_db(&mut noise) - LEVEL_DB_MAX).abs() < 0.3);
        for payload in [&[127][..], &[]] {
            noise.begin(payload);
            let mut pcm = [9; 100];
            assert!(noise.fill(&mut pcm));
            assert_eq!(pcm, [0; 100]);
        }
    }

    #[test]
    fn outside_of_a_pause_it_makes_nothing() {
        let mut noise = ComfortNoise::new();
        let mut pcm = [7; 10];
        assert!(!noise.fill(&mut pcm));
        noise.begin(&[50]);
        noise.end();
        assert!(!noise.fill(&mut pcm));
        assert_eq!(pcm, [7; 10]);
    }
}
