//! Session descriptions: what both sides agree to send.
