//! The files of a cluster. The driver waits without limit, keeps asking a `NameNode` that hangs,
//! and may call a cut file closed: here every call has its time, a write that failed is never
//! closed, and a client that got no answer is replaced.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt;
use hdfs_native::client::{FileStatus, IORuntime};
use hdfs_native::file::FileWriter;
use hdfs_native::{Client, ClientBuilder, HdfsError, WriteOptions};
use tokio::io::AsyncReadExt;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use crate::ExportError;

use super::config::HdfsConfig;
use super::failure::{failure, in_the_way, is_missing};
use super::files::{Body, Entry, Files, Renamed};

const CHUNK: usize = 1 << 20;
/// The least that clusters take as a block.
const BLOCK_LEAST: u64 = 1 << 20;
/// A file up to this size is one block.
const BLOCK_MOST: u64 = 2 << 30;
const LEASE_LOOKS: u32 = 3;
const LEASE_PAUSE: Duration = Duration::from_millis(500);
/// Manifests are small.
const READ_MOST: usize = 64 << 20;

/// The files below the lake's folder.
pub(super) struct Cluster {
    config: HdfsConfig,
    base: String,
    timeout: Duration,
    connection: Mutex<Option<Connection>>,
    /// Somebody got no answer: the next call uses another connection.
    is_stuck: AtomicBool,
}

/// A client and what it runs on: the driver leaves tasks behind, which end with the runtime.
struct Connection {
    client: Client,
    runtime: Option<Runtime>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Cluster {
    pub(super) fn new(config: HdfsConfig) -> Cluster {
        let path = config.parts().map_or("", |(_, path)| path);
        Cluster {
            base: path.trim_end_matches('/').to_owned(),
            timeout: Duration::from_secs(config.call_timeout_secs),
            connection: Mutex::default(),
            is_stuck: AtomicBool::new(false),
            config,
        }
    }

    fn path(&self, path: &str) -> String {
        if path.is_empty() { self.base.clone() } else { format!("{}/{path}", self.base) }
    }

    fn failed(&self, what: &str, error: &HdfsError) -> ExportError {
        failure(&self.config.url, what, error)
    }

    /// Connects by the first call that is made with it.
    fn connect(&self) -> Result<Connection, HdfsError> {
        let config = &self.config;
        let (host, _) = config.parts().unwrap_or_default();
        // Of one NameNode the runner asks again; of two the other one is asked at once.
        let attempts = if config.is_name_service() { "4" } else { "0" };
        let mut settings = vec![
            ("dfs.client.failover.max.attempts".to_owned(), attempts.to_owned()),
            ("dfs.client.failover.sleep.base.millis".to_owned(), "100".to_owned()),
            ("dfs.client.failover.sleep.max.millis".to_owned(), "1000".to_owned()),
        ];
        if self.is_stuck.load(Ordering::Acquire) {
            // A NameNode that hangs is first in the list again and again, unless it is shuffled.
            settings.push((format!("dfs.client.failover.random.order.{host}"), "true".to_owned()));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("hdfs")
            .enable_all()
            .build()?;
        let mut builder = ClientBuilder::new()
            .with_url(format!("hdfs://{host}"))
            .with_config(settings)
            .with_io_runtime(IORuntime::from(runtime.handle().clone()));
        if let Some(folder) = &config.conf_dir {
            builder = builder.with_config_dir(folder.to_string_lossy());
        }
        if let Some(user) = &config.user {
            builder = builder.with_user(user);
        }
        if let (Some(principal), Some(keytab)) = (&config.principal, &config.keytab) {
            builder = builder.with_kerberos_principal(principal);
            builder = builder.with_kerberos_keytab(keytab.to_string_lossy());
        }
        let client = builder.build();
        let connection = client.map(|client| (client, runtime));
        connection.map(|(client, runtime)| Connection { client, runtime: Some(runtime) })
    }

    async fn client(&self) -> Result<Client, ExportError> {
        let mut connection = self.connection.lock().await;
        if connection.is_none() || (self.is_stuck.load(Ordering::Acquire) && self.has_choice()) {
            let made = self.connect().map_err(|error| self.failed("connect", &error))?;
            self.is_stuck.store(false, Ordering::Release);
            *connection = Some(made);
        }
        match connection.as_ref() {
            Some(connection) => Ok(connection.client.clone()),
            None => Err(ExportError::Unavailable {
                sink: self.config.url.clone(),
                reason: "not connected".to_owned(),
            }),
        }
    }

    /// Whether another connection can reach another `NameNode`.
    fn has_choice(&self) -> bool {
        self.config.is_name_service()
    }

    /// A call with its time; the driver's own words when it failed.
    async fn within<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, HdfsError>>,
    ) -> Result<Result<T, HdfsError>, ExportError> {
        tokio::time::timeout(self.timeout, call).await.map_err(|_elapsed| {
            self.is_stuck.store(true, Ordering::Release);
            ExportError::Unavailable {
                sink: self.config.url.clone(),
                reason: format!("{what}: no answer in {} s", self.timeout.as_secs()),
            }
        })
    }

    async fn call<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, HdfsError>>,
    ) -> Result<T, ExportError> {
        self.within(what, call).await?.map_err(|error| self.failed(what, &error))
    }

    async fn write(&self, path: &str, body: Body) -> Result<(u64, u32), ExportError> {
        let client = self.client().await?;
        let what = format!("write {path}");
        let local = |error: std::io::Error| ExportError::Unavailable {
            sink: self.config.url.clone(),
            reason: format!("{what}: the local file cannot be read: {error}"),
        };
        let (mut source, length) = match body {
            Body::Bytes(bytes) => (Source::Bytes(bytes), None),
            Body::File(place) => {
                let file = tokio::fs::File::open(&place).await.map_err(local)?;
                let length = file.metadata().await.map_err(local)?.len();
                (Source::File(file), Some(length))
            }
        };
        let length = length.unwrap_or_else(|| source.bytes_left());
        let mut writer = self.create(&client, path, length).await?;
        let (mut bytes, mut crc32c) = (0, 0);
        loop {
            let chunk = source.next().await.map_err(local)?;
            if chunk.is_empty() {
                break;
            }
            bytes += chunk.len() as u64;
            crc32c = crc32c::crc32c_append(crc32c, &chunk);
            self.call(&what, Box::pin(writer.write_bytes(chunk.into()))).await?;
        }
        self.call(&what, Box::pin(writer.close())).await?;
        Ok((bytes, crc32c))
    }

    /// One block per file: then a file is whole or not there, and a block is asked for once.
    async fn create(
        &self,
        client: &Client,
        path: &str,
        length: u64,
    ) -> Result<FileWriter, ExportError> {
        let what = format!("create {path}");
        let mut options = WriteOptions::default().overwrite(true);
        options.replication = self.config.replication;
        let mut one_block = options.clone();
        if length <= BLOCK_MOST {
            one_block = one_block.block_size(length.next_multiple_of(512).max(BLOCK_LEAST));
        }
        match self.within(&what, Box::pin(client.create(path, one_block))).await? {
            Ok(writer) => Ok(writer),
            // Then a block is as large as the cluster says.
            Err(HdfsError::RPCError(_, text)) if text.contains("configured minimum value") => {
                self.call(&what, Box::pin(client.create(path, options))).await
            }
            Err(error) => Err(self.failed(&what, &error)),
        }
    }

    /// Ends what a failed write left open, so that its `DataNodes` let it go.
    async fn clear(&self, path: &str) {
        let Ok(client) = self.client().await else { return };
        for _ in 0..LEASE_LOOKS {
            // Whatever fails here comes again: the next write replaces the file.
            let ended = self.within("recover", client.recover_lease(path)).await;
            if !matches!(ended, Ok(Ok(false))) {
                break;
            }
            tokio::time::sleep(LEASE_PAUSE).await;
        }
        let _removed = self.within("remove", client.delete(path, false)).await;
    }
}

/// Where bytes come from.
enum Source {
    Bytes(Vec<u8>),
    File(tokio::fs::File),
}

impl Source {
    fn bytes_left(&self) -> u64 {
        match self {
            Source::Bytes(bytes) => bytes.len() as u64,
            Source::File(_) => 0,
        }
    }

    /// The next bytes; none at the end.
    async fn next(&mut self) -> std::io::Result<Vec<u8>> {
        match self {
            Source::Bytes(bytes) => Ok(std::mem::take(bytes)),
            Source::File(file) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                file.take(CHUNK as u64).read_to_end(&mut chunk).await?;
                Ok(chunk)
            }
        }
    }
}

fn entry(status: &FileStatus) -> Entry {
    let name = status.path.rsplit('/').next().unwrap_or_default().to_owned();
    Entry {
        name,
        bytes: status.length as u64,
        is_folder: status.isdir,
        changed_ms: status.modification_time,
    }
}

#[async_trait]
impl Files for Cluster {
    async fn list(&self, folder: &str) -> Result<Vec<Entry>, ExportError> {
        let (client, path) = (self.client().await?, self.path(folder));
        let what = format!("list {path}");
        match self.within(&what, client.list_status(&path, false)).await? {
            Ok(found) => Ok(found.iter().map(entry).collect()),
            Err(error) if is_missing(&error) => Ok(Vec::new()),
            Err(error) => Err(self.failed(&what, &error)),
        }
    }

    async fn look(&self, path: &str) -> Result<Option<Entry>, ExportError> {
        let (client, path) = (self.client().await?, self.path(path));
        let what = format!("look at {path}");
        match self.within(&what, client.get_file_info(&path)).await? {
            Ok(status) => Ok(Some(entry(&status))),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.failed(&what, &error)),
        }
    }

    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ExportError> {
        let (client, path) = (self.client().await?, self.path(path));
        let what = format!("read {path}");
        let reader = match self.within(&what, client.read(&path)).await? {
            Ok(reader) => reader,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(self.failed(&what, &error)),
        };
        let length = reader.file_length().min(READ_MOST);
        let bytes = self.call(&what, reader.read_range(0, length)).await?;
        Ok(Some(bytes.to_vec()))
    }

    async fn checksum(&self, path: &str) -> Result<(u64, u32), ExportError> {
        let (client, path) = (self.client().await?, self.path(path));
        let what = format!("read {path}");
        let reader = self.call(&what, client.read(&path)).await?;
        // Pieces that are asked for one by one would open their block anew each time.
        let mut pieces = std::pin::pin!(reader.read_range_stream(0, reader.file_length()));
        let (mut bytes, mut crc32c) = (0, 0);
        while let Some(chunk) = self.call(&what, pieces.try_next()).await? {
            bytes += chunk.len() as u64;
            crc32c = crc32c::crc32c_append(crc32c, &chunk);
        }
        Ok((bytes, crc32c))
    }

    async fn put(&self, path: &str, body: Body) -> Result<(u64, u32), ExportError> {
        let path = self.path(path);
        let written = self.write(&path, body).await;
        if written.is_err() {
            self.clear(&path).await;
        }
        written
    }

    async fn rename(&self, from: &str, to: &str) -> Result<Renamed, ExportError> {
        let (client, from, to) = (self.client().await?, self.path(from), self.path(to));
        let what = format!("rename {from} to {to}");
        match self.within(&what, client.rename(&from, &to, false)).await? {
            Ok(()) => Ok(Renamed::Done),
            Err(HdfsError::AlreadyExists(_)) => Ok(Renamed::IsThere),
            Err(error) => Err(self.failed(&what, &error)),
        }
    }

    async fn remove(&self, path: &str) -> Result<(), ExportError> {
        let (client, path) = (self.client().await?, self.path(path));
        self.call(&format!("remove {path}"), client.delete(&path, true)).await.map(|_| ())
    }

    async fn folder(&self, path: &str) -> Result<(), ExportError> {
        let (client, path) = (self.client().await?, self.path(path));
        let what = format!("make {path}");
        match self.within(&what, client.mkdirs(&path, 0o755, true)).await? {
            Err(HdfsError::AlreadyExists(_)) => Err(in_the_way(&self.config.url, &path)),
            made => made.map_err(|error| self.failed(&what, &error)),
        }
    }

    async fn close(&self) {
        self.connection.lock().await.take();
    }
}
