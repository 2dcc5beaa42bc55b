//! Amounts and how they are said: numbers, money, percentages, ranges, measures.

use super::moments::time_of_day;
use super::normalize::{Around, Word, all_digits, is_capitalized, say, words};
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

/// Codes of currencies, and their signs where [`CURRENCIES`] has one.
const CODES: [(&str, char); 4] = [("USD", '$'), ("EUR", '€'), ("GBP", '£'), ("JPY", '¥')];

/// "$12.50", "£3", "$5 million", "$10k", "12,50 €", "EUR 20", and the word behind a big amount.
pub(super) fn money(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    if let Some(currency) = currency_of(around.before)
        && BIG.contains(&core)
        && !around.broken
    {
        return Some(words(&[core, currency.1[1]]));
    }
    let (minus, core) = core.strip_prefix('-').map_or((false, core), |rest| (true, rest));
    let starts_as_number = core.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let behind = core.chars().next_back().filter(|sign| starts_as_number && named(*sign).is_some());
    let apart =
        (sign_of(around.after).filter(|_| !around.breaks)).or(sign_of(around.before).filter(|_| !around.broken));
    let (currency, amount) = match (currency_of(core), behind, apart.filter(|_| starts_as_number)) {
        (Some(currency), ..) => (currency, core.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '.')),
        (None, Some(sign), _) => (named(sign)?, &core[..core.len() - sign.len_utf8()]),
        (None, None, Some(sign)) => (named(sign)?, core),
        _ => return None,
    };
    let mut out = if minus { words(&["minus"]) } else { Vec::new() };
    out.extend(amount_of(currency, amount, !around.breaks && BIG.contains(&around.after))?);
    Some(out)
}

/// The sign or code of a currency beside a number, which is said with that number.
pub(super) fn currency(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    sign_of(core)?;
    let amount =
        |text: &str| text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(|c| !c.is_alphabetic());
    let beside = (amount(around.before) && !around.broken) || (amount(around.after) && !around.breaks);
    let (_, unit, _) = named(sign_of(core)?)?;
    if beside { Some(Vec::new()) } else { core.chars().all(|c| !c.is_alphabetic()).then(|| words(&[unit[1]])) }
}

type Currency = (char, [&'static str; 2], [&'static str; 2]);

fn amount_of((_, unit, hundredth): Currency, amount: &str, followed_by_big: bool) -> Option<Vec<Word>> {
    let (amount, big) = match amount.as_bytes().last()? {
        b'k' | b'K' => (&amount[..amount.len() - 1], Some("thousand")),
        b'm' | b'M' => (&amount[..amount.len() - 1], Some("million")),
        b'b' | b'B' => (&amount[..amount.len() - 1], Some("billion")),
        _ => (amount, None),
    };
    // "12,50" and "1.250,00" are how much of Europe writes it.
    let european = match amount.rsplit_once(',') {
        Some((whole, cents)) if cents.len() == 2 => format!("{}.{cents}", whole.replace('.', "")),
        _ => amount.to_owned(),
    };
    let number = written(&european)?;
    let hundredths = number.fraction.filter(|fraction| fraction.len() == 2).and_then(|f| f.parse::<u64>().ok());
    Some(say(|list| match hundredths {
        Some(cents) if big.is_none() && !followed_by_big && !hundredth[0].is_empty() => {
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
    }))
}

fn currency_of(core: &str) -> Option<Currency> {
    let first = core.chars().next()?;
    named(first).filter(|_| core.len() > first.len_utf8())
}

fn named(sign: char) -> Option<Currency> {
    CURRENCIES.iter().find(|(known, ..)| *known == sign).copied()
}

/// Returns the sign of a currency that stands alone, be it as a sign or a code.
fn sign_of(core: &str) -> Option<char> {
    let mut chars = core.chars();
    let sign = chars.next().filter(|sign| chars.next().is_none() && named(*sign).is_some());
    sign.or_else(|| CODES.iter().find(|(code, _)| *code == core).map(|(_, sign)| *sign))
}

/// "20%", "2.5%".
pub(super) fn percent(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let number = written(core.strip_suffix('%')?)?;
    Some(say(|list| {
        number.say(list);
        list.push("percent");
    }))
}

/// "9-5", "10–12", "9am-5pm", "$10-$20", "10-12%", "2019-2021".
pub(super) fn spoken_range(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    let (from, to) = core.split_once(['-', '–']).filter(|(from, _)| !from.is_empty())?;
    let amount = currency_of(from).is_some();
    let bound = |text: &str| {
        let figures = text.trim_start_matches(|c| named(c).is_some());
        text.len() <= 10 && figures.starts_with(|c: char| c.is_ascii_digit())
    };
    if !bound(from) || !bound(to) {
        return None;
    }
    let alone = Around { before: "", broken: true, after: "", breaks: true, breaks_for_sure: true };
    let shared = amount && currency_of(to).is_none();
    let sign = &from[..from.chars().next()?.len_utf8()];
    let first = if shared { &from[sign.len()..] } else { from };
    let second = if shared { format!("{sign}{to}") } else { to.to_owned() };
    let number = |text: &str| {
        let place = if amount { &alone } else { around };
        money(text, &alone)
            .or_else(|| percent(text, &alone))
            .or_else(|| time_of_day(text, place))
            .or_else(|| with_unit(text, &alone))
            .or_else(|| plain_number(text, &alone))
    };
    let mut out = number(first)?;
    out.extend(words(&["to"]));
    out.extend(number(&second)?);
    Some(out)
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
    ("yd", "yard", "yards"),
    ("cl", "centiliter", "centiliters"),
    ("tbsp", "tablespoon", "tablespoons"),
    ("tsp", "teaspoon", "teaspoons"),
    ("sqm", "square meter", "square meters"),
    ("m²", "square meter", "square meters"),
    ("km²", "square kilometer", "square kilometers"),
    ("ft²", "square foot", "square feet"),
    ("m³", "cubic meter", "cubic meters"),
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
    ("TB", "terabyte", "terabytes"),
    ("Mbps", "megabit per second", "megabits per second"),
    ("Mbit/s", "megabit per second", "megabits per second"),
    ("GHz", "gigahertz", "gigahertz"),
    ("MHz", "megahertz", "megahertz"),
    ("kWh", "kilowatt hour", "kilowatt hours"),
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
    ("M", "million", "million"),
    ("bn", "billion", "billion"),
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

/// Fractions that are one sign, and how they are said.
const FRACTIONS: [(char, &str); 7] = [
    ('½', "half"),
    ('¼', "quarter"),
    ('¾', "three quarters"),
    ('⅓', "third"),
    ('⅔', "two thirds"),
    ('⅛', "eighth"),
    ('⅕', "fifth"),
];

/// "½", "2½".
pub(super) fn fraction_sign(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let sign = core.chars().next_back()?;
    let (_, name) = FRACTIONS.iter().find(|(known, _)| *known == sign)?;
    let whole = &core[..core.len() - sign.len_utf8()];
    let number = if whole.is_empty() { None } else { Some(written(whole)?) };
    Some(say(|list| {
        if let Some(number) = &number {
            number.say(list);
            list.push("and");
        }
        list.extend((!name.contains(' ')).then_some(if number.is_some() { "a" } else { "one" }));
        list.extend(name.split(' '));
    }))
}

/// "5'10" and "6'": a person's height.
pub(super) fn feet_and_inches(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let (feet, inches) = core.split_once('\'')?;
    if !all_digits(feet) || feet.len() > 2 || !all_digits(inches) || inches.len() > 2 {
        return None;
    }
    Some(say(|list| {
        numbers::cardinal(feet.parse().unwrap_or(0), list);
        list.push("foot");
        numbers::cardinal(inches.parse().unwrap_or(0), list);
    }))
}

/// Words in front of a Roman numeral that is a number, and names in front of one that is an ordinal.
const NUMBERED: [&str; 16] = [
    "chapter", "part", "war", "volume", "act", "phase", "type", "level", "section", "article", "stage", "grade",
    "tier", "class", "title", "bowl",
];
const NAMED: [&str; 14] = [
    "henry",
    "louis",
    "george",
    "edward",
    "elizabeth",
    "charles",
    "william",
    "richard",
    "james",
    "john",
    "paul",
    "pius",
    "benedict",
    "philip",
];

/// "World War II", "Henry VIII", "Chapter IV": only where what stands in front leaves no doubt.
pub(super) fn roman(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    let before = around.before.to_ascii_lowercase();
    let (numbered, named) = (NUMBERED.contains(&before.as_str()), NAMED.contains(&before.as_str()));
    if around.broken || !(numbered || named) || !is_capitalized(around.before) {
        return None;
    }
    let value = roman_value(core)?;
    Some(say(|list| {
        if numbered {
            numbers::cardinal(value, list);
        } else {
            list.push("the");
            numbers::ordinal(value, list);
        }
    }))
}

/// Returns the value of a Roman numeral up to 39, as it is properly written.
fn roman_value(text: &str) -> Option<u64> {
    const ONES: [&str; 10] = ["", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"];
    let ones = text.trim_start_matches('X');
    let tens = text.len() - ones.len();
    let ones = ONES.iter().position(|numeral| *numeral == ones)?;
    (tens <= 3 && tens * 10 + ones > 0).then_some((tens * 10 + ones) as u64)
}
