//! A devnet in this process, and the real program as a child that is asked over HTTP.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use headwater::devnet::{DevNode, Devnet, DevnetConfig, Provider, mine};
use headwater::supervisor::Supervisor;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_mins(2);
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

/// The program, deaf to the environment of whoever runs the tests; `HEADWATER_BINARY` names
/// another one, such as a release.
pub(crate) fn program() -> Command {
    let built = || env!("CARGO_BIN_EXE_headwater").into();
    let mut command = Command::new(std::env::var_os("HEADWATER_BINARY").unwrap_or_else(built));
    command.env_remove("HEADWATER_LOG").stdin(Stdio::null());
    command
}

/// A URL where nobody listens.
pub(crate) fn nobody() -> String {
    let free = TcpListener::bind(SocketAddr::from((LOOPBACK, 0))).unwrap();
    format!("http://{}", free.local_addr().unwrap())
}

/// Asks again and again until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = headwater::clock::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A chain of our own, and a provider of it.
pub(crate) struct Chain {
    pub(crate) node: Arc<DevNode>,
    tasks: Vec<Supervisor>,
}

impl Chain {
    /// A chain that mines on request only.
    pub(crate) fn new(config: DevnetConfig) -> Chain {
        let config = DevnetConfig { block_time: Duration::ZERO, ..config };
        Chain { node: Arc::new(DevNode::new(config).unwrap()), tasks: Vec::new() }
    }

    /// A chain that mines by itself.
    pub(crate) fn ticking(config: DevnetConfig) -> Chain {
        let node = Arc::new(DevNode::new(config).unwrap());
        let mut tasks = Supervisor::default();
        tasks.spawn("clock", mine(node.clone(), tasks.shutdown()));
        Chain { node, tasks: vec![tasks] }
    }

    /// One more provider of this chain: its URL, and what sets its faults.
    pub(crate) async fn provider(&mut self) -> (String, Arc<Provider>) {
        self.provider_at(SocketAddr::from((LOOPBACK, 0))).await
    }

    /// The same, at an address.
    pub(crate) async fn provider_at(&mut self, listen: SocketAddr) -> (String, Arc<Provider>) {
        let devnet = Devnet::bind(self.node.clone(), listen).await.unwrap();
        let url = format!("http://{}", devnet.address());
        let provider = devnet.provider();
        let mut tasks = Supervisor::default();
        tasks.spawn("devnet", devnet.run(tasks.shutdown()));
        self.tasks.push(tasks);
        (url, provider)
    }

    /// All of its providers go away.
    pub(crate) fn unplug(&mut self) {
        self.tasks.clear();
    }

    pub(crate) fn hash(&self, number: u64) -> String {
        self.node.by_number(number).unwrap().hash.to_string()
    }
}

/// A configuration with one chain that is asked often and sealed in small parts.
pub(crate) fn config(folder: &Path, urls: &[String], exporters: &str) -> PathBuf {
    let mut text = format!(
        "data_dir = {:?}\n[http]\nlisten = \"127.0.0.1:0\"\n[[chain]]\nname = \"devnet\"\n\
         chain_id = 1337\nstart = 0\npoll_ms = 20\npart_blocks = 10\n",
        folder.join("data")
    );
    for (at, url) in urls.iter().enumerate() {
        write!(text, "[[chain.provider]]\nname = \"p{at}\"\nurl = \"{url}\"\ntimeout_secs = 2\n")
            .unwrap();
    }
    text += exporters;
    let path = folder.join("headwater.toml");
    fs::write(&path, text).unwrap();
    path
}

/// The same, where the providers announce new heads, and nobody asks for them in between.
pub(crate) fn announcing(folder: &Path, urls: &[String]) -> PathBuf {
    let path = config(folder, urls, "");
    let mut text = fs::read_to_string(&path).unwrap().replace("poll_ms = 20\n", "");
    for url in urls {
        let ws_url = url.replace("http://", "ws://");
        let plain = format!("url = \"{url}\"\n");
        text = text.replace(&plain, &format!("{plain}ws_url = \"{ws_url}\"\n"));
    }
    fs::write(&path, text).unwrap();
    path
}

/// A sink that is a file: what it got, in order.
pub(crate) fn file_sink(path: &Path) -> String {
    format!("[[exporter]]\nname = \"file\"\nkind = \"memory\"\npath = {path:?}\n")
}

/// The program as it runs.
pub(crate) struct Appliance {
    child: Child,
    log: PathBuf,
    pub(crate) url: String,
    client: reqwest::Client,
}

impl Appliance {
    /// `headwater run --config`, until it answers.
    pub(crate) async fn start(config: &Path) -> Appliance {
        Appliance::start_by(program(), config).await
    }

    /// The same, with variables of the environment.
    pub(crate) async fn start_with(config: &Path, environment: &[(&str, &str)]) -> Appliance {
        let mut command = program();
        command.envs(environment.iter().copied());
        Appliance::start_by(command, config).await
    }

    /// The same, after a command of the shell that limits it.
    pub(crate) async fn start_limited(config: &Path, limit: &str) -> Appliance {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{limit}; exec \"$0\" \"$@\"")).arg(program().get_program());
        command.env_remove("HEADWATER_LOG").stdin(Stdio::null());
        Appliance::start_by(command, config).await
    }

    async fn start_by(mut command: Command, config: &Path) -> Appliance {
        let folder = config.parent().unwrap();
        let address = folder.join("data/http.address");
        fs::remove_file(&address).ok();
        let log =
            fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
        command.arg("run").arg("--config").arg(config).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().unwrap();
        let url = until("the address", async || {
            let ended = child.try_wait().unwrap();
            let log = || fs::read_to_string(folder.join("log")).unwrap();
            assert!(ended.is_none(), "it ended with {ended:?}: {}", log());
            let text = fs::read_to_string(&address).ok()?;
            text.ends_with('\n').then(|| format!("http://{}", text.trim()))
        });
        let url = url.await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Appliance { child, log: folder.join("log"), url, client }
    }

    pub(crate) async fn text(&self, path: &str) -> (u16, String) {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.text(path).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    /// The status and body that a statement gets.
    pub(crate) async fn post_sql(&self, format: &str, statement: &str) -> (u16, Vec<u8>) {
        let request = self.client.post(format!("{}/v1/sql?format={format}", self.url));
        let response = request.body(statement.to_owned()).send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
    }

    /// The rows of a statement.
    pub(crate) async fn sql(&self, statement: &str) -> Vec<Value> {
        let (status, body) = self.post_sql("ndjson", statement).await;
        let text = String::from_utf8(body).unwrap();
        assert_eq!(status, 200, "{statement}: {text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until the head of the chain is durable here.
    pub(crate) async fn follows(&self, chain: &Chain) {
        let what = "the head";
        until(what, async || {
            let (_, view) = self.get("/v1/chains/devnet").await;
            let hash = view["head"]["hash"].as_str()?;
            (hash == chain.hash(chain.node.head())).then_some(())
        })
        .await;
    }

    /// Waits until a number is durable here.
    pub(crate) async fn reaches(&self, number: u64) {
        until("a block", async || {
            let (_, view) = self.get("/v1/chains/devnet").await;
            (view["head"]["number"].as_u64()? >= number).then_some(())
        })
        .await;
    }

    /// Waits until every exporter has passed everything that is durable.
    pub(crate) async fn exported(&self) {
        until("the exporters", async || {
            let (_, view) = self.get("/v1/exporters").await;
            let list = view["exporters"].as_array().unwrap();
            list.iter().all(|exporter| exporter["lag"] == 0).then_some(())
        })
        .await;
    }

    /// The chain in SQL is the node's: every number once, with its hash, its rows and its parent.
    pub(crate) async fn has_the_chain(&self, chain: &Chain) {
        let rows = self
            .sql(
                "select block_number as number, to_hex0x(block_hash) as hash, transaction_count, \
                 (select count(*) from transactions t where t.block_number = b.block_number) as t, \
                 (select count(*) from logs l where l.block_number = b.block_number) as l \
                 from blocks b order by block_number",
            )
            .await;
        assert_eq!(rows.len() as u64, chain.node.head() + 1, "every number is there once");
        for (number, row) in rows.iter().enumerate() {
            let built = chain.node.by_number(number as u64).unwrap();
            let logs = |receipt: &Value| receipt["logs"].as_array().unwrap().len();
            let logs: usize = built.receipts.iter().map(logs).sum();
            assert_eq!(row["number"], number, "in order");
            assert_eq!(row["hash"], built.hash.to_string(), "block {number}");
            assert_eq!(row["t"], built.transactions.len(), "transactions of block {number}");
            assert_eq!(row["l"], logs, "logs of block {number}");
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends by itself: what it ends with.
    pub(crate) async fn ends(mut self) -> ExitStatus {
        until("its end", async || self.child.try_wait().unwrap()).await
    }

    /// SIGTERM, and what it ends with.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").arg("-c").arg(kill).status().unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "the end of its log:\n{}",
                lines[lines.len().saturating_sub(40)..].join("\n")
            );
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The chain as a sink has it that applies and takes back what it is told: number to hash.
/// Rows that come twice have the same identity; a row is never applied over another.
pub(crate) fn fold(path: &Path) -> BTreeMap<u64, String> {
    let mut seen = BTreeMap::new();
    let mut chain = BTreeMap::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let id = row["event_id"].as_str().unwrap().to_owned();
        if let Some(before) = seen.insert(id, row.clone()) {
            assert_eq!(before, row, "a retry is identical (INV-7)");
            continue;
        }
        if row["table"] != "blocks" {
            continue;
        }
        let number = row["row"]["block_number"].as_u64().unwrap();
        let hash = row["row"]["block_hash"].as_str().unwrap().to_owned();
        match row["op"].as_str().unwrap() {
            "applied" => assert_eq!(chain.insert(number, hash), None, "{number} was there"),
            "reverted" => assert_eq!(chain.remove(&number), Some(hash), "{number} was another"),
            op => panic!("blocks are not {op}"),
        }
    }
    chain
}

/// The chain as the node has it.
pub(crate) fn canonical(chain: &Chain) -> BTreeMap<u64, String> {
    (0..=chain.node.head()).map(|number| (number, chain.hash(number))).collect()
}
