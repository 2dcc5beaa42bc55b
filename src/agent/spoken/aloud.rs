//! A clause word by word, as it is written and as a voice is told it: what reads plain text, figures and signs spelt out.

use super::normalize::{Token, Word, normalize};
use super::numbers;

/// A stretch of text between two spaces, and how it is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// As it is written; the history keeps this. More than one stretch where one of them says nothing of its own, none
    /// where the stretch goes on, as "one" of "one—two".
    pub written: String,
    /// As it is said, with the punctuation that shapes a sentence; at least one letter.
    pub spoken: String,
}

/// Returns how `text` is said. What has no letter and no digit says nothing.
#[must_use]
pub fn aloud(text: &str) -> Vec<Said> {
    let mut out: Vec<Said> = Vec::new();
    let mut unsaid = String::new();
    for token in normalize(text) {
        let spoken = spoken(&token);
        if spoken.contains(char::is_alphabetic) {
            let written = join(&unsaid, &token.source);
            unsaid.clear();
            out.push(Said { written, spoken });
        } else if let Some(previous) = out.last_mut() {
            previous.written = join(&previous.written, &token.source);
        } else {
            unsaid = join(&unsaid, &token.source);
        }
    }
    if out.is_empty() && unsaid.contains(char::is_alphanumeric) {
        let spoken = sayable(&unsaid);
        out.push(Said { written: unsaid, spoken });
    }
    out
}

fn join(before: &str, after: &str) -> String {
    [before, after].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(" ")
}

fn spoken(token: &Token) -> String {
    let mut out = String::new();
    for word in &token.words {
        match word {
            Word::Pause => {
                if !out.is_empty() && !out.ends_with(',') {
                    out.push(',');
                }
                continue;
            }
            Word::Plain(word) => push(&mut out, &sayable(word)),
            Word::Letters(letters) => {
                let letters: Vec<String> = letters.chars().map(|c| c.to_uppercase().collect()).collect();
                push(&mut out, &sayable(&letters.join(" ")));
            }
        }
    }
    if out.contains(char::is_alphabetic) {
        for c in token.tail.chars() {
            match c {
                '—' => out.push_str(" –"),
                '.' | ',' | ';' | ':' | '!' | '?' | '…' if !(out.ends_with(c) || (c == ',' && out.ends_with('.'))) => {
                    out.push(c);
                }
                _ => {}
            }
        }
    }
    out
}

fn push(out: &mut String, word: &str) {
    if !out.is_empty() && !word.is_empty() {
        out.push(' ');
    }
    out.push_str(word);
}

/// Leaves of `word` what a voice can say, digits as words: the last resort for what no rule knows.
fn sayable(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for c in word.chars() {
        match c {
            '0'..='9' => {
                let mut digit = Vec::new();
                numbers::digits(&c.to_string(), &mut digit);
                out.extend([" ", digit.first().copied().unwrap_or_default(), " "]);
            }
            '\'' | '-' | ' ' | '\u{200c}' | '\u{200d}' => out.push(c),
            '.' | ',' | '?' | '!' => out.push(c),
            // Letters of all scripts, and the marks that some of them need.
            _ if c.is_alphanumeric() || is_mark(c) => out.push(c),
            '–' => out.push_str(" to "),
            _ => out.push(' '),
        }
    }
    let words: Vec<&str> = out.split_whitespace().collect();
    words.join(" ")
}

/// Whether `c` belongs to the letter in front of it: accents of Latin, points of Hebrew and Arabic, vowels of India.
fn is_mark(c: char) -> bool {
    matches!(c as u32, 0x300..0x370 | 0x591..0x5c8 | 0x610..0x61b | 0x64b..0x660 | 0x900..0xe00 | 0xe31..0xe4f)
        || "。、，！？；：।؟،".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        aloud(text).iter().map(|said| said.spoken.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn figures_and_signs_are_said_as_a_person_says_them() {
        let table = [
            // Money.
            ("$12.50", "twelve dollars and fifty cents"),
            ("It costs $12.50.", "It costs twelve dollars and fifty cents."),
            ("$1", "one dollar"),
            ("$1.01", "one dollar and one cent"),
            ("$0.05", "five cents"),
            ("$5.00", "five dollars"),
            ("$1,250.75", "one thousand two hundred fifty dollars and seventy five cents"),
            ("-$20", "minus twenty dollars"),
            ("$2.5 million", "two point five million dollars"),
            ("$3M", "three million dollars"),
            ("$10k", "ten thousand dollars"),
            ("$10-$20", "ten dollars to twenty dollars"),
            ("$10-20", "ten to twenty dollars"),
            ("€20", "twenty euros"),
            ("€12.50", "twelve euros and fifty cents"),
            ("12,50 €", "twelve euros and fifty cents"),
            ("20€", "twenty euros"),
            ("20 EUR", "twenty euros"),
            ("EUR 1", "one euro"),
            ("£3.01", "three pounds and one penny"),
            ("£2.50", "two pounds and fifty pence"),
            ("15 GBP", "fifteen pounds"),
            ("¥500", "five hundred yen"),
            ("99¢", "ninety nine cents"),
            ("$5/month", "five dollars per month"),
            // Percentages, decimals, fractions, signs of sums.
            ("20%", "twenty percent"),
            ("2.5%", "two point five percent"),
            ("5 %", "five percent"),
            ("10-12%", "ten to twelve percent"),
            ("-3.5%", "minus three point five percent"),
            ("3.14", "three point one four"),
            ("0.5", "zero point five"),
            ("-5 degrees", "minus five degrees"),
            ("1/2", "one half"),
            ("3/4 cup", "three quarters cup"),
            ("1 1/2 cups", "one and one half cups"),
            ("2½ hours", "two and a half hours"),
            ("½", "one half"),
            ("1+1=2", "one plus one equals two"),
            ("3 × 4", "three times four"),
            ("10,000+", "ten thousand plus"),
            // Numbers.
            ("0", "zero"),
            ("42", "forty two"),
            ("1,250 people", "one thousand two hundred fifty people"),
            ("100000", "one hundred thousand"),
            ("1M users", "one million users"),
            ("3.5 billion", "three point five billion"),
            ("9-5", "nine to five"),
            ("10–12", "ten to twelve"),
            ("50/50", "fifty fifty"),
            // Dates and years.
            ("March 5, 2026", "March fifth, twenty twenty six"),
            ("Dec. 25", "december twenty fifth"),
            ("24 December", "twenty fourth December"),
            ("11/24/2026", "november twenty fourth, twenty twenty six"),
            ("24.12.2026", "december twenty fourth, twenty twenty six"),
            ("2026-11-24", "november twenty fourth, twenty twenty six"),
            ("on 3/4", "on march fourth"),
            ("in 1905", "in nineteen oh five"),
            ("2019-2021", "twenty nineteen to twenty twenty one"),
            ("the 1990s", "the nineteen nineties"),
            ("the 80s", "the eighties"),
            // Times.
            ("3:30", "three thirty"),
            ("3:05 p.m.", "three oh five P M."),
            ("10 a.m.", "ten A M."),
            ("10 a.m. or later", "ten A M or later"),
            ("7pm", "seven P M"),
            ("5:00", "five o'clock"),
            ("18:30", "eighteen thirty"),
            ("9am-5pm", "nine A M to five P M"),
            ("3-5 pm", "three to five P M"),
            ("9:30-11:00", "nine thirty to eleven o'clock"),
            ("24/7", "twenty four seven"),
            ("Mon-Fri", "monday to friday"),
            ("Mon. at 4", "monday at four"),
            ("Mon–Sat 9–5", "monday to saturday nine to five"),
            // Ordinals.
            ("the 1st", "the first"),
            ("the 22nd", "the twenty second"),
            ("103rd", "one hundred third"),
            // Telephone numbers and codes.
            ("555-271-8346", "five five five, two seven one, eight three four six"),
            ("(555) 271-8346", "five five five, two seven one, eight three four six"),
            ("1-800-555-0199", "one, eight zero zero, five five five, zero one nine nine"),
            ("+15552718346", "plus one, five five five, two seven one, eight three four six"),
            ("+44 20 7946 0958", "plus four four, two zero, seven nine four six, zero nine five eight"),
            ("Dial 911.", "Dial nine one one."),
            ("zip 47192", "zip four seven one nine two"),
            ("PIN 4821", "PIN four eight two one"),
            ("#0042", "number zero zero four two"),
            ("gate #4", "gate number four"),
            ("A B 1 2", "A B one two"),
            ("AB12", "A B twelve"),
            ("code X7K9", "code X seven K nine"),
            ("ABC-123", "A B C one two three"),
            ("seat B12", "seat B twelve"),
            ("ext. 12", "extension twelve"),
            ("v2.0.1", "v two dot zero dot one"),
            ("192.168.1.1", "one nine two dot one six eight dot one dot one"),
            // Units.
            ("5km", "five kilometers"),
            ("5 km", "five kilometers"),
            ("1 lb", "one pound"),
            ("72°F", "seventy two degrees fahrenheit"),
            ("20 °C", "twenty degrees celsius"),
            ("80 m²", "eighty square meters"),
            ("60 mph", "sixty miles per hour"),
            ("5'10\"", "five foot ten"),
            ("16GB", "sixteen gigabytes"),
            // Addresses.
            ("info@example.com", "info at example dot com"),
            ("jo.doe@acme-mail.co.uk", "jo dot doe at acme dash mail dot C O dot U K"),
            ("example.com", "example dot com"),
            ("https://www.example.com", "example dot com"),
            ("www.example.org.", "example dot org."),
            // Abbreviations.
            ("Dr. Smith", "doctor Smith"),
            ("Mr. and Mrs. Lee", "mister and missus Lee"),
            ("St. Mary on 5th St.", "saint Mary on fifth street."),
            ("12 Oak Dr.", "twelve Oak drive."),
            ("e.g. tea", "for example tea"),
            ("tea, etc.", "tea, etcetera."),
            ("i.e. never", "that is never"),
            ("No. 5", "number five"),
            ("No. That is all.", "No. That is all."),
            ("Gen. Lee", "general Lee"),
            ("the next gen.", "the next gen."),
            ("Mt. Rainier", "mount Rainier"),
            ("in the U.S. today", "in the U S today"),
            ("a Ph.D. student", "a P H D student"),
            ("coffee w/ milk", "coffee with milk"),
            ("salt & pepper", "salt and pepper"),
            ("AT&T", "A T and T"),
            ("and/or", "and or"),
            // Roman numerals.
            ("World War II", "World War two"),
            ("Henry VIII", "Henry the eighth"),
            ("Chapter IX", "Chapter nine"),
            ("I agree, Part of it", "I agree, Part of it"),
            ("MIX", "MIX"),
            // What is fine already.
            ("Yes.", "Yes."),
            ("No.", "No."),
            ("Don’t we? We do!", "Don't we? We do!"),
            ("Zażółć gęślą jaźń – naïve café.", "Zażółć gęślą jaźń – naïve café."),
            ("好的。", "好的。"),
        ];
        assert!(table.len() > 130);
        let wrong: Vec<_> = table.iter().filter(|(text, spoken)| said(text) != *spoken).collect();
        let wrong: Vec<_> = wrong.iter().map(|(text, spoken)| (*text, *spoken, said(text))).collect();
        assert!(wrong.is_empty(), "written, to be said, said: {wrong:#?}");
    }

    #[test]
    fn every_word_keeps_what_was_written() {
        let text = "Dr. Smith’s fee – $12.50 – is due on 11/24, call +44 20 7946 0958… “soon”—please!";
        let written: Vec<String> = aloud(text).into_iter().map(|said| said.written).filter(|w| !w.is_empty()).collect();
        assert_eq!(written.join(" "), text);
        assert!(written.contains(&"$12.50 –".to_owned()), "{written:?}");
    }

    #[test]
    fn a_voice_can_say_all_that_comes_out() {
        let parts = [
            "a", "B", "é", "ł", "。", "न", "m", "1", "0", "23", "456", "7890", ".", ",", ":", ";", "!", "?", "-", "–",
            "—", "$", "€", "£", "%", "#", "@", "/", "'", "\"", "(", ")", "[", "&", "+", "=", "°", "½", "²", " ", " ",
            " ", "…", "am", "p.m.", "Dr.", "No.", "km", "st", "th", "www.", "http://", ".com", "USD", "IV", "\u{0}",
            "\u{202e}", "😀", "*", "_", "`", "|", "\\", "{", "}", "~", "^", "<", ">",
        ];
        for seed in 0..20_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let text: String = (0..rng.usize(1..14)).map(|_| parts[rng.usize(0..parts.len())]).collect();
            let said = aloud(&text);
            let spoken: String = said.iter().map(|said| said.spoken.as_str()).collect::<Vec<_>>().join(" ");
            let odd = |c: char| {
                !(c.is_alphabetic() || is_mark(c) || c.is_numeric() && !c.is_ascii_digit() || " .,;:!?…'-–".contains(c))
            };
            assert!(!spoken.contains(odd), "seed {seed}: {text:?}: {spoken:?}");
            // A sign may have a name, but letters and digits are never silent.
            assert!(!spoken.is_empty() || !text.contains(char::is_alphanumeric), "seed {seed}: {text:?}");
            assert!(said.iter().all(|said| said.spoken.contains(char::is_alphanumeric)), "{text:?}");
            let written: Vec<&str> = said.iter().flat_map(|said| said.written.split_whitespace()).collect();
            if !said.is_empty() {
                assert_eq!(written, text.split_whitespace().collect::<Vec<_>>(), "seed {seed}: {text:?}");
            }
        }
    }
}
