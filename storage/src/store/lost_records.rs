//! Records that are gone: files of the log that somebody removed or emptied. Each is told, and
//! counts as missing from then on, so that a node fetches its blocks again (INV-3).

use std::sync::Arc;

use crate::disk::{Disk, Overlay};
use crate::ledger::Quarantine;
use crate::model::BlockRange;
use crate::wal;

use super::data_dir::DataDir;
use super::{Chain, ChainOptions, SalvageError, SalvageReport, SalvageRequest, StoreError};

/// Looks through the logs of all chains. Without changes, what is found is only told.
pub(super) fn note_lost_records(
    request: &SalvageRequest<'_>,
    report: &mut SalvageReport,
) -> Result<(), SalvageError> {
    let disk: Arc<dyn Disk> = if request.is_dry_run {
        Arc::new(Overlay::new(request.disk.clone()))
    } else {
        request.disk.clone()
    };
    let data_dir = DataDir::with_disk(request.path, disk, None)?;
    for facts in data_dir.ledger().chains()? {
        let known = data_dir.ledger().quarantined(&facts.name)?;
        let options = ChainOptions { index: None, ..ChainOptions::default() };
        let chain = Chain::open(&data_dir, &facts.name, facts.chain_id, options)?;
        chain.find_holes()?;
        for (place, is_mended) in chain.damages()? {
            if !known.contains(&place) && !is_mended {
                report.findings.push(told(&facts.name.to_string(), &place));
            }
        }
    }
    Ok(())
}

impl Chain {
    /// Looks through every file of the log, and writes down what is not there.
    fn find_holes(&self) -> Result<(), StoreError> {
        for segment in self.log().segments() {
            match self.log().head(segment.first) {
                // An empty last file holds nothing yet, and so nothing is known of it.
                Ok(_)
                | Err(
                    wal::Error::Lost { .. }
                    | wal::Error::Damaged { .. }
                    | wal::Error::Unknown { .. },
                ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.note_holes()
    }
}

fn told(chain: &str, place: &Quarantine) -> String {
    let Quarantine { first, last, file, damage, .. } = place;
    let blocks: u64 = place.blocks.iter().map(BlockRange::len).sum();
    format!(
        "chain {chain}: records {first} to {last} are gone ({file}: {damage}): {blocks} blocks are \
         missing from now on, and a node that runs fetches them again"
    )
}
