//! Written text into words to say: numbers, times, money, telephone numbers, dates, abbreviations, addresses of all kinds.

use super::numbers;

/// A stretch of the text between two spaces, and how it is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The stretch as it was written.
    pub source: String,
    /// Punctuation in front of it, as the voice knows it.
    pub lead: String,
    /// What is said.
    pub words: Vec<Word>,
    /// Punctuation behind it, as the voice knows it.
    pub tail: String,
}

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// A word, in its own letters.
    Plain(String),
    /// Letters that are said one by one.
    Letters(String),
    /// A short pause inside a stretch, as between the groups of a telephone number.
    Pause,
}

/// What stands around a stretch.
struct Around<'a> {
    /// The core of the stretch before, or an empty string.
    before: &'a str,
    /// Whether punctuation ends the stretch before.
    broken: bool,
    /// The core of the stretch after, or an empty string.
    after: &'a str,
    /// Whether punctuation ends this stretch.
    breaks: bool,
    /// Whether more than a full stop does.
    breaks_for_sure: bool,
}

type Reader = fn(&str, &Around<'_>) -> Option<Vec<Word>>;

/// Who reads a stretch that is no plain word; the first that can, does.
const READERS: &[Reader] = &[
    email,
    address,
    time_of_day,
    money,
    percent,
    telephone,
    iso_date,
    slashed,
    ordinal_number,
    spoken_range,
    decade,
    with_unit,
    code,
    plain_number,
    abbreviation,
    letters_with_digits,
    joined_by_slash,
    symbol,
];

/// Brings `text` into words. Stretches that say nothing lend their punctuation to the one before.
#[must_use]
pub fn normalize(text: &str) -> Vec<Token> {
    let text = spread(text);
    let chunks: Vec<(String, &str, &str, String)> = text.split_whitespace().map(peel).collect();
    let mut tokens: Vec<Token> = Vec::with_capacity(chunks.len());
    for (i, (lead, core, source, tail)) in chunks.iter().enumerate() {
        if core.is_empty() || is_dash(core) {
            if let Some(previous) = tokens.last_mut() {
                previous.tail.push_str(if is_dash(source) { "—" } else { tail });
                previous.source = format!("{} {source}", previous.source);
            }
            continue;
        }
        let before = i.checked_sub(1).and_then(|i| chunks.get(i));
        let after = chunks.get(i + 1);
        let around = Around {
            before: before.map_or("", |chunk| chunk.1),
            broken: before.is_none_or(|chunk| !chunk.3.is_empty()),
            after: after.map_or("", |chunk| chunk.1),
            breaks: !tail.is_empty(),
            breaks_for_sure: !tail.is_empty() && tail != ".",
        };
        let words = READERS.iter().find_map(|reader| reader(core, &around)).unwrap_or_else(|| plain(core));
        let mut tail = tail.clone();
        let short = dot_belongs_to_it(core) || (words != plain(core) && !core.contains(|c: char| c.is_ascii_digit()));
        let more = tail.len() > 1;
        if tail.starts_with('.') && short && (more || after.is_some_and(|next| !ends_sentence(core, next.1))) {
            tail.remove(0);
        }
        let mut lead = lead.clone();
        // The brackets of an area code are a pause, no aside.
        if lead == "(" && tail == ")" && all_digits(core) && core.len() == 3 {
            (lead, tail) = (String::new(), ",".to_owned());
        }
        tokens.push(Token { source: (*source).to_owned(), lead, words, tail });
    }
    tokens
}

/// Sets dashes between words apart and straightens what word processors bend.
fn spread(text: &str) -> String {
    let text = text.replace(['\u{2019}', '\u{2018}'], "'").replace("...", "…").replace("--", "—");
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '—' | '―' => out.push_str(" — "),
            '…' => out.push_str("… "),
            '‒' | '−' => out.push('-'),
            _ => out.push(c),
        }
    }
    out
}

fn is_dash(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| matches!(c, '-' | '–' | '—'))
}

/// Splits a stretch into punctuation, core, the whole stretch, and punctuation.
fn peel(chunk: &str) -> (String, &str, &str, String) {
    let core = chunk.trim_start_matches(['"', '“', '(', '[', '{', '\'', '«', '¿', '¡', '*', '_', '`']);
    let lead = &chunk[..chunk.len() - core.len()];
    // "-" in front of a digit is a minus; elsewhere a dash says nothing.
    let core =
        if core.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) { core } else { core.trim_start_matches('-') };
    // A bracket that opens inside, as in "f(x)" or "(555)271", keeps its partner.
    let trimmed = core
        .trim_end_matches(['"', '”', ')', ']', '}', '\'', '»', '.', ',', ';', ':', '!', '?', '…', '*', '_', '`', '-']);
    let tail = &core[trimmed.len()..];
    (lead.chars().filter_map(opening).collect(), trimmed, chunk, tail.chars().filter_map(closing).collect())
}

fn opening(c: char) -> Option<char> {
    match c {
        '"' | '“' | '«' => Some('“'),
        '(' | '[' => Some('('),
        _ => None,
    }
}

fn closing(c: char) -> Option<char> {
    match c {
        '"' | '”' | '»' => Some('”'),
        ')' | ']' => Some(')'),
        '.' | ',' | ';' | ':' | '!' | '?' | '…' => Some(c),
        _ => None,
    }
}

fn plain(core: &str) -> Vec<Word> {
    vec![Word::Plain(core.to_owned())]
}

fn words(list: &[&str]) -> Vec<Word> {
    list.iter().map(|word| Word::Plain((*word).to_owned())).collect()
}

fn say(read: impl FnOnce(&mut Vec<&'static str>)) -> Vec<Word> {
    let mut list = Vec::new();
    read(&mut list);
    words(&list)
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// A number as written, "1,250", "12.50", "-5": its parts, where it is one.
struct Written<'a> {
    minus: bool,
    whole: u64,
    /// As written, without commas.
    whole_text: String,
    fraction: Option<&'a str>,
}

fn written(text: &str) -> Option<Written<'_>> {
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

const MONTHS: [(&str, &str); 12] = [
    ("jan", "january"),
    ("feb", "february"),
    ("mar", "march"),
    ("apr", "april"),
    ("may", "may"),
    ("jun", "june"),
    ("jul", "july"),
    ("aug", "august"),
    ("sep", "september"),
    ("oct", "october"),
    ("nov", "november"),
    ("dec", "december"),
];

fn month(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    MONTHS
        .iter()
        .find(|(short, long)| text == *short || text == *long || (text == "sept" && *short == "sep"))
        .map(|m| m.1)
}

fn month_name(number: u64) -> Option<&'static str> {
    usize::try_from(number).ok()?.checked_sub(1).and_then(|i| MONTHS.get(i)).map(|m| m.1)
}

/// "ann.lee@acme-mail.com": "ann dot lee at acme dash mail dot com".
fn email(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let (local, domain) = core.split_once('@')?;
    if local.is_empty() || !domain.contains('.') {
        return None;
    }
    let mut out = spelled(local);
    out.extend(words(&["at"]));
    out.extend(spelled(domain));
    Some(out)
}

/// Endings by which an address on the web is known without its scheme.
const TOP_LEVEL: [&str; 19] = [
    "com", "org", "net", "edu", "gov", "io", "co", "uk", "de", "fr", "info", "biz", "us", "ca", "au", "tv", "me", "ai",
    "dev",
];

/// "www.acme.com/help": "w w w dot acme dot com slash help"; a scheme is not said.
fn address(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let bare = ["https://", "http://"].iter().find_map(|scheme| core.strip_prefix(scheme));
    let host = bare.unwrap_or(core).split('/').next()?;
    let ending = host.rsplit('.').next()?;
    let named = host.contains('.') && !host.starts_with('.') && TOP_LEVEL.contains(&ending) && !host.contains("..");
    if bare.is_none() && !core.starts_with("www.") && !named {
        return None;
    }
    Some(spelled(bare.unwrap_or(core).trim_end_matches('/')))
}

/// Says what stands in an address: words, digits one by one, and its signs by name.
fn spelled(text: &str) -> Vec<Word> {
    let mut out = Vec::new();
    let mut run = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_alphabetic() {
            run.push(c);
            continue;
        }
        if !run.is_empty() {
            out.push(part_of_address(&run));
            run.clear();
        }
        let name = match c {
            '.' => "dot",
            '-' => "dash",
            '_' => "underscore",
            '/' => "slash",
            '+' => "plus",
            '@' => "at",
            ':' => "colon",
            '?' => "question mark",
            '=' => "equals",
            '&' => "and",
            '#' => "hash",
            '%' => "percent",
            '~' => "tilde",
            _ => {
                if let Some(digit) = c.to_digit(10) {
                    out.extend(say(|list| numbers::digits(&digit.to_string(), list)));
                }
                continue;
            }
        };
        out.extend(words(&name.split(' ').collect::<Vec<_>>()));
    }
    out
}

fn part_of_address(part: &str) -> Word {
    let vowels = part.chars().any(|c| "aeiouyAEIOUY".contains(c));
    let letters = part.len() == 1 || !vowels || (part.len() == 2 && TOP_LEVEL.contains(&part));
    if letters { Word::Letters(part.to_owned()) } else { Word::Plain(part.to_owned()) }
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
fn time_of_day(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    if is_half_of_day(core) && (around.before.contains(':') || all_digits(around.before)) {
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

/// A currency sign, its unit and its hundredth, each for one and for many.
const CURRENCIES: [(char, [&str; 2], [&str; 2]); 4] = [
    ('$', ["dollar", "dollars"], ["cent", "cents"]),
    ('£', ["pound", "pounds"], ["penny", "pence"]),
    ('€', ["euro", "euros"], ["cent", "cents"]),
    ('¥', ["yen", "yen"], ["", ""]),
];

const BIG: [&str; 4] = ["hundred", "thousand", "million", "billion"];

/// "$12.50", "£3", "$5 million", "$10k", and the word behind a big amount.
fn money(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
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
fn percent(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let number = written(core.strip_suffix('%')?)?;
    Some(say(|list| {
        number.say(list);
        list.push("percent");
    }))
}

/// Reads digit groups of a telephone number one digit at a time, with a pause between groups.
///
/// Taken for one: 3-4, 3-3-4 with any of "-. ()", with or without "1"; "+" and seven digits or more; and bare groups of
/// three or four digits one after the other.
fn telephone(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    let groups: Vec<&str> = core.split(|c: char| !c.is_ascii_digit()).filter(|group| !group.is_empty()).collect();
    let signs_ok = core.chars().all(|c| c.is_ascii_digit() || "+-.()".contains(c));
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let neighbour = |text: &str| {
        all_digits(text) && (3..=4).contains(&text.len())
            || text.split_once('-').is_some_and(|(a, b)| all_digits(a) && all_digits(b) && a.len() == 3 && b.len() == 4)
    };
    let grouped = matches!(lengths.as_slice(), [3, 4] | [3, 3, 4] | [1, 3, 3, 4]);
    let international = core.starts_with('+') && lengths.iter().sum::<usize>() >= 7;
    let one_of_several =
        all_digits(core) && (3..=4).contains(&core.len()) && (neighbour(around.after) || neighbour(around.before));
    let emergency = matches!(core, "911" | "411" | "311" | "112" | "999");
    if !signs_ok || !(grouped || international || one_of_several || emergency) {
        return None;
    }
    let mut out = if core.starts_with('+') { words(&["plus"]) } else { Vec::new() };
    let groups = if lengths.as_slice() == [11] { split_at_each(groups[0], &[1, 3, 3, 4]) } else { groups };
    for (i, group) in groups.iter().enumerate() {
        if i > 0 {
            out.push(Word::Pause);
        }
        out.extend(say(|list| numbers::digits(group, list)));
    }
    if one_of_several && neighbour(around.after) && !around.breaks {
        out.push(Word::Pause);
    }
    Some(out)
}

fn split_at_each<'a>(mut text: &'a str, lengths: &[usize]) -> Vec<&'a str> {
    let mut out = Vec::with_capacity(lengths.len());
    for length in lengths {
        let (head, rest) = text.split_at((*length).min(text.len()));
        out.push(head);
        text = rest;
    }
    out
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
fn iso_date(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let parts: Vec<&str> = core.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return None };
    if year.len() != 4 || !parts.iter().all(|part| all_digits(part)) {
        return None;
    }
    let day = day.parse().ok().filter(|day| (1..=31).contains(day))?;
    Some(say_date(month_name(month.parse().ok()?)?, day, Some(year.parse().ok()?)))
}

/// "11/24/2026", "11/24", "1/2", "3/4", "24/7".
fn slashed(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
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
    if year.is_none() && first < second && (2..=10).contains(&second) {
        return Some(say(|list| {
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
fn ordinal_number(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    let figures = ["st", "nd", "rd", "th"].iter().find_map(|ending| core.strip_suffix(ending));
    let day_of_month = all_digits(core) && core.len() <= 2 && month(around.before).is_some();
    let figures = figures.or(day_of_month.then_some(core))?;
    let number = written(figures).filter(|number| number.fraction.is_none() && !number.minus)?;
    if day_of_month && !(1..=31).contains(&number.whole) {
        return None;
    }
    Some(say(|list| numbers::ordinal(number.whole, list)))
}

/// "9-5", "10–12", "9am-5pm".
fn spoken_range(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
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
fn decade(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
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

fn unit(sign: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    UNITS.iter().find(|(known, ..)| *known == sign)
}

/// "5km", "72°F", and the sign behind a number ("5 km").
fn with_unit(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
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

/// Words after which figures are a code, said one by one.
const BEFORE_A_CODE: [&str; 14] = [
    "code",
    "pin",
    "number",
    "extension",
    "ext",
    "ending",
    "account",
    "zip",
    "order",
    "reference",
    "confirmation",
    "ticket",
    "case",
    "digits",
];

/// "47192", "0042", "PIN 4821", "#0042": figures that are no quantity, one by one.
fn code(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    let (sign, figures) = core.strip_prefix('#').map_or((false, core), |figures| (true, figures));
    if !all_digits(figures) {
        return None;
    }
    let announced = figures.len() >= 3
        && (sign || BEFORE_A_CODE.contains(&around.before.trim_start_matches('#').to_ascii_lowercase().as_str()));
    if !(announced || figures.len() >= 5 || (figures.len() >= 2 && figures.starts_with('0'))) {
        return sign.then(|| {
            let mut out = words(&["number"]);
            out.extend(say(|list| {
                if let Ok(number) = figures.parse() {
                    numbers::cardinal(number, list);
                }
            }));
            out
        });
    }
    let mut out = if sign { words(&["number"]) } else { Vec::new() };
    // Long codes are followed better in threes.
    let group = if figures.len() > 6 { 3 } else { figures.len() };
    for (i, digit) in figures.chars().enumerate() {
        if i > 0 && i % group == 0 && figures.len() - i > 1 {
            out.push(Word::Pause);
        }
        out.extend(say(|list| numbers::digits(&digit.to_string(), list)));
    }
    Some(out)
}

/// "12", "1,250", "3.14", "-5"; four figures without a comma are read in pairs, as years and house numbers are.
fn plain_number(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let number = written(core)?;
    let pairs = core.len() == 4 && all_digits(core) && number.whole % 1000 != 0;
    Some(say(|list| if pairs { numbers::year(number.whole, list) } else { number.say(list) }))
}

/// Abbreviations and what they are said as.
const ABBREVIATIONS: &[(&str, &str)] = &[
    ("mr", "mister"),
    ("mrs", "missus"),
    ("ms", "miz"),
    ("prof", "professor"),
    ("jr", "junior"),
    ("sr", "senior"),
    ("ave", "avenue"),
    ("blvd", "boulevard"),
    ("rd", "road"),
    ("ln", "lane"),
    ("hwy", "highway"),
    ("apt", "apartment"),
    ("ste", "suite"),
    ("bldg", "building"),
    ("dept", "department"),
    ("inc", "incorporated"),
    ("ltd", "limited"),
    ("corp", "corporation"),
    ("co", "company"),
    ("approx", "approximately"),
    ("appt", "appointment"),
    ("ext", "extension"),
    ("tel", "telephone"),
    ("etc", "etcetera"),
    ("vs", "versus"),
    ("e.g", "for example"),
    ("i.e", "that is"),
    ("no", "number"),
    ("mon", "monday"),
    ("tue", "tuesday"),
    ("tues", "tuesday"),
    ("wed", "wednesday"),
    ("thu", "thursday"),
    ("thur", "thursday"),
    ("thurs", "thursday"),
    ("fri", "friday"),
    ("sat", "saturday"),
    ("sun", "sunday"),
    ("jan", "january"),
    ("feb", "february"),
    ("mar", "march"),
    ("apr", "april"),
    ("jun", "june"),
    ("jul", "july"),
    ("aug", "august"),
    ("sep", "september"),
    ("sept", "september"),
    ("oct", "october"),
    ("nov", "november"),
    ("dec", "december"),
];

/// Abbreviations that are everyday words too, so that only a full stop behind them, or what follows, tells.
const ALSO_WORDS: [&str; 7] = ["co", "no", "sat", "sun", "mar", "wed", "apt"];

/// Abbreviations that go with what follows them: a full stop behind them never ends a sentence.
const GO_ON: [&str; 12] = ["mr", "mrs", "ms", "dr", "st", "prof", "vs", "e.g", "i.e", "no", "ext", "approx"];

fn is_capitalized(text: &str) -> bool {
    text.chars().next().is_some_and(char::is_uppercase)
}

fn dot_belongs_to_it(core: &str) -> bool {
    let lower = core.to_ascii_lowercase();
    let known = ABBREVIATIONS.iter().any(|(short, _)| *short == lower) && !ALSO_WORDS.contains(&lower.as_str());
    let initial = core.len() == 1 && is_capitalized(core) && core != "I";
    known || initial || lower.contains('.') || unit(core).is_some()
}

/// Whether the full stop behind the abbreviation `core` ends its sentence as well, given what follows.
fn ends_sentence(core: &str, after: &str) -> bool {
    let lower = core.to_ascii_lowercase();
    let initial = core.len() == 1;
    is_capitalized(after) && !GO_ON.contains(&lower.as_str()) && !initial
}

fn abbreviation(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    let lower = core.to_ascii_lowercase();
    let before_name = is_capitalized(around.after) && !around.breaks_for_sure;
    let behind_name = is_capitalized(around.before) || around.before.starts_with(|c: char| c.is_ascii_digit());
    match lower.as_str() {
        // "Dr. Smith", but "12 Oak Dr."; "St. Mary", but "12 Oak St.".
        "dr" => return Some(words(&[if before_name { "doctor" } else { "drive" }])),
        "st" if is_capitalized(core) => {
            return Some(words(&[if before_name && !behind_name { "saint" } else { "street" }]));
        }
        "no" if !all_digits(around.after) || !around.breaks => return None,
        _ => {}
    }
    if ALSO_WORDS.contains(&lower.as_str()) && lower != "no" {
        let dotted = around.breaks && !around.after.is_empty();
        let date = all_digits(around.after) && is_capitalized(core);
        if !(date || (dotted && is_capitalized(core) && lower != "apt" && !is_capitalized(around.after))) {
            return None;
        }
    }
    // Without a capital, short forms of days and months are other words ("jan", "sun"), and so is "sr".
    let (_, long) = ABBREVIATIONS.iter().find(|(short, _)| *short == lower)?;
    Some(words(&long.split(' ').collect::<Vec<_>>()))
}

/// "A4", "B12", "COVID19", "3D": letters and figures apart.
fn letters_with_digits(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let has = |kind: fn(&char) -> bool| core.chars().any(|c| kind(&c));
    if !has(char::is_ascii_digit)
        || !has(|c| c.is_alphabetic())
        || !core.chars().all(|c| c.is_alphanumeric() || c == '-')
    {
        return None;
    }
    let mut out = Vec::new();
    let mut rest = core;
    while let Some(first) = rest.chars().next() {
        let same = |c: char| c.is_ascii_digit() == first.is_ascii_digit() && (c != '-') == (first != '-');
        let end = rest.find(|c: char| !same(c)).unwrap_or(rest.len());
        let (part, tail) = rest.split_at(end);
        rest = tail;
        if part == "-" {
        } else if all_digits(part) && part.len() <= 2 && !part.starts_with('0') {
            out.extend(say(|list| numbers::cardinal(part.parse().unwrap_or(0), list)));
        } else if all_digits(part) {
            out.extend(say(|list| numbers::digits(part, list)));
        } else if part.len() <= 3 && part.chars().all(|c| c.is_uppercase()) {
            out.push(Word::Letters(part.to_owned()));
        } else {
            out.push(Word::Plain(part.to_owned()));
        }
    }
    Some(out)
}

/// "and/or", "yes/no".
fn joined_by_slash(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let parts: Vec<&str> = core.split('/').filter(|part| !part.is_empty()).collect();
    (parts.len() > 1).then(|| words(&parts))
}

/// Signs that stand alone, or are glued to words.
fn symbol(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    const SIGNS: [(char, &str); 9] = [
        ('&', "and"),
        ('+', "plus"),
        ('@', "at"),
        ('%', "percent"),
        ('=', "equals"),
        ('#', "number"),
        ('<', "less than"),
        ('>', "greater than"),
        ('°', "degrees"),
    ];
    if !core.chars().any(|c| SIGNS.iter().any(|(sign, _)| *sign == c)) {
        return None;
    }
    let mut spread = String::new();
    for c in core.chars() {
        match SIGNS.iter().find(|(sign, _)| *sign == c) {
            Some((_, name)) => spread.extend([" ", name, " "]),
            None => spread.push(c),
        }
    }
    let parts: Vec<&str> = spread.split_whitespace().collect();
    // "AT&T" and "R&B": letters around a sign stay letters.
    Some(
        parts
            .iter()
            .map(|part| {
                let letters = part.len() <= 2 && part.chars().all(char::is_uppercase);
                if letters { Word::Letters((*part).to_owned()) } else { Word::Plain((*part).to_owned()) }
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said, with "," for a pause inside a stretch, letters joined by dots, and the punctuation as it is kept.
    fn said(text: &str) -> String {
        let mut out: Vec<String> = Vec::new();
        for token in normalize(text) {
            let words: Vec<String> = token
                .words
                .iter()
                .map(|word| match word {
                    Word::Plain(word) => word.clone(),
                    Word::Letters(letters) => letters.chars().map(String::from).collect::<Vec<_>>().join("."),
                    Word::Pause => ",".to_owned(),
                })
                .collect();
            out.push(format!("{}{}{}", token.lead, words.join(" "), token.tail));
        }
        out.join(" ").replace(" ,", ",")
    }

    #[test]
    fn what_is_written_is_said_as_an_american_says_it() {
        let table = [
            ("It's 3:30.", "It's three thirty."),
            ("at 3:05 p.m. on Monday", "at three oh five P.M on Monday"),
            ("at 9 a.m.", "at nine A.M."),
            ("from 9am-5pm", "from nine A.M to five P.M"),
            ("We close at 5:00.", "We close at five o'clock."),
            ("12:00 PM", "twelve P.M"),
            ("It costs $12.50.", "It costs twelve dollars and fifty cents."),
            ("$1", "one dollar"),
            ("$0.99", "ninety nine cents"),
            ("$1,250", "one thousand two hundred fifty dollars"),
            ("$5 million", "five million dollars"),
            ("€20 or £3.01", "twenty euros or three pounds and one penny"),
            ("20% off", "twenty percent off"),
            ("the 21st of May", "the twenty first of May"),
            ("March 5, 2026", "March fifth, twenty twenty six"),
            ("in 1905 and 2005", "in nineteen oh five and two thousand five"),
            ("the 1990s", "the nineteen nineties"),
            ("11/24/2026", "november twenty fourth, twenty twenty six"),
            ("2026-11-24", "november twenty fourth, twenty twenty six"),
            ("1/2 cup, 3/4 cup", "one half cup, three quarters cup"),
            ("open 24/7", "open twenty four seven"),
            ("call 555-271-8346", "call five five five, two seven one, eight three four six"),
            ("(555) 271-8346", "five five five, two seven one, eight three four six"),
            ("555 271 8346", "five five five, two seven one, eight three four six"),
            ("+15552718346", "plus one, five five five, two seven one, eight three four six"),
            ("Dial 911", "Dial nine one one"),
            ("5 5 5, 2 7 1", "five five five, two seven one"),
            ("zip 47192", "zip four seven one nine two"),
            ("order #0042", "order number zero zero four two"),
            ("PIN 4821", "PIN four eight two one"),
            ("1,250 people", "one thousand two hundred fifty people"),
            ("3.14", "three point one four"),
            ("-5 degrees", "minus five degrees"),
            ("Dr. Smith lives at 12 Oak Dr.", "doctor Smith lives at twelve Oak drive."),
            ("St. Mary on 5th St.", "saint Mary on fifth street."),
            ("Mr. and Mrs. Lee", "mister and missus Lee"),
            ("R&B and AT&T", "R and B and A.T and T"),
            ("salt & pepper", "salt and pepper"),
            ("ann.lee@acme-mail.com", "ann dot lee at acme dash mail dot com"),
            ("www.acme.com/help", "w.w.w dot acme dot com slash help"),
            ("https://offhook.io", "offhook dot i.o"),
            ("5km or 5 km", "five kilometers or five kilometers"),
            ("1 lb", "one pound"),
            ("72°F", "seventy two degrees fahrenheit"),
            ("and/or", "and or"),
            ("seat B12", "seat B twelve"),
            ("Well… yes", "Well… yes"),
            ("one — two", "one— two"),
            ("\"Yes,\" she said", "“Yes,” she said"),
            ("No. That is all.", "No. That is all."),
            ("No. 5", "number five"),
            ("Sat down in the sun.", "Sat down in the sun."),
            ("on 5th St.? At 5 p.m., yes", "on fifth street? At five P.M, yes"),
            ("e.g. Tues. at 4", "for example tuesday at four"),
        ];
        for (text, words) in table {
            assert_eq!(said(text), words, "{text}");
        }
    }

    #[test]
    fn every_stretch_keeps_what_was_written() {
        let tokens = normalize("Pay $12.50 — now!");
        let sources: Vec<&str> = tokens.iter().map(|token| token.source.as_str()).collect();
        assert_eq!(sources, ["Pay", "$12.50 —", "now!"]);
    }

    #[test]
    fn hostile_text_is_said_somehow_and_never_panics() {
        for text in [
            "",
            " ",
            "—",
            "...",
            "$",
            "$.",
            "%",
            "-",
            "--",
            "1:",
            ":30",
            "1:2:3",
            "//",
            "1//2",
            "@",
            "a@",
            "@b.c",
            "#",
            "°",
            "99999999999999999999999999",
            "$99999999999999999999",
            "1,2,3",
            "0/0",
            "13/32",
            "0000-00-00",
            "+",
            "()",
            "🙂",
            "12:99",
            "a.m",
            "ß1",
            "é@ü.de",
            "http://",
            "www.",
            "'",
            "1..2",
            "é°",
            "Ünï-cödé",
        ] {
            let _ = normalize(text);
            let _ = normalize(&format!("{text} {text}"));
        }
    }
}
