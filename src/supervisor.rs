//! The one place that spawns and joins: every task has a name, and all end together.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

/// How long tasks may take to end after shutdown was requested.
const GRACE: Duration = Duration::from_secs(18);
/// How long the process may take to end after a signal, whatever happens.
const DEADLINE: Duration = Duration::from_millis(19_500);
/// How long the last line of the log may take.
const LAST_WORDS: Duration = Duration::from_millis(100);
const EXIT_AT_ONCE: i32 = 130;
const EXIT_LATE: i32 = 1;
const ASIDE_THREADS: usize = 2;

/// Whether a signal was heard; one thread hears for the whole process.
static HEARD: OnceLock<watch::Receiver<bool>> = OnceLock::new();

/// Tells tasks to end. Clones hear the same.
#[derive(Clone)]
pub struct Shutdown {
    requested: watch::Receiver<bool>,
}

impl Shutdown {
    /// Whether it is time to end.
    pub fn is_requested(&self) -> bool {
        *self.requested.borrow()
    }

    /// Returns when it is time to end.
    pub async fn requested(&mut self) {
        // The sender lives as long as the supervisor; when it is gone it is time to end too.
        let _ended = self.requested.wait_for(|requested| *requested).await;
    }
}

/// Why a task ended the process.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// It returned an error after which the process must end.
    #[error("{task} failed")]
    Failed {
        /// The task.
        task: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It panicked: a bug.
    #[error("{task} panicked: please report this")]
    Panicked {
        /// The task.
        task: String,
    },
    /// It did not end in time.
    #[error("{tasks} did not end within {} s", GRACE.as_secs())]
    Stuck {
        /// The tasks.
        tasks: String,
    },
}

type TaskResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Spawns and joins.
pub struct Supervisor {
    shutdown: watch::Sender<bool>,
    tasks: JoinSet<TaskResult>,
    names: Vec<(Id, String)>,
    /// Threads for what must never slow the rest; made when there is such a task.
    aside: Option<Runtime>,
}

impl Default for Supervisor {
    fn default() -> Supervisor {
        let (shutdown, _) = watch::channel(false);
        Supervisor { shutdown, tasks: JoinSet::new(), names: Vec::new(), aside: None }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Some(aside) = self.aside.take() {
            aside.shutdown_background();
        }
    }
}

impl Supervisor {
    /// What tasks listen to.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown { requested: self.shutdown.subscribe() }
    }

    /// Spawns a task; an error of it ends the process.
    pub fn spawn<E>(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: std::error::Error + Send + Sync + 'static,
    {
        let task = async move {
            task.await.map_err(|error| -> Box<_> { Box::new(error) })?;
            Ok(())
        };
        let id = self.tasks.spawn(task).id();
        self.names.push((id, name.into()));
    }

    /// Spawns a task on threads beside those of `spawn`: while it computes, or a driver of it
    /// blocks, the others go on (INV-6).
    pub fn spawn_aside<E>(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> std::io::Result<()>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let aside = match self.aside.take() {
            Some(aside) => aside,
            None => tokio::runtime::Builder::new_multi_thread()
                .worker_threads(ASIDE_THREADS)
                .thread_name("aside")
                .enable_all()
                .build()?,
        };
        let task = async move {
            task.await.map_err(|error| -> Box<_> { Box::new(error) })?;
            Ok(())
        };
        let id = self.tasks.spawn_on(task, aside.handle()).id();
        self.names.push((id, name.into()));
        self.aside = Some(aside);
        Ok(())
    }

    /// Runs a blocking loop on a thread of its own; it must end by itself on shutdown.
    pub fn spawn_thread<E>(
        &mut self,
        name: impl Into<String>,
        work: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) where
        E: std::error::Error + Send + Sync + 'static,
    {
        let work = move || -> TaskResult {
            work().map_err(|error| -> Box<_> { Box::new(error) })?;
            Ok(())
        };
        let id = self.tasks.spawn_blocking(work).id();
        self.names.push((id, name.into()));
    }

    fn name(&self, id: Id) -> String {
        let found = self.names.iter().find(|(known, _)| *known == id);
        found.map_or_else(|| "a task".to_owned(), |(_, name)| name.clone())
    }

    /// Waits until `until` returns or a task fails, then ends all tasks in order.
    pub async fn run(mut self, until: impl Future<Output = ()>) -> Result<(), TaskError> {
        let mut failure = None;
        {
            let mut until = std::pin::pin!(until);
            while failure.is_none() {
                let joined = tokio::select! {
                    () = &mut until => break,
                    joined = self.tasks.join_next_with_id() => joined,
                };
                match joined {
                    Some(joined) => failure = self.outcome(joined),
                    None => break,
                }
            }
        }
        self.shutdown.send_replace(true);
        let rest = async {
            while let Some(joined) = self.tasks.join_next_with_id().await {
                failure = failure.take().or(self.outcome(joined));
            }
        };
        if tokio::time::timeout(GRACE, rest).await.is_err() {
            let names: Vec<&str> = self.names.iter().map(|(_, name)| name.as_str()).collect();
            return Err(TaskError::Stuck { tasks: names.join(", ") });
        }
        failure.map_or(Ok(()), Err)
    }

    fn outcome(
        &self,
        joined: Result<(Id, TaskResult), tokio::task::JoinError>,
    ) -> Option<TaskError> {
        match joined {
            Ok((_, Ok(()))) => None,
            Ok((id, Err(source))) => Some(TaskError::Failed { task: self.name(id), source }),
            Err(error) => Some(TaskError::Panicked { task: self.name(error.id()) }),
        }
    }
}

/// Runs CPU work or blocking calls beside the async workers.
pub async fn on_cpu<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only while the runtime ends: nobody waits for the value any more.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Returns at SIGINT or SIGTERM. A second signal ends the process at once, and so does `DEADLINE`
/// after the first, whatever still runs.
pub async fn signalled() -> std::io::Result<()> {
    let mut heard = if let Some(heard) = HEARD.get() {
        heard.clone()
    } else {
        let heard = hear_signals()?;
        HEARD.get_or_init(|| heard).clone()
    };
    let _ended = heard.wait_for(|heard| *heard).await;
    Ok(())
}

/// Hears signals on a thread of its own, which nothing that runs elsewhere can hold up: neither
/// workers that are all busy, nor a disk that does not answer.
fn hear_signals() -> std::io::Result<watch::Receiver<bool>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    drop(entered);
    let (tell, heard) = watch::channel(false);
    let listen = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tell.send_replace(true);
        // Everything that was acknowledged is on disk: leaving at once is as safe as kill -9.
        let code = tokio::select! {
            _ = terminate.recv() => EXIT_AT_ONCE,
            _ = interrupt.recv() => EXIT_AT_ONCE,
            () = tokio::time::sleep(DEADLINE) => EXIT_LATE,
        };
        if code == EXIT_LATE {
            say_late();
            tokio::time::sleep(LAST_WORDS).await;
        }
        std::process::exit(code)
    };
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || runtime.block_on(listen))?;
    Ok(heard)
}

/// Says why the process ends, where the log can still be written.
fn say_late() {
    let thread = std::thread::Builder::new().name("last words".to_owned());
    let _unsaid = thread.spawn(|| {
        tracing::error!(seconds = DEADLINE.as_secs(), "ending takes too long: leaving as it is");
    });
}
