//! The loop of one exporter of files on one chain: sealed runs that the lake does not hold go, as
//! large as the rules want them, and the cursor follows what is held without a hole.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headwater_exporters::parts::{HeldDate, HeldRun, PartExporter, PartFile, PartRun};
use headwater_exporters::{Disposition, ExportError, failpoint};
use headwater_storage::ledger::{Cursor, Part};
use headwater_storage::model::{B256, BlockRange, BlockRanges, Lsn, date_text};
use headwater_storage::parquet::PartName;
use headwater_storage::store::{Chain, Excerpt, StoreError};
use headwater_storage::tables::Table;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock;
use crate::supervisor::{Shutdown, on_cpu};
use crate::telemetry::metrics;

use super::order::{Hearing, Order, Ordered};
use super::plan::{Job, Local, Plan, Rules, plan};
use super::station::{ForwardError, PROBE_EVERY, Station};
use super::status::ExportState;

/// Retention and merges are noticed at least so often.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(1);

/// One exporter of files on one chain.
pub struct PartRunner {
    /// Its name, chain, cursor and state.
    pub station: Station,
    /// The sink.
    pub exporter: Arc<dyn PartExporter>,
    /// Tables that go.
    pub tables: Vec<Table>,
    /// Where files are made that are not here as they go.
    pub scratch: PathBuf,
    /// Blocks that are known to be in the lake.
    pub known: Mutex<BlockRanges>,
}

/// What the loop knows.
#[derive(Default)]
struct View {
    /// What the lake holds of the dates that are at stake.
    held: BTreeMap<i32, HeldDate>,
    /// Since when small runs wait, by first block.
    waiting: HashMap<u64, Instant>,
    /// What was here and not held when it was planned last.
    missing: BlockRanges,
    /// Tries that failed in a row.
    attempt: u32,
}

/// What is here, at one moment.
struct Here {
    locals: Vec<Local>,
    sealed: BlockRanges,
    forgotten: BlockRanges,
    /// The last record, and the lowest one that is not sealed.
    last: Lsn,
    open: Option<Lsn>,
}

impl PartRunner {
    /// Forwards until shutdown.
    pub async fn run(
        self: Arc<PartRunner>,
        mut orders: Hearing,
        mut shutdown: Shutdown,
    ) -> Result<(), ForwardError> {
        let ended = shutdown.clone();
        let mut cursor = self.station.first_cursor().await?;
        let result = tokio::select! {
            result = self.forward(&mut cursor, &mut orders, ended) => result,
            () = shutdown.requested() => Ok(()),
        };
        self.exporter.close().await;
        self.station.leave(cursor, result).await
    }

    async fn forward(
        &self,
        cursor: &mut Cursor,
        orders: &mut Hearing,
        shutdown: Shutdown,
    ) -> Result<(), ForwardError> {
        let mut sealed = self.station.chain.sealed();
        let (mut view, mut is_connected) = (View::default(), false);
        self.station.show(cursor.exported);
        while !shutdown.is_requested() {
            let waited = if cursor.is_paused {
                self.station.status.set(ExportState::Paused, None);
                orders.unless_ordered(std::future::pending()).await
            } else if is_connected {
                let step = self.step(cursor, &mut view, &mut sealed);
                match orders.unless_ordered(step).await {
                    Ok(stepped) => {
                        is_connected = stepped?;
                        Ok(())
                    }
                    Err(ordered) => Err(ordered),
                }
            } else {
                let ready = orders.unless_ordered(self.until_ready()).await;
                is_connected = ready.is_ok();
                ready
            };
            if let Err(Ordered { order, answer }) = waited {
                // The lake is looked at anew: perhaps it is another one now.
                (view, is_connected) = (View::default(), false);
                *self.known.lock().unwrap_or_else(PoisonError::into_inner) = BlockRanges::default();
                let done = self.obey(cursor, order).await.map(|()| Vec::new());
                // Who asked may have gone.
                let _heard = answer.send(done);
            }
        }
        Ok(())
    }

    async fn obey(&self, cursor: &mut Cursor, order: Order) -> Result<(), ForwardError> {
        let (exporter, chain) = (&self.station.name, self.station.chain.name());
        tracing::info!(exporter, %chain, ?order, "an order");
        self.station.turn(cursor, &order).await
    }

    async fn until_ready(&self) {
        let mut attempt = 0;
        loop {
            match self.exporter.check().await {
                Ok(()) => return self.station.status.set(ExportState::Running, None),
                Err(error) => self.station.pause(&error, &mut attempt).await,
            }
        }
    }

    /// One run, or a wait for one; whether the sink is still there.
    async fn step(
        &self,
        cursor: &mut Cursor,
        view: &mut View,
        sealed: &mut watch::Receiver<Lsn>,
    ) -> Result<bool, ForwardError> {
        sealed.borrow_and_update();
        let here = self.here(cursor.exported);
        if let Err(error) = self.look_up(&here, view).await {
            return Ok(self.failed(&error, view).await);
        }
        let plan = self.plan(&here, view);
        self.count_vanished(&here, &plan, view);
        self.advance(cursor, &here, &plan).await?;
        let Some(job) = plan.job else {
            view.attempt = 0;
            self.station.status.set(ExportState::Running, None);
            let wait = self.wait_of(&plan, view);
            self.station.status.waits(self.waits_text(&plan, view));
            tokio::select! {
                // The chain is here, so its sender is.
                _changed = sealed.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
            return Ok(true);
        };
        self.station.status.waits(None);
        match self.bring(job, view).await {
            Ok(()) => {
                view.attempt = 0;
                self.station.status.set(ExportState::Running, None);
                Ok(true)
            }
            Err(error) => {
                // Whatever was begun there is looked at before anything else.
                view.held.remove(&job.date);
                Ok(self.failed(&error, view).await)
            }
        }
    }

    /// Waits after a failure; whether the sink is asked again without a check.
    async fn failed(&self, error: &ExportError, view: &mut View) -> bool {
        let is_refused = error.disposition() == Disposition::Stop;
        let outcome = if is_refused { "blocked" } else { "retried" };
        metrics::export_batch(&self.station.name, self.station.chain.name(), outcome);
        self.station.pause_unless(error, &mut view.attempt, self.answers()).await;
        if is_refused {
            view.held.clear();
        }
        !is_refused
    }

    /// Returns when the sink answers a check again.
    async fn answers(&self) {
        loop {
            tokio::time::sleep(PROBE_EVERY).await;
            if self.exporter.check().await.is_ok() {
                return;
            }
        }
    }

    fn knows(&self, range: BlockRange) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(range);
    }

    /// Blocks that are here and not known to be in the lake. Records say little: those of the head
    /// may lie before those of its history, and are sealed later.
    pub fn blocks_behind(&self, exported: Lsn) -> u64 {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let missing = |range| known.missing(range).iter().map(BlockRange::len).sum::<u64>();
        let sealed =
            self.here(exported).locals.iter().map(|local| missing(local.range)).sum::<u64>();
        sealed + self.station.chain.with_state(|state| state.unsealed().count() as u64)
    }

    /// What is sealed behind the cursor.
    fn here(&self, exported: Lsn) -> Here {
        self.station.chain.with_state(|state| {
            let behind = |part: &&Part| part.table == Table::Blocks && part.last_lsn > exported;
            let largest = |range: BlockRange| {
                let parts = self.tables.iter().filter_map(|t| state.part_of(*t, range.first));
                parts.map(|part| part.file_bytes).max().unwrap_or(0)
            };
            let local = |part: &Part| Local {
                range: part.range,
                date: part.date,
                first_lsn: part.first_lsn,
                bytes: largest(part.range),
            };
            Here {
                locals: state.parts().iter().filter(behind).map(local).collect(),
                sealed: state.sealed().clone(),
                forgotten: state.forgotten().clone(),
                last: state.last(),
                open: state.unsealed_events().map(|head| head.lsn).min(),
            }
        })
    }

    /// Asks the lake about dates that are at stake and not known.
    async fn look_up(&self, here: &Here, view: &mut View) -> Result<(), ExportError> {
        let dates: std::collections::BTreeSet<i32> = here.locals.iter().map(|l| l.date).collect();
        view.held.retain(|date, _| dates.contains(date));
        for date in dates {
            if view.held.contains_key(&date) {
                continue;
            }
            let held = self.exporter.held(self.station.chain.chain_id(), date).await?;
            for run in &held.runs {
                self.compare(run).await?;
                self.knows(run.range);
            }
            view.held.insert(date, held);
        }
        Ok(())
    }

    /// A lake that holds other blocks under the same numbers is another chain's.
    async fn compare(&self, run: &HeldRun) -> Result<(), ExportError> {
        let ends = [(run.range.first, run.first_hash), (run.range.last, run.last_hash)];
        for (number, hash) in ends {
            let chain = self.station.chain.clone();
            let known = on_cpu(move || match chain.with_state(|state| state.hash_at(number)) {
                Some(hash) => Ok(Some(hash)),
                None => Ok(chain.block_by_number(number)?.map(|event| event.head.block.hash)),
            });
            let known: Result<_, StoreError> = known.await;
            // What cannot be read here is not compared: damage is mended elsewhere.
            if let Ok(Some(known)) = known
                && known != hash
            {
                return Err(ExportError::Refused {
                    sink: self.exporter.place_of(""),
                    reason: format!(
                        "it holds block {number} as {hash}, and here it is {known}: another chain \
                         with this chain id is there. Give this exporter another `url`"
                    ),
                });
            }
        }
        Ok(())
    }

    fn plan(&self, here: &Here, view: &mut View) -> Plan {
        let (now, size) = (Instant::now(), self.exporter.size_rule());
        let planned = {
            let waited = |first| {
                let since: Option<&Instant> = view.waiting.get(&first);
                since.is_some_and(|since| now.duration_since(*since) >= size.wait)
            };
            let rules = Rules {
                target_bytes: size.target_bytes,
                first_block: self.station.begin.first_block(),
                is_closed: &|last| here.sealed.contains(last + 1),
                is_overdue: &waited,
            };
            plan(&here.locals, &view.held, &rules)
        };
        view.waiting.retain(|first, _| planned.waiting.contains(first));
        for first in &planned.waiting {
            view.waiting.entry(*first).or_insert(now);
        }
        planned
    }

    /// What is held back until it makes a file that is large enough, or has waited.
    fn waits_text(&self, plan: &Plan, view: &View) -> Option<String> {
        let first = plan.waiting.iter().min()?;
        let size = self.exporter.size_rule();
        let waited = view.waiting.get(first)?.elapsed();
        let until = clock::unix_seconds() + size.wait.saturating_sub(waited).as_secs();
        let date = date_text(i32::try_from(until / 86_400).ok()?);
        let (hour, minute) = (until % 86_400 / 3_600, until % 3_600 / 60);
        Some(format!(
            "blocks from {first} on wait for more, so that a file has target_bytes = {}; they go \
             at {date}T{hour:02}:{minute:02}Z at the latest (max_wait_secs = {})",
            size.target_bytes,
            size.wait.as_secs()
        ))
    }

    /// Says what retention took before it went; what damage took comes again.
    fn count_vanished(&self, here: &Here, plan: &Plan, view: &mut View) {
        let mut gone = std::mem::replace(&mut view.missing, plan.missing.clone());
        let held = view.held.values().flat_map(|held| &held.runs).map(|run| run.range);
        let kept = gone.iter().flat_map(|range| here.forgotten.missing(range));
        kept.collect::<Vec<_>>().into_iter().chain(held).for_each(|range| gone.remove(range));
        let blocks = gone.count();
        if blocks > 0 {
            let chain = self.station.chain.name();
            let ranges: Vec<String> = gone.iter().map(|range| range.to_string()).collect();
            tracing::warn!(
                exporter = self.station.name, %chain, blocks, ranges = ranges.join(", "),
                "retention took blocks before this exporter had them"
            );
            self.station.status.left_out(blocks);
            metrics::export_left_out(&self.station.name, chain, blocks);
        }
    }

    /// The cursor goes to before the first record that is not held.
    async fn advance(
        &self,
        cursor: &mut Cursor,
        here: &Here,
        plan: &Plan,
    ) -> Result<(), ForwardError> {
        let first = plan.first_lsn.into_iter().chain(here.open).min();
        let upto = first.map_or(here.last, |first| Lsn(first.0.saturating_sub(1)));
        if upto > cursor.exported {
            *cursor = Cursor { exported: upto, intent: None, ..*cursor };
            self.station.save(*cursor).await?;
            failpoint::reach("forward.exported");
        }
        self.station.show(cursor.exported);
        Ok(())
    }

    /// How long the first of the runs that wait may still grow.
    fn wait_of(&self, plan: &Plan, view: &View) -> Duration {
        let (now, size) = (Instant::now(), self.exporter.size_rule());
        let left = plan.waiting.iter().filter_map(|first| view.waiting.get(first));
        let left = left.map(|since| size.wait.saturating_sub(now.duration_since(*since)));
        left.min().unwrap_or(LOOK_AGAIN).clamp(Duration::from_millis(10), LOOK_AGAIN)
    }

    /// Brings one run into the lake.
    async fn bring(&self, job: Job, view: &mut View) -> Result<(), ExportError> {
        let Job { date, range, due } = job;
        let (chain, chain_id) = (&self.station.chain, self.station.chain.chain_id());
        let excerpt = match self.excerpt(range).await {
            Ok(excerpt) => excerpt,
            Err(error) => {
                self.station.wait_for_store(&error).await;
                return Ok(());
            }
        };
        let Some(held) = view.held.get_mut(&date) else { return Ok(()) };
        let Some(excerpt) = excerpt else {
            let exporter = &self.station.name;
            match due {
                Some(due) if due.is_begun => {
                    tracing::warn!(exporter, %range, "begun in the lake, and no longer here");
                    self.exporter.abandon(chain_id, date, range).await?;
                }
                Some(_) => {
                    tracing::warn!(exporter, %range, "files of the lake are gone for good");
                    let hash = B256::ZERO;
                    held.runs.push(HeldRun { range, first_hash: hash, last_hash: hash });
                }
                // Merges, retention or damage were faster: the plan is made anew.
                None => tokio::time::sleep(PAUSE).await,
            }
            held.due.retain(|other| other.range != range);
            return Ok(());
        };
        let run = self.run_of(date, range, &excerpt);
        failpoint::reach("forward.intent");
        self.exporter.export(&run).await?;
        metrics::export_batch(&self.station.name, chain.name(), "delivered");
        let (first_hash, last_hash) = (run.first_hash, run.last_hash);
        held.runs.push(HeldRun { range, first_hash, last_hash });
        self.knows(range);
        held.due.retain(|other| other.range != range);
        tracing::info!(exporter = self.station.name, chain = %chain.name(), %range, "in the lake");
        Ok(())
    }

    async fn excerpt(&self, range: BlockRange) -> Result<Option<Excerpt>, StoreError> {
        let (chain, tables) = (self.station.chain.clone(), self.tables.clone());
        let scratch = self.scratch.clone();
        on_cpu(move || chain.excerpt(range, &tables, &scratch)).await
    }

    fn run_of(&self, date: i32, range: BlockRange, excerpt: &Excerpt) -> PartRun {
        let chain: &Chain = &self.station.chain;
        let file = |file: &headwater_storage::store::ExcerptFile| PartFile {
            table: file.part.table,
            name: below_the_lake(&file.part.path).to_owned(),
            place: file.place.clone(),
            rows: file.part.rows,
            bytes: file.part.file_bytes,
            crc32c: file.part.crc32c,
        };
        let is_partial = chain.with_state(|state| state.partial().missing(range) != [range]);
        if is_partial {
            let exporter = &self.station.name;
            tracing::warn!(exporter, %range, "retention took rows of a table before they went");
        }
        PartRun {
            chain: chain.name().clone(),
            chain_id: chain.chain_id(),
            date,
            range,
            parent_hash: excerpt.edges.parent_hash,
            first_hash: excerpt.edges.first_hash,
            last_hash: excerpt.edges.last_hash,
            is_partial,
            files: excerpt.files.iter().map(file).collect(),
        }
    }

    /// Where the rows of a block lie, or would lie; `None` when it is not sealed here.
    pub async fn explain(
        &self,
        number: u64,
    ) -> Result<Option<Vec<serde_json::Value>>, ExportError> {
        let part = self.station.chain.with_state(|s| s.part_of(Table::Blocks, number).cloned());
        let Some(part) = part else { return Ok(None) };
        let chain_id = self.station.chain.chain_id();
        let held = self.exporter.held(chain_id, part.date).await?;
        let run = held.runs.iter().find(|run| run.range.contains(number));
        let range = run.map_or(part.range, |run| run.range);
        let record = |table: &Table| {
            let name = PartName { table: *table, chain_id, date: part.date, range }.path();
            serde_json::json!({
                "table": table.name(),
                "file": self.exporter.place_of(below_the_lake(&name)),
                "first_block": range.first,
                "last_block": range.last,
                "is_held": run.is_some(),
            })
        };
        Ok(Some(self.tables.iter().map(record).collect()))
    }
}

/// A part's path in the lake: the same as on disk.
fn below_the_lake(path: &str) -> &str {
    path.strip_prefix("parts/").unwrap_or(path)
}
