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
     17M:17.1M, -1000: (the last 1000), 5M:+100, 2026-11-01:2026-11-02 (UTC), \
     2026-11-01T12:00:2026-11-01T18:00, or one block"
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
        let Some((first, end)) = halves(text) else {
            // One block.
            return match read(text, true)? {
                Edge::Time(_) if text.contains('T') => {
                    Err(wrong("a time of day needs an end, such as +100 or another time"))
                }
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

/// Both sides of the colon that is none of a time of day.
fn halves(text: &str) -> Option<(&str, &str)> {
    if text.contains('T') && edge(text).is_some() {
        return None;
    }
    let cut = |at: usize| Some((text.get(..at)?, text.get(at + 1..)?));
    let mut cuts = text.match_indices(':').filter_map(|(at, _)| cut(at));
    let is_good = |(first, end): &(&str, &str)| edge(first).is_some() && edge(end).is_some();
    cuts.find(is_good).or_else(|| text.split_once(':'))
}

/// `17M`, `-1000`, `+100`, `2026-11-01`, `2026-11-01T12:00`, `latest`, or nothing.
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
    if let Some((date, time)) = text.split_once('T') {
        let Some(Edge::Time(midnight)) = edge(date).filter(|_| date.len() == 10) else {
            return None;
        };
        return time_of_day(time).map(|seconds| Edge::Time(midnight + seconds));
    }
    if text.matches('-').count() == 2 {
        let days = parse_date(text).filter(|days| date_text(*days) == text)?;
        let days = u64::try_from(days).ok()?;
        return Some(Edge::Time(days * 86_400));
    }
    number(text).map(Edge::Number)
}

/// Seconds since midnight of `12:00`, `12:00:30` or `12:00Z`.
fn time_of_day(text: &str) -> Option<u64> {
    let mut seconds = 0;
    let mut count = 0;
    for (part, most) in text.strip_suffix('Z').unwrap_or(text).split(':').zip([24, 60, 60, 0]) {
        let is_pair = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        let value: u64 = part.parse().ok().filter(|value| is_pair && *value < most)?;
        seconds = seconds * 60 + value;
        count += 1;
    }
    match count {
        2 => Some(seconds * 60),
        3 => Some(seconds),
        _ => None,
    }
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

impl std::fmt::Display for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Edge::Number(number) => write!(f, "{number}"),
            Edge::FromEnd(below) => write!(f, "-{below}"),
            Edge::Plus(above) => write!(f, "+{above}"),
            Edge::Time(time) => {
                let date = date_text(i32::try_from(time / 86_400).unwrap_or(i32::MAX));
                let (hours, minutes) = (time % 86_400 / 3_600, time % 3_600 / 60);
                write!(f, "{date}T{hours:02}:{minutes:02}:{:02}", time % 60)
            }
            Edge::Open => Ok(()),
        }
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.first, self.end)
    }
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
        assert_eq!(range("1970-01-02T12:00:1970-01-03T00:00:00Z"), Some((10_800, 14_399)));
        assert_eq!(range("1970-01-02T12:00:30:+10"), Some((10_802, 10_811)));
        assert_eq!(range("1970-01-02T12:00:"), Some((10_800, 19_999_999)));
        assert_eq!(range("5:1970-01-02T12:00Z"), Some((5, 10_799)));
        for text in ["5:7", "-1000:", "5:+100", "1970-01-02T12:00:1970-01-03T00:00:01", ":10"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span, "{text}");
        }
        for wrong in [
            "",
            "1970-01-02T12:00",
            "1970-01-02T25:00:",
            "1970-01-02T12:",
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
