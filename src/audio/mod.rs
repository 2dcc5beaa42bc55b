//! One mono frame at a time.
