//! What is read sign by sign: telephone numbers, codes, and whatever mixes letters and figures.

use super::normalize::{Around, Word, all_digits, say, words};
use super::numbers;

/// Reads digit groups of a telephone number one digit at a time, with a pause between groups.
///
/// Taken for one: 3-4, 3-3-4 with any of "-. ()", with or without "1"; "+" and seven digits or more; and bare groups of
/// three or four digits one after the other.
pub(super) fn telephone(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
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
pub(super) fn code(core: &str, around: &Around<'_>) -> Option<Vec<Word>> {
    let (sign, figures) = core.strip_prefix('#').map_or((false, core), |figures| (true, figures));
    if !all_digits(figures) {
        return None;
    }
    let announced = figures.len() >= 3
        && (sign || BEFORE_A_CODE.contains(&around.before.trim_start_matches('#').to_ascii_lowercase().as_str()));
    // Thousands without a comma are a quantity all the same.
    let long = figures.len() >= 5 && !figures.ends_with("000");
    if !(announced || long || (figures.len() >= 2 && figures.starts_with('0'))) {
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

/// "A4", "B12", "COVID19", "3D": letters and figures apart.
pub(super) fn letters_with_digits(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
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
        if part.starts_with('-') {
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

fn split_at_each<'a>(mut text: &'a str, lengths: &[usize]) -> Vec<&'a str> {
    let mut out = Vec::with_capacity(lengths.len());
    for length in lengths {
        let (head, rest) = text.split_at((*length).min(text.len()));
        out.push(head);
        text = rest;
    }
    out
}

/// "v2.0.1", "192.168.1.1", and whatever else has a figure in it: runs of letters, figures, and dots.
pub(super) fn sign_by_sign(core: &str, _: &Around<'_>) -> Option<Vec<Word>> {
    if !core.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut out = Vec::new();
    let kind = |c: char| if c.is_ascii_digit() { 0 } else { 1 + u8::from(!c.is_alphabetic() && c != '\'') };
    let mut rest = core;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| kind(c) != kind(first)).unwrap_or(rest.len());
        let (part, tail) = rest.split_at(end);
        rest = tail;
        match kind(first) {
            0 if part.len() <= 2 && !part.starts_with('0') => {
                out.extend(say(|list| numbers::cardinal(part.parse().unwrap_or(0), list)));
            }
            0 => out.extend(say(|list| numbers::digits(part, list))),
            1 => out.push(Word::Plain(part.to_owned())),
            _ if part == "." && !rest.is_empty() => out.extend(words(&["dot"])),
            _ if part.contains([',', ';', ':']) && !rest.is_empty() => out.push(Word::Pause),
            _ => {}
        }
    }
    Some(out)
}
