//! Files of parts that were replaced or removed: they go when nobody who could read them is left.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::disk::{Disk, DiskError};
use crate::ledger::Part;

/// Files that are not in the manifest any more, and the lists that readers hold.
#[derive(Default)]
pub(super) struct Replaced {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    lists: Vec<Weak<Vec<Part>>>,
    doomed: Vec<String>,
}

impl Replaced {
    /// A reader takes a list of parts.
    pub(super) fn lent(&self, list: &Arc<Vec<Part>>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.lists.retain(|known| known.strong_count() > 0);
        if !inner.lists.iter().any(|known| known.as_ptr() == Arc::as_ptr(list)) {
            inner.lists.push(Arc::downgrade(list));
        }
    }

    /// Files are not in the manifest any more.
    pub(super) fn doom(&self, parts: &[Part]) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.doomed.extend(parts.iter().map(|part| part.path.clone()));
    }

    /// Removes the files that no reader's list names.
    pub(super) fn sweep(&self, disk: &dyn Disk, data_dir: &Path) -> Result<(), DiskError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let lists: Vec<Arc<Vec<Part>>> = inner.lists.iter().filter_map(Weak::upgrade).collect();
        let is_read = |path: &String| lists.iter().flat_map(|l| l.iter()).any(|p| p.path == *path);
        let (kept, free): (Vec<String>, Vec<String>) =
            std::mem::take(&mut inner.doomed).into_iter().partition(is_read);
        inner.doomed = kept;
        for path in free {
            disk.remove(&data_dir.join(path))?;
        }
        Ok(())
    }
}
