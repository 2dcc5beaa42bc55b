//! Date (RFC 3261 §20.17): the time of day as RFC 1123 writes it, in GMT whatever the sender's time zone.

use std::time::Duration;

const DAY_S: u64 = 24 * 60 * 60;
/// The first of January 1970 was a Thursday.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [(&str, u64); 12] = [
    ("Jan", 31),
    ("Feb", 28),
    ("Mar", 31),
    ("Apr", 30),
    ("May", 31),
    ("Jun", 30),
    ("Jul", 31),
    ("Aug", 31),
    ("Sep", 30),
    ("Oct", 31),
    ("Nov", 30),
    ("Dec", 31),
];
/// The last year that has four digits, as the grammar wants them (RFC 3261 §25.1).
const YEAR_MAX: u64 = 9999;

/// Returns the header's value for `unix`, the time since 1970-01-01 00:00 UTC.
pub(super) fn date(unix: Duration) -> String {
    let (days, second) = (unix.as_secs() / DAY_S, unix.as_secs() % DAY_S);
    let weekday = WEEKDAYS[(days % 7) as usize];
    let (mut year, mut day) = (1970, days);
    while year < YEAR_MAX && day >= length_of(year) {
        day -= length_of(year);
        year += 1;
    }
    let leap = length_of(year) - 365;
    let mut month = "Dec";
    for (name, length) in MONTHS {
        let length = if name == "Feb" { length + leap } else { length };
        month = name;
        if day < length {
            break;
        }
        day -= length;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT", day + 1)
}

/// Returns the days of a year of the Gregorian calendar.
const fn length_of(year: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if is_leap { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_months_and_leap_years_are_those_of_the_calendar() {
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
            assert_eq!(date(Duration::from_secs(unix_s)), written);
        }
        assert!(date(Duration::MAX).contains(" 9999 "));
    }
}
