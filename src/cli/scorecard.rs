//! `headwater check --deep`: what was found of each key as a table, and what follows from it.

mod advice;

use serde::Serialize;

use crate::capture::ChainConfig;
use crate::capture::examine::{Difference, KeyScore, Outcome, PROOFS, Root, Scorecard};

pub(super) use advice::advice;

/// Lines of differences for people; JSON has all.
const DIFFERENCES_SHOWN: usize = 30;

/// What was found of a chain's keys, with what follows.
#[derive(Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    card: Scorecard,
    what_to_do: Vec<String>,
}

impl Report {
    pub(super) fn of(card: Scorecard, chain: &ChainConfig) -> Report {
        let what_to_do = advice(&card, chain);
        Report { card, what_to_do }
    }

    /// Whether every key can be used for capture.
    pub(super) fn is_good(&self) -> bool {
        self.card.keys.iter().all(|key| key.problems.is_empty())
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let Scorecard { seed, blocks, keys, differences, differences_left_out } = &self.card;
        let numbers: Vec<String> = blocks.iter().map(u64::to_string).collect();
        let mut lines = vec![if numbers.is_empty() {
            "  scorecard: no key gives blocks".to_owned()
        } else {
            format!("  scorecard of blocks {} (--seed {seed} picks the same)", numbers.join(" "))
        }];
        lines.extend(table(keys));
        for key in keys {
            lines.extend(lacks(key));
        }
        for difference in differences.iter().take(DIFFERENCES_SHOWN) {
            lines.push(format!("  differs: {}", difference_text(difference)));
        }
        let more = differences.len().saturating_sub(DIFFERENCES_SHOWN) + differences_left_out;
        if more > 0 {
            lines.push(format!("  and {more} more fields differ: --json has them"));
        }
        lines.push("  what to do:".to_owned());
        if self.what_to_do.is_empty() {
            lines.push("    nothing".to_owned());
        }
        lines.extend(self.what_to_do.iter().map(|line| format!("    {line}")));
        lines.join("\n")
    }
}

/// A row for each key, each column as wide as it must be.
fn table(keys: &[KeyScore]) -> Vec<String> {
    let names = PROOFS.into_iter().map(|(name, _)| name);
    let proofs: Vec<&str> =
        names.filter(|name| keys.iter().any(|key| was_asked(key, name))).collect();
    let heads = ["key", "head"].into_iter().chain(proofs.iter().copied());
    let heads = heads.chain(["batch", "receipts from", "median", "slowest", "calls"]);
    let mut rows: Vec<Vec<String>> = vec![heads.map(str::to_owned).collect()];
    rows.extend(keys.iter().map(|key| row(key, &proofs)));
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let text = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(text).collect()
}

fn was_asked(key: &KeyScore, proof: &str) -> bool {
    key.blocks.iter().any(|block| block.roots.contains_key(proof))
}

fn row(key: &KeyScore, proofs: &[&'static str]) -> Vec<String> {
    let known = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let millis = |time: Option<u64>| time.map_or("-".to_owned(), |time| format!("{time} ms"));
    let mut cells = vec![key.name.clone(), known(key.head)];
    cells.extend(proofs.iter().map(|proof| held(key, proof)));
    cells.push(match key.batches.max {
        0 => "none".to_owned(),
        max => max.to_string(),
    });
    cells.push(match (key.reach.oldest, key.reach.newest_missing) {
        (Some(1), _) => "the first block".to_owned(),
        (Some(oldest), _) => format!("block {oldest}"),
        (None, _) => "-".to_owned(),
    });
    cells.extend([millis(key.latency_median_ms), millis(key.latency_max_ms)]);
    cells.push(key.calls.to_string());
    cells
}

/// `5/6`: how many of the blocks that have something to prove came out.
fn held(key: &KeyScore, proof: &str) -> String {
    let roots = key.blocks.iter().filter_map(|block| block.roots.get(proof));
    let roots: Vec<Root> = roots.copied().filter(|root| *root != Root::Nothing).collect();
    let holds = roots.iter().filter(|root| **root == Root::Holds).count();
    if roots.is_empty() { "-".to_owned() } else { format!("{holds}/{}", roots.len()) }
}

/// What a key cannot do, in its provider's words.
fn lacks(key: &KeyScore) -> Vec<String> {
    let of_key = |what: &str, words: Option<&String>| {
        let words = words.map(|words| format!(": {words}")).unwrap_or_default();
        format!("  {} lacks {what}{words}", key.name)
    };
    let mut lines: Vec<String> = Vec::new();
    for method in &key.methods {
        match method.outcome {
            Outcome::Works | Outcome::NotAsked => {}
            Outcome::Fails => lines.push(of_key(method.name, method.words.as_ref())),
            Outcome::Wrong => {
                let words = method.words.as_deref().unwrap_or_default();
                lines.push(format!("  {} answers {} wrong: {words}", key.name, method.name));
            }
        }
    }
    if let Some(size) = key.batches.refused {
        lines.push(of_key(&format!("batches of {size}"), key.batches.words.as_ref()));
    }
    for block in key.blocks.iter().filter(|block| block.hash.is_none()) {
        lines.push(of_key(&format!("block {}", block.number), block.problem.as_ref()));
    }
    if let Some(look) = key.reach.looks.iter().find(|look| !look.is_there) {
        lines.push(of_key(&format!("receipts of block {}", look.number), look.words.as_ref()));
    }
    lines
}

/// `receipts[].logs[].blockTimestamp, another value in 12 places: block 5 ...`.
fn difference_text(difference: &Difference) -> String {
    let Difference { path, kind, places, block, place, values } = difference;
    let values: Vec<String> = values
        .iter()
        .map(|given| {
            let value = given.value.as_deref().unwrap_or("nothing");
            format!("{value} from {}", given.keys.join(", "))
        })
        .collect();
    let example = values.join(" and ");
    let places = if *places == 1 { "1 place".to_owned() } else { format!("{places} places") };
    format!("{path}, {}, in {places}: {place} of block {block} is {example}", kind.text())
}
