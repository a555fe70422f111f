//! Any JSON value with every digit that it came with: a double would silently drop some.

use serde::de::{self, Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::json::parse_value;

/// Any JSON value, given back with every digit that it came with.
pub(super) struct Exact(pub(super) Value);

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Exact, D::Error> {
        let raw = <&RawValue>::deserialize(from)?;
        exact_value(raw.get()).map(Exact)
    }
}

/// The value of a text. A double holds no more than 17 digits: a number that would be written with
/// others than it came with is an error.
pub(super) fn exact_value<E: de::Error>(text: &str) -> Result<Value, E> {
    let plain = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    if let Some(plain) = plain.filter(|plain| !plain.contains('\\')) {
        return Ok(Value::from(plain));
    }
    let value = parse_value(text).map_err(E::custom)?;
    match numbers(text).find(|number| !is_exact(number)) {
        Some(number) => {
            Err(E::custom(format_args!("the digits of {number} would be lost: not a JSON double")))
        }
        None => Ok(value),
    }
}

/// The numbers of a JSON text.
fn numbers(text: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let outside = move |c: char| {
        let was_quoted = is_quoted;
        is_quoted ^= c == '"' && !is_escaped;
        is_escaped = was_quoted && c == '\\' && !is_escaped;
        was_quoted || !(c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E'))
    };
    let words = text.split(outside);
    words.filter(|word| word.bytes().any(|b| b.is_ascii_digit()))
}

/// Whether a number is read without a loss.
fn is_exact(number: &str) -> bool {
    if number.parse::<u64>().is_ok() || number.parse::<i64>().is_ok() {
        return true;
    }
    let Ok(read) = number.parse::<f64>() else { return false };
    read.is_finite() && significant(number) == significant(&format!("{read:e}"))
}

/// A decimal number by its digits without zeros around them, and the power of ten of the last.
fn significant(number: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let short = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - short.len()).ok()?;
    let power = exponent.trim_start_matches('+').parse::<i64>().ok()?;
    let power = power.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(zeros)?;
    let short = short.trim_start_matches('0').to_owned();
    let power = if short.is_empty() { 0 } else { power };
    Some((number.starts_with('-'), short, power))
}

/// Whole numbers from here on lose digits as a double, which is how JSON's numbers past 64 bits
/// are read.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

/// Lets a double pass that has all its digits.
pub(super) fn exact_double<E: de::Error>(number: f64) -> Result<(), E> {
    if number.abs() < EXACT_BELOW {
        return Ok(());
    }
    Err(E::custom("a JSON number past 64 bits, whose digits would be lost: it must be a string"))
}
