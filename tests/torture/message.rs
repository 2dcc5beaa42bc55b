//! A valid request in the making, until a condition is laid upon it.

/// A request, header by header.
#[derive(Clone)]
pub struct Message {
    line: String,
    via: String,
    from: String,
    to: String,
    call_id: String,
    cseq: String,
    more: String,
    body: Vec<u8>,
}

/// What a caller with both codecs and keys offers.
pub const OFFER: &str = "v=0\r\no=caller 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                         m=audio 40000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";

/// A valid request of `method`.
pub fn message(method: &str) -> Message {
    let invite = method == "INVITE";
    Message {
        line: format!("{method} sip:1000@127.0.0.1 SIP/2.0"),
        via: "SIP/2.0/UDP 127.0.0.1:40000;rport;branch=z9hG4bKtorture".into(),
        from: "\"Caller\" <sip:caller@127.0.0.1>;tag=88".into(),
        to: "<sip:1000@127.0.0.1>".into(),
        call_id: "torture.1@127.0.0.1".into(),
        cseq: format!("17 {method}"),
        more: if invite { "Contact: <sip:caller@127.0.0.1:40000>\r\nContent-Type: application/sdp\r\n" } else { "" }
            .into(),
        body: if invite { OFFER.into() } else { Vec::new() },
    }
}

impl Message {
    pub fn line(mut self, line: &str) -> Self {
        self.line = line.into();
        self
    }

    pub fn via(mut self, via: &str) -> Self {
        self.via = via.into();
        self
    }

    pub fn from(mut self, from: &str) -> Self {
        self.from = from.into();
        self
    }

    pub fn to(mut self, to: &str) -> Self {
        self.to = to.into();
        self
    }

    pub fn cseq(mut self, cseq: &str) -> Self {
        self.cseq = cseq.into();
        self
    }

    /// Puts `more` in the place of Contact and Content-Type.
    pub fn more(mut self, more: &str) -> Self {
        self.more = more.into();
        self
    }

    /// Puts `more` behind Contact and Content-Type.
    pub fn add(mut self, more: &str) -> Self {
        self.more += more;
        self
    }

    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let Self { line, via, from, to, call_id, cseq, more, body } = self;
        let head = format!(
            "{line}\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n{more}\r\n"
        );
        [head.as_bytes(), body].concat()
    }
}
