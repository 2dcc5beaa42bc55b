//! Samples as time, and time as samples, at any rate: exact where that can be, else less by a part of the last one.

use std::time::Duration;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Returns how long `samples` last at `rate` of them a second, in whole nanoseconds. At a rate of 0 nothing lasts.
///
/// # Real-time
/// Constant time.
#[must_use]
pub const fn duration(samples: u64, rate: u32) -> Duration {
    let rate = rate as u64;
    let (Some(seconds), Some(rest)) = (samples.checked_div(rate), samples.checked_rem(rate)) else {
        return Duration::ZERO;
    };
    // The rest is less than the rate, so that neither the product nor the quotient is more than its type holds.
    Duration::new(seconds, (rest * NANOS_PER_SECOND / rate) as u32)
}

/// Returns how many whole samples `time` holds at `rate` of them a second; at most as many as can be counted.
///
/// # Real-time
/// Constant time.
#[must_use]
pub const fn count(time: Duration, rate: u32) -> u64 {
    let rate = rate as u64;
    // A whole second holds whole samples, so that nothing is lost by counting the rest of one by itself.
    let rest = time.subsec_nanos() as u64 * rate / NANOS_PER_SECOND;
    time.as_secs().saturating_mul(rate).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_telephone_s_rates_divide_is_exact() {
        for (samples, rate, micros) in [(0, 8000, 0), (1, 8000, 125), (160, 8000, 20_000), (441, 44_100, 10_000)] {
            assert_eq!(duration(samples, rate), Duration::from_micros(micros));
            assert_eq!(count(Duration::from_micros(micros), rate), samples);
        }
        assert_eq!(duration(16_001, 16_000), Duration::new(1, 62_500));
    }

    #[test]
    fn a_part_of_a_sample_or_of_a_nanosecond_does_not_count() {
        assert_eq!(count(Duration::from_nanos(124_999), 8000), 0);
        assert_eq!(count(Duration::from_nanos(125_000), 8000), 1);
        assert_eq!(duration(1, 44_100), Duration::from_nanos(22_675));
        for rate in [8000, 16_000, 24_000, 44_100, 48_000] {
            for samples in (0..200_000).step_by(997) {
                let back = count(duration(samples, rate), rate);
                assert!(back == samples || back + 1 == samples, "{samples} at {rate} Hz: {back}");
            }
        }
    }

    #[test]
    fn nothing_overflows_and_a_rate_of_0_is_no_fault() {
        assert_eq!(duration(u64::MAX, 1), Duration::from_secs(u64::MAX));
        assert_eq!(duration(u64::MAX, u32::MAX).as_secs(), u64::MAX / u64::from(u32::MAX));
        assert_eq!(count(Duration::MAX, u32::MAX), u64::MAX);
        assert_eq!(count(Duration::from_secs(u64::MAX), 8000), u64::MAX);
        assert_eq!((duration(160, 0), count(Duration::MAX, 0)), (Duration::ZERO, 0));
    }
}
