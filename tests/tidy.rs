//! The rules of the house style that a program can check. It reads sources and needs nothing of
//! the appliance, so it is a binary of its own that builds in a second: `cargo test --test tidy`.

#[cfg(test)]
mod rules {
    use std::fs;
    use std::path::{Path, PathBuf};

    /// Lines of a file without its tests.
    const FILE_LINES_MAX: usize = 500;
    const COLUMNS_MAX: usize = 100;
    /// A `mod.rs` is an index, `main.rs` fits one screen, a facade is a list of what one can do.
    const SHORT: [(&str, usize); 4] =
        [("mod.rs", 60), ("src/main.rs", 60), ("lib.rs", 60), ("storage/src/store/chain.rs", 200)];
    const BANNED_NAMES: [&str; 12] = [
        "utils", "util", "common", "helpers", "misc", "types", "manager", "base", "core", "shared",
        "prelude", "lib2",
    ];
    const BANNED_VERBS: [&str; 5] =
        ["fn get_", "fn handle_", "fn process_", "fn manage_", "fn do_"];

    /// Names that a foreign trait gives.
    const FOREIGN_NAMES: [&str; 2] = ["fn get_read(&self", "fn get_bytes(&self"];

    /// What a module may use: its own crate's modules, and those of the crates below.
    const ARROWS: [(&str, &str, &str); 45] = [
        ("storage", "model", "codec"),
        ("storage", "codec", "model"),
        ("storage", "disk", ""),
        ("storage", "foreign", ""),
        ("storage", "metrics", "model"),
        ("storage", "wal", "codec disk model"),
        ("storage", "index", "model"),
        ("storage", "tables", "model"),
        ("storage", "ledger", "disk model tables"),
        ("storage", "parquet", "disk ledger model tables wal"),
        ("storage", "clock", ""),
        ("storage", "store", "clock disk index ledger metrics model parquet tables wal"),
        ("storage", "backup", "disk ledger model store wal"),
        ("exporters", "exporter", "storage::ledger storage::model"),
        ("exporters", "mark", "storage::model"),
        ("exporters", "error", "storage::foreign storage::model"),
        ("exporters", "batch", "encode storage::model storage::tables"),
        ("exporters", "encode", "storage::model storage::tables"),
        ("exporters", "contract", "batch encode exporter storage::model storage::tables"),
        ("exporters", "memory", "encode storage::model"),
        (
            "exporters",
            "kafka",
            "encode error failpoint storage::foreign storage::model storage::tables",
        ),
        ("exporters", "clock", ""),
        ("exporters", "noted", "storage::model"),
        ("exporters", "width", ""),
        (
            "exporters",
            "scylla",
            "clock encode error failpoint noted storage::ledger storage::model storage::tables \
          width",
        ),
        (
            "exporters",
            "azure_tables",
            "clock encode error failpoint noted storage::model storage::tables width",
        ),
        ("exporters", "parts", "storage::model storage::tables"),
        (
            "exporters",
            "hdfs",
            "clock error failpoint parts storage::model storage::parquet storage::tables",
        ),
        (
            "exporters",
            "registry",
            "azure_tables hdfs kafka memory parts scylla storage::model storage::tables",
        ),
        ("src", "telemetry", "storage::model"),
        (
            "src",
            "rpc",
            "clock secrets supervisor telemetry storage::foreign storage::ledger storage::model \
          storage::store",
        ),
        (
            "src",
            "capture",
            "clock rpc supervisor telemetry storage::ledger storage::model storage::store \
          storage::tables storage::wal",
        ),
        (
            "src",
            "forward",
            "clock secrets supervisor telemetry exporters::build exporters::encode \
          exporters::failpoint exporters::parts exporters::tables_of storage::ledger \
          storage::model storage::parquet storage::store storage::tables storage::wal",
        ),
        (
            "src",
            "query",
            "exporters::encode storage::ledger storage::model storage::parquet \
          storage::store storage::tables clock supervisor",
        ),
        ("src", "backup", "clock node storage::backup storage::disk storage::store"),
        ("src", "audit", "capture storage::model storage::store"),
        (
            "src",
            "keeper",
            "capture clock config supervisor storage::disk storage::ledger storage::model \
          storage::store storage::wal",
        ),
        ("src", "devnet", "capture clock supervisor storage::model"),
        (
            "src",
            "http",
            "audit backup capture clock config forward keeper limits node query rpc secrets \
          supervisor storage::backup storage::ledger storage::model storage::store storage::tables",
        ),
        ("src", "config", "capture exit forward query secrets"),
        (
            "src",
            "node",
            "capture clock config exit forward keeper query rpc secrets supervisor telemetry \
          storage::disk storage::ledger storage::model storage::parquet \
          storage::store storage::wal",
        ),
        ("src", "exit", "storage::store"),
        ("src", "supervisor", ""),
        ("src", "clock", ""),
        ("src", "limits", ""),
    ];

    /// What has one home, and where that is. Homes may be several folders or files.
    const HOMES: [(&str, &[&str]); 18] = [
        ("hdfs_native::", &["exporters/src/hdfs/"]),
        ("fjall::", &["storage/src/index/"]),
        ("redb::", &["storage/src/ledger/"]),
        ("zstd::", &["storage/src/wal/", "src/rpc/answer/encoding.rs"]),
        ("parquet::arrow", &["storage/src/parquet/", "storage/benches/encodings.rs"]),
        ("datafusion::", &["src/query/"]),
        ("governor::", &["src/rpc/"]),
        (
            "reqwest::",
            &[
                "src/rpc/",
                "src/cli/ask.rs",
                "src/cli/error.rs",
                "exporters/src/azure_tables/client.rs",
                "exporters/src/kafka/registry.rs",
                "src/secrets/vault.rs",
            ],
        ),
        ("arrow_avro::", &["exporters/src/kafka/"]),
        ("axum::", &["src/http/", "src/devnet/server.rs"]),
        ("rdkafka::", &["exporters/src/kafka/"]),
        ("scylla::client", &["exporters/src/scylla/"]),
        ("azure_identity::", &["exporters/src/azure_tables/", "src/secrets/vault.rs"]),
        ("tokio::spawn", &["src/supervisor.rs"]),
        ("spawn_blocking", &["src/supervisor.rs"]),
        ("indicatif::", &["src/cli/"]),
        ("io::stdout", &["src/cli/output.rs"]),
        (
            "std::fs",
            &[
                "storage/src/disk/",
                "storage/src/index/database.rs",
                "storage/src/testing.rs",
                "exporters/src/hdfs/folder.rs",
                "exporters/src/memory/exporter.rs",
                "exporters/src/azure_tables/client.rs",
                "exporters/src/kafka/registry.rs",
                "src/config.rs",
                "src/secrets/",
                "src/devnet/",
                "src/http/server.rs",
                "src/cli/ask.rs",
                "src/query/process.rs",
                "src/query/worker/serve.rs",
            ],
        ),
    ];

    struct Source {
        /// From the project's root, with `/`.
        path: String,
        text: String,
    }

    impl Source {
        /// The text before the tests that end the file.
        fn product(&self) -> &str {
            self.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default()
        }

        fn is_test(&self) -> bool {
            self.path.contains("tests/") || self.path.ends_with("tests.rs")
        }
    }

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(path);
            }
        }
    }

    fn files(folders: &[&str]) -> Vec<Source> {
        let mut paths = Vec::new();
        for folder in folders {
            let folder = root().join(folder);
            if folder.is_dir() {
                walk(&folder, &mut paths);
            } else {
                paths.push(folder);
            }
        }
        paths.sort();
        let source = |path: PathBuf| {
            let text = String::from_utf8(fs::read(&path).ok()?).ok()?;
            let path = path.strip_prefix(root()).ok()?.to_string_lossy().replace('\\', "/");
            Some(Source { path, text })
        };
        paths.into_iter().filter_map(source).collect()
    }

    fn sources() -> Vec<Source> {
        let mut all = files(&["src", "storage", "exporters", "tests", "benches"]);
        all.retain(|source| Path::new(&source.path).extension().is_some_and(|end| end == "rs"));
        assert!(all.len() > 100, "the sources were found");
        all
    }

    /// Fails with every place that breaks a rule, so that all can be mended at once.
    fn holds(rule: &str, broken: &[String]) {
        assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
    }

    #[test]
    fn files_are_short_and_folders_too() {
        let mut broken = Vec::new();
        for source in sources() {
            let lines = source.product().lines().count();
            let limit = SHORT
                .iter()
                .find(|(name, _)| {
                    source.path == *name || source.path.ends_with(&format!("/{name}"))
                })
                .map_or(FILE_LINES_MAX, |(_, limit)| *limit);
            if lines > limit && !source.is_test() {
                broken.push(format!("{}: {lines} lines, at most {limit}", source.path));
            }
        }
        holds("files fit in a head", &broken);
    }

    #[test]
    fn every_file_says_what_it_is_in_plain_ascii() {
        let mut broken = Vec::new();
        for source in sources() {
            if !source.text.starts_with("//! ") {
                broken.push(format!("{}: no `//!` at the top", source.path));
            }
            for (number, line) in source.text.lines().enumerate() {
                let place = format!("{}:{}", source.path, number + 1);
                if !line.is_ascii() {
                    broken.push(format!("{place}: not ASCII"));
                }
                if line.len() > COLUMNS_MAX {
                    broken.push(format!("{place}: {} columns", line.len()));
                }
                let text = line.trim_start();
                let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
                if marks.iter().any(|mark| text.contains(mark)) {
                    broken.push(format!("{place}: a promise instead of work"));
                }
                let is_code = text.starts_with("// ")
                    && [";", "{", "}"].iter().any(|end| text.ends_with(end))
                    && !text.contains('`');
                if is_code {
                    broken.push(format!("{place}: code in a comment"));
                }
            }
        }
        holds("sources are plain", &broken);
    }

    #[test]
    fn names_say_something() {
        let mut broken = Vec::new();
        for source in sources() {
            let named = source
                .path
                .split('/')
                .any(|part| BANNED_NAMES.contains(&part.trim_end_matches(".rs")));
            if named {
                broken.push(format!("{}: a name that says nothing", source.path));
            }
            for (number, line) in source.product().lines().enumerate() {
                let is_foreign = FOREIGN_NAMES.iter().any(|name| line.contains(name));
                let is_banned = BANNED_VERBS.iter().any(|verb| line.contains(verb));
                if is_banned && !is_foreign && !source.is_test() {
                    broken.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
                }
            }
        }
        holds("names say something", &broken);
    }

    /// Names that follow `prefix` in a text, with one more step for other crates.
    fn uses(text: &str, prefix: &str) -> Vec<String> {
        let name = |rest: &str| -> String {
            rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
        };
        text.match_indices(prefix)
            .filter_map(|(at, _)| text.get(at + prefix.len()..))
            .map(name)
            .collect()
    }

    #[test]
    fn arrows_point_down() {
        let mut broken = Vec::new();
        for source in sources().iter().filter(|source| !source.is_test()) {
            let inner = source.path.replace("storage/src/", "storage/");
            let inner = inner.replace("exporters/src/", "exporters/");
            let mut parts = inner.split('/');
            let krate = parts.next().unwrap_or_default();
            let module = parts.next().unwrap_or_default().trim_end_matches(".rs");
            let Some((_, _, allowed)) = ARROWS.iter().find(|(k, m, _)| (*k, *m) == (krate, module))
            else {
                continue;
            };
            let allowed: Vec<&str> = allowed.split_whitespace().collect();
            let text = source.product();
            let mut used = uses(text, "crate::");
            for (other, prefix) in
                [("storage", "headwater_storage::"), ("exporters", "headwater_exporters::")]
            {
                let names = uses(text, prefix).into_iter();
                // Types at the root of a crate are what it is for.
                let names = names.filter(|name| name.starts_with(char::is_lowercase));
                used.extend(names.map(|name| format!("{other}::{name}")));
            }
            for name in used {
                let is_type = name.chars().next().is_none_or(char::is_uppercase);
                if name != module && !is_type && !allowed.contains(&name.as_str()) {
                    broken.push(format!("{}: uses {name}", source.path));
                }
            }
        }
        holds("modules use what is below them", &broken);
        let manifests = files(&["storage/Cargo.toml", "exporters/Cargo.toml"]);
        for manifest in manifests {
            assert!(!manifest.text.contains("headwater ="), "{} looks up", manifest.path);
            let is_storage = manifest.path.starts_with("storage");
            assert!(
                !is_storage || !manifest.text.contains("headwater-exporters"),
                "storage looks up"
            );
        }
    }

    #[test]
    fn everything_has_one_home() {
        let mut broken = Vec::new();
        for source in sources().iter().filter(|source| !source.is_test()) {
            if source.path.contains("benches/") {
                continue;
            }
            for (word, homes) in HOMES {
                if homes.iter().any(|home| source.path.starts_with(home)) {
                    continue;
                }
                for (number, line) in source.product().lines().enumerate() {
                    let starts = line.find(word).filter(|at| {
                        let before = line.get(..*at).and_then(|text| text.chars().next_back());
                        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
                    });
                    if starts.is_some() && !line.trim_start().starts_with("//") {
                        broken.push(format!("{}:{}: {word}", source.path, number + 1));
                    }
                }
            }
        }
        holds("drivers, files and tasks stay at home", &broken);
    }

    #[test]
    fn versions_stand_in_the_workspace_only_and_each_dependency_has_its_reason() {
        let mut broken = Vec::new();
        for manifest in files(&["storage/Cargo.toml", "exporters/Cargo.toml"]) {
            let text = manifest.text.split("[dependencies]").nth(1).unwrap_or_default();
            for line in text.lines().filter(|line| line.contains("version =")) {
                broken.push(format!("{}: {line}", manifest.path));
            }
        }
        let manifest = files(&["Cargo.toml"]).remove(0);
        let list = manifest.text.split("[workspace.dependencies]\n").nth(1).unwrap_or_default();
        let list = list.split("\n[").next().unwrap_or_default();
        assert!(list.lines().count() > 30, "the list was found");
        let mut has_reason = true;
        for line in list.lines() {
            has_reason |= line.starts_with('#');
            if line.is_empty() {
                has_reason = false;
            } else if !has_reason && !line.contains("path =") {
                broken.push(format!("no reason above: {line}"));
            }
        }
        holds("versions and reasons", &broken);
    }

    #[test]
    fn nothing_speaks_of_a_machine() {
        let mut all = sources();
        all.extend(files(&["ops", "README.md", "Dockerfile", "Makefile", ".ci", "Cargo.toml"]));
        let marks = ["/wo", "/ro", "/ho"].map(|start| match start {
            "/wo" => format!("{start}rk/"),
            "/ro" => format!("{start}ot/"),
            _ => format!("{start}me/"),
        });
        let mut broken = Vec::new();
        for source in all {
            for (number, line) in source.text.lines().enumerate() {
                if marks.iter().any(|mark| line.contains(mark.as_str())) {
                    broken.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
                }
            }
        }
        holds("no path of a machine", &broken);
    }

    #[test]
    fn metric_names_have_units_and_every_promise_is_cited_by_a_test() {
        let metrics = files(&["src/telemetry/metrics.rs", "storage/src/metrics.rs"]);
        let units = [
            "_total", "_seconds", "_bytes", "_block", "_lsn", "_records", "_blocks", "_places",
            "_proofs", "_units",
        ];
        for metric in &metrics {
            for name in metric.text.split('"').filter(|text| text.starts_with("headwater_")) {
                assert!(units.iter().any(|unit| name.ends_with(unit)), "{name} has no unit");
            }
        }
        let tests: String =
            sources().into_iter().filter(Source::is_test).map(|source| source.text).collect();
        for promise in 1..=12 {
            assert!(tests.contains(&format!("INV-{promise})")), "no test cites INV-{promise}");
        }
    }
}
