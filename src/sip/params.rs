//! `;name=value` lists, as Via, From, To and Contact carry them (RFC 3261 §25.1, generic-param).

use super::lexer::is_token;
use std::fmt;

/// A place in a header's value, moved forward as it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    pub(super) fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Takes `expected` and the spaces round it; leaves everything where it is not there.
    pub(super) fn take(&mut self, expected: char) -> bool {
        let trimmed = self.rest.trim_start_matches([' ', '\t']);
        let Some(rest) = trimmed.strip_prefix(expected) else { return false };
        self.rest = rest;
        self.skip_space();
        true
    }

    /// Takes everything before the first of `ends`, without the spaces after it.
    pub(super) fn take_until(&mut self, ends: &[char]) -> &'a str {
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken.trim_end_matches([' ', '\t'])
    }

    /// Reads a comma list of what `read` reads, to the end of the text; `None` where any of it is malformed.
    pub(super) fn read_list<T>(mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut list = vec![read(&mut self)?];
        while self.take(',') {
            list.push(read(&mut self)?);
        }
        self.rest.is_empty().then_some(list)
    }

    /// Takes a quoted string with its quotes; `None` where it does not end.
    pub(super) fn take_quoted(&mut self) -> Option<&'a str> {
        let mut escaped = false;
        for (at, byte) in self.rest.bytes().enumerate().skip(1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    let (quoted, rest) = self.rest.split_at(at + 1);
                    self.rest = rest;
                    return Some(quoted);
                }
                _ => {}
            }
        }
        None
    }
}

/// Parameters in the order in which they came; values keep their quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, Option<String>)>);

impl Params {
    /// Reads `*( ";" name [ "=" value ] )`, and leaves `cursor` behind it; `None` where a name or value is missing.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let mut params = Vec::new();
        while cursor.take(';') {
            let name = cursor.take_until(&[';', '=', ',', ' ', '\t', '"', '<', '>']);
            if !is_token(name) {
                return None;
            }
            let value = if cursor.take('=') {
                let value = if cursor.rest.starts_with('"') {
                    cursor.take_quoted()?
                } else {
                    // Wider than a token: `received=2001:db8::1` and `maddr=[::1]` are met in the wild (RFC 5118 §4.5).
                    cursor.take_until(&[';', ',', ' ', '\t', '"', '<', '>'])
                };
                Some(value).filter(|value| !value.is_empty())?.to_owned().into()
            } else {
                None
            };
            params.push((name.to_owned(), value));
        }
        cursor.skip_space();
        Some(Self(params))
    }

    /// Returns the parameter called `name`: `Some(None)` where it has no value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Option<&str>> {
        self.0.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_deref())
    }

    /// Returns the value of the parameter called `name`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.get(name).flatten()
    }

    /// Puts `name=value` in the place of the parameter called `name`, or at the end.
    pub fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(found, _)| found.eq_ignore_ascii_case(name)) {
            Some((_, old)) => *old = Some(value),
            None => self.0.push((name.to_owned(), Some(value))),
        }
    }

    /// Takes the parameter called `name` out.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(found, _)| !found.eq_ignore_ascii_case(name));
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, value)| match value {
            Some(value) => write!(f, ";{name}={value}"),
            None => write!(f, ";{name}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        Params::read(&mut Cursor::new(text)).map(|params| params.to_string())
    }

    #[test]
    fn spaces_quotes_and_colons_are_read() {
        assert_eq!(read(" ; a = b ;c; d=\"x;\\\"y,\" ").as_deref(), Some(";a=b;c;d=\"x;\\\"y,\""));
        assert_eq!(read(";received=2001:db8::9:255;branch=x").as_deref(), Some(";received=2001:db8::9:255;branch=x"));
    }

    #[test]
    fn a_missing_name_or_value_is_refused() {
        for text in [";", ";;a", "; =b", ";a=", ";a=;b", ";a=\"unbalanced", ";a b;"] {
            let mut cursor = Cursor::new(text);
            assert!(Params::read(&mut cursor).is_none() || !cursor.rest.is_empty(), "{text}");
        }
    }
}
