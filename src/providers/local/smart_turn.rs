//! Whether what was said is a whole turn, by Smart Turn.
