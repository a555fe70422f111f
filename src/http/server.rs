//! The routes, and the loop that serves them.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::HttpConfig;
use crate::node::Node;
use crate::secrets::AdminToken;
use crate::supervisor::Shutdown;

use super::bounds::Bounds;
use super::door::{Connections, Guests, behind, connections_max};
use super::error::{ApiError, HttpError};
use super::{
    admin, backfills, blocks, chains, exporters, facade, health, providers, sql, transactions,
};

/// The file in the data folder that says where a running node listens.
pub const ADDRESS_FILE: &str = "http.address";

/// Bytes of a request's body, and of a message over WebSocket.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;

/// What handlers see.
#[derive(Clone)]
pub(super) struct App {
    pub(super) node: Arc<Node>,
    pub(super) metrics: PrometheusHandle,
    pub(super) token: AdminToken,
    pub(super) shutdown: Shutdown,
    pub(super) bounds: Bounds,
    pub(super) filters: facade::Filters,
}

/// The API.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    guests: Guests,
}

impl Server {
    /// Listens; port 0 takes a free one.
    pub async fn bind(http: &HttpConfig) -> Result<Server, HttpError> {
        let listen = http.listen;
        let failed = |source| HttpError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Server { listener, address, guests: Guests::new(http) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says in the data folder where a command finds this node, until dropped.
    pub fn announce(&self, data_dir: &Path) -> Result<Announced, HttpError> {
        let path = data_dir.join(ADDRESS_FILE);
        std::fs::write(&path, format!("{}\n", self.address))
            .map_err(|source| HttpError::Address { file: ADDRESS_FILE, source })?;
        Ok(Announced { path })
    }

    /// Answers that nothing runs yet, and why, until shutdown or dropped.
    pub async fn waiting(
        &self,
        problem: watch::Receiver<String>,
        shutdown: Shutdown,
    ) -> Result<(), std::io::Error> {
        let listener = std::net::TcpListener::from(self.listener.as_fd().try_clone_to_owned()?);
        let listener = TcpListener::from_std(listener)?;
        let router = Router::new()
            .route("/livez", get(health::live))
            .fallback(health::waiting)
            .with_state(problem);
        let router = behind(router, self.guests.clone(), Bounds::of(connections_max()));
        Connections::new(listener, router).run(shutdown).await;
        Ok(())
    }

    /// Serves until shutdown.
    pub async fn run(
        self,
        node: Arc<Node>,
        metrics: PrometheusHandle,
        token: AdminToken,
        shutdown: Shutdown,
    ) -> Result<(), std::convert::Infallible> {
        let bounds = Bounds::of(connections_max());
        let app = App {
            node,
            metrics,
            token,
            shutdown: shutdown.clone(),
            bounds: bounds.clone(),
            filters: facade::Filters::default(),
        };
        let router = behind(router(app), self.guests, bounds);
        Connections::new(self.listener, router).run(shutdown).await;
        Ok(())
    }
}

/// The address file; removed when the node stops.
pub struct Announced {
    path: PathBuf,
}

impl Drop for Announced {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

fn router(app: App) -> Router {
    Router::new()
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/v1/status", get(chains::status))
        .route("/v1/chains", get(chains::list))
        .route("/v1/chains/{chain}", get(chains::one))
        .route("/v1/chains/{chain}/gaps", get(chains::gaps))
        .route("/v1/chains/{chain}/verify", get(chains::verify))
        .route("/v1/chains/{chain}/backfills", get(backfills::list).post(backfills::order))
        .route("/v1/chains/{chain}/backfills/{id}/{action}", post(backfills::tell))
        .route("/v1/chains/{chain}/blocks/{block}", get(blocks::one))
        .route("/v1/chains/{chain}/transactions/{hash}", get(transactions::one))
        .route("/v1/chains/{chain}/addresses/{address}/transactions", get(transactions::of_address))
        .route("/v1/exporters", get(exporters::list))
        .route("/v1/exporters/{name}/parked", get(exporters::parked))
        .route("/v1/exporters/{name}/explain", get(exporters::explain))
        .route("/v1/exporters/{name}/{action}", post(exporters::order))
        .route("/v1/providers", get(providers::list))
        .route("/v1/sql", post(sql::run))
        .route("/rpc/{chain}", get(facade::upgrade).post(facade::post))
        .route("/v1/admin/backup", post(admin::backup))
        .fallback(|uri: Uri| async move { ApiError::UnknownPath { path: uri.path().to_owned() } })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}
