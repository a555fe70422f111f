//! The configuration file: TOML, unknown keys are errors that name the nearest known one, and the
//! environment overrides (`HEADWATER_HTTP__LISTEN`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::capture::ChainConfig;
use crate::forward::ExporterConfig;
use crate::query::QueryConfig;
use crate::secrets::{self, Redactor, Secrets, VaultConfig};

/// The whole configuration.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// `[http]`.
    #[serde(default)]
    pub http: HttpConfig,
    /// `[query]`.
    #[serde(default)]
    pub query: QueryConfig,
    /// `[disk]`.
    #[serde(default)]
    pub disk: DiskConfig,
    /// `[[chain]]`.
    #[serde(default)]
    pub chain: Vec<ChainConfig>,
    /// `[[exporter]]`.
    #[serde(default)]
    pub exporter: Vec<ExporterConfig>,
    /// `[vault]`.
    pub vault: Option<VaultConfig>,
    /// Where references are resolved.
    #[serde(skip)]
    pub secrets: Secrets,
    /// Whether it holds secrets itself, and not only references to them.
    #[serde(skip)]
    pub has_secrets: bool,
}

/// `[http]`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Lets other machines read without a token and without TLS.
    pub allow_remote: bool,
    /// Names by which this node is asked, beside `localhost` and addresses.
    pub hosts: Vec<String>,
    /// Origins of web pages that may ask it.
    pub origins: Vec<String>,
}

impl Default for HttpConfig {
    fn default() -> HttpConfig {
        HttpConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 8646)),
            allow_remote: false,
            hosts: Vec::new(),
            origins: Vec::new(),
        }
    }
}

/// `[disk]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskConfig {
    /// Bytes that stay free: capture waits before.
    pub min_free_bytes: u64,
    /// Bytes that logs, indexes and parts of all chains may have together.
    pub quota_bytes: Option<u64>,
    /// Bytes of a file that is given up when the disk is full, so that cursors still move.
    pub reserve_bytes: u64,
}

impl Default for DiskConfig {
    fn default() -> DiskConfig {
        DiskConfig { min_free_bytes: 256 << 20, quota_bytes: None, reserve_bytes: 32 << 20 }
    }
}

impl DiskConfig {
    /// Why capture waits, when so many bytes are free: the same words for as long as it does.
    pub fn reason(&self, free: u64) -> String {
        if let Some(quota) = self.quota_bytes.filter(|_| free >= self.min_free_bytes) {
            return format!("the disk is full: disk.quota_bytes = {quota} are used");
        }
        let least = self.min_free_bytes;
        format!("the disk is full: less than disk.min_free_bytes = {least} are free")
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("{origin}: {reason}")]
    Parse {
        /// The file, or the variable.
        origin: String,
        /// What, where, and the nearest known key.
        reason: String,
    },
    /// Values that do not go together.
    #[error("{origin}: {reason}")]
    Value {
        /// The file.
        origin: String,
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// The API would be open to other machines.
    #[error(
        "http.listen = \"{listen}\" would let other machines read without a token and without \
         TLS: listen on 127.0.0.1 behind a proxy that has both, or set http.allow_remote = true \
         (--allow-remote)"
    )]
    Remote {
        /// The address.
        listen: SocketAddr,
    },
}

const PREFIX: &str = "HEADWATER_";
/// How the names of settings end that are secrets.
const PASSWORDS: [&str; 5] = ["key", "password", "sas", "secret", "token"];

/// What no name and no address has.
const NOT_IN_NAMES: [char; 5] = ['/', ':', '@', '*', ' '];

impl Config {
    /// Reads a file, with the environment over it.
    pub fn load(
        path: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config = Config::parse(&path.display().to_string(), &text, environment)?;
        if config.has_secrets && secrets::is_open_to_all(path) {
            tracing::warn!(
                path = %path.display(),
                "every user can read the configuration, and it holds a key or a password: \
                 `chmod 600 {}`, or give secrets by reference (`env:NAME`, `file:PATH`)",
                path.display()
            );
        }
        Ok(config)
    }

    /// Reads a text, with the environment over it.
    pub fn parse(
        origin: &str,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        // The file by itself first: its errors have lines.
        let _: Config = parse(origin, text)?;
        let mut table: toml::Table = parse(origin, text)?;
        let overrides = overrides(&mut table, environment);
        let again = toml::to_string(&table).map_err(|error| ConfigError::Parse {
            origin: origin.to_owned(),
            reason: error.to_string(),
        })?;
        let origin = match overrides.as_slice() {
            [] => origin.to_owned(),
            names => format!("{origin} with {}", names.join(", ")),
        };
        let mut config: Config = parse(&origin, &again)?;
        config.http.hosts.iter_mut().for_each(|host| host.make_ascii_lowercase());
        config.http.origins.iter_mut().for_each(|origin| origin.make_ascii_lowercase());
        config.check(&origin)?;
        if let (Some(reference), None) = (config.reference_to_vault(), &config.vault) {
            return Err(ConfigError::Value {
                origin,
                reason: format!("{reference} needs a section [vault] with its `url`"),
            });
        }
        let opened = Secrets::open(config.vault.as_ref());
        config.secrets = opened.map_err(|error| ConfigError::Value {
            origin: origin.clone(),
            reason: crate::exit::chain_text(&error),
        })?;
        config.has_secrets = config.holds_secrets();
        config.resolve_secrets(&origin)?;
        Ok(config)
    }

    fn check(&self, origin: &str) -> Result<(), ConfigError> {
        let wrong = |reason: String| ConfigError::Value { origin: origin.to_owned(), reason };
        let mut names: Vec<&str> = self.chain.iter().map(|chain| chain.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find_map(|pair| match pair {
            [a, b] if a == b => Some(*a),
            _ => None,
        }) {
            return Err(wrong(format!("two chains are called `{twice}`: rename one")));
        }
        for (at, chain) in self.chain.iter().enumerate() {
            let mut before = self.chain.iter().take(at);
            if let Some(other) = before.find(|other| other.chain_id == chain.chain_id) {
                let (id, one, two) = (chain.chain_id, &other.name, &chain.name);
                return Err(wrong(format!(
                    "chains `{one}` and `{two}` have the same chain_id {id}, and would write the \
                     same parts: remove one, or give it a node of its own"
                )));
            }
        }
        if let Some(chain) = self.chain.iter().find(|chain| chain.provider.is_empty()) {
            let name = &chain.name;
            return Err(wrong(format!("chain `{name}` has no [[chain.provider]]: add one")));
        }
        let mut names: Vec<&str> = self.exporter.iter().map(|e| e.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() != self.exporter.len() {
            return Err(wrong("two exporters have the same name: rename one".to_owned()));
        }
        for exporter in &self.exporter {
            for chain in exporter.chains.iter().flatten() {
                if !self.chain.iter().any(|known| known.name == *chain) {
                    let name = &exporter.name;
                    let reason = format!("exporter `{name}` names chain `{chain}`, which is none");
                    return Err(wrong(reason));
                }
            }
        }
        self.http.check()?;
        let is_name = |host: &String| !host.is_empty() && !host.contains(NOT_IN_NAMES);
        if let Some(host) = self.http.hosts.iter().find(|host| !is_name(host)) {
            return Err(wrong(format!(
                "http.hosts has `{host}`, which is no name: give each without scheme and port, \
                 such as \"node.example\""
            )));
        }
        let is_origin = |origin: &String| {
            let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '@', '*', ' ']))
        };
        if let Some(origin) = self.http.origins.iter().find(|origin| !is_origin(origin)) {
            return Err(wrong(format!(
                "http.origins has `{origin}`, which is no origin: give scheme and host, and no \
                 path, such as \"https://app.example\""
            )));
        }
        Ok(())
    }

    /// References to a vault among the providers' keys: capture needs them at its start.
    pub fn keys_of_vault(&self) -> Vec<String> {
        let providers = self.chain.iter().flat_map(|chain| &chain.provider);
        let references = providers.flat_map(|provider| &provider.keys);
        let each = references.flat_map(|reference| secrets::expand(reference));
        each.filter(|reference| secrets::is_of_vault(reference)).collect()
    }

    fn holds_secrets(&self) -> bool {
        let providers = self.chain.iter().flat_map(|chain| &chain.provider);
        let mut urls = providers.flat_map(|one| std::iter::once(&one.url).chain(&one.ws_url));
        let has_key =
            |url: &String| Redactor::default().with_url(&url.replace("{key}", "")).has_secrets();
        urls.any(has_key) || self.exporter.iter().any(|one| holds_password(&one.settings))
    }

    fn reference_to_vault(&self) -> Option<String> {
        let keys = self.keys_of_vault();
        let of_key = keys.first().map(|reference| format!("`{reference}`"));
        let is_vaults =
            |exporter: &&ExporterConfig| exporter.settings.values().any(secrets::names_vault);
        let of_exporter = || self.exporter.iter().find(is_vaults);
        of_key.or_else(|| {
            of_exporter().map(|exporter| format!("`vault:` in exporter `{}`", exporter.name))
        })
    }

    /// Values of exporters' keys may be references to secrets; those of a vault are looked up when
    /// they are needed.
    fn resolve_secrets(&mut self, origin: &str) -> Result<(), ConfigError> {
        for exporter in &mut self.exporter {
            let name = exporter.name.clone();
            for (key, value) in &mut exporter.settings {
                // A lake on this machine, and no file with a secret.
                if key == "url" && value.as_str().is_some_and(|url| url.starts_with("file://")) {
                    continue;
                }
                resolve(value).map_err(|error| ConfigError::Value {
                    origin: origin.to_owned(),
                    reason: format!("exporter `{name}`, key `{key}`: {error}"),
                })?;
            }
        }
        Ok(())
    }
}

/// Whether an exporter's settings have a password that is no reference.
fn holds_password(settings: &toml::Table) -> bool {
    settings.iter().any(|(key, value)| match value {
        toml::Value::String(text) => {
            let name = key.rsplit(['.', '_']).next().unwrap_or_default();
            PASSWORDS.contains(&name) && !text.is_empty() && !secrets::is_reference(text)
        }
        toml::Value::Table(inner) => holds_password(inner),
        toml::Value::Array(_)
        | toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_) => false,
    })
}

impl HttpConfig {
    /// Refuses to be open to other machines by accident.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.listen.ip().is_loopback() || self.allow_remote {
            return Ok(());
        }
        Err(ConfigError::Remote { listen: self.listen })
    }
}

fn resolve(value: &mut toml::Value) -> Result<(), secrets::SecretError> {
    use secrecy::ExposeSecret;
    match value {
        toml::Value::String(text) if secrets::is_of_vault(text) => {}
        toml::Value::String(text) if secrets::is_reference(text) => {
            secrets::Secrets::default().resolve(text)?.expose_secret().clone_into(text);
        }
        toml::Value::Table(table) => {
            for (_, inner) in table.iter_mut() {
                resolve(inner)?;
            }
        }
        toml::Value::String(_)
        | toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_) => {}
    }
    Ok(())
}

/// Lays `HEADWATER_A__B=value` over `a.b`; gives the names that were used.
fn overrides(
    table: &mut toml::Table,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Vec<String> {
    let mut used = Vec::new();
    for (name, value) in environment {
        let Some(path) = name.strip_prefix(PREFIX).filter(|path| *path != "LOG") else { continue };
        let keys: Vec<String> = path.split("__").map(str::to_lowercase).collect();
        let Some((last, above)) = keys.split_last() else { continue };
        // Variables with one word are not of the configuration, unless it is a key of its root.
        if above.is_empty() && last != "data_dir" {
            continue;
        }
        let parsed = format!("v = {value}").parse::<toml::Table>().ok();
        let parsed = parsed.and_then(|mut table| table.remove("v"));
        set(table, above, last, parsed.unwrap_or(toml::Value::String(value)));
        used.push(name);
    }
    used
}

/// Sets a value below a path of tables, which are made where they are missing.
fn set(table: &mut toml::Table, path: &[String], key: &str, value: toml::Value) {
    let Some((first, rest)) = path.split_first() else {
        table.insert(key.to_owned(), value);
        return;
    };
    let inner = table.entry(first.clone()).or_insert_with(|| toml::Table::new().into());
    if let toml::Value::Table(inner) = inner {
        set(inner, rest, key, value);
    }
}

fn parse<T: DeserializeOwned>(origin: &str, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        // It shows the line, which may be one with a key in a URL.
        let mut reason = secrets::without_urls(error.to_string().trim_end());
        if let Some(nearest) = nearest_key(error.message()) {
            reason = format!("{reason}\nhelp: did you mean `{nearest}`?");
        }
        ConfigError::Parse { origin: origin.to_owned(), reason }
    })
}

/// The known key that is nearest to the unknown one, from serde's own message.
fn nearest_key(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("unknown field `")?;
    let (unknown, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2);
    known
        .map(|key| (strsim::damerau_levenshtein(unknown, key), key))
        .filter(|(distance, key)| *distance <= key.len().div_ceil(2))
        .min()
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        data_dir = "d"
        [http]
        listen = "127.0.0.1:1"
        [[chain]]
        name = "ethereum"
        chain_id = 1
        start = 17000000
          [[chain.provider]]
          name = "infura"
          url = "https://mainnet.infura.io/v3/{key}"
          ws_url = "wss://mainnet.infura.io/ws/v3/{key}"
          keys = ["env:INFURA_KEY"]
          limits = { per_second = 10, per_day = 100000 }
        [[exporter]]
        name = "lake"
        kind = "kafka"
        chains = ["ethereum"]
        tables = ["blocks", "transactions"]
        lanes = ["live"]
        brokers = ["127.0.0.1:9092"]
    "#;

    fn parse_with(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let pairs = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::parse("headwater.toml", text, pairs)
    }

    #[test]
    fn the_shape_of_the_design_is_read_and_the_environment_overrides() {
        let config = parse_with(
            GOOD,
            &[
                ("HEADWATER_HTTP__LISTEN", "127.0.0.1:2"),
                ("HEADWATER_QUERY__ROWS_MAX", "5"),
                ("HEADWATER_CHAIN_DATA", "/elsewhere"),
            ],
        )
        .unwrap();
        assert_eq!(config.http.listen.port(), 2);
        assert_eq!(config.query.rows_max, 5);
        assert_eq!(config.chain[0].start, crate::capture::Start::Block(17_000_000));
        assert_eq!(config.exporter[0].settings.len(), 1, "only the kind's keys are left");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        let text = GOOD.replace("chain_id = 1", "chain_ids = 1");
        let error = parse_with(&text, &[]).unwrap_err().to_string();
        for part in ["headwater.toml", "line 7", "chain_ids", "did you mean `chain_id`?"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        let error = parse_with(GOOD, &[("HEADWATER_HTTP__LISTN", "x")]).unwrap_err().to_string();
        assert!(error.contains("HEADWATER_HTTP__LISTN") && error.contains("`listen`"), "{error}");
    }

    #[test]
    fn values_that_do_not_go_together_are_refused() {
        let refused = |from: &str, to: &str, reason: &str| {
            let error = parse_with(&GOOD.replace(from, to), &[]).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        };
        refused("127.0.0.1:1", "0.0.0.0:1", "allow_remote");
        refused("chains = [\"ethereum\"]", "chains = [\"base\"]", "names chain `base`");
        refused("name = \"ethereum\"", "name = \"Ethereum!\"", "no chain name");
        refused("start = 17000000", "start = \"soon\"", "block number");
        let http = "[http]\n        listen";
        refused(http, "[http]\nhosts = [\"http://n\"]\nlisten", "http.hosts has `http://n`");
        refused(http, "[http]\norigins = [\"app\"]\nlisten", "http.origins has `app`");
    }

    #[test]
    fn a_reference_to_a_vault_needs_its_section() {
        let text = GOOD.replace("env:INFURA_KEY", "vault:infura-1-3");
        let error = parse_with(&text, &[]).unwrap_err().to_string();
        assert!(error.contains("`vault:infura-1` needs a section [vault]"), "{error}");
        let vault = "\n[vault]\nurl = \"https://name.vault.azure.net\"\nmanaged_identity = true\n";
        let config = parse_with(&format!("{text}{vault}"), &[]).unwrap();
        assert_eq!(config.keys_of_vault(), ["vault:infura-1", "vault:infura-2", "vault:infura-3"]);
        let text = GOOD.replace("brokers =", "transactional_id = \"vault:id\"\n        brokers =");
        let error = parse_with(&text, &[]).unwrap_err().to_string();
        assert!(error.contains("exporter `lake`") && error.contains("[vault]"), "{error}");
    }
}
