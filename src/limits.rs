//! The descriptors that this process may have: as many as the system lets it, and shared out.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Where the system names no bound.
const UNBOUNDED: usize = 1 << 20;

/// Raises the soft bound to the hard one: services start with 1,024, and may have many more.
pub fn raise() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What cannot be raised is shared out as it is.
    let _refused = setrlimit(Resource::Nofile, limit);
}

/// How many there may be.
pub fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(UNBOUNDED)
}
