//! Providers as they are: the adversary's kit beside the recorded data, one scripted provider a
//! case, against the real program. It needs python3 with pycryptodome; where the kit or one of
//! these is missing, the run says so.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;

use crate::data;
use crate::harness::program;

/// Cases at a time: each is a provider and a node that mostly wait.
const AT_A_TIME: usize = 10;
/// How long a case may take until what is due is seen.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is right for a case.
enum Right {
    /// Blocks up to a number are stored with all proofs, and nothing was refused.
    Proved(u64),
    /// The same, where blocks of a step lack proofs: `header`, `transactions`, `receipts`.
    Lacks { up_to: u64, step: u64, proofs: &'static [&'static str] },
    /// The chain does not pass this block; `problem` and log name the words.
    Refused { below: u64, words: &'static [&'static str] },
    /// The program ends with a code that is not 0, and these words.
    Ends { words: &'static [&'static str] },
    /// A backfill of 400 blocks is whole, exit code 0.
    Backfill,
    /// Good blocks are kept, and below this many calls a second are made after ten seconds.
    Calls(f64),
}

use Right::{Backfill, Calls, Ends, Lacks, Proved, Refused};

const CASES: &[(&str, &str, Right)] = &[
    ("ok", "25", Proved(34)),
    ("polygon7f", "25", Lacks { up_to: 36, step: 16, proofs: &["transactions"] }),
    ("celo_cip64", "25", Proved(34)),
    ("avalanche", "25", Proved(34)),
    ("amsterdam", "25", Proved(38)),
    ("prebyz_status", "25", Lacks { up_to: 34, step: 1, proofs: &["receipts"] }),
    ("mainnet_reth", "1000000", Lacks { up_to: 1_000_005, step: 1, proofs: &["receipts"] }),
    ("nanoseconds", "25", Proved(34)),
    ("milliseconds", "25", Proved(34)),
    ("finalized_latest", "25", Refused { below: 40, words: &["confirmations"] }),
    ("big_numbers", "25", Proved(34)),
    ("missing_last", "25", Proved(36)),
    ("broken_method", "25", Proved(36)),
    ("hash_only", "25", Proved(34)),
    ("null_elements", "25", Proved(36)),
    ("batch_too_large", "25", Proved(36)),
    ("late_null", "25", Proved(33)),
    ("late_empty", "25", Proved(33)),
    ("late_error", "25", Proved(33)),
    ("late_code3", "25", Proved(33)),
    ("stuck_block", "25", Calls(4.0)),
    ("log_index", "25", Proved(34)),
    ("wrong_derived", "25", Proved(34)),
    ("zero_block_timestamp", "25", Proved(34)),
    ("to_zero", "25", Proved(34)),
    ("to_empty", "25", Proved(34)),
    ("to_missing", "25", Proved(34)),
    ("header_nulls", "25", Proved(34)),
    ("tx_nulls", "25", Proved(34)),
    // The list is refused; single receipts are right.
    ("other_block_hash", "26", Proved(34)),
    ("forged_sync", "25", Refused { below: 28, words: &["transaction 3"] }),
    ("downgrade_receipts", "25", Refused { below: 25, words: &["the receipts root"] }),
    ("string_id", "25", Proved(34)),
    ("string_id_batch", "25", Proved(34)),
    ("bare_code", "25", Proved(31)),
    ("bare_code_window", "0:400", Backfill),
    ("not_available_window", "0:400", Backfill),
    ("bare_code_always", "", Ends { words: &["20/second request limit reached"] }),
    ("error_string", "", Ends { words: &["Too many requests, please try again later"] }),
    ("error_code_string", "", Ends { words: &["rate limit exceeded"] }),
    ("kong", "", Ends { words: &["404", "no Route matched with those values"] }),
    ("plain404", "", Ends { words: &["404", "404 page not found"] }),
    ("html200", "", Ends { words: &["Just a moment"] }),
    ("empty200", "", Ends { words: &["empty"] }),
    (
        "no_full_blocks",
        "25",
        Refused { below: 25, words: &["full block requests are not supported"] },
    ),
    ("deflate", "25", Proved(34)),
    ("gzip_always", "25", Proved(34)),
    ("redirect301", "", Ends { words: &["redirect"] }),
    ("redirect308", "", Ends { words: &["redirect"] }),
    ("flapping", "35", Proved(46)),
    ("flap_random", "35", Proved(46)),
];

/// The kit, where it and what it needs are there.
fn kit() -> Option<PathBuf> {
    let folder = data::chain_data()?.join("../cases");
    let has_python = Command::new("python3")
        .args(["-c", "import Crypto.Hash.keccak"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if folder.join("fake.py").is_file() && has_python {
        return Some(folder);
    }
    let what = "SKIPPED: the kit of scripted providers, python3 or pycryptodome is missing";
    writeln!(std::io::stderr(), "{what}").ok();
    None
}

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// One case: its provider, its folder.
struct Case {
    name: &'static str,
    url: String,
    calls: PathBuf,
    folder: tempfile::TempDir,
    _provider: Running,
}

impl Case {
    async fn start(kit: &Path, name: &'static str) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let calls = folder.path().join("calls.log");
        let mut command = Command::new("python3");
        command.arg(kit.join("fake.py")).arg(name).arg(port.to_string()).arg(&calls);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let provider = Running(command.spawn().unwrap());
        // The case's clock runs from its start: it must listen first.
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let url = format!("http://127.0.0.1:{port}");
        Case { name, url, calls, folder, _provider: provider }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// `headwater` with these arguments, its words in `log`.
    fn spawn(&self, arguments: &[&str]) -> Running {
        let log = self.folder.path().join("log");
        let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = program();
        command.args(arguments).arg("--data-dir").arg(self.folder.path().join("d"));
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Running(command.spawn().unwrap())
    }

    fn run(&self, start: &str) -> Running {
        let start: &[&str] = if start.is_empty() { &[] } else { &["--start", start] };
        let mut arguments = vec!["run", "--rpc", &self.url, "--listen", "127.0.0.1:0"];
        arguments.extend(start);
        self.spawn(&arguments)
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let address = fs::read_to_string(self.folder.path().join("d/http.address")).ok()?;
        let url = format!("http://{}{path}", address.trim());
        serde_json::from_str(&reqwest::get(url).await.ok()?.text().await.ok()?).ok()
    }

    async fn chain(&self) -> Option<Value> {
        self.get("/v1/status").await?["chains"].get(0).cloned()
    }

    async fn head(&self) -> Option<u64> {
        self.chain().await?["head"]["number"].as_u64()
    }

    /// Waits until the head is there; what stands in the way otherwise.
    async fn reaches(&self, number: u64) -> Result<(), String> {
        let started = headwater::clock::now();
        loop {
            if self.head().await.is_some_and(|head| head >= number) {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                let chain = self.chain().await.unwrap_or_default();
                let (head, problem) = (&chain["head"]["number"], &chain["capture"]["problem"]);
                return Err(format!("head {head}, not {number}: {problem}\n{}", self.log()));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Each block from the start on has its proofs; those of a step lack some.
    async fn is_proved(
        &self,
        start: u64,
        lacks: &(dyn Fn(u64) -> &'static [&'static str] + Sync),
    ) -> Result<(), String> {
        let head = self.head().await.unwrap_or_default();
        let chain = self.chain().await.ok_or("no chain")?;
        let name = chain["name"].as_str().unwrap_or_default().to_owned();
        for number in start..=head {
            let path = format!("/v1/chains/{name}/blocks/{number}");
            let view = self.get(&path).await.ok_or("no block")?;
            let marks = view["verified"].to_string();
            for proof in ["header", "transactions", "receipts"] {
                let is_due = !lacks(number).contains(&proof);
                if marks.contains(proof) != is_due {
                    return Err(format!("block {number} has {marks}, {proof} due: {is_due}"));
                }
            }
        }
        let report = self.get(&format!("/v1/chains/{name}/verify?first={start}&last={head}")).await;
        let report = report.ok_or("no report")?;
        if report["wrong"].as_array().is_none_or(|wrong| !wrong.is_empty()) {
            return Err(format!("verify: {report}"));
        }
        Ok(())
    }

    async fn try_right(&self, start: &str, right: &Right) -> Result<(), String> {
        let first: u64 = start.parse().unwrap_or_default();
        match right {
            Proved(number) => {
                let _node = self.run(start);
                self.reaches(*number).await?;
                self.is_proved(first, &|_| &[]).await?;
                self.right_values(first).await?;
                let chain = self.chain().await.unwrap_or_default();
                let missing = &chain["missing_proofs"];
                if missing.as_array().is_none_or(|missing| !missing.is_empty()) {
                    return Err(format!("not everything can be proved: {missing}"));
                }
                Ok(())
            }
            Lacks { up_to, step, proofs } => {
                let _node = self.run(start);
                self.reaches(*up_to).await?;
                self.is_proved(first, &|number| if number % step == 0 { proofs } else { &[] }).await
            }
            Refused { below, words } => {
                let _node = self.run(start);
                self.is_refused(*below, words).await
            }
            Ends { words } => self.ends(words).await,
            Backfill => self.backfills(start).await,
            Calls(most) => {
                let _node = self.run(start);
                tokio::time::sleep(Duration::from_secs(25)).await;
                let calls = self.calls_per_second(Duration::from_secs(12));
                let chain = self.chain().await.unwrap_or_default();
                let head = chain["head"]["number"].as_u64().unwrap_or_default();
                let problem = chain["capture"]["problem"].to_string();
                if calls > *most || head != 26 || !problem.contains("27") {
                    return Err(format!("{calls} calls a second, head {head}, {problem}"));
                }
                Ok(())
            }
        }
    }

    async fn is_refused(&self, below: u64, words: &[&str]) -> Result<(), String> {
        let started = headwater::clock::now();
        loop {
            let chain = self.chain().await.unwrap_or_default();
            if let Some(head) = chain["head"]["number"].as_u64().filter(|head| *head >= below) {
                return Err(format!("block {head} was taken"));
            }
            let text = format!("{}{}", chain["capture"]["problem"], self.log());
            let is_said = words.iter().any(|word| text.contains(word));
            if is_said && started.elapsed() > Duration::from_secs(12) {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("nothing of {words:?} in {text}"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// `check`, and a backfill, which both give up, in the provider's words.
    async fn ends(&self, words: &[&str]) -> Result<(), String> {
        let config = self.folder.path().join("c.toml");
        let text = format!(
            "data_dir = {:?}\n[[chain]]\nname = \"x\"\nchain_id = 7777\n[[chain.provider]]\n\
             name = \"p\"\nurl = {:?}\n",
            self.folder.path().join("e"),
            self.url
        );
        fs::write(&config, text).unwrap();
        let config = config.to_str().unwrap();
        let commands: [&[&str]; 2] = [
            &["check", "--config", config],
            &["backfill", "--rpc", &self.url, "0:2", "--data-dir", "f"],
        ];
        for command in commands {
            let mut program = program();
            program.args(command).current_dir(self.folder.path());
            program.stdout(Stdio::piped()).stderr(Stdio::piped());
            let output = tokio::task::spawn_blocking(move || program.output().unwrap());
            let output = output.await.unwrap();
            let text =
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            let is_failure = output.status.code().is_some_and(|code| code != 0);
            let is_said = words.iter().all(|word| text.contains(word));
            let wrong = ["no provider has quota left", "chain id 0"];
            if !is_failure || !is_said || wrong.iter().any(|wrong| text.contains(wrong)) {
                return Err(format!("{command:?}: {:?}: {text}", output.status));
            }
        }
        Ok(())
    }

    async fn backfills(&self, range: &str) -> Result<(), String> {
        let mut node = self.spawn(&["backfill", "--rpc", &self.url, range]);
        let code = loop {
            if let Some(status) = node.0.try_wait().unwrap() {
                break status.code();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let data = self.folder.path().join("d");
        let mut sql = program();
        sql.args(["sql", "--format", "csv", "select count(*) as n from blocks", "--data-dir"]);
        let output = sql.arg(&data).output().unwrap();
        let count = String::from_utf8_lossy(&output.stdout).into_owned();
        if code != Some(0) || !count.contains("400") {
            return Err(format!("exit code {code:?}, {count}\n{}", self.log()));
        }
        Ok(())
    }

    /// Calls a second in the last seconds, by the provider's own log.
    fn calls_per_second(&self, last: Duration) -> f64 {
        let text = fs::read_to_string(&self.calls).unwrap();
        let times = text.lines().filter_map(|line| line.split(' ').next()?.parse::<f64>().ok());
        let times: Vec<f64> = times.collect();
        let until = headwater::clock::unix_micros() as f64 / 1e6;
        let count = times.iter().filter(|at| **at > until - last.as_secs_f64()).count();
        count as f64 / last.as_secs_f64()
    }

    /// What follows from proved data is right, whatever the provider said.
    async fn right_values(&self, start: u64) -> Result<(), String> {
        let chain = self.chain().await.ok_or("no chain")?;
        let name = chain["name"].as_str().unwrap_or_default().to_owned();
        let path = format!("/v1/chains/{name}/blocks/{}?receipts=true", start + 2);
        let view = self.get(&path).await.ok_or("no block")?;
        let receipts = view["receipts"].as_array().ok_or("no receipts")?;
        let hex = |value: &Value| {
            let text = value.as_str().unwrap_or_default();
            u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_default()
        };
        let (mut before, mut count) = (0, 0);
        for receipt in receipts {
            let total = hex(&receipt["cumulativeGasUsed"]);
            if hex(&receipt["gasUsed"]) != total - before {
                return Err(format!("gasUsed of {receipt}"));
            }
            before = total;
            for log in receipt["logs"].as_array().into_iter().flatten() {
                if hex(&log["logIndex"]) != count {
                    return Err(format!("logIndex of {log}"));
                }
                count += 1;
            }
        }
        let seconds = chain["capture"]["seconds_since_answer"].as_u64();
        if seconds.is_none_or(|seconds| seconds > 10) {
            return Err(format!("{}: the head was looked at {seconds:?} s ago", self.name));
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_provider_of_the_kit_ends_as_is_right() {
    let Some(kit) = kit() else { return };
    let only = std::env::var("HEADWATER_CASES").unwrap_or_default();
    let names: Vec<&str> = only.split(',').filter(|name| !name.is_empty()).collect();
    let wanted = CASES.iter().filter(|(name, ..)| names.is_empty() || names.contains(name));
    let count = wanted.clone().count();
    let tried = futures::stream::iter(wanted).map(async |(name, start, right)| {
        let case = Case::start(&kit, name).await;
        let result = case.try_right(start, right).await;
        result.map_err(|error| format!("{name}: {error}"))
    });
    let results: Vec<Result<(), String>> = tried.buffer_unordered(AT_A_TIME).collect().await;
    let failures: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    let shown: Vec<&str> = failures.iter().map(|text| text.get(..1_500).unwrap_or(text)).collect();
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), shown.join("\n\n"));
    writeln!(std::io::stderr(), "{count} providers of the kit end as is right").ok();
}
