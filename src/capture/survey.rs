//! The head of a chain, as its providers have it: who names one that cannot be is not followed.

use std::sync::Arc;

use headwater_storage::model::{BlockRef, seconds_of};

use crate::clock;
use crate::rpc::{Call, Cause, Claim, Endpoint, HeadFault, Judging, Purpose, RpcError};

use super::source::{HEADER, HeaderAnswer};
use super::{Follower, Source};

const METHOD: &str = "eth_getBlockByNumber";

/// Our head: the block, and its time in seconds since 1970-01-01 UTC.
pub(super) type Ours = Option<(BlockRef, u64)>;

/// Who names which head.
struct Named {
    endpoint: Arc<Endpoint>,
    head: BlockRef,
    claim: Claim,
    fault: Option<HeadFault>,
}

impl Follower {
    /// Our head.
    pub(super) fn ours(&self) -> Ours {
        let head = self.chain.with_state(|state| state.head().copied());
        head.map(|head| (head.block, seconds_of(head.timestamp)))
    }

    /// Whether an announced head is above all that can be there; who announces it is left.
    pub(super) fn cannot_be(&self, head: BlockRef) -> bool {
        let Some((ours, time)) = self.ours() else { return false };
        let endpoints = self.source.pool().endpoints();
        let announcer = self.heads.provider();
        let Some(endpoint) = endpoints.iter().find(|e| announcer.as_deref() == Some(e.name()))
        else {
            return false;
        };
        let block_secs = self.source.pool().block_time().map(|time| time.as_secs_f64());
        let ours = Some(Claim { number: ours.number, time });
        let judging = Judging { ours, others: &[], block_secs, now: clock::unix_seconds() };
        // Its time was not announced to us.
        let claim = Claim { number: head.number, time };
        let is_above = matches!(judging.fault(claim, None), Some(HeadFault::Above { .. }));
        if is_above {
            endpoint.names_head(claim, &judging);
            self.heads.stalled();
        }
        is_above
    }
}

impl Source {
    /// The head of the chain, as one provider has it.
    pub async fn latest(&self) -> Result<BlockRef, RpcError> {
        let mut turn = self.pool.turn(Purpose::Head, HEADER);
        let mut last = None;
        while let Some(asked) = turn.next().await {
            let endpoint = &asked.endpoint;
            let error = match endpoint.single::<HeaderAnswer>(&Call::header("latest")).await {
                Ok(Some(answer)) => match endpoint.names_head_alone(answer.claim()) {
                    None => {
                        let head = BlockRef::from(answer);
                        self.late.saw_head(head.number);
                        return Ok(head);
                    }
                    Some(fault) => endpoint.error(METHOD, Cause::Wrong, &fault.to_string()),
                },
                Ok(None) => return Err(self.pool.nobody(METHOD)),
                Err(error) => error,
            };
            endpoint.failed(&error);
            turn.failed(&error);
            last = Some(error);
        }
        Err(last.unwrap_or_else(|| turn.nobody()))
    }

    /// The highest head that any provider has, ours among equals, and who has it; who is far behind
    /// ours is asked last from then on, who named a head that nobody had is believed last, and who
    /// names one that cannot be is not believed.
    pub(super) async fn survey(&self, ours: Ours) -> Result<(BlockRef, String), RpcError> {
        let mut turn = self.pool.turn(Purpose::Head, HEADER);
        let mut heads: Vec<Named> = Vec::new();
        let mut last = None;
        while let Some(asked) = turn.next().await {
            let endpoint = &asked.endpoint;
            match endpoint.single::<HeaderAnswer>(&Call::header("latest")).await {
                Ok(answer) => {
                    if let Some(answer) = answer {
                        let (claim, head) = (answer.claim(), BlockRef::from(answer));
                        let endpoint = endpoint.clone();
                        heads.push(Named { endpoint, head, claim, fault: None });
                    }
                    turn.answered(endpoint.provider());
                }
                Err(error) => {
                    endpoint.failed(&error);
                    turn.failed(&error);
                    last = Some(error);
                }
            }
        }
        self.judge(&mut heads, ours);
        let ours = ours.map(|(block, _)| block);
        let rank = |named: &&Named| {
            let is_doubted = named.endpoint.is_doubted();
            (!is_doubted, named.head.number, ours == Some(named.head))
        };
        let best = heads.iter().filter(|named| named.fault.is_none()).max_by_key(rank);
        if let Some(best) = best {
            self.late.saw_head(best.head.number);
            return Ok((best.head, best.endpoint.name().to_owned()));
        }
        let refused = heads.iter().find_map(|named| {
            let text = named.fault?.to_string();
            Some(named.endpoint.error(METHOD, Cause::Wrong, &text))
        });
        Err(refused.or(last).unwrap_or_else(|| turn.nobody()))
    }

    /// Finds the heads that cannot be. Where several providers name none but heads of the future,
    /// it is our clock that is slow: they are followed.
    fn judge(&self, heads: &mut [Named], ours: Ours) {
        let claims: Vec<Claim> = heads.iter().map(|named| named.claim).collect();
        let our_claim = ours.map(|(block, time)| Claim { number: block.number, time });
        let block_secs = self.pool.block_time().map(|time| time.as_secs_f64());
        let now = clock::unix_seconds();
        for (at, named) in heads.iter_mut().enumerate() {
            let others = claims.iter().enumerate().filter(|(other, _)| *other != at);
            let others: Vec<Claim> = others.map(|(_, claim)| *claim).collect();
            let judging = Judging { ours: our_claim, others: &others, block_secs, now };
            named.fault = named.endpoint.names_head(named.claim, &judging);
            let ours = our_claim.map_or(0, |ours| ours.number);
            named.endpoint.has_head(named.claim.number, ours);
        }
        let is_future = |named: &Named| matches!(named.fault, Some(HeadFault::Future { .. }));
        if heads.len() > 1 && heads.iter().all(is_future) {
            for named in heads.iter_mut() {
                named.fault = None;
            }
        }
    }
}
