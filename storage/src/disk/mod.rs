//! The disk as one trait: a real one, and a simulated one that crashes on request.
//!
//! Nothing outside of this folder touches files, so that a crash can be placed at every call.

mod error;
mod lock;
#[cfg(test)]
mod mounted;
mod overlay;
mod real;
mod simulated;
mod traits;

pub use error::{DiskError, Operation};
pub use lock::{FolderLock, LockError};
#[cfg(test)]
pub(crate) use mounted::Mounted;
pub use overlay::Overlay;
pub use real::RealDisk;
pub use simulated::SimulatedDisk;
pub use traits::{Disk, File, Mode, checksum, read_around, read_file, read_twice, write_file};
