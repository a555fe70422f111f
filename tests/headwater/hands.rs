//! What others do with the data folder: who may read it, and what is gone by hand.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use headwater::devnet::DevnetConfig;

use crate::harness::{Appliance, Chain, config, program};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Folders and files below a folder, as far as they are ours and not an engine's.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().unwrap() != "index" {
            walk(&path, found);
        }
        found.push(path);
    }
}

fn small() -> DevnetConfig {
    DevnetConfig { transactions: 5, finality: 8, ..DevnetConfig::default() }
}

/// A configuration whose log has many small files.
fn in_small_files(folder: &Path, urls: &[String]) -> PathBuf {
    let path = config(folder, urls, "");
    let text = fs::read_to_string(&path).unwrap();
    let text =
        text.replace("part_blocks = 10\n", "part_blocks = 1000\nlog_segment_bytes = 20000\n");
    fs::write(&path, text).unwrap();
    path
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let wal = folder.join("data/chains/devnet/wal");
    let names = fs::read_dir(wal).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<PathBuf> = names.collect();
    names.sort();
    names
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_in_the_data_folder_is_for_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(40).unwrap();
    let (url, _) = chain.provider().await;
    let path = config(folder.path(), &[url], "");
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    let data = folder.path().join("data");
    let backups = folder.path().join("backups");
    let token = fs::read_to_string(data.join("admin.token")).unwrap();
    let order = async |to: &Path| {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(format!("{}/v1/admin/backup", appliance.url));
        let request = request.bearer_auth(token.trim()).header("content-type", "application/json");
        let body = serde_json::json!({ "to": to }).to_string();
        let response = request.body(body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(order(&backups).await.0, 200);
    for unusable in [path.clone(), path.join("below"), PathBuf::from("/proc/none/here")] {
        let (status, text) = order(&unusable).await;
        assert_eq!(status, 400, "{}: {text}", unusable.display());
        assert!(text.contains("invalid_argument") && text.contains("give a folder"), "{text}");
    }
    appliance.terminate();
    let mut found = vec![data.clone(), backups.clone()];
    walk(&data, &mut found);
    walk(&backups, &mut found);
    let engines = data.join("chains/devnet/index");
    for path in found.iter().filter(|path| !path.starts_with(&engines)) {
        let is_address = path.file_name().unwrap() == "http.address";
        let due = if path.is_dir() { 0o700 } else { 0o600 };
        assert!(is_address || mode(path) == due, "{}: {:o}", path.display(), mode(path));
    }
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(!log.contains("other users can read") && !log.contains("every user can"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_else_may_read_secrets_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(3).unwrap();
    let (url, _) = chain.provider().await;
    let key = folder.path().join("key");
    fs::write(&key, "0123456789abcdef").unwrap();
    let path = config(folder.path(), &[format!("{url}/{{key}}?password=of-ours")], "");
    let text = fs::read_to_string(&path).unwrap();
    let keys = format!("name = \"p0\"\nkeys = [\"file:{}\"]", key.display());
    fs::write(&path, text.replace("name = \"p0\"", &keys)).unwrap();
    for file in [&key, &path] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }
    Appliance::start(&path).await.terminate();
    let data = folder.path().join("data");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(data.join("admin.token"), "").unwrap();
    Appliance::start(&path).await.terminate();
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    for told in [
        "every user can read the configuration",
        "every user can read the file of a secret",
        "other users can read the data folder",
    ] {
        assert!(log.contains(told), "{told}: {log}");
    }
    assert_eq!(fs::read_to_string(data.join("admin.token")).unwrap().trim().len(), 64);
    for file in [&key, &path] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::write(folder.path().join("log"), "").unwrap();
    Appliance::start(&path).await.terminate();
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(!log.contains("every user can"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_log_that_are_gone_are_told_and_fetched_again() {
    for which in ["first", "middle", "last", "all"] {
        let folder = tempfile::tempdir().unwrap();
        let mut chain = Chain::new(small());
        chain.node.mine(60).unwrap();
        let (url, _) = chain.provider().await;
        let path = in_small_files(folder.path(), &[url]);
        let appliance = Appliance::start(&path).await;
        appliance.follows(&chain).await;
        appliance.kill();
        let files = segments(folder.path());
        assert!(files.len() > 4, "{files:?}");
        let gone = match which {
            "first" => &files[..1],
            "middle" => &files[2..4],
            "last" => &files[files.len() - 1..],
            _ => &files[..],
        };
        for file in gone {
            fs::remove_file(file).unwrap();
        }
        let data = folder.path().join("data");
        let repair =
            |more: &[&str]| said(program().args(["repair", "--data-dir"]).arg(&data).args(more));
        let would = repair(&["--dry-run"]);
        let did = repair(&[]);
        // What nobody was told of, and nothing follows, nobody knows of.
        if matches!(which, "first" | "middle") {
            for text in [&would, &did] {
                assert!(text.contains("are gone") && text.contains("fetches them again"), "{text}");
            }
            assert!(repair(&[]).contains("nothing keeps the folder"), "it is told once");
        }
        chain.node.mine(3).unwrap();
        let appliance = Appliance::start(&path).await;
        appliance.follows(&chain).await;
        crate::harness::until("what is gone", async || {
            let (_, view) = appliance.get("/v1/chains/devnet").await;
            (view["gaps"] == serde_json::json!([])).then_some(())
        })
        .await;
        appliance.has_the_chain(&chain).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_open_log_file_is_removed_ends_with_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(20).unwrap();
    let (url, _) = chain.provider().await;
    let path = config(folder.path(), &[url], "");
    let appliance = Appliance::start(&path).await;
    appliance.follows(&chain).await;
    let removed = headwater::clock::now();
    fs::remove_file(segments(folder.path()).last().unwrap()).unwrap();
    let status = appliance.ends().await;
    assert!(removed.elapsed().as_secs() < 10, "{:?}", removed.elapsed());
    assert_eq!(status.code(), Some(6));
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("was removed or moved while it was written"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_folder_that_cannot_be_written_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(small());
    chain.node.mine(25).unwrap();
    let (url, _) = chain.provider().await;
    let appliance = Appliance::start(&config(folder.path(), &[url], "")).await;
    appliance.follows(&chain).await;
    appliance.kill();
    let data = folder.path().join("data");
    let mounts = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" && exec \"$0\" \
                  status --data-dir \"$1\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", mounts]).arg(program().get_program()).arg(&data);
    let Ok(output) = command.output() else { return };
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if text.contains("unshare:") || text.contains("mount:") {
        eprintln!("nothing can be mounted here: {text}");
        return;
    }
    assert!(output.status.success(), "{text}");
    assert!(text.contains("chain devnet (id 1337)") && text.contains("head       25"), "{text}");
}
