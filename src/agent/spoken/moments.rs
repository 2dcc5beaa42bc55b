//! Times and dates and how they are said.

use super::figures::written;
use super::normalize::{Around, Word, all_digits, is_capitalized, say, words};
use super::numbers;
use crate::agent::calendar::MONTHS;

/// Returns the month that `text` names, in full or by its first three letters.
fn month(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    MONTHS
        .into_iter()
        .find(|name| text == *name || name.get(..3) == Some(&text) || (text == "sept" && *name == "september"))
}

/// Whether `word` is a month's name in full, which a day may follow; "May" and "march" are other words too often.
pub(super) fn is_month(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    is_capitalized(word) && lower != "may" && MONTHS.contains(&lower.as_str())
}

fn month_name(number: u64) -> Option<&'static str> {
    usize::try_from(number).ok()?.checked_sub(1).and_then(|i| MONTHS.get(i)).copied()
}

/// Splits "3pm" or "3:30p.m" into its figures and, where they follow, "am" or "pm".
fn half_of_day(core: &str) -> (&str, Option<&'static str>) {
    let lower = core.to_ascii_lowercase();
    for (ending, letters) in [("a.m", "AM"), ("p.m", "PM"), ("am", "AM"), ("pm", "PM")] {
        if let Some(figures) = lower.strip_suffix(ending)
            && figures.ends_with(|c: char| c.is_ascii_digit())
        {
            return (&core[..figures.len()], Some(letters));
        }
    }
    (core, None)
}

fn is_half_of_day(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "am" | "pm" | "a.m" | "p.m")
}

/// "3:30", "9:05am", "12:00", "7pm".
pub(super) fn time_of_day(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    if is_half_of_day(core) && around.before.ends_with(|c: char| c.is_ascii_digit()) {
        return Some(vec![Word::Letters(core.replace('.', "").to_ascii_uppercase())]);
    }
    if core == "a.m" || core == "p.m" {
        return Some(vec![Word::Letters(core.replace('.', "").to_ascii_uppercase())]);
    }
    let (figures, half) = half_of_day(core);
    let (hour, minute) = match figures.split_once(':') {
        Some((hour, minute)) => (hour, Some(minute)),
        None => (figures, None),
    };
    if !all_digits(hour) || hour.len() > 2 || (minute.is_none() && half.is_none()) {
        return None;
    }
    let hour: u64 = hour.parse().ok()?;
    let minute_text = minute.unwrap_or("00");
    if !all_digits(minute_text) || minute_text.len() != 2 || hour > 24 {
        return None;
    }
    let minute: u64 = minute_text.parse().ok().filter(|minute| *minute < 60)?;
    let halved = half.is_some() || is_half_of_day(around.after);
    let mut out = say(|list| {
        numbers::cardinal(hour, list);
        match minute {
            0 if !halved && (1..=12).contains(&hour) => list.push("o'clock"),
            0 if !halved => list.push("hundred"),
            0 => {}
            1..10 => {
                list.push("oh");
                numbers::cardinal(minute, list);
            }
            _ => numbers::cardinal(minute, list),
        }
    });
    out.extend(half.map(|letters| Word::Letters(letters.to_owned())));
    Some(out)
}

fn say_date(month: &'static str, day: u64, year: Option<u64>) -> Vec<Word> {
    let mut out = say(|list| {
        list.push(month);
        numbers::ordinal(day, list);
    });
    if let Some(year) = year {
        out.push(Word::Pause);
        out.extend(say(|list| numbers::year(year, list)));
    }
    out
}

/// "2026-11-24".
pub(super) fn iso_date(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let parts: Vec<&str> = core.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return None };
    if year.len() != 4 || !parts.iter().all(|part| all_digits(part)) {
        return None;
    }
    let day = day.parse().ok().filter(|day| (1..=31).contains(day))?;
    Some(say_date(month_name(month.parse().ok()?)?, day, Some(year.parse().ok()?)))
}

/// "24.12.2026".
pub(super) fn dotted_date(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let parts: Vec<&str> = core.split('.').collect();
    let [day, month, year] = parts.as_slice() else { return None };
    if year.len() != 4 || !parts.iter().all(|part| all_digits(part)) {
        return None;
    }
    let day = day.parse().ok().filter(|day| (1..=31).contains(day))?;
    Some(say_date(month_name(month.parse().ok()?)?, day, Some(year.parse().ok()?)))
}

/// Days of the week, short and long.
const DAYS: [(&str, &str); 7] = [
    ("mon", "monday"),
    ("tue", "tuesday"),
    ("wed", "wednesday"),
    ("thu", "thursday"),
    ("fri", "friday"),
    ("sat", "saturday"),
    ("sun", "sunday"),
];

/// "Mon-Fri", "Jan–Mar".
pub(super) fn days(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let (from, to) = core.split_once(['-', '–'])?;
    let day = |text: &str| {
        let text = text.trim_end_matches('.').to_ascii_lowercase();
        DAYS.iter().find(|(short, long)| text == *short || text == *long).map(|(_, long)| *long)
    };
    let both = |name: fn(&str) -> Option<&'static str>| Some([name(from)?, "to", name(to)?]);
    let spoken = day(from).zip(day(to)).map(|(from, to)| [from, "to", to]).or_else(|| both(month))?;
    Some(words(&spoken))
}

/// Words in front of a day and month.
const BEFORE_A_DATE: [&str; 6] = ["on", "by", "until", "since", "from", "before"];

/// "11/24/2026", "11/24", "1/2", "3/4", "24/7".
pub(super) fn slashed(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    const PARTS: [&str; 9] = ["half", "third", "quarter", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"];
    let parts: Vec<&str> = core.split('/').collect();
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(|part| all_digits(part) && part.len() <= 4) {
        return None;
    }
    let mut figures = parts.iter().filter_map(|part| part.parse::<u64>().ok());
    let (first, second, year) = (figures.next()?, figures.next()?, figures.next());
    let year = year.map(|year| match year {
        0..=30 => 2000 + year,
        31..=99 => 1900 + year,
        _ => year,
    });
    if year.is_none() && first == 24 && second == 7 {
        return Some(words(&["twenty", "four", "seven"]));
    }
    let date = BEFORE_A_DATE.contains(&around.before.to_ascii_lowercase().as_str());
    if year.is_none() && !date && first > 0 && first < second && (2..=10).contains(&second) {
        return Some(say(|list| {
            if all_digits(around.before) && !around.broken {
                list.push("and");
            }
            numbers::cardinal(first, list);
            list.push(PARTS[second as usize - 2]);
        }))
        .map(|mut out| {
            if first > 1
                && let Some(Word::Plain(last)) = out.last_mut()
            {
                last.push('s');
            }
            out
        });
    }
    let (month, day) = if first <= 12 { (first, second) } else { (second, first) };
    if !(1..=31).contains(&day) {
        return None;
    }
    Some(say_date(month_name(month)?, day, year))
}

/// "1st", "22nd", and the bare day after a month ("March 5").
pub(super) fn ordinal_number(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    let figures = ["st", "nd", "rd", "th"].iter().find_map(|ending| core.strip_suffix(ending));
    let month_follows = !around.breaks && is_capitalized(around.after) && month(around.after).is_some();
    let day_of_month = all_digits(core) && core.len() <= 2 && (month(around.before).is_some() || month_follows);
    let figures = figures.or(day_of_month.then_some(core))?;
    let number = written(figures).filter(|number| number.fraction.is_none() && !number.minus)?;
    if day_of_month && !(1..=31).contains(&number.whole) {
        return None;
    }
    Some(say(|list| numbers::ordinal(number.whole, list)))
}
