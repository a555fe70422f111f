//! Keys of `kind = "hdfs"`.

use std::path::PathBuf;

/// Keys of `kind = "hdfs"`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HdfsConfig {
    /// `hdfs://namenode:port/folder`, or `hdfs://nameservice/folder` as Hadoop's files name it, or
    /// `/folder` of this machine, with or without `file://` before it.
    pub url: String,
    /// Folder of `core-site.xml` and `hdfs-site.xml`; `HADOOP_CONF_DIR` by default.
    pub conf_dir: Option<PathBuf>,
    /// User without Kerberos; `HADOOP_USER_NAME`, or the process's, by default.
    pub user: Option<String>,
    /// Kerberos principal, with `keytab`; the ticket cache of the process by default.
    pub principal: Option<String>,
    /// Kerberos keys of the principal.
    pub keytab: Option<PathBuf>,
    /// The largest file of a run is about as large as this, where there is enough.
    #[serde(default = "target")]
    pub target_bytes: u64,
    /// A run that cannot become that large goes after this time.
    #[serde(default = "hour")]
    pub max_wait_secs: u64,
    /// Files that are sent at the same time.
    #[serde(default = "four")]
    pub uploads: usize,
    /// Copies of each file; the cluster's default by default.
    pub replication: Option<u32>,
    /// Reads every file back and compares it, before it gets its name.
    #[serde(default = "yes")]
    pub read_back: bool,
    /// How long the cluster may take for one call or megabyte.
    #[serde(default = "ten")]
    pub call_timeout_secs: u64,
    /// A run that another node began goes when that node has done nothing for this long.
    #[serde(default = "two_minutes")]
    pub takeover_secs: u64,
}

fn target() -> u64 {
    128 << 20
}

fn hour() -> u64 {
    3600
}

fn four() -> usize {
    4
}

fn yes() -> bool {
    true
}

fn ten() -> u64 {
    10
}

fn two_minutes() -> u64 {
    120
}

impl HdfsConfig {
    /// What is wrong with the keys, and the fix.
    pub(super) fn problem(&self) -> Option<String> {
        if self.folder().is_some_and(|folder| folder.len() > 1) {
            return self.out_of_range();
        }
        let Some((host, path)) = self.parts() else {
            return Some(format!(
                "url = \"{}\" is not hdfs://namenode:port/folder, hdfs://nameservice/folder or \
                 /folder",
                self.url
            ));
        };
        if path.trim_matches('/').is_empty() || path.contains("//") || path.contains("/../") {
            return Some(format!(
                "url = \"{}\" names no folder for the lake: add one, hdfs://{host}/lake",
                self.url
            ));
        }
        if self.principal.is_some() != self.keytab.is_some() {
            return Some("`principal` and `keytab` go together: give both or neither".to_owned());
        }
        if let Some(keytab) = self.keytab.as_ref().filter(|keytab| !keytab.exists()) {
            return Some(format!("keytab = \"{}\" is not there", keytab.display()));
        }
        let files = self.conf_dir.iter().map(|folder| folder.join("core-site.xml"));
        if let Some(missing) = files.into_iter().find(|file| !file.exists()) {
            return Some(format!(
                "conf_dir holds no core-site.xml ({}): give the folder of Hadoop's client \
                 configuration",
                missing.display()
            ));
        }
        self.out_of_range()
    }

    fn out_of_range(&self) -> Option<String> {
        let ranges = [
            ("target_bytes", self.target_bytes, 1 << 20, 16 << 30),
            ("uploads", self.uploads as u64, 1, 16),
            ("call_timeout_secs", self.call_timeout_secs, 1, 300),
            ("takeover_secs", self.takeover_secs, 1, 86_400),
            ("replication", self.replication.unwrap_or(1).into(), 1, 512),
        ];
        let wrong = ranges.iter().find(|(_, value, least, most)| value < least || value > most);
        wrong.map(|(key, value, least, most)| format!("{key} = {value} is not {least} to {most}"))
    }

    /// The folder of this machine that the URL names.
    pub(super) fn folder(&self) -> Option<&str> {
        let path = self.url.strip_prefix("file://").unwrap_or(&self.url);
        path.starts_with('/').then_some(path)
    }

    /// Host, with a port where there is one, and path of the URL.
    pub(super) fn parts(&self) -> Option<(&str, &str)> {
        let rest = self.url.strip_prefix("hdfs://")?;
        let (host, path) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len()))?;
        let is_name = !host.is_empty() && !host.contains(['@', ' ', '?', '#']);
        is_name.then_some((host, path))
    }

    /// Whether the host is a name service, which Hadoop's files explain.
    pub(super) fn is_name_service(&self) -> bool {
        self.parts().is_some_and(|(host, _)| !host.contains(':'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_keys_are_named_with_the_fix() {
        let problem =
            |text: &str| toml::from_str::<HdfsConfig>(text).unwrap().problem().unwrap_or_default();
        assert_eq!(problem("url = \"hdfs://127.0.0.1:9000/lake\""), "");
        assert_eq!(problem("url = \"hdfs://ha/a/b\""), "");
        assert_eq!(problem("url = \"/mnt/lake\""), "");
        assert_eq!(problem("url = \"file:///mnt/lake\""), "");
        assert!(problem("url = \"file://host/lake\"").contains("or /folder"));
        assert!(problem("url = \"/\"").contains("or /folder"));
        assert!(problem("url = \"http://x/lake\"").contains("is not hdfs://"));
        assert!(problem("url = \"hdfs:///lake\"").contains("is not hdfs://"));
        assert!(problem("url = \"hdfs://127.0.0.1:9000\"").contains("names no folder"));
        assert!(problem("url = \"hdfs://127.0.0.1:9000/\"").contains("add one"));
        let with = |more: &str| problem(&format!("url = \"hdfs://h:1/lake\"\n{more}"));
        assert!(with("principal = \"a@B\"").contains("go together"));
        assert!(with("principal = \"a@B\"\nkeytab = \"/none\"").contains("is not there"));
        assert!(with("conf_dir = \"/none\"").contains("no core-site.xml"));
        assert!(with("target_bytes = 5").contains("target_bytes = 5"));
        assert!(with("uploads = 0").contains("1 to 16"));
        let unknown = toml::from_str::<HdfsConfig>("url = \"hdfs://h:1/l\"\nuploadz = 1");
        assert!(unknown.unwrap_err().to_string().contains("uploadz"));
    }
}
