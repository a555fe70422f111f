//! `memory`, in memory and in a file.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use headwater_exporters::Exporter;
use headwater_exporters::contract::{self, Harness, Holding, Seen};
use headwater_exporters::memory::{Memory, MemoryConfig, Received};

struct InMemory(Arc<Memory>);

fn seen(row: Received) -> Seen {
    Seen { table: row.table, event_id: row.event_id, key: row.key, op: row.op }
}

#[async_trait]
impl Harness for InMemory {
    async fn exporter(&mut self) -> Arc<dyn Exporter> {
        self.0.clone()
    }
    async fn holding(&mut self) -> Holding {
        Holding::Events(self.0.received().into_iter().map(seen).collect())
    }
}

struct InFile(PathBuf);

#[async_trait]
impl Harness for InFile {
    async fn exporter(&mut self) -> Arc<dyn Exporter> {
        let config = MemoryConfig { path: Some(self.0.clone()), ..MemoryConfig::default() };
        Arc::new(Memory::open("file", config).unwrap())
    }
    async fn holding(&mut self) -> Holding {
        let text = std::fs::read_to_string(&self.0).unwrap();
        let rows = text.lines().map(|line| seen(serde_json::from_str(line).unwrap()));
        Holding::Events(rows.collect())
    }
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    let memory = Memory::open("memory", MemoryConfig::default()).unwrap();
    let chain = "test".parse().unwrap();
    contract::run(&mut InMemory(Arc::new(memory)), &chain, 1).await.unwrap();
}

#[tokio::test]
async fn a_file_keeps_the_contract_and_drops_a_line_that_a_crash_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.ndjson");
    std::fs::write(&path, "{\"table\":\"blocks\",\"event").unwrap();
    let chain = "test".parse().unwrap();
    contract::run(&mut InFile(path), &chain, 2).await.unwrap();
}
