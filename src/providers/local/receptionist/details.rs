//! The details in what a caller said: telephone numbers, times, dates, amounts, names, whatever form the recogniser gave them.

use super::words::words;
use crate::agent::calendar::{DAYS, MONTHS, ORDINALS, THIRTIETH};

/// What was found, in the words in which it is read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Digits of a telephone number: seven or more in one run.
    pub number: Option<String>,
    /// "3:30 PM", "noon".
    pub time: Option<String>,
    /// "next Tuesday", "March 5th".
    pub date: Option<String>,
    /// "$12.50".
    pub amount: Option<String>,
}

impl Details {
    /// Finds what there is in `line`.
    #[must_use]
    pub fn of(line: &str) -> Self {
        let number = longest_run(line).filter(|digits| digits.len() >= NUMBER_MIN);
        let time = if number.is_some() { None } else { time(line) };
        Self { number, time, date: date(line), amount: amount(line) }
    }

    /// Reads back what was found, without the number: "next Tuesday at 3:30 PM", or `None`.
    #[must_use]
    pub fn appointment(&self) -> Option<String> {
        match (&self.date, &self.time) {
            (Some(date), Some(time)) => Some(format!("{date} at {time}")),
            (Some(date), None) => Some(date.clone()),
            (None, Some(time)) => Some(time.clone()),
            (None, None) => None,
        }
    }
}

/// Digits of the shortest telephone number.
pub const NUMBER_MIN: usize = 7;
/// Digits of the longest (ITU-T E.164 §6: 15), and of the longest run that is kept.
const NUMBER_MAX: usize = 15;

const UNITS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const TEENS: [&str; 10] =
    ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"];
const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

fn place(list: &[&str], word: &str) -> Option<usize> {
    list.iter().position(|known| *known == word)
}

/// A number word below 100, "seven", "thirty"; "oh" is a zero among digits.
fn small(word: &str) -> Option<usize> {
    place(&UNITS, word)
        .or_else(|| place(&TEENS, word).map(|n| n + 10))
        .or_else(|| place(&TENS, word).map(|n| (n + 2) * 10))
        .or_else(|| (word == "oh" || word == "o").then_some(0))
}

/// Returns the digits of the longest run of figures and number words: "555-271, eight three, double four" is "5552718344".
#[must_use]
pub fn longest_run(line: &str) -> Option<String> {
    let mut best = String::new();
    let mut run = String::new();
    let mut times = 1;
    let all = words(line);
    let mut i = 0;
    while let Some(word) = all.get(i) {
        i += 1;
        let next = all.get(i).map_or("", String::as_str);
        let digits = if word.bytes().all(|b| b.is_ascii_digit()) {
            Some(word.clone())
        } else if let Some(times_now) = place(&["double", "triple"], word) {
            times = times_now + 2;
            continue;
        } else {
            small(word).map(|number| match number {
                // "eighty three" is two digits; "eight hundred" three.
                20.. if place(&UNITS[1..], next).is_some() => {
                    i += 1;
                    (number + place(&UNITS, next).unwrap_or(0)).to_string()
                }
                1..10 if next == "hundred" => {
                    i += 1;
                    format!("{number}00")
                }
                1..10 if next == "thousand" => {
                    i += 1;
                    format!("{number}000")
                }
                _ => number.to_string(),
            })
        };
        match digits {
            Some(digits) => run.push_str(&digits.repeat(std::mem::replace(&mut times, 1))),
            // "and", "then", "dash" between groups do not end a number.
            None if ["and", "then", "dash", "area", "code", "plus"].contains(&word.as_str()) => {}
            None => keep_longer(&mut best, &mut run),
        }
    }
    keep_longer(&mut best, &mut run);
    (!best.is_empty()).then_some(best)
}

fn keep_longer(best: &mut String, run: &mut String) {
    if run.len() > best.len() && run.len() <= NUMBER_MAX {
        best.clone_from(run);
    }
    run.clear();
}

/// Writes digits so that a voice reads them one by one in groups: "5 5 5, 2 7 1, 8 3 4 6".
#[must_use]
pub fn read_back(digits: &str) -> String {
    let lengths: &[usize] = match digits.len() {
        7 => &[3, 4],
        10 => &[3, 3, 4],
        11 => &[1, 3, 3, 4],
        _ => &[3, 3, 3, 3, 3],
    };
    let mut rest: Vec<String> = digits.chars().map(String::from).collect();
    let mut groups = Vec::new();
    for length in lengths {
        if rest.is_empty() {
            break;
        }
        let tail = rest.split_off((*length).min(rest.len()));
        groups.push(rest.join(" "));
        rest = tail;
    }
    groups.join(", ")
}

/// "3:30", "3 30 p.m.", "seven thirty" after "at", "half past three", "noon".
fn time(line: &str) -> Option<String> {
    let line = line.to_lowercase().replace("a.m", "am").replace("p.m", "pm").replace("o'clock", "oclock");
    let all: Vec<&str> = line
        .split(|c: char| c.is_whitespace() || c == ',')
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
        .filter(|word| !word.is_empty())
        .collect();
    for (i, word) in all.iter().enumerate() {
        let before = i.checked_sub(1).map_or("", |i| all[i]);
        if ["noon", "midnight"].contains(word) {
            return Some((*word).to_owned());
        }
        if *word == "past" || *word == "to" {
            let minutes = match before {
                "half" => Some(30),
                "quarter" => Some(15),
                _ => small(before).filter(|minutes| (5..30).contains(minutes)),
            };
            let hour = all.get(i + 1).and_then(|word| hour(word));
            if let (Some(minutes), Some(hour)) = (minutes, hour) {
                let (hour, minutes) = if *word == "past" {
                    (hour, minutes)
                } else {
                    (if hour == 1 { 12 } else { hour - 1 }, 60 - minutes)
                };
                return Some(clock(hour, minutes, half_of_day(&all[i + 1..])));
            }
        }
        if let Some(found) =
            time_at(&all, i, ["at", "by", "around", "about", "until", "from", "after", "before"].contains(&before))
        {
            return Some(found);
        }
    }
    None
}

fn hour(word: &str) -> Option<usize> {
    word.parse().ok().or_else(|| small(word)).filter(|hour| (1..=12).contains(hour))
}

/// The time that begins with word `i`; a bare hour counts only where it is `announced` or followed by am, pm, o'clock.
fn time_at(all: &[&str], i: usize, announced: bool) -> Option<String> {
    let word = all[i];
    let (figures, glued) = ["am", "pm"]
        .iter()
        .find_map(|half| word.strip_suffix(half).map(|figures| (figures, Some(*half))))
        .filter(|(figures, _)| figures.ends_with(|c: char| c.is_ascii_digit()))
        .unwrap_or((word, None));
    if let Some((hours, minutes)) = figures.split_once([':', '.']) {
        let (hours, minutes): (usize, usize) =
            (hours.parse().ok()?, minutes.parse().ok().filter(|_| minutes.len() == 2)?);
        return (hours < 24 && minutes < 60)
            .then(|| clock(hours, minutes, glued.or_else(|| half_of_day(&all[i + 1..]))));
    }
    let hours = hour(figures)?;
    let (minutes, used) = minutes_at(&all[i + 1..]);
    let half = glued.or_else(|| all.get(i + 1 + used).and_then(|word| half_of_day(&[*word])));
    let oclock = all.get(i + 1) == Some(&"oclock");
    let sure = half.is_some() || oclock || announced;
    sure.then(|| clock(hours, minutes, half.or_else(|| half_of_day(&all[i + 1..]))))
}

/// "thirty", "fifteen", "forty five", "oh five" behind an hour, and how many words that took.
fn minutes_at(all: &[&str]) -> (usize, usize) {
    let second = all.get(1).and_then(|word| place(&UNITS[1..], word)).map(|unit| unit + 1);
    match all.first().map(|word| (*word, small(word))) {
        Some(("oh" | "o", _)) => second.map_or((0, 0), |unit| (unit, 2)),
        Some((_, Some(tens @ (20 | 30 | 40 | 50)))) => second.map_or((tens, 1), |unit| (tens + unit, 2)),
        Some((_, Some(minutes @ 10..20))) => (minutes, 1),
        Some((figures, _)) if figures.len() == 2 => {
            figures.parse().ok().filter(|minutes| *minutes < 60).map_or((0, 0), |minutes| (minutes, 1))
        }
        _ => (0, 0),
    }
}

/// Looks for "pm", "in the afternoon", "tonight" behind a time.
fn half_of_day(after: &[&str]) -> Option<&'static str> {
    after.iter().take(4).find_map(|word| match *word {
        "am" | "morning" => Some("am"),
        "pm" | "afternoon" | "evening" | "tonight" => Some("pm"),
        _ => None,
    })
}

fn clock(hours: usize, minutes: usize, half: Option<&str>) -> String {
    let half = half.map_or(String::new(), |half| format!(" {}", half.to_uppercase()));
    match (minutes, half.is_empty()) {
        (0, false) => format!("{hours}{half}"),
        _ => format!("{hours}:{minutes:02}{half}"),
    }
}

/// "tomorrow", "next Tuesday", "March 5th", "the twenty first of May".
fn date(line: &str) -> Option<String> {
    let all = words(line);
    let at = |i: usize| all.get(i).map_or("", String::as_str);
    for i in 0..all.len() {
        let before = i.checked_sub(1).map_or("", at);
        if MONTHS.contains(&at(i)) {
            let named = capitalized(at(i));
            let behind = day_of_month(at(i + 1), at(i + 2));
            let in_front = (before == "of").then(|| i.checked_sub(2)).flatten().and_then(|day| {
                let tens = day.checked_sub(1).map_or("", at);
                day_of_month(tens, at(day)).or_else(|| day_of_month(at(day), ""))
            });
            if let Some(day) = in_front.or(behind) {
                return Some(format!("{named} {}", with_ending(day)));
            }
            // "may" and "march" alone are more often other words.
            if !["may", "march"].contains(&at(i)) {
                return Some(named);
            }
        }
        let day = at(i).trim_end_matches("'s");
        if DAYS.contains(&day) {
            let day = capitalized(day);
            return Some(if ["next", "this"].contains(&before) { format!("{before} {day}") } else { day });
        }
        if ["today", "tomorrow", "tonight"].contains(&at(i)) {
            return Some(at(i).to_owned());
        }
        if ["next", "this"].contains(&before) && ["week", "weekend", "month"].contains(&at(i)) {
            return Some(format!("{before} {}", at(i)));
        }
    }
    None
}

/// "5", "5th", "fifth", "twenty first".
fn day_of_month(word: &str, next: &str) -> Option<usize> {
    let figures = word.trim_end_matches(|c: char| c.is_alphabetic());
    let day = match figures.parse().ok() {
        Some(day) => Some(day),
        None => match place(&ORDINALS, word) {
            Some(day) => Some(day + 1),
            None if word == THIRTIETH => Some(30),
            None => match (place(&["twenty", "thirty"], word), place(&ORDINALS[..9], next)) {
                (Some(tens), Some(unit)) => Some((tens + 2) * 10 + unit + 1),
                _ => small(word).filter(|day| *day > 0),
            },
        },
    };
    day.filter(|day| (1..=31).contains(day))
}

fn with_ending(day: usize) -> String {
    let ending = match (day % 10, day / 10) {
        (1, 0 | 2 | 3) => "st",
        (2, 0 | 2) => "nd",
        (3, 0 | 2) => "rd",
        _ => "th",
    };
    format!("{day}{ending}")
}

/// "$12.50", "20 dollars", "twenty dollars".
fn amount(line: &str) -> Option<String> {
    let stretches: Vec<&str> = line.split_whitespace().map(|word| word.trim_matches(['.', ',', '?', '!'])).collect();
    if let Some(amount) = stretches.iter().find(|word| word.starts_with('$') && word.len() > 1) {
        return Some((*amount).to_owned());
    }
    let at =
        stretches.iter().position(|word| ["dollars", "dollar", "bucks"].contains(&word.to_lowercase().as_str()))?;
    let mut first = at;
    while first > 0 {
        let word = stretches[first - 1].to_lowercase();
        let number = small(&word).is_some() || ["hundred", "thousand", "million", "and"].contains(&word.as_str());
        if !number && !word.starts_with(|c: char| c.is_ascii_digit()) {
            break;
        }
        first -= 1;
    }
    (first < at).then(|| format!("{} dollars", stretches[first..at].join(" ").to_lowercase()))
}

/// Finds a caller's name. Where it was `asked` for, the whole line may be one; elsewhere it must be introduced.
#[must_use]
pub fn name(line: &str, asked: bool) -> Option<String> {
    const INTRODUCTIONS: [&str; 12] = [
        "my name is",
        "my name's",
        "name is",
        "name's",
        "this is",
        "i am",
        "i'm",
        "it's",
        "it is",
        "call me",
        "that's",
        "speaking with",
    ];
    let spoken = line.replace('\u{2019}', "'");
    let lower = spoken.to_ascii_lowercase();
    let found = INTRODUCTIONS.iter().find_map(|words| {
        let at = lower.find(words)?;
        let whole = at == 0 || lower[..at].ends_with([' ', ',', '.', '!']);
        whole.then(|| (at + words.len(), *words))
    });
    let (rest, introduction) = match found {
        Some((at, words)) if asked || !["it's", "it is", "that's"].contains(&words) => (&spoken[at..], words),
        _ => (spoken.as_str(), ""),
    };
    let introduced = !introduction.is_empty();
    if !introduced && !asked {
        return None;
    }
    let sentence = rest.trim_start().split(['.', '!', '?', ',', ';']).find(|part| !part.trim().is_empty())?;
    let parts: Vec<&str> = sentence.split_whitespace().filter(|word| !is_lead_in(word)).collect();
    if let Some(letters) = spelled(&parts) {
        return Some(letters);
    }
    let as_written = |word: &&&str| word.starts_with(char::is_uppercase) && !["I", "I'm", "I'd"].contains(*word);
    let mut taken: Vec<&str> = parts.iter().take_while(as_written).copied().collect();
    // A recogniser may write a name small; a short answer to the question is one all the same.
    let surely = !introduced || introduction.contains("name") || introduction == "call me";
    if taken.is_empty() && asked && surely && (1..=3).contains(&parts.len()) {
        taken = parts;
    }
    taken.truncate(3);
    taken.retain(|word| word.chars().any(char::is_alphabetic));
    (!taken.is_empty()).then(|| taken.iter().map(|word| capitalized(word)).collect::<Vec<_>>().join(" "))
}

fn is_lead_in(word: &str) -> bool {
    ["um", "uh", "yes", "yeah", "sure", "well", "okay", "ok", "hi", "hello", "hey", "so"]
        .contains(&word.trim_matches(',').to_lowercase().as_str())
}

/// "J-O-H-N" and "J O H N" are "John".
fn spelled(parts: &[&str]) -> Option<String> {
    let letters: Vec<&str> = parts.iter().flat_map(|part| part.split('-')).filter(|part| !part.is_empty()).collect();
    let single =
        letters.len() > 1 && letters.iter().all(|part| part.len() == 1 && part.chars().all(char::is_alphabetic));
    single.then(|| capitalized(&letters.concat().to_lowercase()))
}

/// "o'malley" is "O'malley", "McDonald" stays.
fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_understood_in_every_form_a_recogniser_writes() {
        for (line, digits) in [
            ("My number is 555-271-8346.", "5552718346"),
            ("five five five, two seven one, eight three four six", "5552718346"),
            ("It's (555) 271 8346, thanks", "5552718346"),
            ("five, five, five, 271, eighty three forty six", "5552718346"),
            ("555 double two oh one nine", "5552 2019".replace(' ', "").as_str()),
            ("eight hundred 555 1234", "8005551234"),
            ("1-800-555-1234", "18005551234"),
            ("area code 555 and then 2718346", "5552718346"),
        ]
        .map(|(line, digits)| (line, digits.to_owned()))
        {
            assert_eq!(Details::of(line).number, Some(digits), "{line}");
        }
        assert_eq!(Details::of("I have three dogs and two cats").number, None);
        assert_eq!(Details::of("").number, None);
        assert_eq!(Details::of(&"1234567890 ".repeat(100)).number, None);
    }

    #[test]
    fn numbers_are_read_back_digit_by_digit_in_groups() {
        assert_eq!(read_back("5552718346"), "5 5 5, 2 7 1, 8 3 4 6");
        assert_eq!(read_back("2718346"), "2 7 1, 8 3 4 6");
        assert_eq!(read_back("47192"), "4 7 1, 9 2");
        assert_eq!(read_back(""), "");
    }

    #[test]
    fn times_and_dates_are_understood() {
        for (line, appointment) in [
            ("tomorrow at 3:30", "tomorrow at 3:30"),
            ("next Tuesday at seven p.m.", "next Tuesday at 7 PM"),
            ("on March 5th at 7:15pm", "March 5th at 7:15 PM"),
            ("the twenty first of May", "May 21st"),
            ("March third around noon", "March 3rd at noon"),
            ("at seven thirty in the evening", "7:30 PM"),
            ("half past three", "3:30"),
            ("quarter to one tomorrow", "tomorrow at 12:45"),
            ("nine o'clock on Monday morning", "Monday at 9 AM"),
            ("10 a.m. today", "today at 10 AM"),
            ("at nine oh five", "9:05"),
        ] {
            assert_eq!(Details::of(line).appointment().as_deref(), Some(appointment), "{line}");
        }
        for line in ["I may march on", "seven people", "I have two", "it was fine", ""] {
            assert_eq!(Details::of(line).appointment(), None, "{line}");
        }
    }

    #[test]
    fn amounts_are_understood() {
        assert_eq!(Details::of("It was $12.50.").amount.as_deref(), Some("$12.50"));
        assert_eq!(Details::of("I paid twenty five dollars").amount.as_deref(), Some("twenty five dollars"));
        assert_eq!(Details::of("dollars").amount, None);
    }

    #[test]
    fn names_are_understood_where_they_are_given() {
        for (line, asked, expected) in [
            ("John Smith.", true, Some("John Smith")),
            ("My name is John Smith.", false, Some("John Smith")),
            ("Um, it's Maria.", true, Some("Maria")),
            ("This is Ann Lee, and I need help.", false, Some("Ann Lee")),
            ("Sure, my name's peter", true, Some("Peter")),
            ("J-O-H-N", true, Some("John")),
            ("I'm looking for a job.", false, None),
            ("It's raining.", false, None),
            ("I would rather not say what I am called", true, None),
            ("", true, None),
        ] {
            assert_eq!(name(line, asked).as_deref(), expected, "{line}");
        }
    }
}
