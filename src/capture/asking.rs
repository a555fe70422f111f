//! One block, asked of one provider after the other, and by other ways once all were asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::rpc::{Asked, Cause, Endpoint, Place, Purpose, RpcError, Turn, Wanted};
use crate::telemetry::metrics;

use super::assemble::Body;
use super::fetch::{Failed, Wish, fetch, fetch_from_two};
use super::late::{What, patience};
use super::receipts::{Tried, along_ways, may_come_otherwise, speaks_of_block};
use super::status::{NotHad, Says};
use super::traces::{add_traces, can_have_traces};
use super::{Fetched, Source};

/// A second provider is asked for the head when the first takes so many times as long as usual.
const HEDGE_AFTER: f64 = 3.0;
const HEDGE_MIN: Duration = Duration::from_millis(250);

/// What came of asking one provider after the other.
#[derive(Default)]
struct Asking {
    /// The block without its receipts, proved.
    known: Option<Box<Body>>,
    /// The same, where it could not be proved, or may be of another fork than the receipts: of use
    /// only to who gave it.
    loose: Option<Box<Body>>,
    tried: Tried,
    /// The last failure of the block itself.
    last: Option<RpcError>,
    /// Providers that said something of this block.
    spoke: Vec<String>,
}

impl Source {
    pub(super) async fn ask_for(&self, wish: &Wish) -> Result<Fetched, NotHad> {
        let number = wish.number;
        let known = match self.late.what(number) {
            What::Untraced(fetched) => return self.traced(fetched).await,
            What::Body(body) => Some(body),
            What::Nothing => None,
        };
        let fetched = self.block_and_receipts(wish, known).await?;
        let fetched = self.traced(fetched).await?;
        self.late.forget(number);
        Ok(fetched)
    }

    /// A block with its traces, where they are wanted: they may come from another provider.
    async fn traced(&self, mut fetched: Fetched) -> Result<Fetched, NotHad> {
        let number = fetched.block.header.number;
        if !self.has_traces || !can_have_traces(&fetched.block) {
            return Ok(fetched);
        }
        let note = |endpoint: &Endpoint, error: &RpcError| self.note(endpoint, number, error);
        let added =
            add_traces(&self.pool, self.purpose, self.prover.depth(), &mut fetched, &note).await;
        let Err(error) = added else {
            self.late.forget(number);
            return Ok(fetched);
        };
        let mut waited = Duration::MAX;
        if error.cause == Cause::Moved {
            // Traces of another fork: the block is asked for anew.
            self.late.forget(number);
        } else {
            let is_history = self.purpose == Purpose::History;
            waited = self.late.keep(number, What::Untraced(fetched), is_history);
        }
        let may_be_late = self.purpose == Purpose::Head && self.late.is_fresh(number);
        let is_late = may_be_late && error.is_absence() && waited < patience(true);
        let says = if is_late {
            Says::NotYet
        } else if speaks_of_block(&error.cause) {
            Says::OfBlock
        } else {
            Says::OfProviders
        };
        Err(NotHad { number, error, says, has_body: true })
    }

    /// What one provider gave and was proved is not asked for again: the rest may come from others,
    /// and by other ways once all were asked.
    async fn block_and_receipts(
        &self,
        wish: &Wish,
        known: Option<Box<Body>>,
    ) -> Result<Fetched, NotHad> {
        let number = wish.number;
        let asking = Mutex::new(Asking { known, ..Asking::default() });
        let first = self.ask_each(wish, &asking).await;
        let mut asking = asking.into_inner().unwrap_or_else(PoisonError::into_inner);
        let is_history = self.purpose == Purpose::History;
        if let Ok(fetched) = first {
            self.settle(number, &asking.tried, Some(&fetched));
            return Ok(fetched);
        }
        let Some(error) = asking.tried.error() else {
            let error = asking.last.take();
            let error =
                error.unwrap_or_else(|| self.pool.turn(self.purpose, Wanted::Block).nobody());
            return Err(self.not_had(number, error, &asking));
        };
        let what = asking.known.clone().map_or(What::Nothing, What::Body);
        let waited = self.late.keep(number, what, is_history);
        let may_be_late = !is_history && self.late.is_fresh(number) && !asking.spoke.is_empty();
        if may_be_late && waited < patience(asking.tried.is_absent()) {
            only_late(&asking.tried);
            return Err(NotHad { number, error, says: Says::NotYet, has_body: true });
        }
        let second = self.go_round(wish, &mut asking).await;
        self.settle(number, &asking.tried, second.as_ref());
        second.ok_or_else(|| {
            let error = asking.tried.error().unwrap_or(error);
            self.not_had(number, error, &asking)
        })
    }

    /// Asks one provider after the other, each by the way that is known to be its shortest.
    async fn ask_each(&self, wish: &Wish, asking: &Mutex<Asking>) -> Result<Fetched, ()> {
        let lock = || asking.lock().unwrap_or_else(PoisonError::into_inner);
        let purpose = if wish.is_question { Purpose::Head } else { self.purpose };
        let known = lock().known.clone();
        let wanted = |known: bool| if known { Wanted::Receipts } else { Wanted::Block };
        let mut turn = self.pool.turn(purpose, wanted(known.is_some()));
        while let Some(place) = turn.place().await {
            let known = lock().known.clone();
            let result = match place {
                Place::Whole(asked) => self.hedged(&mut turn, asked, wish, (known, asking)).await,
                Place::Parts(two) => self.both(two, wish, asking).await,
            };
            match result {
                Ok(fetched) => return Ok(fetched),
                Err(error) => {
                    turn.failed(&error);
                    turn.wants(wanted(lock().known.is_some()));
                }
            }
        }
        let mut asking = lock();
        if asking.last.is_none() && asking.tried.told.is_empty() {
            asking.last = Some(turn.nobody());
        }
        Err(())
    }

    /// Asks everybody for the receipts once more, by the ways that were not tried.
    async fn go_round(&self, wish: &Wish, asking: &mut Asking) -> Option<Fetched> {
        let mut turn = self.pool.turn(self.purpose, Wanted::Receipts);
        while let Some(asked) = turn.next().await {
            let endpoint = &asked.endpoint;
            turn.answered(endpoint.provider());
            let of_it = asking.loose.clone().filter(|body| body.provider() == endpoint.provider());
            let body = asking.known.clone().or(of_it);
            let Some((body, step)) = body.zip(asking.tried.next_at(endpoint)) else { continue };
            let walk = along_ways(endpoint, wish, body, step, may_come_otherwise).await;
            match walk {
                Ok(fetched) => return Some(fetched),
                Err(failed) => {
                    turn.failed(&failed.error);
                    asking.heard(endpoint, failed);
                }
            }
        }
        None
    }

    /// Remembers how asking for receipts went. Who gave some that are wrong is told of, and rests
    /// where others can be asked, unless what was right came from the same.
    fn settle(&self, number: u64, tried: &Tried, whole: Option<&Fetched>) {
        let mut noted: Vec<&str> = Vec::new();
        for told in &tried.told {
            let endpoint = &told.endpoint;
            let giver = whole.and_then(|fetched| fetched.provider.rsplit('+').next());
            let is_giver = giver == Some(endpoint.provider());
            if told.error.cause == Cause::Wrong && !noted.contains(&endpoint.name()) {
                noted.push(endpoint.name());
                self.refused(endpoint, number, &told.error, is_giver);
            } else if told.error.cause != Cause::Wrong {
                if speaks_of_block(&told.error.cause) {
                    endpoint.failed_once(&told.error);
                } else {
                    endpoint.failed(&told.error);
                }
            }
        }
    }

    /// Why a block was not had, by what was said of it.
    fn not_had(&self, number: u64, error: RpcError, asking: &Asking) -> NotHad {
        let has_body = !asking.tried.told.is_empty();
        let is_everyone =
            self.pool.endpoints().iter().all(|endpoint| {
                asking.spoke.iter().any(|provider| provider == endpoint.provider())
            });
        let says = match (asking.spoke.is_empty(), is_everyone) {
            (true, _) => Says::OfProviders,
            (false, true) if error.is_absence() && !has_body => Says::NotThere,
            (false, true) => Says::OfBlock,
            (false, false) => Says::OfSome,
        };
        NotHad { number, error, says, has_body }
    }

    /// Asks one provider, and for the head a second one when the first takes long.
    async fn hedged(
        &self,
        turn: &mut Turn<'_>,
        asked: Asked,
        wish: &Wish,
        (known, asking): (Option<Box<Body>>, &Mutex<Asking>),
    ) -> Result<Fetched, RpcError> {
        let hedge_after = asked.endpoint.usual_time().mul_f64(HEDGE_AFTER).max(HEDGE_MIN);
        let mut first = std::pin::pin!(self.attempt(asked, wish, known.clone(), asking));
        if let Ok(result) = tokio::time::timeout(hedge_after, first.as_mut()).await {
            return result;
        }
        let second = if wish.is_question { None } else { turn.hedge() };
        let Some(second) = second else { return first.await };
        metrics::hedged(self.pool.chain());
        let second = std::pin::pin!(self.attempt(second, wish, known, asking));
        futures::future::select_ok([first, second]).await.map(|(block, _)| block)
    }

    /// Asks one provider for the block and another for its receipts.
    async fn both(
        &self,
        two: [Asked; 2],
        wish: &Wish,
        asking: &Mutex<Asking>,
    ) -> Result<Fetched, RpcError> {
        let [body, receipts] = two.each_ref().map(|asked| &asked.endpoint);
        let result = fetch_from_two(body, receipts, wish).await;
        result.map_err(|failed| {
            let failing = if body.name() == failed.error.provider { body } else { receipts };
            self.heard(failing, wish, failed, asking)
        })
    }

    /// Asks one provider, and remembers how that went.
    async fn attempt(
        &self,
        asked: Asked,
        wish: &Wish,
        known: Option<Box<Body>>,
        asking: &Mutex<Asking>,
    ) -> Result<Fetched, RpcError> {
        let result = fetch(&asked.endpoint, wish, known).await;
        result.map_err(|failed| self.heard(&asked.endpoint, wish, failed, asking))
    }

    /// Remembers a failure. What follows from one of the receipts is seen when all were asked.
    fn heard(
        &self,
        endpoint: &Arc<Endpoint>,
        wish: &Wish,
        failed: Failed,
        asking: &Mutex<Asking>,
    ) -> RpcError {
        if failed.rest.is_none() && !failed.is_answer_to(wish) {
            self.note(endpoint, wish.number, &failed.error);
        }
        if failed.error.cause == Cause::Moved {
            self.late.drop_part(wish.number);
        }
        let error = failed.error.clone();
        asking.lock().unwrap_or_else(PoisonError::into_inner).heard(endpoint, failed);
        error
    }

    /// Remembers a failure, and tells of lies.
    fn note(&self, endpoint: &Endpoint, number: u64, error: &RpcError) {
        if error.cause == Cause::Wrong {
            self.refused(endpoint, number, error, false);
        } else {
            endpoint.failed(error);
        }
    }

    /// What was given is wrong: it is told of, and who gave it rests if another can be asked.
    fn refused(&self, endpoint: &Endpoint, number: u64, error: &RpcError, is_giver: bool) {
        let is_other = |other: &Arc<Endpoint>| other.provider() != endpoint.provider();
        let has_others = self.pool.endpoints().iter().any(is_other);
        let is_new = if has_others && !is_giver {
            endpoint.failed(error)
        } else {
            endpoint.failed_once(error)
        };
        metrics::refused(self.pool.chain(), endpoint.name());
        if is_new {
            tracing::warn!(
                chain = %self.pool.chain(), provider = error.provider, number,
                reason = error.reason, "refused a block"
            );
        }
    }
}

/// What did not come of a new block is no failure yet: who said so is well, and only late.
fn only_late(tried: &Tried) {
    for told in &tried.told {
        let error = &told.error;
        if error.cause == Cause::Wrong {
            let cause = Cause::BlockMissing;
            told.endpoint.failed_once(&RpcError { cause, ..error.clone() });
        } else if speaks_of_block(&error.cause) {
            told.endpoint.failed_once(error);
        } else {
            told.endpoint.failed(error);
        }
    }
}

impl Asking {
    fn heard(&mut self, endpoint: &Endpoint, failed: Failed) {
        if speaks_of_block(&failed.error.cause) {
            self.spoke.push(endpoint.provider().to_owned());
        }
        let Some(rest) = failed.rest else {
            self.last = Some(failed.error);
            return;
        };
        self.tried.told.extend(rest.told);
        // Which of two forks it is is for the next one to say.
        if failed.error.cause == Cause::Moved {
            self.known = None;
            self.loose = Some(rest.body);
        } else if rest.body.is_proved() {
            self.known = Some(rest.body);
        } else {
            self.loose = Some(rest.body);
        }
    }
}
