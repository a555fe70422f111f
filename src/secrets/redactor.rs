//! Takes secrets out of what somebody else wrote: the keys that a URL holds, in whatever form they
//! come back (INV-9).

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use headwater_storage::foreign::{excerpt, start_of};

/// A part of a path, or of a host's name, that is as long is a key.
const KEY_CHARS_MIN: usize = 16;
/// A value of a query, or a whole text, that is as long is one wherever it stands.
const VALUE_CHARS_MIN: usize = 8;
/// What is called a key is one from so many characters on.
const NAMED_CHARS_MIN: usize = 4;
/// The least of base64 that is looked for: less is in texts by chance.
const ENCODED_CHARS_MIN: usize = 6;
/// The least of a secret's start at the end of a text that is taken out.
const START_BYTES_MIN: usize = 6;
/// Bytes of a text that are looked at; no more of it is shown.
const LOOK_BYTES_MAX: usize = 16 << 10;
/// Words in the names of a query's values that are keys.
const NAMES: [&str; 8] = ["key", "token", "secret", "pass", "pwd", "auth", "sig", "cred"];

const SECRET: &str = "***";
const URL: &str = "<url>";

/// What is taken out of texts.
#[derive(Clone, Default)]
pub struct Redactor {
    forms: Vec<Form>,
}

/// One way to write a secret.
#[derive(Clone)]
struct Form {
    bytes: Vec<u8>,
    shown: &'static str,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Redactor").field("forms", &self.forms.len()).finish()
    }
}

impl Redactor {
    /// Takes a key out of texts, too.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Redactor {
        // An empty key would be found between all letters.
        if !key.is_empty() {
            self.add(key.as_bytes());
        }
        self
    }

    /// Takes out a URL, and what is a key in it: who is asking, parts of its path that are as long
    /// as keys, and values of its query.
    #[must_use]
    pub fn with_url(mut self, url: &str) -> Redactor {
        let (_, rest) = url.split_once("://").unwrap_or(("", url));
        let (rest, _) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if !path.is_empty() || !query.is_empty() || !user.is_empty() {
            self.forms.push(Form { bytes: url.as_bytes().to_vec(), shown: URL });
        }
        self.add_user(user);
        let is_key = |label: &&str| {
            label.len() >= KEY_CHARS_MIN && label.bytes().any(|byte| byte.is_ascii_digit())
        };
        for label in host.split(['.', ':']).filter(is_key) {
            self.add(label.as_bytes());
        }
        for segment in path.split(['/', '\\']).filter(|part| part.len() >= KEY_CHARS_MIN) {
            self.add_escaped(segment);
            let pieces = segment.split(['.', ';', ':', '=', ',', '@', '~']);
            for piece in pieces.filter(|piece| piece.len() >= KEY_CHARS_MIN) {
                self.add_escaped(piece);
            }
        }
        for pair in query.split(['&', ';']) {
            let (name, value) = pair.split_once('=').unwrap_or(("key", pair));
            let least = if is_named_as_secret(name) { NAMED_CHARS_MIN } else { VALUE_CHARS_MIN };
            if value.len() >= least {
                self.add_escaped(value);
            }
        }
        self
    }

    /// Whether there is anything to take out.
    pub fn has_secrets(&self) -> bool {
        self.forms.iter().any(|form| form.shown == SECRET)
    }

    fn add_user(&mut self, user: &str) {
        if user.is_empty() {
            return;
        }
        self.add_escaped(user);
        // So it is sent, whether escaped in the URL or not.
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        let sent = [unescaped(name), b":".to_vec(), unescaped(password)].concat();
        self.add(&sent);
        for part in [name, password].iter().filter(|part| part.len() >= NAMED_CHARS_MIN) {
            self.add_escaped(part);
        }
    }

    /// A secret as it stands in a URL.
    fn add_escaped(&mut self, secret: &str) {
        self.add(secret.as_bytes());
        let plain = unescaped(secret);
        if plain != secret.as_bytes() {
            self.add(&plain);
        }
    }

    /// A secret in its forms, those of a text that is encoded with it in its middle, too.
    fn add(&mut self, secret: &[u8]) {
        let mut put = |bytes: Vec<u8>| {
            if !self.forms.iter().any(|form| form.bytes == bytes) {
                self.forms.push(Form { bytes, shown: SECRET });
            }
        };
        put(secret.to_vec());
        if secret.len() < NAMED_CHARS_MIN {
            return;
        }
        for alphabet in [&STANDARD, &URL_SAFE] {
            let base64 = GeneralPurpose::new(alphabet, NO_PAD);
            put(base64.encode(secret).into_bytes());
            for before in 0..3 {
                let text = base64.encode([vec![0; before], secret.to_vec()].concat());
                // Only what no neighbour has a part in.
                let (first, last) = ((before * 8).div_ceil(6), (before + secret.len()) * 8 / 6);
                let inner = text.get(first..last).unwrap_or_default();
                if inner.len() >= ENCODED_CHARS_MIN {
                    put(inner.as_bytes().to_vec());
                }
            }
        }
        put(const_hex::encode(secret).into_bytes());
    }

    /// The start of a text without secrets, on one line: what of it may be shown. It is cut after
    /// they are taken out, for a part of a secret is one too.
    pub fn excerpt(&self, text: &str, chars_max: usize) -> String {
        excerpt(&self.redacted(text), chars_max)
    }

    /// The start of a text without secrets.
    pub fn redacted(&self, text: &str) -> String {
        let mut rest = start_of(text.trim_start(), LOOK_BYTES_MAX).as_bytes();
        let mut shown = Vec::with_capacity(rest.len());
        while let Some((first, after)) = rest.split_first() {
            let found = self.forms.iter().filter_map(|form| {
                Some((form.found(rest).filter(|length| *length > 0)?, form.shown))
            });
            match found.max_by_key(|(length, _)| *length) {
                Some((length, word)) => {
                    shown.extend_from_slice(word.as_bytes());
                    rest = rest.get(length..).unwrap_or_default();
                }
                // The text ends within a secret: somebody cut it.
                None if self.forms.iter().any(|form| form.is_cut_off(rest)) => {
                    shown.extend_from_slice(SECRET.as_bytes());
                    break;
                }
                None => {
                    shown.push(*first);
                    rest = after;
                }
            }
        }
        String::from_utf8_lossy(&shown).into_owned()
    }
}

impl Form {
    /// Bytes of it at the start of a text.
    fn found(&self, text: &[u8]) -> Option<usize> {
        let rest = self.bytes.iter().try_fold(text, |text, byte| without(text, *byte))?;
        Some(text.len() - rest.len())
    }

    /// Whether a text is no more than its start.
    fn is_cut_off(&self, text: &[u8]) -> bool {
        if self.shown == URL || text.len() < START_BYTES_MIN || text.len() > 6 * self.bytes.len() {
            return false;
        }
        let mut rest = text;
        for byte in &self.bytes {
            match without(rest, *byte) {
                Some(after) => rest = after,
                // Dots may follow, or the end of an escape.
                None => return rest.len() < 4 && text.len() - rest.len() >= START_BYTES_MIN,
            }
        }
        false
    }
}

/// A text behind a byte, in whichever way that byte is escaped.
fn without(text: &[u8], byte: u8) -> Option<&[u8]> {
    let (first, rest) = text.split_first()?;
    if first.eq_ignore_ascii_case(&byte) {
        return Some(rest);
    }
    let hex = |rest: &'_ [u8]| -> Option<usize> {
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        let value = u8::from_str_radix(digits, 16).ok()?;
        (value.eq_ignore_ascii_case(&byte)).then_some(2)
    };
    match first {
        b'+' if byte == b' ' => Some(rest),
        b'%' => {
            let mut rest = rest;
            // Escaped more than once.
            while let Some(again) = rest.strip_prefix(b"25") {
                rest = again;
            }
            rest.get(hex(rest)?..)
        }
        b'\\' => {
            let rest = match rest.strip_prefix(b"u00").or(rest.strip_prefix(b"x")) {
                Some(digits) => return digits.get(hex(digits)?..),
                None => rest,
            };
            rest.split_first().filter(|(first, _)| **first == byte).map(|(_, rest)| rest)
        }
        b'&' => {
            let named = match byte {
                b'&' => &b"amp;"[..],
                b'<' => b"lt;",
                b'>' => b"gt;",
                b'"' => b"quot;",
                b'\'' => b"apos;",
                _ => b"#",
            };
            let end = rest.iter().take(8).position(|byte| *byte == b';')?;
            let entity = rest.get(..=end)?;
            let decimal = format!("#{byte};");
            let is_it = entity == named
                || entity.eq_ignore_ascii_case(format!("#x{byte:x};").as_bytes())
                || entity
                    .strip_prefix(b"#0")
                    .is_some_and(|short| decimal.as_bytes().ends_with(short))
                || entity == decimal.as_bytes();
            is_it.then(|| rest.get(end + 1..)).flatten()
        }
        _ => None,
    }
}

/// Without the escapes of a URL.
fn unescaped(text: &str) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(value) = value.filter(|_| *first == b'%') {
            plain.push(value);
            rest = after.get(2..).unwrap_or_default();
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    plain
}

/// Whether what is called so is a secret.
fn is_named_as_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.iter().any(|word| name.contains(word))
}

/// A text with nothing of URLs but their beginning: lines of a configuration in an error.
pub fn without_urls(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://***");
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`'));
        rest = after.get(end.unwrap_or(after.len())..).unwrap_or_default();
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRETS: [&str; 5] =
        ["us3r-name", "pa$s/w0rd", "0123456789abcdefKEY", "q-secret", "t0k/en"];

    fn redactor() -> Redactor {
        let url = "https://us3r-name:pa%24s%2Fw0rd@eth.example/v3/0123456789abcdefKEY/rpc\
                   ?apikey=q-secret&token=t0k%2Fen&chain=base";
        Redactor::default().with_url(url).with_key("k1")
    }

    fn hides(text: &str) -> String {
        let shown = redactor().redacted(text);
        for secret in SECRETS {
            assert!(!shown.contains(secret), "{secret} of {text} is in {shown}");
        }
        shown
    }

    #[test]
    fn what_a_url_holds_is_hidden_in_every_form() {
        let base64 = GeneralPurpose::new(&STANDARD, NO_PAD);
        for secret in SECRETS {
            let each = |form: &dyn Fn(u8) -> String| -> String {
                secret.bytes().fold(String::new(), |text, byte| text + &form(byte))
            };
            let percent = each(&|byte| format!("%{byte:02x}"));
            let twice = percent.replace('%', "%25");
            let json = each(&|byte| format!("\\u{byte:04x}"));
            let html = each(&|byte| format!("&#{byte};"));
            let upper = secret.to_ascii_uppercase();
            let forms = [secret, &percent, &twice, &json, &html, &upper];
            for form in forms {
                assert_eq!(hides(&format!("a {form} b")), "a *** b");
            }
            for before in ["", "x", "xy", "xyz"] {
                let whole = base64.encode(format!("{before} {secret}; and more"));
                let shown = hides(&whole);
                assert!(shown.contains("***"), "{secret}: {shown}");
            }
        }
        let basic = base64.encode("us3r-name:pa$s/w0rd");
        assert_eq!(hides(&format!("Basic {basic}==")), "Basic ***==");
        assert_eq!(hides("base has no block k1"), "base has no block ***");
    }

    #[test]
    fn a_secret_that_is_cut_is_one_too() {
        assert_eq!(hides("at 0123456789abc"), "at ***");
        assert_eq!(hides("at 0123456789abc..."), "at ***");
        assert_eq!(hides("the end 012"), "the end 012", "too short to be one");
        let shown = hides(&"0123456789abcdefKEY ".repeat(10_000));
        assert!(shown.replace("*** ", "").len() < START_BYTES_MIN, "{shown:.99}");
    }

    #[test]
    fn a_url_is_one_word() {
        let url = "https://host.example/v3/abc?x=1";
        let shown = Redactor::default().with_url(url).redacted(&format!("no {url} here"));
        assert_eq!(shown, "no <url> here");
        let plain = Redactor::default().with_url("http://127.0.0.1:8545");
        assert_eq!(
            plain.redacted("http://127.0.0.1:8545 is away"),
            "http://127.0.0.1:8545 is away"
        );
        let line = "8 | url = \"https://u:p@h/KEY\"\n  | ^^^";
        assert_eq!(without_urls(line), "8 | url = \"https://***\"\n  | ^^^");
    }
}
