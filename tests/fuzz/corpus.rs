//! What mutations begin with: everything that real phones, scanners and proxies sent when they were listened to.

use std::path::Path;

/// Messages and packets as they were on the wire.
pub struct Corpus {
    /// SIP, requests and responses.
    pub messages: Vec<Vec<u8>>,
    /// The session descriptions among their bodies.
    pub descriptions: Vec<Vec<u8>>,
    /// RTP, SRTP and RFC 4733; the payload of the longer ones is filled up.
    pub packets: Vec<Vec<u8>>,
    /// RTCP and SRTCP.
    pub reports: Vec<Vec<u8>>,
}

impl Corpus {
    /// Reads `tests/captures/`, in the order of its names.
    pub fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
        let entries = std::fs::read_dir(&folder).expect("the captures");
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        let mut corpus =
            Self { messages: Vec::new(), descriptions: Vec::new(), packets: Vec::new(), reports: Vec::new() };
        for path in paths {
            let bytes = std::fs::read(&path).expect("a capture");
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("rtp-")) {
                corpus.take_media(&String::from_utf8_lossy(&bytes));
            } else {
                corpus.take_message(bytes);
            }
        }
        // A media type that is not yet among the captures: RTCP APP, as baresip sends it before all else.
        corpus.reports.push(b"\x80\xcc\x00\x03\x1b\xe6\x47\xffPINGPONG".to_vec());
        assert!(corpus.messages.len() > 50 && corpus.descriptions.len() > 10, "captures are missing");
        assert!(corpus.packets.len() > 20 && corpus.reports.len() > 5, "captures of media are missing");
        corpus
    }

    fn take_message(&mut self, bytes: Vec<u8>) {
        let body = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| bytes[at + 4..].to_vec());
        self.descriptions.extend(body.filter(|body| body.starts_with(b"v=0")));
        self.messages.push(bytes);
    }

    fn take_media(&mut self, text: &str) {
        for line in text.lines() {
            let field = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name));
            let words: Vec<&str> = line.split(' ').collect();
            if words.get(1) == Some(&"RTCP") {
                self.reports.extend(words.last().and_then(|hex| unhex(hex)));
            } else if let (Some(len), Some(payload)) = (field("len="), field("payload=")) {
                let number = |name: &str| field(name).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
                let ssrc = field("ssrc=").and_then(unhex).unwrap_or_default();
                let payload_type =
                    u8::try_from(number("pt=")).unwrap_or(0) | u8::try_from(number("m=")).unwrap_or(0) << 7;
                let sequence = u16::try_from(number("seq=")).unwrap_or(0);
                let mut packet = vec![0x80, payload_type];
                packet.extend(sequence.to_be_bytes());
                packet.extend(number("ts=").to_be_bytes());
                packet.extend(ssrc);
                packet.extend(unhex(payload).unwrap_or_default());
                packet.resize(12 + len.parse::<usize>().unwrap_or(160), 0xd5);
                self.packets.push(packet);
            }
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
