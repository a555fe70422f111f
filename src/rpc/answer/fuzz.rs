//! Answers of providers that are anything.

use serde_json::value::RawValue;

use super::{cause_of, parse_batch, parse_single};

const PIECES: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"jsonrpc\"",
    "\"2.0\"",
    "\"id\"",
    "1",
    "null",
    "\"result\"",
    "\"error\"",
    "\"code\"",
    "-32005",
    "\"message\"",
    "\"rate limit\"",
    "\"data\"",
    "\"0x1\"",
    "\n",
    "\u{feff}",
    "<html>",
    "\\u0000",
    "true",
];

fn read(body: &str) {
    drop(parse_single::<Box<RawValue>>(body));
    drop(parse_batch::<Box<RawValue>>(body));
    let _cause = cause_of(Some(200), body);
    let _cause = cause_of(Some(429), body);
}

#[test]
fn any_answer_is_read_or_refused() {
    bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
        read(&String::from_utf8_lossy(bytes));
        let pieces = bytes.iter().map(|byte| PIECES[usize::from(*byte) % PIECES.len()]);
        read(&pieces.collect::<String>());
    });
}
