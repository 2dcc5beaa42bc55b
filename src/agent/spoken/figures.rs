//! Amounts and how they are said: numbers, money, percentages, ranges, measures.

use super::moments::time_of_day;
use super::normalize::{Around, Word, all_digits, say, words};
use super::numbers;

/// A number as written, "1,250", "12.50", "-5": its parts, where it is one.
pub(super) struct Written<'a> {
    pub(super) minus: bool,
    pub(super) whole: u64,
    /// As written, without commas.
    whole_text: String,
    pub(super) fraction: Option<&'a str>,
}

pub(super) fn written(text: &str) -> Option<Written<'_>> {
    let (minus, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    if fraction.is_some_and(|fraction| !all_digits(fraction)) {
        return None;
    }
    let groups: Vec<&str> = whole.split(',').collect();
    let grouped = groups.len() == 1 || groups[1..].iter().all(|group| group.len() == 3);
    let whole_text = groups.concat();
    let empty_whole = whole_text.is_empty() && fraction.is_some();
    if !grouped || !(all_digits(&whole_text) || empty_whole) {
        return None;
    }
    let whole = if empty_whole { 0 } else { whole_text.parse().ok()? };
    Some(Written { minus, whole, whole_text, fraction })
}

impl Written<'_> {
    fn say(&self, list: &mut Vec<&'static str>) {
        if self.minus {
            list.push("minus");
        }
        if !self.whole_text.is_empty() {
            numbers::cardinal(self.whole, list);
        }
        if let Some(fraction) = self.fraction {
            list.push("point");
            numbers::digits(fraction, list);
        }
    }

    fn is_one(&self) -> bool {
        self.whole == 1 && self.fraction.is_none()
    }
}

/// A currency sign, its unit and its hundredth, each for one and for many.
const CURRENCIES: [(char, [&str; 2], [&str; 2]); 4] = [
    ('$', ["dollar", "dollars"], ["cent", "cents"]),
    ('£', ["pound", "pounds"], ["penny", "pence"]),
    ('€', ["euro", "euros"], ["cent", "cents"]),
    ('¥', ["yen", "yen"], ["", ""]),
];

const BIG: [&str; 4] = ["hundred", "thousand", "million", "billion"];

/// "$12.50", "£3", "$5 million", "$10k", and the word behind a big amount.
pub(super) fn money(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    if let Some(currency) = currency_of(around.before)
        && BIG.contains(&core)
        && !around.broken
    {
        return Some(words(&[core, currency.1[1]]));
    }
    let (minus, core) = core.strip_prefix('-').map_or((false, core), |rest| (true, rest));
    let (_, unit, hundredth) = currency_of(core)?;
    let amount = core.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '.');
    let (amount, big) = match amount.as_bytes().last()? {
        b'k' | b'K' => (&amount[..amount.len() - 1], Some("thousand")),
        b'm' | b'M' => (&amount[..amount.len() - 1], Some("million")),
        b'b' | b'B' => (&amount[..amount.len() - 1], Some("billion")),
        _ => (amount, None),
    };
    let number = written(amount)?;
    let followed_by_big = !around.breaks && BIG.contains(&around.after);
    let hundredths = number.fraction.filter(|fraction| fraction.len() == 2).and_then(|f| f.parse::<u64>().ok());
    Some(say(|list| {
        if minus {
            list.push("minus");
        }
        match hundredths {
            Some(cents) if big.is_none() && !followed_by_big => {
                if number.whole > 0 || cents == 0 {
                    numbers::cardinal(number.whole, list);
                    list.push(unit[usize::from(number.whole != 1)]);
                }
                if number.whole > 0 && cents > 0 {
                    list.push("and");
                }
                if cents > 0 {
                    numbers::cardinal(cents, list);
                    list.push(hundredth[usize::from(cents != 1)]);
                }
            }
            _ => {
                number.say(list);
                list.extend(big);
                if !followed_by_big {
                    list.push(unit[usize::from(!number.is_one() || big.is_some())]);
                }
            }
        }
    }))
}

fn currency_of(core: &str) -> Option<(char, [&'static str; 2], [&'static str; 2])> {
    let first = core.chars().next()?;
    CURRENCIES.iter().find(|(sign, ..)| *sign == first).copied().filter(|_| core.len() > first.len_utf8())
}

/// "20%", "2.5%".
pub(super) fn percent(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let number = written(core.strip_suffix('%')?)?;
    Some(say(|list| {
        number.say(list);
        list.push("percent");
    }))
}

/// "9-5", "10–12", "9am-5pm".
pub(super) fn spoken_range(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    let (from, to) = core.split_once(['-', '–'])?;
    let bound = |text: &str| text.len() <= 8 && text.starts_with(|c: char| c.is_ascii_digit());
    if !bound(from) || !bound(to) {
        return None;
    }
    let mut out = number_or_time(from, around)?;
    out.extend(words(&["to"]));
    out.extend(number_or_time(to, around)?);
    Some(out)
}

fn number_or_time(text: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    time_of_day(text, around).or_else(|| written(text).map(|number| say(|list| number.say(list))))
}

/// "1990s", "'80s".
pub(super) fn decade(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let figures = core.strip_suffix('s')?.trim_end_matches('\'');
    let number: u64 = figures.parse().ok().filter(|_| all_digits(figures) && figures.ends_with('0'))?;
    let mut list = Vec::new();
    if figures.len() == 4 {
        numbers::year(number, &mut list)
    } else {
        numbers::cardinal(number, &mut list)
    }
    let mut out = words(&list);
    if let Some(Word::Plain(last)) = out.last_mut() {
        *last = last.strip_suffix('y').map_or_else(|| format!("{last}s"), |stem| format!("{stem}ies"));
    }
    Some(out)
}

/// A unit's sign, its name for one and for many.
const UNITS: &[(&str, &str, &str)] = &[
    ("km", "kilometer", "kilometers"),
    ("m", "meter", "meters"),
    ("cm", "centimeter", "centimeters"),
    ("mm", "millimeter", "millimeters"),
    ("mi", "mile", "miles"),
    ("ft", "foot", "feet"),
    ("kg", "kilogram", "kilograms"),
    ("g", "gram", "grams"),
    ("mg", "milligram", "milligrams"),
    ("lb", "pound", "pounds"),
    ("lbs", "pound", "pounds"),
    ("oz", "ounce", "ounces"),
    ("ml", "milliliter", "milliliters"),
    ("l", "liter", "liters"),
    ("mph", "mile per hour", "miles per hour"),
    ("km/h", "kilometer per hour", "kilometers per hour"),
    ("min", "minute", "minutes"),
    ("mins", "minute", "minutes"),
    ("hr", "hour", "hours"),
    ("hrs", "hour", "hours"),
    ("h", "hour", "hours"),
    ("sec", "second", "seconds"),
    ("s", "second", "seconds"),
    ("ms", "millisecond", "milliseconds"),
    ("KB", "kilobyte", "kilobytes"),
    ("MB", "megabyte", "megabytes"),
    ("GB", "gigabyte", "gigabytes"),
    ("kHz", "kilohertz", "kilohertz"),
    ("Hz", "hertz", "hertz"),
    ("kW", "kilowatt", "kilowatts"),
    ("W", "watt", "watts"),
    ("V", "volt", "volts"),
    ("°", "degree", "degrees"),
    ("°C", "degree celsius", "degrees celsius"),
    ("°F", "degree fahrenheit", "degrees fahrenheit"),
    ("¢", "cent", "cents"),
    ("k", "thousand", "thousand"),
    ("x", "times", "times"),
];

pub(super) fn unit(sign: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    UNITS.iter().find(|(known, ..)| *known == sign)
}

/// "5km", "72°F", and the sign behind a number ("5 km").
pub(super) fn with_unit(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    if let Some((_, one, many)) = unit(core).filter(|_| core.len() > 1 && !around.broken) {
        let number = written(around.before)?;
        return Some(words(&(if number.is_one() { one } else { many }).split(' ').collect::<Vec<_>>()));
    }
    let end = core.rfind(|c: char| c.is_ascii_digit())? + 1;
    let (_, one, many) = unit(core.get(end..)?)?;
    let number = written(&core[..end])?;
    Some(say(|list| {
        number.say(list);
        list.extend((if number.is_one() { one } else { many }).split(' '));
    }))
}

/// "12", "1,250", "3.14", "-5"; four figures without a comma are read in pairs, as years and house numbers are.
pub(super) fn plain_number(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let number = written(core)?;
    let pairs = core.len() == 4 && all_digits(core) && number.whole % 1000 != 0;
    Some(say(|list| if pairs { numbers::year(number.whole, list) } else { number.say(list) }))
}
