//! Parts: final blocks as Parquet files on a fixed grid. The format is described in
//! `storage/README.md`; any Parquet reader can use the files without help.

mod error;
mod path;
mod plan;
mod seal;
mod sink;

pub use error::PartError;
pub use path::{PartName, folder_of};
pub use plan::{Grid, Sealable, plan};
pub use seal::{ReadBlock, SealRequest, seal};

#[cfg(test)]
mod tests;
