//! What is captured, what is missing, how the exporters stand.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use headwater_storage::ledger::{Descent, MissingProof, Quarantine};
use headwater_storage::model::{BlockRange, BlockRef};
use headwater_storage::store::Kept;
use serde::Serialize;
use serde_json::{Value, json};

use crate::audit::{Report, audit};
use crate::capture::{Hole, StatusView};
use crate::forward::ExportView;
use crate::keeper::SpaceView;
use crate::node::{BackfillView, ChainNode, HistoryView, Node};
use crate::rpc::EndpointStatus;

use super::error::ApiError;
use super::server::App;

/// Blocks that one request proves again at most.
const AUDIT_BLOCKS_MAX: u64 = 1_000;

/// How one chain stands.
#[derive(Clone, Debug, Serialize)]
pub struct ChainView {
    /// Name.
    pub name: String,
    /// EIP-155 id.
    pub chain_id: u64,
    /// Highest canonical block that is durable, followed live or fetched by a backfill.
    pub head: Option<BlockRef>,
    /// Highest final block.
    pub finalized: Option<BlockRef>,
    /// Ranges of canonical blocks that are durable.
    pub captured: Vec<BlockRange>,
    /// How many they are.
    pub captured_blocks: u64,
    /// How many of them are in parts.
    pub sealed_blocks: u64,
    /// What lies between the configured start, or the lowest block, and the head and is missing.
    pub gaps: Vec<BlockRange>,
    /// What of it no provider has, which is asked for again every ten minutes, or gives as it is,
    /// which is asked for again every minute.
    pub holes: Vec<Hole>,
    /// From where on nothing may be missing, and what of it is being filled.
    pub history: HistoryView,
    /// Backfills that were ordered since the node started.
    pub backfills: Vec<BackfillView>,
    /// Why history waits, if it does.
    pub history_problem: Option<String>,
    /// Last durable record.
    pub durable_lsn: u64,
    /// Last indexed record.
    pub indexed_lsn: u64,
    /// Lookups by hash and address: `ready`, `opening`, or `rebuilding, 43 %`.
    pub lookups: String,
    /// Last record that parts were made from.
    pub sealed_lsn: u64,
    /// Bytes of the log's files.
    pub wal_bytes: u64,
    /// Bytes of the parts.
    pub part_bytes: u64,
    /// Proofs that do not come out on this chain under the rules that this version knows.
    pub missing_proofs: Vec<MissingProof>,
    /// Damaged places that were found, and whether their blocks are back.
    pub damages: Vec<DamageView>,
    /// How capture stands.
    pub capture: StatusView,
    /// How the providers stand.
    pub providers: Vec<EndpointStatus>,
}

/// A damaged place.
#[derive(Clone, Debug, Serialize)]
pub struct DamageView {
    /// Where, what, and since when.
    #[serde(flatten)]
    pub place: Quarantine,
    /// Whether the blocks that it took are back.
    pub is_mended: bool,
}

/// Everything that `headwater status` prints.
#[derive(Clone, Debug, Serialize)]
pub struct StatusDocument {
    /// The program's version.
    pub version: &'static str,
    /// The data folder.
    pub data_dir: String,
    /// Starts of this node so far.
    pub epoch: u64,
    /// Where the folder comes from, when it did not begin empty.
    pub descent: Option<Descent>,
    /// How the disk stands.
    pub disk: SpaceView,
    /// What is kept in memory, and how much of it at most.
    pub memory: Vec<Kept>,
    /// The chains.
    pub chains: Vec<ChainView>,
    /// The exporters.
    pub exporters: Vec<ExportView>,
}

impl From<&ChainNode> for ChainView {
    fn from(node: &ChainNode) -> ChainView {
        let chain = &node.chain;
        let (head, finalized, captured, sealed_blocks, part_bytes) = chain.with_state(|state| {
            let bytes = state.parts().iter().map(|part| part.file_bytes).sum();
            let head = state.latest();
            (head, state.latest_final(), state.captured(), state.sealed().count(), bytes)
        });
        let damages = chain.damages().unwrap_or_default();
        let sealed_lsn = chain.sealed().borrow().0;
        ChainView {
            name: chain.name().to_string(),
            chain_id: chain.chain_id(),
            head,
            finalized,
            captured_blocks: captured.count(),
            captured: captured.iter().collect(),
            sealed_blocks,
            gaps: node.gaps(),
            holes: node.holes.list(),
            history: node.history_view(),
            backfills: node.orders.views(chain),
            history_problem: node.history.view().problem,
            durable_lsn: chain.log().durable().0,
            indexed_lsn: chain.index().map_or(0, |index| index.indexed().0),
            lookups: chain.lookups().to_string(),
            sealed_lsn,
            wal_bytes: chain.log().file_bytes(),
            part_bytes,
            missing_proofs: node.source.prover().proofs().missing,
            damages: damages
                .into_iter()
                .map(|(place, m)| DamageView { place, is_mended: m })
                .collect(),
            capture: node.status.view(),
            providers: node.source.pool().status(),
        }
    }
}

impl From<&Node> for StatusDocument {
    fn from(node: &Node) -> StatusDocument {
        StatusDocument {
            version: env!("CARGO_PKG_VERSION"),
            data_dir: node.data_dir.path().display().to_string(),
            epoch: node.data_dir.ledger().epoch().unwrap_or_default(),
            descent: node.data_dir.ledger().descent().unwrap_or_default(),
            disk: node.space_view(),
            memory: node.memory(),
            chains: node.chains.iter().map(ChainView::from).collect(),
            exporters: node.export_views(),
        }
    }
}

pub(super) fn find<'a>(app: &'a App, name: &str) -> Result<&'a ChainNode, ApiError> {
    app.node.chain(name).ok_or_else(|| ApiError::UnknownChain { name: name.to_owned() })
}

/// `GET /v1/status`.
pub(super) async fn status(State(app): State<App>) -> Result<Json<StatusDocument>, ApiError> {
    let node = app.node.clone();
    Ok(Json(app.bounds.read(move || StatusDocument::from(node.as_ref())).await?))
}

/// `GET /v1/chains`.
pub(super) async fn list(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let node = app.node.clone();
    let views = move || node.chains.iter().map(ChainView::from).collect::<Vec<_>>();
    let chains = app.bounds.read(views).await?;
    Ok(Json(json!({ "chains": chains })))
}

/// `GET /v1/chains/{chain}`.
pub(super) async fn one(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<ChainView>, ApiError> {
    find(&app, &name)?;
    let reading = app.clone();
    let view = app.bounds.read(move || find(&reading, &name).map(ChainView::from));
    Ok(Json(view.await??))
}

/// `GET /v1/chains/{chain}/gaps`.
pub(super) async fn gaps(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &name)?;
    let gaps = node.gaps();
    let missing = gaps.iter().map(BlockRange::len).fold(0, u64::saturating_add);
    Ok(Json(json!({ "gaps": gaps, "missing_blocks": missing, "holes": node.holes.list() })))
}

/// `?first=&last=`.
#[derive(serde::Deserialize)]
pub(super) struct Span {
    first: u64,
    last: u64,
}

/// `GET /v1/chains/{chain}/verify?first=&last=`: the blocks of a range are proved again.
pub(super) async fn verify(
    State(app): State<App>,
    Path(name): Path<String>,
    span: Result<Query<Span>, QueryRejection>,
) -> Result<Json<Report>, ApiError> {
    let Query(span) = span?;
    let node = find(&app, &name)?;
    let (chain, prover) = (node.chain.clone(), node.source.prover().clone());
    let head = chain.with_state(|state| state.latest().map(|block| block.number));
    let asked = BlockRange::new(span.first, span.last).ok_or_else(|| ApiError::Invalid {
        what: format!("{}..={} is no range of blocks", span.first, span.last),
        fix: "give first and last, the first not above the last",
    })?;
    // Above the head there is nothing to read.
    let present = head.and_then(|head| BlockRange::new(asked.first, asked.last.min(head)));
    if present.is_some_and(|range| range.last - range.first >= AUDIT_BLOCKS_MAX) {
        return Err(ApiError::Invalid {
            what: format!("{}..={} has more than 1000 blocks", asked.first, asked.last),
            fix: "ask again for what follows the first 1000",
        });
    }
    let shutdown = app.shutdown.clone();
    let mut report = Report::default();
    if let Some(range) = present {
        let read = app.bounds.read_while(move |is_wanted| {
            audit(&chain, &prover, range, &|| is_wanted() && !shutdown.is_requested())
        });
        report = read.await??;
    }
    // What is above the head is still to come, unless nothing else was asked for.
    if present.is_none() {
        report.missing.push(asked);
    }
    Ok(Json(report))
}
