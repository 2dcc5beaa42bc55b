//! The HTTP control API.
