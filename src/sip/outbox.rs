//! What is to be done next, in order, counted on its way out.

use super::counters::Counters;
use super::flow::Flow;
use super::{Event, Output};
use std::collections::VecDeque;

/// The outputs not yet polled, and the counters.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    outputs: VecDeque<Output>,
    pub(super) counters: Counters,
}

impl Outbox {
    /// Sends a message for the first time.
    pub(super) fn send(&mut self, to: Flow, bytes: Vec<u8>) {
        if let Some(status) = bytes.get(8..11).filter(|_| bytes.starts_with(b"SIP/2.0 ")) {
            let status = std::str::from_utf8(status).ok().and_then(|status| status.parse().ok());
            self.counters.response(status.unwrap_or_default());
        }
        self.outputs.push_back(Output::Transmit { to, bytes });
    }

    /// Sends a message again.
    pub(super) fn resend(&mut self, to: Flow, bytes: Vec<u8>) {
        self.counters.retransmissions_sent += 1;
        self.send(to, bytes);
    }

    pub(super) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}
