//! The exporter: a lake on a cluster.

use std::time::Duration;

use async_trait::async_trait;
use headwater_storage::model::BlockRange;

use crate::clock::unix_micros;
use crate::parts::{HeldDate, PartExporter, PartRun, SizeRule};
use crate::{BuildError, ExportError};

use super::client::Cluster;
use super::config::HdfsConfig;
use super::files::Files;
use super::folder::Folder;
use super::lake::{Lake, Manner};

/// How long the end of the process may take.
const RELEASE: Duration = Duration::from_secs(5);

/// A lake on HDFS.
pub struct Hdfs {
    url: String,
    size: SizeRule,
    lake: Lake,
}

impl Hdfs {
    /// A lake that connects when it is asked for something.
    pub fn open(name: &str, config: HdfsConfig) -> Result<Hdfs, BuildError> {
        if let Some(reason) = config.problem() {
            return Err(BuildError::Config { name: name.to_owned(), reason });
        }
        let random = getrandom::u64().map_err(|error| BuildError::Config {
            name: name.to_owned(),
            reason: format!("the machine gives no random numbers: {error}"),
        })?;
        let manner = Manner {
            sink: config.url.clone(),
            instance: format!("{name}-{random:016x}"),
            uploads: config.uploads,
            is_read_back: config.read_back,
            takeover: Duration::from_secs(config.takeover_secs),
        };
        let url = config.url.trim_end_matches('/').to_owned();
        let wait = Duration::from_secs(config.max_wait_secs);
        let size = SizeRule { target_bytes: config.target_bytes, wait };
        let files: Box<dyn Files> = match config.folder() {
            Some(base) => Box::new(Folder::new(&config.url, base)),
            None => Box::new(Cluster::new(config)),
        };
        Ok(Hdfs { url, size, lake: Lake::new(files, manner) })
    }
}

#[async_trait]
impl PartExporter for Hdfs {
    async fn missing(&self) -> Result<Vec<String>, ExportError> {
        self.lake.missing().await
    }

    async fn check(&self) -> Result<(), ExportError> {
        self.lake.check(u64::try_from(unix_micros() / 1000).unwrap_or(0)).await
    }

    async fn held(&self, chain_id: u64, date: i32) -> Result<HeldDate, ExportError> {
        self.lake.held(chain_id, date).await
    }

    async fn export(&self, run: &PartRun) -> Result<(), ExportError> {
        self.lake.export(run).await
    }

    async fn abandon(
        &self,
        chain_id: u64,
        date: i32,
        range: BlockRange,
    ) -> Result<(), ExportError> {
        self.lake.abandon(chain_id, date, range).await
    }

    fn size_rule(&self) -> SizeRule {
        self.size
    }

    fn place_of(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    async fn close(&self) {
        // A cluster that does not answer makes others wait as long as if this process had crashed.
        let released = tokio::time::timeout(RELEASE, self.lake.release()).await;
        tracing::debug!(?released, "let go of the lake");
        self.lake.files().close().await;
    }
}
