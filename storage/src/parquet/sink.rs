//! The Parquet writer's output: our disk, with the checksum of what passed.

use std::io;

use crate::disk::{DiskError, File};

const BUFFER_BYTES: usize = 1 << 20;

/// Buffered sequential writes to one file.
pub(super) struct Sink {
    file: Box<dyn File>,
    buffer: Vec<u8>,
    written: u64,
    crc32c: u32,
}

impl Sink {
    pub(super) fn new(file: Box<dyn File>) -> Sink {
        Sink { file, buffer: Vec::with_capacity(BUFFER_BYTES), written: 0, crc32c: 0 }
    }

    fn drain(&mut self) -> Result<(), DiskError> {
        self.file.write_at(&self.buffer, self.written)?;
        self.crc32c = crc32c::crc32c_append(self.crc32c, &self.buffer);
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Makes the file durable: its bytes and their checksum.
    pub(super) fn finish(mut self) -> Result<(u64, u32), DiskError> {
        self.drain()?;
        self.file.sync()?;
        Ok((self.written, self.crc32c))
    }
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            // The kind survives, so that a full disk is still known as one.
            self.drain().map_err(DiskError::into_io)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
