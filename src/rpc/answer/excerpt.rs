//! Text of a provider as an error may show it: bounded, on one line, in the order it is written.

/// Characters of a provider's words that an error shows.
pub(in crate::rpc) const WORDS_CHARS_MAX: usize = 200;
/// Characters of a whole reason.
pub(in crate::rpc) const REASON_CHARS_MAX: usize = 1_000;

/// The start of a text, control and bidirectional characters escaped.
pub(in crate::rpc) fn excerpt(text: &str, chars_max: usize) -> String {
    let text = text.trim();
    let mut shown = String::with_capacity(text.len().min(chars_max));
    for c in text.chars().take(chars_max) {
        if is_unseen(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    if text.chars().nth(chars_max).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Characters that do something to a terminal or to the order of what is shown.
fn is_unseen(c: char) -> bool {
    let is_bidirectional = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    c.is_control() || is_bidirectional || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}
