//! Words of a caller that mean something of their own while the agent speaks: English ones, until `offhook.toml` has others.

/// What says "I am listening", or nothing at all: the agent goes on. How people write sounds differs by recogniser, so that
/// repeated letters count once ("mhmmm"), and laughter is known without being named.
pub const BACKCHANNELS: &[&str] = &[
    "yeah",
    "yes",
    "yep",
    "yup",
    "ya",
    "okay",
    "ok",
    "right",
    "alright",
    "all right",
    "sure",
    "fine",
    "good",
    "great",
    "cool",
    "nice",
    "perfect",
    "exactly",
    "true",
    "of course",
    "got it",
    "i see",
    "i know",
    "i understand",
    "go on",
    "makes sense",
    "sounds good",
    "really",
    "wow",
    "mhm",
    "mm hm",
    "uh huh",
    "aha",
    "huh",
    "hm",
    "m",
    "ah",
    "oh",
    "um",
    "uh",
    "er",
    "erm",
];

/// What takes the floor whatever else is the matter.
pub const HARD_WORDS: &[&str] = &[
    "stop",
    "wait",
    "no",
    "nope",
    "hold on",
    "hang on",
    "excuse me",
    "pardon",
    "one moment",
    "one second",
    "just a moment",
    "just a second",
    "quiet",
    "shut up",
    "enough",
    "never mind",
    "cancel",
];

/// The most phrases of either list, so that a file that is none is noticed.
pub const PHRASES_MAX: usize = 500;
/// The most characters of one of them: three long words.
pub const CHARACTERS_MAX: usize = 60;
