//! What changes something: it needs the token.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, header};
use headwater_storage::backup::BackupReport;

use crate::backup::make;
use crate::secrets::TOKEN_FILE;

use super::error::ApiError;
use super::server::App;

/// What `POST /v1/admin/backup` is told.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupOrder {
    /// The folder of all backups, an absolute path on the node's machine.
    to: std::path::PathBuf,
    /// Whether nothing is shared with the data folder.
    #[serde(default)]
    copy: bool,
}

/// Refuses who does not have the token.
pub(super) fn authorize(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    let token = headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
    if token.is_some_and(|token| app.token.is_in(token)) {
        return Ok(());
    }
    Err(ApiError::Forbidden { file: TOKEN_FILE })
}

/// `POST /v1/admin/backup`: answers when the backup is whole; goes on when nobody waits any more.
pub(super) async fn backup(
    State(app): State<App>,
    headers: HeaderMap,
    order: Result<Json<BackupOrder>, JsonRejection>,
) -> Result<Json<BackupReport>, ApiError> {
    authorize(&app, &headers)?;
    let Json(order) = order.map_err(|rejection| ApiError::Invalid {
        what: rejection.body_text(),
        fix: "send {\"to\": \"/absolute/path\"} as application/json",
    })?;
    // It needs the token, and takes no thread of those that read.
    let made = crate::supervisor::on_cpu(move || {
        make(&app.node, &order.to, !order.copy, &|| app.shutdown.is_requested())
    });
    Ok(Json(made.await?))
}
