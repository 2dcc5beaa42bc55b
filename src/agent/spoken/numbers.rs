//! Numbers as an American says them: cardinals, ordinals, years, digit by digit.

const ONES: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const SCALES: [(u64, &str); 4] =
    [(1_000_000_000_000, "trillion"), (1_000_000_000, "billion"), (1_000_000, "million"), (1_000, "thousand")];

/// Larger numbers are read digit by digit: nobody follows a quadrillion on the telephone.
const CARDINAL_MAX: u64 = 999_999_999_999_999;

/// Appends "one thousand two hundred thirty four".
pub fn cardinal(number: u64, words: &mut Vec<&'static str>) {
    if number > CARDINAL_MAX {
        return digits(&number.to_string(), words);
    }
    let mut rest = number;
    for (scale, name) in SCALES {
        if rest >= scale {
            below_thousand(rest / scale, words);
            words.push(name);
            rest %= scale;
        }
    }
    if rest > 0 || number == 0 {
        below_thousand(rest, words);
    }
}

fn below_thousand(number: u64, words: &mut Vec<&'static str>) {
    let (hundreds, rest) = (number / 100, number % 100);
    if hundreds > 0 {
        words.extend([ONES[hundreds as usize % 10], "hundred"]);
    }
    match (rest, hundreds) {
        (0, 1..) => {}
        (0..20, _) => words.push(ONES[rest as usize]),
        _ => {
            words.push(TENS[rest as usize / 10]);
            if rest % 10 > 0 {
                words.push(ONES[rest as usize % 10]);
            }
        }
    }
}

/// Appends "twenty first".
pub fn ordinal(number: u64, words: &mut Vec<&'static str>) {
    cardinal(number, words);
    if let Some(last) = words.last_mut() {
        *last = ordinal_of(last);
    }
}

/// Returns the ordinal of a number word.
#[must_use]
pub fn ordinal_of(word: &str) -> &'static str {
    const PAIRS: [(&str, &str); 33] = [
        ("zero", "zeroth"),
        ("one", "first"),
        ("two", "second"),
        ("three", "third"),
        ("four", "fourth"),
        ("five", "fifth"),
        ("six", "sixth"),
        ("seven", "seventh"),
        ("eight", "eighth"),
        ("nine", "ninth"),
        ("ten", "tenth"),
        ("eleven", "eleventh"),
        ("twelve", "twelfth"),
        ("thirteen", "thirteenth"),
        ("fourteen", "fourteenth"),
        ("fifteen", "fifteenth"),
        ("sixteen", "sixteenth"),
        ("seventeen", "seventeenth"),
        ("eighteen", "eighteenth"),
        ("nineteen", "nineteenth"),
        ("twenty", "twentieth"),
        ("thirty", "thirtieth"),
        ("forty", "fortieth"),
        ("fifty", "fiftieth"),
        ("sixty", "sixtieth"),
        ("seventy", "seventieth"),
        ("eighty", "eightieth"),
        ("ninety", "ninetieth"),
        ("hundred", "hundredth"),
        ("thousand", "thousandth"),
        ("million", "millionth"),
        ("billion", "billionth"),
        ("trillion", "trillionth"),
    ];
    PAIRS.iter().find(|(cardinal, _)| *cardinal == word).map_or("", |(_, ordinal)| ordinal)
}

/// Appends a year: "nineteen oh five", "two thousand five", "twenty twenty six".
pub fn year(number: u64, words: &mut Vec<&'static str>) {
    let (century, rest) = (number / 100, number % 100);
    if !(10..=99).contains(&century) || (century % 10 == 0 && rest < 10) {
        return cardinal(number, words);
    }
    cardinal(century, words);
    match rest {
        0 => words.push("hundred"),
        1..10 => words.extend(["oh", ONES[rest as usize]]),
        _ => cardinal(rest, words),
    }
}

/// Appends the digits of `text` one by one; what is no digit is passed over.
pub fn digits(text: &str, words: &mut Vec<&'static str>) {
    words.extend(text.chars().filter_map(|c| c.to_digit(10)).map(|digit| ONES[digit as usize]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(read: fn(u64, &mut Vec<&'static str>), number: u64) -> String {
        let mut words = Vec::new();
        read(number, &mut words);
        words.join(" ")
    }

    #[test]
    fn cardinals_have_no_and() {
        for (number, words) in [
            (0, "zero"),
            (7, "seven"),
            (20, "twenty"),
            (42, "forty two"),
            (100, "one hundred"),
            (101, "one hundred one"),
            (1_000, "one thousand"),
            (1_250, "one thousand two hundred fifty"),
            (1_000_001, "one million one"),
            (2_003_017, "two million three thousand seventeen"),
        ] {
            assert_eq!(said(cardinal, number), words);
        }
    }

    #[test]
    fn a_number_beyond_all_names_is_read_digit_by_digit() {
        assert_eq!(said(cardinal, 1_000_000_000_000_000).split(' ').count(), 16);
        assert_eq!(said(cardinal, u64::MAX).split(' ').count(), 20);
    }

    #[test]
    fn ordinals_change_their_last_word() {
        for (number, words) in
            [(1, "first"), (12, "twelfth"), (21, "twenty first"), (30, "thirtieth"), (103, "one hundred third")]
        {
            assert_eq!(said(ordinal, number), words);
        }
    }

    #[test]
    fn years_are_read_in_pairs_except_around_a_millennium() {
        for (number, words) in [
            (1905, "nineteen oh five"),
            (1900, "nineteen hundred"),
            (2000, "two thousand"),
            (2005, "two thousand five"),
            (2026, "twenty twenty six"),
            (1066, "ten sixty six"),
        ] {
            assert_eq!(said(year, number), words);
        }
    }
}
