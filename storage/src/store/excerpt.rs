//! Sealed blocks of any range as files, for who keeps them elsewhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ledger::Part;
use crate::model::{BlockRange, BlockRanges};
use crate::parquet::{Edges, MergeRequest, edges, merge};
use crate::tables::Table;

use super::{Chain, StoreError};

/// Files that hold the rows of a range; they stay where they are as long as this lives.
pub struct Excerpt {
    /// One file per table that has rows.
    pub files: Vec<ExcerptFile>,
    /// How it links to its neighbours.
    pub edges: Edges,
    scratch: PathBuf,
    chain: Arc<Chain>,
    _held: Arc<Vec<Part>>,
}

/// One file.
#[derive(Clone, Debug)]
pub struct ExcerptFile {
    /// What is known of it; its path is the one that the part would have in a data folder.
    pub part: Part,
    /// Where its bytes are.
    pub place: PathBuf,
}

impl Chain {
    /// The rows of sealed blocks of one date. A part of exactly that range is given as it is; other
    /// rows are written below `scratch`. `None` when not all of them are here: then damage was
    /// found, or retention or a merge was faster.
    pub fn excerpt(
        self: &Arc<Chain>,
        range: BlockRange,
        tables: &[Table],
        scratch: &Path,
    ) -> Result<Option<Excerpt>, StoreError> {
        let parts = self.with_state(|state| state.parts().clone());
        self.replaced.lent(&parts);
        let overlaps =
            |part: &&Part| part.range.first <= range.last && range.first <= part.range.last;
        let wanted = |part: &&Part| part.table == Table::Blocks || tables.contains(&part.table);
        let sources: Vec<Part> = parts.iter().filter(overlaps).filter(wanted).cloned().collect();
        let blocks = sources.iter().filter(|part| part.table == Table::Blocks);
        let is_here = |numbers: &BlockRanges| numbers.missing(range).is_empty();
        if !is_here(&blocks.map(|part| part.range).collect()) {
            return Ok(None);
        }
        for part in &sources {
            self.scrub_part(part)?;
        }
        if !self.with_state(|state| is_here(state.sealed())) {
            return Ok(None);
        }
        let Some((_, edges)) = edges(&self.parts, &sources, range)? else { return Ok(None) };
        let is_whole = |part: &Part| part.range == range && tables.contains(&part.table);
        let (whole, cut): (Vec<Part>, Vec<Part>) =
            sources.iter().cloned().partition(|part| is_whole(part));
        let cut: Vec<Table> = tables
            .iter()
            .copied()
            .filter(|table| cut.iter().any(|part| part.table == *table))
            .collect();
        let request = MergeRequest {
            data_dir: scratch,
            chain_id: self.chain_id,
            tables: &cut,
            range,
            parts: &sources,
            reader: &self.parts,
        };
        let written = merge(self.disk.as_ref(), &request)?;
        let file = |part: Part, folder: &Path| ExcerptFile { place: folder.join(&part.path), part };
        let files = whole.into_iter().map(|part| file(part, &self.data_dir));
        let files = files.chain(written.into_iter().map(|part| file(part, scratch))).collect();
        let (scratch, chain) = (scratch.to_owned(), self.clone());
        Ok(Some(Excerpt { files, edges, scratch, chain, _held: parts }))
    }
}

impl Drop for Excerpt {
    fn drop(&mut self) {
        for file in self.files.iter().filter(|file| file.place.starts_with(&self.scratch)) {
            // What cannot be removed now goes at the next start.
            let _swept = self.chain.disk.remove(&file.place);
        }
    }
}
