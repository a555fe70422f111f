//! The only place that writes to standard output.

use std::io::{self, Write};

/// Writes bytes; a reader that went away is no error.
pub(super) fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes a line.
pub(super) fn line(text: &str) -> io::Result<()> {
    write(format!("{text}\n").as_bytes())
}
