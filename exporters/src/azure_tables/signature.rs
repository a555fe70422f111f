//! How a request says who asks (Azure Storage: "Authorize with Shared Key", table service).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The value of `Authorization` for a request: `resource` is `/`, the account, and the path of the
/// URL.
pub(super) fn shared_key(
    key: &[u8],
    account: &str,
    (verb, content_type): (&str, &str),
    date: &str,
    resource: &str,
) -> String {
    let signed = format!("{verb}\n\n{content_type}\n{date}\n{resource}");
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(signed.as_bytes());
    format!("SharedKey {account}:{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// A key of an account from its text.
pub(super) fn decode_key(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.trim()).ok().filter(|key| !key.is_empty())
}

/// Bytes as `Edm.Binary` has them.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_another_implementation() {
        // Python: base64.b64encode(hmac.new(b"key", text, hashlib.sha256).digest())
        let date = "Fri, 27 Nov 2026 10:00:00 GMT";
        let signed = shared_key(b"key", "acc", ("GET", ""), date, "/acc/Tables");
        assert_eq!(signed, "SharedKey acc:b6p/JOxBy80M/WQVtmfVPtOoTzqJClPRfTAB9O2kIU8=");
        assert_eq!(decode_key("a2V5"), Some(b"key".to_vec()));
        assert_eq!(decode_key("not base64"), None);
    }
}
