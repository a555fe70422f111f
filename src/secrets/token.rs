//! The token that admin actions need: made at the first start, readable by the owner alone.

use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::SecretError;

/// The file in the data folder.
pub const TOKEN_FILE: &str = "admin.token";

const TOKEN_BYTES: usize = 32;

/// What a request must carry to change something.
#[derive(Clone, Debug)]
pub struct AdminToken(SecretString);

impl AdminToken {
    /// The token of a data folder, made when there is none, or an empty one: a crash may leave
    /// that.
    pub fn of(data_dir: &Path) -> Result<AdminToken, SecretError> {
        let path = data_dir.join(TOKEN_FILE);
        let failed = |source| SecretError::File { path: path.display().to_string(), source };
        let is_there = match std::fs::read_to_string(&path) {
            Ok(text) => !text.lines().next().unwrap_or_default().trim().is_empty(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed(error)),
        };
        if !is_there {
            let mut bytes = [0; TOKEN_BYTES];
            getrandom::fill(&mut bytes).map_err(|error| failed(std::io::Error::other(error)))?;
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&path).map_err(failed)?;
            // One that was there keeps its rights otherwise.
            file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
            writeln!(file, "{}", const_hex::encode(bytes)).map_err(failed)?;
            file.sync_all().map_err(failed)?;
        }
        AdminToken::read(&path)
    }

    /// The token in a file.
    pub fn read(path: &Path) -> Result<AdminToken, SecretError> {
        let token = super::store::resolve(&format!("file:{}", path.display()))?;
        // An empty file would let everybody in.
        if token.expose_secret().is_empty() {
            let source = std::io::ErrorKind::UnexpectedEof.into();
            return Err(SecretError::File { path: path.display().to_string(), source });
        }
        Ok(AdminToken(token))
    }

    /// As the header `authorization` carries it.
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0.expose_secret())
    }

    /// Whether a header is the right one; the time that this takes says nothing.
    pub fn is_in(&self, header: &[u8]) -> bool {
        let due = self.header();
        let differences = due.bytes().zip(header).fold(0, |sum, (a, b)| sum | (a ^ b));
        due.len() == header.len() && differences == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_compared_whole() {
        let folder = tempfile::tempdir().unwrap();
        let token = AdminToken::of(folder.path()).unwrap();
        let again = AdminToken::of(folder.path()).unwrap();
        assert!(again.is_in(token.header().as_bytes()));
        assert_eq!(token.header().len(), "Bearer ".len() + 64);
        assert!(!token.is_in(b""));
        assert!(!token.is_in(&token.header().as_bytes()[1..]));
        assert!(!token.is_in(format!("{} ", token.header()).as_bytes()));
        assert!(!format!("{token:?}").contains(&token.header()[7..]), "INV-9");
        std::fs::write(folder.path().join(TOKEN_FILE), "\n").unwrap();
        let path = folder.path().join(TOKEN_FILE);
        assert!(AdminToken::read(&path).is_err());
        let anew = AdminToken::of(folder.path()).unwrap();
        assert!(anew.header().len() > 64 && !anew.is_in(token.header().as_bytes()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
