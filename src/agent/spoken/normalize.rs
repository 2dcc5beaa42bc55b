//! Written text into words to say: numbers, times, money, telephone numbers, dates, abbreviations, addresses of all kinds.

use super::codes::{code, letters_with_digits, sign_by_sign, telephone};
use super::figures::{
    currency, decade, feet_and_inches, fraction_sign, money, percent, plain_number, roman, spoken_range, with_unit,
};
use super::moments::{days, dotted_date, iso_date, ordinal_number, slashed, time_of_day};
use super::signs::{abbreviation, address, dot_belongs_to_it, email, ends_sentence, initials, joined_by_slash, symbol};

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
pub(super) struct Around<'a> {
    /// The core of the stretch before, or an empty string.
    pub(super) before: &'a str,
    /// Whether punctuation ends the stretch before.
    pub(super) broken: bool,
    /// The core of the stretch after, or an empty string.
    pub(super) after: &'a str,
    /// Whether punctuation ends this stretch.
    pub(super) breaks: bool,
    /// Whether more than a full stop does.
    pub(super) breaks_for_sure: bool,
}

type Reader = fn(&str, &Around<'_>) -> Option<Vec<Word>>;

/// Who reads a stretch that is no plain word; the first that can, does.
const READERS: &[Reader] = &[
    email,
    address,
    time_of_day,
    money,
    currency,
    percent,
    telephone,
    iso_date,
    dotted_date,
    slashed,
    ordinal_number,
    spoken_range,
    days,
    decade,
    with_unit,
    code,
    fraction_sign,
    feet_and_inches,
    plain_number,
    roman,
    abbreviation,
    initials,
    letters_with_digits,
    joined_by_slash,
    symbol,
    sign_by_sign,
];

/// Says what a stretch without its punctuation says.
pub(super) fn read(core: &str, around: &Around<'_>) -> Vec<Word> {
    READERS.iter().find_map(|reader| reader(core, around)).unwrap_or_else(|| plain(core))
}

/// A stretch between two spaces or dashes, on its way to a token.
struct Chunk<'a> {
    lead: String,
    core: String,
    tail: String,
    /// The stretch as it was written, with the last chunk of it.
    written: Option<&'a str>,
}

/// Brings `text` into words. Stretches that say nothing lend their punctuation to the one before.
#[must_use]
pub fn normalize(text: &str) -> Vec<Token> {
    let chunks = chunks(text);
    let mut tokens: Vec<Token> = Vec::with_capacity(chunks.len());
    // Written in front of the first stretch that says something.
    let mut silent = String::new();
    for (i, Chunk { lead, core, tail, written }) in chunks.iter().enumerate() {
        if core.is_empty() || is_dash(core) {
            if let Some(previous) = tokens.last_mut() {
                previous.tail.push_str(if is_dash(core) { "—" } else { tail });
                append(&mut previous.source, written.unwrap_or_default());
            } else {
                append(&mut silent, written.unwrap_or_default());
            }
            continue;
        }
        let before = i.checked_sub(1).and_then(|i| chunks.get(i));
        let after = chunks.get(i + 1);
        let around = Around {
            before: before.map_or("", |chunk| &chunk.core),
            broken: before.is_none_or(|chunk| !chunk.tail.is_empty()),
            after: after.map_or("", |chunk| &chunk.core),
            breaks: !tail.is_empty(),
            breaks_for_sure: !tail.is_empty() && tail != ".",
        };
        let words = read(core, &around);
        let mut tail = tail.clone();
        let short = dot_belongs_to_it(core) || (words != plain(core) && !core.contains(|c: char| c.is_ascii_digit()));
        let more = tail.len() > 1;
        if tail.starts_with('.') && short && (more || after.is_some_and(|next| !ends_sentence(core, &next.core))) {
            tail.remove(0);
        }
        let mut lead = lead.clone();
        // The brackets of an area code are a pause, no aside.
        if lead == "(" && tail == ")" && all_digits(core) && core.len() == 3 {
            (lead, tail) = (String::new(), ",".to_owned());
        }
        let mut source = std::mem::take(&mut silent);
        append(&mut source, written.unwrap_or_default());
        tokens.push(Token { source, lead, words, tail });
    }
    tokens
}

/// Splits `text` at its spaces and dashes; the groups of an international telephone number are one chunk.
fn chunks(text: &str) -> Vec<Chunk<'_>> {
    let mut chunks: Vec<Chunk<'_>> = Vec::new();
    for written in text.split_whitespace() {
        let spread = spread(written);
        let mut pieces = spread.split_whitespace().peekable();
        while let Some(piece) = pieces.next() {
            let (lead, core, tail) = peel(piece);
            let written = pieces.peek().is_none().then_some(written);
            chunks.push(Chunk { lead, core: core.to_owned(), tail, written });
        }
    }
    join_telephone_numbers(&mut chunks);
    chunks
}

/// The longest number that can be dialled from abroad, in digits (ITU-T E.164 §6.2).
const DIGITS_MAX: usize = 15;

/// "+44 20 7946 0958": the chunks behind the country code are said with it.
fn join_telephone_numbers(chunks: &mut Vec<Chunk<'_>>) {
    let mut at = 0;
    while let Some(first) = chunks.get(at) {
        let country = first.core.strip_prefix('+').is_some_and(|code| all_digits(code) && code.len() <= 3);
        let (mut digits, mut end) = (first.core.len(), at);
        while country
            && chunks[end].tail.is_empty()
            && let Some(next) = chunks.get(end + 1)
            && (all_digits(&next.core) || (next.lead == "(" && next.tail == ")"))
            && next.core.len() > 1
            && digits + next.core.len() <= DIGITS_MAX
        {
            digits += next.core.len();
            end += 1;
        }
        if end > at {
            let group: Vec<Chunk<'_>> = chunks.splice(at..=end, []).collect();
            // What was written is told with the first group: no word of it is said before.
            let core = group.iter().map(|chunk| chunk.core.as_str()).collect::<Vec<_>>().join("-");
            let tail = group.last().map_or_else(String::new, |chunk| chunk.tail.clone());
            let rest: Vec<Option<&str>> = group.iter().map(|chunk| chunk.written).collect();
            let said =
                Chunk { lead: String::new(), core, tail: String::new(), written: rest.first().copied().flatten() };
            let silent = rest.iter().skip(1).map(|written| Chunk {
                lead: String::new(),
                core: String::new(),
                tail: String::new(),
                written: *written,
            });
            let mut all: Vec<Chunk<'_>> = std::iter::once(said).chain(silent).collect();
            if let Some(last) = all.last_mut() {
                last.tail = tail;
            }
            chunks.splice(at..at, all);
        }
        at = end + 1;
    }
}

/// Appends `more` to a stretch as it was written, behind a space.
fn append(source: &mut String, more: &str) {
    if !source.is_empty() && !more.is_empty() {
        source.push(' ');
    }
    source.push_str(more);
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

/// Splits a stretch into punctuation, core, and punctuation.
fn peel(chunk: &str) -> (String, &str, String) {
    let core = chunk.trim_start_matches(['"', '“', '„', '(', '[', '{', '\'', '«', '¿', '¡', '*', '_', '`']);
    let lead = &chunk[..chunk.len() - core.len()];
    // "-" in front of a digit or an amount is a minus; elsewhere a dash says nothing.
    let minus = core.starts_with('-') && core.chars().nth(1).is_some_and(|c| c.is_ascii_digit() || "$€£¥.".contains(c));
    let core = if minus || is_dash(core) { core } else { core.trim_start_matches('-') };
    if is_dash(core) {
        return (String::new(), core, String::new());
    }
    // A bracket that opens inside, as in "f(x)" or "(555)271", keeps its partner.
    let trimmed = core
        .trim_end_matches(['"', '”', ')', ']', '}', '\'', '»', '.', ',', ';', ':', '!', '?', '…', '*', '_', '`', '-']);
    let tail = &core[trimmed.len()..];
    (lead.chars().filter_map(opening).collect(), trimmed, tail.chars().filter_map(closing).collect())
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

pub(super) fn plain(core: &str) -> Vec<Word> {
    vec![Word::Plain(core.to_owned())]
}

pub(super) fn words(list: &[&str]) -> Vec<Word> {
    list.iter().map(|word| Word::Plain((*word).to_owned())).collect()
}

pub(super) fn say(read: impl FnOnce(&mut Vec<&'static str>)) -> Vec<Word> {
    let mut list = Vec::new();
    read(&mut list);
    words(&list)
}

pub(super) fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

pub(super) fn is_capitalized(text: &str) -> bool {
    text.chars().next().is_some_and(char::is_uppercase)
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
            ("www.acme.com/help", "acme dot com slash help"),
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
