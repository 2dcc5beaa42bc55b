//! Whether the caller has finished, by rules that are surer than a model's guess: a whole number, yes or no, a spelled word.
//!
//! What the agent asked last decides what is whole: ten digits are a telephone number, and not yet a card's. The rules are English;
//! in another language nothing matches, and the recogniser decides.

use super::calendar::{DAYS, MONTHS, ORDINALS, THIRTIETH};
use super::wording::{self, Wording};
use std::time::Duration;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Silence after which a plain yes or no is an answer: longer than a stop within a word, as long as Flux takes at best.
const ANSWER_AFTER: Duration = ms(300);
/// Silence after which a whole number, date or time is an answer: people breathe between groups, but not after the last.
const NUMBER_AFTER: Duration = ms(350);
/// Silence after which a whole e-mail address is an answer: "dot co" may become "dot co dot uk".
const ADDRESS_AFTER: Duration = ms(600);
/// How long more digits are waited for. Who reads a number aloud stops for 0.4 to 1 s between its groups.
const DIGITS_WAIT: Duration = ms(1500);
/// How long more letters are waited for: spelling takes longer to think of than reading.
const LETTERS_WAIT: Duration = ms(1800);
/// How long the rest of a sentence that trails off is waited for.
const TRAILING_WAIT: Duration = ms(1200);

/// What the agent's last question asks for, as far as that decides when the answer is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing whose end could be told.
    Anything,
    /// Yes or no.
    YesNo,
    /// A telephone number.
    Phone,
    /// The number of a payment card.
    Card,
    /// Some other number, of so many digits where that is known.
    Digits(Option<usize>),
    /// A day, with its year where somebody's birth is asked for.
    Date { year: bool },
    /// A time of day.
    Time,
    /// An e-mail address.
    Email,
    /// A name or word, letter by letter.
    Spelling,
}

/// How finished an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It is whole: the turn is over when the caller has been silent, and the words have stood, for so long.
    Whole { after: Duration },
    /// The rules do not know.
    Plain,
    /// It asks for more: that is waited for until the caller has been silent for so long.
    Unfinished { wait: Duration },
}

/// Returns what the agent's words ask for at their end.
#[must_use]
pub fn asked(agent: &str) -> Asked {
    let Some(question) = last_question(agent) else { return Asked::Anything };
    let text = format!(" {} ", tokens(&question).join(" "));
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let (day, time) = (has(&[" day ", " date ", " born ", " birthday "]), has(&[" what time ", " which time "]));
    if has(&[" email ", " e mail ", " mail address "]) {
        Asked::Email
    } else if has(&[" spell ", " spelled ", " spelling ", " letter by letter "]) {
        Asked::Spelling
    } else if has(&[" card number ", " credit card ", " debit card ", " number of your card ", " number on your card "])
    {
        Asked::Card
    } else if has(&[" digit ", " digits ", " zip code ", " pin ", " code ", " account number ", " order number "])
        || has(&[" reference number ", " booking number ", " confirmation number ", " customer number "])
    {
        Asked::Digits(digits_named(&text))
    } else if has(&[" phone ", " telephone ", " mobile ", " number "]) && !has(&[" how many "]) {
        Asked::Phone
    } else if day != time && !has(&[" or "]) {
        if day { Asked::Date { year: has(&[" birth ", " born ", " birthday "]) } } else { Asked::Time }
    } else if is_yes_no(&question) {
        Asked::YesNo
    } else {
        Asked::Anything
    }
}

/// Returns how finished `transcript` is as an answer to what was `asked`.
#[must_use]
pub fn read(asked: Asked, transcript: &str) -> Reading {
    let tokens = tokens(transcript);
    let Some(last) = tokens.last() else { return Reading::Plain };
    if asked == Asked::YesNo && is_plain_answer(&tokens) {
        return Reading::Whole { after: ANSWER_AFTER };
    }
    if let Some(reading) = read_address(asked, transcript, &tokens) {
        return reading;
    }
    let half_of_day = matches!(tokens.as_slice(), [.., half, m] if m == "m" && matches!(half.as_str(), "a" | "p"));
    let letters = tokens.iter().rev().take_while(|token| is_letter(token) && !half_of_day).count();
    let spelled = asked == Asked::Spelling || tokens.len() > letters || letters > 2;
    if letters >= 2 && spelled || letters == 1 && asked == Asked::Spelling && !matches!(last.as_str(), "i" | "a") {
        return Reading::Unfinished { wait: LETTERS_WAIT };
    }
    if let Some(reading) = read_number(asked, &tokens) {
        return reading;
    }
    let whole = match asked {
        Asked::Date { year } => read_date(&tokens, year),
        Asked::Time => read_time(&tokens),
        _ => None,
    };
    whole.unwrap_or_else(|| match wording::of(transcript) {
        Wording::Unfinished => Reading::Unfinished { wait: TRAILING_WAIT },
        _ => Reading::Plain,
    })
}

/// Returns the last sentence that asks, or else the last one: "Please tell me your number." asks too.
fn last_question(agent: &str) -> Option<String> {
    let mut question = None;
    let mut sentence = String::new();
    for part in agent.split_inclusive(['.', '!', '?', '\n']) {
        sentence.push_str(part);
        // "p.m." and "3.30" end no sentence.
        if part.trim().chars().filter(|c| c.is_alphanumeric()).count() < 3 {
            continue;
        }
        let asks = sentence.trim_end().ends_with('?');
        if asks || question.as_ref().is_none_or(|(_, asked)| !asked) {
            question = Some((sentence.trim().to_owned(), asks));
        }
        sentence.clear();
    }
    question.map(|(sentence, _)| sentence)
}

/// Whether a question wants yes or no: it begins with a verb, or ends on "is that right?". Not where it names alternatives,
/// or contains another question ("can you tell me when").
fn is_yes_no(question: &str) -> bool {
    const VERBS: &[&str] = &[
        "is", "are", "am", "was", "were", "do", "does", "did", "can", "could", "will", "would", "shall", "should",
        "have", "has", "had", "may", "isnt", "arent", "dont", "doesnt", "didnt", "cant", "couldnt", "wont", "wouldnt",
    ];
    const TAGS: &[&str] = &["right", "correct", "okay", "ok", "yes", "true"];
    const OTHER: &[&str] =
        &["or", "what", "which", "when", "where", "who", "why", "how", "tell", "describe", "name", "repeat", "say"];
    if !question.ends_with('?') {
        return false;
    }
    let words = tokens(question);
    if words.iter().any(|word| OTHER.contains(&word.as_str())) {
        return false;
    }
    let begins = |part: &str| tokens(part).first().is_some_and(|word| VERBS.contains(&word.as_str()));
    question.split([',', ';', ':', '-', '–', '—']).any(begins)
        || words.last().is_some_and(|word| TAGS.contains(&word.as_str()))
}

/// Whether the words are yes or no, or as good as that, and nothing else.
fn is_plain_answer(tokens: &[String]) -> bool {
    const ANSWERS: &[&str] = &[
        "yes",
        "yeah",
        "yep",
        "yup",
        "yea",
        "no",
        "nope",
        "nah",
        "sure",
        "correct",
        "right",
        "exactly",
        "absolutely",
        "definitely",
        "certainly",
        "ok",
        "okay",
        "fine",
        "course",
        "wrong",
        "true",
        "perfect",
        "not",
    ];
    // What answers come in the company of.
    const COMPANY: &[&str] =
        &["please", "thanks", "thank", "you", "it", "is", "isnt", "i", "do", "dont", "thats", "that", "really", "of"];
    // These lead on, and are no answer before what they lead to.
    const OPEN: &[&str] = &["that", "of", "thank", "not", "thats", "i"];
    let is_answer = |word: &String| ANSWERS.contains(&word.as_str());
    let closed = tokens.last().is_some_and(|word| !OPEN.contains(&word.as_str()));
    let plain = tokens.iter().all(|word| is_answer(word) || COMPANY.contains(&word.as_str()));
    closed && plain && tokens.len() <= 5 && tokens.iter().any(is_answer)
}

/// Reads an e-mail address, written or spoken; `None` where there is none to be seen.
fn read_address(asked: Asked, transcript: &str, tokens: &[String]) -> Option<Reading> {
    const ENDS: &[&str] = &[
        "com", "org", "net", "edu", "gov", "io", "dev", "info", "biz", "ai", "me", "us", "ca", "uk", "de", "fr", "es",
        "it", "nl", "be", "ch", "at", "pl", "se", "no", "dk", "fi", "ie", "eu", "au", "nz", "in", "jp", "br", "mx",
    ];
    let place = |wanted: &str| tokens.iter().rposition(|token| token == wanted);
    let written = transcript.contains('@');
    let begun =
        written || asked == Asked::Email && ["at", "dot", "underscore"].iter().any(|word| place(word).is_some());
    let end = transcript.split_whitespace().last().unwrap_or_default().trim_end_matches(['.', ',', '!', '?']);
    let domain = end.rsplit_once('@').and_then(|(_, host)| host.rsplit_once('.')).map(|(_, domain)| domain);
    let spoken = tokens.len().checked_sub(2).and_then(|n| tokens.get(n)).is_some_and(|word| word == "dot")
        && place("at").is_some_and(|at| at > 0 && at + 3 < tokens.len() + 1);
    let domain = domain.or_else(|| tokens.last().filter(|_| spoken).map(String::as_str));
    match domain {
        Some(domain) if begun && ENDS.contains(&domain.to_lowercase().as_str()) => {
            Some(Reading::Whole { after: ADDRESS_AFTER })
        }
        _ if begun => Some(Reading::Unfinished { wait: LETTERS_WAIT }),
        _ => None,
    }
}

/// Reads the number at the end; `None` where there is none, or where nothing follows from it.
fn read_number(asked: Asked, tokens: &[String]) -> Option<Reading> {
    let wanted = matches!(asked, Asked::Phone | Asked::Card | Asked::Digits(_));
    let dictated = Dictated::at_the_end(tokens, wanted);
    let count = dictated.digits.len();
    if count == 0 && !dictated.open {
        return None;
    }
    let whole = Some(Reading::Whole { after: NUMBER_AFTER });
    let more = Some(Reading::Unfinished { wait: DIGITS_WAIT });
    if dictated.open {
        return more;
    }
    let digits = dictated.digits.as_str();
    match asked {
        Asked::Phone if is_phone(digits) => whole,
        Asked::Card if is_card(digits) => whole,
        Asked::Digits(Some(wanted)) if count == wanted => whole,
        Asked::Digits(Some(wanted)) => more.filter(|_| count < wanted),
        Asked::Card => more.filter(|_| count < 16),
        Asked::Phone | Asked::Digits(None) => more.filter(|_| count < 16),
        Asked::YesNo | Asked::Date { .. } | Asked::Time => None,
        // Nobody asked: a number of a known form is whole, and one in groups goes on.
        _ if count >= 10 && is_phone(digits) || count >= 15 && is_card(digits) => whole,
        _ if dictated.groups >= 2 && count < 16 || matches!(count, 3 | 6 | 8 | 9) => more,
        _ => None,
    }
}

/// A number that is read aloud at the end of what was said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Dictated {
    digits: String,
    /// How many words or groups it came in.
    groups: usize,
    /// Whether it ends in the middle of something: "double", "five, um".
    open: bool,
}

impl Dictated {
    /// Reads the words from the end on; `tens` says whether "twenty-one" is two digits, and no word of a sentence.
    fn at_the_end(tokens: &[String], tens: bool) -> Self {
        const FILLERS: &[&str] = &["um", "uh", "er", "erm", "and", "then", "hmm", "dash", "hyphen", "space"];
        let mut groups: Vec<String> = Vec::new();
        let mut open = false;
        for (n, token) in tokens.iter().enumerate().rev() {
            // "I don't have one" is no digit.
            let pronoun = groups.is_empty() && token == "one" && n > 0;
            let before = || n.checked_sub(1).and_then(|n| digits_of(tokens.get(n)?, tens));
            if let Some(group) = digits_of(token, tens).filter(|_| !pronoun || before().is_some()) {
                groups.push(group);
            } else if let (Some(times), Some(group)) = (times(token), groups.last_mut()) {
                let first: String = group.chars().take(1).collect();
                group.insert_str(0, &first.repeat(times - 1));
            } else if FILLERS.contains(&token.as_str()) || times(token).is_some() {
                open |= groups.is_empty();
            } else {
                break;
            }
        }
        let digits = joined(&groups);
        Self { groups: groups.len(), open: open && (tens || !digits.is_empty()), digits }
    }
}

/// Joins groups that stand last first: "twenty" and "one" are 21.
fn joined(groups: &[String]) -> String {
    let mut digits = String::new();
    let mut rest = groups.iter().rev().peekable();
    while let Some(group) = rest.next() {
        let unit = rest.peek().is_some_and(|next| next.len() == 1 && next.as_str() != "0");
        // A ten that is written as a word ends on a mark of its own, see `digits_of`.
        match group.strip_suffix('_') {
            Some(ten) if unit => digits.push_str(&ten[..1]),
            Some(ten) => digits.push_str(ten),
            None => digits.push_str(group),
        }
    }
    digits
}

fn times(token: &str) -> Option<usize> {
    match token {
        "double" => Some(2),
        "triple" | "treble" => Some(3),
        _ => None,
    }
}

/// Returns the digits of a word; a ten such as "twenty" ends on `_`, since a unit may follow.
fn digits_of(token: &str, tens: bool) -> Option<String> {
    const UNITS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    const TEENS: [&str; 10] =
        ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"];
    const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    if !token.is_empty() && token.len() <= 20 && token.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(token.to_owned());
    }
    if token == "oh" || token == "o" {
        return Some("0".into());
    }
    let place = |words: &[&str]| words.iter().position(|word| *word == token);
    place(&UNITS).map(|n| n.to_string()).or_else(|| {
        let ten = || Some(format!("{}0_", place(&TENS)? + 2));
        place(&TEENS).map(|n| (n + 10).to_string()).or_else(ten).filter(|_| tens)
    })
}

/// Whether the digits are a telephone number to which nothing can be added: of North America (area and exchange begin with 2
/// to 9), of France (ten from 01 to 09), or of Britain (eleven from 0). Elsewhere lengths differ, and more is waited for.
fn is_phone(digits: &str) -> bool {
    let byte = |n: usize| digits.as_bytes().get(n).copied().unwrap_or_default();
    let american = |at: usize| byte(at) >= b'2' && byte(at + 3) >= b'2';
    match digits.len() {
        10 => american(0),
        11 => byte(0) == b'1' && american(1) || byte(0) == b'0' && byte(1) != b'0',
        _ => false,
    }
}

/// Whether the digits are those of a payment card: of a known length and start, and with the right check digit (ISO/IEC 7812-1).
fn is_card(digits: &str) -> bool {
    let american_express = digits.starts_with("34") || digits.starts_with("37");
    let length = if american_express { 15 } else { 16 };
    let luhn = |(n, c): (usize, char)| {
        let digit = c.to_digit(10).unwrap_or_default() * if n % 2 == 1 { 2 } else { 1 };
        if digit > 9 { digit - 9 } else { digit }
    };
    digits.len() == length && digits.chars().rev().enumerate().map(luhn).sum::<u32>() % 10 == 0
}

/// Reads a day: month and day of the month, or the name of a day; with its year where one is wanted.
fn read_date(tokens: &[String], year: bool) -> Option<Reading> {
    const NEAR: &[&str] = &["today", "tomorrow", "tonight"];
    let ordinal = |token: &String| {
        let number = token.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        ORDINALS.contains(&token.as_str())
            || token == THIRTIETH
            || token.len() <= number.len() + 2 && number.parse::<u32>().is_ok_and(|day| (1..=31).contains(&day))
            || digits_of(token, true).is_some_and(|digits| digits.trim_end_matches('_').len() <= 2)
    };
    let month = tokens.iter().rposition(|token| MONTHS.contains(&token.as_str()));
    let last = tokens.last()?;
    let names_day = tokens.iter().any(ordinal);
    // "nineteen eighty four" and "two thousand one" are years as well as 1984.
    let after_month = month.map_or(0, |at| tokens.len() - at - 1);
    let names_year = tokens.iter().any(|token| token.len() == 4 && token.parse::<u32>().is_ok())
        || tokens.iter().any(|token| matches!(token.as_str(), "nineteen" | "thousand"))
            && digits_of(last, true).is_some();
    match month {
        Some(_) if names_day && (names_year || !year && after_month <= 2) => {
            Some(Reading::Whole { after: NUMBER_AFTER })
        }
        Some(_) if year || !names_day => Some(Reading::Unfinished { wait: TRAILING_WAIT }),
        None if !year && (DAYS.contains(&last.as_str()) || NEAR.contains(&last.as_str())) => {
            Some(Reading::Whole { after: NUMBER_AFTER })
        }
        _ => None,
    }
}

/// Reads a time of day that can be no other: with "o'clock", "am" or "pm", with minutes, or noon.
fn read_time(tokens: &[String]) -> Option<Reading> {
    let last = tokens.last()?;
    let before = tokens.len().checked_sub(2).and_then(|n| tokens.get(n)).map_or("", String::as_str);
    let number = |token: &str| digits_of(token, true).is_some();
    let ends_a_time = matches!(last.as_str(), "oclock" | "am" | "pm" | "noon" | "midnight")
        || last.strip_suffix("am").or(last.strip_suffix("pm")).is_some_and(number)
        || last == "m" && matches!(before, "a" | "p")
        || number(last) && (matches!(before, "past" | "to") || number(before));
    ends_a_time.then_some(Reading::Whole { after: NUMBER_AFTER })
}

/// Returns how many digits a question names: "the four-digit code", "the last 4 digits", a zip code's five.
fn digits_named(text: &str) -> Option<usize> {
    let tokens: Vec<&str> = text.split_whitespace().collect();
    let place = tokens.iter().position(|token| matches!(*token, "digit" | "digits"));
    let named = place.and_then(|at| digits_of(tokens.get(at.checked_sub(1)?)?, true)?.parse().ok());
    named.or_else(|| text.contains(" zip code ").then_some(5)).filter(|count| (1..=30).contains(count))
}

fn is_letter(token: &str) -> bool {
    token.len() == 1 && token.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// Returns the words in lower case, without punctuation; what is joined by a hyphen, a colon or a stop is several.
fn tokens(text: &str) -> Vec<String> {
    text.split(|c: char| c.is_whitespace() || matches!(c, '-' | '–' | ',' | ':' | '.' | '@' | '/' | '(' | ')'))
        .map(|word| word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>())
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(asked: Asked, text: &str) {
        assert!(matches!(read(asked, text), Reading::Whole { .. }), "{asked:?}: {text}: {:?}", read(asked, text));
    }

    fn unfinished(asked: Asked, text: &str) {
        assert!(matches!(read(asked, text), Reading::Unfinished { .. }), "{asked:?}: {text}: {:?}", read(asked, text));
    }

    fn plain(asked: Asked, text: &str) {
        assert_eq!(read(asked, text), Reading::Plain, "{asked:?}: {text}");
    }

    #[test]
    fn what_is_asked_for_is_read_from_the_last_question() {
        for (agent, wanted) in [
            ("What's your number?", Asked::Phone),
            ("Sure. What is the best phone number to reach you? Take your time.", Asked::Phone),
            ("Please tell me your telephone number.", Asked::Phone),
            ("Could I have your credit card number, please?", Asked::Card),
            ("What are the last four digits of your card?", Asked::Digits(Some(4))),
            ("And your six-digit code?", Asked::Digits(Some(6))),
            ("What's your zip code?", Asked::Digits(Some(5))),
            ("What's your order number?", Asked::Digits(None)),
            ("What day would you like to come?", Asked::Date { year: false }),
            ("What is your date of birth?", Asked::Date { year: true }),
            ("What time suits you?", Asked::Time),
            ("What day and what time suit you?", Asked::Anything),
            ("What is your e-mail address?", Asked::Email),
            ("Could you spell that for me?", Asked::Spelling),
            ("You'd like Tuesday at 3:30 p.m. Is that right?", Asked::YesNo),
            ("So, would you like to book it?", Asked::YesNo),
            ("That's 555 271 8346, correct?", Asked::YesNo),
            ("Would you like tea or coffee?", Asked::Anything),
            ("Can you tell me when it happened?", Asked::Anything),
            ("Could you describe it?", Asked::Anything),
            ("How can I help you?", Asked::Anything),
            ("We open at nine.", Asked::Anything),
            ("How many people?", Asked::Anything),
            ("", Asked::Anything),
            ("...", Asked::Anything),
        ] {
            assert_eq!(asked(agent), wanted, "{agent}");
        }
    }

    #[test]
    fn a_plain_yes_or_no_is_whole_where_it_was_asked_for() {
        for text in
            ["Yes.", "Yeah, sure.", "No", "No, thank you.", "That's right.", "Yes, please", "Of course.", "Not really."]
        {
            whole(Asked::YesNo, text);
        }
        for text in ["Yes, and", "No, I'd like to", "Yes but"] {
            unfinished(Asked::YesNo, text);
        }
        for text in ["Yes, on Sunday", "I think it is", "No, that", "Thank you", "It is", "Please"] {
            assert!(!matches!(read(Asked::YesNo, text), Reading::Whole { .. }), "{text}");
        }
        plain(Asked::Anything, "Yes.");
    }

    #[test]
    fn a_telephone_number_is_whole_with_its_last_digit_and_not_before() {
        whole(Asked::Phone, "555-271-8346.");
        whole(Asked::Phone, "It's five five five, two seven one, eight three four six");
        whole(Asked::Phone, "1 (555) 271-8346");
        whole(Asked::Phone, "oh two oh, seven nine four six, oh nine five eight");
        whole(
            Asked::Phone,
            "five fifty five two seventy one eighty three forty six".replace("five fifty five", "555").as_str(),
        );
        whole(Asked::Phone, "triple five, two seven one, eight three four six");
        whole(Asked::Phone, "555, um, 271, uh, 8346");
        for text in ["555", "555 271", "555 271 83", "It's 5", "020 7946", "44 20 79 46 09", "555 271 834 um", "double"]
        {
            unfinished(Asked::Phone, text);
        }
        plain(Asked::Phone, "Why do you need it?");
        plain(Asked::Phone, "I don't have one.");
    }

    #[test]
    fn no_prefix_of_a_number_that_is_read_aloud_is_whole() {
        let number = ["5", "5", "5", "2", "7", "1", "8", "3", "4", "6"];
        for asked in [Asked::Phone, Asked::Anything, Asked::Digits(Some(10))] {
            for count in 1..=number.len() {
                let said = number[..count].join(" ");
                let reading = read(asked, &said);
                assert_eq!(matches!(reading, Reading::Whole { .. }), count == 10, "{asked:?}: {said}");
                let alone = asked == Asked::Anything && count == 1;
                assert!(alone || !matches!(reading, Reading::Plain), "{asked:?}: {said}");
            }
        }
    }

    #[test]
    fn a_card_is_whole_with_its_check_digit() {
        whole(Asked::Card, "4242 4242 4242 4242");
        whole(Asked::Card, "3782 822463 10005");
        unfinished(Asked::Card, "4242 4242 4242 424");
        plain(Asked::Card, "4242 4242 4242 4241");
        whole(Asked::Anything, "My card is 4242 4242 4242 4242.");
    }

    #[test]
    fn a_code_is_whole_with_as_many_digits_as_were_asked_for() {
        whole(Asked::Digits(Some(4)), "It's four seven one nine.");
        unfinished(Asked::Digits(Some(4)), "four seven one");
        plain(Asked::Digits(Some(4)), "four seven one nine five");
        unfinished(Asked::Digits(None), "four seven one nine five");
        whole(Asked::Digits(Some(4)), "twenty-one forty");
        unfinished(Asked::Digits(Some(4)), "twenty-one");
    }

    #[test]
    fn a_number_that_nobody_asked_for_goes_on_in_groups_only() {
        unfinished(Asked::Anything, "My number is 555 271");
        unfinished(Asked::Anything, "My number is five five");
        whole(Asked::Anything, "My number is 555 271 8346");
        plain(Asked::Anything, "A table for two.");
        plain(Asked::Anything, "It was in 1984.");
        plain(Asked::Anything, "At nine thirty.");
        plain(Asked::Anything, "Order 47192.");
    }

    #[test]
    fn dates_and_times_are_whole_when_no_other_can_be_meant() {
        let (day, born) = (Asked::Date { year: false }, Asked::Date { year: true });
        for text in
            ["June fifth.", "the 5th of June", "Next Tuesday.", "Tomorrow", "June 5th 2027", "on the third of May"]
        {
            whole(day, text);
        }
        for text in ["June", "the fifth of", "In, um"] {
            unfinished(day, text);
        }
        unfinished(born, "June fifth");
        whole(born, "June 5th, 1984.");
        whole(born, "the fifth of June, nineteen eighty four");
        plain(born, "Tuesday");
        for text in ["3:30", "at three pm", "Half past three.", "Three o'clock", "At noon.", "3 p.m.", "ten fifteen"] {
            whole(Asked::Time, text);
        }
        plain(Asked::Time, "Three");
        unfinished(Asked::Time, "at");
    }

    #[test]
    fn an_address_is_whole_with_its_domain_and_spelling_goes_on() {
        whole(Asked::Email, "ann@example.com");
        whole(Asked::Email, "It's ann dot lee at example dot com.");
        for text in ["ann at", "ann dot", "ann at example dot", "ann@example", "ann at example dot co", "A N N"] {
            unfinished(Asked::Email, text);
        }
        plain(Asked::Email, "I don't have one.");
        for text in ["J O H", "J-O-H-N", "It's J, O"] {
            unfinished(Asked::Anything, text);
            unfinished(Asked::Spelling, text);
        }
        plain(Asked::Anything, "It was vitamin C.");
        plain(Asked::Anything, "At 3 p.m.");
    }

    #[test]
    fn a_sentence_that_trails_off_is_unfinished() {
        for text in ["I'd like a table and", "um", "My number is", "I need to"] {
            unfinished(Asked::Anything, text);
        }
        plain(Asked::Anything, "When do you open?");
        plain(Asked::Anything, "");
    }

    #[test]
    fn nothing_that_is_said_breaks_the_rules() {
        let pieces = [
            "twenty",
            "_",
            "@",
            ".",
            "double",
            "0",
            "99999999999999999999999",
            "ä",
            "\u{0}",
            "dot",
            "at",
            "com",
            "-",
            "May",
            "st",
            "1st",
            "p",
            "m",
            "oh",
            "and",
            "\u{300}",
            "İ",
            "triple",
            "?",
            ",",
        ];
        let kinds = [
            Asked::Anything,
            Asked::YesNo,
            Asked::Phone,
            Asked::Card,
            Asked::Digits(Some(4)),
            Asked::Digits(None),
            Asked::Date { year: true },
            Asked::Date { year: false },
            Asked::Time,
            Asked::Email,
            Asked::Spelling,
        ];
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let count = rng.usize(0..8);
            let text: Vec<&str> = (0..count).map(|_| pieces[rng.usize(..pieces.len())]).collect();
            let text = text.join(if rng.bool() { " " } else { "" });
            kinds.iter().for_each(|kind| assert_eq!(read(*kind, &text), read(*kind, &text)));
            assert_eq!(asked(&text), asked(&text));
        }
    }
}
