//! What to ask of a chain, whether it is right, and in which order it enters the log.

pub mod verify;
