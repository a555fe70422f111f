//! Names of the metrics and the only functions that record them.
//!
//! Names are `headwater_<noun>_<unit>[_total]` in base units; labels come from closed sets.

use std::time::Duration;

use headwater_storage::model::ChainName;
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Highest block that a provider announced: gauge by chain.
pub const HEAD_BLOCK: &str = "headwater_provider_head_block";
/// Highest canonical block in the log: gauge by chain.
pub const DURABLE_BLOCK: &str = "headwater_durable_block";
/// Highest final block: gauge by chain.
pub const FINALIZED_BLOCK: &str = "headwater_finalized_block";
/// Last durable record: gauge by chain.
pub const DURABLE_LSN: &str = "headwater_durable_lsn";
/// Last indexed record: gauge by chain.
pub const INDEXED_LSN: &str = "headwater_indexed_lsn";
/// Last record that parts were made from: gauge by chain.
pub const SEALED_LSN: &str = "headwater_sealed_lsn";
/// Last record that a sink holds: gauge by exporter and chain.
pub const EXPORTED_LSN: &str = "headwater_exported_lsn";
/// Records that a sink does not hold yet: gauge by exporter and chain.
pub const EXPORT_LAG: &str = "headwater_export_lag_records";
/// Blocks that a lake does not hold yet: gauge by exporter and chain.
pub const EXPORT_LAG_BLOCKS: &str = "headwater_export_lag_blocks";
/// Records that an exporter could not be given, because damage or retention took their rows before
/// it came to them: by exporter and chain.
pub const EXPORT_LEFT_OUT: &str = "headwater_export_left_out_records_total";
/// Export attempts by exporter, chain and outcome.
pub const EXPORT_BATCHES: &str = "headwater_export_batches_total";
/// Calls by provider and method.
pub const RPC_REQUESTS: &str = "headwater_rpc_requests_total";
/// Failed requests by provider, method and cause.
pub const RPC_FAILURES: &str = "headwater_rpc_failures_total";
/// Seconds of an HTTP request to a provider.
pub const RPC_SECONDS: &str = "headwater_rpc_request_seconds";
/// Blocks that a second provider was asked for because the first took long, by chain.
pub const RPC_HEDGED: &str = "headwater_rpc_hedged_total";
/// Heads that were announced over WebSocket, by chain and provider.
pub const HEADS_ANNOUNCED: &str = "headwater_heads_announced_total";
/// Subscriptions to new heads that ended, by chain and provider.
pub const SUBSCRIPTIONS_ENDED: &str = "headwater_subscriptions_ended_total";
/// How often a provider had another block than ours at a height that we had, by chain.
pub const DISAGREEMENTS: &str = "headwater_provider_disagreements_total";
/// Units of a key's quota that were used in its window: gauge by key.
pub const KEY_USED: &str = "headwater_key_used_units";
/// Units of a key's quota that are left in its window: gauge by key.
pub const KEY_LEFT: &str = "headwater_key_left_units";
/// Seconds until a key's quota ends at the present rate, if it does before it resets.
pub const KEY_ENDS: &str = "headwater_key_ends_in_seconds";
/// Blocks that were refused, by chain and provider.
pub const BLOCKS_REFUSED: &str = "headwater_blocks_refused_total";
/// Heads that cannot be right, by provider and reason (`above`, `back`, `future`).
pub const HEADS_REFUSED: &str = "headwater_provider_heads_refused_total";
/// Fields that a provider gave wrong and that were put right, by provider and field.
pub const FIELDS_MENDED: &str = "headwater_fields_mended_total";
/// Kinds of proofs that do not come out on a chain: gauge by chain.
pub const PROOFS_MISSING: &str = "headwater_missing_proofs";
/// Whether blocks of a chain are newer than this program, 0 or 1: gauge by chain.
pub const NEWER_BLOCKS: &str = "headwater_newer_blocks";
/// Blocks taken back in reorgs, by chain.
pub const BLOCKS_REVERTED: &str = "headwater_blocks_reverted_total";
/// Seconds from a provider's answer to durable, by chain.
pub const CAPTURE_SECONDS: &str = "headwater_capture_seconds";
/// Seconds from the announcement of a head to durable, by chain.
pub const HEAD_SECONDS: &str = "headwater_head_seconds";
/// Bytes free on the data folder's disk.
pub const DISK_FREE: &str = "headwater_disk_free_bytes";
/// Seconds until the disk is full at the rate of the last hour.
pub const DISK_FULL: &str = "headwater_disk_full_in_seconds";
/// Blocks that are missing between start and head: gauge by chain.
pub const GAP_BLOCKS: &str = "headwater_gap_blocks";
/// Damaged places that were ever found: gauge by chain.
pub const DAMAGED_PLACES: &str = "headwater_damaged_places";
/// Bytes of a chain's log files.
pub const WAL_BYTES: &str = "headwater_wal_bytes";
/// Bytes of a chain's parts.
pub const PART_BYTES: &str = "headwater_part_bytes";

const SECONDS_BUCKETS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Starts recording; the handle renders what `/metrics` answers.
pub fn start() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)?
        .install_recorder()
}

pub(crate) fn rpc_request(provider: &str, method: &'static str) {
    counter!(RPC_REQUESTS, "provider" => provider.to_owned(), "method" => method).increment(1);
}

/// A provider named a head that cannot be right.
pub(crate) fn head_refused(provider: &str, reason: &'static str) {
    counter!(HEADS_REFUSED, "provider" => provider.to_owned(), "reason" => reason).increment(1);
}

pub(crate) fn rpc_failure(provider: &str, method: &'static str, cause: &'static str) {
    counter!(RPC_FAILURES, "provider" => provider.to_owned(), "method" => method, "cause" => cause)
        .increment(1);
}

pub(crate) fn rpc_seconds(provider: &str, taken: Duration) {
    histogram!(RPC_SECONDS, "provider" => provider.to_owned()).record(taken.as_secs_f64());
}

pub(crate) fn hedged(chain: &ChainName) {
    counter!(RPC_HEDGED, "chain" => chain.to_string()).increment(1);
}

pub(crate) fn announced(chain: &ChainName, provider: &str) {
    let (chain, provider) = (chain.to_string(), provider.to_owned());
    counter!(HEADS_ANNOUNCED, "chain" => chain, "provider" => provider).increment(1);
}

pub(crate) fn subscription_ended(chain: &ChainName, provider: &str) {
    let (chain, provider) = (chain.to_string(), provider.to_owned());
    counter!(SUBSCRIPTIONS_ENDED, "chain" => chain, "provider" => provider).increment(1);
}

pub(crate) fn disagreed(chain: &ChainName) {
    counter!(DISAGREEMENTS, "chain" => chain.to_string()).increment(1);
}

/// Sets a gauge of a key.
pub(crate) fn set_key(name: &'static str, key: &str, value: u64) {
    gauge!(name, "key" => key.to_owned()).set(value as f64);
}

pub(crate) fn mended(provider: &str, field: &'static str) {
    counter!(FIELDS_MENDED, "provider" => provider.to_owned(), "field" => field).increment(1);
}

pub(crate) fn refused(chain: &ChainName, provider: &str) {
    counter!(BLOCKS_REFUSED, "chain" => chain.to_string(), "provider" => provider.to_owned())
        .increment(1);
}

pub(crate) fn reverted(chain: &ChainName, blocks: usize) {
    counter!(BLOCKS_REVERTED, "chain" => chain.to_string()).increment(blocks as u64);
}

pub(crate) fn captured(chain: &ChainName, taken: Duration) {
    histogram!(CAPTURE_SECONDS, "chain" => chain.to_string()).record(taken.as_secs_f64());
}

pub(crate) fn head_durable(chain: &ChainName, taken: Duration) {
    histogram!(HEAD_SECONDS, "chain" => chain.to_string()).record(taken.as_secs_f64());
}

pub(crate) fn export_batch(exporter: &str, chain: &ChainName, outcome: &'static str) {
    let (exporter, chain) = (exporter.to_owned(), chain.to_string());
    counter!(EXPORT_BATCHES, "exporter" => exporter, "chain" => chain, "outcome" => outcome)
        .increment(1);
}

pub(crate) fn export_left_out(exporter: &str, chain: &ChainName, records: u64) {
    let (exporter, chain) = (exporter.to_owned(), chain.to_string());
    counter!(EXPORT_LEFT_OUT, "exporter" => exporter, "chain" => chain).increment(records);
}

/// Sets a gauge of a chain.
pub(crate) fn set_chain(name: &'static str, chain: &ChainName, value: u64) {
    gauge!(name, "chain" => chain.to_string()).set(value as f64);
}

/// Sets a gauge of an exporter on a chain.
pub(crate) fn set_export(name: &'static str, exporter: &str, chain: &ChainName, value: u64) {
    gauge!(name, "exporter" => exporter.to_owned(), "chain" => chain.to_string()).set(value as f64);
}

/// Sets a gauge of the process.
pub(crate) fn set(name: &'static str, value: u64) {
    gauge!(name).set(value as f64);
}
