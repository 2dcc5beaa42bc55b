//! When a request that is late is asked a second time, and how many may be; pure.

use std::time::Duration;

/// The share of answers that are not late.
pub const QUANTILE: f64 = 0.95;
/// Answers that must be known before it is known what late is.
pub const SAMPLES_MIN: usize = 10;
/// No request is asked a second time sooner: a quick provider's own jitter is no delay that a caller hears.
const AFTER_MIN: Duration = Duration::from_millis(150);
/// The latest moment that still helps: with 0.3 s for the end of the turn, 0.3 s for the second answer and 0.3 s for the voice, the
/// caller waits 1.5 s. It holds, too, while it is not known what late is.
const AFTER_MAX: Duration = Duration::from_millis(600);
/// A provider that is as slow as this by habit has no capacity to spare: a second request would make both slower.
const HABIT_MAX: Duration = Duration::from_secs(1);
/// Hedges saved up at most, so that a quiet day does not pay for an hour of twice the requests.
const CREDIT_MAX: f64 = 3.0;

/// Returns how long the first word is waited for before the request is asked again, where that helps; `within` is the time in which
/// [`QUANTILE`] of the answers begin.
#[must_use]
pub fn after(within: Option<Duration>) -> Option<Duration> {
    match within {
        None => Some(AFTER_MAX),
        Some(usual) if usual > HABIT_MAX => None,
        Some(usual) => Some(usual.clamp(AFTER_MIN, AFTER_MAX)),
    }
}

/// What may be spent on second requests: a share of the first ones.
#[derive(Debug)]
pub struct Spending {
    share: f64,
    credit: f64,
}

impl Spending {
    /// Allows a `share` (0 to 1) of all requests to be asked again, the first late one among them; 0: none.
    #[must_use]
    pub fn new(share: f64) -> Self {
        Self { share, credit: if share > 0.0 { 1.0 } else { 0.0 } }
    }

    /// A request was asked.
    pub fn earn(&mut self) {
        self.credit = (self.credit + self.share).min(CREDIT_MAX);
    }

    /// Takes one second request, where there is one left.
    pub fn spend(&mut self) -> bool {
        let may = self.credit >= 1.0;
        if may {
            self.credit -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_is_one_that_is_later_than_usual_within_bounds() {
        let ms = Duration::from_millis;
        assert_eq!(after(None), Some(AFTER_MAX));
        assert_eq!(after(Some(ms(20))), Some(AFTER_MIN));
        assert_eq!(after(Some(ms(340))), Some(ms(340)));
        assert_eq!(after(Some(ms(900))), Some(AFTER_MAX));
        assert_eq!(after(Some(ms(4000))), None);
    }

    #[test]
    fn no_more_than_the_share_is_spent() {
        let mut spending = Spending::new(0.1);
        let mut spent = 0;
        for _ in 0..1000 {
            spending.earn();
            spent += usize::from(spending.spend());
        }
        assert!((100..=101).contains(&spent), "{spent}");
        // Saving up has an end.
        (0..1000).for_each(|_| spending.earn());
        assert_eq!((0..10).filter(|_| spending.spend()).count(), 3);
    }

    #[test]
    fn a_share_of_nothing_is_nothing() {
        let mut spending = Spending::new(0.0);
        (0..100).for_each(|_| spending.earn());
        assert!(!spending.spend());
    }
}
