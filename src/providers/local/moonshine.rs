//! Speech to text by Moonshine tiny.
