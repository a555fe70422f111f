//! Parts: final blocks as Parquet files on a fixed grid. The format is described in
//! `storage/README.md`; any Parquet reader can use the files without help.

mod error;
mod facts;
mod merge;
mod path;
mod plan;
mod read;
mod seal;
mod sink;
mod writer;

pub use error::{BlockReadError, PartError};
pub use facts::read_part_facts;
pub use merge::{Edges, MergeRequest, edges, merge};
pub use path::{PartName, folder_of};
pub use plan::{Grid, Sealable, plan};
pub use read::{PartOf, PartReader, integers_of, lsns_of, texts_of};
pub use seal::{ReadBlock, SealRequest, seal};
pub use writer::writer_properties;

#[cfg(test)]
mod tests;
