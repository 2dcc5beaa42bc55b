//! How sure Flux is to be of a turn's end before it says so eagerly: a threshold that keeps wasted drafts within a budget.

/// Where it begins: the vendor's preset for low latency.
const FIRST: f64 = 0.4;
/// The least that Flux takes.
const LEAST: f64 = 0.3;
/// How far one draft moves it. A change of 0.1, which is felt, takes some three wasted drafts in a row.
const STEP: f64 = 0.05;

/// The threshold `eager_eot_threshold`, learnt from what came of the drafts of all calls.
///
/// A wasted draft raises it by the share that may be kept, a kept one lowers it by the share that may be wasted: it rests
/// where both happen in just these shares.
#[derive(Clone, Copy, Debug)]
pub(super) struct Eagerness {
    threshold: f64,
    most: f64,
    waste_max: f64,
}

impl Eagerness {
    /// Begins with a budget of `waste_max`, the share of drafts that may be thrown away. `most` is the threshold at which
    /// the turn ends anyway: nothing is drafted there.
    pub(super) fn new(waste_max: f64, most: f64) -> Self {
        Self { threshold: FIRST.min(most), most, waste_max }
    }

    /// Learns what came of a draft.
    pub(super) fn learn(&mut self, kept: bool) {
        let by = if kept { -self.waste_max } else { 1.0 - self.waste_max };
        self.threshold = (self.threshold + STEP * by).clamp(LEAST, self.most);
    }

    /// Returns the threshold in hundredths, which is as fine as it is told to Flux.
    pub(super) fn hundredths(&self) -> u32 {
        (self.threshold * 100.0).round() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_where_the_share_of_wasted_drafts_is_the_budget() {
        for (seed, waste_max) in (0..50).flat_map(|seed| [(seed, 0.2), (seed, 0.35), (seed, 0.5)]) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut eagerness = Eagerness::new(waste_max, 0.7);
            let (mut wasted, drafts) = (0, 2000);
            for _ in 0..drafts {
                // The surer Flux is, the less is wasted: all at 0.3, nothing at 0.7.
                let kept = rng.f64() < (eagerness.threshold - 0.3) / 0.4;
                wasted += u32::from(!kept);
                eagerness.learn(kept);
            }
            let share = f64::from(wasted) / f64::from(drafts);
            assert!((share - waste_max).abs() < 0.02, "seed {seed}: {share} for {waste_max}");
        }
    }

    #[test]
    fn it_stays_within_what_flux_takes() {
        let mut eagerness = Eagerness::new(0.35, 0.7);
        assert_eq!(eagerness.hundredths(), 40);
        (0..1000).for_each(|_| eagerness.learn(false));
        assert_eq!(eagerness.hundredths(), 70);
        (0..1000).for_each(|_| eagerness.learn(true));
        assert_eq!(eagerness.hundredths(), 30);
    }
}
