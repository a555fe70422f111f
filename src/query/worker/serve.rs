//! The life of a worker: statement after statement.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, nice, setrlimit};

use crate::query::QueryError;
use crate::query::wire::{Frame, Kind, Order};

use super::node::Node;
use super::session;

/// How much a worker gives way to capture.
const NICENESS: i32 = 10;
/// Bytes of a thread's stack: plans are trees, and much is done with them by recursion.
pub(super) const STACK_BYTES: usize = 64 << 20;
/// Threads beside the main one.
const THREADS_MAX: usize = 4;
/// Bytes of address space, beside stacks and a statement's memory, that are for the allocator and
/// for rows that come from the node.
const MARGIN_BYTES: usize = 512 << 20;

/// Runs statements for the node at the other end of standard input, until that ends.
pub fn run(memory_bytes: usize, scratch: &Path) -> io::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    limit(memory_bytes, threads);
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let node = Arc::new(Node::new(socket)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(threads)
        .thread_stack_size(STACK_BYTES)
        .thread_name("sql")
        .enable_all()
        .build()?;
    loop {
        let order: Order = node.hear()?.read_json(Kind::Order)?;
        let (ran, scratch) = (node.clone(), PathBuf::from(scratch));
        let task = runtime.spawn(async move { session::run(&ran, &order, &scratch).await });
        let failure = match runtime.block_on(task) {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            // What a panic left behind is nothing to go on with.
            Err(panic) if panic.is_panic() => return Err(io::Error::other(panic)),
            Err(error) => Some(QueryError::Failed { reason: error.to_string() }),
        };
        node.say(&match failure {
            None => Frame { kind: Kind::Done, payload: Vec::new() },
            Some(error) => Frame::json(Kind::Failed, &error)?,
        })?;
    }
}

/// Gives way to everything else, and lets the system refuse what no statement may have.
fn limit(memory_bytes: usize, threads: usize) {
    // Where the system has no such thing the node's own look at the memory is left.
    let _is_nice = nice(NICENESS);
    drop(std::fs::write("/proc/self/oom_score_adj", "1000"));
    let stacks = STACK_BYTES * (2 * threads + 2);
    let bytes = memory_bytes.saturating_add(stacks).saturating_add(MARGIN_BYTES) as u64;
    let _is_limited =
        setrlimit(Resource::Data, Rlimit { current: Some(bytes), maximum: Some(bytes) });
}
