//! What a reference to a secret looks like, and what it is called where it is shown.

/// Keys that one range may stand for.
const KEYS_MAX: u32 = 1_000;

/// The references that one stands for: a range, `env:INFURA_KEY_1-17`, is each of its numbers.
/// A `file:` is never a range: dates are in the names of files.
pub fn expand(reference: &str) -> Vec<String> {
    let range = || {
        let (before, last) = reference.rsplit_once('-')?;
        let stem = before.trim_end_matches(|c: char| c.is_ascii_digit());
        let first: u32 = before.get(stem.len()..)?.parse().ok()?;
        let last: u32 = last.parse().ok()?;
        let is_range = first < last && last - first < KEYS_MAX && stem.ends_with(['_', '-']);
        is_range.then(|| (first..=last).map(|number| format!("{stem}{number}")).collect())
    };
    let is_file = reference.starts_with("file:");
    let range = if is_file { None } else { range() };
    range.unwrap_or_else(|| vec![reference.to_owned()])
}

/// Whether a text is a reference to a secret.
pub fn is_reference(text: &str) -> bool {
    text.starts_with("env:") || text.starts_with("file:") || text.starts_with("vault:")
}

/// What a reference is called where it is shown: the variable, or the file without its folders.
pub fn label(reference: &str) -> &str {
    let (_, name) = reference.split_once(':').unwrap_or(("", reference));
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_each_of_its_numbers() {
        let names = |text: &str| expand(text).iter().map(|r| label(r).to_owned()).collect();
        let keys: Vec<String> = names("env:INFURA_KEY_9-11");
        assert_eq!(keys, ["INFURA_KEY_9", "INFURA_KEY_10", "INFURA_KEY_11"]);
        let keys: Vec<String> = names("vault:infura-api-key-1-2");
        assert_eq!(keys, ["infura-api-key-1", "infura-api-key-2"]);
        for plain in ["env:KEY", "env:KEY_3-1", "file:/k/infura-1-3", "env:K-", "env:A1-2"] {
            assert_eq!(expand(plain), [plain], "{plain}");
        }
        assert_eq!(label("file:/run/secrets/alchemy"), "alchemy");
    }
}
