//! Keys of `kind = "azure_tables"`.

use std::path::PathBuf;

use secrecy::SecretString;

/// Keys of `kind = "azure_tables"`.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureTablesConfig {
    /// The storage account.
    pub account: String,
    /// Where its tables are; by default `https://<account>.table.core.windows.net`.
    pub endpoint: Option<String>,
    /// In front of every table's name; letters and digits, a letter first.
    #[serde(default = "headwater")]
    pub prefix: String,
    /// Make missing tables.
    #[serde(default = "yes")]
    pub create_tables: bool,
    /// One of the account's keys, in base64; may be a reference.
    #[serde(default, deserialize_with = "secret")]
    pub key: Option<SecretString>,
    /// A shared access signature of the account, as a query string; may be a reference.
    #[serde(default, deserialize_with = "secret")]
    pub sas: Option<SecretString>,
    /// A service principal with the role Storage Table Data Contributor.
    pub principal: Option<PrincipalConfig>,
    /// The machine's managed identity, with that role.
    #[serde(default)]
    pub managed_identity: bool,
    /// A file with an authority that is trusted beside the system's, in PEM.
    pub certificate: Option<PathBuf>,
    /// Requests in flight at most: fewer while the service says that it is too much.
    #[serde(default = "requests")]
    pub requests: usize,
    /// How long one request may take, in the service.
    #[serde(default = "twenty")]
    pub request_timeout_secs: u32,
}

/// `principal`.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrincipalConfig {
    /// The directory.
    pub tenant_id: String,
    /// The application.
    pub client_id: String,
    /// Its secret; may be a reference.
    #[serde(deserialize_with = "required_secret")]
    pub client_secret: SecretString,
    /// Where tokens come from; by default the public cloud's.
    pub authority: Option<String>,
}

fn secret<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    let text: Option<String> = serde::Deserialize::deserialize(from)?;
    Ok(text.map(SecretString::from))
}

fn required_secret<'de, D: serde::Deserializer<'de>>(from: D) -> Result<SecretString, D::Error> {
    let text: String = serde::Deserialize::deserialize(from)?;
    Ok(SecretString::from(text))
}

fn headwater() -> String {
    "headwater".to_owned()
}

fn yes() -> bool {
    true
}

fn requests() -> usize {
    16
}

fn twenty() -> u32 {
    20
}

/// Names of tables have 63 characters at most; ours need so many.
const PREFIX_CHARACTERS_MAX: usize = 40;

impl AzureTablesConfig {
    /// What is wrong with the keys, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        let AzureTablesConfig { prefix, requests, request_timeout_secs, .. } = self;
        let ways = [
            self.key.is_some(),
            self.sas.is_some(),
            self.principal.is_some(),
            self.managed_identity,
        ];
        if ways.iter().filter(|is_given| **is_given).count() != 1 {
            return Some(
                "give exactly one of `key`, `sas`, `principal` and `managed_identity`".to_owned(),
            );
        }
        let is_name = prefix.starts_with(|first: char| first.is_ascii_alphabetic())
            && prefix.chars().all(|one| one.is_ascii_alphanumeric())
            && prefix.len() <= PREFIX_CHARACTERS_MAX;
        if !is_name {
            return Some(format!(
                "`prefix` is \"{prefix}\": write at most {PREFIX_CHARACTERS_MAX} letters and \
                 digits, a letter first"
            ));
        }
        if self.account.is_empty() || !self.account.chars().all(|one| one.is_ascii_alphanumeric()) {
            return Some(format!("`account` is \"{}\": letters and digits", self.account));
        }
        if !(1..=512).contains(requests) {
            return Some(format!("`requests` is {requests}: write 1 to 512"));
        }
        if !(1..=30).contains(request_timeout_secs) {
            return Some(format!(
                "`request_timeout_secs` is {request_timeout_secs}: the service takes 1 to 30"
            ));
        }
        let is_plain = self.endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
        if is_plain && (self.principal.is_some() || self.managed_identity) {
            return Some("tokens go over https only: `endpoint` must begin so".to_owned());
        }
        None
    }

    /// Where the tables are, without a slash at the end.
    pub(super) fn endpoint(&self) -> String {
        match &self.endpoint {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("https://{}.table.core.windows.net", self.account),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_keys_are_named_with_the_fix() {
        let problem = |text: &str| {
            toml::from_str::<AzureTablesConfig>(text).unwrap().problem().unwrap_or_default()
        };
        let with = |more: &str| problem(&format!("account = \"acc\"\nkey = \"a2V5\"\n{more}"));
        assert_eq!(with(""), "");
        assert!(problem("account = \"acc\"").contains("exactly one of `key`"));
        assert!(with("sas = \"sv=1\"").contains("exactly one"));
        assert!(with("prefix = \"head-water\"").contains("letters and digits"));
        assert!(with("requests = 0").contains("1 to 512"));
        assert!(with("request_timeout_secs = 60").contains("1 to 30"));
        let plain = "account = \"acc\"\nmanaged_identity = true\nendpoint = \"http://a\"";
        assert!(problem(plain).contains("https only"));
    }
}
