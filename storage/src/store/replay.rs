//! The state that a restart finds: a fold over the log from what is sealed on.

use crate::ledger::{ChainFacts, Ledger, Part};
use crate::model::{Lsn, Op};
use crate::wal::{self, Log};

use super::{ChainState, StoreError};

/// The state after the log, from what is sealed on. What is damaged is left out, and is missing.
pub(super) fn replay(
    log: &Log,
    ledger: &Ledger,
    facts: &ChainFacts,
    parts: Vec<Part>,
) -> Result<ChainState, StoreError> {
    // What parts hold the log may have dropped; what they do not hold is gone.
    log.note_missing(facts.replay_from.max(facts.sealed.next()));
    let mut state = ChainState::new(parts, facts.anchor);
    state.forgets(facts.forgotten.clone(), facts.partial.clone());
    for lsn in facts.replay_from.max(log.first()).0..=log.durable().0 {
        let head = match log.head(Lsn(lsn)) {
            Ok(head) => head,
            Err(wal::Error::Lost { .. } | wal::Error::Damaged { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        state.apply(head);
        // A payload that parts held, and the parts are gone: the block has to be fetched again.
        if head.op == Op::Applied && !log.has_payload(head.lsn)? {
            state.lose(head.block.number, head.lsn);
        }
    }
    state.leave_orphans();
    for found in ledger.quarantined(&facts.name)? {
        state.damage(&found.blocks);
        if let Some(block) = found.block {
            state.lose(block.number, found.first);
        }
    }
    state.reaches(log.durable());
    Ok(state)
}
