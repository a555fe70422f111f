//! Text that somebody else wrote, as an error or a log line may show it: bounded, on one line, in
//! the order it is written.

/// Characters of somebody's words that an error shows.
pub const WORDS_CHARS_MAX: usize = 200;
/// Characters of a whole reason.
pub const REASON_CHARS_MAX: usize = 1_000;
/// Bytes of an error's body that are read at all.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// The start of a text; control, bidirectional and invisible characters are escaped.
pub fn excerpt(text: &str, chars_max: usize) -> String {
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

/// At most so many bytes from the start of a text, whole characters.
pub fn start_of(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

/// Characters that do something to a terminal or to the order of what is shown, or that nobody
/// sees.
fn is_unseen(c: char) -> bool {
    let is_bidirectional = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    let is_invisible = matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200d}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{2060}'..='\u{2065}'
            | '\u{206a}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    c.is_control() || is_bidirectional || is_invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_and_does_nothing() {
        assert_eq!(excerpt(" a plain word\r\n", 100), "a plain word");
        let escapes = excerpt("a\x1b[2J\0\r\n\u{9b}b\u{202e}c\u{200b}d\u{e0041}", 100);
        assert_eq!(escapes, "a\\u{1b}[2J\\u{0}\\r\\n\\u{9b}b\\u{202e}c\\u{200b}d\\u{e0041}");
        assert_eq!(excerpt(&"x".repeat(100_000_000), 3), "xxx...");
        assert_eq!(start_of("a\u{e9}b", 2), "a");
        assert_eq!(start_of("ab", 9), "ab");
    }
}
