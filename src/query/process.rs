//! Worker processes: this same program under another name, at a lower priority, within a limit of
//! the system on its memory. They end when their statement breaks a bound, and when the node ends.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream as Pair;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UnixStream;

/// How a worker is called.
pub(super) const COMMAND: &str = "sql-worker";
/// Bytes of a worker that runs nothing: they are not counted as its statement's.
pub(super) const IDLE_BYTES: usize = 48 << 20;
/// Bytes of a worker's last words that are looked at.
const WORDS_BYTES_MAX: u64 = 4 << 10;
const PAGE_BYTES: usize = 4096;

/// The workers of one engine.
pub(super) struct Workers {
    scratch: PathBuf,
    memory_bytes: usize,
    count: AtomicU64,
    idle: Mutex<Vec<Worker>>,
    /// Those that run a statement, by process id.
    busy: Mutex<Vec<u32>>,
    /// Ended ones whose exit the system still keeps for us.
    ended: Mutex<Vec<Child>>,
}

/// A process that waits for a statement or runs one.
pub(super) struct Worker {
    pub(super) socket: UnixStream,
    child: Child,
    folder: PathBuf,
}

/// Looks after the memory of a worker.
pub(super) struct Memory {
    pid: Option<u32>,
    workers: Arc<Workers>,
}

impl Memory {
    /// Whether it must end so that statements keep within their memory.
    pub(super) fn is_too_large(&self) -> bool {
        self.pid.is_some_and(|pid| self.workers.is_largest_of_too_much(pid))
    }
}

/// A worker that runs a statement. If it is not done when this is dropped, it is ended.
pub(super) struct Busy {
    worker: Option<Worker>,
    workers: Arc<Workers>,
    is_done: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workers {
    pub(super) fn new(scratch: &Path, memory_bytes: usize) -> Workers {
        Workers {
            scratch: scratch.to_owned(),
            memory_bytes,
            count: AtomicU64::new(0),
            idle: Mutex::default(),
            busy: Mutex::default(),
            ended: Mutex::default(),
        }
    }

    /// A worker, one that waits or a new one.
    pub(super) fn take(self: &Arc<Workers>) -> io::Result<Busy> {
        lock(&self.ended).retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        let waiting = lock(&self.idle).pop();
        let is_there = |worker: &mut Worker| matches!(worker.child.try_wait(), Ok(None));
        let worker = match waiting.and_then(|mut one| is_there(&mut one).then_some(one)) {
            Some(worker) => worker,
            None => self.start()?,
        };
        lock(&self.busy).push(worker.child.id());
        Ok(Busy { worker: Some(worker), workers: self.clone(), is_done: false })
    }

    fn start(&self) -> io::Result<Worker> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        // Of this process alone: the folder of all may be the system's for temporary files.
        let folder = self.scratch.join(format!("headwater-sql-{}-{number}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let words = folder.join("words");
        let words = OpenOptions::new().write(true).create(true).truncate(true).open(words)?;
        let (ours, theirs) = Pair::pair()?;
        ours.set_nonblocking(true)?;
        // The file that runs, also where an upgrade has put another in its place.
        let itself = Path::new("/proc/self/exe");
        let program = if itself.exists() { itself.to_owned() } else { std::env::current_exe()? };
        let child = Command::new(program)
            .arg0("headwater")
            .arg(COMMAND)
            .arg("--memory-bytes")
            .arg(self.memory_bytes.to_string())
            .arg(&folder)
            .env_clear()
            // Ctrl-C in a terminal is for the node.
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::from(words))
            .spawn()?;
        Ok(Worker { socket: UnixStream::from_std(ours)?, child, folder })
    }

    /// Bytes that statements use.
    pub(super) fn used_bytes(&self) -> usize {
        let busy = lock(&self.busy).clone();
        busy.into_iter().map(|pid| used_bytes(pid).saturating_sub(IDLE_BYTES)).sum()
    }

    /// Whether statements use more memory together than they may, and this one the most of them.
    fn is_largest_of_too_much(&self, pid: u32) -> bool {
        let busy = lock(&self.busy).clone();
        let uses: Vec<(u32, usize)> =
            busy.into_iter().map(|pid| (pid, used_bytes(pid).saturating_sub(IDLE_BYTES))).collect();
        let all: usize = uses.iter().map(|(_, bytes)| bytes).sum();
        let largest = uses.iter().max_by_key(|(_, bytes)| *bytes);
        all > self.memory_bytes && largest.is_some_and(|(largest, _)| *largest == pid)
    }

    /// Ends the workers that wait.
    fn dismiss(&self) {
        let waiting = std::mem::take(&mut *lock(&self.idle));
        for worker in waiting {
            self.end(worker);
        }
    }

    fn end(&self, mut worker: Worker) {
        let _is_gone_already = worker.child.kill();
        drop(fs::remove_dir_all(&worker.folder));
        lock(&self.ended).push(worker.child);
    }
}

/// Bytes of memory that a process has for itself alone (`proc_pid_statm(5)`).
fn used_bytes(pid: u32) -> usize {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut pages = text.split(' ').skip(1).map(|pages| pages.parse::<usize>().unwrap_or(0));
    let (resident, shared) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    resident.saturating_sub(shared) * PAGE_BYTES
}

impl Busy {
    pub(super) fn socket(&mut self) -> io::Result<&mut UnixStream> {
        let worker = self.worker.as_mut();
        worker.map(|worker| &mut worker.socket).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// What looks after its memory.
    pub(super) fn memory(&self) -> Memory {
        let pid = self.worker.as_ref().map(|worker| worker.child.id());
        Memory { pid, workers: self.workers.clone() }
    }

    /// How it ended by itself, and its last words.
    pub(super) async fn outcome(&mut self) -> (Option<ExitStatus>, String) {
        let Some(worker) = &mut self.worker else { return (None, String::new()) };
        let mut status = None;
        for _ in 0..100 {
            status = worker.child.try_wait().ok().flatten();
            if status.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (status, last_words(&worker.folder.join("words")).unwrap_or_default())
    }

    /// Says that its statement is done: the worker takes another one.
    pub(super) fn is_done(&mut self) {
        self.is_done = true;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Some(worker) = self.worker.take() else { return };
        lock(&self.workers.busy).retain(|pid| *pid != worker.child.id());
        if self.is_done {
            lock(&self.workers.idle).push(worker);
        } else {
            self.workers.end(worker);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.dismiss();
        for child in &mut *lock(&self.ended) {
            let _was_killed = child.wait();
        }
    }
}

fn last_words(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(WORDS_BYTES_MAX)))?;
    let mut words = Vec::new();
    file.take(WORDS_BYTES_MAX).read_to_end(&mut words)?;
    Ok(String::from_utf8_lossy(&words).into_owned())
}

/// Whether the system ended a process, and with which signal.
pub(super) fn signal_of(status: Option<ExitStatus>) -> Option<i32> {
    status.and_then(|status| status.signal())
}
