//! A copy of the ledger as of one moment, made while others write.

use std::path::Path;

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use crate::disk::Disk;

use super::backend::Backend;
use super::database::{
    CHAINS, CURSORS, INSTANCE, PARKED, PARTS, QUARANTINE, open_database, write_to,
};
use super::usage::USAGE;
use super::{Ledger, LedgerError};

impl Ledger {
    /// Writes the ledger as of now to a new file.
    pub fn copy_to(&self, disk: &dyn Disk, path: &Path) -> Result<(), LedgerError> {
        let from = self.read()?;
        let copy = open_database(Backend::create(disk, path)?, path)?;
        write_to(&copy, |to| {
            copy_table(&from, to, INSTANCE)?;
            copy_table(&from, to, CHAINS)?;
            copy_table(&from, to, PARTS)?;
            copy_table(&from, to, CURSORS)?;
            copy_table(&from, to, PARKED)?;
            copy_table(&from, to, QUARANTINE)?;
            copy_table(&from, to, USAGE)
        })
    }
}

fn copy_table<K: redb::Key + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<'_, K, &'static [u8]>,
) -> Result<(), LedgerError> {
    let from = from.open_table(table)?;
    let mut to = to.open_table(table)?;
    for entry in from.iter()? {
        let (key, value) = entry?;
        to.insert(key.value(), value.value())?;
    }
    Ok(())
}
