//! What the user agent counts, as plain numbers for the metrics.

/// Why a datagram was dropped without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Discard {
    /// CRLF or NUL: a keep-alive (RFC 5626 §3.5.1), nothing is wrong.
    KeepAlive,
    /// Shorter than any SIP message.
    TooShort,
    /// Longer than this server reads.
    TooLong,
    /// Not SIP, or too broken to be answered.
    Unreadable,
    /// From a public address, in open mode.
    PublicSource,
    /// More than its source may send.
    Excess,
    /// From an address that gave too many wrong passwords.
    Banned,
    /// From a scanner, by its own account.
    Scanner,
    /// A response that belongs to no request of ours.
    StrayResponse,
    /// An ACK that belongs to no INVITE here.
    StrayAck,
}

impl Discard {
    /// Every reason, in the order of [`Counters::discarded`].
    pub const ALL: [Self; 10] = [
        Self::KeepAlive,
        Self::TooShort,
        Self::TooLong,
        Self::Unreadable,
        Self::PublicSource,
        Self::Excess,
        Self::Banned,
        Self::Scanner,
        Self::StrayResponse,
        Self::StrayAck,
    ];

    /// Returns the reason as a metric's label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep_alive",
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::Unreadable => "unreadable",
            Self::PublicSource => "public_source",
            Self::Excess => "excess",
            Self::Banned => "banned",
            Self::Scanner => "scanner",
            Self::StrayResponse => "stray_response",
            Self::StrayAck => "stray_ack",
        }
    }
}

/// The methods that are counted apart; what is none of them is counted in the last row.
pub const COUNTED_METHODS: [&str; 15] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "REGISTER",
    "OPTIONS",
    "INFO",
    "UPDATE",
    "PRACK",
    "SUBSCRIBE",
    "NOTIFY",
    "REFER",
    "MESSAGE",
    "PUBLISH",
    "other",
];

/// What happened since the start; every field only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams, whatever was in them.
    pub datagrams_received: u64,
    /// Datagrams dropped without an answer, in the order of [`Discard::ALL`].
    pub discarded: [u64; Discard::ALL.len()],
    /// Requests read, in the order of [`COUNTED_METHODS`].
    pub requests: [u64; COUNTED_METHODS.len()],
    /// Responses sent, repetitions included, by class: `[0]` is 1xx, `[5]` is 6xx.
    pub responses: [u64; 6],
    /// Messages answered 400 or dropped because they could not be read.
    pub parse_errors: u64,
    /// Repetitions of a request that its transaction absorbed.
    pub retransmissions_absorbed: u64,
    /// Messages of ours sent again: 200 without an ACK, finals of INVITE, BYE.
    pub retransmissions_sent: u64,
    /// Requests refused with 503 because a table was full or the server is stopping.
    pub refused_for_load: u64,
    /// 401s: requests that had to show who sent them.
    pub challenges: u64,
    /// Answers to them with a wrong user name or password.
    pub wrong_credentials: u64,
    /// Refusals that were not sent, because their address had been told enough of them.
    pub answers_withheld: u64,
    /// INVITEs refused because too many calls of their address, or of all, were not acknowledged.
    pub refused_unacknowledged: u64,
    /// Requests of ours that were never answered.
    pub requests_timed_out: u64,
    /// 200s that were never acknowledged.
    pub acks_missed: u64,
}

impl Counters {
    /// Returns how many datagrams were dropped for `reason`.
    #[must_use]
    pub const fn discarded_for(&self, reason: Discard) -> u64 {
        self.discarded[reason as usize]
    }

    pub(super) fn discard(&mut self, reason: Discard) {
        self.discarded[reason as usize] += 1;
    }

    pub(super) fn request(&mut self, method: &str) {
        let last = COUNTED_METHODS.len() - 1;
        let row = COUNTED_METHODS.iter().position(|counted| *counted == method).unwrap_or(last);
        self.requests[row] += 1;
    }

    pub(super) fn response(&mut self, status: u16) {
        if let Some(class) = self.responses.get_mut(usize::from(status / 100).wrapping_sub(1)) {
            *class += 1;
        }
    }
}
