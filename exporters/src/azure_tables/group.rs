//! Entity group transactions: the body that is sent, and what the answer says inside.
//!
//! The answer's own status is 202 whether it was done or not; the statuses inside count.

use std::fmt::Write as _;

use super::encode::Entity;

/// Entities, and bytes of the body, of one transaction; the service takes 100 and 4 MiB.
const ENTITIES_MAX: usize = 100;
const BYTES_MAX: usize = 3 << 20;

pub(super) const BOUNDARY: &str = "batch_headwater";
const CHANGES: &str = "changeset_headwater";

/// Splits entities into what fits into a transaction each.
pub(super) fn pieces(mut entities: &[Entity]) -> Vec<&[Entity]> {
    let mut pieces = Vec::new();
    while !entities.is_empty() {
        let mut bytes = 0;
        let fits = |entity: &&Entity| {
            bytes += entity.json.len() + 512;
            bytes <= BYTES_MAX
        };
        let count = entities.iter().take(ENTITIES_MAX).take_while(fits).count().max(1);
        let (piece, rest) = entities.split_at(count.min(entities.len()));
        pieces.push(piece);
        entities = rest;
    }
    pieces
}

/// The body that inserts or replaces entities of one partition; `table` is the table's URL.
pub(super) fn body(table: &str, partition: &str, entities: &[Entity]) -> String {
    let mut out =
        format!("--{BOUNDARY}\r\nContent-Type: multipart/mixed; boundary={CHANGES}\r\n\r\n");
    for (at, Entity { row_key, json, .. }) in entities.iter().enumerate() {
        let _infallible = write!(
            out,
            "--{CHANGES}\r\nContent-Type: application/http\r\n\
             Content-Transfer-Encoding: binary\r\n\r\n\
             PUT {table}(PartitionKey='{partition}',RowKey='{row_key}') HTTP/1.1\r\n\
             Content-ID: {at}\r\nContent-Type: application/json\r\n\
             Accept: application/json;odata=minimalmetadata\r\nDataServiceVersion: 3.0;\r\n\r\n\
             {json}\r\n",
        );
    }
    let _infallible = write!(out, "--{CHANGES}--\r\n--{BOUNDARY}--\r\n");
    out
}

/// What an answer says inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Inner {
    /// So many were done.
    Done(usize),
    /// None was: status, code, words, and the place of the guilty one.
    Failed(u16, String, String, Option<usize>),
}

/// Reads the inner statuses; the first failure stands for all.
pub(super) fn read(answer: &str) -> Inner {
    let mut done = 0;
    for (at, _) in answer.match_indices("HTTP/1.1 ") {
        let rest = answer.get(at + 9..).unwrap_or_default();
        let status: u16 = rest.get(..3).and_then(|text| text.parse().ok()).unwrap_or(0);
        if (200..300).contains(&status) {
            done += 1;
            continue;
        }
        let (code, words) = error_of(rest.find('{').and_then(|start| rest.get(start..)));
        let place = words.split_once(':').and_then(|(place, _)| place.parse().ok());
        return Inner::Failed(status, code, words, place);
    }
    Inner::Done(done)
}

/// Code and words of an error in JSON; something may follow it.
pub(super) fn error_of(body: Option<&str>) -> (String, String) {
    let value = body.and_then(|body| {
        let mut values = serde_json::Deserializer::from_str(body).into_iter();
        values.next()?.ok()
    });
    let value: serde_json::Value = value.unwrap_or_default();
    let text = |path: &str| value.pointer(path).and_then(serde_json::Value::as_str);
    let code = text("/odata.error/code").unwrap_or_default().to_owned();
    let words = text("/odata.error/message/value").unwrap_or_default();
    (code, words.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(bytes: usize) -> Entity {
        Entity { row_key: "r".to_owned(), json: "x".repeat(bytes), event_id: String::new() }
    }

    #[test]
    fn what_goes_together_fits_the_limits() {
        let sizes = |entities: &[Entity]| -> Vec<usize> {
            pieces(entities).iter().map(|piece| piece.len()).collect()
        };
        assert_eq!(sizes(&vec![entity(10); 250]), [100, 100, 50]);
        assert_eq!(sizes(&vec![entity(1 << 20); 3]), [2, 1]);
        assert_eq!(sizes(&[entity(5 << 20), entity(1)]), [1, 1]);
        assert!(sizes(&[]).is_empty());
    }

    #[test]
    fn the_status_inside_counts() {
        let good = "--b\r\nHTTP/1.1 204 No Content\r\nETag: a\r\n\r\n--b\r\nHTTP/1.1 204 No \
                    Content\r\n\r\n--b--";
        assert_eq!(read(good), Inner::Done(2));
        let bad = "--b\r\nHTTP/1.1 404 Not Found\r\n\r\n{\"odata.error\":{\"code\":\
                   \"TableNotFound\",\"message\":{\"lang\":\"en\",\"value\":\"0:The table does \
                   not exist.\\nRequestId:1\"}}}\r\n--b--";
        let words = "0:The table does not exist.".to_owned();
        assert_eq!(read(bad), Inner::Failed(404, "TableNotFound".to_owned(), words, Some(0)));
        assert_eq!(read(""), Inner::Done(0));
    }
}
