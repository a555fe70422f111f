//! `eth_getLogs`: over SQL, so that only the pages of `logs` are read that can hold some.

use headwater_storage::model::{BlockRange, Log, LogLinks};
use headwater_storage::store::Chain;

use crate::query::QueryError;
use crate::supervisor::on_cpu;

use super::answer::Facade;
use super::error::CallError;
use super::filter::{Filter, Span, reversed};
use super::params::{BlockId, Params};
use super::read::{Ends, find, not_here};

/// Logs that one answer has at most.
const LOGS_MAX: usize = 100_000;
/// Bytes of one answer.
const LOGS_BYTES_MAX: usize = 64 << 20;

/// Appends a log to a list.
pub(super) fn push(log: &Log, links: &LogLinks, out: &mut String) {
    if !out.ends_with('[') {
        out.push(',');
    }
    log.write_json(links, out);
}

impl Facade {
    /// The logs that a filter wants, in the chain's order.
    pub(super) async fn logs(&self, params: &Params) -> Result<String, CallError> {
        let object = params.required(0)?;
        self.logs_of(Filter::read(0, object)?, Span::read(0, object)?).await
    }

    /// The same, of what was read before.
    pub(super) async fn logs_of(&self, filter: Filter, span: Span) -> Result<String, CallError> {
        let chain = self.chain.clone();
        let (from, to) = match span {
            Span::Range(from, to) => (from, to),
            Span::Block(hash) => {
                return on_cpu(move || of_block(&chain, BlockId::Hash(hash), &filter)).await;
            }
        };
        let ends = Ends::of(&chain);
        let (first, last) = (ends.number(from)?, ends.number(to)?);
        let range = BlockRange::new(first, last).ok_or_else(|| reversed(0, first, last))?;
        let head = ends.latest()?.number;
        if last > head {
            // A part of what was asked for would be taken for all of it.
            let problem = format!(
                "block range extends beyond current head block {head}: give a `toBlock` of at most \
                 {head:#x}, or `latest`"
            );
            return Err(CallError::Argument { place: 0, problem });
        }
        // Before, for what comes while the rows are read; after, for what goes.
        self.is_whole(range)?;
        let statement = format!(
            "select * from logs where chain_id = {} and block_number between {} and {}{} \
             order by block_number, log_index",
            chain.chain_id(),
            range.first,
            range.last,
            filter.to_sql(),
        );
        let logs = self.node.engine.logs(&statement, LOGS_MAX, LOGS_BYTES_MAX).await;
        let logs = logs.map_err(|error| {
            if let QueryError::Rows { rows_max } = error {
                return CallError::TooMany { max: rows_max };
            }
            CallError::Query(error)
        })?;
        self.is_whole(range)?;
        logs.ok_or(CallError::TooBig { max: LOGS_BYTES_MAX })
    }

    /// Whether all blocks of a range are here with all of their rows.
    fn is_whole(&self, range: BlockRange) -> Result<(), CallError> {
        let missing = self.chain.with_state(|state| {
            let mut whole = state.captured();
            state.partial().iter().for_each(|partial| whole.remove(partial));
            whole.missing(range)
        });
        let Some(first) = missing.first() else { return Ok(()) };
        let more = match missing.len() {
            1 => String::new(),
            ranges => format!(" and {} more ranges", ranges - 1),
        };
        Err(not_here(&self.chain, format!("blocks {first}{more} are")))
    }
}

/// The logs of one block, of whichever fork.
fn of_block(chain: &Chain, id: BlockId, filter: &Filter) -> Result<String, CallError> {
    let Some(block) = find(chain, id)? else {
        // As nodes say it: an empty list would be an answer.
        let problem = "no block of that hash is here".to_owned();
        return Err(CallError::Argument { place: 0, problem });
    };
    let mut out = String::from("[");
    for (at, log) in block.logs().filter(|(_, log)| filter.takes(log)) {
        push(log, &block.log_links(at), &mut out);
    }
    out.push(']');
    Ok(out)
}
