//! Spans of blocks as people write them, in cryo's grammar: numbers, offsets, dates.

use headwater_storage::model::{BlockRange, date_text, parse_date};

/// One end of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// A block.
    Number(u64),
    /// So many blocks below the end of what is there.
    FromEnd(u64),
    /// So many blocks above the other end.
    Plus(u64),
    /// The first block of a time or after it, seconds since 1970-01-01 UTC.
    Time(u64),
    /// Where it begins, or where it ends.
    Open,
}

/// A span: its first block, and the one behind its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first block.
    pub first: Edge,
    /// The block behind the last.
    pub end: Edge,
}

/// Why a text is no span.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{text}` is no range of blocks: {reason}; write FIRST:END (END excluded), for example 0:1000, \
     17M:17.1M, -1000: (the last 1000), 5M:+100, 2026-11-01:2026-11-02 (UTC), or one block"
)]
pub struct SpanError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl std::str::FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Span, SpanError> {
        let wrong = |reason: &str| SpanError { text: text.to_owned(), reason: reason.to_owned() };
        let read = |part: &str, is_first: bool| {
            let edge = edge(part);
            edge.filter(|edge| !(is_first && matches!(edge, Edge::Plus(_))))
                .ok_or_else(|| wrong(&format!("`{part}` is no block")))
        };
        let Some((first, end)) = text.split_once(':') else {
            // One block.
            return match read(text, true)? {
                first @ (Edge::Number(_) | Edge::FromEnd(_)) => {
                    Ok(Span { first, end: Edge::Plus(1) })
                }
                // A date alone is that day.
                Edge::Time(time) => {
                    Ok(Span { first: Edge::Time(time), end: Edge::Time(time + 86_400) })
                }
                Edge::Plus(_) | Edge::Open => Err(wrong("it names no block")),
            };
        };
        let span = Span { first: read(first, true)?, end: read(end, false)? };
        let is_empty = match (span.first, span.end) {
            (Edge::Number(a), Edge::Number(b)) | (Edge::Time(a), Edge::Time(b)) => b <= a,
            (Edge::FromEnd(a), Edge::FromEnd(b)) => b >= a,
            (_, Edge::Plus(0) | Edge::Number(0)) => true,
            (_, _) => false,
        };
        if is_empty { Err(wrong("it holds no block")) } else { Ok(span) }
    }
}

/// `17M`, `-1000`, `+100`, `2026-11-01`, `latest`, or nothing.
fn edge(text: &str) -> Option<Edge> {
    if matches!(text, "" | "latest") {
        return Some(Edge::Open);
    }
    if let Some(digits) = text.strip_prefix("latest-").or(text.strip_prefix('-')) {
        return number(digits).map(Edge::FromEnd);
    }
    if let Some(digits) = text.strip_prefix('+') {
        return number(digits).map(Edge::Plus);
    }
    if text.matches('-').count() == 2 {
        let days = parse_date(text).filter(|days| date_text(*days) == text)?;
        let days = u64::try_from(days).ok()?;
        return Some(Edge::Time(days * 86_400));
    }
    number(text).map(Edge::Number)
}

/// Digits with `_` between them, and K, M or B behind.
fn number(text: &str) -> Option<u64> {
    // Rust's own reading of numbers takes a sign.
    let text = Some(text.replace('_', "")).filter(|text| !text.contains(['+', '-']))?;
    let scale: u64 = match text.chars().last()? {
        'k' | 'K' => 1_000,
        'm' | 'M' => 1_000_000,
        'b' | 'B' => 1_000_000_000,
        _ => return text.parse().ok(),
    };
    let digits = text.get(..text.len() - 1)?;
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(scale);
    }
    let value: f64 = digits.parse().ok()?;
    (value >= 0.0 && value.is_finite()).then_some((value * scale as f64).round() as u64)
}

impl Span {
    /// The blocks, where what is there ends before `end`; `at` gives the first block of a time.
    /// `None`: there are none.
    pub fn resolve(self, end: u64, at: impl Fn(u64) -> Option<u64>) -> Option<BlockRange> {
        let place = |edge: Edge, first: u64| match edge {
            Edge::Number(number) => Some(number),
            Edge::FromEnd(below) => Some(end.saturating_sub(below)),
            Edge::Plus(above) => Some(first.saturating_add(above)),
            Edge::Time(time) => at(time),
            Edge::Open => None,
        };
        let first = place(self.first, 0).unwrap_or(0);
        let behind = place(self.end, first).unwrap_or(end);
        BlockRange::new(first, behind.checked_sub(1)?)
    }

    /// The times that have to be looked up.
    pub fn times(self) -> impl Iterator<Item = u64> {
        [self.first, self.end].into_iter().filter_map(|edge| match edge {
            Edge::Time(time) => Some(time),
            Edge::Number(_) | Edge::FromEnd(_) | Edge::Plus(_) | Edge::Open => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The range of a text where the chain ends before block 20M, and days begin every 7,200.
    fn range(text: &str) -> Option<(u64, u64)> {
        let span: Span = text.parse().ok()?;
        let at = |time: u64| Some(time / 12);
        span.resolve(20_000_000, at).map(|range| (range.first, range.last))
    }

    #[test]
    fn spans_are_read_as_cryo_reads_them() {
        assert_eq!(range("0:1000"), Some((0, 999)));
        assert_eq!(range("17M:17.1M"), Some((17_000_000, 17_099_999)));
        assert_eq!(range("5K:5001"), Some((5_000, 5_000)));
        assert_eq!(range("-1000:"), Some((19_999_000, 19_999_999)));
        assert_eq!(range("-1000:-500"), Some((19_999_000, 19_999_499)));
        assert_eq!(range("latest-1K:"), Some((19_999_000, 19_999_999)));
        assert_eq!(range("19.9M:latest"), Some((19_900_000, 19_999_999)));
        assert_eq!(range(":10"), Some((0, 9)));
        assert_eq!(range("5M:+100"), Some((5_000_000, 5_000_099)));
        assert_eq!(range("15_000_000"), Some((15_000_000, 15_000_000)));
        assert_eq!(range("1970-01-02:1970-01-03"), Some((7_200, 14_399)));
        assert_eq!(range("1970-01-02"), Some((7_200, 14_399)));
        for wrong in [
            "",
            "5:5",
            "7:5",
            "a:b",
            "5:-",
            "0:0",
            "5:++7",
            "latest-+5:",
            "5:0x+7",
            "+5:7",
            "-5:-7",
            "1.5",
            "2026-13-01",
        ] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
        let error = "7:5".parse::<Span>().unwrap_err().to_string();
        assert!(error.contains("`7:5`") && error.contains("no block") && error.contains("0:1000"));
    }
}
