//! The pieces of the work on one block, each measured by itself on the same recorded blocks.

mod measure;
mod recorded;

pub(crate) use measure::measure;
pub(crate) use recorded::recorded;
