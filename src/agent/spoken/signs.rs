//! Addresses of mail and web, abbreviations and single signs, and how they are said.

use super::figures::unit;
use super::normalize::{Around, Word, all_digits, is_capitalized, read, say, words};
use super::numbers;

/// "ann.lee@acme-mail.com": "ann dot lee at acme dash mail dot com".
pub(super) fn email(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
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

/// "www.acme.com/help": "acme dot com slash help"; a scheme is not said, nor is "www".
pub(super) fn address(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let bare = ["https://", "http://"].iter().find_map(|scheme| core.strip_prefix(scheme));
    let host = bare.unwrap_or(core).split('/').next()?;
    let ending = host.rsplit('.').next()?;
    let named = host.contains('.') && !host.starts_with('.') && TOP_LEVEL.contains(&ending) && !host.contains("..");
    if bare.is_none() && !core.starts_with("www.") && !named {
        return None;
    }
    let named = bare.unwrap_or(core).trim_end_matches('/');
    Some(spelled(named.strip_prefix("www.").unwrap_or(named))).filter(|words| !words.is_empty())
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
    ("incl", "including"),
    ("excl", "excluding"),
    ("qty", "quantity"),
    ("avg", "average"),
    ("mgr", "manager"),
    ("asst", "assistant"),
    ("univ", "university"),
    ("pkwy", "parkway"),
    ("w/", "with"),
    ("w/o", "without"),
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

/// Titles and places that are short for something only with a full stop, in front of a name.
const TITLES: [(&str, &str); 12] = [
    ("gen", "general"),
    ("rep", "representative"),
    ("sen", "senator"),
    ("rev", "reverend"),
    ("col", "colonel"),
    ("capt", "captain"),
    ("sgt", "sergeant"),
    ("lt", "lieutenant"),
    ("gov", "governor"),
    ("hon", "honorable"),
    ("mt", "mount"),
    ("ft", "fort"),
];

/// Abbreviations that go with what follows them: a full stop behind them never ends a sentence.
const GO_ON: [&str; 12] = ["mr", "mrs", "ms", "dr", "st", "prof", "vs", "e.g", "i.e", "no", "ext", "approx"];

pub(super) fn dot_belongs_to_it(core: &str) -> bool {
    let lower = core.to_ascii_lowercase();
    let known = ABBREVIATIONS.iter().any(|(short, _)| *short == lower) && !ALSO_WORDS.contains(&lower.as_str());
    let initial = core.len() == 1 && is_capitalized(core) && core != "I";
    known || initial || lower.contains('.') || unit(core).is_some()
}

/// Whether the full stop behind the abbreviation `core` ends its sentence as well, given what follows.
pub(super) fn ends_sentence(core: &str, after: &str) -> bool {
    let lower = core.to_ascii_lowercase();
    let initial = core.len() == 1;
    let title = TITLES.iter().any(|(short, _)| *short == lower);
    is_capitalized(after) && !GO_ON.contains(&lower.as_str()) && !initial && !title
}

/// Whether the abbreviation `word` goes with the word behind it, or is short for a month or a day: "Dr.", "St.", "Dec.".
pub(super) fn goes_on(word: &str) -> bool {
    let stem = word.trim_start_matches(|c: char| !c.is_alphanumeric());
    let Some(stem) = stem.strip_suffix('.') else { return false };
    let lower = stem.to_ascii_lowercase();
    let known =
        ABBREVIATIONS.iter().any(|(short, _)| *short == lower) || TITLES.iter().any(|(short, _)| *short == lower);
    let word_too =
        ALSO_WORDS.contains(&lower.as_str()) && (!is_capitalized(stem) || matches!(lower.as_str(), "no" | "co"));
    (known && !word_too) || matches!(lower.as_str(), "dr" | "st")
}

/// "U.S", "a.k.a", "Ph.D": letters with full stops between them.
pub(super) fn initials(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let parts: Vec<&str> = core.split('.').collect();
    let letters = |part: &&str| part.chars().all(char::is_alphabetic) && matches!(part.chars().count(), 1 | 2);
    let short = parts.iter().filter(|part| part.chars().count() == 1).count();
    (parts.len() > 1 && parts.iter().all(letters) && short + 1 >= parts.len() && parts.len() <= 5)
        .then(|| vec![Word::Letters(parts.concat().to_uppercase())])
}

pub(super) fn abbreviation(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
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
    if let Some((_, long)) = TITLES.iter().find(|(short, _)| *short == lower) {
        return (is_capitalized(core) && around.breaks && before_name).then(|| words(&[*long]));
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

/// "and/or", "yes/no", "$5/month".
pub(super) fn joined_by_slash(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    let parts: Vec<&str> = core.split('/').filter(|part| !part.is_empty()).collect();
    if parts.len() < 2 {
        return None;
    }
    let figures = |part: &str| part.contains(|c: char| c.is_ascii_digit());
    let per = parts.len() == 2 && figures(parts[0]) && !figures(parts[1]);
    let mut out = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        if i > 0 && per {
            out.extend(words(&["per"]));
        }
        out.extend(read(part, around));
    }
    Some(out)
}

/// Signs that stand alone, or are glued to words.
pub(super) fn symbol(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    const SIGNS: [(char, &str); 14] = [
        ('&', "and"),
        ('+', "plus"),
        ('@', "at"),
        ('%', "percent"),
        ('=', "equals"),
        ('#', "number"),
        ('<', "less than"),
        ('>', "greater than"),
        ('°', "degrees"),
        ('×', "times"),
        ('÷', "divided by"),
        ('±', "plus or minus"),
        ('§', "section"),
        ('¢', "cents"),
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
    // "AT&T" and "R&B": letters around a sign stay letters.
    let letters = |part: &str| part.len() <= 2 && part.chars().all(char::is_uppercase);
    let part = |part: &str| if letters(part) { vec![Word::Letters(part.to_owned())] } else { read(part, around) };
    Some(spread.split_whitespace().flat_map(part).collect())
}
