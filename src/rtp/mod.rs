//! Bytes on the media wire.
