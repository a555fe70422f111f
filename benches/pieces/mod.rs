//! The pieces of the work on one block, each measured by itself on the same recorded blocks.

mod measure;

pub(crate) use measure::{measure, recorded};
