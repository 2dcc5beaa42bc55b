//! A model's text, as it streams in, as words that a voice can say: no markdown, emoji, code or thoughts.
//!
//! What comes out is kept in the history. A voice reads it by [`normalize`], which brings figures and signs into words.

pub mod aloud;
mod codes;
mod figures;
mod moments;
pub mod normalize;
pub mod numbers;
mod signs;

/// One piece of speakable text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A word with its punctuation (or a few that stand for one, such as `number 5`).
    Word(String),
    /// The end of a line or paragraph.
    Break,
}

/// Text that is left out until its end is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hidden {
    /// Between `<name>` and `</name>`.
    Tagged(String),
    /// Between two code fences.
    Fence,
    /// The rest of an address that is longer than any unit.
    Address,
    /// JSON, until its brackets are closed.
    Json(Json),
}

/// How far a piece of JSON has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Json {
    depth: u32,
    in_string: bool,
    escaped: bool,
}

/// Elements whose content is the model's own business: thoughts, and tool calls that it wrote as text.
const PRIVATE: [&str; 9] = [
    "think",
    "thinking",
    "thought",
    "reasoning",
    "analysis",
    "tool_call",
    "tool_response",
    "function",
    "function_call",
];

/// The longest unit in bytes, be it one word or all that a pair of brackets holds: a link's text and address are rarely
/// longer, what is held back is not spoken in time, and a stream without spaces must be bounded, too.
const UNIT_MAX: usize = 300;

/// The most text that waits to be read, in bytes. No model writes more at once, and a reply is far shorter.
const WAITING_MAX: usize = 16 * 1024;

/// Marks that end a sentence without a space behind them.
const FULL_STOPS: [char; 3] = ['。', '！', '？'];

/// Turns a model's text into words for a voice, word by word as they become whole.
#[derive(Clone, Debug)]
pub struct Spoken {
    /// Text that is not whole words yet.
    raw: String,
    hidden: Option<Hidden>,
    line_start: bool,
    /// The number that the next item of a numbered list would have.
    next_item: u32,
}

impl Default for Spoken {
    fn default() -> Self {
        Self { raw: String::new(), hidden: None, line_start: true, next_item: 1 }
    }
}

impl Spoken {
    /// Adds text as the model wrote it, cut anywhere. What is too long to be a reply is cut off.
    pub fn push(&mut self, text: &str) {
        let room = WAITING_MAX.saturating_sub(self.raw.len());
        self.raw.push_str(&text[..text.floor_char_boundary(room)]);
    }

    /// Returns the next whole piece; a word is whole when what follows it has come.
    pub fn next_piece(&mut self) -> Option<Piece> {
        self.advance(false)
    }

    /// Returns the next piece of a text that is complete; drain it to `None`.
    pub fn last_piece(&mut self) -> Option<Piece> {
        self.advance(true)
    }

    fn advance(&mut self, complete: bool) -> Option<Piece> {
        loop {
            let blank = self.raw.len() - self.raw.trim_start().len();
            let line_end = self.raw.drain(..blank).any(|c| c == '\n');
            if line_end && !self.line_start && self.hidden.is_none() {
                self.line_start = true;
                return Some(Piece::Break);
            }
            let end = self.unit_end(complete)?;
            let followed_by_text = self.raw[end..].starts_with([' ', '\t']);
            let unit: String = self.raw.drain(..end).collect();
            if let Some(word) = self.unit(&unit, followed_by_text) {
                self.line_start = false;
                return Some(Piece::Word(word));
            }
        }
    }

    /// Finds where the first unit of the raw text ends: a word, or all that one pair of brackets or `<>` holds.
    fn unit_end(&self, complete: bool) -> Option<usize> {
        let mut closers: Vec<char> = Vec::new();
        let mut chars = self.raw.char_indices().peekable();
        let mut word_end = None;
        while let Some((at, c)) = chars.next() {
            let whole = closers.is_empty() || self.hidden.is_some();
            if c.is_whitespace() {
                word_end = word_end.or(Some(at));
            }
            match c {
                _ if c.is_whitespace() && whole => return Some(at),
                _ if FULL_STOPS.contains(&c) && whole => return Some(at + c.len_utf8()),
                '[' => closers.push(']'),
                '<' if chars.peek().is_some_and(|&(_, next)| starts_tag(next)) => closers.push('>'),
                '(' if self.raw[..at].ends_with(']') => closers.push(')'),
                _ if closers.last() == Some(&c) => {
                    closers.pop();
                }
                _ => {}
            }
            if at >= UNIT_MAX {
                return word_end.or(Some(at));
            }
        }
        // What a bracket without an end would hold is words like any others.
        let unclosed = if closers.is_empty() { None } else { word_end };
        (complete && !self.raw.is_empty()).then(|| unclosed.unwrap_or(self.raw.len()))
    }

    /// Says what of `unit` a voice says. What follows something left out goes back to the raw text.
    fn unit(&mut self, unit: &str, followed_by_text: bool) -> Option<String> {
        match self.hidden.take() {
            Some(Hidden::Tagged(name)) => return self.inside_tag(name, unit),
            Some(Hidden::Fence) => return self.inside_fence(unit),
            Some(Hidden::Json(json)) => return self.inside_json(json, unit),
            Some(Hidden::Address) => {
                self.hidden = (unit.len() >= UNIT_MAX).then_some(Hidden::Address);
                return None;
            }
            None => {}
        }
        if let Some(at) = unit.find("```") {
            self.back(&unit[at + 3..]);
            self.hidden = Some(Hidden::Fence);
            return self.word(&unit[..at], followed_by_text);
        }
        if let Some((at, tag, end)) = find_tag(unit) {
            self.back(&unit[end..]);
            if let Some(name) = private_name(tag) {
                self.hidden = Some(Hidden::Tagged(name.to_owned()));
            }
            return self.word(&unit[..at], followed_by_text);
        }
        if unit.starts_with(['{']) || unit.starts_with("[{") || unit.starts_with("[\"") {
            return self.inside_json(Json::default(), unit);
        }
        if let Some((before, text, after)) = find_bracketed(unit) {
            self.back(&format!("{text}{after}"));
            return self.word(before, followed_by_text);
        }
        self.word(unit, followed_by_text)
    }

    fn inside_tag(&mut self, name: String, unit: &str) -> Option<String> {
        let closing = format!("</{name}>");
        match unit.to_ascii_lowercase().find(&closing) {
            Some(at) => self.back(&unit[at + closing.len()..]),
            None => {
                // A unit cut for its length may have been cut within the closing tag.
                if let Some(at) = unit.rfind('<').filter(|_| unit.len() >= UNIT_MAX) {
                    self.back(&unit[at..]);
                }
                self.hidden = Some(Hidden::Tagged(name));
            }
        }
        None
    }

    fn inside_fence(&mut self, unit: &str) -> Option<String> {
        match unit.find("```") {
            Some(at) => self.back(&unit[at + 3..]),
            None => self.hidden = Some(Hidden::Fence),
        }
        None
    }

    fn inside_json(&mut self, mut json: Json, unit: &str) -> Option<String> {
        for (at, c) in unit.char_indices() {
            if json.closed_by(c) {
                self.back(&unit[at + c.len_utf8()..]);
                return None;
            }
        }
        // A string may go on behind the space that ended this unit, but an escape ends with its one character.
        json.escaped = false;
        self.hidden = Some(Hidden::Json(json));
        None
    }

    /// Puts text in front of what has not been read.
    fn back(&mut self, text: &str) {
        self.raw.insert_str(0, text);
    }

    /// Says how a word without markup is spoken; `None`: not at all.
    fn word(&mut self, word: &str, followed_by_text: bool) -> Option<String> {
        if word.is_empty() || (self.line_start && followed_by_text && self.is_item_mark(word)) {
            return None;
        }
        if word.len() >= UNIT_MAX && address(word).is_some() {
            self.hidden = Some(Hidden::Address);
        }
        let spoken = match symbol(word) {
            Some(name) => name.to_owned(),
            None => speakable_word(word).split_whitespace().collect::<Vec<_>>().join(" "),
        };
        spoken.contains(|c: char| c.is_alphanumeric() || matches!(c, '–' | '$' | '€' | '£' | '¥')).then_some(spoken)
    }

    /// Whether `word` at the start of a line is the mark of a list's item, a heading or a quotation.
    fn is_item_mark(&mut self, word: &str) -> bool {
        if matches!(word, "-" | "*" | "+" | "•" | "–" | "—" | ">" | "·") || word.chars().all(|c| c == '#') {
            return true;
        }
        // `1.` begins a list and `2.` goes on with it, but `7.` in front of a sentence is an answer.
        let number = word.strip_suffix(['.', ')']).and_then(|number| number.trim_matches('*').parse().ok());
        match number {
            Some(1) => self.next_item = 2,
            Some(number) if number == self.next_item => self.next_item = self.next_item.saturating_add(1),
            _ => return false,
        }
        true
    }
}

impl Json {
    /// Reads one character; whether it closed the outermost bracket.
    fn closed_by(&mut self, c: char) -> bool {
        match c {
            _ if self.escaped => self.escaped = false,
            '\\' if self.in_string => self.escaped = true,
            '"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            '{' | '[' => self.depth = self.depth.saturating_add(1),
            '}' | ']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

/// Returns `text` as a voice says it, on one line.
#[must_use]
pub fn speakable(text: &str) -> String {
    let mut spoken = Spoken::default();
    spoken.push(text);
    let mut out = String::new();
    while let Some(piece) = spoken.last_piece() {
        match piece {
            Piece::Word(word) => {
                if !out.is_empty() {
                    out.push(' ');
                }
                out.push_str(&word);
            }
            Piece::Break => end_line(&mut out),
        }
    }
    out
}

/// Ends a line that has no punctuation of its own, such as a list's item, with a full stop.
pub fn end_line(text: &mut String) {
    if text.ends_with(|c: char| c.is_alphanumeric() || matches!(c, ')' | '"' | '”' | '%')) {
        text.push('.');
    }
}

/// Whether what `word` begins is not whole yet: "Dr.", "Dec.", "$5", "10", "March", after which a name, a day or a unit comes.
#[must_use]
pub fn goes_on(word: &str) -> bool {
    signs::goes_on(word) || moments::is_month(word) || word.ends_with(|c: char| c.is_ascii_digit())
}

/// Whether `next` belongs to `word` although punctuation parts them: "March 5, 2026".
#[must_use]
pub fn belongs_to(word: &str, next: &str) -> bool {
    let day = word.strip_suffix(',').is_some_and(|day| day.len() <= 4 && day.starts_with(|c: char| c.is_ascii_digit()));
    let year = next.trim_end_matches(|c: char| c.is_ascii_punctuation());
    day && year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit())
}

const fn starts_tag(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, '/' | '|' | '!')
}

/// Finds a tag: where it starts, what is between `<` and `>`, and where the text goes on.
fn find_tag(unit: &str) -> Option<(usize, &str, usize)> {
    let at = unit.match_indices('<').map(|(at, _)| at).find(|at| unit[at + 1..].starts_with(starts_tag))?;
    let end = at + unit[at..].find('>')?;
    Some((at, &unit[at + 1..end], end + 1))
}

/// Returns the name of an opening tag whose content is not for the caller.
fn private_name(tag: &str) -> Option<&'static str> {
    let name = tag.split(|c: char| c.is_whitespace() || c == '=').next()?;
    PRIVATE.into_iter().find(|private| name.eq_ignore_ascii_case(private))
}

/// Finds `[text](address)`, whose text is spoken, or `[note]`, which is not: what is before, in and behind it.
fn find_bracketed(unit: &str) -> Option<(&str, &str, &str)> {
    let open = unit.find('[')?;
    let close = open + unit[open..].find(']')?;
    let before = unit[..open].trim_end_matches('!');
    let after = &unit[close + 1..];
    match after.strip_prefix('(').and_then(|address| address.split_once(')')) {
        Some((_, after)) => Some((before, &unit[open + 1..close], after)),
        None => Some((before, "", after)),
    }
}

/// Returns the word for a sign that stands alone.
fn symbol(word: &str) -> Option<&'static str> {
    Some(match word {
        "&" => "and",
        "%" => "percent",
        "+" => "plus",
        "=" => "equals",
        "#" => "hash",
        "*" => "star",
        "@" => "at",
        "-" | "–" | "—" | "--" => "–",
        _ => return None,
    })
}

/// Takes out of a word what cannot be said, and of an address what nobody wants to hear.
fn speakable_word(word: &str) -> String {
    if let Some(address) = address(word) {
        return address;
    }
    let word = word.replace("~~", "").replace("**", "");
    let word = word.trim_matches('_');
    let mut out = String::with_capacity(word.len());
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '_' => out.push(' '),
            '~' if chars.peek().is_some_and(char::is_ascii_digit) => out.push_str("about "),
            '#' if out.is_empty() && chars.peek().is_some_and(char::is_ascii_digit) => out.push_str("number "),
            '\u{2011}' => out.push('-'),
            _ if is_speakable(c) => out.push(c),
            _ => {}
        }
    }
    out
}

/// Returns the host of a web address, or a mail address; a path or a query helps nobody on the telephone.
fn address(word: &str) -> Option<String> {
    let after_open = word.trim_start_matches(|c: char| !c.is_alphanumeric());
    let bare = after_open.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '/');
    let open = &word[..word.len() - after_open.len()];
    let close = &after_open[bare.len()..];
    let kept = match (bare.split_once('@'), bare.split_once("://")) {
        (_, Some((_, rest))) => host(rest),
        (Some((_, at)), None) if at.contains('.') => bare.trim_start_matches("mailto:"),
        _ => host(bare.strip_prefix("www.")?),
    };
    Some(format!("{open}{kept}{close}").chars().filter(|&c| is_speakable(c) || c == '_').collect())
}

fn host(rest: &str) -> &str {
    rest.trim_start_matches("www.").split(['/', '?', '#', ':']).next().unwrap_or_default()
}

/// Whether a voice has a use for `c`: letters, digits and marks of any script, and the punctuation of sentences and sums.
fn is_speakable(c: char) -> bool {
    match c as u32 {
        0..0x20 | 0x7f..0xa0 => false,
        0x20..0x7f => !matches!(c, '*' | '`' | '|' | '\\' | '^' | '~' | '<' | '>' | '{' | '}' | '[' | ']' | '_'),
        0xa0..0x2000 => !matches!(c, '©' | '®' | '¬' | '¦' | '¯' | '¶' | '\u{ad}'),
        // The joiner of Persian and Indian words, quotation marks, dashes and the ellipsis; currencies.
        0x200c | 0x2010..=0x2015 | 0x2018..=0x201e | 0x2026 | 0x2032 | 0x2033 | 0x20a0..=0x20cf => true,
        // Arrows, signs, boxes, dingbats, and letters and digits in circles.
        0x2190..0x2c00 | 0x3030 | 0x303d | 0x3297 | 0x3299 | 0x1f000..0x1fc00 => false,
        0x2c00..0x2e00 | 0x2e80..0xd800 | 0xf900..0xfe00 | 0xfe70..=0xfefe | 0xff00..0xfff0 => true,
        _ => c.is_alphanumeric(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is spoken of `text` when it comes whole, character by character, and in pieces of any size.
    fn spoken(text: &str) -> String {
        let whole = speakable(text);
        let mut rng = fastrand::Rng::with_seed(7);
        for size in [1, 2, 5, 11, 0] {
            let chars: Vec<char> = text.chars().collect();
            let (mut spoken, mut out, mut at) = (Spoken::default(), String::new(), 0);
            let mut take = |piece: Piece| match piece {
                Piece::Word(word) => {
                    if !out.is_empty() {
                        out.push(' ');
                    }
                    out.push_str(&word);
                }
                Piece::Break => end_line(&mut out),
            };
            while at < chars.len() {
                let len = if size == 0 { rng.usize(1..20) } else { size };
                spoken.push(&chars[at..chars.len().min(at + len)].iter().collect::<String>());
                at += len;
                while let Some(piece) = spoken.next_piece() {
                    take(piece);
                }
            }
            while let Some(piece) = spoken.last_piece() {
                take(piece);
            }
            assert_eq!(out, whole, "{text:?} in pieces of {size}");
        }
        whole
    }

    #[test]
    fn plain_sentences_are_left_alone() {
        for text in [
            "Yes.",
            "We open at 3.30, don't we? It's \"fine\" - mostly.",
            "It costs $4.50 (or 3,50 €) & 20% off: a.m./p.m.",
            "Zażółć gęślą jaźń – naïve café.",
            "مرحبا بالعالم، می‌خواهم",
            "नमस्ते दुनिया।",
        ] {
            let expected = text.replace(" - ", " – ").replace(" & ", " and ");
            assert_eq!(spoken(text), expected);
        }
    }

    #[test]
    fn markdown_does_not_reach_the_voice() {
        assert_eq!(
            spoken("**Sure!** We have *two* __rooms__ and `one` ~~big~~ hall."),
            "Sure! We have two rooms and one big hall."
        );
        assert_eq!(spoken("# Hours\n\nWe open at **nine**."), "Hours. We open at nine.");
        assert_eq!(spoken("See [our web site](https://example.com/a?b=c) today."), "See our web site today.");
        assert_eq!(spoken("![logo](x.png) Hello [1] there."), "logo Hello there.");
        assert_eq!(spoken("| Day | Open |\n|---|---|\n| Monday | nine |"), "Day Open. Monday nine");
        assert_eq!(spoken("One.\n\n---\n\nTwo."), "One. Two.");
        assert_eq!(spoken("> quoted\nplain"), "quoted. plain");
    }

    #[test]
    fn list_items_become_sentences() {
        assert_eq!(spoken("We have:\n- tea\n- coffee, black\n* milk!"), "We have: tea. coffee, black. milk!");
        assert_eq!(spoken("1. Open the app\n2. Press *start*\n3) Wait"), "Open the app. Press start. Wait");
    }

    #[test]
    fn a_number_that_is_an_answer_is_spoken() {
        assert_eq!(spoken("3."), "3.");
        assert_eq!(spoken("7. That is the number."), "7. That is the number.");
        assert_eq!(spoken("Press 1. Then press 2. Done."), "Press 1. Then press 2. Done.");
        assert_eq!(spoken("-5 degrees, ~20 people, gate #4"), "-5 degrees, about 20 people, gate number 4");
        assert_eq!(spoken("Press # or *"), "Press hash or star");
    }

    #[test]
    fn emoji_are_left_out_and_letters_of_all_scripts_stay() {
        assert_eq!(spoken("Hi 👋🏽 there 😀! 👨‍👩‍👧 🇩🇪 ❤️ ✅ → ok™ ①"), "Hi there ok");
        assert_eq!(spoken("Great!😀 Bye👋."), "Great! Bye.");
        assert_eq!(spoken("こんにちは。元気ですか？はい"), "こんにちは。 元気ですか？ はい");
    }

    #[test]
    fn addresses_lose_their_paths() {
        assert_eq!(spoken("Go to https://www.example.com/x?y=1#z."), "Go to example.com.");
        assert_eq!(spoken("(see www.example.org/help)"), "(see example.org)");
        let endless = format!("At http://x.org/{} you see.", "a".repeat(900));
        assert_eq!(spoken(&endless), "At x.org you see.");
        assert_eq!(spoken("Write to jo.doe@example.com, please."), "Write to jo.doe@example.com, please.");
    }

    #[test]
    fn thoughts_and_tags_are_not_spoken() {
        assert_eq!(spoken("<think>The caller wants\n\nhours.</think>Nine to five."), "Nine to five.");
        assert_eq!(spoken("<think>\nOkay. 5 < 6 and {\n</think>\n\nYes."), "Yes.");
        assert_eq!(spoken("Well<br>then <b>yes</b> <a href=\"x y\">here</a>."), "Well then yes here");
        assert_eq!(spoken("Bye. <function=hang_up>{\"reason\": \"done\"}</function>"), "Bye.");
        assert_eq!(spoken("<|start|>Hello<|end|>"), "Hello");
        assert_eq!(spoken("<thinking>never closed, never said"), "");
        assert_eq!(spoken("5 < 6 is true"), "5 6 is true");
    }

    #[test]
    fn json_and_code_are_not_spoken() {
        assert_eq!(spoken("Done. {\"a\": {\"b\": \"x } y\"}, \"c\": [1, 2]} Anything else?"), "Done. Anything else?");
        assert_eq!(spoken("[{\"name\": \"hang_up\", \"arguments\": {}}]"), "");
        assert_eq!(spoken("Try:\n```json\n{\"a\": 1}\n```\nGot it?"), "Try: Got it?");
        assert_eq!(spoken("Run `ls -l` now"), "Run ls -l now");
    }

    #[test]
    fn brackets_that_never_close_do_not_hold_the_words_back_for_ever() {
        let long = format!("[start {} end", "word ".repeat(200));
        assert!(spoken(&long).starts_with("start word word"));
        let endless = "x".repeat(5000);
        assert_eq!(spoken(&endless).replace(' ', ""), endless);
    }

    #[test]
    fn a_token_of_a_megabyte_is_cut_off() {
        let mut spoken = Spoken::default();
        spoken.push(&"é ".repeat(500_000));
        assert!(std::iter::from_fn(|| spoken.last_piece()).count() < WAITING_MAX);
    }

    #[test]
    fn nothing_unspeakable_comes_out_of_hostile_text() {
        for seed in 0..3000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let parts = [
                "<think>",
                "</think>",
                "```",
                "{",
                "}",
                "[",
                "]",
                "(",
                ")",
                "**",
                "_",
                "\n",
                " ",
                "a",
                "b.",
                "\"",
                "\\",
                "https://x.y/",
                "😀",
                "<",
                ">",
                "1.",
                "-",
                "#",
                "|",
                "é",
                "。",
                "\u{0}",
                "\u{202e}",
                "!",
            ];
            let text: String = (0..rng.usize(0..60)).map(|_| parts[rng.usize(0..parts.len())]).collect();
            let out = spoken(&text);
            assert!(
                !out.contains(['*', '`', '|', '{', '}', '[', ']', '<', '>', '😀', '\n', '\u{0}', '\u{202e}']),
                "{text:?}: {out:?}"
            );
            assert!(!out.contains("://"), "{text:?}: {out:?}");
            assert_eq!(out.trim(), out);
        }
    }
}
