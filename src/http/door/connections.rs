//! The loop that takes connections, and what each of them may do.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::supervisor::Shutdown;

use super::answer;
use super::slots::{Phase, Slots, Ticket, connections_max};
use super::stream::Stream;

/// Bytes of the head of a request, and of an answer that are on their way.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Connections that are told to close and have not yet, beyond those that may be open.
const CLOSING_MAX: usize = 32;
/// How often what closes is let run before a new connection is refused.
const TURNS_MAX: usize = 1_000;
/// How long answers may take after shutdown was requested.
const GRACE: Duration = Duration::from_secs(2);
/// How long nothing is accepted after the system refused: the longest for want of descriptors.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A listener and its connections.
pub(in crate::http) struct Connections {
    listener: TcpListener,
    router: Router,
    slots: Arc<Slots>,
    tasks: JoinSet<()>,
}

impl Connections {
    pub(in crate::http) fn new(listener: TcpListener, router: Router) -> Connections {
        let slots = Slots::new(connections_max());
        Connections { listener, router, slots, tasks: JoinSet::new() }
    }

    /// Until shutdown, and then until the answers that are due are given, or their time is over.
    pub(in crate::http) async fn run(mut self, shutdown: Shutdown) {
        let mut ending = shutdown.clone();
        tokio::select! {
            () = self.accept(&shutdown) => {}
            () = ending.requested() => {}
        }
        let rest = async { while self.tasks.join_next().await.is_some() {} };
        // What is not answered by then is dropped with the set.
        let _late = tokio::time::timeout(GRACE, rest).await;
    }

    /// Never returns: whatever the system says of one connection, the next one may come.
    async fn accept(&mut self, shutdown: &Shutdown) {
        let mut pause = PAUSE;
        loop {
            match self.listener.accept().await {
                Ok((socket, peer)) => {
                    pause = PAUSE;
                    self.admit(socket, peer, shutdown).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection is not accepted");
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(PAUSE_MAX);
                }
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    async fn admit(&mut self, socket: TcpStream, peer: SocketAddr, shutdown: &Shutdown) {
        let Some(ticket) = self.slots.admit(peer.ip().to_canonical()) else { return };
        let mut turns = 0;
        while self.slots.alive() > connections_max() + CLOSING_MAX {
            if turns == TURNS_MAX {
                return;
            }
            turns += 1;
            tokio::task::yield_now().await;
        }
        // Small answers are not to wait for more.
        let _refused = socket.set_nodelay(true);
        self.tasks.spawn(serve(socket, ticket, self.router.clone(), shutdown.clone()));
    }
}

/// One connection, until it ends, is overdue, or has answered after shutdown was requested.
async fn serve(socket: TcpStream, ticket: Ticket, router: Router, mut shutdown: Shutdown) {
    let slot = ticket.slot.clone();
    let watched = slot.clone();
    let routes = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        slot.enter(Phase::Body);
        request.extensions_mut().insert(slot.clone());
        let (answered, slot) = (routes.call(request), slot.clone());
        async move {
            let response = answered.await?;
            Ok::<_, Infallible>(answer::watch(response, slot))
        }
    });
    let connection = http1::Builder::new()
        // The time of heads is watched here: idle connections have another.
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Stream::new(socket, ticket)), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut is_ending = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
                return;
            }
            () = watched.overdue() => return,
            () = shutdown.requested(), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
