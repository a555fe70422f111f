//! Keys of `kind = "scylla"`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// Keys of `kind = "scylla"`.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScyllaConfig {
    /// `host:port` of some nodes; the others are found through them.
    pub nodes: Vec<String>,
    /// The datacenter that is written to, as `nodetool status` names it.
    pub datacenter: String,
    /// Where the tables are.
    #[serde(default = "headwater")]
    pub keyspace: String,
    /// Make the keyspace, and what is missing in it.
    #[serde(default = "yes")]
    pub create_schema: bool,
    /// Replicas by datacenter of a keyspace that is made; by default 3 in `datacenter`, or as many
    /// as it has nodes.
    #[serde(default)]
    pub replication: BTreeMap<String, u32>,
    /// For password authentication.
    pub user: Option<String>,
    /// For password authentication; may be a reference.
    #[serde(default, deserialize_with = "secret")]
    pub password: Option<SecretString>,
    /// How connections are encrypted; not at all by default.
    pub tls: Option<TlsConfig>,
    /// Requests in flight at most: fewer while the cluster says that it is too much.
    #[serde(default = "requests")]
    pub requests: usize,
    /// How long one request may take.
    #[serde(default = "ten")]
    pub request_timeout_secs: u32,
    /// After an outage what was acknowledged in so many seconds before it goes again, because
    /// servers sync their commit logs periodically.
    #[serde(default = "twenty")]
    pub resend_window_secs: u32,
    /// A keyspace for `api_keys_node_providers`: what the providers' keys were used for.
    pub usage_keyspace: Option<String>,
    /// How long rows of blocks that a reorg took back stay; 0: for ever.
    #[serde(default = "week")]
    pub fork_ttl_secs: u32,
}

/// `tls`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// A file with the authorities that are trusted, in PEM.
    pub certificate: PathBuf,
    /// A file with our own certificate, where the nodes ask for one, in PEM.
    pub client_certificate: Option<PathBuf>,
    /// A file with its key, in PEM.
    pub client_key: Option<PathBuf>,
    /// The name in the nodes' certificates; by default each node's own IP address must be there.
    pub server_name: Option<String>,
}

fn secret<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    let text: Option<String> = serde::Deserialize::deserialize(from)?;
    Ok(text.map(SecretString::from))
}

fn headwater() -> String {
    "headwater".to_owned()
}

fn yes() -> bool {
    true
}

fn requests() -> usize {
    128
}

fn ten() -> u32 {
    10
}

fn twenty() -> u32 {
    20
}

fn week() -> u32 {
    7 * 86_400
}

/// Twenty years: servers take no longer ones.
const TTL_SECS_MAX: u32 = 630_720_000;
/// Characters of a keyspace's name.
const NAME_CHARACTERS_MAX: usize = 48;

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_lowercase())
        && characters.all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_')
        && text.len() <= NAME_CHARACTERS_MAX
}

impl ScyllaConfig {
    /// What is wrong with the keys, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        let ScyllaConfig { keyspace, usage_keyspace, requests, fork_ttl_secs, .. } = self;
        if self.nodes.is_empty() {
            return Some("`nodes` is empty: give at least one \"host:port\"".to_owned());
        }
        let names = [("keyspace", Some(keyspace)), ("usage_keyspace", usage_keyspace.as_ref())];
        for (key, name) in names {
            if let Some(name) = name.filter(|name| !is_name(name)) {
                return Some(format!(
                    "`{key}` is \"{name}\": write at most {NAME_CHARACTERS_MAX} of a-z, 0-9 and _, \
                     a letter first"
                ));
            }
        }
        if self.user.is_some() != self.password.is_some() {
            return Some("`user` and `password` need each other".to_owned());
        }
        let tls = self.tls.as_ref();
        if tls.is_some_and(|tls| tls.client_certificate.is_some() != tls.client_key.is_some()) {
            return Some("`tls`: `client_certificate` and `client_key` need each other".to_owned());
        }
        if !(1..=4096).contains(requests) {
            return Some(format!("`requests` is {requests}: write 1 to 4096"));
        }
        if *fork_ttl_secs > TTL_SECS_MAX {
            return Some(format!("`fork_ttl_secs` is {fork_ttl_secs}: at most {TTL_SECS_MAX}"));
        }
        None
    }

    /// The sink in errors.
    pub(super) fn sink(&self) -> String {
        format!("{}/{}", self.nodes.join(","), self.keyspace)
    }

    /// How long one request may take.
    pub(super) fn request_timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.request_timeout_secs.max(1)))
    }

    /// What goes again after an outage.
    pub(super) fn resend_window(&self) -> Duration {
        Duration::from_secs(u64::from(self.resend_window_secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_keys_are_named_with_the_fix() {
        let problem = |more: &str| {
            let text = format!("datacenter = \"dc1\"\n{more}");
            toml::from_str::<ScyllaConfig>(&text).unwrap().problem().unwrap_or_default()
        };
        assert_eq!(problem("nodes = [\"a:9042\"]"), "");
        assert!(problem("nodes = []").contains("`nodes`"));
        let with = |more: &str| problem(&format!("nodes = [\"a:9042\"]\n{more}"));
        assert!(with("keyspace = \"My-Space\"").contains("a-z"));
        assert!(with("user = \"me\"").contains("`password`"));
        assert!(with("requests = 0").contains("1 to 4096"));
        assert!(with("fork_ttl_secs = 630720001").contains("at most"));
        assert!(with("[tls]\ncertificate = \"a\"\nclient_key = \"b\"").contains("need each"));
    }
}
