//! Changes to any bytes: bits, stretches, numbers at their limits, and pieces that readers stumble over.

use fastrand::Rng;

/// Longest input that is made: beyond what any reader takes.
pub const LEN_MAX: usize = 12_000;

/// Numbers at which integers of some size end, and signs and forms that are none.
pub const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "+1",
    "00",
    "9",
    "10",
    "127",
    "128",
    "255",
    "256",
    "32767",
    "32768",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999",
    "1e9",
    "0x10",
    "1.5",
    " 1",
    "1 ",
    "١",
    "",
];

/// What is put in the place of a stretch.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"<",
    b">",
    b"\"",
    b"\\",
    b"@",
    b"%",
    b"%00",
    b"[",
    b"]",
    b"[::1]",
    b"[::ffff:1.2.3.4]",
    b"=",
    b"?",
    b"/",
    b"*",
    b"--",
    b"\xff\xfe",
    b"\xc3\x28",
    b"\xf0\x9f\x93\x9e",
    b"\x7f",
    b"\r\n ",
    b"\r\n\t",
    b"a=",
    b"m=",
    b"c=",
    b"z9hG4bK",
    b"SIP/2.0",
    b"sip:",
    b"sips:",
    b"tel:",
    b";;",
    b"<<",
];

/// Changes `bytes` once, or not where it is empty; `other` lends a stretch.
pub fn bytes(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    if bytes.is_empty() {
        bytes.push(rng.u8(..));
        return;
    }
    let from = rng.usize(..bytes.len());
    let to = (from + rng.usize(0..16)).min(bytes.len());
    match rng.u8(0..12) {
        0 | 1 => bytes[from] ^= 1 << rng.u8(0..8),
        2 => bytes[from] = rng.u8(..),
        3 => {
            let fresh: Vec<u8> = (0..rng.usize(1..8)).map(|_| rng.u8(..)).collect();
            bytes.splice(from..from, fresh);
        }
        4 => {
            bytes.drain(from..to);
        }
        5 => bytes.truncate(from),
        6 => {
            let end = (from + rng.usize(0..400)).min(bytes.len());
            let again = bytes[from..end].repeat(rng.usize(1..4));
            bytes.splice(from..from, again);
        }
        7 => {
            let tail = other.get(rng.usize(..=other.len())..).unwrap_or_default().to_vec();
            bytes.splice(from.., tail);
        }
        8 | 9 => number(rng, bytes),
        _ => {
            let piece = PIECES[rng.usize(..PIECES.len())];
            bytes.splice(from..to, piece.iter().copied());
        }
    }
    bytes.truncate(LEN_MAX);
}

/// Puts another number in the place of one.
pub fn number(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let starts: Vec<usize> = (0..bytes.len())
        .filter(|at| {
            bytes[*at].is_ascii_digit() && at.checked_sub(1).is_none_or(|before| !bytes[before].is_ascii_digit())
        })
        .collect();
    let Some(start) = pick(rng, &starts).copied() else { return };
    let end = (start..bytes.len()).find(|at| !bytes[*at].is_ascii_digit()).unwrap_or(bytes.len());
    let fresh = NUMBERS[rng.usize(..NUMBERS.len())].bytes();
    bytes.splice(start..end, fresh);
}

/// One of `list`.
pub fn pick<'a, T>(rng: &mut Rng, list: &'a [T]) -> Option<&'a T> {
    (!list.is_empty()).then(|| &list[rng.usize(..list.len())])
}
