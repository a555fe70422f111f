//! Writing: events are checked against the chain's state, logged, synced, and then seen.

use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError};

use crate::model::{ChainEvent, EventHead, Lsn, Op};
use crate::wal::Record;

use super::{AppendError, Chain, ChainState, Violation};

impl Chain {
    /// Writes groups of events under one sync; a group that does not follow from the chain's state
    /// is refused as a whole, the others are durable when this returns. A crash in between may
    /// leave the first records of what was being written, in order and without holes.
    pub fn commit(
        &self,
        groups: Vec<Vec<Record>>,
    ) -> Vec<Result<Option<RangeInclusive<Lsn>>, AppendError>> {
        if let Some(reason) = self.paused() {
            let refused = || Err(AppendError::Paused { reason: reason.clone() });
            return groups.iter().map(|_| refused()).collect();
        }
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let core = &mut *core;
        let mut next = core.writer.next_lsn();
        let mut placed = Vec::new();
        let mut heads: Vec<EventHead> = Vec::new();
        let mut results = Vec::with_capacity(groups.len());
        for group in groups {
            match place(&mut core.ahead, group, next) {
                Ok(group) => {
                    let after = Lsn(next.0 + group.len() as u64);
                    results.push(Ok((after > next).then(|| next..=Lsn(after.0 - 1))));
                    next = after;
                    heads.extend(group.iter().map(|(head, _)| *head));
                    placed.extend(group.into_iter().map(|(_, record)| record));
                }
                Err(violation) => {
                    core.ahead = self.with_state(ChainState::clone);
                    for head in &heads {
                        core.ahead.apply(*head);
                    }
                    results.push(Err(violation.into()));
                }
            }
        }
        if core.writer.next_lsn() == Lsn(1)
            && !placed.is_empty()
            && let Err(error) = self.begin()
        {
            core.ahead = self.with_state(ChainState::clone);
            return results.into_iter().map(|_| Err(AppendError::Begin(error.clone()))).collect();
        }
        for (head, record) in heads.iter().zip(&placed) {
            self.recent.insert(head.lsn, record);
        }
        let written = core.writer.append(&placed);
        self.follow(&heads);
        if let Err(error) = written {
            // A part of it may be durable: what comes next follows the log, not the request.
            core.ahead = self.with_state(ChainState::clone);
            let error = Arc::new(error);
            return results.into_iter().map(|_| Err(AppendError::Log(error.clone()))).collect();
        }
        results
    }

    /// Lets readers see the events that are durable now.
    fn follow(&self, heads: &[EventHead]) {
        let durable = self.log.durable();
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            for head in heads.iter().filter(|head| head.lsn <= durable) {
                state.apply(*head);
            }
        }
        self.durable.send_replace(durable);
    }

    /// Writes events as one group.
    pub fn append(
        &self,
        events: &[ChainEvent],
    ) -> Result<Option<RangeInclusive<Lsn>>, AppendError> {
        let records = events.iter().map(Record::new).collect();
        self.commit(vec![records]).pop().unwrap_or(Err(AppendError::Closed))
    }
}

/// Numbers a group's records, checks that they follow, and takes them into the state.
fn place(
    ahead: &mut ChainState,
    group: Vec<Record>,
    first: Lsn,
) -> Result<Vec<(EventHead, Record)>, Violation> {
    let mut placed = Vec::with_capacity(group.len());
    for (record, lsn) in group.into_iter().zip(first.0..) {
        let head = record.head(Lsn(lsn));
        ahead.check(&head)?;
        let record = match (head.op, ahead.canonical(head.block.number)) {
            (Op::Reverted | Op::Finalized, Some(known)) => {
                record.placed(known.parent_hash, known.timestamp)
            }
            (Op::Applied | Op::Reverted | Op::Finalized, _) => record,
        };
        let head = record.head(Lsn(lsn));
        ahead.apply(head);
        placed.push((head, record));
    }
    Ok(placed)
}
