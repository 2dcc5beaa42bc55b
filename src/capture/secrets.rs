//! What is struck out of a SIP message before it is kept: whatever would let its reader in.
//!
//! The response to a digest challenge can be tried against every likely password at leisure, and the key in an `a=crypto` line
//! opens the call's SRTP. Each is replaced by as many `x`, so that the message keeps its length and stays readable.

/// The header fields that carry credentials (RFC 3261 §20.7, §20.28); Authentication-Info (§20.6) has a digest without its name.
const CREDENTIALS: [&str; 2] = ["authorization", "proxy-authorization"];
/// The parameters of a digest that are made from the password (RFC 7616 §3.4, §3.5).
const HASHES: [&str; 2] = ["response", "rspauth"];
/// Attributes whose value holds keys: RFC 4568, RFC 4567 and RFC 8866 §5.12.
const KEYED_LINES: [&str; 3] = ["a=crypto:", "a=key-mgmt:", "k="];

/// What the value of a field is, as far as it has been read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    Harmless,
    /// Credentials whose scheme has not come yet.
    Credentials,
    Digest,
    OtherScheme,
}

/// Strikes the secrets out of a message.
pub fn strike_out(message: &mut [u8]) {
    let mut is_body = false;
    let mut value = Value::Harmless;
    for line in message.split_inclusive_mut(|byte| *byte == b'\n') {
        let trimmed = line.trim_ascii_end().len();
        let line = line.get_mut(..trimmed).unwrap_or_default();
        if is_body {
            strike_keys(line);
        } else if line.is_empty() {
            is_body = true;
        } else if matches!(line.first(), Some(b' ' | b'\t')) {
            // A folded line goes on with the field before (RFC 3261 §7.3.1).
            value = strike_credentials(line, value);
        } else {
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let (name, rest) = line.split_at_mut(colon);
            let is = |known: &str| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes());
            value = match name {
                _ if CREDENTIALS.into_iter().any(is) => Value::Credentials,
                _ if is("authentication-info") => Value::Digest,
                _ => Value::Harmless,
            };
            value = strike_credentials(rest.get_mut(1..).unwrap_or_default(), value);
        }
    }
}

/// Strikes out what is secret in a line of a field's value; returns what the next line of it is.
fn strike_credentials(line: &mut [u8], value: Value) -> Value {
    let start = line.len() - line.trim_ascii_start().len();
    let scheme = line.get(start..).unwrap_or_default().split(|byte| *byte == b' ').next().unwrap_or_default();
    let (value, secret) = match value {
        Value::Credentials if scheme.is_empty() => (value, line.len()),
        Value::Credentials if scheme.eq_ignore_ascii_case(b"digest") => (Value::Digest, start + scheme.len()),
        Value::Credentials => (Value::OtherScheme, start + scheme.len()),
        value => (value, 0),
    };
    let secret = line.get_mut(secret..).unwrap_or_default();
    match value {
        Value::Harmless | Value::Credentials => {}
        Value::Digest => strike_hashes(secret),
        Value::OtherScheme => strike(secret),
    }
    value
}

/// Strikes out the hashes among the parameters of a digest.
fn strike_hashes(parameters: &mut [u8]) {
    for parameter in parameters.split_mut(|byte| *byte == b',') {
        let Some(equals) = parameter.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = parameter.split_at_mut(equals);
        if HASHES.iter().any(|hash| name.trim_ascii().eq_ignore_ascii_case(hash.as_bytes())) {
            strike(value.get_mut(1..).unwrap_or_default());
        }
    }
}

/// Strikes out the keys of a line of a body.
fn strike_keys(line: &mut [u8]) {
    let is_keyed =
        |known: &&&str| line.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known.as_bytes()));
    let Some(known) = KEYED_LINES.iter().find(is_keyed) else { return };
    let mut rest = line.get_mut(known.len()..).unwrap_or_default();
    if *known != "a=crypto:" {
        return strike(rest);
    }
    while let Some(at) = rest.windows(7).position(|word| word.eq_ignore_ascii_case(b"inline:")) {
        let key = rest.get_mut(at + 7..).unwrap_or_default();
        let end = key.iter().position(|byte| matches!(byte, b'|' | b';' | b' ')).unwrap_or(key.len());
        let (key, after) = key.split_at_mut(end);
        strike(key);
        rest = after;
    }
}

/// Leaves nothing but the marks between which a value stands.
fn strike(value: &mut [u8]) {
    value.iter_mut().filter(|byte| !matches!(byte, b' ' | b'"' | b'\r' | b'\n')).for_each(|byte| *byte = b'x');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        strike_out(&mut bytes);
        assert_eq!(bytes.len(), text.len());
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn what_can_be_guessed_at_goes_and_the_rest_of_the_digest_stays() {
        let text = "INVITE sip:1@b SIP/2.0\r\nFrom: <sip:response=\"a\"@b>\r\n\
                    authorization : Digest username=\"ann\", realm=\"b\", nonce=\"n\", uri=\"sip:b\",response = \"d41d8cd9\", cnonce=\"c\"\r\n\
                    Proxy-Authorization: Digest response=\"d41d8cd9\",\r\n realm=\"b\"\r\n\t, Response=\"0123\"\r\n\
                    Authentication-Info: rspauth=\"77\", qop=auth\r\n\
                    X: response=\"a\"\r\n\r\n";
        let wanted = text
            .replace("response = \"d41d8cd9\"", "response = \"xxxxxxxx\"")
            .replace("Digest response=\"d41d8cd9\"", "Digest response=\"xxxxxxxx\"")
            .replace("Response=\"0123\"", "Response=\"xxxx\"")
            .replace("rspauth=\"77\"", "rspauth=\"xx\"");
        assert_eq!(struck(text), wanted);
    }

    #[test]
    fn other_schemes_are_struck_out_whole() {
        let text = "REGISTER sip:b SIP/2.0\r\nAuthorization: Basic YW5uOnNlY3JldA==\r\nAuthorization:\r\n Bearer a.b.c\r\n\r\n";
        let wanted = text.replace("YW5uOnNlY3JldA==", "xxxxxxxxxxxxxxxx").replace("a.b.c", "xxxxx");
        assert_eq!(struck(text), wanted);
    }

    #[test]
    fn the_keys_of_a_description_go_and_its_suites_stay() {
        let text = "SIP/2.0 200 OK\r\n\r\nv=0\r\nk=clear:abc\r\nm=audio 1 RTP/SAVP 0\r\n\
                    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:uVRF+xFB|2^20|1:4;INLINE:qmoh UNENCRYPTED_SRTCP\r\n\
                    a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:AAAA\r\na=key-mgmt:mikey AQAF\na=rtpmap:0 PCMU/8000\r\n";
        let wanted = text
            .replace("k=clear:abc", "k=xxxxxxxxx")
            .replace("uVRF+xFB", "xxxxxxxx")
            .replace("qmoh", "xxxx")
            .replace("inline:AAAA", "inline:xxxx")
            .replace("mikey AQAF", "xxxxx xxxx");
        assert_eq!(struck(text), wanted);
    }

    #[test]
    fn whatever_comes_is_read_to_its_end() {
        for bytes in [
            &b""[..],
            b"\n",
            b"Authorization",
            b"Authorization:",
            b"Authorization: ",
            b"Authorization: Digest",
            b"Authorization: Digest response",
            b"\r\n\r\na=crypto:inline:",
            b"\r\n\r\na=crypto:\xff inline",
            b" response=\"1\"\r\n",
            &[0xff; 100],
        ] {
            let mut struck = bytes.to_vec();
            strike_out(&mut struck);
            assert_eq!(struck.len(), bytes.len());
        }
    }
}
