//! A file as the answer to a request: whole, or the part that a player asks for (RFC 9110 §14).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Bytes copied at once.
const PIECE: usize = 64 << 10;

/// What of a file is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    /// From the first byte to the last, both included.
    Range(u64, u64),
    /// Nothing of it is there.
    Beyond,
}

/// Reads a Range header about a file of `len` bytes. More than one range, another unit and what is no range at all ask for the
/// whole (RFC 9110 §14.2 lets a server ignore the header).
fn part(range: Option<&str>, len: u64) -> Part {
    let bounds = range.and_then(|range| range.trim().strip_prefix("bytes=")).and_then(|set| set.split_once('-'));
    let Some((first, last)) = bounds else { return Part::Whole };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    match (number(first), number(last), first.trim().is_empty(), last.trim().is_empty()) {
        (Some(first), Some(last), ..) if first <= last && first < len => Part::Range(first, last.min(len - 1)),
        (Some(first), None, _, true) if first < len => Part::Range(first, len - 1),
        (Some(first), Some(last), ..) if first > last => Part::Whole,
        (Some(_), Some(_), ..) | (Some(_), None, _, true) => Part::Beyond,
        (None, Some(suffix), true, _) if suffix > 0 && len > 0 => Part::Range(len - suffix.min(len), len - 1),
        (None, Some(_), true, _) => Part::Beyond,
        _ => Part::Whole,
    }
}

/// Answers with the file at `path`, as far as it has grown. `None`: it is not there, and nothing was written.
///
/// # Errors
/// The reader is gone, or the file cannot be read.
pub fn send(
    path: &Path,
    content_type: &str,
    range: Option<&str>,
    is_head: bool,
    out: &mut dyn Write,
) -> Option<io::Result<()>> {
    let mut file = File::open(path).ok()?;
    let len = file.metadata().ok()?.len();
    let (status, first, count) = match part(range, len) {
        Part::Whole => ("200 OK".to_owned(), 0, len),
        Part::Range(first, last) => {
            (format!("206 Partial Content\r\nContent-Range: bytes {first}-{last}/{len}"), first, last - first + 1)
        }
        Part::Beyond => (format!("416 Range Not Satisfiable\r\nContent-Range: bytes */{len}"), 0, 0),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {count}\r\n\
         Accept-Ranges: bytes\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n"
    );
    let mut write = || {
        out.write_all(head.as_bytes())?;
        if !is_head {
            file.seek(SeekFrom::Start(first))?;
            let (mut left, mut piece) = (count, vec![0; PIECE]);
            while left > 0 {
                let want = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                let got = file.read(&mut piece[..want])?;
                if got == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                out.write_all(&piece[..got])?;
                left -= got as u64;
            }
        }
        out.flush()
    };
    Some(write())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_has_them() {
        for (range, wanted) in [
            (None, Part::Whole),
            (Some("bytes=0-9"), Part::Range(0, 9)),
            (Some("bytes=10-"), Part::Range(10, 99)),
            (Some("bytes=-10"), Part::Range(90, 99)),
            (Some("bytes=-1000"), Part::Range(0, 99)),
            (Some("bytes=50-1000"), Part::Range(50, 99)),
            (Some("bytes=100-"), Part::Beyond),
            (Some("bytes=100-200"), Part::Beyond),
            (Some("bytes=-0"), Part::Beyond),
            (Some("bytes=5-2"), Part::Whole),
            (Some("bytes=0-1,5-6"), Part::Whole),
            (Some("lines=1-2"), Part::Whole),
            (Some("bytes=a-b"), Part::Whole),
            (Some("bytes=99999999999999999999-"), Part::Whole),
        ] {
            assert_eq!(part(range, 100), wanted, "{range:?}");
        }
        assert_eq!(part(Some("bytes=0-"), 0), Part::Beyond);
        assert_eq!(part(Some("bytes=-5"), 0), Part::Beyond);
    }

    #[test]
    fn a_part_is_that_part_and_a_head_has_no_body() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.wav");
        std::fs::write(&path, b"0123456789").expect("written");
        let get = |range, is_head| {
            let mut out = Vec::new();
            send(&path, "audio/wav", range, is_head, &mut out).expect("it is there").expect("sent");
            let text = String::from_utf8(out).expect("text");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            (head.to_owned(), body.to_owned())
        };
        let (head, body) = get(Some("bytes=2-4"), false);
        assert!(head.starts_with("HTTP/1.1 206 ") && head.contains("Content-Range: bytes 2-4/10"), "{head}");
        assert_eq!(body, "234");
        let (head, body) = get(None, true);
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Content-Length: 10"), "{head}");
        assert_eq!(body, "");
        assert!(get(Some("bytes=10-"), false).0.starts_with("HTTP/1.1 416 "));
        assert!(send(&folder.path().join("b"), "a/b", None, false, &mut Vec::new()).is_none());
    }
}
