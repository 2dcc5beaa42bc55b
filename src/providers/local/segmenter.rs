//! Cuts a stream of frames into turns.
