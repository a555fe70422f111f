//! Where each exporter stands, kept beside the rows: the table `Cursors`, an entity for each chain
//! and exporter. Its `ETag` makes sure that only one process writes it.

use headwater_storage::model::{ChainName, Lsn};
use serde_json::{Value, json};

use crate::Mark;

use super::client::{Client, Request};
use super::failure::Failure;
use super::tables::LAYOUT;

/// A cursor as the sink has it; its version is the `ETag`. What is acknowledged is safe.
pub(super) type Noted = crate::noted::Noted<String>;

/// Where a chain's cursor is.
pub(super) struct Place<'a> {
    pub(super) client: &'a Client,
    /// The table's name.
    pub(super) table: String,
    pub(super) exporter: &'a str,
}

impl Place<'_> {
    fn path(&self, chain: &ChainName) -> String {
        let exporter = encoded(self.exporter);
        format!("{}(PartitionKey='{chain}',RowKey='{exporter}')", self.table)
    }

    pub(super) async fn read(&self, chain: &ChainName) -> Result<Option<Noted>, Failure> {
        let path = self.path(chain);
        let answer = match self.client.ask(Request::new("GET", &path)).await {
            Err(Failure::NoEntity(_)) => return Ok(None),
            answer => answer?,
        };
        let row: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        // The first layout was not numbered.
        let layout = row.get("layout").and_then(Value::as_u64).unwrap_or(1);
        if layout != LAYOUT {
            return Err(Failure::Refused(format!(
                "the tables were filled in layout {layout}, this version of Headwater writes \
                 {LAYOUT}: give the exporter another `prefix`, or delete the tables"
            )));
        }
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| text(name).parse().unwrap_or(0);
        let mark = Mark {
            lsn: Lsn(number("lsn")),
            generation: number("generation"),
            event: text("event").to_owned(),
        };
        let instance = text("instance").to_owned();
        let version = match text("odata.etag") {
            "" => answer.etag,
            etag => etag.to_owned(),
        };
        Ok(Some(Noted { safe: mark.clone(), mark, instance, version }))
    }

    /// Writes it where nobody else did since; gives its new version.
    pub(super) async fn write(
        &self,
        chain: &ChainName,
        (mark, instance): (&Mark, &str),
        version: Option<&str>,
    ) -> Result<String, Failure> {
        let path = self.path(chain);
        let body = json!({
            "PartitionKey": chain.as_str(),
            "RowKey": self.exporter,
            "layout": LAYOUT,
            "lsn@odata.type": "Edm.Int64",
            "lsn": mark.lsn.0.to_string(),
            "generation@odata.type": "Edm.Int64",
            "generation": mark.generation.to_string(),
            "event": mark.event,
            "instance": instance,
        });
        let request = match version {
            Some(_) => Request::new("PUT", &path),
            None => Request::new("POST", &self.table),
        };
        let request = Request { body: body.to_string(), if_match: version, ..request };
        Ok(self.client.ask(request).await?.etag)
    }
}

impl Place<'_> {
    /// The tables do not hold what a cursor says.
    pub(super) async fn forget(&self, chain: &ChainName) -> Result<(), Failure> {
        let path = self.path(chain);
        let request = Request { if_match: Some("*"), ..Request::new("DELETE", &path) };
        match self.client.ask(request).await {
            Ok(_) | Err(Failure::NoEntity(_)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

/// A key in a URL.
pub(super) fn encoded(key: &str) -> String {
    let mut out = String::new();
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            out.push(char::from(byte));
        } else if byte == b'\'' {
            out.push_str("%27%27");
        } else {
            out.push('%');
            out.push_str(&const_hex::encode_upper([byte]));
        }
    }
    out
}
