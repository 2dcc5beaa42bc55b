//! `"Name" <uri>;params`: the value of From, To, Contact, Route and Record-Route (RFC 3261 §20.10).

use super::params::{Cursor, Params};
use super::uri::{SipUri, is_absolute};
use std::fmt;

/// A name-addr, or an addr-spec, whose parameters belong to the header (RFC 3261 §20.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddr {
    /// The display name as written, quotes and all; may be empty.
    pub display: String,
    /// The URI, of any scheme; a sip URI in it is well-formed.
    pub uri: String,
    /// What follows the URI.
    pub params: Params,
}

impl NameAddr {
    /// Reads the one value of From or To; `None` where it is not exactly one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut cursor = Cursor::new(text);
        Self::read(&mut cursor).filter(|_| cursor.rest.is_empty())
    }

    /// Reads a comma list; `None` where any of it is malformed.
    #[must_use]
    pub fn parse_list(text: &str) -> Option<Vec<Self>> {
        Cursor::new(text).read_list(Self::read)
    }

    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        cursor.skip_space();
        let quoted = if cursor.rest.starts_with('"') { Some(cursor.take_quoted()?) } else { None };
        let bracket =
            cursor.rest.find(['<', ';', ',', '"', ':']).filter(|at| cursor.rest.as_bytes().get(*at) == Some(&b'<'));
        let (display, uri) = match (quoted, bracket) {
            (Some(_), None) => return None,
            (None, None) => ("", Self::read_addr_spec(cursor)?),
            (quoted, Some(_)) => {
                let words = cursor.take_until(&['<']);
                let display = match quoted {
                    Some(quoted) => Some(quoted).filter(|_| words.trim().is_empty())?,
                    // Outside quotes only tokens may make a name (RFC 4475 §3.1.2.15).
                    None => Some(words).filter(|words| words.chars().all(fits_display_token))?,
                };
                (display, Self::read_brackets(cursor)?)
            }
        };
        let is_sip = uri.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sip:"))
            || uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"));
        if is_sip && SipUri::parse(uri).is_none() || !is_absolute(uri) {
            return None;
        }
        let params = Params::read(cursor)?;
        Some(Self { display: display.to_owned(), uri: uri.to_owned(), params })
    }

    fn read_brackets<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
        cursor.rest = cursor.rest.strip_prefix('<')?;
        let (uri, rest) = cursor.rest.split_once('>')?;
        cursor.rest = rest;
        Some(uri)
    }

    /// Without brackets a comma, question mark or semicolon is not part of the URI, and the first two have no place.
    fn read_addr_spec<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
        let uri = cursor.take_until(&[';', ',', ' ', '\t']);
        Some(uri).filter(|uri| !uri.contains('?'))
    }

    /// Returns the tag, if it has one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.params.value("tag")
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.display.is_empty() { "" } else { " " };
        write!(f, "{}{space}<{}>{}", self.display, self.uri, self.params)
    }
}

fn fits_display_token(c: char) -> bool {
    // UTF-8 outside quotes is not in the grammar, but is what people's names look like.
    c.is_alphanumeric() || "-.!%*_+`'~ \t".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_read_in_every_form() {
        for (text, display, uri, tag) in [
            ("<sip:agent001@127.0.0.1>;tag=a", "", "sip:agent001@127.0.0.1", Some("a")),
            ("sip:1000@127.0.0.1", "", "sip:1000@127.0.0.1", None),
            ("sip:1000@127.0.0.1 ;tag=x", "", "sip:1000@127.0.0.1", Some("x")),
            ("\"a < b, \\\"c\\\"\" <sip:x@y> ; tag = 1", "\"a < b, \\\"c\\\"\"", "sip:x@y", Some("1")),
            ("caller<sip:caller@example.com>;tag=323", "caller", "sip:caller@example.com", Some("323")),
            ("T. Watson <sip:w@x>", "T. Watson", "sip:w@x", None),
            ("isbn:2983792873", "", "isbn:2983792873", None),
            ("<name:John_Smith>", "", "name:John_Smith", None),
            ("sip:+1972@gw1.example.net;unknownparam", "", "sip:+1972@gw1.example.net", None),
        ] {
            let parsed = NameAddr::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((&*parsed.display, &*parsed.uri, parsed.tag()), (display, uri, tag), "{text}");
        }
    }

    #[test]
    fn malformed_ones_are_refused() {
        for text in [
            "\"Mr. J. User <sip:j.user@example.com>",
            "\"Watson, Thomas\" < sip:t.watson@example.org >",
            "Bell, Alexander <sip:a.g.bell@example.com>;tag=43",
            "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
            "\"Joe\" <sip:joe@example.org>;;;;",
            "<sip:a@b",
            "<>",
            "",
            "\"only a name\"",
            "<sip:2001:db8::10>",
            "<sip:a@b> trailing",
        ] {
            assert_eq!(NameAddr::parse(text), None, "{text}");
        }
    }

    #[test]
    fn lists_are_split_at_their_commas_only() {
        let list = NameAddr::parse_list("\"a, b\" <sip:x@y;p=1,2>;q=0.1 , sip:z@w;expires=0").expect("a list");
        assert_eq!(list.iter().map(|one| one.uri.as_str()).collect::<Vec<_>>(), ["sip:x@y;p=1,2", "sip:z@w"]);
        assert_eq!(NameAddr::parse_list("<sip:a@b>,"), None);
        let instance = NameAddr::parse_list("<sip:a@b;ob>;reg-id=1;+sip.instance=\"<urn:uuid:1>\"").expect("a list");
        assert_eq!(instance[0].params.value("+sip.instance"), Some("\"<urn:uuid:1>\""));
    }
}
