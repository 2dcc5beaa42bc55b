//! Date (RFC 3261 §20.17): the time of day as RFC 1123 writes it, in GMT whatever the sender's time zone.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use std::time::Duration;

/// Returns the header's value for `unix`, the time since 1970-01-01 00:00 UTC; `None` beyond the year 9999.
pub(super) fn date(unix: Duration) -> Option<String> {
    let second = i64::try_from(unix.as_secs()).ok()?;
    // HTTP's Date is the same (RFC 9110 §5.6.7).
    DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::from_second(second).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_written_as_the_grammar_wants_it() {
        // Reckoned by `date --utc --rfc-email`.
        for (unix_s, written) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_289_656_109, "Sat, 13 Nov 2010 13:48:29 GMT"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(date(Duration::from_secs(unix_s)).as_deref(), Some(written));
        }
        assert_eq!(date(Duration::MAX), None);
    }
}
