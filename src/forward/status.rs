//! How an exporter stands, for `status`, the API and metrics.

use std::sync::{Mutex, PoisonError};

use headwater_storage::model::Lsn;

/// What an exporter does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportState {
    /// It has not connected yet.
    #[default]
    Starting,
    /// It sends, or waits for the log.
    Running,
    /// The sink is away: the same batch is tried again.
    Retrying,
    /// Somebody stopped it: `headwater exporters resume` lets it go on.
    Paused,
    /// Somebody must mend something; it looks again by itself.
    Blocked,
}

/// How one exporter stands on one chain.
#[derive(Default)]
pub struct ExportStatus {
    inner: Mutex<Inner>,
}

#[derive(Clone, Default)]
struct Inner {
    state: ExportState,
    reason: Option<String>,
    waits: Option<String>,
    exported: Lsn,
    repeats_after: Option<Lsn>,
    parked: u64,
    left_out: u64,
}

/// What the API shows.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ExportView {
    /// The exporter.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// The chain.
    pub chain: String,
    /// What it does.
    pub state: ExportState,
    /// Why it does not run.
    pub reason: Option<String>,
    /// What it holds back, why, and until when at the latest; it runs all the same.
    pub waits: Option<String>,
    /// The last record that the sink holds.
    pub exported_lsn: u64,
    /// Records that the sink does not hold yet; of a lake, blocks.
    pub lag: u64,
    /// Rows set aside.
    pub parked: u64,
    /// Records of this run whose rows damage or retention took before the exporter came to them.
    pub left_out: u64,
    /// In a folder that was restored, copied or repaired: what was exported behind this record may
    /// have come to the sink before, from another node or an earlier life of this one.
    pub repeats_after_lsn: Option<u64>,
}

impl ExportStatus {
    /// Sets what it does, and why.
    pub fn set(&self, state: ExportState, reason: Option<String>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (inner.state, inner.reason) = (state, reason);
    }

    /// Sets what is held back, and why.
    pub fn waits(&self, what: Option<String>) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).waits = what;
    }

    /// The sink holds more.
    pub fn exported(&self, lsn: Lsn) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).exported = lsn;
    }

    /// What is exported behind this record may come to the sink a second time.
    pub fn repeats_after(&self, lsn: Lsn) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).repeats_after = Some(lsn);
    }

    /// Records could not be given to the sink.
    pub fn left_out(&self, records: u64) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).left_out += records;
    }

    /// So many rows are set aside.
    pub fn parked(&self, rows: u64) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).parked = rows;
    }

    /// What the API shows.
    pub fn view(&self, name: &str, kind: &str, chain: &str, durable: Lsn) -> ExportView {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ExportView {
            name: name.to_owned(),
            kind: kind.to_owned(),
            chain: chain.to_owned(),
            state: inner.state,
            reason: inner.reason,
            waits: inner.waits,
            exported_lsn: inner.exported.0,
            lag: durable.0.saturating_sub(inner.exported.0),
            parked: inner.parked,
            left_out: inner.left_out,
            repeats_after_lsn: inner.repeats_after.map(|lsn| lsn.0),
        }
    }
}
