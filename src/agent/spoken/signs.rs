//! Addresses of mail and web, abbreviations and single signs, and how they are said.

use super::figures::unit;
use super::normalize::{Around, Word, all_digits, is_capitalized, say, words};
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

/// "www.acme.com/help": "w w w dot acme dot com slash help"; a scheme is not said.
pub(super) fn address(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
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
    is_capitalized(after) && !GO_ON.contains(&lower.as_str()) && !initial
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

/// "and/or", "yes/no".
pub(super) fn joined_by_slash(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    let parts: Vec<&str> = core.split('/').filter(|part| !part.is_empty()).collect();
    (parts.len() > 1).then(|| words(&parts))
}

/// Signs that stand alone, or are glued to words.
pub(super) fn symbol(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
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
