//! What is measured, under which name, in which unit.
