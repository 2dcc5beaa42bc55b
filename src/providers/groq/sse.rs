//! Server-sent events: bytes in however they were cut, `data` out one event at a time; pure.

/// The longest event taken; a chunk of a chat completion is a few hundred bytes.
const EVENT_MAX: usize = 1 << 20;

/// Collects lines into events (WHATWG HTML §9.2.6), of which only the data is of use here.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// How far `bytes` was searched for a line's end.
    searched: usize,
    /// Whether the stream's first line was taken.
    begun: bool,
    /// Whether the last line ended in CR: a LF that follows belongs to it.
    after_cr: bool,
    data: Option<String>,
}

/// An event grew beyond [`EVENT_MAX`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Lines {
    /// Adds what came; drain [`Self::next`] afterwards.
    ///
    /// # Errors
    /// An event longer than anything that makes sense.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        let held = self.bytes.len() + self.data.as_ref().map_or(0, String::len);
        if held + bytes.len() > EVENT_MAX {
            return Err(TooLong);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Returns the data of the next whole event.
    pub(super) fn next(&mut self) -> Option<String> {
        while let Some(end) = self.bytes[self.searched..].iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let rest = self.bytes.split_off(self.searched + end + 1);
            let line = std::mem::replace(&mut self.bytes, rest);
            self.searched = 0;
            let after_cr = std::mem::replace(&mut self.after_cr, line.ends_with(b"\r"));
            if after_cr && line == b"\n" {
                continue;
            }
            if let Some(data) = self.line(&line) {
                return Some(data);
            }
        }
        self.searched = self.bytes.len();
        None
    }

    /// The stream has ended: returns what was left without a blank line after it.
    pub(super) fn finish(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.bytes);
        self.searched = 0;
        self.line(&line).or_else(|| self.data.take())
    }

    /// Takes one line, which ends in LF, CR or nothing; a blank one completes an event.
    fn line(&mut self, line: &[u8]) -> Option<String> {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches(['\r', '\n']);
        let line = if std::mem::replace(&mut self.begun, true) { line } else { line.trim_start_matches('\u{feff}') };
        if line.is_empty() {
            return self.data.take();
        }
        // Comments begin with a colon; `event`, `id` and `retry` tell nothing that the data does not.
        let value = line.strip_prefix("data:")?;
        let value = value.strip_prefix(' ').unwrap_or(value);
        match &mut self.data {
            None => self.data = Some(value.to_owned()),
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(stream: &[u8], piece: usize) -> Vec<String> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for bytes in stream.chunks(piece) {
            lines.push(bytes).expect("short");
            out.extend(std::iter::from_fn(|| lines.next()));
        }
        out.extend(lines.finish());
        out
    }

    #[test]
    fn events_come_out_whole_however_the_bytes_were_cut() {
        let stream = "data: {\"a\":\"grüße\"}\n\n: ping\r\nevent: x\r\ndata:two\r\n\r\nid: 4\n\ndata: 1\ndata: 2\n\n";
        for piece in 1..stream.len() {
            assert_eq!(events(stream.as_bytes(), piece), ["{\"a\":\"grüße\"}", "two", "1\n2"], "pieces of {piece}");
        }
    }

    #[test]
    fn lines_may_end_in_cr_alone_and_a_byte_order_mark_is_no_text() {
        let stream = "\u{feff}data: 1\rdata: 2\r\rdata: three\r\n\r\n\ndata: 4\n\r";
        for piece in 1..stream.len() {
            assert_eq!(events(stream.as_bytes(), piece), ["1\n2", "three", "4"], "pieces of {piece}");
        }
    }

    #[test]
    fn the_last_event_needs_no_blank_line() {
        assert_eq!(events(b"data: a\n\ndata: [DONE]", 7), ["a", "[DONE]"]);
        assert_eq!(events(b"data: a\n", 3), ["a"]);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(events(b"data: \xff\n\n", 100), ["\u{fffd}"]);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut lines = Lines::default();
        let mut result = Ok(());
        for _ in 0..=EVENT_MAX / 1000 {
            result = result.and(lines.push(&[b'x'; 1000]));
        }
        assert_eq!(result, Err(TooLong));
    }
}
