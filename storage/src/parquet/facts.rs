//! What a part says of itself in its footer, for when the ledger does not know it any more.

use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::disk::{self, Disk};
use crate::ledger::Part;
use crate::model::Lsn;

use super::{PartError, PartName};

/// Reads a whole part below a data folder, and gives what the ledger should know of it; `None` for
/// a file that is no part of ours.
pub fn read_part_facts(
    disk: &dyn Disk,
    data_dir: &Path,
    path: &str,
) -> Result<Option<Part>, PartError> {
    let Some(name) = PartName::parse(path) else { return Ok(None) };
    let bytes = disk::read_file(disk, &data_dir.join(path))?;
    let (file_bytes, crc32c) = (bytes.len() as u64, crc32c::crc32c(&bytes));
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes))
        .map_err(|source| PartError::Parquet { path: path.to_owned(), source })?;
    let footer = reader.metadata().file_metadata();
    let fact = |key: &str| -> Option<&str> {
        let facts = footer.key_value_metadata()?;
        facts.iter().find(|fact| fact.key == key)?.value.as_deref()
    };
    let hash = |key| fact(key).and_then(|text| text.parse().ok());
    let lsn = |key| fact(key).and_then(|text| text.parse().ok()).map(Lsn);
    let is_named = fact("headwater.table") == Some(name.table.name())
        && fact("headwater.first_block") == Some(&name.range.first.to_string())
        && fact("headwater.last_block") == Some(&name.range.last.to_string())
        && fact("headwater.chain_id") == Some(&name.chain_id.to_string());
    let part = || {
        Some(Part {
            path: path.to_owned(),
            table: name.table,
            range: name.range,
            date: name.date,
            rows: u64::try_from(footer.num_rows()).ok()?,
            file_bytes,
            crc32c,
            parent_hash: hash("headwater.parent_hash")?,
            first_hash: hash("headwater.first_hash")?,
            last_hash: hash("headwater.last_hash")?,
            first_lsn: lsn("headwater.first_lsn")?,
            last_lsn: lsn("headwater.last_lsn")?,
        })
    };
    Ok(part().filter(|_| is_named))
}
